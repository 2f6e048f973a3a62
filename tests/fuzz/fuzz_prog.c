// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TC programs on sequences of packets, compiled for the host (bpf_shim.h).
 *
 * An input is a world (which of the two nodes we are, what flows and labels there are) and up to
 * STEPS packets, each one of the shapes that matter with bytes of it changed. What a packet
 * deserves is decided here once more, by other code, from the bytes and from the tables as they
 * were before:
 *
 *  - a packet that passes is as it was, but for the outer source port by which an owner tells a
 *    label, and that port's share of the checksum
 *  - a packet is masqueraded only for a flow, and restored only for a label, that is alive, and
 *    nothing but addresses, ports and sums changes; these stay as right or wrong as they were
 *  - the guard: nothing that looks like ours gets in or out
 *  - the fast path does exactly what the complete path would have done, or nothing
 *
 * Input: 16 bytes of world, then for each step 16 bytes (struct step) and its edits, two bytes each.
 */
#include "bpf_shim.h"
#include "fuzz.h"
#include "xmasq.bpf.c"

#define STEPS  12
#define FLOWS  3
#define PODS   2
#define LABELS 16

#define NIC    100 /* ifindexes */
#define POD(i) (200 + (__u32)(i))
#define MARK   0x5ec2e7
#define P      18477
#define SECOND 250
#define LEASE  250
#define UP     0 /* slot of the peer */

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
	__u8 tunnel; /* bit 0: Geneve, bits 1..4: its options, bit 5: outer checksum */
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
static struct shim_state was, fast, full, now;

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

	if (f.stage > XM_STAGE_READY)
		return;
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
	struct xm_pod pod;

	shim_reset();
	w.owner = bits & 1;
	w.node = w.owner ? addr(172, 31, 0, 1) : addr(172, 31, 0, 9);
	w.peer = w.owner ? addr(172, 31, 0, 9) : addr(172, 31, 0, 1);
	w.other = addr(172, 31, 0, 77);
	config.node[0] = bits & 2 ? w.node : 0;
	config.node[1] = bits & 2 ? 0 : w.node;
	shim.jiffies = bits & 4 ? 0xffffff80ull : 0x100001000ull;
	config.seed = more;
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
		.nack_cnt = more & 1 ? XM_NACKS_PER_SEC - 1 : 0,
		.ctl_cnt = more & 2 ? XM_CONTROLS_PER_SEC - 1 : 0,
		.icmp_cnt = more & 4 ? XM_ICMPS_PER_SEC - 1 : 0,
		.nack_win = (__u32)shim.jiffies,
		.ctl_win = (__u32)shim.jiffies,
		.icmp_win = (__u32)shim.jiffies,
	};
	strangers_cnt = more & 8 ? XM_STRANGERS_PER_SEC - 1 : 0;
	bpf_map_update_elem(&xm_peer_idx, &w.peer, &idx, BPF_ANY);
	for (unsigned int i = 0; i < PODS; i++) {
		if (pods >> i & 1)
			continue;
		ifindex = POD(i);
		eth_of(pod.eth, (__u8)(20 + i));
		bpf_map_update_elem(&xm_pods, &ifindex, &pod, BPF_ANY);
	}
	for (unsigned int i = 0; i < FLOWS; i++) {
		if (flows >> i & 1)
			install(i, in);
		else
			fuzz_u32(in);
	}
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
	skb->mark = s->dev & DEV_MARK ? MARK : s->dev & DEV_SOME_MARK ? 5 : 0;
	skb->ifindex = s->hook == NIC_EGRESS || s->hook == NIC_INGRESS ? NIC : POD(s->dev & 1);
	skb->ingress_ifindex = s->dev & DEV_INGRESS ? POD(0) : 0;
	skb->gso_size = s->csum & CSUM_GSO ? 1000 : 0;
	shim.instance_pod = skb->ifindex;
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

/* ---- what is in a frame ---- */

struct view {
	bool ports; /* TCP or UDP, not a later fragment, ports within the frame */
	bool clean; /* eligible but for TTL and TCP flags */
	__u8 proto, flags, ttl;
	__be32 saddr, daddr;
	__u16 sport, dport;
};

