# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bash completion of xmasqctl.

_xmasqctl()
{
	local cur prev words cword
	local commands='status pods flows peers counters flush cleanup config trace monitor bugtool version help'
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
	fi
} &&
	complete -F _xmasqctl xmasqctl
