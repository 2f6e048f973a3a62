/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Labels: the ingress half of a flow.
 *
 * Theory of operation. A slot's tag says which (peer, label, protocol) it holds. A slot
 * is claimed by swapping a busy tag into a free one, filled, and published by swapping
 * in the used tag: a reader that sees its tag sees a complete entry. It is given up by
 * noting the time and clearing the tag, and then rests for cfg.quarantine: no program
 * run that still reads the old entry, and no packet in flight that carries the old
 * label, can meet its next user. At the other node a slot may also be rewritten when the
 * owner tells its label for another flow: the owner has let it rest before.
 */
#ifndef XM_LABEL_H
#define XM_LABEL_H

#include "fast.h"

static __always_inline struct xm_label *label_slot(__be32 peer, __u16 label, __u32 idx)
{
	__u32 slot = xm_label_slot(peer, label, idx, cfg.label_mask);

	return bpf_map_lookup_elem(&xm_labels, &slot);
}

/* The complete entry of a label, NULL when there is none. */
static __always_inline struct xm_label *label_find(__be32 peer, __u16 label, __u32 idx)
{
	struct xm_label *e = label_slot(peer, label, idx);
	__u8 proto = idx == XM_TCP ? IPPROTO_TCP : IPPROTO_UDP;

	return e && e->tag == xm_tag(peer, label, proto, XM_TAG_USED) ? e : NULL;
}

/* Whether an entry restores to the flow that the local pod sends as @key. */
static __always_inline int label_is_flow(const struct xm_label *e, const struct xm_flow_key *key)
{
	return e->saddr == key->daddr && e->daddr == key->saddr && e->sport == key->dport &&
	       e->dport == key->sport;
}

static __always_inline void label_key(const struct xm_label *e, struct xm_flow_key *key)
{
	key->saddr = e->daddr;
	key->daddr = e->saddr;
	key->sport = e->dport;
	key->dport = e->sport;
	key->proto = e->tag >> 8 & 0xff;
	key->pad[0] = 0;
	key->pad[1] = 0;
	key->pad[2] = 0;
}

/* What was granted for this label's packets is taken back; the change to @e comes before. */
static __always_inline void label_forget(const struct xm_label *e, __u64 tag)
{
	fast_drop_in(e, tag >> 32, tag >> 16 & 0xffff,
		     (tag >> 8 & 0xff) == IPPROTO_TCP ? XM_TCP : XM_UDP);
}

static __always_inline void label_free(struct xm_label *e, __u32 now)
{
	/* Never 0, which means never used, and never in the future. */
	e->freed_at = (now - 1) | 1;
	label_forget(e, __sync_lock_test_and_set(&e->tag, 0));
}

/* Owner: the peer's next masqueraded packet has to be seen. */
static __always_inline void label_unack(struct xm_label *e)
{
	e->acked = 0;
	label_forget(e, e->tag);
}

/* Gives up the label of a flow, if the flow still holds it. */
static __always_inline void label_release(const struct xm_flow_key *key, struct xm_flow *f,
					  __u32 idx, __u32 now)
{
	struct xm_label *e;

	if (!f->label)
		return;
	e = label_find(f->peer, f->label, idx);
	if (e && label_is_flow(e, key))
		label_free(e, now);
	f->label = 0;
}

/**
 * label_install() - hold @label for a flow, so that the peer's packets can be restored
 * @pod: Ethernet header towards the pod
 * @owner: this node allots
 *
 * Return: 0 when the slot now holds the flow (perhaps it already did), 1 when the slot
 * is in use or resting.
 */
