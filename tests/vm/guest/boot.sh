#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# One boot of a node for migrate.bats: a bed with xmasqd in mode auto, which finds the state
# directory that the last boot left below DIR; a flow between two pods; a report in JSON. Then the
# machine's power goes: nothing is stopped.
#
#   scripts/vm.sh run --out DIR -- tests/vm/guest/boot.sh
set -euo pipefail
cd "$(dirname "$0")/../../.."

BUILD=${BUILD:-build}
bed() { scripts/testbed.sh --prefix xmtboot "$@"; }
ctl() { bed xmasq ctl n1 -- "$@" -o json; }
state=/run/xmasq-xmtboot/n1

bed up --pods 1 >&2
[ ! -d "$XMASQ_VM_OUT/state" ] || cp -- "$XMASQ_VM_OUT/state"/* "$state/"
bed xmasq start --mode auto >&2

bed exec n2p1 -- "$BUILD/tests/tools/xmt-flow" server --tcp --port 4000 --once >&2 &
until [ -n "$(bed exec n2p1 -- ss -Hltn sport = :4000)" ]; do
	sleep 0.1
done
bed exec n1p1 -- "$BUILD/tests/tools/xmt-flow" client --tcp --port 4000 --host "$(bed ip n2p1)" \
	--duration 4 --interval-ms 20 -o json > /tmp/flow
wait $!

mkdir -p "$XMASQ_VM_OUT/state"
cp -- "$state"/{qdiscs,sysctl} "$XMASQ_VM_OUT/state/"
# shellcheck disable=SC2016 # jq's variables
gojq -nc --arg kernel "$(uname -r)" --slurpfile flow /tmp/flow \
	--argjson status "$(ctl status)" --argjson pods "$(ctl pods)" \
	--argjson counters "$(ctl counters -a)" --rawfile log "$state/xmasqd.log" '{
		kernel: $kernel,
		mode: $status.mode,
		reason: $status.mode_reason,
		pods: [$pods.pods[] | select(.attached).mode],
		fast: ($counters.counters[] | select(.name == "masqueraded").packets),
		flow: $flow[0],
		complaints: [$log | splits("\n") | select(test(" (warn|error) "))] }'
