#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# An underlay that filters the masquerade port, and hosts on it that forge packets: see lib.bash for
# the bed and load. Filters are on the switch.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib
load ../netns/abuse

setup_file()    { faults_up; }
teardown_file() { faults_down; }
setup()         { test_begin; }

teardown()
{
	unfilter
	fault_end
}

N1=172.31.0.1 N2=172.31.0.2

# filtered WHAT RULE...: between n1 and n2; the overlay within 3 s, and fast again when it is over
filtered()
{
	local what=$1

	shift
	load_mark
	filter "$@"
	# 3 s until it is noticed, and TCP may have doubled its timer by then.
	wait_until 5 peer_lost
	SINCE_FAULT=$(((${EPOCHREALTIME/./} - MARK) / 1000))
	sleep 4
	outcome "$what; noticed after $SINCE_FAULT ms" 7500 900
	[ "$SINCE_FAULT" -le $((3500 * XM_SLOW)) ]
	outcome "$what, all on the overlay" 500 0
	unfilter
	back 20
}

# peer_lost: n1 or n2 knows that a protocol does not get through to the other
peer_lost()
{
	ctl n1 peers -o json | jq -e --arg a $N2 'any(.peers[]; .addr == $a and (.tcp_ms <= 0 or .udp_ms <= 0))' >/dev/null ||
		ctl n2 peers -o json | jq -e --arg a $N1 'any(.peers[]; .addr == $a and (.tcp_ms <= 0 or .udp_ms <= 0))' >/dev/null
}

@test "the masquerade port filtered one way" {
	fault_begin
	filtered "all of the port filtered from n1 to n2" "ip saddr $N1 ip daddr $N2 th dport 18477 drop"
	load_end
}

@test "the masquerade port filtered both ways, the other way, TCP only, UDP only" {
	local both="ip saddr {$N1,$N2} ip daddr {$N1,$N2}"

	long_form
	fault_begin
	filtered "TCP filtered both ways" "$both tcp sport 18477 drop" "$both tcp dport 18477 drop"
	filtered "all of the port filtered both ways" "$both th sport 18477 drop" "$both th dport 18477 drop"
	filtered "UDP filtered both ways" "$both udp sport 18477 udp dport 32768-65535 drop" \
		"$both udp dport 18477 udp sport 32768-65535 drop"
	filtered "all of the port filtered from n2 to n1" "ip saddr $N2 ip daddr $N1 th sport 18477 drop"
	load_end
}

# ---- forged packets --------------------------------------------------------------------

@test "a flood of hellos and probes under a peer's address takes nothing off the fast path" {
	fault_begin
	counters_mark n2
	craft out --seconds 5 --interval-ms 0.5 "$OUT_NIC" \
		"[to('n2')/f for e in range(40) for f in (hello('n1','n2',e), hello('n1','n2',e,ANSWER),
		  probe('tcp','n1','n2'), probe('udp','n1','n2'))]"
	echo "# $SENT forged, $(counted n2 control-limit) over the limit" >&3
	[ "$(counted n2 control-limit)" -gt 500 ]
	peer_is n1 n2 up
	peer_is n2 n1 up
	load_fast
	# A hello of another epoch is a flow's worry only when it is fresh.
	[ "$(counted n2 flow-reset)" -le 5 ]
	outcome "5 s of forged hellos and probes" 300 0
	load_end
}

@test "a sweep of NACKs under a peer's address: flows are back at once" {
	fault_begin
	counters_mark n2
	craft out --seconds 4 --interval-ms 0 "$OUT_NIC" \
		"[to('n2')/f for l in range(1, 32768, 40) for f in (nack('n1','n2',l),)]" \
		"[to('n2')/masq('tcp','n1','n2',l,True,flags='R') for l in range(1, 32768, 40)]"
	echo "# $SENT forged, $(counted n2 nack-unheeded) not believed, $(counted n2 flow-demoted) flows demoted" >&3
	[ "$(counted n2 nack-unheeded)" -gt 100 ]
	back 3
	outcome "4 s of forged NACKs and RSTs" 1500 40
	load_end
}

# flooded: n2 gets more than it hands to its daemon
flooded() { [ "$(counted n2 control-limit)" -gt 300 ]; }

# What a peer says first to a daemon that starts again echoes the daemon before. The flood has its
# address, and the MAC of whoever sends it.
@test "a daemon that starts again in a flood under its peer's address: its peers stay up" {
	local pid

	long_form
	fault_begin
	inside out "$NETNS/craft.py" --seconds 60 --interval-ms 0.5 "$OUT_NIC" \
		"[to('n2')/f for e in range(40) for f in (hello('n1','n2',e), hello('n1','n2',e,ANSWER),
		  probe('tcp','n1','n2'), probe('udp','n1','n2'))]" >"$BATS_TEST_TMPDIR/flood" 2>&1 3>&- &
	PIDS+=($!)
	wait_until 30 grep -q sending "$BATS_TEST_TMPDIR/flood"
	counters_mark n2
	wait_until 10 flooded
	pid=$(pid_of n2)
	daemons_changed
	load_mark
	kill -KILL "$pid"
	wait_until 3 ended "$pid"
	launch n2
	# Beyond what its last proof was good for.
	sleep 4
	peer_is n2 n1 up
	peer_is n1 n2 up
	run ! grep -E 'peer .* is (down|blocked)' "$(state n2)/xmasqd.log"
	load_fast
	outcome "n2's daemon killed and started again in a flood under n1's address" 1500 20
	load_end
}
