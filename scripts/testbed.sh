#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# testbed.sh - a cluster of network namespaces: nodes, pods, a flannel-like
# VXLAN overlay and the firewall of a kube-proxy node. No containers needed.
#
#        PREFIX-n1p1   PREFIX-n1p2               PREFIX-n2p1   PREFIX-n2p2     pods
#       eth0 10.244.1.11     .12                eth0 10.244.2.11     .12       mtu 1450
#            |           |                           |           |
#   .--------|-----------|---------.        .--------|-----------|---------.
#   |     veth-p1     veth-p2      |        |     veth-p1     veth-p2      |
#   |        `-- cni0 ---'         |        |        `-- cni0 ---'         |   nodes
#   |       10.244.1.1/24          |        |       10.244.2.1/24          |
#   |  flannel.1  (vxlan id 1,     |        |  flannel.1                   |
#   |  10.244.1.0  port 8472)      |        |  10.244.2.0                  |
#   |  eth1     eth0 172.31.0.1    |        |  eth0 172.31.0.2   PREFIX-n2 |
#   `---|---------|---- PREFIX-n1 -'        `---|--------------------------'
#       |         `------- one veth pair -------'       underlay 172.31.0.0/24
#       | 172.30.1.1
#       | 172.30.1.254
#   PREFIX-out       a host that is not part of the cluster
#
# With any number of nodes but two, the eth0 of every node and of PREFIX-out
# (172.31.0.254, no eth1) is a port of bridge br0 in namespace PREFIX-sw.
#
# Services, on every node: 10.96.0.10:80/tcp and :5000/udp, 10.96.0.11 (every TCP
# and UDP port, port kept) and NodePort 30080/tcp; all of them lead to pod 1 of
# the last node.
#
# Namespaces are entered with nsenter and not with "ip netns exec", since the latter
# mounts a new /sys, and /sys/fs/bpf would be missing there.

set -Eeuo pipefail
shopt -s nullglob

LIB=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/lib
ROOT=$(readlink -f "$LIB/../..")
# shellcheck source=scripts/lib/bed-common.sh
. "$LIB/bed-common.sh"
# shellcheck source=scripts/lib/bed-net.sh
. "$LIB/bed-net.sh"
# shellcheck source=scripts/lib/bed-firewall.sh
. "$LIB/bed-firewall.sh"
# shellcheck source=scripts/lib/bed-xmasq.sh
. "$LIB/bed-xmasq.sh"

help()
{
	cat <<'HELP'
usage: testbed.sh [--prefix NAME] COMMAND ...

A cluster made of network namespaces; the head of this script has a drawing.

the bed:
  up [options]              make a bed
      --nodes N                 nodes, 1 to 32 (default 2)
      --pods M                  pods on each node, 0 to 200 (default 2)
      --overlay vxlan|none      none: pod subnets are routed over the underlay
      --udp-csum on|off         outer UDP checksum of the VXLAN (default on)
      --no-firewall             neither iptables rules nor conntrack nor services
      --replace                 take down a bed of the same name first
  down                      remove the bed and whatever it started; repeatable
  status                    what the bed consists of and whether it is whole
  list                      beds that exist, one per line

using it (WHO: n1 is a node, n1p2 a pod, out the outside host, sw the switch):
  exec WHO -- CMD...        run CMD there; stdin, signals and exit status are CMD's
  ip WHO                    print its address
  ns WHO                    print the name of its network namespace
  veth n1p2                 print the interface of the pod on the node's side
  pod-add NODE P            make pod P (1 to 244) on NODE: "pod-add n1 3"
  pod-del NODE P            remove it, as a CNI does

xmasq on it:
  xmasq start [NODE...] [--mode MODE] [--config-extra FILE]
                            start xmasqd (all nodes by default), wait until it answers;
                            FILE is appended to the generated YAML
  xmasq stop [NODE...]      SIGTERM, then remove programs and pins
  xmasq kill NODE...        SIGKILL: what a crash leaves behind
  xmasq status [NODE...]    "xmasqctl status" of each node
  xmasq ctl NODE -- ARGS    xmasqctl with the node's control socket

Every command takes --prefix NAME (default $XMASQ_BED, else xmt): beds with
different prefixes live side by side.

environment:
  XMASQ_BED                 default prefix
  XMASQ_BUILD               directory of xmasqd and xmasqctl (default: build)
  XMASQ_TESTBED_IPTABLES    iptables-nft or iptables-legacy (default: the first that works)
  XMASQ_TESTBED_FAIL_AT     for tests of this script: "up" fails at namespaces, underlay,
                            pods, overlay, firewall or ready

state: /run/xmasq-NAME/ (bed, n1/xmasqd.yaml, .log, .pid, .sock), pins in
/sys/fs/bpf/xmasq-NAME-n1/, namespaces NAME-n1, NAME-n1p1, NAME-out, NAME-sw.

exit status: 0 done, 1 failed, 2 wrong arguments; "exec" and "xmasq ctl" give that
of the command.
HELP
}

