#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Where a pod's packets are met, in the mode that XM_MODE and the kernel make: programs in the right
# places, and nothing that a pod does there costs it or its node more than the acceleration.
#
#   n1p1 n1p2 --- n1 === underlay === n2 --- n2p1 n2p2
#
#   veth     tc ingress of the host-side interface
#   rpeer    tc egress of the pod's own interface, inside its namespace
#   netkit   the netkit pair itself
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own
# shellcheck disable=SC2154 # output: set by run

load lib
load daemon

HERE='1 0x584d'

setup_file()    { bed_up --pods 2; daemons_changed; }
teardown_file() { bed_down; }
setup()         { test_begin; daemons_default; }

teardown()
{
	local p

	for p in 3 4; do
		[ ! -e "/run/netns/$XMASQ_BED-n1p$p" ] || "$BED" pod-del n1 $p || :
	done
	inside out ip link del witness0 2>/dev/null || :
	inside n1p1 nft delete table ip xmtest 2>/dev/null || :
	daemons_end
	test_end
}

# add POD KIND: waits until it is attached in the mode that it has to get
add() {
	# shellcheck disable=SC2034 # pod_kind's
	KIND_OF[$1]=$2
	"$BED" pod-add "${1%p*}" "${1#*p}" --pod "$2"
	wait_until 3 pod_attached "${1%p*}" "$(ip_of "$1")"
}

# pod_mode POD MODE: says xmasqctl
pod_mode() {
	pods_are "${1%p*}" "any(.pods[]; .addrs == \"$(ip_of "$1")\" and .attached and .mode == \"$2\")"
}

# pod_is_shown NODE NAMESPACE CONDITION: once, on the overlay, and so
pod_is_shown() {
	pods_are "$1" "[.pods[] | select(.netns == \"$2\")] |
		length == 1 and all(.[]; (.attached | not) and .mode == null and ($3))"
}

# pods_of_n1_are NAMESPACES: a sorted list
pods_of_n1_are() { [ "$(ctl n1 pods -o json | jq -c '[.pods[] | .netns] | sort')" = "$1" ]; }

# where_it_should POD [MODE]
where_it_should() {
	diff <(ours_on_pod "$HERE" "$@") <(pod_programs "$1")
}

# accelerated_both POD: a TCP and a UDP flow from it to n2p1, verified at both ends, are 95 % fast
accelerated_both() {
	local proto port=4100

	for proto in tcp udp; do
		port=$((port + 1))
		serve n2p1 $proto $port
		flow_bg "$BATS_TEST_TMPDIR/$proto" "$1" $proto n2p1 $port "${LASTING[@]}" \
			--interval-ms 5 --wait-ms $((250 * XM_SLOW))
		wait_until 5 flow_active n1 $port
		wait_until 5 flow_active n2 $port
		counters_mark n1 n2
		sleep 1.5
		echo "$1 $proto: $(fast_permille n1) and $(fast_permille n2) permille"
		[ "$(fast_permille n1)" -ge 950 ]
		[ "$(fast_permille n2)" -ge 950 ]
		finish "${PIDS[-1]}"
		check "$(<"$BATS_TEST_TMPDIR/$proto")" \
			'.ok == 1 and .lost == 0 and .corrupted == 0 and .broken == 0 and .rounds > 50'
	done
	stop_all
}

# ---- what is chosen --------------------------------------------------------------------

# node_mode: sets WANT and WHY, what status has to say
node_mode() {
	local pod all_netkit=yes how=configured

	[ "$XM_MODE" != auto ] || how=auto
	for pod in n1p1 n1p2; do
		[ "$(mode_of "$(pod_kind $pod)")" = netkit ] || all_netkit=
	done
	if [ "$XM_MODE" = veth ]; then
		WANT=veth WHY=configured
	elif [ $all_netkit ]; then
		WANT=netkit WHY="$how: every pod has a netkit pair"
	elif has_rpeer; then
		WANT=rpeer WHY="$how: the kernel has bpf_redirect_rpeer()"
	else
		WANT=veth WHY="$how: the kernel lacks bpf_redirect_rpeer()"
	fi
}

