// SPDX-License-Identifier: GPL-2.0-only
/*
 * Flows between two pods of one node: what proves that the CNI passes them, and what is done to the
 * packets that go past it.
 *
 *   pod a 10.244.1.5 (n->pod) -- CNI of node A -- (n->other_pod) 10.244.1.9 pod b
 */
#include <netinet/in.h>
#include <string.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"
#include "xmasq.skel.h"

#define POD_NEAR ADDR(10, 244, 1, 9)
#define FRAME	 (1450 + 14)
#define BOTH	 (1 << XM_TCP | 1 << XM_UDP)

static struct node *const n = &node_a;
static struct xm_flow_key ab, ba; /* as a sends it; as b sends it */
static struct pkt_spec spec;
static struct xm_flow flow;
static struct pkt in, want;
static struct outcome out;
static __u32 if_a, if_b;

static const __u8 mac_a[6] = { 2, 0xa, 0, 0, 1, 5 };
static const __u8 mac_b[6] = { 2, 0xa, 0, 0, 1, 9 };
static const __u8 mac_gw[6] = { 2, 0xa, 0, 0, 1, 1 };

static void set_local(__u32 ifindex, const __u8 *mac, __u16 protos, __u32 frame_max)
{
	struct xm_local l = { .protos = protos, .frame_max = frame_max };

	memcpy(l.mac, mac, sizeof(l.mac));
	bpf_map_update_elem(bpf_map__fd(n->skel->maps.xm_locals), &ifindex, &l, BPF_ANY);
}

static void set_eth(__u8 *eth, const __u8 *to, const __u8 *from)
{
	memcpy(eth, to, 6);
	memcpy(eth + 6, from, 6);
}

/* Two pods that may, nothing learned; @spec is a packet as a sends it. */
static void begin(__u8 proto)
{
	node_reset(n);
	n->skel->bss->local_until = node_now64(n) + 1000000;
	if_a = n->pod;
	if_b = n->other_pod;
	ab = (struct xm_flow_key){ .saddr = n->pod_addr,
				   .daddr = POD_NEAR,
				   .sport = PORT(40000),
				   .dport = PORT(80),
				   .proto = proto };
	pkt_flip(&ba, &ab);
	set_local(if_a, mac_a, BOTH, FRAME);
	set_local(if_b, mac_b, BOTH, FRAME);
	spec = (struct pkt_spec){
		.t = ab,
		.ttl = 64,
		.tos = 0xb9,
		.id = 0xbeef,
		.frag = 0x4000,
		.flags = ACK | PSH,
		.payload = 33,
		.seq = 0x01020304,
		.ack = 0x0a0b0c0d,
	};
	set_eth(spec.eth, mac_b, mac_a);
}

/* A packet like @spec of the flow that b sends. */
static struct pkt_spec answer(void)
{
	struct pkt_spec s = spec;

	s.t = ba;
	set_eth(s.eth, mac_a, mac_b);
	return s;
}

/* To the hook of the pod that sends; the CNI gets it. */
static void leaves(const struct pkt_spec *s, __u32 ifindex, __u64 reasons)
{
	pkt_make(&in, s);
	node_run_on(n, POD_EGRESS, &in, ifindex, &out);
	expect_through(n, &out, &in, reasons);
}

/* To the hook of the pod that receives, from interface @from. */
static void arrives(const struct pkt_spec *s, __u32 from, __u32 to, __u64 reasons)
{
	struct __sk_buff ctx = { .ifindex = to, .ingress_ifindex = from };

	pkt_make(&in, s);
	CHECK_EQ(node_run_ctx(n, POD_INGRESS, &in, &ctx, 0, &out), 0);
	expect_through(n, &out, &in, reasons);
}

static bool is_leased(const struct xm_flow_key *key, bool out_too)
{
	__u32 now = node_now(n);

	return node_flow(n, key, &flow) && xm_before(now, flow.in_until) &&
	       (!out_too || xm_before(now, flow.out_until));
}

/* Both directions have an entry, and nothing else. */
static void made(void)
{
	struct pkt_spec back = answer();

	leaves(&spec, if_a, R(NO_FLOW));
	arrives(&spec, if_a, if_b, R(FLOW_NEW));
	leaves(&back, if_b, R(NO_FLOW));
	arrives(&back, if_b, if_a, R(FLOW_NEW));
}

