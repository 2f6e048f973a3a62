/* SPDX-License-Identifier: GPL-2.0-only */
/* /metrics, /healthz and /readyz. A web server that cannot start keeps nothing else from running. */
#ifndef XM_WEB_H
#define XM_WEB_H

#include "daemon.h"

/** web_sync() - serve where the configuration says; to be called now and then, and after a reload */
void web_sync(struct daemon *d);
/** web_timeout_ms() - see httpd_timeout_ms(); -1 without a server */
int web_timeout_ms(const struct daemon *d);
/** web_dispatch() - does nothing without a server */
void web_dispatch(struct daemon *d);
void web_close(struct daemon *d);

#endif
