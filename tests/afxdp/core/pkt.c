// SPDX-License-Identifier: GPL-2.0-only
#include "pkt.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#include "csum.h"

#define ETH_LEN	     14
#define VLAN_LEN     4
#define IP_LEN	     20
#define ICMP_LEN     8
#define ETHER_IP     0x0800
#define ETHER_ARP    0x0806
#define ETHER_VLAN   0x8100
#define IP_FRAGMENT  0x3fff /* more fragments, or an offset */
#define ICMP_REPLY   0
#define ICMP_UNREACH 3
#define ICMP_REQUEST 8
#define ICMP_EXCEED  11
#define ICMP_PARAM   12

const char *why_name(enum why why)
{
	static const char *const names[WHY_COUNT] = {
#define X(name, text) [WHY_##name] = (text),
		WHY_LIST(X)
#undef X
	};

	return (unsigned int)why < WHY_COUNT ? names[why] : "?";
}

/* As they are in memory; frames are not aligned. */
static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Writes a word; a sum over it changes by the result. */
static uint32_t put16(uint8_t *p, uint16_t v)
{
	uint32_t change = csum_change(get16(p), v);

	memcpy(p, &v, sizeof(v));
	return change;
}

static uint32_t put32(uint8_t *p, uint32_t v)
{
	uint16_t half[2];

	memcpy(half, &v, sizeof(half));
	return put16(p, half[0]) + put16(p + 2, half[1]);
}

/* The sum of the pseudo-header, as the kernel leaves it in a partial checksum: never 0. */
static uint16_t pseudo_sum(const uint8_t *ip, uint32_t l4_len)
{
	return csum_fold(csum_bytes(ip + 12, 8, 0) + htons(ip[9]) + htons((uint16_t)l4_len));
}

static enum why parse_tcp(struct pkt *p, uint32_t len)
{
	const uint8_t *tcp = p->data + p->l4;

	if (len < 20)
		return WHY_TRUNCATED;
	if ((tcp[12] >> 4) * 4u < 20 || (tcp[12] >> 4) * 4u > len)
		return WHY_MALFORMED;
	p->kind = PKT_TCP;
	p->sport = get16(tcp);
	p->dport = get16(tcp + 2);
	p->tcp_flags = tcp[13];
	p->partial = get16(tcp + 16) == pseudo_sum(p->data + p->l3, len);
	return WHY_OK;
}

static enum why parse_udp(struct pkt *p, uint32_t len)
{
	const uint8_t *udp = p->data + p->l4;

	if (len < 8)
		return WHY_TRUNCATED;
	if (ntohs(get16(udp + 4)) != len)
		return WHY_MALFORMED;
	p->kind = PKT_UDP;
	p->sport = get16(udp);
	p->dport = get16(udp + 2);
	p->partial = get16(udp + 6) == pseudo_sum(p->data + p->l3, len);
	return WHY_OK;
}

/* An error quotes the IP header and at least 8 bytes of what it is about. */
static enum why parse_error(struct pkt *p, const uint8_t *about, uint32_t len)
{
	uint32_t header;

	if (len < IP_LEN)
		return WHY_TRUNCATED;
	header = (about[0] & 0xf) * 4u;
	if (about[0] >> 4 != 4 || header < IP_LEN)
		return WHY_MALFORMED;
	/* Ours have no options. */
	if (header != IP_LEN)
		return WHY_OPTIONS;
	if (len < IP_LEN + 8)
		return WHY_TRUNCATED;
	if (ntohs(get16(about + 6)) & IP_FRAGMENT)
		return WHY_FRAGMENT;
	p->kind = PKT_ERROR;
	p->about_proto = about[9];
	p->about_saddr = get32(about + 12);
	p->about_daddr = get32(about + 16);
	about += IP_LEN;
	switch (p->about_proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
		p->sport = get16(about);
		p->dport = get16(about + 2);
		return WHY_OK;
	case IPPROTO_ICMP:
		/* Never an error about an error, RFC 1122 3.2.2. */
		if (about[0] == ICMP_REQUEST)
			p->sport = get16(about + 4);
		else if (about[0] == ICMP_REPLY)
			p->dport = get16(about + 4);
		else
			return WHY_PROTOCOL;
		return WHY_OK;
	default:
		return WHY_PROTOCOL;
	}
}

static enum why parse_icmp(struct pkt *p, uint32_t len)
{
	const uint8_t *icmp = p->data + p->l4;

	if (len < ICMP_LEN)
		return WHY_TRUNCATED;
	switch (icmp[0]) {
	case ICMP_REQUEST:
		p->kind = PKT_ECHO;
		p->sport = get16(icmp + 4);
		return WHY_OK;
	case ICMP_REPLY:
		p->kind = PKT_ECHO_REPLY;
		p->dport = get16(icmp + 4);
		return WHY_OK;
	case ICMP_UNREACH:
	case ICMP_EXCEED:
	case ICMP_PARAM:
		return parse_error(p, icmp + ICMP_LEN, len - ICMP_LEN);
	default:
		return WHY_PROTOCOL;
	}
}

static enum why parse_ip(struct pkt *p, uint32_t len)
{
	const uint8_t *ip = p->data + p->l3;
	uint32_t header, total;

