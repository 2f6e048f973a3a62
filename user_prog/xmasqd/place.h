/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which program goes where, and how it gets there: one program at one place. attach.c puts
 * together what an interface needs.
 */
#ifndef XM_PLACE_H
#define XM_PLACE_H

#include "daemon.h"

/* How a program gets to its place. */
enum place_where {
	WHERE_TC,     /* on the interface */
	WHERE_INSIDE, /* on the pod's end, in the pod's namespace */
	WHERE_NETKIT, /* program of the netkit pair */
};

struct place {
	enum place_where where;
	enum tc_dir dir; /* unless WHERE_NETKIT */
	enum datapath_prog prog;
};

/**
 * places_of() - the two places of an interface
 *
 * The first is to be attached first and detached last.
 */
const struct place *places_of(const struct reconcile_key *k);

/**
 * place_attach() - as tc_attach()
 * @a: its key is used; remembers what is needed to find the program again
 */
int place_attach(struct daemon *d, struct attachment *a, const struct place *p,
		 struct tc_error *why);
void place_detach(struct daemon *d, const struct attachment *a, const struct place *p);

/** place_leave() - remove whatever of ours is in the pod's namespace, qdiscs too */
void place_leave(struct daemon *d, const struct attachment *a);

/** place_query() - as tc_query() */
int place_query(const struct daemon *d, const struct attachment *a, const struct place *p,
		uint32_t *id);

/** place_reachable() - whether a way leads into the pod's namespace */
bool place_reachable(const struct attachment *a);

#endif
