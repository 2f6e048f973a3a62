// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-perf - round trips, short connections and loss-free UDP, at the least cost of its own.
 *
 * Theory of operation
 *
 * One blocking thread at each end, so that the path and not the tool is what is measured.
 * (xmt-flow verifies every byte, which costs as much as a fast path.)
 *
 *  tcp-rr, udp-rr	send a request, wait for the answer, again
 *  tcp-crr		connect, request, answer (--requests of them), close, again: one
 *			connection at a time
 *  udp-stream		datagrams one way. Sockets would lose whatever comes faster than the
 *			receiver reads, so no more than WINDOW are ever on the way, and the
 *			receiver says every ACK_EVERY datagrams how many it has: what is
 *			reported arrived, and loss means that the path dropped.
 *
 * tcp-rr and udp-rr with --flows: as many connections (pairs of ports), each with a request under
 * way. With --in-turn (udp-rr) there is one request at a time, and the flows take turns: what
 * differs between few and many flows is then what the path has to look up, not how much it can do
 * at once. Each socket has a flow with every --host and every one of --ports, since sockets are
 * scarcer than flows.
 *
 * The server takes one client at a time, with --many as many connections as there are. What happens
 * in the first --warmup seconds counts in "all" (for CPU time per transaction over the whole run)
 * and not in the rate and the times.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "perf-hist.h"

#define WINDOW	  128
#define ACK_EVERY 32
#define BUF_SIZE  65536
#define HOSTS_MAX 64
#define FLOWS_MAX 100000
#define LOST_MAX  10

static const char help[] =
	"usage: xmt-perf server --tcp|--udp --port P [--many]\n"
	"       xmt-perf client --mode MODE --host ADDRESS --port P [options]\n"
	"\n"
	"  --mode tcp-rr | udp-rr    request and answer\n"
	"         tcp-crr            connect, request, answer, close\n"
	"         udp-stream         one way, never more under way than a socket holds\n"
	"  --seconds S               how long to measure (default 2; fractions are fine)\n"
	"  --warmup S                before that, not counted (default 0.2)\n"
	"  --size B                  of request and answer (default 64; udp-stream 1400)\n"
	"  --requests N              of each connection of tcp-crr (default 1)\n"
	"  --flows N                 tcp-rr, udp-rr: flows that have a request under way (default 1)\n"
	"  --in-turn                 udp-rr: one request at a time, the flows take turns; --host may\n"
	"                            then be ADDRESS,ADDRESS,..., and there are two options more:\n"
	"  --ports N                 servers at each host, from --port upwards (default 1)\n"
	"  --bind P                  the first of the local ports: another run has the same flows\n"
	"\n"
	"The client prints one line of JSON: rate (per second), all (warm-up included), bytes_all,\n"
	"lost; of the times (of a transaction, or a connection of tcp-crr) p50_us, p99_us, p999_us and\n"
	"times_us, their distribution. The rate of tcp-crr is of connections. Short connections leave a TIME_WAIT each: set net.ipv4.tcp_tw_reuse=1\n"
	"in the client's namespace.\n";

enum mode {
	TCP_RR,
	UDP_RR,
	TCP_CRR,
	UDP_STREAM,
	MODES
};
static const char *const mode_name[] = { "tcp-rr", "udp-rr", "tcp-crr", "udp-stream" };

static struct {
	bool server, udp, many, in_turn;
	enum mode mode;
	struct sockaddr_in to;
	struct in_addr hosts[HOSTS_MAX];
	unsigned int n_hosts, flows, ports, bind, requests;
	double seconds, warmup;
	size_t size;
} opt = { .mode = MODES, .seconds = 2, .warmup = 0.2, .flows = 1, .ports = 1, .requests = 1 };

/* What a udp-stream datagram begins with, and what its receiver answers. */
struct stream_head {
	uint32_t magic; /* STREAM_MAGIC; anything else is echoed */
	uint32_t run;	/* of this client; another one starts the count over */
	uint64_t count; /* datagrams sent, this one included; answer: received */
	uint32_t ask;	/* 1: answer at once */
	uint32_t pad;
};
#define STREAM_MAGIC 0x786d7066

