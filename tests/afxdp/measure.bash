# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# measure.bash - the routers that are compared, and what is measured through each.
#
# The caller has "on WHO COMMAND..." (a command in client, router or server), OUT (a directory) and
# BIN (where the programs are, as seen by "on"). Figures go to $OUT/raw.csv:
# round,router,measure,value.

# tcpN: Gbit/s, "up" from the client; udp: Mbit/s that arrived of 200, and their loss; *_us: round
# trips in µs; pps: frames of 64 bytes a second that arrived; http_SIZE: seconds. tcpN_cpu: ms of CPU time
# of both ends and the router for 1 GB; pps_cpu: ns of sender and router for a frame; pps_router_cpu: of
# the router alone. flood: the same, made in the kernel. These say what it costs even when others use the CPUs.
HTTP_SIZES="1k 64k 1m 10m 100m"
declare -A HTTP_BYTES=([1k]=1024 [64k]=65536 [1m]=1048576 [10m]=10485760 [100m]=104857600)
UDP_RATE=200M
PPS_PORT=9

log() { echo "$(date +%T) $*" >>"$OUT/client.log"; }

record() { echo "$ROUND,$VARIANT,$1,$2" >>"$OUT/raw.csv"; }

# ---- the routers ----

# daemon WHO NAME PATTERN COMMAND...: in the background, output in $OUT/WHO.log, until PATTERN is there
daemon() {
	local who=$1 name=$2 pattern=$3 log=$OUT/$1.log from end=$((SECONDS + 20))
	shift 3
	: >>"$log"
	from=$(($(wc -c <"$log") + 1))
	echo "--- $*" >>"$log"
	# shellcheck disable=SC2016 # the inner shell's
	on "$who" sh -c 'echo $$ >"$0"; exec "$@"' "$(pidfile "$who" "$name")" "$@" \
		>>"$log" 2>&1 3>&- </dev/null &
	until tail -c "+$from" "$log" | grep -qE -- "$pattern"; do
		[ $SECONDS -lt $end ] || {
			echo "start: $name did not start; see $log" >&2
			tail -n 5 "$log" >&2
			return 1
		}
		sleep 0.05
	done
}

# In a container /tmp is its own; beds share one.
pidfile() { echo "/tmp/afxdp-${AFXDP_BED:-docker}-$1-$2.pid"; }

undaemon() {
	local who=$1 pid
	pid=$(on "$who" cat "$(pidfile "$1" "$2")" 2>/dev/null) || return 0
	on "$who" kill -TERM "$pid" 2>/dev/null || :
	for _ in $(seq 200); do
		on "$who" kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	on "$who" rm -f "$(pidfile "$1" "$2")"
}

# The kernel's NAT, and no redirects, which would send clients around it.
nft_rules() {
	cat <<-END
		table ip afxdp {
			chain pre {
				type nat hook prerouting priority -100
				ip saddr != $SERVER ip daddr $ROUTER dnat to $SERVER
			}
			chain post {
				type nat hook postrouting priority 100
				ip daddr $SERVER snat to $ROUTER
			}
		}
	END
}

# router_on NAME [options of xsk-router]: direct, nft, tc or xsk
router_on() {
	local name=$1
	shift
	TARGET=$ROUTER
	case $name in
	direct) TARGET=$SERVER ;;
	nft) nft_rules | on router nft -f - ;;
	tc) daemon router tc 'attached$' "$BIN/tc-nat" eth0 "$ROUTER" "$SERVER" ;;
	xsk*)
		daemon router xsk ' queues?, ' "$BIN/xsk-router" -i eth0 -s "$SERVER" --interval 1 "$@"
		;;
	esac
}

router_off() {
	case $1 in
	nft) on router nft delete table ip afxdp ;;
	tc) undaemon router tc ;;
	xsk*) undaemon router xsk ;;
	esac
}

servers_on() {
	daemon server iperf3 listening iperf3 --forceflush -s
	daemon server sockperf-udp 'using recvfrom' sockperf sr -i 0.0.0.0 -p 11111
	daemon server sockperf-tcp 'using recvfrom' sockperf sr --tcp -i 0.0.0.0 -p 11112
	daemon server httpd '' busybox httpd -f -p 8000 -h "$WWW"
	# What pps sends is counted by the interface, and costs the server nothing more.
	on server nft -f - <<-END
		table netdev afxdp {
			chain in {
				type filter hook ingress device eth0 priority 0
				udp dport $PPS_PORT counter drop
			}
		}
	END
}

servers_off() {
	local name
	for name in iperf3 sockperf-udp sockperf-tcp httpd; do
		undaemon server $name
	done
}

# ---- measures ----

