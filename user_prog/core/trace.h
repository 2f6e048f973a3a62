/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What would happen to a packet of a flow now, hook by hook, and why. Pure.
 *
 * The same questions in the same order as tc_prog/masquerade.h and tc_prog/nic.h ask them
 * (tests/prog/test_trace.c runs both on the same tables), for an ordinary data packet: IPv4 without
 * options or fragments, TTL above 2, without SYN, FIN or RST, with an ordinary checksum, no larger
 * than the underlay takes.
 */
#ifndef XM_TRACE_H
#define XM_TRACE_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "policy.h"
#include "xm_types.h"

#define TRACE_STEPS 16
#define TRACE_TEXT  320

/**
 * struct trace_rule - what rules say of one direction
 * @name: of the rule that decides, "" none
 * @action: enum xm_policy_action
 * @live: it is not of the configuration
 */
struct trace_rule {
	char name[POLICY_NAME_MAX];
	unsigned int action;
	bool live;
};

/**
 * struct trace_facts - what is known of a flow
 * @key: as the local pod sends it
 * @reversed: the question was about the other direction
 * @now: jiffies
 * @hz: jiffies in a second
 * @renew: half a lease, jiffies
 * @pod_known: an interface of this node leads to a pod with the address @key.saddr
 * @pod_attached: and it carries the programs
 * @pod_ifindex: the host-side interface
 * @pod_ifname: its name
 * @pod_mode: rpeer, netkit, veth; "" when not attached
 * @pod_why: why not attached
 * @pod_eth: the programs know the CNI's Ethernet header towards it
 * @remote_here: @key.daddr is a pod of this node, too
 * @underlay: interfaces that carry the programs, "eth0,eth1"; "" none
 * @tcp_ok: TCP may be accelerated here
 * @tcp_why: why not
 * @flows_full: the table has no room
 * @has_flow: there is an entry
 * @flow: the entry
 * @nic: name of @flow.nic_ifindex, "" unknown; of a local flow the other pod's interface
 * @admit_after: packets that a pod sends before there is an entry
 * @same_node: flows between pods of this node may be accelerated
 * @has_label: the table has a complete entry for the flow's label
 * @label: that entry
 * @has_peer: the slot that the flow names exists
 * @peer: that slot
 * @peer_state: what hello says of the node at @flow.peer; "" unknown
 * @peer_hint: what to do about it
 * @peers_up: nodes that are up, for any protocol
 * @rule: by enum xm_policy_dir
 */
struct trace_facts {
	struct xm_flow_key key;
	bool reversed;
	uint64_t now;
	uint32_t hz;
	uint32_t renew;
	uint32_t admit_after;
	bool pod_known;
	bool pod_attached;
	uint32_t pod_ifindex;
	char pod_ifname[16];
	const char *pod_mode;
	char pod_why[TRACE_TEXT];
	bool pod_eth;
	bool remote_here;
	bool same_node;
	char underlay[128];
	bool tcp_ok;
	const char *tcp_why;
	bool flows_full;
	bool has_flow;
	struct xm_flow flow;
	char nic[16];
	bool has_label;
	struct xm_label label;
	bool has_peer;
	struct xm_peer peer;
	const char *peer_state;
	const char *peer_hint;
	unsigned int peers_up;
	struct trace_rule rule[XM_POLICY_DIRS];
};

enum trace_mark {
	TRACE_OK,   /* on the way to the fast path */
	TRACE_NO,   /* this is why not */
	TRACE_INFO, /* to be known */
};

/**
 * struct trace_step - one thing looked at
 * @hook: "pod sends", "underlay sends", "underlay receives", "pod receives", "flow"
 */
struct trace_step {
	const char *hook;
	enum trace_mark mark;
	char text[TRACE_TEXT];
};

enum trace_path {
	TRACE_UNKNOWN, /* no pod of this node */
	TRACE_FAST,
	TRACE_OVERLAY,
	TRACE_DROP,
};

/**
 * struct trace - the answer
 * @out: path of what the local pod sends
 * @out_reason: that the programs would count; XM_R_NONE when none runs
 * @in: path of what the peer masquerades; OVERLAY: it has no label to masquerade with
 * @in_reason: that the programs would count; XM_R_NONE when nothing comes
 * @summary: one sentence
 */
struct trace {
	struct trace_step step[TRACE_STEPS];
	unsigned int n;
	enum trace_path out;
	enum xm_reason out_reason;
	enum trace_path in;
	enum xm_reason in_reason;
	char summary[TRACE_TEXT];
};

/** trace_explain() - @f is not changed */
void trace_explain(const struct trace_facts *f, struct trace *t);

/** trace_path_name() - "unknown", "fast", "overlay", "drop" */
const char *trace_path_name(enum trace_path p);
/** trace_mark_name() - "ok", "no", "info" */
const char *trace_mark_name(enum trace_mark m);

struct json_object;
/** trace_json() - new reference, NULL when out of memory */
struct json_object *trace_json(const struct trace_facts *f, const struct trace *t);

#endif
