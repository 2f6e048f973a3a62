/* SPDX-License-Identifier: GPL-2.0-only */
/* xmasqctl's end of the control socket. */
#ifndef XM_CLIENT_H
#define XM_CLIENT_H

#include <stddef.h>

#include "ctl.h"

#define CLIENT_TIMEOUT_MS 5000
/* Before a node leaves it waits until its peers' leases are over, at most 12.5 s. */
#define CLIENT_CLEANUP_TIMEOUT_MS 20000

struct json_object;

/**
 * client_ask() - send a request and wait for its answer
 * @path: socket
 * @req: checked request
 * @timeout_ms: for connecting, and then for each piece of the answer
 * @result: reference for the caller
 * @err: what went wrong and what to do
 *
 * Return: 0 or -errno with @err.
 */
int client_ask(const char *path, const struct ctl_request *req, int timeout_ms,
	       struct json_object **result, char *err, size_t err_len);

#endif
