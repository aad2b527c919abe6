#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# What "make install" does after kbuild, and "make uninstall".

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=scripts/lib.sh
. "${here%/*}/lib.sh"

# depmod is in a folder that a user's PATH may lack.
export PATH=$PATH:/usr/sbin:/sbin

usage()
{
	cat <<-END
	Usage: scripts/install/install.sh check KDIR         is the module built for that kernel?
	       scripts/install/install.sh depmod RELEASE     make the kernel's modules findable
	       scripts/install/install.sh boot               install what chooses rsmalloc at boot
	       scripts/install/install.sh uninstall          remove both, for every kernel
	Variables: DESTDIR, INSTALL_MOD_PATH (default: DESTDIR), libdir, unitdir, docdir
	END
}

destdir=${DESTDIR:-}
modules=${INSTALL_MOD_PATH:-$destdir}/lib/modules
libdir=${libdir:-/usr/local/lib/rsmalloc}
unitdir=${unitdir:-/usr/local/lib/systemd/system}
docdir=${docdir:-/usr/local/share/doc/rsmalloc}

# kbuild installs whatever module is there.
check()
{
	local kdir=$1 wanted built

	[[ -e rsmalloc.ko ]] || die "rsmalloc.ko is not built yet: run make first"
	wanted=$(cat "$kdir/include/config/kernel.release") || die "KDIR is $kdir, which is no built kernel and no headers"
	built=$(modinfo -F vermagic ./rsmalloc.ko)
	[[ ${built%% *} == "$wanted" ]] ||
		die "rsmalloc.ko is built for Linux ${built%% *}, and KDIR is of Linux $wanted: run make KDIR=$kdir first"
	[[ $EUID == 0 || -n ${INSTALL_MOD_PATH:-} ]] || die "only root can install into /lib/modules"
}

# zswap asks for the module by the alias zpool-rsmalloc, which depmod lists.
run_depmod()
{
	local release=$1 output

	command -v depmod >/dev/null ||
		die "depmod is not there, and without it neither modprobe nor zswap finds rsmalloc. Install kmod," \
		    "and run this again."
	# Of a root under construction, modules.order and the like may be missing.
	output=$(depmod ${INSTALL_MOD_PATH:+-b "$INSTALL_MOD_PATH"} "$release" 2>&1) ||
		die "depmod $release failed, and without it neither modprobe nor zswap finds rsmalloc: $output"
	[[ -z $output ]] || printf '%s\n' "$output" >&2
	echo "depmod: modprobe and zswap know the modules of Linux $release"
}

# Units are systemd's own business only in the running system.
systemd() { [[ -z $destdir && -d /run/systemd/system ]]; }

install_boot()
{
	install -D -m 755 "$here/zswap-pool.sh" "$destdir$libdir/zswap-pool"
	install -D -m 644 "$here/../../Documentation/install.rst" "$destdir$docdir/install.rst"
	install -d "$destdir$unitdir"
	sed "s|@libdir@|$libdir|; s|@docdir@|$docdir|" "$here/rsmalloc.service" \
		>"$destdir$unitdir/rsmalloc.service"
	chmod 644 "$destdir$unitdir/rsmalloc.service"
	if systemd; then
		systemctl daemon-reload
	fi
}

uninstall()
{
	local file release

	if systemd; then
		systemctl disable --now rsmalloc.service 2>/dev/null || true
	else
		rm -f "$destdir/etc/systemd/system/sysinit.target.wants/rsmalloc.service"
	fi
	rm -f "$destdir$unitdir/rsmalloc.service" "$destdir$libdir/zswap-pool" "$destdir$docdir/install.rst"
	rmdir "$destdir$libdir" "$destdir$docdir" "$destdir$unitdir" "$destdir${docdir%/*}" \
		"$destdir${unitdir%/*}" 2>/dev/null || true
	if systemd; then
		systemctl daemon-reload
	fi

	for file in "$modules"/*/updates/rsmalloc.ko{,.xz,.zst,.gz}; do
		[[ -e $file ]] || continue
		release=${file#"$modules"/}
		release=${release%%/*}
		rm "$file"
		rmdir "${file%/*}" 2>/dev/null || true
		echo "removed rsmalloc from the modules of Linux $release"
		[[ -n $destdir ]] || run_depmod "$release"
	done
	if [[ -z $destdir && -e /sys/module/rsmalloc ]]; then
		modprobe -r rsmalloc 2>/dev/null ||
			echo "rsmalloc stays loaded until zswap has taken its last page out, or until the next boot"
	fi
}

case ${1:-}/$# in
check/2) check "$2" ;;
depmod/2) run_depmod "$2" ;;
boot/1) install_boot ;;
uninstall/1) uninstall ;;
*)
	usage >&2
	exit 2
	;;
esac
