# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-xmasq.sh - xmasqd on the nodes of a bed, for testbed.sh.

BUILD=${XMASQ_BUILD:-$ROOT/build}

# xmasqd_runs NODE: sets PID if it does
xmasqd_runs() { pid_alive "$STATE/$1/xmasqd.pid"; }

# The one place that knows the configuration keys of xmasqd: xmasqd_config NODE
xmasqd_config()
{
	local dir=$STATE/$1 nics

	# shellcheck disable=SC2153 # NICS comes from bed_load
	printf -v nics '%s, ' "${NICS[@]}"
	printf '%s\n' "underlay: [${nics%, }]"
	# Without a tunnel that xmasqd knows, let it look for all that it knows by itself.
	case $OVERLAY in
	*vxlan)		printf 'overlay:\n  ports:\n    - {port: %s, type: vxlan}\n' "$TUNNEL_PORT" ;;
	*geneve)	printf 'overlay:\n  ports:\n    - {port: %s, type: geneve}\n' "$TUNNEL_PORT" ;;
	esac
	# The NICs of a bed are veths: without an address of their own they look like pods.
	[[ $UNDERLAY != vlan && $UNDERLAY != bond ]] || printf 'pods:\n  include: [10.244.0.0/16]\n'
	printf '%s\n' "mode: $MODE" \
		"attach: $ATTACH" \
		'masquerade_port: 18477' \
		"lease_ms: $LEASE" \
		"pin_dir: /sys/fs/bpf/xmasq-$PREFIX-$1" \
		"control_socket: $dir/xmasqd.sock" \
		"state_dir: $dir" \
		'log: {level: info, format: text}' \
		'cleanup_on_exit: false'
	[ -z "$EXTRA" ] || cat -- "$EXTRA"
}

need_program()
{
	[ -x "$BUILD/$1" ] || die "$BUILD/$1 is missing: run 'make', or set XMASQ_BUILD to where it is"
}

xmasqd_start()
{
	local node=$1 dir=$STATE/$1 mount=()

	# Of a node with a mount namespace of its own, which somebody gave it.
	[ ! -e "$dir/mnt" ] || mount=(--mount="$dir/mnt")
	! xmasqd_runs "$node" ||
		die "xmasqd already runs on $node: 'xmasq stop $node' first"
	xmasqd_config "$node" > "$dir/xmasqd.yaml"
	: > "$dir/xmasqd.log"
	# A runner such as bats waits for whoever holds its descriptors 3 and up.
	setsid nsenter --net="/run/netns/$PREFIX-$node" "${mount[@]}" -- \
		"$BUILD/xmasqd" --config "$dir/xmasqd.yaml" \
		>> "$dir/xmasqd.log" 2>&1 < /dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
	pid_save "$dir/xmasqd.pid" $!
	disown
	xmasqd_wait "$node"
}

xmasqd_wait()
{
	local node=$1 dir=$STATE/$1 why='did not answer within 30 s' end=$((SECONDS + 30))

	while [ "$SECONDS" -lt "$end" ]; do
		if ! xmasqd_runs "$node"; then
			why='ended at once'
			break
		fi
		if [ -e "$dir/xmasqd.sock" ] &&
		   timeout 5 "$BUILD/xmasqctl" --socket "$dir/xmasqd.sock" status >/dev/null 2>&1; then
			say "$node: xmasqd runs (pid $PID)"
			return 0
		fi
		nap 0.05
	done
	say "$node: its log, $dir/xmasqd.log:"
	tail -n 50 "$dir/xmasqd.log" >&2
	pid_stop "$dir/xmasqd.pid" TERM
	die "$node: xmasqd $why: the log is above"
}

