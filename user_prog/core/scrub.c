// SPDX-License-Identifier: GPL-2.0-only
#include <stdbool.h>
#include <string.h>

#include "scrub.h"

static const char instead[] = "[removed]";

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

size_t scrub(char *s, size_t len)
{
	size_t from = 0, to = 0, run;

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
