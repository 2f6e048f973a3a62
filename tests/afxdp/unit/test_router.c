// SPDX-License-Identifier: GPL-2.0-only
/* The router as a whole, and its ARP: a client, a second one, a server and somebody who lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "pkt.h"
#include "router.h"

#define NET    0xac10ef00
#define ROUTER (NET | 12)
#define CLIENT (NET | 13)
#define SERVER (NET | 14)
#define SECOND (NET | 15)

static const uint8_t mac_router[6] = { 2, 0, 0, 0, 0, 12 }, mac_client[6] = { 2, 0, 0, 0, 0, 13 },
		     mac_server[6] = { 2, 0, 0, 0, 0, 14 }, mac_second[6] = { 2, 0, 0, 0, 0, 15 },
		     mac_liar[6] = { 2, 0, 0, 0, 0, 66 },
		     everybody[6] = { 255, 255, 255, 255, 255, 255 };

static struct router *r;
static uint64_t now;
static uint8_t buf[64][BUILD_ROOM];

/* What outlives a killed router. */
static struct nat_flow memory[1024];

static void start_with(bool offload, bool one_client, uint32_t flows, uint32_t server)
{
	struct router_config c = {
		.addr = htonl(ROUTER),
		.prefix = 24,
		.server = htonl(server),
		.memory = flows <= 1024 ? memory : NULL,
		.offload = offload,
		.max_len = 1514,
		.flows = flows,
		.seed = 5,
	};

	memcpy(c.mac, mac_router, 6);
	if (one_client)
		c.clients[c.nclients++] = htonl(CLIENT);
	now = 1000;
	r = router_new(&c);
	assert_non_null(r);
}

static void start(bool offload, bool one_client, uint32_t flows)
{
	memset(memory, 0, sizeof(memory));
	start_with(offload, one_client, flows, SERVER);
}

static int setup(void **state)
{
	(void)state;
	start(false, false, 1024);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	router_free(r);
	r = NULL;
	return 0;
}

static enum router_verdict input(uint8_t *data, uint32_t *len)
{
	struct frame f = { .data = data, .len = *len };
	enum router_verdict v = router_input(r, &f, now);

	*len = f.len;
	return v;
}

static uint64_t why(enum why w)
{
	return router_stats(r)->why[w];
}

static struct build from_client(void)
{
	return (struct build){ .dst = mac_router,
			       .src = mac_client,
			       .saddr = CLIENT,
			       .daddr = ROUTER,
			       .proto = 6,
			       .sport = 4001,
			       .dport = 80,
			       .flags = 2,
			       .payload = 0 };
}

static struct build from_server(void)
{
	return (struct build){ .dst = mac_router,
			       .src = mac_server,
			       .saddr = SERVER,
			       .daddr = ROUTER,
			       .proto = 6,
			       .sport = 80,
			       .dport = 4001,
			       .flags = 0x12 };
}

/* The next request has to be for @addr, by broadcast or to @mac. */
static void expect_request(uint32_t addr, const uint8_t *dst, uint16_t vlan)
{
	uint8_t got[ARP_FRAME], want[BUILD_ROOM];
	uint32_t len = router_request(r, got, now);

	assert_int_equal(len,
			 build_arp(want, dst, mac_router, vlan, 1, mac_router, ROUTER, NULL, addr));
	assert_memory_equal(got, want, len);
}

static void expect_no_request(void)
{
	uint8_t got[ARP_FRAME];

	assert_int_equal(router_request(r, got, now), 0);
}

static void answer(uint32_t addr, const uint8_t *mac)
{
	uint8_t f[BUILD_ROOM];
	uint32_t len = build_arp(f, mac_router, mac, 0, 2, mac, addr, mac_router, ROUTER);

	assert_int_equal(input(f, &len), ROUTER_DROP);
}

