// SPDX-License-Identifier: GPL-2.0-only
/* xmasq_nic_egress: our own packets, the guard, and how flows begin at the NIC. */
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
static struct xm_flow flow, before;
static struct pkt in, inner, want;
static struct outcome out;

static void begin(struct node *node, __u8 proto, __u16 type)
{
	n = node;
	node_reset(n);
	node_key(n, proto, &key);
	node_spec(n, &key, &spec);
	node_tunnel(n, type, &tun);
}

static void make(void)
{
	pkt_make(&inner, &spec);
	pkt_tunnel(&in, &inner, &tun);
}

/* Sends @in. An owner's overlay packet that tells no label has the top bit set. */
static void sends(__u64 reasons, bool top_bit)
{
	want = in;
	if (top_bit)
		pkt_set16(&want, OFF_L4, tun.sport | 0x8000);
	if (top_bit && pkt_get16(&in, OFF_L4 + 6))
		pkt_fix(&want);
	node_run(n, NIC_EGRESS, &in, &out);
	expect_through(n, &out, &want, reasons);
	CHECK_EQ(out.bytes, 0);
}

/* ---- packets that are nobody's tunnel ---- */

static void marks(void)
{
	static const __u32 near[] = { 0, 1, MARK - 1, MARK + 1, MARK ^ 0x80000000u, MARK << 8 };
	struct __sk_buff ctx;

	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	node_masq_spec(&node_b, &key, 0x77, &spec);
	pkt_make(&in, &spec);

	tap_case("nic_egress: our mark passes and is cleared");
	ctx = (struct __sk_buff){ .ifindex = n->nic, .mark = MARK };
	CHECK_EQ(node_run_ctx(n, NIC_EGRESS, &in, &ctx, 0, &out), 0);
	expect_through(n, &out, &in, 0);

	for (unsigned int i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
		tap_case("nic_egress: mark %#x is not ours, and stays", near[i]);
		ctx = (struct __sk_buff){ .ifindex = n->nic, .mark = near[i] };
		CHECK_EQ(node_run_ctx(n, NIC_EGRESS, &in, &ctx, 0, &out), 0);
		expect(n, &out, SHOT, R(GUARD));
		CHECK_EQ(out.mark, near[i]);
		CHECK_EQ(out.bytes, in.len);
	}
}

/* Before nic_egress on the same hook: a packet meets both, and it is as if it met one. */
static void run_first(struct __sk_buff *ctx)
{
	int second = n->fd[NIC_EGRESS];

	n->fd[NIC_EGRESS] = n->nic_first_fd;
	CHECK_EQ(node_run_ctx(n, NIC_EGRESS, &in, ctx, 0, &out), 0);
	n->fd[NIC_EGRESS] = second;
}

static void both(void)
{
	struct __sk_buff ctx;
	struct pkt once;

	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	node_masq_spec(&node_b, &key, 0x77, &spec);
	pkt_make(&in, &spec);

	tap_case("nic_first: our mark passes, and is there for nic_egress");
	ctx = (struct __sk_buff){ .ifindex = n->nic, .mark = MARK };
	run_first(&ctx);
	expect(n, &out, UNSPEC, 0);
	CHECK_EQ(out.mark, MARK);
	pkt_same(&out.pkt, &in, "packet for nic_egress");

	tap_case("nic_first: what is not ours is dropped as by nic_egress");
	ctx = (struct __sk_buff){ .ifindex = n->nic, .mark = MARK ^ 1 };
	run_first(&ctx);
	expect(n, &out, SHOT, R(GUARD));

	for (int label = 0; label <= 0x99; label += 0x99) {
		tap_case("nic_first, nic_egress: an overlay packet %s is the same after both",
			 label ? "with a label" : "without a label");
		begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
		if (label)
			node_ready(n, &key, (__u16)label);
		make();
		ctx = (struct __sk_buff){ .ifindex = n->nic };
		run_first(&ctx);
		CHECK_EQ(out.verdict, UNSPEC);
		CHECK_EQ(pkt_get16(&out.pkt, OFF_L4), label ? label : tun.sport | 0x8000);
		once = in = out.pkt;
		node_run(n, NIC_EGRESS, &in, &out);
		CHECK_EQ(out.verdict, UNSPEC);
		pkt_same(&out.pkt, &once, "packet after both");
	}
}

