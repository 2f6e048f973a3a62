#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# A real Kubernetes of two nodes, with xmasq as the DaemonSet of deploy/kubernetes.
#
#   red/a  blue/a                          red/b  blue/b
#     │ cni0                                  │ cni0
#   node1 (xmasqd) ═══ flannel.1, VXLAN ═══ node2 (xmasqd)
#     └──────────────── eth0 ─────────────────┘
#
# The cluster is made once for the file (cluster.sh); tests build on one another as little as they can,
# but the last two take xmasq and the cluster away.
#
# shellcheck disable=SC2016 # jq's own, or another shell's
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own
# shellcheck disable=SC2154 # output: set by run

bats_require_minimum_version 1.5.0

# Another cluster on one machine: another name.
export CLUSTER_NAME=${XM_K8S_NAME:-test}
# Few addresses for each node, so that they are used again soon.
export CLUSTER_LAST=16

cluster() { tests/k8s/cluster.sh --name "$CLUSTER_NAME" "$@"; }
k()       { cluster kubectl "$@"; }
# in_pod NAMESPACE POD COMMAND...
in_pod()  { k -n "$1" exec "$2" -- "${@:3}"; }

setup_file()
{
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	[ "$(id -u)" = 0 ] || { echo "needs root: sudo make check" >&2; return 1; }
	export IMAGES=$BATS_FILE_TMPDIR/images BEFORE=$BATS_FILE_TMPDIR/before YAML=$BATS_FILE_TMPDIR/xmasq.yaml
	mkdir "$IMAGES"
	scripts/image.sh --tag xmasq:local --output "$IMAGES" xmasq
	scripts/image.sh --tag xmasq-netperf:test --output "$IMAGES" --add build/tests/tools/xmt-flow netperf
	cluster down
	machine >"$BEFORE"
	cluster up
	cluster load "$IMAGES/xmasq.tar" "$IMAGES/netperf.tar"
	for n in 1 2; do
		node_traces $n >"$BEFORE.$n"
	done
	k apply -f deploy/kubernetes/xmasq.yaml
	sed 's/NAMESPACE/red/; s/HOSTPORT/30080/' tests/k8s/pods.yaml | k apply -f -
	sed 's/NAMESPACE/blue/; s/HOSTPORT/30081/' tests/k8s/pods.yaml | k apply -f -
	k -n kube-system rollout status daemonset/xmasq --timeout=180s
	for ns in red blue; do
		k -n $ns wait --for=condition=Ready pod --all --timeout=180s
	done
	# Peers know each other from the first packets on.
	wait_until 60 fast red a b
}

teardown_file() { cd "$BATS_TEST_DIRNAME/../.." && cluster down; }

setup()
{
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	STARTED=()
}

