// SPDX-License-Identifier: GPL-2.0-only
/* Programs where they belong: applies what reconcile computes. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon.h"
#include "log.h"

/* Which program goes where. */
struct place {
	enum tc_dir dir;
	enum datapath_prog prog;
};

static const struct place nic_places[2] = {
	/* Egress first: what pods send through us must be recognised from the start. */
	{ TC_EGRESS, DATAPATH_NIC_EGRESS },
	{ TC_INGRESS, DATAPATH_NIC_INGRESS },
};

/* The host-side veth's ingress is what the pod sends. */
static const struct place pod_places[2] = {
	{ TC_EGRESS, DATAPATH_POD_INGRESS },
	{ TC_INGRESS, DATAPATH_POD_EGRESS },
};

static const struct place *places_of(enum reconcile_role role)
{
	return role == RECONCILE_NIC ? nic_places : pod_places;
}

static const char *role_name(enum reconcile_role role)
{
	return role == RECONCILE_NIC ? "underlay" : "pod";
}

static struct attachment *att_find(struct daemon *d, uint32_t ifindex)
{
	for (size_t i = 0; i < d->n_att; i++)
		if (d->att[i].key.ifindex == ifindex)
			return &d->att[i];
	return NULL;
}

static void att_drop(struct daemon *d, struct attachment *a)
{
	*a = d->att[--d->n_att];
}

static int att_add(struct daemon *d, const struct reconcile_item *it)
{
	struct attachment *a;

	if (d->n_att == d->cap_att) {
		size_t cap = d->cap_att ? d->cap_att * 2 : 64;

		a = realloc(d->att, cap * sizeof(*a));
		if (!a)
			return -ENOMEM;
		d->att = a;
		d->cap_att = cap;
	}
	a = &d->att[d->n_att++];
	memset(a, 0, sizeof(*a));
	a->key = it->key;
	snprintf(a->name, sizeof(a->name), "%s", it->name);
	a->attach_us = it->event_ns ? daemon_now_us() - it->event_ns / 1000 : 0;
	return 0;
}

static int attach_one(struct daemon *d, uint32_t ifindex, enum reconcile_role role,
		      struct tc_error *why)
{
	const struct place *p = places_of(role);
	int err;

	for (int i = 0; i < 2; i++) {
		err = tc_attach(d->tc, ifindex, p[i].dir, datapath_prog_fd(&d->dp, p[i].prog), why);
		if (err) {
			/* Half a pair would only learn, or only send: all or nothing. */
			while (i-- > 0)
				tc_detach(d->tc, ifindex, p[i].dir);
			return err;
		}
	}
	return 0;
}

static void detach_one(struct daemon *d, const struct reconcile_key *k)
{
	const struct place *p = places_of(k->role);

	/* Against the order of attaching: stop sending before the NIC forgets us. */
	tc_detach(d->tc, k->ifindex, p[1].dir);
	tc_detach(d->tc, k->ifindex, p[0].dir);
}

struct gone {
	struct daemon *d;
	const struct reconcile_diff *diff;
	struct {
		struct xm_flow_key key;
		struct xm_flow f;
	} * v;
	size_t n, cap;
};

static bool collect_gone(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct gone *g = arg;

	for (size_t i = 0; i < g->diff->n_remove; i++) {
		if (g->diff->remove[i].key.ifindex != f->pod_ifindex)
			continue;
		if (g->n == g->cap) {
			size_t cap = g->cap ? g->cap * 2 : 64;
			void *v = realloc(g->v, cap * sizeof(*g->v));

			if (!v)
				return false;
			g->v = v;
			g->cap = cap;
		}
		g->v[g->n].key = *key;
		g->v[g->n++].f = *f;
		break;
	}
	return true;
}

/* Flows of pods that are gone: the next owner of the address starts clean. */
static void forget_flows(struct daemon *d, const struct reconcile_diff *diff)
{
	struct gone g = { .d = d, .diff = diff };

	datapath_clock(&d->dp);
	datapath_flows(&d->dp, collect_gone, &g);
	for (size_t i = 0; i < g.n; i++)
		datapath_flow_del(&d->dp, &g.v[i].key, &g.v[i].f);
	free(g.v);
}

