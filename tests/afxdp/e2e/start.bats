#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# ./start, ./stop and ./huge, as docs/afxdp.md and the README have them.

# The addresses come from bed.bash, which e2e_env reads.
# shellcheck disable=SC2153

load lib

setup() {
	e2e_env
	OUT=$BATS_TEST_TMPDIR/result
}

teardown() {
	tests/afxdp/stop
	e2e_end
}

figure() { awk -F, -v r="$1" -v m="$2" '$2 == r && $3 == m { print $4; exit }' "$OUT/raw.csv"; }

@test "the README's commands: every measure through every router, a table and a plot" {
	# As root there may be no sudo; what make builds is built.
	awk '/^## AF_XDP/ { on = 1; next } /^## / { on = 0 } on && /^```/ { block = !block; next }
		on && block' README.md | sed 's/sudo //; /^make /d' >"$BATS_TEST_TMPDIR/readme.sh"
	[ "$(grep -c tests/afxdp/ "$BATS_TEST_TMPDIR/readme.sh")" -ge 2 ]
	AFXDP_RESULT=$OUT bash -euxo pipefail "$BATS_TEST_TMPDIR/readme.sh" 3>&-
	for router in direct nft tc xsk; do
		for what in ping_us http_1k_s http_100m_s tcp1_up_gbit tcp1_down_gbit tcp8_up_gbit \
			tcp8_down_gbit udp_mbit udp_rtt_us tcp_rtt_us tcp_trip_us pps tcp1_up_cpu; do
			[ -n "$(figure $router $what)" ] || { echo "no $what of $router"; cat "$OUT/client.log"; return 1; }
		done
		[ "$(figure $router ping_loss_percent)" = 0 ]
		[ "$(awk -v x="$(figure $router pps)" 'BEGIN { print (x > 1000) }')" = 1 ]
	done
	for what in flood flood_made_cpu flood_router_cpu; do
		[ "$(figure xsk $what)" -gt 0 ]
	done
	run ! grep -q _wrong "$OUT/raw.csv"
	grep -q '^| HTTP get, 100 MiB, s |' "$OUT/table.md"
	python3 -c "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])" "$OUT/plot.svg"
	grep -q 'eth0: native, copies' "$OUT/router.log"
	grep -q iperf3 "$OUT/server.log"
	[ ! -e "/run/netns/$AFXDP_BED-router" ]
}

@test "./start --keep leaves it running, ./stop ends it" {
	tests/afxdp/start --netns --rounds 1 --seconds 1 --routers xsk --measures ping --keep --result "$OUT"
	[ -n "$(figure xsk ping_us)" ]
	inside client ping -q -c 1 -W 5 "$SERVER"
	tests/afxdp/stop
	[ ! -e "/run/netns/$AFXDP_BED-client" ]
	run ! pgrep -f "afxdp-$AFXDP_BED-www"
}

@test "./start says what is wrong with its options" {
	run -2 tests/afxdp/start --rounds 0
	[[ $output == *"whole numbers"* ]]
	run -2 tests/afxdp/start --routers direct,foo
	[[ $output == *"no router 'foo'"* ]]
	run -2 tests/afxdp/start --measures speed
	[[ $output == *"no measure 'speed'"* ]]
	run -2 tests/afxdp/start --fast
	[[ $output == *"no option '--fast'"* ]]
	BUILD=nowhere run -1 tests/afxdp/start --netns
	[[ $output == *"run 'make afxdp'"* ]]
}

@test "./huge sets pages aside, xsk-router takes them, and gives them back" {
	local before

	before=$(</proc/sys/vm/nr_hugepages)
	[ "$before" = 0 ] || skip "allowed: others use huge pages here"
	tests/afxdp/huge 8 || skip "allowed: no memory for huge pages"
	bed_up
	router --huge yes
	serve server tcp 80
	flow client tcp "$ROUTER" 80 --rounds 20
	router_end
	tests/afxdp/huge 0
	summary '.pages == "huge pages"'
	[ "$(</proc/sys/vm/nr_hugepages)" = 0 ]
	run -1 inside router "$ROUTER_BIN" -i eth0 -s "$SERVER" --huge yes
	[[ $output == *"run ./huge"* ]]
	run -2 tests/afxdp/huge many
	[[ $output == *"not a number"* ]]
}
