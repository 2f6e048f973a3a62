# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# abuse.bash - crafted frames for the tests of policy and security; after lib.bash.

# craft WHO INTERFACE [options] EXPRESSION...: frames as craft.py makes them; sets SENT
craft()
{
	local who=$1

	shift
	SENT=$(inside "$who" "$NETNS/craft.py" "$@" | tail -n 1)
	[ "$SENT" -gt 0 ]
}

# craft_bg WHO INTERFACE [options] EXPRESSION...: the same in the background; pid last in PIDS
craft_bg()
{
	local who=$1

	shift
	start "$BATS_TEST_TMPDIR/craft.$RANDOM" sending "$BED" exec "$who" -- "$NETNS/craft.py" "$@"
}

# sniff WHO...: everything that passes the interface of each, into files of their own
sniff()
{
	local who iface

	for who; do
		iface=nic
		[[ $who != *p* ]] || iface=eth0
		capture "$BATS_TEST_TMPDIR/sniff.$who" "$who" $iface ''
	done
}

# unseen WHO [FILTER]: no frame with the payload of crafted packets passed there
unseen()
{
	local file=$BATS_TEST_TMPDIR/sniff.$1

	tcpdump -nn -r "$file" -w "$file.part" "${2:-}" 2>/dev/null
	grep -aqF XMASQ-CRAFTED. "$file.part" || return 0
	echo "crafted packets at $1:"
	tcpdump -nn -A -r "$file.part" 2>/dev/null | grep -aB 9 -F XMASQ-CRAFTED. |
		grep -aE '^[0-9:.]{15} ' | head -n 5
	return 1
}

# sniff_stop WHO...
sniff_stop()
{
	local who

	for who; do
		capture_stop "$BATS_TEST_TMPDIR/sniff.$who"
	done
}

# label_of NODE POD PROTO PORT: the label of its POD's flow with this port
label_of()
{
	ctl "$1" flows -o json | jq -er --arg pod "$(ip_of "$2")" --arg proto "$3" \
		--argjson p "$4" '.flows[] | select(.saddr == $pod and .protocol == $proto
		and (.sport == $p or .dport == $p)).label'
}