static void guards(void)
{
	static const struct {
		const char *name;
		__u16 sport, dport, frag;
		__u8 proto, opts, flags;
		bool stranger, drop;
	} rows[] = {
		{ "TCP to the port", 40000, MASQ_PORT, 0, IPPROTO_TCP, 0, ACK, false, true },
		{ "TCP from the port", MASQ_PORT, 40000, 0, IPPROTO_TCP, 0, ACK, false, true },
		{ "SYN to the port", 40000, MASQ_PORT, 0, IPPROTO_TCP, 0, SYN, false, true },
		{ "RST from the port", MASQ_PORT, 33000, 0, IPPROTO_TCP, 0, RST, false, true },
		{ "UDP to the port", 40000, MASQ_PORT, 0, IPPROTO_UDP, 0, 0, false, true },
		{ "UDP from the port", MASQ_PORT, 32768, 0, IPPROTO_UDP, 0, 0, false, true },
		{ "UDP from the port, by NAT", MASQ_PORT, 53, 0, IPPROTO_UDP, 0, 0, false, false },
		{ "UDP port to port", MASQ_PORT, MASQ_PORT, 0, IPPROTO_UDP, 0, 0, false, true },
		{ "IP options", 40000, MASQ_PORT, 0, IPPROTO_TCP, 3, ACK, false, true },
		{ "most IP options", 40000, MASQ_PORT, 0, IPPROTO_UDP, 10, 0, false, true },
		{ "first fragment", 40000, MASQ_PORT, 0x2000, IPPROTO_UDP, 0, 0, false, true },
		{ "later fragment", 40000, MASQ_PORT, 0x0010, IPPROTO_UDP, 0, 0, false, false },
		{ "other ports", 40000, MASQ_PORT + 1, 0, IPPROTO_TCP, 0, ACK, false, false },
		{ "ICMP", 40000, MASQ_PORT, 0, IPPROTO_ICMP, 0, 0, false, false },
		{ "TCP to a stranger", 40000, MASQ_PORT, 0, IPPROTO_TCP, 0, ACK, true, false },
		{ "UDP to a stranger", MASQ_PORT, MASQ_PORT, 0, IPPROTO_UDP, 0, 0, true, false },
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tap_case("nic_egress: guard: %s is %s", rows[i].name,
			 rows[i].drop ? "dropped" : "let through");
		/* From the node itself and, routed without NAT, from a pod. */
		for (int pod = 0; pod < 2; pod++) {
			begin(&node_a, rows[i].proto, XM_OVERLAY_VXLAN);
			spec.t.saddr = pod ? n->pod_addr : n->addr;
			spec.t.daddr = rows[i].stranger ? ADDR_STR : n->peer_addr;
			spec.t.sport = PORT(rows[i].sport);
			spec.t.dport = PORT(rows[i].dport);
			spec.ip_opts = rows[i].opts;
			spec.frag = rows[i].frag;
			spec.flags = rows[i].flags;
			pkt_make(&in, &spec);
			node_run(n, NIC_EGRESS, &in, &out);
			if (rows[i].drop) {
				expect(n, &out, SHOT, R(GUARD));
				CHECK_EQ(out.bytes, in.len);
			} else {
				expect_through(n, &out, &in, 0);
			}
		}
	}

	tap_case("nic_egress: guard: a slot that was given up protects nobody");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	n->peers[PEER_IDX].used = 0;
	spec.t.daddr = n->peer_addr;
	spec.t.dport = PORT(MASQ_PORT);
	pkt_make(&in, &spec);
	node_run(n, NIC_EGRESS, &in, &out);
	expect_through(n, &out, &in, 0);

	tap_case("nic_egress: guard: a slot that is another peer's protects nobody");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	n->peers[PEER_IDX].addr = ADDR_STR;
	spec.t.daddr = n->peer_addr;
	spec.t.dport = PORT(MASQ_PORT);
	pkt_make(&in, &spec);
	node_run(n, NIC_EGRESS, &in, &out);
	expect_through(n, &out, &in, 0);
}

