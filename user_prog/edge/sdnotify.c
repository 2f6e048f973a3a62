// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "sdnotify.h"

static int notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n, len = strlen(state);
	int fd, err = 0;
	ssize_t sent;

	if (!path || !*path)
		return 0;
	n = strlen(path);
	/* A path, or with "@" an abstract name, which has no NUL at its end. */
	if ((path[0] != '/' && path[0] != '@') || n >= sizeof(sa.sun_path))
		return -EAFNOSUPPORT;
	memcpy(sa.sun_path, path, n);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';

	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* Not to hang on a manager that does not read: a lost message costs little. */
	do {
		sent = sendto(
			fd, state, len, MSG_NOSIGNAL | MSG_DONTWAIT, (void *)&sa,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] == '/')));
	} while (sent < 0 && errno == EINTR);
	if (sent != (ssize_t)len)
		err = sent < 0 ? -errno : -EMSGSIZE;
	close(fd);
	return err;
}

int sdnotify_ready(void)
{
	return notify("READY=1");
}

int sdnotify_reloading(void)
{
	char state[64];

	/* Type=notify-reload wants to know that this is a new reload. */
	snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%llu",
		 (unsigned long long)clock_us());
	return notify(state);
}

int sdnotify_stopping(void)
{
	return notify("STOPPING=1");
}

int sdnotify_watchdog(void)
{
	return notify("WATCHDOG=1");
}

int sdnotify_status(const char *fmt, ...)
{
	char state[512] = "STATUS=";
	size_t head = strlen(state);
	va_list ap;
	char *p;

	va_start(ap, fmt);
	vsnprintf(state + head, sizeof(state) - head, fmt, ap);
	va_end(ap);
	/* A newline would begin another assignment. */
	for (p = state; *p; p++)
		if (*p == '\n')
			*p = ' ';
	return notify(state);
}

static uint64_t env_number(const char *name)
{
	const char *s = getenv(name);
	unsigned long long v;
	char *end;

	if (!s || *s < '0' || *s > '9')
		return 0;
	errno = 0;
	v = strtoull(s, &end, 10);
	return errno || *end ? 0 : v;
}

uint64_t sdnotify_watchdog_us(void)
{
	/* Inherited by children, for whom it is not meant. */
	if (getenv("WATCHDOG_PID") && env_number("WATCHDOG_PID") != (uint64_t)getpid())
		return 0;
	return env_number("WATCHDOG_USEC");
}
