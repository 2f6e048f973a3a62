#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The daemon as an operator meets it: pods that come and go, programs where they belong and
# nowhere else, a node as it was after cleanup, reload.
#
#   n1p1 --- n1 === underlay === n2 --- n2p1
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own
# shellcheck disable=SC2154 # output: set by run

load lib
load daemon

setup_file()    { bed_up --pods 1; daemons_changed; }
teardown_file() { bed_down; }
setup()         { test_begin; daemons_default; }

teardown()
{
	local node p

	for p in 2 3 4 5 6; do
		"$BED" pod-del n1 $p 2>/dev/null || :
	done
	burst_remove 2>/dev/null || :
	[ -n "${BATS_TEST_COMPLETED:-}" ] || neighbours_leave 2>/dev/null
	for node in n1 n2; do
		inside "$node" sysctl -qw "$RESERVED="
	done
	daemons_end
	test_end
}

# ---- pods ---------------------------------------------------------------------------

@test "a pod is attached within 100 ms of appearing" {
	local p took

	for p in 2 3 4 5 6; do
		"$BED" pod-add n1 $p
		wait_until 2 pod_attached n1 "$(ip_of n1p$p)"
	done
	# The middle one of five: the machine may be busy with something else.
	took=$(ctl n1 pods -o json | jq '[.pods[] | select(.ifname | test("^(veth|nk)-p[2-6]$"))
		| .attach_us] | sort | .[2]')
	echo "$took us"
	[ "$took" -gt 0 ]
	[ "$took" -lt $((100000 * XM_SLOW)) ]
}

gone_from_flows() { flows_are "$1" "all(.flows[]; .saddr != \"$2\")"; }

@test "a pod's flows go with it, and the next pod with its address starts clean" {
	local address

	serve n2p1 tcp 4000
	serve n2p1 udp 4001
	for _ in 1 2 3; do
		"$BED" pod-add n1 2
		address=$(ip_of n1p2)
		# The very same tuples again.
		flow_bg "$BATS_TEST_TMPDIR/tcp" n1p2 tcp n2p1 4000 "${LASTING[@]}" --interval-ms 5 \
			--source-port 40000
		flow_bg "$BATS_TEST_TMPDIR/udp" n1p2 udp n2p1 4001 "${LASTING[@]}" --interval-ms 5 \
			--source-port 40001
		wait_until 5 both_active n1
		wait_until 5 both_active n2
		log_mark n1
		log_mark n2
		"$BED" pod-del n1 2
		wait_until 1 gone_from_flows n1 "$address"
		stop "${PIDS[-1]}" KILL
		stop "${PIDS[-2]}" KILL
		pods_are n1 "all(.pods[]; .addrs != \"$address\")"
		log_new n1
		[ "$(log_new n1 | wc -l)" -le 2 ]
		[ "$(log_new n2 | wc -l)" -le 1 ]
	done
}

# readdress POD ADDRESS
readdress() {
	inside "$1" ip addr flush dev eth0
	if with_ethernet; then
		inside "$1" ip addr add "$2/24" dev eth0
		inside "$1" ip route add default via 10.244.1.1
	else
		inside "$1" ip addr add "$2/32" dev eth0
		inside "$1" ip route add default dev eth0
		inside n1 ip route replace "$2/32" dev "$(host_dev "$1")"
	fi
}

@test "an address that is changed inside the pod is followed" {
	"$BED" pod-add n1 2
	wait_until 2 pod_attached n1 10.244.1.12
	readdress n1p2 10.244.1.99
	wait_until 2 pod_attached n1 10.244.1.99
	# Open vSwitch lets a pod send from its own address only.
	[[ $OVERLAY != ovs-* ]] || return 0
	serve n2p1 tcp 4000
	serve n2p1 udp 4001
	flow_bg "$BATS_TEST_TMPDIR/tcp" n1p2 tcp n2p1 4000 "${LASTING[@]}" --interval-ms 5
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p2 udp n2p1 4001 "${LASTING[@]}" --interval-ms 5
	wait_until 5 both_active n1
	flows_are n1 "any(.flows[]; .saddr == \"10.244.1.99\" and .pod_ifname == \"$P2\")"
	wait_until 3 all_fast n1 n2
}

