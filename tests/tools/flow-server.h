/* SPDX-License-Identifier: GPL-2.0-only */
/* flow-server.h - the end of xmt-flow that answers. */
#ifndef XMT_FLOW_SERVER_H
#define XMT_FLOW_SERVER_H

#include <arpa/inet.h>
#include "flow-common.h"

struct sconn { /* one TCP connection, or one UDP flow */
	int fd;
	struct hello hello;
	size_t hello_got;
	uint64_t rx, tx;
	size_t verdict_sent;
	bool eof, want_out;
	/* UDP */
	struct sockaddr_in from;
	struct order order;
	uint64_t corrupted;
	bool reported;
	struct sconn *next;
};

static struct {
	uint64_t conns, ok, broken, corrupted, rx, tx, dgrams, reordered, duplicated, expect;
	uint64_t last_end;
} srv;

static inline void sconn_end(struct sconn *c, bool ok, const char *why)
{
	if (ok) {
		srv.ok++;
		close(c->fd);
	} else {
		srv.broken++;
		complain("server: connection %llx: %s after %llu bytes in, %llu out",
			 (unsigned long long)c->hello.seed, why, (unsigned long long)c->rx,
			 (unsigned long long)c->tx);
		close_rst(c->fd);
	}
	srv.rx += c->rx;
	srv.tx += c->tx;
	srv.last_end = now_ns();
	free(c);
}

/* Returns false when the connection is over (and c gone). */
static inline bool sconn_write(struct sconn *c)
{
	bool echo = c->hello.flags & F_ECHO;
	struct verdict v = { .magic = MAGIC_VERDICT, .bytes = c->rx };
	ssize_t n;

	for (;;) {
		if (echo && c->tx < c->rx) {
			size_t len = c->rx - c->tx > BUF_SIZE ? BUF_SIZE : c->rx - c->tx;

			stream_bytes(c->hello.seed, DIR_DOWN, c->tx, buf, len);
			n = send(c->fd, buf, len, MSG_NOSIGNAL);
			if (n > 0)
				c->tx += (size_t)n;
		} else if (!c->eof) {
			return true;
		} else if ((c->hello.flags & F_VERDICT) && c->verdict_sent < sizeof(v)) {
			n = send(c->fd, (char *)&v + c->verdict_sent, sizeof(v) - c->verdict_sent,
				 MSG_NOSIGNAL);
			if (n > 0)
				c->verdict_sent += (size_t)n;
		} else {
			sconn_end(c, true, NULL);
			return false;
		}
		if (n < 0) {
			if (errno == EAGAIN)
				return true;
			sconn_end(c, false, strerror(errno));
			return false;
		}
	}
}

static inline bool sconn_hello(struct sconn *c)
{
	ssize_t n =
		recv(c->fd, (char *)&c->hello + c->hello_got, sizeof(c->hello) - c->hello_got, 0);

	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0) {
		/* Somebody looked whether the port is open: not a connection of ours. */
		if (c->hello_got == 0) {
			srv.conns--;
			close(c->fd);
			free(c);
		} else {
			sconn_end(c, false, n ? strerror(errno) : "closed within the header");
		}
		return false;
	}
	c->hello_got += (size_t)n;
	if (c->hello_got == sizeof(c->hello)) {
		if (c->hello.magic != MAGIC_HELLO) {
			srv.corrupted++;
			sconn_end(c, false, "wrong header");
			return false;
		}
		if (c->hello.nconns > srv.expect)
			srv.expect = c->hello.nconns;
	}
	return true;
}

