#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# What is bounded stays bounded, and what xmasq is not for stays as it was. Two nodes; xmasq is
# started by each test as it needs it.
# shellcheck disable=SC2030,SC2031,SC2086 # tests with beds of their own; ports are numbers

setup_file() {
	load lib
	bed_up --pods 1
}

teardown_file() {
	load lib
	bed_down
	"$BED" --prefix "${XM_BED}plain" down
	"$BED" --prefix "${XM_BED}three" down
}

setup() {
	load lib
	test_begin
}

teardown() {
	test_end
	# The beds of single tests first: their name is in XMASQ_BED no more.
	"$BED" --prefix "${XM_BED}plain" down
	"$BED" --prefix "${XM_BED}three" down
	XMASQ_BED=${XM_BED}bounds
	"$BED" xmasq stop >/dev/null
}

verified() { jq -es 'all(.[]; .errors == 0 and .broken == 0 and .lost == 0)' "$@"; }

@test "a full flow table: more flows stay on the overlay, none is lost, the old ones stay fast" {
	local i pids=() files=()

	# With fewer, packets are not lost for want of CPU. Nothing here depends on the mode.
	[ "$XM_SLOW" -lt 4 ] ||
		skip "allowed: 1800 flows at 2.5 round trips a second are too many for an emulated CPU"
	printf 'tables: {flows: 1024}\n' >"$BATS_TEST_TMPDIR/extra"
	xmasq_up --config-extra "$BATS_TEST_TMPDIR/extra"
	serve n2p1 tcp 4000
	serve n2p1 tcp 4001
	serve n2p1 udp 4002
	flow_bg "$BATS_TEST_TMPDIR/old" n1p1 tcp n2p1 4000 "${LASTING[@]}" --interval-ms 5
	wait_until 5 flow_active n1 4000
	for i in 1 2 3; do
		files+=("$BATS_TEST_TMPDIR/tcp.$i" "$BATS_TEST_TMPDIR/udp.$i")
		flow_bg "$BATS_TEST_TMPDIR/tcp.$i" n1p1 tcp n2p1 4001 --connections 300 \
			"${LASTING[@]}" --interval-ms 400
		pids+=("${PIDS[-1]}")
		flow_bg "$BATS_TEST_TMPDIR/udp.$i" n1p1 udp n2p1 4002 --connections 300 \
			"${LASTING[@]}" --interval-ms 400 --wait-ms $((2000 * XM_SLOW))
		pids+=("${PIDS[-1]}")
	done
	wait_until 5 table_full n1
	ctl n1 status | grep -E '^(TABLE|flows|labels)'
	[ "$(ctl n1 status -o json | jq '.tables[] | select(.name == "flows").used')" -le 1024 ]
	wait_until 4 many_active n1 150
	# The old flow among 1800 others.
	counters_mark n1
	sleep 1
	flow_active n1 4000
	kill "${pids[@]}"
	for i in "${pids[@]}"; do
		ends "$i" 0
	done
	verified "${files[@]}"
	finish "${PIDS[3]}"
	jq -e ".errors == 0 and .stall_ms < 500 * $XM_SLOW" "$BATS_TEST_TMPDIR/old"
	[ "$(counter n1 flow-table-full)" -gt 100 ]
	# Said where somebody may look, and once.
	wait_until 10 grep -q 'table of flows is full' "/run/xmasq-$XMASQ_BED/n1/xmasqd.log"
	[ "$(grep -c 'table of flows is full' "/run/xmasq-$XMASQ_BED/n1/xmasqd.log")" = 1 ]
	ctl n1 status | grep -q 'no room for a flow .*: raise tables.flows'

	# And the table recovers: new flows get in when the old ones have expired.
	flow_bg "$BATS_TEST_TMPDIR/new" n1p1 udp n2p1 4002 --source-port 7000 "${LASTING[@]}" \
		--interval-ms 20
	wait_until 45 flow_active n1 7000
}

