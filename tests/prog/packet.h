/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames for the tests: built from a description, taken apart again, and checked by sums that
 * share nothing with the programs' arithmetic (whole sums modulo 65535, no differences).
 */
#ifndef PACKET_H
#define PACKET_H

#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>

#include "xm_types.h"

#define PKT_MAX 2048

#define OFF_IP	14
#define OFF_L4	34 /* without IP options */
#define OFF_TUN 42 /* VXLAN or Geneve header */

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define ACK 0x10

/* An address in network byte order, also in an initializer. */
#define ADDR(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define PORT(p)		 bpf_htons(p)

struct pkt {
	__u32 len;
	__u8 data[PKT_MAX];
};

/**
 * struct pkt_spec - an Ethernet + IPv4 + TCP, UDP or ICMP frame
 * @eth: destination and source
 * @t: addresses, ports and protocol
 * @ttl: 0 stands for 64
 * @frag: fragment field, host order; DF is 0x4000
 * @flags: of TCP
 * @ip_opts: words of IP options
 * @tcp_opts: words of TCP options
 * @payload: bytes behind the headers
 * @word: first two bytes of the payload
 * @no_csum: UDP without a checksum
 */
struct pkt_spec {
	__u8 eth[XM_ETH_LEN];
	struct xm_flow_key t;
	__u8 tos;
	__u8 ttl;
	__u16 id;
	__u16 frag;
	__u8 flags;
	__u8 ip_opts;
	__u8 tcp_opts;
	bool no_csum;
	__u16 payload;
	__u16 word;
	__u32 seq;
	__u32 ack;
};

/**
 * struct tunnel_spec - VXLAN or Geneve around a frame
 * @port: UDP destination, host order
 * @sport: UDP source, host order
 * @opts: words of Geneve options
 * @csum: with an outer UDP checksum
 */
struct tunnel_spec {
	__u8 eth[XM_ETH_LEN];
	__be32 saddr;
	__be32 daddr;
	__u16 type;
	__u16 port;
	__u16 sport;
	__u8 opts;
	bool csum;
};

void pkt_make(struct pkt *p, const struct pkt_spec *s);
void pkt_tunnel(struct pkt *out, const struct pkt *in, const struct tunnel_spec *t);

/** pkt_inner() - what a tunnel packet carries. Return: false when that is nothing */
bool pkt_inner(struct pkt *out, const struct pkt *in, __u16 type);

/** pkt_icmp() - an ICMP error of this type from @saddr to @daddr about a frame's packet */
void pkt_icmp(struct pkt *out, const struct pkt *about, __u8 type, __be32 saddr, __be32 daddr);

/** pkt_udp() - a UDP frame with this payload */
void pkt_udp(struct pkt *p, const __u8 eth[XM_ETH_LEN], const struct xm_flow_key *t,
	     const void *payload, __u32 len);

/** pkt_fix() - writes the checksums anew after bytes were changed */
void pkt_fix(struct pkt *p);

/** pkt_bad() - what is wrong with a frame's checksums and lengths, NULL when nothing is */
const char *pkt_bad(const struct pkt *p);

/**
 * pkt_tune() - makes the word at the start of the payload such that the UDP or TCP checksum
 * comes out as 0
 */
void pkt_tune(struct pkt_spec *s);

/** pkt_l4_rest() - what TCP's or UDP's whole sum is above a multiple of 65535; 0 if right */
__u32 pkt_l4_rest(const struct pkt *p);
__u32 pkt_ip_rest(const struct pkt *p);

void pkt_flip(struct xm_flow_key *out, const struct xm_flow_key *in);

/** pkt_diff() - to - from as a ones' complement difference of two 32-bit words, folded */
__u16 pkt_diff(__u32 from, __u32 to);

__u16 pkt_get16(const struct pkt *p, __u32 off);
void pkt_set16(struct pkt *p, __u32 off, __u16 val);

/** pkt_same() - CHECKs that two frames are equal and shows where they are not */
bool pkt_same(const struct pkt *got, const struct pkt *want, const char *what);

#endif
