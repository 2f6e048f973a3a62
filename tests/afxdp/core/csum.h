/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Internet checksums. Sums are of 16-bit words in the order in which they are in memory, so that
 * no byte order matters (RFC 1071, 2.B), and are kept unfolded in 64 bits.
 */
#ifndef AFXDP_CSUM_H
#define AFXDP_CSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** csum_fold() - 0 only for a sum of nothing but zeroes */
static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/** csum_bytes() - the sum of @len bytes; an odd last one is followed by a zero */
static inline uint64_t csum_bytes(const void *data, size_t len, uint64_t sum)
{
	const uint8_t *p = data;
	uint64_t a = sum, b = 0;
	uint32_t w[4];
	uint16_t h;

	/* 32-bit words in 64-bit sums overflow after 2^32 of them. */
	for (; len >= sizeof(w); p += sizeof(w), len -= sizeof(w)) {
		memcpy(w, p, sizeof(w));
		a += (uint64_t)w[0] + w[1];
		b += (uint64_t)w[2] + w[3];
	}
	for (; len >= sizeof(h); p += sizeof(h), len -= sizeof(h)) {
		memcpy(&h, p, sizeof(h));
		a += h;
	}
	if (len) {
		h = 0;
		memcpy(&h, p, 1);
		a += h;
	}
	return a + b;
}

/** csum_change() - what a sum changes by when a word @from becomes @to */
static inline uint32_t csum_change(uint16_t from, uint16_t to)
{
	return (uint32_t)(uint16_t)~from + to;
}

/** csum_update() - a checksum field after a change of what it covers (RFC 1624, equation 3) */
static inline uint16_t csum_update(uint16_t field, uint64_t change)
{
	return (uint16_t)~csum_fold((uint64_t)(uint16_t)~field + change);
}

#endif
