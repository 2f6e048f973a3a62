#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# What is on the wire between two nodes, captured on n1's NIC and read by check_pcap.py:
#
#     n1p1 ---- veth-p1 n1 eth0 =====(capture)===== eth0 n2 veth-p1 ---- n2p1
#      pod        host      NIC                      NIC      host        pod
#
# A frame's checksums are complete where it is captured only if its sender's NIC offloads
# nothing; what the pods and veths offload decides which of the kernel's kinds of checksum
# (complete, partial, a GSO packet's) the programs had to keep right.
# shellcheck disable=SC2154 # REPORT: set by wire_format

load lib

setup_file()    { bed_up --pods 2; xmasq_up; }
teardown_file() { bed_down; }
setup()         { test_begin; }
teardown()      { test_end; }

# offload on|off FEATURES PLACE...: PLACE is "n1:pod", "n1:host" or "n1:nic"
offload()
{
	local state=$1 features=$2 place node nic

	shift 2
	for place; do
		node=${place%:*}
		case ${place#*:} in
		pod)  offload_one "$state" "$features" "${node}p1" eth0 ;;
		host) offload_one "$state" "$features" "$node" "$("$BED" veth "${node}p1")" ;;
		# What is below a VLAN or a bond first: it limits what they can do.
		nic)
			for nic in "${WIRES[@]}" $NICS; do
				offload_one "$state" "$features" "$node" "$nic"
			done ;;
		esac
	done
}

offload_one()
{
	local f args=()

	for f in $2; do
		args+=("$f" "$1")
	done
	offloads "$3" "$4" "${args[@]}"
	# ethtool says nothing when a feature cannot be changed.
	for f in $2; do
		inside "$3" ethtool --json -k "$4" | jq -e --arg f "${LONG[$f]}" --argjson on \
			"$([ "$1" = on ] && echo true || echo false)" '.[0][$f].active == $on' >/dev/null ||
			{ echo "$3 $4: $f is not $1"; return 1; }
	done
}

declare -gA LONG=([tx]=tx-checksum-ip-generic [rx]=rx-checksumming [tso]=tcp-segmentation-offload
	[gso]=generic-segmentation-offload [gro]=generic-receive-offload [sg]=scatter-gather)
# What a VLAN or a bond is made of.
case ${UNDERLAY:-} in
vlan) WIRES=(eth0) ;;
bond) WIRES=(eth0 eth1) ;;
*)    WIRES=() ;;
esac
AT_EVERYWHERE=(n1:pod n2:pod n1:host n2:host n1:nic n2:nic)
AT_NICS=(n1:nic n2:nic)
AT_PODS=(n1:pod n2:pod)
EVERYTHING='rx tx tso gso gro'

# What a new veth has: all on, but GRO.
all_default()
{
	offload on 'rx tx sg tso gso' "${AT_EVERYWHERE[@]}"
	offload off gro "${AT_EVERYWHERE[@]}"
}

