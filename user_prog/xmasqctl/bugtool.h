/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XM_BUGTOOL_H
#define XM_BUGTOOL_H

#include "options.h"

/**
 * bugtool_run() - collect what a maintainer needs into one archive
 * @err: what went wrong and what to do
 *
 * Works without a daemon, too: then its answers are missing. What could not be had is listed in the
 * archive. Never in it: keys, the contents of maps and programs (the secret mark is in both), packets.
 * Return: 0, or -errno with @err.
 */
int bugtool_run(const struct options *o, char *err, size_t err_len);

#endif
