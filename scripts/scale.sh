#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# scale.sh - one node with many pods, many peers and many flows: what its daemon takes, how soon it is
# back after a restart, and what a packet costs. docs/scale.md says how to read the result.

# shellcheck disable=SC2016 # in jq programs the variables are those of jq

set -Eeuo pipefail

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")
BUILD=${XMASQ_BUILD:-$ROOT/build}
PREFIX=xmscale

help()
{
	cat <<'HELP'
usage: scale.sh [--pods N] [--peers N] [--pair-flows N] [--node-flows N] [--period-ms M]
                [--seconds S] [--rounds N] [--only WHAT]... [--out DIR] [--prefix NAME]

  --pods N        pods on the node (default 250)
  --peers N       other nodes, each with an xmasqd of its own (default 50)
  --pair-flows N  flows between two nodes (default 32000)
  --node-flows N  flows of the node with all peers (default 200000)
  --period-ms M   of these, a datagram in each flow (default 8000); below the lease, 10 s, or
                  flows get no labels: needs the machine for itself
  --seconds S     each measurement of CPU time (default 20)
  --rounds N      of each measurement (default 3)
  --only WHAT     one of pods, peers, flows, fill, lookups; may be repeated (default: all)
  --out DIR       where results go (default bench/)
  --prefix NAME   of the beds (default xmscale)

Writes scale.json (every measurement) and scale.md (medians, spread), and prints the table. What an
earlier run with other --only left in scale.json stays. Needs root, 4 GiB of memory and some ten minutes.

Numbers of flows are rounded up to a product of ports. All nodes have lease_ms: 10000, so that each flow
needs a datagram every few seconds only.

exit status: 0 done, 1 something failed or a datagram came to the wrong place, 2 wrong arguments
HELP
}

number_or_usage() { [[ ${1:-} =~ ^[1-9][0-9]{0,6}$ ]] || { help >&2; exit 2; }; }

OUT=$ROOT/bench PODS=250 PEERS=50 PAIR=32000 NODE=200000 PERIOD=8000 MEASURE=20 ROUNDS=3 ONLY=()
COMMAND="scripts/scale.sh${*:+ $*}"
while [ $# -gt 0 ]; do
	case $1 in
	--pods)		number_or_usage "${2:-}"; PODS=$2; shift 2 ;;
	--peers)	number_or_usage "${2:-}"; PEERS=$2; shift 2 ;;
	--pair-flows)	number_or_usage "${2:-}"; PAIR=$2; shift 2 ;;
	--node-flows)	number_or_usage "${2:-}"; NODE=$2; shift 2 ;;
	--period-ms)	number_or_usage "${2:-}"; PERIOD=$2; shift 2 ;;
	--seconds)	number_or_usage "${2:-}"; MEASURE=$2; shift 2 ;;
	--rounds)	number_or_usage "${2:-}"; ROUNDS=$2; shift 2 ;;
	--only)		ONLY+=("${2:-}"); shift 2 ;;
	--out)		[ -n "${2:-}" ] || { help >&2; exit 2; }; OUT=$2; shift 2 ;;
	--prefix)	[ -n "${2:-}" ] || { help >&2; exit 2; }; PREFIX=$2; shift 2 ;;
	-h|--help)	help; exit 0 ;;
	*)		help >&2; exit 2 ;;
	esac
