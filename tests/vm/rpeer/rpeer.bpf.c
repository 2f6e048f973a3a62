// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of the bpf_redirect_rpeer() test. tc_pod is the user of the kfunc; the others look
 * at what it does to packets, from places that the C side cannot see.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <stddef.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "rpeer.h"

char LICENSE[] SEC("license") = "GPL";

extern int bpf_redirect_rpeer(__u32 ifindex, __u64 flags) __ksym __weak;

/*
 * Whether it is there, by the C side's look into the kernel's BTF. `if (bpf_redirect_rpeer)` would
 * do from Linux 6.4; in 6.1 the verifier refuses the address of a function that exists.
 */
const volatile _Bool have_rpeer;

struct rpeer_conf conf;
struct rpeer_seen seen;

/* Bits of the kernel's own types; libbpf finds the fields in the running kernel's. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	int ifindex;
	possible_net_t nd_net;
};

struct sock_common {
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _nfct;
	unsigned long _skb_refdst;
	__u8 active_extensions;
	int skb_iif;
	__u32 mark;
};

#pragma clang attribute pop

/*
 * Whether the packet is a test's. No test sends IPv6 multicast, but a namespace does by itself:
 * router solicitations and MLD reports, seconds after an interface came up.
 */
static __always_inline int is_ip(struct __sk_buff *skb)
{
	__u8 dst = 0xff;

	if (skb->protocol != bpf_htons(ETH_P_IPV6))
		return skb->protocol == bpf_htons(ETH_P_IP);
	bpf_skb_load_bytes(skb, ETH_HLEN + 24, &dst, 1);
	return dst != 0xff;
}

static __always_inline int write_addresses(struct __sk_buff *skb)
{
	if (conf.dst[0] | conf.dst[1] | conf.dst[5])
		return bpf_skb_store_bytes(skb, 0, conf.dst, ETH_ALEN, 0)
			       ?: bpf_skb_store_bytes(skb, ETH_ALEN, conf.src, ETH_ALEN, 0);
	return 0;
}

SEC("tc")
int tc_pod(struct __sk_buff *skb)
{
	__u8 proto = 0;

	if (!is_ip(skb))
		return TC_ACT_OK;
	if (conf.act != RPEER_ACT_REDIRECT) {
		__sync_fetch_and_add(&seen.passed, 1);
		return TC_ACT_OK;
	}
	bpf_skb_load_bytes(skb, ETH_HLEN + 9, &proto, 1);
	if (skb->protocol == bpf_htons(ETH_P_IP) && proto == IPPROTO_ESP)
		__sync_fetch_and_add(&seen.esp, 1);
	if (write_addresses(skb))
		return TC_ACT_SHOT;
	if (conf.mark)
		skb->mark = conf.mark;
	if (conf.tstamp)
		skb->tstamp = conf.tstamp;
	__sync_fetch_and_add(&seen.called, 1);
	if (!have_rpeer) {
		seen.ret = -RPEER_ACT_ABSENT;
		return TC_ACT_OK;
	}
	seen.ret = bpf_redirect_rpeer(conf.target, conf.flags);
	return seen.ret;
}

/* At the host's end: the way of a stock kernel, for comparison. */
SEC("tc")
int tc_host_ingress(struct __sk_buff *skb)
{
	if (!is_ip(skb))
		return TC_ACT_OK;
	if (write_addresses(skb))
		return TC_ACT_SHOT;
	if (conf.mark)
		skb->mark = conf.mark;
	return bpf_redirect(conf.nic, 0);
}

SEC("tc")
int tc_nic_egress(struct __sk_buff *skb)
{
	if (!is_ip(skb))
		return TC_ACT_OK;
	__sync_fetch_and_add(&seen.at_nic, 1);
	if (skb->mark == conf.mark)
		__sync_fetch_and_add(&seen.at_nic_marked, 1);
	if (skb->sk)
		__sync_fetch_and_add(&seen.at_nic_owned, 1);
	seen.mark = skb->mark;
	seen.priority = skb->priority;
	seen.tstamp = skb->tstamp;
	seen.tstamp_type = skb->tstamp_type;
	/* A program that wants the route's realm makes the device keep routes until its qdisc. */
	if (bpf_get_route_realm(skb) == 0xffffffff)
		return TC_ACT_SHOT;
	return TC_ACT_OK;
}

/* Back into the pod, so that the host needs neither routes nor addresses. */
SEC("tc")
int tc_nic_ingress(struct __sk_buff *skb)
{
	if (!is_ip(skb))
		return TC_ACT_OK;
	return bpf_redirect_peer(conf.host_end, 0);
}

static __always_inline int send_on(struct __sk_buff *skb, __u32 ifindex)
{
	if (!is_ip(skb) || !have_rpeer)
		return TC_ACT_OK;
	__sync_fetch_and_add(&seen.called, 1);
	return bpf_redirect_rpeer(ifindex, 0);
}

/* Each end of a pair sends to the other: no end but the kernel's. */
SEC("tc")
int tc_loop_pod(struct __sk_buff *skb)
{
	return send_on(skb, conf.host_end);
}

SEC("tc")
int tc_loop_host(struct __sk_buff *skb)
{
	return send_on(skb, conf.target);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(on_kfree_skb, struct sk_buff *skb, void *location, int reason)
{
	if (!conf.mark || skb->mark != conf.mark)
		return 0;
	__sync_fetch_and_add(&seen.dropped, 1);
	/* The core's reasons are far fewer; the mask is for the verifier. */
	__sync_fetch_and_add(&seen.reasons[(__u32)reason & (RPEER_REASONS - 1)], 1);
	return 0;
}

/* The pod's device has conf.target as its index only by accident, so tell them by namespace. */
volatile __u32 host_netns;

SEC("tp_btf/net_dev_queue")
int BPF_PROG(on_net_dev_queue, struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct sock *sk = skb->sk;
	int nic = dev->nd_net.net->ns.inum == host_netns;

	if (!conf.mark || skb->mark != conf.mark)
		return 0;
	if (nic && dev->ifindex != (int)conf.nic)
		return 0;
	__sync_fetch_and_add(&seen.queue[nic].packets, 1);
	seen.queue[nic].sk_netns = sk ? sk->__sk_common.skc_net.net->ns.inum : 0;
	seen.queue[nic].dst = skb->_skb_refdst;
	seen.queue[nic].iif = (__u32)skb->skb_iif;
	if (bpf_core_field_exists(skb->_nfct))
		seen.queue[nic].ct = skb->_nfct;
	if (bpf_core_field_exists(skb->active_extensions))
		seen.queue[nic].ext = skb->active_extensions;
	return 0;
}
