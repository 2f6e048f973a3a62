# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# testbed.bash - what the tests of the test bed share: processes that end with the test,
# traffic, and whether a bed is gone.

bats_require_minimum_version 1.5.0

# bed_env: call it in setup_file, with XMASQ_BED set
bed_env() {
	cd "$(dirname "${BASH_SOURCE[0]}")/../.." || return 1
	export BED=$PWD/scripts/testbed.sh XMASQ_BED
	export FLOW=${XMASQ_BUILD:-$PWD/build}/tests/tools/xmt-flow
	[ "$(id -u)" = 0 ] || { echo "needs root: sudo make check" >&2; return 1; }
	[ -x "$FLOW" ] || { echo "$FLOW is missing: run 'make tools'" >&2; return 1; }
	unset XMASQ_TESTBED_FAIL_AT
}

# Ends what the test began, by pid.
stop_all() {
	local pid

	for pid in "${PIDS[@]}"; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	PIDS=()
}

# start FILE PATTERN COMMAND...: runs it in the background, waits until FILE has PATTERN
start() {
	local file=$1 pattern=$2

	shift 2
	: >"$file"
	# bats waits for whoever holds its descriptor 3.
	"$@" >"$file" 2>&1 3>&- &
	PIDS+=($!)
	# An emulated machine needs its time.
	poll 30 grep -q "$pattern" "$file" || { cat "$file"; return 1; }
}

# poll SECONDS COMMAND...: until it succeeds
poll() {
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# ends PID STATUS: waits for a child of this test ("run wait" would be in a subshell)
ends() {
	local status=0

	wait "$1" || status=$?
	[ "$status" = "$2" ] || { echo "process $1 ended with $status, not $2"; return 1; }
}

# serve BED WHO PROTO PORT: an xmt-flow server in the background
serve() {
	start "$BATS_TEST_TMPDIR/server.$1.$2.$3.$4" listening \
		"$BED" --prefix "$1" exec "$2" -- "$FLOW" server "--$3" --port "$4" --timeout 300
}

# flow BED WHO PROTO HOST PORT [options]: an xmt-flow client; its status is the answer
flow() {
	local bed=$1 who=$2 proto=$3 host=$4 port=$5

	shift 5
	"$BED" --prefix "$bed" exec "$who" -- "$FLOW" client "--$proto" --host "$host" --port "$port" \
		--timeout 30 -o json "$@"
}

# nothing_left BED: neither namespaces, files, pins nor daemons
nothing_left() {
	local p

	! ip netns list | grep "^$1-" || return 1
	[ ! -e "/run/xmasq-$1" ]
	[ -z "$(find /sys/fs/bpf -maxdepth 1 -name "xmasq-$1-*")" ]
	# shellcheck disable=SC2013 # names without blanks
	for p in $(grep -lzs "^OVS_RUNDIR=/run/xmasq-$1/" /proc/[0-9]*/environ); do
		p=${p%/environ}
		# A zombie is gone.
		! grep -E '^State:.[^ZX]' "$p/status" || { tr '\0' ' ' <"$p/cmdline"; return 1; }
	done
}
