// SPDX-License-Identifier: GPL-2.0-only
/* What happens to packets before their flow is worth an entry: tc_prog/admit.h. */
#include <netinet/in.h>
#include <string.h>

#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"
#include "wire.h"
#include "xmasq.skel.h"

#define AFTER XM_ADMIT_AFTER_DEFAULT

static struct node *n;
static struct xm_flow_key key, rev;
static struct pkt_spec spec;
static struct tunnel_spec tun;
static struct xm_flow flow;
static struct pkt in, inner;
static struct outcome out;

static struct xm_admit *cell(void)
{
	return &n->admit[xm_admit_slot(&key, N_LABELS - 1)];
}

static void set(__u32 count)
{
	*cell() = (struct xm_admit){ .count = count, .at = node_now(n) };
}

/* Nothing was seen of any flow. */
static void begin(struct node *node, __u8 proto)
{
	n = node;
	node_reset(n);
	node_admit(n, 0);
	node_key(n, proto, &key);
	pkt_flip(&rev, &key);
	node_spec(n, &key, &spec);
	node_tunnel(n, XM_OVERLAY_VXLAN, &tun);
	tun.sport = 40000;
}

static void sends(__u64 reasons)
{
	pkt_make(&in, &spec);
	node_run(n, POD_EGRESS, &in, &out);
	expect_through(n, &out, &in, reasons);
}

/* In a segment of @segments, as skb->gso_segs says. */
static void sends_segments(__u32 segments)
{
	struct __sk_buff ctx = { .ifindex = n->pod, .gso_segs = segments, .gso_size = 500 };

	pkt_make(&in, &spec);
	CHECK_EQ(node_run_ctx(n, POD_EGRESS, &in, &ctx, 0, &out), 0);
	expect_through(n, &out, &in, R(NO_FLOW));
}

static void leaves(__u64 reasons)
{
	pkt_make(&inner, &spec);
	pkt_tunnel(&in, &inner, &tun);
	node_run(n, NIC_EGRESS, &in, &out);
	expect(n, &out, UNSPEC, reasons);
}

/* A packet of the reverse flow, in the tunnel from @from; it comes out as it came. */
static void arrives(__be32 from, __u16 sport, __u8 flags, __u64 reasons)
{
	struct tunnel_spec t = tun;
	struct pkt_spec s = spec;

	s.t = rev;
	s.flags = flags;
	t.saddr = from;
	t.daddr = n->addr;
	t.sport = sport;
	pkt_make(&inner, &s);
	pkt_tunnel(&in, &inner, &t);
	node_run(n, NIC_INGRESS, &in, &out);
	expect_through(n, &out, &in, reasons);
}

static void delivered(__u8 flags, __u64 reasons)
{
	struct pkt_spec s = spec;

	s.t = rev;
	s.flags = flags;
	pkt_make(&in, &s);
	node_run(n, POD_INGRESS, &in, &out);
	expect_through(n, &out, &in, reasons);
}

static void counting(__u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";

	tap_case("admit: %s: a pod's packets are counted, until there are enough", what);
	begin(&node_a, proto);
	for (__u32 i = 1; i < AFTER; i++) {
		sends(R(NO_FLOW));
		CHECK_EQ(cell()->count, i);
	}
	sends(R(NO_FLOW));
	CHECK_EQ(cell()->count, XM_ADMITTED);
	sends(R(NO_FLOW));
	CHECK_EQ(cell()->count, XM_ADMITTED);

	tap_case("admit: %s: a segment counts as the packets that it is cut into", what);
	begin(&node_a, proto);
	n->skel->data->admit_after = 40;
	sends_segments(38);
	CHECK_EQ(cell()->count, 38);
	sends_segments(0);
	CHECK_EQ(cell()->count, 39);
	sends_segments(7);
	CHECK_EQ(cell()->count, XM_ADMITTED);

	tap_case("admit: %s: a pause of a second starts the count over", what);
	begin(&node_a, proto);
	set(AFTER - 1);
	cell()->at = node_now(n) - SECOND;
	sends(R(NO_FLOW));
	CHECK_EQ(cell()->count, 1);
	set(AFTER - 1);
	cell()->at = node_now(n) - SECOND + 1000;
	sends(R(NO_FLOW));
	CHECK_EQ(cell()->count, XM_ADMITTED);

	tap_case("admit: %s: with 1 the first packet is enough", what);
	begin(&node_a, proto);
	n->skel->data->admit_after = 1;
	sends(R(NO_FLOW));
	CHECK_EQ(cell()->count, XM_ADMITTED);
}

