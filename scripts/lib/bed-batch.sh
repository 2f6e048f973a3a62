# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-batch.sh - what is to be done in a namespace is queued and then done by one "ip -batch",
# for testbed.sh. When the kernel refuses, it says which part of the kernel is missing.
#
#   q n1 'link add cni0 type bridge'		lines of "ip -batch"
#   before n1 'echo 1 > ...'			sh, in /proc/sys/net of n1, before these lines
#   after n1 'echo 1 > ...'			the same, after them
#   flush n1					does all that, in one process chain

declare -gA QUEUE=() BEFORE=() AFTER=()

q()      { QUEUE[$1]+=${*:2}$'\n'; }
before() { BEFORE[$1]+=${*:2}$'\n'; }
after()  { AFTER[$1]+=${*:2}$'\n'; }

flush()
{
	local who=$1 ns=$PREFIX-$1 errors=$STATE/error.$1 status=0

	if [ -n "${BEFORE[$who]:-}${AFTER[$who]:-}" ]; then
		nsenter --net="/run/netns/$ns" -- sh -ec "cd /proc/sys/net
			${BEFORE[$who]:-}
			ip -batch -
			${AFTER[$who]:-}" <<< "${QUEUE[$who]:-}" 2> "$errors" || status=$?
	elif [ -n "${QUEUE[$who]:-}" ]; then
		ip -n "$ns" -batch - <<< "${QUEUE[$who]}" 2> "$errors" || status=$?
	fi
	[ "$status" = 0 ] || flush_failed "$who" "$errors"
	unset "QUEUE[$who]" "BEFORE[$who]" "AFTER[$who]"
}

# flush_failed WHO ERRORS
flush_failed()
{
	local text line

	read -r -d '' text < "$2" || :
	mapfile -t line <<< "${QUEUE[$1]:-}"
	printf '%s\n' "$text" >&2
	[[ ! $text =~ 'Command failed -:'([0-9]+) ]] ||
		printf "the command was: ip -n %s %s\n" "$PREFIX-$1" "${line[BASH_REMATCH[1] - 1]}" >&2
	explain_kernel
	die "cannot set up $1: the message is above"
}

# ---- what this kernel can do --------------------------------------------------

# explain_kernel: dies with the name of what the kernel lacks, when it lacks something that this
# bed or pod (KIND) needs. Only after a failure: asking takes longer than trying.
explain_kernel()
{
	case $OVERLAY in
	vxlan)		needs VXLAN 'VXLAN devices' ;;
	geneve)		needs GENEVE 'Geneve devices'
			needs LWTUNNEL 'routes into tunnels' ;;
	wireguard)	needs WIREGUARD 'WireGuard devices' ;;
	ovs-vxlan)	needs OPENVSWITCH 'Open vSwitch datapath'
			needs VXLAN 'VXLAN devices' ;;
	ovs-geneve)	needs OPENVSWITCH 'Open vSwitch datapath'
			needs GENEVE 'Geneve devices' ;;
	esac
	case $UNDERLAY in
	vlan)		needs VLAN_8021Q 'VLAN devices' ;;
	bond)		needs BONDING 'bonding devices' ;;
	esac
	case ${KIND:-$POD_KIND} in
	netkit-*|mixed)	needs NETKIT 'netkit devices' ;;
	macvlan)	needs MACVLAN 'macvlan devices' ;;
	esac
}

# needs FEATURE WHAT
needs()
{
	! kernel_has "$1" || return 0
	die "this kernel ($(uname -r)) has no $2 (CONFIG_$1): run this on one that has," \
	    "for example with 'scripts/vm.sh run -- scripts/testbed.sh ...'"
}

# kernel_has FEATURE: tries it, in a namespace that is gone when the program ends
kernel_has()
{
	local cmd='ip link add t0 type veth peer name t1; ip link set t0 up; '

	case $1 in
	OPENVSWITCH)	cmd='genl ctrl get name ovs_datapath' ;;
	VXLAN)		cmd+='ip link add x type vxlan id 1 dstport 1' ;;
	GENEVE)		cmd+='ip link add x type geneve id 1 remote 192.0.2.1' ;;
	WIREGUARD)	cmd+='ip link add x type wireguard' ;;
	BONDING)	cmd+='ip link add x type bond' ;;
	VLAN_8021Q)	cmd+='ip link add link t0 name x type vlan id 5' ;;
	MACVLAN)	cmd+='ip link add link t0 name x type macvlan mode bridge' ;;
	# iproute2 need not know the kind when there is nothing to say about it.
	NETKIT)		cmd+='ip link add type netkit' ;;
	LWTUNNEL)	cmd+='ip route add 192.0.2.0/24 encap ip id 1 dst 192.0.2.1 dev t0' ;;
	esac
	unshare --net -- sh -c "$cmd" >/dev/null 2>&1
}
