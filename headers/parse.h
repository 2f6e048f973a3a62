/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Parsing. A cursor parser for frames whose headers are linear (checks its own
 * bounds), and a copying one for what lies deeper (tunnels), which works on any skb.
 */
#ifndef XM_PARSE_H
#define XM_PARSE_H

#include "csum.h"
#include "xm_bpf.h"

/**
 * struct parsed - an eligible packet
 * @eth, @ip, @l4: point into the packet
 * @key: the packet's tuple
 * @idx: enum xm_proto_idx
 * @tcp_flags: SYN, FIN and RST bits, 0 for UDP
 */
struct parsed {
	struct ethhdr *eth;
	struct iphdr *ip;
	void *l4;
	struct xm_flow_key key;
	__u32 idx;
	__u8 tcp_flags;
};

static __always_inline int ipv4_is_multicast_or_broadcast(__be32 addr)
{
	return (addr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || addr == 0xffffffff;
}

/**
 * ipv4_eligible() - rules for the IPv4 header alone
 * @ip: at least 20 readable bytes
 * @len: bytes from the IP header to the end of the packet
 *
 * Return: XM_R_NONE, or why such a packet always takes the overlay.
 */
static __always_inline enum xm_reason ipv4_eligible(const struct iphdr *ip, __u32 len)
{
	__u32 tot_len = bpf_ntohs(ip->tot_len);
	__u8 first = *(const __u8 *)ip;

	if (first != 0x45)
		return first >> 4 == 4 && (first & 0xf) > 5 ? XM_R_IP_OPTIONS : XM_R_TRUNCATED;
	if (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return XM_R_FRAGMENT;
	if (ip->protocol == IPPROTO_TCP) {
		if (tot_len < sizeof(*ip) + sizeof(struct tcphdr))
			return XM_R_TRUNCATED;
	} else if (ip->protocol == IPPROTO_UDP) {
		if (tot_len < sizeof(*ip) + sizeof(struct udphdr))
			return XM_R_TRUNCATED;
	} else {
		return XM_R_NOT_TCP_UDP;
	}
	if (tot_len > len)
		return XM_R_TRUNCATED;
	if (ipv4_is_multicast_or_broadcast(ip->daddr))
		return XM_R_MULTICAST;
	return XM_R_NONE;
}

static __always_inline void parsed_key(struct xm_flow_key *key, const struct iphdr *ip,
				       const __be16 *ports)
{
	key->saddr = ip->saddr;
	key->daddr = ip->daddr;
	key->sport = ports[0];
	key->dport = ports[1];
	key->proto = ip->protocol;
	key->pad[0] = 0;
	key->pad[1] = 0;
	key->pad[2] = 0;
}

/* The same flow as the other end sends it. */
static __always_inline void flow_key_reverse(struct xm_flow_key *out, const struct xm_flow_key *in)
{
	out->saddr = in->daddr;
	out->daddr = in->saddr;
	out->sport = in->dport;
	out->dport = in->sport;
	out->proto = in->proto;
	out->pad[0] = 0;
	out->pad[1] = 0;
	out->pad[2] = 0;
}

/**
 * parse_frame() - Ethernet + IPv4 + TCP or UDP, direct access
 *
 * Return: XM_R_NONE with @p filled, or why the packet always takes the overlay. SYN,
 * FIN and RST are not an error here: they are left in @p->tcp_flags.
 */
static __always_inline enum xm_reason parse_frame(struct __sk_buff *skb, struct parsed *p)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	enum xm_reason r;

	p->eth = data;
	p->ip = data + sizeof(struct ethhdr);
	p->l4 = data + sizeof(struct ethhdr) + sizeof(struct iphdr);
	/* A VLAN tag is out of the frame here, and back in it when the packet leaves. */
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return XM_R_NOT_IPV4;
	if (p->l4 > end)
		return XM_R_TRUNCATED;
	if (p->eth->h_proto != bpf_htons(ETH_P_IP))
		return XM_R_NOT_IPV4;
	r = ipv4_eligible(p->ip, skb->len - sizeof(struct ethhdr));
	if (r)
		return r;

	if (p->ip->protocol == IPPROTO_TCP) {
		const __u8 *tcp = p->l4;

		if (p->l4 + sizeof(struct tcphdr) > end)
			return XM_R_TRUNCATED;
		if (tcp[12] < 5 << 4)
			return XM_R_TRUNCATED;
		p->tcp_flags = tcp[TCP_FLAGS_OFF] & (TCP_SYN | TCP_FIN | TCP_RST);
		p->idx = XM_TCP;
	} else {
		if (p->l4 + sizeof(struct udphdr) > end)
			return XM_R_TRUNCATED;
		p->tcp_flags = 0;
		p->idx = XM_UDP;
	}
	parsed_key(&p->key, p->ip, p->l4);
	return XM_R_NONE;
}

/* Where a fast frame's parts are. The first two are not aligned, which the kernel allows where the
 * CPU does (CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS: x86-64, arm64). */
#define FAST_ADDRS (sizeof(struct ethhdr) + offsetof(struct iphdr, saddr))
#define FAST_PORTS (sizeof(struct ethhdr) + sizeof(struct iphdr))

/**
 * fast_frame() - may the fast path take this frame, for all that its headers say?
 * @data: the frame
 * @end: of its linear part
 *
 * Yes only if parse_frame() would take it and find no TCP flags, but without asking why not:
 * with one way out and words compared whole, it takes a fifth of the instructions.
 *
 * Return: enum xm_proto_idx, or XM_PROTOS: ask parse_frame().
 */
static __always_inline __u32 fast_frame(struct __sk_buff *skb, void *data, void *end)
{
	const __u32 *type = data + 12, *frag = data + 20; /* type to TOS; fragment to protocol */
	__u32 len;

	if (data + FAST_PORTS + sizeof(struct udphdr) > end ||
	    skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present)
		return XM_PROTOS;
	if ((*type & bpf_htonl(0xffffff00)) != bpf_htonl(ETH_P_IP << 16 | 0x4500) ||
	    *frag & bpf_htonl((IP_MF | IP_OFFSET) << 16))
		return XM_PROTOS;
	len = bpf_ntohs(*(__u16 *)(data + 16));
	/* Multicast, and all above it */
	if (len > skb->len - sizeof(struct ethhdr) || *(__u8 *)(data + FAST_ADDRS + 4) >= 224)
		return XM_PROTOS;
	if (*(__u8 *)(data + 23) == IPPROTO_TCP) {
		const __u8 *tcp = data + FAST_PORTS;

		if (data + FAST_PORTS + sizeof(struct tcphdr) > end ||
		    len < sizeof(struct iphdr) + sizeof(struct tcphdr) || tcp[12] < 5 << 4 ||
		    tcp[TCP_FLAGS_OFF] & (TCP_SYN | TCP_FIN | TCP_RST))
			return XM_PROTOS;
		return XM_TCP;
	}
	if (*(__u8 *)(data + 23) == IPPROTO_UDP &&
	    len >= sizeof(struct iphdr) + sizeof(struct udphdr))
		return XM_UDP;
	return XM_PROTOS;
}

/**
 * fast_rewrite() - give a fast frame other addresses and ports
 * @eth: 12 bytes of Ethernet addresses
 * @addrs: source and destination address
 * @ports: source and destination port
 */
static __always_inline void fast_rewrite(void *data, const void *eth, const void *addrs,
					 const void *ports, __u16 addr_csum)
{
	__u16 *check = data + sizeof(struct ethhdr) + offsetof(struct iphdr, check);

	*(__u64 *)data = *(__u64 *)eth;
	*(__u32 *)(data + 8) = *(__u32 *)(eth + 8);
	*(__u64 *)(data + FAST_ADDRS) = *(__u64 *)addrs;
	*(__u32 *)(data + FAST_PORTS) = *(__u32 *)ports;
	*check = csum_apply(*check, addr_csum);
}

/**
 * struct tunneled - what the NIC's hooks need of an overlay packet's inside
 * @key: inner tuple
 * @idx: enum xm_proto_idx; XM_PROTOS: not eligible
 * @tcp_flags: SYN, FIN and RST bits
 */
struct tunneled {
	struct xm_flow_key key;
	__u32 idx;
	__u8 tcp_flags;
};

/* Frame up to and with the TCP header, without options. */
#define TCP_OFF	   (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct tcphdr))
#define TUNNEL_OFF (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr))

/* Where the inside of a VXLAN packet is, and that of a Geneve packet without options. */
#define IN_ETH (TUNNEL_OFF + 8)
#define IN_IP  (IN_ETH + sizeof(struct ethhdr))
#define IN_L4  (IN_IP + sizeof(struct iphdr))

/**
 * look_tunnel() - parse_tunnel() for packets whose headers are linear and as usual, direct access
 * @data: the frame
 * @end: of its linear part
 *
 * Return: whether @t is filled with what an IPv4 TCP or UDP packet without options says of itself,
 * not checked any further; else ask parse_tunnel().
 */
static __always_inline int look_tunnel(const void *data, const void *end, __u32 type,
				       struct tunneled *t)
{
	const __u8 *hdr = data + TUNNEL_OFF, *l4 = data + IN_L4;
	const __u32 *in = data + IN_ETH + 12, *frag = data + IN_IP + 6;

	if (data + IN_L4 + sizeof(struct udphdr) > end)
		return 0;
	if (type == XM_OVERLAY_VXLAN ? !(hdr[0] & 0x08)
				     : hdr[0] || hdr[1] & 0xc0 || hdr[2] != 0x65 || hdr[3] != 0x58)
		return 0;
	/* Type to TOS; fragment to protocol */
	if ((*in & bpf_htonl(0xffffff00)) != bpf_htonl(ETH_P_IP << 16 | 0x4500) ||
	    *frag & bpf_htonl((IP_MF | IP_OFFSET) << 16))
		return 0;
	t->key.proto = *((const __u8 *)data + IN_IP + offsetof(struct iphdr, protocol));
	if (t->key.proto == IPPROTO_TCP) {
		if (data + IN_L4 + sizeof(struct tcphdr) > end)
			return 0;
		t->tcp_flags = l4[TCP_FLAGS_OFF] & (TCP_SYN | TCP_FIN | TCP_RST);
		t->idx = XM_TCP;
	} else if (t->key.proto == IPPROTO_UDP) {
		t->tcp_flags = 0;
		t->idx = XM_UDP;
	} else {
		return 0;
	}
	*(__u64 *)&t->key.saddr = *(const __u64 *)(data + IN_IP + offsetof(struct iphdr, saddr));
	*(__u32 *)&t->key.sport = *(const __u32 *)l4;
	t->key.pad[0] = 0;
	t->key.pad[1] = 0;
	t->key.pad[2] = 0;
	return 1;
}

/* What is left to be checked of such a packet, as parse_tunnel() does. */
static __always_inline int looked_eligible(struct __sk_buff *skb, const void *data, const void *end,
					   const struct tunneled *t)
{
	if (data + IN_L4 > end || ipv4_eligible(data + IN_IP, skb->len - IN_IP))
		return 0;
	return t->idx == XM_UDP || (data + IN_L4 + sizeof(struct tcphdr) <= end &&
				    *((const __u8 *)data + IN_L4 + 12) >= 5 << 4);
}

/**
 * parse_tunnel() - inside of a VXLAN or Geneve packet whose outer headers were checked
 * @type: enum xm_overlay_type
 *
 * Copies, since headers this deep need not be linear on receive.
 *
 * Return: XM_R_NONE with @t filled, or why the inner packet is not eligible.
 */
static __always_inline enum xm_reason parse_tunnel(struct __sk_buff *skb, __u32 type,
						   struct tunneled *t)
{
	struct {
		struct ethhdr eth;
		struct iphdr ip;
	} __attribute__((packed)) in;
	__u32 off = TUNNEL_OFF;
	__u8 hdr[8], tcp[2];
	struct iphdr ip;
	__be16 ports[2];
	enum xm_reason r;

	if (bpf_skb_load_bytes(skb, off, hdr, sizeof(hdr)))
		return XM_R_TRUNCATED;
	off += sizeof(hdr);
	if (type == XM_OVERLAY_VXLAN) {
		if (!(hdr[0] & 0x08)) /* no VNI: RFC 7348, section 5 */
			return XM_R_TRUNCATED;
	} else {
		/* RFC 8926, section 3.4: version 0, not OAM, no critical option, Ethernet inside */
		if (hdr[0] & 0xc0 || hdr[1] & 0xc0 || hdr[2] != 0x65 || hdr[3] != 0x58)
			return XM_R_TRUNCATED;
		off += (hdr[0] & 0x3f) * 4;
	}
	if (bpf_skb_load_bytes(skb, off, &in, sizeof(in)))
		return XM_R_TRUNCATED;
	if (in.eth.h_proto != bpf_htons(ETH_P_IP))
		return XM_R_NOT_IPV4;
	off += sizeof(in);
	ip = in.ip;
	r = ipv4_eligible(&ip, skb->len - off + sizeof(struct iphdr));
	if (r)
		return r;
	if (bpf_skb_load_bytes(skb, off, ports, sizeof(ports)))
		return XM_R_TRUNCATED;
	t->tcp_flags = 0;
	t->idx = XM_UDP;
	if (ip.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, off + 12, tcp, sizeof(tcp)) || tcp[0] < 5 << 4)
			return XM_R_TRUNCATED;
		t->tcp_flags = tcp[1] & (TCP_SYN | TCP_FIN | TCP_RST);
		t->idx = XM_TCP;
	}
	parsed_key(&t->key, &ip, ports);
	return XM_R_NONE;
}

#endif