done
[ ${#ONLY[@]} != 0 ] || ONLY=(pods peers flows fill lookups)
for what in "${ONLY[@]}"; do
	[[ " pods peers flows fill lookups " == *" $what "* ]] || { help >&2; exit 2; }
done
# shellcheck source=scripts/lib/long-run.sh
. "$ROOT/scripts/lib/long-run.sh"
run_begin "$TOOLS"/xmt-{usage,many} "$BUILD/tests/prog/xmasq-prog-test"
RAW=$OUT/scale.samples LEASE=10000
[ ${#ONLY[@]} != 5 ] || : >"$RAW"

# What the tools print is put together by jq; Debian's takes 30 ms to start, which is all the same here.
inside() { local who=$1; shift; nsenter --net="/run/netns/$PREFIX-$who" -- "$@"; }
pid_of() { local pid; read -r pid _ <"/run/xmasq-$PREFIX/$1/xmasqd.pid" && echo "$pid"; }
status() { ctl "$1" status -o json | jq -r ".$2"; }
usage()  { "$TOOLS/xmt-usage" --pid "$(pid_of n1)" --pins "/sys/fs/bpf/xmasq-$PREFIX-n1"; }
now_ms() { local t=${EPOCHREALTIME/./}; echo $((t / 1000)); }

# record WHAT JQ-ARGUMENTS...: a line of RAW
record() { jq -nc --arg what "$1" "${@:2}" >>"$RAW"; }

quietly() { "$@" >"$WORK/log" 2>&1 || { tail -n 40 "$WORK/log" >&2; die "$* failed"; }; }

# at_least NODE FIELD N: of status
at_least() { [ "$(status "$1" "$2" 2>/dev/null || echo -1)" -ge "$3" ]; }

# cpu WHAT N: CPU time of n1's daemon over MEASURE seconds, ROUNDS times, with N of what there are
cpu()
{
	local r a b

	for ((r = 0; r < ROUNDS; r++)); do
		a=$(usage)
		sleep "$MEASURE"
		b=$(usage)
		record "$1" --argjson n "$2" --argjson a "$a" --argjson b "$b" --argjson s "$(ctl n1 status -o json)" \
			'{ what: $what, n: $n, cpu_ms_per_s: (($b.cpu_ms - $a.cpu_ms) / ($b.t - $a.t)),
			   rss_kib: $b.rss_kib, fds: $b.fds, pins: $b.pins,
			   tables_kib: ([$b.tables[].bytes] | add / 1024 | floor),
			   flows: $b.tables.xm_flows.used, labels: $b.tables.xm_labels.used,
			   active: $s.flows_active, pods: $s.pods_attached, peers: $s.peers_up }'
	done
}

# restart WHAT FIELD N: n1's daemon ends and starts again, with the datapath left, until FIELD of its
# status is N; ROUNDS times
restart()
{
	local r pid from up

	for ((r = 0; r < ROUNDS; r++)); do
		pid=$(pid_of n1)
		kill "$pid"
		while kill -0 "$pid" 2>/dev/null; do sleep 0.01; done
		from=$(now_ms)
		quietly "$BED" xmasq start n1 --lease-ms $LEASE --config-extra "$WORK/extra.n1"
		up=$(($(now_ms) - from))
		until_true 120 at_least n1 "$2" "$3" || die "$1: not back after 120 s"
		record "$1" --argjson n "$3" --argjson up $up --argjson ms $(($(now_ms) - from)) \
			'{ what: $what, n: $n, answers_ms: $up, ms: $ms }'
	done
}

# ---- pods ----

scale_pods()
{
	local i from done_at

	say "a node with $PODS pods"
	quietly "$BED" up --replace --nodes 2 --pods 1
	: >"$WORK/extra.n1"
	quietly "$BED" xmasq start --lease-ms $LEASE
	cpu pods 1
	for ((i = 2; i <= PODS; i++)); do
		quietly "$BED" pod-add n1 $i
	done
	until_true 60 at_least n1 pods_attached "$PODS" || die "$(status n1 pods_attached) of $PODS attached"
	cpu pods "$PODS"
	say "restarts"
	restart pods-restart pods_attached "$PODS"
	# Found anew, all at once: nothing is left of an earlier run.
	for ((i = 0; i < ROUNDS; i++)); do
		quietly "$BED" xmasq stop n1
		from=$(now_ms)
		quietly "$BED" xmasq start n1 --lease-ms $LEASE
		until_true 120 at_least n1 pods_attached "$PODS"
		done_at=$(now_ms)
		record pods-attach --argjson n "$PODS" --argjson ms $((done_at - from)) '{ what: $what, n: $n, ms: $ms }'
	done
	quietly "$BED" down
}

# ---- peers ----

peers_bed()
{
	local i nodes=()

	say "$((PEERS + 1)) nodes, each with an xmasqd"
	# Without conntrack, whose table is the machine's: a flow in a tunnel takes three of its entries,
	# those of the tunnel's packets included, and 200 000 flows more than there usually are.
	quietly "$BED" up --replace --nodes $((PEERS + 1)) --pods 1 --underlay bridge --no-firewall
	# Twice as many as there will be, so that slots of labels are found; the others for theirs.
	printf 'tables: {flows: %d}\n' 524288 >"$WORK/extra.n1"
	printf 'tables: {flows: %d}\n' 131072 >"$WORK/extra.n2"
	printf 'tables: {flows: %d}\n' 16384 >"$WORK/extra"
	for i in n1 n2; do
		quietly "$BED" xmasq start $i --lease-ms $LEASE --config-extra "$WORK/extra.$i"
	done
	for ((i = 3; i <= PEERS + 1; i++)); do
		nodes+=("n$i")
	done
	quietly "$BED" xmasq start "${nodes[@]}" --lease-ms $LEASE --config-extra "$WORK/extra"
}

# find_peers: overlay packets make nodes known to each other
find_peers()
{
	local i

	for ((i = 2; i <= PEERS + 1; i++)); do
		inside n1p1 ping -q -c 1 -W 5 "$("$BED" ip "n${i}p1")" >/dev/null || die "n1p1 does not reach n${i}p1"
	done
	until_true 60 at_least n1 peers_up "$PEERS" || die "$(status n1 peers_up) of $PEERS peers are up"
}

# wire: octets and packets of n1's NIC, both ways
wire()
{
	# What flows add is one datagram in 4 s each.
	inside n1 cat /proc/net/dev | awk '$1 == "eth0:" { printf "[%s,%s,%s,%s]", $2, $3, $10, $11 }'
}

scale_peers()
{
	local a b t r load i to=()

	# A peer that nobody talks to is forgotten after a minute: a flow with each keeps it.
	for ((i = 2; i <= PEERS + 1; i++)); do
		to+=(--to "/run/netns/$PREFIX-n${i}p1=$("$BED" ip "n${i}p1")")
	done
	"$TOOLS/xmt-many" --from "/run/netns/$PREFIX-n1p1=$("$BED" ip n1p1)" "${to[@]}" --sports 1 \
		--dports 1 --period-ms 4000 --seconds 3600 >"$WORK/many" &
	load=$!
	PIDS+=("$load")
	until_true 60 at_least n1 flows_active "$PEERS"
	cpu peers "$PEERS"
	for ((r = 0; r < ROUNDS; r++)); do
		a=$(wire) t=$(now_ms)
		sleep "$MEASURE"
		b=$(wire)
		record peers-wire --argjson n "$PEERS" --argjson a "$a" --argjson b "$b" --argjson s $(($(now_ms) - t)) \
			'{ what: $what, n: $n, rx_bytes_s: (($b[0] - $a[0]) * 1000 / $s), rx_packets_s: (($b[1] - $a[1]) * 1000 / $s),
			   tx_bytes_s: (($b[2] - $a[2]) * 1000 / $s), tx_packets_s: (($b[3] - $a[3]) * 1000 / $s) }'
	done
	say "restarts"
	restart peers-restart peers_up "$PEERS"
	kill $load
	wait $load || die "a datagram came to the wrong place: $(tail -n 1 "$WORK/many")"
}

# ---- flows ----

# flows WHAT SPORTS DPORTS PERIOD-MS NODE...: load until all of it is learned, measured, restarted under
flows()
{
	local what=$1 sports=$2 dports=$3 period=$4 to=() want load before

	shift 4
	want=$((sports * dports * $#))
	for node; do
		to+=(--to "/run/netns/$PREFIX-${node}p1=$("$BED" ip "${node}p1")")
	done
	say "$want flows with $# peers, one datagram in $period ms each"
	: >"$WORK/many"
	"$TOOLS/xmt-many" --from "/run/netns/$PREFIX-n1p1=$("$BED" ip n1p1)" "${to[@]}" --sports "$sports" \
		--dports "$dports" --period-ms "$period" --seconds 3600 >"$WORK/many" 2>"$WORK/many.err" &
	load=$!
	PIDS+=("$load")
	# As many as there will be: until no more come.
	local last=-1 same=0 is
	until_true 30 grep -q ready "$WORK/many" || die "$(cat "$WORK/many.err")"
	while [ $same -lt 2 ]; do
		sleep $((period / 1000 + 1))
		is=$(usage | jq '.tables | .xm_flows.used + .xm_labels.used')
		[ $((is - last)) -gt $((want / 500)) ] && same=0 || same=$((same + 1))
		last=$is
		kill -0 $load 2>/dev/null || die "xmt-many ended: $(cat "$WORK/many.err")"
	done
	say "$(usage | jq -r '.tables | "\(.xm_flows.used) entries, \(.xm_labels.used) labels"') for $want flows"
	is=$(status n1 flows)
	cpu "$what" "$want"
	record "$what-counters" --argjson n "$want" --argjson c "$(ctl n1 counters -a -o json)" \
		'{ what: $what, n: $n, counters: ([$c.counters[] | { (.name): .packets }] | add) }'
	before=$(kill -USR1 $load; sleep 1; tail -n 1 "$WORK/many")
	restart "$what-restart" flows $((is * 95 / 100))
	kill -TERM $load
	wait $load || die "$what: a datagram came to the wrong place: $(tail -n 1 "$WORK/many")"
	record "$what-load" --argjson n "$want" --argjson before "$before" --argjson last "$(tail -n 1 "$WORK/many")" \
		'{ what: $what, n: $n, before_restarts: $before, at_end: $last }'
	say "without them"
	until_true 120 gone || die "$(status n1 flows) flows are left"
	cpu "$what" 0
}

# The same number of entries without the packets: a busy machine is not able to send enough of them
# for all of these flows to be there at a time.
scale_fill()
{
	local load

	say "a table of $NODE flows, filled in"
	quietly "$BED" up --replace --nodes 2 --pods 1 --no-firewall
	printf 'tables: {flows: %d}\n' 524288 >"$WORK/extra.n1"
	quietly "$BED" xmasq start n1 --lease-ms $LEASE --config-extra "$WORK/extra.n1"
	quietly "$BED" xmasq start n2 --lease-ms $LEASE
	inside n1p1 ping -q -c 1 -W 5 "$("$BED" ip n2p1)" >/dev/null
	until_true 60 at_least n1 peers_up 1
	"$TOOLS/xmt-many" --from "/run/netns/$PREFIX-n1p1=$("$BED" ip n1p1)" --to "/run/netns/$PREFIX-n2p1=$("$BED" ip n2p1)" \
		--sports 1 --dports 1 --period-ms 4000 --seconds 3600 >"$WORK/many" &
	load=$!
	PIDS+=("$load")
	until_true 60 at_least n1 flows_active 1
	cpu fill 1
	"$TOOLS/xmt-fill" "/sys/fs/bpf/xmasq-$PREFIX-n1" "$NODE" 600 >"$WORK/log" || die "only $(cat "$WORK/log") of $NODE"
	cpu fill "$NODE"
	restart fill-restart flows "$NODE"
	kill $load
	wait $load || die "a datagram came to the wrong place: $(tail -n 1 "$WORK/many")"
	quietly "$BED" down
}

gone() { [ "$(status n1 flows)" = 0 ]; }

scale_flows()
{
	local nodes=() i ports

	flows flows-pair 160 $(((PAIR + 159) / 160)) 8000 n2
	for ((i = 2; i <= PEERS + 1; i++)); do
		nodes+=("n$i")
	done
	ports=$((NODE / PEERS / 64 + (NODE / PEERS % 64 != 0)))
	flows flows-node 64 $ports "$PERIOD" "${nodes[@]}"
}

wants() { [[ " ${ONLY[*]} " == *" $1 "* ]]; }

! wants pods || scale_pods
if wants peers || wants flows; then
	peers_bed
	find_peers
	! wants peers || scale_peers
	! wants flows || scale_flows
	quietly "$BED" down
fi
! wants fill || scale_fill
if wants lookups; then
	say "what a packet costs"
	"$BUILD/tests/prog/xmasq-prog-test" --lookups >"$WORK/lookups"
	jq -c '.[] | .what = "lookups"' "$WORK/lookups" >>"$RAW"
fi
"$ROOT/scripts/scale.py" --command "$COMMAND" --out "$OUT"
