#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# What an operator may get wrong, and the daemon's and xmasqctl's answers: what is wrong, where,
# and what to do. And what systemd is told.
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own
# shellcheck disable=SC2154 # output: set by run

load lib
load daemon

setup_file()    { bed_up --pods 1; daemons_changed; }
teardown_file() { bed_down; }
setup()         { test_begin; YAML=$BATS_TEST_TMPDIR/yaml; daemons_default; }
teardown()      { daemons_end; test_end; }

# refused TEXT [-e EXPRESSION...]: a daemon with the configuration of n1 edited so does not start,
# says so, and leaves nothing on the node
refused() {
	local before text=$1

	shift
	before=$(node_state n1)
	custom n1 "$YAML" "$@"
	run -1 xmasqd n1 --config "$YAML"
	[[ $output == *"$text"* ]] || { printf 'not "%s":\n%s\n' "$text" "$output"; return 1; }
	same_state "$before"
}

# ---- xmasqd: files and surroundings -----------------------------------------------------

@test "a bad configuration: file, line, column, what is allowed; --check-config ends with 0 or 1" {
	run -1 xmasqd n1 --config /nonexistent/yaml
	[[ $output == '/nonexistent/yaml: No such file or directory' ]]
	run -1 xmasqd n1 --config /nonexistent/yaml --check-config
	run -1 xmasqd n1 --config "$BATS_TEST_TMPDIR" --check-config
	run -0 xmasqd n1 --config deploy/xmasqd.yaml --check-config
	[[ $output == 'deploy/xmasqd.yaml: ok' ]]
	: >"$YAML"
	run -0 xmasqd n1 --config "$YAML" --check-config

	printf '%s\n' 'mode: veth' 'lease_ms: soon' >"$YAML"
	for check in '' --check-config; do
		run -1 xmasqd n1 --config "$YAML" $check
		[[ $output == "$YAML:2:11: "*'"lease_ms" must be a number from 200 to 10000'* ]]
	done
	printf '%s\n' 'mode: veth' 'tables: {flows: 4096' >"$YAML"
	run -1 xmasqd n1 --config "$YAML" --check-config
	[[ $output =~ ^$YAML:[23]:[0-9]+:\  ]]
	printf '%s\n' 'mode: veth' 'laese_ms: 1000' >"$YAML"
	run -1 xmasqd n1 --config "$YAML" --check-config
	[[ $output == "$YAML:2:1: "*laese_ms* ]]
	printf '\x00\xff' >"$YAML"
	run -1 xmasqd n1 --config "$YAML" --check-config
}

@test "unknown options and combinations that make no sense end with 2" {
	local args

	for args in --frobnicate 'more words' '--force' '--check-config --cleanup' '--config'; do
		# shellcheck disable=SC2086 # a command line
		run -2 xmasqd n1 $args
		[[ $output == *'usage: xmasqd'* ]]
	done
	run -0 xmasqd n1 --help
	run -0 xmasqd n1 --version
	[[ $output == 'xmasqd '* ]]
}

@test "not root: says that it must be" {
	# Where nobody can read it.
	install -m 755 "$BUILD/xmasqd" "$BATS_FILE_TMPDIR/xmasqd"
	chmod 755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$(dirname "$BATS_FILE_TMPDIR")"
	install -m 644 /dev/null "$BATS_FILE_TMPDIR/empty"
	for args in '' --cleanup; do
		# shellcheck disable=SC2086 # an option or none
		run -1 inside n1 setpriv --reuid nobody --clear-groups -- \
			"$BATS_FILE_TMPDIR/xmasqd" --config "$BATS_FILE_TMPDIR/empty" $args
		[[ $output == *'must run as root'* ]]
	done
	run -0 inside n1 setpriv --reuid nobody --clear-groups -- \
		"$BATS_FILE_TMPDIR/xmasqd" --config "$BATS_FILE_TMPDIR/empty" --check-config
}

