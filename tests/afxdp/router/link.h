/* SPDX-License-Identifier: GPL-2.0-only */
/* What the router has to know of its interface. */
#ifndef AFXDP_LINK_H
#define AFXDP_LINK_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

/* @addr in network order; @rx, @tx: queues in use */
struct link {
	int ifindex;
	uint8_t mac[6];
	__be32 addr;
	uint8_t prefix;
	uint32_t mtu;
	uint32_t rx, tx;
	bool up;
};

/** link_get() - Return: 0, or -errno with @what: the question that failed */
int link_get(const char *name, struct link *l, const char **what);

#endif
