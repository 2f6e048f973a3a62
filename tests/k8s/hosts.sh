#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Two Debian hosts on this machine for scripts/provision.sh, reached by ssh and nothing else. 'hosts.sh
# --help' for the commands.
#
#     lab: ssh, scripts/provision.sh
#      │ 10.78.0.254
#   ───┴──┬────────── bridge ──┬────────
#         │ eth0 10.78.0.1     │ eth0 10.78.0.2
#       one                  two            systemd, sshd, apt (tests/scripts/package-root.sh)
#
# They reach no archive and no registry. What a user with such hosts has to bring is made here: an
# archive of packages, with Kubernetes as build.sh builds it, and one of images. In these, three are
# not what their names say, since Debian has no package of the real ones: "flannel" sets up the same
# interface and routes by a script (flannel.yml), CoreDNS does not run, and crictl is a script on ctr.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)

usage() {
	cat <<-'END'
	usage: tests/k8s/hosts.sh [--name NAME] COMMAND

	  up                make the hosts and start them, wait until ssh answers
	  down              take them away, also what is left of an interrupted run
	  ssh HOST COMMAND  one or two, as root
	  lab COMMAND...    in the network of the hosts, such as scripts/provision.sh
	  dir               print where the files for provision.sh are: ssh (for --ssh), flannel.yml,
	                    kubeadm.yaml, hosts.list (for --apt-list), images.tar

	  --name NAME  letters and digits, at most 6 (default prov)
	END
}

say() { printf 'hosts: [%s s] %s\n' "$SECONDS" "$*" >&2; }
die() {
	printf 'hosts: error: %s\n' "$*" >&2
	exit 1
}

name=prov
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
[[ $name =~ ^[a-z0-9]{1,6}$ ]] || die "--name '$name': give 1 to 6 small letters and digits"
[ $# -ge 1 ] || {
	usage >&2
	exit 2
}
[ "$(id -u)" = 0 ] || die "needs root: run with sudo"

prefix=xmh$name
run=${XMASQ_K8S_RUN:-/var/tmp}/$prefix
lab=$prefix-lab
repository=xmasq.test
hosts=(one two)
export XM_HOST=1

address() { case $1 in one) echo 10.78.0.1 ;; two) echo 10.78.0.2 ;; *) die "no host '$1'" ;; esac; }
in_lab() { nsenter --net="/run/netns/$lab" "$@"; }
machine() { "$here/../scripts/package-root.sh" "$@"; }

to() {
	local host=$1
	shift
	# shellcheck disable=SC2046 # words
	in_lab $(cat "$run/ssh") "root@$(address "$host")" "$@"
}

down() {
	local h

	for h in "${hosts[@]}"; do
		[ ! -e "$run/$h/pid" ] || machine halt "$run/$h"
	done
	for h in lab "${hosts[@]}"; do
		[ ! -e "/run/netns/$prefix-$h" ] || ip netns del "$prefix-$h"
	done
	! grep -qF " $run/" /proc/self/mountinfo || die "something is mounted below $run: see /proc/self/mountinfo"
	rm -rf "$run"
}

network() {
	local h

	ip netns add "$lab"
	ip -n "$lab" link set lo up
	ip -n "$lab" link add br0 type bridge
	ip -n "$lab" addr add 10.78.0.254/24 dev br0
	ip -n "$lab" link set br0 up
	for h in "${hosts[@]}"; do
		ip netns add "$prefix-$h"
		ip -n "$prefix-$h" link set lo up
		ip -n "$lab" link add "$h" type veth peer name eth0 netns "$prefix-$h"
		ip -n "$lab" link set "$h" master br0 up
		ip -n "$prefix-$h" addr add "$(address "$h")/24" dev eth0
		ip -n "$prefix-$h" link set eth0 up
		ip -n "$prefix-$h" route add default via 10.78.0.254
	done
}

