// SPDX-License-Identifier: GPL-2.0-only
/*
 * Hello: its codec on any bytes, and the state machine under a sequence of events, among them
 * messages from somebody who knows the key and hears what we send.
 *
 * Input: a byte with the bed (enum bed_bits), then steps of a byte with what to do (enum op), one
 * with who and how, and what the operation reads.
 */
#include <arpa/inet.h>
#include <stdbool.h>

#include "fuzz.h"
#include "hello.h"
#include "hello_codec.h"
#include "hello_table.h"

#define PEERS	 6
#define ADDRS	 12
#define STEPS	 64
#define NONCES	 512
#define EPOCH	 0x1234
#define MASQ	 18477
#define LEASE_MS 1000

enum op {
	OP_RAW,	  /* an event of any bytes */
	OP_CODEC, /* the codec on any bytes */
	OP_SEEN,  /* overlay traffic */
	OP_HELLO, /* well made */
	OP_ANSWER,
	OP_BYE,
	OP_PROBE,
	OP_TIME,
	OP_TICK,
	OP_TRAFFIC,
	OP_ALL_BYE,
	OPS,
};

enum bed_bits {
	BED_KEY = 1,
	BED_ADOPT = 2,
	BED_NO_RANDOM = 4, /* sometimes */
};

/* In a message's second byte, besides the address */
enum how {
	HOW_ECHO = 16, /* the newest nonces sent to that address */
	HOW_OTHER_KEY = 32,
	HOW_OTHER_LEASE = 64,
	HOW_KNOWS_US = 128, /* our epoch */
};

static struct hello h;
static struct hello_peer mirror[PEERS];
static uint64_t now_ms, rng, n_random;
static uint8_t bed;
static bool saying_bye;
static struct {
	__be32 addr;
	uint64_t nonce, sent_ms;
} sent[NONCES];
static unsigned int n_sent;
static struct {
	uint16_t gen;
	uint64_t sec;
	unsigned int n;
} frames[PEERS];

static __be32 addr_of(unsigned int i)
{
	return htonl(0xac1f0002 + i % ADDRS);
}

static uint64_t next_random(void *arg)
{
	(void)arg;
	if (bed & BED_NO_RANDOM && ++n_random % 5 == 0)
		return 0;
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng;
}

static void send_frame(void *arg, const struct hello_peer *p, const uint8_t *frame, size_t len)
{
	unsigned int i = (unsigned int)(p - h.peers);
	const uint8_t *payload = frame + 34 + (frame[23] == 6 ? 20 : 8);
	struct hello_msg m;
	uint64_t nonce = 0, echo;

	(void)arg;
	MUST(len <= HELLO_FRAME_MAX && p->used && p->ifindex);
	MUST(!memcmp(frame, p->eth, XM_ETH_LEN) && !memcmp(frame + 30, &p->addr, 4));
	/*
	 * However the peer behaves, while it has this slot; the timer's own beats fall on two
	 * seconds at worst. Strangers that displace each other begin anew: their number in a
	 * second is the programs' to limit (XM_STRANGERS_PER_SEC), which are not here.
	 */
	if (frames[i].sec != now_ms / 1000 || frames[i].gen != p->gen)
		frames[i].n = 0;
	frames[i].gen = p->gen;
	frames[i].sec = now_ms / 1000;
	MUST(saying_bye || ++frames[i].n <= HELLO_FRAMES_PER_SEC);
	if (ntohs(*(const uint16_t *)(const void *)(frame + 34)) == MASQ &&
	    ntohs(*(const uint16_t *)(const void *)(frame + 36)) == MASQ) {
		MUST(hello_codec_decode(&h.cfg, p->node, p->addr, payload, len - 42, &m) ==
		     HELLO_MSG_OK);
		nonce = m.nonce;
		MUST(m.epoch == EPOCH && m.lease_ms == LEASE_MS);
	} else {
		MUST(hello_codec_probe_nonce(payload, len - (size_t)(payload - frame), &echo));
		MUST(echo == p->rx_nonce);
	}
	if (!nonce)
		return;
	sent[n_sent % NONCES].addr = p->addr;
	sent[n_sent % NONCES].nonce = nonce;
	sent[n_sent % NONCES].sent_ms = now_ms;
	n_sent++;
}

static void apply(void *arg, unsigned int idx, const struct hello_peer *p, bool epoch_changed)
{
	(void)arg;
	(void)epoch_changed;
	MUST(idx < PEERS && p == &h.peers[idx]);
	if (p->used)
		MUST(p->gen);
	mirror[idx] = *p;
}

static bool sent_lately(__be32 addr, uint64_t nonce)
{
	for (unsigned int i = 0; i < NONCES && i < n_sent; i++)
		if (nonce && sent[i].addr == addr && sent[i].nonce == nonce &&
		    sent[i].sent_ms + HELLO_PROOF_MS > now_ms)
			return true;
	return false;
}