/* Reads a bounded amount, so that one fast connection does not starve the others. */
static inline bool sconn_read(struct sconn *c)
{
	if (c->hello_got < sizeof(c->hello))
		return sconn_hello(c);

	for (int i = 0; i < 4; i++) {
		ssize_t bad, n = recv(c->fd, buf, BUF_SIZE, 0);

		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			bool ok = errno == ECONNRESET && (c->hello.flags & F_RST_END) &&
				  (!(c->hello.flags & F_ECHO) || c->tx == c->rx);

			sconn_end(c, ok, strerror(errno));
			return false;
		}
		if (n == 0) {
			c->eof = true;
			return true;
		}
		bad = stream_check(c->hello.seed, DIR_UP, c->rx, buf, (size_t)n);
		if (bad >= 0) {
			srv.corrupted++;
			complain("server: wrong byte at offset %llu: 0x%02x, must be 0x%02x",
				 (unsigned long long)c->rx + (unsigned long long)bad, buf[bad],
				 expected[bad]);
			sconn_end(c, false, "corrupted");
			return false;
		}
		c->rx += (size_t)n;
	}
	return true;
}

static inline void sconn_event(int ep, struct sconn *c)
{
	bool want_out;

	if (!c->eof && !sconn_read(c))
		return;
	if (c->hello_got < sizeof(c->hello))
		return;
	if (!sconn_write(c))
		return;
	want_out = ((c->hello.flags & F_ECHO) && c->tx < c->rx) || c->eof;
	if (want_out != c->want_out || c->eof)
		poll_set(ep, EPOLL_CTL_MOD, c->fd,
			 (c->eof ? 0 : EPOLLIN) | (want_out ? EPOLLOUT : 0), c);
	c->want_out = want_out;
}

static inline void server_accept(int ep, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct sconn *c;

	if (fd < 0) {
		if (errno != EAGAIN && errno != ECONNABORTED)
			complain("server: accept: %s", strerror(errno));
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		complain("server: out of memory");
		close(fd);
		return;
	}
	c->fd = fd;
	srv.conns++;
	socket_options(fd);
	poll_set(ep, EPOLL_CTL_ADD, fd, EPOLLIN, c);
}

static struct sconn *udp_table[1024];

static inline struct sconn *udp_flow(const struct sockaddr_in *from, uint64_t seed)
{
	struct sconn **head = &udp_table[mix64(seed) % 1024], *c;

	for (c = *head; c; c = c->next)
		if (c->hello.seed == seed && c->from.sin_port == from->sin_port &&
		    c->from.sin_addr.s_addr == from->sin_addr.s_addr)
			return c;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->from = *from;
	c->hello.seed = seed;
	c->next = *head;
	*head = c;
	srv.conns++;
	return c;
}

static inline void udp_answer_report(int fd, struct sconn *c, const struct dgram *req)
{
	struct {
		struct dgram h;
		struct report r;
	} a = {
		.h = *req,
		.r = { .got = c->order.unique,
		       .reordered = c->order.reordered,
		       .duplicated = c->order.duplicated,
		       .corrupted = c->corrupted },
	};

	a.h.len = sizeof(a);
	if (!c->reported) {
		c->reported = true;
		srv.ok++;
		srv.last_end = now_ns();
	}
	sendto(fd, &a, sizeof(a), 0, (struct sockaddr *)&c->from, sizeof(c->from));
}

static inline void udp_server_read(int fd)
{
	struct sockaddr_in from;
	struct dgram h;
	struct sconn *c;

	for (int i = 0; i < 64; i++) {
		socklen_t slen = sizeof(from);
		ssize_t n =
			recvfrom(fd, buf, BUF_SIZE, MSG_DONTWAIT, (struct sockaddr *)&from, &slen);

		if (n < 0)
			return; /* EAGAIN, or the ICMP error of a client that left */
		memcpy(&h, buf, sizeof(h));
		if ((size_t)n < sizeof(h) || h.magic != MAGIC_DGRAM) {
			srv.corrupted++;
			complain("server: a datagram of %zd bytes that xmt-flow did not send", n);
			continue;
		}
		c = udp_flow(&from, h.seed);
		if (!c)
			continue;
		if (h.flags & F_REPORT) {
			struct report r = { 0 };

			if ((size_t)n >= sizeof(h) + sizeof(r))
				memcpy(&r, buf + sizeof(h), sizeof(r));
			if (r.nconns > srv.expect)
				srv.expect = r.nconns;
			udp_answer_report(fd, c, &h);
			continue;
		}
		if (!dgram_ok(&h, DIR_UP, buf, (size_t)n)) {
			srv.corrupted++;
			c->corrupted++;
			complain("server: datagram %llu of %zd bytes is corrupted",
				 (unsigned long long)h.seq, n);
			continue;
		}
		srv.dgrams++;
		srv.rx += (size_t)n;
		order_add(&c->order, h.seq);
		/* A duplicate is answered too: its answer is a duplicate at the client. */
		if (h.flags & F_ECHO) {
			size_t len = dgram_make(&h, DIR_DOWN, buf);

			if (sendto(fd, buf, len, 0, (struct sockaddr *)&from, slen) > 0)
				srv.tx += len;
		}
	}
}