static void look(const struct frame *f, const struct __sk_buff *skb, struct view *v)
{
	const __u8 *b = f->b;
	__u32 l4, hdr, tot;

	memset(v, 0, sizeof(*v));
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present || f->len < OFF_L4)
		return;
	v->proto = b[OFF_IP + 9];
	v->ttl = b[OFF_IP + 8];
	memcpy(&v->saddr, b + OFF_IP + 12, 4);
	memcpy(&v->daddr, b + OFF_IP + 16, 4);
	l4 = OFF_IP + (b[OFF_IP] & 15) * 4u;
	if ((v->proto != IPPROTO_TCP && v->proto != IPPROTO_UDP) ||
	    get16(b + OFF_IP + 6) & 0x1fff || f->len < l4 + 4)
		return;
	v->ports = true;
	v->sport = get16(b + l4);
	v->dport = get16(b + l4 + 2);
	hdr = v->proto == IPPROTO_TCP ? 20 : 8;
	tot = get16(b + OFF_IP + 2);
	if (b[OFF_IP] != 0x45 || get16(b + OFF_IP + 6) & 0x3fff || tot < 20 + hdr ||
	    tot > f->len - OFF_IP || b[OFF_IP + 16] >> 4 == 14 || v->daddr == 0xffffffff ||
	    get16(b + 12) != ETH_P_IP)
		return;
	v->clean = v->proto == IPPROTO_UDP || b[OFF_L4 + 12] >= 0x50;
	v->flags = v->proto == IPPROTO_TCP ? b[OFF_L4 + 13] & 7 : 0;
}

static bool is_tunnel(const struct view *v)
{
	return v->ports && v->proto == IPPROTO_UDP && before.b[OFF_IP] == 0x45 &&
	       !(get16(before.b + OFF_IP + 6) & 0x3fff) && (v->dport == 8472 || v->dport == 6081);
}

static bool has_shape(const struct view *v)
{
	__u16 other = v->sport == P ? v->dport : v->sport;

	return v->ports && !is_tunnel(v) && (v->sport == P || v->dport == P) &&
	       (other == P || other >= 32768);
}

static bool is_peer(__be32 a)
{
	return a == w.peer && peer_slot(UP)->used;
}

/* ---- what became of it ---- */

static bool unchanged(void)
{
	return after.len == before.len && !memcmp(after.b, before.b, before.len);
}

/* Equal but for the headers that are rewritten; all sums as right as before. */
static void must_be_rewritten(const __u8 *eth, const struct xm_flow_key *t, const struct step *s,
			      __u32 csum_was)
{
	struct frame want = before;
	__u8 *check = l4_check(&want), *got = l4_check(&after);
	__u32 l4 = ip_len(&before) - 20;
	bool udp = t->proto == IPPROTO_UDP;

	MUST(after.len == before.len);
	memcpy(want.b, eth, XM_ETH_LEN);
	memcpy(want.b + OFF_IP + 12, &t->saddr, 4);
	memcpy(want.b + OFF_IP + 16, &t->daddr, 4);
	memcpy(want.b + OFF_L4, &t->sport, 2);
	memcpy(want.b + OFF_L4 + 2, &t->dport, 2);
	memcpy(want.b + OFF_IP + 10, after.b + OFF_IP + 10, 2);
	memcpy(check, got, 2);
	MUST(!memcmp(want.b, after.b, after.len));
	MUST(ip_rest(&after) == ip_rest(&before));
	check = l4_check(&before);
	if ((s->csum & 3) == CHECKSUM_PARTIAL || (!(s->csum & 3) && udp && s->csum & CSUM_GSO)) {
		MUST((65535 + get16(got) - pseudo(&after, l4)) % 65535 ==
		     (65535 + get16(check) - pseudo(&before, l4)) % 65535);
	} else if (udp && !get16(check)) {
		MUST(!get16(got));
	} else {
		MUST(l4_rest(&after) == l4_rest(&before));
		MUST(!udp || get16(got));
	}
	if ((s->csum & 3) == CHECKSUM_COMPLETE) {
		__u32 sum = shim_kernel()->csum, old = sum_of(before.b + OFF_IP, before.len - 14);
		__u32 new = sum_of(after.b + OFF_IP, after.len - 14);

		/* In the machine's byte order: the same modulo 65535 after a swap. */
		sum = bpf_ntohs((__u16)(sum % 65535)) % 65535;
		csum_was = bpf_ntohs((__u16)(csum_was % 65535)) % 65535;
		MUST((65535 + sum - new) % 65535 == (65535 + csum_was - old) % 65535);
	}
}

static bool alive(__u32 until)
{
	return (__s32)((__u32)shim.jiffies - until) < 0;
}

