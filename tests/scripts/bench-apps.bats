#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# bench.sh --apps, --growth and the latencies of bench.sh without the runs: what becomes of what the
# loads print, and the tools that are new for them. With XM_FULL=1 short runs, too.
#
# shellcheck disable=SC2030,SC2031 # each test is a subshell, and so what its helpers set

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	export TMP=$BATS_TEST_TMPDIR
	TOOLS=${XMASQ_BUILD:-build}/tests/tools
	SERVERS=()
	echo '{"wall":1,"command":0.25,"pids":0.25,"machine":0.6,"cpu":0.5}' > "$TMP/cpu"
}

teardown() {
	local p

	for p in "${SERVERS[@]}"; do
		kill "$p" 2> /dev/null || :
	done
}

long_form() { [ -n "${XM_FULL:-}" ] || skip "allowed: the long form, with XM_FULL=1 or make check-all"; }

# sample KIND OUTPUT [ARGUMENTS...]
sample() {
	printf '%s\n' "$2" > "$TMP/out"
	run scripts/apps.py sample --round 1 --context xmasq --kind "$1" --fast 0.99 \
		--cpu "$TMP/cpu" --out "$TMP/out" --log "$TMP/log" "${@:3}"
	echo "$output"
}

WRK='Running 3s test @ http://10.244.2.11:5211/1k
  Latency Distribution
     50%  400.00us
     99%    1.50ms
  10000 requests in 3.00s, 10.00MB read
Requests/sec:   3333.25
Transfer/sec:      3.33MB'

@test "wrk: requests, rate, p99 in ms whatever its unit, and CPU time of a request" {
	sample http1k "$WRK"
	[ "$status" -eq 0 ]
	jq -e '.value == 3333.25 and .p99_ms == 1.5 and .cpu == 50 and .requests == 10000 and .fast == 0.99' <<< "$output"
	sample http1k "${WRK/1.50ms/900.00us}"
	jq -e '.p99_ms == 0.9' <<< "$output"
	sample http1k "${WRK/1.50ms/2.00s}"
	jq -e '.p99_ms == 2000' <<< "$output"
}

@test "errors that wrk counts are no requests" {
	sample http1k "$WRK"$'\n  Socket errors: connect 0, read 3, write 0, timeout 0'
	[ "$status" -eq 1 ]
	[[ $output == *"Socket errors: connect 0, read 3"* ]]
	sample http1k "$WRK"$'\n  Non-2xx or 3xx responses: 7'
	[ "$status" -eq 1 ]
	sample http1k "unable to connect"
	[ "$status" -eq 1 ]
	[[ $output == *"unable to connect"* ]]
}

@test "redis-benchmark: its fifth time is the p99, requests are those it was told" {
	sample redis '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"GET","42087.54","0.273","0.024","0.159","0.255","2.647","55.359"' --requests 20000
	[ "$status" -eq 0 ]
	jq -e '.value == 42087.54 and .p99_ms == 2.647 and .cpu == 25' <<< "$output"
}

@test "pgbench: p99 of its log; failed transactions fail" {
	local text='number of transactions actually processed: 100
number of failed transactions: 0 (0.000%)
tps = 51.500000 (without initial connection time)'

	seq 1 60 | awk '{ print 0, $1, $1 * 1000, 0, 1, 2 }' > "$TMP/log.1"
	seq 61 100 | awk '{ print 0, $1, $1 * 1000, 0, 1, 2 }' > "$TMP/log.1.1"
	sample pgbench "$text"
	[ "$status" -eq 0 ]
	jq -e '.value == 51.5 and .p99_ms == 99 and .requests == 100' <<< "$output"
	sample pgbench "${text/: 0 (/: 2 (}"
	[ "$status" -eq 1 ]
	rm "$TMP"/log.*
	sample pgbench "$text"
	[ "$status" -eq 1 ]
}

