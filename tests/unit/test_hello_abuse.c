// SPDX-License-Identifier: GPL-2.0-only
/* What a peer must not be believed: replays, forgeries, other keys, leases and versions. */
#include "hello_bed.h"

#include <netinet/in.h>

/* Both nodes from scratch, with another configuration. */
static void reboot_both(void)
{
	bed_kill(0);
	bed_kill(1);
	bed_boot(0);
	bed_boot(1);
}

static void set_key(unsigned int i, uint8_t fill)
{
	memset(bed.n[i].cfg.key, fill, 32);
	bed.n[i].cfg.key_len = 32;
}

static void test_replay_after_new_epoch(void **state)
{
	struct hello_peer before[2];
	unsigned int old, round;

	(void)state;
	bed_agree();
	bed_run(3000);
	old = bed.n_log;
	bed_kill(1);
	bed.n[1].cfg.epoch = 7;
	bed_boot(1);
	bed_seen(1);
	bed_run(10);
	assert_true(bed_all_up());
	assert_int_equal(bed.n[0].epoch_changes, 1);

	for (round = 0; round < 20; round++) {
		before[0] = *bed_peer(0);
		before[1] = *bed_peer(1);
		bed_replay(old);
		bed_assert_same(0, &before[0]);
		bed_assert_same(1, &before[1]);
		bed.must_stay_up = true;
		bed_run_busy(700);
	}
	assert_int_equal(bed.n[0].epoch_changes, 1);
	assert_int_equal(bed.n[1].epoch_changes, 0);
}

static void test_replay_after_shutdown(void **state)
{
	uint64_t until[XM_PROTOS];
	unsigned int old;

	(void)state;
	bed_agree();
	bed_run(3500);
	bed_kill(1);
	old = bed.n_log;
	memcpy(until, bed_peer(0)->up_until_ms, sizeof(until));
	while (bed.now < until[XM_TCP] + 20000) {
		bed_replay(old);
		assert_memory_equal(bed_peer(0)->up_until_ms, until, sizeof(until));
		bed_run_busy(97);
	}
	assert_int_equal(bed_peer(0)->state, HELLO_DOWN);
	assert_int_equal(bed.n[0].epoch_changes, 0);
}

/* Nor does a replay bring up, or make known as a peer, who is gone and forgotten. */
static void test_replay_after_forgetting(void **state)
{
	unsigned int old;

	(void)state;
	bed_agree();
	bed_run(3500);
	bed_kill(1);
	old = bed.n_log;
	bed_run(HELLO_FORGET_MS);
	assert_null(bed_peer(0));
	bed_replay(old);
	assert_non_null(bed_peer(0));
	assert_false(bed_any_up());
	assert_int_equal(bed_peer(0)->epoch, 0);
}

/* A replayed hello cannot turn the traffic of a live peer to another machine. */
static void test_replay_moves_no_address(void **state)
{
	unsigned int i, old;

	(void)state;
	bed_agree();
	old = bed.n_log;
	bed_run_busy(5000);
	for (i = 0; i < old; i++) {
		struct xm_event ev = bed.log[i].ev;

		if (bed.log[i].to)
			continue;
		ev.ifindex = 9;
		ev.eth[5] = 0x66;
		bed_event(0, &ev);
		assert_int_equal(bed_peer(0)->ifindex, 2);
		assert_int_equal(bed_peer(0)->eth[5], 2);
	}
}

/* A message that does not know our epoch proves nothing, whatever it echoes. */
static void test_epoch_must_be_ours(void **state)
{
	struct hello_msg m = { .type = XM_WIRE_ANSWER, .epoch = 101, .lease_ms = 1000 };
	struct xm_event ev;
	unsigned int i;

	(void)state;
	bed_seen(0);
	m.echo = m.echo_probe[XM_TCP] = m.echo_probe[XM_UDP] = bed_nonce();
	for (i = 0; i < 3; i++) {
		m.peer_epoch = (uint32_t[]){ 0, 99, 101 }[i];
		ev = bed_message(&m);
		bed_event(0, &ev);
		assert_false(bed_is_up(0, XM_TCP));
		assert_false(bed_is_up(0, XM_UDP));
	}
	m.peer_epoch = 100;
	ev = bed_message(&m);
	bed_event(0, &ev);
	assert_true(bed_is_up(0, XM_TCP));
	assert_true(bed_is_up(0, XM_UDP));
}