# router_cpu: ns that the router's process has had so far, 0 when the kernel is the router
router_cpu() {
	local pid ns
	pid=$(on router cat "$(pidfile router xsk)" 2>/dev/null) || pid=
	[ -n "$pid" ] && ns=$(on router cat "/proc/$pid/schedstat" 2>/dev/null) || ns=0
	echo "${ns%% *}"
}

m_ping() {
	local out
	out=$(on client ping -c "$PINGS" -i 0.005 -W 5 "$TARGET" 2>&1) || :
	log "$VARIANT: $(tail -n 2 <<<"$out" | head -n 1)"
	record ping_loss_percent "$(sed -n 's/.* \([0-9.]*\)% packet loss.*/\1/p' <<<"$out")"
	sed -n 's/.*time=\([0-9.]*\) ms/\1/p' <<<"$out" | sort -n | awk '
		{ v[NR] = $1 * 1000 }
		function at(p) { i = int(NR * p + 0.999999); return v[i < 1 ? 1 : i] }
		END { if (NR) print at(0.5), at(0.99) }' >"$OUT/.ping"
	read -r p50 p99 <"$OUT/.ping" || return 0
	record ping_us "$p50"
	record ping_p99_us "$p99"
}

m_http() {
	local size got
	for size in $HTTP_SIZES; do
		got=$(on client sh -c "curl -sS --max-time 100 -o /tmp/afxdp-get -w '%{time_total} ' \
			http://$TARGET:8000/$size && sha256sum </tmp/afxdp-get; rm -f /tmp/afxdp-get" 2>&1)
		if [ "$(awk '{ print $2 }' <<<"$got")" = "${SUM[$size]}" ]; then
			record "http_${size}_s" "${got%% *}"
		else
			log "$VARIANT: http $size: $got, not ${SUM[$size]}"
			record http_wrong 1
		fi
	done
}

# iperf NAME OPTIONS...
iperf() {
	local name=$1 out value cpu
	shift
	cpu=$(router_cpu)
	out=$(on client iperf3 -J -c "$TARGET" -t "$SECS" --connect-timeout 5000 "$@" 2>&1) || :
	value=$(jq -r '.end.sum_received.bits_per_second // empty' <<<"$out" 2>/dev/null)
	cpu=$(($(router_cpu) - cpu))
	if [ -n "$value" ]; then
		record "$name" "$(awk -v v="$value" 'BEGIN { printf "%.4f", v / 1e9 }')"
		record "${name%_gbit}_cpu" "$(jq -r --argjson router $cpu '.end
			| (.cpu_utilization_percent | .host_total + .remote_total) as $ends
			| ($ends / 100 * .sum_received.seconds + $router / 1e9) * 1000
				/ (.sum_received.bytes / 1e9)' <<<"$out")"
	else
		log "$VARIANT: iperf3 $*: $(jq -r '.error // "no answer"' <<<"$out" 2>/dev/null)"
		record tcp_wrong 1
	fi
}

m_tcp() {
	iperf tcp1_up_gbit
	iperf tcp1_down_gbit -R
	iperf tcp8_up_gbit -P 8
	iperf tcp8_down_gbit -P 8 -R
}

m_udp() {
	local out
	out=$(on client iperf3 -J -u -l 1400 -b $UDP_RATE -c "$TARGET" -t "$SECS" 2>&1) || :
	jq -r '.end.sum | "\(.bits_per_second * (1 - .lost_percent / 100) / 1e6) \(.lost_percent)"' \
		<<<"$out" >"$OUT/.udp" 2>/dev/null || {
		log "$VARIANT: iperf3 -u: $out"
		record udp_wrong 1
		return 0
	}
	read -r rate lost <"$OUT/.udp"
	record udp_mbit "$rate"
	record udp_loss_percent "$lost"
}

