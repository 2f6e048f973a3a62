// SPDX-License-Identifier: GPL-2.0-only
/* Two nodes find each other, agree, lose each other and start over. */
#include "hello_bed.h"

#include <errno.h>
#include <netinet/in.h>

static void test_up_when_one_sees_the_other(void **state)
{
	(void)state;
	bed_seen(0);
	assert_int_equal(bed_peer(0)->state, HELLO_SILENT);
	bed_run(6); /* three round trips */
	assert_true(bed_all_up());
	assert_int_equal(bed_peer(0)->state, HELLO_UP);
	assert_int_equal(bed_peer(1)->state, HELLO_UP);
	assert_int_equal(bed_peer(0)->gen, 1);
	assert_int_equal(bed_peer(0)->epoch, 101);
	assert_int_equal(bed_peer(1)->epoch, 100);
	assert_int_equal(bed_peer(0)->rtt_us, 2000);
	assert_in_range(bed.n_log, 1, 32);
}

static void test_up_when_hellos_cross(void **state)
{
	(void)state;
	bed_seen(0);
	bed_seen(1);
	bed_run(6);
	assert_true(bed_all_up());
	assert_in_range(bed.n_log, 1, 32);
}

/* Once agreed, three frames and an answer per node and period, and nothing more. */
static void test_steady_rate(void **state)
{
	uint64_t before;

	(void)state;
	bed_agree();
	bed_run(2000);
	bed.must_stay_up = true;
	before = bed.n_log;
	bed_run_busy(100000);
	assert_in_range(bed.n_log - before, 2 * 4 * 100, 2 * 4 * 116);
	assert_int_equal(bed.n[0].epoch_changes, 0);
	assert_int_equal(bed.n[1].epoch_changes, 0);
}

static void test_protocols_are_apart(void **state)
{
	(void)state;
	bed.drop[0] = 1u << BED_TCP_PROBE;
	bed_seen(0);
	bed_seen(1);
	bed_run(5000);
	assert_false(bed_is_up(0, XM_TCP));
	assert_true(bed_is_up(0, XM_UDP));
	assert_true(bed_is_up(1, XM_TCP)); /* the other direction is not concerned */
	assert_true(bed_is_up(1, XM_UDP));
	assert_int_equal(bed_peer(0)->state, HELLO_UP);

	bed.drop[0] = 1u << BED_UDP_PROBE;
	bed_run(5000);
	assert_true(bed_is_up(0, XM_TCP));
	assert_false(bed_is_up(0, XM_UDP));
	assert_true(bed_is_up(1, XM_TCP));
	assert_true(bed_is_up(1, XM_UDP));
}

static void test_blocked(void **state)
{
	(void)state;
	bed_agree();
	bed.drop[0] = BED_PROBES;
	bed_run_busy(2500);
	assert_int_equal(bed_peer(0)->state, HELLO_UP);
	bed_run_busy(1000);
	assert_int_equal(bed_peer(0)->state, HELLO_BLOCKED);
	assert_int_equal(bed_peer(1)->state, HELLO_UP);
	bed.drop[0] = 0;
	bed_run_busy(1000);
	assert_true(bed_all_up());
}

/* A proof is an echo: when one direction dies, neither node has any. */
static void test_one_way(void **state)
{
	(void)state;
	bed.drop[0] = BED_EVERYTHING;
	bed_seen(0);
	bed_seen(1);
	bed_run_busy(10000);
	assert_false(bed_any_up());
	assert_int_equal(bed_peer(0)->state, HELLO_SILENT);
	assert_int_equal(bed_peer(1)->state, HELLO_SILENT);

	bed.drop[0] = 0;
	bed_run_busy(2100);
	assert_true(bed_all_up());

	bed.drop[1] = BED_EVERYTHING;
	bed_run_busy(3100);
	assert_false(bed_any_up());
	assert_int_equal(bed_peer(0)->state, HELLO_DOWN);
	assert_int_equal(bed_peer(1)->state, HELLO_DOWN);
}

static void test_two_misses_are_borne(void **state)
{
	unsigned int round;

	(void)state;
	bed_agree();
	bed_run(2000);
	bed.must_stay_up = true;
	for (round = 0; round < 50; round++) {
		unsigned int hellos[2] = { bed.n[0].sent[BED_HELLO], bed.n[1].sent[BED_HELLO] };
		unsigned int i;

		/* Each node loses two hellos with all that goes with them. */
		bed.drop[0] = BED_EVERYTHING;
		bed.drop[1] = BED_EVERYTHING;
		while (bed.drop[0] || bed.drop[1]) {
			bed_run_busy(1);
			for (i = 0; i < 2; i++)
				if (bed.n[i].sent[BED_HELLO] == hellos[i] + 2)
					bed.drop[i] = bed.drop[bed_other(i)] = 0;
		}
		bed_run_busy(2500);
	}
}

