# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# lib.bash - what the netns tests share: a bed for each file, traffic, counters, captures.
#
#   load lib                                         bats's way of sourcing it
#   setup_file()    { bed_up --pods 1; xmasq_up; }
#   teardown_file() { bed_down; }
#   setup()         { test_begin; }
#   teardown()      { test_end; }
#
# The bed of tests/netns/nat.bats is called "xmtnat": files do not disturb one another, nor
# a bed that somebody made by hand. Whatever "start" began is ended by "test_end", by pid.
# WHO is a name as testbed.sh takes it: n1, n1p1, out, sw.

bats_require_minimum_version 1.5.0

# For the tests that read captures by hand: ports of the overlay and of masqueraded packets.
OVERLAY_FILTER='udp port 8472'
# Neither hellos (port to port) nor probes (label 0).
MASQ_FILTER='port 18477 and not (src port 18477 and dst port 18477) and not port 32768'

# ---- the bed ----------------------------------------------------------------

# bed_env: names and paths; bed_up calls it
bed_env()
{
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	export BED=$PWD/scripts/testbed.sh BUILD=${XMASQ_BUILD:-build} XMASQ_BED
	export FLOW=$BUILD/tests/tools/xmt-flow NETNS=$BATS_TEST_DIRNAME
	XMASQ_BED=xmt$(basename "$BATS_TEST_FILENAME" .bats)
	unset XMASQ_TESTBED_FAIL_AT
	[ "$(id -u)" = 0 ] || { echo "needs root: sudo make check" >&2; return 1; }
	[ -x "$FLOW" ] || { echo "$FLOW is missing: run 'make tools'" >&2; return 1; }
}

# bed_up [options of testbed.sh up]: replaces what an interrupted run left
bed_up()   { bed_env && "$BED" up --replace "$@"; }
bed_down() { "$BED" down; }
nodes()    { "$BED" status | grep -oE '^ *n[0-9]+:' | tr -d ' :'; }

# inside WHO COMMAND...
inside() { local who=$1; shift; "$BED" exec "$who" -- "$@"; }

# ctl NODE ARGS...: xmasqctl
ctl() { local node=$1; shift; "$BED" xmasq ctl "$node" -- "$@"; }

# xmasq_up [options of testbed.sh xmasq start]: on all nodes, then until all are peers
xmasq_up()
{
	"$BED" xmasq start "$@" && peers_meet
}

# peers_meet: nodes find each other by overlay packets between their first pods
peers_meet()
{
	local from to all

	all=$(nodes)
	for from in $all; do
		for to in $all; do
			[ "$from" = "$to" ] && continue
			inside "${from}p1" ping -q -c 1 -W 2 "$(ip_of "${to}p1")" >/dev/null || return 1
		done
	done
	for from in $all; do
		for to in $all; do
			[ "$from" = "$to" ] || wait_until 10 peer_is "$from" "$to" up || return 1
		done
	done
}

# peer_is NODE NODE STATE: what the first thinks of the second
peer_is()
{
	ctl "$1" peers -o json | jq -e --arg a "$(ip_of "$2")" --arg s "$3" \
		'any(.peers[]; .addr == $a and .state == $s)' >/dev/null
}

ip_of() { "$BED" ip "$1"; }

# ---- waiting, processes -------------------------------------------------------

# wait_until SECONDS COMMAND...: polls until it succeeds; fails, and says so, when it never does
wait_until()
{
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000)) limit=$1

	shift
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || { echo "not within $limit s: $*"; return 1; }
		sleep 0.05
	done
}

test_begin() { PIDS=(); }

# stop_all: ends what the test began so far
stop_all()
{
	local pid

	for pid in "${PIDS[@]}"; do
		stop "$pid"
	done
	PIDS=()
}

# test_end: ends what the test began; explains a failure
test_end()
{
	local node

	stop_all
	[ -z "${BATS_TEST_COMPLETED:-}" ] || return 0
	for node in $(nodes); do
		echo "-- $node"
		{ ctl "$node" peers; ctl "$node" counters; ctl "$node" flows --limit 12; } 2>&1 || :
		tail -n 5 "/run/xmasq-$XMASQ_BED/$node/xmasqd.log" 2>/dev/null || :
	done
}

# start FILE PATTERN COMMAND...: in the background, output to FILE, until FILE has PATTERN;
# the pid is the last of PIDS. COMMAND is a program, such as "$BED" exec n1p1 -- nc -l 80: of a
# function only the shell around it would be ended.
start()
{
	local file=$1 pattern=$2

	shift 2
	: >"$file"
	# bats waits for whoever holds its descriptor 3.
	"$@" >"$file" 2>&1 3>&- &
	PIDS+=($!)
	wait_until 5 grep -q "$pattern" "$file" || { cat "$file"; return 1; }
}

# stop PID [SIGNAL]: and waits for it
stop()
{
	kill "-${2:-TERM}" "$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
}

# ends PID STATUS: a child of this test does ("run wait" would be in a subshell)
ends()
{
	local status=0

	wait "$1" || status=$?
	[ "$status" = "$2" ] || { echo "process $1 ended with $status, not $2"; return 1; }
}

# ---- traffic ------------------------------------------------------------------

# serve WHO tcp|udp PORT [options]: an xmt-flow server for as long as the test lasts
serve()
{
	local who=$1 proto=$2 port=$3

	shift 3
	start "$BATS_TEST_TMPDIR/server.$who.$proto.$port" listening \
		"$BED" exec "$who" -- "$FLOW" server "--$proto" --port "$port" --timeout 120 "$@"
}

# flow WHO tcp|udp TO PORT [options]: an xmt-flow client towards pod TO; prints its report.
# Succeeds when both ends saw every byte right.
flow()
{
	flow_command "$@"
	"${FLOW_COMMAND[@]}"
}

