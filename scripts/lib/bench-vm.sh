#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bench-vm.sh - "bench.sh --vm --icount": instructions of a transaction, counted by an emulated
# machine. Starts virtual machines that run bench-guest.sh and has icount.py make figures of
# what they print. The machines are independent of each other and of what else goes on here:
# they run at the same time.

set -Eeuo pipefail

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")

help()
{
	cat <<'HELP'
usage: bench.sh --vm --icount [--kernel 6.1|6.12|PATH] [--case REGEX] [--repeat N]
                [--no-programs] [--profile] [--connections] [--admit-after N]
                [--out DIR] [--json FILE] [-o text|json] [--list]

  --kernel K      a kernel of kernel-patch/build.sh, or a bzImage (default 6.12)
  --case REGEX    only the cases whose names match (grep -E); --list prints the names
  --repeat N      machines, each of which measures all cases (default 2)
  --no-programs   leave out the instructions of the BPF programs
  --profile       where in the kernel the instructions are spent, by function, and what is more
                  or less than in the first case ("host" unless --case leaves it out)
  --connections   nothing but short connections, of 1 to 16 requests: from how many on the fast
                  path pays for what it takes to get there (connections.json, connections.md)
  --admit-after N the key of xmasqd's configuration instead of its default
  --out DIR       where icount.json, icount.md and icount.svg go (default bench/)
  --json FILE     the results once more, as FILE
                  (with --profile: profile.json)
  -o text|json    what to print: a table (default), or that file

Counts instructions per TCP and UDP transaction (14 bytes each way, both ends on the one
CPU), per MiB of a TCP stream and per short connection (connect, a transaction, close) under "qemu -icount", where one instruction is one
nanosecond: the load of this machine changes how long it takes, not what comes out.
Needs no root.

exit status: 0 done; 1 something failed, a case did not take the path that its name says, or
repeats differ by 0.5 % or more; 2 wrong arguments
HELP
}

misused() { printf "bench.sh: %s\nTry 'scripts/bench.sh --vm --help'.\n" "$*" >&2; exit 2; }
die()     { printf 'bench.sh: error: %s\n' "$*" >&2; exit 1; }
say()     { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

KERNEL=6.12 CASE=. REPEAT=2 PROGRAMS=--programs OUT=$ROOT/bench JSON='' FORMAT=text
ICOUNT='' LIST='' PROFILE='' CONNECTIONS='' ADMIT=()
TIMEOUT=7200

parse()
{
	while [ $# -gt 0 ]; do
		case $1 in
		--kernel|--case|--repeat|--admit-after|--out|--json|-o)
			[ -n "${2:-}" ] || misused "$1: its value is missing" ;;
		esac
		case $1 in
		--vm)		;;
		--icount)	ICOUNT=yes ;;
		--kernel)	KERNEL=$2; shift ;;
		--case)		CASE=$2; shift ;;
		--repeat)	REPEAT=$2; shift ;;
		--no-programs)	PROGRAMS='' ;;
		--out)		OUT=$2; shift ;;
		--json)		JSON=$2; shift ;;
		-o)		FORMAT=$2; shift ;;
		--profile)	PROFILE=yes ;;
		--connections)	CONNECTIONS=--connections ;;
		--admit-after)	ADMIT=(--admit-after "$2"); shift ;;
		--list)		LIST=yes ;;
		-h|--help)	help; exit 0 ;;
		*)		misused "'$1' is not an option with --vm" ;;
		esac
		shift
	done
	[ -n "$ICOUNT" ] || misused "--vm needs --icount: rates of an emulated machine mean nothing"
	[[ $REPEAT =~ ^[1-9][0-9]?$ ]] || misused "--repeat '$REPEAT': give a number from 1 to 99"
	[[ ${ADMIT[1]:-1} =~ ^[1-9][0-9]{0,3}$ ]] ||
		misused "--admit-after '${ADMIT[1]}': give a number from 1 to 9999"
	[[ $FORMAT == text || $FORMAT == json ]] || misused "-o '$FORMAT': give text or json"
	[[ $KERNEL == 6.1 || $KERNEL == 6.12 || -f $KERNEL ]] ||
		misused "--kernel '$KERNEL': give 6.1, 6.12 or a bzImage"
	if [ -n "$JSON" ] && [ ! -d "$(dirname "$JSON")" ]; then
		misused "--json '$JSON': no such directory"
	fi
	# grep says what is wrong with the expression.
	grep -E -e "$CASE" < /dev/null || [ $? = 1 ] || misused "--case '$CASE': no regular expression"
}

