#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# What an operator can see from outside: metrics and probes over HTTP, the life of flows as it
# happens, why a flow is or is not on the fast path, and what a report to a maintainer holds.
#
#   n1p1, n1p2 - n1 ======= VXLAN ======= n2 - n2p1, n2p2
#
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own
# shellcheck disable=SC2154 # output: set by run

load lib
load daemon

setup_file()    { bed_up --pods 2; daemons_changed; }
teardown_file() { bed_down; }
setup()         { test_begin; MONITORS=(); PROM=$BUILD/tests/tools/xmt-prom; daemons_default; }
teardown()      { monitors_end; daemons_end; test_end; }

URL=http://127.0.0.1:9477

# get NODE PATH [curl options]: the answer's body; fails unless the status is 200
get() { inside "$1" curl -sS -m $((5 * XM_SLOW)) --fail-with-body "$URL$2" "${@:3}"; }

# status_of NODE PATH [curl options]: of the answer, 000 when there is none
status_of()
{
	inside "$1" curl -s -m $((5 * XM_SLOW)) -o /dev/null -w '%{http_code}' "$URL$2" "${@:3}" || :
}

answers() { [ "$(status_of "$1" "$2")" = "$3" ]; }

# scrape NODE FILE: what it says, which has to be well formed
scrape() { get "$1" /metrics >"$2" && "$PROM" check "$2"; }

# metric NODE SERIES CONDITION: a condition of awk's on the value v, of a scrape made here
metric()
{
	local v

	scrape "$1" "$BATS_TEST_TMPDIR/now" || return 1
	v=$("$PROM" get "$BATS_TEST_TMPDIR/now" "$2") || { echo "no $2"; return 1; }
	awk -v v="$v" "BEGIN { exit !($3) }" || { echo "$2 is $v, not $3"; return 1; }
}

# ---- metrics --------------------------------------------------------------------

@test "metrics: well formed, and the numbers of xmasqctl" {
	local was=$BATS_TEST_TMPDIR/was is=$BATS_TEST_TMPDIR/is n

	only_with_fast_path
	scrape n1 "$was"
	live
	wait_until 20 metric n1 'xmasq_packets_total{path="fast",direction="out"}' 'v > 20'
	wait_until 20 metric n1 'xmasq_packets_total{path="fast",direction="in"}' 'v > 20'
	# Taken every five seconds.
	wait_until 20 metric n1 'xmasq_flows{state="active"}' 'v >= 2'
	metric n1 'xmasq_map_entries{map="flows"}' 'v >= 2'
	metric n1 'xmasq_map_entries{map="labels"}' 'v >= 2'
	metric n1 'xmasq_map_max_entries{map="flows"}' 'v == 65536'
	metric n1 'xmasq_map_entries{map="peers"}' 'v == 1'
	live_end
	scrape n1 "$is"
	"$PROM" grown "$was" "$is" xmasq_packets_total xmasq_bytes_total xmasq_events_total
	# Nothing moves now but hellos.
	n=$(counter n1 masqueraded)
	metric n1 'xmasq_packets_total{path="fast",direction="out"}' "v == $n"
	n=$(ctl n1 counters -a -o json | jq '.counters[] | select(.name == "restored").bytes')
	metric n1 'xmasq_bytes_total{path="fast",direction="in"}' "v == $n"
	n=$(ctl n1 counters -a -o json | jq '[.counters[] | select(.kind == "overlay").packets] | add')
	metric n1 'xmasq_packets_total{path="overlay",direction="out"}' "v >= $n"
	n=$(counter n1 lease-out)
	metric n1 'xmasq_lease_renewals_total{direction="out"}' "v >= $n && v > 0"
	metric n1 'xmasq_lease_renewals_total{direction="in"}' 'v > 0'
	metric n1 'xmasq_peers{state="up"}' 'v == 1'
	metric n1 'xmasq_peers{state="down"}' 'v == 0'
	metric n1 'xmasq_pods{state="attached"}' 'v == 2'
	metric n1 "xmasq_attached_pods{mode=\"$(mode_of "$(pod_kind n1p1)")\"}" 'v >= 1'
	metric n1 'xmasq_ready' 'v == 1'
	metric n1 'xmasq_underlay_interfaces' "v == $(wc -w <<<"$NICS")"
	metric n1 'xmasq_netlink_overruns_total' 'v == 0'
	metric n1 'xmasq_log_messages_total{level="error"}' 'v == 0'
	metric n1 'xmasq_log_messages_total{level="info"}' 'v > 0'
	metric n1 'process_resident_memory_bytes' 'v > 1e6'
	metric n1 'process_start_time_seconds' "v > $(date +%s) - 3600 && v <= $(date +%s)"
	grep -qF "xmasq_build_info{version=\"$(ctl n1 version -o json | jq -r .xmasqd)\"," \
		"$BATS_TEST_TMPDIR/now"
}

