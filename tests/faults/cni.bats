#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The CNI's decisions change, conntrack is flushed or full, pods come and go, and the daemon is starved,
# while everybody talks: see lib.bash for the bed and load.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib
load ../netns/abuse

setup_file()    { faults_up; }
teardown_file() { faults_down; }
setup()         { test_begin; }

teardown()
{
	local n

	for n in n1 n2 n3; do
		policy $n clear 2>/dev/null || :
	done
	while inside n1 iptables-nft -D FORWARD -m conntrack --ctstate NEW -j DROP 2>/dev/null; do
		:
	done
	fault_end
}

@test "a policy that denies and allows live flows, many times: stopped within two leases, back after" {
	local i cap=$BATS_TEST_TMPDIR/cap

	fault_begin
	for ((i = 1; i <= ${XM_FLIPS:-2}; i++)); do
		load_mark
		policy n2 deny --from n1p1 --to n2p1
		sleep 2
		# Two leases later nothing of these connections reaches the pod any more.
		capture "$cap" n2p1 eth0 "src host $(ip_of n1p1)"
		sleep 0.4
		capture_stop "$cap"
		[ "$(captured "$cap" '')" = 0 ]
		policy n2 allow --from n1p1 --to n2p1
		# TCP's timer has doubled meanwhile.
		sleep 2
		outcome "n2 denied n1p1 - n2p1 for 2.4 s, time $i" 7000 400
	done
	back 20
	load_end
}

@test "conntrack flushed, then as if full: what it drops, the fast path does not carry for long" {
	local n

	fault_begin
	for n in n1 n2 n3; do
		inside $n conntrack -F 2>/dev/null
	done
	outcome "conntrack flushed on all nodes" 500 5
	# Its size is the machine's, not a namespace's: a rule drops what a full one would.
	inside n1 iptables-nft -I FORWARD -m conntrack --ctstate NEW -j DROP
	inside n1 conntrack -F 2>/dev/null
	sleep 2
	none_fast n1
	inside n1 iptables-nft -D FORWARD -m conntrack --ctstate NEW -j DROP
	sleep 2.5
	outcome "conntrack of n1 takes no entry for 2.3 s" 7000 900
	back 20
	load_end
}

# churn_once I: pods 20 to 29 of n2 and n3; an address that n3 gives up is n3's own next one's
churn_once()
{
	local p=$((20 + $1 % 10))

	"$BED" pod-add n2 $p >/dev/null && "$BED" pod-add n3 $p >/dev/null || return 1
	# It talks at once, to whom the one before it talked, from the same port.
	timeout 3 nsenter --net="/run/netns/$XMASQ_BED-n2p$p" -- "$FLOW" client --udp --host "$(ip_of n1p2)" \
		--port 4700 --source-port 7700 --rounds 15 --interval-ms 10 -o json >>"$BATS_TEST_TMPDIR/churn" || return 1
	"$BED" pod-del n2 $p >/dev/null && "$BED" pod-del n3 $p >/dev/null
}

@test "pods made and deleted all the time, addresses reused at once, while others talk" {
	local i end

	fault_begin
	serve n1p2 udp 4700
	end=$((SECONDS + ${XM_CHURN_S:-6}))
	for ((i = 0; SECONDS < end; i++)); do
		churn_once $((i % 3))
	done
	echo "# $((4 * i)) pods made or deleted in ${XM_CHURN_S:-6} s" >&3
	[ "$i" -ge 5 ]
	# Node 1 may still send one by the label of the address's owner before: refused, and said so.
	jq -es 'all(.[]; .errors == 0 and .broken == 0 and .corrupted == 0 and .lost <= 1)' \
		"$BATS_TEST_TMPDIR/churn" >/dev/null || { tail -n 3 "$BATS_TEST_TMPDIR/churn"; false; }
	outcome "churn of pods" 500 0
	wait_until 10 only_two n2
	load_fast
	load_end
}

only_two() { pods_are "$1" '[.pods[] | select(.attached)] | length == 2'; }

@test "a pod's interface renamed" {
	local dev

	long_form
	fault_begin
	dev=$(host_dev n1p1)
	inside n1 ip link set "$dev" down
	inside n1 ip link set "$dev" name xmrenamed
	inside n1 ip link set xmrenamed up
	outcome "the interface of n1p1 renamed" 2500 150
	back 15
	inside n1 ip link set xmrenamed down
	inside n1 ip link set xmrenamed name "$dev"
	inside n1 ip link set "$dev" up
	back 15
	load_end
}

@test "the daemon stopped for a while, and deaf: events beyond what netlink keeps" {
	local pid i

	fault_begin
	pid=$(pid_of n2)
	daemons_changed
	kill -STOP "$pid"
	for ((i = 0; i < 2000; i++)); do
		echo "link add xmd$((i % 50)) type dummy"
		echo "link del xmd$((i % 50))"
	done >"$BATS_TEST_TMPDIR/batch"
	inside n2 ip -force -batch "$BATS_TEST_TMPDIR/batch" >/dev/null 2>&1 || :
	"$BED" pod-add n2 30 >/dev/null
	wait_until 5 peer_is n1 n2 down
	sleep "${XM_STOP_S:-1}"
	log_mark n2
	kill -CONT "$pid"
	back 20
	wait_until 10 pod_attached n2 "$(ip_of n2p30)"
	outcome "n2's daemon stopped, with 4000 netlink events meanwhile" 500 20
	"$BED" pod-del n2 30 >/dev/null
	load_end
}

@test "no memory for the daemon: it lives, and what was fast stays so" {
	local pid before

	fault_begin
	pid=$(pid_of n1)
	daemons_changed
	before=$(counter n1 masqueraded)
	# Not a byte more for the daemon: an allocation that fails must not end it, nor the traffic.
	prlimit --pid "$pid" --as=$(($(awk '/^VmSize/ { print $2 }' "/proc/$pid/status") * 1024)):unlimited
	ctl n1 flows --active -o json >/dev/null 2>&1 || :
	sleep 2
	alive "$pid"
	outcome "n1's daemon without memory for 2 s" 300 0
	prlimit --pid "$pid" --as=unlimited:unlimited
	load_fast
	[ "$(counter n1 masqueraded)" -gt "$before" ]
	load_end
}
