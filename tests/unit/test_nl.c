// SPDX-License-Identifier: GPL-2.0-only
/* Messages that a kernel sent, and the same cut short and bent. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <libmnl/libmnl.h>
#include <stdlib.h>
#include <string.h>

#include "nl.h"
#include "nl_ct.h"
#include "nl_recorded.h"
#include "xm_util.h"

static const struct {
	const char *name;
	const unsigned char *data;
	size_t len;
} recorded[] = {
#define X(n) { #n, rec_##n, sizeof(rec_##n) },
	NL_RECORDED(X)
#undef X
};

/* Parse a copy that ends where the memory ends, so that a sanitizer sees an over-read. */
static int parse_copy(const void *data, size_t len, struct nl_msg *m)
{
	void *copy = malloc(len ? len : 1);
	struct nl_ct ct;
	int err;

	assert_non_null(copy);
	memcpy(copy, data, len);
	err = nl_parse(copy, len, m);
	(void)nl_ct_parse(copy, len, &ct);
	free(copy);
	return err;
}

#define PARSE(n, m) assert_int_equal(parse_copy(rec_##n, sizeof(rec_##n), m), 0)

static void test_link(void **state)
{
	struct nl_msg m;

	(void)state;
	PARSE(veth_new, &m);
	assert_int_equal(m.type, NL_LINK);
	assert_false(m.del);
	assert_int_equal(m.link.ifindex, 5);
	assert_string_equal(m.link.name, "cali123");
	assert_string_equal(m.link.kind, "veth");
	assert_int_equal(m.link.link, 4);
	assert_false(m.link.has_netnsid);
	assert_int_equal(m.link.netnsid, NL_NSID_NONE);
	assert_false(m.link.up);
	assert_int_equal(m.link.mtu, 1500);
	assert_int_not_equal(m.link.mac[0] | m.link.mac[1] | m.link.mac[5], 0);
	assert_int_equal(m.link.mac[0] & 3, 2); /* random address: local, not multicast */

	PARSE(veth_up, &m);
	assert_true(m.link.up);
	assert_true(m.link.has_netnsid);
	assert_int_equal(m.link.netnsid, 0);
	assert_int_equal(m.link.master, 0);

	PARSE(veth_port, &m);
	assert_int_equal(m.link.master, 7);
	assert_string_equal(m.link.kind, "veth"); /* not the kind of its master */

	PARSE(veth_del, &m);
	assert_true(m.del);
	assert_int_equal(m.link.ifindex, 5);

	PARSE(bridge, &m);
	assert_string_equal(m.link.kind, "bridge");
}

static void test_bridge_family(void **state)
{
	struct nl_msg m;

	(void)state;
	/* Taken for a device that is gone, every "nomaster" would detach a pod. */
	assert_int_equal(parse_copy(rec_port_del, sizeof(rec_port_del), &m), -ENOMSG);
}

static void test_vxlan(void **state)
{
	struct nl_msg m;

	(void)state;
	PARSE(vxlan, &m);
	assert_string_equal(m.link.kind, "vxlan");
	assert_int_equal(ntohs(m.link.tun_port), 8472);
	assert_int_equal(m.link.tun_local, inet_addr("192.0.2.1"));
	assert_int_equal(m.link.tun_link, 3);
}

static void test_geneve(void **state)
{
	char buf[256];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;
	struct nlattr *info, *data;
	struct nl_msg m;

	(void)state;
	nlh->nlmsg_type = RTM_NEWLINK;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_index = 9;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "genev_sys_6081");
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "geneve");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	mnl_attr_put_u16(nlh, IFLA_GENEVE_PORT, htons(6081));
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	assert_int_equal(parse_copy(buf, nlh->nlmsg_len, &m), 0);
	assert_string_equal(m.link.kind, "geneve");
	assert_int_equal(ntohs(m.link.tun_port), 6081);
}

/* As Linux 6.12 tells it; the numbers are newer than Debian 12's headers. */
static void netkit_msg(char *buf, uint32_t mode, uint8_t primary, size_t primary_len)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nlattr *info, *data;
	struct ifinfomsg *ifi;

	nlh->nlmsg_type = RTM_NEWLINK;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_index = 9;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "nk0");
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "netkit");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	mnl_attr_put(nlh, 2, primary_len, &primary);
	mnl_attr_put_u32(nlh, 3, 0);
	mnl_attr_put_u32(nlh, 5, mode);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
}

static void test_netkit(void **state)
{
	char buf[256];
	struct nlmsghdr *nlh = (struct nlmsghdr *)buf;
	struct nl_msg m;

	(void)state;
	netkit_msg(buf, 0, 1, 1);
	assert_int_equal(parse_copy(buf, nlh->nlmsg_len, &m), 0);
	assert_string_equal(m.link.kind, "netkit");
	assert_true(m.link.primary);
	netkit_msg(buf, 1, 0, 1);
	assert_int_equal(parse_copy(buf, nlh->nlmsg_len, &m), 0);
	assert_false(m.link.primary);
	/* not the size that the kernel gives it */
	netkit_msg(buf, 1, 0, 0);
	assert_int_equal(parse_copy(buf, nlh->nlmsg_len, &m), -EINVAL);
}

