// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-load - many connections between many pods, from one process, for tests that break things.
 *
 * Theory of operation
 *
 * A socket belongs to the network namespace that its thread was in when it was made, so one process
 * can hold both ends of every connection. Both ends send messages of their own, each at its pace. A
 * message says who it is from, who it is for, which one it is and when it was sent; the rest of it
 * is a function of that. The receiving end checks all of it, every byte, and since sender and
 * receiver share a clock it knows how long the message was under way. A message that was for
 * another end is "misdelivered", any other difference is "corrupt".
 *
 * On SIGUSR1 the numbers since the last time are printed, as one line of JSON, when what was sent
 * until then has had a second to arrive. That is also what is printed at the end.
 *
 *   stall_ms     longest that a TCP message was under way, or has been so far
 *   degraded_ms  how long at least one connection waited for more than 250 ms
 *   udp_gap_ms   longest time without a datagram in one direction of one flow
 *
 * With --short, connections are made one after another and closed in every way that there is.
 *
 * Exit status: 0 all verified, 1 a connection broke or a message was wrong, 2 wrong arguments.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load-message.h"
#include "load-options.h"

#define RING	  4096 /* messages under way at once, by sequence number */
#define TICK_NS	  (10 * NS_PER_MS)
#define SLOW_NS	  (250 * NS_PER_MS)
#define SETTLE_NS (1000 * NS_PER_MS)

/* One end of a connection or UDP flow. */
struct end {
	int fd;
	bool udp, broken, up;
	struct who who; /* of what it sends */
	struct end *other;
	const struct pod *pod;
	uint64_t sent, next_at;
	uint64_t sent_at[RING];
	uint8_t *out;
	size_t out_len, out_at;
	/* what came from the other end */
	uint8_t *in;
	size_t in_len;
	uint64_t got, last_rx;
	/* UDP: numbers from @other, those before and behind a report that is due */
	uint8_t seen[RING / 8];
	uint64_t top, uniq, uniq_after, base, mark;
	uint64_t stall, gap;
};

struct short_conn {
	struct end *client, *server;
	uint64_t began;
	unsigned int way;
};

static struct end **ends;
static unsigned int n_ends, cap_ends;
static int ep, home_ns;
static uint32_t next_id;
static uint64_t now, started;
static struct {
	uint64_t messages, corrupt, misdelivered, dup, reordered, slow_ns, udp_slow_ns;
} sum;
static uint64_t broken, wrong, failed_shorts, done_shorts[LOAD_WAYS];
static volatile sig_atomic_t stop, report_wanted;
static uint64_t report_at, report_from;
static bool finishing;

