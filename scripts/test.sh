#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs all tests: those on the host, and the selftests in a virtual machine with
# each kernel. A step that fails does not stop the others. The last line says
# how many tests passed and failed.

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
patience=1800
# An end to every command that could hang; the virtual machines have their own.
limit=(timeout -k 10 600)

passed=0
failed=0
skipped=0

# --- Steps and their results -------------------------------------------------

# The functions count_* print how many tests passed, failed and were skipped
# according to a log, each for one kind of command.

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

totals()
{
	printf '%d passed, %d failed' "$1" "$2"
	(($3 == 0)) || printf ', %d skipped' "$3"
	echo
}

# step KIND NAME COMMAND...
step()
{
	local kind=$1 name=$2 log start=$SECONDS status=0 good='' bad='' left=''
	shift 2

	log=$logs/${name//[^A-Za-z0-9]/-}.log
	printf '%-40s ' "$name"
	# A command that is not in a condition, lest errexit be off in it.
	set +e
	(
		set -e
		# What a killed run leaves running must not make the next one wait.
		exec {lock}>&-
		"$@"
	) >"$log" 2>&1
	status=$?
	set -e
	read -r good bad left < <("count_$kind" "$log" "$status") || true
	good=${good:-0} bad=${bad:-0} left=$((10#${left:-0}))
	# A command that breaks off, or finds nothing to test, has failed as well.
	if ((bad == 0 && (status || good + left == 0))); then
		bad=1
	fi
	passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
	printf '%s, %s\n' "$(duration $((SECONDS - start)))" "$(totals "$good" "$bad" "$left")"
	if ((bad)); then
		tail -n 40 "$log" | sed 's/^/    /'
		echo "    (exit status $status; the whole log is $log)"
	fi
}

# skip NAME REASON
skip()
{
	printf '%-40s skipped: %s\n' "$1" "$2"
	skipped=$((skipped + 1))
}

# --- What the steps do -------------------------------------------------------

# One copy of the tree per kernel: the kernel's build system has modules built
# where their sources are. What did not change keeps its time, and what did gets
# a new one even if its own is older than the last build.
build_module()
{
	local tree=$work/$1/tree
	shift

	mkdir -p "$tree"
	rsync -rlpc --delete --exclude=/.git --filter=':- .gitignore' "$top/" "$tree/"
	"${limit[@]}" make -C "$tree" "${RSMALLOC_MAKE_ARGS[@]}" "$@"
}

build_selftests()
{
	rm -rf "$work/$1/selftests/install"
	mkdir -p "$work/$1/selftests"
	"${limit[@]}" make -C "$top/$selftests" "${RSMALLOC_MAKE_ARGS[@]}" KSRC="$RSMALLOC_KSRC" \
		OUTPUT="$work/$1/selftests" INSTALL_PATH="$work/$1/selftests/install/rsmalloc" \
		RSMALLOC_KO="$work/$1/tree/rsmalloc.ko" install
}

host_tests()
{
	cd "$top/tools/testing/host/$1"
	CARGO_TARGET_DIR=$work/host RUSTC=$RSMALLOC_RUSTC \
		"${limit[@]}" "$RSMALLOC_CARGO" test --locked
}

miri()
{
	cd "$top/tools/testing/host"
	PATH=$miri_path CARGO_TARGET_DIR=$work/miri MIRIFLAGS=-Zmiri-disable-isolation \
		"${limit[@]}" cargo miri test --locked
}

recorded_costs()
{
	RSMALLOC_KO=$work/plain/tree/rsmalloc.ko "${limit[@]}" "$here/bench.sh" --check
}

shell_scripts()
{
	cd "$top"
	find . -name .git -prune -o -name target -prune -o -type f \
		\( -name '*.sh' -o -path ./.ci/run \) -exec shellcheck -x -P SCRIPTDIR:. {} +
}

# The tests leave half of two processors idle. Kernels that are not there yet are
# built in the other half.
build_kernels()
{
	# A process group of its own, to be ended as a whole.
	# shellcheck disable=SC2016 # It is the other shell that expands it.
	setsid nice -n 19 bash -ec 'for name; do "$0" kernel "$name"; done' \
		"$here/setup.sh" "$@" >"$logs/kernels.log" 2>&1 {lock}>&- &
	builder=$!
	trap 'kill -- "-$builder" 2>/dev/null || true' EXIT
}

# Waits for a kernel that is being built, or builds it if nobody does.
set_up_kernel()
{
	until "$here/setup.sh" env "$1" >/dev/null 2>&1; do
		if ! kill -0 "$builder" 2>/dev/null; then
			"$here/setup.sh" kernel "$1"
			return
		fi
		sleep 5
	done
}

# use_kernel NAME: makes it the one that the following suites run on.
use_kernel()
{
	local assignments

	kernel=$1
	[[ $1 == plain ]] || step command "$1 kernel: set-up" set_up_kernel "$1"
	assignments=$("$here/setup.sh" env "$1") || return 0
	eval "$assignments"
	step command "$1 kernel: module" build_module "$1"
	step command "$1 kernel: selftests" build_selftests "$1"
}

# Migration moves what the kernel keeps beside a page's contents as well. This is
# seen in the functions that are called when the kernel is said to have KMSAN.
page_metadata()
{
	"${limit[@]}" make -C "$RSMALLOC_KDIR" M="$work/plain/tree" "${RSMALLOC_MAKE_ARGS[@]}" \
		KCFLAGS=-DCONFIG_KMSAN=1 rust/helpers.s
	grep -w kmsan_copy_page_meta "$work/plain/tree/rust/helpers.s"
}

# suite [--expect REGEX] TEST...: these selftests in a virtual machine of their
# own with the kernel parameters in $append, in which the kernel must complain of
# what is expected, and of nothing else.
suite()
{
	local name expect=() test tests=()

	if [[ $1 == --expect ]]; then
		expect=("$1" "$2")
		shift 2
	fi
	name="$kernel kernel: ${*%.sh}${append:+ ($append)}"
	for test in "$@"; do
		tests+=(--test "rsmalloc:$test")
	done
	step verdict "$name" "$here/vm.sh" --kdir "$RSMALLOC_KDIR" --memory 768M --swap 512M --ktap \
		"${expect[@]}" ${append:+--append "$append"} --timeout 1500 \
		--log "$logs/${name//[^A-Za-z0-9]/-}.console" -- \
		"$work/$kernel/selftests/install/run_kselftest.sh" "${tests[@]}"
}

# With this, pools have the zspages that otherwise only large ones have.
fine=rsmalloc.populous_pages=0

# --- Putting it together -----------------------------------------------------

"$here/setup.sh" || {
	echo "0 passed, 1 failed"
	exit 1
}
assignments=$("$here/setup.sh" env)
eval "$assignments"

mkdir -p "$work"
exec {lock}>"$work/lock"
flock -n "$lock" || {
	echo "waiting for another run of the tests to finish ..."
	flock -w "$patience" "$lock" || die "another run holds $work/lock after $(duration $patience)"
}
rm -rf "$logs"
mkdir -p "$logs"
build_kernels debug rt nocompact

step command "shell scripts" shell_scripts
step command "Rust format" make -C "$top" "${RSMALLOC_MAKE_ARGS[@]}" rustfmtcheck
step ktap "verdict of console logs" "${limit[@]}" "$top/tools/testing/verdict/test_verdict.py"
step ktap "preflight" "${limit[@]}" "$top/tools/testing/preflight/preflight_test.sh"
step cargo "module on the host" host_tests .
step cargo "lock under loom" host_tests loom
step ktap "lock in the kernel's memory model" "${limit[@]}" "$here/litmus.sh" "$RSMALLOC_KSRC"
if PATH=$miri_path cargo miri --version >/dev/null 2>&1; then
	step cargo "module on the host under miri" miri
else
	skip "module on the host under miri" "there is no cargo miri on this machine"
fi
step command "clippy" build_module clippy clippy

use_kernel plain
step ktap "plain kernel: costs" recorded_costs
suite module.sh zpool.sh
suite zswap.sh swap.sh compact.sh
suite migrate.sh async.sh
append=$fine suite zpool.sh

step command "plain kernel: metadata of pages" page_metadata
suite hugepages.sh migration_rate.sh
append=movablecore=400M suite offline.sh
append=cma=224M suite cma.sh

use_kernel debug
suite module.sh zpool.sh
suite migrate.sh async.sh lock.sh
append=$fine suite compact.sh
suite --expect rsmalloc_zspage lockdep_report.sh
suite --expect preempt_count_add bit_spin_lock.sh

use_kernel rt
suite module.sh zpool.sh zswap.sh swap.sh
append=$fine suite migrate.sh async.sh compact.sh

use_kernel nocompact
append=movablecore=400M suite module.sh zpool.sh compact.sh offline.sh
append=movablecore=400M suite zswap.sh swap.sh

totals "$passed" "$failed" "$skipped"
((passed && !failed))
