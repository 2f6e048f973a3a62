/* SPDX-License-Identifier: GPL-2.0-only */
/* load-message.h - the messages of xmt-load: who they are from, who they are for, and filling. */
#ifndef XMT_LOAD_MESSAGE_H
#define XMT_LOAD_MESSAGE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NS_PER_MS  1000000ull
#define NS_PER_SEC 1000000000ull

#define LOAD_MAGIC   0x786d4c44u
#define LOAD_MAX     32768u
#define LOAD_UDP_MAX 1400u
#define LOAD_MIN     ((uint32_t)sizeof(struct message))

/* How a connection ends; odd ones by the server. */
enum load_way {
	LOAD_FIN_CLIENT,
	LOAD_FIN_SERVER,
	LOAD_RST_CLIENT,
	LOAD_RST_SERVER,
	LOAD_HALF_CLIENT,
	LOAD_HALF_SERVER,
	LOAD_WAYS
};

enum load_fault {
	LOAD_CORRUPT,
	LOAD_MISDELIVERED
};

/* One direction of one connection; addresses and ports in network order. */
struct who {
	uint32_t id;
	uint32_t src, dst;
	uint16_t sport, dport;
	uint8_t dir;
	uint8_t pad[3];
};

struct message {
	uint32_t magic;
	uint32_t len;
	uint64_t seq;
	uint64_t sent_at;
	struct who who;
	uint32_t pad;
};

static inline uint64_t load_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline uint64_t load_seed(const struct message *m)
{
	return load_mix(load_mix((uint64_t)m->who.id << 8 | m->who.dir) ^ m->seq);
}

/* Most are about @size; of TCP one in sixteen is @big, many segments long; one is as short as can be. */
static inline uint32_t load_len(const struct who *w, uint64_t seq, uint32_t size, uint32_t big,
				int udp)
{
	uint64_t r = load_mix(w->id * 31ull + seq);

	if (r % 16 == 0)
		return LOAD_MIN;
	if (r % 16 == 1)
		return udp ? LOAD_UDP_MAX : big;
	return LOAD_MIN + (uint32_t)((r >> 8) % (size > LOAD_MIN ? size - LOAD_MIN + 1 : 1));
}

/* Byte by byte at the end, words before. */
static inline int load_fill(uint64_t seed, uint8_t *data, size_t len, int check)
{
	uint64_t x = seed;
	size_t n;

	for (; len; data += n, len -= n) {
		n = len < 8 ? len : 8;
		x = x * 6364136223846793005ull + 1442695040888963407ull;
		if (!check)
			memcpy(data, &x, n);
		else if (memcmp(data, &x, n) != 0)
			return -1;
	}
	return 0;
}

static inline void load_make(uint8_t *out, const struct who *w, uint64_t seq, uint64_t now,
			     uint32_t len)
{
	struct message m = {
		.magic = LOAD_MAGIC, .len = len, .seq = seq, .sent_at = now, .who = *w
	};

	memcpy(out, &m, sizeof(m));
	load_fill(load_seed(&m), out + sizeof(m), len - sizeof(m), 0);
}

/**
 * load_check() - the first message of @data, which must be from @w
 *
 * Return: its length, 0 when it is not whole yet, -1 with @fault.
 */
static inline int load_check(const uint8_t *data, size_t len, const struct who *w, uint64_t *seq,
			     enum load_fault *fault)
{
	struct message m;

	*fault = LOAD_CORRUPT;
	if (len < sizeof(m))
		return 0;
	memcpy(&m, data, sizeof(m));
	if (m.magic != LOAD_MAGIC || m.len < sizeof(m) || m.len > LOAD_MAX)
		return -1;
	if (len < m.len)
		return 0;
	if (load_fill(load_seed(&m), (uint8_t *)(uintptr_t)data + sizeof(m), m.len - sizeof(m), 1))
		return -1;
	*seq = m.seq;
	if (memcmp(&m.who, w, sizeof(*w)) != 0) {
		*fault = LOAD_MISDELIVERED;
		return -1;
	}
	return (int)m.len;
}

#endif
