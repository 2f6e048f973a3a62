// SPDX-License-Identifier: GPL-2.0-only
/*
 * The router with frames that somebody else made. An input is a router and what comes to it: raw
 * frames, and frames that are right but for a few bytes. What must hold besides not crashing:
 *
 *   - what is sent comes from the router's MAC and address, goes to a neighbour, is no longer than what
 *     came, has a right IPv4 checksum, and a TCP, UDP or ICMP checksum as right or wrong as before;
 *   - an answer to what was sent finds its way back to who had asked, with the ports that it had;
 *   - a frame that is held is returned once, and every frame is counted once.
 */
#include <arpa/inet.h>

#include "build.h"
#include "fuzz.h"
#include "pkt.h"
#include "router.h"

#define NET    0xac10ef00u
#define ROUTER (NET | 12)
#define CLIENT (NET | 13)
#define SERVER (NET | 14)
#define ROOM   2048
#define HELD   1024

struct world {
	struct router *r;
	bool offload;
	uint64_t now, input, held;
	uint8_t *waiting[HELD]; /* buffers that the router has */
};

static const uint8_t mac_router[6] = { 2, 0, 0, 0, 0, 12 };

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A whole checksum, as if the kernel had completed it. */
static void complete(struct frame *f)
{
	struct pkt p;

	if (!f->csum_offset)
		return;
	MUST(pkt_parse(&p, f->data, f->len) == WHY_OK);
	MUST(p.partial && p.end == f->len);
	MUST(f->csum_start == p.l4 && f->csum_offset == pkt_csum_offset(&p));
	pkt_complete(&p);
}

static void check_sent(const struct world *w, struct frame *f, uint32_t len_in, bool valid_in,
		       bool partial_in)
{
	struct pkt p;

	MUST(f->len <= len_in);
	MUST(!memcmp(f->data + 6, mac_router, 6));
	MUST(w->offload || !f->csum_offset);
	MUST(pkt_parse(&p, f->data, f->len) == WHY_OK);
	if (p.kind == PKT_ARP)
		return;
	MUST(p.saddr == htonl(ROUTER) && p.daddr != htonl(ROUTER));
	MUST((p.daddr & htonl(0xffffff00)) == htonl(NET));
	MUST(p.end == f->len);
	complete(f);
	MUST(build_valid(f->data, f->len) == (valid_in || partial_in));
}

static enum router_verdict input(struct world *w, struct frame *f)
{
	uint8_t *copy = malloc(f->len ? f->len : 1);
	uint32_t len = f->len;
	bool valid = false, partial = false;
	enum router_verdict v;
	struct pkt p;

	/* Exactly as large as the frame, so that a byte too far is seen. */
	MUST(copy);
	memcpy(copy, f->data, len);
	f->data = copy;
	if (pkt_parse(&p, copy, len) == WHY_OK && p.kind != PKT_ARP) {
		valid = build_valid(copy, len);
		partial = p.partial;
	}
	w->input++;
	v = router_input(w->r, f, w->now);
	if (v == ROUTER_SEND)
		check_sent(w, f, len, valid, partial);
	if (v == ROUTER_HOLD) {
		MUST(w->held < HELD);
		w->waiting[w->held++] = copy;
	}
	return v;
}

/* The other end answers what it got: back to who sent @sent. */
static void check_answer(struct world *w, const struct frame *sent, const struct pkt *asked)
{
	uint8_t buf[ROOM];
	struct pkt p, back;
	struct frame f = { .data = buf };
	struct build b = { .dst = mac_router };
	uint8_t mac[6];

	if (pkt_parse(&p, sent->data, sent->len) != WHY_OK || p.kind == PKT_ARP ||
	    p.kind == PKT_ERROR || p.kind == PKT_ECHO_REPLY)
		return;
	memcpy(mac, sent->data, 6);
	b.src = mac;
	b.vlan = p.vlan;
	b.saddr = ntohl(p.daddr);
	b.daddr = ntohl(p.saddr);
	b.proto = p.proto;
	b.payload = 5;
	b.sport = ntohs(p.dport);
	b.dport = ntohs(p.sport);
	if (p.kind == PKT_ECHO)
		b.sport = 0;
	f.len = build_frame(buf, &b);
	switch (input(w, &f)) {
	case ROUTER_SEND:
		MUST(pkt_parse(&back, f.data, f.len) == WHY_OK);
		MUST(back.daddr == asked->saddr && back.dport == asked->sport);
		MUST(p.kind == PKT_ECHO || back.sport == asked->dport);
		MUST(build_valid(f.data, f.len));
		free(f.data);
		break;
	case ROUTER_DROP:
		/* Only for the want of an answer from ARP. */
		MUST(router_stats(w->r)->why[WHY_NO_STATE] + 1);
		free(f.data);
		break;
	case ROUTER_HOLD:
		break;
	}
}

static void one(struct world *w, uint8_t *buf, uint32_t len)
{
	struct frame f = { .data = buf, .len = len };
	uint64_t no_state;
	struct pkt asked;
	enum why why = pkt_parse(&asked, buf, len);

	switch (input(w, &f)) {
	case ROUTER_SEND:
		no_state = router_stats(w->r)->why[WHY_NO_STATE];
		if (why == WHY_OK && asked.kind != PKT_ARP)
			check_answer(w, &f, &asked);
		MUST(router_stats(w->r)->why[WHY_NO_STATE] == no_state);
		free(f.data);
		break;
	case ROUTER_DROP:
		free(f.data);
		break;
	case ROUTER_HOLD:
		break;
	}
}

