/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Known packets: what the fast path does with the packets of a tuple, ready to be done.
 *
 * Theory of operation. A table of cache lines, indexed by a hash of addresses and ports as they are in
 * the packet, so that a packet is found, known to be good, and rewritten from one line without a call.
 * It serves both directions: what pods send and what the NIC receives. An entry is a copy of what
 * xm_flows (or xm_labels) says, made by a packet that found its flow there; what is not in the table
 * takes that way, and nothing is lost with an entry.
 *
 * An entry is good
 *   until the first of the deadlines that it was made under: leases, the next renewal, the peer's.
 *   All of them only move away from then on, or somebody says so:
 *   until a program that takes something back (a NACK, FIN, another label) drops it: fast_drop_out()
 *   and fast_drop_in() beside each such change;
 *   while its tag is the present one: the daemon raises the generation in fast_tag[] with whatever it
 *   takes back (flows deleted, peers that are down, rules).
 *
 * Who takes something back changes the flow first, and who makes an entry looks at the flow again behind
 * it: with a full barrier between the two steps on either side, at least one of them sees the other.
 *
 * A slot has one holder until its deadline; then it rests for a second before another tuple gets it: no
 * program that has just found its tuple there can meet another one's contents. Two live flows on one
 * slot do not push each other out: the second does without.
 *
 * The table is not pinned. Each load of the programs has its own; when one replaces another, both are
 * there for a moment, and what is taken back by one load is still known to the other for as long as the
 * deadlines say, half a lease for what pods send.
 */
#ifndef XM_FAST_H
#define XM_FAST_H

#include "csum.h"
#include "maps.h"
#include "parse.h"

#ifndef XM_FAST_LOG
#define XM_FAST_LOG 14
#endif

struct xm_fast fast_table[1 << XM_FAST_LOG];

/* The present tags, by direction and protocol. The daemon raises the generation. */
__u32 fast_tag[4] = { XM_FAST_TAG(1, 0), XM_FAST_TAG(1, 1), XM_FAST_TAG(1, 2), XM_FAST_TAG(1, 3) };

/* The most that is in front of a segment's payload. */
#define TCP_SEGMENT_HEAD (sizeof(struct ethhdr) + sizeof(struct iphdr) + 60)
#define UDP_SEGMENT_HEAD (sizeof(struct ethhdr) + sizeof(struct iphdr) + sizeof(struct udphdr))

/*
 * Whether an underlay interface may not take this frame, or the segments that it will be cut into:
 * nothing checks that behind a redirect, and what is too large is lost there. The overlay knows
 * what to do with it.
 */
static __always_inline int maybe_too_big(struct __sk_buff *skb, __u32 idx)
{
	__u32 max = nic_frame_max;

	if (skb->len <= max)
		return 0;
	return !skb->gso_size ||
	       skb->gso_size + (idx == XM_TCP ? TCP_SEGMENT_HEAD : UDP_SEGMENT_HEAD) > max;
}