# ---- up and down ----------------------------------------------------------

parse_up()
{
	NODES=2 PODS=2 OVERLAY=vxlan UDP_CSUM=on FIREWALL=yes REPLACE=no

	while [ $# -gt 0 ]; do
		case $1 in
		--nodes)	need_value "$@"; NODES=$2; shift 2 ;;
		--pods)		need_value "$@"; PODS=$2; shift 2 ;;
		--overlay)	need_value "$@"; OVERLAY=$2; shift 2 ;;
		--udp-csum)	need_value "$@"; UDP_CSUM=$2; shift 2 ;;
		--no-firewall)	FIREWALL=no; shift ;;
		--replace)	REPLACE=yes; shift ;;
		*)		usage "up: unknown argument '$1'" ;;
		esac
	done
	check_number --nodes "$NODES" 1 32
	check_number --pods "$PODS" 0 200
	check_choice --overlay "$OVERLAY" vxlan none
	check_choice --udp-csum "$UDP_CSUM" on off
}

# Whatever ends "up" before the bed is whole takes the half-made bed away again.
up_undo()
{
	local status=$?

	trap - EXIT INT TERM HUP
	say "up did not finish: removing what there is of bed '$PREFIX'"
	set +e
	bed_remove
	exit "$status"
}

cmd_up()
{
	local i p

	parse_up "$@"
	need_root
	need_tools ip nsenter bridge ping
	if bed_traces; then
		[ "$REPLACE" = yes ] ||
			die "bed '$PREFIX' exists: use it, run 'testbed.sh --prefix $PREFIX down'," \
			    "or give 'up' --replace or another --prefix"
		bed_remove
	fi
	# Without -p: of two "up" that run at once, one gets the bed.
	mkdir "$STATE" || die "cannot make $STATE: is another 'up' of '$PREFIX' running?"
	trap up_undo EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP

	bpffs_mount
	bed_save
	checkpoint namespaces
	net_namespaces
	checkpoint underlay
	net_underlay
	checkpoint pods
	for ((i = 1; i <= NODES; i++)); do
		for ((p = 1; p <= PODS; p++)); do
			pod_add "$i" "$p"
		done
	done
	checkpoint overlay
	net_overlay
	checkpoint firewall
	[ "$FIREWALL" = no ] || firewall_up
	checkpoint ready
	net_verify

	trap - EXIT INT TERM HUP
	say "bed '$PREFIX' is up: $NODES nodes, $PODS pods each, overlay $OVERLAY, firewall $FIREWALL"
}

