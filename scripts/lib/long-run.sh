# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# long-run.sh - what soak.sh and scale.sh share: one bed, processes that run beside it, and waiting.
#
# The caller sets ROOT, BUILD, PREFIX (of the bed) and OUT, and calls run_begin before anything else.
# What it starts it adds to PIDS; that, the bed and WORK are gone when it ends, however it ends.

# shellcheck disable=SC2034 # the callers use them
BED=$ROOT/scripts/testbed.sh TOOLS=$BUILD/tests/tools WORK='' PIDS=()

die() { echo "${0##*/}: $*" >&2; exit 1; }
say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }

run_end()
{
	local pid

	for pid in "${PIDS[@]}"; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	"$BED" down >/dev/null 2>&1 || :
	[ -z "$WORK" ] || rm -rf -- "$WORK"
}

# run_begin PROGRAM...: those of the build that are needed
run_begin()
{
	local program

	[ "$(id -u)" = 0 ] || die "needs root"
	for program; do
		[ -x "$program" ] || die "$program is missing: run 'make all tests'"
	done
	export XMASQ_BED=$PREFIX
	trap run_end EXIT
	trap 'exit 130' INT TERM HUP
	mkdir -p "$OUT"
	WORK=$(mktemp -d)
}

ctl() { "$BUILD/xmasqctl" --socket "/run/xmasq-$PREFIX/$1/xmasqd.sock" "${@:2}"; }

# until_true SECONDS COMMAND...
until_true()
{
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || { echo "not so in time: $*" >&2; return 1; }
		sleep 0.02
	done
}
