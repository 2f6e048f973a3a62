# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# measure.sh - three beds, four ways from node 1 to node 2, and what each of them costs; for
# demo.sh and bench.sh.
#
#   context   bed       from -> to
#   bare      PREFIXb   node -> node, no firewall rules, no conntrack
#   host      PREFIXf   node -> node, with the rules and conntrack of a kube-proxy node
#   overlay   PREFIXf   pod -> pod through the CNI's VXLAN
#   xmasq     PREFIX    pod -> pod, xmasqd on both nodes
#
# The beds are alike but for that, exist at the same time and cost nothing while nobody
# sends, so that rounds can go from one to the next without starting or stopping anything.
#
# Round trips and short connections run with both ends on one CPU: the rate is then the
# inverse of the CPU time of the whole path, and does not depend on how long this (virtual)
# machine takes to wake another CPU. Streams get a CPU for each end.
#
# The caller sets PREFIX (of the beds), SAMPLES (file, one line of JSON per measurement) and
# ROOT, may set XMASQ_OPTIONS (of "xmasq start"), calls measure_up once and measure_down from its EXIT trap. For other servers and loads
# it defines servers_start, kind_command and write_sample anew, after reading this file.

# shellcheck disable=SC2034 # the callers use it
CONTEXTS=(bare host overlay xmasq)
# Connections that are over before they get to the fast path.
SHORT_KINDS=(crr)
BUILD=${XMASQ_BUILD:-$ROOT/build}
TOOLS=$BUILD/tests/tools
MIN_FAST=${XMASQ_MIN_FAST:-0.99} # share of packets; the variable is for tests
# Renewals, two packets each way for each flow in a second, are 1 % of 64 streams' large packets.
declare -A MIN_FAST_OF=([tcp64]=0.97)

declare -A SERVER_PID
XMASQ_OPTIONS=()
M_TMP='' M_BEDS=() M_NICE=() M_KSOFTIRQD='' M_SOFTIRQ=() CPU_A='' CPU_B=''

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
	BOLD='' DIM='' RED='' GREEN='' PLAIN=''
fi

die() { printf '\n%serror:%s %s\n' "$RED" "$PLAIN" "$*" >&2; exit 1; }

# ---- progress: one line per step, with the time since the start ----

step()      { printf '%s[%3d s]%s %s' "$DIM" "$SECONDS" "$PLAIN" "$*"; }
step_more() { printf '%s' "$*"; }
step_end()  { printf '%s\n' "$*"; }

heading() { printf '\n%s%s%s\n\n' "$BOLD" "$*" "$PLAIN"; }

# ---- beds ----

# bed PREFIX ARGS...: testbed.sh, whose chatter is only worth reading when it fails
bed()
{
	local prefix=$1

	shift
	"$ROOT/scripts/testbed.sh" --prefix "$prefix" "$@"
}

bed_quietly()
{
	bed "$@" > "$M_TMP/bed.log" 2>&1 || {
		sed 's/^/  /' "$M_TMP/bed.log" >&2
		die "testbed.sh --prefix $* failed: its messages are above"
	}
}

context_bed()
{
	# shellcheck disable=SC2153 # PREFIX is the caller's
	case $1 in
	bare)		echo "${PREFIX}b" ;;
	host|overlay)	echo "${PREFIX}f" ;;
	xmasq)		echo "$PREFIX" ;;
	esac
}

# context_end CONTEXT 1|2: the name that testbed.sh has for an end
context_end()
{
	case $1 in
	bare|host)	echo "n$2" ;;
	*)		echo "n${2}p1" ;;
	esac
}

# The same in place of this (sub)shell, so that its process id is the command's.
bed_exec()
{
	local prefix=$1 who=$2

	shift 2
	# The lock must not outlive us in a server.
	exec "$ROOT/scripts/testbed.sh" --prefix "$prefix" exec "$who" -- "$@" 9>&-
}

# Runs a command at the near (1) or far (2) end of a context.
at()
{
	local context=$1 end=$2

	shift 2
	bed "$(context_bed "$context")" exec "$(context_end "$context" "$end")" -- "$@"
}

