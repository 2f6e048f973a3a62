// SPDX-License-Identifier: GPL-2.0-only
/* xmasq_nic_ingress: packets on the masquerade port that are not restored, and NACKs. */
#include <netinet/in.h>
#include <string.h>

#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"
#include "xm_wire.h"

#define LABEL 0x1abc

static struct node *n;
static struct xm_flow_key key;
static struct pkt_spec spec;
static struct xm_flow flow, after;
static struct xm_label *entry;
static struct pkt in, want;
static struct outcome out;

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

/* Runs @in, which is dropped for one reason and leaves the flow alone. */
static void drops(__u64 reasons)
{
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, SHOT, reasons);
	CHECK_EQ(out.bytes, in.len);
	node_flow(n, &key, &after);
	CHECK(!memcmp(&after, &flow, sizeof(flow)), "flow entry changed");
}

static void passes(void)
{
	node_run(n, NIC_INGRESS, &in, &out);
	expect_through(n, &out, &in, 0);
}

/* ---- NACKs that we send ---- */

static void rst_of(struct pkt *nack, const struct pkt *of)
{
	struct pkt_spec s = { .frag = 0x4000, .ttl = 64, .flags = RST, .t.proto = IPPROTO_TCP };

	memcpy(s.eth, of->data + 6, 6);
	memcpy(s.eth + 6, of->data, 6);
	pkt_flip(&s.t, &spec.t);
	s.seq = spec.ack;
	pkt_make(nack, &s);
	pkt_set16(nack, OFF_L4 + 14, 0); /* window */
	pkt_fix(nack);
}

static void message_of(struct pkt *nack, const struct pkt *of, __u16 label, __u8 reason)
{
	struct xm_wire_nack m = {
		.head = { bpf_htonl(XM_WIRE_MAGIC), XM_WIRE_VERSION, XM_WIRE_NACK, 0, 0 },
		.label = PORT(label),
		.proto = IPPROTO_UDP,
		.reason = reason,
	};
	struct pkt_spec s = { .frag = 0x4000, .ttl = 64, .payload = sizeof(m) };

	memcpy(s.eth, of->data + 6, 6);
	memcpy(s.eth + 6, of->data, 6);
	s.t = (struct xm_flow_key){ .saddr = n->addr,
				    .daddr = n->peer_addr,
				    .sport = PORT(MASQ_PORT),
				    .dport = PORT(MASQ_PORT),
				    .proto = IPPROTO_UDP };
	pkt_make(nack, &s);
	memcpy(nack->data + OFF_L4 + 8, &m, sizeof(m));
	pkt_fix(nack);
}

static void nacked(int reason)
{
	const char *bad;

	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(NACK_TX) | 1ull << reason);
	CHECK_EQ(out.mark, MARK);
	CHECK_EQ(out.bytes, in.len);
	if (spec.t.proto == IPPROTO_TCP)
		rst_of(&want, &in);
	else
		message_of(&want, &in, LABEL, (__u8)reason);
	pkt_same(&out.pkt, &want, "NACK");
	bad = pkt_bad(&out.pkt);
	CHECK(!bad, "%s", bad);
}

