#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# bench.sh --vm --icount without a virtual machine: arguments, and what becomes of what the
# guests print.

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	RAW1=$BATS_TEST_TMPDIR/raw1 RAW2=$BATS_TEST_TMPDIR/raw2
	RESULTS=$BATS_TEST_TMPDIR/icount.json
	echo '{"kind":"icount","date":"2026-01-02T03:04Z","commit":"abc",
		"command":"scripts/bench.sh --vm --icount","qemu":"QEMU 7.2"}' > "$BATS_TEST_TMPDIR/meta"
}

teardown() {
	[ -z "${SERVER:-}" ] || kill "$SERVER" 2> /dev/null || :
}

# links NIC TUNNEL: packets counted so far
links() {
	local moved='{"packets":'$1',"bytes":'$(($1 * 80))'}' none='{"packets":0,"bytes":0}'

	cat <<-END
		[{"ifname":"lo","stats64":{"rx":$none,"tx":$none}},
		{"ifname":"eth0","stats64":{"rx":$moved,"tx":$moved}},
		{"ifname":"flannel.1","stats64":{"rx":$none,"tx":{"packets":$(($2 * 2)),"bytes":0}}}]
	END
}

# counters FAST OVERLAY: as two daemons say it
counters() {
	local one='{"ok":true,"result":{"counters":[{"name":"masqueraded","kind":"fast","packets":'$1'},
		{"name":"restored","kind":"fast","packets":'$1'},
		{"name":"no-flow","kind":"overlay","packets":'$2'},{"name":"guard","kind":"drop","packets":9}]}}'

	echo "[$one,$one]"
}

start() { echo '{"kernel":"6.12.1-test","empty":{"ns":39000,"runs":1000}}' > "$1"; }

# one FILE CASE WHAT RULES NS [TUNNEL FAST OVERLAY IDLE]: 100 transactions of NS ns, and two odd windows
one() {
	local file=$1 case=$2 what=$3 rules=$4 ns=$5 tunnel=${6:-0} fast=${7:--} overlay=${8:-0} asked={}

	jq -nc --arg case "$case" --arg what "$what" --argjson rules "$rules" '{ case: $case,
		overlay: "vxlan", pod: "veth", rules: $rules, what: $what, nic: "eth0",
		tunnel: "flannel.1", commands: ["up"] }' >> "$file"
	[ "$fast" = - ] || asked=$(printf '{"before":%s,"after":%s}' "$(counters 50 50)" \
		"$(counters $((fast + 50)) $((overlay + 50)))")
	jq -nc --arg case "$case" --argjson ns "$ns" --argjson idle "${9:-0}" \
		--argjson a "$(links 10 0)" --argjson b "$(links 1010 "$tunnel")" --argjson asked "$asked" '
		{ case: $case, kind: "tcp-rr", command: "xmt-icount", before: $a, after: $b,
		  out: ({ mode: "tcp-rr", warmup: 100, rounds: 100, bytes: 14, idle_ms: $idle,
			  ns: [$ns * 900, $ns * 99, $ns * 101, $ns * 5] } + $asked) }' >> "$file"
}

good() {
	local f

	for f in "$RAW1" "$RAW2"; do
		start "$f"
		one "$f" host host false 20000
		one "$f" overlay/vxlan overlay false 50000 1000
		one "$f" xmasq/vxlan/rpeer rpeer false 25000 5 995 5
	done
}

collect() { scripts/icount.py collect "$BATS_TEST_TMPDIR/meta" "$RAW1" "$RAW2" > "$RESULTS"; }

@test "arguments that make no sense are refused with a hint" {
	local args

	for args in --vm "--vm --icount --kernel 5.10" "--vm --icount --repeat 0" "--vm --icount -o xml" \
			"--vm --icount --case" "--vm --icount --case (" "--vm --icount --case nosuchcase" \
			"--vm --icount --admit-after 0" "--vm --icount --json /nonexistent/x.json" \
			"--vm --icount --rounds 3" --icount \
			"--full --rounds 0" "--apps --only nginx" "--apps --rounds 0" "--apps --full" \
			"--apps --out" "--growth --only pods" "--growth --seconds x" "--growth --flows 3"; do
		# shellcheck disable=SC2086 # words
		run scripts/bench.sh $args
		echo "$args: $status: $output"
		[ "$status" -eq 2 ]
		[[ $output == *--help* || $output == usage:* ]]
	done
}