# What the programs count
COUNTED=(xmasq_packets_total xmasq_bytes_total xmasq_fallback_packets_total xmasq_fallback_bytes_total
	xmasq_dropped_packets_total xmasq_dropped_bytes_total xmasq_control_packets_total
	xmasq_events_total xmasq_lease_renewals_total xmasq_lease_refused_packets_total)

@test "metrics: what the programs count goes on when xmasqd is restarted, killed, and traffic flows" {
	local was=$BATS_TEST_TMPDIR/was is=$BATS_TEST_TMPDIR/is signal start

	only_with_fast_path
	live
	for signal in TERM KILL; do
		scrape n1 "$was"
		"$PROM" get "$was" 'xmasq_packets_total{path="fast",direction="out"}' | grep -qvx 0
		start=$("$PROM" get "$was" process_start_time_seconds)
		term n1 "$signal"
		answers n1 /metrics 000
		launch n1
		wait_until 20 answers n1 /metrics 200
		scrape n1 "$is"
		"$PROM" grown "$was" "$is" "${COUNTED[@]}"
		metric n1 process_start_time_seconds "v > $start"
	done
	# Gauges are right from the first answer.
	metric n1 'xmasq_map_entries{map="flows"}' 'v >= 2'
	live_end
}

@test "metrics: drops and fallbacks are counted by their reasons" {
	local was=$BATS_TEST_TMPDIR/was

	only_with_fast_path
	scrape n1 "$was"
	# What the node itself sends to a peer's masquerade port is not ours: guarded.
	inside n1 bash -c "exec 3<>/dev/udp/$(ip_of n2)/18477; echo forged >&3"
	metric n1 'xmasq_dropped_packets_total{reason="guard"}' \
		"v == $("$PROM" get "$was" 'xmasq_dropped_packets_total{reason="guard"}') + 1"
	serve n2p1 tcp 4100
	flow n1p1 tcp n2p1 4100 --rounds 3
	metric n1 'xmasq_fallback_packets_total{reason="tcp-flags"}' \
		"v >= $("$PROM" get "$was" 'xmasq_fallback_packets_total{reason="tcp-flags"}') + 2"
}

# ---- the web server --------------------------------------------------------------

open_files() { find "/proc/$(pid_of "$1")/fd" -type l | wc -l; }

# no_clients: nobody is connected to the web server of n1 any more
no_clients() { [ -z "$(inside n1 ss -Htn state established state close-wait 'sport = :9477')" ]; }

