/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames: what is in them, and how they are readdressed. No state, no system calls.
 *
 * Partial checksums. What a socket sends over veth has, in the place of the TCP or UDP checksum, the
 * sum of the pseudo-header only: the kernel remembers in the skb that the rest is to be added where
 * the packet leaves for a wire. XDP sees the bytes without the skb, so nothing tells. The field itself
 * does: it is partial when it is the sum of the pseudo-header. A whole checksum has this value by
 * chance in one frame of 65 535, and then completing it changes nothing: the sum over the segment,
 * with the pseudo-header's sum S in the field, is ~S when the checksum is right, and its
 * complement is S again. So frames are neither spoiled by a wrong guess nor is there a right one to
 * miss.
 */
#ifndef AFXDP_PKT_H
#define AFXDP_PKT_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "why.h"

#define PKT_MIN	    60	   /* a frame on a wire without its check sequence */
#define PKT_TAGGED  0x1000 /* in pkt.vlan: there is a tag, even if its number is 0 */
#define PKT_HEADERS 14

enum pkt_kind {
	PKT_ARP,
	PKT_TCP,
	PKT_UDP,
	PKT_ECHO,	/* ICMP echo request: its identifier is the source's port */
	PKT_ECHO_REPLY, /* its identifier is the destination's port */
	PKT_ERROR	/* ICMP error about a packet that we have sent */
};

/**
 * struct pkt - a frame that was understood
 * @data: of the frame
 * @end: where the IP packet ends; padding behind it is not part of it
 * @l3, @l4: offsets of the headers
 * @vlan: 0, or PKT_TAGGED and the number
 * @proto: the IP protocol
 * @tcp_flags: as on the wire (SYN is 2), 0 when it is not TCP
 * @partial: the TCP or UDP checksum is the pseudo-header's sum
 * @saddr, @daddr, @sport, @dport: in network order. Of PKT_ERROR the ports are those of the packet
 *	that the error is about, and its addresses are @about_saddr and @about_daddr.
 * @about_proto: its protocol
 */
struct pkt {
	uint8_t *data;
	uint32_t end;
	uint16_t l3, l4;
	uint16_t vlan;
	uint8_t proto;
	uint8_t tcp_flags;
	uint8_t about_proto;
	bool partial;
	enum pkt_kind kind;
	__be32 saddr, daddr;
	__be16 sport, dport;
	__be32 about_saddr, about_daddr;
};

/** pkt_parse() - @len readable bytes at @data. Return: WHY_OK, or why it is not forwarded. */
enum why pkt_parse(struct pkt *p, uint8_t *data, uint32_t len);

/* From where and to where a packet is to go; ports may be ICMP identifiers. */
struct pkt_to {
	__be32 saddr, daddr;
	__be16 sport, dport;
};

/**
 * pkt_rewrite() - readdresses a packet (TCP, UDP, echo), takes a hop off its TTL
 *
 * All checksums are updated by what changed, so that one that was wrong stays wrong, and a partial
 * one partial. A UDP checksum of 0 (none) stays 0.
 */
void pkt_rewrite(struct pkt *p, const struct pkt_to *to);

/**
 * pkt_rewrite_error() - the same for an ICMP error
 * @to: of the outer packet; its ports are not looked at
 * @about: what the packet that the error is about had as its receiver sent it
 */
void pkt_rewrite_error(struct pkt *p, const struct pkt_to *to, const struct pkt_to *about);

/** pkt_complete() - makes a partial checksum whole */
void pkt_complete(struct pkt *p);

/** pkt_csum_offset() - of the checksum's field in the TCP or UDP header */
static inline uint16_t pkt_csum_offset(const struct pkt *p)
{
	return p->kind == PKT_TCP ? 16 : 6;
}

#endif
