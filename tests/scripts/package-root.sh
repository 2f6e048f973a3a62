#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# A Debian root to install packages in: made once, changed copies of it are thrown away.
#
#   package-root.sh make PACKAGE...          makes the root when it is not cached, prints its path
#   package-root.sh run DIR -- COMMAND...    runs COMMAND as the first process of the copy in DIR
#   package-root.sh boot DIR                 starts systemd in the copy in DIR
#   package-root.sh exec DIR -- COMMAND...   runs COMMAND where systemd was started
#   package-root.sh halt DIR                 ends what boot started
#
# DIR is a directory of the caller; it holds what was changed, from one command to the next, and
# in DIR/root the path of the root below it. DIR/share is /mnt in the copy. A copy has mount, pid,
# ipc, host name, control group and network namespaces of its own, with $XM_NETNS the network
# namespace of that name, and an empty bpffs for each run or boot. To dpkg it is no chroot.
#
# With XM_HOST=1 it is to be a host for Kubernetes: a real copy of the root, which costs its size, since a
# container runtime cannot lay file systems over one that is laid over another; the control groups of
# the machine's kind; /dev/kmsg; and the sysctls of the whole machine that a kubelet sets are files that
# only look like them.
#
# make prints "no archive: ..." and exits with 75 when there is nothing to make the root from. The
# cache is ${XMASQ_CACHE:-/var/cache/xmasq}.
set -euo pipefail

cache=${XMASQ_CACHE:-/var/cache/xmasq}

die() {
	echo "package-root: $*" >&2
	exit 1
}

make_root() {
	local suite mirror list hash dir

	# shellcheck disable=SC1091 # of the machine
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# shellcheck disable=SC2016 # apt's own
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		"Codename: $suite" | head -n 1)
	list=$(printf '%s\n' "$@" | sort -u | paste -sd,)
	hash=$(sha256sum <<<"$suite $list" | cut -c 1-12)
	dir=$cache/root-$suite-$hash
	if [ ! -d "$dir" ]; then
		[ -n "$mirror" ] || { echo "no archive: apt knows none of $suite"; exit 75; }
		mkdir -p "$cache"
		/usr/lib/apt/apt-helper download-file "${mirror%/}/dists/$suite/InRelease" \
			"$dir.probe" >/dev/null 2>&1 ||
			{ echo "no archive: $mirror is out of reach"; exit 75; }
		rm -f "$dir.probe"
		# Two that start at once: the second waits and finds it there.
		exec 9>"$dir.lock"
		flock 9
		if [ ! -d "$dir" ]; then
			echo "making a Debian root in $dir, some two minutes" >&2
			rm -rf "$dir.part"
			# The proxy that apt knows, if any.
			proxy=$(apt-config shell proxy Acquire::http::Proxy | sed "s/^proxy='\(.*\)'$/\1/")
			[ -z "$proxy" ] || export http_proxy=$proxy
			debootstrap --variant=minbase --include="$list" "$suite" "$dir.part" \
				"$mirror" >"$dir.log" 2>&1 || {
				tail -n 20 "$dir.log" >&2
				die "debootstrap failed, all of it in $dir.log"
			}
			rm -rf "$dir.part"/var/cache/apt/archives/*.deb
			mv "$dir.part" "$dir"
		fi
		rm -f "$dir.lock"
	fi
	echo "$dir"
}

# hierarchies: of control groups of the first version, by their mount points' names; none with the second
# version only, and for a copy that is no host
hierarchies() {
	local d

	[ -n "${XM_HOST:-}" ] && [ ! -e /sys/fs/cgroup/cgroup.controllers ] || return 0
	for d in /sys/fs/cgroup/*/; do
		d=${d%/}
		[ -L "$d" ] || [ ! -e "$d/tasks" ] || echo "${d##*/}"
	done
}

