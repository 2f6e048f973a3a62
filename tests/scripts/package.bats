#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The Debian package: built from a copy of this tree, installed, upgraded, removed and purged in a
# Debian of its own, and run there by systemd as node n1 of the bed xmpk:
#
#     bed xmpk      n1 (network namespace)             n2
#                   ├ systemd, xmasqd.service          ├ xmasqd of this tree
#                   └ pods n1p1, n1p2, n1p3 (later)    └ pods n2p1, n2p2
#
# The Debian root is made once and kept in /var/cache/xmasq (package-root.sh). Systemd is the first
# process of a pid namespace there, with mount, control group and network namespaces of its own.
# shellcheck disable=SC2016,SC2030,SC2031,SC2034 # scripts for other shells; testbed.bash reads variables

setup_file() {
	load testbed
	XMASQ_BED=xmpk
	bed_env
	export P=$BATS_FILE_TMPDIR RUN=$PWD/tests/scripts/package-root.sh

	tree_status >"$P/before"
	# Not $BUILD: what dpkg-buildpackage is told must not depend on who calls it.
	env -u CFLAGS -u CPPFLAGS -u LDFLAGS make -s deb BUILD="$P/build" >"$P/build.log" 2>&1 3>&- ||
		{ tail -n 50 "$P/build.log"; return 1; }
	DEB=$(echo "$P"/build/deb/xmasq_*.deb)
	export DEB
	version=$(dpkg-deb -f "$DEB" Version)
	export VERSION=$version

	# What an upgrade would bring: another version, with another configuration file.
	dpkg-deb -R "$DEB" "$P/next"
	sed -i "s/^Version: .*/Version: $VERSION+next/" "$P/next/DEBIAN/control"
	echo '# of the next version' >>"$P/next/etc/xmasq/xmasqd.yaml"
	dpkg-deb --root-owner-group -b "$P/next" "$P/next.deb" >/dev/null

	# shellcheck disable=SC2046 # words
	ROOT=$("$RUN" make systemd systemd-sysv iproute2 procps jq man-db bash-completion \
		$(dpkg-deb -f "$DEB" Depends | sed 's/([^)]*)//g; s/,/ /g') 3>&-) || {
		[ $? = 75 ] || return 1
		echo "$ROOT" >"$P/skip"
	}
	export ROOT
}

teardown_file() {
	"$RUN" halt "$P/sd"
	"$RUN" halt "$P/adt"
	"$BED" down >/dev/null 2>&1
}

setup() {
	load testbed
	PIDS=()
}

teardown() { stop_all; }

# What git sees there that is not committed, and what it ignores.
tree_status() {
	git --no-optional-locks -c safe.directory='*' status --porcelain --ignored debian deploy docs
}

# copy NAME: a fresh copy of the root with the packages in its /mnt; D is its directory
copy() {
	[ ! -e "$P/skip" ] || skip "allowed: $(cat "$P/skip")"
	D=$P/$1
	mkdir -p "$D/share"
	echo "$ROOT" >"$D/root"
	cp "$DEB" "$D/share/"
	ln -s "${DEB##*/}" "$D/share/xmasq.deb"
	cp "$P/next.deb" "$D/share/"
	cp -r debian/tests "$D/share/"
	cp "${XMASQ_BUILD:-$PWD/build}/tests/tools/xmt-mprog" "$D/share/"
}

# in_copy SCRIPT: run it in $D, as root of a machine without systemd and with an empty bpffs
in_copy() { "$RUN" run "$D" -- bash -euxc "$(declare -f nothing_of_us until_ programs); $1" 3>&-; }

# on_n1 FUNCTION ARG...: from outside of its systemd
on_n1() {
	MPROG=${XMASQ_BUILD:-$PWD/build}/tests/tools/xmt-mprog "$BED" exec n1 -- bash -c "$(declare -f "$1"); \"\$@\"" _ "$@"
}

# The same where systemd runs.
sd() { "$RUN" exec "$P/sd" -- "$@"; }

# ---- shared with the copies ----

# until_ COMMAND...: for ten seconds
until_() {
	local _

	for _ in {1..100}; do
		if "$@"; then return 0; fi
		sleep 0.1
	done
	return 1
}

