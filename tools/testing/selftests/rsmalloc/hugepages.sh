#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Huge pages can be had from memory in which the pool's pages lie scattered,
# because the kernel moves those out of the way. zbud, whose pages stay where
# they are, shows what the same request gets without migration.
#
# Catches pages that are not movable, that are never moved, or that lie among
# unmovable ones: then rsmalloc gets no more than zbud does. And contents that
# are lost on the way.

DIR=$(dirname "$(readlink -f "$0")")
. "$DIR/common.sh"
. "$DIR/migration_test.sh"

nr_hugepages=/proc/sys/vm/nr_hugepages

# take_huge_pages: asks for nine tenths of the free memory, and sets $wanted and
# $got to numbers of huge pages. The request alone would pass over blocks in
# which the kernel found nothing to do some time before, and give up.
take_huge_pages()
{
	echo 1 >/proc/sys/vm/drop_caches
	compact_memory
	wanted=$(($(meminfo MemFree) * 9 / 10 / $(meminfo Hugepagesize)))
	echo "$wanted" >"$nr_hugepages"
	got=$(cat "$nr_hugepages")
	echo 0 >"$nr_hugepages"
}

[ -w "$nr_hugepages" ] || skip_all "the kernel has no huge pages"
moves_pages || skip_all "this kernel moves no pages (COMPACTION)"
swap_off

ktap_print_header
ktap_set_plan 6
load_migration_test rsmalloc || exit "$KSFT_FAIL"
check "rsmalloc: the pool is filled" run_test fill
take_huge_pages
ktap_print_msg "rsmalloc: $got of $wanted huge pages, $(counter moved) pages of the pool moved"
check "rsmalloc: nearly all huge pages are there" \
	at_least "huge pages" "$got" $((wanted * 9 / 10))
check "rsmalloc: contents are what they were" run_test check
rmmod migration_test

load_migration_test zbud || exit "$KSFT_FAIL"
check "zbud: the pool is filled" run_test fill
take_huge_pages
ktap_print_msg "zbud: $got of $wanted huge pages"
check "zbud: there are few huge pages" at_least "a third of the pages wanted" $((wanted / 3)) "$got"
check "zbud: contents are what they were" run_test check
rmmod migration_test
unload || exit "$KSFT_FAIL"
ktap_finished
