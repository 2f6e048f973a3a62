// SPDX-License-Identifier: GPL-2.0-only
#include "ctnl.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define ANSWER_MAX 32768

struct walk {
	int (*fn)(const struct nl_ct *ct, void *arg);
	void *arg;
	int n;
};

static bool is_open(uint8_t state)
{
	switch (state) {
	case TCP_CONNTRACK_TIME_WAIT:
	case TCP_CONNTRACK_CLOSE:
		return false;
	default:
		return state < TCP_CONNTRACK_MAX || state == TCP_CONNTRACK_SYN_SENT2;
	}
}

static int on_entry(const struct nlmsghdr *nlh, void *arg)
{
	struct walk *w = arg;
	struct nl_ct ct;

	if (nl_ct_parse(nlh, nlh->nlmsg_len, &ct) || !is_open(ct.tcp_state))
		return MNL_CB_OK;
	w->n++;
	return w->fn && w->fn(&ct, w->arg) ? MNL_CB_STOP : MNL_CB_OK;
}

static int run(struct mnl_socket *sk, char *buf, struct walk *w)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *nfg;
	int ret;

	nlh->nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nfg->nfgen_family = AF_INET;
	nfg->version = NFNETLINK_V0;
	if (mnl_socket_sendto(sk, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	do {
		ssize_t n = mnl_socket_recvfrom(sk, buf, ANSWER_MAX);

		if (n < 0 && errno == EINTR) {
			ret = MNL_CB_OK;
			continue;
		}
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		/* libmnl takes an interrupted dump for an error; a table that changes
		 * while it is read is the normal case here, so its flag is hidden. */
		for (struct nlmsghdr *m = (void *)buf; mnl_nlmsg_ok(m, (int)(buf + n - (char *)m));
		     m = (void *)((char *)m + MNL_ALIGN(m->nlmsg_len)))
			m->nlmsg_flags &= (uint16_t)~NLM_F_DUMP_INTR;
		ret = mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(sk), on_entry, w);
		if (ret < 0)
			return -errno;
	} while (ret == MNL_CB_OK);
	return w->n;
}

int ctnl_dump(int (*fn)(const struct nl_ct *ct, void *arg), void *arg)
{
	struct walk w = { .fn = fn, .arg = arg };
	struct timeval tv = { .tv_sec = 5 };
	struct mnl_socket *sk = NULL;
	char *buf;
	int ret;

	buf = malloc(ANSWER_MAX);
	if (!buf)
		return -ENOMEM;
	sk = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	if (!sk || mnl_socket_bind(sk, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    setsockopt(mnl_socket_get_fd(sk), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv))) {
		ret = -errno;
		goto cleanup;
	}
	ret = run(sk, buf, &w);
cleanup:
	if (sk)
		mnl_socket_close(sk);
	free(buf);
	/* No NETLINK_NETFILTER in this kernel; no ctnetlink behind it. */
	if (ret == -EPROTONOSUPPORT || ret == -EINVAL || ret == -ENOENT)
		return -EOPNOTSUPP;
	return ret;
}
