/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The slots of struct hello: address to slot, who may have one, who has to go.
 *
 * A slot's number is the peer's number in the programs' peer table, so a peer never
 * moves. Passive peers (known only from their own hellos, which anybody can send) have
 * at most a quarter of the slots, and only they are ever evicted, and only while they
 * are not up.
 */
#ifndef XM_HELLO_TABLE_H
#define XM_HELLO_TABLE_H

#include "hello.h"

/* A proof lasts this long; so long, too, may an echo take. */
#define HELLO_PROOF_MS (XM_HELLO_MISSES * XM_HELLO_PERIOD_MS)

static inline uint64_t hello_later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/** hello_table_init() - Return: 0 or -ENOMEM. hello_table_free() releases. */
int hello_table_init(struct hello *h, unsigned int max_peers);
void hello_table_free(struct hello *h);

/** hello_table_find() - slot of @addr, or -ENOENT */
int hello_table_find(const struct hello *h, __be32 addr);

/**
 * hello_table_add() - give @addr, which has none, a slot
 * @stranger: known from its hello only
 *
 * The peer gets a generation that its slot never had before (within 65535 peers). May
 * evict another one, with a call of apply for it; there is none for @addr yet.
 *
 * Return: slot, or -ENOSPC (counted).
 */
int hello_table_add(struct hello *h, __be32 addr, bool stranger, uint64_t now_ms);

/** hello_table_claim() - make the unused slot @idx that of @addr */
void hello_table_claim(struct hello *h, unsigned int idx, __be32 addr, bool stranger,
		       uint64_t now_ms);

/** hello_table_remove() - forget the peer in a slot, and tell through apply */
void hello_table_remove(struct hello *h, unsigned int idx);

/** hello_table_traffic() - overlay traffic at @when_ms: a passive peer is one no more */
void hello_table_traffic(struct hello *h, struct hello_peer *p, uint64_t when_ms);

/** hello_table_next_gen() - generation after @gen; never 0 */
uint16_t hello_table_next_gen(uint16_t gen);

/** hello_table_is_up() - whether any protocol's proof still holds */
bool hello_table_is_up(const struct hello_peer *p, uint64_t now_ms);

#endif
