// SPDX-License-Identifier: GPL-2.0-only
/* Peers: the state machine. See hello.h for how it is meant to work. */
#include "hello.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "hello_codec.h"
#include "hello_table.h"
#include "hello_tx.h"

/* Answers without news of a probe before the path counts as blocked: a peer that has
 * just heard of us drops the probes that came before the hello.
 */
#define HELLO_UNPROVEN_MAX 2

int hello_init(struct hello *h, const struct hello_config *cfg, unsigned int max_peers,
	       hello_send_fn send, hello_apply_fn apply, hello_random_fn random, void *arg)
{
	*h = (struct hello){
		.cfg = *cfg,
		.send = send,
		.apply = apply,
		.random = random,
		.arg = arg,
	};
	if (!max_peers || max_peers > XM_PEERS_MAX || !cfg->epoch ||
	    cfg->key_len > sizeof(cfg->key))
		return -EINVAL;
	return hello_table_init(h, max_peers);
}

void hello_free(struct hello *h)
{
	hello_table_free(h);
	explicit_bzero(&h->cfg, sizeof(h->cfg));
}

struct hello_peer *hello_find(struct hello *h, __be32 addr, unsigned int *idx)
{
	int slot = hello_table_find(h, addr);

	if (slot < 0)
		return NULL;
	if (idx)
		*idx = (unsigned int)slot;
	return &h->peers[slot];
}

void hello_nonces(const struct hello_peer *p, uint64_t nonce[2])
{
	for (unsigned int i = 0; i < 2; i++)
		nonce[i] = p->sent[(p->sent_next + HELLO_NONCES - 1 - i) % HELLO_NONCES].nonce;
	if (!p->old_nonce[0])
		return;
	nonce[1] = nonce[0] ? p->old_nonce[0] : p->old_nonce[1];
	if (!nonce[0])
		nonce[0] = p->old_nonce[0];
}

static void hello_old_over(struct hello_peer *p)
{
	memset(p->old_nonce, 0, sizeof(p->old_nonce));
}

void hello_traffic(struct hello *h, unsigned int idx, uint64_t when_ms)
{
	if (idx < h->max_peers && h->peers[idx].used)
		hello_table_traffic(h, &h->peers[idx], when_ms);
}

static void hello_apply(struct hello *h, const struct hello_peer *p, bool epoch_changed)
{
	h->apply(h->arg, (unsigned int)(p - h->peers), p, epoch_changed);
}

static void hello_update_state(struct hello_peer *p, uint64_t now_ms)
{
	if (p->problem != HELLO_SILENT && now_ms - p->problem_ms >= HELLO_FORGET_MS)
		p->problem = HELLO_SILENT;

	if (hello_table_is_up(p, now_ms))
		p->state = HELLO_UP;
	else if (p->problem != HELLO_SILENT)
		p->state = p->problem;
	else if (p->echo_until_ms > now_ms && p->unproven >= HELLO_UNPROVEN_MAX)
		p->state = HELLO_BLOCKED;
	else if (p->was_up)
		p->state = HELLO_DOWN;
	else
		p->state = HELLO_SILENT;
}

/* Anybody can send a bad message: it explains why a peer is not up, and no more. */
static void hello_problem(struct hello_peer *p, enum hello_state problem, uint64_t now_ms)
{
	if (hello_table_is_up(p, now_ms))
		return;
	p->problem = problem;
	p->problem_ms = now_ms;
}

/* One more of @count in this second, if that does not exceed @max? */
static bool hello_limit(struct hello_peer *p, unsigned int *count, unsigned int max,
			uint64_t now_ms)
{
	uint64_t sec = now_ms / 1000;

	if (p->limit_sec != sec) {
		p->limit_sec = sec;
		p->answers = 0;
		p->fresh_answers = 0;
		p->prompts = 0;
	}
	if (*count >= max)
		return false;
	(*count)++;
	return true;
}

