#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The test bed's overlays, underlays and kinds of pods that not every kernel has. For a kernel
# that has them all (kernel-patch/build.sh --config vm):
#
#   scripts/vm.sh run -- bats tests/vm/guest/testbed.bats
#
# Every combination is made, used as a cluster uses it (across nodes, through a service, under a
# policy), looked at on the wire, and taken down without a trace. Beds xmv1 and xmv2.
# shellcheck disable=SC2030,SC2031,SC2034 # a subshell for each test; testbed.bash reads variables

setup_file() {
	load ../../scripts/testbed
	XMASQ_BED=xmv1
	bed_env
}

setup() {
	load ../../scripts/testbed
	PIDS=()
}

teardown() {
	stop_all
	"$BED" down
	"$BED" --prefix xmv2 down
}

# serves WHO PROTO PORT and talks WHO PROTO HOST PORT [options]: on the bed xmv1
serves() { serve xmv1 "$@"; }

talks() {
	local host=$3

	[[ $host == *.* ]] || host=$("$BED" ip "$host")
	flow xmv1 "$1" "$2" "$host" "${@:4}"
}

# What passes each interface of n1 on the underlay.
capture() {
	local nic

	for nic in "$@"; do
		start "$BATS_TEST_TMPDIR/cap.$nic.log" 'listening on' "$BED" exec n1 -- \
			tcpdump -nn -U --immediate-mode -Z root -i "$nic" -w "$BATS_TEST_TMPDIR/cap.$nic"
	done
}

# seen FILTER: how many packets
seen() {
	local file n=0

	for file in "$BATS_TEST_TMPDIR"/cap.*[!g]; do
		n=$((n + $(tcpdump -nn -r "$file" "$1" 2>/dev/null | wc -l)))
	done
	echo $n
}

# what_is FILTER: as tcpdump understands the first packets
what_is() {
	local file

	for file in "$BATS_TEST_TMPDIR"/cap.*[!g]; do
		tcpdump -nn -v -r "$file" "$1" 2>/dev/null | head -n 8
	done
}

# works: what a cluster does. The last node's first pod is behind the services.
works() {
	local last to other

	last=n$("$BED" get nodes) to=${last}p1 other=${last}p2
	"$BED" exec n1p1 -- ping -q -c 1 -W 5 "$("$BED" ip "$to")"
	serves "$to" tcp 80
	serves "$to" udp 5000
	talks n1p1 tcp "$to" 80 --rounds 20 --sizes 1,1300,20000
	talks n1p1 udp "$to" 5000 --rounds 20
	talks n1p1 tcp 10.96.0.10 80 --rounds 20
	talks n1p1 udp 10.96.0.10 5000 --rounds 20
	talks n1 tcp "$to" 80
	talks out tcp "$("$BED" ip n1)" 30080
	# A service within the node, and a pod's own: to the node and back.
	talks "$other" tcp 10.96.0.10 80
	talks "$to" tcp 10.96.0.10 80
	# Towards the world, and within a node.
	"$BED" exec "$other" -- ping -q -c 1 -W 5 "$("$BED" ip out)"
	"$BED" exec "$other" -- ping -q -c 1 -W 5 "$("$BED" ip "$to")"
}

# policy_holds: a denied live connection stops, an allowed one goes on
policy_holds() {
	"$BED" policy n1 deny --from n1p1 --to n2p1 --proto tcp --dport 80
	run ! talks n1p1 tcp n2p1 80 --timeout 1
	talks n1p1 udp n2p1 5000
	talks n1p2 tcp n2p1 80
	"$BED" policy n1 allow --from n1p1 --to n2p1 --proto tcp --dport 80
	talks n1p1 tcp n2p1 80
	run -1 "$BED" policy n1 allow --proto udp
	"$BED" policy n2 deny --from "$("$BED" ip n2p1)"
	run ! talks n1p1 tcp n2p1 80 --timeout 1
	"$BED" policy n2 clear
	talks n1p1 tcp n2p1 80
}

