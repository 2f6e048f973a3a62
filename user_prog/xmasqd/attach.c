// SPDX-License-Identifier: GPL-2.0-only
/* Programs where they belong: applies what reconcile computes. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "daemon.h"
#include "log.h"
#include "mprog.h"
#include "place.h"

static const char *role_name(enum reconcile_role role)
{
	return role == RECONCILE_NIC ? "underlay" : "pod";
}

/* ---- one interface ---- */

struct attachment *attach_find(const struct daemon *d, uint32_t ifindex)
{
	for (size_t i = 0; i < d->n_att; i++)
		if (d->att[i].key.ifindex == ifindex)
			return &d->att[i];
	return NULL;
}

static void att_drop(struct daemon *d, struct attachment *a)
{
	if (a->local.frame_max)
		datapath_local_set(&d->dp, a->key.ifindex, NULL);
	*a = d->att[--d->n_att];
}

/* Room for one more, so that nothing is attached that cannot be remembered. */
static int att_reserve(struct daemon *d)
{
	struct attachment *a;
	size_t cap;

	if (d->n_att < d->cap_att)
		return 0;
	cap = d->cap_att ? d->cap_att * 2 : 64;
	a = realloc(d->att, cap * sizeof(*a));
	if (!a)
		return -ENOMEM;
	d->att = a;
	d->cap_att = cap;
	return 0;
}

static void detach_one(struct daemon *d, const struct attachment *a)
{
	const struct place *p = places_of(&a->as);

	/* Against the order of attaching: stop sending before the NIC forgets us. */
	place_detach(d, a, &p[1]);
	place_detach(d, a, &p[0]);
}

/* Half a pair would only learn, or only send: all or nothing. */
static int attach_as(struct daemon *d, struct attachment *a, struct tc_error *why)
{
	const struct place *p = places_of(&a->as);
	uint32_t id;
	int err = 0;

	why->text[0] = '\0';
	/* The first is not attached just to be detached again: this is tried every few seconds,
	 * and other agents hear of each change. */
	if (place_query(d, a, &p[1], &id) == -EEXIST)
		err = place_attach(d, a, &p[1], why);
	err = err ?: place_attach(d, a, &p[0], why);
	err = err ?: place_attach(d, a, &p[1], why);
	if (err)
		detach_one(d, a);
	if (err && !why->text[0])
		snprintf(why->text, sizeof(why->text), "%s", strerror(-err));
	return err;
}

/* In the best mode for the pod; where that fails, from the host side, which always works. */
static int attach_one(struct daemon *d, struct attachment *a, struct tc_error *why)
{
	int err;

	a->as = a->key;
	a->why_mode.text[0] = '\0';
	err = attach_as(d, a, why);
	if (!err || err == -ENODEV || a->key.role != RECONCILE_POD ||
	    a->key.mode == CONFIG_MODE_VETH)
		return err;
	a->why_mode = *why;
	a->as.mode = CONFIG_MODE_VETH;
	err = attach_as(d, a, why);
	if (!err)
		log_warn("pod %s: mode %s is not possible: %s; using mode veth for it", a->name,
			 config_mode_name(a->key.mode), a->why_mode.text);
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
		if (diff->remove[i].key.ifindex == f->pod_ifindex ||
		    (f->stage == XM_STAGE_LOCAL && diff->remove[i].key.ifindex == f->nic_ifindex))
			return true;
	return false;
}

