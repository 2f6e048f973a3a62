#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bench.sh - measure host, overlay and xmasq on this machine, with spread, and what xmasqd
# itself takes; docs/performance.md says how to read the result.

set -Eeuo pipefail

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")
# Instructions in a virtual machine instead of time on this one, and others: nothing of it is below.
case " $* " in
*" --vm "*)	exec "$ROOT/scripts/lib/bench-vm.sh" "$@" ;;
*" --apps "*)	exec "$ROOT/scripts/lib/bench-apps.sh" "$@" ;;
*" --growth "*)	exec "$ROOT/scripts/lib/bench-growth.sh" "$@" ;;
esac
PREFIX=xmbench
# shellcheck source=scripts/lib/measure.sh
. "$ROOT/scripts/lib/measure.sh"

help()
{
	cat <<'HELP'
usage: bench.sh [--rounds N] [--seconds S] [--out DIR] [--quick] [--full]
       bench.sh --vm --icount [...]
       bench.sh --apps [...]
       bench.sh --growth [...]

  --rounds N    rounds of every measurement in every context (default 5)
  --seconds S   length of one measurement (default 4)
  --out DIR     where results go (default bench/)
  --quick       2 rounds of 1 s and little idling: does it work?
  --full        also 4, 16 and 64 streams, and 8 and 32 flows of round trips: twice as long
  --vm          instructions per transaction, counted in virtual machines: see --vm --help
  --apps        nginx, Redis, PostgreSQL and memcached instead: see --apps --help
  --growth      with many flows and many peers, and connections of few requests: see --growth --help

Writes results.json (every sample, and on what it was taken), table.md (medians, spread,
ratios, goals), plot.svg and latency.svg, and prints the table. Needs root. With the defaults it takes
about 10 minutes, in which the machine should do nothing else.

exit status: 0 done, 1 something failed or was not on the fast path, 2 wrong arguments
HELP
}

ROUNDS=5 RUN_SECONDS=4 OUT=$ROOT/bench IDLE_SECONDS=20 FLOWS=5 PODS=10
KINDS=(tcp1 tcp8 udp tcprr udprr crr)

number_or_usage()
{
	[[ ${1:-} =~ ^[1-9][0-9]{0,3}$ ]] || { help >&2; exit 2; }
}

COMMAND="scripts/bench.sh${*:+ $*}"
while [ $# -gt 0 ]; do
	case $1 in
	--rounds)	number_or_usage "${2:-}"; ROUNDS=$2; shift 2 ;;
	--seconds)	number_or_usage "${2:-}"; RUN_SECONDS=$2; shift 2 ;;
	--out)		[ -n "${2:-}" ] || { help >&2; exit 2; }; OUT=$2; shift 2 ;;
	--full)		KINDS+=(tcp4 tcp16 tcp64 tcprr8 tcprr32 udprr8 udprr32); shift ;;
	--quick)	ROUNDS=2 RUN_SECONDS=1 IDLE_SECONDS=5 FLOWS=2; shift ;;
	-h|--help)	help; exit 0 ;;
	*)		help >&2; exit 2 ;;
	esac
done

BPF_STATS='' # what the sysctl was, while it is changed

cleanup()
{
	[ -z "$BPF_STATS" ] || sysctl -qw "kernel.bpf_stats_enabled=$BPF_STATS" || :
	measure_down
	[ -z "${WORK:-}" ] || rm -rf -- "$WORK"
}

# ---- the time from a pod's appearance to its programs being attached ----