# groups DIR: mount there what systemd is to manage
groups() {
	local h all

	all=$(hierarchies)
	[ -n "$all" ] || {
		mount -t cgroup2 cgroup2 "$1"
		return
	}
	mount -t tmpfs tmpfs "$1" -o mode=755
	for h in $all; do
		mkdir "$1/$h"
		if [ "$h" = systemd ]; then
			mount -t cgroup -o none,name=systemd cgroup "$1/$h"
		else
			mount -t cgroup -o "$h" cgroup "$1/$h"
		fi
	done
}

host_files() {
	local s

	: >"$2/dev/kmsg"
	mount --bind /dev/kmsg "$2/dev/kmsg"
	mkdir -p "$1/sysctl"
	for s in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
		kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
		echo "${s#*=}" >"$1/sysctl/${s//\//.}"
		mount --bind "$1/sysctl/${s//\//.}" "$2/proc/sys/${s%=*}"
	done
}

# In the new namespaces: a root, and COMMAND in it.
enter() {
	local dir=$1 root
	shift
	root=$dir/mnt
	mkdir -p "$root" "$dir/share"
	if [ -n "${XM_HOST:-}" ]; then
		mount --bind "$dir/up" "$root"
	else
		mount -t overlay overlay \
			-o "lowerdir=$(cat "$dir/root"),upperdir=$dir/up,workdir=$dir/work" "$root"
	fi
	mount -t proc proc "$root/proc"
	mount -t sysfs sysfs "$root/sys"
	mount -t bpf bpf "$root/sys/fs/bpf" -o mode=700
	groups "$root/sys/fs/cgroup"
	mount -t tmpfs tmpfs "$root/dev" -o mode=755
	for f in null zero full random urandom tty; do
		: >"$root/dev/$f"
		mount --bind "/dev/$f" "$root/dev/$f"
	done
	mkdir "$root/dev/pts" "$root/dev/shm"
	[ -z "${XM_HOST:-}" ] || host_files "$dir" "$root"
	mount -t devpts devpts "$root/dev/pts" -o newinstance,ptmxmode=666
	mount -t tmpfs tmpfs "$root/dev/shm" -o mode=1777
	ln -s pts/ptmx "$root/dev/ptmx"
	ln -s /proc/self/fd "$root/dev/fd"
	mount -t tmpfs tmpfs "$root/run" -o mode=755
	mkdir "$root/run/lock" "$root/run/netns"
	[ -z "${XM_NETNS:-}" ] || [ -n "${XM_HOST:-}" ] || mount --rbind /run/netns "$root/run/netns"
	mount --bind "$dir/share" "$root/mnt"
	# What these change is the machine's: not all of /proc/sys belongs to a namespace.
	mkdir -p "$root/etc/systemd/system"
	for f in systemd-sysctl.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount \
		systemd-modules-load.service; do
		ln -sf /dev/null "$root/etc/systemd/system/$f"
	done
	cd "$root"
	mkdir mnt/.old
	pivot_root . mnt/.old
	umount -l /mnt/.old
	rmdir /mnt/.old
	# What is mounted in here is for in here, and reaches the mount namespaces of services.
	mount --make-rslave / && mount --make-rshared /
	exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive container=xmasq-test "$@"
}

# A control group for what is in the copy: systemd manages all that it sees.
group() {
	local dir=$1 h g f
	shift
	mkdir -p "$dir/cgroup"
	mount -t cgroup2 cgroup2 "$dir/cgroup"
	mkdir -p "$dir/cgroup/xmasq-test-$$"
	echo "xmasq-test-$$" >"$dir/group"
	echo $$ >"$dir/cgroup/xmasq-test-$$/cgroup.procs"
	umount "$dir/cgroup"
	for h in $(hierarchies); do
		g=/sys/fs/cgroup/$h/xmasq-test-$$
		mkdir -p "$g"
		# A cpuset without processors takes no process.
		for f in cpuset.cpus cpuset.mems; do
			[ ! -e "$g/$f" ] || cat "$g/../$f" >"$g/$f"
		done
		echo $$ >"$g/cgroup.procs"
	done
	exec "$@"
}

