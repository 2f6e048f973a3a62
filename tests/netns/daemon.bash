# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# daemon.bash - what the tests of the daemon share, beside lib.bash.
#
#   load lib; load daemon
#   setup()    { test_begin; daemons_default; }
#   teardown() { daemons_end; test_end; }
#
# A test finds the daemons of all nodes running with the bed's own configuration, as peers. One
# that changes that calls daemons_changed, and the next test starts them anew. P1 and P2 are the
# node's interfaces to n1p1 and n1p2.

state()   { echo "/run/xmasq-$XMASQ_BED/$1"; }
pin_dir() { echo "/sys/fs/bpf/xmasq-$XMASQ_BED-$1"; }

# ---- daemons ------------------------------------------------------------------

daemons_changed() { touch "$BATS_FILE_TMPDIR/changed"; }

daemons_default()
{
	local node

	# shellcheck disable=SC2034 # for the tests
	P1=$(host_dev n1p1) P2=$(host_dev n1p2)
	for node in $(nodes); do
		pid_of "$node" >/dev/null || daemons_changed
	done
	[ -e "$BATS_FILE_TMPDIR/changed" ] || return 0
	"$BED" xmasq stop
	rm -f "$BATS_FILE_TMPDIR/changed"
	xmasq_up
}

# daemons_end: a test that failed may have left anything
daemons_end()
{
	[ -n "${BATS_TEST_COMPLETED:-}" ] || daemons_changed
	[ -z "${DAEMON:-}" ] || stop "$DAEMON"
}

# pid_of NODE: of its daemon, if it runs
pid_of()
{
	local pid

	read -r pid _ 2>/dev/null <"$(state "$1")/xmasqd.pid" && alive "$pid" && echo "$pid"
}

# alive PID: neither gone nor waiting for its parent to notice
alive() { grep -qE '^State:.[^ZX]' "/proc/$1/status" 2>/dev/null; }
ended() { ! alive "$1"; }

# term NODE [SIGNAL]: ends its daemon and leaves the datapath
term()
{
	local pid

	daemons_changed
	pid=$(pid_of "$1") && kill "-${2:-TERM}" "$pid" && wait_until 3 ended "$pid"
}

# stop_clean NODE: nothing of it is left, not even a sysctl for the sake of old connections
stop_clean()
{
	daemons_changed
	inside "$1" conntrack -F 2>/dev/null
	"$BED" xmasq stop "$1"
}

# launch NODE [LINE...]: starts its daemon with these lines added to the configuration
launch()
{
	local node=$1

	shift
	daemons_changed
	printf '%s\n' "$@" >"$BATS_TEST_TMPDIR/extra"
	xmasq_start "$node" --config-extra "$BATS_TEST_TMPDIR/extra"
}

# relaunch NODE [LINE...]: the same after a clean stop
relaunch()
{
	"$BED" xmasq stop "$1" && launch "$@"
}