/* An echo that took longer than a proof lasts proves nothing and teaches nothing. */
static void test_late_echo(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_ANSWER,
		.epoch = 101,
		.peer_epoch = 100,
		.lease_ms = 1000,
	};
	struct xm_event ev;

	(void)state;
	bed_kill(1);
	bed_seen(0);
	m.echo = m.echo_probe[XM_TCP] = m.echo_probe[XM_UDP] = bed_nonce();
	ev = bed_message(&m);
	bed_run_busy(XM_HELLO_MISSES * XM_HELLO_PERIOD_MS);
	assert_int_equal(bed_peer(0)->sent[0].nonce, m.echo);
	bed_event(0, &ev);
	assert_int_equal(bed_peer(0)->epoch, 0);
	assert_false(bed_any_up());
}

/* Soon after boot as well: the nonce 0 of a free slot is none. */
static void test_echo_of_nothing(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_ANSWER,
		.epoch = 101,
		.peer_epoch = 100,
		.lease_ms = 1000,
	};
	struct xm_event ev = bed_message(&m);

	(void)state;
	bed.now = 10;
	bed_seen(0);
	bed_event(0, &ev);
	assert_int_equal(bed_peer(0)->epoch, 0);
	assert_false(bed_any_up());
}

/* Neither an answer that nobody asked for nor one without an epoch is of use. */
static void test_odd_answers(void **state)
{
	struct hello_msg m = { .type = XM_WIRE_ANSWER, .epoch = 101, .lease_ms = 1000 };
	struct xm_event ev = bed_message(&m);

	(void)state;
	bed_event(0, &ev);
	assert_null(bed_peer(0));
	bed_seen(0);
	m.epoch = 0;
	m.peer_epoch = 100;
	m.echo = m.echo_probe[XM_TCP] = bed_nonce();
	ev = bed_message(&m);
	bed_event(0, &ev);
	assert_int_equal(bed_peer(0)->bad_rx, 1);
	assert_false(bed_any_up());
}

static void test_same_key(void **state)
{
	(void)state;
	set_key(0, 1);
	set_key(1, 1);
	reboot_both();
	bed_agree();
	bed.must_stay_up = true;
	bed_run_busy(10000);
}

static void assert_bad(unsigned int i, enum hello_state s)
{
	assert_int_equal(bed_peer(i)->state, s);
	assert_false(bed_is_up(i, XM_TCP));
	assert_false(bed_is_up(i, XM_UDP));
}

static void test_wrong_key(void **state)
{
	(void)state;
	set_key(0, 1);
	set_key(1, 2);
	reboot_both();
	bed_seen(0);
	bed_seen(1);
	bed_run_busy(10000);
	assert_bad(0, HELLO_BAD_KEY);
	assert_bad(1, HELLO_BAD_KEY);
	assert_int_equal(bed.n[0].sent[BED_ANSWER] + bed.n[1].sent[BED_ANSWER], 0);
}

static void test_key_on_one_side(void **state)
{
	(void)state;
	set_key(0, 1);
	reboot_both();
	bed_seen(0);
	bed_seen(1);
	bed_run_busy(10000);
	assert_bad(0, HELLO_BAD_KEY);
	assert_bad(1, HELLO_BAD_KEY);

	/* Put right on one side, the other one hears it and both agree. */
	bed_kill(1);
	set_key(1, 1);
	bed_boot(1);
	bed.drop[0] = BED_EVERYTHING;
	bed_seen(1);
	bed_run(10);
	assert_bad(0, HELLO_SILENT); /* the key is right, if nothing else */
	bed.drop[0] = 0;
	bed_run(1100);
	bed_kill(1);
	bed_boot(1);
	bed_seen(1);
	bed_run(10);
	assert_true(bed_all_up());
}

/* Whoever has no key gets no slot, whatever it sends. */
static void test_stranger_without_key(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_HELLO,
		.epoch = 5,
		.nonce = 6,
		.lease_ms = 1000,
	};
	struct xm_event ev;

	(void)state;
	set_key(0, 1);
	reboot_both();
	ev = bed_message(&m);
	bed_event(0, &ev);
	assert_null(bed_peer(0));
	assert_int_equal(bed.n[0].frames, 0);
}

