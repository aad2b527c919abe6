#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Boot a kernel in a virtual machine and run one command in it.
#
# The guest's root is the host's root file system, read-only under overlays
# (virtme-ng), or for another architecture one of its own. What the command
# prints travels through the guest's kernel log, line by line, so that one ordered
# log holds it and the kernel's own messages and neither can split a line of the
# other.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"

usage()
{
	cat <<-EOF
	Usage: ${0##*/} [OPTION]... -- COMMAND [ARGUMENT]...

	Boot a kernel in a virtual machine, run COMMAND there as root in the
	current directory, and exit with its status.

	  --kernel NAME      a kernel that scripts/setup.sh has set up (default:
	                     \$RSMALLOC_KERNEL, else stock)
	  --cpus N           processors of the guest (default: 2)
	  --memory SIZE      memory of the guest (default: 1G)
	  --swap SIZE        give the guest a swap disk; the command finds its path
	                     in \$RSMALLOC_SWAP, formatted but not swapped on
	  --rwdir DIR        let the guest write to this folder of the host
	  --timeout SECONDS  end the guest after so long (default: 600)
	  --append ARGS      more kernel parameters
	  --qemu-opts ARGS   more options for QEMU
	  --tcg              do not use KVM even where it works
	  --log FILE         keep the complete console log there
	  --ktap             strict verdict: COMMAND prints KTAP, and the kernel log
	                     must be clean (see scripts/verdict.py)
	  --expect REGEX     with --ktap: the kernel must complain once, and its
	                     report contain this
	  --verbose          show the kernel's messages too

	Exit status: COMMAND's own, or that of the verdict with --ktap; 124 if the
	time was up, 125 if the guest died before COMMAND ended. Variables named
	RSMALLOC_* are passed on to COMMAND.
	EOF
}

cache=${XDG_CACHE_HOME:-$HOME/.cache}/rsmalloc
kernel=${RSMALLOC_KERNEL:-stock}
cpus=2 memory=1G swap="" timeout=600 append="" qemu_opts="" rwdirs=()
tcg=no log="" ktap=no expect=() verbose=no

while [ $# -gt 0 ]; do
	case $1 in
	--kernel | --cpus | --memory | --swap | --rwdir | --timeout | --append | \
		--qemu-opts | --log | --expect)
		[ $# -ge 2 ] || die "$1 needs a value; see --help"
		;;&
	--kernel) kernel=$2 && shift 2 ;;
	--cpus) cpus=$2 && shift 2 ;;
	--memory) memory=$2 && shift 2 ;;
	--swap) swap=$2 && shift 2 ;;
	--rwdir) rwdirs+=("$2") && shift 2 ;;
	--timeout) timeout=$2 && shift 2 ;;
	--append) append+=" $2" && shift 2 ;;
	--qemu-opts) qemu_opts+=" $2" && shift 2 ;;
	--log) log=$2 && shift 2 ;;
	--expect) expect=(--expect "$2") && export RSMALLOC_EXPECT=$2 && shift 2 ;;
	--tcg) tcg=yes && shift ;;
	--ktap) ktap=yes && shift ;;
	--verbose) verbose=yes && shift ;;
	--help) usage && exit 0 ;;
	--) shift && break ;;
	*) die "unknown option '$1'; see --help" ;;
	esac
done

