// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "ctlsock.h"
#include "ctlsock_listen.h"

#define READ_CHUNK  4096
#define RETRY_MS    1000
#define WRITE_CHUNK (256u << 10) /* of one client per dispatch, for fairness */

struct client {
	int fd; /* -1: free place */
	uint64_t deadline_ms;
	uint64_t end_ms; /* no deadline is later */
	char *in;	 /* NULL once the request is complete */
	size_t in_len, in_size;
	char *out;
	size_t out_len, out_at;
};

struct ctlsock {
	struct ctlsock_listen listen;
	int epfd;
	bool accepting;
	uint64_t retry_ms; /* accept again then; 0: no such plan */
	unsigned int n_clients;
	struct client clients[CTLSOCK_CLIENTS];
	ctlsock_handle_fn handle;
	void *arg;
};

static void not_idle(struct client *c)
{
	uint64_t at = clock_ms() + CTLSOCK_IDLE_MS;

	c->deadline_ms = at < c->end_ms ? at : c->end_ms;
}

/* What epoll tells: a client, or NULL for the listening socket. */
static int watch(const struct ctlsock *s, int op, int fd, uint32_t events, void *who)
{
	struct epoll_event ev = { .events = events, .data.ptr = who };

	return epoll_ctl(s->epfd, op, fd, &ev) ? -errno : 0;
}

static void set_accepting(struct ctlsock *s, bool on)
{
	if (s->accepting != on && !watch(s, EPOLL_CTL_MOD, s->listen.fd, on ? EPOLLIN : 0, NULL))
		s->accepting = on;
}

static void drop(struct ctlsock *s, struct client *c)
{
	close(c->fd); /* also leaves the epoll set */
	free(c->in);
	free(c->out);
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	s->n_clients--;
	set_accepting(s, true);
}

static void accept_clients(struct ctlsock *s)
{
	struct client *c;
	int fd;

	while (s->n_clients < CTLSOCK_CLIENTS) {
		fd = accept4(s->listen.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno == EAGAIN)
				return;
			/* EMFILE and the like: epoll would report the waiting client without end. */
			s->retry_ms = clock_ms() + RETRY_MS;
			break;
		}
		for (c = s->clients; c->fd >= 0; c++)
			;
		if (watch(s, EPOLL_CTL_ADD, fd, EPOLLIN, c)) {
			close(fd);
			return;
		}
		c->fd = fd;
		c->end_ms = clock_ms() + CTLSOCK_TOTAL_MS;
		not_idle(c);
		s->n_clients++;
	}
	/* The rest waits in the backlog; without this epoll would report it all the time. */
	set_accepting(s, false);
}

