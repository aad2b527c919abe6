#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What lockdep knows of the zspage locks. Without it, nobody would notice that
# they are taken in an order that can deadlock: lockdep_report.sh shows that it
# is noticed.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"
. "$DIR/lock_test.sh"

[ -e /proc/lockdep ] || skip_all "this kernel is without lockdep"

# Locks that are not reported to lockdep, or of a class that is shared with others.
class_is_known()
{
	grep -q ' rsmalloc_zspage' /proc/lockdep && return
	grep rsmalloc /proc/lockdep
	return 1
}

# A key that stays registered when the pool and its memory are gone.
class_goes()
{
	grep rsmalloc_zspage /proc/lockdep
	! grep -q rsmalloc_zspage /proc/lockdep
}

still_on()
{
	awk '$1 == "debug_locks:" { exit !$2 }' /proc/lockdep_stats
}

# A reader that waits for a writer without saying so: then lock_stat does not
# show what is waited for.
contention_is_counted()
{
	local contentions
	[ -e /proc/lock_stat ] || return "$KSFT_SKIP"
	echo 0 >/proc/lock_stat && echo 1 >/proc/sys/kernel/lock_stat && run_test leave_waiting ||
		return
	echo 0 >/proc/sys/kernel/lock_stat
	contentions=$(awk '$1 ~ /^rsmalloc_zspage/ { sum += $3 } END { print sum + 0 }' /proc/lock_stat)
	run_test end_waiting
	[ "$contentions" -gt 0 ]
}

load_lock_test && swap_on && select_zpool rsmalloc || exit "$KSFT_FAIL"
"$DIR/swap_roundtrip" 8 2 1 || exit "$KSFT_FAIL"

ktap_print_header
ktap_set_plan 4
check "lockdep knows the zspage locks" class_is_known
check "lock_stat counts readers that wait" contention_is_counted
check "lockdep has found nothing and is still on" still_on
select_zpool zsmalloc
rmmod lock_test
eventually unused
check "the class goes with the pool" eventually class_goes
unload || exit "$KSFT_FAIL"
ktap_finished
