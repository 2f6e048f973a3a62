/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * IPv4 TCP connections that the namespace's conntrack knows.
 *
 * nf_conntrack_tcp_be_liberal may be put back only when no accelerated connection is
 * left: conntrack has not seen their windows move.
 */
#ifndef XM_CTNL_H
#define XM_CTNL_H

#include "nl_ct.h"

/**
 * ctnl_dump() - call @fn for each IPv4 TCP connection that is not closing or closed
 * @fn: returns 0, or anything else to end the walk
 *
 * "Not closing": SYN_SENT up to LAST_ACK, without TIME_WAIT and CLOSE.
 *
 * Return: number of connections passed to @fn; -EOPNOTSUPP when the kernel has no
 * conntrack or no ctnetlink; or -errno.
 */
int ctnl_dump(int (*fn)(const struct nl_ct *ct, void *arg), void *arg);

#endif
