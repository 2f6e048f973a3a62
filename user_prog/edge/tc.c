// SPDX-License-Identifier: GPL-2.0-only
#include "tc.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "mprog.h"
#include "netns.h"
#include "tc_look.h"
#include "tc_owned.h"
#include "xm_util.h"

struct tc {
	uint32_t priority;
	uint32_t observe_priority;
	uint32_t handle;
	bool tcx;
	struct tc_owned owned;
};

static XM_PRINTF(2, 3) void explain(struct tc_error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
}

int tc_open(struct tc **out, const struct tc_opts *opts)
{
	struct tc *t = calloc(1, sizeof(*t));
	int err;

	*out = NULL;
	if (!t)
		return -ENOMEM;
	t->priority = opts->priority;
	t->observe_priority = opts->observe_priority;
	t->handle = opts->handle;
	t->tcx = opts->tcx;
	err = tc_owned_open(&t->owned, opts->state_dir);
	if (err) {
		tc_close(t);
		return err;
	}
	*out = t;
	return 0;
}

void tc_close(struct tc *t)
{
	if (!t)
		return;
	tc_owned_close(&t->owned);
	free(t);
}

void tc_forget(struct tc *t, uint32_t ifindex)
{
	tc_owned_del(&t->owned, netns_inode(), ifindex);
}

void tc_forget_netns(struct tc *t, uint64_t inode)
{
	tc_owned_del(&t->owned, inode, 0);
}

bool tc_owns_any(struct tc *t)
{
	return tc_owned_has(&t->owned, netns_inode(), 0);
}

/* The filter that stands where ours should. */
struct place {
	const struct tc *t;
	enum tc_dir dir;
	uint32_t priority;
	struct nl_tc f;
	enum {
		PLACE_FREE,
		PLACE_OURS,
		PLACE_TAKEN
	} is;
};

static int on_place(const struct nl_tc *f, void *arg)
{
	struct place *p = arg;
	bool sibling;

	if (f->chain || f->prio != p->priority || p->is == PLACE_OURS)
		return 0;
	/*
	 * A priority belongs to one kind of filter and one protocol: beside a bpf filter
	 * for all protocols there is room at another handle, beside any other none.
	 */
	sibling = !strcmp(f->kind, "bpf") && f->protocol == htons(ETH_P_ALL);
	if (sibling && f->handle != p->t->handle)
		return 0;
	p->f = *f;
	p->is = sibling && tc_look_ours(f, p->dir) ? PLACE_OURS : PLACE_TAKEN;
	return 0;
}

static uint32_t priority_of(const struct tc *t, enum tc_dir dir)
{
	return dir == TC_EGRESS_LAST ? t->observe_priority : t->priority;
}

static int find_place(const struct tc *t, uint32_t ifindex, enum tc_dir dir, struct place *p)
{
	memset(p, 0, sizeof(*p));
	p->t = t;
	p->dir = dir;
	p->priority = priority_of(t, dir);
	return tc_look_filters(ifindex, dir, on_place, p);
}

static void set_hook(struct bpf_tc_hook *hook, uint32_t ifindex, enum bpf_tc_attach_point point)
{
	memset(hook, 0, sizeof(*hook));
	hook->sz = sizeof(*hook);
	hook->ifindex = (int)ifindex;
	hook->attach_point = point;
}

static enum bpf_tc_attach_point point_of(enum tc_dir dir)
{
	return dir == TC_INGRESS ? BPF_TC_INGRESS : BPF_TC_EGRESS;
}

