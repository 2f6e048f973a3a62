#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# demo.sh - what xmasq does, seen on this machine: two nodes made of network namespaces, a
# VXLAN overlay between their pods, and the same traffic without and with xmasqd.

set -Eeuo pipefail

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/..")
PREFIX=xmdemo
# shellcheck source=scripts/lib/measure.sh
. "$ROOT/scripts/lib/measure.sh"

help()
{
	cat <<'HELP'
usage: demo.sh [--quick | --rounds N]

Measures host, overlay and xmasq between two nodes made of network namespaces, shows the
packets of one flow before and after it leaves the tunnel, and what xmasqctl says. Needs
root, takes less than two minutes, and leaves nothing behind.

  --quick       one short round instead of three: half a minute, rougher figures
  --rounds N    that many rounds (default 3)

Colors only on a terminal and without NO_COLOR in the environment.

exit status: 0 done, 1 something failed or was not on the fast path, 2 wrong arguments
HELP
}

ROUNDS=3 RUN_SECONDS=2
while [ $# -gt 0 ]; do
	case $1 in
	--quick)	ROUNDS=1 RUN_SECONDS=1; shift ;;
	--rounds)
		[[ ${2:-} =~ ^[1-9][0-9]?$ ]] || { help >&2; exit 2; }
		ROUNDS=$2; shift 2 ;;
	-h|--help)	help; exit 0 ;;
	*)		help >&2; exit 2 ;;
	esac
done

show_result()
{
	[ "$ROUNDS" != 1 ] || heading "Result (one round of $RUN_SECONDS s)"
	[ "$ROUNDS" = 1 ] || heading "Result (medians of $ROUNDS rounds of $RUN_SECONDS s)"
	"$ROOT/scripts/table.py" text "$SAMPLES"
	busy_note
	cat <<-END

	  bare host     node to node, without firewall rules: what xmasq is to come close to.
	                The goal is 0.80 of its TCP round trips.
	  host + rules  node to node, with the iptables rules and conntrack of a Kubernetes
	                node. xmasq can be above it: established flows skip those rules too.
	  overlay       pod to pod through the CNI's VXLAN, bridge and the same rules.
	  xmasq         pod to pod, the same, with xmasqd on both nodes.
	  CPU           time on CPU of client, server and ksoftirqd, in which packets between
	                namespaces are carried all the way. For CPU less is better.

	  Both nodes share this machine: compare columns, not with other machines. What else
	  runs here shows as noise, least of all in the CPU rows; --rounds 5 evens out more.
	END
}

# tcpdump prints two lines for a packet in the tunnel, the second without a time. Of what is
# outside the tunnel the first four are enough.
# shellcheck disable=SC2016 # awk's variables
CAPTURE_AWK='
	function row(way, from, to) {
		what = "ACK"
		if (/Flags \[S\]/) what = "SYN"
		if (/Flags \[S\.\]/) what = "SYN+ACK"
		if (/Flags \[P/) what = "data"
		if (/Flags \[F/) what = "FIN"
		sub(/:$/, "", to)
		printf "     %s  %s > %s  %s\n", way, from, to, what
	}
	/^[0-9]/ && / VXLAN/ { next }
	/^[0-9]/ { if (++node <= 4) row("node ", $3, $5); next }
	!node { row("VXLAN", $2, $4) }
	node && /Flags \[F/ { row("end  ", $2, $4) }'

show_capture()
{
	local text

	heading "One flow on the wire between the nodes (tcpdump on node 1's NIC)"
	capture "$M_TMP/pcap" --tcp --rounds 6 --interval-ms 20
	text=$(tcpdump -nn -r "$M_TMP/pcap" -T vxlan 2> /dev/null | awk "$CAPTURE_AWK")
	grep -q '^ *node' <<< "$text" || die "the flow did not leave the tunnel: $text"
	printf '  It starts in the tunnel, pod to pod; the CNI routes, filters and tracks it:\n\n'
	grep '^ *VXLAN' <<< "$text"
	cat <<-END

	  Both CNIs have passed it both ways: now its packets are sent from node to node. Port
	  18477 is xmasq; the other port is 32768 + the label that stands for the flow:

	END
	grep '^ *node' <<< "$text"
	printf '     ...\n\n  Its end is the CNI'"'"'s again, so that conntrack sees the connection close:\n\n'
	grep '^ *end' <<< "$text" | sed 's/end  /VXLAN/' ||
		die "the flow did not end in the tunnel: $text"
}

show_control()
{
	heading "What xmasqd says while a flow runs: xmasqctl flows"
	bed_exec "$PREFIX" n1p1 "$TOOLS/xmt-perf" client --mode tcp-rr --port 5202 \
		--host "$(bed "$PREFIX" ip n2p1)" --seconds 2 > /dev/null &
	SERVER_PID[flow]=$!
	sleep 1
	bed "$PREFIX" xmasq ctl n1 -- flows --active
	heading "xmasqctl status"
	bed "$PREFIX" xmasq ctl n1 -- status
	wait "${SERVER_PID[flow]}"
	unset 'SERVER_PID[flow]'
}

show_next()
{
	heading "What to try next"
	cat <<-END
	  sudo scripts/testbed.sh up                        a bed of your own; --help says more
	  sudo scripts/testbed.sh xmasq start
	  sudo scripts/testbed.sh exec n1p1 -- ping -c 3 \$(scripts/testbed.sh ip n2p1)
	  sudo scripts/testbed.sh xmasq ctl n1 -- counters  what happened to packets, and why
	  sudo make check                                   all tests
	  sudo make bench                                   more measurements, with spread and a plot
	END
}

SAMPLES=$(mktemp)
trap 'measure_down; rm -f -- "$SAMPLES"' EXIT
trap 'step_end " interrupted: cleaning up"; exit 130' INT
trap 'exit 143' TERM HUP

printf '%sxmasq: pod-to-pod traffic at the cost of host traffic%s\n\n' "$BOLD" "$PLAIN"
measure_up
interleaved "$ROUNDS" "$RUN_SECONDS" tcp1 tcprr udprr
show_result
show_capture
show_control
show_next

status=0
verdict_fast || status=1
[ $status != 0 ] || printf '\n%sok:%s at least %s of the packets of every xmasq run took the fast path; %d s, all cleaned up\n' \
	"$GREEN" "$PLAIN" "$(jq -rs 'map(.fast | numbers) | min * 10000 | floor / 100 | "\(.) %"' "$SAMPLES")" "$SECONDS"
exit $status
