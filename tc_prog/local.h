/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flows between two pods of this node: one redirect from pod to pod.
 *
 * Theory of operation. Each direction has an entry of stage LOCAL, in the table of all flows, as its
 * pod sends it. There is one decision of the CNI for a direction, and it shows where the packet is
 * delivered: xmasq_pod_ingress of the receiving pod. There a packet proves that the CNI passes it
 * when all of this holds:
 *
 *   it came in by the interface that the flow belongs to (skb->ingress_ifindex, which the kernel
 *   writes where a packet leaves a pod, and no pod can);
 *   it is the very packet that this pod's hook has let go to the CNI: same tuple, length, TOS, ID
 *   and fragment field, so that nothing was translated or rewritten on the way;
 *   it is addressed to the pod's own MAC address: a bridge may flood copies to all;
 *   that pod sends the reverse flow, by this interface.
 *
 * Then the flow gets its egress lease and the reverse flow its ingress lease: both must hold, so a
 * flow is accelerated only while the CNI passes it both ways. What the CNI's path did to the packet is
 * done to those that pass: the Ethernet header as it was delivered, and as much off the TTL.
 *
 * A path that goes up through a bridge into the stack and down again has another ingress_ifindex:
 * such flows stay with the CNI.
 */
#ifndef XM_LOCAL_H
#define XM_LOCAL_H

#include "flow.h"
#include "parse.h"

/* What a router takes off the TTL; anything else is not understood, and not imitated. */
#define LOCAL_TTL_DEC_MAX 1

#define LOCAL_ETH sizeof(struct ethhdr)

static __always_inline __u32 ip_word(const struct iphdr *ip, __u32 i)
{
	return ((const __u32 *)ip)[i];
}

/*
 * Whether the other pod does not take this frame, or the segments that it will be cut into: behind the
 * redirect nothing looks at that, where the CNI's path drops or fragments. Pods of a node have the
 * same MTU as a rule, and their segments are as long as it allows: to the byte.
 */
static __always_inline int local_too_big(struct __sk_buff *skb, const struct xm_flow *f,
					 const struct iphdr *ip)
{
	void *end = (void *)(long)skb->data_end;
	const __u8 *l4 = (const void *)(ip + 1);
	__u32 head = LOCAL_ETH + sizeof(*ip) + sizeof(struct udphdr);

	if (skb->len <= f->frame_max)
		return 0;
	if (!skb->gso_size)
		return 1;
	if (ip->protocol == IPPROTO_TCP) {
		if ((void *)(l4 + sizeof(struct tcphdr)) > end)
			return 1;
		head = LOCAL_ETH + sizeof(*ip) + (l4[12] >> 4) * 4;
	}
	return skb->gso_size + head > f->frame_max;
}

/**
 * local_verdict() - what is to become of a packet that the pod of a LOCAL flow sends
 *
 * Return: XM_R_LOCAL, or why the CNI gets it. Changes nothing.
 */
static __always_inline enum xm_reason local_verdict(struct __sk_buff *skb, const struct xm_flow *f,
						    const struct iphdr *ip, __u32 now)
{
	if (f->ended)
		return XM_R_ENDED;
	if (!flow_seen(f, now))
		return f->nic_ifindex ? XM_R_LEASE_OVER : XM_R_NOT_AGREED;
	if (!xm_before(now, f->renew_at))
		return XM_R_RENEWAL;
	if (ip->ttl < XM_TTL_MIN_FAST)
		return XM_R_TTL;
	if (local_too_big(skb, f, ip))
		return XM_R_TOO_BIG;
	return XM_R_LOCAL;
}

/* As the CNI would have delivered it. */
static __always_inline void local_rewrite(struct ethhdr *eth, struct iphdr *ip,
					  const struct xm_flow *f)
{
	memcpy(eth, f->eth, XM_ETH_LEN);
	if (!f->ttl_dec)
		return;
	/* The TTL is the first byte of its word. */
	ip->ttl -= LOCAL_TTL_DEC_MAX;
	ip->check = csum_apply(ip->check, (__u16)~bpf_htons(LOCAL_TTL_DEC_MAX << 8));
}

/**
 * local_fast() - a packet of a LOCAL flow of which fast_frame() has nothing to say
 * @ifindex: the other pod's host-side interface, with XM_R_LOCAL
 *
 * Out of the way of flows to other nodes. Return: XM_R_LOCAL, or 0 with the packet untouched.
 */
XM_CALLED enum xm_reason local_fast(struct __sk_buff *skb, const struct xm_flow *f, __u32 pod,
				    __u32 *ifindex)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + LOCAL_ETH;

	if ((void *)(ip + 1) > end || f->pod_ifindex != pod ||
	    local_verdict(skb, f, ip, now32()) != XM_R_LOCAL)
		return XM_R_NONE;
	*ifindex = f->nic_ifindex;
	local_rewrite(data, ip, f);
	return XM_R_LOCAL;
}

/*
 * The packet goes to the CNI: remember it, to know it again where it is delivered. Until it was
 * seen there no other takes its place, since several may be on their way; but it may be lost.
 */
static __always_inline void local_note(struct xm_flow *f, const struct iphdr *ip, __u32 now)
{
	if (now - f->pod_out < cfg.retry)
		return;
	f->sent_head = ip_word(ip, 0);
	f->sent_id = ip_word(ip, 1);
	f->sent_ttl = ip->ttl;
	f->pod_out = now;
}