__attribute__((format(printf, 1, 2))) static void complain(const char *fmt, ...)
{
	static unsigned int n;
	va_list ap;

	if (n++ >= 20)
		return;
	fprintf(stderr, "xmt-load: %.3f: ", (double)(now - started) / 1e9);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static void now_update(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* ---- sockets ---- */

static int socket_in(const struct pod *p, int type)
{
	int fd;

	if (setns(p->ns, CLONE_NEWNET))
		die("cannot enter the namespace of %s: %s", p->name, strerror(errno));
	fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (setns(home_ns, CLONE_NEWNET) || fd < 0)
		die("socket in %s: %s", p->name, strerror(errno));
	return fd;
}

static void bind_to(int fd, const struct pod *p, int port, struct sockaddr_in *sa)
{
	socklen_t len = sizeof(*sa);

	*sa = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_port = htons((uint16_t)port),
				    .sin_addr.s_addr = p->addr };
	if (bind(fd, (struct sockaddr *)sa, len) || getsockname(fd, (struct sockaddr *)sa, &len))
		die("cannot bind to port %d of %s: %s", port, p->name, strerror(errno));
}

static void watch(int fd, uint32_t events, void *who, int op)
{
	struct epoll_event ev = { .events = events, .data.ptr = who };

	if (epoll_ctl(ep, op, fd, &ev))
		die("epoll: %s", strerror(errno));
}

static struct end *end_new(const struct pod *p, bool udp, uint32_t id, uint8_t dir)
{
	struct end *e = calloc(1, sizeof(*e));

	if (!e || !(e->in = malloc(LOAD_MAX * 2)) || !(e->out = malloc(LOAD_MAX)))
		die("out of memory");
	e->fd = -1;
	e->udp = udp;
	e->pod = p;
	e->who.id = id;
	e->who.dir = dir;
	if (n_ends == cap_ends) {
		cap_ends = cap_ends ? cap_ends * 2 : 256;
		ends = realloc(ends, cap_ends * sizeof(struct end *));
		if (!ends)
			die("out of memory");
	}
	ends[n_ends++] = e;
	return e;
}

/* Two ends that know each other; the sockets follow. Return: the client's end. */
static struct end *pair_new(unsigned int pair, bool udp)
{
	uint32_t id = ++next_id;
	struct end *a = end_new(pairs[pair].from, udp, id, 0);
	struct end *b = end_new(pairs[pair].to, udp, id, 1);

	a->other = b;
	b->other = a;
	a->who.src = b->who.dst = a->pod->addr;
	a->who.dst = b->who.src = b->pod->addr;
	return a;
}

static void end_free(struct end *e)
{
	for (unsigned int i = 0; i < n_ends; i++)
		if (ends[i] == e)
			ends[i] = ends[--n_ends];
	if (e->fd >= 0)
		close(e->fd);
	free(e->in);
	free(e->out);
	free(e);
}

static void begin(struct end *e)
{
	e->up = true;
	e->last_rx = now;
	/* Not all at once. */
	e->next_at = now + (uint64_t)(opt.interval_ms * 1e6 * (double)(e->who.id % 64) / 64);
}

static struct end *tcp_connect(unsigned int pair)
{
	struct end *a = pair_new(pair, false);
	struct sockaddr_in sa, to = { .sin_family = AF_INET,
				      .sin_port = htons((uint16_t)opt.port),
				      .sin_addr.s_addr = a->who.dst };

	a->fd = socket_in(a->pod, SOCK_STREAM);
	setsockopt(a->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	bind_to(a->fd, a->pod, 0, &sa);
	a->who.sport = a->other->who.dport = sa.sin_port;
	a->who.dport = a->other->who.sport = to.sin_port;
	if (connect(a->fd, (struct sockaddr *)&to, sizeof(to)) && errno != EINPROGRESS)
		die("connect from %s: %s", a->pod->name, strerror(errno));
	watch(a->fd, EPOLLIN | EPOLLOUT, a, EPOLL_CTL_ADD);
	return a;
}

static void udp_pair(unsigned int pair)
{
	struct end *a = pair_new(pair, true), *b = a->other;
	struct sockaddr_in sa, sb;

	a->fd = socket_in(a->pod, SOCK_DGRAM);
	b->fd = socket_in(b->pod, SOCK_DGRAM);
	bind_to(a->fd, a->pod, 0, &sa);
	bind_to(b->fd, b->pod, 0, &sb);
	a->who.sport = b->who.dport = sa.sin_port;
	a->who.dport = b->who.sport = sb.sin_port;
	watch(a->fd, EPOLLIN, a, EPOLL_CTL_ADD);
	watch(b->fd, EPOLLIN, b, EPOLL_CTL_ADD);
	begin(a);
	begin(b);
}

static void on_accept(struct pod *p)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	int fd = accept4(p->listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return;
	for (unsigned int i = 0; i < n_ends; i++) {
		struct end *b = ends[i];

		if (b->udp || b->fd >= 0 || b->broken || b->pod != p || b->who.dir != 1 ||
		    b->who.dst != from.sin_addr.s_addr || b->who.dport != from.sin_port)
			continue;
		b->fd = fd;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		watch(fd, EPOLLIN, b, EPOLL_CTL_ADD);
		begin(b);
		return;
	}
	complain("%s: a connection from nobody", p->name);
	sum.misdelivered++;
	wrong++;
	close(fd);
}

/* ---- sending and receiving ---- */

static void end_broke(struct end *e, const char *why)
{
	if (e->broken)
		return;
	complain("connection %u, %s end at %s: %s after %llu sent, %llu received", e->who.id,
		 e->who.dir ? "server" : "client", e->pod->name, why, (unsigned long long)e->sent,
		 (unsigned long long)e->got);
	if (!e->other->broken)
		broken++;
	e->broken = true;
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
}

static void flush(struct end *e)
{
	while (e->out_at < e->out_len) {
		ssize_t n = send(e->fd, e->out + e->out_at, e->out_len - e->out_at, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			end_broke(e, strerror(errno));
			return;
		}
		e->out_at += (size_t)n;
	}
	watch(e->fd, EPOLLIN | (e->out_at < e->out_len ? EPOLLOUT : 0), e, EPOLL_CTL_MOD);
}

static void send_message(struct end *e)
{
	uint32_t len = load_len(&e->who, e->sent, opt.size, opt.big, e->udp);
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = e->who.dport,
				  .sin_addr.s_addr = e->who.dst };

	if (e->out_at < e->out_len || e->sent - e->other->got >= RING - 1)
		return;
	load_make(e->out, &e->who, e->sent, now, len);
	e->sent_at[e->sent % RING] = now;
	e->sent++;
	if (!e->udp) {
		e->out_len = len;
		e->out_at = 0;
		flush(e);
		return;
	}
	/* An unreachable pod is what the receiving end counts as loss. */
	(void)!sendto(e->fd, e->out, len, 0, (struct sockaddr *)&to, sizeof(to));
}

/* Return: the message's length when it is whole and right, 0 when more is needed, -1 wrong. */
static int check_message(struct end *e, const uint8_t *data, size_t len, uint64_t *seq)
{
	enum load_fault fault;
	int n = load_check(data, len, &e->other->who, seq, &fault);

	if (n >= 0)
		return n;
	wrong++;
	if (fault == LOAD_MISDELIVERED)
		sum.misdelivered++;
	else
		sum.corrupt++;
	complain("%s %u at %s: a message that is %s", e->udp ? "flow" : "connection", e->who.id,
		 e->pod->name, fault == LOAD_MISDELIVERED ? "another's" : "corrupt");
	return -1;
}

static void arrived(struct end *e, uint64_t seq)
{
	uint64_t took = now - e->other->sent_at[seq % RING];

	sum.messages++;
	if (!e->udp && took > e->stall)
		e->stall = took;
	if (now - e->last_rx > e->gap)
		e->gap = now - e->last_rx;
	e->last_rx = now;
}

static void tcp_readable(struct end *e)
{
	ssize_t n = recv(e->fd, e->in + e->in_len, LOAD_MAX * 2 - e->in_len, 0);
	size_t at = 0;
	uint64_t seq;
	int len;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		end_broke(e, n ? strerror(errno) : "closed by the other end");
		return;
	}
	e->in_len += (size_t)n;
	while ((len = check_message(e, e->in + at, e->in_len - at, &seq)) > 0) {
		if (seq != e->got) {
			wrong++;
			sum.corrupt++;
			len = -1;
			break;
		}
		arrived(e, seq);
		e->got++;
		at += (size_t)len;
	}
	if (len < 0) {
		end_broke(e, "wrong data");
		return;
	}
	memmove(e->in, e->in + at, e->in_len - at);
	e->in_len -= at;
}

