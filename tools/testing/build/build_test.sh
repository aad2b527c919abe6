#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests that the module is built right, by both routes: for a kernel without Rust
# and for one with CONFIG_RUST=y, in one tree, in turn.
#
#	build_test.sh TREE ARGUMENTS-WITHOUT-RUST ARGUMENTS-WITH-RUST [TAR]
#
# TREE is a copy of the project, which is changed; the arguments are what make
# gets for each kernel, in one word; TAR is the tar of the kernel's source.

set -euo pipefail

tree=$1
read -ra without_rust <<<"$2"
read -ra with_rust <<<"$3"
tar=${4:-}
log=$tree.log
count=0
failed=0

# check DESCRIPTION COMMAND...: one test, with the command's output as diagnosis.
check()
{
	local description=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	count=$((count + 1))
	if ((status)); then
		failed=$((failed + 1))
		echo "not ok $count - $description"
		tail -n 20 <<<"$output" | sed 's/^/# /'
	else
		echo "ok $count - $description"
	fi
}

build() { make -C "$tree" -j2 --no-print-directory "$@" >"$log" 2>&1 || { cat "$log"; return 1; }; }

# Warnings of compilers, objtool, modpost, pahole.
silent()
{
	build "$@" && ! grep -iE 'warning|error:|skipping' "$log"
}

is() { [[ $1 == "$2" ]] || { echo "\"$1\" instead of \"$2\""; false; }; }

# Sets $release and $route to those of the module.
look()
{
	read -r release _ < <(modinfo -F vermagic "$tree/rsmalloc.ko")
	route=$(strings "$tree/rsmalloc.ko" | grep 'built with')
}

is_module_for()
{
	local kdir

	look
	kdir=$(printf '%s\n' "${@:2}" | sed -n 's/^KDIR=//p')
	is "$release" "$(<"$kdir/include/config/kernel.release")" && is "${route#*, }" "built with $1"
}

# The mitigation of return speculation, which objtool puts in place of each return.
no_plain_return()
{
	! objdump -d --no-show-raw-insn "$tree/rsmalloc.ko" | grep -E '\sret\s*$'
}

changed() { [[ $tree/$1 -nt $tree/then ]]; }
unchanged() { ! changed "$1"; }

touch_source()
{
	sleep 1
	touch "$tree/then"
	sleep 1
	touch "$tree/rust/$1"
}

# With an assertion of build_assert! that does not hold.
assertion_fails()
{
	cp "$tree/rust/rsmalloc.rs" "$tree.rs"
	sed -i 's|let directory = debugfs::Directory::new();|&\
		if crate::sys::parameters::wasted_share() == 77 { kernel::build_error!("no"); }|' "$tree/rust/rsmalloc.rs"
	! build "${without_rust[@]}" >/dev/null && grep rust_build_error "$log"
	local status=$?
	mv "$tree.rs" "$tree/rust/rsmalloc.rs"
	return "$status"
}

# All but the type information, which pahole writes with several threads, in any order.
same_module()
{
	objcopy -R .BTF "$tree.first" "$tree.expected"
	objcopy -R .BTF "$tree/rsmalloc.ko" "$tree.again"
	cmp "$tree.expected" "$tree.again"
}

echo "TAP version 13"
check "without Rust: builds without a complaint" silent "${without_rust[@]}"
check "without Rust: the module is for that kernel, and says how it was built" \
	is_module_for "Rust crates of its own" "${without_rust[@]}"
check "without Rust: overflow is checked" grep -q add_overflow <(nm "$tree/rsmalloc.ko")
if grep -q '^CONFIG_MITIGATION_RETHUNK=y' "$(printf '%s\n' "${without_rust[@]}" | sed -n 's/^KDIR=//p')/.config"; then
	check "without Rust: every return goes through the kernel's thunk" no_plain_return
fi
cp "$tree/rsmalloc.ko" "$tree.first"

touch_source nothing
rm "$tree/rust/nothing"
check "a second build succeeds" build "${without_rust[@]}"
check "and does nothing" unchanged rsmalloc.ko
touch_source pool.rs
check "a build after an edit succeeds" build "${without_rust[@]}"
check "and makes the module" changed rsmalloc.ko
check "and none of the kernel's crates" unchanged crates/libkernel.rlib
check "an assertion at build time that does not hold is an error" assertion_fails

check "with Rust: builds without a complaint" silent "${with_rust[@]}"
check "with Rust: the module is for that kernel, and says how it was built" \
	is_module_for "the kernel's Rust crates" "${with_rust[@]}"
check "without Rust again: builds without a complaint" silent "${without_rust[@]}" ${tar:+"KSRC=$tar"}
check "without Rust again: the module is for that kernel" is_module_for "Rust crates of its own" "${without_rust[@]}"
check "without Rust again: the module is the same, byte for byte" same_module

echo "1..$count"
((!failed))
