#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# scripts/provision.sh for real, on the two hosts of hosts.sh: apt, systemd, containerd, kubeadm, and what is
# in place of flannel. The long form only (XM_FULL=1): some five minutes. Tests build on one another.
#
# shellcheck disable=SC2016 # the hosts' shell
# shellcheck disable=SC2154 # output: set by run

bats_require_minimum_version 1.5.0

HOSTS_NAME=${XM_K8S_NAME:-prov}

hosts() { tests/k8s/hosts.sh --name "$HOSTS_NAME" "$@"; }
k()     { hosts ssh one kubectl --kubeconfig /etc/kubernetes/admin.conf "$@"; }

setup_file()
{
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	[ -n "${XM_FULL:-}" ] || return 0
	[ "$(id -u)" = 0 ] || { echo "needs root: sudo make check" >&2; return 1; }
	scripts/image.sh --tag xmasq:local --output "$BATS_FILE_TMPDIR" xmasq
	DIR=$(hosts dir)
	# For who works on this file: hosts that are there are used, and stay.
	[ -z "${HOSTS_KEEP:-}" ] || [ ! -e "$DIR/before.two" ] || return 0
	hosts down
	# What stays must not hold the pipe that bats reads.
	hosts up 3>&-
	for h in one two; do
		host_state $h >"$DIR/before.$h"
	done
}

teardown_file()
{
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	[ -z "${XM_FULL:-}" ] || [ -n "${HOSTS_KEEP:-}" ] || hosts down
}

setup()
{
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	[ -n "${XM_FULL:-}" ] || skip "allowed: the long form, with XM_FULL=1 or make check-all"
	[ -z "$(cat "$BATS_FILE_TMPDIR/failed" 2>/dev/null)" ] || skip "allowed: what it builds on has failed"
	DIR=$(hosts dir)
	STARTED=()
}

teardown()
{
	local p h

	for p in "${STARTED[@]}"; do
		kill "$p" 2>/dev/null || :
		wait "$p" 2>/dev/null || :
	done
	[ -n "${XM_FULL:-}" ] && [ -z "${BATS_TEST_COMPLETED:-}" ] || return 0
	echo "$BATS_TEST_DESCRIPTION" >>"$BATS_FILE_TMPDIR/failed"
	{
		k get nodes,pods -A -o wide
		for h in one two; do
			echo "== $h"
			hosts ssh $h 'journalctl -q --no-pager -p err -n 5; journalctl -q --no-pager -u kubelet -n 8 | cut -c 1-400
				ls /etc/kubernetes /var/lib/xmasq-provision; ctr -n k8s.io tasks ls'
		done
	} 2>&1 | head -n 100 || :
}

# wait_until SECONDS COMMAND...
wait_until()
{
	local end=$((SECONDS + $1))
	shift

	until "$@"; do
		[ $SECONDS -lt $end ] || { echo "waited in vain for: $*"; return 1; }
		sleep 0.5
	done
}

# provision ARGUMENT...: the hosts' own kind of call
provision()
{
	hosts lab scripts/provision.sh --ssh "$(cat "$DIR/ssh")" --first root@10.78.0.1 --second root@10.78.0.2 "$@"
}

make_it()
{
	provision --cni flannel --cni-manifest "$DIR/flannel.yml" --kubeadm-config "$DIR/kubeadm.yaml" \
		--images "$DIR/images.tar" --apt-list "$DIR/hosts.list" --image-archive "$BATS_FILE_TMPDIR/xmasq.tar" \
		--timeout 240
}

# host_state HOST: what provision.sh must put back: packages, files, settings, and traces of xmasq
host_state()
{
	hosts ssh "$1" '
		dpkg-query -W -f "\${Package} \${db:Status-Status}\n" | grep " installed"
		find /etc -xdev -type f ! -path "/etc/ssh/*" ! -name "*-" ! -name ld.so.cache ! -name .pwd.lock \
			! -name machine-id ! -name resolv.conf -exec sha256sum {} + | sort -k 2
		sysctl net.ipv4.ip_forward
		cat /proc/sys/net/ipv4/ip_local_reserved_ports
		find /sys/fs/bpf /run/xmasq /var/lib/xmasq-provision -mindepth 1 2>/dev/null
		find /etc/cni /etc/kubernetes /opt /var/lib -maxdepth 1 ! -name apt ! -name dpkg 2>/dev/null | sort
		ip -br link show type veth | sed "s/ .*//"
		tc filter show dev eth0 ingress; tc filter show dev eth0 egress
		ls /usr/lib/systemd/system/kubelet.service 2>/dev/null; true'
}

