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
		"$BUILD/tests/tools/xmt-zero" "$(pin_dir $n)/xm_labels" "$(pin_dir $n)/xm_peers" \
			"$(pin_dir $n)/xm_admit"
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

@test "all nodes forget which flows they have admitted" {
	long_form
	fault_begin
	"$BUILD/tests/tools/xmt-zero" "$(pin_dir n1)/xm_admit" "$(pin_dir n2)/xm_admit" \
		"$(pin_dir n3)/xm_admit"
	outcome "all cells of all nodes are cold" 2000 600
	# With the daemon's next walk over the entries.
	back 20
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

# ---- other agents -------------------------------------------------------------------

# around DEVICE DIRECTION attach|detach: programs of another agent before and behind ours in tcx
around()
{
	if [ "$3" = attach ]; then
		inside n1 "$MPROG" attach "$1" "$2" first xmother1
		inside n1 "$MPROG" attach "$1" "$2" last xmother2
	else
		inside n1 "$MPROG" detach "$1" "$2" xmother1
		inside n1 "$MPROG" detach "$1" "$2" xmother2
	fi
}

@test "another agent's programs come and go before and behind ours, one takes our place" {
	local i dev dir=egress prio=65520

	long_form
	fault_begin
	dev=$P1
	agent_make
	if uses_tcx; then
		for ((i = 0; i < 3; i++)); do
			around "$NIC" ingress attach
			around "$NIC" egress attach
			around "$P1" ingress attach
			load_fast
			around "$NIC" ingress detach
			around "$NIC" egress detach
			around "$P1" ingress detach
		done
		outcome "another agent's programs in tcx before and behind ours, three times" 1000 0
	fi
	# At our priority with another handle: both run.
	load_mark
	agent n1 "$dev" $dir $prio 0x5
	inside n1 tc qdisc add dev "$NIC" clsact 2>/dev/null || :
	agent n1 "$NIC" ingress 1 0x5
	wait_until 5 load_fast
	outcome "another agent's filters at our priority" 1000 0
	inside n1 tc filter del dev "$dev" $dir prio $prio handle 0x5 bpf
	inside n1 tc filter del dev "$NIC" ingress prio 1 handle 0x5 bpf
	# In our place: ours is gone, and the agent's, which is not ours to remove, stays.
	load_mark
	log_mark n1
	inside n1 tc filter replace dev "$dev" $dir prio $prio handle 0x584d bpf da obj "$AGENT" sec tc
	wait_until 10 logged n1 "priority $prio handle 0x584d is taken by bpf program \"agent\""
	sleep 1.5
	outcome "another agent's filter in the place of ours, n1p1 on the overlay" 2500 20
	load_mark
	inside n1 tc filter del dev "$dev" $dir prio $prio handle 0x584d bpf
	back 20
	outcome "the place is free again" 1000 20
	load_end
}

# ---- capabilities and memory ------------------------------------------------------------

# daemon_without CAPABILITY: n1's, with its configuration and what an earlier run left; RAN, or the
# error in its log. Every capability but this one.
daemon_without()
{
	local log=$BATS_TEST_TMPDIR/cap.$1 pid status=0

	RAN=
	nsenter --net="/run/netns/$XMASQ_BED-n1" -- setpriv --bounding-set "-$1" --inh-caps "-$1" \
		"$BUILD/xmasqd" --config "$(state n1)/xmasqd.yaml" >"$log" 2>&1 3>&- &
	pid=$!
	PIDS+=("$pid")
	wait_until 20 said_or_ended "$pid" "$log"
	if grep -q ' running: ' "$log"; then
		RAN=yes
		kill -TERM $pid
	fi
	wait $pid || status=$?
	unset 'PIDS[-1]'
	[ -n "$RAN" ] || [ "$status" = 1 ] || { echo "without $1: status $status"; cat "$log"; return 1; }
}

said_or_ended() { grep -q ' running: ' "$2" || ended "$1"; }

@test "each capability missing: a daemon that says so or does without, an overlay that goes on" {
	local cap log

	long_form
	fault_begin
	log=$BATS_TEST_TMPDIR/cap
	term n1
	for cap in net_admin net_raw net_broadcast bpf perfmon sys_admin sys_ptrace; do
		daemon_without $cap
		# What it cannot do without it says by name.
		[ -n "$RAN" ] || grep -E " error .*CAP_${cap^^}" "$log.$cap"
		echo "# without $cap: ${RAN:+runs; }$(grep -E ' error ' "$log.$cap" | head -n 1 | cut -d' ' -f2- || :)" >&3
	done
	run ! grep -q ' running: ' "$log.net_admin"
	outcome "n1's daemon gone for seconds, others refused" 7500 400
	launch n1
	back 20
	load_end
}

# What the programs write to was allocated when it was made (BPF_F_NO_PREALLOC is 1): a node without
# memory learns flows as any other. Peers are noted by the daemon, each once.
@test "no map that the programs write to takes memory for an update" {
	local pin n=0

	daemons_default
	for pin in "$(pin_dir n1)"/xm_*; do
		[[ $pin != */xm_peer_idx ]] || continue
		bpftool -j map show pinned "$pin" | jq -e '.flags % 2 == 0' >/dev/null || { echo "$pin"; false; }
		n=$((n + 1))
	done
	[ $n -ge 6 ]
}
