// SPDX-License-Identifier: GPL-2.0-only
/* Garbage, floods and a full table: what is sent and kept stays bounded. */
#include "hello_bed.h"

#include <netinet/in.h>

static void test_hostile_events(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_HELLO,
		.epoch = 101,
		.nonce = 6,
		.lease_ms = 1000,
	};
	const struct xm_event good = bed_message(&m);
	const __be32 bad_addr[] = {
		0,
		htonl(0x00000001),
		htonl(0x7f000001),
		htonl(0xe0000001),
		htonl(0xffffffff),
		bed.n[0].addr,
	};
	struct xm_event ev;
	unsigned int i, j;

	(void)state;
	for (i = 0; i < sizeof(bad_addr) / sizeof(bad_addr[0]); i++) {
		ev = good;
		ev.peer = bad_addr[i];
		bed_event(0, &ev);
		ev.type = XM_EV_PEER_SEEN;
		bed_event(0, &ev);
	}
	ev = good;
	ev.len = XM_CONTROL_MAX + 1;
	bed_event(0, &ev);
	ev.len = UINT16_MAX;
	bed_event(0, &ev);
	ev = good;
	ev.ifindex = 0;
	bed_event(0, &ev);
	ev = good;
	ev.eth[0] = 0xff;
	bed_event(0, &ev);
	ev = good;
	ev.type = 4;
	bed_event(0, &ev);
	assert_int_equal(bed.n[0].h.n_peers, 0);
	assert_int_equal(bed.n[0].frames, 0);

	/* and anything at all */
	for (i = 0; i < 50000; i++) {
		uint8_t *p = (uint8_t *)&ev;

		for (j = 0; j < sizeof(ev); j++)
			p[j] = (uint8_t)bed_random(NULL);
		ev.type %= 4;
		if (i % 2) {
			ev.len %= XM_CONTROL_MAX;
			memcpy(ev.data, good.data, i % 89);
			ev.peer = htonl(0x0a000000u + i % 64);
		}
		bed_event(0, &ev);
		if (i % 8 == 0)
			bed_step();
	}
	bed_check_mirror(&bed.n[0]);
}

/*
 * The worst peer: 10000 hellos a second, each of them fresh and with another epoch, so
 * that each would be answered and followed by a prompt.
 */
static void test_storm_is_bounded(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_HELLO,
		.epoch = 1,
		.peer_epoch = 100,
		.lease_ms = 1000,
	};
	unsigned int passive, i;

	(void)state;
	for (passive = 0; passive < 2; passive++) {
		uint64_t before, sec;

		bed_kill(0);
		bed_boot(0);
		bed_kill(1);
		if (!passive)
			bed_seen(0);
		for (sec = 0; sec < 8; sec++) {
			while (bed.now % 1000)
				bed_step();
			before = bed.n[0].frames;
			for (i = 0; i < 10000; i++) {
				struct xm_event ev;

				m.epoch++;
				m.nonce++;
				if (bed_peer(0))
					m.echo = bed_nonce();
				m.type = i % 4 ? XM_WIRE_HELLO : XM_WIRE_ANSWER;
				ev = bed_message(&m);
				bed_event(0, &ev);
				if (i % 11 == 0 && bed.now % 1000 < 999)
					bed_step();
			}
			while (bed.now % 1000 != 999)
				bed_step();
			assert_in_range(bed.n[0].frames - before, HELLO_ANSWERS_PER_SEC,
					HELLO_FRAMES_PER_SEC);
		}
		bed_boot(1);
	}
}

/* An answer makes nobody send anything, unless it is what told an epoch. */
static void test_answer_is_not_answered(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_ANSWER,
		.epoch = 101,
		.peer_epoch = 100,
		.lease_ms = 1000,
	};
	uint64_t frames;
	unsigned int i;

	(void)state;
	bed_agree();
	frames = bed.n[0].frames;
	for (i = 0; i < 1000; i++) {
		struct xm_event ev;

		m.echo = i % 2 ? bed_nonce() : 0;
		m.epoch = i % 4 ? 101 : 55; /* the latter never with an echo */
		ev = bed_message(&m);
		bed_event(0, &ev);
	}
	assert_int_equal(bed.n[0].frames, frames);
}

static void stranger(__be32 addr)
{
	struct hello_msg m = {
		.type = XM_WIRE_HELLO,
		.epoch = 9,
		.nonce = 6,
		.lease_ms = 1000,
	};
	struct xm_event ev = bed_message(&m);

	ev.peer = addr; /* no key: the MAC covers nothing */
	bed_event(0, &ev);
}

