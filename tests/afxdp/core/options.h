/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line of xsk-router. No system calls. */
#ifndef AFXDP_OPTIONS_H
#define AFXDP_OPTIONS_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "router.h"

enum options_mode {
	OPTIONS_AUTO,
	OPTIONS_NATIVE,
	OPTIONS_SKB,
	OPTIONS_ZEROCOPY
};

enum options_choice {
	CHOICE_AUTO,
	CHOICE_YES,
	CHOICE_NO
};

struct options {
	const char *interface;
	__be32 server, addr; /* addr 0: the interface's */
	__be32 clients[ROUTER_CLIENTS];
	uint32_t nclients;
	enum options_mode mode;
	enum options_choice huge, offload;
	bool need_wakeup, realtime, drop_fragments, drop_others, json, verbose, help, version;
	uint32_t ring, batch, flows;
	uint32_t busy_poll_us, busy_budget, spin_us;
	uint32_t interval_s, duration_s;
	const char *summary;
};

/**
 * options_parse() - @argv as main() has it; strings are not copied
 * @error: what is wrong and what would be right
 *
 * Return: 0 or -EINVAL.
 */
int options_parse(struct options *o, int argc, char **argv, char *error, size_t size);

/** options_help() - the text of --help */
const char *options_help(void);

const char *options_mode_name(enum options_mode mode);

#endif
