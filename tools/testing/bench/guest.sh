#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's half of the benchmark: has zpool_bench.ko measure one backend after
# the other.
#
#	guest.sh ZPOOL_BENCH.KO RSMALLOC.KO COMMAND...
#
# Each COMMAND is as zpool_bench.c has it. The output is a line "bench: COMMAND"
# followed by a line "bench: NAME=VALUE" for each figure; "bench: end" says that
# nothing is missing. All other lines are messages.

set -euo pipefail

readonly parameters=/sys/module/zpool_bench/parameters
readonly functions=(zpool_create_pool zpool_destroy_pool zpool_malloc_support_movable zpool_malloc
	zpool_free zpool_map_handle zpool_unmap_handle zpool_get_total_pages drain_all_pages drop_slab)

fail()
{
	echo "$*"
	exit 1
}

bench=$1 rsmalloc=$2
shift 2

mapfile -t addresses < <(awk -v names="${functions[*]}" '
	BEGIN { split(names, list); for (i in list) wanted[list[i]] }
	$3 in wanted { print $3 "=0x" $1 }' /proc/kallsyms)
insmod "$rsmalloc" || fail "$rsmalloc does not load: $(dmesg | tail -n 1)"
insmod "$bench" "${addresses[@]}" || fail "$bench does not load: $(dmesg | tail -n 1)"
for command; do
	echo "bench: $command"
	echo "$command" >"$parameters/run" || fail "'$command' failed, see the kernel log"
	sed 's/^/bench: /' "$parameters/result"
done
echo "bench: end"
