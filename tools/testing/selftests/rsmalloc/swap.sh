#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Swapped pages come back as they were, through zswap with rsmalloc.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"

compressors=(lzo lz4 zstd)
# The size takes time, and finds what a pool of many pages does wrong with any
# compressor.
declare -A megabytes=([lzo]=$(part 100) [lz4]=$(part 32) [zstd]=$(part 32))
# What is particular to PREEMPT_RT is not particular to a compressor.
if is_realtime; then
	compressors=(lzo)
	megabytes[lzo]=32
fi
megabytes_held=$(part 32)

# A page that zswap does not take goes to the disk, and would come back as well.
# went_to_rsmalloc PAGES: zswap took so many since $zswpout_before was noted.
went_to_rsmalloc()
{
	local pages=$(($(vmstat zswpout) - zswpout_before))
	[ "$pages" -ge "$1" ] && return
	echo "zswap took $pages pages only, not $1"
	return 1
}

# Three quarters of the pages compress well enough.
pages_in()
{
	echo $(($1 * 1024 * 1024 * 3 / 4 / page_size))
}

# roundtrip MEGABYTES PROCESSES
roundtrip()
{
	zswpout_before=$(vmstat zswpout)
	"$DIR/swap_roundtrip" "$1" "$2" 1 && went_to_rsmalloc "$(pages_in "$1")"
}

# While pages are stored, they are in pages of rsmalloc, and the pool is that
# large. Compaction would have kept account of moved objects in other memory.
stored_in_rsmalloc()
{
	local stored bytes zspages status=0
	may_waste 0
	swap_and_hold one "$megabytes_held" || return 1
	stored=$(stored_pages)
	bytes=$(cat /sys/kernel/debug/zswap/pool_total_size)
	zspages=$(($(zspages) - zspages_before))
	if [ "$stored" -lt "$(pages_in "$megabytes_held")" ] || [ "$bytes" -lt $((stored * 100)) ] ||
		[ $((zspages * page_size)) -ne "$bytes" ]; then
		echo "$stored pages are stored in $bytes bytes, which are $zspages zspages"
		status=1
	fi
	may_waste 1
	read_back one && return "$status"
}

# A process that exits frees what it had in swap, without reading it back.
exit_frees()
{
	"$DIR/swap_roundtrip" "$megabytes_held" 4 1 --drop && eventually nothing_stored && eventually no_zspages
}

no_zspages()
{
	is "the number of zspages" "$(zspages)" "$zspages_before"
}

# Each store that finds the pool full has zswap look at a few of its pages again, and
# it writes one to the disk when it comes to it the second time.
store_until_written_back()
{
	local before=$1 i
	for ((i = 0; i < 20; i++)); do
		"$DIR/swap_roundtrip" 16 1 1 || return 1
		[ "$(cat /sys/kernel/debug/zswap/written_back_pages)" = "$before" ] || return 0
	done
	echo "nothing was written back"
	return 1
}

# zswap's pool is full at 1 % of memory, and zswap writes its oldest pages to the swap
# disk: it loads them from rsmalloc to decompress them.
writeback()
{
	local before status=0 megabytes
	before=$(cat /sys/kernel/debug/zswap/written_back_pages)
	# 7 % of memory is more than 1 % when it is compressed.
	megabytes=$(awk '$1 == "MemTotal:" { print int($2 / 14000) }' /proc/meminfo)
	echo 1 >"$zswap/max_pool_percent"
	swap_and_hold full "$megabytes" && store_until_written_back "$before" || status=1
	read_back full || status=1
	echo 20 >"$zswap/max_pool_percent"
	return "$status"
}

# Memory that is used at random while it is swapped. The limit is one that slows down
# and never kills: compressed pages count against it, and what exceeds half of it goes
# to the swap disk, so that there always is something to reclaim, but not always at once.
stress()
{
	local group=/sys/fs/cgroup/rsmalloc_stress status
	echo +memory >/sys/fs/cgroup/cgroup.subtree_control
	mkdir "$group" && echo 48M >"$group/memory.high" && echo 24M >"$group/memory.zswap.max" || return 1
	zswpout_before=$(vmstat zswpout)
	(
		echo "$BASHPID" >"$group/cgroup.procs"
		cd /tmp && exec stress-ng --vm 1 --vm-bytes 128M --vm-method ror --verify \
			--timeout 10 --oomable --quiet
	)
	status=$?
	rmdir "$group"
	[ "$status" -eq 0 ] && went_to_rsmalloc 1000
}

swap_on
command -v stress-ng >/dev/null || skip_all "stress-ng is not installed"
load && select_zpool rsmalloc && eventually nothing_stored || exit "$KSFT_FAIL"
zspages_before=$(zspages)

ktap_print_header
ktap_set_plan $((${#compressors[@]} * 2 + 4))
for compressor in "${compressors[@]}"; do
	select_compressor "$compressor" || exit "$KSFT_FAIL"
	check "$compressor: ${megabytes[$compressor]} MB of one process come back" \
		roundtrip "${megabytes[$compressor]}" 1
	check "$compressor: ${megabytes[$compressor]} MB of four processes come back" \
		roundtrip "${megabytes[$compressor]}" 4
done
select_compressor lzo || exit "$KSFT_FAIL"
check "stored pages are in pages of rsmalloc" stored_in_rsmalloc
check "a process that exits frees its pages" exit_frees
check "pages come back from where zswap wrote them" writeback
check "stress-ng finds its memory as it left it" stress
select_zpool zsmalloc
unload || exit "$KSFT_FAIL"
ktap_finished
