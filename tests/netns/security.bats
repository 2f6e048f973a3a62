#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Who may put what into a pod, and what becomes of the rest. n1 and n2 are peers, n3 is a node
# without xmasq, "out" a host that belongs to nobody; all are on one switch.
#
#   n1p1 (victim) --+                                  +-- n2p1 (victim)
#                   n1 ===+=== underlay, switch ===+=== n2
#   n1p2 (evil)   --+     |                        |   +-- n2p2
#                         n3                      out
#
# What is not tested because it cannot hold: the underlay is as trusted as the overlay's tunnel
# makes it. A host on it that can send frames with a peer's address, and that knows or guesses
# a live label (1 of 32767 for each flow, and no answer tells it), injects into that flow, as it
# injects into any pod by a VXLAN packet. The tests say what holds: an address of its own is
# never enough, and a wrong label gets nothing but NACKs to the peer, within the rate limit.
# shellcheck disable=SC2086,SC2153 # ports and labels are numbers; SENT is craft's

setup_file() {
	load lib
	bed_up --nodes 3 && xmasq_start n1 n2 && meet
}

teardown_file() {
	load lib
	bed_down
}

setup() {
	load lib
	load abuse
	test_begin
	TCP=$((4000 + 10 * BATS_TEST_NUMBER)) UDP=$((4001 + 10 * BATS_TEST_NUMBER))
	SPORT=$((6000 + BATS_TEST_NUMBER))
}

teardown() { test_end; }

meet() {
	inside n1p1 ping -q -c 1 -W 2 "$(ip_of n2p1)" >/dev/null
	wait_until 10 peer_is n1 n2 up && wait_until 10 peer_is n2 n1 up
}

both_fast() {
	flow_active n1 $TCP && flow_active n1 $UDP && flow_active n2 $TCP && flow_active n2 $UDP
}

# begin_victims: one TCP and one UDP flow between n1p1 and n2p1 until victims_fine; sets their
# labels
begin_victims() {
	serve n2p1 tcp $TCP
	serve n2p1 udp $UDP
	flow_bg "$BATS_TEST_TMPDIR/tcp" n1p1 tcp n2p1 $TCP "${LASTING[@]}" --interval-ms 10
	VICTIMS=("${PIDS[-1]}")
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 $UDP "${LASTING[@]}" --interval-ms 10 \
		--source-port $SPORT --wait-ms $((250 * XM_SLOW))
	VICTIMS+=("${PIDS[-1]}")
	wait_until 5 both_fast
	TL=$(label_of n1 n1p1 tcp $TCP)
	UL=$(label_of n1 n1p1 udp $UDP)
}

# victims_fine LOST STALL: what they sent is what arrived, with at most that disturbance (STALL in
# ms of a real machine)
victims_fine() {
	local ok=yes

	# Retransmissions, if any, happen now.
	sleep 0.5
	finish "${VICTIMS[0]}" || ok=
	finish "${VICTIMS[1]}" || ok=
	cat "$BATS_TEST_TMPDIR/tcp" "$BATS_TEST_TMPDIR/udp"
	[ $ok ]
	jq -e --argjson s "$(($2 * XM_SLOW))" '.errors == 0 and .stall_ms <= $s' "$BATS_TEST_TMPDIR/tcp"
	jq -e --argjson l "$1" '.corrupted == 0 and .duplicated == 0 and .lost <= $l' \
		"$BATS_TEST_TMPDIR/udp"
}

# node_sends NODE PROTO SPORT TO DPORT COUNT [TOS]: from a node's own socket
node_sends() {
	inside "$1" /usr/bin/python3 "$NETNS/node_socket.py" send "$2" "$3" "$(ip_of "$4")" \
		"$5" "$6" "${7:-0}"
}

# ---- the node's own traffic (invariant 4) ---------------------------------------------

