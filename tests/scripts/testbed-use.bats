#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# What is used on a test bed: starting and stopping xmasqd, the traffic tool, arguments. Beds
# xmu1 and xmu2 are this file's.
# shellcheck disable=SC2030,SC2031,SC2034 # a subshell for each test; testbed.bash reads variables

setup_file() {
	load testbed
	XMASQ_BED=xmu1
	bed_env
	"$BED" up --replace
}

teardown_file() {
	"$BED" down
	"$BED" --prefix xmu2 down
}

setup() {
	load testbed
	PIDS=()
}

teardown() { stop_all; }

connected() { "$BED" exec "$1" -- ss -Htn state established | grep -q ":$2"; }

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
		echo $$ >"$sock"
		while :; do sleep 0.05; done
	END
	# shellcheck disable=SC2016 # the stub's own variables
	# A socket that a dead daemon left answers nobody.
	printf '%s\n' '#!/bin/bash' 'shift; read -r pid <"$1"' 'kill -0 "$pid" || exit; shift; echo "$*"' \
		>"$XMASQ_BUILD/xmasqctl"
	chmod +x "$XMASQ_BUILD"/*
}

@test "xmasq start, status, ctl, kill and stop" {
	stub
	"$BED" xmasq start
	local pid
	read -r pid _ </run/xmasq-xmu1/n1/xmasqd.pid
	[ "$(readlink "/proc/$pid/ns/net")" = "$("$BED" exec n1 -- readlink /proc/self/ns/net)" ]
	run -1 "$BED" xmasq start n1
	run -0 "$BED" xmasq ctl n2 -- show flows
	[[ $output == *'show flows'* ]]
	run -0 "$BED" xmasq status
	"$BED" xmasq kill n1
	run -1 "$BED" xmasq status n1
	"$BED" xmasq start n1 --mode rpeer --attach filter
	grep -q '^mode: rpeer' /run/xmasq-xmu1/n1/xmasqd.yaml
	grep -q '^attach: filter' /run/xmasq-xmu1/n1/xmasqd.yaml
	"$BED" xmasq stop
	grep -q 'ended by SIGTERM' /run/xmasq-xmu1/n2/xmasqd.log
	[ ! -e /run/xmasq-xmu1/n1/xmasqd.sock ]
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
	"$BED" --prefix xmu2 up --pods 1
	"$BED" --prefix xmu2 xmasq start n1
	local pid
	read -r pid _ </run/xmasq-xmu2/n1/xmasqd.pid
	kill -0 "$pid"
	"$BED" --prefix xmu2 down
	# Gone, or a zombie whose heir has not looked yet.
	run ! grep -E '^State:.[^ZX]' "/proc/$pid/status"
	nothing_left xmu2
}

# ---- the traffic tool must notice damage ----

@test "xmt-flow: a server that dies, a dead address and strangers' bytes are errors" {
	serve xmu1 n2p1 tcp 4004
	flow xmu1 n1p1 tcp 10.244.2.11 4004 --duration 20 --interval-ms 10 --timeout 25 \
		>"$BATS_TEST_TMPDIR/client" 2>&1 3>&- &
	local client=$!
	poll 3 connected n1p1 4004
	kill -KILL "${PIDS[0]}"
	ends "$client" 1
	grep -q '"broken":1' "$BATS_TEST_TMPDIR/client"
	run -1 flow xmu1 n1p1 tcp 10.244.2.99 4004 --timeout 0.5
	run -1 flow xmu1 n1p1 udp 10.244.2.99 4004 --timeout 0.5
	start "$BATS_TEST_TMPDIR/once" listening \
		"$BED" exec n2p1 -- "$FLOW" server --tcp --port 4005 --once --timeout 2
	"$BED" exec n2p2 -- bash -c 'echo this is no header at all >/dev/tcp/10.244.2.11/4005'
	ends "${PIDS[-1]}" 1
	grep -q 'wrong header' "$BATS_TEST_TMPDIR/once"
}

@test "xmt-flow: datagrams that are lost are counted, and the outage measured" {
	serve xmu1 n2p1 udp 4006
	flow xmu1 n1p1 udp 10.244.2.11 4006 --duration 2 --interval-ms 10 \
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
	for c in up down status list exec 'ip ' 'ns ' veth get pod-add pod-del 'policy NODE deny' \
		'policy NODE allow' 'policy NODE clear' 'xmasq start' 'xmasq stop' \
		'xmasq kill' 'xmasq status' 'xmasq ctl'; do
		grep -qE "^  $c" <<<"$output" || { echo "help lacks $c"; false; }
	done
	run -2 "$BED"
	run -2 "$BED" frobnicate
	run -2 "$BED" up --nodes 0
	run -2 "$BED" up --nodes
	run -2 "$BED" up --overlay gre
	run -2 "$BED" up --tunnel-csum maybe
	run -2 "$BED" up --overlay none --tunnel-csum on
	run -2 "$BED" up --underlay token-ring
	run -2 "$BED" up --nodes 3 --underlay veth
	run -2 "$BED" up --pod ipvlan
	run -2 "$BED" --prefix 'Bad_Name' up
	run -2 "$BED" exec n1 true
	run -2 "$BED" exec n1 --
	run -2 "$BED" ip elsewhere
	run -2 "$BED" veth n1
	run -2 "$BED" pod-add n1 0
	run -2 "$BED" pod-add n1
	run -2 "$BED" pod-add n1 3 --pod ipvlan
	run -2 "$BED" get weather
	run -2 "$BED" policy n1 forbid
	run -2 "$BED" policy n1 deny --dport 80
	run -2 "$BED" policy n1 deny --proto
	run -2 "$BED" policy p1 clear
	run -2 "$BED" xmasq dance
	run -2 "$BED" xmasq start p1
	run -2 "$BED" xmasq start --mode warp
	run -2 "$BED" xmasq start --attach glue
	run -2 "$FLOW"
	run -2 "$FLOW" client --tcp --udp --host 10.0.0.1 --port 1
}

@test "without a bed every command says how to make one" {
	for c in status 'ip n1' 'ns n1' 'veth n1p1' 'exec n1 -- true' 'pod-add n1 1' 'get nics' \
		'policy n1 clear' 'xmasq status'; do
		# shellcheck disable=SC2086 # a command line
		run -1 "$BED" --prefix xmu2 $c
		[[ $output == *'up'* ]]
	done
}
