/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bed of the hello tests: two nodes, a clock that the test turns, and a wire of 1 ms.
 *
 *      A 172.31.1.1 (owner) ───── wire ───── B 172.32.0.1
 *
 * The wire plays the TC program's part: it takes a frame apart, asserts that it is one
 * of the shapes of the design, and makes a struct xm_event of it. A test says with
 * bed.drop what gets lost. Everything that was ever sent is kept for replay.
 */
#ifndef XM_HELLO_BED_H
#define XM_HELLO_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "hello.h"
#include "hello_codec.h"
#include "hello_table.h"

#define BED_PORT  18477
#define BED_PEERS 16
#define BED_LOG	  65536

enum bed_kind {
	BED_TCP_PROBE,
	BED_UDP_PROBE,
	BED_HELLO,
	BED_ANSWER,
	BED_KINDS,
};

#define BED_PROBES     (1u << BED_TCP_PROBE | 1u << BED_UDP_PROBE)
#define BED_EVERYTHING ((1u << BED_KINDS) - 1)

struct bed_node {
	struct hello h;
	struct hello_config cfg;
	bool alive;
	uint64_t born_ms;
	__be32 addr;
	uint8_t mac[6];
	uint64_t tick_ms; /* next call of hello_tick() */
	uint64_t frames;
	unsigned int sent[BED_KINDS];
	unsigned int applies, epoch_changes;
	struct hello_peer mirror[BED_PEERS]; /* what apply was last told */
};

struct bed_frame {
	struct xm_event ev; /* as its receiver sees it */
	enum bed_kind kind;
	unsigned int to;
	uint64_t at_ms;
	bool lost;
};

struct bed {
	struct bed_node n[2];
	uint64_t now;
	unsigned int drop[2]; /* bits of enum bed_kind lost on the way *from* node 0, 1 */
	struct bed_frame *log;
	unsigned int n_log, delivered;
	bool must_stay_up; /* both nodes, checked in every millisecond */
	uint64_t rng;
};

static struct bed bed;

static inline uint64_t bed_random(void *arg)
{
	(void)arg;
	/* xorshift64: never 0 */
	bed.rng ^= bed.rng << 13;
	bed.rng ^= bed.rng >> 7;
	bed.rng ^= bed.rng << 17;
	return bed.rng;
}

static inline unsigned int bed_other(unsigned int i)
{
	return 1 - i;
}