@test "node traffic with the looks of masqueraded packets goes where it was going" {
	local t

	begin_victims
	sniff n1p1 n1p2 n2p1 n2p2
	for t in tcp udp; do
		start "$BATS_TEST_TMPDIR/srv.$t" listening "$BED" exec n2 -- "$FLOW" server --$t \
			--port 9000 --timeout 60
	done
	# Source ports that are live labels, and every TOS that others used as a marker.
	for t in 0 3 0xff; do
		flow n1 tcp n2 9000 --source-port $((32768 + TL)) --tos $t --rounds 30
		flow n1 tcp n2 9000 --source-port $((32768 + UL)) --tos $t --rounds 30
		flow n1 udp n2 9000 --source-port $((32768 + UL)) --tos $t --rounds 30
		flow n1 udp n2 9000 --source-port $((32768 + TL)) --tos $t --ecn 3 --rounds 30
	done >"$BATS_TEST_TMPDIR/node"
	[ "$(jq -s 'map(select(.errors == 0 and .lost == 0)) | length' "$BATS_TEST_TMPDIR/node")" = 12 ]
	# Towards ports that are live labels.
	start "$BATS_TEST_TMPDIR/srv.l" listening "$BED" exec n1 -- "$FLOW" server --udp \
		--port $((32768 + UL)) --timeout 60
	flow n2 udp n1 $((32768 + UL)) --rounds 30
	counters_mark n1 n2
	craft n1 --repeat 20 "$NIC" \
		"[to('n2')/IP(src=addr('n1'),dst=addr('n2'),tos=t)/l4(p,32768+$UL,9000)/Raw(MAGIC)
		  for t in (3,255) for p in ('tcp','udp')]"
	sniff_stop n1p1 n1p2 n2p1 n2p2
	for t in n1p1 n1p2 n2p1 n2p2; do
		unseen $t
	done
	victims_fine 0 150
}

@test "the guard drops what a node's socket sends from or to the masquerade port" {
	begin_victims
	sniff n2
	counters_mark n1 n2
	node_sends n1 udp 18477 n2 $((32768 + UL)) 10
	node_sends n1 udp $((32768 + UL)) n2 18477 10
	node_sends n1 udp 18477 n2 18477 10
	node_sends n1 tcp $((32768 + TL)) n2 18477 1
	# The SYN of the connection may be repeated.
	[ "$(counted n1 guard)" -ge 31 ]
	[ "$(counted n1 guard)" -le 35 ]
	sniff_stop n2
	unseen n2
	victims_fine 0 150
}

@test "no socket on the masquerade port gets a masqueraded packet, no stack answers one" {
	local node p

	serve n2p1 tcp $TCP
	serve n2p1 udp $UDP
	for node in n1 n2; do
		for p in tcp udp; do
			start "$BATS_TEST_TMPDIR/l.$node.$p" ready "$BED" exec $node -- \
				/usr/bin/python3 "$NETNS/node_socket.py" listen $p 18477
		done
		capture "$BATS_TEST_TMPDIR/sniff.$node" $node nic \
			"icmp or (port 18477 and tcp[tcpflags] & (tcp-rst|tcp-syn) != 0)"
	done
	counters_mark n1
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 $UDP --duration 3 --interval-ms 3
	flow n1p1 tcp n2p1 $TCP --duration 3 --interval-ms 3
	[ "$(counted n1 masqueraded)" -gt 1000 ]
	for node in n1 n2; do
		capture_stop "$BATS_TEST_TMPDIR/sniff.$node"
		[ "$(captured "$BATS_TEST_TMPDIR/sniff.$node" '')" = 0 ]
		for p in tcp udp; do
			[ "$(cat "$BATS_TEST_TMPDIR/l.$node.$p")" = ready ]
		done
	done
}

# ---- a pod that crafts packets (invariant 5) --------------------------------------------

@test "a pod's packets to a peer's masquerade port stop at its own node, whatever their looks" {
	local evil n2="'n2'" srcs e

	begin_victims
	sniff n2 n2p1 n2p2 n1p1
	counters_mark n1 n2
	# Both shapes and protocols, from its own address, another pod's, other hosts' and a
	# node's; the labels are live ones, 0 and others.
	srcs="['n1p2','n1p1','n2p1','n3','172.31.0.77','n1','n2']"
	craft n1p2 --interval-ms 0.3 eth0 \
		"[to('gw1')/f for s in $srcs for l in ($TL,$UL,0,1,32767) for f in both(s,$n2,l)]"
	e=$SENT
	# Options, hellos, probes, NACKs and RSTs; fragments of large and of minimal size.
	evil="'n1p2',$n2"
	craft n1p2 --interval-ms 0.3 eth0 \
		"[to('gw1')/f for l in ($TL,$UL) for p in ('tcp','udp') for f in
		  (masq(p,$evil,l,ip=dict(options=[IPOption_NOP()]*4)), nack($evil,l), nack($evil,l,6),
		   hello($evil), hello($evil,kind=ANSWER), probe(p,$evil),
		   masq(p,$evil,l,flags='R'), masq(p,$evil,l,False,flags='R'),
		   masq(p,$evil,l,ip=dict(tos=3)), masq(p,$evil,l,ip=dict(ttl=2)))]" \
		"[to('gw1')/f for s in (64,1000) for l in ($TL,$UL) for p in ('tcp','udp')
		  for o in (True,False) for f in fragment(masq(p,$evil,l,o,data=MAGIC*100),s)]"
	e=$((e + SENT))
	# With a VLAN tag, or two.
	if with_ethernet; then
		craft n1p2 eth0 "[to('gw1')/Dot1Q(vlan=v)/f for v in (0,1,5) for f in both($evil,$UL)]" \
			"[to('gw1')/Dot1Q(vlan=5)/Dot1Q(vlan=0)/f for f in both($evil,$UL)]"
		e=$((e + SENT))
	fi
	# To its own node, in the name of the peer.
	craft n1p2 eth0 "[to('gw1')/f for f in both('n2','n1',$UL)+both('n2','n1',$TL)]"
	echo "$e sent, guard dropped $(counted n1 guard)"
	# Fragments are put together and taken apart by the node, martians it drops itself; Open vSwitch
	# drops what a pod sends under another's address.
	e=100
	[[ $OVERLAY != ovs-* ]] || e=40
	[ "$(counted n1 guard)" -ge $e ]
	wait_until 3 both_fast
	sniff_stop n2 n2p1 n2p2 n1p1
	# Later fragments have no ports and wait there for a first one that never comes.
	unseen n2 'port 18477'
	# What comes back to a forged address is the peer's stack's answer to what SNAT took off
	# the masquerade port.
	for e in n2p1 n2p2 n1p1; do
		unseen $e 'src net 10.244.0.0/16'
	done
	[ "$(counted n2 malformed)" = 0 ]
	[ "$(counted n2 no-label)" = 0 ]
	victims_fine 2 700
}

