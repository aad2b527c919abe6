#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# preempt_count under page migration as it is, and as it was to be in 2016, with
# a bit_spin_lock for each object. The latter makes the kernel complain, once:
# so this test needs a boot of its own, in which that is expected (scripts/vm.sh
# --expect preempt_count_add). Documentation/bit-spin-lock.rst tells the story.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"
. "$DIR/lock_test.sh"

parameters_2016=/sys/module/bit_spin_lock/parameters
complaint='DEBUG_LOCKS_WARN_ON((preempt_count() & PREEMPT_MASK) >= PREEMPT_MASK - 10)'

[ "${RSMALLOC_EXPECT:-}" = preempt_count_add ] ||
	skip_all "makes the kernel complain: needs scripts/vm.sh --expect preempt_count_add"
grep -q ' preempt_count_add$' /proc/kallsyms ||
	skip_all "this kernel does not look after preempt_count (DEBUG_PREEMPT)"

complained()
{
	dmesg | grep -qF "$complaint"
}

# It comes first: the kernel complains but once.
rsmalloc_is_quiet()
{
	run_test depth || return 1
	! complained
}

# freeze PAGES PATTERN: what happened on each CPU is like that.
freeze()
{
	local result
	echo "$1" >"$parameters_2016/freeze" || return 1
	result=$(cat "$parameters_2016/result")
	if [[ $result =~ $2 ]]; then
		echo "pass: $result"
	else
		echo "$result"
		return 1
	fi
}

load_lock_test && insmod "$DIR/bit_spin_lock.ko" || exit "$KSFT_FAIL"
ktap_print_header
ktap_set_plan 4
check "rsmalloc: preempt_count is 1 higher while a page is moved" rsmalloc_is_quiet
check "2016: 113 objects of one page, and no complaint" \
	freeze 1 '^113 objects[^;]*(; CPU [0-9]+: depth 113, then 0, complaint at 0)+$'
check "2016: 341 objects of three pages overflow preempt_count" \
	freeze 3 '; CPU [0-9]+: depth 341 \(as in a softirq\), then [1-9][0-9]*, complaint at 245'
check "2016: the kernel says so" complained
rmmod bit_spin_lock lock_test
unload || exit "$KSFT_FAIL"
ktap_finished
