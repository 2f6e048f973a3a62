// SPDX-License-Identifier: GPL-2.0-only
#include "tap.h"

#include <stdarg.h>
#include <stdio.h>

/* A fuzz run that goes wrong goes wrong often: the first lines say what there is to say. */
#define DIAG_LINES 12

static struct {
	char name[160];
	char skip[120];
	char diag[8192];
	unsigned int diag_len;
	int diags;
	int cases;
	int failed;
} tap;

static void conclude(void)
{
	if (!tap.name[0])
		return;
	tap.cases++;
	printf("%sok %d - %s", tap.diags ? "not " : "", tap.cases, tap.name);
	if (tap.skip[0] && !tap.diags)
		printf(" # SKIP %s", tap.skip);
	putchar('\n');
	if (tap.diags) {
		tap.failed++;
		fwrite(tap.diag, 1, tap.diag_len, stdout);
		if (tap.diags > DIAG_LINES)
			printf("# ... and %d more\n", tap.diags - DIAG_LINES);
	}
	fflush(stdout);
	tap.name[0] = '\0';
	tap.skip[0] = '\0';
	tap.diag_len = 0;
	tap.diags = 0;
}

void tap_case(const char *fmt, ...)
{
	va_list ap;

	conclude();
	va_start(ap, fmt);
	vsnprintf(tap.name, sizeof(tap.name), fmt, ap);
	va_end(ap);
}

void tap_fail(const char *fmt, ...)
{
	unsigned int room = sizeof(tap.diag) - tap.diag_len;
	char line[1024];
	va_list ap;
	int n;

	if (tap.diags++ >= DIAG_LINES)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	n = snprintf(tap.diag + tap.diag_len, room, "# %s\n", line);
	if (n > 0 && (unsigned int)n < room)
		tap.diag_len += (unsigned int)n;
}

void tap_skip(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(tap.skip, sizeof(tap.skip), fmt, ap);
	va_end(ap);
}

void tap_note(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stdout);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

bool tap_failed(void)
{
	return tap.diags;
}

int tap_done(void)
{
	conclude();
	printf("1..%d\n", tap.cases);
	fflush(stdout);
	return tap.failed;
}