static uint64_t newest(__be32 addr)
{
	for (unsigned int i = n_sent; i && i + NONCES > n_sent; i--)
		if (sent[(i - 1) % NONCES].addr == addr)
			return sent[(i - 1) % NONCES].nonce;
	return 0;
}

static void must_hold(void)
{
	unsigned int used = 0, strangers = 0, indexed = 0;

	MUST(h.high <= PEERS && h.max_peers == PEERS);
	for (unsigned int i = 0; i < PEERS; i++) {
		const struct hello_peer *p = &h.peers[i];

		MUST(mirror[i].used == p->used || (bed & BED_ADOPT && i < 2));
		if (!p->used)
			continue;
		used++;
		strangers += !p->traffic_ms;
		MUST(i < h.high && p->gen && hello_table_find(&h, p->addr) == (int)i);
		MUST(p->sent_next < HELLO_NONCES && p->period_ms <= HELLO_BACKOFF_MS);
		MUST(hello_state_name(p->state) && hello_state_text(p->state));
		MUST(p->answers <= HELLO_ANSWERS_PER_SEC && p->prompts <= HELLO_PROMPTS_PER_SEC);
		for (unsigned int k = 0; k < XM_PROTOS; k++) {
			/* What the programs believe is what we do. */
			if (mirror[i].used)
				MUST(mirror[i].up_until_ms[k] == p->up_until_ms[k] &&
				     mirror[i].gen == p->gen);
			MUST(p->up_until_ms[k] <= now_ms + HELLO_PROOF_MS);
		}
	}
	MUST(used == h.n_peers && strangers == h.n_strangers && used <= PEERS);
	for (uint32_t i = 0; i <= h.index_mask; i++)
		indexed += !!h.index[i];
	MUST(indexed == used);
}

/* An event, and what it may have changed. */
static void deliver(const struct xm_event *ev)
{
	struct hello_peer was[PEERS], *p;
	unsigned int high = h.high;
	struct hello_msg m;
	bool fresh;

	memcpy(was, h.peers, sizeof(was));
	memset(&m, 0, sizeof(m));
	fresh = ev->type == XM_EV_CONTROL && ev->len <= XM_CONTROL_MAX &&
		hello_codec_decode(&h.cfg, ev->peer, ev->node, ev->data, ev->len, &m) ==
			HELLO_MSG_OK &&
		(sent_lately(ev->peer, m.echo) || sent_lately(ev->peer, m.echo_probe[XM_TCP]) ||
		 sent_lately(ev->peer, m.echo_probe[XM_UDP]));
	hello_event(&h, ev, now_ms);
	for (unsigned int i = 0; i < PEERS; i++) {
		p = &h.peers[i];
		if (!was[i].used || !p->used || was[i].addr != p->addr || i >= high)
			continue;
		/* Only an echo of what was sent lately, by itself, moves anything. */
		if (fresh && p->addr == ev->peer)
			continue;
		MUST(!memcmp(was[i].up_until_ms, p->up_until_ms, sizeof(p->up_until_ms)));
		MUST(was[i].epoch == p->epoch && was[i].gen == p->gen);
	}
	/* Nobody who is up loses the slot to an event. */
	for (unsigned int i = 0; i < high; i++)
		if (was[i].used && hello_table_is_up(&was[i], now_ms))
			MUST(h.peers[i].used && h.peers[i].addr == was[i].addr);
}

static void event_from(struct xm_event *ev, uint8_t who)
{
	*ev = (struct xm_event){
		.peer = addr_of(who & 15),
		.node = htonl(0xac1f0001),
		.ifindex = 2,
		.proto = 17,
		.eth = { 2, 0, 0, 0, 0, who & 15, 2, 0, 0, 0, 1, 0 },
	};
}

static void message(struct fuzz_in *in, enum op op, uint8_t who)
{
	struct hello_config cfg = h.cfg;
	uint64_t echo = who & HOW_ECHO ? newest(addr_of(who & 15)) : 0;
	uint8_t bits = fuzz_u8(in);
	struct hello_msg m = {
		.type = op == OP_HELLO ? XM_WIRE_HELLO : XM_WIRE_ANSWER,
		.bye = op == OP_BYE,
		.epoch = 1 + (bits & 3),
		.peer_epoch = who & HOW_KNOWS_US ? EPOCH : bits >> 2 & 1,
		.nonce = op == OP_HELLO ? 1 + fuzz_u8(in) : 0,
		.echo = bits & 8 ? fuzz_u8(in) : echo,
		.echo_probe = { bits & 16 ? 0 : echo, bits & 32 ? 0 : echo },
		.lease_ms = who & HOW_OTHER_LEASE ? 500 : LEASE_MS,
	};
	struct xm_wire_hello wire;
	struct xm_event ev;

	event_from(&ev, who);
	ev.type = XM_EV_CONTROL;
	if (who & HOW_OTHER_KEY) {
		cfg.key_len = 32;
		cfg.key[0] ^= 1;
	}
	hello_codec_encode(&cfg, ev.peer, ev.node, &m, &wire);
	ev.len = sizeof(wire);
	memcpy(ev.data, &wire, sizeof(wire));
	deliver(&ev);
}