/* With a key, no bit of a message can be changed on its way. */
static void test_forged_bits(void **state)
{
	struct hello_peer before;
	struct xm_event good;
	struct hello_msg m = {
		.type = XM_WIRE_ANSWER,
		.epoch = 101,
		.peer_epoch = 100,
		.lease_ms = 1000,
	};
	unsigned int bit;

	(void)state;
	set_key(0, 1);
	set_key(1, 1);
	reboot_both();
	bed_seen(0);
	m.echo = m.echo_probe[XM_TCP] = m.echo_probe[XM_UDP] = bed_nonce();
	good = bed_message(&m);
	before = *bed_peer(0);
	for (bit = 0; bit < 8 * sizeof(struct xm_wire_hello); bit++) {
		struct xm_event ev = good;

		ev.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		bed_event(0, &ev);
		assert_int_equal(bed_peer(0)->epoch, before.epoch);
		assert_false(bed_is_up(0, XM_TCP));
		assert_false(bed_is_up(0, XM_UDP));
	}
	/* nor its addresses */
	bed.n[1].addr ^= htonl(8);
	bed_seen(0);
	good.peer = bed.n[1].addr;
	bed_event(0, &good);
	assert_int_equal(bed_peer(0)->state, HELLO_BAD_KEY);
	bed.n[1].addr ^= htonl(8);
	good.peer = bed.n[1].addr;

	bed_event(0, &good);
	assert_true(bed_is_up(0, XM_TCP));

	/* and a forgery takes nobody down */
	before = *bed_peer(0);
	for (bit = 0; bit < 8 * sizeof(struct xm_wire_hello); bit++) {
		struct xm_event ev = good;

		ev.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		bed_event(0, &ev);
		bed_assert_same(0, &before);
	}
	/* nor is it the reason when it goes down by itself */
	bed_kill(1);
	bed_run_busy(XM_HELLO_MISSES * XM_HELLO_PERIOD_MS + HELLO_TICK_MS);
	assert_int_equal(bed_peer(0)->state, HELLO_DOWN);
}

static void test_other_lease(void **state)
{
	(void)state;
	bed.n[1].cfg.lease_ms = 2000;
	reboot_both();
	bed_seen(0);
	bed_run(10);
	assert_null(bed_peer(1)); /* a stranger with another lease gets no slot */
	bed_seen(1);
	bed_run_busy(5000);
	assert_bad(0, HELLO_BAD_LEASE);
	assert_bad(1, HELLO_BAD_LEASE);
}

/* A live peer that comes back with another lease is down at its first fresh message. */
static void test_lease_changes(void **state)
{
	struct hello_peer was;

	(void)state;
	bed_agree();
	bed_run(2000);
	was = *bed_peer(1);
	bed_kill(1);
	bed.n[1].cfg.lease_ms = 2000;
	bed_boot(1);
	bed.n[1].mirror[0] = was;
	assert_int_equal(hello_adopt(&bed.n[1].h, 0, &was, bed.now), 0);
	bed_run_busy(1100);
	assert_bad(0, HELLO_BAD_LEASE);
	assert_bad(1, HELLO_BAD_LEASE);
}

static void test_other_version(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_HELLO,
		.epoch = 101,
		.nonce = 6,
		.lease_ms = 1000,
	};
	struct hello_peer before;
	struct xm_event ev;

	(void)state;
	bed_seen(0);
	ev = bed_message(&m);
	ev.data[4] = XM_WIRE_VERSION + 1;
	ev.len = 8; /* the head is all that we may expect of it */
	bed_event(0, &ev);
	assert_bad(0, HELLO_BAD_VERSION);
	assert_int_equal(bed.n[0].sent[BED_ANSWER], 0);
	bed_run(10);

	/* it is upgraded */
	bed_seen(1);
	bed_run(10);
	assert_true(bed_all_up());
	before = *bed_peer(0);
	bed_event(0, &ev);
	bed_assert_same(0, &before);
}

static void test_truncated(void **state)
{
	struct hello_msg m = {
		.type = XM_WIRE_ANSWER,
		.epoch = 101,
		.peer_epoch = 100,
		.lease_ms = 1000,
	};
	struct xm_event ev;
	uint16_t len;

	(void)state;
	bed_seen(0);
	m.echo = m.echo_probe[XM_TCP] = m.echo_probe[XM_UDP] = bed_nonce();
	ev = bed_message(&m);
	for (len = 0; len < sizeof(struct xm_wire_hello); len++) {
		/* exactly as long as it says, so that the sanitizer sees a read too far */
		struct hello_msg out;
		void *data = malloc(len ? len : 1);
		uint64_t echo;

		assert_non_null(data);
		memcpy(data, ev.data, len);
		assert_int_equal(
			hello_codec_decode(&bed.n[0].cfg, ev.peer, ev.node, data, len, &out),
			HELLO_MSG_GARBAGE);
		assert_int_equal(hello_codec_probe_nonce(data, len, &echo), 0);
		free(data);
		ev.len = len;
		bed_event(0, &ev);
		assert_int_equal(bed_peer(0)->bad_rx, len + 1);
		assert_false(bed_is_up(0, XM_TCP));
	}
	ev.len = sizeof(struct xm_wire_hello) + 20; /* a later version may append */
	bed_event(0, &ev);
	assert_true(bed_is_up(0, XM_TCP));
}

