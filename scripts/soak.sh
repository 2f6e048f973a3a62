#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# soak.sh - pods come and go for long, under load, while what xmasqd holds is sampled: memory,
# descriptors, pins, programs and the entries of its tables have to stay where they are. docs/scale.md.

set -Eeuo pipefail

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")
BUILD=${XMASQ_BUILD:-$ROOT/build}
PREFIX=xmsoak

help()
{
	cat <<'HELP'
usage: soak.sh [--minutes M | --seconds S] [--interval S] [--out DIR] [--prefix NAME]

  --minutes M   how long (default 20)
  --seconds S   the same; short runs show that it works, not that nothing leaks
  --interval S  between two samples (default 5)
  --out DIR     where results go (default bench/)
  --prefix NAME of the bed (default xmsoak)

Two nodes with four pods each, TCP and UDP between them, short connections all the while. On each
node a pod is made, talks to the other node and is removed, again and again, with the address of the
one before. Writes soak.samples (one line of JSON per sample and node), soak.json, soak.md and
soak.svg, and prints the table. Needs root.

exit status: 0 all flat and nothing lost, 1 not so, 2 wrong arguments
HELP
}

number_or_usage() { [[ ${1:-} =~ ^[1-9][0-9]{0,4}$ ]] || { help >&2; exit 2; }; }

OUT=$ROOT/bench TIME=1200 INTERVAL=5
COMMAND="scripts/soak.sh${*:+ $*}"
while [ $# -gt 0 ]; do
	case $1 in
	--minutes)	number_or_usage "${2:-}"; TIME=$(($2 * 60)); shift 2 ;;
	--seconds)	number_or_usage "${2:-}"; TIME=$2; shift 2 ;;
	--interval)	number_or_usage "${2:-}"; INTERVAL=$2; shift 2 ;;
	--out)		[ -n "${2:-}" ] || { help >&2; exit 2; }; OUT=$2; shift 2 ;;
	--prefix)	[ -n "${2:-}" ] || { help >&2; exit 2; }; PREFIX=$2; shift 2 ;;
	-h|--help)	help; exit 0 ;;
	*)		help >&2; exit 2 ;;
	esac
done
# shellcheck source=scripts/lib/long-run.sh
. "$ROOT/scripts/lib/long-run.sh"
run_begin "$TOOLS"/xmt-{usage,load,flow}

ip_of() { "$BED" ip "$1"; }

# ---- the load ----

pods=(n1p1 n1p2 n1p3 n1p4 n2p1 n2p2 n2p3 n2p4)
pairs=('n1p1,n2p1' 'n2p2,n1p2' 'n1p3,n2p3' 'n2p1,n1p3')

load_begin()
{
	local p args=()

	for p in "${pods[@]}"; do
		args+=(--pod "$p=/run/netns/$PREFIX-$p=$(ip_of "$p")")
	done
	for p in "${pairs[@]}"; do
		args+=(--pair "$p")
	done
	"$TOOLS/xmt-load" "${args[@]}" --tcp 10 --udp 5 --interval-ms 100 --timeout $((TIME + 600)) \
		--short 1000000 --parallel 4 --hold 250 >"$WORK/load" 2>"$WORK/load.err" &
	LOAD_PID=$!
	PIDS+=("$LOAD_PID")
	until_true 30 grep -q ready "$WORK/load" || die "$(cat "$WORK/load.err")"
}

# churn NODE PEER: until the file "stop" is there; a line for each pod that was made and removed. A
# pod talks long enough for its flow to be learned, mostly.
churn()
{
	local node=$1 to p i

	to=$(ip_of "$2p4")
	for ((i = 0; ; i++)); do
		[ ! -e "$WORK/stop" ] || return 0
		p=$((20 + i % 3))
		"$BED" pod-add "$node" "$p" >/dev/null
		timeout 10 nsenter --net="/run/netns/$PREFIX-${node}p$p" -- "$TOOLS/xmt-flow" client --udp \
			--host "$to" --port 4700 --source-port 7700 --rounds 15 --interval-ms 10 \
			-o json >>"$WORK/churn.$node" || :
		"$BED" pod-del "$node" "$p" >/dev/null
	done
}

sample()
{
	local node

	for node in n1 n2; do
		"$TOOLS/xmt-usage" --pid "${PID[$node]}" --pins "/sys/fs/bpf/xmasq-$PREFIX-$node" |
			sed "s/^{/{\"node\":\"$node\",\"pods\":$(pods_attached $node),\"churned\":$(
				wc -l <"$WORK/churn.$node"),/" >>"$OUT/soak.samples" ||
			die "the daemon of $node is gone: $(tail -n 5 "/run/xmasq-$PREFIX/$node/xmasqd.log")"
	done
}

pods_attached() { ctl "$1" status -o json | grep -oP '"pods_attached": *\K[0-9]+'; }
peers_up()      { ctl "$1" status -o json | grep -qE '"peers_up": *1'; }

say "a bed"
"$BED" up --replace --nodes 2 --pods 4 >"$WORK/bed.log" 2>&1 || { cat "$WORK/bed.log" >&2; die "no bed"; }
"$BED" xmasq start >"$WORK/bed.log" 2>&1 || { cat "$WORK/bed.log" >&2; die "no daemons"; }
declare -A PID
for node in n1 n2; do
	read -r PID[$node] _ <"/run/xmasq-$PREFIX/$node/xmasqd.pid"
	nsenter --net="/run/netns/$PREFIX-${node}p4" -- "$TOOLS/xmt-flow" server --udp --port 4700 \
		--timeout $((TIME + 600)) >/dev/null 2>&1 &
	PIDS+=($!)
done
load_begin
until_true 30 peers_up n1
until_true 30 peers_up n2
: >"$OUT/soak.samples"
for node in n1 n2; do
	: >"$WORK/churn.$node"
	churn $node "n$((3 - ${node#n}))" 2>"$WORK/churn.$node.err" &
	CHURN[${node#n}]=$!
	PIDS+=($!)
done

say "churn and load for $TIME s"
start=$SECONDS
while [ $((SECONDS - start)) -lt "$TIME" ]; do
	sample
	for i in 1 2; do
		kill -0 "${CHURN[i]}" 2>/dev/null || die "churn of n$i ended: $(cat "$WORK/churn.n$i.err")"
	done
	sleep "$INTERVAL"
done
: >"$WORK/stop"
wait "${CHURN[@]}"

say "what the load saw"
kill -TERM "$LOAD_PID"
rc=0
wait "$LOAD_PID" || rc=1
tail -n 1 "$WORK/load" >"$OUT/soak.load"
cat "$WORK"/churn.n? >"$OUT/soak.churn"
[ $rc = 0 ] || { cat "$WORK/load.err" >&2; die "the load saw a broken connection or a wrong byte"; }
"$ROOT/scripts/soak.py" --command "$COMMAND" --out "$OUT"
