# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# How to run a test of lock_test.ko. To be sourced after common.sh.

[ -e /proc/sys/vm/compact_memory ] || skip_all "this kernel moves no pages (COMPACTION)"

parameters=/sys/module/lock_test/parameters

# Functions that are not exported to modules.
functions=(zpool_create_pool zpool_destroy_pool zpool_malloc zpool_free zpool_map_handle
	zpool_unmap_handle zpool_get_total_pages
	isolate_movable_page migrate_pages putback_movable_pages)

# shellcheck disable=SC2154 # DIR is set by the test
load_lock_test()
{
	local addresses
	mapfile -t addresses < <(awk -v names="${functions[*]}" '
		BEGIN { split(names, list); for (i in list) wanted[list[i]] }
		$3 in wanted { print $3 "=0x" $1 }' /proc/kallsyms)
	load && insmod "$DIR/lock_test.ko" "${addresses[@]}"
}

# run_lock_test TEST: prints what the test says; fails if the test does, and
# returns KSFT_SKIP if it cannot be run here.
run_lock_test()
{
	local result
	echo "$1" >"$parameters/run" || return
	result=$(cat "$parameters/result")
	echo "$result"
	case $result in
	pass*) return 0 ;;
	skip:*) return "$KSFT_SKIP" ;;
	*) return 1 ;;
	esac
}

# report DESCRIPTION COMMAND...: one test, that also says something if it passes.
report()
{
	local description=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	[ "$output" = pass ] || ktap_print_msg "${output//$'\n'/; }"
	case $status in
	0) ktap_test_pass "$description" ;;
	"$KSFT_SKIP") ktap_test_skip "$description" ;;
	*) ktap_test_fail "$description" ;;
	esac
}
