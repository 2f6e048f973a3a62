/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef XM_MONITOR_RUN_H
#define XM_MONITOR_RUN_H

#include "options.h"

/**
 * monitor_run() - look and tell until the count is over, stdout breaks or a signal comes
 * @err: what went wrong and what to do
 *
 * A daemon that goes away while it is watched is waited for. Return: 0, or -errno with @err.
 */
int monitor_run(const struct options *o, char *err, size_t err_len);

#endif
