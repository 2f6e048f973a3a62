#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# An underlay that loses, reorders, doubles, corrupts and delays frames (tests/tools/xmt-noise.c on each
# node's wire, in both directions): see lib.bash for the bed and load.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib

setup_file()
{
	local n

	faults_up
	for n in n1 n2 n3; do
		noise_begin $n
	done
}

teardown_file() { noise_end; faults_down; }
setup()         { test_begin; }

teardown()
{
	local n

	for n in n1 n2 n3; do
		quiet $n
	done
	fault_end
}

# settled: no message is under way for long
settled() { load_report && check "$REPORT" '.stalled == 0'; }

# noisy WHAT STALL LOST-PERMILLE netem...: on the way to every node, while connections come and go
noisy()
{
	local n what=$1 stall=$2 permille=$3

	shift 3
	# A retransmission that the noise before has put off is the noise's before.
	wait_until 20 settled
	for n in n1 n2 n3; do
		noise $n "$@"
	done
	sleep "${XM_NOISE_S:-1.5}"
	load_report
	for n in n1 n2 n3; do
		quiet $n
	done
	echo "# $what: $(jq -c '{stall_ms, stalled, degraded_ms, udp_lost, udp_sent, udp_dup, udp_reordered, broken, corrupt, misdelivered}' <<<"$REPORT")" >&3
	intact "$REPORT"
	check "$REPORT" ".stall_ms <= $((stall * XM_SLOW)) and .udp_lost <= .udp_sent * $permille / 1000"
}

# ARP has no checksum: one wrong bit in an answer of n1, and n2 sends what is for n3 to n1, which forwards
# the overlay's packets and, as it should, none of ours.
neighbours_fixed() {
	local n m

	for n in n1 n2 n3; do
		for m in n1 n2 n3; do
			[ $n = $m ] || ip -n "$XMASQ_BED-$n" neigh replace "$(ip_of $m)" dev "$NIC" nud permanent \
				lladdr "$(ip -n "$XMASQ_BED-$m" -j link show "$NIC" | jq -r '.[0].address')"
		done
	done
}

@test "loss, reordering, duplicates, corruption and delay, while connections are made and closed" {
	neighbours_fixed
	# Short ones all the time: learning, renewals and closes meet it, too.
	fault_begin --big 4000 --interval-ms 200 --short 1000000 --parallel 20 --hold 400
	noisy "loss 1 %" 2500 60 loss 1
	noisy "loss 10 %" 8000 300 loss 10
	noisy "a quarter reordered by 20 ms" 1500 30 reorder 25 20
	noisy "duplicates 10 %" 800 10 dup 10
	noisy "a bit of 2 % of the packets wrong" 4000 100 corrupt 2
	noisy "delay 100 ms, 40 ms more or less" 1500 60 delay 80 40
	outcome "quiet again" 9000 60
	back 20
	kill -TERM "$LOAD_PID"
	# The last of the short ones are cut by the end.
	ends "$LOAD_PID" 0 || { cat "$BATS_TEST_TMPDIR/load.err"; false; }
	LOAD_PID=
	check "$(grep '"short"' "$LOAD_OUT")" '.short > 500 and .failed == 0 and (.ways | min) > 50'
}

# The same tuple in quick succession: its label's slots rest one after another.
@test "the same tuple again and again, over a slow underlay: never mixed up, never lost" {
	local i n

	long_form
	fault_begin --big 4000 --interval-ms 200
	for n in n1 n2 n3; do
		noise $n delay 20 20
	done
	serve n2p1 udp 4600
	serve n2p1 tcp 4600
	for ((i = 0; i < 8; i++)); do
		flow n1p1 udp n2p1 4600 --source-port 7600 --duration 0.5 --interval-ms 10 --wait-ms 800 -o json >"$BATS_TEST_TMPDIR/same"
		check "$(cat "$BATS_TEST_TMPDIR/same")" '.lost == 0 and .corrupted == 0 and .broken == 0'
		ctl n1 flush --flow "udp $(ip_of n1p1):7600 $(ip_of n2p1):4600" >/dev/null || :
	done
	for n in n1 n2 n3; do
		quiet $n
	done
	flow_bg "$BATS_TEST_TMPDIR/same" n1p1 udp n2p1 4600 --source-port 7600 "${LASTING[@]}" --interval-ms 20
	# Slots rest for 5 s.
	wait_until 15 flow_active n1 7600
	finish "${PIDS[-1]}"
	outcome "one tuple eight times in a row over 30 ms of delay" 1000 20
	load_end
}
