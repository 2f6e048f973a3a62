#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Daemons, programs, pins and tables that go while everybody talks: see lib.bash for the bed and load.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own

load lib

setup_file()    { faults_up; }
teardown_file() { faults_down; }
setup()         { test_begin; }
teardown()      { fault_end; }

@test "all daemons killed at once and started again" {
	local pid pids=()

	fault_begin
	pids=("$(pid_of n1)" "$(pid_of n2)" "$(pid_of n3)")
	daemons_changed
	kill -KILL "${pids[@]}"
	for pid in "${pids[@]}"; do
		wait_until 3 ended "$pid"
	done
	launch n1
	launch n2
	launch n3
	outcome "xmasqd killed with -9 on all nodes, started again" 500 0
	back 10
	load_end
}

@test "a daemon of another layout: tables made anew, flows drained to the overlay" {
	local rest

	fault_begin
	term n2
	# What an older or newer build leaves: layout is the first word.
	rest=$(bpftool -j map lookup pinned "$(pin_dir n2)/xm_meta" key hex 00 00 00 00 |
		jq -r '.value[4:] | join(" ")')
	# shellcheck disable=SC2086 # words
	bpftool map update pinned "$(pin_dir n2)/xm_meta" key hex 00 00 00 00 value hex \
		7f 00 00 00 ${rest//0x/}
	log_mark n1
	launch n2
	outcome "n2's tables have another layout" 1500 400
	back 15
	logged n1 'started over'
	load_end
}

@test "programs and pins removed by hand, clsact deleted by somebody" {
	local p

	fault_begin
	daemons_changed
	rm -f "$(pin_dir n1)"/xm_*
	for p in "$(host_dev n1p1)" "$(host_dev n1p2)" "$NIC"; do
		inside n1 tc qdisc del dev "$p" clsact 2>/dev/null || :
	done
	if uses_tcx; then
		inside n1 "$MPROG" detach "$NIC" ingress xmasq_nic_ingre
		inside n1 "$MPROG" detach "$NIC" egress xmasq_nic_egres
		inside n1 "$MPROG" detach "$(host_dev n1p1)" ingress xmasq_pod_egres
	fi
	outcome "n1's programs, qdiscs and pins removed" 4500 800
	wait_until 15 has_ours n1 "$NIC"
	wait_until 15 has_ours n1 "$(host_dev n1p1)"
	back 20
	ls "$(pin_dir n1)"/xm_flows
	load_end
}

# Node 1 owns all its labels, node 3 none.
@test "all tables of a node emptied" {
	local m n

	fault_begin
	for n in n1 n3; do
		load_mark
		for m in xm_flows xm_peer_idx xm_pods xm_seen; do
			map_clear $n $m
		done
		"$BUILD/tests/tools/xmt-zero" "$(pin_dir $n)/xm_labels" "$(pin_dir $n)/xm_peers"
		outcome "$n's tables emptied" 3000 1000
		back 20
	done
	load_end
}

@test "entries lost: a third of the flows of one node, then of the labels of the other" {
	long_form
	fault_begin
	bpftool -j map dump pinned "$(pin_dir n2)/xm_flows" |
		jq -r '.[].key | join(" ")' | sed 's/0x//g' | awk 'NR % 3 == 0' |
		sed "s|^|map delete pinned $(pin_dir n2)/xm_flows key hex |" >"$BATS_TEST_TMPDIR/batch"
	bpftool batch file "$BATS_TEST_TMPDIR/batch" >/dev/null
	outcome "a third of n2's flows deleted" 1500 100
	back 10
	"$BUILD/tests/tools/xmt-zero" --third "$(pin_dir n3)/xm_labels"
	outcome "a third of n3's labels deleted" 1500 200
	back 10
	load_end
}

@test "both nodes lose all labels at once" {
	fault_begin
	"$BUILD/tests/tools/xmt-zero" "$(pin_dir n1)/xm_labels" "$(pin_dir n2)/xm_labels" \
		"$(pin_dir n3)/xm_labels"
	outcome "all labels of all nodes deleted" 2000 600
	back 10
	load_end
}

@test "a label table that is too small: flows beyond it stay on the overlay, nothing is lost" {
	long_form
	fault_begin
	relaunch n1 'tables: {flows: 1024, peers: 16}'
	# Slots of labels that nobody holds, for hours to come.
	"$BUILD/tests/tools/xmt-zero" --fill "$(pin_dir n1)/xm_labels"
	load_mark
	wait_until 5 none_free n1
	outcome "no label is free at n1" 300 0
	ctl n1 flush --all >/dev/null
	"$BUILD/tests/tools/xmt-zero" "$(pin_dir n1)/xm_labels"
	back 20
	load_end
}

none_free() { [ "$(counter "$1" label-none-free)" -gt 0 ]; }

# in_mounts PID COMMAND...: in the mount namespace of a process
in_mounts() { nsenter --mount="/proc/$1/ns/mnt" -- "${@:2}"; }

@test "bpffs unmounted under a running daemon, read-only for one that starts" {
	local pid

	fault_begin
	stop_clean n1
	custom n1 "$BATS_TEST_TMPDIR/yaml"
	# A bpffs of its own, which may be broken without harm to others.
	start "$BATS_TEST_TMPDIR/yaml.log" ' running: ' unshare --mount --propagation private sh -c "
		mount -t bpf bpf /sys/fs/bpf &&
		exec nsenter --net=/run/netns/$XMASQ_BED-n1 $BUILD/xmasqd --config $BATS_TEST_TMPDIR/yaml"
	# shellcheck disable=SC2153 # lib.bash's
	DAEMON=${PIDS[-1]}
	unset 'PIDS[-1]'
	back 15
	load_mark
	in_mounts "$DAEMON" umount -l /sys/fs/bpf
	# Below it may be the machine's, which is none of its business.
	in_mounts "$DAEMON" mount -t tmpfs -o ro tmpfs /sys/fs/bpf
	# It looks after its pins each 5 s.
	wait_until 20 grep -qE ' (warn|error) .*pin' "$BATS_TEST_TMPDIR/yaml.log"
	load_fast
	outcome "bpffs unmounted under n1's daemon" 300 0
	stop "$DAEMON"
	DAEMON=
	# Without pins the next one starts with new tables; one that cannot pin says so and changes nothing.
	run -1 unshare --mount --propagation private sh -c "
		mount -t bpf -o ro bpf /sys/fs/bpf &&
		exec nsenter --net=/run/netns/$XMASQ_BED-n1 $BUILD/xmasqd --config $BATS_TEST_TMPDIR/yaml"
	echo "$output"
	[[ $output == *"/sys/fs/bpf"*"ead-only"* ]]
	load_mark
	launch n1
	back 15
	outcome "n1's daemon ended without pins, another refused for a read-only bpffs, a third started" 4500 600
	load_end
}
