#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds rsmalloc.ko for dkms, which runs this in a copy of the sources.

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")

# The distribution's tools, not what rustup or pyenv put first.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

(($# == 1)) || {
	echo "usage: scripts/install/dkms-build.sh KDIR" >&2
	exit 2
}
bindgen=$("$here/bindgen.sh")
# A kernel's modules are built by the compiler that built the kernel.
llvm=()
if grep -qs '^CONFIG_CC_IS_CLANG=y' "$1/include/config/auto.conf"; then
	llvm=(LLVM=1)
fi
exec make -C "${here%/*/*}" -j"$(nproc)" "KDIR=$1" RUSTC=/usr/bin/rustc "BINDGEN=$bindgen" "${llvm[@]}"
