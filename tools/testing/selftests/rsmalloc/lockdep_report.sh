#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# lockdep sees the zspage locks: another lock is taken around one of them, and
# within it, which could deadlock. It must say so, once, and is then off until
# the next boot: so this test needs a boot of its own, in which that report is
# expected (scripts/vm.sh --expect rsmalloc_zspage).

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"
. "$DIR/lock_test.sh"

[ "${RSMALLOC_EXPECT:-}" = rsmalloc_zspage ] ||
	skip_all "makes the kernel complain: needs scripts/vm.sh --expect rsmalloc_zspage"
[ -e /proc/lockdep ] || skip_all "this kernel is without lockdep"

reported()
{
	dmesg | grep -A 12 "possible circular locking dependency" | grep rsmalloc_zspage
}

load_lock_test || exit "$KSFT_FAIL"
ktap_print_header
ktap_set_plan 2
check "lockdep goes off when two locks are taken in both orders" run_test inversion
check "it names the zspage lock" reported
rmmod lock_test
unload || exit "$KSFT_FAIL"
ktap_finished