teardown()
{
	local p

	for p in "${STARTED[@]}"; do
		kill "$p" 2>/dev/null || :
		wait "$p" 2>/dev/null || :
	done
	if [ -z "${BATS_TEST_COMPLETED:-}" ]; then
		tail -n 3 "$BATS_TEST_TMPDIR"/* 2>/dev/null || :
	fi
	if [ -z "${BATS_TEST_COMPLETED:-}" ] && [ -s "/var/tmp/xmk$CLUSTER_NAME/kubeconfig" ]; then
		{
			k get pods -A -o wide
			k -n kube-system describe pods | tail -n 25
			for n in 1 2; do
				k -n kube-system logs --tail=15 "$(daemon $n)"
				ctl $n peers
				ctl $n flows
				ctl $n pods
				ctl $n counters
				cluster node $n ip neigh
			done
		} 2>&1 | head -n 240 || :
	fi
}

# machine: what the cluster must not change, or leave behind
machine()
{
	sysctl kernel.panic kernel.panic_on_oops vm.overcommit_memory vm.panic_on_oom \
		kernel.keys.root_maxkeys kernel.keys.root_maxbytes kernel.hostname
	ip netns list | sed 's/ .*//' | grep "^xmk$CLUSTER_NAME-" || :
	grep "xmk$CLUSTER_NAME" /proc/self/mountinfo || :
	pgrep -fa "/xmk$CLUSTER_NAME/" || :
	ls -d /sys/fs/cgroup/*/"xmk$CLUSTER_NAME"* /sys/fs/cgroup/"xmk$CLUSTER_NAME"* "/var/tmp/xmk$CLUSTER_NAME" \
		/var/lib/kubelet/pods /var/log/pods 2>/dev/null || :
}

# node_traces N: whatever xmasq leaves on a node
node_traces()
{
	cluster node "$1" sh -c '
		find /sys/fs/bpf -mindepth 1
		find /run/xmasq -mindepth 1 2>/dev/null
		for d in $(ls /sys/class/net); do
			for way in ingress egress; do
				tc filter show dev "$d" "$way"
			done
			tc qdisc show dev "$d" | grep clsact
		done
		bpftool net show | grep xmasq
		cat /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal /proc/sys/net/ipv4/ip_local_reserved_ports
		exit 0'
}

# wait_until SECONDS COMMAND...
wait_until()
{
	local end=$((SECONDS + $1))
	shift

	until "$@"; do
		[ $SECONDS -lt $end ] || { echo "waited in vain for: $*"; return 1; }
		sleep 0.3
	done
}

# daemon N: xmasq's pod on that node
daemon()
{
	k -n kube-system get pods -l app.kubernetes.io/name=xmasq --field-selector "spec.nodeName=node$1" \
		-o json | gojq -er 'first(.items[] | select(.metadata.deletionTimestamp | not)).metadata.name'
}

# ctl N ARGUMENT...: xmasqctl, in the daemon's pod
ctl()
{
	local pod
	pod=$(daemon "$1") && k -n kube-system exec "$pod" -- xmasqctl "${@:2}"
}

ip_of() { k -n "$1" get pod "$2" -o jsonpath='{.status.podIP}'; }

counter() { ctl "$1" -o json counters -a | gojq -e --arg n "$2" '.counters[] | select(.name == $n).packets'; }

# flow NAMESPACE POD ADDRESS ARGUMENT...: a client of xmt-flow; what it says goes to the file "out"
flow()
{
	in_pod "$1" "$2" xmt-flow client --host "$3" -o json "${@:4}"
}

# all_well JSON: every message was answered, unchanged
all_well()
{
	echo "$1"
	gojq -e '.status == 0 and .rounds > 0 and .broken == 0 and .lost == 0 and .corrupted == 0' <<<"$1" >/dev/null
}

# fast NAMESPACE FROM TO: a short flow, some of whose packets leave on the fast path
fast()
{
	local before after

	before=$(counter 1 masqueraded) && flow "$1" "$2" "$(ip_of "$1" "$3")" --tcp --port 7000 --rounds 40 \
		--interval-ms 10 >/dev/null && after=$(counter 1 masqueraded) && [ "$after" -gt "$before" ]
}

# active_flows N ADDRESS PORT: how many with the pod's address and a port are fast on node N
active_flows()
{
	local flows

	flows=$(ctl "$1" flows --active -o json) && gojq -e --arg a "$2" --argjson p "$3" \
		'[.flows[] | select(tostring | contains($a)) | select(.sport == $p or .dport == $p)]
			| length' <<<"$flows"
}

# active N ADDRESS PORT COUNT, and inactive N ADDRESS PORT: neither when the daemon does not say
active()   { local n; n=$(active_flows "$1" "$2" "$3") && [ "$n" -ge "$4" ]; }
inactive() { local n; n=$(active_flows "$1" "$2" "$3") && [ "$n" -eq 0 ]; }

# end_flows NAMESPACE POD PORT: its clients with that port end as if they were done, and report
end_flows()
{
	in_pod "$1" "$2" sh -c 'for p in /proc/[0-9]*; do
		! tr "\0" " " <$p/cmdline 2>/dev/null | grep -q "^xmt-flow client .* $0 " || kill ${p#/proc/}
	done' "$3"
}

# says N PATTERN: the daemon of node N has logged that
says() { k -n kube-system logs "$(daemon "$1")" 2>&1 | grep -e "$2"; }

no_pods() { local pods; pods=$(k -n kube-system get pods -o name) && [ -z "$pods" ]; }

# background FILE COMMAND...: until the test ends at the latest
background()
{
	local out=$1
	shift
	"$@" >"$out" 2>"$out.err" 3>&- </dev/null &
	STARTED+=($!)
}

# caps_of POD: what xmasqd may there
caps_of() { echo $((16#$(k -n kube-system exec "$1" -- sh -c 'sed -n "s/^CapEff:[[:space:]]*//p" /proc/1/status'))); }
# NET_BROADCAST 11, NET_ADMIN 12, NET_RAW 13, SYS_ADMIN 21, PERFMON 38, BPF 39
CAPS=$((1 << 11 | 1 << 12 | 1 << 13 | 1 << 21 | 1 << 38 | 1 << 39))

# ---- the DaemonSet ---------------------------------------------------------------

@test "the DaemonSet is ready on both nodes, with the capabilities that it names and no token" {
	local n pod caps

	[ "$(k -n kube-system get ds xmasq -o jsonpath='{.status.numberReady}')" = 2 ]
	for n in 1 2; do
		pod=$(daemon $n)
		caps=$(caps_of "$pod")
		echo "node$n: $caps"
		[ "$caps" = "$CAPS" ]
		run ! k -n kube-system exec "$pod" -- ls /var/run/secrets/kubernetes.io
		[ "$(k -n kube-system get pod "$pod" -o jsonpath='{.status.containerStatuses[0].restartCount}')" = 0 ]
		ctl $n status
		ctl $n pods -o json | gojq -e '[.pods[] | select(.attached)] | length >= 2'
	done
	# The sysctl of the node, through the mount.
	[ "$(cluster node 1 cat /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal)" = 1 ]
	k -n kube-system logs "$(daemon 1)"
	run ! grep -E ' (error|warn)' <(k -n kube-system logs "$(daemon 1)")
}

@test "the probes tell a daemon that is not ready from one that is" {
	# A configuration that no daemon can run with: the pod does not become ready, the other one stays.
	k -n kube-system get configmap xmasq -o yaml >"$BATS_TEST_TMPDIR/config"
	k -n kube-system create configmap xmasq --from-literal=xmasqd.yaml='sysctl_dir: /nowhere' \
		--dry-run=client -o yaml | k apply -f -
	k -n kube-system delete pod "$(daemon 1)"
	wait_until 90 says 1 'sysctl_dir /nowhere: .*it must have'
	[ "$(k -n kube-system get ds xmasq -o jsonpath='{.status.numberReady}')" = 1 ]
	k apply -f deploy/kubernetes/xmasq.yaml
	k -n kube-system delete pod "$(daemon 1)"
	k -n kube-system rollout status daemonset/xmasq --timeout=120s
	wait_until 60 fast red a b
}

# ---- traffic ----------------------------------------------------------------------

@test "pods of two namespaces, TCP and UDP across nodes: fast, and nothing is lost" {
	local ns ip out

	for ns in red blue; do
		ip=$(ip_of $ns b)
		background "$BATS_TEST_TMPDIR/$ns" flow $ns a "$ip" --tcp --port 7000 --connections 4 \
			--interval-ms 20 --duration 300
		background "$BATS_TEST_TMPDIR/$ns-udp" flow $ns a "$ip" --udp --port 7001 --connections 4 \
			--interval-ms 20 --wait-ms 3000 --duration 300
	done
	for ns in red blue; do
		for n in 1 2; do
			wait_until 60 active $n "$(ip_of $ns b)" 7000 4
			wait_until 60 active $n "$(ip_of $ns b)" 7001 4
		done
	done
	for ns in red blue; do
		end_flows $ns a 7000
		end_flows $ns a 7001
	done
	wait "${STARTED[@]}"
	for out in red red-udp blue blue-udp; do
		all_well "$(cat "$BATS_TEST_TMPDIR/$out")"
	done
	# Most of a flow, not some packet of it: renewals are two packets a second.
	ctl 1 status
}

@test "services, hostPort, and datagrams like a resolver's" {
	local svc ip

	svc=$(k -n red get service b -o jsonpath='{.spec.clusterIP}')
	all_well "$(flow red a "$svc" --tcp --port 80 --connections 5 --rounds 50)"
	# From another namespace, one question and its answer on each socket.
	all_well "$(flow blue a "$svc" --udp --port 53 --connections 100 --rounds 1 --size 40 --wait-ms 5000)"
	all_well "$(flow red a 10.77.0.2 --tcp --port 30080 --rounds 50)"
	all_well "$(flow blue a 10.77.0.2 --tcp --port 30081 --rounds 50)"
	# From outside of the cluster, in the network of the control plane.
	all_well "$(nsenter --net="/run/netns/xmk$CLUSTER_NAME-cp" build/tests/tools/xmt-flow client --tcp \
		--host 10.77.0.2 --port 30080 --rounds 50 -o json)"
	# A large answer, in one piece.
	ip=$(ip_of red b)
	all_well "$(flow red a "$ip" --tcp --port 7000 --mode duplex --bytes 20000000)"
}

@test "kubectl exec, logs and port-forward" {
	local port

	[ "$(in_pod red b hostname)" = b ]
	[ "$(in_pod blue a sh -c 'cat | wc -c' <<<"" 2>/dev/null || echo failed)" != failed ]
	k -n blue logs b | grep 'started blue'
	background "$BATS_TEST_TMPDIR/forward" k -n red port-forward --address 127.0.0.1 pod/b :7000
	wait_until 20 grep -q 'Forwarding from' "$BATS_TEST_TMPDIR/forward"
	port=$(sed -n 's/Forwarding from 127.0.0.1:\([0-9]*\) .*/\1/p' "$BATS_TEST_TMPDIR/forward")
	all_well "$(nsenter --net="/run/netns/xmk$CLUSTER_NAME-cp" build/tests/tools/xmt-flow client --tcp \
		--host 127.0.0.1 --port "$port" --rounds 50 -o json)"
}

@test "what the network forbids is forbidden for a live flow on the fast path, too" {
	local a b

	a=$(ip_of red a) b=$(ip_of red b)
	background "$BATS_TEST_TMPDIR/denied" flow red a "$b" --tcp --port 7000 --source-port 42000 \
		--interval-ms 20 --duration 60
	wait_until 60 active 1 "$b" 42000 1
	cluster node 2 iptables -w -I FORWARD -s "$a" -d "$b" -p tcp --dport 7000 -j DROP
	wait_until 30 inactive 1 "$b" 42000
	run ! timeout 8 tests/k8s/cluster.sh --name "$CLUSTER_NAME" kubectl -n red exec a -- xmt-flow client \
		--tcp --host "$b" --port 7000 --rounds 1 --timeout 3
	# The others are not concerned.
	all_well "$(flow blue a "$(ip_of blue b)" --tcp --port 7000 --rounds 20)"
	cluster node 2 iptables -w -D FORWARD -s "$a" -d "$b" -p tcp --dport 7000 -j DROP
	wait_until 60 active 1 "$b" 42000 1
}

# ---- pods come and go ---------------------------------------------------------------

# reborn NAME: a pod of red on node2
reborn()
{
	k -n red get pod b -o json | gojq --arg n "$1" '{apiVersion, kind, metadata: {name: $n, namespace: "red"},
		spec: {nodeName: "node2", terminationGracePeriodSeconds: 0, automountServiceAccountToken: false,
			containers: [.spec.containers[0] | {name, image, imagePullPolicy, command}]}}' | k create -f -
	k -n red wait --for=condition=Ready "pod/$1" --timeout=60s
	# Debian's CNI plugins announce no pod. Until it says something, its node sends what is for it to the
	# MAC address of who had its IP address before: up to a minute, with or without xmasq.
	in_pod red "$1" ping -c 1 -W 10 10.244.2.1
}

