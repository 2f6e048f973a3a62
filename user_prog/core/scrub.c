// SPDX-License-Identifier: GPL-2.0-only
#include <stdbool.h>
#include <string.h>

#include "scrub.h"

static const char instead[] = "[removed]";

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* What a terminal obeys when somebody looks at the file: C0 but for tab and newline, and DEL. */
static bool is_control(unsigned char c)
{
	return (c < 0x20 && c != '\t' && c != '\n') || c == 0x7f;
}

/* C1, which UTF-8 writes as two bytes */
static bool is_control1(const char *s)
{
	return (unsigned char)s[0] == 0xc2 && ((unsigned char)s[1] & 0xe0) == 0x80;
}

size_t scrub(char *s, size_t len)
{
	size_t from = 0, to = 0, run, i;

	for (i = 0; i < len; i++) {
		if (is_control((unsigned char)s[i]))
			s[i] = '?';
		else if (i + 1 < len && is_control1(s + i))
			s[i] = s[i + 1] = '?';
	}
	while (from < len) {
		for (run = 0; from + run < len && is_hex(s[from + run]); run++)
			;
		if (run >= SCRUB_DIGITS) {
			memcpy(s + to, instead, sizeof(instead) - 1);
			to += sizeof(instead) - 1;
			from += run;
			continue;
		}
		/* With the byte that ended the run, if there is one. */
		run += from + run < len;
		memmove(s + to, s + from, run);
		to += run;
		from += run;
	}
	return to;
}
