// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"

#define READ_CHUNK (64u << 10)
#define REPLY_MAX  (256u << 20) /* far beyond CTL_FLOWS_MAX flows */

static int connect_to(const char *path, int timeout_ms, char *err, size_t err_len)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	/* A full queue makes connect() wait as long as a send may take. */
	struct timeval tv = { timeout_ms / 1000, timeout_ms % 1000 * 1000 };
	int fd, ret;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		snprintf(err, err_len, "%s: too long for a socket, at most %zu bytes", path,
			 sizeof(sa.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		ret = -errno;
		snprintf(err, err_len, "socket: %s", strerror(-ret));
		return ret;
	}
	if (!setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) &&
	    !connect(fd, (void *)&sa, sizeof(sa)))
		return fd;
	ret = -errno;
	close(fd);
	if (ret == -EACCES || ret == -EPERM)
		snprintf(err, err_len, "%s: %s; run xmasqctl as root", path, strerror(-ret));
	else if (ret == -EAGAIN)
		snprintf(err, err_len, "%s: xmasqd does not answer; see journalctl -u xmasqd",
			 path);
	else
		snprintf(err, err_len, "%s: %s; is xmasqd running? systemctl status xmasqd", path,
			 strerror(-ret));
	return ret;
}

static int send_all(int fd, const char *s, size_t len)
{
	ssize_t n;

	while (len) {
		n = send(fd, s, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		s += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Until the daemon closes. */
static int read_all(int fd, int timeout_ms, char **out, size_t *out_len)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t size = 0, len = 0;
	char *buf = NULL, *grown;
	ssize_t n;
	int ret;

	for (;;) {
		if (size - len < READ_CHUNK) {
			size += size + READ_CHUNK;
			grown = size <= REPLY_MAX ? realloc(buf, size) : NULL;
			if (!grown) {
				ret = -ENOMEM;
				break;
			}
			buf = grown;
		}
		ret = poll(&p, 1, timeout_ms);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0) {
			ret = ret ? -errno : -ETIMEDOUT;
			break;
		}
		n = recv(fd, buf + len, size - len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ret = -errno;
			break;
		}
		if (!n) {
			*out = buf;
			*out_len = len;
			return 0;
		}
		len += (size_t)n;
	}
	free(buf);
	return ret;
}

int client_ask(const char *path, const struct ctl_request *req, int timeout_ms,
	       struct json_object **result, char *err, size_t err_len)
{
	char *line, *reply = NULL;
	size_t len = 0;
	int fd, ret;

	*result = NULL;
	fd = connect_to(path, timeout_ms, err, err_len);
	if (fd < 0)
		return fd;
	line = ctl_request_line(req);
	ret = line ? send_all(fd, line, strlen(line)) : -ENOMEM;
	if (!ret)
		ret = read_all(fd, timeout_ms, &reply, &len);
	if (ret == -ETIMEDOUT)
		snprintf(err, err_len, "%s: no answer within %d s; see journalctl -u xmasqd", path,
			 timeout_ms / 1000);
	else if (ret)
		snprintf(err, err_len, "%s: %s", path, strerror(-ret));
	else
		ret = ctl_parse_reply(reply, len, result, err, err_len);
	free(reply);
	free(line);
	close(fd);
	return ret;
}
