#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The test bed itself: what the netns tests stand on. Beds xmb1 and xmb2 are this file's.
# shellcheck disable=SC2030,SC2031,SC2034 # a subshell for each test; testbed.bash reads variables

setup_file() {
	load testbed
	XMASQ_BED=xmb1
	bed_env
	"$BED" up --replace
}

teardown_file() {
	"$BED" down
	"$BED" --prefix xmb2 down
}

setup() {
	load testbed
	PIDS=()
}

teardown() { stop_all; }

# capture WHO INTERFACE FILTER: prints to $CAPTURED
capture() {
	CAPTURED=$BATS_TEST_TMPDIR/capture.$1
	start "$CAPTURED" 'listening on' \
		"$BED" exec "$1" -- tcpdump -lnn --immediate-mode -i "$2" "$3"
}
captured() { poll 3 grep -qE -- "$1" "$CAPTURED" || { cat "$CAPTURED"; return 1; }; }

# ---- the overlay ----

@test "pods of two nodes reach each other through VXLAN, addresses untouched" {
	serve xmb1 n2p1 tcp 4000
	capture n1 eth0 'udp port 8472'
	flow xmb1 n1p1 tcp "$("$BED" ip n2p1)" 4000 --rounds 20
	# The outer addresses are the nodes', the inner ones the pods'. tcpdump takes port
	# 8472 for OTV and calls the VNI an instance.
	captured '172\.31\.0\.1\.[0-9]+ > 172\.31\.0\.2\.8472: .*instance 1'
	captured 'IP 10\.244\.1\.11\.[0-9]+ > 10\.244\.2\.11\.4000'
	run ! grep -E 'IP6|ICMP6' "$CAPTURED"
}

@test "ping works between all pods" {
	for from in n1p1 n1p2 n2p1 n2p2; do
		for to in n1p1 n1p2 n2p1 n2p2; do
			"$BED" exec $from -- ping -q -c 1 -W 2 "$("$BED" ip $to)"
		done
	done
}

@test "UDP, streams and many connections are verified through the overlay" {
	serve xmb1 n2p2 tcp 4001
	serve xmb1 n2p2 udp 4001
	flow xmb1 n1p2 tcp 10.244.2.12 4001 --mode duplex --bytes 5000000
	flow xmb1 n1p2 tcp 10.244.2.12 4001 --connections 100 --sizes 1,1398,1399,65536 --rounds 8
	flow xmb1 n1p2 tcp 10.244.2.12 4001 --linger-rst
	run -0 flow xmb1 n1p2 udp 10.244.2.12 4001 --rounds 200 --sizes 24,1400
	[ "$(jq .lost <<<"$output")" = 0 ]
}

# ---- the node's firewall ----

@test "ClusterIP: TCP, UDP, any port, from pods of both nodes and from a node" {
	serve xmb1 n2p1 tcp 80
	serve xmb1 n2p1 udp 5000
	serve xmb1 n2p1 tcp 4321
	for from in n1p1 n2p2 n1; do
		flow xmb1 $from tcp 10.96.0.10 80
		flow xmb1 $from udp 10.96.0.10 5000
		flow xmb1 $from tcp 10.96.0.11 4321
	done
	# A pod that reaches itself through its service needs the hairpin.
	flow xmb1 n2p1 tcp 10.96.0.10 80
}

@test "NodePort is open on both nodes to the outside host" {
	serve xmb1 n2p1 tcp 80
	flow xmb1 out tcp "$("$BED" ip n1)" 30080
	flow xmb1 out tcp "$("$BED" ip n2)" 30080
}

@test "egress: the outside host sees the node's address, not the pod's" {
	capture out eth0 'icmp[icmptype] == icmp-echo'
	"$BED" exec n1p1 -- ping -q -c 1 -W 2 "$("$BED" ip out)"
	"$BED" exec n2p1 -- ping -q -c 1 -W 2 "$("$BED" ip out)"
	captured 'IP 172\.30\.1\.1 > 172\.30\.1\.254'
	captured 'IP 172\.31\.0\.2 > 172\.30\.1\.254'
	run ! grep -F 'IP 10.244.' "$CAPTURED"
}

@test "conntrack of each node follows a pod's connection" {
	serve xmb1 n2p1 tcp 4002
	flow xmb1 n1p1 tcp 10.244.2.11 4002
	for node in n1 n2; do
		run -0 "$BED" exec $node -- conntrack -L -p tcp --dport 4002
		[[ $output == *src=10.244.1.11* ]]
	done
}

@test "the firewall has hundreds of services and drops INVALID" {
	run -0 "$BED" exec n1 -- sh -c 'iptables-nft -t nat -S; iptables-nft -S'
	[ "$(grep -c -- '-A KUBE-SERVICES .*-j KUBE-SVC-' <<<"$output")" -ge 300 ]
	grep -q -- '-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP' <<<"$output"
}

# ---- pods that come and go ----

