#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Shows rsmalloc at work: sets the machine up, builds the module, and in one
# virtual machine swaps the memory of ordinary programs out into zswap and in
# again, first over zsmalloc and then over rsmalloc, checking every byte.
#
#	RSMALLOC_DEMO_BACKENDS    what to compare (default: "zsmalloc rsmalloc")
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

read -ra backends <<<"${RSMALLOC_DEMO_BACKENDS:-zsmalloc rsmalloc}"
compressor=${RSMALLOC_DEMO_COMPRESSOR:-lzo}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/rsmalloc/demo
log=$cache/console.log

# How long another demonstration may take, and this one's virtual machine.
patience=900
vm_timeout=600

build_module()
{
	echo "building rsmalloc.ko ..."
	timeout 600 make -C "$top" "${RSMALLOC_MAKE_ARGS[@]}" >"$cache/make.log" 2>&1 || {
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
		rm -f "$cache"/images-*
		echo "collecting memory images of ordinary programs (kept for the next time) ..."
		timeout 900 "$collector" --kdir "$RSMALLOC_KDIR" --ksrc "$RSMALLOC_KSRC" "$images" >/dev/null ||
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
	local passes=$((1 + 2 * ${#backends[@]}))

	# Not "cc": the set-up installs gcc, and nothing else needs to be chosen.
	gcc -O2 -Wall -o "$cache/swap_pages" "$top/tools/demo/swap_pages.c" ||
		die "tools/demo/swap_pages.c does not compile"
	echo "booting an emulated machine with 1 processor and 1 GB of memory ..."
	RSMALLOC_VNG=$RSMALLOC_VNG "$here/vm.sh" --kdir "$RSMALLOC_KDIR" --cpus 1 --memory 1G --swap 256M \
		--tcg --qemu-opts "-icount shift=0,sleep=off" --timeout "$vm_timeout" --log "$log" -- \
		bash "$top/tools/demo/guest.sh" "$cache/swap_pages" "$images" "$compressor" \
		"$top/rsmalloc.ko" "${backends[@]}" | show_progress
}

((${#backends[@]})) || die "RSMALLOC_DEMO_BACKENDS names no backend"

"$here/setup.sh" || die "the set-up did not complete, for the reason above"
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
status=0
run_guest || status=$?
echo
[[ -s $log ]] || die "the virtual machine did not start, for the reason above"
"$top/tools/demo/report.py" --compressor "$compressor" "$log" || status=1
exit "$status"