@test "memcaslap: p99 out of powers of two, of the last totals; misses fail" {
	local text='Total Statistics (5 events)
   Log2 Dist:
      12:       50        0        0        0

Total Statistics (1000 events)
   Min:        19
   Log2 Dist:
       4:        0        0       10      470
       8:      500       20

get_misses: 0
Run time: 2.0s Ops: 1000 TPS: 500 Net_rate: 33.0M/s'

	sample memcached "$text"
	[ "$status" -eq 0 ]
	# 990 of 1000: half of cell 9, which goes from 256 to 512 µs.
	jq -e '.value == 500 and (.p99_ms * 1000 | round) == 362' <<< "$output"
	sample memcached "${text/misses: 0/misses: 4}"
	[ "$status" -eq 1 ]
}

@test "applications: a table and a plot with a bar for each figure, also of a part of them" {
	jq -n '{ meta: { kind: "apps", cpu: "CPU", cpus: 2, kernel: "6.0", date: "2026-01-02T03:04Z",
			commit: "abc", command: "bench.sh --apps", rounds: 2, seconds: 3, load_before: "1",
			load_after: "2", connections: 16, versions: ["Redis 7"], commands: { redis: "redis-benchmark" } },
		samples: [ (1, 2) as $r | ["bare", 100], ["host", 90], ["overlay", 50], ["xmasq", 80] |
			{ round: $r, context: .[0], kind: "redis", value: (.[1] * $r), p99_ms: (1 / .[1]),
			  cpu: (1000 / .[1]), fast: (if .[0] == "xmasq" then 0.995 else null end) } ] }' > "$TMP/apps.json"
	run scripts/apps.py markdown "$TMP/apps.json"
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output == *"| Redis GET, /s | 150 (100..200) |"*"| 0.80 (0.80..0.80) | 1.60 (1.60..1.60) |"* ]]
	[[ $output == *"On the fast path: 99.50 to 99.50 %"* ]]
	scripts/plot.py "$TMP/apps.json" > "$TMP/apps.svg"
	run python3 - "$TMP/apps.svg" <<-'END'
		import sys
		from xml.etree import ElementTree
		svg = ElementTree.parse(sys.argv[1]).getroot()
		bars = [e.get("class") for e in svg.iter() if e.tag.endswith("rect")]
		print(*[bars.count(c) for c in ("host", "overlay", "xmasq")])
	END
	# Three panels, and one each in the legend.
	[ "$output" = "4 4 4" ]
}

# growth N=RATIO...: results with connections of N requests, xmasq's cost RATIO of the overlay's
growth() {
	printf '%s\n' "$@" | jq -Rs '{ meta: { kind: "growth", cpu: "CPU", cpus: 2, kernel: "6.0",
			date: "2026-01-02T03:04Z", commit: "abc", command: "bench.sh --growth", rounds: 1,
			seconds: 3, lease_ms: 10000, load_before: "1", load_after: "2", commands: {} },
		peers_command: "", memory: [],
		samples: ([ split("\n")[] | select(. != "") | split("=") | . as $s |
			["host", 50], ["overlay", 100], ["xmasq", ($s[1] | tonumber * 100)] |
			{ what: "connections", round: 1, context: .[0], n: ($s[0] | tonumber), value: 1,
			  cpu: .[1], fast: (if .[0] == "xmasq" then 0.5 else null end), daemon_ms_per_s: 0 } ] +
			[ ["host", 50], ["overlay", 100], ["xmasq", 60] |
			{ what: "flows", round: 1, context: .[0], n: 30000, value: 1, cpu: .[1],
			  fast: (if .[0] == "xmasq" then 0.8 else null end), daemon_ms_per_s: 2 } ] +
			[ { what: "lifetime", round: 1, context: "xmasq", n: 30000, ms: 700, idle_ms: 100, seconds: 20 } ]) }' \
		> "$TMP/growth.json"
	run scripts/growth.py markdown "$TMP/growth.json"
	echo "$output"
	[ "$status" -eq 0 ]
}

@test "many flows: what they cost alone on the fast path, and the daemon for each thousand" {
	growth 1=1
	# 60 of which a fifth takes 100: (60 - 20) / 0.8
	[[ $output == *"| 30 000 | "*" 80.0 (80.0..80.0) % | 50.00 |"* ]]
	# 600 ms for two daemons and 30 000 flows.
	[[ $output == *"one daemon has 10.00 (10.00..10.00) ms of CPU time"* ]]
}