# programs DEV: ours there, in either way of attaching them
programs() {
	{
		"${MPROG:-/mnt/xmt-mprog}" list "$1"
		tc filter show dev "$1" ingress
	} | grep xmasq
}

# What is left of the package in its copy: paths, but for dpkg's own books and journals.
nothing_of_us() {
	find / -xdev -path /proc -prune -o -path '*xmasq*' ! -path '/mnt/*' ! -path '/var/lib/dpkg/*' \
		! -path '/var/log/*' -print
	find /run -path '*xmasq*' -print
}

# ---- the package itself ----

@test "the package holds what it should, owned by root" {
	local doc=usr/share/doc/xmasq

	diff <(dpkg-deb -c "$DEB" | awk '$1 !~ /^d/ { sub(/^\.\//, "", $6); print $1, $2, $6 }' |
		sed 's|-rw-r--r-- root/root usr/lib/systemd|-rw-r--r-- root/root lib/systemd|' |
		sort -k3) - <<-END
	-rw-r--r-- root/root etc/xmasq/xmasqd.yaml
	-rw-r--r-- root/root lib/systemd/system/xmasqd.service
	-rwxr-xr-x root/root usr/sbin/xmasqctl
	-rwxr-xr-x root/root usr/sbin/xmasqd
	-rw-r--r-- root/root usr/share/bash-completion/completions/xmasqctl
	-rw-r--r-- root/root usr/share/bash-completion/completions/xmasqd
	-rw-r--r-- root/root $doc/README.md
	-rw-r--r-- root/root $doc/changelog.gz
	-rw-r--r-- root/root $doc/copyright
	-rw-r--r-- root/root $doc/deploy/grafana-dashboard.json
	-rw-r--r-- root/root $doc/deploy/xmasqd.yaml
	$(cd docs && printf -- '-rw-r--r-- root/root %s\n' *.md *.svg | sed "s| \([^ ]*\)$| $doc/docs/\1|" | sort -k3)
	-rw-r--r-- root/root usr/share/man/man5/xmasqd.yaml.5.gz
	-rw-r--r-- root/root usr/share/man/man8/xmasqctl.8.gz
	-rw-r--r-- root/root usr/share/man/man8/xmasqd.8.gz
	END
	run ! grep -v '^drwxr-xr-x root/root' <(dpkg-deb -c "$DEB" | grep ^d)
	[ "$(dpkg-deb -I "$DEB" conffiles)" = /etc/xmasq/xmasqd.yaml ]
	for lib in libbpf1 libc6 libjson-c5 libmicrohttpd12 libmnl0 libnettle8 libyaml-0-2 zlib1g; do
		dpkg-deb -f "$DEB" Depends | grep -qw "$lib"
	done
	# Not a library that only the other program needs.
	dpkg-deb -x "$DEB" "$P/x"
	run ! grep -q libbpf <(objdump -p "$P/x/usr/sbin/xmasqctl")
	cmp deploy/xmasqd.yaml "$P/x/etc/xmasq/xmasqd.yaml"
	[ "$("$P/x/usr/sbin/xmasqd" --version)" = "xmasqd $VERSION" ]
}

@test "lintian has neither errors nor warnings" {
	lintian --allow-root --fail-on error,warning "$P"/build/deb/xmasq_*.changes
}

@test "building leaves nothing in the tree" {
	diff "$P/before" <(tree_status)
}

