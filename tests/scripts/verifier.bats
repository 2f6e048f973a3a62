#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The kernel's verifier takes the programs as the oldest and the newest clang here build them.

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
}

@test "the verifier accepts every program of clang-14 and of a newer clang" {
	run make -s verifier
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output == *"# clang-14"* ]]
	[ "$(grep -c '^# clang-' <<<"$output")" -ge 2 ]
	for p in pod_egress pod_ingress nic_egress nic_ingress clock; do
		[ "$(grep -c "xmasq_$p" <<<"$output")" -ge 2 ]
	done
	printf '# %s\n' "${lines[@]}" >&3
}
