#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bench-growth.sh - "bench.sh --growth": what a round trip costs when there are many flows or many
# peers, and how many requests a connection has to have before the fast path pays for learning it.
#
#  flows        on measure.sh's beds. Round trips one at a time, the flows take turns, so that each
#               comes to entries that others have pushed out of the caches since.
#  connections  there, too: connect, n requests, close. The daemons' CPU time counts: it is theirs to
#               take labels and give them back.
#  peers        on a bed of its own, with as many nodes and daemons; a flow with each of the peers.

set -Eeuo pipefail

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
PREFIX=xmgrow
# shellcheck source=scripts/lib/measure.sh
. "$ROOT/scripts/lib/measure.sh"

help()
{
	cat <<'HELP'
usage: bench.sh --growth [--rounds N] [--seconds S] [--only WHAT]... [--out DIR] [--quick]

  --rounds N    rounds of every measurement (default 3)
  --seconds S   length of one measurement (default 3)
  --only WHAT   one of flows, connections, peers; may be repeated (default: all)
  --out DIR     where results go (default bench/)
  --quick       1 round of 1 s, at most 1 000 flows and 4 peers: does it work?

CPU time of a UDP round trip with 1, 1 000 and 30 000 flows in the tables and with 1, 10 and 50
peers, that of the daemons, their memory, and CPU time of TCP connections of 1 to 100 requests.
Writes growth.json (every sample, and on what it was taken), growth.md and growth.svg, and prints
the tables. Needs root and 2 GiB of memory. With the defaults it takes about 10 minutes, in which
the machine should do nothing else.

exit status: 0 done, 1 something failed or was not on the fast path, 2 wrong arguments
HELP
}

misused() { printf "bench.sh: %s\nTry 'scripts/bench.sh --growth --help'.\n" "$*" >&2; exit 2; }

number_or_misused()
{
	[[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || misused "$1: give a number from 1 to 9999"
}

ROUNDS=3 RUN_SECONDS=3 OUT=$ROOT/bench WHAT=()
FLOWS=(1 1000 30000) PEERS=(1 10 50) REQUESTS=(1 2 5 10 20 50 100)
IDLE_SECONDS=20 LEASE_MS=10000 # what 30 000 flows that take turns need to be found again in time
# shellcheck disable=SC2034 # result_meta prints it
COMMAND="scripts/bench.sh${*:+ $*}"
while [ $# -gt 0 ]; do
	case $1 in
	--growth)	shift ;;
	--rounds)	number_or_misused "$@"; ROUNDS=$2; shift 2 ;;
	--seconds)	number_or_misused "$@"; RUN_SECONDS=$2; shift 2 ;;
	--only)		[[ " flows connections peers " == *" ${2:-} "* ]] ||
				misused "--only: give one of flows, connections, peers"
			WHAT+=("$2"); shift 2 ;;
	--out)		[ -n "${2:-}" ] || misused "--out: its value is missing"; OUT=$2; shift 2 ;;
	--quick)	ROUNDS=1 RUN_SECONDS=1 IDLE_SECONDS=4 FLOWS=(1 1000) PEERS=(1 4) REQUESTS=(1 10 100); shift ;;
	-h|--help)	help; exit 0 ;;
	*)		misused "'$1' is unknown" ;;
	esac
