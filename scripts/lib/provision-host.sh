#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What scripts/provision.sh does on a host. It is sent there and run as root, one step each time:
#
#   provision-host.sh check|prepare|init|join|cni|image|apply|delete|ready|reset|restore [ARGUMENT...]
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
	say "Linux $release, fine"
}

# prepare LIST KEY: packages and settings; LIST and KEY are contents of files, in base64, or ""
step_prepare() {
	local p missing=() changed='' name value config=$ROOT/etc/containerd/config.toml

	mkdir -p "$state"
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
			apt-cache policy "$p" | grep -q '^  Candidate: [^(]' ||
				die "apt knows no package $p: give --apt-list (and --apt-key) of a source that has it"
		done
		# Before: what an interrupted installation leaves is ours as well.
		printf '%s\n' "${missing[@]}" >>"$state/packages"
		apt-get -q install -y --no-install-recommends "${missing[@]}"
	fi
	printf 'overlay\nbr_netfilter\n' | write "$ROOT/etc/modules-load.d/xmasq-provision.conf" || true
	modprobe overlay
	modprobe br_netfilter
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

# init CIDR ADDRESS: the control plane, once; ADDRESS may be ""
step_init() {
	if [ -e "$KUBECONFIG" ]; then
		say "the control plane is there"
	else
		mkdir -p "$state"
		: >"$state/cluster"
		kubeadm init --pod-network-cidr="$1" ${2:+--apiserver-advertise-address="$2"}
	fi
	# Pods run on both hosts.
	kubectl taint nodes --all node-role.kubernetes.io/control-plane- 2>/dev/null || true
}

# token: the command that joins another host
step_token() { kubeadm token create --print-join-command; }

# join COMMAND...: what "token" said
step_join() {
	if [ -e "$ROOT/etc/kubernetes/kubelet.conf" ]; then
		say "the host has joined"
		return
	fi
	[ "${1:-} ${2:-}" = "kubeadm join" ] || die "the control plane gave no join command, but: $*"
	mkdir -p "$state"
	: >"$state/cluster"
	"$@"
}

# image: an archive on standard input (see provision.sh), into the runtime
step_image() { ctr -n k8s.io images import "$1" && rm -f "$1"; }

# apply MANIFEST and delete MANIFEST: in base64
step_apply() { base64 -d <<<"$1" | kubectl apply -f -; }
step_delete() {
	[ ! -e "$KUBECONFIG" ] || base64 -d <<<"$1" | kubectl delete --ignore-not-found -f -
}

# ready SECONDS [RESOURCE...]: nodes, then DaemonSets of kube-system
step_ready() {
	local seconds=$1 ds
	shift

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
	rm -rf "$ROOT/etc/cni/net.d" "$ROOT/var/lib/cni" "$ROOT/root/.kube/cache"
	rm -f "$state/cluster"
}

# restore: settings and packages as they were
step_restore() {
	local f to line packages=()

	[ -d "$state" ] || {
		say "nothing of provision.sh here"
		return
	}
	[ ! -e "$state/cluster" ] || die "still in the cluster: 'reset' comes first"
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
	if [ -s "$state/packages" ]; then
		mapfile -t packages < <(sort -u "$state/packages")
		apt-get -q purge -y --allow-change-held-packages "${packages[@]}"
	fi
	! installed containerd || systemctl restart containerd
	rm -rf "$state"
	say "as before; a reboot takes away the rules and interfaces of kube-proxy and the CNI"
}

step=${1:-}
[ "$(type -t "step_$step")" = function ] || die "provision-host.sh: no step '$step'"
shift
"step_$step" "$@"
