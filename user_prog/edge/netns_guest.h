/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Pods without a host side: a macvlan or ipvlan on an interface of ours, or no interface of
 * their own at all. To be shown with the reason why they stay on the overlay.
 *
 * Theory of operation
 *
 * The kernel gives a namespace an id in ours when an interface moves from here to there. A CNI
 * plugin makes a macvlan right in the pod's namespace, and then only that namespace has an id for
 * ours: the one that the macvlan's parent is given with there (IFLA_LINK_NETNSID). So each
 * namespace is entered and asked for our id. One that has none holds nothing of ours: another
 * node of a test bed, a sandbox of systemd.
 */
#ifndef XM_NETNS_GUEST_H
#define XM_NETNS_GUEST_H

#include <limits.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nl.h"

#define NETNS_GUEST_ADDRS 4

/**
 * struct netns_guest - an interface of another namespace on one of ours, or a name of ours
 * @netns: file name of the namespace, or "pid N"
 * @own: @netns is another name for our own namespace (a pod on the host network, or the node
 *       itself); nothing below is set
 * @nsid: its id in our namespace, NL_NSID_NONE when it has none
 * @ifname: name in its namespace
 * @kind: macvlan, macvtap, ipvlan or ipvtap
 * @ifindex: in its namespace
 * @parent: ifindex of its parent, in ours
 * @addrs: the first IPv4 addresses, network order
 * @n_addrs: how many
 */
struct netns_guest {
	char netns[NAME_MAX + 1];
	bool own;
	int32_t nsid;
	char ifname[NL_NAME];
	char kind[NL_NAME];
	uint32_t ifindex;
	uint32_t parent;
	__be32 addrs[NETNS_GUEST_ADDRS];
	unsigned int n_addrs;
};

struct netns_guests {
	struct netns_guest *v;
	size_t n, cap;
};

/**
 * netns_guests_read() - look for guests
 * @g: result, to be freed with netns_guests_free() in any case
 * @skip: whether the namespace with this id in ours need not be entered
 *
 * Costs a few system calls for each process, and some netlink exchanges for each namespace that
 * is entered: to answer a question of a person, not for every day. Namespaces that vanish or
 * may not be entered are left out.
 *
 * Return: 0 or -errno, with those found until then.
 */
int netns_guests_read(struct netns_guests *g, bool (*skip)(int32_t nsid, void *arg), void *arg);

void netns_guests_free(struct netns_guests *g);

#endif
