// SPDX-License-Identifier: GPL-2.0-only
/*
 * xsk-router: options, the loop, the end. One thread serves all queues, so that the tables need no
 * locks. What comes is worked on in batches, and each is sent before the next is read; when
 * nothing came it sleeps in poll() until a frame, a signal or a deadline of ARP.
 */
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <xdp/libxdp.h>

#include "attach.h"
#include "link.h"
#include "log.h"
#include "options.h"
#include "port.h"
#include "report.h"
#include "router.h"
#include "version.h"

#define MAX_BATCH 256
#define LEFT_MS	  1   /* when the kernel did not take all, it is asked again so soon */
#define IDLE_MS	  250 /* flows age while nothing comes */

struct app {
	struct options opt;
	struct link link;
	struct attach *attach;
	struct port *port;
	struct router *router;
	bool skb;
	int lock, signals;
	uint64_t start_ms, sleeps, batches;
};

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* ---- start ---- */

/* One router for each interface: the name of an abstract socket, which dies with its process. */
static int lock_interface(struct app *a)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	socklen_t len;
	int n;

	n = snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "xsk-router-%d", a->link.ifindex);
	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	a->lock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (a->lock < 0)
		return -errno;
	if (!bind(a->lock, (struct sockaddr *)&un, len))
		return 0;
	log_error("%s: another xsk-router serves it", a->opt.interface);
	return -EADDRINUSE;
}

static int look_at_link(struct app *a)
{
	uint32_t max = port_max_len();
	const char *what;
	int err = link_get(a->opt.interface, &a->link, &what);

	if (err) {
		log_error("%s: no %s: %s", a->opt.interface, what, strerror(-err));
		return err;
	}
	if (!a->link.up) {
		log_error("%s is down: ip link set %s up", a->opt.interface, a->opt.interface);
		return -ENETDOWN;
	}
	/* A tag is on top of the MTU. */
	if (a->link.mtu + 18 > max) {
		log_error("%s: MTU %u: frames of up to %u bytes fit into a buffer; "
			  "ip link set %s mtu %u, and its peers alike",
			  a->opt.interface, a->link.mtu, max, a->opt.interface, max - 18);
		return -EMSGSIZE;
	}
	if (a->link.rx > FRONT_QUEUES) {
		log_error("%s has %u queues, %u are the most: ethtool -L %s combined %u",
			  a->opt.interface, a->link.rx, FRONT_QUEUES, a->opt.interface,
			  FRONT_QUEUES);
		return -E2BIG;
	}
	if (a->opt.addr)
		a->link.addr = a->opt.addr;
	return 0;
}

static int open_attach(struct app *a, bool skb)
{
	struct attach_config c = {
		.ifindex = a->link.ifindex,
		.interface = a->opt.interface,
		.skb = skb,
		.addr = a->link.addr,
		.drop_fragments = a->opt.drop_fragments,
		.drop_others = a->opt.drop_others,
		.flows = a->opt.flows,
	};

	a->skb = skb;
	return attach_open(&a->attach, &c);
}

static enum port_want want(enum options_choice c)
{
	return c == CHOICE_AUTO ? PORT_AUTO : c == CHOICE_YES ? PORT_YES : PORT_NO;
}

static int open_port(struct app *a)
{
	struct port_config c = {
		.ifindex = a->link.ifindex,
		.interface = a->opt.interface,
		.rx = a->link.rx,
		.tx = a->link.tx,
		.ring = a->opt.ring,
		.zerocopy = a->opt.mode == OPTIONS_ZEROCOPY	     ? PORT_YES
			    : a->opt.mode == OPTIONS_AUTO && !a->skb ? PORT_AUTO
								     : PORT_NO,
		.max_len = a->link.mtu + 18,
		.huge = want(a->opt.huge),
		.offload = want(a->opt.offload),
		.need_wakeup = a->opt.need_wakeup,
		.busy_poll_us = a->opt.busy_poll_us,
		.busy_budget = a->opt.busy_budget,
	};
	uint32_t q;
	int err;

	err = port_open(&a->port, &c);
	for (q = 0; !err && q < a->link.rx; q++) {
		err = attach_socket(a->attach, q, port_fd(a->port, q));
		if (err)
			log_error("%s queue %u: %s", a->opt.interface, q, strerror(-err));
	}
	return err;
}

static int open_router(struct app *a)
{
	struct router_config c = {
		.addr = a->link.addr,
		.prefix = a->link.prefix,
		.server = a->opt.server,
		.nclients = a->opt.nclients,
		.offload = port_offloads(a->port),
		.max_len = a->link.mtu + 14,
		.flows = a->opt.flows,
		.memory = attach_flows(a->attach),
	};

	memcpy(c.mac, a->link.mac, 6);
	memcpy(c.clients, a->opt.clients, sizeof(c.clients));
	if (getrandom(&c.seed, sizeof(c.seed), 0) != sizeof(c.seed))
		return -errno;
	a->router = router_new(&c);
	if (!a->router)
		log_error("no memory for %u flows: use a smaller --flows", a->opt.flows);
	return a->router ? 0 : -ENOMEM;
}

