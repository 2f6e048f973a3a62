# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# lib.bash - what the fault tests share, over that of tests/netns.
#
#   n1p1 n1p2     n2p1 n2p2     n3p1 n3p2      pods
#      \ /           \ /           \ /
#      n1            n2            n3          nodes with kube-proxy's rules, INVALID dropped
#       `------------ sw ------------'         the underlay, a bridge: filters and netem are there
#
# One load for a whole file: 210 TCP connections and 30 UDP flows between all pairs of nodes, in both
# directions, every byte checked (tests/tools/xmt-load.c). A test breaks something and says with
# "outcome" what that may have cost: never a connection, a wrong byte or a packet at the wrong pod.

load ../netns/lib
load ../netns/daemon

# Of the pairs, the first and the fourth are those of n1 and n2.
PAIRS=('n1p1,n2p1' 'n2p2,n3p2' 'n3p1,n1p2' 'n2p1,n1p2' 'n3p2,n2p1' 'n1p1,n3p1')
TCP=35 UDP=5

faults_up()
{
	bed_up --nodes 3 --pods 2 "$@" || return 1
	export NETNS=$PWD/tests/netns LOAD=$BUILD/tests/tools/xmt-load
	[ -x "$LOAD" ] || { echo "$LOAD is missing: run 'make tools'" >&2; return 1; }
	daemons_changed
}

faults_down() { bed_down; }

# fault_begin [options of xmt-load]: daemons as they were made, all flows fast, under load
fault_begin()
{
	test_begin
	daemons_default
	# An emulated machine does not keep up with more.
	[ "$XM_SLOW" = 1 ] || { TCP=5 UDP=2; }
	load_start "$@"
	wait_until 10 load_fast
	load_mark
}

# long_form: first in a test that the usual run leaves out
long_form() { [ -n "${XM_FULL:-}" ] || skip "allowed: the long form, with XM_FULL=1 or make check-all"; }

