#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A real Kubernetes of two nodes on this machine, for the tests. 'cluster.sh --help' for the commands.
#
#            cp: etcd, kube-apiserver, controller manager, scheduler
#            │ 10.77.0.254
#   ─────────┴──┬──────────── bridge ─┬──────────
#               │ eth0 10.77.0.1      │ eth0 10.77.0.2
#            node1                  node2       kubelet, kube-proxy (iptables), containerd
#               │ flannel.1           │         VXLAN 8472, as flannel's backend sets it up
#               │ cni0 10.244.1.1/24  │ cni0 10.244.2.1/24
#             pods                  pods
#
# What one machine has once and nodes must not share is made for each: network, mount and PID
# namespace, control groups, /run, /sys/fs/bpf, and in front of the sysctls that the kubelet sets for the
# whole machine, files that only look like them. A node is one process tree below one process: when
# that is killed, the kernel ends all of it and takes the mounts away, whatever became of the rest.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# Seconds that anything may take until it is an error.
patience=180
nodes=(1 2)

usage() {
	cat <<-'END'
	usage: tests/k8s/cluster.sh [--name NAME] COMMAND

	  up                    build Kubernetes if it is not cached, start it, wait until it is ready
	  down                  take it away, also what is left of an interrupted run
	  kubectl ARGUMENT...   as the cluster's administrator
	  node N COMMAND...     run a command on a node
	  load FILE.tar...      import images on both nodes (imagePullPolicy: Never or IfNotPresent)
	  env                   print KUBECONFIG and what a shell needs to use it

	  --name NAME  letters and digits, at most 6 (default k8s): clusters with different names do not
	               see one another
	END
}

say() { printf 'cluster: [%s s] %s\n' "$SECONDS" "$*" >&2; }
die() {
	printf 'cluster: error: %s\n' "$*" >&2
	exit 1
}

name=k8s
case ${1:-} in
--name)
	[ $# -ge 2 ] || die "--name: its value is missing"
	name=$2
	shift 2
	;;
-h | --help)
	usage
	exit 0
	;;
esac
# It is part of interfaces' names, which are short.
[[ $name =~ ^[a-z0-9]{1,6}$ ]] || die "--name '$name': give 1 to 6 small letters and digits"
[ $# -ge 1 ] || {
	usage >&2
	exit 2
}
[ "$(id -u)" = 0 ] || die "needs root: run with sudo"

prefix=xmk$name
run=${XMASQ_K8S_RUN:-/var/tmp}/$prefix
cp=$prefix-cp
pause=docker.io/library/$prefix-pause:local

# wait_until WHAT COMMAND...: polls, at most $patience seconds
wait_until() {
	local what=$1 end=$((SECONDS + patience))
	shift

	until "$@" >/dev/null 2>&1; do
		if [ $SECONDS -ge $end ]; then
			say "waited $patience s for: $what. The ends of the logs:"
			tail -n 8 "$run"/*.log "$run"/node*/*.log >&2 2>/dev/null || true
			return 1
		fi
		sleep 0.1
	done
}

kubectl() {
	[ -s "$run/bin" ] || die "no cluster '$name' here: run 'cluster.sh --name $name up'"
	nsenter --net="/run/netns/$cp" "$(cat "$run/bin")/kubectl" --kubeconfig "$run/kubeconfig" "$@"
}

# on_node N COMMAND...: in all namespaces of the node
on_node() {
	local n=$1
	shift
	[ -s "$run/node$n/init.pid" ] || die "no node $n"
	nsenter --target "$(cat "$run/node$n/init.pid")" --mount --net --pid --ipc --uts -- "$@"
}

# ---- down ---------------------------------------------------------------------

# kill_tree FILE: the process whose id is in FILE and all below it, if it is what we started
kill_tree() {
	local pid start file=$1

	[ -s "$file" ] || return 0
	read -r pid start <"$file" || true
	if [ -n "${start:-}" ] && [ "$(started_at "$pid")" = "$start" ]; then
		kill -KILL "$pid" 2>/dev/null || true
	fi
	rm -f "$file"
}

# started_at PID: in clock ticks, which tells processes with one number apart
started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20 || true; }