/* A daddr that the fast path does not look at goes the long way, and is counted there. */
static void counting_long_way(void)
{
	static const char *const rules[] = { "allow egress", NULL };

	tap_case("admit: a packet that only the complete path takes is counted once, too");
	begin(&node_a, IPPROTO_UDP);
	key.daddr = spec.t.daddr = ADDR(241, 1, 2, 3);
	sends(R(NO_FLOW));
	CHECK_EQ(cell()->count, 1);

	tap_case("admit: with rules a packet is counted once, too");
	begin(&node_a, IPPROTO_UDP);
	policy_rules(n, rules);
	sends(R(NO_FLOW));
	CHECK_EQ(cell()->count, 1);

	tap_case("admit: a packet that has a flow is not counted");
	begin(&node_a, IPPROTO_UDP);
	node_ready(n, &key, 77);
	pkt_make(&in, &spec);
	node_run(n, POD_EGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(MASQUERADED));
	CHECK_EQ(cell()->count, 0);
}

static void edges(void)
{
	static const __u8 flags[] = { SYN, SYN | ACK, FIN | ACK, RST };

	for (int i = 0; i < 4; i++) {
		tap_case("admit: flags %#x are not counted, and start the count over", flags[i]);
		begin(&node_a, IPPROTO_TCP);
		set(2);
		spec.flags = flags[i];
		sends(R(TCP_FLAGS));
		CHECK_EQ(cell()->count, 0);
		set(2);
		delivered(flags[i], 0);
		CHECK_EQ(cell()->count, 0);

		tap_case("admit: flags %#x take nothing back that is admitted", flags[i]);
		set(XM_ADMITTED);
		sends(R(TCP_FLAGS));
		delivered(flags[i], 0);
		CHECK_EQ(cell()->count, XM_ADMITTED);
	}

	tap_case("admit: FIN ends a flow whose cell is admitted, sent or delivered");
	for (int way = 0; way < 2; way++) {
		begin(&node_a, IPPROTO_TCP);
		set(XM_ADMITTED);
		node_ready(n, &key, 77);
		spec.flags = FIN | ACK;
		if (way)
			delivered(FIN | ACK, R(FLOW_END));
		else
			sends(R(TCP_FLAGS) | R(FLOW_END));
		node_flow(n, &key, &flow);
		CHECK_EQ(flow.ended, 1);
	}
}

/* Entries that no program would make with such a cell: what is done shows who looks for them. */
static void cold(__u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	__u32 was;

	tap_case("admit: %s: no entry is made at the NIC before that", what);
	begin(&node_a, proto);
	set(AFTER - 1);
	leaves(0);
	CHECK(!node_flow(n, &key, &flow), "there is an entry");
	CHECK_EQ(n->peers[PEER_IDX].seen, 0);

	tap_case("admit: %s: then it is, and the cell knows when", what);
	set(XM_ADMITTED);
	cell()->at -= 5 * SECOND;
	was = node_now(n);
	leaves(R(FLOW_NEW));
	CHECK(node_flow(n, &key, &flow), "there is no entry");
	CHECK_EQ(cell()->count, XM_ADMITTED);
	CHECK(!xm_before(cell()->at, was), "%u before", was - cell()->at);

	tap_case("admit: %s: nor for a packet whose headers are read by the byte", what);
	begin(&node_a, proto);
	tun.type = XM_OVERLAY_GENEVE;
	tun.port = 6081;
	tun.opts = 1;
	leaves(0);
	CHECK(!node_flow(n, &key, &flow), "there is an entry");
	CHECK(n->peers[PEER_IDX].seen, "and the peer was not seen");

	tap_case("admit: %s: what is cold is looked up nowhere", what);
	begin(&node_b, proto);
	node_ready(n, &key, 77);
	node_flow(n, &key, &flow);
	was = flow.nic_in;
	arrives(n->peer_addr, 40000, ACK, 0);
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.nic_in, was);
	CHECK_EQ(flow.stage, XM_STAGE_READY);
	was = flow.in_until = node_now(n) + 5;
	flow.nic_in = node_now(n);
	node_set_flow(n, &key, &flow);
	delivered(ACK, 0);
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.in_until, was);

	tap_case("admit: %s: a packet that finds an entry admits it", what);
	flow.renew_at = node_now(n);
	node_set_flow(n, &key, &flow);
	pkt_make(&in, &spec);
	node_run(n, POD_EGRESS, &in, &out);
	expect(n, &out, UNSPEC, R(RENEWAL));
	CHECK_EQ(cell()->count, XM_ADMITTED);

	tap_case("admit: %s: and when it is not cold, it is", what);
	set(XM_ADMITTED);
	delivered(ACK, R(LEASE_IN));
	arrives(n->peer_addr, 40000, ACK, R(FLOW_DEMOTED));
}

