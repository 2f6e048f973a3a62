/* SPDX-License-Identifier: GPL-2.0-only */
/* Hello, answer and probe: between struct and wire, with the key's MAC. Pure. */
#ifndef XM_HELLO_CODEC_H
#define XM_HELLO_CODEC_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hello.h"
#include "xm_types.h"
#include "xm_wire.h"

/* struct xm_wire_hello in host byte order */
struct hello_msg {
	uint8_t type; /* XM_WIRE_HELLO or XM_WIRE_ANSWER */
	bool bye;     /* XM_WIRE_F_BYE */
	uint32_t epoch;
	uint32_t peer_epoch;
	uint64_t nonce;
	uint64_t echo;
	uint64_t echo_probe[XM_PROTOS];
	uint32_t lease_ms;
};

enum hello_verdict {
	HELLO_MSG_OK,
	HELLO_MSG_GARBAGE, /* not a hello, or one that cannot be */
	HELLO_MSG_VERSION, /* another wire version: nothing else is known */
	HELLO_MSG_KEY,	   /* authenticated with another key, or one side has none */
};

/**
 * hello_codec_encode() - message to wire
 * @cfg: for the key
 * @from: our address, @to: the peer's; both are covered by the MAC
 */
void hello_codec_encode(const struct hello_config *cfg, __be32 from, __be32 to,
			const struct hello_msg *m, struct xm_wire_hello *w);

/**
 * hello_codec_decode() - wire to message
 * @data: @len bytes, any alignment, any content
 * @m: filled when the verdict is HELLO_MSG_OK; the lease is not compared here
 */
enum hello_verdict hello_codec_decode(const struct hello_config *cfg, __be32 from, __be32 to,
				      const void *data, size_t len, struct hello_msg *m);

/** hello_codec_probe() - payload of a path probe */
void hello_codec_probe(uint64_t nonce, uint64_t echo, struct xm_wire_probe *w);

/** hello_codec_probe_nonce() - Return: nonce of a received probe, 0 when it is none; its @echo */
uint64_t hello_codec_probe_nonce(const void *data, size_t len, uint64_t *echo);

#endif
