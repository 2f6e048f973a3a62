#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run tests with xmasqd and xmasqctl that are built with AddressSanitizer, LeakSanitizer and
# UndefinedBehaviorSanitizer (make SANITIZE=1 all tools), and look for what these have to say.
#
#   tests/sanitize.sh [--tap] [SUITE|FILE.bats...]     default: edge netns scripts faults
#
# What a sanitizer finds ends the process, which most tests notice. Some kill daemons anyway, and a leak
# is told when a process has done all it was asked for: so each report goes to a file, and a report is a
# failure whatever the tests say. With --tap FILEs only: "ok" for each file, and one for the reports.
#
# Beds have other names than usually, so that the same files may run beside this.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

tap=no
[ "${1:-}" != --tap ] || { tap=yes && shift; }
[ $# -gt 0 ] || set -- edge netns scripts faults

XMASQ_BUILD=$(readlink -f "${BUILD:-build}")/sanitize XM_BED=xms
export XMASQ_BUILD XM_BED XM_SANITIZE=1
for program in xmasqd xmasqctl tests/tools/xmt-flow; do
	[ -x "$XMASQ_BUILD/$program" ] || {
		echo "$XMASQ_BUILD/$program is missing: run 'make SANITIZE=1 all tools'" >&2
		exit 1
	}
done
reports=$(mktemp -d) || exit 1
child=
cleanup() {
	[ -z "$child" ] || kill "$child" 2>/dev/null
	rm -rf "$reports"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
# An allocation that fails is what some tests want to see survived.
export ASAN_OPTIONS=log_path=$reports/asan:allocator_may_return_null=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=log_path=$reports/ubsan:print_stacktrace=1
export LSAN_OPTIONS=

suites=() files=()
for what; do
	case $what in
	*.bats) files+=("$what") ;;
	*) suites+=("$what") ;;
	esac
done
if [ $tap = yes ] && [ ${#suites[@]} != 0 ]; then
	echo "usage: tests/sanitize.sh [--tap] [SUITE|FILE.bats...]; --tap takes files only" >&2
	exit 2
fi

# run COMMAND...: so that a signal ends it, too
run() {
	local rc

	"$@" </dev/null &
	child=$!
	wait $child
	rc=$?
	child=
	return $rc
}

rc=0 n=0
if [ ${#suites[@]} != 0 ]; then
	# Suites of programs have sanitizers in any build.
	run env "XM_TIMEOUT=${XM_TIMEOUT:-7200}" tests/run.sh "${suites[@]}" || rc=1
fi
for file in "${files[@]}"; do
	n=$((n + 1))
	if run bats --formatter tap "$file" >"$reports/out" 2>&1; then
		[ $tap = no ] || echo "ok $n $(basename "$file" .bats): $(grep -c '^ok' "$reports/out") tests"
		[ $tap = yes ] || cat "$reports/out"
	else
		rc=1
		[ $tap = no ] || echo "not ok $n $(basename "$file" .bats)"
		sed 's/^/# /' "$reports/out"
	fi
done
n=$((n + 1))
found=("$reports"/asan.* "$reports"/ubsan.*)
if [ -e "${found[0]}" ] || [ -e "${found[-1]}" ]; then
	rc=1
	[ $tap = no ] || echo "not ok $n no sanitizer has anything to report"
	for f in "${found[@]}"; do
		[ ! -e "$f" ] || { echo "# ${f##*/}" && sed 's/^/#   /' "$f"; } | head -n 60
	done
elif [ $tap = yes ]; then
	echo "ok $n no sanitizer has anything to report"
else
	echo "no sanitizer has anything to report"
fi
[ $tap = no ] || echo "1..$n"
exit $rc
