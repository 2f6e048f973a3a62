#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Containers of containerd, Docker and podman are pods as any others. lib.bash has the drawing.
# shellcheck disable=SC2030,SC2031 # a subshell for each test

load lib

setup_file()
{
	WHY_NOT=$(why_not)
	export WHY_NOT
	[ -z "$WHY_NOT" ] || return 0
	nodes_up
}

# Also of nodes that did not start.
teardown_file() { [ -z "${XMASQ_BED:-}" ] || nodes_down; }

setup()
{
	[ -z "$WHY_NOT" ] || skip "$WHY_NOT"
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	test_begin
}

teardown() { [ -n "$WHY_NOT" ] || test_end; }

# fast_on_both PORT: a flow with it is on the fast path of both nodes
fast_on_both() { flow_active n1 "$1" && flow_active n2 "$1"; }

# accelerated RUNTIME NAME ADDRESS: a TCP and a UDP flow from this container of n1 get to the fast path on
# both nodes, every byte right, and hardly a packet takes the overlay then
accelerated()
{
	local pid

	client "$BATS_TEST_TMPDIR/tcp" "$1" n1 "$2" tcp "$3" "${LASTING[@]}" --interval-ms 4
	client "$BATS_TEST_TMPDIR/udp" "$1" n1 "$2" udp "$3" "${LASTING[@]}" --interval-ms 4 --wait-ms 2000
	wait_until 20 fast_on_both 5000
	wait_until 20 fast_on_both 5001
	counters_mark n1 n2
	wait_until 20 many_masqueraded n1
	wait_until 20 many_masqueraded n2
	[ "$(fast_permille n1)" -ge 850 ]
	[ "$(fast_permille n2)" -ge 850 ]
	for pid in "${PIDS[@]}"; do
		finish "$pid"
	done
	PIDS=()
	check "$(<"$BATS_TEST_TMPDIR/tcp")" '.broken == 0 and .errors == 0 and .corrupted == 0 and .rounds > 50'
	check "$(<"$BATS_TEST_TMPDIR/udp")" '.lost == 0 and .errors == 0 and .corrupted == 0 and .rounds > 50'
}

many_masqueraded() { [ "$(counted "$1" masqueraded)" -ge 200 ]; }

# sockets hide|show: those of the runtimes
sockets()
{
	local node s

	for node in n1 n2; do
		for s in /run/containerd/containerd.sock /run/docker/docker.sock; do
			if [ "$1" = hide ]; then
				on $node mv $s $s.hidden
			else
				on $node mv $s.hidden $s
			fi
		done
	done
}

@test "containers that run before xmasqd are found without any runtime's socket, and named" {
	local runtime node ip=()

	for runtime in $RUNTIMES; do
		for node in n1 n2; do
			container_run "$runtime" $node "old-$runtime"
			ip+=("$(container_ip "$runtime" $node "old-$runtime")")
		done
		view "$runtime" n1 "old-$runtime" >"$BATS_FILE_TMPDIR/view.$runtime"
		grep -q 'tcp-segmentation-offload' "$BATS_FILE_TMPDIR/view.$runtime"
	done
	sockets hide
	run -1 on n1 docker info
	xmasq_start
	for runtime in $RUNTIMES; do
		for node in n1 n2; do
			wait_until 10 named "$runtime" $node "old-$runtime" "${ip[0]}"
			ip=("${ip[@]:1}")
		done
	done
	sockets show
	ctl n1 pods
	ctl n1 pods | grep -q ' old-podman .* attached'
}

@test "flows between containers of two nodes are accelerated, whatever runs them" {
	local runtime

	for runtime in $RUNTIMES; do
		accelerated "$runtime" "old-$runtime" "$(container_ip "$runtime" n2 "old-$runtime")"
	done
	# And from one runtime to another.
	accelerated docker old-docker "$(container_ip containerd n2 old-containerd)"
}

@test "what a container sees of its network is what it saw without xmasqd" {
	local runtime

	for runtime in $RUNTIMES; do
		diff "$BATS_FILE_TMPDIR/view.$runtime" <(view "$runtime" n1 "old-$runtime")
	done
}

@test "containers that start while xmasqd runs are accelerated" {
	local runtime ip

	for runtime in $RUNTIMES; do
		container_run "$runtime" n1 "new-$runtime"
		ip=$(container_ip "$runtime" n1 "new-$runtime")
		wait_until 10 named "$runtime" n1 "new-$runtime" "$ip"
		accelerated "$runtime" "new-$runtime" "$(container_ip "$runtime" n2 "old-$runtime")"
	done
}

@test "a container that is restarted is found again, with its old address or another" {
	local runtime ip

	for runtime in $RUNTIMES; do
		container_restart "$runtime" n2 "old-$runtime"
		ip=$(container_ip "$runtime" n2 "old-$runtime")
		wait_until 10 named "$runtime" n2 "old-$runtime" "$ip"
		accelerated "$runtime" "old-$runtime" "$ip"
	done
}

