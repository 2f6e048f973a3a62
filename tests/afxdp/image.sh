#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Make what the image is built from: the programs and the libraries that they name, nothing else, so
# that building it downloads nothing. ./start runs it.
#
#   ./image.sh DIRECTORY      the router and the comparison from build/afxdp, the rest from this machine
set -euo pipefail
cd "$(dirname "$0")/../.."

[ $# = 1 ] || {
	sed -n 's/^# \?//p' "$0" | sed -n '3,$p' >&2
	exit 2
}
root=$1/rootfs
built=(xsk-router tc-nat pps)
tools=(busybox iperf3 sockperf curl ping nft)
applets="sh cat kill sleep sha256sum rm sysctl head ip ls taskset"

# libraries PROGRAM...: files that the loader would open
libraries() {
	ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && NF == 2 { print $1 }' | sort -u
}

rm -rf "$root"
mkdir -p "$root"/{bin,tmp,run,etc,proc,sys,dev,www,usr/lib}
for name in "${built[@]}"; do
	[ -x "build/afxdp/$name" ] || {
		echo "image.sh: build/afxdp/$name is missing: run 'make afxdp'" >&2
		exit 1
	}
	install -m 755 "build/afxdp/$name" "$root/bin"
done
for name in "${tools[@]}"; do
	path=$(command -v "$name") || {
		echo "image.sh: $name is not installed: run 'sudo scripts/setup.sh afxdp'" >&2
		exit 1
	}
	install -m 755 "$(readlink -f "$path")" "$root/bin/$name"
done
for name in $applets; do
	ln -s busybox "$root/bin/$name"
done
libraries "$root"/bin/{xsk-router,tc-nat,pps,iperf3,sockperf,curl,ping,nft} | grep : -v | while read -r lib; do
	install -D -m 755 "$(readlink -f "$lib")" "$root$lib"
done
# What lets XDP programs share an interface.
objects=$(find /usr/lib -name xdp-dispatcher.o -print -quit 2>/dev/null || true)
[ -z "$objects" ] || install -D -m 644 "$objects" "$root$objects"
echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
for size in 1024:1k 65536:64k 1048576:1m 10485760:10m 104857600:100m; do
	[ -s "$1/${size#*:}" ] || head -c "${size%:*}" /dev/urandom >"$1/${size#*:}"
	cp "$1/${size#*:}" "$root/www"
done
cp tests/afxdp/Dockerfile "$1"
