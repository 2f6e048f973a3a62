// SPDX-License-Identifier: GPL-2.0-only
/* tc_prog/fast.h: what gets into the table of known tuples, what it does, and what takes it back. */
#include <netinet/in.h>
#include <string.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"
#include "xmasq.skel.h"

#define LABEL 0x1e57

static struct node *n;
static struct xm_flow_key key;
static struct xm_label *label;
static struct pkt_spec spec;
static enum hook hook;
static __u64 fast;
static struct pkt in;
static struct outcome out;

/* A flow that is READY, and a packet of it that leaves or arrives; nothing is known of it. */
static void begin(struct node *node, __u8 proto, enum hook where)
{
	n = node;
	hook = where;
	fast = hook == POD_EGRESS ? R(MASQUERADED) : R(RESTORED);
	node_reset(n);
	node_forget(n);
	memset(n->skel->bss->fast_table, 0, sizeof(n->skel->bss->fast_table));
	n->keeps = true;
	node_key(n, proto, &key);
	node_ready(n, &key, LABEL);
	label = node_label(n, n->peer_addr, LABEL, proto);
	if (hook == POD_EGRESS)
		node_spec(n, &key, &spec);
	else
		node_masq_spec(n, &key, LABEL, &spec);
}

static void sends(__u64 reasons)
{
	pkt_make(&in, &spec);
	node_run(n, hook, &in, &out);
	expect(n, &out, reasons & fast ? REDIRECT : UNSPEC, reasons);
}

static struct xm_fast *entry(void)
{
	for (size_t i = 0; i < sizeof(n->skel->bss->fast_table) / sizeof(struct xm_fast); i++)
		if (n->skel->bss->fast_table[i].until)
			return &n->skel->bss->fast_table[i];
	return NULL;
}

/* Behind the programs' back, as the daemon never does it. */
static void lose_tables(void)
{
	bpf_map_delete_elem(bpf_map__fd(n->skel->maps.xm_flows), &key);
	memset(n->labels, 0, N_LABELS * sizeof(*n->labels));
}

static void knows(struct node *node, __u8 proto, enum hook where)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	struct outcome first;
	struct xm_fast *e;
	__u64 until;

	tap_case("known: node %s, %s, %s: the second packet needs neither flow nor label",
		 node->name, what, hook_names[where]);
	begin(node, proto, where);
	sends(fast);
	first = out;
	CHECK(node_knows(n, &spec.t), "not known");
	lose_tables();
	sends(fast);
	CHECK_EQ(out.mark, first.mark);
	CHECK_EQ(out.bytes, in.len);
	pkt_same(&out.pkt, &first.pkt, "packet that is known");
	/* No shorter than what UDP has. */
	spec.payload = 2;
	sends(fast);
	CHECK(!pkt_bad(&out.pkt), "%s", pkt_bad(&out.pkt));

	tap_case("known: node %s, %s, %s: not past the deadline, nor for an older generation",
		 node->name, what, hook_names[where]);
	begin(node, proto, where);
	sends(fast);
	e = entry();
	if (!CHECK(e, "no entry"))
		return;
	until = hook == POD_EGRESS ? RENEW : IN_LEASE;
	CHECK(e->until - node_now64(n) <= until && e->until - node_now64(n) > until - 2000,
	      "until %llu from now", (unsigned long long)(e->until - node_now64(n)));
	lose_tables();
	until = e->until;
	e->until = node_now64(n);
	CHECK(node_knows(n, &spec.t), "no entry");
	pkt_make(&in, &spec);
	node_run(n, hook, &in, &out);
	CHECK(!(out.reasons & fast), "past its deadline");
	e->until = until;
	sends(fast);
	node_forget(n);
	node_run(n, hook, &in, &out);
	CHECK(!(out.reasons & fast), "of an older generation");
}

static void deadlines(void)
{
	struct xm_flow f;
	struct xm_fast *e;
	__u64 now;

	tap_case("known: the deadline is the first of leases, renewal and peer");
	for (int i = 0; i < 4; i++) {
		begin(&node_a, IPPROTO_UDP, POD_EGRESS);
		node_flow(n, &key, &f);
		now = node_now64(n);
		if (i == 0)
			f.out_until = (__u32)now + 777;
		else if (i == 1)
			f.in_until = (__u32)now + 777;
		else if (i == 2)
			f.renew_at = (__u32)now + 777;
		else
			n->peers[PEER_IDX].up_until[XM_UDP] = now + 777;
		node_set_flow(n, &key, &f);
		sends(fast);
		e = entry();
		CHECK(e && e->until == now + 777, "%d: until %lld from then", i,
		      e ? (long long)(e->until - now) : -1LL);
	}
}

