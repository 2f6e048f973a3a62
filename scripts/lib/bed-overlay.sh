# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-overlay.sh - what leads from a node to the other nodes' pods, for testbed.sh:
#
#   vxlan	flannel's: a bound device, MAC and tunnel address of each peer set by hand
#   geneve	one device that is told the tunnel's far end with each packet, as Cilium's and
#		Antrea's; a route for each peer tells it, where Cilium has a program do it
#   ovs-*	bed-ovs.sh
#   wireguard	flannel's and Calico's encrypted overlay
#   none	routes over the underlay

vtep_mac()  { printf -v MAC '02:00:00:00:01:%02x' "$1"; }

# overlay_queue I: for node I
overlay_queue()
{
	local i=$1 j

	bed_is_ovs || bridge_queue "$i"
	FDB=''
	case $OVERLAY in
	vxlan)		vxlan_queue "$i" ;;
	geneve)		geneve_queue "$i" ;;
	wireguard)	wireguard_queue "$i" ;;
	ovs-*)		return ;;
	esac
	for ((j = 1; j <= NODES; j++)); do
		[ "$i" = "$j" ] || "${OVERLAY}_peer" "$i" "$j"
	done
	[ -z "$FDB" ] || printf '%s' "$FDB" > "$STATE/n$i/fdb"
}

bridge_queue()
{
	local mac

	printf -v mac '0a:58:0a:f4:%02x:01' "$1"
	q "n$1" "link add cni0 type bridge mcast_snooping 0
link set cni0 address $mac mtu $POD_MTU up
addr add 10.244.$1.1/24 dev cni0"
}

# overlay_finish I: what "ip" cannot say
overlay_finish()
{
	local i=$1

	case $OVERLAY in
	vxlan)
		[ "$NODES" = 1 ] || bridge -n "$PREFIX-n$i" -batch "$STATE/n$i/fdb" ||
			die "n$i: 'bridge -batch $STATE/n$i/fdb' failed: the message is above" ;;
	ovs-*)	ovs_up "$i" ;;
	esac
}

vxlan_queue()
{
	local csum=udpcsum dev="dev ${NICS[0]}"

	[ "$TUNNEL_CSUM" = on ] || csum=noudpcsum
	# With two NICs the route decides.
	[ "$UNDERLAY" != two-nics ] || dev=
	vtep_mac "$1"
	q "n$1" "link add flannel.1 address $MAC mtu $POD_MTU type vxlan id 1 dstport 8472" \
		"local 172.31.0.$1 $dev nolearning $csum"
	q "n$1" "addr add 10.244.$1.0/32 dev flannel.1
link set flannel.1 up"
}

vxlan_peer()
{
	vtep_mac "$2"
	FDB+="fdb add $MAC dev flannel.1 dst 172.31.0.$2 self permanent"$'\n'
	q "n$1" "neigh add 10.244.$2.0 lladdr $MAC dev flannel.1 nud permanent
route add 10.244.$2.0/24 via 10.244.$2.0 dev flannel.1 onlink"
}

geneve_queue()
{
	vtep_mac "$1"
	q "n$1" "link add geneve.1 address $MAC mtu $POD_MTU type geneve external
addr add 10.244.$1.0/32 dev geneve.1
link set geneve.1 up"
}

geneve_peer()
{
	local csum=csum

	# Of a device that is told, it is the packet that has the checksum or has it not.
	[ "$TUNNEL_CSUM" = on ] || csum=
	vtep_mac "$2"
	q "n$1" "neigh add 10.244.$2.0 lladdr $MAC dev geneve.1 nud permanent"
	q "n$1" "route add 10.244.$2.0/24 encap ip id 1 dst 172.31.0.$2 ttl 64 $csum" \
		"via 10.244.$2.0 dev geneve.1 onlink"
}

wireguard_queue()
{
	local i=$1 j

	[ "$i" != 1 ] || wireguard_keys
	(
		umask 077
		exec > "$STATE/n$i/wg0.conf"
		printf '[Interface]\nPrivateKey = %s\nListenPort = 51820\n' "${WG_PRIVATE[i]}"
		for ((j = 1; j <= NODES; j++)); do
			[ "$i" = "$j" ] || printf '[Peer]\nPublicKey = %s\n%s\n%s\n' "${WG_PUBLIC[j]}" \
				"Endpoint = 172.31.0.$j:51820" "AllowedIPs = 10.244.$j.0/24"
		done
	)
	q "n$i" "link add wg0 mtu $POD_MTU type wireguard
addr add 10.244.$i.0/32 dev wg0
link set wg0 up"
	after "n$i" "wg setconf wg0 '$STATE/n$i/wg0.conf'"
}

wireguard_keys()
{
	local i

	WG_PRIVATE=() WG_PUBLIC=()
	for ((i = 1; i <= NODES; i++)); do
		WG_PRIVATE[i]=$(wg genkey)
		WG_PUBLIC[i]=$(wg pubkey <<< "${WG_PRIVATE[i]}")
	done
}

wireguard_peer() { q "n$1" "route add 10.244.$2.0/24 dev wg0"; }

none_peer()
{
	local via="172.31.0.$2 dev ${NICS[0]}"

	[[ $UNDERLAY != two-nics || $(($1 % 2)) = 1 ]] || via="172.32.0.$2 dev eth1"
	q "n$1" "route add 10.244.$2.0/24 via $via"
}
