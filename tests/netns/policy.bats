#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The CNI decides: what its policy denies stops, fast path or not, and only what its policy
# has passed in both directions is accelerated.
#
#   n1p1 --- n1 (policy) === underlay === n2 (policy) --- n2p1
#
# A policy is a rule in iptables's FORWARD, or a flow of Open vSwitch: "testbed.sh policy".
# shellcheck disable=SC2086 # ports are numbers

LEASE_US=1000000

setup_file()    { load lib; load abuse; bed_up --pods 1 && xmasq_up; }
teardown_file() { load lib; load abuse; bed_down; }

setup() {
	load lib
	load abuse
	test_begin
	# What an earlier test left in the tables must not be taken for this one's.
	TCP=$((4000 + 10 * BATS_TEST_NUMBER)) UDP=$((4001 + 10 * BATS_TEST_NUMBER))
	SPORT=$((6000 + BATS_TEST_NUMBER))
}

teardown() {
	local node

	for node in n1 n2; do
		[ ! -s "/run/xmasq-$XMASQ_BED/$node/policy" ] || policy "$node" clear
	done
	test_end
}

now_us() { echo "${EPOCHREALTIME/./}"; }

# last_us FILE FILTER: when the last packet that passes FILTER was captured
last_us() {
	tcpdump -nn -tt -r "$1" "$2" 2>/dev/null | awk '{ t = $1 } END { sub(/\./, "", t); print t }'
}

both_fast() {
	flow_active n1 $TCP && flow_active n1 $UDP && flow_active n2 $TCP && flow_active n2 $UDP
}

# none_active NODE: neither flow is on the fast path by NODE's leases
none_active() { ! flow_active "$1" $TCP && ! flow_active "$1" $UDP; }

# Until finish "${PIDS[2]}" (TCP) and "${PIDS[3]}" (UDP). Each packet is an event: no segments that
# were merged, no acknowledgements apart.
begin_flows() {
	serve n2p1 tcp $TCP
	serve n2p1 udp $UDP
	flow_bg "$BATS_TEST_TMPDIR/tcp" n1p1 tcp n2p1 $TCP "${LASTING[@]}" --interval-ms 5
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 $UDP "${LASTING[@]}" --interval-ms 5 \
		--wait-ms $((50 * XM_SLOW)) --source-port $SPORT
	wait_until 5 both_fast
}

# deny NODE FROM TO: a rule on NODE against packets between these pods stops both flows in that
# direction within two leases, and they live on when it is gone
deny() {
	local node=$1 from=$2 to=$3 cap=$BATS_TEST_TMPDIR/cap proto t0 t1 last

	begin_flows
	capture "$cap" "$to" eth0 "src host $(ip_of "$from") and (tcp or udp)"
	counters_mark n1 n2
	t0=$(now_us)
	policy "$node" deny --from "$from" --to "$to"
	# Where the command takes no time worth mentioning it counts as in force from its start.
	t1=$t0
	[ "$XM_SLOW" = 1 ] || t1=$(now_us)
	# What is asserted is that nothing comes: that takes its time.
	sleep 2.7
	capture_stop "$cap"
	for proto in tcp udp; do
		last=$(last_us "$cap" "$proto")
		echo "$proto: last packet $(((last - t1) / 1000)) ms after the rule"
		# The capture did see the flow before.
		[ "$last" -gt $((t0 - 500000)) ]
		[ $((last - t1)) -le $((2 * LEASE_US)) ]
	done
	run ! both_fast

	policy "$node" allow --from "$from" --to "$to"
	# Retransmission of TCP has backed off by then.
	wait_until 4 both_fast
	finish "${PIDS[2]}"
	jq -e '.broken == 0 and .errors == 0' "$BATS_TEST_TMPDIR/tcp"
	finish "${PIDS[3]}"
	jq -e ".corrupted == 0 and .lost > 20 / $XM_SLOW" "$BATS_TEST_TMPDIR/udp"
}

@test "egress denied at the sender's node: stops within two leases, resumes" {
	deny n1 n1p1 n2p1
}

@test "ingress denied at the receiver's node: stops within two leases, resumes" {
	deny n2 n1p1 n2p1
}

@test "only replies denied, where they are sent: stops within two leases, resumes" {
	deny n2 n2p1 n1p1
}

@test "only replies denied, where they arrive: stops within two leases, resumes" {
	deny n1 n2p1 n1p1
}

# What the pods send is no evidence, and neither is an overlay packet that no CNI made.
@test "a TC filter of somebody else that drops deliveries denies the lease" {
	local veth

	begin_flows
	veth=$("$BED" veth n2p1)
	# Behind tc.priority, before tc.observe_priority; restored packets do not pass it.
	inside n2 tc filter add dev "$veth" egress prio 100 handle 7 bpf bytecode '1,6 0 0 2' \
		direct-action
	wait_until 2 none_active n2
	inside n2 tc filter del dev "$veth" egress prio 100
	wait_until 5 both_fast
	# It was ours to watch, not to touch.
	inside n2 tc filter show dev "$veth" egress | grep 'pref 65520' | grep -q xmasq_pod_ingre
}

@test "a denied flow stops although another pod sends its packets in a tunnel of its own" {
	local cap=$BATS_TEST_TMPDIR/cap t0 last

	begin_flows
	"$BED" pod-add n1 2
	# An ordinary UDP socket would do: the node makes its own address of the pod's.
	craft_bg n1p2 --seconds 3600 --interval-ms 20 eth0 \
		"to('gw1') / tunnel('n1p2', 'n2', pod('udp', 'n1p1', 'n2p1', $SPORT, $UDP))"
	wait_until 3 crafted_arrive
	capture "$cap" n2p1 eth0 "udp dst port $UDP and not udp[8:4] = 0x786d6173"
	t0=$(now_us)
	policy n1 deny --from n1p1 --to n2p1
	[ "$XM_SLOW" = 1 ] || t0=$(now_us)
	sleep 2.7
	capture_stop "$cap"
	stop "${PIDS[4]}"
	"$BED" pod-del n1 2
	last=$(last_us "$cap" udp)
	echo "last packet $(((last - t0) / 1000)) ms after the rule"
	[ $((last - t0)) -le $((2 * LEASE_US)) ]
}

