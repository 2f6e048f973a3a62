#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run the test suites and sum them up.
#
#   tests/run.sh [SUITE...]      suites: unit edge prog fuzz scripts netns faults containers
#                                memory afxdp k8s vm (default: all, in this order, memory and
#                                afxdp beside netns, faults and containers, which mostly wait)
#
#   unit     build/tests/unit/test_*, one per tests/unit/test_*.c (cmocka, sanitizers)
#   edge     build/tests/edge/test_*, one per tests/edge/test_*.c (the same, against the kernel; root)
#   prog     build/tests/prog/xmasq-prog-test (the BPF programs on crafted packets; root)
#   fuzz     build/fuzz/fuzz_*, each for FUZZ_SECONDS and its inputs once (tests/fuzz/run.sh;
#            `make fuzzers` builds them)
#   scripts  tests/scripts/*.bats, where there are any
#   netns    tests/netns/*.bats (end to end, in network namespaces; root)
#   faults   tests/faults/*.bats (the same, on three nodes under load, while things break; with
#            XM_FULL=1 all of it, and longer)
#   containers  tests/containers/*.bats (the same with containers of containerd, Docker and podman,
#            which scripts/setup.sh containers installs; root)
#   memory   some of the netns suite with sanitizers (tests/sanitize.sh; `make SANITIZE=1 all tools`
#            builds what they need) and tests/memory/*.bats (root)
#   afxdp    build/tests/afxdp/test_* (cmocka) and tests/afxdp/e2e/*.bats (network namespaces, and
#            Docker where there is any; root)
#   k8s      tests/k8s/*.bats (a real Kubernetes of two nodes, with xmasq as a DaemonSet; root);
#            builds Kubernetes when it is not cached, which takes some six minutes, begun at once
#            in the time that the suites before this one leave. With XM_FULL=1 also
#            scripts/provision.sh, with kubeadm on two hosts
#   vm       tests/vm/*.bats (scripts/vm.sh), and tests/vm/matrix: some of the above on other
#            kernels, in virtual machines; builds the kernels when they are not cached, which takes
#            some ten minutes each. Kernels and machines are begun at once, in the time that the
#            suites before this one leave
#
# Every test program speaks TAP on stdout. A program that is killed, runs out of time, exits
# non-zero without a failed test or does not finish its plan is a failure, and so is a suite
# without a single test. With CI=true a skipped test is a failure unless its reason starts with
# "allowed:". A test of the suites scripts, netns, faults and containers that failed while the machine stood still
# (xmt-stall: a CPU got nothing done for more than 100 ms) is run once more, and the output says
# so: their bounds are in milliseconds. The same goes for tests in a virtual machine that was begun while
# other suites ran. Not so one that says "xmasq: never excused". The last line is
# `N passed, N failed, N skipped`; the exit status is 0 when nothing failed.
#
# Environment: BUILD (build), CI, XM_TIMEOUT (seconds per suite, instead of those below),
# FUZZ_SECONDS (5), XM_VM_SET (sets of the matrix: "ci", or "ci all"), XM_VM_ONLY (a regular
# expression that picks lines by their names, such as "6.1 .* rpeer").
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
shopt -s nullglob

BUILD=${BUILD:-build}
declare -A time_limit=([unit]=300 [edge]=300 [prog]=300 [fuzz]=600 [scripts]=1200 [netns]=2400
	[faults]=1500 [containers]=600 [memory]=1200 [afxdp]=900 [k8s]=900 [vm]=3000)

passed=0 failed=0 skipped=0
failures=() # one text per failure: what, then its output
child=      # process group of the running test program, for the trap
watcher=    # xmt-stall, where there is one
k8s_worker= # what builds Kubernetes
vm_worker=  # what boots the machines of the suite vm
summary=${XM_SUMMARY:-} # for which run of this script this one works: a file for the sums and failures
unset XM_SUMMARY
beside=     # this script with the suites that run beside others

tmp=$(mktemp -d) || exit 1

