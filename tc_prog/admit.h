/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which flows are worth an entry.
 *
 * Theory of operation. Most connections are over before a label is agreed, and what is looked up,
 * written and thrown away for them makes the overlay dearer. So a pod's packets are counted first, in
 * an array of cells that is indexed by a hash of the tuple, the same for both directions; flows
 * share cells as chance has it. With admit_after packets, none of them a second behind the one before,
 * the cell is ADMITTED: from then on its flows are learned, as observe.h and local.h say.
 *
 *   An entry in xm_flows always has an ADMITTED cell.
 *
 * That is what makes a cell worth more than a count: of a packet whose cell is not ADMITTED, nobody
 * needs to look for an entry, and it is let go after some sixty instructions. Who makes an entry admits
 * its cell before; counting cannot undo that, since it swaps. The daemon takes a cell back that has had
 * no entry for two of its walks over xm_flows, and that nobody has admitted meanwhile.
 *
 * A pod's packet that finds an entry nevertheless, off the fast path, admits its cell.
 *
 * That two flows share a cell costs only work: one of them is learned sooner.
 */
#ifndef XM_ADMIT_H
#define XM_ADMIT_H

#include "maps.h"

/* Either direction's key. */
static __always_inline struct xm_admit *admit_cell(const struct xm_flow_key *key)
{
	__u32 slot = xm_admit_slot(key, cfg.label_mask);

	return bpf_map_lookup_elem(&xm_admit, &slot);
}

/* There is no entry for this tuple, in either direction. */
static __always_inline int admit_is_cold(const struct xm_flow_key *key)
{
	const struct xm_admit *c = admit_cell(key);

	return c && c->count != XM_ADMITTED;
}

/**
 * admit_frame_is_cold() - the same for an IPv4 packet that still is where it came, and is nothing but
 * that of a flow: TCP without one of @flags, or UDP
 * @type: its Ethernet type; headers without options up to and with TCP's are readable behind it
 *
 * No for whatever else it is. Says nothing about whether the packet is well formed.
 */
static __always_inline int admit_frame_is_cold(const void *type, __u8 flags)
{
	const void *ip = type + 2, *l4 = ip + sizeof(struct iphdr);
	const __be32 *addrs = ip + offsetof(struct iphdr, saddr);
	const __be16 *ports = l4;
	const struct xm_admit *c;
	__u32 frag, slot;

	/* Type to TOS; fragment to protocol, without the TTL */
	if ((*(const __u32 *)type & bpf_htonl(0xffffff00)) != bpf_htonl(ETH_P_IP << 16 | 0x4500))
		return 0;
	frag = *(const __u32 *)(ip + 6) & bpf_htonl((IP_MF | IP_OFFSET) << 16 | 0xff);
	if (frag == bpf_htonl(IPPROTO_TCP)) {
		if (*(const __u8 *)(l4 + TCP_FLAGS_OFF) & flags)
			return 0;
	} else if (frag != bpf_htonl(IPPROTO_UDP)) {
		return 0;
	}
	slot = xm_admit_hash(addrs[0] ^ addrs[1], ports[0] ^ ports[1], cfg.label_mask);
	c = bpf_map_lookup_elem(&xm_admit, &slot);
	return c && c->count != XM_ADMITTED;
}

static __always_inline void admit_set(struct xm_admit *c, __u64 was, __u32 count, __u32 now)
{
	struct xm_admit to = { .count = count, .at = now };

	/* Another CPU was here: one packet more or less. */
	__sync_val_compare_and_swap(&c->whole, was, to.whole);
}

/**
 * admit_count() - a pod sends a packet that has no entry: one step nearer to having one
 *
 * Not inlined: out of the fast path's way.
 */
XM_CALLED enum xm_reason admit_count(struct __sk_buff *skb, const struct xm_flow_key *key)
{
	struct xm_admit *c = admit_cell(key), was;
	__u32 now = now32(), n = skb->gso_segs;

	if (!c)
		return XM_R_NO_FLOW;
	was.whole = c->whole;
	if (was.count == XM_ADMITTED)
		return XM_R_NO_FLOW;
	if (!n)
		n = 1;
	if (now - was.at < cfg.second)
		n += was.count;
	admit_set(c, was.whole, n >= admit_after ? XM_ADMITTED : n, now);
	return XM_R_NO_FLOW;
}

/*
 * SYN, FIN or RST: what was counted was another connection's, or what comes behind it would be the
 * last of this one. Return: whether there is no entry for it to end.
 */
static __always_inline int admit_restart(const struct xm_flow_key *key)
{
	struct xm_admit *c = admit_cell(key), was;

	if (!c)
		return 0;
	was.whole = c->whole;
	if (was.count == XM_ADMITTED)
		return 0;
	if (was.count)
		admit_set(c, was.whole, 0, was.at);
	return 1;
}

/* To be called before an entry is made. */
static __always_inline void admit_now(const struct xm_flow_key *key, __u32 now)
{
	struct xm_admit *c = admit_cell(key), to = { .count = XM_ADMITTED, .at = now };

	if (c)
		__sync_lock_test_and_set(&c->whole, to.whole);
}

#endif