/* Makes the router know an address. */
static void resolve(uint32_t addr, const uint8_t *mac)
{
	struct build b = from_client();
	enum router_verdict v;
	struct frame f;

	if (addr != SERVER) {
		struct build s = from_server();
		uint32_t len;

		b.saddr = addr, b.src = mac, b.sport = (uint16_t)(9000 + (addr & 0xff));
		len = build_frame(buf[0], &b);
		assert_int_equal(input(buf[0], &len), ROUTER_SEND);
		s.dport = b.sport;
		len = build_frame(buf[1], &s);
		assert_int_equal(input(buf[1], &len), ROUTER_HOLD);
	} else {
		uint32_t len = build_frame(buf[1], &b);

		assert_int_equal(input(buf[1], &len), ROUTER_HOLD);
	}
	expect_request(addr, everybody, 0);
	answer(addr, mac);
	assert_true(router_next(r, &f, &v));
	assert_int_equal(v, ROUTER_SEND);
	assert_false(router_next(r, &f, &v));
}

/* @b has to come out as @want. */
static void expect_sent(const struct build *b, const struct build *want)
{
	uint8_t f[BUILD_ROOM], w[BUILD_ROOM];
	uint32_t len = build_frame(f, b), wlen = build_frame(w, want);

	assert_int_equal(input(f, &len), ROUTER_SEND);
	assert_int_equal(len, wlen);
	assert_memory_equal(f, w, len);
}

static void expect_dropped(const struct build *b, enum why w)
{
	uint8_t f[BUILD_ROOM];
	uint32_t len = build_frame(f, b);
	uint64_t before = why(w);

	assert_int_equal(input(f, &len), ROUTER_DROP);
	assert_int_equal(why(w), before + 1);
}

static void test_both_ways(void **state)
{
	struct build b = from_client(), want = b;

	(void)state;
	resolve(SERVER, mac_server);
	resolve(CLIENT, mac_client);
	b.sport = want.sport = 4002;
	want.dst = mac_server, want.src = mac_router, want.saddr = ROUTER, want.daddr = SERVER;
	want.ttl = 63;
	expect_sent(&b, &want);
	b.csum = BUILD_PARTIAL; /* comes out whole */
	expect_sent(&b, &want);
	b = from_server();
	b.dport = 4002;
	want = b;
	want.dst = mac_client, want.src = mac_router, want.saddr = ROUTER, want.daddr = CLIENT;
	want.ttl = 63;
	expect_sent(&b, &want);
	assert_int_equal(router_stats(r)->partial, 1);
}

/* Each frame that came is counted once, whatever became of it. */
static void test_not_sent(void **state)
{
	const struct router_stats *s = router_stats(r);
	uint64_t tx, ok;

	(void)state;
	resolve(SERVER, mac_server);
	tx = s->tx;
	ok = s->why[WHY_OK];
	router_not_sent(r, 60, WHY_TX_FULL, false);
	assert_int_equal(s->tx, tx - 1);
	assert_int_equal(s->why[WHY_OK], ok - 1);
	router_not_sent(r, 42, WHY_TX_FULL, true);
	assert_int_equal(s->tx, tx - 2);
	assert_int_equal(s->why[WHY_OK], ok - 1);
	assert_int_equal(s->why[WHY_TX_FULL], 2);
}

static void test_offload(void **state)
{
	struct build b = from_client(), want = b;
	uint8_t w[BUILD_ROOM];
	struct frame f = { .data = buf[0] };

	(void)state;
	router_free(r);
	start(true, false, 16);
	resolve(SERVER, mac_server);
	b.csum = BUILD_PARTIAL, b.payload = 50;
	want = b;
	want.dst = mac_server, want.src = mac_router, want.saddr = ROUTER, want.daddr = SERVER;
	want.ttl = 63;
	f.len = build_frame(buf[0], &b);
	memset(buf[0] + f.len, 0xaa, 6); /* padding: the kernel must not sum it up */
	f.len += 6;
	assert_int_equal(router_input(r, &f, now), ROUTER_SEND);
	assert_int_equal(f.len, build_frame(w, &want));
	assert_memory_equal(buf[0], w, f.len);
	assert_int_equal(f.csum_start, 34);
	assert_int_equal(f.csum_offset, 16);
	/* And nothing is left over for a frame with a whole one. */
	b.csum = BUILD_WHOLE;
	f.len = build_frame(buf[0], &b);
	assert_int_equal(router_input(r, &f, now), ROUTER_SEND);
	assert_int_equal(f.csum_offset, 0);
}

