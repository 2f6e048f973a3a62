// SPDX-License-Identifier: GPL-2.0-only
/* xmasq_pod_egress: what is masqueraded, to the byte, and what is left to the CNI. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <linux/bpf.h>

#include "node.h"
#include "xmasq.skel.h"
#include "suites.h"
#include "tap.h"

#define LABEL 0x1234

/* Since Linux 6.10; an older kernel refuses it. */
#ifndef BPF_F_TEST_SKB_CHECKSUM_COMPLETE
#define BPF_F_TEST_SKB_CHECKSUM_COMPLETE (1U << 2)
#endif

static struct node *n;
static struct xm_flow_key key;
static struct pkt_spec spec;
static struct xm_flow flow, after;
static struct pkt in, want;
static struct outcome out;

/* A flow that is READY and one data packet of it; tests spoil one thing. */
static void begin(struct node *node, __u8 proto)
{
	n = node;
	node_reset(n);
	node_key(n, proto, &key);
	node_ready(n, &key, LABEL);
	node_flow(n, &key, &flow);
	node_spec(n, &key, &spec);
}

static void put(void)
{
	node_set_flow(n, &key, &flow);
}

/* The masqueraded frame, made from scratch: whole checksums instead of differences. */
static void wanted(void)
{
	struct pkt_spec s = spec;

	memcpy(s.eth, n->nic_eth, XM_ETH_LEN);
	s.t.saddr = n->addr;
	s.t.daddr = n->peer_addr;
	s.t.sport = PORT(n->owner ? XM_LABEL_PORT_BASE + LABEL : MASQ_PORT);
	s.t.dport = PORT(n->owner ? MASQ_PORT : XM_LABEL_PORT_BASE + LABEL);
	pkt_make(&want, &s);
}

static void masquerades(void)
{
	const char *bad;

	pkt_make(&in, &spec);
	wanted();
	node_run(n, POD_EGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(MASQUERADED));
	CHECK_EQ(out.mark, MARK);
	CHECK_EQ(out.bytes, in.len);
	pkt_same(&out.pkt, &want, "masqueraded packet");
	bad = pkt_bad(&out.pkt);
	CHECK(!bad, "%s", bad);
}

static void runs_through(__u64 reason)
{
	node_run(n, POD_EGRESS, &in, &out);
	expect_through(n, &out, &in, reason);
	CHECK_EQ(out.bytes, in.len);
}

/* Sends the packet as it stands in @spec. */
static void stays(__u64 reason)
{
	pkt_make(&in, &spec);
	runs_through(reason);
	if (!node_flow(n, &key, &after))
		memset(&after, 0, sizeof(after));
}

static void hits(struct node *node, __u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	const char *role = node->owner ? "owner" : "other node";

	tap_case("pod_egress: %s of the %s is masqueraded", what, role);
	begin(node, proto);
	masquerades();

	tap_case("pod_egress: %s of the %s, every payload of 0 to 70 bytes", what, role);
	begin(node, proto);
	for (spec.payload = 0; spec.payload <= 70 && !tap_failed(); spec.payload++)
		masquerades();

	tap_case("pod_egress: %s of the %s, 1400 bytes", what, role);
	begin(node, proto);
	spec.payload = 1400;
	masquerades();

	tap_case("pod_egress: %s of the %s, every TOS byte, and TTL 3 to 255", what, role);
	begin(node, proto);
	for (int i = 3; i <= 255 && !tap_failed(); i++) {
		spec.ttl = (__u8)i;
		spec.tos = (__u8)(i ^ 0x55);
		spec.id = (__u16)(i * 257);
		masquerades();
	}

	tap_case("pod_egress: %s of the %s, without DF", what, role);
	begin(node, proto);
	spec.frag = 0;
	masquerades();

	tap_case("pod_egress: %s of the %s, every sum of 2^16 in the payload's word / 251", what,
		 role);
	begin(node, proto);
	for (__u32 w = 0; w < 65536 && !tap_failed(); w += 251) {
		spec.word = (__u16)w;
		masquerades();
	}

	tap_case("pod_egress: %s of the %s, bytes after the IP packet are kept", what, role);
	begin(node, proto);
	spec.payload = 2;
	pkt_make(&in, &spec);
	wanted();
	in.len = want.len = 64;
	in.data[63] = want.data[63] = 0xee;
	node_run(n, POD_EGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(MASQUERADED));
	pkt_same(&out.pkt, &want, "padded packet");

	tap_case("pod_egress: %s of the %s, the checksum of CHECKSUM_COMPLETE is kept up", what,
		 role);
	begin(node, proto);
	pkt_make(&in, &spec);
	struct __sk_buff ctx = { .ifindex = n->pod };
	int err = node_run_ctx(n, POD_EGRESS, &in, &ctx, BPF_F_TEST_SKB_CHECKSUM_COMPLETE, &out);

	if (err == -EINVAL)
		tap_skip("allowed: kernel before 6.10");
	else
		CHECK_EQ(err, 0);
}

