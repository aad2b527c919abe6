# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# How to load lock_test.ko. To be sourced after common.sh.

moves_pages || skip_all "this kernel moves no pages (COMPACTION)"

# The tests look for the pages of their objects, which compaction would move.
load_lock_test()
{
	load && may_waste 0 && load_tests lock_test isolate_movable_page migrate_pages putback_movable_pages
}
