// SPDX-License-Identifier: GPL-2.0-only
#include "arp.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define SETS	 128
#define WAYS	 4
#define OP_ASK	 1
#define OP_REPLY 2
#define NEVER	 UINT64_MAX

enum state {
	FREE,
	ASKING,
	GOOD,
	CHECKING,
	FAILED
};

struct entry {
	enum state state;
	__be32 addr;
	uint16_t vlan;
	uint8_t mac[6];
	uint8_t tries; /* requests sent in this state */
	uint8_t nheld;
	uint64_t due_ms; /* of ASKING and CHECKING: next request or the end; of others: age */
	uint64_t used_ms;
	uint64_t check_ms;   /* no check because of a conflict before this */
	uint16_t head, tail; /* of the frames that wait, in arp.held; with nheld */
};

struct held {
	struct frame frame;
	uint16_t next;
};

struct arp {
	uint8_t mac[6];
	__be32 addr;
	uint64_t seed;
	uint64_t deadline; /* not after the first due_ms of ASKING and CHECKING */
	bool releasing;	   /* there may be held frames that need not wait */
	struct arp_stats stats;
	struct entry entry[SETS * WAYS];
	struct held held[ARP_HELD_ALL];
	uint16_t free; /* the first that is not in use; chained */
};

/* RFC 826 for Ethernet and IPv4. */
struct __attribute__((packed)) wire {
	__be16 htype, ptype;
	uint8_t hlen, plen;
	__be16 op;
	uint8_t sha[6];
	uint8_t spa[4];
	uint8_t tha[6];
	uint8_t tpa[4];
};
_Static_assert(sizeof(struct wire) == 28, "an ARP packet");

struct arp *arp_new(const uint8_t mac[6], __be32 addr, uint64_t seed)
{
	struct arp *arp = calloc(1, sizeof(*arp));
	uint16_t i;

	if (!arp)
		return NULL;
	for (i = 0; i < ARP_HELD_ALL; i++)
		arp->held[i].next = i + 1;
	memcpy(arp->mac, mac, 6);
	arp->addr = addr;
	arp->seed = seed;
	arp->deadline = NEVER;
	return arp;
}

void arp_free(struct arp *arp)
{
	free(arp);
}

static struct entry *set_of(struct arp *arp, uint16_t vlan, __be32 addr)
{
	uint64_t x = ((uint64_t)vlan << 32 | addr) ^ arp->seed;

	x = (x ^ (x >> 33)) * 0xff51afd7ed558ccd;
	x = (x ^ (x >> 33)) * 0xc4ceb9fe1a85ec53;
	return &arp->entry[(x ^ (x >> 33)) % SETS * WAYS];
}

static struct entry *lookup(struct arp *arp, uint16_t vlan, __be32 addr)
{
	struct entry *set = set_of(arp, vlan, addr);
	int i;

	for (i = 0; i < WAYS; i++)
		if (set[i].state != FREE && set[i].addr == addr && set[i].vlan == vlan)
			return &set[i];
	return NULL;
}

static void ask(struct arp *arp, struct entry *e, enum state state, uint64_t now_ms)
{
	e->state = state;
	e->tries = 0;
	e->due_ms = now_ms;
	if (arp->deadline > now_ms)
		arp->deadline = now_ms;
}

/* The least recently used, but none that frames wait for. */
static struct entry *make(struct arp *arp, uint16_t vlan, __be32 addr, uint64_t now_ms)
{
	struct entry *set = set_of(arp, vlan, addr), *e = NULL;
	int i;

	for (i = 0; i < WAYS; i++) {
		if (set[i].state == FREE) {
			e = &set[i];
			break;
		}
		if (!set[i].nheld && set[i].state != ASKING && (!e || set[i].used_ms < e->used_ms))
			e = &set[i];
	}
	if (!e)
		return NULL;
	memset(e, 0, sizeof(*e));
	e->addr = addr;
	e->vlan = vlan;
	ask(arp, e, ASKING, now_ms);
	return e;
}