static void udp_readable(struct end *e)
{
	struct sockaddr_in from;
	socklen_t alen = sizeof(from);
	uint64_t seq;
	ssize_t n;

	while ((n = recvfrom(e->fd, e->in, LOAD_MAX, 0, (struct sockaddr *)&from, &alen)) >= 0) {
		if (check_message(e, e->in, (size_t)n, &seq) != n)
			continue;
		if (from.sin_addr.s_addr != e->who.dst || from.sin_port != e->who.dport) {
			sum.misdelivered++;
			wrong++;
			complain("flow %u at %s: from another address", e->who.id, e->pod->name);
			continue;
		}
		for (; e->top <= seq; e->top++)
			e->seen[e->top % RING / 8] &= (uint8_t) ~(1u << e->top % 8);
		if (e->top - seq > RING || e->seen[seq % RING / 8] & 1u << seq % 8) {
			sum.dup++;
			continue;
		}
		sum.reordered += seq + 1 < e->top;
		e->seen[seq % RING / 8] |= (uint8_t)(1u << seq % 8);
		/* A ring of what the sender has not heard of; got is no count for UDP. */
		e->got = e->top;
		if (seq < e->base)
			continue; /* of a report that is printed: lost there */
		if (report_at && seq >= e->mark)
			e->uniq_after++;
		else
			e->uniq++;
		arrived(e, seq);
	}
}

static void on_end(struct end *e, uint32_t events)
{
	int err = 0;
	socklen_t len = sizeof(err);

	if (e->udp) {
		udp_readable(e);
		return;
	}
	if (!e->up && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
		getsockopt(e->fd, SOL_SOCKET, SO_ERROR, &err, &len);
		if (err) {
			end_broke(e, strerror(err));
			return;
		}
		begin(e);
		watch(e->fd, EPOLLIN, e, EPOLL_CTL_MOD);
	}
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		tcp_readable(e);
	if (e->fd >= 0 && e->up && events & EPOLLOUT)
		flush(e);
}

/* ---- measuring ---- */

/* How long the oldest message from @e's other end has been under way. */
static uint64_t waiting(const struct end *e)
{
	return e->other->sent > e->got ? now - e->other->sent_at[e->got % RING] : 0;
}

