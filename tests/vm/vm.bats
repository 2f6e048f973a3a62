#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# scripts/vm.sh: what comes out of the machine, how its ends are told apart, and that nothing stays.
#
# XMASQ_VM_KERNEL names another kernel than build.sh's: a bzImage. Every boot takes seconds under
# emulation, so each test looks at as much as one boot can show.

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	# A kernel that must be built first would take longer than all the tests.
	if [ -z "${XMASQ_VM_KERNEL:-}" ]; then
		XMASQ_VM_KERNEL=$(kernel-patch/build.sh --kernel 6.12 --config vm --print-image)
	fi
	export XMASQ_VM_KERNEL
	export VM=scripts/vm.sh
}

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	dir=$(mktemp -d /var/tmp/xmasq-vm-test.XXXXXX)
}

teardown() {
	rm -rf "$dir"
}

vm() {
	"$VM" run --kernel "$XMASQ_VM_KERNEL" --timeout 150 "$@"
}

# leftovers MARK: processes with MARK in their command line, other than the caller's
leftovers() {
	pgrep -f -- "$1" | grep -vx "$$" || true
}

# until_true SECONDS COMMAND...: polls
until_true() {
	local end=$((SECONDS + $1))

	until "${@:2}"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.1
	done
}

@test "a command's status, output and files come back, and nothing else does" {
	local rc=0

	mkdir "$dir/out"
	echo kept >"$dir/host"
	cat >"$dir/in-guest" <<-'END'
		echo "to stdout"
		echo "to stderr" >&2
		echo "by name" >/dev/stderr
		echo "$1|$2|$MINE|$XMASQ_VM|$(uname -r)|$HOME|$LANG|$PWD"
		cat; echo "stdin ended"
		seq 2000000 | head -c 10000000 >"$XMASQ_VM_OUT/big"
		cat "$XMASQ_VM_OUT/big"
		echo changed >"$DIR/host"
		echo kept >"$DIR/new"
		cat "$DIR/host" "$DIR/new" >&2
		sleep 1000 &
		exit 37
	END
	vm --out "$dir/out" --env "DIR=$dir" --env "MINE=a b" -- bash "$dir/in-guest" "x  y" '*' \
		>"$dir/stdout" 2>"$dir/stderr" </dev/zero || rc=$?
	[ "$rc" -eq 37 ]

	printf '%s\n' "to stderr" "by name" changed kept | diff - "$dir/stderr"
	[ "$(sed -n 1p "$dir/stdout")" = "to stdout" ]
	IFS='|' read -r a b mine vm uname home lang pwd < <(sed -n 2p "$dir/stdout")
	[ "$a" = "x  y" ] && [ "$b" = '*' ] && [ "$mine" = "a b" ]
	[ -n "$vm" ] && [ "$vm" = "$uname" ] && [ "$vm" != "$(uname -r)" ]
	[ "$home" = /root ] && [ "$lang" = C.UTF-8 ] && [ "$pwd" = "$PWD" ]
	[ "$(sed -n 3p "$dir/stdout")" = "stdin ended" ]
	# 10 MB, through the port and through the shared directory
	seq 2000000 | head -c 10000000 | sha256sum >"$dir/sum"
	tail -n +4 "$dir/stdout" | sha256sum | diff "$dir/sum" -
	sha256sum <"$dir/out/big" | diff "$dir/sum" -

	[ "$(cat "$dir/host")" = kept ]
	[ ! -e "$dir/new" ]
	[ -z "$(leftovers "$dir/out")" ]
}

@test "the machine has what the tests need, and its clock keeps time" {
	local before

	cat >"$dir/in-guest" <<-'END'
		set -e
		for d in /proc /sys /dev /dev/pts /dev/shm /run /tmp /sys/fs/bpf /sys/fs/cgroup \
			/sys/kernel/tracing; do
			mountpoint -q $d
		done
		[ -z "$(ls /tmp)" ]
		ping -c 1 -W 5 127.0.0.1 >/dev/null
		ip netns add a && ip netns exec a true && ip netns del a
		echo clock: $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)
		a=$(date +%s%N); echo tick; sleep 4; b=$(date +%s%N)
		echo "slept: $(((b - a) / 1000000))"
	END
	vm -- bash "$dir/in-guest" >"$dir/stdout" &
	until_true 150 grep -qs tick "$dir/stdout"
	before=$(date +%s%N)
	wait $!
	before=$((($(date +%s%N) - before) / 1000000))
	cat "$dir/stdout"
	slept=$(sed -n 's/^slept: //p' "$dir/stdout")
	# What the guest calls 4 s takes about 4 s here. Busy machines are late, never early.
	[ "$slept" -ge 4000 ]
	[ "$before" -ge 3500 ]
	[ "$slept" -le $((before + 1500)) ]
}

