// SPDX-License-Identifier: GPL-2.0-only
#include "nat.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define TCP_FIN	 0x01
#define TCP_SYN	 0x02
#define TCP_RST	 0x04
#define PORT_MIN 1024
#define PORT_TRY 1024 /* a table that crowded is as good as full */
#define NONE	 UINT32_MAX

_Static_assert(sizeof(struct nat_key) == 12, "keys are compared and hashed as bytes");

/* A link is the number of a flow times 2, plus the side. */
struct nat {
	uint32_t capacity, count, mask;
	uint32_t free;	 /* chained by next[0] */
	uint32_t unused; /* flows from here on were never used */
	uint32_t sweep;
	uint64_t seed, random;
	uint32_t *bucket;
	struct nat_flow *flow;
	bool own; /* flow is freed with the table */
};

struct nat *nat_new(uint32_t capacity, uint64_t seed, struct nat_flow *flow)
{
	struct nat *nat = calloc(1, sizeof(*nat));
	uint32_t buckets = 1;

	if (!nat)
		return NULL;
	while (buckets < 2 * capacity)
		buckets *= 2;
	nat->capacity = capacity;
	nat->mask = buckets - 1;
	nat->free = NONE;
	nat->seed = seed;
	nat->random = seed | 1;
	nat->bucket = malloc(buckets * sizeof(*nat->bucket));
	nat->own = !flow;
	/* Zeroed, which is how a flow that is not in use looks. */
	nat->flow = flow ?: calloc(capacity, sizeof(*nat->flow));
	if (!nat->bucket || !nat->flow) {
		nat_free(nat);
		return NULL;
	}
	memset(nat->bucket, 0xff, buckets * sizeof(*nat->bucket));
	return nat;
}

void nat_free(struct nat *nat)
{
	if (!nat)
		return;
	free(nat->bucket);
	if (nat->own)
		free(nat->flow);
	free(nat);
}

/* The finalizer of splitmix64, once for each word. */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

static uint32_t *bucket_of(struct nat *nat, const struct nat_key *key)
{
	uint64_t low;
	uint32_t high;

	memcpy(&low, key, sizeof(low));
	memcpy(&high, (const char *)key + sizeof(low), sizeof(high));
	return &nat->bucket[mix(mix(low ^ nat->seed) + high) & nat->mask];
}

struct nat_flow *nat_find(struct nat *nat, const struct nat_key *key, enum nat_side *side)
{
	uint32_t link;

	for (link = *bucket_of(nat, key); link != NONE;) {
		struct nat_flow *f = &nat->flow[link / 2];

		if (!memcmp(&f->key[link % 2], key, sizeof(*key))) {
			*side = (enum nat_side)(link % 2);
			return f;
		}
		link = f->next[link % 2];
	}
	return NULL;
}

static void chain(struct nat *nat, uint32_t link)
{
	struct nat_flow *f = &nat->flow[link / 2];
	uint32_t *bucket = bucket_of(nat, &f->key[link % 2]);

	f->next[link % 2] = *bucket;
	*bucket = link;
}

static void unchain(struct nat *nat, uint32_t link)
{
	uint32_t *at = bucket_of(nat, &nat->flow[link / 2].key[link % 2]);

	while (*at != link)
		at = &nat->flow[*at / 2].next[*at % 2];
	*at = nat->flow[link / 2].next[link % 2];
}

static void set_live(struct nat_flow *f, bool live)
{
	__atomic_store_n(&f->live, live, __ATOMIC_RELEASE);
	/* Nor may what follows come before. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static bool is_whole(const struct nat_flow *f)
{
	const struct nat_key *a = &f->key[NAT_INITIATOR], *b = &f->key[NAT_RESPONDER];

	return f->live == 1 && a->raddr && b->raddr && a->proto == b->proto && a->vlan == b->vlan &&
	       a->lport == b->rport && !a->zero && !b->zero &&
	       (a->proto == IPPROTO_TCP || a->proto == IPPROTO_UDP || a->proto == IPPROTO_ICMP);
}

uint32_t nat_recover(struct nat *nat, bool (*fits)(const struct nat_flow *f, const void *with),
		     const void *with)
{
	enum nat_side side;
	uint32_t n;

	for (n = 0; n < nat->capacity; n++) {
		struct nat_flow *f = &nat->flow[n];

		if (!is_whole(f) || !fits(f, with) ||
		    nat_find(nat, &f->key[NAT_INITIATOR], &side) ||
		    nat_find(nat, &f->key[NAT_RESPONDER], &side)) {
			if (f->live)
				set_live(f, false);
			continue;
		}
		/* Those in between are free. */
		for (; nat->unused < n; nat->unused++) {
			nat->flow[nat->unused].next[0] = nat->free;
			nat->free = nat->unused;
		}
		nat->unused = n + 1;
		chain(nat, 2 * n + NAT_INITIATOR);
		chain(nat, 2 * n + NAT_RESPONDER);
		nat->count++;
	}
	return nat->count;
}

