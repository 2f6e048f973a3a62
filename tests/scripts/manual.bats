#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The manual says what the programs do, and completion offers what they take.

setup() {
	bats_require_minimum_version 1.5.0
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	B=${BUILD:-$PWD/build}
}

# The long options of a --help text.
long_options() { grep -oE -- '(^|[^[:alnum:]-])--[a-z][a-z-]*' | grep -oE -- '--.*' | sort -u; }

# The page as text: what a reader sees, without line breaks in words.
page() { MANWIDTH=500 man --no-hyphenation -l "docs/man/$1" | col -b; }

# Section and key, as config.c has them.
config_keys() {
	sed -nE 's/^\t\{ TOP\(([a-z_]+)\),.*/\1/p; s/^\t\{ IN\(([a-z_]+), ([a-z_]+)\),.*/\1.\2/p' \
		user_prog/core/config.c
}

commands() { "$B/xmasqctl" help | sed -nE 's/^  ([a-z]+) +[a-z].*/\1/p' | sort -u; }

@test "man and mandoc have nothing to say about the manual" {
	local p out

	for p in docs/man/*.[58]; do
		out=$(man --warnings -l "$p" 2>&1 >/dev/null)
		[ -z "$out" ] || { echo "$p: $out"; return 1; }
		# Style is another matter: it would have system's pages indexed, for one.
		mandoc -T lint -W warning "$p"
	done
}

@test "the options of --help are those of the manual" {
	local p

	for p in xmasqd xmasqctl; do
		[ "$("$B/$p" --help | long_options | wc -l)" -ge 6 ]
		diff <({ "$B/$p" --help | long_options && echo --help && echo --version; } | sort -u) \
			<(page "$p.8" | long_options)
	done
}

@test "the commands of xmasqctl are those of the manual" {
	[ "$(commands | wc -l)" -ge 10 ]
	diff <(commands) <(sed -n '/^\.Sh COMMANDS/,/^\.Sh ENV/s/^\.It Ic \([a-z]*\).*/\1/p' \
		docs/man/xmasqctl.8 | sort -u)
}

@test "every word that a table may have as its state is explained" {
	local word text

	text=$(page xmasqctl.8)
	for word in $(sed -n 's/^\t\treturn "\([a-z-]*\)";$/\1/p' user_prog/core/hello_text.c) \
		new seen told active lapsed ended fast overlay drop event; do
		grep -qw -- "$word" <<<"$text" || { echo "no word about $word"; return 1; }
	done
	# Columns, as the tables head them.
	for word in $(sed -nE '/^static int show_(pods|flows|peers)/,/};/p' user_prog/core/show.c |
		grep -oE '\{ "[A-Z ]+"' | tr -d '{" ' ); do
		tr -d ' ' <<<"$text" | grep -q -- "$word" || { echo "no column $word"; return 1; }
	done
}

@test "the keys of the configuration are those of the manual, with their defaults" {
	local key default line

	[ "$(config_keys | wc -l)" -ge 20 ]
	diff <(config_keys | sort) \
		<(sed -nE 's/^\.It Ic ([a-z_.]+) : .*/\1/p' docs/man/xmasqd.yaml.5 | sort)
	# The sample names the default of each, and is compared with the code elsewhere.
	while read -r key; do
		default=$(sed -nE "s/^# *${key##*.}: ([^[{]+)$/\1/p; s/^#${key}: ([^[{]+)$/\1/p" \
			deploy/xmasqd.yaml | sort -u)
		line=$(sed -n "/^\.It Ic $key : /,/^\.It Ic /p" docs/man/xmasqd.yaml.5 |
			sed -n '/^Default:/,/^\.\(It\|Em\)/p' | tr '\n' ' ')
		[ -n "$line" ] || { echo "$key: no default"; return 1; }
		case $default in
		'' | '""' | '[]') ;;
		*) grep -qF -- "$default" <<<"$line" || {
			echo "$key: default $default, the manual has $line"
			return 1
		} ;;
		esac
	done < <(config_keys)
}

@test "the manual marks the keys that need a restart" {
	local key want has

	for key in $(config_keys); do
		want=no has=no
		awk -v k="$key" 'BEGIN { n = split(k, p, "."); w = n == 1 ? "TOP(" k ")" : "IN(" p[1] ", " p[2] ")" }
			index($0, "{ " w) { on = 1 } on { print } on && /help/ { exit }' \
			user_prog/core/config.c | grep -q 'RESTART' && want=yes
		sed -n "/^\.It Ic $key : /,/^\.\(It Ic\|El\)/p" docs/man/xmasqd.yaml.5 |
			grep -q '^\.Em Restart' && has=yes
		[ $want = $has ] || { echo "$key: restart $want, the manual has $has"; return 1; }
	done
}

# complete_ WORD...: what is offered for the last word
complete_() {
	# shellcheck disable=SC2016 # of the inner shell
	bash --norc -c '
		. /usr/share/bash-completion/bash_completion
		. "deploy/$1.bash"
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
		COMP_TYPE=9 COMPREPLY=()
		"_$1"
		[ ${#COMPREPLY[@]} = 0 ] || printf "%s\n" "${COMPREPLY[@]}"' bash "$@" | sort
}

@test "completion offers the commands of xmasqctl, and its options" {
	[ -r /usr/share/bash-completion/bash_completion ]
	[ "$(complete_ xmasqctl '')" = "$(commands)" ]
	[ "$(complete_ xmasqctl fl)" = $'flows\nflush' ]
	[ "$(complete_ xmasqctl -o '')" = $'json\ntable' ]
	[ "$(complete_ xmasqctl --output j)" = json ]
	[ "$(complete_ xmasqctl -o json st)" = status ]
	[ "$(complete_ xmasqctl flush --p)" = $'--peer\n--pod' ]
	[ "$(complete_ xmasqctl flows --a)" = --active ]
	[ -z "$(complete_ xmasqctl status --a)" ]
	[ -z "$(complete_ xmasqctl status '')" ]
	# Whatever the command takes, all together.
	diff <("$B/xmasqctl" help | long_options | cat - <(printf '%s\n' --help --version) | sort -u) \
		<(for c in counters flows flush monitor bugtool; do complete_ xmasqctl $c --; done | sort -u)
}

@test "completion offers xmasqd's options, and files where they are meant" {
	diff <("$B/xmasqd" --help | long_options) <(complete_ xmasqd --)
	touch "$BATS_TEST_TMPDIR/one.yaml" "$BATS_TEST_TMPDIR/two.txt"
	mkdir "$BATS_TEST_TMPDIR/dir"
	[ "$(complete_ xmasqd --config "$BATS_TEST_TMPDIR/")" = \
		"$(printf '%s\n' "$BATS_TEST_TMPDIR/dir" "$BATS_TEST_TMPDIR/one.yaml")" ]
	[ "$(complete_ xmasqd -c "$BATS_TEST_TMPDIR/o")" = "$BATS_TEST_TMPDIR/one.yaml" ]
	touch "$BATS_TEST_TMPDIR/xmasqd.sock"
	[ "$(complete_ xmasqctl --socket "$BATS_TEST_TMPDIR/x")" = "$BATS_TEST_TMPDIR/xmasqd.sock" ]
}
