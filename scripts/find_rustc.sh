#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Prints the first rustc in PATH that can build rsmalloc for the kernel in KDIR:
# the very compiler that built the kernel's Rust crates, or, for a kernel that
# has none, one that comes with the source of its library. "rustc" if there is
# none: scripts/preflight.sh says what to do then.

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/versions.sh
. "$here/versions.sh"

crate=$1/rust/libcore.rmeta

fits()
{
	if [[ -e $crate ]]; then
		grep -aqF "$("$1" --version)" "$crate"
	else
		[[ -e $("$1" --print sysroot)/lib/rustlib/src/rust/library/core/src/lib.rs ]] &&
			! older "$("$1" --version | cut -d ' ' -f 2)" "$RUSTC_MINIMUM"
	fi
}

mapfile -t candidates < <(type -aP rustc || true)
for rustc in "${candidates[@]}" /usr/bin/rustc; do
	if fits "$rustc" 2>/dev/null; then
		echo "$rustc"
		exit
	fi
done
echo rustc
