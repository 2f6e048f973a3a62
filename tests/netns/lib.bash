# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# lib.bash - what the netns tests share: a bed for each file, traffic, counters, captures.
#
#   load lib                                         bats's way of sourcing it
#   setup_file()    { bed_up --pods 1; xmasq_up; }
#   teardown_file() { bed_down; }
#   setup()         { test_begin; }
#   teardown()      { test_end; }
#
# The bed of tests/netns/nat.bats is called "xmtnat": files do not disturb one another, nor
# a bed that somebody made by hand. Whatever "start" began is ended by "test_end", by pid.
# WHO is a name as testbed.sh takes it: n1, n1p1, out, sw.

# The bed and the mode are the caller's choice, so that every file runs on each of them:
#
#   XM_MODE		xmasq start --mode (default veth; netkit takes pods that are netkit-l2)
#   XM_ATTACH		xmasq start --attach (default auto)
#   XM_OVERLAY, XM_UNDERLAY, XM_POD, XM_TUNNEL_CSUM
#			testbed.sh up --overlay, --underlay, --pod, --tunnel-csum, unless the file
#			gives its own (defaults: those of testbed.sh)
#   XM_BED		first half of the beds' names (default xmt): another one for a second run of a
#			file at the same time
#   XM_SLOW		how many times slower than a real machine this one is; measured unless given
#
# What the bed has instead of literals: NIC (NICS: all of them; OUT_NIC: of "out"), POD_DEV,
# POD_MTU, MSS, UDP_MAX, TUNNEL_DEV, TUNNEL_PORT, TUNNEL_TYPE, POD_KIND, OVERLAY,
# UNDERLAY, OVERLAY_FILTER, WIRE_FILTER, INNER.

bats_require_minimum_version 1.5.0

# Debian's jq takes 30 ms to start, and the tests start it thousands of times. The same language.
jq() { gojq "$@"; }

# Neither hellos (port to port) nor probes (label 0).
MASQ_FILTER='port 18477 and not (src port 18477 and dst port 18477) and not port 32768'

# bats traces each command in each function, which takes a hundred times as long as a simple
# command does. Without that a failure still names the line of the test, not that of the function.
untraced() { set +T; }

# ---- the bed ----------------------------------------------------------------

# bed_env: names and paths; bed_up calls it
bed_env()
{
	untraced
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	export BED=$PWD/scripts/testbed.sh BUILD=${XMASQ_BUILD:-build} XMASQ_BED
	export FLOW=$BUILD/tests/tools/xmt-flow NETNS=$BATS_TEST_DIRNAME
	export XM_MODE=${XM_MODE:-veth} XM_ATTACH=${XM_ATTACH:-auto} XM_SLOW
	export MPROG=$BUILD/tests/tools/xmt-mprog
	export XM_BED=${XM_BED:-xmt}
	XMASQ_BED=$XM_BED$(basename "$BATS_TEST_FILENAME" .bats)
	unset XMASQ_TESTBED_FAIL_AT
	[ "$(id -u)" = 0 ] || { echo "needs root: sudo make check" >&2; return 1; }
	[[ -x $FLOW && -x $MPROG ]] || { echo "$FLOW or $MPROG is missing: run 'make tools'" >&2; return 1; }
	[ -n "${XM_SLOW:-}" ] || slow_measure
}