/* A clsact qdisc, made if need be; libbpf is asked only then, since it logs -EEXIST. */
static int need_qdisc(struct tc *t, uint32_t ifindex, struct tc_error *err)
{
	struct bpf_tc_hook hook;
	char kind[NL_NAME];
	int ret;

	ret = tc_look_clsact(ifindex, kind);
	if (ret) {
		explain(err, "cannot look for a clsact qdisc: %s", strerror(-ret));
		return ret;
	}
	if (!strcmp(kind, "clsact"))
		return 0;
	if (kind[0]) {
		explain(err,
			"an \"%s\" qdisc is in the place of clsact; whoever made it has to "
			"use clsact, which does the same and egress too",
			kind);
		return -EEXIST;
	}
	set_hook(&hook, ifindex, BPF_TC_INGRESS | BPF_TC_EGRESS);
	ret = bpf_tc_hook_create(&hook);
	if (ret == -EEXIST)
		return 0; /* made by somebody else just now */
	if (ret) {
		explain(err, "cannot make a clsact qdisc: %s", strerror(-ret));
		return ret;
	}
	tc_owned_add(&t->owned, netns_inode(), ifindex);
	return 0;
}

static int on_any(const struct nl_tc *f, void *arg)
{
	(void)f;
	*(bool *)arg = true;
	return 0;
}

/* Remove the qdisc if we made it and nobody uses it. */
static void drop_qdisc(struct tc *t, uint32_t ifindex)
{
	uint64_t netns = netns_inode();
	struct bpf_tc_hook hook;
	char kind[NL_NAME];
	bool used = false;
	int err;

	if (!tc_owned_has(&t->owned, netns, ifindex))
		return;
	err = tc_look_clsact(ifindex, kind);
	if (!err && !strcmp(kind, "clsact")) {
		if (tc_look_filters(ifindex, TC_INGRESS, on_any, &used) ||
		    tc_look_filters(ifindex, TC_EGRESS, on_any, &used) || used)
			return;
		set_hook(&hook, ifindex, BPF_TC_INGRESS | BPF_TC_EGRESS);
		err = bpf_tc_hook_destroy(&hook);
		if (err && err != -ENOENT && err != -ENODEV && err != -EINVAL) {
			log_warn("cannot remove our clsact qdisc from interface %u: %s", ifindex,
				 strerror(-err));
			return;
		}
	} else if (err && err != -ENODEV) {
		return;
	}
	tc_owned_del(&t->owned, netns, ifindex);
}

static void explain_taken(const struct tc *t, enum tc_dir dir, const struct nl_tc *f,
			  struct tc_error *err)
{
	const char *key = dir == TC_EGRESS_LAST ? "tc.observe_priority" : "tc.priority";
	char who[128];

	tc_look_describe(f, who, sizeof(who));
	if (f->handle == t->handle && !strcmp(f->kind, "bpf"))
		explain(err, "priority %u handle %#x is taken by %s; change %s or tc.handle",
			priority_of(t, dir), t->handle, who, key);
	else
		explain(err, "priority %u is taken by a %s (protocol %#x); change %s",
			priority_of(t, dir), who, ntohs(f->protocol), key);
}

/* 1 when the program is attached already. */
static int same_prog(int prog_fd, uint32_t id)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);

	return !bpf_obj_get_info_by_fd(prog_fd, &info, &len) && info.id == id;
}

static int remove_filter(uint32_t ifindex, enum tc_dir dir, uint32_t priority, uint32_t handle)
{
	struct bpf_tc_opts opts = {
		.sz = sizeof(opts),
		.handle = handle,
		.priority = priority,
	};
	struct bpf_tc_hook hook;
	int err;

	set_hook(&hook, ifindex, point_of(dir));
	err = bpf_tc_detach(&hook, &opts);
	return err == -ENOENT || err == -ENODEV ? 0 : err;
}

static enum mprog_hook hook_of(enum tc_dir dir)
{
	return dir == TC_INGRESS ? MPROG_TCX_INGRESS : MPROG_TCX_EGRESS;
}

static bool inside(enum tc_dir dir)
{
	return dir == TC_EGRESS_INSIDE;
}

/* What only watches has to be behind all others, and so behind the filters. */
static bool may_be_tcx(enum tc_dir dir)
{
	return dir != TC_EGRESS_LAST;
}

static int query_tcx(uint32_t ifindex, enum tc_dir dir, uint32_t *id)
{
	*id = 0;
	return may_be_tcx(dir) ? mprog_query(ifindex, hook_of(dir), inside(dir), id) : -ENOENT;
}

