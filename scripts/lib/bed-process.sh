# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-process.sh - the processes that a bed starts, for testbed.sh. A pid file holds "PID
# STARTTIME": a pid alone may by now belong to somebody else.

# pid_starttime PID: sets STARTTIME; fails when there is no such process
pid_starttime()
{
	local stat=''

	STARTTIME=gone
	{ read -r -d '' stat < "/proc/$1/stat"; } 2>/dev/null || :
	[ -n "$stat" ] || return 1
	# The second field is the name and may hold blanks and brackets.
	read -ra stat <<< "${stat##*) }"
	# Whoever inherited a dead daemon may take long to reap it: a zombie is gone.
	[[ ${stat[0]} != [ZX] ]] || return 1
	STARTTIME=${stat[19]}
}

# pid_save FILE PID
pid_save()
{
	pid_starttime "$2" || :
	printf '%s %s\n' "$2" "$STARTTIME" > "$1"
}

# pid_alive FILE: sets PID if that very process still runs
pid_alive()
{
	local start

	PID=''
	{ read -r PID start < "$1"; } 2>/dev/null || return 1
	pid_starttime "$PID" && [ "$STARTTIME" = "$start" ]
}

# pid_stop FILE SIGNAL: sends it, waits up to 5 s, then SIGKILL; removes FILE
pid_stop()
{
	local tries=100

	if pid_alive "$1"; then
		kill "-$2" "$PID" 2>/dev/null || :
		while pid_alive "$1" && [ $((tries--)) -gt 0 ]; do
			nap 0.05
		done
		if pid_alive "$1"; then
			say "process $PID ignores SIG$2 for 5 s: killing it"
			kill -KILL "$PID" 2>/dev/null || :
		fi
	fi
	rm -f -- "$1"
}

# nap SECONDS: sleeps without a process, by a read that nobody answers
nap()
{
	[ -n "${NAP_FD:-}" ] || exec {NAP_FD}<> <(:)
	read -r -t "$1" -u "$NAP_FD" || :
}

# run_all COMMAND ARG...: COMMAND ARG for each, a few at a time; fails when one did
run_all()
{
	local command=$1 arg status=0 pids=()

	shift
	for arg; do
		"$command" "$arg" &
		pids+=($!)
		if [ ${#pids[@]} -ge 8 ]; then
			wait_all "${pids[@]}" || status=1
			pids=()
		fi
	done
	wait_all "${pids[@]}" || status=1
	return "$status"
}

wait_all()
{
	local pid status=0

	for pid; do
		wait "$pid" || status=1
	done
	return "$status"
}

# Whoever still has a namespace of the bed keeps its devices alive. Daemons of Open vSwitch
# whose state files were lost are ours and end; what a user started is worth a word.
bed_end_users()
{
	local inode path pid name
	declare -A ns=()

	while read -r inode path; do
		case $path in
		/run/netns/*)
			[[ $path != "/run/netns/$PREFIX-"* ]] || ns[$inode]=${ns[$inode]:-${path##*/}} ;;
		*)	[ -n "${ns[$inode]:-}" ] || continue
			pid=${path#/proc/} pid=${pid%%/*}
			! ovs_is_ours "$pid" || { kill -KILL "$pid" 2>/dev/null || :; continue; }
			{ read -r name < "/proc/$pid/comm"; } 2>/dev/null || continue
			say "note: process $pid ($name) still runs in ${ns[$inode]}: end it yourself" ;;
		esac
	done < <(stat -L -c '%i %n' "/run/netns/$PREFIX-"* /proc/[0-9]*/ns/net 2>/dev/null)
}

# ovs_is_ours PID: one of Open vSwitch's daemons that this bed started
ovs_is_ours()
{
	local env e

	{ mapfile -d '' env < "/proc/$1/environ"; } 2>/dev/null || return 1
	for e in "${env[@]}"; do
		[[ $e != "OVS_RUNDIR=$STATE/"* ]] || return 0
	done
	return 1
}
