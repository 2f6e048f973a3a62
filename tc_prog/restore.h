/* SPDX-License-Identifier: GPL-2.0-only */
/* A node packet arrives: the fast path's second half, and all that may be wrong with it. */
#ifndef XM_RESTORE_H
#define XM_RESTORE_H

#include "control.h"
#include "nack.h"
#include "parse.h"

/* Label of a masqueraded packet by its ports; a value above XM_LABEL_MAX for no label. */
static __always_inline __u32 label_of_ports(__be16 sport, __be16 dport)
{
	__be16 other = dport == cfg.masq_port ? sport : dport;

	return (__u32)bpf_ntohs(other) - XM_LABEL_PORT_BASE;
}

/**
 * restore() - make the pod's packet of a node packet
 * @pkt: packet whose source or destination port is the masquerade port
 * @e: the entry of its label
 * @ifindex: host-side interface of the pod
 *
 * Return: XM_R_RESTORED, or XM_R_LABEL_EXPIRED or XM_R_MALFORMED with the packet untouched.
 */
static __always_inline enum xm_reason restore(struct __sk_buff *skb, struct parsed *pkt,
					      struct xm_label *e, __u16 label, __u32 *ifindex)
{
	__be16 *ports = pkt->l4;
	enum csum_kind kind;
	__u16 *check;

	if (!xm_before(now32(), e->until))
		return XM_R_LABEL_EXPIRED;
	check = csum_ptr(skb, pkt->l4, pkt->idx);
	if (!check)
		return XM_R_MALFORMED;
	kind = csum_kind(skb, sizeof(struct ethhdr) + sizeof(struct iphdr), csum_field(pkt->idx));
	if (kind == CSUM_ELSEWHERE)
		return XM_R_MALFORMED;
	if (e->owner && !e->acked)
		flow_acked(e, label);

	memcpy(pkt->eth, e->eth, XM_ETH_LEN);
	pkt->ip->saddr = e->saddr;
	pkt->ip->daddr = e->daddr;
	pkt->ip->check = csum_apply(pkt->ip->check, e->addr_csum);
	ports[0] = e->sport;
	ports[1] = e->dport;
	*ifindex = e->pod_ifindex;
	l4_csum_update(skb, check, kind, pkt->idx, e->addr_csum, e->port_csum);
	return XM_R_RESTORED;
}

static __always_inline int label_is_fast(const struct xm_label *e, int owner)
{
	const __u16 *state = (const __u16 *)&e->owner; /* and @acked */
	const __u8 want[2] = { owner, owner };

	return *state == *(const __u16 *)want && xm_before(now32(), e->until);
}

/**
 * restore_learn() - have the packets of a label known that has just been found to be fast
 * @tag: as it was before the label was looked up
 */
XM_CALLED int restore_learn(struct xm_label *e, __u64 addrs, __u32 ports, __u32 tag)
{
	__u64 now = bpf_jiffies64(), is = *(volatile __u64 *)&e->tag;
	struct xm_fast *k;
	__u32 left;

	k = fast_claim(addrs, ports, tag, now);
	if (!k)
		return 0;
	left = e->until - (__u32)now;
	k->until = now + ((__s32)left < 0 ? 0 : left);
	fast_fill(k, e->eth, &e->saddr, &e->sport, &e->addr_csum, e->pod_ifindex);
	k->pod = 0;
	k->frame_max = 0;
	fast_publish(k, tag);
	/* Also when the lease was over in between: see masquerade_learn(). */
	if (!fast_holds(k, e->eth, &e->saddr, &e->sport, &e->addr_csum, e->pod_ifindex) ||
	    *(volatile __u64 *)&e->tag != is || (is & 0xff) != XM_TAG_USED ||
	    !label_is_fast(e, e->owner))
		fast_unpublish(k, tag);
	return 0;
}