@test "a container that is removed under load leaves neither pod, flow, program nor pin" {
	local runtime ip to pins

	pins=$(find "/sys/fs/bpf/xmasq-$XMASQ_BED-n1" | sort)
	for runtime in $RUNTIMES; do
		ip=$(container_ip "$runtime" n1 "new-$runtime")
		to=$(container_ip "$runtime" n2 "old-$runtime")
		client "$BATS_TEST_TMPDIR/udp" "$runtime" n1 "new-$runtime" udp "$to" "${LASTING[@]}" --interval-ms 4
		wait_until 20 fast_on_both 5001
		container_remove "$runtime" n1 "new-$runtime"
		stop "${PIDS[-1]}"
		PIDS=()
		wait_until 20 nothing_of n1 "$ip"
	done
	[ "$(find "/sys/fs/bpf/xmasq-$XMASQ_BED-n1" | sort)" = "$pins" ]
	# The others go on.
	accelerated podman old-podman "$(container_ip podman n2 old-podman)"
}

@test "names are for people: without their files everything goes on, with false ones too" {
	local ip dir

	ip=$(container_ip docker n1 old-docker)
	dir=$(on n1 docker inspect -f /var/lib/docker/containers/'{{.Id}}' old-docker)
	# Somebody says that it is all pods of the node, in other words than names are made of.
	on n1 sh -c "cp $dir/config.v2.json $dir/saved && sed 's#\"/old-docker\"#\"/a\\\\u001b[31m,b\"#' $dir/saved >$dir/config.v2.json"
	pod_of n1 "$ip" | jq -e '.attached and .containers == "a?[31m?b"'
	ctl n1 pods | grep -qF 'a?[31m?b'
	on n1 sh -c "head -c 50 $dir/saved >$dir/config.v2.json"
	# What containerd below Docker knows is left: its id.
	pod_of n1 "$ip" | jq -e '.attached and .runtime == "containerd" and (.containers | test("^[0-9a-f]{64}$"))'
	on n1 sh -c "mv $dir/saved $dir/config.v2.json"
	named docker n1 old-docker "$ip"
}

@test "the names of Kubernetes come from what its containerd writes" {
	local pid dir ip pod

	# Its CRI is no part of this: the file is as it makes it, for a container that is there.
	pid=$(container_pid containerd n1 old-containerd)
	ip=$(container_ip containerd n1 old-containerd)
	dir=/run/containerd/io.containerd.runtime.v2.task/k8s.io
	on n1 mkdir -p $dir/{sandbox,web,log}
	for pod in sandbox web log; do
		jq -n --arg c "$pod" --arg p "/proc/$pid/ns/net" '{
			annotations: ({"io.kubernetes.cri.sandbox-name": "web-0",
				"io.kubernetes.cri.sandbox-namespace": "shop"} +
				if $c == "sandbox" then {} else {"io.kubernetes.cri.container-name": $c} end),
			linux: {namespaces: [{type: "network", path: $p}]}}' |
			on n1 sh -c "cat >$dir/$pod/config.json"
	done
	pod_of n1 "$ip" | jq -e '.namespace == "shop" and .pod == "web-0" and .containers == "log,web"'
	ctl n1 pods | grep -qF ' shop/web-0 '
	on n1 rm -r $dir
	named containerd n1 old-containerd "$ip"
}

@test "files that never end, links and other traps stop nobody" {
	local dir=/run/containerd/io.containerd.runtime.v2.task/evil took

	on n1 sh -c "mkdir -p $dir/fifo $dir/link $dir/big $dir/deep $dir/socket &&
		mkfifo $dir/fifo/config.json && ln -s /dev/zero $dir/link/config.json &&
		ln -s /dev $dir/dev && ln -s .. $dir/up && truncate -s 1T $dir/big/config.json &&
		for i in \$(seq 300); do mkdir $dir/\$i && echo '{\"linux\":' >$dir/\$i/config.json; done"
	printf '[%.0s' {1..100000} | on n1 sh -c "cat >$dir/deep/config.json"
	took=${EPOCHREALTIME/./}
	named docker n1 old-docker "$(container_ip docker n1 old-docker)"
	took=$((${EPOCHREALTIME/./} - took))
	echo "took $((took / 1000)) ms"
	# Without bounds it would still read.
	[ $took -lt $((5000000 * XM_SLOW)) ]
	on n1 rm -r $dir
	accelerated docker old-docker "$(container_ip docker n2 old-docker)"
}

@test "xmasqd leaves, and the containers stay as they were" {
	local runtime

	"$BED" xmasq stop
	[ ! -e "/sys/fs/bpf/xmasq-$XMASQ_BED-n1" ]
	for runtime in $RUNTIMES; do
		diff "$BATS_FILE_TMPDIR/view.$runtime" <(view "$runtime" n1 "old-$runtime")
		client "$BATS_TEST_TMPDIR/tcp" "$runtime" n1 "old-$runtime" tcp \
			"$(container_ip "$runtime" n2 "old-$runtime")" --rounds 50
		ends "${PIDS[-1]}" 0
	done
	PIDS=()
}
