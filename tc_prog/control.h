/* SPDX-License-Identifier: GPL-2.0-only */
/* What goes up to the daemon: unknown nodes, hellos, probes. Never on the fast path. */
#ifndef XM_CONTROL_H
#define XM_CONTROL_H

#include "maps.h"

/**
 * report() - one event into the ring
 * @egress: the packet is leaving: its Ethernet header is already ours to the node
 * @off: of the payload, 0 for none
 */
static __always_inline enum xm_reason report(struct __sk_buff *skb, enum xm_event_type type,
					     __be32 peer, __be32 node, int egress, __u8 proto,
					     __u32 off)
{
	struct xm_event *ev;
	__u32 len = 0;
	__u8 eth[XM_ETH_LEN];

	if (bpf_skb_load_bytes(skb, 0, eth, sizeof(eth)))
		return XM_R_TRUNCATED;
	ev = bpf_ringbuf_reserve(&xm_events, sizeof(*ev), 0);
	if (!ev) {
		note(XM_R_EVENT_LOST);
		return XM_R_EVENT_LOST;
	}
	memset(ev, 0, sizeof(*ev));
	ev->type = type;
	ev->peer = peer;
	ev->node = node;
	ev->ifindex = skb->ifindex;
	ev->proto = proto;
	if (egress) {
		ev->leaving = 1;
		memcpy(ev->eth, eth, XM_ETH_LEN);
	} else {
		memcpy(ev->eth, eth + 6, 6);
		memcpy(ev->eth + 6, eth, 6);
	}
	if (off && skb->len > off) {
		len = skb->len - off;
		if (len > XM_CONTROL_MAX)
			len = XM_CONTROL_MAX;
		/* 1 to XM_CONTROL_MAX: the compiler knows, the verifier wants to see it, and that of
		 * Linux 6.1 learns nothing from a comparison with 0. */
		len--;
		barrier_var(len);
		len = (len & (XM_CONTROL_MAX - 1)) + 1;
		if (bpf_skb_load_bytes(skb, off, ev->data, len))
			len = 0;
	}
	ev->len = len;
	bpf_ringbuf_submit(ev, 0);
	return XM_R_CONTROL;
}

/* An overlay packet shows a node that is no peer: at most one report a second each. */
static __always_inline void report_stranger(struct __sk_buff *skb, __be32 peer, __be32 node,
					    int egress)
{
	__u32 now = now32(), *last;

	last = bpf_map_lookup_elem(&xm_seen, &peer);
	if (last && now - *last < cfg.second)
		return;
	bpf_map_update_elem(&xm_seen, &peer, &now, BPF_ANY);
	note(XM_R_PEER_SEEN);
	report(skb, XM_EV_PEER_SEEN, peer, node, egress, IPPROTO_UDP, 0);
}

/* A peer that the daemon has lost the way to: one report. */
static __always_inline void report_wanted(struct __sk_buff *skb, struct xm_peer *p, __be32 peer,
					  __be32 node, int egress)
{
	if (!p->report || (p->report != XM_REPORT_ANY && !egress))
		return;
	p->report = 0;
	report(skb, XM_EV_PEER_SEEN, peer, node, egress, IPPROTO_UDP, 0);
}

/*
 * Whether a hello, an answer or a probe echoes one of the nonces that we sent this peer last. All
 * that a peer sends does, once it has heard from us; somebody else would have to see our packets.
 */
static __always_inline int is_fresh(struct __sk_buff *skb, enum xm_event_type type,
				    const struct xm_peer *p, __u32 off)
{
	__be32 echo;

	off += type == XM_EV_PROBE ? offsetof(struct xm_wire_probe, echo)
				   : offsetof(struct xm_wire_hello, echo);
	if (bpf_skb_load_bytes(skb, off, &echo, sizeof(echo)))
		return 0;
	return echo && (echo == p->nonce[0] || echo == p->nonce[1]);
}

/* A hello or a probe: hand it over within its sender's limit. @p NULL for a stranger. */
static __always_inline enum xm_reason control(struct __sk_buff *skb, enum xm_event_type type,
					      struct xm_peer *p, const struct iphdr *ip, __u32 off)
{
	int ok;

	/* What anybody can send must not use up what the peer itself needs. */
	if (p)
		ok = peer_rate_ok(p, is_fresh(skb, type, p, off) ? XM_RATE_FRESH : XM_RATE_CONTROL,
				  XM_CONTROLS_PER_SEC);
	else
		ok = rate_ok(&strangers_win, &strangers_cnt, now32(), XM_STRANGERS_PER_SEC);
	if (!ok)
		return XM_R_CONTROL_LIMIT;
	report(skb, type, ip->saddr, ip->daddr, 0, ip->protocol, off);
	return XM_R_CONTROL;
}

#endif