# burst_make: 30 veth pods in the time of few
burst_make()
{
	local p master="master $POD_DEV"

	# A port of Open vSwitch is another matter, and not what this is about.
	[[ $OVERLAY != ovs-* ]] || master=

	for ((p = 101; p <= 130; p++)); do
		ip netns add "$XMASQ_BED-n1p$p"
		ip -n "$XMASQ_BED-n1p$p" link set lo up
	done
	for ((p = 101; p <= 130; p++)); do
		echo "link add veth-p$p type veth peer name eth0 netns $XMASQ_BED-n1p$p"
		echo "link set veth-p$p $master up"
	done | inside n1 ip -batch -
	for ((p = 101; p <= 130; p++)); do
		ip -n "$XMASQ_BED-n1p$p" addr add "10.244.1.$p/24" dev eth0
		ip -n "$XMASQ_BED-n1p$p" link set eth0 up
	done
}

burst_remove()
{
	local p

	for ((p = 101; p <= 130; p++)); do
		echo "link del veth-p$p"
	done | inside n1 ip -force -batch -
	for ((p = 101; p <= 130; p++)); do
		[ ! -e "/run/netns/$XMASQ_BED-n1p$p" ] || ip netns del "$XMASQ_BED-n1p$p"
	done
}

burst_attached() { pods_are n1 "[.pods[] | select(.attached and (.addrs | test(\"\\\\.1[0-3][0-9]\$\")))] | length == $1"; }

@test "30 pods that come and go at once: all attached, nothing left, others undisturbed" {
	local before after qdiscs

	live
	qdiscs=$(wc -l <"$(state n1)/qdiscs")
	before=$(ctl n1 pods -o json | jq -c '[.pods[] | {ifname, attached}]')
	log_mark n1
	burst_make
	wait_until 5 burst_attached 30
	burst_remove
	burst_make
	burst_remove
	wait_until 5 burst_attached 0
	wait_until 5 pods_are n1 ".pods | length == $(jq length <<<"$before")"
	after=$(ctl n1 pods -o json | jq -c '[.pods[] | {ifname, attached}]')
	[ "$before" = "$after" ]
	log_new n1 | grep -E ' (warn|error) ' && false
	# What else it remembers could name a successor.
	[ "$(wc -l <"$(state n1)/qdiscs")" = "$qdiscs" ]
	all_fast n1 n2
	live_end
}

# ---- programs -----------------------------------------------------------------------

@test "programs are on pods' interfaces and the NIC, and nowhere else" {
	local dev where='1 0x584d'

	diff <(ours_on_nic "$where") <(programs n1 "$NIC")
	diff <(ours_on_pod "$where") <(pod_programs n1p1)
	for dev in lo $POD_DEV $TUNNEL_DEV; do
		[ -z "$(programs n1 "$dev")" ]
	done
	[ "$UNDERLAY" = veth ] || return 0
	# Looks like a pod's, and is a wire.
	[ -z "$(programs n1 eth1)" ]
	pod_refused n1 "$(ip_of out)" "holds the node's address"
}

# passes TOS: a ping with it; the agent takes 0x48
passes() { inside n1p1 ping -q -c 1 -W 1 -Q "$1" "$(ip_of n2p1)" >/dev/null; }

