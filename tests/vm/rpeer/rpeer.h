/* SPDX-License-Identifier: GPL-2.0-only */
/* What the BPF programs of this test and its C side tell each other. */
#ifndef RPEER_H
#define RPEER_H

#include <linux/types.h>

/* What a program does with an IP packet. */
enum rpeer_act {
	RPEER_ACT_PASS,	      /* TC_ACT_OK */
	RPEER_ACT_REDIRECT,   /* bpf_redirect_rpeer(target, flags) */
	RPEER_ACT_ABSENT = 3, /* reported only: the kernel has no such kfunc */
};

struct rpeer_conf {
	__u64 flags;
	__u64 tstamp;	/* skb->tstamp is set to it unless 0 */
	__u32 act;	/* enum rpeer_act */
	__u32 target;	/* ifindex in the other namespace */
	__u32 mark;	/* skb->mark is set to it; 0 leaves the pod's */
	__u32 nic;	/* ifindex of the NIC */
	__u32 host_end; /* ifindex of the host's end of the pair */
	__u8 dst[6];	/* Ethernet addresses, written unless zero */
	__u8 src[6];
};

#define RPEER_REASONS 256

/* All fields are reset by the C side before a step. */
struct rpeer_seen {
	/* at the pod */
	__u32 called; /* runs that wanted to redirect */
	__s32 ret;    /* what the kfunc returned last */
	__u32 passed;
	__u32 esp; /* of called: packets that are ESP */
	/* at TC egress of the NIC */
	__u32 at_nic;
	__u32 at_nic_marked; /* with conf.mark */
	__u32 at_nic_owned;  /* with a socket */
	__u32 mark;	     /* of the last one, like all below */
	__u32 priority;
	__u32 tstamp_type;
	__u64 tstamp;
	/* where a device's qdisc takes the packet (net_dev_queue): NIC [1], pod's device [0] */
	struct {
		__u32 packets;
		__u32 sk_netns; /* inode of the socket's namespace, 0: no socket */
		__u64 ct;	/* skb->_nfct */
		__u64 dst;	/* skb->_skb_refdst */
		__u32 iif;
		__u32 ext; /* skb->active_extensions */
	} queue[2];
	/* packets with conf.mark that were freed, by reason */
	__u32 dropped;
	__u32 reasons[RPEER_REASONS];
};

#endif
