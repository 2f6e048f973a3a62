/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The daemon's end of the control socket.
 *
 * Theory of operation. One epoll instance of its own holds the listening socket and at
 * most CTLSOCK_CLIENTS clients; its file descriptor becomes readable when any of them
 * needs attention, so that the main loop knows one descriptor only. A client is
 *   reading   until its newline, at most CTL_LINE_MAX bytes
 *   writing   until the reply is gone, in pieces as the client takes them
 * and is closed after the reply, on any error, when it was idle for CTLSOCK_IDLE_MS, or
 * CTLSOCK_TOTAL_MS after it came.
 * While all places are taken, new clients wait in the kernel's queue.
 */
#ifndef XM_CTLSOCK_H
#define XM_CTLSOCK_H

#include <stddef.h>

#include "ctl.h"

#define CTLSOCK_CLIENTS	 16
#define CTLSOCK_IDLE_MS	 5000
#define CTLSOCK_TOTAL_MS 30000

struct ctlsock;
struct json_object;

/**
 * typedef ctlsock_handle_fn - answer a request
 * @result: reference that the socket takes over; may stay NULL
 * @err: text for the user when failing; left empty, strerror() is sent
 *
 * Return: 0 or -errno.
 */
typedef int (*ctlsock_handle_fn)(void *arg, const struct ctl_request *req,
				 struct json_object **result, char *err, size_t err_len);

/**
 * ctlsock_open() - create the socket (mode 0660) and missing directories (0755)
 * @out: to be closed with ctlsock_close()
 * @path: absolute, fits a sockaddr_un
 *
 * The socket of a dead daemon is replaced.
 *
 * Return: 0; -EADDRINUSE when another xmasqd answers there; -EEXIST when @path is
 * no socket; -errno.
 */
int ctlsock_open(struct ctlsock **out, const char *path, ctlsock_handle_fn handle, void *arg);

/** ctlsock_fd() - for the main loop's epoll: EPOLLIN means call ctlsock_dispatch() */
int ctlsock_fd(const struct ctlsock *s);

/** ctlsock_timeout_ms() - when ctlsock_dispatch() is due at the latest; -1: not at all */
int ctlsock_timeout_ms(const struct ctlsock *s);

/** ctlsock_dispatch() - do what can be done without waiting. Return: 0 or -errno. */
int ctlsock_dispatch(struct ctlsock *s);

/** ctlsock_flush() - before an exit: until every reply is gone, @ms at most. NULL is fine. */
void ctlsock_flush(struct ctlsock *s, unsigned int ms);

/** ctlsock_close() - close all, remove socket and directory if they are ours. NULL is fine. */
void ctlsock_close(struct ctlsock *s);

#endif