/* With the last interface of a namespace go our qdiscs in it, and their record. */
static void inside_forget(struct daemon *d, const struct attachment *gone, bool link_gone)
{
	if (!gone->inode)
		return;
	for (size_t i = 0; i < d->n_att; i++)
		if (&d->att[i] != gone && d->att[i].inode == gone->inode)
			return;
	/* Empty ones that an earlier mode left: detaching has not met them. */
	if (!link_gone)
		place_leave(d, gone);
	tc_forget_netns(d->tc, gone->inode);
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
		else if (a)
			detach_one(d, a);
		if (r->key.role == RECONCILE_POD) {
			datapath_pod_forget(&d->dp, r->key.ifindex);
			pods = true;
		}
		if (a)
			inside_forget(d, a, r->gone);
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
	struct attachment *a;
	struct tc_error why;
	int err, first = 0;

	for (size_t i = 0; i < diff->n_add; i++) {
		const struct reconcile_item *it = diff->add[i];

		if (it->key.role != role)
			continue;
		err = att_reserve(d);
		if (err)
			return err;
		a = &d->att[d->n_att];
		memset(a, 0, sizeof(*a));
		a->key = it->key;
		snprintf(a->name, sizeof(a->name), "%s", it->name);
		err = attach_one(d, a, &why);
		if (err == -ENODEV)
			continue; /* went away meanwhile: its message is on the way */
		if (err) {
			if (failure_note(d, it->key.ifindex, &why))
				log_error("cannot attach to %s %s: %s", role_name(role), it->name,
					  why.text);
			first = first ?: err;
			continue;
		}
		/* Of what was there before us, or is attached again, there is nothing to measure. */
		if (d->ready_us && it->event_ns / 1000 > d->ready_us)
			a->attach_us = clock_us() - it->event_ns / 1000;
		d->n_att++;
		if (role == RECONCILE_POD)
			local_look(d, a);
		log_info("%s %s (%u) attached%s%s", role_name(role), it->name, it->key.ifindex,
			 role == RECONCILE_POD ? ", mode " : "",
			 role == RECONCILE_POD ? config_mode_name(a->as.mode) : "");
	}
	return first;
}

int attach_sync(struct daemon *d)
{
	struct reconcile_diff diff = {};
	struct reconcile_key *keys;
	int err, err2;

	err = reconcile_desired(&d->inv, &d->cfg, &d->dp.kernel, &d->want);
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
	local_sync(d);
	reconcile_diff_free(&diff);
	return err ?: err2;
}

/* ---- what others leave and do ---- */

static bool has_place(const struct attachment *a, enum place_where where, enum tc_dir dir)
{
	const struct place *p = places_of(&a->as);

	return (p[0].where == where && p[0].dir == dir) || (p[1].where == where && p[1].dir == dir);
}

static bool is_attached(uint32_t ifindex, enum tc_dir dir, void *arg)
{
	const struct attachment *a = attach_find(arg, ifindex);

	return a && has_place(a, WHERE_TC, dir);
}

/* Another namespace, for what earlier runs left there. */
struct elsewhere {
	struct daemon *d;
	int32_t nsid;
	bool keep; /* what belongs there now */
	int removed;
	int err;
};

static bool is_attached_inside(uint32_t ifindex, enum tc_dir dir, void *arg)
{
	const struct elsewhere *e = arg;

	for (size_t i = 0; i < e->d->n_att; i++) {
		const struct attachment *a = &e->d->att[i];

		if (a->key.netnsid == e->nsid && a->key.peer_ifindex == ifindex &&
		    has_place(a, WHERE_INSIDE, dir))
			return true;
	}
	return false;
}

/* In use are the qdiscs of a pod that we are attached to, be it at its host side. */
static int clean_inside(void *arg)
{
	struct elsewhere *e = arg;
	bool used = false;

	for (size_t i = 0; e->keep && i < e->d->n_att; i++) {
		struct attachment *a = &e->d->att[i];

		if (a->key.role != RECONCILE_POD || a->key.netnsid != e->nsid)
			continue;
		used = true;
		if (tc_owns_any(e->d->tc))
			a->inode = netns_inode();
	}
	return tc_cleanup_inside(e->d->tc, used ? is_attached_inside : NULL, e);
}

