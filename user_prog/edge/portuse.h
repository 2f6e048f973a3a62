/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether a program of the node has the masquerade port for itself. */
#ifndef XM_PORTUSE_H
#define XM_PORTUSE_H

#include <stdint.h>

/**
 * portuse_find() - a socket of this network namespace that is bound to @port
 *
 * Tries to bind to it, for a moment. ip_local_reserved_ports keeps the kernel from choosing a port,
 * and nobody from asking for it.
 *
 * Return: "TCP", "UDP", or NULL when there is none, or when it cannot be told.
 */
const char *portuse_find(uint16_t port);

#endif
