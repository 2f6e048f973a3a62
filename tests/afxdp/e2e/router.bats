#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# xsk-router between a client and a server; the network is drawn in ../bed.bash.

load lib

setup()    { e2e_env; }
teardown() { e2e_end; }

@test "TCP and UDP get through both ways, byte for byte, with checksum offload left on" {
	bed_up
	router
	serve server tcp 80
	serve server udp 81
	for who in client server; do
		inside $who ethtool -k eth0 | grep -q '^tx-checksumming: on'
	done
	flow client tcp "$ROUTER" 80 --connections 4 --rounds 50
	flow client tcp "$ROUTER" 80 --mode stream --bytes 20000000
	flow client tcp "$ROUTER" 80 --mode duplex --bytes 5000000
	flow client udp "$ROUTER" 81 --sizes 24,25,512,1471,1472 --rounds 200 --wait-ms 5000
	flow client udp "$ROUTER" 81 --no-check --rounds 20 --wait-ms 5000
	router_end
	summary '.partial > 1000 and .dropped == 0 and .flows == 8'
	grep -q 'partial ones completed by the kernel' "$BATS_TEST_TMPDIR/router.log"
}

@test "the same with partial checksums completed by the router, and with whole ones" {
	bed_up
	router --checksum complete
	serve server tcp 80
	flow client tcp "$ROUTER" 80 --mode duplex --bytes 5000000
	inside client ethtool -K eth0 tx off >/dev/null
	flow client tcp "$ROUTER" 80 --mode stream --bytes 5000000
	router_end
	grep -q 'partial ones completed here' "$BATS_TEST_TMPDIR/router.log"
	summary '.partial > 1000 and .dropped == 0'
}

@test "ping: no loss, the router resolves by itself, and errors come back" {
	bed_up
	router
	run -0 inside client ping -c 20 -i 0.02 -W 5 "$ROUTER"
	[[ $output == *" 0% packet loss"* && $output == *"ttl=63"* ]]
	[ -z "$(ip -n "$(bed_ns router)" neigh show dev eth0)" ]
	# Nobody listens on 9: the server's ICMP error ends up at the client's socket.
	run -0 inside client python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(20)
s.connect(('$ROUTER', 9))
s.send(b'x')
try:
    s.recv(1)
except ConnectionRefusedError:
    print('refused')"
	[ "$output" = refused ]
	router_end
	summary '.arp.known == 2 and .xdp["to-socket"] > 40'
}

@test "two clients with the same ports and identifiers get their own answers" {
	bed_up --second
	router
	serve server tcp 80
	serve server udp 81
	for proto in tcp:80 udp:81; do
		for who in client second; do
			start "$BATS_TEST_TMPDIR/$who" '' $who "$FLOW" client --"${proto%:*}" --host "$ROUTER" \
				--port "${proto#*:}" --source-port 5000 --connections 8 --rounds 300 \
				--wait-ms 5000 --timeout 60
		done
		wait "${PIDS[-1]}"
		wait "${PIDS[-2]}"
	done
	inside client ping -q -e 7 -c 5 -i 0.02 -W 5 "$ROUTER" >/dev/null &
	inside second ping -q -e 7 -c 5 -i 0.02 -W 5 "$ROUTER" >/dev/null
	wait $!
	router_end
	summary '.flows >= 34 and .dropped == 0'
}

@test "only listed clients are served; the server's own connections reach the only one" {
	bed_up --second
	router -c "$CLIENT"
	serve client tcp 90
	serve server tcp 80
	flow server tcp "$ROUTER" 90 --rounds 20
	flow client tcp "$ROUTER" 80 --rounds 20
	run ! inside second ping -q -c 1 -W 1 "$ROUTER"
	router_end
	summary '.why["not-client"] > 0'
}

