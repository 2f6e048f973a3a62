#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Install what building, the demo and the tests need, from the distribution's own packages.
#
#   scripts/setup.sh [--check|--dry-run] [GROUP...]
#
# Groups: build demo test afxdp k8s vm kernel lint package (default: all of these), and three that are not
# among them: docker, for some of the AF_XDP tests, containers, for the suite of that name, and bench, for
# "bench.sh --apps". k8s, docker, containers and bench may start daemons: etcd, containerd, Docker, nginx,
# Redis, PostgreSQL, memcached. Nothing is ever removed.
# Does nothing, quickly, when all is there.
set -euo pipefail

# Per group: why it is wanted, then its packages. "a|b|c" is one need that any of them meets;
# the first that the archive offers is installed, and none at all is only worth a note. Docker's own
# containerd.io has both containerd and runc in it and conflicts with Debian's.
declare -A why=(
	[build]="compile xmasqd, xmasqctl, xsk-router and the BPF objects"
	[demo]="two nodes in network namespaces, traffic between them, a look at the packets"
	[test]="unit tests, end-to-end tests, packet crafting, fuzzing, a second clang for the verifier"
	[afxdp]="the AF_XDP router's network, other routers and what measures them"
	[k8s]="build Kubernetes from Debian's source package and run it, images, measurements in it"
	[docker]="the AF_XDP tests in containers"
	[containers]="containers of containerd, Docker and podman as pods"
	[bench]="applications between pods and what measures them: bench.sh --apps"
	[vm]="virtual machines with other kernels, and what their test beds are made of"
	[kernel]="build these kernels from Debian's source packages"
	[lint]="static analysis and formatting"
	[package]="build the Debian package, check it, install it in a root of its own"
)
declare -A pkgs=(
	[build]="gcc libc6-dev make clang llvm bpftool pkg-config linux-libc-dev libbpf-dev
		libelf-dev zlib1g-dev libyaml-dev libmnl-dev libjson-c-dev nettle-dev
		libmicrohttpd-dev libxdp-dev"
	[demo]="iproute2 iptables conntrack ethtool tcpdump iperf3 jq procps
		iputils-ping netcat-openbsd util-linux"
	[test]="bats libcmocka-dev valgrind gojq curl nftables wireshark-common python3 python3-scapy
		libclang-rt-dev|libclang-rt-14-dev clang-19|clang-18|clang-17|clang-16"
	[afxdp]="xdp-tools iproute2 ethtool nftables busybox curl iperf3 sockperf jq python3
		iputils-ping procps"
	[k8s]="golang-1.19-go golang-github-modern-go-reflect2-dev dpkg-dev etcd-server
		containerd|containerd.io runc|containerd.io containernetworking-plugins iproute2 iptables
		conntrack openssl busybox iperf3 sockperf jq gojq bpftool util-linux procps openssh-client"
	[docker]="docker.io|docker-ce docker-compose"
	[containers]="containerd|containerd.io containernetworking-plugins docker.io|docker-ce podman
		runc|containerd.io busybox iproute2 ethtool"
	[bench]="nginx-light|nginx-core|nginx wrk redis-server redis-tools postgresql memcached
		libmemcached-tools util-linux"
	[vm]="qemu-system-x86 qemu-system-common kmod xz-utils e2fsprogs
		openvswitch-switch wireguard-tools"
	[kernel]="gcc make libelf-dev cpio linux-source-6.1 linux-source-6.12 xz-utils patch rsync bc
		bison flex libssl-dev dwarves kmod lz4"
	[lint]="shellcheck cppcheck clang-tidy clang-format"
	[package]="git debhelper dpkg-dev fakeroot lintian debootstrap man-db mandoc bash-completion"
)
all_groups="build demo test afxdp k8s vm kernel lint package"
other_groups="docker containers bench"

usage() {
	echo "usage: scripts/setup.sh [--check|--dry-run] [GROUP...]"
	echo "  --check    report what is missing, change nothing, exit 1 when something is"
	echo "  --dry-run  show the commands that would run"
	echo "groups: $all_groups (default), $other_groups"
}

die() {
	echo "setup: $*" >&2
	exit 1
}

mode=install
groups=
for arg in "$@"; do
	case $arg in
	--check) mode=check ;;
	--dry-run) mode=dry-run ;;
	-h | --help)
		usage
		exit 0
		;;
	-*)
		usage >&2
		exit 2
		;;
	*)
		case " $all_groups $other_groups " in
		*" $arg "*) groups+=" $arg" ;;
		*) die "no group '$arg'; groups are: $all_groups $other_groups" ;;
		esac
		;;
	esac
done
groups=${groups:-$all_groups}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	die "this script knows Debian and its derivatives only (no dpkg-query and apt-get here)." \
		"Install the equivalents of: ${pkgs[*]//[[:space:]]/ }"
fi

# Names of all packages of the chosen groups that are installed, one query for the lot.
list=
for g in $groups; do
	list+=" ${pkgs[$g]//|/ }"
done
# shellcheck disable=SC2086 # a list of words
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' $list 2>/dev/null |
	sed -n 's/^installed //p') || true

have() {
	grep -qxF -- "$1" <<<"$installed"
}

# have_any a|b|c: is one of them installed?
have_any() {
	local p
	for p in ${1//|/ }; do
		have "$p" && return 0
	done
	return 1
}

missing=()
for g in $groups; do
	lacks=
	for need in ${pkgs[$g]}; do
		have_any "$need" || lacks+=" $need"
	done
	[ -n "$lacks" ] || continue
	echo "setup: $g (${why[$g]}) lacks:$lacks"
	# shellcheck disable=SC2206 # a list of words
	missing+=($lacks)
done

if [ ${#missing[@]} = 0 ]; then
	[ $mode = install ] || echo "setup: nothing is missing"
	exit 0
fi
[ $mode != check ] || exit 1

apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)

# has_candidate NAME: does the archive offer it?
has_candidate() {
	local policy
	policy=$(LC_ALL=C apt-cache policy "$1")
	grep -q '^  Candidate: [^(]' <<<"$policy"
}

# Sets want to the packages to install, unknown to the needs that nothing in the archive meets.
resolve() {
	local need p choice
	want=() unknown=()
	for need in "${missing[@]}"; do
		choice=
		for p in ${need//|/ }; do
			if has_candidate "$p"; then
				choice=$p
				break
			fi
		done
		if [ -n "$choice" ]; then
			want+=("$choice")
		elif [[ $need == *"|"* ]]; then
			echo "setup: no package of $need here; going on without" >&2
		else
			unknown+=("$need")
		fi
	done
}

if [ $mode = dry-run ]; then
	resolve
	echo "would run: ${apt[*]} update"
	echo "would run: ${apt[*]} install -y --no-remove --no-install-recommends ${want[*]} ${unknown[*]}"
	exit 0
fi
[ "$(id -u)" = 0 ] || die "needs root to install packages: run 'sudo scripts/setup.sh'"

export DEBIAN_FRONTEND=noninteractive
"${apt[@]}" -q update || echo "setup: apt-get update failed; trying with the lists there are" >&2
resolve
[ ${#unknown[@]} = 0 ] || die "this distribution has no package: ${unknown[*]}." \
	"xmasq is built and tested on Debian 12; install the equivalents by hand."
[ ${#want[@]} = 0 ] || "${apt[@]}" -q install -y --no-remove --no-install-recommends "${want[@]}" </dev/null