static void codec(struct fuzz_in *in, uint8_t who)
{
	uint8_t raw[XM_CONTROL_MAX];
	size_t len = fuzz_bytes(in, raw, fuzz_u8(in) % sizeof(raw));
	struct xm_wire_hello wire;
	struct hello_msg m, again;
	uint64_t echo;
	char *copy = fuzz_copy(raw, len);

	memset(&m, 0, sizeof(m));
	memset(&again, 0, sizeof(again));
	if (hello_codec_decode(&h.cfg, addr_of(who), addr_of(who + 1u), copy, len, &m) ==
	    HELLO_MSG_OK) {
		MUST(m.type == XM_WIRE_HELLO || m.type == XM_WIRE_ANSWER);
		hello_codec_encode(&h.cfg, addr_of(who), addr_of(who + 1u), &m, &wire);
		MUST(hello_codec_decode(&h.cfg, addr_of(who), addr_of(who + 1u), &wire,
					sizeof(wire), &again) == HELLO_MSG_OK);
		MUST(m.epoch == again.epoch && m.nonce == again.nonce && m.echo == again.echo &&
		     m.bye == again.bye && m.lease_ms == again.lease_ms);
	}
	hello_codec_probe_nonce(copy, len, &echo);
	free(copy);
}

static void step(struct fuzz_in *in)
{
	enum op op = fuzz_u8(in) % OPS;
	uint8_t who = fuzz_u8(in);
	struct xm_wire_probe probe;
	struct xm_event ev;
	uint64_t next;

	switch (op) {
	case OP_RAW:
		event_from(&ev, who);
		if (who & 16)
			memset(&ev, 0, sizeof(ev));
		fuzz_bytes(in, &ev, sizeof(ev));
		deliver(&ev);
		break;
	case OP_CODEC:
		codec(in, who);
		break;
	case OP_SEEN:
		event_from(&ev, who);
		ev.type = XM_EV_PEER_SEEN;
		deliver(&ev);
		break;
	case OP_PROBE:
		event_from(&ev, who);
		ev.type = XM_EV_PROBE;
		ev.proto = who & 16 ? 6 : 17;
		hello_codec_probe(fuzz_u8(in), who & 32 ? newest(ev.peer) : 0, &probe);
		memcpy(ev.data, &probe, sizeof(probe));
		ev.len = who & 64 ? XM_WIRE_PROBE_SHORT : sizeof(probe);
		deliver(&ev);
		break;
	case OP_TIME:
		now_ms += (uint64_t)who * who;
		h.now_us = now_ms * 1000;
		break;
	case OP_TICK:
		next = hello_tick(&h, now_ms);
		MUST(h.n_peers ? next >= HELLO_TICK_MS && next <= HELLO_FORGET_MS
			       : next == UINT64_MAX);
		break;
	case OP_TRAFFIC:
		hello_traffic(&h, who % (PEERS + 1), now_ms);
		break;
	case OP_ALL_BYE:
		/* Ours to do, once: no peer makes us. */
		saying_bye = true;
		hello_bye(&h);
		saying_bye = false;
		for (unsigned int i = 0; i < PEERS; i++)
			MUST(!h.peers[i].used || !hello_table_is_up(&h.peers[i], now_ms));
		break;
	default:
		message(in, op, who);
	}
	must_hold();
}

static void adopt(struct fuzz_in *in)
{
	for (unsigned int i = 0; i < 2; i++) {
		uint8_t bits = fuzz_u8(in);
		struct hello_peer was = {
			.used = bits & 1,
			.addr = addr_of(bits >> 1 & 3),
			.gen = bits & 8 ? 0xffff : bits >> 4 & 1,
			.epoch = bits >> 5 & 1,
			.node = htonl(0xac1f0001),
			.ifindex = bits >> 6 & 1,
			.up_until_ms = { bits & 128 ? now_ms + 500 : 0 },
		};

		if (!hello_adopt(&h, i, &was, now_ms))
			mirror[i] = h.peers[i];
	}
	must_hold();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct hello_config cfg = { .masq_port = MASQ, .lease_ms = LEASE_MS, .epoch = EPOCH };

	bed = fuzz_u8(&in);
	rng = 0x9e3779b97f4a7c15;
	n_random = 0;
	n_sent = 0;
	now_ms = 5000;
	memset(mirror, 0, sizeof(mirror));
	memset(frames, 0, sizeof(frames));
	if (bed & BED_KEY) {
		cfg.key_len = 32;
		memset(cfg.key, 7, cfg.key_len);
	}
	MUST(!hello_init(&h, &cfg, PEERS, send_frame, apply, next_random, NULL));
	if (bed & BED_ADOPT)
		adopt(&in);
	for (unsigned int i = 0; i < STEPS && in.left; i++)
		step(&in);
	hello_free(&h);
	return 0;
}
