#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bench-guest.sh - the part of "bench.sh --vm --icount" that runs in the virtual machine:
# makes beds, measures in them, and prints a line of JSON for each figure. What the lines mean
# is scripts/icount.py's matter: nothing is computed here, since the CPU is an emulated one.
#
# usage: bench-guest.sh [--admit-after N] [--connections] [--programs | --profile] CASE...
#
# CASE is NAME,OVERLAY,POD,FIREWALL,WHAT: WHAT is host, overlay or a mode of xmasqd. Cases in a
# row that need the same bed share it. --programs: the BPF programs too. --profile: no time, but
# the counts of lib/profile-plugin.c before and after a number of transactions. --connections:
# nothing but short connections, of one request and of more.

set -Eeuo pipefail

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
BUILD=${XMASQ_BUILD:-$ROOT/build}
TOOL=$BUILD/tests/tools/xmt-icount
PREFIX=xmicount
PORT=5300
# Modes of the tool; behind a colon the requests of a connection.
KINDS=(tcp-rr udp-rr tcp-stream tcp-crr)
CONNECTIONS=(tcp-crr:1 tcp-crr:2 tcp-crr:3 tcp-crr:4 tcp-crr:6 tcp-crr:8 tcp-crr:12 tcp-crr:16)
# Connections of each kind. In overlays, in Open vSwitch most of all, each has a cost of its own.
PASSES=3
OVERLAY_PASSES=8

say() { printf '[%s] %s\n' "$CASE" "$*" >&2; }
die() { printf 'error: %s: %s\n' "$CASE" "$*" >&2; exit 1; }

bed() { "$ROOT/scripts/testbed.sh" --prefix "$PREFIX" "$@"; }
ctl() { "$BUILD/xmasqctl" --socket "/run/xmasq-$PREFIX/$1/xmasqd.sock" "${@:2}" -o json; }

# run COMMAND...: testbed.sh, on record; it is only worth reading when it fails
run()
{
	COMMANDS+=("scripts/testbed.sh --prefix $PREFIX $*")
	bed "$@" > /tmp/bench-guest.log 2>&1 || {
		cat /tmp/bench-guest.log >&2
		die "'testbed.sh $*' failed: its messages are above"
	}
}