# package NAME DEPENDS: of the files below $run/deb
package() {
	local d=$run/deb

	mkdir -p "$d/DEBIAN"
	cat >"$d/DEBIAN/control" <<-END2
	Package: $1
	Version: 1.20.2
	Architecture: amd64
	Maintainer: the tests of xmasq
	Depends: $2
	Description: $1, as tests/k8s/build.sh builds it
	END2
	dpkg-deb --root-owner-group -Znone -b "$d" "$run/repo/$1.deb" >/dev/null
	rm -rf "$d"
}

# What the hosts' apt will know: Kubernetes, and what Debian's packages need that the root has not.
packages() {
	local bin=$1 root=$2 d=$run/deb f

	mkdir -p "$run/repo/partial"
	apt-get -qq -y --download-only --no-install-recommends -o Dir::State::status="$root/var/lib/dpkg/status" \
		-o Dir::Cache::archives="$run/repo" -o Debug::NoLocking=1 -o APT::Sandbox::User=root \
		install containerd iptables conntrack socat ethtool >"$run/apt.log" 2>&1 ||
		die "apt-get could not download the hosts' packages: $(tail -n 3 "$run/apt.log")"
	rm -rf "$run/repo/partial" "$run/repo/lock"
	install -D -m 755 "$bin/kubectl" "$d/usr/bin/kubectl"
	package kubectl libc6
	install -D -m 755 "$here/crictl" "$d/usr/bin/crictl"
	package cri-tools libc6
	for f in bridge host-local loopback portmap; do
		install -D -m 755 "/usr/lib/cni/$f" "$d/opt/cni/bin/$f"
	done
	package kubernetes-cni libc6
	install -D -m 755 "$bin/kubelet" "$d/usr/bin/kubelet"
	mkdir -p "$d/lib/systemd/system" "$d/etc/default" "$d/DEBIAN"
	cat >"$d/lib/systemd/system/kubelet.service" <<-'END2'
	[Unit]
	Description=kubelet
	After=containerd.service
	[Service]
	Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"
	Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
	EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
	EnvironmentFile=-/etc/default/kubelet
	ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
	Restart=always
	RestartSec=3
	StartLimitInterval=0
	[Install]
	WantedBy=multi-user.target
	END2
	# A cloud's metadata service would be asked for credentials of a registry.
	printf '%s\n' AWS_EC2_METADATA_DISABLED=true AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:9 \
		>"$d/etc/default/kubelet"
	printf '%s\n' '#!/bin/sh' 'systemctl daemon-reload && systemctl enable -q --now kubelet' >"$d/DEBIAN/postinst"
	printf '%s\n' '#!/bin/sh' 'systemctl disable -q --now kubelet' >"$d/DEBIAN/prerm"
	chmod 755 "$d/DEBIAN/postinst" "$d/DEBIAN/prerm"
	package kubelet "kubernetes-cni, iptables, iproute2, mount, util-linux, socat, ethtool, conntrack"
	install -D -m 755 "$bin/kubeadm" "$d/usr/bin/kubeadm"
	package kubeadm "kubelet, kubectl, cri-tools"
	(cd "$run/repo" && dpkg-scanpackages -m . 2>/dev/null >Packages)
	echo 'deb [trusted=yes] file:/mnt/repo ./' >"$run/hosts.list"
}

