/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Types that the TC programs and userspace share through maps and rodata.
 *
 * All times are jiffies, the cheapest clock a program can read (the verifier turns
 * bpf_jiffies64() into one load). A "__u32 jiffies" is the low half, compared with
 * xm_before(); what must stay right when nobody tidies up for weeks is 64 bits wide.
 * Addresses and ports are in network byte order (__be32, __be16).
 *
 * A change of any layout here changes XM_LAYOUT: pinned maps of another layout are
 * not reused.
 */
#ifndef XM_TYPES_H
#define XM_TYPES_H

#include <linux/types.h>

#include "xm_limits.h"
#include "xm_reasons.h"

#define XM_LAYOUT 3

/* Stands in xmasq_rpeer_egress for the pod's host-side interface, until an instance of the
 * program is made for a pod. No other constant of the programs is equal to it. */
#define XM_INSTANCE_POD 0x584d504f44000001

#define XM_ETH_LEN   12 /* destination + source address; the type is always IPv4 */
#define XM_NODES_MAX 4	/* underlay addresses of this node */

/* Index of a protocol in arrays of two. */
enum xm_proto_idx {
	XM_TCP = 0,
	XM_UDP = 1,
	XM_PROTOS = 2,
};

/**
 * struct xm_flow_key - a flow as its local pod sends it
 * @saddr: local pod
 * @daddr: remote pod
 * @sport: local pod's port
 * @dport: remote pod's port
 * @proto: IPPROTO_TCP or IPPROTO_UDP
 * @pad: zero
 */
struct xm_flow_key {
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 proto;
	__u8 pad[3];
};

/* Where a flow stands. Only XM_STAGE_READY may masquerade. */
enum xm_stage {
	XM_STAGE_NEW = 0,   /* no label */
	XM_STAGE_TOLD = 1,  /* owner: label allotted and told, not yet acknowledged */
	XM_STAGE_READY = 2, /* both nodes can restore this flow */
	XM_STAGE_LOCAL = 3, /* between two pods of this node: no peer, no label. May pass */
};

/**
 * struct xm_flow - egress half of a flow, one cache line
 * @eth: outer Ethernet header of the flow's packets on the underlay
 * @node: our underlay address
 * @peer: the peer's underlay address
 * @sport: source port of a masqueraded packet
 * @dport: destination port of a masqueraded packet
 * @nic_ifindex: underlay interface that the overlay packets leave by
 * @pod_ifindex: host-side interface of the pod; 0 until it has sent
 * @out_until: egress lease: the CNI's last packet at the NIC + lease
 * @in_until: ingress lease: the CNI's last delivery to the pod + its lease
 * @renew_at: from then on one packet takes the overlay
 * @pod_out: the pod last sent a packet of this flow to the overlay
 * @nic_in: the NIC last received an overlay packet of the reverse flow
 * @addr_csum: checksum difference of the address change (ones' complement)
 * @port_csum: the same for the port change
 * @label: 0 none
 * @peer_idx: slot in the peer table
 * @peer_gen: generation of that slot; another one there means a new peer or epoch
 * @stage: enum xm_stage
 * @ended: FIN or RST seen: overlay until a SYN starts the tuple over
 *
 * A flow to another pod of this node (XM_STAGE_LOCAL) has no peer and no label; @peer, @label,
 * @peer_idx and @peer_gen are 0, and
 * @eth: Ethernet header that the CNI uses towards the other pod
 * @nic_ifindex: the other pod's host-side interface; 0 until the CNI was seen to deliver there
 * @sent_head: of the packet that is on its way through the CNI, the IP header's first word,
 * @sent_id: its second word,
 * @sent_ttl: and its TTL
 * @ttl_dec: what the CNI's path takes off the TTL
 * @frame_max: largest frame that the other pod takes
 *
 * Times are the low half of jiffies. Written by several CPUs without a lock, every field
 * whole. What changes in a running flow (leases, stage) may be mixed freely. What makes up
 * the packet (addresses, ports, label) changes together only while the stage is not READY,
 * and is written again with each renewal; a program that passed the check of the stage
 * just before may send one packet with a mix, which fails its checksum.
 */
struct xm_flow {
	__u8 eth[XM_ETH_LEN];
	__be32 node;
	__be32 peer;
	union {
		struct {
			__be16 sport;
			__be16 dport;
		};
		__u32 sent_head;
	};
	__u32 nic_ifindex;
	__u32 pod_ifindex;
	__u32 out_until;
	__u32 in_until;
	__u32 renew_at;
	__u32 pod_out;
	union {
		__u32 nic_in;
		__u32 sent_id;
	};
	union {
		__u16 addr_csum;
		struct {
			__u8 sent_ttl;
			__u8 ttl_dec;
		};
	};
	union {
		__u16 port_csum;
		__u16 frame_max;
	};
	__u16 label;
	__u16 peer_idx;
	__u16 peer_gen;
	__u8 stage;
	__u8 ended;
};

