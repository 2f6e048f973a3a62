#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Throughput and round trips between pods of two nodes, with xmasq off and on, in any cluster that
# kubectl reaches. 'netperf_test.sh --help' for the options.
set -euo pipefail
export LC_ALL=C

usage() {
	cat <<-'END'
	usage: scripts/netperf_test.sh [OPTION...]

	Puts a server and a client on different nodes, measures with iperf3 and sockperf (Debian has
	netperf only in its non-free part), with xmasq off and on in turn, and prints a table. All of it
	is in a namespace of its own, which goes afterwards.

	  --rounds N          rounds, each with xmasq off and on (default 5)
	  --seconds N         of each measurement (default 5)
	  --tests LIST        of tcp1,tcp8,tcprr,udprr (default: all)
	  --server-node NODE  (default: the last ready node, by name)
	  --client-node NODE  (default: the first)
	  --image IMAGE       with sh, iperf3 and sockperf, such as `scripts/image.sh netperf` makes
	                      (default xmasq-netperf:local)
	  --pull POLICY       imagePullPolicy (default IfNotPresent)
	  --namespace NAME    to be made and removed (default xmasq-netperf)
	  --daemonset NS/NAME of xmasq (default kube-system/xmasq)
	  --switch COMMAND    instead of that: "COMMAND off" and "COMMAND on" are called, where xmasqd is
	                      a service of the nodes, for example
	  --timeout SEC       for anything that is waited for (default 180)
	  --kubectl COMMAND   (default kubectl)
	  -o FORM             table (default), markdown or json

	Off means that xmasqd is not on the two nodes, nor its programs: the DaemonSet's pods are taken from
	these two nodes only, after they have got --cleanup-on-exit, and at the end everything is as it
	was. Where there are live rules (xmasqctl policy list) it does not start, as that option forgets
	them; with --switch that is for you to look at. Needs jq, and the right to change the DaemonSet.
	END
}

die() {
	echo "netperf_test: $*" >&2
	exit 1
}
bad() {
	echo "netperf_test: $*; try --help" >&2
	exit 2
}
say() { [ -n "$quiet" ] || printf 'netperf_test: [%s s] %s\n' "$SECONDS" "$*" >&2; }

rounds=5 seconds=5 tests=tcp1,tcp8,tcprr,udprr server_node='' client_node=''
image=xmasq-netperf:local pull=IfNotPresent namespace=xmasq-netperf daemonset=kube-system/xmasq
switch='' timeout=180 form=table quiet=''
kubectl=(kubectl)
while [ $# -gt 0 ]; do
	case $1 in
	-h | --help)
		usage
		exit 0
		;;
	--rounds | --seconds | --tests | --server-node | --client-node | --image | --pull | --namespace | \
		--daemonset | --switch | --timeout | --kubectl | -o | --output)
		[ $# -ge 2 ] || bad "$1: its value is missing"
		case $1 in
		--rounds) rounds=$2 ;;
		--seconds) seconds=$2 ;;
		--tests) tests=$2 ;;
		--server-node) server_node=$2 ;;
		--client-node) client_node=$2 ;;
		--image) image=$2 ;;
		--pull) pull=$2 ;;
		--namespace) namespace=$2 ;;
		--daemonset) daemonset=$2 ;;
		--switch) switch=$2 ;;
		--timeout) timeout=$2 ;;
		--kubectl) read -ra kubectl <<<"$2" ;;
		*) form=$2 ;;
		esac
		shift
		;;
	*) bad "'$1' is not an option" ;;
	esac
	shift
done
for v in rounds seconds timeout; do
	[[ ${!v} =~ ^[1-9][0-9]{0,4}$ ]] || bad "--$v '${!v}': give a number from 1"
done
for t in ${tests//,/ }; do
	case $t in tcp1 | tcp8 | tcprr | udprr) ;; *) bad "--tests: '$t' is none of tcp1, tcp8, tcprr, udprr" ;; esac