/* Index of a nonce that we sent and that is still young, or -1. */
static int hello_match(const struct hello_peer *p, uint64_t nonce, uint64_t now_ms)
{
	int i;

	if (!nonce)
		return -1;
	for (i = 0; i < HELLO_NONCES; i++)
		if (p->sent[i].nonce == nonce && p->sent[i].sent_ms + HELLO_PROOF_MS > now_ms)
			return i;
	return -1;
}

/* Whether a nonce is ours and young, or was that of the daemon before us when it ended. */
static bool hello_knows(const struct hello_peer *p, uint64_t nonce, uint64_t now_ms)
{
	if (hello_match(p, nonce, now_ms) >= 0)
		return true;
	return nonce && now_ms < p->old_until_ms &&
	       (nonce == p->old_nonce[0] || nonce == p->old_nonce[1]);
}

static bool hello_is_fresh(const struct hello_peer *p, const struct hello_msg *m, uint64_t now_ms)
{
	return hello_knows(p, m->echo, now_ms) || hello_knows(p, m->echo_probe[XM_TCP], now_ms) ||
	       hello_knows(p, m->echo_probe[XM_UDP], now_ms);
}

/* The peer may be reached again: within a period, and not more often than ever. */
static void hello_no_backoff(struct hello_peer *p, uint64_t now_ms)
{
	if (p->period_ms <= XM_HELLO_PERIOD_MS)
		return;
	p->period_ms = XM_HELLO_PERIOD_MS;
	if (p->next_ms > now_ms + XM_HELLO_PERIOD_MS)
		p->next_ms = now_ms + XM_HELLO_PERIOD_MS;
}

static void hello_refresh_addr(struct hello_peer *p, const struct xm_event *ev, uint64_t now_ms)
{
	if (!p->ifindex)
		p->next_ms = now_ms; /* now we can */
	else if (ev->leaving && memcmp(p->eth, ev->eth, sizeof(p->eth)))
		hello_no_backoff(p, now_ms);
	if (ev->leaving) {
		p->routed = true;
		p->asked_ms = 0;
	}
	p->node = ev->node;
	p->ifindex = ev->ifindex;
	memcpy(p->eth, ev->eth, sizeof(p->eth));
}

/* Extend the deadlines by what @m proves. */
static void hello_proof(struct hello *h, struct hello_peer *p, const struct hello_msg *m,
			uint64_t now_ms)
{
	bool longer = false;
	unsigned int i;

	for (i = 0; i < XM_PROTOS; i++) {
		int slot = hello_match(p, m->echo_probe[i], now_ms);
		uint64_t until;

		if (slot < 0)
			continue;
		until = p->sent[slot].sent_ms + HELLO_PROOF_MS;
		if (until <= p->up_until_ms[i])
			continue;
		p->up_until_ms[i] = until;
		longer = true;
	}
	if (longer) {
		p->unproven = 0;
		p->was_up = true;
		hello_apply(h, p, false);
	} else if (m->type == XM_WIRE_ANSWER && p->unproven < HELLO_UNPROVEN_MAX) {
		p->unproven++;
	}
}

/* The peer's maps are new: nothing from before may count, neither theirs nor ours. */
static void hello_new_epoch(struct hello *h, struct hello_peer *p, uint32_t epoch)
{
	p->epoch = epoch;
	p->gen = hello_table_next_gen(p->gen);
	memset(p->up_until_ms, 0, sizeof(p->up_until_ms));
	memset(p->sent, 0, sizeof(p->sent));
	hello_old_over(p);
	p->echo_until_ms = 0;
	p->unproven = 0;
	/* What it said before we could believe it. */
	p->rx_nonce = p->any_nonce;
	p->rx_tcp = p->any_tcp;
	p->rx_udp = p->any_udp;
	p->fresh_ms = 0;
	p->fresh_probe_ms = 0;
	hello_apply(h, p, true);
}

