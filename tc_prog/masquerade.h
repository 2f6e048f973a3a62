/* SPDX-License-Identifier: GPL-2.0-only */
/* A pod sends: the fast path's first half. */
#ifndef XM_MASQUERADE_H
#define XM_MASQUERADE_H

#include "local.h"
#include "policy.h"

/* The packet goes to the CNI and may be the evidence for an egress lease. */
static __always_inline enum xm_reason to_overlay(struct xm_flow *f, __u32 now, enum xm_reason why)
{
	f->pod_out = now;
	return why;
}

/*
 * As maybe_too_big(), for certain. @inside: we are in the pod's namespace, where this number may be that of
 * another interface, so that nobody can be asked.
 */
static __always_inline int is_too_big(struct __sk_buff *skb, __u32 idx, __u32 ifindex, int inside)
{
	__u32 mtu = 0;

	if (!maybe_too_big(skb, idx))
		return 0;
	return inside || bpf_check_mtu(skb, ifindex, &mtu, 0, skb->gso_size ? BPF_MTU_CHK_SEGS : 0);
}

/**
 * masquerade_any() - make a node packet of a pod's packet, if its flow may
 * @pod: host-side interface of the pod that sends
 * @inside: this is the pod's namespace (mode rpeer)
 * @ifindex: where to send it
 *
 * The whole of it: masquerade_fast() has taken most packets already, and this one is out of its
 * way.
 *
 * Return: XM_R_MASQUERADED with the packet rewritten; XM_R_LOCAL as delivered to another pod of this
 * node, whose host-side interface is @ifindex; anything else with the packet untouched.
 */
XM_CALLED enum xm_reason masquerade_any(struct __sk_buff *skb, __u32 pod, int inside,
					__u32 *ifindex)
{
	enum csum_kind kind;
	struct xm_flow *f;
	struct xm_peer *p;
	struct parsed pkt;
	enum xm_reason r;
	__be16 *ports;
	__u16 *check;
	__u32 now;

	r = parse_frame(skb, &pkt);
	if (r)
		return r;
	if (pkt.tcp_flags) {
		flow_tcp_edge(&pkt.key, pkt.tcp_flags, pod);
		return XM_R_TCP_FLAGS;
	}
	f = flow_find(&pkt.key);
	if (!f)
		return admit_count(skb, &pkt.key);
	/* Another pod that sends under this pod's address proves and gets nothing. */
	if (f->pod_ifindex && f->pod_ifindex != pod)
		return XM_R_OTHER_POD;
	/* Who sends fixes the interface; a delivery there confirms it. A bridge may flood
	 * deliveries to every pod. */
	if (!f->pod_ifindex)
		f->pod_ifindex = pod;
	/* Lost by hand, or the entry is of a release that had no cells. */
	if (admit_is_cold(&pkt.key))
		admit_now(&pkt.key, now32());
	if (f->stage == XM_STAGE_LOCAL)
		return local_send(skb, &pkt, f, ifindex);
	now = now32();
	if (f->stage != XM_STAGE_READY)
		return to_overlay(f, now, XM_R_NOT_AGREED);
	if (f->ended)
		return to_overlay(f, now, XM_R_ENDED);
	if (!flow_seen(f, now))
		return to_overlay(f, now, XM_R_LEASE_OVER);
	if (!xm_before(now, f->renew_at)) {
		f->renew_at = now + cfg.retry;
		return to_overlay(f, now, XM_R_RENEWAL);
	}
	if (pkt.ip->ttl < XM_TTL_MIN_FAST)
		return XM_R_TTL;
	p = peer_slot(f->peer_idx);
	if (!p || p->gen != f->peer_gen || !peer_up(p, pkt.idx))
		return to_overlay(f, now, XM_R_PEER_DOWN);

	if (is_too_big(skb, pkt.idx, f->nic_ifindex, inside))
		return to_overlay(f, now, XM_R_TOO_BIG);

	check = csum_ptr(skb, pkt.l4, pkt.idx);
	if (!check)
		return XM_R_TRUNCATED;
	kind = csum_kind(skb, sizeof(struct ethhdr) + sizeof(struct iphdr), csum_field(pkt.idx));
	if (kind == CSUM_ELSEWHERE)
		return to_overlay(f, now, XM_R_ODD_CSUM);

	memcpy(pkt.eth, f->eth, XM_ETH_LEN);
	pkt.ip->saddr = f->node;
	pkt.ip->daddr = f->peer;
	pkt.ip->check = csum_apply(pkt.ip->check, f->addr_csum);
	ports = pkt.l4;
	ports[0] = f->sport;
	ports[1] = f->dport;
	*ifindex = f->nic_ifindex;
	l4_csum_update(skb, check, kind, pkt.idx, f->addr_csum, f->port_csum);
	skb->mark = cfg.mark;
	return XM_R_MASQUERADED;
}

static __always_inline int flow_is_ready(const struct xm_flow *f)
{
	const __u16 *state = (const __u16 *)&f->stage; /* and @ended */
	const __u8 ready[2] = { XM_STAGE_READY, 0 };

	return *state == *(const __u16 *)ready;
}