@test "a pod that comes back with the same address is reachable at once" {
	"$BED" pod-add n1 3
	"$BED" exec n2p1 -- ping -q -c 1 -W 2 "$("$BED" ip n1p3)"
	"$BED" exec n1p1 -- ping -q -c 1 -W 2 "$("$BED" ip n1p3)"
	for _ in 1 2 3; do
		"$BED" pod-del n1 3
		run -1 "$BED" ip n1p3
		"$BED" pod-add n1 3
		"$BED" exec n2p1 -- ping -q -c 1 -W 2 "$("$BED" ip n1p3)"
		"$BED" exec n1p1 -- ping -q -c 1 -W 2 "$("$BED" ip n1p3)"
	done
	run -1 "$BED" pod-add n1 3
	"$BED" pod-del n1 3
	run -1 "$BED" pod-del n1 3
}

@test "pods of other kinds beside the bed's own are reached from both nodes" {
	for kind in macvlan host-local veth; do
		"$BED" pod-add n1 4 --pod $kind
		for from in n2p1 n1p1; do
			"$BED" exec $from -- ping -q -c 1 -W 2 "$("$BED" ip n1p4)"
		done
		"$BED" exec n1p4 -- ping -q -c 1 -W 2 "$("$BED" ip n2p1)"
		run -0 "$BED" status
		[ $kind = veth ] || [[ $output == *"n1p4=10.244.1.14($kind)"* ]]
		[ $kind = veth ] || run -1 "$BED" veth n1p4
		"$BED" pod-del n1 4
	done
	[ "$("$BED" exec n1 -- ip -br addr | grep -c '10.244.1.14')" = 0 ]
	[ -z "$("$BED" exec n1 -- ip route show 10.244.1.14)" ]
}

# ---- policy ----

@test "policy: what is denied stops, also when it runs, and the rest does not" {
	serve xmb1 n2p1 tcp 4007
	serve xmb1 n2p1 udp 4007
	flow xmb1 n1p1 udp "$("$BED" ip n2p1)" 4007 --duration 2 --interval-ms 10 \
		>"$BATS_TEST_TMPDIR/client" 3>&- &
	local client=$!
	poll 3 "$BED" exec n2 -- conntrack -L -p udp --dport 4007 --status ASSURED
	"$BED" policy n2 deny --from n1p1 --to n2p1 --proto udp --dport 4007
	run -1 "$BED" policy n2 deny --from n1p1 --to n2p1 --proto udp --dport 4007
	flow xmb1 n1p1 tcp 10.244.2.11 4007
	flow xmb1 n1p2 udp 10.244.2.11 4007
	"$BED" policy n2 allow --from n1p1 --to n2p1 --proto udp --dport 4007
	run -1 "$BED" policy n2 allow --from n1p1 --to n2p1 --proto udp --dport 4007
	wait "$client"
	jq -e '.lost >= 1' "$BATS_TEST_TMPDIR/client"
	"$BED" policy n1 deny --proto tcp
	"$BED" policy n1 deny --from 10.244.1.12
	run ! flow xmb1 n1p1 tcp 10.244.2.11 4007 --timeout 0.5
	run ! flow xmb1 n1p2 udp 10.244.2.11 4007 --timeout 0.5
	"$BED" policy n1 clear
	flow xmb1 n1p1 tcp 10.244.2.11 4007
	flow xmb1 n1p2 udp 10.244.2.11 4007
}

# ---- names and exec ----

@test "ip, ns and veth print what the names stand for" {
	[ "$("$BED" ip n2)" = 172.31.0.2 ]
	[ "$("$BED" ip n2p2)" = 10.244.2.12 ]
	[ "$("$BED" ns n2p2)" = xmb1-n2p2 ]
	[ "$("$BED" exec n2p2 -- ip -4 -o addr show eth0 | awk '{ print $4 }')" = 10.244.2.12/24 ]
	"$BED" exec n2 -- ip link show "$("$BED" veth n2p2)"
	[ "$("$BED" get nics) $("$BED" get tunnel-dev) $("$BED" get tunnel-port)" = 'eth0 flannel.1 8472' ]
	[ "$("$BED" get overlay) $("$BED" get underlay) $("$BED" get pod)" = 'vxlan veth veth' ]
}

@test "exec hands over status, stdin and signals" {
	run -42 "$BED" exec n1p1 -- sh -c 'exit 42'
	[ "$(echo hello | "$BED" exec n1p1 -- cat)" = hello ]
	"$BED" exec n1 -- test -d /sys/fs/bpf
	"$BED" exec n1p1 -- sleep 60 3>&- &
	local pid=$!
	poll 3 grep -qx sleep "/proc/$pid/comm"
	kill -TERM "$pid"
	ends "$pid" 143
}

@test "status shows the bed, list names it" {
	run -0 "$BED" status
	[[ $output == *'overlay vxlan, tunnel-csum on, underlay veth, pods veth'* ]]
	[[ $output == *'n1: 172.31.0.1'*'n1p2=10.244.1.12'* ]]
	"$BED" list | grep -qx xmb1
}

# ---- beds ----

