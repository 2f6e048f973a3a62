# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# where-netns.bash - for ./start and ./stop: the three in network namespaces.

BIN=${build:-}/afxdp
WWW=/tmp/afxdp-$AFXDP_BED-www

on() { nsenter --net="/run/netns/$AFXDP_BED-$1" -- "${@:2}"; }

where_up() {
	bed_up
	www "$WWW"
	on router sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.send_redirects=0 \
		net.ipv4.conf.eth0.send_redirects=0
}

# Also what an interrupted run left in the namespaces.
where_down() {
	local who pid
	for who in client router server; do
		[ -e "/run/netns/$(bed_ns $who)" ] || continue
		for pid in $(ip netns pids "$(bed_ns $who)"); do
			kill "$pid" 2>/dev/null || :
		done
	done
	bed_down
	rm -rf "$WWW" /tmp/afxdp-"$AFXDP_BED"-*.pid
}
