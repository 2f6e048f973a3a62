/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The overlay's packets, watched at the NIC and where the CNI delivers to a pod: flows
 * are learned, leases granted, labels told and read. Slow path throughout.
 */
#ifndef XM_OBSERVE_H
#define XM_OBSERVE_H

#include "control.h"
#include "local.h"

/* What the outer header of an overlay packet says; copied, since writing to the packet
 * invalidates pointers into it. */
struct outer {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__u32 type; /* enum xm_overlay_type */
};

/**
 * outer_sport_set() - write the outer UDP source port of a packet that is leaving
 *
 * The UDP checksum, if any, is one of three kinds (net/ipv4/udp.c, udp_set_csum()):
 * GSO and "partial" hold the sum of the pseudo-header only, which has no ports; with the
 * inner checksum offloaded it is complete (local checksum offload) although the skb says
 * CHECKSUM_PARTIAL. Only where the partial sum starts tells the last two apart.
 */
static __always_inline void outer_sport_set(struct __sk_buff *skb, __be16 from, __be16 to)
{
	const __u32 udp = sizeof(struct ethhdr) + sizeof(struct iphdr);
	__u16 check;

	if (from == to)
		return;
	if (bpf_skb_load_bytes(skb, udp + offsetof(struct udphdr, check), &check, sizeof(check)))
		return;
	if (check && !skb->gso_size &&
	    csum_kind(skb, udp, offsetof(struct udphdr, check)) != CSUM_PSEUDO) {
		check = csum_apply(check, xm_csum_diff32(from, to));
		if (!check)
			check = 0xffff;
		bpf_skb_store_bytes(skb, udp + offsetof(struct udphdr, check), &check,
				    sizeof(check), 0);
	}
	bpf_skb_store_bytes(skb, udp + offsetof(struct udphdr, source), &to, sizeof(to), 0);
}

/*
 * The peer is down, or was for us: it may have seen less of us than we of it, so that its ingress lease
 * is over when we hear of it again. The other node learns that from overlay packets without a label; the
 * owner has to be answered anew. A lease of our own that is over may be renewed by a delivery before the
 * other node's is: then both agree anew, or a packet would be sent that is refused over there.
 */
static __always_inline void label_doubtful(const struct xm_flow_key *key, struct xm_flow *f,
					   int owner, __u32 now)
{
	if (f->stage != XM_STAGE_NEW && (owner || !xm_before(now, f->in_until)))
		flow_unready(key, f);
}

/* Owner: an overlay packet that tells no label must not look as if it did. */
static __always_inline void tell_nothing(struct __sk_buff *skb, const struct outer *o)
{
	outer_sport_set(skb, o->sport, o->sport | bpf_htons(XM_LABEL_PORT_BASE));
}

/* Makes the entry of an admitted flow that leaves for a peer that is up. */
static __always_inline struct xm_flow *flow_make(const struct tunneled *t, const struct outer *o,
						 const struct xm_peer *p, __u32 peer_idx, __u32 now)
{
	struct xm_flow f = {};
	long err;

	if (!peer_up(p, t->idx) || admit_is_cold(&t->key))
		return NULL;
	admit_now(&t->key, now);
	flow_start(&t->key, &f, o->saddr, o->daddr, peer_idx, p->gen, now);
	err = bpf_map_update_elem(&xm_flows, &t->key, &f, BPF_NOEXIST);
	if (err == -EEXIST) /* another CPU was first */
		return flow_find(&t->key);
	if (err) {
		note(XM_R_FLOW_TABLE_FULL);
		return NULL;
	}
	note(XM_R_FLOW_NEW);
	return flow_find(&t->key);
}

/* Owner: the label to tell for this flow, 0 for none; allots one when it is time. */
static __always_inline __u16 label_to_tell(const struct xm_flow_key *key, struct xm_flow *f,
					   __u32 idx, __u32 now)
{
	struct xm_label *e;
	struct xm_pod *pod;
	__u32 ifindex = f->pod_ifindex;
	enum xm_reason r;

	if (f->label) {
		e = label_find(f->peer, f->label, idx);
		if (e && label_is_flow(e, key)) {
			/* What the peer sent with it would be refused: have its next packets take
			 * the overlay, whose delivery renews the lease. */
			if (!xm_before(now, e->until)) {
				flow_unready(key, f);
				label_unack(e);
				return 0;
			}
			if (f->stage == XM_STAGE_NEW) {
				e->since = now;
				f->stage = XM_STAGE_TOLD;
			}
			/* Written again each time: CPUs that raced to allot leave nothing
			 * mixed for longer than until here. */
			flow_set_label(key, f, f->label, 1);
			if (f->stage == XM_STAGE_TOLD)
				label_unack(e);
			if (f->stage != XM_STAGE_TOLD || now - e->since < 4 * cfg.lease)
				return f->label;
			/* Told again and again, and no answer: over there its slot may be
			 * taken by another peer's label. */
			label_free(e, now);
		}
		/* Given up, or lost by hand: what the peer knows is void. */
		flow_unready(key, f);
		f->label = 0;
	}
	if (!flow_seen(f, now))
		return 0;
	pod = bpf_map_lookup_elem(&xm_pods, &ifindex);
	if (!pod)
		return 0;
	r = label_allot(key, f, pod, idx, now);
	note(r);
	if (r != XM_R_LABEL_ALLOTTED)
		return 0;
	f->stage = XM_STAGE_TOLD;
	return f->label;
}