@test "modes and tcx that this kernel lacks, a pin_dir that cannot be: refused, with what to do" {
	stop_clean n1
	has_rpeer || refused 'mode rpeer is not possible: the kernel lacks bpf_redirect_rpeer()' \
		-e 's/^mode: .*/mode: rpeer/'
	has_netkit || refused 'mode netkit is not possible: the kernel lacks netkit' \
		-e 's/^mode: .*/mode: netkit/'
	has_tcx || refused 'attach tcx is not possible: the kernel lacks tcx' -e 's/^attach: .*/attach: tcx/'
	refused "pin_dir $BATS_TEST_TMPDIR/pins is not on a bpffs; mount one" \
		-e "s|^pin_dir: .*|pin_dir: $BATS_TEST_TMPDIR/pins|"
	[ ! -e "$BATS_TEST_TMPDIR/pins" ]
	refused 'is bpffs mounted' -e "s|^pin_dir: .*|pin_dir: /nonexistent/pins|"
}

# A mount namespace shows what another kernel, or another machine, would.
@test "a kernel without BTF, a machine without bpffs: refused, with what is needed" {
	local before

	stop_clean n1
	before=$(node_state n1)
	custom n1 "$YAML"
	run -1 inside n1 unshare -m --propagation private sh -c \
		"mount -t tmpfs none /sys/kernel/btf && exec timeout 10 $BUILD/xmasqd --config $YAML"
	[[ $output == *"/sys/kernel/btf/vmlinux is needed (CONFIG_DEBUG_INFO_BTF)"* ]]
	run -1 inside n1 unshare -m --propagation private sh -c \
		"mount -t tmpfs none /sys/fs && exec timeout 10 $BUILD/xmasqd --config $YAML"
	[[ $output == *"is bpffs mounted (mount -t bpf bpf /sys/fs/bpf)?"* ||
		$output == *"is not on a bpffs; mount one (mount -t bpf bpf /sys/fs/bpf)"* ]]
	same_state "$before"
}

@test "the masquerade port is a program's: runs, says which port and how to find the program" {
	local proto

	stop_clean n1
	custom n1 "$YAML"
	for proto in TCP UDP; do
		serve n1 "${proto,,}" 18477
		daemon n1 "$YAML"
		grep -qF "warn  masquerade_port 18477: a program of this node uses it ($proto)" "$YAML.log"
		inside n1 ss -lnp "sport = :18477" | grep -q xmt-flow
		daemon_end
		stop_all
	done
	daemon n1 "$YAML"
	run ! grep 'uses it' "$YAML.log"
	daemon_end
	xmasqd n1 --config "$YAML" --cleanup
}

# Nobody can make directories in /proc, root included.
@test "an unwritable state_dir: runs, but changes no sysctl that it could not put back" {
	stop_clean n1
	custom n1 "$YAML" -e "s|^state_dir: .*|state_dir: /proc/xmasq|"
	daemon n1 "$YAML"
	grep -q 'warn .*/proc/xmasq' "$YAML.log"
	grep -q "TCP stays on the overlay: cannot set $LIBERAL" "$YAML.log"
	status_is n1 '.tcp_ok == false and .pods_attached == 1'
	[ "$(sysctl_of n1 "$LIBERAL")" = 0 ]
	daemon_end
	xmasqd n1 --config "$YAML" --cleanup
	has_none n1p1
	# Left, as was said.
	inside n1 tc qdisc del dev "$P1" clsact
	# All the others are in tcx, if there is one.
	! uses_tcx || return 0
	for nic in $NICS; do
		inside n1 tc qdisc del dev "$nic" clsact
	done
	[ "$(mode_of "$(pod_kind n1p1)")" != rpeer ] || inside n1p1 tc qdisc del dev eth0 clsact
}

@test "an unknown underlay interface: runs, warns, attaches when it appears" {
	stop_clean n1
	custom n1 "$YAML" -e "s/^underlay: .*/underlay: [late0, ${NICS// /, }]/"
	daemon n1 "$YAML"
	grep -q 'warn  underlay late0: no such interface' "$YAML.log"
	has_ours n1 "$NIC"
	[ -z "$(inside n1 ip -br link show type dummy)" ]
	inside n1 ip link add late0 type veth peer name late1
	wait_until 1 has_ours n1 late0
	wait_until 1 grep -q 'underlay late0 .*attached' "$YAML.log"
	inside n1 ip link del late0
	wait_until 1 grep -q 'underlay late0 .*is gone' "$YAML.log"
	has_ours n1 "$NIC"
	daemon_end
	custom n1 "$YAML" -e 's/^underlay: .*/underlay: [late0]/'
	daemon n1 "$YAML"
	grep -qE 'warn .*no underlay interface with an IPv4 address yet.*check "underlay" in ' "$YAML.log"
	daemon_end
	xmasqd n1 --config "$YAML" --cleanup
}