# wire PATTERN FILTER: everything between pods of the two nodes is the tunnel's; PATTERN is in
# what tcpdump makes of it
wire() {
	local inner

	inner=$(seen 'net 10.244.0.0/16')
	echo "tunnel: $(seen "$2"), outside of it: $inner"
	[ "$(seen "$2")" -ge 80 ]
	[ "$inner" = 0 ]
	what_is "$2" >"$BATS_TEST_TMPDIR/what"
	grep -qE "$1" "$BATS_TEST_TMPDIR/what" || { cat "$BATS_TEST_TMPDIR/what"; return 1; }
}

# bed OVERLAY [options of up]: made and used under a capture
bed() {
	local overlay=$1

	shift
	"$BED" up --replace --overlay "$overlay" "$@"
	# shellcheck disable=SC2046 # words
	capture $("$BED" get nics)
	works
	stop_all
}

# gone: the bed goes, and everything of it
gone() {
	stop_all
	"$BED" down
	nothing_left xmv1
}

# all_summed FILTER: every such packet of the tunnel has a UDP checksum
all_summed() { [ "$(seen "udp[6:2] = 0 and $1")" = 0 ]; }

# ---- overlays ----------------------------------------------------------------

@test "overlay vxlan" {
	bed vxlan
	wire 'OTV|VXLAN' 'udp dst port 8472'
	all_summed 'udp dst port 8472'
	serves n2p1 tcp 80
	serves n2p1 udp 5000
	policy_holds
	gone
}

@test "overlay vxlan without checksums" {
	bed vxlan --tunnel-csum off
	wire 'OTV|VXLAN' 'udp dst port 8472 and udp[6:2] = 0'
	gone
}

@test "overlay geneve" {
	bed geneve
	wire 'Geneve.*vni 0x1' 'udp dst port 6081'
	all_summed 'udp dst port 6081'
	serves n2p1 tcp 80
	serves n2p1 udp 5000
	policy_holds
	gone
}

@test "overlay geneve without checksums" {
	bed geneve --tunnel-csum off
	wire Geneve 'udp dst port 6081 and udp[6:2] = 0'
	gone
}

@test "overlay ovs-vxlan" {
	bed ovs-vxlan --tunnel-csum off
	wire VXLAN 'udp dst port 4789 and udp[6:2] = 0'
	# The virtual MAC of the pipeline, 14 bytes into the tunnel's payload.
	[ "$(seen 'udp dst port 4789 and udp[16:4] = 0xaabbccdd and udp[20:2] = 0xeeff')" -ge 80 ]
	gone
}

@test "overlay ovs-geneve: Antrea-like pipeline" {
	bed ovs-geneve
	wire Geneve 'udp dst port 6081'
	all_summed 'udp dst port 6081'
	[ "$(seen 'udp dst port 6081 and udp[16:4] = 0xaabbccdd and udp[20:2] = 0xeeff')" -ge 80 ]
	# The kernel's datapath forwards; connections are in the zone of the CNI, not only the node's.
	run -0 "$BED" exec n1 -- ovs-dpctl show
	[[ $output == *ovs-system*antrea-gw0* ]]
	run -0 "$BED" exec n2 -- conntrack -L -p tcp --dport 80
	[[ $output == *zone=65520* ]]
	serves n2p1 tcp 80
	serves n2p1 udp 5000
	policy_holds
	spoof_refused
	pods_come_and_go veth
	gone
}

# A pod that claims another pod's address is not heard.
spoof_refused() {
	"$BED" exec n1p1 -- ip addr add 10.244.1.77/32 dev eth0
	run ! "$BED" exec n1p1 -- ping -q -c 1 -W 1 -I 10.244.1.77 10.244.2.11
	"$BED" exec n1p1 -- ip addr del 10.244.1.77/32 dev eth0
	"$BED" exec n1p1 -- ping -q -c 1 -W 5 10.244.2.11
}

