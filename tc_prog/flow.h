/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flows: their life from the first overlay packet to FIN.
 *
 *   NEW    made at the NIC, by an overlay packet towards a peer that is up
 *   TOLD   owner only: both leases hold, a label is allotted and told in every overlay
 *          packet, the peer has not yet shown that it knows it
 *   READY  both nodes can restore
 *
 * A lease is granted where the CNI's decision shows: egress at the NIC, for a packet
 * that the pod sent shortly before under the same tuple; ingress where the CNI delivers
 * to the pod, for a packet that the NIC received shortly before under the same tuple. A
 * tuple that the node translates is never the same at both ends and so never gets both.
 */
#ifndef XM_FLOW_H
#define XM_FLOW_H

#include "admit.h"
#include "label.h"

static __always_inline struct xm_flow *flow_find(const struct xm_flow_key *key)
{
	return bpf_map_lookup_elem(&xm_flows, key);
}

/* It takes the overlay, until the peers agree (again). */
static __always_inline void flow_unready(const struct xm_flow_key *key, struct xm_flow *f)
{
	f->stage = XM_STAGE_NEW;
	fast_drop_out(key);
}

/* Both leases hold. */
static __always_inline int flow_seen(const struct xm_flow *f, __u32 now)
{
	return xm_before(now, f->out_until) && xm_before(now, f->in_until);
}

/* Back to what a new entry is, under a peer's present generation. */
static __always_inline void flow_start(const struct xm_flow_key *key, struct xm_flow *f,
				       __be32 node, __be32 peer, __u32 idx, __u16 gen, __u32 now)
{
	f->stage = XM_STAGE_NEW;
	f->label = 0;
	f->node = node;
	f->peer = peer;
	f->addr_csum =
		xm_csum_add(xm_csum_diff32(key->saddr, node), xm_csum_diff32(key->daddr, peer));
	f->out_until = now;
	f->in_until = now;
	f->renew_at = now;
	/* Far enough back to be nobody's evidence. */
	f->pod_out = now - 2 * cfg.lease;
	f->nic_in = now - 2 * cfg.lease;
	f->pod_ifindex = 0;
	f->peer_idx = idx;
	f->peer_gen = gen;
	f->ended = 0;
}

/*
 * SYN, FIN or RST was seen somewhere: off the fast path at once. A SYN starts the tuple
 * over. After FIN or RST the label stays for what the peer has in flight and for a
 * half-closed connection's other direction, until its lease is over.
 *
 * @ifindex: the pod's host-side interface; another pod cannot end this one's flows
 */
static __always_inline void flow_tcp_edge(const struct xm_flow_key *key, __u8 tcp_flags,
					  __u32 ifindex)
{
	struct xm_flow *f;
	__u32 now;

	if (admit_restart(key))
		return;
	f = flow_find(key);
	if (!f || (f->pod_ifindex && f->pod_ifindex != ifindex))
		return;
	if (tcp_flags & TCP_SYN) {
		now = now32();
		if (f->stage == XM_STAGE_LOCAL) {
			f->nic_ifindex = 0;
			f->pod_out = now - 2 * cfg.lease;
		} else {
			f->stage = XM_STAGE_NEW;
			label_release(key, f, XM_TCP, now);
		}
		f->out_until = now;
		f->in_until = now;
		f->ended = 0;
		fast_drop_out(key);
		note(XM_R_FLOW_RESET);
	} else if (!f->ended) {
		f->ended = 1;
		fast_drop_out(key);
		note(XM_R_FLOW_END);
	}
}

/* Whether the flow of this entry is on the overlay already. */
static __always_inline int flow_is_off(const struct xm_label *e)
{
	struct xm_flow_key key;
	struct xm_flow *f;

	label_key(e, &key);
	f = flow_find(&key);
	return f && f->stage != XM_STAGE_READY;
}

/*
 * A NACK about the flow of this entry: overlay until the peers agree anew. @hold: until the
 * flow's entry is recycled, because the path, not a table, is the matter.
 */
static __always_inline void flow_demote(struct xm_label *e, int hold)
{
	struct xm_flow_key key;
	struct xm_flow *f;

	label_key(e, &key);
	f = flow_find(&key);
	if (f && hold) {
		f->ended = 1;
		note(XM_R_FLOW_END);
	}
	if (f && f->stage == XM_STAGE_READY) {
		/* The owner keeps the label but has to tell it again: masqueraded packets
		 * that the peer sent before it lost the label are still arriving, and
		 * prove nothing. */
		f->stage = XM_STAGE_NEW;
		note(XM_R_FLOW_DEMOTED);
	}
	if (f)
		fast_drop_out(&key);
	label_unack(e);
}

/* Owner: the peer's first masqueraded packet with this label. */
static __always_inline void flow_acked(struct xm_label *e, __u16 label)
{
	struct xm_flow_key key;
	struct xm_flow *f;

	label_key(e, &key);
	f = flow_find(&key);
	if (!f || f->label != label)
		return;
	if (f->stage == XM_STAGE_TOLD) {
		f->stage = XM_STAGE_READY;
		note(XM_R_FLOW_ACTIVE);
	}
	if (f->stage == XM_STAGE_READY)
		e->acked = 1;
}

#endif
