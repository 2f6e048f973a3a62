/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the target prog plays with: a node with flows, labels and a peer, and packets made from a
 * few bytes each. With all of the TC programs, which it fills the tables of.
 */
#ifndef XM_PROG_WORLD_H
#define XM_PROG_WORLD_H

/* Few, so that slots are shared. */
#define XM_FAST_LOG 2

#include "bpf_shim.h"
#include "fuzz.h"
#include "xmasq.bpf.c"

#define FLOWS  3
#define PODS   2
#define LABELS 16

#define NONCE  0x01020304
#define NIC    100 /* ifindexes */
#define POD(i) (200 + (__u32)(i))
#define MARK   0x5ec2e7
#define P      18477
#define SECOND 250
#define LEASE  250
#define UP     0   /* slot of the peer */
#define SMALL  200 /* bytes of a frame: less than a payload can be */

#define OFF_IP	14
#define OFF_L4	34
#define OFF_TUN 42

struct frame {
	__u8 b[SHIM_FRAME_MAX];
	__u32 len;
};

enum hook {
	POD_EGRESS,
	NIC_EGRESS,
	NIC_INGRESS,
	POD_INGRESS,
	RPEER_EGRESS,
	NETKIT_EGRESS,
	HOOKS,
};

/* One packet. Every value means something. */
struct step {
	__u8 hook;
	__u8 shape;
	__u8 flow;    /* which; bits 4..7: enum other */
	__u8 payload; /* bytes */
	__u8 linear;  /* bytes behind the Ethernet header; 255: all */
	__u8 csum;    /* bits 0..1: ip_summed, others: enum csum_bits */
	__u8 dev;     /* enum dev_bits */
	__u8 fail;    /* enum shim_fail */
	__u8 port[2]; /* label told or carried; the outer source port is made of it */
	__u8 time;    /* jiffies before it: the square of it, over 32 */
	__u8 ttl;
	__u8 flags; /* TCP */
	__u8 edits;
	__u8 tunnel; /* bit 0: Geneve, bits 1..4: its options, bit 5: outer checksum,
		      * bit 6: small segments */
	__u8 cut;    /* bytes off the end */
};

enum other {
	OTHER_REVERSE = 0x10, /* the tuple of the other direction */
	OTHER_PEER = 0x20,    /* from or to a node that is no peer */
	OTHER_NODE = 0x40,    /* to a node that we are not */
	OTHER_WAY = 0x80,     /* ports of the other role */
};

enum csum_bits {
	CSUM_ODD_START = 4, /* a partial sum elsewhere */
	CSUM_OUTER = 8,	    /* a partial sum of a tunnel packet: of the outer header */
	CSUM_GSO = 16,
	CSUM_NO_UDP = 32,
	CSUM_NO_CTX = 64, /* a kernel without bpf_cast_to_kern_ctx() */
	CSUM_RIGHT = 128, /* put the sums right after the edits */
};

enum dev_bits {
	DEV_OTHER_POD = 1,
	DEV_INGRESS = 2, /* the packet came in by some interface */
	DEV_VLAN = 4,
	DEV_MARK = 8,
	DEV_NOT_IP = 16, /* skb->protocol */
	DEV_SOME_MARK = 32,
	DEV_ZERO = 64, /* a UDP checksum that the rewriting makes 0 */
};

enum shape {
	PLAIN,	     /* of a flow */
	MASQUERADED, /* of a flow, arriving */
	TUNNELED,    /* of a flow, leaving */
	TUNNELED_IN, /* of the reverse flow, arriving */
	NACK,
	HELLO,
	PROBE,
	ICMP,	 /* about a masqueraded packet */
	GUARDED, /* as masqueraded, leaving without a mark */
	SHAPES,
};

static struct xm_config config;
static struct {
	__be32 node, peer, other;
	bool owner;
	struct xm_flow_key key[FLOWS];
} w;

static struct frame before, after;
static __u32 nic_mtu;

