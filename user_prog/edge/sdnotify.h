/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Telling systemd how we are: the protocol of sd_notify(3) over NOTIFY_SOCKET.
 *
 * Without NOTIFY_SOCKET every call does nothing and succeeds.
 */
#ifndef XM_SDNOTIFY_H
#define XM_SDNOTIFY_H

#include <stdint.h>

#include "xm_util.h"

/** sdnotify_ready() - started, or done with a reload. Each: 0 or -errno. */
int sdnotify_ready(void);
/** sdnotify_reloading() - a reload begins; ends with sdnotify_ready() */
int sdnotify_reloading(void);
int sdnotify_stopping(void);
/** sdnotify_watchdog() - sign of life */
int sdnotify_watchdog(void);
/** sdnotify_status() - one line for "systemctl status" */
int sdnotify_status(const char *fmt, ...) XM_PRINTF(1, 2);

/**
 * sdnotify_watchdog_us() - what systemd allows between two signs of life
 *
 * Give one in less than half of it. Return: microseconds, 0 when we are not watched.
 */
uint64_t sdnotify_watchdog_us(void);

#endif