/* Return: 0 when the reply is in c->out, -errno when the client must go. */
static int answer(struct ctlsock *s, struct client *c, size_t line_len)
{
	struct json_object *result = NULL;
	struct ctl_request req;
	char err[512] = "";
	int ret;

	ret = ctl_parse_request(c->in, line_len, &req, err, sizeof(err));
	if (!ret)
		ret = s->handle(s->arg, &req, &result, err, sizeof(err));
	free(c->in);
	c->in = NULL;
	if (ret) {
		json_object_put(result);
		c->out = ctl_reply_error(*err ? err : strerror(-ret), &c->out_len);
	} else {
		c->out = ctl_reply_ok(result, &c->out_len);
		if (!c->out)
			c->out = ctl_reply_error("xmasqd is out of memory", &c->out_len);
	}
	if (!c->out)
		return -ENOMEM;
	return watch(s, EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
}

static int write_some(struct client *c)
{
	size_t n = c->out_len - c->out_at;
	ssize_t sent;

	if (n > WRITE_CHUNK)
		n = WRITE_CHUNK;
	sent = send(c->fd, c->out + c->out_at, n, MSG_NOSIGNAL);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->out_at += (size_t)sent;
	not_idle(c);
	return c->out_at == c->out_len ? -EPIPE : 0; /* done: the daemon closes */
}

/* Only a whole line pushes the idle limit back: a trickle of bytes must not hold a place. */
static int read_some(struct ctlsock *s, struct client *c)
{
	char *nl, *grown;
	ssize_t got;

	if (c->in_size - c->in_len < READ_CHUNK) {
		grown = realloc(c->in, c->in_size + READ_CHUNK);
		if (!grown)
			return -ENOMEM;
		c->in = grown;
		c->in_size += READ_CHUNK;
	}
	got = recv(c->fd, c->in + c->in_len, c->in_size - c->in_len, 0);
	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (!got && !c->in_len)
		return -EPIPE; /* only looked whether somebody is here */
	nl = memchr(c->in + c->in_len, '\n', (size_t)got);
	c->in_len += (size_t)got;
	if (nl)
		return answer(s, c, (size_t)(nl - c->in) + 1);
	/* Without a newline: the whole of what was sent before the end, or too much. */
	if (!got || c->in_len > CTL_LINE_MAX)
		return answer(s, c, c->in_len);
	return 0;
}

static void serve(struct ctlsock *s, struct client *c, uint32_t events)
{
	int err = 0;

	if (c->out) {
		err = events & (EPOLLERR | EPOLLHUP) ? -EPIPE : write_some(c);
	} else {
		err = read_some(s, c);
		if (!err && c->out) {
			not_idle(c);
			err = write_some(c);
		}
	}
	if (err)
		drop(s, c);
}

static void drop_idle(struct ctlsock *s)
{
	uint64_t now = clock_ms();
	unsigned int i;

	for (i = 0; i < CTLSOCK_CLIENTS; i++)
		if (s->clients[i].fd >= 0 && now >= s->clients[i].deadline_ms)
			drop(s, &s->clients[i]);
	if (s->retry_ms && now >= s->retry_ms) {
		s->retry_ms = 0;
		set_accepting(s, true);
	}
}

int ctlsock_dispatch(struct ctlsock *s)
{
	struct epoll_event ev[CTLSOCK_CLIENTS + 1];
	int i, n;

	n = epoll_wait(s->epfd, ev, CTLSOCK_CLIENTS + 1, 0);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	/* Each client once, and new ones last: none of these pointers is reused meanwhile. */
	for (i = 0; i < n; i++)
		if (ev[i].data.ptr)
			serve(s, ev[i].data.ptr, ev[i].events);
	for (i = 0; i < n; i++)
		if (!ev[i].data.ptr)
			accept_clients(s);
	drop_idle(s);
	return 0;
}

int ctlsock_fd(const struct ctlsock *s)
{
	return s->epfd;
}

int ctlsock_timeout_ms(const struct ctlsock *s)
{
	uint64_t now = clock_ms(), first = s->retry_ms ? s->retry_ms : UINT64_MAX;
	unsigned int i;

	for (i = 0; i < CTLSOCK_CLIENTS; i++)
		if (s->clients[i].fd >= 0 && s->clients[i].deadline_ms < first)
			first = s->clients[i].deadline_ms;
	if (first == UINT64_MAX)
		return -1;
	return first <= now ? 0 : (int)(first - now);
}

static bool replies_left(const struct ctlsock *s)
{
	unsigned int i;

	for (i = 0; i < CTLSOCK_CLIENTS; i++)
		if (s->clients[i].fd >= 0 && s->clients[i].out)
			return true;
	return false;
}

/* Writes only: a request that comes now would be answered by a daemon that is half gone. */
void ctlsock_flush(struct ctlsock *s, unsigned int ms)
{
	uint64_t end = clock_ms() + ms, now;
	struct epoll_event ev[CTLSOCK_CLIENTS];
	unsigned int i;
	int n, k;

	if (!s)
		return;
	set_accepting(s, false);
	for (i = 0; i < CTLSOCK_CLIENTS; i++)
		if (s->clients[i].fd >= 0 && !s->clients[i].out)
			drop(s, &s->clients[i]);
	set_accepting(s, false);
	while (replies_left(s)) {
		now = clock_ms();
		if (now >= end)
			return;
		n = epoll_wait(s->epfd, ev, CTLSOCK_CLIENTS, (int)(end - now));
		if (n < 0 && errno != EINTR)
			return;
		for (k = 0; k < n; k++)
			if (ev[k].data.ptr)
				serve(s, ev[k].data.ptr, ev[k].events);
		set_accepting(s, false);
	}
}

int ctlsock_open(struct ctlsock **out, const char *path, ctlsock_handle_fn handle, void *arg)
{
	struct ctlsock *s = calloc(1, sizeof(*s));
	unsigned int i;
	int err;

	*out = NULL;
	if (!s)
		return -ENOMEM;
	s->handle = handle;
	s->arg = arg;
	for (i = 0; i < CTLSOCK_CLIENTS; i++)
		s->clients[i].fd = -1;
	s->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (s->epfd < 0) {
		err = -errno;
		free(s);
		return err;
	}
	err = ctlsock_listen_open(&s->listen, path);
	if (err) {
		close(s->epfd);
		free(s);
		return err;
	}
	err = watch(s, EPOLL_CTL_ADD, s->listen.fd, EPOLLIN, NULL);
	if (err) {
		ctlsock_close(s);
		return err;
	}
	s->accepting = true;
	*out = s;
	return 0;
}

void ctlsock_close(struct ctlsock *s)
{
	unsigned int i;

	if (!s)
		return;
	for (i = 0; i < CTLSOCK_CLIENTS; i++)
		if (s->clients[i].fd >= 0)
			drop(s, &s->clients[i]);
	ctlsock_listen_close(&s->listen);
	close(s->epfd);
	free(s);
}