done
[ ${#WHAT[@]} != 0 ] || WHAT=(flows connections peers)

wants() { [[ " ${WHAT[*]} " == *" $1 "* ]]; }

# shellcheck disable=SC2034 # measure.sh's
CONTEXTS=(host overlay xmasq)
WORK='' PEER_BED=${PREFIX}p PEERS_COMMAND=''
# Neither 30 000 flows nor connections are all on the fast path; how much of them is in the table.
SHORT_KINDS=(flows30000)
for n in "${REQUESTS[@]}"; do
	SHORT_KINDS+=("conn$n")
	KIND_TEXT[conn$n]="connections of $n /s"
done
for n in "${FLOWS[@]}"; do
	KIND_TEXT[flows$n]="UDP RR, $n flows /s"
done

daemon_pid() { bed "$1" xmasq ctl "$2" -- status -o json | jq .pid; }

# ---- on the beds of measure.sh ----

servers_start()
{
	local c

	for c in "${CONTEXTS[@]}"; do
		server tcp "$c" "$CPU_A" "$TOOLS/xmt-perf" server --tcp --port 5202
		server udp "$c" "$CPU_A" "$TOOLS/xmt-perf" server --udp --port 5203
		server udp2 "$c" "$CPU_A" "$TOOLS/xmt-perf" server --udp --port 5204
		at "$c" 1 sysctl -qw net.ipv4.tcp_tw_reuse=1
	done
	servers_listen ':520[2-4] ' 3
	DAEMONS=$(daemon_pid "$PREFIX" n1),$(daemon_pid "$PREFIX" n2)
}

# learned SECONDS COMMAND...: what is not counted, so that what is finds its flows in the tables
learned()
{
	local context=$1 seconds=$2

	shift 2
	at "$context" 1 taskset -c "$CPU_A" "$@" --seconds "$seconds" > "$WORK/learned" 2>&1 ||
		{ cat "$WORK/learned" >&2; die "'$*' failed, $context: its messages are above"; }
}

# learn_all N SECONDS COMMAND...: until they are in node 1's table; each has to be seen by both CNIs a few
# times, and how long that takes is the machine's matter.
learn_all()
{
	local n=$1 seconds=$2 end=$((SECONDS + 60))

	shift 2
	until [ "$(bed "$PREFIX" xmasq ctl n1 -- status -o json | jq .flows_active)" -ge $((n * 9 / 10)) ]; do
		[ "$SECONDS" -lt "$end" ] || die "after 60 s fewer than 9 of 10 of $n flows are active"
		learned xmasq "$seconds" "$@"
	done
}

kind_command()
{
	local context=$1 kind=$2 seconds=$3 ip perf learn=0.5

	ip=$(bed "$(context_bed "$context")" ip "$(context_end "$context" 2)")
	perf=("$TOOLS/xmt-perf" client --host "$ip" --warmup 0)
	# shellcheck disable=SC2034 # measure() reads it
	CLIENT_CPU=$CPU_A
	case $kind in
	conn*)	SERVER=tcp
		CMD=("${perf[@]}" --seconds "$seconds" --mode tcp-crr --port 5202 --requests "${kind#conn}")
		[ "$context" != xmasq ] || PIDS+=${PIDS:+,}$DAEMONS ;;
	flows*)	SERVER=udp
		PIDS+=${PIDS:+,}${SERVER_PID[$context:udp2]}
		[ "$context" != xmasq ] || ALSO=$DAEMONS
		CMD=("${perf[@]}" --mode udp-rr --port 5203 --in-turn --flows "${kind#flows}" --bind 12000)
		[ "$kind" = flows1 ] || CMD+=(--ports 2)
		[ "${kind#flows}" -lt 10000 ] || learn=3
		if [ "${LEARN:-yes}" = yes ]; then
			learned "$context" "$learn" "${CMD[@]}"
			[ "$context" != xmasq ] || learn_all "${kind#flows}" "$learn" "${CMD[@]}"
		fi
		CMD+=(--seconds "$seconds") ;;
	esac
}

# shellcheck disable=SC2016 # jq's variables
GROWTH_JQ='
	($out[0]) as $o | ($cpu[0]) as $c |
	{ what: (if $kind | startswith("conn") then "connections" else $what end), round: $round,
	  context: $context, n: ($kind | ltrimstr("conn") | ltrimstr("flows") | tonumber),
	  value: $o.rate, cpu: ($c.cpu / $o.all * 1e6), p50_us: $o.p50_us, p99_us: $o.p99_us,
	  lost: $o.lost, fast: $fast, seconds: $c.wall, daemon_ms_per_s: ($c.also / $c.wall * 1000) }'

# write_sample ROUND CONTEXT KIND FAST
write_sample()
{
	jq -cn --argjson round "$1" --arg context "$2" --arg kind "$3" --argjson fast "$4" \
		--arg what "${WHAT_NOW:-flows}" --slurpfile out "$M_TMP/out" --slurpfile cpu "$M_TMP/cpu" \
		"$GROWTH_JQ"
	# Right behind the load, while its flows are there.
	[[ $2$3${WHAT_NOW:-} != xmasqflows*[0-9] ]] || memory "$3" >> "$WORK/memory"
}

# memory KIND: of node 1's daemon and its tables
memory()
{
	"$TOOLS/xmt-usage" --pid "${DAEMONS%,*}" --pins "/sys/fs/bpf/xmasq-$PREFIX-n1" |
		jq -c --arg n "${1#flows}" '
			{ n: ($n | tonumber), rss_kib,
			  tables: [.tables | to_entries[] | { name: .key } + (.value | { used, max, bytes })] }'
}

# flows_now: of both nodes. To be asked is work for the daemons, too: so many times without flows as with.
flows_now()
{
	local n

	for n in n1 n2; do
		bed "$PREFIX" xmasq ctl "$n" -- status -o json
	done | jq -s 'map(.flows) | add'
}

flows_gone()
{
	local end=$((SECONDS + 60))

	until [ "$(flows_now)" = 0 ]; do
		[ "$SECONDS" -lt "$end" ] || die "after 60 s there are $(flows_now) flows still"
		sleep 2
	done
}

