// SPDX-License-Identifier: GPL-2.0-only
/* Programs where they belong: applies what reconcile computes. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
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

/* The host-side veth's ingress is what the pod sends. What is delivered shows the CNI's
 * consent only behind every filter that may still drop it. */
static const struct place pod_places[2] = {
	{ TC_EGRESS_LAST, DATAPATH_POD_INGRESS },
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

struct attachment *attach_find(const struct daemon *d, uint32_t ifindex)
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
	/* Of what was there before us, or is attached again, there is nothing to measure. */
	if (d->ready_us && it->event_ns / 1000 > d->ready_us)
		a->attach_us = daemon_now_us() - it->event_ns / 1000;
	return 0;
}

static void detach_one(struct daemon *d, uint32_t ifindex, enum reconcile_role role)
{
	const struct place *p = places_of(role);

	/* Against the order of attaching: stop sending before the NIC forgets us. */
	tc_detach(d->tc, ifindex, p[1].dir);
	tc_detach(d->tc, ifindex, p[0].dir);
}

static int attach_place(struct daemon *d, uint32_t ifindex, const struct place *p,
			struct tc_error *why)
{
	return tc_attach(d->tc, ifindex, p->dir, datapath_prog_fd(&d->dp, p->prog), why);
}

/* Half a pair would only learn, or only send: all or nothing. */
static int attach_one(struct daemon *d, uint32_t ifindex, enum reconcile_role role,
		      struct tc_error *why)
{
	const struct place *p = places_of(role);
	uint32_t id;
	int err = 0;

	why->text[0] = '\0';
	/* The first is not attached just to be detached again: this is tried every few seconds,
	 * and other agents hear of each change. */
	if (tc_query(d->tc, ifindex, p[1].dir, &id) == -EEXIST)
		err = attach_place(d, ifindex, &p[1], why);
	err = err ?: attach_place(d, ifindex, &p[0], why);
	err = err ?: attach_place(d, ifindex, &p[1], why);
	if (err)
		detach_one(d, ifindex, role);
	if (err && !why->text[0])
		snprintf(why->text, sizeof(why->text), "%s", strerror(-err));
	return err;
}

/* ---- failures, for "pods" and to tell each of them once ---- */

static struct attach_failure *failure_find(const struct daemon *d, uint32_t ifindex)
{
	for (size_t i = 0; i < d->n_fail; i++)
		if (d->fail[i].ifindex == ifindex)
			return &d->fail[i];
	return NULL;
}

const char *attach_why_not(const struct daemon *d, uint32_t ifindex)
{
	const struct attach_failure *f = failure_find(d, ifindex);

	return f ? f->why.text : NULL;
}

/* Return: whether it is news. */
static bool failure_note(struct daemon *d, uint32_t ifindex, const struct tc_error *why)
{
	struct attach_failure *f = failure_find(d, ifindex);

	if (f && !strcmp(f->why.text, why->text))
		return false;
	if (!f && d->n_fail == d->cap_fail) {
		size_t cap = d->cap_fail ? d->cap_fail * 2 : 16;

		f = realloc(d->fail, cap * sizeof(*f));
		if (!f)
			return true;
		d->fail = f;
		d->cap_fail = cap;
		f = NULL;
	}
	if (!f)
		f = &d->fail[d->n_fail++];
	f->ifindex = ifindex;
	f->why = *why;
	return true;
}

/* Of interfaces that are attached now, or need not be any more. */
static void failures_forget(struct daemon *d)
{
	size_t kept = 0;

	for (size_t i = 0; i < d->n_fail; i++) {
		bool wanted = false;

		for (size_t k = 0; k < d->want.n && !wanted; k++)
			wanted = d->want.v[k].attach &&
				 d->want.v[k].key.ifindex == d->fail[i].ifindex;
		if (wanted && !attach_find(d, d->fail[i].ifindex))
			d->fail[kept++] = d->fail[i];
	}
	d->n_fail = kept;
}

/* ---- towards what should be ---- */

static bool flow_of_removed(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	const struct reconcile_diff *diff = arg;

	(void)key;
	for (size_t i = 0; i < diff->n_remove; i++)
		if (diff->remove[i].key.ifindex == f->pod_ifindex)
			return true;
	return false;
}