static void nacks(struct node *node, __u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	const char *role = node->owner ? "owner" : "other node";
	__be16 port;

	tap_case("nic_ingress: %s, %s: unknown label: NACK", role, what);
	begin(node, proto);
	entry->tag = 0;
	pkt_make(&in, &spec);
	nacked(XM_R_NO_LABEL);

	tap_case("nic_ingress: %s, %s: expired label: NACK", role, what);
	begin(node, proto);
	entry->until = node_now(n);
	pkt_make(&in, &spec);
	nacked(XM_R_LABEL_EXPIRED);

	tap_case("nic_ingress: %s, %s: an entry being written is an unknown label", role, what);
	begin(node, proto);
	entry->tag = entry->tag - XM_TAG_USED + XM_TAG_BUSY;
	pkt_make(&in, &spec);
	nacked(XM_R_NO_LABEL);

	tap_case("nic_ingress: %s, %s: another peer's label is an unknown label", role, what);
	begin(node, proto);
	node_peer(n, 5, n->owner ? ADDR(10, 9, 9, 9) : ADDR(10, 8, 0, 1), 1, true);
	entry->tag =
		xm_tag(n->owner ? ADDR(10, 9, 9, 9) : ADDR(10, 8, 0, 1), LABEL, proto, XM_TAG_USED);
	pkt_make(&in, &spec);
	nacked(XM_R_NO_LABEL);

	tap_case("nic_ingress: %s, %s: the other protocol's label is an unknown label", role, what);
	begin(node, proto);
	entry->tag ^= (IPPROTO_TCP ^ IPPROTO_UDP) << 8;
	pkt_make(&in, &spec);
	nacked(XM_R_NO_LABEL);

	tap_case("nic_ingress: %s, %s: a NACK for packets of any length", role, what);
	begin(node, proto);
	entry->tag = 0;
	for (spec.payload = 0; spec.payload <= 80 && !tap_failed(); spec.payload++) {
		pkt_make(&in, &spec);
		nacked(XM_R_NO_LABEL);
	}
	spec.payload = 1400;
	pkt_make(&in, &spec);
	nacked(XM_R_NO_LABEL);

	tap_case("nic_ingress: %s, %s: a label from the wrong role is no packet of ours", role,
		 what);
	begin(node, proto);
	port = spec.t.sport;
	spec.t.sport = spec.t.dport;
	spec.t.dport = port;
	pkt_make(&in, &spec);
	drops(R(MALFORMED));

	tap_case("nic_ingress: %s, %s: an entry for another address of the node", role, what);
	begin(node, proto);
	entry->node = n->cfg.node[0];
	pkt_make(&in, &spec);
	nacked(XM_R_NO_LABEL);
}

static void nack_more(void)
{
	__u32 left = 3;

	tap_case("nic_ingress: NACKs beyond the rate limit are not sent");
	begin(&node_b, IPPROTO_TCP);
	entry->tag = 0;
	n->peers[PEER_IDX].rate_win = node_now(n);
	n->peers[PEER_IDX].rate_cnt[XM_RATE_NACK_TX] = XM_NACKS_PER_SEC - left;
	pkt_make(&in, &spec);
	while (left--)
		nacked(XM_R_NO_LABEL);
	drops(R(NO_LABEL) | R(NACK_LIMIT));
	drops(R(NO_LABEL) | R(NACK_LIMIT));

	tap_case("nic_ingress: NACKs are sent again a second later");
	n->peers[PEER_IDX].rate_win = node_now(n) - SECOND;
	nacked(XM_R_NO_LABEL);
	CHECK_EQ(n->peers[PEER_IDX].rate_cnt[XM_RATE_NACK_TX], 1);

	tap_case("nic_ingress: the rate limit is each peer's own");
	n->peers[PEER_IDX].rate_cnt[XM_RATE_NACK_TX] = XM_NACKS_PER_SEC;
	node_peer(n, 5, ADDR(10, 8, 0, 1), 1, true);
	spec.t.saddr = ADDR(10, 8, 0, 1);
	pkt_make(&in, &spec);
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(NO_LABEL) | R(NACK_TX));

	tap_case("nic_ingress: a NACK of a GSO packet is an ordinary packet");
	begin(&node_b, IPPROTO_TCP);
	entry->tag = 0;
	spec.payload = 1400;
	pkt_make(&in, &spec);
	struct __sk_buff ctx = { .ifindex = n->nic, .gso_size = 700, .gso_segs = 2 };

	CHECK_EQ(node_run_ctx(n, NIC_INGRESS, &in, &ctx, 0, &out), 0);
	expect(n, &out, REDIRECT, R(NO_LABEL) | R(NACK_TX));
	rst_of(&want, &in);
	pkt_same(&out.pkt, &want, "NACK");

	tap_case("nic_ingress: the same label range's ends");
	begin(&node_b, IPPROTO_UDP);
	spec.t.sport = PORT(XM_LABEL_PORT_BASE + XM_LABEL_MAX);
	pkt_make(&in, &spec);
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, REDIRECT, R(NO_LABEL) | R(NACK_TX));
	message_of(&want, &in, XM_LABEL_MAX, XM_R_NO_LABEL);
	pkt_same(&out.pkt, &want, "NACK");
	spec.t.sport = PORT(XM_LABEL_PORT_BASE - 1);
	pkt_make(&in, &spec);
	passes(); /* no label: an answer to a connection whose port NAT chose */
	spec.t.sport = PORT(XM_LABEL_PORT_BASE);
	pkt_make(&in, &spec);
	drops(R(MALFORMED)); /* a probe's label, but no probe */
}

