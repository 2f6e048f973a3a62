// SPDX-License-Identifier: GPL-2.0-only
/* Hello, answer and probe: between struct and wire. */
#include "hello_codec.h"

#include <arpa/inet.h>
#include <endian.h>
#include <stdbool.h>
#include <string.h>

#include <nettle/hmac.h>
#include <nettle/memops.h>

_Static_assert(XM_WIRE_MAC_LEN == SHA256_DIGEST_SIZE, "MAC is a whole SHA-256");

static void hello_codec_mac(const struct hello_config *cfg, __be32 from, __be32 to,
			    const struct xm_wire_hello *w, uint8_t *mac)
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, cfg->key_len, cfg->key);
	hmac_sha256_update(&ctx, sizeof(from), (const uint8_t *)&from);
	hmac_sha256_update(&ctx, sizeof(to), (const uint8_t *)&to);
	hmac_sha256_update(&ctx, offsetof(struct xm_wire_hello, mac), (const uint8_t *)w);
	hmac_sha256_digest(&ctx, XM_WIRE_MAC_LEN, mac);
	explicit_bzero(&ctx, sizeof(ctx));
}

void hello_codec_encode(const struct hello_config *cfg, __be32 from, __be32 to,
			const struct hello_msg *m, struct xm_wire_hello *w)
{
	*w = (struct xm_wire_hello){
		.head = {
			.magic = htonl(XM_WIRE_MAGIC),
			.version = XM_WIRE_VERSION,
			.type = m->type,
			.flags = (cfg->key_len ? XM_WIRE_F_AUTH : 0) |
				 (m->bye ? XM_WIRE_F_BYE : 0),
		},
		.epoch = htonl(m->epoch),
		.peer_epoch = htonl(m->peer_epoch),
		.nonce = htobe64(m->nonce),
		.echo = htobe64(m->echo),
		.echo_tcp = htobe64(m->echo_probe[XM_TCP]),
		.echo_udp = htobe64(m->echo_probe[XM_UDP]),
		.lease_ms = htonl(m->lease_ms),
	};
	if (cfg->key_len)
		hello_codec_mac(cfg, from, to, w, w->mac);
}

static bool hello_codec_mac_ok(const struct hello_config *cfg, __be32 from, __be32 to,
			       const struct xm_wire_hello *w)
{
	uint8_t mac[XM_WIRE_MAC_LEN];

	/* A keyed peer and we without a key: it ignores us, so must we. */
	if (!cfg->key_len)
		return !(w->head.flags & XM_WIRE_F_AUTH);
	hello_codec_mac(cfg, from, to, w, mac);
	return memeql_sec(mac, w->mac, sizeof(mac));
}

enum hello_verdict hello_codec_decode(const struct hello_config *cfg, __be32 from, __be32 to,
				      const void *data, size_t len, struct hello_msg *m)
{
	struct xm_wire_hello w;

	/* The head is all that versions have in common. */
	if (len < sizeof(w.head))
		return HELLO_MSG_GARBAGE;
	memcpy(&w.head, data, sizeof(w.head));
	if (w.head.magic != htonl(XM_WIRE_MAGIC))
		return HELLO_MSG_GARBAGE;
	if (w.head.version != XM_WIRE_VERSION)
		return HELLO_MSG_VERSION;
	if (len < sizeof(w))
		return HELLO_MSG_GARBAGE;
	memcpy(&w, data, sizeof(w));
	if (w.head.type != XM_WIRE_HELLO && w.head.type != XM_WIRE_ANSWER)
		return HELLO_MSG_GARBAGE;
	if (!hello_codec_mac_ok(cfg, from, to, &w))
		return HELLO_MSG_KEY;

	*m = (struct hello_msg){
		.type = w.head.type,
		.bye = w.head.flags & XM_WIRE_F_BYE,
		.epoch = ntohl(w.epoch),
		.peer_epoch = ntohl(w.peer_epoch),
		.nonce = be64toh(w.nonce),
		.echo = be64toh(w.echo),
		.echo_probe[XM_TCP] = be64toh(w.echo_tcp),
		.echo_probe[XM_UDP] = be64toh(w.echo_udp),
		.lease_ms = ntohl(w.lease_ms),
	};
	if (!m->epoch || (m->type == XM_WIRE_HELLO && !m->nonce))
		return HELLO_MSG_GARBAGE;
	return HELLO_MSG_OK;
}

void hello_codec_probe(uint64_t nonce, uint64_t echo, struct xm_wire_probe *w)
{
	*w = (struct xm_wire_probe){
		.head = {
			.magic = htonl(XM_WIRE_MAGIC),
			.version = XM_WIRE_VERSION,
			.type = XM_WIRE_PROBE,
		},
		.nonce = htobe64(nonce),
		.echo = htobe64(echo),
	};
}

uint64_t hello_codec_probe_nonce(const void *data, size_t len, uint64_t *echo)
{
	struct xm_wire_probe w = {};

	*echo = 0;
	if (len < XM_WIRE_PROBE_SHORT)
		return 0;
	memcpy(&w, data, len < sizeof(w) ? XM_WIRE_PROBE_SHORT : sizeof(w));
	if (w.head.magic != htonl(XM_WIRE_MAGIC) || w.head.version != XM_WIRE_VERSION ||
	    w.head.type != XM_WIRE_PROBE)
		return 0;
	*echo = be64toh(w.echo);
	return be64toh(w.nonce);
}
