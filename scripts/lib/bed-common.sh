# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-common.sh - messages, argument checks and the state of a bed, for testbed.sh.
# Globals: PREFIX (name of the bed), STATE (/run/xmasq-PREFIX).

say()   { printf 'testbed: %s\n' "$*" >&2; }
die()   { printf 'testbed: error: %s\n' "$*" >&2; exit 1; }
usage() { printf "testbed: %s\nTry 'testbed.sh --help'.\n" "$*" >&2; exit 2; }

need_value() { [ $# -ge 2 ] || usage "$1: its value is missing"; }
one_arg()    { [ $# -eq 2 ] || usage "$1: give exactly one name, such as n1 or n1p1"; }
need_root()  { [ "$(id -u)" = 0 ] || die "namespaces need root: run this with sudo"; }

need_tools()
{
	local t

	for t; do
		command -v "$t" >/dev/null ||
			die "'$t' is missing: apt-get install iproute2 util-linux iputils-ping iptables"
	done
}

check_number()
{
	[[ $2 =~ ^(0|[1-9][0-9]{0,4})$ && $2 -ge $3 && $2 -le $4 ]] ||
		usage "$1 '$2': give a number from $3 to $4"
}

check_choice()
{
	local what=$1 value=$2 c

	shift 2
	for c; do
		[ "$value" != "$c" ] || return 0
	done
	usage "$what '$value': give one of: $*"
}

# XMASQ_TESTBED_FAIL_AT lets the tests see what a failure at this point leaves behind.
checkpoint()
{
	[ "${XMASQ_TESTBED_FAIL_AT:-}" != "$1" ] ||
		die "failed at '$1' because XMASQ_TESTBED_FAIL_AT says so: unset it"
}

bpffs_mount()
{
	[ "$(stat -f -c %T /sys/fs/bpf 2>/dev/null)" != bpf_fs ] || return 0
	mount -t bpf bpf /sys/fs/bpf ||
		die "cannot mount bpffs on /sys/fs/bpf: the kernel needs CONFIG_BPF_SYSCALL"
	say "mounted bpffs on /sys/fs/bpf; 'down' leaves it there"
}

# ---- state ----------------------------------------------------------------

bed_save()
{
	printf '%s\n' "NODES=$NODES" "OVERLAY=$OVERLAY" "UDP_CSUM=$UDP_CSUM" \
		"FIREWALL=$FIREWALL" > "$STATE/bed"
}

bed_load()
{
	local key value

	[ -r "$STATE/bed" ] ||
		die "there is no bed '$PREFIX': make it with 'testbed.sh --prefix $PREFIX up'"
	while IFS='=' read -r key value; do
		case $key in
		NODES|OVERLAY|UDP_CSUM|FIREWALL) printf -v "$key" '%s' "$value" ;;
		esac
	done < "$STATE/bed"
}

# Names of the bed's namespaces, found by name: state files may be lost or incomplete.
bed_namespaces()
{
	local f

	for f in "/run/netns/$PREFIX-"*; do
		f=${f##*/}
		[[ $f =~ ^$PREFIX-(n[0-9]+(p[0-9]+)?|sw|out)$ ]] && printf '%s\n' "$f"
	done
	return 0
}

# True when anything of the bed is there.
bed_traces()
{
	[ -d "$STATE" ] || [ -n "$(bed_namespaces)" ] || [ -n "$(bed_pins)" ]
}

bed_pins()
{
	local d

	for d in "/sys/fs/bpf/xmasq-$PREFIX-n"*; do
		printf '%s\n' "$d"
	done
}

# Removes all of the bed and goes on after errors: "down" must work on ruins.
bed_remove()
{
	local f ns pin

	for f in "$STATE"/n*/xmasqd.pid; do
		pid_stop "$f" KILL || :
	done
	for ns in $(bed_namespaces); do
		bed_warn_users "$ns"
		ip netns del "$ns" || say "cannot delete namespace $ns"
	done
	for pin in $(bed_pins); do
		rm -rf -- "$pin"
	done
	rm -rf -- "$STATE"
}

# What a user started in a namespace is the user's to end, but it keeps the
# namespace's devices alive, which is worth a word.
bed_warn_users()
{
	local pid

	for pid in $(ip netns pids "$1" 2>/dev/null); do
		say "note: process $pid ($(cat "/proc/$pid/comm" 2>/dev/null)) still runs in $1: end it yourself"
	done
}

# ---- names ----------------------------------------------------------------

check_who()
{
	[[ $1 =~ ^(n[1-9][0-9]*(p[1-9][0-9]*)?|out|sw)$ ]] ||
		usage "'$1' is neither a node (n1), a pod (n1p1), out nor sw"
	[ -e "/run/netns/$PREFIX-$1" ] ||
		die "bed '$PREFIX' has no '$1': 'testbed.sh --prefix $PREFIX status' shows what it has"
}

who_ip()
{
	case $1 in
	n*p*)	[[ $1 =~ ^n([0-9]+)p([0-9]+)$ ]]
		printf '10.244.%d.%d\n' "${BASH_REMATCH[1]}" $((10 + BASH_REMATCH[2])) ;;
	n*)	printf '172.31.0.%d\n' "${1#n}" ;;
	out)	out_ip ;;
	*)	die "'$1' has no address: the switch only bridges" ;;
	esac
}

# With two nodes the outside host hangs off n1, so that n1 - n2 stays one veth pair.
out_ip()
{
	if [ "$NODES" = 2 ]; then
		echo 172.30.1.254
	else
		echo 172.31.0.254
	fi
}

in_ns() { local ns=$PREFIX-$1; shift; nsenter --net="/run/netns/$ns" -- "$@"; }

# ---- processes ------------------------------------------------------------
# A pid file holds "PID STARTTIME": a pid alone may by now belong to somebody else.

pid_starttime()
{
	local stat

	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	# The second field is the name and may hold blanks and brackets.
	read -ra stat <<< "${stat##*) }"
	# Whoever inherited a dead daemon may take long to reap it: a zombie is gone.
	[[ ${stat[0]} != [ZX] ]] || return 1
	printf '%s\n' "${stat[19]}"
}

pid_save() { printf '%s %s\n' "$2" "$(pid_starttime "$2" || echo gone)" > "$1"; }

# pid_alive FILE: prints the pid if that very process still runs
pid_alive()
{
	local pid start

	read -r pid start 2>/dev/null < "$1" || return 1
	[ "$(pid_starttime "$pid")" = "$start" ] || return 1
	printf '%s\n' "$pid"
}

# pid_stop FILE SIGNAL: sends it, waits up to 5 s, then SIGKILL; removes FILE
pid_stop()
{
	local pid tries=50

	if pid=$(pid_alive "$1"); then
		kill "-$2" "$pid" 2>/dev/null || :
		while pid_alive "$1" >/dev/null && [ $((tries--)) -gt 0 ]; do
			sleep 0.1
		done
		if pid_alive "$1" >/dev/null; then
			say "process $pid ignores SIG$2 for 5 s: killing it"
			kill -KILL "$pid" 2>/dev/null || :
		fi
	fi
	rm -f -- "$1"
}
