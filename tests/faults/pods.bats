#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Pods and their addresses: one that moves to another node, a pod restarted in place, a namespace that
# outlives its pod, twenty pods a second; and agents that have programs of their own where ours are.
# See lib.bash for the bed and load. Host routes are made here, as Calico makes them.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib

setup_file()    { faults_up; }
teardown_file() { churn_down; faults_down; }
setup()         { test_begin; }

teardown()
{
	local f

	fault_end
	for f in "$BATS_TEST_TMPDIR"/undo.*; do
		[ ! -e "$f" ] || bash "$f" >/dev/null 2>&1 || :
	done
	# What a test that failed has left.
	[ -n "${BATS_TEST_COMPLETED:-}" ] || "$BED" pod-del n2 40 >/dev/null 2>&1 || :
	[ -n "${BATS_TEST_COMPLETED:-}" ] || "$BED" pod-del n3 40 >/dev/null 2>&1 || :
}

# ---- an address that moves -----------------------------------------------------------

MOVED=10.244.2.50

# route_to NODE: everybody reaches MOVED there; pods' addresses are not translated between nodes
route_to()
{
	local n

	for n in n1 n2 n3; do
		inside $n ip route del $MOVED/32 2>/dev/null || :
	done
	[ "$1" != n2 ] || return 0
	# Another pod may have had it there; a CNI announces the new one.
	inside n3 ip neigh del $MOVED dev cni0 2>/dev/null || :
	inside n3 ip route add $MOVED/32 dev cni0
	for n in n1 n2; do
		inside $n ip route add $MOVED/32 via 10.244.3.0 dev flannel.1 onlink
	done
}

untranslated()
{
	local n t

	for n in n1 n2 n3; do
		t="nsenter --net=/run/netns/$XMASQ_BED-$n -- iptables-nft -t nat"
		$t -I FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN
		echo "$t -D FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.0.0/16 -j RETURN" \
			>>"$BATS_TEST_TMPDIR/undo.nat"
	done
}

# to_moved FILE PROTO [options]: always the same tuple
to_moved()
{
	local file=$1 proto=$2

	shift 2
	flow_bg "$file" n1p2 "$proto" $MOVED 4700 --source-port 7700 "$@"
}

# peer_of_flow NODE PORT ADDRESS: the flow with this port is on the fast path with that node
peer_of_flow()
{
	ctl "$1" flows --active -o json | jq -e --argjson p "$2" --arg a "$3" \
		'any(.flows[]; .sport == $p and .peer == $a)' >/dev/null
}

@test "a pod's address taken at once by a pod of another node" {
	local i

	fault_begin
	[ "$OVERLAY" = vxlan ] || skip "allowed: the test makes routes over a VXLAN device"
	untranslated
	for i in 1 2; do
		"$BED" pod-add n2 40 >/dev/null
		serve n2p40 udp 4700
		to_moved "$BATS_TEST_TMPDIR/old" udp "${LASTING[@]}" --interval-ms 10
		wait_until 20 peer_of_flow n1 7700 172.31.0.2
		# Both exist for a moment, as with a CNI.
		"$BED" pod-add n3 40 >/dev/null
		inside n3p40 ip -batch - <<-END
			addr flush dev eth0
			addr add $MOVED/32 dev eth0
			route add 10.244.3.1/32 dev eth0
			route add default via 10.244.3.1 dev eth0 onlink
		END
		serve n3p40 udp 4700
		counters_mark n2 n3
		# shellcheck disable=SC2153 # lib.bash's
		stop "${PIDS[-2]}"
		load_mark
		"$BED" pod-del n2 40 >/dev/null
		route_to n3
		# The same tuple, of which n3 has never heard; n1 may still have a label of n2's.
		to_moved "$BATS_TEST_TMPDIR/new" udp "${LASTING[@]}" --interval-ms 10 --wait-ms 500
		wait_until 20 peer_of_flow n1 7700 172.31.0.3
		finish "${PIDS[-1]}" || { cat "$BATS_TEST_TMPDIR/new"; false; }
		echo "# the new pod's flow: $(jq -c '{rounds, lost, errors, corrupted}' "$BATS_TEST_TMPDIR/new"); refused at n2 $(counted n2 no-label)" >&3
		check "$(cat "$BATS_TEST_TMPDIR/new")" '.errors == 0 and .broken == 0 and .corrupted == 0 and .lost <= 3'
		outcome "an address moved from n2 to n3, time $i" 1000 0
		"$BED" pod-del n3 40 >/dev/null
		route_to n2
		stop_all
	done
	load_end
}

