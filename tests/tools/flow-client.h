/* SPDX-License-Identifier: GPL-2.0-only */
/* flow-client.h - the end of xmt-flow that connects, paces and measures. */
#ifndef XMT_FLOW_CLIENT_H
#define XMT_FLOW_CLIENT_H

#include <arpa/inet.h>
#include "flow-common.h"

enum state {
	ST_CONNECTING,
	ST_RUNNING,  /* may begin messages */
	ST_DRAINING, /* begins none; answers are outstanding */
	ST_CLOSING,  /* TCP: half-closed, waits for verdict and EOF. UDP: waits for the report */
	ST_OK,
	ST_BROKEN,
};

struct flow {
	int fd, index, tries;
	enum state state;
	bool want_out;
	uint64_t seed;
	size_t hello_sent, verdict_got;
	struct verdict verdict;
	uint64_t begun;	     /* messages begun */
	uint64_t rounds;     /* messages answered (TCP stream, duplex: sent) */
	uint64_t tx, tx_end; /* bytes sent; where the current message ends */
	uint64_t rx;
	uint64_t next_at;    /* when the next message may begin */
	uint64_t timer;	     /* when flow_tick() has work, or NEVER */
	uint64_t sent_at;    /* start of the current message */
	uint64_t wait_since; /* since when it waits without progress; 0: it does not */
	uint64_t stall;
	/* UDP */
	struct order order;
	uint64_t written_off; /* datagrams not waited for any more */
	uint64_t corrupted;
	struct report report;
	bool reported;
	uint64_t times[WINDOW_BITS];
};

static struct flow *flows;
static int cli_ep, cli_live, cli_mss;
static uint64_t cli_start, cli_begin_end, connect_max;

static inline uint32_t size_of(uint64_t message)
{
	return opt.sizes[message % opt.nsizes];
}

static inline void flow_progress(struct flow *f, bool waits)
{
	uint64_t now = now_ns();

	if (f->wait_since && now - f->wait_since > f->stall)
		f->stall = now - f->wait_since;
	f->wait_since = waits ? now : 0;
}

static inline void flow_end(struct flow *f, bool ok, const char *why)
{
	if (f->state >= ST_OK)
		return;
	flow_progress(f, false);
	if (!ok)
		complain("connection %d: %s after %llu bytes out, %llu in", f->index, why,
			 (unsigned long long)f->tx, (unsigned long long)f->rx);
	f->state = ok ? ST_OK : ST_BROKEN;
	f->timer = NEVER;
	if (f->fd >= 0) {
		if (!opt.udp && (!ok || opt.linger_rst))
			close_rst(f->fd);
		else
			close(f->fd);
	}
	f->fd = -1;
	cli_live--;
}

static inline void flow_want_out(struct flow *f, bool want)
{
	if (f->want_out == want || f->fd < 0)
		return;
	f->want_out = want;
	poll_set(cli_ep, EPOLL_CTL_MOD, f->fd, EPOLLIN | (want ? EPOLLOUT : 0), f);
}

/* True when the flow has begun all messages that it was told to. */
static inline bool flow_complete(const struct flow *f, uint64_t now)
{
	return (opt.rounds && f->begun >= opt.rounds) || (opt.bytes && f->tx_end >= opt.bytes) ||
	       (opt.duration > 0 && now >= cli_begin_end) || stop;
}

static inline void flow_begin_message(struct flow *f, uint64_t now)
{
	f->tx_end += size_of(f->begun);
	if (opt.bytes && !opt.udp && f->tx_end > opt.bytes)
		f->tx_end = opt.bytes;
	f->begun++;
	f->sent_at = now;
	if (opt.interval_ms > 0) {
		f->next_at += (uint64_t)(opt.interval_ms * 1e6);
		/* After a stall go on at the pace, not with a burst. */
		if (f->next_at < now)
			f->next_at = now;
	}
}

static inline void tcp_finish_sending(struct flow *f)
{
	bool verdict = opt.half_close || opt.mode == MODE_STREAM ||
		       (opt.mode == MODE_DUPLEX && !opt.linger_rst);

	if (!verdict) {
		flow_end(f, true, NULL);
		return;
	}
	f->state = ST_CLOSING;
	shutdown(f->fd, SHUT_WR);
	flow_want_out(f, false);
	flow_progress(f, true);
}