@test "underlay auto finds the NIC of the tunnel; without overlay it takes the default route's" {
	stop_clean n1
	custom n1 "$YAML" -e 's/^underlay: .*/underlay: auto/'
	daemon n1 "$YAML"
	has_ours n1 "$NIC"
	[ "$UNDERLAY" != veth ] || [ -z "$(programs n1 eth1)" ]
	daemon_end
	xmasqd n1 --config "$YAML" --cleanup
	# The same without a tunnel: n1's default route leaves by eth1 where one wire joins the nodes.
	run ! grep 'unless the CNI makes one' "$YAML.log"
	custom n1 "$YAML" -e 's/^underlay: .*/underlay: auto/' -e "s/port: $TUNNEL_PORT/port: 4790/"
	daemon n1 "$YAML"
	grep -qF 'warn  no VXLAN or Geneve device with a port of "overlay.ports" here yet' "$YAML.log"
	if [ "$UNDERLAY" = veth ]; then
		has_ours n1 eth1
		[ -z "$(programs n1 "$NIC")" ]
	else
		has_ours n1 "$NIC"
	fi
	daemon_end
	xmasqd n1 --config "$YAML" --cleanup
}

# ---- xmasqctl ---------------------------------------------------------------------------

@test "xmasqctl without a daemon: exit 1 and where to look; wrong usage: exit 2" {
	local args

	for args in status pods flows peers counters config cleanup 'flush --all'; do
		# shellcheck disable=SC2086 # a command line
		run -1 "$BUILD/xmasqctl" --socket "$BATS_TEST_TMPDIR/none" $args
		[[ $output == *"$BATS_TEST_TMPDIR/none: No such file or directory; is xmasqd running?"* ]]
	done
	for args in '' frobnicate 'status more' --frobnicate '-o xml status' flush 'flush --flow' \
		'flush --flow nonsense' 'flush --pod 1.2.3.4 --all' 'flows --limit 0' 'flows --limit x' \
		'pods --active' 'flush --peer 300.1.1.1' '--socket'; do
		# shellcheck disable=SC2086 # a command line
		run -2 ctl n1 $args </dev/null || { echo "xmasqctl $args"; false; }
	done
	run -0 ctl n1 help
	run -0 ctl n1 version
}

@test "every command answers, as a table and as JSON" {
	local c

	for c in status pods flows peers counters config version; do
		run -0 ctl n1 $c
		[ -n "$output" ]
		ctl n1 $c -o json | jq -e 'type == "object"' >/dev/null
	done
	run -0 ctl n1 status
	[[ $output != *$'\e'* ]]
}

@test "flush sends flows back to the overlay, each way of naming them; they come back" {
	local sport

	live
	# flushed COUNT ARGS...
	flushed() {
		local n=$1

		shift
		# What was flushed often finds its labels' slots resting for 5 s.
		wait_until 8 both_active n1
		ctl n1 flush "$@" -o json | jq -e --argjson n "$n" '.flushed == $n' || return 1
	}
	sport=$(ctl n1 flows -o json | jq '.flows[] | select(.dport == 4000).sport')
	flushed 1 --flow "tcp 10.244.1.11:$sport 10.244.2.11:4000"
	flushed 0 --flow "udp 10.244.1.11:$sport 10.244.2.11:4000"
	flushed 2 --pod 10.244.1.11
	flushed 2 --pod "$P1"
	flushed 2 --peer 172.31.0.2
	flushed 0 --peer 172.31.0.9
	flushed 2 --all
	run -1 ctl n1 flush --pod veth-none
	[[ $output == *'no interface veth-none'* ]]
	wait_until 8 both_active n1
	live_end '.stall_ms < 1000'
}

