#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bench-apps.sh - "bench.sh --apps": what programs that people run get from node to node and from
# pod to pod. The beds and their ways are measure.sh's; servers and loads are Debian's.
#
# All servers of all contexts exist at the same time, with files of their own in a directory that
# is removed at the end, and run as nobody: PostgreSQL refuses root, and none of them needs it.
# Server and load share a CPU, for the reason that measure.sh gives: the rate is then the inverse of
# the CPU time of a request, the programs' own included.

set -Eeuo pipefail

ROOT=$(readlink -f "$(dirname "${BASH_SOURCE[0]}")/../..")
PREFIX=xmapps
# Each run has connections of its own to learn, which of a few thousand large packets is 1 %.
: "${XMASQ_MIN_FAST:=0.98}"
# shellcheck source=scripts/lib/measure.sh
. "$ROOT/scripts/lib/measure.sh"

# What a kind is, for the progress; scripts/apps.py has the names for tables.
KIND_TEXT=(
	[http1k]='nginx 1 KiB, kept /s' [http1k-close]='nginx 1 KiB, new /s'
	[http1m]='nginx 1 MiB, kept /s' [http1m-close]='nginx 1 MiB, new /s'
	[redis]='Redis GET /s' [redis16]='Redis GET, 16 at once /s'
	[pgbench]='PostgreSQL select /s' [memcached]='memcached 9:1 /s'
)
ALL_KINDS=(http1k http1k-close http1m http1m-close redis redis16 pgbench memcached)
SHORT_KINDS=(http1k-close http1m-close)
CONNECTIONS=16 SCALE=5

help()
{
	cat <<HELP
usage: bench.sh --apps [--rounds N] [--seconds S] [--only KIND]... [--out DIR] [--quick]

  --rounds N    rounds of every measurement in every context (default 5)
  --seconds S   length of one measurement (default 2)
  --only KIND   one of these, may be repeated (default: all):
                ${ALL_KINDS[*]}
  --out DIR     where results go (default bench/)
  --quick       2 rounds of 1 s: does it work?

Throughput, 99th percentile of latency and CPU time per request, $CONNECTIONS connections at a time, of
nginx (wrk), Redis (redis-benchmark), PostgreSQL (pgbench) and memcached (memcaslap) from node to
node, and from pod to pod over the overlay and over xmasq. Writes apps.json (every sample, and on
what it was taken), apps.md and apps.svg, and prints the table. Needs root and the packages of
'scripts/setup.sh bench'. With the defaults it takes about 8 minutes, in which the machine should
do nothing else.

exit status: 0 done, 1 something failed or was not on the fast path, 2 wrong arguments
HELP
}

misused() { printf "bench.sh: %s\nTry 'scripts/bench.sh --apps --help'.\n" "$*" >&2; exit 2; }

number_or_misused()
{
	[[ ${2:-} =~ ^[1-9][0-9]{0,3}$ ]] || misused "$1: give a number from 1 to 9999"
}

ROUNDS=5 RUN_SECONDS=2 OUT=$ROOT/bench KINDS=()
# shellcheck disable=SC2034 # result_meta prints it
COMMAND="scripts/bench.sh${*:+ $*}"
while [ $# -gt 0 ]; do
	case $1 in
	--apps)		shift ;;
	--rounds)	number_or_misused "$@"; ROUNDS=$2; shift 2 ;;
	--seconds)	number_or_misused "$@"; RUN_SECONDS=$2; shift 2 ;;
	--only)		[[ " ${ALL_KINDS[*]} " == *" ${2:-} "* ]] || misused "--only: give one of ${ALL_KINDS[*]}"
			KINDS+=("$2"); shift 2 ;;
	--out)		[ -n "${2:-}" ] || misused "--out: its value is missing"; OUT=$2; shift 2 ;;
	--quick)	ROUNDS=2 RUN_SECONDS=1; shift ;;
	-h|--help)	help; exit 0 ;;
	*)		misused "'$1' is unknown" ;;
	esac
