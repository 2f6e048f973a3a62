#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Make a container image of what `make` built, without Docker, a registry or a download.
# 'image.sh --help' for the options.
#
# An image is programs, the libraries that the loader opens for them, and busybox: built on one machine
# it runs on any. It comes as a directory with a Dockerfile, for `docker build` and the like, and
# as an archive that `docker load`, `podman load` and `ctr -n k8s.io images import` take.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

usage() {
	cat <<-'END'
	usage: scripts/image.sh [OPTION...] xmasq|netperf

	  xmasq    xmasqd and xmasqctl, for deploy/kubernetes/xmasq.yaml
	  netperf  iperf3 and sockperf, for scripts/netperf_test.sh

	  --tag NAME:TAG  name of the image in the archive; may be repeated
	                  (default xmasq:VERSION or xmasq-netperf:VERSION)
	  --add FILE[=DIRECTORY]  another program, which goes to /bin or DIRECTORY, or a file there with
	                  the libraries that it needs; may be repeated
	  --output DIR    where to write (default build/image)
	  --print-tag     print the default name and build nothing

	Writes DIR/WHICH/ (a Dockerfile and what it copies) and DIR/WHICH.tar.
	Environment: BUILD (build), where the programs are.
	END
}

die() {
	echo "image: $*" >&2
	exit 1
}

build=${BUILD:-build}
which='' print='' output=$build/image tags=() extra=()
while [ $# -gt 0 ]; do
	case $1 in
	--tag | --add | --output)
		[ $# -ge 2 ] || die "$1: its value is missing; see --help"
		case $1 in
		--tag) tags+=("$2") ;;
		--add) extra+=("$2") ;;
		--output) output=$2 ;;
		esac
		shift
		;;
	--print-tag) print=1 ;;
	-h | --help)
		usage
		exit 0
		;;
	xmasq | netperf) which=$1 ;;
	*)
		echo "image: '$1' is neither an option nor an image" >&2
		usage >&2
		exit 2
		;;
	esac
	shift
done
[ -n "$which" ] || {
	usage >&2
	exit 2
}

version=$(sed -n 's/^#define XM_VERSION "\(.*\)"$/\1/p' "$build/version.h" 2>/dev/null || true)
[ -n "$version" ] || die "$build/version.h is missing: run 'make' first"
# Not all that a version may have is allowed in a tag.
version=${version//[^A-Za-z0-9_.-]/-}

case $which in
xmasq)
	default=xmasq:$version
	programs=("$build/xmasqd" "$build/xmasqctl")
	path=/usr/sbin
	command='["/usr/sbin/xmasqd"]'
	hint="run 'make'"
	;;
netperf)
	default=xmasq-netperf:$version
	programs=(iperf3 sockperf)
	path=/bin
	command='["/bin/sleep", "2147483647"]'
	hint="run 'sudo scripts/setup.sh k8s'"
	;;
esac
[ -z "$print" ] || {
	echo "$default"
	exit 0
}
[ ${#tags[@]} != 0 ] || tags=("$default")
for tag in "${tags[@]}"; do
	[[ $tag =~ ^[a-z0-9][a-z0-9._/:-]*:[A-Za-z0-9_][A-Za-z0-9_.-]*$ ]] ||
		die "--tag '$tag': give NAME:TAG, such as xmasq:1.0"
done

out=$output/$which
root=$out/rootfs
rm -rf "$out" "$out.tar"
mkdir -p "$root"/{bin,etc/xmasq,proc,sys,dev,run,tmp,var,usr/sbin}
ln -s ../run "$root/var/run"
chmod 1777 "$root/tmp"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"

# put PROGRAM DIRECTORY: it and what the loader opens for it
put() {
	local file lib

	file=$1
	[ -f "$file" ] || file=$(command -v "$1") || die "$1 is missing: $hint"
	mkdir -p "$root$2"
	install -m 755 "$(readlink -f "$file")" "$root$2/$(basename "$1")"
	# A program without libraries has nothing to say to ldd.
	{ ldd "$file" 2>/dev/null || true; } |
		awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && NF == 2 { print $1 }' |
		while read -r lib; do
			install -D -m 755 "$(readlink -f "$lib")" "$root$lib"
		done
}

for p in "${programs[@]}"; do
	put "$p" "$path"
done
for p in "${extra[@]}"; do
	case $p in
	*=/*) put "${p%%=/*}" "/${p#*=/}" ;;
	*) put "$p" /bin ;;
	esac
done
hint='apt-get install busybox'
put busybox /bin
# Enough to look around with `kubectl exec`, to wait and to signal.
for p in sh cat echo env grep head hostname httpd id ip kill ls mount nc nslookup ping ps rm sed \
	sleep sort tail test top tr wget wc; do
	ln -s busybox "$root/bin/$p"
done
cp "deploy/kubernetes/Dockerfile.$which" "$out/Dockerfile"

# The archive: one layer, its configuration, a manifest. The same files make the same image.
stage=$(mktemp -d "$output/.stage.XXXXXX")
trap 'rm -rf "$stage"' EXIT
tar -C "$root" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$stage/layer.tar" .
sum() { sha256sum "$1" | cut -d ' ' -f 1; }
list() { printf ', "%s"' "$@" | cut -c 3-; }
arch=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
cat >"$stage/config" <<-END
	{"architecture": "$arch", "os": "linux",
	 "config": {"Cmd": $command, "Env": ["PATH=/usr/sbin:/bin"]},
	 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sum "$stage/layer.tar")"]},
	 "history": [{"created_by": "scripts/image.sh $which"}]}
END
config=$(sum "$stage/config").json
mv "$stage/config" "$stage/$config"
# What has no registry in its name is kept under Docker's by all three.
full=()
for tag in "${tags[@]}"; do
	case $tag in
	*.*/* | *:*/* | localhost/*) full+=("$tag") ;;
	*/*) full+=("docker.io/$tag") ;;
	*) full+=("docker.io/library/$tag") ;;
	esac
done
echo "[{\"Config\": \"$config\", \"RepoTags\": [$(list "${full[@]}")], \"Layers\": [\"layer.tar\"]}]" \
	>"$stage/manifest.json"
tar -C "$stage" --owner=0 --group=0 -cf "$out.tar" manifest.json "$config" layer.tar
echo "$out.tar: ${tags[*]}"