static const char *mode_text(const struct app *a)
{
	return a->skb			? "skb (generic XDP, copies)"
	       : port_zerocopy(a->port) ? "zerocopy"
					: "native, copies";
}

static const char *checksum_text(const struct app *a)
{
	return port_offloads(a->port) ? "partial ones completed by the kernel"
				      : "partial ones completed here";
}

static void send_or_drop(struct app *a, uint32_t q, const struct frame *f, bool request)
{
	if (port_send(a->port, q, f))
		return;
	router_not_sent(a->router, f->len, WHY_TX_FULL, request);
	port_free(a->port, f);
}

/* ARP requests that are due, and frames that waited for an answer. */
static void deferred(struct app *a, uint32_t q, uint64_t ms)
{
	enum router_verdict verdict;
	uint8_t request[ARP_FRAME];
	struct frame f;
	uint32_t len;

	while ((len = router_request(a->router, request, ms))) {
		if (!port_alloc(a->port, &f)) {
			router_not_sent(a->router, len, WHY_TX_FULL, true);
			continue;
		}
		memcpy(f.data, request, len);
		f.len = len;
		send_or_drop(a, q, &f, true);
	}
	while (router_next(a->router, &f, &verdict)) {
		if (verdict == ROUTER_SEND)
			send_or_drop(a, q, &f, false);
		else
			port_free(a->port, &f);
	}
}

static int start(struct app *a)
{
	bool skb = a->opt.mode == OPTIONS_SKB;
	int err = look_at_link(a);

	if (!err)
		err = lock_interface(a);
	if (err)
		return err;
	err = open_attach(a, skb);
	/* Another's program is in the way of generic XDP, too. */
	if (err && a->opt.mode == OPTIONS_AUTO && err != -EBUSY && err != -EEXIST &&
	    err != -EPERM) {
		log_info("%s: trying generic XDP", a->opt.interface);
		err = open_attach(a, true);
	}
	if (!err)
		err = open_port(a);
	if (!err)
		err = open_router(a);
	if (err)
		return err;
	if (a->opt.realtime) {
		struct sched_param rt = { .sched_priority = 1 };

		if (sched_setscheduler(0, SCHED_FIFO, &rt))
			log_warn("not in real time: %s%s", strerror(errno),
				 errno == EPERM ? " (needs CAP_SYS_NICE or ulimit -r)" : "");
	}
	/* Only now, or the kernel would get packets of living connections, and reset these. */
	if (attach_leftovers(a->attach))
		log_info("%s: removed the program of an xsk-router that was killed; %" PRIu64
			 " of its flows go on",
			 a->opt.interface, router_stats(a->router)->recovered);
	log_info("%s: %s, %u queue%s, %s pages, %s", a->opt.interface, mode_text(a), a->link.rx,
		 a->link.rx == 1 ? "" : "s", port_huge(a->port) ? "huge" : "normal",
		 checksum_text(a));
	if (a->skb)
		log_info(
			"%s: generic XDP gets what the sender did not segment, and too long frames "
			"are lost: ethtool -K PEER tso off gso off",
			a->opt.interface);
	return 0;
}

/* ---- work ---- */

/* Return: frames that came. */
static uint32_t one_batch(struct app *a, uint32_t q, uint64_t ms)
{
	struct frame frames[MAX_BATCH];
	uint32_t n = port_receive(a->port, q, frames, a->opt.batch), i;

	for (i = 0; i < n; i++) {
		if (i + 2 < n)
			__builtin_prefetch(frames[i + 2].data);
		switch (router_input(a->router, &frames[i], ms)) {
		case ROUTER_SEND:
			send_or_drop(a, q, &frames[i], false);
			break;
		case ROUTER_DROP:
			port_free(a->port, &frames[i]);
			break;
		case ROUTER_HOLD:
			break;
		}
	}
	a->batches += n > 0;
	return n;
}

static uint64_t in_us(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000 + (uint64_t)tv->tv_usec;
}

static void take_report(struct app *a, struct report *r, uint64_t ms)
{
	struct rusage used = { 0 };

	memset(r, 0, sizeof(*r));
	r->interface = a->opt.interface;
	r->mode = mode_text(a);
	r->pages = port_huge(a->port) ? "huge pages" : "normal pages";
	r->checksum = checksum_text(a);
	r->ms = ms - a->start_ms;
	r->sleeps = a->sleeps;
	r->batches = a->batches;
	getrusage(RUSAGE_SELF, &used);
	r->user_us = in_us(&used.ru_utime);
	r->kernel_us = in_us(&used.ru_stime);
	r->router = *router_stats(a->router);
	r->flows = router_flows(a->router);
	router_arp_stats(a->router, &r->arp);
	attach_counts(a->attach, r->front);
	port_report(a->port, r);
}

enum waited {
	GO_ON,
	SIGNALLED,
	GONE /* the interface */
};

static enum waited wait_for_frames(struct app *a, uint64_t now, uint64_t until)
{
	struct pollfd fds[FRONT_QUEUES + 1];
	uint64_t deadline = router_deadline(a->router);
	int ms, n, err;
	uint32_t q;

