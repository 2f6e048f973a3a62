#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Two pods of one node: what the CNI has passed both ways goes from the one straight into the other,
# and is what the CNI would have delivered.
#
#   n1p1 --- n1 (cni0 or Open vSwitch, policy) --- n1p2
# shellcheck disable=SC2086 # ports are numbers

setup_file()
{
	load lib
	load daemon
	bed_up --pods 2 && xmasq_up
}

teardown_file() { load lib; bed_down; }

setup()
{
	load lib
	load daemon
	test_begin
	# What an earlier test left in the tables must not be taken for this one's.
	TCP=$((4000 + 10 * BATS_TEST_NUMBER)) UDP=$((4001 + 10 * BATS_TEST_NUMBER))
	SPORT=$((6000 + BATS_TEST_NUMBER))
	[[ $POD_KIND != macvlan && $POD_KIND != host-local ]] ||
		skip "allowed: no programs are on $POD_KIND pods"
	daemons_default
}

teardown()
{
	[ ! -s "/run/xmasq-$XMASQ_BED/n1/policy" ] || policy n1 clear
	inside n1p2 ip link set eth0 mtu $POD_MTU
	daemons_end
	test_end
}

# XM_FULL=1 runs all of it.
long_form() { [ -n "${XM_FULL:-}" ] || skip "allowed: the long form, with XM_FULL=1 or make check-all"; }

# local_active PORT: both directions of a flow with this port are accelerated on n1
local_active()
{
	flows_are n1 "[.flows[] | select((.sport == $1 or .dport == $1) and .local and
		.state == \"active\" and .peer == \"0.0.0.0\")] | length == 2"
}

none_active() { ! flow_active n1 $TCP && ! flow_active n1 $UDP; }

# local_permille: of the packets that pods of n1 sent since counters_mark n1
local_permille()
{
	ctl n1 counters -a -o json | jq -s '
		def of($k; f): [.[$k].counters[] | select(f) | .packets] | add;
		def since(f): of(1; f) - of(0; f);
		since(.name == "local") as $fast
		| since(.kind == "overlay" and .name != "none") as $slow
		| if $fast + $slow == 0 then 0 else 1000 * $fast / ($fast + $slow) | floor end' \
		"$BATS_TEST_TMPDIR/mark.n1" -
}

# begin_flows: a TCP and a UDP flow from n1p1 to n1p2, until end_flows
begin_flows()
{
	serve n1p2 tcp $TCP
	serve n1p2 udp $UDP
	flow_bg "$BATS_TEST_TMPDIR/tcp" n1p1 tcp n1p2 $TCP "${LASTING[@]}" --interval-ms 5
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n1p2 $UDP "${LASTING[@]}" --interval-ms 5 \
		--wait-ms $((50 * XM_SLOW)) --source-port $SPORT
	wait_until 5 local_active $TCP
	wait_until 5 local_active $UDP
}

# end_flows CONDITION: of the UDP report; TCP has not broken
end_flows()
{
	finish "${PIDS[2]}"
	check "$(<"$BATS_TEST_TMPDIR/tcp")" '.broken == 0 and .errors == 0 and .corrupted == 0'
	finish "${PIDS[3]}"
	check "$(<"$BATS_TEST_TMPDIR/udp")" ".corrupted == 0 and ($1)"
}

# last_us FILE FILTER: when the last packet that passes FILTER was captured
last_us()
{
	tcpdump -nn -tt -r "$1" "$2" 2>/dev/null | awk '{ t = $1 } END { sub(/\./, "", t); print t }'
}

@test "pods of one node: TCP and UDP, both ways past the CNI, every byte is right" {
	local proto port

	for proto in tcp udp; do
		port=$TCP
		[ $proto = tcp ] || port=$UDP
		serve n1p2 $proto $port
		flow_bg "$BATS_TEST_TMPDIR/$proto" n1p1 $proto n1p2 $port "${LASTING[@]}" \
			--interval-ms 5 --wait-ms $((250 * XM_SLOW))
		wait_until 5 local_active $port
		counters_mark n1
		sleep 1.5
		echo "$proto: $(local_permille) permille"
		[ "$(local_permille)" -ge 950 ]
		finish "${PIDS[-1]}"
		check "$(<"$BATS_TEST_TMPDIR/$proto")" \
			'.ok == 1 and .lost == 0 and .corrupted == 0 and .broken == 0 and .rounds > 50'
	done
}

@test "pods of one node: bulk data in both directions, large segments" {
	serve n1p2 tcp $TCP
	counters_mark n1
	flow n1p1 tcp n1p2 $TCP --mode duplex --bytes 30000000 >"$BATS_TEST_TMPDIR/tcp"
	check "$(<"$BATS_TEST_TMPDIR/tcp")" '.ok == 1 and .corrupted == 0 and .broken == 0'
	echo "$(local_permille) permille"
	[ "$(local_permille)" -ge 800 ]
}

