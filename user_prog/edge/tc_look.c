// SPDX-License-Identifier: GPL-2.0-only
#include "tc_look.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/bpf.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rtnl_req.h"

#define TRIES 5 /* of a dump that changes interrupt */

struct walk {
	uint32_t ifindex;
	int (*fn)(const struct nl_tc *f, void *arg);
	void *arg;
};

static int on_filter(const struct nlmsghdr *nlh, void *arg)
{
	const struct walk *w = arg;
	struct nl_msg m;

	if (nl_parse(nlh, nlh->nlmsg_len, &m) || m.type != NL_FILTER ||
	    m.tc.ifindex != w->ifindex || !m.tc.handle)
		return 0; /* handle 0: the head of a priority, its filters follow */
	return w->fn(&m.tc, w->arg);
}

static uint32_t parent_of(enum tc_dir dir)
{
	return TC_H_MAKE(TC_H_CLSACT, dir == TC_INGRESS ? TC_H_MIN_INGRESS : TC_H_MIN_EGRESS);
}

int tc_look_filters(uint32_t ifindex, enum tc_dir dir, int (*fn)(const struct nl_tc *f, void *arg),
		    void *arg)
{
	struct walk w = { .ifindex = ifindex, .fn = fn, .arg = arg };
	struct rtnl_req req;
	struct tcmsg *tcm;
	int err;

	err = rtnl_req_open(&req);
	if (err)
		return err;
	/* Filters change without a generation: this dump is never marked as interrupted. */
	tcm = rtnl_req_start(&req, RTM_GETTFILTER, NLM_F_DUMP, sizeof(*tcm));
	tcm->tcm_family = AF_UNSPEC;
	tcm->tcm_ifindex = (int)ifindex;
	tcm->tcm_parent = parent_of(dir);
	err = rtnl_req_run(&req, on_filter, &w);
	rtnl_req_close(&req);
	return err;
}

struct qdisc {
	uint32_t ifindex;
	char *kind;
};

static int on_qdisc(const struct nlmsghdr *nlh, void *arg)
{
	const struct qdisc *q = arg;
	struct nl_msg m;

	if (!nl_parse(nlh, nlh->nlmsg_len, &m) && m.type == NL_QDISC &&
	    m.tc.ifindex == q->ifindex && m.tc.parent == TC_H_CLSACT)
		memcpy(q->kind, m.tc.kind, NL_NAME);
	return 0;
}

/*
 * A dump of all interfaces: the kernel has no filter for it, and answers a question for
 * one qdisc (qdisc_notify() with NLM_F_ECHO) by telling every listener of a new qdisc.
 */
int tc_look_clsact(uint32_t ifindex, char kind[NL_NAME])
{
	struct qdisc q = { .ifindex = ifindex, .kind = kind };
	char name[IF_NAMESIZE];
	struct rtnl_req req;
	struct tcmsg *tcm;
	int err, tries = 0;

	err = rtnl_req_open(&req);
	if (err)
		return err;
	do {
		kind[0] = '\0';
		tcm = rtnl_req_start(&req, RTM_GETQDISC, NLM_F_DUMP, sizeof(*tcm));
		tcm->tcm_family = AF_UNSPEC;
		tcm->tcm_ifindex = (int)ifindex;
		err = rtnl_req_run(&req, on_qdisc, &q);
	} while (err == -EAGAIN && ++tries < TRIES);
	rtnl_req_close(&req);
	if (!err && !kind[0] && !if_indextoname(ifindex, name))
		return -ENODEV;
	return err;
}

/* Name of a loaded program, "" when it cannot be told. */
static void prog_name(uint32_t id, char out[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);
	int fd;

	out[0] = '\0';
	fd = id ? bpf_prog_get_fd_by_id(id) : -1;
	if (fd < 0)
		return;
	/* bpf_prog_get_info_by_fd() is newer than the oldest libbpf that is supported. */
	if (!bpf_obj_get_info_by_fd(fd, &info, &len))
		memcpy(out, info.name, BPF_OBJ_NAME_LEN);
	close(fd);
}

bool tc_look_our_prog(uint32_t id, bool inside)
{
	char name[BPF_OBJ_NAME_LEN];

	prog_name(id, name);
	return !strncmp(name, TC_LOOK_PREFIX, strlen(TC_LOOK_PREFIX)) &&
	       inside == !strncmp(name, TC_LOOK_PREFIX_INSIDE, strlen(TC_LOOK_PREFIX_INSIDE));
}

bool tc_look_ours(const struct nl_tc *f, enum tc_dir dir)
{
	return !strcmp(f->kind, "bpf") && tc_look_our_prog(f->bpf_id, dir == TC_EGRESS_INSIDE);
}

void tc_look_describe(const struct nl_tc *f, char *out, size_t max)
{
	char name[BPF_OBJ_NAME_LEN];

	if (strcmp(f->kind, "bpf") != 0) {
		(void)snprintf(out, max, "%s filter", f->kind[0] ? f->kind : "unknown");
		return;
	}
	prog_name(f->bpf_id, name);
	(void)snprintf(out, max, "bpf program \"%s\" (id %u)", name[0] ? name : f->bpf_name,
		       f->bpf_id);
}

struct link_walk {
	int (*fn)(uint32_t ifindex, void *arg);
	void *arg;
};

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
	const struct link_walk *w = arg;
	struct nl_msg m;

	if (nl_parse(nlh, nlh->nlmsg_len, &m) || m.type != NL_LINK)
		return 0;
	return w->fn(m.link.ifindex, w->arg);
}

int tc_look_links(int (*fn)(uint32_t ifindex, void *arg), void *arg)
{
	struct link_walk w = { .fn = fn, .arg = arg };
	struct ifinfomsg *ifi;
	struct rtnl_req req;
	int err, tries = 0;

	err = rtnl_req_open(&req);
	if (err)
		return err;
	do {
		ifi = rtnl_req_start(&req, RTM_GETLINK, NLM_F_DUMP, sizeof(*ifi));
		ifi->ifi_family = AF_UNSPEC;
		err = rtnl_req_run(&req, on_link, &w);
	} while (err == -EAGAIN && ++tries < TRIES);
	rtnl_req_close(&req);
	return err;
}