# left ADDRESS: no interface on node2 leads to it; an answer that cannot be read is none
left()
{
	local pods

	pods=$(ctl 2 pods -o json) &&
		gojq -e --arg a "$1" '[.pods[] | select(.addrs | split(",") | index($a))] == []' <<<"$pods" >/dev/null
}

@test "a pod is deleted under load, and another one gets its address" {
	local ip now i

	reborn one
	ip=$(ip_of red one)
	background "$BATS_TEST_TMPDIR/old" flow red a "$ip" --tcp --port 7000 --source-port 43000 \
		--interval-ms 20 --duration 300
	background "$BATS_TEST_TMPDIR/others" flow blue a "$(ip_of blue b)" --udp --port 7001 \
		--interval-ms 20 --wait-ms 3000 --duration 300
	wait_until 60 active 1 "$ip" 43000 1
	k -n red delete pod one --grace-period=0 --force
	now=
	# Addresses go round, and come back when the kubelet has taken the pod away.
	wait_until 120 left "$ip"
	for i in {1..12}; do
		reborn "again$i"
		now=$(ip_of red "again$i")
		[ "$now" != "$ip" ] || break
		k -n red delete pod "again$i" --grace-period=0 --force
		wait_until 120 left "$now"
	done
	echo "$i: $now"
	[ "$now" = "$ip" ]
	# The same addresses and ports, another pod: a connection of its own.
	end_flows red a 43000
	background "$BATS_TEST_TMPDIR/new" flow red a "$ip" --tcp --port 7000 --source-port 43000 \
		--interval-ms 20 --duration 300
	wait_until 60 active 2 "$ip" 43000 1
	end_flows red a 43000
	end_flows blue a 7001
	wait "${STARTED[@]:1}"
	all_well "$(cat "$BATS_TEST_TMPDIR/new")"
	all_well "$(cat "$BATS_TEST_TMPDIR/others")"
	k -n red delete pod "again$i" --grace-period=0 --force
}