/* Two clients with one port, and two pings with one identifier. */
static void test_two_clients(void **state)
{
	struct build b = from_client(), s = from_server(), want;
	uint8_t f[BUILD_ROOM];
	uint16_t port;
	uint32_t len;

	(void)state;
	resolve(SERVER, mac_server);
	resolve(CLIENT, mac_client);
	resolve(SECOND, mac_second);
	b.saddr = SECOND, b.src = mac_second;
	len = build_frame(f, &b);
	assert_int_equal(input(f, &len), ROUTER_SEND);
	assert_true(build_valid(f, len));
	port = (uint16_t)(f[34] << 8 | f[35]);
	assert_int_not_equal(port, 4001);
	s.dport = port;
	want = s;
	want.dst = mac_second, want.src = mac_router, want.saddr = ROUTER, want.daddr = SECOND;
	want.dport = 4001, want.ttl = 63;
	expect_sent(&s, &want);

	b = from_client();
	b.proto = 1, b.sport = 0x0800, b.dport = 77, b.payload = 56;
	len = build_frame(f, &b);
	assert_int_equal(input(f, &len), ROUTER_SEND);
	assert_int_equal(f[38] << 8 | f[39], 77);
	b.saddr = SECOND, b.src = mac_second;
	len = build_frame(f, &b);
	assert_int_equal(input(f, &len), ROUTER_SEND);
	assert_true(build_valid(f, len));
	port = (uint16_t)(f[38] << 8 | f[39]);
	assert_int_not_equal(port, 77);
	s = from_server();
	s.proto = 1, s.sport = 0, s.dport = port, s.payload = 56;
	want = s;
	want.dst = mac_second, want.src = mac_router, want.saddr = ROUTER, want.daddr = SECOND;
	want.dport = 77, want.ttl = 63;
	expect_sent(&s, &want);
}

/* Killed and started again: the second client, whose port was changed, gets its answers as before. */
static void test_killed(void **state)
{
	struct build b = from_client(), s = from_server(), want;
	enum router_verdict v;
	uint8_t f[BUILD_ROOM];
	struct frame held;
	uint16_t port;
	uint32_t len;

	(void)state;
	resolve(SERVER, mac_server);
	b.saddr = SECOND, b.src = mac_second;
	len = build_frame(f, &b);
	assert_int_equal(input(f, &len), ROUTER_SEND);
	port = (uint16_t)(f[34] << 8 | f[35]);
	assert_int_not_equal(port, 4001);
	router_free(r);
	start_with(false, false, 1024, SERVER);
	assert_int_equal(router_stats(r)->recovered, 2);
	/* Only the server has something to say. */
	s.dport = port, s.flags = 0x18;
	len = build_frame(buf[0], &s);
	assert_int_equal(input(buf[0], &len), ROUTER_HOLD);
	expect_request(SECOND, everybody, 0);
	answer(SECOND, mac_second);
	assert_true(router_next(r, &held, &v));
	assert_int_equal(v, ROUTER_SEND);
	want = s;
	want.dst = mac_second, want.src = mac_router, want.saddr = ROUTER, want.daddr = SECOND;
	want.dport = 4001, want.ttl = 63;
	len = build_frame(f, &want);
	assert_int_equal(held.len, len);
	assert_memory_equal(held.data, f, len);
	assert_int_equal(router_stats(r)->flows, 0);
	/* With another server the old flows are of no use. */
	router_free(r);
	start_with(false, false, 1024, SERVER + 5);
	assert_int_equal(router_stats(r)->recovered, 0);
	assert_int_equal(router_flows(r), 0);
}