@test "an overlay look-alike from a pod neither moves a victim's flow nor ends it" {
	local inner

	begin_victims
	sniff n1p2
	counters_mark n1 n2
	# The victim's tuples, in each direction and with flags, in packets whose outer source
	# port reads as a label; from a socket's point of view this needs no privileges.
	inner="[pod(p,a,b,s,d,flags=f) for f in 'ARSF' for p,a,b,s,d in
		(('udp','n1p1','n2p1',$SPORT,$UDP),('udp','n2p1','n1p1',$UDP,$SPORT),
		 ('tcp','n1p1','n2p1',$SPORT,$TCP),('tcp','n2p1','n1p1',$TCP,$SPORT))
		 if p == 'tcp' or f == 'A']"
	craft n1p2 --repeat 20 eth0 \
		"[to('gw1')/tunnel('n1p2','n2',i,sport=s,vtep='9') for s in ($UL,1,$TL+1) for i in $inner]"
	# A pod of n2 towards the owner.
	craft n2p2 --repeat 20 eth0 \
		"[to('gw2')/tunnel('n2p2','n1',i,sport=s,vtep='9') for s in ($UL,1,$TL+1) for i in $inner]"
	wait_until 3 both_fast
	[ "$(label_of n1 n1p1 udp $UDP)" = "$UL" ]
	[ "$(label_of n2 n2p1 udp $UDP)" = "$UL" ]
	sniff_stop n1p2
	if [[ $OVERLAY == ovs-* ]]; then
		# It takes tunnel packets from anybody and with any network's number, with or without
		# xmasq: the victim's UDP socket has got what was in them.
		finish "${VICTIMS[0]}"
		stop "${VICTIMS[1]}"
	else
		victims_fine 2 700
	fi
}

# The CNI's bridge delivers a frame to the MAC that it names; that is no evidence of whose the
# address in it is.
@test "a pod cannot draw another pod's restored packets to itself" {
	local mac stolen

	begin_victims
	mac=02:00:00:00:22:02
	if with_ethernet; then
		inside n2p2 ip link set eth0 address $mac
		# A bridge must know where that MAC is, else it floods. Open vSwitch takes no MAC but
		# the pod's own.
		inside n2p2 ping -q -c 1 -W 2 10.244.2.1 || [[ $OVERLAY == ovs-* ]]
	fi
	capture "$BATS_TEST_TMPDIR/sniff.n2p2" n2p2 eth0 "dst host $(ip_of n2p1) and inbound"
	craft n2p2 --seconds 2 --interval-ms 5 eth0 \
		"[Ether(dst='$mac',src='02:00:00:00:99:99')/pod('udp','n1p1','n2p1',$SPORT,$UDP)]"
	capture_stop "$BATS_TEST_TMPDIR/sniff.n2p2"
	# The victim's datagrams begin with xmt-flow's magic, the crafted ones do not.
	stolen=$(captured "$BATS_TEST_TMPDIR/sniff.n2p2" 'udp[8:4] = 0x44746d78')
	echo "$stolen of the victim's packets went to another pod"
	[ "$stolen" = 0 ]
	victims_fine 2 700
}

