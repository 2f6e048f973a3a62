/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * CLOCK_MONOTONIC as a number: it goes on through changes of the date, and stands still while the
 * machine is suspended. And the date, as text.
 *
 * For all but the core, which makes no system calls and is told the time.
 */
#ifndef XM_CLOCK_H
#define XM_CLOCK_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define CLOCK_UTC_STR sizeof("-2147481748-12-31T23:59:60.999Z")

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

/* clock_utc() - the date to the millisecond: 2026-11-22T20:31:04.125Z */
static inline const char *clock_utc(char buf[CLOCK_UTC_STR])
{
	struct timespec ts;
	struct tm tm;
	size_t n;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	n = strftime(buf, CLOCK_UTC_STR, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + n, CLOCK_UTC_STR - n, ".%03dZ", (int)(ts.tv_nsec / 1000000));
	return buf;
}

#endif
