#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A contiguous allocation gets the memory that was set aside for it, though the
# pool's pages were in it, and gets none while these cannot be moved. Needs such
# memory, and not so little of it that the kernel spares it: boot with cma=.
#
# Catches pages that are not movable, which are never in such memory; that are
# never moved, which makes the allocation fail; and contents that are lost.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"
. "$DIR/migration_test.sh"

area=/sys/kernel/debug/cma/reserved

allocate()
{
	echo "$wanted" >"$area/alloc"
}

give_back()
{
	echo "$wanted" >"$area/free"
}

[ -e "$area/alloc" ] || skip_all "no memory is set aside for contiguous allocations: boot with cma="
moves_pages || skip_all "this kernel moves no pages (COMPACTION)"
swap_off
# What drivers have in the area stays. The kernel tries every place at which so
# many pages fit: that should be a few, or refusing takes long.
wanted=$(($(cat "$area/maxchunk") - 3))

ktap_print_header
ktap_set_plan 6
load_migration_test rsmalloc || exit "$KSFT_FAIL"
check "the pool is filled" run_test fill
check "$wanted contiguous pages are not there while the pool's pages stay" refusing allocate
check "they are there otherwise" allocate
ktap_print_msg "$(counter moved) pages of the pool were moved"
check "pages of the pool were moved" at_least "pages" "$(counter moved)" $((wanted / 8))
check "contents are what they were" run_test check
check "the area is free again" give_back
rmmod migration_test
unload || exit "$KSFT_FAIL"
ktap_finished
