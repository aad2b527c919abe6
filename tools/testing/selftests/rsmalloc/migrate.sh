#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Page migration, and the lock that it shares with mappings: each test of
# lock_test.ko (which says what it would catch), and that none leaves a page or
# the module behind.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"
. "$DIR/lock_test.sh"

# Pages that are isolated when the module goes: the kernel comes back to them
# when the functions that it was once told to call for them are gone.
unload_while_isolated()
{
	run_test leave_isolated && unload && ! is_loaded &&
		run_test put_back_isolated
}

load_lock_test || exit "$KSFT_FAIL"
mapfile -t names <"$tests/run"

ktap_print_header
ktap_set_plan $((${#names[@]} + 1))
for name in "${names[@]}"; do
	check "$name" run_test_without_leak "$name"
done
check "pages outlive the module while they are isolated" unload_while_isolated
rmmod lock_test
ktap_finished
