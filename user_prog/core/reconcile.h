/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which interfaces should carry our programs, and what has to change for that. Pure.
 *
 * A pod interface is a veth or netkit whose other end is in another namespace. It is
 * left alone when it may be something else: an underlay interface, the way to the
 * default gateway, or a device that holds an address of the node with a subnet behind
 * it. (A container-side eth0 of a node that is itself a container looks like a pod
 * interface from inside.)
 */
#ifndef XM_RECONCILE_H
#define XM_RECONCILE_H

#include "config.h"
#include "inventory.h"
#include "mode.h"

#define RECONCILE_ADDRS	 8
#define RECONCILE_REASON 128

enum reconcile_role {
	RECONCILE_NIC = 1,
	RECONCILE_POD,
};

/**
 * struct reconcile_key - what an attachment depends on
 * @ifindex: interface; 0 for a configured underlay interface that does not exist
 * @gen: generation of the device, see inventory.h
 * @role: which programs
 * @netnsid: pod: namespace of the other end, else NL_NSID_NONE
 * @peer_ifindex: pod: the other end, in that namespace, else 0
 * @mode: pod: VETH, RPEER or NETKIT, else AUTO
 *
 * Two equal keys: nothing to do. Any difference: detach the old, attach the new.
 */
struct reconcile_key {
	uint32_t ifindex;
	uint32_t gen;
	enum reconcile_role role;
	int32_t netnsid;
	uint32_t peer_ifindex;
	enum config_mode mode;
};

/**
 * struct reconcile_item - one interface of interest
 * @key: see there
 * @name: interface name
 * @kind: "veth", "netkit", "bond", "" for hardware, ...
 * @attach: whether the programs belong there
 * @reason: why not, for people; empty when @attach
 * @addrs: the pod's (or the NIC's) first addresses, network order
 * @n_addrs: entries of @addrs in use
 * @event_ns: inventory.now_ns of the newest message about it
 */
struct reconcile_item {
	struct reconcile_key key;
	char name[NL_NAME];
	char kind[NL_NAME];
	bool attach;
	char reason[RECONCILE_REASON];
	__be32 addrs[RECONCILE_ADDRS];
	unsigned int n_addrs;
	uint64_t event_ns;
};

/* Initialise with zeroes; may be used again for the next result. */
struct reconcile_set {
	struct reconcile_item *v; /* sorted by (ifindex, name) */
	size_t n, cap;
};

void reconcile_set_free(struct reconcile_set *set);

/**
 * reconcile_desired() - every underlay and pod interface, attached or not and why
 * @kernel: what modes there are
 * @out: replaced
 * Return: 0 or -ENOMEM (@out is then empty).
 */
int reconcile_desired(const struct inventory *inv, const struct config *cfg,
		      const struct mode_kernel *kernel, struct reconcile_set *out);

/** reconcile_has_overlay() - whether there is a tunnel device that the configuration means */
bool reconcile_has_overlay(const struct inventory *inv, const struct config *cfg);

/**
 * struct reconcile_removal - an attachment that should not be
 * @key: as given in actual
 * @gone: the device no longer exists: there is nothing to detach, only to forget
 */
struct reconcile_removal {
	struct reconcile_key key;
	bool gone;
};

/* Initialise with zeroes. Pointers lead into the desired set given. */
struct reconcile_diff {
	const struct reconcile_item **add;
	size_t n_add;
	struct reconcile_removal *remove;
	size_t n_remove;
	const struct reconcile_item **keep;
	size_t n_keep;
};

/**
 * reconcile_diff() - what turns the actual attachments into the desired ones
 * @inv: tells whether a device still exists
 * @desired: from reconcile_desired()
 * @actual: what is attached, any order, one entry for each ifindex
 * @out: replaced; removals are to be done before additions
 * Return: 0 or -ENOMEM (@out is then empty).
 */
int reconcile_diff(const struct inventory *inv, const struct reconcile_set *desired,
		   const struct reconcile_key *actual, size_t n_actual, struct reconcile_diff *out);

void reconcile_diff_free(struct reconcile_diff *d);

#endif