/* Filters of ours at another priority or handle, from a run that was configured so. */
struct strays {
	const struct tc *t;
	enum tc_dir dir;
	struct nl_tc f[4];
	unsigned int n;
};

static int on_stray(const struct nl_tc *f, void *arg)
{
	struct strays *s = arg;

	if (f->chain || s->n == XM_ARRAY_SIZE(s->f) ||
	    (f->prio == priority_of(s->t, s->dir) && f->handle == s->t->handle))
		return 0;
	if (tc_look_ours(f, s->dir))
		s->f[s->n++] = *f;
	return 0;
}

static int find_strays(const struct tc *t, uint32_t ifindex, enum tc_dir dir, struct strays *s)
{
	memset(s, 0, sizeof(*s));
	s->t = t;
	s->dir = dir;
	return tc_look_filters(ifindex, dir, on_stray, s);
}

static int set_filter(uint32_t ifindex, enum tc_dir dir, uint32_t priority, uint32_t handle,
		      int prog_fd, bool replace)
{
	struct bpf_tc_opts opts = {
		.sz = sizeof(opts),
		.prog_fd = prog_fd,
		.handle = handle,
		.priority = priority,
		.flags = replace ? BPF_TC_F_REPLACE : 0,
	};
	struct bpf_tc_hook hook;

	set_hook(&hook, ifindex, point_of(dir));
	return bpf_tc_attach(&hook, &opts);
}

/* Whatever is in front of another program of ours must be @first_fd meanwhile. */
static int strays_to_first(const struct strays *s, uint32_t ifindex, int first_fd)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < s->n; i++)
		if (s->f[i].prio < priority_of(s->t, s->dir))
			err = set_filter(ifindex, s->dir, s->f[i].prio, s->f[i].handle, first_fd,
					 true);
	return err;
}

static bool strays_behind(const struct strays *s)
{
	for (unsigned int i = 0; i < s->n; i++)
		if (s->f[i].prio >= priority_of(s->t, s->dir))
			return true;
	return false;
}

static int strays_remove(const struct strays *s, uint32_t ifindex)
{
	int err = 0;

	for (unsigned int i = 0; !err && i < s->n; i++)
		err = remove_filter(ifindex, s->dir, s->f[i].prio, s->f[i].handle);
	return err;
}

static int attach_filter(struct tc *t, uint32_t ifindex, enum tc_dir dir, int prog_fd, int first_fd,
			 struct tc_error *err)
{
	struct strays old = {};
	bool behind = false;
	struct place p;
	uint32_t tcx;
	int ret;

	ret = find_place(t, ifindex, dir, &p);
	if (ret) {
		explain(err, "cannot list filters: %s", strerror(-ret));
		return ret;
	}
	if (p.is == PLACE_TAKEN) {
		explain_taken(t, dir, &p.f, err);
		return -EEXIST;
	}
	ret = query_tcx(ifindex, dir, &tcx);
	if (!ret && first_fd >= 0)
		ret = mprog_attach(ifindex, hook_of(dir), inside(dir), first_fd, err);
	if (ret && ret != -ENOENT)
		return ret;
	if (first_fd >= 0) {
		ret = find_strays(t, ifindex, dir, &old);
		ret = ret ?: strays_to_first(&old, ifindex, first_fd);
		if (ret) {
			explain(err, "cannot replace an older filter: %s", strerror(-ret));
			return ret;
		}
		behind = strays_behind(&old);
	}
	if (p.is == PLACE_FREE || !same_prog(prog_fd, p.f.bpf_id)) {
		ret = need_qdisc(t, ifindex, err);
		if (ret)
			return ret;
		ret = set_filter(ifindex, dir, priority_of(t, dir), t->handle,
				 behind ? first_fd : prog_fd, p.is == PLACE_OURS);
		if (ret) {
			explain(err, "cannot attach: %s", strerror(-ret));
			drop_qdisc(t, ifindex);
			return ret;
		}
	}
	ret = strays_remove(&old, ifindex);
	if (!ret && behind)
		ret = set_filter(ifindex, dir, priority_of(t, dir), t->handle, prog_fd, true);
	if (ret) {
		explain(err, "cannot remove an older filter: %s", strerror(-ret));
		return ret;
	}
	ret = tcx ? mprog_detach(ifindex, hook_of(dir), inside(dir)) : 0;
	if (ret < 0)
		explain(err, "cannot remove an older program from tcx: %s", strerror(-ret));
	return ret < 0 ? ret : 0;
}

