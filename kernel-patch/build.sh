#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Build a kernel of Debian's source package with our series (bpf_redirect_rpeer), or without it,
# and keep the result in a cache. 'build.sh --help' for the options, config/README.md for what the
# configurations are, lib/ for the parts:
#
#   lib/source.sh  the source package, the series, the source tree
#   lib/config.sh  fragments merged into .config, and checked afterwards
#   lib/make.sh    make with progress, the reason when it fails, the packages
#   lib/cache.sh   key, lock, entries
#
# Below $XMASQ_CACHE (/var/cache/xmasq):
#
#   kernel/KERNEL-CONFIG[-stock]-HASH/  results: bzImage System.map config release build.log
#                                       build.json, and *.deb of debian-cloud
#   build/KERNEL-CONFIG/src, obj        the tree that the next build continues from
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XMASQ_CACHE:-/var/cache/xmasq}

# Raise it when a series or config/debian-cloud.config changes: apt compares package versions.
package_revision=1

say() { printf 'kernel: %s\n' "$*" >&2; }
die() { printf 'kernel: error: %s\n' "$*" >&2; exit 1; }
bad_usage() { printf "kernel: %s\nTry 'build.sh --help'.\n" "$*" >&2; exit 2; }

# shellcheck source=kernel-patch/lib/source.sh
. "$here/lib/source.sh"
# shellcheck source=kernel-patch/lib/config.sh
. "$here/lib/config.sh"
# shellcheck source=kernel-patch/lib/make.sh
. "$here/lib/make.sh"
# shellcheck source=kernel-patch/lib/cache.sh
. "$here/lib/cache.sh"

usage()
{
	cat <<-'END'
	usage: build.sh --kernel 6.1|6.12 --config vm|debug|debian-cloud [OPTION...]

	  --kernel VERSION  which of Debian's linux-source packages
	  --config NAME     vm: small, all built in, for the tests
	                    debug: vm and KASAN, lockdep, reference trackers
	                    debian-cloud: Debian's cloud kernel, as packages to install
	  --stock           without the series: a kernel that has no bpf_redirect_rpeer
	  --deb             make packages; only debian-cloud can, and always does
	  --jobs N          make -jN (default: the number of CPUs)
	  --print-key       print the name of the cache entry and build nothing
	  --print-image     print the path of bzImage, after building it if it is not cached
	  --print-dir       the same for the directory of the cache entry
	  --setup           install the Debian packages that the build needs, and build nothing

	Kernels go to ${XMASQ_CACHE:-/var/cache/xmasq}/kernel. Messages and progress go to stderr.
	Put 'nice -n 19' in front on a machine that others use.
	END
}

need_value() { [ $# -ge 2 ] || bad_usage "$1: its value is missing"; }

kernel='' config='' stock='' deb='' print='' setup='' jobs=$(nproc)

options()
{
	while [ $# -gt 0 ]; do
		case $1 in
		--kernel) need_value "$@"; kernel=$2; shift ;;
		--config) need_value "$@"; config=$2; shift ;;
		--jobs) need_value "$@"; jobs=$2; shift ;;
		--stock) stock=-stock ;;
		--deb) deb=1 ;;
		--print-key) print=key ;;
		--print-image) print=image ;;
		--print-dir) print=dir ;;
		--setup) setup=1 ;;
		-h|--help) usage; exit 0 ;;
		*) bad_usage "'$1' is not an option" ;;
		esac
		shift
	done
	case $kernel in
	6.1|6.12) ;;
	'') bad_usage "--kernel is missing: give 6.1 or 6.12" ;;
	*) bad_usage "--kernel '$kernel': there are series for 6.1 and 6.12" ;;
	esac
	case $config in
	vm|debug)
		[ -z "$deb" ] ||
			bad_usage "--deb: '$config' has no modules to package: use debian-cloud"
		;;
	debian-cloud) deb=1 ;;
	'') bad_usage "--config is missing: give vm, debug or debian-cloud" ;;
	*) bad_usage "--config '$config': give vm, debug or debian-cloud" ;;
	esac
	[[ $jobs =~ ^[1-9][0-9]{0,3}$ ]] || bad_usage "--jobs '$jobs': give a number from 1"
	[ "$(uname -m)" = x86_64 ] ||
		die "the configurations are for x86_64, this machine is $(uname -m)"
}

# ---- packages that the build needs -------------------------------------------

needed_packages()
{
	printf '%s\n' "linux-source-$kernel" patch xz-utils rsync \
		gcc make bc bison flex libelf-dev libssl-dev dwarves kmod cpio lz4
	[ -z "$deb" ] || printf '%s\n' "linux-config-$kernel" debhelper dpkg-dev fakeroot openssl
}

missing_packages()
{
	local p

	needed_packages | while read -r p; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] ||
			printf '%s ' "$p"
	done
}

check_packages()
{
	local missing

	missing=$(missing_packages)
	[ -z "$missing" ] ||
		die "packages are missing: run this with --setup, or: apt-get install ${missing% }"
}

install_packages()
{
	local missing

	missing=$(missing_packages)
	if [ -z "$missing" ]; then
		say "all packages are there"
		exit 0
	fi
	[ "$(id -u)" = 0 ] ||
		die "--setup needs root; or have root run: apt-get install ${missing% }"
	# shellcheck disable=SC2086 # a list of names
	exec apt-get install -y --no-install-recommends $missing
}

answer()
{
	case $print in
	image) printf '%s\n' "$entry/bzImage" ;;
	dir) printf '%s\n' "$entry" ;;
	*) say "$entry" ;;
	esac
}

# One function, read as a whole before it runs: an edit during a build of an hour does not reach it.
main()
{
	options "$@"
	# What a caller's make, or a shell set up for another kernel, must not change.
	unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES ARCH CROSS_COMPILE O V KBUILD_OUTPUT \
		KBUILD_VERBOSE KCFLAGS KAFLAGS KCPPFLAGS LOCALVERSION KCONFIG_ALLCONFIG \
		KCONFIG_CONFIG CC LD HOSTCC CFLAGS CPPFLAGS LDFLAGS DEB_BUILD_OPTIONS \
		DEB_BUILD_PROFILES SOURCE_DATE_EPOCH

	if [ -n "$setup" ]; then
		install_packages
		exit 0
	fi

	tag=-rpeer
	[ -z "$stock" ] || tag=-stock
	build=$cache/build/$kernel-$config

	check_packages
	source_find
	source_series
	cache_key
	if [ "$print" = key ]; then
		printf '%s\n' "$key"
		exit 0
	fi
	if cache_hit; then
		answer
		exit 0
	fi

	if ! mkdir -p "$build" "$cache/kernel" 2>/dev/null || [ ! -w "$build" ] ||
		[ ! -w "$cache/kernel" ]; then
		die "cannot write to $cache:" \
			"run as root, or set XMASQ_CACHE to a directory of yours"
	fi
	cache_lock
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
	if cache_hit; then # whoever had the lock built it
		answer
		exit 0
	fi
	say "building $key from $source_package $source_version"
	log=$build/build.log
	: > "$log"
	begin=$SECONDS
	source_verify
	source_sync
	config_merge
	config_verify
	make_kernel
	make_check
	cache_store
	cache_prune
	answer
	exit 0
}

main "$@"
