/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small web server in the daemon's own loop: libmicrohttpd without a thread of its own.
 *
 * Theory of operation. libmicrohttpd keeps its sockets in an epoll instance; its descriptor becomes
 * readable when one of them needs attention, so the main loop knows one descriptor only. Nothing is
 * read or written outside httpd_dispatch(). At most HTTPD_CLIENTS connections, each for one answer,
 * each ended after HTTPD_IDLE_S without progress and HTTPD_TOTAL_MS after it came; when the last
 * place is taken, the oldest goes, so that who only holds places keeps nobody out who asks. More wait
 * in the kernel's queue. Only GET and HEAD are answered; what a client sends beyond that is not read.
 */
#ifndef XM_HTTPD_H
#define XM_HTTPD_H

#include <stddef.h>

#define HTTPD_CLIENTS  16
#define HTTPD_IDLE_S   5
#define HTTPD_TOTAL_MS 10000

struct httpd;

/**
 * struct httpd_reply - what a handler answers
 * @status: HTTP status; 404 unless the handler says otherwise
 * @type: media type, a literal
 * @body: from malloc(), taken over by the server; NULL: the server answers 500
 * @len: bytes of @body
 */
struct httpd_reply {
	unsigned int status;
	const char *type;
	char *body;
	size_t len;
};

/** typedef httpd_handle_fn - answer a request for @path ("/metrics", without what follows "?") */
typedef void (*httpd_handle_fn)(void *arg, const char *path, struct httpd_reply *reply);

/**
 * httpd_open() - listen
 * @out: to be closed with httpd_close()
 * @listen: see listen_parse()
 *
 * Return: 0; -EINVAL when @listen is no address; -EADDRINUSE, -EADDRNOTAVAIL, ...
 */
int httpd_open(struct httpd **out, const char *listen, httpd_handle_fn handle, void *arg);

/** httpd_fd() - for the main loop's epoll: EPOLLIN means call httpd_dispatch() */
int httpd_fd(const struct httpd *h);

/** httpd_timeout_ms() - when httpd_dispatch() is due at the latest; -1: not at all */
int httpd_timeout_ms(const struct httpd *h);

/** httpd_dispatch() - do what can be done without waiting */
void httpd_dispatch(struct httpd *h);

/** httpd_close() - end all connections. NULL is fine. */
void httpd_close(struct httpd *h);

#endif