/* What is not for the fast path is not for it either when its tuple is known. */
static void stays_strict(struct node *node, __u8 proto, enum hook where)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	static struct pkt frames[16];
	static struct outcome fresh;
	const struct pkt_spec plain = ({
		begin(node, proto, where);
		spec;
	});
	__u32 pod = where == POD_EGRESS ? node->pod : node->nic;
	int count = 0;

#define FRAME(...)                                 \
	do {                                       \
		spec = plain;                      \
		__VA_ARGS__;                       \
		pkt_make(&frames[count++], &spec); \
	} while (0)
	FRAME(spec.ttl = 2);
	FRAME(spec.ttl = 3);
	FRAME(spec.frag = 0x2000);
	FRAME(spec.frag = 0x0001);
	FRAME(spec.ip_opts = 1);
	FRAME(spec.flags = SYN);
	FRAME(spec.flags = FIN | ACK);
	FRAME(spec.flags = RST);
	FRAME(spec.payload = 0);
	FRAME(pkt_set16(&frames[count], 0, 0));
	pkt_set16(&frames[count - 1], OFF_IP + 2, proto == IPPROTO_TCP ? 39 : 27);
	FRAME(spec = plain);
	pkt_set16(&frames[count - 1], OFF_IP + 2, (__u16)(frames[count - 1].len - 13));
	FRAME(spec = plain);
	frames[count - 1].data[OFF_L4 + 12] = 0x40;
	FRAME(spec = plain);
	pkt_set16(&frames[count - 1], 12, 0x0806);
	FRAME(spec = plain);
	frames[count - 1].data[OFF_IP] = 0x55;
	FRAME(spec.no_csum = true);
#undef FRAME

	tap_case("known: node %s, %s, %s: a packet that is not eligible fares as without the table",
		 node->name, what, hook_names[where]);
	for (int i = 0; i < count && !tap_failed(); i++) {
		for (int known = 0; known < 2; known++) {
			begin(node, proto, where);
			spec = plain;
			if (known)
				sends(fast);
			node_run_on(n, hook, &frames[i], pod, known ? &out : &fresh);
		}
		CHECK(out.verdict == fresh.verdict && out.reasons == fresh.reasons &&
			      out.mark == fresh.mark,
		      "frame %d: verdict %d, reasons %llx, not %d, %llx", i, out.verdict,
		      (unsigned long long)out.reasons, fresh.verdict,
		      (unsigned long long)fresh.reasons);
		pkt_same(&out.pkt, &fresh.pkt, "packet whose tuple is known");
	}
	if (where != POD_EGRESS)
		return;

	tap_case("known: node %s, %s: another pod that sends it gets nothing", node->name, what);
	begin(node, proto, where);
	sends(fast);
	node_run_on(n, hook, &in, n->other_pod, &out);
	expect_through(n, &out, &in, R(OTHER_POD));

	tap_case("known: node %s, %s: nor what the NIC does not take", node->name, what);
	begin(node, proto, where);
	n->skel->data->nic_frame_max = 80;
	sends(fast);
	spec.payload = 1600;
	sends(R(TOO_BIG));
	n->skel->data->nic_frame_max = 0xffffffff;
}

/* An entry is for one direction and one protocol. */
static void apart(void)
{
	struct pkt_spec other;

	tap_case("known: what the NIC receives is not for pods to send, nor the other way round");
	begin(&node_b, IPPROTO_UDP, NIC_INGRESS);
	sends(fast);
	node_run(n, POD_EGRESS, &in, &out);
	expect_through(n, &out, &in, R(NO_FLOW));
	begin(&node_b, IPPROTO_UDP, POD_EGRESS);
	sends(fast);
	node_run(n, NIC_INGRESS, &in, &out);
	expect_through(n, &out, &in, 0);

	tap_case("known: UDP's entry is not for TCP of the same tuple");
	begin(&node_a, IPPROTO_UDP, POD_EGRESS);
	sends(fast);
	other = spec;
	other.t.proto = IPPROTO_TCP;
	pkt_make(&in, &other);
	node_run(n, POD_EGRESS, &in, &out);
	expect_through(n, &out, &in, R(NO_FLOW));
}