cmd_down()
{
	[ $# -eq 0 ] || usage "down: unknown argument '$1'"
	need_root
	if ! bed_traces; then
		say "there is no bed '$PREFIX': nothing to do"
		return 0
	fi
	bed_remove
	say "bed '$PREFIX' is down"
}

# ---- looking at the bed ---------------------------------------------------

cmd_list()
{
	local f name

	[ $# -eq 0 ] || usage "list: unknown argument '$1'"
	for f in /run/xmasq-*/bed; do
		name=${f#/run/xmasq-}
		printf '%s\n' "${name%/bed}"
	done
}

cmd_status()
{
	local i ns pid missing=0

	[ $# -eq 0 ] || usage "status: unknown argument '$1'"
	bed_load
	printf 'bed %s: nodes %s, overlay %s, udp-csum %s, firewall %s\n' \
		"$PREFIX" "$NODES" "$OVERLAY" "$UDP_CSUM" "$FIREWALL"
	for ((i = 1; i <= NODES; i++)); do
		if [ ! -e "/run/netns/$PREFIX-n$i" ]; then
			printf 'n%s: namespace MISSING\n' "$i"
			missing=1
			continue
		fi
		pid=$(xmasqd_pid "n$i") || pid='not running'
		printf 'n%s: %s, xmasqd: %s, pods:' "$i" "$(who_ip "n$i")" "$pid"
		for ns in "/run/netns/$PREFIX-n${i}p"*; do
			ns=${ns##*-}
			printf ' %s=%s' "$ns" "$(who_ip "$ns")"
		done
		printf '\n'
	done
	printf 'out: %s\n' "$(who_ip out)"
	[ "$missing" = 0 ] ||
		die "bed '$PREFIX' is damaged: run 'testbed.sh --prefix $PREFIX up --replace'"
}

cmd_ip()   { one_arg ip "$@"; bed_load; check_who "$1"; who_ip "$1"; }
cmd_ns()   { one_arg ns "$@"; bed_load; check_who "$1"; printf '%s-%s\n' "$PREFIX" "$1"; }

cmd_veth()
{
	one_arg veth "$@"
	bed_load
	[[ $1 =~ ^n[0-9]+p[0-9]+$ ]] || usage "veth: '$1' is no pod; give one such as n1p1"
	check_who "$1"
	printf 'veth-p%s\n' "${1##*p}"
}

cmd_exec()
{
	[[ $# -ge 3 && $2 == -- ]] || usage "exec: give it as 'exec WHO -- CMD...'"
	local who=$1

	shift 2
	bed_load
	check_who "$who"
	exec nsenter --net="/run/netns/$PREFIX-$who" -- "$@"
}

# ---- pods -----------------------------------------------------------------

# parse_pod COMMAND NODE P: sets NODE_I and POD_P
parse_pod()
{
	[ $# -eq 3 ] || usage "$1: give it as '$1 NODE P', for example '$1 n1 3'"
	need_root
	bed_load
	[[ $2 =~ ^n[1-9][0-9]*$ ]] || usage "$1: '$2' is no node; nodes are n1 to n$NODES"
	NODE_I=${2#n}
	check_who "$2"
	check_number "$1: P" "$3" 1 244
	POD_P=$3
}

cmd_pod_add()
{
	parse_pod pod-add "$@"
	[ ! -e "/run/netns/$PREFIX-n${NODE_I}p$POD_P" ] ||
		die "pod n${NODE_I}p$POD_P exists: 'pod-del n$NODE_I $POD_P' removes it"
	# A pod that cannot be finished must not stay behind.
	trap 'pod_del "$NODE_I" "$POD_P" 2>/dev/null || :' EXIT
	pod_add "$NODE_I" "$POD_P"
	trap - EXIT
}

cmd_pod_del()
{
	parse_pod pod-del "$@"
	[ -e "/run/netns/$PREFIX-n${NODE_I}p$POD_P" ] ||
		die "there is no pod n${NODE_I}p$POD_P: 'testbed.sh --prefix $PREFIX status' lists them"
	pod_del "$NODE_I" "$POD_P"
}

# ---- main -----------------------------------------------------------------

# Takes --prefix and --help out of the arguments wherever they are, up to "--":
# what follows that belongs to somebody else's command. Sets PREFIX and ARGS.
parse_common()
{
	PREFIX=${XMASQ_BED:-xmt}
	ARGS=()
	while [ $# -gt 0 ]; do
		case $1 in
		--prefix)	need_value "$@"; PREFIX=$2; shift 2 ;;
		--prefix=*)	PREFIX=${1#*=}; shift ;;
		-h|--help)	help; exit 0 ;;
		--)		ARGS+=("$@"); break ;;
		*)		ARGS+=("$1"); shift ;;
		esac
	done
	[[ $PREFIX =~ ^[a-z][a-z0-9]{0,15}$ ]] ||
		usage "prefix '$PREFIX': use a letter and up to 15 more letters (a-z) and digits"
	STATE=/run/xmasq-$PREFIX
}

main()
{
	parse_common "$@"
	set -- "${ARGS[@]}"
	[ $# -gt 0 ] || usage "a command is missing"
	local command=$1

	shift
	case $command in
	up|down|status|list|exec|ip|ns|veth|xmasq)
			"cmd_$command" "$@" ;;
	pod-add)	cmd_pod_add "$@" ;;
	pod-del)	cmd_pod_del "$@" ;;
	help)		help ;;
	*)		usage "unknown command '$command'" ;;
	esac
}

main "$@"
