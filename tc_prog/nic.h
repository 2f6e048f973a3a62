/* SPDX-License-Identifier: GPL-2.0-only */
/* The underlay NIC's two hooks: tell our packets, the overlay's and everybody else's apart. */
#ifndef XM_NIC_H
#define XM_NIC_H

#include "observe.h"
#include "restore.h"

/**
 * nic_headers() - IPv4 header and ports of a packet at the NIC
 * @ip: copy of the fixed 20 bytes
 * @ports: copy
 *
 * Copies, since this is for packets that are not on the fast path, options and
 * non-linear ones included. Return: 0, or -1 when the packet has no ports of its own.
 */
static __always_inline int nic_headers(struct __sk_buff *skb, struct iphdr *ip, __be16 ports[2])
{
	__u32 off = sizeof(struct ethhdr);

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present ||
	    bpf_skb_load_bytes(skb, off, ip, sizeof(*ip)))
		return -1;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return -1;
	if (ip->frag_off & bpf_htons(IP_OFFSET))
		return -1;
	off += (*(__u8 *)ip & 0xf) * 4;
	return bpf_skb_load_bytes(skb, off, ports, 2 * sizeof(*ports)) ? -1 : 0;
}

/* Whether a node would take it for a masqueraded packet or a control message. Between the
 * masquerade port and a low one it is neither, but perhaps a connection whose source port
 * was chosen by NAT, which does not ask which ports are reserved. */
static __always_inline int has_masq_shape(const __be16 ports[2])
{
	__be16 other = ports[0] == cfg.masq_port ? ports[1] : ports[0];

	if (ports[0] != cfg.masq_port && ports[1] != cfg.masq_port)
		return 0;
	return other == cfg.masq_port || bpf_ntohs(other) >= XM_LABEL_PORT_BASE;
}

/* enum xm_overlay_type when the outer headers are an ordinary tunnel packet's. */
static __always_inline __u32 outer_of(const struct iphdr *ip, const __be16 ports[2],
				      struct outer *o)
{
	if (ip->protocol != IPPROTO_UDP || *(const __u8 *)ip != 0x45 ||
	    ip->frag_off & bpf_htons(IP_MF | IP_OFFSET))
		return 0;
	o->type = overlay_type(ports[1]);
	o->saddr = ip->saddr;
	o->daddr = ip->daddr;
	o->sport = ports[0];
	return o->type;
}

/**
 * guard() - may this packet, which is not ours, leave with the masquerade port?
 *
 * Towards a known node it may not: that port is reserved there, and behind it are pods.
 */
static __always_inline enum xm_reason guard(const struct iphdr *ip)
{
	__u32 idx;

	return peer_find(ip->daddr, &idx) ? XM_R_GUARD : XM_R_NONE;
}

enum look {
	LOOK_CLOSER,  /* of unusual shape, perhaps on the masquerade port */
	LOOK_NOTHING, /* nothing would come of it */
	LOOK_OVERLAY, /* the overlay's, and parsed */
};

/*
 * An overlay packet of which nothing would come: of a flow that has no entry. A SYN shows a node that
 * is no peer yet, and a low port of the tunnel may be a label, or look like one.
 */
static __always_inline int nic_is_cold(struct __sk_buff *skb)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const __u8 *hdr = data + TUNNEL_OFF;
	__u32 type;

	if (data + IN_L4 + sizeof(struct tcphdr) > end ||
	    (*(const __u32 *)(data + 12) & bpf_htonl(0xffffff00)) !=
		    bpf_htonl(ETH_P_IP << 16 | 0x4500) ||
	    (*(const __u32 *)(data + 20) & bpf_htonl((IP_MF | IP_OFFSET) << 16 | 0xff)) !=
		    bpf_htonl(IPPROTO_UDP) ||
	    !(*(const __u8 *)(data + FAST_PORTS) & XM_LABEL_PORT_BASE >> 8))
		return 0;
	type = overlay_type(*(const __be16 *)(data + FAST_PORTS + 2));
	if (type == XM_OVERLAY_VXLAN)
		return hdr[0] & 0x08 && admit_frame_is_cold(data + IN_ETH + 12, TCP_SYN);
	return type == XM_OVERLAY_GENEVE &&
	       (*(const __u32 *)hdr & bpf_htonl(0xffc0ffff)) == bpf_htonl(ETH_P_TEB) &&
	       admit_frame_is_cold(data + IN_ETH + 12, TCP_SYN);
}