# group_dirs N: the node's control groups, one of each hierarchy that the machine has
group_dirs() {
	local d

	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		echo "/sys/fs/cgroup/$prefix-n$1"
		return
	fi
	for d in /sys/fs/cgroup/*/; do
		[ ! -e "$d/cgroup.procs" ] || [ -L "${d%/}" ] || echo "$d$prefix-n$1"
	done
}

remove_groups() {
	local n d

	for n in "${nodes[@]}"; do
		for d in $(group_dirs "$n"); do
			[ ! -d "$d" ] || find "$d" -depth -type d -exec rmdir {} + 2>/dev/null || true
		done
	done
	for n in "${nodes[@]}"; do
		for d in $(group_dirs "$n"); do
			[ ! -d "$d" ] || return 1
		done
	done
}

down() {
	local f n

	for f in "$run"/*.tree "$run"/node*/*.tree; do
		[ ! -e "$f" ] || kill_tree "$f"
	done
	# Only when its last process is gone can a group be removed, and are the mounts.
	patience=30 wait_until "the nodes' processes to end" remove_groups
	for n in cp "${nodes[@]/#/n}"; do
		[ ! -e "/run/netns/$prefix-$n" ] || ip netns del "$prefix-$n"
	done
	# Nothing is mounted below in our mount namespace: all that was, was in the nodes'.
	! grep -qF " $run/" /proc/self/mountinfo || die "something is mounted below $run: see /proc/self/mountinfo"
	rm -rf "$run"
}

# ---- up -----------------------------------------------------------------------

# background NAME COMMAND...: in the control plane's namespaces, ended by "down"
background() {
	local what=$1 pid
	shift

	setsid nsenter --net="/run/netns/$cp" "$@" >"$run/$what.log" 2>&1 </dev/null &
	pid=$!
	echo "$pid $(started_at "$pid")" >"$run/$what.tree"
	disown
}

network() {
	local n m ns

	ip netns add "$cp"
	ip -n "$cp" link set lo up
	ip -n "$cp" link add br0 type bridge
	ip -n "$cp" addr add 10.77.0.254/24 dev br0
	ip -n "$cp" link set br0 up
	for n in "${nodes[@]}"; do
		ns=$prefix-n$n
		ip netns add "$ns"
		ip -n "$ns" link set lo up
		ip -n "$cp" link add "p$n" type veth peer name eth0 netns "$ns"
		ip -n "$cp" link set "p$n" master br0 up
		ip -n "$ns" addr add "10.77.0.$n/24" dev eth0
		ip -n "$ns" link set eth0 up
		ip -n "$ns" route add default via 10.77.0.254
		ip -n "$ns" link add flannel.1 address "02:00:00:00:01:0$n" type vxlan id 1 \
			dstport 8472 local "10.77.0.$n" dev eth0 nolearning
		ip -n "$ns" addr add "10.244.$n.0/32" dev flannel.1
		ip -n "$ns" link set flannel.1 mtu 1450 up
		for m in "${nodes[@]}"; do
			[ "$m" != "$n" ] || continue
			ip -n "$ns" route add "10.244.$m.0/24" via "10.244.$m.0" dev flannel.1 onlink
			ip -n "$ns" neigh add "10.244.$m.0" lladdr "02:00:00:00:01:0$m" \
				dev flannel.1 nud permanent
			bridge -n "$ns" fdb add "02:00:00:00:01:0$m" dev flannel.1 dst "10.77.0.$m"
		done
	done
}

groups_made() {
	local d f

	if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
		for f in $(</sys/fs/cgroup/cgroup.controllers); do
			echo "+$f" >/sys/fs/cgroup/cgroup.subtree_control || true
		done
	fi
	for d in $(group_dirs "$1"); do
		mkdir -p "$d"
		# A cpuset of the first version that is empty takes no process.
		for f in cpuset.cpus cpuset.mems; do
			[ ! -e "$d/tasks" ] || [ ! -e "$d/$f" ] || cat "$d/../$f" >"$d/$f"
		done
	done
}