/* The whole of it, as masquerade_any(); the packet is eligible and sent by the flow's own pod. */
static __always_inline enum xm_reason local_send(struct __sk_buff *skb, struct parsed *pkt,
						 struct xm_flow *f, __u32 *ifindex)
{
	__u32 now = now32();
	enum xm_reason r = local_verdict(skb, f, pkt->ip, now);

	if (r == XM_R_LOCAL) {
		*ifindex = f->nic_ifindex;
		local_rewrite(pkt->eth, pkt->ip, f);
		return r;
	}
	if (r == XM_R_RENEWAL)
		f->renew_at = now + cfg.retry;
	local_note(f, pkt->ip, now);
	return r;
}

/* ---- deliveries ---- */

/* Back to what a new entry is. @pod: the interface that sends */
static __always_inline void local_start(struct xm_flow *f, __u32 pod, __u32 now)
{
	memset(f, 0, sizeof(*f));
	f->stage = XM_STAGE_LOCAL;
	f->pod_ifindex = pod;
	f->out_until = now;
	f->in_until = now;
	f->renew_at = now;
	f->pod_out = now - 2 * cfg.lease;
}

static __always_inline void local_make(const struct xm_flow_key *key, __u32 pod, __u32 now)
{
	struct xm_flow f;
	long err;

	/* Many may be a service's tuples, which come to nothing: not the whole table for them. */
	if (!rate_ok(&locals_win, &locals_cnt, now, cfg.label_mask / 32 + XM_LOCALS_PER_SEC))
		return;
	local_start(&f, pod, now);
	admit_now(key, now);
	err = bpf_map_update_elem(&xm_flows, key, &f, BPF_NOEXIST);
	if (!err)
		note(XM_R_FLOW_NEW);
	else if (err != -EEXIST) /* another CPU was first */
		note(XM_R_FLOW_TABLE_FULL);
}

static __always_inline int mac_equal(const __u8 *a, const __u8 *b)
{
	__u16 x[3], y[3];

	memcpy(x, a, sizeof(x));
	memcpy(y, b, sizeof(y));
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

/* Whether this is the packet that local_note() remembers, and what was taken off its TTL. */
static __always_inline int local_matches(const struct xm_flow *f, const struct iphdr *ip, __u32 now,
					 __u8 *ttl_dec)
{
	*ttl_dec = f->sent_ttl - ip->ttl;
	return now - f->pod_out < cfg.renew && f->sent_head == ip_word(ip, 0) &&
	       f->sent_id == ip_word(ip, 1) && *ttl_dec <= LOCAL_TTL_DEC_MAX;
}

static __always_inline void local_lease(struct xm_flow *f, struct xm_flow *r,
					const struct parsed *pkt, __u32 to,
					const struct xm_local *pod, __u8 ttl_dec, __u32 now)
{
	int f_was = flow_seen(f, now), r_was = flow_seen(r, now);

	memcpy(f->eth, pkt->eth, XM_ETH_LEN);
	f->nic_ifindex = to;
	f->ttl_dec = ttl_dec;
	f->frame_max = pod->frame_max > 0xffff ? 0xffff : pod->frame_max;
	f->renew_at = now + cfg.renew;
	f->out_until = now + cfg.lease;
	r->in_until = now + cfg.in_lease;
	note(XM_R_LEASE_OUT);
	note(XM_R_LEASE_IN);
	if (!f_was && flow_seen(f, now))
		note(XM_R_FLOW_ACTIVE);
	if (!r_was && flow_seen(r, now))
		note(XM_R_FLOW_ACTIVE);
}

/**
 * observe_local() - the CNI delivers a packet to a pod
 * @reverse: the flow as this pod sends it
 *
 * Return: whether another pod of this node has sent it, and there is nothing else to learn.
 */
static __always_inline int observe_local(struct __sk_buff *skb, const struct parsed *pkt,
					 const struct xm_flow_key *reverse)
{
	__u32 from = skb->ingress_ifindex, to = skb->ifindex, now = now32();
	const struct xm_local *a, *b;
	struct xm_flow *f, *r;
	__u8 ttl_dec;

	if (!from || from == to)
		return 0;
	a = bpf_map_lookup_elem(&xm_locals, &from);
	if (!a)
		return 0;
	b = bpf_map_lookup_elem(&xm_locals, &to);
	if (!b || !(a->protos & b->protos & 1 << pkt->idx) || bpf_jiffies64() >= local_until ||
	    !mac_equal(pkt->eth->h_dest, b->mac))
		return 1;
	f = flow_find(&pkt->key);
	if (!f) {
		local_make(&pkt->key, from, now);
		return 1;
	}
	if (f->stage != XM_STAGE_LOCAL) {
		/* The other pod was on another node: when the leases are over it is really here. Who
		 * sends under this pod's address does not start its flow over. */
		if (f->pod_ifindex != from || flow_seen(f, now))
			return 1;
		label_release(&pkt->key, f, pkt->idx, now);
		local_start(f, from, now);
		note(XM_R_FLOW_RESET);
		return 1;
	}
	/* Another pod that sends under this pod's address proves nothing. */
	if (f->pod_ifindex != from || f->ended || !local_matches(f, pkt->ip, now, &ttl_dec))
		return 1;
	/* It has arrived: the next one may be remembered. */
	f->pod_out = now - 2 * cfg.lease;
	r = flow_find(reverse);
	if (r && r->stage == XM_STAGE_LOCAL && r->pod_ifindex == to)
		local_lease(f, r, pkt, to, b, ttl_dec, now);
	return 1;
}

#endif
