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

struct nat_flow {
	struct nat_key key[2]; /* by enum nat_side */
	uint32_t next[2];      /* in the chains of the hash table */
	uint64_t expires_ms;
	uint8_t fin; /* bit of each side that sent FIN */
	bool answered, reset;
};

struct nat;

/**
 * nat_new() - an empty table
 * @capacity: flows, 1 to 2^24
 * @seed: unknown to others, so that nobody makes long chains
 *
 * Return: NULL without memory; nat_free() frees it.
 */
struct nat *nat_new(uint32_t capacity, uint64_t seed);
void nat_free(struct nat *nat);

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
