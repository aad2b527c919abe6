#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Says whether rsmalloc can be built for a kernel: prints how it will be built, or
# everything that is in the way together with what to do about it, and fails.

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/versions.sh
. "$here/versions.sh"

usage="usage: scripts/preflight.sh KDIR [RUSTC [BINDGEN]]
  KDIR     the directory that the kernel was built in, or its headers
  RUSTC    the Rust compiler (rustc)
  BINDGEN  the bindings generator (bindgen)
KSRC, the kernel's source, and RUST_LIB_SRC, that of Rust's library, are taken from
the environment. RSMALLOC_UNTRIED=1 lets kernels pass that rsmalloc was never tried on."

problems=()
problem() { problems+=("$*"); }

# As kbuild does, and not .config, which may have been edited since.
config() { grep -Eqs "^$1=(y|m)$" "$kdir/include/config/auto.conf"; }

# The value of a text option, without its quotes.
config_text() { sed -nE "s/^$1=\"?([^\"]*)\"?$/\1/p" "$kdir/include/config/auto.conf" 2>/dev/null || true; }

have() { [[ -n $(type -P "$1") ]]; }

# What the kernel's own Makefile says: its C compilers, for itself and for programs
# that run during the build, and where its headers are.
ask_kernel()
{
	local answers=() folder flags=''

	folder=$(mktemp -d)
	# Of a make that calls this, its variables and not its flags, such as -n.
	[[ ${MAKEFLAGS:-} != *"-- "* ]] || flags="-- ${MAKEFLAGS#*-- }"
	# shellcheck disable=SC2016 # make expands it.
	mapfile -t answers < <(MAKEFLAGS=$flags make -s --no-print-directory -C "$kdir" M="$folder" RUSTC="$rustc" \
		--eval='rsmalloc-ask: ; @printf "%s\n" "$(firstword $(CC))" "$(firstword $(HOSTCC))" "$(abspath $(srctree))"' \
		rsmalloc-ask 2>/dev/null)
	rm -r "$folder"
	cc=${answers[0]:-} hostcc=${answers[1]:-} headers=${answers[2]:-$kdir}/include/linux
}

