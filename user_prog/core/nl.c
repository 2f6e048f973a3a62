// SPDX-License-Identifier: GPL-2.0-only
#include "nl.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <libmnl/libmnl.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "xm_util.h"

int nl_attrs(const void *p, size_t len, const struct nlattr **tb, unsigned int max)
{
	const char *pos = p;

	memset(tb, 0, (max + 1) * sizeof(*tb));
	while (len > 0) {
		const struct nlattr *a = (const void *)pos;
		size_t step;

		if (len < sizeof(*a) || a->nla_len < sizeof(*a) || a->nla_len > len)
			return -EINVAL;
		if (mnl_attr_get_type(a) <= max)
			tb[mnl_attr_get_type(a)] = a;
		/* The padding of the last attribute may be missing. */
		step = MNL_ALIGN(a->nla_len);
		if (step > len)
			step = len;
		pos += step;
		len -= step;
	}
	return 0;
}

int nl_get(const struct nlattr *a, void *out, size_t size)
{
	if (mnl_attr_get_payload_len(a) != size)
		return -EINVAL;
	memcpy(out, mnl_attr_get_payload(a), size);
	return 0;
}

int nl_get_str(const struct nlattr *a, char *out, size_t max)
{
	size_t len = mnl_attr_get_payload_len(a);
	const char *s = mnl_attr_get_payload(a);
	size_t n = strnlen(s, len);

	if (n == len || n >= max)
		return -EINVAL;
	memcpy(out, s, n);
	out[n] = '\0';
	return 0;
}

/* Attributes that are optional everywhere: absent leaves @out alone. */
static int get_opt(const struct nlattr *a, void *out, size_t size)
{
	return a ? nl_get(a, out, size) : 0;
}

/* Index the attributes behind the fixed header of @size bytes, which is checked first. */
static int open_msg(const struct nlmsghdr *nlh, size_t size, const struct nlattr **tb,
		    unsigned int max)
{
	size_t len = mnl_nlmsg_get_payload_len(nlh);
	size_t skip = MNL_ALIGN(size);

	if (len < size)
		return -EINVAL;
	if (len <= skip) {
		memset(tb, 0, (max + 1) * sizeof(*tb));
		return 0;
	}
	return nl_attrs(mnl_nlmsg_get_payload_offset(nlh, size), len - skip, tb, max);
}

static int nested(const struct nlattr *a, const struct nlattr **tb, unsigned int max)
{
	return nl_attrs(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a), tb, max);
}

static int parse_tunnel(const struct nlattr *data, struct nl_link *l)
{
	if (!strcmp(l->kind, "vxlan")) {
		const struct nlattr *tb[IFLA_VXLAN_PORT + 1];

		if (nested(data, tb, IFLA_VXLAN_PORT) ||
		    get_opt(tb[IFLA_VXLAN_PORT], &l->tun_port, sizeof(l->tun_port)) ||
		    get_opt(tb[IFLA_VXLAN_LOCAL], &l->tun_local, sizeof(l->tun_local)) ||
		    get_opt(tb[IFLA_VXLAN_LINK], &l->tun_link, sizeof(l->tun_link)))
			return -EINVAL;
	} else if (!strcmp(l->kind, "geneve")) {
		const struct nlattr *tb[IFLA_GENEVE_PORT + 1];

		if (nested(data, tb, IFLA_GENEVE_PORT) ||
		    get_opt(tb[IFLA_GENEVE_PORT], &l->tun_port, sizeof(l->tun_port)))
			return -EINVAL;
	}
	return 0;
}

/* IFLA_NETKIT_PRIMARY of linux/if_link.h, which Debian 12's headers are too old for; u8. A pair in
 * mode l3 has Ethernet headers, too, with addresses of zeroes. */
#define NETKIT_PRIMARY 2

static int parse_netkit(const struct nlattr *data, struct nl_link *l)
{
	const struct nlattr *tb[NETKIT_PRIMARY + 1];
	uint8_t primary = 0;

	if (nested(data, tb, NETKIT_PRIMARY) ||
	    get_opt(tb[NETKIT_PRIMARY], &primary, sizeof(primary)))
		return -EINVAL;
	l->primary = primary;
	return 0;
}

