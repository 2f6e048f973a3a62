// SPDX-License-Identifier: GPL-2.0-only
#include "packet.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "tap.h"

static __u64 words(const __u8 *p, __u32 len)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (__u64)p[i] << 8;
	return sum;
}

/* The field that makes a sum come out right. */
static __u16 field_of(__u64 sum)
{
	if (!sum)
		return 0xffff;
	return sum % 65535 ? 65535 - sum % 65535 : 0;
}

static __u32 ihl(const struct pkt *p)
{
	return (p->data[OFF_IP] & 0xf) * 4;
}

static __u64 l4_sum(const struct pkt *p)
{
	const __u8 *ip = p->data + OFF_IP;
	__u32 len = pkt_get16(p, OFF_IP + 2) - ihl(p);

	return words(ip + 12, 8) + ip[9] + len + words(ip + ihl(p), len);
}

static __u32 l4_check_off(const struct pkt *p)
{
	__u8 proto = p->data[OFF_IP + 9];

	return OFF_IP + ihl(p) + (proto == IPPROTO_TCP ? 16 : proto == IPPROTO_UDP ? 6 : 2);
}

__u16 pkt_get16(const struct pkt *p, __u32 off)
{
	return (__u16)(p->data[off] << 8 | p->data[off + 1]);
}

void pkt_set16(struct pkt *p, __u32 off, __u16 val)
{
	p->data[off] = val >> 8;
	p->data[off + 1] = val & 0xff;
}

static void set32(struct pkt *p, __u32 off, __u32 val)
{
	pkt_set16(p, off, val >> 16);
	pkt_set16(p, off + 2, val & 0xffff);
}

__u32 pkt_ip_rest(const struct pkt *p)
{
	return words(p->data + OFF_IP, ihl(p)) % 65535;
}

__u32 pkt_l4_rest(const struct pkt *p)
{
	return l4_sum(p) % 65535;
}

static void fix_ip(struct pkt *p)
{
	pkt_set16(p, OFF_IP + 10, 0);
	pkt_set16(p, OFF_IP + 10, field_of(words(p->data + OFF_IP, ihl(p))));
}

static void fix_l4(struct pkt *p)
{
	__u8 proto = p->data[OFF_IP + 9];
	__u32 off = l4_check_off(p);
	__u16 check;

	pkt_set16(p, off, 0);
	check = field_of(l4_sum(p));
	if (!check && proto == IPPROTO_UDP)
		check = 0xffff;
	pkt_set16(p, off, check);
}

void pkt_fix(struct pkt *p)
{
	fix_ip(p);
	fix_l4(p);
}

void pkt_make(struct pkt *p, const struct pkt_spec *s)
{
	__u32 l4 = OFF_L4 + s->ip_opts * 4u, data;

	memset(p, 0, sizeof(*p));
	memcpy(p->data, s->eth, XM_ETH_LEN);
	pkt_set16(p, 12, 0x0800);
	p->data[OFF_IP] = 0x45 + s->ip_opts;
	memset(p->data + OFF_L4, 1, s->ip_opts * 4u); /* NOPs */
	p->data[OFF_IP + 1] = s->tos;
	pkt_set16(p, OFF_IP + 4, s->id);
	pkt_set16(p, OFF_IP + 6, s->frag);
	p->data[OFF_IP + 8] = s->ttl ? s->ttl : 64;
	p->data[OFF_IP + 9] = s->t.proto;
	memcpy(p->data + OFF_IP + 12, &s->t.saddr, 4);
	memcpy(p->data + OFF_IP + 16, &s->t.daddr, 4);
	memcpy(p->data + l4, &s->t.sport, 2);
	memcpy(p->data + l4 + 2, &s->t.dport, 2);
	if (s->t.proto == IPPROTO_TCP) {
		set32(p, l4 + 4, s->seq);
		set32(p, l4 + 8, s->ack);
		p->data[l4 + 12] = (__u8)((5 + s->tcp_opts) << 4);
		p->data[l4 + 13] = s->flags;
		pkt_set16(p, l4 + 14, 0x7210);
		memset(p->data + l4 + 20, 1, s->tcp_opts * 4u);
		data = l4 + 20 + s->tcp_opts * 4u;
	} else {
		pkt_set16(p, l4 + 4, 8 + s->payload);
		data = l4 + 8;
	}
	for (__u32 i = 0; i < s->payload; i++)
		p->data[data + i] = (__u8)(i * 7 + 3);
	if (s->payload >= 2)
		pkt_set16(p, data, s->word);
	p->len = data + s->payload;
	pkt_set16(p, OFF_IP + 2, (__u16)(p->len - OFF_IP));
	fix_ip(p);
	if (!s->no_csum)
		fix_l4(p);
}

void pkt_tune(struct pkt_spec *s)
{
	struct pkt p;

	s->word = 0;
	pkt_make(&p, s);
	s->word = pkt_get16(&p, l4_check_off(&p));
}