/* Begins and sends messages until the window, the pace or the socket says stop. */
static inline void tcp_send(struct flow *f)
{
	for (int burst = 0;; burst++) {
		bool waits = opt.mode != MODE_STREAM && f->rx < f->tx;
		uint64_t now;
		size_t len;
		ssize_t n;

		f->timer = NEVER;
		if (f->tx == f->tx_end) {
			now = now_ns();
			if (f->state == ST_RUNNING && flow_complete(f, now))
				f->state = ST_DRAINING;
			if (f->state == ST_DRAINING && !waits) {
				tcp_finish_sending(f);
				return;
			}
			if (f->state != ST_RUNNING || (opt.mode == MODE_RR && waits)) {
				flow_want_out(f, false);
				return;
			}
			if (now < f->next_at || burst >= 8) {
				/* Let others have their turn, too. */
				f->timer = now < f->next_at ? f->next_at : now;
				flow_want_out(f, false);
				return;
			}
			flow_begin_message(f, now);
		}
		len = f->tx_end - f->tx > BUF_SIZE ? BUF_SIZE : f->tx_end - f->tx;
		stream_bytes(f->seed, DIR_UP, f->tx, buf, len);
		n = send(f->fd, buf, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			if (!f->wait_since)
				flow_progress(f, true);
			flow_want_out(f, true);
			return;
		}
		if (n < 0) {
			flow_end(f, false, strerror(errno));
			return;
		}
		f->tx += (size_t)n;
		if (opt.mode != MODE_RR && f->tx == f->tx_end)
			f->rounds++;
		if (opt.mode == MODE_STREAM) {
			flow_progress(f, f->tx < f->tx_end);
		} else if (!f->wait_since) {
			flow_progress(f, true);
		}
	}
}

static inline void tcp_connected(struct flow *f)
{
	struct hello h = { .magic = MAGIC_HELLO, .seed = f->seed, .nconns = (uint32_t)opt.conns };
	socklen_t len = sizeof(int);
	uint64_t now = now_ns();
	int err = 0;

	getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err) {
		flow_end(f, false, strerror(err));
		return;
	}
	if (now - cli_start > connect_max)
		connect_max = now - cli_start;
	f->wait_since = 0;
	len = sizeof(cli_mss);
	getsockopt(f->fd, IPPROTO_TCP, TCP_MAXSEG, &cli_mss, &len);
	if (opt.mode != MODE_STREAM)
		h.flags |= F_ECHO;
	if (opt.linger_rst)
		h.flags |= F_RST_END;
	else if (opt.half_close || opt.mode != MODE_RR)
		h.flags |= F_VERDICT;
	/* 24 bytes always fit into an empty socket buffer. */
	if (send(f->fd, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h)) {
		flow_end(f, false, "cannot send the header");
		return;
	}
	f->state = ST_RUNNING;
	f->next_at = now;
	tcp_send(f);
}

static inline void tcp_eof(struct flow *f)
{
	if (f->state != ST_CLOSING)
		flow_end(f, false, "closed by the server");
	else if (f->verdict_got < sizeof(f->verdict))
		flow_end(f, false, "closed without a verdict");
	else if (f->verdict.magic != MAGIC_VERDICT || f->verdict.bytes != f->tx)
		flow_end(f, false, "the server verified another number of bytes");
	else
		flow_end(f, true, NULL);
}

/* Takes stream bytes, and what follows them after the half-close as the verdict. */
static inline void tcp_take(struct flow *f, const uint8_t *data, size_t len)
{
	uint64_t due = opt.mode == MODE_STREAM ? 0 : f->tx - f->rx;
	size_t stream = len < due ? len : due, rest = len - stream;
	ssize_t bad = stream_check(f->seed, DIR_DOWN, f->rx, data, stream);

	if (bad >= 0) {
		f->corrupted++;
		complain("connection %d: wrong byte at offset %llu: 0x%02x, must be 0x%02x",
			 f->index, (unsigned long long)f->rx + (unsigned long long)bad, data[bad],
			 expected[bad]);
		flow_end(f, false, "corrupted");
		return;
	}
	f->rx += stream;
	if (stream)
		flow_progress(f, f->rx < f->tx || f->state == ST_CLOSING);
	if (opt.mode == MODE_RR && stream && f->rx == f->tx_end) {
		f->rounds++;
		rtt_add(now_ns() - f->sent_at);
	}
	if (!rest)
		return;
	if (f->state != ST_CLOSING || rest > sizeof(f->verdict) - f->verdict_got) {
		f->corrupted++;
		flow_end(f, false, "more bytes than were sent came back");
		return;
	}
	memcpy((char *)&f->verdict + f->verdict_got, data + stream, rest);
	f->verdict_got += rest;
}

