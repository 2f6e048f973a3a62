#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# A node's kernel is exchanged and exchanged back, linux-image with the patch for one without: the
# daemon comes up in the best mode that each has, says so, and accelerates. Its state directory
# survives from boot to boot, which the default /run/xmasq would not: the worse case.

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	dir=$(mktemp -d /var/tmp/xmasq-vm-test.XXXXXX)
}

teardown() {
	rm -rf "$dir"
}

# boots MODE REASON [OPTION of vm.sh...]: and everything is as it should be in that mode
boots() {
	local mode=$1 reason=$2 report

	report=$(scripts/vm.sh run --timeout 200 --out "$dir" "${@:3}" -- tests/vm/guest/boot.sh)
	echo "$report"
	# shellcheck disable=SC2016 # jq's variables
	gojq -e --arg mode "$mode" --arg reason "$reason" '
		.mode == $mode and (.reason | startswith($reason)) and .pods == [$mode] and
		.fast > 50 and .complaints == [] and
		.flow.ok == 1 and .flow.corrupted == 0 and .flow.broken == 0' <<<"$report"
}

@test "from the patched kernel to a stock one and back, mode auto takes the best and says why" {
	local patched='auto: the kernel has bpf_redirect_rpeer()'
	local stock='auto: the kernel lacks bpf_redirect_rpeer()'

	boots rpeer "$patched" --kernel 6.12
	boots veth "$stock" --kernel 6.12 --stock
	boots rpeer "$patched" --kernel 6.12
}
