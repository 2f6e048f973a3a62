// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "nat.h"

#define SERVER htonl(0x0a00000e)

static struct nat_key key(uint32_t host, uint16_t rport, uint16_t lport, uint8_t proto)
{
	return (struct nat_key){ .raddr = htonl(0x0a000000 | host),
				 .rport = htons(rport),
				 .lport = htons(lport),
				 .proto = proto };
}

static void test_both_ways(void **state)
{
	struct nat *nat = nat_new(16, 1, NULL);
	struct nat_key k = key(13, 4001, 80, IPPROTO_TCP), back;
	struct nat_flow *f;
	enum nat_side side;
	enum why why;

	(void)state;
	assert_null(nat_find(nat, &k, &side));
	f = nat_add(nat, &k, SERVER, 0, &why);
	assert_non_null(f);
	assert_ptr_equal(nat_find(nat, &k, &side), f);
	assert_int_equal(side, NAT_INITIATOR);
	back = key(14, 80, 4001, IPPROTO_TCP);
	assert_ptr_equal(nat_find(nat, &back, &side), f);
	assert_int_equal(side, NAT_RESPONDER);
	/* Nothing but this: */
	back.vlan = 0x1001;
	assert_null(nat_find(nat, &back, &side));
	back = key(14, 80, 4001, IPPROTO_UDP);
	assert_null(nat_find(nat, &back, &side));
	back = key(15, 80, 4001, IPPROTO_TCP);
	assert_null(nat_find(nat, &back, &side));
	nat_free(nat);
}

/* Clients that chose the same port get different ones towards the server; each finds its own. */
static void test_collisions(void **state)
{
	struct nat *nat = nat_new(4096, 7, NULL);
	__be16 port[1000];
	enum nat_side side;
	enum why why;
	uint32_t i, j;

	(void)state;
	for (i = 0; i < 1000; i++) {
		struct nat_key k = key(256 + i, 4001, 80, IPPROTO_TCP);
		struct nat_flow *f = nat_add(nat, &k, SERVER, 0, &why);

		assert_non_null(f);
		port[i] = f->key[NAT_RESPONDER].lport;
		assert_true(ntohs(port[i]) >= 1024);
		for (j = 0; j < i; j++)
			assert_int_not_equal(port[i], port[j]);
	}
	assert_int_equal(port[0], htons(4001));
	for (i = 0; i < 1000; i++) {
		struct nat_key k = key(14, 80, ntohs(port[i]), IPPROTO_TCP);
		struct nat_flow *f = nat_find(nat, &k, &side);

		assert_non_null(f);
		assert_int_equal(f->key[NAT_INITIATOR].raddr, htonl(0x0a000000 | (256 + i)));
	}
	nat_free(nat);
}

/* When all ports towards one end are taken, no more flows, and others still get theirs. */
static void test_no_port(void **state)
{
	struct nat *nat = nat_new(70000, 3, NULL);
	struct nat_key k;
	uint32_t made = 0, i;
	enum why why;

	(void)state;
	for (i = 1; i < 65536; i++) {
		k = key(13, (uint16_t)i, 80, IPPROTO_UDP);
		made += nat_add(nat, &k, SERVER, 0, &why) != NULL;
	}
	assert_int_equal(made, 65535);
	k = key(99, 5000, 80, IPPROTO_UDP);
	assert_null(nat_add(nat, &k, SERVER, 0, &why));
	assert_int_equal(why, WHY_NAT_PORTS);
	k = key(99, 5000, 81, IPPROTO_UDP);
	assert_non_null(nat_add(nat, &k, SERVER, 0, &why));
	nat_free(nat);
}

