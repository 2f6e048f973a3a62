# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-net.sh - namespaces and underlay of a bed, for testbed.sh. Everything is queued
# (bed-batch.sh); net_links does it.

node_mac()  { printf -v MAC '02:00:ac:1f:00:%02x' "$1"; }

# net_namespaces: all of them; sets WHOLE to nodes, outside host and switch, and PODS_MADE to
# the pods that have a namespace of their own
net_namespaces()
{
	local i p who text='' aliases=()

	WHOLE=() PODS_MADE=()
	for ((i = 1; i <= NODES; i++)); do
		WHOLE+=("n$i")
		ns_begin "n$i" 1
		[ "$FIREWALL" = no ] || bridge_filters "n$i"
		mkdir "$STATE/n$i"
		for ((p = 1; p <= PODS; p++)); do
			kind_of "$p"
			if [ "$KIND" = host-local ]; then
				aliases+=("n${i}p$p")
			else
				PODS_MADE+=("n${i}p$p")
				ns_begin "n${i}p$p" 0
			fi
		done
	done
	ns_begin out 0
	WHOLE+=(out)
	if [ "$UNDERLAY" != veth ]; then
		# First: it is the one that makes the wires.
		WHOLE=(sw "${WHOLE[@]}")
		ns_begin sw 0
	fi
	for who in "${WHOLE[@]}" "${PODS_MADE[@]}"; do
		text+="netns add $PREFIX-$who"$'\n'
	done
	ip -batch - <<< "$text" || die "cannot make namespaces: the message is above"
	pods_alias "${aliases[@]}"
}

# bridge_filters NODE: what Kubernetes asks of a node, for services between pods of one bridge:
# the answer has to pass the rules that translated the question
bridge_filters()
{
	before "$1" '[ -e bridge/bridge-nf-call-iptables ] || modprobe -q br_netfilter || :
		[ ! -e bridge/bridge-nf-call-iptables ] || echo 1 > bridge/bridge-nf-call-iptables'
}

# ns_begin WHO FORWARD: IPv6 is off so that captures hold nothing but what tests send.
ns_begin()
{
	before "$1" "for f in all default; do
			[ ! -e ipv6/conf/\$f ] || echo 1 > ipv6/conf/\$f/disable_ipv6
		done
		echo $2 > ipv4/ip_forward"
	q "$1" 'link set lo up'
}

# ---- underlay -------------------------------------------------------------

net_underlay()
{
	local i

	if [ "$UNDERLAY" = veth ]; then
		underlay_direct
		return
	fi
	# A switch does not filter, whatever br_netfilter's default is.
	before sw "for f in bridge/bridge-nf-call-*tables; do
			[ ! -e \$f ] || echo 0 > \$f
		done"
	q sw 'link add br0 type bridge mcast_snooping 0' $'\nlink set br0 up'
	if [ "$UNDERLAY" = two-nics ]; then
		q sw 'link add br1 type bridge mcast_snooping 0' $'\nlink set br1 up'
	fi
	for ((i = 1; i <= NODES; i++)); do
		switch_port "n$i" "$i"
	done
	switch_port out 254
}

# switch_port WHO NUMBER: what leads to the switch, and the address there
switch_port()
{
	local who=$1 n=$2 nic=eth0

	node_mac "$n"
	wire "$who" port br0 eth0 "address $MAC"
	case $UNDERLAY:$who in
	vlan:*)
		nic=eth0.100
		q "$who" 'link set eth0 up'
		q "$who" 'link add link eth0 name eth0.100 type vlan id 100' ;;
	two-nics:n*)
		wire "$who" porx br1 eth1 ''
		q "$who" "addr add 172.32.0.$n/24 dev eth1"
		q "$who" 'link set eth1 up'
		# What comes in by the other NIC is no martian.
		# shellcheck disable=SC2016 # $f is the inner shell's
		before "$who" 'for f in all default; do echo 0 > ipv4/conf/$f/rp_filter; done' ;;
	bond:n*)
		nic=bond0
		wire "$who" porx br0 eth1 ''
		q "$who" "link add bond0 address $MAC type bond mode active-backup miimon 100"
		q "$who" 'link set eth0 master bond0'
		q "$who" 'link set eth1 master bond0' ;;
	esac
	q "$who" "addr add 172.31.0.$n/24 dev $nic"
	q "$who" "link set $nic up"
	[[ $who != n* ]] || underlay_routes "$who" "$n"
}

# wire WHO PORT BRIDGE NIC ATTRIBUTES: a cable from the switch to NIC of WHO
wire()
{
	q sw "link add $2-$1 type veth peer name $4 $5 netns $PREFIX-$1"
	q sw "link set $2-$1 master $3 up"
}

underlay_routes()
{
	local j

	# Packets to services leave the pod or node by this route before DNAT.
	q "$1" 'route add default via 172.31.0.254'
	[ "$UNDERLAY" = two-nics ] || return 0
	# Like one choice of equal-cost routes, but always the same: odd nodes send to the other
	# nodes' addresses by eth0, even ones by eth1, so that a flow's two directions between n1
	# and n2 use different NICs.
	[ $(($2 % 2)) = 0 ] || return 0
	for ((j = 1; j <= NODES; j++)); do
		[ "$j" = "$2" ] || q "$1" "route add 172.31.0.$j/32 via 172.32.0.$j dev eth1 src 172.31.0.$2"
	done
}

underlay_direct()
{
	node_mac 2
	local mac2=$MAC

	node_mac 1
	q n1 "link add eth0 address $MAC type veth peer name eth0 address $mac2 netns $PREFIX-n2
link add eth1 type veth peer name eth0 netns $PREFIX-out
addr add 172.31.0.1/24 dev eth0
addr add 172.30.1.1/24 dev eth1
link set eth0 up
link set eth1 up
route add default via 172.30.1.254"
	q n2 "addr add 172.31.0.2/24 dev eth0
link set eth0 up
route add default via 172.31.0.1"
	q out "addr add 172.30.1.254/24 dev eth0
link set eth0 up
route add 172.31.0.0/24 via 172.30.1.1"
}

# net_verify: one packet between the pods that are furthest apart, one to the outside host
net_verify()
{
	local who

	[ "$PODS" -gt 0 ] || return 0
	run_all net_reaches n1p1 "n$NODES" || die "the bed is made, but not all of it is reachable:" \
		"look for firewall rules or sysctls that new namespaces inherit"
}

# net_reaches WHO: a pod reaches the last node's first pod, a node the outside host
net_reaches()
{
	local to=out try

	[[ $1 != n*p* ]] || to=n${NODES}p1
	who_ip "$to"
	# Open vSwitch may still be taking its flows.
	for try in 1 1 3 5; do
		in_ns "$1" ping -q -c 1 -W "$try" "$IP" >/dev/null && return 0
	done
	say "$1 cannot reach $to ($IP)"
	return 1
}