/* The CNI has passed both directions, with @hops off the TTL and @eth of the router. */
static void learned_over(__u8 hops)
{
	struct pkt_spec there = spec, back = answer(), got;

	made();
	leaves(&there, if_a, R(NOT_AGREED));
	got = there;
	got.ttl -= hops;
	if (hops)
		memcpy(got.eth + 6, mac_gw, 6);
	arrives(&got, if_a, if_b, R(LEASE_OUT) | R(LEASE_IN));
	leaves(&back, if_b, R(NOT_AGREED));
	got = back;
	got.ttl -= hops;
	if (hops)
		memcpy(got.eth + 6, mac_gw, 6);
	pkt_make(&in, &got);
	struct __sk_buff ctx = { .ifindex = if_a, .ingress_ifindex = if_b };

	CHECK_EQ(node_run_ctx(n, POD_INGRESS, &in, &ctx, 0, &out), 0);
	/* Both flows are active now. */
	CHECK_EQ(out.n[XM_R_FLOW_ACTIVE], 2);
	CHECK_EQ(out.n[XM_R_LEASE_OUT], 1);
	CHECK_EQ(out.verdict, UNSPEC);
}

static void learned(void)
{
	learned_over(0);
}

/* Passes: the same frame as the CNI would have delivered, to the byte. */
static void passes(const struct pkt_spec *s, __u32 ifindex, __u8 hops)
{
	struct pkt_spec w = *s;

	pkt_make(&in, s);
	w.ttl -= hops;
	if (hops)
		memcpy(w.eth + 6, mac_gw, 6);
	pkt_make(&want, &w);
	node_run_on(n, POD_EGRESS, &in, ifindex, &out);
	expect(n, &out, REDIRECT, R(LOCAL));
	CHECK_EQ(out.mark, 0);
	CHECK_EQ(out.bytes, in.len);
	pkt_same(&out.pkt, &want, "packet for the other pod");
}

static void hits(__u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	struct pkt_spec back;

	tap_case("local: %s passes both ways once the CNI has passed it both ways", what);
	begin(proto);
	learned();
	passes(&spec, if_a, 0);
	back = answer();
	passes(&back, if_b, 0);

	tap_case("local: %s, every payload of 0 to 70 bytes, TOS and TTL 3 to 255", what);
	begin(proto);
	learned();
	for (int i = 3; i <= 255 && !tap_failed(); i++) {
		spec.payload = (__u16)(i % 71);
		spec.ttl = (__u8)i;
		spec.tos = (__u8)(i ^ 0x55);
		spec.id = (__u16)(i * 257);
		passes(&spec, if_a, 0);
	}

	tap_case("local: %s, a router's TTL and Ethernet header are imitated", what);
	begin(proto);
	set_eth(spec.eth, mac_b, mac_a);
	learned_over(1);
	for (int i = 3; i <= 255 && !tap_failed(); i++) {
		spec.ttl = (__u8)i;
		spec.id = (__u16)(i * 331);
		passes(&spec, if_a, 1);
	}

	tap_case("local: %s, a checksum that is wrong stays as it is", what);
	begin(proto);
	learned();
	pkt_make(&in, &spec);
	pkt_set16(&in, OFF_L4 + (proto == IPPROTO_TCP ? 16 : 6), 0x1234);
	want = in;
	node_run_on(n, POD_EGRESS, &in, if_a, &out);
	expect(n, &out, REDIRECT, R(LOCAL));
	pkt_same(&out.pkt, &want, "packet for the other pod");
}

