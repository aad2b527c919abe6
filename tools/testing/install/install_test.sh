#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests the package on a Debian of its own: installs it with apt, boots with
# rsmalloc chosen, twice; upgrades the kernel and boots; installs a kernel
# without zswap and boots; enforces signatures and boots; and purges it. Prints
# KTAP. Packages are installed in a folder, with the speed of this machine, and
# an emulated machine boots an image of that.

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
top=$(readlink -f "$here/../../..")
# shellcheck source=scripts/lib.sh
. "$top/scripts/lib.sh"

usage="usage: tools/testing/install/install_test.sh [SUITE [PACKAGE]]
  SUITE    bookworm (Debian 12, the default) or trixie (13)
  PACKAGE  default: what make deb builds"

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C

[[ ${1:-} != -* ]] || {
	echo "$usage" >&2
	exit 2
}
suite=${1:-bookworm}
package=${2:-$top/build/rsmalloc-dkms_$(<"$top/VERSION")_all.deb}
work=${XDG_CACHE_HOME:-$HOME/.cache}/rsmalloc/install-$suite
root=$work/root
logs=$work/logs

((EUID == 0)) || die "installing packages in a folder needs root"
[[ -e $package ]] || die "there is no package $package: run make deb first"
for tool in mmdebstrap qemu-system-x86_64 mke2fs; do
	command -v $tool >/dev/null || die "$tool is needed (apt install mmdebstrap qemu-system-x86 e2fsprogs)"
done