static inline int server_report(void)
{
	for (unsigned int i = 0; i < 1024; i++)
		for (struct sconn *c = udp_table[i]; c; c = c->next) {
			srv.reordered += c->order.reordered;
			srv.duplicated += c->order.duplicated;
		}
	printf(opt.json
		       ? "{\"role\":\"server\",\"connections\":%llu,\"ok\":%llu,\"broken\":%llu,"
			 "\"corrupted\":%llu,\"bytes_in\":%llu,\"bytes_out\":%llu,\"datagrams\":%llu,"
			 "\"reordered\":%llu,\"duplicated\":%llu,\"errors\":%lu}\n"
		       : "server: %llu connections, %llu ok, %llu broken, %llu corrupted, %llu bytes in, "
			 "%llu out, %llu datagrams, %llu reordered, %llu duplicated, %lu errors\n",
	       (unsigned long long)srv.conns, (unsigned long long)srv.ok,
	       (unsigned long long)srv.broken, (unsigned long long)srv.corrupted,
	       (unsigned long long)srv.rx, (unsigned long long)srv.tx,
	       (unsigned long long)srv.dgrams, (unsigned long long)srv.reordered,
	       (unsigned long long)srv.duplicated, errors);
	return srv.broken || srv.corrupted || errors || (opt.once && !srv.ok) ? 1 : 0;
}

static inline int server_open(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port) };
	int fd = socket(AF_INET,
			(opt.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (opt.host && inet_pton(AF_INET, opt.host, &a.sin_addr) != 1)
		usage_error("--host '%s' is not an IPv4 address", opt.host);
	if (fd < 0 || set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR") ||
	    socket_options(fd) || bind(fd, (struct sockaddr *)&a, sizeof(a)) ||
	    (!opt.udp && listen(fd, 1024))) {
		fprintf(stderr, "xmt-flow: cannot listen on %s port %d: %s\n",
			opt.udp ? "UDP" : "TCP", opt.port, strerror(errno));
		exit(1);
	}
	fprintf(stderr, "xmt-flow: listening on %s port %d\n", opt.udp ? "UDP" : "TCP", opt.port);
	return fd;
}

static inline int server_run(void)
{
	int fd = server_open(), ep = epoll_create1(EPOLL_CLOEXEC);
	uint64_t end = now_ns() + (uint64_t)(opt.timeout * 1e9);
	struct epoll_event ev[64];

	poll_set(ep, EPOLL_CTL_ADD, fd, EPOLLIN, NULL);
	while (!stop) {
		uint64_t now = now_ns();
		bool done = opt.once && srv.expect && srv.ok + srv.broken >= srv.expect;
		int n;

		/* A UDP client may ask again: its answer can be lost. */
		if (done && (!opt.udp || now - srv.last_end > 500 * NS_PER_MS))
			break;
		if (now >= end) {
			if (opt.once)
				complain("server: --timeout of %g s is over", opt.timeout);
			break;
		}
		n = poll_wait(ep, ev, 64, done ? now + 100 * NS_PER_MS : end);
		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr)
				sconn_event(ep, ev[i].data.ptr);
			else if (opt.udp)
				udp_server_read(fd);
			else
				server_accept(ep, fd);
		}
	}
	return server_report();
}

#endif
