// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-many - very many UDP flows at a time, a few datagrams a second in each, from one process.
 *
 * One pod has --sports sockets, each other pod --dports, and each pair of them is a flow: some 3000
 * sockets make 200 000 flows. Datagrams are answered as they are. Each names its flow, and the answer has
 * to come from that flow's other end to that flow's socket: what does not is "misdelivered". The flows
 * take turns, evenly over --period-ms.
 *
 * A socket belongs to the network namespace that its thread was in when it was made: see xmt-load.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PODS_MAX  256
#define BATCH	  64
#define MAGIC	  0x786d6d79u
#define TICK_MS	  5
#define PORT_FROM 20000
#define PORT_TO	  30000

static const char help[] =
	"usage: xmt-many --from NETNS=ADDRESS --to NETNS=ADDRESS... [options]\n"
	"\n"
	"  --sports N        sockets of the pod that asks (default 64)\n"
	"  --dports N        sockets of each pod that answers (default 64); flows: their product, for\n"
	"                    each --to\n"
	"  --period-ms M     each flow sends a datagram once in this time (default 1000)\n"
	"  --seconds S       (default 10; SIGTERM ends it, too)\n"
	"\n"
	"Prints \"ready\", a line of JSON at each SIGUSR1 (since the start) and one at the end.\n"
	"\n"
	"Exit status: 0 done, 1 a datagram came to the wrong place or was not what had been sent, 2 wrong\n"
	"arguments.\n";

struct message {
	uint32_t magic, flow, round;
};

struct sock {
	int fd;
	bool asks;
	uint32_t index; /* of the asking ones */
};

struct pod {
	int ns;
	struct in_addr addr;
};

static struct {
	unsigned int sports, dports, period_ms, seconds;
} opt = { 64, 64, 1000, 10 };

static struct pod from, to[PODS_MAX];
static unsigned int n_to, n_dst, n_flows;
static struct sock *socks;
static struct sockaddr_in *dst; /* of flow f: dst[f % n_dst], by socket f / n_dst */
static uint64_t sent, answered, unsent, misdelivered, corrupt;
static uint32_t *round_of; /* of each flow: rounds answered; late answers count once */
static volatile sig_atomic_t stop, asked;

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *fmt, ...)
{
	va_list ap;

	fputs("xmt-many: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		asked = 1;
	else
		stop = 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void parse_pod(char *s, struct pod *p)
{
	char *addr = strchr(s, '=');

	if (!addr || inet_pton(AF_INET, addr + 1, &p->addr) != 1)
		die("'%s': give NETNS=ADDRESS", s);
	*addr = '\0';
	p->ns = open(s, O_RDONLY | O_CLOEXEC);
	if (p->ns < 0)
		die("%s: %s", s, strerror(errno));
}

static unsigned int number(const char *name, const char *s, unsigned long max)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	if (end == s || *end || !v || v > max)
		die("%s '%s': give a number from 1 to %lu", name, s, max);
	return (unsigned int)v;
}

static void socket_open(int epfd, struct sock *s, const struct pod *p, unsigned int port, bool asks,
			uint32_t index)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };
	int size = 4 << 20;

	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	sa.sin_addr = p->addr;
	if (s->fd < 0 || bind(s->fd, (void *)&sa, sizeof(sa)) ||
	    epoll_ctl(epfd, EPOLL_CTL_ADD, s->fd, &ev))
		die("a socket for port %u: %s", port, strerror(errno));
	/* Many answers come to one socket at once. */
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		die("SO_RCVBUFFORCE: %s", strerror(errno));
	s->asks = asks;
	s->index = index;
}

static void enter(const struct pod *p)
{
	if (setns(p->ns, CLONE_NEWNET))
		die("cannot enter a network namespace: %s", strerror(errno));
}

