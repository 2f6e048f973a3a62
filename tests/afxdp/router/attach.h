/* SPDX-License-Identifier: GPL-2.0-only */
/* The XDP program on the interface, beside whatever other programs are there (libxdp's dispatcher). */
#ifndef AFXDP_ATTACH_H
#define AFXDP_ATTACH_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "front.h"

struct attach;

struct attach_config {
	int ifindex;
	const char *interface;
	bool skb; /* generic XDP */
	__be32 addr;
	bool drop_fragments, drop_others;
};

/**
 * attach_open() - loads the program and attaches it
 *
 * Says in the log what is wrong. Return: 0 or -errno; -EBUSY when another program is there
 * that is not libxdp's, which it leaves alone.
 */
int attach_open(struct attach **attach, const struct attach_config *config);

/** attach_leftovers() - takes off what killed routers left behind. Return: how many */
int attach_leftovers(struct attach *attach);

/** attach_socket() - the socket @fd takes what comes on @queue */
int attach_socket(struct attach *attach, uint32_t queue, int fd);

/** attach_counts() - adds up the CPUs' counters */
void attach_counts(const struct attach *attach, uint64_t counts[FRONT_COUNTS]);

/** attach_close() - takes the program off; other programs stay */
void attach_close(struct attach *attach);

#endif