static void judge_masqueraded(const struct view *v, const struct step *s, __u32 pod,
			      const struct __sk_buff *skb, __u32 csum_was)
{
	const struct xm_flow *f = NULL, *at;
	const struct xm_peer *p;
	struct xm_flow_key t = {};
	unsigned int pos = 0;
	const void *k;

	MUST(v->clean && !v->flags && v->ttl >= 3);
	while ((at = shim_map_each(SHIM_MAP(&xm_flows), &pos, &k))) {
		const struct xm_flow_key *key = k;

		if (key->saddr == v->saddr && key->daddr == v->daddr && key->proto == v->proto &&
		    key->sport == bpf_htons(v->sport) && key->dport == bpf_htons(v->dport))
			f = at;
	}
	MUST(f && f->stage == XM_STAGE_READY && !f->ended && f->pod_ifindex == pod);
	MUST(alive(f->out_until) && alive(f->in_until) && alive(f->renew_at));
	p = peer_slot(f->peer_idx);
	MUST(p && p->gen == f->peer_gen &&
	     p->up_until[v->proto == IPPROTO_TCP ? 0 : 1] > shim.jiffies);
	MUST(skb->mark == MARK && shim.redirect_ifindex == f->nic_ifindex);
	t.saddr = w.node;
	t.daddr = w.peer;
	t.sport = w.owner ? label_port(f->label) : bpf_htons(P);
	t.dport = w.owner ? bpf_htons(P) : label_port(f->label);
	t.proto = v->proto;
	must_be_rewritten(f->eth, &t, s, csum_was);
}

/* @was: tables as they were before */
static void judge_restored(const struct view *v, const struct step *s, __u32 csum_was)
{
	__u16 label = (__u16)((v->dport == P ? v->sport : v->dport) - 32768);
	struct xm_label *e = NULL, *at;
	struct xm_flow_key t = {};
	unsigned int pos = 0;
	const void *k;

	MUST(v->clean && !v->flags && (v->dport == P || v->sport == P) && label <= XM_LABEL_MAX);
	/* All of the table: where it must be is the programs' business. */
	while ((at = shim_map_each(SHIM_MAP(&xm_labels), &pos, &k)))
		if (at->tag == ((__u64)v->saddr << 32 | (__u64)label << 16 | (__u64)v->proto << 8 |
				XM_TAG_USED))
			e = at;
	MUST(e && alive(e->until) && e->node == v->daddr);
	MUST(e->owner ? v->sport == P : v->dport == P);
	MUST(shim.redirect_ifindex == e->pod_ifindex);
	t.saddr = e->saddr;
	t.daddr = e->daddr;
	t.sport = e->sport;
	t.dport = e->dport;
	t.proto = v->proto;
	must_be_rewritten(e->eth, &t, s, csum_was);
}

static void judge_nack(const struct view *v, const struct step *s, const struct __sk_buff *skb)
{
	struct frame f = after;

	MUST(has_shape(v) && is_peer(v->saddr) && v->daddr == w.node);
	MUST(shim.redirect_ifindex == NIC && skb->mark == MARK && after.len == 54);
	MUST(!memcmp(after.b, before.b + 6, 6) && !memcmp(after.b + 6, before.b, 6));
	MUST(!memcmp(after.b + OFF_IP + 16, &v->saddr, 4));
	MUST(!memcmp(after.b + OFF_IP + 12, &v->daddr, 4));
	MUST(!ip_rest(&after));
	if (shim_kernel()->ip_summed == CHECKSUM_PARTIAL && !(s->csum & CSUM_ODD_START))
		MUST(get16(l4_check(&f)) % 65535 == pseudo(&after, 20));
	else
		MUST(!l4_rest(&after));
}

/* What an owner may do to a tunnel packet that leaves. */
static void judge_told(const struct view *v, const struct step *s)
{
	const __u32 check = OFF_L4 + 6;
	bool pseudo_only = s->csum & CSUM_GSO ||
			   ((s->csum & 3) == CHECKSUM_PARTIAL && s->csum & CSUM_OUTER &&
			    !(s->csum & CSUM_ODD_START));
	struct frame f = after;

	if (unchanged())
		return;
	MUST(after.len == before.len && is_tunnel(v) && v->saddr == w.node && is_peer(v->daddr));
	MUST(w.owner);
	if (!get16(before.b + check) || pseudo_only) {
		MUST(get16(after.b + check) == get16(before.b + check));
	} else {
		MUST(get16(after.b + check));
		MUST((get16(after.b + check) + get16(after.b + OFF_L4)) % 65535 ==
		     (get16(before.b + check) + get16(before.b + OFF_L4)) % 65535);
	}
	memcpy(f.b + OFF_L4, before.b + OFF_L4, 2);
	memcpy(f.b + check, before.b + check, 2);
	MUST(!memcmp(f.b, before.b, f.len));
}

