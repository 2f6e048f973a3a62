/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the node's network namespace holds: links, addresses, ids of other namespaces.
 * Pure: fed with parsed netlink messages, in the order in which they were received.
 *
 * Theory of operation
 *
 * Messages are facts about a past moment, and a dump may show a later moment than
 * messages that are still queued. That is harmless as long as every message is applied
 * in order: whatever changed after an old message was sent has a newer message behind it.
 *
 * A resync (after the start, or when the kernel dropped events) is mark and sweep:
 * inventory_resync_begin(), one inventory_apply() for each message of the dumps,
 * inventory_resync_end() forgets what no dump mentioned.
 *
 * An ifindex names a device only until it is deleted. Each device therefore gets a
 * generation when it appears; (ifindex, gen) never means two devices.
 *
 * Addresses are kept for our own namespace and for those that a pod interface leads to.
 * The kernel gives a namespace its id when first asked, and tells address changes of
 * that namespace only from then on: the caller dumps the addresses of each namespace
 * that inventory_next_unread() names.
 */
#ifndef XM_INVENTORY_H
#define XM_INVENTORY_H

#include "nl.h"

#define INVENTORY_SELF NL_NSID_NONE /* our own namespace, where a nsid is asked for */

struct inv_link {
	struct nl_link l;
	uint32_t gen;	   /* differs between two devices with the same ifindex */
	uint64_t event_ns; /* inventory.now_ns when it last changed */
	uint32_t mark;
};

struct inv_addr {
	int32_t nsid; /* INVENTORY_SELF or an id */
	uint32_t ifindex;
	__be32 addr;
	uint8_t prefix;
	uint32_t mark;
};

/* a namespace that one of our links leads to */
struct inv_ns {
	int32_t nsid;
	bool read; /* its addresses were dumped */
};

struct inv_route {
	struct nl_route r;
	uint32_t mark;
};

/**
 * struct inventory - all of it; initialise with zeroes
 * @now_ns: the caller's clock, copied into what changes (to measure, never to decide)
 * @links: sorted by ifindex
 * @addrs: sorted by (nsid, ifindex, addr)
 * @ns: sorted by nsid
 * @routes: default routes of the main table, sorted by (metric, oif)
 * @routes_stale: default routes may have changed in a way that the kernel does not tell:
 *                read them again (inventory_routes_begin())
 */
struct inventory {
	uint64_t now_ns;
	struct inv_link *links;
	size_t n_links, cap_links;
	struct inv_addr *addrs;
	size_t n_addrs, cap_addrs;
	struct inv_ns *ns;
	size_t n_ns, cap_ns;
	struct inv_route *routes;
	size_t n_routes, cap_routes;
	bool routes_stale;
	uint32_t gen;
	uint32_t mark;
	bool resyncing;
};

/** inventory_free() - release everything; the inventory is empty afterwards */
void inventory_free(struct inventory *inv);

/**
 * inventory_apply() - take one message in
 * @nsid: namespace that sent it: INVENTORY_SELF, or the id that came with an event.
 *        An address message with IFA_TARGET_NETNSID overrides it
 *
 * Links, ids and routes of other namespaces are ignored, and so are addresses of
 * namespaces that no link of ours leads to. TC messages are ignored.
 *
 * Return: 1 when something changed, 0 when not, -ENOMEM.
 */
int inventory_apply(struct inventory *inv, int32_t nsid, const struct nl_msg *m);

/** inventory_resync_begin() - a dump of links, addresses and routes follows */
void inventory_resync_begin(struct inventory *inv);

/**
 * inventory_resync_end() - forget what was not mentioned since inventory_resync_begin()
 *
 * Call only when every dump was complete.
 */
void inventory_resync_end(struct inventory *inv);

/** inventory_routes_begin() - only a dump of the routes follows */
void inventory_routes_begin(struct inventory *inv);

/** inventory_routes_end() - forget the routes it did not mention */
void inventory_routes_end(struct inventory *inv);

/**
 * inventory_next_unread() - a namespace whose addresses have to be dumped
 * Return: true with @nsid, false when there is none left.
 */
bool inventory_next_unread(const struct inventory *inv, int32_t *nsid);

/** inventory_set_read() - the dump of @nsid is over (or its namespace is gone) */
void inventory_set_read(struct inventory *inv, int32_t nsid);

/** inventory_link() - link by ifindex, NULL when unknown; valid until the next change */
const struct inv_link *inventory_link(const struct inventory *inv, uint32_t ifindex);

/**
 * inventory_addrs() - addresses of one interface
 * @nsid: INVENTORY_SELF or an id
 * @n: how many
 * Return: the first of @n neighbours in memory; valid until the next change.
 */
const struct inv_addr *inventory_addrs(const struct inventory *inv, int32_t nsid, uint32_t ifindex,
				       size_t *n);

/** inventory_holder() - own interface that holds @addr (network order), 0 none */
uint32_t inventory_holder(const struct inventory *inv, __be32 addr);

/** inventory_is_pod_kind() - whether a link of this kind can be a pod's host side */
bool inventory_is_pod_kind(const char *kind);

/**
 * inventory_is_guest_kind() - whether a link of this kind can be a pod's only interface, on one of
 * ours, with no host side to attach to
 */
bool inventory_is_guest_kind(const char *kind);

#endif
