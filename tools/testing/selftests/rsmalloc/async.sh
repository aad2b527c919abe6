#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# zswap with an asynchronous compressor: it sleeps while it has an object mapped,
# or copies the object first if its backend cannot have that.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"

counts=/sys/module/async_acomp/parameters
megabytes=$(part 32)

count()
{
	cat "$counts/$1"
}

reset_counts()
{
	local name
	for name in direct direct_bytes copied copied_bytes bounced; do
		echo 0 >"$counts/$name"
	done
}

# sources: from where zswap had objects decompressed.
sources()
{
	echo "$(count direct) objects in place, $(count copied) copied by zswap" \
		"($(count copied_bytes) bytes), $(count bounced) in the backend's buffers"
}

# roundtrip BACKEND: pages come back as they were, most of them through zswap.
roundtrip()
{
	local loads
	select_zpool "$1" && select_compressor lz4-async-test && eventually nothing_stored || return 1
	reset_counts
	"$DIR/swap_roundtrip" "$megabytes" 4 1 || return 1
	loads=$(($(count direct) + $(count copied) + $(count bounced)))
	if [ "$loads" -lt $((megabytes * 1024 * 1024 / 2 / page_size)) ]; then
		echo "only $loads pages were loaded from zswap"
		return 1
	fi
}

# A backend whose mappings may sleep spares zswap the copy of every object. Those
# that come from the backend's own buffer lie in two pages that are apart.
not_copied()
{
	[ "$(count copied)" -eq 0 ] && [ "$(count direct)" -gt "$(count bounced)" ] && return
	sources
	return 1
}

# Otherwise the test above would count nothing.
all_copied()
{
	[ "$(count direct)" -eq 0 ] && [ "$(count copied)" -gt 0 ] && return
	sources
	return 1
}

# While holders of mappings sleep, the kernel moves pages.
roundtrip_while_compacting()
{
	local status=0 compacting moved
	moved=$(vmstat pgmigrate_success)
	while sleep 0.02; do
		echo 1 >/proc/sys/vm/compact_memory
	done &
	compacting=$!
	roundtrip rsmalloc || status=1
	kill "$compacting"
	wait "$compacting" 2>/dev/null
	if [ "$(vmstat pgmigrate_success)" = "$moved" ]; then
		echo "no page was moved meanwhile"
		return 1
	fi
	return "$status"
}

# All that zswap has of the compressor goes with its pools.
compressor_goes()
{
	select_compressor lzo && select_zpool zsmalloc && eventually rmmod async_acomp
}

swap_on
need_modules lz4
load && insmod "$DIR/async_acomp.ko" || exit "$KSFT_FAIL"

ktap_print_header
ktap_set_plan 6
check "rsmalloc: $megabytes MB come back" roundtrip rsmalloc
ktap_print_msg "rsmalloc: $(sources); copying them would be" \
	"$(count direct_bytes) bytes in $(count direct) loads"
check "rsmalloc: zswap copies no object" not_copied
check "rsmalloc: $megabytes MB come back while pages are moved" roundtrip_while_compacting
check "zsmalloc: $megabytes MB come back" roundtrip zsmalloc
ktap_print_msg "zsmalloc: $(sources)"
check "zsmalloc: zswap copies every object" all_copied
check "the compressor can be removed" compressor_goes
unload || exit "$KSFT_FAIL"
ktap_finished
