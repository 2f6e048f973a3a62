/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps an inventory of the network namespace true, by events alone.
 *
 * Theory of operation
 *
 * One event socket is subscribed first; then everything is dumped through a second
 * socket. What happens in between is queued on the event socket and applied after the
 * dump, so nothing is lost (inventory.h says why old messages do no harm).
 *
 * The event socket hears every namespace that has an id in ours (NETLINK_LISTEN_ALL_NSID,
 * needs CAP_NET_BROADCAST): pods' addresses become known without entering the pods. The
 * kernel puts the id beside each message. Our own namespace can have an id in itself, too
 * ("ip netns set"); Linux 6.18 still sends its messages without one, but no rule says so,
 * and both are understood.
 *
 * When the kernel drops events it says ENOBUFS at the next read. Older events are still
 * queued, and applying them after a dump could bring back what a lost event took away:
 * they are read first, then everything is dumped.
 */
#ifndef XM_RTNL_H
#define XM_RTNL_H

#include <stdbool.h>
#include <stdint.h>

#include "inventory.h"

struct rtnl;

/**
 * struct rtnl_opts
 * @rcvbuf: receive buffer of the event socket in bytes; 0: 4 MiB
 * @routes: keep the default routes (struct config.underlay_auto)
 */
struct rtnl_opts {
	unsigned int rcvbuf;
	bool routes;
};

enum rtnl_event {
	RTNL_CHANGED = 1, /* the inventory changed: reconcile. Once for each dispatch */
	RTNL_RESYNCED,	  /* events were lost and everything was dumped: reconcile, and
			   * check every attachment with tc_query() */
	RTNL_TC_LOST,	  /* a qdisc or filter went from @ifindex of @nsid: check it with
			   * tc_query(); our own work causes these events, too */
};

/* @nsid: RTNL_TC_LOST: namespace of @ifindex, INVENTORY_SELF or an id */
typedef void (*rtnl_cb)(enum rtnl_event ev, int32_t nsid, uint32_t ifindex, void *arg);

struct rtnl_stats {
	uint64_t messages;  /* events read */
	uint64_t malformed; /* events that could not be parsed */
	uint64_t overruns;  /* times that the kernel dropped events */
	uint64_t resyncs;   /* full dumps, with the one of rtnl_open() */
};

/**
 * rtnl_open() - subscribe, and fill the inventory
 * @inv: stays the caller's, has to outlive @r; only rtnl_*() may change it
 *
 * Return: 0 or -errno. -EPERM: CAP_NET_ADMIN or CAP_NET_BROADCAST is missing.
 */
int rtnl_open(struct rtnl **r, struct inventory *inv, const struct rtnl_opts *opts);

void rtnl_close(struct rtnl *r);

/** rtnl_fd() - for epoll, EPOLLIN; errors (ENOBUFS) are reported as EPOLLERR */
int rtnl_fd(const struct rtnl *r);

/**
 * rtnl_dispatch() - read what is queued
 * @cb: told about it, after the inventory is up to date; must not call rtnl_*()
 *
 * Does not block for events. Call it when rtnl_fd() is readable or in error, and from a
 * timer of some seconds: a dump that failed is tried again there.
 *
 * Return: 0, or -errno when the inventory may be out of date.
 */
int rtnl_dispatch(struct rtnl *r, rtnl_cb cb, void *arg);

/** rtnl_resync() - dump everything at once; for "xmasqctl reload" and doubts */
int rtnl_resync(struct rtnl *r);

/**
 * rtnl_link_in() - one interface of another namespace
 * @nsid: id that the namespace has in ours
 *
 * May give our namespace an id in itself, as other questions about links do: see rtnl_dispatch().
 * Return: 0, or -errno: -ENODEV there is none.
 */
int rtnl_link_in(struct rtnl *r, int32_t nsid, uint32_t ifindex, struct nl_link *l);

void rtnl_stats(const struct rtnl *r, struct rtnl_stats *out);

#endif
