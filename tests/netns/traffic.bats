#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Pods of three nodes talk, and nothing about it is different but the path:
#
#     n1: n1p1 n1p2      n2: n2p1 n2p2      n3: n3p1 n3p2        n1 owns every flow of
#            \               |               /                   its own, n3 none
#             `------------ switch ---------'
#
# xmt-flow verifies every byte at both ends. --half-close makes the server's verdict part of
# the client's exit status in request/response mode, too.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own
# shellcheck disable=SC2154 # output: set by run

load lib

# Around one segment and two; and whatever else.
SEGMENT=${MSS:-0}
ALL_SIZES=1,2,63,512,$((SEGMENT - 1)),$SEGMENT,$((SEGMENT + 1)),$((2 * SEGMENT)),4096,16384,65536

setup_file()    { bed_up --nodes 3 --pods 2; xmasq_up; }
teardown_file() { bed_down; "$BED" --prefix "${XMASQ_BED}nocs" down; }
setup()         { test_begin; }
teardown()      { test_end; }

# accelerated NODE...: both halves of the fast path were at work since counters_mark; on beds
# without one, such as WireGuard's, nobody was
accelerated()
{
	local node

	for node; do
		if ! has_fast_path; then
			[ "$(counted "$node" masqueraded)" = 0 ] && [ "$(counted "$node" restored)" = 0 ]
			continue
		fi
		[ "$(counted "$node" masqueraded)" -gt 0 ]
		[ "$(counted "$node" restored)" -gt 0 ]
	done
}

# ---- TCP --------------------------------------------------------------------------