# kill_router: at once, and started again with the same options; TCP has to bear the gap
kill_router() {
	kill -KILL "$ROUTER_PID"
	wait "$ROUTER_PID" || :
	[ "$(xdp_programs)" = 1 ]
	sleep 0.3
	router "$@"
	grep -q 'xsk-router that was killed' "$BATS_TEST_TMPDIR/router.log"
}

@test "killed and started again under load: TCP in both directions survives" {
	local flows=() i who port mode

	bed_up
	router -c "$CLIENT"
	serve server tcp 80
	serve client tcp 90
	while read -r who port mode; do
		start "$BATS_TEST_TMPDIR/flow.${#flows[@]}" '' "$who" "$FLOW" client --tcp --host "$ROUTER" \
			--port "$port" --mode "$mode" --duration 6 --timeout 100
		flows+=("${PIDS[-1]}")
	done <<-END
		client 80 stream
		client 80 duplex
		server 90 duplex
	END
	for i in 1 2; do
		sleep 1
		kill_router -c "$CLIENT"
	done
	for i in "${flows[@]}"; do
		wait "$i"
	done
	router_end
	summary '.rx > 0'
	[ "$(xdp_programs)" = 0 ]
}

@test "killed and started again: clients with the same ports keep theirs; another --flows does not lose them" {
	local flows=() i who

	bed_up --second
	router
	serve server tcp 80
	# The same ports, so that half of them are changed towards the server. Each transfer in both directions.
	for who in client second; do
		start "$BATS_TEST_TMPDIR/flow.$who" '' "$who" "$FLOW" client --tcp --host "$ROUTER" --port 80 \
			--source-port 5000 --connections 4 --mode duplex --duration 6 --timeout 100
		flows+=("${PIDS[-1]}")
	done
	for i in 65536 1000; do
		sleep 1
		kill_router --flows $i
		grep -q 'killed; 8 of its flows go on' "$BATS_TEST_TMPDIR/router.log"
	done
	for i in "${flows[@]}"; do
		wait "$i"
	done
	# Not one of them was made anew, with another port.
	router_end
	summary '.flows_taken_over == 8 and .flows_made == 0 and .why["no-state"] == 0'
	# What ended orderly leaves nothing.
	router
	router_end
	summary '.flows_taken_over == 0'
}

@test "a second router, and another's XDP program, are refused and left alone" {
	local obj id

	obj=/usr/lib/$(gcc -print-multiarch)/bpf/xsk_def_xdp_prog.o

	bed_up
	router
	run -1 inside router "$ROUTER_BIN" -i eth0 -s "$SERVER"
	[[ $output == *"another xsk-router serves it"* ]]
	inside client ping -q -c 1 -W 5 "$ROUTER"
	router_end
	[ "$(xdp_programs)" = 0 ]

	ip -n "$(bed_ns router)" link set eth0 xdp obj "$obj" sec xdp 2>/dev/null
	id=$(ip -n "$(bed_ns router)" link show eth0 | grep -o 'prog/xdp id [0-9]*')
	run -1 inside router "$ROUTER_BIN" -i eth0 -s "$SERVER"
	[[ $output == *"another XDP program is there"* ]]
	ip -n "$(bed_ns router)" link show eth0 | grep -q "$id"
}

both_attached() {
	inside router xdp-loader status eth0 | tee "$BATS_TEST_TMPDIR/status"
	[ "$(grep -c xdpfilt_alw_tcp "$BATS_TEST_TMPDIR/status")" = 1 ]
	[ "$(grep -c xsk_front "$BATS_TEST_TMPDIR/status")" = 1 ]
}