/* The peer takes its programs away: nothing recorded before may bring it back. */
static void hello_gone(struct hello *h, struct hello_peer *p)
{
	memset(p->up_until_ms, 0, sizeof(p->up_until_ms));
	memset(p->sent, 0, sizeof(p->sent));
	hello_old_over(p);
	p->echo_until_ms = 0;
	hello_apply(h, p, false);
}

/* A fresh message. Return: whether the peer should hear from us at once. */
static bool hello_digest(struct hello *h, struct hello_peer *p, const struct hello_msg *m,
			 uint64_t now_ms)
{
	bool learned = p->epoch != m->epoch;
	int slot;

	if (learned && p->epoch) {
		hello_new_epoch(h, p, m->epoch);
		return true;
	}
	p->epoch = m->epoch;

	if (m->bye) {
		hello_gone(h, p);
		return false;
	}
	if (m->lease_ms != h->cfg.lease_ms) {
		if (hello_table_is_up(p, now_ms)) {
			memset(p->up_until_ms, 0, sizeof(p->up_until_ms));
			hello_apply(h, p, false);
		}
		hello_problem(p, HELLO_BAD_LEASE, now_ms);
		return learned;
	}

	slot = hello_match(p, m->echo, now_ms);
	if (slot >= 0) {
		hello_old_over(p);
		p->echo_until_ms =
			hello_later(p->echo_until_ms, p->sent[slot].sent_ms + HELLO_PROOF_MS);
		/* Only an answer comes at once. */
		if (m->type == XM_WIRE_ANSWER && p->sent[slot].sent_us &&
		    h->now_us >= p->sent[slot].sent_us)
			p->rtt_us = h->now_us - p->sent[slot].sent_us;
	}
	/* Until it knows our epoch it may hold labels of an older one. */
	if (m->peer_epoch == h->cfg.epoch)
		hello_proof(h, p, m, now_ms);
	return learned;
}

/* Slot of the sender of a message that did pass the checks; strangers get one by a hello. */
static struct hello_peer *hello_sender(struct hello *h, const struct xm_event *ev,
				       const struct hello_msg *m, uint64_t now_ms, bool *added)
{
	struct hello_peer *p = hello_find(h, ev->peer, NULL);
	int slot;

	*added = false;
	if (p || m->type != XM_WIRE_HELLO || m->lease_ms != h->cfg.lease_ms)
		return p;
	slot = hello_table_add(h, ev->peer, true, now_ms);
	if (slot < 0)
		return NULL;
	p = &h->peers[slot];
	hello_refresh_addr(p, ev, now_ms);
	hello_apply(h, p, false);
	*added = true;
	return p;
}

static void hello_rejected(struct hello *h, const struct xm_event *ev, enum hello_verdict verdict,
			   uint64_t now_ms)
{
	struct hello_peer *p = hello_find(h, ev->peer, NULL);

	if (!p) {
		h->bad_events++;
		return;
	}
	p->bad_rx++;
	if (verdict == HELLO_MSG_VERSION)
		hello_problem(p, HELLO_BAD_VERSION, now_ms);
	else if (verdict == HELLO_MSG_KEY)
		hello_problem(p, HELLO_BAD_KEY, now_ms);
	hello_update_state(p, now_ms);
}

/* Whether something that is not fresh may be the peer's, since nothing fresh comes. @when: it did */
static bool hello_quiet_since(uint64_t when_ms, uint64_t now_ms)
{
	return !when_ms || now_ms - when_ms >= HELLO_PROOF_MS;
}

static void hello_heard(struct hello_peer *p, const struct hello_msg *m, bool fresh,
			uint64_t now_ms)
{
	/* Answers come for whatever we send: they do not show that the peer's hellos would be fresh. */
	if (fresh && m->type == XM_WIRE_HELLO)
		p->fresh_ms = now_ms;
	p->heard_ms = now_ms;
	hello_no_backoff(p, now_ms);
	if (m->type == XM_WIRE_HELLO) {
		p->hellos_rx++;
		p->any_nonce = m->nonce;
		if (fresh || hello_quiet_since(p->fresh_ms, now_ms))
			p->rx_nonce = m->nonce;
	}
}

