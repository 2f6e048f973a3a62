# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# lib.bash - two nodes of a bed with container runtimes on them, over that of tests/netns:
#
#     containerd   Docker   podman            containerd   Docker   podman
#      10.244.1.20+ .128+  .200+               10.244.2.20+ .128+  .200+
#            \        |      /                       \        |      /
#            cni0 10.244.1.1/24                      cni0 10.244.2.1/24
#                flannel.1  ======= VXLAN =======  flannel.1
#            n1  eth0 172.31.0.1 ----------- eth0 172.31.0.2  n2
#
# The bridges, the tunnel and the firewall are those of testbed.sh; what is a pod elsewhere is a container
# here, of containerd with the CNI plugins, of Docker with its own network code, of podman. Each node has a
# mount namespace in which the runtimes are started (node.sh), and xmasqd with them, as on a machine of its
# own. xmasqd gets none of their sockets: it would have to ask them otherwise.

load ../netns/lib

# shellcheck disable=SC2034 # the tests'
RUNTIMES='containerd docker podman'
IMAGE=docker.io/library/xmt:1

# ---- nodes ----------------------------------------------------------------------

# why_not: prints what is missing, for a skip; nothing when all is there. CI has to install it.
why_not()
{
	local program

	for program in containerd ctr dockerd docker podman runc busybox; do
		command -v "$program" >/dev/null || {
			echo "there is no $program; scripts/setup.sh containers installs it"
			return
		}
	done
	[ -x /usr/lib/cni/bridge ] ||
		echo "there are no CNI plugins; scripts/setup.sh containers installs them"
}

# nodes_up: the bed, two nodes with their runtimes and the image
nodes_up()
{
	local node dir

	bed_up --pods 0 || return 1
	export DOCKER_HOST=unix:///run/docker/docker.sock
	export DIRS="/var/lib/docker /var/lib/containerd /var/lib/containers /var/lib/cni /run/docker
		/run/containerd /run/containers /run/libpod /run/netns /etc/cni/net.d /etc/containers"
	# Places to mount on; those that the machine has not are taken away in the end.
	: >"$BATS_FILE_TMPDIR/made"
	for dir in $DIRS; do
		[ -d "$dir" ] || { mkdir -p "$dir" && echo "$dir" >>"$BATS_FILE_TMPDIR/made"; }
	done
	for node in n1 n2; do
		node_start $node || {
			# They have nothing of ours yet: it is the machine's doing.
			WHY_NOT=$(grep -h 'does not start here' "$(state $node)/runtimes/node.log") &&
				WHY_NOT="allowed: $WHY_NOT"
			[ -n "$WHY_NOT" ]
			return
		}
	done
	image_make "$BATS_FILE_TMPDIR/image" || return 1
	for node in n1 n2; do
		image_load $node || { node_log $node; return 1; }
	done
}

# state NODE: its directory, as testbed.sh has it
state() { echo "/run/xmasq-$XMASQ_BED/$1"; }

node_start()
{
	local dir

	dir=$(state "$1")/runtimes
	mkdir -p "$dir"
	nsenter --net="/run/netns/$XMASQ_BED-$1" -- unshare -m --propagation private \
		"$PWD/tests/containers/node.sh" "$dir" "${1#n}" >"$dir/node.log" 2>&1 </dev/null \
		3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
	echo $! >"$dir/pid"
	ln -sfn "/proc/$!/ns/mnt" "$(state "$1")/mnt"
	wait_until 60 node_settled "$1" && [ -e "$dir/ready" ] && return 0
	node_log "$1"
	return 1
}

