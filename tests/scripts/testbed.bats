#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The test bed itself: what the netns tests stand on. Beds xmb1 and xmb2 are this file's.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	export BED=scripts/testbed.sh
	export BUILD=${XMASQ_BUILD:-build}
	export FLOW=$BUILD/tests/tools/xmt-flow
	[ "$(id -u)" = 0 ] || { echo "needs root: sudo make check" >&2; return 1; }
	[ -x "$FLOW" ] || { echo "$FLOW is missing: run 'make tools'" >&2; return 1; }
	unset XMASQ_TESTBED_FAIL_AT
	export XMASQ_BED=xmb1
	"$BED" up --replace
}

teardown_file() {
	"$BED" down
	"$BED" --prefix xmb2 down
}

setup() {
	PIDS=()
}

# Ends what the test began, by pid.
teardown() {
	local pid

	for pid in "${PIDS[@]}"; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
}

# start FILE PATTERN COMMAND...: runs it in the background, waits until FILE has PATTERN
start() {
	local file=$1 pattern=$2

	shift 2
	# bats waits for whoever holds its descriptor 3.
	"$@" >"$file" 2>&1 3>&- &
	PIDS+=($!)
	poll 5 grep -q "$pattern" "$file" || { cat "$file"; return 1; }
}

# poll SECONDS COMMAND...: until it succeeds
poll() {
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.05
	done
}

# serve BED WHO PROTO PORT: an xmt-flow server in the background
serve() {
	start "$BATS_TEST_TMPDIR/server.$1.$2.$3.$4" listening \
		"$BED" --prefix "$1" exec "$2" -- "$FLOW" server "--$3" --port "$4" --timeout 60
}

# flow BED WHO PROTO HOST PORT [options]: an xmt-flow client; its status is the answer
flow() {
	local bed=$1 who=$2 proto=$3 host=$4 port=$5

	shift 5
	"$BED" --prefix "$bed" exec "$who" -- "$FLOW" client "--$proto" --host "$host" --port "$port" \
		--timeout 10 -o json "$@"
}

# capture WHO INTERFACE FILTER: prints to $CAPTURED
capture() {
	CAPTURED=$BATS_TEST_TMPDIR/capture.$1
	start "$CAPTURED" 'listening on' \
		"$BED" exec "$1" -- tcpdump -lnn --immediate-mode -i "$2" "$3"
}
connected() { "$BED" exec "$1" -- ss -Htn state established | grep -q ":$2"; }
captured() { poll 3 grep -qE -- "$1" "$CAPTURED" || { cat "$CAPTURED"; return 1; }; }

# ends PID STATUS: waits for a child of this test ("run wait" would be in a subshell)
ends() {
	local status=0

	wait "$1" || status=$?
	[ "$status" = "$2" ] || { echo "process $1 ended with $status, not $2"; return 1; }
}

namespaces() { ip netns list | awk '{ print $1 }' | grep "^$1-" || :; }

nothing_left() {
	[ -z "$(namespaces "$1")" ]
	[ ! -e "/run/xmasq-$1" ]
	[ -z "$(find /sys/fs/bpf -maxdepth 1 -name "xmasq-$1-*")" ]
}

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

# ---- names and exec ----

@test "ip, ns and veth print what the names stand for" {
	[ "$("$BED" ip n2)" = 172.31.0.2 ]
	[ "$("$BED" ip n2p2)" = 10.244.2.12 ]
	[ "$("$BED" ns n2p2)" = xmb1-n2p2 ]
	[ "$("$BED" exec n2p2 -- ip -4 -o addr show eth0 | awk '{ print $4 }')" = 10.244.2.12/24 ]
	"$BED" exec n2 -- ip link show "$("$BED" veth n2p2)"
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
	[[ $output == *'n1: 172.31.0.1'*'n1p2=10.244.1.12'* ]]
	"$BED" list | grep -qx xmb1
}

# ---- beds ----

