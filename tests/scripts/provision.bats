#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# provision.sh against two hosts that are directories: "ssh" runs what it is told right here, with
# ROOT=HOST's directory and stubs of the programs that would change a machine. They note in HOST/log
# what they were called with, and do to the directory what the real ones would.
#
# shellcheck disable=SC2016 # the stubs' own

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	export HOSTS=$BATS_TEST_TMPDIR/hosts STUBS=$BATS_TEST_TMPDIR/stubs
	export XMASQ_FIRST=root@a XMASQ_SECOND=admin@b XMASQ_SSH=$STUBS/ssh XMASQ_TIMEOUT=5
	export XMASQ_CNI=flannel XMASQ_CNI_MANIFEST=$BATS_TEST_TMPDIR/kube-flannel.yml
	export XMASQ_IMAGE_ARCHIVE=$BATS_TEST_TMPDIR/xmasq.tar
	printf 'kind: flannel\n"Network": "10.244.0.0/16"\n' >"$XMASQ_CNI_MANIFEST"
	echo image >"$XMASQ_IMAGE_ARCHIVE"
	for h in a b; do
		mkdir -p "$HOSTS/$h"/{proc,sys/kernel/btf,etc/containerd,var/tmp,var/lib,root}
		echo Filename >"$HOSTS/$h/proc/swaps"
		echo btf >"$HOSTS/$h/sys/kernel/btf/vmlinux"
		echo 'version = 2 # mine' >"$HOSTS/$h/etc/containerd/config.toml"
		echo containerd >"$HOSTS/$h/installed"
		: >"$HOSTS/$h/log"
	done
	echo 'net.ipv4.ip_forward=0' >"$HOSTS/a/sysctls"
	echo 'net.ipv4.ip_forward=1' >"$HOSTS/b/sysctls"
	mkdir -p "$STUBS/bin"
	stub ssh <<-'END'
		host=${1#*@}
		# As sshd does it: one text for the shell there.
		cd /; HOSTNAME=$host ROOT=$HOSTS/$host PATH=$STUBS/bin:$PATH exec sh -c "$2"
	END
	mv "$STUBS/bin/ssh" "$STUBS/ssh"
	# As of root there, in the host's own tree.
	stub tee <<<'cat >"$ROOT$1"'
	stub sudo <<-'END'
		[ "$1" = -n ] && shift
		exec "$@"
	END
	stub uname <<<'echo "${RELEASE:-6.12.5-amd64}"'
	stub id <<<'echo 0'
	stub dpkg-query <<-'END'
		for last; do :; done
		! grep -qx "$last" "$ROOT/installed" || printf installed
	END
	# More than a pipe holds: who does not read it all ends it.
	stub apt-cache <<<'[ "$2" != "$LACKS" ] || exec printf "%s:\n  Candidate: (none)\n" "$2"
		printf "%s:\n  Candidate: 1.2\n" "$2"; exec seq 20000'
	stub apt-get <<-'END'
		echo "apt-get $*" >>"$ROOT/log"
		# kubeadm brings cri-tools along and upgrades libc6; the packages in NEEDS need cri-tools.
		case " $* " in
		*" -s "*install*) echo "Inst libc6 [2.36-1] (2.36-2 Debian:12)" ;;
		*" -s "*purge*) for p in $NEEDS; do echo "Purg $p [1.2]"; done ;;
		esac
		for p; do
			[ "$p" != kubeadm ] || set -- "$@" cri-tools
		done
		for p; do
			case " $* " in
			*" -s "*install*) case $p in -* | install) ;; *) echo "Inst $p (1.2 Debian:12)" ;; esac ;;
			*" -s "*purge*) case $p in -* | purge) ;; *) echo "Purg $p [1.2]" ;; esac ;;
			*" install "*) case $p in -* | install) ;; *) echo "$p" >>"$ROOT/installed" ;; esac ;;
			*" purge "*) sed -i "/^$p\$/d" "$ROOT/installed" ;;
			esac
		done
	END
	stub sysctl <<-'END'
		for last; do :; done
		case $1 in
		-n) grep -s "^$last=" "$ROOT/sysctls" | cut -d = -f 2 | grep . || echo 0 ;;
		*) sed -i "/^${last%=*}=/d" "$ROOT/sysctls"; echo "$last" >>"$ROOT/sysctls" ;;
		esac
	END
	stub kubeadm <<-'END'
		echo "kubeadm $*" >>"$ROOT/log"
		mkdir -p "$ROOT/etc/kubernetes"
		case $1 in
		init) cat "$ROOT/var/lib/xmasq-provision/kubeadm.yaml" >>"$ROOT/log" 2>/dev/null
			[ ! -e "$ROOT/etc/kubernetes/admin.conf" ] || { echo "kubeadm: is there" >&2; exit 1; }
			touch "$ROOT/etc/kubernetes/admin.conf" ;;
		esac
		case $1 in
		join) # What it leaves is in the way of the next one.
			[ ! -e "$ROOT/etc/kubernetes/pki" ] || { echo "kubeadm: ca.crt is there" >&2; exit 1; }
			mkdir "$ROOT/etc/kubernetes/pki"
			[ "${FAIL:-}" != joined ] || { touch "$ROOT/etc/kubernetes/kubelet.conf"; exit 1; } ;;
		esac
		[ -z "${FAIL:-}" ] || [ "$FAIL" != "$1" ] || { echo "kubeadm: $1 failed" >&2; exit 1; }
		case $1 in
		init | join) # What a CNI does later.
			mkdir -p "$ROOT/etc/cni/net.d" "$ROOT/var/lib/cni/results" "$ROOT/var/lib/etcd" "$ROOT/var/lib/kubelet"
			touch "$ROOT/etc/cni/net.d/10-flannel.conflist" "$ROOT/var/lib/cni/results/x" ;;
		esac
		case $1 in
		init) touch "$ROOT/etc/kubernetes/admin.conf" "$ROOT/etc/kubernetes/kubelet.conf" ;;
		join) touch "$ROOT/etc/kubernetes/kubelet.conf" ;;
		token) echo "kubeadm join 192.0.2.1:6443 --token abc --discovery-token-ca-cert-hash sha256:1" ;;
		reset) rm -rf "$ROOT/etc/kubernetes" ;;
		esac
	END
	stub kubectl <<-'END'
		echo "kubectl $*" >>"$ROOT/log"
		case "$*" in
		*"get daemonset/"*) [ -e "$ROOT/etc/kubernetes/admin.conf" ] && grep -qsx "  name: ${*##*/}" "$STUBS/there" ;;
		*" -f -")
			grep -E '^(kind|  name): ' >"$STUBS/text"
			sed 's/^/  /' "$STUBS/text" >>"$ROOT/log"
			case $1 in
			apply) cat "$STUBS/text" >>"$STUBS/there" ;;
			*) grep -vxFf "$STUBS/text" "$STUBS/there" >"$STUBS/rest"; mv "$STUBS/rest" "$STUBS/there" ;;
			esac ;;
		"get nodes -o name") printf 'node/a\nnode/b\n' ;;
		"apply -f "*) grep '^kind: ' "$3" | sed 's/^/  /' >>"$ROOT/log" ;;
		*"rollout status daemonset/${FAIL:-none} "*) exit 1 ;;
		esac
	END
	stub hostname <<<'echo "${ROOT##*/}" | tr a-z A-Z'
	stub ctr <<-'END'
		echo "ctr $*" >>"$ROOT/log"
		mkdir -p "$ROOT/var/lib/containerd" && echo image >"$ROOT/var/lib/containerd/content"
	END
	for p in systemctl modprobe; do
		stub "$p" <<<'echo "${0##*/} $*" >>"$ROOT/log"'
	done
}

