/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a flow stands, in one word: what people, metrics and traces are told. Pure. */
#ifndef XM_FLOW_STATE_H
#define XM_FLOW_STATE_H

#include <stdint.h>

#include "xm_types.h"

enum flow_state {
	FLOW_NEW,    /* an entry; the CNI was not yet seen to pass it both ways */
	FLOW_SEEN,   /* both leases hold, no label yet */
	FLOW_TOLD,   /* owner: the label is told, the peer has not used it */
	FLOW_ACTIVE, /* on the fast path */
	FLOW_LAPSED, /* agreed, but a lease is over */
	FLOW_ENDED,  /* FIN, RST or "packet too big" */
	FLOW_STATES,
};

/** flow_state() - @now: low half of jiffies */
enum flow_state flow_state(const struct xm_flow *f, uint32_t now);

/** flow_state_name() - "new", "seen", ... */
const char *flow_state_name(enum flow_state s);

#endif
