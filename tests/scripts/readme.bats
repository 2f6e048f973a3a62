#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The commands of README.md and docs/operations.md do what is said there: they are taken out of
# them and run.
# shellcheck disable=SC2030,SC2031 # a subshell for each test

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	export XMASQ_BED=xmrd XMASQ_BUILD=${BUILD:-$PWD/build}
	scripts/testbed.sh down >/dev/null 2>&1 || true
}

teardown_file() {
	scripts/testbed.sh down >/dev/null 2>&1 || true
}

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
}

# block HEADING [N]: the first, or N-th, sh block under it
block() {
	awk -v h="## $1" -v n="${2:-1}" '
		$0 == h { in_part = 1; next }
		/^## / { in_part = 0 }
		in_part && /^```sh/ && --n == 0 { in_block = 1; next }
		in_block && /^```/ { exit }
		in_block' README.md
}

@test "every command of \"Play with a bed\" works" {
	# As root there may be no sudo.
	block "Play with a bed" | sed 's/sudo //g' >"$BATS_TEST_TMPDIR/play.sh"
	[ "$(grep -c testbed.sh "$BATS_TEST_TMPDIR/play.sh")" -ge 7 ]
	bash -euxo pipefail "$BATS_TEST_TMPDIR/play.sh" 3>&-
	[ ! -e /sys/fs/bpf/xmasq-xmrd-n1 ]
	run grep -q '^xmrd-' <(ip netns list)
	[ "$status" -eq 1 ]
}

@test "every command of \"Observe\" works, also with -o json" {
	scripts/testbed.sh up 3>&-
	scripts/testbed.sh xmasq start 3>&-
	export XMASQ_SOCKET=/run/xmasq-xmrd/n1/xmasqd.sock
	block Observe >"$BATS_TEST_TMPDIR/observe.sh"
	[ "$(grep -c '^xmasqctl' "$BATS_TEST_TMPDIR/observe.sh")" -ge 5 ]
	while read -r _ what _; do
		"$XMASQ_BUILD/xmasqctl" "$what"
		"$XMASQ_BUILD/xmasqctl" "$what" -o json | jq -es '.[]' >/dev/null
	done <"$BATS_TEST_TMPDIR/observe.sh"
	# Sixty seconds are too long here, and the web server is the node's.
	block Observe 2 | sed -e 's/--count 60/--count 2/' \
		-e "s|^curl|nsenter --net=/run/netns/xmrd-n1 -- curl -f|" >"$BATS_TEST_TMPDIR/more.sh"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/more.sh")" -ge 5 ]
	(cd "$BATS_TEST_TMPDIR" && PATH=$XMASQ_BUILD:$PATH bash -euxo pipefail more.sh >more.log 2>&1) ||
		{ cat "$BATS_TEST_TMPDIR/more.log"; false; }
	grep -q '^out    overlay (no-flow)' "$BATS_TEST_TMPDIR/more.log"
	grep -q '^xmasq_ready 1$' "$BATS_TEST_TMPDIR/more.log"
	grep -q '^ready$' "$BATS_TEST_TMPDIR/more.log"
	tar -tzf "$BATS_TEST_TMPDIR"/xmasq-bugtool-*.tar.gz >/dev/null
	"$XMASQ_BUILD/xmasqctl" flush --pod 10.244.1.11
	"$XMASQ_BUILD/xmasqctl" flush --all
	scripts/testbed.sh down 3>&-
}

@test "install puts everything in place, uninstall keeps the configuration only" {
	local d=$BATS_TEST_TMPDIR/root

	make -s install DESTDIR="$d" 3>&-
	[ -x "$d/usr/sbin/xmasqd" ]
	[ -x "$d/usr/sbin/xmasqctl" ]
	[ -f "$d/usr/lib/systemd/system/xmasqd.service" ]
	[ -f "$d/usr/share/man/man8/xmasqd.8" ]
	[ -f "$d/usr/share/man/man5/xmasqd.yaml.5" ]
	[ -f "$d/usr/share/bash-completion/completions/xmasqctl" ]
	"$d/usr/sbin/xmasqd" --config "$d/etc/xmasq/xmasqd.yaml" --check-config
	echo "# mine" >>"$d/etc/xmasq/xmasqd.yaml"
	make -s install DESTDIR="$d" 3>&-
	grep -q "# mine" "$d/etc/xmasq/xmasqd.yaml"
	make -s uninstall DESTDIR="$d" 3>&-
	[ "$(find "$d" -type f)" = "$d/etc/xmasq/xmasqd.yaml" ]
}

# commands FILE: each line of its sh blocks, without comments behind it
commands() { awk '/^```sh/ { on = 1; next } /^```/ { on = 0 } on' "$1" | sed 's/  *#.*//'; }

