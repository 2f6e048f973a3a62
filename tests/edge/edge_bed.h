/* SPDX-License-Identifier: GPL-2.0-only */
/* What the edge tests share: pods, shell commands, an inventory that follows events. */
#ifndef EDGE_BED_H
#define EDGE_BED_H

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <bpf/libbpf.h>
#include <cmocka.h>
#include <sys/types.h>

#include "reconcile.h"
#include "rtnl.h"
#include "xm_util.h"

#define STATE_DIR "/run/xmasq"
#define WAIT_MS	  5000

/* Run a shell command that has to succeed. */
XM_PRINTF(1, 2) void sh(const char *fmt, ...);

/* A process in a network namespace of its own; its number. Ends with the test. */
pid_t pod_start(void);
void pod_stop(pid_t pid);

/* What a CNI does: a pair, one end up here, the other in the pod with its address. */
void pod_wire(pid_t pid, const char *host, const char *addr);

int edge_setup(void **state);
int edge_teardown(void **state);

struct seen {
	unsigned int changed, resynced;
	uint32_t lost;
};

struct bed {
	struct inventory inv;
	struct config cfg;
	struct mode_kernel kernel;
	struct reconcile_set want;
	struct rtnl *r;
	struct seen seen;
};

void bed_open(struct bed *b, unsigned int rcvbuf);
void bed_close(struct bed *b);
const struct reconcile_item *bed_find(struct bed *b, const char *name);
void bed_event(enum rtnl_event ev, int32_t nsid, uint32_t ifindex, void *arg);
int64_t now_ms(void);

/* Dispatch events, and nothing but events, until the condition holds. */
#define WAIT_FOR(b, cond)                                                                          \
	do {                                                                                       \
		int64_t end_ = now_ms() + WAIT_MS;                                                 \
		struct pollfd p_ = { .fd = rtnl_fd((b)->r), .events = POLLIN };                    \
                                                                                                   \
		while (!(cond)) {                                                                  \
			if (now_ms() > end_)                                                       \
				fail_msg("did not happen: %s", #cond);                             \
			if (poll(&p_, 1, 100) > 0)                                                 \
				assert_int_equal(rtnl_dispatch((b)->r, bed_event, &(b)->seen), 0); \
		}                                                                                  \
	} while (0)

/* edge_tc.c */
struct tc;
/* A program with this name that lets everything pass. */
int prog_load(const char *name);
uint32_t prog_id(int fd);
bool has_clsact(const char *dev);
struct tc *tc_new(bool tcx, uint32_t priority, uint32_t handle);
/* Somebody else's program, as any other agent attaches it. */
void filter_other(int fd, uint32_t ifindex, enum bpf_tc_attach_point point, uint32_t priority,
		  uint32_t handle);
void test_tc_attach(void **state);
void test_tc_neighbours(void **state);
void test_tc_qdisc_owner(void **state);
void test_tc_lost(void **state);

/* edge_tcx.c */
bool has_tcx(void);
void test_tcx_attach(void **state);
/* With tcx only. */
void test_tcx_order(void **state);
void test_tcx_switch(void **state);
void test_tcx_no_gap(void **state);
void test_filter_no_gap(void **state);
void test_tcx_priority_no_gap(void **state);
void test_tcx_full(void **state);
void test_tcx_cleanup(void **state);

/* edge_guest.c */
void test_guest_macvlan(void **state);
void test_guest_ipvlan(void **state);
void test_guest_foreign(void **state);
void test_guest_walk(void **state);

#endif
