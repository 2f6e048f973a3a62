#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Faults of what all nodes of a bed share, since it is the machine's: the size of conntrack's table, and the
# date. Only in a machine of its own (scripts/vm.sh; tests/vm/matrix has the line): see lib.bash for the bed
# and load.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib

own_machine() { [ -n "${XMASQ_VM:-}" ]; }

setup_file()
{
	own_machine || return 0
	MAX=$(sysctl -n net.netfilter.nf_conntrack_max)
	export MAX
	faults_up
}

teardown_file() { ! own_machine || faults_down; }

setup()
{
	own_machine || skip "allowed: conntrack's size and the date are the machine's; tests/vm/matrix has one for it"
	test_begin
}

teardown()
{
	own_machine || return 0
	sysctl -qw net.netfilter.nf_conntrack_max="$MAX"
	fault_end
}

# ---- conntrack --------------------------------------------------------------------

# refused: packets for which a node's conntrack had no room, and entries that it gave up for others
refused()
{
	local n

	for n in n1 n2 n3; do
		inside $n conntrack -S 2>/dev/null
	done | grep -oP ' (early_)?drop=\K\d+' | awk '{ n += $1 } END { print n + 0 }'
}

# newcomers FILE: 12 connections that nobody knows yet, each with its data checked; in the background
newcomers()
{
	local i

	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		timeout $((4 * XM_SLOW)) nsenter --net="/run/netns/$XMASQ_BED-n1p1" -- "$FLOW" client --tcp \
			--host "$(ip_of n2p1)" --port 4700 --rounds 3 -o json >"$1.$i" 2>&1 3>&- &
		PIDS+=($!)
	done
}

@test "conntrack really full: what is agreed lives on, new ones are the kernel's affair, all recover" {
	local before i bad=0

	fault_begin
	serve n2p1 tcp 4700
	before=$(refused)
	counters_mark n1 n2 n3
	sysctl -qw net.netfilter.nf_conntrack_max=8
	newcomers "$BATS_TEST_TMPDIR/new"
	sleep 4
	# It was full, and said so.
	echo "# refused or given up: $(($(refused) - before))" >&3
	[ "$(refused)" -gt "$before" ]
	for i in n1 n2 n3; do
		[ "$(fast_permille $i)" -ge 500 ]
	done
	outcome "conntrack of all nodes full for 4 s, 12 connections tried" 8000 900
	sysctl -qw net.netfilter.nf_conntrack_max="$MAX"
	for i in "${PIDS[@]:1}"; do
		wait "$i" || :
	done
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		[ -s "$BATS_TEST_TMPDIR/new.$i" ] && grep -q '"ok":1' "$BATS_TEST_TMPDIR/new.$i" || bad=$((bad + 1))
		! grep -q '"corrupted":[1-9]' "$BATS_TEST_TMPDIR/new.$i"
	done
	echo "# of 12 connections made meanwhile $bad got nowhere" >&3
	back 20
	load_mark
	flow n1p1 tcp n2p1 4700 --rounds 20 | jq -e '.ok == 1 and .corrupted == 0'
	sleep 1
	outcome "conntrack has room again" 500 0
	load_end
}

# ---- the date -----------------------------------------------------------------------

# jump SECONDS: by the clock that "date" shows, at once
jump() { date -s "@$(($(date +%s) + $1))" >/dev/null; }

all_up()
{
	peer_is n1 n2 up && peer_is n2 n1 up && peer_is n1 n3 up && peer_is n3 n1 up && peer_is n2 n3 up &&
		peer_is n3 n2 up
}

@test "the date jumps by a day, forward and back: leases and hellos hold, also of a daemon that starts then" {
	local by pid

	fault_begin
	for by in 86400 -172800 86400; do
		pid=$(pid_of n2)
		jump $by
		load_mark
		counters_mark n1 n2 n3
		# Some leases, and longer than a peer is trusted without a word.
		sleep 4
		all_up
		load_fast
		[ "$(fast_permille n1)" -ge 800 ] && [ "$(fast_permille n2)" -ge 800 ]
		outcome "the date $by s further" 500 20
		# Nothing that it wrote down counts from the date.
		term n2 KILL
		xmasq_start n2
		[ "$(pid_of n2)" != "$pid" ]
		wait_until 10 all_up
		back 15
		outcome "the date $by s further, n2's daemon killed and started" 1500 100
	done
	load_end
}
