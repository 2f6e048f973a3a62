// SPDX-License-Identifier: GPL-2.0-only
#include "nl_ct.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <libmnl/libmnl.h>
#include <netinet/in.h>
#include <string.h>

#include "nl.h"

static int nested(const struct nlattr *a, const struct nlattr **tb, unsigned int max)
{
	if (!a)
		return -EINVAL;
	return nl_attrs(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a), tb, max);
}

static int parse_tuple(const struct nlattr *a, struct nl_ct_tuple *t)
{
	const struct nlattr *tb[CTA_TUPLE_PROTO + 1];
	const struct nlattr *ip[CTA_IP_V4_DST + 1];
	const struct nlattr *pr[CTA_PROTO_DST_PORT + 1];
	uint8_t num;

	if (nested(a, tb, CTA_TUPLE_PROTO) || nested(tb[CTA_TUPLE_IP], ip, CTA_IP_V4_DST) ||
	    nested(tb[CTA_TUPLE_PROTO], pr, CTA_PROTO_DST_PORT) || !pr[CTA_PROTO_NUM] ||
	    nl_get(pr[CTA_PROTO_NUM], &num, sizeof(num)))
		return -EINVAL;
	if (num != IPPROTO_TCP)
		return -ENOMSG;
	if (!ip[CTA_IP_V4_SRC] || !ip[CTA_IP_V4_DST] || !pr[CTA_PROTO_SRC_PORT] ||
	    !pr[CTA_PROTO_DST_PORT] || nl_get(ip[CTA_IP_V4_SRC], &t->saddr, sizeof(t->saddr)) ||
	    nl_get(ip[CTA_IP_V4_DST], &t->daddr, sizeof(t->daddr)) ||
	    nl_get(pr[CTA_PROTO_SRC_PORT], &t->sport, sizeof(t->sport)) ||
	    nl_get(pr[CTA_PROTO_DST_PORT], &t->dport, sizeof(t->dport)))
		return -EINVAL;
	return 0;
}

int nl_ct_parse(const void *buf, size_t len, struct nl_ct *out)
{
	const struct nlmsghdr *nlh = buf;
	const struct nlattr *tb[CTA_PROTOINFO + 1];
	const struct nlattr *info[CTA_PROTOINFO_TCP + 1];
	const struct nlattr *tcp[CTA_PROTOINFO_TCP_STATE + 1];
	const struct nfgenmsg *nfg;
	size_t body;
	int err;

	if (len < sizeof(*nlh) || nlh->nlmsg_len < sizeof(*nlh) || nlh->nlmsg_len > len)
		return -EINVAL;
	if (nlh->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW))
		return -ENOMSG;
	body = mnl_nlmsg_get_payload_len(nlh);
	if (body < sizeof(*nfg))
		return -EINVAL;
	nfg = mnl_nlmsg_get_payload(nlh);
	if (nfg->nfgen_family != AF_INET)
		return -ENOMSG;
	if (nl_attrs(nfg + 1, body - sizeof(*nfg), tb, CTA_PROTOINFO))
		return -EINVAL;
	memset(out, 0, sizeof(*out));
	err = parse_tuple(tb[CTA_TUPLE_ORIG], &out->orig);
	if (!err)
		err = parse_tuple(tb[CTA_TUPLE_REPLY], &out->reply);
	if (err)
		return err;
	/* An entry without protocol state is still a connection: state 0, NONE. */
	if (!tb[CTA_PROTOINFO])
		return 0;
	if (nested(tb[CTA_PROTOINFO], info, CTA_PROTOINFO_TCP))
		return -EINVAL;
	if (!info[CTA_PROTOINFO_TCP])
		return 0;
	if (nested(info[CTA_PROTOINFO_TCP], tcp, CTA_PROTOINFO_TCP_STATE))
		return -EINVAL;
	if (tcp[CTA_PROTOINFO_TCP_STATE])
		return nl_get(tcp[CTA_PROTOINFO_TCP_STATE], &out->tcp_state,
			      sizeof(out->tcp_state));
	return 0;
}