measure_up()
{
	local p

	[ "$(id -u)" = 0 ] || die "namespaces and BPF need root: run this with sudo"
	for p in iperf3 jq taskset tcpdump python3 "$TOOLS/xmt-perf" "$TOOLS/xmt-cpu" \
			"$TOOLS/xmt-flow" "$BUILD/xmasqd"; do
		command -v "$p" > /dev/null ||
			die "$p is missing: run 'scripts/setup.sh' and 'make all tools'"
	done
	# Two of us would measure each other, and take each other's beds away.
	exec 9> "/run/xmasq-$PREFIX.lock"
	flock -n 9 || die "another run uses the beds '$PREFIX': let it end first"
	M_TMP=$(mktemp -d)
	choose_cpus
	step "making three two-node beds of network namespaces"
	for p in "$PREFIX" "${PREFIX}f" "${PREFIX}b"; do
		M_BEDS+=("$p")
		if [ "$p" = "${PREFIX}b" ]; then
			bed_quietly "$p" up --replace --no-firewall
		else
			bed_quietly "$p" up --replace
		fi
		step_more .
	done
	step_end " done"
	step "starting xmasqd on the nodes of one of them"
	bed_quietly "$PREFIX" xmasq start "${XMASQ_OPTIONS[@]}"
	step_end ", servers everywhere"
	servers_start
}

# For the EXIT trap: all that was started, whatever state it is in.
measure_down()
{
	local p

	trap '' INT TERM HUP
	for p in "${SERVER_PID[@]}"; do
		kill "$p" 2> /dev/null || :
	done
	for p in "${M_BEDS[@]}"; do
		bed "$p" down > /dev/null 2>&1 || :
	done
	[ -z "$M_TMP" ] || rm -rf -- "$M_TMP" "/run/xmasq-$PREFIX.lock"
}

# ---- processes ----

choose_cpus()
{
	local config list

	config=/boot/config-$(uname -r)
	list=$(taskset -cp $$ | sed 's/.*: //')
	# "0-3,8" is 0 1 2 3 8
	list=$(tr , '\n' <<< "$list" | while IFS=- read -r a b; do seq "$a" "${b:-$a}"; done)
	CPU_A=$(sed -n 1p <<< "$list")
	CPU_B=$(sed -n 2p <<< "$list")
	CPU_B=${CPU_B:-$CPU_A}
	if nice -n -15 true 2> /dev/null; then
		M_NICE=(nice -n -15)
	fi
	M_KSOFTIRQD=$(pgrep -d , '^ksoftirqd/' || :)
	# Where softirqs are on nobody's account, xmt-cpu must add them.
	if { zcat /proc/config.gz || cat "$config"; } 2> /dev/null |
	   grep -q '^CONFIG_IRQ_TIME_ACCOUNTING=y'; then
		M_SOFTIRQ=(--softirq)
	fi
}

# server NAME CONTEXT CPU COMMAND...
server()
{
	local name=$1 context=$2 cpu=$3

	shift 3
	bed_exec "$(context_bed "$context")" "$(context_end "$context" 2)" \
		taskset -c "$cpu" "${M_NICE[@]}" "$@" \
		< /dev/null > "$M_TMP/server-$context-$name.log" 2>&1 &
	SERVER_PID[$context:$name]=$!
}

servers_start()
{
	local c

	for c in "${CONTEXTS[@]}"; do
		server iperf "$c" "$CPU_B" iperf3 -s -p 5201
		# For round trips both ends share a CPU; a UDP stream gets two.
		server tcp "$c" "$CPU_A" "$TOOLS/xmt-perf" server --tcp --port 5202
		server udp "$c" "$CPU_A" "$TOOLS/xmt-perf" server --udp --port 5203
		server udp2 "$c" "$CPU_B" "$TOOLS/xmt-perf" server --udp --port 5204
		server tcpmany "$c" "$CPU_A" "$TOOLS/xmt-perf" server --tcp --port 5205 --many
		# Short connections would run out of ports.
		at "$c" 1 sysctl -qw net.ipv4.tcp_tw_reuse=1
	done
	servers_listen ':520[1-5] ' 5
}

