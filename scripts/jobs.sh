# shellcheck shell=bash disable=SC2154 # the script that sources this sets $logs and $lock
# SPDX-License-Identifier: GPL-2.0
#
# Jobs that run side by side, and whose results are printed in the order in which
# they were declared. To be sourced after lib.sh by a script that has set $logs, a
# folder, and "lock", the descriptor of its lock.
#
# A job has a kind, which says how tests are counted in its log: the functions
# count_KIND LOG STATUS print how many passed, failed and were skipped, and
# skips_KIND LOG names those that were skipped.

# How many jobs run at a time. One virtual machine keeps about one processor busy.
lanes=$(($(nproc) < 4 ? $(nproc) : 4))
# How long nothing is printed before it is said what is waited for.
silence=60

jobs=()
declare -A job_group=() job_kind=() job_title=() job_after=() job_lane=() job_command=()
declare -A job_state=() job_pid=() job_counts=() job_note=()

passed=0 failed=0 skipped=0

# --- One job -----------------------------------------------------------------

# job [--after ID]... [--background] GROUP/NAME KIND TITLE COMMAND...: declares a
# job, to be run when those before it have succeeded. Of those in the background,
# one runs at a time, at low priority and beside the others.
job()
{
	local after=() lane=front id

	while [[ $1 == --* ]]; do
		case $1 in
		--after)
			after+=("$2")
			shift
			;;
		--background) lane=background ;;
		esac
		shift
	done
	id=$1
	jobs+=("$id")
	job_group[$id]=${id%%/*} job_kind[$id]=$2 job_title[$id]=$3
	job_after[$id]=${after[*]} job_lane[$id]=$lane job_state[$id]=waiting
	shift 3
	job_command[$id]=${*@Q}
}

job_log() { echo "$logs/${1//[^A-Za-z0-9]/-}.log"; }

# The job itself, in a process of its own.
execute()
{
	local id=$1 log=$2 start=$SECONDS status

	exec {lock}>&- {alive}>&-
	[[ ${job_lane[$id]} == front ]] || renice -n 19 "$BASHPID" >/dev/null
	# A command that is not in a condition, lest errexit be off in it.
	set +e
	(
		set -e
		eval "${job_command[$id]}"
	) >"$log" 2>&1
	status=$?
	echo "$status $((SECONDS - start))" >"$log.status.new"
	mv "$log.status.new" "$log.status"
	echo >&"$bell"
}

start_job()
{
	local id=$1

	# Its own process group: Ctrl-C is for this shell, which ends the jobs.
	set -m
	execute "$id" "$(job_log "$id")" &
	set +m
	job_pid[$id]=$!
	job_state[$id]=running
	note_running
}

# finish_job ID STATUS SECONDS [REASON]: what came of it.
finish_job()
{
	local id=$1 status=$2 log good='' bad='' left='' skip

	log=$(job_log "$id")
	if [[ -n ${4:-} ]]; then
		good=0 bad=1 left=0
		job_note[$id]=$4
	else
		read -r good bad left < <("count_${job_kind[$id]}" "$log" "$status") || true
		good=${good:-0} bad=${bad:-0} left=$((10#${left:-0}))
		# A command that breaks off, or finds nothing to test, has failed as well.
		if ((bad == 0 && (status || good + left == 0))); then
			bad=1
		fi
		((!bad)) || job_note[$id]="exit status $status"
	fi
	if ((left)); then
		while IFS= read -r skip; do
			may_be_skipped "${job_group[$id]}" "$skip" && continue
			bad=$((bad + 1))
			job_note[$id]+="${job_note[$id]:+, }skipped, but not in tools/testing/skips: \"$skip\""
		done < <("skips_${job_kind[$id]}" "$log")
	fi
	job_counts[$id]="$good $bad $left"
	job_state[$id]=passed
	((!bad)) || job_state[$id]=failed
	passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + left))
	job_title[$id]=$(printf '%-40s %s' "${job_title[$id]}" "$(duration "$3")")
}

totals()
{
	printf '%d passed, %d failed' "$1" "$2"
	(($3 == 0)) || printf ', %d skipped' "$3"
	echo
}

print_job()
{
	local id=$1 log good bad left

	log=$(job_log "$id")
	read -r good bad left <<<"${job_counts[$id]}"
	printf '%s, %s\n' "${job_title[$id]}" "$(totals "$good" "$bad" "$left")"
	((bad)) || return 0
	if [[ -e $log ]]; then
		tail -n 40 "$log" | sed 's/^/    /'
		echo "    (${job_note[$id]}; the whole log is $log)"
	else
		echo "    (${job_note[$id]})"
	fi
}

# --- All of them -------------------------------------------------------------

# Sets reason to why a job cannot run; fails if it has to wait.
can_start()
{
	local other

	reason=''
	for other in ${job_after[$1]}; do
		case ${job_state[$other]} in
		passed) ;;
		failed) reason="not run, because \"${other#*/}\" of ${other%%/*} failed" ;;
		*) return 1 ;;
		esac
	done
}

