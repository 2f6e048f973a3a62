// SPDX-License-Identifier: GPL-2.0-only
#include "rtnl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "clock.h"
#include "log.h"
#include "netns.h"
#include "rtnl_req.h"
#include "xm_util.h"

#define RCVBUF_DEFAULT (4u << 20)
#define EVENT_MAX      32768
#define DUMP_TRIES     5
#define TC_LOST_MAX    64 /* interfaces remembered in one dispatch */

struct rtnl {
	struct mnl_socket *sk;
	struct inventory *inv;
	bool routes;
	bool stale;	 /* a dump is due */
	bool self_known; /* because our namespace has got an id, not because events were lost */
	int32_t self_id; /* id of our namespace in itself, NL_NSID_NONE */
	struct rtnl_stats stats;
	struct rtnl_req ask; /* of rtnl_link_in() */
	struct {
		int32_t nsid;
		uint32_t ifindex;
	} tc_lost[TC_LOST_MAX];
	unsigned int n_tc_lost;
	bool changed;
	_Alignas(8) char buf[EVENT_MAX];
};

static int take_in(struct rtnl *r, int32_t nsid, const struct nl_msg *m)
{
	int ret = inventory_apply(r->inv, nsid, m);

	if (ret > 0)
		r->changed = true;
	return ret < 0 ? ret : 0;
}

static int on_dump(const struct nlmsghdr *nlh, void *arg)
{
	struct rtnl *r = arg;
	struct nl_msg m;
	int err = nl_parse(nlh, nlh->nlmsg_len, &m);

	if (err == -EINVAL)
		r->stats.malformed++;
	/* Only what exists: a dump never says RTM_DEL.... */
	return err || m.del ? 0 : take_in(r, INVENTORY_SELF, &m);
}

static int dump_links(struct rtnl *r, struct rtnl_req *req)
{
	struct ifinfomsg *ifi = rtnl_req_start(req, RTM_GETLINK, NLM_F_DUMP, sizeof(*ifi));

	ifi->ifi_family = AF_UNSPEC;
	return rtnl_req_run(req, on_dump, r);
}

static int dump_addrs(struct rtnl *r, struct rtnl_req *req, int32_t nsid)
{
	struct ifaddrmsg *ifa = rtnl_req_start(req, RTM_GETADDR, NLM_F_DUMP, sizeof(*ifa));

	ifa->ifa_family = AF_INET;
	if (nsid != INVENTORY_SELF)
		rtnl_req_u32(req, IFA_TARGET_NETNSID, (uint32_t)nsid);
	return rtnl_req_run(req, on_dump, r);
}

static int dump_routes(struct rtnl *r, struct rtnl_req *req)
{
	struct rtmsg *rtm = rtnl_req_start(req, RTM_GETROUTE, NLM_F_DUMP, sizeof(*rtm));
	int err;

	rtm->rtm_family = AF_INET;
	rtm->rtm_table = RT_TABLE_MAIN;
	err = rtnl_req_run(req, on_dump, r);
	/* A namespace that never had a route has no main table (fib_dump strict checks). */
	return err == -ENOENT ? 0 : err;
}

/* Addresses of the namespaces that a link leads to since the last look. */
static int read_pods(struct rtnl *r, struct rtnl_req *req)
{
	int32_t nsid;

	while (inventory_next_unread(r->inv, &nsid)) {
		int err, tries = 0;

		do {
			err = dump_addrs(r, req, nsid);
		} while (err == -EAGAIN && ++tries < DUMP_TRIES);
		/* The kernel no longer knows the id: RTM_DELNSID is on its way. */
		if (err && err != -EINVAL && err != -ENOENT)
			return err;
		inventory_set_read(r->inv, nsid);
	}
	return 0;
}

static int dump_all(struct rtnl *r, struct rtnl_req *req)
{
	int err;

	inventory_resync_begin(r->inv);
	err = dump_links(r, req);
	if (!err)
		err = dump_addrs(r, req, INVENTORY_SELF);
	if (!err && r->routes)
		err = dump_routes(r, req);
	if (!err)
		err = read_pods(r, req);
	if (!err)
		inventory_resync_end(r->inv);
	return err;
}

int rtnl_resync(struct rtnl *r)
{
	struct rtnl_req req;
	int err, tries = 0;

	r->inv->now_ns = clock_ns();
	r->stale = true;
	err = netns_self_id(&r->self_id);
	if (!err)
		err = rtnl_req_open(&req);
	if (err)
		return err;
	do {
		err = dump_all(r, &req);
	} while (err == -EAGAIN && ++tries < DUMP_TRIES);
	rtnl_req_close(&req);
	if (err)
		return err;
	r->stale = false;
	r->self_known = false;
	r->changed = true;
	r->stats.resyncs++;
	return 0;
}