static void tells(void)
{
	tap_case("admit: an owner's packet that tells no label does not look as if it did");
	begin(&node_a, IPPROTO_TCP);
	tun.sport = 500;
	leaves(0);
	CHECK_EQ(pkt_get16(&out.pkt, OFF_L4), 500 | 0x8000);

	tap_case("admit: a label that is told admits, at the node that is not the owner");
	begin(&node_b, IPPROTO_TCP);
	arrives(n->peer_addr, 40000, ACK, 0);
	CHECK_EQ(cell()->count, 0);
	arrives(n->peer_addr, 4000, ACK, 0);
	CHECK_EQ(cell()->count, XM_ADMITTED);

	tap_case("admit: 0 is no label");
	set(1);
	arrives(n->peer_addr, 0, ACK, 0);
	CHECK_EQ(cell()->count, 1);

	tap_case("admit: nor does one of a stranger, or of a peer that is down");
	arrives(ADDR_STR, 4000, ACK, R(PEER_SEEN));
	CHECK_EQ(cell()->count, 1);
	node_peer(n, PEER_IDX, n->peer_addr, PEER_GEN, false);
	arrives(n->peer_addr, 4000, ACK, 0);
	CHECK_EQ(cell()->count, 1);

	tap_case("admit: nor does a number below the labels' bound at the owner");
	begin(&node_a, IPPROTO_TCP);
	arrives(n->peer_addr, 4000, ACK, 0);
	CHECK_EQ(cell()->count, 0);
}

static void strangers(void)
{
	tap_case("admit: a SYN shows a node that is no peer yet, coming and going");
	begin(&node_a, IPPROTO_TCP);
	arrives(ADDR_STR, 40000, SYN, R(PEER_SEEN));
	begin(&node_a, IPPROTO_TCP);
	tun.daddr = ADDR_STR;
	spec.flags = SYN;
	leaves(R(PEER_SEEN));

	tap_case("admit: what is cold does not, and what is admitted does");
	begin(&node_a, IPPROTO_UDP);
	arrives(ADDR_STR, 40000, 0, 0);
	set(XM_ADMITTED);
	arrives(ADDR_STR, 40000, 0, R(PEER_SEEN));
}

static struct pkt_spec spec_a, spec_b;

/* Request and answer until both are masqueraded. Return: how many of them, 99 for more than @limit */
static int until_fast(__u8 proto, __u32 after_a, __u32 after_b, int limit)
{
	struct xm_flow_key a, b;

	begin(&node_b, proto);
	begin(&node_a, proto);
	node_a.skel->data->admit_after = after_a;
	node_b.skel->data->admit_after = after_b;
	node_key(&node_a, proto, &a);
	node_key(&node_b, proto, &b);
	node_spec(&node_a, &a, &spec_a);
	node_spec(&node_b, &b, &spec_b);
	if (proto == IPPROTO_TCP) {
		spec_a.flags = SYN;
		CHECK_EQ(wire_carry(&node_a, &spec_a, XM_OVERLAY_VXLAN), OVERLAY);
		spec_b.flags = SYN | ACK;
		CHECK_EQ(wire_carry(&node_b, &spec_b, XM_OVERLAY_VXLAN), OVERLAY);
	}
	spec_a.flags = spec_b.flags = ACK;
	for (int i = 1; i <= limit; i++) {
		enum way ways[2];

		ways[0] = wire_carry(&node_a, &spec_a, XM_OVERLAY_VXLAN);
		ways[1] = wire_carry(&node_b, &spec_b, XM_OVERLAY_VXLAN);
		CHECK(ways[0] >= OVERLAY && ways[1] >= OVERLAY, "round %d: lost, %d %d", i, ways[0],
		      ways[1]);
		if (ways[0] == FAST && ways[1] == FAST)
			return i;
	}
	return 99;
}

static void agrees(__u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	int one, several;

	tap_case("admit: %s: both masquerade within 10 packets each way, the handshake's included",
		 what);
	several = until_fast(proto, AFTER, AFTER, 20);
	CHECK(several + (proto == IPPROTO_TCP) <= 10, "fast in round %d", several);
	tap_note("%s: fast in round %d", what, several);

	tap_case("admit: %s: packets that are counted are all that it takes longer", what);
	one = until_fast(proto, 1, 1, 20);
	CHECK_EQ(several - one, AFTER - 1);
	CHECK_EQ(until_fast(proto, 100, 100, 200) - one, 99);

	tap_case("admit: %s: nodes that differ agree when the owner has seen enough", what);
	CHECK(until_fast(proto, AFTER, 10000, 20) <= several + 3, "not fast");
	CHECK(until_fast(proto, 30, 1, 60) <= one + 30, "not fast");
	CHECK_EQ(until_fast(proto, 10000, 1, 60), 99);
}

void suite_admit(void)
{
	static const __u8 protos[] = { IPPROTO_TCP, IPPROTO_UDP };

	for (int i = 0; i < 2; i++) {
		counting(protos[i]);
		cold(protos[i]);
		agrees(protos[i]);
	}
	counting_long_way();
	edges();
	tells();
	strangers();
}
