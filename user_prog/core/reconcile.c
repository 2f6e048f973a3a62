// SPDX-License-Identifier: GPL-2.0-only
#include "reconcile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xm_util.h"

struct nics {
	uint32_t ifindex[CONFIG_NICS_MAX];
	unsigned int n;
};

static bool is_nic(const struct nics *nics, uint32_t ifindex)
{
	unsigned int i;

	for (i = 0; i < nics->n; i++) {
		if (nics->ifindex[i] == ifindex)
			return true;
	}
	return false;
}

static void add_nic(struct nics *nics, uint32_t ifindex)
{
	if (ifindex && nics->n < CONFIG_NICS_MAX && !is_nic(nics, ifindex))
		nics->ifindex[nics->n++] = ifindex;
}

/* Whether the link is a tunnel device of an overlay that the configuration names. */
static bool is_overlay(const struct config *cfg, const struct nl_link *l)
{
	unsigned int i;
	uint16_t type;

	if (!strcmp(l->kind, "vxlan"))
		type = XM_OVERLAY_VXLAN;
	else if (!strcmp(l->kind, "geneve"))
		type = XM_OVERLAY_GENEVE;
	else
		return false;
	for (i = 0; i < cfg->n_overlay; i++) {
		if (cfg->overlay[i].type == type && cfg->overlay[i].port == l->tun_port)
			return true;
	}
	return false;
}

bool reconcile_has_overlay(const struct inventory *inv, const struct config *cfg)
{
	for (size_t i = 0; i < inv->n_links; i++) {
		if (is_overlay(cfg, &inv->links[i].l))
			return true;
	}
	return false;
}

static uint32_t default_oif(const struct inventory *inv)
{
	return inv->n_routes ? inv->routes[0].r.oif : 0; /* lowest metric first */
}

/*
 * The device an overlay's packets leave by: the tunnel says it outright, or through the
 * address that it sends from. A tunnel that is told its destination for each packet
 * (Antrea, Cilium) says neither; its packets follow the routes.
 */
static uint32_t overlay_nic(const struct inventory *inv, const struct nl_link *l)
{
	uint32_t nic = 0;

	/* With IFLA_LINK_NETNSID the ifindex counts in another namespace. */
	if (l->tun_link && !l->has_netnsid && inventory_link(inv, l->tun_link))
		nic = l->tun_link;
	if (!nic && l->tun_local)
		nic = inventory_holder(inv, l->tun_local);
	return nic ? nic : default_oif(inv);
}

static void find_nics(const struct inventory *inv, const struct config *cfg, struct nics *nics)
{
	size_t i;
	unsigned int k;

	nics->n = 0;
	if (!cfg->underlay_auto) {
		for (i = 0; i < inv->n_links; i++) {
			for (k = 0; k < cfg->n_underlay; k++) {
				if (!strcmp(inv->links[i].l.name, cfg->underlay[k]))
					add_nic(nics, inv->links[i].l.ifindex);
			}
		}
		return;
	}
	for (i = 0; i < inv->n_links; i++) {
		if (is_overlay(cfg, &inv->links[i].l))
			add_nic(nics, overlay_nic(inv, &inv->links[i].l));
	}
	if (!nics->n && inventory_link(inv, default_oif(inv)))
		add_nic(nics, default_oif(inv));
}

static struct reconcile_item *push(struct reconcile_set *set)
{
	struct reconcile_item *it;

	if (set->n == set->cap) {
		size_t cap = set->cap ? set->cap * 2 : 64;
		struct reconcile_item *v = realloc(set->v, cap * sizeof(*v));

		if (!v)
			return NULL;
		set->v = v;
		set->cap = cap;
	}
	it = &set->v[set->n++];
	memset(it, 0, sizeof(*it));
	it->key.netnsid = NL_NSID_NONE;
	return it;
}

static struct reconcile_item *push_link(struct reconcile_set *set, const struct inv_link *l,
					enum reconcile_role role)
{
	struct reconcile_item *it = push(set);

	if (!it)
		return NULL;
	it->key.ifindex = l->l.ifindex;
	it->key.gen = l->gen;
	it->key.role = role;
	memcpy(it->name, l->l.name, sizeof(it->name));
	memcpy(it->kind, l->l.kind, sizeof(it->kind));
	it->event_ns = l->event_ns;
	return it;
}

