// SPDX-License-Identifier: GPL-2.0-only
#include "inventory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Four sorted arrays share this code: a node has some hundred links, and a memmove of
 * them is cheaper than the pointers of a tree.
 */
struct table {
	void **v;
	size_t *n;
	size_t *cap;
	size_t size;
	int (*cmp)(const void *a, const void *b);
};

static int cmp_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int cmp_link(const void *a, const void *b)
{
	return cmp_u64(((const struct inv_link *)a)->l.ifindex,
		       ((const struct inv_link *)b)->l.ifindex);
}

static int cmp_addr(const void *a, const void *b)
{
	const struct inv_addr *x = a, *y = b;

	if (x->nsid != y->nsid)
		return x->nsid < y->nsid ? -1 : 1;
	if (x->ifindex != y->ifindex)
		return cmp_u64(x->ifindex, y->ifindex);
	return cmp_u64(x->addr, y->addr);
}

static int cmp_ns(const void *a, const void *b)
{
	const struct inv_ns *x = a, *y = b;

	return x->nsid < y->nsid ? -1 : x->nsid > y->nsid;
}

static int cmp_route(const void *a, const void *b)
{
	const struct inv_route *x = a, *y = b;

	if (x->r.metric != y->r.metric)
		return cmp_u64(x->r.metric, y->r.metric);
	return cmp_u64(x->r.oif, y->r.oif);
}

/* After table_get(), copy name_v back: the array may have moved. */
#define TABLE(name, inv, field, compare)                                         \
	void *name##_v = (inv)->field;                                           \
	struct table name = { &name##_v, &(inv)->n_##field, &(inv)->cap_##field, \
			      sizeof(*(inv)->field), compare }

