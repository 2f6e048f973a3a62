#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Make a Kubernetes of two hosts that you have, with a CNI and xmasq, over ssh; or undo that.
# 'provision.sh --help' for the options. What is done on a host is in lib/provision-host.sh.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
	cat <<-'END'
	usage: scripts/provision.sh --first HOST --second HOST --cni flannel|antrea --cni-manifest FILE [OPTION...]
	       scripts/provision.sh --first HOST --second HOST --undo [OPTION...]

	Two Debian hosts become a Kubernetes cluster with kubeadm: the first is the control plane, pods run on
	both; then the CNI, then xmasq as a DaemonSet. Each step looks first and may be repeated. Each
	option may also be given in the environment.

	  --first HOST         as ssh takes it, such as root@192.0.2.1          XMASQ_FIRST
	  --second HOST                                                         XMASQ_SECOND
	  --cni NAME           flannel or antrea                                XMASQ_CNI
	  --cni-manifest FILE  kube-flannel.yml or antrea.yml of the version    XMASQ_CNI_MANIFEST
	                       that you want, from its project's releases
	  --pod-cidr CIDR      (default 10.244.0.0/16, as in flannel's manifest) XMASQ_POD_CIDR
	  --advertise ADDRESS  of the first host, where it has several          XMASQ_ADVERTISE
	  --kubeadm-config FILE                                                 XMASQ_KUBEADM_CONFIG
	                       for 'kubeadm init', which is told nothing else
	                       then: imageRepository of a mirror, and so on.
	                       Its podSubnet has to be --pod-cidr
	  --images FILE        images for both hosts, where no registry is in    XMASQ_IMAGES
	                       reach, as 'ctr images export' or 'docker save'
	                       write them: those of 'kubeadm config images
	                       list' and of the CNI's manifest, and the
	                       sandbox_image of 'containerd config default'
	  --apt-list FILE      a sources.list with kubeadm, kubelet, kubectl,   XMASQ_APT_LIST
	                       unless the hosts' apt knows them; its key, when
	                       --apt-key gives one, will be
	                       /etc/apt/keyrings/xmasq-provision.gpg
	  --apt-key FILE                                                        XMASQ_APT_KEY
	  --image-archive FILE (default build/image/xmasq.tar, which            XMASQ_IMAGE_ARCHIVE
	                       `make && scripts/image.sh --tag xmasq:local xmasq` writes)
	  --no-xmasq           the cluster only
	  --timeout SEC        for nodes and pods to be ready (default 300)     XMASQ_TIMEOUT
	  --ssh COMMAND        (default ssh -o BatchMode=yes)                   XMASQ_SSH
	  --sudo COMMAND       on the hosts (default: none for root@, else      XMASQ_SUDO
	                       sudo -n)
	  --undo               take xmasq and its traces, the cluster, and what was installed and set away
	                       again; what was there before is put back
	  --dry-run            print what would be run where, and connect to nobody

	What this script has been run against: two Debian 12 hosts that reach no archive and no registry,
	with kubeadm 1.20.2 (tests/k8s/provision.bats), and stubs (tests/scripts/provision.bats). Not
	with a newer kubeadm, and not with flannel or Antrea themselves: a script did what flannel does.
	END
}

die() {
	echo "provision: $*" >&2
	exit 1
}
bad() {
	echo "provision: $*; try --help" >&2
	exit 2
}

