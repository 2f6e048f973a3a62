/* SPDX-License-Identifier: GPL-2.0-only */
/* Where a server listens, as people write it: 127.0.0.1:9477, [::1]:9477. Pure. */
#ifndef XM_LISTEN_H
#define XM_LISTEN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

/* "[", 45 bytes of an IPv6 address, "]:65535" and the NUL. */
#define LISTEN_MAX 56

struct listen_addr {
	union {
		struct sockaddr sa;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len;
};

/**
 * listen_parse() - IPv4 address and port, or an IPv6 address in brackets and port
 * @text: @len bytes, need not end with NUL
 *
 * No names, no scopes, no port 0. Return: 0 or -EINVAL.
 */
int listen_parse(const char *text, size_t len, struct listen_addr *out);

/** listen_is_loopback() - whether only this machine can reach it */
bool listen_is_loopback(const struct listen_addr *a);

#endif
