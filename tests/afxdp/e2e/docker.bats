#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
#
# The environment in containers, with a Docker daemon of its own in a network namespace of its own.

load lib

setup_file() {
	DIR=$(mktemp -d /tmp/xadocker.XXXXXX)
	# The Docker that the distribution packages, whatever else is in the path.
	export DIR DOCKER_HOST=unix://$DIR/sock PATH=/usr/bin:/usr/sbin:$PATH WHY_NOT=
	command -v dockerd >/dev/null || {
		WHY_NOT="there is no dockerd; scripts/setup.sh docker installs it"
		return
	}
	[ ! -e /run/netns/xadocker ] || ip netns del xadocker
	ip netns add xadocker
	ip -n xadocker link set lo up
	nsenter --net=/run/netns/xadocker -- dockerd --data-root "$DIR/data" --exec-root "$DIR/exec" \
		-H "$DOCKER_HOST" --pidfile "$DIR/pid" >"$DIR/dockerd.log" 2>&1 3>&- </dev/null &
	DOCKERD=$!
	export DOCKERD
	# shellcheck disable=SC2016 # evaluated each time
	wait_until 60 eval 'docker info >/dev/null 2>&1 || ! kill -0 $DOCKERD 2>/dev/null'
	docker info >/dev/null 2>&1 ||
		WHY_NOT="dockerd does not start here: $(tail -n 1 "$DIR/dockerd.log")"
}

teardown_file() {
	if [ -n "${DOCKERD:-}" ]; then
		kill "$DOCKERD" 2>/dev/null || :
		wait_until 20 eval "! kill -0 $DOCKERD 2>/dev/null"
		ip netns del xadocker
	fi
	rm -rf "$DIR"
}

setup() {
	[ -z "$WHY_NOT" ] || skip "allowed: $WHY_NOT"
	e2e_env
}

teardown() {
	[ -z "$WHY_NOT" ] || return 0
	[ -n "${BATS_TEST_COMPLETED:-}" ] || tail -n 30 "$DIR"/*.log "$DIR"/result/*.log || :
	tests/afxdp/stop >/dev/null 2>&1 || :
}

@test "the environment comes up by docker-compose alone, and ends orderly" {
	local caps=override

	[[ $(docker version -f '{{.Server.Version}}') != 20.* ]] || caps=docker20
	tests/afxdp/image.sh "$DIR/image"
	DOCKER_BUILDKIT=0 docker build -q -t afxdp "$DIR/image"
	docker-compose -f tests/afxdp/docker-compose.yaml -f tests/afxdp/docker-compose.$caps.yaml \
		-p afxdp up -d
	wait_until 20 docker exec afxdp-client ping -q -c 1 -W 1 172.16.239.12
	docker exec afxdp-client ping -c 1 172.16.239.12 | grep -q ttl=63
	run -0 docker logs afxdp-router
	[[ $output == *"eth0: native, copies"* ]]
	[ "$(docker inspect -f '{{.HostConfig.Privileged}}' afxdp-router)" = false ]
	docker stop -t 10 afxdp-router
	[ "$(docker inspect -f '{{.State.ExitCode}}' afxdp-router)" = 0 ]
}

@test "./start --docker: everything gets through the router, and nothing is left" {
	# In its network namespace also the commands: the bridge is there.
	nsenter --net=/run/netns/xadocker -- tests/afxdp/start --docker --rounds 1 --seconds 1 \
		--routers nft,tc,xsk --measures ping,http,tcp,udp --result "$DIR/result"
	run ! grep _wrong "$DIR/result/raw.csv"
	for router in nft tc xsk; do
		grep -q "$router,http_100m_s," "$DIR/result/raw.csv"
		grep -q "$router,tcp8_down_gbit," "$DIR/result/raw.csv"
	done
	grep -q 'native, copies' "$DIR/result/router.log"
	[ "$(awk -F, '$2 == "xsk" && $3 == "ping_loss_percent" { print $4 }' "$DIR/result/raw.csv")" = 0 ]
	[ -z "$(docker ps -aq)" ]
}
