/* SPDX-License-Identifier: GPL-2.0-only */
/* One rtnetlink question and its answers, on a socket of its own. */
#ifndef XM_RTNL_REQ_H
#define XM_RTNL_REQ_H

#include <stddef.h>
#include <stdint.h>

struct mnl_socket;
struct nlmsghdr;

struct rtnl_req {
	struct mnl_socket *sk;
	struct nlmsghdr *nlh;
	uint32_t seq;
	_Alignas(8) char out[512];
};

/**
 * rtnl_req_open() - socket in the current network namespace, with strict checking
 *
 * Strict checking (NETLINK_GET_STRICT_CHK) is what makes the kernel honour a dump's
 * filters, IFA_TARGET_NETNSID among them, instead of ignoring them.
 *
 * Return: 0 or -errno; a socket is to be closed with rtnl_req_close().
 */
int rtnl_req_open(struct rtnl_req *r);
void rtnl_req_close(struct rtnl_req *r);

/**
 * rtnl_req_start() - begin a message
 * @type: RTM_...
 * @flags: NLM_F_DUMP or 0; NLM_F_REQUEST and NLM_F_ACK are added
 * @size: of the fixed header that follows
 * Return: that header, zeroed.
 */
void *rtnl_req_start(struct rtnl_req *r, uint16_t type, uint16_t flags, size_t size);

/** rtnl_req_u32() - add an attribute */
void rtnl_req_u32(struct rtnl_req *r, uint16_t type, uint32_t value);

/**
 * rtnl_req_run() - send, and pass each answer on
 * @fn: called for each message, returns 0, or -errno to end the exchange with it; may be NULL
 *
 * Return: 0; -errno that the kernel answered; -EAGAIN when the dump was interrupted by a
 * change and has to be repeated; -ETIMEDOUT when the kernel does not answer.
 */
int rtnl_req_run(struct rtnl_req *r, int (*fn)(const struct nlmsghdr *nlh, void *arg), void *arg);

#endif