# What there is to measure, as bench-guest.sh takes it. Cases of one bed are in a row.
all_cases()
{
	local rules suffix o

	for rules in no yes; do
		suffix=''
		[ "$rules" = no ] || suffix=+rules
		echo "host$suffix,vxlan,veth,$rules,host"
		echo "overlay/vxlan$suffix,vxlan,veth,$rules,overlay"
		echo "xmasq/vxlan/veth$suffix,vxlan,veth,$rules,veth"
		echo "xmasq/vxlan/rpeer$suffix,vxlan,veth,$rules,rpeer"
		# netkit came with 6.7.
		if [ "$KERNEL" != 6.1 ]; then
			echo "xmasq/vxlan/netkit-l2$suffix,vxlan,netkit-l2,$rules,netkit"
			echo "xmasq/vxlan/netkit-l3$suffix,vxlan,netkit-l3,$rules,netkit"
		fi
		for o in geneve ovs-vxlan ovs-geneve; do
			echo "overlay/$o$suffix,$o,veth,$rules,overlay"
			echo "xmasq/$o/rpeer$suffix,$o,veth,$rules,rpeer"
		done
	done
}

choose_cases()
{
	local one

	CASES=()
	while read -r one; do
		! grep -qE -e "$CASE" <<< "${one%%,*}" || CASES+=("$one")
	done < <(all_cases)
	[ ${#CASES[@]} -gt 0 ] || misused "--case '$CASE' matches none of the cases: see --list"
}

# machine I: in the background; what it says goes on as it comes
machine()
{
	local i=$1 command=(scripts/lib/bench-guest.sh "${ADMIT[@]}" ${CONNECTIONS:+"$CONNECTIONS"}
		${PROGRAMS:+"$PROGRAMS"} "${CASES[@]}")

	(
		cd "$ROOT"
		exec scripts/vm.sh run --icount --kernel "$KERNEL" --timeout "$TIMEOUT" -- "${command[@]}"
	) > "$WORK/raw$i" 2> >(while IFS= read -r line; do say "machine $i: $line"; done) &
	PIDS+=($!)
}

# As many at a time as there are processors for them.
machines()
{
	local i p failed=''

	for ((i = 1; i <= REPEAT; i++)); do
		machine "$i"
		[ "$i" = "$REPEAT" ] || [ "${#PIDS[@]}" -ge "$(nproc)" ] || continue
		for p in "${PIDS[@]}"; do
			wait "$p" || failed=yes
		done
		PIDS=()
		[ -z "$failed" ] || {
			KEEP=yes
			die "a virtual machine failed: its messages are above, what it measured is in $WORK"
		}
	done
}

cleanup()
{
	local p

	for p in "${PIDS[@]}"; do
		kill "$p" 2> /dev/null || :
	done
	[ ${#PIDS[@]} = 0 ] || wait
	[ -n "$KEEP" ] || rm -rf -- "$WORK"
}

# profile: one machine whose QEMU counts blocks of code
profile()
{
	local qemu=$WORK/qemu plugin=$WORK/profile-plugin.so

	"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -shared -fPIC -o "$plugin" \
		"$ROOT/scripts/lib/profile-plugin.c" -lpthread
	mkdir "$WORK/out"
	printf '#!/bin/sh\nexec %q "$@" -plugin %q\n' "${XMASQ_QEMU:-qemu-system-x86_64}" \
		"$plugin,dir=$WORK/out" > "$qemu"
	chmod +x "$qemu"
	(
		cd "$ROOT"
		XMASQ_QEMU=$qemu scripts/vm.sh run --icount --kernel "$KERNEL" --timeout "$TIMEOUT" \
			--out "$WORK/out" -- scripts/lib/bench-guest.sh "${ADMIT[@]}" ${CONNECTIONS:+"$CONNECTIONS"} \
			--profile "${CASES[@]}"
	) > "$WORK/raw" 2> >(while IFS= read -r line; do say "$line"; done) || {
		KEEP=yes
		die "the virtual machine failed: its messages are above, what it counted is in $WORK"
	}
	mkdir -p "$OUT"
	"$ROOT/scripts/profile.py" collect "$WORK/raw" "$WORK/out" > "$OUT/profile.json"
	[ -z "$JSON" ] || cp "$OUT/profile.json" "$JSON"
	say "wrote profile.json to $OUT"
	if [ "$FORMAT" = json ]; then
		cat "$OUT/profile.json"
	else
		"$ROOT/scripts/profile.py" text "$OUT/profile.json"
	fi
}

write_results()
{
	local commit qemu

	commit=$(git --no-optional-locks -c safe.directory='*' -C "$ROOT" describe --always --dirty \
		2> /dev/null) || commit=unknown
	qemu=$("${XMASQ_QEMU:-qemu-system-x86_64}" --version |
		sed -n '1s/.*version \([0-9.]*\).*/QEMU \1/p')
	jq -n --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --arg commit "$commit" \
		--arg command "$COMMAND" --arg qemu "$qemu" --argjson seconds "$SECONDS" \
		'{ kind: "icount", date: $date, commit: $commit, command: $command, qemu: $qemu,
		   seconds: $seconds }' > "$WORK/meta"
	mkdir -p "$OUT"
	"$ROOT/scripts/icount.py" collect "$WORK/meta" "$WORK"/raw* > "$OUT/$NAME.json"
	"$ROOT/scripts/icount.py" markdown "$OUT/$NAME.json" > "$OUT/$NAME.md"
	[ -n "$CONNECTIONS" ] || "$ROOT/scripts/plot.py" "$OUT/$NAME.json" > "$OUT/$NAME.svg"
	[ -z "$JSON" ] || cp "$OUT/$NAME.json" "$JSON"
}

COMMAND="scripts/bench.sh${*:+ $*}"
parse "$@"
choose_cases
if [ -n "$LIST" ]; then
	printf '%s\n' "${CASES[@]%%,*}"
	exit 0
fi
for p in jq python3 "${XMASQ_QEMU:-qemu-system-x86_64}" \
		"${XMASQ_BUILD:-$ROOT/build}"/{tests/tools/xmt-icount,xmasqd,xmasqctl}; do
	command -v "$p" > /dev/null || die "$p is missing: run 'scripts/setup.sh' and 'make all tools'"
done
WORK=$(mktemp -d) PIDS=() KEEP=''
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if [ "$PROFILE" ]; then
	say "${#CASES[@]} cases, kernel $KERNEL"
	profile
	exit 0
fi
say "${#CASES[@]} cases, $REPEAT machines, kernel $KERNEL"
machines
NAME=icount
[ -z "$CONNECTIONS" ] || NAME=connections
write_results
say "wrote $NAME.json and what it shows to $OUT"
if [ "$FORMAT" = json ]; then
	cat "$OUT/$NAME.json"
else
	"$ROOT/scripts/icount.py" text "$OUT/$NAME.json"
fi
"$ROOT/scripts/icount.py" check "$OUT/$NAME.json" > "$WORK/wrong" || {
	printf '\nThese figures are not what they should be:\n' >&2
	cat "$WORK/wrong" >&2
	exit 1
}
