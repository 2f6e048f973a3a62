# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bed-policy.sh - a network policy that starts to deny, for testbed.sh: on bridges a rule at the
# head of FORWARD, as agents write it; on Open vSwitch a flow in the table of egress rules.
# STATE/nN/policy has what is denied, one line each.

cmd_policy()
{
	local node=${1:-} verb=${2:-} match file

	case $verb in
	deny|allow|clear) ;;
	*) usage "policy: give it as 'policy NODE deny|allow|clear ...'" ;;
	esac
	shift 2
	need_root
	bed_load
	[[ $node =~ ^n[1-9][0-9]*$ ]] || usage "policy: '$node' is no node; nodes are n1 to n$NODES"
	check_who "$node"
	file=$STATE/$node/policy
	if [ "$verb" = clear ]; then
		[ $# -eq 0 ] || usage "policy clear: unknown argument '$1'"
		policy_clear "$node" "$file"
		return
	fi
	policy_match "$@"
	if [ "$verb" = deny ]; then
		! policy_listed "$file" || die "$node denies that already"
		policy_apply "$node" deny "$match"
		printf '%s\n' "$match" >> "$file"
	else
		policy_listed "$file" || die "$node does not deny that: 'allow' takes back what 'deny' said"
		policy_apply "$node" allow "$match"
		policy_forget "$file"
	fi
}

# policy_match OPTIONS...: sets match, in the words of the overlay
policy_match()
{
	local from='' to='' proto='' sport='' dport=''

	while [ $# -gt 0 ]; do
		need_value "$@"
		case $1 in
		--from)		policy_address "$2"; from=$IP ;;
		--to)		policy_address "$2"; to=$IP ;;
		--proto)	check_choice --proto "$2" tcp udp icmp; proto=$2 ;;
		--sport)	check_number --sport "$2" 1 65535; sport=$2 ;;
		--dport)	check_number --dport "$2" 1 65535; dport=$2 ;;
		*)		usage "policy: unknown argument '$1'" ;;
		esac
		shift 2
	done
	[[ -z $sport$dport || $proto == tcp || $proto == udp ]] ||
		usage "policy: --sport and --dport need --proto tcp or udp"
	if bed_is_ovs; then
		match=${proto:-ip}${from:+,nw_src=$from}${to:+,nw_dst=$to}
		match+=${sport:+,tp_src=$sport}${dport:+,tp_dst=$dport}
	else
		match="${proto:+-p $proto }${from:+-s $from }${to:+-d $to }"
		match+="${sport:+--sport $sport }${dport:+--dport $dport }-j DROP"
	fi
}

policy_address()
{
	IP=$1
	[[ $1 =~ ^[0-9.]+(/[0-9]+)?$ ]] || { check_who "$1"; who_ip "$1"; }
}

# policy_apply NODE deny|allow MATCH
policy_apply()
{
	local i=${1#n} verb=-I

	if bed_is_ovs; then
		if [ "$2" = deny ]; then
			ovs_flows "$i" <<< "table=50,priority=1000,$3 actions=drop"
		else
			ovs_ofctl "$i" --strict del-flows br-int "table=50,priority=1000,$3"
		fi
		return
	fi
	[ "$2" = deny ] || verb=-D
	[ -n "$IPTABLES" ] || firewall_tool
	# shellcheck disable=SC2086 # words
	in_ns "$1" "$IPTABLES" --wait 5 $verb FORWARD $3
}

policy_listed()
{
	local line

	[ -e "$1" ] || return 1
	while read -r line; do
		[ "$line" != "$match" ] || return 0
	done < "$1"
	return 1
}

policy_forget()
{
	local lines line

	mapfile -t lines < "$1"
	for line in "${lines[@]}"; do
		[ "$line" = "$match" ] || printf '%s\n' "$line"
	done > "$1"
}

# Goes on when a test has flushed the rules by itself.
policy_clear()
{
	local lines line

	[ -e "$2" ] || return 0
	mapfile -t lines < "$2"
	rm -f -- "$2"
	for line in "${lines[@]}"; do
		policy_apply "$1" allow "$line" || say "$1 no longer denied '$line'"
	done
}