@test "libxdp's dispatcher: the other program stays, before and after" {
	local obj who i flows=()

	obj=/usr/lib/$(gcc -print-multiarch)/bpf/xdpfilt_alw_tcp.o

	bed_up --second
	inside router xdp-loader load -m native eth0 "$obj" -s xdp >"$BATS_TEST_TMPDIR/load" 2>&1 || :
	inside router xdp-loader status eth0 >"$BATS_TEST_TMPDIR/status"
	grep -q xdp_dispatcher "$BATS_TEST_TMPDIR/status" ||
		skip "${AFXDP_DISPATCHER:-allowed}: this kernel takes no programs of type EXT, so there is no dispatcher"
	router
	both_attached
	serve server tcp 80
	for who in client second; do
		start "$BATS_TEST_TMPDIR/flow.$who" '' "$who" "$FLOW" client --tcp --host "$ROUTER" --port 80 \
			--source-port 5000 --mode duplex --duration 5 --timeout 200
		flows+=("${PIDS[-1]}")
	done
	# shellcheck disable=SC2016 # evaluated each time
	wait_until 20 eval '[ "$(inside server ss -Htn state established sport = :80 | wc -l)" = 2 ]'
	# What a killed one left beside the other program is replaced, and only that.
	kill -KILL "$ROUTER_PID"
	wait "$ROUTER_PID" || :
	both_attached
	router
	grep -q 'killed; 2 of its flows go on' "$BATS_TEST_TMPDIR/router.log"
	both_attached
	for i in "${flows[@]}"; do
		wait "$i"
	done
	router_end
	summary '.flows_made == 0'
	inside router xdp-loader status eth0 >"$BATS_TEST_TMPDIR/status"
	grep -q xdpfilt_alw_tcp "$BATS_TEST_TMPDIR/status"
	run ! grep -q xsk_front "$BATS_TEST_TMPDIR/status"
}

@test "generic XDP works when senders segment by themselves; lost long frames are counted" {
	bed_up
	router --mode skb
	serve server tcp 80
	# They come as one of 60 kB from a sender that leaves it to the network card.
	run ! flow client tcp "$ROUTER" 80 --mode stream --bytes 2000000 --timeout 2
	for who in client server; do
		inside $who ethtool -K eth0 tso off gso off >/dev/null
	done
	flow client tcp "$ROUTER" 80 --mode duplex --bytes 2000000
	router_end
	summary '.mode | test("generic")'
	summary '.queues[0]["rx-dropped"] > 0'
}

@test "malformed frames and noise are counted and hurt nobody" {
	local sent

	bed_up --second
	router
	serve server tcp 80
	sent=$(inside client "$BATS_TEST_DIRNAME/inject.py" malformed)
	[ "$sent" = 17 ]
	inside second "$BATS_TEST_DIRNAME/inject.py" random 5000
	flow client tcp "$ROUTER" 80 --rounds 50
	router_end
	summary '.why | .truncated > 0 and .malformed >= 5 and .["ip-checksum"] > 0 and .ttl > 0
		and .source > 0 and .["arp-malformed"] >= 2'
	summary '.frames == .frames_free + .queues[0].rings.fill + .queues[0].rings.rx + .arp.held'
}

@test "ARP: a liar takes over no address, a replaced server has its within seconds" {
	local i

	bed_up --second
	router
	serve server tcp 80
	flow client tcp "$ROUTER" 80 --rounds 5
	inside second "$BATS_TEST_DIRNAME/inject.py" spoof "$SERVER"
	inside second "$BATS_TEST_DIRNAME/inject.py" spoof "$CLIENT"
	for i in 1 2 3; do
		flow client tcp "$ROUTER" 80 --rounds 20
		inside second "$BATS_TEST_DIRNAME/inject.py" spoof "$SERVER"
	done
	# The same address with another MAC, which announces itself as it asks for the router.
	ip -n "$(bed_ns server)" link set eth0 address 02:00:00:00:77:77
	wait_until 20 inside server ping -q -c 1 -W 1 "$CLIENT"
	wait_until 20 flow client tcp "$ROUTER" 80 --rounds 5
	router_end
	summary '.arp.conflicts >= 4 and .arp.known == 2'
}

