#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Says whether rsmalloc can be built for a kernel: prints "ok", or everything
# that is in the way together with what to do about it, and fails.

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/versions.sh
. "$here/versions.sh"

usage="usage: scripts/preflight.sh [--root] KDIR [RUSTC [BINDGEN [CC]]]
  KDIR     the directory that the kernel was built in, or its headers
  RUSTC    the Rust compiler (rustc)
  BINDGEN  the bindings generator (bindgen)
  CC       the C compiler (not checked when left out)
  --root   what follows the build needs root as well
RSMALLOC_UNTRIED=1 lets kernels pass that rsmalloc was never tried on."

problems=()
problem() { problems+=("$*"); }

config() { grep -Eqs "^$1=(y|m)$" "$kdir/.config"; }

# The value of a text option, without its quotes.
config_text() { sed -n "s/^$1=\"\(.*\)\"$/\1/p" "$kdir/.config" 2>/dev/null || true; }

have() { [[ -n $(type -P "$1") ]]; }

# Compares dotted versions: older A B.
older() { [[ $1 != "$2" && $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

get_a_kernel="\"make setup\" builds one that is known to work"

check_built()
{
	local file missing=()

	if [[ ! -d $kdir ]]; then
		problem "KDIR is $kdir, and there is no such directory. Pass the directory that a" \
			"$KERNEL_SERIES kernel was built in as KDIR=; $get_a_kernel."
		return 1
	fi
	if [[ ! -e $kdir/Makefile ]]; then
		problem "$kdir is not a kernel's build directory: it has no Makefile. Pass the one that the" \
			"kernel was built in as KDIR=; $get_a_kernel."
		return 1
	fi
	if [[ ! -e $kdir/.config ]]; then
		problem "the kernel in $kdir is not configured (no .config). Configure it with CONFIG_RUST=y" \
			"(.config.fragment says what rsmalloc needs) and build it; $get_a_kernel."
		return 1
	fi
	for file in include/generated/autoconf.h include/config/auto.conf Module.symvers; do
		[[ -e $kdir/$file ]] || missing+=("$file")
	done
	if config CONFIG_RUST && [[ ! -e $kdir/rust/libkernel.rmeta ]]; then
		missing+=(rust/libkernel.rmeta)
	fi
	if ((${#missing[@]})); then
		problem "the kernel in $kdir is not completely built: it lacks ${missing[*]}. Run" \
			"\"make bzImage modules\" there (another architecture's image has another name)" \
			"with the same compilers."
	fi
}

check_version()
{
	local file=$kdir/include/config/kernel.release release series

	[[ -e $file ]] || return 0
	release=$(<"$file")
	if [[ ! $release =~ ^[0-9]+\.[0-9]+ ]]; then
		problem "$file does not hold a kernel version: \"$release\". Build the kernel again."
		return
	fi
	series=${BASH_REMATCH[0]}
	[[ $series != "$KERNEL_SERIES" ]] || return 0

	if older "$series" "$KERNEL_SERIES"; then
		problem "this is Linux $release, whose Rust support lacks what rsmalloc uses." \
			"Take a $KERNEL_SERIES kernel."
	elif older "$series" 6.15; then
		[[ ${RSMALLOC_UNTRIED:-} == 1 ]] ||
			problem "this is Linux $release, and rsmalloc was only ever tried on $KERNEL_SERIES." \
				"Set RSMALLOC_UNTRIED=1 to try it all the same."
	elif older "$series" 6.17; then
		problem "this is Linux $release: the zpool calls changed in 6.15. Take a $KERNEL_SERIES kernel."
	elif older "$series" 6.18; then
		problem "this is Linux $release: modules cannot have movable pages of their own since 6.17," \
			"and the zpool calls changed in 6.15. Take a $KERNEL_SERIES kernel."
	else
		problem "this is Linux $release: there is no zpool since 6.18, so zswap cannot use rsmalloc." \
			"Take a $KERNEL_SERIES kernel."
	fi
}

check_config()
{
	config CONFIG_MODULES ||
		problem "the kernel has no modules. Build it with CONFIG_MODULES=y."
	config CONFIG_ZPOOL ||
		problem "the kernel has no zpool, which rsmalloc registers with. Build it with CONFIG_ZSWAP=y," \
			"which selects CONFIG_ZPOOL."
	config CONFIG_RUST ||
		problem "the kernel is without Rust. Build it with CONFIG_RUST=y; \"make rustavailable\" in the" \
			"kernel's source says what that lacks; $get_a_kernel."
}

check_rustc()
{
	local theirs ours candidate hint=''

	if ! have "$rustc"; then
		problem "the Rust compiler \"$rustc\" is not there. Install it, or pass another as RUSTC=."
		return
	fi
	theirs=$(config_text CONFIG_RUSTC_VERSION_TEXT)
	ours=$("$rustc" --version 2>/dev/null) || ours="not working ($rustc --version fails)"
	[[ -n $theirs && $theirs != "$ours" ]] || return 0

	for candidate in $(type -aP rustc) /usr/bin/rustc; do
		if [[ $("$candidate" --version 2>/dev/null) == "$theirs" ]]; then
			hint=" That one is here: pass RUSTC=$candidate."
			break
		fi
	done
	problem "the kernel was built by \"$theirs\", and \"$rustc\" is \"$ours\". Modules in Rust need the very" \
		"compiler that built the kernel.${hint:- Install it and pass it as RUSTC=, or build the kernel again with yours.}"
}

check_bindgen()
{
	local minimum=0.65.1 version output directory

	if ! have "$bindgen"; then
		problem "the bindings generator \"$bindgen\" is not there. Pass its path as BINDGEN=, or install it:" \
			"cargo install --locked bindgen-cli@$BINDGEN_VERSION"
		return
	fi
	# The needless argument: 0.69.0 wants a header even for its version.
	version=$("$bindgen" --version needless 2>/dev/null | sed -nE '1s/^.*bindgen ([0-9.]+).*$/\1/p') || version=
	if [[ -z $version ]]; then
		problem "\"$bindgen --version\" does not print bindgen's version. Pass another as BINDGEN=."
		return
	fi
	if older "$version" "$minimum"; then
		problem "\"$bindgen\" is bindgen $version, and Linux $KERNEL_SERIES needs $minimum or newer. Pass a newer" \
			"one as BINDGEN=, or install it: cargo install --locked bindgen-cli@$BINDGEN_VERSION"
		return
	fi

	# What pairs of bindgen and libclang that do not fit are known to get
	# wrong: joined names, and a structure that is declared before it is
	# defined.
	directory=$(mktemp -d)
	cat >"$directory/probe.h" <<-END
	#define JOIN(x) int x##x
	extern JOIN(foo);
	struct S;
	struct S { int field; };
	END
	output=$("$bindgen" "$directory/probe.h" 2>&1) || true
	rm -r "$directory"
	[[ $output == *foofoo* && $output == *"pub field"* ]] ||
		problem "\"$bindgen\" $version cannot translate a C header with the libclang that it finds:" \
			"$(head -n 1 <<<"$output") Install libclang-$LLVM_MAJOR-dev, or say where libclang is" \
			"in LIBCLANG_PATH."
}

check_cc()
{
	local theirs ours hint

	theirs=$(config_text CONFIG_CC_VERSION_TEXT)
	if ! have "$cc"; then
		problem "the C compiler \"$cc\" is not there. The kernel was built by \"$theirs\": install that, and" \
			"pass LLVM=1 (or LLVM=-$LLVM_MAJOR for clang-$LLVM_MAJOR) if it is clang."
		return
	fi
	ours=$("$cc" --version 2>/dev/null | head -n 1)
	if [[ $theirs == *clang* && $ours != *clang* ]]; then
		hint="pass LLVM=1, or LLVM=-$LLVM_MAJOR for clang-$LLVM_MAJOR"
	elif [[ $theirs == *gcc* && $ours == *clang* ]]; then
		hint="leave LLVM= and CC= out"
	else
		return 0
	fi
	problem "the kernel was built by \"$theirs\", and the C compiler is \"$ours\": $hint."
}

root=
if [[ ${1:-} == --root ]]; then
	root=yes
	shift
fi
if (($# < 1 || $# > 4)) || [[ $1 == -* ]]; then
	echo "$usage" >&2
	exit 2
fi
kdir=$1 rustc=${2:-rustc} bindgen=${3:-bindgen} cc=${4:-}

if check_built; then
	check_version
	check_config
fi
check_rustc
check_bindgen
[[ -z $cc ]] || check_cc
[[ -z $root || $EUID == 0 ]] || problem "this needs root. Run it as root."

if ((${#problems[@]})); then
	printf 'rsmalloc cannot be built here:\n' >&2
	printf -- '- %s\n' "${problems[@]}" | fold -s -w 100 | sed 's/ *$//; /^- /!s/^/  /' >&2
	exit 1
fi
echo ok
