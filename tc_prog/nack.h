/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * NACK: "I cannot restore this label".
 *
 * For TCP it is a RST with the ports swapped, since that is also what the stack of a
 * node without programs answers, and a RST never takes the fast path. For UDP it is a
 * control message. Both fit into the packet that is refused, which is turned round in
 * place.
 */
#ifndef XM_NACK_H
#define XM_NACK_H

#include "csum.h"
#include "flow.h"

/* The pad aligns what follows the Ethernet header; the frame starts behind it. */
struct nack_frame {
	__u8 pad[2];
	struct ethhdr eth;
	struct iphdr ip;
	union {
		struct {
			__be16 source;
			__be16 dest;
			__be32 seq;
			__be32 ack;
			__u8 doff;
			__u8 flags;
			__be16 window;
			__be16 check;
			__be16 urg;
		} tcp;
		struct {
			struct udphdr udp;
			struct xm_wire_nack nack;
		} udp;
	};
};

#define NACK_LEN 54

_Static_assert(sizeof(struct nack_frame) == NACK_LEN + 2, "both kinds of NACK have one length");

static __always_inline __u32 sum_words(const void *data, __u32 len, __u32 sum)
{
	const __u16 *w = data;

	for (__u32 i = 0; i < len / 2; i++)
		sum += w[i];
	return sum;
}

/**
 * nack_send() - turn the refused packet into its answer and send it back
 * @label: refused label
 *
 * Return: the reason for the packet's verdict: @why when it must be dropped (no answer
 * within the rate limit, or a helper failed), XM_R_NACK_TX when it is to be redirected
 * to where it came from.
 */
static __always_inline enum xm_reason nack_send(struct __sk_buff *skb, struct xm_peer *p,
						__u16 label, enum xm_reason why)
{
	const __u32 l4_len = NACK_LEN - sizeof(struct ethhdr) - sizeof(struct iphdr);
	struct nack_frame in = {}, out = {};
	__u32 sum;
	__u16 *check;
	int partial;

	if (!peer_rate_ok(p, XM_RATE_NACK_TX, XM_NACKS_PER_SEC)) {
		note(XM_R_NACK_LIMIT);
		return why;
	}
	/* A UDP packet may be shorter than its NACK. */
	if (skb->len < NACK_LEN && bpf_skb_change_tail(skb, NACK_LEN, 0))
		return why;
	if (bpf_skb_load_bytes(skb, 0, &in.eth, NACK_LEN))
		return why;
	/* Shortens, and makes an ordinary packet of a GSO one. */
	if (skb->len > NACK_LEN && bpf_skb_change_tail(skb, NACK_LEN, 0))
		return why;

	memcpy(out.eth.h_dest, in.eth.h_source, ETH_ALEN);
	memcpy(out.eth.h_source, in.eth.h_dest, ETH_ALEN);
	out.eth.h_proto = bpf_htons(ETH_P_IP);
	*(__u8 *)&out.ip = 0x45;
	out.ip.tot_len = bpf_htons(NACK_LEN - sizeof(struct ethhdr));
	out.ip.frag_off = bpf_htons(0x4000); /* DF */
	out.ip.ttl = 64;
	out.ip.protocol = in.ip.protocol;
	out.ip.saddr = in.ip.daddr;
	out.ip.daddr = in.ip.saddr;
	out.ip.check = ~csum_fold32(sum_words(&out.ip, sizeof(out.ip), 0));

	if (in.ip.protocol == IPPROTO_TCP) {
		out.tcp.source = in.tcp.dest;
		out.tcp.dest = in.tcp.source;
		out.tcp.seq = in.tcp.ack;
		out.tcp.doff = 5 << 4;
		out.tcp.flags = TCP_RST;
		check = &out.tcp.check;
	} else {
		out.udp.udp.source = cfg.masq_port;
		out.udp.udp.dest = cfg.masq_port;
		out.udp.udp.len = bpf_htons(l4_len);
		out.udp.nack.head.magic = bpf_htonl(XM_WIRE_MAGIC);
		out.udp.nack.head.version = XM_WIRE_VERSION;
		out.udp.nack.head.type = XM_WIRE_NACK;
		out.udp.nack.label = bpf_htons(label);
		out.udp.nack.proto = in.ip.protocol;
		out.udp.nack.reason = why;
		check = &out.udp.udp.check;
	}
	sum = (out.ip.saddr & 0xffff) + (out.ip.saddr >> 16) + (out.ip.daddr & 0xffff) +
	      (out.ip.daddr >> 16) + bpf_htons(out.ip.protocol) + bpf_htons(l4_len);
	/* A packet that came over a virtual wire may still want its checksum completed:
	 * from the same place, at the same offset, since the protocol is the same. */
	partial = csum_kind(skb, sizeof(out.eth) + sizeof(out.ip),
			    csum_field(in.ip.protocol == IPPROTO_TCP ? XM_TCP : XM_UDP)) ==
		  CSUM_PSEUDO;
	if (partial) {
		*check = csum_fold32(sum);
	} else {
		*check = ~csum_fold32(sum_words(&out.tcp, l4_len, sum));
		if (!*check)
			*check = 0xffff;
	}
	if (bpf_skb_store_bytes(skb, 0, &out.eth, NACK_LEN, BPF_F_INVALIDATE_HASH))
		return why;
	skb->mark = cfg.mark;
	note(why);
	return XM_R_NACK_TX;
}

/**
 * nack_digest() - a NACK from a peer about a label of ours
 * @p: who sent it, by its address
 * @hold: see flow_demote()
 *
 * Anybody who can write that address on a packet and guesses a label can send one, so no more are
 * believed than a peer sends, and of those with @hold few: a guesser gets through the labels once
 * in two minutes.
 */
static __always_inline void nack_digest(struct xm_peer *p, __u16 label, __u32 idx, int hold)
{
	struct xm_label *e = label_find(p->addr, label, idx);

	/* A node without programs answers each packet that was on its way: those cost nothing. */
	if (e && !hold && flow_is_off(e))
		return;
	if (!peer_rate_ok(p, XM_RATE_NACK_RX, XM_NACKS_PER_SEC)) {
		note(XM_R_NACK_UNHEEDED);
		return;
	}
	/* The verifier forgets what a test kept on the stack said of it. */
	barrier_var(e);
	if (!e)
		return;
	if (hold && !peer_rate_ok(p, XM_RATE_HOLD, XM_HOLDS_PER_SEC)) {
		note(XM_R_NACK_UNHEEDED);
		hold = 0;
	}
	flow_demote(e, hold);
}

#endif
