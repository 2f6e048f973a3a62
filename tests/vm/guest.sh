#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Run a part of the tests inside a virtual machine; TAP on stdout.
#
#   scripts/vm.sh run [--env XM_MODE=rpeer ...] -- tests/vm/guest.sh WHAT
#
#   prog    the BPF programs on crafted packets
#   edge    the daemon's side of the kernel
#   rpeer   the kernel patch itself; $RPEER_ROUNDS pods made and deleted under traffic (200)
#   bed     the test bed's overlays, underlays and kinds of pods
#   smoke   the mode, traffic, pods that go, cleanup, on the present bed; with netkit, and with rpeer on
#           Open vSwitch, traffic between pods of one node; with netkit, rules
#   afxdp   xsk-router beside another XDP program (libxdp's dispatcher), also when it is killed
#   cards   xsk-router on a network card; needs vm.sh --cards
#   faults  some of what breaks, on three nodes under load; conntrack really full, and the date
#   full    every test of the datapath, on the present bed (XM_OVERLAY, XM_UNDERLAY,
#           XM_POD, XM_MODE)
#
# Of smoke, faults and full only what matches $XM_ONLY, when that is set.
set -euo pipefail
cd "$(dirname "$0")/../.."
shopt -s nullglob

BUILD=${BUILD:-build}
# Those about the daemon (ctl, daemon, restart, peers) do not depend on the kernel.
datapath=(modes local traffic wire transparency policy security nat csum bounds)

# Of rules, what the programs do; the rest is the daemon's.
rules='egress denied|ingress denied|overlay: a live flow leaves|what never takes the fast path|IPv6: met'

# netns FILTER FILE...: FILTER as bats takes it, "" for all
netns() {
	local only=${XM_ONLY:-$1}

	shift
	bats --formatter tap ${only:+--filter "$only"} "${@/#/tests/netns/}"
}

smoke='status says the mode|TCP and UDP: 95|a pod deleted under traffic|cleanup leaves no program'

case ${1:-} in
prog) exec "$BUILD/tests/prog/xmasq-prog-test" ;;
edge) CMOCKA_MESSAGE_OUTPUT=TAP exec "$BUILD/tests/edge/test_edge" ;;
rpeer) exec "$BUILD/tests/vm/rpeer/xmt-rpeer" --rounds "${RPEER_ROUNDS:-200}" ;;
bed) exec bats --formatter tap tests/vm/guest/testbed.bats ;;
smoke)
	files=(tests/netns/modes.bats)
	# Each of the redirects that other modes have for pods of one node, once.
	case ${XM_MODE:-}/${XM_OVERLAY:-} in
	netkit/* | rpeer/ovs-*) files+=(tests/netns/local.bats) smoke+='|pods of one node: TCP and UDP' ;;
	esac
	# netkit's hook for what a pod sends is another; a rule on each of the two.
	case ${XM_MODE:-} in
	netkit) files+=(tests/netns/rules.bats) smoke+='|egress denied|ingress denied' ;;
	esac
	exec bats --formatter tap --filter "${XM_ONLY:-^($smoke)}" "${files[@]}"
	;;
afxdp)
	# Kernels of ours have it: no test may skip for want of it.
	export AFXDP_DISPATCHER="a kernel of ours, and"
	exec bats --formatter tap --filter dispatcher tests/afxdp/e2e/router.bats
	;;
cards)
	export AFXDP_CARDS="eth0 eth1"
	exec bats --formatter tap tests/afxdp/e2e/cards.bats
	;;
faults)
	exec bats --formatter tap ${XM_ONLY:+--filter "$XM_ONLY"} tests/faults/{conntrack,machine,cni,net}.bats
	;;
full)
	rc=0
	netns '' "${datapath[@]/%/.bats}" || rc=$?
	# On Open vSwitch they have not been tried.
	case ${XM_OVERLAY:-} in
	ovs-*) ;;
	*) netns "^($rules)" rules.bats || rc=$? ;;
	esac
	exit $rc
	;;
*)
	echo "usage: tests/vm/guest.sh prog|edge|rpeer|bed|smoke|afxdp|cards|faults|full" >&2
	exit 2
	;;
esac
