#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# Rules of xmasq's own (docs/policy.md): what they deny is dropped, on the fast path within a second and on
# the overlay, whatever it is; what they no longer deny passes again.
#
#   n1p1, n1p2 --- n1 === underlay === n2 --- n2p1        a TCP and a UDP flow n1p1 -> n2p1
# shellcheck disable=SC2030,SC2031 # bats runs each test in a subshell of its own
# shellcheck disable=SC2154 # output: set by run

load lib
load daemon

setup_file()    { bed_up --pods 2; daemons_changed; }
teardown_file() { bed_down; }

setup() {
	test_begin
	daemons_default
	# What an earlier test left in the tables must not be taken for this one's.
	TCP=$((4000 + 10 * BATS_TEST_NUMBER)) UDP=$((4001 + 10 * BATS_TEST_NUMBER))
	SPORT=$((6000 + BATS_TEST_NUMBER))
}

teardown() {
	local node

	for node in n1 n2; do
		no_live_rules "$node" || daemons_changed
	done
	daemons_end
	test_end
}

no_live_rules() {
	local name

	for name in $(ctl "$1" policy list -o json | jq -r '.rules[] | select(.origin == "live").name'); do
		ctl "$1" policy del "$name" >/dev/null || return 1
	done
}

rules_are() { ctl "$1" policy list -o json | jq -e "$2" >/dev/null; }
# rule_packets NODE NAME: that this rule has decided about
rule_packets() { ctl "$1" policy list -o json | jq --arg n "$2" '.rules[] | select(.name == $n).packets'; }
now_us() { echo "${EPOCHREALTIME/./}"; }

both_fast() {
	flow_active n1 "$TCP" && flow_active n1 "$UDP" && flow_active n2 "$TCP" && flow_active n2 "$UDP"
}

# Until finish "${PIDS[2]}" (TCP) and "${PIDS[3]}" (UDP). Each packet is an event: no segments that
# were merged, no acknowledgements apart.
begin_flows() {
	serve n2p1 tcp "$TCP"
	serve n2p1 udp "$UDP"
	flow_bg "$BATS_TEST_TMPDIR/tcp" n1p1 tcp n2p1 "$TCP" "${LASTING[@]}" --interval-ms 5
	flow_bg "$BATS_TEST_TMPDIR/udp" n1p1 udp n2p1 "$UDP" "${LASTING[@]}" --interval-ms 5 \
		--wait-ms $((50 * XM_SLOW)) --source-port "$SPORT"
	wait_until 5 both_fast
}

end_flows() {
	finish "${PIDS[2]}"
	check "$(<"$BATS_TEST_TMPDIR/tcp")" '.broken == 0 and .errors == 0'
	kill "${PIDS[3]}" && { wait "${PIDS[3]}" || :; }
	check "$(<"$BATS_TEST_TMPDIR/udp")" ".corrupted == 0 and (.lost // 0) $1"
}

# denies NODE DIRECTION SIDE FROM TO: a rule on NODE stops both live flows in that direction within a
# second, counts what it drops, and they live on when it is gone. SIDE: where the service's port is
denies() {
	local node=$1 dir=$2 side=$3 from=$4 to=$5 cap=$BATS_TEST_TMPDIR/cap proto port t0 us dropped
	local rule

	begin_flows
	counters_mark n1 n2
	t0=$(now_us)
	for proto in tcp udp; do
		[ $proto = tcp ] && port=$TCP || port=$UDP
		rule="deny $dir $proto from $(ip_of "$from") to $(ip_of "$to") name deny-$proto"
		# shellcheck disable=SC2086 # words
		ctl "$node" policy add ${rule/$side $(ip_of "${!side}")/& port $port} >"$BATS_TEST_TMPDIR/added"
		grep -q "deny $dir $proto" "$BATS_TEST_TMPDIR/added"
	done
	us=$(($(now_us) - t0))
	echo "two rules in force after $((us / 1000)) ms"
	# In force when the command returns: not one packet more.
	capture "$cap" "$to" eth0 "src host $(ip_of "$from") and (tcp port $TCP or udp port $UDP)"
	sleep 1
	capture_stop "$cap"
	[ "$(captured "$cap" "ip")" = 0 ]
	run ! both_fast
	for proto in tcp udp; do
		[ "$(rule_packets "$node" deny-$proto)" -gt 0 ]
	done
	# UDP goes on asking, every 50 ms.
	[ "$dir $from" != "egress n1p1" ] || [ "$(rule_packets "$node" deny-udp)" -ge $((10 / XM_SLOW)) ]
	dropped=$(counted "$node" policy-denied)
	[ "$(($(rule_packets "$node" deny-tcp) + $(rule_packets "$node" deny-udp)))" -ge "$dropped" ]
	[ "$dropped" -gt 0 ]
	ctl "$node" policy del deny-tcp
	ctl "$node" policy del deny-udp
	rules_are "$node" '.rules == []'
	# Retransmission of TCP has backed off by then.
	wait_until 8 both_fast
	end_flows "> 20 / $XM_SLOW"
}

