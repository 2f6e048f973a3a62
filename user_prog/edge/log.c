// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clock.h"
#include "jsonx.h"
#include "log.h"
#include "text.h"

#define LOG_LINE_MAX 1024

static enum config_log_level log_level = CONFIG_LOG_INFO;
static enum config_log_format log_format = CONFIG_LOG_TEXT;
static bool log_journal;
static uint64_t written[CONFIG_LOG_DEBUG + 1];

static const struct {
	const char *name;
	char priority; /* of sd-daemon(3) and syslog(3) */
} levels[] = {
	[CONFIG_LOG_ERROR] = { "error", '3' },
	[CONFIG_LOG_WARN] = { "warn", '4' },
	[CONFIG_LOG_INFO] = { "info", '6' },
	[CONFIG_LOG_DEBUG] = { "debug", '7' },
};

/* JOURNAL_STREAM is inherited; only its device and inode tell that stderr is the journal. */
static bool stderr_is_journal(void)
{
	const char *env = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	if (!env || sscanf(env, "%llu:%llu", &dev, &ino) != 2 || fstat(STDERR_FILENO, &st))
		return false;
	return st.st_dev == dev && st.st_ino == ino;
}

void log_init(enum config_log_level level, enum config_log_format format)
{
	log_level = level;
	log_format = format;
	log_journal = stderr_is_journal();
}

uint64_t log_written(enum config_log_level level)
{
	return written[level];
}

bool log_on(enum config_log_level level)
{
	return level <= log_level;
}

/* A log line that cannot be written is lost: there is nowhere to complain. */
static void emit(const char *head, const char *body)
{
	struct iovec iov[] = {
		{ .iov_base = (void *)(uintptr_t)head, .iov_len = strlen(head) },
		{ .iov_base = (void *)(uintptr_t)body, .iov_len = strlen(body) },
		{ .iov_base = (void *)(uintptr_t) "\n", .iov_len = 1 },
	};

	while (writev(STDERR_FILENO, iov, 3) < 0 && errno == EINTR)
		;
}

static void emit_json(enum config_log_level level, const char *prefix, const char *text)
{
	struct json_object *o = json_object_new_object();
	char now[CLOCK_UTC_STR];

	clock_utc(now);
	if (o && jsonx_put_str(o, "time", now) && jsonx_put_str(o, "level", levels[level].name) &&
	    jsonx_put_str(o, "message", text))
		emit(prefix, json_object_to_json_string_ext(
				     o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(o);
}

static void write_line(enum config_log_level level, char *text)
{
	char prefix[64] = "", now[CLOCK_UTC_STR];
	unsigned int c, n;
	char *p;

	written[level]++;
	text_utf8_clean(text);
	/* What names a pod may bring along must not make a second line or colour a terminal. */
	for (p = text; *p; p += n ? n : 1) {
		n = text_control_at(p, &c);
		memset(p, c == '\t' ? ' ' : '?', n);
	}
	if (log_journal)
		snprintf(prefix, sizeof(prefix), "<%c>", levels[level].priority);
	if (log_format == CONFIG_LOG_JSON) {
		emit_json(level, prefix, text);
		return;
	}
	if (!log_journal) {
		clock_utc(now);
		snprintf(prefix, sizeof(prefix), "%s %-5s ", now, levels[level].name);
	}
	emit(prefix, text);
}

void log_write(enum config_log_level level, const char *fmt, ...)
{
	char text[LOG_LINE_MAX];
	int saved = errno;
	va_list ap;

	if (!log_on(level))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	write_line(level, text);
	errno = saved;
}

/* The verifier's log comes as one message of many lines, of any length. */
int log_libbpf(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	enum config_log_level ours = level == LIBBPF_WARN ? CONFIG_LOG_WARN : CONFIG_LOG_DEBUG;
	char *text, *line, *save;
	int n, saved = errno;

	if (!log_on(ours))
		return 0;
	n = vasprintf(&text, fmt, ap);
	if (n < 0)
		return 0;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		write_line(ours, line);
	free(text);
	errno = saved;
	return n;
}

bool log_limit_ok(struct log_limit *l, unsigned int per_sec, uint64_t now_ms,
		  unsigned int *suppressed)
{
	if (!l->since_ms || now_ms - l->since_ms >= 1000) {
		l->since_ms = now_ms ? now_ms : 1;
		l->count = 0;
	}
	if (l->count >= per_sec) {
		l->suppressed++;
		return false;
	}
	l->count++;
	*suppressed = l->suppressed;
	l->suppressed = 0;
	return true;
}
