// SPDX-License-Identifier: GPL-2.0-only
/* xmasq_nic_ingress: what is restored, to the byte, and what is none of our business. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"

#define LABEL 0x2bcd

#ifndef BPF_F_TEST_SKB_CHECKSUM_COMPLETE
#define BPF_F_TEST_SKB_CHECKSUM_COMPLETE (1U << 2)
#endif

static struct node *n;
static struct xm_flow_key key;
static struct pkt_spec spec;
static struct xm_flow flow;
static struct xm_label *entry;
static struct pkt in, want;
static struct outcome out;

/* A flow that is READY and one masqueraded packet of its other direction. */
static void begin(struct node *node, __u8 proto)
{
	n = node;
	node_reset(n);
	node_key(n, proto, &key);
	node_ready(n, &key, LABEL);
	node_flow(n, &key, &flow);
	entry = node_label(n, n->peer_addr, LABEL, proto);
	node_masq_spec(n, &key, LABEL, &spec);
}

static void wanted(void)
{
	struct pkt_spec s = spec;

	memcpy(s.eth, n->pod_eth, XM_ETH_LEN);
	pkt_flip(&s.t, &key);
	pkt_make(&want, &s);
}

static void restores(void)
{
	const char *bad;

	pkt_make(&in, &spec);
	wanted();
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(RESTORED));
	CHECK_EQ(out.mark, 0);
	CHECK_EQ(out.bytes, in.len);
	pkt_same(&out.pkt, &want, "restored packet");
	bad = pkt_bad(&out.pkt);
	CHECK(!bad, "%s", bad);
}

static void hits(struct node *node, __u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	const char *role = node->owner ? "owner" : "other node";
	struct __sk_buff ctx;
	int err;

	tap_case("nic_ingress: %s at the %s is restored", what, role);
	begin(node, proto);
	restores();

	tap_case("nic_ingress: %s at the %s, every payload of 0 to 70 bytes", what, role);
	begin(node, proto);
	for (spec.payload = 0; spec.payload <= 70 && !tap_failed(); spec.payload++)
		restores();

	tap_case("nic_ingress: %s at the %s, every TOS byte (CE too) and TTL", what, role);
	begin(node, proto);
	for (int i = 1; i <= 255 && !tap_failed(); i++) {
		spec.ttl = (__u8)i;
		spec.tos = (__u8)(i ^ 0xaa);
		restores();
	}

	tap_case("nic_ingress: %s at the %s, many sums", what, role);
	begin(node, proto);
	for (__u32 w = 0; w < 65536 && !tap_failed(); w += 257) {
		spec.word = (__u16)w;
		restores();
	}

	tap_case("nic_ingress: %s at the %s, the checksum of CHECKSUM_COMPLETE is kept up", what,
		 role);
	begin(node, proto);
	pkt_make(&in, &spec);
	ctx = (struct __sk_buff){ .ifindex = n->nic };
	err = node_run_ctx(n, NIC_INGRESS, &in, &ctx, BPF_F_TEST_SKB_CHECKSUM_COMPLETE, &out);
	if (err == -EINVAL)
		tap_skip("allowed: kernel before 6.10");
	else
		CHECK_EQ(err, 0);

	tap_case("nic_ingress: %s at the %s, a peer that went down is still understood", what,
		 role);
	begin(node, proto);
	node_peer(n, PEER_IDX, n->peer_addr, PEER_GEN, false);
	restores();
}

/* A driver may leave all but some bytes in a page; TEST_RUN can since Linux 6.18. */
static void nonlinear(void)
{
	int ran = 0;

	tap_case("nic_ingress: restored whatever part of it is linear");
	for (int i = 0; i < 2; i++) {
		begin(&node_a, i ? IPPROTO_UDP : IPPROTO_TCP);
		spec.payload = 1200;
		pkt_make(&in, &spec);
		wanted();
		for (__u32 linear = 14; linear <= 60 && !tap_failed(); linear++) {
			struct __sk_buff ctx = { .ifindex = n->nic, .data_end = linear };
			int err = node_run_ctx(n, NIC_INGRESS, &in, &ctx, 0, &out);

			if (err == -EINVAL)
				continue;
			if (!CHECK_EQ(err, 0))
				break;
			ran++;
			expect(n, &out, REDIRECT, R(RESTORED));
			if (tap_failed())
				tap_fail("%u bytes linear", linear);
			pkt_same(&out.pkt, &want, "restored packet");
		}
	}
	if (!ran)
		tap_skip("allowed: TEST_RUN of this kernel makes linear packets only");
}