fault_end()
{
	[ -z "${LOAD_PID:-}" ] || ! kill -0 "$LOAD_PID" 2>/dev/null || stop "$LOAD_PID" KILL
	[ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 20 "$BATS_TEST_TMPDIR/load.err" 2>/dev/null || :
	daemons_end
	test_end
}

# load_start [options]: LOAD_PID; reports go to the file LOAD_OUT
load_start()
{
	local p args=()

	LOAD_OUT=$BATS_TEST_TMPDIR/load
	for p in n1p1 n1p2 n2p1 n2p2 n3p1 n3p2; do
		args+=(--pod "$p=/run/netns/$XMASQ_BED-$p=$(ip_of "$p")")
	done
	for p in "${PAIRS[@]}"; do
		args+=(--pair "$p")
	done
	: >"$LOAD_OUT"
	"$LOAD" "${args[@]}" --tcp $TCP --udp $UDP --timeout 900 "$@" \
		>"$LOAD_OUT" 2>"$BATS_TEST_TMPDIR/load.err" 3>&- &
	LOAD_PID=$!
	wait_until 40 grep -q ready "$LOAD_OUT" || { cat "$BATS_TEST_TMPDIR/load.err"; return 1; }
}

# load_fast: nine of ten flows of every node are on the fast path. Each node has two thirds of them.
load_fast()
{
	local n

	for n in n1 n2 n3; do
		[ "$(ctl $n flows --active -o json | jq '.flows | length')" -ge \
			$((${#PAIRS[@]} * (TCP + UDP) * 6 / 10)) ] || return 1
	done
}

# load_report: REPORT, what happened since the last one
load_report()
{
	local lines

	lines=$(wc -l <"$LOAD_OUT")
	kill -USR1 "$LOAD_PID" || { cat "$BATS_TEST_TMPDIR/load.err"; return 1; }
	wait_until 10 load_more "$lines" || return 1
	REPORT=$(tail -n 1 "$LOAD_OUT")
}

load_more() { [ "$(wc -l <"$LOAD_OUT")" -gt "$1" ]; }

# load_mark: what was before the fault does not count; MARK, when that was
load_mark()
{
	load_report
	MARK=${EPOCHREALTIME/./}
}

# outcome WHAT STALL LOST: said, and held against these bounds: the longest that a message was under
# way (ms of a real machine) and datagrams lost, both since the mark. Nothing excuses the rest.
outcome()
{
	load_report
	printf '# %s: %s\n' "$1" "$(jq -r '"stall \(.stall_ms) ms in \(.stalled) of \(2 * .tcp) directions, TCP degraded \(.degraded_ms) ms, UDP \(.udp_degraded_ms) ms, \(.udp_lost) of \(.udp_sent) datagrams lost; broken \(.broken), corrupt \(.corrupt), misdelivered \(.misdelivered)"' <<<"$REPORT")" >&3
	intact "$REPORT" || return 1
	check "$REPORT" ".tcp >= $((${#PAIRS[@]} * TCP))"
	check "$REPORT" ".stall_ms <= $(($2 * XM_SLOW)) and .udp_lost <= $3"
}

# intact REPORT: no connection broke, no byte differs, no packet came to another pod
intact()
{
	check "$1" '.broken == 0 and .corrupt == 0 and .misdelivered == 0' && return
	cat "$BATS_TEST_TMPDIR/load.err"
	echo "xmasq: never excused"
	return 1
}

# load_end: everything that was sent has arrived
load_end()
{
	kill -TERM "$LOAD_PID"
	ends "$LOAD_PID" 0 || { cat "$BATS_TEST_TMPDIR/load.err" "$LOAD_OUT"; return 1; }
	LOAD_PID=
	intact "$(tail -n 1 "$LOAD_OUT")"
}

# back WITHIN: all is fast again; SINCE_FAULT, ms since the mark
back()
{
	wait_until "$1" load_fast || return 1
	SINCE_FAULT=$(((${EPOCHREALTIME/./} - MARK) / 1000))
	echo "# fast again ${SINCE_FAULT} ms after the fault" >&3
}

# ---- the underlay ----------------------------------------------------------------

# port_of NODE: its port at the switch
port_of() { echo "port-$1"; }

# filter RULE...: on the switch, instead of those before; unfilter
filter()
{
	inside sw nft -f - <<-END
		table bridge xmtfault
		delete table bridge xmtfault
		table bridge xmtfault {
			chain forward {
				type filter hook forward priority 0
				$(printf '%s\n' "$@")
			}
		}
	END
}

unfilter() { inside sw nft delete table bridge xmtfault 2>/dev/null || :; }

# noise_begin NODE: from now on its wire goes through xmt-noise, which needs whole frames; for the file
noise_begin()
{
	local node=$1 port fifo=$BATS_FILE_TMPDIR/noise.$1

	port=$(port_of "$node")
	inside sw ip link add "ns$node" type veth peer name "nb$node" &&
		inside sw ip link set "ns$node" up &&
		inside sw ip link set "nb$node" master br0 up &&
		inside sw ip link set "$port" nomaster || return 1
	offloads "$node" "$NIC" tx off tso off gso off gro off
	offloads sw "$port" tx off tso off gso off gro off
	offloads sw "ns$node" tx off tso off gso off gro off
	offloads sw "nb$node" tx off tso off gso off gro off
	mkfifo "$fifo"
	nsenter --net="/run/netns/$XMASQ_BED-sw" -- "$BUILD/tests/tools/xmt-noise" "$port" "ns$node" \
		<>"$fifo" >"$fifo.log" 2>&1 3>&- &
	echo $! >"$fifo.pid"
	wait_until 5 grep -q relaying "$fifo.log" || { cat "$fifo.log"; return 1; }
}

# noise NODE COMMAND...: see xmt-noise; quiet NODE
noise() { echo "${*:2}" >"$BATS_FILE_TMPDIR/noise.$1"; }
quiet() { [ ! -p "$BATS_FILE_TMPDIR/noise.$1" ] || echo >"$BATS_FILE_TMPDIR/noise.$1"; }

noise_end()
{
	local f

	for f in "$BATS_FILE_TMPDIR"/noise.*.pid; do
		[ ! -s "$f" ] || kill "$(<"$f")" 2>/dev/null || :
	done
}

# ---- tables ------------------------------------------------------------------------

# map_clear NODE MAP: every key of a hash
map_clear()
{
	local pin

	pin="$(pin_dir "$1")/$2"
	bpftool -j map dump pinned "$pin" | jq -r '.[].key | join(" ")' | while read -r key; do
		# shellcheck disable=SC2086 # words
		echo map delete pinned "$pin" key hex ${key//0x/}
	done >"$BATS_TEST_TMPDIR/batch"
	[ ! -s "$BATS_TEST_TMPDIR/batch" ] || bpftool batch file "$BATS_TEST_TMPDIR/batch" >/dev/null 2>&1 || :
}
