/* SPDX-License-Identifier: GPL-2.0-only */
/* Checksums: precomputed differences, and full sums for the few packets we make. */
#ifndef XM_CSUM_H
#define XM_CSUM_H

#include "xm_bpf.h"

/*
 * RFC 1624: apply a ones' complement difference to a checksum field. Its equation 3 is
 * ~(~field + diff); as the complement is what is missing to 65535, that is field - diff with the
 * borrow taken off once more.
 */
static __always_inline __u16 csum_apply(__u16 field, __u16 diff)
{
	__s64 d = (__s64)field - diff;

	return (__u16)(d + (d >> 63));
}

static __always_inline __u16 csum_fold32(__u32 sum)
{
	return xm_csum_fold((sum & 0xffff) + (sum >> 16));
}

/* What a packet's L4 checksum field holds, from the kernel's bookkeeping. */
enum csum_kind {
	CSUM_WHOLE,    /* the checksum, or 0 for none (UDP) */
	CSUM_PSEUDO,   /* sum of the pseudo-header only: completed where the packet leaves */
	CSUM_COUNTED,  /* the checksum, and skb->csum has counted the packet's bytes */
	CSUM_ELSEWHERE /* something else in the packet is completed where it leaves */
};

/* What is not CHECKSUM_PARTIAL. */
static __always_inline enum csum_kind csum_kind_whole(struct __sk_buff *skb, __u32 summed,
						      __u32 field)
{
	if (summed == CHECKSUM_NONE && field == offsetof(struct udphdr, check) && skb->gso_size)
		return CSUM_PSEUDO;
	return summed == CHECKSUM_COMPLETE ? CSUM_COUNTED : CSUM_WHOLE;
}

/* csum_start and csum_offset in one word, as the kernel has them. */
static __always_inline __u32 csum_place(__u32 start, __u32 offset)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (offset << 16) + start;
#else
	return (start << 16) + offset;
#endif
}

/* csum_kind() where the kernel has no bpf_cast_to_kern_ctx(). */
XM_CALLED enum csum_kind csum_kind_probed(struct __sk_buff *skb, __u32 l4, __u32 field)
{
	struct sk_buff *k = (struct sk_buff *)skb;
	__u32 summed = BPF_CORE_READ_BITFIELD_PROBED(k, ip_summed);

	if (summed == CHECKSUM_PARTIAL)
		return BPF_CORE_READ(k, csum) == csum_place((__u32)(BPF_CORE_READ(k, data) -
								    BPF_CORE_READ(k, head)) +
								    l4,
							    field)
			       ? CSUM_PSEUDO
			       : CSUM_ELSEWHERE;
	return csum_kind_whole(skb, summed, field);
}

/**
 * csum_kind() - of a frame whose L4 header is at @l4 and its checksum field at @l4 + @field
 *
 * CHECKSUM_PARTIAL alone does not mean that this field is the one to be completed. A
 * tunnel inside the pod leaves a whole outer checksum and has the inner one completed
 * (local checksum offload); and a pod with CAP_NET_RAW chooses both numbers
 * (PACKET_VNET_HDR), so that the NIC would write a sum of the pod's choice over a
 * rewritten header.
 *
 * UDP that a socket leaves to be segmented (UDP_SEGMENT) has the pseudo-header's sum in any
 * case, and from an interface that does not checksum it says CHECKSUM_NONE nevertheless
 * (udp_send_skb(), since 6.11; before, sendmsg() failed). Only mode rpeer sees such packets:
 * elsewhere the pod's interface has segmented them. What GRO makes of received packets is
 * CHECKSUM_PARTIAL or CHECKSUM_UNNECESSARY.
 */
static __always_inline enum csum_kind csum_kind(struct __sk_buff *skb, __u32 l4, __u32 field)
{
	struct sk_buff *k;
	__u32 summed;

	if (!bpf_cast_to_kern_ctx)
		return csum_kind_probed(skb, l4, field);
	k = bpf_cast_to_kern_ctx(skb);
	summed = SKB_IP_SUMMED(k);
	if (summed == CHECKSUM_PARTIAL)
		return k->csum == csum_place((__u32)(k->data - k->head) + l4, field)
			       ? CSUM_PSEUDO
			       : CSUM_ELSEWHERE;
	return csum_kind_whole(skb, summed, field);
}

/* Offset of the checksum field in the L4 header. */
static __always_inline __u32 csum_field(__u32 idx)
{
	return idx == XM_TCP ? offsetof(struct tcphdr, check) : offsetof(struct udphdr, check);
}

/* The field in the packet, NULL when it is not there. The frame was checked before; the
 * verifier does not remember which check belongs to which protocol. */
static __always_inline __u16 *csum_ptr(struct __sk_buff *skb, void *l4, __u32 idx)
{
	__u16 *check = l4 + csum_field(idx);

	return (void *)(check + 1) > (void *)(long)skb->data_end ? NULL : check;
}

/**
 * l4_csum_update() - after addresses and ports changed by precomputed differences
 * @check: the field in the packet
 * @kind: from csum_kind(), not CSUM_ELSEWHERE
 *
 * A sum of the pseudo-header follows the addresses and not the ports. A UDP checksum of 0
 * stays 0.
 *
 * skb->csum covers the packet from its IP header on. There the addresses are made up for by the
 * IP header's checksum; the ports, and what this adds to the field, are not.
 */
static __always_inline void l4_csum_update(struct __sk_buff *skb, __u16 *check, enum csum_kind kind,
					   __u32 idx, __u16 addr_diff, __u16 port_diff)
{
	__u16 sum = *check;

	if (kind == CSUM_PSEUDO) {
		*check = xm_csum_add(sum, addr_diff);
		return;
	}
	if (idx == XM_UDP && !sum) {
		if (kind == CSUM_COUNTED)
			bpf_csum_update(skb, port_diff);
		return;
	}
	sum = csum_apply(sum, xm_csum_add(addr_diff, port_diff));
	*check = idx == XM_UDP && !sum ? 0xffff : sum;
	if (kind == CSUM_COUNTED)
		bpf_csum_update(skb, (__u16)~addr_diff);
}

#endif
