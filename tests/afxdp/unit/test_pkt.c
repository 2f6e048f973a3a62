// SPDX-License-Identifier: GPL-2.0-only
/* Frames in, frames out: each has to be, byte for byte, what building it anew gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <string.h>

#include "build.h"
#include "pkt.h"

static const uint8_t mac_a[6] = { 2, 0, 0, 0, 0, 0xa }, mac_b[6] = { 2, 0, 0, 0, 0, 0xb };

#define A 0xac10ef0d
#define R 0xac10ef0c
#define B 0xac10ef0e

static struct build tcp(void)
{
	return (struct build){ .dst = mac_b,
			       .src = mac_a,
			       .saddr = A,
			       .daddr = R,
			       .proto = 6,
			       .sport = 40000,
			       .dport = 80,
			       .payload = 100 };
}

static const struct pkt_to *to(uint32_t saddr, uint16_t sport, uint32_t daddr, uint16_t dport)
{
	static struct pkt_to t;

	t = (struct pkt_to){ htonl(saddr), htonl(daddr), htons(sport), htons(dport) };
	return &t;
}

/* Every protocol, kind of checksum, tag and a range of lengths, odd ones too. */
static void test_rewrite(void **state)
{
	static const uint8_t protos[] = { 6, 17, 1, 1 };
	uint8_t got[BUILD_ROOM], want[BUILD_ROOM];
	int proto, csum, vlan, rounds = 0;
	uint16_t payload;

	(void)state;
	for (proto = 0; proto < 4; proto++)
		for (csum = BUILD_WHOLE; csum <= BUILD_WRONG; csum++)
			for (vlan = 0; vlan < 2; vlan++)
				for (payload = 0; payload < 1472;
				     payload += payload < 66 ? 1 : 97) {
					struct build b = tcp();
					struct pkt p;
					uint32_t len;
					bool icmp = protos[proto] == 1;

					if (csum == BUILD_NONE && protos[proto] != 17)
						continue;
					if (icmp && csum == BUILD_PARTIAL)
						continue;
					b.proto = protos[proto];
					b.csum = (enum build_csum)csum;
					b.vlan = vlan ? PKT_TAGGED | 77 : 0;
					b.payload = payload;
					b.salt = payload;
					if (icmp)
						b.sport = proto == 2 ? 0x0800 : 0;
					len = build_frame(got, &b);
					assert_int_equal(pkt_parse(&p, got, len), WHY_OK);
					assert_int_equal(p.end, len);
					assert_int_equal(p.vlan, b.vlan);
					assert_int_equal(p.partial, csum == BUILD_PARTIAL);
					if (icmp) {
						assert_int_equal(p.kind, proto == 2
										 ? PKT_ECHO
										 : PKT_ECHO_REPLY);
						assert_int_equal(proto == 2 ? p.sport : p.dport,
								 htons(80));
						pkt_rewrite(&p, to(R, 555, B, 555));
						b.dport = 555;
					} else {
						pkt_rewrite(&p, to(R, 50000, B, 8080));
						b.sport = 50000;
						b.dport = 8080;
					}
					b.saddr = R;
					b.daddr = B;
					b.ttl = 63;
					assert_int_equal(build_frame(want, &b), len);
					assert_memory_equal(got, want, len);
					assert_int_equal(build_valid(got, len),
							 csum == BUILD_WHOLE || csum == BUILD_NONE);
					if (csum == BUILD_PARTIAL) {
						pkt_complete(&p);
						b.csum = BUILD_WHOLE;
						build_frame(want, &b);
						assert_memory_equal(got, want, len);
					}
					rounds++;
				}
	assert_true(rounds > 1000);
}

/*
 * A whole checksum that happens to be the pseudo-header's sum: taken for a partial one, completed,
 * and still right. Payloads are tried until there are some.
 */
