# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# where-docker.bash - for ./start and ./stop: the three in containers, by docker-compose.yaml.

BIN=/bin
WWW=/www

on() { docker exec -i "afxdp-$1" "${@:2}"; }

compose() {
	local files=(-f docker-compose.yaml) version
	version=$(docker version -f '{{.Server.Version}}' 2>/dev/null || echo 20)
	if [ "${version%%.*}" -ge 23 ]; then
		files+=(-f docker-compose.override.yaml)
	else
		files+=(-f docker-compose.docker20.yaml)
	fi
	if command -v docker-compose >/dev/null; then
		docker-compose "${files[@]}" -p afxdp "$@"
	else
		docker compose "${files[@]}" -p afxdp "$@"
	fi
}

where_up() {
	local context=$build/afxdp/image
	mkdir -p "$context"
	./image.sh "$context"
	# The classic builder needs nothing but the daemon.
	DOCKER_BUILDKIT=0 docker build -q -t afxdp "$context" >/dev/null
	where_down
	# Several routers take their turns, so the container itself runs none.
	AFXDP_ROUTER="trap 'exit 0' TERM; sleep 1000000000 & wait" compose up -d >>"$OUT/client.log" 2>&1 || {
		tail -n 20 "$OUT/client.log" >&2
		return 1
	}
	# On this machine, since client and server have the same files.
	www "$context"
}

where_down() {
	compose down -t 1 >/dev/null 2>&1 || :
}
