/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames for the tests, made field by field, with checksums by another implementation than the
 * router's: big-endian words, carries folded at each step.
 */
#ifndef AFXDP_BUILD_H
#define AFXDP_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUILD_ROOM 2048

enum build_csum {
	BUILD_WHOLE,
	BUILD_PARTIAL,
	BUILD_NONE, /* UDP */
	BUILD_WRONG /* off by one */
};

/* Host order throughout. */
struct build {
	const uint8_t *dst, *src; /* MAC */
	uint16_t vlan;		  /* as in struct pkt */
	uint32_t saddr, daddr;
	uint8_t proto;
	uint16_t sport, dport; /* ICMP: type in the high byte of sport, identifier in dport */
	uint8_t flags;	       /* TCP; 0 is ACK */
	uint8_t ttl;	       /* 0 is 64 */
	uint16_t payload;      /* bytes */
	uint32_t salt;	       /* another payload */
	enum build_csum csum;
};

/** build_frame() - Return: its length */
uint32_t build_frame(uint8_t *frame, const struct build *b);

/** build_error() - an ICMP error about the first @quoted bytes of IP packet @about */
uint32_t build_error(uint8_t *frame, const struct build *b, uint8_t type, const uint8_t *about,
		     uint32_t quoted);

/** build_arp() - an ARP packet; @tha may be NULL */
uint32_t build_arp(uint8_t *frame, const uint8_t *dst, const uint8_t *src, uint16_t vlan, int op,
		   const uint8_t *sha, uint32_t spa, const uint8_t *tha, uint32_t tpa);

/** build_valid() - as a receiver checks: IP, and TCP, UDP or ICMP sums are right and whole */
bool build_valid(const uint8_t *frame, uint32_t len);

#endif
