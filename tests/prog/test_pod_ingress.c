// SPDX-License-Identifier: GPL-2.0-only
/* xmasq_pod_ingress: what the CNI delivers to a pod. It never changes the packet. */
#include <netinet/in.h>
#include <string.h>

#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"

#define LABEL 0x0456

static struct node *n;
static struct xm_flow_key key;
static struct pkt_spec spec;
static struct xm_flow flow;
static struct xm_label *entry;
static struct xm_pod pod;
static struct pkt in;
static struct outcome out;

/* A flow whose leases are over, evidence at the NIC, and the CNI's next delivery. */
static void begin(struct node *node, __u8 proto)
{
	__u32 now;

	n = node;
	node_reset(n);
	node_key(n, proto, &key);
	node_ready(n, &key, LABEL);
	node_flow(n, &key, &flow);
	entry = node_label(n, n->peer_addr, LABEL, proto);
	now = node_now(n);
	flow.in_until = now - 10;
	flow.nic_in = now;
	entry->until = now - 10;
	node_set_flow(n, &key, &flow);
	spec = (struct pkt_spec){ .flags = ACK, .payload = 21, .ttl = 62 };
	pkt_flip(&spec.t, &key);
	memcpy(spec.eth, n->pod_eth, XM_ETH_LEN);
}

static void delivered_at(__u32 ifindex, __u64 reasons)
{
	pkt_make(&in, &spec);
	node_run_on(n, POD_INGRESS, &in, ifindex, &out);
	expect_through(n, &out, &in, reasons);
	if (!node_flow(n, &key, &flow))
		memset(&flow, 0, sizeof(flow));
}

static void delivered(__u64 reasons)
{
	delivered_at(n->pod, reasons);
}

static bool leased(void)
{
	return xm_before(node_now(n), flow.in_until);
}

static void leases(void)
{
	__u32 now;

	for (int i = 0; i < 4; i++) {
		tap_case("pod_ingress: a delivery is an ingress lease: %s, %s",
			 i & 1 ? "UDP" : "TCP", i & 2 ? "other node" : "owner");
		begin(i & 2 ? &node_b : &node_a, i & 1 ? IPPROTO_UDP : IPPROTO_TCP);
		now = node_now(n);
		delivered(R(LEASE_IN));
		CHECK(flow.in_until - now - IN_LEASE < 1000, "lease of %u", flow.in_until - now);
		CHECK_EQ(entry->until, flow.in_until);
		CHECK_EQ(flow.pod_ifindex, n->pod);
		CHECK_EQ(flow.stage, XM_STAGE_READY);
	}

	tap_case("pod_ingress: no lease without a packet at the NIC shortly before");
	begin(&node_a, IPPROTO_TCP);
	flow.nic_in = node_now(n) - RENEW;
	node_set_flow(n, &key, &flow);
	__u32 until = entry->until;

	delivered(0);
	CHECK(!leased(), "lease");
	CHECK_EQ(entry->until, until);

	tap_case("pod_ingress: evidence just fresh enough");
	begin(&node_a, IPPROTO_TCP);
	flow.nic_in = node_now(n) - RENEW + 5000;
	node_set_flow(n, &key, &flow);
	delivered(R(LEASE_IN));

	tap_case("pod_ingress: no flow entry, nothing made");
	begin(&node_a, IPPROTO_TCP);
	node_del_flow(n, &key);
	delivered(0);
	CHECK(!node_flow(n, &key, &flow), "made");

	tap_case("pod_ingress: a translated tuple is another flow's");
	begin(&node_a, IPPROTO_TCP);
	spec.t.saddr = ADDR(10, 96, 0, 10);
	delivered(0);
	CHECK(!leased(), "lease");

	tap_case("pod_ingress: the pod's own direction is no evidence");
	begin(&node_a, IPPROTO_TCP);
	spec.t = key;
	delivered(0);
	CHECK(!leased(), "lease");
}

