#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs the tests: those on the host, and the selftests in virtual machines, each
# kernel with what only it can show. A step that fails does not stop the others.
# The last line says how many tests passed and failed.

set -euo pipefail
# There is nothing to ask, and standard input may be closed.
exec </dev/null
# As a recipe of make: the makes below have variables and jobs of their own.
unset MAKEFLAGS MFLAGS MAKELEVEL

miri_path=$PATH
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C

here=$(dirname "$(readlink -f "$0")")
top=${here%/*}
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

work=${XDG_CACHE_HOME:-$HOME/.cache}/rsmalloc/test
logs=$work/logs
selftests=tools/testing/selftests/rsmalloc

# How long another run of the tests may take.
patience=3600
# An end to every command that could hang; the virtual machines have their own.
limit=(timeout -k 10 900)

# shellcheck source=scripts/jobs.sh
. "$here/jobs.sh"

usage()
{
	cat <<-EOF
	Usage: scripts/test.sh                      what "make test" runs: check, stock and debug
	       scripts/test.sh check                what needs no virtual machine
	       scripts/test.sh package              builds the Debian package, and tests its installation
	       scripts/test.sh all                  everything on every kernel, with a table of the results
	       scripts/test.sh KERNEL [SUITE...]    one kernel, or only these suites on it
	       scripts/test.sh --list               the kernels and their suites

	Logs are kept in $logs
	EOF
}

# --- What runs where ---------------------------------------------------------

# With this, pools have the zspages that otherwise only large ones have.
fine=rsmalloc.populous_pages=0

kernels=(stock debug stock-rt stock-arm64 stock-arm64-16k plain nocompact)

# plan KERNEL: calls "boot [--append PARAMETERS] [--expect REGEX] SUITE..." for each
# virtual machine with that kernel. A suite is a test of $selftests without ".sh",
# perhaps with a word after ":" that tells apart two boots that it is run in. With
# --expect, the kernel must complain of that, and of nothing else.
plan()
{
	case $1 in
	stock)
		# What people run. Preemption as with preempt=full is the case that
		# the lock is there for.
		boot module zpool zswap
		boot swap
		boot --append preempt=full migrate async compact
		boot --append "$fine" zpool:fine
		boot hugepages migration_rate
		boot --append movablecore=400M offline
		;;
	debug)
		# What lockdep, KASAN and checks for atomic context notice, and CMA,
		# which stock kernels lack.
		boot module zpool
		boot migrate async lock
		boot --append "$fine" compact:fine
		boot --append cma=224M cma
		boot --append kmemleak=on leaks
		boot --expect rsmalloc_zspage lockdep_report
		boot --expect preempt_count_add bit_spin_lock
		;;
	stock-rt)
		# Spinlocks sleep there.
		boot module zpool zswap swap
		boot --append "$fine" migrate async compact:fine
		;;
	stock-arm64 | stock-arm64-16k)
		# Another architecture, with weaker ordering, and larger pages.
		boot module zpool zswap swap
		boot --append "$fine" migrate async compact:fine
		;;
	plain)
		# The route for kernels with CONFIG_RUST=y.
		boot module zpool zswap swap
		boot migrate async compact
		boot hugepages
		boot --append cma=224M cma
		;;
	nocompact)
		# Pages that are not movable, and must not be asked for as such.
		boot --append movablecore=400M module compact offline
		boot --append movablecore=400M zswap swap
		;;
	esac
}

# steps KERNEL: calls "other SUITE KIND COMMAND..." for what needs the module of
# that kernel, and is no selftest.
steps()
{
	case $1 in
	stock)
		other costs ktap recorded_costs
		other metadata command page_metadata
		;;
	esac
}

suites_of()
(
	suites=()
	boot()
	{
		[[ $1 != --* ]] || shift 2
		suites+=("$@")
	}
	other() { suites+=("$1"); }
	plan "$1"
	steps "$1"
	echo "${suites[@]}"
)

# A selftest that no kernel runs is one that nobody sees fail.
every_selftest()
{
	local name names planned

	names=$(sed -n '/^TEST_PROGS :=/,/[^\\]$/{ s/.*:=//; s/\\$//; p }' "$top/$selftests/Makefile")
	planned=" $(for name in "${kernels[@]}"; do suites_of "$name"; done | sed -E 's/:[^ ]*//g' | paste -sd' ') "
	for name in $names; do
		if [[ $planned == *" ${name%.sh} "* ]]; then
			echo "ok - $name"
		else
			echo "not ok - $name is in no plan of scripts/test.sh"
		fi
	done | awk '{ sub(/ok/, "ok " NR); print } END { print "1.." NR }'
}

# --- Counting ----------------------------------------------------------------

