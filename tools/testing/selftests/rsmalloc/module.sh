#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The module comes and goes: it stays while a pool lives, and leaves nothing.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"

# All that the module could leave behind when it is gone.
traces()
{
	ls -d /sys/module/rsmalloc /sys/kernel/debug/rsmalloc /sys/kernel/slab/rsmalloc* 2>/dev/null
	grep -o '^rsmalloc[^ ]*' /proc/slabinfo /proc/modules
	grep -o '\[rsmalloc\]' /proc/kallsyms | uniq
	ls -d /sys/kernel/debug/shrinker/rsmalloc-* 2>/dev/null
	is "the number of zspages" "$(zspages)" "$zspages_before"
}

# That those are seen which a pool has. Otherwise no test that finds none says anything.
has_traces()
{
	local found kind kinds
	kinds=(/sys/module/rsmalloc /sys/kernel/debug/rsmalloc /sys/kernel/slab/rsmalloc_ '\[rsmalloc\]')
	[ ! -d /sys/kernel/debug/shrinker ] || kinds+=(/sys/kernel/debug/shrinker/rsmalloc-)
	found=$(traces)
	for kind in "${kinds[@]}"; do
		grep -q "$kind" <<<"$found" && continue
		echo "no $kind among: $found"
		return 1
	done
}

no_traces()
{
	is "what is left" "$(traces)" ""
}

refused()
{
	! "$@" && is_loaded
}

in_use()
{
	[ "$(refcount)" -gt 0 ]
}

load_unload()
{
	local i
	for ((i = 0; i < rounds; i++)); do
		load && rmmod rsmalloc || return 1
	done
	no_traces
}

# With a pool that held pages, and could leave them or work for later behind.
use_unload()
{
	local i
	for ((i = 0; i < rounds; i++)); do
		load && select_zpool rsmalloc && "$DIR/swap_roundtrip" 2 1 1 && select_zpool zsmalloc &&
			unload || return 1
	done
	eventually no_traces
}

pools_gone()
{
	is "the pools' files" "$(ls /sys/kernel/debug/rsmalloc)" ""
}

# A file of a pool that is open when the pool goes leads into the module until it is closed.
open_file_holds()
{
	local file status=0
	load && select_zpool rsmalloc || return 1
	exec {file}>"$(echo /sys/kernel/debug/rsmalloc/*/compact)" || return 1
	select_zpool zsmalloc
	eventually pools_gone
	if ! refused rmmod rsmalloc 2>/dev/null; then
		echo "the module is gone, with a file of it open"
		status=1
	elif { echo 1 >&"$file"; } 2>/dev/null; then
		echo "a pool that is gone was compacted"
		status=1
	fi
	exec {file}>&-
	unload && no_traces && return "$status"
}

rounds=$(part 5)

swap_on
unload || exit "$KSFT_FAIL"
select_zpool zsmalloc && select_compressor lzo || exit "$KSFT_FAIL"
eventually nothing_stored || exit "$KSFT_FAIL"
zspages_before=$(zspages)

ktap_print_header
ktap_set_plan 10
check "the module answers to zpool-rsmalloc" \
	is "alias" "$(modinfo -F alias "$DIR/rsmalloc.ko")" zpool-rsmalloc
check "it loads" load
check "it does not load twice" refused insmod "$DIR/rsmalloc.ko"
select_zpool rsmalloc
check "a pool holds the module" in_use
check "what a pool has is seen" has_traces
check "it is not unloaded while a pool lives" refused rmmod rsmalloc
select_zpool zsmalloc
check "it is unloaded when the last pool is gone" unload
check "an open file of a pool holds the module" open_file_holds
check "$rounds times loaded and unloaded, it leaves nothing" load_unload
check "$rounds times loaded, used and unloaded, it leaves nothing" use_unload
ktap_finished