static void test_three_misses_are_down(void **state)
{
	uint64_t last, until;
	struct hello_peer *p;

	(void)state;
	bed_agree();
	bed_run_busy(1500);
	p = bed_peer(0);
	last = p->sent[(p->sent_next + HELLO_NONCES - 1) % HELLO_NONCES].sent_ms;
	until = p->up_until_ms[XM_TCP];
	assert_int_equal(until, last + XM_HELLO_MISSES * XM_HELLO_PERIOD_MS);
	bed_kill(1);
	bed_run_busy(until - bed.now - 1);
	assert_true(bed_is_up(0, XM_TCP));
	assert_int_equal(bed_peer(0)->state, HELLO_UP);
	bed_run_busy(1 + HELLO_TICK_MS);
	assert_false(bed_is_up(0, XM_TCP));
	assert_int_equal(bed_peer(0)->state, HELLO_DOWN);
}

static void test_restart_with_new_maps(void **state)
{
	uint16_t gen;

	(void)state;
	bed_agree();
	bed_run(1700);
	gen = bed_peer(0)->gen;
	bed_kill(1);
	bed.n[1].cfg.epoch = 7;
	bed_boot(1);
	bed_seen(1);
	bed_run(10);
	assert_true(bed_all_up());
	assert_int_equal(bed.n[0].epoch_changes, 1);
	assert_int_equal(bed_peer(0)->epoch, 7);
	assert_int_equal(bed_peer(0)->gen, gen + 1);
	bed.must_stay_up = true;
	bed_run_busy(10000);
	assert_int_equal(bed.n[0].epoch_changes, 1);
}

/* Until B's daemon is known to be new, its first hello, which may be a replay, moves nothing. */
static void test_new_epoch_needs_an_echo(void **state)
{
	struct hello_peer before;

	(void)state;
	bed_agree();
	bed_run(1700);
	before = *bed_peer(0);
	bed_kill(1);
	bed.n[1].cfg.epoch = 7;
	bed_boot(1);
	bed.drop[0] = BED_EVERYTHING;
	bed_seen(1);
	bed_run_busy(500);
	bed_assert_same(0, &before);
	assert_int_equal(bed.n[0].epoch_changes, 0);
}

static void test_restart_on_pinned_maps(void **state)
{
	struct hello_peer was, gone = { .gen = 41 };

	(void)state;
	bed_agree();
	bed_run(1200);
	was = *bed_peer(1);
	bed_kill(1);
	bed_boot(1);
	was.ifindex = 0; /* the peer table does not know the interface */
	bed.n[1].mirror[0] = was;
	bed.must_stay_up = true;
	assert_int_equal(hello_adopt(&bed.n[1].h, 0, &was, bed.now), 0);
	assert_int_equal(hello_adopt(&bed.n[1].h, 0, &was, bed.now), -EINVAL);
	assert_int_equal(hello_adopt(&bed.n[1].h, 1, &was, bed.now), -EEXIST);
	assert_int_equal(hello_adopt(&bed.n[1].h, BED_PEERS, &was, bed.now), -EINVAL);
	assert_int_equal(hello_adopt(&bed.n[1].h, 1, &gone, bed.now), 0);
	bed_run_busy(10000);
	assert_int_equal(bed_peer(1)->gen, was.gen);
	assert_int_equal(bed.n[0].epoch_changes + bed.n[1].epoch_changes, 0);

	bed_seen_addr(1, htonl(0x0a000001));
	assert_int_equal(bed.n[1].h.peers[1].gen, 42);

	/* Its epoch unknown, the peer may have lost its maps meanwhile. */
	was = *bed_peer(1);
	bed.must_stay_up = false;
	bed_kill(1);
	bed_boot(1);
	bed.n[1].mirror[0] = was;
	was.epoch = 0;
	assert_int_equal(hello_adopt(&bed.n[1].h, 0, &was, bed.now), 0);
	assert_int_equal(bed.n[1].epoch_changes, 1);
	assert_int_equal(bed_peer(1)->gen, was.gen + 1);
	bed_run(1100);
	assert_true(bed_all_up());
}

