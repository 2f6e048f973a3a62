/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TAP on stdout, by cases: tap_case() ends the case before it and begins the next, so that a
 * row of a table is a test of its own. Diagnostics are held back until the case's verdict is
 * known, since TAP wants them after it.
 */
#ifndef TAP_H
#define TAP_H

#include <stdbool.h>

#define tap_printf __attribute__((format(printf, 1, 2)))

/** tap_case() - begins a case of this name; the one before it is over */
tap_printf void tap_case(const char *fmt, ...);

/** tap_fail() - the present case has failed, for this reason; call as often as needed */
tap_printf void tap_fail(const char *fmt, ...);

/** tap_skip() - the present case cannot run here */
tap_printf void tap_skip(const char *fmt, ...);

/** tap_note() - a comment line, at once */
tap_printf void tap_note(const char *fmt, ...);

/** tap_failed() - whether the present case has failed */
bool tap_failed(void);

/** tap_done() - ends the last case, prints the plan. Return: cases failed */
int tap_done(void);

/* Evaluates to the condition, so that a test can stop where going on makes no sense. */
#define CHECK(cond, fmt, ...)                                                                  \
	({                                                                                     \
		bool tap_ok_ = (cond);                                                         \
		if (!tap_ok_)                                                                  \
			tap_fail("%s:%d: %s: " fmt, __FILE__, __LINE__, #cond, ##__VA_ARGS__); \
		tap_ok_;                                                                       \
	})

#define CHECK_EQ(a, b)                                                                       \
	({                                                                                   \
		long long tap_a_ = (long long)(a), tap_b_ = (long long)(b);                  \
		bool tap_ok_ = tap_a_ == tap_b_;                                             \
		if (!tap_ok_)                                                                \
			tap_fail("%s:%d: %s is %lld (%#llx), not %s %lld (%#llx)", __FILE__, \
				 __LINE__, #a, tap_a_, tap_a_, #b, tap_b_, tap_b_);          \
		tap_ok_;                                                                     \
	})

#endif
