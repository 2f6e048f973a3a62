/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Peers: how two nodes agree that masqueraded packets get through.
 *
 * Theory of operation. About once a second a node sends each known address two path
 * probes (TCP- and UDP-shaped) and a hello, all with one fresh nonce. The other node
 * answers at once with what it has received: nonce of the hello, of the TCP probe, of
 * the UDP probe, and its epoch. An echo of one of our recent nonces proves that this
 * shape reaches the peer *now* (and that the message is no replay): towards this peer
 * the protocol may be masqueraded until XM_HELLO_MISSES periods after that nonce was
 * sent. Nothing else brings a peer up, and nothing needs to bring it down: the
 * deadline passes by itself, also when the daemon is dead.
 *
 * A peer with another lease, another wire version or a wrong MAC is remembered with
 * the reason and never comes up.
 *
 * Who may talk whom into what:
 *  - A message is fresh when it echoes a nonce that we sent within the last
 *    XM_HELLO_MISSES periods. Only a fresh message moves a deadline, an epoch or a
 *    generation; with a key it is then also authentic.
 *  - A fresh message whose peer_epoch is not ours says that the peer has not yet heard
 *    of our maps, and may still hold labels of older ones: no proof. So whoever is up
 *    knows the peer's epoch and knows that the peer knows ours.
 *  - A new epoch voids the nonces sent so far. What the previous daemon over there
 *    said, recorded and sent again, therefore finds no nonce to match.
 *  - A hello whose epoch is news but which is not fresh is answered with a hello of our
 *    own ("prompt"): the answer to that will be fresh.
 *  - A fresh message that taught us an epoch is followed by a prompt as well, so that two
 *    new nodes agree within two round trips. That is the only case in which an answer
 *    makes us send something; it cannot repeat while the epochs stay.
 *  - What is not fresh may be anybody's with the peer's address on it. While fresh messages
 *    come, its nonces are not echoed, and its answers are counted apart: a flood of it costs
 *    the peer nothing.
 *  - Prompts and answers are limited per peer and second, so that no peer, broken or
 *    hostile, makes us send more than HELLO_FRAMES_PER_SEC frames. A stranger that lost its
 *    slot to another begins anew; XM_STRANGERS_PER_SEC bounds how often that can be.
 *  - An address that we know only from its hellos (no overlay traffic) is passive: it
 *    gets a hello when it sends one, never by our timer, else two nodes that have
 *    nothing to do with each other would remind each other for ever.
 *
 * Frames leave by the way that the node's own overlay packets take to the peer, since what is to be
 * proven is that masqueraded packets get through there: with two gateways, what the peer sends
 * may come by the other one. The programs are asked for that way with each hello
 * (datapath_peer_want_report()), so that a gateway's new address costs one
 * hello. The way back of what comes is taken before any is known, and when no packet left between
 * two hellos: then there is no data to prove anything for.
 *
 * A daemon that starts over on pinned maps first gives back what it knew with
 * hello_adopt(), also the nonces that the peer still echoes: what comes with them is fresh as
 * long as the deadlines last that were taken over, or until the peer echoes a new one. They
 * move no deadline. Without them the first that the peer says would be anybody's, and lost
 * in a flood of it.
 *
 * Pure: time and random numbers come in as arguments, frames go out through a
 * callback.
 */
#ifndef XM_HELLO_H
#define XM_HELLO_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xm_types.h"
#include "xm_wire.h"

#define HELLO_NONCES	4     /* recent nonces that an echo may match */
#define HELLO_FORGET_MS 60000 /* a silent address without traffic is forgotten */
#define HELLO_FRAME_MAX 256

#define HELLO_BACKOFF_MS 30000 /* longest period towards a silent address */
#define HELLO_TICK_MS	 20    /* hello_tick() never asks to be called sooner */

/* Limits per peer and second, and what they sum up to: a hello is three frames, and
 * one or two of them a second are due to the timer (a passive peer: to the peer's).
 */