static inline void tcp_event(struct flow *f, uint32_t events)
{
	if (f->state == ST_CONNECTING) {
		tcp_connected(f);
		return;
	}
	for (int i = 0; i < 4 && (events & ~(uint32_t)EPOLLOUT); i++) {
		ssize_t n = recv(f->fd, buf, BUF_SIZE, 0);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			flow_end(f, false, strerror(errno));
		else if (n == 0)
			tcp_eof(f);
		else
			tcp_take(f, buf, (size_t)n);
		if (f->state >= ST_OK)
			return;
		if ((size_t)n < BUF_SIZE)
			break;
	}
	if (f->state == ST_RUNNING || f->state == ST_DRAINING)
		tcp_send(f);
}

static inline void udp_ask_report(struct flow *f, uint64_t now)
{
	struct {
		struct dgram h;
		struct report r;
	} q = {
		.h = { .magic = MAGIC_DGRAM,
		       .len = sizeof(q),
		       .flags = F_REPORT,
		       .seed = f->seed,
		       .seq = f->begun },
		.r = { .nconns = (uint64_t)opt.conns },
	};

	f->state = ST_CLOSING;
	if (f->tries++ == 20) {
		flow_end(f, false, "the server does not answer");
		return;
	}
	f->timer = now + opt.wait_ns;
	if (send(f->fd, &q, sizeof(q), 0) < 0 && errno != EAGAIN && errno != ECONNREFUSED)
		complain("connection %d: send: %s", f->index, strerror(errno));
}

/* Begins datagrams until window, pace or socket say stop; writes off what is overdue. */
static inline void udp_send(struct flow *f)
{
	for (int burst = 0;; burst++) {
		uint64_t now = now_ns(), out = f->begun - f->order.unique - f->written_off;
		struct dgram h = { .magic = MAGIC_DGRAM, .seed = f->seed, .seq = f->begun };
		ssize_t n;

		if (opt.mode == MODE_STREAM)
			out = 0;
		if (out && now >= f->sent_at + opt.wait_ns) {
			f->written_off += out;
			out = 0;
		}
		if (f->state == ST_RUNNING && flow_complete(f, now))
			f->state = ST_DRAINING;
		if (f->state == ST_DRAINING && !out) {
			udp_ask_report(f, now);
			return;
		}
		f->timer = out ? f->sent_at + opt.wait_ns : NEVER;
		if (f->state != ST_RUNNING || out >= (uint64_t)opt.window)
			return;
		if (now < f->next_at || burst >= 32) {
			uint64_t at = now < f->next_at ? f->next_at : now;

			f->timer = at < f->timer ? at : f->timer;
			return;
		}
		flow_begin_message(f, now);
		h.len = (uint16_t)size_of(h.seq);
		h.flags = opt.mode == MODE_STREAM ? 0 : F_ECHO;
		n = send(f->fd, buf, dgram_make(&h, DIR_UP, buf), 0);
		if (n < 0 && errno != EAGAIN && errno != ECONNREFUSED && errno != ENOBUFS) {
			/* EMSGSIZE with --df, for one: no later datagram would fare better. */
			flow_end(f, false, strerror(errno));
			return;
		}
		f->times[h.seq % WINDOW_BITS] = now;
		f->tx += h.len;
		if (opt.mode == MODE_STREAM)
			f->rounds++;
		else if (!f->wait_since)
			flow_progress(f, true);
	}
}

static inline void udp_take(struct flow *f, size_t len)
{
	uint64_t now = now_ns();
	struct dgram h;

	memcpy(&h, buf, sizeof(h));
	if (len < sizeof(h) || h.magic != MAGIC_DGRAM || h.seed != f->seed || h.seq > f->begun) {
		f->corrupted++;
		complain("connection %d: a datagram of %zu bytes that is not its own", f->index,
			 len);
		return;
	}
	if (h.flags & F_REPORT) {
		if (f->state == ST_CLOSING && len == sizeof(h) + sizeof(f->report)) {
			memcpy(&f->report, buf + sizeof(h), sizeof(f->report));
			f->reported = true;
			flow_end(f, f->report.got > 0, "no datagram arrived");
		}
		return;
	}
	if (h.len != size_of(h.seq) || !dgram_ok(&h, DIR_DOWN, buf, len)) {
		f->corrupted++;
		complain("connection %d: answer %llu is corrupted", f->index,
			 (unsigned long long)h.seq);
		return;
	}
	if (!order_add(&f->order, h.seq))
		return;
	f->rx += len;
	f->rounds++;
	/* An answer that was written off and comes after all. */
	if (f->order.unique + f->written_off > f->begun)
		f->written_off--;
	if (f->begun - h.seq <= WINDOW_BITS)
		rtt_add(now - f->times[h.seq % WINDOW_BITS]);
	flow_progress(f, f->order.unique + f->written_off < f->begun);
}