many_active() { ctl "$1" flows --active -o json | jq -e --argjson n "$2" '.flows | length > $n'; }
table_full() { [ "$(counter "$1" flow-table-full)" -gt 0 ]; }

# The outer source port that tells a label is any number; those that mean something to the
# hooks must not be labels.
@test "a flow whose hash gives the masquerade port as its label lives and is accelerated" {
	local port sport=

	xmasq_up
	for port in 4100 4101 4102 4103 4104; do
		sport=$("$NETNS/label_port.py" "/sys/fs/bpf/xmasq-$XMASQ_BED-n1" \
			"$(ip_of n1p1)" "$(ip_of n2p1)" $port 18477)
		[ -z "$sport" ] || break
	done
	[ -n "$sport" ]
	serve n2p1 udp $port
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 $port --source-port "$sport" \
		"${LASTING[@]}" --interval-ms 10
	wait_until 2 flow_active n1 $port
	sleep 1
	finish "${PIDS[-1]}"
	verified "$BATS_TEST_TMPDIR/udp"
}

@test "a peer without xmasq: everything on the overlay, hellos that get rarer and nothing else" {
	local cap=$BATS_TEST_TMPDIR/nic

	xmasq_start n1
	serve n2p1 tcp 4200
	serve n2p1 udp 4201
	capture "$cap" n1 nic "port 18477"
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 4201 --duration 14 --interval-ms 10
	flow n1p1 tcp n2p1 4200 --duration 14 --interval-ms 10 >"$BATS_TEST_TMPDIR/tcp"
	ends "${PIDS[-1]}" 0
	verified "$BATS_TEST_TMPDIR/tcp" "$BATS_TEST_TMPDIR/udp"
	capture_stop "$cap"
	[ "$(counter n1 masqueraded)" = 0 ]
	peer_is n1 n2 silent
	# Port to port, and the two probes that go with each.
	hellos=$(captured "$cap" "src host $(ip_of n1) and udp src port 18477 and udp dst port 18477")
	all=$(captured "$cap" "src host $(ip_of n1)")
	echo "$hellos hellos, $all packets in 14 s"
	# Periods of 1, 2, 4, 8 s from the start.
	[ "$hellos" -ge 3 ]
	[ "$hellos" -le 8 ]
	[ "$all" -le $((3 * hellos)) ]
	[ "$(captured "$cap" "src host $(ip_of n1) and $MASQ_FILTER")" = 0 ]
}