@test "web server: HEAD, other methods, unknown pages, nonsense, and 20 clients that never finish" {
	local i fds

	[ "$(status_of n1 /)" = 200 ]
	wait_until 20 no_clients
	fds=$(open_files n1)
	[ "$(status_of n1 /nothing)" = 404 ]
	[ "$(status_of n1 '/metrics?x=1')" = 200 ]
	[ "$(status_of n1 /metrics -I)" = 200 ]
	[ "$(status_of n1 /metrics -X POST -d x=1)" = 405 ]
	[ "$(status_of n1 /metrics -X DELETE)" = 405 ]
	get n1 /metrics -D "$BATS_TEST_TMPDIR/head" >/dev/null
	grep -qi '^content-type: text/plain; version=0.0.4' "$BATS_TEST_TMPDIR/head"
	inside n1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/9477; head -c 100000 /dev/urandom >&3' || :
	[ "$(status_of n1 /healthz)" = 200 ]
	# More than there are places for, each with a byte a second: no idle limit throws them out.
	for ((i = 0; i < 20; i++)); do
		inside n1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/9477
			while printf G >&3; do sleep 1; done' 3>&- 2>/dev/null &
		PIDS+=($!)
	done
	ctl n1 status >/dev/null
	# They keep nobody out.
	for _ in 1 2 3 4 5; do
		wait_until 1 answers n1 /healthz 200
	done
	stop_all
	# None of them left anything.
	wait_until 20 no_clients
	[ "$(open_files n1)" -le "$fds" ]
}

@test "web server: not where nobody asked for it, elsewhere after a reload, again when the port is free" {
	answers n1 /healthz 200
	# Loopback only.
	run inside n2 curl -s -m 2 -o /dev/null "http://$(ip_of n1):9477/healthz"
	[ "$status" != 0 ]
	reload n1 'metrics: {listen: "127.0.0.1:9478"}'
	URL=http://127.0.0.1:9478
	answers n1 /healthz 200
	URL=http://127.0.0.1:9477
	answers n1 /healthz 000
	reload n1 'metrics: {listen: ""}'
	answers n1 /healthz 000
	URL=http://127.0.0.1:9478
	answers n1 /healthz 000

	start "$BATS_TEST_TMPDIR/nc" istening nsenter --net="/run/netns/$XMASQ_BED-n1" -- \
		nc -v -l 127.0.0.1 9478
	reload n1 'metrics: {listen: "127.0.0.1:9478"}'
	logged n1 'error metrics.listen 127.0.0.1:9478: Address already in use; another program is there'
	status_is n1 '.pods_attached == 2'
	stop_all
	wait_until 20 answers n1 /healthz 200
	[ "$(log_new n1 | grep -c 'error metrics.listen')" = 1 ]

	reload n1 "metrics: {listen: \"$(ip_of n1):9477\"}"
	wait_until 20 logged n1 'others than this machine can read'
	inside n2 curl -sf -m 5 -o /dev/null "http://$(ip_of n1):9477/healthz"
	reload n1
}

# ---- probes ---------------------------------------------------------------------

@test "probes: ready without a peer, not ready without an underlay interface, healthy in both" {
	get n1 /readyz >"$BATS_TEST_TMPDIR/ready"
	grep -qx 'ready' "$BATS_TEST_TMPDIR/ready"
	run ! grep -F '[-]' "$BATS_TEST_TMPDIR/ready"
	grep -qx '    pods: 2 attached, 0 failed' "$BATS_TEST_TMPDIR/ready"

	stop_clean n1
	custom n1 "$BATS_TEST_TMPDIR/yaml" -e 's/^underlay: .*/underlay: [nothere]/'
	daemon n1 "$BATS_TEST_TMPDIR/yaml"
	[ "$(status_of n1 /readyz)" = 503 ]
	[ "$(status_of n1 /healthz)" = 200 ]
	run -22 get n1 /readyz
	[[ $output == *'[-] underlay: 0 interfaces attached; check "underlay"'* ]]
	[[ $output == *'not ready'* ]]
	metric n1 xmasq_ready 'v == 0'
	daemon_end
	xmasqd n1 --config "$BATS_TEST_TMPDIR/yaml" --cleanup
}

