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
mkdir "$work/scripts"
cp "$scripts"/{preflight,find_rustc,lib,versions}.sh "$work/scripts"
preflight=("$work/scripts/preflight.sh")
kdir=$work/kernel
config=$kdir/include/config/auto.conf
# shellcheck source=tools/testing/tap.sh
. "${scripts%/*}/tools/testing/tap.sh"

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

# A kernel with Rust, built by clang, that is in order.
fresh()
{
	rm -rf "$kdir" "$work/ksrc" "$work/library"
	mkdir -p "$kdir"/{include/generated,include/config,include/linux,rust}
	printf '%s\n' "CC = $work/clang" "HOSTCC = $work/gcc" srctree=. >"$kdir/Makefile"
	touch "$kdir/.config" "$kdir/Module.symvers" "$kdir/include/generated/autoconf.h" \
		"$kdir/rust/libkernel.rmeta" "$kdir/rust/libmacros.so" "$kdir/include/linux/mm.h"
	echo "rust metadata: rustc 1.90.0 (abc 2025-09-14)" >"$kdir/rust/libcore.rmeta"
	echo 6.12.99-test >"$kdir/include/config/kernel.release"
	echo ZPOOL_MM_RO >"$kdir/include/linux/zpool.h"
	echo __SetPageMovable >"$kdir/include/linux/migrate.h"
	echo shrinker_alloc >"$kdir/include/linux/shrinker.h"
	cat >"$config" <<-END
	CONFIG_CC_VERSION_TEXT="Debian clang version 19.1.7"
	CONFIG_RUSTC_VERSION_TEXT="rustc 1.90.0 (abc 2025-09-14)"
	CONFIG_64BIT=y
	CONFIG_MODULES=y
	CONFIG_ZSWAP=y
	CONFIG_ZPOOL=y
	CONFIG_RUST=y
	END
	tool_version rustc "rustc 1.90.0 (abc 2025-09-14)"
	tool_version clang "Debian clang version 19.1.7"
	tool_version gcc "gcc (Debian) 12.2.0"
	tool_version pahole v1.30
	fake_bindgen 0.71.1
}

# The same kernel as distributions build it: by gcc, without Rust, with BTF. What its crates are built from is in order.
without_rust()
{
	rm -r "$kdir/rust"
	sed -i -e '/CONFIG_RUST/d' -e 's/Debian clang version 19.1.7/gcc-12 (Debian) 12.2.0/' "$config"
	printf 'CONFIG_%s=y\n' DEBUG_INFO_BTF_MODULES >>"$config"
	sed -i "s,/clang,/gcc," "$kdir/Makefile"
	mkdir -p "$work/ksrc/rust/kernel" "$work/ksrc/scripts" "$work/library/core/src"
	touch "$work/ksrc/rust/kernel/print.rs" "$work/ksrc/scripts/generate_rust_target.rs" \
		"$work/library/core/src/lib.rs"
	printf '%s\n' 'VERSION = 6' 'PATCHLEVEL = 12' 'SUBLEVEL = 1' >"$work/ksrc/Makefile"
	export KSRC=$work/ksrc RUST_LIB_SRC=$work/library PAHOLE=$work/pahole
}