@test "TCP: requests of 1 B to 64 KiB, 1 and 64 connections, from either side" {
	serve n2p1 tcp 4000
	serve n1p1 tcp 4000
	counters_mark n1 n2
	for connections in 1 64; do
		for way in n1p1:n2p1 n2p1:n1p1; do
			run -0 flow ${way%:*} tcp ${way#*:} 4000 --sizes "$ALL_SIZES" --rounds 44 \
				--connections $connections --half-close
			check "$output" ".ok == $connections and .corrupted == 0 and
				.rounds == 44 * $connections and .bytes_in == .bytes_out"
		done
	done
	accelerated n1 n2
}

@test "TCP: writes of one byte, one way, arrive as sent" {
	serve n2p1 tcp 4001
	counters_mark n1
	run -0 flow n1p1 tcp n2p1 4001 --mode stream --size 1 --bytes 20000 --connections 4
	check "$output" '.ok == 4 and .bytes_out == 80000'
	accelerated n1
}

@test "TCP: one way in bulk, 1 and 64 connections, from either side" {
	serve n2p1 tcp 4002
	serve n1p1 tcp 4002
	counters_mark n1 n2
	run -0 flow n1p1 tcp n2p1 4002 --mode stream --bytes 60000000
	check "$output" '.ok == 1 and .bytes_out == 60000000'
	run -0 flow n2p1 tcp n1p1 4002 --mode stream --bytes 60000000
	run -0 flow n1p1 tcp n2p1 4002 --mode stream --bytes 1000000 --connections 64
	run -0 flow n2p1 tcp n1p1 4002 --mode stream --bytes 1000000 --connections 64
	check "$output" '.ok == 64 and .bytes_out == 64000000'
	accelerated n1 n2
}

@test "TCP: duplex, 1 and 64 connections" {
	serve n2p1 tcp 4003
	counters_mark n1 n2
	run -0 flow n1p1 tcp n2p1 4003 --mode duplex --bytes 30000000
	check "$output" '.ok == 1 and .bytes_in == 30000000'
	run -0 flow n1p1 tcp n2p1 4003 --mode duplex --sizes "$ALL_SIZES" --bytes 500000 --connections 64
	check "$output" '.ok == 64 and .bytes_in == 32000000'
	accelerated n1 n2
}

@test "TCP: 500 connections that open, ask and close" {
	serve n3p1 tcp 4004
	# shellcheck disable=SC2016 # the inner shell's
	inside n1p1 bash -c '
		for ((i = 0; i < 500; i++)); do
			"$@" --size $((1 + 131 * i)) --rounds $((1 + i % 9)) >/dev/null || exit 1
		done' - "$FLOW" client --tcp --host "$(ip_of n3p1)" --port 4004 --timeout 5 --half-close
}

@test "TCP: a tuple that RST ended is used again at once" {
	serve n3p1 tcp 4005
	counters_mark n1 n3
	# A source port below the ephemeral ones: those may be in TIME_WAIT.
	# shellcheck disable=SC2016 # the inner shell's
	inside n1p1 bash -c '
		for ((i = 0; i < 40; i++)); do
			"$@" >/dev/null || exit 1
		done' - "$FLOW" client --tcp --host "$(ip_of n3p1)" --port 4005 --timeout 5 \
		--source-port 30001 --rounds 40 --linger-rst -o json
	accelerated n1 n3
}

# ---- UDP --------------------------------------------------------------------------

@test "UDP: requests and answers of all sizes, fragments too" {
	serve n2p1 udp 4010
	serve n1p1 udp 4010
	counters_mark n1 n2
	for way in n1p1:n2p1 n2p1:n1p1; do
		run -0 flow ${way%:*} udp ${way#*:} 4010 --sizes "24,25,512,$((UDP_MAX - 1)),$UDP_MAX,$((UDP_MAX + 1)),8000,60000" \
			--rounds 400
		check "$output" '.rounds == 400 and .lost == 0 and .corrupted == 0 and
			.duplicated == 0 and .reordered == 0'
		run -0 flow ${way%:*} udp ${way#*:} 4010 --sizes "24,$UDP_MAX" --rounds 50 --connections 64
		check "$output" '.ok == 64 and .lost == 0 and .corrupted == 0'
	done
	accelerated n1 n2
	! has_fast_path || [ "$(counted n1 fragment)" -gt 0 ]
}

@test "UDP: a stream loses nothing and is not corrupted" {
	serve n2p1 udp 4011
	# The stream's pod must hear something, or its flow never gets an ingress lease.
	for way in stream duplex; do
		counters_mark n1
		run -0 flow n1p1 udp n2p1 4011 --mode $way --sizes 24,1400 --duration 2 --interval-ms 0.25
		check "$output" '.lost == 0 and .corrupted == 0 and .duplicated == 0 and .sent > '$((4000 / XM_SLOW))' and
			.reordered <= .sent / 1000'
		[ "$way" = stream ] || ! has_fast_path || [ "$(fast_permille n1)" -ge 990 ]
	done
}

@test "UDP without checksums" {
	local file=$BATS_TEST_TMPDIR/nic.pcap

	only_with_fast_path

	serve n2p1 udp 4012 --no-check
	capture "$file" n1 nic "$MASQ_FILTER and udp"
	run -0 flow n1p1 udp n2p1 4012 --no-check --sizes 24,1400 --rounds 400
	check "$output" '.lost == 0 and .corrupted == 0'
	capture_end "$file"
	[ "$(captured "$file" 'udp[6:2] == 0')" -ge 780 ]
	# 0 means "none": a checksum that the rewriting makes 0 must not turn into that, nor this
	# into one.
	[ "$(captured "$file" 'udp[6:2] != 0')" = 0 ]
}

# ---- how much of it is fast ----------------------------------------------------------

@test "99 % of a long flow is masqueraded, by the NIC's capture and by counters" {
	local file=$BATS_TEST_TMPDIR/nic.pcap proto

	only_with_fast_path
	for proto in tcp udp; do
		serve n2p1 $proto 4020
		flow_bg "$file.report" n1p1 $proto n2p1 4020 "${LASTING[@]}" --size 200 --interval-ms 0.2
		wait_until 3 flow_active n1 4020
		wait_until 3 flow_active n2 4020
		local pid=${PIDS[-1]}
		capture "$file" n1 nic "$WIRE_FILTER" -s 100
		counters_mark n1 n2
		sleep 2
		# It ends by the overlay.
		kill -STOP "$pid"
		capture_end "$file"
		echo "$proto: $(fast_permille n1) and $(fast_permille n2) by counters," \
			"$(captured_permille "$file") captured of $(captured "$file" '')"
		[ "$(captured "$file" "$MASQ_FILTER")" -ge $((5000 / XM_SLOW)) ]
		[ "$(captured_permille "$file")" -ge 990 ]
		[ "$(fast_permille n1)" -ge 990 ]
		[ "$(fast_permille n2)" -ge 990 ]
		kill -CONT "$pid"
		finish "$pid"
	done
}

@test "a busy flow is fast within 10 packets each way, whichever side begins" {
	local file=$BATS_TEST_TMPDIR/nic.pcap port=4030 proto way

	only_with_fast_path
	for proto in tcp udp; do
		for way in n1p1:n2p1 n2p1:n1p1; do
			port=$((port + 1))
			serve ${way#*:} $proto $port
			capture "$file" n1 nic "$WIRE_FILTER"
			flow ${way%:*} $proto ${way#*:} $port --rounds 200
			capture_end "$file"
			# Checksums are offloaded here.
			wire_format "$file" --no-checksums
			check "$REPORT" "[.flows[] | select(any(.ends[]; endswith(\":$port\")))]
				| length == 1 and (.[0].overlay_before_fast | length == 2 and
				all(.[]; . <= 10)) and all(.[0].fast[]; . >= 185)"
		done
	done
}

# ---- more than two, and pods that come and go -----------------------------------------

@test "all pods of three nodes talk to all at once" {
	local from to files=() file

	for to in n1p1 n1p2 n2p1 n2p2 n3p1 n3p2; do
		serve $to tcp 4040
		serve $to udp 4040
	done
	local servers=${#PIDS[@]}
	counters_mark n1 n2 n3
	for from in n1p1 n1p2 n2p1 n2p2 n3p1 n3p2; do
		for to in n1p1 n1p2 n2p1 n2p2 n3p1 n3p2; do
			[ $from != $to ] || continue
			for proto in tcp udp; do
				file=$BATS_TEST_TMPDIR/$from.$to.$proto
				files+=("$file")
				flow_bg "$file" $from $proto $to 4040 "${LASTING[@]}" --sizes 24,1000 \
					--interval-ms $((10 * XM_SLOW)) --wait-ms $((250 * XM_SLOW))
			done
		done
	done
	# Each node has two pods, each with eight remote pods as client and as server.
	for node in n1 n2 n3; do
		! has_fast_path || wait_until 5 flow_active $node 4040 32
	done
	sleep 1
	kill "${PIDS[@]:servers}"
	for pid in "${PIDS[@]:servers}"; do
		ends "$pid" 0
	done
	jq -es --argjson late "$(late n1 n2 n3)" 'length == 60 and ([.[].lost] | add) <= $late and
		all(.[]; .ok == 1 and .corrupted == 0 and .broken == 0)' "${files[@]}"
	accelerated n1 n2 n3
}

@test "a pod that is added later, deleted, and comes back with the same address" {
	local address=10.244.1.13 to=n2p1

	only_with_fast_path
	serve $to tcp 4050
	for _ in 1 2 3; do
		"$BED" pod-add n1 3
		wait_until 5 pod_attached n1 $address
		counters_mark n1
		# The same tuple as the predecessor's.
		flow_bg "$BATS_TEST_TMPDIR/doomed" n1p3 tcp $to 4050 "${LASTING[@]}" --interval-ms 5 \
			--source-port 30002
		flow_bg "$BATS_TEST_TMPDIR/neighbour" n1p2 tcp $to 4050 "${LASTING[@]}" --interval-ms 5
		local doomed=${PIDS[-2]} neighbour=${PIDS[-1]}
		wait_until 5 flow_active n1 30002
		wait_until 5 flow_active n2 30002
		"$BED" pod-del n1 3
		stop "$doomed" KILL
		# Retransmissions, if any, happen now.
		sleep 0.3
		finish "$neighbour"
		check "$(<"$BATS_TEST_TMPDIR/neighbour")" ".broken == 0 and .stall_ms < 150 * $XM_SLOW"
		run ! pod_attached n1 $address
	done
	"$BED" pod-add n1 3
	wait_until 5 pod_attached n1 $address
	serve n1p3 tcp 4051
	counters_mark n1 n2
	flow $to tcp n1p3 4051 --rounds 1000
	[ "$(fast_permille n1)" -ge 950 ]
	[ "$(fast_permille n2)" -ge 950 ]
	inside n1p3 ping -q -c 1 -W 2 "$(ip_of n1p2)"
	stop_all
	"$BED" pod-del n1 3
}

# ---- the tunnel's own checksums ---------------------------------------------------------

@test "a tunnel without outer UDP checksums stays without, labels and all" {
	local file=$BATS_TEST_TMPDIR/nic.pcap

	only_with_fast_path
	export XMASQ_BED=${XMASQ_BED}nocs
	bed_make --pods 1 --tunnel-csum off
	xmasq_up
	capture "$file" n1 nic "$WIRE_FILTER"
	serve n2p1 tcp 4060
	serve n2p1 udp 4060
	flow n1p1 tcp n2p1 4060 --sizes "$ALL_SIZES" --rounds 300 --connections 4
	flow n1p1 udp n2p1 4060 --rounds 300
	capture_end "$file"
	# Checksums are offloaded here.
	wire_format "$file" --no-checksums
	check "$REPORT" '.labelled > 0 and .masqueraded > 1000'
	[ "$(captured "$file" "udp dst port $TUNNEL_PORT and udp[6:2] != 0")" = 0 ]
	stop_all
	"$BED" down
}