/* Index of the first element that is not before @key. */
static size_t lower(const void *v, size_t n, size_t size, const void *key,
		    int (*cmp)(const void *, const void *))
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (cmp((const char *)v + mid * size, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* The element equal to @key, or a new copy of @key. *found tells which. NULL: no memory. */
static void *table_get(const struct table *t, const void *key, bool *found)
{
	size_t i = lower(*t->v, *t->n, t->size, key, t->cmp);
	char *at;

	*found = i < *t->n && !t->cmp((char *)*t->v + i * t->size, key);
	if (*found)
		return (char *)*t->v + i * t->size;
	if (*t->n == *t->cap) {
		size_t cap = *t->cap ? *t->cap * 2 : 64;
		void *v = realloc(*t->v, cap * t->size);

		if (!v)
			return NULL;
		*t->v = v;
		*t->cap = cap;
	}
	at = (char *)*t->v + i * t->size;
	memmove(at + t->size, at, (*t->n - i) * t->size);
	memcpy(at, key, t->size);
	(*t->n)++;
	return at;
}

/* Remove the element equal to @key; whether there was one. */
static bool table_del(const struct table *t, const void *key)
{
	size_t i = lower(*t->v, *t->n, t->size, key, t->cmp);
	char *at;

	if (i == *t->n) /* and there may be no table yet */
		return false;
	at = (char *)*t->v + i * t->size;
	if (t->cmp(at, key) != 0)
		return false;
	(*t->n)--;
	memmove(at, at + t->size, (*t->n - i) * t->size);
	return true;
}

/* Routes go with their interface, and the kernel does not tell (fib_disable_ip()). */
static void routes_suspect(struct inventory *inv, uint32_t ifindex)
{
	size_t i;

	for (i = 0; i < inv->n_routes; i++) {
		if (inv->routes[i].r.oif == ifindex)
			inv->routes_stale = true;
	}
}

/* Drop the addresses of one interface, or of a whole namespace with @ifindex 0. */
static void addrs_drop(struct inventory *inv, int32_t nsid, uint32_t ifindex)
{
	size_t i, kept = 0;

	for (i = 0; i < inv->n_addrs; i++) {
		const struct inv_addr *a = &inv->addrs[i];

		if (a->nsid != nsid || (ifindex && a->ifindex != ifindex))
			inv->addrs[kept++] = *a;
	}
	inv->n_addrs = kept;
}

static void ns_forget(struct inventory *inv, int32_t nsid)
{
	struct inv_ns key = { .nsid = nsid };
	TABLE(t, inv, ns, cmp_ns);

	if (table_del(&t, &key))
		addrs_drop(inv, nsid, 0);
}

/* Forget a namespace that no link leads to any more. */
static void ns_release(struct inventory *inv, int32_t nsid)
{
	size_t i;

	for (i = 0; i < inv->n_links; i++) {
		if (inv->links[i].l.has_netnsid && inv->links[i].l.netnsid == nsid)
			return;
	}
	ns_forget(inv, nsid);
}

static int ns_use(struct inventory *inv, int32_t nsid)
{
	struct inv_ns key = { .nsid = nsid };
	TABLE(t, inv, ns, cmp_ns);
	bool found;

	if (!table_get(&t, &key, &found))
		return -ENOMEM;
	inv->ns = t_v;
	return 0;
}

/* An address of the pod is an event of the interface that leads to it. */
static void touch(struct inventory *inv, int32_t nsid, uint32_t ifindex)
{
	size_t i;

	for (i = 0; i < inv->n_links; i++) {
		struct inv_link *l = &inv->links[i];

		if (l->l.has_netnsid && l->l.netnsid == nsid && l->l.link == ifindex)
			l->event_ns = inv->now_ns;
	}
}

static int link_del(struct inventory *inv, uint32_t ifindex)
{
	struct inv_link key = { .l.ifindex = ifindex };
	const struct inv_link *old = inventory_link(inv, ifindex);
	TABLE(t, inv, links, cmp_link);
	int32_t nsid;

	if (!old)
		return 0;
	nsid = old->l.netnsid;
	table_del(&t, &key);
	addrs_drop(inv, INVENTORY_SELF, ifindex);
	routes_suspect(inv, ifindex);
	if (nsid != NL_NSID_NONE)
		ns_release(inv, nsid);
	return 1;
}

/*
 * Whether a message about a known ifindex is about another device. Only a lost
 * RTM_DELLINK makes that question arise; kind and hardware address answer it as well
 * as anything that a message holds.
 */
static bool same_device(const struct nl_link *a, const struct nl_link *b)
{
	return !strcmp(a->kind, b->kind) && !memcmp(a->mac, b->mac, sizeof(a->mac));
}

/* Whether a message says anything new; statistics and the like are not kept. */
static bool same_link(const struct nl_link *a, const struct nl_link *b)
{
	return same_device(a, b) && !strcmp(a->name, b->name) && a->link == b->link &&
	       a->has_netnsid == b->has_netnsid && a->netnsid == b->netnsid && a->up == b->up &&
	       a->master == b->master && a->mtu == b->mtu && a->tun_port == b->tun_port &&
	       a->tun_local == b->tun_local && a->tun_link == b->tun_link;
}

static int link_new(struct inventory *inv, const struct nl_link *l)
{
	struct inv_link key = { .l = *l, .event_ns = inv->now_ns };
	TABLE(t, inv, links, cmp_link);
	struct inv_link *at;
	int32_t old_nsid;
	bool found;

	if (l->has_netnsid && inventory_is_pod_kind(l->kind) && ns_use(inv, l->netnsid))
		return -ENOMEM;
	at = table_get(&t, &key, &found);
	if (!at)
		return -ENOMEM;
	inv->links = t_v;
	at->mark = inv->mark;
	if (!found) {
		at->gen = ++inv->gen;
		return 1;
	}
	if (same_link(&at->l, l))
		return 0;
	if (inv->resyncing && !same_device(&at->l, l))
		at->gen = ++inv->gen;
	if (at->l.up != l->up)
		routes_suspect(inv, l->ifindex);
	old_nsid = at->l.netnsid;
	at->l = *l;
	at->event_ns = inv->now_ns;
	if (old_nsid != NL_NSID_NONE && old_nsid != l->netnsid)
		ns_release(inv, old_nsid);
	return 1;
}

static int apply_addr(struct inventory *inv, int32_t nsid, const struct nl_addr *a, bool del)
{
	struct inv_addr key = {
		.nsid = a->has_target ? a->target : nsid,
		.ifindex = a->ifindex,
		.addr = a->addr,
		.prefix = a->prefix,
	};
	TABLE(t, inv, addrs, cmp_addr);
	struct inv_addr *at;
	bool found;

	if (key.nsid != INVENTORY_SELF) {
		struct inv_ns ns = { .nsid = key.nsid };
		size_t i = lower(inv->ns, inv->n_ns, sizeof(ns), &ns, cmp_ns);

		if (i == inv->n_ns || inv->ns[i].nsid != key.nsid)
			return 0;
	}
	if (del) {
		if (!table_del(&t, &key))
			return 0;
		if (key.nsid == INVENTORY_SELF)
			routes_suspect(inv, key.ifindex);
		else
			touch(inv, key.nsid, key.ifindex);
		return 1;
	}
	at = table_get(&t, &key, &found);
	if (!at)
		return -ENOMEM;
	inv->addrs = t_v;
	at->mark = inv->mark;
	if (found && at->prefix == key.prefix)
		return 0;
	at->prefix = key.prefix;
	if (key.nsid != INVENTORY_SELF)
		touch(inv, key.nsid, key.ifindex);
	return 1;
}

static int apply_nsid(struct inventory *inv, const struct nl_nsid *n, bool del)
{
	bool changed = false;
	size_t i;

	/* A new id is of interest when a link leads to it, and that link will tell. */
	if (!del || n->nsid == NL_NSID_NONE)
		return 0;
	/*
	 * The namespace is gone and its id may be given to the next one at once, while
	 * RTM_DELLINK of the veth that led there is still to come.
	 */
	for (i = 0; i < inv->n_links; i++) {
		struct inv_link *l = &inv->links[i];

		if (!l->l.has_netnsid || l->l.netnsid != n->nsid)
			continue;
		l->l.has_netnsid = false;
		l->l.netnsid = NL_NSID_NONE;
		l->event_ns = inv->now_ns;
		changed = true;
	}
	ns_forget(inv, n->nsid);
	return changed;
}

static int apply_route(struct inventory *inv, const struct nl_route *r, bool del)
{
	struct inv_route key = { .r = *r };
	TABLE(t, inv, routes, cmp_route);
	struct inv_route *at;
	bool found;

	/*
	 * Two default routes may differ in what is not kept here (gateway, TOS): when one
	 * of them goes, only a dump tells whether another is left.
	 */
	if (del) {
		inv->routes_stale = true;
		return 0;
	}
	if (!r->oif)
		return 0;
	at = table_get(&t, &key, &found);
	if (!at)
		return -ENOMEM;
	inv->routes = t_v;
	at->mark = inv->mark;
	return !found;
}

int inventory_apply(struct inventory *inv, int32_t nsid, const struct nl_msg *m)
{
	if (nsid != INVENTORY_SELF && m->type != NL_ADDR)
		return 0;
	switch (m->type) {
	case NL_LINK:
		return m->del ? link_del(inv, m->link.ifindex) : link_new(inv, &m->link);
	case NL_ADDR:
		return apply_addr(inv, nsid, &m->addr, m->del);
	case NL_NSID:
		return apply_nsid(inv, &m->nsid, m->del);
	case NL_ROUTE:
		return apply_route(inv, &m->route, m->del);
	case NL_QDISC:
	case NL_FILTER:
		return 0;
	}
	return 0;
}

void inventory_resync_begin(struct inventory *inv)
{
	size_t i;

	inv->mark++;
	inv->resyncing = true;
	for (i = 0; i < inv->n_ns; i++)
		inv->ns[i].read = false;
}

void inventory_routes_begin(struct inventory *inv)
{
	inv->mark++;
}

void inventory_routes_end(struct inventory *inv)
{
	size_t i, kept = 0;

	for (i = 0; i < inv->n_routes; i++) {
		if (inv->routes[i].mark == inv->mark)
			inv->routes[kept++] = inv->routes[i];
	}
	inv->n_routes = kept;
	inv->routes_stale = false;
}

void inventory_resync_end(struct inventory *inv)
{
	size_t i, kept = 0;

	for (i = 0; i < inv->n_addrs; i++) {
		if (inv->addrs[i].mark == inv->mark)
			inv->addrs[kept++] = inv->addrs[i];
	}
	inv->n_addrs = kept;
	for (i = inv->n_links; i > 0; i--) {
		if (inv->links[i - 1].mark != inv->mark)
			link_del(inv, inv->links[i - 1].l.ifindex);
	}
	inventory_routes_end(inv);
	inv->resyncing = false;
}

bool inventory_next_unread(const struct inventory *inv, int32_t *nsid)
{
	size_t i;

	for (i = 0; i < inv->n_ns; i++) {
		if (!inv->ns[i].read) {
			*nsid = inv->ns[i].nsid;
			return true;
		}
	}
	return false;
}

void inventory_set_read(struct inventory *inv, int32_t nsid)
{
	struct inv_ns key = { .nsid = nsid };
	size_t i = lower(inv->ns, inv->n_ns, sizeof(key), &key, cmp_ns);

	if (i < inv->n_ns && inv->ns[i].nsid == nsid)
		inv->ns[i].read = true;
}

const struct inv_link *inventory_link(const struct inventory *inv, uint32_t ifindex)
{
	struct inv_link key = { .l.ifindex = ifindex };
	size_t i = lower(inv->links, inv->n_links, sizeof(key), &key, cmp_link);

	if (i == inv->n_links || inv->links[i].l.ifindex != ifindex)
		return NULL;
	return &inv->links[i];
}

const struct inv_addr *inventory_addrs(const struct inventory *inv, int32_t nsid, uint32_t ifindex,
				       size_t *n)
{
	struct inv_addr key = { .nsid = nsid, .ifindex = ifindex };
	size_t i = lower(inv->addrs, inv->n_addrs, sizeof(key), &key, cmp_addr);
	size_t end = i;

	while (end < inv->n_addrs && inv->addrs[end].nsid == nsid &&
	       inv->addrs[end].ifindex == ifindex)
		end++;
	*n = end - i;
	return *n ? &inv->addrs[i] : NULL;
}

uint32_t inventory_holder(const struct inventory *inv, __be32 addr)
{
	size_t i;

	/* INVENTORY_SELF is the lowest id: our own addresses come first. */
	for (i = 0; i < inv->n_addrs && inv->addrs[i].nsid == INVENTORY_SELF; i++) {
		if (inv->addrs[i].addr == addr)
			return inv->addrs[i].ifindex;
	}
	return 0;
}

bool inventory_is_pod_kind(const char *kind)
{
	return !strcmp(kind, "veth") || !strcmp(kind, "netkit");
}

bool inventory_is_guest_kind(const char *kind)
{
	return !strcmp(kind, "macvlan") || !strcmp(kind, "macvtap") || !strcmp(kind, "ipvlan") ||
	       !strcmp(kind, "ipvtap");
}

void inventory_free(struct inventory *inv)
{
	free(inv->links);
	free(inv->addrs);
	free(inv->ns);
	free(inv->routes);
	memset(inv, 0, sizeof(*inv));
}
