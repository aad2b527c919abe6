#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# How many of the pages that compaction asks for are moved, with the pool idle
# and while four tasks store, load and free. With RSMALLOC_MIGRATION_RATES=1, zsmalloc is
# measured in the same boot, and what it changes to refuse with -EINVAL.
#
# Catches a lock that is held though nobody uses the pool: then a move is refused.
# And contents that are lost while pages are moved. The rates under load depend on
# the scheduler and are information.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"
. "$DIR/migration_test.sh"

counters=(moved refused given_up)
declare -A counts before

compact_idle()
{
	local i
	for ((i = 0; i < 5; i++)); do
		compact_memory
	done
}

# Until enough pages were moved to tell a rate.
compact_under_load()
{
	local compactor i status=0
	while :; do
		compact_memory
	done &
	compactor=$!
	for ((i = 0; i < 8 && $(counter moved) - before[moved] < 10000; i++)); do
		run_test churn || {
			status=1
			break
		}
	done
	kill "$compactor"
	wait "$compactor" 2>/dev/null
	return "$status"
}

# measure ROW COMMAND...: what the counters say of the command. Not a subshell:
# it sets $counts.
measure()
{
	local row=$1 name status
	shift
	for name in "${counters[@]}"; do
		before[$name]=$(counter "$name")
	done
	"$@" >"$tmp/output" 2>&1
	status=$?
	for name in "${counters[@]}"; do
		counts[$row,$name]=$(($(counter "$name") - before[$name]))
	done
	check "$row: contents are what they were" ended_well "$status"
}

ended_well()
{
	tail -n 1 "$tmp/output"
	return "$1"
}

print_row()
{
	local moved=${counts[$1,moved]} refused=${counts[$1,refused]} given_up=${counts[$1,given_up]} rate
	# Without a page that was tried there is no rate.
	rate=$((moved + given_up ? moved * 100000 / (moved + given_up) : 0))
	ktap_print_msg "$(printf '%-32s %8d %8d %8d %8d.%03d %%' "$1" "$moved" "$refused" "$given_up" \
		$((rate / 1000)) $((rate % 1000)))"
}

at_least_as_many()
{
	at_least "pages moved" "${counts[$1,moved]}" 500
}

moves_pages || skip_all "this kernel moves no pages (COMPACTION)"
swap_off
# Two tasks that move two pages of a zspage at once get in each other's way.
proactiveness=$(cat /proc/sys/vm/compaction_proactiveness)
echo 0 >/proc/sys/vm/compaction_proactiveness
# What others do, and what -EAGAIN is worth, is for reading and not for judging.
backends=(rsmalloc)
everything=${RSMALLOC_MIGRATION_RATES:-}
[ -z "$everything" ] || backends=(zsmalloc rsmalloc)
rows=()

ktap_print_header
ktap_set_plan $((${#backends[@]} * 4 + 2 + ${#everything}))
for backend in "${backends[@]}"; do
	load_migration_test "$backend" || exit "$KSFT_FAIL"
	check "$backend: the pool is filled" run_test fill
	measure "$backend, idle" compact_idle
	check "$backend, idle: contents of all objects are what they were" run_test check
	measure "$backend, in use" compact_under_load
	rows+=("$backend, idle" "$backend, in use")
	if [ "$backend$everything" = rsmalloc1 ]; then
		echo -22 >"$tests/refuse_with"
		measure "$backend, in use, -EINVAL" compact_under_load
		rows+=("$backend, in use, -EINVAL")
	fi
	rmmod migration_test
done
ktap_print_msg "                                    moved  refused given up   moved of tried"
for row in "${rows[@]}"; do
	print_row "$row"
done
check "rsmalloc: while nobody uses the pool no move is refused" \
	is "the number of refusals" "${counts[rsmalloc, idle,refused]}" 0
check "rsmalloc: pages were moved while it was in use" at_least_as_many "rsmalloc, in use"
echo "$proactiveness" >/proc/sys/vm/compaction_proactiveness
unload || exit "$KSFT_FAIL"
ktap_finished
