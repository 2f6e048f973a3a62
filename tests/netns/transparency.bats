#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The receiving pod gets what the sending pod sent. Captured inside both pods and compared
# packet by packet by compare_pods.py, first over the overlay alone, then with xmasq:
#
#     n1p1 (capture) --- n1 ---- switch ---- n2 --- (capture) n2p1
#
# The pods offload nothing, so that a packet and its checksum are complete where they are
# captured. The switch is there to mark packets with CE (nftables), as a congested one would.
# shellcheck disable=SC2154 # THERE, BACK: set by exchange

load lib

setup_file()
{
	local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR pod nic way

	bed_up --nodes 3 --pods 1
	test_begin
	# The kernels of the beds have no DCTCP, and no other than reno is allowed everywhere:
	# classic ECN (RFC 3168).
	pods_sysctl net.ipv4.tcp_congestion_control=reno net.ipv4.tcp_ecn=2 net.ipv4.ip_no_pmtu_disc=0
	for pod in n1p1 n2p1; do
		offloads $pod eth0 tx off tso off gso off
		view $pod >"$BATS_FILE_TMPDIR/view.$pod"
	done
	# In mode rpeer a pod's packets reach the NIC without having passed its interface's transmission.
	for nic in $NICS; do
		offloads n1 "$nic" tx off tso off gso off
		offloads n2 "$nic" tx off tso off gso off
	done
	# Or the tunnels put segments together again, before the pods can be compared.
	offloads n1 "$TUNNEL_DEV" gro off
	offloads n2 "$TUNNEL_DEV" gro off
	serve n2p1 tcp 6000
	serve n2p1 udp 6000
	exchange tcp 6000 --rounds 20 --mss-report
	for way in "$THERE" "$BACK"; do
		check "$way" '.fast == 0 and .overlay > 20'
	done
	jq -n --argjson t "$THERE" --argjson b "$BACK" --argjson r "$REPORT" \
		'[$t.macs, $b.macs, $r.mss]' >"$BATS_FILE_TMPDIR/overlay"
	mtu_of_udp >"$BATS_FILE_TMPDIR/mtu"
	stop_all
	xmasq_up
}

teardown_file() { bed_down; }

setup()
{
	test_begin
	A=$(ip_of n1p1) B=$(ip_of n2p1)
}

teardown()
{
	inside sw nft delete table bridge congestion 2>/dev/null || :
	pods_sysctl net.ipv4.ip_no_pmtu_disc=0 net.ipv4.tcp_ecn=2
	test_end
}

# pods_sysctl NAME=VALUE...
pods_sysctl()
{
	inside n1p1 sysctl -q "$@"
	inside n2p1 sysctl -q "$@"
}

# exchange PROTO PORT [options of xmt-flow client]: n1p1 asks, n2p1 answers. What the one sent
# and the other received must be the same, both ways: sets THERE and BACK, what compare_pods.py
# saw, and REPORT, xmt-flow's
exchange()
{
	local proto=$1 port=$2 a=$BATS_TEST_TMPDIR/a.pcap b=$BATS_TEST_TMPDIR/b.pcap
	local from to

	shift 2
	from=$(ip_of n1p1)
	to=$(ip_of n2p1)
	capture "$a" n1p1 eth0 "ip host $to and $proto port $port"
	capture "$b" n2p1 eth0 "ip host $from and $proto port $port"
	REPORT=$(flow n1p1 "$proto" n2p1 "$port" "$@" 2>/dev/null)
	capture_end "$a" "$b"
	check "$REPORT" '.ok == 1 and .lost == 0 and .corrupted == 0'
	compare "$a" "$b"
}

# compare PCAP-OF-n1p1 PCAP-OF-n2p1: sets THERE and BACK
compare()
{
	local seen

	seen=$("$NETNS/compare_pods.py" "$1" "$(ip_of n1p1)" "$2" "$(ip_of n2p1)")
	{ read -r THERE; read -r BACK; } <<<"$seen"
}

# both CONDITION: holds for THERE and for BACK, and the fast path was in use
both()
{
	local way

	for way in "$THERE" "$BACK"; do
		check "$way" ".fast > 20 and ($1)"
	done
}