xmasqd_stop()
{
	local node=$1 dir=$STATE/$1

	# A daemon that runs cleans up itself, and says goodbye to its peers.
	if xmasqd_runs "$node" &&
	   "$BUILD/xmasqctl" --socket "$dir/xmasqd.sock" cleanup >/dev/null; then
		pid_stop "$dir/xmasqd.pid" TERM
		return 0
	fi
	pid_stop "$dir/xmasqd.pid" TERM
	[ -e "$dir/xmasqd.yaml" ] || return 0
	in_ns "$node" timeout 10 "$BUILD/xmasqd" --config "$dir/xmasqd.yaml" --cleanup ||
		die "$node: 'xmasqd --cleanup' failed, programs may still be attached:" \
		    "see 'bpftool net show' there, or take the bed down"
}

# nodes_or_all WORDS...: sets NODE_LIST
nodes_or_all()
{
	local i n

	NODE_LIST=("$@")
	# shellcheck disable=SC2153 # NODES comes from bed_load
	if [ $# -eq 0 ]; then
		for ((i = 1; i <= NODES; i++)); do
			NODE_LIST+=("n$i")
		done
	fi
	for n in "${NODE_LIST[@]}"; do
		[[ $n =~ ^n[1-9][0-9]*$ ]] || usage "xmasq: '$n' is no node; nodes are n1 to n$NODES"
		check_who "$n"
	done
}

xmasq_start()
{
	local mode=veth attach=auto lease=1000 extra='' nodes=()

	while [ $# -gt 0 ]; do
		case $1 in
		--mode)		need_value "$@"; mode=$2; shift 2 ;;
		--attach)	need_value "$@"; attach=$2; shift 2 ;;
		--lease-ms)	need_value "$@"; lease=$2; shift 2 ;;
		--config-extra)	need_value "$@"; extra=$2; shift 2 ;;
		-*)		usage "xmasq start: unknown option '$1'" ;;
		*)		nodes+=("$1"); shift ;;
		esac
	done
	check_choice 'xmasq start: --mode' "$mode" auto veth rpeer netkit
	check_choice 'xmasq start: --attach' "$attach" auto tcx filter
	check_number 'xmasq start: --lease-ms' "$lease" 200 10000
	[ -z "$extra" ] || [ -r "$extra" ] || die "--config-extra: cannot read '$extra'"
	nodes_or_all "${nodes[@]}"
	need_program xmasqd
	need_program xmasqctl
	MODE=$mode ATTACH=$attach LEASE=$lease EXTRA=$extra
	run_all xmasqd_start "${NODE_LIST[@]}" || exit 1
}

xmasq_stop()
{
	local n

	nodes_or_all "$@"
	need_program xmasqd
	for n in "${NODE_LIST[@]}"; do
		xmasqd_stop "$n"
	done
}

xmasq_kill()
{
	local n

	[ $# -gt 0 ] || usage "xmasq kill: which node?"
	nodes_or_all "$@"
	for n in "${NODE_LIST[@]}"; do
		xmasqd_runs "$n" || die "xmasqd does not run on $n: 'xmasq start $n' starts it"
		pid_stop "$STATE/$n/xmasqd.pid" KILL
	done
}

xmasq_status()
{
	local n status=0

	nodes_or_all "$@"
	need_program xmasqctl
	for n in "${NODE_LIST[@]}"; do
		printf '== %s\n' "$n"
		if xmasqd_runs "$n"; then
			"$BUILD/xmasqctl" --socket "$STATE/$n/xmasqd.sock" status || status=1
		else
			printf 'xmasqd does not run\n'
			status=1
		fi
	done
	return "$status"
}

xmasq_ctl()
{
	local node=${1:-}

	[[ $# -ge 3 && $2 == -- ]] || usage "xmasq ctl: give it as 'xmasq ctl NODE -- ARGS'"
	shift 2
	nodes_or_all "$node"
	need_program xmasqctl
	exec "$BUILD/xmasqctl" --socket "$STATE/$node/xmasqd.sock" "$@"
}

cmd_xmasq()
{
	local command=${1:-}

	case $command in
	start|stop|kill|status|ctl) ;;
	*) usage "xmasq: give start, stop, kill, status or ctl" ;;
	esac
	shift
	bed_load
	"xmasq_$command" "$@"
}
