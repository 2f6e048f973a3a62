# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed.bash - the network of the test, in network namespaces:
#
#	client .13      router .12      server .14      (second .15)
#	   eth0            eth0            eth0            eth0
#	    |               |               |               |
#	  --+------- br0 in namespace PREFIX-sw, 172.16.239.0/24 ---
#
#   . bed.bash; bed_up; inside client ping -c 1 "$ROUTER"; bed_down
#
# AFXDP_BED is the prefix of its namespaces (default afxdp), so that several can be there.

AFXDP_BED=${AFXDP_BED:-afxdp}
NET=172.16.239
ROUTER=$NET.12 CLIENT=$NET.13 SERVER=$NET.14 SECOND=$NET.15

bed_ns() { echo "$AFXDP_BED-$1"; }

# inside WHO COMMAND...: WHO is client, router, server, second or sw
inside() { nsenter --net="/run/netns/$AFXDP_BED-$1" -- "${@:2}"; }

# bed_mac WHO: fixed, so that a host that is made anew may have another
bed_mac() { printf '02:00:ac:10:ef:%02x' "$1"; }

# bed_host WHO NUMBER [QUEUES [MAC]]
bed_host() {
	local who=$1 number=$2 queues=${3:-1} mac=${4:-}
	ip netns add "$(bed_ns "$who")" || return
	inside "$who" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	ip -n "$(bed_ns sw)" link add "$who" numrxqueues "$queues" numtxqueues "$queues" type veth \
		peer name eth0 netns "$(bed_ns "$who")" address "${mac:-$(bed_mac "$number")}" \
		numrxqueues "$queues" numtxqueues "$queues" &&
		ip -n "$(bed_ns sw)" link set "$who" master br0 up &&
		ip -n "$(bed_ns "$who")" addr add "$NET.$number/24" dev eth0 &&
		ip -n "$(bed_ns "$who")" link set eth0 up &&
		ip -n "$(bed_ns "$who")" link set lo up
}

# bed_up [--queues N] [--second]: N queues of the router's interface
bed_up() {
	local queues=1 second=no
	while [ $# != 0 ]; do
		case $1 in
		--queues) queues=$2 && shift ;;
		--second) second=yes ;;
		esac
		shift
	done
	bed_down
	ip netns add "$(bed_ns sw)" || return
	inside sw sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	# A bridge, no firewall: where br_netfilter is loaded it would check frames, and take time.
	[ ! -e /proc/sys/net/bridge ] || inside sw sysctl -qw net.bridge.bridge-nf-call-iptables=0
	ip -n "$(bed_ns sw)" link add br0 type bridge forward_delay 0 mcast_snooping 0 &&
		ip -n "$(bed_ns sw)" link set br0 up &&
		bed_host router 12 "$queues" && bed_host client 13 && bed_host server 14 || return
	[ $second = no ] || bed_host second 15
}

bed_down() {
	local who
	for who in client router server second sw; do
		[ ! -e "/run/netns/$(bed_ns $who)" ] || ip netns del "$(bed_ns $who)"
	done
}