/*
 * struct xm_label.tag: 0 when the slot is free, otherwise
 *   63..32 peer address (as loaded from the packet), 31..16 label, 15..8 protocol,
 *   7..0 XM_TAG_BUSY while being written, XM_TAG_USED when complete.
 */
#define XM_TAG_USED 1
#define XM_TAG_BUSY 2

/**
 * struct xm_label - ingress half of a flow: how to restore a label's packets
 * @tag: which (peer, label, protocol) the slot holds; written last, atomically
 * @until: ingress lease; a packet after it is dropped and answered with a NACK
 * @pod_ifindex: host-side interface of the pod
 * @saddr: remote pod, as the local pod sees it
 * @daddr: local pod
 * @sport: remote pod's port
 * @dport: local pod's port
 * @eth: Ethernet header that the CNI uses towards the pod
 * @node: our underlay address; packets to another one are not ours
 * @addr_csum: checksum difference of the address change
 * @port_csum: the same for the port change
 * @freed_at: when the slot was given up; not used again for a while, so that
 *            packets in flight with the old meaning find nothing
 * @owner: this node allotted the label
 * @since: when the slot was filled
 * @acked: owner: the peer's first masqueraded packet came, so it restores ours too
 *
 * The table is an array, indexed by xm_label_slot(): a lookup is inlined, and both
 * sides of it can be read by userspace through mmap.
 */
struct xm_label {
	__u64 tag;
	__u32 until;
	__u32 pod_ifindex;
	__be32 saddr;
	__be32 daddr;
	__be16 sport;
	__be16 dport;
	__u8 eth[XM_ETH_LEN];
	__be32 node;
	__u16 addr_csum;
	__u16 port_csum;
	__u32 freed_at;
	__u8 owner;
	__u8 acked;
	__u8 pad[2];
	__u32 since;
};

/*
 * struct xm_fast.tag: 31..2 generation, 0 for an entry that is not in use; bit 1 whether the NIC
 * receives (or a pod sends) what the entry is for; bit 0 enum xm_proto_idx
 */
#define XM_FAST_KIND	       3
#define XM_FAST_TAG(gen, kind) ((gen) << 2 | (kind))
#define XM_FAST_BUSY	       0xffffffff /* being written; no generation reaches that */

/**
 * struct xm_fast - what to do with the packets of a tuple: see tc_prog/fast.h. In no pinned table
 * @addrs: source and destination address as they are in the packet
 * @ports: source and destination port as they are in the packet
 * @tag: see above; written last, atomically
 * @until: 64-bit jiffies; 0 never used
 * @to_addrs: the addresses to write
 * @eth: the Ethernet header to write
 * @to_ports: the ports to write
 * @addr_csum: checksum difference of the address change
 * @port_csum: the same for the port change
 * @ifindex: where to redirect it
 * @pod: host-side interface of the pod that may send it; 0 for what the NIC receives
 * @frame_max: largest frame that every underlay interface takes
 */
struct xm_fast {
	__u64 addrs;
	__u32 ports;
	__u32 tag;
	__u64 until;
	__u64 to_addrs;
	__u8 eth[XM_ETH_LEN];
	__u32 to_ports;
	__u16 addr_csum;
	__u16 port_csum;
	__u32 ifindex;
	__u32 pod;
	__u32 frame_max;
} __attribute__((aligned(64)));

/* What is limited in each second, for each peer: see XM_*_PER_SEC. */
enum xm_rate {
	XM_RATE_NACK_TX = 0, /* NACKs sent to it */
	XM_RATE_NACK_RX = 1, /* NACKs from it, believed */
	XM_RATE_CONTROL = 2, /* hellos and probes handed to the daemon */
	XM_RATE_FRESH = 3,   /* the same, of those that echo a nonce of ours */
	XM_RATE_HOLD = 4,    /* NACKs and ICMP errors that take a flow off for long, believed */
	XM_RATE_ICMP = 5,    /* ICMP errors about packets to it, believed */
	XM_RATES = 6,
};

/**
 * struct xm_peer - what the programs know of a peer; written by the daemon
 * @up_until: per protocol, 64-bit jiffies: masquerade towards the peer until then.
 *            The daemon extends it with each proof from the peer; a dead daemon or
 *            a silent peer lets it run out
 * @addr: underlay address
 * @gen: raised when the slot gets another peer or the peer another epoch
 * @used: slot holds a peer
 * @report: the daemon wants to hear of the next overlay packet, to learn how frames
 *          reach the peer: enum xm_report
 * @seen: low half of jiffies: last overlay packet to or from the peer
 * @epoch: of the peer's maps, host order, 0 unknown; for the daemon's next run
 * @nonce: first halves of the nonces that we sent it last, 0 for none. Who echoes one has heard
 *         us, and is not at the mercy of those who only write the peer's address on their packets
 * @rate_win: current window of the rate limits (programs)
 * @rate_cnt: what there was of each enum xm_rate in it (programs)
 * @nonce_low: second halves of @nonce, not read by the programs: the daemon's next run knows by
 *             them what the peer answers to this one. 0 unknown: an older build kept none
 */