# node_attach: the same of how programs are attached
node_attach() {
	local how=configured

	[ "$XM_ATTACH" != auto ] || how=auto
	if [ "$XM_ATTACH" = filter ]; then
		WANT=filter WHY=configured
	elif has_tcx; then
		WANT=tcx WHY="$how: the kernel has tcx"
	else
		WANT=filter WHY="$how: the kernel lacks tcx (Linux 6.6 and newer)"
	fi
}

@test "status says the mode and why, pods show theirs, programs are there and nowhere else" {
	local pod dev

	node_mode
	ctl n1 status | grep -F "mode"
	status_is n1 ".mode == \"$WANT\" and (.mode_reason | startswith(\"$WHY\"))"
	ctl n1 status | grep -E "^mode +$WANT \($WHY" || ctl n1 status | grep -F "$WANT ($WHY"
	node_attach
	status_is n1 ".attach == \"$WANT\" and .attach_reason == \"$WHY\""
	ctl n1 status | grep -E "^attach +$WANT " | grep -F "($WHY)"
	for pod in n1p1 n1p2 n2p1 n2p2; do
		pod_mode $pod "$(mode_of "$(pod_kind $pod)")"
		where_it_should $pod
	done
	for dev in $NICS; do
		diff <(ours_on_nic "$HERE") <(programs n1 "$dev")
	done
	for dev in lo $POD_DEV $TUNNEL_DEV; do
		[ -z "$(programs n1 "$dev")" ]
	done
	[ -z "$(programs n1p1 lo)" ]
}

@test "TCP and UDP: 95 % of a flow is fast, every byte is right" {
	accelerated_both n1p1
	accelerated_both n1p2
}

# The kernel decides, and the daemon asks it: nobody compares versions.
@test "a mode that the kernel lacks is refused by name, auto takes the best there is" {
	local mode

	stop_clean n1
	for mode in rpeer netkit; do
		if "has_$mode"; then
			XM_MODE=$mode launch n1
		else
			XM_MODE=$mode run -1 launch n1
			[[ $output == *"mode $mode is not possible: the kernel lacks "* ]]
			[ -z "$(programs n1 "$NIC")" ]
			has_none n1p1
			continue
		fi
		XM_MODE=$mode where_it_should n1p1
		stop_clean n1
	done
	XM_MODE=auto launch n1
	XM_MODE=auto where_it_should n1p1
	(XM_MODE=auto; node_mode; status_is n1 ".mode == \"$WANT\" and (.mode_reason | startswith(\"$WHY\"))")
}

# ---- what a pod may do ---------------------------------------------------------------------

@test "a pod with CAP_NET_ADMIN that removes filters on its interface costs itself acceleration at most" {
	local i end mode

	mode=$(mode_of "$(pod_kind n1p1)")
	live
	wait_until 3 all_fast n1 n2
	# Once: it is back at once. In the other modes there is nothing of ours that it could remove.
	log_mark n1
	if [ "$mode" = rpeer ] && uses_tcx; then
		# Nobody is told: the daemon looks at a pod in turn.
		inside n1p1 "$MPROG" detach eth0 egress xmasq_rpeer_egr
		wait_until 30 where_it_should n1p1
		logged n1 'warn .*were removed by somebody: attaching them again'
	elif [ "$mode" = rpeer ]; then
		inside n1p1 tc filter del dev eth0 egress
		wait_until 3 where_it_should n1p1
		logged n1 'warn .*were removed by somebody: attaching them again'
	fi
	inside n1p1 tc qdisc add dev eth0 clsact 2>/dev/null || :
	inside n1p1 tc qdisc del dev eth0 clsact
	wait_until 3 where_it_should n1p1
	wait_until 3 all_fast n1 n2

	# Over and over: the daemon looks at most once a second, and the log says so.
	log_mark n1
	end=$((${EPOCHREALTIME/./} + 3000000)) i=0
	while [ "${EPOCHREALTIME/./}" -lt $end ]; do
		inside n1p1 tc qdisc add dev eth0 clsact 2>/dev/null || :
		inside n1p1 tc filter del dev eth0 egress 2>/dev/null || :
		i=$((i + 1))
	done
	echo "$i times, $(log_new n1 | wc -l) lines"
	[ "$(log_new n1 | wc -l)" -le $((10 * XM_SLOW)) ]
	[ "$mode" = rpeer ] && ! uses_tcx || inside n1p1 tc qdisc del dev eth0 clsact
	wait_until 5 where_it_should n1p1
	wait_until 5 all_fast n1 n2
	# The kernel stops an interface while a qdisc comes or goes, with or without us: four times here.
	live_end '.stall_ms < 700 and (.lost // 0) <= 4'
}

