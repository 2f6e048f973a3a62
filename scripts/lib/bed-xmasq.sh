# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-xmasq.sh - xmasqd on the nodes of a bed, for testbed.sh.

BUILD=${XMASQ_BUILD:-$ROOT/build}

node_file() { printf '%s/%s/xmasqd.%s\n' "$STATE" "$1" "$2"; }

xmasqd_pid() { pid_alive "$(node_file "$1" pid)"; }

# The one place that knows the configuration keys of xmasqd.
xmasqd_config()
{
	local node=$1 mode=$2 extra=$3

	cat <<-END
		underlay: [eth0]
		overlay:
		  ports:
		    - {port: 8472, type: vxlan}
		mode: $mode
		masquerade_port: 18477
		lease_ms: 1000
		pin_dir: /sys/fs/bpf/xmasq-$PREFIX-$node
		control_socket: $(node_file "$node" sock)
		state_dir: $STATE/$node
		log: {level: info, format: text}
		cleanup_on_exit: false
	END
	[ -z "$extra" ] || cat -- "$extra"
}

need_program()
{
	[ -x "$BUILD/$1" ] || die "$BUILD/$1 is missing: run 'make', or set XMASQ_BUILD to where it is"
}

xmasqd_start()
{
	local node=$1 log

	log=$(node_file "$node" log)
	! xmasqd_pid "$node" >/dev/null ||
		die "xmasqd already runs on $node: 'xmasq stop $node' first"
	xmasqd_config "$node" "$2" "$3" > "$(node_file "$node" yaml)"
	: > "$log"
	# A runner such as bats waits for whoever holds its descriptors 3 and up.
	setsid nsenter --net="/run/netns/$PREFIX-$node" -- \
		"$BUILD/xmasqd" --config "$(node_file "$node" yaml)" \
		>> "$log" 2>&1 < /dev/null 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
	pid_save "$(node_file "$node" pid)" $!
	disown
	xmasqd_wait "$node"
}

xmasqd_wait()
{
	local node=$1 pid why='did not answer within 10 s' end=$((SECONDS + 10))

	while [ "$SECONDS" -lt "$end" ]; do
		if ! pid=$(xmasqd_pid "$node"); then
			why='ended at once'
			break
		fi
		if timeout 2 "$BUILD/xmasqctl" --socket "$(node_file "$node" sock)" status >/dev/null 2>&1; then
			say "$node: xmasqd runs (pid $pid)"
			return 0
		fi
		sleep 0.1
	done
	say "$node: its log, $(node_file "$node" log):"
	tail -n 50 "$(node_file "$node" log)" >&2
	pid_stop "$(node_file "$node" pid)" TERM
	die "$node: xmasqd $why: the log is above"
}

xmasqd_stop()
{
	local node=$1

	# A daemon that runs cleans up itself, and says goodbye to its peers.
	if xmasqd_pid "$node" >/dev/null &&
	   "$BUILD/xmasqctl" --socket "$(node_file "$node" sock)" cleanup >/dev/null; then
		pid_stop "$(node_file "$node" pid)" TERM
		return 0
	fi
	pid_stop "$(node_file "$node" pid)" TERM
	[ -e "$(node_file "$node" yaml)" ] || return 0
	in_ns "$node" timeout 10 "$BUILD/xmasqd" --config "$(node_file "$node" yaml)" --cleanup ||
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
	local mode=veth extra='' nodes=() n

	while [ $# -gt 0 ]; do
		case $1 in
		--mode)		need_value "$@"; mode=$2; shift 2 ;;
		--config-extra)	need_value "$@"; extra=$2; shift 2 ;;
		-*)		usage "xmasq start: unknown option '$1'" ;;
		*)		nodes+=("$1"); shift ;;
		esac
	done
	[[ $mode =~ ^[a-z]+$ ]] || usage "xmasq start: --mode '$mode': give one such as veth or rpeer"
	[ -z "$extra" ] || [ -r "$extra" ] || die "--config-extra: cannot read '$extra'"
	nodes_or_all "${nodes[@]}"
	need_program xmasqd
	need_program xmasqctl
	for n in "${NODE_LIST[@]}"; do
		xmasqd_start "$n" "$mode" "$extra"
	done
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
		xmasqd_pid "$n" >/dev/null || die "xmasqd does not run on $n: 'xmasq start $n' starts it"
		pid_stop "$(node_file "$n" pid)" KILL
	done
}

xmasq_status()
{
	local n status=0

	nodes_or_all "$@"
	need_program xmasqctl
	for n in "${NODE_LIST[@]}"; do
		printf '== %s\n' "$n"
		if xmasqd_pid "$n" >/dev/null; then
			"$BUILD/xmasqctl" --socket "$(node_file "$n" sock)" status || status=1
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
	exec "$BUILD/xmasqctl" --socket "$(node_file "$node" sock)" "$@"
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