const uint8_t *arp_find(struct arp *arp, uint16_t vlan, __be32 addr, uint64_t now_ms, enum why *why)
{
	struct entry *e = lookup(arp, vlan, addr);

	if (!e)
		e = make(arp, vlan, addr, now_ms);
	*why = WHY_ARP_TABLE_FULL;
	if (!e)
		return NULL;
	e->used_ms = now_ms;
	*why = WHY_OK;
	switch (e->state) {
	case GOOD:
		if (now_ms >= e->due_ms)
			ask(arp, e, CHECKING, now_ms);
		return e->mac;
	case CHECKING:
		return e->mac;
	case FAILED:
		if (now_ms < e->due_ms || e->nheld) {
			*why = WHY_ARP_FAILED;
			return NULL;
		}
		ask(arp, e, ASKING, now_ms);
		return NULL;
	default:
		return NULL;
	}
}

enum why arp_hold(struct arp *arp, uint16_t vlan, __be32 addr, const struct frame *f)
{
	struct entry *e = lookup(arp, vlan, addr);
	uint16_t i;

	if (!e || e->state != ASKING)
		return WHY_ARP_FAILED;
	if (e->nheld == ARP_HELD || arp->stats.held >= ARP_HELD_ALL)
		return WHY_ARP_HELD_FULL;
	i = arp->free;
	arp->free = arp->held[i].next;
	arp->held[i].frame = *f;
	if (e->nheld++)
		arp->held[e->tail].next = i;
	else
		e->head = i;
	e->tail = i;
	arp->stats.held++;
	return WHY_OK;
}

bool arp_released(struct arp *arp, struct frame *f, enum why *why)
{
	struct entry *e = arp->entry;
	uint16_t i;

	for (; arp->releasing && e < arp->entry + SETS * WAYS; e++) {
		if (!e->nheld || e->state == ASKING)
			continue;
		i = e->head;
		*f = arp->held[i].frame;
		e->head = arp->held[i].next;
		arp->held[i].next = arp->free;
		arp->free = i;
		e->nheld--;
		arp->stats.held--;
		*why = e->state == FAILED ? WHY_ARP_FAILED : WHY_OK;
		if (*why == WHY_OK)
			memcpy(f->data, e->mac, 6);
		return true;
	}
	arp->releasing = false;
	return false;
}

static bool plausible(const struct pkt *p, const struct wire *w)
{
	static const uint8_t zero[6];

	return w->htype == htons(1) && w->ptype == htons(0x0800) && w->hlen == 6 && w->plen == 4 &&
	       !(w->sha[0] & 1) && memcmp(w->sha, zero, 6) && !memcmp(w->sha, p->data + 6, 6);
}

static void learn(struct arp *arp, struct entry *e, const uint8_t *mac, uint64_t now_ms)
{
	arp->releasing |= e->nheld > 0;
	memcpy(e->mac, mac, 6);
	e->state = GOOD;
	e->due_ms = now_ms + ARP_GOOD_MS;
}

static enum why answer(struct arp *arp, struct pkt *p, struct wire *w, uint32_t *len)
{
	uint8_t asker[4];

	memcpy(p->data, w->sha, 6);
	memcpy(p->data + 6, arp->mac, 6);
	w->op = htons(OP_REPLY);
	memcpy(asker, w->spa, 4);
	memcpy(w->tha, w->sha, 6);
	memcpy(w->tpa, asker, 4);
	memcpy(w->sha, arp->mac, 6);
	memcpy(w->spa, &arp->addr, 4);
	*len = p->l3 + (uint32_t)sizeof(*w);
	return WHY_OK;
}

enum why arp_input(struct arp *arp, struct pkt *p, uint32_t *len, uint64_t now_ms)
{
	struct wire *w = (struct wire *)(p->data + p->l3);
	bool for_us, conflict = false;
	struct entry *e;
	__be32 sender;