static void test_full_and_expiry(void **state)
{
	struct nat *nat = nat_new(8, 3, NULL);
	struct nat_flow *f[8];
	struct nat_key k;
	enum nat_side side;
	enum why why;
	uint32_t i;

	(void)state;
	for (i = 0; i < 8; i++) {
		k = key(20 + i, 4001, 80, IPPROTO_UDP);
		f[i] = nat_add(nat, &k, SERVER, 1000, &why);
		assert_non_null(f[i]);
	}
	k = key(50, 4001, 80, IPPROTO_UDP);
	assert_null(nat_add(nat, &k, SERVER, 1000, &why));
	assert_int_equal(why, WHY_NAT_FULL);
	nat_seen(f[3], NAT_RESPONDER, 0, 1000);
	nat_expire(nat, 1000 + NAT_UDP_NEW_MS - 1, 100);
	assert_int_equal(nat_count(nat), 8);
	nat_expire(nat, 1000 + NAT_UDP_NEW_MS, 100);
	assert_int_equal(nat_count(nat), 1);
	k = key(23, 4001, 80, IPPROTO_UDP);
	assert_ptr_equal(nat_find(nat, &k, &side), f[3]);
	k = key(24, 4001, 80, IPPROTO_UDP);
	assert_null(nat_find(nat, &k, &side));
	/* What is forgotten can be used again, key by key. */
	for (i = 0; i < 7; i++) {
		k = key(60 + i, 4001, 80, IPPROTO_UDP);
		assert_non_null(nat_add(nat, &k, SERVER, 2000, &why));
	}
	assert_null(nat_add(nat, &(struct nat_key){ .proto = 17 }, SERVER, 2000, &why));
	nat_free(nat);
}

#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16

static void test_tcp_life(void **state)
{
	struct nat *nat = nat_new(4, 3, NULL);
	struct nat_key k = key(13, 4001, 80, IPPROTO_TCP);
	enum why why;
	struct nat_flow *f = nat_add(nat, &k, SERVER, 0, &why);

	(void)state;
	nat_seen(f, NAT_INITIATOR, SYN, 0);
	assert_int_equal(f->expires_ms, NAT_TCP_NEW_MS);
	nat_seen(f, NAT_RESPONDER, SYN | ACK, 0);
	assert_int_equal(f->expires_ms, NAT_TCP_MS);
	nat_seen(f, NAT_INITIATOR, FIN | ACK, 0);
	assert_int_equal(f->expires_ms, NAT_TCP_MS); /* half closed */
	nat_seen(f, NAT_RESPONDER, FIN | ACK, 0);
	assert_int_equal(f->expires_ms, NAT_TCP_CLOSING_MS);
	nat_seen(f, NAT_INITIATOR, ACK, 0);
	assert_int_equal(f->expires_ms, NAT_TCP_CLOSING_MS);
	nat_seen(f, NAT_INITIATOR, SYN, 0);
	assert_int_equal(f->expires_ms, NAT_TCP_MS);
	/* A RST that the ends did not believe. */
	nat_seen(f, NAT_INITIATOR, RST, 0);
	assert_int_equal(f->expires_ms, NAT_TCP_CLOSING_MS);
	nat_seen(f, NAT_RESPONDER, ACK, 0);
	assert_int_equal(f->expires_ms, NAT_TCP_MS);
	nat_free(nat);
}

/* Against a list: random flows come and go. */
static void test_random(void **state)
{
	enum {
		N = 500,
		ROUNDS = 60000
	};
	struct {
		struct nat_key k, back;
		uint64_t until;
	} live[N];
	struct nat *nat = nat_new(N, 11, NULL);
	uint64_t now = 0;
	uint32_t n = 0, i, r;
	enum nat_side side;
	enum why why;

	(void)state;
	srandom(1);
	for (r = 0; r < ROUNDS; r++) {
		struct nat_key k = key((uint32_t)random() % 40 + 20, (uint16_t)(random() % 30 + 1),
				       80, IPPROTO_UDP);
		struct nat_flow *f = nat_find(nat, &k, &side);

		for (i = 0; i < n && memcmp(&live[i].k, &k, sizeof(k)); i++)
			;
		assert_int_equal(f != NULL, i < n);
		if (f) {
			nat_seen(f, side, 0, now);
		} else {
			f = nat_add(nat, &k, SERVER, now, &why);
			assert_int_equal(f == NULL, n == N);
			if (!f)
				continue;
			live[n].k = k;
			live[n++].back = f->key[NAT_RESPONDER];
		}
		live[i].until = f->expires_ms;
		now += 100;
		nat_expire(nat, now, N);
		for (i = 0; i < n;)
			if (live[i].until <= now)
				live[i] = live[--n];
			else
				i++;
		assert_int_equal(nat_count(nat), n);
		if (r % 500)
			continue;
		for (i = 0; i < n; i++) {
			struct nat_flow *f2 = nat_find(nat, &live[i].back, &side);

			assert_int_equal(side, NAT_RESPONDER);
			assert_ptr_equal(nat_find(nat, &live[i].k, &side), f2);
			assert_int_equal(side, NAT_INITIATOR);
		}
	}
	nat_free(nat);
}