first=${XMASQ_FIRST:-} second=${XMASQ_SECOND:-} cni=${XMASQ_CNI:-} manifest=${XMASQ_CNI_MANIFEST:-}
pod_cidr=${XMASQ_POD_CIDR:-10.244.0.0/16} advertise=${XMASQ_ADVERTISE:-}
config=${XMASQ_KUBEADM_CONFIG:-} images=${XMASQ_IMAGES:-}
apt_list=${XMASQ_APT_LIST:-} apt_key=${XMASQ_APT_KEY:-}
archive=${XMASQ_IMAGE_ARCHIVE:-$here/../build/image/xmasq.tar}
timeout=${XMASQ_TIMEOUT:-300} ssh=${XMASQ_SSH:-ssh -o BatchMode=yes} sudo=${XMASQ_SUDO:-}
xmasq=1 undo='' dry=''
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	--no-xmasq) xmasq='' ;;
	--undo) undo=1 ;;
	--dry-run) dry=1 ;;
	--first | --second | --cni | --cni-manifest | --pod-cidr | --advertise | --kubeadm-config | --images | \
		--apt-list | --apt-key | --image-archive | --timeout | --ssh | --sudo)
		[ $# -ge 2 ] || bad "$1: its value is missing"
		case $1 in
		--first) first=$2 ;;
		--second) second=$2 ;;
		--cni) cni=$2 ;;
		--cni-manifest) manifest=$2 ;;
		--pod-cidr) pod_cidr=$2 ;;
		--advertise) advertise=$2 ;;
		--kubeadm-config) config=$2 ;;
		--images) images=$2 ;;
		--apt-list) apt_list=$2 ;;
		--apt-key) apt_key=$2 ;;
		--image-archive) archive=$2 ;;
		--timeout) timeout=$2 ;;
		--ssh) ssh=$2 ;;
		--sudo) sudo=$2 ;;
		esac
		shift
		;;
	*) bad "'$1' is not an option" ;;
	esac
	shift
done

host_ok() { [[ $2 =~ ^([A-Za-z0-9_.-]+@)?[A-Za-z0-9.:_-]+$ && $2 != -* ]] || bad "$1 '$2': give HOST or USER@HOST"; }
[[ -n $first && -n $second ]] || bad "give --first and --second"
host_ok --first "$first"
host_ok --second "$second"
[ "$first" != "$second" ] || bad "--first and --second are the same host"
[[ $timeout =~ ^[1-9][0-9]{0,4}$ ]] || bad "--timeout '$timeout': give a number from 1"
if [ -z "$undo" ]; then
	case $cni in flannel | antrea) ;; '') bad "give --cni flannel or --cni antrea" ;; *) bad "--cni '$cni': give flannel or antrea" ;; esac
	[ -n "$manifest" ] || bad "give --cni-manifest: $cni's manifest, from a release of its project"
	[ -r "$manifest" ] || bad "--cni-manifest '$manifest' cannot be read"
	grep -q "$cni" "$manifest" || bad "--cni-manifest '$manifest' has nothing of $cni in it"
	[[ $pod_cidr =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}/([89]|1[0-9]|2[0-4])$ ]] ||
		bad "--pod-cidr '$pod_cidr': give a prefix such as 10.244.0.0/16"
	# flannel's has the network in it; with another one its pods would never start.
	[ "$cni" != flannel ] || grep -qF "\"$pod_cidr\"" "$manifest" ||
		bad "--pod-cidr $pod_cidr is not the Network in '$manifest': make them alike"
	[[ -z $advertise || $advertise =~ ^[0-9a-fA-F.:]+$ ]] || bad "--advertise '$advertise' is no address"
	[ -z "$config" ] || [ -z "$advertise" ] || bad "--advertise belongs into --kubeadm-config: localAPIEndpoint"
	for f in "$apt_list" "$apt_key" "$config" "$images"; do
		[ -z "$f" ] || [ -r "$f" ] || bad "'$f' cannot be read"
	done
	[ -z "$config" ] || grep -qE "podSubnet: *[\"']?${pod_cidr//./[.]}[\"']?( |\$)" "$config" ||
		bad "--pod-cidr $pod_cidr is not the podSubnet in '$config': make them alike"
	[ -z "$xmasq" ] || [ -n "$dry" ] || [ -r "$archive" ] ||
		bad "--image-archive '$archive' cannot be read: run 'make && scripts/image.sh --tag xmasq:local xmasq'"
fi

# sudo_of HOST
sudo_of() {
	if [ -n "$sudo" ]; then echo "$sudo"; else case $1 in root@*) ;; *) echo sudo -n ;; esac fi
}

