// SPDX-License-Identifier: GPL-2.0-only
/* xmasq_nic_ingress: overlay packets that arrive: evidence, and labels read from them. */
#include <netinet/in.h>
#include <string.h>

#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"

#define LABEL 0x0123

static struct node *n;
static struct node *from;
static struct xm_flow_key key, their_key;
static struct pkt_spec spec;
static struct tunnel_spec tun;
static struct xm_flow flow;
static struct pkt in, inner;
static struct outcome out;

/* A flow without a label whose pod is known, and an overlay packet of its other direction. */
static void begin(struct node *node, __u8 proto, __u16 type)
{
	struct xm_label *e;
	__u32 now;

	n = node;
	from = node == &node_a ? &node_b : &node_a;
	node_reset(n);
	node_key(n, proto, &key);
	node_key(from, proto, &their_key);
	node_ready(n, &key, LABEL);
	node_flow(n, &key, &flow);
	e = node_label(n, n->peer_addr, LABEL, proto);
	memset(e, 0, sizeof(*e));
	now = node_now(n);
	flow.label = 0;
	flow.stage = XM_STAGE_NEW;
	flow.nic_in = now - 2 * LEASE;
	node_set_flow(n, &key, &flow);
	node_spec(from, &their_key, &spec);
	node_tunnel(from, type, &tun);
	tun.sport = LABEL;
}

/* The packet always goes on to the overlay as it is. */
static void arrives(__u64 reasons)
{
	pkt_make(&inner, &spec);
	pkt_tunnel(&in, &inner, &tun);
	node_run(n, NIC_INGRESS, &in, &out);
	expect_through(n, &out, &in, reasons);
	if (!node_flow(n, &key, &flow))
		memset(&flow, 0, sizeof(flow));
}

static bool fresh(void)
{
	return node_now(n) - flow.nic_in < 1000;
}

static void reads(__u8 proto, __u16 type)
{
	struct xm_label *e;

	tap_case("nic_ingress: %s in %s: a label is read", proto == IPPROTO_TCP ? "TCP" : "UDP",
		 type == XM_OVERLAY_VXLAN ? "VXLAN" : "Geneve");
	begin(&node_b, proto, type);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	CHECK(fresh(), "no evidence");
	CHECK(node_now(n) - n->peers[PEER_IDX].seen < 1000, "peer not seen");
	CHECK_EQ(flow.label, LABEL);
	CHECK_EQ(flow.stage, XM_STAGE_READY);
	CHECK_EQ(flow.sport, PORT(MASQ_PORT));
	CHECK_EQ(flow.dport, PORT(XM_LABEL_PORT_BASE + LABEL));
	e = node_label(n, n->peer_addr, LABEL, proto);
	CHECK_EQ(e->tag, xm_tag(n->peer_addr, LABEL, proto, XM_TAG_USED));
	CHECK_EQ(e->until, flow.in_until);
	CHECK_EQ(e->pod_ifindex, n->pod);
	CHECK_EQ(e->saddr, key.daddr);
	CHECK_EQ(e->daddr, key.saddr);
	CHECK_EQ(e->sport, key.dport);
	CHECK_EQ(e->dport, key.sport);
	CHECK_EQ(e->node, n->addr);
	CHECK_EQ(e->owner, 0);
	CHECK(!memcmp(e->eth, n->pod_eth, XM_ETH_LEN), "Ethernet header towards the pod");

	tap_case("nic_ingress: %s: the same label again changes nothing",
		 proto == IPPROTO_TCP ? "TCP" : "UDP");
	arrives(0);
	CHECK_EQ(flow.stage, XM_STAGE_READY);
}

