// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vm-console.h"

#define KEEP (128 * 1024)

static int sock = -1, file = -1, show;
static char text[KEEP];
static size_t len, line; /* bytes kept; start of the line that is not complete */
static char panic[256], complaint[256];
static int complaints;

int console_open(const char *path, int verbose)
{
	show = verbose;
	if (!path)
		return 0;
	file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	return file < 0 ? -1 : 0;
}

void console_fd(int fd)
{
	sock = fd;
}

static void put(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);

		if (w <= 0)
			return; /* a log that cannot be written must not stop the command */
		p += w;
		n -= w;
	}
}

/* Sorts of reports; a panic is also preceded by one of them, most times. */
static void look(const char *s)
{
	static const char *const signs[] = {
		"WARNING: ", "BUG: ",	    "KASAN: ",	 "UBSAN: ",
		"Oops: ",    "INFO: task ", "INFO: rcu", "general protection fault",
		"kmemleak: "
	};

	if (strstr(s, "Kernel panic - not syncing") && !panic[0])
		snprintf(panic, sizeof(panic), "%s", s);
	for (unsigned int i = 0; i < sizeof(signs) / sizeof(signs[0]); i++) {
		if (!strstr(s, signs[i]))
			continue;
		if (!complaints++)
			snprintf(complaint, sizeof(complaint), "%s", s);
		return;
	}
}

static void take_char(char c)
{
	if (c == '\r')
		return;
	if (len == sizeof(text)) {
		size_t gone = sizeof(text) / 2;

		len -= gone;
		memmove(text, text + gone, len);
		line = line > gone ? line - gone : 0;
	}
	text[len++] = c;
	if (c != '\n')
		return;
	text[len - 1] = 0;
	look(text + line);
	text[len - 1] = '\n';
	line = len;
}

int console_take(void)
{
	char buf[4096];
	ssize_t n = recv(sock, buf, sizeof(buf), MSG_DONTWAIT);

	if (n <= 0)
		return 0;
	if (file >= 0)
		put(file, buf, n);
	if (show)
		put(STDERR_FILENO, buf, n);
	for (ssize_t i = 0; i < n; i++)
		take_char(buf[i]);
	return n;
}

void console_drain(void)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };

	while (poll(&p, 1, 0) > 0 && console_take())
		;
}

void console_tail(int fd, int lines)
{
	size_t from = len;

	if (show)
		return; /* it was seen already */
	while (from > 0 && (from == len || text[from - 1] != '\n' || lines-- > 1))
		from--;
	if (from == len) {
		put(fd, "vm.sh: (the console is empty)\n", 30);
		return;
	}
	put(fd, "vm.sh: last lines of the console:\n", 34);
	put(fd, text + from, len - from);
	if (text[len - 1] != '\n')
		put(fd, "\n", 1);
}

const char *console_panic(void)
{
	return panic[0] ? panic : NULL;
}

int console_complaints(void)
{
	return complaints;
}

const char *console_first_complaint(void)
{
	return complaint[0] ? complaint : NULL;
}

void console_say(const char *s)
{
	put(STDERR_FILENO, "vm.sh: ", 7);
	put(STDERR_FILENO, s, strlen(s));
}

void console_say_more(const char *s)
{
	put(STDERR_FILENO, s, strlen(s));
	put(STDERR_FILENO, "\n", 1);
}
