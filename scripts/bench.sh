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
	Usage: ${0##*/} [--quick | --check | --record] [OPTION]...

	  (nothing)    measure everything; tables, a CSV file and plots
	  --quick      costs and densities for one trace, in about a minute
	  --check      compare rsmalloc's costs with the recorded ones; prints KTAP
	  --record     record them
	  --trace NAME with --quick: one of $(cd "$bench/traces" && echo *.u16 | sed 's/\.u16//g') (default: lzo)
	  --output DIR where the tables, the CSV file and the plots go (default: $output)

	The costs are checked on Debian's kernel, as people run it, and all else is measured
	on the plain one, which has all backends.
	The environment: RSMALLOC_KO, the module to measure (default: built here).
	The logs and what the guests printed stay in $work.
	EOF
}

bench=$top/tools/testing/bench
work=${XDG_CACHE_HOME:-$HOME/.cache}/rsmalloc/bench
output=$work/results
recorded=$bench/recorded
backends=(zsmalloc zbud z3fold rsmalloc)
mode=all trace=lzo kernel=plain ko=${RSMALLOC_KO:-}

# How long another benchmark may take.
patience=1800

while (($#)); do
	case $1 in
	--quick) mode=quick ;;
	--check | --record) mode=${1#--} kernel=stock ;;
	--trace | --output)
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
	# One copy per kernel, for kbuild does not notice another one.
	built=$work/${RSMALLOC_KDIR##*/}
	mkdir -p "$built"
	rsync -c "$bench"/module/* "$built"
	gcc -O2 -Wall -o "$built/swap_processes" "$bench/swap_processes.c" ||
		die "swap_processes.c does not compile"
	timeout 600 make -C "$RSMALLOC_KDIR" M="$built" "${RSMALLOC_MAKE_ARGS[@]}" modules >"$work/make.log" 2>&1 || {
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
	"$here/vm.sh" --kernel "$kernel" --memory 2G --timeout 900 --log "$work/$name.console" \
		"${options[@]}" -- bash "$bench/guest.sh" "$ko" "$built" "$@" |
		tee "$work/$name" | sed -u '/^bench: end$/d; /^bench: .*=/d; s|^bench: |  |; s|/[^ ]*/||' >&2 ||
		die "the guest failed; its whole log is $work/$name.console"
}

# One processor, and a clock that counts instructions.
exact=(--tcg --cpus 1 --qemu-opts "-icount shift=0,sleep=off")
# Processors that run at the same time, and swap space for all processes.
parallel=(--cpus $(($(nproc) < 4 ? $(nproc) : 4)) --swap 512M)

# commands MODE TRACE ARGUMENT...: that for each backend.
commands()
{
	local mode=$1 trace=$2 backend
	shift 2

	[[ ! -e $bench/traces/$trace.u16 ]] || trace=$bench/traces/$trace.u16
	for backend in "${backends[@]}"; do
		echo "$mode $backend $trace $*"
	done
}

exact_commands()
{
	local trace

	for trace in lzo zstd uniform python.lz4 node.lz4 java.lz4; do
		commands cost "$trace" 60000
	done
	commands cost lzo 400000
}

# More than once, for a run may have had to share the host's processors.
parallel_commands()
{
	local count

	for _ in 1 2 3; do
		for count in 1 2 4; do
			commands threads lzo 60000 "$count"
		done
		for count in 1 2 4; do
			commands processes lzo 64 "$count"
		done
	done
	commands slabs - 0
}