# pin CPUS: router and servers run there
pin() {
	local who name pid
	for who in router:xsk server:sockperf-udp server:sockperf-tcp; do
		name=${who#*:} who=${who%:*}
		pid=$(on $who cat "$(pidfile $who "$name")" 2>/dev/null) || continue
		on $who taskset -pc "$1" "$pid" >/dev/null 2>&1 || :
	done
}

# Round trips with all processes on one CPU: the CPU time of the whole way, without what it takes to
# wake another CPU up, which on virtual machines is most of it and changes from run to run.
m_trip() {
	local proto port out option
	pin 0
	for proto in udp tcp; do
		port=11111 option=()
		[ $proto = udp ] || port=11112 option=(--tcp)
		out=$(on client taskset -c 0 sockperf pp "${option[@]}" -i "$TARGET" -p $port -t "$SECS" \
			--full-rtt 2>&1) || :
		record "${proto}_trip_us" "$(sed -n 's/.*percentile 50.000 *= *\([0-9.]*\).*/\1/p' <<<"$out")"
	done
	pin "0-$(($(nproc) - 1))"
}

# sockperf's round trips; its percentiles are of half of them.
m_latency() {
	local proto port out option
	for proto in udp tcp; do
		port=11111 option=()
		[ $proto = udp ] || port=11112 option=(--tcp)
		out=$(on client sockperf pp "${option[@]}" -i "$TARGET" -p $port -t "$SECS" --full-rtt 2>&1) || :
		for p in 50.000:rtt_us 99.000:rtt_p99_us; do
			record "${proto}_${p#*:}" \
				"$(sed -n "s/.*percentile ${p%:*} *= *\([0-9.]*\).*/\1/p" <<<"$out")"
		done
	done
}

arrived() {
	on server nft -j list chain netdev afxdp in |
		jq '[.nftables[].rule?.expr[]?.counter?.packets | numbers] | add'
}

m_pps() {
	local before after sent secs used cpu
	before=$(arrived) cpu=$(router_cpu)
	read -r sent secs used < <(on client "$BIN/pps" "$TARGET" $PPS_PORT "$SECS")
	sleep 0.3
	after=$(arrived) cpu=$(($(router_cpu) - cpu))
	awk -v n=$((after - before)) -v sent="$sent" -v s="$secs" -v used="$used" -v router="$cpu" '
		BEGIN {
			printf "pps %.0f\npps_sent %.0f\n", n / s, sent / s
			if (n)
				printf "pps_cpu %.0f\n", (used * 1e9 + router) / n
			if (n && router)
				printf "pps_router_cpu %.0f\n", router / n
		}' >"$OUT/.pps"
	while read -r used cpu; do
		record "$used" "$cpu"
	done <"$OUT/.pps"
}

# Frames of 64 bytes that the kernel makes, straight into the router's interface: what AF_XDP bears, not what a
# sender can do. Only with XDP on that interface (or, for "direct", with NAPI), and not in containers, whose
# other ends are the daemon's.
m_flood() {
	local from=router to=12 before made secs used cpu
	[ "$where" = netns ] || return 0
	case $VARIANT in
	direct) from=server to=14 && on server ethtool -K eth0 gro on >/dev/null ;;
	xsk*) ;;
	*) return 0 ;;
	esac
	before=$(arrived) cpu=$(router_cpu)
	read -r made secs used < <(on sw "$BIN/flood" $from "$(bed_mac 13)" "$(bed_mac $to)" "$CLIENT" "$TARGET" \
		$PPS_PORT "$SECS")
	sleep 0.3
	awk -v n=$(($(arrived) - before)) -v made="$made" -v s="$secs" -v used="$used" \
		-v router=$(($(router_cpu) - cpu)) '
		BEGIN {
			printf "flood %.0f\nflood_made %.0f\n", n / s, made / s
			printf "flood_made_cpu %.0f\n", used * 1e9 / made
			if (n && router)
				printf "flood_router_cpu %.0f\n", router / n
		}' >"$OUT/.pps"
	while read -r used cpu; do
		record "$used" "$cpu"
	done <"$OUT/.pps"
	[ "$VARIANT" != direct ] || on server ethtool -K eth0 gro off >/dev/null
}

# conditions [back]: what a variant needs besides options
conditions() {
	local who offload=off mtu=3400
	[ "${1:-}" != back ] || offload=on mtu=1500
	case $VARIANT in
	# Every packet goes by itself, as through XDP.
	*:one-by-one)
		for who in client server; do
			on $who ethtool -K eth0 tso $offload gso $offload >/dev/null
		done
		;;
	*:mtu3400)
		for who in client router server; do
			ip -n "$(bed_ns sw)" link set $who mtu $mtu
			on $who ip link set eth0 mtu $mtu
		done
		;;
	esac
}

# measure ROUND VARIANT MEASURE...: with the router as "variant_on" makes it
measure() {
	ROUND=$1 VARIANT=$2
	shift 2
	log "round $ROUND, $VARIANT"
	conditions
	# shellcheck disable=SC2086 # words
	router_on "${VARIANT%%:*}" ${VARIANT_OPTIONS[$VARIANT]:-} || return
	# The first exchange is ARP's.
	on client ping -q -c 1 -W 5 "$TARGET" >/dev/null 2>&1 || log "$VARIANT: no answer to a ping"
	local m
	for m; do
		"m_$m"
	done
	router_off "${VARIANT%%:*}"
	conditions back
}
declare -A VARIANT_OPTIONS=() SUM=()

# www DIR: the files that are fetched, and their sums
www() {
	local size
	mkdir -p "$1"
	for size in $HTTP_SIZES; do
		[ -s "$1/$size" ] || head -c "${HTTP_BYTES[$size]}" /dev/urandom >"$1/$size"
		SUM[$size]=$(sha256sum <"$1/$size" | awk '{ print $1 }')
	done
}
