/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the router does with a frame: parse, find or make the flow, readdress, resolve. No system
 * calls: time comes in with each call, frames go out by what is returned.
 */
#ifndef AFXDP_ROUTER_H
#define AFXDP_ROUTER_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "arp.h"
#include "frame.h"
#include "nat.h"
#include "why.h"

#define ROUTER_CLIENTS 64

/**
 * struct router_config - addresses in network order
 * @mac, @addr, @prefix: of the interface
 * @server: who gets what clients send
 * @clients, @nclients: who may be a client; none: every address of the network. A single one gets
 *	what the server starts.
 * @offload: the kernel completes partial checksums of what is sent
 * @max_len: longest frame that may be sent
 * @flows: capacity
 * @memory: room for them that stays when the process is killed, or NULL; what a killed router of the same
 *	server and clients left there goes on
 * @seed: random
 */
struct router_config {
	uint8_t mac[6];
	__be32 addr;
	uint8_t prefix;
	__be32 server;
	__be32 clients[ROUTER_CLIENTS];
	uint32_t nclients;
	bool offload;
	uint32_t max_len;
	uint32_t flows;
	struct nat_flow *memory;
	uint64_t seed;
};

struct router_stats {
	uint64_t rx, rx_bytes; /* frames that came in, ARP included */
	uint64_t tx, tx_bytes; /* that went or will go out, our requests included */
	uint64_t partial;      /* of those: came with a partial checksum */
	uint64_t flows;	       /* made so far */
	uint64_t recovered;    /* taken over from a router that was killed */
	uint64_t why[WHY_COUNT];
};

struct router;

/** router_new() - Return: NULL without memory; router_free() frees it, but no frames it holds */
struct router *router_new(const struct router_config *config);
void router_free(struct router *r);

enum router_verdict {
	ROUTER_SEND, /* as it is now */
	ROUTER_DROP, /* counted; its buffer is free */
	ROUTER_HOLD  /* router_next() will return it */
};

/** router_input() - a frame came in; it is changed in place */
enum router_verdict router_input(struct router *r, struct frame *f, uint64_t now_ms);

/**
 * router_next() - a held frame that waits no longer. Call it until it returns false, after every
 * batch and after router_request().
 */
bool router_next(struct router *r, struct frame *f, enum router_verdict *verdict);

/** router_request() - as arp_request(); ages flows too. Call it until it returns 0. */
uint32_t router_request(struct router *r, uint8_t *frame, uint64_t now_ms);

/** router_deadline() - as arp_deadline() */
uint64_t router_deadline(const struct router *r);

/**
 * router_not_sent() - a frame that was to be sent could not be
 * @request: it came from router_request(); else it had the verdict ROUTER_SEND
 */
void router_not_sent(struct router *r, uint32_t len, enum why why, bool request);

const struct router_stats *router_stats(const struct router *r);
void router_arp_stats(const struct router *r, struct arp_stats *stats);
uint32_t router_flows(const struct router *r);

#endif