/**
 * nic_look() - what a packet at the NIC that is not cold is, for all that can be said cheaply
 * @o: filled when it is LOOK_OVERLAY
 * @t: see @o; an eligible packet
 *
 * Most of it is the node's own.
 */
static __always_inline enum look nic_look(struct __sk_buff *skb, struct outer *o,
					  struct tunneled *t)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const __u32 *type = data + 12, *frag = data + 20; /* type to TOS; fragment to protocol */
	const __be16 *ports = data + FAST_PORTS;
	__u8 proto;

	if (data + FAST_PORTS + sizeof(struct udphdr) > end ||
	    (*type & bpf_htonl(0xffffff00)) != bpf_htonl(ETH_P_IP << 16 | 0x4500) ||
	    *frag & bpf_htonl((IP_MF | IP_OFFSET) << 16))
		return LOOK_CLOSER;
	proto = *(__u8 *)(data + 23);
	if (proto != IPPROTO_UDP && proto != IPPROTO_TCP)
		return LOOK_CLOSER;
	o->type = proto == IPPROTO_UDP ? overlay_type(ports[1]) : 0;
	if (!o->type)
		return ports[0] == cfg.masq_port || ports[1] == cfg.masq_port ? LOOK_CLOSER
									      : LOOK_NOTHING;
	if (!look_tunnel(data, end, o->type, t))
		return LOOK_CLOSER;
	o->sport = ports[0];
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present ||
	    !looked_eligible(skb, data, end, t))
		return LOOK_CLOSER;
	o->saddr = *(__be32 *)(data + FAST_ADDRS);
	o->daddr = *(__be32 *)(data + FAST_ADDRS + 4);
	return LOOK_OVERLAY;
}

/* Called, not inlined: from where it was looked at cheaply, and from where it was not. */
XM_CALLED enum xm_reason overlay_leaves(struct __sk_buff *skb, const struct outer *o,
					const struct tunneled *t)
{
	observe_egress(skb, o, t);
	return XM_R_NONE;
}

XM_CALLED enum xm_reason overlay_arrives(struct __sk_buff *skb, const struct outer *o,
					 const struct tunneled *t)
{
	observe_ingress(skb, o, t);
	return XM_R_NONE;
}

/* What nic_look() does not know. */
static __always_inline enum xm_reason nic_egress_rest(struct __sk_buff *skb)
{
	struct tunneled t = {};
	struct outer o = {};
	__be16 ports[2];
	struct iphdr ip;

	if (nic_headers(skb, &ip, ports))
		return XM_R_NONE;
	/* The overlay first: its source port is a hash and may be any number. */
	if (outer_of(&ip, ports, &o)) {
		if (parse_tunnel(skb, o.type, &t))
			t.idx = XM_PROTOS;
		return overlay_leaves(skb, &o, &t);
	}
	/* To the port from a low one: the node itself may be answering, its pods may not. */
	if (has_masq_shape(ports) || (ports[1] == cfg.masq_port && skb->ingress_ifindex))
		return guard(&ip);
	return XM_R_NONE;
}

XM_CALLED enum xm_reason nic_egress_any(struct __sk_buff *skb)
{
	struct tunneled t = {};
	struct outer o = {};

	switch (nic_look(skb, &o, &t)) {
	case LOOK_NOTHING:
		return XM_R_NONE;
	case LOOK_OVERLAY:
		return overlay_leaves(skb, &o, &t);
	default:
		return nic_egress_rest(skb);
	}
}