# node_files N: what containerd, its network plugins, kubelet and kube-proxy are told
node_files() {
	local n=$1 d=$run/node$1

	mkdir -p "$d"/{cni,cgroup,lib,log,sysctl}
	mkdir -p "$d"/lib/{kubelet,cni} "$d"/log/{pods,containers}
	# restrict_oom_score_adj: for machines whose root may not lower it.
	cat >"$d/containerd.toml" <<-END
	version = 2
	root = "$d/containerd"
	state = "/run/containerd"
	[grpc]
	  address = "/run/containerd/containerd.sock"
	[plugins."io.containerd.internal.v1.opt"]
	  path = "$d/opt"
	[plugins."io.containerd.grpc.v1.cri"]
	  sandbox_image = "$pause"
	  restrict_oom_score_adj = true
	  disable_apparmor = true
	  tolerate_missing_hugetlb_controller = true
	  disable_hugetlb_controller = true
	  [plugins."io.containerd.grpc.v1.cri".cni]
	    bin_dir = "/usr/lib/cni"
	    conf_dir = "$d/cni"
	END
	cat >"$d/cni/10-pods.conflist" <<-END
	{"cniVersion": "0.4.0", "name": "pods", "plugins": [
	  {"type": "bridge", "bridge": "cni0", "isGateway": true, "mtu": 1450, "hairpinMode": true,
	   "ipam": {"type": "host-local", "dataDir": "$d/ipam",
	            "ranges": [[{"subnet": "10.244.$n.0/24", "rangeStart": "10.244.$n.10",
	                         "rangeEnd": "10.244.$n.${CLUSTER_LAST:-40}"}]],
	            "routes": [{"dst": "0.0.0.0/0"}]}},
	  {"type": "portmap", "snat": true, "capabilities": {"portMappings": true}}]}
	END
	cat >"$d/kubelet.yaml" <<-END
	apiVersion: kubelet.config.k8s.io/v1beta1
	kind: KubeletConfiguration
	address: 10.77.0.$n
	authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
	authorization: {mode: AlwaysAllow}
	cgroupDriver: cgroupfs
	cgroupRoot: /$prefix-n$n
	failSwapOn: false
	nodeStatusUpdateFrequency: 1s
	oomScoreAdj: 0
	resolvConf: /dev/null
	imageGCHighThresholdPercent: 100
	imageMinimumGCAge: 24h
	evictionHard: {memory.available: "50Mi"}
	END
	# conntrack: its limits are the machine's, or may not be changed by a network namespace.
	cat >"$d/proxy.yaml" <<-END
	apiVersion: kubeproxy.config.k8s.io/v1alpha1
	kind: KubeProxyConfiguration
	clientConnection: {kubeconfig: $run/kubeconfig}
	hostnameOverride: node$n
	mode: iptables
	clusterCIDR: 10.244.0.0/16
	conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
	END
}

# The kubelet sets these for the whole machine unless they are so already.
machine_sysctls=(vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1
	kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000)

# node_main N: the first process of a node, in namespaces of its own
node_main() {
	local n=$1 d=$run/node$1 bin s f

	bin=$(cat "$run/bin")
	mount --rbind /sys/fs/cgroup "$d/cgroup"
	mount -t sysfs sysfs /sys
	mount --move "$d/cgroup" /sys/fs/cgroup
	mount -t bpf bpf /sys/fs/bpf -o mode=700
	for s in "${machine_sysctls[@]}"; do
		f=$d/sysctl/$(tr / . <<<"${s%=*}")
		echo "${s#*=}" >"$f"
		mount --bind "$f" "/proc/sys/${s%=*}"
	done
	mount -t tmpfs tmpfs /run -o mode=755
	mkdir /run/lock /run/netns
	mount --bind "$d/lib" /var/lib
	mount --bind "$d/log" /var/log
	mount --make-rshared /
	hostname "node$n"
	cd /
	# A cloud's metadata service would be asked for credentials of a registry.
	export AWS_EC2_METADATA_DISABLED=true AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9
	containerd -c "$d/containerd.toml" >"$d/containerd.log" 2>&1 &
	wait_until "containerd of node$n" ctr version || exit 1
	ctr -n k8s.io images import "$run/image/netperf.tar" >"$d/import.log" 2>&1 || exit 1
	wait_until "the API server, on node$n" test -e "$run/api.ready" || exit 1
	"$bin/kube-proxy" --config="$d/proxy.yaml" >"$d/proxy.log" 2>&1 &
	"$bin/kubelet" --config="$d/kubelet.yaml" --kubeconfig="$run/kubeconfig" \
		--cert-dir="$d/pki" --container-runtime=remote \
		--container-runtime-endpoint=unix:///run/containerd/containerd.sock \
		--hostname-override="node$n" --node-ip="10.77.0.$n" --v=2 >"$d/kubelet.log" 2>&1 &
	touch "$d/started"
	# As the first process of its namespace it also collects those that lost their parents.
	while :; do
		wait -n || true
		sleep 0.2
	done
}

node_started() {
	local n=$1 d=$run/node$1 pid

	setsid nsenter --net="/run/netns/$prefix-n$n" \
		unshare --mount --propagation private --pid --ipc --uts --fork --kill-child --mount-proc \
		"$here/cluster.sh" --name "$name" node-main "$n" >"$d/node.log" 2>&1 </dev/null &
	pid=$!
	echo "$pid $(started_at "$pid")" >"$d/node.tree"
	disown
	wait_until "the first process of node$n" pgrep -P "$pid"
	pgrep -P "$pid" >"$d/init.pid"
}

