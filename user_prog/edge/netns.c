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

int netns_id(struct rtnl_req *req, int fd, int32_t *nsid)
{
	struct rtgenmsg *g;

	*nsid = NL_NSID_NONE;
	g = rtnl_req_start(req, RTM_GETNSID, 0, sizeof(*g));
	g->rtgen_family = AF_UNSPEC;
	rtnl_req_u32(req, NETNSA_FD, (uint32_t)fd);
	return rtnl_req_run(req, on_nsid, nsid);
}

/* Call @fn for each file; it owns nothing, and non-zero ends the walk and is returned. */
static int walk_dir(const char *dir, const char *below,
		    int (*fn)(const char *name, int fd, void *arg), void *arg)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int ret = 0;

	if (!d)
		return 0;
	while (!ret && (e = readdir(d))) {
		char path[NAME_MAX + 16];
		int fd;

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s%s", e->d_name, below);
		/* A process that is gone by now, or that we may not look at. */
		fd = openat(dirfd(d), path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			continue;
		ret = fn(e->d_name, fd, arg);
		close(fd);
	}
	closedir(d);
	return ret;
}

static int walk_names(int (*fn)(const char *name, int fd, void *arg), void *arg)
{
	int ret = 0;

	for (size_t i = 0; !ret && i < XM_ARRAY_SIZE(dirs); i++)
		ret = walk_dir(dirs[i], "", fn, arg);
	return ret;
}

static int walk_processes(int (*fn)(const char *name, int fd, void *arg), void *arg)
{
	return walk_dir("/proc", "/ns/net", fn, arg);
}

/* A walk that leaves out what has no id. */
struct with_id {
	struct rtnl_req req;
	int (*fn)(int32_t nsid, const char *name, int fd, void *arg);
	void *arg;
};

static int with_id(const char *name, int fd, void *arg)
{
	struct with_id *w = arg;
	int32_t nsid;

	/* A name whose mount is yet to come is a plain file: -EINVAL. */
	if (netns_id(&w->req, fd, &nsid) || nsid == NL_NSID_NONE)
		return 0;
	return w->fn(nsid, name, fd, w->arg);
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
	struct with_id w = { .fn = add_name, .arg = t };
	int err;

	t->n = 0;
	err = rtnl_req_open(&w.req);
	if (err)
		return err;
	err = walk_names(with_id, &w);
	rtnl_req_close(&w.req);
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
	struct wanted wanted = { .nsid = nsid, .fd = -1 };
	struct with_id w = { .fn = match, .arg = &wanted };
	int ret;

	ret = rtnl_req_open(&w.req);
	if (ret)
		return ret;
	ret = walk_names(with_id, &w);
	if (!ret)
		ret = walk_processes(with_id, &w);
	rtnl_req_close(&w.req);
	if (ret < 0)
		return ret;
	return wanted.fd >= 0 ? wanted.fd : -ENOENT;
}

/* Many processes share few namespaces, which their inodes tell apart without asking the kernel. */
struct walk {
	struct stat self;
	ino_t *seen;
	size_t n, cap;
	bool processes;
	int (*fn)(const char *name, int fd, bool own, void *arg);
	void *arg;
};

/* 1: it was new and is remembered; 0: seen before; or -ENOMEM */
static int remember(struct walk *w, ino_t ino)
{
	for (size_t i = 0; i < w->n; i++) {
		if (w->seen[i] == ino)
			return 0;
	}
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		ino_t *v = realloc(w->seen, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		w->seen = v;
		w->cap = cap;
	}
	w->seen[w->n++] = ino;
	return 1;
}

static int once(const char *name, int fd, void *arg)
{
	struct walk *w = arg;
	char pid[32];
	struct stat st;
	int ret;

	/* Namespaces share one file system; a plain file is a name without its mount. */
	if (fstat(fd, &st) || st.st_dev != w->self.st_dev)
		return 0;
	if (st.st_ino == w->self.st_ino)
		return w->processes ? 0 : w->fn(name, fd, true, w->arg);
	ret = remember(w, st.st_ino);
	if (ret <= 0)
		return ret;
	if (w->processes) {
		(void)snprintf(pid, sizeof(pid), "pid %.20s", name);
		name = pid;
	}
	return w->fn(name, fd, false, w->arg);
}

int netns_walk(int (*fn)(const char *name, int fd, bool own, void *arg), void *arg)
{
	struct walk w = { .fn = fn, .arg = arg };
	int ret;

	if (stat(SELF_NS, &w.self))
		return -errno;
	ret = walk_names(once, &w);
	w.processes = true;
	if (!ret)
		ret = walk_processes(once, &w);
	free(w.seen);
	return ret;
}

struct each {
	struct rtnl_req req;
	void (*fn)(int32_t nsid, int fd, void *arg);
	void *arg;
};

static int each(const char *name, int fd, bool own, void *arg)
{
	struct each *e = arg;
	int32_t nsid;

	(void)name;
	if (!own && !netns_id(&e->req, fd, &nsid) && nsid != NL_NSID_NONE)
		e->fn(nsid, fd, e->arg);
	return 0;
}

int netns_each(void (*fn)(int32_t nsid, int fd, void *arg), void *arg)
{
	struct each e = { .fn = fn, .arg = arg };
	int ret;

	ret = rtnl_req_open(&e.req);
	if (ret)
		return ret;
	ret = netns_walk(each, &e);
	rtnl_req_close(&e.req);
	return ret;
}

int netns_open_self(void)
{
	int fd = open(SELF_NS, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int netns_run(int fd, int (*fn)(void *arg), void *arg)
{
	int home = netns_open_self();
	int ret;

	if (home < 0)
		return home;
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
	int fd = netns_open_self();
	struct rtnl_req req;
	int err;

	*nsid = NL_NSID_NONE;
	if (fd < 0)
		return fd;
	err = rtnl_req_open(&req);
	if (!err) {
		err = netns_id(&req, fd, nsid);
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
