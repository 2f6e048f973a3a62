/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What xmasqd tells and xmasqctl shows: plain structs to JSON (daemon side) and JSON
 * to tables (ctl side). The JSON is the interface: keys are only ever added.
 *
 * Control protocol: the client connects to the stream socket, sends one line of JSON
 * {"command": NAME, "args": {...}}, gets one line {"ok": true, "result": ...} or
 * {"ok": false, "error": TEXT}, and the daemon closes.
 */
#ifndef XM_VIEW_H
#define XM_VIEW_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "xm_types.h"

struct json_object;

#define VIEW_NAME  64
#define VIEW_NAMES 256

struct view_sysctl {
	const char *name;   /* net.netfilter.nf_conntrack_tcp_be_liberal */
	const char *before; /* value found, "" unknown */
	const char *now;
	bool ours; /* set by xmasqd, to be put back */
};

struct view_table {
	const char *name;
	uint64_t used;
	uint64_t max;
	uint64_t bytes; /* kernel memory when full */
};

struct view_program {
	const char *name;
	uint32_t id;
	uint32_t insns; /* verified (xlated) instructions */
};

struct view_status {
	const char *version;
	uint32_t pid;
	uint64_t uptime_ms;
	uint64_t epoch;
	const char *mode;	       /* rpeer, netkit, veth: see mode_of_node() */
	const char *mode_reason;       /* why this one */
	const char *attach;	       /* tcx, filter: see mode_attach() */
	const char *attach_reason;     /* why this one */
	const char *node_addrs;	       /* "172.31.0.1", comma separated */
	const char *node_addrs_unused; /* those beyond XM_NODES_MAX; NULL or "" none */
	const char *nics;	       /* "eth0", comma separated */
	uint16_t masquerade_port;
	uint32_t lease_ms;
	bool authenticated;
	bool tcp_ok;		/* TCP may be accelerated here */
	const char *tcp_reason; /* when not: why, what to do */
	unsigned int pods, pods_attached, peers, peers_up;
	uint64_t flows, flows_active;
	uint64_t masqueraded, restored, overlay; /* packets */
	uint64_t local; /* packets from pod to pod of this node; in the JSON only when not 0 */
	uint64_t netlink_overruns;
	/* Trouble; in the JSON only when not 0. */
	uint64_t frames_failed; /* ours that the kernel did not take */
	uint64_t peers_refused; /* addresses that found no slot */
	uint64_t bad_events;	/* hellos and probes that were not understood */
	uint64_t flows_refused; /* packets whose flow found no room */
	uint64_t labels_refused;
	const struct view_table *tables;
	unsigned int n_tables;
	const struct view_sysctl *sysctls;
	unsigned int n_sysctls;
	const struct view_program *programs;
	unsigned int n_programs;
};

struct view_pod {
	char ifname[16];       /* host side; the pod's own where there is none (macvlan) */
	uint32_t ifindex;      /* host side, 0 none */
	char netns[VIEW_NAME]; /* name, "nsid N" or "pid N" */
	char addrs[VIEW_NAME]; /* "10.244.1.11", comma separated */
	char kind[16];	       /* veth, netkit; macvlan, ipvlan, ... of the pod's own */
	/* By the runtime's state on disk, see podname.h; "" unknown. */
	char pod_ns[VIEW_NAMES];     /* Kubernetes namespace */
	char pod[VIEW_NAMES];	     /* Kubernetes pod */
	char containers[VIEW_NAMES]; /* "web,log" */
	const char *runtime;	     /* containerd, docker, podman, cri-o */
	bool attached;
	const char *mode;   /* when attached: rpeer, netkit, veth */
	char reason[384];   /* when not attached, or why not in a better mode */
	uint64_t attach_us; /* from the netlink event to attached, 0 unknown */
};

struct view_flow {
	struct xm_flow_key key;
	__be32 peer;
	bool local; /* between two pods of this node: no peer, no label, no owner */
	uint16_t label;
	bool owner;
	const char *state; /* new, seen, told, active, lapsed, ended */
	int64_t out_ms;	   /* egress lease left, negative: over since */
	int64_t in_ms;
	uint32_t pod_ifindex;
	char pod_ifname[16];
};

struct view_peer {
	__be32 addr;
	const char *state;
	const char *hint; /* what to do, "" when up */
	int64_t tcp_ms;	  /* proof left, negative: over since; INT64_MIN never */
	int64_t udp_ms;
	uint64_t rtt_us;
	uint32_t epoch;
	bool owner; /* this node allots the labels */
	uint64_t flows;
	uint64_t hellos_tx, hellos_rx;
};

/* Each returns a new reference that the caller owns, NULL when out of memory. */
struct json_object *view_status_json(const struct view_status *s);
struct json_object *view_pods_json(const struct view_pod *p, unsigned int n);
struct json_object *view_flows_json(const struct view_flow *f, unsigned int n, uint64_t total);
struct json_object *view_peers_json(const struct view_peer *p, unsigned int n);
/** view_counters_json() - @c has XM_R_MAX entries */
struct json_object *view_counters_json(const struct xm_counter *c);

/**
 * view_flow_cmp() - qsort() order of struct view_flow: local pod, remote pod, ports, protocol
 *
 * To be sorted before the list is cut to a limit, so that the same flows are shown twice.
 */
int view_flow_cmp(const void *a, const void *b);

/** view_reason_name(), _text(), _kind(): from xm_reasons.h; "?" for an unknown number */
const char *view_reason_name(unsigned int reason);
const char *view_reason_text(unsigned int reason);
enum xm_reason_kind view_reason_kind(unsigned int reason);
/** view_kind_name() - "fast", "overlay", "drop", "event" */
const char *view_kind_name(enum xm_reason_kind kind);

#endif