# cluster_state: what a second run must leave alone: pods, nodes, what is installed and written
cluster_state()
{
	local h

	k get nodes,ds,pods -A -o 'custom-columns=N:.metadata.name,U:.metadata.uid,R:.status.containerStatuses[*].restartCount' \
		--no-headers | grep -v coredns
	k -n kube-system get secrets --no-headers | grep -c bootstrap-token
	for h in one two; do
		host_state $h | grep -v '^/sys/fs/bpf'
		hosts ssh $h "find /etc/containerd /etc/kubernetes -type f -printf '%p %T@\n' | sort; \
			find /var/lib/xmasq-provision -type f -exec sha256sum {} + | sort -k 2; \
			systemctl show -p ExecMainStartTimestampMonotonic containerd kubelet"
	done
}

xmasq_of() { k -n kube-system get pods -l app.kubernetes.io/name=xmasq --field-selector "spec.nodeName=$1" -o name; }
fast_of()  { k -n kube-system exec "$(xmasq_of "$1")" -- xmasqctl -o json flows --active | gojq -e '.flows | length > 0' >/dev/null; }
# pod NAME HOST: one that serves xmt-flow
pod()
{
	k apply -f - <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1}
	spec:
	  nodeName: $2
	  terminationGracePeriodSeconds: 0
	  containers:
	    - name: flow
	      image: xmasq.test/flannel:script
	      imagePullPolicy: Never
	      command: [xmt-flow, server, --udp, --port, "7001", --timeout, "3600"]
	END
}

running()  { [ "$(k get pods --no-headers | grep -c ' Running ')" = 2 ]; }

# fast: a flow from the pod on the first host to that on the second is on the fast path on both
fast()
{
	local to

	to=$(k get pod b -o 'jsonpath={.status.podIP}')
	k exec a -- xmt-flow client --host "$to" --udp --port 7001 --interval-ms 20 --wait-ms 3000 --duration 40 -o json \
		>"$BATS_TEST_TMPDIR/flow" 2>"$BATS_TEST_TMPDIR/flow.err" 3>&- </dev/null &
	STARTED+=($!)
	wait_until 30 fast_of one
	wait_until 30 fast_of two
	wait "${STARTED[-1]}" || { cat "$BATS_TEST_TMPDIR/flow.err"; false; }
	cat "$BATS_TEST_TMPDIR/flow"
	gojq -e '.rounds > 500 and .lost == 0 and .broken == 0 and .corrupted == 0' "$BATS_TEST_TMPDIR/flow" >/dev/null
}

# join_cut: ends kubeadm on the second host when its kubelet has what it needs to be a node
join_cut()
{
	hosts ssh two 'for i in $(seq 3000); do
		[ ! -e /etc/kubernetes/kubelet.conf ] || { pkill -KILL -x kubeadm && exit 0; }
		sleep 0.1
	done; exit 1'
}

@test "a join that is killed half way: said, and made good by the next run" {
	local cut

	join_cut >"$BATS_TEST_TMPDIR/cut" 2>&1 3>&- </dev/null &
	cut=$!
	STARTED+=("$cut")
	run make_it
	echo "$output" | tail -n 60
	wait "$cut"
	[ "$status" -eq 1 ]
	[[ $output == *"join failed on root@10.78.0.2"*"run this again"* ]]
	hosts ssh two 'test -e /etc/kubernetes/kubelet.conf'
	run make_it
	echo "$output" | tail -n 60
	[ "$status" -eq 0 ]
	[ "$(k get nodes --no-headers | grep -c ' Ready ')" = 2 ]
	[ "$(k -n kube-system get ds xmasq -o 'jsonpath={.status.numberReady}')" = 2 ]
}

@test "flows between pods of the two hosts are accelerated" {
	pod a one
	pod b two
	wait_until 60 running
	fast
}

@test "a second run changes nothing, and flows go on" {
	cluster_state >"$BATS_TEST_TMPDIR/once"
	run make_it
	echo "$output"
	[ "$status" -eq 0 ]
	cluster_state | diff "$BATS_TEST_TMPDIR/once" -
	fast
}

@test "--undo: packages, files, settings and xmasq's traces are as they were" {
	local h

	run provision --undo --timeout 120
	echo "$output"
	[ "$status" -eq 0 ]
	for h in one two; do
		host_state $h | diff "$DIR/before.$h" -
		hosts ssh $h '! pgrep -x "kubelet|etcd|kube-apiserver|xmasqd|kube-proxy"'
	done
	run provision --undo
	echo "$output"
	[[ $status -eq 0 && $output == *"nothing of provision.sh here"* ]]
}
