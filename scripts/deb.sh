#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds the Debian package rsmalloc-dkms in a copy of the sources, has lintian
# look at it, and leaves it in build/. With "check", only says whether the version
# is the same everywhere.

set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
top=${here%/*}
# shellcheck source=scripts/lib.sh
. "$here/lib.sh"
# shellcheck source=scripts/versions.sh
. "$here/versions.sh"

# The distribution's tools, not what rustup or pyenv put first.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL=C
unset MAKEFLAGS MFLAGS MAKELEVEL RUSTFLAGS

cache=${XDG_CACHE_HOME:-${HOME:?must be set, or XDG_CACHE_HOME}/.cache}/rsmalloc
out=$top/build

check_tools()
{
	local package missing=()

	for package in build-essential debhelper dh-dkms lintian dpkg-dev xz-utils; do
		[[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) == ii* ]] || missing+=("$package")
	done
	# Debian 12's own cargo does not read bindgen's lock file.
	[[ -x /usr/bin/cargo ]] || missing+=("cargo-web (Debian 12) or cargo (13)")
	((!${#missing[@]})) || die "packages are missing: ${missing[*]}. Install them with apt-get install."
}

# One version, in the three places where their tools want it.
check_version()
{
	local version dkms changelog

	version=$(<"$top/VERSION")
	dkms=$(sed -n 's/^PACKAGE_VERSION="\(.*\)"$/\1/p' "$top/dkms.conf")
	changelog=$(sed -n '1s/^rsmalloc (\(.*\)) .*$/\1/p' "$top/debian/changelog")
	[[ $dkms == "$version" ]] || die "VERSION says $version, and dkms.conf $dkms: make them the same"
	[[ $changelog == "$version" ]] || die "VERSION says $version, and debian/changelog $changelog: make them the same"
}

# Cargo wants to find each package of the lock file, also those of other systems,
# which are nine tenths of the whole. Of those it needs no more than the name.
hollow_out()
{
	local package

	package=$(sed -E 's/.*("package":"[0-9a-f]+").*/\1/' "$1/.cargo-checksum.json")
	find "$1" -mindepth 1 -maxdepth 1 ! -name Cargo.toml ! -iname 'license*' -exec rm -r {} +
	mkdir "$1/src"
	touch "$1/src/lib.rs"
	echo "{\"files\":{},$package}" >"$1/.cargo-checksum.json"
}

# Writes the sources of bindgen and of all that it is built from to the archive
# that scripts/install/bindgen.sh reads.
collect_bindgen()
{
	local archive=$1 work=$2 crate

	mkdir -p "$work/fetch/src"
	cat >"$work/fetch/Cargo.toml" <<-END
	[package]
	name = "fetch"
	version = "0.0.0"
	edition = "2021"
	[dependencies]
	bindgen-cli = "=$BINDGEN_VERSION"
	END
	touch "$work/fetch/src/lib.rs"
	# What bindgen was released with, and not what is newest today.
	(cd "$work/fetch" && /usr/bin/cargo vendor --quiet --versioned-dirs vendor >/dev/null)
	mv "$work/fetch/vendor/bindgen-cli-$BINDGEN_VERSION" "$work/bindgen"
	rm "$work/bindgen/.cargo-checksum.json"
	(cd "$work/bindgen" && /usr/bin/cargo vendor --quiet --locked --versioned-dirs vendor >/dev/null)
	for crate in "$work"/bindgen/vendor/{win,hermit}*; do
		hollow_out "$crate"
	done
	mkdir "$work/bindgen/.cargo"
	cat >"$work/bindgen/.cargo/config.toml" <<-END
	[source.crates-io]
	replace-with = "vendored-sources"
	[source.vendored-sources]
	directory = "vendor"
	END
	# The same sources give the same archive.
	tar -cJf "$work/archive" -C "$work" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
		--mode=u=rwX,go=rX bindgen
	mkdir -p "${archive%/*}"
	# It may come from another file system, and is whole once it has its name.
	mv "$work/archive" "$archive.new"
	mv "$archive.new" "$archive"
}

# The files that git knows or would, or all if this is an unpacked archive.
copy_sources()
{
	local file

	if git -C "$top" rev-parse --git-dir >/dev/null 2>&1; then
		git -C "$top" ls-files -z --cached --others --exclude-standard |
			while IFS= read -r -d '' file; do
				[[ ! -e $top/$file ]] || printf '%s\0' "$file"
			done |
			tar -c -C "$top" --null --no-recursion -T - | tar -x -C "$1"
	else
		tar -c -C "$top" --exclude-vcs-ignores --exclude=./build . | tar -x -C "$1"
	fi
}

check_version
[[ ${1:-} != check ]] || exit 0
check_tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

bindgen=$cache/bindgen-source-$BINDGEN_VERSION.tar.xz
if [[ ! -e $bindgen ]]; then
	echo "collecting the sources of bindgen $BINDGEN_VERSION ..."
	mkdir "$work/collect"
	collect_bindgen "$bindgen" "$work/collect"
fi

mkdir "$work/rsmalloc"
copy_sources "$work/rsmalloc"
cp "$bindgen" "$work/rsmalloc/scripts/install/bindgen-$BINDGEN_VERSION.tar.xz"
(cd "$work/rsmalloc" && dpkg-buildpackage --build=binary --no-sign) >"$work/log" 2>&1 || {
	tail -n 30 "$work/log" >&2
	die "the package could not be built: see above"
}
# Root has no need of another user here.
(cd "$work" && lintian --allow-root --display-info --fail-on error,warning,info ./*.changes) || die "lintian complains: see above"
mkdir -p "$out"
mv "$work"/*.deb "$out"
echo "built build/$(basename "$out"/rsmalloc-dkms_"$(<"$top/VERSION")"_all.deb)"