# The same module in User Mode Linux: on the host's processor, caches included. The
# guest prints one command after the other, as guest() has it.
native()
(
	tree=$work/native-tree init=$work/native-init
	"$here/setup.sh" kernel uml || exit
	assignments=$("$here/setup.sh" env uml) || exit
	eval "$assignments"
	mkdir -p "$tree/bench"
	rsync -rlpc --exclude=/.git --filter=':- .gitignore' "$top/" "$tree/"
	rsync -c "$bench"/module/* "$tree/bench"
	timeout 600 make -C "$tree" "${RSMALLOC_MAKE_ARGS[@]}" &&
		timeout 600 make -C "$RSMALLOC_KDIR" M="$tree/bench" "${RSMALLOC_MAKE_ARGS[@]}" modules || exit
	# Its root is the host's, read-only. The last command is reboot() to power off.
	cat >"$init" <<-EOF
	#!/bin/bash
	export PATH=$PATH
	mount -t proc proc /proc
	mount -t sysfs sysfs /sys
	ln -s /proc/self/fd /dev/fd
	bash ${bench@Q}/guest.sh ${tree@Q}/rsmalloc.ko ${tree@Q}/bench ${*@Q}
	perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'
	EOF
	chmod +x "$init"
	timeout 300 "$RSMALLOC_KDIR/linux" mem=1G root=/dev/root rootfstype=hostfs rootflags=/ ro \
		"init=$init" con=null con0=null,fd:1 2>&1 | cat
)

# The bytes of code and of constants, in the form of the guests' figures.
code_sizes()
{
	local backend object

	for backend in "${backends[@]}"; do
		object=$RSMALLOC_KDIR/mm/$backend.o
		[[ $backend != rsmalloc ]] || object=$ko
		echo "bench: sizes $backend - 0"
		"llvm-size-$LLVM_MAJOR" -A "$object" | awk '
			$1 ~ /^\.((init|exit)\.)?text/ { text += $2 }
			$1 ~ /^\.(init\.)?rodata/ { rodata += $2 }
			END { print "bench: text=" text "\nbench: rodata=" rodata + 0 }'
	done
	echo "bench: end"
}

kernel_text()
{
	echo "$(<"$RSMALLOC_KDIR/include/config/kernel.release"), $(sed -n 's/^CONFIG_CC_VERSION_TEXT="\(.*\)"/\1/p' "$RSMALLOC_KDIR/.config")"
}

# What the figures depend on.
print_machine()
{
	echo "$(git -C "$top" describe --always --dirty), measured by scripts/bench.sh:"
	echo "  kernel    $(kernel_text)"
	echo "  emulator  $(qemu-system-x86_64 --version | head -n 1)"
	echo "  host      $(nproc) of $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
	echo
}

draw_plots()
{
	local venv=$work/../matplotlib-$MATPLOTLIB_VERSION

	if ! "$venv/bin/python3" -c "import matplotlib" 2>/dev/null; then
		echo "installing matplotlib (kept for the next time) ..." >&2
		rm -rf "$venv"
		python3 -m venv "$venv"
		"$venv/bin/pip" install --quiet --disable-pip-version-check "matplotlib==$MATPLOTLIB_VERSION"
	fi
	timeout 300 "$venv/bin/python3" "$bench/plots.py" "$output/bench.csv" "$output"
}

"$here/setup.sh" kernel "$kernel" >&2 || die "the set-up did not complete, for the reason above"
assignments=$("$here/setup.sh" env "$kernel")
eval "$assignments"

mkdir -p "$work"
exec {lock}>"$work/lock"
if ! flock -n "$lock"; then
	echo "waiting for another benchmark to finish, up to $(duration $patience) ..." >&2
	flock -w "$patience" "$lock" || die "another benchmark still holds $work/lock"
fi
build_modules

case $mode in
quick)
	mapfile -t commands < <(commands cost "$trace" 60000)
	guest quick "${exact[@]}" -- "${commands[@]}"
	"$bench/report.py" "$work/quick"
	;;
check | record)
	backends=(rsmalloc)
	# Debian's kernel clears each page that it gives out, which would be most of a store.
	guest check "${exact[@]}" --append init_on_alloc=0 -- "$(commands cost lzo 20000)"
	"$bench/report.py" --built-with "$("$RSMALLOC_RUSTC" --version), $(kernel_text)" "--$mode" "$recorded" "$work/check"
	;;
all)
	mkdir -p "$output"
	mapfile -t commands < <(exact_commands)
	guest exact "${exact[@]}" -- "${commands[@]}"
	mapfile -t commands < <(parallel_commands)
	guest parallel "${parallel[@]}" -- "${commands[@]}"
	results=("$work"/{exact,parallel,sizes})
	code_sizes >"$work/sizes"
	mapfile -t commands < <(commands native lzo 60000)
	echo "the same on this processor, in User Mode Linux ..." >&2
	native "${commands[@]}" >"$work/native.log" 2>&1 || true
	# There are processors on which it does not start.
	if grep -q '^bench: end' "$work/native.log"; then
		grep '^bench: ' "$work/native.log" >"$work/native"
		results+=("$work/native")
	else
		echo "it does not work here, so these figures are missing; see $work/native.log" >&2
	fi
	{
		print_machine
		"$bench/report.py" --csv "$output/bench.csv" "${results[@]}"
	} >"$output/tables.txt"
	cat "$output/tables.txt"
	draw_plots
	echo "tables, CSV file and plots are in $output"
	;;
esac
