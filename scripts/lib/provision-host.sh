#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What scripts/provision.sh does on a host. It is sent there and run as root, one step each time:
#
#   provision-host.sh check|prepare|init|token|joined|name|forget|join|cni|image|apply|delete|ready|has|
#                     reset|restore [ARGUMENT...]
#
# Each step may be run again: it looks before it changes anything. What it changed is recorded below
# $state, and "restore" goes by that. ROOT is for tests: a directory instead of the host's /.
set -euo pipefail
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

ROOT=${ROOT:-}
state=$ROOT/var/lib/xmasq-provision
export KUBECONFIG=$ROOT/etc/kubernetes/admin.conf

say() { echo "$HOSTNAME: $*"; }
die() {
	echo "$HOSTNAME: error: $*" >&2
	exit 1
}

# own FILE: keep what was there before we write it; once
own() {
	local saved
	saved=$state/files/$(tr / % <<<"${1#"$ROOT"}")

	mkdir -p "$state/files" "$(dirname "$1")"
	if [ ! -e "$saved" ] && [ ! -e "$saved.none" ]; then
		if [ -e "$1" ]; then cp -a "$1" "$saved"; else : >"$saved.none"; fi
	fi
}

# write FILE: standard input, when it is not so already; 1 when it was
write() {
	local text
	text=$(cat)

	[ "$(cat "$1" 2>/dev/null)" != "$text" ] || return 1
	own "$1"
	printf '%s\n' "$text" >"$1"
	say "wrote $1"
}

# module NAME PROOF: PROOF is there when the kernel has it, as a module or built in
module() {
	[ -e "$ROOT$2" ] || modprobe "$1" || die "the kernel has no $1: take the distribution's kernel"
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# ---- steps ------------------------------------------------------------------

# check PORT: what nobody can change for the user
step_check() {
	local release major minor

	[ "$(id -u)" = 0 ] || die "not root: log in as root, or let this user use sudo without a password"
	command -v apt-get >/dev/null || die "no apt-get: this script knows Debian and its derivatives"
	release=$(uname -r)
	major=${release%%.*} minor=${release#*.}
	minor=${minor%%[!0-9]*}
	if [ "$major" -lt 6 ] || { [ "$major" = 6 ] && [ "$minor" -lt 1 ]; }; then
		die "Linux $release: xmasq needs 6.1, or 6.4 and newer"
	fi
	case $major.$minor in 6.2 | 6.3) die "Linux $release: xmasq needs 6.1, or 6.4 and newer" ;; esac
	[ -r "$ROOT/sys/kernel/btf/vmlinux" ] || die "Linux $release has no BTF: take the distribution's kernel"
	[ "$(tail -n +2 "$ROOT/proc/swaps" | wc -l)" = 0 ] ||
		die "swap is on, which kubeadm refuses: run 'swapoff -a', and take it out of /etc/fstab"
	if [ -e "$ROOT/etc/kubernetes/kubelet.conf" ] && [ ! -e "$state/cluster" ]; then
		die "this host is in a cluster that provision.sh did not make: it is left alone"
	fi
	! installed containerd.io || die "Docker's containerd.io is installed, and Debian's containerd, which this" \
		"script sets up, cannot be next to it: take a host without Docker's packages"
	say "Linux $release, fine"
}

# Where CNIs put their configuration and state.
cni_files() { find "$ROOT/etc/cni/net.d" "$ROOT/var/lib/cni" "$@" 2>/dev/null || true; }

# Directories that packages, kubeadm and the CNI make and leave; below / in this order.
own_dirs=(/etc/cni/net.d /etc/cni /etc/kubernetes/manifests /etc/kubernetes/pki /etc/kubernetes /opt/cni/bin /opt/cni
	/opt/containerd /var/lib/cni /var/lib/containerd /var/lib/etcd /var/lib/kubelet)

dirs_there() {
	local d

	for d in "${own_dirs[@]}"; do
		[ ! -d "$ROOT$d" ] || echo "$d"
	done
}

# Those that were not there before: when they are empty, and what containerd stored, if it came with us.
dirs_away() {
	local d

	for d in "${own_dirs[@]}"; do
		! grep -qxF -- "$d" "$state/dirs" || continue
		case $d in
		*/containerd) ! grep -qsx containerd "$state/packages" || rm -rf "$ROOT$d" 2>/dev/null || true ;;
		esac
		rmdir "$ROOT$d" 2>/dev/null || true
	done
}