static int reread_routes(struct rtnl *r, struct rtnl_req *req)
{
	int err, tries = 0;

	do {
		inventory_routes_begin(r->inv);
		err = dump_routes(r, req);
	} while (err == -EAGAIN && ++tries < DUMP_TRIES);
	if (err)
		return err;
	inventory_routes_end(r->inv);
	r->changed = true;
	return 0;
}

static int on_link_in(const struct nlmsghdr *nlh, void *arg)
{
	struct nl_link *l = arg;
	struct nl_msg m;

	if (!nl_parse(nlh, nlh->nlmsg_len, &m) && m.type == NL_LINK && !m.del)
		*l = m.link;
	return 0;
}

int rtnl_link_in(struct rtnl *r, int32_t nsid, uint32_t ifindex, struct nl_link *l)
{
	struct ifinfomsg *ifi;
	int err = 0;

	memset(l, 0, sizeof(*l));
	/* Kept: this is asked about each pod every few seconds. */
	if (!r->ask.sk)
		err = rtnl_req_open(&r->ask);
	if (err)
		return err;
	ifi = rtnl_req_start(&r->ask, RTM_GETLINK, 0, sizeof(*ifi));
	ifi->ifi_index = (int)ifindex;
	rtnl_req_u32(&r->ask, IFLA_TARGET_NETNSID, (uint32_t)nsid);
	err = rtnl_req_run(&r->ask, on_link_in, l);
	return err ?: l->ifindex == ifindex ? 0 : -ENODEV;
}

/* What events left to be asked for. */
static int follow_up(struct rtnl *r)
{
	struct rtnl_req req;
	int32_t nsid;
	int err;

	if (!inventory_next_unread(r->inv, &nsid) && !r->inv->routes_stale)
		return 0;
	err = rtnl_req_open(&req);
	if (err)
		return err;
	err = read_pods(r, &req);
	if (!err && r->inv->routes_stale)
		err = reread_routes(r, &req);
	rtnl_req_close(&req);
	return err;
}

static void tc_lost(struct rtnl *r, int32_t nsid, uint32_t ifindex)
{
	unsigned int i;

	for (i = 0; i < r->n_tc_lost; i++) {
		if (r->tc_lost[i].nsid == nsid && r->tc_lost[i].ifindex == ifindex)
			return;
	}
	if (r->n_tc_lost == TC_LOST_MAX) {
		r->stale = true; /* too many to tell one by one: RTNL_RESYNCED covers them */
		return;
	}
	r->tc_lost[r->n_tc_lost].nsid = nsid;
	r->tc_lost[r->n_tc_lost++].ifindex = ifindex;
}

static int on_event(struct rtnl *r, int32_t nsid, const struct nlmsghdr *nlh)
{
	struct nl_msg m;
	int err;

	r->stats.messages++;
	err = nl_parse(nlh, nlh->nlmsg_len, &m);
	if (err) {
		if (err == -EINVAL)
			r->stats.malformed++;
		return 0;
	}
	if ((m.type == NL_QDISC || m.type == NL_FILTER) && m.del)
		tc_lost(r, nsid, m.tc.ifindex);
	if (m.type == NL_NSID && !m.del && m.nsid.nsid != NL_NSID_NONE &&
	    r->self_id == NL_NSID_NONE) {
		err = netns_self_id(&r->self_id);
		/* Our own messages may have come with that id before we knew it. */
		if (err || r->self_id != NL_NSID_NONE) {
			r->self_known = !r->stale;
			r->stale = true;
		}
	}
	return take_in(r, nsid, &m);
}

/* Namespace that a datagram came from. */
static int32_t sender(const struct rtnl *r, struct msghdr *mh)
{
	struct cmsghdr *c;
	int32_t nsid;

	for (c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		if (c->cmsg_level != SOL_NETLINK || c->cmsg_type != NETLINK_LISTEN_ALL_NSID ||
		    c->cmsg_len < CMSG_LEN(sizeof(nsid)))
			continue;
		memcpy(&nsid, CMSG_DATA(c), sizeof(nsid));
		return nsid == r->self_id ? INVENTORY_SELF : nsid;
	}
	return INVENTORY_SELF;
}