static char buf[BUF_SIZE];
static double started, window_at;
static uint64_t all, in_window, lost;
static struct hist times;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Counts @n transactions that ended at @t; true while there is time left. */
static bool count(uint64_t n, double t)
{
	all += n;
	if (t >= started + opt.warmup) {
		if (window_at == 0)
			window_at = t; /* those of the warm-up end here */
		else
			in_window += n;
	}
	return t < started + opt.warmup + opt.seconds;
}

/* The same for one, with the time it took since @since; now in @t. */
static bool timed(double since, double *t)
{
	*t = now();
	if (window_at != 0)
		hist_add(&times, (uint64_t)((*t - since) * 1e9));
	return count(1, *t);
}

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value)) ? -errno : 0;
}

static int read_full(int fd, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = recv(fd, buf + got, len - got, 0);

		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		got += (size_t)n;
	}
	return 0;
}

static int send_full(int fd, size_t len)
{
	ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

	/* A request is far smaller than an empty socket buffer. */
	return n < 0 ? -errno : (size_t)n < len ? -EMSGSIZE : 0;
}

/* ---- server ---- */

static int serve_tcp(int fd)
{
	if (listen(fd, 128))
		return -errno;
	for (;;) {
		int c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		ssize_t n;

		if (c < 0)
			return -errno;
		set_int(c, IPPROTO_TCP, TCP_NODELAY, 1);
		while ((n = recv(c, buf, sizeof(buf), 0)) > 0)
			if (send(c, buf, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		close(c);
	}
}

/* Any number of connections; each request is small and answered at once. */
static int serve_many(int fd)
{
	struct epoll_event ev[64], one = { .events = EPOLLIN, .data.fd = fd };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0 || listen(fd, 1024) || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &one))
		return -errno;
	for (;;) {
		int k = epoll_wait(ep, ev, 64, -1);

		if (k < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < k; i++) {
			int c = ev[i].data.fd;
			ssize_t n;

			if (c == fd) {
				c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
				one.data.fd = c;
				if (c < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, c, &one))
					return -errno;
				set_int(c, IPPROTO_TCP, TCP_NODELAY, 1);
				continue;
			}
			n = recv(c, buf, sizeof(buf), 0);
			if (n <= 0 || send(c, buf, (size_t)n, MSG_NOSIGNAL) != n)
				close(c);
		}
	}
}

static int serve_udp(int fd)
{
	struct sockaddr_in from;
	uint64_t got = 0;
	uint32_t run = 0;

	set_int(fd, SOL_SOCKET, SO_RCVBUF, 1 << 20);
	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		struct stream_head h = { 0 };

		if (n < 0)
			return -errno;
		if ((size_t)n >= sizeof(h))
			memcpy(&h, buf, sizeof(h));
		if (h.magic == STREAM_MAGIC) {
			if (h.run != run)
				got = 0;
			run = h.run;
			got++;
			if (!h.ask)
				continue;
			h.count = got;
			memcpy(buf, &h, sizeof(h));
			n = sizeof(h);
		}
		/* A client that is gone answers with ICMP: no reason to end. */
		sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

static int serve(void)
{
	int fd = socket(AF_INET, (opt.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(fd, (struct sockaddr *)&opt.to, sizeof(opt.to)))
		err = -errno;
	else
		err = opt.udp ? serve_udp(fd) : opt.many ? serve_many(fd) : serve_tcp(fd);
	close(fd);
	return err;
}

/* ---- client ---- */

/* A socket that is connected and never waits for more than a second; or -errno. */
static int connected(void)
{
	bool udp = opt.mode == UDP_RR || opt.mode == UDP_STREAM;
	struct timeval second = { .tv_sec = 1 };
	int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)) ||
	    connect(fd, (struct sockaddr *)&opt.to, sizeof(opt.to))) {
		err = -errno;
		close(fd);
		return err;
	}
	if (!udp)
		set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	return fd;
}