@test "egress denied at the sender's node: live flows stop at once, are counted, resume" {
	denies n1 egress to n1p1 n2p1
}

@test "ingress denied at the receiver's node: live flows stop at once, are counted, resume" {
	denies n2 ingress to n1p1 n2p1
}

@test "replies denied where they are sent" {
	denies n2 egress from n2p1 n1p1
}

@test "replies denied where they arrive" {
	denies n1 ingress from n2p1 n1p1
}

@test "overlay: a live flow leaves the fast path, loses nothing, and comes back" {
	only_with_fast_path
	begin_flows
	ctl n1 policy add overlay egress to "$(ip_of n2p1)" name slow
	wait_until 3 none_fast n1 n2
	ctl n1 trace udp "$(ip_of n1p1):$SPORT" "$(ip_of n2p1):$UDP" -o json >"$BATS_TEST_TMPDIR/trace"
	check "$(<"$BATS_TEST_TMPDIR/trace")" '.out.reason == "policy-overlay" and .out.path == "overlay"'
	[ "$(rule_packets n1 slow)" -gt 0 ]
	ctl n1 policy del slow
	wait_until 8 both_fast
	end_flows "<= $(late n1 n2)"
}

# Neither is ever accelerated.
@test "what never takes the fast path is denied, too: ICMP, fragments, the same node, the node itself" {
	local ping=(ping -q -c 1 -W 1) to

	to=$(ip_of n2p1)
	inside n1p1 "${ping[@]}" "$to"
	ctl n1 policy add deny egress icmp from "$(ip_of n1p1)" name no-ping
	run -1 inside n1p1 "${ping[@]}" "$to"
	run -1 inside n1p1 "${ping[@]}" -s 4000 "$to"
	run -1 inside n1p1 "${ping[@]}" "$(ip_of n1p2)"
	inside n1p2 "${ping[@]}" "$to"
	[ "$(rule_packets n1 no-ping)" -ge 3 ]
	ctl n1 policy del no-ping

	inside n1p1 "${ping[@]}" -s 4000 "$to"
	inside n1 "${ping[@]}" "$(ip_of n1p1)"
	ctl n1 policy add deny ingress protocol icmp to "$(ip_of n1p1)" name no-ping
	run -1 inside n1 "${ping[@]}" "$(ip_of n1p1)"
	run -1 inside n1p2 "${ping[@]}" "$(ip_of n1p1)"
	run -1 inside n2p1 "${ping[@]}" "$(ip_of n1p1)"
	inside n1 "${ping[@]}" "$(ip_of n1p2)"
}

