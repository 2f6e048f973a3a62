// SPDX-License-Identifier: GPL-2.0-only
/* Hello's state machine, joined to the ring, the packet socket and the peer table. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "daemon.h"
#include "log.h"
#include "psk.h"
#include "rng.h"

static const char *addr_str(char *buf, __be32 addr)
{
	return inet_ntop(AF_INET, &addr, buf, INET_ADDRSTRLEN);
}

static void log_state(const struct hello_peer *p)
{
	char buf[INET_ADDRSTRLEN];

	log_info("peer %s is %s%s%s", addr_str(buf, p->addr), hello_state_name(p->state),
		 p->state == HELLO_UP ? "" : ": ",
		 p->state == HELLO_UP ? "" : hello_state_text(p->state));
}

static void send_frame(void *arg, const struct hello_peer *p, const uint8_t *frame, size_t len)
{
	struct daemon *d = arg;
	unsigned int idx = (unsigned int)(p - d->hello.peers);
	uint64_t nonce[2];

	/* The answer may be here before the next line is over. A new nonce is a new hello: whether
	 * it takes the way of the data, or what that is now, is known from a packet of theirs. */
	hello_nonces(p, nonce);
	if (datapath_peer_nonces(&d->dp, idx, nonce))
		datapath_peer_want_report(&d->dp, idx, XM_REPORT_LEAVING);
	/* Counted there; a lost hello is what hello is made for. */
	packet_send(&d->packet, p->ifindex, frame, len);
}

static void apply(void *arg, unsigned int idx, const struct hello_peer *p, bool epoch_changed)
{
	struct daemon *d = arg;
	const bool ok[XM_PROTOS] = { [XM_TCP] = d->tcp_ok, [XM_UDP] = true };
	char buf[INET_ADDRSTRLEN];
	unsigned int n;

	datapath_peer_set(&d->dp, idx, p, ok);
	if (epoch_changed) {
		n = datapath_peer_forget_labels(&d->dp, p->addr);
		log_info("peer %s started over (epoch %08x): %u labels forgotten",
			 addr_str(buf, p->addr), p->epoch, n);
	}
}

/* Peers of the previous run keep their slots, so that their flows stay where they are. */
static void adopt(struct daemon *d)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < d->dp.n_peers; i++) {
		const struct xm_peer *x = &d->dp.peers[i];
		struct hello_peer was = {
			.used = x->used,
			.addr = x->addr,
			.gen = x->gen,
			.epoch = x->epoch,
			.node = d->nodes[0],
		};

		if (!x->used && !x->gen)
			continue;
		for (int k = 0; k < 2; k++)
			if (x->nonce_low[k])
				was.old_nonce[k] = (uint64_t)ntohl(x->nonce[k]) << 32 |
						   ntohl(x->nonce_low[k]);
		/* In whole milliseconds back from jiffies; proof in the past stays there. */
		for (int k = 0; k < XM_PROTOS; k++)
			if (x->up_until[k] > d->dp.clock.jiffies)
				was.up_until_ms[k] =
					clock_ms() +
					(x->up_until[k] - d->dp.clock.jiffies) * 1000 / d->dp.hz;
		if (hello_adopt(&d->hello, i, &was, clock_ms()))
			continue;
		n += x->used;
	}
	if (n)
		log_info("%u peers of an earlier run taken over", n);
}

int peers_read_key(struct daemon *d)
{
	char why[PSK_ERR];
	int err;

	if (!d->cfg.psk_file[0])
		return 0;
	err = psk_read(d->cfg.psk_file, d->hello_cfg.key, &d->hello_cfg.key_len, why);
	if (err)
		log_error("psk_file %s: %s", d->cfg.psk_file, why);
	return err;
}

int peers_open(struct daemon *d)
{
	int err;

	err = peers_read_key(d);
	if (err)
		return err;
	/* Its mark comes with the tables; setting any needs the same capability. */
	err = packet_open(&d->packet, 0);
	if (err)
		log_error(
			"cannot open a packet socket: %s (CAP_NET_RAW and CAP_NET_ADMIN are needed)",
			strerror(-err));
	return err;
}