static void test_addr(void **state)
{
	struct nl_msg m;

	(void)state;
	PARSE(addr_new, &m);
	assert_int_equal(m.type, NL_ADDR);
	assert_int_equal(m.addr.ifindex, 6);
	assert_int_equal(m.addr.addr, inet_addr("10.244.1.0"));
	assert_int_equal(m.addr.prefix, 32);
	assert_false(m.addr.has_target);
	PARSE(addr_del, &m);
	assert_true(m.del);
	PARSE(addr_target, &m);
	assert_int_equal(m.addr.addr, inet_addr("10.244.1.11"));
	assert_int_equal(m.addr.ifindex, 4);
	assert_int_equal(m.addr.prefix, 24);
	assert_true(m.addr.has_target);
	assert_int_equal(m.addr.target, 0);
}

static void test_nsid(void **state)
{
	struct nl_msg m;

	(void)state;
	PARSE(nsid_new, &m);
	assert_int_equal(m.type, NL_NSID);
	assert_int_equal(m.nsid.nsid, 0);
	assert_false(m.del);
	PARSE(nsid_del, &m);
	assert_true(m.del);
}

static void test_route(void **state)
{
	struct nl_msg m;

	(void)state;
	PARSE(route_new, &m);
	assert_int_equal(m.type, NL_ROUTE);
	assert_int_equal(m.route.oif, 3);
	assert_int_equal(m.route.metric, 100);
	PARSE(route_multi, &m);
	assert_int_equal(m.route.oif, 3);
	assert_int_equal(m.route.metric, 200);
	PARSE(route_del, &m);
	assert_true(m.del);
	assert_int_equal(parse_copy(rec_route_local, sizeof(rec_route_local), &m), -ENOMSG);
}

static void test_tc(void **state)
{
	struct nl_msg m;

	(void)state;
	PARSE(qdisc_new, &m);
	assert_int_equal(m.type, NL_QDISC);
	assert_int_equal(m.tc.ifindex, 5);
	assert_string_equal(m.tc.kind, "clsact");
	PARSE(qdisc_del, &m);
	assert_true(m.del);
	PARSE(filter_new, &m);
	assert_int_equal(m.type, NL_FILTER);
	assert_int_equal(m.tc.ifindex, 5);
	assert_int_equal(m.tc.parent, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS));
	assert_int_equal(m.tc.prio, 7);
	assert_int_equal(m.tc.handle, 0x21);
	assert_int_equal(ntohs(m.tc.protocol), 3); /* ETH_P_ALL */
	assert_string_equal(m.tc.kind, "bpf");
	assert_int_not_equal(m.tc.bpf_id, 0);
	assert_string_equal(m.tc.bpf_name, "t.o:[tc]");
	PARSE(filter_del, &m);
	assert_true(m.del);
	assert_int_equal(m.tc.handle, 0);
}

static void test_conntrack(void **state)
{
	_Alignas(8) unsigned char copy[sizeof(rec_ct_tcp)];
	struct nl_ct ct;

	(void)state;
	memcpy(copy, rec_ct_tcp, sizeof(copy));
	assert_int_equal(nl_ct_parse(copy, sizeof(copy), &ct), 0);
	assert_int_equal(ct.orig.saddr, htonl(INADDR_LOOPBACK));
	assert_int_equal(ct.orig.daddr, htonl(INADDR_LOOPBACK));
	assert_int_equal(ntohs(ct.orig.dport), 5001);
	assert_int_equal(ct.reply.sport, ct.orig.dport);
	assert_int_equal(ct.reply.dport, ct.orig.sport);
	assert_int_equal(ct.tcp_state, 3); /* TCP_CONNTRACK_ESTABLISHED */
}

/* Where attributes may end: 4-byte steps over the attributes behind the fixed header. */
static bool on_boundary(const unsigned char *d, size_t hdr, size_t len, size_t cut)
{
	size_t at = 16 + ((hdr + 3) & ~(size_t)3);

	if (cut == 16 + hdr)
		return true;
	while (at < len) {
		uint16_t n;

		if (cut == at)
			return true;
		memcpy(&n, d + at, 2);
		if (cut == at + n)
			return true; /* the padding may be missing */
		if (cut > at + n && cut <= at + ((n + 3u) & ~3u))
			return true;
		at += (n + 3u) & ~3u;
	}
	return false;
}

