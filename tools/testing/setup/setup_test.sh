#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests that scripts/setup.sh says what is in the way, and what to do about it,
# before it does anything that takes long. Needs root, for a network and a disk
# of its own.

set -euo pipefail

scripts=$(readlink -f "$(dirname "$0")/../../../scripts")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tools/testing/tap.sh
. "${scripts%/*}/tools/testing/tap.sh"

# check NAME WANTED COMMAND...: the command fails, and prints all of the texts
# WANTED, separated by "|".
check()
{
	local output status=0 why

	output=$(timeout 120 "${@:3}" 2>&1 </dev/null) || status=$?
	why=$(missing_text "$2" "$output")
	((status != 0 && status != 124)) || why="status $status"
	result "$1" "$why" "$output"
}

# setup CACHE [ARGUMENT...]: a program, so that timeout and unshare can run it.
cat >"$work/setup" <<-END
#!/bin/sh
XDG_CACHE_HOME='$work'/\$1
export XDG_CACHE_HOME
shift
exec "$scripts/setup.sh" "\$@"
END
chmod +x "$work/setup"
setup=$work/setup

echo "TAP version 13"
check "an unknown kernel" 'no kernel "mainline"|stock-rt' "$setup" cache kernel mainline
check "an unknown command" "Usage:|env [NAME]" "$setup" cache frobnicate
check "a kernel that is not set up" 'kernel "stock" is not set up|scripts/setup.sh kernel stock' "$setup" cache env stock
check "a cache whose path has a space" "space or a colon|XDG_CACHE_HOME" "$setup" "a cache"
check "a cache whose path has a colon" "space or a colon|XDG_CACHE_HOME" "$setup" a:cache
mkdir "$work/a tree"
cp -r "$scripts" "$work/a tree/scripts"
cp "$scripts/../.config.fragment" "$work/a tree"
check "a tree whose path has a space" "space or a colon|move this folder" "$work/a tree/scripts/setup.sh"
if ((EUID == 0)); then
	check "no network" "needs the network|apt-get update" unshare -n "$setup" cache
	mkdir "$work/small"
	check "no room" "20 MB left|make room|XDG_CACHE_HOME" unshare -m sh -c \
		"mount -t tmpfs -o size=20m small '$work/small' && exec '$setup' small"
else
	for name in "no network" "no room"; do
		count=$((count + 1))
		echo "ok $count - $name # SKIP needs root"
	done
fi

tap_end