@test "other agents' filters keep running beside ours, and keep their qdisc after cleanup" {
	local ours='7 0x1234'

	"$BED" xmasq stop n1
	agent_make
	# On the NIC the agent was first; on the pod's interface the qdisc is ours.
	inside n1 tc qdisc add dev "$NIC" clsact
	agent n1 "$NIC" egress 3 0x5
	launch n1 'tc: {priority: 7, handle: 0x1234}'
	agent n1 "$P1" ingress 9 0x6
	diff <({ ours_on_pod "$ours"; echo "ingress 9 0x6 agent"; } | sort) <(pod_programs n1p1 | sort)
	peers_meet
	live
	wait_until 3 all_fast n1 n2
	passes 0
	run ! passes 0x48
	live_end

	"$BED" xmasq stop n1
	[ "$(pod_programs n1p1)" = 'ingress 9 0x6 agent' ]
	[ "$(programs n1 "$NIC")" = 'egress 3 0x5 agent' ]
	passes 0
	run ! passes 0x48
	inside n1 tc filter del dev "$P1" ingress prio 9
	inside n1 tc qdisc show dev "$NIC" | grep -q clsact
	inside n1 tc qdisc del dev "$NIC" clsact
	inside n1 tc qdisc del dev "$P1" clsact
}

@test "another agent's filter in our place: refused by name, the rest attached, taken when free" {
	# Where a pod's packets are met is another place in each mode; where deliveries are observed is
	# not, and in the better modes the host side stands in for a place that is taken.
	# In tcx there is room for everybody.
	local dir=egress prio=65520 key='tc\.observe_priority'

	[ "$(mode_of "$(pod_kind n1p2)")" != veth ] || uses_tcx || dir=ingress prio=1 key='tc\.priority'
	agent_make
	"$BED" pod-add n1 2
	"$BED" xmasq stop n1
	inside n1 tc qdisc add dev "$P2" clsact
	agent n1 "$P2" $dir $prio 0x584d
	launch n1
	: >"$BATS_TEST_TMPDIR/log.n1"
	logged n1 "error cannot attach to pod $P2: priority $prio handle 0x584d is taken by bpf program \"agent\""
	logged n1 "$P2.*change $key"
	# It does not try again and again, which would show here, too.
	run timeout 0.5 nsenter --net="/run/netns/$XMASQ_BED-n1" tc monitor
	[ "${#lines[@]}" -le 10 ]
	[ "$(pod_programs n1p2)" = "$dir $prio 0x584d agent" ]
	pod_attached n1 "$(ip_of n1p1)"
	has_ours n1 "$NIC"
	pod_refused n1 "$(ip_of n1p2)" 'see the log'
	inside n1 tc filter del dev "$P2" $dir prio $prio
	wait_until 6 pod_attached n1 "$(ip_of n1p2)"
	"$BED" xmasq stop n1
	# Made by the agent, not by us.
	inside n1 tc qdisc show dev "$P2" | grep -q clsact
}

@test "a qdisc deleted by hand is back within 1 s, on a pod's interface and on the NIC" {
	local dev

	live
	for dev in "$P1" "$NIC"; do
		log_mark n1
		if [ "$dev" = "$NIC" ] && uses_tcx; then
			# Nothing of ours is in a qdisc there.
			run ! inside n1 tc qdisc del dev "$dev" clsact
			inside n1 tc qdisc add dev "$dev" clsact
			inside n1 tc qdisc del dev "$dev" clsact
			has_ours n1 "$dev"
			all_fast n1 n2
			run ! logged n1 'by somebody'
			continue
		fi
		inside n1 tc qdisc del dev "$dev" clsact
		wait_until 1 has_ours n1 "$dev"
		logged n1 "warn  programs of $dev were removed by somebody"
		wait_until 4 all_fast n1 n2
	done
	live_end
}

@test "filters deleted or replaced by hand are back within 1 s" {
	agent_make
	inside n1 tc filter del dev "$P1" egress prio 65520
	wait_until 1 has_ours n1 "$P1"
	uses_tcx || inside n1 tc filter del dev "$NIC" ingress
	wait_until 1 has_ours n1 "$NIC"
}