static inline uint16_t bed_port(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* The node's peer at the other end; NULL when it has none, or is dead. */
static inline struct hello_peer *bed_peer(unsigned int i)
{
	return bed.n[i].alive ? hello_find(&bed.n[i].h, bed.n[bed_other(i)].addr, NULL) : NULL;
}

static inline bool bed_is_up(unsigned int i, unsigned int proto)
{
	struct hello_peer *p = bed_peer(i);

	return p && p->up_until_ms[proto] > bed.now;
}

static inline bool bed_all_up(void)
{
	return bed_is_up(0, XM_TCP) && bed_is_up(0, XM_UDP) && bed_is_up(1, XM_TCP) &&
	       bed_is_up(1, XM_UDP);
}

static inline bool bed_any_up(void)
{
	return bed_is_up(0, XM_TCP) || bed_is_up(0, XM_UDP) || bed_is_up(1, XM_TCP) ||
	       bed_is_up(1, XM_UDP);
}

/* What the TC program does with a frame that comes in: shape checks, then an event. */
static inline void bed_classify(const uint8_t *f, size_t len, struct bed_frame *out)
{
	const struct bed_node *from = &bed.n[bed_other(out->to)], *to = &bed.n[out->to];
	bool owner = ntohl(from->addr) < ntohl(to->addr);
	size_t l4 = 34, hdr;
	uint16_t sport, dport;

	assert_in_range(len, 42, HELLO_FRAME_MAX);
	assert_memory_equal(f, to->mac, 6);
	assert_memory_equal(f + 6, from->mac, 6);
	assert_int_equal(bed_port(f + 12), 0x0800);
	assert_memory_equal(f + 26, &from->addr, 4);
	assert_memory_equal(f + 30, &to->addr, 4);
	sport = bed_port(f + l4);
	dport = bed_port(f + l4 + 2);
	hdr = f[23] == IPPROTO_TCP ? 20 : 8;

	out->ev = (struct xm_event){
		.peer = from->addr,
		.node = to->addr,
		.ifindex = 2,
		.proto = f[23],
		.len = (uint16_t)(len - l4 - hdr),
	};
	memcpy(out->ev.eth, from->mac, 6);
	memcpy(out->ev.eth + 6, to->mac, 6);
	memcpy(out->ev.data, f + l4 + hdr, len - l4 - hdr);
	if (sport == BED_PORT && dport == BED_PORT) {
		assert_int_equal(f[23], IPPROTO_UDP);
		out->ev.type = XM_EV_CONTROL;
		out->kind = out->ev.data[5] == XM_WIRE_HELLO ? BED_HELLO : BED_ANSWER;
		return;
	}
	assert_int_equal(sport, owner ? XM_LABEL_PORT_BASE : BED_PORT);
	assert_int_equal(dport, owner ? BED_PORT : XM_LABEL_PORT_BASE);
	out->ev.type = XM_EV_PROBE;
	out->kind = f[23] == IPPROTO_TCP ? BED_TCP_PROBE : BED_UDP_PROBE;
}

static inline void bed_send(void *arg, const struct hello_peer *p, const uint8_t *frame, size_t len)
{
	struct bed_node *n = arg;
	unsigned int from = (unsigned int)(n - bed.n);
	struct bed_frame *f;

	n->frames++;
	if (p->addr != bed.n[bed_other(from)].addr)
		return; /* to nobody */
	assert_true(bed.n_log < BED_LOG);
	f = &bed.log[bed.n_log++];
	*f = (struct bed_frame){ .to = bed_other(from), .at_ms = bed.now + 1 };
	bed_classify(frame, len, f);
	n->sent[f->kind]++;
	f->lost = bed.drop[from] & 1u << f->kind;
}

static inline void bed_apply(void *arg, unsigned int idx, const struct hello_peer *p,
			     bool epoch_changed)
{
	struct bed_node *n = arg;
	struct bed_node *o = &bed.n[bed_other((unsigned int)(n - bed.n))];
	struct hello_peer *back = o->alive ? hello_find(&o->h, n->addr, NULL) : NULL;

	assert_ptr_equal(p, &n->h.peers[idx]);
	assert_int_not_equal(p->gen, 0);
	/* Nobody comes up before both know each other's epoch. */
	if (p->addr == o->addr && hello_table_is_up(p, bed.now) && o->alive &&
	    bed.now > o->born_ms + 2) {
		assert_int_equal(p->epoch, o->cfg.epoch);
		assert_true(!back || back->epoch == n->cfg.epoch);
	}
	if (epoch_changed)
		assert_int_not_equal(n->mirror[idx].gen, p->gen);
	n->mirror[idx] = *p;
	n->applies++;
	n->epoch_changes += epoch_changed;
}

/* The programs' table, fed by apply alone, must say what the daemon thinks. */
static inline void bed_check_mirror(const struct bed_node *n)
{
	unsigned int i, used = 0, strangers = 0;

	for (i = 0; i < BED_PEERS; i++) {
		const struct hello_peer *p = &n->h.peers[i], *m = &n->mirror[i];

		assert_int_equal(m->used, p->used);
		if (!p->used)
			continue;
		used++;
		strangers += !p->traffic_ms;
		assert_int_equal(m->addr, p->addr);
		assert_int_equal(m->gen, p->gen);
		assert_memory_equal(m->up_until_ms, p->up_until_ms, sizeof(p->up_until_ms));
	}
	assert_int_equal(used, n->h.n_peers);
	assert_int_equal(strangers, n->h.n_strangers);
}

static inline void bed_boot(unsigned int i)
{
	struct bed_node *n = &bed.n[i];

	assert_int_equal(hello_init(&n->h, &n->cfg, BED_PEERS, bed_send, bed_apply, bed_random, n),
			 0);
	memset(n->mirror, 0, sizeof(n->mirror));
	n->alive = true;
	n->born_ms = bed.now;
	n->tick_ms = 0;
}

static inline void bed_kill(unsigned int i)
{
	bed.n[i].alive = false;
	hello_free(&bed.n[i].h);
}

static inline void bed_event(unsigned int i, const struct xm_event *ev)
{
	struct bed_node *n = &bed.n[i];

	n->h.now_us = bed.now * 1000;
	hello_event(&n->h, ev, bed.now);
	n->tick_ms = 0;
}

/* Overlay traffic with an address that the programs do not know. */
static inline void bed_seen_addr(unsigned int i, __be32 peer)
{
	struct xm_event ev = {
		.type = XM_EV_PEER_SEEN,
		.peer = peer,
		.node = bed.n[i].addr,
		.ifindex = 2,
	};

	memcpy(ev.eth, bed.n[bed_other(i)].mac, 6);
	memcpy(ev.eth + 6, bed.n[i].mac, 6);
	bed_event(i, &ev);
}

static inline void bed_seen(unsigned int i)
{
	bed_seen_addr(i, bed.n[bed_other(i)].addr);
}

static inline void bed_step(void)
{
	unsigned int i;

	bed.now++;
	for (; bed.delivered < bed.n_log; bed.delivered++) {
		const struct bed_frame *f = &bed.log[bed.delivered];

		if (f->at_ms > bed.now)
			break;
		if (!f->lost && bed.n[f->to].alive)
			bed_event(f->to, &f->ev);
	}
	for (i = 0; i < 2; i++) {
		struct bed_node *n = &bed.n[i];
		uint64_t wait;

		if (!n->alive)
			continue;
		if (bed.now >= n->tick_ms) {
			n->h.now_us = bed.now * 1000;
			wait = hello_tick(&n->h, bed.now);
			assert_true(wait >= HELLO_TICK_MS);
			n->tick_ms = wait == UINT64_MAX ? wait : bed.now + wait;
		}
		bed_check_mirror(n);
	}
	if (bed.must_stay_up)
		assert_true(bed_all_up());
}

static inline void bed_run(uint64_t ms)
{
	while (ms--)
		bed_step();
}

/* The same while the pods keep talking over the overlay. */
static inline void bed_run_busy(uint64_t ms)
{
	while (ms--) {
		unsigned int i, idx;

		for (i = 0; i < 2; i++)
			if (bed.n[i].alive &&
			    hello_find(&bed.n[i].h, bed.n[bed_other(i)].addr, &idx))
				hello_traffic(&bed.n[i].h, idx, bed.now);
		bed_step();
	}
}

/* Everything that was sent before entry @end, again. */
static inline void bed_replay(unsigned int end)
{
	unsigned int i;

	for (i = 0; i < end; i++)
		if (bed.n[bed.log[i].to].alive)
			bed_event(bed.log[i].to, &bed.log[i].ev);
}

/* What counts: what a replay or a forgery must not move. */
static inline void bed_assert_same(unsigned int i, const struct hello_peer *before)
{
	const struct hello_peer *p = bed_peer(i);

	assert_non_null(p);
	assert_int_equal(p->epoch, before->epoch);
	assert_int_equal(p->gen, before->gen);
	assert_int_equal(p->state, before->state);
	assert_memory_equal(p->up_until_ms, before->up_until_ms, sizeof(p->up_until_ms));
}

/* Both see the other, and are up. */
static inline void bed_agree(void)
{
	bed_seen(0);
	bed_seen(1);
	bed_run(10);
	assert_true(bed_all_up());
}

/* An event at node 0 with a message that node 1 might send. */
static inline struct xm_event bed_message(const struct hello_msg *m)
{
	struct xm_event ev = {
		.type = XM_EV_CONTROL,
		.peer = bed.n[1].addr,
		.node = bed.n[0].addr,
		.ifindex = 2,
		.proto = IPPROTO_UDP,
		.len = sizeof(struct xm_wire_hello),
	};
	struct xm_wire_hello w;

	memcpy(ev.eth, bed.n[1].mac, 6);
	memcpy(ev.eth + 6, bed.n[0].mac, 6);
	hello_codec_encode(&bed.n[1].cfg, ev.peer, ev.node, m, &w);
	memcpy(ev.data, &w, sizeof(w));
	return ev;
}

/* The newest nonce that node 0 sent: only a node that got it knows. */
static inline uint64_t bed_nonce(void)
{
	const struct hello_peer *p = bed_peer(0);

	return p->sent[(p->sent_next + HELLO_NONCES - 1) % HELLO_NONCES].nonce;
}

static inline int bed_setup(void **state)
{
	unsigned int i;

	(void)state;
	memset(&bed, 0, sizeof(bed));
	bed.rng = 0x9e3779b97f4a7c15u;
	bed.now = 1000000;
	bed.log = calloc(BED_LOG, sizeof(*bed.log));
	assert_non_null(bed.log);
	for (i = 0; i < 2; i++) {
		struct bed_node *n = &bed.n[i];

		n->addr = htonl(i ? 0xac200001u
				  : 0xac1f0101u); /* other order when bytes are swapped */
		memcpy(n->mac, (uint8_t[]){ 2, 0, 0, 0, 0, (uint8_t)(i + 1) }, 6);
		n->cfg = (struct hello_config){
			.masq_port = BED_PORT,
			.lease_ms = 1000,
			.epoch = 100 + i,
		};
		bed_boot(i);
	}
	return 0;
}

static inline int bed_teardown(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 2; i++)
		if (bed.n[i].alive)
			bed_kill(i);
	free(bed.log);
	return 0;
}

#define BED_TEST(t) cmocka_unit_test_setup_teardown(t, bed_setup, bed_teardown)

#endif
