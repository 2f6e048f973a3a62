// SPDX-License-Identifier: GPL-2.0-only
/* xmasq_nic_egress: the owner allots a label and tells it in the outer source port. */
#include <netinet/in.h>
#include <string.h>

#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"

static struct node *n;
static struct xm_flow_key key;
static struct pkt_spec spec;
static struct tunnel_spec tun;
static struct xm_flow flow;
static struct pkt in, inner, want;
static struct outcome out;

/* Both leases hold, the pod is known, no label yet: the next packet allots one. */
static void begin(struct node *node, __u8 proto, __u16 type)
{
	__u32 now;

	n = node;
	node_reset(n);
	node_key(n, proto, &key);
	node_spec(n, &key, &spec);
	node_tunnel(n, type, &tun);
	now = node_now(n);
	flow = (struct xm_flow){
		.node = n->addr,
		.peer = n->peer_addr,
		.nic_ifindex = n->nic,
		.pod_ifindex = n->pod,
		.out_until = now + LEASE,
		.in_until = now + IN_LEASE,
		.pod_out = now,
		.nic_in = now,
		.peer_idx = PEER_IDX,
		.peer_gen = PEER_GEN,
	};
	flow.addr_csum =
		(__u16)((pkt_diff(key.saddr, n->addr) + (__u32)pkt_diff(key.daddr, n->peer_addr)) %
			65535);
	node_set_flow(n, &key, &flow);
	node_set_pod(n, n->pod, n->pod_eth);
}

static void make(void)
{
	pkt_make(&inner, &spec);
	pkt_tunnel(&in, &inner, &tun);
}

/* Runs @in. Return: the label that the packet tells. The rest of it must be as it was. */
static __u16 tells(__u64 reasons)
{
	__u16 label;

	node_run(n, NIC_EGRESS, &in, &out);
	label = pkt_get16(&out.pkt, OFF_L4);
	want = in;
	pkt_set16(&want, OFF_L4, label);
	if (pkt_get16(&in, OFF_L4 + 6))
		pkt_fix(&want);
	expect_through(n, &out, &want, reasons);
	node_flow(n, &key, &flow);
	return label;
}

static void tells_nothing(__u64 reasons)
{
	CHECK_EQ(tells(reasons), tun.sport | 0x8000);
}

static void allots(__u8 proto, __u16 type)
{
	struct xm_label *e;
	__u16 label;

	tap_case("nic_egress: %s in %s: a label is allotted and told",
		 proto == IPPROTO_TCP ? "TCP" : "UDP",
		 type == XM_OVERLAY_VXLAN ? "VXLAN" : "Geneve");
	begin(&node_a, proto, type);
	make();
	label = tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
	if (!CHECK(label >= XM_LABEL_MIN && label <= XM_LABEL_MAX, "label %u", label))
		return;
	CHECK_EQ(flow.label, label);
	CHECK_EQ(flow.stage, XM_STAGE_TOLD);
	CHECK_EQ(flow.sport, PORT(XM_LABEL_PORT_BASE + label));
	CHECK_EQ(flow.dport, PORT(MASQ_PORT));
	e = node_label(n, n->peer_addr, label, proto);
	CHECK_EQ(e->tag, xm_tag(n->peer_addr, label, proto, XM_TAG_USED));
	CHECK_EQ(e->until, flow.in_until);
	CHECK_EQ(e->pod_ifindex, n->pod);
	CHECK_EQ(e->saddr, key.daddr);
	CHECK_EQ(e->daddr, key.saddr);
	CHECK_EQ(e->sport, key.dport);
	CHECK_EQ(e->dport, key.sport);
	CHECK_EQ(e->node, n->addr);
	CHECK_EQ(e->owner, 1);
	CHECK_EQ(e->acked, 0);
	CHECK(!memcmp(e->eth, n->pod_eth, XM_ETH_LEN), "Ethernet header towards the pod");

	tap_case("nic_egress: %s: the same label in every later packet, and not READY by it",
		 proto == IPPROTO_TCP ? "TCP" : "UDP");
	for (int i = 0; i < 3; i++)
		CHECK_EQ(tells(R(LEASE_OUT) | R(LABEL_TOLD)), label);
	CHECK_EQ(flow.stage, XM_STAGE_TOLD);

	tap_case("nic_egress: %s: READY stays READY while its label is told", /* renewal */
		 proto == IPPROTO_TCP ? "TCP" : "UDP");
	flow.stage = XM_STAGE_READY;
	node_set_flow(n, &key, &flow);
	CHECK_EQ(tells(R(LEASE_OUT) | R(LABEL_TOLD)), label);
	CHECK_EQ(flow.stage, XM_STAGE_READY);

	tap_case("nic_egress: %s: no label that would be refused, the same one after a delivery",
		 proto == IPPROTO_TCP ? "TCP" : "UDP");
	e->until = node_now(n) - 1;
	tells_nothing(R(LEASE_OUT));
	CHECK_EQ(flow.stage, XM_STAGE_NEW);
	CHECK_EQ(flow.label, label);
	e->until = node_now(n) + IN_LEASE;
	CHECK_EQ(tells(R(LEASE_OUT) | R(LABEL_TOLD)), label);
	CHECK_EQ(flow.stage, XM_STAGE_TOLD);
}