# A line of JSON per pod: attach_us is the daemon's own figure, wall_ms goes from the kernel's
# announcement of the interface ("ip monitor") to the line in the daemon's log. That one has
# whole milliseconds; the millisecond which may be missing is added. "ip" notes the time when
# it gets to run, so it must not wait for a CPU; no less than attach_us is believed.
bench_attach()
{
	local log p name made done_at us end at_once=("${M_NICE[@]}")

	log=/run/xmasq-$PREFIX/n1/xmasqd.log
	step "adding $PODS pods, one after another:"
	if chrt -f 50 true 2> /dev/null; then
		at_once=(chrt -f 50)
	fi
	TZ=UTC bed_exec "$PREFIX" n1 "${at_once[@]}" ip -ts -o monitor link > "$WORK/monitor" 2> /dev/null &
	SERVER_PID[monitor]=$!
	sleep 0.5
	for ((p = 11; p < 11 + PODS; p++)); do
		name=veth-p$p
		bed_quietly "$PREFIX" pod-add n1 "$p"
		end=$((SECONDS + 10))
		until us=$(bed "$PREFIX" xmasq ctl n1 -- pods -o json |
			   jq -e ".pods[] | select(.ifname == \"$name\" and .attached) | .attach_us"); do
			[ "$SECONDS" -lt "$end" ] || die "$name is not attached after 10 s: see $log"
		done
		made=$(sed -n "s/^\[\([^]]*\)\] [0-9]*: $name@.*/\1/p" "$WORK/monitor" | head -n 1)
		done_at=$(sed -n "s/^\([^ ]*\) info  pod $name (.* attached.*/\1/p" "$log" | tail -n 1)
		[[ -n $made && -n $done_at ]] ||
			die "no time of $name in $log or from 'ip monitor' (made '$made', attached '$done_at')"
		made=$(date -ud "${made}Z" +%s%6N)
		done_at=$(date -ud "$done_at" +%s%6N)
		jq -cn --arg pod "$name" --argjson us "$us" --argjson wall "$((done_at - made + 1000))" \
			'{ pod: $pod, attach_us: $us, wall_ms: ([$wall, $us] | max / 1000) }' >> "$WORK/attach"
	done
	kill "${SERVER_PID[monitor]}"
	unset 'SERVER_PID[monitor]'
	for ((p = 11; p < 11 + PODS; p++)); do
		bed_quietly "$PREFIX" pod-del n1 "$p"
	done
	step_end " $(jq -rs 'map(.wall_ms) | "\(min) to \(max) ms until attached"' "$WORK/attach")"
}

# ---- packets in the tunnel before the first one outside it ----

bench_packets()
{
	local proto i

	for proto in tcp udp; do
		step "$FLOWS new ${proto^^} flows, packets each way before the fast path:"
		for ((i = 1; i <= FLOWS; i++)); do
			capture "$WORK/pcap" "--$proto" --rounds 200
			tcpdump -nn -t -q -r "$WORK/pcap" 2> /dev/null | awk -v proto="$proto" '
				/^IP 172/ {
					way = $2 ~ /^172\.31\.0\.1\./ ? "out" : "in"
					if ($4 ~ /\.8472:/ && !fast[way]) slow[way]++
					if ($2 $4 ~ /\.18477(:|172|$)/) fast[way] = 1
				}
				END {
					if (!fast["out"] || !fast["in"]) exit 1
					printf "{\"proto\":\"%s\",\"out\":%d,\"in\":%d}\n", proto,
						slow["out"], slow["in"]
				}' > "$WORK/flow" || die "a new $proto flow did not get to the fast path"
			step_more " $(jq -r '"\(.out)/\(.in)"' "$WORK/flow")"
			cat "$WORK/flow" >> "$WORK/packets"
		done
		step_end
	done
}

# ---- what the daemon and its tables take ----

program_ids() { bed "$PREFIX" xmasq ctl n1 -- status -o json | jq '.programs[].id'; }

# Every map that node 1's programs use, each once.
maps_bytes()
{
	local id

	for id in $(program_ids); do
		bpftool prog show id "$id" -j
	done | jq '.map_ids[]' | sort -un | while read -r id; do
		bpftool map show id "$id" -j
	done | jq -s 'map(.bytes_memlock) | add'
}

bench_footprint()
{
	local pid rss maps

	pid=$(bed "$PREFIX" xmasq ctl n1 -- status -o json | jq .pid)
	step "watching xmasqd idle for $IDLE_SECONDS s"
	# Nobody sends any more; leases and flows of the last run end.
	sleep 3
	"$TOOLS/xmt-cpu" --out "$WORK/idle" --pids "$pid" -- sleep "$IDLE_SECONDS"
	rss=$(awk '/^VmRSS/ { print $2 * 1024 }' "/proc/$pid/status")
	maps=$(maps_bytes)
	jq -n --slurpfile idle "$WORK/idle" --argjson rss "$rss" --argjson maps "$maps" \
		'{ idle_s: $idle[0].wall, idle_cpu_s: $idle[0].pids, rss_bytes: $rss, maps_bytes: $maps }' \
		> "$WORK/footprint"
	step_end "$(jq -r '": \(.idle_cpu_s * 1000 | round) ms of CPU, \(.rss_bytes / 1048576 * 10 | round / 10) MiB resident, maps \(.maps_bytes / 1048576 * 10 | round / 10) MiB"' "$WORK/footprint")"
}