/* What keeps the very first lease from being granted. */
static void proofs(void)
{
	struct pkt_spec got;

	tap_case("local: no entry for what comes from an interface that is no pod's");
	begin(IPPROTO_UDP);
	arrives(&spec, n->nic, if_b, 0);
	arrives(&spec, 0, if_b, 0);
	CHECK(!node_flow(n, &ab, &flow), "made");

	tap_case("local: no entry for a pod that may not, or not this protocol");
	begin(IPPROTO_UDP);
	set_local(if_b, mac_b, 1 << XM_TCP, FRAME);
	arrives(&spec, if_a, if_b, 0);
	set_local(if_b, mac_b, BOTH, FRAME);
	set_local(if_a, mac_a, 1 << XM_TCP, FRAME);
	arrives(&spec, if_a, if_b, 0);
	CHECK(!node_flow(n, &ab, &flow), "made");

	tap_case("local: no entry without a daemon that is alive");
	begin(IPPROTO_UDP);
	n->skel->bss->local_until = node_now64(n) - 1;
	arrives(&spec, if_a, if_b, 0);
	CHECK(!node_flow(n, &ab, &flow), "made");

	tap_case("local: no entry for a copy that the bridge flooded to another pod");
	begin(IPPROTO_UDP);
	set_eth(spec.eth, mac_gw, mac_a);
	arrives(&spec, if_a, if_b, 0);
	CHECK(!node_flow(n, &ab, &flow), "made");

	tap_case("local: no lease for what the pod has not sent");
	begin(IPPROTO_UDP);
	made();
	arrives(&spec, if_a, if_b, 0);
	CHECK(!is_leased(&ba, false), "leased");

	tap_case("local: no lease for a packet that is not the one that was sent");
	for (int i = 0; i < 6 && !tap_failed(); i++) {
		begin(IPPROTO_UDP);
		made();
		leaves(&spec, if_a, R(NOT_AGREED));
		got = spec;
		got.tos ^= i == 0 ? 4 : 0;
		got.id ^= i == 1 ? 1 : 0;
		got.frag = i == 2 ? 0 : got.frag;
		got.payload += i == 3 ? 1 : 0;
		got.ttl += i == 4 ? 1 : 0; /* no CNI does that */
		got.ttl -= i == 5 ? 2 : 0;
		arrives(&got, if_a, if_b, 0);
		CHECK(!is_leased(&ba, false), "leased, case %d", i);
	}

	tap_case("local: no lease for what comes by another interface than the flow's");
	begin(IPPROTO_UDP);
	made();
	leaves(&spec, if_a, R(NOT_AGREED));
	set_local(n->nic, mac_gw, BOTH, FRAME);
	arrives(&spec, n->nic, if_b, 0);
	CHECK(!is_leased(&ba, false), "leased");

	tap_case("local: no lease where the reverse flow is not sent");
	begin(IPPROTO_UDP);
	made();
	node_flow(n, &ba, &flow);
	flow.pod_ifindex = n->nic;
	node_set_flow(n, &ba, &flow);
	leaves(&spec, if_a, R(NOT_AGREED));
	arrives(&spec, if_a, if_b, 0);
	node_flow(n, &ab, &flow);
	CHECK_EQ(flow.nic_ifindex, 0);

	tap_case("local: one direction alone is not accelerated");
	begin(IPPROTO_UDP);
	arrives(&spec, if_a, if_b, R(FLOW_NEW));
	for (int i = 0; i < 5 && !tap_failed(); i++) {
		leaves(&spec, if_a, R(NOT_AGREED));
		arrives(&spec, if_a, if_b, 0);
	}

	tap_case("local: of several under way the first is remembered, until it may be lost");
	begin(IPPROTO_UDP);
	made();
	leaves(&spec, if_a, R(NOT_AGREED));
	got = spec;
	got.id++;
	leaves(&got, if_a, R(NOT_AGREED));
	arrives(&spec, if_a, if_b, R(LEASE_OUT) | R(LEASE_IN));
	/* That one was not, and is no evidence. */
	node_flow(n, &ab, &flow);
	flow.out_until = node_now(n);
	node_set_flow(n, &ab, &flow);
	arrives(&got, if_a, if_b, 0);
	leaves(&spec, if_a, R(LEASE_OVER));
	node_flow(n, &ab, &flow);
	flow.pod_out = node_now(n) - RETRY;
	node_set_flow(n, &ab, &flow);
	leaves(&got, if_a, R(LEASE_OVER));
	arrives(&got, if_a, if_b, R(LEASE_OUT) | R(LEASE_IN));

	tap_case("local: evidence that is half a lease old is none");
	begin(IPPROTO_UDP);
	made();
	leaves(&spec, if_a, R(NOT_AGREED));
	node_flow(n, &ab, &flow);
	flow.pod_out = node_now(n) - RENEW;
	node_set_flow(n, &ab, &flow);
	arrives(&spec, if_a, if_b, 0);
}