@test "a third node without xmasq is as before, the two with it are fast" {
	XMASQ_BED=${XM_BED}three
	bed_make --nodes 3 --pods 1
	xmasq_start n1 n2
	inside n1p1 ping -q -c 1 -W 2 "$(ip_of n2p1)"
	wait_until 10 peer_is n1 n2 up
	wait_until 10 peer_is n2 n1 up
	serve n2p1 tcp 4300
	serve n3p1 tcp 4300
	serve n3p1 udp 4301
	capture "$BATS_TEST_TMPDIR/n3" n3 nic "$MASQ_FILTER"
	local first=${#PIDS[@]}
	flow_bg "$BATS_TEST_TMPDIR/a" n1p1 tcp n3p1 4300 --duration 4 --interval-ms 10
	flow_bg "$BATS_TEST_TMPDIR/b" n2p1 udp n3p1 4301 --duration 4 --interval-ms 10
	flow_bg "$BATS_TEST_TMPDIR/c" n1p1 tcp n2p1 4300 --duration 4 --interval-ms 10
	counters_mark n1
	for i in 0 1 2; do
		ends "${PIDS[first + i]}" 0
	done
	verified "$BATS_TEST_TMPDIR/a" "$BATS_TEST_TMPDIR/b" "$BATS_TEST_TMPDIR/c"
	[ "$(counted n1 masqueraded)" -ge 300 ]
	[ "$(ctl n1 flows -o json | jq '[.flows[] | select(.peer == "172.31.0.3" and .label)] | length')" = 0 ]
	capture_stop "$BATS_TEST_TMPDIR/n3"
	[ "$(captured "$BATS_TEST_TMPDIR/n3" "dst host $(ip_of n3)")" = 0 ]
	"$BED" down
}

# left_alone OVERLAY: its flows live, and xmasq neither knows nor tells anything
left_alone()
{
	XMASQ_BED=${XM_BED}plain
	bed_make --overlay "$1" --pods 1
	xmasq_start
	serve n2p1 tcp 4400
	serve n2p1 udp 4401
	capture "$BATS_TEST_TMPDIR/nic" n1 nic 'port 18477 or port 32768'
	capture "$BATS_TEST_TMPDIR/clear" n1 nic 'net 10.244.0.0/16'
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 4401 --duration 3 --interval-ms 5 \
		--wait-ms $((250 * XM_SLOW))
	flow n1p1 tcp n2p1 4400 --duration 3 --interval-ms 5 >"$BATS_TEST_TMPDIR/tcp"
	ends "${PIDS[-1]}" 0
	verified "$BATS_TEST_TMPDIR/tcp" "$BATS_TEST_TMPDIR/udp"
	for node in n1 n2; do
		[ "$(counter $node masqueraded)" = 0 ]
		[ "$(ctl $node flows -o json | jq .total)" = 0 ]
		[ "$(ctl $node peers -o json | jq '.peers | length')" = 0 ]
	done
	capture_stop "$BATS_TEST_TMPDIR/nic"
	capture_stop "$BATS_TEST_TMPDIR/clear"
	[ "$(captured "$BATS_TEST_TMPDIR/nic" '')" = 0 ]
}

@test "pods' packets that are not in a known tunnel on the NIC are left alone" {
	left_alone none
	[ "$(captured "$BATS_TEST_TMPDIR/clear" '')" -gt 100 ]
	"$BED" down
}

@test "an encrypted overlay stays encrypted: WireGuard" {
	inside n1 ip link add xmtwg0 type wireguard 2>/dev/null ||
		skip "allowed: this kernel has no WireGuard; those of the suite vm have"
	inside n1 ip link del xmtwg0
	left_alone wireguard
	[ "$(captured "$BATS_TEST_TMPDIR/clear" '')" = 0 ]
	"$BED" down
}

@test "tables of the default size and the daemon take at most 16 MiB each; idle costs nothing" {
	local pid before maps bytes rss

	xmasq_up
	serve n2p1 tcp 4500
	flow n1p1 tcp n2p1 4500 --duration 1
	pid=$(cut -d' ' -f1 "/run/xmasq-$XMASQ_BED/n1/xmasqd.pid")
	# The maps that this node's programs use: the pinned ones and those without a pin.
	maps=$(for f in "/proc/$pid/fd/"*; do
		readlink "$f" | grep -q 'anon_inode:bpf-map' &&
			awk '/^map_id:/ { print $2 }' "/proc/$pid/fdinfo/${f##*/}"
	done | sort -un)
	[ "$(wc -w <<<"$maps")" -ge 8 ]
	bytes=$(for id in $maps; do bpftool -j map show id "$id" | jq .bytes_memlock; done |
		jq -s add)
	rss=$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status")
	echo "$bytes bytes of maps, $rss KiB of daemon"
	[ "$bytes" -gt 4194304 ]
	[ "$bytes" -le 16777216 ]
	# A sanitizer takes several times that for itself.
	[[ -n ${XM_SANITIZE:-} || $rss -le 16384 ]]
	before=$(cpu_ticks "$pid")
	sleep 10
	echo "$(($(cpu_ticks "$pid") - before)) ticks of 10 ms in 10 s"
	[ $(($(cpu_ticks "$pid") - before)) -le $((5 * XM_SLOW)) ]
}

cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