static void not_read(void)
{
	static const __u16 ports[] = { 0, 0x8000, 0x8000 | LABEL, 0xffff };

	tap_case("nic_ingress: ports that are no label are evidence only");
	for (int i = 0; i < 4 && !tap_failed(); i++) {
		begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
		tun.sport = ports[i];
		arrives(0);
		CHECK(fresh(), "no evidence");
		CHECK_EQ(flow.label, 0);
		CHECK_EQ(flow.stage, XM_STAGE_NEW);
	}

	tap_case("nic_ingress: the lowest and the highest label");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	tun.sport = XM_LABEL_MIN;
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	tun.sport = XM_LABEL_MAX;
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));

	tap_case("nic_ingress: the owner reads no label, but the evidence");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	arrives(0);
	CHECK(fresh(), "no evidence");
	CHECK_EQ(flow.label, 0);

	tap_case("nic_ingress: no label from a peer that is down");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	node_peer(n, PEER_IDX, n->peer_addr, PEER_GEN, false);
	arrives(0);
	CHECK_EQ(flow.label, 0);
	CHECK(fresh(), "no evidence");

	tap_case("nic_ingress: no label before the CNI has delivered to the pod");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	flow.pod_ifindex = 0;
	node_set_flow(n, &key, &flow);
	arrives(0);
	CHECK_EQ(flow.label, 0);
	CHECK(fresh(), "no evidence");

	for (int i = 0; i < 5; i++) {
		static const char *const names[] = { "a flow that ended", "another peer's flow",
						     "a flow of an older generation",
						     "no flow entry", "another node" };

		tap_case("nic_ingress: overlay packet of %s is no evidence", names[i]);
		begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
		flow.ended = i == 0;
		flow.peer = i == 1 ? ADDR_STR : flow.peer;
		flow.peer_gen -= i == 2;
		node_set_flow(n, &key, &flow);
		if (i == 3)
			node_del_flow(n, &key);
		if (i == 4)
			tun.daddr = ADDR_STR;
		arrives(0);
		CHECK(!fresh(), "evidence");
		CHECK_EQ(flow.label, 0);
	}

	tap_case("nic_ingress: SYN, FIN and RST on the overlay are no evidence here");
	for (__u8 flags = FIN; flags <= RST; flags <<= 1) {
		begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
		spec.flags = flags | ACK;
		arrives(0);
		CHECK(!fresh(), "evidence");
		CHECK_EQ(flow.label, 0);
	}

	tap_case("nic_ingress: a tunnel packet cut to every length teaches nothing");
	for (int type = XM_OVERLAY_VXLAN; type <= XM_OVERLAY_GENEVE; type++) {
		begin(&node_b, IPPROTO_TCP, (__u16)type);
		pkt_make(&inner, &spec);
		pkt_tunnel(&in, &inner, &tun);
		for (in.len--; in.len >= 14 && !tap_failed(); in.len--) {
			if (!node_run_cut(n, NIC_INGRESS, &in, &out))
				continue;
			expect_through(n, &out, &in, 0);
			node_flow(n, &key, &flow);
			CHECK(!fresh() && !flow.label, "learned from %u bytes", in.len);
		}
	}
}

static void strangers(void)
{
	tap_case("nic_ingress: an unknown node is reported once a second");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	tun.saddr = ADDR_STR;
	arrives(R(PEER_SEEN));
	CHECK_EQ(node_events(n), 1);
	CHECK_EQ(n->event.type, XM_EV_PEER_SEEN);
	CHECK_EQ(n->event.peer, ADDR_STR);
	CHECK_EQ(n->event.node, n->addr);
	CHECK_EQ(n->event.ifindex, n->nic);
	CHECK_EQ(n->event.len, 0);
	CHECK(!memcmp(n->event.eth, tun.eth + 6, 6), "destination of a frame back");
	CHECK(!memcmp(n->event.eth + 6, tun.eth, 6), "source of a frame back");
	arrives(0);
	CHECK_EQ(node_events(n), 0);
	CHECK(!fresh() && !flow.label, "learned from a stranger");

	tap_case("nic_ingress: a peer is reported once, when a packet that comes will do");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	n->peers[PEER_IDX].report = XM_REPORT_LEAVING;
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	CHECK_EQ(node_events(n), 0);
	CHECK_EQ(n->peers[PEER_IDX].report, XM_REPORT_LEAVING);
	n->peers[PEER_IDX].report = XM_REPORT_ANY;
	arrives(0);
	CHECK_EQ(node_events(n), 1);
	CHECK_EQ(n->event.type, XM_EV_PEER_SEEN);
	CHECK_EQ(n->event.leaving, 0);
	CHECK_EQ(n->peers[PEER_IDX].report, 0);
}