static void open_all(int epfd)
{
	unsigned int n = opt.sports + n_to * opt.dports, s = 0;
	struct rlimit many = { n + 64, n + 64 };

	n_dst = n_to * opt.dports;
	n_flows = opt.sports * n_dst;
	if (setrlimit(RLIMIT_NOFILE, &many))
		die("%u descriptors: %s", n + 64, strerror(errno));
	socks = calloc(n, sizeof(*socks));
	dst = calloc(n_dst, sizeof(*dst));
	round_of = calloc(n_flows, sizeof(*round_of));
	if (!socks || !dst || !round_of)
		die("out of memory");
	enter(&from);
	for (unsigned int i = 0; i < opt.sports; i++)
		socket_open(epfd, &socks[s++], &from, PORT_FROM + i, true, i);
	for (unsigned int k = 0; k < n_to; k++) {
		enter(&to[k]);
		for (unsigned int j = 0; j < opt.dports; j++) {
			struct sockaddr_in *d = &dst[k * opt.dports + j];

			socket_open(epfd, &socks[s++], &to[k], PORT_TO + j, false, 0);
			d->sin_family = AF_INET;
			d->sin_addr = to[k].addr;
			d->sin_port = htons((uint16_t)(PORT_TO + j));
		}
	}
}

/* The next @n flows from @first, which have one socket. */
static void ask(uint64_t first, unsigned int n)
{
	struct message m[BATCH];
	struct mmsghdr h[BATCH];
	struct iovec v[BATCH];
	uint32_t f = (uint32_t)(first % n_flows), round = (uint32_t)(first / n_flows) + 1;
	int done;

	memset(h, 0, sizeof(h));
	for (unsigned int i = 0; i < n; i++) {
		m[i] = (struct message){ MAGIC, f + i, round };
		v[i] = (struct iovec){ &m[i], sizeof(m[i]) };
		h[i].msg_hdr.msg_name = &dst[(f + i) % n_dst];
		h[i].msg_hdr.msg_namelen = sizeof(*dst);
		h[i].msg_hdr.msg_iov = &v[i];
		h[i].msg_hdr.msg_iovlen = 1;
	}
	done = sendmmsg(socks[f / n_dst].fd, h, n, 0);
	if (done < 0)
		done = 0;
	sent += (unsigned int)done;
	unsent += n - (unsigned int)done;
}

static void check(const struct sock *s, const struct sockaddr_in *who, const struct message *m,
		  unsigned int len)
{
	const struct sockaddr_in *d;

	if (len != sizeof(*m) || m->magic != MAGIC || m->flow >= n_flows) {
		corrupt++;
		return;
	}
	d = &dst[m->flow % n_dst];
	if (m->flow / n_dst != s->index || who->sin_addr.s_addr != d->sin_addr.s_addr ||
	    who->sin_port != d->sin_port) {
		misdelivered++;
		return;
	}
	if (m->round > round_of[m->flow]) {
		round_of[m->flow] = m->round;
		answered++;
	}
}

static void receive(const struct sock *s)
{
	struct sockaddr_in who[BATCH];
	struct message m[BATCH];
	struct mmsghdr h[BATCH];
	struct iovec v[BATCH];
	int n;

	memset(h, 0, sizeof(h));
	for (unsigned int i = 0; i < BATCH; i++) {
		v[i] = (struct iovec){ &m[i], sizeof(m[i]) };
		h[i].msg_hdr.msg_name = &who[i];
		h[i].msg_hdr.msg_namelen = sizeof(who[i]);
		h[i].msg_hdr.msg_iov = &v[i];
		h[i].msg_hdr.msg_iovlen = 1;
	}
	n = recvmmsg(s->fd, h, BATCH, 0, NULL);
	if (n <= 0)
		return;
	if (s->asks) {
		for (int i = 0; i < n; i++)
			check(s, &who[i], &m[i], h[i].msg_len);
		return;
	}
	for (int i = 0; i < n; i++)
		v[i].iov_len = h[i].msg_len;
	(void)sendmmsg(s->fd, h, (unsigned int)n, 0);
}

