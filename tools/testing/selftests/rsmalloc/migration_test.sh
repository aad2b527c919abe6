# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# How to load migration_test.ko, and what else the tests that use it share. To
# be sourced after common.sh.
#
# shellcheck disable=SC2154 # common.sh sets $tests and $tmp

# address MODULE PATTERN: of the only function of a module (or "", the kernel)
# whose symbol matches. Beside functions there are symbols for the padding before
# them (__pfx_), and for parts that the compiler took out of them.
address()
{
	awk -v module="${1:+[$1]}" -v pattern="$2" '
		$4 == module && $3 ~ pattern { print "0x" $1; found++ }
		END { exit found != 1 }' /proc/kallsyms
}

# load_migration_test BACKEND: for a backend that moves pages, these are counted.
load_migration_test()
{
	local migrate putback
	case $1 in
	rsmalloc)
		load && migrate=$(address rsmalloc '^_RNvM.*[0-9]migrate_pageB') &&
			putback=$(address rsmalloc '^_RNvM.*[0-9]putback_pageB')
		;;
	zsmalloc)
		migrate=$(address "" '^zs_page_migrate$') &&
			putback=$(address "" '^zs_page_putback$')
		;;
	*)
		load_tests migration_test "backend=$1"
		return
		;;
	esac || {
		echo "the functions that migrate pages of $1 are not in /proc/kallsyms"
		return 1
	}
	load_tests migration_test "backend=$1" "migrate_page=$migrate" "putback_page=$putback"
}

# counter NAME: one of migration_test.ko, which explains them.
counter()
{
	cat "$tests/$1"
}

# refusing COMMAND...: while the pool's pages are not moved, the command fails.
refusing()
{
	local status
	echo 1 >"$tests/refuse"
	"$@" >"$tmp/refused" 2>&1
	status=$?
	echo 0 >"$tests/refuse"
	[ "$status" -ne 0 ] && [ "$(counter refused)" -gt 0 ] && return
	echo "it ended with status $status, and $(counter refused) moves were refused"
	return 1
}

# at_least WHAT ACTUAL LIMIT
at_least()
{
	[ "$2" -ge "$3" ] && return
	echo "$1: $2, which is less than $3"
	return 1
}

meminfo()
{
	awk -v name="$1:" '$1 == name { print $2 }' /proc/meminfo
}
