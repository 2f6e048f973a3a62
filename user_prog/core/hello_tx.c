// SPDX-License-Identifier: GPL-2.0-only
/* What struct hello sends, and when the next is due. */
#include "hello_tx.h"

#include <arpa/inet.h>

#include "frame.h"
#include "hello_codec.h"
#include "hello_table.h"

static void hello_tx_probe(struct hello *h, const struct hello_peer *p, unsigned int proto,
			   uint64_t nonce)
{
	bool owner = ntohl(p->node) < ntohl(p->addr);
	const uint16_t label_port = XM_LABEL_PORT_BASE + XM_LABEL_PROBE;
	const struct frame_addr a = {
		.eth = p->eth,
		.saddr = p->node,
		.daddr = p->addr,
		.sport = owner ? label_port : h->cfg.masq_port,
		.dport = owner ? h->cfg.masq_port : label_port,
	};
	uint8_t frame[HELLO_FRAME_MAX];
	struct xm_wire_probe w;
	int len;

	hello_codec_probe(nonce, p->rx_nonce, &w);
	len = frame_build(frame, sizeof(frame), &a, proto, &w, sizeof(w));
	if (len > 0)
		h->send(h->arg, p, frame, (size_t)len);
}

/*
 * @nonce: of a hello; in an answer 0, and @echo is the nonce of the hello it answers.
 * @fresh: the hello was; to any other the answer echoes the probes of whoever sent it.
 */
static void hello_tx_msg(struct hello *h, const struct hello_peer *p, uint8_t type, bool bye,
			 uint64_t nonce, uint64_t echo, bool fresh)
{
	const struct frame_addr a = {
		.eth = p->eth,
		.saddr = p->node,
		.daddr = p->addr,
		.sport = h->cfg.masq_port,
		.dport = h->cfg.masq_port,
	};
	const struct hello_msg m = {
		.type = type,
		.bye = bye,
		.epoch = h->cfg.epoch,
		.peer_epoch = p->epoch,
		.nonce = nonce,
		.echo = echo,
		.echo_probe[XM_TCP] = fresh ? p->rx_tcp : p->any_tcp,
		.echo_probe[XM_UDP] = fresh ? p->rx_udp : p->any_udp,
		.lease_ms = h->cfg.lease_ms,
	};
	uint8_t frame[HELLO_FRAME_MAX];
	struct xm_wire_hello w;
	int len;

	hello_codec_encode(&h->cfg, p->node, p->addr, &m, &w);
	len = frame_build(frame, sizeof(frame), &a, XM_UDP, &w, sizeof(w));
	if (len > 0)
		h->send(h->arg, p, frame, (size_t)len);
}

/*
 * When the next hello is due. The jitter only shortens a period: after two lost hellos
 * the third must still be answered before the proof of the one before them runs out.
 */
static void hello_tx_schedule(struct hello *h, struct hello_peer *p, uint64_t now_ms)
{
	uint64_t quiet = now_ms - hello_later(p->first_ms, p->heard_ms);
	uint32_t jitter;

	if (!p->traffic_ms) {
		/* Passive: not before, and then when the peer's next hello comes. */
		p->next_ms = now_ms + XM_HELLO_PERIOD_MS / 2;
		return;
	}
	if (quiet <= HELLO_PROOF_MS)
		p->period_ms = XM_HELLO_PERIOD_MS;
	else if (p->period_ms < HELLO_BACKOFF_MS / 2)
		p->period_ms *= 2;
	else
		p->period_ms = HELLO_BACKOFF_MS;
	jitter = p->period_ms / 16;
	p->next_ms = now_ms + p->period_ms - jitter - h->random(h->arg) % jitter;
}

void hello_tx_hello(struct hello *h, struct hello_peer *p, uint64_t now_ms)
{
	uint64_t nonce = h->random(h->arg);

	hello_tx_schedule(h, p, now_ms);
	/* Adopted and not heard of yet, or no random numbers: an empty nonce proves nothing. */
	if (!p->ifindex || !nonce)
		return;
	p->sent[p->sent_next].nonce = nonce;
	p->sent[p->sent_next].sent_ms = now_ms;
	p->sent[p->sent_next].sent_us = h->now_us;
	p->sent_next = (p->sent_next + 1) % HELLO_NONCES;
	p->hellos_tx++;
	if (!p->asked_ms)
		p->asked_ms = now_ms;
	else if (now_ms - p->asked_ms >= XM_HELLO_PERIOD_MS / 2)
		p->routed = false;
	hello_tx_probe(h, p, XM_TCP, nonce);
	hello_tx_probe(h, p, XM_UDP, nonce);
	hello_tx_msg(h, p, XM_WIRE_HELLO, false, nonce, p->rx_nonce, true);
}

void hello_tx_answer(struct hello *h, const struct hello_peer *p, uint64_t echo, bool fresh)
{
	hello_tx_msg(h, p, XM_WIRE_ANSWER, false, 0, echo, fresh);
}

void hello_tx_bye(struct hello *h, const struct hello_peer *p)
{
	if (p->ifindex && p->rx_nonce)
		hello_tx_msg(h, p, XM_WIRE_ANSWER, true, 0, p->rx_nonce, true);
}