/* Whatever happened, the tables can be used. */
static void judge_tables(void)
{
	const struct xm_flow *f;
	const struct xm_label *e;
	unsigned int pos = 0;
	const void *k;

	while ((e = shim_map_each(SHIM_MAP(&xm_labels), &pos, &k))) {
		__u8 proto = (__u8)(e->tag >> 8);

		if (!e->tag)
			continue;
		MUST((e->tag & 0xff) == XM_TAG_USED);
		MUST(proto == IPPROTO_TCP || proto == IPPROTO_UDP);
		MUST(label_at((__be32)(e->tag >> 32), (__u16)(e->tag >> 16),
			      proto == IPPROTO_TCP ? XM_TCP : XM_UDP) == e);
		MUST(e->node == w.node && e->owner == w.owner);
	}
	pos = 0;
	while ((f = shim_map_each(SHIM_MAP(&xm_flows), &pos, &k))) {
		MUST(f->stage <= XM_STAGE_READY && f->node == w.node && f->peer == w.peer);
		if (f->stage != XM_STAGE_READY)
			continue;
		MUST(f->label >= XM_LABEL_MIN && f->label <= XM_LABEL_MAX);
		MUST((w.owner ? f->sport : f->dport) == label_port(f->label));
		MUST((w.owner ? f->dport : f->sport) == bpf_htons(P));
	}
	MUST(!shim.reserved);
}

/* ---- fast path and complete path ---- */

