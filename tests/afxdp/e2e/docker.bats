#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# ./start in containers, with a Docker daemon of its own in a network namespace of its own.

load lib

setup() {
	e2e_env
	DIR=$(mktemp -d /tmp/xadocker.XXXXXX)
	export DOCKER_HOST=unix://$DIR/sock
	# The Docker that the distribution packages, whatever else is in the path.
	PATH=/usr/bin:/usr/sbin:$PATH
}

teardown() {
	local pid
	tests/afxdp/stop >/dev/null 2>&1 || :
	for pid in "${PIDS[@]}"; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	[ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 30 "$DIR"/*.log "$DIR"/result/*.log || :
	[ ! -e /run/netns/xadocker ] || ip netns del xadocker
	rm -rf "$DIR"
}

daemon() {
	ip netns add xadocker
	ip -n xadocker link set lo up
	nsenter --net=/run/netns/xadocker -- dockerd --data-root "$DIR/data" --exec-root "$DIR/exec" \
		-H "unix://$DIR/sock" --pidfile "$DIR/pid" >"$DIR/dockerd.log" 2>&1 3>&- </dev/null &
	PIDS+=($!)
	# shellcheck disable=SC2016 # evaluated each time
	wait_until 60 eval 'docker info >/dev/null 2>&1 || ! kill -0 ${PIDS[-1]} 2>/dev/null'
	docker info >/dev/null 2>&1
}

@test "Docker: everything gets through the router, and nothing is left" {
	command -v dockerd >/dev/null || skip "allowed: there is no dockerd"
	daemon || skip "allowed: dockerd does not start here: $(tail -n 1 "$DIR/dockerd.log")"
	# In its network namespace also the commands: the bridge is there.
	nsenter --net=/run/netns/xadocker -- tests/afxdp/start --docker --rounds 1 --seconds 1 \
		--routers direct,xsk --measures ping,http,tcp,udp --result "$DIR/result"
	run ! grep -E '_wrong|http_wrong' "$DIR/result/raw.csv"
	grep -q 'xsk,http_100m_s,' "$DIR/result/raw.csv"
	grep -q 'native, copies' "$DIR/result/router.log"
	[ "$(awk -F, '$2 == "xsk" && $3 == "ping_loss_percent" { print $4 }' "$DIR/result/raw.csv")" = 0 ]
	[ -z "$(docker ps -aq)" ]
}

@test "Docker: the environment comes up by docker-compose alone" {
	command -v dockerd >/dev/null || skip "allowed: there is no dockerd"
	daemon || skip "allowed: dockerd does not start here: $(tail -n 1 "$DIR/dockerd.log")"
	tests/afxdp/image.sh "$DIR/image"
	DOCKER_BUILDKIT=0 docker build -q -t afxdp "$DIR/image"
	caps=override
	[[ $(docker version -f '{{.Server.Version}}') != 20.* ]] || caps=docker20
	docker-compose -f tests/afxdp/docker-compose.yaml -f tests/afxdp/docker-compose.$caps.yaml \
		-p afxdp up -d
	wait_until 20 docker exec afxdp-client ping -q -c 1 -W 1 172.16.239.12
	docker exec afxdp-client ping -c 1 172.16.239.12 | grep -q ttl=63
	run -0 docker logs afxdp-router
	[[ $output == *"eth0: native, copies"* ]]
	docker stop -t 10 afxdp-router
	[ "$(docker inspect -f '{{.State.ExitCode}}' afxdp-router)" = 0 ]
}