@test "with --icount a loop takes the same number of instructions each time" {
	cat >"$dir/loop.c" <<-'END'
		#include <stdio.h>
		#include <time.h>
		int main(void)
		{
			for (int i = 0; i < 8; i++) {
				struct timespec a, b;
				clock_gettime(CLOCK_MONOTONIC, &a);
				for (long n = 10000000; n; n--)
					__asm__ volatile("" ::: "memory");
				clock_gettime(CLOCK_MONOTONIC, &b);
				printf("%ld\n", (b.tv_sec - a.tv_sec) * 1000000000L + b.tv_nsec - a.tv_nsec);
			}
		}
	END
	gcc -O1 -o "$dir/loop" "$dir/loop.c"
	vm --icount -- "$dir/loop" | tail -n +2 | sort -n >"$dir/times"
	cat "$dir/times"
	# Of seven; in one or two the guest's kernel may have had work of its own.
	min=$(head -n 1 "$dir/times") max=$(sed -n 5p "$dir/times")
	# Two instructions a round; ticks of the clock add some.
	[ "$min" -ge 20000000 ] && [ "$min" -le 20200000 ]
	[ $(((max - min) * 1000)) -le "$min" ]
}

@test "a panic is told, with the console's last lines" {
	run vm -- bash -c 'echo c >/proc/sysrq-trigger'
	echo "$output"
	[ "$status" -eq 123 ]
	[[ $output == *"the guest's kernel panicked"*"sysrq triggered crash"* ]]
	[[ $output == *"last lines of the console"*sysrq_handle_crash* ]]
}

@test "the time limit stops the machine and says so" {
	local start=$SECONDS

	run "$VM" run --kernel "$XMASQ_VM_KERNEL" --timeout 3 --env "MARK=$dir" -- sleep 1000
	echo "$output"
	[ "$status" -eq 124 ]
	[[ $output == *"time limit"* ]]
	[ $((SECONDS - start)) -le 30 ]
	[ -z "$(leftovers "$dir")" ]
}

@test "killed, however, vm.sh leaves no process and no file" {
	local sig pid qemu rc

	for sig in TERM KILL; do
		# Not through vm(): $! would be a subshell of this test.
		"$VM" run --kernel "$XMASQ_VM_KERNEL" --timeout 100 --out "$dir" -- sleep 1000 &
		pid=$!
		# QEMU is a child of what vm.sh became.
		until_true 60 pgrep -P "$pid" -f 'local,id=out' >/dev/null
		qemu=$(pgrep -P "$pid" -f 'local,id=out')
		kill -"$sig" "$pid"
		rc=0
		wait "$pid" || rc=$?
		[ "$rc" -eq $((128 + $(kill -l "$sig"))) ]
		until_true 10 eval "! kill -0 $qemu 2>/dev/null"
		[ -z "$(leftovers "$dir")" ]
	done
	[ -z "$(ls "$dir")" ]
}

@test "what cannot work says what to do" {
	local bin cmd

	bin=$dir/bin
	mkdir "$bin"
	for cmd in bash dirname realpath head tail tr od sed cat; do
		ln -s "$(command -v $cmd)" "$bin/$cmd"
	done
	run env PATH="$bin" "$BASH" "$VM" run --kernel "$XMASQ_VM_KERNEL" -- true
	[ "$status" -eq 125 ]
	[[ $output == *"apt-get install qemu-system-x86"* ]]

	# QEMU that does not start
	printf '#!/bin/sh\necho "no such machine" >&2\nexit 1\n' >"$dir/qemu"
	chmod +x "$dir/qemu"
	run env XMASQ_QEMU="$dir/qemu" "$VM" run --accel tcg --kernel "$XMASQ_VM_KERNEL" -- true
	[ "$status" -eq 125 ]
	[[ $output == *"QEMU failed"*"no such machine"* ]]

	run "$VM" run --kernel "$BASH" -- true
	[ "$status" -eq 125 ]
	[[ $output == *"is no bzImage"* ]]
}

# refused WORDS ARG...: wrong usage, and the message contains WORDS
refused() {
	local said rc=0

	said=$("$VM" "${@:2}" 2>&1) || rc=$?
	if [ "$rc" != 2 ] || [[ $said != *"$1"* ]]; then
		echo "${*:2}: status $rc: $said"
		return 1
	fi
}

@test "wrong usage is refused before anything starts" {
	refused "usage:"
	refused "'fly' is not an action" fly
	refused "give a command" run
	refused "give a command" run --
	refused "not an option" run true
	refused "--cpus '0'" run --cpus 0 -- true
	refused "--cpus '1x'" run --cpus 1x -- true
	refused "--mem '12'" run --mem 12 -- true
	refused "--timeout '-1'" run --timeout -1 -- true
	refused "--timeout: its value is missing" run --timeout
	refused "--env 'A'" run --env A -- true
	refused "--accel 'x'" run --accel x -- true
	refused "--config 'x'" run --config x -- true
	refused "--kernel '5.10'" run --kernel 5.10 -- true
	refused "no such file" run --kernel "$dir/none" -- true
	refused "no such directory" run --out "$dir/none" -- true
	refused "no such directory" run --root "$dir/none" -- true
	refused "--icount" run --icount --cpus 2 -- true
	refused "--icount" run --icount --accel kvm -- true
	refused "--disk" run --disk -- true
	refused "it needs a terminal" shell </dev/null
	run "$VM" --help
	[ "$status" -eq 0 ]
}