static void test_looks_partial(void **state)
{
	uint8_t f[BUILD_ROOM], before[BUILD_ROOM];
	struct build b = tcp();
	uint32_t len, found = 0;
	struct pkt p;

	(void)state;
	for (b.salt = 0; b.salt < 300000; b.salt++) {
		b.payload = 2 + b.salt % 40;
		len = build_frame(f, &b);
		assert_int_equal(pkt_parse(&p, f, len), WHY_OK);
		if (!p.partial)
			continue;
		memcpy(before, f, len);
		pkt_complete(&p);
		assert_memory_equal(f, before, len);
		assert_int_equal(pkt_parse(&p, f, len), WHY_OK);
		pkt_rewrite(&p, to(R, 50000, B, 8080));
		pkt_complete(&p);
		assert_true(build_valid(f, len));
		found++;
	}
	assert_true(found > 0);
}

/* A UDP checksum that comes to 0 is sent as 0xffff; 0 means that there is none. */
static void test_udp_zero(void **state)
{
	uint8_t f[BUILD_ROOM], want[BUILD_ROOM];
	uint32_t len, zeroes = 0, port;
	struct build b = tcp();
	struct pkt p;

	(void)state;
	b.proto = 17;
	b.payload = 11;
	for (port = 1; port < 65536; port++) {
		b.csum = port & 1 ? BUILD_PARTIAL : BUILD_WHOLE;
		b.saddr = A, b.daddr = R, b.ttl = 64, b.sport = 7, b.dport = 9;
		len = build_frame(f, &b);
		assert_int_equal(pkt_parse(&p, f, len), WHY_OK);
		pkt_rewrite(&p, to(R, (uint16_t)port, B, 9));
		pkt_complete(&p);
		b.csum = BUILD_WHOLE;
		b.saddr = R, b.daddr = B, b.ttl = 63, b.sport = (uint16_t)port;
		build_frame(want, &b);
		assert_memory_equal(f, want, len);
		assert_true(f[40] || f[41]);
		zeroes += f[40] == 0xff && f[41] == 0xff;
	}
	assert_true(zeroes > 0);
}

/* The IP packet inside, as its receiver got it from the router and as its sender sent it. */
static void test_error(void **state)
{
	static const uint8_t protos[] = { 6, 17, 1, 1 };
	static const uint32_t quotes[] = { 28, 36, 40, 60, 128 };
	uint8_t got[BUILD_ROOM], want[BUILD_ROOM], about[BUILD_ROOM];
	size_t i, q;

	(void)state;
	for (i = 0; i < 4; i++)
		for (q = 0; q < sizeof(quotes) / sizeof(*quotes); q++) {
			struct build in = tcp(), out = {
				.dst = mac_b, .src = mac_a, .saddr = B, .daddr = R, .proto = 1
			};
			struct pkt_to t, a;
			uint32_t len, quoted = quotes[q];
			struct pkt p;

			in.proto = protos[i];
			in.saddr = R, in.daddr = B, in.sport = 50000, in.dport = 80;
			if (i >= 2)
				in.sport = i == 2 ? 0x0800 : 0;
			build_frame(about, &in);
			len = build_error(got, &out, 3, about + 14, quoted);
			assert_int_equal(pkt_parse(&p, got, len), WHY_OK);
			assert_int_equal(p.kind, PKT_ERROR);
			assert_int_equal(p.about_saddr, htonl(R));
			assert_int_equal(p.about_daddr, htonl(B));
			if (i < 2) {
				assert_int_equal(p.sport, htons(50000));
				assert_int_equal(p.dport, htons(80));
			}
			t = *to(R, 0, A, 0);
			a = *to(A, 40000, R, 80);
			if (i >= 2)
				a.sport = a.dport = htons(99);
			pkt_rewrite_error(&p, &t, &a);
			assert_true(build_valid(got, len));

			in.saddr = A, in.daddr = R;
			if (i < 2)
				in.sport = 40000;
			else
				in.dport = 99;
			build_frame(about, &in);
			out.saddr = R, out.daddr = A, out.ttl = 63;
			build_error(want, &out, 3, about + 14, quoted);
			assert_memory_equal(got, want, len);
		}
}