/* ---- what peers never send ---- */

static void malformed(void)
{
	static const __u8 flags[] = { SYN, FIN, SYN | ACK, FIN | ACK };

	tap_case("nic_ingress: SYN and FIN never come masqueraded");
	for (unsigned int i = 0; i < 2 * sizeof(flags) && !tap_failed(); i++) {
		begin(i & 1 ? &node_a : &node_b, IPPROTO_TCP);
		spec.flags = flags[i / 2];
		pkt_make(&in, &spec);
		drops(R(MALFORMED));
	}

	tap_case("nic_ingress: no fragments and no options on the port, from a peer");
	for (int i = 0; i < 8 && !tap_failed(); i++) {
		begin(i & 1 ? &node_a : &node_b, i & 2 ? IPPROTO_TCP : IPPROTO_UDP);
		if ((i & 6) == 4)
			continue;
		if (i & 4)
			spec.frag = 0x2000;
		else
			spec.ip_opts = 2;
		pkt_make(&in, &spec);
		drops(R(MALFORMED));
	}

	tap_case("nic_ingress: the first fragment of a datagram: the sender must not go on");
	begin(&node_b, IPPROTO_UDP);
	spec.frag = 0x2000;
	pkt_make(&in, &spec);
	nacked(XM_R_FRAGMENT);

	tap_case("nic_ingress: no tot_len beyond the frame, no doff below 5, from a peer");
	begin(&node_b, IPPROTO_TCP);
	pkt_make(&in, &spec);
	pkt_set16(&in, OFF_IP + 2, 1000);
	drops(R(MALFORMED));
	pkt_make(&in, &spec);
	in.data[OFF_L4 + 12] = 0x40;
	drops(R(MALFORMED));

	tap_case("nic_ingress: TCP port to port");
	begin(&node_b, IPPROTO_TCP);
	spec.t.sport = spec.t.dport = PORT(MASQ_PORT);
	pkt_make(&in, &spec);
	drops(R(MALFORMED));
	spec.t.saddr = ADDR_STR;
	pkt_make(&in, &spec);
	drops(R(NOT_PEER));
}

static void strangers(void)
{
	static const struct {
		const char *name;
		__u16 sport, dport;
		__u8 opts;
		__u16 frag;
		bool drop;
	} rows[] = {
		{ "to the port", 33000, MASQ_PORT, 0, 0, true },
		{ "to the port from a low one", 80, MASQ_PORT, 0, 0, false },
		{ "from the port", MASQ_PORT, 33000, 0, 0, false },
		{ "from the port to a low one", MASQ_PORT, 22, 0, 0, false },
		{ "to the port, IP options", 33000, MASQ_PORT, 1, 0, true },
		{ "from the port, IP options", MASQ_PORT, 33000, 1, 0, false },
		{ "to the port, first fragment", 33000, MASQ_PORT, 0, 0x2000, true },
		{ "from the port, first fragment", MASQ_PORT, 33000, 0, 0x2000, false },
	};

	for (unsigned int i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned int k = i / 2;

		tap_case("nic_ingress: a stranger's %s %s is %s", i & 1 ? "UDP" : "TCP",
			 rows[k].name, rows[k].drop ? "dropped" : "let through");
		begin(&node_b, i & 1 ? IPPROTO_UDP : IPPROTO_TCP);
		spec.t.saddr = ADDR_STR;
		spec.t.sport = PORT(rows[k].sport);
		spec.t.dport = PORT(rows[k].dport);
		spec.ip_opts = rows[k].opts;
		spec.frag = rows[k].frag;
		pkt_make(&in, &spec);
		if (rows[k].drop)
			drops(R(NOT_PEER));
		else
			passes();
	}
}

