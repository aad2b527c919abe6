#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Compaction: each test of compact_test.ko, which says what it would catch; what
# the module's parameter and its files accept; and that none leaves anything.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"

parameter=/sys/module/rsmalloc/parameters/wasted_share
debugfs=/sys/kernel/debug

# A share that makes no sense, taken for one that does.
bad_shares()
{
	local share
	for share in 101 -1 many ''; do
		if echo "$share" >$parameter; then
			echo "'$share' was accepted"
			return 1
		fi
	done 2>/dev/null
	is "the share" "$(cat $parameter)" 1
}

# Files and shrinkers that outlive their pool would use it when it is gone.
nothing_registered()
{
	local left
	left=$(find $debugfs/shrinker $debugfs/rsmalloc -mindepth 1 -name '*rsmalloc*' -o \
		-path $debugfs/rsmalloc/compact_test)
	is "what is registered" "$left" ""
}

# Without anybody who asks for it, and then with one who does.
asked_by()
{
	may_waste 0
	run_test_without_leak "$1"
	local status=$?
	may_waste 1
	return $status
}

swap_off
load && load_tests compact_test || exit "$KSFT_FAIL"
mapfile -t names <"$tests/run"

ktap_print_header
ktap_set_plan $((${#names[@]} + 6))
for name in no_background administrator shrinker; do
	check "compaction: $name" asked_by "$name"
done
for name in "${names[@]}"; do
	check "compaction: $name" run_test_without_leak "$name"
done
check "shares that make no sense are refused" bad_shares
check "nothing of a pool stays registered" nothing_registered
rmmod compact_test
unload || exit "$KSFT_FAIL"
check "nothing of the module stays in debugfs" [ ! -e $debugfs/rsmalloc ]
ktap_finished
