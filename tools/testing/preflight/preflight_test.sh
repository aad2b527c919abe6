#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests scripts/preflight.sh on made-up kernels and compilers. Every case
# starts from a set of them that is in order and spoils it in one way, so a
# case fails when that problem goes unnoticed, when the message stops saying
# what to do, or when something else is reported along with it.

set -euo pipefail

scripts=$(readlink -f "$(dirname "$0")/../../../scripts")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy, because other users may not be let into the tree.
chmod 755 "$work"
cp "$scripts"/{preflight,lib,versions}.sh "$work"
preflight=("$work/preflight.sh")
kdir=$work/kernel
count=0
failed=0

# tool NAME: a program that is the shell script on standard input.
tool()
{
	{ echo '#!/bin/sh'; cat; } >"$work/$1"
	chmod +x "$work/$1"
}

# tool_version NAME TEXT: one that only knows its version.
tool_version() { tool "$1" <<<"echo '$2'"; }

fake_bindgen()
{
	tool bindgen <<-END
	case \$1 in
	--version) echo "bindgen $1" ;;
	*) echo "pub static foofoo; pub struct S { pub field }" ;;
	esac
	END
}

fresh()
{
	rm -rf "$kdir"
	mkdir -p "$kdir/include/generated" "$kdir/include/config" "$kdir/rust"
	touch "$kdir/Makefile" "$kdir/Module.symvers" "$kdir/include/generated/autoconf.h" \
		"$kdir/include/config/auto.conf" "$kdir/rust/libkernel.rmeta"
	echo 6.12.99-test >"$kdir/include/config/kernel.release"
	cat >"$kdir/.config" <<-END
	CONFIG_CC_VERSION_TEXT="Debian clang version 19.1.7"
	CONFIG_RUSTC_VERSION_TEXT="rustc 1.90.0 (abc 2025-09-14)"
	CONFIG_MODULES=y
	CONFIG_ZPOOL=y
	CONFIG_RUST=y
	END
	tool_version rustc "rustc 1.90.0 (abc 2025-09-14)"
	tool_version clang "Debian clang version 19.1.7"
	tool_version gcc "gcc (Debian) 12.2.0"
	fake_bindgen 0.71.1
}

