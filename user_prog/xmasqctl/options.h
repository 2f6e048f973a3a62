/* SPDX-License-Identifier: GPL-2.0-only */
/* xmasqctl's command line. */
#ifndef XM_OPTIONS_H
#define XM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "ctl.h"
#include "show.h"

#define OPTIONS_LOOK_MS	   1000 /* between two looks of monitor */
#define OPTIONS_LOOK_MIN   100
#define OPTIONS_LOOK_MAX   60000
#define OPTIONS_LOOK_FLOWS 4096 /* flows that it watches, unless told otherwise */

/* What xmasqctl does by itself, with what it is told by xmasqd. */
enum options_task {
	OPTIONS_ASK, /* req, and show the answer */
	OPTIONS_MONITOR,
	OPTIONS_BUGTOOL,
};

/**
 * struct options - a command line that makes sense
 * @socket: of xmasqd
 * @json: JSON instead of text
 * @no_color: never
 * @help: usage, and nothing else
 * @task: tells what of the rest is filled
 * @req: OPTIONS_ASK: the request. OPTIONS_MONITOR: req.flush is the filter if @filtered
 * @filtered: only some flows
 * @look_ms: OPTIONS_MONITOR: between two looks
 * @looks: how many, 0 without end
 * @to: OPTIONS_BUGTOOL: file, "-" for stdout, NULL for a name of its own
 * @show: how to show
 */
struct options {
	const char *socket;
	bool json;
	bool no_color;
	bool help;
	enum options_task task;
	struct ctl_request req;
	bool filtered;
	uint32_t look_ms;
	uint32_t looks;
	const char *to;
	struct show_options show;
};

/**
 * options_parse() - read the command line; options may stand before or after the command
 * @err: what is wrong and what is allowed
 *
 * Return: 0 or -EINVAL with @err.
 */
int options_parse(int argc, char **argv, struct options *o, char *err, size_t err_len);

void options_usage(FILE *out);

#endif