# ARP is nobody's to deny, and neither is IPv6 unless a rule names nothing at all.
@test "IPv6: met by rules that name neither address, protocol nor port" {
	local ping=(ping -6 -q -c 1 -W 1) ll

	with_ethernet || skip "allowed: no link-local addresses without Ethernet addresses"
	for who in n1p1 n1p2; do
		inside $who sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0
	done
	ll=$(inside n1p2 ip -6 -o addr show dev eth0 scope link | awk '{ sub(/\/.*/, "", $4); print $4 }')
	[ -n "$ll" ] || skip "allowed: this kernel has no IPv6"
	wait_until 5 inside n1p1 "${ping[@]}" "$ll%eth0" ||
		skip "allowed: pods of this bed have no IPv6 between them"
	ctl n1 policy add deny egress to 0.0.0.0/0 name v4
	run -1 inside n1p1 ping -q -c 1 -W 1 "$(ip_of n1p2)"
	inside n1p1 "${ping[@]}" "$ll%eth0"
	ctl n1 policy add deny egress name all
	run -1 inside n1p1 "${ping[@]}" "$ll%eth0"
	[ "$(rule_packets n1 all)" -gt 0 ]
}

# passes PROTO FROM TO PORT: a request is answered
passes() {
	case $1 in
	icmp) inside "$2" ping -q -c 1 -W 1 "$(ip_of "$3")" ;;
	udp) flow "$2" udp "$3" "$4" --rounds 1 --wait-ms $((400 * XM_SLOW)) ;;
	tcp) flow "$2" tcp "$3" "$4" --rounds 1 --timeout $((2 * XM_SLOW)) ;;
	esac >/dev/null 2>&1
}

@test "policy test says what happens, over a table of packets" {
	local a=$((TCP + 2)) b=$((TCP + 3)) proto from to port tuple dropped want

	for port in $a $b; do
		serve n2p1 tcp "$port"
		serve n2p1 udp "$port"
		serve n1p2 tcp "$port"
	done
	# Only requests can match: the ports are the servers'.
	ctl n1 policy add deny egress tcp to any port $a-$b priority 500 name range
	ctl n1 policy add allow egress tcp from "$(ip_of n1p1)" to 10.244.2.0/24 port $b priority 400 name hole
	ctl n1 policy add deny egress udp from "$(ip_of n1p2)" priority 10 name udp
	ctl n1 policy add deny ingress tcp to "$(ip_of n1p2)" port $a name in
	ctl n2 policy add deny ingress icmp from "$(ip_of n1p2)" name ping

	while read -r proto from to port want; do
		tuple="$proto $(ip_of "$from")${port:+:55555} $(ip_of "$to")${port:+:$port}"
		[ "$port" != - ] || tuple="$proto $(ip_of "$from") $(ip_of "$to")"
		dropped=no
		for node in n1 n2; do
			# shellcheck disable=SC2086 # words
			! ctl $node policy test $tuple -o json | jq -e .dropped >/dev/null || dropped=yes
		done
		run passes "$proto" "$from" "$to" "$port"
		echo "$tuple: dropped $dropped, want $want, request ended with $status"
		[ $dropped = "$want" ]
		[[ $status = 0 && $want = no || $status != 0 && $want = yes ]]
	done <<-END
		tcp  n1p1 n2p1 $a yes
		tcp  n1p1 n2p1 $b no
		tcp  n1p2 n2p1 $b yes
		tcp  n1p1 n1p2 $a yes
		tcp  n2p1 n1p2 $a yes
		tcp  n2p1 n1p2 $b no
		udp  n1p1 n2p1 $a no
		udp  n1p2 n2p1 $b yes
		icmp n1p1 n2p1 - no
		icmp n1p2 n2p1 - yes
		icmp n2p1 n1p1 - no
	END
	# Which rule it is, in the words for people.
	run -0 ctl n1 policy test tcp "$(ip_of n1p2):1" "$(ip_of n2p1):$a"
	[[ $output == "egress   deny, by rule range ("*$'\n'"ingress  allow, no rule matches; no attached pod of this node has this address"* ]]
}