done
[ -n "${tests//,/}" ] || bad "--tests: give at least one"
case $pull in Always | IfNotPresent | Never) ;; *) bad "--pull '$pull': give Always, IfNotPresent or Never" ;; esac
case $form in table | markdown | json) ;; *) bad "-o '$form': give table, markdown or json" ;; esac
[[ $daemonset =~ ^[a-z0-9.-]+/[a-z0-9.-]+$ ]] || bad "--daemonset '$daemonset': give NAMESPACE/NAME"
[[ $namespace =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ ]] || bad "--namespace '$namespace' is no name of a namespace"
# An image or a node ends up in a manifest.
[[ $image =~ ^[A-Za-z0-9._/:@-]+$ ]] || bad "--image '$image' is no name of an image"
command -v jq >/dev/null || die "jq is missing: install it"
command -v "${kubectl[0]}" >/dev/null || die "${kubectl[0]} is missing: install it, or give --kubectl"

kc() { "${kubectl[@]}" "$@"; }
ds_ns=${daemonset%/*} ds=${daemonset#*/}
ds_saved='' made='' switched=''
tmp=$(mktemp -d)

# wait_for WHAT COMMAND...: polls
wait_for() {
	local what=$1 end=$((SECONDS + timeout))
	shift

	until "$@"; do
		[ $SECONDS -lt $end ] || {
			echo "netperf_test: waited $timeout s for: $what" >&2
			return 1
		}
		sleep 0.5
	done
}

# ---- xmasq off and on ---------------------------------------------------------

# xmasq_on NODE: name of the DaemonSet's pod there that is ready and not about to end
xmasq_on() {
	kc -n "$ds_ns" get pods --field-selector "spec.nodeName=$1" -l "$ds_selector" -o json |
		jq -er 'first(.items[] | select(.metadata.deletionTimestamp | not)
			| select(any(.status.conditions[]?; .type == "Ready" and .status == "True"))
			| .metadata.name)'
}

# none_on NODE: kubectl says that there is none; an error says nothing
none_on() {
	local pods

	pods=$(kc -n "$ds_ns" get pods --field-selector "spec.nodeName=$1" -l "$ds_selector" -o name) &&
		[ -z "$pods" ]
}

both() { "$1" "$server_node" >/dev/null 2>&1 && "$1" "$client_node" >/dev/null 2>&1; }

