/* SPDX-License-Identifier: GPL-2.0-only */
/* Checksums: precomputed differences, and full sums for the few packets we make. */
#ifndef XM_CSUM_H
#define XM_CSUM_H

#include "xm_bpf.h"

/* RFC 1624: apply a ones' complement difference to a checksum field. */
static __always_inline __u16 csum_apply(__u16 field, __u16 diff)
{
	return ~xm_csum_fold((__u32)(__u16)~field + diff);
}

static __always_inline __u16 csum_fold32(__u32 sum)
{
	return xm_csum_fold((sum & 0xffff) + (sum >> 16));
}

/**
 * l4_csum_update() - after addresses and ports changed by precomputed differences
 * @off: offset of the checksum field
 *
 * The two calls differ because with CHECKSUM_PARTIAL the field holds only the sum of the
 * pseudo-header: it follows an address change and must not follow a port change. The
 * helper knows (net/core/filter.c, inet_proto_csum_replace_by_diff()). A UDP checksum of 0
 * stays 0.
 *
 * Invalidates packet pointers. Return: 0, or a negative error with the packet half changed.
 */
static __always_inline long l4_csum_update(struct __sk_buff *skb, __u32 off, __u32 idx,
					   __u16 addr_diff, __u16 port_diff)
{
	__u64 flags = idx == XM_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	long err;

	err = bpf_l4_csum_replace(skb, off, 0, addr_diff, BPF_F_PSEUDO_HDR | flags);
	if (err)
		return err;
	return bpf_l4_csum_replace(skb, off, 0, port_diff, flags);
}

/* skb->ip_summed, which __sk_buff does not show. A probe read: slow path only. */
static __always_inline int skb_csum_partial(struct __sk_buff *skb)
{
	struct sk_buff *k = (struct sk_buff *)skb;

	return BPF_CORE_READ_BITFIELD_PROBED(k, ip_summed) == CHECKSUM_PARTIAL;
}

/* Where CHECKSUM_PARTIAL starts to sum, as an offset from the Ethernet header. */
static __always_inline __u32 skb_csum_start(struct __sk_buff *skb)
{
	struct sk_buff *k = (struct sk_buff *)skb;

	return BPF_CORE_READ(k, csum_start) -
	       (__u32)(BPF_CORE_READ(k, data) - BPF_CORE_READ(k, head));
}

#endif
