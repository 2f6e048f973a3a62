# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# lib.bash - what the end-to-end tests share: a bed for each file, the router, traffic.

bats_require_minimum_version 1.5.0

# The bed of e2e/router.bats is called "xarouter".
e2e_env()
{
	cd "$BATS_TEST_DIRNAME/../../.." || return 1
	BUILD=${BUILD:-build}
	ROUTER_BIN=$PWD/$BUILD/afxdp/xsk-router FLOW=$PWD/$BUILD/tests/tools/xmt-flow
	AFXDP_BED=xa$(basename "$BATS_TEST_FILENAME" .bats)
	export BUILD ROUTER_BIN FLOW AFXDP_BED
	[ "$(id -u)" = 0 ] || { echo "needs root: sudo make check" >&2; return 1; }
	[ -x "$ROUTER_BIN" ] || { echo "$ROUTER_BIN is missing: run 'make tests'" >&2; return 1; }
	. tests/afxdp/bed.bash
	PIDS=()
}

# wait_until SECONDS COMMAND...
wait_until()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || { echo "not in time: $*"; return 1; }
		sleep 0.05
	done
}

# start FILE PATTERN WHO COMMAND...: in the background, until FILE has PATTERN; its pid is the
# last of PIDS
start()
{
	local file=$1 pattern=$2 who=$3

	shift 3
	: >"$file"
	nsenter --net="/run/netns/$AFXDP_BED-$who" -- "$@" >"$file" 2>&1 3>&- &
	PIDS+=($!)
	[ -z "$pattern" ] || wait_until 20 grep -q -- "$pattern" "$file" || { cat "$file"; return 1; }
}

# router [options]: runs until router_end; log in router.log, summary in router.json
router()
{
	start "$BATS_TEST_TMPDIR/router.log" ' queues\?, ' router "$ROUTER_BIN" -i eth0 -s "$SERVER" \
		-o json --summary "$BATS_TEST_TMPDIR/router.json" "$@" || return 1
	ROUTER_PID=${PIDS[-1]}
}

# router_end: ends it, which has to work; then "summary" knows
router_end()
{
	local rc=0

	kill -TERM "$ROUTER_PID"
	wait "$ROUTER_PID" || rc=$?
	[ $rc = 0 ] || { echo "xsk-router ended with $rc"; cat "$BATS_TEST_TMPDIR/router.log"; return 1; }
}

# summary FILTER: jq's, of the summary; fails when it is false
summary()
{
	jq -e "$1" "$BATS_TEST_TMPDIR/router.json" >/dev/null ||
		{ echo "not so: $1"; cat "$BATS_TEST_TMPDIR/router.json"; return 1; }
}

# serve WHO tcp|udp PORT
serve()
{
	start "$BATS_TEST_TMPDIR/serve.$1.$2.$3" listening "$1" "$FLOW" server "--$2" --port "$3" \
		--timeout 200
}

# flow WHO tcp|udp TO PORT [options]: fails unless every byte was right at both ends
flow()
{
	inside "$1" "$FLOW" client "--$2" --host "$3" --port "$4" --timeout 60 "${@:5}"
}

xdp_programs() { ip -n "$(bed_ns router)" -d link show eth0 | grep -c 'prog/xdp'; }

e2e_end()
{
	local pid

	[ -n "${BATS_TEST_COMPLETED:-}" ] || cat "$BATS_TEST_TMPDIR/router.log" 2>/dev/null || :
	for pid in "${PIDS[@]}"; do
		kill -CONT "$pid" 2>/dev/null || :
		kill -KILL "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	bed_down
}
