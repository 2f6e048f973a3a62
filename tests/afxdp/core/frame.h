/* SPDX-License-Identifier: GPL-2.0-only */
/* A frame on its way through the router, and where it lives. */
#ifndef AFXDP_FRAME_H
#define AFXDP_FRAME_H

#include <stdint.h>

/**
 * struct frame - one frame in one buffer
 * @data: its bytes
 * @len: of them
 * @addr: of @data in the UMEM; whoever has the frame last gives its buffer back
 * @csum_start, @csum_offset: where the kernel is to complete the checksum (from the frame's start, and
 *	from there to the field); @csum_offset 0: it is whole
 */
struct frame {
	uint8_t *data;
	uint64_t addr;
	uint32_t len;
	uint16_t csum_start, csum_offset;
};

#endif
