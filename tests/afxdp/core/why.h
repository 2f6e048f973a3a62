/* SPDX-License-Identifier: GPL-2.0-only */
/* Why a frame was not forwarded: a counter each, named in the statistics. */
#ifndef AFXDP_WHY_H
#define AFXDP_WHY_H

/* Only ever append: the names are keys of the JSON summary. X(name, text) */
#define WHY_LIST(X)                                                                    \
	X(OK, "ok")                                                                    \
	X(TRUNCATED, "truncated")	  /* shorter than its headers say */           \
	X(MALFORMED, "malformed")	  /* headers that contradict each other */     \
	X(IP_CHECKSUM, "ip-checksum")	  /* the IPv4 header's sum is wrong */         \
	X(NOT_OURS, "not-ours")		  /* another's MAC or IP address */            \
	X(PROTOCOL, "protocol")		  /* nothing that is forwarded */              \
	X(FRAGMENT, "fragment")		  /* ports are in the first one only */        \
	X(OPTIONS, "ip-options")	  /* may route by themselves */                \
	X(TTL, "ttl")			  /* no hop is left */                         \
	X(SOURCE, "source")		  /* an address that nobody here can have */   \
	X(NOT_CLIENT, "not-client")	  /* not on the list of clients */             \
	X(NO_STATE, "no-state")		  /* an answer that nobody asked for */        \
	X(NAT_FULL, "nat-full")		  /* the table of flows is full */             \
	X(NAT_PORTS, "nat-ports")	  /* no port is free towards this end */       \
	X(ARP_FAILED, "arp-failed")	  /* the next hop does not answer */           \
	X(ARP_HELD_FULL, "arp-held-full") /* too many wait for that answer */          \
	X(ARP_TABLE_FULL, "arp-table-full")                                            \
	X(ARP_MALFORMED, "arp-malformed")                                              \
	X(ARP_IGNORED, "arp-ignored")	      /* nobody asked, or not for us */        \
	X(ARP_CONFLICT, "arp-conflict")	      /* another MAC than the one in use */    \
	X(ARP_OUR_ADDRESS, "arp-our-address") /* somebody else claims ours */          \
	X(ARP_DONE, "arp-done")		      /* read, and nothing to send: no loss */ \
	X(TX_FULL, "tx-full")		      /* the ring to the kernel is full */     \
	X(TOO_LONG, "too-long")		      /* more than the MTU, or in pieces */

enum why {
#define X(name, text) WHY_##name,
	WHY_LIST(X)
#undef X
	WHY_COUNT
};

/** why_name() - as the statistics call it */
const char *why_name(enum why why);

#endif