# named N NAMESPACE/POD CONTAINERS: as node N's daemon calls the pod of an interface
named()
{
	local pods

	pods=$(ctl "$1" pods -o json) && gojq -e --arg p "$2" --arg c "$3" \
		'any(.pods[]; .namespace + "/" + .pod == $p and .containers == $c)' <<<"$pods" >/dev/null
}

# rootfs_seen N: of containers, below the daemon's mount
rootfs_seen()
{
	k -n kube-system exec "$(daemon "$1")" -- grep -c 'io.containerd.runtime.v2.task/.*/rootfs ' /proc/1/mountinfo || :
}

rootfs_is() { [ "$(rootfs_seen "$1")" = "$2" ]; }

@test "rollout: names wanted and another image, under load; nothing is lost" {
	local ns out started

	# Another image: one more file in it.
	scripts/image.sh --tag xmasq:next --output "$BATS_TEST_TMPDIR/images" --add build/tests/tools/xmt-cpu xmasq
	cluster load "$BATS_TEST_TMPDIR/images/xmasq.tar"
	for ns in red blue; do
		background "$BATS_TEST_TMPDIR/$ns" flow $ns a "$(ip_of $ns b)" --tcp --port 7000 --connections 8 \
			--source-port 44000 --interval-ms 20 --duration 300
		background "$BATS_TEST_TMPDIR/$ns-udp" flow $ns b "$(ip_of $ns a)" --udp --port 7001 \
			--connections 8 --source-port 45000 --interval-ms 20 --wait-ms 3000 --duration 300
	done
	wait_until 60 active 1 "$(ip_of red b)" 44000 1
	started=$SECONDS
	run ! named 2 red/b flow
	k -n kube-system patch daemonset xmasq --patch "$(cat deploy/kubernetes/names.yaml)"
	k -n kube-system rollout status daemonset/xmasq --timeout=120s
	echo "replaced in $((SECONDS - started)) s"
	k -n kube-system set image daemonset/xmasq xmasqd=xmasq:next
	k -n kube-system rollout status daemonset/xmasq --timeout=120s
	echo "image changed after $((SECONDS - started)) s"
	in_daemon=$(k -n kube-system exec "$(daemon 1)" -- ls /bin/xmt-cpu)
	[ "$in_daemon" = /bin/xmt-cpu ]
	wait_until 60 active 1 "$(ip_of red b)" 44000 1
	for ns in red blue; do
		end_flows $ns a 44000
		end_flows $ns b 45000
	done
	wait "${STARTED[@]}"
	for out in red red-udp blue blue-udp; do
		all_well "$(cat "$BATS_TEST_TMPDIR/$out")"
	done
	for n in 1 2; do
		ctl $n counters
		[ "$(k -n kube-system get pod "$(daemon $n)" -o jsonpath='{.status.containerStatuses[0].restartCount}')" = 0 ]
	done
}