/* What the kernel leaves in the checksum field of UDP that is yet to be segmented. */
static void set_pseudo(struct pkt *p)
{
	__u32 sum = IPPROTO_UDP + pkt_get16(p, OFF_L4 + 4);

	for (int i = 0; i < 4; i++)
		sum += pkt_get16(p, OFF_IP + 12 + 2 * i);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	pkt_set16(p, OFF_L4 + 6, (__u16)sum);
}

static void unsegmented(struct node *node)
{
	struct __sk_buff ctx = { .gso_size = 700, .gso_segs = 2 };

	tap_case("pod_egress: UDP of the %s, to be segmented, keeps a pseudo-header's sum",
		 node->owner ? "owner" : "other node");
	begin(node, IPPROTO_UDP);
	ctx.ifindex = n->pod;
	spec.payload = 1400;
	pkt_make(&in, &spec);
	set_pseudo(&in);
	wanted();
	set_pseudo(&want);
	CHECK_EQ(node_run_ctx(n, POD_EGRESS, &in, &ctx, 0, &out), 0);
	expect(n, &out, REDIRECT, R(MASQUERADED));
	pkt_same(&out.pkt, &want, "unsegmented packet");
}

static void checksums(void)
{
	unsegmented(&node_a);
	unsegmented(&node_b);

	tap_case("pod_egress: UDP without a checksum stays without");
	begin(&node_a, IPPROTO_UDP);
	spec.no_csum = true;
	masquerades();

	tap_case("pod_egress: a UDP checksum that becomes 0 is sent as 0xffff");
	begin(&node_a, IPPROTO_UDP);
	spec.t.saddr = n->addr;
	spec.t.daddr = n->peer_addr;
	spec.t.sport = PORT(XM_LABEL_PORT_BASE + LABEL);
	spec.t.dport = PORT(MASQ_PORT);
	pkt_tune(&spec);
	spec.t = key;
	masquerades();
	CHECK_EQ(pkt_get16(&out.pkt, OFF_L4 + 6), 0xffff);

	tap_case("pod_egress: a UDP checksum of 0xffff is a checksum");
	begin(&node_a, IPPROTO_UDP);
	pkt_tune(&spec);
	pkt_make(&in, &spec);
	CHECK_EQ(pkt_get16(&in, OFF_L4 + 6), 0xffff);
	masquerades();

	tap_case("pod_egress: a wrong TCP checksum stays as wrong as it was");
	begin(&node_a, IPPROTO_TCP);
	pkt_make(&in, &spec);
	pkt_set16(&in, OFF_L4 + 16, pkt_get16(&in, OFF_L4 + 16) ^ 0x0100);
	node_run(n, POD_EGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(MASQUERADED));
	CHECK_EQ(pkt_l4_rest(&out.pkt), pkt_l4_rest(&in));
	CHECK_EQ(pkt_ip_rest(&out.pkt), 0);

	tap_case("pod_egress: TCP options are carried along");
	begin(&node_a, IPPROTO_TCP);
	spec.tcp_opts = 10;
	masquerades();
}

