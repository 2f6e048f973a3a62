#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# What netperf_test.sh does when something fails, with a kubectl that only answers, and notes in "log"
# what it was asked. What it measures is in tests/k8s/k8s.bats.
#
# shellcheck disable=SC2016 # the stubs' own
# shellcheck disable=SC2154 # output, status: set by run

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	export LOG=$BATS_TEST_TMPDIR/log
	KUBECTL=$BATS_TEST_TMPDIR/kubectl
	SWITCH=$BATS_TEST_TMPDIR/switch
	: >"$LOG"
	cat >"$KUBECTL" <<-'END'
		#!/bin/sh
		echo "kubectl $*" >>"$LOG"
		case "$*" in
		*"$FAIL"*) echo "no answer" >&2; exit 1 ;;
		"create -f -") cat >/dev/null ;;
		"get nodes"*) echo '{"items": [{"metadata": {"name": "n1"}, "spec": {}, "status":
			{"conditions": [{"type": "Ready", "status": "True"}]}}, {"metadata": {"name": "n2"},
			"spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}' ;;
		*"get daemonset"*) echo "{\"spec\": {\"selector\": $SELECTOR, \"updateStrategy\":
			{\"type\": \"RollingUpdate\"}, \"template\": {\"spec\": {\"containers\": [{}]}}}}" ;;
		*"get pods"*"-o json") echo '{"items": [{"metadata": {"name": "x"}, "spec": {"nodeName": "n1"},
			"status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}' ;;
		*"policy list"*) echo '{"rules": []}' ;;
		esac
	END
	printf '#!/bin/sh\necho "switch $1" >>"$LOG"\n' >"$SWITCH"
	chmod +x "$KUBECTL" "$SWITCH"
}

netperf() { scripts/netperf_test.sh --kubectl "$KUBECTL" --rounds 1 --seconds 1 --timeout 2 "$@"; }

# untouched: nothing was changed in the cluster
untouched() { [ "$(grep -cE 'patch|delete|create' "$LOG")" = 0 ]; }

@test "netperf: a measurement fails while xmasq is off: it is switched on" {
	FAIL=iperf3 run netperf --switch "$SWITCH"
	echo "$output"; cat "$LOG"
	[[ $status -eq 1 && $output == *"tcp1 failed"* ]]
	[ "$(grep switch "$LOG")" = "switch off"$'\n'"switch on" ]
	grep -q 'kubectl delete namespace xmasq-netperf' "$LOG"
}

@test "netperf: xmasq is left alone until all that can be asked before is known" {
	local selector

	export SELECTOR='{"matchLabels": {"a": "b"}}'
	FAIL="get namespace" run netperf
	echo "$output"; cat "$LOG"
	[[ $status -eq 1 && $output == *"cannot look for namespaces"* ]]
	untouched
	# Pods of a DaemonSet that are not ready, or kubectl that does not say.
	FAIL="get pods" run netperf
	echo "$output"; cat "$LOG"
	[[ $status -eq 1 && $output == *"waited 2 s for: xmasqd on"* ]]
	untouched
	for selector in '{}' '{"matchLabels": {}}' '{"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c"}]}'; do
		FAIL=none SELECTOR=$selector run netperf
		echo "$selector: $output"
		[[ $status -eq 1 && $output == *"does not select by labels alone"* ]]
		untouched
	done
}

@test "netperf: kubectl that does not answer does not mean that xmasqd has gone" {
	FAIL="a=b -o name" SELECTOR='{"matchLabels": {"a": "b"}}' run netperf
	echo "$output"; cat "$LOG"
	[[ $status -eq 1 && $output == *"waited 2 s for: xmasqd to leave n2 and n1"* ]]
	# And it is put back.
	[[ $(grep patch "$LOG" | tail -n 1) == *'"path":"/spec/template"'* ]]
}