# ---- what is accelerated --------------------------------------------------------

@test "a flow of one direction stays on the overlay for good" {
	serve n2p1 udp $UDP
	capture "$BATS_TEST_TMPDIR/nic" n1 nic "$MASQ_FILTER or $OVERLAY_FILTER"
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 $UDP --mode stream "${LASTING[@]}" \
		--interval-ms 10 --size 100
	sleep 3.5
	run ! flow_active n1 $UDP
	capture_end "$BATS_TEST_TMPDIR/nic"
	[ "$(captured "$BATS_TEST_TMPDIR/nic" "$MASQ_FILTER")" = 0 ]
	[ "$(captured "$BATS_TEST_TMPDIR/nic" "$OVERLAY_FILTER")" -gt 250 ]
	finish "${PIDS[2]}"
}

# A rule that lets requests in and no answers out: the CNI has not seen both directions.
@test "a flow whose answers were never allowed is never accelerated" {
	serve n2p1 udp $UDP
	policy n2 deny --from n2p1 --proto udp --sport $UDP
	counters_mark n1 n2
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 $UDP --duration 3 --interval-ms 10 --wait-ms 20
	ends "${PIDS[1]}" 1
	[ "$(counted n1 masqueraded)" = 0 ]
	[ "$(counted n2 masqueraded)" = 0 ]
	[ "$(counted n2 restored)" = 0 ]
}

# ---- leases -----------------------------------------------------------------------

# conntrack_timeout NODE PROTO PORT: seconds left of the only entry
conntrack_timeout() {
	inside "$1" conntrack -L -p "$2" --dport "$3" 2>/dev/null | grep ASSURED |
		grep -E 'udp|ESTABLISHED' | awk '{ print $3 }'
}

# fresh PROTO PORT LIMIT: a packet renewed both nodes' entries within the last two seconds
fresh() {
	local node n limit

	for node in n1 n2; do
		limit=$(inside "$node" sysctl -n "net.netfilter.nf_conntrack_$3")
		n=$(conntrack_timeout "$node" "$1" "$2")
		echo "$node $1: $n s of $limit s"
		# On a real machine it takes no second to ask.
		[ "$n" -ge $((limit - 1 - XM_SLOW)) ] && [ "$n" -le "$limit" ] || return 1
	done
}

@test "one packet a lease and direction renews it, and keeps conntrack fresh on both nodes" {
	local dir n port us cap=$BATS_TEST_TMPDIR/nic

	begin_flows
	wait_until 3 all_fast_for_a_while
	# A UDP entry takes two seconds to become a stream's.
	wait_until 4 fresh udp $UDP udp_timeout_stream
	capture "$cap" n1 nic "$MASQ_FILTER or $OVERLAY_FILTER"
	us=$(now_us)
	for _ in 1 2 3 4; do
		sleep 1
		# Conntrack has not seen every acknowledgement of what it saw.
		fresh tcp $TCP tcp_timeout_unacknowledged || fresh tcp $TCP tcp_timeout_established
		fresh udp $UDP udp_timeout_stream
	done
	us=$(($(now_us) - us))
	capture_stop "$cap"
	# Per flow and direction; the tunnel's payload begins 36 bytes into the UDP header's
	# datagram: Ethernet 16..29, IPv4 30..49, ports 50..53.
	for port in $TCP $UDP; do
		for dir in 52 50; do
			n=$(captured "$cap" "udp dst port $TUNNEL_PORT and udp[$dir$INNER:2] = $port")
			echo "port $port at $dir: $n overlay packets in $((us / 1000)) ms"
			[ $((n * LEASE_US)) -ge $((us * 8 / 10)) ]
			[ $((n * LEASE_US)) -le $((us * 3)) ]
		done
	done
	[ "$(captured_permille "$cap")" -ge 980 ]
	finish "${PIDS[2]}"
	finish "${PIDS[3]}"
	jq -e '.lost == 0' "$BATS_TEST_TMPDIR/udp"
}

# Else a peer that speaks first after some minutes is a new connection to the node, which a
# policy may not allow in that direction.
# As long as on the overlay, or 2 hours and 4 minutes where conntrack has not seen an acknowledgement: why not
# longer, user_prog/xmasqd/conntrack.c says.
@test "an idle connection's conntrack entry lives as long as RFC 5382 asks" {
	local n status=0

	begin_flows
	wait_until 3 all_fast_for_a_while
	kill -STOP "${PIDS[2]}"
	for n in n1 n2; do
		[ "$(inside $n sysctl -n net.netfilter.nf_conntrack_tcp_timeout_unacknowledged)" = 7440 ] || status=1
		n=$(conntrack_timeout $n tcp $TCP)
		echo "$n s"
		[ "$n" -ge $((7440 - 1 - XM_SLOW)) ] || status=1
	done
	kill -CONT "${PIDS[2]}"
	[ $status = 0 ]
	finish "${PIDS[2]}"
}

all_fast_for_a_while() {
	counters_mark n1
	sleep 0.3
	[ "$(fast_permille n1)" -ge 900 ]
}

crafted_arrive() {
	inside n1 conntrack -L -p udp --orig-src "$(ip_of n1p2)" 2>/dev/null | grep -q "dport=$TUNNEL_PORT"
}