control_plane() {
	local bin=$1

	openssl genrsa -out "$run/sa.key" 2048 2>/dev/null
	openssl rsa -in "$run/sa.key" -pubout -out "$run/sa.pub" 2>/dev/null
	token=$(od -An -tx1 -N16 /dev/urandom | tr -d ' \n')
	(umask 077 && echo "$token,admin,1,\"system:masters\"" >"$run/tokens.csv")
	(umask 077 && cat >"$run/kubeconfig") <<-END
	apiVersion: v1
	kind: Config
	clusters: [{name: c, cluster: {server: "https://10.77.0.254:6443", insecure-skip-tls-verify: true}}]
	users: [{name: admin, user: {token: $token}}]
	contexts: [{name: c, context: {cluster: c, user: admin}}]
	current-context: c
	END
	# All of it is thrown away: nothing has to be on the disk when etcd says so.
	background etcd etcd --data-dir "$run/etcd" --listen-client-urls http://127.0.0.1:2379 \
		--advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 \
		--unsafe-no-fsync
	background apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 \
		--service-cluster-ip-range=10.96.0.0/16 --secure-port=6443 --bind-address=10.77.0.254 \
		--cert-dir="$run/apicerts" --service-account-issuer=https://kubernetes.default.svc \
		--service-account-key-file="$run/sa.pub" --service-account-signing-key-file="$run/sa.key" \
		--token-auth-file="$run/tokens.csv" --authorization-mode=RBAC --allow-privileged=true \
		--kubelet-preferred-address-types=InternalIP
	wait_until "the API server" kubectl get --raw /readyz
	touch "$run/api.ready"
	background controllers "$bin/kube-controller-manager" --kubeconfig="$run/kubeconfig" \
		--service-account-private-key-file="$run/sa.key" --use-service-account-credentials=true \
		--cert-dir="$run/kcmcerts" --leader-elect=false --bind-address=127.0.0.1 \
		--root-ca-file="$run/apicerts/apiserver.crt"
	background scheduler "$bin/kube-scheduler" --kubeconfig="$run/kubeconfig" \
		--leader-elect=false --bind-address=127.0.0.1 --cert-dir="$run/schedcerts"
}

nodes_ready() {
	[ "$(kubectl get nodes --no-headers 2>/dev/null | grep -c ' Ready ')" = ${#nodes[@]} ] &&
		kubectl get serviceaccount default
}

undo() {
	local rc=$?

	trap - EXIT
	[ $rc = 0 ] || down
	exit $rc
}

up() {
	local bin n p

	for p in containerd ctr runc etcd iptables openssl busybox; do
		command -v "$p" >/dev/null || die "$p is missing: run 'sudo scripts/setup.sh k8s'"
	done
	[ -x /usr/lib/cni/bridge ] || die "/usr/lib/cni/bridge is missing: run 'sudo scripts/setup.sh k8s'"
	bin=$("$here/build.sh" --print-dir)
	down
	# Whatever goes wrong from here leaves nothing.
	trap undo EXIT
	trap 'exit 130' INT TERM HUP
	mkdir -p "$run"
	echo "$bin" >"$run/bin"
	"$here/../../scripts/image.sh" --tag "${pause#docker.io/library/}" --output "$run/image" \
		netperf >/dev/null
	network
	for n in "${nodes[@]}"; do
		groups_made "$n"
		node_files "$n"
		node_started "$n"
	done
	control_plane "$bin"
	say "the API server answers"
	wait_until "both nodes to be ready" nodes_ready
	say "both nodes are ready"
}

load() {
	local f n

	for f; do
		[ -r "$f" ] || die "$f: no such file"
		for n in "${nodes[@]}"; do
			on_node "$n" ctr -n k8s.io images import "$(readlink -f "$f")" >/dev/null
		done
	done
}

command=$1
shift
case $command in
up) up ;;
down) down ;;
kubectl) kubectl "$@" ;;
node)
	[ $# -ge 2 ] || die "node: give its number and a command"
	on_node "$@"
	;;
load) load "$@" ;;
env)
	echo "export KUBECONFIG=$run/kubeconfig"
	echo "# and run in the control plane's network: nsenter --net=/run/netns/$cp $(cat "$run/bin")/kubectl"
	;;
node-main) node_main "$@" ;;
*)
	usage >&2
	exit 2
	;;
esac
