# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-up.sh - making and removing a bed and its pods, for testbed.sh.

POD_KINDS=(veth netkit-l2 netkit-l3 mixed macvlan host-local)

# shellcheck disable=SC2034 # for the other files
parse_up()
{
	NODES=2 PODS=2 OVERLAY=vxlan TUNNEL_CSUM='' UNDERLAY='' POD_KIND=veth FIREWALL=yes REPLACE=no
	IPTABLES=''

	while [ $# -gt 0 ]; do
		case $1 in
		--nodes)	need_value "$@"; NODES=$2; shift 2 ;;
		--pods)		need_value "$@"; PODS=$2; shift 2 ;;
		--overlay)	need_value "$@"; OVERLAY=$2; shift 2 ;;
		--tunnel-csum)
				need_value "$@"; TUNNEL_CSUM=$2; shift 2 ;;
		--underlay)	need_value "$@"; UNDERLAY=$2; shift 2 ;;
		--pod)		need_value "$@"; POD_KIND=$2; shift 2 ;;
		--no-firewall)	FIREWALL=no; shift ;;
		--replace)	REPLACE=yes; shift ;;
		*)		usage "up: unknown argument '$1'" ;;
		esac
	done
	check_number --nodes "$NODES" 1 64
	check_number --pods "$PODS" 0 250
	check_choice --overlay "$OVERLAY" vxlan geneve ovs-vxlan ovs-geneve wireguard none
	check_choice --pod "$POD_KIND" "${POD_KINDS[@]}"
	case $OVERLAY in
	wireguard|none)
		[ -z "$TUNNEL_CSUM" ] || usage "--tunnel-csum: overlay $OVERLAY leaves no choice"
		TUNNEL_CSUM=- ;;
	*)	check_choice --tunnel-csum "${TUNNEL_CSUM:=on}" on off ;;
	esac
	if [ -z "$UNDERLAY" ]; then
		UNDERLAY=bridge
		[ "$NODES" != 2 ] || UNDERLAY=veth
	fi
	check_choice --underlay "$UNDERLAY" veth bridge vlan bond two-nics
	[[ $UNDERLAY != veth || $NODES == 2 ]] || usage "--underlay veth: one wire joins two nodes only"
	bed_names
}

# What the bed will start, before it starts anything.
need_all()
{
	need_root
	need_tools 'iproute2 util-linux iputils-ping' ip nsenter bridge ping
	! bed_is_ovs || need_tools openvswitch-switch ovsdb-tool ovsdb-server ovs-vswitchd \
		ovs-vsctl ovs-ofctl
	[ "$OVERLAY" != wireguard ] || need_tools wireguard-tools wg
	[[ $POD_KIND != netkit-* && $POD_KIND != mixed ]] || need_netkit
}

# Whatever ends "up" before the bed is whole takes the half-made bed away again.
up_undo()
{
	local status=$?

	trap - EXIT INT TERM HUP
	say "up did not finish: removing what there is of bed '$PREFIX'"
	set +e
	# What run_all started must not go on making things.
	wait
	bed_remove
	exit "$status"
}

cmd_up()
{
	local i p nodes=()

	parse_up "$@"
	need_all
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
	for ((i = 1; i <= NODES; i++)); do
		nodes+=("$i")
	done
	net_namespaces
	checkpoint namespaces
	net_underlay
	for i in "${nodes[@]}"; do
		overlay_queue "$i"
		for ((p = 1; p <= PODS; p++)); do
			kind_of "$p"
			pod_queue "$i" "$p"
		done
	done
	checkpoint links
	for i in "${WHOLE[@]}"; do
		flush "$i"
	done
	checkpoint pods
	run_all flush "${PODS_MADE[@]}" || exit 1
	checkpoint overlay
	! bed_is_ovs || ovs_prepare
	run_all overlay_finish "${nodes[@]}" || exit 1
	checkpoint firewall
	[ "$FIREWALL" = no ] || firewall_up
	checkpoint ready
	net_verify
	bed_save

	trap - EXIT INT TERM HUP
	say "bed '$PREFIX' is up: $NODES nodes, $PODS pods each, overlay $OVERLAY," \
	    "underlay $UNDERLAY, firewall $FIREWALL"
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

# Removes all of the bed and goes on after errors: "down" must work on ruins.
bed_remove()
{
	local f ns text=''

	for f in "$STATE"/n*/xmasqd.pid; do
		pid_stop "$f" KILL || :
	done
	# First vswitchd, which else complains about a database that went away.
	for f in "$STATE"/n*/ovs/vswitchd.pid "$STATE"/n*/ovs/ovsdb.pid; do
		pid_stop "$f" KILL || :
	done
	find_namespaces
	if [ ${#NAMESPACES[@]} -gt 0 ]; then
		bed_end_users
		# Names of host-local pods are mounts of their node's namespace; "n1" sorts first.
		for ns in "${NAMESPACES[@]}"; do
			text="netns del $ns"$'\n'$text
		done
		ip -force -batch - <<< "$text" || say "not all namespaces could be deleted"
	fi
	find_pins
	[ ${#PINS[@]} = 0 ] || rm -rf -- "${PINS[@]}"
	rm -rf -- "$STATE"
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
	check_number "$1: P" "$3" 1 253
	POD_P=$3
}

cmd_pod_add()
{
	local kind=''

	if [[ $# -ge 3 && $3 == --pod ]]; then
		need_value "${@:3}"
		kind=$4
		check_choice --pod "$kind" "${POD_KINDS[@]}"
		set -- "$1" "$2" "${@:5}"
	fi
	parse_pod pod-add "$@"
	[ ! -e "/run/netns/$PREFIX-n${NODE_I}p$POD_P" ] ||
		die "pod n${NODE_I}p$POD_P exists: 'pod-del n$NODE_I $POD_P' removes it"
	POD_KIND=${kind:-$POD_KIND}
	kind_of "$POD_P"
	# shellcheck disable=SC2153 # kind_of sets KIND
	[[ $KIND != netkit-* ]] || need_netkit
	# A pod that cannot be finished must not stay behind.
	trap 'set +e; pod_del "$NODE_I" "$POD_P" 2>/dev/null' EXIT
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
