/* SPDX-License-Identifier: GPL-2.0-only */
/* What xsk-router says of itself: the line while it runs, the summary at the end. */
#ifndef AFXDP_REPORT_H
#define AFXDP_REPORT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "front.h"
#include "router.h"

/* Of one queue: entries in its rings now, of @size, and what the kernel says of its socket. */
struct report_queue {
	uint32_t size;
	uint32_t rx, tx, fill, completion; /* what is in the rings now */
	uint64_t in, out;		   /* frames */
	uint64_t rx_dropped, rx_ring_full, fill_empty, rx_invalid, tx_invalid, tx_empty;
};

/**
 * struct report - a moment
 * @kicks: system calls that sent
 * @sleeps: system calls that waited for frames
 * @user_us, @kernel_us: CPU time of the process
 * @frames, @free: buffers in all, and those that are nowhere
 */
struct report {
	const char *interface, *mode, *pages, *checksum;
	uint64_t ms; /* since the start */
	uint32_t nqueues;
	struct report_queue queue[FRONT_QUEUES];
	uint64_t front[FRONT_COUNTS];
	uint64_t kicks, sleeps, batches;
	uint64_t user_us, kernel_us;
	uint32_t frames, free;
	struct router_stats router;
	struct arp_stats arp;
	uint32_t flows;
};

/** report_dropped() - frames that should have gone on and did not */
uint64_t report_dropped(const struct report *r);

/** report_line() - what happened between @before and @now, one line with its newline */
void report_line(FILE *out, const struct report *before, const struct report *now);

/** report_text() - the summary, for people */
void report_text(FILE *out, const struct report *r);

/** report_json() - the summary, for programs. Return: 0 or -ENOMEM */
int report_json(FILE *out, const struct report *r);

#endif