static int parse_link(const struct nlmsghdr *nlh, struct nl_link *l)
{
	const struct nlattr *tb[IFLA_LINK_NETNSID + 1];
	const struct nlattr *info[IFLA_INFO_DATA + 1];
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);

	if (open_msg(nlh, sizeof(*ifi), tb, IFLA_LINK_NETNSID))
		return -EINVAL;
	/*
	 * A bridge tells about its ports in the same group; its RTM_DELLINK means that
	 * the port left the bridge, not that the device is gone (br_ifinfo_notify()).
	 */
	if (ifi->ifi_family != AF_UNSPEC)
		return -ENOMSG;
	if (ifi->ifi_index <= 0 || !tb[IFLA_IFNAME])
		return -EINVAL;

	l->ifindex = ifi->ifi_index;
	l->up = ifi->ifi_flags & IFF_UP;
	l->netnsid = NL_NSID_NONE;
	if (nl_get_str(tb[IFLA_IFNAME], l->name, sizeof(l->name)) || !l->name[0] ||
	    get_opt(tb[IFLA_LINK], &l->link, sizeof(l->link)) ||
	    get_opt(tb[IFLA_MASTER], &l->master, sizeof(l->master)) ||
	    get_opt(tb[IFLA_MTU], &l->mtu, sizeof(l->mtu)))
		return -EINVAL;
	if (tb[IFLA_LINK_NETNSID]) {
		if (nl_get(tb[IFLA_LINK_NETNSID], &l->netnsid, sizeof(l->netnsid)))
			return -EINVAL;
		/* The kernel says -1 when it could not allot an id: nothing to go by. */
		l->has_netnsid = l->netnsid >= 0;
		if (!l->has_netnsid)
			l->netnsid = NL_NSID_NONE;
	}
	/* Other lengths exist (IPv6 tunnels, InfiniBand) and are none of our business. */
	if (tb[IFLA_ADDRESS])
		(void)nl_get(tb[IFLA_ADDRESS], l->mac, sizeof(l->mac));
	if (!tb[IFLA_LINKINFO])
		return 0;
	if (nested(tb[IFLA_LINKINFO], info, IFLA_INFO_DATA))
		return -EINVAL;
	if (info[IFLA_INFO_KIND] && nl_get_str(info[IFLA_INFO_KIND], l->kind, sizeof(l->kind)))
		return -EINVAL;
	if (!info[IFLA_INFO_DATA])
		return 0;
	if (!strcmp(l->kind, "netkit"))
		return parse_netkit(info[IFLA_INFO_DATA], l);
	return parse_tunnel(info[IFLA_INFO_DATA], l);
}

static int parse_addr(const struct nlmsghdr *nlh, struct nl_addr *r)
{
	const struct nlattr *tb[IFA_TARGET_NETNSID + 1];
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *own;

	if (open_msg(nlh, sizeof(*ifa), tb, IFA_TARGET_NETNSID))
		return -EINVAL;
	if (ifa->ifa_family != AF_INET)
		return -ENOMSG;
	/* On a point-to-point interface IFA_ADDRESS is the other end. */
	own = tb[IFA_LOCAL] ? tb[IFA_LOCAL] : tb[IFA_ADDRESS];
	r->ifindex = ifa->ifa_index;
	r->prefix = ifa->ifa_prefixlen;
	r->target = NL_NSID_NONE;
	if (!own || nl_get(own, &r->addr, sizeof(r->addr)) || !r->ifindex ||
	    r->ifindex > INT32_MAX || r->prefix > 32)
		return -EINVAL;
	if (tb[IFA_TARGET_NETNSID]) {
		if (nl_get(tb[IFA_TARGET_NETNSID], &r->target, sizeof(r->target)) || r->target < 0)
			return -EINVAL;
		r->has_target = true;
	}
	return 0;
}

static int parse_nsid(const struct nlmsghdr *nlh, struct nl_nsid *n)
{
	const struct nlattr *tb[NETNSA_NSID + 1];

	if (open_msg(nlh, sizeof(struct rtgenmsg), tb, NETNSA_NSID) || !tb[NETNSA_NSID] ||
	    nl_get(tb[NETNSA_NSID], &n->nsid, sizeof(n->nsid)) || n->nsid < NL_NSID_NONE)
		return -EINVAL;
	return 0;
}

/* First next hop of a multipath route. */
static int first_hop(const struct nlattr *a, uint32_t *oif)
{
	const struct rtnexthop *nh = mnl_attr_get_payload(a);
	size_t len = mnl_attr_get_payload_len(a);

	if (len < sizeof(*nh) || nh->rtnh_len < sizeof(*nh) || nh->rtnh_len > len ||
	    nh->rtnh_ifindex < 0)
		return -EINVAL;
	*oif = nh->rtnh_ifindex;
	return 0;
}