static void hello_control(struct hello *h, const struct xm_event *ev, uint64_t now_ms)
{
	bool added, fresh, lease_ok, hello, prompt = false;
	enum hello_verdict verdict;
	struct hello_peer *p;
	struct hello_msg m;

	verdict = hello_codec_decode(&h->cfg, ev->peer, ev->node, ev->data, ev->len, &m);
	if (verdict != HELLO_MSG_OK) {
		hello_rejected(h, ev, verdict, now_ms);
		return;
	}
	p = hello_sender(h, ev, &m, now_ms, &added);
	if (!p)
		return;

	hello = m.type == XM_WIRE_HELLO;
	lease_ok = m.lease_ms == h->cfg.lease_ms;
	fresh = hello_is_fresh(p, &m, now_ms);
	hello_heard(p, &m, fresh, now_ms);
	if (!p->ifindex || (!p->routed && (fresh || !hello_table_is_up(p, now_ms))))
		hello_refresh_addr(p, ev, now_ms);
	if (fresh && p->old_nonce[0] && !p->old_heard) {
		p->old_heard = true;
		p->next_ms = now_ms;
	}
	if (lease_ok)
		p->problem = HELLO_SILENT;
	else
		hello_problem(p, HELLO_BAD_LEASE, now_ms);

	if (fresh)
		prompt = hello_digest(h, p, &m, now_ms);
	else if (hello && m.epoch != p->epoch)
		prompt = true; /* perhaps a new epoch, perhaps a replay: ask */

	if (hello &&
	    hello_limit(p, fresh ? &p->fresh_answers : &p->answers, HELLO_ANSWERS_PER_SEC, now_ms))
		hello_tx_answer(h, p, m.nonce, fresh);
	if (added || (hello && now_ms >= p->next_ms) ||
	    (prompt && hello_limit(p, &p->prompts, HELLO_PROMPTS_PER_SEC, now_ms)))
		hello_tx_hello(h, p, now_ms);
	hello_update_state(p, now_ms);
}

static void hello_probe(struct hello *h, const struct xm_event *ev, uint64_t now_ms)
{
	struct hello_peer *p = hello_find(h, ev->peer, NULL);
	uint64_t echo, nonce = hello_codec_probe_nonce(ev->data, ev->len, &echo);
	bool believe;

	if (!p || !nonce) {
		h->bad_events++;
		return;
	}
	believe = hello_knows(p, echo, now_ms);
	if (believe)
		p->fresh_probe_ms = now_ms;
	else
		believe = hello_quiet_since(p->fresh_probe_ms, now_ms);
	if (ev->proto == IPPROTO_TCP) {
		p->any_tcp = nonce;
		if (believe)
			p->rx_tcp = nonce;
	} else if (ev->proto == IPPROTO_UDP) {
		p->any_udp = nonce;
		if (believe)
			p->rx_udp = nonce;
	}
}

static void hello_seen(struct hello *h, const struct xm_event *ev, uint64_t now_ms)
{
	struct hello_peer *p = hello_find(h, ev->peer, NULL);
	int slot;

	if (p) {
		hello_table_traffic(h, p, now_ms);
		if (ev->leaving || !p->routed || !p->ifindex)
			hello_refresh_addr(p, ev, now_ms);
		return;
	}
	slot = hello_table_add(h, ev->peer, false, now_ms);
	if (slot < 0)
		return;
	p = &h->peers[slot];
	hello_refresh_addr(p, ev, now_ms);
	hello_apply(h, p, false);
	hello_tx_hello(h, p, now_ms);
}

void hello_bye(struct hello *h)
{
	unsigned int i;

	for (i = 0; i < h->high; i++) {
		struct hello_peer *p = &h->peers[i];

		if (!p->used)
			continue;
		memset(p->up_until_ms, 0, sizeof(p->up_until_ms));
		hello_apply(h, p, false);
		hello_tx_bye(h, p);
	}
}