static int attach_tcx(struct tc *t, uint32_t ifindex, enum tc_dir dir, int prog_fd, int first_fd,
		      struct tc_error *err)
{
	struct strays old = {};
	struct place p;
	bool filter;
	int ret;

	ret = find_place(t, ifindex, dir, &p);
	if (ret) {
		explain(err, "cannot list filters: %s", strerror(-ret));
		return ret;
	}
	if (first_fd >= 0) {
		ret = find_strays(t, ifindex, dir, &old);
		if (ret) {
			explain(err, "cannot list filters: %s", strerror(-ret));
			return ret;
		}
	}
	filter = p.is == PLACE_OURS || old.n;
	ret = mprog_attach(ifindex, hook_of(dir), inside(dir),
			   filter && first_fd >= 0 ? first_fd : prog_fd, err);
	if (ret || !filter)
		return ret;
	ret = p.is == PLACE_OURS ? remove_filter(ifindex, dir, p.priority, t->handle) : 0;
	ret = ret ?: strays_remove(&old, ifindex);
	if (ret) {
		explain(err, "cannot remove an older filter: %s", strerror(-ret));
		return ret;
	}
	return mprog_attach(ifindex, hook_of(dir), inside(dir), prog_fd, err);
}

int tc_attach(struct tc *t, uint32_t ifindex, enum tc_dir dir, int prog_fd, int first_fd,
	      struct tc_error *err)
{
	char name[IF_NAMESIZE] = "?";
	int ret;

	err->text[0] = '\0';
	if (t->tcx && may_be_tcx(dir)) {
		ret = attach_tcx(t, ifindex, dir, prog_fd, first_fd, err);
		if (ret != -EINVAL && ret != -EOPNOTSUPP && ret != -ERANGE)
			return ret;
		if_indextoname(ifindex, name);
		log_warn("%s: %s%s; attaching a filter instead", name, err->text,
			 ret == -ERANGE ? " (its list of programs is full)" : "");
		err->text[0] = '\0';
	}
	return attach_filter(t, ifindex, dir, prog_fd, first_fd, err);
}

static int detach_tcx(uint32_t ifindex, enum tc_dir dir)
{
	return may_be_tcx(dir) ? mprog_detach(ifindex, hook_of(dir), inside(dir)) : 0;
}

int tc_detach(struct tc *t, uint32_t ifindex, enum tc_dir dir)
{
	int err, err2 = detach_tcx(ifindex, dir);
	struct place p;

	err = find_place(t, ifindex, dir, &p);
	if (!err && p.is == PLACE_OURS)
		err = remove_filter(ifindex, dir, priority_of(t, dir), t->handle);
	if (!err)
		drop_qdisc(t, ifindex);
	return err2 < 0 ? err2 : err;
}

int tc_query(struct tc *t, uint32_t ifindex, enum tc_dir dir, uint32_t *prog_id)
{
	struct place p;
	int err;

	err = query_tcx(ifindex, dir, prog_id);
	if (err != -ENOENT)
		return err;
	err = find_place(t, ifindex, dir, &p);
	if (err)
		return err;
	if (p.is == PLACE_FREE || (p.is == PLACE_TAKEN && t->tcx && may_be_tcx(dir)))
		return -ENOENT;
	*prog_id = p.f.bpf_id;
	return p.is == PLACE_OURS ? 0 : -EEXIST;
}

