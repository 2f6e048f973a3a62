/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Netlink messages in, plain structs out. Pure: no socket is touched here.
 *
 * The bytes come from the kernel, but nothing is believed: a length that leaves its
 * buffer, an attribute of the wrong size, a name without an end or trailing bytes that
 * are no attribute make the whole message -EINVAL.
 */
#ifndef XM_NL_H
#define XM_NL_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlattr;

#define NL_NAME	     16 /* IFNAMSIZ, also enough for every kind of link, qdisc and filter */
#define NL_BPF_NAME  64
#define NL_NSID_NONE (-1)

enum nl_type {
	NL_LINK = 1,
	NL_ADDR,
	NL_NSID,
	NL_ROUTE,
	NL_QDISC,
	NL_FILTER,
};

/**
 * struct nl_link - RTM_NEWLINK, RTM_DELLINK
 * @ifindex: never 0
 * @name: interface name
 * @kind: "veth", "vxlan", ..., "" for hardware and anything without rtnl_link_ops
 * @link: IFLA_LINK: the other end of a veth or netkit, the lower device of a vlan; its
 *        ifindex counts in the namespace @netnsid when @has_netnsid
 * @has_netnsid: IFLA_LINK_NETNSID was present: @link is in another namespace
 * @netnsid: that namespace's id; NL_NSID_NONE when absent
 * @up: IFF_UP (administrative, not carrier)
 * @master: ifindex of bridge, bond, ... or 0
 * @mtu: bytes
 * @mac: hardware address, zero when it is not 6 bytes long
 * @tun_port: vxlan, geneve: UDP destination port, network order, 0 unknown
 * @tun_local: vxlan: local address, network order, 0 none
 * @tun_link: vxlan: device its packets leave by, 0 none
 * @primary: netkit: the end of the pair that programs are attached to
 */
struct nl_link {
	uint32_t ifindex;
	char name[NL_NAME];
	char kind[NL_NAME];
	uint32_t link;
	bool has_netnsid;
	int32_t netnsid;
	bool up;
	uint32_t master;
	uint32_t mtu;
	uint8_t mac[6];
	__be16 tun_port;
	__be32 tun_local;
	uint32_t tun_link;
	bool primary;
};

/**
 * struct nl_addr - RTM_NEWADDR, RTM_DELADDR of an IPv4 address
 * @ifindex: interface, in the namespace that the message is about
 * @addr: the interface's own address (IFA_LOCAL), network order
 * @prefix: 0..32
 * @has_target: IFA_TARGET_NETNSID was present (answer to a dump of another namespace)
 * @target: that namespace's id; NL_NSID_NONE when absent
 */
struct nl_addr {
	uint32_t ifindex;
	__be32 addr;
	uint8_t prefix;
	bool has_target;
	int32_t target;
};

/* RTM_NEWNSID, RTM_DELNSID; nsid is NL_NSID_NONE in an answer that says "has none" */
struct nl_nsid {
	int32_t nsid;
};

/* RTM_NEWROUTE, RTM_DELROUTE of an IPv4 unicast default route of the main table */
struct nl_route {
	uint32_t oif; /* of the first next hop; 0 when the message names none */
	uint32_t metric;
};

/**
 * struct nl_tc - RTM_NEW/DELQDISC, RTM_NEW/DELTFILTER
 * @ifindex: interface; never 0
 * @parent: tcm_parent; TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS or _EGRESS) for ours
 * @handle: tcm_handle; of a filter: 0 stands for the whole priority
 * @prio: filter: priority
 * @protocol: filter: ethertype, network order
 * @chain: filter: chain number
 * @kind: "clsact", "bpf", ...
 * @bpf_id: bpf filter: program id, 0 unknown
 * @bpf_name: bpf filter: name its owner gave (often "program:[id]")
 */
struct nl_tc {
	uint32_t ifindex;
	uint32_t parent;
	uint32_t handle;
	uint16_t prio;
	__be16 protocol;
	uint32_t chain;
	char kind[NL_NAME];
	uint32_t bpf_id;
	char bpf_name[NL_BPF_NAME];
};

struct nl_msg {
	enum nl_type type;
	bool del; /* RTM_DEL... */
	union {
		struct nl_link link;
		struct nl_addr addr;
		struct nl_nsid nsid;
		struct nl_route route;
		struct nl_tc tc;
	};
};

/**
 * nl_parse() - read one rtnetlink message
 * @buf: start of the message (struct nlmsghdr), 4-byte aligned
 * @len: bytes that may be read; may exceed the message
 * @out: result, valid only when 0 is returned
 *
 * Return: 0; -EINVAL malformed; -ENOMSG well-formed as far as looked at, but nothing we
 * keep: another type or family, a bridge's view of its ports, a route that is no default
 * route.
 */
int nl_parse(const void *buf, size_t len, struct nl_msg *out);

/**
 * nl_attrs() - index attributes by type
 * @p: first attribute, 4-byte aligned
 * @len: bytes of attributes
 * @tb: @max + 1 pointers into @p, NULL where absent; the last of equal types wins
 * @max: highest type of interest; others are skipped
 *
 * Return: 0, or -EINVAL when an attribute leaves @len or bytes are left over.
 */
int nl_attrs(const void *p, size_t len, const struct nlattr **tb, unsigned int max);

/** nl_get() - copy an attribute of exactly @size bytes; -EINVAL when the size differs */
int nl_get(const struct nlattr *a, void *out, size_t size);

/** nl_get_str() - copy a string attribute that fits @max with its NUL, else -EINVAL */
int nl_get_str(const struct nlattr *a, char *out, size_t max);

#endif
