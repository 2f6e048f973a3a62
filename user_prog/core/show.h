/* SPDX-License-Identifier: GPL-2.0-only */
/* Results of the control protocol as people read them: the ctl side of view.h. */
#ifndef XM_SHOW_H
#define XM_SHOW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "ctl.h"

struct json_object;

/**
 * struct show_options
 * @color: use escape sequences
 * @all: counters: zeros too
 * @active: flows: only those on the fast path
 * @limit: flows: at most so many, 0 no limit
 */
struct show_options {
	bool color;
	bool all;
	bool active;
	uint32_t limit;
};

/**
 * show() - write the result of @command as text
 * @result: what the daemon answered; whatever is missing or of another type in it shows as
 *          nothing, so that xmasqctl copes with an older or newer daemon
 * @out: stream of the caller's
 *
 * The same result gives the same text: rows are sorted.
 *
 * Return: 0 or -ENOMEM.
 */
int show(enum ctl_command command, struct json_object *result, const struct show_options *o,
	 FILE *out);

/** show_status() - the dashboard, show()'s part in show_status.c */
int show_status(struct json_object *s, const struct show_options *o, FILE *out);

#endif
