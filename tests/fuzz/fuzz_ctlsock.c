// SPDX-License-Identifier: GPL-2.0-only
/*
 * The daemon's end of the control socket among clients that do what they like: bytes in pieces of any
 * size, no newline, far too much, half a close, no appetite for the answer, many at once. The sockets and
 * the clock are simulated, so that an input always does the same, and a minute costs nothing.
 *
 * Input: steps of one byte (what to do; its upper half mostly chooses a client) and what they need.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "ctlsock_listen.h"
#include "fuzz.h"

#define CONNS	  40
#define LISTEN_FD 7
#define EPOLL_FD  8
#define FIRST_FD  100

/* One end is the daemon's, whose descriptor is FIRST_FD + its index; the other is a client's. */
struct conn {
	bool there, accepted, closed; /* closed: by the daemon */
	bool no_more, gone;	      /* the client: sends no more; is gone */
	uint32_t events;	      /* epoll's interest, 0 not in the set */
	void *data;
	char *in; /* sent, not read by the daemon yet */
	size_t in_len, in_at;
	size_t appetite; /* octets that the client would take now */
	size_t got;	 /* octets of the answer */
	unsigned int newlines;
	char last;
	uint64_t since_ms; /* accepted */
};

static struct conn conns[CONNS];
static uint64_t time_ms;
static uint32_t listen_events;
static bool listening, flushed;
static int fail_next; /* errno of the next accept4(), recv() or send(); 0 none */
static unsigned int n_asked, n_accepted;
static size_t answer_len;

static int failed(void)
{
	int err = fail_next;

	fail_next = 0;
	errno = err;
	return err;
}

static struct conn *conn_of(int fd)
{
	MUST(fd >= FIRST_FD && fd < FIRST_FD + CONNS);
	MUST(conns[fd - FIRST_FD].accepted && !conns[fd - FIRST_FD].closed);
	return &conns[fd - FIRST_FD];
}

static uint64_t sim_ms(void)
{
	return time_ms;
}

static int sim_accept(int fd)
{
	MUST(fd == LISTEN_FD && listening);
	if (failed())
		return -1;
	for (int i = 0; i < CONNS; i++) {
		if (!conns[i].there || conns[i].accepted)
			continue;
		conns[i].accepted = true;
		conns[i].since_ms = time_ms;
		n_accepted++;
		return FIRST_FD + i;
	}
	errno = EAGAIN;
	return -1;
}

static ssize_t sim_recv(int fd, char *buf, size_t len)
{
	struct conn *c = conn_of(fd);

	MUST(len);
	if (failed())
		return -1;
	if (!c->in_len) {
		if (c->no_more || c->gone)
			return 0;
		errno = EAGAIN;
		return -1;
	}
	if (len > c->in_len)
		len = c->in_len;
	memcpy(buf, c->in + c->in_at, len);
	c->in_at += len;
	c->in_len -= len;
	return (ssize_t)len;
}

static ssize_t sim_send(int fd, const char *buf, size_t len, int flags)
{
	struct conn *c = conn_of(fd);

	MUST(flags & MSG_NOSIGNAL);
	MUST(len);
	if (failed())
		return -1;
	errno = c->gone ? EPIPE : EAGAIN;
	if (c->gone || !c->appetite)
		return -1;
	if (len > c->appetite)
		len = c->appetite;
	/* One line: nothing comes behind its newline. */
	for (size_t i = 0; i < len; i++) {
		MUST(!c->newlines);
		c->newlines += buf[i] == '\n';
	}
	c->last = buf[len - 1];
	c->got += len;
	c->appetite -= len;
	return (ssize_t)len;
}

static int sim_close(int fd)
{
	if (fd == LISTEN_FD || fd == EPOLL_FD)
		return 0;
	conn_of(fd)->closed = true;
	conns[fd - FIRST_FD].events = 0;
	n_accepted--;
	return 0;
}

static int sim_epoll_ctl(int op, int fd, const struct epoll_event *ev)
{
	struct conn *c;

	if (fd == LISTEN_FD) {
		listen_events = ev->events;
		return 0;
	}
	c = conn_of(fd);
	MUST(ev->events && ev->data.ptr);
	MUST(op == (c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD));
	c->events = ev->events;
	c->data = ev->data.ptr;
	return 0;
}