/* ---- flows begin ---- */

static void no_flow_made(void)
{
	CHECK(!node_flow(n, &key, &flow), "a flow entry was made");
}

static void flows_begin(struct node *node, __u8 proto, __u16 type)
{
	const char *what = type == XM_OVERLAY_VXLAN ? "VXLAN" : "Geneve";
	const char *p = proto == IPPROTO_TCP ? "TCP" : "UDP";
	__u32 now;

	tap_case("nic_egress: %s, %s in %s: a flow begins", node->name, p, what);
	begin(node, proto, type);
	now = node_now(n);
	make();
	sends(R(FLOW_NEW), n->owner);
	if (!CHECK(node_flow(n, &key, &flow), "no flow entry"))
		return;
	CHECK(!memcmp(flow.eth, n->nic_eth, XM_ETH_LEN), "Ethernet header not learned");
	CHECK_EQ(flow.node, n->addr);
	CHECK_EQ(flow.peer, n->peer_addr);
	CHECK_EQ(flow.nic_ifindex, n->nic);
	CHECK_EQ(flow.pod_ifindex, 0);
	CHECK_EQ(flow.label, 0);
	CHECK_EQ(flow.peer_idx, PEER_IDX);
	CHECK_EQ(flow.peer_gen, PEER_GEN);
	CHECK_EQ(flow.stage, XM_STAGE_NEW);
	CHECK_EQ(flow.ended, 0);
	CHECK(!xm_before(node_now(n), flow.out_until), "egress lease without evidence");
	CHECK(!xm_before(node_now(n), flow.in_until), "ingress lease without evidence");
	CHECK(now - flow.nic_in >= RENEW && now - flow.pod_out >= RENEW, "evidence from nowhere");
	CHECK(node_now(n) - n->peers[PEER_IDX].seen < 1000, "peer not seen");

	tap_case("nic_egress: %s, %s in %s: no lease without the pod's packet", node->name, p,
		 what);
	sends(0, n->owner);
	flow.pod_out = node_now(n) - RENEW;
	node_set_flow(n, &key, &flow);
	sends(0, n->owner);
	node_flow(n, &key, &flow);
	CHECK(!xm_before(node_now(n), flow.out_until), "egress lease on stale evidence");

	tap_case("nic_egress: %s, %s in %s: an egress lease", node->name, p, what);
	now = node_now(n);
	flow.pod_out = now - RENEW + 5000;
	node_set_flow(n, &key, &flow);
	sends(R(LEASE_OUT), n->owner);
	node_flow(n, &key, &flow);
	CHECK(flow.out_until - now - LEASE < 1000, "lease of %u", flow.out_until - now);
	CHECK(flow.renew_at - now - RENEW < 1000, "renewal in %u", flow.renew_at - now);
}