[ $# -gt 0 ] || die "no command given; see --help"
[[ $cpus =~ ^[1-9][0-9]*$ ]] || die "--cpus takes a number, not '$cpus'"
[[ $timeout =~ ^[1-9][0-9]*$ ]] || die "--timeout takes seconds, not '$timeout'"
[[ $memory =~ ^[1-9][0-9]*[MG]$ ]] || die "--memory takes a size such as 512M, not '$memory'"
[[ -z $swap || $swap =~ ^[1-9][0-9]*[MG]$ ]] || die "--swap takes a size such as 512M, not '$swap'"
for dir in ${rwdirs[@]+"${rwdirs[@]}"}; do
	[ -d "$dir" ] || die "--rwdir: there is no folder '$dir'"
done

setup=$("$here/setup.sh" env "$kernel") || die "no kernel to boot"
eval "$setup"

# A guest that was killed leaves its folder, which its programs hold locked as long
# as they live. A new folder is not locked yet.
mkdir -p "$cache/vm"
find "$cache/vm" -mindepth 1 -maxdepth 1 -mmin +1 -exec flock -n {} rm -rf {} \;
tmp=$(mktemp -d "$cache/vm/XXXXXX")
exec {in_use}<"$tmp"
flock "$in_use"
vm_pid="" watch_pid=""
# shellcheck disable=SC2317 # called by the traps
cleanup()
{
	[ -z "$vm_pid" ] || kill "$vm_pid" 2>/dev/null || true
	[ -z "$watch_pid" ] || kill "$watch_pid" 2>/dev/null || true
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# The script that all this is for may be killed, and the guest goes with it.
while sleep 1 && kill -0 $$ 2>/dev/null; do
	kill -0 "$RSMALLOC_OWNER" 2>/dev/null || kill $$
done >/dev/null 2>&1 </dev/null {in_use}<&- &
watch_pid=$!
log=${log:-$tmp/log}
mkdir -p "$(dirname "$log")"

# A console line of the guest's command, and the last one, which reports its
# status: "[    1.234567] guest: ...", with a task or CPU number after the time
# on kernels that print the caller.
stamp='\[ *[0-9]+\.[0-9]+\](\[ *[TC][0-9]+\])?'
finished="command finished with status"

# A busy host may leave a guest's processor without time for many seconds, which
# is no fault of the guest: its watchdogs wait longer than they do by default.
patience="watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120"

# QEMU's emulation keeps what it translated for each address that code was run
# at. With randomised addresses it translates a library anew for each process,
# and when the kernel moves such a page and gives its memory to another use, every
# write there searches thousands of stale translations.
emulation="norandmaps"

# The tests call functions of the kernel by address, which may be sealed against
# indirect branches.
case $kernel in
stock*) run=$RSMALLOC_IMAGE emulation+=" ibt=off" ;;
*)
	# virtme-ng's own, and what is read stays in the guest's page cache.
	run=$RSMALLOC_KDIR
	emulation+=" rootflags=version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose"
	;;
esac

machine=(--disable-microvm --qemu-opts="-machine q35")
if [ "$RSMALLOC_ARCH" = arm64 ]; then
	machine=(--arch arm64 --root "$RSMALLOC_GUEST_ROOT" --qemu-opts="-cpu max,pauth-impdef=on")
	tcg=yes
fi

# What the guest runs: $1 is the folder to write it to, the rest is the command.
write_guest_script()
{
	local dir=$1
	shift
	mkdir -p "$dir"
	{
		echo 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
		local name
		for name in "${!RSMALLOC_@}"; do
			declare -p "$name"
		done
		# The root file system of another architecture is not one kernel's.
		if [ "$RSMALLOC_ARCH" = arm64 ]; then
			printf 'mkdir -p /lib/modules && mount --bind %q /lib/modules\n' "${RSMALLOC_IMAGE%/boot/*}/lib/modules"
		fi
		if [ -n "$swap" ]; then
			# shellcheck disable=SC2016
			printf '%s\n' \
				'[ -e /dev/vda ] || modprobe virtio_blk' \
				'for i in {1..50}; do [ -e /dev/vda ] && break; sleep 0.1; done' \
				'export RSMALLOC_SWAP=/dev/vda' \
				'mkswap "$RSMALLOC_SWAP" >/dev/null'
		fi
		printf 'cd %q && exec' "$PWD"
		printf ' %q' "$@"
		echo
	} >"$dir/command"
	# /dev/kmsg refuses records above 1 KiB.
	cat >"$dir/init" <<-EOF
	bash /run/rsmalloc-vm/command </dev/null 2>&1 |
		stdbuf -oL fold -b -w 900 | sed -u 's/^/guest: /' >/dev/kmsg
	echo "guest: $finished \${PIPESTATUS[0]}" >/dev/kmsg
	EOF
}

