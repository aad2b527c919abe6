#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory goes offline while the pool's pages are in it, and the pages are counted
# in the zone that they are in. Needs memory that only movable pages may be in:
# boot with movablecore=.
#
# Catches pages that are not movable, or that are never moved (the block does not
# go offline), contents that are lost on the way, and counters of zones that are
# not moved along with a page. Without compaction the kernel cannot move pages of
# the pool; then this catches pages in memory that must be left free of them.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"
. "$DIR/migration_test.sh"

# The blocks that are in ZONE_MOVABLE entirely and go offline as long as no pool
# is in them. What the firmware or the kernel put into a block at boot, where
# the load address is random, keeps it online, and a hole does as well.
movable_blocks()
{
	local block
	for block in $(printf '%s\n' /sys/devices/system/memory/memory* | sort -V); do
		[ "$(cat "$block/state" "$block/valid_zones")" = $'online\nMovable' ] || continue
		if timeout 20 sh -c "echo offline >$block/state" 2>/dev/null; then
			echo online_movable >"$block/state"
			echo "$block"
		fi
	done
}

# zone_zspages [ZONE]: the pages of all pools that are counted in the zone, or
# in all zones.
zone_zspages()
{
	echo 1 >/proc/sys/vm/stat_refresh
	awk -v wanted="${1:-}" '
		$1 == "Node" { zone = $4 }
		$1 == "nr_zspages" && (wanted == "" || zone == wanted) { pages += $2 }
		END { print pages + 0 }' /proc/zoneinfo
}

# What "fill" said.
pool_pages()
{
	sed -n 's/.* objects in \([0-9]*\) pages.*/\1/p' "$tests/result"
}

zones_add_up()
{
	is "the number of zspages in all zones" "$(zone_zspages)" "$pages"
}

# Negative counts are shown as 0: only a zone that is too high tells.
zones_are_empty()
{
	is "the number of zspages in all zones" "$(zone_zspages)" 0
}

# The kernel tries until it succeeds or gets a signal.
offline()
{
	local block
	for block in "${blocks[@]}"; do
		timeout "$patience" sh -c "echo offline >$block/state" || return
	done
}

online()
{
	local block
	for block in "${blocks[@]}"; do
		echo online_movable >"$block/state" || return
	done
}

present_pages()
{
	awk '$1 == "Node" { zone = $4 } $1 == "present" && zone == "Movable" { print $2 }' /proc/zoneinfo
}

fits_into_zone()
{
	at_least "pages of the zone" "$(present_pages)" "$(zone_zspages Movable)"
}

# With other movable pages in what is to stay of the zone, half of the pool's
# pages have no place left there.
crowd_zone()
{
	local block_pages=$((0x$(cat /sys/devices/system/memory/block_size_bytes) / page_size))
	local left=$(($(present_pages) - ${#blocks[@]} * block_pages))
	mkdir "$tmp/crowd" && mount -t tmpfs -o size=100% crowd "$tmp/crowd" &&
		head -c $(((left - in_movable / 2) * page_size)) /dev/zero >"$tmp/crowd/file"
}

swap_off
mapfile -t blocks < <(movable_blocks)
[ "${#blocks[@]}" -gt 0 ] || skip_all "no block of memory in ZONE_MOVABLE goes offline: boot with movablecore="
eventually zones_are_empty || exit "$KSFT_FAIL"

ktap_print_header
load_migration_test rsmalloc || exit "$KSFT_FAIL"
if moves_pages; then
	ktap_set_plan 12
else
	ktap_set_plan 7
fi
check "the pool is filled" run_test fill
pages=$(pool_pages)
in_movable=$(zone_zspages Movable)
ktap_print_msg "$in_movable of $pages pages of the pool are in the zone for movable pages"
check "the zones' counts add up to the pool's pages" zones_add_up
if moves_pages; then
	check "a quarter of the pool is in the zone for movable pages" \
		at_least "pages" "$in_movable" $((pages / 4))
	check "the rest of the zone is filled" crowd_zone
	patience=10
	check "memory does not go offline while the pool's pages stay" refusing offline
else
	check "pages that cannot be moved are not in the zone for movable pages" \
		is "the number of pages there" "$in_movable" 0
fi
patience=100
check "${#blocks[@]} blocks go offline" offline
if moves_pages; then
	now=$(zone_zspages Movable)
	ktap_print_msg "$(counter moved) pages of the pool were moved, $now are in the zone now"
	check "the zones' counts followed the pages" \
		at_least "pages that left the zone" $((in_movable - now)) $((in_movable / 16))
	check "the zone has room for the pages that are counted there" fits_into_zone
	check "the zones' counts still add up to the pool's pages" zones_add_up
	umount "$tmp/crowd"
fi
check "contents are what they were" run_test check
check "no zone counts a page when the pool is empty" eventually zones_are_empty
check "the blocks go online again" online
rmmod migration_test
unload || exit "$KSFT_FAIL"
ktap_finished
