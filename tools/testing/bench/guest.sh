#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's half of the benchmark: measures one backend after the other.
#
#	guest.sh RSMALLOC.KO FOLDER COMMAND...
#
# FOLDER has zpool_bench.ko and swap_processes. A COMMAND is one of zpool_bench.c, or
#
#	processes BACKEND TRACE MEGABYTES PROCESSES
#	slabs BACKEND - 0
#
# for zswap with that backend: swap_processes, and the sizes of the objects in the
# backend's slab caches. These need RSMALLOC_SWAP, the name of a swap device. And
#
#	native BACKEND TRACE OBJECTS
#
# is "cost" on a real processor: in the first of two runs the host has to find the
# memory, and the second counts.
#
# The output is a line "bench: COMMAND" followed by a line "bench: NAME=VALUE" for
# each figure; "bench: end" says that nothing is missing. All other lines are
# messages.

set -euo pipefail
shopt -s extglob

readonly compressor=lzo
readonly parameters=/sys/module/zpool_bench/parameters
readonly functions=(zpool_create_pool zpool_destroy_pool zpool_malloc_support_movable zpool_malloc
	zpool_free zpool_map_handle zpool_unmap_handle zpool_get_total_pages drain_all_pages drop_slab)

# An end to what could hang, with the children that it has.
readonly limit=(timeout 200)

fail()
{
	echo "$*"
	exit 1
}

# shellcheck source=tools/demo/zswap.sh
. "$(dirname "$(readlink -f "$0")")/../../demo/zswap.sh"

use_backend()
{
	set_parameter zpool "$1"
	wait_until_empty "$1"
}

processes()
{
	local backend=$1 trace=$2 megabytes=$3 count=$4

	use_backend "$backend"
	"${limit[@]}" "$folder/swap_processes" "$count" "$megabytes" "$trace"
}

slabs()
{
	local pattern cache

	use_backend "$1"
	case $1 in
	zsmalloc) pattern='@(zs_handle|zspage)*' ;;
	*) pattern="$1*" ;;
	esac
	for cache in /sys/kernel/slab/$pattern; do
		[[ ! -e $cache ]] || echo "slab.${cache##*/}=$(<"$cache/object_size")"
	done
}

module()
{
	echo "$*" >"$parameters/run" || fail "see the kernel log"
	cat "$parameters/result"
}

rsmalloc=$1 folder=$2
shift 2

mapfile -t addresses < <(awk -v names="${functions[*]}" '
	BEGIN { split(names, list); for (i in list) wanted[list[i]] }
	$3 in wanted { print $3 "=0x" $1 }' /proc/kallsyms)
insmod "$rsmalloc" || fail "$rsmalloc does not load: $(dmesg | tail -n 1)"
insmod "$folder/zpool_bench.ko" "${addresses[@]}" ||
	fail "zpool_bench.ko does not load: $(dmesg | tail -n 1)"
[[ -z ${RSMALLOC_SWAP:-} ]] || zswap_on "$compressor"
for command; do
	echo "bench: $command"
	read -ra words <<<"$command"
	# Not into a pipe: another process that starts takes memory and time, too.
	case ${words[0]} in
	processes | slabs) figures=$("${words[@]}") || fail "$command: $figures" ;;
	native)
		figures=$(module cost "${words[@]:1}") || fail "$command: $figures"
		figures=$(module cost "${words[@]:1}") || fail "$command: $figures"
		;;
	*) figures=$(module "${words[@]}") || fail "$command: $figures" ;;
	esac
	[[ -z $figures ]] || echo "bench: ${figures//$'\n'/$'\n'bench: }"
done
echo "bench: end"
