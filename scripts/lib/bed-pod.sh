# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-pod.sh - pods of every kind, for testbed.sh. How a pod gets at the node:
#
#   veth, netkit-l2	a port of cni0 (Open vSwitch: of br-int), 10.244.N.x/24 in the pod
#   netkit-l3		routed: 10.244.N.x/32 in the pod, a /32 route on the node. Such a device has
#			no MAC and cannot be a port. What Cilium does
#   macvlan		routed likewise, through a macvlan of the node's beside it: an interface
#			with no host side to attach to, on the overlay for good
#   host-local		no namespace of its own: the node itself holds the pod's address, as a
#			hostNetwork pod's
#
# Addresses of routed pods are answered for by the node (proxy ARP) towards the other pods.

NETKIT=${XMASQ_BUILD:-$ROOT/build}/tests/tools/xmt-netkit
[[ $NETKIT == /* ]] || NETKIT=$PWD/$NETKIT

need_netkit()
{
	[ -x "$NETKIT" ] || die "$NETKIT is missing: run 'make tools', or set XMASQ_BUILD to where it is"
}

# kind_of P: sets KIND for pod P of a bed of POD_KIND
kind_of()
{
	KIND=$POD_KIND
	[ "$KIND" = mixed ] || return 0
	KIND=veth
	[ $(($1 % 2)) = 1 ] || KIND=netkit-l2
}

# pods_alias PODS...: a second name for the namespace of a host-local pod's node; "netns del"
# takes the name away.
pods_alias()
{
	local who

	for who; do
		: > "/run/netns/$PREFIX-$who"
		mount --bind "/run/netns/$PREFIX-${who%p*}" "/run/netns/$PREFIX-$who" ||
			die "cannot mount /run/netns/$PREFIX-$who: the message is above"
	done
}

# pod_queue I P: what makes pod P of kind KIND; in the node's queue, then in the pod's
pod_queue()
{
	local i=$1 p=$2 who=n$1p$2 node=n$1

	# The kernel draws MACs, as with a CNI: a pod that comes back with the same address has
	# another one, and stale MACs show. Flows of Open vSwitch name it, so that it is drawn here.
	printf -v MAC '0a:%02x:%02x:%02x:%02x:%02x' $((RANDOM & 255)) $((RANDOM & 255)) \
		$((RANDOM & 255)) $((RANDOM & 255)) $((RANDOM & 255))
	who_ip "$who"
	pod_veth "$p"
	case $KIND in
	veth)
		q "$node" "link add $VETH mtu $POD_MTU type veth" \
			"peer name eth0 address $MAC mtu $POD_MTU netns $PREFIX-$who"
		pod_port "$node"
		pod_on_subnet "$who" "$i" ;;
	netkit-l2|netkit-l3)
		before "$node" "'$NETKIT' add $VETH eth0 ${KIND#netkit-} $PREFIX-$who"
		q "$node" "link set $VETH mtu $POD_MTU"
		q "$who" "link set eth0 mtu $POD_MTU"
		[ "$KIND" = netkit-l3 ] || q "$who" "link set eth0 address $MAC"
		if [ "$KIND" = netkit-l2 ]; then
			pod_port "$node"
			pod_on_subnet "$who" "$i"
		else
			q "$node" "link set $VETH up
route add $IP/32 dev $VETH"
			node_answers "$node" "$VETH"
			q "$who" "addr add $IP/32 dev eth0
link set eth0 up
route add default dev eth0"
		fi ;;
	macvlan)
		macvlan_gateway "$i"
		q "$node" "link add link mv0 name mvx-p$p address $MAC mtu $POD_MTU netns $PREFIX-$who" \
			'type macvlan mode bridge'
		q "$node" "route add $IP/32 dev mvgw"
		q "$who" "link set mvx-p$p name eth0
addr add $IP/32 dev eth0
link set eth0 up
route add 169.254.1.1 dev eth0 scope link
route add default via 169.254.1.1" ;;
	host-local)
		q "$node" "addr add $IP/32 dev lo"
		node_answers "$node" ;;
	esac
	pod_file "$i" "$p"
	printf '%s %s\n' "$KIND" "$MAC" > "$POD_FILE"
}

# pod_port NODE: VETH becomes a port of the bridge; of Open vSwitch's by ovs_ports
pod_port()
{
	if ! bed_is_ovs; then
		q "$1" "link set $VETH master cni0
link set $VETH type bridge_slave hairpin on"
	fi
	q "$1" "link set $VETH up"
}

pod_on_subnet()
{
	q "$1" "addr add $IP/24 dev eth0
link set eth0 up
route add default via 10.244.$2.1"
}

# node_answers NODE [DEVICE]: pods on the bridge ask for a routed pod's MAC, and get the node's,
# without a proxy's usual delay. Nobody is told of a shorter way: there is none.
node_answers()
{
	after "$1" "for d in $POD_DEV ${2:-}; do
			[ ! -e ipv4/conf/\$d ] || {
				echo 1 > ipv4/conf/\$d/proxy_arp
				echo 0 > ipv4/neigh/\$d/proxy_delay
				echo 0 > ipv4/conf/\$d/send_redirects
			}
		done
		echo 0 > ipv4/conf/all/send_redirects"
}

# macvlan_gateway I: a parent with a carrier, and the node's own macvlan on it; once
macvlan_gateway()
{
	[ ! -e "$STATE/n$1/macvlan" ] || return 0
	: > "$STATE/n$1/macvlan"
	q "n$1" "link add mv0 type veth peer name mv1
link set mv0 up
link set mv1 up
link add link mv0 name mvgw mtu $POD_MTU type macvlan mode bridge
addr add 169.254.1.1/32 dev mvgw
link set mvgw up"
	node_answers "n$1" mvgw
}

# ---- one pod, later ---------------------------------------------------------

# pod_add I P: on a bed that is up, of kind KIND
pod_add()
{
	local who=n$1p$2

	if [ "$KIND" = host-local ]; then
		pods_alias "$who"
	else
		ip netns add "$PREFIX-$who" || die "cannot make a namespace: the message is above"
		ns_begin "$who" 0
	fi
	pod_queue "$1" "$2"
	flush "n$1"
	flush "n$1p$2"
	! bed_is_ovs || ovs_pod_add "$1" "$2"
}

# pod_del I P: as a CNI does; goes on after errors
pod_del()
{
	local i=$1 p=$2 other

	pod_load "$i" "$p"
	who_ip "n${i}p$p"
	! bed_is_ovs || ovs_pod_del "$i" "$p"
	# Namespaces die asynchronously. The interface goes first, so that its name is free at once
	# for a successor, and nobody answers for the address any more.
	case $KIND in
	macvlan)	ip -n "$PREFIX-n${i}p$p" link del eth0
			ip -n "$PREFIX-n$i" route del "$IP/32" dev mvgw
			ip -n "$PREFIX-n$i" neigh del "$IP" dev mvgw 2>/dev/null || : ;;
	host-local)	ip -n "$PREFIX-n$i" addr del "$IP/32" dev lo ;;
	*)		ip -n "$PREFIX-n$i" link del "$VETH" ;;
	esac
	ip netns del "$PREFIX-n${i}p$p"
	rm -f -- "$POD_FILE"
	# The next holder of the address has another MAC. A CNI announces it by gratuitous
	# ARP; forgetting the old one does as well.
	ip -n "$PREFIX-n$i" neigh del "$IP" dev "$POD_DEV" 2>/dev/null || :
	pods_of "$i"
	for other in "${PODS_OF[@]}"; do
		ip -n "$PREFIX-n${i}p$other" neigh del "$IP" dev eth0 2>/dev/null || :
	done
}
