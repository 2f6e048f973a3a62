/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * perf-hist.h - a histogram of times: 32 buckets for each power of two, so that what comes out is
 * within 1.6 % of what went in, whatever its size; adding costs a few instructions.
 */
#ifndef XMT_PERF_HIST_H
#define XMT_PERF_HIST_H

#include <stdint.h>
#include <stdio.h>

#define HIST_BITS    5
#define HIST_SUB     (1u << HIST_BITS)
#define HIST_MAX     40 /* bits of the longest time: 18 minutes; what is longer counts as that */
#define HIST_BUCKETS ((HIST_MAX - HIST_BITS + 1) * HIST_SUB)

struct hist {
	uint64_t n[HIST_BUCKETS], total;
};

static inline unsigned int hist_bucket(uint64_t ns)
{
	unsigned int shift;

	if (ns >= 1ull << HIST_MAX)
		ns = (1ull << HIST_MAX) - 1;
	if (ns < HIST_SUB)
		return (unsigned int)ns;
	shift = 63u - (unsigned int)__builtin_clzll(ns) - HIST_BITS;
	return (shift + 1) * HIST_SUB + (unsigned int)((ns >> shift) - HIST_SUB);
}

/* The middle of a bucket, ns. */
static inline double hist_value(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < HIST_SUB)
		return bucket;
	shift = bucket / HIST_SUB - 1;
	return (double)((uint64_t)(HIST_SUB + bucket % HIST_SUB) << shift) +
	       (double)(1ull << shift) / 2;
}

static inline void hist_add(struct hist *h, uint64_t ns)
{
	h->n[hist_bucket(ns)]++;
	h->total++;
}

/* ns that @share (0 to 1) of the times do not exceed; 0 when there are none. */
static inline double hist_quantile(const struct hist *h, double share)
{
	double want = share * (double)h->total;
	uint64_t seen = 0;

	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		seen += h->n[i];
		if (seen && (double)seen >= want)
			return hist_value(i);
	}
	return 0;
}

/* As JSON: [[us,times],...], those that are not empty. */
static inline void hist_print(const struct hist *h, FILE *f)
{
	const char *comma = "";

	fputc('[', f);
	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		if (!h->n[i])
			continue;
		fprintf(f, "%s[%.3f,%llu]", comma, hist_value(i) / 1000,
			(unsigned long long)h->n[i]);
		comma = ",";
	}
	fputc(']', f);
}

#endif