/* Whether nothing is to be decided, learned or noted for a packet of this flow, which is ready. */
static __always_inline int flow_is_fast(const struct xm_flow *f, __u32 pod, __u32 idx)
{
	__u64 now = bpf_jiffies64();
	struct xm_peer *p;

	if (f->pod_ifindex != pod || !xm_before(now, f->out_until) ||
	    !xm_before(now, f->in_until) || !xm_before(now, f->renew_at))
		return 0;
	p = peer_slot(f->peer_idx);
	return p && p->gen == f->peer_gen && now < p->up_until[idx];
}

/**
 * masquerade_learn() - have the packets of a flow known that has just been found to be fast
 * @tag: as it was before the flow was looked up
 */
XM_CALLED int masquerade_learn(struct xm_flow *f, __u64 addrs, __u32 ports, __u32 tag, __u32 pod)
{
	__u64 now = bpf_jiffies64(), until;
	__u32 left, idx = tag & XM_UDP;
	struct xm_flow_key key = {
		.proto = idx == XM_TCP ? IPPROTO_TCP : IPPROTO_UDP,
	};
	struct xm_fast *e;
	struct xm_peer *p;

	p = peer_slot(f->peer_idx);
	if (!p)
		return 0;
	e = fast_claim(addrs, ports, tag, now);
	if (!e)
		return 0;
	left = min_u32(f->out_until - (__u32)now, f->in_until - (__u32)now);
	left = min_u32(left, f->renew_at - (__u32)now);
	if ((__s32)left < 0)
		left = 0;
	until = p->up_until[idx];
	e->until = until < now + left ? until : now + left;
	fast_fill(e, f->eth, &f->node, &f->sport, &f->addr_csum, f->nic_ifindex);
	e->pod = pod;
	e->frame_max = nic_frame_max;
	fast_publish(e, tag);
	/* The daemon may have deleted the flow, and its place be another one's by now. */
	*(__u64 *)&key.saddr = addrs;
	*(__u32 *)&key.sport = ports;
	if (flow_find(&key) != f ||
	    !fast_holds(e, f->eth, &f->node, &f->sport, &f->addr_csum, f->nic_ifindex) ||
	    !flow_is_ready(f) || !flow_is_fast(f, pod, idx))
		fast_unpublish(e, tag);
	return 0;
}

static __always_inline enum xm_reason masquerade_frame(struct __sk_buff *skb, void *data, __u32 idx,
						       __u32 pod, __u32 *ifindex, int learn)
{
	struct xm_flow_key key = {
		.proto = idx == XM_TCP ? IPPROTO_TCP : IPPROTO_UDP,
	};
	__u64 addrs = *(__u64 *)(data + FAST_ADDRS);
	__u32 ports = *(__u32 *)(data + FAST_PORTS), tag = fast_present(FAST_OUT | idx);
	enum csum_kind kind;
	struct xm_flow *f;

	*(__u64 *)&key.saddr = addrs;
	*(__u32 *)&key.sport = ports;
	f = flow_find(&key);
	if (!f)
		return policy_on ? XM_R_NONE : admit_count(skb, &key);
	if (!flow_is_ready(f))
		return f->stage == XM_STAGE_LOCAL ? local_fast(skb, f, pod, ifindex) : XM_R_NONE;
	if (!flow_is_fast(f, pod, idx) || *(__u8 *)(data + 22) < XM_TTL_MIN_FAST ||
	    maybe_too_big(skb, idx))
		return XM_R_NONE;
	kind = csum_kind(skb, FAST_PORTS, csum_field(idx));
	if (kind == CSUM_ELSEWHERE)
		return XM_R_NONE;
	fast_rewrite(data, f->eth, &f->node, &f->sport, f->addr_csum);
	l4_csum_update(skb, data + FAST_PORTS + csum_field(idx), kind, idx, f->addr_csum,
		       f->port_csum);
	*ifindex = f->nic_ifindex;
	skb->mark = cfg.mark;
	if (learn)
		masquerade_learn(f, addrs, ports, tag, pod);
	return XM_R_MASQUERADED;
}

/**
 * masquerade_fast() - masquerade_any() for packets of a flow that is well
 * @learn: have fast_known() know the next ones
 *
 * Also takes those that have no flow, unless there are rules to be asked first. Never does what
 * masquerade_any() would not do. Return: as that, or XM_R_NONE with the packet untouched.
 */
static __always_inline enum xm_reason masquerade_fast(struct __sk_buff *skb, __u32 pod,
						      __u32 *ifindex, int learn)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	switch (fast_frame(skb, data, end)) {
	case XM_TCP:
		return masquerade_frame(skb, data, XM_TCP, pod, ifindex, learn);
	case XM_UDP:
		return masquerade_frame(skb, data, XM_UDP, pod, ifindex, learn);
	default:
		return XM_R_NONE;
	}
}

/* As masquerade_any(), for what fast_known() does not know; XM_R_POLICY_DENIED means drop */
static __always_inline enum xm_reason masquerade(struct __sk_buff *skb, __u32 pod, int inside,
						 __u32 *ifindex)
{
	enum xm_reason r = masquerade_fast(skb, pod, ifindex, 1);

	if (r)
		return r;
	if (policy_on) {
		r = policy_out(skb, pod);
		if (r)
			return r;
	}
	return masquerade_any(skb, pod, inside, ifindex);
}

#endif