static void peers(void)
{
	tap_case("nic_egress: no flow towards a peer that is down");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	node_peer(n, PEER_IDX, n->peer_addr, PEER_GEN, false);
	make();
	sends(0, true);
	no_flow_made();

	tap_case("nic_egress: no flow for the protocol that does not get through");
	begin(&node_a, IPPROTO_UDP, XM_OVERLAY_VXLAN);
	n->peers[PEER_IDX].up_until[XM_UDP] = node_now64(n);
	make();
	sends(0, true);
	no_flow_made();

	tap_case("nic_egress: no flow from an address that is not this node's");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	tun.saddr = ADDR_STR;
	make();
	sends(0, false);
	no_flow_made();

	tap_case("nic_egress: every address of the node counts");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	tun.saddr = n->cfg.node[0];
	make();
	sends(R(FLOW_NEW), false); /* by that address it is not the owner */
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.node, n->cfg.node[0]);

	tap_case("nic_egress: the same pods' flow over another address starts over");
	tun.saddr = n->addr;
	make();
	sends(R(FLOW_RESET), true);
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.node, n->addr);

	tap_case("nic_egress: an unused address of the configuration is no node");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	tun.saddr = 0;
	make();
	sends(0, false);
	no_flow_made();

	tap_case("nic_egress: a peer's new generation starts the flow over");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	node_ready(n, &key, 0x99);
	n->peers[PEER_IDX].gen++;
	make();
	sends(R(FLOW_RESET), true);
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.stage, XM_STAGE_NEW);
	CHECK_EQ(flow.peer_gen, PEER_GEN + 1);
	CHECK_EQ(flow.label, 0);
	CHECK_EQ(node_label(n, n->peer_addr, 0x99, IPPROTO_TCP)->tag, 0);

	tap_case("nic_egress: guard: from a low port to the port: the node may, a pod may not");
	for (int i = 0; i < 2 && !tap_failed(); i++) {
		struct __sk_buff ctx = { .ifindex = n->nic };

		begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
		ctx.ifindex = n->nic;
		ctx.ingress_ifindex = i ? n->pod : 0;
		spec.t.saddr = n->addr;
		spec.t.daddr = n->peer_addr;
		spec.t.sport = PORT(6443);
		spec.t.dport = PORT(MASQ_PORT);
		pkt_make(&in, &spec);
		CHECK_EQ(node_run_ctx(n, NIC_EGRESS, &in, &ctx, 0, &out), 0);
		if (i)
			expect(n, &out, SHOT, R(GUARD));
		else
			expect_through(n, &out, &in, 0);
	}

	tap_case("nic_egress: a pod's own tunnel packet shows nothing and tells nothing");
	for (int i = 0; i < 2 && !tap_failed(); i++) {
		struct __sk_buff ctx = { .ifindex = n->nic, .ingress_ifindex = n->pod };

		begin(i ? &node_b : &node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
		ctx.ifindex = n->nic;
		ctx.ingress_ifindex = n->pod;
		tun.sport = 0x99;
		node_ready(n, &key, 0x99);
		node_flow(n, &key, &flow);
		flow.pod_out = node_now(n);
		flow.out_until = node_now(n);
		node_set_flow(n, &key, &flow);
		before = flow;
		make();
		CHECK_EQ(node_run_ctx(n, NIC_EGRESS, &in, &ctx, 0, &out), 0);
		CHECK_EQ(out.verdict, UNSPEC);
		CHECK_EQ(pkt_get16(&out.pkt, OFF_L4), i ? 0x99 : 0x99 | 0x8000);
		node_flow(n, &key, &flow);
		CHECK(!memcmp(&before, &flow, sizeof(flow)), "flow entry changed");
	}

	tap_case("nic_egress: a running flow cannot be moved to another peer");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	node_ready(n, &key, 0x99);
	node_peer(n, 5, ADDR_STR, 1, true);
	tun.daddr = ADDR_STR;
	make();
	sends(0, true);
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.peer, n->peer_addr);
	CHECK_EQ(flow.stage, XM_STAGE_READY);

	tap_case("nic_egress: a pod that moved to another peer starts the flow over");
	flow.out_until = node_now(n);
	node_set_flow(n, &key, &flow);
	make();
	sends(R(FLOW_RESET), true);
	node_flow(n, &key, &flow);
	CHECK_EQ(flow.peer, ADDR_STR);
	CHECK_EQ(flow.peer_idx, 5);
	CHECK_EQ(node_label(n, n->peer_addr, 0x99, IPPROTO_TCP)->tag, 0);

	tap_case("nic_egress: flow table full: the overlay goes on");
	begin(&node_a, IPPROTO_UDP, XM_OVERLAY_VXLAN);
	memset(&flow, 0, sizeof(flow));
	for (int i = 0; i < N_FLOWS; i++) {
		key.sport = PORT(1000 + i);
		node_set_flow(n, &key, &flow);
	}
	make();
	sends(R(FLOW_TABLE_FULL), true);
}