static int parse_route(const struct nlmsghdr *nlh, struct nl_route *r)
{
	const struct nlattr *tb[RTA_TABLE + 1];
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	uint32_t table;

	if (open_msg(nlh, sizeof(*rtm), tb, RTA_TABLE))
		return -EINVAL;
	table = rtm->rtm_table;
	if (get_opt(tb[RTA_TABLE], &table, sizeof(table)))
		return -EINVAL;
	if (rtm->rtm_family != AF_INET || rtm->rtm_dst_len || table != RT_TABLE_MAIN ||
	    rtm->rtm_type != RTN_UNICAST || (rtm->rtm_flags & RTM_F_CLONED))
		return -ENOMSG;
	if (get_opt(tb[RTA_OIF], &r->oif, sizeof(r->oif)) ||
	    get_opt(tb[RTA_PRIORITY], &r->metric, sizeof(r->metric)))
		return -EINVAL;
	if (!r->oif && tb[RTA_MULTIPATH])
		return first_hop(tb[RTA_MULTIPATH], &r->oif);
	return 0;
}

static int parse_tc(const struct nlmsghdr *nlh, struct nl_tc *t, bool filter)
{
	const struct nlattr *tb[TCA_CHAIN + 1];
	const struct nlattr *bpf[TCA_BPF_ID + 1];
	const struct tcmsg *tcm = mnl_nlmsg_get_payload(nlh);

	if (open_msg(nlh, sizeof(*tcm), tb, TCA_CHAIN) || tcm->tcm_ifindex == 0)
		return -EINVAL;
	/* Filters of a shared block have no interface (TCM_IFINDEX_MAGIC_BLOCK). */
	if (tcm->tcm_ifindex < 0)
		return -ENOMSG;
	t->ifindex = tcm->tcm_ifindex;
	t->parent = tcm->tcm_parent;
	t->handle = tcm->tcm_handle;
	if (tb[TCA_KIND] && nl_get_str(tb[TCA_KIND], t->kind, sizeof(t->kind)))
		return -EINVAL;
	if (!filter)
		return 0;
	t->prio = TC_H_MAJ(tcm->tcm_info) >> 16;
	t->protocol = TC_H_MIN(tcm->tcm_info);
	if (get_opt(tb[TCA_CHAIN], &t->chain, sizeof(t->chain)))
		return -EINVAL;
	if (!tb[TCA_OPTIONS] || strcmp(t->kind, "bpf") != 0)
		return 0;
	if (nested(tb[TCA_OPTIONS], bpf, TCA_BPF_ID) ||
	    get_opt(bpf[TCA_BPF_ID], &t->bpf_id, sizeof(t->bpf_id)))
		return -EINVAL;
	/* Only shown to people: a name that is too long is no reason to fail. */
	if (bpf[TCA_BPF_NAME])
		(void)nl_get_str(bpf[TCA_BPF_NAME], t->bpf_name, sizeof(t->bpf_name));
	return 0;
}

static const struct {
	uint16_t msg;
	enum nl_type type;
	bool del;
} types[] = {
	{ RTM_NEWLINK, NL_LINK, false },      { RTM_DELLINK, NL_LINK, true },
	{ RTM_NEWADDR, NL_ADDR, false },      { RTM_DELADDR, NL_ADDR, true },
	{ RTM_NEWNSID, NL_NSID, false },      { RTM_DELNSID, NL_NSID, true },
	{ RTM_NEWROUTE, NL_ROUTE, false },    { RTM_DELROUTE, NL_ROUTE, true },
	{ RTM_NEWQDISC, NL_QDISC, false },    { RTM_DELQDISC, NL_QDISC, true },
	{ RTM_NEWTFILTER, NL_FILTER, false }, { RTM_DELTFILTER, NL_FILTER, true },
};

int nl_parse(const void *buf, size_t len, struct nl_msg *out)
{
	const struct nlmsghdr *nlh = buf;
	size_t i;

	if (len < sizeof(*nlh) || nlh->nlmsg_len < sizeof(*nlh) || nlh->nlmsg_len > len)
		return -EINVAL;
	for (i = 0; i < XM_ARRAY_SIZE(types); i++) {
		if (types[i].msg == nlh->nlmsg_type)
			break;
	}
	if (i == XM_ARRAY_SIZE(types))
		return -ENOMSG;
	memset(out, 0, sizeof(*out));
	out->type = types[i].type;
	out->del = types[i].del;
	switch (out->type) {
	case NL_LINK:
		return parse_link(nlh, &out->link);
	case NL_ADDR:
		return parse_addr(nlh, &out->addr);
	case NL_NSID:
		return parse_nsid(nlh, &out->nsid);
	case NL_ROUTE:
		return parse_route(nlh, &out->route);
	case NL_QDISC:
		return parse_tc(nlh, &out->tc, false);
	case NL_FILTER:
		return parse_tc(nlh, &out->tc, true);
	}
	return -ENOMSG;
}