/* ---- sums, by other code than that of the programs ---- */

static __u16 get16(const __u8 *p)
{
	return (__u16)(p[0] << 8 | p[1]);
}

static void put16(__u8 *p, __u32 v)
{
	p[0] = (__u8)(v >> 8);
	p[1] = (__u8)v;
}

/* Sums are numbers modulo 65535, which 65536 is 1 of: a byte at an even place counts 256. */
static __u32 sum_of(const __u8 *p, __u32 len)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < len; i++)
		sum += (__u64)p[i] << (i & 1 ? 0 : 8);
	return (__u32)(sum % 65535);
}

static __u32 ip_len(const struct frame *f)
{
	__u32 len = get16(f->b + OFF_IP + 2);

	return len > f->len - OFF_IP ? f->len - OFF_IP : len;
}

static __u32 pseudo(const struct frame *f, __u32 l4_len)
{
	return (sum_of(f->b + OFF_IP + 12, 8) + f->b[OFF_IP + 9] + l4_len) % 65535;
}

/* 0 when the checksum is right; what is wrong with it otherwise. */
static __u32 ip_rest(const struct frame *f)
{
	return sum_of(f->b + OFF_IP, 20);
}

static __u32 l4_rest(const struct frame *f)
{
	__u32 len = ip_len(f) - 20;

	return (sum_of(f->b + OFF_L4, len) + pseudo(f, len)) % 65535;
}

static __u8 *l4_check(struct frame *f)
{
	return f->b + OFF_L4 + (f->b[OFF_IP + 9] == IPPROTO_TCP ? 16 : 6);
}

/* Sets the sums; @partial: that of the pseudo-header. */
static void set_sums(struct frame *f, bool partial, bool none)
{
	__u32 l4 = ip_len(f) < 20 ? 0 : ip_len(f) - 20, sum;
	__u8 *check = l4_check(f);

	put16(f->b + OFF_IP + 10, 0);
	put16(f->b + OFF_IP + 10, 65535 - sum_of(f->b + OFF_IP, 20));
	if (!l4 || check + 2 > f->b + f->len)
		return;
	put16(check, 0);
	if (partial) {
		put16(check, pseudo(f, l4));
	} else if (!none || f->b[OFF_IP + 9] == IPPROTO_TCP) {
		sum = 65535 - l4_rest(f);
		put16(check, sum ? sum : 65535);
	}
}

/* ---- the world ---- */

static __be32 addr(__u32 a, __u32 b, __u32 c, __u32 d)
{
	return bpf_htonl(a << 24 | b << 16 | c << 8 | d);
}

static __u16 diff32(__be32 from, __be32 to)
{
	__u8 a[4], b[4];

	memcpy(a, &from, 4);
	memcpy(b, &to, 4);
	return bpf_htons((__u16)((65535 + sum_of(b, 4) - sum_of(a, 4)) % 65535));
}

static __u16 add16(__u16 a, __u16 b)
{
	return bpf_htons((__u16)((bpf_ntohs(a) + (__u32)bpf_ntohs(b)) % 65535));
}

static void eth_of(__u8 *eth, __u8 what)
{
	static const __u8 base[XM_ETH_LEN] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };

	memcpy(eth, base, XM_ETH_LEN);
	eth[4] = eth[10] = what;
}

static __be16 label_port(__u32 label)
{
	return bpf_htons((__u16)(XM_LABEL_PORT_BASE + label));
}

static struct xm_label *label_at(__be32 peer, __u16 label, __u32 idx)
{
	__u32 slot = xm_label_slot(peer, label, idx, LABELS - 1);

	return bpf_map_lookup_elem(&xm_labels, &slot);
}