static int rr(int fd)
{
	double t = now();
	int err;

	do {
		err = send_full(fd, opt.size);
		if (err)
			return err;
		err = read_full(fd, opt.size);
		if (err == -EAGAIN && opt.mode == UDP_RR && ++lost < LOST_MAX)
			continue;
		if (err)
			return err;
	} while (timed(t, &t));
	return 0;
}

static int crr(void)
{
	double t = now();
	int fd, err;

	do {
		fd = connected();
		if (fd < 0)
			return fd;
		err = 0;
		for (unsigned int i = 0; i < opt.requests && !err; i++) {
			err = send_full(fd, opt.size);
			if (!err)
				err = read_full(fd, opt.size);
		}
		close(fd);
		if (err)
			return err;
	} while (timed(t, &t));
	return 0;
}

struct flow {
	int fd;
	double since; /* when its request went */
};

static int flows_open(struct flow *f, int ep)
{
	for (unsigned int i = 0; i < opt.flows; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.u32 = i };
		int err;

		f[i].fd = connected();
		if (f[i].fd < 0)
			return f[i].fd;
		if (epoll_ctl(ep, EPOLL_CTL_ADD, f[i].fd, &ev))
			return -errno;
		f[i].since = now();
		err = send_full(f[i].fd, opt.size);
		if (err)
			return err;
	}
	return 0;
}

/* A second without any answer: the requests of all are lost. TCP sends them again by itself. */
static int flows_again(struct flow *f)
{
	lost += opt.flows;
	if (lost >= (uint64_t)LOST_MAX * opt.flows)
		return -ETIMEDOUT;
	for (unsigned int i = 0; i < opt.flows && opt.mode == UDP_RR; i++) {
		int err = send_full(f[i].fd, opt.size);

		if (err)
			return err;
	}
	return 0;
}

/* Every flow has one request under way. */
static int rr_many(void)
{
	struct flow *f = calloc(opt.flows, sizeof(*f));
	int ep = epoll_create1(EPOLL_CLOEXEC), err = !f ? -ENOMEM : ep < 0 ? -errno : 0;
	struct epoll_event ev[64];
	bool more = true;

	if (!err)
		err = flows_open(f, ep);
	while (!err && more) {
		int n = epoll_wait(ep, ev, 64, 1000);

		if (n < 0 && errno != EINTR)
			err = -errno;
		if (n == 0)
			err = flows_again(f);
		for (int i = 0; i < n && !err && more; i++) {
			struct flow *x = &f[ev[i].data.u32];

			err = read_full(x->fd, opt.size);
			if (err)
				break;
			more = timed(x->since, &x->since);
			err = send_full(x->fd, opt.size);
		}
	}
	free(f);
	return err;
}

static unsigned int per_socket(void)
{
	return opt.n_hosts * opt.ports;
}

static int sockets_open(int *fd, unsigned int n)
{
	struct rlimit many = { n + 64, n + 64 };

	if (n > 512 && setrlimit(RLIMIT_NOFILE, &many))
		return -errno;
	for (unsigned int i = 0; i < n; i++) {
		struct sockaddr_in here = { .sin_family = AF_INET };
		struct timeval second = { .tv_sec = 1 };

		here.sin_port = htons((uint16_t)(opt.bind ? opt.bind + i : 0));
		fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (fd[i] < 0 || bind(fd[i], (struct sockaddr *)&here, sizeof(here)) ||
		    setsockopt(fd[i], SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)))
			return -errno;
	}
	return 0;
}