static void put(const struct xm_flow_key *key)
{
	node_set_flow(n, key, &flow);
}

/* What keeps a packet of a flow that is well on the CNI's path. */
static void states(void)
{
	struct __sk_buff ctx = { .gso_size = 700, .gso_segs = 2 };
	__u32 now;

	for (int i = 0; i < 2; i++) {
		tap_case("local: %s lease over", i ? "the reverse flow's" : "the flow's");
		begin(IPPROTO_TCP);
		learned();
		node_flow(n, &ab, &flow);
		if (i)
			flow.in_until = node_now(n);
		else
			flow.out_until = node_now(n);
		put(&ab);
		leaves(&spec, if_a, R(LEASE_OVER));
	}

	tap_case("local: a lease is renewed by what the CNI delivers, once in a retry period");
	begin(IPPROTO_TCP);
	learned();
	node_flow(n, &ab, &flow);
	now = node_now(n);
	flow.renew_at = now;
	flow.out_until = now + 1000;
	put(&ab);
	leaves(&spec, if_a, R(RENEWAL));
	for (int i = 0; i < 5 && !tap_failed(); i++)
		passes(&spec, if_a, 0);
	arrives(&spec, if_a, if_b, R(LEASE_OUT) | R(LEASE_IN));
	node_flow(n, &ab, &flow);
	CHECK(flow.out_until - now - LEASE < 1000, "lease of %u", flow.out_until - now);
	CHECK(flow.renew_at - now - RENEW < 1000, "renewal in %u", flow.renew_at - now);
	node_flow(n, &ba, &flow);
	CHECK(flow.in_until - now - IN_LEASE < 1000, "lease of %u", flow.in_until - now);

	tap_case("local: a renewal learns another Ethernet header, and a smaller MTU");
	begin(IPPROTO_TCP);
	learned();
	node_flow(n, &ab, &flow);
	flow.renew_at = node_now(n);
	put(&ab);
	leaves(&spec, if_a, R(RENEWAL));
	set_local(if_b, mac_b, BOTH, 60);
	spec.ttl--;
	memcpy(spec.eth + 6, mac_gw, 6);
	arrives(&spec, if_a, if_b, R(LEASE_OUT) | R(LEASE_IN));
	leaves(&spec, if_a, R(TOO_BIG));
	spec.payload = 0;
	spec.ttl = 64;
	set_eth(spec.eth, mac_b, mac_a);
	passes(&spec, if_a, 1);

	tap_case("local: TTL 2 takes the CNI's path");
	begin(IPPROTO_TCP);
	learned();
	spec.ttl = 2;
	leaves(&spec, if_a, R(TTL));

	tap_case("local: another pod under this address gets and proves nothing");
	begin(IPPROTO_UDP);
	learned();
	leaves(&spec, if_b, R(OTHER_POD));
	passes(&spec, if_a, 0);

	tap_case("local: what the other pod's interface just takes passes, a byte more does not");
	begin(IPPROTO_UDP);
	learned();
	spec.payload = FRAME - 14 - 28;
	passes(&spec, if_a, 0);
	spec.payload++;
	leaves(&spec, if_a, R(TOO_BIG));

	for (int fits = 0; fits < 2; fits++) {
		tap_case("local: segments that %s", fits ? "fit" : "do not fit");
		begin(IPPROTO_TCP);
		learned();
		ctx.ifindex = if_a;
		/* Without TCP options. */
		ctx.gso_size = FRAME - 14 - 20 - 20 + (fits ? 0 : 1);
		spec.payload = 1600;
		pkt_make(&in, &spec);
		CHECK_EQ(node_run_ctx(n, POD_EGRESS, &in, &ctx, 0, &out), 0);
		if (fits)
			expect(n, &out, REDIRECT, R(LOCAL));
		else
			expect_through(n, &out, &in, R(TOO_BIG));
	}
}