static void outer_checksums(void)
{
	struct __sk_buff ctx;
	__u16 label;

	tap_case("nic_egress: the outer UDP checksum follows the port");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_GENEVE);
	tun.csum = true;
	make();
	label = tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
	CHECK_EQ(pkt_l4_rest(&out.pkt), 0);
	/* And when there is nothing to tell. */
	spec.flags = SYN;
	make();
	tells_nothing(0);
	CHECK_EQ(pkt_l4_rest(&out.pkt), 0);
	spec.flags = ACK;

	tap_case("nic_egress: an outer UDP checksum that becomes 0 is sent as 0xffff");
	/* The port told is known now: choose the inner sum, which TCP does not need right. */
	make();
	pkt_set16(&in, OFF_L4, label);
	pkt_fix(&in);
	pkt_set16(&in, OFF_TUN + 8 + OFF_L4 + 16,
		  (__u16)((pkt_get16(&in, OFF_TUN + 8 + OFF_L4 + 16) + pkt_get16(&in, OFF_L4 + 6)) %
			  65535));
	pkt_fix(&in);
	CHECK_EQ(pkt_get16(&in, OFF_L4 + 6), 0xffff);
	pkt_set16(&in, OFF_L4, tun.sport);
	pkt_fix(&in);
	CHECK_EQ(tells(R(LEASE_OUT) | R(LABEL_TOLD)), label);
	CHECK_EQ(pkt_get16(&out.pkt, OFF_L4 + 6), 0xffff);

	tap_case("nic_egress: an outer port that is the label already");
	tun.sport = label;
	make();
	CHECK_EQ(tells(R(LEASE_OUT) | R(LABEL_TOLD)), label);

	tap_case("nic_egress: an outer checksum of a GSO packet has no ports in it");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_GENEVE);
	tun.csum = true;
	make();
	ctx = (struct __sk_buff){ .ifindex = n->nic, .gso_size = 1300, .gso_segs = 2 };
	CHECK_EQ(node_run_ctx(n, NIC_EGRESS, &in, &ctx, 0, &out), 0);
	expect(n, &out, UNSPEC, R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
	node_flow(n, &key, &flow);
	want = in;
	pkt_set16(&want, OFF_L4, flow.label);
	pkt_same(&out.pkt, &want, "GSO packet");
}

static void not_allotted(void)
{
	__u32 now;

	tap_case("nic_egress: no label without an egress lease");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	now = node_now(n);
	flow.out_until = now;
	flow.pod_out = now - RENEW;
	node_set_flow(n, &key, &flow);
	make();
	tells_nothing(0);
	CHECK_EQ(flow.label, 0);

	tap_case("nic_egress: no label without an ingress lease");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	flow.in_until = node_now(n);
	node_set_flow(n, &key, &flow);
	make();
	tells_nothing(R(LEASE_OUT));
	CHECK_EQ(flow.label, 0);

	tap_case("nic_egress: no label for a pod whose Ethernet header is not known");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	flow.pod_ifindex = n->other_pod;
	node_set_flow(n, &key, &flow);
	make();
	tells_nothing(R(LEASE_OUT));

	tap_case("nic_egress: no label for a flow that ended");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	flow.ended = 1;
	node_set_flow(n, &key, &flow);
	make();
	tells_nothing(0);

	tap_case("nic_egress: no label is told to a peer that is down");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	make();
	tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
	node_peer(n, PEER_IDX, n->peer_addr, PEER_GEN, false);
	tells_nothing(R(LEASE_OUT));

	tap_case("nic_egress: a SYN tells nothing even when the flow has a label");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	make();
	tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
	spec.flags = SYN;
	make();
	tells_nothing(0);

	tap_case("nic_egress: a port with the top bit set is left alone when nothing is told");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	tun.sport = 0xc001;
	flow.ended = 1;
	node_set_flow(n, &key, &flow);
	make();
	tells_nothing(0);

	tap_case("nic_egress: a node that is not the owner never writes to a packet");
	for (int type = XM_OVERLAY_VXLAN; type <= XM_OVERLAY_GENEVE; type++) {
		begin(&node_b, IPPROTO_TCP, (__u16)type);
		make();
		node_run(n, NIC_EGRESS, &in, &out);
		expect_through(n, &out, &in, R(LEASE_OUT));
		node_flow(n, &key, &flow);
		CHECK_EQ(flow.label, 0);
		CHECK_EQ(flow.stage, XM_STAGE_NEW);
	}
}