int peers_start(struct daemon *d)
{
	int err;

	d->hello_cfg.masq_port = d->cfg.masquerade_port;
	d->hello_cfg.lease_ms = d->cfg.lease_ms;
	d->hello_cfg.epoch = d->dp.meta.epoch;
	err = packet_mark(&d->packet, d->dp.meta.mark);
	err = err
		      ?: hello_init(&d->hello, &d->hello_cfg, d->cfg.peers, send_frame, apply,
				    rng_u64, d);
	explicit_bzero(&d->hello_cfg, sizeof(d->hello_cfg));
	if (!err)
		adopt(d);
	return err;
}

void peers_want_reports(struct daemon *d)
{
	for (unsigned int i = 0; i < d->hello.max_peers; i++)
		if (d->hello.peers[i].used && !d->hello.peers[i].ifindex)
			datapath_peer_want_report(&d->dp, i, XM_REPORT_ANY);
}

void peers_stop(struct daemon *d)
{
	explicit_bzero(&d->hello_cfg, sizeof(d->hello_cfg));
	explicit_bzero(d->hello.cfg.key, sizeof(d->hello.cfg.key));
	hello_free(&d->hello);
	packet_close(&d->packet);
}

void peers_event(void *arg, const struct xm_event *ev)
{
	struct daemon *d = arg;
	unsigned int idx;
	struct hello_peer *p;
	enum hello_state before = HELLO_SILENT;

	p = hello_find(&d->hello, ev->peer, &idx);
	if (p)
		before = p->state;
	datapath_clock(&d->dp);
	d->hello.now_us = clock_us();
	hello_event(&d->hello, ev, clock_ms());
	p = hello_find(&d->hello, ev->peer, &idx);
	if (p && p->state != before)
		log_state(p);
}

/* Overlay traffic keeps an address known; the programs note when they last saw some. */
static void note_traffic(struct daemon *d, uint64_t now)
{
	uint32_t jiffies = (uint32_t)d->dp.clock.jiffies;

	for (unsigned int i = 0; i < d->dp.n_peers; i++) {
		const struct xm_peer *x = &d->dp.peers[i];
		uint32_t ago;

		if (!x->used || !x->seen)
			continue;
		ago = (uint32_t)((uint64_t)(jiffies - x->seen) * 1000 / d->dp.hz);
		if (ago < HELLO_FORGET_MS)
			hello_traffic(&d->hello, i, now > ago ? now - ago : 0);
	}
}

uint64_t peers_tick(struct daemon *d)
{
	uint64_t now = clock_ms(), next;
	enum hello_state *before;

	if (!d->hello.n_peers)
		return UINT64_MAX;
	/*
	 * The loop asks after each event, and peers cause as many events as there are peers: with
	 * a walk over all of them each time, the work would grow with the square of their number.
	 */
	if (now < d->tick_ms + HELLO_TICK_MS)
		return d->tick_ms + HELLO_TICK_MS - now;
	d->tick_ms = now;
	datapath_clock(&d->dp);
	note_traffic(d, now);
	before = calloc(d->hello.max_peers, sizeof(*before));
	for (unsigned int i = 0; before && i < d->hello.max_peers; i++)
		before[i] = d->hello.peers[i].state;
	d->hello.now_us = clock_us();
	next = hello_tick(&d->hello, now);
	for (unsigned int i = 0; before && i < d->hello.max_peers; i++) {
		const struct hello_peer *p = &d->hello.peers[i];

		if (!p->used || p->state == before[i])
			continue;
		if (p->state == HELLO_DOWN)
			/* Its address may have moved to other hardware. */
			datapath_peer_want_report(&d->dp, i, XM_REPORT_ANY);
		log_state(p);
	}
	free(before);
	return next;
}

/* Beside the lease: what peers have sent before they read our goodbye is still to come. */
#define LEAVE_MS 100

/*
 * Peers go on restoring our labels for one ingress lease. Until that is over the guard at
 * our NIC must keep others from using them.
 */
void peers_leave(struct daemon *d)
{
	uint64_t ms = d->cfg.lease_ms + d->cfg.lease_ms / 4 + LEAVE_MS;
	struct timespec ts = { .tv_sec = (time_t)(ms / 1000),
			       .tv_nsec = (long)(ms % 1000) * 1000000L };

	if (!d->hello.n_peers)
		return;
	datapath_clock(&d->dp);
	hello_bye(&d->hello);
	nanosleep(&ts, NULL);
}

void peers_apply_all(struct daemon *d)
{
	datapath_clock(&d->dp);
	for (unsigned int i = 0; i < d->hello.max_peers; i++)
		if (d->hello.peers[i].used)
			apply(d, i, &d->hello.peers[i], false);
}