# servers_listen PORTS N: those of every context; PORTS is a regular expression for lines of ss
servers_listen()
{
	local c end

	for c in "${CONTEXTS[@]}"; do
		end=$((SECONDS + 10))
		until [ "$(at "$c" 2 ss -Hlntu | grep -cE "$1")" -ge "$2" ]; do
			[ "$SECONDS" -lt "$end" ] || {
				cat "$M_TMP/server-$c-"* >&2
				die "the servers of '$c' do not listen: their messages are above"
			}
			sleep 0.05
		done
	done
}

# ---- measuring ----

# Prints "masqueraded overlay": packets by either way, both nodes of the xmasq bed.
fast_count()
{
	local n

	for n in n1 n2; do
		bed "$PREFIX" xmasq ctl "$n" -- status -o json
	done | jq -rs '"\(map(.masqueraded) | add) \(map(.overlay) | add)"'
}

# What runs at the near end for a kind, in CMD; the server that answers, in SERVER;
# it may add to PIDS (whose CPU time counts) and set ALSO (whose is reported apart), with commas.
kind_command()
{
	local context=$1 kind=$2 seconds=$3 ip perf

	ip=$(bed "$(context_bed "$context")" ip "$(context_end "$context" 2)")
	perf=("$TOOLS/xmt-perf" client --host "$ip" --seconds "$seconds")
	CLIENT_CPU=$CPU_A
	case $kind in
	tcp[1-9]*)
		SERVER=iperf CMD=(iperf3 -J -c "$ip" -p 5201 -t "$seconds" -P "${kind#tcp}") ;;
	tcprr)	SERVER=tcp CMD=("${perf[@]}" --mode tcp-rr --port 5202) ;;
	tcprr*)	SERVER=tcpmany CMD=("${perf[@]}" --mode tcp-rr --port 5205 --flows "${kind#tcprr}") ;;
	udprr)	SERVER=udp CMD=("${perf[@]}" --mode udp-rr --port 5203) ;;
	udprr*)	SERVER=udp CMD=("${perf[@]}" --mode udp-rr --port 5203 --flows "${kind#udprr}") ;;
	crr)	SERVER=tcp CMD=("${perf[@]}" --mode tcp-crr --port 5202) ;;
	udp)	SERVER=udp2 CMD=("${perf[@]}" --mode udp-stream --port 5204) ;;
	esac
}

# One line of JSON from what client and xmt-cpu wrote. The value is Gbit/s or transactions
# per second; cpu is us per transaction or seconds per gigabyte.
# shellcheck disable=SC2016 # jq's variables
SAMPLE_JQ='
	($out[0]) as $o | ($cpu[0]) as $c |
	(if $o.end then
		{ value: ($o.end.sum_received.bits_per_second / 1e9), n: $o.end.sum_received.bytes,
		  lost: $o.end.sum_sent.retransmits, per: 1e9 }
	elif $o.mode == "udp-stream" then
		{ value: ($o.rate * $o.size * 8 / 1e9), n: $o.bytes_all, lost: $o.lost, per: 1e9 }
	else
		{ value: $o.rate, n: $o.all, lost: $o.lost, per: 1e6 }
	end) as $r |
	{ round: $round, context: $context, kind: $kind, value: $r.value,
	  cpu: ($c.cpu / $r.n * $r.per), cpu_machine: ($c.machine / $r.n * $r.per),
	  lost: $r.lost, fast: $fast, seconds: $c.wall }
	+ if $o.mode == "tcp-rr" or $o.mode == "udp-rr" then $o | { p50_us, p99_us, p999_us, times_us }
	  else {} end'

# write_sample ROUND CONTEXT KIND FAST
write_sample()
{
	jq -cn --argjson round "$1" --arg context "$2" --arg kind "$3" --argjson fast "$4" \
		--slurpfile out "$M_TMP/out" --slurpfile cpu "$M_TMP/cpu" "$SAMPLE_JQ"
}