# One image under all names: each runs one program of it.
images() {
	local bin=$1 f args=()

	for f in $("$bin/kubeadm" config images list --kubernetes-version v1.20.2 --image-repository $repository) \
		$repository/flannel:script "$(containerd config default | sed -n 's/^ *sandbox_image = "\(.*\)"/\1/p')"; do
		args+=(--tag "$f")
	done
	for f in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
		args+=(--add "$bin/$f")
	done
	args+=(--add "$bin/kube-proxy=/usr/local/bin" --add "$tree/build/tests/tools/xmt-flow")
	for f in etcd conntrack iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
		args+=(--add "$f")
	done
	for f in /usr/lib/*/xtables/*.so; do
		args+=(--add "$f=${f%/*}")
	done
	for f in ip bridge; do
		args+=(--add "$f=/usr/sbin")
	done
	(cd "$tree" && scripts/image.sh "${args[@]}" --output "$run/image" netperf) >/dev/null
	mv "$run/image/netperf.tar" "$run/images.tar"
	rm -rf "$run/image"
}

start() {
	local h=$1 root=$2 d=$run/$1

	mkdir -p "$d/share"
	echo "$root" >"$d/root"
	cp -al "$run/repo" "$d/share/repo"
	cp -a "$root" "$d/up.part"
	echo "$h" >"$d/up.part/etc/hostname"
	printf '127.0.0.1 localhost\n10.78.0.1 one\n10.78.0.2 two\n' >"$d/up.part/etc/hosts"
	: >"$d/up.part/etc/apt/sources.list"
	rm -f "$d/up.part/etc/machine-id" "$d/up.part/etc/resolv.conf"
	: >"$d/up.part/etc/machine-id"
	: >"$d/up.part/etc/resolv.conf"
	: >"$d/up.part/etc/default/locale"
	install -D -m 600 "$run/key.pub" "$d/up.part/root/.ssh/authorized_keys"
	# This machine's root may not give a process a better place with the out-of-memory killer, which
	# containerd's configuration, provision.sh's on these hosts, has no word for.
	cat >"$d/up.part/usr/local/sbin/runc" <<-'END2'
	#!/bin/sh
	case " $* " in
	*" create "*) for a; do [ ! -f "$a/config.json" ] || sed -i 's/"oomScoreAdj":-[0-9]*/"oomScoreAdj":0/' "$a/config.json"; done ;;
	esac
	exec /usr/sbin/runc "$@"
	END2
	chmod 755 "$d/up.part/usr/local/sbin/runc"
	mv "$d/up.part" "$d/up"
	XM_NETNS=$prefix-$h machine boot "$d"
}

undo() {
	local rc=$?

	trap - EXIT
	[ $rc = 0 ] || [ -n "${HOSTS_KEEP:-}" ] || down
	exit $rc
}

up() {
	local bin root h end

	for h in ssh ssh-keygen dpkg-scanpackages debootstrap containerd etcd iptables conntrack busybox; do
		command -v $h >/dev/null || die "$h is missing: run 'sudo scripts/setup.sh k8s package provision'"
	done
	bin=$("$here/build.sh" --print-dir)
	root=$(machine make systemd systemd-sysv dbus openssh-server kmod iproute2 iputils-ping procps) || die "$root"
	down
	# Whatever goes wrong from here leaves nothing.
	trap undo EXIT
	trap 'exit 130' INT TERM HUP
	mkdir -p "$run"
	ssh-keygen -q -t ed25519 -N '' -f "$run/key"
	echo "ssh -i $run/key -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=$run/known -o LogLevel=ERROR" \
		>"$run/ssh"
	cp "$here/flannel.yml" "$here/kubeadm.yaml" "$run/"
	packages "$bin" "$root"
	images "$bin"
	say "packages and images are made"
	network
	for h in "${hosts[@]}"; do
		start "$h" "$root"
		end=$((SECONDS + 60))
		until to "$h" true 2>"$run/ssh.err"; do
			[ $SECONDS -lt $end ] || die "waited a minute for ssh to $h: $(cat "$run/ssh.err")"
			sleep 0.5
		done
	done
	say "both hosts answer"
}

command=$1
shift
case $command in
up) up ;;
down) down ;;
ssh)
	[ $# -ge 2 ] || die "ssh: give one or two, and a command"
	to "$@"
	;;
lab) in_lab "$@" ;;
dir) echo "$run" ;;
*)
	usage >&2
	exit 2
	;;
esac