done
[ ${#KINDS[@]} != 0 ] || KINDS=("${ALL_KINDS[@]}")

# ---- servers ----

UNPRIVILEGED=(setpriv --reuid nobody --regid nogroup --clear-groups)
WORK='' PG_BIN='' NGINX=''
declare -A PORT=([nginx]=5211 [redis]=5212 [postgres]=5213 [memcached]=5214)

wants() { [[ " ${KINDS[*]}" == *" $1"* ]]; }

need()
{
	command -v "$1" > /dev/null || die "$1 is missing: run 'scripts/setup.sh demo bench'"
}

# Debian has servers where only root looks.
find_programs()
{
	local dir p

	PATH=$PATH:/usr/sbin:/sbin
	need setpriv
	if wants http; then need nginx; need wrk; NGINX=$(command -v nginx); fi
	if wants redis; then for p in redis-server redis-benchmark redis-cli; do need $p; done; fi
	if wants memcached; then need memcached; need memcaslap; fi
	if wants pgbench; then
		for dir in /usr/lib/postgresql/*/bin; do
			[ ! -x "$dir/postgres" ] || PG_BIN=$dir
		done
		[ -n "$PG_BIN" ] ||
			die "no PostgreSQL in /usr/lib/postgresql: run 'scripts/setup.sh demo bench'"
		need "$PG_BIN/pgbench"
	fi
}

quietly()
{
	"$@" > "$WORK/log" 2>&1 || { tail -n 20 "$WORK/log" >&2; die "'$*' failed: its messages are above"; }
}

make_files()
{
	local c

	chmod 711 "$WORK"
	mkdir "$WORK/www"
	# Bytes that no device on the way can make less of.
	head -c 1024 /dev/urandom > "$WORK/www/1k"
	head -c 1048576 /dev/urandom > "$WORK/www/1m"
	for c in "${CONTEXTS[@]}"; do
		mkdir "$WORK/$c" "$WORK/$c/redis" "$WORK/$c/nginx"
		cat > "$WORK/$c/nginx.conf" <<-END
			daemon off;
			worker_processes 1;
			pid $WORK/$c/nginx/pid;
			events { worker_connections 1024; }
			http {
				access_log off;
				client_body_temp_path $WORK/$c/nginx/body;
				proxy_temp_path $WORK/$c/nginx/proxy;
				fastcgi_temp_path $WORK/$c/nginx/fastcgi;
				uwsgi_temp_path $WORK/$c/nginx/uwsgi;
				scgi_temp_path $WORK/$c/nginx/scgi;
				sendfile on;
				tcp_nopush on;
				open_file_cache max=16;
				open_file_cache_valid 3600s;
				keepalive_requests 1000000000;
				server { listen ${PORT[nginx]} backlog=1024; root $WORK/www; }
			}
		END
	done
	chown -R nobody:nogroup "$WORK"/*/
}

# One data directory, copied: the tables are the same everywhere.
make_database()
{
	local c first=$WORK/${CONTEXTS[0]}/pg socket=$WORK/pgsocket

	step "a PostgreSQL database of scale $SCALE"
	mkdir "$socket"
	chown nobody:nogroup "$socket"
	cd "$WORK"
	quietly "${UNPRIVILEGED[@]}" "$PG_BIN/initdb" -D "$first" -U bench -A trust -N --locale=C -E UTF8
	printf 'host all all 0.0.0.0/0 trust\n' >> "$first/pg_hba.conf"
	printf '%s\n' 'fsync = off' 'autovacuum = off' 'shared_buffers = 256MB' 'jit = off' \
		"unix_socket_directories = '$socket'" >> "$first/postgresql.conf"
	# Of nobody, and without a network: it is only for making the tables.
	quietly "${UNPRIVILEGED[@]}" "$PG_BIN/pg_ctl" -D "$first" -w -t 60 -l "$WORK/${CONTEXTS[0]}/pg.log" \
		-o "-c listen_addresses='' -p ${PORT[postgres]}" start
	PG_MAKING=$first
	quietly "$PG_BIN/createdb" -h "$socket" -p "${PORT[postgres]}" -U bench bench
	quietly "$PG_BIN/pgbench" -h "$socket" -p "${PORT[postgres]}" -U bench -i -q -s "$SCALE" bench
	quietly "$PG_BIN/vacuumdb" -h "$socket" -p "${PORT[postgres]}" -U bench --freeze --analyze bench
	quietly "${UNPRIVILEGED[@]}" "$PG_BIN/pg_ctl" -D "$first" -w -t 60 -m fast stop
	PG_MAKING=''
	for c in "${CONTEXTS[@]:1}"; do
		cp -a "$first" "$WORK/$c/pg"
	done
	cd "$ROOT"
	step_end " done"
}

listening()
{
	local c=$1 port=$2 end=$((SECONDS + 30)) name=$3

	until at "$c" 2 ss -Hlnt | grep -q ":$port "; do
		if [ "$SECONDS" -ge "$end" ] || ! kill -0 "${SERVER_PID[$c:$name]}" 2> /dev/null; then
			cat "$M_TMP/server-$c-$name.log" >&2
			die "$name of '$c' does not listen on port $port after 30 s: its messages are above"
		fi
		sleep 0.05
	done
}

servers_start()
{
	local c name

	for c in "${CONTEXTS[@]}"; do
		mkdir -p "$WORK/$c/pgsocket"
		chown nobody:nogroup "$WORK/$c/pgsocket"
		! wants http || server nginx "$c" "$CPU_A" "${UNPRIVILEGED[@]}" \
			"$NGINX" -p "$WORK/$c/nginx" -e stderr -c "$WORK/$c/nginx.conf"
		! wants redis || server redis "$c" "$CPU_A" "${UNPRIVILEGED[@]}" redis-server \
			--port "${PORT[redis]}" --bind 0.0.0.0 --protected-mode no --save '' --appendonly no \
			--dir "$WORK/$c/redis"
		! wants pgbench || server postgres "$c" "$CPU_A" "${UNPRIVILEGED[@]}" "$PG_BIN/postgres" \
			-D "$WORK/$c/pg" -p "${PORT[postgres]}" -c listen_addresses='*' \
			-c unix_socket_directories="$WORK/$c/pgsocket"
		! wants memcached || server memcached "$c" "$CPU_A" "${UNPRIVILEGED[@]}" \
			memcached -p "${PORT[memcached]}" -U 0 -t 1 -m 512
		at "$c" 1 sysctl -qw net.ipv4.tcp_tw_reuse=1
	done
	for c in "${CONTEXTS[@]}"; do
		for name in nginx redis postgres memcached; do
			[ -z "${SERVER_PID[$c:$name]:-}" ] || listening "$c" "${PORT[$name]}" "$name"
		done
	done
}

# ---- loads ----

declare -A REQUESTS=() # of redis-benchmark, which has no time: CONTEXT:KIND

# redis_requests CONTEXT KIND ARGS...: as many as fit into the time
redis_requests()
{
	local context=$1 kind=$2 rps

	shift 2
	at "$context" 1 "$@" -n 5000 > "$WORK/redis" 2>&1 ||
		{ cat "$WORK/redis" >&2; die "'$*' failed, $context: its messages are above"; }
	rps=$(awk -F '"' '$2 == "GET" { print int($4) }' "$WORK/redis")
	[[ $rps =~ ^[1-9] ]] || die "cannot read what '$*' wrote: $(cat "$WORK/redis")"
	REQUESTS[$context:$kind]=$((rps * RUN_SECONDS))
}

# What runs at the near end for a kind, in CMD; the server that answers, in SERVER.
kind_command()
{
	local context=$1 kind=$2 seconds=$3 ip wrk redis

	ip=$(bed "$(context_bed "$context")" ip "$(context_end "$context" 2)")
	wrk=(wrk -t 1 -c "$CONNECTIONS" -d "${seconds}s" --latency)
	redis=(redis-benchmark -h "$ip" -p "${PORT[redis]}" --csv -t get -d 64 -c "$CONNECTIONS")
	# shellcheck disable=SC2034 # measure() reads it
	CLIENT_CPU=$CPU_A
	case $kind in
	http*)		SERVER=nginx ;;
	redis*)		SERVER=redis ;;
	pgbench)	SERVER=postgres ;;
	memcached)	SERVER=memcached ;;
	esac
	case $kind in
	*-close)	wrk+=(-H 'Connection: close') ;;
	redis16)	redis+=(-P 16) ;;
	esac
	case $kind in
	http1k*)	CMD=("${wrk[@]}" "http://$ip:${PORT[nginx]}/1k") ;;
	http1m*)	CMD=("${wrk[@]}" "http://$ip:${PORT[nginx]}/1m") ;;
	redis*)		if [ -z "${REQUESTS[$context:$kind]:-}" ]; then
				at "$context" 1 redis-cli -h "$ip" -p "${PORT[redis]}" \
					SET key:__rand_int__ "$(printf '%064d' 0)" > /dev/null
				redis_requests "$context" "$kind" "${redis[@]}"
			fi
			CMD=("${redis[@]}" -n "${REQUESTS[$context:$kind]}") ;;
	pgbench)	rm -f "$WORK"/pgbench.*
			CMD=("$PG_BIN/pgbench" -h "$ip" -p "${PORT[postgres]}" -U bench -n -S -M prepared
			     -c "$CONNECTIONS" -j 1 -T "$seconds" -l "--log-prefix=$WORK/pgbench" bench) ;;
	memcached)	CMD=(memcaslap -s "$ip:${PORT[memcached]}" -T 1 -c "$CONNECTIONS" -t "${seconds}s"
			     -S "${seconds}s" -F "$WORK/memcaslap") ;;
	esac
}