static void test_truncated_probe(void **state)
{
	struct xm_event ev = { .type = XM_EV_PROBE, .ifindex = 2, .proto = IPPROTO_TCP };
	struct xm_wire_probe w;

	(void)state;
	bed_seen(0);
	ev.peer = bed.n[1].addr;
	ev.node = bed.n[0].addr;
	hello_codec_probe(77, 0, &w);
	memcpy(ev.data, &w, sizeof(w));
	for (ev.len = 0; ev.len < XM_WIRE_PROBE_SHORT; ev.len++) {
		bed_event(0, &ev);
		assert_int_equal(bed_peer(0)->rx_tcp, 0);
	}
	/* Of a node that does not know the echo yet. */
	bed_event(0, &ev);
	assert_int_equal(bed_peer(0)->rx_tcp, 77);
	assert_int_equal(bed_peer(0)->rx_udp, 0);
}

/* A hello and both probes that anybody can make who writes node @from's address on packets. */
static void spoof(unsigned int from, uint32_t epoch)
{
	struct hello_msg m = {
		.type = XM_WIRE_HELLO,
		.epoch = epoch,
		.nonce = bed_random(NULL),
		.lease_ms = 1000,
	};
	struct xm_wire_hello w;
	struct xm_wire_probe probe;
	struct xm_event ev = {
		.type = XM_EV_CONTROL,
		.peer = bed.n[from].addr,
		.node = bed.n[1 - from].addr,
		.ifindex = 2,
		.proto = IPPROTO_UDP,
		.len = sizeof(w),
	};

	memcpy(ev.eth, bed.n[from].mac, 6);
	memcpy(ev.eth + 6, bed.n[1 - from].mac, 6);
	hello_codec_encode(&(struct hello_config){}, ev.peer, ev.node, &m, &w);
	memcpy(ev.data, &w, sizeof(w));
	bed_event(1 - from, &ev);
	hello_codec_probe(bed_random(NULL), bed_random(NULL), &probe);
	memcpy(ev.data, &probe, sizeof(probe));
	ev.type = XM_EV_PROBE;
	ev.len = sizeof(probe);
	bed_event(1 - from, &ev);
	ev.proto = IPPROTO_TCP;
	bed_event(1 - from, &ev);
}

static void test_spoofed_flood_keeps_nobody_down(void **state)
{
	int i;

	(void)state;
	bed_agree();
	bed_run(3500);
	bed.must_stay_up = true;
	for (i = 0; i < 20000; i++) {
		spoof(0, i & 1 ? 100 : (uint32_t)i + 7);
		spoof(1, i & 1 ? 101 : (uint32_t)i + 7);
		bed_run_busy(1);
	}
	/* One that starts over has to be believed first: when the flood is over at the latest. */
	bed.must_stay_up = false;
	bed_kill(1);
	bed.n[1].cfg.epoch = 7;
	bed_boot(1);
	bed_seen(1);
	for (i = 0; i < 5000; i++) {
		spoof(0, 100);
		spoof(1, 101);
		bed_run_busy(1);
	}
	bed_run_busy(HELLO_PROOF_MS + XM_HELLO_PERIOD_MS);
	assert_true(bed_all_up());
	bed.must_stay_up = true;
	bed_run_busy(10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_spoofed_flood_keeps_nobody_down),
		BED_TEST(test_replay_after_new_epoch),
		BED_TEST(test_replay_after_shutdown),
		BED_TEST(test_replay_after_forgetting),
		BED_TEST(test_replay_moves_no_address),
		BED_TEST(test_epoch_must_be_ours),
		BED_TEST(test_late_echo),
		BED_TEST(test_echo_of_nothing),
		BED_TEST(test_odd_answers),
		BED_TEST(test_same_key),
		BED_TEST(test_wrong_key),
		BED_TEST(test_key_on_one_side),
		BED_TEST(test_stranger_without_key),
		BED_TEST(test_forged_bits),
		BED_TEST(test_other_lease),
		BED_TEST(test_lease_changes),
		BED_TEST(test_other_version),
		BED_TEST(test_truncated),
		BED_TEST(test_truncated_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