static void slots(void)
{
	struct xm_flow_key first;
	struct xm_fast *e;
	__be16 sport = 0;

	tap_case("known: a slot has one holder, until its deadline and a rest");
	begin(&node_a, IPPROTO_UDP, POD_EGRESS);
	sends(fast);
	first = key;
	e = entry();
	if (!CHECK(e, "no entry"))
		return;
	/* Another flow that falls on it: the table is empty but for this. */
	for (unsigned int p = 1; p < 65536 && !sport; p++) {
		struct xm_fast was = *e;

		if (PORT(p) == first.sport)
			continue;
		key.sport = PORT(p);
		memset(e, 0, sizeof(*e));
		node_ready(n, &key, LABEL);
		node_spec(n, &key, &spec);
		pkt_make(&in, &spec);
		node_run_on(n, POD_EGRESS, &in, n->pod, &out);
		if (e->until)
			sport = key.sport;
		else
			memset(entry() ?: e, 0, sizeof(*e));
		bpf_map_delete_elem(bpf_map__fd(n->skel->maps.xm_flows), &key);
		*e = was;
	}
	if (!CHECK(sport, "no tuple falls on the same slot"))
		return;
	key.sport = sport;
	node_ready(n, &key, LABEL);
	e->tag = n->skel->data->fast_tag[XM_UDP];
	sends(fast);
	CHECK(!node_knows(n, &key) && node_knows(n, &first), "pushed out");
	e->until = node_now64(n) - SECOND / 2;
	sends(fast);
	CHECK(!node_knows(n, &key), "no rest");
	e->until = node_now64(n) - SECOND - 1;
	sends(fast);
	CHECK(node_knows(n, &key) && !node_knows(n, &first), "not taken over");

	tap_case("known: a slot that is being written is nobody's");
	/* That kind whose bits it cannot be told by. */
	begin(&node_b, IPPROTO_UDP, NIC_INGRESS);
	sends(fast);
	e = entry();
	if (!CHECK(e && (e->tag & XM_FAST_KIND) == (XM_FAST_BUSY & XM_FAST_KIND), "another kind"))
		return;
	e->tag = XM_FAST_BUSY;
	sends(fast);
	CHECK_EQ(e->tag, XM_FAST_BUSY);
}

/* ---- what takes it back ---- */

static void edge(__u8 flags, enum hook at)
{
	struct pkt_spec s;
	struct pkt p;

	begin(&node_a, IPPROTO_TCP, POD_EGRESS);
	sends(fast);
	s = spec;
	if (at == POD_INGRESS)
		pkt_flip(&s.t, &key);
	s.flags = flags;
	pkt_make(&p, &s);
	node_run_on(n, at, &p, n->pod, &out);
	CHECK(!node_knows(n, &spec.t), "flags %#x at %s", flags, hook_names[at]);
}

