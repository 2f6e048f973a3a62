/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Address resolution: who has which MAC, and frames that wait to know.
 *
 * Theory of operation. An entry is made when a frame has to go to an address, never because somebody
 * talks about it. Its states:
 *
 *	ASKING	  requests are broadcast; frames wait. The first answer makes it GOOD, no answer FAILED.
 *	GOOD	  in use. After ARP_GOOD_MS, when it is needed again, it becomes CHECKING.
 *	CHECKING  still in use, and its owner is asked, by unicast. Without an answer: ASKING.
 *	FAILED	  frames are dropped until ARP_FAILED_MS have passed.
 *
 * Who may change an entry. Only an answer to a question of ours, sent to us, whose sender is the same
 * in the Ethernet header and in the ARP packet. Requests and announcements of others change
 * nothing. If anybody claims another MAC for an address in use, this is counted as a conflict
 * and the owner is asked, at its old MAC: if it is there, nothing changes; if it is gone (a
 * container was replaced), the new one has the address within ARP_CHECK_MS. So a liar can win the
 * race for an address that nobody has resolved yet, as with any ARP, but cannot take over one.
 *
 * Whoever asks for our address is answered. No system calls, one thread.
 */
#ifndef AFXDP_ARP_H
#define AFXDP_ARP_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "frame.h"
#include "pkt.h"
#include "why.h"

#define ARP_HELD      64  /* frames that wait for one address */
#define ARP_HELD_ALL  512 /* for all: they are missing elsewhere */
#define ARP_GOOD_MS   30000
#define ARP_FAILED_MS 1000
#define ARP_TRIES     4 /* 100, 200, 400 and 800 ms apart */
#define ARP_FIRST_MS  100
#define ARP_CHECK_MS  1500 /* all of them */
#define ARP_FRAME     46   /* the longest that is built: with a VLAN tag */

struct arp;

/**
 * arp_new() - an empty table
 * @mac, @addr: ours
 * @seed: unknown to others
 *
 * Return: NULL without memory; arp_free() frees it, but no frames that it holds.
 */
struct arp *arp_new(const uint8_t mac[6], __be32 addr, uint64_t seed);
void arp_free(struct arp *arp);

/**
 * arp_find() - the MAC of an address
 *
 * Return: NULL with @why: WHY_OK when arp_hold() may keep the frame until it is known, or why the
 * frame has to be dropped.
 */
const uint8_t *arp_find(struct arp *arp, uint16_t vlan, __be32 addr, uint64_t now_ms,
			enum why *why);

/**
 * arp_hold() - keeps a frame until its address is known, right after arp_find() said so
 * @f: complete but for its destination's MAC
 *
 * Return: WHY_OK, arp_released() will return it; or why it has to be dropped.
 */
enum why arp_hold(struct arp *arp, uint16_t vlan, __be32 addr, const struct frame *f);

/**
 * arp_released() - takes a frame that waits no longer
 * @why: WHY_OK: its destination is filled in, send it; else drop it
 *
 * Return: false when there is none.
 */
bool arp_released(struct arp *arp, struct frame *f, enum why *why);

/**
 * arp_input() - an ARP packet came in
 * @len: of the frame; set when it is to be sent
 *
 * Return: WHY_OK: the frame is an answer now, to be sent. Anything else: it is done with.
 */
enum why arp_input(struct arp *arp, struct pkt *p, uint32_t *len, uint64_t now_ms);

/**
 * arp_request() - builds the next request that is due, if any
 * @frame: ARP_FRAME bytes
 *
 * Also ages the table. Call it until it returns 0, after every batch of frames and at the
 * latest at arp_deadline().
 *
 * Return: length of the frame, 0 when nothing is due.
 */
uint32_t arp_request(struct arp *arp, uint8_t *frame, uint64_t now_ms);

/** arp_deadline() - when arp_request() has something to do; UINT64_MAX: not before more frames come */
uint64_t arp_deadline(const struct arp *arp);

/* Since the start. */
struct arp_stats {
	uint64_t requests, conflicts, failed;
	uint32_t known, held;
};

void arp_stats(const struct arp *arp, struct arp_stats *stats);

#endif
