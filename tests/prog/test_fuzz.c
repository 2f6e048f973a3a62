// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random and mutated frames through every program.
 *
 * What a frame deserves is decided here a second time, from the bytes alone, and must be what
 * the program did: nothing that is not eligible is changed, nothing that is not ours dropped,
 * and what is rewritten keeps every other byte and the rightness (or wrongness) of its sums.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include <linux/bpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"
#include "xm_wire.h"
#include "xmasq.skel.h"

#define LABEL 0x3579

static __u64 rng_state;
static struct node *n;
static struct xm_flow_key key;
static struct pkt in;
static struct outcome out;

static __u64 rng(void)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return rng_state * 0x2545f4914f6cdd1dull;
}

static __u32 below(__u32 limit)
{
	return (__u32)((rng() >> 33) % limit);
}

/* ---- what is in a frame ---- */

struct view {
	bool ip;    /* IPv4 with a whole fixed header */
	bool ports; /* TCP or UDP, not a later fragment, ports within the frame */
	bool clean; /* eligible but for TTL, TCP flags and what the tuple says */
	__u8 proto;
	__u8 flags;
	__be32 saddr, daddr;
	__u16 sport, dport;
};

static void look(const struct pkt *p, struct view *v)
{
	const __u8 *d = p->data;
	__u32 tot, l4;

	memset(v, 0, sizeof(*v));
	if (p->len < OFF_L4 || pkt_get16(p, 12) != 0x0800)
		return;
	v->ip = true;
	v->proto = d[OFF_IP + 9];
	memcpy(&v->saddr, d + OFF_IP + 12, 4);
	memcpy(&v->daddr, d + OFF_IP + 16, 4);
	l4 = OFF_IP + (d[OFF_IP] & 0xf) * 4u;
	if ((v->proto != IPPROTO_TCP && v->proto != IPPROTO_UDP) ||
	    pkt_get16(p, OFF_IP + 6) & 0x1fff || p->len < l4 + 4)
		return;
	v->ports = true;
	v->sport = pkt_get16(p, l4);
	v->dport = pkt_get16(p, l4 + 2);
	tot = pkt_get16(p, OFF_IP + 2);
	if (d[OFF_IP] != 0x45 || pkt_get16(p, OFF_IP + 6) & 0x3fff ||
	    tot < (v->proto == IPPROTO_TCP ? 40 : 28) || tot > p->len - OFF_IP ||
	    d[OFF_IP + 16] >> 4 == 0xe || v->daddr == 0xffffffff)
		return;
	if (v->proto == IPPROTO_TCP) {
		v->flags = d[OFF_L4 + 13] & (SYN | FIN | RST);
		v->clean = d[OFF_L4 + 12] >= 0x50;
	} else {
		v->clean = true;
	}
}

static bool is(const struct view *v, const struct xm_flow_key *t)
{
	return v->saddr == t->saddr && v->daddr == t->daddr && v->sport == bpf_ntohs(t->sport) &&
	       v->dport == bpf_ntohs(t->dport) && v->proto == t->proto;
}

static bool is_node(__be32 addr)
{
	return addr && (addr == n->cfg.node[0] || addr == n->cfg.node[1]);
}

/* ---- frames ---- */

static void mutate(void)
{
	static const __u16 odd[] = { 0,	     1,	     0xffff, 0x8000, 0x7fff, MASQ_PORT, 8472,
				     6081,   0x0800, 0x4500, 0x4006, 0x4011, 0x2000,	0x5010,
				     0x5002, 0x5004, 0xe000, 20,     40,     28 };
	__u32 depth = below(3) ? 64 : in.len;

	if (depth > in.len)
		depth = in.len;
	for (__u32 k = below(4); k; k--) {
		__u32 at = below(depth - 1);

		switch (below(5)) {
		case 0:
			in.data[at] ^= 1 << below(8);
			break;
		case 1:
			in.data[at] = (__u8)rng();
			break;
		case 2:
			pkt_set16(&in, at & ~1u, odd[below(sizeof(odd) / sizeof(odd[0]))]);
			break;
		case 3:
			pkt_set16(&in, at & ~1u, pkt_get16(&in, at & ~1u) + (__u16)below(3) - 1);
			break;
		default:
			if (below(4))
				break;
			in.len = 14 + below(in.len - 13);
			if (depth > in.len)
				depth = in.len;
		}
	}
}