static void test_stranger_flood(void **state)
{
	unsigned int i;

	(void)state;
	bed_agree();
	bed.must_stay_up = true;
	for (i = 0; i < 20000; i++) {
		stranger(htonl(0x0a000000u + i));
		if (i % 4 == 0)
			bed_run_busy(1);
		assert_true(bed.n[0].h.n_strangers <= BED_PEERS / 4);
	}
	assert_int_equal(bed.n[0].h.n_peers, 1 + BED_PEERS / 4);
	/* nodes with traffic find room while it lasts */
	for (i = 0; i < BED_PEERS - 1; i++)
		bed_seen_addr(0, htonl(0x0b000001u + i));
	assert_int_equal(bed.n[0].h.n_peers, BED_PEERS);
	assert_int_equal(bed.n[0].h.n_strangers, 0);
	assert_int_equal(bed.n[0].h.table_full, 0);

	/* and when all slots are taken, more of either kind is counted, and no more */
	stranger(htonl(0x0c000001));
	bed_seen_addr(0, htonl(0x0c000002));
	assert_int_equal(bed.n[0].h.table_full, 2);
	assert_null(hello_find(&bed.n[0].h, htonl(0x0c000001), NULL));
	assert_null(hello_find(&bed.n[0].h, htonl(0x0c000002), NULL));

	/* silent ones are forgotten */
	bed_run_busy(HELLO_FORGET_MS + 1000);
	assert_int_equal(bed.n[0].h.n_peers, 1);
}

/* Who has not answered longest makes room. */
static void test_oldest_stranger_goes(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i <= BED_PEERS / 4; i++) {
		stranger(htonl(0x0a000001u + i));
		bed_run(5);
	}
	assert_int_equal(bed.n[0].h.n_strangers, BED_PEERS / 4);
	assert_null(hello_find(&bed.n[0].h, htonl(0x0a000001u), NULL));
	assert_non_null(hello_find(&bed.n[0].h, htonl(0x0a000002u), NULL));
}

/* A stranger that has proven itself is a live peer: the flood passes it by. */
static void test_flood_spares_live_stranger(void **state)
{
	unsigned int i;

	(void)state;
	bed_seen(1);
	bed_run(10);
	assert_true(bed_all_up());
	assert_int_equal(bed.n[0].h.n_strangers, 1);
	bed.must_stay_up = true;
	for (i = 0; i < 10000; i++) {
		stranger(htonl(0x0a000000u + i));
		if (i % 4 == 0)
			bed_step();
	}
	assert_int_equal(bed.n[0].h.n_strangers, BED_PEERS / 4);
}

/* An honest newcomer gets through the flood at the rate that the programs let pass. */
static void test_newcomer_in_flood(void **state)
{
	unsigned int i;

	(void)state;
	for (i = 0; i < 1000; i++) {
		if (i == 500)
			bed_seen(1);
		stranger(htonl(0x0a000000u + i));
		bed_run(1000 / XM_STRANGERS_PER_SEC);
	}
	assert_true(bed_all_up());
}

/* The index against a plain search. */
static void test_table_index(void **state)
{
	struct hello *h = &bed.n[0].h;
	unsigned int round, i, idx, found;

	(void)state;
	for (round = 0; round < 20000; round++) {
		__be32 addr = htonl(0x0a000001u + (uint32_t)(bed_random(NULL) % 24));

		if (hello_find(h, addr, &idx)) {
			hello_table_remove(h, idx);
		} else {
			hello_table_add(h, addr, false, bed.now);
			if (hello_find(h, addr, &idx))
				bed_apply(&bed.n[0], idx, &h->peers[idx], false);
		}
		for (addr = 0, i = 0; i < 24; i++) {
			addr = htonl(0x0a000001u + i);
			for (found = 0; found < BED_PEERS; found++)
				if (h->peers[found].used && h->peers[found].addr == addr)
					break;
			assert_int_equal(hello_table_find(h, addr),
					 found < BED_PEERS ? (int)found : -2);
		}
		bed_check_mirror(&bed.n[0]);
	}
}

/* No random numbers: nothing that looks like a proof is sent or taken. */
static uint64_t no_random(void *arg)
{
	(void)arg;
	return 0;
}

static void test_no_random_numbers(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_ANSWER,
		.epoch = 101,
		.peer_epoch = 100,
		.lease_ms = 1000,
	};
	struct xm_event ev;

	(void)state;
	bed.n[0].h.random = no_random;
	bed_seen(0);
	assert_int_equal(bed.n[0].frames, 0);
	ev = bed_message(&m);
	bed_event(0, &ev);
	assert_false(bed_is_up(0, XM_TCP));
}

/* A neighbour's frames would not come from the peer's MAC: what goes to that is lost. */
static void send_if_to_peer(void *arg, const struct hello_peer *p, const uint8_t *frame, size_t len)
{
	if (!memcmp(frame, bed.n[1].mac, 6))
		bed_send(arg, p, frame, len);
}

