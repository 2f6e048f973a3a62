// SPDX-License-Identifier: GPL-2.0-only
#include "netns_guest.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inventory.h"
#include "netns.h"
#include "rtnl_req.h"

#define DUMP_TRIES 3

/* A pod may make as many links as it likes: no reason to read or to show them all. */
#define LINKS_MAX  4096
#define GUESTS_MAX 8

struct look {
	struct netns_guests *out;
	bool (*skip)(int32_t nsid, void *arg);
	void *arg;
	struct rtnl_req req; /* in our namespace */
	int self;	     /* our namespace */

	/* the namespace that is looked into */
	struct rtnl_req there;
	struct netns_guest found; /* what its guests have in common */
	int32_t home;		  /* id that ours has there */
	size_t first;		  /* its guests in @out */
	unsigned int links;
};

/* A copy of l->found; NULL when out of memory. */
static struct netns_guest *push(struct look *l)
{
	struct netns_guests *g = l->out;

	if (g->n == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 16;
		struct netns_guest *v = realloc(g->v, cap * sizeof(*v));

		if (!v)
			return NULL;
		g->v = v;
		g->cap = cap;
	}
	g->v[g->n] = l->found;
	return &g->v[g->n++];
}

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
	struct look *l = arg;
	struct netns_guest *g;
	struct nl_msg m;

	if (++l->links > LINKS_MAX)
		return -E2BIG;
	/* An ipvtap does not tell its parent's namespace (no get_link_net in Linux 6.12): not found. */
	if (l->out->n - l->first == GUESTS_MAX || nl_parse(nlh, nlh->nlmsg_len, &m) ||
	    m.type != NL_LINK || m.del || !m.link.has_netnsid || m.link.netnsid != l->home ||
	    !inventory_is_guest_kind(m.link.kind))
		return 0;
	g = push(l);
	if (!g)
		return -ENOMEM;
	memcpy(g->ifname, m.link.name, sizeof(g->ifname));
	memcpy(g->kind, m.link.kind, sizeof(g->kind));
	g->ifindex = m.link.ifindex;
	g->parent = m.link.link;
	return 0;
}

static int dump_links(struct look *l)
{
	int err, tries = 0;

	do {
		struct ifinfomsg *ifi =
			rtnl_req_start(&l->there, RTM_GETLINK, NLM_F_DUMP, sizeof(*ifi));

		ifi->ifi_family = AF_UNSPEC;
		l->out->n = l->first;
		l->links = 0;
		err = rtnl_req_run(&l->there, on_link, l);
	} while (err == -EAGAIN && ++tries < DUMP_TRIES);
	return err;
}

static int on_addr(const struct nlmsghdr *nlh, void *arg)
{
	struct netns_guest *g = arg;
	struct nl_msg m;

	if (!nl_parse(nlh, nlh->nlmsg_len, &m) && m.type == NL_ADDR && !m.del &&
	    m.addr.ifindex == g->ifindex && g->n_addrs < NETNS_GUEST_ADDRS)
		g->addrs[g->n_addrs++] = m.addr.addr;
	return 0;
}

static int dump_addrs(struct look *l, struct netns_guest *g)
{
	int err, tries = 0;

	do {
		struct ifaddrmsg *ifa =
			rtnl_req_start(&l->there, RTM_GETADDR, NLM_F_DUMP, sizeof(*ifa));

		ifa->ifa_family = AF_INET;
		ifa->ifa_index = g->ifindex;
		g->n_addrs = 0;
		err = rtnl_req_run(&l->there, on_addr, g);
	} while (err == -EAGAIN && ++tries < DUMP_TRIES);
	return err;
}

/* Inside the namespace. What is found counts, also when not everything could be read. */
static int inside(void *arg)
{
	struct look *l = arg;
	int err;

	err = rtnl_req_open(&l->there);
	if (err)
		return err;
	l->first = l->out->n;
	err = netns_id(&l->there, l->self, &l->home);
	if (!err && l->home != NL_NSID_NONE)
		err = dump_links(l);
	/* A socket whose dump was given up answers no other one. */
	for (size_t i = l->first; !err && i < l->out->n; i++) {
		err = dump_addrs(l, &l->out->v[i]);
		/* The interface is gone again. */
		err = err == -ENODEV ? 0 : err;
	}
	rtnl_req_close(&l->there);
	return err;
}

static int look(const char *name, int fd, bool own, void *arg)
{
	struct look *l = arg;

	memset(&l->found, 0, sizeof(l->found));
	(void)snprintf(l->found.netns, sizeof(l->found.netns), "%s", name);
	l->found.own = own;
	l->found.nsid = NL_NSID_NONE;
	if (own)
		return push(l) ? 0 : -ENOMEM;
	if (netns_id(&l->req, fd, &l->found.nsid) ||
	    (l->found.nsid != NL_NSID_NONE && l->skip(l->found.nsid, l->arg)))
		return 0;
	/* One that is gone, or that we may not enter, is no reason to miss the others. */
	return netns_run(fd, inside, l) == -ENOMEM ? -ENOMEM : 0;
}

int netns_guests_read(struct netns_guests *g, bool (*skip)(int32_t nsid, void *arg), void *arg)
{
	struct look l = { .out = g, .skip = skip, .arg = arg };
	int err;

	memset(g, 0, sizeof(*g));
	l.self = netns_open_self();
	if (l.self < 0)
		return l.self;
	err = rtnl_req_open(&l.req);
	if (!err) {
		err = netns_walk(look, &l);
		rtnl_req_close(&l.req);
	}
	close(l.self);
	return err;
}

void netns_guests_free(struct netns_guests *g)
{
	free(g->v);
	memset(g, 0, sizeof(*g));
}
