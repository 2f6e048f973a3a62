# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# image.bash - what images of the tests are made of: programs of this machine and the libraries that
# they name, so that building one downloads nothing. For tests/afxdp/image.sh and tests/containers.

# image_root ROOT: an empty root file system
image_root()
{
	rm -rf "$1"
	mkdir -p "$1"/{bin,tmp,run,etc,proc,sys,dev,usr/lib}
	echo 'root:x:0:0:root:/:/bin/sh' >"$1/etc/passwd"
}

# image_built ROOT HOW PROGRAM...: built ones; HOW is the make target that builds them
image_built()
{
	local root=$1 how=$2 path

	shift 2
	for path; do
		[ -x "$path" ] || { echo "image: $path is missing: run 'make $how'" >&2; return 1; }
		install -m 755 "$path" "$root/bin" || return 1
		image_libraries "$root" "$path" || return 1
	done
}

# image_tools ROOT GROUP NAME...: of this machine, as "scripts/setup.sh GROUP" installs them
image_tools()
{
	local root=$1 group=$2 name path

	shift 2
	for name; do
		path=$(command -v "$name") || {
			echo "image: $name is not installed: run 'sudo scripts/setup.sh $group'" >&2
			return 1
		}
		path=$(readlink -f "$path")
		install -m 755 "$path" "$root/bin/$name" || return 1
		image_libraries "$root" "$path" || return 1
	done
}

# image_applets ROOT NAME...: of busybox
image_applets()
{
	local root=$1 name

	shift
	for name; do
		ln -sf busybox "$root/bin/$name" || return 1
	done
}

# image_libraries ROOT PROGRAM: files that the loader would open; a static one has none
image_libraries()
{
	local lib

	{ ldd "$2" 2>/dev/null || :; } |
		awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && NF == 2 { print $1 }' |
		while read -r lib; do
			[ -e "$1$lib" ] || install -D -m 755 "$(readlink -f "$lib")" "$1$lib" || return 1
		done
}