@test "garbage, half requests and idle clients on the control socket harm nobody" {
	local sock pid

	sock=$(state n1)/xmasqd.sock
	pid=$(pid_of n1)
	log_mark n1
	# Bytes, an endless line, a request that never ends, clients that only sit there.
	/usr/bin/python3 - "$sock" <<-'END'
		import os, socket, sys
		def say(data):
		    s = socket.socket(socket.AF_UNIX)
		    s.connect(sys.argv[1])
		    try:
		        s.sendall(data)
		    except OSError:
		        pass
		    return s
		for data in (b"\0" * 10, os.urandom(4096) + b"\n", b"x" * 1000000, b"{" * 60000 + b"\n",
		             b'{"command":"status"', b'{"command":"dance"}\n', b"[]\n", b"\n",
		             b'{"command":"flows","limit":-1}\n', b'{"command":"flush"}\n'):
		    for _ in range(20):
		        say(data).close()
		keep = [say(b"") for _ in range(5)]
	END
	wait_until 5 status_is n1 ".pid == $pid"
	has_ours n1 "$NIC"
	log_new n1
	[ "$(log_new n1 | wc -l)" -le 20 ]
	# Only root, and root's group, get in.
	[ "$(stat -c '%a %U %G' "$sock")" = '660 root root' ]
	chmod 755 "$BATS_RUN_TMPDIR" "$BATS_FILE_TMPDIR" "$(dirname "$BATS_FILE_TMPDIR")"
	install -m 755 "$BUILD/xmasqctl" "$BATS_FILE_TMPDIR/xmasqctl"
	run -1 setpriv --reuid nobody --regid nogroup --clear-groups -- "$BATS_FILE_TMPDIR/xmasqctl" --socket "$sock" status
	[[ $output == *'run xmasqctl as root'* ]]
}

@test "xmasqctl cleanup says so when a sysctl has to stay" {
	live
	daemons_changed
	run -0 ctl n1 cleanup
	live_end
	[[ $output == *tcp_be_liberal* ]]
}

# ---- systemd ----------------------------------------------------------------------------

# heard_ready COUNT FILE
heard_ready() { [ "$(grep -c '^READY=1$' "$2")" = "$1" ]; }

@test "systemd is told: ready, reloading and ready again, stopping" {
	local notify=$BATS_TEST_TMPDIR/notify heard=$BATS_TEST_TMPDIR/heard

	stop_clean n1
	cat >"$BATS_TEST_TMPDIR/manager.py" <<-'END'
		import socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1])
		print("listening")
		while True:
		    print(s.recv(4096).decode().replace("\n", " "))
	END
	start "$heard" listening /usr/bin/python3 -u "$BATS_TEST_TMPDIR/manager.py" "$notify"
	custom n1 "$YAML"
	NOTIFY_SOCKET=$notify WATCHDOG_USEC=400000 daemon n1 "$YAML"
	wait_until 2 grep -qx 'READY=1' "$heard"
	wait_until 2 grep -qx 'WATCHDOG=1' "$heard"
	kill -HUP "$DAEMON"
	wait_until 2 grep -qE '^RELOADING=1 MONOTONIC_USEC=[0-9]+$' "$heard"
	wait_until 2 heard_ready 2 "$heard"
	# A broken file, too, is the end of a reload.
	echo 'mode: [' >"$YAML"
	kill -HUP "$DAEMON"
	wait_until 2 grep -q 'old configuration stays' "$YAML.log"
	wait_until 2 heard_ready 3 "$heard"
	run grep -oE '^(READY|RELOADING)' "$heard"
	[ "${lines[*]}" = 'READY RELOADING READY RELOADING READY' ]
	run ! grep -q STOPPING "$heard"
	daemon_end
	wait_until 2 grep -qx 'STOPPING=1' "$heard"
	xmasqd n1 --config "$(state n1)/xmasqd.yaml" --cleanup
}

@test "a notify socket that nobody reads does not stop the daemon" {
	stop_clean n1
	custom n1 "$YAML"
	NOTIFY_SOCKET=$BATS_TEST_TMPDIR/none daemon n1 "$YAML"
	has_ours n1 "$NIC"
	daemon_end
}
