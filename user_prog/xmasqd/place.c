// SPDX-License-Identifier: GPL-2.0-only
#include "place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "mprog.h"

/* A pair of places: the first is attached first and detached last. */
static const struct place nic_places[2] = {
	/* Egress first: what pods send through us must be recognised from the start. */
	{ WHERE_TC, TC_EGRESS, DATAPATH_NIC_EGRESS },
	{ WHERE_TC, TC_INGRESS, DATAPATH_NIC_INGRESS },
};

/* What is delivered shows the CNI's consent only behind every filter that may still drop it.
 * Where what the pod sends is met makes the mode. */
static const struct place veth_places[2] = {
	{ WHERE_TC, TC_EGRESS_LAST, DATAPATH_POD_INGRESS },
	{ WHERE_TC, TC_INGRESS, DATAPATH_POD_EGRESS },
};

static const struct place rpeer_places[2] = {
	{ WHERE_TC, TC_EGRESS_LAST, DATAPATH_POD_INGRESS },
	{ WHERE_INSIDE, TC_EGRESS_INSIDE, DATAPATH_RPEER_EGRESS },
};

static const struct place netkit_places[2] = {
	{ WHERE_TC, TC_EGRESS_LAST, DATAPATH_POD_INGRESS },
	{ WHERE_NETKIT, TC_INGRESS, DATAPATH_NETKIT_EGRESS },
};

const struct place *places_of(const struct reconcile_key *k)
{
	if (k->role == RECONCILE_NIC)
		return nic_places;
	if (k->mode == CONFIG_MODE_NETKIT)
		return netkit_places;
	if (k->mode == CONFIG_MODE_RPEER)
		return rpeer_places;
	return veth_places;
}

/* A call of tc.h for the pod's end, to be made in the pod's namespace. */
struct inside {
	struct tc *tc;
	uint32_t ifindex;
	enum tc_dir dir;
	int fd;
	uint32_t id;
	uint64_t inode;
	struct tc_error *why;
};

static int inside_attach(void *arg)
{
	struct inside *in = arg;

	in->inode = netns_inode();
	return tc_attach(in->tc, in->ifindex, in->dir, in->fd, -1, in->why);
}

static int inside_detach(void *arg)
{
	struct inside *in = arg;

	return tc_detach(in->tc, in->ifindex, in->dir);
}

static int inside_query(void *arg)
{
	struct inside *in = arg;

	return tc_query(in->tc, in->ifindex, in->dir, &in->id);
}

/* The namespace is not held between calls: that would keep it alive after its pod. */
static int run_inside(const struct reconcile_key *k, int (*fn)(void *arg), struct inside *in)
{
	int ns = netns_open(k->netnsid);
	int err;

	if (ns < 0)
		return ns;
	err = netns_run(ns, fn, in);
	close(ns);
	return err;
}

/* @a: remembers what is needed to find the program again */
int place_attach(struct daemon *d, struct attachment *a, const struct place *p,
		 struct tc_error *why)
{
	struct inside in = {
		.tc = d->tc, .ifindex = a->key.peer_ifindex, .dir = p->dir, .why = why
	};
	uint32_t id;
	int err;

	switch (p->where) {
	case WHERE_TC:
		return tc_attach(d->tc, a->key.ifindex, p->dir, datapath_prog_fd(&d->dp, p->prog),
				 datapath_first_fd(&d->dp, p->prog), why);
	case WHERE_NETKIT:
		return mprog_attach(a->key.ifindex, MPROG_NETKIT_PEER, false,
				    datapath_prog_fd(&d->dp, p->prog), why);
	case WHERE_INSIDE:
		break;
	}
	err = datapath_instance(&d->dp, a->key.ifindex, &in.fd, &id);
	if (err) {
		snprintf(why->text, sizeof(why->text), "cannot load %s for this pod: %s",
			 datapath_prog_name(p->prog), strerror(-err));
		return err;
	}
	err = run_inside(&a->key, inside_attach, &in);
	close(in.fd);
	if (err && !why->text[0])
		snprintf(why->text, sizeof(why->text), "cannot enter the pod's namespace: %s",
			 err == -ENOENT
				 ? "neither /run/netns, /run/docker/netns nor a process leads to it"
				 : strerror(-err));
	if (!err) {
		a->instance_id = id;
		a->inode = in.inode;
	}
	return err;
}

static int inside_leave(void *arg)
{
	struct inside *in = arg;

	return tc_cleanup_inside(in->tc, NULL, NULL);
}

void place_leave(struct daemon *d, const struct attachment *a)
{
	struct inside in = { .tc = d->tc };

	run_inside(&a->key, inside_leave, &in);
}

void place_detach(struct daemon *d, const struct attachment *a, const struct place *p)
{
	struct inside in = { .tc = d->tc, .ifindex = a->key.peer_ifindex, .dir = p->dir };

	switch (p->where) {
	case WHERE_TC:
		tc_detach(d->tc, a->key.ifindex, p->dir);
		break;
	case WHERE_NETKIT:
		mprog_detach(a->key.ifindex, MPROG_NETKIT_PEER, false);
		break;
	case WHERE_INSIDE:
		run_inside(&a->key, inside_detach, &in);
		break;
	}
}

/* As tc_query(). */
int place_query(const struct daemon *d, const struct attachment *a, const struct place *p,
		uint32_t *id)
{
	struct inside in = { .tc = d->tc, .ifindex = a->key.peer_ifindex, .dir = p->dir };
	int err;

	switch (p->where) {
	case WHERE_TC:
		return tc_query(d->tc, a->key.ifindex, p->dir, id);
	case WHERE_NETKIT:
		return mprog_query(a->key.ifindex, MPROG_NETKIT_PEER, false, id);
	case WHERE_INSIDE:
		break;
	}
	err = run_inside(&a->key, inside_query, &in);
	*id = in.id;
	return err;
}

bool place_reachable(const struct attachment *a)
{
	int ns = netns_open(a->key.netnsid);

	if (ns >= 0)
		close(ns);
	return ns >= 0;
}
