// SPDX-License-Identifier: GPL-2.0-only
#include <stdbool.h>

#include "flow_state.h"

enum flow_state flow_state(const struct xm_flow *f, uint32_t now)
{
	bool seen = xm_before(now, f->out_until) && xm_before(now, f->in_until);

	if (f->ended)
		return FLOW_ENDED;
	/* One that was never learned lapses from nowhere. */
	if (f->stage == XM_STAGE_READY || (f->stage == XM_STAGE_LOCAL && f->nic_ifindex))
		return seen ? FLOW_ACTIVE : FLOW_LAPSED;
	if (f->stage == XM_STAGE_TOLD)
		return FLOW_TOLD;
	return seen ? FLOW_SEEN : FLOW_NEW;
}

const char *flow_state_name(enum flow_state s)
{
	static const char *const names[FLOW_STATES] = {
		[FLOW_NEW] = "new",	  [FLOW_SEEN] = "seen",	    [FLOW_TOLD] = "told",
		[FLOW_ACTIVE] = "active", [FLOW_LAPSED] = "lapsed", [FLOW_ENDED] = "ended",
	};

	return s < FLOW_STATES ? names[s] : "?";
}