static void test_error(void **state)
{
	struct build b = from_client(), e = {
		.dst = mac_router, .src = mac_server, .saddr = SERVER, .daddr = ROUTER, .proto = 1
	};
	uint8_t f[BUILD_ROOM], about[BUILD_ROOM], want[BUILD_ROOM];
	uint32_t len, wlen;

	(void)state;
	resolve(SERVER, mac_server);
	resolve(CLIENT, mac_client);
	b.proto = 17, b.payload = 20;
	build_frame(about, &b);
	len = build_frame(f, &b);
	assert_int_equal(input(f, &len), ROUTER_SEND);
	/* The server got f and has no such port. */
	len = build_error(buf[0], &e, 3, f + 14, 28);
	assert_int_equal(input(buf[0], &len), ROUTER_SEND);
	e.dst = mac_client, e.src = mac_router, e.saddr = ROUTER, e.daddr = CLIENT, e.ttl = 63;
	about[22]--; /* the hop that f had taken when the server quoted it */
	about[24]++;
	wlen = build_error(want, &e, 3, about + 14, 28);
	assert_int_equal(len, wlen);
	assert_memory_equal(buf[0], want, wlen);
	/* About a packet that nobody sent. */
	f[34]++;
	e.dst = mac_router, e.src = mac_server, e.saddr = SERVER, e.daddr = ROUTER;
	len = build_error(buf[0], &e, 3, f + 14, 28);
	assert_int_equal(input(buf[0], &len), ROUTER_DROP);
	assert_int_equal(why(WHY_NO_STATE), 1);
}

/* The second client's port was changed, also in what the error quotes; it gets its own back. */
static void test_error_changed_port(void **state)
{
	static const uint8_t protos[] = { 17, 6, 1 };
	uint8_t f[BUILD_ROOM], about[BUILD_ROOM], got[BUILD_ROOM];
	uint32_t i, len, wlen;

	(void)state;
	resolve(SERVER, mac_server);
	resolve(CLIENT, mac_client);
	resolve(SECOND, mac_second);
	for (i = 0; i < 3; i++) {
		struct build b = from_client(), e = { .dst = mac_router,
						      .src = mac_server,
						      .saddr = SERVER,
						      .daddr = ROUTER,
						      .proto = 1 };
		uint32_t id = protos[i] == 1 ? 38 : 34;

		b.proto = protos[i], b.payload = 20;
		if (protos[i] == 1)
			b.sport = 0x0800, b.dport = 77;
		len = build_frame(f, &b);
		assert_int_equal(input(f, &len), ROUTER_SEND);
		b.saddr = SECOND, b.src = mac_second;
		build_frame(about, &b);
		len = build_frame(f, &b);
		assert_int_equal(input(f, &len), ROUTER_SEND);
		assert_memory_not_equal(f + id, about + id, 2);
		/* 28 bytes are what must be quoted; TCP's checksum is behind them. */
		for (wlen = 28; wlen <= len - 14; wlen += len - 14 - 28) {
			uint32_t glen = build_error(got, &e, 3, f + 14, wlen);

			assert_int_equal(input(got, &glen), ROUTER_SEND);
			assert_int_equal(got[29], 12); /* the outer source */
			assert_memory_equal(got, mac_second, 6);
			assert_true(build_valid(got, glen));
			/* Addresses and ports as SECOND had sent them, and sums that are right for them. */
			assert_memory_equal(got + 42 + 12, about + 26, 8);
			assert_memory_equal(got + 42 + 20, about + 34, wlen - 20);
		}
	}
}

static void test_rules(void **state)
{
	struct build b;

	(void)state;
	resolve(SERVER, mac_server);
	b = from_client();
	b.dst = mac_server;
	expect_dropped(&b, WHY_NOT_OURS);
	b = from_client();
	b.daddr = NET | 99;
	expect_dropped(&b, WHY_NOT_OURS);
	b = from_client();
	b.saddr = 0x0a000001;
	expect_dropped(&b, WHY_SOURCE);
	b.saddr = NET | 255;
	expect_dropped(&b, WHY_SOURCE);
	b.saddr = NET;
	expect_dropped(&b, WHY_SOURCE);
	b.saddr = ROUTER;
	expect_dropped(&b, WHY_SOURCE);
	b = from_client();
	b.ttl = 1;
	expect_dropped(&b, WHY_TTL);
	b = from_client();
	b.payload = 1461;
	expect_dropped(&b, WHY_TOO_LONG);
	b = from_client();
	b.sport = 4444, b.flags = 4;
	expect_dropped(&b, WHY_NO_STATE);
	b = from_server();
	b.dport = 4445;
	expect_dropped(&b, WHY_NO_STATE);
	b.proto = 1, b.sport = 0;
	expect_dropped(&b, WHY_NO_STATE);
}

