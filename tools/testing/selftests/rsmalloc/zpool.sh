#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A backend by itself, through the zpool front end: each test of zpool_test.ko
# (which says what it would catch), and that none leaves a page behind. The
# backend is rsmalloc, or what the environment names in ZPOOL_BACKEND.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"

backend=${ZPOOL_BACKEND:-rsmalloc}
parameters=/sys/module/zpool_test/parameters

front_end=(zpool_create_pool zpool_destroy_pool zpool_malloc_support_movable zpool_malloc zpool_free
	zpool_can_sleep_mapped zpool_map_handle zpool_unmap_handle zpool_get_total_pages)

load_zpool_test()
{
	local addresses
	mapfile -t addresses < <(awk -v names="${front_end[*]}" '
		BEGIN { split(names, list); for (i in list) wanted[list[i]] }
		$3 in wanted { print $3 "=0x" $1 }' /proc/kallsyms)
	insmod "$DIR/zpool_test.ko" "backend=$backend" "${addresses[@]}"
}

no_leak()
{
	is "the number of zspages" "$(zspages)" "$1"
}

# While it runs, the kernel moves pages about and shrinks caches.
disturb()
{
	# Not to be told of each time.
	echo 4 >/proc/sys/vm/drop_caches
	while sleep 0.05; do
		echo 1 >/proc/sys/vm/compact_memory
		echo 2 >/proc/sys/vm/drop_caches
	done
}

# run TEST DESCRIPTION
run()
{
	local before result leak
	before=$(zspages)
	echo "$1" >"$parameters/run"
	result=$(cat "$parameters/result")
	case $result in
	pass)
		if leak=$(eventually no_leak "$before"); then
			ktap_test_pass "$2"
		else
			ktap_print_msg "$leak"
			ktap_test_fail "$2"
		fi
		;;
	skip:*)
		ktap_print_msg "$result"
		ktap_test_skip "$2"
		;;
	*)
		ktap_print_msg "$result"
		ktap_test_fail "$2"
		;;
	esac
}

swap_off
if [ "$backend" = rsmalloc ]; then
	load || exit "$KSFT_FAIL"
fi
load_zpool_test || exit "$KSFT_FAIL"
mapfile -t tests <"$parameters/run"

ktap_print_header
ktap_set_plan $((${#tests[@]} + 3))
for test in "${tests[@]}"; do
	# What is measured there is allocation, without what compaction wins and costs.
	[ "$test" != slot_reuse ] || may_waste 0
	run "$test" "$backend: $test"
	may_waste 3
done

# A mapping, a store or a free that goes to a page after it was migrated.
moved_before=$(vmstat pgmigrate_success)
disturb &
disturber=$!
run concurrency "$backend: concurrency while memory is compacted"
run full_zspages "$backend: full_zspages while memory is compacted"
kill "$disturber"
wait "$disturber" 2>/dev/null
check "pages were moved meanwhile" [ "$(vmstat pgmigrate_success)" -gt "$moved_before" ]

rmmod zpool_test
unload || exit "$KSFT_FAIL"
ktap_finished