# prepare LIST KEY: packages and settings; LIST and KEY are contents of files, in base64, or ""
step_prepare() {
	local p policy missing=() changed='' name value config=$ROOT/etc/containerd/config.toml

	mkdir -p "$state"
	[ -e "$state/cni" ] || cni_files >"$state/cni"
	[ -e "$state/dirs" ] || dirs_there >"$state/dirs"
	[ -z "$1" ] || base64 -d <<<"$1" | write "$ROOT/etc/apt/sources.list.d/xmasq-provision.list" || true
	if [ -n "$2" ] && [ "$(base64 -w 0 "$ROOT/etc/apt/keyrings/xmasq-provision.gpg" 2>/dev/null)" != "$2" ]; then
		own "$ROOT/etc/apt/keyrings/xmasq-provision.gpg"
		base64 -d <<<"$2" >"$ROOT/etc/apt/keyrings/xmasq-provision.gpg"
	fi
	for p in containerd iptables conntrack kubeadm kubelet kubectl; do
		installed "$p" || missing+=("$p")
	done
	if [ ${#missing[@]} != 0 ]; then
		apt-get -q update
		for p in "${missing[@]}"; do
			# Not into "grep -q", which ends at the first match: apt-cache would die of the pipe.
			policy=$(apt-cache policy "$p")
			[[ $policy == *$'\n  Candidate: '[^\(]* ]] ||
				die "apt knows no package $p: give --apt-list (and --apt-key) of a source that has it"
		done
		# With what comes along; upgrades have the old version in brackets. Before: what an interrupted
		# installation leaves is ours as well.
		apt-get -s install -y --no-remove --no-install-recommends "${missing[@]}" |
			awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' >>"$state/packages"
		apt-get -q install -y --no-remove --no-install-recommends "${missing[@]}"
	fi
	printf 'overlay\nbr_netfilter\n' | write "$ROOT/etc/modules-load.d/xmasq-provision.conf" || true
	grep -qsw overlay "$ROOT/proc/filesystems" || module overlay /sys/module/overlay
	module br_netfilter /proc/sys/net/bridge
	for name in net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables; do
		value=$(sysctl -n "$name")
		grep -qs "^$name=" "$state/sysctls" || echo "$name=$value" >>"$state/sysctls"
		[ "$value" = 1 ] || sysctl -q -w "$name=1"
	done
	printf 'net.ipv4.ip_forward = 1\nnet.bridge.bridge-nf-call-iptables = 1\n' |
		write "$ROOT/etc/sysctl.d/90-xmasq-provision.conf" || true
	# CNI manifests put their plugins below /opt/cni; kubeadm's kubelet uses systemd's groups.
	write "$config" <<-'END' && changed=1
	version = 2
	[plugins."io.containerd.grpc.v1.cri".cni]
	  bin_dir = "/opt/cni/bin"
	  conf_dir = "/etc/cni/net.d"
	[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
	  runtime_type = "io.containerd.runc.v2"
	[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
	  SystemdCgroup = true
	END
	[ -z "$changed" ] || systemctl restart containerd
	say "prepared"
}

# init CIDR ADDRESS: the control plane, once; ADDRESS may be "". With a configuration that provision.sh has
# sent, that is all that kubeadm is told.
step_init() {
	if [ -e "$state/initialised" ]; then
		say "the control plane is there"
	else
		mkdir -p "$state"
		# What a failed one leaves, admin.conf too, is in the way of the next.
		[ ! -e "$state/cluster" ] || kubeadm reset -f
		: >"$state/cluster"
		if [ -e "$state/kubeadm.yaml" ]; then
			kubeadm init --config "$state/kubeadm.yaml"
		else
			kubeadm init --pod-network-cidr="$1" ${2:+--apiserver-advertise-address="$2"}
		fi
		: >"$state/initialised"
	fi
	# Pods run on both hosts. Which one it is depends on the version.
	kubectl taint nodes --all node-role.kubernetes.io/control-plane- 2>/dev/null || true
	kubectl taint nodes --all node-role.kubernetes.io/master- 2>/dev/null || true
}

# token: the command that joins another host
step_token() { kubeadm token create --print-join-command; }

# joined: 0 when it has, 2 when that began and did not end
step_joined() {
	[ ! -e "$state/joined" ] || return 0
	[ ! -e "$state/cluster" ] || return 2
	return 1
}

# name: that kubeadm gives this host's node
step_name() { hostname | tr '[:upper:]' '[:lower:]'; }

# forget NODE: on the control plane, when its host is to join once more
step_forget() { kubectl delete node "$1" --ignore-not-found; }

# join COMMAND...: what "token" said
step_join() {
	if [ -e "$state/joined" ]; then
		say "the host has joined"
		return
	fi
	[ "${1:-} ${2:-}" = "kubeadm join" ] || die "the control plane gave no join command, but: $*"
	mkdir -p "$state"
	# What a failed one leaves is in the way of the next.
	[ ! -e "$state/cluster" ] || kubeadm reset -f
	: >"$state/cluster"
	"$@"
	: >"$state/joined"
}

# cni and image: files that provision.sh has sent, as they may be too long for an argument
step_cni() { kubectl apply -f "$state/cni.yaml"; }
step_image() {
	ctr -n k8s.io images import "$state/image.tar"
	rm -f "$state/image.tar"
}

# apply MANIFEST and delete MANIFEST: in base64
step_apply() { base64 -d <<<"$1" | kubectl apply -f -; }
step_delete() {
	[ ! -e "$KUBECONFIG" ] || base64 -d <<<"$1" | kubectl delete --ignore-not-found -f -
}

# ready SECONDS [RESOURCE...]: both nodes, then DaemonSets of kube-system
step_ready() {
	local seconds=$1 ds end=$((SECONDS + $1))
	shift

	until [ "$(kubectl get nodes -o name | wc -l)" -ge 2 ]; do
		[ $SECONDS -lt $end ] || die "the cluster has fewer than two nodes after $seconds s: 'kubectl get nodes'," \
			"and 'journalctl -u kubelet' on the host that is missing"
		sleep 1
	done
	kubectl wait --for=condition=Ready nodes --all --timeout="${seconds}s"
	for ds; do
		kubectl -n kube-system rollout status "daemonset/$ds" --timeout="${seconds}s"
	done
}

# has DAEMONSET: 0 when the cluster has it
step_has() {
	[ -e "$KUBECONFIG" ] && kubectl -n kube-system get "daemonset/$1" >/dev/null 2>&1
}

# reset: out of the cluster, if we brought it there
step_reset() {
	if [ ! -e "$state/cluster" ]; then
		say "no cluster of provision.sh here"
		return
	fi
	kubeadm reset -f
	cni_files -depth | { grep -vxFf "$state/cni" || true; } | xargs -rd '\n' rm -rf --
	rm -rf "$ROOT/root/.kube/cache"
	rm -f "$state/cluster" "$state/initialised" "$state/joined"
}

# restore: settings and packages as they were
step_restore() {
	local f to line more packages=()

	[ -d "$state" ] || {
		say "nothing of provision.sh here"
		return
	}
	[ ! -e "$state/cluster" ] || die "still in the cluster: 'reset' comes first"
	if [ -s "$state/packages" ]; then
		mapfile -t packages < <(sort -u "$state/packages")
		more=$(apt-get -s purge -y --allow-change-held-packages "${packages[@]}" |
			awk '$1 == "Remv" || $1 == "Purg" { print $2 }' | { grep -vxFf "$state/packages" || true; })
		[ -z "$more" ] || die "packages installed since would go along: ${more//$'\n'/ }. Remove them, or take" \
			"what they need out of $state/packages to keep that"
	fi
	for f in "$state"/files/*; do
		[ -e "$f" ] || continue
		to=$ROOT$(tr % / <<<"$(basename "$f" .none)")
		case $f in
		*.none) rm -f "$to" ;;
		*) cp -a "$f" "$to" ;;
		esac
	done
	while read -r line; do
		sysctl -q -w "$line" || true
	done < <(cat "$state/sysctls" 2>/dev/null)
	[ ${#packages[@]} = 0 ] || apt-get -q purge -y --allow-change-held-packages "${packages[@]}"
	! installed containerd || systemctl restart containerd
	[ ! -e "$state/dirs" ] || dirs_away
	rm -rf "$state"
	say "as before; a reboot takes away the rules and interfaces of kube-proxy and the CNI"
}

step=${1:-}
[ "$(type -t "step_$step")" = function ] || die "provision-host.sh: no step '$step'"
shift
"step_$step" "$@"