static void flow_states(void)
{
	__u32 now;

	tap_case("pod_egress: no flow entry");
	begin(&node_a, IPPROTO_TCP);
	node_del_flow(n, &key);
	stays(R(NO_FLOW));

	tap_case("pod_egress: every part of the tuple counts");
	for (int i = 0; i < 5 && !tap_failed(); i++) {
		begin(&node_a, IPPROTO_TCP);
		spec.t.saddr ^= i == 0 ? ADDR(0, 0, 0, 1) : 0;
		spec.t.daddr ^= i == 1 ? ADDR(0, 0, 0, 1) : 0;
		spec.t.sport ^= i == 2 ? PORT(1) : 0;
		spec.t.dport ^= i == 3 ? PORT(1) : 0;
		spec.t.proto = i == 4 ? IPPROTO_UDP : IPPROTO_TCP;
		stays(R(NO_FLOW));
	}

	for (int stage = XM_STAGE_NEW; stage <= XM_STAGE_TOLD; stage++) {
		tap_case("pod_egress: stage %d is not yet accelerated, but noted", stage);
		begin(&node_a, IPPROTO_TCP);
		flow.stage = (__u8)stage;
		put();
		now = node_now(n);
		stays(R(NOT_AGREED));
		CHECK(after.pod_out - now < 1000, "pod_out %u, now %u", after.pod_out, now);
	}

	tap_case("pod_egress: a flow that ended");
	begin(&node_a, IPPROTO_TCP);
	flow.ended = 1;
	put();
	stays(R(ENDED));

	tap_case("pod_egress: egress lease over; the packet is evidence for the next");
	begin(&node_a, IPPROTO_TCP);
	now = node_now(n);
	flow.out_until = now;
	put();
	stays(R(LEASE_OVER));
	CHECK(after.pod_out - now < 1000, "pod_out %u, now %u", after.pod_out, now);

	tap_case("pod_egress: ingress lease over");
	begin(&node_a, IPPROTO_TCP);
	flow.in_until = node_now(n);
	put();
	stays(R(LEASE_OVER));

	tap_case("pod_egress: leases end across the wrap of jiffies' low half");
	begin(&node_a, IPPROTO_TCP);
	flow.out_until = node_now(n) - 0x7fff0000u;
	put();
	stays(R(LEASE_OVER));

	tap_case("pod_egress: the interface that sends first is the flow's");
	begin(&node_a, IPPROTO_TCP);
	flow.pod_ifindex = 0;
	flow.stage = XM_STAGE_NEW;
	put();
	stays(R(NOT_AGREED));
	node_flow(n, &key, &after);
	CHECK_EQ(after.pod_ifindex, n->pod);

	tap_case("pod_egress: another pod under this pod's address gets and proves nothing");
	begin(&node_a, IPPROTO_TCP);
	pkt_make(&in, &spec);
	node_run_on(n, POD_EGRESS, &in, n->other_pod, &out);
	expect_through(n, &out, &in, R(OTHER_POD));
	node_flow(n, &key, &after);
	CHECK(!memcmp(&after, &flow, sizeof(flow)), "flow entry changed");

	tap_case("pod_egress: one renewal in each retry period");
	begin(&node_a, IPPROTO_TCP);
	now = node_now(n);
	flow.renew_at = now;
	put();
	stays(R(RENEWAL));
	CHECK(after.renew_at - now - RETRY < 1000, "next try in %u", after.renew_at - now);
	CHECK(after.pod_out - now < 1000, "pod_out %u, now %u", after.pod_out, now);
	for (int i = 0; i < 20 && !tap_failed(); i++)
		masquerades();
	flow.renew_at = node_now(n);
	put();
	stays(R(RENEWAL));
	masquerades();
}