static void clean_netns(int32_t nsid, int fd, void *arg)
{
	struct elsewhere *e = arg;
	int n;

	e->nsid = nsid;
	n = netns_run(fd, clean_inside, e);
	/* Not allowed to enter pods: then no run of ours has put anything there. */
	if (n == -EPERM)
		return;
	if (n < 0)
		e->err = e->err ?: n;
	else
		e->removed += n;
}

/* Programs of ours in other namespaces and on netkit pairs, but for those that belong there if
 * @keep. Return: how many were removed, or -errno with the rest tried, too. */
static int clean_elsewhere(struct daemon *d, bool keep)
{
	struct elsewhere e = { .d = d, .keep = keep };
	int err = netns_each(clean_netns, &e), n;

	e.err = e.err ?: err;
	for (size_t i = 0; i < d->inv.n_links; i++) {
		const struct nl_link *l = &d->inv.links[i].l;
		const struct attachment *a = attach_find(d, l->ifindex);

		if (strcmp(l->kind, "netkit") != 0 || !l->primary ||
		    (keep && a && a->as.mode == CONFIG_MODE_NETKIT))
			continue;
		n = mprog_detach(l->ifindex, MPROG_NETKIT_PEER, false);
		if (n < 0)
			e.err = e.err ?: n;
		else
			e.removed += n;
	}
	return e.err ?: e.removed;
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
	int n, m;

	n = tc_cleanup_except(d->tc, is_attached, d);
	m = clean_elsewhere(d, true);
	if (n < 0 || m < 0)
		log_warn(
			"cannot remove the programs that an earlier run left on other interfaces: %s; xmasqd --cleanup removes all",
			strerror(n < 0 ? -n : -m));
	else if (n + m)
		log_info("removed %d programs of an earlier run from where this one attaches none",
			 n + m);
	datapath_clock(&d->dp);
	datapath_flows_del_if(&d->dp, flow_of_nobody, d, &flows);
}

/* Return: 0 when a program of the present load runs there, -ENOENT, or -EEXIST for another. */
static int look_at(const struct daemon *d, const struct attachment *a, const struct place *p)
{
	uint32_t id, want = a->instance_id, insns;
	int err;

	if (p->where != WHERE_INSIDE && datapath_prog_info(&d->dp, p->prog, &want, &insns))
		return 0;
	err = place_query(d, a, p, &id);
	if (err == -EEXIST || (err == -ENOENT && p->where != WHERE_INSIDE))
		return err;
	/* Of a namespace that no name leads to any more, -ENOENT says nothing. */
	if (err == -ENOENT && place_reachable(a))
		return err;
	/* Any other error does not tell. */
	return !err && id != want ? -EEXIST : 0;
}

/* How often a pod's namespace is entered to look after our program there. */
#define INSIDE_LOOK_MS 1000

/*
 * @inside: whether the pod's namespace is meant, which costs more. A pod that may change its own
 * filters decides how often we hear of it, not how often we look.
 */
static int look(const struct daemon *d, struct attachment *a, bool inside)
{
	const struct place *p = places_of(&a->as);
	int err = 0;

	for (int i = 0; !err && i < 2; i++) {
		if ((p[i].where == WHERE_INSIDE) != inside)
			continue;
		if (inside) {
			uint64_t now = clock_ms();

			a->doubt = a->looked_ms && now - a->looked_ms < INSIDE_LOOK_MS;
			if (a->doubt)
				continue;
			a->looked_ms = now;
		}
		err = look_at(d, a, &p[i]);
	}
	return err;
}

/* Return: whether @a was dropped, so that another one has its place. */
static bool check(struct daemon *d, struct attachment *a, bool inside)
{
	char name[IF_NAMESIZE];
	int err = look(d, a, inside);

	/* An interface that is gone takes its filters with it: reconcile hears of it. */
	if (!err || !if_indextoname(a->key.ifindex, name))
		return false;
	log_warn("programs of %s were %s by somebody: attaching them again", a->name,
		 err == -ENOENT ? "removed" : "replaced");
	/* What an earlier mode left in the pod is not remembered beyond this. */
	if (a->as.mode != CONFIG_MODE_RPEER)
		inside_forget(d, a, false);
	att_drop(d, a);
	d->dirty = true;
	return true;
}