bool tc_changes_way(struct tc *t, uint32_t ifindex, enum tc_dir dir)
{
	struct strays old;
	struct place p;
	uint32_t id;

	if (!may_be_tcx(dir))
		return false;
	if (!find_strays(t, ifindex, dir, &old) && old.n)
		return true;
	if (!t->tcx)
		return !query_tcx(ifindex, dir, &id);
	return !find_place(t, ifindex, dir, &p) && p.is == PLACE_OURS;
}

struct cleanup {
	struct tc *t;
	bool (*keep)(uint32_t ifindex, enum tc_dir dir, void *arg); /* NULL: none */
	void *arg;
	enum tc_dir dir; /* TC_INGRESS, TC_EGRESS or TC_EGRESS_INSIDE */
	struct nl_tc found[16];
	unsigned int n;
	int removed;
	int err;
};

static bool keeps(const struct cleanup *c, const struct nl_tc *f, enum tc_dir dir)
{
	return f->prio == priority_of(c->t, dir) && f->handle == c->t->handle &&
	       c->keep(f->ifindex, dir, c->arg);
}

static int on_ours(const struct nl_tc *f, void *arg)
{
	struct cleanup *c = arg;

	if (c->keep &&
	    (keeps(c, f, c->dir) || (c->dir == TC_EGRESS && keeps(c, f, TC_EGRESS_LAST))))
		return 0;
	/* libbpf cannot name a chain; we never use one. */
	if (!f->chain && c->n < XM_ARRAY_SIZE(c->found) && tc_look_ours(f, c->dir))
		c->found[c->n++] = *f;
	return 0;
}

static void clean_dir(struct cleanup *c, uint32_t ifindex, enum tc_dir dir)
{
	unsigned int i;
	int err;

	err = c->keep && c->keep(ifindex, dir, c->arg) ? 0 : detach_tcx(ifindex, dir);
	if (err > 0)
		c->removed += err;
	else if (err && !c->err)
		c->err = err;
	c->n = 0;
	c->dir = dir;
	err = tc_look_filters(ifindex, dir, on_ours, c);
	for (i = 0; !err && i < c->n; i++) {
		err = remove_filter(ifindex, dir, c->found[i].prio, c->found[i].handle);
		if (!err)
			c->removed++;
	}
	if (err && err != -ENODEV && !c->err)
		c->err = err;
}

static bool keeps_any(const struct cleanup *c, uint32_t ifindex)
{
	bool any = false;

	for (enum tc_dir dir = TC_INGRESS; c->keep && !any && dir <= TC_EGRESS_INSIDE; dir++)
		any = c->keep(ifindex, dir, c->arg);
	return any;
}

static int clean_link(uint32_t ifindex, void *arg)
{
	struct cleanup *c = arg;

	clean_dir(c, ifindex, TC_INGRESS);
	clean_dir(c, ifindex, TC_EGRESS);
	/* Where we are in use one that is empty stays: see tc.h. */
	if (!keeps_any(c, ifindex))
		drop_qdisc(c->t, ifindex);
	return 0;
}

static int clean_link_inside(uint32_t ifindex, void *arg)
{
	struct cleanup *c = arg;

	clean_dir(c, ifindex, TC_EGRESS_INSIDE);
	if (!c->keep)
		drop_qdisc(c->t, ifindex);
	return 0;
}

static int clean_links(struct cleanup *c, int (*fn)(uint32_t ifindex, void *arg))
{
	int err = tc_look_links(fn, c);

	if (err)
		return err;
	return c->err ? c->err : c->removed;
}

int tc_cleanup_except(struct tc *t, bool (*keep)(uint32_t ifindex, enum tc_dir dir, void *arg),
		      void *arg)
{
	struct cleanup c = { .t = t, .keep = keep, .arg = arg };

	return clean_links(&c, clean_link);
}

int tc_cleanup_inside(struct tc *t, bool (*keep)(uint32_t ifindex, enum tc_dir dir, void *arg),
		      void *arg)
{
	struct cleanup c = { .t = t, .keep = keep, .arg = arg };

	return clean_links(&c, clean_link_inside);
}

int tc_cleanup(struct tc *t)
{
	return tc_cleanup_except(t, NULL, NULL);
}