# view POD: what somebody in the pod sees of its network. In mode rpeer our program is in the pod, by
# its nature: a qdisc and a filter that are left out here (in tcx there are none), and are all that
# modes.bats finds there.
view()
{
	# shellcheck disable=SC2016 # the inner shell's
	inside "$1" sh -c '
		ip -d link; ip -d addr; ip rule; ip route show table all
		tc qdisc | grep -v "^qdisc clsact" || [ "$1" = rpeer ]
		if [ "$1" != rpeer ]; then
			tc qdisc | grep clsact
			tc filter show dev eth0
			for hook in ingress egress; do tc filter show dev eth0 $hook 2>&1; done
		fi
		ethtool eth0; ethtool -i eth0; ethtool -k eth0; ethtool -c eth0 2>&1; ethtool -g eth0 2>&1
		sysctl net.ipv4.conf net.core 2>/dev/null
		sysctl net.ipv4 2>/dev/null | grep -E "tcp|udp|ip_|pmtu"; nft list ruleset' - "$(mode_of "$(pod_kind "$1")")"
}

# mtu_of_udp: sizes at the edge, and whether they can be sent unfragmented
mtu_of_udp()
{
	local size

	for size in $((UDP_MAX - 1)) $UDP_MAX $((UDP_MAX + 1)); do
		if flow n1p1 udp n2p1 6000 --df --size "$size" --rounds 5 --timeout 3 >/dev/null 2>&1; then
			echo "$size ok"
		else
			echo "$size too long"
		fi
	done
}

# ---- packets ---------------------------------------------------------------------------

@test "TCP: every packet arrives as sent, and nothing else does" {
	serve n2p1 tcp 6001
	exchange tcp 6001 --sizes "1,77,$MSS,$((MSS + 1)),5000" --rounds 100
	both '.overlay >= 3 and .packets > 100'
	exchange tcp 6001 --mode duplex --bytes 300000
	both '.packets > 200'
}

@test "UDP: every packet arrives as sent, fragments too" {
	serve n2p1 udp 6002
	exchange udp 6002 --sizes "24,25,1400,$((UDP_MAX - 1)),$UDP_MAX" --rounds 100
	both '.packets >= 100'
	# Ports are in the first fragment only; the pods have no other traffic.
	local a=$BATS_TEST_TMPDIR/a.pcap b=$BATS_TEST_TMPDIR/b.pcap
	capture "$a" n1p1 eth0 "udp and host $B"
	capture "$b" n2p1 eth0 "udp and host $A"
	flow n1p1 udp n2p1 6002 --sizes 24,3000 --rounds 60 | jq -e '.lost == 0'
	capture_end "$a" "$b"
	compare "$a" "$b"
	both '.packets >= 120'
}

@test "DSCP" {
	local port=6010 tos

	for tos in 0x20 0x48 0xb8 0xfc; do
		port=$((port + 1))
		serve n2p1 tcp $port --tos $tos
		exchange tcp $port --rounds 40 --tos $tos
		both ".fast_tos == [$((tos))]"
		serve n2p1 udp $port --tos $tos
		exchange udp $port --rounds 40 --tos $tos
		both ".fast_tos == [$((tos))]"
	done
}

@test "ECN bits, beside a DSCP" {
	local port=6020 ecn

	for ecn in 0 1 2 3; do
		port=$((port + 1))
		serve n2p1 udp $port --tos 0x28 --ecn $ecn
		exchange udp $port --rounds 40 --tos 0x28 --ecn $ecn
		both ".fast_tos == [$((0x28 | ecn))]"
	done
}

@test "DF and IP ID" {
	local proto

	for proto in tcp udp; do
		serve n2p1 $proto 6030 --df
		exchange $proto 6030 --rounds 40 --df
		both '.fast_df == [true]'
	done
	pods_sysctl net.ipv4.ip_no_pmtu_disc=1
	for proto in tcp udp; do
		serve n2p1 $proto 6031
		exchange $proto 6031 --rounds 40
		both '.fast_df == [false] and .fast_ids > 20'
	done
}

@test "UDP without a checksum stays without" {
	serve n2p1 udp 6040 --no-check
	exchange udp 6040 --rounds 60 --sizes 24,801 --no-check
	both '.fast_no_checksum == .fast'
}

@test "a low TTL is no hindrance, and is not raised" {
	serve n2p1 udp 6041 --ttl 5
	exchange udp 6041 --rounds 60 --ttl 5
	both '.overlay > 0'
}