@test "names of pods, by deploy/kubernetes/names.yaml: read-only, and no file of theirs is kept" {
	local pod before

	# The patch is there since the rollout.
	named 1 red/a flow
	named 1 blue/a flow
	named 2 red/b flow
	pod=$(daemon 2)
	[ "$(caps_of "$pod")" = "$CAPS" ]
	run ! k -n kube-system exec "$pod" -- sh -c 'echo x >/run/containerd/io.containerd.runtime.v2.task/x'
	[[ $output == *"Read-only file system"* ]]
	before=$(rootfs_seen 2)
	reborn named
	wait_until 60 named 2 red/named flow
	rootfs_is 2 $((before + 2))
	k -n red delete pod named --grace-period=0 --force
	wait_until 60 rootfs_is 2 "$before"
}

# ---- the tools ------------------------------------------------------------------------

netperf()
{
	scripts/netperf_test.sh --kubectl "tests/k8s/cluster.sh --name $CLUSTER_NAME kubectl" \
		--image xmasq-netperf:test --pull Never --rounds 1 --seconds 2 --tests tcprr,udprr \
		--server-node node2 --client-node node1 -o json
}

# ds_patch PATCH: of RFC 6902, to xmasq's DaemonSet
ds_patch() { k -n kube-system patch daemonset xmasq --type json -p "$1"; }

