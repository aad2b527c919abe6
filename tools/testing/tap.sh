# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the tests of scripts share: results in KTAP. To be sourced.

count=0
failed=0

# result NAME WHY OUTPUT: a test that passed if WHY it failed is empty.
result()
{
	count=$((count + 1))
	if [[ -z $2 ]]; then
		echo "ok $count - $1"
	else
		failed=$((failed + 1))
		echo "not ok $count - $1"
		echo "# $2; it printed: $3"
	fi
}

# missing_text TEXTS OUTPUT: prints the first of the texts, separated by "|", that
# is not in the output, in which line breaks count as spaces.
missing_text()
{
	local texts=() text output

	output=$(tr -s ' \n' ' ' <<<"$2")
	IFS='|' read -ra texts <<<"$1"
	for text in "${texts[@]}"; do
		[[ $output == *"$text"* ]] || {
			echo "it did not print \"$text\""
			return
		}
	done
}

# The end of all tests; fails if one has failed.
tap_end()
{
	echo "1..$count"
	((!failed))
}
