// SPDX-License-Identifier: GPL-2.0-only
/*
 * In front of xsk-router's sockets: what is the router's goes there, the rest by rule to the
 * kernel or nowhere. It looks no further than it must; the router checks all of it anyway.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <xdp/xdp_helpers.h>

#include "front.h"

#define ETHER_IP    0x0800
#define ETHER_ARP   0x0806
#define ETHER_VLAN  0x8100
#define IP_FRAGMENT 0x3fff

/* Set before loading. */
const volatile __be32 front_addr;
const volatile __u8 front_drop_fragments;
const volatile __u8 front_drop_others;

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, FRONT_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
} front_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FRONT_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} front_counts SEC(".maps");

/* libxdp's dispatcher: early, and the next program gets only what goes to the kernel. */
struct {
	__uint(priority, 20);
	__uint(XDP_PASS, 1);
} XDP_RUN_CONFIG(xsk_front);

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&front_counts, &what);

	if (n)
		++*n;
}

static __always_inline int by_rule(__u32 what, __u32 dropped, __u8 drop)
{
	count(what);
	if (!drop)
		return XDP_PASS;
	count(dropped);
	return XDP_DROP;
}

static __always_inline int other(void)
{
	return by_rule(FRONT_OTHER, FRONT_DROPPED_OTHER, front_drop_others);
}

SEC("xdp")
int xsk_front(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip;
	__u32 queue = ctx->rx_queue_index;
	__be16 type;
	int verdict;

	if ((void *)(eth + 1) > end)
		return other();
	type = eth->h_proto;
	data = eth + 1;
	if (type == bpf_htons(ETHER_VLAN)) {
		if (data + 4 > end)
			return other();
		type = *(__be16 *)(data + 2);
		data += 4;
	}
	ip = data;
	if (type == bpf_htons(ETHER_IP)) {
		if ((void *)(ip + 1) > end || ip->daddr != front_addr)
			return other();
		if (ip->frag_off & bpf_htons(IP_FRAGMENT))
			return by_rule(FRONT_FRAGMENT, FRONT_DROPPED_FRAGMENT,
				       front_drop_fragments);
		if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP &&
		    ip->protocol != IPPROTO_ICMP)
			return other();
	} else if (type != bpf_htons(ETHER_ARP)) {
		return other();
	}
	verdict = (int)bpf_redirect_map(&front_sockets, queue, XDP_ABORTED);
	count(verdict == XDP_REDIRECT ? FRONT_TO_SOCKET : FRONT_NO_SOCKET);
	return verdict == XDP_REDIRECT ? verdict : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";
