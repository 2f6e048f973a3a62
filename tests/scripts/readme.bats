#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The README's commands do what it says: they are taken out of it and run.

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
		"$XMASQ_BUILD/xmasqctl" "$what" -o json | jq -e . >/dev/null
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

@test "what the README names exists" {
	local path

	grep -oE '\]\([A-Za-z_/.-]+\)' README.md | tr -d '()]' | while read -r path; do
		[ -e "$path" ] || { echo "README names $path"; exit 1; }
	done
	for t in demo check setup bench deb install uninstall; do
		make help | grep -qE "^ +$t " || { echo "no target $t"; exit 1; }
	done
}
