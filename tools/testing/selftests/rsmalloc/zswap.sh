#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# zswap's choice of a backend at run time.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"

# Without z3fold, which leaves objects in its slab cache when a pool goes.
backends=(zsmalloc rsmalloc zbud rsmalloc)

in_use()
{
	[ "$(refcount)" -gt 0 ]
}

select_and_use()
{
	select_zpool rsmalloc && in_use
}

# The old backend must stay, and stay usable.
unknown_refused()
{
	local before
	before=$(cat "$zswap/zpool")
	if echo no-such-backend >"$zswap/zpool"; then
		echo "it was accepted"
		return 1
	fi
	is "zswap's zpool" "$(cat "$zswap/zpool")" "$before" && "$DIR/swap_roundtrip" 2 1 1
}

# An installed module is loaded by the kernel when its name is chosen.
autoload()
{
	local modules status
	modules=/lib/modules/$(uname -r)
	mount -t tmpfs modules /lib/modules || return 1
	mkdir -p "$modules/extra" && cp "$DIR/rsmalloc.ko" "$modules/extra" && depmod -a &&
		select_and_use && is_loaded
	status=$?
	umount /lib/modules
	return "$status"
}

# Pages that one backend stored are read back when others have taken its place.
switch_with_data()
{
	local i status=0
	for i in "${!backends[@]}"; do
		select_zpool "${backends[i]}" && swap_and_hold "$i" "$(part 8)" || return 1
	done
	for i in "${!backends[@]}"; do
		read_back "$i" || status=1
	done
	return "$status"
}

# Pools go away while pages are stored, loaded and moved.
switch_under_load()
{
	local i load status=0
	"$DIR/swap_roundtrip" "$(part 32)" 2 4 &
	load=$!
	for ((i = 0; i < 20; i++)); do
		select_zpool "${backends[i % ${#backends[@]}]}" || status=1
		compact_memory
		sleep 0.2
	done
	wait "$load" || status=1
	return "$status"
}

swap_on
unload || exit "$KSFT_FAIL"
select_zpool zsmalloc && select_compressor lzo || exit "$KSFT_FAIL"

ktap_print_header
ktap_set_plan 7
check "choosing rsmalloc loads the installed module" autoload
check "an unknown backend is refused, and the old one stays" unknown_refused
select_zpool zsmalloc
check "the module goes when another backend is chosen" unload
load
check "rsmalloc is chosen through sysfs" select_and_use
check "pages outlive switches of the backend" switch_with_data
check "switches of the backend under load" switch_under_load
select_zpool zsmalloc
check "afterwards no pool of rsmalloc is left" unload
ktap_finished