@test "two beds live side by side; down takes one and is repeatable" {
	"$BED" --prefix xmb2 up --nodes 3 --pods 1 --udp-csum off
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
	teardown
	PIDS=()
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

@test "up on an existing bed fails and leaves it alone" {
	run -1 "$BED" up
	[[ $output == *--replace* ]]
	"$BED" exec n1p1 -- ping -q -c 1 -W 2 10.244.2.11
}

@test "an up that fails anywhere leaves nothing" {
	for stage in namespaces underlay pods overlay firewall ready; do
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

# ---- xmasq on the bed (with a stub: the bed's part is starting and stopping) ----

stub() {
	export XMASQ_BUILD=$BATS_TEST_TMPDIR/stub
	mkdir -p "$XMASQ_BUILD"
	cat >"$XMASQ_BUILD/xmasqd" <<-'END'
		#!/bin/bash
		sock=$(sed -n 's/^control_socket: //p' "$2")
		if [ "${3:-}" = --cleanup ]; then rm -f "$sock"; exit; fi
		grep -q '^broken' "$2" && { echo "cannot do that"; exit 1; }
		trap 'echo ended by SIGTERM; rm -f "$sock"; exit' TERM
		echo up >"$sock"
		while :; do sleep 0.05; done
	END
	# shellcheck disable=SC2016 # the stub's own variables
	printf '%s\n' '#!/bin/bash' 'shift; cat "$1" || exit; shift; echo "$*"' >"$XMASQ_BUILD/xmasqctl"
	chmod +x "$XMASQ_BUILD"/*
}

@test "xmasq start, status, ctl, kill and stop" {
	stub
	"$BED" xmasq start
	local pid
	read -r pid _ </run/xmasq-xmb1/n1/xmasqd.pid
	[ "$(readlink "/proc/$pid/ns/net")" = "$("$BED" exec n1 -- readlink /proc/self/ns/net)" ]
	run -1 "$BED" xmasq start n1
	run -0 "$BED" xmasq ctl n2 -- show flows
	[[ $output == *'show flows'* ]]
	run -0 "$BED" xmasq status
	"$BED" xmasq kill n1
	run -1 "$BED" xmasq status n1
	"$BED" xmasq start n1 --mode rpeer
	grep -q '^mode: rpeer' /run/xmasq-xmb1/n1/xmasqd.yaml
	"$BED" xmasq stop
	grep -q 'ended by SIGTERM' /run/xmasq-xmb1/n2/xmasqd.log
	[ ! -e /run/xmasq-xmb1/n1/xmasqd.sock ]
	run -1 "$BED" xmasq kill n1
}

@test "xmasq start that fails shows the log" {
	stub
	echo 'broken: yes' >"$BATS_TEST_TMPDIR/extra"
	run -1 "$BED" xmasq start n1 --config-extra "$BATS_TEST_TMPDIR/extra"
	[[ $output == *'cannot do that'* ]]
	run -1 "$BED" xmasq kill n1
}

@test "down ends the daemons that the bed started" {
	stub
	"$BED" --prefix xmb2 up --pods 1
	"$BED" --prefix xmb2 xmasq start n1
	local pid
	read -r pid _ </run/xmasq-xmb2/n1/xmasqd.pid
	kill -0 "$pid"
	"$BED" --prefix xmb2 down
	# Gone, or a zombie whose heir has not looked yet.
	run ! grep -E '^State:.[^ZX]' "/proc/$pid/status"
	nothing_left xmb2
}

# ---- the traffic tool must notice damage ----

@test "xmt-flow: a server that dies, a dead address and strangers' bytes are errors" {
	serve xmb1 n2p1 tcp 4004
	flow xmb1 n1p1 tcp 10.244.2.11 4004 --duration 20 --interval-ms 10 --timeout 25 \
		>"$BATS_TEST_TMPDIR/client" 2>&1 3>&- &
	local client=$!
	poll 3 connected n1p1 4004
	kill -KILL "${PIDS[0]}"
	ends "$client" 1
	grep -q '"broken":1' "$BATS_TEST_TMPDIR/client"
	run -1 flow xmb1 n1p1 tcp 10.244.2.99 4004 --timeout 0.5
	run -1 flow xmb1 n1p1 udp 10.244.2.99 4004 --timeout 0.5
	start "$BATS_TEST_TMPDIR/once" listening \
		"$BED" exec n2p1 -- "$FLOW" server --tcp --port 4005 --once --timeout 2
	"$BED" exec n2p2 -- bash -c 'echo this is no header at all >/dev/tcp/10.244.2.11/4005'
	ends "${PIDS[-1]}" 1
	grep -q 'wrong header' "$BATS_TEST_TMPDIR/once"
}

@test "xmt-flow: datagrams that are lost are counted, and the outage measured" {
	serve xmb1 n2p1 udp 4006
	flow xmb1 n1p1 udp 10.244.2.11 4006 --duration 2 --interval-ms 10 \
		>"$BATS_TEST_TMPDIR/client" 3>&- &
	local client=$!
	poll 3 "$BED" exec n2 -- conntrack -L -p udp --dport 4006 --status ASSURED
	"$BED" exec n2 -- iptables-nft -I FORWARD -p udp --dport 4006 -j DROP
	sleep 0.6
	"$BED" exec n2 -- iptables-nft -D FORWARD -p udp --dport 4006 -j DROP
	wait "$client"
	jq -e '.lost >= 1 and .stall_ms >= 500 and .corrupted == 0' "$BATS_TEST_TMPDIR/client"
}

# ---- arguments ----

@test "help names every command; wrong arguments end with 2" {
	run -0 "$BED" --help
	for c in up down status list exec 'ip ' 'ns ' veth pod-add pod-del 'xmasq start' 'xmasq stop' \
		'xmasq kill' 'xmasq status' 'xmasq ctl'; do
		grep -qE "^  $c" <<<"$output" || { echo "help lacks $c"; false; }
	done
	run -2 "$BED"
	run -2 "$BED" frobnicate
	run -2 "$BED" up --nodes 0
	run -2 "$BED" up --nodes
	run -2 "$BED" up --overlay geneve
	run -2 "$BED" up --udp-csum maybe
	run -2 "$BED" --prefix 'Bad_Name' up
	run -2 "$BED" exec n1 true
	run -2 "$BED" exec n1 --
	run -2 "$BED" ip elsewhere
	run -2 "$BED" veth n1
	run -2 "$BED" pod-add n1 0
	run -2 "$BED" pod-add n1
	run -2 "$BED" xmasq dance
	run -2 "$BED" xmasq start p1
	run -2 "$FLOW"
	run -2 "$FLOW" client --tcp --udp --host 10.0.0.1 --port 1
}

@test "without a bed every command says how to make one" {
	for c in status 'ip n1' 'ns n1' 'veth n1p1' 'exec n1 -- true' 'pod-add n1 1' 'xmasq status'; do
		# shellcheck disable=SC2086 # a command line
		run -1 "$BED" --prefix xmb2 $c
		[[ $output == *'up'* ]]
	done
}