write_sample()
{
	"$ROOT/scripts/apps.py" sample --round "$1" --context "$2" --kind "$3" --fast "$4" \
		--cpu "$M_TMP/cpu" --out "$M_TMP/out" --log "$WORK/pgbench" \
		--requests "${REQUESTS[$2:$3]:-0}"
}

# ---- the result ----

commands_json()
{
	local k SERVER CMD CLIENT_CPU

	for k in "${KINDS[@]}"; do
		kind_command xmasq "$k" "$RUN_SECONDS"
		jq -n --arg k "$k" --arg c "${CMD[*]//$WORK/DIR}" '{ ($k): $c }'
	done | jq -cs add
}

versions_json()
{
	{
		! wants http || "$NGINX" -v 2>&1
		! wants redis || redis-server --version | cut -d ' ' -f 1-3
		! wants pgbench || "$PG_BIN/postgres" --version
		! wants memcached || memcached --version
	} | jq -Rsc 'split("\n") | map(select(. != ""))'
}

write_results()
{
	jq -n --argjson meta "$(result_meta apps)" --argjson commands "$(commands_json)" \
		--argjson versions "$(versions_json)" --argjson connections "$CONNECTIONS" \
		--slurpfile samples "$SAMPLES" '
		{ meta: ($meta + { connections: $connections, versions: $versions, commands: $commands }),
		  samples: $samples }' > "$OUT/apps.json"
	"$ROOT/scripts/apps.py" markdown "$OUT/apps.json" > "$OUT/apps.md"
	"$ROOT/scripts/plot.py" "$OUT/apps.json" > "$OUT/apps.svg"
	give_back "$OUT"
}

