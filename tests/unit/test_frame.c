// SPDX-License-Identifier: GPL-2.0-only
/* Frames byte by byte, checksums by another implementation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

#define ROOM 70000

static const uint8_t eth[XM_ETH_LEN] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

static struct frame_addr addr(void)
{
	return (struct frame_addr){
		.eth = eth,
		.saddr = htonl(0xac1f0001),
		.daddr = htonl(0xac1f0002),
		.sport = 32768,
		.dport = 18477,
	};
}

/* RFC 1071 by the book: big-endian words, carries folded at each step. */
static uint16_t rfc_sum(const uint8_t *p, size_t len, uint16_t sum)
{
	size_t i;

	for (i = 0; i < len; i++) {
		uint32_t s = sum + (i % 2 ? (uint32_t)p[i] : (uint32_t)p[i] << 8);

		sum = (uint16_t)(s > 0xffff ? s - 0xffff : s);
	}
	return sum;
}

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* A receiver's check: the sum over everything, checksum included, is all ones. */
static void assert_valid(const uint8_t *f, size_t len)
{
	uint8_t pseudo[12];
	size_t l4 = len - 34;

	assert_int_equal(rfc_sum(f + 14, 20, 0), 0xffff);
	memcpy(pseudo, f + 26, 8);
	pseudo[8] = 0;
	pseudo[9] = f[23];
	pseudo[10] = (uint8_t)(l4 >> 8);
	pseudo[11] = (uint8_t)l4;
	assert_int_equal(rfc_sum(f + 34, l4, rfc_sum(pseudo, sizeof(pseudo), 0)), 0xffff);
}

static void test_udp(void **state)
{
	const uint8_t want[] = {
		1,   2,	 3,  4, 5,    6,    7,	  8,	9,  10,	  11,	12,   0x08, 0x00, 0x45,
		0,   0,	 31, 0, 0,    0x40, 0,	  64,	17, 0xe2, 0x8c, 172,  31,   0,	  1,
		172, 31, 0,  2, 0x80, 0,    0x48, 0x2d, 0,  11,	  0x1b, 0x06, 'a',  'b',  'c',
	};
	struct frame_addr a = addr();
	uint8_t buf[64];

	(void)state;
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(frame_build(buf, sizeof(buf), &a, XM_UDP, "abc", 3), sizeof(want));
	assert_valid(buf, sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
	assert_int_equal(buf[sizeof(want)], 0xee);
}

static void test_tcp(void **state)
{
	struct frame_addr a = addr();
	uint8_t buf[128];
	int len;

	(void)state;
	len = frame_build(buf, sizeof(buf), &a, XM_TCP, "abcdefgh", 8);
	assert_int_equal(len, 14 + 20 + 20 + 8);
	assert_valid(buf, (size_t)len);
	assert_int_equal(be16(buf + 12), 0x0800);
	assert_int_equal(buf[14], 0x45);
	assert_int_equal(buf[15], 0); /* TOS */
	assert_int_equal(be16(buf + 16), len - 14);
	assert_int_equal(be16(buf + 18), 0);	  /* ID */
	assert_int_equal(be16(buf + 20), 0x4000); /* DF */
	assert_int_equal(buf[22], 64);
	assert_int_equal(buf[23], 6);
	assert_int_equal(be16(buf + 34), 32768);
	assert_int_equal(be16(buf + 36), 18477);
	assert_int_equal(buf[46], 5 << 4);
	assert_int_equal(buf[47], 0x18); /* ACK, PSH: never SYN, FIN or RST */
	assert_int_not_equal(be16(buf + 48), 0);
	assert_int_equal(be16(buf + 52), 0);
	assert_memory_equal(buf + 54, "abcdefgh", 8);
}

/* Every 16-bit payload: one of them makes the sum 0, which UDP must send as ffff. */
static void test_udp_checksum_is_never_0(void **state)
{
	struct frame_addr a = addr();
	unsigned int v, ones = 0;
	uint8_t buf[64];

	(void)state;
	for (v = 0; v <= 0xffff; v++) {
		uint8_t p[2] = { (uint8_t)(v >> 8), (uint8_t)v };
		int len = frame_build(buf, sizeof(buf), &a, XM_UDP, p, sizeof(p));

		assert_int_equal(len, 44);
		assert_valid(buf, 44);
		assert_int_not_equal(be16(buf + 40), 0);
		ones += be16(buf + 40) == 0xffff;
	}
	assert_in_range(ones, 1, 2);
}

static void test_lengths(void **state)
{
	struct frame_addr a = addr();
	uint8_t *payload = malloc(ROOM);
	unsigned int proto;
	size_t i;

	(void)state;
	assert_non_null(payload);
	for (i = 0; i < ROOM; i++)
		payload[i] = (uint8_t)(i * 7 + (i >> 8));
	for (proto = XM_TCP; proto < XM_PROTOS; proto++) {
		size_t hdr = proto == XM_TCP ? 54 : 42;

		for (i = 0; i < 300; i++) {
			/* just as large as needed: the sanitizer sees a byte too many */
			uint8_t *buf = malloc(hdr + i);

			assert_non_null(buf);
			assert_int_equal(frame_build(buf, hdr + i, &a, proto, payload, i), hdr + i);
			assert_valid(buf, hdr + i);
			assert_int_equal(frame_build(buf, hdr + i - 1, &a, proto, payload, i),
					 -EMSGSIZE);
			free(buf);
		}
	}
	free(payload);
}

static void test_limits(void **state)
{
	struct frame_addr a = addr();
	uint8_t *payload = calloc(1, ROOM), *buf = malloc(ROOM);

	(void)state;
	assert_non_null(payload);
	assert_non_null(buf);
	memset(payload, 0xff, ROOM); /* the largest sums */
	assert_int_equal(frame_build(buf, ROOM, &a, XM_UDP, payload, 65507), 65549);
	assert_valid(buf, 65549);
	assert_int_equal(frame_build(buf, ROOM, &a, XM_UDP, payload, 65508), -EMSGSIZE);
	assert_int_equal(frame_build(buf, ROOM, &a, XM_TCP, payload, 65495), 65549);
	assert_valid(buf, 65549);
	assert_int_equal(frame_build(buf, ROOM, &a, XM_TCP, payload, 65496), -EMSGSIZE);
	assert_int_equal(frame_build(buf, ROOM, &a, XM_TCP, payload, SIZE_MAX), -EMSGSIZE);
	assert_int_equal(frame_build(buf, 0, &a, XM_UDP, NULL, 0), -EMSGSIZE);
	assert_int_equal(frame_build(buf, ROOM, &a, XM_UDP, NULL, 0), 42);
	assert_valid(buf, 42);
	assert_int_equal(frame_build(buf, ROOM, &a, XM_PROTOS, "x", 1), -EINVAL);
	free(payload);
	free(buf);
}

static void test_csum(void **state)
{
	const uint8_t data[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };
	uint16_t sum = htons(0xddf2); /* RFC 1071, section 3 */

	(void)state;
	assert_int_equal(frame_csum(data, sizeof(data), 0), sum);
	assert_int_equal(frame_csum(data + 4, 4, frame_csum(data, 4, 0)), sum);
	assert_int_equal(frame_csum(data, 0, 0), 0);
	assert_int_equal(frame_csum("\x01", 1, 0), htons(0x0100));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_udp_checksum_is_never_0),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_csum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
