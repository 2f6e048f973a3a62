// SPDX-License-Identifier: GPL-2.0-only
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ready.h"
#include "xm_util.h"

/* Writes a line of /readyz, when there is one to write to. Return: @ok. */
static bool XM_PRINTF(3, 4) line(FILE *out, bool ok, const char *fmt, ...)
{
	va_list ap;

	if (!out)
		return ok;
	fputs(ok ? "[+] " : "[-] ", out);
	va_start(ap, fmt);
	vfprintf(out, fmt, ap);
	va_end(ap);
	fputc('\n', out);
	return ok;
}

static bool conditions(const struct ready_facts *f, FILE *out)
{
	bool ok = true;

	ok &= line(out, f->started, "start: %s", f->started ? "done" : "not done yet");
	ok &= line(out, f->programs == f->programs_wanted, "programs: %u of %u loaded", f->programs,
		   f->programs_wanted);
	ok &= line(out, f->underlay, "underlay: %u interfaces attached%s", f->underlay,
		   f->underlay ? "" : "; check \"underlay\" in the configuration");
	ok &= line(out, f->addresses && !f->stale, "addresses: %u%s", f->addresses,
		   f->stale ? "; the underlay has others, and loading them failed: see the log"
		   : f->addresses ? ""
				  : "; give the underlay interface an IPv4 address");
	ok &= line(out, !f->pin_err, "tables: %s%s", f->pin_err ? "cannot be pinned: " : "pinned",
		   f->pin_err ? strerror(-f->pin_err) : "");
	ok &= line(out, !f->netlink_err, "interfaces: %s%s",
		   f->netlink_err ? "cannot be read: " : "known",
		   f->netlink_err ? strerror(-f->netlink_err) : "");
	return ok;
}

bool ready(const struct ready_facts *f)
{
	return conditions(f, NULL);
}

/* Text of a stream that is closed here, NULL when any of it failed. */
static char *finish(FILE *out, char **text)
{
	if (!(ferror(out) | fclose(out)))
		return *text;
	free(*text);
	return NULL;
}

char *ready_text(const struct ready_facts *f, size_t *len)
{
	char *text = NULL;
	FILE *out;
	bool ok;

	out = open_memstream(&text, len);
	if (!out)
		return NULL;
	ok = conditions(f, out);
	fprintf(out, "    pods: %u attached, %u failed\n    peers: %u of %u up\n%s\n",
		f->pods_attached, f->pods_failed, f->peers_up, f->peers,
		ok ? "ready" : "not ready");
	return finish(out, &text);
}

char *health_text(uint64_t ago_ms, uint64_t limit_ms, bool *ok, size_t *len)
{
	char *text = NULL;
	FILE *out;

	*ok = ago_ms <= limit_ms;
	out = open_memstream(&text, len);
	if (!out)
		return NULL;
	if (*ok)
		fputs("ok\n", out);
	else
		fprintf(out,
			"periodic work was last done %" PRIu64 " ms ago, the limit is %" PRIu64
			" ms\n",
			ago_ms, limit_ms);
	return finish(out, &text);
}