@test "overlay wireguard: nothing of the pods is in the clear" {
	bed wireguard
	wire 51820 'udp port 51820'
	[ "$(seen 'not udp port 51820 and not arp and not net 172.30.0.0/16 and host 172.31.0.2')" -le 2 ]
	serves n2p1 tcp 80
	serves n2p1 udp 5000
	policy_holds
	gone
}

@test "overlay none: the pods' packets are on the underlay as they are" {
	bed none
	[ "$(seen 'src net 10.244.1.0/24 and dst net 10.244.2.0/24')" -ge 40 ]
	[ "$(seen 'udp port 8472 or udp port 6081 or udp port 4789')" = 0 ]
	gone
}

# ---- underlays ---------------------------------------------------------------

@test "underlay bridge, three nodes, Geneve by Open vSwitch" {
	bed ovs-geneve --nodes 3 --underlay bridge --pods 2
	serves n3p1 tcp 81
	talks n1p2 tcp n3p1 81
	talks n2p2 tcp n3p1 81
	"$BED" exec n1p2 -- ping -q -c 1 -W 5 "$("$BED" ip n2p2)"
	gone
}

@test "underlay vlan: the tunnel's frames are tagged" {
	for overlay in vxlan ovs-geneve; do
		bed $overlay --underlay vlan
		[ "$("$BED" get nics)" = eth0.100 ]
		serves n2p1 tcp 82
		start "$BATS_TEST_TMPDIR/tagged" 'listening on' "$BED" exec sw -- \
			tcpdump -nn -e -l --immediate-mode -Z root -i port-n1 "vlan 100 and udp"
		talks n1p1 tcp n2p1 82
		poll 10 grep -q "vlan 100.*$("$BED" get tunnel-port):" "$BATS_TEST_TMPDIR/tagged"
		gone
	done
}

@test "underlay bond: a NIC that fails is replaced by the other" {
	for overlay in vxlan ovs-geneve; do
		bed $overlay --underlay bond
		[ "$("$BED" get nics)" = bond0 ]
		run -0 "$BED" exec n1 -- cat /proc/net/bonding/bond0
		[[ $output == *active-backup* ]]
		"$BED" exec sw -- ip link set port-n1 down
		poll 10 "$BED" exec n1p1 -- ping -q -c 1 -W 2 10.244.2.11
		"$BED" exec n1 -- grep -q 'Currently Active Slave: eth1' /proc/net/bonding/bond0
		gone
	done
}

@test "underlay two-nics: each direction by another NIC" {
	local overlay port

	for overlay in vxlan geneve ovs-geneve none; do
		bed $overlay --underlay two-nics
		[ "$("$BED" get nics | tr '\n' ' ')" = 'eth0 eth1 ' ]
		if [ $overlay = none ]; then
			way eth0 eth1 'tcp and src net 10.244.1.0/24 and dst net 10.244.2.0/24'
			way eth1 eth0 'tcp and src net 10.244.2.0/24 and dst net 10.244.1.0/24'
		else
			port=$("$BED" get tunnel-port)
			way eth0 eth1 "udp dst port $port and src host 172.31.0.1"
			way eth1 eth0 "udp dst port $port and src host 172.31.0.2"
		fi
		gone
	done
}

# way NIC OTHER FILTER: many such packets there, none by the other
way() {
	[ "$(tcpdump -nn -r "$BATS_TEST_TMPDIR/cap.$1" "$3" 2>/dev/null | wc -l)" -ge 40 ]
	[ "$(tcpdump -nn -r "$BATS_TEST_TMPDIR/cap.$2" "$3" 2>/dev/null | wc -l)" = 0 ]
}

# ---- pods ----------------------------------------------------------------------

# pods_come_and_go KIND...: each kind is made beside the others, reached from both nodes, and
# gone; comes back with another MAC, and is reached at once
pods_come_and_go() {
	local kind

	for kind; do
		for _ in 1 2; do
			"$BED" pod-add n1 7 --pod "$kind"
			"$BED" exec n2p1 -- ping -q -c 1 -W 5 "$("$BED" ip n1p7)"
			"$BED" exec n1p1 -- ping -q -c 1 -W 5 "$("$BED" ip n1p7)"
			"$BED" exec n1p7 -- ping -q -c 1 -W 5 "$("$BED" ip n2p1)"
			"$BED" pod-del n1 7
		done
	done
}