@test "netperf_test.sh: a table of off and on, and the cluster is as before" {
	local out=$BATS_TEST_TMPDIR/out there

	# A user's own affinity: it stays in force, and xmasq leaves the nodes all the same.
	ds_patch '[{"op": "add", "path": "/spec/template/spec/affinity", "value": {"nodeAffinity":
		{"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions":
			[{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}]}}}}]'
	k -n kube-system rollout status daemonset/xmasq --timeout=120s
	k -n kube-system get ds xmasq -o json | gojq .spec >"$BATS_TEST_TMPDIR/spec"
	netperf >"$out"
	cat "$out"
	gojq -e '(.tests | length) == 2 and all(.tests[]; .off.median > 0 and .on.median > 0 and .fast_packets > 0)
		and (.nodes | length) == 2' "$out"
	k -n kube-system get ds xmasq -o json | gojq .spec | diff "$BATS_TEST_TMPDIR/spec" -
	there=$(k get namespace xmasq-netperf --ignore-not-found -o name)
	[ -z "$there" ]
	# Back to work, and not with the option that it got for the measurement.
	wait_until 60 fast red a b
	k -n kube-system exec "$(daemon 1)" -- sh -c '! grep -q cleanup-on-exit /proc/1/cmdline'
}

@test "netperf_test.sh: what would be lost or is not its own keeps it from starting" {
	local before

	before=$(daemon 1)
	ctl 2 policy add deny egress tcp to 192.0.2.1 name not-there
	run netperf
	echo "$output"
	[[ $status -eq 1 && $output == *"node2 has live rules"*not-there* ]]
	ctl 2 policy del not-there
	k create namespace xmasq-netperf
	run netperf
	echo "$output"
	k delete namespace xmasq-netperf
	[[ $status -eq 1 && $output == *"there is a namespace"* ]]
	# What a run leaves that is killed with its cleanup.
	ds_patch '[{"op": "replace", "path": "/spec/updateStrategy", "value": {"type": "OnDelete"}},
		{"op": "add", "path": "/spec/template/spec/containers/0/args", "value": ["--cleanup-on-exit"]}]'
	run netperf
	echo "$output"
	ds_patch '[{"op": "remove", "path": "/spec/template/spec/containers/0/args"},
		{"op": "replace", "path": "/spec/updateStrategy", "value": {"type": "RollingUpdate"}}]'
	[[ $status -eq 1 && $output == *"kubectl replace -f deploy/kubernetes/xmasq.yaml"* ]]
	[ "$(daemon 1)" = "$before" ]
}

@test "uninstalled as docs/kubernetes.md says, nodes are as they were" {
	local n

	k delete -f deploy/kubernetes/xmasq.yaml
	wait_until 60 no_pods
	# The daemon is gone, its programs are not: that is what keeps flows over a rollout.
	cluster node 1 test -e /sys/fs/bpf/xmasq/xm_flows
	# Connections that conntrack remembers keep one sysctl as it is. Here they are of no use to anybody.
	for n in 1 2; do
		cluster node $n conntrack -F
	done
	k apply -f deploy/kubernetes/cleanup.yaml
	k -n kube-system rollout status daemonset/xmasq-cleanup --timeout=120s
	k -n kube-system get pods -o wide
	k -n kube-system logs ds/xmasq-cleanup -c cleanup
	k delete -f deploy/kubernetes/cleanup.yaml
	for n in 1 2; do
		node_traces $n | diff "$BEFORE.$n" -
	done
	all_well "$(flow red a "$(ip_of red b)" --tcp --port 7000 --rounds 50)"
}

@test "the cluster leaves no process, mount, namespace or setting on the machine" {
	# As after a crash: the control plane is gone before its nodes are.
	read -r pid _ <"/var/tmp/xmk$CLUSTER_NAME/apiserver.tree"
	kill -KILL "$pid"
	cluster down
	machine | diff "$BEFORE" -
}
