/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules: their table, and the one matcher that programs and userspace share.
 *
 * The table "xm_policy" has two halves. Programs read the one that @now names; the daemon
 * writes the other, switches, and waits until nobody reads the old one any more. Rules for
 * what a pod sends stand from the front, rules for what it gets from the back, each in the order
 * in which they are asked: so both have constant places, which the verifier likes.
 */
#ifndef XM_POLICY_H
#define XM_POLICY_H

#include <linux/types.h>

#include "xm_limits.h"

enum xm_policy_action {
	XM_POLICY_ALLOW = 0,
	XM_POLICY_OVERLAY = 1, /* passes, and is no evidence for a lease */
	XM_POLICY_DENY = 2,
	XM_POLICY_ACTIONS = 3,
};

/* As the local pod sees it. */
enum xm_policy_dir {
	XM_POLICY_OUT = 0,
	XM_POLICY_IN = 1,
	XM_POLICY_DIRS = 2,
};

/* What a packet may lack that a rule may need. */
#define XM_LACKS_IPV4  1 /* it is IPv6 */
#define XM_LACKS_PORTS 2 /* its protocol has none */
#define XM_LACKS_FIRST 4 /* a later fragment: its ports were in the first one */
/* No rule needs this one. It is never 0 because a stored 0 is a state of its own to the verifier. */
#define XM_LACKS_NOTHING 8

/**
 * struct xm_rule - one rule
 * @saddr, @daddr: masked
 * @smask, @dmask: 0 for any address
 * @sport, @dport: first port, host order
 * @sspan, @dspan: ports behind it; 65535 for any port
 * @proto: IPPROTO_*
 * @proto_mask: 0 for any, else 0xff
 * @needs: XM_LACKS_*: what a packet must have for the rule to match
 * @pad: zero
 * @verdict: action << 16 | slot in "xm_rule_count"
 */
struct xm_rule {
	__be32 saddr;
	__be32 smask;
	__be32 daddr;
	__be32 dmask;
	__u16 sport;
	__u16 sspan;
	__u16 dport;
	__u16 dspan;
	__u8 proto;
	__u8 proto_mask;
	__u8 needs;
	__u8 pad;
	__u32 verdict;
};

/* Of a packet that no rule matches: allowed, and no counter. */
#define XM_VERDICT_NONE	     0xffffu
#define XM_VERDICT_ACTION(v) ((v) >> 16)
#define XM_VERDICT_SLOT(v)   ((v)&0xffff)

struct xm_policy_half {
	__u32 n[XM_POLICY_DIRS];
	__u32 pad[6];
	struct xm_rule rule[XM_RULES_MAX];
};

struct xm_policy {
	__u32 now; /* 0 or 1 */
	__u32 pad[7];
	struct xm_policy_half half[2];
};

_Static_assert(sizeof(struct xm_rule) == 32, "rule layout");
_Static_assert(sizeof(struct xm_policy) == 32 + 2 * (32 + 32 * XM_RULES_MAX), "policy layout");

/**
 * struct xm_policy_packet - what rules look at
 * @saddr, @daddr: anything for IPv6
 * @sport, @dport: host order, anything when it lacks them
 * @proto: IPPROTO_*, anything for IPv6
 * @lacks: XM_LACKS_*, XM_LACKS_NOTHING alone
 */
struct xm_policy_packet {
	__be32 saddr;
	__be32 daddr;
	__u16 sport;
	__u16 dport;
	__u8 proto;
	__u8 lacks;
	__u8 pad[2];
};

/*
 * 0 when the rule matches. One branch for each rule, in the programs as in the daemon: with one for
 * each field the verifier would follow them all.
 */
static inline __attribute__((always_inline)) __u32 xm_rule_misses(const struct xm_rule *r,
								  const struct xm_policy_packet *p)
{
	__u32 ports = ((__u32)r->sspan - (__u16)(p->sport - r->sport)) |
		      ((__u32)r->dspan - (__u16)(p->dport - r->dport));

	/* Of a later fragment they are not known; @needs says which rules can do without. */
	ports &= ~((__u32)p->lacks << 29);
	return ((p->saddr ^ r->saddr) & r->smask) | ((p->daddr ^ r->daddr) & r->dmask) |
	       ((p->proto ^ r->proto) & r->proto_mask) | (p->lacks & r->needs) |
	       (ports & 0x80000000u);
}

/** xm_policy_decide() - the verdict of the first rule that matches, else XM_VERDICT_NONE */
static inline __attribute__((always_inline)) __u32
xm_policy_decide(const struct xm_policy_half *h, const struct xm_policy_packet *p, int dir)
{
	__u32 n = h->n[dir];

#if defined(__clang__)
#pragma clang loop unroll(disable)
#endif
	for (__u32 i = 0; i < XM_RULES_MAX; i++) {
		const struct xm_rule *r = &h->rule[dir == XM_POLICY_OUT ? i : XM_RULES_MAX - 1 - i];

		if (i >= n)
			break;
		if (!xm_rule_misses(r, p))
			return r->verdict;
	}
	return XM_VERDICT_NONE;
}

#endif