static void taken_back(void)
{
	struct xm_flow_key other;
	struct tunnel_spec tun;
	struct xm_flow f;

	tap_case("known: FIN, RST and SYN, sent and delivered, end it");
	for (unsigned int i = 0; i < 3; i++) {
		edge((const __u8[]){ FIN | ACK, RST, SYN }[i], POD_EGRESS);
		edge((const __u8[]){ FIN | ACK, RST, SYN | ACK }[i], POD_INGRESS);
	}

	tap_case("known: with the label that a SYN gives up, its packets are unknown");
	begin(&node_a, IPPROTO_TCP, NIC_INGRESS);
	sends(fast);
	node_spec(n, &key, &spec);
	spec.flags = SYN;
	pkt_make(&in, &spec);
	node_run_on(n, POD_EGRESS, &in, n->pod, &out);
	CHECK(!label->tag, "label kept");
	node_masq_spec(n, &key, LABEL, &spec);
	CHECK(!node_knows(n, &spec.t), "still known");

	tap_case("known: an overlay packet under another address of the node starts the flow over");
	begin(&node_b, IPPROTO_UDP, POD_EGRESS);
	sends(fast);
	node_tunnel(n, XM_OVERLAY_VXLAN, &tun);
	tun.saddr = n->cfg.node[0];
	pkt_tunnel(&out.pkt, &in, &tun);
	in = out.pkt;
	node_run(n, NIC_EGRESS, &in, &out);
	CHECK(out.reasons & R(FLOW_RESET), "not started over");
	CHECK(!node_knows(n, &spec.t), "still known");

	tap_case("known: another label is told: no packet more with the old one");
	begin(&node_b, IPPROTO_UDP, POD_EGRESS);
	sends(fast);
	spec.t = (struct xm_flow_key){ 0 };
	pkt_flip(&spec.t, &key);
	pkt_make(&in, &spec);
	node_tunnel(&node_a, XM_OVERLAY_VXLAN, &tun);
	tun.sport = LABEL + 1;
	pkt_tunnel(&out.pkt, &in, &tun);
	in = out.pkt;
	node_run(n, NIC_INGRESS, &in, &out);
	CHECK(out.reasons & R(LABEL_LEARNED), "not learned");
	CHECK(!node_knows(n, &key), "still known");
	node_spec(n, &key, &spec);
	sends(fast);
	CHECK_EQ(pkt_get16(&out.pkt, OFF_L4 + 2), XM_LABEL_PORT_BASE + LABEL + 1);

	tap_case("known: the owner gives a label to another flow: what comes is that one's");
	begin(&node_b, IPPROTO_UDP, NIC_INGRESS);
	sends(fast);
	other = key;
	other.sport = PORT(777);
	node_flow(n, &key, &f);
	f.label = 0;
	f.stage = XM_STAGE_NEW;
	bpf_map_update_elem(bpf_map__fd(n->skel->maps.xm_flows), &other, &f, BPF_ANY);
	node_spec(n, &other, &spec);
	pkt_flip(&spec.t, &other);
	pkt_make(&in, &spec);
	tun.sport = LABEL;
	pkt_tunnel(&out.pkt, &in, &tun);
	in = out.pkt;
	node_run(n, NIC_INGRESS, &in, &out);
	CHECK(out.reasons & R(LABEL_LEARNED), "not learned");
	node_masq_spec(n, &key, LABEL, &spec);
	CHECK(!node_knows(n, &spec.t), "still known");
	sends(fast);
	CHECK_EQ(pkt_get16(&out.pkt, OFF_L4 + 2), 777);

	tap_case("known: a delivery under another header is what the next packets get");
	begin(&node_b, IPPROTO_UDP, NIC_INGRESS);
	sends(fast);
	node_flow(n, &key, &f);
	f.nic_in = node_now(n);
	bpf_map_update_elem(bpf_map__fd(n->skel->maps.xm_flows), &key, &f, BPF_ANY);
	node_spec(n, &key, &spec);
	pkt_flip(&spec.t, &key);
	memcpy(spec.eth, n->gw_eth, XM_ETH_LEN);
	pkt_make(&in, &spec);
	node_run(n, POD_INGRESS, &in, &out);
	CHECK(out.reasons & R(LEASE_IN), "no delivery");
	node_masq_spec(n, &key, LABEL, &spec);
	CHECK(!node_knows(n, &spec.t), "still known");
	sends(fast);
	CHECK(!memcmp(out.pkt.data, n->gw_eth, XM_ETH_LEN), "the header of before");

	tap_case("known: a rule that a program of this load was not asked about takes it back");
	begin(&node_a, IPPROTO_UDP, POD_EGRESS);
	sends(fast);
	policy_rules(n, (const char *const[]){ "deny egress", NULL });
	spec.ttl = 2;
	pkt_make(&in, &spec);
	node_run(n, POD_EGRESS, &in, &out);
	expect(n, &out, SHOT, R(POLICY_DENIED));
	CHECK(!node_knows(n, &spec.t), "still known");
	begin(&node_a, IPPROTO_UDP, NIC_INGRESS);
	sends(fast);
	policy_rules(n, (const char *const[]){ "deny ingress", NULL });
	node_spec(n, &key, &spec);
	pkt_flip(&spec.t, &key);
	pkt_make(&in, &spec);
	node_run(n, POD_INGRESS, &in, &out);
	expect(n, &out, SHOT, R(POLICY_DENIED));
	node_masq_spec(n, &key, LABEL, &spec);
	CHECK(!node_knows(n, &spec.t), "still known");

	tap_case("known: an owner's label that is not acknowledged is looked at");
	begin(&node_a, IPPROTO_TCP, NIC_INGRESS);
	label->acked = 0;
	node_flow(n, &key, &f);
	f.stage = XM_STAGE_TOLD;
	node_set_flow(n, &key, &f);
	pkt_make(&in, &spec);
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(RESTORED) | R(FLOW_ACTIVE));
	CHECK(!node_knows(n, &spec.t), "known too soon");
	CHECK_EQ(label->acked, 1);
	sends(fast);
	CHECK(node_knows(n, &spec.t), "not known");
}

void suite_known(void)
{
	struct node *const nodes[] = { &node_a, &node_b };

	for (int i = 0; i < 2; i++) {
		for (int udp = 0; udp < 2; udp++) {
			__u8 proto = udp ? IPPROTO_UDP : IPPROTO_TCP;

			knows(nodes[i], proto, POD_EGRESS);
			knows(nodes[i], proto, NIC_INGRESS);
			stays_strict(nodes[i], proto, POD_EGRESS);
			stays_strict(nodes[i], proto, NIC_INGRESS);
		}
	}
	deadlines();
	apart();
	slots();
	taken_back();
}