static void peer_states(void)
{
	for (int proto = 0; proto < 2; proto++) {
		const __u8 protos[2] = { IPPROTO_TCP, IPPROTO_UDP };

		tap_case("pod_egress: peer down for %s only", proto ? "UDP" : "TCP");
		begin(&node_a, protos[proto]);
		n->peers[PEER_IDX].up_until[proto] = node_now64(n);
		stays(R(PEER_DOWN));
		begin(&node_a, protos[!proto]);
		n->peers[PEER_IDX].up_until[proto] = 0;
		masquerades();
	}

	tap_case("pod_egress: up_until is 64 bits wide");
	begin(&node_a, IPPROTO_TCP);
	n->peers[PEER_IDX].up_until[XM_TCP] = node_now64(n) + (1ull << 32) - 5;
	masquerades();
	n->peers[PEER_IDX].up_until[XM_TCP] = node_now64(n) - (1ull << 32) + 1000000;
	stays(R(PEER_DOWN));

	tap_case("pod_egress: peer's generation changed");
	begin(&node_a, IPPROTO_TCP);
	n->peers[PEER_IDX].gen++;
	stays(R(PEER_DOWN));

	tap_case("pod_egress: peer index out of range");
	begin(&node_a, IPPROTO_TCP);
	flow.peer_idx = N_PEERS;
	put();
	stays(R(PEER_DOWN));
}

static void tcp_edges(void)
{
	struct xm_label *e;

	for (int i = 0; i < 4; i++) {
		static const struct {
			const char *name;
			__u8 flags;
		} ends[] = { { "FIN", FIN | ACK },
			     { "RST", RST },
			     { "RST ACK", RST | ACK },
			     { "FIN PSH", FIN | PSH | ACK } };

		tap_case("pod_egress: %s ends the flow at once", ends[i].name);
		begin(&node_a, IPPROTO_TCP);
		e = node_label(n, n->peer_addr, LABEL, IPPROTO_TCP);
		spec.flags = ends[i].flags;
		stays(R(TCP_FLAGS) | R(FLOW_END));
		CHECK_EQ(after.ended, 1);
		/* What the peer has in flight is still restored. */
		CHECK_EQ(after.label, LABEL);
		CHECK(e->tag, "label given up");
		stays(R(TCP_FLAGS));
		spec.flags = ACK;
		stays(R(ENDED));
	}

	tap_case("pod_egress: SYN starts the tuple over and gives up its label");
	begin(&node_a, IPPROTO_TCP);
	flow.ended = 1;
	put();
	e = node_label(n, n->peer_addr, LABEL, IPPROTO_TCP);
	spec.flags = SYN;
	stays(R(TCP_FLAGS) | R(FLOW_RESET));
	CHECK_EQ(after.stage, XM_STAGE_NEW);
	CHECK_EQ(after.ended, 0);
	CHECK_EQ(after.label, 0);
	CHECK(!xm_before(node_now(n), after.out_until), "egress lease left");
	CHECK(!xm_before(node_now(n), after.in_until), "ingress lease left");
	CHECK_EQ(e->tag, 0);
	CHECK(e->freed_at, "slot does not rest");
	spec.flags = ACK;
	stays(R(NOT_AGREED));

	tap_case("pod_egress: SYN of a tuple leaves another flow's label alone");
	begin(&node_a, IPPROTO_TCP);
	e = node_label(n, n->peer_addr, LABEL, IPPROTO_TCP);
	e->dport ^= PORT(1);
	spec.flags = SYN | ACK;
	stays(R(TCP_FLAGS) | R(FLOW_RESET));
	CHECK(e->tag, "label of another flow given up");

	tap_case("pod_egress: another pod cannot end the flow");
	begin(&node_a, IPPROTO_TCP);
	for (__u8 flags = SYN; flags; flags = flags == SYN ? FIN : flags == FIN ? RST : 0) {
		spec.flags = flags;
		pkt_make(&in, &spec);
		node_run_on(n, POD_EGRESS, &in, n->other_pod, &out);
		expect_through(n, &out, &in, R(TCP_FLAGS));
	}
	node_flow(n, &key, &after);
	CHECK(!memcmp(&after, &flow, sizeof(flow)), "flow entry changed");

	tap_case("pod_egress: SYN without a flow");
	begin(&node_a, IPPROTO_TCP);
	node_del_flow(n, &key);
	spec.flags = SYN;
	stays(R(TCP_FLAGS));
}

