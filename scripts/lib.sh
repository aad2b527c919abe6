# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# Helpers that several scripts share.

# The script that a person started: what runs for it ends with it.
export RSMALLOC_OWNER=${RSMALLOC_OWNER:-$$}

# Ends the script with a message that says which script speaks.
die()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# Compares dotted versions: older A B.
older() { [[ $1 != "$2" && $(printf '%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

# Prints seconds as a person would write them.
duration()
{
	if (($1 < 60)); then
		printf '%ds' "$1"
	else
		printf '%dm%02ds' $(($1 / 60)) $(($1 % 60))
	fi
}