@test "MAC addresses that the pods see are those of the overlay's packets" {
	serve n2p1 tcp 6042
	exchange tcp 6042 --rounds 40
	both '.overlay > 0 and (.macs | length) == 1'
	jq -e --argjson t "$THERE" --argjson b "$BACK" '.[0] == $t.macs and .[1] == $b.macs' \
		"$BATS_FILE_TMPDIR/overlay"
}

# ---- sizes -----------------------------------------------------------------------------

@test "MSS and path MTU are the overlay's" {
	serve n2p1 tcp 6000
	serve n2p1 udp 6000
	exchange tcp 6000 --rounds 40 --size 3000 --mss-report
	both '.packets > 40'
	jq -e --argjson r "$REPORT" --argjson want "$MSS" '.[2] == $r.mss and $r.mss == $want' "$BATS_FILE_TMPDIR/overlay"
	diff "$BATS_FILE_TMPDIR/mtu" <(mtu_of_udp)
	grep -qx "$UDP_MAX ok" "$BATS_FILE_TMPDIR/mtu"
	grep -qx "$((UDP_MAX + 1)) too long" "$BATS_FILE_TMPDIR/mtu"
	# No exception with an MTU of its own was learned.
	run ! grep -w mtu <(inside n1p1 ip route get "$B"; inside n2p1 ip route get "$A")
}

# ---- congestion -------------------------------------------------------------------------

# congestion: the switch marks masqueraded packets that it may; every tenth, or the window
# never opens
congestion()
{
	inside sw nft -f - <<-END
		table bridge congestion {
			chain pass {
				type filter hook forward priority 0
				ip ecn ect0 tcp dport 18477 numgen inc mod 10 0 ip ecn set ce
				ip ecn ect0 tcp sport 18477 numgen inc mod 10 0 ip ecn set ce
				ip ecn ect0 udp dport 18477 ip ecn set ce
			}
		}
	END
}

@test "CE from the underlay reaches the pods' TCP, which answers and slows down" {
	local file=$BATS_TEST_TMPDIR/pod.pcap way client server from to

	pods_sysctl net.ipv4.tcp_ecn=1
	congestion
	for way in n1p1:n2p1 n2p1:n1p1; do
		client=${way%:*} server=${way#*:}
		from=$(ip_of "$client")
		to=$(ip_of "$server")
		serve "$server" tcp 6050
		capture "$file" "$server" eth0 'tcp port 6050'
		flow "$client" tcp "$server" 6050 --mode stream --bytes 3000000
		capture_end "$file"
		# TTL 64: by the fast path.
		[ "$(captured "$file" "src host $from and ip[8] == 64 and ip[1] & 3 == 3")" -gt 20 ]
		[ "$(captured "$file" "src host $from and ip[8] == 64 and ip[1] & 3 == 2")" -gt 100 ]
		# The receiver echoes (ECE), the sender says that it has reduced its window (CWR).
		[ "$(captured "$file" "src host $to and tcp[13] & 0x42 == 0x40")" -gt 20 ]
		[ "$(captured "$file" "src host $from and tcp[13] & 0x82 == 0x80")" -ge 2 ]
		inside "$server" nstat -asz IpExtInCEPkts | awk '/^IpExt/ { n = $2 } END { exit n <= 20 }'
	done
}

@test "CE from the underlay is in UDP packets, and only in those that asked for ECN" {
	local file=$BATS_TEST_TMPDIR/pod.pcap port=6060 ecn

	congestion
	for ecn in 0 1 2; do
		port=$((port + 1))
		serve n2p1 udp $port --ecn $ecn
		capture "$file" n2p1 eth0 "udp dst port $port and ip[8] == 64"
		flow n1p1 udp n2p1 $port --tos 0x28 --ecn $ecn --rounds 60 | jq -e '.lost == 0'
		capture_end "$file"
		# ECT(1) is not marked by this switch.
		[ "$(captured "$file" '')" -gt 30 ]
		[ "$(captured "$file" "ip[1] == $((0x28 | (ecn == 2 ? 3 : ecn)))")" = "$(captured "$file" '')" ]
	done
}

# ---- what the pod can look at --------------------------------------------------------------

@test "interfaces, routes, offloads, filters and sysctls in the pods are unchanged" {
	local pod

	serve n2p1 tcp 6070
	exchange tcp 6070 --rounds 40
	both true
	for pod in n1p1 n2p1; do
		[ "$(wc -l <"$BATS_FILE_TMPDIR/view.$pod")" -gt 100 ]
		diff "$BATS_FILE_TMPDIR/view.$pod" <(view $pod)
	done
}