node_pid()     { cat "$(state "$1")/runtimes/pid"; }
node_settled() { [ -e "$(state "$1")/runtimes/ready" ] || ! kill -0 "$(node_pid "$1")" 2>/dev/null; }
node_log()     { tail -n 15 "$(state "$1")"/runtimes/*.log >&2; }

# on NODE COMMAND...: in its network and mount namespace
on() { nsenter --net="/run/netns/$XMASQ_BED-$1" --mount="$(state "$1")/mnt" --wd=/ -- "${@:2}"; }

# nodes_down: containers, runtimes, bed, and what is left of them; whatever has come of the rest
nodes_down()
{
	local node pid dir

	for node in n1 n2; do
		[ -e "$(state $node)/runtimes/pid" ] || continue
		containers_remove $node >/dev/null 2>&1 || :
		pid=$(node_pid $node)
		kill "$pid" 2>/dev/null || :
		wait_until 30 eval "! kill -0 $pid 2>/dev/null" || kill -KILL "$pid"
		node_sweep $node
	done
	bed_down
	while read -r dir; do
		rmdir -p --ignore-fail-on-non-empty "$dir" 2>/dev/null || :
	done < <(tac "$BATS_FILE_TMPDIR/made" 2>/dev/null)
	cgroups_sweep
}

# node_sweep NODE: shims outlive a containerd that is ended. Only what the node started is in its network.
node_sweep()
{
	local ns pid

	ns=$(stat -Lc %i "/run/netns/$XMASQ_BED-$1") || return 0
	for pid in /proc/[0-9]*; do
		[ "$(stat -Lc %i "$pid/ns/net" 2>/dev/null)" = "$ns" ] || continue
		[[ $(tr '\0' ' ' <"$pid/cmdline" 2>/dev/null) == *containerd-shim* ]] || continue
		kill -KILL "${pid#/proc/}" 2>/dev/null || :
	done
}

# cgroups_sweep: what runtimes make and leave empty; what others use stays
cgroups_sweep()
{
	local dir

	for dir in /sys/fs/cgroup/*/{default,docker,libpod_parent}; do
		[ ! -d "$dir" ] || find "$dir" -depth -type d -exec rmdir {} \; 2>/dev/null || :
	done
}

# ---- image ----------------------------------------------------------------------

# image_make DIRECTORY: the programs of the tests in an image of their own, built from nothing
image_make()
{
	local root=$1/rootfs

	# shellcheck source=tests/image.bash
	. tests/image.bash
	image_root "$root" &&
		image_built "$root" tools "$FLOW" &&
		image_tools "$root" containers busybox ip ethtool &&
		image_applets "$root" sh sleep cat || return 1
	printf '%s\n' 'FROM scratch' 'COPY rootfs /' 'ENV PATH=/bin' >"$1/Dockerfile"
	# The classic builder needs nothing but the daemon.
	on n1 env DOCKER_BUILDKIT=0 docker build -q -t xmt:1 "$1" &&
		on n1 docker save -o "$1/image.tar" xmt:1
}

image_load()
{
	local tar=$BATS_FILE_TMPDIR/image/image.tar

	{ [ "$1" = n1 ] || on "$1" docker load -q -i "$tar"; } &&
		on "$1" ctr images import "$tar" &&
		on "$1" podman load -q -i "$tar"
} >/dev/null

# ---- containers -----------------------------------------------------------------

# What each container runs: a server for TCP and UDP.
SERVER='xmt-flow server --udp --port 5001 --timeout 86400 & exec xmt-flow server --tcp --port 5000 --timeout 86400'

# container_run RUNTIME NODE NAME: starts one, until it answers
container_run()
{
	local node=$2 name=$3

	case $1 in
	containerd)	on "$node" ctr run -d --cni $IMAGE "$name" sh -c "$SERVER" ;;
	docker)		on "$node" docker run -d --name "$name" xmt:1 sh -c "$SERVER" ;;
	podman)		on "$node" podman run -d --name "$name" xmt:1 sh -c "$SERVER" ;;
	esac </dev/null 3>&- >/dev/null || return 1
	wait_until 20 container_ready "$@"
}

container_ready()
{
	local ip

	ip=$(container_ip "$@") && [ -n "$ip" ] &&
		container_exec "$@" cat /proc/net/tcp 2>/dev/null | grep -q ':1388 '
}

