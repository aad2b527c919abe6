# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the tests of rsmalloc share. To be sourced, with DIR set to the folder
# of the test.

set -u

# shellcheck source=/dev/null
. "$DIR/../kselftest/ktap_helpers.sh"

zswap=/sys/module/zswap/parameters
# Without getconf, which a small guest may lack.
# shellcheck disable=SC2034 # the tests use it
page_size=$(awk '$1 == "KernelPageSize:" { print $2 * 1024; exit }' /proc/self/smaps)

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
declare -A holders

skip_all()
{
	ktap_print_header
	ktap_skip_all "$@"
	exit "$KSFT_SKIP"
}

[ "$(id -u)" -eq 0 ] || skip_all "needs root"

# part NUMBER: how much is done here of what takes long. A kernel that checks
# every lock and every access to memory takes ten times as long, and does less.
part()
{
	if [ -e /proc/lockdep ]; then
		echo $((($1 + 7) / 8))
	else
		echo "$1"
	fi
}

# On a kernel with PREEMPT_RT.
is_realtime()
{
	[ "$(cat /sys/kernel/realtime 2>/dev/null)" = 1 ]
}

# check DESCRIPTION COMMAND...: one test, with the command's output as its
# diagnosis; of one that passes, only the figures after "pass: ". The status
# KSFT_SKIP says that the test cannot be run here.
check()
{
	local description=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	[[ $status -eq 0 && $output != "pass: "* ]] || ktap_print_msg "${output//$'\n'/; }"
	case $status in
	0) ktap_test_pass "$description" ;;
	"$KSFT_SKIP") ktap_test_skip "$description" ;;
	*) ktap_test_fail "$description" ;;
	esac
}

# is WHAT ACTUAL EXPECTED
is()
{
	[ "$2" = "$3" ] && return
	echo "$1 is '$2' instead of '$3'"
	return 1
}

# eventually COMMAND...: the command succeeds within 20 seconds, for zswap and
# the pools give things back by work items.
eventually()
{
	local output i
	for ((i = 0; i < 200; i++)); do
		output=$("$@" 2>&1) && return
		sleep 0.1
	done
	echo "$output"
	return 1
}

# To start a program takes seconds on a debug kernel under emulation: what runs
# often reads files without. The file is read as a whole: bash reads a line too much
# and goes back, and finds other bytes there if a counter has got a digit more.
vmstat()
{
	local all name value
	all=$(</proc/vmstat)
	while read -r name value; do
		[ "$name" = "$1" ] && echo "$value" && return
	done <<<"$all"
	echo "/proc/vmstat has no $1" >&2
	return 1
}

# The pages of all zsmalloc and rsmalloc pools. The kernel keeps the count per
# CPU; stat_refresh adds it up.
zspages()
{
	echo 1 >/proc/sys/vm/stat_refresh
	vmstat nr_zspages
}

# Without compaction the kernel does not move pages of a pool.
moves_pages()
{
	[ -e /proc/sys/vm/compact_memory ]
}

compact_memory()
{
	! moves_pages || echo 1 >/proc/sys/vm/compact_memory
}

is_loaded()
{
	[ -d /sys/module/rsmalloc ]
}

# need_modules NAME...: insmod, unlike modprobe, does not load what a module depends
# on. A kernel has it built in or among its modules.
need_modules()
{
	modprobe -qa "$@" || true
}

# The module's parameters on the kernel command line: insmod, unlike modprobe,
# does not look there.
parameters()
{
	tr ' ' '\n' </proc/cmdline | sed -n 's/^rsmalloc\.//p'
}

load()
{
	# shellcheck disable=SC2046 # None has a blank.
	is_loaded || insmod "$DIR/rsmalloc.ko" $(parameters)
}

# may_waste PERCENT: of a pool, before the module compacts it in the background.
may_waste()
{
	! is_loaded || echo "$1" >/sys/module/rsmalloc/parameters/wasted_share
}

# The zpool front end that module/objects.h calls.
front_end=(zpool_create_pool zpool_destroy_pool zpool_malloc_support_movable zpool_malloc zpool_free
	zpool_map_handle zpool_unmap_handle zpool_get_total_pages)

# load_tests MODULE WORD...: loads a module with tests. A word is one of its
# parameters (name=value), or a kernel function whose address is one.
load_tests()
{
	local module=$1 parameters
	shift
	mapfile -t parameters < <(printf '%s\n' "${front_end[@]}" "$@" | awk '
		FNR == NR { if (/=/) print; else wanted[$1]; next }
		$3 in wanted { print $3 "=0x" $1 }' - /proc/kallsyms)
	insmod "$DIR/$module.ko" "${parameters[@]}" || return
	tests=/sys/module/$module/parameters
}

# run_test TEST: runs a test of the module that was loaded last.
run_test()
{
	local result
	echo "$1" >"$tests/run" || return
	result=$(<"$tests/result")
	echo "$result"
	case $result in
	pass*) return 0 ;;
	skip:*) return "$KSFT_SKIP" ;;
	*) return 1 ;;
	esac
}

no_leak()
{
	is "the number of zspages" "$(zspages)" "$1"
}

# What a test stored must be gone, or its pages stay counted for ever.
run_test_without_leak()
{
	local before
	before=$(zspages)
	run_test "$1" || return
	eventually no_leak "$before"
}

# The number of those who use the module.
refcount()
{
	echo "$(</sys/module/rsmalloc/refcnt)"
}

unused()
{
	is "refcount of rsmalloc" "$(refcount)" 0
}

# unload: the module goes as soon as the last pool is gone.
unload()
{
	is_loaded || return 0
	eventually unused && rmmod rsmalloc
}

select_zpool()
{
	echo "$1" >"$zswap/zpool" && is "zswap's zpool" "$(<"$zswap/zpool")" "$1"
}

select_compressor()
{
	echo "$1" >"$zswap/compressor" && is "zswap's compressor" "$(<"$zswap/compressor")" "$1"
}

# Swap space with zswap before it. zswap makes its first pool when it is first
# enabled, and obeys its parameters from then on.
swap_on()
{
	[ -n "${RSMALLOC_SWAP:-}" ] || skip_all "RSMALLOC_SWAP names no swap space"
	grep -q "^$RSMALLOC_SWAP " /proc/swaps || swapon "$RSMALLOC_SWAP" || exit "$KSFT_FAIL"
	echo 1 >"$zswap/enabled" || exit "$KSFT_FAIL"
}

# A test that uses up all memory would swap the whole machine out.
swap_off()
{
	[ -z "${RSMALLOC_SWAP:-}" ] || ! grep -q "^$RSMALLOC_SWAP " /proc/swaps || swapoff "$RSMALLOC_SWAP"
}

# swap_and_hold NAME MEGABYTES: a process in the background whose memory stays
# swapped out until read_back NAME.
swap_and_hold()
{
	mkfifo "$tmp/$1.go"
	"$DIR/swap_roundtrip" "$2" 1 1 --wait <>"$tmp/$1.go" >"$tmp/$1.out" 2>&1 &
	holders[$1]=$!
	eventually grep "swapped out" "$tmp/$1.out"
}

read_back()
{
	local status=0
	echo >"$tmp/$1.go"
	wait "${holders[$1]}" || status=1
	cat "$tmp/$1.out"
	rm "$tmp/$1".*
	return "$status"
}

stored_pages()
{
	echo "$(</sys/kernel/debug/zswap/stored_pages)"
}

nothing_stored()
{
	is "zswap's stored_pages" "$(stored_pages)" 0
}