vm=''
# shellcheck disable=SC2317 # called by the traps
cleanup()
{
	[[ -z $vm ]] || kill "$vm" 2>/dev/null || true
	rm -f "$work/disk" "$work/swap"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# --- Results -----------------------------------------------------------------

count=0
failed=0

# check NAME COMMAND...
check()
{
	local name=$1
	shift

	count=$((count + 1))
	if "$@"; then
		echo "ok $count $name"
	else
		failed=$((failed + 1))
		echo "not ok $count $name"
	fi
}

# logged NAME COMMAND...: with the output in a log.
logged()
{
	local log=$logs/$1.log
	shift

	"$@" >"$log" 2>&1
}

progress() { printf '# %s\n' "$*"; }

# --- The Debian ----------------------------------------------------------------

# Runs a command in the root, with what packages' scripts expect to be there.
in_root()
{
	# shellcheck disable=SC2016 # expanded inside
	timeout -k 10 900 unshare --mount --pid --fork --kill-child bash -c '
		set -e
		root=$1
		shift
		mount -t proc proc "$root/proc"
		mount -t sysfs -o ro sys "$root/sys"
		mount --bind /dev "$root/dev"
		mount -t tmpfs tmpfs "$root/run"
		cat /etc/resolv.conf >"$root/etc/resolv.conf"
		exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
			LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"' - "$root" "$@" </dev/null
}

apt() { in_root apt-get -y -o Acquire::Retries=3 "$@"; }

# Releases of the kernel that this Debian has, oldest first.
releases()
{
	in_root apt-cache search --names-only '^linux-headers-6\.12\.[0-9].*[0-9]-amd64$' |
		sed 's/^linux-headers-//; s/ .*//' | sort -V
}

# A Debian that boots, with headers for the last but one kernel.
make_root()
{
	rm -rf "$root"
	# shellcheck disable=SC2016 # expanded by mmdebstrap
	mmdebstrap --variant=minbase \
		--include=systemd-sysv,udev,dbus,kmod,procps,initramfs-tools,zstd,ca-certificates \
		--essential-hook='echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/force-unsafe-io"' \
		"$suite" "$root" >"$logs/root.log" 2>&1
	{
		echo '/dev/vda / ext4 defaults 0 1'
		echo '/dev/vdb none swap defaults 0 0'
	} >"$root/etc/fstab"
	install -D -m 755 "$here/guest.sh" "$root/var/lib/rsmalloc-test/guest.sh"
	cat >"$root/etc/systemd/system/rsmalloc-test.service" <<-END
	[Unit]
	After=multi-user.target
	[Service]
	Type=oneshot
	ExecStart=/var/lib/rsmalloc-test/guest.sh
	[Install]
	WantedBy=graphical.target
	END
	in_root systemctl enable rsmalloc-test.service >>"$logs/root.log" 2>&1
	in_root systemctl set-default graphical.target >>"$logs/root.log" 2>&1
	# What is swapped: text and programs.
	tar -cf - -C "$root/usr/lib" . 2>/dev/null | head -c 24M >"$root/var/lib/rsmalloc-test/data" || true
	apt update >>"$logs/root.log" 2>&1
}

install_kernel()
{
	apt install --no-install-recommends "linux-image-$1" "linux-headers-$1"
}

# An image of the root without what only builds need.
make_image()
{
	rm -f "$work/disk" "$work/swap"
	# shellcheck disable=SC2016 # expanded inside
	unshare --mount bash -c '
		set -e
		for folder in usr/src usr/lib/rustlib usr/lib/llvm-19 usr/lib/gcc var/cache/apt var/lib/apt/lists \
			usr/share/doc usr/share/locale; do
			[ ! -d "$1/$folder" ] || mount -t tmpfs tmpfs "$1/$folder"
		done
		mke2fs -q -t ext4 -E root_owner=0:0 -d "$1" "$2" 4G >/dev/null' - "$root" "$work/disk"
	truncate -s 256M "$work/swap"
	mkswap "$work/swap" >/dev/null 2>&1
}

# boot NAME RELEASE [ARGUMENT...]: the report is in $logs/NAME.report.
boot()
{
	local name=$1 release=$2
	shift 2

	progress "booting $release: $name"
	timeout -k 10 400 qemu-system-x86_64 -machine q35 -cpu max -m 1G -smp 2 -nic none -display none -no-reboot \
		-kernel "$root/boot/vmlinuz-$release" -initrd "$root/boot/initrd.img-$release" \
		-append "root=/dev/vda rw console=ttyS0 systemd.journald.forward_to_console=0 $*" \
		-drive "if=virtio,file=$work/disk,format=raw,cache=unsafe" \
		-drive "if=virtio,file=$work/swap,format=raw,cache=unsafe" \
		-serial "file:$logs/$name.console" -serial "file:$logs/$name.report" </dev/null >"$logs/$name.qemu" 2>&1 &
	vm=$!
	wait "$vm" || true
	vm=''
	sed -i 's/\r$//' "$logs/$name.report"
	sed 's/^/#   /' "$logs/$name.report"
	grep -q '^finished$' "$logs/$name.report" || tail -n 15 "$logs/$name.console" | sed 's/^/# console: /'
}

# said BOOT REGEX: the report has such a line.
said() { grep -qE "^$2\$" "$logs/$1.report"; }

# The same without a pattern: releases have a plus.
is() { grep -qxF "$2" "$logs/$1.report"; }

uses_rsmalloc()
{
	is "$1" "kernel $2" && said "$1" 'zpool rsmalloc' && said "$1" 'enabled Y' && said "$1" 'swaps /dev/vdb' &&
		said "$1" 'stored [1-9][0-9]*' && said "$1" 'users [1-9][0-9]*' && said "$1" 'data same' &&
		said "$1" 'complaints 0' && said "$1" 'failed ' &&
		said "$1" 'journal zswap is on, and keeps new pages in rsmalloc' && said "$1" finished
}

# zswap is on without rsmalloc, no unit failed, and the journal says why.
uses_default()
{
	is "$1" "kernel $2" && said "$1" 'zpool (zsmalloc|zbud|z3fold)' && said "$1" 'enabled Y' &&
		said "$1" 'stored [1-9][0-9]*' && said "$1" 'data same' && said "$1" 'failed ' &&
		said "$1" "$3" && said "$1" finished
}

list_files() { (cd "$root" && find . -xdev -path ./tmp -prune -o -print) | sort; }
module() { find "$root/lib/modules/$1" -name 'rsmalloc.ko*'; }
built_for() { [[ $(in_root dkms status rsmalloc -k "$1") == *": installed"* && -n $(module "$1") ]]; }

# says_skipped LOG HOOK: what dkms said when the kernel's hook called it, for which
# it has one line. It is our dkms.conf's with dkms 3.0, and dkms's own after that.
says_skipped()
{
	local lines

	lines=$(awk -v hook="/etc/kernel/$2/dkms:" '
		$0 == hook { called = 1; next }
		/^\/etc\/kernel\/|^Setting up / { called = 0 }
		called && /^rsmalloc is not built for|^Autoinstall .* was skipped/ { print }' "$logs/$1.log")
	[[ -n $lines && $lines != *$'\n'* ]]
}

signed() { in_root modinfo -F signer -k "$1" rsmalloc | grep -q .; }

# --- The test ------------------------------------------------------------------

echo "TAP version 13"
mkdir -p "$logs"
progress "making a Debian ($suite) in $root"
make_root
mapfile -t all < <(releases)
((${#all[@]})) || die "this Debian has no kernel of the 6.12 series"
new=${all[-1]}
old=${all[-2]:-$new}
cloud=${new%-amd64}-cloud-amd64
progress "kernels: $old, $new, $cloud"
logged kernel-old install_kernel "$old"

progress "installing the package"
start=$SECONDS
cp "$package" "$root/tmp/"
list_files >"$work/before"
check "apt installs the package and what it depends on" \
	logged install apt install --no-install-recommends "/tmp/${package##*/}"
progress "took $(duration $((SECONDS - start)))"
check "it is built for $old" built_for "$old"
check "its module is signed" signed "$old"
make_image
boot off "$old"
check "nothing is chosen before the administrator says so" said off 'enabled N'

logged enable in_root systemctl enable rsmalloc
make_image
boot first "$old"
check "the first boot uses rsmalloc" uses_rsmalloc first "$old"
boot second "$old"
check "the second boot uses rsmalloc" uses_rsmalloc second "$old"

if [[ $new != "$old" ]]; then
	progress "upgrading the kernel to $new"
	check "apt upgrades the kernel" logged kernel-new install_kernel "$new"
	check "dkms builds for $new" built_for "$new"
	make_image
	boot upgraded "$new"
	check "the new kernel uses rsmalloc" uses_rsmalloc upgraded "$new"
fi

progress "installing a kernel without zswap"
check "apt installs $cloud" logged kernel-cloud install_kernel "$cloud"
for hook in postinst.d header_postinst.d; do
	check "$hook says in one line that nothing is built for it" says_skipped kernel-cloud "$hook"
done
check "nothing is built for it" [ -z "$(module "$cloud")" ]
make_image
boot cloud "$cloud"
check "it boots, no unit fails, and the journal says why" eval \
	"is cloud 'kernel $cloud' && said cloud 'zpool none' && said cloud 'failed ' && said cloud finished &&
	is cloud 'journal Linux $cloud has no zswap'"

# What dkms itself does then: the newest kernel, which is the one without zswap.
progress "installing the package again, with all kernels there"
check "apt installs it again" logged reinstall apt install --reinstall "/tmp/${package##*/}"
check "it is built for $old" built_for "$old"
check "it is built for $new" built_for "$new"
check "nothing is built for $cloud" [ -z "$(module "$cloud")" ]

progress "a kernel that takes only modules whose signature it trusts"
boot untrusted "$new" module.sig_enforce=1
check "signed with a key that it does not trust: zswap is on without, and the journal says why" \
	uses_default untrusted "$new" 'journal this kernel takes signed modules only.*'
file=$(module "$new")
xz -d "$file"
strip -g "${file%.xz}"
in_root depmod "$new"
make_image
boot unsigned "$new" module.sig_enforce=1
check "the kernel's log tells one from the other" eval \
	"is untrusted 'dmesg Loading of module with unavailable key is rejected' &&
	is unsigned 'dmesg Loading of unsigned module is rejected'"
check "not signed: zswap is on without, and the journal says why" \
	uses_default unsigned "$new" 'journal this kernel takes signed modules only.*'
rm "${file%.xz}"
in_root depmod "$new"
make_image
boot missing "$new"
check "without the module: zswap is on without, and the journal says why" \
	uses_default missing "$new" 'journal rsmalloc is not installed for Linux .*'

progress "purging the package"
check "apt purges the package" logged purge apt purge rsmalloc-dkms
list_files >"$work/after"
left() { comm -13 "$work/before" "$work/after" | grep -i rsmalloc; }
check "and it leaves nothing behind" eval '! left'

echo "1..$count"
((!failed)) || die "$failed of $count failed; logs are in $logs"
