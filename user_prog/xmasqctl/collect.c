// SPDX-License-Identifier: GPL-2.0-only
#include "collect.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "listen.h"

#define CHUNK	    65536
#define PATH_ADMIN  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define NOT_STARTED 127 /* as a shell's */

struct text {
	char *s;
	size_t len, size;
};

static bool add(struct text *t, const char *s, size_t len)
{
	if (!t->s || t->size - t->len <= len) {
		size_t size = t->len + len + CHUNK;
		char *grown = realloc(t->s, size);

		if (!grown)
			return false;
		t->s = grown;
		t->size = size;
	}
	memcpy(t->s + t->len, s, len);
	t->len += len;
	t->s[t->len] = '\0';
	return true;
}

static bool say(struct text *t, const char *s)
{
	return add(t, s, strlen(s));
}

/* Return: 0 at its end, -ETIMEDOUT or -EFBIG with what came before, -errno. */
static int read_until(int fd, struct text *t, uint64_t end_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[CHUNK];
	uint64_t now;
	ssize_t n;

	for (;;) {
		now = clock_ms();
		if (now >= end_ms || !poll(&p, 1, (int)(end_ms - now)))
			return -ETIMEDOUT;
		n = read(fd, buf, sizeof(buf));
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return n ? -errno : 0;
		if (t->len + (size_t)n > COLLECT_MAX)
			n = (ssize_t)(COLLECT_MAX - t->len);
		if (!add(t, buf, (size_t)n))
			return -ENOMEM;
		if (t->len >= COLLECT_MAX)
			return -EFBIG;
	}
}

static int give(struct text *t, int err, char **out, size_t *len)
{
	if (err == -ETIMEDOUT && !say(t, "\n# cut off: it took too long\n"))
		err = -ENOMEM;
	if (err == -EFBIG && !say(t, "\n# cut off: too long\n"))
		err = -ENOMEM;
	if (err && err != -ETIMEDOUT && err != -EFBIG) {
		free(t->s);
		return err;
	}
	*out = t->s;
	*len = t->len;
	return 0;
}

/*
 * PATH's absolute directories, as many as fit, and then administrators': an empty PATH, or an empty
 * part of it, is the current directory, which may be anybody's, and this is most often run by root.
 */
static void search_path(char *buf, size_t size)
{
	const char *p = getenv("PATH");
	size_t at = 0, n;

	for (; p && *p; p += n + (p[n] == ':')) {
		n = strcspn(p, ":");
		if (*p != '/' || at + n + 1 + sizeof(PATH_ADMIN) > size)
			continue;
		memcpy(buf + at, p, n);
		at += n;
		buf[at++] = ':';
	}
	memcpy(buf + at, PATH_ADMIN, sizeof(PATH_ADMIN));
}

static void child(const char *const *argv, int out)
{
	int null = open("/dev/null", O_RDONLY);
	char path[4096];

	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	search_path(path, sizeof(path));
	setenv("PATH", path, 1);
	setenv("LC_ALL", "C", 1);
	if (argv[0])
		execvp(argv[0], (char *const *)(uintptr_t)argv);
	_exit(NOT_STARTED);
}

int collect_command(const char *const *argv, char **out, size_t *len)
{
	struct text t = {};
	char tail[64];
	int fds[2], err, status = 0;
	pid_t pid;

	for (const char *const *a = argv; *a; a++)
		if (!say(&t, a == argv ? "$ " : " ") || !say(&t, *a))
			goto no_memory;
	if (!say(&t, "\n"))
		goto no_memory;
	if (pipe2(fds, O_CLOEXEC)) {
		free(t.s);
		return -errno;
	}
	pid = fork();
	if (!pid)
		child(argv, fds[1]);
	close(fds[1]);
	err = pid < 0 ? -errno : read_until(fds[0], &t, clock_ms() + COLLECT_TIMEOUT_MS);
	close(fds[0]);
	if (pid > 0) {
		if (err)
			kill(pid, SIGKILL);
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	if (!err && WIFEXITED(status) && WEXITSTATUS(status) == NOT_STARTED)
		err = -ENOENT;
	if (!err && status) {
		snprintf(tail, sizeof(tail), "# exit status %d\n",
			 WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
		if (!say(&t, tail))
			err = -ENOMEM;
	}
	return give(&t, err, out, len);
no_memory:
	free(t.s);
	return -ENOMEM;
}

int collect_file(const char *path, char **out, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err;
	struct text t = {};

	if (fd < 0)
		return -errno;
	err = say(&t, "") ? read_until(fd, &t, clock_ms() + COLLECT_TIMEOUT_MS) : -ENOMEM;
	close(fd);
	return give(&t, err, out, len);
}

int collect_web(const char *listen, const char *path, char **out, size_t *len)
{
	struct timeval tv = { COLLECT_TIMEOUT_MS / 1000, 0 };
	struct text t = {};
	struct listen_addr a;
	char request[128];
	const char *body;
	int fd, err, n;

	if (listen_parse(listen, strlen(listen), &a))
		return -EINVAL;
	n = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", path);
	fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) || connect(fd, &a.sa, a.len) ||
	    send(fd, request, (size_t)n, MSG_NOSIGNAL) != n)
		err = errno ? -errno : -EIO;
	else
		err = say(&t, "") ? read_until(fd, &t, clock_ms() + COLLECT_TIMEOUT_MS) : -ENOMEM;
	close(fd);
	body = t.s ? strstr(t.s, "\r\n\r\n") : NULL;
	if (!err && !body)
		err = -EPROTO;
	if (!err) {
		body += 4;
		t.len -= (size_t)(body - t.s);
		memmove(t.s, body, t.len + 1);
	}
	return give(&t, err, out, len);
}