# traffic PORT: of all kinds, between n1p1 and n2p1, in both directions
traffic()
{
	local port=$1 proto way

	for proto in tcp udp; do
		serve n1p1 $proto "$port"
		serve n2p1 $proto "$port"
	done
	serve n2p1 udp $((port + 1)) --no-check
	start "$BATS_TEST_TMPDIR/segments" listening \
		nsenter --net="/run/netns/$XMASQ_BED-n2p1" -- "$NETNS/udp_segment.py" server $((port + 2))
	for way in n1p1:n2p1 n2p1:n1p1; do
		flow ${way%:*} tcp ${way#*:} "$port" --sizes "1,2,3,100,$((MSS - 1)),$MSS,$((MSS + 1)),9001" --rounds 64 \
			--connections 3 --half-close
		flow ${way%:*} tcp ${way#*:} "$port" --mode stream --bytes 400001
		flow ${way%:*} udp ${way#*:} "$port" --sizes "24,25,26,511,$((UDP_MAX - 1)),$UDP_MAX" --rounds 120 \
			--connections 2 | jq -es 'length == 1 and .[0].lost == 0' >/dev/null
	done
	flow n1p1 udp n2p1 $((port + 1)) --no-check --sizes 24,1401 --rounds 30 |
		jq -es 'length == 1 and .[0].lost == 0' >/dev/null
	inside n1p1 "$NETNS/udp_segment.py" client "$(ip_of n2p1)" $((port + 2))
}

# verify PORT [options of check_pcap.py]: makes traffic and checks it; sets REPORT
verify()
{
	local file=$BATS_TEST_TMPDIR/nic.pcap port=$1

	shift
	capture "$file" n1 nic "$WIRE_FILTER"
	traffic "$port"
	capture_end "$file"
	wire_format "$file" "$@"
	check "$REPORT" '.masqueraded > 2000 and .labelled > 10 and .outer_checksums > 50 and
		.checksums > 1500 and .largest <= 1500'
	# All of it on the fast path, both ways: 2 x 6 flows of flow, and 2 of the server's own.
	check "$REPORT" '[.flows[] | select((.labels | length) == 1 and (.fast | length) == 2)]
		| length == 14'
}

# ---- offloads ------------------------------------------------------------------------

@test "offloads off everywhere: every checksum on the wire is right" {
	offload off "$EVERYTHING" "${AT_EVERYWHERE[@]}"
	verify 5000
}

@test "pods leave checksums and segmentation to the NIC, which does them in software" {
	all_default
	offload off "$EVERYTHING" "${AT_NICS[@]}"
	verify 5010
}

@test "pods checksum, and nothing else is off but the NICs" {
	all_default
	offload off "$EVERYTHING" "${AT_NICS[@]}"
	offload off tx "${AT_PODS[@]}"
	verify 5020
}

@test "pods segment, but leave the checksum to the NIC" {
	all_default
	offload off "$EVERYTHING" "${AT_NICS[@]}"
	offload off 'tso gso' "${AT_PODS[@]}"
	verify 5030
}

@test "one node with offloads, the other without, either way round" {
	all_default
	offload off "$EVERYTHING" n1:pod n1:host n1:nic
	verify_one_sided 5040 n1
	all_default
	offload off "$EVERYTHING" n2:nic
	offload off tx n1:pod
	verify_one_sided 5050 n2
}

# verify_one_sided PORT NODE: only NODE's frames have checksums, and only they are segmented
verify_one_sided()
{
	local file=$BATS_TEST_TMPDIR/nic.pcap

	capture "$file" n1 nic "$WIRE_FILTER"
	traffic "$1"
	capture_end "$file"
	wire_format "$file" --from "$(ip_of "$2")"
	check "$REPORT" '.checksums > 700 and ([.flows[] | select(.fast | length == 2)] | length == 14)'
}

@test "GSO and GRO on: packets larger than the MTU cross, TCP and UDP" {
	local nic=$BATS_TEST_TMPDIR/nic.pcap pod=$BATS_TEST_TMPDIR/pod.pcap

	all_default
	offload on gro "${AT_EVERYWHERE[@]}"
	capture "$nic" n1 nic "$WIRE_FILTER"
	# The overlay takes two off the TTL: 64 came by the fast path.
	capture "$pod" n2p1 eth0 "src host $(ip_of n1p1) and ip[8] == 64 and ip[2:2] > $POD_MTU"
	traffic 5100
	capture_end "$nic" "$pod"
	wire_format "$nic" --no-checksums
	check "$REPORT" '.largest > 20000'
	[ "$(captured "$pod" tcp)" -gt 5 ]
	[ "$(captured "$pod" udp)" -ge 38 ]
	[ "$(captured "$pod" 'ip[2:2] > 20000')" -gt 5 ]
}

@test "GRO puts together what the other node's NIC has cut, before it is restored" {
	local nic=$BATS_TEST_TMPDIR/nic.pcap pod=$BATS_TEST_TMPDIR/pod.pcap

	all_default
	offload off 'tso gso' n1:nic
	offload on gro n2:nic
	capture "$nic" n1 nic "$WIRE_FILTER"
	capture "$pod" n2p1 eth0 "src host $(ip_of n1p1) and ip[8] == 64 and ip[2:2] > $POD_MTU"
	serve n2p1 tcp 5200
	flow n1p1 tcp n2p1 5200 --mode stream --bytes 20000000
	capture_end "$nic" "$pod"
	wire_format "$nic" --no-checksums
	check "$REPORT" '.largest <= 1500 and .masqueraded > 10000'
	[ "$(captured "$pod" '')" -gt 100 ]
	all_default
}

# ---- labels --------------------------------------------------------------------------

@test "each of 64 flows of a pod has a label of its own, TCP and UDP" {
	local file=$BATS_TEST_TMPDIR/nic.pcap proto

	for proto in tcp udp; do
		serve n1p2 $proto 5300
		# Many at once: room for as many short ones as the buffer has, not for some of 64 KiB.
		capture "$file" n1 nic "$WIRE_FILTER" -s 2048
		flow n2p2 $proto n1p2 5300 --connections 64 --rounds 20 >/dev/null
		capture_end "$file"
		wire_format "$file" --no-checksums
		check "$REPORT" '[.flows[] | select(.fast | length == 2) | .labels[0]]
			| length == 64 and (unique | length) == 64'
	done
}

@test "a flow keeps its label while leases come and go" {
	local file=$BATS_TEST_TMPDIR/nic.pcap

	serve n2p2 tcp 5301
	serve n2p2 udp 5301
	capture "$file" n1 nic "$WIRE_FILTER"
	flow_bg "$BATS_TEST_TMPDIR/tcp" n1p2 tcp n2p2 5301 --duration 4 --interval-ms 20
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p2 udp n2p2 5301 --duration 4 --interval-ms 20
	ends "${PIDS[-2]}" 0
	ends "${PIDS[-1]}" 0
	capture_end "$file"
	wire_format "$file" --no-checksums
	# The node with the lower address tells it, in each renewal and nowhere else. Up to ten packets
	# are those before the fast path.
	check "$REPORT" '.flows | length == 2 and
		all(.[]; (.labels | length) == 1 and all(.fast[]; . > 150) and
			all(.overlay[]; . >= 7 and . <= 19))'
}
