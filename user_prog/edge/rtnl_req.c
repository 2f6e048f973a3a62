// SPDX-License-Identifier: GPL-2.0-only
#include "rtnl_req.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define ANSWER_MAX 32768 /* the kernel fills a dump's reads up to this size */

int rtnl_req_open(struct rtnl_req *r)
{
	struct timeval tv = { .tv_sec = 5 };
	int on = 1, err;

	memset(r, 0, sizeof(*r));
	r->sk = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!r->sk)
		return -errno;
	if (mnl_socket_bind(r->sk, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    setsockopt(mnl_socket_get_fd(r->sk), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) ||
	    mnl_socket_setsockopt(r->sk, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) < 0) {
		err = -errno;
		rtnl_req_close(r);
		return err;
	}
	return 0;
}

void rtnl_req_close(struct rtnl_req *r)
{
	if (r->sk)
		mnl_socket_close(r->sk);
	r->sk = NULL;
}

void *rtnl_req_start(struct rtnl_req *r, uint16_t type, uint16_t flags, size_t size)
{
	r->nlh = mnl_nlmsg_put_header(r->out);
	r->nlh->nlmsg_type = type;
	r->nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	/* Without it a question that has no answer (no such qdisc) would wait forever. */
	if (!(flags & NLM_F_DUMP))
		r->nlh->nlmsg_flags |= NLM_F_ACK;
	r->nlh->nlmsg_seq = ++r->seq;
	return mnl_nlmsg_put_extra_header(r->nlh, size);
}

void rtnl_req_u32(struct rtnl_req *r, uint16_t type, uint32_t value)
{
	mnl_attr_put_u32(r->nlh, type, value);
}

/* 1: exchange complete; 0: more to come; else an error, see rtnl_req_run() */
static int take(struct rtnl_req *r, const struct nlmsghdr *nlh, bool *torn,
		int (*fn)(const struct nlmsghdr *nlh, void *arg), void *arg)
{
	int err;

	if (nlh->nlmsg_seq != r->seq)
		return 0; /* left over from an exchange that was given up */
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		*torn = true;
	if (nlh->nlmsg_type == NLMSG_DONE) {
		/* A dump that fails midway tells the error here. */
		if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(err)) {
			memcpy(&err, mnl_nlmsg_get_payload(nlh), sizeof(err));
			if (err < 0)
				return err;
		}
		return 1;
	}
	if (nlh->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);

		if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*e))
			return -EBADMSG;
		return e->error ? e->error : 1;
	}
	if (nlh->nlmsg_type < NLMSG_MIN_TYPE)
		return 0;
	return fn ? fn(nlh, arg) : 0;
}

int rtnl_req_run(struct rtnl_req *r, int (*fn)(const struct nlmsghdr *nlh, void *arg), void *arg)
{
	char *buf = malloc(ANSWER_MAX);
	bool torn = false;
	int ret = 0;

	if (!buf)
		return -ENOMEM;
	if (mnl_socket_sendto(r->sk, r->nlh, r->nlh->nlmsg_len) < 0) {
		ret = -errno;
		goto cleanup;
	}
	while (!ret) {
		const struct nlmsghdr *nlh = (const void *)buf;
		ssize_t n = mnl_socket_recvfrom(r->sk, buf, ANSWER_MAX);
		int len = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ret = errno == EAGAIN ? -ETIMEDOUT : -errno;
			break;
		}
		for (; !ret && mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
			ret = take(r, nlh, &torn, fn, arg);
	}
	if (ret == 1)
		ret = torn ? -EAGAIN : 0;
cleanup:
	free(buf);
	return ret;
}
