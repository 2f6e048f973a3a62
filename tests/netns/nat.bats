#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Translated flows work as without xmasq and stay with the CNI; the same pods' direct flows are
# accelerated. The services' backend is n2p1.
#
#   out --- n1 (n1p1, n1p2) === underlay === n2 (n2p1, n2p2)
# shellcheck disable=SC2086 # ports are numbers

# Long enough for several leases.
LONG=(--duration $((${XM_SLOW:-1} > 1 ? 8 : 3)) --interval-ms 10)

setup_file() {
	load lib
	bed_up && xmasq_up
}

teardown_file() {
	load lib
	bed_down
}

setup() {
	load lib
	test_begin
}

teardown() { test_end; }

# translated COMMAND...: it succeeds, and no packet took the fast path meanwhile
translated() {
	local node

	counters_mark n1 n2
	"$@"
	for node in n1 n2; do
		[ "$(counted $node masqueraded)" = 0 ]
		[ "$(counted $node restored)" = 0 ]
	done
}

# verified FILE...: reports of flows in which nothing was wrong or lost
verified() { jq -es 'all(.[]; .errors == 0 and .lost == 0 and .rounds > 100)' "$@"; }

# all_of N NAME WHO PROTO TO PORT...: up to N flows at once, by fours of arguments
all_at_once() {
	local i=0 files=() pids=()

	while [ $# -gt 0 ]; do
		files+=("$BATS_TEST_TMPDIR/flow.$((i++))")
		flow_bg "${files[-1]}" "$1" "$2" "$3" "$4" "${LONG[@]}"
		pids+=("${PIDS[-1]}")
		shift 4
	done
	for i in "${pids[@]}"; do
		ends "$i" 0
	done
	cat "${files[@]}"
	verified "${files[@]}"
}

@test "ClusterIP, TCP and UDP, from pods of both nodes, from a node, and to itself" {
	serve n2p1 tcp 80
	serve n2p1 tcp 4321
	serve n2p1 udp 5000
	serve n2p1 udp 4321
	translated all_at_once \
		n1p1 tcp 10.96.0.10 80		n1p1 udp 10.96.0.10 5000 \
		n1p1 tcp 10.96.0.11 4321	n1p1 udp 10.96.0.11 4321 \
		n2p2 tcp 10.96.0.10 80		n2p2 udp 10.96.0.10 5000 \
		n1 tcp 10.96.0.10 80		n1 udp 10.96.0.10 5000 \
		n2p1 tcp 10.96.0.10 80		n2p1 udp 10.96.0.10 5000
}

@test "NodePort, from outside, from pods and through the node without the backend" {
	serve n2p1 tcp 80
	translated all_at_once \
		out tcp 172.31.0.1 30080	out tcp 172.31.0.2 30080 \
		n1p2 tcp 172.31.0.1 30080	n1p2 tcp 172.31.0.2 30080 \
		n2p2 tcp 172.31.0.1 30080
}

@test "egress SNAT, pod to node and node to pod" {
	serve out tcp 7000
	serve out udp 7001
	serve n2 tcp 7000
	serve n2 udp 7001
	serve n2p1 tcp 7002
	serve n2p1 udp 7003
	translated all_at_once \
		n1p1 tcp out 7000	n1p1 udp out 7001 \
		n2p1 tcp out 7000	n2p1 udp out 7001 \
		n1p1 tcp n2 7000	n1p1 udp n2 7001 \
		n1 tcp n2p1 7002	n1 udp n2p1 7003
}

@test "beside a service's flows, direct ones to the same backend and port are accelerated" {
	local proto port i

	for proto in tcp udp; do
		[ $proto = tcp ] && port=80 || port=5000
		serve n2p1 $proto $port
		flow_bg "$BATS_TEST_TMPDIR/service" n1p1 $proto 10.96.0.10 $port "${LONG[@]}" \
			--connections 4
		i=${#PIDS[@]}
		counters_mark n1 n2
		flow n1p1 $proto n2p1 $port "${LONG[@]}" >"$BATS_TEST_TMPDIR/direct"
		ends "${PIDS[i - 1]}" 0
		cat "$BATS_TEST_TMPDIR/service" "$BATS_TEST_TMPDIR/direct"
		verified "$BATS_TEST_TMPDIR/service" "$BATS_TEST_TMPDIR/direct"
		# A message and, for TCP, an acknowledgement are one flow's; four are not.
		i=$(jq .rounds "$BATS_TEST_TMPDIR/direct")
		echo "$proto: $i rounds, $(counted n1 masqueraded) and $(counted n2 masqueraded) fast"
		[ "$(counted n1 masqueraded)" -ge $((i * 9 / 10)) ]
		[ "$(counted n1 masqueraded)" -le $((i * 22 / 10)) ]
		[ "$(counted n2 masqueraded)" -ge $((i * 9 / 10)) ]
		[ "$(counted n2 masqueraded)" -le $((i * 22 / 10)) ]
	done
}

# ---- equal tuples behind the translation ----------------------------------------------

# not_on_ovs: a service's packets pass the bed's Open vSwitch twice, and the second time they are the
# direct flow's by their conntrack entry, so that their answers are not translated back. That
# is so without xmasq as well (Antrea without its proxy).
not_on_ovs()
{
	[[ $OVERLAY != ovs-* ]] || skip "allowed: this bed cannot keep these flows apart by itself"
}

# after_another PROTO PORT SPORT FIRST SECOND: flows to FIRST, then to SECOND, from one port
after_another() {
	flow n1p1 "$1" "$4" "$2" --source-port "$3" --duration 2 --interval-ms 10 \
		>"$BATS_TEST_TMPDIR/a.$3"
	flow n1p1 "$1" "$5" "$2" --source-port "$3" --duration 2 --interval-ms 10 \
		>"$BATS_TEST_TMPDIR/b.$3"
	cat "$BATS_TEST_TMPDIR/a.$3" "$BATS_TEST_TMPDIR/b.$3"
	verified "$BATS_TEST_TMPDIR/a.$3" "$BATS_TEST_TMPDIR/b.$3"
}

@test "a service's flow from the source port of a direct one to its backend, right after it" {
	not_on_ovs
	serve n2p1 tcp 80
	serve n2p1 udp 5000
	counters_mark n1
	after_another tcp 80 7100 n2p1 10.96.0.10
	[ "$(counted n1 masqueraded)" -gt 100 ]
	counters_mark n1
	after_another udp 5000 7101 n2p1 10.96.0.10
	[ "$(counted n1 masqueraded)" -gt 100 ]
}

@test "a direct flow from the source port of a service's, right after it" {
	serve n2p1 tcp 80
	serve n2p1 udp 5000
	after_another tcp 80 7102 10.96.0.10 n2p1
	after_another udp 5000 7103 10.96.0.10 n2p1
}

@test "a service's and a direct flow from one source port at the same time" {
	local i

	not_on_ovs
	serve n2p1 udp 5000
	flow_bg "$BATS_TEST_TMPDIR/direct" n1p1 udp n2p1 5000 --source-port 7104 "${LONG[@]}"
	wait_until 3 flow_active n1 7104
	flow n1p1 udp 10.96.0.10 5000 --source-port 7104 --duration 2 --interval-ms 10 \
		>"$BATS_TEST_TMPDIR/service"
	ends "${PIDS[-1]}" 0
	verified "$BATS_TEST_TMPDIR/service" "$BATS_TEST_TMPDIR/direct"
}