ungroup() {
	local g

	[ -e "$1/group" ] || return 0
	# shellcheck disable=SC2016 # of the inner shell
	unshare --mount bash -c 'mount -t cgroup2 cgroup2 "$1/cgroup" &&
		find "$1/cgroup/$(cat "$1/group")" -depth -type d -exec rmdir {} +' _ "$1" || true
	for g in /sys/fs/cgroup/*/"$(cat "$1/group")"; do
		[ ! -d "$g" ] || find "$g" -depth -type d -exec rmdir {} + || true
	done
	rm -f "$1/group"
}

# Starts COMMAND as the first process of new namespaces, in place of this one.
start() {
	local dir=$1 net=--net in=()
	shift
	if [ -z "${XM_HOST:-}" ]; then
		mkdir -p "$dir/up" "$dir/work"
	elif [ ! -d "$dir/up" ]; then
		cp -a "$(cat "$dir/root")" "$dir/up.part"
		mv "$dir/up.part" "$dir/up"
	fi
	if [ -n "${XM_NETNS:-}" ]; then
		net='' in=(nsenter "--net=/run/netns/$XM_NETNS")
	fi
	# Slave, not private: namespaces that are named out there later are to be seen in here.
	# shellcheck disable=SC2086 # one word or none
	exec "${in[@]}" unshare --mount --propagation slave "$0" --group "$dir" \
		unshare --mount --propagation slave --pid --fork --kill-child --ipc --uts --cgroup $net \
		"$0" --enter "$dir" "$@"
}

cmd=${1:?} dir=$(realpath -m "${2:-.}")
shift
case $cmd in
make) make_root "$@" ;;
run)
	rc=0
	(start "$dir" "${@:3}") || rc=$?
	ungroup "$dir"
	exit $rc
	;;
boot)
	[ ! -e "$dir/pid" ] || die "$dir runs already"
	: >"$dir/console"
	# Of its own session: the caller's terminal is not systemd's.
	setsid "$0" --start "$dir" /lib/systemd/systemd --log-target=console --show-status=0 \
		>"$dir/console" 2>&1 </dev/null &
	outer=$!
	for ((i = 0; i < 300; i++)); do
		kill -0 $outer 2>/dev/null || { cat "$dir/console" >&2; die "systemd ended"; }
		pid=$(pgrep -P "$outer" -x systemd) && break
		sleep 0.1
	done
	[ -n "${pid:-}" ] || {
		cat "$dir/console" >&2
		kill -KILL "$outer"
		die "systemd does not come up"
	}
	echo "$outer $pid" >"$dir/pid"
	for ((i = 0; i < 600; i++)); do
		state=$("$0" exec "$dir" -- systemctl is-system-running 2>/dev/null) || true
		case $state in
		running | degraded) exit 0 ;;
		esac
		sleep 0.1
	done
	tail -n 40 "$dir/console" >&2
	die "systemd is not up after a minute: ${state:-no answer}"
	;;
exec)
	read -r _ pid <"$dir/pid" || die "$dir does not run"
	exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		nsenter -t "$pid" -m -p -i -u -n -C -r -w "${@:3}"
	;;
halt)
	[ -e "$dir/pid" ] || exit 0
	read -r outer pid <"$dir/pid"
	# Its end is that of all in its pid namespace.
	kill -KILL "$pid" "$outer" 2>/dev/null || true
	for ((i = 0; i < 100; i++)); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	rm -f "$dir/pid"
	ungroup "$dir"
	;;
--start) start "$dir" "${@:2}" ;;
--group) group "$dir" "${@:2}" ;;
--enter) enter "$dir" "${@:2}" ;;
*) die "no command $cmd" ;;
esac