static void checksums(void)
{
	tap_case("nic_ingress: UDP without a checksum stays without");
	begin(&node_b, IPPROTO_UDP);
	spec.no_csum = true;
	restores();

	tap_case("nic_ingress: a UDP checksum that becomes 0 is restored as 0xffff");
	begin(&node_b, IPPROTO_UDP);
	struct xm_flow_key t = spec.t;

	pkt_flip(&spec.t, &key);
	pkt_tune(&spec);
	spec.t = t;
	restores();
	CHECK_EQ(pkt_get16(&out.pkt, OFF_L4 + 6), 0xffff);

	tap_case("nic_ingress: a wrong TCP checksum stays as wrong as it was");
	begin(&node_b, IPPROTO_TCP);
	pkt_make(&in, &spec);
	pkt_set16(&in, OFF_L4 + 16, pkt_get16(&in, OFF_L4 + 16) ^ 0x0100);
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(RESTORED));
	CHECK_EQ(pkt_l4_rest(&out.pkt), pkt_l4_rest(&in));
}

static void acks(void)
{
	tap_case("nic_ingress: the first masqueraded packet is the acknowledgement");
	begin(&node_a, IPPROTO_TCP);
	entry->acked = 0;
	flow.stage = XM_STAGE_TOLD;
	node_set_flow(n, &key, &flow);
	pkt_make(&in, &spec);
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(RESTORED) | R(FLOW_ACTIVE));
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.stage, XM_STAGE_READY);
	CHECK_EQ(entry->acked, 1);
	restores();

	tap_case("nic_ingress: no acknowledgement of a label that the flow has not got");
	begin(&node_a, IPPROTO_TCP);
	entry->acked = 0;
	flow.stage = XM_STAGE_TOLD;
	flow.label = LABEL + 1;
	node_set_flow(n, &key, &flow);
	restores();
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.stage, XM_STAGE_TOLD);

	tap_case("nic_ingress: no acknowledgement by a packet that is late");
	begin(&node_a, IPPROTO_TCP);
	entry->acked = 0;
	entry->until = node_now(n);
	flow.stage = XM_STAGE_TOLD;
	node_set_flow(n, &key, &flow);
	pkt_make(&in, &spec);
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(LABEL_EXPIRED) | R(NACK_TX));
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.stage, XM_STAGE_TOLD);

	tap_case("nic_ingress: without the flow entry packets are restored all the same");
	begin(&node_a, IPPROTO_TCP);
	entry->acked = 0;
	node_del_flow(n, &key);
	restores();
}

static void passes(void)
{
	node_run(n, NIC_INGRESS, &in, &out);
	expect_through(n, &out, &in, 0);
	CHECK_EQ(out.bytes, 0);
}

static void other_traffic(void)
{
	static const struct {
		const char *name;
		__u32 off;
		__u16 val;
	} rows[] = {
		{ "ARP", 12, 0x0806 },	       { "IPv6", 12, 0x86dd },
		{ "VLAN", 12, 0x8100 },	       { "ICMP", OFF_IP + 8, 0x4001 },
		{ "ESP", OFF_IP + 8, 0x4032 }, { "later fragment", OFF_IP + 6, 0x0004 },
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tap_case("nic_ingress: %s passes", rows[i].name);
		begin(&node_b, IPPROTO_TCP);
		pkt_make(&in, &spec);
		pkt_set16(&in, rows[i].off, rows[i].val);
		passes();
	}

	tap_case("nic_ingress: a node's other traffic passes, from peers too");
	for (int i = 0; i < 6 && !tap_failed(); i++) {
		begin(i & 1 ? &node_a : &node_b, i & 2 ? IPPROTO_UDP : IPPROTO_TCP);
		spec.t.sport = PORT(i < 3 ? 45000 : XM_LABEL_PORT_BASE + LABEL);
		spec.t.dport = PORT(i < 3 ? 443 : MASQ_PORT + 1);
		pkt_make(&in, &spec);
		passes();
	}

	tap_case("nic_ingress: a packet for another address is routed, not restored");
	for (int i = 0; i < 2; i++) {
		begin(i ? &node_a : &node_b, IPPROTO_TCP);
		spec.t.daddr = n->pod_addr;
		pkt_make(&in, &spec);
		passes();
		/* Multicast and broadcast with the port are as little ours. */
		spec.t.daddr = ADDR(224, 0, 0, 5);
		pkt_make(&in, &spec);
		passes();
	}

	tap_case("nic_ingress: cut to every length: dropped or passed, never restored");
	begin(&node_b, IPPROTO_TCP);
	spec.payload = 0;
	for (__u32 len = 14; len < 54 && !tap_failed(); len++) {
		pkt_make(&in, &spec);
		in.len = len;
		if (!node_run_cut(n, NIC_INGRESS, &in, &out))
			continue;
		if (len >= OFF_L4 + 4)
			expect(n, &out, SHOT, R(MALFORMED));
		else
			expect_through(n, &out, &in, 0);
	}
}