/* To the other pod: learned, or not yet. */
static void install_local(const struct xm_flow_key *key, struct xm_flow *f, __u8 odd, __u8 more)
{
	f->node = f->peer = 0;
	f->peer_idx = f->peer_gen = 0;
	f->pod_ifindex = POD(odd >> 1 & 1);
	f->nic_ifindex = odd & 4 ? 0 : POD(~odd >> 1 & 1);
	/* With where the CNI delivers comes the lease. */
	if (!f->nic_ifindex)
		f->out_until = (__u32)shim.jiffies;
	f->sent_head = f->sent_id = 0;
	f->sent_ttl = 64;
	f->ttl_dec = more & 1;
	f->frame_max = more & 2 ? SMALL : 1500;
	eth_of(f->eth, 20);
	bpf_map_update_elem(&xm_flows, key, f, BPF_ANY);
}

/* A flow and its label, as the programs might have left them. */
static void install(unsigned int i, struct fuzz_in *in)
{
	__u8 bits = fuzz_u8(in), lease = fuzz_u8(in), label = fuzz_u8(in), odd = fuzz_u8(in);
	const struct xm_flow_key *key = &w.key[i];
	__u32 t = (__u32)shim.jiffies, idx = key->proto == IPPROTO_TCP ? XM_TCP : XM_UDP;
	struct xm_flow f = {
		.node = w.node,
		.peer = w.peer,
		.nic_ifindex = NIC,
		/* Told and ready flows know their pod. */
		.pod_ifindex = odd & 1 && !(bits & 3) ? 0 : POD(odd >> 1 & 1),
		.out_until = t + (lease & 15) * (LEASE / 8) - LEASE / 2,
		.in_until = t + (lease >> 4) * (LEASE / 8) - LEASE / 2,
		.renew_at = t + (odd >> 4) * (LEASE / 8) - LEASE / 4,
		.pod_out = t - (bits >> 4) * 32,
		.nic_in = t - (bits >> 4) * 16,
		.peer_idx = UP,
		.peer_gen = odd & 4 ? 6 : 7,
		.stage = bits & 3,
		.ended = !(bits & 12) && bits & 16,
	};
	struct xm_label *e;
	__be16 sport, dport;

	if (f.stage == XM_STAGE_LOCAL) {
		install_local(key, &f, odd, label);
		return;
	}
	eth_of(f.eth, 10);
	f.addr_csum = add16(diff32(key->saddr, f.node), diff32(key->daddr, f.peer));
	if (f.stage == XM_STAGE_TOLD && !w.owner)
		f.stage = XM_STAGE_NEW;
	if (f.stage != XM_STAGE_NEW) {
		f.label = 1 + label;
		f.sport = w.owner ? label_port(f.label) : bpf_htons(P);
		f.dport = w.owner ? bpf_htons(P) : label_port(f.label);
		f.port_csum = add16(diff32(key->sport, f.sport), diff32(key->dport, f.dport));
	}
	bpf_map_update_elem(&xm_flows, key, &f, BPF_ANY);
	e = label_at(w.peer, f.label, idx);
	if (f.stage == XM_STAGE_NEW || e->tag || odd & 8)
		return;
	sport = f.dport;
	dport = f.sport;
	*e = (struct xm_label){
		.tag = (__u64)w.peer << 32 | (__u64)f.label << 16 | (__u64)key->proto << 8 | 1,
		.until = f.in_until,
		.pod_ifindex = f.pod_ifindex,
		.saddr = key->daddr,
		.daddr = key->saddr,
		.sport = key->dport,
		.dport = key->sport,
		.node = w.node,
		.addr_csum = add16(diff32(w.peer, key->daddr), diff32(w.node, key->saddr)),
		.port_csum = add16(diff32(sport, key->dport), diff32(dport, key->sport)),
		.owner = w.owner,
		.acked = w.owner && f.stage == XM_STAGE_READY && bits & 4,
		.since = t,
	};
	eth_of(e->eth, 20 + (odd >> 1 & 1));
}