# No event tells of it; the daemon looks every 5 s.
@test "programs detached from tcx by hand are back within 7 s" {
	has_tcx || skip "allowed: this kernel has no tcx"
	log_mark n1
	if ! uses_tcx; then
		[ -z "$(inside n1 "$MPROG" list "$NIC")" ]
		return
	fi
	inside n1 "$MPROG" detach "$NIC" egress xmasq_nic_egres
	run ! has_ours n1 "$NIC"
	wait_until 7 has_ours n1 "$NIC"
	logged n1 "warn  programs of $NIC were removed by somebody"
	[ "$(mode_of "$(pod_kind n1p1)")" = veth ] || return 0
	inside n1 "$MPROG" detach "$P1" ingress xmasq_pod_egres
	wait_until 7 has_ours n1 "$P1"
}

# tcx_is INTERFACE DIRECTION NAME...: these programs are in tcx there, in this order; ours only if ours
# are in tcx at all
tcx_is()
{
	local dev=$1 dir=$2 name

	shift 2
	diff <(for name; do
		[[ $name != xmasq_* ]] || uses_tcx || continue
		kernel_name "tcx $dir $name"
	done) <(inside n1 "$MPROG" list "$dev" | grep "^tcx $dir ")
}

# neighbours_are OURS-ON-THE-NIC OURS-ON-THE-POD: other agents' programs are around them
neighbours_are()
{
	tcx_is "$NIC" egress before ${1:+"$1"} behind &&
		tcx_is "$P1" ingress before ${2:+"$2"} behind
}

neighbours_leave()
{
	local who

	for who in before behind; do
		inside n1 "$MPROG" detach "$NIC" egress $who || :
		inside n1 "$MPROG" detach "$P1" ingress $who || :
	done
}

@test "other agents' programs in tcx keep running before and behind ours, in their order" {
	local nic=xmasq_nic_egress pod='' step

	has_tcx || skip "allowed: this kernel has no tcx"
	[ "$(mode_of "$(pod_kind n1p1)")" != veth ] || pod=xmasq_pod_egress
	stop_clean n1
	inside n1 "$MPROG" attach "$NIC" egress last behind
	inside n1 "$MPROG" attach "$P1" ingress last behind 0x48
	launch n1
	# Ours are in front of what they found there.
	tcx_is "$NIC" egress $nic behind
	tcx_is "$P1" ingress ${pod:+"$pod"} behind
	inside n1 "$MPROG" attach "$NIC" egress first before
	inside n1 "$MPROG" attach "$P1" ingress first before 0x4c
	peers_meet
	live
	for step in start TERM KILL reload; do
		case $step in
		TERM|KILL)	term n1 $step; launch n1 ;;
		reload)		reload n1 'pods: {exclude: [10.244.9.0/24]}' ;;
		esac
		neighbours_are $nic "$pod"
		wait_until 5 all_fast n1 n2
		passes 0
		run ! passes 0x48
		run ! passes 0x4c
	done
	live_end
	# A pod that is no longer ours; then the node.
	reload n1 'pods: {exclude: [10.244.1.11/32]}'
	wait_until 1 pod_refused n1 10.244.1.11 'excluded by pods.exclude'
	neighbours_are $nic ''
	stop_clean n1
	neighbours_are '' ''
	passes 0
	run ! passes 0x48
	run ! passes 0x4c
	neighbours_leave
}

# ---- cleanup ------------------------------------------------------------------------

# cleans COMMAND...: whatever the daemon changed on n1 is as before after COMMAND, and its
# programs are out of the kernel
cleans()
{
	local before ids id

	stop_clean n1
	inside n1 sysctl -qw "$RESERVED=8080,30000-30010"
	before=$(node_state n1)
	launch n1 "${CLEANS_CONFIG:-}"
	[ "$(sysctl_of n1 "$RESERVED")" = 8080,18477,30000-30010 ]
	[ "$(sysctl_of n1 "$LIBERAL")" = 1 ]
	has_ours n1 "$P1"
	ids=$(ctl n1 status -o json | jq '.programs[].id')
	# Connections of other tests.
	inside n1 conntrack -F 2>/dev/null
	"$@" || { echo "failed: $*"; return 1; }
	same_state "$before" || return 1
	for id in $ids; do
		wait_until 3 run -255 bpftool prog show id "$id"
	done
}