/**
 * observe_egress() - an overlay packet leaves through the NIC
 * @o: its outside
 * @t: its inside
 *
 * That it got here is the CNI's consent to its egress.
 */
static __always_inline void observe_egress(struct __sk_buff *skb, const struct outer *o,
					   const struct tunneled *t)
{
	__u32 peer_idx = 0, now;
	struct xm_flow *f;
	struct xm_peer *p;
	__u16 label = 0;
	int owner;

	if (!is_node_addr(o->saddr))
		return;
	p = peer_find(o->daddr, &peer_idx);
	if (!p) {
		report_stranger(skb, o->daddr, o->saddr, 1);
		return;
	}
	now = now32();
	p->seen = now;
	report_wanted(skb, p, o->daddr, o->saddr, 1);
	owner = is_owner(o->saddr, o->daddr);
	/* Encapsulation forgets where a packet came in (skb_scrub_packet() in iptunnel_xmit()).
	 * What still knows is a pod's own UDP to the tunnel's port, forwarded: it shows
	 * nobody's consent and must tell no label. */
	if (skb->ingress_ifindex)
		goto tell;
	/* SYN, FIN and RST were dealt with where the pod sent them. */
	if (t->idx == XM_PROTOS || t->tcp_flags)
		goto tell;
	f = flow_find(&t->key);
	/* A pod that sends tunnel packets of its own to another node must not move a running
	 * flow there; one that really moves does so when its leases are over. */
	if (f && f->peer != o->daddr && f->stage >= XM_STAGE_READY && flow_seen(f, now))
		goto tell;
	if (!f) {
		f = flow_make(t, o, p, peer_idx, now);
		if (!f)
			goto tell;
	} else if (f->peer_gen != p->gen || f->peer_idx != peer_idx || f->node != o->saddr ||
		   f->peer != o->daddr) {
		label_release(&t->key, f, t->idx, now);
		flow_start(&t->key, f, o->saddr, o->daddr, peer_idx, p->gen, now);
		fast_drop_out(&t->key);
		note(XM_R_FLOW_RESET);
	}
	if (f->ended)
		goto tell;

	bpf_skb_load_bytes(skb, 0, f->eth, XM_ETH_LEN);
	f->nic_ifindex = skb->ifindex;
	if (now - f->pod_out < cfg.renew) {
		f->out_until = now + cfg.lease;
		f->renew_at = now + cfg.renew;
		note(XM_R_LEASE_OUT);
	}
	if (f->stage == XM_STAGE_READY)
		fast_drop_out(&t->key);
	if (!peer_up(p, t->idx))
		label_doubtful(&t->key, f, owner, now);
	else if (owner)
		label = label_to_tell(&t->key, f, t->idx, now);
tell:
	if (!owner)
		return;
	if (label) {
		outer_sport_set(skb, o->sport, bpf_htons(label));
		note(XM_R_LABEL_TOLD);
	} else {
		tell_nothing(skb, o);
	}
}

/* Other node: a label was read from an overlay packet of the reverse flow. */
static __always_inline void label_read(const struct xm_flow_key *key, struct xm_flow *f,
				       __u16 label, __u32 idx, __u32 now)
{
	__u32 ifindex = f->pod_ifindex;
	struct xm_pod *pod;
	int same;

	pod = bpf_map_lookup_elem(&xm_pods, &ifindex);
	if (!pod)
		return;
	if (f->label != label)
		label_release(key, f, idx, now);
	if (label_install(key, f, pod, label, idx, 0, now)) {
		note(XM_R_LABEL_CONFLICT);
		flow_unready(key, f);
		return;
	}
	if (f->label != label || f->stage != XM_STAGE_READY) {
		/* Not a renewal next, but the packet that tells the owner: of a pod that sends
		 * now and then each packet might be a renewal. */
		f->renew_at = f->out_until;
		note(XM_R_LABEL_LEARNED);
		note(XM_R_FLOW_ACTIVE);
	}
	same = f->label == label;
	/* Written again each time: see label_to_tell(). */
	flow_set_label(key, f, label, 0);
	f->stage = XM_STAGE_READY;
	if (!same)
		fast_drop_out(key);
}

/*
 * Other node: an overlay packet of the reverse flow without a label. The owner tells the
 * label in each of them while it would restore its packets, so it would not, and may give the
 * label to another flow after a rest: not one packet more with it.
 */
static __always_inline void label_unread(const struct xm_flow_key *key, struct xm_flow *f)
{
	if (f->stage != XM_STAGE_READY)
		return;
	flow_unready(key, f);
	note(XM_R_FLOW_DEMOTED);
}

