/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Limits and defaults, shared by the TC programs and userspace.
 *
 * A value here bounds something that leaves one process (a map, the wire or the
 * configuration); what is private to a module is defined in that module.
 */
#ifndef XM_LIMITS_H
#define XM_LIMITS_H

/* Ports. */
#define XM_MASQ_PORT_DEFAULT 18477 /* below every usual ephemeral range */
#define XM_LABEL_PORT_BASE   32768 /* a label travels as this port + label */

/* Labels are 15 bits. 0 never names a flow: it marks path probes. */
#define XM_LABEL_PROBE 0
#define XM_LABEL_MIN   1
#define XM_LABEL_MAX   32767
#define XM_LABEL_TRIES 4 /* slots tried before a flow stays on the overlay */

/* Tables: entries. Both are powers of two, so that an index is a mask. */
#define XM_FLOWS_MIN	 1024
#define XM_FLOWS_DEFAULT 65536
#define XM_FLOWS_MAX	 1048576
#define XM_PEERS_MIN	 16
#define XM_PEERS_DEFAULT 1024
#define XM_PEERS_MAX	 65536

/* Pods on a node whose Ethernet addresses are remembered; the least used is evicted. */
#define XM_PODS_MAX 4096

/* Size of the pinned table of counters: room for reasons yet to come. */
#define XM_COUNTERS 128

/* Rules of "policy": half of them from the configuration, half live. */
#define XM_RULES_MAX 256

/* Overlay ports that can be recognised at once. */
#define XM_OVERLAYS_MAX 4

/* Lease: milliseconds. */
#define XM_LEASE_MS_DEFAULT 1000
#define XM_LEASE_MS_MIN	    200
#define XM_LEASE_MS_MAX	    10000

/* Packets that a pod sends in a flow before it is learned. With the default a flow is on the fast
 * path within ten packets each way. */
#define XM_ADMIT_AFTER_DEFAULT 4
#define XM_ADMIT_AFTER_MAX     10000

/* The lowest TTL that may skip the overlay's two hops: a lower one might expire there. */
#define XM_TTL_MIN_FAST 3

/* Hello. */
#define XM_HELLO_PERIOD_MS 1000
#define XM_HELLO_MISSES	   3 /* periods without proof until a peer is down */

/* Answers to bad labels and control packets per peer and second. */
#define XM_NACKS_PER_SEC     2000 /* sent, and believed */
#define XM_HOLDS_PER_SEC     256  /* of those that take a flow off the fast path for seconds */
#define XM_CONTROLS_PER_SEC  64	  /* hello, hello answer and probes of one peer */
#define XM_STRANGERS_PER_SEC 128  /* the same from all addresses that are no peer yet */

/* Entries made for flows between pods of a node in a second, and one for each 32 of the table. */
#define XM_LOCALS_PER_SEC 256
#define XM_CONTROL_MAX	  128 /* bytes of payload handed to the daemon; a power of 2 */

#endif