xmasqctl_cleanup()
{
	local pid

	pid=$(pid_of n1)
	run -0 ctl n1 cleanup
	wait_until 2 ended "$pid"
}

term_cleanup()
{
	term n1 "${1:-}"
	# It stayed when the daemon went.
	has_ours n1 "$P1"
	xmasqd n1 --config "$(state n1)/xmasqd.yaml" --cleanup
}

@test "xmasqctl cleanup leaves nothing behind" { cleans xmasqctl_cleanup; }

@test "xmasqd --cleanup leaves nothing behind, after SIGTERM and after SIGKILL" {
	cleans term_cleanup TERM
	cleans term_cleanup KILL
	# And once more, with nothing to do.
	xmasqd n1 --config "$(state n1)/xmasqd.yaml" --cleanup
}

# exits_clean CONFIG-LINE [OPTION]: a daemon that is told to cleans up when it is ended
exits_clean()
{
	local before

	stop_clean n1
	before=$(node_state n1)
	custom n1 "$BATS_TEST_TMPDIR/yaml" -e "s/^cleanup_on_exit.*/$1/"
	daemon n1 "$BATS_TEST_TMPDIR/yaml" "${@:2}"
	has_ours n1 "$P1"
	[ "$(sysctl_of n1 "$LIBERAL")" = 1 ]
	inside n1 conntrack -F 2>/dev/null
	if [ -n "${RELOAD:-}" ]; then
		kill -HUP "$DAEMON"
		wait_until 3 grep -q 'configuration read again' "$BATS_TEST_TMPDIR/yaml.log"
	fi
	daemon_end
	same_state "$before"
}

@test "cleanup_on_exit and --cleanup-on-exit leave nothing behind" {
	exits_clean 'cleanup_on_exit: true'
	exits_clean 'cleanup_on_exit: false' --cleanup-on-exit
}

@test "--cleanup-on-exit outlives a reload" {
	RELOAD=yes exits_clean 'cleanup_on_exit: false' --cleanup-on-exit
}

@test "sysctls that were as we want them are not put back to something else" {
	stop_clean n1
	inside n1 sysctl -qw "$LIBERAL=1"
	inside n1 sysctl -qw "$RESERVED=18000-19000"
	launch n1
	"$BED" xmasq stop n1
	[ "$(sysctl_of n1 "$LIBERAL")" = 1 ]
	[ "$(sysctl_of n1 "$RESERVED")" = 18000-19000 ]
	inside n1 sysctl -qw "$LIBERAL=0"
}

@test "--cleanup beside a running daemon is refused, and it runs on" {
	run -1 xmasqd n1 --config "$(state n1)/xmasqd.yaml" --cleanup
	[[ $output == *'another xmasqd is running'* ]]
	has_ours n1 "$P1"
	status_is n1 ".pid == $(pid_of n1)"
}

# ---- reload -------------------------------------------------------------------------

@test "reload: pods.exclude takes a live pod's flows off the fast path at once, and back" {
	live
	reload n1 'pods: {exclude: [10.244.1.11/32]}'
	wait_until 1 pod_refused n1 10.244.1.11 'excluded by pods.exclude'
	has_none n1p1
	has_ours n1 "$NIC"
	wait_until 1 none_fast n1 n2
	reload n1 'pods: {include: [10.244.1.0/28]}'
	wait_until 1 pod_attached n1 10.244.1.11
	wait_until 5 all_fast n1 n2
	reload n1 'pods: {include: [10.244.1.12/32]}'
	wait_until 1 pod_refused n1 10.244.1.11 'not in pods.include'
	reload n1
	wait_until 1 pod_attached n1 10.244.1.11
	wait_until 5 all_fast n1 n2
	live_end
}

@test "pods.include and pods.exclude hold from the start" {
	"$BED" pod-add n1 2
	relaunch n1 'pods: {include: [10.244.1.0/24], exclude: [10.244.1.12/32]}'
	pod_attached n1 10.244.1.11
	pod_refused n1 10.244.1.12 'excluded by pods.exclude'
	has_none n1p2
	# It is the address that counts, not the interface.
	readdress n1p2 10.244.1.13
	wait_until 1 pod_attached n1 10.244.1.13
}