static void remove_gone(struct daemon *d, struct reconcile_diff *diff)
{
	bool pods = false;
	size_t n;

	for (size_t i = 0; i < diff->n_remove; i++) {
		const struct reconcile_removal *r = &diff->remove[i];
		struct attachment *a = attach_find(d, r->key.ifindex);

		log_info("%s %s (%u) %s", role_name(r->key.role), a ? a->name : "?", r->key.ifindex,
			 r->gone ? "is gone" : "detached");
		if (r->gone)
			tc_forget(d->tc, r->key.ifindex);
		else
			detach_one(d, r->key.ifindex, r->key.role);
		if (r->key.role == RECONCILE_POD) {
			datapath_pod_forget(&d->dp, r->key.ifindex);
			pods = true;
		}
		if (a)
			att_drop(d, a);
	}
	/* The next owner of the address starts clean. */
	if (pods) {
		datapath_clock(&d->dp);
		datapath_flows_del_if(&d->dp, flow_of_removed, diff, &n);
	}
}

static int add_new(struct daemon *d, const struct reconcile_diff *diff, enum reconcile_role role)
{
	struct tc_error why;
	int err, first = 0;

	for (size_t i = 0; i < diff->n_add; i++) {
		const struct reconcile_item *it = diff->add[i];

		if (it->key.role != role)
			continue;
		err = attach_one(d, it->key.ifindex, role, &why);
		if (err == -ENODEV)
			continue; /* went away meanwhile: its message is on the way */
		if (err) {
			if (failure_note(d, it->key.ifindex, &why))
				log_error("cannot attach to %s %s: %s", role_name(role), it->name,
					  why.text);
			first = first ?: err;
			continue;
		}
		err = att_add(d, it);
		if (err) {
			detach_one(d, it->key.ifindex, role);
			return err;
		}
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
	failures_forget(d);
	reconcile_diff_free(&diff);
	return err ?: err2;
}

/* ---- what others leave and do ---- */

static bool is_attached(uint32_t ifindex, enum tc_dir dir, void *arg)
{
	const struct attachment *a = attach_find(arg, ifindex);
	const struct place *p = a ? places_of(a->key.role) : NULL;

	return a && (p[0].dir == dir || p[1].dir == dir);
}

/* Nothing renews its leases: these flows would only be in the way of their successors. */
static bool flow_of_nobody(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	(void)key;
	return (f->pod_ifindex && !attach_find(arg, f->pod_ifindex)) ||
	       (f->nic_ifindex && !attach_find(arg, f->nic_ifindex));
}

void attach_sweep(struct daemon *d)
{
	size_t flows;
	int n;

	n = tc_cleanup_except(d->tc, is_attached, d);
	if (n < 0)
		log_warn(
			"cannot remove the programs that an earlier run left on other interfaces: %s; xmasqd --cleanup removes all",
			strerror(-n));
	else if (n)
		log_info("removed %d programs of an earlier run from where this one attaches none",
			 n);
	datapath_clock(&d->dp);
	datapath_flows_del_if(&d->dp, flow_of_nobody, d, &flows);
}

/* Return: 0 when a program of the present load runs there, -ENOENT, or -EEXIST for another. */
static int look(const struct daemon *d, const struct attachment *a)
{
	const struct place *p = places_of(a->key.role);
	uint32_t id, want, insns;
	int err;

	for (int i = 0; i < 2; i++) {
		if (datapath_prog_info(&d->dp, p[i].prog, &want, &insns))
			continue;
		err = tc_query(d->tc, a->key.ifindex, p[i].dir, &id);
		if (err == -ENOENT || err == -EEXIST)
			return err;
		/* Any other error does not tell. */
		if (!err && id != want)
			return -EEXIST;
	}
	return 0;
}

void attach_lost(struct daemon *d, uint32_t ifindex)
{
	char name[IF_NAMESIZE];

	for (size_t i = 0; i < d->n_att;) {
		struct attachment *a = &d->att[i];
		int err = ifindex && a->key.ifindex != ifindex ? 0 : look(d, a);

		/* An interface that is gone takes its filters with it: reconcile hears of it. */
		if (!err || !if_indextoname(a->key.ifindex, name)) {
			i++;
			continue;
		}
		log_warn("programs of %s were %s by somebody: attaching them again", a->name,
			 err == -ENOENT ? "removed" : "replaced");
		att_drop(d, a);
		d->dirty = true;
	}
}

/* Which addresses matter most, when there are more than fit: 0 first. */
static int addr_rank(const struct inventory *inv, const struct inv_addr *a)
{
	/* What a tunnel sends from is what the peers know us by. */
	for (size_t i = 0; i < inv->n_links; i++)
		if (inv->links[i].l.tun_local == a->addr)
			return 0;
	/* A /32 on an underlay interface is a service's, such as a virtual IP. */
	return a->prefix < 32 ? 1 : 2;
}

#define ADDR_RANKS 3

struct node_addrs {
	__be32 v[XM_NODES_MAX];
	unsigned int n;
	char unused[sizeof(((struct daemon *)0)->nodes_unused)];
};

static void add_node(struct node_addrs *now, __be32 addr)
{
	size_t len = strlen(now->unused);
	char text[INET_ADDRSTRLEN];

	for (unsigned int i = 0; i < now->n; i++)
		if (now->v[i] == addr)
			return;
	if (now->n < XM_NODES_MAX)
		now->v[now->n++] = addr;
	else
		snprintf(now->unused + len, sizeof(now->unused) - len, "%s%s", len ? "," : "",
			 inet_ntop(AF_INET, &addr, text, sizeof(text)));
}

static void add_nodes(const struct daemon *d, int rank, struct node_addrs *now)
{
	for (size_t i = 0; i < d->want.n; i++) {
		const struct reconcile_item *it = &d->want.v[i];
		const struct inv_addr *a;
		size_t n;

		if (it->key.role != RECONCILE_NIC || !it->attach)
			continue;
		a = inventory_addrs(&d->inv, INVENTORY_SELF, it->key.ifindex, &n);
		for (size_t k = 0; k < n; k++)
			if (addr_rank(&d->inv, &a[k]) == rank)
				add_node(now, a[k].addr);
	}
}

bool attach_nodes(struct daemon *d)
{
	struct node_addrs now = {};

	for (int rank = 0; rank < ADDR_RANKS; rank++)
		add_nodes(d, rank, &now);
	if (strcmp(now.unused, d->nodes_unused) != 0) {
		memcpy(d->nodes_unused, now.unused, sizeof(now.unused));
		if (now.unused[0])
			log_warn(
				"the underlay has more than %d addresses, and these are not used: %s; overlay packets from or to them are not accelerated: name fewer interfaces in \"underlay\", or move addresses elsewhere",
				XM_NODES_MAX, now.unused);
	}
	if (now.n == d->n_nodes && !memcmp(now.v, d->nodes, sizeof(now.v)))
		return false;
	memcpy(d->nodes, now.v, sizeof(now.v));
	d->n_nodes = now.n;
	return true;
}

void attach_replace(struct daemon *d)
{
	struct tc_error why;
	int err;

	for (int pods = 0; pods < 2; pods++) {
		for (size_t i = 0; i < d->n_att;) {
			struct attachment *a = &d->att[i];

			if ((a->key.role == RECONCILE_POD) != pods) {
				i++;
				continue;
			}
			err = attach_one(d, a->key.ifindex, a->key.role, &why);
			/* Gone: reconcile hears of it. */
			if (!err || err == -ENODEV) {
				i++;
				continue;
			}
			log_error("cannot replace the programs of %s: %s; they are detached",
				  a->name, why.text);
			att_drop(d, a);
			d->dirty = true;
		}
	}
}

int attach_remove_all(struct daemon *d)
{
	int n;

	/* Pods first: what they still sent through us leaves through the NIC's program. */
	for (int pods = 1; pods >= 0; pods--)
		for (size_t i = 0; i < d->n_att; i++)
			if ((d->att[i].key.role == RECONCILE_POD) == pods)
				detach_one(d, d->att[i].key.ifindex, d->att[i].key.role);
	d->n_att = 0;
	n = tc_cleanup(d->tc);
	if (n < 0)
		log_error("cannot remove all programs from interfaces: %s", strerror(-n));
	return n < 0 ? n : 0;
}

void attach_free(struct daemon *d)
{
	free(d->att);
	d->att = NULL;
	d->n_att = 0;
	d->cap_att = 0;
	free(d->fail);
	d->fail = NULL;
	d->n_fail = 0;
	d->cap_fail = 0;
	reconcile_set_free(&d->want);
}