/* ---- control packets and probes ---- */

static void control_spec(struct node *node, __be32 from, bool probe, __u8 proto)
{
	begin(node, proto);
	spec.t.saddr = from;
	if (!probe)
		spec.t.sport = spec.t.dport = PORT(MASQ_PORT);
	else if (n->owner)
		spec.t.dport = PORT(XM_LABEL_PORT_BASE);
	else
		spec.t.sport = PORT(XM_LABEL_PORT_BASE);
	spec.payload = probe ? sizeof(struct xm_wire_probe) : sizeof(struct xm_wire_hello);
}

static void control_make(__u8 type)
{
	struct xm_wire_head head = { bpf_htonl(XM_WIRE_MAGIC), XM_WIRE_VERSION, type, 0, 0 };
	__u32 off = OFF_L4 + (spec.t.proto == IPPROTO_TCP ? 20 + spec.tcp_opts * 4u : 8);

	pkt_make(&in, &spec);
	memcpy(in.data + off, &head, sizeof(head));
	pkt_fix(&in);
}

static void handed_over(__u32 type, __u32 off)
{
	__u32 len = in.len - off;

	if (len > XM_CONTROL_MAX)
		len = XM_CONTROL_MAX;
	drops(R(CONTROL));
	CHECK_EQ(node_events(n), 1);
	CHECK_EQ(n->event.type, type);
	CHECK_EQ(n->event.peer, spec.t.saddr);
	CHECK_EQ(n->event.node, n->addr);
	CHECK_EQ(n->event.ifindex, n->nic);
	CHECK_EQ(n->event.proto, spec.t.proto);
	CHECK_EQ(n->event.len, len);
	CHECK_EQ(n->event.leaving, 0);
	CHECK(!memcmp(n->event.data, in.data + off, len), "payload");
	for (__u32 i = len; i < XM_CONTROL_MAX; i++)
		CHECK_EQ(n->event.data[i], 0);
	/* Turned round: for a frame back. */
	CHECK(!memcmp(n->event.eth, in.data + 6, 6), "destination of an answer");
	CHECK(!memcmp(n->event.eth + 6, in.data, 6), "source of an answer");
}