static __always_inline enum xm_reason nic_egress(struct __sk_buff *skb)
{
	return nic_is_cold(skb) ? XM_R_NONE : nic_egress_any(skb);
}

/* Everything that nic_restore() does not take and nic_look() does not know: the slow half of the
 * NIC's ingress hook, out of the fast half's way. */
XM_CALLED enum xm_reason nic_ingress_rest(struct __sk_buff *skb, enum xm_reason why)
{
	struct tunneled t = {};
	struct outer o = {};
	struct iphdr ip = {};
	__be16 ports[2];

	if (nic_headers(skb, &ip, ports)) {
		if (ip.protocol == IPPROTO_ICMP && *(__u8 *)&ip == 0x45 &&
		    !(ip.frag_off & bpf_htons(IP_OFFSET)))
			icmp_error(skb);
		return XM_R_NONE;
	}
	if (outer_of(&ip, ports, &o)) {
		if (parse_tunnel(skb, o.type, &t))
			t.idx = XM_PROTOS;
		return overlay_arrives(skb, &o, &t);
	}
	if (has_masq_shape(ports))
		return refuse(skb, &ip, ports[0], ports[1], why);
	return XM_R_NONE;
}

/**
 * nic_restore() - the fast path: a masqueraded packet whose label is known
 * @ifindex: of the pod's host side, with XM_R_RESTORED
 *
 * Return: XM_R_RESTORED; anything else leaves the packet untouched and is what
 * nic_ingress_rest() wants to know.
 */
static __always_inline enum xm_reason nic_restore(struct __sk_buff *skb, __u32 *ifindex)
{
	struct xm_label *e;
	struct parsed pkt;
	__u32 label;

	if (parse_frame(skb, &pkt))
		return XM_R_MALFORMED;
	if (pkt.key.sport != cfg.masq_port && pkt.key.dport != cfg.masq_port)
		return XM_R_NONE;
	label = label_of_ports(pkt.key.sport, pkt.key.dport);
	/* A probe's label has no entry, and neither has a number that is no label. */
	if (pkt.tcp_flags || label > XM_LABEL_MAX)
		return XM_R_NO_LABEL;
	e = label_find(pkt.key.saddr, label, pkt.idx);
	if (!e || e->node != pkt.key.daddr || e->owner == (pkt.key.dport == cfg.masq_port))
		return XM_R_NO_LABEL;
	return restore(skb, &pkt, e, label, ifindex);
}

/*
 * What nic_look() knows, and the fast path in full. Return: a reason, or XM_R_MAX and the reason that
 * nic_ingress_rest() is to be told: to be called from outside, since the kernel adds up the stacks of
 * all that have called one another.
 */
XM_CALLED __u32 nic_ingress_any(struct __sk_buff *skb, __u32 *ifindex)
{
	struct tunneled t = {};
	struct outer o = {};
	enum xm_reason r;

	switch (nic_look(skb, &o, &t)) {
	case LOOK_NOTHING:
		return XM_R_NONE;
	case LOOK_OVERLAY:
		return overlay_arrives(skb, &o, &t);
	default:
		break;
	}
	r = nic_restore(skb, ifindex);
	return r == XM_R_RESTORED ? r : XM_R_MAX + r;
}

/* Restore what is ours, learn from what is the overlay's; for what fast_known() does not know. @ifindex: see nic_restore() */
static __always_inline enum xm_reason nic_ingress(struct __sk_buff *skb, __u32 *ifindex)
{
	__u32 r;

	/* Some drivers leave the headers in a page fragment. */
	if (skb->data + TCP_OFF > skb->data_end && skb->data + skb->len > skb->data_end)
		bpf_skb_pull_data(skb, skb->len < TCP_OFF ? skb->len : TCP_OFF);
	if (restore_fast(skb, ifindex, 1))
		return XM_R_RESTORED;
	if (nic_is_cold(skb))
		return XM_R_NONE;
	r = nic_ingress_any(skb, ifindex);
	return r < XM_R_MAX ? r : nic_ingress_rest(skb, r - XM_R_MAX);
}

#endif