static void strangers(void)
{
	tap_case("nic_egress: an unknown node is reported once a second");
	begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
	tun.daddr = ADDR_STR;
	make();
	sends(R(PEER_SEEN), false);
	CHECK_EQ(node_events(n), 1);
	CHECK_EQ(n->event.type, XM_EV_PEER_SEEN);
	CHECK_EQ(n->event.peer, ADDR_STR);
	CHECK_EQ(n->event.node, n->addr);
	CHECK_EQ(n->event.ifindex, n->nic);
	CHECK_EQ(n->event.len, 0);
	CHECK_EQ(n->event.leaving, 1);
	CHECK(!memcmp(n->event.eth, tun.eth, XM_ETH_LEN), "Ethernet addresses to the node");
	no_flow_made();
	for (int i = 0; i < 5; i++)
		sends(0, false);
	CHECK_EQ(node_events(n), 0);

	tap_case("nic_egress: another unknown node is reported at once");
	tun.daddr = ADDR(10, 9, 2, 5);
	make();
	sends(R(PEER_SEEN), false);
	CHECK_EQ(node_events(n), 1);

	for (unsigned int r = XM_REPORT_ANY; r <= XM_REPORT_LEAVING; r++) {
		tap_case("nic_egress: a peer is reported once, asked for with %u", r);
		begin(&node_a, IPPROTO_TCP, XM_OVERLAY_VXLAN);
		make();
		n->peers[PEER_IDX].report = (__u8)r;
		for (int i = 0; i < 2; i++)
			node_run(n, NIC_EGRESS, &in, &out);
		CHECK_EQ(node_events(n), 1);
		CHECK_EQ(n->event.type, XM_EV_PEER_SEEN);
		CHECK_EQ(n->event.leaving, 1);
		CHECK(!memcmp(n->event.eth, tun.eth, XM_ETH_LEN), "Ethernet addresses to the peer");
		CHECK_EQ(n->peers[PEER_IDX].report, 0);
	}

	tap_case("nic_egress: no room in the ring: counted, not waited for");
	__u64 lost = 0;

	for (__u32 i = 0; i < 200 && !lost; i++) {
		tun.daddr = ADDR(10, 9, 3, i);
		make();
		node_run(n, NIC_EGRESS, &in, &out);
		pkt_same(&out.pkt, &in, "overlay packet");
		lost = out.n[XM_R_EVENT_LOST];
	}
	expect(n, &out, UNSPEC, R(PEER_SEEN) | R(EVENT_LOST));
	node_events(n);
}

/* ---- what is not taken for a flow ---- */