/* One datagram. 1: there may be more; 0: queue is empty; or -errno. */
static int read_event(struct rtnl *r)
{
	_Alignas(struct cmsghdr) char ctl[CMSG_SPACE(sizeof(int32_t)) * 2];
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { .iov_base = r->buf, .iov_len = sizeof(r->buf) };
	struct msghdr mh = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = ctl,
		.msg_controllen = sizeof(ctl),
	};
	const struct nlmsghdr *nlh = (const void *)r->buf;
	ssize_t n = recvmsg(mnl_socket_get_fd(r->sk), &mh, MSG_DONTWAIT);
	int32_t nsid;
	int len, err;

	if (n < 0) {
		switch (errno) {
		case EAGAIN:
			return 0;
		case EINTR:
			return 1;
		case ENOBUFS:
			r->stats.overruns++;
			r->stale = true;
			return 1;
		default:
			return -errno;
		}
	}
	if (from.nl_pid)
		return 1; /* some process; only the kernel is believed */
	if (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		r->stale = true;
		return 1;
	}
	nsid = sender(r, &mh);
	len = (int)n;
	for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len)) {
		err = on_event(r, nsid, nlh);
		if (err) {
			r->stale = true; /* no memory: this event is lost */
			return err;
		}
	}
	return 1;
}

int rtnl_dispatch(struct rtnl *r, rtnl_cb cb, void *arg)
{
	bool resynced = false;
	unsigned int i;
	int ret;

	r->inv->now_ns = clock_ns();
	do {
		ret = read_event(r);
	} while (ret > 0);
	if (!ret && r->stale) {
		if (!r->self_known)
			log_warn("rtnetlink: events were missed, reading all interfaces again");
		ret = rtnl_resync(r);
		resynced = !ret;
	}
	if (!ret)
		ret = follow_up(r);
	if (resynced)
		cb(RTNL_RESYNCED, INVENTORY_SELF, 0, arg);
	else if (r->changed)
		cb(RTNL_CHANGED, INVENTORY_SELF, 0, arg);
	for (i = 0; i < r->n_tc_lost; i++)
		cb(RTNL_TC_LOST, r->tc_lost[i].nsid, r->tc_lost[i].ifindex, arg);
	r->changed = false;
	r->n_tc_lost = 0;
	return ret;
}

static int subscribe(struct rtnl *r, unsigned int rcvbuf)
{
	static const int groups[] = { RTNLGRP_LINK, RTNLGRP_NSID, RTNLGRP_IPV4_IFADDR, RTNLGRP_TC };
	int fd, route = RTNLGRP_IPV4_ROUTE, on = 1;
	size_t i;

	r->sk = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!r->sk)
		return -errno;
	fd = mnl_socket_get_fd(r->sk);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof(rcvbuf)) &&
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)))
		return -errno;
	if (mnl_socket_bind(r->sk, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    mnl_socket_setsockopt(r->sk, NETLINK_LISTEN_ALL_NSID, &on, sizeof(on)) < 0)
		return -errno;
	for (i = 0; i < XM_ARRAY_SIZE(groups); i++) {
		int g = groups[i];

		if (mnl_socket_setsockopt(r->sk, NETLINK_ADD_MEMBERSHIP, &g, sizeof(g)) < 0)
			return -errno;
	}
	if (r->routes &&
	    mnl_socket_setsockopt(r->sk, NETLINK_ADD_MEMBERSHIP, &route, sizeof(route)) < 0)
		return -errno;
	return 0;
}

int rtnl_open(struct rtnl **out, struct inventory *inv, const struct rtnl_opts *opts)
{
	struct rtnl *r = calloc(1, sizeof(*r));
	int err;

	*out = NULL;
	if (!r)
		return -ENOMEM;
	r->inv = inv;
	r->routes = opts->routes;
	r->self_id = NL_NSID_NONE;
	err = subscribe(r, opts->rcvbuf ? opts->rcvbuf : RCVBUF_DEFAULT);
	if (!err)
		err = rtnl_resync(r);
	if (err) {
		rtnl_close(r);
		return err;
	}
	*out = r;
	return 0;
}

void rtnl_close(struct rtnl *r)
{
	if (!r)
		return;
	if (r->sk)
		mnl_socket_close(r->sk);
	rtnl_req_close(&r->ask);
	free(r);
}

int rtnl_fd(const struct rtnl *r)
{
	return mnl_socket_get_fd(r->sk);
}

void rtnl_stats(const struct rtnl *r, struct rtnl_stats *out)
{
	*out = r->stats;
}