void pkt_udp(struct pkt *p, const __u8 eth[XM_ETH_LEN], const struct xm_flow_key *t,
	     const void *payload, __u32 len)
{
	struct pkt_spec s = { .t = *t, .payload = (__u16)len };

	memcpy(s.eth, eth, XM_ETH_LEN);
	pkt_make(p, &s);
	memcpy(p->data + OFF_L4 + 8, payload, len);
	fix_l4(p);
}

void pkt_tunnel(struct pkt *out, const struct pkt *in, const struct tunnel_spec *t)
{
	static const __u8 vxlan[8] = { 0x08, 0, 0, 0, 0, 0, 1, 0 };
	const __u8 geneve[8] = { t->opts, 0, 0x65, 0x58, 0, 0, 1, 0 };
	__u32 opts = t->type == XM_OVERLAY_GENEVE ? t->opts * 4u : 0;
	struct pkt_spec s = {
		.t = { .saddr = t->saddr,
		       .daddr = t->daddr,
		       .sport = PORT(t->sport),
		       .dport = PORT(t->port),
		       .proto = IPPROTO_UDP },
		.payload = (__u16)(8 + opts + in->len),
		.frag = 0x4000,
		.no_csum = true,
	};

	memcpy(s.eth, t->eth, XM_ETH_LEN);
	pkt_make(out, &s);
	memcpy(out->data + OFF_TUN, t->type == XM_OVERLAY_GENEVE ? geneve : vxlan, 8);
	memset(out->data + OFF_TUN + 8, 0, opts);
	memcpy(out->data + OFF_TUN + 8 + opts, in->data, in->len);
	if (t->csum)
		fix_l4(out);
}

bool pkt_inner(struct pkt *out, const struct pkt *in, __u16 type)
{
	__u32 off = OFF_TUN + 8;

	if (type == XM_OVERLAY_GENEVE)
		off += (in->data[OFF_TUN] & 0x3f) * 4u;
	if (in->len <= off)
		return false;
	memset(out, 0, sizeof(*out));
	out->len = in->len - off;
	memcpy(out->data, in->data + off, out->len);
	return true;
}

void pkt_icmp(struct pkt *out, const struct pkt *about, __u8 type, __be32 saddr, __be32 daddr)
{
	struct pkt_spec s = {
		.t = { .saddr = saddr, .daddr = daddr, .proto = IPPROTO_ICMP },
		.payload = 28,
	};

	pkt_make(out, &s);
	memset(out->data + OFF_L4, 0, 8);
	out->data[OFF_L4] = type;
	memcpy(out->data + OFF_L4 + 8, about->data + OFF_IP, 28);
	/* ICMP sums no pseudo-header. */
	pkt_set16(out, OFF_L4 + 2, field_of(words(out->data + OFF_L4, 36)));
}

const char *pkt_bad(const struct pkt *p)
{
	__u32 tot = pkt_get16(p, OFF_IP + 2);

	if (p->len < OFF_L4 + 8 || pkt_get16(p, 12) != 0x0800)
		return "not an IPv4 frame";
	if (p->data[OFF_IP] >> 4 != 4 || ihl(p) < 20 || tot < ihl(p) + 8 || tot > p->len - OFF_IP)
		return "bad lengths";
	if (pkt_ip_rest(p))
		return "bad IP checksum";
	switch (p->data[OFF_IP + 9]) {
	case IPPROTO_UDP:
		if (pkt_get16(p, OFF_IP + ihl(p) + 4) != tot - ihl(p))
			return "bad UDP length";
		if (!pkt_get16(p, l4_check_off(p)))
			return NULL;
		return pkt_l4_rest(p) ? "bad UDP checksum" : NULL;
	case IPPROTO_TCP:
		return pkt_l4_rest(p) ? "bad TCP checksum" : NULL;
	default:
		return NULL;
	}
}

void pkt_flip(struct xm_flow_key *out, const struct xm_flow_key *in)
{
	struct xm_flow_key t = *in;

	t.saddr = in->daddr;
	t.daddr = in->saddr;
	t.sport = in->dport;
	t.dport = in->sport;
	*out = t;
}

__u16 pkt_diff(__u32 from, __u32 to)
{
	__u32 a = (from & 0xffff) + (from >> 16), b = (to & 0xffff) + (to >> 16);

	return (__u16)((b + 4 * 65535 - a) % 65535);
}

static void hex(char *buf, const struct pkt *p, __u32 off)
{
	*buf = '\0';
	for (__u32 i = off; i < off + 16 && i < p->len; i++)
		buf += sprintf(buf, "%02x ", p->data[i]);
}

bool pkt_same(const struct pkt *got, const struct pkt *want, const char *what)
{
	__u32 i, n = got->len < want->len ? got->len : want->len;
	char a[64], b[64];

	if (got->len != want->len)
		tap_fail("%s: %u bytes, not %u", what, got->len, want->len);
	for (i = 0; i < n && got->data[i] == want->data[i]; i++)
		;
	if (i == n)
		return got->len == want->len;
	hex(a, got, i & ~15u);
	hex(b, want, i & ~15u);
	tap_fail("%s: differs at byte %u", what, i);
	tap_fail("  got  %3u: %s", i & ~15u, a);
	tap_fail("  want %3u: %s", i & ~15u, b);
	return false;
}