static void copy_addrs(struct reconcile_item *it, const struct inv_addr *a, size_t n)
{
	size_t i;

	for (i = 0; i < n && it->n_addrs < RECONCILE_ADDRS; i++)
		it->addrs[it->n_addrs++] = a[i].addr;
}

static XM_PRINTF(2, 3) void refuse(struct reconcile_item *it, const char *fmt, ...)
{
	va_list ap;

	it->attach = false;
	va_start(ap, fmt);
	(void)vsnprintf(it->reason, sizeof(it->reason), fmt, ap);
	va_end(ap);
}

/* The node's own address with a subnet behind it, NULL when the link has none. */
static const struct inv_addr *node_subnet(const struct inventory *inv, uint32_t ifindex)
{
	const struct inv_addr *a;
	size_t i, n;

	a = inventory_addrs(inv, INVENTORY_SELF, ifindex, &n);
	/* CNIs that route to each pod put a /32 of the node on the host side. */
	for (i = 0; i < n; i++) {
		if (a[i].prefix < 32)
			return &a[i];
	}
	return NULL;
}

static bool in_list(const struct config_cidr *list, unsigned int n, __be32 addr)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		uint32_t mask = list[i].len ? ~0u << (32 - list[i].len) : 0;

		if (!((ntohl(addr) ^ ntohl(list[i].addr)) & mask))
			return true;
	}
	return false;
}

/*
 * Lists decide by address, so with a list an interface waits until its pod has one.
 * Each address has to be allowed: the programs cannot tell them apart.
 */
static void check_lists(struct reconcile_item *it, const struct config *cfg,
			const struct inv_addr *a, size_t n)
{
	char text[XM_ADDR_STR];
	size_t i;

	if (!cfg->n_include && !cfg->n_exclude)
		return;
	if (!n) {
		refuse(it, "address not known yet");
		return;
	}
	for (i = 0; i < n; i++) {
		if (config_allows(cfg, a[i].addr))
			continue;
		inet_ntop(AF_INET, &a[i].addr, text, sizeof(text));
		if (in_list(cfg->exclude, cfg->n_exclude, a[i].addr))
			refuse(it, "address %s excluded by pods.exclude", text);
		else
			refuse(it, "address %s not in pods.include", text);
		return;
	}
}

/* Whether an underlay interface stands on this one: a bond on its ports, a VLAN on its parent. */
static bool carries_nic(const struct inventory *inv, const struct nics *nics,
			const struct inv_link *l)
{
	unsigned int i;

	if (l->l.master && is_nic(nics, l->l.master))
		return true;
	for (i = 0; i < nics->n; i++) {
		const struct inv_link *nic = inventory_link(inv, nics->ifindex[i]);

		if (nic && !nic->l.has_netnsid && nic->l.link == l->l.ifindex)
			return true;
	}
	return false;
}

static int add_pod(const struct inventory *inv, const struct config *cfg,
		   const struct mode_kernel *kernel, const struct nics *nics,
		   const struct inv_link *l, struct reconcile_set *out)
{
	struct reconcile_item *it = push_link(out, l, RECONCILE_POD);
	const struct inv_addr *a, *own;
	char text[XM_ADDR_STR];
	size_t n;

	if (!it)
		return -ENOMEM;
	it->key.netnsid = l->l.netnsid;
	it->key.peer_ifindex = l->l.link;
	it->key.mode = mode_of_link(cfg->mode, kernel, &l->l);
	it->attach = true;
	a = inventory_addrs(inv, l->l.netnsid, l->l.link, &n);
	copy_addrs(it, a, n);
	own = node_subnet(inv, l->l.ifindex);
	if (!inventory_is_pod_kind(l->l.kind)) {
		refuse(it, "kind %s is not supported", l->l.kind);
	} else if (default_oif(inv) == l->l.ifindex) {
		refuse(it, "the node's default route leaves by it");
	} else if (carries_nic(inv, nics, l)) {
		refuse(it, "part of the underlay");
	} else if (own) {
		inet_ntop(AF_INET, &own->addr, text, sizeof(text));
		refuse(it, "holds the node's address %s/%u", text, own->prefix);
	} else if (!l->l.up) {
		refuse(it, "down");
	} else {
		check_lists(it, cfg, a, n);
	}
	return 0;
}

static int add_missing(const struct inventory *inv, const struct config *cfg,
		       struct reconcile_set *out)
{
	unsigned int k;
	size_t i;