@test "a pod with CAP_NET_ADMIN: marks, addresses, MACs and routes do not pass the guard" {
	local own

	begin_victims
	counters_mark n1 n2
	sniff n2 n2p1
	# Marks: bits of kube-proxy and CNIs, small numbers, and what a tool would try first.
	inside n1p2 /usr/bin/python3 "$NETNS/node_socket.py" marks "$(ip_of n2)" 18477 \
		$((32768 + UL))
	[ "$(counted n1 guard)" -ge 1000 ]
	# It takes the victim's MAC and address, and the node's, and routes past the gateway.
	if with_ethernet; then
		own=$(mac_of n1p2)
		inside n1p2 ip link set eth0 address "$(mac_of n1p1)"
	fi
	inside n1p2 ip addr add 172.31.0.77/24 dev eth0
	! with_ethernet || inside n1p2 ip neigh replace 172.31.0.2 lladdr 02:00:ac:1f:00:02 dev eth0
	craft n1p2 eth0 "[to(g)/f for g in ('gw1','n2') for f in both('n1p2','n2',$UL)]"
	! with_ethernet || inside n1p2 ip link set eth0 address "$own"
	sniff_stop n2 n2p1
	# Behind SNAT another port than the masquerade port is an ordinary port.
	unseen n2 'port 18477'
	unseen n2p1
	inside n1p2 ip addr del 172.31.0.77/24 dev eth0
	wait_until 3 both_fast
	victims_fine 100 1500
}

@test "a pod with its neighbour's address gets nothing of the fast path and ends nothing there" {
	begin_victims
	counters_mark n1
	# Same tuple, crafted by another pod of the node.
	craft n1p2 --repeat 100 eth0 "to('gw1')/pod('udp','n1p1','n2p1',$SPORT,$UDP,MAGIC)" \
		"to('gw1')/pod('tcp','n1p1','n2p1',$SPORT,$TCP,MAGIC,flags='R')"
	[ "$(counted n1 other-pod)" -ge 100 ]
	both_fast
	# What was crafted may reach the victims by the overlay: only that they live is said here.
	finish "${VICTIMS[0]}"
	finish "${VICTIMS[1]}"
}

# ---- hosts that are no peers -------------------------------------------------------------

@test "a host that is no peer: nothing of any shape reaches a pod, nothing is answered" {
	local host nic

	begin_victims
	sniff n1p1 n2p1 n2p2
	capture "$BATS_TEST_TMPDIR/answers" out "$OUT_NIC" "src port 18477 and src host $(ip_of n2) and dst host 172.31.0.254"
	counters_mark n1 n2
	for host in out n3; do
		nic=$NIC
		[ $host != out ] || nic=$OUT_NIC
		craft $host "$nic" \
			"[to('n2')/f for l in ($TL,$UL,1,32767) for f in both('$host','n2',l)]" \
			"[to('n2')/f for f in fragment(masq('udp','$host','n2',$UL,data=MAGIC*100),64)]" \
			"[to('n2')/masq(p,'$host','n2',$UL,ip=dict(options=[IPOption_NOP()]*4))
			  for p in ('tcp','udp')]" \
			"[to('n2')/nack('$host','n2',l) for l in ($TL,$UL)]" \
			"[to('n2')/masq('tcp','$host','n2',$TL,o,flags='R') for o in (True,False)]"
	done
	capture_stop "$BATS_TEST_TMPDIR/answers"
	# A frame with an 802.1p tag only is not looked at: the node's stack gets it, and what the
	# host says there is between the two of them.
	for host in out n3; do
		nic=$NIC
		[ $host != out ] || nic=$OUT_NIC
		craft $host "$nic" \
			"[to('n2')/Dot1Q(vlan=v)/f for v in (0,5) for f in both('$host','n2',$UL)]"
	done
	# n3 is a node of the overlay that is not up.
	[ $(($(counted n2 not-peer) + $(counted n2 malformed) + $(counted n2 no-label))) -ge 20 ]
	[ "$(counted n2 flow-demoted)" = 0 ]
	sniff_stop n1p1 n2p1 n2p2
	for host in n1p1 n2p1 n2p2; do
		unseen $host
	done
	tcpdump -nnr "$BATS_TEST_TMPDIR/answers" 2>/dev/null | head -n 5
	[ "$(captured "$BATS_TEST_TMPDIR/answers" '')" = 0 ]
	victims_fine 0 150
}