/* Whether the programs tell it from the flood: see is_fresh() in tc_prog/control.h. */
static bool passes_limit(const struct bed_frame *f)
{
	size_t off = f->kind <= BED_UDP_PROBE ? offsetof(struct xm_wire_probe, echo)
					      : offsetof(struct xm_wire_hello, echo);
	uint64_t nonce[2];
	uint32_t echo;
	unsigned int i;

	hello_nonces(bed_peer(0), nonce);
	memcpy(&echo, f->ev.data + off, sizeof(echo));
	for (i = 0; i < 2; i++)
		if (nonce[i] && ntohl(echo) == nonce[i] >> 32)
			return true;
	return false;
}

/* Node 0 starts over on its tables in a flood. Return: ms until its deadlines move, 0 never. */
static unsigned int restart_in_a_flood(bool keep_nonces)
{
	struct hello_msg m = { .type = XM_WIRE_HELLO, .lease_ms = 1000 };
	struct hello_peer was;
	unsigned int ms, next;

	bed_agree();
	bed_run_busy(5500);
	was = *bed_peer(0);
	hello_nonces(&was, was.old_nonce);
	if (!keep_nonces)
		memset(was.old_nonce, 0, sizeof(was.old_nonce));
	was.ifindex = 0;
	bed_kill(0);
	bed_boot(0);
	bed.n[0].h.send = send_if_to_peer;
	bed.n[0].mirror[0] = was;
	assert_int_equal(hello_adopt(&bed.n[0].h, 0, &was, bed.now), 0);
	/* The limit for all is the flood's. */
	bed.drop[1] = BED_EVERYTHING;
	next = bed.n_log;
	for (ms = 1; ms <= 10000; ms++) {
		struct xm_event ev;

		m.epoch = ms;
		m.nonce = ms;
		ev = bed_message(&m);
		ev.eth[0] ^= 0x40;
		bed_event(0, &ev);
		bed_run_busy(1);
		for (; next < bed.n_log && bed.log[next].at_ms <= bed.now; next++)
			if (bed.log[next].to == 0 && passes_limit(&bed.log[next]))
				bed_event(0, &bed.log[next].ev);
		assert_int_equal(bed.n[0].epoch_changes, 0);
		if (bed_peer(0)->up_until_ms[XM_TCP] > was.up_until_ms[XM_TCP] &&
		    bed_peer(0)->up_until_ms[XM_UDP] > was.up_until_ms[XM_UDP])
			return ms;
	}
	return 0;
}

/* The peer's next hello, which echoes the daemon before, is enough. */
static void test_restart_in_a_flood(void **state)
{
	unsigned int ms;

	(void)state;
	ms = restart_in_a_flood(true);
	assert_in_range(ms, 1, XM_HELLO_PERIOD_MS + 10);
	assert_true(bed_all_up());
}

/* The flood above is one: without the nonces the peer does not get through it. */
static void test_restart_without_nonces(void **state)
{
	(void)state;
	assert_int_equal(restart_in_a_flood(false), 0);
}

/* They make nothing fresh for longer than the deadlines last, and move none themselves. */
static void test_old_nonces_expire(void **state)
{
	struct hello_msg m = { .type = XM_WIRE_ANSWER, .lease_ms = 1000 };
	struct hello_peer was;
	struct xm_event ev;
	uint64_t nonce[2];

	(void)state;
	bed_agree();
	bed_run_busy(1500);
	was = *bed_peer(0);
	hello_nonces(&was, was.old_nonce);
	was.ifindex = 0;
	bed_kill(1);
	bed_kill(0);
	bed_boot(0);
	bed.n[0].mirror[0] = was;
	assert_int_equal(hello_adopt(&bed.n[0].h, 0, &was, bed.now), 0);
	m.epoch = was.epoch;
	m.peer_epoch = bed.n[0].cfg.epoch;
	m.echo = m.echo_probe[XM_TCP] = m.echo_probe[XM_UDP] = was.old_nonce[1];
	ev = bed_message(&m);
	bed_event(0, &ev);
	bed_assert_same(0, &was);
	bed_run_busy(XM_HELLO_MISSES * XM_HELLO_PERIOD_MS + HELLO_TICK_MS);
	assert_int_equal(bed_peer(0)->state, HELLO_DOWN);
	hello_nonces(bed_peer(0), nonce);
	assert_int_not_equal(nonce[0], was.old_nonce[0]);
	assert_int_not_equal(nonce[1], was.old_nonce[0]);
	/* A recorded one with another epoch is anybody's again. */
	m.epoch = was.epoch + 1;
	ev = bed_message(&m);
	bed_event(0, &ev);
	assert_int_equal(bed.n[0].epoch_changes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_hostile_events),	       BED_TEST(test_storm_is_bounded),
		BED_TEST(test_answer_is_not_answered), BED_TEST(test_stranger_flood),
		BED_TEST(test_oldest_stranger_goes),   BED_TEST(test_flood_spares_live_stranger),
		BED_TEST(test_newcomer_in_flood),      BED_TEST(test_table_index),
		BED_TEST(test_no_random_numbers),      BED_TEST(test_restart_in_a_flood),
		BED_TEST(test_restart_without_nonces), BED_TEST(test_old_nonces_expire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
