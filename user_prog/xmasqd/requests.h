/* SPDX-License-Identifier: GPL-2.0-only */
/* What requests.c leaves to requests_view.c. */
#ifndef XM_REQUESTS_H
#define XM_REQUESTS_H

#include "daemon.h"

/* Return: 0 with a new reference in @result, or -errno. */
int requests_status(struct daemon *d, struct json_object **result);
int requests_pods(struct daemon *d, const struct ctl_request *req, struct json_object **result);
int requests_flows(struct daemon *d, const struct ctl_request *req, struct json_object **result);
int requests_peers(struct daemon *d, struct json_object **result);
/* requests_policy.c */
int requests_policy(struct daemon *d, const struct ctl_request *req, struct json_object **result,
		    char *why, size_t why_len);
/* requests_trace.c */
int requests_trace(struct daemon *d, const struct ctl_request *req, struct json_object **result);

#endif