@test "the programs are hardened, also with the flags of a user" {
	local f make=(make -n V=1 XMASQ_VERSION=x)

	dpkg-deb -x "$DEB" "$P/x"
	for f in "$P"/x/usr/sbin/*; do
		readelf -hW "$f" | grep -q 'Type: *DYN'
		readelf -dW "$f" | grep -q BIND_NOW
		readelf -lW "$f" | grep -q GNU_RELRO
		readelf --dyn-syms -W "$f" | grep -q __stack_chk_fail
		readelf --dyn-syms -W "$f" | grep -qE '__(f|sn|vsn)printf_chk'
	done
	export CFLAGS=-DXM_C CPPFLAGS=-DXM_CPP LDFLAGS=-Wl,-z,muldefs
	"${make[@]}" BUILD="$P/flags" all >"$P/commands"
	grep -q -- '-std=gnu11.*_FORTIFY_SOURCE=2.*-DXM_CPP -DXM_C .*-c user_prog/core/ctl.c' "$P/commands"
	grep -q -- '-DXM_C .*-z,now.*-z,muldefs -o .*/xmasqd ' "$P/commands"
	run grep -E -- '-target bpf.*(XM_C|muldefs)' "$P/commands"
	[ "$status" = 1 ]
	# Two levels of it would be a warning, and so an error.
	CPPFLAGS=-D_FORTIFY_SOURCE=3 "${make[@]}" BUILD="$P/flags" all >"$P/commands"
	run grep -E -- '_FORTIFY_SOURCE=2' "$P/commands"
	[ "$status" = 1 ]
}

# ---- without systemd ----