static void random_spec(struct pkt_spec *s)
{
	s->tos = (__u8)rng();
	s->ttl = below(8) ? (__u8)rng() : (__u8)below(5);
	s->id = (__u16)rng();
	s->payload = (__u16)below(below(8) ? 80 : 1300);
	s->word = (__u16)rng();
	s->seq = (__u32)rng();
	s->ack = (__u32)rng();
	s->tcp_opts = below(4) ? 0 : (__u8)below(11);
	s->no_csum = !below(4);
	s->flags = below(8) ? ACK : (__u8)rng();
}

static void random_tunnel(struct pkt_spec *s)
{
	struct node *from = below(2) ? &node_a : &node_b;
	struct tunnel_spec t;
	struct pkt inner;

	random_spec(s);
	pkt_make(&inner, s);
	node_tunnel(from, below(2) ? XM_OVERLAY_VXLAN : XM_OVERLAY_GENEVE, &t);
	t.sport = (__u16)rng();
	t.csum = below(2);
	t.opts = t.opts ? (__u8)below(20) : 0;
	pkt_tunnel(&in, &inner, &t);
}

static void random_frame(void)
{
	struct xm_wire_nack m = {
		.head = { bpf_htonl(XM_WIRE_MAGIC), XM_WIRE_VERSION, (__u8)(1 + below(5)), 0, 0 },
		.label = PORT(LABEL),
		.proto = key.proto,
	};
	struct xm_flow_key t = {
		.saddr = n->peer_addr,
		.daddr = n->addr,
		.sport = PORT(MASQ_PORT),
		.dport = below(2) ? PORT(MASQ_PORT) : PORT(XM_LABEL_PORT_BASE),
		.proto = IPPROTO_UDP,
	};
	struct pkt about;
	struct pkt_spec s;

	switch (below(9)) {
	case 0:
		in.len = 34 + below(160);
		for (__u32 i = 0; i < in.len; i++)
			in.data[i] = (__u8)rng();
		pkt_set16(&in, 12, 0x0800);
		in.data[OFF_IP] = below(2) ? 0x45 : in.data[OFF_IP];
		return;
	case 1:
	case 2:
		node_spec(n, &key, &s);
		random_spec(&s);
		pkt_make(&in, &s);
		break;
	case 3:
	case 4:
		node_masq_spec(below(4) ? n : n == &node_a ? &node_b : &node_a, &key, LABEL, &s);
		random_spec(&s);
		pkt_make(&in, &s);
		break;
	case 5:
		node_spec(n, &key, &s);
		random_tunnel(&s);
		break;
	case 6:
		node_spec(n, &key, &s);
		pkt_flip(&s.t, &key);
		random_tunnel(&s);
		break;
	case 7:
		pkt_udp(&in, n->nic_eth, &t, &m, sizeof(m));
		break;
	default:
		node_masq_spec(n, &key, LABEL, &s);
		pkt_flip(&s.t, &s.t);
		pkt_make(&about, &s);
		pkt_icmp(&in, &about, (__u8)below(13), n->peer_addr, n->addr);
	}
	mutate();
}

/* ---- what became of it ---- */

static bool unchanged(void)
{
	return out.pkt.len == in.len && !memcmp(out.pkt.data, in.data, in.len);
}

/* Equal but for the headers that are rewritten, and the sums as right as before. */
static bool rewritten(const __u8 *eth, const struct xm_flow_key *t)
{
	struct pkt want = in;
	__u32 check = OFF_L4 + (t->proto == IPPROTO_TCP ? 16 : 6);

	memcpy(want.data, eth, XM_ETH_LEN);
	memcpy(want.data + OFF_IP + 12, &t->saddr, 4);
	memcpy(want.data + OFF_IP + 16, &t->daddr, 4);
	memcpy(want.data + OFF_L4, &t->sport, 2);
	memcpy(want.data + OFF_L4 + 2, &t->dport, 2);
	memcpy(want.data + OFF_IP + 10, out.pkt.data + OFF_IP + 10, 2);
	if (t->proto == IPPROTO_TCP || pkt_get16(&in, check)) {
		memcpy(want.data + check, out.pkt.data + check, 2);
		if (pkt_l4_rest(&out.pkt) != pkt_l4_rest(&in))
			return false;
		if (t->proto == IPPROTO_UDP && !pkt_get16(&out.pkt, check))
			return false;
	}
	return pkt_ip_rest(&out.pkt) == pkt_ip_rest(&in) && out.pkt.len == in.len &&
	       !memcmp(out.pkt.data, want.data, in.len);
}