static bool waiting(void)
{
	for (int i = 0; i < CONNS; i++)
		if (conns[i].there && !conns[i].accepted)
			return true;
	return false;
}

static uint32_t ready(const struct conn *c)
{
	uint32_t is = c->gone ? EPOLLHUP | EPOLLIN : 0;

	if (c->in_len || c->no_more)
		is |= EPOLLIN;
	if (c->appetite)
		is |= EPOLLOUT;
	return is & (c->events | EPOLLHUP | EPOLLERR);
}

static int sim_epoll_wait(struct epoll_event *ev, int max, int ms)
{
	int n = 0;

	if (listen_events & EPOLLIN && waiting())
		ev[n++] = (struct epoll_event){ .events = EPOLLIN };
	for (int i = 0; i < CONNS && n < max; i++) {
		uint32_t is = conns[i].events ? ready(&conns[i]) : 0;

		if (is)
			ev[n++] = (struct epoll_event){ .events = is, .data.ptr = conns[i].data };
	}
	MUST(ms >= 0); /* the daemon never waits for a client without an end */
	if (!n)
		time_ms += (uint64_t)ms;
	return n;
}

int ctlsock_listen_open(struct ctlsock_listen *l, const char *path)
{
	(void)path;
	l->fd = LISTEN_FD;
	l->file = -1;
	listening = true;
	return 0;
}

void ctlsock_listen_close(struct ctlsock_listen *l)
{
	MUST(l->fd == LISTEN_FD && listening);
	listening = false;
}

#define clock_ms			sim_ms
#define accept4(fd, a, l, f)		sim_accept(fd)
#define recv(fd, b, n, f)		sim_recv(fd, b, n)
#define send(fd, b, n, f)		sim_send(fd, b, n, f)
#define close				sim_close
#define epoll_create1(f)		EPOLL_FD
#define epoll_ctl(e, op, fd, ev)	((void)(e), sim_epoll_ctl(op, fd, ev))
#define epoll_wait(e, ev, max, timeout) sim_epoll_wait(ev, max, timeout)
#include "../../user_prog/edge/ctlsock.c"
#undef close

static int handle(void *arg, const struct ctl_request *req, struct json_object **result, char *err,
		  size_t err_len)
{
	char *text;

	(void)arg;
	n_asked++;
	if (req->command == CTL_FLUSH) {
		snprintf(err, err_len, "no");
		return -ENOENT;
	}
	if (req->command == CTL_PODS) /* nothing but a number */
		return -EINVAL;
	text = malloc(answer_len + 1);
	MUST(text);
	memset(text, 'x', answer_len);
	text[answer_len] = '\0';
	*result = json_object_new_string(text);
	free(text);
	return 0;
}

static void say(struct conn *c, const void *bytes, size_t n)
{
	char *all;

	/* Some of it is more than the daemon takes; more of that says nothing new. */
	if (!n || c->no_more || c->gone || c->in_len > 2 * CTL_LINE_MAX)
		return;
	all = malloc(c->in_len + n);
	MUST(all);
	if (c->in_len)
		memcpy(all, c->in + c->in_at, c->in_len);
	memcpy(all + c->in_len, bytes, n);
	free(c->in);
	c->in = all;
	c->in_at = 0;
	c->in_len += n;
}

/* One that is there, the @k-th round; NULL when none is. */
static struct conn *pick(unsigned int k)
{
	for (unsigned int i = 0; i < CONNS; i++) {
		struct conn *c = &conns[(k + i) % CONNS];

		if (c->there && !c->closed)
			return c;
	}
	return NULL;
}

static void check(const struct ctlsock *s)
{
	unsigned int open = 0;
	int due = ctlsock_timeout_ms(s);

	for (int i = 0; i < CONNS; i++) {
		const struct conn *c = &conns[i];

		if (!c->accepted)
			continue;
		if (c->closed) {
			MUST(!c->events);
			continue;
		}
		open++;
		MUST(c->events);
		/* With the answer gone the daemon closes: none is left open with all of it. */
		MUST(!c->newlines);
		MUST(time_ms <= c->since_ms + CTLSOCK_TOTAL_MS);
	}
	MUST(open == n_accepted && open <= CTLSOCK_CLIENTS);
	MUST(due >= -1 && due <= CTLSOCK_TOTAL_MS);
	MUST(due >= 0 || !open);
	/* Nobody waits for a place that is free, but after an error, and then not for long. */
	if (!flushed && waiting() && open < CTLSOCK_CLIENTS)
		MUST((listen_events & EPOLLIN) || (due >= 0 && due <= RETRY_MS));
}

