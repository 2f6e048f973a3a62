// SPDX-License-Identifier: GPL-2.0-only
#include "portuse.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

static bool taken(uint16_t port, int type)
{
	const struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;
	bool yes;

	if (fd < 0)
		return false;
	/* Of TCP, what is left of a connection that is closed is nobody's. */
	if (type == SOCK_STREAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	yes = bind(fd, (const struct sockaddr *)&any, sizeof(any)) && errno == EADDRINUSE;
	close(fd);
	return yes;
}

const char *portuse_find(uint16_t port)
{
	if (taken(port, SOCK_STREAM))
		return "TCP";
	return taken(port, SOCK_DGRAM) ? "UDP" : NULL;
}