/* One request in flow @f and its answer. */
static int turn(int fd, unsigned int f)
{
	struct sockaddr_in to = opt.to, from = { 0 };
	unsigned int d = f % per_socket();
	ssize_t n;

	to.sin_addr = opt.hosts[d / opt.ports];
	to.sin_port = htons((uint16_t)(ntohs(opt.to.sin_port) + d % opt.ports));
	for (;;) {
		socklen_t len = sizeof(from);

		if (sendto(fd, buf, opt.size, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			return -errno;
		n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
		if (n < 0 && (errno != EAGAIN || ++lost >= LOST_MAX))
			return -errno;
		/* The answer to a request that had been given up may come after all. */
		if (n >= 0 && from.sin_port == to.sin_port &&
		    from.sin_addr.s_addr == to.sin_addr.s_addr)
			return (size_t)n == opt.size ? 0 : -EMSGSIZE;
	}
}

static int rr_in_turn(void)
{
	unsigned int n = (opt.flows + per_socket() - 1) / per_socket(), f = 0;
	int *fd = calloc(n, sizeof(*fd)), err = fd ? sockets_open(fd, n) : -ENOMEM;
	double t = now();

	/* Thousands of sockets take their time. */
	started = t;
	do {
		if (err)
			break;
		err = turn(fd[f / per_socket()], f);
		f = (f + 1) % opt.flows;
	} while (timed(t, &t));
	free(fd);
	return err;
}

static int stream(int fd)
{
	struct stream_head h = { .magic = STREAM_MAGIC, .run = (uint32_t)(started * 1e6) | 1 }, a;
	uint64_t received = 0, written_off = 0;

	for (;;) {
		ssize_t n;

		while (h.count - received - written_off < WINDOW) {
			h.count++;
			h.ask = h.count % ACK_EVERY == 0;
			memcpy(buf, &h, sizeof(h));
			if (send(fd, buf, opt.size, 0) < 0)
				return -errno;
		}
		n = recv(fd, &a, sizeof(a), 0);
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0) {
			/* A second without an answer: what is under way is lost. */
			written_off = h.count - received;
			if (++lost == 10)
				return -ETIMEDOUT;
			continue;
		}
		if ((size_t)n < sizeof(a) || a.run != h.run || a.count <= received)
			continue;
		n = (ssize_t)(a.count - received);
		received = a.count;
		/* Asked with the a-th of ours; what it had not got by then will not come. */
		if (!count((uint64_t)n, now()))
			break;
	}
	/* The last ACK_EVERY-th is answered when all before it arrived or were dropped. */
	do {
		ssize_t n = recv(fd, &a, sizeof(a), 0);

		if (n < 0)
			break;
		if ((size_t)n == sizeof(a) && a.run == h.run && a.count > received) {
			all += a.count - received;
			received = a.count;
		}
	} while (received + ACK_EVERY <= h.count);
	lost = h.count / ACK_EVERY * ACK_EVERY - received;
	return 0;
}

static int client(void)
{
	int err = 0, fd = -1;

	started = now();
	if (opt.mode == TCP_CRR) {
		err = crr();
	} else if (opt.in_turn) {
		err = rr_in_turn();
	} else if (opt.flows > 1) {
		err = rr_many();
	} else {
		fd = connected();
		if (fd < 0)
			return fd;
		err = opt.mode == UDP_STREAM ? stream(fd) : rr(fd);
		close(fd);
	}
	if (err)
		return err;
	printf("{\"mode\":\"%s\",\"size\":%zu,\"seconds\":%.3f,\"flows\":%u,\"rate\":%.1f,"
	       "\"all\":%llu,\"bytes_all\":%llu,\"lost\":%llu",
	       opt.mode < MODES ? mode_name[opt.mode] : "", opt.size, opt.seconds, opt.flows,
	       (double)in_window / (started + opt.warmup + opt.seconds - window_at),
	       (unsigned long long)all, (unsigned long long)(all * opt.size),
	       (unsigned long long)lost);
	if (times.total) {
		printf(",\"p50_us\":%.2f,\"p99_us\":%.2f,\"p999_us\":%.2f,\"times_us\":",
		       hist_quantile(&times, 0.5) / 1000, hist_quantile(&times, 0.99) / 1000,
		       hist_quantile(&times, 0.999) / 1000);
		hist_print(&times, stdout);
	}
	puts("}");
	return 0;
}

/* ---- arguments ---- */

static int set_number(const char *text, double min, double max, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return *end || end == text || *value < min || *value > max ? -EINVAL : 0;
}

static int set_count(unsigned int max, unsigned int *value)
{
	double v;

	if (set_number(optarg, 1, max, &v) || v != (unsigned int)v)
		return -EINVAL;
	*value = (unsigned int)v;
	return 0;
}

static int set_hosts(char *list)
{
	char *save = NULL;

	opt.n_hosts = 0;
	for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		if (opt.n_hosts == HOSTS_MAX ||
		    inet_pton(AF_INET, w, &opt.hosts[opt.n_hosts]) != 1 ||
		    !opt.hosts[opt.n_hosts].s_addr)
			return -EINVAL;
		opt.n_hosts++;
	}
	opt.to.sin_addr = opt.hosts[0];
	return opt.n_hosts ? 0 : -EINVAL;
}