# plain on|off: segments and checksums left to nobody, so that packets can be compared byte by byte. Also
# where a packet goes on the way in at the other pod's end on the node, for it has not been sent before.
plain()
{
	local pod

	for pod in n1p1 n1p2; do
		offloads $pod eth0 tx "$1" tso "$1" gso "$1"
		offloads n1 "$(host_dev $pod)" tx "$1" tso "$1" gso "$1"
	done
}

@test "pods of one node: each pod gets what the other sent, with the CNI's TTL and Ethernet header" {
	local a=$BATS_TEST_TMPDIR/a b=$BATS_TEST_TMPDIR/b proto port way seen was=()

	plain off
	for proto in tcp udp; do
		for way in off auto; do
			[ $way = off ] && port=$TCP || port=$UDP
			reload n1 "same_node: $way"
			serve n1p2 $proto $port --tos 0xb8
			capture "$a" n1p1 eth0 "ip host $(ip_of n1p2) and $proto port $port"
			capture "$b" n1p2 eth0 "ip host $(ip_of n1p1) and $proto port $port"
			counters_mark n1
			flow n1p1 $proto n1p2 $port --rounds 100 --interval-ms 5 --tos 0xb8 \
				--sizes 24,77,1300 >"$BATS_TEST_TMPDIR/out"
			capture_end "$a" "$b"
			check "$(<"$BATS_TEST_TMPDIR/out")" '.ok == 1 and .lost == 0 and .corrupted == 0'
			if [ $way = off ]; then
				[ "$(counted n1 local)" = 0 ]
			else
				[ "$(counted n1 local)" -gt 150 ]
			fi
			# Same packets, valid checksums, no hop less.
			seen=$("$NETNS/compare_pods.py" "$a" "$(ip_of n1p1)" "$b" "$(ip_of n1p2)")
			while read -r line; do
				check "$line" '.overlay == 0 and .packets >= 100 and (.fast_tos | index(184))'
			done <<<"$seen"
			was+=("$(jq -c .macs <<<"$seen")")
			stop_all
		done
	done
	plain on
	printf '%s\n' "${was[@]}"
	[[ ${was[0]} = "${was[1]}" && ${was[2]} = "${was[3]}" && ${was[0]} = *:* ]]
}

@test "pods of one node: fragments, SYN, FIN and what is too large take the CNI's path, unharmed" {
	serve n1p2 udp $UDP
	serve n1p2 tcp $TCP
	counters_mark n1
	flow n1p1 udp n1p2 $UDP --sizes 24,3000 --rounds 60 --interval-ms 5 >"$BATS_TEST_TMPDIR/udp"
	check "$(<"$BATS_TEST_TMPDIR/udp")" '.ok == 1 and .lost == 0 and .corrupted == 0'
	[ "$(counted n1 local)" -gt 20 ]
	[ "$(counted n1 fragment)" -ge 100 ]
	flow n1p1 tcp n1p2 $TCP --rounds 50 --interval-ms 5 >"$BATS_TEST_TMPDIR/tcp"
	check "$(<"$BATS_TEST_TMPDIR/tcp")" '.ok == 1'
	# SYN, SYN and ACK, two FINs.
	[ "$(counted n1 tcp-flags)" -ge 4 ]
	[ "$(counted n1 flow-end)" -ge 2 ]
}

# large_is_lost: of datagrams of 900 and 1200 bytes in turn
large_is_lost()
{
	counters_mark n1
	flow n1p1 udp n1p2 $UDP --sizes 900,1200 --rounds 40 --interval-ms 5 --wait-ms 100 \
		--source-port $SPORT >"$BATS_TEST_TMPDIR/udp" || :
	jq -e '.lost >= 15 and .corrupted == 0' "$BATS_TEST_TMPDIR/udp" >/dev/null &&
		[ "$(counted n1 too-big)" -ge 5 ] && [ "$(counted n1 local)" -ge 10 ]
}

@test "pods of one node: a pod's smaller MTU counts as on the CNI's path" {
	long_form
	serve n1p2 udp $UDP
	flow n1p1 udp n1p2 $UDP --sizes 900,1200 --rounds 50 --interval-ms 5 --source-port $SPORT \
		>"$BATS_TEST_TMPDIR/udp"
	check "$(<"$BATS_TEST_TMPDIR/udp")" '.ok == 1 and .lost == 0'
	inside n1p2 ip link set eth0 mtu 1000
	# The daemon looks every 5 s.
	wait_until 20 large_is_lost
}

# deny FROM TO: stops both flows in that direction within two leases; they live on when it is gone
deny()
{
	local cap=$BATS_TEST_TMPDIR/cap proto t0 last

	begin_flows
	capture "$cap" "$2" eth0 "src host $(ip_of "$1") and (tcp or udp)"
	t0=${EPOCHREALTIME/./}
	policy n1 deny --from "$1" --to "$2"
	[ "$XM_SLOW" = 1 ] || t0=${EPOCHREALTIME/./}
	# What is asserted is that nothing comes: that takes its time.
	sleep 2.5
	capture_stop "$cap"
	for proto in tcp udp; do
		last=$(last_us "$cap" "$proto")
		echo "$proto: last packet $(((last - t0) / 1000)) ms after the rule"
		[ "$last" -gt $((t0 - 500000)) ]
		[ $((last - t0)) -le 2000000 ]
	done
	none_active
	policy n1 allow --from "$1" --to "$2"
	wait_until 5 local_active $TCP
	wait_until 5 local_active $UDP
	end_flows ".lost > 20 / $XM_SLOW"
}

