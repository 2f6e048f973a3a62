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
	/* With CHECKSUM_PARTIAL, csum_start (offset from head) and csum_offset (of the field, from
	 * there): the kernel has them in a union with this. */
	__u32 csum;
	__u8 ip_summed : 2;
};

#pragma clang attribute pop

/* include/linux/skbuff.h; not UAPI, unchanged since 2.6 */
#define CHECKSUM_NONE	  0
#define CHECKSUM_COMPLETE 2
#define CHECKSUM_PARTIAL  3

/* One byte and two shifts: BPF_CORE_READ_BITFIELD() asks for the size of the field's type while the
 * program runs, and keeps the result on the stack. */
#define SKB_IP_SUMMED(k)                                                                \
	((__u32)((__u64) * ((const __u8 *)(k) + __CORE_RELO(k, ip_summed, BYTE_OFFSET)) \
			 << __CORE_RELO(k, ip_summed, LSHIFT_U64) >>                    \
		 __CORE_RELO(k, ip_summed, RSHIFT_U64)))

/* The kernel's own view of a program's context, inlined by the verifier. The kernel has it
 * since 6.2, but takes a test of its address only since 6.4: 6.2 and 6.3 refuse the
 * programs. Older ones do not have it, and 5.16 and newer do not mind that. */
extern void *bpf_cast_to_kern_ctx(void *obj) __attribute__((weak, section(".ksyms")));

/* kernel-patch/: from TC egress in a pod's namespace to an interface of the node's. */
extern int bpf_redirect_rpeer(__u32 ifindex, __u64 flags) __attribute__((weak, section(".ksyms")));

#endif