#define HELLO_ANSWERS_PER_SEC 8 /* to fresh hellos; as many to others */
#define HELLO_PROMPTS_PER_SEC 3
#define HELLO_FRAMES_PER_SEC  (2 * HELLO_ANSWERS_PER_SEC + 3 * (HELLO_PROMPTS_PER_SEC + 3))

enum hello_state {
	HELLO_SILENT,	   /* hello sent, nothing heard: perhaps no xmasq there */
	HELLO_UP,	   /* at least one protocol gets through */
	HELLO_DOWN,	   /* was up, proof ran out */
	HELLO_BLOCKED,	   /* hellos are answered, but no probe gets through */
	HELLO_BAD_KEY,	   /* MAC missing or wrong */
	HELLO_BAD_LEASE,   /* peer is configured with another lease */
	HELLO_BAD_VERSION, /* peer speaks another wire version */
	HELLO_STATES,
};

struct hello_config {
	uint16_t masq_port; /* host order */
	uint32_t lease_ms;
	uint32_t epoch;	 /* of our maps, not 0 */
	uint8_t key[64]; /* pre-shared key */
	size_t key_len;	 /* 0: no authentication */
};

struct hello_peer {
	bool used;
	__be32 addr; /* peer */
	__be32 node; /* our address towards it */
	uint32_t ifindex;
	uint8_t eth[XM_ETH_LEN];
	bool routed;	   /* the last two are from our own overlay packets */
	uint64_t asked_ms; /* for one of those, in vain so far; 0: not */
	enum hello_state state;
	uint32_t epoch; /* peer's, 0 unknown */
	uint16_t gen;	/* to be written to struct xm_peer; starts at 1, never 0 */
	struct {
		uint64_t nonce; /* 0: slot unused */
		uint64_t sent_ms;
		uint64_t sent_us; /* 0: hello.now_us is not kept */
	} sent[HELLO_NONCES];
	unsigned int sent_next;
	uint64_t rx_nonce, rx_tcp, rx_udp; /* newest believed, to be echoed */
	uint64_t up_until_ms[XM_PROTOS];   /* monotonic; 0 never proven */
	uint64_t rtt_us;		   /* of the last echo, 0 unknown */
	uint64_t first_ms, heard_ms, next_ms;
	uint64_t traffic_ms; /* last overlay traffic; 0: passive, known from its hellos only */
	uint64_t hellos_tx, hellos_rx, bad_rx;

	/* private to hello.c */
	enum hello_state problem; /* a HELLO_BAD_*, or HELLO_SILENT for none */
	uint64_t problem_ms;
	uint64_t echo_until_ms; /* hellos reach the peer */
	unsigned int unproven;	/* answers in a row without news of a probe */
	uint32_t period_ms;	/* between hellos, grows while the peer is silent */
	bool was_up;
	/* Newest of all, which may be anybody's, and when one last was certainly the peer's. */
	uint64_t any_nonce, any_tcp, any_udp;
	uint64_t fresh_ms, fresh_probe_ms;
	uint64_t old_nonce[2]; /* of the daemon before us, newest first; 0 for none */
	uint64_t old_until_ms;
	bool old_heard;	    /* once the peer is heard, it hears from us at once */
	uint64_t limit_sec; /* the second that the next three are about */
	unsigned int answers, fresh_answers, prompts;
};

/**
 * typedef hello_send_fn - send one Ethernet frame
 * @frame: complete frame with checksums
 */
typedef void (*hello_send_fn)(void *arg, const struct hello_peer *p, const uint8_t *frame,
			      size_t len);

/**
 * typedef hello_apply_fn - a peer's deadlines, generation or existence changed
 * @idx: slot, equal to the slot in the programs' peer table
 * @p: the peer; p->used false when it was forgotten
 * @epoch_changed: the peer's labels are void
 */