static void make_world(struct fuzz_in *in)
{
	__u8 bits = fuzz_u8(in), flows = fuzz_u8(in), more = fuzz_u8(in), pods = fuzz_u8(in);
	__u32 idx = UP, ifindex;
	struct xm_peer *p;
	struct xm_local local = { .protos = 3, .frame_max = 1500 };
	struct xm_pod pod;

	shim_reset();
	local_until = ~0ull;
	w.owner = bits & 1;
	w.node = w.owner ? addr(172, 31, 0, 1) : addr(172, 31, 0, 9);
	w.peer = w.owner ? addr(172, 31, 0, 9) : addr(172, 31, 0, 1);
	w.other = addr(172, 31, 0, 77);
	config.node[0] = bits & 2 ? w.node : 0;
	config.node[1] = bits & 2 ? 0 : w.node;
	shim.jiffies = bits & 4 ? 0xffffff80ull : 0x100001000ull;
	config.seed = more;
	/* What all interfaces take: all, or less than some packets; the one that ours leave by may be
	 * a larger one, which is seen from here or not. */
	nic_frame_max = pods & 64 ? SMALL : 0xffffffff;
	nic_mtu = (pods & 96) == 64 ? SMALL - ETH_HLEN : 65535;
	shim.mtu_ifindex = pods & 128 ? 0 : NIC;
	for (unsigned int i = 0; i < FLOWS; i++)
		w.key[i] = (struct xm_flow_key){
			.saddr = addr(10, 244, 1, 11 + (i & 1)),
			.daddr = addr(10, 244, 2, 22),
			.sport = bpf_htons((__u16)(40000 + i)),
			.dport = bpf_htons(5201),
			.proto = i & 1 || bits & 128 ? IPPROTO_UDP : IPPROTO_TCP,
		};
	p = peer_slot(UP);
	*p = (struct xm_peer){
		.up_until = { bits & 8 ? shim.jiffies - 1 : shim.jiffies + 3 * SECOND,
			      bits & 16 ? 0 : shim.jiffies + 3 * SECOND },
		.addr = w.peer,
		.gen = 7,
		.used = !(bits & 32),
		.report = !!(bits & 64),
		.rate_win = (__u32)shim.jiffies,
		.nonce = { NONCE, 0 },
	};
	for (unsigned int i = 0; i < XM_RATES; i++) {
		static const __u16 limits[XM_RATES] = {
			[XM_RATE_NACK_TX] = XM_NACKS_PER_SEC,
			[XM_RATE_NACK_RX] = XM_NACKS_PER_SEC,
			[XM_RATE_CONTROL] = XM_CONTROLS_PER_SEC,
			[XM_RATE_FRESH] = XM_CONTROLS_PER_SEC,
			[XM_RATE_HOLD] = XM_HOLDS_PER_SEC,
			[XM_RATE_ICMP] = XM_HOLDS_PER_SEC,
		};

		p->rate_cnt[i] = more & 1u << i % 3 ? limits[i] - 1 : 0;
	}
	strangers_cnt = more & 8 ? XM_STRANGERS_PER_SEC - 1 : 0;
	bpf_map_update_elem(&xm_peer_idx, &w.peer, &idx, BPF_ANY);
	for (unsigned int i = 0; i < PODS; i++) {
		if (pods >> i & 1)
			continue;
		ifindex = POD(i);
		eth_of(pod.eth, (__u8)(20 + i));
		bpf_map_update_elem(&xm_pods, &ifindex, &pod, BPF_ANY);
		/* Whatever address a frame has: one of the two is this pod's. */
		memcpy(local.mac, pod.eth, sizeof(local.mac));
		local.mac[4] = i ? 10 : 20;
		bpf_map_update_elem(&xm_locals, &ifindex, &local, BPF_ANY);
	}
	for (unsigned int i = 0; i < FLOWS; i++) {
		if (flows >> i & 1)
			install(i, in);
		else
			fuzz_u32(in);
	}
	/* All admitted, or nearly; entries' always are. */
	admit_after = pods & 8 ? 3 : 1;
	for (__u32 i = 0; i < LABELS; i++) {
		struct xm_admit *c = bpf_map_lookup_elem(&xm_admit, &i);

		c->count = pods & 4 ? i % 3 : XM_ADMITTED;
		c->at = (__u32)shim.jiffies - (pods & 16 ? SECOND - 1 : 0);
	}
	for (unsigned int i = 0; i < FLOWS; i++)
		if (flows >> i & 1)
			admit_now(&w.key[i], (__u32)shim.jiffies);
}