@test "a restart keeps live rules and their counters, and they hold while no daemon runs" {
	local packets

	ctl n1 policy add deny egress icmp from "$(ip_of n1p1)" priority 7 name keep
	run -1 inside n1p1 ping -q -c 1 -W 1 "$(ip_of n2p1)"
	packets=$(rule_packets n1 keep)
	[ "$packets" -ge 1 ]
	term n1 KILL
	run -1 inside n1p1 ping -q -c 1 -W 1 "$(ip_of n2p1)"
	launch n1
	rules_are n1 '.rules | length == 1 and .[0].name == "keep" and .[0].priority == 7'
	[ "$(rule_packets n1 keep)" -gt "$packets" ]
	run -1 inside n1p1 ping -q -c 1 -W 1 "$(ip_of n2p1)"
	ctl n1 policy del keep
	inside n1p1 ping -q -c 1 -W 1 "$(ip_of n2p1)"
	term n1
	launch n1
	rules_are n1 '.rules == []'
	# A line that somebody spoiled: named, and the others hold.
	term n1
	printf '%s\n' 'deny egress icmp name good' 'rubbish' >"$(state n1)/state/policy" 2>/dev/null ||
		printf '%s\n' 'deny egress icmp name good' 'rubbish' >"$(state_dir n1)/policy"
	launch n1
	grep -q 'policy:2: "rubbish" is no action' "$(state n1)/xmasqd.log"
	rules_are n1 '[.rules[].name] == ["good"]'
}

state_dir() { sed -n 's/^state_dir: //p' "$(state "$1")/xmasqd.yaml"; }

@test "rules of the file: at the start, and with a reload that live flows feel at once" {
	relaunch n1 'policy:' "- deny egress icmp from $(ip_of n1p1) name no-ping"
	peers_meet_again
	run -1 inside n1p1 ping -q -c 1 -W 1 "$(ip_of n2p1)"
	rules_are n1 '.rules | length == 1 and .[0].origin == "file"'
	begin_flows
	reload n1 'policy:' "- deny egress udp to any port $UDP" "- allow egress icmp name no-ping"
	wait_until 2 stopped_udp
	inside n1p1 ping -q -c 1 -W 1 "$(ip_of n2p1)"
	flow_active n1 "$TCP"
	rules_are n1 '[.rules[].name] == ["file1", "no-ping"]'
	# A live rule beats one of the file at the same priority.
	ctl n1 policy add allow egress udp to any port "$UDP" name let
	wait_until 8 both_fast
	ctl n1 policy del let
	wait_until 2 stopped_udp
	# A reload with a mistake changes nothing.
	reload n1 'policy:' '- deny engress udp'
	logged n1 'xmasqd.yaml:[0-9]+:3: "policy": "engress" is no direction; did you mean "egress"'
	rules_are n1 '.rules | length == 2'
	reload n1
	wait_until 8 both_fast
	end_flows '> 0'
}

peers_meet_again() {
	local node

	for node in n1 n2; do
		wait_until 10 ping_peer "$node"
	done
	wait_until 10 peer_is n1 n2 up
	wait_until 10 peer_is n2 n1 up
}

# From a pod that no rule of the test is about.
ping_peer() {
	if [ "$1" = n1 ]; then
		inside n1p2 ping -q -c 1 -W 1 "$(ip_of n2p1)"
	else
		inside n2p1 ping -q -c 1 -W 1 "$(ip_of n1p2)"
	fi
}

stopped_udp() { ! flow_active n1 "$UDP" && [ "$(rule_packets n1 file1)" -gt 0 ]; }

# flow_key FROM PORT TO PORT: of UDP, as bpftool takes it
flow_key() {
	local a b

	IFS=. read -ra a <<<"$(ip_of "$1")"
	IFS=. read -ra b <<<"$(ip_of "$3")"
	printf '%02x ' "${a[@]}" "${b[@]}" $(($2 >> 8)) $(($2 & 255)) $(($4 >> 8)) $(($4 & 255)) 17 0 0 0
}

