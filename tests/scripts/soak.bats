#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# soak.py and scale.py on samples that are made up: what is flat passes, what leaks does not.

setup() {
	cd "$BATS_TEST_DIRNAME/../.." || return 1
	D=$BATS_TEST_TMPDIR
	echo '{"tcp":4,"broken":0,"corrupt":0,"misdelivered":0,"stall_ms":3,"udp_sent":100,"udp_lost":0}' >"$D/soak.load"
	echo '{"errors":0,"broken":0,"corrupted":0,"lost":0}' >"$D/soak.churn"
}

# samples RSS FDS FLOWS LABELS: what each gains from one sample to the next, over some noise; 200 samples
# of two nodes, 6 s apart. The first ones are lower by far.
samples() {
	awk -v rss="$1" -v fds="$2" -v flows="$3" -v labels="$4" 'BEGIN {
		srand(7)
		for (i = 0; i < 200; i++)
			for (n = 1; n <= 2; n++)
				printf "{\"node\":\"n%d\",\"t\":%d,\"rss_kib\":%d,\"pss_kib\":900,\"fds\":%d,\"pods\":%d," \
					"\"threads\":1,\"pins\":11,\"programs\":4,\"cpu_ms\":%d,\"tables\":{" \
					"\"xm_flows\":{\"used\":%d,\"max\":1024,\"bytes\":4096}," \
					"\"xm_labels\":{\"used\":%d,\"max\":1024,\"bytes\":4096}}}\n", n, 6 * i,
					(i < 5 ? 2000 : 11000) + rss * i, 34 + int(fds * i), 4 + i % 2, i,
					(i < 10 ? i * 20 : 190) + 40 * rand() + flows * i, 190 + 40 * rand() + labels * i
	}' >"$D/soak.samples"
}

judge() { run scripts/soak.py --out "$D"; }

@test "flat is flat, whatever the first minute was, and drawn" {
	samples 0 0 0 0
	judge
	[ "$status" = 0 ]
	[[ $output == *'| resident memory, KiB | n1 | 11 000 | 11 000 to 11 000 | 0 | 512 | flat |'* ]]
	python3 -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' "$D/soak.svg"
	gojq -e '.traffic.fine and (.nodes.n2 | all(.[]; .flat))' "$D/soak.json" >/dev/null
}

@test "a page in each sample, one descriptor in a hundred, entries: grows" {
	samples 4 0 0 0
	judge
	[ "$status" = 1 ]
	[[ $output == *'n1: resident memory grew by'* && $output != *'descriptors grew'* ]]
	samples 0 0.02 0 0
	judge
	[ "$status" = 1 ]
	[[ $output == *'n2: descriptors grew by'* ]]
	samples 0 0 0.5 0
	judge
	[ "$status" = 1 ]
	[[ $output == *'entries of xm_flows grew by'* && $output != *'entries of xm_labels grew'* ]]
	samples 0 0 0 0.5
	judge
	[[ $output == *'entries of xm_labels grew by'* ]]
}

@test "a broken connection, a pod's wrong byte, too few samples: said" {
	samples 0 0 0 0
	sed -i 's/"broken":0/"broken":1/' "$D/soak.load"
	judge
	[ "$status" = 1 ]
	[[ $output == *'traffic was damaged'* ]]
	sed -i 's/"broken":1/"broken":0/' "$D/soak.load"
	sed -i 's/"corrupted":0/"corrupted":1/' "$D/soak.churn"
	judge
	[ "$status" = 1 ]
	sed -i 24q "$D/soak.samples"
	judge
	[ "$status" = 1 ]
	[[ $output == *'let it run for longer'* ]]
}

@test "scale.py: medians, spread, CPU for 1 000 flows, 5 000 nodes" {
	local r

	for r in 1 2 3; do
		echo '{"what":"flows-pair","n":8000,"cpu_ms_per_s":'$((r + 4))',"rss_kib":2048,"fds":9,"tables_kib":1024,"flows":8000,"active":7999}'
		echo '{"what":"flows-pair","n":0,"cpu_ms_per_s":2,"rss_kib":2048,"fds":9,"tables_kib":1024,"flows":0,"active":0}'
		echo '{"what":"peers","n":50,"cpu_ms_per_s":5,"rss_kib":2048,"fds":9,"tables_kib":1024,"flows":0,"active":0}'
		echo '{"what":"peers-wire","n":50,"tx_packets_s":200,"tx_bytes_s":20000,"rx_packets_s":100,"rx_bytes_s":10000}'
	done >"$D/scale.samples"
	run scripts/scale.py --out "$D"
	[ "$status" = 0 ]
	[[ $output == *'| 8 000 flows with one peer, 8 000 at a time | 7 999 | 6 (5 to 7) | 2 | 1 | 9 | - |'* ]]
	[[ $output == *'(6 - 2) ms/s / 8 = **0.5 ms of CPU per s for 1 000 flows**'* ]]
	[[ $output == *'200 / 50 × 4 999 = 19 996 frames/s'* ]]
	[[ $output == *'5 / 50 × 4 999 = 500 ms/s (50 % of a CPU)'* ]]
	# A datagram at the wrong place is a failure, whatever else was measured.
	echo '{"what":"flows-pair-load","n":1,"before_restarts":{"lost":0,"sent":1},"at_end":{"sent":2,"lost":0,"never_answered":0,"misdelivered":1,"corrupt":0}}' \
		>>"$D/scale.samples"
	run scripts/scale.py --out "$D"
	[ "$status" = 1 ]
}

@test "soak.sh and scale.sh say what they want" {
	run scripts/soak.sh --minutes soon
	[ "$status" = 2 ]
	[[ $output == *usage:* ]]
	run scripts/scale.sh --only everything
	[ "$status" = 2 ]
	run scripts/scale.sh --help
	[ "$status" = 0 ]
	[[ $output == *--pair-flows* ]]
}
