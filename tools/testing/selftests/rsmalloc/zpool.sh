#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A backend by itself, through the zpool front end: each test of zpool_test.ko
# (which says what it would catch), and that none leaves a page behind. The
# backend is rsmalloc, or what the environment names in ZPOOL_BACKEND.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"

backend=${ZPOOL_BACKEND:-rsmalloc}

# While it runs, the kernel moves pages about and shrinks caches.
disturb()
{
	# Not to be told of each time.
	echo 4 >/proc/sys/vm/drop_caches
	while sleep 0.05; do
		compact_memory
		echo 2 >/proc/sys/vm/drop_caches
	done
}

pages_were_moved()
{
	moves_pages || return "$KSFT_SKIP"
	[ "$(vmstat pgmigrate_success)" -gt "$moved_before" ]
}

swap_off
if [ "$backend" = rsmalloc ]; then
	load || exit "$KSFT_FAIL"
fi
load_tests zpool_test "backend=$backend" zpool_can_sleep_mapped drain_all_pages || exit "$KSFT_FAIL"
mapfile -t names <"$tests/run"

ktap_print_header
ktap_set_plan $((${#names[@]} + 3))
for name in "${names[@]}"; do
	# What is measured there is allocation, without what compaction wins and costs.
	[ "$name" != slot_reuse ] || may_waste 0
	check "$backend: $name" run_test_without_leak "$name"
	may_waste 1
done

# A mapping, a store or a free that goes to a page after it was migrated.
moved_before=$(vmstat pgmigrate_success)
disturb &
disturber=$!
for name in concurrency full_zspages; do
	check "$backend: $name while memory is compacted" run_test_without_leak "$name"
done
kill "$disturber"
wait "$disturber" 2>/dev/null
check "pages were moved meanwhile" pages_were_moved

rmmod zpool_test
unload || exit "$KSFT_FAIL"
ktap_finished