# A label restores also when the table of flows, which gives way when it is full, has lost the flow.
@test "a rule also stops what comes in by a label whose flow is gone" {
	local cap=$BATS_TEST_TMPDIR/cap key node from to sport dport

	for node in n2 n1; do
		begin_flows
		[ $node = n2 ] && from=n1p1 to=n2p1 sport=$SPORT dport=$UDP
		[ $node = n1 ] && from=n2p1 to=n1p1 sport=$UDP dport=$SPORT
		key=$(flow_key "$to" "$dport" "$from" "$sport")
		counters_mark $node
		# At once: the next packets on the overlay bring the flow back.
		# shellcheck disable=SC2086 # words
		bpftool map delete pinned "$(pin_dir $node)/xm_flows" key hex $key
		ctl $node policy add deny ingress udp from "$(ip_of "$from")" port "$sport" to "$(ip_of "$to")" name gone
		capture "$cap" "$to" eth0 "src host $(ip_of "$from") and udp port $UDP"
		sleep 0.8
		capture_stop "$cap"
		[ "$(captured "$cap" "ip")" = 0 ]
		ctl $node policy del gone
		wait_until 8 both_fast
		end_flows "> 5 / $XM_SLOW"
		stop_all
		SPORT=$((SPORT + 100)) TCP=$((TCP + 5)) UDP=$((UDP + 5))
	done
}

# granted_meanwhile TRY: n1's daemon starts anew with a rule, and a flow that the rule denies is
# granted by the programs of before, which know none
granted_meanwhile() {
	local port=$((UDP + 4 + $1)) extra=$BATS_TEST_TMPDIR/extra starting

	serve n2p1 udp $port
	term n1
	: >"$(state n1)/xmasqd.log"
	printf '%s\n' 'policy:' "- deny egress udp to any port $port name new" >"$extra"
	LD_PRELOAD=$BATS_TEST_TMPDIR/slow.so xmasq_start n1 --lease-ms 8000 --config-extra "$extra" 3>&- &
	starting=$!
	wait_until 10 grep -q 'rules in force' "$(state n1)/xmasqd.log"
	flow_bg "$BATS_TEST_TMPDIR/late" n1p1 udp n2p1 $port "${LASTING[@]}" --interval-ms 5 \
		--wait-ms $((50 * XM_SLOW))
	wait "$starting"
	capture "$BATS_TEST_TMPDIR/cap" n2p1 eth0 "src host $(ip_of n1p1) and udp port $port"
	# What n2 agreed to, n1 had granted; label 0 is none.
	ctl n2 flows -o json | jq -e --argjson p $port 'any(.flows[]; .sport == $p and .label > 0)'
}

# What an earlier daemon attached knows only the rules of its own time, and grants what it sees go by while
# the next one starts: here that takes 0.8 s, and is over before the nodes give each other up after 3 s.
@test "a rule that is new with the start holds at once, whatever programs of before granted meanwhile" {
	local try

	[ "${XM_SANITIZE:-}" != 1 ] || skip "allowed: a sanitizer wants to be the first library"
	daemons_changed
	"$BED" xmasq stop
	xmasq_start --lease-ms 8000
	peers_meet_again
	begin_flows
	# Between rules and programs the daemon makes itself be told of events, of signals first.
	"${CC:-cc}" -shared -fPIC -o "$BATS_TEST_TMPDIR/slow.so" -x c - <<-'END'
		#define _GNU_SOURCE
		#include <dlfcn.h>
		#include <stdio.h>
		#include <string.h>
		#include <sys/epoll.h>
		#include <unistd.h>

		int epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
		{
			int (*next)(int, int, int, struct epoll_event *) = dlsym(RTLD_NEXT, "epoll_ctl");
			char path[64], what[64] = "";

			snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
			if (readlink(path, what, sizeof(what) - 1) > 0 && strstr(what, "signalfd"))
				usleep(800000);
			return next(ep, op, fd, ev);
		}
	END
	# A machine that is too busy for it is none on which anything was seen.
	for try in 1 2 3 4; do
		if granted_meanwhile $try; then
			break
		fi
		capture_stop "$BATS_TEST_TMPDIR/cap"
		peers_meet_again
		[ $try != 4 ]
	done
	sleep 1
	capture_stop "$BATS_TEST_TMPDIR/cap"
	[ "$(captured "$BATS_TEST_TMPDIR/cap" "ip")" = 0 ]
	[ "$(rule_packets n1 new)" -gt 0 ]
	wait_until 8 both_fast
	end_flows '<= 20'
}

