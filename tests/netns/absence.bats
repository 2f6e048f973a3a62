#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# A daemon that is away for longer than its peers wait, as where its pod is replaced: flows are on the
# overlay meanwhile, and come back without a packet lost. (restart.bats has those that are back in time.)
#
#   n1p1 --- n1 === underlay === n2 --- n2p1        a TCP and a UDP flow, a message each 5 ms
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib
load daemon

setup_file()    { bed_up --pods 1; daemons_changed; }
teardown_file() { bed_down; }
setup()         { test_begin; daemons_default; }
teardown()      { daemons_end; test_end; }

# none_refused: what comes with a label that the other node no longer goes by is dropped there
none_refused() {
	local node reason

	for reason in label-expired no-label; do
		for node in n1 n2; do
			echo "$node: $reason $(counted $node $reason)"
			[ "$(counted $node $reason)" = 0 ]
		done
	done
}

# away NODE ROUNDS: its daemon ends and is started when nobody expects it any more, under load
away() {
	local node=$1 other=n$((3 - ${1#n})) i

	live
	wait_until 3 all_fast n1 n2
	counters_mark n1 n2
	for ((i = 0; i < $2; i++)); do
		log_mark "$other"
		term "$node" TERM
		wait_until 10 logged "$other" ' is down'
		# Leases of this node are over as well, and what it told with them.
		wait_until 10 lapsed "$other"
		launch "$node"
		wait_until 20 all_fast n1 n2
	done
	none_refused
	live_end '(.lost // 0) == 0'
}

# One by one, each as soon as the other is back, as a rollout does it: the one that is back has its
# peer's proof, the other one goes before it has any. Every second time the first one was away for so
# short that its leases are not over.
@test "the other daemon goes as soon as one is back: nothing is lost" {
	local i

	live
	wait_until 3 all_fast n1 n2
	counters_mark n1 n2
	for i in 1 2 3 4; do
		log_mark n2
		term n1 TERM
		wait_until 10 logged n2 ' is down'
		[ $((i % 2)) = 0 ] || wait_until 10 lapsed n2
		launch n1
		wait_until 10 peer_is n1 n2 up
		log_mark n1
		term n2 KILL
		wait_until 10 logged n1 ' is down'
		wait_until 10 lapsed n1
		launch n2
		wait_until 20 all_fast n1 n2
	done
	none_refused
	live_end '(.lost // 0) == 0'
}

# lapsed NODE: no flow is on the fast path or could be
lapsed() { ctl "$1" flows -o json | jq -e '(.flows | length) > 0 and all(.flows[]; .in_ms <= 0)' >/dev/null; }

@test "the lower node's daemon is away for long and comes back: nothing is lost" { away n1 4; }
@test "the higher node's daemon is away for long and comes back: nothing is lost" { away n2 4; }