typedef void (*hello_apply_fn)(void *arg, unsigned int idx, const struct hello_peer *p,
			       bool epoch_changed);

/* Random 64-bit number that nobody can guess; 0 only on failure: then nothing is sent. */
typedef uint64_t (*hello_random_fn)(void *arg);

struct hello {
	struct hello_config cfg;
	struct hello_peer *peers;
	unsigned int max_peers;
	unsigned int n_peers;
	hello_send_fn send;
	hello_apply_fn apply;
	hello_random_fn random;
	void *arg;
	uint64_t table_full; /* addresses that found no slot */
	uint64_t bad_events; /* not understood, or bad and from an address without a slot */
	uint64_t now_us;     /* caller's clock, set before a call; only for rtt_us; 0: none */

	/* private to hello_table.c */
	unsigned int high;	  /* slots from here on were never used */
	unsigned int n_strangers; /* passive peers */
	uint32_t *index;	  /* address to slot + 1 */
	uint32_t index_mask;
	uint32_t index_seed;
};

/**
 * hello_init() - make an empty table; hello_free() releases it and wipes the key
 * @max_peers: 1..XM_PEERS_MAX
 *
 * Return: 0, -ENOMEM, or -EINVAL (no epoch, too long a key, bad @max_peers).
 */
int hello_init(struct hello *h, const struct hello_config *cfg, unsigned int max_peers,
	       hello_send_fn send, hello_apply_fn apply, hello_random_fn random, void *arg);
void hello_free(struct hello *h);

/**
 * hello_adopt() - take over a slot of a pinned peer table, before any other call
 * @idx: slot
 * @was: used, addr, gen, epoch, node, ifindex, eth, up_until_ms and old_nonce are taken over;
 *       epoch 0 (unknown) raises gen, since the peer's labels cannot be trusted.
 *       ifindex 0: nothing is sent until an event tells how. When not used, only gen
 *       is taken, so that the slot's next peer gets another one
 *
 * Return: 0, -EINVAL (no such slot, slot in use or bad address), -EEXIST (address has
 * another slot).
 */
int hello_adopt(struct hello *h, unsigned int idx, const struct hello_peer *was, uint64_t now_ms);

/**
 * hello_event() - digest an event from the programs (any struct xm_event, hostile ones too)
 *
 * Sends answers, and hellos to new peers, at once. It may bring the next deadline
 * forward: call hello_tick() after a batch of events.
 */
void hello_event(struct hello *h, const struct xm_event *ev, uint64_t now_ms);

/**
 * hello_tick() - send what is due, expire what is over
 *
 * Return: milliseconds until the next call is needed, at least HELLO_TICK_MS; UINT64_MAX
 * when there are no peers.
 */
uint64_t hello_tick(struct hello *h, uint64_t now_ms);

/**
 * hello_bye() - tell every peer that our programs go away, and stop sending to them
 *
 * A peer that gets it sends by the overlay at once, instead of after XM_HELLO_MISSES
 * periods. Like any message that changes something it must echo a recent nonce.
 */
void hello_bye(struct hello *h);

/**
 * hello_nonces() - two nonces by which the peer is known, newest first; 0 for none
 *
 * Those that were sent last; until the peer has echoed one, the second is what it echoed before.
 */
void hello_nonces(const struct hello_peer *p, uint64_t nonce[2]);

/** hello_traffic() - overlay traffic with the peer in slot @idx was seen at @when_ms */
void hello_traffic(struct hello *h, unsigned int idx, uint64_t when_ms);

/** hello_find() - peer by address, NULL if unknown; @idx may be NULL */
struct hello_peer *hello_find(struct hello *h, __be32 addr, unsigned int *idx);

/** hello_state_name() - "up", "silent", ... ; hello_state_text() - what to do about it */
const char *hello_state_name(enum hello_state s);
const char *hello_state_text(enum hello_state s);

#endif