# One test, which is the command itself.
count_command()
{
	echo "$(($2 == 0)) $(($2 != 0)) 0"
}

count_ktap()
{
	awk '/^ok [0-9]+ .*# SKIP/ { skipped++; next }
	     /^ok [0-9]+/ { passed++ }
	     /^not ok [0-9]+/ { failed++ }
	     END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

count_cargo()
{
	awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
	     END { print passed + 0, failed + 0, skipped + 0 }' "$1"
}

# What scripts/verdict.py says last.
count_verdict()
{
	sed -n -E 's/^([0-9]+) passed, ([0-9]+) failed(, ([0-9]+) skipped)?$/\1 \2 0\4/p' "$1" | tail -n 1
}

skips_command() { :; }
skips_ktap() { sed -n -E 's/^ok [0-9]+ (.*)# SKIP ?(.*)/\1\2/p' "$1"; }
skips_cargo() { sed -n -E 's/^test (.*) \.\.\. ignored.*/\1/p' "$1"; }
skips_verdict() { sed -n 's/^skipped: //p' "$1"; }

# may_be_skipped KERNEL TEXT: whether the list has it.
may_be_skipped()
{
	local kernel pattern

	while read -r kernel pattern; do
		[[ $kernel && $kernel != "#"* ]] || continue
		# shellcheck disable=SC2053 # A pattern for names of kernels it is.
		[[ $1 == $kernel && $2 =~ $pattern ]] && return
	done <"$top/tools/testing/skips"
	return 1
}

# --- What the jobs do --------------------------------------------------------

# on KERNEL COMMAND...: with the variables for that kernel.
on()
{
	local assignments

	kernel=$1
	assignments=$("$here/setup.sh" env "$kernel")
	eval "$assignments"
	"${@:2}"
}

# One copy of the tree per kernel: the kernel's build system has modules built
# where their sources are. What did not change keeps its time, and what did gets
# a new one even if its own is older than the last build.
copy_tree()
{
	tree=$work/$1/tree
	mkdir -p "$tree"
	rsync -rlpc --delete --exclude=/.git --filter=':- .gitignore' "$top/" "$tree/"
}

build_module()
{
	copy_tree "$1"
	"${limit[@]}" make -C "$tree" -j"$(nproc)" "${RSMALLOC_MAKE_ARGS[@]}" "${@:2}"
}

build_selftests()
{
	local output=$work/$kernel/selftests

	rm -rf "$output/install"
	mkdir -p "$output"
	"${limit[@]}" make -C "$top/$selftests" "${RSMALLOC_MAKE_ARGS[@]}" KSRC="$RSMALLOC_KSRC" \
		OUTPUT="$output" INSTALL_PATH="$output/install/rsmalloc" \
		RSMALLOC_KO="$work/$kernel/tree/rsmalloc.ko" install
}

host_tests()
{
	cd "$top/tools/testing/host/$1"
	CARGO_TARGET_DIR=$work/host${1//[!a-z]/} RUSTC=$RSMALLOC_RUSTC \
		"${limit[@]}" "$RSMALLOC_CARGO" test --locked
}

print_make_args() { echo "${RSMALLOC_MAKE_ARGS[*]}"; }

# Like the tar of Debian's linux-source package, with as much as the module takes.
pack_source()
{
	tar -cJf "$1" -C "$RSMALLOC_KSRC" --transform='s,^,linux-source-6.12/,' \
		Makefile .clippy.toml rust scripts/generate_rust_target.rs
}

both_routes()
{
	local tar=$work/routes/linux-source-6.12.tar.xz

	copy_tree routes
	on stock pack_source "$tar"
	"$top/tools/testing/build/build_test.sh" "$tree" "$(on stock print_make_args)" "$(on debug print_make_args)" "$tar"
}

has_miri() { PATH=$miri_path cargo miri --version >/dev/null 2>&1; }

miri()
{
	cd "$top/tools/testing/host"
	PATH=$miri_path CARGO_TARGET_DIR=$work/miri MIRIFLAGS=-Zmiri-disable-isolation \
		timeout -k 10 3600 cargo miri test --locked
}

recorded_costs()
{
	RSMALLOC_KO=$work/$kernel/tree/rsmalloc.ko "${limit[@]}" "$here/bench.sh" --check
}

shell_scripts()
{
	cd "$top"
	find . -name .git -prune -o -name target -prune -o -type f \
		\( -name '*.sh' -o -path ./.ci/run \) -exec shellcheck -x -P SCRIPTDIR:. {} +
}

# The kernel's own checks of style, without those that do not hold here: a function
# of no arguments as the type of a parameter, a structure that is written to, and the
# arguments of a program, which are not constant.
c_style()
{
	# It leaves a file where it is run.
	cd "$work"
	find "$top/rust" "$top/tools" -name target -prune -o -name '*.[ch]' -print0 |
		xargs -0 perl "$RSMALLOC_KSRC/scripts/checkpatch.pl" --no-tree --terse --show-types \
			--ignore FUNCTION_ARGUMENTS,CONST_STRUCT,STATIC_CONST_CHAR_ARRAY --file
}

litmus() { "${limit[@]}" "$here/litmus.sh" "$RSMALLOC_KSRC"; }

# Migration moves what the kernel keeps beside a page's contents as well. This is
# seen in the functions that are called when the kernel is said to have KMSAN.
page_metadata()
{
	copy_tree "$kernel/metadata"
	"${limit[@]}" make -C "$RSMALLOC_KDIR" M="$tree" "${RSMALLOC_MAKE_ARGS[@]}" \
		KCFLAGS=-DCONFIG_KMSAN=1 rust/helpers.s
	grep -w kmsan_copy_page_meta "$tree/rust/helpers.s"
}

# The package, installed on a Debian like this one.
installation()
{
	((EUID == 0)) || {
		echo "ok 1 # SKIP installing packages in a folder needs root"
		return
	}
	timeout -k 60 7200 "$top/tools/testing/install/install_test.sh" "$(. /etc/os-release && echo "$VERSION_CODENAME")"
}

# run_suites NAME APPEND EXPECT SUITE...: in a virtual machine of their own.
run_suites()
{
	local name=$1 append=$2 expect=$3 suite tests=() size=(--memory 768M --swap 512M)
	shift 3

	for suite; do
		tests+=(--test "rsmalloc:${suite%%:*}.sh")
	done
	# Objects of up to a page take four times as much where pages are.
	if [[ $kernel == *-16k ]]; then
		size=(--memory 2560M --swap 2G)
	fi
	"$here/vm.sh" --kernel "$kernel" "${size[@]}" --ktap \
		${expect:+--expect "$expect"} ${append:+--append "$append"} --timeout 1500 \
		--log "$logs/$kernel-$name.console" -- \
		"$work/$kernel/selftests/install/run_kselftest.sh" "${tests[@]}"
}

# --- Putting it together -----------------------------------------------------

check_jobs()
{
	job check/shell command "shell scripts" shell_scripts
	job check/rustfmt command "Rust format" on stock make -C "$top" rustfmtcheck RUSTFMT=/usr/bin/rustfmt
	job check/verdict ktap "verdict of console logs" "${limit[@]}" "$top/tools/testing/verdict/test_verdict.py"
	job check/plans ktap "selftests are all in a plan" every_selftest
	job check/versions command "versions of the package" "$here/deb.sh" check
	job check/jobs ktap "jobs of this run" "${limit[@]}" "$top/tools/testing/runner/jobs_test.sh"
	job check/preflight ktap "preflight" "${limit[@]}" "$top/tools/testing/preflight/preflight_test.sh"
	job check/setup ktap "errors of the set-up" "${limit[@]}" "$top/tools/testing/setup/setup_test.sh"
	job check/host cargo "module on the host" on stock host_tests .
	job check/loom cargo "lock under loom" on stock host_tests loom
	job check/litmus ktap "lock in the kernel's memory model" on stock litmus
	job check/clippy command "clippy" on stock build_module clippy clippy
	[[ ! -e $RSMALLOC_KSRC/scripts/checkpatch.pl ]] ||
		job check/c-style command "C style" on stock c_style
}

package_jobs()
{
	job package/deb command "Debian package" "${limit[@]}" "$here/deb.sh"
	job --after package/deb package/install ktap "Debian package, installed" installation
}

# kernel_jobs KERNEL [SUITE...]: those on one kernel, or only the suites that are named.
kernel_jobs()
{
	local kernel=$1 before=() wanted=${*:2} number=0 suites
	shift

	if [[ $kernel != "$first" ]]; then
		job --background "$kernel/set-up" command "$kernel kernel: set-up" "$here/setup.sh" kernel "$kernel"
		before=(--after "$kernel/set-up")
	fi
	chosen()
	{
		local suite

		suites=()
		for suite; do
			if [[ -z $wanted || " $wanted " == *" $suite "* ]]; then
				suites+=("$suite")
			fi
		done
		((${#suites[@]}))
	}
	other()
	{
		! chosen "$1" || job --after "$kernel/build" "$kernel/$1" "$2" "$kernel kernel: $1" on "$kernel" "${@:3}"
	}
	boot()
	{
		local append='' expect=''

		while [[ $1 == --* ]]; do
			declare "${1#--}=$2"
			shift 2
		done
		chosen "$@" || return 0
		number=$((number + 1))
		job_suites[$kernel/boot$number]=${suites[*]}
		job --after "$kernel/selftests" "$kernel/boot$number" verdict \
			"$kernel kernel: ${suites[*]}${append:+ ($append)}" \
			on "$kernel" run_suites "boot$number" "$append" "$expect" "${suites[@]}"
	}
	job "${before[@]}" "$kernel/build" command "$kernel kernel: module" on "$kernel" build_module "$kernel"
	job --after "$kernel/build" "$kernel/selftests" command "$kernel kernel: selftests" on "$kernel" build_selftests
	plan "$kernel"
	steps "$kernel"
}

# Kernel by suite. What failed in a boot beside its suites is a complaint of the
# kernel, or the end of the virtual machine.
print_table()
{
	local id suite kernel good bad left line=()
	local -A cell=()

	add()
	{
		local had=(0 0 0)

		[[ -z ${cell[$1]:-} ]] || IFS=/ read -ra had <<<"${cell[$1]}"
		cell[$1]=$((had[0] + $2))/$((had[1] + $3))/$((had[2] + $4))
	}
	for id in "${jobs[@]}"; do
		kernel=${id%%/*}
		read -r good bad left <<<"${job_counts[$id]}"
		if [[ -z ${job_suites[$id]:-} ]]; then
			add "$kernel ${id#*/}" "$good" "$bad" "$left"
			continue
		fi
		for suite in ${job_suites[$id]}; do
			read -ra line < <(sed -n "/^${suite%%:*}\.sh: /{s/.*: //; s/[^0-9]/ /g; p}" \
				"$(job_log "$id")" 2>/dev/null | tail -n 1) || true
			line=("${line[0]:-0}" "${line[1]:-1}" "${line[2]:-0}")
			add "$kernel $suite" "${line[@]}"
			bad=$((bad - line[1]))
		done
		((bad <= 0)) || add "$kernel boot" 0 "$bad" 0
	done
	echo "passed/failed/skipped, of each suite on each kernel:"
	printf '%-16s' suite
	printf '%16s' check package "${kernels[@]}"
	echo
	for suite in $(printf '%s\n' "${!cell[@]}" | cut -d' ' -f2 | sort -u); do
		printf '%-16s' "$suite"
		for kernel in check package "${kernels[@]}"; do
			printf '%16s' "${cell[$kernel $suite]:--}"
		done
		echo
	done
}

list()
{
	local name

	echo "check: what needs no virtual machine"
	echo "package: what installs the Debian package"
	for name in "${kernels[@]}"; do
		echo "$name: $(suites_of "$name")"
	done
}

mode=${1:-test}
case $mode in
-h | --help)
	usage
	exit
	;;
--list)
	list
	exit
	;;
check | package | test | all)
	(($# < 2)) || die "$1 is not followed by anything; see --help"
	first=stock
	;;
*)
	[[ " ${kernels[*]} " == *" $mode "* ]] ||
		die "there is no kernel \"$mode\"; there are: ${kernels[*]} (see --list)"
	known=$(suites_of "$mode")
	for suite in "${@:2}"; do
		[[ " $known " == *" $suite "* ]] ||
			die "there is no suite \"$suite\" for kernel $mode; there are: $known"
	done
	first=$mode
	;;
esac

{
	"$here/setup.sh" kernel "$first" && "$here/setup.sh" tests &&
		{ [[ $mode != all && $mode != package ]] || "$here/setup.sh" packaging; }
} || {
	echo "0 passed, 1 failed"
	exit 1
}
assignments=$("$here/setup.sh" env "$first")
eval "$assignments"

mkdir -p "$work"
exec {lock}>"$work/lock"
flock -n "$lock" || {
	echo "waiting for another run of the tests to finish ..."
	flock -w "$patience" "$lock" || die "another run holds $work/lock after $(duration $patience)"
}
rm -rf "$logs"
mkdir -p "$logs"
guard_jobs

declare -A job_suites=()
case $mode in
check) check_jobs ;;
package) package_jobs ;;
test)
	check_jobs
	kernel_jobs stock
	kernel_jobs debug
	job --after debug/set-up debug/routes ktap "both build routes" both_routes
	;;
all)
	check_jobs
	package_jobs
	! has_miri || job check/miri cargo "module on the host under miri" miri
	for name in "${kernels[@]}"; do
		kernel_jobs "$name"
	done
	job --after debug/set-up debug/routes ktap "both build routes" both_routes
	;;
*) kernel_jobs "$@" ;;
esac
run_jobs
# bash goes on after some errors.
((printed == ${#jobs[@]})) || die "only $printed of ${#jobs[@]} steps were done"
if [[ $mode == all ]]; then
	print_table | tee "$work/table.txt"
fi
totals "$passed" "$failed" "$skipped"
((passed && !failed))