# link_is WHO INTERFACE PATTERN
link_is() { "$BED" exec "$1" -- ip -d link show "$2" | grep -qE "$3"; }

@test "pods netkit-l2 and netkit-l3, on a bridge overlay and on Open vSwitch" {
	for overlay in vxlan ovs-geneve; do
		for mode in l2 l3; do
			bed $overlay --pod netkit-$mode
			[ "$("$BED" veth n1p2)" = nk-p2 ]
			link_is n1 nk-p2 netkit
			link_is n1p2 eth0 netkit
			gone
		done
	done
}

@test "pods mixed: odd ones veth, even ones netkit; and all kinds side by side" {
	for overlay in vxlan ovs-geneve; do
		bed $overlay --pod mixed
		[ "$("$BED" veth n1p1)" = veth-p1 ]
		[ "$("$BED" veth n1p2)" = nk-p2 ]
		link_is n1 veth-p1 veth
		link_is n1 nk-p2 netkit
		pods_come_and_go netkit-l3 macvlan host-local netkit-l2 veth
		gone
	done
}

@test "pods macvlan: no host side, reached over the overlay" {
	for overlay in vxlan ovs-geneve; do
		bed $overlay --pod macvlan
		run -1 "$BED" veth n1p1
		link_is n1p1 eth0 'macvlan.*bridge'
		gone
	done
}

@test "pods host-local: the node holds their addresses" {
	for overlay in vxlan ovs-geneve; do
		"$BED" up --overlay $overlay --pod host-local
		[ "$("$BED" exec n1p1 -- readlink /proc/self/ns/net)" = \
			"$("$BED" exec n1 -- readlink /proc/self/ns/net)" ]
		serves n2p1 tcp 80
		talks n1 tcp n2p1 80
		talks n1 tcp 10.96.0.10 80
		talks out tcp "$("$BED" ip n1)" 30080
		gone
	done
}

# ---- beds ----------------------------------------------------------------------

@test "two beds with Open vSwitch live side by side; one that is damaged says so" {
	"$BED" up --overlay ovs-geneve --pods 1
	"$BED" --prefix xmv2 up --overlay ovs-vxlan --pods 1
	"$BED" exec n1p1 -- ping -q -c 1 -W 5 10.244.2.11
	"$BED" --prefix xmv2 exec n1p1 -- ping -q -c 1 -W 5 10.244.2.11
	run -0 "$BED" status
	[[ $output == *'overlay ovs-geneve'*'ovs-vswitchd: '* ]]
	"$BED" --prefix xmv2 down
	nothing_left xmv2
	"$BED" exec n1p1 -- ping -q -c 1 -W 5 10.244.2.11
	kill -KILL "$(cut -d' ' -f1 /run/xmasq-xmv1/n1/ovs/vswitchd.pid)"
	run -1 "$BED" status
	[[ $output == *'Open vSwitch: ENDED'* ]]
	# State lost: the daemons are found all the same.
	rm -r /run/xmasq-xmv1
	gone
}

@test "an up that fails anywhere leaves nothing" {
	for overlay in ovs-geneve wireguard; do
		for stage in links pods overlay firewall ready; do
			echo "$overlay: stage $stage"
			XMASQ_TESTBED_FAIL_AT=$stage run -1 "$BED" up --overlay $overlay --pod mixed --pods 1
			nothing_left xmv1
		done
	done
	"$BED" up --overlay ovs-geneve 3>&- &
	local pid=$!
	poll 60 test -e /run/xmasq-xmv1/n1/ovs/ovsdb.pid
	kill -TERM "$pid"
	wait "$pid" || [ $? = 143 ]
	nothing_left xmv1
}
