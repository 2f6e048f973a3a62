#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Which flows are learned: admit_after. n1 owns the flows between the two.
#
#   n1p1 --- n1 --- underlay --- n2 --- n2p1

setup_file()
{
	load lib
	load daemon
	bed_up && xmasq_up
}

teardown_file() { load lib; bed_down; }

setup()
{
	load lib
	load daemon
	test_begin
	# What an earlier test left in the tables must not be taken for this one's.
	PORT=$((4000 + 10 * BATS_TEST_NUMBER))
	daemons_default
	only_with_fast_path
}

teardown()
{
	daemons_end
	test_end
}

# dribble COUNT PROTO ROUNDS: that many flows of so many requests, one after the other
dribble()
{
	local i

	for ((i = 0; i < $1; i++)); do
		flow n1p1 "$2" n2p1 "$PORT" --rounds "$3" >/dev/null || return 1
	done
}

# admitted NODE: cells of its table that are
admitted()
{
	bpftool map dump pinned "$(pin_dir "$1")/xm_admit" -j |
		jq '[.[].formatted.value | .. | .count? | select(. == 4294967295)] | length'
}

none_admitted() { [ "$(admitted "$1")" = 0 ]; }

@test "connections of one request make no entries, at either end" {
	local tool=$BUILD/tests/tools/xmt-icount

	# xmt-flow has two packets for a request.
	start "$BATS_TEST_TMPDIR/server" ready nsenter --net="/run/netns/$XMASQ_BED-n2p1" -- \
		"$tool" server --port "$PORT"
	counters_mark n1 n2
	inside n1p1 "$tool" client --mode tcp-crr --host "$(ip_of n2p1)" --port "$PORT" \
		--warmup 1 --rounds 10 --windows 3
	# A machine that stands still makes one of them send something again.
	[ "$(counted n1 flow-new)" -le 3 ]
	[ "$(counted n2 flow-new)" -le 3 ]
	# And it is not that nobody was there.
	[ "$(counted n1 no-flow)" -ge 62 ]

	serve n2p1 udp $((PORT + 5))
	counters_mark n1 n2
	PORT=$((PORT + 5)) dribble 30 udp 1
	[ "$(counted n1 flow-new)" -le 3 ]
	[ "$(counted n1 no-flow)" -ge 30 ]
}

@test "admit_after applies to what comes after a reload, and nothing else does" {
	serve n2p1 udp "$PORT"
	reload n1 'admit_after: 1'
	reload n2 'admit_after: 1'
	counters_mark n1 n2
	dribble 5 udp 1
	[ "$(counted n1 flow-new)" = 5 ]
	[ "$(counted n2 flow-new)" = 5 ]

	reload n1 'admit_after: 60'
	reload n2 'admit_after: 60'
	counters_mark n1 n2
	dribble 3 udp 50
	[ "$(counted n1 flow-new)" = 0 ]
	[ "$(counted n1 masqueraded)" = 0 ]
	flow n1p1 udp n2p1 "$PORT" --rounds 200 >/dev/null
	[ "$(counted n1 flow-new)" = 1 ]
	[ "$(counted n1 masqueraded)" -ge 100 ]
	[ "$(counted n2 masqueraded)" -ge 100 ]

	# The old one stays in force.
	printf 'admit_after: 0\n' >>"$(state n1)/xmasqd.yaml"
	sed -i '/^admit_after: 60/d' "$(state n1)/xmasqd.yaml"
	log_mark n1
	kill -HUP "$(pid_of n1)"
	wait_until 3 logged n1 '"admit_after" must be a number from 1 to 10000 \(packets\), not "0"; the old configuration stays'
	counters_mark n1
	dribble 1 udp 50
	[ "$(counted n1 flow-new)" = 0 ]
}

@test "nodes that differ agree on what the owner has admitted" {
	serve n2p1 tcp "$PORT"
	reload n2 'admit_after: 10000'
	counters_mark n1 n2
	flow n1p1 tcp n2p1 "$PORT" --rounds 200 >/dev/null
	[ "$(counted n1 masqueraded)" -ge 150 ]
	[ "$(counted n2 masqueraded)" -ge 150 ]

	reload n2
	reload n1 'admit_after: 10000'
	counters_mark n1 n2
	flow n1p1 tcp n2p1 "$PORT" --rounds 200 >/dev/null
	[ "$(counted n1 flow-new)" = 0 ]
	[ "$(counted n1 masqueraded)" = 0 ]
	[ "$(counted n2 masqueraded)" = 0 ]
}

@test "cells are taken back when their entries are gone, and those of live flows are not" {
	local file=$BATS_TEST_TMPDIR/report pid

	serve n2p1 tcp "$PORT"
	flow_bg "$file" n1p1 tcp n2p1 "$PORT" "${LASTING[@]}" --interval-ms 20
	pid=${PIDS[-1]}
	wait_until 3 flow_active n1 "$PORT"
	# The whole time of two walks, and of as many again.
	counters_mark n1
	sleep 21
	flow_active n1 "$PORT"
	[ "$(fast_permille n1)" -ge 900 ]
	finish "$pid"
	ctl n1 flush --all >/dev/null
	wait_until 25 none_admitted n1
}

@test "a daemon that finds flows without cells goes on with them" {
	local file=$BATS_TEST_TMPDIR/report pid

	serve n2p1 tcp "$PORT"
	flow_bg "$file" n1p1 tcp n2p1 "$PORT" "${LASTING[@]}" --interval-ms 5
	pid=${PIDS[-1]}
	wait_until 3 flow_active n1 "$PORT"
	# As an older release leaves its pins, which had no such table.
	term n1 KILL
	rm "$(pin_dir n1)/xm_admit"
	launch n1
	wait_until 3 flow_active n1 "$PORT"
	counters_mark n1
	# Two leases: without its cell none would be renewed.
	sleep 2
	flow_active n1 "$PORT"
	[ "$(counted n1 lease-out)" -ge 1 ]
	[ "$(fast_permille n1)" -ge 900 ]
	finish "$pid"
	[ "$(counted n1 flow-new)" = 0 ]
}

@test "cells of another size, left beside tables of a release that had none, are made anew" {
	local pin

	pin=$(pin_dir n1)/xm_admit
	term n1 KILL
	rm "$pin"
	bpftool map create "$pin" type array key 4 value 8 entries 128 name xm_admit flags 0x400
	launch n1
	wait_until 5 map_size "$pin" "$(bpftool -j map show pinned "$(pin_dir n1)/xm_labels" | jq .max_entries)"
}

map_size() { [ "$(bpftool -j map show pinned "$1" | jq .max_entries)" = "$2" ]; }