@test "--list names the cases, --case chooses, netkit is not for 6.1" {
	run scripts/bench.sh --vm --icount --list
	[ "$status" -eq 0 ]
	[[ $'\n'$output$'\n' == *$'\n'host$'\n'* ]]
	[[ $output == *xmasq/vxlan/netkit-l3+rules* && $output == *overlay/ovs-geneve* ]]
	run scripts/bench.sh --vm --icount --list --kernel 6.1
	[ "$status" -eq 0 ]
	[[ $output != *netkit* && $output == *xmasq/ovs-geneve/rpeer* ]]
	run scripts/bench.sh --vm --icount --list --case '^host|geneve/rpeer$'
	[ "$output" = $'host\nxmasq/geneve/rpeer\nxmasq/ovs-geneve/rpeer\nhost+rules' ]
}

@test "the table has the middle of the windows, and ratios to host and overlay" {
	good
	collect
	run scripts/icount.py text "$RESULTS"
	echo "$output"
	[ "$status" -eq 0 ]
	# Case, transaction, of host, of overlay; no UDP, no stream; spread.
	[[ $output =~ xmasq/vxlan/rpeer\ +'25 000'\ +0\.800\ +2\.000\ +-\ +-\ +-\ +-\ +-\ +-\ +0\.00 ]]
	[[ $output =~ overlay/vxlan\ +'50 000'\ +0\.400\ +-\  ]]
	[[ $output == *"Linux 6.12.1-test"* && $output != *kube-proxy* ]]
	run scripts/icount.py markdown "$RESULTS"
	[[ $output == *"| xmasq/vxlan/rpeer | 25 000 | 0.800 | 2.000 |"* ]]
	run scripts/icount.py check "$RESULTS"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "of connections the least counts, of overlays' the middle" {
	local f

	good
	for f in "$RAW1" "$RAW2"; do
		one "$f" host host false 20170
		one "$f" overlay/vxlan overlay false 50400 1000
	done
	collect
	run jq -c '[.cases[].figures[].value]' "$RESULTS"
	[ "$output" = "[20000,50200,25000]" ]
}

@test "cases with rules are compared with the host that has them" {
	good
	for f in "$RAW1" "$RAW2"; do
		one "$f" host+rules host true 30000
		one "$f" xmasq/vxlan/rpeer+rules rpeer true 25000 5 995 5
	done
	collect
	run scripts/icount.py text "$RESULTS"
	[ "$status" -eq 0 ]
	[[ ${output#*kube-proxy} =~ xmasq/vxlan/rpeer\ +'25 000'\ +1\.200\ +-\  ]]
}

@test "repeats that differ by 0.5 % are named" {
	good
	start "$RAW2"
	one "$RAW2" host host false 20110
	one "$RAW2" overlay/vxlan overlay false 50200 1000
	one "$RAW2" xmasq/vxlan/rpeer rpeer false 25000 5 995 5
	collect
	run scripts/icount.py check "$RESULTS"
	echo "$output"
	[ "$status" -eq 1 ]
	[ "${#lines[@]}" -eq 1 ]
	[[ $output == *"host, tcp-rr: repeats differ by 0.55% (20000 and 20110)"* ]]
}

@test "a case that did not take its path is named" {
	good
	one "$RAW1" overlay/x overlay false 50000 900
	one "$RAW1" xmasq/x rpeer false 25000 5 980 20
	one "$RAW1" host/y host false 20000 100
	one "$RAW1" host/idle host false 20000 0 - 0 40
	cp "$RAW1" "$RAW2"
	collect
	run scripts/icount.py check "$RESULTS"
	echo "$output"
	[ "$status" -eq 1 ]
	[[ $output == *"overlay/x, tcp-rr: only 90"*"in the tunnel"* ]]
	[[ $output == *"xmasq/x, tcp-rr: only 98.00% of its packets were on the fast path"* ]]
	[[ $output == *"host/y, tcp-rr: 10"*"in the tunnel"* ]]
	[[ $output == *"host/idle, tcp-rr: the CPU was idle for 40 ms"* ]]
	[ "${#lines[@]}" -eq 4 ]
}

@test "connections of several lengths: as a rate of the overlay's, and the break-even length" {
	local f n

	for f in "$RAW1" "$RAW2"; do
		start "$f"
		one "$f" overlay/vxlan overlay false 100000 1000
		for n in 1:100000 2:150000 4:250000 8:450000; do
			one "$f" overlay/vxlan overlay false "${n#*:}" 1000
			sed -i "\$ s/\"tcp-rr\"/\"tcp-crr:${n%:*}\"/" "$f"
		done
		one "$f" xmasq/vxlan/veth veth false 50000 5 995 5
		# Dearer, dearer, cheaper, cheaper; and none of them has to be on the fast path.
		for n in 1:110000 2:155000 4:240000 8:400000; do
			one "$f" xmasq/vxlan/veth veth false "${n#*:}" 1000 0 1000
			sed -i "\$ s/\"tcp-rr\"/\"tcp-crr:${n%:*}\"/" "$f"
		done
	done
	collect
	run scripts/icount.py text "$RESULTS"
	echo "$output"
	[[ $output =~ requests\ +1\ +2\ +4\ +8\ +break-even ]]
	[[ $output =~ veth,\ instructions\ +'110 000'\ +'155 000'\ +'240 000'\ +'400 000'\ +2\.7\ +0\.00 ]]
	[[ $output =~ veth,\ of\ overlay\ +0\.909\ +0\.968\ +1\.042\ +1\.125 ]]
	run scripts/icount.py check "$RESULTS"
	[ "$status" -eq 0 ]
}

@test "a program's run is without what the statistics take, over both nodes" {
	good
	for f in "$RAW1" "$RAW2"; do
		tr -d '\n' >> "$f" <<-'END'
			{"case":"xmasq/vxlan/rpeer","kind":"tcp-rr","programs":{"mode":"tcp-rr","rounds":100,
			"programs":[{"id":3,"ns":[23900,23900],"runs":[100,100]},
			{"id":4,"ns":[23900,23900],"runs":[100,100]},{"id":5,"ns":[0,0],"runs":[0,0]},
			{"id":6,"ns":[0,400],"runs":[0,1]}]},"list":[{"name":"xmasq_rpeer_egr","id":3},
			{"name":"xmasq_rpeer_egr","id":4},{"name":"xmasq_rpeer_egress","id":5},
			{"name":"xmasq_clock","id":6}]}
		END
		echo >> "$f"
	done
	collect
	run scripts/icount.py text "$RESULTS"
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output =~ xmasq/vxlan/rpeer\ +xmasq_rpeer_egress\ +200\ +2\.00 ]]
	[[ $output != *xmasq_clock* ]]
}

@test "the plot has a bar for each figure" {
	good
	collect
	scripts/plot.py "$RESULTS" > "$BATS_TEST_TMPDIR/plot.svg"
	run python3 - "$BATS_TEST_TMPDIR/plot.svg" <<-'END'
		import sys
		from xml.etree import ElementTree
		svg = ElementTree.parse(sys.argv[1]).getroot()
		bars = [e.get("class") for e in svg.iter() if e.tag.endswith("rect")]
		print(" ".join(sorted(bars)))
	END
	[ "$output" = "back host overlay xmasq" ]
}

@test "xmt-icount moves what it is told to, and counts windows" {
	local tool=${XMASQ_BUILD:-build}/tests/tools/xmt-icount mode end

	[ "$(id -u)" = 0 ] || skip "a namespace of its own needs root"
	# "unshare" is replaced by the server: one process to end.
	unshare --net sh -c "ip link set lo up; exec $tool server --port 6100" \
		> "$BATS_TEST_TMPDIR/out" 3>&- &
	SERVER=$!
	end=$((SECONDS + 10))
	until grep -q ready "$BATS_TEST_TMPDIR/out"; do
		[ "$SECONDS" -lt "$end" ]
	done
	for mode in tcp-rr udp-rr tcp-stream tcp-crr "tcp-crr --requests 3"; do
		# shellcheck disable=SC2086 # two options
		run nsenter --net="/proc/$SERVER/ns/net" "$tool" client --host 127.0.0.1 \
			--port 6100 --warmup 10 --rounds 20 --windows 3 --mode $mode
		echo "$output"
		[ "$status" -eq 0 ]
		jq -e --arg m "${mode%% *}" '.mode == $m and .rounds == 20 and
			(.ns | length == 3 and min > 0)' <<< "$output"
	done
	run "$tool" client --mode tcp-rr --host 127.0.0.1
	[ "$status" -eq 2 ]
}