# container_pid RUNTIME NODE NAME: its first process
container_pid()
{
	case $1 in
	containerd)	on "$2" ctr task ls | awk -v n="$3" '$1 == n && $3 == "RUNNING" { print $2 }' ;;
	docker)		on "$2" docker inspect -f '{{.State.Pid}}' "$3" ;;
	podman)		on "$2" podman inspect -f '{{.State.Pid}}' "$3" ;;
	esac
}

# container_exec RUNTIME NODE NAME COMMAND...: in it, as its runtime does that
container_exec()
{
	local runtime=$1 node=$2 name=$3

	shift 3
	case $runtime in
	containerd)	on "$node" ctr task exec --exec-id "x$RANDOM$RANDOM" "$name" "$@" ;;
	*)		on "$node" "$runtime" exec "$name" "$@" ;;
	esac
}

# container_ip RUNTIME NODE NAME
container_ip()
{
	container_exec "$@" ip -4 -o addr show dev eth0 | awk '{ sub("/.*", "", $4); print $4 }'
}

# container_restart RUNTIME NODE NAME: ctr knows no restart: its task ends, and another one starts
container_restart()
{
	if [ "$1" = containerd ]; then
		container_remove "$@"
		container_run "$@"
		return
	fi
	on "$2" "$1" restart -t 0 "$3" >/dev/null && wait_until 20 container_ready "$@"
}

container_remove()
{
	case $1 in
	docker)		on "$2" docker rm -f "$3" ;;
	podman)		on "$2" podman rm -f -t 0 "$3" ;;
	containerd)
		on "$2" ctr task kill -s KILL "$3"
		wait_until 20 ctr_task_removed "$2" "$3"
		on "$2" ctr container rm "$3"
		# ctr does not tell the plugins that it is over.
		on "$2" sh -c "grep -lx '[a-z]*-$3.*' /var/lib/cni/networks/pods/10.* | xargs -r rm" ;;
	esac >/dev/null
}

ctr_task_removed() { on "$1" ctr task rm "$2" >/dev/null 2>&1 || ! on "$1" ctr task ls -q | grep -qx "$2"; }

# containers_remove NODE: all of them
containers_remove()
{
	local name

	for name in $(on "$1" ctr container ls -q); do
		container_remove containerd "$1" "$name" || :
	done
	on "$1" docker ps -aq | while read -r name; do on "$1" docker rm -f "$name"; done
	on "$1" podman rm -fa -t 0
}

# view RUNTIME NODE NAME: what its processes see of its network; counters apart
view()
{
	local what

	for what in 'ip addr' 'ip -d link' 'ip route' 'ip neigh show nud permanent' 'ethtool -k eth0'; do
		# shellcheck disable=SC2086 # words
		container_exec "$@" $what || return 1
	done
}

# ---- what xmasqd says of them -----------------------------------------------------

# pod_of NODE ADDRESS: JSON of its pod there; fails when there is none
pod_of() { ctl "$1" pods -o json | jq -ec --arg a "$2" '.pods[] | select(.addrs == $a)'; }

# named RUNTIME NODE NAME ADDRESS: it is attached, and by its name
named()
{
	pod_of "$2" "$4" | jq -e --arg r "$1" --arg n "$3" \
		'.attached and .runtime == $r and .containers == $n and .pod == "" and .namespace == ""' >/dev/null
}

# nothing_of NODE ADDRESS: neither pod nor flow
nothing_of()
{
	! pod_of "$1" "$2" >/dev/null &&
		ctl "$1" flows --limit 65536 -o json | jq -e --arg a "$2" \
			'all(.flows[]; .saddr != $a and .daddr != $a)' >/dev/null
}

# client FILE RUNTIME NODE NAME tcp|udp ADDRESS [options]: xmt-flow in the network of the container, in the
# background; pid last in PIDS
client()
{
	local file=$1 pid port=5000

	pid=$(container_pid "$2" "$3" "$4")
	[ "$5" = tcp ] || port=5001
	nsenter --net="/proc/$pid/ns/net" -- "$FLOW" client "--$5" --host "$6" --port $port \
		-o json "${@:7}" >"$file" 2>&1 3>&- </dev/null &
	PIDS+=($!)
}