/* With one client, what the server begins is for it, and a connection survives a new router. */
static void test_one_client(void **state)
{
	struct build b = from_client(), want;
	enum router_verdict v;
	struct frame f;
	uint32_t len;

	(void)state;
	router_free(r);
	start(false, true, 16);
	b.saddr = SECOND, b.src = mac_second;
	expect_dropped(&b, WHY_NOT_CLIENT);
	/* In the middle of a download the server is the first to send. */
	b = from_server();
	b.flags = 0x10, b.payload = 700;
	len = build_frame(buf[0], &b);
	assert_int_equal(input(buf[0], &len), ROUTER_HOLD);
	expect_request(CLIENT, everybody, 0);
	answer(CLIENT, mac_client);
	assert_true(router_next(r, &f, &v));
	assert_int_equal(v, ROUTER_SEND);
	b = from_client();
	b.flags = 0x10;
	want = b;
	len = build_frame(buf[0], &b);
	assert_int_equal(input(buf[0], &len), ROUTER_HOLD);
	expect_request(SERVER, everybody, 0);
	answer(SERVER, mac_server);
	assert_true(router_next(r, &f, &v));
	want.dst = mac_server, want.src = mac_router, want.saddr = ROUTER, want.daddr = SERVER;
	want.ttl = 63;
	expect_sent(&b, &want);
	assert_int_equal(router_flows(r), 1);
}

static void test_table_full(void **state)
{
	struct build b = from_client();
	int i;

	(void)state;
	router_free(r);
	start(false, false, 4);
	resolve(SERVER, mac_server);
	for (i = 0; i < 3; i++) {
		uint32_t len;

		b.sport++;
		len = build_frame(buf[0], &b);
		assert_int_equal(input(buf[0], &len), ROUTER_SEND);
	}
	b.sport++;
	expect_dropped(&b, WHY_NAT_FULL);
	/* Half a minute later these, which nobody answered, are gone. */
	now += NAT_TCP_NEW_MS;
	router_request(r, buf[1], now);
	for (i = 0; i < 64; i++) {
		now += 250;
		router_request(r, buf[1], now);
	}
	assert_int_equal(router_flows(r), 0);
}

static void test_vlan(void **state)
{
	struct build b = from_client(), want;
	enum router_verdict v;
	struct frame f;
	uint8_t a[BUILD_ROOM];
	uint32_t len;

	(void)state;
	resolve(SERVER, mac_server);
	b.vlan = PKT_TAGGED | 0x123;
	len = build_frame(buf[0], &b);
	assert_int_equal(input(buf[0], &len), ROUTER_HOLD); /* another network, another server */
	expect_request(SERVER, everybody, b.vlan);
	answer(SERVER, mac_liar); /* without a tag: about the other network */
	assert_false(router_next(r, &f, &v));
	len = build_arp(a, mac_router, mac_second, b.vlan, 2, mac_second, SERVER, mac_router,
			ROUTER);
	assert_int_equal(input(a, &len), ROUTER_DROP);
	assert_true(router_next(r, &f, &v));
	want = b;
	want.dst = mac_second, want.src = mac_router, want.saddr = ROUTER, want.daddr = SERVER;
	want.ttl = 63;
	assert_int_equal(f.len, build_frame(a, &want));
	assert_memory_equal(f.data, a, f.len);
}

/* ---- ARP ---- */

static void test_arp_answer(void **state)
{
	uint8_t f[BUILD_ROOM], want[BUILD_ROOM];
	uint16_t vlan;

	(void)state;
	for (vlan = 0; vlan < 2; vlan++) {
		uint16_t tag = vlan ? PKT_TAGGED | 9 : 0;
		uint32_t len = build_arp(f, everybody, mac_client, tag, 1, mac_client, CLIENT, NULL,
					 ROUTER);

		assert_int_equal(input(f, &len), ROUTER_SEND);
		assert_int_equal(len, build_arp(want, mac_client, mac_router, tag, 2, mac_router,
						ROUTER, mac_client, CLIENT));
		assert_memory_equal(f, want, len);
	}
}

