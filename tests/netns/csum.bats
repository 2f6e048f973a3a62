#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Packets whose skb says "partial checksum" and means another one than TCP's or UDP's own:
# BPF_PROG_TEST_RUN cannot make them, a pod can.

load lib

setup_file()
{
	bed_up
	xmasq_up
}

teardown_file() { bed_down; }
setup()    { test_begin; }
teardown() { test_end; }

# A busy UDP flow n1p1:7100 -> n2p1:7000
live_flow()
{
	serve n2p1 udp 7000
	flow_bg "$BATS_TEST_TMPDIR/flow" n1p1 udp n2p1 7000 --mode rr "${LASTING[@]}" \
		--interval-ms 1 --source-port 7100
	wait_until 5 flow_active n1 7000
	wait_until 5 flow_active n2 7000
}

gateway_mac()
{
	with_ethernet || { echo 00:00:00:00:00:00; return; }
	inside n1p1 ip -j neigh show 10.244.1.1 | jq -r '.[0].lladdr'
}

@test "a checksum of the pod's choice is not written over a masqueraded packet" {
	local where

	live_flow
	# The ports of the UDP header, the IP header, the Ethernet header.
	for where in "34 0" "34 2" "20 6" "34 8"; do
		counters_mark n1
		# shellcheck disable=SC2086 # two numbers
		inside n1p1 /usr/bin/python3 "$NETNS/csum.py" "$(ip_of n1p1)" 7100 \
			"$(ip_of n2p1)" 7000 "$(gateway_mac)" $where 20
		# All but those that happened to renew the lease.
		echo "csum_start csum_offset $where: $(counted n1 odd-csum) odd"
		[ "$(counted n1 odd-csum)" -ge 18 ]
	done
}

@test "with the right place it is an ordinary packet" {
	live_flow
	counters_mark n1
	inside n1p1 /usr/bin/python3 "$NETNS/csum.py" "$(ip_of n1p1)" 7100 \
		"$(ip_of n2p1)" 7000 "$(gateway_mac)" 34 6 20
	[ "$(counted n1 odd-csum)" -eq 0 ]
}

@test "a tunnel inside pods arrives whole, checksums and all" {
	local pod peer errors nic

	# One port at both ends, so that the tunnel is one flow to xmasq. And the wire's ends
	# compute what the veth pairs between namespaces would leave open.
	for nic in $NICS; do
		offloads n1 "$nic" tx off
		offloads n2 "$nic" tx off
	done
	for pod in n1p1 n2p1; do
		[ $pod = n1p1 ] && peer=n2p1 || peer=n1p1
		inside $pod ip link add tun0 type vxlan id 9 dstport 4790 udpcsum \
			local "$(ip_of "$pod")" remote "$(ip_of "$peer")" srcport 4790 4791
		inside $pod ip addr add 10.99.0.${pod:1:1}/24 dev tun0
		inside $pod ip link set tun0 mtu 1400 up
	done
	serve n2p1 tcp 7200
	counters_mark n1 n2
	flow n1p1 tcp 10.99.0.2 7200 --mode rr --duration 3 --size 1000 >"$BATS_TEST_TMPDIR/report"
	cat "$BATS_TEST_TMPDIR/report"
	# Not one stall of a retransmission.
	jq -e ".stall_ms < 150 * $XM_SLOW" "$BATS_TEST_TMPDIR/report"
	for pod in n1p1 n2p1; do
		errors=$(inside $pod nstat -asz UdpInCsumErrors | awk '/UdpInCsumErrors/ { print $2 }')
		[ "$errors" = 0 ]
	done
	# The node that does not own the flow is the first that could masquerade it.
	echo "odd: $(counted n1 odd-csum) and $(counted n2 odd-csum)"
	[ "$(($(counted n1 odd-csum) + $(counted n2 odd-csum)))" -gt $((1000 / XM_SLOW)) ]
}