# ---- a pod restarted in place ------------------------------------------------------

# interface_anew NODE POD-NUMBER: the pod's interface, deleted and made with the address it had
interface_anew()
{
	local node=$1 who=$1p$2 dev ip

	dev=$(host_dev "$who")
	ip=$(ip_of "$who")
	inside "$node" ip link del "$dev"
	inside "$node" ip link add "$dev" mtu "$POD_MTU" type veth peer name eth0 mtu "$POD_MTU" \
		netns "$XMASQ_BED-$who"
	inside "$node" ip link set "$dev" master cni0 up
	inside "$node" ip link set "$dev" type bridge_slave hairpin on
	inside "$who" ip -batch - <<-END
		addr add $ip/24 dev eth0
		link set eth0 up
		route add default via 10.244.${node#n}.1
	END
	inside "$node" ip neigh del "$ip" dev cni0 2>/dev/null || :
}

@test "a pod restarted in place: its processes, then its interface" {
	local i proto same

	long_form
	fault_begin
	[ "$POD_KIND" = veth ] || skip "allowed: the test makes a veth pair"
	# From processes that know nothing of those before; of UDP the same tuple at once.
	for proto in udp tcp; do
		same=()
		[ $proto = tcp ] || same=(--source-port 7600)
		for i in 1 2 3; do
			serve n2p1 $proto 4600
			flow_bg "$BATS_TEST_TMPDIR/$proto.$i" n1p1 $proto n2p1 4600 "${same[@]}" \
				"${LASTING[@]}" --interval-ms 10
			[ $i = 3 ] || wait_until 10 flow_active n1 4600
			[ $i != 3 ] || break
			kill -KILL "${PIDS[-1]}" "${PIDS[-2]}"
			wait "${PIDS[-1]}" "${PIDS[-2]}" 2>/dev/null || :
			unset 'PIDS[-1]' 'PIDS[-1]'
		done
		wait_until 15 flow_active n1 4600
		finish "${PIDS[-1]}" || { cat "$BATS_TEST_TMPDIR/$proto.3"; false; }
		check "$(cat "$BATS_TEST_TMPDIR/$proto.3")" '.errors == 0 and .broken == 0 and .corrupted == 0'
		stop_all
	done
	outcome "processes of a pod killed and started again, same tuples" 1000 0
	load_mark
	interface_anew n1 1
	outcome "n1p1's interface made anew in its namespace" 3500 300
	wait_until 10 pod_attached n1 "$(ip_of n1p1)"
	back 20
	load_end
}

@test "a namespace that outlives its pod: the next pod with its address gets everything" {
	local holder

	fault_begin
	"$BED" pod-add n2 40 >/dev/null
	serve n1p2 udp 4700
	flow n2p40 udp n1p2 4700 --source-port 7700 --rounds 100 --interval-ms 10 >/dev/null
	# Somebody keeps the namespace, and a process in it.
	start "$BATS_TEST_TMPDIR/holder" ready nsenter --net="/run/netns/$XMASQ_BED-n2p40" -- \
		sh -c 'echo ready; exec sleep 600'
	holder=${PIDS[-1]}
	"$BED" pod-del n2 40 >/dev/null
	load_mark
	"$BED" pod-add n2 40 >/dev/null
	flow n2p40 udp n1p2 4700 --source-port 7700 --rounds 150 --interval-ms 10 >"$BATS_TEST_TMPDIR/next"
	check "$(cat "$BATS_TEST_TMPDIR/next")" '.errors == 0 and .broken == 0 and .corrupted == 0 and .lost <= 1'
	alive "$holder"
	pods_are n2 "[.pods[] | select(.addrs == \"$(ip_of n2p40)\" and .attached)] | length == 1"
	"$BED" pod-del n2 40 >/dev/null
	wait_until 5 pods_are n2 "all(.pods[]; .addrs != \"$(ip_of n2p40)\")"
	# Nor do we keep any: the holder's was the last reference.
	stop "$holder"
	outcome "a namespace held open, its address reused at once" 1000 0
	load_end
}

# ---- many ----------------------------------------------------------------------------

CHURN=10

churn_ns() { echo "$XMASQ_BED-c$1"; }

# churn_round: CHURN pods made at n2 at once, three of them talk, all deleted at once
churn_round()
{
	local k pids=()

	for ((k = 0; k < CHURN; k++)); do
		echo "netns add $(churn_ns $k)"
	done | ip -batch - || return 1
	for ((k = 0; k < CHURN; k++)); do
		echo "link add churn$k mtu $POD_MTU type veth peer name eth0 mtu $POD_MTU netns $(churn_ns $k)"
		echo "link set churn$k master cni0 up"
	done | inside n2 ip -batch - || return 1
	for ((k = 0; k < CHURN; k++)); do
		ip -n "$(churn_ns $k)" -batch - <<-END || return 1
			addr add 10.244.2.$((100 + k))/24 dev eth0
			link set eth0 up
			route add default via 10.244.2.1
		END
	done
	# The address and port that the pod before had.
	for k in 0 4 8; do
		timeout 20 nsenter --net="/run/netns/$(churn_ns $k)" -- "$FLOW" client --udp \
			--host "$(ip_of n1p2)" --port 4710 --source-port 7710 --rounds 5 --interval-ms 5 \
			-o json >>"$BATS_TEST_TMPDIR/churn.$k" 3>&- &
		pids+=($!)
	done
	wait "${pids[@]}" || return 1
	for ((k = 0; k < CHURN; k++)); do
		echo "link del churn$k"
	done | inside n2 ip -batch -
	for ((k = 0; k < CHURN; k++)); do
		echo "netns del $(churn_ns $k)"
	done | ip -batch -
}

# churn_down: what an interrupted round has left
churn_down()
{
	local k

	for ((k = 0; k < CHURN; k++)); do
		[ ! -e "/run/netns/$(churn_ns $k)" ] || ip netns del "$(churn_ns $k)"
	done
}

@test "pods made and deleted by the dozen, their addresses reused at once, while others talk" {
	local seconds=300 from pods=0 pid fds

	long_form
	fault_begin
	[ "$POD_KIND" = veth ] && [[ $OVERLAY != ovs-* ]] || skip "allowed: the test makes pods of a bridge"
	pid=$(pid_of n2)
	fds=$(find "/proc/$pid/fd" -type l | wc -l)
	serve n1p2 udp 4710 --timeout $((seconds * 4 + 120))
	from=${EPOCHREALTIME/./}
	while [ $((${EPOCHREALTIME/./} - from)) -lt $((seconds * 1000000)) ]; do
		churn_round
		pods=$((pods + CHURN))
	done
	echo "# $pods pods made and deleted in $seconds s, $((pods / seconds)) a second" >&3
	[ $pods -ge $((10 * CHURN)) ]
	cat "$BATS_TEST_TMPDIR"/churn.* | jq -es 'length > 0 and all(.[]; .errors == 0 and .broken == 0 and .corrupted == 0 and .lost <= 1)' >/dev/null ||
		{ tail -n 3 "$BATS_TEST_TMPDIR"/churn.*; false; }
	outcome "$pods pods made and deleted, $((pods / seconds)) a second" 1000 0
	wait_until 10 pods_are n2 '[.pods[] | select(.attached)] | length == 2'
	wait_until 10 fds_are "$pid" "$fds"
	load_fast
	load_end
}

# fds_are PID COUNT: no more descriptors than before
fds_are() { [ "$(find "/proc/$1/fd" -type l | wc -l)" -le "$2" ]; }