static void not_flows(void)
{
	static const struct {
		const char *name;
		__u16 type;
		__u32 off;
		__u16 val;
		bool outer; /* not a tunnel packet at all: not even the top bit */
	} rows[] = {
		{ "VXLAN without a VNI", XM_OVERLAY_VXLAN, OFF_TUN, 0, false },
		{ "Geneve version 1", XM_OVERLAY_GENEVE, OFF_TUN, 0x4300, false },
		{ "Geneve version 2", XM_OVERLAY_GENEVE, OFF_TUN, 0x8300, false },
		{ "Geneve OAM", XM_OVERLAY_GENEVE, OFF_TUN, 0x0380, false },
		{ "Geneve critical option", XM_OVERLAY_GENEVE, OFF_TUN, 0x0340, false },
		{ "Geneve with IPv4 inside", XM_OVERLAY_GENEVE, OFF_TUN + 2, 0x0800, false },
		{ "Geneve options too long", XM_OVERLAY_GENEVE, OFF_TUN, 0x3f00, false },
		{ "inner ARP", XM_OVERLAY_VXLAN, OFF_TUN + 8 + 12, 0x0806, false },
		{ "inner IPv6", XM_OVERLAY_VXLAN, OFF_TUN + 8 + 12, 0x86dd, false },
		{ "inner VLAN", XM_OVERLAY_VXLAN, OFF_TUN + 8 + 12, 0x8100, false },
		{ "inner first fragment", XM_OVERLAY_VXLAN, OFF_TUN + 28, 0x2000, false },
		{ "inner later fragment", XM_OVERLAY_VXLAN, OFF_TUN + 28, 0x0020, false },
		{ "inner IP options", XM_OVERLAY_VXLAN, OFF_TUN + 22, 0x4600, false },
		{ "inner ICMP", XM_OVERLAY_VXLAN, OFF_TUN + 30, 0x4001, false },
		{ "inner tot_len too large", XM_OVERLAY_VXLAN, OFF_TUN + 24, 74, false },
		{ "inner tot_len too small", XM_OVERLAY_VXLAN, OFF_TUN + 24, 39, false },
		{ "inner multicast", XM_OVERLAY_VXLAN, OFF_TUN + 38, 0xe000, false },
		{ "inner doff 4", XM_OVERLAY_VXLAN, OFF_TUN + 54, 0x4010, false },
		{ "inner SYN", XM_OVERLAY_VXLAN, OFF_TUN + 54, 0x5002, false },
		{ "inner FIN", XM_OVERLAY_VXLAN, OFF_TUN + 54, 0x5011, false },
		{ "inner RST", XM_OVERLAY_VXLAN, OFF_TUN + 54, 0x5004, false },
		{ "another port", XM_OVERLAY_VXLAN, OFF_L4 + 2, 4789, true },
		{ "port 0", XM_OVERLAY_VXLAN, OFF_L4 + 2, 0, true },
		{ "outer first fragment", XM_OVERLAY_VXLAN, OFF_IP + 6, 0x2000, true },
		{ "outer later fragment", XM_OVERLAY_VXLAN, OFF_IP + 6, 0x0020, true },
		{ "outer TCP", XM_OVERLAY_VXLAN, OFF_IP + 8, 0x4006, true },
		{ "outer IPv6", XM_OVERLAY_VXLAN, 12, 0x86dd, true },
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tap_case("nic_egress: no flow of %s", rows[i].name);
		begin(&node_a, IPPROTO_TCP, rows[i].type);
		make();
		pkt_set16(&in, rows[i].off, rows[i].val);
		sends(0, !rows[i].outer);
		no_flow_made();
	}

	for (int type = XM_OVERLAY_VXLAN; type <= XM_OVERLAY_GENEVE; type++) {
		tap_case("nic_egress: %s cut to every length",
			 type == XM_OVERLAY_VXLAN ? "VXLAN" : "Geneve");
		begin(&node_a, IPPROTO_TCP, (__u16)type);
		make();
		want = in;
		pkt_set16(&want, OFF_L4, tun.sport | 0x8000);
		for (__u32 len = in.len - 1; len >= 14 && !tap_failed(); len--) {
			in.len = want.len = len;
			if (!node_run_cut(n, NIC_EGRESS, &in, &out))
				continue;
			/* The checksum's bytes are needed to set the port. */
			expect_through(n, &out, len >= OFF_TUN ? &want : &in, 0);
			no_flow_made();
		}
	}
}

void suite_nic_egress(void)
{
	marks();
	both();
	guards();
	for (__u16 type = XM_OVERLAY_VXLAN; type <= XM_OVERLAY_GENEVE; type++) {
		flows_begin(&node_a, IPPROTO_TCP, type);
		flows_begin(&node_a, IPPROTO_UDP, type);
		flows_begin(&node_b, IPPROTO_TCP, type);
		flows_begin(&node_b, IPPROTO_UDP, type);
	}
	peers();
	strangers();
	not_flows();
}
