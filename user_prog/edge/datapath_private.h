/* SPDX-License-Identifier: GPL-2.0-only */
/* What datapath*.c share among themselves. */
#ifndef XM_DATAPATH_PRIVATE_H
#define XM_DATAPATH_PRIVATE_H

#include "datapath.h"

/* A pin's path: pin_dir, a slash and the longest name. */
#define DATAPATH_PIN_MAX (CONFIG_PATH_MAX + 32)

/* datapath_clock.c */
/** datapath_measure_hz() - load the clock program, measure jiffies, let go; logs why not */
int datapath_measure_hz(uint32_t *hz);
int datapath_run_clock(struct xmasq_bpf *skel, struct xm_clock *clock);
/** datapath_ms_to_j() - at least 1 */
uint32_t datapath_ms_to_j(uint32_t ms, uint32_t hz);

/* datapath_pins.c */
/** datapath_pins_fit() - whether all pins are there, of this layout and these sizes */
bool datapath_pins_fit(const char *dir, const struct config *c, struct xm_meta *meta);
/** datapath_pins_reuse() - have the load of @skel take the pinned maps */
int datapath_pins_reuse(struct xmasq_bpf *skel, const char *dir);
/** datapath_pins_renew() - pin @d's maps in the place of whatever was pinned; logs why not */
int datapath_pins_renew(struct datapath *d);
/** datapath_pins_progs() - pin @d's programs in the place of older ones; logs why not */
void datapath_pins_progs(struct datapath *d);

/* datapath_admit.c */
/** datapath_admit_map() - map the cells. 0 or -errno; datapath_admit_unmap() in either case */
int datapath_admit_map(struct datapath *d);
void datapath_admit_unmap(struct datapath *d);
/** datapath_admit_used() - a walk over the flows has come upon this one. @now: jiffies */
void datapath_admit_used(struct datapath *d, const struct xm_flow_key *key, uint32_t now);
/** datapath_admit_cool() - that walk is over, which began at @since */
void datapath_admit_cool(struct datapath *d, uint32_t since);
/** datapath_admit_all() - flows of an earlier run have their cells admitted. 0 or -errno */
int datapath_admit_all(struct datapath *d);

/* datapath_policy.c */
/** datapath_policy_map() - map the table of rules, tell the programs whether there are any */
int datapath_policy_map(struct datapath *d);
void datapath_policy_unmap(struct datapath *d);

/* datapath_tables.c */
/** datapath_sum() - the first @n counters of a per-CPU map, summed over all CPUs */
int datapath_sum(int fd, unsigned int n, struct xm_counter *c);
/**
 * datapath_fast_forget() - something was taken back from the tables
 *
 * To be called behind the change: what the programs know by heart (tc_prog/fast.h) is void. What
 * still holds they learn again with the next packet.
 */
void datapath_fast_forget(struct datapath *d);

/* datapath.c */
/** datapath_hint() - what to do when the kernel answers a load with @err */
const char *datapath_hint(int err);

#endif