static void replaced(void)
{
	struct xm_label *e, *old;
	__u64 tag;

	tap_case("nic_ingress: a new label takes the old one's place, whose slot rests");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	old = node_label(n, n->peer_addr, LABEL, IPPROTO_TCP);
	tun.sport = LABEL + 1;
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	CHECK_EQ(flow.label, LABEL + 1);
	CHECK_EQ(flow.dport, PORT(XM_LABEL_PORT_BASE + LABEL + 1));
	CHECK_EQ(old->tag, 0);
	CHECK(old->freed_at, "does not rest");

	tap_case("nic_ingress: a label whose slot rests is not read");
	tun.sport = LABEL;
	arrives(R(LABEL_CONFLICT));
	CHECK_EQ(flow.label, 0);
	CHECK_EQ(flow.stage, XM_STAGE_NEW);
	CHECK_EQ(old->tag, 0);

	tap_case("nic_ingress: it is when it has rested");
	old->freed_at = (node_now(n) - QUARANTINE - 1) | 1;
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	CHECK_EQ(flow.label, LABEL);

	tap_case("nic_ingress: a label that falls on a slot in use stays unread");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	e = node_label(n, n->peer_addr, LABEL, IPPROTO_TCP);
	tag = xm_tag(ADDR_STR, LABEL, IPPROTO_TCP, XM_TAG_USED);
	e->tag = tag;
	arrives(R(LABEL_CONFLICT));
	CHECK_EQ(e->tag, tag);
	CHECK_EQ(flow.stage, XM_STAGE_NEW);
	CHECK_EQ(flow.label, 0);

	tap_case("nic_ingress: the owner may give a label to another flow");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	struct xm_flow_key first = key;

	key.sport ^= PORT(1);
	their_key.dport ^= PORT(1);
	flow.label = 0;
	flow.stage = XM_STAGE_NEW;
	node_set_flow(n, &key, &flow);
	spec.t = their_key;
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	CHECK_EQ(flow.stage, XM_STAGE_READY);
	e = node_label(n, n->peer_addr, LABEL, IPPROTO_TCP);
	CHECK_EQ(e->dport, key.sport);

	tap_case("nic_ingress: the flow that had it before gets its next label");
	/* The owner tells it none meanwhile. */
	node_flow(n, &first, &flow);
	key = first;
	their_key.dport ^= PORT(1);
	spec.t = their_key;
	tun.sport = 40000;
	arrives(R(FLOW_DEMOTED));
	CHECK_EQ(flow.stage, XM_STAGE_NEW);
	tun.sport = LABEL + 1;
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	CHECK_EQ(flow.stage, XM_STAGE_READY);
	CHECK_EQ(e->dport, key.sport ^ PORT(1));

	tap_case("nic_ingress: a conflict takes a READY flow off the fast path");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	node_label(n, n->peer_addr, LABEL, IPPROTO_TCP)->tag = tag;
	arrives(R(LABEL_CONFLICT));
	CHECK_EQ(flow.stage, XM_STAGE_NEW);

	tap_case("nic_ingress: an entry lost from the table is installed again");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	e = node_label(n, n->peer_addr, LABEL, IPPROTO_TCP);
	memset(e, 0, sizeof(*e));
	arrives(0);
	CHECK_EQ(e->tag, xm_tag(n->peer_addr, LABEL, IPPROTO_TCP, XM_TAG_USED));
	CHECK_EQ(flow.stage, XM_STAGE_READY);

	tap_case("nic_ingress: a flow that was demoted is READY with its next label");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	flow.stage = XM_STAGE_NEW;
	node_set_flow(n, &key, &flow);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	CHECK_EQ(flow.stage, XM_STAGE_READY);

	tap_case("nic_ingress: the label of one protocol is not the other's");
	begin(&node_b, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	__u64 tcp = node_label(n, n->peer_addr, LABEL, IPPROTO_TCP)->tag;

	node_key(n, IPPROTO_UDP, &key);
	flow.label = 0;
	flow.stage = XM_STAGE_NEW;
	node_set_flow(n, &key, &flow);
	pkt_flip(&spec.t, &key);
	arrives(R(LABEL_LEARNED) | R(FLOW_ACTIVE));
	CHECK_EQ(node_label(n, n->peer_addr, LABEL, IPPROTO_TCP)->tag, tcp);
}

void suite_labels(void)
{
	for (__u16 type = XM_OVERLAY_VXLAN; type <= XM_OVERLAY_GENEVE; type++) {
		reads(IPPROTO_TCP, type);
		reads(IPPROTO_UDP, type);
	}
	not_read();
	strangers();
	replaced();
}