	if (len < IP_LEN)
		return WHY_TRUNCATED;
	header = (ip[0] & 0xf) * 4u;
	total = ntohs(get16(ip + 2));
	if (ip[0] >> 4 != 4 || header < IP_LEN || total < header)
		return WHY_MALFORMED;
	if (total > len || header > len)
		return WHY_TRUNCATED;
	if (csum_fold(csum_bytes(ip, header, 0)) != 0xffff)
		return WHY_IP_CHECKSUM;
	if (header != IP_LEN)
		return WHY_OPTIONS;
	if (ntohs(get16(ip + 6)) & IP_FRAGMENT)
		return WHY_FRAGMENT;
	p->l4 = (uint16_t)(p->l3 + header);
	p->end = p->l3 + total;
	p->proto = ip[9];
	p->saddr = get32(ip + 12);
	p->daddr = get32(ip + 16);
	switch (p->proto) {
	case IPPROTO_TCP:
		return parse_tcp(p, total - header);
	case IPPROTO_UDP:
		return parse_udp(p, total - header);
	case IPPROTO_ICMP:
		return parse_icmp(p, total - header);
	default:
		return WHY_PROTOCOL;
	}
}

enum why pkt_parse(struct pkt *p, uint8_t *data, uint32_t len)
{
	uint16_t type;

	memset(p, 0, sizeof(*p));
	p->data = data;
	p->l3 = ETH_LEN;
	if (len < ETH_LEN)
		return WHY_TRUNCATED;
	type = ntohs(get16(data + 12));
	if (type == ETHER_VLAN) {
		if (len < ETH_LEN + VLAN_LEN)
			return WHY_TRUNCATED;
		p->vlan = (ntohs(get16(data + 14)) & 0xfff) | PKT_TAGGED;
		p->l3 += VLAN_LEN;
		type = ntohs(get16(data + 16));
	}
	p->end = len;
	if (type == ETHER_ARP) {
		p->kind = PKT_ARP;
		return WHY_OK;
	}
	return type == ETHER_IP ? parse_ip(p, len - p->l3) : WHY_PROTOCOL;
}

/* Return: what a sum over the addresses changes by. */
static uint64_t rewrite_ip(uint8_t *ip, __be32 saddr, __be32 daddr, bool hop)
{
	uint64_t addresses, ttl = 0;

	addresses = (uint64_t)put32(ip + 12, saddr) + put32(ip + 16, daddr);
	if (hop) {
		uint8_t word[2] = { (uint8_t)(ip[8] - 1), ip[9] };

		ttl = put16(ip + 8, get16(word));
	}
	put16(ip + 10, csum_update(get16(ip + 10), addresses + ttl));
	return addresses;
}

/* The checksum's field of TCP or UDP, when addresses and ports changed. */
static uint32_t rewrite_l4_csum(uint8_t *field, bool udp, uint64_t change)
{
	uint16_t sum = get16(field);

	if (udp && !sum)
		return 0;
	sum = csum_update(sum, change);
	return put16(field, udp && !sum ? 0xffff : sum);
}

void pkt_rewrite(struct pkt *p, const struct pkt_to *to)
{
	uint8_t *l4 = p->data + p->l4, *field;
	uint64_t addresses, ports;

	addresses = rewrite_ip(p->data + p->l3, to->saddr, to->daddr, true);
	p->saddr = to->saddr;
	p->daddr = to->daddr;
	p->sport = to->sport;
	p->dport = to->dport;
	if (p->kind == PKT_ECHO || p->kind == PKT_ECHO_REPLY) {
		ports = put16(l4 + 4, p->kind == PKT_ECHO ? to->sport : to->dport);
		put16(l4 + 2, csum_update(get16(l4 + 2), ports));
		return;
	}
	ports = (uint64_t)put16(l4, to->sport) + put16(l4 + 2, to->dport);
	field = l4 + pkt_csum_offset(p);
	if (p->partial)
		put16(field, csum_fold(get16(field) + addresses));
	else
		rewrite_l4_csum(field, p->kind == PKT_UDP, addresses + ports);
}

void pkt_rewrite_error(struct pkt *p, const struct pkt_to *to, const struct pkt_to *about)
{
	uint8_t *icmp = p->data + p->l4, *ip = icmp + ICMP_LEN, *l4 = ip + IP_LEN;
	uint32_t quoted = p->end - p->l4 - ICMP_LEN - IP_LEN;
	uint16_t before = get16(ip + 10);
	uint64_t change, addresses, ports = 0;

	rewrite_ip(p->data + p->l3, to->saddr, to->daddr, true);
	p->saddr = to->saddr;
	p->daddr = to->daddr;
	addresses = rewrite_ip(ip, about->saddr, about->daddr, false);
	change = addresses + csum_change(before, get16(ip + 10));
	switch (p->about_proto) {
	case IPPROTO_ICMP:
		ports = put16(l4 + 4, l4[0] == ICMP_REQUEST ? about->sport : about->dport);
		change += ports + put16(l4 + 2, csum_update(get16(l4 + 2), ports));
		break;
	case IPPROTO_TCP:
		ports = (uint64_t)put16(l4, about->sport) + put16(l4 + 2, about->dport);
		change += ports;
		if (quoted >= 18)
			change += rewrite_l4_csum(l4 + 16, false, addresses + ports);
		break;
	default:
		ports = (uint64_t)put16(l4, about->sport) + put16(l4 + 2, about->dport);
		change += ports + rewrite_l4_csum(l4 + 6, true, addresses + ports);
		break;
	}
	put16(icmp + 2, csum_update(get16(icmp + 2), change));
}

void pkt_complete(struct pkt *p)
{
	uint8_t *field = p->data + p->l4 + pkt_csum_offset(p);
	uint16_t sum;

	if (!p->partial)
		return;
	sum = (uint16_t)~csum_fold(csum_bytes(p->data + p->l4, p->end - p->l4, 0));
	put16(field, p->kind == PKT_UDP && !sum ? 0xffff : sum);
	p->partial = false;
}