static size_t header_size(uint16_t type)
{
	switch (type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return sizeof(struct ifinfomsg);
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return 8;
	case RTM_NEWNSID:
	case RTM_DELNSID:
		return 1;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return sizeof(struct rtmsg);
	default:
		return sizeof(struct tcmsg);
	}
}

static void test_truncated(void **state)
{
	struct nl_msg m;
	size_t i, n;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(recorded); i++) {
		unsigned char copy[4096];
		uint16_t type;

		memcpy(&type, recorded[i].data + 4, sizeof(type));
		for (n = 0; n < recorded[i].len; n++) {
			uint32_t len = (uint32_t)n;
			int err;

			/* A message that claims more than there is. */
			assert_int_equal(parse_copy(recorded[i].data, n, &m), -EINVAL);

			/* A message that really ends there. */
			memcpy(copy, recorded[i].data, n);
			if (n >= sizeof(len))
				memcpy(copy, &len, sizeof(len));
			err = parse_copy(copy, n, &m);
			if (n < 16 ||
			    (type < 256 &&
			     !on_boundary(recorded[i].data, header_size(type), recorded[i].len, n)))
				assert_int_equal(err, -EINVAL);
		}
	}
}

/* Every byte changed in turn: any answer, but no over-read and no absurd result. */
static void test_bent(void **state)
{
	static const unsigned char with[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };
	struct nl_msg m;
	size_t i, n, k;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(recorded); i++) {
		unsigned char copy[4096];

		for (n = 0; n < recorded[i].len; n++) {
			for (k = 0; k < sizeof(with); k++) {
				memcpy(copy, recorded[i].data, recorded[i].len);
				copy[n] = with[k];
				if (parse_copy(copy, recorded[i].len, &m))
					continue;
				if (m.type == NL_LINK) {
					assert_in_range(m.link.ifindex, 1, INT32_MAX);
					assert_in_range(strnlen(m.link.name, NL_NAME), 1,
							NL_NAME - 1);
				}
				if (m.type == NL_ADDR)
					assert_in_range(m.addr.prefix, 0, 32);
			}
		}
	}
}

static void test_absurd(void **state)
{
	_Alignas(8) unsigned char copy[2048];
	const size_t len = sizeof(rec_veth_up);
	struct nlmsghdr *nlh;
	struct ifinfomsg *ifi;
	struct nlattr attr;
	struct nl_msg m;
	int32_t bad = -1;
	size_t at;

	(void)state;
	memcpy(copy, rec_veth_up, len);
	memcpy(copy + 20, &bad, sizeof(bad)); /* ifi_index */
	assert_int_equal(nl_parse(copy, len, &m), -EINVAL);

	memcpy(copy, rec_veth_up, len);
	copy[4] = 200; /* a type that is none of ours */
	assert_int_equal(nl_parse(copy, len, &m), -ENOMSG);

	/* an attribute of half its size */
	nlh = mnl_nlmsg_put_header(copy);
	nlh->nlmsg_type = RTM_NEWLINK;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_index = 9;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "eth0");
	mnl_attr_put_u16(nlh, IFLA_MTU, 1500);
	assert_int_equal(nl_parse(copy, nlh->nlmsg_len, &m), -EINVAL);
	/* a name as long as none can be, and no name */
	nlh->nlmsg_len = MNL_ALIGN(sizeof(*nlh)) + MNL_ALIGN(sizeof(*ifi));
	assert_int_equal(nl_parse(copy, nlh->nlmsg_len, &m), -EINVAL);
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "sixteen-letters-");
	assert_int_equal(nl_parse(copy, nlh->nlmsg_len, &m), -EINVAL);

	/* a default route of another table, in the header and in the attribute */
	memcpy(copy, rec_route_new, sizeof(rec_route_new));
	for (at = 28; at < sizeof(rec_route_new); at += MNL_ALIGN(attr.nla_len)) {
		memcpy(&attr, copy + at, sizeof(attr));
		if (attr.nla_type == RTA_TABLE)
			copy[at + sizeof(attr)] = 100;
	}
	assert_int_equal(nl_parse(copy, sizeof(rec_route_new), &m), -ENOMSG);

	memcpy(copy, rec_addr_new, sizeof(rec_addr_new));
	copy[17] = 33; /* prefix */
	assert_int_equal(nl_parse(copy, sizeof(rec_addr_new), &m), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_link),	  cmocka_unit_test(test_bridge_family),
		cmocka_unit_test(test_vxlan),	  cmocka_unit_test(test_geneve),
		cmocka_unit_test(test_netkit),	  cmocka_unit_test(test_addr),
		cmocka_unit_test(test_nsid),	  cmocka_unit_test(test_route),
		cmocka_unit_test(test_tc),	  cmocka_unit_test(test_conntrack),
		cmocka_unit_test(test_truncated), cmocka_unit_test(test_bent),
		cmocka_unit_test(test_absurd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
