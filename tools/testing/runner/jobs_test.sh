#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests scripts/jobs.sh, which test.sh runs everything with: that what fails, is
# killed or is skipped counts, that results come in order, and that a run which is
# ended leaves nothing behind.
#
# shellcheck disable=SC2317 # check calls the functions

set -euo pipefail

scripts=$(readlink -f "$(dirname "$0")/../../../scripts")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
count=0
failed=0

# A script that declares the jobs on standard input, and runs them.
write_script()
{
	{
		cat <<-END
		set -euo pipefail
		exec </dev/null
		. '$scripts/lib.sh'
		. '$scripts/jobs.sh'
		logs=$work/logs
		count_command() { echo "\$((\$2 == 0)) \$((\$2 != 0)) 0"; }
		skips_command() { :; }
		count_skip() { echo "1 0 1"; }
		skips_skip() { cat "\$1"; }
		may_be_skipped() { [[ \$1 == group && \$2 == "may be skipped" ]]; }
		exec {lock}>$work/lock
		flock "\$lock"
		rm -rf "\$logs"
		mkdir "\$logs"
		guard_jobs
		END
		cat
		cat <<-'END'
		run_jobs
		totals "$passed" "$failed" "$skipped"
		END
	} >"$work/script"
}

run()
{
	write_script
	output=$(timeout 60 bash "$work/script" 2>/dev/null) || true
}

# check NAME COMMAND...
check()
{
	local name=$1 result="ok"
	shift

	count=$((count + 1))
	"$@" || {
		result="not ok"
		failed=1
		echo "# ${output//$'\n'/$'\n'# }"
	}
	echo "$result $count $name"
}

says() { grep -qE -- "$1" <<<"$output"; }

echo "TAP version 13"
echo "1..11"

run <<'END'
job group/slow command "the slow one" sleep 2
job group/quick command "the quick one" true
END
check "results come in the order of declaration" \
	[ "$(cut -d' ' -f1,2 <<<"$output" | head -n 2 | xargs)" = "the slow the quick" ]
check "all is counted" says '^2 passed, 0 failed$'

run <<'END'
fails() { echo "the reason"; false; echo "not reached"; }
job group/one command "one" fails
job --after group/one group/two command "two" true
job group/three command "three" true
END
check "a job that fails counts, and does not stop the others" says '^1 passed, 2 failed$'
check "the end of its log is shown" says '^    the reason$'
check "errors end a job" eval '! says "not reached"'
check "what comes after it is not run, and fails" says 'not run, because "one" of group failed'

run <<'END'
job group/one command "one" bash -c 'kill -KILL $PPID'
job group/two command "two" bash -c 'kill -KILL "$(ps -o ppid= $PPID)"'
END
check "a job that is killed has failed" says '^0 passed, 2 failed$'

run <<'END'
job group/one skip "one" echo "may be skipped"
END
check "a skip that is on the list is none" says '^1 passed, 0 failed, 1 skipped$'

run <<'END'
job group/one skip "one" echo "may not be skipped"
job other/two skip "two" echo "may be skipped"
END
check "any other skip is a failure" says '^2 passed, 2 failed, 2 skipped$'

# timeout has a process group of its own.
write_script <<'END'
job group/one command "one" timeout 98 sleep 97.531
job --background group/two command "two" sleep 97.531
END
ends_everything()
{
	local pid tries

	bash "$work/script" >/dev/null 2>&1 &
	pid=$!
	for ((tries = 0; tries < 100; tries++)); do
		[[ $(pgrep -fcx 'sleep 97.531') != 2 ]] || break
		sleep 0.1
	done
	kill "-$1" "$pid"
	wait "$pid" 2>/dev/null || true
	# The lock is free when all is over.
	flock -w 20 "$work/lock" true && ! pgrep -fx 'sleep 97.531'
}
check "a run that is ended leaves nothing behind" ends_everything TERM
check "neither does one that is killed" ends_everything KILL

exit "$failed"