static inline void udp_event(struct flow *f)
{
	for (int i = 0; i < 64 && f->state < ST_OK; i++) {
		ssize_t n = recv(f->fd, buf, BUF_SIZE, 0);

		if (n < 0) {
			/* ICMP: the server may not be up yet, or not any more. */
			if (errno == ECONNREFUSED)
				continue;
			break;
		}
		udp_take(f, (size_t)n);
	}
	if (f->state == ST_RUNNING || f->state == ST_DRAINING)
		udp_send(f);
}

static inline void flow_tick(struct flow *f, uint64_t now)
{
	f->timer = NEVER;
	if (f->state == ST_CLOSING)
		udp_ask_report(f, now);
	else if (opt.udp)
		udp_send(f);
	else
		tcp_send(f);
}

static inline void flow_open(struct flow *f, const struct sockaddr_in *to)
{
	struct sockaddr_in from = { .sin_family = AF_INET };
	int type = (opt.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;

	f->timer = NEVER;
	f->fd = socket(AF_INET, type, 0);
	if (f->fd < 0 || socket_options(f->fd)) {
		flow_end(f, false, strerror(errno));
		return;
	}
	if (opt.source_port) {
		from.sin_port = htons((uint16_t)(opt.source_port + f->index));
		set_int(f->fd, SOL_SOCKET, SO_REUSEADDR, 1, "SO_REUSEADDR");
		if (bind(f->fd, (struct sockaddr *)&from, sizeof(from))) {
			flow_end(f, false, strerror(errno));
			return;
		}
	}
	if (connect(f->fd, (const struct sockaddr *)to, sizeof(*to)) && errno != EINPROGRESS) {
		flow_end(f, false, strerror(errno));
		return;
	}
	f->want_out = !opt.udp;
	poll_set(cli_ep, EPOLL_CTL_ADD, f->fd, EPOLLIN | (opt.udp ? 0 : EPOLLOUT), f);
	f->next_at = now_ns();
	if (opt.udp) {
		f->state = ST_RUNNING;
		udp_send(f);
	}
}

static inline uint64_t client_next(uint64_t now, uint64_t end)
{
	uint64_t next = end;
	bool over = stop || (opt.duration > 0 && now >= cli_begin_end);

	if (opt.duration > 0 && !over && cli_begin_end < next)
		next = cli_begin_end;
	for (int i = 0; i < opt.conns; i++) {
		/* A flow that waits for its pace must still see that time is over. */
		if ((flows[i].timer <= now && flows[i].state < ST_OK) ||
		    (over && flows[i].state == ST_RUNNING))
			flow_tick(&flows[i], now);
		if (flows[i].timer < next)
			next = flows[i].timer;
	}
	return next;
}

static inline void client_loop(uint64_t end)
{
	struct epoll_event ev[64];

	while (cli_live > 0) {
		uint64_t now = now_ns(), next = client_next(now, end);
		int n;

		if (cli_live == 0)
			break;
		/* After a signal: what is outstanding gets little time. */
		if (stop && end > now + 5 * NS_PER_SEC)
			end = now + 5 * NS_PER_SEC;
		if (now >= end) {
			for (int i = 0; i < opt.conns; i++)
				flow_end(&flows[i], false, "--timeout");
			break;
		}
		n = poll_wait(cli_ep, ev, 64, next);
		for (int i = 0; i < n; i++) {
			struct flow *f = ev[i].data.ptr;

			if (f->state >= ST_OK)
				continue;
			if (opt.udp)
				udp_event(f);
			else
				tcp_event(f, ev[i].events);
		}
	}
}

struct totals {
	uint64_t ok, broken, tx, rx, rounds, sent, lost, reordered, duplicated, corrupted, stall;
};

static inline void client_sum(struct totals *t)
{
	for (int i = 0; i < opt.conns; i++) {
		struct flow *f = &flows[i];
		/* Loss is counted where the last datagram of the exchange arrives. */
		uint64_t got = opt.mode == MODE_STREAM ? f->report.got : f->order.unique;

		t->ok += f->state == ST_OK;
		t->broken += f->state != ST_OK;
		t->tx += f->tx;
		t->rx += f->rx;
		t->rounds += f->rounds;
		t->corrupted += f->corrupted + f->report.corrupted;
		if (f->stall > t->stall)
			t->stall = f->stall;
		if (!opt.udp)
			continue;
		t->sent += f->begun;
		t->lost += f->begun - got;
		t->reordered += f->order.reordered + f->report.reordered;
		t->duplicated += f->order.duplicated + f->report.duplicated;
	}
}

static inline void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s >= ' ')
			putchar(*s);
	putchar('"');
}