@test "break-even lies where the ratio is 1, between what was measured" {
	growth 1=1.3 2=1.2 8=0.8 100=0.5
	[[ $output == *"| 8 | 50.0 (50.0..50.0) | 100.0 (100.0..100.0) | 80.0 (80.0..80.0) | 0.800 (0.800..0.800) |"* ]]
	[[ $output == *"Break-even: 4.0 (4.0..4.0) requests."* ]]
	# One that comes down, goes up again and comes down for good.
	growth 1=1.3 2=0.9 8=1.1 32=0.9 100=0.5
	[[ $output == *"Break-even: 16.0 (16.0..16.0) requests."* ]]
	growth 1=1.3 10=1.1
	[[ $output == *"Break-even: not within 10 requests."* ]]
	growth 1=0.9 10=0.8
	[[ $output == *"Break-even: 1.0"*"less or as many"* ]]
}

@test "latencies have rows, and a curve for each way" {
	jq -n '{ meta: { kind: "bench", cpu: "CPU", cpus: 2, kernel: "6.0", date: "2026-01-02T03:04Z",
			commit: "abc", command: "bench.sh", rounds: 1, seconds: 4, load_before: "1", load_after: "2" },
		figures: { attach: [{ wall_ms: 3 }], packets: [{ proto: "tcp", out: 1, in: 1 },
			{ proto: "udp", out: 1, in: 1 }], programs: [], maps_bytes: 1, rss_bytes: 1, idle_cpu_s: 0, idle_s: 1 },
		samples: [ ("tcprr", "udprr", "tcprr8") as $k | ["bare", 10], ["host", 12], ["overlay", 30], ["xmasq", 11] |
			{ round: 1, context: .[0], kind: $k, value: (1e6 / .[1]), cpu: .[1], fast: 1, p50_us: .[1],
			  p99_us: (.[1] * 2), p999_us: (.[1] * 3), times_us: [[.[1], 990], [.[1] * 2, 9], [.[1] * 3, 1]] } ] }' \
		> "$TMP/results.json"
	run scripts/table.py markdown "$TMP/results.json"
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output == *"| TCP round trip, p99.9, µs | 30.0 (30.0..30.0) |"* ]]
	[[ $output == *"| TCP round trip, 8 flows, p50, µs | 10.0 "* ]]
	scripts/plot.py --latency "$TMP/results.json" > "$TMP/latency.svg"
	run python3 - "$TMP/latency.svg" <<-'END'
		import sys
		from xml.etree import ElementTree
		svg = ElementTree.parse(sys.argv[1]).getroot()
		curves = [e for e in svg.iter() if e.tag.endswith("polyline")]
		print(len(curves), {len(e.get("points").split()) for e in curves})
	END
	# All of 1000 is no point: what is above it is nothing.
	[ "$output" = "8 {2}" ]
	jq -c '.samples[]' "$TMP/results.json" > "$TMP/samples"
	run scripts/table.py text "$TMP/samples"
	[[ $output == *"TCP round trips, 8 flows, /s"* && $output != *p99* ]]
}

# netns_server ARGS...: an xmt-perf in a network namespace of its own, in SERVERS
netns_server() {
	local end=$((SECONDS + 10))

	# "unshare" is replaced by the server: one process to end.
	unshare --net sh -c "ip link set lo up; exec $TOOLS/xmt-perf server $*" > /dev/null 2>&1 3>&- &
	SERVERS+=($!)
	until nsenter --net="/proc/$!/ns/net" ss -Hlntu 2> /dev/null | grep -q ':6100 '; do
		[ "$SECONDS" -lt "$end" ]
		sleep 0.05
	done
}

perf() {
	run nsenter --net="/proc/${SERVERS[-1]}/ns/net" "$TOOLS/xmt-perf" client --host 127.0.0.1 --port 6100 \
		--seconds 0.3 --warmup 0.1 "$@"
	echo "$output"
}