@test "pods of one node: a policy that starts to deny stops them, requests" { deny n1p1 n1p2; }
@test "pods of one node: a policy that starts to deny stops them, answers"  { long_form; deny n1p2 n1p1; }

pod_reads()
{
	flows_are n1 "all(.flows[]; .daddr != \"$(ip_of n1p2)\" and .saddr != \"$(ip_of n1p2)\")"
}

@test "pods of one node: a pod that goes takes its flows along, its address may be used again at once" {
	begin_flows
	stop "${PIDS[0]}"
	stop "${PIDS[1]}"
	"$BED" pod-del n1 2
	wait_until 3 pod_reads
	"$BED" pod-add n1 2
	wait_until 5 pod_attached n1 "$(ip_of n1p2)"
	# Its UDP goes on from the same port all the time: the new pod has it when the CNI says so.
	serve n1p2 udp $UDP
	wait_until 10 local_active $UDP
	serve n1p2 tcp $TCP
	flow n1p1 tcp n1p2 $TCP --rounds 100 --interval-ms 5 | jq -e '.ok == 1'
	stop "${PIDS[2]}"
	stop "${PIDS[3]}"
}

@test "pods of one node: the daemon dies and comes back, connections live" {
	local signal

	begin_flows
	for signal in TERM KILL; do
		term n1 "$signal"
		sleep 1
		launch n1
		wait_until 5 local_active $TCP
		wait_until 5 local_active $UDP
	done
	end_flows '.lost == 0'
}

@test "pods of one node: same_node off stops them at once, auto brings them back" {
	begin_flows
	reload n1 'same_node: off'
	wait_until 2 none_active
	counters_mark n1
	sleep 0.5
	[ "$(counted n1 local)" = 0 ]
	ctl n1 trace "udp $(ip_of n1p1):$SPORT $(ip_of n1p2):$UDP" | grep -F 'same_node is off'
	reload n1 'same_node: auto'
	wait_until 5 local_active $TCP
	wait_until 5 local_active $UDP
	end_flows '.lost == 0'
}

@test "pods of one node: TCP is let go with the sysctl that it needs, UDP is not" {
	long_form
	begin_flows
	reload n1 'conntrack:' '  tcp_be_liberal: require'
	inside n1 sysctl -qw $LIBERAL=0
	wait_until 12 run ! flow_active n1 $TCP
	local_active $UDP
	inside n1 sysctl -qw $LIBERAL=1
	wait_until 12 local_active $TCP
	end_flows '.lost == 0'
}

@test "pods of one node: flush, flows, status and trace know them" {
	begin_flows
	ctl n1 flows | grep -E "^udp +$(ip_of n1p1):$SPORT +$(ip_of n1p2):$UDP +local +active"
	ctl n1 status | grep -E '^fast path .* on this node'
	ctl n1 trace "udp $(ip_of n1p1):$SPORT $(ip_of n1p2):$UDP" | grep -E '^out +fast \(local\)|renewal'
	ctl n1 flush --flow "udp $(ip_of n1p2):$UDP $(ip_of n1p1):$SPORT" -o json | jq -e '.flushed == 2'
	wait_until 5 local_active $UDP
	end_flows '.lost == 0'
}

# Each direction is an entry of its own: whichever pod is named, none is left.
@test "pods of one node: flush by either pod, by address or interface, takes both directions" {
	local what

	# Those of the tests before.
	ctl n1 flush --all
	begin_flows
	for what in "$(ip_of n1p1)" "$(ip_of n1p2)" "$(host_dev n1p1)" "$(host_dev n1p2)"; do
		wait_until 5 local_active $TCP
		wait_until 5 local_active $UDP
		echo "flush --pod $what"
		ctl n1 flush --pod "$what" -o json | tee /dev/stderr | jq -e '.flushed == 4'
	done
	ctl n1 flush --pod "$(ip_of n2p1)" -o json | jq -e '.flushed == 0'
	wait_until 5 local_active $TCP
	wait_until 5 local_active $UDP
	end_flows '.lost == 0'
}

# A service is translated, and its answers have to be translated back: never accelerated.
@test "pods of one node: a service address that leads to a neighbour works, by the CNI" {
	serve n2p1 tcp 80
	counters_mark n2
	flow n2p2 tcp 10.96.0.10 80 --rounds 200 --interval-ms 3 | jq -e '.ok == 1 and .corrupted == 0'
	[ "$(counted n2 local)" = 0 ]
}