static __always_inline int restore_frame(struct __sk_buff *skb, void *data, __u32 idx,
					 __u32 *ifindex, int learn)
{
	__u32 tag = fast_present(FAST_IN | idx);
	const __be16 *ports = data + FAST_PORTS;
	const __be32 *addrs = data + FAST_ADDRS;
	__u16 sport = ports[0], dport = ports[1];
	enum csum_kind kind;
	struct xm_label *e;
	__u32 label;
	__u64 was;
	int owner;

	if (dport == cfg.masq_port) {
		label = (__u32)bpf_ntohs(sport) - XM_LABEL_PORT_BASE;
		owner = 0;
	} else if (sport == cfg.masq_port) {
		label = (__u32)bpf_ntohs(dport) - XM_LABEL_PORT_BASE;
		owner = 1;
	} else {
		return 0;
	}
	if (label > XM_LABEL_MAX)
		return 0;
	e = label_find(addrs[0], label, idx);
	if (!e)
		return 0;
	if (e->node != addrs[1] || !label_is_fast(e, owner))
		return 0;
	kind = csum_kind(skb, FAST_PORTS, csum_field(idx));
	if (kind == CSUM_ELSEWHERE)
		return 0;
	was = *(const __u64 *)addrs;
	fast_rewrite(data, e->eth, &e->saddr, &e->sport, e->addr_csum);
	l4_csum_update(skb, data + FAST_PORTS + csum_field(idx), kind, idx, e->addr_csum,
		       e->port_csum);
	*ifindex = e->pod_ifindex;
	if (learn)
		restore_learn(e, was, xm_pair32(sport, dport), tag);
	return 1;
}

/**
 * restore_fast() - nic_restore() for packets of a label that is well
 * @learn: have fast_known() know the next ones
 *
 * Never does what nic_restore() would not do. Return: whether it did, else the packet is untouched.
 */
static __always_inline int restore_fast(struct __sk_buff *skb, __u32 *ifindex, int learn)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	switch (fast_frame(skb, data, end)) {
	case XM_TCP:
		return restore_frame(skb, data, XM_TCP, ifindex, learn);
	case XM_UDP:
		return restore_frame(skb, data, XM_UDP, ifindex, learn);
	default:
		return 0;
	}
}

/* UDP, P to P: hello, answer or NACK. */
static __always_inline enum xm_reason control_packet(struct __sk_buff *skb, const struct iphdr *ip,
						     struct xm_peer *p)
{
	const __u32 off = TUNNEL_OFF;
	struct xm_wire_nack m;

	if (bpf_skb_load_bytes(skb, off, &m, sizeof(m)) || m.head.magic != bpf_htonl(XM_WIRE_MAGIC))
		return p ? XM_R_MALFORMED : XM_R_NOT_PEER;
	if (m.head.type != XM_WIRE_NACK)
		return control(skb, XM_EV_CONTROL, p, ip, off);
	if (!p)
		return XM_R_NOT_PEER;
	if (m.head.version == XM_WIRE_VERSION && m.proto == IPPROTO_UDP)
		nack_digest(p, bpf_ntohs(m.label), XM_UDP, m.reason == XM_R_FRAGMENT);
	return XM_R_NACK_RX;
}

/* Whether a packet with the probes' label is one; @off: of its payload. */
static __always_inline int is_probe(struct __sk_buff *skb, __u32 idx, __u32 *off)
{
	struct xm_wire_head head;
	__u8 doff;

	*off = sizeof(struct ethhdr) + sizeof(struct iphdr);
	if (idx == XM_TCP) {
		if (bpf_skb_load_bytes(skb, *off + 12, &doff, sizeof(doff)))
			return 0;
		*off += (doff >> 4) * 4;
	} else {
		*off += sizeof(struct udphdr);
	}
	return !bpf_skb_load_bytes(skb, *off, &head, sizeof(head)) &&
	       head.magic == bpf_htonl(XM_WIRE_MAGIC) && head.type == XM_WIRE_PROBE;
}

static __always_inline int is_first_fragment(const struct iphdr *ip)
{
	return *(const __u8 *)ip == 0x45 &&
	       (ip->frag_off & bpf_htons(IP_MF | IP_OFFSET)) == bpf_htons(IP_MF);
}

/**
 * refuse() - a packet on the masquerade port that cannot be restored
 * @ip: copy of its IPv4 header
 * @sport: its ports, one of which is the masquerade port
 * @dport: see @sport
 * @why: XM_R_NO_LABEL or XM_R_LABEL_EXPIRED when the ports name a label, XM_R_MALFORMED
 *       when it was not looked up (fragment, IP options, cut short)
 *
 * Return: XM_R_NONE when the packet is none of our business, XM_R_NACK_TX when it has
 * become the answer to itself, otherwise why it is dropped.
 */