static void test_gen_is_never_0(void **state)
{
	(void)state;
	bed_agree();
	bed_peer(0)->gen = 65535;
	bed.n[0].mirror[0].gen = 65535;
	bed_kill(1);
	bed.n[1].cfg.epoch = 7;
	bed_boot(1);
	bed_seen(1);
	bed_run(10);
	assert_int_equal(bed.n[0].epoch_changes, 1);
	assert_int_equal(bed_peer(0)->gen, 1);
}

static void test_forgotten_without_traffic(void **state)
{
	uint64_t frames;

	(void)state;
	bed_agree();
	bed_run_busy(70000);
	assert_true(bed_all_up());
	/* A's traffic ends a little later, and an old time changes nothing. */
	hello_traffic(&bed.n[0].h, 0, bed.now + 1500);
	hello_traffic(&bed.n[0].h, 0, 5);
	bed_run(HELLO_FORGET_MS - 1000);
	assert_true(bed_all_up());
	assert_int_equal(bed_peer(0)->gen, 1); /* still the same entry */
	/* First by the traffic, then, as strangers to each other, by their first hello. */
	bed_run(2 * HELLO_FORGET_MS + 4000);
	assert_null(bed_peer(0));
	assert_null(bed_peer(1));
	frames = bed.n_log;
	bed_run(10 * HELLO_FORGET_MS);
	assert_int_equal(bed.n_log, frames);
	assert_int_equal(bed.n[0].tick_ms, UINT64_MAX);

	/* The slot's next peer has another generation. */
	bed_seen(0);
	assert_true(bed_peer(0)->gen >= 2);
}

/* B sees no traffic of its own (yet): it lives on A's hellos, and sends A its own. */
static void test_passive_peer_stays_up(void **state)
{
	(void)state;
	bed_seen(0);
	bed_run(10);
	assert_true(bed_all_up());
	assert_int_equal(bed.n[1].h.n_strangers, 1);
	bed.must_stay_up = true;
	bed_run(HELLO_FORGET_MS - 1000);
	assert_in_range(bed.n[1].sent[BED_HELLO] + 4, bed.n[0].sent[BED_HELLO],
			bed.n[0].sent[BED_HELLO] + 8);
	hello_traffic(&bed.n[1].h, 0, bed.now);
	assert_int_equal(bed.n[1].h.n_strangers, 0);
}

static void test_silent_address_backs_off(void **state)
{
	uint64_t frames;

	(void)state;
	bed_kill(1);
	bed_seen(0);
	bed_run_busy(5000);
	assert_in_range(bed.n[0].sent[BED_HELLO], 4, 6);
	bed_run_busy(115000);
	frames = bed.n[0].sent[BED_HELLO];
	assert_in_range(frames, 8, 16);
	bed_run_busy(300000);
	assert_in_range(bed.n[0].sent[BED_HELLO] - frames, 9, 11);
	assert_int_equal(bed_peer(0)->state, HELLO_SILENT);

	/* xmasqd starts there: no need to wait for our turn. */
	bed_boot(1);
	bed_seen(1);
	bed_run(10);
	assert_true(bed_all_up());
	bed.must_stay_up = true;
	bed_run_busy(20000);
}

/* After a long cut one hello that gets through is enough for both. */
static void test_path_heals(void **state)
{
	unsigned int hellos;

	(void)state;
	bed_agree();
	bed.drop[0] = bed.drop[1] = BED_EVERYTHING;
	bed_run_busy(300000);
	assert_int_equal(bed_peer(0)->state, HELLO_DOWN);
	bed.drop[0] = bed.drop[1] = 0;
	hellos = bed.n[0].sent[BED_HELLO] + bed.n[1].sent[BED_HELLO];
	while (hellos == bed.n[0].sent[BED_HELLO] + bed.n[1].sent[BED_HELLO])
		bed_run_busy(1);
	bed_run_busy(XM_HELLO_PERIOD_MS + HELLO_TICK_MS + 10);
	assert_true(bed_all_up());
}

static void test_addresses_follow(void **state)
{
	(void)state;
	bed_agree();
	/* The overlay goes another way now ... */
	bed_event(0, &(struct xm_event){ .type = XM_EV_PEER_SEEN,
					 .peer = bed.n[1].addr,
					 .node = bed.n[0].addr,
					 .ifindex = 9,
					 .eth = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 } });
	assert_int_equal(bed_peer(0)->ifindex, 9);
	/* ... and B's fresh messages say which. */
	bed.must_stay_up = true;
	bed_run_busy(2000);
	assert_int_equal(bed_peer(0)->ifindex, 2);
}