# Something else in the pod that drops packets: that is the pod's business, and ours come first.
@test "a pod's own filter beside ours keeps running, and stays after cleanup" {
	inside n1p1 tc qdisc add dev eth0 clsact 2>/dev/null || :
	# All IPv4 packets with DSCP 0x12 are dropped.
	inside n1p1 tc filter add dev eth0 egress prio 5 handle 9 bpf da bytecode \
		"$(dsfield_filter)"
	inside n1p1 ping -q -c 1 -W 1 "$(ip_of n2p1)"
	run ! inside n1p1 ping -q -c 1 -W 1 -Q 0x48 "$(ip_of n2p1)"
	wait_until 3 pod_mode n1p1 "$(mode_of "$(pod_kind n1p1)")"
	daemons_changed
	"$BED" xmasq stop n1
	[[ $(programs n1p1 eth0) == 'egress 5 0x9 '* ]]
	run ! inside n1p1 ping -q -c 1 -W 1 -Q 0x48 "$(ip_of n2p1)"
	inside n1p1 tc qdisc del dev eth0 clsact
}

# dsfield_filter: classic BPF: TOS 0x48 (of an IPv4 packet, with Ethernet or without): drop (2),
# else: the next filter (-1). SKF_NET_OFF is the IP header.
dsfield_filter() { echo "4,48 0 0 $((0xfff00001)),21 0 1 72,6 0 0 2,6 0 0 $((0xffffffff))"; }

@test "a pod's marks change nothing on the fast path, and the secret one does not pass the guard" {
	local mark label

	live
	wait_until 3 all_fast n1 n2
	label=$(ctl n1 flows -o json | jq '.flows[] | select(.dport == 4001).label')
	mark=$(/usr/bin/python3 "$NETNS/node_socket.py" mark "$(pin_dir n1)")
	[ "$mark" -gt 0 ]
	# As root of the node one may read it. With it, and with others.
	counters_mark n1 n2
	capture "$BATS_TEST_TMPDIR/nic" n1 nic "udp dst port 18477 and udp[8:4] = 0x584d4153"
	inside n1p1 /usr/bin/python3 "$NETNS/node_socket.py" marks "$(ip_of n2)" 18477 \
		$((32768 + label)) "$mark"
	[ "$(counted n1 guard)" -ge 1000 ]
	[ "$(counted n2 no-label)" = 0 ]
	[ "$(counted n2 malformed)" = 0 ]
	capture_end "$BATS_TEST_TMPDIR/nic"
	[ "$(captured "$BATS_TEST_TMPDIR/nic" '')" = 0 ]
	# All that the pod sends bears a mark, the secret one at last.
	for label in 0x4000 0xffffffff "$mark"; do
		inside n1p1 nft -f - <<-END
			table ip xmtest
			delete table ip xmtest
			table ip xmtest {
				chain out {
					type filter hook output priority 0
					meta mark set $label
				}
			}
		END
		wait_until 3 all_fast n1 n2
	done
	inside n1p1 nft delete table ip xmtest
	live_end '.stall_ms < 300 and (.lost // 0) == 0'
}

# ---- pods that go ----------------------------------------------------------------------------

# rest: what a pod must not leave behind: our programs, pins, qdiscs that are remembered, descriptors
rest() {
	bpftool -j prog | jq '[.[] | select((.name // "") | startswith("xmasq_"))] | length'
	find "$(pin_dir n1)" | sort
	wc -l <"$(state n1)/qdiscs"
	find "/proc/$(pid_of n1)/fd" -type l | wc -l
}

