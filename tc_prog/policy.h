/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules, asked about every packet of a pod that is not on the fast path.
 *
 * A flow gets onto the fast path, and stays there, by packets that pass here: each of its leases is
 * granted for one, and a packet that is denied or kept on the overlay never gets as far as that. So
 * the fast path asks nothing; when rules change, the daemon deletes the flows that they no
 * longer allow.
 */
#ifndef XM_TC_POLICY_H
#define XM_TC_POLICY_H

#include "flow.h"

/*
 * What rules see of a packet. By the frame's own type: skb->protocol is the sender's to choose in
 * a pod's namespace. What a packet lacks is left to chance, since no rule that needs it
 * matches; the verifier has the fewer states to tell apart. Return: 0 when it is none of theirs
 * (ARP and the like).
 */
static __always_inline int policy_packet(struct __sk_buff *skb, struct xm_policy_packet *p)
{
	struct {
		__be16 type;
		struct iphdr ip;
	} __attribute__((packed)) h;
	__be16 ports[2];
	__u32 off;

	if (bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_proto), &h, sizeof(h)))
		return 0;
	if (h.type != bpf_htons(ETH_P_IP) && h.type != bpf_htons(ETH_P_IPV6))
		return 0;
	off = sizeof(struct ethhdr) + (*(__u8 *)&h.ip & 0xf) * 4;
	p->lacks = XM_LACKS_NOTHING;
	if (bpf_skb_load_bytes(skb, off, ports, sizeof(ports)))
		p->lacks = XM_LACKS_PORTS;
	p->saddr = h.ip.saddr;
	p->daddr = h.ip.daddr;
	p->proto = h.ip.protocol;
	p->sport = bpf_ntohs(ports[0]);
	p->dport = bpf_ntohs(ports[1]);
	if (h.type == bpf_htons(ETH_P_IPV6))
		p->lacks = XM_LACKS_IPV4 | XM_LACKS_PORTS;
	else if (p->proto != IPPROTO_TCP && p->proto != IPPROTO_UDP && p->proto != IPPROTO_SCTP)
		p->lacks = XM_LACKS_PORTS;
	else if (h.ip.frag_off & bpf_htons(IP_OFFSET))
		p->lacks = XM_LACKS_FIRST;
	return 1;
}

/* Takes a flow off the fast path. The daemon has deleted it when the rules changed; this is for what
 * a program that still had the old rules may have granted. @p: as the local pod sends */
static __always_inline void policy_end(const struct xm_policy_packet *p, __u32 ifindex, int in)
{
	struct xm_flow_key key = { .proto = p->proto };
	__u32 idx = p->proto == IPPROTO_TCP ? XM_TCP : XM_UDP, now;
	struct xm_label *e;
	struct xm_flow *f;

	key.saddr = in ? p->daddr : p->saddr;
	key.daddr = in ? p->saddr : p->daddr;
	key.sport = bpf_htons(in ? p->dport : p->sport);
	key.dport = bpf_htons(in ? p->sport : p->dport);
	f = flow_find(&key);
	/* As in flow_tcp_edge(): not another pod's. */
	if (!f || f->pod_ifindex != ifindex)
		return;
	now = now32();
	f->out_until = now;
	f->in_until = now;
	f->pod_out = now - 2 * cfg.lease;
	fast_drop_out(&key);
	e = label_find(f->peer, f->label, idx);
	if (f->label && e && label_is_flow(e, &key)) {
		e->until = now;
		label_forget(e, e->tag);
	}
}

static __always_inline enum xm_reason policy(struct __sk_buff *skb, __u32 ifindex, int in)
{
	struct xm_policy_packet p;
	const struct xm_policy *t;
	__u32 zero = 0, v, slot;
	struct xm_counter *c;

	t = bpf_map_lookup_elem(&xm_policy, &zero);
	if (!t || !policy_packet(skb, &p))
		return XM_R_NONE;
	/* Into memory, where the verifier forgets which way it came. */
	asm volatile("" : : "r"(&p) : "memory");
	v = xm_policy_decide(&t->half[t->now & 1], &p, in);
	slot = XM_VERDICT_SLOT(v);
	c = bpf_map_lookup_elem(&xm_rule_count, &slot);
	if (c) {
		c->packets++;
		c->bytes += skb->len;
	}
	if (XM_VERDICT_ACTION(v) == XM_POLICY_ALLOW)
		return XM_R_NONE;
	if (p.lacks == XM_LACKS_NOTHING)
		policy_end(&p, ifindex, in);
	return XM_VERDICT_ACTION(v) == XM_POLICY_DENY ? XM_R_POLICY_DENIED : XM_R_POLICY_OVERLAY;
}

/*
 * What pod @pod sends, what one gets. Not inlined: out of the fast path's way.
 *
 * Return: XM_R_NONE to go on, or XM_R_POLICY_DENIED or XM_R_POLICY_OVERLAY.
 */
XM_CALLED enum xm_reason policy_out(struct __sk_buff *skb, __u32 pod)
{
	return policy(skb, pod, XM_POLICY_OUT);
}

XM_CALLED enum xm_reason policy_in(struct __sk_buff *skb)
{
	return policy(skb, skb->ifindex, XM_POLICY_IN);
}

#endif
