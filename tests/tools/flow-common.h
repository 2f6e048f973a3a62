/* SPDX-License-Identifier: GPL-2.0-only */
/* flow-common.h - what both ends of xmt-flow share: options, byte streams, order, sockets. */
#ifndef XMT_FLOW_COMMON_H
#define XMT_FLOW_COMMON_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAGIC_HELLO   0x786d7448u
#define MAGIC_VERDICT 0x786d745665726469ull
#define MAGIC_DGRAM   0x786d7444u

#define BUF_SIZE   (128u << 10)
#define MAX_CONNS  1024
#define MAX_SIZES  64
#define MAX_UDP	   65507
#define NS_PER_MS  1000000ull
#define NS_PER_SEC 1000000000ull
#define NEVER	   UINT64_MAX

enum {
	MODE_RR,
	MODE_STREAM,
	MODE_DUPLEX
};
enum {
	DIR_UP,
	DIR_DOWN
};

/* hello.flags and dgram.flags */
#define F_ECHO	  0x1 /* answer byte for byte */
#define F_VERDICT 0x2 /* TCP: tell at the end what was verified */
#define F_RST_END 0x4 /* TCP: the client will end with RST */
#define F_REPORT  0x8 /* UDP: asks for, or is, struct report */

struct hello {
	uint32_t magic;
	uint32_t flags;
	uint64_t seed;
	uint32_t nconns; /* of this client */
	uint32_t pad;
};

struct verdict {
	uint64_t magic;
	uint64_t bytes;
};

struct dgram {
	uint32_t magic;
	uint16_t len; /* of the datagram, this header included */
	uint16_t flags;
	uint64_t seed;
	uint64_t seq; /* from 0; in a report request: number sent */
};

struct report {
	uint64_t got, reordered, duplicated, corrupted;
	uint64_t nconns;
};

static struct {
	bool server, udp, once, json, mss_report, linger_rst, half_close, no_check, df;
	const char *host;
	int port, source_port, conns, mode, tos, ecn, ttl, window;
	double duration, interval_ms, timeout;
	uint64_t bytes, rounds, wait_ns;
	uint32_t sizes[MAX_SIZES];
	unsigned int nsizes;
} opt = { .conns = 1, .mode = -1, .tos = -1, .ecn = -1, .ttl = -1, .wait_ns = 250 * NS_PER_MS };

static uint8_t buf[BUF_SIZE], expected[BUF_SIZE];
static volatile sig_atomic_t stop;
static unsigned long errors;
static char first_error[200];

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