static void edges(void)
{
	static const __u8 flags[] = { SYN, FIN | ACK, RST };
	struct pkt_spec s;

	for (int i = 0; i < 3; i++) {
		__u64 what = flags[i] == SYN ? R(FLOW_RESET) : R(FLOW_END);

		tap_case("local: %s ends the fast path both ways", flags[i] == SYN   ? "SYN"
								   : flags[i] == RST ? "RST"
										     : "FIN");
		begin(IPPROTO_TCP);
		learned();
		s = spec;
		s.flags = flags[i];
		leaves(&s, if_a, R(TCP_FLAGS) | what);
		arrives(&s, if_a, if_b, what);
		leaves(&spec, if_a, flags[i] == SYN ? R(NOT_AGREED) : R(ENDED));
		s = answer();
		leaves(&s, if_b, flags[i] == SYN ? R(NOT_AGREED) : R(ENDED));
	}

	tap_case("local: after a SYN the tuple is learned anew");
	begin(IPPROTO_TCP);
	learned();
	s = spec;
	s.flags = SYN;
	leaves(&s, if_a, R(TCP_FLAGS) | R(FLOW_RESET));
	arrives(&s, if_a, if_b, R(FLOW_RESET));
	node_flow(n, &ab, &flow);
	CHECK_EQ(flow.stage, XM_STAGE_LOCAL);
	CHECK_EQ(flow.nic_ifindex, 0);
	CHECK_EQ(flow.pod_ifindex, if_a);
	/* What was under way before it is no evidence. */
	arrives(&spec, if_a, if_b, 0);
	leaves(&spec, if_a, R(NOT_AGREED));
	arrives(&spec, if_a, if_b, R(LEASE_OUT) | R(LEASE_IN));
	/* The other direction is yet to be. */
	leaves(&spec, if_a, R(LEASE_OVER));

	tap_case("local: fragments and IP options take the CNI's path, and prove nothing");
	begin(IPPROTO_UDP);
	learned();
	s = spec;
	s.frag = 0x2000;
	leaves(&s, if_a, R(FRAGMENT));
	arrives(&s, if_a, if_b, 0);
	s = spec;
	s.ip_opts = 1;
	leaves(&s, if_a, R(IP_OPTIONS));
}

/* Pods move between nodes, and take their addresses with them. */
static void moves(void)
{
	struct tunnel_spec tun;
	struct pkt_spec s;
	struct pkt inner;

	tap_case("local: a running flow to another node is left alone");
	begin(IPPROTO_UDP);
	node_ready(n, &ab, 0x123);
	arrives(&spec, if_a, if_b, 0);
	node_flow(n, &ab, &flow);
	CHECK_EQ(flow.stage, XM_STAGE_READY);
	CHECK_EQ(flow.label, 0x123);

	tap_case("local: one whose leases are over starts over here, and gives its label up");
	begin(IPPROTO_UDP);
	node_ready(n, &ab, 0x123);
	node_flow(n, &ab, &flow);
	flow.out_until = node_now(n);
	put(&ab);
	arrives(&spec, if_a, if_b, R(FLOW_RESET));
	node_flow(n, &ab, &flow);
	CHECK_EQ(flow.stage, XM_STAGE_LOCAL);
	CHECK_EQ(flow.label, 0);
	CHECK_EQ(flow.peer, 0);
	CHECK_EQ(node_label(n, n->peer_addr, 0x123, IPPROTO_UDP)->tag, 0);

	tap_case("local: not when it is another pod's, whose address this one took");
	begin(IPPROTO_UDP);
	node_ready(n, &ab, 0x123);
	node_flow(n, &ab, &flow);
	flow.out_until = node_now(n);
	flow.pod_ifindex = if_b;
	put(&ab);
	arrives(&spec, if_a, if_b, 0);
	node_flow(n, &ab, &flow);
	CHECK_EQ(flow.stage, XM_STAGE_READY);
	CHECK_EQ(flow.label, 0x123);
	CHECK_EQ(flow.pod_ifindex, if_b);
	CHECK(node_label(n, n->peer_addr, 0x123, IPPROTO_UDP)->tag, "label freed");

	for (int over = 0; over < 2; over++) {
		tap_case("local: a tunnel packet of the tuple %s",
			 over ? "makes it a flow to another node when its leases are over"
			      : "does not move a running flow");
		begin(IPPROTO_UDP);
		learned();
		if (over) {
			node_flow(n, &ab, &flow);
			flow.out_until = flow.in_until = node_now(n);
			put(&ab);
		}
		s = spec;
		pkt_make(&inner, &s);
		node_tunnel(n, XM_OVERLAY_VXLAN, &tun);
		pkt_tunnel(&in, &inner, &tun);
		node_run(n, NIC_EGRESS, &in, &out);
		node_flow(n, &ab, &flow);
		CHECK_EQ(flow.stage, over ? XM_STAGE_NEW : XM_STAGE_LOCAL);
		CHECK_EQ(flow.peer, over ? n->peer_addr : 0);
	}

	tap_case("local: an overlay packet that claims to be of the flow renews nothing");
	begin(IPPROTO_UDP);
	learned();
	node_flow(n, &ab, &flow);
	flow.in_until = node_now(n);
	put(&ab);
	s = answer();
	arrives(&s, n->nic, if_a, 0);
	CHECK(!is_leased(&ab, false), "leased");
}

