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
 *  tcp-crr		connect, request, answer, close, again: one connection at a time
 *  udp-stream		datagrams one way. Sockets would lose whatever comes faster than the
 *			receiver reads, so no more than WINDOW are ever on the way, and the
 *			receiver says every ACK_EVERY datagrams how many it has: what is
 *			reported arrived, and loss means that the path dropped.
 *
 * The server takes one client at a time. What happens in the first --warmup seconds counts
 * in "all" (for CPU time per transaction over the whole run) and not in the rate.
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
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define WINDOW	  128
#define ACK_EVERY 32
#define BUF_SIZE  65536

static const char help[] =
	"usage: xmt-perf server --tcp|--udp --port P\n"
	"       xmt-perf client --mode MODE --host ADDRESS --port P [options]\n"
	"\n"
	"  --mode tcp-rr | udp-rr    request and answer\n"
	"         tcp-crr            connect, request, answer, close\n"
	"         udp-stream         one way, never more under way than a socket holds\n"
	"  --seconds S               how long to measure (default 2; fractions are fine)\n"
	"  --warmup S                before that, not counted (default 0.2)\n"
	"  --size B                  of request and answer (default 64; udp-stream 1400)\n"
	"\n"
	"The client prints one line of JSON: rate (per second), all (warm-up included),\n"
	"bytes_all, lost. Short connections leave a TIME_WAIT each: set net.ipv4.tcp_tw_reuse=1\n"
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
	bool server, udp;
	enum mode mode;
	struct sockaddr_in to;
	double seconds, warmup;
	size_t size;
} opt = { .mode = MODES, .seconds = 2, .warmup = 0.2 };

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

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Counts @n transactions; true while there is time left. */
static bool count(uint64_t n)
{
	double t = now();

	all += n;
	if (t >= started + opt.warmup) {
		if (window_at == 0)
			window_at = t; /* those of the warm-up end here */
		else
			in_window += n;
	}
	return t < started + opt.warmup + opt.seconds;
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
		err = opt.udp ? serve_udp(fd) : serve_tcp(fd);
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
	int err;

	do {
		err = send_full(fd, opt.size);
		if (err)
			return err;
		err = read_full(fd, opt.size);
		if (err == -EAGAIN && opt.mode == UDP_RR && ++lost < 10)
			continue;
		if (err)
			return err;
	} while (count(1));
	return 0;
}

static int crr(void)
{
	int fd, err;

	do {
		fd = connected();
		if (fd < 0)
			return fd;
		err = send_full(fd, opt.size);
		if (!err)
			err = read_full(fd, opt.size);
		close(fd);
		if (err)
			return err;
	} while (count(1));
	return 0;
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
		if (!count((uint64_t)n))
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
	} else {
		fd = connected();
		if (fd < 0)
			return fd;
		err = opt.mode == UDP_STREAM ? stream(fd) : rr(fd);
		close(fd);
	}
	if (err)
		return err;
	printf("{\"mode\":\"%s\",\"size\":%zu,\"seconds\":%.3f,\"rate\":%.1f,\"all\":%llu,"
	       "\"bytes_all\":%llu,\"lost\":%llu}\n",
	       mode_name[opt.mode], opt.size, opt.seconds,
	       (double)in_window / (started + opt.warmup + opt.seconds - window_at),
	       (unsigned long long)all, (unsigned long long)(all * opt.size),
	       (unsigned long long)lost);
	return 0;
}

/* ---- arguments ---- */

static int set_number(const char *text, double min, double max, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return *end || end == text || *value < min || *value > max ? -EINVAL : 0;
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
		return inet_pton(AF_INET, optarg, &opt.to.sin_addr) == 1 ? 0 : -EINVAL;
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
	    !opt.to.sin_port || (!opt.server && (opt.mode == MODES || !opt.to.sin_addr.s_addr)) ||
	    (opt.mode == UDP_STREAM && opt.size < sizeof(struct stream_head))) {
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
