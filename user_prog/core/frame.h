/* SPDX-License-Identifier: GPL-2.0-only */
/* Frames that the daemon itself sends: control messages and path probes. Pure. */
#ifndef XM_FRAME_H
#define XM_FRAME_H

#include <linux/types.h>
#include <stddef.h>
#include <stdint.h>

#include "xm_types.h"

struct frame_addr {
	const uint8_t *eth; /* XM_ETH_LEN bytes: destination, source */
	__be32 saddr;
	__be32 daddr;
	uint16_t sport; /* host order */
	uint16_t dport;
};

/**
 * frame_build() - Ethernet + IPv4 + UDP or TCP (ACK and PSH) + payload, checksums right
 * @buf: room for the frame; bytes after its end stay as they are
 * @max: size of @buf
 * @proto: enum xm_proto_idx
 * @payload: @len bytes, may be NULL when @len is 0
 *
 * Return: length, -EMSGSIZE when @max is too small or the packet would exceed 64 KiB,
 * -EINVAL on another @proto.
 */
int frame_build(uint8_t *buf, size_t max, const struct frame_addr *a, unsigned int proto,
		const void *payload, size_t len);

/**
 * frame_csum() - Internet checksum over @len bytes, folded, not complemented
 * @sum: of what comes before, which must have an even length; 0 to begin with
 *
 * Words are summed as they lie in memory: the result (complemented) is stored as it is,
 * without a change of byte order.
 */
uint16_t frame_csum(const void *data, size_t len, uint32_t sum);

#endif
