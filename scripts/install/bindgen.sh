#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Prints the path of a bindgen that the kernel accepts: the distribution's, or
# one that this builds, once, from the sources that the package carries. That
# takes about a minute of processor time and no network.

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
# shellcheck source=scripts/lib.sh
. "${here%/*}/lib.sh"
# shellcheck source=scripts/versions.sh
. "${here%/*}/versions.sh"

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C

state=/var/lib/rsmalloc-dkms
built=$state/bindgen-$BINDGEN_VERSION
sources=$here/bindgen-$BINDGEN_VERSION.tar.xz

version_of() { "$1" --version 2>/dev/null | sed -n 's/^bindgen //p'; }

new_enough() { [[ -n $1 ]] && ! older "$1" "$BINDGEN_MINIMUM"; }

build()
{
	local temporary

	[[ -e $sources ]] ||
		die "bindgen $BINDGEN_MINIMUM or newer is needed to build rsmalloc, and the distribution's is" \
		    "\"${theirs:-not installed}\". Install a newer one as /usr/bin/bindgen, or use the" \
		    "package rsmalloc-dkms, which carries its sources."
	[[ -x /usr/bin/cargo ]] ||
		die "/usr/bin/cargo is needed to build bindgen $BINDGEN_VERSION. Install it (Debian 12: apt install" \
		    "cargo-web)."
	echo "building bindgen $BINDGEN_VERSION, which takes about a minute of processor time and is done once: Linux $KERNEL_SERIES" \
	     "needs $BINDGEN_MINIMUM or newer, and the distribution's is \"${theirs:-not installed}\"" >&2
	mkdir -p "$state"
	temporary=$(mktemp -d "$state/build.XXXXXX")
	# shellcheck disable=SC2064 # the path that it has now
	trap "rm -rf ${temporary@Q}" EXIT
	tar -xJf "$sources" -C "$temporary" --no-same-owner
	# Not optimised: it would take three times as long to build, for a
	# program that runs for seconds.
	(
		cd "$temporary/bindgen"
		export RUSTC=/usr/bin/rustc CARGO_HOME=$temporary/cargo
		unset RUSTFLAGS CARGO_TARGET_DIR MAKEFLAGS MFLAGS MAKELEVEL
		/usr/bin/cargo build --offline --locked --release --target-dir "$temporary/target" \
			--no-default-features --features runtime \
			--config profile.release.opt-level=0 --config profile.release.strip=true >&2
	) || die "bindgen $BINDGEN_VERSION could not be built: see the messages above"
	install -D "$temporary/target/release/bindgen" "$built/bin/bindgen"
}

theirs=$(version_of /usr/bin/bindgen || true)
if new_enough "$theirs"; then
	echo /usr/bin/bindgen
	exit
fi
# What was built may no longer run, after an upgrade of the distribution.
if ! new_enough "$(version_of "$built/bin/bindgen" || true)"; then
	build
fi
echo "$built/bin/bindgen"
