#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Measures rsmalloc beside the other backends: what the same calls cost each of
# them, and how much memory it takes for the same objects.

set -euo pipefail
# There is nothing to ask, and standard input may be closed.
exec </dev/null
# As a recipe of make: the makes below have variables and jobs of their own.
unset MAKEFLAGS MFLAGS MAKELEVEL

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C

here=$(dirname "$(readlink -f "$0")")
top=${here%/*}
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/versions.sh
. "$here/versions.sh"

usage()
{
	cat <<-EOF
	Usage: ${0##*/} [--quick | --check | --record] [--kdir DIR]

	  (nothing)    measure everything; tables, a CSV file and plots
	  --quick      costs and densities for one trace, in about a minute
	  --check      compare rsmalloc's costs with the recorded ones; prints KTAP
	  --record     record them
	  --trace NAME with --quick: one of $(cd "$bench/traces" && echo *.u16 | sed 's/\.u16//g') (default: lzo)
	  --kdir DIR   build folder of the kernel (default: the one that scripts/setup.sh built)

	The environment: RSMALLOC_KO, the module to measure (default: built here).
	Everything that is written goes to $work.
	EOF
}

bench=$top/tools/testing/bench
work=${XDG_CACHE_HOME:-$HOME/.cache}/rsmalloc/bench
recorded=$bench/recorded
backends=(zsmalloc zbud z3fold rsmalloc)
mode=all trace=lzo kdir="" ko=${RSMALLOC_KO:-}

# How long another benchmark may take.
patience=1800

while (($#)); do
	case $1 in
	--quick | --check | --record) mode=${1#--} ;;
	--trace | --kdir)
		(($# >= 2)) || die "$1 needs a value; see --help"
		declare "${1#--}=$2"
		shift
		;;
	--help)
		usage
		exit
		;;
	*) die "unknown option '$1'; see --help" ;;
	esac
	shift
done
[[ -e $bench/traces/$trace.u16 ]] || die "there is no trace '$trace'; see --help"

build_modules()
{
	if [[ -z $ko ]]; then
		ko=$top/rsmalloc.ko
		timeout 600 make -C "$top" "${RSMALLOC_MAKE_ARGS[@]}" >"$work/make.log" 2>&1 || {
			tail -n 25 "$work/make.log" >&2
			die "the module does not build; the whole log is $work/make.log"
		}
	fi
	[[ -e $ko ]] || die "there is no module '$ko', which RSMALLOC_KO names"
	mkdir -p "$work/module"
	rsync -c "$bench"/module/* "$work/module"
	timeout 600 make -C "$kdir" M="$work/module" "LLVM=-$LLVM_MAJOR" modules >"$work/make.log" 2>&1 || {
		tail -n 25 "$work/make.log" >&2
		die "zpool_bench.ko does not build; the whole log is $work/make.log"
	}
}

# guest NAME VM-OPTION... -- COMMAND...: has a guest carry out commands of
# zpool_bench.ko, and keeps what it prints in $work/NAME.
guest()
{
	local name=$1 options=()
	shift

	while [[ $1 != -- ]]; do
		options+=("$1")
		shift
	done
	shift
	"$here/vm.sh" --kdir "$kdir" --tcg --memory 2G --timeout 900 --log "$work/$name.console" \
		"${options[@]}" -- bash "$bench/guest.sh" "$work/module/zpool_bench.ko" "$ko" "$@" |
		tee "$work/$name" | sed -u '/^bench: end$/d; /^bench: .*=/d; s|^bench: \([^ ]* [^ ]* \).*/|  \1|' >&2 ||
		die "the guest failed; its whole log is $work/$name.console"
}

# One processor, and a clock that counts instructions.
exact=(--cpus 1 --qemu-opts "-icount shift=0,sleep=off")

# costs OBJECTS TRACE BACKEND...: the commands for that.
costs()
{
	local objects=$1 trace=$2 backend
	shift 2

	for backend; do
		echo "cost $backend $bench/traces/$trace.u16 $objects"
	done
}

if [[ -z $kdir ]]; then
	[[ $mode != all ]] || "$here/setup.sh" || die "the set-up did not complete, for the reason above"
	assignments=$("$here/setup.sh" env) || die "run scripts/setup.sh first"
	eval "$assignments"
	kdir=$RSMALLOC_KDIR
	export RSMALLOC_VNG
elif [[ -z $ko ]]; then
	die "--kdir needs RSMALLOC_KO, a module built for that kernel"
fi

mkdir -p "$work"
exec {lock}>"$work/lock"
if ! flock -n "$lock"; then
	echo "waiting for another benchmark to finish, up to $(duration $patience) ..." >&2
	flock -w "$patience" "$lock" || die "another benchmark still holds $work/lock"
fi
build_modules

case $mode in
quick)
	mapfile -t commands < <(costs 60000 "$trace" "${backends[@]}")
	guest quick "${exact[@]}" -- "${commands[@]}"
	"$bench/report.py" "$work/quick"
	;;
check | record)
	mapfile -t commands < <(costs 20000 lzo rsmalloc)
	guest check "${exact[@]}" -- "${commands[@]}"
	"$bench/report.py" "--$mode" "$recorded" "$work/check"
	;;
esac
