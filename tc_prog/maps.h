/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State of the datapath. Everything that a running node must keep is in a pinned map;
 * the sizes are set by the daemon before loading.
 */
#ifndef XM_MAPS_H
#define XM_MAPS_H

#include "xm_bpf.h"
#include "xm_policy.h"

/* Set before loading, constant while loaded. Read with the qualifier in place only:
 * clang folds a read through a cast that drops "volatile" to the initial zero. */
const volatile struct xm_config cfg;

/* The largest frame that every underlay interface takes, Ethernet header included. Kept up to date
 * by the daemon. */
__u32 nic_frame_max = 0xffffffff;

/* 64-bit jiffies until which leases of flows between pods of this node are granted; put off by the
 * daemon, since without it nobody hears of pods that go. 0: never. */
__u64 local_until;
/* Entries made for such flows in this second. */
__u32 locals_win;
__u32 locals_cnt;

/* Packets that a pod sends before its flow is learned. Kept up to date by the daemon. */
__u32 admit_after = XM_ADMIT_AFTER_DEFAULT;

/* There are rules. Kept up to date by the daemon. */
__u32 policy_on = 0;

/* Filled by xmasq_clock. */
struct xm_clock xm_clock;

/* Rate limit of control packets from addresses that are no peer. */
__u32 strangers_win;
__u32 strangers_cnt;

/*
 * Flows, by tuple. A plain hash, not LRU: when it is full, new flows stay on the overlay
 * and old ones are left alone, where LRU would throw running flows off the fast path in
 * turn. The daemon recycles what has expired.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XM_FLOWS_DEFAULT);
	__type(key, struct xm_flow_key);
	__type(value, struct xm_flow);
} xm_flows SEC(".maps");

/* Flows before they have entries, by xm_admit_slot(): see admit.h. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XM_FLOWS_DEFAULT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xm_admit);
} xm_admit SEC(".maps");

/* Labels, by xm_label_slot(). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XM_FLOWS_DEFAULT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xm_label);
} xm_labels SEC(".maps");

/* Peers: address to slot, and slots. Written by the daemon. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XM_PEERS_DEFAULT);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __be32);
	__type(value, __u32);
} xm_peer_idx SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, XM_PEERS_DEFAULT);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xm_peer);
} xm_peers SEC(".maps");

/* Pods' Ethernet headers, by host-side ifindex. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, XM_PODS_MAX);
	__type(key, __u32);
	__type(value, struct xm_pod);
} xm_pods SEC(".maps");

/* Pods that may have flows with other pods of this node, by host-side ifindex. Not pinned: the next
 * run of the daemon fills its own. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, XM_PODS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct xm_local);
} xm_locals SEC(".maps");

/* Unknown nodes on the overlay: when each was last reported, low half of jiffies. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __be32);
	__type(value, __u32);
} xm_seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 65536);
} xm_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XM_COUNTERS);
	__type(key, __u32);
	__type(value, struct xm_counter);
} xm_counters SEC(".maps");

/* Rules, and what each of them has decided, by the slot in its verdict. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct xm_policy);
} xm_policy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XM_RULES_MAX);
	__type(key, __u32);
	__type(value, struct xm_counter);
} xm_rule_count SEC(".maps");

/* The daemon's notes for its next run. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xm_meta);
} xm_meta SEC(".maps");

static __always_inline void count_bytes(__u32 reason, __u32 bytes)
{
	struct xm_counter *c = bpf_map_lookup_elem(&xm_counters, &reason);

	if (c) {
		c->packets++;
		c->bytes += bytes;
	}
}

/* Something was learned: an EVENT reason, beside the packet's own. */
static __always_inline void note(__u32 reason)
{
	count_bytes(reason, 0);
}

static __always_inline __u32 now32(void)
{
	return (__u32)bpf_jiffies64();
}

static __always_inline struct xm_peer *peer_slot(__u32 idx)
{
	return bpf_map_lookup_elem(&xm_peers, &idx);
}

/* Slot of a known node, NULL for any other address. */
static __always_inline struct xm_peer *peer_find(__be32 addr, __u32 *idx)
{
	__u32 *i = bpf_map_lookup_elem(&xm_peer_idx, &addr);
	struct xm_peer *p;

	if (!i)
		return NULL;
	*idx = *i;
	p = peer_slot(*i);
	return p && p->used && p->addr == addr ? p : NULL;
}

static __always_inline int peer_up(const struct xm_peer *p, __u32 idx)
{
	return bpf_jiffies64() < p->up_until[idx & 1];
}

/* The same, or up until a moment ago. */
static __always_inline int peer_up_or_late(const struct xm_peer *p, __u32 idx)
{
	__u64 until = p->up_until[idx & 1];

	return until && bpf_jiffies64() < until + cfg.second + cfg.second / 2;
}

static __always_inline int is_node_addr(__be32 addr)
{
	return addr && (addr == cfg.node[0] || addr == cfg.node[1] || addr == cfg.node[2] ||
			addr == cfg.node[3]);
}

/* The node with the numerically lower address owns a flow: it allots the label. */
static __always_inline int is_owner(__be32 node, __be32 peer)
{
	return bpf_ntohl(node) < bpf_ntohl(peer);
}

/* enum xm_overlay_type of an outer UDP destination port, 0 for any other port. */
static __always_inline __u32 overlay_type(__be16 port)
{
	if (!port)
		return 0;
	if (port == cfg.overlay[0].port)
		return cfg.overlay[0].type;
	if (port == cfg.overlay[1].port)
		return cfg.overlay[1].type;
	if (port == cfg.overlay[2].port)
		return cfg.overlay[2].type;
	if (port == cfg.overlay[3].port)
		return cfg.overlay[3].type;
	return 0;
}

/* At most @limit in each second; approximate when several CPUs race, which only lets a
 * few more through. */
static __always_inline int rate_ok(__u32 *win, __u32 *cnt, __u32 now, __u32 limit)
{
	if (now - *win >= cfg.second) {
		*win = now;
		*cnt = 0;
	}
	if (*cnt >= limit)
		return 0;
	*cnt += 1;
	return 1;
}

/* The same for what has to do with a peer. */
static __always_inline int peer_rate_ok(struct xm_peer *p, enum xm_rate which, __u32 limit)
{
	__u32 now = now32();

	if (now - p->rate_win >= cfg.second) {
		p->rate_win = now;
		for (int i = 0; i < XM_RATES; i++)
			p->rate_cnt[i] = 0;
	}
	if (p->rate_cnt[which] >= limit)
		return 0;
	p->rate_cnt[which]++;
	return 1;
}

#endif
