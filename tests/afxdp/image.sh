#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Make what the image is built from: the programs and the libraries that they name, nothing else, so
# that building it downloads nothing. ./start runs it.
#
#   ./image.sh DIRECTORY      the router and the comparison from build/afxdp, the rest from this machine
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/image.bash

[ $# = 1 ] || {
	sed -n 's/^# \?//p' "$0" | sed -n '3,$p' >&2
	exit 2
}
root=$1/rootfs

image_root "$root"
mkdir "$root/www"
image_built "$root" afxdp build/afxdp/{xsk-router,tc-nat,pps}
image_tools "$root" afxdp busybox iperf3 sockperf curl ping nft
image_applets "$root" sh cat kill sleep sha256sum rm sysctl head ip ls taskset
# What lets XDP programs share an interface.
objects=$(find /usr/lib -name xdp-dispatcher.o -print -quit 2>/dev/null || true)
[ -z "$objects" ] || install -D -m 644 "$objects" "$root$objects"
for size in 1024:1k 65536:64k 1048576:1m 10485760:10m 104857600:100m; do
	[ -s "$1/${size#*:}" ] || head -c "${size%:*}" /dev/urandom >"$1/${size#*:}"
	cp "$1/${size#*:}" "$root/www"
done
cp tests/afxdp/Dockerfile "$1"