@test "a peer's address with a wrong label: dropped, answered within the rate limit" {
	local labels sent seconds

	begin_victims
	sniff n2p1 n2p2
	counters_mark n2
	seconds=$SECONDS
	# Each packet is made in Python, which a slow machine must not take minutes for.
	labels="[l for l in range(1,32768,$((7 * XM_SLOW))) if l not in ($TL,$UL)]"
	craft out --seconds 2 --interval-ms 0.1 "$OUT_NIC" \
		"[to('n2')/masq(p,'n1','n2',l) for l in $labels for p in ('tcp','udp')]"
	sent=$SENT
	echo "$sent sent: $(counted n2 no-label) refused, $(counted n2 nack-sent) answered"
	[ "$sent" -gt $((10000 / XM_SLOW)) ]
	[ "$(counted n2 no-label)" -ge $((sent * 9 / 10)) ]
	[ "$(counted n2 nack-sent)" -gt 0 ]
	# 2000 in each second that was begun, also when it all takes longer than it should.
	[ "$(counted n2 nack-sent)" -le $((2000 * (SECONDS - seconds + 2))) ]
	sniff_stop n2p1 n2p2
	unseen n2p1
	unseen n2p2
	peer_is n1 n2 up
	victims_fine 20 1000
}

@test "a node whose xmasq was removed is no peer: live labels of its flows restore nothing" {
	local fast

	begin_victims
	sniff n2p1
	"$BED" xmasq stop n1
	wait_until 6 peer_is n2 n1 down
	# Still alive by the overlay, whose packets renew the lease.
	ctl n2 flows -o json | jq -c '.flows[]'
	counters_mark n2
	# No privileges and no forgery: an ordinary socket of the node, or of a pod behind SNAT.
	node_sends n1 udp $((32768 + UL)) n2 18477 10
	node_sends n1 udp 18477 n2 $((32768 + UL)) 10
	fast=$(counted n2 restored)
	xmasq_start n1
	meet
	sniff_stop n2p1
	unseen n2p1
	[ "$fast" = 0 ]
	victims_fine 10 1500
}

@test "a flood of garbage hellos: little CPU, a short log, peers stay up" {
	local pid before after lines k

	begin_victims
	pid=$(cut -d' ' -f1 "/run/xmasq-$XMASQ_BED/n2/xmasqd.pid")
	lines=$(wc -l <"/run/xmasq-$XMASQ_BED/n2/xmasqd.log")
	counters_mark n1 n2
	before=$(cpu_ticks "$pid")
	k=$(ctl n2 peers -o json | jq '.peers | length')
	craft out --seconds 3 --interval-ms 0 "$OUT_NIC" \
		"[to('n2')/f for e in range(40) for s in ('out','172.31.0.%d' % (100+e))
		  for f in (hello(s,'n2',e), hello(s,'n2',e,ANSWER), probe('tcp',s,'n2'),
		  probe('udp',s,'n2'), nack(s,'n2',$UL))]" \
		"[to('n2')/IP(src=addr('out'),dst=addr('n2'))/UDP(sport=P,dport=P)/Raw(word(k,bytes(n),v))
		  for k in range(6) for n in (0,1,80,200) for v in (0,1,2)]"
	after=$(cpu_ticks "$pid")
	echo "$SENT sent, $((after - before)) ticks, $(counted n2 control-limit) over the limit"
	[ "$SENT" -gt $((20000 / XM_SLOW)) ]
	# As many as a real machine's attacker sends in this time.
	[ "$XM_SLOW" != 1 ] || [ "$(counted n2 control-limit)" -gt 10000 ]
	[ "$(counted n2 control)" -le 15000 ]
	# 10 ms each: a sixth of a CPU.
	[ $((after - before)) -le $((50 * XM_SLOW)) ]
	[ $(($(wc -l <"/run/xmasq-$XMASQ_BED/n2/xmasqd.log") - lines)) -le 60 ]
	peer_is n1 n2 up
	peer_is n2 n1 up
	[ $(($(ctl n2 peers -o json | jq '.peers | length') - k)) -le 400 ]
	both_fast
	victims_fine 0 150
}

mac_of() { inside "$1" ip -j link show eth0 | jq -r '.[0].address'; }

cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# ---- the port ------------------------------------------------------------------------------

# The last test: it takes xmasq away.
@test "the masquerade port is reserved while xmasq runs and given back afterwards" {
	local key=net.ipv4.ip_local_reserved_ports

	"$BED" xmasq stop n1 n2
	inside n1 sysctl -qw "$key=30000-30010"
	xmasq_start n1
	[ "$(inside n1 sysctl -n $key)" = 18477,30000-30010 ]
	"$BED" xmasq stop n1
	[ "$(inside n1 sysctl -n $key)" = 30000-30010 ]
	inside n1 sysctl -qw "$key="
}
