/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The one way to log: a line on stderr, written at once.
 *
 * Under journald (JOURNAL_STREAM names our stderr) a line starts with its priority, "<4>",
 * and the journal adds the time; elsewhere it starts with time and level. For use by one
 * thread.
 */
#ifndef XM_LOG_H
#define XM_LOG_H

#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "clock.h"
#include "config.h"
#include "xm_util.h"

/** log_init() - until called: level info, format text. May be called again (reload). */
void log_init(enum config_log_level level, enum config_log_format format);

/** log_on() - whether messages of this level are written, for what is costly to prepare */
bool log_on(enum config_log_level level);

/**
 * log_write() - write one message; keeps errno
 *
 * A message says what happened, to which object, and what to do. It has no newline at
 * its end; control characters become '?'.
 */
void log_write(enum config_log_level level, const char *fmt, ...) XM_PRINTF(2, 3);

#define log_error(...) log_write(CONFIG_LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(CONFIG_LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_write(CONFIG_LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(CONFIG_LOG_DEBUG, __VA_ARGS__)

/** log_written() - how many messages of this level were written since the start */
uint64_t log_written(enum config_log_level level);

/** log_libbpf() - for libbpf_set_print(); its information is our debug */
int log_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

/* State of one call site of log_ratelimited(). */
struct log_limit {
	uint64_t since_ms;
	unsigned int count;
	unsigned int suppressed;
};

/**
 * log_limit_ok() - whether this call site may write now
 * @per_sec: messages allowed in a second
 * @now_ms: monotonic
 * @suppressed: how many were not written since the last that was
 */
bool log_limit_ok(struct log_limit *l, unsigned int per_sec, uint64_t now_ms,
		  unsigned int *suppressed);

/* At most @per_sec messages a second from this line; the next one tells how many are missing. */
#define log_ratelimited(level, per_sec, fmt, ...)                                       \
	do {                                                                            \
		static struct log_limit log_limit_here;                                 \
		unsigned int log_missed;                                                \
                                                                                        \
		if (!log_on(level) ||                                                   \
		    !log_limit_ok(&log_limit_here, per_sec, clock_ms(), &log_missed))   \
			break;                                                          \
		if (log_missed)                                                         \
			log_write(level, fmt " (and %u more like this)", ##__VA_ARGS__, \
				  log_missed);                                          \
		else                                                                    \
			log_write(level, fmt, ##__VA_ARGS__);                           \
	} while (0)

#endif
