#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# xsk-router on a network card instead of a veth pair, in a virtual machine that has two of them on
# one wire: the router's, and one that is in the bridge in the place of the router's veth.
#
#	client .13      router .12               server .14
#	   eth0         eth0 (a card)               eth0
#	    |            :                           |
#	  --+------------: card 2 ------- br0 -------+----

load lib

setup() {
	# They are taken away from the machine.
	[ -n "${AFXDP_CARDS:-}" ] || skip "allowed: needs two cards of its own: scripts/vm.sh run --cards"
	e2e_env
	bed_up
	read -r card second <<<"$AFXDP_CARDS"
	ip -n "$(bed_ns sw)" link del router
	ip link set "$card" netns "$(bed_ns router)" name eth0
	ip link set "$second" netns "$(bed_ns sw)" name card
	ip -n "$(bed_ns sw)" link set card master br0 up
	ip -n "$(bed_ns router)" link set eth0 address "$(bed_mac 12)" up
	ip -n "$(bed_ns router)" addr add "$ROUTER/24" dev eth0
}

teardown() {
	[ -n "${AFXDP_CARDS:-}" ] || return 0
	# A card survives its namespace.
	ip -n "$(bed_ns router)" link set eth0 down name "${AFXDP_CARDS% *}" netns 1
	ip -n "$(bed_ns sw)" link set card down name "${AFXDP_CARDS#* }" netns 1
	e2e_end
}

# has_zerocopy: whether the driver of this kernel takes such a socket; there is one reason not to
has_zerocopy() {
	local log=$BATS_TEST_TMPDIR/zerocopy.log

	if inside router "$ROUTER_BIN" -i eth0 -s "$SERVER" --mode zerocopy --duration 1 >"$log" 2>&1; then
		return 0
	fi
	grep -q 'its driver has no zero-copy (Operation not supported): use --mode auto' "$log" ||
		{ cat "$log"; touch "$BATS_TEST_TMPDIR/wrong"; }
	return 1
}

traffic() {
	serve server tcp 80
	serve server udp 81
	flow client tcp "$ROUTER" 80 --connections 4 --rounds 20
	flow client tcp "$ROUTER" 80 --mode duplex --bytes 1000000
	flow client udp "$ROUTER" 81 --sizes 24,512,1472 --rounds 50 --wait-ms 5000
	inside client ping -q -c 3 -i 0.05 -W 5 "$ROUTER"
}

@test "--mode auto: zero-copy where the driver has it, and else copies" {
	local mode="native, copies"

	! has_zerocopy || mode=zerocopy
	[ ! -e "$BATS_TEST_TMPDIR/wrong" ]
	router --mode auto
	traffic
	router_end
	summary ".mode == \"$mode\" and .dropped == 0"
}

@test "--mode zerocopy: works, or says why not and leaves the card as it was" {
	if has_zerocopy; then
		router --mode zerocopy
		traffic
		router_end
		summary '.mode == "zerocopy"'
	else
		[ ! -e "$BATS_TEST_TMPDIR/wrong" ]
	fi
	[ "$(xdp_programs)" = 0 ]
}

@test "--mode native: copies, whatever the driver has" {
	router --mode native
	traffic
	router_end
	summary '.mode == "native, copies" and .dropped == 0'
}