static void test_arp_ignored(void **state)
{
	static const uint8_t group[6] = { 3, 0, 0, 0, 0, 1 };
	uint8_t f[BUILD_ROOM];
	uint32_t len;

	(void)state;
#define DROPPED(w, ...)                                        \
	do {                                                   \
		uint64_t before = why(w);                      \
		len = build_arp(f, __VA_ARGS__);               \
		assert_int_equal(input(f, &len), ROUTER_DROP); \
		assert_int_equal(why(w), before + 1);          \
	} while (0)
	DROPPED(WHY_ARP_IGNORED, everybody, mac_client, 0, 1, mac_client, CLIENT, NULL, SERVER);
	DROPPED(WHY_ARP_IGNORED, everybody, mac_client, 0, 2, mac_client, CLIENT, NULL, CLIENT);
	DROPPED(WHY_ARP_IGNORED, mac_router, mac_liar, 0, 2, mac_liar, SERVER, mac_router, ROUTER);
	DROPPED(WHY_ARP_MALFORMED, mac_router, mac_liar, 0, 2, mac_server, SERVER, mac_router,
		ROUTER);
	DROPPED(WHY_ARP_MALFORMED, everybody, group, 0, 1, group, CLIENT, NULL, ROUTER);
	DROPPED(WHY_ARP_OUR_ADDRESS, everybody, mac_liar, 0, 1, mac_liar, ROUTER, NULL, ROUTER);
	len = build_arp(f, everybody, mac_client, 0, 1, mac_client, CLIENT, NULL, ROUTER) - 1;
	assert_int_equal(input(f, &len), ROUTER_DROP);
	assert_int_equal(why(WHY_ARP_MALFORMED), 3);
}

static void test_arp_no_answer(void **state)
{
	static const uint64_t pause[ARP_TRIES] = { 100, 200, 400, 800 };
	struct build b = from_client();
	enum router_verdict v;
	struct frame f;
	uint32_t len, i;

	(void)state;
	for (i = 0; i < ARP_HELD; i++) {
		len = build_frame(buf[i], &b);
		assert_int_equal(input(buf[i], &len), ROUTER_HOLD);
	}
	expect_dropped(&b, WHY_ARP_HELD_FULL);
	for (i = 0; i < ARP_TRIES; i++) {
		expect_request(SERVER, everybody, 0);
		expect_no_request();
		assert_int_equal(router_deadline(r), now + pause[i]);
		now += pause[i] - 1;
		expect_no_request();
		now++;
	}
	expect_no_request();
	for (i = 0; i < ARP_HELD; i++) {
		assert_true(router_next(r, &f, &v));
		assert_int_equal(v, ROUTER_DROP);
		assert_ptr_equal(f.data, buf[i]);
	}
	assert_false(router_next(r, &f, &v));
	assert_int_equal(why(WHY_ARP_FAILED), ARP_HELD);
	expect_dropped(&b, WHY_ARP_FAILED);
	now += ARP_FAILED_MS;
	len = build_frame(buf[0], &b);
	assert_int_equal(input(buf[0], &len), ROUTER_HOLD);
	expect_request(SERVER, everybody, 0);
}

/* What waited goes out in its order. */
static void test_arp_order(void **state)
{
	struct build b = from_client();
	enum router_verdict v;
	struct frame f;
	uint32_t len, i;

	(void)state;
	for (i = 0; i < 5; i++) {
		len = build_frame(buf[i], &b);
		assert_int_equal(input(buf[i], &len), ROUTER_HOLD);
	}
	expect_request(SERVER, everybody, 0);
	assert_false(router_next(r, &f, &v));
	answer(SERVER, mac_server);
	for (i = 0; i < 5; i++) {
		assert_true(router_next(r, &f, &v));
		assert_ptr_equal(f.data, buf[i]);
		assert_memory_equal(f.data, mac_server, 6);
	}
	assert_false(router_next(r, &f, &v));
}

static void sends_to(const uint8_t *mac)
{
	struct build b = from_client();
	uint32_t len = build_frame(buf[0], &b);

	assert_int_equal(input(buf[0], &len), ROUTER_SEND);
	assert_memory_equal(buf[0], mac, 6);
}

