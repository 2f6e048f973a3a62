// SPDX-License-Identifier: GPL-2.0-only
#include "netns.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nl.h"
#include "rtnl_req.h"
#include "xm_util.h"

#define SELF_NS "/proc/thread-self/ns/net"

static const char *const dirs[] = { "/run/netns", "/run/docker/netns" };

struct name {
	int32_t nsid;
	char text[NAME_MAX + 1];
};

struct netns_names {
	struct name *v;
	size_t n, cap;
};

struct netns_names *netns_names_new(void)
{
	return calloc(1, sizeof(struct netns_names));
}

void netns_names_free(struct netns_names *t)
{
	if (!t)
		return;
	free(t->v);
	free(t);
}

static int on_nsid(const struct nlmsghdr *nlh, void *arg)
{
	struct nl_msg m;

	if (!nl_parse(nlh, nlh->nlmsg_len, &m) && m.type == NL_NSID)
		*(int32_t *)arg = m.nsid.nsid;
	return 0;
}

/* Id of the namespace @fd in the namespace of the socket; NL_NSID_NONE: it has none. */
static int fd_to_nsid(struct rtnl_req *req, int fd, int32_t *nsid)
{
	struct rtgenmsg *g;

	*nsid = NL_NSID_NONE;
	g = rtnl_req_start(req, RTM_GETNSID, 0, sizeof(*g));
	g->rtgen_family = AF_UNSPEC;
	rtnl_req_u32(req, NETNSA_FD, (uint32_t)fd);
	return rtnl_req_run(req, on_nsid, nsid);
}

/*
 * Call @fn for each namespace that has an id. @fn owns nothing; non-zero ends the walk
 * and is returned.
 */
static int walk_dir(struct rtnl_req *req, const char *dir, const char *below,
		    int (*fn)(int32_t nsid, const char *name, int fd, void *arg), void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int ret = 0;

	if (!d)
		return 0;
	while (!ret && (e = readdir(d))) {
		char path[NAME_MAX + 16];
		int32_t nsid;
		int fd;

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s%s", e->d_name, below);
		fd = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			continue;
		/* A name whose mount is yet to come is a plain file: -EINVAL. */
		if (!fd_to_nsid(req, fd, &nsid) && nsid != NL_NSID_NONE)
			ret = fn(nsid, e->d_name, fd, arg);
		close(fd);
	}
	closedir(d);
	return ret;
}

static int add_name(int32_t nsid, const char *name, int fd, void *arg)
{
	struct netns_names *t = arg;
	struct name *at;

	(void)fd;
	if (netns_name(t, nsid))
		return 0; /* the first of several names */
	if (t->n == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 32;
		struct name *v = realloc(t->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		t->v = v;
		t->cap = cap;
	}
	at = &t->v[t->n++];
	at->nsid = nsid;
	(void)snprintf(at->text, sizeof(at->text), "%s", name);
	return 0;
}

int netns_names_refresh(struct netns_names *t)
{
	struct rtnl_req req;
	size_t i;
	int err;

	t->n = 0;
	err = rtnl_req_open(&req);
	if (err)
		return err;
	for (i = 0; !err && i < XM_ARRAY_SIZE(dirs); i++)
		err = walk_dir(&req, dirs[i], "", add_name, t);
	rtnl_req_close(&req);
	return err ? err : (int)t->n;
}

const char *netns_names_at(const struct netns_names *t, size_t i, int32_t *nsid)
{
	if (i >= t->n)
		return NULL;
	*nsid = t->v[i].nsid;
	return t->v[i].text;
}

const char *netns_name(const struct netns_names *t, int32_t nsid)
{
	size_t i;

	for (i = 0; i < t->n; i++) {
		if (t->v[i].nsid == nsid)
			return t->v[i].text;
	}
	return NULL;
}

struct wanted {
	int32_t nsid;
	int fd;
};

static int match(int32_t nsid, const char *name, int fd, void *arg)
{
	struct wanted *w = arg;

	(void)name;
	if (nsid != w->nsid)
		return 0;
	w->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return w->fd < 0 ? -errno : 1;
}

int netns_open(int32_t nsid)
{
	struct wanted w = { .nsid = nsid, .fd = -1 };
	struct rtnl_req req;
	size_t i;
	int ret;

	ret = rtnl_req_open(&req);
	if (ret)
		return ret;
	for (i = 0; !ret && i < XM_ARRAY_SIZE(dirs); i++)
		ret = walk_dir(&req, dirs[i], "", match, &w);
	if (!ret)
		ret = walk_dir(&req, "/proc", "/ns/net", match, &w);
	rtnl_req_close(&req);
	if (ret < 0)
		return ret;
	return w.fd >= 0 ? w.fd : -ENOENT;
}

struct each {
	struct netns_names seen; /* by id; names do not matter */
	int32_t self;		 /* id that our namespace has in itself */
	void (*fn)(int32_t nsid, int fd, void *arg);
	void *arg;
};

static int once(int32_t nsid, const char *name, int fd, void *arg)
{
	struct each *e = arg;
	int err;

	if (nsid == e->self || netns_name(&e->seen, nsid))
		return 0;
	err = add_name(nsid, name, fd, &e->seen);
	if (!err)
		e->fn(nsid, fd, e->arg);
	return err;
}

int netns_each(void (*fn)(int32_t nsid, int fd, void *arg), void *arg)
{
	struct each e = { .fn = fn, .arg = arg };
	struct rtnl_req req;
	size_t i;
	int ret;

	ret = netns_self_id(&e.self);
	if (!ret)
		ret = rtnl_req_open(&req);
	if (ret)
		return ret;
	for (i = 0; !ret && i < XM_ARRAY_SIZE(dirs); i++)
		ret = walk_dir(&req, dirs[i], "", once, &e);
	if (!ret)
		ret = walk_dir(&req, "/proc", "/ns/net", once, &e);
	rtnl_req_close(&req);
	free(e.seen.v);
	return ret;
}

int netns_run(int fd, int (*fn)(void *arg), void *arg)
{
	int home = open(SELF_NS, O_RDONLY | O_CLOEXEC);
	int ret;

	if (home < 0)
		return -errno;
	if (setns(fd, CLONE_NEWNET)) {
		ret = -errno;
		close(home);
		return ret;
	}
	ret = fn(arg);
	if (setns(home, CLONE_NEWNET))
		abort();
	close(home);
	return ret;
}

int netns_self_id(int32_t *nsid)
{
	int fd = open(SELF_NS, O_RDONLY | O_CLOEXEC);
	struct rtnl_req req;
	int err;

	*nsid = NL_NSID_NONE;
	if (fd < 0)
		return -errno;
	err = rtnl_req_open(&req);
	if (!err) {
		err = fd_to_nsid(&req, fd, nsid);
		rtnl_req_close(&req);
	}
	close(fd);
	return err;
}

uint64_t netns_inode(void)
{
	struct stat st;

	return stat(SELF_NS, &st) ? 0 : st.st_ino;
}