# check NAME WANTED [ARGUMENT...]: WANTED is "ok", or texts that the one
# reported problem must contain, separated by "|".
check()
{
	local name=$1 wanted=$2 output status=0 problems text why=''
	local arguments=("${@:3}")

	((${#arguments[@]})) ||
		arguments=("$kdir" "$work/rustc" "$work/bindgen" "$work/clang")
	# Line breaks depend on how long the temporary directory's name is.
	output=$("${preflight[@]}" "${arguments[@]}" 2>&1) || status=$?
	problems=$(grep -c '^- ' <<<"$output") || true
	output=$(tr -s ' \n' ' ' <<<"$output")
	if [[ $wanted == ok ]]; then
		[[ $status == 0 && $output == "ok " ]] || why="it was refused with status $status"
	else
		[[ $status == 1 ]] || why="status $status instead of 1"
		[[ $problems == 1 ]] || why="$problems problems instead of 1"
		while [[ -n $wanted ]]; do
			text=${wanted%%|*}
			[[ $output == *"$text"* ]] || why="the message lacks \"$text\""
			wanted=${wanted#"$text"}
			wanted=${wanted#|}
		done
	fi
	result "$name" "$why" "$output"
	fresh
}

result()
{
	count=$((count + 1))
	if [[ -z $2 ]]; then
		echo "ok $count - $1"
	else
		failed=$((failed + 1))
		echo "not ok $count - $1"
		echo "# $2; it printed: $3"
	fi
}

refuses_kernel()
{
	echo "$1" >"$kdir/include/config/kernel.release"
	check "refuses Linux $1" "$1|$2"
}

echo "TAP version 13"
fresh

# The baseline: without it, every refusal below could be for the wrong reason.
check "accepts a kernel that is in order" ok

# The KDIR of a kernel that is not there, or not (completely) built.
check "names a missing directory" "no such directory|KDIR=|make setup" \
	"$work/nowhere" "$work/rustc" "$work/bindgen" "$work/clang"
rm "$kdir/Makefile"
check "knows what is no kernel" "no Makefile|KDIR="
rm "$kdir/.config"
check "asks for a configuration" "not configured|CONFIG_RUST=y"
rm "$kdir/include/generated/autoconf.h"
check "asks for generated headers" "include/generated/autoconf.h|make bzImage modules"
rm "$kdir/Module.symvers"
check "asks for Module.symvers" "Module.symvers|make bzImage modules"
rm "$kdir/rust/libkernel.rmeta"
check "asks for the kernel crate" "rust/libkernel.rmeta|make bzImage modules"

# Configurations that cannot work.
sed -i '/CONFIG_MODULES/d' "$kdir/.config"
check "asks for modules" "CONFIG_MODULES=y"
sed -i '/CONFIG_ZPOOL/d' "$kdir/.config"
check "asks for zpool" "CONFIG_ZSWAP=y"
sed -i '/^CONFIG_RUST/d' "$kdir/.config"
rm "$kdir/rust/libkernel.rmeta"
check "asks for Rust once, not for the kernel crate as well" "CONFIG_RUST=y|make rustavailable"

# Every boundary of the kernel versions: a comparison of versions as text or
# one step too wide would let 6.2 or 6.100 through, or refuse 6.12.
refuses_kernel 6.2.0 "Rust support"
refuses_kernel 6.11.11 "Rust support"
refuses_kernel 6.13.0 "RSMALLOC_UNTRIED=1"
refuses_kernel 6.14.11 "RSMALLOC_UNTRIED=1"
refuses_kernel 6.15.0-rc1 ": the zpool calls"
refuses_kernel 6.16.2 ": the zpool calls"
refuses_kernel 6.17.0 "movable pages"
refuses_kernel 6.18.0 "no zpool"
refuses_kernel 6.100.1 "no zpool"
refuses_kernel 7.0.0 "no zpool"
refuses_kernel garbage "Build the kernel again"
echo 6.13.1 >"$kdir/include/config/kernel.release"
export RSMALLOC_UNTRIED=1
check "RSMALLOC_UNTRIED=1 lets 6.13 pass" ok
# It must not open the door to kernels that are known not to work.
refuses_kernel 6.15.0 "zpool calls"
unset RSMALLOC_UNTRIED

# The Rust compiler.
check "asks for rustc" "not there|RUSTC=" "$kdir" "$work/none" "$work/bindgen" "$work/clang"
tool_version rustc "rustc 1.90.0 (def 2025-10-01)"
check "refuses another build of the same rustc version" "(abc 2025-09-14)|(def 2025-10-01)|very compiler"
tool_version rustc "rustc 1.89.0"
mkdir "$work/bin"
tool_version bin/rustc "rustc 1.90.0 (abc 2025-09-14)"
PATH=$work/bin:$PATH check "finds the right rustc elsewhere" "RUSTC=$work/bin/rustc"
tool rustc <<<"exit 1"
check "reports a rustc that does not run" "not working"

# The bindings generator.
check "asks for bindgen" "not there|BINDGEN=|cargo install" \
	"$kdir" "$work/rustc" "$work/none" "$work/clang"
fake_bindgen 0.60.1
check "refuses an old bindgen" "0.60.1|0.65.1|cargo install"
fake_bindgen 0.65.1
check "accepts the oldest bindgen that the kernel does" ok
tool bindgen <<<"exit 1"
check "reports a bindgen that does not run" "does not print"
tool bindgen <<-'END'
[ "$1" = --version ] && echo "bindgen 0.71.1" && exit
echo "Unable to find libclang" >&2
exit 1
END
check "passes on what bindgen says about libclang" "Unable to find libclang|LIBCLANG_PATH"
# Such pairs succeed, and leave out the fields or the joined names.
tool bindgen <<-'END'
[ "$1" = --version ] && echo "bindgen 0.71.1" && exit
echo "pub static foofoo; pub struct S { _unused }"
END
check "refuses a bindgen that loses fields" "libclang-19-dev"
tool bindgen <<-'END'
[ "$1" = --version ] && echo "bindgen 0.71.1" && exit
echo "pub static foo; pub struct S { pub field }"
END
check "refuses a bindgen that loses joined names" "libclang-19-dev"

# The C compiler.
check "asks for LLVM= when the kernel is clang's" "clang version 19|LLVM=-19" \
	"$kdir" "$work/rustc" "$work/bindgen" "$work/gcc"
sed -i 's/Debian clang version 19.1.7/gcc (Debian) 12.2.0/' "$kdir/.config"
check "refuses LLVM= when the kernel is gcc's" "leave LLVM= and CC= out"
check "asks for the C compiler" "not there|LLVM=" "$kdir" "$work/rustc" "$work/bindgen" "$work/none"

# Where root is needed.
root_arguments=(--root "$kdir" "$work/rustc" "$work/bindgen" "$work/clang")
if ((EUID == 0)); then
	check "--root as root" ok "${root_arguments[@]}"
	preflight=(setpriv --reuid 65534 --regid 65534 --clear-groups "${preflight[@]}")
fi
check "--root as another user" "needs root" "${root_arguments[@]}"
check "another user without --root" ok

# Everything at once, or a person repairs one thing after the other.
rm "$kdir/Module.symvers"
sed -i '/CONFIG_ZPOOL/d' "$kdir/.config"
echo 6.18.1 >"$kdir/include/config/kernel.release"
output=$("${preflight[@]}" "$kdir" "$work/none" "$work/none" "$work/none" 2>&1) || true
problems=$(grep -c '^- ' <<<"$output") || true
why=
[[ $problems == 6 ]] || why="$problems problems instead of 6"
result "reports all problems at once" "$why" "$(tr '\n' ' ' <<<"$output")"

echo "1..$count"
((!failed))