enum xm_report {
	XM_REPORT_ANY = 1,     /* next overlay packet to or from the peer */
	XM_REPORT_LEAVING = 2, /* next one to it: the way that the node's routes say */
};

struct xm_peer {
	__u64 up_until[XM_PROTOS];
	__be32 addr;
	__u16 gen;
	__u8 used;
	__u8 report;
	__u32 seen;
	__u32 epoch;
	__be32 nonce[2];
	__u32 rate_win;
	__u16 rate_cnt[XM_RATES];
	__be32 nonce_low[2];
};

enum xm_overlay_type {
	XM_OVERLAY_VXLAN = 1,
	XM_OVERLAY_GENEVE = 2,
};

struct xm_overlay {
	__be16 port; /* outer UDP destination port; 0: unused entry */
	__u16 type;  /* enum xm_overlay_type */
};

/**
 * struct xm_config - constants of one load of the programs (rodata)
 * @mark: secret skb mark of our own packets between the redirect and the NIC's
 *        egress hook; random, cleared there
 * @seed: of the label hash; random
 * @lease: egress lease, jiffies
 * @in_lease: ingress lease, jiffies; longer than @lease by the time that a renewal
 *            may take, shorter than two leases
 * @renew: age of an egress lease at which it is renewed, jiffies
 * @retry: between two attempts to renew, jiffies
 * @quarantine: a label's slot rests this long, jiffies
 * @second: jiffies per second
 * @label_mask: slots of the label table - 1
 * @masq_port: the masquerade port
 * @overlay: what the overlay's packets look like
 * @node: our underlay addresses, 0 unused
 */
struct xm_config {
	__u32 mark;
	__u32 seed;
	__u32 lease;
	__u32 in_lease;
	__u32 renew;
	__u32 retry;
	__u32 quarantine;
	__u32 second;
	__u32 label_mask;
	__be16 masq_port;
	__u16 pad;
	struct xm_overlay overlay[XM_OVERLAYS_MAX];
	__be32 node[XM_NODES_MAX];
};

/**
 * struct xm_pod - Ethernet header that the CNI uses towards a pod
 * @eth: destination (pod), source (its gateway)
 *
 * Keyed by the host-side interface; learned where the CNI delivers, needed when a
 * label is installed.
 */
struct xm_pod {
	__u8 eth[XM_ETH_LEN];
};

/**
 * struct xm_local - a pod that may have its flows with other pods of this node accelerated
 * @mac: of the pod's own interface
 * @protos: a bit for each enum xm_proto_idx that may be
 * @frame_max: largest frame that the pod takes on the CNI's path
 *
 * Keyed by the host-side interface; written by the daemon.
 */
struct xm_local {
	__u8 mac[6];
	__u16 protos;
	__u32 frame_max;
};

/**
 * struct xm_meta - what must outlive the daemon and a reload of the programs
 * @layout: XM_LAYOUT of the pinned maps
 * @epoch: of the maps, random; labels of another epoch are void to the peers
 * @mark: see struct xm_config; programs of two loads must agree on it while one
 *        replaces the other
 * @seed: see struct xm_config
 * @flows: size of the flow and label tables
 * @peers: size of the peer table
 * @masq_port: masquerade port, host order: flows hold ports made from it
 * @pad: zero
 *
 * Not read by the programs.
 */
struct xm_meta {
	__u32 layout;
	__u32 epoch;
	__u32 mark;
	__u32 seed;
	__u32 flows;
	__u32 peers;
	__u16 masq_port;
	__u16 pad[3];
};

struct xm_counter {
	__u64 packets;
	__u64 bytes;
};

/* What a cell counts when its flows are learned. */
#define XM_ADMITTED 0xffffffffu

/**
 * struct xm_admit - what was seen of the flows that share this cell before they have entries
 * @count: packets that pods sent, as on the wire; XM_ADMITTED: there may be entries
 * @at: low half of jiffies: the last of them; with XM_ADMITTED when an entry was made last
 * @whole: both, to be swapped
 *
 * Indexed by xm_admit_slot(). The table has as many cells as that of labels has slots.
 */
struct xm_admit {
	union {
		struct {
			__u32 count;
			__u32 at;
		};
		__u64 whole;
	};
};

