// SPDX-License-Identifier: GPL-2.0-only
#include "httpd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "listen.h"
#include "log.h"

/* A request of ours has one line and a few headers. */
#define CLIENT_MEMORY 16384

struct client {
	int fd; /* -1: free place */
	uint64_t end_ms;
};

struct httpd {
	struct MHD_Daemon *mhd;
	int epoll_fd;
	struct client clients[HTTPD_CLIENTS];
	httpd_handle_fn handle;
	void *arg;
};

static void on_log(void *arg, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

static void on_log(void *arg, const char *fmt, va_list ap)
{
	char text[256];

	(void)arg;
	if (!log_on(CONFIG_LOG_DEBUG))
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	log_debug("web server: %s", text);
}

/* libmicrohttpd ends only connections that are idle; one that sends a byte now and then would hold
 * its place for ever. */
static void on_connection(void *arg, struct MHD_Connection *c, void **socket_context,
			  enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *info;
	struct httpd *h = arg;
	struct client *place = *socket_context, *oldest = NULL;
	unsigned int taken = 0;

	if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (place)
			place->fd = -1;
		return;
	}
	info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (!info)
		return;
	for (size_t i = 0; i < HTTPD_CLIENTS; i++) {
		struct client *x = &h->clients[i];

		if (x->fd < 0)
			place = place ?: x;
		else if (!oldest || x->end_ms < oldest->end_ms)
			oldest = x;
		taken += x->fd >= 0;
	}
	if (!place)
		return;
	place->fd = info->connect_fd;
	place->end_ms = clock_ms() + HTTPD_TOTAL_MS;
	*socket_context = place;
	/* One place stays free: who only holds places keeps nobody out. */
	if (taken == HTTPD_CLIENTS - 1)
		oldest->end_ms = 0;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned int status, const char *type,
			      char *body, size_t len)
{
	struct MHD_Response *r;
	enum MHD_Result ret;

	r = MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE);
	if (!r) {
		free(body);
		return MHD_NO;
	}
	/* One answer each: a place is free again at once. */
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	ret = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return ret;
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned int status, const char *text)
{
	char *copy = strdup(text);

	return copy ? answer(c, status, "text/plain; charset=utf-8", copy, strlen(copy)) : MHD_NO;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path,
				  const char *method, const char *version, const char *data,
				  size_t *len, void **request)
{
	struct httpd_reply reply = { .status = MHD_HTTP_NOT_FOUND,
				     .type = "text/plain; charset=utf-8" };
	struct httpd *h = arg;

	(void)version;
	(void)data;
	(void)len;
	(void)request;
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	h->handle(h->arg, path, &reply);
	if (!reply.body)
		return answer_text(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "xmasqd is out of memory\n");
	return answer(c, reply.status, reply.type, reply.body, reply.len);
}

static int listen_on(const char *where)
{
	struct listen_addr a;
	int fd, err, on = 1;

	if (listen_parse(where, strlen(where), &a))
		return -EINVAL;
	fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* A restart must not wait for what its connections left. */
	if (!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) &&
	    (a.sa.sa_family != AF_INET6 ||
	     !setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on))) &&
	    !bind(fd, &a.sa, a.len) && !listen(fd, HTTPD_CLIENTS))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int httpd_open(struct httpd **out, const char *listen, httpd_handle_fn handle, void *arg)
{
	const union MHD_DaemonInfo *info;
	struct httpd *h;
	int fd;

	*out = NULL;
	fd = listen_on(listen);
	if (fd < 0)
		return fd;
	h = calloc(1, sizeof(*h));
	if (!h) {
		close(fd);
		return -ENOMEM;
	}
	h->handle = handle;
	h->arg = arg;
	for (size_t i = 0; i < HTTPD_CLIENTS; i++)
		h->clients[i].fd = -1;
	/* The logger first: it is used for what is wrong with the others. */
	h->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
				  MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
				  MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
				  (unsigned int)HTTPD_CLIENTS, MHD_OPTION_CONNECTION_TIMEOUT,
				  (unsigned int)HTTPD_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				  (size_t)CLIENT_MEMORY, MHD_OPTION_NOTIFY_CONNECTION,
				  on_connection, h, MHD_OPTION_STRICT_FOR_CLIENT, 1,
				  MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
	info = h->mhd ? MHD_get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		/* Some failures close the socket, some do not; we have one thread only. */
		if (h->mhd)
			MHD_stop_daemon(h->mhd);
		else if (fcntl(fd, F_GETFD) >= 0)
			close(fd);
		free(h);
		return -ENOMEM;
	}
	h->epoll_fd = info->epoll_fd;
	*out = h;
	return 0;
}

int httpd_fd(const struct httpd *h)
{
	return h->epoll_fd;
}

int httpd_timeout_ms(const struct httpd *h)
{
	uint64_t now = clock_ms(), ms = UINT64_MAX;
	MHD_UNSIGNED_LONG_LONG theirs;

	if (MHD_get_timeout(h->mhd, &theirs) == MHD_YES)
		ms = theirs;
	for (size_t i = 0; i < HTTPD_CLIENTS; i++) {
		const struct client *c = &h->clients[i];
		uint64_t left = c->end_ms > now ? c->end_ms - now : 0;

		if (c->fd >= 0 && left < ms)
			ms = left;
	}
	return ms == UINT64_MAX ? -1 : ms > INT_MAX ? INT_MAX : (int)ms;
}

void httpd_dispatch(struct httpd *h)
{
	uint64_t now = clock_ms();

	for (size_t i = 0; i < HTTPD_CLIENTS; i++) {
		struct client *c = &h->clients[i];

		/* The library sees the end of its input, and closes. */
		if (c->fd >= 0 && now >= c->end_ms) {
			shutdown(c->fd, SHUT_RDWR);
			c->end_ms = now + HTTPD_TOTAL_MS;
		}
	}
	MHD_run(h->mhd);
}

void httpd_close(struct httpd *h)
{
	if (!h)
		return;
	MHD_stop_daemon(h->mhd);
	free(h);
}