static void controls(void)
{
	for (int i = 0; i < 4; i++) {
		__be32 from = i & 1 ? ADDR_STR : ADDR_A;

		tap_case("nic_ingress: %s from %s goes up to the daemon",
			 i & 2 ? "answer" : "hello", i & 1 ? "a stranger" : "a peer");
		control_spec(&node_b, from, false, IPPROTO_UDP);
		control_make(i & 2 ? XM_WIRE_ANSWER : XM_WIRE_HELLO);
		handed_over(XM_EV_CONTROL, OFF_L4 + 8);
	}

	tap_case("nic_ingress: hellos of every length");
	for (__u16 len = 12; len <= 200 && !tap_failed(); len++) {
		control_spec(&node_b, ADDR_A, false, IPPROTO_UDP);
		spec.payload = len;
		control_make(XM_WIRE_HELLO);
		handed_over(XM_EV_CONTROL, OFF_L4 + 8);
	}

	tap_case("nic_ingress: a later version's hello goes up as well");
	control_spec(&node_b, ADDR_A, false, IPPROTO_UDP);
	control_make(XM_WIRE_HELLO);
	in.data[OFF_L4 + 8 + 4] = 9;
	pkt_fix(&in);
	handed_over(XM_EV_CONTROL, OFF_L4 + 8);

	for (int i = 0; i < 8; i++) {
		__u8 proto = i & 1 ? IPPROTO_UDP : IPPROTO_TCP;
		struct node *node = i & 2 ? &node_a : &node_b;

		tap_case("nic_ingress: %s probe at the %s from %s goes up", i & 1 ? "UDP" : "TCP",
			 node->owner ? "lower" : "higher", i & 4 ? "a stranger" : "a peer");
		control_spec(node, i & 4 ? ADDR_STR : node->peer_addr, true, proto);
		control_make(XM_WIRE_PROBE);
		handed_over(XM_EV_PROBE, OFF_L4 + (i & 1 ? 8 : 20));
		/* TCP options in front of the payload. */
		spec.tcp_opts = i & 1 ? 0 : 10;
		control_make(XM_WIRE_PROBE);
		handed_over(XM_EV_PROBE, OFF_L4 + (i & 1 ? 8 : 60));
	}

	tap_case("nic_ingress: not a control packet: magic, or too short");
	for (int i = 0; i < 2; i++) {
		control_spec(&node_b, i ? ADDR_STR : ADDR_A, false, IPPROTO_UDP);
		control_make(XM_WIRE_HELLO);
		in.data[OFF_L4 + 8] ^= 1;
		drops(i ? R(NOT_PEER) : R(MALFORMED));
		spec.payload = 11;
		control_make(XM_WIRE_HELLO);
		drops(i ? R(NOT_PEER) : R(MALFORMED));
		CHECK_EQ(node_events(n), 0);
	}
}

/* A hello or a probe whose echo begins with @echo, when the common limit is used up. */
static void echo_make(int probe, __be32 echo, __u16 fresh)
{
	__u32 off = probe ? offsetof(struct xm_wire_probe, echo)
			  : offsetof(struct xm_wire_hello, echo);

	control_spec(&node_b, ADDR_A, probe, IPPROTO_UDP);
	control_make(probe ? XM_WIRE_PROBE : XM_WIRE_HELLO);
	memcpy(in.data + OFF_L4 + 8 + off, &echo, sizeof(echo));
	pkt_fix(&in);
	n->peers[PEER_IDX].rate_win = node_now(n);
	n->peers[PEER_IDX].rate_cnt[XM_RATE_CONTROL] = XM_CONTROLS_PER_SEC;
	n->peers[PEER_IDX].rate_cnt[XM_RATE_FRESH] = fresh;
	n->peers[PEER_IDX].nonce[0] = bpf_htonl(0x01020304);
	n->peers[PEER_IDX].nonce[1] = 0;
}

static void fresh_controls(void)
{
	for (int probe = 0; probe < 2; probe++) {
		const char *what = probe ? "probe" : "hello";
		__u32 type = probe ? XM_EV_PROBE : XM_EV_CONTROL;

		tap_case("nic_ingress: a %s that echoes our nonce has a limit of its own", what);
		echo_make(probe, bpf_htonl(0x01020304), XM_CONTROLS_PER_SEC - 1);
		handed_over(type, OFF_L4 + 8);
		drops(R(CONTROL_LIMIT));
		CHECK_EQ(node_events(n), 0);

		tap_case("nic_ingress: a %s that echoes another or none has not", what);
		for (__u32 echo = 0; echo < 2; echo++) {
			echo_make(probe, echo, 0);
			drops(R(CONTROL_LIMIT));
			CHECK_EQ(node_events(n), 0);
		}
	}
}