static __always_inline __u32 min_u32(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

enum fast_way {
	FAST_OUT = 0, /* a pod sends */
	FAST_IN = 2,  /* the NIC receives */
};

static __always_inline __u32 fast_present(__u32 kind)
{
	return *(volatile __u32 *)&fast_tag[kind];
}

static __always_inline struct xm_fast *fast_slot(__u64 addrs, __u32 ports)
{
	__u64 h = (addrs ^ ports) * 0x9e3779b97f4a7c15ull;

	return &fast_table[h >> (64 - XM_FAST_LOG)];
}

/* Nobody uses this entry from here on; a change to what it was made of comes before. */
XM_CALLED int fast_drop(__u64 addrs, __u32 ports, __u32 kind)
{
	struct xm_fast *e = fast_slot(addrs, ports);
	/* Adds nothing, but is the barrier. */
	__u32 tag = __sync_fetch_and_add(&e->tag, 0);

	if ((tag & XM_FAST_KIND) == kind && tag != XM_FAST_BUSY && e->addrs == addrs &&
	    e->ports == ports)
		__sync_val_compare_and_swap(&e->tag, tag, kind);
	return 0;
}

/* What the local pod sends as @key. */
static __always_inline void fast_drop_out(const struct xm_flow_key *key)
{
	fast_drop(xm_pair64(key->saddr, key->daddr), xm_pair32(key->sport, key->dport),
		  FAST_OUT | (key->proto == IPPROTO_TCP ? XM_TCP : XM_UDP));
}

/* What the peer sends with this label. */
static __always_inline void fast_drop_in(const struct xm_label *e, __be32 peer, __u16 label,
					 __u32 idx)
{
	__be16 port = bpf_htons(XM_LABEL_PORT_BASE + label);

	fast_drop(xm_pair64(peer, e->node),
		  e->owner ? xm_pair32(cfg.masq_port, port) : xm_pair32(port, cfg.masq_port),
		  FAST_IN | (idx & 1));
}

/* Whether a slot is another tuple's, or rests. @kinds: what its kind and the wanted one differ in */
static __always_inline int fast_is_others(const volatile struct xm_fast *e, __u64 addrs,
					  __u32 ports, __u32 kinds, __u64 now)
{
	return (kinds & XM_FAST_KIND || e->addrs != addrs || e->ports != ports) && e->until &&
	       now < e->until + cfg.second;
}

/**
 * fast_claim() - a slot, to be filled
 * @tag: as it was before what goes in was looked up
 *
 * Return: the slot, with its key written and nobody's for now, or NULL: it is another's.
 */
static __always_inline struct xm_fast *fast_claim(__u64 addrs, __u32 ports, __u32 tag, __u64 now)
{
	struct xm_fast *e = fast_slot(addrs, ports);
	__u32 was = *(volatile __u32 *)&e->tag;

	if (was == XM_FAST_BUSY)
		return NULL;
	if (fast_is_others(e, addrs, ports, was ^ tag, now))
		return NULL;
	if (__sync_val_compare_and_swap(&e->tag, was, XM_FAST_BUSY) != was)
		return NULL;
	/* Somebody may have filled it in between, under the same tag. */
	if (fast_is_others(e, addrs, ports, was ^ tag, now)) {
		__sync_lock_test_and_set(&e->tag, was);
		return NULL;
	}
	e->addrs = addrs;
	e->ports = ports;
	return e;
}

/* Writes what is to be done: 12 bytes of Ethernet addresses, two addresses, two ports. @csums: of the
 * addresses and of the ports */
static __always_inline void fast_fill(struct xm_fast *e, const void *eth, const void *addrs,
				      const void *ports, const __u16 *csums, __u32 ifindex)
{
	memcpy(e->eth, eth, XM_ETH_LEN);
	memcpy(&e->to_addrs, addrs, sizeof(e->to_addrs));
	memcpy(&e->to_ports, ports, sizeof(e->to_ports));
	e->addr_csum = csums[0];
	e->port_csum = csums[1];
	e->ifindex = ifindex;
}

/* Whether that is still so: the flow may have been another one's before all was read. */
static __always_inline int fast_holds(const struct xm_fast *e, const void *eth, const void *addrs,
				      const void *ports, const volatile __u16 *csums, __u32 ifindex)
{
	const volatile __u32 *h = eth, *a = addrs, *p = ports;
	__u32 was[7];

	memcpy(was, e->eth, XM_ETH_LEN);
	memcpy(was + 3, &e->to_addrs, sizeof(e->to_addrs));
	memcpy(was + 5, &e->to_ports, sizeof(e->to_ports));
	return was[0] == h[0] && was[1] == h[1] && was[2] == h[2] && was[3] == a[0] &&
	       was[4] == a[1] && was[5] == p[0] && e->addr_csum == csums[0] &&
	       e->port_csum == csums[1] && ifindex && e->ifindex == ifindex;
}

/* All is written. What it was made of is to be looked at again. */
static __always_inline void fast_publish(struct xm_fast *e, __u32 tag)
{
	__sync_lock_test_and_set(&e->tag, tag);
}

static __always_inline void fast_unpublish(struct xm_fast *e, __u32 tag)
{
	__sync_val_compare_and_swap(&e->tag, tag, tag & XM_FAST_KIND);
}

/* Whether the flow's NIC may not take this frame: as maybe_too_big(), by what the entry says. */
static __always_inline int fast_too_big(struct __sk_buff *skb, const struct xm_fast *e, __u32 len,
					__u32 idx)
{
	if (len <= e->frame_max)
		return 0;
	return maybe_too_big(skb, idx);
}

/* One of the two protocols: a constant, in copies of their own. */
static __always_inline int fast_pass(struct __sk_buff *skb, void *data, __u32 idx,
				     enum fast_way way, __u32 pod, __u32 *ifindex)
{
	__u64 addrs = *(__u64 *)(data + FAST_ADDRS);
	__u32 ports = *(__u32 *)(data + FAST_PORTS);
	struct xm_fast *e = fast_slot(addrs, ports);
	enum csum_kind kind;
	__u16 addr_csum;

	/* One register, where the compiler would have the sum of two done again for each use. */
	barrier_var(e);
	if (e->addrs != addrs || e->ports != ports || e->tag != fast_present(way | idx) ||
	    bpf_jiffies64() >= e->until)
		return 0;
	if (way == FAST_OUT && (e->pod != pod || *(__u8 *)(data + 22) < XM_TTL_MIN_FAST ||
				fast_too_big(skb, e, skb->len, idx)))
		return 0;
	kind = csum_kind(skb, FAST_PORTS, csum_field(idx));
	if (kind == CSUM_ELSEWHERE)
		return 0;
	addr_csum = e->addr_csum;
	l4_csum_update(skb, data + FAST_PORTS + csum_field(idx), kind, idx, addr_csum,
		       e->port_csum);
	fast_rewrite(data, e->eth, &e->to_addrs, &e->to_ports, addr_csum);
	*ifindex = e->ifindex;
	/* Differs in the two copies, of which the compiler would share the end, by way of jumps. */
	asm volatile("" : : "i"(idx));
	return 1;
}

/* Data offset and flags of a TCP header: no less than 5 words, none of SYN, FIN and RST. */
static __always_inline int tcp_is_plain(const void *tcp)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	/* The flags are above the offset: any is too much, and too short an offset wraps. */
	return (__u32)(*(const __u16 *)(tcp + 12) & 0x07f0) - 0x50 <= 0xa0;
#else
	return *(const __u8 *)(tcp + 12) >= 5 << 4 &&
	       !(*(const __u8 *)(tcp + TCP_FLAGS_OFF) & (TCP_SYN | TCP_FIN | TCP_RST));
#endif
}

