#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run the fuzz targets, one after the other.
#
#   tests/fuzz/run.sh [--tap] [TARGET...]     targets: tests/fuzz/fuzz_TARGET.c, and "router" of
#                                             tests/afxdp/fuzz (default: all)
#
# Each target first runs its inputs once, those of tests/fuzz/corpus/TARGET and those that earlier
# runs found, then makes its own for FUZZ_SECONDS. A table tells what came of it, or with --tap two
# tests for each target. Exit status 1: something crashed; the input is build/fuzz/crash-TARGET-*.
#
# Environment: BUILD (build), FUZZ_SECONDS (30; 0: only the inputs there are), FUZZ_SEED
# (of libFuzzer; default: another one each time), FUZZ_LIMIT (MiB of memory, 2048).
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1

BUILD=${BUILD:-build}
seconds=${FUZZ_SECONDS:-30}
tap=no
targets=()
for arg; do
	case $arg in
	--tap) tap=yes ;;
	-*)
		echo "usage: tests/fuzz/run.sh [--tap] [TARGET...]" >&2
		exit 2
		;;
	*) targets+=("$arg") ;;
	esac
done
if [ ${#targets[@]} = 0 ]; then
	for src in tests/fuzz/fuzz_*.c tests/afxdp/fuzz/fuzz_*.c; do
		name=$(basename "$src" .c)
		targets+=("${name#fuzz_}")
	done
fi

child=
log=$(mktemp) || exit 1
cleanup() {
	[ -z "$child" ] || kill "$child" 2>/dev/null
	rm -f "$log"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# Sets program and seeds of TARGET
where() {
	program=$BUILD/fuzz/fuzz_$1 seeds=tests/fuzz/corpus/$1
	[ ! -e "tests/afxdp/fuzz/fuzz_$1.c" ] ||
		program=$BUILD/afxdp/fuzz_$1 seeds=tests/afxdp/fuzz/corpus
}

# fuzz TARGET ARG...: run it with its output in $log
fuzz() {
	local t=$1 args=()
	shift
	# Its packets are longer than libFuzzer thinks from the seeds.
	[ "$t" != router ] || args+=(-max_len=4096)
	[ ! -f "tests/fuzz/$t.dict" ] || args+=("-dict=tests/fuzz/$t.dict")
	mkdir -p "$BUILD/fuzz/corpus/$t"
	"$program" -artifact_prefix="$BUILD/fuzz/crash-$t-" -timeout=20 \
		-rss_limit_mb="${FUZZ_LIMIT:-2048}" -seed="${FUZZ_SEED:-0}" -print_final_stats=1 \
		"${args[@]}" "$@" "$BUILD/fuzz/corpus/$t" "$seeds" >"$log" 2>&1 \
		</dev/null &
	child=$!
	wait $child
	local rc=$?
	child=
	return $rc
}

# The end of the log without libFuzzer's progress.
plain_log() {
	grep -vE '^#[0-9]+[[:space:]]|NEW_FUNC' "$log" | tail -n 60
}

number=0 crashed=0
# result OK WHAT: one test of --tap, with the log when it failed
result() {
	number=$((number + 1))
	if [ "$1" = 0 ]; then
		[ $tap = no ] || echo "ok $number $2"
		return
	fi
	crashed=$((crashed + 1))
	if [ $tap = yes ]; then
		echo "not ok $number $2"
		plain_log | sed 's/^/# /'
	else
		plain_log >&2
	fi
}

[ $tap = yes ] || printf '%-10s %7s %12s %8s %8s  %s\n' target inputs executions edges features crashes
for t in "${targets[@]}"; do
	rc=0 runs=0 edges=0 features=0
	where "$t"
	if [ ! -x "$program" ]; then
		echo "$program is not built: run 'make fuzzers'" >"$log"
		result 1 "$t: is built"
		continue
	fi
	fuzz "$t" -runs=0 || rc=1
	result $rc "$t: corpus"
	if [ $rc = 0 ] && [ "$seconds" != 0 ]; then
		fuzz "$t" -max_total_time="$seconds" || rc=1
		runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
		result $rc "$t: $seconds s"
	fi
	read -r edges features < <(sed -nE 's/.* cov: ([0-9]+) ft: ([0-9]+) .*/\1 \2/p' "$log" | tail -n 1)
	input=-
	[ $rc = 0 ] || input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
	[ $tap = yes ] || printf '%-10s %7s %12s %8s %8s  %s\n' "$t" \
		"$(find "$BUILD/fuzz/corpus/$t" "$seeds" -type f | wc -l)" \
		"${runs:-?}" "${edges:-?}" "${features:-?}" \
		"${input:-yes}"
done
[ $tap = no ] || echo "1..$number"
[ $crashed = 0 ]