	if (*len < p->l3 + sizeof(*w) || !plausible(p, w))
		return WHY_ARP_MALFORMED;
	memcpy(&sender, w->spa, 4);
	if (!memcmp(w->sha, arp->mac, 6))
		return WHY_ARP_IGNORED;
	if (sender == arp->addr)
		return WHY_ARP_OUR_ADDRESS;
	for_us = !memcmp(w->tpa, &arp->addr, 4);
	e = lookup(arp, p->vlan, sender);
	if (e && (e->state == GOOD || e->state == CHECKING) && memcmp(e->mac, w->sha, 6)) {
		conflict = true;
		arp->stats.conflicts++;
		if (e->state == GOOD && now_ms >= e->check_ms) {
			e->check_ms = now_ms + ARP_FAILED_MS;
			ask(arp, e, CHECKING, now_ms);
		} else if (e->state == GOOD && e->due_ms > e->check_ms) {
			/* Too soon, but not forgotten: this one may have been true. */
			e->due_ms = e->check_ms;
		}
	}
	/* A liar that asks learns nothing but our MAC; a container with a new MAC needs it. */
	if (w->op == htons(OP_ASK) && for_us)
		return answer(arp, p, w, len);
	if (conflict)
		return WHY_ARP_CONFLICT;
	if (w->op != htons(OP_REPLY) || !for_us || !e || memcmp(p->data, arp->mac, 6) ||
	    memcmp(w->tha, arp->mac, 6) || !e->tries)
		return WHY_ARP_IGNORED;
	if (e->state != ASKING && e->state != CHECKING)
		return WHY_ARP_IGNORED;
	learn(arp, e, w->sha, now_ms);
	return WHY_ARP_DONE;
}

static uint32_t build(const struct arp *arp, const struct entry *e, uint8_t *frame)
{
	struct wire w = { .htype = htons(1), .ptype = htons(0x0800), .hlen = 6, .plen = 4 };
	uint32_t at = 12;

	memset(frame, 0xff, 6);
	if (e->state == CHECKING)
		memcpy(frame, e->mac, 6);
	memcpy(frame + 6, arp->mac, 6);
	if (e->vlan & PKT_TAGGED) {
		const uint8_t tag[4] = { 0x81, 0, (uint8_t)((e->vlan & 0xf00) >> 8),
					 (uint8_t)e->vlan };

		memcpy(frame + at, tag, 4);
		at += 4;
	}
	frame[at++] = 0x08;
	frame[at++] = 0x06;
	w.op = htons(OP_ASK);
	memcpy(w.sha, arp->mac, 6);
	memcpy(w.spa, &arp->addr, 4);
	memcpy(w.tpa, &e->addr, 4);
	memcpy(frame + at, &w, sizeof(w));
	return at + (uint32_t)sizeof(w);
}

/* No answer came to the last request. */
static void give_up(struct arp *arp, struct entry *e, uint64_t now_ms)
{
	if (e->state == CHECKING) {
		ask(arp, e, ASKING, now_ms);
		return;
	}
	e->state = FAILED;
	e->due_ms = now_ms + ARP_FAILED_MS;
	arp->stats.failed++;
	arp->releasing |= e->nheld > 0;
}

uint32_t arp_request(struct arp *arp, uint8_t *frame, uint64_t now_ms)
{
	struct entry *e = arp->entry;

	if (now_ms < arp->deadline)
		return 0;
	arp->deadline = NEVER;
	for (; e < arp->entry + SETS * WAYS; e++) {
		if (e->state != ASKING && e->state != CHECKING)
			continue;
		if (now_ms >= e->due_ms && e->tries == ARP_TRIES)
			give_up(arp, e, now_ms);
		if (e->state == FAILED)
			continue;
		if (now_ms >= e->due_ms) {
			e->due_ms = now_ms + ((uint64_t)ARP_FIRST_MS << e->tries);
			e->tries++;
			arp->stats.requests++;
			arp->deadline = now_ms; /* the entries behind this one */
			return build(arp, e, frame);
		}
		if (arp->deadline > e->due_ms)
			arp->deadline = e->due_ms;
	}
	return 0;
}

uint64_t arp_deadline(const struct arp *arp)
{
	return arp->deadline;
}

void arp_stats(const struct arp *arp, struct arp_stats *stats)
{
	const struct entry *e = arp->entry;

	*stats = arp->stats;
	for (; e < arp->entry + SETS * WAYS; e++)
		stats->known += e->state == GOOD || e->state == CHECKING;
}