start_jobs()
{
	local id reason
	local -A free=([front]=$lanes [background]=1)

	for id in "${jobs[@]}"; do
		[[ ${job_state[$id]} != running ]] || free[${job_lane[$id]}]=$((free[${job_lane[$id]}] - 1))
	done
	for id in "${jobs[@]}"; do
		[[ ${job_state[$id]} == waiting ]] || continue
		can_start "$id" || continue
		if [[ -n $reason ]]; then
			finish_job "$id" 1 0 "$reason"
		elif ((free[${job_lane[$id]}] > 0)); then
			free[${job_lane[$id]}]=$((free[${job_lane[$id]}] - 1))
			start_job "$id"
		fi
	done
}

collect_jobs()
{
	local id alive status seconds file

	for id in "${jobs[@]}"; do
		[[ ${job_state[$id]} == running ]] || continue
		alive=no
		! kill -0 "${job_pid[$id]}" 2>/dev/null || alive=yes
		file=$(job_log "$id").status
		if [[ -e $file ]]; then
			read -r status seconds <"$file"
			rm -f "$file"
			finish_job "$id" "$status" "$seconds"
		elif [[ $alive == no ]]; then
			finish_job "$id" 1 0 "its process was killed"
		else
			continue
		fi
		note_running
	done
}

# What would have to be ended.
note_running()
{
	local id

	for id in "${jobs[@]}"; do
		[[ ${job_state[$id]} != running ]] || echo "${job_pid[$id]}"
	done >"$logs/running"
}

# Not process groups: timeout makes one of its own.
with_descendants()
{
	local child

	echo "$1"
	for child in $(pgrep -P "$1"); do
		with_descendants "$child"
	done
}

end_jobs()
{
	local pids=() pid tries

	[[ ! -e $logs/running ]] || mapfile -t pids <"$logs/running"
	mapfile -t pids < <(for pid in "${pids[@]}"; do with_descendants "$pid"; done)
	((!${#pids[@]})) || kill "${pids[@]}" 2>/dev/null || true
	for pid in "${pids[@]}"; do
		for ((tries = 0; tries < 50; tries++)); do
			kill -0 "$pid" 2>/dev/null || continue 2
			sleep 0.2
		done
		kill -KILL "$pid" 2>/dev/null || true
	done
	rm -f "$logs/running"
}

# Has jobs ended when this shell ends, in whatever way: the guard, which has the
# lock until then, reads until nobody is left who could write.
guard_jobs()
{
	mkfifo "$logs/bell"
	exec {bell}<>"$logs/bell"
	rm "$logs/bell"
	exec {alive}> >(
		trap '' INT TERM HUP
		cat >/dev/null
		end_jobs
	)
	trap end_jobs EXIT
	trap 'echo interrupted; exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
}

print_waiting()
{
	local id running=''

	for id in "${jobs[@]}"; do
		[[ ${job_state[$id]} != running ]] || running+="${running:+; }${job_title[$id]}"
	done
	echo "  ... $(duration $SECONDS), running: ${running:-nothing}"
}

printed=0

run_jobs()
{
	local id last=$SECONDS

	while ((printed < ${#jobs[@]})); do
		start_jobs
		while ((printed < ${#jobs[@]})); do
			id=${jobs[printed]}
			[[ ${job_state[$id]} == passed || ${job_state[$id]} == failed ]] || break
			print_job "$id"
			printed=$((printed + 1))
			last=$SECONDS
		done
		((printed < ${#jobs[@]})) || break
		if ((SECONDS - last >= silence)); then
			print_waiting
			last=$SECONDS
		fi
		read -r -t 5 -u "$bell" || true
		collect_jobs
	done
}