# reload NODE [LINE...]: SIGHUP with these lines instead of those added before
reload()
{
	local node=$1 yaml

	shift
	daemons_changed
	yaml=$(state "$node")/xmasqd.yaml
	sed -i '/^cleanup_on_exit/q' "$yaml"
	[ $# = 0 ] || printf '%s\n' "$@" >>"$yaml"
	log_mark "$node"
	kill -HUP "$(pid_of "$node")"
	wait_until 3 logged "$node" 'configuration'
}

# custom NODE FILE [-e EXPRESSION...]: FILE gets its configuration, edited by sed
custom() { sed -e '' "${@:3}" "$(state "$1")/xmasqd.yaml" >"$2"; }

# daemon NODE FILE [options]: started by hand, log in FILE.log, pid in DAEMON, until the test ends
daemon()
{
	local node=$1 file=$2

	shift 2
	start "$file.log" ' running: ' nsenter --net="/run/netns/$XMASQ_BED-$node" -- \
		"$BUILD/xmasqd" --config "$file" "$@"
	DAEMON=${PIDS[-1]}
	unset 'PIDS[-1]'
}

# daemon_end: SIGTERM; it has to end well
daemon_end()
{
	kill "$DAEMON" && ends "$DAEMON" 0 && DAEMON=
}

# xmasqd NODE ARGS...: runs it there to its end
xmasqd() { local node=$1; shift; inside "$node" timeout -k 1 10 "$BUILD/xmasqd" "$@"; }

# ---- the log ------------------------------------------------------------------

# log_mark NODE; then logged NODE PATTERN (extended regular expression): since
log_mark() { wc -l <"$(state "$1")/xmasqd.log" >"$BATS_TEST_TMPDIR/log.$1"; }
log_new()  { tail -n "+$(($(<"$BATS_TEST_TMPDIR/log.$1") + 1))" "$(state "$1")/xmasqd.log"; }
logged()   { log_new "$1" | grep -qE -- "$2"; }

# ---- what the daemon says --------------------------------------------------------

# status_is NODE CONDITION, pods_are ..., flows_are ..., peers_are ...: jq's
status_is() { ctl "$1" status -o json | jq -e "$2" >/dev/null; }
pods_are()  { ctl "$1" pods -o json | jq -e "$2" >/dev/null; }
flows_are() { ctl "$1" flows -o json | jq -e "$2" >/dev/null; }
peers_are() { ctl "$1" peers -o json | jq -e "$2" >/dev/null; }

# pod_refused NODE ADDRESS WORDS: it is on the overlay, for this reason
pod_refused()
{
	ctl "$1" pods -o json | jq -e --arg a "$2" --arg r "$3" \
		'any(.pods[]; .addrs == $a and (.attached | not) and (.reason | contains($r)))' >/dev/null
}

# none_fast NODE...: nothing was masqueraded there for 0.3 s
none_fast()
{
	local node

	counters_mark "$@"
	sleep 0.3
	for node; do
		[ "$(counted "$node" masqueraded)" = 0 ] || return 1
	done
}

# all_fast NODE...: what pods send there is masqueraded, renewals apart
all_fast()
{
	local node

	counters_mark "$@"
	sleep 0.3
	for node; do
		[ "$(fast_permille "$node")" -ge 850 ] || return 1
	done
}

# ---- what is on interfaces ---------------------------------------------------------

# programs WHO INTERFACE: "netkit xmasq_netkit_eg" for programs of a netkit pair, "tcx ingress
# xmasq_pod_egres" for those in tcx, "ingress 1 0x584d xmasq_pod_egres" for filters; names as the
# kernel cuts them. Those of one kind in the order in which they run
programs()
{
	local dir

	inside "$1" "$MPROG" list "$2"
	for dir in ingress egress; do
		inside "$1" tc -j filter show dev "$2" "$dir" | jq -r --arg d "$dir" \
			'.[] | select(.options) | "\($d) \(.pref) \(.options.handle) \(.options.prog.name)"'
	done
}

# pod_programs POD: on its interface, at the node's end and ("inside") at its own
pod_programs()
{
	programs "${1%p*}" "$(host_dev "$1")"
	programs "$1" eth0 | sed 's/^/inside /'
}

# host_dev POD: its interface at the node's end, which may not exist
host_dev()
{
	[[ $(pod_kind "$1") == netkit-* ]] && echo "nk-p${1#*p}" || echo "veth-p${1#*p}"
}

# ours_on_pod "PRIORITY HANDLE" [POD [MODE]]: as pod_programs has them where the pod's mode puts
# them; what watches deliveries is behind all others, and so a filter in any case
ours_on_pod()
{
	local pod=${2:-n1p1} mode

	mode=${3:-$(mode_of "$(pod_kind "$pod")")}
	[ "$mode" != netkit ] || kernel_name "netkit xmasq_netkit_egress"
	[ "$mode" != veth ] || kernel_name "$(first_at ingress "$1") xmasq_pod_egress"
	kernel_name "egress 65520 ${1#* } xmasq_pod_ingress"
	[ "$mode" != rpeer ] || kernel_name "inside $(first_at egress "$1") xmasq_rpeer_egress"
}

# first_at DIRECTION "PRIORITY HANDLE": how a program of ours that comes first is attached here
first_at() { uses_tcx && echo "tcx $1" || echo "$1 $2"; }

# kernel_name WORDS: the last of them as long as the kernel keeps it
kernel_name()
{
	local name=${1##* }

	echo "${1% *} ${name:0:15}"
}

ours_on_nic()
{
	printf '%s\n' "$(first_at ingress "$1") xmasq_nic_ingre" "$(first_at egress "$1") xmasq_nic_egres"
}

# has_ours NODE INTERFACE: all of them are there; of a pod's interface on both sides
has_ours()
{
	local pod=$1p${2#*-p}

	case $2 in
	veth-p*|nk-p*)	[ "$(pod_programs "$pod")" = "$(ours_on_pod '1 0x584d' "$pod")" ] ;;
	*)		[ "$(programs "$1" "$2")" = "$(ours_on_nic '1 0x584d')" ] ;;
	esac
}

# has_none POD: nothing is there
has_none() { [ -z "$(pod_programs "$1")" ]; }

sysctl_of() { inside "$1" sysctl -n "$2"; }

LIBERAL=net.netfilter.nf_conntrack_tcp_be_liberal
RESERVED=net.ipv4.ip_local_reserved_ports

# node_state NODE: all that the daemon may change on it, except the bed's own files
node_state()
{
	local dev

	inside "$1" tc qdisc show
	for dev in $(inside "$1" ip -j link | jq -r '.[].ifname'); do
		programs "$1" "$dev"
	done
	# Mode rpeer has programs in there.
	if [ "$XM_MODE" != veth ]; then
		inside "${1}p1" tc qdisc show
		programs "${1}p1" eth0
	fi
	sysctl_of "$1" "$LIBERAL"
	sysctl_of "$1" "$RESERVED"
	find "$(state "$1")" -type f ! -name 'xmasqd.*' -o -name '*.sock' -o -name '*.tmp'
	find /sys/fs/bpf -path "$(pin_dir "$1")*"
}

# wire NODE SECONDS FILE FILTER: what passes its NICs meanwhile
wire()
{
	capture "$3" "$1" nic "$4" || return 1
	sleep "$2"
	capture_stop "$3"
}

# same_state TEXT: n1 is as node_state said
same_state()
{
	local now

	now=$(node_state n1)
	diff <(echo "$1") <(echo "$now")
}

# ---- other agents ---------------------------------------------------------------

# agent_make: an agent that drops IPv4 packets with TOS 0x48. No header, so that clang needs none
agent_make()
{
	AGENT=$BATS_TEST_TMPDIR/agent.o
	"${CLANG:-clang}" -target bpf -O2 -g -x c -c -o "$AGENT" - <<-'END'
		/* 19 and 20: data and data_end of struct __sk_buff */
		__attribute__((section("tc"), used)) int agent(const unsigned int *skb)
		{
			unsigned char *p = (void *)(long)skb[19], *end = (void *)(long)skb[20];

			return p + 34 <= end && p[12] == 8 && p[13] == 0 && p[15] == 0x48 ? 2 : -1;
		}
	END
}

# agent NODE INTERFACE DIRECTION PRIORITY HANDLE
agent() { inside "$1" tc filter add dev "$2" "$3" prio "$4" handle "$5" bpf da obj "$AGENT" sec tc; }

# ---- traffic ------------------------------------------------------------------

# live [SERVER-POD]: a TCP and a UDP flow from n1p1 to it, on the fast path, until live_end
live()
{
	local to=${1:-n2p1}

	serve "$to" tcp 4000
	serve "$to" udp 4001
	flow_bg "$BATS_TEST_TMPDIR/tcp" n1p1 tcp "$to" 4000 "${LASTING[@]}" --interval-ms 5
	LIVE_TCP=${PIDS[-1]}
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp "$to" 4001 "${LASTING[@]}" --interval-ms 5 \
		--wait-ms $((250 * XM_SLOW))
	LIVE_UDP=${PIDS[-1]}
	wait_until 5 both_active n1 && wait_until 5 both_active "${to%p*}"
}

both_active() { flow_active "$1" 4000 && flow_active "$1" 4001; }

# live_end [CONDITION]: ends them; every byte was right, and jq's condition holds for both reports
# (.stall_ms in ms of a real machine)
live_end()
{
	local f report late

	kill "$LIVE_TCP" "$LIVE_UDP" || { cat "$BATS_TEST_TMPDIR"/{tcp,udp}; return 1; }
	ends "$LIVE_TCP" 0 || { cat "$BATS_TEST_TMPDIR/tcp"; return 1; }
	# Its exit status would tell of datagrams lost.
	wait "$LIVE_UDP" || :
	late=$(late n1 n2)
	for f in tcp udp; do
		cat "$BATS_TEST_TMPDIR/$f"
		# shellcheck disable=SC2016 # jq's
		report=$(jq -c --argjson slow "$XM_SLOW" --argjson late "$late" '.stall_ms /= $slow |
			if .lost then .lost = ([.lost - $late, 0] | max) else . end' "$BATS_TEST_TMPDIR/$f")
		check "$report" ".broken == 0 and .errors == 0 and .corrupted == 0 and .rounds > 0" ||
			return 1
		[ -z "${1:-}" ] || check "$report" "$1" || return 1
	done
	stop_all
}