@test "probes: a daemon that hangs is not healthy, and is again when it goes on" {
	local pid

	pid=$(pid_of n1)
	answers n1 /healthz 200
	kill -STOP "$pid"
	[ "$(inside n1 curl -s -m 1 -o /dev/null -w '%{http_code}' "$URL/healthz" || :)" = 000 ]
	kill -CONT "$pid"
	wait_until 20 answers n1 /healthz 200
}

# ---- xmasqctl trace ---------------------------------------------------------------

# traced NODE FLOW CONDITION: jq's, of what trace says
traced()
{
	local said

	said=$(ctl "$1" trace "$2" -o json) || return 1
	jq -e "$3" <<<"$said" >/dev/null ||
		{ jq -r '"\(.summary): \([.steps[] | select(.mark != "ok").text] | join("; "))"' <<<"$said"; false; }
}

# live_flow PROTO PORT: that of live, as n1 sees it: an earlier test's has an older lease
live_flow()
{
	wait_until 20 flow_active n1 "$2" || return 1
	ctl n1 flows -o json | jq -er --arg p "$1" --argjson q "$2" '[.flows[] | select(.protocol == $p and
		.dport == $q)] | max_by(.out_ms) | "\(.protocol) \(.saddr):\(.sport) \(.daddr):\(.dport)"'
}

@test "trace: a live flow is fast on both nodes, seen from either end; the programs agree" {
	local flow

	only_with_fast_path
	live
	flow=$(live_flow tcp 4000)
	# At any moment one packet may be a renewal.
	wait_until 20 traced n1 "$flow" '.out.path == "fast" and .out.reason == "masqueraded" and
		.in.path == "fast" and .in.reason == "restored" and (.reversed | not)'
	wait_until 20 traced n2 "$flow" '.out.path == "fast" and .in.path == "fast" and .reversed'
	# Words, without quotes, for people.
	# shellcheck disable=SC2086
	run -0 ctl n1 trace $flow
	[[ $output == *'pod sends'*'masqueraded: '*'redirected to'* || $output == *'due for renewal'* ]]
	[[ $output == *"pod $P1 sends takes the"* ]]
	all_fast n1 n2
	live_end
}

@test "trace: why not: no flow, same node, excluded, ended, lease over, peer gone, TCP off, no pod of ours" {
	local a b flow

	only_with_fast_path
	a=$(ip_of n1p1) b=$(ip_of n2p1)
	traced n1 "tcp $a:1 $b:2" '.out == {"path": "overlay", "reason": "no-flow"} and .in.path == "overlay"'
	traced n1 "tcp $a:1 $(ip_of n1p2):2" 'any(.steps[]; .text | contains("both pods are on this node"))'
	traced n1 "tcp 192.0.2.1:1 192.0.2.2:2" '.out.path == "unknown" and (.summary | contains("not a flow of this node"))'

	live
	flow=$(live_flow udp 4001)
	policy n1 deny --from n1p1 --to n2p1
	wait_until 20 traced n1 "$flow" '.out.reason == "lease-over" and .in.path == "drop"'
	policy n1 clear
	wait_until 20 traced n1 "$flow" '.out.path == "fast"'
	term n2
	# Who allots labels takes the flow back at once, the other end leaves it to the leases.
	wait_until 20 traced n1 "$flow" '(.out.reason | IN("not-agreed", "peer-down")) and
		any(.steps[]; .mark == "no" and (.text | contains("no proof for 3 s")))'
	launch n2
	wait_until 20 traced n1 "$flow" '.out.path == "fast"'
	flow=$(live_flow tcp 4000)
	live_end
	traced n1 "$flow" '.out.reason == "ended"'

	reload n1 "pods: {exclude: [$a/32]}"
	wait_until 20 traced n1 "tcp $a:1 $b:2" '.out == {"path": "overlay", "reason": null} and
		any(.steps[]; .text | contains("does not carry the programs"))'
	reload n1 'conntrack: {tcp_be_liberal: require}'
	inside n1 sysctl -qw "$LIBERAL=0"
	wait_until 20 status_is n1 '.tcp_ok == false'
	traced n1 "tcp $a:1 $b:2" 'any(.steps[]; .text | contains("TCP is not accelerated here"))'
	traced n1 "udp $a:1 $b:2" 'any(.steps[]; .text | contains("TCP is not accelerated")) | not'
}