static void dispatch(struct ctlsock *s)
{
	MUST(!ctlsock_dispatch(s));
	check(s);
}

static void step(struct ctlsock *s, struct fuzz_in *in)
{
	static const char *const lines[] = {
		"{\"command\":\"status\"}\n",
		"{\"command\":\"flush\",\"all\":true}\n",
		"{\"command\":\"pods\"}\n",
		"\n",
		"{\"command\":\"version\"}",
		"{\"command\":\"version\"}\n{\"command\":\"version\"}\n",
	};
	static char much[65536];
	static const int errors[] = { EINTR, EAGAIN, EMFILE, ECONNRESET, ECONNABORTED, ENOMEM };
	uint8_t op = fuzz_u8(in);
	struct conn *c = pick(op >> 4);
	char buf[256];
	size_t n;

	switch (op & 15) {
	case 0:
		for (n = 0; n < CONNS && conns[n].there; n++)
			;
		if (n < CONNS)
			conns[n].there = true;
		return;
	case 1: /* bytes of the input */
		n = fuzz_bytes(in, buf, fuzz_u8(in));
		if (c)
			say(c, buf, n);
		return;
	case 2: /* a request */
		n = fuzz_u8(in) % (sizeof(lines) / sizeof(lines[0]));
		if (c)
			say(c, lines[n], strlen(lines[n]));
		return;
	case 3: /* much, without a newline */
		if (!*much)
			memset(much, ' ', sizeof(much));
		n = fuzz_u8(in) * 256u;
		if (c)
			say(c, much, n);
		return;
	case 4:
		if (c)
			c->no_more = true;
		return;
	case 5:
		if (c)
			c->gone = c->no_more = true;
		return;
	case 6:
		n = fuzz_u16(in);
		if (c)
			c->appetite += n;
		return;
	case 7:
		time_ms += fuzz_u8(in) * 40u;
		/* As its loop would, which is told when it is due. */
		dispatch(s);
		return;
	case 8:
		fail_next = errors[fuzz_u8(in) % (sizeof(errors) / sizeof(errors[0]))];
		return;
	case 9:
		answer_len = fuzz_u16(in) * 8u;
		return;
	case 10:
		/* Before the end: afterwards nobody is let in. */
		ctlsock_flush(s, fuzz_u8(in) * 10u);
		in->left = 0;
		flushed = true;
		return;
	default:
		dispatch(s);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct ctlsock *s;

	memset(conns, 0, sizeof(conns));
	time_ms = 1000;
	listen_events = 0;
	listening = flushed = false;
	fail_next = 0;
	n_asked = n_accepted = 0;
	answer_len = 10;
	MUST(!ctlsock_open(&s, "/simulated", handle, NULL));
	listen_events = EPOLLIN;
	while (in.left)
		step(s, &in);
	fail_next = 0;
	/* Whoever is patient and has asked gets all of an answer. */
	for (int i = 0; i < CONNS; i++)
		conns[i].appetite = SIZE_MAX / 2;
	for (int i = 0; i < 64; i++) {
		dispatch(s);
		time_ms += 10;
	}
	for (int i = 0; i < CONNS; i++)
		if (conns[i].got && !conns[i].gone && conns[i].closed)
			MUST(conns[i].newlines == 1 ||
			     time_ms >= conns[i].since_ms + CTLSOCK_IDLE_MS ||
			     conns[i].last != '\n');
	/* Later everybody is gone, whatever they did. */
	time_ms += CTLSOCK_TOTAL_MS;
	for (int i = 0; i < CONNS; i++)
		if (!conns[i].accepted)
			conns[i].there = false;
	dispatch(s);
	MUST(!n_accepted);
	MUST(ctlsock_timeout_ms(s) == -1 || s->retry_ms);
	ctlsock_close(s);
	MUST(!listening);
	for (int i = 0; i < CONNS; i++) {
		MUST(!conns[i].accepted || conns[i].closed);
		free(conns[i].in);
	}
	return 0;
}
