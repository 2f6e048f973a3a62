#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Build Kubernetes from Debian's source package, for the tests, and keep the result in a cache.
#
#   build.sh [--print-dir|--print-key]
#
# 1.20 is the newest whose source package is complete; later ones carry only kubectl. It takes 5 to
# 7 minutes on two CPUs. Nothing but the distribution's archive is asked. Below $XMASQ_CACHE
# (/var/cache/xmasq):
#
#   k8s/VERSION-HASH/  kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet
#                      kubectl kubeadm build.log; HASH is that of this file
#
# Three things keep the package from building as it is. With -mod=vendor Go wants go.mod edited, so it
# is built in GOPATH mode. reflect2 1.0.1 in vendor/ crashes when a Go from 1.18 built it: Debian's
# own package has a later one. The OpenAPI definitions of kube-apiserver are generated, and stripped
# from the package: the generator is in vendor/.
set -euo pipefail
export LC_ALL=C

# Without the revision of the package, which changes with security updates.
version=1.20.5+really1.20.2
upstream=1.20.2
go=1.19
packages=("golang-$go-go" golang-github-modern-go-reflect2-dev dpkg-dev)
# kubeadm is for provision.bats.
programs=(kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl kubeadm)

self=$(readlink -f "${BASH_SOURCE[0]}")
cache=${XMASQ_CACHE:-/var/cache/xmasq}/k8s
key=$version-$(sha256sum <"$self" | cut -c 1-12)
dir=$cache/$key
work=$cache/wip

say() { printf 'k8s build: %s\n' "$*" >&2; }
die() {
	say "error: $*"
	exit 1
}

usage() {
	echo "usage: tests/k8s/build.sh [--print-dir|--print-key]"
	echo "  --print-dir  build what is not cached, then print where it is"
	echo "  --print-key  print the name of the cache entry and build nothing"
}

print=
case ${1:-} in
'') ;;
--print-dir) print=dir ;;
--print-key)
	echo "$key"
	exit 0
	;;
-h | --help)
	usage
	exit 0
	;;
*)
	usage >&2
	exit 2
	;;
esac

# done_with: the result, for who asked
done_with() {
	[ -z "$print" ] || echo "$dir"
	exit 0
}

[ ! -e "$dir/build.log" ] || done_with

missing=
for p in "${packages[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=" $p"
done
[ -z "$missing" ] || die "packages are missing: run 'sudo scripts/setup.sh k8s', or: apt-get install$missing"
mkdir -p "$cache" || die "$cache cannot be made: run with sudo, or set XMASQ_CACHE"

# Two that start at once: the second waits and finds it there.
exec 9>"$cache/lock"
flock -n 9 || {
	say "waiting for another build"
	flock 9
}
[ ! -e "$dir/build.log" ] || done_with

log=$cache/build.log
started=$SECONDS
step() {
	say "[$((SECONDS - started)) s] $*"
	printf '\n== %s\n' "$*" >>"$log"
}
trap '[ $? = 0 ] || { tail -n 25 "$log" >&2; say "failed; all of it is in $log"; }' EXIT
: >"$log"

# source_tree: the package's sources at $tree, unpacked only when complete
tree=$work/gopath/src/k8s.io/kubernetes
source_tree() {
	local suite mirror opts found apt=$work/apt

	[ ! -d "$tree" ] || return 0
	step "source package kubernetes $version"
	# shellcheck disable=SC1091 # of the machine
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# shellcheck disable=SC2016 # apt's own
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		"Codename: $suite" | head -n 1)
	[ -n "$mirror" ] || die "apt knows no archive of $suite"
	rm -rf "$apt" "$work/src"
	mkdir -p "$apt/lists/partial" "$work/src" "${tree%/*}"
	# Lists of our own: the machine's apt knows no source packages, and shall not.
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" \
		>"$apt/sources.list"
	opts=(-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=-
		-o Dir::State::lists="$apt/lists" -o Acquire::Retries=3)
	apt-get "${opts[@]}" update >>"$log" 2>&1
	found=$(apt-cache "${opts[@]}" showsrc --only-source kubernetes 2>>"$log" |
		sed -n 's/^Version: //p' | grep -F "$version-" | tail -n 1) ||
		die "$mirror has no source package kubernetes $version; if it has another one that is" \
			"complete, change 'version' in $self"
	# As root apt would hand the download to a user that may not write here.
	(cd "$work/src" && apt-get "${opts[@]}" -o APT::Sandbox::User=root source --only-source \
		"kubernetes=$found" >>"$log" 2>&1)
	mv "$work"/src/kubernetes-*/ "$tree"
	rm -rf "$work/src"
}

# in_tree COMMAND...: with Go as it is needed here
in_tree() {
	(cd "$tree" && env PATH="/usr/lib/go-$go/bin:$PATH" GOPATH="$work/gopath" \
		GOCACHE="$work/gocache" GOFLAGS='' GOPROXY=off CGO_ENABLED=0 GO111MODULE=off "$@")
}

vendored_reflect2() {
	local to=$tree/vendor/github.com/modern-go/reflect2

	rm -f "$to"/*.go "$to"/*.s
	cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.{go,s} "$to"/
}

# openapi_dirs: the packages that are marked for it, as import paths with commas
openapi_dirs() {
	local d

	cd "$tree"
	{
		grep -rl --include='*.go' '+k8s:openapi-gen=' pkg cmd plugin || true
		# The staging packages are links, which grep -r does not follow.
		for d in vendor/k8s.io/*; do
			[ ! -L "$d" ] || grep -rl --include='*.go' --exclude-dir=testdata \
				'+k8s:openapi-gen=' "$d/" || true
		done
	} | grep -vE '^vendor/k8s.io/(code-generator|sample-apiserver)/|_test\.go|/test(ing|data|apigroup)/' |
		xargs -n 1 dirname | sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd,
}

openapi() {
	[ ! -f "$tree/pkg/generated/openapi/zz_generated.openapi.go" ] || return 0
	step "OpenAPI definitions"
	in_tree go build -o "$work/openapi-gen" \
		k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen >>"$log" 2>&1
	in_tree "$work/openapi-gen" --logtostderr -i "$(openapi_dirs)" \
		-p k8s.io/kubernetes/pkg/generated/openapi -O zz_generated.openapi \
		-h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations" \
		>>"$log" 2>&1
}

programs_built() {
	local p v=k8s.io/kubernetes/vendor/k8s.io/component-base/version

	mkdir -p "$work/bin"
	# One after the other, so that there is something to be told; they share the compiler's cache.
	for p in "${programs[@]}"; do
		step "$p"
		in_tree go build -trimpath -tags providerless -o "$work/bin/" \
			-ldflags "-s -w -X $v.gitVersion=v$upstream -X $v.gitMajor=1 -X $v.gitMinor=20
				-X $v.gitTreeState=clean" "k8s.io/kubernetes/cmd/$p" >>"$log" 2>&1
	done
}

say "Kubernetes $upstream for the tests, 5 to 7 minutes; log: $log"
source_tree
vendored_reflect2
openapi
programs_built

# Older results are of no use to anybody.
find "$cache" -mindepth 1 -maxdepth 1 -type d ! -name wip -exec rm -rf {} +
mv "$work/bin" "$dir.part"
mv "$log" "$dir.part/build.log"
mv "$dir.part" "$dir"
rm -rf "$work"
say "done in $((SECONDS - started)) s: $dir"
done_with