	if (until > now + IDLE_MS)
		until = now + IDLE_MS;
	if (until > deadline)
		until = deadline;
	ms = until > now ? (int)(until - now) : 0;
	fds[0] = (struct pollfd){ .fd = a->signals, .events = POLLIN };
	for (q = 0; q < a->link.rx; q++)
		fds[q + 1] = (struct pollfd){ .fd = port_fd(a->port, q), .events = POLLIN };
	a->sleeps++;
	n = poll(fds, a->link.rx + 1, ms);
	if (n > 0 && fds[0].revents)
		return SIGNALLED;
	/* A socket without its interface reports nothing else. */
	err = n ? 0 : port_error(a->port);
	if (!err)
		return GO_ON;
	log_error("%s: %s", a->opt.interface,
		  err == -ENETDOWN ? "the interface is gone" : strerror(-err));
	return GONE;
}

/* Return: 0 when told to end, -errno when the interface is gone. */
static int run(struct app *a)
{
	uint64_t line_ms, last_us, us, ms, until, end, awake_us;
	enum waited waited;
	struct report before, r;
	bool left = false;
	uint32_t q, n;

	awake_us = a->opt.spin_us > a->opt.busy_poll_us ? a->opt.spin_us : a->opt.busy_poll_us;
	us = last_us = now_us();
	a->start_ms = ms = us / 1000;
	end = a->opt.duration_s ? ms + a->opt.duration_s * 1000ull : UINT64_MAX;
	line_ms = a->opt.interval_s ? ms + a->opt.interval_s * 1000ull : UINT64_MAX;
	take_report(a, &before, ms);
	for (;;) {
		us = now_us();
		ms = us / 1000;
		if (a->opt.busy_poll_us)
			port_busy_poll(a->port);
		for (n = 0, q = 0; q < a->link.rx; q++)
			n += one_batch(a, q, ms);
		deferred(a, 0, ms);
		if (n || left)
			left = port_flush(a->port);
		if (ms >= line_ms) {
			take_report(a, &r, ms);
			report_line(stderr, &before, &r);
			before = r;
			line_ms += a->opt.interval_s * 1000ull;
		}
		if (ms >= end)
			return 0;
		if (n) {
			last_us = us;
			/* Under load nobody else looks at signals. */
			if (a->batches % 1024 || wait_for_frames(a, ms, ms) != SIGNALLED)
				continue;
			return 0;
		}
		if (us - last_us < awake_us)
			continue;
		until = left ? ms + LEFT_MS : UINT64_MAX;
		if (until > line_ms)
			until = line_ms;
		if (until > end)
			until = end;
		/* What the requests above put into the ring. */
		left = port_flush(a->port);
		waited = wait_for_frames(a, ms, until);
		if (waited != GO_ON)
			return waited == GONE ? -ENETDOWN : 0;
		if (awake_us)
			last_us = now_us();
	}
}

/* ---- end ---- */

static int write_summary(struct app *a)
{
	FILE *out = a->opt.summary ? fopen(a->opt.summary, "we") : stdout;
	struct report r;
	int err = 0;

	if (!out) {
		err = -errno;
		log_error("%s: %s", a->opt.summary, strerror(-err));
		return err;
	}
	take_report(a, &r, now_us() / 1000);
	if (a->opt.json)
		err = report_json(out, &r);
	else
		report_text(out, &r);
	if (fflush(out) || ferror(out))
		err = -EIO;
	if (out != stdout)
		fclose(out);
	return err;
}

static void stop(struct app *a)
{
	router_free(a->router);
	attach_close(a->attach);
	port_close(a->port);
	if (a->signals >= 0)
		close(a->signals);
	if (a->lock >= 0)
		close(a->lock);
}

static int take_signals(struct app *a)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	a->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return a->signals < 0 ? -errno : 0;
}

/* What they try and does not work is no error, and what is one is explained in attach.c. */
static int libxdp_log(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	return log_libbpf(LIBBPF_DEBUG, fmt, ap);
}

static int libbpf_log(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	return log_libbpf(LIBBPF_DEBUG, fmt, ap);
}

int main(int argc, char **argv)
{
	struct app a = { .lock = -1, .signals = -1 };
	char error[256];
	int err;

	if (options_parse(&a.opt, argc, argv, error, sizeof(error))) {
		fprintf(stderr, "xsk-router: %s\n", error);
		return 2;
	}
	if (a.opt.help || a.opt.version) {
		printf("%s", a.opt.help ? options_help() : "xsk-router " XM_VERSION "\n");
		return 0;
	}
	log_init(a.opt.verbose ? CONFIG_LOG_DEBUG : CONFIG_LOG_INFO, CONFIG_LOG_TEXT);
	libbpf_set_print(libbpf_log);
	libxdp_set_print(libxdp_log);
	/* In a mount namespace without bpffs (`ip netns exec`) the dispatcher could not be kept. */
	setenv("LIBXDP_BPFFS_AUTOMOUNT", "1", 0);
	err = take_signals(&a);
	if (!err)
		err = start(&a);
	if (!err) {
		err = run(&a);
		if (write_summary(&a))
			err = -EIO;
	}
	stop(&a);
	return err ? 1 : 0;
}