/* ---- frames ---- */

static void frame_ip(struct frame *f, const struct xm_flow_key *t, __u32 payload,
		     const struct step *s)
{
	__u32 hdr = t->proto == IPPROTO_TCP ? 20 : 8;

	f->len = OFF_L4 + hdr + payload;
	memset(f->b, 0, f->len);
	eth_of(f->b, 30);
	put16(f->b + 12, ETH_P_IP);
	f->b[OFF_IP] = 0x45;
	f->b[OFF_IP + 1] = 0x02;
	put16(f->b + OFF_IP + 2, f->len - OFF_IP);
	put16(f->b + OFF_IP + 4, 0x1234);
	put16(f->b + OFF_IP + 6, 0x4000);
	f->b[OFF_IP + 8] = s->ttl ? s->ttl : 64;
	f->b[OFF_IP + 9] = t->proto;
	memcpy(f->b + OFF_IP + 12, &t->saddr, 4);
	memcpy(f->b + OFF_IP + 16, &t->daddr, 4);
	memcpy(f->b + OFF_L4, &t->sport, 2);
	memcpy(f->b + OFF_L4 + 2, &t->dport, 2);
	if (t->proto == IPPROTO_TCP) {
		f->b[OFF_L4 + 7] = 1;
		f->b[OFF_L4 + 11] = 2;
		f->b[OFF_L4 + 12] = 5 << 4;
		f->b[OFF_L4 + 13] = s->flags ? s->flags : TCP_ACK;
	} else {
		put16(f->b + OFF_L4 + 4, hdr + payload);
	}
	for (__u32 i = 0; i < payload; i++)
		f->b[OFF_L4 + hdr + i] = (__u8)(i * 7 + 1);
}

static void flip(struct xm_flow_key *t)
{
	struct xm_flow_key k = *t;

	flow_key_reverse(t, &k);
}

/* Masqueraded as the peer sends it; its other roles on demand. */
static void masq_tuple(struct xm_flow_key *t, const struct step *s, __u8 proto)
{
	__u16 label = get16(s->port) & 0x7fff;
	bool to_label = w.owner;

	if (s->flow & OTHER_WAY)
		to_label = !to_label;
	*t = (struct xm_flow_key){
		.saddr = s->flow & OTHER_PEER ? w.other : w.peer,
		.daddr = s->flow & OTHER_NODE ? w.other : w.node,
		.sport = to_label ? bpf_htons(P) : label_port(label),
		.dport = to_label ? label_port(label) : bpf_htons(P),
		.proto = proto,
	};
}

static void tunnel(struct frame *f, const struct frame *inner, const struct step *s, bool in)
{
	__u32 opts = s->tunnel & 1 ? (s->tunnel >> 1 & 15) * 4u : 0;
	__be32 other = s->flow & OTHER_PEER ? w.other : w.peer;
	__be32 self = s->flow & OTHER_NODE ? w.other : w.node;
	struct xm_flow_key t = {
		.saddr = in ? other : self,
		.daddr = in ? self : other,
		.sport = bpf_htons(get16(s->port)),
		.dport = bpf_htons(s->tunnel & 1 ? 6081 : 8472),
		.proto = IPPROTO_UDP,
	};
	__u32 len = inner->len;

	if (len > 1200)
		len = 1200;
	frame_ip(f, &t, 8 + opts + len, s);
	memset(f->b + OFF_TUN, 0, 8 + opts);
	if (s->tunnel & 1) {
		f->b[OFF_TUN] = (__u8)(opts / 4);
		put16(f->b + OFF_TUN + 2, 0x6558);
	} else {
		f->b[OFF_TUN] = 0x08;
	}
	memcpy(f->b + OFF_TUN + 8 + opts, inner->b, len);
}

