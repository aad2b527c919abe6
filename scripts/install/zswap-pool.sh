#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# start: loads rsmalloc, makes zswap keep its pages in it, and switches zswap on.
# stop: makes zswap as it was before.
#
# Always succeeds, because a machine that cannot have rsmalloc shall boot and swap
# as it would without. What is in the way is said on the standard error output,
# which is the journal when rsmalloc.service runs this.

set -u
export LC_ALL=C

zswap=/sys/module/zswap/parameters
before=/run/rsmalloc-before

say() { printf '%s\n' "$*" >&2; }

# Writes a parameter; says why if the kernel refuses.
parameter()
{
	local output

	output=$({ echo "$2" >"$zswap/$1"; } 2>&1) ||
		say "zswap's parameter $1 could not be set to \"$2\": ${output##*: }"
}

choose_rsmalloc()
{
	local output

	if [[ ! -e $zswap/zpool ]]; then
		say "the zswap of Linux $(uname -r) has one allocator, which cannot be chosen: rsmalloc is for Linux 6.12"
		return
	fi
	# Loaded before zswap is told. While zswap is off, it takes any name, and if
	# there is no such allocator later, it takes its default.
	if ! output=$(modprobe rsmalloc 2>&1); then
		say "$output"
		case $output in
		*"not found"*)
			say "rsmalloc is not installed for Linux $(uname -r): install the headers of this kernel," \
			    "with which the package builds it, or run \"make install\" again"
			;;
		*"Key was"* | *"not permitted"*)
			if [[ $(cat /proc/sys/kernel/modules_disabled 2>/dev/null) == 1 ]]; then
				say "this kernel takes no more modules until the next boot (sysctl kernel.modules_disabled):" \
				    "have rsmalloc loaded before that is set"
			else
				say "this kernel takes signed modules only (Secure Boot): see install.rst"
			fi
			;;
		*) say "\"dmesg\" may say more" ;;
		esac
		return
	fi
	parameter zpool rsmalloc
}

status()
{
	local on=off

	[[ $(cat "$zswap/enabled") != Y ]] || on=on
	if [[ -e $zswap/zpool ]]; then
		say "zswap is $on, and keeps new pages in $(cat "$zswap/zpool")"
	else
		say "zswap is $on"
	fi
}

case ${1:-} in
start | stop) ;;
*)
	say "usage: zswap-pool start|stop"
	exit 2
	;;
esac

if [[ ! -e $zswap/enabled ]]; then
	say "Linux $(uname -r) has no zswap"
	exit 0
fi
if [[ $1 == start ]]; then
	[[ -e $before ]] || cat "$zswap/enabled" "$zswap/zpool" >"$before" 2>/dev/null
	choose_rsmalloc
	parameter enabled 1
elif [[ -e $before ]]; then
	{ read -r enabled && read -r zpool; } <"$before"
	[[ -z ${zpool:-} ]] || parameter zpool "$zpool"
	[[ -z ${enabled:-} ]] || parameter enabled "$enabled"
	rm -f "$before"
fi
status
exit 0
