#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# What the fast path costs, in instructions: scripts/bench.sh --vm --icount against the figures that
# are recorded in tests/vm/budget. They repeat to 0.1 %, and depend on the kernel's source and
# configuration, which build.sh fixes; the host's share of them cancels out.
#
# Who makes the fast path cheaper or, with a reason, dearer records there what the test printed.

setup_file() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	kernel-patch/build.sh --kernel 6.12 --config vm --print-image >/dev/null 2>&1
}

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	BUDGET=tests/vm/budget
}

# per_host FILE KIND: "CASE RATIO" for each case but the host's
per_host() {
	# shellcheck disable=SC2016 # gojq's variables
	gojq -r --arg kind "$2" '
		(.cases[] | select(.case == "host").figures[$kind].value) as $host |
		.cases[] | select(.case != "host") | "\(.case) \(.figures[$kind].value / $host)"' "$1"
}

@test "a transaction takes the instructions that are recorded, to 1 %" {
	local kind column=1 name ratio want bad=0
	local cases

	cases=$(sed '/^#/d' "$BUDGET" | cut -f 1 | paste -s -d '|')
	scripts/bench.sh --vm --icount --no-programs --case "^(host|$cases)\$" \
		--out "$BATS_TEST_TMPDIR" --json "$BATS_TEST_TMPDIR/now.json" >/dev/null
	for kind in tcp-rr udp-rr tcp-crr; do
		column=$((column + 1))
		[ "$(per_host "$BATS_TEST_TMPDIR/now.json" $kind | wc -l)" = "$(sed '/^#/d' "$BUDGET" | wc -l)" ]
		while read -r name ratio; do
			want=$(awk -v name="$name" -v column=$column '$1 == name { print $column }' "$BUDGET")
			printf '%s %s: %.4f of the host, recorded %s\n' "$name" $kind "$ratio" "$want"
			awk -v is="$ratio" -v want="$want" \
				'BEGIN { exit !(want && is >= want * 0.99 && is <= want * 1.01) }' || bad=1
		done < <(per_host "$BATS_TEST_TMPDIR/now.json" $kind)
	done
	[ $bad = 0 ] || echo "If that is meant: record it in $BUDGET, and say why in the commit."
	[ $bad = 0 ]
}

@test "--profile tells where they are spent: all of them, by function" {
	scripts/bench.sh --vm --icount --profile --case '^(host|xmasq/vxlan/rpeer)$' \
		--out "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/text"
	cat "$BATS_TEST_TMPDIR/text"
	gojq -e '
		[.cases[] | . + {sum: (.functions | add)}] |
		length == 6 and
		# Whole transactions, and nothing of weight that has no name.
		all(.[]; .total > 15000 and .total < (if .kind == "tcp-crr" then 300000 else 40000 end) and
			.sum > .total * 0.98) and
		(map(select(.case == "host")) |
			all(.[]; .functions | keys | all(.[]; startswith("bpf: xmasq") | not))) and
		(map(select(.case != "host")) |
			# The kernel keeps 15 characters of the name of one that is loaded for a pod.
			all(.[]; .functions["bpf: xmasq_rpeer_egr"] > 100 and
				.functions["bpf: xmasq_nic_ingress"] > 100))' "$BATS_TEST_TMPDIR/profile.json"
}
