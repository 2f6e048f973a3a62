#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Nodes that are not on one network: a gateway that changes its hardware, one that dies and is replaced by
# another, a path that is not the same in both directions; and a node's interface that is replaced, with
# and without the overlay's device, which is made anew as a CNI does. See lib.bash for load and pods.
#
#   n1   n2                   n3 172.31.0.3/32
#    |    |                   |
#    sw: br0 172.31.0.0/24    br9 172.31.9.0/24
#          |`---- gwa .201 ----'|
#           `---- gwb .202 -----'
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib

setup_file()
{
	local g

	faults_up
	for g in a b; do
		gateway_up $g $((201 + 16#$g - 10))
	done
	inside sw ip link add br9 type bridge mcast_snooping 0
	inside sw ip link set br9 up
	for g in a b; do
		inside sw ip link set "inner-gw$g" master br9 up
	done
	n3_behind
	routes_by a
	inside n1 ping -q -c 1 -W 3 172.31.0.3 >/dev/null
}

teardown_file()
{
	faults_down
	gateways_down
}

setup()    { test_begin; }
teardown() { unfilter; fault_end; }

# gateway_up A|B NUMBER: a router between br0 and br9
gateway_up()
{
	local ns=$XMASQ_BED-gw$1 n=$2

	gateway_down "$1"
	ip netns add "$ns"
	inside sw ip link add "outer-gw$1" type veth peer name eth0 netns "$ns"
	inside sw ip link add "inner-gw$1" type veth peer name eth1 netns "$ns"
	inside sw ip link set "outer-gw$1" master br0 up
	inside "gw$1" ip -batch - <<-END
		link set lo up
		addr add 172.31.0.$n/24 dev eth0
		addr add 172.31.9.$n/24 dev eth1
		link set eth0 up
		link set eth1 up
		route add 172.31.0.3/32 dev eth1
	END
	# A new address is announced when a test changes one.
	inside "gw$1" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 \
		net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0 \
		net.ipv4.conf.all.send_redirects=0
}

gateway_down() { [ ! -e "/run/netns/$XMASQ_BED-gw$1" ] || ip netns del "$XMASQ_BED-gw$1"; }

gateways_down()
{
	gateway_down a
	gateway_down b
}

# n3_behind: its wire goes to br9, its address stays
n3_behind()
{
	inside sw ip link set "$(port_of n3)" master br9
	inside n3 ip addr del 172.31.0.3/24 dev "$NIC"
	inside n3 ip addr add 172.31.0.3/32 dev "$NIC"
	inside n3 ip route add 172.31.9.0/24 dev "$NIC" src 172.31.0.3
}

# there_by A|B: n1 and n2 reach n3 by this gateway; back_by: n3 reaches them; routes_by: both
there_by()
{
	local n

	for n in n1 n2; do
		inside $n ip route replace 172.31.0.3/32 via "172.31.0.20$((16#$1 - 9))"
	done
}

back_by()
{
	inside n3 ip route replace 172.31.0.0/24 via "172.31.9.20$((16#$1 - 9))" src 172.31.0.3
	inside n3 ip route replace default via "172.31.9.20$((16#$1 - 9))" src 172.31.0.3
}

routes_by()
{
	there_by "$1"
	back_by "$1"
}

# carries A|B: between the nodes it does, now
carries()
{
	local before

	before=$(gateway_count "$1")
	sleep 0.3
	[ $(($(gateway_count "$1") - before)) -gt 50 ]
}

gateway_count()
{
	inside "gw$1" cat /proc/net/dev | awk '$1 ~ /^eth[01]:$/ { n += $3 } END { print n }'
}

@test "a gateway between nodes gets another MAC address, announced or not" {
	local n

	fault_begin
	carries a
	inside gwa sysctl -qw net.ipv4.conf.eth0.arp_notify=1 net.ipv4.conf.eth1.arp_notify=1
	inside gwa ip link set eth0 address 02:00:00:00:99:01
	inside gwa ip link set eth1 address 02:00:00:00:99:02
	outcome "the gateway's MACs changed, announced" 2500 400
	back 10
	load_mark
	inside gwa sysctl -qw net.ipv4.conf.eth0.arp_notify=0 net.ipv4.conf.eth1.arp_notify=0
	inside gwa ip link set eth0 address 02:00:00:00:99:03
	inside gwa ip link set eth1 address 02:00:00:00:99:04
	# What ARP finds out in some seconds.
	for n in n1 n2 n3; do
		inside $n ip neigh flush dev "$NIC"
	done
	outcome "the gateway's MACs changed, found out" 2500 400
	back 10
	load_end
}

@test "a gateway dies, routes change to another; the ways there and back differ" {
	long_form
	fault_begin
	there_by b
	outcome "n1 and n2 go by the other gateway, n3 comes by the first" 1000 50
	wait_until 5 carries b
	# A hello that took the way back would not notice.
	load_mark
	filter 'oifname "outer-gwb" th sport 18477 drop' 'oifname "outer-gwb" th dport 18477 drop'
	wait_until 6 peer_is n1 n3 down
	wait_until 6 peer_is n2 n3 down
	sleep 3
	outcome "the port filtered on the way there only, by a gateway that hellos do not come from" 7500 900
	# It stays noticed.
	load_mark
	sleep 3
	outcome "the same, all on the overlay" 1500 0
	unfilter
	back 20
	load_mark
	# The first is dead, which the routing protocol finds out half a second later.
	inside sw ip link set inner-gwa down
	inside sw ip link set outer-gwa down
	sleep 0.5
	back_by b
	outcome "a gateway dead, routes changed 0.5 s later" 3000 900
	back 15
	inside sw ip link set inner-gwa up
	inside sw ip link set outer-gwa up
	load_mark
	routes_by a
	outcome "back to the first gateway" 1000 50
	wait_until 5 carries a
	back 10
	load_end
}

# ---- a NIC that is replaced --------------------------------------------------------

# overlay_anew NODE [bound]: its VXLAN device and all that flannel tells it, also when it was there
overlay_anew()
{
	local i=${1#n} j dev='' mac

	[ "${2:-}" != bound ] || dev="dev $NIC"
	inside "$1" ip link del flannel.1 2>/dev/null || :
	printf -v mac '02:00:00:00:01:%02x' "$i"
	# shellcheck disable=SC2086 # words
	inside "$1" ip link add flannel.1 address $mac mtu "$POD_MTU" type vxlan id 1 dstport 8472 \
		local "172.31.0.$i" $dev nolearning udpcsum
	inside "$1" ip addr add "10.244.$i.0/32" dev flannel.1
	inside "$1" ip link set flannel.1 up
	for j in 1 2 3; do
		[ "$j" != "$i" ] || continue
		printf -v mac '02:00:00:00:01:%02x' $j
		inside "$1" bridge fdb add "$mac" dev flannel.1 dst "172.31.0.$j" self permanent
		inside "$1" ip neigh add "10.244.$j.0" lladdr "$mac" dev flannel.1 nud permanent
		inside "$1" ip route add "10.244.$j.0/24" via "10.244.$j.0" dev flannel.1 onlink
	done
}

# nic_anew NODE MAC: its interface is unplugged, another one takes the address and routes
nic_anew()
{
	local i=${1#n} port

	port=$(port_of "$1")
	inside "$1" ip link del "$NIC"
	inside sw ip link add "$port" type veth peer name "$NIC" address "$2" netns "$XMASQ_BED-$1"
	inside sw ip link set "$port" master br0 up
	inside "$1" ip addr add "172.31.0.$i/24" dev "$NIC"
	inside "$1" ip link set "$NIC" up
	inside "$1" ip route add default via 172.31.0.254
	inside "$1" ip route add 172.31.0.3/32 via 172.31.0.201
}

# Where /sys is mounted it shows the machine's.
nic_index() { inside "$1" ip -j link show dev "$NIC" | jq '.[0].ifindex'; }

@test "a node's interface replaced, its overlay device bound to it or not" {
	local before

	fault_begin
	[ "$OVERLAY" = vxlan ] || skip "allowed: the test makes a VXLAN device anew"
	before=$(nic_index n2)
	nic_anew n2 02:00:ac:1f:77:01
	# Gone with the interface that it was bound to.
	run -1 inside n2 ip link show flannel.1
	overlay_anew n2
	back 20
	outcome "n2's interface replaced, its bound VXLAN device made anew" 6000 1200
	[ "$(nic_index n2)" != "$before" ]
	# Not bound this time: it stays.
	load_mark
	nic_anew n2 02:00:ac:1f:77:02
	back 20
	outcome "n2's interface replaced under a VXLAN device that is not bound" 6000 1200
	load_mark
	overlay_anew n2 bound
	back 15
	outcome "n2's VXLAN device made anew" 2500 600
	load_end
}