static __always_inline int is_label(__u16 port)
{
	return port >= XM_LABEL_MIN && port <= XM_LABEL_MAX;
}

/**
 * observe_ingress() - an overlay packet arrives at the NIC
 * @o: its outside
 * @t: its inside
 *
 * Proves nothing by itself; the CNI's consent shows when the packet reaches the pod.
 */
static __always_inline void observe_ingress(struct __sk_buff *skb, const struct outer *o,
					    const struct tunneled *t)
{
	__u16 label = bpf_ntohs(o->sport);
	struct xm_flow_key key;
	__u32 peer_idx = 0, now;
	struct xm_flow *f;
	struct xm_peer *p;

	if (!is_node_addr(o->daddr))
		return;
	p = peer_find(o->saddr, &peer_idx);
	if (!p) {
		report_stranger(skb, o->saddr, o->daddr, 0);
		return;
	}
	now = now32();
	p->seen = now;
	report_wanted(skb, p, o->saddr, o->daddr, 0);
	if (t->idx == XM_PROTOS || t->tcp_flags)
		return;
	flow_key_reverse(&key, &t->key);
	f = flow_find(&key);
	if (!f) {
		/* Its owner has admitted it, and would wait for our answer in vain while fewer
		 * packets are enough over there than here. */
		if (is_label(label) && !is_owner(o->daddr, o->saddr) && peer_up(p, t->idx) &&
		    admit_is_cold(&key))
			admit_now(&key, now);
		return;
	}
	if (f->ended || f->peer != o->saddr || f->peer_gen != p->gen)
		return;
	f->nic_in = now;
	if (is_owner(o->daddr, o->saddr))
		return;
	if (!is_label(label))
		label_unread(&key, f);
	else if (peer_up(p, t->idx))
		label_read(&key, f, label, t->idx, now);
}

static __always_inline int eth_equal(const __u8 *a, const __u8 *b)
{
	__u32 x[3], y[3];

	memcpy(x, a, XM_ETH_LEN);
	memcpy(y, b, XM_ETH_LEN);
	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2];
}

/* A packet that neither ends a connection nor belongs to anything that has an entry. */
static __always_inline int delivers_cold(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	return data + TCP_OFF <= end && admit_frame_is_cold(data + 12, TCP_SYN | TCP_FIN | TCP_RST);
}

/**
 * observe_delivery() - the CNI delivers a packet to a pod
 *
 * Runs at the pod's host-side interface, for packets from anywhere.
 */
static __always_inline void observe_delivery(struct __sk_buff *skb)
{
	__u32 ifindex = skb->ifindex, now;
	struct xm_flow_key key;
	struct xm_label *e;
	struct xm_flow *f;
	struct parsed pkt;
	struct xm_pod pod, *known;
	struct xm_peer *p;
	int same;

	if (delivers_cold(skb) || parse_frame(skb, &pkt))
		return;
	flow_key_reverse(&key, &pkt.key);
	if (pkt.tcp_flags) {
		flow_tcp_edge(&key, pkt.tcp_flags, ifindex);
		return;
	}
	if (observe_local(skb, &pkt, &key))
		return;
	f = flow_find(&key);
	if (!f || f->stage == XM_STAGE_LOCAL)
		return;
	/* A pod has its flows on one interface, the one it sends from; when that goes the daemon
	 * deletes them. Elsewhere it is a copy that the bridge flooded, or a pod that has frames
	 * to its neighbour's address delivered to itself. */
	if (f->pod_ifindex != ifindex)
		return;
	now = now32();
	if (now - f->nic_in >= cfg.renew)
		return;

	/* A node that is not up may be without its guard: what it sends with a label that we
	 * still know could be anybody's. The label ends with the lease that it has. (Of two
	 * nodes that lose sight of each other the one that notices later goes on sending for
	 * up to a second. One that says goodbye is down at once.) */
	p = peer_slot(f->peer_idx);
	if (!p || p->gen != f->peer_gen || !peer_up_or_late(p, pkt.idx))
		return;

	memcpy(pod.eth, pkt.eth, XM_ETH_LEN);
	known = bpf_map_lookup_elem(&xm_pods, &ifindex);
	if (!known || !eth_equal(known->eth, pod.eth))
		bpf_map_update_elem(&xm_pods, &ifindex, &pod, BPF_ANY);
	f->in_until = now + cfg.in_lease;
	note(XM_R_LEASE_IN);
	if (!f->label)
		return;
	e = label_find(f->peer, f->label, pkt.idx);
	if (!e || !label_is_flow(e, &key))
		return;
	same = eth_equal(e->eth, pod.eth) && e->pod_ifindex == ifindex;
	memcpy(e->eth, pod.eth, XM_ETH_LEN);
	e->pod_ifindex = ifindex;
	e->until = f->in_until;
	if (!same)
		label_forget(e, e->tag);
}

#endif