__attribute__((format(printf, 1, 2))) static inline void complain(const char *fmt, ...)
{
	char msg[sizeof(first_error)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (errors++ == 0)
		memcpy(first_error, msg, sizeof(msg));
	if (errors <= 20)
		fprintf(stderr, "xmt-flow: %s%s\n", msg,
			errors == 20 ? " (further errors are only counted)" : "");
}

__attribute__((format(printf, 1, 2), noreturn)) static inline void usage_error(const char *fmt, ...)
{
	va_list ap;

	fputs("xmt-flow: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs("\nTry 'xmt-flow --help'.\n", stderr);
	exit(2);
}

/* ---- the byte streams ------------------------------------------------------ */

#define POOL_WORDS 8192u

static uint64_t pool[POOL_WORDS];

static inline uint64_t mix64(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline void pool_init(void)
{
	for (unsigned int i = 0; i < POOL_WORDS; i++)
		pool[i] = mix64(i);
}

/* Word n is pool[n % 8192] under a key that changes each 64 KiB: as fast as memory, and no
 * two places of a stream, nor two streams, are alike. */
static inline uint64_t stream_word(uint64_t seed, uint64_t n)
{
	return pool[n % POOL_WORDS] ^ mix64(seed + n / POOL_WORDS);
}

static inline void stream_bytes(uint64_t seed, int dir, uint64_t off, uint8_t *out, size_t len)
{
	seed = mix64(seed ^ (dir ? 0x5bd1e995ull << 32 : 0));
	while (len) {
		uint64_t n = off / 8, word;
		size_t skip = off % 8, part = 8 - skip;

		if (skip || len < 8) {
			if (part > len)
				part = len;
			word = stream_word(seed, n);
			memcpy(out, (uint8_t *)&word + skip, part);
		} else {
			uint64_t key = mix64(seed + n / POOL_WORDS);
			const uint64_t *src = &pool[n % POOL_WORDS];
			size_t words = len / 8;

			if (words > POOL_WORDS - n % POOL_WORDS)
				words = POOL_WORDS - n % POOL_WORDS;
			for (size_t i = 0; i < words; i++) {
				word = src[i] ^ key;
				memcpy(out + i * 8, &word, 8);
			}
			part = words * 8;
		}
		out += part;
		off += part;
		len -= part;
	}
}

/* Returns -1 if data is the stream at off, else the index of the first wrong byte. */
static inline ssize_t stream_check(uint64_t seed, int dir, uint64_t off, const uint8_t *data,
				   size_t len)
{
	size_t i;

	stream_bytes(seed, dir, off, expected, len);
	if (!memcmp(data, expected, len))
		return -1;
	for (i = 0; data[i] == expected[i]; i++)
		;
	return (ssize_t)i;
}

/* Datagram seq has the bytes from seq * 64 KiB on. */
static inline size_t dgram_make(const struct dgram *h, int dir, uint8_t *out)
{
	memcpy(out, h, sizeof(*h));
	stream_bytes(h->seed, dir, h->seq << 16, out + sizeof(*h), h->len - sizeof(*h));
	return h->len;
}

static inline bool dgram_ok(const struct dgram *h, int dir, const uint8_t *data, size_t len)
{
	return h->len == len &&
	       stream_check(h->seed, dir, h->seq << 16, data + sizeof(*h), len - sizeof(*h)) < 0;
}

/* ---- order of datagrams ---------------------------------------------------- */

#define WINDOW_BITS 4096u

struct order {
	uint64_t next; /* highest seq seen + 1 */
	uint64_t unique, reordered, duplicated;
	uint64_t seen[WINDOW_BITS / 64];
};

/* Returns whether seq is new. */
static inline bool order_add(struct order *o, uint64_t seq)
{
	uint64_t bit = 1ull << (seq % 64), *word = &o->seen[seq / 64 % (WINDOW_BITS / 64)];

	if (seq >= o->next) {
		if (seq - o->next >= WINDOW_BITS)
			memset(o->seen, 0, sizeof(o->seen));
		else
			for (uint64_t s = o->next; s <= seq; s++)
				o->seen[s / 64 % (WINDOW_BITS / 64)] &= ~(1ull << (s % 64));
		o->next = seq + 1;
	} else if (o->next - seq > WINDOW_BITS || (*word & bit)) {
		/* What is too late to be told from a duplicate counts as one. */
		o->duplicated++;
		return false;
	} else {
		o->reordered++;
	}
	*word |= bit;
	o->unique++;
	return true;
}

/* ---- round trip times ------------------------------------------------------ */

/* Log-linear: 64 steps to the octave, 1.6 % wide. */
static uint64_t rtt_hist[64 * 60], rtt_count;

static inline void rtt_add(uint64_t ns)
{
	unsigned int e = ns < 64 ? 0 : 63u - (unsigned int)__builtin_clzll(ns) - 6;

	rtt_hist[ns < 64 ? ns : (e + 1) * 64 + ((ns >> e) & 63)]++;
	rtt_count++;
}

static inline double rtt_us(double quantile)
{
	uint64_t want = (uint64_t)(quantile * (double)rtt_count + 0.999999), sum = 0;

	for (unsigned int i = 0; i < 64 * 60; i++) {
		sum += rtt_hist[i];
		if (sum >= want && sum)
			return (i < 64 ? i : (double)((64ull + i % 64) << (i / 64 - 1))) / 1000.0;
	}
	return 0;
}

/* ---- sockets --------------------------------------------------------------- */

static inline int set_int(int fd, int level, int name, int value, const char *what)
{
	if (!setsockopt(fd, level, name, &value, sizeof(value)))
		return 0;
	complain("cannot set %s: %s", what, strerror(errno));
	return -1;
}

static inline int socket_options(int fd)
{
	int r = 0, tos = opt.tos < 0 ? 0 : opt.tos;

	if (opt.ecn >= 0)
		tos = (tos & ~3) | opt.ecn;
	if (opt.tos >= 0 || opt.ecn >= 0)
		r |= set_int(fd, IPPROTO_IP, IP_TOS, tos, "IP_TOS");
	if (opt.ttl >= 0)
		r |= set_int(fd, IPPROTO_IP, IP_TTL, opt.ttl, "IP_TTL");
	if (opt.df)
		r |= set_int(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO, "IP_MTU_DISCOVER");
	if (opt.no_check)
		r |= set_int(fd, SOL_SOCKET, SO_NO_CHECK, 1, "SO_NO_CHECK");
	if (opt.udp) {
		r |= set_int(fd, SOL_SOCKET, SO_RCVBUF, 4 << 20, "SO_RCVBUF");
		r |= set_int(fd, SOL_SOCKET, SO_SNDBUF, 4 << 20, "SO_SNDBUF");
	} else {
		r |= set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1, "TCP_NODELAY");
	}
	return r;
}

static inline void close_rst(int fd)
{
	struct linger l = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

static inline void poll_set(int ep, int op, int fd, uint32_t events, void *data)
{
	struct epoll_event ev = { .events = events, .data.ptr = data };

	if (epoll_ctl(ep, op, fd, &ev)) {
		perror("xmt-flow: epoll_ctl");
		exit(1);
	}
}

/* Waits until a time of now_ns(), to the nanosecond: pacing needs more than milliseconds. */
static inline int poll_wait(int ep, struct epoll_event *ev, int max, uint64_t until)
{
	uint64_t now = now_ns(), left = until > now ? until - now : 0;
	struct timespec ts = { 0 };

	/* At most a second, for a signal that comes between looking at stop and sleeping. */
	if (left >= NS_PER_SEC)
		ts.tv_sec = 1;
	else
		ts.tv_nsec = (long)left;
	return epoll_pwait2(ep, ev, max, &ts, NULL);
}

#endif
