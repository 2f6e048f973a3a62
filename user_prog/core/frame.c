// SPDX-License-Identifier: GPL-2.0-only
/* Frames that the daemon itself sends. */
#include "frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define FRAME_TTL    64
#define FRAME_DF     0x4000
#define FRAME_WINDOW 0x4000 /* anything but 0: a closed window may look broken to a firewall */

struct frame_pseudo {
	__be32 saddr;
	__be32 daddr;
	uint8_t zero;
	uint8_t proto;
	__be16 len;
};

uint16_t frame_csum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *p = data;
	uint64_t s = sum;
	uint16_t w;

	for (; len >= sizeof(w); p += sizeof(w), len -= sizeof(w)) {
		memcpy(&w, p, sizeof(w));
		s += w;
	}
	if (len) {
		w = 0;
		memcpy(&w, p, 1);
		s += w;
	}
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

/* Checksum field of the transport header and payload at @l4, whose field is 0 now. */
static uint16_t frame_l4_csum(const struct frame_addr *a, uint8_t proto, const uint8_t *l4,
			      size_t len)
{
	struct frame_pseudo ph = {
		.saddr = a->saddr,
		.daddr = a->daddr,
		.proto = proto,
		.len = htons((uint16_t)len),
	};

	return (uint16_t)~frame_csum(l4, len, frame_csum(&ph, sizeof(ph), 0));
}

static void frame_udp(uint8_t *l4, const struct frame_addr *a, size_t len)
{
	struct udphdr uh = {
		.source = htons(a->sport),
		.dest = htons(a->dport),
		.len = htons((uint16_t)len),
	};

	memcpy(l4, &uh, sizeof(uh));
	uh.check = frame_l4_csum(a, IPPROTO_UDP, l4, len);
	/* 0 on the wire means "no checksum" (RFC 768) */
	if (!uh.check)
		uh.check = 0xffff;
	memcpy(l4, &uh, sizeof(uh));
}

static void frame_tcp(uint8_t *l4, const struct frame_addr *a, size_t len)
{
	struct tcphdr th = {
		.source = htons(a->sport),
		.dest = htons(a->dport),
		.seq = htonl(1),
		.ack_seq = htonl(1),
		.doff = sizeof(th) / 4,
		.ack = 1,
		.psh = 1,
		.window = htons(FRAME_WINDOW),
	};

	memcpy(l4, &th, sizeof(th));
	th.check = frame_l4_csum(a, IPPROTO_TCP, l4, len);
	memcpy(l4, &th, sizeof(th));
}

int frame_build(uint8_t *buf, size_t max, const struct frame_addr *a, unsigned int proto,
		const void *payload, size_t len)
{
	size_t hdr = proto == XM_TCP ? sizeof(struct tcphdr) : sizeof(struct udphdr);
	struct iphdr ih = {
		.version = 4,
		.ihl = sizeof(ih) / 4,
		.frag_off = htons(FRAME_DF),
		.ttl = FRAME_TTL,
		.protocol = proto == XM_TCP ? IPPROTO_TCP : IPPROTO_UDP,
		.saddr = a->saddr,
		.daddr = a->daddr,
	};
	const __be16 type = htons(ETH_P_IP);
	uint8_t *l3 = buf + ETH_HLEN;
	uint8_t *l4 = l3 + sizeof(ih);

	if (proto >= XM_PROTOS)
		return -EINVAL;
	if (len > UINT16_MAX - sizeof(ih) - hdr || max < ETH_HLEN + sizeof(ih) + hdr + len)
		return -EMSGSIZE;

	memcpy(buf, a->eth, XM_ETH_LEN);
	memcpy(buf + XM_ETH_LEN, &type, sizeof(type));

	ih.tot_len = htons((uint16_t)(sizeof(ih) + hdr + len));
	ih.check = (uint16_t)~frame_csum(&ih, sizeof(ih), 0);
	memcpy(l3, &ih, sizeof(ih));

	if (len)
		memcpy(l4 + hdr, payload, len);
	if (proto == XM_TCP)
		frame_tcp(l4, a, hdr + len);
	else
		frame_udp(l4, a, hdr + len);
	return (int)(ETH_HLEN + sizeof(ih) + hdr + len);
}