/* Two gateways: what leaves goes by another than what comes. Hellos go with the data, while there is any. */
static void test_hellos_go_with_the_data(void **state)
{
	struct xm_event ev = { .type = XM_EV_PEER_SEEN,
			       .peer = bed.n[1].addr,
			       .node = bed.n[0].addr,
			       .ifindex = 9,
			       .leaving = 1,
			       .eth = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 } };
	unsigned int i;

	(void)state;
	bed_agree();
	bed.must_stay_up = true;
	for (i = 0; i < 20; i++) {
		bed_event(0, &ev);
		bed_run_busy(400);
		assert_int_equal(bed_peer(0)->ifindex, 9);
	}
	/* Nor do those that anybody may send while the peer is down. */
	bed.must_stay_up = false;
	bed.drop[0] = BED_EVERYTHING;
	for (i = 0; i < 20; i++) {
		bed_event(0, &ev);
		bed_run_busy(400);
		assert_int_equal(bed_peer(0)->ifindex, 9);
	}
	assert_int_equal(bed_peer(0)->state, HELLO_DOWN);
	bed.drop[0] = 0;
	bed_event(0, &ev);
	bed_run_busy(1100);
	assert_true(bed_all_up());
	/* No packet left for a while: the way that the peer's come by is as good as any. */
	bed_run_busy(3000);
	assert_int_equal(bed_peer(0)->ifindex, 2);
}

/* A gateway has another address, as packets that leave show: tried within a period. */
static void test_new_gateway_ends_backoff(void **state)
{
	struct xm_event ev = { .type = XM_EV_PEER_SEEN,
			       .peer = bed.n[1].addr,
			       .node = bed.n[0].addr,
			       .ifindex = 2,
			       .leaving = 1,
			       .eth = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 } };
	uint64_t hellos;

	(void)state;
	bed_agree();
	bed_kill(1);
	bed_run_busy(60000);
	hellos = bed_peer(0)->hellos_tx;
	bed_event(0, &ev); /* the address it knows */
	bed_run_busy(1000);
	assert_in_range(bed_peer(0)->hellos_tx - hellos, 0, 1);
	hellos = bed_peer(0)->hellos_tx;
	ev.eth[11] = 3;
	bed.n[0].mac[5] = 3;
	bed_event(0, &ev);
	bed_run_busy(1000);
	assert_in_range(bed_peer(0)->hellos_tx - hellos, 1, 2);
}

static void test_states_have_names(void **state)
{
	int s;

	(void)state;
	for (s = HELLO_SILENT; s <= HELLO_BAD_VERSION; s++) {
		assert_string_not_equal(hello_state_name((enum hello_state)s), "?");
		assert_string_not_equal(hello_state_text((enum hello_state)s), "?");
		assert_int_equal(hello_state_text((enum hello_state)s)[0] == 0, s == HELLO_UP);
	}
}

/* A node that takes its programs away says so: no waiting for missed hellos. */
static void test_bye(void **state)
{
	uint64_t end;

	(void)state;
	bed_agree();
	bed_run_busy(3000);
	hello_bye(&bed.n[1].h);
	assert_false(bed_is_up(1, XM_TCP));
	assert_false(bed_is_up(1, XM_UDP));
	bed_kill(1);
	bed_run(2);
	assert_false(bed_is_up(0, XM_TCP));
	assert_false(bed_is_up(0, XM_UDP));
	end = bed.n_log;

	/* It comes back, and its old goodbye, heard again, takes nobody down. */
	bed_boot(1);
	bed_seen(1);
	bed_run_busy(3000);
	assert_true(bed_all_up());
	bed_replay((unsigned int)end);
	assert_true(bed_is_up(0, XM_TCP));
	assert_true(bed_is_up(0, XM_UDP));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED_TEST(test_up_when_one_sees_the_other),
		BED_TEST(test_up_when_hellos_cross),
		BED_TEST(test_steady_rate),
		BED_TEST(test_protocols_are_apart),
		BED_TEST(test_blocked),
		BED_TEST(test_bye),
		BED_TEST(test_one_way),
		BED_TEST(test_two_misses_are_borne),
		BED_TEST(test_three_misses_are_down),
		BED_TEST(test_restart_with_new_maps),
		BED_TEST(test_new_epoch_needs_an_echo),
		BED_TEST(test_restart_on_pinned_maps),
		BED_TEST(test_gen_is_never_0),
		BED_TEST(test_forgotten_without_traffic),
		BED_TEST(test_passive_peer_stays_up),
		BED_TEST(test_silent_address_backs_off),
		BED_TEST(test_path_heals),
		BED_TEST(test_addresses_follow),
		BED_TEST(test_hellos_go_with_the_data),
		BED_TEST(test_new_gateway_ends_backoff),
		cmocka_unit_test(test_states_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