/* One change of a good frame, and what is said of it. */
static void test_refused(void **state)
{
	static const struct {
		const char *what;
		int at, byte;
		bool fix_sum;
		uint32_t len; /* 0: all of it */
		enum why why;
	} bad[] = {
		{ "no Ethernet header", -1, 0, false, 13, WHY_TRUNCATED },
		{ "no IP header", -1, 0, false, 33, WHY_TRUNCATED },
		{ "no TCP header", 17, 39, true, 0, WHY_TRUNCATED },
		{ "longer than the frame", 16, 1, true, 0, WHY_TRUNCATED },
		{ "IPv6", 12, 0x86, false, 0, WHY_PROTOCOL },
		{ "version 6", 14, 0x65, true, 0, WHY_MALFORMED },
		{ "header of 16 bytes", 14, 0x44, true, 0, WHY_MALFORMED },
		{ "total length below the header's", 17, 19, true, 0, WHY_MALFORMED },
		{ "IP checksum", 24, 0x77, false, 0, WHY_IP_CHECKSUM },
		{ "more fragments", 20, 0x20, true, 0, WHY_FRAGMENT },
		{ "a later fragment", 21, 0x08, true, 0, WHY_FRAGMENT },
		{ "protocol 47", 23, 47, true, 0, WHY_PROTOCOL },
		{ "data offset of 16", 46, 0x40, false, 0, WHY_MALFORMED },
		{ "data offset beyond the end", 46, 0xf0, false, 0, WHY_MALFORMED },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint8_t f[BUILD_ROOM];
		struct build b = tcp();
		uint32_t len, s = 0;
		struct pkt p;
		int k;

		b.payload = 30;
		len = build_frame(f, &b);
		if (bad[i].at >= 0)
			f[bad[i].at] = (uint8_t)bad[i].byte;
		if (bad[i].fix_sum) {
			f[24] = f[25] = 0;
			for (k = 14; k < 34; k += 2)
				s += (uint32_t)(f[k] << 8 | f[k + 1]);
			s = (s & 0xffff) + (s >> 16);
			f[24] = (uint8_t)(~s >> 8);
			f[25] = (uint8_t)~s;
		}
		if (pkt_parse(&p, f, bad[i].len ? bad[i].len : len) != bad[i].why)
			fail_msg("%s: not %s", bad[i].what, why_name(bad[i].why));
	}
}

static void test_truncated_anywhere(void **state)
{
	uint8_t f[BUILD_ROOM];
	struct build b = tcp();
	uint32_t len, i;
	struct pkt p;

	(void)state;
	b.vlan = PKT_TAGGED;
	len = build_frame(f, &b);
	for (i = 0; i < len; i++)
		assert_int_equal(pkt_parse(&p, f, i), WHY_TRUNCATED);
	/* Padding is not part of the packet. */
	memset(f + len, 0xee, 20);
	assert_int_equal(pkt_parse(&p, f, len + 20), WHY_OK);
	assert_int_equal(p.end, len);
}

static void test_options(void **state)
{
	/* 24 bytes of header, of which four are no-operations */
	uint8_t f[60] = { [12] = 8, [14] = 0x46, [17] = 46, [22] = 64, [23] = 6,
			  [34] = 1, [35] = 1,	 [36] = 1,  [37] = 0 };
	uint32_t s = 0;
	struct pkt p;
	int k;

	(void)state;
	for (k = 14; k < 38; k += 2)
		s += (uint32_t)(f[k] << 8 | f[k + 1]);
	s = (s & 0xffff) + (s >> 16);
	f[24] = (uint8_t)(~s >> 8);
	f[25] = (uint8_t)~s;
	assert_int_equal(pkt_parse(&p, f, sizeof(f)), WHY_OPTIONS);
}

static void test_names(void **state)
{
	int a, b;

	(void)state;
	for (a = 0; a < WHY_COUNT; a++)
		for (b = 0; b < a; b++)
			assert_string_not_equal(why_name((enum why)a), why_name((enum why)b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rewrite),	 cmocka_unit_test(test_looks_partial),
		cmocka_unit_test(test_udp_zero), cmocka_unit_test(test_error),
		cmocka_unit_test(test_refused),	 cmocka_unit_test(test_truncated_anywhere),
		cmocka_unit_test(test_options),	 cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("pkt", tests, NULL, NULL);
}
