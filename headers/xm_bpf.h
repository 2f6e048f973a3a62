/* SPDX-License-Identifier: GPL-2.0-only */
/* What every file of the TC programs needs: UAPI types, helpers, byte order. */
#ifndef XM_BPF_H
#define XM_BPF_H

#include <asm-generic/errno-base.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "vmlinux_min.h"
#include "xm_types.h"
#include "xm_wire.h"

/* A function in a header that is called, not inlined: a header is also compiled alone. */
#define XM_CALLED static __noinline __attribute__((unused))

#ifndef memcpy
#define memcpy(d, s, n) __builtin_memcpy(d, s, n)
#endif
#ifndef memset
#define memset(d, c, n) __builtin_memset(d, c, n)
#endif

/* Not UAPI: include/net/ip.h and include/uapi/linux/if_ether.h give them as host order. */
#define IP_MF	  0x2000
#define IP_OFFSET 0x1fff

/* linux/icmp.h pulls in libc's headers, which a BPF target does not have. */
#define ICMP_HDR_LEN	   8
#define ICMP_DEST_UNREACH  3
#define ICMP_FRAG_NEEDED   4 /* code of the former */
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

/* linux/if_packet.h, which pulls in libc's headers as well */
#ifndef PACKET_HOST
#define PACKET_HOST 0
#endif

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/*
 * Host-side interface of the pod whose namespace this instance of a program runs in. Inside,
 * nothing tells one pod from another that the pod could not forge: the loader writes the
 * number into the instruction (datapath_instance()).
 */
static __always_inline __u32 instance_pod(void)
{
	__u64 ifindex;

	asm volatile("%0 = %1 ll" : "=r"(ifindex) : "i"(XM_INSTANCE_POD));
	return ifindex;
}

/* Byte 13 of the TCP header; the bitfields of struct tcphdr cost a shift each. */
#define TCP_FLAGS_OFF 13

#endif
