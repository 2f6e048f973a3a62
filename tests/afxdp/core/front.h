/* SPDX-License-Identifier: GPL-2.0-only */
/* What the XDP program in front of the sockets shares with xsk-router. */
#ifndef AFXDP_FRONT_H
#define AFXDP_FRONT_H

#include <linux/types.h>

/* Queues of one interface, and so entries of the socket map. */
#define FRONT_QUEUES 64

/* What the program decided, a counter each. Only ever append. */
enum front_count {
	FRONT_TO_SOCKET,
	FRONT_NO_SOCKET,	/* meant for a socket, but its queue has none */
	FRONT_FRAGMENT,		/* IPv4 fragments for the router's address */
	FRONT_OTHER,		/* anything else: to the kernel, or dropped by rule */
	FRONT_DROPPED_FRAGMENT, /* those of FRONT_FRAGMENT that the rule dropped */
	FRONT_DROPPED_OTHER,	/* those of FRONT_OTHER that the rule dropped */
	FRONT_COUNTS
};

#endif