check_built()
{
	local file missing=() get_headers=''

	if [[ $kdir == "/lib/modules/$(uname -r)/build" && ! -e $kdir && ! -e /sys/module/zswap/parameters/zpool ]]; then
		problem "the running kernel, Linux $(uname -r), cannot use rsmalloc: it has no zswap, or one that has no" \
			"choice of allocators (6.18 and newer). Boot a $KERNEL_SERIES kernel, or pass the headers of one as KDIR=."
		return 1
	fi
	if [[ $kdir == "/lib/modules/$(uname -r)/build" ]]; then
		get_headers="This is the running kernel. Debian has its headers in linux-headers-$(uname -r), other"
		get_headers+=" distributions in kernel-devel or linux-headers: install them, or pass"
	else
		get_headers="Pass"
	fi
	if [[ ! -d $kdir ]]; then
		problem "KDIR is $kdir, and there is no such directory. $get_headers the headers of a" \
			"$KERNEL_SERIES kernel, or the directory that it was built in, as KDIR=."
		return 1
	fi
	if [[ ! -e $kdir/Makefile ]]; then
		problem "$kdir has no Makefile, so it is neither a kernel's headers nor its build directory. $get_headers" \
			"one of these as KDIR=."
		return 1
	fi
	if [[ ! -e $kdir/.config ]]; then
		problem "the kernel in $kdir is not configured (no .config). Configure it, with CONFIG_ZSWAP=y and" \
			"CONFIG_MODULES=y, and build it."
		return 1
	fi
	for file in include/generated/autoconf.h include/config/auto.conf Module.symvers; do
		[[ -e $kdir/$file ]] || missing+=("$file")
	done
	if config CONFIG_RUST; then
		for file in rust/libcore.rmeta rust/libkernel.rmeta rust/libmacros.so; do
			[[ -e $kdir/$file ]] || missing+=("$file")
		done
	fi
	if ((${#missing[@]})); then
		problem "the kernel in $kdir is not completely built, or its headers are not complete: ${missing[*]}" \
			"missing. Build it with \"make\" there, with the same compilers, or install the package of" \
			"headers again."
	fi
}

# Looks for the interfaces themselves: distributions backport changes without
# changing the version.
check_interfaces()
{
	local release='' series

	release=$(cat "$kdir/include/config/kernel.release" 2>/dev/null) || true
	[[ -e $headers/mm.h ]] || {
		problem "$kdir has no include/linux/mm.h, nor has the source that it names: headers are missing." \
			"Install the headers' packages completely (Debian: linux-headers-${release%%-*}-common too)."
		return
	}
	if [[ ! -e $headers/zpool.h ]]; then
		problem "Linux $release has no zpool (it was removed in 6.18), so zswap cannot use rsmalloc." \
			"Take a $KERNEL_SERIES kernel."
	elif ! grep -q ZPOOL_MM_RO "$headers/zpool.h"; then
		problem "Linux $release has other zpool calls (they changed in 6.15). Take a $KERNEL_SERIES kernel."
	elif ! grep -qs __SetPageMovable "$headers/page-flags.h" "$headers/migrate.h"; then
		problem "in Linux $release modules cannot have movable pages (since 6.17). Take a $KERNEL_SERIES kernel."
	elif ! grep -qs shrinker_alloc "$headers/shrinker.h"; then
		problem "Linux $release is too old: it has no shrinker_alloc() (new in 6.7). Take a $KERNEL_SERIES kernel."
	else
		series=$(grep -oE '^[0-9]+\.[0-9]+' <<<"$release") || true
		[[ $series == "$KERNEL_SERIES" || ${RSMALLOC_UNTRIED:-} == 1 ]] ||
			problem "this is Linux ${release:-of an unknown version}, and rsmalloc was only ever tried on" \
				"$KERNEL_SERIES. Set RSMALLOC_UNTRIED=1 to try it all the same."
	fi
}

check_config()
{
	config CONFIG_MODULES ||
		problem "the kernel has no modules. Build it with CONFIG_MODULES=y."
	if ! config CONFIG_ZPOOL || ! config CONFIG_ZSWAP; then
		problem "the kernel was built without zswap (CONFIG_ZSWAP) and its zpool, which rsmalloc is for. Take a" \
			"kernel that has it: Debian's cloud kernels (linux-image-cloud-*) do not, its others do."
	fi
	config CONFIG_64BIT ||
		problem "the kernel is a 32-bit one, and rsmalloc needs 64 bits."
}

# What the crates of a kernel without Rust are built from.
check_sources()
{
	local get="Debian: apt install linux-source-$KERNEL_SERIES, which is found without KSRC=" series

	if [[ -d $ksrc ]]; then
		series=$(sed -nE 's/^(VERSION|PATCHLEVEL) = //p' "$ksrc/Makefile" 2>/dev/null | paste -sd.) || true
		if [[ ! -e $ksrc/rust/kernel/print.rs || ! -e $ksrc/scripts/generate_rust_target.rs ]]; then
			problem "KSRC is $ksrc, which is not the source of a kernel with Rust. Pass the source of Linux" \
				"$KERNEL_SERIES, of any point release ($get)."
		elif [[ -n $series && $series != "$KERNEL_SERIES" && ${RSMALLOC_UNTRIED:-} != 1 ]]; then
			problem "KSRC is $ksrc, the source of Linux $series. Pass that of $KERNEL_SERIES, of any point" \
				"release ($get)."
		fi
	elif [[ ! -e $ksrc ]]; then
		problem "the kernel is without Rust, so its Rust crates are built with the module, from the kernel's" \
			"source, and that is not in ${ksrc:-KSRC}. Install the source of Linux $KERNEL_SERIES, of any point" \
			"release ($get), or pass its folder or tar as KSRC=."
	elif [[ $ksrc == *.xz ]] && ! have xz; then
		problem "KSRC is $ksrc, and xz, which unpacks it, is not there. Install xz (Debian: xz-utils)."
	fi
	[[ -e $rust_lib_src/core/src/lib.rs ]] ||
		problem "the source of Rust's library is not in ${rust_lib_src:-RUST_LIB_SRC}. Install the one that belongs" \
			"to $rustc (Debian 12: rust-web-src, Debian 13 and Fedora: rust-src, rustup: component add rust-src)," \
			"or pass another compiler as RUSTC=."
}

check_rustc()
{
	local theirs='' ours version hint='' crate=$kdir/rust/libcore.rmeta

	if ! have "$rustc"; then
		problem "the Rust compiler \"$rustc\" is not there. Install it (Debian 12: rustc-web and rust-web-src," \
			"Debian 13: rustc and rust-src), or pass another as RUSTC=."
		return
	fi
	if ! ours=$("$rustc" --version 2>/dev/null); then
		problem "the Rust compiler \"$rustc\" does not work: $rustc --version fails. Pass another as RUSTC=."
		return
	fi
	version=$(grep -oE -m 1 '[0-9]+\.[0-9]+\.[0-9]+' <<<"$ours") || version=0
	if older "$version" "$RUSTC_MINIMUM"; then
		problem "\"$rustc\" is rustc $version, and this kernel needs $RUSTC_MINIMUM or newer. Install a newer one (Debian" \
			"12: rustc-web), or pass another as RUSTC=."
		return
	fi
	# What the crate was made by is in it. The text in .config can be older.
	if ! config CONFIG_RUST || [[ ! -e $crate ]] || grep -aqF "$ours" "$crate"; then
		return
	fi
	theirs=$(grep -aoE -m 1 'rustc [0-9]+\.[0-9]+\.[0-9]+[^)]*\)' "$crate" | head -n 1) ||
		theirs=$(config_text CONFIG_RUSTC_VERSION_TEXT)
	hint=$("$here/find_rustc.sh" "$kdir")
	if [[ $hint == rustc ]]; then
		hint="Install that one and pass it as RUSTC=, or build the kernel again with yours."
	else
		hint="That one is here: pass RUSTC=$hint."
	fi
	problem "the kernel was built by \"$theirs\", and \"$rustc\" is \"$ours\". Modules in Rust need the very" \
		"compiler that built the kernel. $hint"
}

check_bindgen()
{
	local minimum=$BINDGEN_MINIMUM version output directory

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
	if [[ -z $cc ]]; then
		problem "the Makefile in $kdir does not work: run \"make -C $kdir kernelversion\" to see why."
		return
	fi
	if ! have "$cc"; then
		problem "the C compiler \"$cc\" is not there. The kernel was built by \"$theirs\": install that (Debian: apt" \
			"install ${cc##*linux-gnu-}), and pass LLVM=1 (or LLVM=-$LLVM_MAJOR for clang-$LLVM_MAJOR) if it is clang."
		return
	fi
	have "$hostcc" ||
		problem "the C compiler for programs that run during the build, \"$hostcc\", is not there. Install it" \
			"(Debian: apt install gcc libc6-dev)."
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

# Kbuild's limits, and what a build leaves in the tree: 100 MiB.
check_tree()
{
	local top=${here%/*} free

	[[ $top != *[[:space:]:]* ]] ||
		problem "no kernel module can be built in \"$top\", because of the space or colon in it. Move this folder."
	free=$(df -BM --output=avail "$top" | tail -n 1 | tr -dc 0-9)
	((free >= 150)) ||
		problem "$top has $free MiB left, and a build needs about 150 MiB. Make room."
}

if (($# < 1 || $# > 3)) || [[ $1 == -* ]]; then
	echo "$usage" >&2
	exit 2
fi
kdir=$1 rustc=${2:-rustc} bindgen=${3:-bindgen} ksrc=${KSRC:-} rust_lib_src=${RUST_LIB_SRC:-}

if check_built; then
	ask_kernel
	check_interfaces
	check_config
	check_cc
	config CONFIG_RUST || check_sources
fi
check_rustc
check_bindgen
check_tree

if ((${#problems[@]})); then
	printf 'rsmalloc cannot be built here:\n' >&2
	printf -- '- %s\n' "${problems[@]}" | fold -s -w 100 | sed 's/ *$//; /^- /!s/^/  /' >&2
	exit 1
fi

echo "rsmalloc for Linux $(<"$kdir/include/config/kernel.release") ($kdir)"
if config CONFIG_RUST; then
	echo "  route: with the kernel's own Rust crates (CONFIG_RUST=y), by $("$rustc" --version)"
else
	echo "  route: the kernel is without Rust, so its Rust crates are built too, from $ksrc, by $("$rustc" --version)"
fi
if config CONFIG_DEBUG_INFO_BTF_MODULES && ! have "${PAHOLE:-pahole}"; then
	echo "  without BTF, for which pahole is missing (Debian: apt install pahole); only BPF programs would use it"
fi