daemons_ms()
{
	local n i=0 pid

	for pid in ${DAEMONS//,/ }; do
		n=n$((++i))
		"$TOOLS/xmt-usage" --pid "$pid" --pins "/sys/fs/bpf/xmasq-$PREFIX-$n"
	done | jq -s 'map(.cpu_ms) | add'
}

# What the daemons take for all flows from their first packet to their last lease, and without flows.
bench_lifetime()
{
	local r before after start idle n=${FLOWS[-1]} CMD SERVER CLIENT_CPU PIDS ALSO LEARN=no

	flows_gone
	before=$(daemons_ms)
	start=${EPOCHREALTIME/./}
	for ((r = 0; r < IDLE_SECONDS; r += 2)); do
		flows_now > /dev/null
		sleep 2
	done
	idle=$(jq -n "($(daemons_ms) - $before) / ((${EPOCHREALTIME/./} - $start) / 1e6)")
	for ((r = 1; r <= ROUNDS; r++)); do
		step "round $r of $ROUNDS, $n flows that come and go"
		flows_gone
		PIDS='' ALSO=''
		kind_command xmasq "flows$n" 1
		start=${EPOCHREALTIME/./} before=$(daemons_ms)
		learned xmasq 10 "${CMD[@]}"
		flows_gone
		after=$(daemons_ms)
		jq -cn --argjson round "$r" --argjson n "$n" --argjson a "$before" --argjson b "$after" \
			--argjson idle "$idle" --argjson us "$((${EPOCHREALTIME/./} - start))" '
			{ what: "lifetime", round: $round, context: "xmasq", n: $n, ms: ($b - $a),
			  idle_ms: ($idle * $us / 1e6), seconds: ($us / 1e6 | round) }' >> "$SAMPLES"
		step_end ": $(jq -rs 'last | "\(.ms | round) ms of CPU, \(.idle_ms | round) without them"' "$SAMPLES")"
	done
}

# From few to many: what many have left in the tables would be there while few are measured.
bench_flows()
{
	local n

	for n in "${FLOWS[@]}"; do
		interleaved "$ROUNDS" "$RUN_SECONDS" "flows$n"
	done
	bench_lifetime
}

# ---- peers ----

peers_up()
{
	local i most=${PEERS[-1]} nodes=() end

	step "$((most + 1)) nodes, each with an xmasqd"
	M_BEDS+=("$PEER_BED")
	# Without rules: a daemon and a server for each node are enough for this machine.
	bed_quietly "$PEER_BED" up --replace --nodes $((most + 1)) --pods 1 --underlay bridge --no-firewall
	bed_quietly "$PEER_BED" xmasq start --lease-ms "$LEASE_MS"
	for ((i = 2; i <= most + 1; i++)); do
		nodes+=("n$i" "n${i}p1")
	done
	for i in "${nodes[@]}"; do
		bed_exec "$PEER_BED" "$i" taskset -c "$CPU_A" "${M_NICE[@]}" "$TOOLS/xmt-perf" server --udp \
			--port 5203 < /dev/null > "$M_TMP/server-peer-$i.log" 2>&1 &
		SERVER_PID[peer:$i]=$!
	done
	for i in "${nodes[@]}"; do
		end=$((SECONDS + 30))
		until bed "$PEER_BED" exec "$i" -- ss -Hlnu | grep -q ':5203 '; do
			[ "$SECONDS" -lt "$end" ] || die "the server of $i does not listen: $(cat "$M_TMP/server-peer-$i.log")"
			sleep 0.05
		done
	done
	PEER_DAEMON=$(daemon_pid "$PEER_BED" n1)
	step_end
}

# peers_measure ROUND CONTEXT N: one flow with each of N peers, in turn
peers_measure()
{
	local round=$1 context=$2 n=$3 from=n1 suffix='' i hosts='' pids=$M_KSOFTIRQD cmd before after fast=null

	[ "$context" != xmasq ] || { from=n1p1; suffix=p1; }
	for ((i = 2; i <= n + 1; i++)); do
		hosts+=${hosts:+,}$(bed "$PEER_BED" ip "n$i$suffix")
		pids+=${pids:+,}${SERVER_PID[peer:n$i$suffix]}
	done
	cmd=("$TOOLS/xmt-perf" client --mode udp-rr --host "$hosts" --port 5203 --in-turn --flows "$n"
	     --bind 12000 --warmup 0)
	bed "$PEER_BED" exec "$from" -- taskset -c "$CPU_A" "${cmd[@]}" --seconds 1 > "$WORK/learned" 2>&1 ||
		{ cat "$WORK/learned" >&2; die "'${cmd[*]}' failed: its messages are above"; }
	PEERS_COMMAND="${cmd[*]/$hosts/ADDRESS,...} --seconds $RUN_SECONDS"
	before=$(bed "$PEER_BED" xmasq ctl n1 -- status -o json)
	bed "$PEER_BED" exec "$from" -- taskset -c "$CPU_A" "${M_NICE[@]}" "$TOOLS/xmt-cpu" --out "$M_TMP/cpu" \
		"${M_SOFTIRQ[@]}" --pids "$pids" --also "$PEER_DAEMON" -- \
		timeout $((RUN_SECONDS * 2 + 20)) "${cmd[@]}" --seconds "$RUN_SECONDS" > "$M_TMP/out" 2> "$M_TMP/err" ||
		{ cat "$M_TMP/err" >&2; die "'${cmd[*]}' failed: its messages are above"; }
	after=$(bed "$PEER_BED" xmasq ctl n1 -- status -o json)
	if [ "$context" = xmasq ]; then
		fast=$(jq -n --argjson a "$before" --argjson b "$after" '
			($b.masqueraded - $a.masqueraded) as $m | ($b.overlay - $a.overlay) as $o | $m / ($m + $o)')
		check_fast "$n peers" "$fast"
	fi
	WHAT_NOW=peers write_sample "$round" "$context" "flows$n" "$fast" > "$M_TMP/sample" ||
		die "cannot read what '${cmd[*]}' wrote: $(cat "$M_TMP/out")"
	jq -c --argjson peers "$(jq .peers_up <<< "$after")" '. + { peers_up: $peers }' "$M_TMP/sample" >> "$SAMPLES"
	step_more " $(jq '.cpu * 100 | round / 100' "$M_TMP/sample") us"
}

bench_peers()
{
	local n r c

	peers_up
	# A peer stays known for a minute: from few to many.
	for n in "${PEERS[@]}"; do
		for ((r = 1; r <= ROUNDS; r++)); do
			step "$(printf 'round %d of %d, %-22s' "$r" "$ROUNDS" "$n peers")"
			for c in bare xmasq; do
				step_more " $c"
				peers_measure "$r" "$c" "$n"
			done
			step_end
		done
	done
}

# ---- the result ----

commands_json()
{
	local k SERVER CMD CLIENT_CPU PIDS ALSO LEARN=no

	for k in "${KINDS[@]}"; do
		PIDS='' ALSO=''
		kind_command xmasq "$k" "$RUN_SECONDS"
		jq -n --arg k "$k" --arg c "${CMD[*]//$ROOT\//}" '{ ($k): $c }'
	done | jq -cs 'add // {}'
}

write_results()
{
	: >> "$WORK/memory"
	jq -cn --argjson meta "$(result_meta growth)" --argjson commands "$(commands_json)" \
		--argjson lease "$LEASE_MS" --arg peers "${PEERS_COMMAND//$ROOT\//}" --slurpfile samples "$SAMPLES" --slurpfile memory "$WORK/memory" '
		{ meta: ($meta + { lease_ms: $lease, commands: $commands }), samples: $samples,
		  memory: $memory, peers_command: $peers }' > "$OUT/growth.json"
	"$ROOT/scripts/growth.py" markdown "$OUT/growth.json" > "$OUT/growth.md"
	"$ROOT/scripts/growth.py" svg "$OUT/growth.json" > "$OUT/growth.svg"
	give_back "$OUT"
}

cleanup()
{
	measure_down
	[ -z "$WORK" ] || rm -rf -- "$WORK"
}

trap cleanup EXIT
trap 'step_end " interrupted: cleaning up"; exit 130' INT
trap 'exit 143' TERM HUP

mkdir -p "$OUT"
WORK=$(mktemp -d)
SAMPLES=$WORK/samples
: > "$SAMPLES"
# shellcheck disable=SC2034 # result_meta and measure_up read them
LOAD_BEFORE=$(cut -d ' ' -f 1 /proc/loadavg) XMASQ_OPTIONS=(--lease-ms "$LEASE_MS")
printf '%sxmasq growth%s: %d rounds of %d s\n\n' "$BOLD" "$PLAIN" "$ROUNDS" "$RUN_SECONDS"
measure_up
KINDS=() # whose commands are on record; with the most of everything
! wants connections || KINDS+=("conn${REQUESTS[-1]}")
! wants flows || KINDS+=("flows${FLOWS[-1]}")
! wants connections || interleaved "$ROUNDS" "$RUN_SECONDS" "${REQUESTS[@]/#/conn}"
! wants flows || bench_flows
! wants peers || bench_peers
write_results
heading "$OUT/growth.md"
cat "$OUT/growth.md"
printf '\n'
busy_note
printf 'Wrote growth.json, growth.md and growth.svg to %s in %d s\n' "$OUT" "$SECONDS"
verdict_fast