# flow_bg FILE WHO PROTO TO PORT [options]: the same in the background; pid last in PIDS
flow_bg()
{
	local file=$1

	shift
	flow_command "$@"
	"${FLOW_COMMAND[@]}" >"$file" 2>&1 3>&- &
	PIDS+=($!)
}

flow_command()
{
	local who=$1 proto=$2 to=$3 port=$4

	shift 4
	[[ $to == *.* ]] || to=$(ip_of "$to")
	FLOW_COMMAND=("$BED" exec "$who" -- "$FLOW" client "--$proto" --host "$to" --port "$port"
		--timeout 20 -o json "$@")
}

# flow_active NODE PORT [COUNT]: at least COUNT (1) flows with this port are on the fast path
flow_active()
{
	ctl "$1" flows --active -o json | jq -e --argjson p "$2" --argjson n "${3:-1}" \
		'[.flows[] | select(.sport == $p or .dport == $p)] | length >= $n' >/dev/null
}

# pod_attached NODE ADDRESS: xmasqd's programs are on the interface of the pod
pod_attached()
{
	ctl "$1" pods -o json | jq -e --arg a "$2" \
		'any(.pods[]; .attached and .addrs == $a)' >/dev/null
}

# ---- counters -------------------------------------------------------------------

# counter NODE NAME: packets so far, by the names of common/xm_reasons.h
counter()
{
	ctl "$1" counters -a -o json | jq -e --arg n "$2" '.counters[] | select(.name == $n).packets'
}

# counters_mark NODE...; then counted NODE NAME: packets since
counters_mark()
{
	local node

	for node; do
		ctl "$node" counters -a -o json >"$BATS_TEST_TMPDIR/mark.$node"
	done
}

counted()
{
	local before

	before=$(jq --arg n "$2" '.counters[] | select(.name == $n).packets' \
		"$BATS_TEST_TMPDIR/mark.$1")
	echo $(($(counter "$1" "$2") - before))
}

# fast_permille NODE: of the packets that pods of NODE sent since counters_mark, how many of a
# thousand were masqueraded
fast_permille()
{
	ctl "$1" counters -a -o json | jq -s '
		def of($k; f): [.[$k].counters[] | select(f) | .packets] | add;
		def since(f): of(1; f) - of(0; f);
		since(.name == "masqueraded") as $fast
		| since(.kind == "overlay" and .name != "none") as $slow
		| if $fast + $slow == 0 then 0 else 1000 * $fast / ($fast + $slow) | floor end' \
		"$BATS_TEST_TMPDIR/mark.$1" -
}

# ---- captures -------------------------------------------------------------------

# capture FILE WHO INTERFACE FILTER [tcpdump options]: into FILE (pcap) until capture_end FILE.
# For one direction use "src host", since tcpdump's -Q drops packets that capture_end waits for.
declare -gA CAPTURES=()
capture()
{
	local file=$1 who=$2 iface=$3 filter=$4

	shift 4
	start "$file.log" 'listening on' "$BED" exec "$who" -- tcpdump -nn -U --immediate-mode \
		-B 65536 -Z root -i "$iface" -w "$file" "$@" "$filter"
	CAPTURES[$file]=${PIDS[-1]}
}

# capture_end FILE...: when all that was seen is in the files; fails when packets were lost
capture_end()
{
	local file

	for file; do
		wait_until 5 capture_drained "$file" || return 1
		stop "${CAPTURES[$file]}" INT
		grep -qx '0 packets dropped by kernel' "$file.log" || { cat "$file.log"; return 1; }
	done
}

# On SIGUSR1 tcpdump tells how many packets it wrote and how many the kernel had for it; on
# SIGINT it would leave the rest behind. What came before the filter was set is counted by the
# kernel only: four reports with no progress are an end, too.
capture_drained()
{
	local report='([0-9]+) packets? captured, [0-9]+ packets? received'

	kill -USR1 "${CAPTURES[$1]}" && sleep 0.02
	tail -n 1 "$1.log" | grep -qE ' ([0-9]+) packets? captured, \1 packets? received' ||
		[ "$(grep -oE "$report" "$1.log" | tail -n 4 | uniq -c | awk '{ print $1 }')" = 4 ]
}

# captured FILE FILTER: number of packets (GSO packets count once). Counted by tcpdump: it prints
# a tunnel's packet on two lines.
captured() { tcpdump --count -nn -r "$1" "$2" 2>/dev/null | sed -n 's/ packets\?$//p'; }

# captured_permille FILE: of the pods' packets in a capture of a NIC, how many of a thousand
# are masqueraded
captured_permille()
{
	local fast slow

	fast=$(captured "$1" "$MASQ_FILTER")
	slow=$(captured "$1" "$OVERLAY_FILTER")
	[ $((fast + slow)) -gt 0 ] || { echo 0; return; }
	echo $((1000 * fast / (fast + slow)))
}

# wire_format FILE [options of check_pcap.py]: sets REPORT (JSON); fails, and says why, when a
# frame is not as it should be
# shellcheck disable=SC2034 # REPORT is the caller's
wire_format() { REPORT=$("$NETNS/check_pcap.py" "${@:2}" "$1"); }

# check JSON CONDITION: jq's
check() { jq -e "$2" <<<"$1" >/dev/null || { printf 'not %s:\n%s\n' "$2" "$1"; return 1; }; }

# ---- interfaces -----------------------------------------------------------------

# offloads WHO INTERFACE FEATURE on|off...: ethtool -K, fails when one did not change
offloads()
{
	local who=$1 iface=$2

	shift 2
	inside "$who" ethtool -K "$iface" "$@" >/dev/null
}
