#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Daemons that restart, crash or leave while pods talk: no connection breaks, whatever happens,
# and what is back within its peers' patience moves no flow off the fast path.
#
#   n1p1 --- n1 === underlay === n2 --- n2p1        a TCP and a UDP flow, a message each 5 ms
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own
# shellcheck disable=SC2154 # output: set by run

load lib
load daemon

setup_file()    { bed_up --pods 1; daemons_changed; }
teardown_file() { bed_down; }
setup()         { test_begin; daemons_default; }
teardown()      { daemons_end; test_end; }

epoch() { ctl "$1" status -o json | jq .epoch; }

# restarts SIGNAL: either node's daemon is ended by it and started again, under load
restarts() {
	local node other epoch

	live
	for node in n1 n2; do
		other=n$((3 - ${node#n}))
		wait_until 3 all_fast n1 n2
		epoch=$(epoch $node)
		counters_mark $node $other
		log_mark $other
		term $node "$1"
		launch $node
		[ "$(epoch $node)" = "$epoch" ]
		grep -q '1 peers of an earlier run taken over' "$(state $node)/xmasqd.log"
		# The tables were not made anew, or this would be less than none.
		[ "$(counted $node masqueraded)" -gt 0 ]
		[ "$(counted $other masqueraded)" -gt 0 ]
		# Both flows all the while, and after: nobody was missed.
		wait_until 3 peer_is $node $other up
		[ "$(fast_permille $node)" -ge 900 ]
		[ "$(fast_permille $other)" -ge 900 ]
		run ! logged $other ' is down'
		all_fast n1 n2
	done
	live_end '.stall_ms < 300 and (.lost // 0) == 0'
}

@test "SIGTERM and start again: flows stay on the fast path, nothing is lost" { restarts TERM; }
@test "SIGKILL and start again: flows stay on the fast path, nothing is lost" { restarts KILL; }

# on_overlay: no masqueraded packet between the nodes in either direction, but overlay packets of
# both flows
on_overlay() {
	local cap=$BATS_TEST_TMPDIR/cap fast slow

	# Node 2 may have no daemon to ask: the wire knows.
	wire n1 0.5 "$cap" "$MASQ_FILTER or $OVERLAY_FILTER"
	fast=$(captured "$cap" "$MASQ_FILTER")
	slow=$(captured "$cap" "$OVERLAY_FILTER")
	[ "$fast" = 0 ] && [ "$slow" -gt 40 ]
}

# overlay_from MS: it begins at the latest so long from now (ms of a real machine)
overlay_from() {
	local end=$((${EPOCHREALTIME/./} / 1000 + $1 * XM_SLOW)) from

	while :; do
		from=$((${EPOCHREALTIME/./} / 1000))
		! on_overlay || return 0
		[ "$from" -lt "$end" ] || { echo "still on the fast path after $1 ms"; return 1; }
	done
}

@test "a daemon gone for good, then its peer's, too: the overlay within 3.5 s, back when they are" {
	live
	term n1 KILL
	overlay_from 3500
	peer_is n2 n1 down
	ctl n2 peers | grep -q 'no proof for 3 s'
	term n2 KILL
	on_overlay
	launch n1
	launch n2
	wait_until 8 all_fast n1 n2
	live_end '.stall_ms < 500'
}

@test "both daemons killed at once: the overlay within 3.5 s, back when they are" {
	live
	daemons_changed
	kill -KILL "$(pid_of n1)" "$(pid_of n2)"
	overlay_from 3500
	wait_until 2 run ! pid_of n1
	wait_until 2 run ! pid_of n2
	launch n1
	launch n2
	wait_until 8 all_fast n1 n2
	live_end '.stall_ms < 500'
}

@test "tables of another size: made anew, and no connection breaks" {
	local before

	live
	before=$(epoch n2)
	term n2
	launch n2 'tables: {flows: 4096, peers: 64}'
	[ "$(epoch n2)" != "$before" ]
	status_is n2 '.tables == (.tables | map(.max = if .name == "peers" then 64 else 4096 end))'
	wait_until 8 all_fast n1 n2
	grep -q 'peer .* started over' "$(state n1)/xmasqd.log"
	live_end '.stall_ms < 1000'
}

@test "tables of another size on the owner's side" {
	live
	term n1
	launch n1 'tables: {flows: 1024, peers: 16}'
	wait_until 8 all_fast n1 n2
	live_end '.stall_ms < 1000'
}

@test "a second daemon is refused, and the first is not disturbed" {
	local pid

	live
	pid=$(pid_of n1)
	log_mark n1
	counters_mark n1
	run -1 xmasqd n1 --config "$(state n1)/xmasqd.yaml"
	[[ $output == *"another xmasqd is running: it answers on $(state n1)/xmasqd.sock"* ]]
	status_is n1 ".pid == $pid"
	[ -z "$(log_new n1)" ]
	has_ours n1 "$NIC"
	wait_until 2 all_fast n1 n2
	[ "$(fast_permille n1)" -ge 850 ]
	live_end '.stall_ms < 500 and (.lost // 0) == 0'
}

# A socket file that a killed daemon left is no daemon.
@test "a stale control socket and a stale pid are no obstacle" {
	term n1 KILL
	[ -S "$(state n1)/xmasqd.sock" ]
	launch n1
	status_is n1 '.pods_attached == 1'
}

@test "goodbye: cleanup on either node under load stalls nothing for a second" {
	local node other

	for node in n1 n2; do
		other=n$((3 - ${node#n}))
		live
		log_mark $other
		"$BED" xmasq stop $node
		daemons_changed
		wait_until 1 logged $other 'peer .* is down'
		wait_until 1 on_overlay
		# Retransmissions, if any, happen now.
		sleep 0.5
		live_end '.stall_ms < 1000 and (.lost // 0) <= 20'
		launch $node
		peers_meet
	done
}

@test "a daemon that is stopped and continued catches up" {
	local pid

	live
	daemons_changed
	pid=$(pid_of n1)
	kill -STOP "$pid"
	wait_until 5 on_overlay
	kill -CONT "$pid"
	wait_until 8 all_fast n1 n2
	live_end '.stall_ms < 500'
}