static __always_inline enum xm_reason refuse(struct __sk_buff *skb, const struct iphdr *ip,
					     __be16 sport, __be16 dport, enum xm_reason why)
{
	__u32 idx = ip->protocol == IPPROTO_TCP ? XM_TCP : XM_UDP;
	const __u32 l4 = sizeof(struct ethhdr) + sizeof(struct iphdr);
	__u32 peer_idx, label, off = 0;
	struct xm_peer *p;
	__u8 tcp[2];

	/* Routed through this node, not sent to it. */
	if (!is_node_addr(ip->daddr))
		return XM_R_NONE;
	p = peer_find(ip->saddr, &peer_idx);
	label = label_of_ports(sport, dport);
	/* A probe may be the first word of a node that has just seen us. */
	if (label == XM_LABEL_PROBE && why != XM_R_MALFORMED && is_probe(skb, idx, &off))
		return control(skb, XM_EV_PROBE, p, ip, off);
	/* The answer of a stranger's service that happens to live on this port. */
	if (!p && dport != cfg.masq_port)
		return XM_R_NONE;
	/* The path cuts what we are sent: the sender had better use the overlay. */
	if (p && idx == XM_UDP && is_first_fragment(ip) && label >= XM_LABEL_MIN &&
	    label <= XM_LABEL_MAX)
		return nack_send(skb, p, label, XM_R_FRAGMENT);
	if (why == XM_R_MALFORMED)
		return p ? XM_R_MALFORMED : XM_R_NOT_PEER;

	if (sport == dport)
		return idx == XM_UDP ? control_packet(skb, ip, p)
		       : p	     ? XM_R_MALFORMED
				     : XM_R_NOT_PEER;
	if (!p)
		return XM_R_NOT_PEER;
	if (idx == XM_TCP && bpf_skb_load_bytes(skb, l4 + 12, tcp, sizeof(tcp)))
		return XM_R_MALFORMED;
	if (idx == XM_TCP && tcp[1] & TCP_RST) {
		if (label >= XM_LABEL_MIN && label <= XM_LABEL_MAX)
			nack_digest(p, label, XM_TCP, 0);
		return XM_R_RST_NACK;
	}
	/* Only the owner's packets go to P, only the other node's come from P. */
	if (label < XM_LABEL_MIN || label > XM_LABEL_MAX ||
	    is_owner(ip->saddr, ip->daddr) != (dport == cfg.masq_port) ||
	    (idx == XM_TCP && tcp[1] & (TCP_SYN | TCP_FIN)))
		return XM_R_MALFORMED;
	return nack_send(skb, p, label, why);
}

/**
 * icmp_error() - an ICMP error that quotes a packet we masqueraded
 *
 * The path or the peer's stack refuses the masquerade port: take the flow back. The
 * error itself goes on to the stack, which finds no socket for it but learns the path
 * MTU that the overlay needs as well.
 */
static __always_inline void icmp_error(struct __sk_buff *skb)
{
	const __u32 off = sizeof(struct ethhdr) + sizeof(struct iphdr) + ICMP_HDR_LEN;
	struct {
		struct iphdr ip;
		__be16 ports[2];
	} q;
	__u32 label, idx;
	struct xm_peer *p;
	__u8 type, icmp[2];

	if (bpf_skb_load_bytes(skb, off - ICMP_HDR_LEN, icmp, sizeof(icmp)))
		return;
	type = icmp[0];
	if (type != ICMP_DEST_UNREACH && type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETERPROB)
		return;
	if (bpf_skb_load_bytes(skb, off, &q, sizeof(q)) || *(__u8 *)&q.ip != 0x45)
		return;
	if (q.ip.protocol != IPPROTO_TCP && q.ip.protocol != IPPROTO_UDP)
		return;
	if (!is_node_addr(q.ip.saddr) ||
	    (q.ports[0] != cfg.masq_port && q.ports[1] != cfg.masq_port))
		return;
	label = label_of_ports(q.ports[0], q.ports[1]);
	if (label < XM_LABEL_MIN || label > XM_LABEL_MAX)
		return;
	/* Anybody can send these. */
	p = peer_find(q.ip.daddr, &idx);
	if (!p)
		return;
	if (!peer_rate_ok(p, XM_RATE_ICMP, XM_HOLDS_PER_SEC)) {
		note(XM_R_NACK_UNHEEDED);
		return;
	}
	note(XM_R_ICMP_NACK);
	nack_digest(p, label, q.ip.protocol == IPPROTO_TCP ? XM_TCP : XM_UDP,
		    type == ICMP_DEST_UNREACH && icmp[1] == ICMP_FRAG_NEEDED);
}

#endif
