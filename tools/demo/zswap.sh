# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# zswap in a guest, for scripts that compare backends. To be sourced; errors are
# reported by the function "fail" of the script.

readonly zswap=/sys/module/zswap/parameters
readonly stats=/sys/kernel/debug/zswap

# Deferred freeing may take a moment; more than this is a leak.
readonly empty_tries=100

set_parameter()
{
	# The shell's message would name neither the parameter nor the value.
	echo "$2" 2>/dev/null >"$zswap/$1" || fail "zswap refuses $1=$2"
	[[ $(<"$zswap/$1") == "$2" ]] || fail "zswap takes $(<"$zswap/$1") for $1=$2"
}

# zswap_on COMPRESSOR: before the swap device that RSMALLOC_SWAP names.
zswap_on()
{
	swapon "$RSMALLOC_SWAP" || fail "$RSMALLOC_SWAP cannot be used as swap space"
	# One page per fault and no readahead, so that each page in is one load.
	echo 0 >/proc/sys/vm/page-cluster
	[[ -d $zswap ]] || fail "this kernel has no zswap"
	set_parameter enabled Y
	set_parameter compressor "$1"
	set_parameter max_pool_percent 90
	set_parameter shrinker_enabled N
}

wait_until_empty()
{
	local try

	for ((try = 0; try < empty_tries; try++)); do
		if (($(<"$stats/stored_pages") == 0 && $(<"$stats/pool_total_size") == 0)); then
			return
		fi
		sleep 0.1
	done
	fail "$1: nothing is swapped out, and yet zswap holds $(<"$stats/stored_pages") pages" \
	     "in a pool of $(<"$stats/pool_total_size") bytes"
}
