#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Shows rsmalloc at work: sets the machine up, builds the module, and in one
# virtual machine with Debian's kernel swaps the memory of ordinary programs out
# into zswap and in again, over zsmalloc and over rsmalloc, checking every byte.
#
#	RSMALLOC_DEMO_BACKENDS    the passes (default: "zsmalloc rsmalloc zsmalloc")
#	RSMALLOC_DEMO_COMPRESSOR  lzo, lz4 or zstd (default: lzo)
#
# The virtual machine is always emulated, and its clock counts instructions:
# then times are repeatable to a fraction of a percent on any machine, however
# busy, and differences between backends are not lost in noise.

set -euo pipefail
# There is nothing to ask, and standard input may be closed.
exec </dev/null
# As a recipe of make: the make below has variables and jobs of its own.
unset MAKEFLAGS MFLAGS MAKELEVEL

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C

here=$(dirname "$(readlink -f "$0")")
top=${here%/*}
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

read -ra backends <<<"${RSMALLOC_DEMO_BACKENDS:-zsmalloc rsmalloc zsmalloc}"
compressor=${RSMALLOC_DEMO_COMPRESSOR:-lzo}
whole_cache=${XDG_CACHE_HOME:-$HOME/.cache}/rsmalloc
cache=$whole_cache/demo
log=$cache/console.log

# How long another demonstration may take, and this one's virtual machine.
patience=900
vm_timeout=600

# Not a failure: make and others see that it was the signal.
interrupted()
{
	echo
	echo "interrupted; make demo goes on where it was"
	trap - "$1"
	kill "-$1" $$
}
trap 'interrupted INT' INT
trap 'interrupted TERM' TERM

build_module()
{
	echo "building rsmalloc.ko ..."
	timeout --foreground 600 make -C "$top" -j"$(nproc)" "${RSMALLOC_MAKE_ARGS[@]}" >"$cache/make.log" 2>&1 || {
		tail -n 25 "$cache/make.log" >&2
		die "the module does not build; the whole log is $cache/make.log"
	}
}

# The images are named after the program that collects them, so that a changed
# one collects anew.
collect_images()
{
	local collector=$top/tools/demo/collect_images.py hash

	hash=$(sha256sum "$collector")
	images=$cache/images-${hash:0:12}
	if [[ ! -e $images ]]; then
		rm -rf "$cache"/images-* "$cache"/collect.*
		echo "collecting memory images of ordinary programs (kept for the next time) ..."
		setpriv --pdeathsig TERM timeout --foreground 600 "$collector" --kdir "$RSMALLOC_KDIR" \
			--rustc "$RSMALLOC_RUSTC" --record "$top/rust/.helpers.o.cmd" "$images" >/dev/null ||
			die "the memory images could not be collected"
	fi
	echo "memory images: $(($(stat -c %s "$images") / 1000000)) MB without the zero pages, from"
	sed 's/^/  /' "$images.txt"
}

# Shows which pass the guest is at, and what it says beside its results.
show_progress()
{
	local line pass=0

	while IFS= read -r line; do
		case $line in
		"demo: backend="*)
			pass=$((pass + 1))
			echo "  pass $pass of $passes: ${line#*=}"
			;;
		"demo: "*) ;;
		*) echo "  guest: $line" ;;
		esac
	done
}

run_guest()
{
	local passes=$((1 + ${#backends[@]})) cc

	# The compiler of the kernel, which is there because the module needed it.
	cc=$(sed -nE 's/^CONFIG_CC_VERSION_TEXT="([^ "]+).*/\1/p' "$RSMALLOC_KDIR/.config")
	"$cc" -O2 -Wall -o "$cache/swap_pages" "$top/tools/demo/swap_pages.c" ||
		die "tools/demo/swap_pages.c does not compile"
	echo "booting Debian's kernel ${RSMALLOC_IMAGE##*/vmlinuz-} in an emulated machine with 1 processor" \
		"and 1 GB of memory ..."
	"$here/vm.sh" --kernel "$RSMALLOC_KERNEL" --cpus 1 --memory 1G --swap 256M \
		--tcg --qemu-opts "-icount shift=0,sleep=off" --timeout "$vm_timeout" --log "$log" -- \
		bash "$top/tools/demo/guest.sh" "$cache/swap_pages" "$images" "$compressor" \
		"$top/rsmalloc.ko" "${backends[@]}" {lock}>&- | show_progress
}

what_next()
{
	cat <<-EOF

	Nothing of this machine was changed but for packages and $whole_cache.
	  to install rsmalloc here: make deb, then apt install ./build/rsmalloc-dkms_*.deb (Documentation/install.rst)
	  to undo the demonstration: $(undo)
	EOF
}

undo()
{
	local packages=$whole_cache/installed-packages

	[[ ! -s $packages ]] || printf "apt-get purge \$(cat %s); " "$packages"
	echo "rm -r $whole_cache"
}

((${#backends[@]})) || die "RSMALLOC_DEMO_BACKENDS names no backend"

status=0
"$here/setup.sh" || status=$?
((status != 130 && status != 143)) || interrupted INT
((!status)) || die "the set-up did not complete, for the reason above"
assignments=$("$here/setup.sh" env)
eval "$assignments"

mkdir -p "$cache"
exec {lock}>"$cache/lock"
if ! flock -n "$lock"; then
	echo "waiting for another demonstration to finish, up to $(duration $patience) ..."
	flock -w "$patience" "$lock" || die "another demonstration still holds $cache/lock"
fi

build_module
collect_images
rm -f "$log"
run_guest || status=$?
echo
[[ -s $log ]] || die "the virtual machine did not start, for the reason above"
"$top/tools/demo/report.py" --compressor "$compressor" "$log" || status=1
((status)) || what_next
exit "$status"
