#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Memory of the daemon: what it holds is seen from outside, it loses none of it while pods come and go,
# and it touches none that is not its own. What sanitizers have to say: tests/sanitize.sh.

setup_file() {
	load ../netns/lib
	bed_up --pods 1
}

teardown_file() {
	load ../netns/lib
	bed_down
}

setup() {
	load ../netns/lib
	load ../netns/daemon
	test_begin
	daemons_default
}

teardown() {
	daemons_end
	test_end
}

long_form() { [ -n "${XM_FULL:-}" ] || skip "allowed: the long form, with XM_FULL=1 or make check-all"; }

usage() { "$BUILD/tests/tools/xmt-usage" --pid "$(pid_of n1)" --pins "$(pin_dir n1)"; }

@test "what a daemon holds, seen from outside" {
	local before after

	before=$(usage)
	check "$before" '.rss_kib > 1000 and .pss_kib > 500 and .fds > 10 and .threads == 1 and .cpu_ms > 0'
	check "$before" ".pins == $(find "$(pin_dir n1)" -mindepth 1 | wc -l) and .programs == 4"
	check "$before" '.tables.xm_flows.bytes > 65536 * 64 and .tables.xm_labels.max == 65536'
	# A flow, a label and a pin more are seen, and nothing else has changed.
	serve n2p1 udp 4800
	flow n1p1 udp n2p1 4800 --rounds 20 --interval-ms 5
	bpftool map pin pinned "$(pin_dir n1)/xm_meta" "$(pin_dir n1)/more"
	after=$(usage)
	rm "$(pin_dir n1)/more"
	jq -es '.[1].pins == .[0].pins + 1 and .[1].programs == .[0].programs and .[1].fds <= .[0].fds + 1 and
		.[1].tables.xm_flows.used == .[0].tables.xm_flows.used + 1 and
		.[1].tables.xm_labels.used == .[0].tables.xm_labels.used + 1' <<<"$before $after" ||
		{ echo "$before" "$after"; false; }
	run "$BUILD/tests/tools/xmt-usage" --pid 1 --pins /nonexistent
	[ "$status" = 1 ]
}

@test "valgrind has nothing to say about a daemon through pods, flows, requests and reload" {
	local i log=$BATS_TEST_TMPDIR/valgrind yaml

	long_form
	daemons_changed
	yaml=$(state n1)/xmasqd.yaml
	stop_clean n1
	# Not by "start": it needs more time than that grants.
	nsenter --net="/run/netns/$XMASQ_BED-n1" -- \
		valgrind --log-file="$log" --leak-check=full --show-leak-kinds=all \
		--errors-for-leak-kinds=all --error-exitcode=99 --num-callers=20 \
		--suppressions="$PWD/tests/memory/valgrind.supp" "$BUILD/xmasqd" --config "$yaml" \
		>"$BATS_TEST_TMPDIR/valgrind.out" 2>&1 3>&- &
	DAEMON=$!
	wait_until 120 answers n1
	inside n1p1 ping -q -c 1 -W 5 "$(ip_of n2p1)" >/dev/null
	wait_until 120 peer_is n1 n2 up
	serve n2p1 tcp 4801
	for ((i = 0; i < 12; i++)); do
		"$BED" pod-add n1 $((20 + i % 3)) >/dev/null
		[ $((i % 6)) != 0 ] || wait_until 120 pod_attached n1 "$(ip_of n1p20)"
		flow n1p1 tcp n2p1 4801 --rounds 5 >/dev/null
		"$BED" pod-del n1 $((20 + i % 3)) >/dev/null
	done
	for i in status pods flows peers counters config version 'flush --all' 'trace udp 10.244.1.11:1 10.244.2.11:2'; do
		# shellcheck disable=SC2086 # words
		ctl n1 $i -o json >/dev/null
	done
	kill -HUP "$DAEMON"
	inside n1 curl -sf http://127.0.0.1:9477/metrics >/dev/null
	inside n1 curl -s http://127.0.0.1:9477/readyz >/dev/null
	wait_until 30 answers n1
	kill "$DAEMON"
	i=0
	wait "$DAEMON" || i=$?
	DAEMON=
	[ $i = 0 ] || { grep -v 'unhandled eBPF' "$log"; false; }
	grep -q 'ERROR SUMMARY: 0 errors' "$log"
	grep -q 'in use at exit: 0 bytes in 0 blocks' "$log"
}

answers() { ctl "$1" status >/dev/null 2>&1; }

@test "three minutes of pods that come and go: memory, descriptors, pins and tables stay flat" {
	long_form
	"$BATS_TEST_DIRNAME/../../scripts/soak.sh" --minutes 3 --interval 2 --prefix "${XM_BED}soak" \
		--out "$BATS_TEST_TMPDIR/soak"
}