PG_MAKING=''

cleanup()
{
	local p end

	[ -z "$PG_MAKING" ] || "${UNPRIVILEGED[@]}" "$PG_BIN/pg_ctl" -D "$PG_MAKING" -m immediate stop \
		> /dev/null 2>&1 || :
	# A server that still writes would keep its directory from being removed.
	for p in "${SERVER_PID[@]}"; do
		kill -INT "$p" 2> /dev/null || :
	done
	end=$((SECONDS + 10))
	for p in "${SERVER_PID[@]}"; do
		while kill -0 "$p" 2> /dev/null && [ "$SECONDS" -lt "$end" ]; do
			sleep 0.05
		done
		kill -KILL "$p" 2> /dev/null || :
	done
	measure_down
	[ -z "$WORK" ] || rm -rf -- "$WORK"
}

trap cleanup EXIT
trap 'step_end " interrupted: cleaning up"; exit 130' INT
trap 'exit 143' TERM HUP

[ "$(id -u)" = 0 ] || die "namespaces and BPF need root: run this with sudo"
find_programs
mkdir -p "$OUT"
WORK=$(mktemp -d)
SAMPLES=$WORK/samples
# shellcheck disable=SC2034 # result_meta prints it
LOAD_BEFORE=$(cut -d ' ' -f 1 /proc/loadavg)
printf '%sxmasq applications%s: %d rounds of %d s\n\n' "$BOLD" "$PLAIN" "$ROUNDS" "$RUN_SECONDS"
make_files
printf 'key\n32 32 1\nvalue\n512 512 1\ncmd\n0 0.1\n1 0.9\n' > "$WORK/memcaslap"
! wants pgbench || make_database
measure_up
interleaved "$ROUNDS" "$RUN_SECONDS" "${KINDS[@]}"
write_results
heading "$OUT/apps.md"
cat "$OUT/apps.md"
printf '\n'
busy_note
printf 'Wrote apps.json, apps.md and apps.svg to %s in %d s\n' "$OUT" "$SECONDS"
verdict_fast