static void remove_gone(struct daemon *d, const struct reconcile_diff *diff)
{
	bool pods = false;

	for (size_t i = 0; i < diff->n_remove; i++) {
		const struct reconcile_removal *r = &diff->remove[i];
		struct attachment *a = att_find(d, r->key.ifindex);

		log_info("%s %s (%u) %s", role_name(r->key.role), a ? a->name : "?", r->key.ifindex,
			 r->gone ? "is gone" : "detached");
		if (r->gone)
			tc_forget(d->tc, r->key.ifindex);
		else
			detach_one(d, &r->key);
		if (r->key.role == RECONCILE_POD) {
			datapath_pod_forget(&d->dp, r->key.ifindex);
			pods = true;
		}
		if (a)
			att_drop(d, a);
	}
	if (pods)
		forget_flows(d, diff);
}

static int add_new(struct daemon *d, const struct reconcile_diff *diff, enum reconcile_role role)
{
	struct tc_error why;
	int err, first = 0;

	for (size_t i = 0; i < diff->n_add; i++) {
		const struct reconcile_item *it = diff->add[i];

		if (it->key.role != role)
			continue;
		why.text[0] = 0;
		err = attach_one(d, it->key.ifindex, role, &why);
		if (err == -ENODEV)
			continue; /* went away meanwhile: its message is on the way */
		if (err) {
			log_ratelimited(CONFIG_LOG_ERROR, 2, "cannot attach to %s %s: %s",
					role_name(role), it->name,
					why.text[0] ? why.text : strerror(-err));
			first = first ?: err;
			continue;
		}
		err = att_add(d, it);
		if (err)
			return err;
		log_info("%s %s (%u) attached", role_name(role), it->name, it->key.ifindex);
	}
	return first;
}

int attach_sync(struct daemon *d)
{
	struct reconcile_diff diff = {};
	struct reconcile_key *keys;
	int err, err2;

	err = reconcile_desired(&d->inv, &d->cfg, &d->want);
	if (err)
		return err;
	keys = calloc(d->n_att + 1, sizeof(*keys));
	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_att; i++)
		keys[i] = d->att[i].key;
	err = reconcile_diff(&d->inv, &d->want, keys, d->n_att, &diff);
	free(keys);
	if (err)
		return err;
	remove_gone(d, &diff);
	err = add_new(d, &diff, RECONCILE_NIC);
	err2 = add_new(d, &diff, RECONCILE_POD);
	reconcile_diff_free(&diff);
	return err ?: err2;
}

bool attach_nodes(struct daemon *d)
{
	__be32 now[XM_NODES_MAX] = {};
	unsigned int n = 0;

	for (size_t i = 0; i < d->want.n; i++) {
		const struct reconcile_item *it = &d->want.v[i];

		if (it->key.role != RECONCILE_NIC || !it->attach)
			continue;
		for (unsigned int k = 0; k < it->n_addrs && n < XM_NODES_MAX; k++)
			now[n++] = it->addrs[k];
	}
	if (n == d->n_nodes && !memcmp(now, d->nodes, sizeof(now)))
		return false;
	memcpy(d->nodes, now, sizeof(now));
	d->n_nodes = n;
	return true;
}

int attach_replace(struct daemon *d)
{
	struct tc_error why;
	int err, first = 0;

	for (int pods = 0; pods < 2; pods++) {
		for (size_t i = 0; i < d->n_att; i++) {
			const struct attachment *a = &d->att[i];

			if ((a->key.role == RECONCILE_POD) != pods)
				continue;
			why.text[0] = 0;
			err = attach_one(d, a->key.ifindex, a->key.role, &why);
			if (err && err != -ENODEV) {
				log_error("cannot replace the programs of %s: %s", a->name,
					  why.text[0] ? why.text : strerror(-err));
				first = first ?: err;
			}
		}
	}
	return first;
}

int attach_remove_all(struct daemon *d)
{
	int n;

	/* Pods first: what they still sent through us leaves through the NIC's program. */
	for (int pods = 1; pods >= 0; pods--)
		for (size_t i = 0; i < d->n_att; i++)
			if ((d->att[i].key.role == RECONCILE_POD) == pods)
				detach_one(d, &d->att[i].key);
	d->n_att = 0;
	n = tc_cleanup(d->tc);
	return n < 0 ? n : 0;
}

void attach_free(struct daemon *d)
{
	free(d->att);
	d->att = NULL;
	d->n_att = 0;
	d->cap_att = 0;
	reconcile_set_free(&d->want);
}