level_is() { ctl n1 config -o json | jq -e --arg l "$1" '.log.level == $l' >/dev/null; }

@test "reload: the log level changes" {
	daemons_changed
	sed -i 's/level: info/level: error/' "$(state n1)/xmasqd.yaml"
	kill -HUP "$(pid_of n1)"
	wait_until 3 level_is error
	log_mark n1
	"$BED" pod-add n1 2
	wait_until 2 pod_attached n1 "$(ip_of n1p2)"
	[ -z "$(log_new n1)" ]
	sed -i 's/level: error/level: debug/' "$(state n1)/xmasqd.yaml"
	kill -HUP "$(pid_of n1)"
	wait_until 3 level_is debug
	"$BED" pod-del n1 2
	wait_until 2 logged n1 "info .*$P2 .*(gone|detached)"
}

@test "reload: a broken file and a key that needs a restart leave everything as it was" {
	local was

	was=$(ctl n1 config -o json)
	live
	reload n1 'pods:' '  exclude: [10.244.1.11/33]'
	logged n1 "error $(state n1)/xmasqd\.yaml:15:13: .*old configuration stays"
	reload n1 'pods: {exclude: [10.244.1.11/32]}' 'tables: {flows: 4096}'
	logged n1 'error .*"tables\.flows" cannot change in a running daemon: restart'
	rm "$(state n1)/xmasqd.yaml"
	log_mark n1
	kill -HUP "$(pid_of n1)"
	wait_until 3 logged n1 'error .*No such file.*old configuration stays'
	[ "$was" = "$(ctl n1 config -o json)" ]
	all_fast n1 n2
	live_end '.stall_ms < 500'
}

# How programs are attached cannot change under a running daemon, and a restart is enough for it.
@test "reload: another way to attach is refused, why is said, nothing is lost; a restart takes it over" {
	local was other

	has_tcx || skip "allowed: the kernel lacks tcx, there is one way"
	other=filter
	uses_tcx || other=tcx
	was=$(programs n1 "$NIC"; programs n1 "$P1")
	live
	daemons_changed
	sed -i "s/^attach: .*/attach: $other/" "$(state n1)/xmasqd.yaml"
	log_mark n1
	kill -HUP "$(pid_of n1)"
	wait_until 3 logged n1 'error .*xmasqd\.yaml: "attach" cannot change in a running daemon: restart it; the old configuration stays in force'
	# What is shown is what is in force.
	[ "$(ctl n1 config -o json | jq -r .attach)" = "$XM_ATTACH" ]
	[ "$was" = "$(programs n1 "$NIC"; programs n1 "$P1")" ]
	all_fast n1 n2
	# The next good file is read as if that had not been.
	sed -i "s/^attach: .*/attach: $XM_ATTACH/" "$(state n1)/xmasqd.yaml"
	log_mark n1
	kill -HUP "$(pid_of n1)"
	wait_until 3 logged n1 'configuration read again'
	live_end '.stall_ms < 500 and (.lost // 0) == 0'
	live
	term n1
	XM_ATTACH=$other launch n1
	[ "$was" != "$(programs n1 "$NIC"; programs n1 "$P1")" ]
	XM_ATTACH=$other has_ours n1 "$NIC"
	XM_ATTACH=$other has_ours n1 "$P1"
	wait_until 5 all_fast n1 n2
	# The kernel stops the NIC while a qdisc comes, as it does with the first filters.
	live_end '.stall_ms < 500 and (.lost // 0) <= 1'
}

# Nodes may see each other's namespaces: here they do, and where a node is a container.
@test "a node's daemon leaves another node's programs alone" {
	log_mark n1
	"$BED" xmasq stop n2
	xmasq_start n2
	wait_until 5 peer_is n1 n2 up
	run ! grep 'by somebody' <(log_new n1)
}