@test "a router that stands still loses what its rings cannot hold, counts it, and goes on" {
	bed_up
	router --ring 64
	serve server tcp 80
	flow client tcp "$ROUTER" 80 --rounds 5
	kill -STOP "$ROUTER_PID"
	inside client python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(1000):
    s.sendto(b'x' * 100, ('$ROUTER', 7000))"
	kill -CONT "$ROUTER_PID"
	flow client tcp "$ROUTER" 80 --rounds 50
	router_end
	summary '.queues[0] | .["rx-ring-full"] + .["fill-ring-empty"] >= 800'
	# Each once: all that were sent came or were dropped.
	summary '.dropped + .rx >= 1000 and .dropped >= 800 and .dropped < 1000 and .frames == .frames_free + .queues[0].rings.fill'
}

@test "fragments and what is not for the router: by rule" {
	bed_up
	router
	run ! inside client ping -q -c 1 -W 1 -s 3000 "$ROUTER"
	inside client ping -q -c 1 -W 5 -s 1472 "$ROUTER"
	router_end
	summary '.xdp.fragments >= 3 and .xdp["dropped-fragments"] == .xdp.fragments'
	router --fragments kernel --others drop
	run ! inside client ping -q -c 1 -W 1 -s 3000 "$ROUTER"
	# IGMP, say, of no interest to the router
	inside client python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
s.sendto(b'x' * 20, ('$ROUTER', 0))"
	router_end
	summary '.xdp.fragments >= 3 and .xdp["dropped-fragments"] == 0 and .xdp["dropped-others"] > 0'
}

@test "VLAN: a tagged network of its own, when tags are in the frame" {
	bed_up
	# What XDP sees has the tag only then: beside the packet it would be lost.
	inside sw ethtool -K router txvlan off >/dev/null
	router
	start "$BATS_TEST_TMPDIR/vlan.server" ready server "$BATS_TEST_DIRNAME/vlan.py" "$SERVER"
	inside client "$BATS_TEST_DIRNAME/vlan.py" "$CLIENT" "$ROUTER"
	# Nothing of it is known in the network without a tag.
	inside client ping -q -c 1 -W 5 "$ROUTER"
	router_end
	summary '.arp.known == 4 and .flows == 2'
}

@test "several queues: all are served" {
	bed_up --queues 2
	router
	serve server tcp 80
	flow client tcp "$ROUTER" 80 --connections 32 --rounds 50
	flow client tcp "$ROUTER" 80 --connections 4 --mode duplex --bytes 1000000
	router_end
	summary '(.queues | length) == 2 and .dropped == 0 and ([.queues[] | .in > 20 and .out > 20] | all)'
	grep -q ', 2 queues,' "$BATS_TEST_TMPDIR/router.log"
	# Fewer to send on than to receive from.
	inside router ethtool -L eth0 rx 2 tx 1
	router
	flow client tcp "$ROUTER" 80 --connections 32 --rounds 50
	router_end
	summary '(.queues | length) == 2 and .dropped == 0 and ([.queues[].in > 20] | all) and .queues[1].out == 0'
}

@test "an interface that goes away ends the router, which says so" {
	bed_up
	router
	ip -n "$(bed_ns sw)" link del router
	run wait "$ROUTER_PID"
	wait_until 20 grep -q 'eth0: the interface is gone' "$BATS_TEST_TMPDIR/router.log"
}

@test "jumbo frames: an MTU that does not fit is refused, with what would" {
	bed_up
	ip -n "$(bed_ns router)" link set eth0 mtu 9000
	run -1 inside router "$ROUTER_BIN" -i eth0 -s "$SERVER"
	[[ $output == *"MTU 9000"*"ip link set eth0 mtu 3822"* ]]
	[ "$(xdp_programs)" = 0 ]
	# Larger than the default, as large as native XDP on veth takes.
	for who in client router server; do
		ip -n "$(bed_ns sw)" link set $who mtu 3400
		ip -n "$(bed_ns $who)" link set eth0 mtu 3400
	done
	router
	serve server tcp 80
	flow client tcp "$ROUTER" 80 --mode duplex --bytes 3000000
	inside client ping -q -c 1 -W 5 -M "do" -s 3300 "$ROUTER"
	router_end
	summary '.dropped == 0 and .tx_bytes / .tx > 1500'
}

