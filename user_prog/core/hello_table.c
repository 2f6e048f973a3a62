// SPDX-License-Identifier: GPL-2.0-only
/* The slots of struct hello. */
#include "hello_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The index is a hash table with linear probing, at most half full. Its seed keeps
 * others from choosing addresses that collide.
 */
static uint32_t hello_table_home(const struct hello *h, __be32 addr)
{
	uint32_t x = addr ^ h->index_seed;

	x = (x ^ x >> 16) * 0x7feb352du;
	x = (x ^ x >> 15) * 0x846ca68bu;
	return (x ^ x >> 16) & h->index_mask;
}

/* Where @addr is, or the empty place where it would go. */
static uint32_t hello_table_place(const struct hello *h, __be32 addr)
{
	uint32_t i = hello_table_home(h, addr);

	while (h->index[i] && h->peers[h->index[i] - 1].addr != addr)
		i = (i + 1) & h->index_mask;
	return i;
}

int hello_table_init(struct hello *h, unsigned int max_peers)
{
	uint32_t size = 4;

	while (size < 2 * max_peers)
		size *= 2;
	h->index = calloc(size, sizeof(*h->index));
	h->peers = calloc(max_peers, sizeof(*h->peers));
	if (!h->index || !h->peers) {
		hello_table_free(h);
		return -ENOMEM;
	}
	h->index_mask = size - 1;
	h->index_seed = (uint32_t)h->random(h->arg);
	h->max_peers = max_peers;
	return 0;
}

void hello_table_free(struct hello *h)
{
	free(h->index);
	free(h->peers);
	h->index = NULL;
	h->peers = NULL;
	h->max_peers = 0;
	h->n_peers = 0;
	h->n_strangers = 0;
	h->high = 0;
}

int hello_table_find(const struct hello *h, __be32 addr)
{
	uint32_t slot = h->index[hello_table_place(h, addr)];

	return slot ? (int)slot - 1 : -ENOENT;
}

uint16_t hello_table_next_gen(uint16_t gen)
{
	gen++;
	return gen ? gen : 1;
}

bool hello_table_is_up(const struct hello_peer *p, uint64_t now_ms)
{
	unsigned int i;

	for (i = 0; i < XM_PROTOS; i++)
		if (p->up_until_ms[i] > now_ms)
			return true;
	return false;
}

void hello_table_claim(struct hello *h, unsigned int idx, __be32 addr, bool stranger,
		       uint64_t now_ms)
{
	struct hello_peer *p = &h->peers[idx];

	*p = (struct hello_peer){
		.used = true,
		.addr = addr,
		.gen = hello_table_next_gen(p->gen),
		.state = HELLO_SILENT,
		.problem = HELLO_SILENT,
		.first_ms = now_ms,
		.next_ms = now_ms,
		.period_ms = XM_HELLO_PERIOD_MS,
	};
	h->index[hello_table_place(h, addr)] = idx + 1;
	h->n_peers++;
	if (h->high <= idx)
		h->high = idx + 1;
	h->n_strangers++; /* until there is traffic */
	if (!stranger)
		hello_table_traffic(h, p, now_ms);
}

/* Close the gap at @hole: what probing has carried past its home moves back. */
static void hello_table_unindex(struct hello *h, uint32_t hole)
{
	uint32_t i = hole;

	for (;;) {
		uint32_t home;

		i = (i + 1) & h->index_mask;
		if (!h->index[i])
			break;
		home = hello_table_home(h, h->peers[h->index[i] - 1].addr);
		if (((i - home) & h->index_mask) >= ((i - hole) & h->index_mask)) {
			h->index[hole] = h->index[i];
			hole = i;
		}
	}
	h->index[hole] = 0;
}

void hello_table_remove(struct hello *h, unsigned int idx)
{
	struct hello_peer *p = &h->peers[idx];

	hello_table_unindex(h, hello_table_place(h, p->addr));
	h->n_peers--;
	if (!p->traffic_ms)
		h->n_strangers--;
	p->used = false;
	memset(p->up_until_ms, 0, sizeof(p->up_until_ms));
	h->apply(h->arg, idx, p, false);
}

static bool hello_table_evict(struct hello *h, uint64_t now_ms)
{
	int victim = -1;
	unsigned int i;

	for (i = 0; i < h->high; i++) {
		const struct hello_peer *p = &h->peers[i];

		if (!p->used || p->traffic_ms || hello_table_is_up(p, now_ms))
			continue;
		if (victim < 0 || p->first_ms < h->peers[victim].first_ms)
			victim = (int)i;
	}
	if (victim < 0)
		return false;
	hello_table_remove(h, (unsigned int)victim);
	return true;
}

int hello_table_add(struct hello *h, __be32 addr, bool stranger, uint64_t now_ms)
{
	unsigned int quota = h->max_peers / 4 ? h->max_peers / 4 : 1;
	unsigned int i;

	if ((stranger && h->n_strangers >= quota) || h->n_peers >= h->max_peers) {
		if (!hello_table_evict(h, now_ms)) {
			h->table_full++;
			return -ENOSPC;
		}
	}
	for (i = 0; h->peers[i].used; i++)
		;
	hello_table_claim(h, i, addr, stranger, now_ms);
	return (int)i;
}

void hello_table_traffic(struct hello *h, struct hello_peer *p, uint64_t when_ms)
{
	if (!p->traffic_ms)
		h->n_strangers--;
	if (!when_ms) /* 0 says passive */
		when_ms = 1;
	if (p->traffic_ms < when_ms)
		p->traffic_ms = when_ms;
}