# seen VARIABLE: what the devices of node 1 have counted until now
seen()
{
	local -n links=$1

	links=$(ip -n "$PREFIX-n1" -s -j link show)
	links=${links//$'\n'/}
}

# client FILE ARGS...: the near end, in its namespace; to be repeated by hand from CMD
client()
{
	CMD="$TOOL client --host $FAR_IP --port $PORT --mode ${*:2}"
	CMD=${CMD//$ROOT\//}
	CMD=${CMD/tcp-crr:/tcp-crr --rounds 25 --windows 8 --requests }
	# shellcheck disable=SC2086 # CMD is words
	(cd "$ROOT" && exec nsenter --net="/run/netns/$PREFIX-$NEAR" -- $CMD) > "$1" || {
		[ ! -s /tmp/server.log ] || cat /tmp/server.log >&2
		die "'$CMD' failed: a packet may have been lost, or the far end ended"
	}
}

server_up()
{
	: > /tmp/server.out
	nsenter --net="/run/netns/$PREFIX-$FAR" -- "$TOOL" server --port "$PORT" \
		> /tmp/server.out 2> /tmp/server.log &
	SERVER=$!
	until grep -q ready /tmp/server.out; do
		kill -0 "$SERVER" 2> /dev/null || die "the server ended: $(cat /tmp/server.log)"
	done
}

server_down()
{
	[ -n "${SERVER:-}" ] || return 0
	kill "$SERVER"
	wait "$SERVER" 2> /dev/null || :
	SERVER=''
}

# What the daemons of both nodes have loaded: a pod may have a program of its own.
program_list()
{
	bpftool prog show -j | jq -c '[.[] | select(.name // "" | startswith("xmasq_")) | {name, id}]'
}

# The daemon refuses a mode that it cannot have; this is about the pods.
check_mode()
{
	local node

	for node in n1 n2; do
		ctl "$node" status | jq -e --arg mode "$MODE" \
			'.mode == $mode and .pods >= 1 and .pods_attached == .pods' > /dev/null ||
			die "xmasqd of $node is not in mode $MODE with its pods: $(ctl "$node" status)"
	done
}

# mark: has the plugin write down what it has counted
mark()
{
	: > "$XMASQ_VM_OUT/trigger"
	while [ -e "$XMASQ_VM_OUT/trigger" ]; do
		:
	done
}

# The difference of a long and a short run is that of the transactions alone.
profile()
{
	local kind few=(--warmup 50 --windows 1 --rounds 50) rounds=2000

	for kind in "${KINDS[@]}"; do
		[ "$kind" != tcp-stream ] || continue
		[[ $kind != tcp-crr* ]] || rounds=400
		say "profile, $kind"
		client /dev/null "$kind" "${few[@]}"
		mark
		client /dev/null "$kind" "${few[@]}"
		mark
		client /dev/null "$kind" "${few[@]}" --rounds $((50 + rounds))
		mark
		cat /proc/kallsyms > "$XMASQ_VM_OUT/symbols.$MARKS"
		printf '{"case":"%s","kind":"%s","profile":%s,"rounds":%s}\n' \
			"$CASE" "$kind" "$MARKS" "$rounds"
		MARKS=$((MARKS + 3))
	done
}

measure()
{
	local kind before after list ids ask=() pass passes=$PASSES

	[ "$WHAT" != overlay ] || passes=$OVERLAY_PASSES
	if [ "$MODE" ]; then
		check_mode
		ask=(--ask "/run/xmasq-$PREFIX/n1/xmasqd.sock" --ask "/run/xmasq-$PREFIX/n2/xmasqd.sock")
	fi
	# Neighbours, connection tracking, the datapath's flows, the peers of xmasqd.
	client /dev/null tcp-rr --warmup 50 --windows 1
	client /dev/null udp-rr --warmup 50 --windows 1
	if [ "$PROFILE" ]; then
		profile
		return
	fi
	for ((pass = 1; pass <= passes; pass++)); do
		say "pass $pass of $passes"
		for kind in "${KINDS[@]}"; do
			# Each of its rounds is a connection of its own.
			[[ $kind != tcp-crr* || $pass -le $PASSES ]] || continue
			seen before
			client /tmp/out "$kind" "${ask[@]}"
			seen after
			printf '{"case":"%s","kind":"%s","command":"%s","out":%s,"before":%s,"after":%s}\n' \
				"$CASE" "$kind" "scripts/testbed.sh --prefix $PREFIX exec $NEAR -- $CMD" \
				"$(< /tmp/out)" "$before" "$after"
		done
	done
	[[ $PROGRAMS && $MODE ]] || return 0
	list=$(program_list)
	ids=$(jq -r 'map(.id) | join(",")' <<< "$list")
	say "programs"
	for kind in "${KINDS[@]}"; do
		client /tmp/out "$kind" --windows 4 --programs "$ids"
		printf '{"case":"%s","kind":"%s","programs":%s,"list":%s}\n' "$CASE" "$kind" \
			"$(< /tmp/out)" "$list"
	done
}

# Half a minute after a neighbour was heard of a packet to it takes the long way until it is asked
# again: by chance in one case and not in the other, and 150 instructions each.
neighbours_stay()
{
	local node

	for node in n1 n2; do
		# shellcheck disable=SC2016 # the inner shell's
		nsenter --net="/run/netns/$PREFIX-$node" -- sh -c \
			'for f in /proc/sys/net/ipv4/neigh/*/base_reachable_time_ms; do echo 3600000 > "$f"; done'
	done
}

# bed_for OVERLAY POD FIREWALL: the bed, unless it is the one that exists
bed_for()
{
	local options=(--pods 1 --overlay "$1" --pod "$2")

	[ "$3" = yes ] || options+=(--no-firewall)
	[ "$BED" != "$*" ] || return 0
	[ -z "$BED" ] || run down
	BED=''
	COMMANDS=()
	say "bed"
	run up "${options[@]}"
	neighbours_stay
	BED=$*
	BED_COMMANDS=("${COMMANDS[@]}")
}

measure_case()
{
	local overlay pod firewall rules

	IFS=, read -r CASE overlay pod firewall WHAT <<< "$1"
	bed_for "$overlay" "$pod" "$firewall"
	COMMANDS=("${BED_COMMANDS[@]}")
	NEAR=n1p1 FAR=n2p1 MODE=''
	case $WHAT in
	host)		NEAR=n1 FAR=n2 ;;
	overlay)	;;
	*)		MODE=$WHAT
			say "xmasqd"
			run xmasq start --mode "$WHAT" "${EXTRA[@]}" ;;
	esac
	FAR_IP=$(bed ip "$FAR")
	server_up
	rules=false
	[ "$firewall" = no ] || rules=true
	printf '%s\n' "${COMMANDS[@]}" | jq -Rsc --arg case "$CASE" --arg overlay "$overlay" \
		--arg pod "$pod" --argjson rules "$rules" --arg what "$WHAT" \
		--arg nic "$(bed get nics)" --arg tunnel "$(bed get tunnel-dev)" \
		'{ case: $case, overlay: $overlay, pod: $pod, rules: $rules, what: $what, nic: $nic,
		   tunnel: $tunnel, commands: split("\n") | map(select(. != "")) }'
	measure
	server_down
	[ -z "$MODE" ] || run xmasq stop
}

PROGRAMS='' PROFILE='' MARKS=0 CASE=start BED='' SERVER='' COMMANDS=()
EXTRA=()
if [ "${1:-}" = --admit-after ]; then
	echo "admit_after: $2" > /tmp/extra
	EXTRA=(--config-extra /tmp/extra)
	shift 2
fi
if [ "${1:-}" = --connections ]; then
	KINDS=("${CONNECTIONS[@]}")
	PASSES=2
	OVERLAY_PASSES=2
	shift
fi
case ${1:-} in
--programs)	PROGRAMS=yes; shift ;;
--profile)	PROFILE=yes; shift ;;
esac
[ $# -gt 0 ] || die "no case"
[ -x "$TOOL" ] || die "$TOOL is missing: run 'make all tools'"
# Timers of ours would fire while something else is counted.
trap server_down EXIT
printf '{"kernel":"%s","empty":%s}\n' "$(uname -r)" "$("$TOOL" empty)"
for one; do
	measure_case "$one"
done