/* Two bytes of the frame set to a value; the IP checksum made good when @fix. */
static const struct spoil {
	const char *name;
	__u8 proto;
	__u32 off;
	__u16 val;
	bool fix;
	__u64 reason;
} spoils[] = {
	{ "more fragments", IPPROTO_TCP, OFF_IP + 6, 0x2000, true, R(FRAGMENT) },
	{ "later fragment", IPPROTO_TCP, OFF_IP + 6, 0x0001, true, R(FRAGMENT) },
	{ "last fragment far out", IPPROTO_UDP, OFF_IP + 6, 0x1fff, true, R(FRAGMENT) },
	{ "IHL 0", IPPROTO_TCP, OFF_IP, 0x4000, false, R(TRUNCATED) },
	{ "IHL 4", IPPROTO_TCP, OFF_IP, 0x4400, false, R(TRUNCATED) },
	{ "IHL 15", IPPROTO_TCP, OFF_IP, 0x4f00, false, R(IP_OPTIONS) },
	{ "version 6 under ethertype IPv4", IPPROTO_TCP, OFF_IP, 0x6500, false, R(TRUNCATED) },
	{ "version 5", IPPROTO_TCP, OFF_IP, 0x5600, false, R(TRUNCATED) },
	{ "tot_len 0", IPPROTO_TCP, OFF_IP + 2, 0, true, R(TRUNCATED) },
	{ "tot_len of an IP header", IPPROTO_TCP, OFF_IP + 2, 20, true, R(TRUNCATED) },
	{ "tot_len one short of TCP", IPPROTO_TCP, OFF_IP + 2, 39, true, R(TRUNCATED) },
	{ "tot_len one short of UDP", IPPROTO_UDP, OFF_IP + 2, 27, true, R(TRUNCATED) },
	{ "tot_len one beyond the frame", IPPROTO_TCP, OFF_IP + 2, 74, true, R(TRUNCATED) },
	{ "tot_len 65535", IPPROTO_UDP, OFF_IP + 2, 65535, true, R(TRUNCATED) },
	{ "doff 0", IPPROTO_TCP, OFF_L4 + 12, 0x0010, true, R(TRUNCATED) },
	{ "doff 4", IPPROTO_TCP, OFF_L4 + 12, 0x4010, true, R(TRUNCATED) },
	{ "ARP", IPPROTO_TCP, 12, 0x0806, false, R(NOT_IPV4) },
	{ "IPv6", IPPROTO_TCP, 12, 0x86dd, false, R(NOT_IPV4) },
	{ "VLAN", IPPROTO_TCP, 12, 0x8100, false, R(NOT_IPV4) },
	{ "QinQ", IPPROTO_TCP, 12, 0x88a8, false, R(NOT_IPV4) },
	{ "802.3 length", IPPROTO_TCP, 12, 0x0100, false, R(NOT_IPV4) },
	{ "TTL 2", IPPROTO_TCP, OFF_IP + 8, 2 << 8 | IPPROTO_TCP, true, R(TTL) },
	{ "TTL 1", IPPROTO_UDP, OFF_IP + 8, 1 << 8 | IPPROTO_UDP, true, R(TTL) },
	{ "TTL 0", IPPROTO_UDP, OFF_IP + 8, 0 << 8 | IPPROTO_UDP, true, R(TTL) },
	{ "ICMP", IPPROTO_UDP, OFF_IP + 8, 63 << 8 | IPPROTO_ICMP, true, R(NOT_TCP_UDP) },
	{ "SCTP", IPPROTO_TCP, OFF_IP + 8, 63 << 8 | IPPROTO_SCTP, true, R(NOT_TCP_UDP) },
	{ "UDP-Lite", IPPROTO_UDP, OFF_IP + 8, 63 << 8 | IPPROTO_UDPLITE, true, R(NOT_TCP_UDP) },
};

