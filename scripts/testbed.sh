#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# testbed.sh - a cluster of network namespaces: nodes, pods, an overlay and the
# firewall of a kube-proxy node. No containers needed. By default it is flannel's:
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
# Other underlays (--underlay; with any number of nodes but two it is "bridge"):
#
#   bridge    eth0 of every node and of PREFIX-out (172.31.0.254, no eth1) is a port of
#             bridge br0 in namespace PREFIX-sw
#   vlan      the same, but all addresses are on eth0.100 and the frames are tagged
#   bond      eth0 and eth1 of a node are ports of br0, bond0 (active-backup) has the address
#   two-nics  eth1 is in a second network (bridge br1, 172.32.0.0/24); even nodes reach the
#             other nodes' addresses by it, odd ones by eth0
#
# Other overlays are in lib/bed-overlay.sh and lib/bed-ovs.sh, other pods in lib/bed-pod.sh.
#
# Services, on every node: 10.96.0.10:80/tcp and :5000/udp, 10.96.0.11 (every TCP
# and UDP port, port kept) and NodePort 30080/tcp; all of them lead to pod 1 of
# the last node.
#
# Namespaces are entered with nsenter and not with "ip netns exec", since the latter
# mounts a new /sys, and /sys/fs/bpf would be missing there.

set -Eeuo pipefail
shopt -s nullglob