static bool judge_pod_egress(const struct view *v)
{
	__be16 lport = PORT(XM_LABEL_PORT_BASE + LABEL), mport = PORT(MASQ_PORT);
	struct xm_flow_key t = {
		.saddr = n->addr,
		.daddr = n->peer_addr,
		.sport = n->owner ? lport : mport,
		.dport = n->owner ? mport : lport,
		.proto = key.proto,
	};

	if (v->clean && !v->flags && is(v, &key) && in.data[OFF_IP + 8] >= 3)
		return out.verdict == REDIRECT && out.mark == MARK && rewritten(n->nic_eth, &t);
	return out.verdict == UNSPEC && !out.mark && unchanged();
}

static bool judge_pod_ingress(const struct view *v)
{
	(void)v;
	return out.verdict == UNSPEC && !out.mark && unchanged();
}

/* To a tunnel's port: the overlay's, whatever its source port. */
static bool is_tunnel(const struct view *v)
{
	return v->ports && v->proto == IPPROTO_UDP && in.data[OFF_IP] == 0x45 &&
	       !(pkt_get16(&in, OFF_IP + 6) & 0x3fff) && (v->dport == 8472 || v->dport == 6081);
}

static bool has_shape(const struct view *v)
{
	__u16 other = v->sport == MASQ_PORT ? v->dport : v->sport;

	return v->ports && !is_tunnel(v) && (v->sport == MASQ_PORT || v->dport == MASQ_PORT) &&
	       (other == MASQ_PORT || other >= 32768);
}

static bool judge_nic_egress(const struct view *v)
{
	__u32 sums;

	if (has_shape(v) && v->daddr == n->peer_addr)
		return out.verdict == SHOT && unchanged();
	if (out.verdict != UNSPEC || out.mark || out.pkt.len != in.len)
		return false;
	if (!is_tunnel(v) || !is_node(v->saddr) || v->daddr != n->peer_addr ||
	    bpf_ntohl(v->saddr) > bpf_ntohl(n->peer_addr) || in.len < OFF_TUN)
		return unchanged();
	/* The owner's: a label, or the top bit; and a checksum that went along. */
	if (!(pkt_get16(&out.pkt, OFF_L4) & 0x8000) && pkt_get16(&out.pkt, OFF_L4) != LABEL)
		return false;
	sums = pkt_get16(&in, OFF_L4 + 6);
	if (sums) {
		sums += pkt_get16(&in, OFF_L4);
		if (!pkt_get16(&out.pkt, OFF_L4 + 6) ||
		    (pkt_get16(&out.pkt, OFF_L4 + 6) + pkt_get16(&out.pkt, OFF_L4)) % 65535u !=
			    sums % 65535)
			return false;
	} else if (pkt_get16(&out.pkt, OFF_L4 + 6)) {
		return false;
	}
	memcpy(out.pkt.data + OFF_L4, in.data + OFF_L4, 2);
	memcpy(out.pkt.data + OFF_L4 + 6, in.data + OFF_L4 + 6, 2);
	return unchanged();
}

