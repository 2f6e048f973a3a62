/* SPDX-License-Identifier: GPL-2.0-only */
/* The XDP program on the interface, beside whatever other programs are there (libxdp's dispatcher). */
#ifndef AFXDP_ATTACH_H
#define AFXDP_ATTACH_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "front.h"
#include "nat.h"

struct attach;

struct attach_config {
	int ifindex;
	const char *interface;
	bool skb; /* generic XDP */
	__be32 addr;
	bool drop_fragments, drop_others;
	uint32_t flows;
};

/**
 * attach_open() - loads the program and attaches it
 *
 * Says in the log what is wrong. Return: 0 or -errno; -EBUSY when another program is there
 * that is not libxdp's, which it leaves alone.
 */
int attach_open(struct attach **attach, const struct attach_config *config);

/**
 * attach_flows() - room for the configured number of flows
 *
 * It is a map of the program: as long as that is on the interface, which is when the router was killed, it
 * stays, and here it is again, with what was in it. Return: NULL when the kernel gives none.
 */
struct nat_flow *attach_flows(const struct attach *attach);

/** attach_leftovers() - takes off what killed routers left behind. Return: how many */
int attach_leftovers(struct attach *attach);

/** attach_socket() - the socket @fd takes what comes on @queue */
int attach_socket(struct attach *attach, uint32_t queue, int fd);

/** attach_counts() - adds up the CPUs' counters */
void attach_counts(const struct attach *attach, uint64_t counts[FRONT_COUNTS]);

/** attach_close() - takes the program off; other programs stay */
void attach_close(struct attach *attach);

#endif
