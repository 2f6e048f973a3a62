/* SPDX-License-Identifier: GPL-2.0-only */
/* A pod sends: the fast path's first half. */
#ifndef XM_MASQUERADE_H
#define XM_MASQUERADE_H

#include "flow.h"
#include "parse.h"

/* The packet goes to the CNI and may be the evidence for an egress lease. */
static __always_inline enum xm_reason to_overlay(struct xm_flow *f, __u32 now, enum xm_reason why)
{
	f->pod_out = now;
	return why;
}

/**
 * masquerade() - make a node packet of a pod's packet, if its flow may
 * @pod: host-side interface of the pod that sends
 * @ifindex: where to send it
 *
 * Return: XM_R_MASQUERADED with the packet rewritten, XM_R_HELPER_FAILED with the packet
 * half rewritten, anything else with the packet untouched.
 */
static __always_inline enum xm_reason masquerade(struct __sk_buff *skb, __u32 pod, __u32 *ifindex)
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
		return XM_R_NO_FLOW;
	/* Another pod that sends under this pod's address proves and gets nothing. */
	if (f->pod_ifindex && f->pod_ifindex != pod)
		return XM_R_OTHER_POD;
	/* Who sends fixes the interface; a delivery there confirms it. A bridge may flood
	 * deliveries to every pod. */
	if (!f->pod_ifindex)
		f->pod_ifindex = pod;
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
	if (l4_csum_update(skb, check, kind, pkt.idx, f->addr_csum, f->port_csum))
		return XM_R_HELPER_FAILED;
	skb->mark = cfg.mark;
	return XM_R_MASQUERADED;
}

#endif