/* Not those of host 99. */
static bool fits(const struct nat_flow *f, const void *with)
{
	return f->key[NAT_INITIATOR].raddr != *(const __be32 *)with;
}

/* The process is killed: what is in the memory goes on, in a table with another seed, port for port. */
static void test_recover(void **state)
{
	enum {
		N = 600,
		USED = 500
	};
	struct nat_flow *memory = calloc(N, sizeof(*memory)), *f;
	struct nat *nat = nat_new(N, 1, memory);
	struct nat_key k[USED], back[USED], twice;
	__be32 unwanted = htonl(0x0a000063);
	uint32_t i, left = 0;
	enum nat_side side;
	enum why why;

	(void)state;
	for (i = 0; i < USED; i++) {
		/* Ports meet, so that most are changed. */
		k[i] = key(i % 100, (uint16_t)(5000 + i / 100), 80, IPPROTO_TCP);
		f = nat_add(nat, &k[i], SERVER, i % 7 ? 100 : 0, &why);
		assert_non_null(f);
		back[i] = f->key[NAT_RESPONDER];
	}
	nat_expire(nat, NAT_TCP_NEW_MS + 1, N); /* holes */
	/* As a kill in the middle of something leaves them, and as no router writes them. */
	memory[1].live = 0;
	memory[2].key[NAT_RESPONDER].proto = IPPROTO_UDP;
	memory[3].key[NAT_RESPONDER].rport = htons(81);
	memory[4].key[NAT_INITIATOR].raddr = 0;
	memory[5].live = 77;
	memory[USED + 7] = memory[6];
	twice = memory[6].key[NAT_INITIATOR];
	for (i = 0; i < N; i++)
		memory[i].next[0] = memory[i].next[1] = 0x5a5a5a5a;
	nat_free(nat);

	nat = nat_new(N, 2, memory);
	left = nat_recover(nat, fits, &unwanted);
	assert_int_equal(nat_count(nat), left);
	for (i = 0; i < USED; i++) {
		bool gone = i % 7 == 0 || i < 6 || k[i].raddr == unwanted;

		f = nat_find(nat, &k[i], &side);
		assert_int_equal(f == NULL, gone);
		if (gone)
			continue;
		left--;
		assert_int_equal(side, NAT_INITIATOR);
		assert_ptr_equal(nat_find(nat, &back[i], &side), f);
		assert_int_equal(side, NAT_RESPONDER);
	}
	assert_int_equal(left, 0);
	assert_non_null(nat_find(nat, &twice, &side));
	/* All the rest is free, and can be used; then all of it ends. */
	for (i = nat_count(nat); i < N; i++) {
		twice = key(200, (uint16_t)(1 + i), 80, IPPROTO_UDP);
		assert_non_null(nat_add(nat, &twice, SERVER, 0, &why));
	}
	twice.rport = 1;
	assert_null(nat_add(nat, &twice, SERVER, 0, &why));
	assert_int_equal(why, WHY_NAT_FULL);
	nat_expire(nat, NAT_TCP_MS, N);
	assert_int_equal(nat_count(nat), 0);
	nat_free(nat);
	/* And nothing comes back. */
	nat = nat_new(N, 3, memory);
	assert_int_equal(nat_recover(nat, fits, &unwanted), 0);
	nat_free(nat);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways), cmocka_unit_test(test_collisions),
		cmocka_unit_test(test_no_port),	  cmocka_unit_test(test_full_and_expiry),
		cmocka_unit_test(test_tcp_life),  cmocka_unit_test(test_random),
		cmocka_unit_test(test_recover),
	};

	return cmocka_run_group_tests_name("nat", tests, NULL, NULL);
}
