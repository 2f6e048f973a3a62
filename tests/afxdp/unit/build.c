// SPDX-License-Identifier: GPL-2.0-only
#include "build.h"

#include <string.h>

static uint16_t sum(const uint8_t *p, size_t len, uint16_t s)
{
	size_t i;

	for (i = 0; i < len; i++) {
		uint32_t x = s + (i % 2 ? (uint32_t)p[i] : (uint32_t)p[i] << 8);

		s = (uint16_t)(x > 0xffff ? x - 0xffff : x);
	}
	return s;
}

static void be16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void be32(uint8_t *p, uint32_t v)
{
	be16(p, (uint16_t)(v >> 16));
	be16(p + 2, (uint16_t)v);
}

static uint32_t ethernet(uint8_t *f, const uint8_t *dst, const uint8_t *src, uint16_t vlan,
			 uint16_t type)
{
	uint32_t at = 12;

	memcpy(f, dst, 6);
	memcpy(f + 6, src, 6);
	if (vlan) {
		be16(f + at, 0x8100);
		be16(f + at + 2, vlan & 0xfff);
		at += 4;
	}
	be16(f + at, type);
	return at + 2;
}

static void ipv4(uint8_t *ip, const struct build *b, uint16_t len)
{
	memset(ip, 0, 20);
	ip[0] = 0x45;
	ip[1] = 0x02; /* ECN has to survive */
	be16(ip + 2, len);
	be16(ip + 4, 0x1234);
	be16(ip + 6, 0x4000);
	ip[8] = b->ttl ? b->ttl : 64;
	ip[9] = b->proto;
	be32(ip + 12, b->saddr);
	be32(ip + 16, b->daddr);
	be16(ip + 10, (uint16_t)~sum(ip, 20, 0));
}

static uint16_t pseudo(const uint8_t *ip, uint32_t len)
{
	uint8_t p[12] = { 0 };

	memcpy(p, ip + 12, 8);
	p[9] = ip[9];
	be16(p + 10, (uint16_t)len);
	return sum(p, sizeof(p), 0);
}

static void put_csum(uint8_t *ip, uint8_t *field, uint32_t len, enum build_csum kind)
{
	uint16_t s;

	be16(field, 0);
	if (kind == BUILD_NONE)
		return;
	if (kind == BUILD_PARTIAL) {
		be16(field, pseudo(ip, len));
		return;
	}
	s = (uint16_t)~sum(ip + 20, len, pseudo(ip, len));
	if (!s && ip[9] == 17)
		s = 0xffff;
	be16(field, (uint16_t)(s + (kind == BUILD_WRONG)));
}

uint32_t build_frame(uint8_t *f, const struct build *b)
{
	uint32_t at = ethernet(f, b->dst, b->src, b->vlan, 0x0800), header, len, i;
	uint8_t *ip = f + at, *l4 = ip + 20;

	header = b->proto == 6 ? 20 : 8;
	len = header + b->payload;
	ipv4(ip, b, (uint16_t)(20 + len));
	memset(l4, 0, header);
	for (i = 0; i < b->payload; i++)
		l4[header + i] = (uint8_t)((i + b->salt) * 2654435761u >> 13);
	be16(l4, b->sport);
	be16(l4 + 2, b->dport);
	switch (b->proto) {
	case 6:
		be32(l4 + 4, 0x01020304);
		l4[12] = 0x50;
		l4[13] = b->flags ? b->flags : 0x10;
		be16(l4 + 14, 0xff00);
		put_csum(ip, l4 + 16, len, b->csum);
		break;
	case 17:
		be16(l4 + 4, (uint16_t)len);
		put_csum(ip, l4 + 6, len, b->csum);
		break;
	case 1:
		be16(l4, (uint16_t)(b->sport & 0xff00));
		be16(l4 + 2, 0);
		be16(l4 + 4, b->dport);
		be16(l4 + 6, 7);
		be16(l4 + 2, (uint16_t)(~sum(l4, len, 0) + (b->csum == BUILD_WRONG)));
		break;
	}
	return at + 20 + len;
}

uint32_t build_error(uint8_t *f, const struct build *b, uint8_t type, const uint8_t *about,
		     uint32_t quoted)
{
	uint32_t at = ethernet(f, b->dst, b->src, b->vlan, 0x0800);
	uint8_t *ip = f + at, *icmp = ip + 20;

	ipv4(ip, b, (uint16_t)(28 + quoted));
	memset(icmp, 0, 8);
	icmp[0] = type;
	icmp[1] = 3;
	memcpy(icmp + 8, about, quoted);
	be16(icmp + 2, (uint16_t)~sum(icmp, 8 + quoted, 0));
	return at + 28 + quoted;
}

uint32_t build_arp(uint8_t *f, const uint8_t *dst, const uint8_t *src, uint16_t vlan, int op,
		   const uint8_t *sha, uint32_t spa, const uint8_t *tha, uint32_t tpa)
{
	uint8_t *a = f + ethernet(f, dst, src, vlan, 0x0806);

	memcpy(a, "\0\1\x08\0\6\4", 6);
	be16(a + 6, (uint16_t)op);
	memcpy(a + 8, sha, 6);
	be32(a + 14, spa);
	memset(a + 18, 0, 6);
	if (tha)
		memcpy(a + 18, tha, 6);
	be32(a + 24, tpa);
	return (uint32_t)(a + 28 - f);
}

bool build_valid(const uint8_t *f, uint32_t len)
{
	const uint8_t *ip = f + (f[12] == 0x81 ? 18 : 14);
	uint32_t l4 = (uint32_t)(ip[2] << 8 | ip[3]) - 20;

	if (ip + 20 + l4 > f + len || sum(ip, 20, 0) != 0xffff)
		return false;
	if (ip[9] == 1)
		return sum(ip + 20, l4, 0) == 0xffff;
	if (ip[9] == 17 && !ip[26] && !ip[27])
		return true;
	return sum(ip + 20, l4, pseudo(ip, l4)) == 0xffff;
}
