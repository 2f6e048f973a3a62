/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel, as the TC programs see it, in a process: to be included before a program's source,
 * which is then compiled for the host as it is.
 *
 * What the verifier checks at load time is checked while running: around each key, each
 * value and the linear part of the packet is memory that AddressSanitizer guards; and what invalidates pointers into the packet moves it, so that it sees their use.
 *
 * A helper whose failure the programs must survive fails when shim.fail says so.
 */
#ifndef XM_BPF_SHIM_H
#define XM_BPF_SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* UAPI has 32 bits for the addresses of a packet, which the verifier makes 64 of. */
#define __sk_buff uapi_sk_buff
#include <linux/bpf.h>
#undef __sk_buff
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>

/* ---- instead of bpf_helpers.h, bpf_core_read.h and vmlinux_min.h ---- */

#define __BPF_HELPERS__
#define __BPF_CORE_READ_H__
#define XM_VMLINUX_MIN_H

#define SEC(name)
#define __noinline	   __attribute__((noinline))
#define __uint(name, val)  int(*name)[val]
#define __type(name, type) __typeof__(type) *name
#define barrier_var(var)   __asm__ volatile("" : "+r"(var))
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))

#define CHECKSUM_NONE	     0
#define CHECKSUM_UNNECESSARY 1
#define CHECKSUM_COMPLETE    2
#define CHECKSUM_PARTIAL     3

struct __sk_buff {
	__u32 len;
	__u32 mark;
	__u32 protocol;
	__u32 vlan_present;
	__u32 vlan_proto;
	__u32 priority;
	__u32 ingress_ifindex;
	__u32 ifindex;
	__u32 gso_size;
	__u32 gso_segs;
	uintptr_t data;
	uintptr_t data_end;
};

/* @csum: as far as CHECKSUM_COMPLETE counts, from the IP header on */
struct sk_buff {
	unsigned char *head;
	unsigned char *data;
	union {
		__u32 csum;
		struct {
			__u16 csum_start;
			__u16 csum_offset;
		};
	};
	__u8 ip_summed;
};

/* A null pointer stands for a kernel that does not have it. */
extern void *(*bpf_cast_to_kern_ctx)(void *obj);

void *shim_kern_ctx(void *skb);
const struct sk_buff *shim_probe(const void *skb);

#define SKB_IP_SUMMED(k)			((k)->ip_summed)
#define BPF_CORE_READ_BITFIELD_PROBED(k, field) (shim_probe(k)->field)
#define BPF_CORE_READ(k, field)			(shim_probe(k)->field)

/* ---- helpers ---- */

/* What a map's definition says of it is types only. */
#define SHIM_MAP(map)                                                          \
	shim_map(map, sizeof(*(map)->type) / sizeof(int), sizeof(*(map)->key), \
		 sizeof(*(map)->value))
#define SHIM_KEY(map, k)        \
	((const void *)(1 ? (k) \
			  : (const __typeof__(*(map)->key) *)NULL)) /* warns on another type */
#define SHIM_VALUE(map, v) ((const void *)(1 ? (v) : (const __typeof__(*(map)->value) *)NULL))

#define bpf_map_lookup_elem(map, k) shim_lookup(SHIM_MAP(map), SHIM_KEY(map, k))
#define bpf_map_update_elem(map, k, v, flags) \
	shim_update(SHIM_MAP(map), SHIM_KEY(map, k), SHIM_VALUE(map, v), flags)

struct shim_map;

struct shim_map *shim_map(const void *id, unsigned int type, size_t key, size_t value);
void *shim_lookup(struct shim_map *m, const void *key);
long shim_update(struct shim_map *m, const void *key, const void *value, __u64 flags);

__u64 bpf_jiffies64(void);
__u64 bpf_ktime_get_ns(void);
long bpf_skb_load_bytes(const void *skb, __u32 offset, void *to, __u32 len);
long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len,
			 __u64 flags);
long bpf_skb_change_type(struct __sk_buff *skb, __u32 type);
long bpf_skb_pull_data(struct __sk_buff *skb, __u32 len);
long bpf_skb_change_tail(struct __sk_buff *skb, __u32 len, __u64 flags);
__s64 bpf_csum_update(struct __sk_buff *skb, __u32 csum);
long bpf_check_mtu(struct __sk_buff *skb, __u32 ifindex, __u32 *mtu, __s32 diff, __u64 flags);
long bpf_redirect(__u32 ifindex, __u64 flags);
long bpf_redirect_peer(__u32 ifindex, __u64 flags);
int bpf_redirect_rpeer(__u32 ifindex, __u64 flags);
void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags);
void bpf_ringbuf_submit(void *data, __u64 flags);

/* ---- the harness's side ---- */

#define SHIM_FRAME_MAX 2048

enum shim_fail {
	SHIM_FAIL_TAIL = 1,
	SHIM_FAIL_STORE = 2,
	SHIM_FAIL_RING = 4,
	SHIM_FAIL_UPDATE = 8,
	SHIM_FAIL_PULL = 16,
};

enum shim_redirect {
	SHIM_STAYS,
	SHIM_TO,
	SHIM_TO_PEER,
	SHIM_TO_RPEER,
};

struct shim {
	__u64 jiffies;
	unsigned int fail; /* enum shim_fail */
	/* what the last program did */
	enum shim_redirect redirect;
	__u32 redirect_ifindex;
	unsigned int events;   /* submitted */
	unsigned int reserved; /* and not yet submitted */
	size_t event_size;
	void (*event)(const void *event); /* looks at each */
	unsigned long instance_pod;	  /* host-side interface written into the program */
	__u32 mtu_ifindex, mtu; /* the one interface that is to be seen, 0 none; its MTU */
};

extern struct shim shim;

/** shim_map_size() - elements of a map, before its first use */
void shim_map_size(struct shim_map *m, unsigned int max);

/**
 * shim_map_each() - walk a map
 * @pos: 0 at first
 * Return: value of the next element that is there, with its @key; NULL at the end.
 */
void *shim_map_each(struct shim_map *m, unsigned int *pos, const void **key);

/** shim_reset() - all maps empty or zero, registered variables zero */
void shim_reset(void);

/** shim_variable() - a global of the programs that is state */
void shim_variable(void *p, size_t size);

/**
 * shim_packet() - the packet for the next program
 * @linear: bytes of it that are linear
 * Return: its context, for the harness to fill; len, data and data_end are set.
 */
struct __sk_buff *shim_packet(const void *frame, __u32 len, __u32 linear);

/** shim_kernel() - the kernel's view of the packet */
struct sk_buff *shim_kernel(void);

/** shim_frame() - all of the packet into @out (SHIM_FRAME_MAX). Return: its length. */
__u32 shim_frame(void *out);

/* Packet, maps and variables at one moment. Initialise with zeroes. */
struct shim_state {
	__u8 *bytes;
	size_t len, size;
};

void shim_save(struct shim_state *s);
void shim_load(const struct shim_state *s);

/* ---- the one source that needs more than that ---- */

#define asm
#define volatile(...) ifindex = shim.instance_pod /* of instance_pod(), as the loader does */
#include "xm_bpf.h"
#undef asm
#undef volatile

/* Declares a pointer where the program declares its constants, to something that can be set. */
#define cfg (*shim_cfg)

#endif
