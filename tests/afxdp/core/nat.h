/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The table of flows.
 *
 * Theory of operation. The router is the one address that both ends of a flow talk to, so a flow is
 * two keys, one for each end: what a packet of that end looks like when it comes in. The key holds
 * all that packets towards this end need: its address and port become the destination, the router's
 * port that it talks to becomes the source. Both keys are in one hash table; which of the
 * two was found tells the side.
 *
 *	client 10.0.0.13:4001 -> router:80	key[0] = { 10.0.0.13, 4001, 80 }
 *	router:4001 -> server 10.0.0.14:80	key[1] = { 10.0.0.14, 80, 4001 }
 *
 * The router's port towards the responder is the initiator's own when no other flow has it, and
 * else any free one. ICMP echo has an identifier in the place of the initiator's port, and 0 in
 * the place of the responder's.
 *
 * The flows themselves may be in memory that outlives the process: nat_recover() finds them again
 * after it was killed at whatever instruction. @live is the last that is written of a flow that begins and
 * the first of one that ends; all else (chains, what is free) is made anew from the keys.
 *
 * No system calls, one thread.
 */
#ifndef AFXDP_NAT_H
#define AFXDP_NAT_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "why.h"

/* Milliseconds without a packet after which a flow is forgotten. */
#define NAT_TCP_NEW_MS	   30000   /* no answer yet */
#define NAT_TCP_MS	   7440000 /* RFC 5382: at least 2 hours and 4 minutes */
#define NAT_TCP_CLOSING_MS 20000   /* both ends sent FIN, or one RST */
#define NAT_UDP_NEW_MS	   30000
#define NAT_UDP_MS	   300000 /* RFC 4787: 5 minutes */
#define NAT_ICMP_MS	   60000  /* RFC 5508: at least 60 s */

/* A packet of one end as it comes in. Addresses and ports in network order. */
struct nat_key {
	__be32 raddr;  /* of the end */
	__be16 rport;  /* of the end */
	__be16 lport;  /* of the router */
	uint16_t vlan; /* as in struct pkt */
	uint8_t proto; /* IPPROTO_TCP, _UDP or _ICMP */
	uint8_t zero;
};

enum nat_side {
	NAT_INITIATOR,
	NAT_RESPONDER
};

/* Read by later processes, perhaps of another version: see NAT_LAYOUT. */
struct nat_flow {
	struct nat_key key[2]; /* by enum nat_side */
	uint32_t next[2];      /* in the chains of the hash table */
	uint64_t expires_ms;   /* CLOCK_MONOTONIC */
	uint8_t fin;	       /* bit of each side that sent FIN */
	uint8_t answered, reset;
	uint8_t live; /* in use, and whole */
	uint8_t zero[4];
};
_Static_assert(sizeof(struct nat_flow) == 48, "the layout that NAT_LAYOUT names");

/* Of what is kept for later processes: another name for another layout or meaning. */
#define NAT_LAYOUT "xsk_flows_1"

struct nat;

/**
 * nat_new() - an empty table
 * @capacity: flows, 1 to 2^24
 * @seed: unknown to others, so that nobody makes long chains
 * @flow: zeroes, or what another table left there: room for @capacity flows that outlives this one. NULL: the
 *	table has its own.
 *
 * Return: NULL without memory; nat_free() frees it.
 */
struct nat *nat_new(uint32_t capacity, uint64_t seed, struct nat_flow *flow);
void nat_free(struct nat *nat);

/**
 * nat_recover() - takes over what is in the memory that nat_new() was given; before anything else
 * @fits: whether a flow is still wanted; those that are not are forgotten
 *
 * Return: how many flows go on.
 */
uint32_t nat_recover(struct nat *nat, bool (*fits)(const struct nat_flow *f, const void *with),
		     const void *with);

/** nat_find() - the flow and the side that @key is of. Return: NULL when there is none. */
struct nat_flow *nat_find(struct nat *nat, const struct nat_key *key, enum nat_side *side);

/**
 * nat_add() - a flow that does not exist yet
 * @from: the initiator
 * @to: address of the responder
 * @why: WHY_NAT_FULL or WHY_NAT_PORTS when NULL is returned
 */
struct nat_flow *nat_add(struct nat *nat, const struct nat_key *from, __be32 to, uint64_t now_ms,
			 enum why *why);

/** nat_seen() - a packet of @side passed: the flow lives on */
void nat_seen(struct nat_flow *flow, enum nat_side side, uint8_t tcp_flags, uint64_t now_ms);

/** nat_expire() - forgets flows that are over; looks at @budget of them, and goes on next time */
void nat_expire(struct nat *nat, uint64_t now_ms, uint32_t budget);

uint32_t nat_count(const struct nat *nat);
uint32_t nat_capacity(const struct nat *nat);

#endif
