#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Nodes that reboot, move, change their hardware or lose their link while everybody talks: see
# lib.bash for the bed and load. Addresses that a CNI would tell the other nodes are told here.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib

setup_file()    { faults_up; }
teardown_file() { faults_down; }
setup()         { test_begin; }

teardown()
{
	unfilter
	fault_end
	! inside n3 ip addr show dev "$NIC" | grep -q 172.31.0.13 || n3_moves 172.31.0.13 172.31.0.3
}

# lose_all NODE: what a reboot leaves of xmasq, and of conntrack
lose_all()
{
	local p

	daemons_changed
	kill -KILL "$(pid_of "$1")"
	rm -rf "$(pin_dir "$1")"
	for p in "$NIC" "$(host_dev "$1p1")" "$(host_dev "$1p2")"; do
		inside "$1" tc qdisc del dev "$p" clsact 2>/dev/null || :
	done
	if uses_tcx; then
		inside "$1" "$MPROG" detach "$NIC" ingress xmasq_nic_ingre
		inside "$1" "$MPROG" detach "$NIC" egress xmasq_nic_egres
		for p in 1 2; do
			inside "$1" "$MPROG" detach "$(host_dev "$1p$p")" ingress xmasq_pod_egres
		done
	fi
	inside "$1" conntrack -F 2>/dev/null
}

@test "a node reboots: its link down for 3 s, programs, tables and conntrack gone" {
	fault_begin
	lose_all n2
	inside n2 ip link set "$NIC" down
	sleep 3
	inside n2 ip link set "$NIC" up
	launch n2
	# 3 s of no link, and as long again until TCP tries.
	outcome "n2 without link for 3 s, started anew" 8000 1800
	back 20
	load_end
}

@test "xmasqd of a node gone for good: the overlay within 3.5 s, the others stay fast" {
	local pid

	fault_begin
	pid=$(pid_of n2)
	daemons_changed
	kill -KILL "$pid"
	wait_until 6 peer_is n1 n2 down
	wait_until 6 peer_is n3 n2 down
	SINCE_FAULT=$(((${EPOCHREALTIME/./} - MARK) / 1000))
	[ "$SINCE_FAULT" -le $((3500 * XM_SLOW + 500)) ]
	outcome "n2's xmasqd gone for good, its peers know after $SINCE_FAULT ms" 500 20
	# Two thirds of their flows are with n2.
	[ "$(ctl n1 flows --active -o json | jq '.flows | length')" -ge 70 ]
	counters_mark n1 n3
	sleep 0.5
	[ "$(fast_permille n1)" -ge 250 ]
	load_end
}

@test "a node's programs gone, its daemon, too: its stack answers with RST, which no pod sees" {
	long_form
	fault_begin
	lose_all n2
	outcome "n2's programs and daemon gone" 2500 600
	wait_until 6 peer_is n1 n2 down
	launch n2
	back 20
	load_end
}

@test "a node gets another address" {
	local new=172.31.0.13

	fault_begin
	[ "$OVERLAY" = vxlan ] || skip "allowed: the test moves a VXLAN device"
	daemons_changed
	n3_moves 172.31.0.3 $new
	wait_until 20 peer_at n1 $new
	wait_until 20 peer_at n2 $new
	back 20
	outcome "n3 moved from 172.31.0.3 to $new" 3500 400
	load_end
}

# n3_moves FROM TO
n3_moves()
{
	local n

	inside n3 ip addr del "$1/24" dev "$NIC"
	inside n3 ip addr add "$2/24" dev "$NIC"
	inside n3 ip link set flannel.1 type vxlan id 1 local "$2" dev "$NIC"
	for n in n1 n2; do
		inside $n bridge fdb replace 02:00:00:00:01:03 dev flannel.1 dst "$2" self permanent
	done
}

# peer_at NODE ADDRESS: it is up
peer_at() { ctl "$1" peers -o json | jq -e --arg a "$2" 'any(.peers[]; .addr == $a and .state == "up")' >/dev/null; }

@test "a node's interface gets another MAC address" {
	local n

	fault_begin
	inside n2 sysctl -qw "net.ipv4.conf.$NIC.arp_notify=1"
	inside n2 ip link set "$NIC" address 02:00:00:00:77:02
	outcome "n2's MAC changed" 1500 250
	back 10
	inside n2 ip link set "$NIC" address 02:00:00:00:77:03
	for n in n1 n3; do
		inside $n ip neigh flush dev "$NIC"
	done
	outcome "n2's MAC changed again" 1500 250
	back 10
	load_end
}

@test "a link that flaps" {
	local i

	fault_begin
	for ((i = 0; i < 5; i++)); do
		inside n1 ip link set "$NIC" down
		sleep 0.2
		inside n1 ip link set "$NIC" up
		sleep 0.5
	done
	outcome "n1's link down for 0.2 s, five times" 4000 1200
	back 15
	load_end
}

@test "the underlay's MTU is lowered: what is too large takes the overlay" {
	local n mtu=1300 before

	fault_begin
	before=$(($(counter n1 too-big) + $(counter n2 too-big) + $(counter n3 too-big)))
	for n in n1 n2 n3; do
		inside $n ip link set "$NIC" mtu $mtu
		inside sw ip link set "$(port_of $n)" mtu $mtu
	done
	outcome "the underlay's MTU lowered to $mtu" 2500 120
	[ $(($(counter n1 too-big) + $(counter n2 too-big) + $(counter n3 too-big) - before)) -gt 200 ]
	load_fast
	load_mark
	outcome "with an MTU of $mtu" 500 5
	counters_mark n1
	sleep 0.5
	# Small ones are still fast.
	[ "$(counted n1 masqueraded)" -gt 50 ]
	for n in n1 n2 n3; do
		inside sw ip link set "$(port_of $n)" mtu 1500
		inside $n ip link set "$NIC" mtu 1500
	done
	wait_until 5 no_too_big
	load_end
}

no_too_big()
{
	counters_mark n1
	sleep 0.3
	[ "$(counted n1 too-big)" = 0 ]
}