static void test_arp_age(void **state)
{
	(void)state;
	resolve(SERVER, mac_server);
	now += ARP_GOOD_MS - 1;
	sends_to(mac_server);
	expect_no_request();
	now++;
	sends_to(mac_server);
	expect_request(SERVER, mac_server, 0);
	sends_to(mac_server);
	answer(SERVER, mac_server);
	now += 5000;
	expect_no_request();
	sends_to(mac_server);
}

/* Announcements, answers nobody asked for and requests of a liar: the owner is asked and stays. */
static void test_arp_liar(void **state)
{
	struct arp_stats s;
	uint8_t f[BUILD_ROOM];
	uint32_t len;

	(void)state;
	resolve(SERVER, mac_server);
	answer(SERVER, mac_liar);
	assert_int_equal(why(WHY_ARP_CONFLICT), 1);
	sends_to(mac_server);
	expect_request(SERVER, mac_server, 0);
	answer(SERVER, mac_liar); /* while it is asked */
	sends_to(mac_server);
	answer(SERVER, mac_server);
	sends_to(mac_server);
	expect_no_request();
	answer(SERVER, mac_liar); /* no more than one check a second */
	expect_no_request();
	len = build_arp(f, everybody, mac_liar, 0, 1, mac_liar, SERVER, NULL, ROUTER);
	assert_int_equal(input(f, &len), ROUTER_SEND);
	sends_to(mac_server);
	router_arp_stats(r, &s);
	assert_int_equal(s.conflicts, 4);
	/* But then there is one, since the last claim may have been true. */
	now += ARP_FAILED_MS;
	sends_to(mac_server);
	expect_request(SERVER, mac_server, 0);
	assert_int_equal(s.known, 1);
}

/* A server that was replaced: the old MAC is silent, the new one has the address soon. */
static void test_arp_replaced(void **state)
{
	struct build b = from_client();
	enum router_verdict v;
	struct frame f;
	uint32_t len;
	int i;

	(void)state;
	resolve(SERVER, mac_server);
	answer(SERVER, mac_second);
	for (i = 0; i < ARP_TRIES; i++) {
		expect_request(SERVER, mac_server, 0);
		now += ARP_FIRST_MS << i;
	}
	expect_request(SERVER, everybody, 0);
	len = build_frame(buf[0], &b);
	assert_int_equal(input(buf[0], &len), ROUTER_HOLD);
	answer(SERVER, mac_second);
	assert_true(router_next(r, &f, &v));
	assert_memory_equal(f.data, mac_second, 6);
	sends_to(mac_second);
	assert_true(now - 1000 <= ARP_CHECK_MS);
}

/* More clients than the table has room for: old ones go, what is asked for stays. */
static void test_arp_many(void **state)
{
	struct arp *arp = arp_new(mac_router, htonl(ROUTER), 3);
	uint8_t f[ARP_FRAME];
	struct arp_stats s;
	uint32_t i;
	enum why w;

	(void)state;
	for (i = 0; i < 3000; i++) {
		arp_find(arp, 0, htonl(0x0a000000 + i), now, &w);
		assert_true(w == WHY_OK || w == WHY_ARP_TABLE_FULL);
	}
	assert_int_equal(w, WHY_ARP_TABLE_FULL);
	for (i = 0; arp_request(arp, f, now); i++)
		;
	assert_int_equal(i, 512);
	now += 2000;
	for (i = 0; i < 10; i++)
		while (arp_request(arp, f, now += 200))
			;
	arp_stats(arp, &s);
	assert_int_equal(s.failed, 512);
	assert_null(arp_find(arp, 0, htonl(0x0b000000), now, &w));
	assert_int_equal(w, WHY_OK);
	arp_free(arp);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_both_ways),	       TEST(test_not_sent),    TEST(test_offload),
		TEST(test_two_clients),	       TEST(test_error),       TEST(test_rules),
		TEST(test_one_client),	       TEST(test_table_full),  TEST(test_vlan),
		TEST(test_arp_answer),	       TEST(test_arp_ignored), TEST(test_arp_no_answer),
		TEST(test_arp_order),	       TEST(test_arp_age),     TEST(test_arp_liar),
		TEST(test_arp_replaced),       TEST(test_arp_many),    TEST(test_killed),
		TEST(test_error_changed_port),
	};

	return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