static void tick(void)
{
	static uint64_t last;
	bool slow = false, udp_slow = false;
	uint64_t patience = SLOW_NS + (uint64_t)(opt.interval_ms * 1e6);

	for (unsigned int i = 0; i < n_ends; i++) {
		struct end *e = ends[i];

		if (!e->up || e->broken)
			continue;
		if (e->udp) {
			udp_slow |= now - e->last_rx > patience && !finishing;
		} else if (waiting(e) > SLOW_NS) {
			slow = true;
			if (waiting(e) > e->stall)
				e->stall = waiting(e);
		}
		if (!finishing && now >= e->next_at) {
			e->next_at += (uint64_t)(opt.interval_ms * 1e6);
			if (e->next_at < now)
				e->next_at = now;
			send_message(e);
		}
	}
	if (last) {
		sum.slow_ns += slow ? now - last : 0;
		sum.udp_slow_ns += udp_slow ? now - last : 0;
	}
	last = now;
}

static void report(void)
{
	uint64_t stall = 0, gap = 0, sent = 0, lost = 0;
	unsigned int tcp = 0, flows = 0, stalled = 0;

	for (unsigned int i = 0; i < n_ends; i++) {
		struct end *e = ends[i];

		if (e->udp) {
			flows += e->who.dir;
			if (e->last_rx && now - e->last_rx > e->gap && !finishing)
				e->gap = now - e->last_rx;
			if (e->gap > gap)
				gap = e->gap;
			sent += e->mark - e->base;
			lost += e->mark - e->base - e->uniq;
			e->base = e->mark;
			e->uniq = e->uniq_after;
			e->uniq_after = 0;
		} else if (!e->broken) {
			tcp += e->who.dir;
			if (e->stall > stall)
				stall = e->stall;
			stalled += e->stall > SLOW_NS;
		}
		e->stall = 0;
		e->gap = 0;
	}
	printf("{\"seconds\":%.1f,\"tcp\":%u,\"broken\":%llu,\"corrupt\":%llu,"
	       "\"misdelivered\":%llu,\"messages\":%llu,\"stall_ms\":%.0f,\"stalled\":%u,"
	       "\"degraded_ms\":%.0f,\"udp\":%u,\"udp_sent\":%llu,\"udp_lost\":%llu,"
	       "\"udp_dup\":%llu,\"udp_reordered\":%llu,\"udp_gap_ms\":%.0f,"
	       "\"udp_degraded_ms\":%.0f}\n",
	       (double)(now - report_from) / 1e9, tcp, (unsigned long long)broken,
	       (unsigned long long)sum.corrupt, (unsigned long long)sum.misdelivered,
	       (unsigned long long)sum.messages, (double)stall / 1e6, stalled,
	       (double)sum.slow_ns / 1e6, flows, (unsigned long long)sent, (unsigned long long)lost,
	       (unsigned long long)sum.dup, (unsigned long long)sum.reordered, (double)gap / 1e6,
	       (double)sum.udp_slow_ns / 1e6);
	fflush(stdout);
	memset(&sum, 0, sizeof(sum));
	report_from = now;
}

static void report_begin(void)
{
	report_wanted = 0;
	if (report_at)
		return;
	for (unsigned int i = 0; i < n_ends; i++)
		ends[i]->mark = ends[i]->other->sent;
	report_at = now + SETTLE_NS;
}

/* ---- the loop ---- */

static void turn(void)
{
	struct timespec ts = { .tv_nsec = (long)TICK_NS };
	struct epoll_event ev[256];
	int n = epoll_pwait2(ep, ev, 256, &ts, NULL);

	now_update();
	for (int i = 0; i < n; i++) {
		struct pod *p = ev[i].data.ptr;

		if (p >= pods && p < pods + MAX_PODS)
			on_accept(p);
		else if (((struct end *)ev[i].data.ptr)->fd >= 0)
			on_end(ev[i].data.ptr, ev[i].events);
	}
	tick();
	if (report_wanted)
		report_begin();
	if (report_at && now >= report_at) {
		report_at = 0;
		report();
	}
}

static bool all_up(void)
{
	for (unsigned int i = 0; i < n_ends; i++)
		if (!ends[i]->up && !ends[i]->broken)
			return false;
	return true;
}