delete_xmasq() {
	local pods

	pods=$(kc -n "$ds_ns" get pods -l "$ds_selector" -o json | jq -r --arg a "$server_node" \
		--arg b "$client_node" '.items[] | select(.spec.nodeName == $a or .spec.nodeName == $b)
			| .metadata.name') || return
	# shellcheck disable=SC2086 # words
	[ -z "$pods" ] || kc -n "$ds_ns" delete pods $pods --ignore-not-found --wait=true >/dev/null
}

# no_live_rules NODE
no_live_rules() {
	local pod rules

	{
		pod=$(xmasq_on "$1") && rules=$(kc -n "$ds_ns" exec "$pod" -- xmasqctl policy list -o json) &&
			rules=$(jq -r '[.rules[] | select(.origin == "live").name] | join(" ")' <<<"$rules")
	} || die "xmasqctl policy list fails on $1, so live rules there might be lost"
	[ -z "$rules" ] || die "$1 has live rules, which --cleanup-on-exit forgets: $rules." \
		"Put them into xmasqd.yaml, or 'xmasqctl policy del' them"
}

# Pods of other nodes stay as they are: they are replaced only when somebody deletes them.
ds_prepare() {
	local saved=$tmp/daemonset.json whole ds_on

	whole=$(kc -n "$ds_ns" get daemonset "$ds" -o json) ||
		die "no DaemonSet $daemonset: is xmasq installed (docs/kubernetes.md)? Or give --daemonset or --switch"
	jq '.spec | {template, updateStrategy}' <<<"$whole" >"$saved"
	# Whatever else a selector asks for: without it, other pods would be taken for xmasq's, and deleted.
	ds_selector=$(jq -r '.spec.selector | select(.matchExpressions | not) | .matchLabels // {}
		| to_entries | map("\(.key)=\(.value)") | join(",")' <<<"$whole")
	[ -n "$ds_selector" ] || die "DaemonSet $daemonset does not select by labels alone: give --switch"
	! jq -e '.updateStrategy.type == "OnDelete" and
		any(.template.spec.containers[].args[]?; . == "--cleanup-on-exit")' "$saved" >/dev/null ||
		die "DaemonSet $daemonset is as a killed run left it. Put it back, with your image in the file:" \
			"kubectl replace -f deploy/kubernetes/xmasq.yaml"
	wait_for "xmasqd on $server_node and $client_node" both xmasq_on
	no_live_rules "$server_node"
	no_live_rules "$client_node"
	ds_on=$(jq -c '{spec: (.updateStrategy = {type: "OnDelete", rollingUpdate: null}
		| .template.spec.containers[0].args += ["--cleanup-on-exit"])}' "$saved")
	# Terms are alternatives, so each has to exclude the nodes; an empty one matches no node.
	ds_off=$(jq -c --arg a "$server_node" --arg b "$client_node" '
		[$a, $b | {key: "metadata.name", operator: "NotIn", values: [.]}] as $not
		| (.template.spec.affinity // {})
		| .nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution |=
			if . then .nodeSelectorTerms |= map(if (.matchExpressions // []) + (.matchFields // []) == []
				then . else .matchFields += $not end)
			else {nodeSelectorTerms: [{matchFields: $not}]} end' "$saved")
	ds_saved=$saved
	kc -n "$ds_ns" patch daemonset "$ds" --type merge -p "$ds_on" >/dev/null
	delete_xmasq
	wait_for "xmasqd on $server_node and $client_node" both xmasq_on
}

ds_restore() {
	kc -n "$ds_ns" patch daemonset "$ds" --type json -p "$(jq -c '[
		{op: "replace", path: "/spec/template", value: .template},
		{op: "replace", path: "/spec/updateStrategy", value: .updateStrategy}]' "$ds_saved")" \
		>/dev/null || {
		echo "netperf_test: DaemonSet $daemonset could not be put back; its template was:" >&2
		cat "$ds_saved" >&2
		return 1
	}
	delete_xmasq && wait_for "xmasqd on $server_node and $client_node, as it was" both xmasq_on
}

# ds_affinity VALUE: in one step, so that no pod starts in between where it should not
ds_affinity() {
	kc -n "$ds_ns" patch daemonset "$ds" --type json \
		-p "[{\"op\": \"add\", \"path\": \"/spec/template/spec/affinity\", \"value\": $1}]" >/dev/null
}

xmasq() {
	if [ -n "$switch" ]; then
		switched=1
		$switch "$1" || die "'$switch $1' failed"
	elif [ "$1" = off ]; then
		ds_affinity "$ds_off"
		wait_for "xmasqd to leave $server_node and $client_node" both none_on
	else
		ds_affinity "$(jq -c .template.spec.affinity "$ds_saved")"
		wait_for "xmasqd on $server_node and $client_node" both xmasq_on
	fi
}

# masqueraded: packets that left the client's node on the fast path so far, "-" when nobody says
masqueraded() {
	local pod counters

	[ -z "$switch" ] && pod=$(xmasq_on "$client_node" 2>/dev/null) &&
		counters=$(kc -n "$ds_ns" exec "$pod" -- xmasqctl -o json counters 2>/dev/null) &&
		jq -r 'first(.. | objects | select(.name? == "masqueraded") | .packets) // 0' <<<"$counters" ||
		echo -
}

# ---- pods ---------------------------------------------------------------------

nodes_chosen() {
	local ready

	ready=$(kc get nodes -o json | jq -r '.items[] | select(.spec.unschedulable | not)
		| select(any(.status.conditions[]; .type == "Ready" and .status == "True"))
		| .metadata.name' | sort) || die "kubectl reaches no cluster"
	[ "$(wc -l <<<"$ready")" -ge 2 ] || die "two ready nodes are needed, here: ${ready:-none}"
	[ -n "$client_node" ] || client_node=$(grep -vxF -- "$server_node" <<<"$ready" | head -n 1)
	[ -n "$server_node" ] || server_node=$(grep -vxF -- "$client_node" <<<"$ready" | tail -n 1)
	for node in "$client_node" "$server_node"; do
		grep -qxF -- "$node" <<<"$ready" || die "node '$node' is not ready; ready are: ${ready//$'\n'/ }"
	done
	[ "$client_node" != "$server_node" ] || die "server and client are to be on different nodes"
}

pod_manifest() {
	cat <<-END
	apiVersion: v1
	kind: Pod
	metadata: {name: $1, namespace: $namespace}
	spec:
	  nodeName: $2
	  terminationGracePeriodSeconds: 0
	  automountServiceAccountToken: false
	  tolerations: [{operator: Exists}]
	  containers:
	    - name: $1
	      image: $image
	      imagePullPolicy: $pull
	      command: [sh, -c, "$3"]
	END
}

namespace_free() {
	local there

	there=$(kc get namespace "$namespace" --ignore-not-found -o name) || die "kubectl cannot look for namespaces"
	[ -z "$there" ] ||
		die "there is a namespace '$namespace' already: give another --namespace, or delete what an" \
			"interrupted run left: kubectl delete namespace $namespace"
}

pods_up() {
	made=1
	kc create namespace "$namespace" >/dev/null
	# A namespace's service account comes a moment later, and pods need it.
	wait_for "the service account of namespace $namespace" account
	{
		pod_manifest server "$server_node" "iperf3 -s & sockperf sr --tcp -i 0.0.0.0 -p 11112 & exec sockperf sr -i 0.0.0.0 -p 11111"
		echo ---
		pod_manifest client "$client_node" "exec sleep 2147483647"
	} | kc create -f - >/dev/null
	kc -n "$namespace" wait --for=condition=Ready pod/server pod/client --timeout="${timeout}s" >/dev/null || {
		kc -n "$namespace" describe pods | tail -n 20 >&2
		die "the pods do not start; has every node the image $image?"
	}
	server=$(kc -n "$namespace" get pod server -o jsonpath='{.status.podIP}')
	wait_for "the servers to answer" on_client sockperf pp -i "$server" -p 11112 --tcp -t 1
}

account() { kc -n "$namespace" get serviceaccount default >/dev/null 2>&1; }

on_client() { kc -n "$namespace" exec client -- "$@" >"$tmp/out" 2>"$tmp/err"; }

cleanup() {
	local rc=$?

	trap - EXIT
	trap '' INT TERM HUP
	[ -z "$made" ] || kc delete namespace "$namespace" --wait=true --timeout="${timeout}s" >/dev/null || rc=1
	[ -z "$ds_saved" ] || ds_restore || rc=1
	[ -z "$switched" ] || $switch on || {
		echo "netperf_test: '$switch on' failed: xmasq may be off" >&2
		rc=1
	}
	rm -rf "$tmp"
	exit $rc
}

# ---- measurements -------------------------------------------------------------

# measure TEST: one figure
measure() {
	local options=()

	case $1 in
	tcp1 | tcp8)
		on_client iperf3 -c "$server" -P "${1#tcp}" -t "$seconds" -J &&
			jq -er '.end.sum_received.bits_per_second / 1e9' "$tmp/out"
		;;
	tcprr | udprr)
		[ "$1" = udprr ] && options=(-p 11111) || options=(-p 11112 --tcp)
		# Each line of its output may have a prefix and colours.
		on_client sockperf pp -i "$server" "${options[@]}" -t "$seconds" &&
			sed -n 's/.*\[Valid Duration\] RunTime=\([0-9.]*\) sec;.* ReceivedMessages=\([0-9]*\).*/\1 \2/p' \
				"$tmp/out" | awk '$1 > 0 { print $2 / $1; ok = 1 } END { exit !ok }'
		;;
	esac || {
		tail -n 5 "$tmp/out" "$tmp/err" >&2
		die "$1 failed; above is what it said"
	}
}

# on_fast_path: whether xmasq takes packets of a short run
on_fast_path() {
	local before after

	before=$(masqueraded)
	on_client sockperf pp -i "$server" -p 11111 -t 1 || return 1
	# A switch has no counters.
	[ -z "$switch" ] || return 0
	after=$(masqueraded)
	[ "$before" != - ] && [ "$after" != - ] && [ "$after" -gt "$before" ]
}

round() {
	local state=$1 n=$2 t value before after

	xmasq "$state"
	if [ "$state" = on ]; then
		wait_for "a packet on the fast path; see 'xmasqctl peers' in the DaemonSet's pods" on_fast_path
	fi
	for t in ${tests//,/ }; do
		before=$(masqueraded)
		value=$(measure "$t")
		after=$(masqueraded)
		[ "$before" != - ] || after=-
		jq -nc --arg t "$t" --arg s "$state" --argjson n "$n" --argjson v "$value" \
			--arg fast "$([ "$after" = - ] && echo - || echo $((after - before)))" \
			'{test: $t, state: $s, round: $n, value: $v, fast: $fast}' >>"$tmp/samples"
		say "round $n, $state: $t $value"
	done
}

# summary: medians and spread; a ratio is that of single rounds, seconds apart
summary() {
	jq -s --arg server "$server_node" --arg client "$client_node" --argjson rounds "$rounds" \
		--argjson seconds "$seconds" --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --argjson nodes "$1" '
		def stat: sort | {median: (if length % 2 == 1 then .[length / 2 | floor]
				else (.[length / 2 - 1] + .[length / 2]) / 2 end), min: .[0], max: .[-1]};
		{tcp1: "TCP, 1 stream, Gbit/s", tcp8: "TCP, 8 streams, Gbit/s",
		 tcprr: "TCP round trips, /s", udprr: "UDP round trips, /s"} as $names
		| . as $all
		| {date: $date, server: $server, client: $client, rounds: $rounds, seconds: $seconds, nodes: $nodes,
		   tests: [$names | to_entries[] | .key as $t
			| ($all | map(select(.test == $t))) as $s | select($s | length > 0)
			| ($s | map(select(.state == "off"))) as $off | ($s | map(select(.state == "on"))) as $on
			| {test: $t, name: .value, off: ($off | map(.value) | stat), on: ($on | map(.value) | stat),
			   ratio: ([$on[] as $a | $off[] | select(.round == $a.round) | $a.value / .value] | stat),
			   fast_packets: ([$on[].fast | select(. != "-") | tonumber] | add)}]}' "$tmp/samples"
}

# print_table SEPARATOR: lines of cells
cells() {
	jq -r '
		def num: if . >= 1000 then (round | tostring) else (. * 100 | round / 100 | tostring) end;
		def all: "\(.median | num) (\(.min | num)..\(.max | num))";
		["", "overlay (off)", "xmasq (on)", "on / off"],
		(.tests[] | [.name, (.off | all), (.on | all), (.ratio | all)]) | join("|")'
}

report() {
	local result=$1

	if [ "$form" = json ]; then
		jq . <<<"$result"
		return
	fi
	jq -r '"\(.client) to \(.server), \(.rounds) rounds of \(.seconds) s each, median (least..most), \(.date)",
		(.nodes[] | "  \(.name): \(.kernel), \(.os), \(.kubelet), \(.runtime)"), ""' <<<"$result"
	if [ "$form" = markdown ]; then
		cells <<<"$result" | awk -F'|' '{ print "| " $1 " | " $2 " | " $3 " | " $4 " |" }
			NR == 1 { print "|---|---:|---:|---:|" }'
	else
		cells <<<"$result" | awk -F'|' '{ printf "  %-24s  %26s  %26s  %20s\n", $1, $2, $3, $4 }'
	fi
}

trap cleanup EXIT
trap 'exit 130' INT TERM HUP
nodes_chosen
say "server on $server_node, client on $client_node"
namespace_free
[ -n "$switch" ] || ds_prepare
pods_up
for ((r = 1; r <= rounds; r++)); do
	# What comes first changes, so that a machine that gets busier favours nobody.
	if [ $((r % 2)) = 1 ]; then order='off on'; else order='on off'; fi
	for state in $order; do
		round "$state" "$r"
	done
done
facts=$(kc get nodes "$server_node" "$client_node" -o json | jq -c '[.items[] | {name: .metadata.name,
	kernel: .status.nodeInfo.kernelVersion, os: .status.nodeInfo.osImage,
	kubelet: .status.nodeInfo.kubeletVersion, runtime: .status.nodeInfo.containerRuntimeVersion}]')
report "$(summary "$facts")"
