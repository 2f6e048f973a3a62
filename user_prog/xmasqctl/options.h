/* SPDX-License-Identifier: GPL-2.0-only */
/* xmasqctl's command line. */
#ifndef XM_OPTIONS_H
#define XM_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "ctl.h"
#include "show.h"

struct options {
	const char *socket;
	bool json;
	bool no_color;
	bool help;
	struct ctl_request req;
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