/* ICMP errors about packets that we masqueraded. */
static void icmp_errors(void)
{
	static const __u8 types[] = { 3, 11, 12 }, others[] = { 0, 4, 5, 8, 13 };
	struct pkt about;

	for (int k = 0; k < 12; k++) {
		struct node *node = k & 1 ? &node_a : &node_b;
		__u8 proto = k & 2 ? IPPROTO_TCP : IPPROTO_UDP;

		tap_case("nic_ingress: ICMP type %u about our %s packet takes the flow back, %s",
			 types[k / 4], proto == IPPROTO_TCP ? "TCP" : "UDP",
			 node->owner ? "owner" : "other node");
		begin(node, proto);
		pkt_flip(&spec.t, &spec.t);
		pkt_make(&about, &spec);
		pkt_icmp(&in, &about, types[k / 4], ADDR(10, 9, 0, 1), n->addr);
		node_run(n, NIC_INGRESS, &in, &out);
		expect_through(n, &out, &in, R(ICMP_NACK) | R(FLOW_DEMOTED));
		node_flow(n, &key, &flow);
		CHECK(flow.stage != XM_STAGE_READY, "still READY");
		CHECK_EQ(entry->acked, 0);
	}

	for (unsigned int i = 0; i < sizeof(others); i++) {
		tap_case("nic_ingress: ICMP type %u says nothing", others[i]);
		begin(&node_a, IPPROTO_TCP);
		pkt_flip(&spec.t, &spec.t);
		pkt_make(&about, &spec);
		pkt_icmp(&in, &about, others[i], n->peer_addr, n->addr);
		passes();
	}

	tap_case("nic_ingress: ICMP error about another's packet, port, protocol or label");
	for (int i = 0; i < 6 && !tap_failed(); i++) {
		begin(&node_a, IPPROTO_TCP);
		pkt_flip(&spec.t, &spec.t);
		spec.t.saddr = i == 0 ? ADDR_STR : spec.t.saddr;
		spec.t.dport = i == 1 ? PORT(443) : spec.t.dport;
		spec.t.sport = i == 2 ? PORT(XM_LABEL_PORT_BASE - 1) : spec.t.sport;
		spec.t.sport = i == 3 ? PORT(XM_LABEL_PORT_BASE) : spec.t.sport;
		spec.ip_opts = i == 4;
		pkt_make(&about, &spec);
		if (i == 5)
			about.data[OFF_IP + 9] = IPPROTO_SCTP;
		pkt_icmp(&in, &about, 3, n->peer_addr, n->addr);
		passes();
		node_flow(n, &key, &flow);
		CHECK_EQ(flow.stage, XM_STAGE_READY);
	}

	tap_case("nic_ingress: ICMP error cut to every length");
	begin(&node_a, IPPROTO_TCP);
	pkt_flip(&spec.t, &spec.t);
	pkt_make(&about, &spec);
	pkt_icmp(&in, &about, 3, n->peer_addr, n->addr);
	for (in.len = OFF_L4 + 8 + 23; in.len >= 14 && !tap_failed(); in.len--)
		if (node_run_cut(n, NIC_INGRESS, &in, &out))
			expect_through(n, &out, &in, 0);
	in.len = OFF_L4 + 8 + 24;
	node_run(n, NIC_INGRESS, &in, &out);
	expect_through(n, &out, &in, R(ICMP_NACK) | R(FLOW_DEMOTED));
}

void suite_nic_ingress(void)
{
	hits(&node_a, IPPROTO_TCP);
	hits(&node_a, IPPROTO_UDP);
	hits(&node_b, IPPROTO_TCP);
	hits(&node_b, IPPROTO_UDP);
	nonlinear();
	checksums();
	acks();
	other_traffic();
	icmp_errors();
}