# check NAME WANTED [ARGUMENT...]: WANTED is "ok: " and texts that must be printed,
# or texts that the one reported problem must contain, separated by "|".
check()
{
	local name=$1 wanted=$2 output status=0 problems why
	local arguments=("${@:3}")

	((${#arguments[@]})) ||
		arguments=("$kdir" "$work/rustc" "$work/bindgen")
	output=$("${preflight[@]}" "${arguments[@]}" 2>&1) || status=$?
	problems=$(grep -c '^- ' <<<"$output") || true
	why=$(missing_text "${wanted#ok: }" "$output")
	if [[ $wanted == "ok: "* ]]; then
		[[ $status == 0 && $problems == 0 ]] || why="it was refused with status $status"
	else
		[[ $status == 1 ]] || why="status $status instead of 1"
		[[ $problems == 1 ]] || why="$problems problems instead of 1"
	fi
	result "$name" "$why" "$output"
	fresh
}

untried()
{
	echo "$1" >"$kdir/include/config/kernel.release"
	check "Linux $1 was not tried" "this is Linux $1|RSMALLOC_UNTRIED=1"
}

echo "TAP version 13"
unset KSRC RUST_LIB_SRC RSMALLOC_UNTRIED
fresh

# The baseline: without it, every refusal below could be for the wrong reason.
own="ok: rsmalloc for Linux 6.12.99-test|the kernel's own Rust crates (CONFIG_RUST=y)|rustc 1.90.0"
check "accepts a kernel with Rust" "$own"
without_rust
check "accepts a kernel without Rust" \
	"ok: rsmalloc for Linux 6.12.99-test|kernel is without Rust|from $work/ksrc|rustc 1.90.0"

# The KDIR of a kernel that is not there, or not (completely) built.
check "names a missing directory" "no such directory|KDIR=" "$work/nowhere" "$work/rustc" "$work/bindgen"
# Headers are of no use to a kernel that could not use the module.
if [[ -e /sys/module/zswap/parameters/zpool ]]; then
	wanted="linux-headers-$(uname -r)"
else
	wanted="cannot use rsmalloc|Boot a 6.12 kernel"
fi
[[ -e /lib/modules/$(uname -r)/build ]] ||
	check "says what the running kernel lacks" "$wanted" \
		"/lib/modules/$(uname -r)/build" "$work/rustc" "$work/bindgen"
rm "$kdir/Makefile"
check "knows what is no kernel" "no Makefile|KDIR="
rm "$kdir/.config"
check "asks for a configuration" "not configured|CONFIG_ZSWAP=y"
rm "$kdir/include/generated/autoconf.h"
check "asks for generated headers" "include/generated/autoconf.h|make"
rm "$kdir/Module.symvers"
check "asks for Module.symvers" "Module.symvers|make"
rm "$kdir/rust/libkernel.rmeta"
check "asks for the kernel crate" "rust/libkernel.rmeta|make"
without_rust
rm "$kdir/include/linux/mm.h"
check "asks for headers that another package has" "include/linux/mm.h|linux-headers-6.12.99-common"
echo 'include /nowhere/Makefile' >"$kdir/Makefile"
rm "$kdir/include/linux/mm.h"
output=$("${preflight[@]}" "$kdir" "$work/rustc" "$work/bindgen" 2>&1) || true
why="it did not name the headers and the Makefile"
[[ $output != *include/linux/mm.h* || $output != *Makefile* ]] || why=
result "asks for headers when a Makefile leads nowhere" "$why" "$output"
fresh

# Configurations that cannot work.
sed -i '/CONFIG_MODULES/d' "$config"
check "asks for modules" "CONFIG_MODULES=y"
for option in ZPOOL ZSWAP; do
	sed -i "/CONFIG_$option/d" "$config"
	check "asks for zswap where CONFIG_$option is missing" "CONFIG_ZSWAP|linux-image-cloud"
done
sed -i '/CONFIG_64BIT/d' "$config"
check "refuses 32 bits" "64 bits"

# The interfaces count, and not what a kernel calls itself.
rm "$kdir/include/linux/zpool.h"
check "refuses a kernel without zpool" "removed in 6.18"
echo obj_read_begin >"$kdir/include/linux/zpool.h"
check "refuses other zpool calls" "changed in 6.15"
rm "$kdir/include/linux/migrate.h"
check "refuses a kernel whose modules have no movable pages" "since 6.17"
rm "$kdir/include/linux/shrinker.h"
check "refuses a kernel without shrinker_alloc()" "shrinker_alloc"
echo 6.12.0-55.el10.x86_64 >"$kdir/include/config/kernel.release"
check "accepts a 6.12 of another distribution" "ok: 6.12.0-55.el10"
untried 6.2.0
untried 6.11.11
untried 6.13.1
untried 6.100.1
untried garbage
echo 6.13.1 >"$kdir/include/config/kernel.release"
RSMALLOC_UNTRIED=1 check "RSMALLOC_UNTRIED=1 lets 6.13 pass" "ok: 6.13.1"
# It must not open the door to kernels that are known not to work.
rm "$kdir/include/linux/zpool.h"
RSMALLOC_UNTRIED=1 check "RSMALLOC_UNTRIED=1 lets nothing else pass" "removed in 6.18"

# The Rust compiler.
check "asks for rustc" "not there|RUSTC=|rustc-web" "$kdir" "$work/none" "$work/bindgen"
tool_version rustc "rustc 1.90.0 (def 2025-10-01)"
check "refuses another build of the same rustc version" "(abc 2025-09-14)|(def 2025-10-01)|very compiler"
tool_version rustc "rustc 1.89.0"
mkdir "$work/bin"
tool_version bin/rustc "rustc 1.90.0 (abc 2025-09-14)"
PATH=$work/bin:$PATH check "finds the right rustc elsewhere" "RUSTC=$work/bin/rustc"
tool rustc <<<"exit 1"
check "reports a rustc that does not run" "does not work"
# The configuration may have been written when another compiler was there.
sed -i 's/1.90.0 (abc/1.80.0 (old/' "$config"
check "believes the crate, not the configuration" "$own"
tool_version rustc "rustc 1.82.0 (old)"
check "refuses an old rustc" "rustc 1.82.0|1.83.0 or newer"
without_rust
tool_version rustc "rustc 1.85.0 (another)"
check "accepts any rustc that is new enough for a kernel without Rust" "ok: rustc 1.85.0"

# Which of the compilers in PATH is taken, if none is named.
takes()
{
	local found

	found=$(PATH=$work/bin:$work/bin2:$PATH "$work/scripts/find_rustc.sh" "$kdir")
	[[ $found == "$2" ]] || found="it found $found"
	result "$1" "${found#"$2"}" "$found"
}
sysroot_tool()
{
	mkdir -p "$work/$1" "$work/sysroot/lib/rustlib/src/rust/library/core/src"
	touch "$work/sysroot/lib/rustlib/src/rust/library/core/src/lib.rs"
	tool "$1/rustc" <<-END
	case \$1 in
	--version) echo "rustc $2 (abc 2025-09-14)" ;;
	*) echo "$work/$3" ;;
	esac
	END
}
sysroot_tool bin 1.90.0 nowhere
sysroot_tool bin2 1.90.0 sysroot
takes "with Rust: takes the first compiler that built the kernel" "$work/bin/rustc"
sysroot_tool bin 1.89.0 sysroot
takes "with Rust: takes no other" "$work/bin2/rustc"
without_rust
takes "without Rust: takes the first compiler" "$work/bin/rustc"
sysroot_tool bin 1.89.0 nowhere
takes "without Rust: takes one with the source of its library" "$work/bin2/rustc"
sysroot_tool bin 1.63.0 sysroot
takes "without Rust: takes one that is new enough" "$work/bin2/rustc"
rm "$work/bin/rustc"
fresh

# The sources for a kernel without Rust.
without_rust
KSRC=$work/nowhere check "asks for the kernel's source" "$work/nowhere|linux-source-6.12|KSRC="
without_rust
rm "$work/ksrc/rust/kernel/print.rs"
check "refuses a source without Rust" "not the source of a kernel with Rust|linux-source-6.12"
without_rust
sed -i 's/12/18/' "$work/ksrc/Makefile"
check "refuses the source of another series" "Linux 6.18|6.12"
without_rust
touch "$work/linux.tar.xz"
KSRC=$work/linux.tar.xz check "accepts a tar" "ok: from $work/linux.tar.xz"
without_rust
rm -r "$work/library"
check "asks for the source of Rust's library" "$work/library|rust-web-src|rustup: component add rust-src"
without_rust
PAHOLE=$work/none check "says that there will be no BTF" "ok: without BTF|apt install pahole"
without_rust
output=$("${preflight[@]}" "$kdir" "$work/rustc" "$work/bindgen" 2>&1) || true
why="it spoke of BTF"
[[ $output != *kernel\ is\ without\ Rust* || $output == *BTF* ]] || why=
result "says nothing of BTF where there is pahole" "$why" "$output"
fresh
unset KSRC RUST_LIB_SRC PAHOLE

# The bindings generator.
check "asks for bindgen" "not there|BINDGEN=|cargo install" "$kdir" "$work/rustc" "$work/none"
fake_bindgen 0.60.1
check "refuses an old bindgen" "0.60.1|0.65.1|cargo install"
fake_bindgen 0.65.1
check "accepts the oldest bindgen that the kernel does" "$own"
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
sed -i 's,/clang,/gcc,' "$kdir/Makefile"
check "asks for LLVM= when the kernel is clang's" "clang version 19|LLVM=-19"
sed -i 's/Debian clang version 19.1.7/gcc (Debian) 12.2.0/' "$config"
check "refuses LLVM= when the kernel is gcc's" "leave LLVM= and CC= out"
sed -i 's,/clang,/x86_64-linux-gnu-gcc-12,' "$kdir/Makefile"
check "asks for the C compiler" "not there|apt install gcc-12|LLVM="
sed -i 's,/gcc,/cc,' "$kdir/Makefile"
check "asks for a C compiler for the build itself" "during the build|apt install gcc"

# Where the tree is.
mkdir "$work/a tree"
cp -r "$work/scripts" "$work/a tree"
preflight=("$work/a tree/scripts/preflight.sh")
check "refuses a tree whose path has a space" "a tree|space"
tool bin/df <<<"echo Avail; echo 12M"
preflight=("$work/scripts/preflight.sh")
PATH=$work/bin:$PATH check "refuses a full disk" "12 MiB left|150 MiB"

# As another user: nothing here needs root.
if ((EUID == 0)); then
	preflight=(setpriv --reuid 65534 --regid 65534 --clear-groups "${preflight[@]}")
	check "another user" "$own"
	preflight=("$work/scripts/preflight.sh")
fi

# Run by make, whose flags are not for the questions that are asked of the kernel's
# Makefile, and whose variables are.
export MAKEFLAGS="ns -- V=1"
check "make -n" "$own"
export MAKEFLAGS=" -- CC=$work/none"
check "a compiler on make's command line" "\"$work/none\" is not there"
unset MAKEFLAGS
# What was configured since the kernel was built does not count.
sed 's/^CONFIG_RUST=y//' "$config" >"$kdir/.config"
check "believes what the kernel was built with" "$own"
sed -i 's/"//g' "$config"
check "reads values without quotes" "$own"

# Everything at once, or a person repairs one thing after the other.
rm "$kdir/Module.symvers" "$kdir/include/linux/zpool.h"
sed -i '/CONFIG_ZPOOL/d' "$config"
output=$("${preflight[@]}" "$kdir" "$work/none" "$work/none" 2>&1) || true
problems=$(grep -c '^- ' <<<"$output") || true
why=
[[ $problems == 5 ]] || why="$problems problems instead of 5"
result "reports all problems at once" "$why" "$(tr '\n' ' ' <<<"$output")"

tap_end