# step HOST STEP ARGUMENT...: of lib/provision-host.sh there; its status, or 255 of ssh
step() {
	local host=$1 command a
	shift

	command="$(sudo_of "$host") bash -s --"
	for a; do
		command+=" $(printf '%q' "$a")"
	done
	command=${command# }
	if [ -n "$dry" ]; then
		# Long ones are files.
		echo "$host: $(sed -E "s/[A-Za-z0-9+=\/]{80,}/(a file, in base64)/g" <<<"$command") <scripts/lib/provision-host.sh"
		return
	fi
	# shellcheck disable=SC2086 # words
	$ssh "$host" "$command" <"$here/lib/provision-host.sh"
}

# on HOST STEP ARGUMENT...: that has to succeed
on() { step "$@" || die "$2 failed on $1: see above; when that is mended, run this again"; }

# has HOST DAEMONSET: whether the cluster has it. Who cannot be asked has not said no.
has() {
	local rc=0

	step "$1" has "$2" || rc=$?
	[ $rc != 255 ] || die "$1 cannot be asked for $2: see above; when that is mended, run this again"
	return $rc
}

# send HOST FILE TO
send() {
	if [ -n "$dry" ]; then
		echo "$1: $(sudo_of "$1") tee $3 <$2"
		return
	fi
	# shellcheck disable=SC2086 # words
	$ssh "$1" "$(sudo_of "$1") tee $3 >/dev/null" <"$2" || die "$2 could not be sent to $1"
}

encoded() { [ -z "$1" ] || base64 -w 0 "$1"; }

remote=/var/lib/xmasq-provision

# images_to HOST FILE
images_to() {
	send "$1" "$2" $remote/image.tar
	on "$1" image
}

# The second host into the cluster. One that is half in it leaves it first, and so does its node: a
# node of that name that is there keeps kubeadm from joining.
join_it() {
	local join node rc=0

	if [ -n "$dry" ]; then
		on "$second" joined
		on "$first" token
		on "$second" join "kubeadm join (as that says)"
		return
	fi
	step "$second" joined || rc=$?
	case $rc in
	0 | 1) ;;
	2)
		node=$(on "$second" name)
		on "$first" forget "$node"
		;;
	*) die "$second cannot be asked whether it has joined: see above; when that is mended, run this again" ;;
	esac
	[ $rc != 0 ] || return 0
	join=$(on "$first" token | grep '^kubeadm join ') || die "$first gave no join command"
	# shellcheck disable=SC2086 # words
	on "$second" join $join
}

make_it() {
	local host

	for host in "$first" "$second"; do
		on "$host" check
	done
	for host in "$first" "$second"; do
		on "$host" prepare "$(encoded "$apt_list")" "$(encoded "$apt_key")"
	done
	[ -z "$config" ] || send "$first" "$config" $remote/kubeadm.yaml
	for host in "$first" "$second"; do
		[ -z "$images" ] || images_to "$host" "$images"
	done
	on "$first" init "$pod_cidr" "$advertise"
	join_it
	send "$first" "$manifest" $remote/cni.yaml
	on "$first" cni
	on "$first" ready "$timeout"
	[ -n "$xmasq" ] || return 0
	for host in "$first" "$second"; do
		images_to "$host" "$archive"
	done
	on "$first" apply "$(encoded "$here/../deploy/kubernetes/xmasq.yaml")"
	on "$first" ready "$timeout" xmasq
	[ -n "$dry" ] || echo "done: kubectl on $first has it; scripts/netperf_test.sh measures it"
}

undo_it() {
	local host xmasq_yaml clean_yaml

	xmasq_yaml=$(encoded "$here/../deploy/kubernetes/xmasq.yaml")
	clean_yaml=$(encoded "$here/../deploy/kubernetes/cleanup.yaml")
	# The second one is what an undo leaves whose cleanup failed.
	if [ -n "$dry" ] || has "$first" xmasq || has "$first" xmasq-cleanup; then
		on "$first" delete "$xmasq_yaml"
		on "$first" apply "$clean_yaml"
		on "$first" ready "$timeout" xmasq-cleanup
		on "$first" delete "$clean_yaml"
	fi
	for host in "$second" "$first"; do
		on "$host" reset
		on "$host" restore
	done
}

if [ -n "$undo" ]; then undo_it; else make_it; fi