# measure ROUND CONTEXT KIND SECONDS: appends to SAMPLES and sets VALUE
measure()
{
	local round=$1 context=$2 kind=$3 seconds=$4 fast=null before after
	local CMD SERVER CLIENT_CPU PIDS=$M_KSOFTIRQD ALSO=''

	kind_command "$context" "$kind" "$seconds"
	[ "$context" != xmasq ] || before=$(fast_count) ||
		die "xmasqd does not answer: see /run/xmasq-$PREFIX/n*/xmasqd.log"
	at "$context" 1 taskset -c "$CLIENT_CPU" "${M_NICE[@]}" \
		"$TOOLS/xmt-cpu" --out "$M_TMP/cpu" "${M_SOFTIRQ[@]}" \
		--tree "${SERVER_PID[$context:$SERVER]}" ${PIDS:+--pids "$PIDS"} \
		${ALSO:+--also "$ALSO"} -- \
		timeout $((seconds * 2 + 20)) "${CMD[@]}" > "$M_TMP/out" 2> "$M_TMP/err" 9>&- || {
		tail -n 20 "$M_TMP/err" "$M_TMP/out" "$M_TMP/server-$context-$SERVER.log" >&2
		die "measuring $kind, $context: '${CMD[*]}' failed: its messages are above"
	}
	if [ "$context" = xmasq ]; then
		after=$(fast_count) || die "xmasqd does not answer any more"
		fast=$(awk -v b="$before" -v a="$after" 'BEGIN {
			split(b, x); split(a, y); m = y[1] - x[1]; o = y[2] - x[2]
			print m + o ? m / (m + o) : 0 }')
		[[ " ${SHORT_KINDS[*]} " == *" $kind "* ]] || check_fast "$kind" "$fast"
	fi
	write_sample "$round" "$context" "$kind" "$fast" > "$M_TMP/sample" ||
		die "measuring $kind, $context: cannot read what '${CMD[*]}' wrote"
	VALUE=$(jq -r 'if .value < 1000 then .value * 100 | round / 100
			else "\(.value / 100 | round / 10)k" end' "$M_TMP/sample")
	[[ $VALUE != 0 ]] || die "measuring $kind, $context: '${CMD[*]}' moved nothing"
	cat "$M_TMP/sample" >> "$SAMPLES"
}

# One line to read before the rates, when others run on this machine too.
busy_note()
{
	# Between measurements nobody of ours runs.
	local busy

	"$TOOLS/xmt-cpu" --out "$M_TMP/busy" -- sleep 1
	busy=$(jq -r '.machine / .wall * 100 | round' "$M_TMP/busy")
	[ "$busy" -lt 15 ] ||
		printf '%s  note: other programs use %s %% of a CPU meanwhile: trust the CPU rows, not the rates.%s\n' \
			"$BOLD" "$busy" "$PLAIN"
}

NOT_FAST=()

check_fast()
{
	awk -v f="$2" -v m="${MIN_FAST_OF[$1]:-$MIN_FAST}" 'BEGIN { exit !(f < m) }' || return 0
	NOT_FAST+=("$1: $(awk -v f="$2" 'BEGIN { printf "%.1f %%", f * 100 }')")
}

# To be called at the end: was it xmasq that was measured as xmasq?
verdict_fast()
{
	[ ${#NOT_FAST[@]} != 0 ] || return 0
	printf '\n%sThe figures of xmasq are NOT its fast path'"'"'s: only this much of the packets took it:%s\n' \
		"$RED$BOLD" "$PLAIN"
	printf '  %s\n' "${NOT_FAST[@]}"
	printf '"xmasqctl counters" says why; a machine too busy to run both ends in time can be it.\n'
	return 1
}

# interleaved ROUNDS SECONDS KIND...: every context in turn, so that what else the machine
# does falls on all of them
interleaved()
{
	local rounds=$1 seconds=$2 r k c

	shift 2
	for ((r = 1; r <= rounds; r++)); do
		for k; do
			step "$(printf 'round %d of %d, %-22s' "$r" "$rounds" "${KIND_TEXT[$k]}")"
			for c in "${CONTEXTS[@]}"; do
				step_more " $c"
				measure "$r" "$c" "$k" "$seconds"
				step_more " $VALUE"
			done
			step_end
		done
	done
}

declare -A KIND_TEXT=(
	[tcp1]='TCP 1 stream, Gbit/s' [tcp8]='TCP 8 streams, Gbit/s'
	[tcp4]='TCP 4 streams, Gbit/s' [tcp16]='TCP 16 streams, Gbit/s' [tcp64]='TCP 64 streams, Gbit/s'
	[tcprr8]='TCP RR 8 flows /s' [tcprr32]='TCP RR 32 flows /s'
	[udprr8]='UDP RR 8 flows /s' [udprr32]='UDP RR 32 flows /s'
	[udp]='UDP stream, Gbit/s' [tcprr]='TCP round trips /s'
	[udprr]='UDP round trips /s' [crr]='short connections /s'
)

# ---- a capture ----

# Of the masquerade port only flows: nodes keep in touch from that port to that port, and
# probe it with label 0.
CAPTURE_FILTER='udp port 8472 or (port 18477 and not port 32768 and not (src port 18477 and dst port 18477))'

# capture FILE --tcp|--udp CLIENT-ARGS...: node 1's NIC in the xmasq bed while xmt-flow runs
# between pods
capture()
{
	local file=$1 pid server end proto=$2

	shift 2
	bed_exec "$PREFIX" n1 tcpdump -i eth0 -U -w "$file" --immediate-mode "$CAPTURE_FILTER" \
		2> "$M_TMP/tcpdump" &
	pid=$!
	SERVER_PID[tcpdump]=$pid
	bed_exec "$PREFIX" n2p1 "$TOOLS/xmt-flow" server "$proto" --port 5210 > /dev/null 2>&1 &
	server=$!
	SERVER_PID[flow]=$server
	end=$((SECONDS + 10))
	until grep -q 'listening on' "$M_TMP/tcpdump" &&
	      bed "$PREFIX" exec n2p1 -- ss -Hlntu | grep -q ':5210 '; do
		[ "$SECONDS" -lt "$end" ] || die "tcpdump does not start: $(cat "$M_TMP/tcpdump")"
		sleep 0.05
	done
	bed "$PREFIX" exec n1p1 -- "$TOOLS/xmt-flow" client "$proto" --port 5210 \
		--host "$(bed "$PREFIX" ip n2p1)" "$@" > "$M_TMP/flow" 2>&1 ||
		die "a flow from pod to pod failed: $(cat "$M_TMP/flow")"
	# What the kernel has handed to tcpdump by now is what there is to show.
	sleep 0.3
	kill "$pid" "$server"
	wait "$pid" "$server" 2> /dev/null || :
	unset 'SERVER_PID[tcpdump]' 'SERVER_PID[flow]'
}

# ---- what a result begins with ----

git_commit()
{
	git --no-optional-locks -c safe.directory='*' -C "$ROOT" describe --always --dirty 2> /dev/null ||
		echo unknown
}

# result_meta KIND: the machine, and COMMAND, ROUNDS, RUN_SECONDS and LOAD_BEFORE, as JSON
result_meta()
{
	# shellcheck disable=SC2153 # ROUNDS and the like are the caller's
	jq -n --arg kind "$1" --arg date "$(date -u +%Y-%m-%dT%H:%MZ)" --arg kernel "$(uname -r)" \
		--arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
		--argjson cpus "$(nproc)" --arg commit "$(git_commit)" --arg command "$COMMAND" \
		--argjson rounds "$ROUNDS" --argjson seconds "$RUN_SECONDS" \
		--arg load_before "$LOAD_BEFORE" --arg load_after "$(cut -d ' ' -f 1 /proc/loadavg)" \
		'$ARGS.named'
}

# What root wrote belongs to whoever called sudo.
give_back() { [ -z "${SUDO_UID:-}" ] || chown -R "$SUDO_UID:${SUDO_GID:-}" "$1"; }