/* All of it within one jiffy of the given parity, or not to the point: then again. */
static void given_up(__u16 first, __u16 second, __u32 odd)
{
	__u32 now;

	do {
		begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
		make();
		tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
		CHECK_EQ(flow.label, first);
		spec.flags = SYN;
		pkt_make(&inner, &spec);
		do {
			now = node_now(n);
		} while ((now & 1) != odd);
		node_run(n, POD_EGRESS, &inner, &out);
		expect_through(n, &out, &inner, R(TCP_FLAGS) | R(FLOW_RESET));
		node_flow(n, &key, &flow);
		flow.out_until = flow.in_until = now + LEASE;
		node_set_flow(n, &key, &flow);
		spec.flags = ACK;
		make();
		tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
		CHECK_EQ(flow.label, second);
	} while (node_now(n) != now && !tap_failed());
}

static void full_table(void)
{
	__u16 first, second;
	struct xm_label *e;
	__u32 now;

	tap_case("nic_egress: label table full: the flow stays on the overlay");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	for (int i = 0; i < N_LABELS; i++)
		n->labels[i].tag = xm_tag(ADDR_STR, (__u16)(i + 1), IPPROTO_TCP, XM_TAG_USED);
	make();
	tells_nothing(R(LEASE_OUT) | R(LABEL_NONE_FREE));
	CHECK_EQ(flow.label, 0);
	CHECK_EQ(flow.stage, XM_STAGE_NEW);
	for (int i = 0; i < N_LABELS; i++)
		CHECK_EQ(n->labels[i].tag,
			 xm_tag(ADDR_STR, (__u16)(i + 1), IPPROTO_TCP, XM_TAG_USED));

	tap_case("nic_egress: slots that rest are not used");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	now = node_now(n);
	for (int i = 0; i < N_LABELS; i++)
		n->labels[i].freed_at = (now - QUARANTINE + 5000) | 1;
	make();
	tells_nothing(R(LEASE_OUT) | R(LABEL_NONE_FREE));

	tap_case("nic_egress: slots that have rested are used");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	now = node_now(n);
	for (int i = 0; i < N_LABELS; i++)
		n->labels[i].freed_at = (now - QUARANTINE - 1) | 1;
	make();
	first = tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));

	tap_case("nic_egress: a slot being written is stepped over");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	e = node_label(n, n->peer_addr, first, IPPROTO_TCP);
	e->tag = xm_tag(n->peer_addr, first, IPPROTO_TCP, XM_TAG_BUSY);
	make();
	second = tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
	CHECK(second != first, "label %u twice", first);
	CHECK_EQ(e->tag, xm_tag(n->peer_addr, first, IPPROTO_TCP, XM_TAG_BUSY));

	for (__u32 odd = 0; odd < 2; odd++) {
		tap_case("nic_egress: a slot given up by SYN rests at once, in an %s jiffy",
			 odd ? "odd" : "even");
		given_up(first, second, odd);
	}

	tap_case("nic_egress: an entry lost from the table is allotted anew");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	make();
	tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
	flow.stage = XM_STAGE_READY;
	node_set_flow(n, &key, &flow);
	memset(n->labels, 0, N_LABELS * sizeof(*n->labels));
	CHECK_EQ(tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD)), first);
	CHECK_EQ(flow.stage, XM_STAGE_TOLD);

	tap_case("nic_egress: an entry that became another flow's is not told");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	make();
	tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
	node_label(n, n->peer_addr, first, IPPROTO_TCP)->sport ^= PORT(1);
	CHECK(tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD)) != first, "told");
}

/* Labels of many flows: each names one. */
static void many(void)
{
	__u8 taken[XM_LABEL_MAX + 1] = { 0 };
	__u16 label;

	tap_case("nic_egress: 60 flows have 60 labels, spread over the range");
	begin(&node_a, IPPROTO_UDP, XM_OVERLAY_VXLAN);
	for (int i = 0, high = 0; i < 60; i++) {
		struct xm_flow f = flow;

		key.sport = PORT(20000 + i);
		spec.t = key;
		f.label = 0;
		f.stage = XM_STAGE_NEW;
		node_set_flow(n, &key, &f);
		make();
		label = tells(R(LEASE_OUT) | R(LABEL_ALLOTTED) | R(LABEL_TOLD));
		if (!CHECK(label >= XM_LABEL_MIN && label <= XM_LABEL_MAX, "label %u", label))
			break;
		CHECK(!taken[label]++, "label %u twice", label);
		high += label > XM_LABEL_MAX / 2;
		CHECK(i < 59 || (high > 12 && high < 48), "%d of 60 in the upper half", high);
	}
}

void suite_told(void)
{
	for (__u16 type = XM_OVERLAY_VXLAN; type <= XM_OVERLAY_GENEVE; type++) {
		allots(IPPROTO_TCP, type);
		allots(IPPROTO_UDP, type);
	}
	outer_checksums();
	not_allotted();
	full_table();
	many();
}
