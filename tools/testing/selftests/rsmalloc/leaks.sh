#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory that the module took and that nothing points to any more, as kmemleak
# finds it. Needs a kernel that was booted with kmemleak=on.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"

leaks=/sys/kernel/debug/kmemleak

# kmemleak believes what it saw twice, and what is older than five seconds. While the
# module is there, its functions have names.
nothing_lost()
{
	local lost
	echo scan >$leaks && sleep 6 && echo scan >$leaks || return
	lost=$(awk '/^unreferenced object/ { object = ""; ours = 0 }
		{ object = object $0 "\n" }
		/\[rsmalloc\]/ && !ours { ours = 1 }
		ours { printf "%s", object; object = "" }' $leaks)
	is "memory that is lost" "$lost" ""
}

# kmemleak switches itself off when it finds no memory, and then finds nothing.
still_looking()
{
	echo scan >$leaks
}

swap_and_migrate()
{
	"$DIR/swap_roundtrip" "$(part 64)" 2 2 && compact_memory && "$DIR/swap_roundtrip" "$(part 32)" 2 1 --drop
}

# Says nothing where it is off.
echo scan >$leaks 2>/dev/null || skip_all "kmemleak is not at work: boot with kmemleak=on"
swap_on
load || exit "$KSFT_FAIL"

ktap_print_header
ktap_set_plan 5
check "rsmalloc is chosen" select_zpool rsmalloc
check "pages come back, and are dropped" swap_and_migrate
check "a pool in use has lost nothing" nothing_lost
select_zpool zsmalloc
eventually unused
check "a pool that is gone has lost nothing" nothing_lost
check "kmemleak is still at work" still_looking
unload || exit "$KSFT_FAIL"
ktap_finished