static __always_inline int label_install(const struct xm_flow_key *key, const struct xm_flow *f,
					 const struct xm_pod *pod, __u16 label, __u32 idx,
					 int owner, __u32 now)
{
	__u64 used = xm_tag(f->peer, label, key->proto, XM_TAG_USED), was = 0;
	__be16 sport, dport;
	struct xm_label *e;

	e = label_slot(f->peer, label, idx);
	if (!e)
		return 1;
	if (e->tag == used && label_is_flow(e, key)) {
		/* Ours from before the flow's entry was lost: it has to be told again. */
		if (owner) {
			label_unack(e);
			e->since = now;
		}
		return 0;
	}
	if (e->tag == used && !owner && !e->owner) {
		/* The owner has given the label to another flow. It let it rest before, so
		 * nothing with the old meaning is under way. */
		was = used;
	} else if (e->tag || (e->freed_at && now - e->freed_at < cfg.quarantine)) {
		return 1;
	}
	if (__sync_val_compare_and_swap(&e->tag, was, used - XM_TAG_USED + XM_TAG_BUSY) != was)
		return 1;

	/* What arrives carries the ports of the peer's direction. */
	sport = owner ? cfg.masq_port : bpf_htons(XM_LABEL_PORT_BASE + label);
	dport = owner ? bpf_htons(XM_LABEL_PORT_BASE + label) : cfg.masq_port;
	e->until = f->in_until;
	e->pod_ifindex = f->pod_ifindex;
	e->saddr = key->daddr;
	e->daddr = key->saddr;
	e->sport = key->dport;
	e->dport = key->sport;
	memcpy(e->eth, pod->eth, XM_ETH_LEN);
	e->node = f->node;
	e->addr_csum =
		xm_csum_add(xm_csum_diff32(f->peer, e->saddr), xm_csum_diff32(f->node, e->daddr));
	e->port_csum =
		xm_csum_add(xm_csum_diff32(sport, e->sport), xm_csum_diff32(dport, e->dport));
	e->owner = owner;
	e->acked = 0;
	e->since = now;
	__sync_lock_test_and_set(&e->tag, used);
	if (was)
		label_forget(e, was);
	return 0;
}

/* Writes what a masqueraded packet of this flow looks like. */
static __always_inline void flow_set_label(const struct xm_flow_key *key, struct xm_flow *f,
					   __u16 label, int owner)
{
	f->sport = owner ? bpf_htons(XM_LABEL_PORT_BASE + label) : cfg.masq_port;
	f->dport = owner ? cfg.masq_port : bpf_htons(XM_LABEL_PORT_BASE + label);
	f->port_csum = xm_csum_add(xm_csum_diff32(key->sport, f->sport),
				   xm_csum_diff32(key->dport, f->dport));
	f->label = label;
}

/* murmur3's finalizer over the tuple, whole behind the ports: with less of it flows that differ
 * in nothing else would try the same few labels. Differs from one load to the next. */
static __always_inline __u32 label_hash(const struct xm_flow_key *key)
{
	__u32 h = cfg.seed ^ key->saddr;

	h = (h ^ h >> 16) * 0x85ebca6bu;
	h ^= key->daddr;
	h = (h ^ h >> 13) * 0xc2b2ae35u;
	h ^= (__u32)key->sport << 16 | key->dport;
	h = (h ^ h >> 16) * 0x85ebca6bu;
	h = (h ^ h >> 13) * 0xc2b2ae35u;
	return h ^ h >> 16;
}

/**
 * label_allot() - owner: choose and hold a label
 *
 * The first two choices are always the same, so that a flow whose entry was lost finds the label
 * that it still holds. The others change with time: nearly all labels of a peer can be used,
 * since a flow without one chooses again at each packet.
 *
 * Return: XM_R_LABEL_ALLOTTED, or XM_R_LABEL_NONE_FREE.
 */
static __always_inline enum xm_reason label_allot(const struct xm_flow_key *key, struct xm_flow *f,
						  const struct xm_pod *pod, __u32 idx, __u32 now)
{
	__u32 h = label_hash(key);
	__u16 label;

	for (int i = 0; i < XM_LABEL_TRIES; i++) {
		label = h & XM_LABEL_MAX;
		if (label < XM_LABEL_MIN)
			label = XM_LABEL_MAX;
		if (!label_install(key, f, pod, label, idx, 1, now)) {
			flow_set_label(key, f, label, 1);
			return XM_R_LABEL_ALLOTTED;
		}
		h += h >> 15 | 1;
		if (i == XM_LABEL_TRIES / 2 - 1) {
			h = (h ^ now / cfg.second) * 0x85ebca6bu;
			h ^= h >> 16;
		}
	}
	return XM_R_LABEL_NONE_FREE;
}

#endif
