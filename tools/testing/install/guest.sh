#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs in the guest of install_test.sh at the end of its boot: says on the second
# serial port how zswap and the unit are, swaps, and switches the machine off.

set -u
export LC_ALL=C

exec >/dev/ttyS1 2>&1
zswap=/sys/module/zswap/parameters

# A file in memory that does not fit into what its group may have.
swap()
{
	local before after

	head -c 24M /var/lib/rsmalloc-test/data | sha256sum >/run/before
	systemd-run --scope -q -p MemoryMax=16M -p MemorySwapMax=infinity \
		dd if=/var/lib/rsmalloc-test/data of=/dev/shm/data bs=1M count=24 status=none
	echo "stored $(cat /sys/kernel/debug/zswap/stored_pages 2>/dev/null || echo 0)"
	echo "users $(cat /sys/module/rsmalloc/refcnt 2>/dev/null || echo 0)"
	before=$(cut -d' ' -f1 /run/before)
	after=$(sha256sum </dev/shm/data | cut -d' ' -f1)
	if [[ $before == "$after" ]]; then
		echo "data same"
	else
		echo "data different"
	fi
}

echo "kernel $(uname -r)"
echo "zpool $(cat $zswap/zpool 2>/dev/null || echo none)"
echo "enabled $(cat $zswap/enabled 2>/dev/null || echo none)"
echo "swaps $(tail -n +2 /proc/swaps | cut -d' ' -f1)"
echo "failed $(systemctl list-units --failed --plain --no-legend | cut -d' ' -f1 | paste -sd' ')"
echo "unit $(systemctl is-enabled rsmalloc), $(systemctl is-active rsmalloc)"
journalctl -b -u rsmalloc -o cat | sed 's/^/journal /'
swap
dmesg | sed -E 's/^\[[^]]*\] //' | grep -E '^(rsmalloc:|zswap:|zpool:|Loading of|Lockdown|PKCS)' | sed 's/^/dmesg /'
dmesg | grep -cE 'BUG|WARNING:|Oops|Call Trace' | sed 's/^/complaints /'
echo "finished"
systemctl poweroff --no-block
