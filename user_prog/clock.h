/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CLOCK_MONOTONIC as a number: it goes on through changes of the date, and stands still while the
 * machine is suspended.
 *
 * For all but the core, which makes no system calls and is told the time.
 */
#ifndef XM_CLOCK_H
#define XM_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_us(void)
{
	return clock_ns() / 1000;
}

static inline uint64_t clock_ms(void)
{
	return clock_ns() / 1000000;
}

#endif