@test "modes: auto takes the best there is, and each that is asked for and not to be had says why" {
	local who

	bed_up
	# veth copies, ...
	run -1 inside router "$ROUTER_BIN" -i eth0 -s "$SERVER" --mode zerocopy
	[[ $output == *"eth0: its driver has no zero-copy (Operation not supported): use --mode auto"* ]]
	[ "$(xdp_programs)" = 0 ]
	router --mode auto
	inside client ping -q -c 1 -W 5 "$ROUTER"
	router_end
	summary '.mode == "native, copies"'
	# ... and with so large an MTU takes no native XDP.
	for who in client router server; do
		ip -n "$(bed_ns sw)" link set $who mtu 3800
		ip -n "$(bed_ns $who)" link set eth0 mtu 3800
	done
	run -1 inside router "$ROUTER_BIN" -i eth0 -s "$SERVER" --mode native
	[[ $output == *"eth0: no native XDP"*"3498 is the most for veth"* ]]
	[ "$(xdp_programs)" = 0 ]
	run -1 inside router "$ROUTER_BIN" -i eth0 -s "$SERVER" --mode zerocopy
	[[ $output == *"eth0: no native XDP"* ]]
	router --mode auto
	grep -q 'eth0: trying generic XDP' "$BATS_TEST_TMPDIR/router.log"
	inside client ping -q -c 1 -W 5 -M "do" -s 3700 "$ROUTER"
	router_end
	summary '.mode | test("^skb")'
}

@test "huge pages, busy polling, spinning, no need_wakeup: all of them forward" {
	bed_up
	serve server tcp 80
	for opts in "--huge no" "--busy-poll 50" "--spin 200" "--need-wakeup no" "--batch 1" "--ring 64"; do
		# shellcheck disable=SC2086 # words
		router $opts
		flow client tcp "$ROUTER" 80 --mode duplex --bytes 500000
		flow client tcp "$ROUTER" 80 --rounds 50
		router_end
		summary '.tx > 100'
	done
}

@test "wrong usage says what would be right" {
	bed_up
	run -2 "$ROUTER_BIN" -s 1.2.3.4
	[[ $output == *"-i INTERFACE is missing"* ]]
	run -2 "$ROUTER_BIN" -i eth0 -s 1.2.3.4 --ring 100
	[[ $output == *"power of two"* ]]
	run -2 "$ROUTER_BIN" -i eth0 -s 1.2.3.4 --mode fast
	[[ $output == *"one of: auto native skb zerocopy"* ]]
	run -1 inside router "$ROUTER_BIN" -i eth9 -s 1.2.3.4
	[[ $output == *"eth9: no interface"* ]]
	run -1 inside router "$ROUTER_BIN" -i lo -s 1.2.3.4
	[[ $output == *"lo: no Ethernet"* ]]
	ip -n "$(bed_ns router)" addr flush dev eth0
	run -1 inside router "$ROUTER_BIN" -i eth0 -s 1.2.3.4
	[[ $output == *"eth0: no IPv4 address (ip addr add"* ]]
	ip -n "$(bed_ns router)" addr add "$ROUTER/24" dev eth0
	ip -n "$(bed_ns router)" link set eth0 down
	run -1 inside router "$ROUTER_BIN" -i eth0 -s 1.2.3.4
	[[ $output == *"eth0 is down: ip link set eth0 up"* ]]
	run -0 "$ROUTER_BIN" --help
	[[ $output == *"--need-wakeup"* ]]
}