# slow_measure: sets XM_SLOW, by which bounds in time are multiplied that assume a real CPU. A loop
# that takes 1 ms there takes some 18 under emulation, and starting programs, which is what tests
# wait for most, half of that times as long. The shortest of seven, which are shorter than a time
# slice: load does not count. In a shell of its own, since bats traces this one.
slow_measure()
{
	# shellcheck disable=SC2016 # the inner shell's
	XM_SLOW=$(bash -c '
		best=1000000
		for i in 1 2 3 4 5 6 7; do
			t=${EPOCHREALTIME/./}
			for ((k = 0; k < 1000; k++)); do
				:
			done
			t=$((${EPOCHREALTIME/./} - t))
			[ $t -ge $best ] || best=$t
		done
		slow=$((best / 1000 / 2))
		[ $slow -ge 4 ] || slow=1
		[ $slow -le 20 ] || slow=20
		echo $slow')
}

# bed_up [options of testbed.sh up]: replaces what an interrupted run left
bed_up() { bed_env && bed_make "$@"; }

# bed_make [options]: the same with another name, when XMASQ_BED has been changed. The last
# option counts: the file's own comes after those of the environment.
bed_make()
{
	local pod=${XM_POD:-} options=() overlay

	# Other overlays leave no choice of the checksum.
	overlay=$(grep -oP '(^| )--overlay \K\S+' <<<"$*") || overlay=${XM_OVERLAY:-}
	[[ -n $pod || $XM_MODE != netkit ]] || pod=netkit-l2
	[ -z "${XM_OVERLAY:-}" ] || options+=(--overlay "$XM_OVERLAY")
	# One wire joins two nodes only.
	[[ -z ${XM_UNDERLAY:-} || ( $XM_UNDERLAY = veth && $* == *--nodes* ) ]] ||
		options+=(--underlay "$XM_UNDERLAY")
	[[ -z ${XM_TUNNEL_CSUM:-} || $overlay == none || $overlay == wireguard ]] ||
		options+=(--tunnel-csum "$XM_TUNNEL_CSUM")
	[ -z "$pod" ] || options+=(--pod "$pod")
	"$BED" up --replace "${options[@]}" "$@" && bed_facts
}

# bed_facts: asked for once, since each question is a process
bed_facts()
{
	local nics

	export NODES OVERLAY UNDERLAY POD_KIND POD_DEV POD_MTU TUNNEL_DEV TUNNEL_PORT TUNNEL_TYPE NIC NICS OUT_NIC
	export MSS UDP_MAX OVERLAY_FILTER WIRE_FILTER INNER
	NODES=$("$BED" get nodes)
	OVERLAY=$("$BED" get overlay)
	UNDERLAY=$("$BED" get underlay)
	POD_KIND=$("$BED" get pod)
	POD_DEV=$("$BED" get pod-dev)
	POD_MTU=$("$BED" get pod-mtu)
	TUNNEL_DEV=$("$BED" get tunnel-dev)
	TUNNEL_PORT=$("$BED" get tunnel-port)
	TUNNEL_TYPE=${OVERLAY#ovs-}
	nics=$("$BED" get nics)
	NICS=${nics//$'\n'/ }
	NIC=${NICS%% *}
	OUT_NIC=eth0
	[ "$UNDERLAY" != vlan ] || OUT_NIC=$NIC
	# TCP with timestamps; UDP.
	MSS=$((POD_MTU - 52)) UDP_MAX=$((POD_MTU - 28))
	OVERLAY_FILTER="udp port ${TUNNEL_PORT:-0}"
	WIRE_FILTER="$OVERLAY_FILTER or port 18477"
	# For filters: "udp[39$INNER]" is the protocol of the packet in the tunnel. Options of Geneve
	# come before it, in words.
	INNER=
	[ "$TUNNEL_TYPE" != geneve ] || INNER=' + ((udp[8] & 0x3f) << 2)'
}

bed_down() { "$BED" down; }
nodes()    { local i; for ((i = 1; i <= NODES; i++)); do echo "n$i"; done; }

# ---- what kernel and bed allow ------------------------------------------------

# The names of functions are in the kernel's type information; bpftool would need seconds.
has_rpeer()  { grep -qaF bpf_redirect_rpeer /sys/kernel/btf/vmlinux; }
has_netkit() { grep -qaF netkit_prog_attach /sys/kernel/btf/vmlinux; }
has_tcx()    { grep -qaF tcx_prog_attach /sys/kernel/btf/vmlinux; }

# uses_tcx: whether programs have to be in tcx here, but for the one that watches deliveries
uses_tcx() { [ "$XM_ATTACH" != filter ] && has_tcx; }

# pod_kind POD: veth, netkit-l2... KIND_OF[POD] is for pods that a test adds with "--pod"
declare -gA KIND_OF=()
pod_kind()
{
	local kind=${KIND_OF[$1]:-$POD_KIND}

	if [ "$kind" = mixed ]; then
		[ $((${1#*p} % 2)) = 1 ] && kind=veth || kind=netkit-l2
	fi
	echo "$kind"
}

# mode_of KIND: the mode that a pod of this kind has to get here: veth, rpeer, netkit, or none
mode_of()
{
	case $1 in
	netkit-*)	[ "$XM_MODE" = veth ] && echo veth || echo netkit ;;
	veth)		if [ "$XM_MODE" != veth ] && has_rpeer; then echo rpeer; else echo veth; fi ;;
	*)		echo none ;;
	esac
}

# has_fast_path: whether anything is accelerated on this bed. Others have to work as without xmasq.
has_fast_path()
{
	[[ $OVERLAY != wireguard && $OVERLAY != none && $POD_KIND != macvlan && $POD_KIND != host-local ]]
}

# only_with_fast_path: for tests that look at nothing else
only_with_fast_path()
{
	has_fast_path || skip "allowed: nothing is accelerated on a bed with $OVERLAY and $POD_KIND pods"
}

# with_ethernet: whether the pods' interfaces have MAC addresses: those of netkit's mode l3 are zero
with_ethernet() { [ "$POD_KIND" != netkit-l3 ]; }

# What follows is what "testbed.sh exec", "xmasq ctl" and "ip" do, without starting a shell for
# it: tests do it hundreds of times.

# inside WHO COMMAND...
inside() { nsenter --net="/run/netns/$XMASQ_BED-$1" -- "${@:2}"; }

# ctl NODE ARGS...: xmasqctl
ctl() { "$BUILD/xmasqctl" --socket "/run/xmasq-$XMASQ_BED/$1/xmasqd.sock" "${@:2}"; }

# xmasq_start [NODE...] [options of testbed.sh xmasq start]: in mode XM_MODE, attached as XM_ATTACH says
xmasq_start() { "$BED" xmasq start --mode "$XM_MODE" --attach "$XM_ATTACH" "$@"; }

# xmasq_up [options]: on all nodes, then until all are peers
xmasq_up()
{
	xmasq_start "$@" || return 1
	! has_fast_path || peers_meet
}

# peers_meet: nodes find each other by overlay packets between their first pods
peers_meet()
{
	local from to all

	all=$(nodes)
	for from in $all; do
		for to in $all; do
			[ "$from" = "$to" ] && continue
			inside "${from}p1" ping -q -c 1 -W 2 "$(ip_of "${to}p1")" >/dev/null || return 1
		done
	done
	for from in $all; do
		for to in $all; do
			[ "$from" = "$to" ] || wait_until 10 peer_is "$from" "$to" up || return 1
		done
	done
}

# peer_is NODE NODE STATE: what the first thinks of the second
peer_is()
{
	ctl "$1" peers -o json | jq -e --arg a "$(ip_of "$2")" --arg s "$3" \
		'any(.peers[]; .addr == $a and .state == $s)' >/dev/null
}

# ip_of WHO
ip_of()
{
	local n=${1#n}

	case $1 in
	n*p*)	echo "10.244.${n%p*}.$((10 + ${n#*p}))" ;;
	n*)	echo "172.31.0.$n" ;;
	*)	"$BED" ip "$1" ;;
	esac
}

# ---- waiting, processes -------------------------------------------------------

# wait_until SECONDS COMMAND...: polls until it succeeds; fails, and says so, when it never does.
# Seconds of a real machine.
wait_until()
{
	local limit=$(($1 * XM_SLOW))
	local end=$((${EPOCHREALTIME/./} + limit * 1000000))

	shift
	until "$@"; do
		[ "${EPOCHREALTIME/./}" -lt "$end" ] || { echo "not within $limit s: $*"; return 1; }
		sleep 0.05
	done
}

test_begin() { untraced; PIDS=(); }

# stop_all: ends what the test began so far
stop_all()
{
	local pid

	for pid in "${PIDS[@]}"; do
		stop "$pid"
	done
	PIDS=()
}

# test_end: ends what the test began; explains a failure
test_end()
{
	local node

	stop_all
	[ -z "${BATS_TEST_COMPLETED:-}" ] || return 0
	for node in $(nodes); do
		[ -d "/run/xmasq-$XMASQ_BED/$node" ] || continue
		echo "-- $node"
		{ ctl "$node" peers; ctl "$node" counters; ctl "$node" flows --limit 12; } 2>&1 || :
		tail -n 5 "/run/xmasq-$XMASQ_BED/$node/xmasqd.log" 2>/dev/null || :
	done
}

# start FILE PATTERN COMMAND...: in the background, output to FILE, until FILE has PATTERN;
# the pid is the last of PIDS. COMMAND is a program, such as "$BED" exec n1p1 -- nc -l 80: of a
# function only the shell around it would be ended.
start()
{
	local file=$1 pattern=$2

	shift 2
	: >"$file"
	# bats waits for whoever holds its descriptor 3.
	"$@" >"$file" 2>&1 3>&- &
	PIDS+=($!)
	wait_until 5 grep -q "$pattern" "$file" || { cat "$file"; return 1; }
}

# stop PID [SIGNAL]: and waits for it
stop()
{
	kill "-${2:-TERM}" "$1" 2>/dev/null || :
	# Of a test that failed with it stopped.
	kill -CONT "$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
}

# finish PID [STATUS]: an xmt-flow client that would go on; it reports what it saw
finish()
{
	kill -TERM "$1" && ends "$1" "${2:-0}"
}

# ends PID STATUS: a child of this test does ("run wait" would be in a subshell)
ends()
{
	local status=0

	wait "$1" || status=$?
	[ "$status" = "$2" ] || { echo "process $1 ended with $status, not $2"; return 1; }
}

# ---- traffic ------------------------------------------------------------------

# serve WHO tcp|udp PORT [options]: an xmt-flow server for as long as the test lasts
serve()
{
	local who=$1 proto=$2 port=$3

	shift 3
	start "$BATS_TEST_TMPDIR/server.$who.$proto.$port" listening \
		nsenter --net="/run/netns/$XMASQ_BED-$who" -- \
		"$FLOW" server "--$proto" --port "$port" --timeout $((120 * XM_SLOW)) "$@"
}

# flow WHO tcp|udp TO PORT [options]: an xmt-flow client towards pod TO; prints its report.
# Succeeds when both ends saw every byte right.
flow()
{
	flow_command "$@"
	"${FLOW_COMMAND[@]}"
}

# Options of flows that last until "finish" or "kill" ends them, however long the test takes.
# shellcheck disable=SC2034 # used by the tests, too
LASTING=(--duration 3600 --timeout 4000)

# flow_bg FILE WHO PROTO TO PORT [options]: the same in the background; pid last in PIDS
flow_bg()
{
	local file=$1

	shift
	flow_command "$@"
	"${FLOW_COMMAND[@]}" >"$file" 2>&1 3>&- &
	PIDS+=($!)
}

flow_command()
{
	local who=$1 proto=$2 to=$3 port=$4

	shift 4
	[[ $to == *.* ]] || to=$(ip_of "$to")
	FLOW_COMMAND=(nsenter "--net=/run/netns/$XMASQ_BED-$who" -- "$FLOW" client "--$proto"
		--host "$to" --port "$port" --timeout $((20 * XM_SLOW)) -o json "$@")
}

# flow_active NODE PORT [COUNT]: at least COUNT (1) flows with this port are on the fast path
flow_active()
{
	ctl "$1" flows --active -o json | jq -e --argjson p "$2" --argjson n "${3:-1}" \
		'[.flows[] | select(.sport == $p or .dport == $p)] | length >= $n' >/dev/null
}

# pod_attached NODE ADDRESS: xmasqd's programs are on the interface of the pod
pod_attached()
{
	ctl "$1" pods -o json | jq -e --arg a "$2" \
		'any(.pods[]; .attached and .addrs == $a)' >/dev/null
}

# ---- counters -------------------------------------------------------------------

# counter NODE NAME: packets so far, by the names of common/xm_reasons.h
counter()
{
	ctl "$1" counters -a -o json | jq -e --arg n "$2" '.counters[] | select(.name == $n).packets'
}

# counters_mark NODE...; then counted NODE NAME: packets since
counters_mark()
{
	local node

	for node; do
		ctl "$node" counters -a -o json >"$BATS_TEST_TMPDIR/mark.$node"
	done
}

counted()
{
	local before

	before=$(jq --arg n "$2" '.counters[] | select(.name == $n).packets' \
		"$BATS_TEST_TMPDIR/mark.$1")
	echo $(($(counter "$1" "$2") - before))
}

# late NODE...: datagrams that may be lost because the machine stood still for longer than a lease has
# slack: those that were dropped as too late. 0 on a real machine, where no such thing is excused.
late()
{
	local node sum=0

	for node in $([ "$XM_SLOW" = 1 ] || echo "$@"); do
		# Of a node without a daemon nothing is known.
		sum=$((sum + $({ counter "$node" label-expired || echo 0; } 2>/dev/null)))
		sum=$((sum + $({ counter "$node" no-label || echo 0; } 2>/dev/null)))
	done
	echo $sum
}

# fast_permille NODE: of the packets that pods of NODE sent since counters_mark, how many of a
# thousand were masqueraded
fast_permille()
{
	ctl "$1" counters -a -o json | jq -s '
		def of($k; f): [.[$k].counters[] | select(f) | .packets] | add;
		def since(f): of(1; f) - of(0; f);
		since(.name == "masqueraded") as $fast
		| since(.kind == "overlay" and .name != "none") as $slow
		| if $fast + $slow == 0 then 0 else 1000 * $fast / ($fast + $slow) | floor end' \
		"$BATS_TEST_TMPDIR/mark.$1" -
}

# ---- captures -------------------------------------------------------------------

# capture FILE WHO INTERFACE FILTER [tcpdump options]: into FILE (pcap) until capture_end FILE.
# INTERFACE "nic" is what a node has on the underlay; of several there is a file each until then.
# For one direction use "src host", since tcpdump's -Q drops packets that capture_end waits for.
declare -gA CAPTURES=() CAPTURE_FILES=() CAPTURE_POD=()
capture()
{
	local file=$1 who=$2 iface=$3 filter=$4 nic

	shift 4
	CAPTURE_FILES[$file]=$file
	if leaves_unseen "$who" "$iface" "$filter"; then
		capture_before_tc "$who" || return 1
		CAPTURE_FILES[$file]="$file.in $file.out"
		CAPTURE_POD[$file]=$who
		capture_one "$file.in" "$who" eth0 "($filter) and not src host $(ip_of "$who")" "$@" &&
			capture_one "$file.out" "$who" xmdup "($filter) and src host $(ip_of "$who")" "$@"
	elif [ "$iface" != nic ]; then
		capture_one "$file" "$who" "$iface" "$filter" "$@"
	elif [ "$NICS" = "$NIC" ]; then
		capture_one "$file" "$who" "$NIC" "$filter" "$@"
	else
		CAPTURE_FILES[$file]=
		for nic in $NICS; do
			CAPTURE_FILES[$file]+=" $file.$nic"
			capture_one "$file.$nic" "$who" "$nic" "$filter" "$@" || return 1
		done
	fi
}

# leaves_unseen WHO INTERFACE FILTER: in mode rpeer a pod's packets are gone when packet sockets would
# see them. Whether the filter wants any: tcpdump refuses one that nothing can pass.
leaves_unseen()
{
	[ "$2" = eth0 ] && [[ $1 == n*p* ]] && [ "$(mode_of "$(pod_kind "$1")")" = rpeer ] &&
		inside "$1" tcpdump -i eth0 -d "($3) and src host $(ip_of "$1")" >/dev/null 2>&1
}

# nftables' hook is before TC's: a copy of each packet goes to an interface that offloads nothing,
# for tcpdump.
capture_before_tc()
{
	capture_before_tc_end "$1" 2>/dev/null || : # of a test that failed
	inside "$1" ip link add xmdup type dummy &&
		inside "$1" ip link set xmdup arp off addrgenmode none up &&
		offloads "$1" xmdup tx off tso off gso off &&
		inside "$1" nft -f - <<-'END'
			table netdev xmdup {
				chain out {
					type filter hook egress device eth0 priority 0
					dup to xmdup
				}
			}
		END
}

capture_before_tc_end()
{
	inside "$1" nft delete table netdev xmdup
	inside "$1" ip link del xmdup
}

# -Z: tcpdump would become another user, who may not write there.
capture_one()
{
	local file=$1 who=$2 iface=$3 filter=$4

	shift 4
	start "$file.log" 'listening on' nsenter --net="/run/netns/$XMASQ_BED-$who" -- \
		tcpdump -nn -U --immediate-mode -B 65536 -Z root -i "$iface" -w "$file" "$@" "$filter"
	CAPTURES[$file]=${PIDS[-1]}
}

# capture_end FILE...: when all that was seen is in the files; fails when packets were lost
capture_end()
{
	local file part

	for file; do
		for part in ${CAPTURE_FILES[$file]}; do
			wait_until 15 capture_drained "$part" || return 1
		done
		capture_stop "$file"
		for part in ${CAPTURE_FILES[$file]}; do
			grep -qx '0 packets dropped by kernel' "$part.log" ||
				{ cat "$part.log"; return 1; }
		done
	done
}

# capture_stop FILE: at once, without what is under way
capture_stop()
{
	local part

	for part in ${CAPTURE_FILES[$1]}; do
		stop "${CAPTURES[$part]}" INT
	done
	[ -z "${CAPTURE_POD[$1]:-}" ] || capture_before_tc_end "${CAPTURE_POD[$1]}"
	# shellcheck disable=SC2086 # names without spaces
	[ "${CAPTURE_FILES[$1]}" = "$1" ] || mergecap -F pcap -w "$1" ${CAPTURE_FILES[$1]}
}

# On SIGUSR1 tcpdump tells how many packets it wrote and how many the kernel had for it; on
# SIGINT it would leave the rest behind. What came before the filter was set is counted by the
# kernel only: four reports with no progress are an end, too.
capture_drained()
{
	local report='([0-9]+) packets? captured, [0-9]+ packets? received'

	kill -USR1 "${CAPTURES[$1]}" && sleep 0.02
	tail -n 1 "$1.log" | grep -qE ' ([0-9]+) packets? captured, \1 packets? received' ||
		[ "$(grep -oE "$report" "$1.log" | tail -n 4 | uniq -c | awk '{ print $1 }')" = 4 ]
}

# captured FILE FILTER: number of packets (GSO packets count once). Counted by tcpdump: it prints
# a tunnel's packet on two lines.
captured() { tcpdump --count -nn -r "$1" "$2" 2>/dev/null | sed -n 's/ packets\?$//p'; }

# captured_permille FILE: of the pods' packets in a capture of a NIC, how many of a thousand
# are masqueraded
captured_permille()
{
	local fast slow

	fast=$(captured "$1" "$MASQ_FILTER")
	slow=$(captured "$1" "$OVERLAY_FILTER")
	[ $((fast + slow)) -gt 0 ] || { echo 0; return; }
	echo $((1000 * fast / (fast + slow)))
}

# wire_format FILE [options of check_pcap.py]: sets REPORT (JSON); fails, and says why, when a
# frame is not as it should be
# shellcheck disable=SC2034 # REPORT is the caller's
wire_format()
{
	REPORT=$("$NETNS/check_pcap.py" --overlay "$TUNNEL_TYPE:$TUNNEL_PORT" "${@:2}" "$1")
}

# check JSON CONDITION: jq's
check() { jq -e "$2" <<<"$1" >/dev/null || { printf 'not %s:\n%s\n' "$2" "$1"; return 1; }; }

# ---- policy ---------------------------------------------------------------------

# policy NODE deny|allow|clear [match]: as its CNI enforces it
policy() { "$BED" policy "$@"; }

# ---- interfaces -----------------------------------------------------------------

# offloads WHO INTERFACE FEATURE on|off...: ethtool -K, fails when one did not change
offloads()
{
	local who=$1 iface=$2

	shift 2
	inside "$who" ethtool -K "$iface" "$@" >/dev/null
}