@test "install, upgrade, remove and purge leave what is documented" {
	copy plain
	in_copy '
		dpkg -i /mnt/xmasq.deb
		sh /mnt/tests/programs
		systemctl is-enabled xmasqd
		# The administrator has the last word about the configuration.
		echo "lease_ms: 2000" >>/etc/xmasq/xmasqd.yaml
		touch /etc/xmasq/psk
		dpkg --force-confdef --force-confold -i /mnt/next.deb
		grep -q "^lease_ms: 2000" /etc/xmasq/xmasqd.yaml
		dpkg-query -W -f "\${Version}" xmasq | grep next
		rm /etc/xmasq/xmasqd.yaml.dpkg-dist

		dpkg -r xmasq
		# And whether it was enabled, for the next installation.
		[ "$(nothing_of_us | grep -v "^/[a-z/]*/systemd/" | sort)" = "/etc/xmasq
/etc/xmasq/psk
/etc/xmasq/xmasqd.yaml" ]
		[ ! -e /usr/sbin/xmasqd ] && [ ! -e /lib/systemd/system/xmasqd.service ]
		dpkg -i /mnt/next.deb
		grep -q "^lease_ms: 2000" /etc/xmasq/xmasqd.yaml

		dpkg -P xmasq
		# No file of ours; the key is not ours.
		[ "$(nothing_of_us | sort)" = "/etc/xmasq
/etc/xmasq/psk" ]
		rm -r /etc/xmasq
		dpkg -i /mnt/xmasq.deb
		dpkg -P xmasq
		[ -z "$(nothing_of_us)" ]
		# Nothing to do is no mistake.
		dpkg -P xmasq'
}

# A pod and an underlay, and xmasqd started by hand with /etc/xmasq/xmasqd.yaml; stopped again.
# Its datapath stays.
NODE='
	datapath() {
		ip link set lo up
		ip link add und0 type veth peer name und1
		ip address add 192.0.2.1/24 dev und0
		ip link set und0 up
		ip link set und1 up
		ip netns add pod
		ip link add pod0 type veth peer name eth0 netns pod
		ip link set pod0 up
		ip -n pod link set eth0 up
		xmasqd & pid=$!
		until_ eval "xmasqctl pods -o json |
			jq -es \".[].pods[] | select(.ifname == \\\"pod0\\\" and .attached)\""
		kill $pid
		wait $pid
		programs pod0
		programs und0
	}
	gone() {
		! programs pod0 && ! programs und0 && ! tc qdisc show dev pod0 | grep clsact
	}'

@test "an untouched configuration is upgraded, a broken one keeps no removal from working" {
	copy conf
	in_copy "$NODE"'
		dpkg -i /mnt/xmasq.deb
		dpkg -i /mnt/next.deb
		grep -q "of the next version" /etc/xmasq/xmasqd.yaml
		echo "underlay: [und0]" >/etc/xmasq/xmasqd.yaml
		datapath
		echo "not: [ours" >/etc/xmasq/xmasqd.yaml
		dpkg -r xmasq
		gone
		[ ! -e /sys/fs/bpf/xmasq ]
		dpkg -P xmasq
		# Without a bpffs there is nothing to take away.
		dpkg -i /mnt/xmasq.deb
		umount /sys/fs/bpf
		dpkg -P xmasq
		[ -z "$(nothing_of_us)" ]'
}

@test "removing takes programs, pins and sysctls away, an upgrade does not" {
	copy cleanup
	in_copy "$NODE"'
		dpkg -i /mnt/xmasq.deb
		before=$(sysctl net.ipv4.ip_local_reserved_ports)
		echo "underlay: [und0]" >/etc/xmasq/xmasqd.yaml
		datapath
		# What xmasqd pins is what purge knows by name.
		(cd /sys/fs/bpf/xmasq && ls) | while read -r pin; do
			grep -w "$pin" /var/lib/dpkg/info/xmasq.postrm
		done
		sysctl net.ipv4.ip_local_reserved_ports | grep 18477
		DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /mnt/next.deb
		programs pod0
		[ -e /sys/fs/bpf/xmasq/xm_flows ]
		dpkg -r xmasq
		gone
		[ ! -e /sys/fs/bpf/xmasq ]
		[ "$(sysctl net.ipv4.ip_local_reserved_ports)" = "$before" ]
		[ ! -e /run/xmasq ]
		dpkg -P xmasq'
}

@test "purging removes our pins and records after a failed cleanup, and no others" {
	copy purge
	in_copy "$NODE"'
		dpkg -i /mnt/xmasq.deb
		printf "%s\n" "underlay: [und0]" "pin_dir: \"/sys/fs/bpf/mine\" # here" \
			"state_dir: /run/mine" >/etc/xmasq/xmasqd.yaml
		datapath
		mkdir /sys/fs/bpf/mine/theirs /sys/fs/bpf/xmasq
		touch /run/mine/theirs
		cp /usr/sbin/xmasqd /tmp/
		printf "%s\n" "#!/bin/sh" "exit 1" >/usr/sbin/xmasqd
		dpkg -r xmasq 2>&1 | tee /tmp/out
		grep "not everything" /tmp/out
		[ -e /sys/fs/bpf/mine/xm_flows ] && [ -s /run/mine/sysctl ]

		# While another one uses the directory, its pins are not ours to take.
		cp -a /var/lib/dpkg /var/lib/xmasq /tmp/
		cp /etc/xmasq/xmasqd.yaml /tmp/keep
		flock /sys/fs/bpf/mine sleep 1000 & holder=$!
		until_ eval "! flock -n /sys/fs/bpf/mine true"
		dpkg -P xmasq 2>&1 | grep "another xmasqd"
		[ -e /sys/fs/bpf/mine/xm_flows ] && [ -s /run/mine/sysctl ]
		pkill -P $holder; kill $holder || true
		wait || true

		cp -a /tmp/dpkg /tmp/xmasq /var/lib/ && mkdir -p /etc/xmasq && cp /tmp/keep /etc/xmasq/xmasqd.yaml
		dpkg -P xmasq
		[ "$(ls /sys/fs/bpf/mine)" = theirs ]
		[ "$(ls /run/mine)" = theirs ]
		[ -d /sys/fs/bpf/xmasq ]
		[ -z "$(nothing_of_us | grep -v ^/tmp)" ]'
}

@test "in a chroot the machine around it is left alone" {
	copy chroot
	in_copy "$NODE"'
		dpkg -i /mnt/xmasq.deb
		echo "underlay: [und0]" >/etc/xmasq/xmasqd.yaml
		datapath
		mkdir /tmp/c
		mount -t tmpfs tmpfs /tmp/c
		mkdir /tmp/c/up /tmp/c/work /tmp/c/root
		mount -t overlay overlay -o lowerdir=/,upperdir=/tmp/c/up,workdir=/tmp/c/work /tmp/c/root
		for d in proc sys dev run; do mount --rbind /$d /tmp/c/root/$d; done
		chroot /tmp/c/root ischroot
		chroot /tmp/c/root dpkg -P xmasq
		[ ! -e /tmp/c/root/usr/sbin/xmasqd ]
		programs pod0
		[ -e /sys/fs/bpf/xmasq/xm_flows ]
		[ -s /run/xmasq/sysctl ]'
}

# ---- with systemd ----

active() { [ "$(sd systemctl is-active xmasqd)" = active ]; }
epoch() { sd xmasqctl status -o json | jq -es '.[].epoch'; }
main_pid() { sd systemctl show -p MainPID --value xmasqd; }
# another PID: the service runs, as another process
another() { active && [ "$(main_pid)" != "$1" ] && sd xmasqctl status >/dev/null; }
attached() {
	sd xmasqctl pods -o json | jq -es --arg a "$1" '.[].pods[] | select(.netns == $a and .attached)'
}
flow_active() { sd xmasqctl flows -o json | jq -es '.[].flows[] | select(.state == "active")'; }

# boot_node: systemd as node n1 of a new bed, nothing of ours installed
boot_node() {
	copy sd
	"$BED" up --replace 3>&-
	"$BED" xmasq start n2 3>&-
	XM_NETNS=xmpk-n1 "$RUN" boot "$D" 3>&-
}

# needs_sd: the service runs, where the test before left it if there was one; SERVICE_PID is it
needs_sd() {
	D=$P/sd
	if [ ! -e "$D/pid" ]; then
		boot_node
		sd dpkg -i /mnt/xmasq.deb
	fi
	poll 10 active
	SERVICE_PID=$(main_pid)
}

# run_on PROTO PORT: a flow from n1p1 to n2p1, a message each 20 ms, for twelve seconds; CLIENT is it
run_on() {
	serve xmpk n2p1 "$1" "$2"
	flow xmpk n1p1 "$1" 10.244.2.11 "$2" --duration 12 --interval-ms 20 \
		>"$BATS_TEST_TMPDIR/client" 2>&1 3>&- &
	CLIENT=$!
	PIDS+=("$CLIENT")
	poll 10 flow_active >/dev/null
}

# readme N: the Nth sh block of the README's part about installing, as commands for the copy
readme() {
	awk -v n="$1" '
		/^## / { on = $0 == "## Install on a cluster" }
		on && /^```sh/ { if (++block == n) { out = 1; next } }
		/^```/ { out = 0 }
		out' README.md >"$BATS_TEST_TMPDIR/block"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/block")" -ge "$2" ]
	# setup_file has done that.
	[ "$1" != 1 ] || grep -q '^make deb' "$BATS_TEST_TMPDIR/block"
	sd bash -euxo pipefail -c "echo 'APT::Get::Assume-Yes \"1\";' >/etc/apt/apt.conf.d/yes
		$(sed 's/sudo //g; s|\./build/deb/|/mnt/|; /^make deb/d' "$BATS_TEST_TMPDIR/block")"
}

@test "the service starts at installation as the README says, and again with the system" {
	boot_node
	readme 1 4
	active
	sd systemctl is-enabled xmasqd
	"$RUN" halt "$D"
	XM_NETNS=xmpk-n1 "$RUN" boot "$D" 3>&-
	poll 10 active
	# It is up when it answers.
	sd xmasqctl status
}

@test "the service finds and accelerates pods, those that come later, too" {
	needs_sd
	poll 10 attached xmpk-n1p1
	poll 10 attached xmpk-n1p2
	"$BED" pod-add n1 3 3>&-
	poll 10 attached xmpk-n1p3
	serve xmpk n2p1 tcp 4000
	serve xmpk n2p1 udp 4000
	for proto in tcp udp; do
		flow xmpk n1p3 $proto 10.244.2.11 4000 --duration 3 --interval-ms 2
	done
	sd xmasqctl status
	sd xmasqctl status -o json | jq -es '.[] | .masqueraded > 500 and .restored > 500 and .tcp_ok'
	# The sysctl is the node's: what the service may write.
	[ "$("$BED" exec n1 -- sysctl -n net.netfilter.nf_conntrack_tcp_be_liberal)" = 1 ]
	sd xmasqctl flush --pod "$("$BED" veth n1p3)"
	"$BED" pod-del n1 3 3>&-
	# Its own view of /run/netns holds no namespace that is gone.
	run ! grep -F xmpk-n1p3 <(sd grep netns "/proc/$SERVICE_PID/mounts")
}

@test "the service answers probes and Prometheus, and bugtool finds its journal" {
	needs_sd
	page() {
		sd bash -c 'exec 3<>/dev/tcp/127.0.0.1/9477
			printf "GET %s HTTP/1.0\r\n\r\n" "$1" >&3; cat <&3' _ "$1"
	}
	is_ready() { page /readyz | grep -x ready; }
	poll 10 is_ready
	page /healthz | grep -x ok
	page /metrics | grep -x 'xmasq_pods{state="attached"} 2'
	sd xmasqctl bugtool --to /mnt/bug.tar.gz
	mkdir "$BATS_TEST_TMPDIR/bug"
	tar -xzf "$D/share/bug.tar.gz" -C "$BATS_TEST_TMPDIR/bug" --strip-components=1
	rm "$D/share/bug.tar.gz"
	grep -q ' running: ' "$BATS_TEST_TMPDIR/bug/system/journal.txt"
	grep -q 'Active: active' "$BATS_TEST_TMPDIR/bug/system/service.txt"
	grep -q '^ready$' "$BATS_TEST_TMPDIR/bug/xmasqd/readyz.txt"
}

@test "the service sees namespaces without a name, of any user's processes" {
	needs_sd
	sd sh -c 'setsid unshare -n setpriv --reuid 65534 --regid 65534 --clear-groups sleep 1000 \
		>/dev/null 2>&1 & echo $! >/mnt/nobody'
	poll 5 sd sh -c 'ps -o user= -p "$(cat /mnt/nobody)" | grep nobody'
	sd sh -c 'ip link add mv0 link "$(ip -o route get 172.31.0.2 | sed "s/.* dev \([^ ]*\).*/\1/")" \
		type macvlan && ip link set mv0 netns "$(cat /mnt/nobody)"'
	nameless() {
		sd xmasqctl pods -o json | jq -es --arg n "pid $(cat "$D/share/nobody")" \
			'.[].pods[] | select(.netns == $n and .kind == "macvlan")'
	}
	poll 10 nameless
	sd sh -c 'kill "$(cat /mnt/nobody)"'
}

@test "the service has no privilege that it does not need" {
	needs_sd
	# BPF PERFMON NET_ADMIN NET_BROADCAST NET_RAW SYS_ADMIN SYS_PTRACE, and no way to more.
	sd grep -x 'CapBnd:	000000c000283800' "/proc/$SERVICE_PID/status"
	sd grep -x 'NoNewPrivs:	1' "/proc/$SERVICE_PID/status"
	sd grep -x 'Seccomp:	2' "/proc/$SERVICE_PID/status"
	# Read-only but for what it writes, and the same bpffs as everybody's.
	sd touch /root/secret /home/secret /tmp/secret
	sd nsenter -t "$SERVICE_PID" -m sh -uxc '
		for d in /etc/xmasq /usr /var/lib /run; do
			if touch "$d/x"; then exit 1; fi
		done
		for f in /proc/sys/vm/swappiness /sys/kernel/uevent_seqnum /sys/class/net/lo/mtu; do
			if [ -w "$f" ]; then exit 3; fi
		done
		[ -w /proc/sys/net/ipv4/ip_local_reserved_ports ] || exit 4
		for d in /root /home /tmp; do
			if [ -e "$d/secret" ]; then exit 2; fi
		done
		touch /run/xmasq/x && rm /run/xmasq/x && mkdir /sys/fs/bpf/x'
	sd rmdir /sys/fs/bpf/x
	sd systemd-analyze security --no-pager --threshold=35 xmasqd >"$BATS_TEST_TMPDIR/security" ||
		{ cat "$BATS_TEST_TMPDIR/security"; return 1; }
	# Nothing in the log says that it was denied something.
	run ! grep -iE 'not permitted|denied|cannot' <(sd journalctl -q --no-pager -u xmasqd)
}

@test "reload reads the configuration, a wrong one changes nothing" {
	needs_sd
	sd sh -c 'echo "log: {level: debug}" >>/etc/xmasq/xmasqd.yaml'
	sd systemctl reload xmasqd
	poll 5 sd sh -c 'xmasqctl config -o json | jq -e ".log.level == \"debug\""'
	sd sh -c 'echo "log: [" >>/etc/xmasq/xmasqd.yaml'
	sd systemctl reload xmasqd
	poll 5 sd sh -c 'journalctl -q -u xmasqd | grep "the old configuration stays"'
	active
	[ "$(main_pid)" = "$SERVICE_PID" ]
	sd sed -i '/^log:/d' /etc/xmasq/xmasqd.yaml
	sd systemctl reload xmasqd
}

@test "an upgrade, a restart and a crash cost no flow; the datapath stays" {
	needs_sd
	before=$(epoch)
	run_on tcp 4010
	sd dpkg --force-confold -i /mnt/next.deb
	poll 10 another "$SERVICE_PID"
	[ "$(epoch)" = "$before" ]
	pid=$(main_pid)
	sd systemctl restart xmasqd
	poll 10 another "$pid"
	pid=$(main_pid)
	sd systemctl kill -s KILL xmasqd
	poll 10 another "$pid"
	[ "$(epoch)" = "$before" ]
	poll 10 flow_active
	wait "$CLIENT" || { cat "$BATS_TEST_TMPDIR/client"; return 1; }
	jq . "$BATS_TEST_TMPDIR/client"
	jq -e '.stall_ms < 1000' "$BATS_TEST_TMPDIR/client"
}

@test "the watchdog ends a daemon that hangs, and it starts again" {
	needs_sd
	sd sh -c 'mkdir -p /run/systemd/system/xmasqd.service.d &&
		printf "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n" >/run/systemd/system/xmasqd.service.d/t.conf &&
		systemctl daemon-reload && systemctl restart xmasqd'
	pid=$(main_pid)
	sleep 3
	[ "$(main_pid)" = "$pid" ]
	sd kill -STOP "$pid"
	poll 15 another "$pid"
	sd sh -c 'rm -r /run/systemd/system/xmasqd.service.d; systemctl daemon-reload; systemctl restart xmasqd'
}

@test "a configuration that is wrong keeps no package from being installed" {
	needs_sd
	sd sh -c 'cp /etc/xmasq/xmasqd.yaml /tmp/good && echo "not: [" >/etc/xmasq/xmasqd.yaml'
	sd dpkg --force-confold -i /mnt/xmasq.deb
	run ! active
	# The datapath of the run before goes on, until it works again.
	sd test -e /sys/fs/bpf/xmasq/xm_flows
	sd sh -c 'cp /tmp/good /etc/xmasq/xmasqd.yaml && systemctl reset-failed xmasqd &&
		systemctl restart xmasqd'
	active
}

@test "stopping leaves the datapath, removing as the README says takes it away" {
	needs_sd
	poll 20 attached xmpk-n1p1
	sd systemctl stop xmasqd
	[ "$(sd systemctl is-active xmasqd)" = inactive ]
	sd test -e /sys/fs/bpf/xmasq/xm_flows
	on_n1 programs "$("$BED" veth n1p1)"
	sd systemctl start xmasqd
	poll 10 attached xmpk-n1p1
	readme 2 2
	run ! sd systemctl is-active xmasqd
	run ! on_n1 programs "$("$BED" veth n1p1)"
	run ! sd test -e /sys/fs/bpf/xmasq
	run ! sd systemctl cat xmasqd
	[ -z "$(sd bash -c "$(declare -f nothing_of_us); nothing_of_us")" ]
	"$BED" exec n1p1 -- ping -q -c 1 -W 2 10.244.2.11
}

@test "the package's own tests for a Debian testbed pass" {
	"$RUN" halt "$P/sd"
	copy adt
	"$RUN" boot "$D" 3>&-
	"$RUN" exec "$D" -- dpkg -i /mnt/xmasq.deb
	"$RUN" exec "$D" -- sh /mnt/tests/programs
	"$RUN" exec "$D" -- sh /mnt/tests/service || { "$RUN" halt "$D"; return 1; }
	"$RUN" halt "$D"
}