# by_package LINE: whether the tests of the package run it: from the README, or by itself
by_package() {
	local line=${1#sudo }

	{ block "Install on a cluster"; block "Install on a cluster" 2; } | sed 's/  *#.*//' | grep -qxF -- "$1" ||
		grep -qE "^[^#]*\\bsd $line\\b" tests/scripts/package.bats
}

# on_n1 LINE: there, where the daemon is that of the bed
on_n1() {
	local line=${1//sudo /}

	line=${line/--check-config/--config "$YAML" --check-config}
	line=${line/--cleanup/--config "$YAML" --cleanup}
	(cd "$BATS_TEST_TMPDIR" && PATH=$XMASQ_BUILD:$PATH nsenter --net=/run/netns/xmrd-n1 -- \
		bash -euo pipefail -c "$line") >"$BATS_TEST_TMPDIR/out" 2>&1 || {
		echo "$line:"
		cat "$BATS_TEST_TMPDIR/out"
		return 1
	}
}

@test "every command of docs/operations.md works" {
	local line ran=0

	scripts/testbed.sh up 3>&-
	scripts/testbed.sh xmasq start 3>&-
	export XMASQ_SOCKET=/run/xmasq-xmrd/n1/xmasqd.sock YAML=/run/xmasq-xmrd/n1/xmasqd.yaml
	scripts/testbed.sh exec n1p1 -- ping -q -c 1 10.244.2.11
	while read -r line; do
		[ -n "$line" ] || continue
		case $line in
		'sudo xmasq'* | 'sudo ss '* | 'ip '* | 'curl '*)
			on_n1 "$line"
			ran=$((ran + 1))
			case $line in
			*' pods') grep -q '10.244.1.11 .* attached' "$BATS_TEST_TMPDIR/out" ;;
			*' peers') grep -q '^172.31.0.2 ' "$BATS_TEST_TMPDIR/out" ;;
			*' -d link') grep -q 'dstport 8472' "$BATS_TEST_TMPDIR/out" ;;
			*'/metrics') grep -q '^xmasq_ready 1$' "$BATS_TEST_TMPDIR/out" ;;
			*' cleanup')
				[ ! -e /sys/fs/bpf/xmasq-xmrd-n1 ]
				# The daemon ends when it has answered.
				# shellcheck disable=SC2016 # for the inner shell
				timeout 10 bash -c 'while [ -e "$XMASQ_SOCKET" ]; do sleep 0.1; done'
				;;
			*' --cleanup') scripts/testbed.sh xmasq start n1 3>&- ;;
			esac ;;
		*)
			by_package "$line" || { echo "no test runs: $line"; return 1; } ;;
		esac
	done < <(commands docs/operations.md)
	[ $ran -ge 15 ]
	scripts/testbed.sh down 3>&-
}

@test "the node's own firewall neither sees nor stops what goes between nodes" {
	local node proto

	scripts/testbed.sh up --replace 3>&-
	for node in n1 n2; do
		for proto in tcp udp; do
			scripts/testbed.sh exec $node -- iptables -I INPUT -p $proto --dport 18477 -j DROP
			scripts/testbed.sh exec $node -- iptables -I INPUT -p $proto --sport 18477 -j DROP
			scripts/testbed.sh exec $node -- iptables -I OUTPUT -p $proto --dport 18477 -j DROP
			scripts/testbed.sh exec $node -- iptables -I OUTPUT -p $proto --sport 18477 -j DROP
		done
	done
	scripts/testbed.sh xmasq start 3>&-
	scripts/testbed.sh exec n2p1 -- "$XMASQ_BUILD/tests/tools/xmt-flow" server --tcp --port 5000 --timeout 60 \
		>"$BATS_TEST_TMPDIR/server" 2>&1 3>&- &
	for _ in {1..100}; do
		grep -q listening "$BATS_TEST_TMPDIR/server" && break
		sleep 0.1
	done
	scripts/testbed.sh exec n1p1 -- "$XMASQ_BUILD/tests/tools/xmt-flow" client --tcp --host 10.244.2.11 \
		--port 5000 --duration 4 --interval-ms 5
	kill $!
	XMASQ_SOCKET=/run/xmasq-xmrd/n1/xmasqd.sock "$XMASQ_BUILD/xmasqctl" status -o json |
		jq -es '.[] | .peers_up == 1 and .masqueraded > 100 and .restored > 100'
	scripts/testbed.sh down 3>&-
}

@test "each message that docs/operations.md explains is one that a test provokes" {
	local text count=0

	while IFS= read -r text; do
		count=$((count + 1))
		# A C string has its quotes behind backslashes.
		grep -qF -- "$text" tests/netns/*.bats tests/unit/*.c ||
			grep -qF -- "${text//\"/\\\"}" tests/unit/*.c || { echo "no test provokes: $text"; return 1; }
	done < <(sed -n '/^## Troubleshooting/,$s/^| `\([^`]*\)` |.*/\1/p' docs/operations.md)
	[ $count -ge 20 ]
}

@test "what the README names exists" {
	local path

	grep -oE '\]\([A-Za-z_/.-]+\)' README.md | tr -d '()]' | while read -r path; do
		[ -e "$path" ] || { echo "README names $path"; exit 1; }
	done
	grep -oE '\]\([A-Za-z_/.-]+\)' docs/operations.md | tr -d '()]' | while read -r path; do
		[ -e "docs/$path" ] || { echo "docs/operations.md names $path"; exit 1; }
	done
	# shellcheck disable=SC2016 # not for the shell
	for path in $(grep -oE '`tests/[a-z/.]+`' docs/operations.md | tr -d '`'); do
		[ -e "$path" ] || { echo "docs/operations.md names $path"; return 1; }
	done
	for t in demo check setup bench deb install uninstall; do
		make help | grep -qE "^ +$t " || { echo "no target $t"; exit 1; }
	done
}