static void control_frame(struct frame *f, const struct step *s)
{
	struct xm_flow_key t;

	masq_tuple(&t, s, IPPROTO_UDP);
	if (s->shape == PROBE) {
		t.proto = w.key[(s->flow & 15) % FLOWS].proto;
		if (t.sport != bpf_htons(P))
			t.sport = label_port(XM_LABEL_PROBE);
		else
			t.dport = label_port(XM_LABEL_PROBE);
	} else {
		t.sport = t.dport = bpf_htons(P);
	}
	frame_ip(f, &t, 16 + s->payload, s);
	put16(f->b + f->len - s->payload - 16, XM_WIRE_MAGIC >> 16);
	put16(f->b + f->len - s->payload - 14, XM_WIRE_MAGIC & 0xffff);
	f->b[f->len - s->payload - 12] = XM_WIRE_VERSION;
	f->b[f->len - s->payload - 11] = s->shape == NACK    ? XM_WIRE_NACK
					 : s->shape == PROBE ? XM_WIRE_PROBE
							     : XM_WIRE_HELLO;
	if (s->shape == NACK) {
		memcpy(f->b + f->len - s->payload - 8, s->port, 2);
		f->b[f->len - s->payload - 6] = IPPROTO_UDP;
		f->b[f->len - s->payload - 5] = s->ttl;
	}
}

static void icmp(struct frame *f, const struct step *s, __u8 proto)
{
	struct xm_flow_key t, out = {
		.saddr = w.other,
		.daddr = w.node,
		.proto = IPPROTO_UDP,
	};
	struct frame about;

	masq_tuple(&t, s, proto);
	flip(&t);
	frame_ip(&about, &t, 8, s);
	frame_ip(f, &out, about.len - OFF_IP, s);
	f->b[OFF_IP + 9] = IPPROTO_ICMP;
	memset(f->b + OFF_L4, 0, 8);
	f->b[OFF_L4] = s->tunnel & 15 ? s->tunnel & 15 : ICMP_DEST_UNREACH;
	f->b[OFF_L4 + 1] = s->tunnel >> 4;
	memcpy(f->b + OFF_L4 + 8, about.b + OFF_IP, about.len - OFF_IP);
}

static void make_frame(struct frame *f, struct step *s, struct fuzz_in *in)
{
	struct xm_flow_key t = w.key[(s->flow & 15) % FLOWS];
	bool none = s->csum & CSUM_NO_UDP, partial = (s->csum & 3) == CHECKSUM_PARTIAL, outer;
	struct frame inner;
	__u32 at;

	s->shape %= SHAPES;
	outer = s->shape == TUNNELED || s->shape == TUNNELED_IN;
	if (s->flow & OTHER_REVERSE)
		flip(&t);
	switch (s->shape) {
	case PLAIN:
		frame_ip(f, &t, s->payload, s);
		break;
	case MASQUERADED:
	case GUARDED:
		masq_tuple(&t, s, t.proto);
		if (s->shape == GUARDED)
			flip(&t);
		frame_ip(f, &t, s->payload, s);
		break;
	case TUNNELED:
	case TUNNELED_IN:
		if (s->shape == TUNNELED_IN)
			flip(&t);
		frame_ip(&inner, &t, s->payload, s);
		set_sums(&inner, false, false);
		tunnel(f, &inner, s, s->shape == TUNNELED_IN);
		none = !(s->tunnel & 32);
		partial = partial && s->csum & CSUM_OUTER && !none;
		break;
	case ICMP:
		icmp(f, s, t.proto);
		break;
	default:
		control_frame(f, s);
	}
	if (f->b[OFF_IP + 9] != IPPROTO_ICMP)
		set_sums(f,
			 partial || (!outer && f->b[OFF_IP + 9] == IPPROTO_UDP && !(s->csum & 3) &&
				     s->csum & CSUM_GSO),
			 none);
	for (__u32 i = s->edits % 8; i; i--) {
		at = fuzz_u8(in) & 127; /* headers */
		if (at < f->len)
			f->b[at] = fuzz_u8(in);
	}
	if (s->cut < f->len - OFF_IP)
		f->len -= s->cut;
	if (s->csum & CSUM_RIGHT && f->len >= OFF_L4 + 20)
		set_sums(f, partial, none);
}