same_rest() {
	local now

	now=$(rest)
	[ "$now" = "$1" ] || { diff <(echo "$1") <(echo "$now") >&2; return 1; }
}
flows_gone() { flows_are n1 "all(.flows[]; .saddr != \"$1\")"; }
witness_gone() { ! inside out ip link show witness0 >/dev/null 2>&1; }

@test "a pod deleted under traffic leaves nothing, and its namespace goes" {
	local before kind address

	kind=$(pod_kind n1p1)
	address=$(ip_of n1p3)
	before=$(rest)
	for _ in 1 2 3; do
		add n1p3 "$kind"
		where_it_should n1p3
		# A link of its own that dies with the namespace, and only then.
		inside n1p3 ip link add witness1 type veth peer name witness0 netns "$XMASQ_BED-out"
		# A connection that its process left goes on for minutes, and holds the namespace.
		inside n1p3 sysctl -qw net.ipv4.tcp_orphan_retries=1
		serve n2p1 tcp 4200
		serve n2p1 udp 4201
		flow_bg "$BATS_TEST_TMPDIR/tcp" n1p3 tcp n2p1 4200 "${LASTING[@]}" --interval-ms 2
		flow_bg "$BATS_TEST_TMPDIR/udp" n1p3 udp n2p1 4201 "${LASTING[@]}" --interval-ms 2
		wait_until 5 flow_active n1 4200
		wait_until 5 flow_active n1 4201
		log_mark n1
		"$BED" pod-del n1 3
		wait_until 2 flows_gone "$address"
		# They hold the namespace until now.
		run ! witness_gone
		stop "${PIDS[-1]}" KILL
		stop "${PIDS[-2]}" KILL
		wait_until 10 witness_gone
		wait_until 3 same_rest "$before"
		run ! grep -E ' (warn|error) ' <(log_new n1)
		stop_all
	done
	wait_until 3 pod_attached n1 "$(ip_of n1p1)"
}

has_clsact() { inside "$1" tc qdisc show | grep -qw clsact; }

@test "cleanup leaves no program and no qdisc in any pod or on any interface" {
	local who

	daemons_changed
	for who in n1 n1p1 n1p2; do
		[ $who != n1 ] || has_clsact $who
	done
	inside n1 conntrack -F 2>/dev/null
	ctl n1 cleanup
	for who in n1p1 n1p2; do
		has_none $who
	done
	for who in n1 n1p1 n1p2; do
		run ! has_clsact $who
	done
	wait_until 3 run ! pid_of n1
	# The same of what a crash left behind.
	launch n1
	where_it_should n1p1
	"$BED" xmasq kill n1
	where_it_should n1p1
	xmasqd n1 --config "$(state n1)/xmasqd.yaml" --cleanup
	for who in n1p1 n1p2; do
		has_none $who
	done
	for who in n1 n1p1 n1p2; do
		run ! has_clsact $who
	done
}

# ---- other pods ------------------------------------------------------------------------------

@test "macvlan and host-local pods stay on the overlay" {
	local pod p=2 kind theirs

	# No other node's pods, nor what has nothing to do with this one.
	theirs=$(ctl n1 pods -o json | jq -c '[.pods[] | .netns] | sort')
	[[ $theirs != *"$XMASQ_BED-n1\""* && $theirs != *"$XMASQ_BED-n2"* ]]
	for kind in macvlan host-local; do
		p=$((p + 1))
		pod=n1p$p
		"$BED" pod-add n1 $p --pod $kind
		serve n2p1 tcp $((4300 + p))
		serve n2p1 udp $((4310 + p))
		counters_mark n1 n2
		flow $pod tcp n2p1 $((4300 + p)) --duration 1.5 --interval-ms 5 >"$BATS_TEST_TMPDIR/tcp"
		flow $pod udp n2p1 $((4310 + p)) --duration 1.5 --interval-ms 5 >"$BATS_TEST_TMPDIR/udp"
		jq -es 'all(.[]; .ok == 1 and .lost == 0 and .corrupted == 0)' \
			"$BATS_TEST_TMPDIR/tcp" "$BATS_TEST_TMPDIR/udp"
		[ "$(counted n1 masqueraded)" = 0 ]
		[ "$(counted n2 masqueraded)" = 0 ]
	done
	pod_is_shown n1 "$XMASQ_BED-n1p3" '.kind == "macvlan" and .ifname == "eth0" and
		.addrs == "'"$(ip_of n1p3)"'" and (.reason | startswith("macvlan on mv0: no veth or netkit pair leads into the pod"))'
	# Which name of the namespace is the pod's cannot be told: the node's is shown with it.
	pod_is_shown n1 "$XMASQ_BED-n1p4" '.kind == "" and (.reason | contains("host network"))'
	pod_is_shown n1 "$XMASQ_BED-n1" '.kind == "" and (.reason | contains("host network"))'
	# The other node has nothing to do with them.
	pods_are n2 "all(.pods[]; .netns | startswith(\"$XMASQ_BED-n1\") | not)"
	"$BED" pod-del n1 3
	"$BED" pod-del n1 4
	wait_until 3 pods_of_n1_are "$theirs"
}

