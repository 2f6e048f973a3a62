# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bash completion of xmasqd.

_xmasqd()
{
	# shellcheck disable=SC2034 # _init_completion sets them all
	local cur prev words cword
	local options='--config -c --check-config --cleanup --cleanup-on-exit --force
		--help -h --version -V'

	_init_completion -s || return
	case $prev in
	--config | -c)
		_filedir yaml
		return
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
} &&
	complete -F _xmasqd xmasqd