static bool same(const struct shim_state *a, const struct shim_state *b)
{
	return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

/* From @was, and back to it. */
static void compare_paths(struct __sk_buff *skb, enum hook hook)
{
	__u32 to[2] = { 0, 0 }, idx;
	struct parsed p;
	enum xm_reason r;
	int did;

	/* Whatever is in the tables, also what they should never hold. */
	idx = fast_frame(skb, (void *)skb->data, (void *)skb->data_end);
	if (idx != XM_PROTOS)
		MUST(!parse_frame(skb, &p) && !p.tcp_flags && p.idx == idx);
	did = hook == NIC_INGRESS ? restore_fast(skb, &to[0])
				  : masquerade_fast(skb, skb->ifindex, &to[0]);
	shim_save(&fast);
	if (!did) {
		MUST(same(&fast, &was) && !to[0]);
		return;
	}
	shim_load(&was);
	r = hook == NIC_INGRESS ? nic_restore(skb, &to[1]) : masquerade(skb, skb->ifindex, &to[1]);
	shim_save(&full);
	MUST(r == (hook == NIC_INGRESS ? XM_R_RESTORED : XM_R_MASQUERADED));
	MUST(same(&fast, &full) && to[0] == to[1]);
	shim_load(&was);
}

/* ---- a step ---- */

static void judge(const struct view *v, const struct step *s, const struct __sk_buff *skb,
		  int verdict, __u32 mark)
{
	bool ours = has_shape(v) && v->daddr == w.node && (v->dport == P || is_peer(v->saddr));

	/* The tables as they were when the program decided. */
	shim_load(&was);
	switch (s->hook) {
	case POD_EGRESS:
	case RPEER_EGRESS:
		MUST(verdict == TC_ACT_REDIRECT || verdict == TC_ACT_UNSPEC);
		break;
	case NIC_EGRESS:
		if (mark == MARK)
			MUST(verdict == TC_ACT_UNSPEC && !skb->mark);
		else if (has_shape(v) && is_peer(v->daddr))
			MUST(verdict == TC_ACT_SHOT && unchanged());
		else if (v->ports && !is_tunnel(v) && v->dport == P && skb->ingress_ifindex &&
			 is_peer(v->daddr))
			MUST(verdict == TC_ACT_SHOT && unchanged());
		else
			MUST(verdict == TC_ACT_UNSPEC);
		break;
	case NIC_INGRESS:
		MUST(verdict != TC_ACT_UNSPEC || !ours);
		/* A probe's word may come from a stranger's masquerade port. */
		if (verdict == TC_ACT_SHOT)
			MUST(has_shape(v) && v->daddr == w.node && (ours || v->sport == P));
		break;
	default:
		MUST(verdict == TC_ACT_UNSPEC);
	}
}

static void run(struct step *s, struct fuzz_in *in)
{
	static int (*const programs[HOOKS])(struct __sk_buff *) = {
		xmasq_pod_egress,  xmasq_nic_egress,   xmasq_nic_ingress,
		xmasq_pod_ingress, xmasq_rpeer_egress,
	};
	struct __sk_buff *skb, got;
	struct sk_buff kern;
	__u32 mark, csum_was;
	struct view v;
	int verdict;

	s->hook %= HOOKS;
	shim.jiffies += (__u32)s->time * s->time / 32;
	skb = make_packet(s, in);
	mark = skb->mark;
	csum_was = shim_kernel()->csum;
	look(&before, skb, &v);
	shim_save(&was);
	if (s->hook == POD_EGRESS || s->hook == NIC_INGRESS)
		compare_paths(skb, s->hook);

	verdict = programs[s->hook](skb);
	after.len = shim_frame(after.b);
	got = *skb;
	kern = *shim_kernel();
	judge_tables();
	shim_save(&now);

	judge(&v, s, &got, verdict, mark);
	*shim_kernel() = kern;
	if (verdict == TC_ACT_UNSPEC) {
		MUST(shim.redirect == SHIM_STAYS);
		MUST(got.mark ==
		     (mark == MARK && (s->hook == POD_EGRESS || s->hook == NIC_EGRESS) ? 0 : mark));
		if (s->hook == NIC_EGRESS && mark != MARK)
			judge_told(&v, s);
		else
			MUST(unchanged());
	} else if (verdict == TC_ACT_REDIRECT && s->hook != NIC_INGRESS) {
		MUST(shim.redirect == (s->hook == RPEER_EGRESS ? SHIM_TO_RPEER : SHIM_TO));
		judge_masqueraded(&v, s, got.ifindex, &got, csum_was);
	} else if (verdict == TC_ACT_REDIRECT && shim.redirect == SHIM_TO_PEER) {
		judge_restored(&v, s, csum_was);
	} else if (verdict == TC_ACT_REDIRECT) {
		judge_nack(&v, s, &got);
	}
	shim_load(&now);
}

static void judge_event(const void *p)
{
	static const __u8 zero[XM_CONTROL_MAX];
	const struct xm_event *ev = p;

	MUST(ev->type >= XM_EV_PEER_SEEN && ev->type <= XM_EV_PROBE && ev->len <= XM_CONTROL_MAX);
	MUST(!ev->pad && ev->ifindex == NIC && (ev->type != XM_EV_PEER_SEEN || !ev->len));
	MUST(!memcmp(ev->data + ev->len, zero, XM_CONTROL_MAX - ev->len));
}

static void set_up(void)
{
	config = (struct xm_config){
		.mark = MARK,
		.lease = LEASE,
		.in_lease = LEASE + LEASE / 4,
		.renew = LEASE / 2,
		.retry = LEASE / 8,
		.quarantine = 5 * SECOND,
		.second = SECOND,
		.label_mask = LABELS - 1,
		.masq_port = bpf_htons(P),
		.overlay = { {
				     bpf_htons(8472),
				     XM_OVERLAY_VXLAN,
			     },
			     {
				     bpf_htons(6081),
				     XM_OVERLAY_GENEVE,
			     } },
	};
	shim_cfg = &config;
	shim.event = judge_event;
	/* Small, so that tables are full and slots are shared. */
	shim_map_size(SHIM_MAP(&xm_flows), FLOWS + 1);
	shim_map_size(SHIM_MAP(&xm_labels), LABELS);
	shim_map_size(SHIM_MAP(&xm_peer_idx), 4);
	shim_map_size(SHIM_MAP(&xm_peers), 4);
	shim_map_size(SHIM_MAP(&xm_pods), 4);
	shim_map_size(SHIM_MAP(&xm_seen), 4);
	shim_map_size(SHIM_MAP(&xm_counters), XM_R_MAX);
	shim_variable(&strangers_win, sizeof(strangers_win));
	shim_variable(&strangers_cnt, sizeof(strangers_cnt));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct step s;

	if (!shim_cfg)
		set_up();
	make_world(&in);
	for (unsigned int i = 0; i < STEPS && in.left; i++) {
		memset(&s, 0, sizeof(s));
		fuzz_bytes(&in, &s, sizeof(s));
		run(&s, &in);
	}
	return 0;
}