cleanup() {
	[ -z "$child" ] || kill -KILL -- "-$child" 2>/dev/null
	[ -z "$watcher" ] || kill "$watcher" 2>/dev/null
	# vm.sh and build.sh take what they started with them.
	for worker in $beside $k8s_worker $vm_worker; do
		# shellcheck disable=SC2046 # words
		kill $(tree "$worker") 2>/dev/null
	done
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

if [ -t 1 ]; then
	green=$'\e[32m' red=$'\e[31m' yellow=$'\e[33m' plain=$'\e[0m'
else
	green='' red='' yellow='' plain=''
fi

pass() {
	passed=$((passed + 1))
	printf '  %sok%s    %s\n' "$green" "$plain" "$1"
}

# fail WHAT [OUTPUT]
fail() {
	failed=$((failed + 1))
	failures+=("$1"${2:+$'\n'"$2"})
	printf '  %sFAIL%s  %s\n' "$red" "$plain" "$1"
}

# skip WHAT REASON
skip() {
	if [ "${CI:-}" = true ] && [[ $2 != allowed:* ]]; then
		fail "$1" "skipped in CI, where it must run: ${2:-no reason given}"
		return
	fi
	skipped=$((skipped + 1))
	printf '  %sskip%s  %s%s\n' "$yellow" "$plain" "$1" "${2:+ ($2)}"
}

# run_tap NAME SECONDS COMMAND...: run one TAP producer and count its tests.
run_tap() {
	local name=$1 limit=$2 rc line lines reader not what why
	local plan=0 planned=no ran=0 bad=0 bail='' pending='' detail=''
	local out=$tmp/out err=$tmp/err
	shift 2

	# The output goes through a file: a daemon that a test left behind would hold a pipe open
	# and this script with it. timeout makes a process group of its own.
	: >"$out"
	timeout -k 10 "$limit" "$@" >"$out" 2>"$err" </dev/null &
	child=$!
	exec {lines}< <(exec tail -s 0.1 -n +1 -f --pid="$child" "$out" 2>/dev/null)
	reader=$!

	while IFS= read -r line <&"$lines" || [ -n "$line" ]; do
		if [[ $line =~ ^(not\ )?ok($|[[:space:]]+([0-9]+)?([[:space:]]*-)?[[:space:]]*(.*)$) ]]; then
			not=${BASH_REMATCH[1]} what=${BASH_REMATCH[5]} why=
			ran=$((ran + 1))
			# What follows a failed test explains it: the failure is filed when the
			# next result comes.
			if [ -n "$pending" ]; then
				fail "$pending" "$detail"
				pending='' detail=''
			fi
			if [[ $what =~ ^(.*)#[[:space:]]*([sS][kK][iI][pP]|[tT][oO][dD][oO])(.*)$ ]]; then
				what=$(trim "${BASH_REMATCH[1]}") why=$(trim "${BASH_REMATCH[3]}")
				# cmocka knows no reasons: it prints the name of the test there.
				[ -n "$what" ] || { what=$why && why=; }
				skip "$name: $what" "$why"
				detail=
			elif [ -n "$not" ]; then
				bad=$((bad + 1))
				pending="$name: $what"
			else
				pass "$name: $what"
				detail=
			fi
		elif [[ $line =~ ^1\.\.([0-9]+)(.*)$ ]]; then
			# cmocka prints one plan for each group of tests.
			planned=yes
			plan=$((plan + BASH_REMATCH[1]))
			why=${BASH_REMATCH[2]}
			if [ "${BASH_REMATCH[1]}" = 0 ] && [[ ${why,,} == *"# skip"* ]]; then
				skip "$name" "$(trim "${why#*[sS][kK][iI][pP]}")"
			fi
		elif [[ $line == "Bail out!"* ]]; then
			bail=$line
		elif [ -n "$line" ]; then
			detail+=$line$'\n'
		fi
	done
	exec {lines}<&-
	wait "$child" 2>/dev/null # quiet: bash would report a signal on stderr too
	rc=$?
	# End what the program left running in its process group.
	kill -TERM -- "-$child" 2>/dev/null
	child=
	wait "$reader" 2>/dev/null

	[ ! -s "$err" ] || detail+="stderr (last 60 lines):"$'\n'"$(tail -n 60 "$err")"
	[ -z "$pending" ] || fail "$pending" "$detail"

	if [ -n "$bail" ]; then
		fail "$name: $bail" "$detail"
	elif [ $rc = 124 ]; then
		fail "$name: not done after $limit s (a process that a test left running?)" "$detail"
	elif [ $rc -gt 128 ]; then
		fail "$name: killed by signal $(kill -l $((rc - 128)))" "$detail"
	elif [ $planned = no ]; then
		fail "$name: no TAP plan (exit status $rc)" "$detail"
	elif [ $ran != $plan ]; then
		fail "$name: planned $plan tests, ran $ran (exit status $rc)" "$detail"
	elif [ $rc != 0 ] && [ $bad = 0 ]; then
		fail "$name: no test failed, yet the exit status is $rc" "$detail"
	fi
}

trim() {
	local t=${1#"${1%%[![:space:]]*}"}
	printf '%s' "${t%"${t##*[![:space:]]}"}"
}

need_root() {
	[ "$(id -u)" = 0 ] || {
		fail "$1: needs root; run with sudo"
		return 1
	}
}

# The rest of the running suite's time, at least 1 s.
left() {
	echo $((deadline > SECONDS ? deadline - SECONDS : 1))
}

# run_cmocka DIR [SUBDIRECTORY]: every test program of tests/DIR, whose sources may be below
run_cmocka() {
	local src name
	# From the sources, so that a stale binary is not run and a missing one is noticed.
	for src in "tests/$1${2:+/$2}"/test_*.c; do
		name=$1/$(basename "$src" .c)
		if [ -x "$BUILD/tests/$name" ]; then
			CMOCKA_MESSAGE_OUTPUT=TAP run_tap "$name" "$(left)" "$BUILD/tests/$name"
		else
			fail "$name: not built; run 'make tests'"
		fi
	done
}

suite_unit() {
	run_cmocka unit
}

suite_edge() {
	need_root edge || return
	run_cmocka edge
}

suite_prog() {
	need_root prog || return
	if [ -x "$BUILD/tests/prog/xmasq-prog-test" ]; then
		run_tap prog "$(left)" "$BUILD/tests/prog/xmasq-prog-test"
	else
		fail "prog: $BUILD/tests/prog/xmasq-prog-test is not built; run 'make tests'"
	fi
}

# stalls SINCE: how often and how long the machine stood still since then, empty when it did not
stalls() {
	awk -v since="$1" '$1 > since { n++; ms = $2 > ms ? $2 : ms }
		END { if (n) printf "%d times, up to %d ms", n, ms }' "$tmp/stalls" 2>/dev/null
}

# again FILE FROM: takes back the failures of FILE, those from index FROM on, and runs these tests
# once more; the whole file when it is not single tests that failed
again() {
	local file=$1 from=$2 name what test tests=() only=()

	name=$(basename "$(dirname "$file")")/$(basename "$file" .bats)
	for what in "${failures[@]:$from}"; do
		what=${what%%$'\n'*}
		test=${what#"$name: "}
		grep -qF "@test \"$test\"" "$file" || {
			tests=()
			break
		}
		# shellcheck disable=SC2001 # a regular expression, not a pattern
		tests+=("$(sed 's/[][\.*^$+?(){}|]/\\&/g' <<<"$test")")
	done
	failed=$((failed - ${#failures[@]} + from))
	failures=("${failures[@]:0:$from}")
	if [ ${#tests[@]} != 0 ]; then
		only=(--filter "^($(IFS='|' && echo "${tests[*]}"))\$")
	else
		passed=$passed_before skipped=$skipped_before
	fi
	run_tap "$name (again)" "$(left)" bats --formatter tap "${only[@]}" "$file"
}

# One bats for each file: failures carry the file's name, and one file that dies hurts no other.
run_bats() {
	local file since from still passed_before skipped_before

	[ ! -x "$BUILD/tests/tools/xmt-stall" ] || [ -n "$watcher" ] || {
		"$BUILD/tests/tools/xmt-stall" 100 >"$tmp/stalls" 2>/dev/null </dev/null &
		watcher=$!
	}
	for file; do
		since=$("$BUILD/tests/tools/xmt-stall" --now 2>/dev/null || echo 0)
		from=${#failures[@]} passed_before=$passed skipped_before=$skipped
		run_tap "$(basename "$(dirname "$file")")/$(basename "$file" .bats)" "$(left)" \
			bats --formatter tap "$file"
		[ ${#failures[@]} != "$from" ] || continue
		still=$(stalls "$since")
		[ -n "$still" ] || continue
		# No stall explains data that is wrong, lost or at the wrong pod.
		[[ "${failures[*]:$from}" != *"xmasq: never excused"* ]] || continue
		echo "  the machine stood still $still: once more"
		printf '%s\n' "${failures[@]:$from}" | sed 's/^/    /'
		again "$file" "$from"
	done
}

suite_scripts() {
	run_bats tests/scripts/*.bats
}

suite_netns() {
	need_root netns || return
	run_bats tests/netns/*.bats
}

suite_faults() {
	need_root faults || return
	run_bats tests/faults/*.bats
}

suite_containers() {
	need_root containers || return
	run_bats tests/containers/*.bats
}

suite_memory() {
	need_root memory || return
	run_tap memory/sanitize "$(left)" tests/sanitize.sh --tap tests/netns/{daemon,ctl}.bats
	run_bats tests/memory/*.bats
}

suite_afxdp() {
	need_root afxdp || return
	run_cmocka afxdp unit
	run_bats tests/afxdp/e2e/*.bats
}

k8s_begin() {
	tests/k8s/build.sh >/dev/null 2>"$tmp/k8s.err" </dev/null &
	k8s_worker=$!
	background_of "$k8s_worker"
}

suite_k8s() {
	need_root k8s || return
	foreground "$k8s_worker"
	wait "$k8s_worker" || {
		fail "k8s: Kubernetes could not be built" "$(tail -n 20 "$tmp/k8s.err")"
		return
	}
	k8s_worker=
	# As long as the cluster takes, not the compiler.
	deadline=$((SECONDS + ${XM_TIMEOUT:-${time_limit[k8s]}}))
	run_bats tests/k8s/*.bats
}

# vm_row FILE KERNEL WHAT OVERLAY UNDERLAY PODS MODE: FILE.tap, FILE.err, and at the end FILE.done.
# $only: a regular expression for the tests of what, where they are in bats
vm_row() {
	local file=$1 kernel=$2 what=$3 rc=0 args=()

	[ "$kernel" = "${kernel%-stock}" ] || args+=(--stock)
	[ "$what" != cards ] || args+=(--cards)
	scripts/vm.sh run --kernel "${kernel%-stock}" "${args[@]}" \
		--cpus 1 --timeout 3600 --strict \
		--env CI="${CI:-}" --env BUILD="$BUILD" --env XM_OVERLAY="${4#-}" \
		--env XM_UNDERLAY="${5#-}" --env XM_POD="${6#-}" --env XM_MODE="${7#-}" \
		--env XM_ONLY="${only:-}" -- tests/vm/guest.sh "$what" >"$file.tap" 2>"$file.err" </dev/null || rc=$?
	echo "$rc" >"$file.done"
}

vm_names=() vm_rows=() vm_kernels=()

# The lines of the matrix that are wanted, and the kernels that they need
vm_matrix() {
	local set kernel what overlay underlay pods mode name

	while read -r set kernel what overlay underlay pods mode; do
		[[ $set != '#'* && " ${XM_VM_SET:-ci} " == *" $set "* ]] || continue
		name="$kernel $what $overlay $underlay $pods $mode"
		[[ ${name// -/} =~ ${XM_VM_ONLY:-} ]] || continue
		vm_names+=("${name// -/}")
		vm_rows+=("$name")
		[[ " ${vm_kernels[*]} " == *" $kernel "* ]] || vm_kernels+=("$kernel")
	done <tests/vm/matrix
}

# Builds the kernels that are missing, then boots one machine for each processor, in order.
vm_work() {
	local kernel stock i

	for kernel in "${vm_kernels[@]}"; do
		stock=()
		[ "$kernel" = "${kernel%-stock}" ] || stock=(--stock)
		kernel-patch/build.sh --kernel "${kernel%-stock}" --config vm "${stock[@]}" \
			--print-image >/dev/null 2>"$tmp/vm/kernel.err" || {
			echo "$kernel" >"$tmp/vm/kernel.bad"
			break
		}
	done
	: >"$tmp/vm/kernels.done"
	[ ! -e "$tmp/vm/kernel.bad" ] || return
	for i in "${!vm_rows[@]}"; do
		[ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n
		# shellcheck disable=SC2086 # words
		vm_row "$tmp/vm/$i" ${vm_rows[$i]} &
	done
	wait
}

# background_of PID: it gets the time that others leave; foreground PID: no longer, with what it started
background_of() { chrt -i -p 0 "$1" 2>/dev/null || renice -n 19 -p "$1" >/dev/null; }
foreground() {
	local p

	for p in $(tree "$1"); do
		chrt -a -o -p 0 "$p" 2>/dev/null
	done
}

# tree PID: the process and what descends from it
tree() {
	local p

	echo "$1"
	for p in $(pgrep -P "$1"); do
		tree "$p"
	done
}

# The suite's work in the background. While other suites run it gets the time that they leave: they
# wait most of theirs, and a machine that is emulated computes.
vm_begin() {
	vm_matrix
	mkdir -p "$tmp/vm"
	vm_work </dev/null &
	vm_worker=$!
	background_of "$vm_worker"
}

# vm_again FILE FROM NAME ROW: as again(), for a row of which single tests failed while other suites
# had the processors
vm_again() {
	local file=$1 from=$2 what only tests=()

	while IFS= read -r what; do
		# shellcheck disable=SC2001 # a regular expression, not a pattern
		tests+=("$(sed 's/[][\.*^$+?(){}|]/\\&/g' <<<"$what")")
	done < <(sed -n 's/^not ok [0-9]* //p' "$file.tap")
	[ ${#tests[@]} = $((${#failures[@]} - from)) ] &&
		[[ "${failures[*]:$from}" != *"xmasq: never excused"* ]] || return 0
	echo "  it had what other suites left of the processors: once more"
	printf '%s\n' "${failures[@]:$from}" | sed 's/^/    /'
	failed=$((failed - ${#tests[@]}))
	failures=("${failures[@]:0:$from}")
	only="^($(IFS='|' && echo "${tests[*]}"))\$"
	# shellcheck disable=SC2086 # words
	vm_row "$file.again" $4
	vm_result "$3 (again)" "$file.again"
}

# vm_result NAME FILE: count the tests of a row, when it is over
vm_result() {
	# shellcheck disable=SC2016 # for the inner shell
	run_tap "vm $1" "$(($(left) + 30))" bash -c '
		until [ -e "$0.done" ]; do sleep 0.2; done
		cat "$0.tap"
		cat "$0.err" >&2
		exit "$(cat "$0.done")"' "$2"
}

suite_vm() {
	local i from early=()

	need_root vm || return
	if [ -z "$vm_worker" ]; then
		vm_begin
	else
		for i in "${!vm_rows[@]}"; do
			[ ! -e "$tmp/vm/$i.tap" ] || early+=("$i")
		done
	fi
	foreground "$vm_worker"
	until [ -e "$tmp/vm/kernels.done" ]; do
		sleep 0.5
	done
	[ ! -e "$tmp/vm/kernel.bad" ] || {
		fail "vm: no kernel $(<"$tmp/vm/kernel.bad")" "$(tail -n 20 "$tmp/vm/kernel.err")"
		return
	}
	# As long as the machines take, not the kernels.
	deadline=$((SECONDS + ${XM_TIMEOUT:-${time_limit[vm]}}))
	[ -n "${XM_VM_ONLY:-}" ] || run_bats tests/vm/*.bats
	for i in "${!vm_rows[@]}"; do
		from=${#failures[@]}
		vm_result "${vm_names[$i]}" "$tmp/vm/$i"
		[ ${#failures[@]} = "$from" ] || [[ " ${early[*]} " != *" $i "* ]] ||
			vm_again "$tmp/vm/$i" "$from" "${vm_names[$i]}" "${vm_rows[$i]}"
	done
}

suite_fuzz() {
	# Always the same seed: what is new is looked for with "make fuzz".
	FUZZ_SECONDS=${FUZZ_SECONDS:-5} FUZZ_SEED=${FUZZ_SEED:-1} run_tap fuzz "$(left)" tests/fuzz/run.sh --tap
}

# beside_begin SUITE...: start them; what they came to is in $tmp/beside.*
beside_begin() {
	XM_SUMMARY=$tmp/beside.sum tests/run.sh "$@" >"$tmp/beside.out" 2>&1 </dev/null &
	beside=$!
}

# beside_end: wait for them, show what they printed, and take over their counts and failures
beside_end() {
	local rc=0 counts=()

	wait "$beside" || rc=$?
	beside=
	# What follows is in the summary.
	sed '/^Failures:$/,$d; /^[0-9]* passed, [0-9]* failed, /d; /^$/d' "$tmp/beside.out"
	{ read -r -a counts && mapfile -d '' -O "${#failures[@]}" failures; } 2>/dev/null <"$tmp/beside.sum"
	if [ ${#counts[@]} = 3 ]; then
		passed=$((passed + counts[0])) failed=$((failed + counts[1])) skipped=$((skipped + counts[2]))
	else
		fail "suites beside others: no summary (exit status $rc)" "$(tail -n 60 "$tmp/beside.out")"
	fi
}

suites=("$@") aside=()
if [ $# = 0 ]; then
	suites=(unit edge prog fuzz scripts netns faults containers k8s vm)
	aside=(memory afxdp)
fi
for suite in "${suites[@]}"; do
	if [ -z "${time_limit[$suite]:-}" ]; then
		echo "tests/run.sh: no suite '$suite'; suites are: ${!time_limit[*]}" >&2
		exit 2
	fi
done

case " ${suites[*]} " in
*" k8s "*) [ "$(id -u)" != 0 ] || k8s_begin ;;
esac
case " ${suites[*]} " in
*" vm "*) [ "$(id -u)" != 0 ] || vm_begin ;;
esac
for suite in "${suites[@]}"; do
	start=$SECONDS
	deadline=$((SECONDS + ${XM_TIMEOUT:-${time_limit[$suite]}}))
	before=$((passed + failed + skipped))
	[ "$suite" != netns ] || [ ${#aside[@]} = 0 ] || beside_begin "${aside[@]}"
	echo "$suite:"
	"suite_$suite"
	[ $((passed + failed + skipped)) != $before ] || fail "$suite: no tests found"
	echo "  ($suite took $((SECONDS - start)) s)"
	[ "$suite" != containers ] || [ -z "$beside" ] || beside_end
done
[ -z "$summary" ] || {
	echo "$passed $failed $skipped"
	[ ${#failures[@]} = 0 ] || printf '%s\0' "${failures[@]}"
} >"$summary"

if [ $failed != 0 ]; then
	echo
	echo "Failures:"
	for f in "${failures[@]}"; do
		echo
		printf '%s\n' "${red}* ${f%%$'\n'*}$plain"
		[[ $f != *$'\n'* ]] || printf '%s\n' "${f#*$'\n'}" | sed 's/^/    /'
	done
fi
echo
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
