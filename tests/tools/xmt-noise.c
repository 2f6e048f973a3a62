// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-noise - a wire that loses, doubles, delays, reorders and spoils frames, for kernels without netem.
 *
 *   xmt-noise DEV DEV        relays between two interfaces of the namespace, both ways
 *
 * What it does to frames is read from stdin, a line each time, and changes at once:
 *
 *   loss P | dup P | corrupt P | delay MS JITTER | reorder P MS      P in per cent
 *
 * Only what goes to the first of the two is spoilt: a frame that passes two of these wires has one wrong bit, which
 * any checksum finds. Two of them escape TCP's once in 32 times.
 *
 * A line replaces the one before; an empty one relays everything as it is. Interfaces must not merge or
 * leave work to hardware ("ethtool -K DEV gro off", and tx and tso off at their other ends): a frame
 * is relayed byte by byte. Prints "relaying" when it begins; ends with the end of stdin.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAME_MAX 2048
#define HELD_MAX  32768

struct frame {
	uint64_t due;
	uint64_t order; /* frames that are due at the same time keep theirs */
	int to;
	size_t len;
	uint8_t data[FRAME_MAX];
};

static struct {
	double loss, dup, corrupt, reorder;
	uint64_t delay_ns, jitter_ns, reorder_ns;
} noise;

static struct frame *held[HELD_MAX]; /* a heap, the next one first */
static unsigned int n_held;
static uint64_t orders;
static int fds[2];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static uint64_t random_u64(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x;
}

static bool chance(double percent)
{
	return (double)(random_u64() % 1000000) < percent * 10000;
}

static bool before(const struct frame *a, const struct frame *b)
{
	return a->due < b->due || (a->due == b->due && a->order < b->order);
}

static void hold(struct frame *f)
{
	unsigned int i = n_held++;

	for (; i && before(f, held[(i - 1) / 2]); i = (i - 1) / 2)
		held[i] = held[(i - 1) / 2];
	held[i] = f;
}

static struct frame *take(void)
{
	struct frame *first = held[0], *last = held[--n_held];
	unsigned int i = 0, k;

	while ((k = 2 * i + 1) < n_held) {
		if (k + 1 < n_held && before(held[k + 1], held[k]))
			k++;
		if (!before(held[k], last))
			break;
		held[i] = held[k];
		i = k;
	}
	held[i] = last;
	return first;
}

static void relay(int to, const uint8_t *data, size_t len)
{
	struct frame *f = n_held < HELD_MAX ? malloc(sizeof(*f)) : NULL;
	uint64_t bit;

	if (!f)
		return;
	f->due = now_ns() + noise.delay_ns;
	if (noise.jitter_ns)
		f->due += random_u64() % noise.jitter_ns;
	if (noise.reorder > 0 && chance(noise.reorder))
		f->due += noise.reorder_ns;
	f->order = orders++;
	f->to = to;
	f->len = len;
	memcpy(f->data, data, len);
	/* Behind the Ethernet header: its check sequence would catch the rest. */
	if (noise.corrupt > 0 && to == 0 && len > ETH_HLEN && chance(noise.corrupt)) {
		bit = random_u64() % ((len - ETH_HLEN) * 8);
		f->data[ETH_HLEN + bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	hold(f);
}

static void receive(int from)
{
	struct sockaddr_ll sa;
	socklen_t slen = sizeof(sa);
	uint8_t data[FRAME_MAX];
	ssize_t n;

	while ((n = recvfrom(fds[from], data, sizeof(data), MSG_DONTWAIT | MSG_TRUNC,
			     (struct sockaddr *)&sa, &slen)) > 0) {
		if (sa.sll_pkttype == PACKET_OUTGOING)
			continue;
		if (n > FRAME_MAX) {
			fprintf(stderr, "xmt-noise: a frame of %zd bytes: turn offloads off\n", n);
			exit(1);
		}
		if (noise.loss > 0 && chance(noise.loss))
			continue;
		relay(1 - from, data, (size_t)n);
		if (noise.dup > 0 && chance(noise.dup))
			relay(1 - from, data, (size_t)n);
	}
}

static void send_due(void)
{
	uint64_t now = now_ns();

	while (n_held && held[0]->due <= now) {
		struct frame *f = take();

		(void)!send(fds[f->to], f->data, f->len, 0);
		free(f);
	}
}

static bool read_command(void)
{
	char line[128], what[16] = "";
	double a = 0, b = 0;
	ssize_t n = read(0, line, sizeof(line) - 1);

	if (n <= 0)
		return false;
	line[n] = '\0';
	memset(&noise, 0, sizeof(noise));
	sscanf(line, "%15s %lf %lf", what, &a, &b);
	if (!strcmp(what, "loss"))
		noise.loss = a;
	else if (!strcmp(what, "dup"))
		noise.dup = a;
	else if (!strcmp(what, "corrupt"))
		noise.corrupt = a;
	else if (!strcmp(what, "delay"))
		noise.delay_ns = (uint64_t)(a * 1e6), noise.jitter_ns = (uint64_t)(b * 1e6);
	else if (!strcmp(what, "reorder"))
		noise.reorder = a, noise.reorder_ns = (uint64_t)(b * 1e6);
	else if (*what)
		fprintf(stderr, "xmt-noise: '%s' is unknown\n", what);
	return true;
}

static int open_dev(const char *name)
{
	struct sockaddr_ll sa = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_ALL),
				  .sll_ifindex = (int)if_nametoindex(name) };
	struct packet_mreq mr = { .mr_ifindex = sa.sll_ifindex, .mr_type = PACKET_MR_PROMISC };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), size = 16 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &mr, sizeof(mr))) {
		fprintf(stderr, "xmt-noise: %s: %s\n", name, strerror(errno));
		exit(1);
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	return fd;
}

int main(int argc, char **argv)
{
	struct pollfd p[3] = { { .fd = 0, .events = POLLIN } };

	if (argc != 3) {
		fputs("usage: xmt-noise DEV DEV\n", stderr);
		return 2;
	}
	for (int i = 0; i < 2; i++) {
		fds[i] = open_dev(argv[i + 1]);
		p[i + 1] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	}
	puts("relaying");
	fflush(stdout);
	for (;;) {
		uint64_t now = now_ns();
		int64_t left = n_held ? (int64_t)(held[0]->due - now) : 1000000000;
		struct timespec ts = { .tv_sec = left > 0 ? left / 1000000000 : 0,
				       .tv_nsec = left > 0 ? left % 1000000000 : 0 };

		ppoll(p, 3, &ts, NULL);
		if (p[0].revents && !read_command())
			return 0;
		for (int i = 0; i < 2; i++)
			if (p[i + 1].revents)
				receive(i);
		send_due();
	}
}