/* The field to which the difference brings 0 is the difference itself. */
static void zero_sum(struct frame *f, const struct step *s)
{
	const struct xm_flow *flow = flow_find(&w.key[(s->flow & 15) % FLOWS]);
	const struct xm_label *e;
	__u16 diff;

	if (!flow || f->b[OFF_IP + 9] != IPPROTO_UDP || f->len < OFF_L4 + 8)
		return;
	diff = add16(flow->addr_csum, flow->port_csum);
	if (s->hook == NIC_INGRESS) {
		e = label_at(w.peer, flow->label, XM_UDP);
		diff = add16(e->addr_csum, e->port_csum);
	}
	memcpy(l4_check(f), &diff, sizeof(diff));
}

static struct __sk_buff *make_packet(struct step *s, struct fuzz_in *in)
{
	struct __sk_buff *skb;
	struct sk_buff *k;

	make_frame(&before, s, in);
	if (s->dev & DEV_ZERO)
		zero_sum(&before, s);
	skb = shim_packet(before.b, before.len, s->linear == 255 ? before.len : OFF_IP + s->linear);
	skb->protocol = bpf_htons(s->dev & DEV_NOT_IP ? ETH_P_IPV6 : get16(before.b + 12));
	skb->vlan_present = !!(s->dev & DEV_VLAN);
	skb->vlan_proto = s->dev & DEV_VLAN ? bpf_htons(ETH_P_8021Q) : 0;
	skb->mark = s->dev & DEV_MARK ? MARK : s->dev & DEV_SOME_MARK ? 5 : 0;
	skb->ifindex = s->hook == NIC_EGRESS || s->hook == NIC_INGRESS ? NIC : POD(s->dev & 1);
	skb->ingress_ifindex = s->dev & DEV_INGRESS ? POD(0) : 0;
	skb->gso_size = !(s->csum & CSUM_GSO) ? 0 : s->tunnel & 64 ? 100 : 1000;
	shim.instance_pod = skb->ifindex;
	/* In the pod's namespace it is another interface that has this number. */
	shim.mtu = s->hook == RPEER_EGRESS ? 65535 : nic_mtu;
	k = shim_kernel();
	k->ip_summed = s->csum & 3;
	if (k->ip_summed == CHECKSUM_PARTIAL) {
		k->csum_start = 64 + OFF_L4;
		k->csum_offset = before.b[OFF_IP + 9] == IPPROTO_TCP ? 16 : 6;
		if ((s->shape == TUNNELED || s->shape == TUNNELED_IN) && !(s->csum & CSUM_OUTER))
			k->csum_start += 50;
		if (s->csum & CSUM_ODD_START)
			k->csum_start += 4;
	} else if (k->ip_summed == CHECKSUM_COMPLETE) {
		/* Of the machine's byte order, as the bytes lie there. */
		k->csum = bpf_htons((__u16)sum_of(before.b + OFF_IP, before.len - OFF_IP));
	}
	bpf_cast_to_kern_ctx = s->csum & CSUM_NO_CTX ? NULL : shim_kern_ctx;
	shim.fail = s->fail;
	shim.redirect = SHIM_STAYS;
	shim.redirect_ifindex = 0;
	return skb;
}

#endif