static void learning(void)
{
	const __u8 eth[XM_ETH_LEN] = { 2, 9, 9, 9, 9, 9, 2, 8, 8, 8, 8, 8 };

	tap_case("pod_ingress: the pod's Ethernet header is learned");
	begin(&node_a, IPPROTO_TCP);
	memcpy(spec.eth, eth, XM_ETH_LEN);
	flow.pod_ifindex = n->other_pod;
	flow.label = 0;
	node_set_flow(n, &key, &flow);
	delivered_at(n->other_pod, R(LEASE_IN));
	CHECK(node_pod(n, n->other_pod, &pod) && !memcmp(pod.eth, eth, XM_ETH_LEN), "not learned");

	tap_case("pod_ingress: a change of it is, in the label's entry too");
	for (int i = 0; i < XM_ETH_LEN && !tap_failed(); i++) {
		begin(&node_a, IPPROTO_TCP);
		spec.eth[i] ^= 1;
		delivered(R(LEASE_IN));
		CHECK(node_pod(n, n->pod, &pod) && !memcmp(pod.eth, spec.eth, XM_ETH_LEN),
		      "byte %d not learned", i);
		CHECK(!memcmp(entry->eth, spec.eth, XM_ETH_LEN), "byte %d not in the entry", i);
	}

	tap_case("pod_ingress: another pod cannot draw a flow to itself");
	begin(&node_a, IPPROTO_TCP);
	delivered_at(n->other_pod, 0);
	CHECK_EQ(flow.pod_ifindex, n->pod);
	CHECK_EQ(entry->pod_ifindex, n->pod);

	tap_case("pod_ingress: nothing is learned without evidence");
	begin(&node_a, IPPROTO_TCP);
	memcpy(spec.eth, eth, XM_ETH_LEN);
	flow.pod_ifindex = 0;
	flow.nic_in = node_now(n) - RENEW;
	node_set_flow(n, &key, &flow);
	delivered_at(n->other_pod, 0);
	CHECK(!node_pod(n, n->other_pod, &pod), "learned");
	CHECK_EQ(flow.pod_ifindex, 0);

	tap_case("pod_ingress: an entry that is another flow's is not renewed");
	begin(&node_a, IPPROTO_TCP);
	entry->sport ^= PORT(1);
	__u32 until = entry->until;

	delivered(R(LEASE_IN));
	CHECK_EQ(entry->until, until);

	tap_case("pod_ingress: a slot that was given up is not renewed");
	begin(&node_a, IPPROTO_TCP);
	entry->tag = 0;
	until = entry->until;
	delivered(R(LEASE_IN));
	CHECK_EQ(entry->until, until);
	CHECK_EQ(entry->tag, 0);
}

static void tcp_edges(void)
{
	for (__u8 flags = FIN; flags <= RST; flags += RST - FIN) {
		tap_case("pod_ingress: %s ends the flow", flags == FIN ? "FIN" : "RST");
		begin(&node_a, IPPROTO_TCP);
		spec.flags = flags | ACK;
		delivered(R(FLOW_END));
		CHECK_EQ(flow.ended, 1);
		CHECK(!leased(), "lease");
		delivered(0);
	}

	tap_case("pod_ingress: SYN starts the flow over");
	begin(&node_b, IPPROTO_TCP);
	flow.ended = 1;
	node_set_flow(n, &key, &flow);
	spec.flags = SYN;
	delivered(R(FLOW_RESET));
	CHECK_EQ(flow.ended, 0);
	CHECK_EQ(flow.stage, XM_STAGE_NEW);
	CHECK_EQ(flow.label, 0);
	CHECK_EQ(entry->tag, 0);
	CHECK(entry->freed_at, "slot does not rest");

	tap_case("pod_ingress: a delivery to another pod ends nothing");
	begin(&node_a, IPPROTO_TCP);
	spec.flags = FIN | ACK;
	delivered_at(n->other_pod, 0);
	CHECK_EQ(flow.ended, 0);
}

static void not_eligible(void)
{
	static const struct {
		const char *name;
		__u32 off;
		__u16 val;
	} rows[] = {
		{ "ARP", 12, 0x0806 },
		{ "IPv6", 12, 0x86dd },
		{ "VLAN", 12, 0x8100 },
		{ "ICMP", OFF_IP + 8, 0x4001 },
		{ "first fragment", OFF_IP + 6, 0x2000 },
		{ "later fragment", OFF_IP + 6, 0x0001 },
		{ "IP options", OFF_IP, 0x4600 },
		{ "tot_len too large", OFF_IP + 2, 62 },
		{ "doff 4", OFF_L4 + 12, 0x4010 },
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tap_case("pod_ingress: no lease from %s", rows[i].name);
		begin(&node_a, IPPROTO_TCP);
		pkt_make(&in, &spec);
		pkt_set16(&in, rows[i].off, rows[i].val);
		node_run(n, POD_INGRESS, &in, &out);
		expect_through(n, &out, &in, 0);
		node_flow(n, &key, &flow);
		CHECK(!leased(), "lease");
	}

	tap_case("pod_ingress: cut to every length");
	begin(&node_a, IPPROTO_TCP);
	spec.payload = 0;
	for (__u32 len = 14; len < 54 && !tap_failed(); len++) {
		pkt_make(&in, &spec);
		in.len = len;
		if (node_run_cut(n, POD_INGRESS, &in, &out))
			expect_through(n, &out, &in, 0);
	}
}

void suite_pod_ingress(void)
{
	leases();
	learning();
	tcp_edges();
	not_eligible();
}