@test "netkit pods, l2 and l3, beside the others" {
	local kind p=2

	if ! has_netkit; then
		# There can be none. That the mode is refused is said above.
		run ! "$BUILD/tests/tools/xmt-netkit" add xmtnk0 xmtnk1 l2
		return
	fi
	for kind in netkit-l2 netkit-l3; do
		p=$((p + 1))
		add n1p$p $kind
		pod_mode n1p$p "$(mode_of $kind)"
		where_it_should n1p$p
		accelerated_both n1p$p
		# And to a neighbour, which is nobody's business.
		inside n1p$p ping -q -c 1 -W 2 "$(ip_of n1p2)"
	done
	accelerated_both n1p1
}

# ---- from mode to mode ---------------------------------------------------------------------

@test "a daemon that is started again in another mode moves its programs, and connections live" {
	local mode modes=(auto veth) epoch

	! has_rpeer || modes=(rpeer veth rpeer auto veth)
	live
	wait_until 3 all_fast n1 n2
	epoch=$(ctl n1 status -o json | jq .epoch)
	for mode in "${modes[@]}"; do
		term n1
		XM_MODE=$mode launch n1
		XM_MODE=$mode where_it_should n1p1
		XM_MODE=$mode where_it_should n1p2
		wait_until 5 all_fast n1 n2
		[ "$(ctl n1 status -o json | jq .epoch)" = "$epoch" ]
	done
	live_end '.stall_ms < 300 and (.lost // 0) == 0'
}

# attached_as NODE WAY: so it says, and so it is
attached_as() {
	local XM_ATTACH=$2

	where_it_should "$1p1" && where_it_should "$1p2" &&
		diff <(ours_on_nic "$HERE") <(programs "$1" "$NIC") || return 1
	node_attach
	status_is "$1" ".attach == \"$WANT\" and .attach_reason == \"$WHY\""
}

@test "a daemon that is started again to attach the other way moves its programs, and connections live" {
	local way ways=(auto filter auto) epoch

	! has_tcx || ways=(filter tcx filter tcx auto)
	live
	wait_until 3 all_fast n1 n2
	epoch=$(ctl n1 status -o json | jq .epoch)
	for way in "${ways[@]}"; do
		term n1
		XM_ATTACH=$way launch n1
		attached_as n1 "$way"
		wait_until 5 all_fast n1 n2
		[ "$(ctl n1 status -o json | jq .epoch)" = "$epoch" ]
		# The kernel stops the NIC while a qdisc comes or goes. It comes with the first filters,
		# and no way from there takes it back.
		inside n1 tc qdisc show dev "$NIC" | grep -qw clsact
	done
	live_end '.stall_ms < 300 and (.lost // 0) <= 1'
	# Whoever cleans up need not know how it was.
	for way in tcx filter; do
		has_tcx || [ $way = filter ] || continue
		stop_clean n1
		XM_ATTACH=$way launch n1
		term n1 KILL
		sed -i "s/^attach: .*/attach: auto/" "$(state n1)/xmasqd.yaml"
		xmasqd n1 --config "$(state n1)/xmasqd.yaml" --cleanup
		has_none n1p1
		[ -z "$(programs n1 "$NIC")" ]
		run ! has_clsact n1
	done
}
