/* SPDX-License-Identifier: GPL-2.0-only */
/* Conntrack entries of ctnetlink messages. Pure. */
#ifndef XM_NL_CT_H
#define XM_NL_CT_H

#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>

/* Addresses and ports in network order, as the sender of that direction sends. */
struct nl_ct_tuple {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
};

/* orig differs from the mirrored reply exactly when the connection is translated */
struct nl_ct {
	struct nl_ct_tuple orig;
	struct nl_ct_tuple reply;
	uint8_t tcp_state; /* enum tcp_conntrack of nf_conntrack_tcp.h */
};

/**
 * nl_ct_parse() - read one entry
 * @buf: start of the message, 4-byte aligned; @len: bytes that may be read
 *
 * Return: 0; -EINVAL malformed; -ENOMSG when it is no IPv4 TCP entry.
 */
int nl_ct_parse(const void *buf, size_t len, struct nl_ct *out);

#endif