static bool judge_nic_ingress(const struct view *v)
{
	const __u64 drops = R(NO_LABEL) | R(LABEL_EXPIRED) | R(NOT_PEER) | R(MALFORMED) |
			    R(CONTROL) | R(CONTROL_LIMIT) | R(RST_NACK) | R(NACK_RX);
	__be16 lport = PORT(XM_LABEL_PORT_BASE + LABEL), mport = PORT(MASQ_PORT);
	struct xm_flow_key masq = {
		.saddr = n->peer_addr,
		.daddr = n->addr,
		.sport = n->owner ? mport : lport,
		.dport = n->owner ? lport : mport,
		.proto = key.proto,
	}, t;
	bool ours = has_shape(v) && is_node(v->daddr) &&
		    (v->dport == MASQ_PORT || v->saddr == n->peer_addr);

	if (v->clean && !v->flags && is(v, &masq)) {
		pkt_flip(&t, &key);
		return out.verdict == REDIRECT && !out.mark && rewritten(n->pod_eth, &t);
	}
	if (out.verdict == UNSPEC)
		return !ours && !out.mark && unchanged();
	node_count(n, &out);
	if (out.verdict == REDIRECT)
		return ours && (v->clean || out.reasons & R(FRAGMENT)) &&
		       v->saddr == n->peer_addr && out.mark == MARK && out.reasons & R(NACK_TX) &&
		       out.pkt.len == 54 && !pkt_bad(&out.pkt) &&
		       !memcmp(out.pkt.data + OFF_IP + 16, &v->saddr, 4) &&
		       !memcmp(out.pkt.data, in.data + 6, 6);
	if (out.verdict != SHOT || !(out.reasons & drops) || !unchanged())
		return false;
	/* A probe's word may come from a stranger's masquerade port. */
	return ours || (v->sport == MASQ_PORT && out.reasons & (R(CONTROL) | R(CONTROL_LIMIT)));
}

static bool (*const judges[HOOKS])(const struct view *) = {
	judge_pod_egress,
	judge_pod_ingress,
	judge_nic_egress,
	judge_nic_ingress,
};

/* Everything that a frame before may have changed. */
static void set_up(unsigned int round)
{
	n = round & 1 ? &node_a : &node_b;
	if (round % 64 < 2)
		node_reset(n);
	node_key(n, round & 2 ? IPPROTO_UDP : IPPROTO_TCP, &key);
	node_del_flow(n, &key);
	node_label(n, n->peer_addr, LABEL, key.proto)->tag = 0;
	node_key(n, round & 2 ? IPPROTO_TCP : IPPROTO_UDP, &key);
	node_ready(n, &key, LABEL);
	memset(n->peers[PEER_IDX].rate_cnt, 0, sizeof(n->peers[PEER_IDX].rate_cnt));
	n->skel->bss->strangers_cnt = 0;
}

static void report(enum hook hook, unsigned int round)
{
	char hex[2][3 * 128 + 1] = { "", "" };

	for (__u32 i = 0; i < 128; i++) {
		if (i < in.len)
			sprintf(hex[0] + 3 * i, "%02x ", in.data[i]);
		if (i < out.pkt.len)
			sprintf(hex[1] + 3 * i, "%02x ", out.pkt.data[i]);
	}
	tap_fail("round %u of %s at node %s: verdict %d, mark %#x, %u bytes of %u", round,
		 hook_names[hook], n->name, out.verdict, out.mark, out.pkt.len, in.len);
	tap_fail("  in  %s", hex[0]);
	tap_fail("  out %s", hex[1]);
}

void suite_fuzz(void)
{
	tap_note("fuzz: --seed %llu --rounds %u", (unsigned long long)options.seed, options.rounds);
	for (enum hook hook = POD_EGRESS; hook < HOOKS; hook++) {
		unsigned int changed = 0, ran = 0;

		tap_case("fuzz: %s", hook_names[hook]);
		rng_state = options.seed * 2 + 1 + hook;
		for (unsigned int i = 0; i < options.rounds; i++) {
			struct __sk_buff ctx = { 0 };
			struct view v;
			int err;

			set_up(i);
			random_frame();
			look(&in, &v);
			ctx.ifindex = hook == POD_EGRESS || hook == POD_INGRESS ? n->pod : n->nic;
			err = node_run_quiet(n, hook, &in, &ctx, 0, &out);
			if (err && in.len < OFF_L4)
				continue;
			ran++;
			changed += out.verdict != UNSPEC || !unchanged();
			if (err || !judges[hook](&v))
				report(hook, i);
		}
		CHECK(hook == POD_INGRESS || changed > ran / 100, "only %u of %u frames mattered",
		      changed, ran);
		tap_note("fuzz: %s: %u frames, %u of them acted on", hook_names[hook], ran,
			 changed);
	}
	node_events(&node_a);
	node_events(&node_b);
}