/* An IPv4 header without options, of a whole packet. @proto: and of this protocol */
static __always_inline int ip_is_plain(const void *data, __u32 proto)
{
	const __u32 *type = data + 12, *frag = data + 20; /* type to TOS; fragment to protocol */

	return (*type & bpf_htonl(0xffffff00)) == bpf_htonl(ETH_P_IP << 16 | 0x4500) &&
	       (*frag & bpf_htonl((IP_MF | IP_OFFSET) << 16 | 0xff)) == bpf_htonl(proto);
}

/* Whether the packet's length holds the headers and the frame holds that. @rest: of the frame behind
 * Ethernet's header, no less than @head. What is less than the headers wraps. */
static __always_inline int len_is_plain(const void *data, __u32 rest, __u32 head)
{
	return bpf_ntohs(*(const __u16 *)(data + 16)) - head <= rest - head;
}

#define TCP_HEAD (sizeof(struct iphdr) + sizeof(struct tcphdr))
#define UDP_HEAD (sizeof(struct iphdr) + sizeof(struct udphdr))

/* UDP with less to say than TCP's header. Return: where to redirect it, 0 for not known */
XM_CALLED __u32 fast_short(struct __sk_buff *skb, enum fast_way way, __u32 pod)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 ifindex;

	if (data + TUNNEL_OFF > end || !ip_is_plain(data, IPPROTO_UDP) ||
	    !len_is_plain(data, skb->len - sizeof(struct ethhdr), UDP_HEAD) ||
	    !fast_pass(skb, data, XM_UDP, way, pod, &ifindex))
		return 0;
	return ifindex;
}

/**
 * fast_known() - do what is to be done with a packet that is known
 * @pod: host-side interface of the pod that sends; 0 for what the NIC receives
 * @ifindex: where to redirect it
 *
 * What the complete path demands of a frame is asked here again, but for what the tuple alone says: an
 * entry is only made for one that may. Never does what that would not do.
 *
 * Return: whether it did, else the packet is untouched.
 */
static __always_inline int fast_known(struct __sk_buff *skb, enum fast_way way, __u32 pod,
				      __u32 *ifindex)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;

	/* One load, where skb->vlan_present takes a test more. Before 6.2 it may be left from a tag that
	 * is gone, which then is a question for the complete path. */
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_proto)
		return 0;
	/* Nearly all are as long as TCP's headers: one question for both protocols. */
	if (data + TCP_OFF > end) {
		*ifindex = fast_short(skb, way, pod);
		return *ifindex;
	}
	if (__builtin_expect(ip_is_plain(data, IPPROTO_TCP), 1))
		return len_is_plain(data, skb->len - sizeof(struct ethhdr), TCP_HEAD) &&
		       tcp_is_plain(data + FAST_PORTS) &&
		       fast_pass(skb, data, XM_TCP, way, pod, ifindex);
	return ip_is_plain(data, IPPROTO_UDP) &&
	       len_is_plain(data, skb->len - sizeof(struct ethhdr), UDP_HEAD) &&
	       fast_pass(skb, data, XM_UDP, way, pod, ifindex);
}

#endif