@test "two beds live side by side; down takes one and is repeatable" {
	"$BED" --prefix xmb2 up --nodes 3 --pods 1 --tunnel-csum off
	serve xmb1 n2p1 tcp 4003
	serve xmb2 n3p1 tcp 4003
	serve xmb2 n3p1 tcp 80
	flow xmb1 n1p1 tcp 10.244.2.11 4003
	flow xmb2 n1p1 tcp 10.244.3.11 4003
	flow xmb2 n2p1 tcp 10.96.0.10 80
	flow xmb2 out tcp 172.31.0.1 30080
	run ! flow xmb1 n1p1 tcp 10.244.3.11 4003 --timeout 1
	run -0 "$BED" list
	[[ $output == *xmb1*xmb2* ]]
	stop_all
	"$BED" --prefix xmb2 down
	"$BED" --prefix xmb2 down
	nothing_left xmb2
	"$BED" exec n1p1 -- ping -q -c 1 -W 2 10.244.2.11
}

@test "without overlay and firewall pods talk in the clear" {
	"$BED" --prefix xmb2 up --replace --overlay none --no-firewall --pods 1
	run ! "$BED" --prefix xmb2 exec n1 -- ip link show flannel.1
	"$BED" --prefix xmb2 exec n1p1 -- ping -q -c 1 -W 2 10.244.2.11
	[ "$("$BED" --prefix xmb2 exec n1 -- nft list ruleset | wc -l)" = 0 ]
	"$BED" --prefix xmb2 down
}

@test "two NICs: each direction of the tunnel by another one" {
	"$BED" --prefix xmb2 up --replace --underlay two-nics --pods 1 --pod macvlan
	[ "$("$BED" --prefix xmb2 get nics | tr '\n' ' ')" = 'eth0 eth1 ' ]
	start "$BATS_TEST_TMPDIR/eth0" 'listening on' "$BED" --prefix xmb2 exec n1 -- \
		tcpdump -lnn --immediate-mode -i eth0 udp port 8472
	start "$BATS_TEST_TMPDIR/eth1" 'listening on' "$BED" --prefix xmb2 exec n1 -- \
		tcpdump -lnn --immediate-mode -i eth1 udp port 8472
	"$BED" --prefix xmb2 exec n1p1 -- ping -q -c 3 -i 0.1 -W 2 10.244.2.11
	poll 3 grep -q 'IP 172.31.0.1.* > 172.31.0.2.8472' "$BATS_TEST_TMPDIR/eth0"
	poll 3 grep -q 'IP 172.31.0.2.* > 172.31.0.1.8472' "$BATS_TEST_TMPDIR/eth1"
	run ! grep 'IP 172.31.0.2.* > ' "$BATS_TEST_TMPDIR/eth0"
	run ! grep 'IP 172.31.0.1.* > ' "$BATS_TEST_TMPDIR/eth1"
	"$BED" --prefix xmb2 down
	nothing_left xmb2
}

# Either the bed works or it says what is missing; which of both, the kernel knows.
@test "what the kernel lacks is named, with a way out, and nothing is left" {
	for args in '--overlay geneve:GENEVE:geneve id 1 remote 192.0.2.1' \
		'--overlay wireguard:WIREGUARD:wireguard' '--underlay bond:BONDING:bond' \
		'--underlay vlan:VLAN_8021Q:vlan id 5 link lo' '--pod netkit-l2:NETKIT:netkit' \
		'--overlay ovs-geneve:OPENVSWITCH:'; do
		local try="ip link add type ${args##*:}" feature=${args#*:} has=no
		[ -n "${args##*:}" ] || try='genl ctrl get name ovs_datapath'
		! unshare --net -- sh -c "$try" 2>/dev/null || has=yes
		# shellcheck disable=SC2086 # options
		run "$BED" --prefix xmb2 up --pods 1 ${args%%:*}
		echo "$has: $output"
		if [ $has = yes ]; then
			[ "$status" = 0 ]
			"$BED" --prefix xmb2 down
		else
			[ "$status" = 1 ]
			[[ $output == *"(CONFIG_${feature%%:*})"*'scripts/vm.sh run -- '* ]]
		fi
		nothing_left xmb2
	done
}

@test "up on an existing bed fails and leaves it alone" {
	run -1 "$BED" up
	[[ $output == *--replace* ]]
	"$BED" exec n1p1 -- ping -q -c 1 -W 2 10.244.2.11
}

@test "an up that fails anywhere leaves nothing" {
	for stage in namespaces links pods overlay firewall ready; do
		echo "stage $stage"
		XMASQ_TESTBED_FAIL_AT=$stage run -1 "$BED" --prefix xmb2 up --nodes 3
		nothing_left xmb2
	done
}

@test "an up that is interrupted leaves nothing" {
	"$BED" --prefix xmb2 up --nodes 8 --pods 4 3>&- &
	local pid=$!
	poll 5 test -e /run/netns/xmb2-n2
	kill -TERM "$pid"
	ends "$pid" 143
	nothing_left xmb2
}

@test "down works on ruins: state lost, a namespace gone" {
	"$BED" --prefix xmb2 up --pods 1
	rm -r /run/xmasq-xmb2
	ip netns del xmb2-n1p1
	run -1 "$BED" --prefix xmb2 status
	"$BED" --prefix xmb2 down
	nothing_left xmb2
}