static inline int client_report(double elapsed)
{
	static const char *const mode[] = { "rr", "stream", "duplex" };
	double p50 = rtt_us(0.5), p99 = rtt_us(0.99);
	struct totals t = { 0 };
	int status;

	client_sum(&t);
	status = t.broken || t.corrupted || errors ? 1 : 0;
	printf(opt.json
		       ? "{\"role\":\"client\",\"proto\":\"%s\",\"mode\":\"%s\",\"seconds\":%.3f,"
			 "\"connections\":%d,\"ok\":%llu,\"broken\":%llu,\"bytes_out\":%llu,\"bytes_in\":%llu,"
			 "\"rounds\":%llu,\"rate\":%.1f,\"mbit_out\":%.1f,\"sent\":%llu,\"lost\":%llu,"
			 "\"reordered\":%llu,\"duplicated\":%llu,\"corrupted\":%llu,\"stall_ms\":%.1f,"
			 "\"connect_ms\":%.1f,\"rtt_p50_us\":%.1f,\"rtt_p99_us\":%.1f,\"mss\":%d,\"errors\":%lu"
		       : "%s %s, %.3f s: %d connections, %llu ok, %llu broken\n"
			 "%llu bytes out, %llu in, %llu rounds, %.1f /s, %.1f Mbit/s out\n"
			 "datagrams: %llu sent, %llu lost, %llu reordered, %llu duplicated; corrupted %llu\n"
			 "longest stall %.1f ms, connect %.1f ms, rtt p50 %.1f us, p99 %.1f us, mss %d, %lu errors\n",
	       opt.udp ? "udp" : "tcp", mode[opt.mode], elapsed, opt.conns,
	       (unsigned long long)t.ok, (unsigned long long)t.broken, (unsigned long long)t.tx,
	       (unsigned long long)t.rx, (unsigned long long)t.rounds, (double)t.rounds / elapsed,
	       (double)t.tx * 8e-6 / elapsed, (unsigned long long)t.sent,
	       (unsigned long long)t.lost, (unsigned long long)t.reordered,
	       (unsigned long long)t.duplicated, (unsigned long long)t.corrupted,
	       (double)t.stall / 1e6, (double)connect_max / 1e6, p50, p99, cli_mss, errors);
	if (opt.json) {
		printf(",\"first_error\":");
		json_string(first_error);
		printf(",\"status\":%d}\n", status);
	}
	return status;
}

static inline int client_run(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port) };
	uint64_t session;
	double elapsed;

	if (inet_pton(AF_INET, opt.host, &to.sin_addr) != 1)
		usage_error("--host '%s' is not an IPv4 address", opt.host);
	flows = calloc((size_t)opt.conns, sizeof(*flows));
	cli_ep = epoll_create1(EPOLL_CLOEXEC);
	if (!flows || cli_ep < 0) {
		perror("xmt-flow");
		return 1;
	}
	cli_start = now_ns();
	cli_begin_end = cli_start + (uint64_t)(opt.duration * 1e9);
	cli_live = opt.conns;
	session = mix64(cli_start ^ ((uint64_t)getpid() << 40));
	for (int i = 0; i < opt.conns; i++) {
		flows[i].index = i;
		flows[i].seed = mix64(session + (uint64_t)i);
		flow_open(&flows[i], &to);
	}
	client_loop(cli_start + (uint64_t)(opt.timeout * 1e9));
	elapsed = (double)(now_ns() - cli_start) / 1e9;
	if (opt.mss_report)
		fprintf(opt.json ? stderr : stdout, "mss %d\n", cli_mss);
	return client_report(elapsed);
}

#endif
