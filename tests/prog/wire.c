// SPDX-License-Identifier: GPL-2.0-only
#include "wire.h"

#include <netinet/in.h>
#include <string.h>

#include <linux/bpf.h>

#include "tap.h"

static struct node *other(const struct node *n)
{
	return n == &node_a ? &node_b : &node_a;
}

static void eth_check(struct pkt *p, const struct node *from)
{
	/* One wire: the addresses towards the peer are the same at both ends. */
	if (memcmp(p->data, from->nic_eth, XM_ETH_LEN))
		tap_fail("node %s: wrong Ethernet header on the wire", from->name);
}

/* Runs NIC_EGRESS with a mark; what the redirect and the CNI hand to it. */
static int leave(struct node *n, const struct pkt *p, __u32 mark, struct outcome *o)
{
	struct __sk_buff ctx = { .ifindex = n->nic, .mark = mark };
	int err = node_run_ctx(n, NIC_EGRESS, p, &ctx, 0, o);

	if (err)
		tap_fail("TEST_RUN: %s", strerror(-err));
	if (o->verdict == UNSPEC && o->mark)
		tap_fail("node %s: mark %#x left on the wire", n->name, o->mark);
	return o->verdict;
}

bool wire_send(struct node *from, const struct pkt_spec *s, __u16 type, struct wire_frame *f)
{
	static __u16 source = 0x1000;
	struct tunnel_spec t;
	struct outcome o, out;
	const char *bad;

	f->from = from;
	f->to = other(from);
	f->type = type;
	pkt_make(&f->sent, s);
	node_run(from, POD_EGRESS, &f->sent, &o);
	f->fast = o.verdict == REDIRECT;
	if (f->fast) {
		f->pkt = o.pkt;
		if (leave(from, &f->pkt, o.mark, &out) != UNSPEC)
			return false;
		pkt_same(&out.pkt, &f->pkt, "masqueraded packet at the NIC");
	} else if (o.verdict == UNSPEC) {
		struct pkt inner = o.pkt;

		pkt_same(&o.pkt, &f->sent, "packet left to the CNI");
		memcpy(inner.data, from->pod_eth, XM_ETH_LEN); /* any will do */
		inner.data[OFF_IP + 8]--;
		pkt_fix(&inner);
		node_tunnel(from, type, &t);
		t.csum = type == XM_OVERLAY_GENEVE;
		t.sport = source += 0x0701;
		pkt_tunnel(&f->pkt, &inner, &t);
		if (leave(from, &f->pkt, 0, &out) != UNSPEC)
			return false;
	} else {
		tap_fail("node %s: verdict %d for the pod's packet", from->name, o.verdict);
		return false;
	}
	f->pkt = out.pkt;
	bad = pkt_bad(&f->pkt);
	if (bad)
		tap_fail("node %s: on the wire: %s", from->name, bad);
	eth_check(&f->pkt, from);
	return true;
}

static void same_for_pod(const struct wire_frame *f, const struct pkt *got)
{
	struct pkt want = f->sent;

	memcpy(want.data, f->to->pod_eth, XM_ETH_LEN);
	if (!f->fast) {
		want.data[OFF_IP + 8] = got->data[OFF_IP + 8];
		pkt_fix(&want);
	}
	pkt_same(got, &want, f->fast ? "restored packet" : "packet from the CNI");
}

/* A NACK goes back: out at @from, in at @to. */
static enum way nack_back(struct node *from, struct node *to, const struct outcome *nack)
{
	struct outcome o;

	if (leave(from, &nack->pkt, nack->mark, &o) != UNSPEC)
		return LOST;
	eth_check(&o.pkt, from);
	node_run(to, NIC_INGRESS, &o.pkt, &o);
	if (!CHECK_EQ(o.verdict, SHOT))
		return LOST;
	CHECK(o.reasons & (R(RST_NACK) | R(NACK_RX)), "not taken for a NACK");
	return NACKED;
}

enum way wire_arrive(struct wire_frame *f)
{
	struct pkt inner;
	struct outcome o;

	node_run(f->to, NIC_INGRESS, &f->pkt, &o);
	if (o.reasons & R(NACK_TX))
		return nack_back(f->to, f->from, &o);
	if (o.verdict == REDIRECT) {
		CHECK(f->fast, "an overlay packet was redirected");
		same_for_pod(f, &o.pkt);
		return FAST;
	}
	if (o.verdict != UNSPEC)
		return LOST;
	CHECK(!f->fast, "a masqueraded packet reached the node's stack");
	pkt_same(&o.pkt, &f->pkt, "overlay packet at the NIC");
	if (!CHECK(pkt_inner(&inner, &o.pkt, f->type), "nothing inside"))
		return LOST;
	memcpy(inner.data, f->to->pod_eth, XM_ETH_LEN);
	node_run(f->to, POD_INGRESS, &inner, &o);
	CHECK_EQ(o.verdict, UNSPEC);
	pkt_same(&o.pkt, &inner, "packet delivered to the pod");
	same_for_pod(f, &o.pkt);
	return OVERLAY;
}

enum way wire_carry(struct node *from, const struct pkt_spec *s, __u16 type)
{
	struct wire_frame f;

	return wire_send(from, s, type, &f) ? wire_arrive(&f) : LOST;
}
