// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tables that are full. Nothing breaks then, what finds no room stays on the overlay, and so nobody
 * would notice: it is said once when it begins, and once when it has not happened for a while.
 */
#include "clock.h"
#include "daemon.h"
#include "log.h"
#include "xm_reasons.h"

#define OVER_MS 60000

static uint64_t happened(const struct daemon *d, const struct xm_counter *c, enum limit which)
{
	switch (which) {
	case LIMIT_FLOWS:
		return c[XM_R_FLOW_TABLE_FULL].packets;
	case LIMIT_LABELS:
		return c[XM_R_LABEL_NONE_FREE].packets;
	default:
		return d->hello.table_full;
	}
}

static void begins(const struct daemon *d, enum limit which)
{
	switch (which) {
	case LIMIT_FLOWS:
		log_warn(
			"the table of flows is full, new flows stay on the overlay: raise tables.flows (%u)",
			d->cfg.flows);
		break;
	case LIMIT_LABELS:
		log_warn(
			"no free label for some flows, which stay on the overlay: raise tables.flows (%u); with one peer and protocol there are %d labels at most",
			d->cfg.flows, XM_LABEL_MAX);
		break;
	default:
		log_warn(
			"the table of peers is full, flows with further nodes stay on the overlay: raise tables.peers (%u)",
			d->cfg.peers);
	}
}

static const char *const names[] = {
	[LIMIT_FLOWS] = "table of flows",
	[LIMIT_LABELS] = "supply of labels",
	[LIMIT_PEERS] = "table of peers",
};

void limits_check(struct daemon *d)
{
	struct xm_counter c[XM_R_MAX];
	uint64_t now = clock_ms(), n;

	if (datapath_counters(&d->dp, c))
		return;
	for (enum limit i = 0; i < LIMITS; i++) {
		struct limit_state *l = &d->limits[i];

		n = happened(d, c, i);
		/* The counters outlive the daemon: what was before it is not news. */
		if (!l->known || n < l->count) {
			l->known = true;
		} else if (n > l->count) {
			if (!l->last_ms)
				begins(d, i);
			l->last_ms = now;
		} else if (l->last_ms && now - l->last_ms >= OVER_MS) {
			log_info("the %s has sufficed for the last %d s", names[i], OVER_MS / 1000);
			l->last_ms = 0;
		}
		l->count = n;
	}
}