static void other_modes(void)
{
	int fd = n->fd[POD_EGRESS];

	tap_case("local: from a netkit pair the way is through the other pod's host side");
	begin(IPPROTO_TCP);
	learned();
	n->fd[POD_EGRESS] = n->netkit_egress_fd;
	pkt_make(&in, &spec);
	node_run_on(n, POD_EGRESS, &in, if_a, &out);
	n->fd[POD_EGRESS] = fd;
	expect(n, &out, REDIRECT, R(LOCAL));
	CHECK_EQ(out.mark, MARK);
	pkt_same(&out.pkt, &in, "packet for the other pod");

	tap_case("local: there it passes, loses its mark, and is no evidence");
	begin(IPPROTO_TCP);
	made();
	leaves(&spec, if_a, R(NOT_AGREED));
	struct __sk_buff ctx = { .ifindex = if_b, .ingress_ifindex = if_a, .mark = MARK };

	pkt_make(&in, &spec);
	CHECK_EQ(node_run_ctx(n, POD_INGRESS, &in, &ctx, 0, &out), 0);
	expect_through(n, &out, &in, 0);
	CHECK(!is_leased(&ba, false), "leased");

	tap_case("local: a netkit pod's mark of the same number is cleared");
	begin(IPPROTO_TCP);
	n->fd[POD_EGRESS] = n->netkit_egress_fd;
	ctx = (struct __sk_buff){ .ifindex = if_a, .mark = MARK };
	pkt_make(&in, &spec);
	CHECK_EQ(node_run_ctx(n, POD_EGRESS, &in, &ctx, 0, &out), 0);
	n->fd[POD_EGRESS] = fd;
	expect_through(n, &out, &in, R(NO_FLOW));

	tap_case("local: also where the pair is met as if it were veth");
	begin(IPPROTO_TCP);
	ctx = (struct __sk_buff){ .ifindex = if_a, .mark = MARK };
	pkt_make(&in, &spec);
	CHECK_EQ(node_run_ctx(n, POD_EGRESS, &in, &ctx, 0, &out), 0);
	expect_through(n, &out, &in, R(NO_FLOW));
}

void suite_local(void)
{
	hits(IPPROTO_TCP);
	hits(IPPROTO_UDP);
	proofs();
	states();
	edges();
	moves();
	other_modes();

	tap_case("local: entries are made at a bounded rate, and again in the next second");
	begin(IPPROTO_UDP);
	struct __sk_buff ctx = { .ifindex = if_b, .ingress_ifindex = if_a };
	bool refused = false;

	pkt_make(&in, &spec);
	for (int i = 0; i < 20000 && !refused; i++) {
		node_del_flow(n, &ab);
		node_run_ctx(n, POD_INGRESS, &in, &ctx, 0, &out);
		refused = !out.n[XM_R_FLOW_NEW];
	}
	CHECK(refused, "20000 entries, one after the other");
	n->skel->bss->locals_win -= SECOND;
	arrives(&spec, if_a, if_b, R(FLOW_NEW));

	tap_case("local: a full table");
	begin(IPPROTO_UDP);
	for (int i = 0; i < N_FLOWS; i++) {
		struct xm_flow_key k = ab;

		k.sport = PORT(1000 + i);
		node_set_flow(n, &k, &flow);
	}
	arrives(&spec, if_a, if_b, R(FLOW_TABLE_FULL));
	node_reset(n);
}