static void never_eligible(void)
{
	static const __be32 dests[] = { ADDR(224, 0, 0, 1), ADDR(239, 255, 255, 255),
					ADDR(255, 255, 255, 255) };

	for (unsigned int i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
		const struct spoil *s = &spoils[i];

		tap_case("pod_egress: never eligible: %s", s->name);
		begin(&node_a, s->proto);
		pkt_make(&in, &spec);
		pkt_set16(&in, s->off, s->val);
		if (s->fix && s->off < OFF_L4 && s->off != OFF_IP + 2)
			pkt_fix(&in);
		runs_through(s->reason);
		node_flow(n, &key, &after);
		CHECK(!memcmp(&after, &flow, sizeof(flow)), "flow entry changed");
	}

	for (int i = 0; i < 3; i++) {
		tap_case("pod_egress: never eligible: destination %u.x",
			 ((const __u8 *)&dests[i])[0]);
		begin(&node_a, IPPROTO_UDP);
		spec.t.daddr = dests[i];
		/* Even with a flow entry of that tuple. */
		node_set_flow(n, &spec.t, &flow);
		stays(R(MULTICAST));
	}

	tap_case("pod_egress: never eligible: 1 to 10 words of IP options");
	for (__u8 words = 1; words <= 10 && !tap_failed(); words++) {
		begin(&node_a, words & 1 ? IPPROTO_TCP : IPPROTO_UDP);
		spec.ip_opts = words;
		stays(R(IP_OPTIONS));
	}
}

/* What a NIC takes: that of the tests 1500 bytes, "lo" 64 KiB. */
static void sizes(__u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	struct __sk_buff ctx = { .gso_size = 700, .gso_segs = 2 };
	__u32 *max;

	tap_case("pod_egress: %s that just fits the underlay's interfaces", what);
	begin(&node_a, proto);
	spec.payload = 1200;
	pkt_make(&in, &spec);
	max = &n->skel->data->nic_frame_max;
	*max = in.len;
	masquerades();

	tap_case("pod_egress: %s that does not fit takes the overlay, with evidence of its pod",
		 what);
	begin(&node_a, proto);
	spec.payload = 1500;
	stays(R(TOO_BIG));
	CHECK_EQ(after.stage, XM_STAGE_READY);
	CHECK(node_now(n) - after.pod_out < SECOND, "not noted");
	spec.payload = 1200;
	masquerades();

	tap_case("pod_egress: %s that does not fit the smallest interface, but its own", what);
	begin(&node_a, proto);
	spec.payload = 1201;
	masquerades();
	flow.nic_ifindex = 1;
	put();
	spec.payload = 1500;
	masquerades();

	*max = 1514;
	for (int fits = 0; fits < 2; fits++) {
		tap_case("pod_egress: %s whose segments %s", what, fits ? "fit" : "do not fit");
		begin(&node_a, proto);
		ctx.ifindex = n->pod;
		ctx.gso_size = fits ? 1400 : 1480;
		spec.payload = 1600;
		pkt_make(&in, &spec);
		CHECK_EQ(node_run_ctx(n, POD_EGRESS, &in, &ctx, 0, &out), 0);
		if (fits)
			expect(n, &out, REDIRECT, R(MASQUERADED));
		else
			expect_through(n, &out, &in, R(TOO_BIG));
	}
	*max = 0xffffffff;
}

static void truncated(__u8 proto, __u32 from, __u32 to)
{
	tap_case("pod_egress: %s cut to every length from %u to %u",
		 proto == IPPROTO_TCP ? "TCP" : "UDP", from, to);
	begin(&node_a, proto);
	spec.payload = 0;
	for (__u32 len = from; len <= to && !tap_failed(); len++) {
		pkt_make(&in, &spec);
		in.len = len;
		/* A length that fits the cut must not help. */
		for (int honest = 0; honest < 2; honest++) {
			if (honest && len >= OFF_IP + 4)
				pkt_set16(&in, OFF_IP + 2, (__u16)(len - OFF_IP));
			if (node_run_cut(n, POD_EGRESS, &in, &out))
				expect_through(n, &out, &in, R(TRUNCATED));
		}
	}
}

void suite_pod_egress(void)
{
	hits(&node_a, IPPROTO_TCP);
	hits(&node_a, IPPROTO_UDP);
	hits(&node_b, IPPROTO_TCP);
	hits(&node_b, IPPROTO_UDP);
	checksums();
	flow_states();
	peer_states();
	tcp_edges();
	never_eligible();
	sizes(IPPROTO_TCP);
	sizes(IPPROTO_UDP);
	truncated(IPPROTO_TCP, 14, 53);
	truncated(IPPROTO_UDP, 14, 41);
}