static uint16_t random_port(struct nat *nat)
{
	nat->random += 0x9e3779b97f4a7c15;
	return (uint16_t)mix(nat->random);
}

/* Sets @key->lport to one that makes the key unique. */
static bool choose_port(struct nat *nat, struct nat_key *key, __be16 wanted)
{
	enum nat_side side;
	uint16_t port;
	int i;

	key->lport = wanted;
	if (!nat_find(nat, key, &side))
		return true;
	port = random_port(nat);
	for (i = 0; i < PORT_TRY; i++, port++) {
		/* Identifiers of ICMP may have any value. */
		if (key->proto != IPPROTO_ICMP && port < PORT_MIN)
			port = PORT_MIN;
		key->lport = htons(port);
		if (!nat_find(nat, key, &side))
			return true;
	}
	return false;
}

struct nat_flow *nat_add(struct nat *nat, const struct nat_key *from, __be32 to, uint64_t now_ms,
			 enum why *why)
{
	struct nat_flow *f;
	struct nat_key key = *from;
	uint32_t n = nat->free;

	*why = WHY_NAT_FULL;
	if (n == NONE && nat->unused == nat->capacity)
		return NULL;
	*why = WHY_NAT_PORTS;
	key.raddr = to;
	key.rport = from->lport;
	if (!choose_port(nat, &key, from->rport))
		return NULL;
	if (n == NONE)
		n = nat->unused++;
	else
		nat->free = nat->flow[n].next[0];
	f = &nat->flow[n];
	memset(f, 0, sizeof(*f));
	f->key[NAT_INITIATOR] = *from;
	f->key[NAT_RESPONDER] = key;
	chain(nat, 2 * n + NAT_INITIATOR);
	chain(nat, 2 * n + NAT_RESPONDER);
	nat->count++;
	nat_seen(f, NAT_INITIATOR, 0, now_ms);
	set_live(f, true);
	*why = WHY_OK;
	return f;
}

void nat_seen(struct nat_flow *f, enum nat_side side, uint8_t flags, uint64_t now_ms)
{
	uint64_t ms;

	if (side == NAT_RESPONDER)
		f->answered = true;
	switch (f->key[0].proto) {
	case IPPROTO_TCP:
		/* A RST may be forged or out of window, and only the ends can tell: who goes
		 * on shows that it was. A SYN begins anew with the same ports. */
		f->reset = !!(flags & TCP_RST);
		if (flags & TCP_SYN)
			f->fin = 0;
		if (flags & TCP_FIN)
			f->fin |= (uint8_t)(1 << side);
		if (f->reset || f->fin == 3)
			ms = NAT_TCP_CLOSING_MS;
		else
			ms = f->answered ? NAT_TCP_MS : NAT_TCP_NEW_MS;
		break;
	case IPPROTO_UDP:
		ms = f->answered ? NAT_UDP_MS : NAT_UDP_NEW_MS;
		break;
	default:
		ms = NAT_ICMP_MS;
	}
	f->expires_ms = now_ms + ms;
}

void nat_expire(struct nat *nat, uint64_t now_ms, uint32_t budget)
{
	if (budget > nat->unused)
		budget = nat->unused;
	for (; budget; budget--) {
		uint32_t n = nat->sweep < nat->unused ? nat->sweep : 0;
		struct nat_flow *f = &nat->flow[n];

		nat->sweep = n + 1;
		if (!f->live || f->expires_ms > now_ms)
			continue;
		set_live(f, false);
		unchain(nat, 2 * n + NAT_INITIATOR);
		unchain(nat, 2 * n + NAT_RESPONDER);
		f->next[0] = nat->free;
		nat->free = n;
		nat->count--;
	}
}

uint32_t nat_count(const struct nat *nat)
{
	return nat->count;
}

uint32_t nat_capacity(const struct nat *nat)
{
	return nat->capacity;
}