@test "trace and the metrics know rules" {
	local url

	begin_flows
	ctl n1 policy add deny egress udp to any port "$UDP" name no-udp
	ctl n2 policy add deny ingress tcp to any port "$TCP" name no-tcp
	ctl n1 trace udp "$(ip_of n1p1):$SPORT" "$(ip_of n2p1):$UDP" -o json >"$BATS_TEST_TMPDIR/t"
	check "$(<"$BATS_TEST_TMPDIR/t")" '.out.path == "drop" and .out.reason == "policy-denied" and
		any(.steps[]; .text == "live rule no-udp denies it: dropped")'
	ctl n2 trace tcp "$(ip_of n2p1):$TCP" "$(ip_of n1p1):1" -o json >"$BATS_TEST_TMPDIR/t"
	check "$(<"$BATS_TEST_TMPDIR/t")" '.in.path == "drop" and .in.reason == "policy-denied"'
	url=$(sed -n 's/^ *listen: *//p' "$(state n1)/xmasqd.yaml" | tr -d '"')
	[ -n "$url" ] || url=127.0.0.1:9477
	inside n1 curl -sf "http://$url/metrics" >"$BATS_TEST_TMPDIR/m"
	grep -qE '^xmasq_policy_packets_total\{rule="no-udp",origin="live",direction="egress",action="deny"\} [1-9]' \
		"$BATS_TEST_TMPDIR/m"
	grep -qE '^xmasq_dropped_packets_total\{reason="policy-denied"\} [1-9]' "$BATS_TEST_TMPDIR/m"
	grep -qx 'xmasq_policy_rules 1' "$BATS_TEST_TMPDIR/m"
}

@test "wrong words: what is wrong, and nothing changes" {
	run -2 ctl n1 policy
	[[ $output == *'list, add, del and test'* ]]
	run -2 ctl n1 policy remove x
	[[ $output == *'not "remove"'* ]]
	run -2 ctl n1 policy add deny egress to 10.1.2.3/16
	[[ $output == *'did you mean "10.1.0.0/16"'* ]]
	run -2 ctl n1 policy add deny egress to any port 80
	[[ $output == *'needs one of tcp, udp, sctp'* ]]
	run -2 ctl n1 policy test tcp 1.2.3.4 5.6.7.8
	[[ $output == *'an address and a port'* ]]
	run -2 ctl n1 policy list all
	run -1 ctl n1 policy del nothing
	[[ $output == *'no live rule nothing'* ]]
	ctl n1 policy add deny egress udp to any port 9 name once
	run -1 ctl n1 policy add deny egress udp to any port 10 name once
	[[ $output == *'the name "once" already'* ]]
	rules_are n1 '.rules | length == 1'
	reload n1 'policy:' '- deny egress udp to any port 11 name filed'
	run -1 ctl n1 policy del filed
	[[ $output == *'remove it there and reload'* ]]
}

# ---- docs/policy.md ---------------------------------------------------------------

@test "every example of docs/policy.md is understood, and does what is said there" {
	local line n=0

	while read -r line; do
		# shellcheck disable=SC2086 # words
		run -0 ctl n1 ${line#xmasqctl }
		echo "$line: $output"
		n=$((n + 1))
		case $line in
		*'policy test'*) [[ $output == 'egress   deny, by rule no-mail ('* ]] ;;
		*'policy list'*) [[ $output == *dns-answers*look-at-it* ]] ;;
		esac
	done < <(grep '^xmasqctl policy' docs/policy.md)
	[ $n -ge 9 ]
	rules_are n1 'any(.rules[]; .name == "look-at-it") | not'
	# The lowest number first.
	rules_are n1 '[.rules[].name] == ["app", "dns-answers", "nobody-else", "mailer", "no-mail"]'
	no_live_rules n1
	# shellcheck disable=SC2016 # nothing is to be expanded
	mapfile -t yaml < <(sed -n '/^```yaml/,/^```$/{/^```/d;p}' docs/policy.md)
	[ ${#yaml[@]} = 3 ]
	reload n1 "${yaml[@]}"
	rules_are n1 '[.rules[].origin] == ["file", "file"]'
}