	for (k = 0; k < cfg->n_underlay; k++) {
		struct reconcile_item *it;

		for (i = 0; i < inv->n_links; i++) {
			if (!strcmp(inv->links[i].l.name, cfg->underlay[k]))
				break;
		}
		if (i < inv->n_links)
			continue;
		it = push(out);
		if (!it)
			return -ENOMEM;
		it->key.role = RECONCILE_NIC;
		(void)snprintf(it->name, sizeof(it->name), "%s", cfg->underlay[k]);
		refuse(it, "no such interface");
	}
	return 0;
}

int reconcile_desired(const struct inventory *inv, const struct config *cfg,
		      const struct mode_kernel *kernel, struct reconcile_set *out)
{
	struct nics nics;
	size_t i, n;
	int err = 0;

	out->n = 0;
	find_nics(inv, cfg, &nics);
	if (!cfg->underlay_auto)
		err = add_missing(inv, cfg, out);
	for (i = 0; !err && i < inv->n_links; i++) {
		const struct inv_link *l = &inv->links[i];

		if (is_nic(&nics, l->l.ifindex)) {
			struct reconcile_item *it = push_link(out, l, RECONCILE_NIC);
			const struct inv_addr *a;

			if (!it) {
				err = -ENOMEM;
				break;
			}
			/* Also when it is down: the guard has to be there when it comes up. */
			it->attach = true;
			a = inventory_addrs(inv, INVENTORY_SELF, l->l.ifindex, &n);
			copy_addrs(it, a, n);
		} else if (l->l.has_netnsid && l->l.link &&
			   (inventory_is_pod_kind(l->l.kind) ||
			    inventory_is_guest_kind(l->l.kind))) {
			err = add_pod(inv, cfg, kernel, &nics, l, out);
		}
	}
	if (err)
		out->n = 0;
	return err;
}

static int cmp_key(const void *a, const void *b)
{
	const struct reconcile_key *x = a, *y = b;

	return x->ifindex < y->ifindex ? -1 : x->ifindex > y->ifindex;
}

static bool same_key(const struct reconcile_key *a, const struct reconcile_key *b)
{
	return a->ifindex == b->ifindex && a->gen == b->gen && a->role == b->role &&
	       a->netnsid == b->netnsid && a->peer_ifindex == b->peer_ifindex && a->mode == b->mode;
}

static void remove_key(const struct inventory *inv, const struct reconcile_key *k,
		       struct reconcile_diff *out)
{
	const struct inv_link *l = inventory_link(inv, k->ifindex);
	struct reconcile_removal *r = &out->remove[out->n_remove++];

	r->key = *k;
	r->gone = !l || l->gen != k->gen;
}

int reconcile_diff(const struct inventory *inv, const struct reconcile_set *desired,
		   const struct reconcile_key *actual, size_t n_actual, struct reconcile_diff *out)
{
	struct reconcile_key *have;
	size_t i, k = 0;

	reconcile_diff_free(out);
	/* One more, so that an empty list is no NULL that looks like a lack of memory. */
	have = calloc(n_actual + 1, sizeof(*have));
	out->remove = calloc(n_actual + 1, sizeof(*out->remove));
	out->add = calloc(desired->n + 1, sizeof(*out->add));
	out->keep = calloc(desired->n + 1, sizeof(*out->keep));
	if (!have || !out->remove || !out->add || !out->keep) {
		free(have);
		reconcile_diff_free(out);
		return -ENOMEM;
	}
	if (n_actual)
		memcpy(have, actual, n_actual * sizeof(*have));
	qsort(have, n_actual, sizeof(*have), cmp_key);

	/* Both are sorted by ifindex: one walk over the two. */
	for (i = 0; i < desired->n; i++) {
		const struct reconcile_item *it = &desired->v[i];

		while (k < n_actual && have[k].ifindex < it->key.ifindex)
			remove_key(inv, &have[k++], out);
		if (!it->attach)
			continue;
		if (k < n_actual && same_key(&have[k], &it->key)) {
			out->keep[out->n_keep++] = it;
			k++;
		} else {
			out->add[out->n_add++] = it;
		}
	}
	while (k < n_actual)
		remove_key(inv, &have[k++], out);
	free(have);
	return 0;
}

void reconcile_diff_free(struct reconcile_diff *d)
{
	free((void *)d->add);
	free(d->remove);
	free((void *)d->keep);
	memset(d, 0, sizeof(*d));
}

void reconcile_set_free(struct reconcile_set *set)
{
	free(set->v);
	memset(set, 0, sizeof(*set));
}