enum xm_event_type {
	XM_EV_PEER_SEEN = 1, /* overlay packet of an unknown node; no payload */
	XM_EV_CONTROL = 2,   /* hello, P to P; payload is the UDP payload */
	XM_EV_PROBE = 3,     /* path probe; payload follows the TCP or UDP header */
};

/**
 * struct xm_event - from the programs to the daemon, through the ring "xm_events"
 * @type: enum xm_event_type
 * @peer: the other node
 * @node: our address
 * @ifindex: underlay interface
 * @eth: Ethernet addresses for a frame to that node
 * @proto: IPPROTO_TCP or IPPROTO_UDP
 * @leaving: 1: @eth and @ifindex are those of a packet of ours to that node; 0: those of one
 *           that came, turned round
 * @len: bytes of @data in use
 * @data: start of the payload
 */
struct xm_event {
	__u32 type;
	__be32 peer;
	__be32 node;
	__u32 ifindex;
	__u8 eth[XM_ETH_LEN];
	__u8 proto;
	__u8 leaving;
	__u16 len;
	__u8 data[XM_CONTROL_MAX];
};

/* Jiffies and the nanoseconds of CLOCK_MONOTONIC at one moment: program xmasq_clock. */
struct xm_clock {
	__u64 jiffies;
	__u64 ns;
};

_Static_assert(sizeof(struct xm_flow_key) == 16, "flow key layout");
_Static_assert(sizeof(struct xm_flow) == 64, "a flow is one cache line");
_Static_assert(sizeof(struct xm_admit) == 8, "a cell is swapped as one word");
_Static_assert(sizeof(struct xm_local) == 12, "local pod layout");
_Static_assert(sizeof(struct xm_label) == 64, "a label is one cache line");
_Static_assert(sizeof(struct xm_fast) == 64, "a known tuple is one cache line");
_Static_assert(sizeof(struct xm_peer) == 64, "a peer is one cache line");
_Static_assert(sizeof(struct xm_config) == 72, "config layout");

/* true while @a is earlier than @b; both within 2^31 jiffies of each other */
static inline __attribute__((always_inline)) int xm_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}

static inline __attribute__((always_inline)) __u64 xm_tag(__be32 peer, __u16 label, __u8 proto,
							  __u8 state)
{
	return (__u64)peer << 32 | (__u32)label << 16 | (__u32)proto << 8 | state;
}

/**
 * xm_label_slot() - index of (peer, label, protocol) in the label table
 *
 * With 65536 slots or more, no two flows of one peer share a slot. @proto_idx is
 * enum xm_proto_idx.
 */
static inline __attribute__((always_inline)) __u32 xm_label_slot(__be32 peer, __u16 label,
								 __u32 proto_idx, __u32 mask)
{
	__u32 h = peer * 0x9e3779b1u;

	return ((h ^ h >> 15) ^ ((__u32)label << 1 | proto_idx)) & mask;
}

/* Cell of a flow by its two addresses and its two ports, each pair xored: that of the reverse flow, too. */
static inline __attribute__((always_inline)) __u32 xm_admit_hash(__u32 addrs, __u32 ports,
								 __u32 mask)
{
	__u32 h = addrs * 0x9e3779b1u + ports * 0x85ebca6bu;

	h = (h ^ h >> 15) * 0xc2b2ae35u;
	return (h ^ h >> 13) & mask;
}

static inline __attribute__((always_inline)) __u32 xm_admit_slot(const struct xm_flow_key *key,
								 __u32 mask)
{
	return xm_admit_hash(key->saddr ^ key->daddr, key->sport ^ key->dport, mask);
}

/* Two words as they are beside each other in a packet. */
static inline __attribute__((always_inline)) __u64 xm_pair64(__be32 first, __be32 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u64)second << 32 | first;
#else
	return (__u64)first << 32 | second;
#endif
}

static inline __attribute__((always_inline)) __u32 xm_pair32(__be16 first, __be16 second)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return (__u32)second << 16 | first;
#else
	return (__u32)first << 16 | second;
#endif
}

/* Ones' complement sum of 16-bit words, brought back to 16 bits. */
static inline __attribute__((always_inline)) __u16 xm_csum_fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__u16)sum;
}

/* Ones' complement difference to - from of two 32-bit words, folded. */
static inline __attribute__((always_inline)) __u16 xm_csum_diff32(__u32 from, __u32 to)
{
	__u32 n = ~from;

	return xm_csum_fold((n & 0xffff) + (n >> 16) + (to & 0xffff) + (to >> 16));
}

static inline __attribute__((always_inline)) __u16 xm_csum_add(__u16 a, __u16 b)
{
	__u32 sum = (__u32)a + b;

	/* One carry is all that two can give. */
	return (__u16)(sum + (sum >> 16));
}

#endif