static int set_option(int c)
{
	double v;

	switch (c) {
	case 't':
	case 'u':
		opt.udp = c == 'u';
		return 0;
	case 'p':
		if (set_number(optarg, 1, 65535, &v))
			return -EINVAL;
		opt.to.sin_port = htons((uint16_t)v);
		return 0;
	case 'm':
		for (opt.mode = 0; opt.mode < MODES; opt.mode++)
			if (!strcmp(optarg, mode_name[opt.mode]))
				return 0;
		return -EINVAL;
	case 'a':
		return set_hosts(optarg);
	case 'M':
		opt.many = true;
		return 0;
	case 'i':
		opt.in_turn = true;
		return 0;
	case 'f':
		return set_count(FLOWS_MAX, &opt.flows);
	case 'n':
		return set_count(64, &opt.ports);
	case 'B':
		return set_count(65535, &opt.bind);
	case 'r':
		return set_count(1000000, &opt.requests);
	case 's':
		return set_number(optarg, 0.01, 3600, &opt.seconds);
	case 'w':
		return set_number(optarg, 0, 60, &opt.warmup);
	case 'b':
		if (set_number(optarg, 1, 32768, &v))
			return -EINVAL;
		opt.size = (size_t)v;
		return 0;
	default:
		return -EINVAL;
	}
}

/* What options mean only together. */
static bool options_agree(void)
{
	bool rr = opt.mode == TCP_RR || opt.mode == UDP_RR;

	if (opt.server)
		return opt.flows == 1 && !opt.in_turn && !(opt.many && opt.udp);
	if (opt.mode == MODES || !opt.n_hosts || opt.many)
		return false;
	if (opt.mode == UDP_STREAM && opt.size < sizeof(struct stream_head))
		return false;
	if ((opt.requests > 1 && opt.mode != TCP_CRR) || (opt.flows > 1 && !rr) ||
	    (opt.in_turn && opt.mode != UDP_RR))
		return false;
	return opt.in_turn || (opt.n_hosts == 1 && opt.ports == 1 && !opt.bind);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "tcp", no_argument, NULL, 't' },
		{ "udp", no_argument, NULL, 'u' },
		{ "port", required_argument, NULL, 'p' },
		{ "mode", required_argument, NULL, 'm' },
		{ "host", required_argument, NULL, 'a' },
		{ "seconds", required_argument, NULL, 's' },
		{ "warmup", required_argument, NULL, 'w' },
		{ "size", required_argument, NULL, 'b' },
		{ "many", no_argument, NULL, 'M' },
		{ "flows", required_argument, NULL, 'f' },
		{ "in-turn", no_argument, NULL, 'i' },
		{ "ports", required_argument, NULL, 'n' },
		{ "bind", required_argument, NULL, 'B' },
		{ "requests", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int c, err;

	opt.to.sin_family = AF_INET;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (set_option(c)) {
			fputs(help, stderr);
			return 2;
		}
	}
	opt.server = optind < argc && !strcmp(argv[optind], "server");
	if (!opt.size)
		opt.size = opt.mode == UDP_STREAM ? 1400 : 64;
	if (optind + 1 != argc || (!opt.server && strcmp(argv[optind], "client") != 0) ||
	    !opt.to.sin_port || !options_agree()) {
		fputs(help, stderr);
		return 2;
	}
	err = opt.server ? serve() : client();
	if (!err)
		return 0;
	fprintf(stderr, "xmt-perf: %s\n", strerror(-err));
	if (err == -EADDRNOTAVAIL)
		fprintf(stderr, "xmt-perf: out of local ports: set net.ipv4.tcp_tw_reuse=1\n");
	return 1;
}