static void control_limits(void)
{
	tap_case("nic_ingress: a peer's control packets are limited");
	control_spec(&node_b, ADDR_A, false, IPPROTO_UDP);
	control_make(XM_WIRE_HELLO);
	n->peers[PEER_IDX].rate_win = node_now(n);
	for (int i = 0; i < XM_CONTROLS_PER_SEC && !tap_failed(); i++)
		handed_over(XM_EV_CONTROL, OFF_L4 + 8);
	drops(R(CONTROL_LIMIT));
	CHECK_EQ(node_events(n), 0);
	n->peers[PEER_IDX].rate_win = node_now(n) - SECOND;
	handed_over(XM_EV_CONTROL, OFF_L4 + 8);

	fresh_controls();

	tap_case("nic_ingress: all strangers share one limit, which is not the peers'");
	control_spec(&node_b, ADDR_STR, false, IPPROTO_UDP);
	for (__u32 i = 0; i < XM_STRANGERS_PER_SEC && !tap_failed(); i++) {
		spec.t.saddr = ADDR(10, 9, 5, i);
		control_make(XM_WIRE_HELLO);
		handed_over(XM_EV_CONTROL, OFF_L4 + 8);
	}
	spec.t.saddr = ADDR(10, 9, 6, 1);
	control_make(XM_WIRE_HELLO);
	drops(R(CONTROL_LIMIT));
	CHECK_EQ(node_events(n), 0);
	spec.t.saddr = ADDR_A;
	control_make(XM_WIRE_HELLO);
	handed_over(XM_EV_CONTROL, OFF_L4 + 8);
}

/* ---- NACKs that we get ---- */

static void demoted(__u64 how)
{
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, SHOT, how | R(FLOW_DEMOTED));
	node_flow(n, &key, &after);
	CHECK(after.stage != XM_STAGE_READY, "still READY");
	CHECK_EQ(entry->acked, 0);
	CHECK(entry->tag, "label given up");
	/* A second one has nothing left to do. */
	flow = after;
	drops(how);
}

static void nack_message(__u16 label, __u8 version, __u8 proto)
{
	struct xm_wire_nack m = {
		.head = { bpf_htonl(XM_WIRE_MAGIC), version, XM_WIRE_NACK, 0, 0 },
		.label = PORT(label),
		.proto = proto,
		.reason = XM_R_NO_LABEL,
	};

	spec.t.sport = spec.t.dport = PORT(MASQ_PORT);
	pkt_udp(&in, spec.eth, &spec.t, &m, sizeof(m));
}

