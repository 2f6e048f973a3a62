# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-net.sh - namespaces, underlay, pods and overlay of a bed, for testbed.sh.
# Everything that one namespace needs goes through one "ip -batch": forks are what
# costs time here.

POD_MTU=1450

node_mac()  { printf '02:00:ac:1f:00:%02x\n' "$1"; }
vtep_mac()  { printf '02:00:00:00:01:%02x\n' "$1"; }
batch()     { ip -n "$PREFIX-$1" -batch -; }

# ns_make WHO FORWARD: IPv6 is off so that captures hold nothing but what tests send.
ns_make()
{
	local ns=$PREFIX-$1

	ip netns add "$ns"
	# shellcheck disable=SC2016 # $1 is the inner shell's
	nsenter --net="/run/netns/$ns" -- sh -ec '
		cd /proc/sys/net
		for f in ipv6/conf/all/disable_ipv6 ipv6/conf/default/disable_ipv6; do
			[ ! -e $f ] || echo 1 > $f
		done
		echo "$1" > ipv4/ip_forward' sh "$2"
	ip -n "$ns" link set lo up
}

net_namespaces()
{
	local i

	for ((i = 1; i <= NODES; i++)); do
		ns_make "n$i" 1
		mkdir "$STATE/n$i"
		batch "n$i" <<-END
			link add cni0 type bridge mcast_snooping 0
			link set cni0 address $(printf '0a:58:0a:f4:%02x:01' "$i") mtu $POD_MTU up
			addr add 10.244.$i.1/24 dev cni0
		END
	done
	ns_make out 0
	[ "$NODES" = 2 ] || switch_make
}

switch_make()
{
	ns_make sw 0
	# A switch does not filter, whatever br_netfilter's default is.
	# shellcheck disable=SC2016 # $f is the inner shell's
	in_ns sw sh -c 'cd /proc/sys/net/bridge 2>/dev/null || exit 0
		for f in bridge-nf-call-*tables; do echo 0 > $f; done'
	batch sw <<-END
		link add br0 type bridge mcast_snooping 0
		link set br0 up
	END
}

# ---- underlay -------------------------------------------------------------

net_underlay()
{
	local i

	if [ "$NODES" = 2 ]; then
		underlay_direct
		return
	fi
	for ((i = 1; i <= NODES; i++)); do
		switch_port "n$i" "$(node_mac "$i")" "172.31.0.$i"
		# Packets to services leave the pod or node by this route before DNAT.
		ip -n "$PREFIX-n$i" route add default via 172.31.0.254
	done
	switch_port out "$(node_mac 254)" 172.31.0.254
}

# switch_port WHO MAC ADDRESS
switch_port()
{
	batch sw <<-END
		link add port-$1 type veth peer name eth0 address $2 netns $PREFIX-$1
		link set port-$1 master br0 up
	END
	batch "$1" <<-END
		addr add $3/24 dev eth0
		link set eth0 up
	END
}

underlay_direct()
{
	batch n1 <<-END
		link add eth0 address $(node_mac 1) type veth peer name eth0 address $(node_mac 2) netns $PREFIX-n2
		link add eth1 type veth peer name eth0 netns $PREFIX-out
		addr add 172.31.0.1/24 dev eth0
		addr add 172.30.1.1/24 dev eth1
		link set eth0 up
		link set eth1 up
		route add default via 172.30.1.254
	END
	batch n2 <<-END
		addr add 172.31.0.2/24 dev eth0
		link set eth0 up
		route add default via 172.31.0.1
	END
	batch out <<-END
		addr add 172.30.1.254/24 dev eth0
		link set eth0 up
		route add 172.31.0.0/24 via 172.30.1.1
	END
}

# ---- pods -----------------------------------------------------------------

# MACs are left to the kernel, as with a CNI: a pod that comes back with the same
# address has another one, and stale MACs show.
pod_add()
{
	local i=$1 p=$2 ip

	ip=$(who_ip "n${i}p$p")
	ns_make "n${i}p$p" 0
	batch "n$i" <<-END
		link add veth-p$p mtu $POD_MTU type veth peer name eth0 mtu $POD_MTU netns $PREFIX-n${i}p$p
		link set veth-p$p master cni0
		link set veth-p$p type bridge_slave hairpin on
		link set veth-p$p up
	END
	batch "n${i}p$p" <<-END
		addr add $ip/24 dev eth0
		link set eth0 up
		route add default via 10.244.$i.1
	END
}

pod_del()
{
	local i=$1 p=$2 ip who

	ip=$(who_ip "n${i}p$p")
	# Namespaces die asynchronously. The veth goes first, so that its name is free
	# at once for a successor.
	ip -n "$PREFIX-n$i" link del "veth-p$p"
	ip netns del "$PREFIX-n${i}p$p"
	# The next holder of the address has another MAC. A CNI announces it by gratuitous
	# ARP; forgetting the old one does as well.
	ip -n "$PREFIX-n$i" neigh del "$ip" dev cni0 2>/dev/null || :
	for who in "/run/netns/$PREFIX-n${i}p"*; do
		ip -n "${who##*/}" neigh del "$ip" dev eth0 2>/dev/null || :
	done
}

# ---- overlay --------------------------------------------------------------

net_overlay()
{
	local i j

	for ((i = 1; i <= NODES; i++)); do
		[ "$OVERLAY" = none ] || vtep_make "$i"
		for ((j = 1; j <= NODES; j++)); do
			[ "$i" = "$j" ] || overlay_route "$i" "$j"
		done
	done
}

vtep_make()
{
	local i=$1 csum=udpcsum

	[ "$UDP_CSUM" = on ] || csum=noudpcsum
	batch "n$i" <<-END
		link add flannel.1 address $(vtep_mac "$i") mtu $POD_MTU type vxlan id 1 dstport 8472 local 172.31.0.$i dev eth0 nolearning $csum
		addr add 10.244.$i.0/32 dev flannel.1
		link set flannel.1 up
	END
}

# overlay_route FROM TO: what flannel does for one peer
overlay_route()
{
	local i=$1 j=$2

	if [ "$OVERLAY" = none ]; then
		ip -n "$PREFIX-n$i" route add "10.244.$j.0/24" via "172.31.0.$j" dev eth0
		return
	fi
	batch "n$i" <<-END
		neigh add 10.244.$j.0 lladdr $(vtep_mac "$j") dev flannel.1 nud permanent
		route add 10.244.$j.0/24 via 10.244.$j.0 dev flannel.1 onlink
	END
	bridge -n "$PREFIX-n$i" fdb add "$(vtep_mac "$j")" dev flannel.1 dst "172.31.0.$j" self permanent
}

# One packet between the pods that are furthest apart, and one to the outside host.
net_verify()
{
	[ "$PODS" -gt 0 ] || return 0
	in_ns n1p1 ping -q -c 1 -W 3 "$(who_ip "n${NODES}p1")" >/dev/null ||
		die "the bed is made but n1p1 cannot reach n${NODES}p1:" \
		    "look for firewall rules or sysctls that new namespaces inherit"
	in_ns "n$NODES" ping -q -c 1 -W 3 "$(out_ip)" >/dev/null ||
		die "the bed is made but n$NODES cannot reach $(out_ip)"
}