static void report(uint64_t start)
{
	unsigned int silent = 0;

	for (unsigned int f = 0; f < n_flows; f++)
		silent += !round_of[f];
	printf("{\"flows\":%u,\"seconds\":%.1f,\"sent\":%llu,\"answered\":%llu,\"lost\":%llu,"
	       "\"unsent\":%llu,\"never_answered\":%u,\"misdelivered\":%llu,\"corrupt\":%llu}\n",
	       n_flows, (double)(now_ns() - start) / 1e9, (unsigned long long)sent,
	       (unsigned long long)answered, (unsigned long long)(sent - answered),
	       (unsigned long long)unsent, silent, (unsigned long long)misdelivered,
	       (unsigned long long)corrupt);
	fflush(stdout);
}

/* All that has come; where much has, those who send wait for it. */
static void events(int epfd, int ms)
{
	struct epoll_event ev[256];
	int n;

	for (int turns = 0; turns < 64; turns++) {
		n = epoll_wait(epfd, ev, 256, turns ? 0 : ms);
		for (int i = 0; i < n; i++)
			receive(ev[i].data.ptr);
		if (n < 256)
			break;
	}
}

static void run(int epfd)
{
	const uint64_t began = now_ns();
	uint64_t start = began, end = start + opt.seconds * 1000000000ull, next = 0, due, t;

	while (!stop && (t = now_ns()) < end) {
		due = (uint64_t)((double)(t - start) / 1e6 / opt.period_ms * n_flows);
		/* A machine that stood still gets all of it later, not at once. */
		if (due > next + 16 * BATCH) {
			start += (uint64_t)((double)(due - next - 16 * BATCH) * opt.period_ms /
					    n_flows * 1e6);
			due = next + 16 * BATCH;
		}
		for (unsigned int i = 0; i < 16 && next < due; i++) {
			unsigned int n = due - next < BATCH ? (unsigned int)(due - next) : BATCH;
			unsigned int same = n_dst - (unsigned int)(next % n_flows) % n_dst;

			n = n < same ? n : same;
			ask(next, n);
			next += n;
		}
		events(epfd, next < due ? 0 : TICK_MS);
		if (asked) {
			asked = 0;
			report(began);
		}
	}
	/* What is under way. */
	for (t = now_ns(); now_ns() - t < 1000000000ull && answered < sent;)
		events(epfd, TICK_MS);
	report(began);
}

int main(int argc, char **argv)
{
	static const struct option o[] = {
		{ "help", 0, NULL, 'h' },    { "from", 1, NULL, 'f' },
		{ "to", 1, NULL, 't' },	     { "sports", 1, NULL, 's' },
		{ "dports", 1, NULL, 'd' },  { "period-ms", 1, NULL, 'p' },
		{ "seconds", 1, NULL, 'S' }, { 0 }
	};
	int c, epfd = epoll_create1(EPOLL_CLOEXEC);
	bool has_from = false;

	while ((c = getopt_long(argc, argv, "h", o, NULL)) != -1) {
		switch (c) {
		case 'h':
			fputs(help, stdout);
			return 0;
		case 'f':
			parse_pod(optarg, &from);
			has_from = true;
			break;
		case 't':
			if (n_to == PODS_MAX)
				die("at most %d --to", PODS_MAX);
			parse_pod(optarg, &to[n_to++]);
			break;
		case 's':
			opt.sports = number("--sports", optarg, 4096);
			break;
		case 'd':
			opt.dports = number("--dports", optarg, 4096);
			break;
		case 'p':
			opt.period_ms = number("--period-ms", optarg, 3600000);
			break;
		case 'S':
			opt.seconds = number("--seconds", optarg, 86400);
			break;
		default:
			fputs(help, stderr);
			return 2;
		}
	}
	if (!has_from || !n_to || optind != argc || epfd < 0) {
		fputs(help, stderr);
		return 2;
	}
	signal(SIGUSR1, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	open_all(epfd);
	puts("ready");
	fflush(stdout);
	run(epfd);
	return misdelivered || corrupt ? 1 : 0;
}
