# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-common.sh - messages, argument checks, names and the state of a bed, for testbed.sh.
# Globals: PREFIX (name of the bed), STATE (/run/xmasq-PREFIX), what bed_load reads.
#
# A bed is often made in an emulated machine, where starting a program takes 50 ms: functions
# leave their answer in a variable instead of being run in "$(...)", and use builtins.
# shellcheck disable=SC2034 # most of these variables are for the other files

say()   { printf 'testbed: %s\n' "$*" >&2; }
die()   { printf 'testbed: error: %s\n' "$*" >&2; exit 1; }
usage() { printf "testbed: %s\nTry 'testbed.sh --help'.\n" "$*" >&2; exit 2; }

need_value() { [ $# -ge 2 ] || usage "$1: its value is missing"; }
one_arg()    { [ $# -eq 2 ] || usage "$1: give exactly one name, such as n1 or n1p1"; }
need_root()  { [ "$EUID" = 0 ] || die "namespaces need root: run this with sudo"; }

# need_tools PACKAGES TOOL...
need_tools()
{
	local packages=$1 t

	shift
	for t; do
		command -v "$t" >/dev/null || die "'$t' is missing: apt-get install $packages"
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
	local fs mounted=no

	while read -r _ fs _; do
		[ "$fs" != /sys/fs/bpf ] || mounted=yes
	done < /proc/mounts
	[ "$mounted" = no ] || return 0
	mount -t bpf bpf /sys/fs/bpf ||
		die "cannot mount bpffs on /sys/fs/bpf: the kernel needs CONFIG_BPF_SYSCALL"
	say "mounted bpffs on /sys/fs/bpf; 'down' leaves it there"
}

# ---- state ----------------------------------------------------------------

# What "up" was told and found, one KEY=VALUE a line in STATE/bed.
BED_KEYS=(NODES OVERLAY TUNNEL_CSUM UNDERLAY POD_KIND FIREWALL IPTABLES)

bed_save()
{
	local key

	for key in "${BED_KEYS[@]}"; do
		printf '%s=%s\n' "$key" "${!key}"
	done > "$STATE/bed"
}

bed_load()
{
	local key value

	[ -r "$STATE/bed" ] ||
		die "there is no bed '$PREFIX': make it with 'testbed.sh --prefix $PREFIX up'"
	while IFS='=' read -r key value; do
		[[ " ${BED_KEYS[*]} " != *" $key "* ]] || printf -v "$key" '%s' "$value"
	done < "$STATE/bed"
	bed_names
}

# bed_names: how things are called on this bed, from what "up" was told. NICS are the node's
# interfaces on the underlay, POD_DEV that of its pods, TUNNEL_DEV that of the overlay.
bed_names()
{
	case $UNDERLAY in
	vlan)		NICS=(eth0.100) ;;
	bond)		NICS=(bond0) ;;
	two-nics)	NICS=(eth0 eth1) ;;
	*)		NICS=(eth0) ;;
	esac
	POD_DEV=cni0 POD_MTU=1450 TUNNEL_PORT='' TUNNEL_DEV=''
	case $OVERLAY in
	vxlan)		TUNNEL_PORT=8472 TUNNEL_DEV=flannel.1 ;;
	geneve)		TUNNEL_PORT=6081 TUNNEL_DEV=geneve.1 ;;
	wireguard)	TUNNEL_PORT=51820 TUNNEL_DEV=wg0 POD_MTU=1420 ;;
	none)		POD_MTU=1500 ;;
	ovs-vxlan)	TUNNEL_PORT=4789 TUNNEL_DEV=vxlan_sys_4789 POD_DEV=antrea-gw0 ;;
	ovs-geneve)	TUNNEL_PORT=6081 TUNNEL_DEV=genev_sys_6081 POD_DEV=antrea-gw0 ;;
	esac
}

bed_is_ovs() { [[ $OVERLAY == ovs-* ]]; }

# find_namespaces: sets NAMESPACES to the bed's, found by name: state files may be lost.
find_namespaces()
{
	local f

	NAMESPACES=()
	for f in "/run/netns/$PREFIX-"*; do
		f=${f##*/}
		[[ ! $f =~ ^$PREFIX-(n[0-9]+(p[0-9]+)?|sw|out)$ ]] || NAMESPACES+=("$f")
	done
}

find_pins() { PINS=("/sys/fs/bpf/xmasq-$PREFIX-n"*); }

# True when anything of the bed is there.
bed_traces()
{
	find_namespaces
	find_pins
	[ -d "$STATE" ] || [ ${#NAMESPACES[@]} -gt 0 ] || [ ${#PINS[@]} -gt 0 ]
}

# ---- names ----------------------------------------------------------------

check_who()
{
	[[ $1 =~ ^(n[1-9][0-9]*(p[1-9][0-9]*)?|out|sw)$ ]] ||
		usage "'$1' is neither a node (n1), a pod (n1p1), out nor sw"
	[ -e "/run/netns/$PREFIX-$1" ] ||
		die "bed '$PREFIX' has no '$1': 'testbed.sh --prefix $PREFIX status' shows what it has"
}

# who_ip WHO: sets IP
who_ip()
{
	case $1 in
	n*p*)	[[ $1 =~ ^n([0-9]+)p([0-9]+)$ ]]
		# .11 to .254, then the low ones, of which .1 is the gateway's.
		IP=10.244.${BASH_REMATCH[1]}.$((BASH_REMATCH[2] <= 244 ? 10 + BASH_REMATCH[2] : BASH_REMATCH[2] - 243)) ;;
	n*)	IP=172.31.0.${1#n} ;;
	# One wire between two nodes: the outside host hangs off the first.
	out)	IP=172.31.0.254
		[ "$UNDERLAY" != veth ] || IP=172.30.1.254 ;;
	*)	die "'$1' has no address: the switch only bridges" ;;
	esac
}

# pod_file I P: sets POD_FILE, what is remembered of pod P of node I: "KIND MAC"
pod_file() { POD_FILE=$STATE/n$1/pod-$2; }

# pod_load I P: sets KIND, MAC and VETH, its interface on the node's side ('' when it has none)
pod_load()
{
	pod_file "$1" "$2"
	KIND='' MAC='' VETH=''
	[ -r "$POD_FILE" ] || return 0
	read -r KIND MAC < "$POD_FILE"
	pod_veth "$2"
}

# pod_veth P: sets VETH for pod P of kind KIND
pod_veth()
{
	VETH=''
	case $KIND in
	veth)		VETH=veth-p$1 ;;
	netkit-*)	VETH=nk-p$1 ;;
	esac
}

# POD... in NODE: sets PODS_OF to the numbers of its pods, ascending
pods_of()
{
	local f

	PODS_OF=()
	for f in "/run/netns/$PREFIX-n$1p"*; do
		PODS_OF+=("${f##*p}")
	done
	# Globs sort "10" before "2": an insertion sort of what is nearly sorted.
	local i j v
	for ((i = 1; i < ${#PODS_OF[@]}; i++)); do
		v=${PODS_OF[i]}
		for ((j = i; j > 0 && PODS_OF[j - 1] > v; j--)); do
			PODS_OF[j]=${PODS_OF[j - 1]}
		done
		PODS_OF[j]=$v
	done
}

in_ns() { local ns=$PREFIX-$1; shift; nsenter --net="/run/netns/$ns" -- "$@"; }