LIB=${BASH_SOURCE[0]}
[ ! -L "$LIB" ] || LIB=$(readlink -f "$LIB")
[[ $LIB == /* ]] || LIB=$PWD/$LIB
LIB=${LIB%/*}/lib
# shellcheck disable=SC2034 # for the files in $LIB
ROOT=$LIB/../..
# What every command needs; "libraries" reads the rest for those that need it.
# shellcheck source=scripts/lib/bed-common.sh
. "$LIB/bed-common.sh"

help()
{
	cat <<'HELP'
usage: testbed.sh [--prefix NAME] COMMAND ...

A cluster made of network namespaces; the head of this script has a drawing.

the bed:
  up [options]              make a bed
      --nodes N                 nodes, 1 to 64 (default 2)
      --pods M                  pods on each node, 0 to 250 (default 2)
      --overlay OVERLAY         vxlan (default), geneve, ovs-vxlan, ovs-geneve, wireguard, or
                                none: pod subnets are routed over the underlay
      --tunnel-csum on|off      UDP checksum of the tunnel's packets (default on)
      --underlay UNDERLAY       veth (two nodes, default), bridge (else), vlan, bond, two-nics
      --pod KIND                veth (default), netkit-l2, netkit-l3, mixed (odd pods veth,
                                even pods netkit-l2), macvlan, host-local
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
  get WHAT                  print one of: nodes, overlay, tunnel-csum, underlay, pod, firewall;
                            nics (a node's interfaces on the underlay), pod-dev (the node's
                            interface to its pods), pod-mtu, tunnel-dev, tunnel-port
  pod-add NODE P [--pod KIND]
                            make pod P (1 to 253) on NODE: "pod-add n1 3"
  pod-del NODE P            remove it, as a CNI does
  policy NODE deny MATCH    the CNI of NODE drops packets of pods: MATCH is any of --from WHO,
                            --to WHO (or an address), --proto P, --sport N, --dport N
  policy NODE allow MATCH   take a "deny" back
  policy NODE clear         take all of them back

xmasq on it:
  xmasq start [NODE...] [--mode MODE] [--attach WAY] [--lease-ms N] [--config-extra FILE]
                            start xmasqd (all nodes by default), wait until it answers;
                            MODE is auto, veth (default), rpeer or netkit, WAY is auto
                            (default), tcx or filter, N is 1000 unless given, FILE is
                            appended to the generated YAML
  xmasq stop [NODE...]      SIGTERM, then remove programs and pins
  xmasq kill NODE...        SIGKILL: what a crash leaves behind
  xmasq status [NODE...]    "xmasqctl status" of each node
  xmasq ctl NODE -- ARGS    xmasqctl with the node's control socket

Every command takes --prefix NAME (default $XMASQ_BED, else xmt): beds with
different prefixes live side by side. What the running kernel lacks, the one of
"scripts/vm.sh run -- scripts/testbed.sh ..." may have.

environment:
  XMASQ_BED                 default prefix
  XMASQ_BUILD               directory of xmasqd, xmasqctl and tests/tools (default: build)
  XMASQ_TESTBED_IPTABLES    iptables-nft or iptables-legacy (default: the first that works)
  XMASQ_TESTBED_FAIL_AT     for tests of this script: "up" fails at namespaces, links, pods,
                            overlay, firewall or ready

state: /run/xmasq-NAME/ (bed, n1/xmasqd.yaml, .log, .pid, .sock, n1/ovs/), pins in
/sys/fs/bpf/xmasq-NAME-n1/, namespaces NAME-n1, NAME-n1p1, NAME-out, NAME-sw.

exit status: 0 done, 1 failed, 2 wrong arguments; "exec" and "xmasq ctl" give that
of the command.
HELP
}

# libraries NAME...: lib/bed-NAME.sh
libraries()
{
	local l

	for l; do
		# shellcheck source=/dev/null
		. "$LIB/bed-$l.sh"
	done
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
	local i p missing=0

	[ $# -eq 0 ] || usage "status: unknown argument '$1'"
	libraries process ovs
	bed_load
	printf 'bed %s: nodes %s, overlay %s, tunnel-csum %s, underlay %s, pods %s, firewall %s\n' \
		"$PREFIX" "$NODES" "$OVERLAY" "$TUNNEL_CSUM" "$UNDERLAY" "$POD_KIND" "$FIREWALL"
	for ((i = 1; i <= NODES; i++)); do
		if [ ! -e "/run/netns/$PREFIX-n$i" ]; then
			printf 'n%s: namespace MISSING\n' "$i"
			missing=1
			continue
		fi
		pid_alive "$STATE/n$i/xmasqd.pid" || PID='not running'
		who_ip "n$i"
		printf 'n%s: %s, xmasqd: %s, ' "$i" "$IP" "$PID"
		if bed_is_ovs; then
			if ovs_alive "$i"; then
				printf 'ovs-vswitchd: %s, ' "$PID"
			else
				printf 'Open vSwitch: ENDED, '
				missing=1
			fi
		fi
		printf 'pods:'
		pods_of "$i"
		for p in "${PODS_OF[@]}"; do
			who_ip "n${i}p$p"
			pod_load "$i" "$p"
			printf ' n%sp%s=%s' "$i" "$p" "$IP"
			[ "$KIND" = veth ] || printf '(%s)' "$KIND"
		done
		printf '\n'
	done
	who_ip out
	printf 'out: %s\n' "$IP"
	[ "$missing" = 0 ] ||
		die "bed '$PREFIX' is damaged: run 'testbed.sh --prefix $PREFIX up --replace'"
}

cmd_ip()   { one_arg ip "$@"; bed_load; check_who "$1"; who_ip "$1"; printf '%s\n' "$IP"; }
cmd_ns()   { one_arg ns "$@"; bed_load; check_who "$1"; printf '%s-%s\n' "$PREFIX" "$1"; }

cmd_veth()
{
	one_arg veth "$@"
	bed_load
	[[ $1 =~ ^n([0-9]+)p([0-9]+)$ ]] || usage "veth: '$1' is no pod; give one such as n1p1"
	check_who "$1"
	[[ $1 =~ ^n([0-9]+)p([0-9]+)$ ]]
	pod_load "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
	[ -n "$VETH" ] || die "$1 is a $KIND pod, which has no interface on the node's side"
	printf '%s\n' "$VETH"
}

cmd_get()
{
	one_arg get "$@"
	bed_load
	case $1 in
	nodes)		printf '%s\n' "$NODES" ;;
	overlay)	printf '%s\n' "$OVERLAY" ;;
	tunnel-csum)	printf '%s\n' "$TUNNEL_CSUM" ;;
	underlay)	printf '%s\n' "$UNDERLAY" ;;
	pod)		printf '%s\n' "$POD_KIND" ;;
	firewall)	printf '%s\n' "$FIREWALL" ;;
	nics)		printf '%s\n' "${NICS[@]}" ;;
	pod-dev)	printf '%s\n' "$POD_DEV" ;;
	pod-mtu)	printf '%s\n' "$POD_MTU" ;;
	tunnel-dev)	printf '%s\n' "$TUNNEL_DEV" ;;
	tunnel-port)	printf '%s\n' "$TUNNEL_PORT" ;;
	*)		usage "get: '$1' is unknown; 'testbed.sh --help' lists what there is" ;;
	esac
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
	status|list|exec|ip|ns|veth|get) ;;
	up|down|pod-add|pod-del)
			libraries process batch net pod overlay ovs firewall up ;;
	policy)		libraries ovs firewall policy ;;
	xmasq)		libraries process xmasq ;;
	help)		;;
	*)		usage "unknown command '$command'" ;;
	esac
	case $command in
	help)		help ;;
	*)		"cmd_${command/-/_}" "$@" ;;
	esac
}

main "$@"
