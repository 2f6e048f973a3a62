# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bash completion of xmasqctl.

# The words behind "policy", by the one before.
_xmasqctl_policy()
{
	local next

	case $prev in
	policy) next='list add del test' ;;
	list) return ;;
	test) next='tcp udp icmp sctp' ;;
	add) next='allow deny overlay' ;;
	allow | deny | overlay) next='egress ingress' ;;
	del)
		next=$("${words[0]}" policy list -o json 2>/dev/null |
			sed -n 's/^ *"name": *"\([^"]*\)".*/\1/p')
		;;
	from | to) next=any ;;
	port | priority | name | protocol) return ;;
	*) next='tcp udp icmp sctp protocol from to port priority name' ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$next" -- "$cur")
}

_xmasqctl()
{
	local cur prev words cword
	local commands='status pods flows peers counters flush cleanup config trace policy monitor bugtool version help'
	local options='--socket --output -o --no-color --help -h --version -V'
	local word command='' i skip=''

	_init_completion -s || return
	# split: "--output=j" has come as prev "--output" and cur "j"
	case $prev in
	--socket)
		_filedir
		return
		;;
	--output | -o)
		mapfile -t COMPREPLY < <(compgen -W 'table json' -- "$cur")
		return
		;;
	--to)
		_filedir
		return
		;;
	--limit | --flow | --pod | --peer | --interval | --count)
		return
		;;
	esac

	for ((i = 1; i < cword; i++)); do
		word=${words[i]}
		if [[ -n $skip ]]; then
			skip=
			continue
		fi
		case $word in
		--socket | --output | -o | --limit | --flow | --pod | --peer | --interval | --count | --to) skip=1 ;;
		-* | =) ;;
		*)
			[[ " $commands " != *" $word "* ]] || command=$word
			;;
		esac
	done
	case $command in
	counters) options+=' --all -a' ;;
	flows) options+=' --active --limit' ;;
	monitor) options+=' --interval --count --limit --flow --pod --peer' ;;
	bugtool) options+=' --to' ;;
	flush) options+=' --all -a --flow --pod --peer' ;;
	esac
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
	elif [[ -z $command ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
	elif [[ $command == policy ]]; then
		_xmasqctl_policy
	fi
} &&
	complete -F _xmasqctl xmasqctl