# ---- time of one run of each program ----

programs_now()
{
	local id

	for id in $(program_ids); do
		bpftool prog show id "$id" -j
	done | jq -cs 'map({ name, xlated: .bytes_xlated, jited: .bytes_jited,
			     ns: (.run_time_ns // 0), runs: (.run_cnt // 0) })'
}

# programs_during FILE KIND: what each program took while KIND ran between pods
programs_during()
{
	local before after

	before=$(programs_now)
	# Slower than without the clock readings: no sample of the table.
	SAMPLES=/dev/null measure 0 xmasq "$2" "$RUN_SECONDS"
	after=$(programs_now)
	jq -cn --argjson a "$before" --argjson b "$after" '[$a, $b] | transpose |
		map({ name: .[1].name, ns: (.[1].ns - .[0].ns), runs: (.[1].runs - .[0].runs) })' > "$1"
}

bench_programs()
{
	step "timing the programs"
	BPF_STATS=$(sysctl -n kernel.bpf_stats_enabled)
	sysctl -qw kernel.bpf_stats_enabled=1
	programs_during "$WORK/rr" tcprr
	programs_during "$WORK/stream" tcp1
	sysctl -qw "kernel.bpf_stats_enabled=$BPF_STATS"
	BPF_STATS=''
	jq -cn --argjson size "$(programs_now)" --slurpfile rr "$WORK/rr" --slurpfile st "$WORK/stream" '
		[$size, $rr[0], $st[0]] | transpose | map({ name: .[0].name, xlated: .[0].xlated,
			jited: .[0].jited, rr: (.[1] | { ns, runs }), stream: (.[2] | { ns, runs }) })' \
		> "$WORK/programs"
	step_end
}

# ---- the result ----

# What ran for each kind, as a line that can be repeated by hand.
commands_json()
{
	local k SERVER CMD CLIENT_CPU

	for k in "${KINDS[@]}"; do
		kind_command xmasq "$k" "$RUN_SECONDS"
		jq -n --arg k "$k" --arg c "taskset -c $CLIENT_CPU ${M_NICE[*]} ${CMD[*]//$ROOT\//}" '{ ($k): $c }'
	done | jq -cs add
}

write_results()
{
	mkdir -p "$OUT"
	# Distributions of times are long: compact.
	jq -cn --argjson meta "$(result_meta bench)" --argjson commands "$(commands_json)" \
		--slurpfile samples "$SAMPLES" \
		--slurpfile attach "$WORK/attach" --slurpfile packets "$WORK/packets" \
		--slurpfile footprint "$WORK/footprint" --slurpfile programs "$WORK/programs" '
		{ meta: ($meta + { commands: $commands }), samples: $samples,
		  figures: ({ attach: $attach, packets: $packets, programs: $programs[0] } + $footprint[0]) }' \
		> "$OUT/results.json"
	"$ROOT/scripts/table.py" markdown "$OUT/results.json" > "$OUT/table.md"
	"$ROOT/scripts/plot.py" "$OUT/results.json" > "$OUT/plot.svg"
	"$ROOT/scripts/plot.py" --latency "$OUT/results.json" > "$OUT/latency.svg"
	give_back "$OUT"
}

trap cleanup EXIT
trap 'step_end " interrupted: cleaning up"; exit 130' INT
trap 'exit 143' TERM HUP

command -v bpftool > /dev/null || PATH=$PATH:/usr/sbin
command -v bpftool > /dev/null || die "bpftool is missing: run 'scripts/setup.sh'"
WORK=$(mktemp -d)
SAMPLES=$WORK/samples
LOAD_BEFORE=$(cut -d ' ' -f 1 /proc/loadavg)
printf '%sxmasq bench%s: %d rounds of %d s\n\n' "$BOLD" "$PLAIN" "$ROUNDS" "$RUN_SECONDS"
measure_up
interleaved "$ROUNDS" "$RUN_SECONDS" "${KINDS[@]}"
bench_packets
bench_attach
bench_programs
bench_footprint
write_results
heading "$OUT/table.md"
cat "$OUT/table.md"
printf '\n'
busy_note
printf 'Wrote results.json, table.md, plot.svg and latency.svg to %s in %d s\n' "$OUT" "$SECONDS"
verdict_fast
