// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "listen.h"
#include "text.h"

static int parse_port(const char *s, size_t len, in_port_t *port)
{
	unsigned int v = 0;

	if (!len || len > 5 || s[0] == '0')
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		v = v * 10 + (unsigned int)(s[i] - '0');
	}
	if (v > 65535)
		return -EINVAL;
	*port = htons((uint16_t)v);
	return 0;
}

int listen_parse(const char *text, size_t len, struct listen_addr *out)
{
	char addr[INET6_ADDRSTRLEN];
	const char *colon;
	size_t n;

	memset(out, 0, sizeof(*out));
	colon = len ? memrchr(text, ':', len) : NULL;
	if (!colon)
		return -EINVAL;
	n = (size_t)(colon - text);
	if (text[0] != '[') {
		out->in.sin_family = AF_INET;
		out->len = sizeof(out->in);
		if (text_parse_addr(text, n, &out->in.sin_addr.s_addr))
			return -EINVAL;
		return parse_port(colon + 1, len - n - 1, &out->in.sin_port);
	}
	if (n < 3 || text[n - 1] != ']' || n - 2 >= sizeof(addr))
		return -EINVAL;
	memcpy(addr, text + 1, n - 2);
	addr[n - 2] = '\0';
	out->in6.sin6_family = AF_INET6;
	out->len = sizeof(out->in6);
	if (strlen(addr) != n - 2 || inet_pton(AF_INET6, addr, &out->in6.sin6_addr) != 1)
		return -EINVAL;
	return parse_port(colon + 1, len - n - 1, &out->in6.sin6_port);
}

bool listen_is_loopback(const struct listen_addr *a)
{
	if (a->sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr);
	return ntohl(a->in.sin_addr.s_addr) >> 24 == 127;
}