stub() { { echo '#!/bin/sh'; cat; } >"$STUBS/bin/$1" && chmod +x "$STUBS/bin/$1"; }

# tree: all that is on the hosts, but for the stubs' own notes
tree() { (cd "$HOSTS" && find . -type f ! -name log ! -name sysctls ! -path '*/tmp/*' -exec sha256sum {} + | sort -k 2
	find . -type d ! -path '*/etc/*' ! -path '*/tmp/*' | sort; sort ./*/sysctls); }

lines() { grep -c -- "$2" "$HOSTS/$1/log" || :; }

@test "provision: two hosts become a cluster with a CNI and xmasq" {
	# Antrea's manifest is longer than an argument may be.
	yes "# $(printf '%98s' '')" | head -c $((150 << 10)) >>"$XMASQ_CNI_MANIFEST"
	run scripts/provision.sh
	echo "$output"; cat "$HOSTS"/*/log
	[ "$status" -eq 0 ]
	[ "$(lines a 'kubeadm init --pod-network-cidr=10.244.0.0/16')" = 1 ]
	[ "$(lines b 'kubeadm join 192.0.2.1:6443 --token abc --discovery-token-ca-cert-hash sha256:1')" = 1 ]
	[ "$(lines a 'kind: flannel')" = 1 ]
	[ "$(lines a 'kind: DaemonSet')" = 1 ]
	[ "$(lines a 'rollout status daemonset/xmasq ')" = 1 ]
	for h in a b; do
		[ "$(lines $h 'ctr -n k8s.io images import')" = 1 ]
		[ "$(lines $h 'systemctl restart containerd')" = 1 ]
		grep -q SystemdCgroup "$HOSTS/$h/etc/containerd/config.toml"
		grep -qx net.ipv4.ip_forward=1 "$HOSTS/$h/sysctls"
		grep -qx kubeadm "$HOSTS/$h/installed"
		[ ! -e "$HOSTS/$h/var/lib/xmasq-provision/image.tar" ]
	done
	cmp "$XMASQ_CNI_MANIFEST" "$HOSTS/a/var/lib/xmasq-provision/cni.yaml"
}

@test "provision: a configuration for kubeadm, and images for hosts that reach no registry" {
	printf 'networking:\n  podSubnet: 10.244.0.0/16\nimageRepository: ours\n' >"$BATS_TEST_TMPDIR/kubeadm.yaml"
	echo images >"$BATS_TEST_TMPDIR/images.tar"
	run scripts/provision.sh --kubeadm-config "$BATS_TEST_TMPDIR/kubeadm.yaml" --images "$BATS_TEST_TMPDIR/images.tar"
	echo "$output"; cat "$HOSTS"/*/log
	[ "$status" -eq 0 ]
	[ "$(lines a 'kubeadm init --config .*/var/lib/xmasq-provision/kubeadm.yaml$')" = 1 ]
	[ "$(lines a 'imageRepository: ours')" = 1 ]
	for h in a b; do
		[ "$(lines $h 'ctr -n k8s.io images import')" = 2 ]
		# Before anything wants one.
		[ "$(grep -E 'ctr|kubeadm (init|join)' "$HOSTS/$h/log" | sed -n '1s/ .*//p')" = ctr ]
	done
	sed -i s/10.244/10.245/ "$BATS_TEST_TMPDIR/kubeadm.yaml"
	run scripts/provision.sh --kubeadm-config "$BATS_TEST_TMPDIR/kubeadm.yaml"
	[[ $status -eq 2 && $output == *"is not the podSubnet in"* ]]
}

@test "provision: a package that the hosts' apt does not know is named" {
	LACKS=kubeadm run scripts/provision.sh
	echo "$output"
	[[ $status -eq 1 && $output == *"apt knows no package kubeadm: give --apt-list"* ]]
	[ "$(lines a 'apt-get -q install')" = 0 ]
}

@test "provision: a kernel with everything built in needs no modules, one without is refused" {
	stub modprobe <<<'exit 1'
	run scripts/provision.sh
	echo "$output"
	[[ $status -eq 1 && $output == *"the kernel has no overlay"* ]]
	for h in a b; do
		printf 'nodev\toverlay\n' >"$HOSTS/$h/proc/filesystems"
		mkdir -p "$HOSTS/$h/proc/sys/net/bridge"
	done
	scripts/provision.sh
}

@test "provision: repeated, it changes nothing more" {
	scripts/provision.sh
	tree >"$BATS_TEST_TMPDIR/once"
	run scripts/provision.sh
	echo "$output"; cat "$HOSTS"/*/log
	[ "$status" -eq 0 ]
	tree | diff "$BATS_TEST_TMPDIR/once" -
	[ "$(lines a 'kubeadm init')" = 1 ]
	[ "$(lines b 'kubeadm join')" = 1 ]
	[ "$(lines a 'kubeadm token')" = 1 ]
	for h in a b; do
		[ "$(lines $h 'apt-get -q install')" = 1 ]
		[ "$(lines $h 'systemctl restart')" = 1 ]
	done
}

@test "provision: a join that failed half way is taken back and done again" {
	local at resets=0

	# Before and after the kubelet has its certificate, and its node is in the cluster.
	for at in join joined; do
		FAIL=$at run scripts/provision.sh
		echo "$output"
		[ "$status" -eq 1 ]
		[[ $output == *"join failed on admin@b"*"run this again"* ]]
		[ "$(lines b 'kubeadm reset')" = $resets ]
		[ -e "$HOSTS/b/etc/kubernetes/pki" ]
		resets=$((resets + 1))
	done
	run scripts/provision.sh
	echo "$output"; cat "$HOSTS"/*/log
	[ "$status" -eq 0 ]
	[ "$(lines a 'kubeadm init')" = 1 ]
	[ "$(lines b 'kubeadm reset')" = 2 ]
	[ "$(lines a 'kubectl delete node b --ignore-not-found')" = 2 ]
	[ "$(lines a 'rollout status daemonset/xmasq ')" = 1 ]
}

@test "provision: a control plane that failed half way is made anew" {
	FAIL=init run scripts/provision.sh
	echo "$output"
	[[ $status -eq 1 && $output == *"init failed on root@a"* ]]
	[ -e "$HOSTS/a/etc/kubernetes/admin.conf" ]
	run scripts/provision.sh
	echo "$output"; cat "$HOSTS"/*/log
	[ "$status" -eq 0 ]
	[ "$(lines a 'kubeadm reset -f')" = 1 ]
	[ "$(lines a 'kubeadm init')" = 2 ]
	scripts/provision.sh --undo
	[ ! -e "$HOSTS/a/var/lib/xmasq-provision" ]
}

@test "provision --undo: a cleanup that failed is done again, and no answer is not a no" {
	scripts/provision.sh
	FAIL=xmasq-cleanup run scripts/provision.sh --undo
	echo "$output"
	[[ $status -eq 1 && $output == *"ready failed on root@a"* ]]
	mv "$STUBS/ssh" "$STUBS/connects"
	stub ssh <<-'END'
		case $2 in *" has "*) exit 255 ;; esac
		exec "$STUBS/connects" "$@"
	END
	XMASQ_SSH=$STUBS/bin/ssh run scripts/provision.sh --undo
	echo "$output"
	[[ $status -eq 1 && $output == *"root@a cannot be asked"* ]]
	[ "$(lines a 'kubeadm reset')" = 0 ]
	mv "$STUBS/connects" "$STUBS/ssh"
	run scripts/provision.sh --undo
	echo "$output"; cat "$HOSTS/a/log"
	[ "$status" -eq 0 ]
	[ "$(lines a 'rollout status daemonset/xmasq-cleanup')" = 2 ]
}

@test "provision --undo: a package that came later is not taken along" {
	scripts/provision.sh
	NEEDS='a-tool another' run scripts/provision.sh --undo
	echo "$output"
	[[ $status -eq 1 && $output == *"would go along: a-tool another. "* ]]
	grep -qx kubeadm "$HOSTS/b/installed"
	scripts/provision.sh --undo
	[ "$(cat "$HOSTS/b/installed")" = containerd ]
}

@test "provision --undo: files, packages, sysctls and xmasq's traces are as they were" {
	mkdir -p "$HOSTS/b/etc/cni/net.d"
	echo mine >"$HOSTS/b/etc/cni/net.d/87-podman-bridge.conflist"
	# Where containerd comes with us its images go with it; somebody's own stay, and directories, too.
	sed -i /containerd/d "$HOSTS/a/installed"
	mkdir -p "$HOSTS/b/var/lib/containerd" "$HOSTS/b/var/lib/kubelet"
	echo image >"$HOSTS/b/var/lib/containerd/content"
	tree >"$BATS_TEST_TMPDIR/before"
	scripts/provision.sh
	run scripts/provision.sh --undo
	echo "$output"; cat "$HOSTS"/*/log
	[ "$status" -eq 0 ]
	# What stands at 0 in both: bridge-nf-call was not there before, and is 0 as it was read.
	sed -i /bridge-nf-call/d "$HOSTS"/*/sysctls
	tree | diff "$BATS_TEST_TMPDIR/before" -
	[ "$(lines a 'name: xmasq-cleanup')" -gt 0 ]
	[ "$(lines a 'rollout status daemonset/xmasq-cleanup')" = 1 ]
	[ "$(lines b 'kubeadm reset -f')" = 1 ]
	[ "$(lines b 'apt-get -q purge.*kubeadm')" = 1 ]
	# containerd was there before us.
	[ "$(lines b 'purge.*containerd')" = 0 ]
	# Nothing to undo is no error.
	scripts/provision.sh --undo
}

@test "provision: a host in somebody's cluster, with swap, or with an old kernel is left alone" {
	mkdir "$HOSTS/b/etc/kubernetes" && touch "$HOSTS/b/etc/kubernetes/kubelet.conf"
	run scripts/provision.sh
	echo "$output"
	[ "$status" -eq 1 ]
	[[ $output == *"did not make"* ]]
	[ ! -s "$HOSTS/a/log" ] && [ ! -s "$HOSTS/b/log" ]
	scripts/provision.sh --undo
	[ -e "$HOSTS/b/etc/kubernetes/kubelet.conf" ]
	rm -r "$HOSTS/b/etc/kubernetes"
	echo containerd.io >>"$HOSTS/b/installed"
	run scripts/provision.sh
	echo "$output"
	[[ $status -eq 1 && $output == *"containerd.io"* ]]
	sed -i /containerd.io/d "$HOSTS/b/installed"
	echo /dev/sda2 >>"$HOSTS/b/proc/swaps"
	run scripts/provision.sh
	[[ $status -eq 1 && $output == *"swap is on"* ]]
	sed -i 2d "$HOSTS/b/proc/swaps"
	for r in 5.10.0-9 6.3.1; do
		RELEASE=$r run scripts/provision.sh
		echo "$output"
		[[ $status -eq 1 && $output == *"needs 6.1"* ]]
	done
	[ ! -s "$HOSTS/a/log" ] && [ ! -s "$HOSTS/b/log" ]
}

@test "provision --dry-run says what would be run where, and connects to nobody" {
	stub ssh <<<'exit 99'
	mv "$STUBS/bin/ssh" "$STUBS/ssh"
	run scripts/provision.sh --dry-run
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output == *"root@a: bash -s -- check"*"admin@b: sudo -n bash -s -- check"*"init 10.244.0.0/16"* ]]
	[[ $output == *"admin@b: sudo -n bash -s -- join"*"ready 5 xmasq"* ]]
	run scripts/provision.sh --undo --dry-run
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output == *"ready 5 xmasq-cleanup"*"admin@b: sudo -n bash -s -- reset"*"root@a: bash -s -- restore"* ]]
	[ ! -s "$HOSTS/a/log" ]
}

@test "provision: arguments that make no sense are refused with a hint" {
	local args

	for args in "--cni calico" "--first" "--first -oProxyCommand=x" "--second root@a" "--pod-cidr 10.0.0.0" \
			"--pod-cidr 10.9.0.0/16" "--cni-manifest /nonexistent" "--timeout 0" "--bogus" \
			"--cni antrea" "--image-archive /nonexistent" "--apt-list /nonexistent" "--advertise a;b" \
			"--images /nonexistent" "--kubeadm-config /nonexistent"; do
		# shellcheck disable=SC2086 # words
		run scripts/provision.sh $args
		echo "$args: $status: $output"
		[ "$status" -eq 2 ]
		[[ $output == *"try --help"* ]]
	done
	unset XMASQ_FIRST
	run scripts/provision.sh
	[[ $status -eq 2 && $output == *"--first"* ]]
	run scripts/provision.sh --help
	[ "$status" -eq 0 ]
	[[ $output == *"Not"*"with a newer kubeadm"* ]]
}