void attach_lost(struct daemon *d, int32_t nsid, uint32_t ifindex)
{
	for (size_t i = 0; i < d->n_att;) {
		struct attachment *a = &d->att[i];
		bool inside = nsid != INVENTORY_SELF;

		if (inside ? (a->key.netnsid == nsid && a->key.peer_ifindex == ifindex)
			   : a->key.ifindex == ifindex) {
			if (check(d, a, inside))
				continue;
		}
		i++;
	}
}

void attach_check(struct daemon *d, bool all)
{
	/* Somebody may replace a filter in a pod without an event: one pod each time, in turn. */
	size_t turn = d->n_att ? d->look_turn++ % d->n_att : 0;

	for (size_t i = 0; i < d->n_att;) {
		struct attachment *a = &d->att[i];

		if (check(d, a, false))
			continue;
		if ((all || a->doubt || i == turn) && check(d, a, true))
			continue;
		i++;
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

/* Behind a redirect nothing checks what an interface takes: the programs do. */
static void note_frame(struct daemon *d)
{
	const struct inv_link *l;
	uint32_t least = 0;

	for (size_t i = 0; i < d->want.n; i++) {
		const struct reconcile_item *it = &d->want.v[i];

		if (it->key.role != RECONCILE_NIC || !it->attach)
			continue;
		l = inventory_link(&d->inv, it->key.ifindex);
		if (l && l->l.mtu && (!least || l->l.mtu < least))
			least = l->l.mtu;
	}
	datapath_nic_frame(&d->dp, least ? least + ETH_HLEN : 0);
}

bool attach_nodes(struct daemon *d)
{
	struct node_addrs now = {};

	note_frame(d);

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

bool attach_changes_way(struct daemon *d)
{
	for (size_t i = 0; i < d->want.n; i++) {
		const struct reconcile_item *it = &d->want.v[i];

		if (it->attach && it->key.role == RECONCILE_NIC &&
		    tc_changes_way(d->tc, it->key.ifindex, TC_EGRESS))
			return true;
	}
	return false;
}

void attach_replace(struct daemon *d)
{
	struct tc_error why;
	int err;

	for (int pods = 0; pods < 2; pods++) {
		for (size_t i = 0; i < d->n_att;) {
			struct attachment *a = &d->att[i];
			struct attachment old = *a;

			if ((a->key.role == RECONCILE_POD) != pods) {
				i++;
				continue;
			}
			err = attach_one(d, a, &why);
			/* It may be another mode now. */
			if (!err && a->as.mode != old.as.mode)
				place_detach(d, &old, &places_of(&old.as)[1]);
			/* Gone: reconcile hears of it. */
			if (!err || err == -ENODEV) {
				i++;
				continue;
			}
			log_error("cannot replace the programs of %s: %s; they are detached",
				  a->name, why.text);
			detach_one(d, &old);
			att_drop(d, a);
			d->dirty = true;
		}
	}
}

int attach_remove_all(struct daemon *d)
{
	int n, m;

	/* Pods first: what they still sent through us leaves through the NIC's program. */
	for (int pods = 1; pods >= 0; pods--)
		for (size_t i = 0; i < d->n_att; i++)
			if ((d->att[i].key.role == RECONCILE_POD) == pods)
				detach_one(d, &d->att[i]);
	d->n_att = 0;
	m = clean_elsewhere(d, false);
	n = tc_cleanup(d->tc);
	n = n < 0 ? n : m < 0 ? m : 0;
	if (n < 0)
		log_error("cannot remove all programs from interfaces: %s", strerror(-n));
	return n;
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