static bool hello_is_unicast(__be32 addr)
{
	uint32_t a = ntohl(addr);

	return a >> 24 && a >> 24 != IN_LOOPBACKNET && a < 0xe0000000u;
}

/* Whatever may be wrong with an event apart from its payload. */
static bool hello_event_ok(const struct xm_event *ev)
{
	return ev->len <= XM_CONTROL_MAX && ev->ifindex && ev->peer != ev->node &&
	       hello_is_unicast(ev->peer) && hello_is_unicast(ev->node) &&
	       !(ev->eth[0] & 1); /* never to a group */
}

void hello_event(struct hello *h, const struct xm_event *ev, uint64_t now_ms)
{
	if (!hello_event_ok(ev)) {
		h->bad_events++;
		return;
	}
	switch (ev->type) {
	case XM_EV_PEER_SEEN:
		hello_seen(h, ev, now_ms);
		break;
	case XM_EV_CONTROL:
		hello_control(h, ev, now_ms);
		break;
	case XM_EV_PROBE:
		hello_probe(h, ev, now_ms);
		break;
	default:
		h->bad_events++;
		break;
	}
}

int hello_adopt(struct hello *h, unsigned int idx, const struct hello_peer *was, uint64_t now_ms)
{
	struct hello_peer *p;

	if (idx >= h->max_peers || h->peers[idx].used)
		return -EINVAL;
	p = &h->peers[idx];
	if (!was->used) {
		p->gen = was->gen;
		return 0;
	}
	if (!hello_is_unicast(was->addr))
		return -EINVAL;
	if (hello_table_find(h, was->addr) >= 0)
		return -EEXIST;

	hello_table_claim(h, idx, was->addr, false, now_ms);
	p->node = was->node;
	p->ifindex = was->ifindex;
	memcpy(p->eth, was->eth, sizeof(p->eth));
	if (was->epoch && was->gen) {
		p->epoch = was->epoch;
		p->gen = was->gen;
		memcpy(p->up_until_ms, was->up_until_ms, sizeof(p->up_until_ms));
		p->was_up = hello_table_is_up(p, now_ms);
		if (p->was_up) {
			memcpy(p->old_nonce, was->old_nonce, sizeof(p->old_nonce));
			p->old_until_ms =
				hello_later(p->up_until_ms[XM_TCP], p->up_until_ms[XM_UDP]);
		}
	} else {
		p->gen = hello_table_next_gen(was->gen);
		hello_apply(h, p, true);
	}
	hello_update_state(p, now_ms);
	return 0;
}

/* Return: when this peer needs a tick. */
static uint64_t hello_tick_peer(struct hello *h, struct hello_peer *p, uint64_t now_ms)
{
	uint64_t wake = hello_later(p->first_ms, p->traffic_ms) + HELLO_FORGET_MS;
	unsigned int i;

	if (now_ms >= wake) {
		hello_table_remove(h, (unsigned int)(p - h->peers));
		return UINT64_MAX;
	}
	hello_update_state(p, now_ms);
	if (now_ms >= p->old_until_ms)
		hello_old_over(p);
	if (p->traffic_ms) {
		if (now_ms >= p->next_ms)
			hello_tx_hello(h, p, now_ms);
		if (p->next_ms < wake)
			wake = p->next_ms;
	}
	for (i = 0; i < XM_PROTOS; i++)
		if (p->up_until_ms[i] > now_ms && p->up_until_ms[i] < wake)
			wake = p->up_until_ms[i];
	return wake;
}

uint64_t hello_tick(struct hello *h, uint64_t now_ms)
{
	uint64_t wake = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < h->high; i++) {
		uint64_t w;

		if (!h->peers[i].used)
			continue;
		w = hello_tick_peer(h, &h->peers[i], now_ms);
		if (w < wake)
			wake = w;
	}
	if (wake == UINT64_MAX)
		return wake;
	return hello_later(wake, now_ms + HELLO_TICK_MS) - now_ms;
}
