#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# One node of the container tests: what a node of a cluster has for itself, and containerd, Docker and
# podman in it. In the node's network namespace, and in a mount namespace of its own:
#
#   node.sh DIR N      DIR: logs, and "ready" when all run; N: the node's number on the bed
#
# The runtimes keep everything where they always do, and do not see each other's or the machine's: those
# directories are the node's alone. Docker uses the node's containerd, as Debian's does. Ends, and the
# runtimes with it, on SIGTERM.
set -u

dir=$1 n=$2
own=(/var/lib/docker /var/lib/containerd /var/lib/containers /var/lib/cni /run/docker /run/containerd
	/run/containers /run/libpod /run/netns /etc/cni/net.d /etc/containers)

for d in "${own[@]}"; do
	mount -t tmpfs -o mode=755 node "$d" || exit 1
done

# network NAME FIRST LAST: as the CNI plugins of Debian get it
network()
{
	cat <<-END
	{"cniVersion": "0.4.0", "name": "$1", "plugins": [
	  {"type": "bridge", "bridge": "cni0", "isGateway": true, "mtu": 1450, "ipam": {"type": "host-local",
	   "ranges": [[{"subnet": "10.244.$n.0/24", "rangeStart": "10.244.$n.$2", "rangeEnd": "10.244.$n.$3"}]],
	   "routes": [{"dst": "0.0.0.0/0"}]}}]}
	END
}
network pods 20 99 >/etc/cni/net.d/10-pods.conflist
network podman 200 250 >/etc/cni/net.d/20-podman.conflist

# What a machine without CAP_SYS_RESOURCE and without systemd needs of podman.
cat >/etc/containers/containers.conf <<'END'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
END
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >/etc/containers/policy.json

# Those of the machine are elsewhere in /run, which the node shares with it.
export DOCKER_HOST=unix:///run/docker/docker.sock

runtimes=()
down()
{
	local i

	# What needs containerd ends before it.
	for ((i = ${#runtimes[@]} - 1; i >= 0; i--)); do
		kill "${runtimes[i]}" 2>/dev/null
		wait "${runtimes[i]}"
	done
}
trap down EXIT
trap 'exit 0' TERM

# up NAME QUESTION...: the one that was just started runs when it answers
up()
{
	local name=$1 pid=$!

	shift
	runtimes+=("$pid")
	until "$@" >/dev/null 2>&1; do
		kill -0 "$pid" 2>/dev/null || {
			echo "$name does not start here: $(tail -n 1 "$dir/$name.log" | cut -c 1-300)"
			exit 1
		}
		sleep 0.1
	done
}

containerd >"$dir/containerd.log" 2>&1 </dev/null &
up containerd ctr version
dockerd -H "$DOCKER_HOST" --pidfile /run/docker/pid --containerd /run/containerd/containerd.sock \
	--bridge cni0 --fixed-cidr "10.244.$n.128/26" --iptables=false --ip-forward=false \
	--ip-masq=false --userland-proxy=false --mtu 1450 >"$dir/dockerd.log" 2>&1 </dev/null &
up dockerd docker info
: >"$dir/ready"
wait "${runtimes[-1]}"