static void deferred(struct world *w, bool answer)
{
	uint8_t request[ARP_FRAME], reply[ROOM];
	enum router_verdict v;
	struct frame f;
	uint32_t len;
	uint64_t i;

	while ((len = router_request(w->r, request, w->now))) {
		uint32_t at = len - 28;

		MUST(len <= ARP_FRAME && !memcmp(request + 6, mac_router, 6));
		if (!answer)
			continue;
		{
			uint32_t who = get32(request + at + 24);
			uint8_t mac[6] = { 2, 0, 0, 0, (uint8_t)(who >> 8), (uint8_t)who };
			uint16_t vlan = at == 18 ? PKT_TAGGED | (request[14] << 8 | request[15])
						 : 0;

			f = (struct frame){ .data = reply };
			f.len = build_arp(reply, mac_router, mac, vlan, 2, mac, who, mac_router,
					  ROUTER);
			MUST(input(w, &f) == ROUTER_DROP);
			free(f.data);
		}
	}
	while (router_next(w->r, &f, &v)) {
		for (i = 0; i < w->held && w->waiting[i] != f.data; i++)
			;
		MUST(i < w->held);
		w->waiting[i] = w->waiting[--w->held];
		free(f.data);
	}
}

/* A frame that is right, for the most part. */
static uint32_t plausible(struct fuzz_in *in, uint8_t *buf)
{
	uint8_t kind = fuzz_u8(in), who = fuzz_u8(in) % 4, changes = kind >> 6;
	uint8_t mac[6] = { 2, 0, 0, 0, 0xef, (uint8_t)(13 + who) };
	struct build b = { .dst = mac_router, .src = mac, .saddr = CLIENT + who, .daddr = ROUTER };
	uint32_t len;

	b.proto = (kind & 3) == 0 ? 1 : (kind & 3) == 1 ? 17 : 6;
	b.csum = (enum build_csum)(kind >> 2 & 3);
	if (b.csum == BUILD_NONE && b.proto != 17)
		b.csum = BUILD_WHOLE;
	if (b.csum == BUILD_PARTIAL && b.proto == 1)
		b.csum = BUILD_WHOLE;
	b.vlan = kind & 0x10 ? PKT_TAGGED | (kind & 0x20 ? 5 : 0) : 0;
	b.sport = (uint16_t)(fuzz_u8(in) % 8);
	b.dport = (uint16_t)(fuzz_u8(in) % 8);
	if (b.proto == 1)
		b.sport = b.sport & 1 ? 0x0800 : 0;
	b.flags = fuzz_u8(in);
	b.payload = fuzz_u8(in);
	len = build_frame(buf, &b);
	while (changes--) {
		uint32_t at = fuzz_u8(in) % len;

		buf[at] = fuzz_u8(in);
	}
	return len;
}

/* An ARP packet of anybody about anybody, perhaps cut off. */
static uint32_t some_arp(struct fuzz_in *in, uint8_t *buf)
{
	static const uint8_t everybody[6] = { 255, 255, 255, 255, 255, 255 };
	uint8_t kind = fuzz_u8(in), who = fuzz_u8(in),
		mac[6] = { 2, 0, 0, 0, 0xef, (uint8_t)(who >> 4) };
	uint32_t len;

	len = build_arp(buf, kind & 1 ? everybody : mac_router, mac, kind & 2 ? PKT_TAGGED | 5 : 0,
			kind >> 2 & 3, mac, NET | (12 + (who & 3)), mac_router,
			kind & 0x10 ? SERVER : ROUTER);
	return kind & 0x80 ? len - fuzz_u8(in) % 30 : len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct router_config c = { .addr = htonl(ROUTER),
				   .prefix = 24,
				   .server = htonl(SERVER),
				   .max_len = 1514,
				   .seed = 1 };
	struct world w = { .now = 1000 };
	uint8_t flags = fuzz_u8(&in), buf[ROOM];
	const struct router_stats *s;
	uint64_t sum = 0;
	uint32_t i;

	memcpy(c.mac, mac_router, 6);
	w.offload = c.offload = flags & 1;
	if (flags & 2)
		c.clients[c.nclients++] = htonl(CLIENT);
	c.flows = flags & 4 ? 3 : 64;
	w.r = router_new(&c);
	MUST(w.r);
	while (in.left) {
		uint8_t what = fuzz_u8(&in);
		uint32_t len = 0;

		switch (what & 3) {
		case 0:
			len = fuzz_u16(&in) % 1600;
			if (len > in.left)
				len = (uint32_t)in.left;
			memcpy(buf, in.p, len);
			in.p += len;
			in.left -= len;
			one(&w, buf, len);
			break;
		case 1:
			w.now += (uint64_t)fuzz_u8(&in) * 100;
			break;
		case 2:
			one(&w, buf, plausible(&in, buf));
			break;
		default:
			one(&w, buf, some_arp(&in, buf));
			break;
		}
		deferred(&w, !(what & 0x80));
	}
	/* Nobody answers any more: what waits is given back. */
	for (i = 0; i < 100; i++) {
		w.now += 200;
		deferred(&w, false);
	}
	MUST(!w.held);
	s = router_stats(w.r);
	for (i = 0; i < WHY_COUNT; i++)
		sum += s->why[i];
	MUST(s->rx == w.input && sum == w.input);
	router_free(w.r);
	return 0;
}