# ---- xmasqctl monitor ----------------------------------------------------------------

# monitor FILE PATTERN OPTIONS...: of n1, into FILE, until monitors_end: live_end ends what others start
monitor()
{
	start "$1" "$2" "$BUILD/xmasqctl" --socket "$(state n1)/xmasqd.sock" monitor --interval 0.1 "${@:3}"
	MONITORS+=("${PIDS[-1]}")
	unset 'PIDS[-1]'
}

monitors_end()
{
	local pid

	for pid in "${MONITORS[@]}"; do
		stop "$pid"
	done
	MONITORS=()
}

# seen FILE PATTERN (extended regular expression)
seen() { grep -qE -- "$2" "$1"; }

@test "monitor: a flow's life, decisions, a peer and a pod that go and come, a daemon that restarts" {
	local log=$BATS_TEST_TMPDIR/log json=$BATS_TEST_TMPDIR/json

	only_with_fast_path
	monitor "$log" 'peer  '
	monitor "$json" '"event":"peer"' -o json
	seen "$log" "^[0-9T:.-]+Z peer  $(ip_of n2) up$"
	seen "$log" "Z pod   $P1 $(ip_of n1p1) attached, mode "
	live
	wait_until 20 seen "$log" "flow  tcp $(ip_of n1p1):[0-9]+->$(ip_of n2p1):4000 (.* -> |new: )active, label [0-9]+, peer"
	wait_until 20 seen "$log" 'count .*masqueraded [0-9]+'
	live_end
	wait_until 20 seen "$log" ':4000 active -> ended'
	wait_until 40 seen "$log" ':4000 gone \(was ended\)'
	"$BED" pod-del n1 2
	wait_until 20 seen "$log" "pod   $P2 gone"
	"$BED" pod-add n1 2
	wait_until 20 seen "$log" "pod   $P2 $(ip_of n1p2) attached|pod   $P2 attached"
	term n1
	# It may have gone in the middle of an answer.
	wait_until 20 seen "$log" 'note  .*; waiting for it'
	launch n1
	wait_until 20 seen "$log" 'note  xmasqd answers again'
	term n2
	wait_until 20 seen "$log" "peer  $(ip_of n2) up -> down: no proof for 3 s"
	monitors_end
	[ "$(grep -c 'waiting for it' "$log")" = 1 ]
	# Each line of the other is an object with a time.
	jq -es 'all(.[]; (.time | test("^20.*Z$")) and (.event | test("^(note|flow|peer|pod|decisions)$")))' \
		"$json" >/dev/null
	jq -es 'any(.[]; .event == "flow" and .to == "active" and .label > 0) and
		any(.[]; .event == "decisions" and .packets.masqueraded > 0)' "$json" >/dev/null
}

@test "monitor: one flow, and why it goes where it goes; an end after N looks" {
	local log=$BATS_TEST_TMPDIR/log flow

	only_with_fast_path
	live
	flow=$(live_flow udp 4001)
	monitor "$log" 'now   ' --flow "$flow"
	wait_until 20 seen "$log" 'takes the fast path \(masqueraded\); what the peer sends back is restored'
	policy n1 deny --from n1p1 --to n2p1
	wait_until 20 seen "$log" 'takes the overlay \(lease-over\)'
	policy n1 clear
	run ! grep -E ':4000|count ' "$log"
	live_end
	run -0 ctl n1 monitor --interval 0.1 --count 2
	run -1 "$BUILD/xmasqctl" --socket "$BATS_TEST_TMPDIR/none" monitor
	[[ $output == *'is xmasqd running?'* ]]
}