static void nacks_received(void)
{
	for (int i = 0; i < 4; i++) {
		struct node *node = i & 1 ? &node_b : &node_a;

		tap_case("nic_ingress: RST%s is a NACK to the %s", i & 2 ? " ACK" : "",
			 node->owner ? "owner" : "other node");
		begin(node, IPPROTO_TCP);
		spec.flags = RST | (i & 2 ? ACK : 0);
		spec.payload = 0;
		pkt_make(&in, &spec);
		demoted(R(RST_NACK));
	}

	for (int i = 0; i < 2; i++) {
		struct node *node = i ? &node_b : &node_a;

		tap_case("nic_ingress: a NACK message to the %s",
			 node->owner ? "owner" : "other node");
		begin(node, IPPROTO_UDP);
		nack_message(LABEL, XM_WIRE_VERSION, IPPROTO_UDP);
		demoted(R(NACK_RX));
	}

	tap_case("nic_ingress: no more NACKs are believed than a peer sends");
	for (int i = 0; i < 2; i++) {
		begin(&node_a, i ? IPPROTO_UDP : IPPROTO_TCP);
		if (i) {
			nack_message(LABEL, XM_WIRE_VERSION, IPPROTO_UDP);
		} else {
			spec.flags = RST;
			pkt_make(&in, &spec);
		}
		n->peers[PEER_IDX].rate_win = node_now(n);
		n->peers[PEER_IDX].rate_cnt[XM_RATE_NACK_RX] = XM_NACKS_PER_SEC;
		drops(R(NACK_UNHEEDED) | (i ? R(NACK_RX) : R(RST_NACK)));
		n->peers[PEER_IDX].rate_win = node_now(n) - SECOND;
		demoted(i ? R(NACK_RX) : R(RST_NACK));
	}

	tap_case("nic_ingress: NACKs about a flow that is off already use up nothing");
	begin(&node_a, IPPROTO_TCP);
	spec.flags = RST;
	pkt_make(&in, &spec);
	demoted(R(RST_NACK));
	n->peers[PEER_IDX].rate_win = node_now(n);
	n->peers[PEER_IDX].rate_cnt[XM_RATE_NACK_RX] = 7;
	drops(R(RST_NACK));
	CHECK_EQ(n->peers[PEER_IDX].rate_cnt[XM_RATE_NACK_RX], 7);

	tap_case("nic_ingress: few of those are that take a flow off for long");
	for (int i = 0; i < 2; i++) {
		begin(&node_a, IPPROTO_UDP);
		nack_message(LABEL, XM_WIRE_VERSION, IPPROTO_UDP);
		in.data[OFF_L4 + 8 + offsetof(struct xm_wire_nack, reason)] = XM_R_FRAGMENT;
		pkt_fix(&in);
		n->peers[PEER_IDX].rate_win = node_now(n);
		n->peers[PEER_IDX].rate_cnt[XM_RATE_HOLD] = i ? XM_HOLDS_PER_SEC : 0;
		demoted(R(NACK_RX) | (i ? R(NACK_UNHEEDED) : R(FLOW_END)));
		CHECK_EQ(after.ended, !i);
	}

	tap_case("nic_ingress: NACKs about other labels, protocols and versions");
	begin(&node_a, IPPROTO_UDP);
	nack_message(LABEL + 1, XM_WIRE_VERSION, IPPROTO_UDP);
	drops(R(NACK_RX));
	nack_message(LABEL, XM_WIRE_VERSION + 1, IPPROTO_UDP);
	drops(R(NACK_RX));
	nack_message(LABEL, XM_WIRE_VERSION, IPPROTO_TCP);
	drops(R(NACK_RX));
	nack_message(0, XM_WIRE_VERSION, IPPROTO_UDP);
	drops(R(NACK_RX));
	begin(&node_a, IPPROTO_TCP);
	spec.flags = RST;
	spec.t.dport = PORT(XM_LABEL_PORT_BASE + LABEL + 1);
	pkt_make(&in, &spec);
	drops(R(RST_NACK));
	spec.t.dport = PORT(XM_LABEL_PORT_BASE);
	pkt_make(&in, &spec);
	drops(R(RST_NACK));

	tap_case("nic_ingress: from the port to a low one it is somebody's connection");
	for (int i = 0; i < 4 && !tap_failed(); i++) {
		begin(&node_a, i & 1 ? IPPROTO_UDP : IPPROTO_TCP);
		spec.flags = i & 2 ? RST : ACK;
		spec.t.dport = PORT(i & 2 ? 80 : XM_LABEL_PORT_BASE - 1);
		pkt_make(&in, &spec);
		passes();
	}

	tap_case("nic_ingress: a stranger's NACK takes nothing back");
	begin(&node_a, IPPROTO_UDP);
	spec.t.saddr = ADDR_STR;
	nack_message(LABEL, XM_WIRE_VERSION, IPPROTO_UDP);
	drops(R(NOT_PEER));
	begin(&node_b, IPPROTO_TCP);
	spec.t.saddr = ADDR_STR;
	spec.flags = RST;
	pkt_make(&in, &spec);
	drops(R(NOT_PEER));

	tap_case("nic_ingress: a NACK for a flow whose entry is gone");
	begin(&node_a, IPPROTO_TCP);
	node_del_flow(n, &key);
	spec.flags = RST;
	pkt_make(&in, &spec);
	node_run(n, NIC_INGRESS, &in, &out);
	expect(n, &out, SHOT, R(RST_NACK));
}

void suite_refused(void)
{
	nacks(&node_a, IPPROTO_TCP);
	nacks(&node_a, IPPROTO_UDP);
	nacks(&node_b, IPPROTO_TCP);
	nacks(&node_b, IPPROTO_UDP);
	nack_more();
	malformed();
	strangers();
	controls();
	control_limits();
	nacks_received();
}