@test "xmt-perf: flows at once and in turn, requests in a connection, a distribution of times" {
	[ "$(id -u)" = 0 ] || skip "a namespace of its own needs root"
	netns_server --udp --port 6100
	perf --mode udp-rr --flows 8
	[ "$status" -eq 0 ]
	jq -e '.flows == 8 and .all >= 8 and .lost == 0 and .p50_us > 0 and .p50_us <= .p99_us and
		.p99_us <= .p999_us and ([.times_us[][1]] | add) <= .all' <<< "$output"
	perf --mode udp-rr --in-turn --flows 100 --bind 20000
	[ "$status" -eq 0 ]
	# Two servers for each socket, and only one of them is there.
	perf --mode udp-rr --in-turn --flows 100 --bind 20000 --ports 2
	[ "$status" -eq 1 ]
	netns_server --tcp --port 6100 --many
	perf --mode tcp-rr --flows 8
	[ "$status" -eq 0 ]
	jq -e '.flows == 8 and .all >= 8' <<< "$output"
	perf --mode tcp-crr --requests 5
	[ "$status" -eq 0 ]
	jq -e '.all >= 1' <<< "$output"
	# What makes no sense together.
	perf --mode tcp-rr --in-turn
	[ "$status" -eq 2 ]
	perf --mode tcp-rr --requests 2
	[ "$status" -eq 2 ]
	perf --mode udp-rr --ports 2
	[ "$status" -eq 2 ]
}

@test "xmt-perf: a flow that takes turns has its own port, which another run finds again" {
	[ "$(id -u)" = 0 ] || skip "a namespace of its own needs root"
	netns_server --udp --port 6100
	nsenter --net="/proc/${SERVERS[-1]}/ns/net" "$TOOLS/xmt-perf" client --host 127.0.0.1 --port 6100 \
		--mode udp-rr --in-turn --flows 3 --bind 20000 --seconds 30 > /dev/null 3>&- &
	SERVERS+=($!)
	local end=$((SECONDS + 10))
	until [ "$(nsenter --net="/proc/$!/ns/net" ss -Hanu 2> /dev/null | grep -oE ':2000[0-9] ' | sort | tr -d '\n')" = ":20000 :20001 :20002 " ]; do
		[ "$SECONDS" -lt "$end" ]
		sleep 0.05
	done
}

@test "xmt-cpu --tree: a process that a server made for the command counts, also when it has ended" {
	cat > "$TMP/server.py" <<-'END'
		import os, signal, sys, time
		def child(*_):
		    if os.fork() == 0:
		        open(sys.argv[2], "w").close()
		        while time.process_time() < 0.4:
		            pass
		        os._exit(0)
		signal.signal(signal.SIGUSR1, child)
		signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, 0))
		open(sys.argv[1], "w").close()
		while True:
		    signal.pause()
	END
	python3 "$TMP/server.py" "$TMP/ready" "$TMP/child" 3>&- &
	SERVERS+=($!)
	local pid=$! end=$((SECONDS + 10))
	until [ -e "$TMP/ready" ]; do
		[ "$SECONDS" -lt "$end" ]
		sleep 0.05
	done
	# The command ends long before the child does.
	"$TOOLS/xmt-cpu" --out "$TMP/tree" --tree "$pid" --also "$pid" -- \
		timeout 10 sh -c "kill -USR1 $pid; until [ -e '$TMP/child' ]; do sleep 0.01; done"
	cat "$TMP/tree"
	jq -e '.pids > 0.3 and .pids < 1 and .also < 0.2 and (.cpu - .pids - .command | fabs) < 0.001' "$TMP/tree"
	"$TOOLS/xmt-cpu" --out "$TMP/none" --tree "$pid" -- true
	jq -e '.pids < 0.1' "$TMP/none"
}

@test "runs, short: applications" {
	long_form
	scripts/setup.sh --check bench || skip "allowed: needs scripts/setup.sh bench"
	scripts/bench.sh --apps --quick --rounds 1 --out "$TMP/bench"
	jq -e '[.samples[].kind] | unique | length == 8' "$TMP/bench/apps.json"
	[ -s "$TMP/bench/apps.svg" ]
	run ip netns list
	[[ $output != *xmapps* ]]
}

@test "runs, short: growth" {
	long_form
	scripts/bench.sh --growth --quick --out "$TMP/bench"
	jq -e '[.samples[].what] | unique == ["connections", "flows", "peers"]' "$TMP/bench/growth.json"
	[ -s "$TMP/bench/growth.svg" ]
}
