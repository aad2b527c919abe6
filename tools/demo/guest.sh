#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's half of the demonstration: sends the same pages through zswap with
# one backend after the other, and prints what was measured.
#
#	guest.sh SWAP_PAGES IMAGE COMPRESSOR MODULE BACKEND...
#
# RSMALLOC_SWAP names the swap device. After a short pass to warm up, which is not
# measured, there is one for each backend in the order given. One that is named
# twice shows how much passes differ by themselves.
#
# Every result is one line "demo: KEY=VALUE". The key "backend" opens a pass,
# and "demo: end=1" says that nothing is missing. All other lines are messages.

set -euo pipefail

readonly cgroup=/sys/fs/cgroup/demo

# The kernel's taint bits for a bad page, an oops and a warning.
readonly complaint_bits=$((1 << 5 | 1 << 7 | 1 << 9))

fail()
{
	echo "demo: failed=$*"
	exit 1
}

# shellcheck source=tools/demo/zswap.sh
. "$(dirname "$(readlink -f "$0")")/zswap.sh"

# What zswap refused or gave up, as counters since boot.
read_counters()
{
	local name

	for name in "$stats"/reject_* "$stats"/pool_limit_hit "$stats"/written_back_pages; do
		counters[${name##*/}]=$(<"$name")
	done
}

run_pass()
{
	local backend=$1 warm_up=$2 image=$3 name
	local -A counters before

	set_parameter zpool "$backend"
	wait_until_empty "$backend"
	echo "demo: backend=$backend"
	echo "demo: warm_up=$warm_up"
	read_counters
	for name in "${!counters[@]}"; do
		before[$name]=${counters[$name]}
	done
	(
		echo "$BASHPID" >"$cgroup/cgroup.procs"
		exec "$swap_pages" "$image" "$cgroup"
	) | sed 's/^/demo: /' || fail "$backend: swap_pages stopped, with the message above"
	read_counters
	for name in "${!counters[@]}"; do
		echo "demo: $name=$((counters[$name] - before[$name]))"
	done
	wait_until_empty "$backend"
}

if (($# < 5)); then
	echo "usage: guest.sh SWAP_PAGES IMAGE COMPRESSOR MODULE BACKEND..." >&2
	exit 2
fi
swap_pages=$1
image=/dev/shm/image
compressor=$3
module=$4
{ cp "$2" "$image" && head -c 4M "$image" >"$image.start"; } || fail "$2 cannot be copied into the guest's memory"
shift 4

if [[ " $* " == *" rsmalloc "* && ! -d /sys/module/rsmalloc ]]; then
	insmod "$module" || fail "$module does not load: $(dmesg | tail -n 1)"
fi
zswap_on "$compressor"
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir "$cgroup"

run_pass "$1" 1 "$image.start"
for backend; do
	run_pass "$backend" 0 "$image"
done

if (($(</proc/sys/kernel/tainted) & complaint_bits)); then
	dmesg
	fail "the kernel warned of something, see its log above"
fi
echo "demo: end=1"
