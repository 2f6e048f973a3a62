/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few kernel types that the programs read, reduced to the members used. CO-RE
 * relocates the members by name when the object is loaded, so building needs no
 * kernel, no BTF and no bpftool; UAPI types come from linux-libc-dev.
 */
#ifndef XM_VMLINUX_MIN_H
#define XM_VMLINUX_MIN_H

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* include/linux/skbuff.h */
struct sk_buff {
	unsigned char *head;
	unsigned char *data;
	__u16 csum_start; /* offset from head, meaningful with CHECKSUM_PARTIAL */
	__u8 ip_summed : 2;
};

#pragma clang attribute pop

#define CHECKSUM_PARTIAL 3 /* include/linux/skbuff.h; not UAPI, unchanged since 2.6 */

#endif