/* Closes a connection that has done its work; both ends. */
static void close_in_way(struct short_conn *c)
{
	struct end *a = c->way & 1 ? c->server : c->client, *b = a->other;
	struct linger l = { .l_onoff = 1 };

	switch ((enum load_way)c->way) {
	case LOAD_FIN_CLIENT:
	case LOAD_FIN_SERVER:
		shutdown(a->fd, SHUT_RDWR);
		break;
	case LOAD_RST_CLIENT:
	case LOAD_RST_SERVER:
		setsockopt(a->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
		break;
	case LOAD_HALF_CLIENT:
	case LOAD_HALF_SERVER:
		shutdown(a->fd, SHUT_WR);
		/* What comes back on the half that is open. */
		send_message(b);
		break;
	case LOAD_WAYS:
		break;
	}
	done_shorts[c->way]++;
	end_free(a);
	end_free(b);
	c->client = NULL;
}

/* True when connection @c is over. */
static bool short_turn(struct short_conn *c)
{
	if (c->client->broken || c->server->broken ||
	    now - c->began > (uint64_t)(opt.timeout * 1e9) / 4) {
		failed_shorts++;
		end_free(c->client);
		end_free(c->server);
		c->client = NULL;
		return true;
	}
	if (now - c->began < (uint64_t)(opt.hold * 1e6) || c->client->got < 2 || c->server->got < 2)
		return false;
	close_in_way(c);
	return true;
}

static void run_shorts(void)
{
	struct short_conn *c = calloc((size_t)opt.parallel, sizeof(*c));
	int begun = 0, live = 0;

	if (!c)
		die("out of memory");
	while ((begun < opt.shorts || live) && !stop) {
		for (int i = 0; i < opt.parallel; i++) {
			if (c[i].client && short_turn(&c[i]))
				live--;
			if (c[i].client || begun == opt.shorts)
				continue;
			c[i].client = tcp_connect((unsigned int)begun % n_pairs);
			c[i].server = c[i].client->other;
			c[i].began = now;
			c[i].way = (unsigned int)begun / n_pairs % LOAD_WAYS;
			begun++;
			live++;
		}
		turn();
	}
	free(c);
	printf("{\"short\":%d,\"failed\":%llu,\"ways\":[", begun,
	       (unsigned long long)failed_shorts);
	for (int i = 0; i < LOAD_WAYS; i++)
		printf("%s%llu", i ? "," : "", (unsigned long long)done_shorts[i]);
	printf("]}\n");
	fflush(stdout);
}

/* ---- signals, start and end ---- */

static void on_signal(int sig)
{
	if (sig == SIGUSR1)
		report_wanted = 1;
	else
		stop = 1;
}

static void prepare(void)
{
	const int signals[] = { SIGUSR1, SIGINT, SIGTERM };
	struct sigaction sa = { .sa_handler = on_signal };
	struct sockaddr_in addr;
	struct rlimit rl;

	for (int i = 0; i < 3; i++)
		sigaction(signals[i], &sa, NULL);
	if (!getrlimit(RLIMIT_NOFILE, &rl)) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	now_update();
	started = report_from = now;
	home_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ep = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned int i = 0; i < n_pods; i++) {
		pods[i].listener = socket_in(&pods[i], SOCK_STREAM);
		setsockopt(pods[i].listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
		bind_to(pods[i].listener, &pods[i], opt.port, &addr);
		if (listen(pods[i].listener, 1024))
			die("listen in %s: %s", pods[i].name, strerror(errno));
		watch(pods[i].listener, EPOLLIN, &pods[i], EPOLL_CTL_ADD);
	}
}

int main(int argc, char **argv)
{
	uint64_t end;

	parse_arguments(argc, argv);
	prepare();
	for (unsigned int i = 0; i < n_pairs; i++) {
		for (int k = 0; k < opt.tcp; k++)
			tcp_connect(i);
		for (int k = 0; k < opt.udp; k++)
			udp_pair(i);
	}
	end = started + (uint64_t)(opt.timeout * 1e9);
	while (!stop && !all_up() && now < end)
		turn();
	if (broken || !all_up())
		return 1;
	puts("ready");
	fflush(stdout);
	if (opt.shorts)
		run_shorts();
	while (!stop && now < end)
		turn();
	if (!stop)
		die("not ended within %.0f s", opt.timeout);
	/* What is under way may still arrive. */
	report_begin();
	report_at = 0;
	finishing = true;
	end = now + 8 * NS_PER_SEC;
	while (now < end) {
		bool more = now < end - 8 * NS_PER_SEC + SETTLE_NS;

		turn();
		for (unsigned int i = 0; i < n_ends && !more; i++)
			more = !ends[i]->udp && !ends[i]->broken && waiting(ends[i]);
		if (!more)
			break;
	}
	for (unsigned int i = 0; i < n_ends; i++)
		if (!ends[i]->udp && !ends[i]->broken && waiting(ends[i]))
			end_broke(ends[i], "still waiting at the end");
	report();
	return broken || wrong || failed_shorts ? 1 : 0;
}