# ---- xmasqctl bugtool -----------------------------------------------------------------

# mark_of NODE: the secret mark of its tables, as 8 hexadecimal digits
mark_of()
{
	bpftool -j map dump pinned "$(pin_dir "$1")/xm_meta" |
		jq -r '.[0].value | [.[11, 10, 9, 8] | ltrimstr("0x")] | join("")'
}

# bundle NODE [ARGS]: bugtool there, unpacked; DIR is its top
bundle()
{
	rm -rf "$BATS_TEST_TMPDIR/bundle"
	mkdir "$BATS_TEST_TMPDIR/bundle"
	inside "$1" "$BUILD/xmasqctl" --socket "$(state "$1")/xmasqd.sock" bugtool \
		--to "$BATS_TEST_TMPDIR/bundle/b.tar.gz" || return 1
	tar -xzf "$BATS_TEST_TMPDIR/bundle/b.tar.gz" -C "$BATS_TEST_TMPDIR/bundle" || return 1
	DIR=$(echo "$BATS_TEST_TMPDIR"/bundle/xmasq-bugtool-*)
}

@test "bugtool: what a maintainer needs, and neither the key nor the mark, wherever they are" {
	local key mark file

	only_with_fast_path
	key=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
	printf '%s\n' "$key" >"$BATS_TEST_TMPDIR/psk"
	chmod 600 "$BATS_TEST_TMPDIR/psk"
	"$BED" xmasq stop
	launch n1 "psk_file: $BATS_TEST_TMPDIR/psk"
	launch n2 "psk_file: $BATS_TEST_TMPDIR/psk"
	peers_meet
	mark=$(mark_of n1)
	[[ $mark =~ ^[89a-f][0-9a-f]{7}$ ]]
	# Somebody is careless with it.
	inside n1 nft add table ip careless
	inside n1 nft add chain ip careless "c { comment \"psk $key\" ; }"
	bundle n1
	inside n1 nft delete table ip careless
	for file in README.txt missing.txt xmasqd/{status,pods,flows,peers,counters,config,version}.json \
		xmasqd/{status,pods,flows,peers,counters,metrics,readyz,healthz}.txt system/uname.txt \
		system/os-release.txt net/{links,addresses,routes,qdiscs,nft,snmp}.txt \
		bpf/{attached,programs,maps}.txt net/nic-0-driver.txt sysctl/tcp_be_liberal.txt; do
		[ -s "$DIR/$file" ] || { echo "no $file"; cat "$DIR/missing.txt"; false; }
	done
	jq -e '.pods_attached == 2 and .authenticated' "$DIR/xmasqd/status.json" >/dev/null
	jq -e --arg f "$BATS_TEST_TMPDIR/psk" '.psk_file == $f' "$DIR/xmasqd/config.json" >/dev/null
	"$PROM" check "$DIR/xmasqd/metrics.txt"
	grep -q '^ready$' "$DIR/xmasqd/readyz.txt"
	grep -q xmasq_nic "$DIR/bpf/programs.txt"
	grep -q '^\$ ip -d -s link$' "$DIR/net/links.txt"
	grep -q 'comment "psk \[removed\]"' "$DIR/net/nft.txt"
	# Not even half of it, in no case.
	run ! grep -riaF -e "${key:0:32}" -e "${key:32}" "$DIR"
	run ! grep -riaF -e "$mark" -e "$((16#$mark))" "$DIR"
	[ "$(stat -c %a "$BATS_TEST_TMPDIR/bundle/b.tar.gz")" = 600 ]
	# Of whom it is: the time is in its name.
	[[ ${DIR##*/} == "xmasq-bugtool-$(hostname)-20"* ]]
}

@test "bugtool: without a daemon; into a pipe; not over a file, not to a terminal, not onto a full disk" {
	local sock

	sock=$(state n1)/xmasqd.sock
	# shellcheck disable=SC2016 # the inner shell's
	run -0 bash -c '"$1" --socket "$2" bugtool --to - | tar -tz' _ "$BUILD/xmasqctl" "$sock"
	[[ $output == *'/xmasqd/status.json'* ]]
	echo mine >"$BATS_TEST_TMPDIR/mine"
	run -1 "$BUILD/xmasqctl" --socket "$sock" bugtool --to "$BATS_TEST_TMPDIR/mine"
	[[ $output == *'File exists; name another file with --to' ]]
	[ "$(<"$BATS_TEST_TMPDIR/mine")" = mine ]
	run -1 script -qec "'$BUILD/xmasqctl' --socket '$sock' bugtool --to -" /dev/null
	[[ $output == *'not for a terminal'* ]]
	mkdir "$BATS_TEST_TMPDIR/full"
	mount -t tmpfs -o size=4k tmpfs "$BATS_TEST_TMPDIR/full"
	run "$BUILD/xmasqctl" --socket "$sock" bugtool --to "$BATS_TEST_TMPDIR/full/b.tar.gz"
	[ -z "$(ls "$BATS_TEST_TMPDIR/full")" ] || status=left
	umount "$BATS_TEST_TMPDIR/full"
	[ "$status" = 1 ]
	[[ $output == *'No space left on device; name a file elsewhere'* ]]

	term n1
	bundle n1
	[ -s "$DIR/net/links.txt" ]
	[ ! -e "$DIR/xmasqd/status.json" ]
	grep -q '^xmasqd/status.json: .*is xmasqd running?' "$DIR/missing.txt"
}

# ---- the log ------------------------------------------------------------------------------

# journaled FILE: a daemon whose stderr is said to be the journal, with the configuration in FILE
journaled()
{
	: >"$1.log"
	JOURNAL_STREAM=$(stat -c %d:%i "$1.log") start "$1.log" 'running: ' \
		nsenter --net="/run/netns/$XMASQ_BED-n1" -- "$BUILD/xmasqd" --config "$1"
	DAEMON=${PIDS[-1]}
	unset 'PIDS[-1]'
}

@test "log: priorities for the journal, JSON for collectors, levels; and both at once" {
	local yaml=$BATS_TEST_TMPDIR/yaml

	term n1
	custom n1 "$yaml" -e 's/^underlay: .*/underlay: [nothere]/' -e 's/^log: .*/log: {level: debug, format: text}/'
	journaled "$yaml"
	daemon_end
	run ! grep -vE '^<[3467]>[^{]' "$yaml.log"
	grep -q '^<4>underlay nothere: ' "$yaml.log"
	grep -q '^<6>running: ' "$yaml.log"
	grep -q '^<7>' "$yaml.log"

	sed -i 's/^log: .*/log: {level: info, format: json}/' "$yaml"
	journaled "$yaml"
	daemon_end
	run ! grep -vE '^<[346]>\{' "$yaml.log"
	sed 's/^<.>//' "$yaml.log" | jq -es 'all(.[]; (.time | test("^20.*Z$")) and
		(.level | test("^(error|warn|info)$")) and (.message | length > 0)) and
		any(.[]; .level == "warn" and (.message | startswith("underlay nothere")))' >/dev/null

	# Not the journal: no priorities.
	sed -i 's/level: info/level: warn/' "$yaml"
	nsenter --net="/run/netns/$XMASQ_BED-n1" -- "$BUILD/xmasqd" --config "$yaml" \
		>"$yaml.log" 2>&1 3>&- &
	# shellcheck disable=SC2034 # for daemon_end
	DAEMON=$!
	wait_until 20 grep -q nothere "$yaml.log"
	wait_until 20 ctl n1 version
	daemon_end
	jq -es 'length > 0 and all(.[]; .level == "warn" or .level == "error")' "$yaml.log" >/dev/null
	xmasqd n1 --config "$yaml" --cleanup
}