# boot SECONDS SCRIPT-FOLDER LOG [VNG-OPTION...]: boot a guest that runs the
# script, and copy its console to the log and the command's lines to stdout.
boot()
{
	local seconds=$1 dir=$2 log=$3 status=0 show
	shift 3
	if [ "$verbose" = yes ]; then show=p; else show="s/^$stamp guest: //p"; fi
	mkfifo "$dir/console"
	sed -u 's/\r//g' "$dir/console" | tee "$log" | sed -u -n -E "/ guest: $finished /d; $show" &
	local filter_pid=$!
	# virtme-ng calls its other programs through PATH. They end with this script.
	PATH=$(dirname "$RSMALLOC_VNG"):$PATH setpriv --pdeathsig TERM timeout -k 10 "$seconds" \
		"$RSMALLOC_VNG" --run "$run" --user root \
		--verbose --force-9p "${machine[@]}" \
		--rodir "/run/rsmalloc-vm=$dir" --exec "bash /run/rsmalloc-vm/init" \
		--append="loglevel=8 printk.devkmsg=on oops=panic panic=-1 $patience $emulation" \
		"$@" </dev/null >"$dir/console" 2>&1 &
	vm_pid=$!
	wait "$vm_pid" || status=$?
	# timeout made a process group. If it was killed, or virtme-ng, QEMU goes on in it.
	kill -KILL -- "-$vm_pid" 2>/dev/null || true
	vm_pid=""
	wait "$filter_pid" || true
	[ "$status" -ne 137 ] || status=124
	return "$status"
}

command_status()
{
	sed -n -E "s/^$stamp guest: $finished ([0-9]+)$/\2/p" "$1" | tail -n 1
}

# Whether guests run on KVM here. The device node alone does not tell, only a
# guest that boots does; the answer is kept until the host reboots.
kvm_works()
{
	[ "$tcg" = no ] && [ -w /dev/kvm ] || return 1
	local answer
	answer=$cache/kvm-$(cat /proc/sys/kernel/random/boot_id)
	if [ ! -e "$answer" ]; then
		write_guest_script "$tmp/probe" true
		boot 15 "$tmp/probe" "$tmp/probe.log" --cpus 1 --memory 512M >/dev/null || true
		mkdir -p "$cache"
		if [ "$(command_status "$tmp/probe.log")" = 0 ]; then
			echo yes >"$tmp/answer"
		else
			echo no >"$tmp/answer"
		fi
		mv "$tmp/answer" "$answer"
	fi
	[ "$(cat "$answer")" = yes ]
}

options=(--cpus "$cpus" --memory "$memory")
if ! kvm_works; then
	options+=(--disable-kvm)
fi
for dir in ${rwdirs[@]+"${rwdirs[@]}"}; do
	options+=(--rwdir "$(realpath "$dir")=$(realpath "$dir")")
done
# The guest has file systems of its own at some of these places, or everywhere: then
# there must be a place for them.
for dir in "$cache" "$PWD"; do
	if [ "$RSMALLOC_ARCH" = arm64 ]; then
		[[ $dir != "$cache"/* ]] || continue
		mkdir -p "$RSMALLOC_GUEST_ROOT$dir"
		options+=(--rodir "$dir=$dir")
		continue
	fi
	case $dir in
	/run/* | /var/* | /dev/*)
		[ ! -d "$dir" ] || options+=(--rodir "$dir=$dir")
		;;
	esac
done
[ -z "$append" ] || options+=(--append="${append# }")
[ -z "$qemu_opts" ] || options+=(--qemu-opts="${qemu_opts# }")
if [ -n "$swap" ]; then
	truncate -s "$swap" "$tmp/swap"
	options+=(--qemu-opts="-drive if=none,id=swap,file=$tmp/swap,format=raw,cache=unsafe"
		--qemu-opts="-device virtio-blk-pci,drive=swap")
fi

write_guest_script "$tmp/guest" "$@"
vm_status=0
boot "$timeout" "$tmp/guest" "$log" "${options[@]}" || vm_status=$?

status=$(command_status "$log")
if [ "$vm_status" -eq 124 ]; then
	echo "${0##*/}: the guest was ended: it ran for more than $timeout seconds" | tee -a "$log" >&2
	status=124
elif [ -z "$status" ]; then
	[ "$ktap" = yes ] || tail -n 25 "$log" >&2
	echo "${0##*/}: the guest died before the command ended" | tee -a "$log" >&2
	status=125
fi
if [ "$ktap" = yes ]; then
	status=0
	"$here/verdict.py" "${expect[@]}" "$log" || status=$?
fi
exit "$status"
