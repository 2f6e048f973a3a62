/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The TC programs and their maps, as the daemon sees them: load, pin, read, change.
 *
 * Theory of operation. Maps are pinned in the configured directory and outlive the
 * daemon. A start loads programs around the pinned maps; when those are of another layout
 * or size, or not all there, new ones are pinned in their place, with a new epoch, so that
 * peers forget the labels. A reload loads programs around the maps that we hold, pinned or
 * not. Constants of the programs are rodata of one load; what must agree between two loads
 * while one replaces the other is in xm_meta.
 *
 * Whoever uses a pin_dir holds a lock on it, so that two daemons never share one.
 *
 * The label and peer tables are mapped into memory. Programs write to them at any time:
 * userspace stores whole fields and never relies on two of them being of one moment.
 */
#ifndef XM_DATAPATH_H
#define XM_DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "flow_state.h"
#include "mode.h"
#include "xm_policy.h"
#include "xm_types.h"

struct xmasq_bpf;
struct ring_buffer;
struct hello_peer;

enum datapath_prog {
	DATAPATH_POD_EGRESS,
	DATAPATH_POD_INGRESS,
	DATAPATH_NIC_EGRESS,
	DATAPATH_NIC_INGRESS,
	DATAPATH_RPEER_EGRESS,	/* only with @rpeer; attached as instances */
	DATAPATH_NETKIT_EGRESS, /* only with @netkit */
	DATAPATH_PROGS,
};

typedef void (*datapath_event_fn)(void *arg, const struct xm_event *ev);

struct datapath {
	struct xmasq_bpf *skel;
	struct ring_buffer *ring;
	datapath_event_fn event; /* called by datapath_poll() */
	void *event_arg;
	struct xm_label *labels;  /* mapped, n_labels entries */
	struct xm_peer *peers;	  /* mapped, n_peers entries */
	struct xm_policy *policy; /* mapped */
	struct xm_admit *admit;	  /* mapped, n_labels cells */
	uint64_t *in_use;	  /* bits: cells with entries in this walk, and in the last */
	size_t labels_len, peers_len, admit_len;
	uint32_t n_labels, n_peers;
	struct xm_meta meta;
	struct xm_clock clock;	   /* last sample */
	struct mode_kernel kernel; /* what the kernel offers, see datapath_probe() */
	uint32_t hz;
	uint32_t nic_frame; /* see datapath_nic_frame() */
	uint64_t local_ms;  /* see datapath_local_until() */
	bool changes_way;   /* load what datapath_first_fd() is about */
	bool reused;	    /* maps of an earlier run were taken over */
	bool made_dir;	    /* pin_dir was not there */
	int lock_fd;	    /* of pin_dir; -1 none */
	int pin_err;	    /* of the last datapath_repin() */
	char pin_dir[CONFIG_PATH_MAX];
};

/**
 * datapath_lock() - be the only one that uses @pin_dir, until datapath_close()
 * @d: initialised here, to be given to datapath_open() next
 * @make: make the directory; otherwise a missing one is fine, and not locked
 *
 * Return: 0 or -errno, with a log message; -EWOULDBLOCK when another daemon uses it.
 */
int datapath_lock(struct datapath *d, const char *pin_dir, bool make);

/**
 * datapath_probe() - fill @d->kernel
 *
 * Looks into the kernel's type information. That bpf_redirect_rpeer() can be called is known
 * only after datapath_open(), which takes @d->kernel.rpeer back if not. Return: 0 or -errno,
 * logged.
 */
int datapath_probe(struct datapath *d);

/**
 * datapath_open() - load the programs, take over or make the maps, pin everything
 * @d: locked, and probed
 * @node: our underlay addresses (network byte order), @n_node of them
 * @event: called by datapath_poll()
 *
 * Return: 0; or -errno, with a log message that says what to do, and what was pinned before
 * is still pinned, unless it was the pinning that failed.
 */
int datapath_open(struct datapath *d, const struct config *c, const __be32 *node,
		  unsigned int n_node, datapath_event_fn event, void *arg);

/**
 * datapath_reload() - load the programs again with other constants around the same maps
 *
 * The new programs are not attached yet. datapath_event_fd() is another one afterwards.
 *
 * Return: 0; or -errno, with a log message, and the old programs stay in @d.
 */
int datapath_reload(struct datapath *d, const struct config *c, const __be32 *node,
		    unsigned int n_node);

/** datapath_repin() - pin again what somebody removed; 0 or -errno, told in the log once */
int datapath_repin(struct datapath *d);

/** datapath_close() - let go; pins and attached programs stay */
void datapath_close(struct datapath *d);

/** datapath_pinned() - whether tables of an earlier run are there */
bool datapath_pinned(const char *pin_dir);

/** datapath_unpin() - remove every pin of ours under @pin_dir, and the directory if empty */
int datapath_unpin(const char *pin_dir);

/**
 * datapath_wait_quiet() - before the programs go while no daemon is there to say goodbye
 *
 * Stops masquerading, then waits until the peers' last proof of us is over (at most
 * XM_HELLO_MISSES periods): the programs restore what still comes.
 */
void datapath_wait_quiet(const char *pin_dir);

/** datapath_prog_fd() - descriptor that stays @d's; negative when that program is not loaded */
int datapath_prog_fd(const struct datapath *d, enum datapath_prog which);

/**
 * datapath_first_fd() - the program that stands before @which while both are on a hook
 *
 * See tc_attach(). Return: descriptor that stays @d's; negative when @which may run twice on a
 * packet, or without @d->changes_way.
 */
int datapath_first_fd(const struct datapath *d, enum datapath_prog which);

/**
 * datapath_instance() - load DATAPATH_RPEER_EGRESS for one pod
 * @ifindex: the pod's host-side interface
 * @fd: descriptor that the caller closes once it is attached
 * @id: kernel id of the program
 *
 * Return: 0 or -errno.
 */
int datapath_instance(const struct datapath *d, uint32_t ifindex, int *fd, uint32_t *id);

const char *datapath_prog_name(enum datapath_prog which);
/** datapath_prog_info() - kernel id and verified instructions; -ENOENT when not loaded */
int datapath_prog_info(const struct datapath *d, enum datapath_prog which, uint32_t *id,
		       uint32_t *insns);

/* Ring of events: descriptor for epoll, and dispatch. */
int datapath_event_fd(const struct datapath *d);
int datapath_poll(struct datapath *d);

/** datapath_clock() - sample the programs' clock; all conversions use the last sample */
int datapath_clock(struct datapath *d);
/** datapath_jiffies() - 64-bit jiffies at @ms of CLOCK_MONOTONIC */
uint64_t datapath_jiffies(const struct datapath *d, uint64_t ms);
/** datapath_ms_left() - milliseconds from the last sample until jiffies @until, negative when over */
int64_t datapath_ms_left(const struct datapath *d, uint32_t until);

/**
 * datapath_peer_set() - write a peer's slot
 * @ok: per protocol, false keeps it on the overlay whatever the proof
 */
int datapath_peer_set(struct datapath *d, unsigned int idx, const struct hello_peer *p,
		      const bool ok[XM_PROTOS]);
/**
 * datapath_nic_frame() - the largest frame that every underlay interface takes: MTU and Ethernet
 * header; 0 for no limit. Before datapath_open() it is noted for then
 */
void datapath_nic_frame(struct datapath *d, uint32_t len);

/** datapath_admit_after() - how many packets a pod sends before its flow is learned */
void datapath_admit_after(struct datapath *d, uint32_t packets);

/**
 * datapath_local_until() - until when flows between pods of this node get leases: @ms of
 * CLOCK_MONOTONIC; 0 for not at all
 *
 * A daemon that dies does not put it off, and they end with their leases.
 */
void datapath_local_until(struct datapath *d, uint64_t ms);

/** datapath_local_set() - let a pod have such flows; NULL for not any more. 0 or -errno */
int datapath_local_set(struct datapath *d, uint32_t ifindex, const struct xm_local *pod);

/**
 * datapath_peer_nonces() - what tells fresh messages of this peer: hello_nonces()
 *
 * Return: whether the first is another than before.
 */
bool datapath_peer_nonces(struct datapath *d, unsigned int idx, const uint64_t nonce[2]);

/**
 * datapath_peer_want_report() - have the next overlay packet of this peer reported
 *
 * XM_REPORT_ANY stays until a packet came, whatever is asked for meanwhile.
 */
void datapath_peer_want_report(struct datapath *d, unsigned int idx, enum xm_report which);
/** datapath_peer_forget_labels() - free every label shared with @peer; returns how many */
unsigned int datapath_peer_forget_labels(struct datapath *d, __be32 peer);

/* Return false from the callback to stop. */
typedef bool (*datapath_flow_fn)(void *arg, const struct xm_flow_key *key, const struct xm_flow *f);
/** datapath_flows() - walk the flow table; the callback must not change it */
int datapath_flows(const struct datapath *d, datapath_flow_fn fn, void *arg);
/** datapath_flow() - one flow. Return: 0, -ENOENT or -errno */
int datapath_flow(const struct datapath *d, const struct xm_flow_key *key, struct xm_flow *f);
/** datapath_label() - entry by which packets of the flow that arrive are restored; false: none */
bool datapath_label(const struct datapath *d, const struct xm_flow_key *key,
		    const struct xm_flow *f, struct xm_label *e);
/** datapath_pod_known() - whether the programs know the Ethernet header of a pod */
bool datapath_pod_known(const struct datapath *d, uint32_t ifindex);
/**
 * datapath_flows_del_if() - remove the flows that @match, and free their labels
 * @match: called once for each flow; must not change the table
 * @n: how many were removed
 *
 * Uses the last sample of datapath_clock(). Return: 0, or -errno when some may be left.
 */
int datapath_flows_del_if(struct datapath *d, datapath_flow_fn match, void *arg, size_t *n);
/**
 * datapath_labels_del_if() - free the labels of flows that @match
 * @match: called with an empty flow: there may be none any more, when it was given its label while
 *         datapath_flows_del_if() removed it
 */
void datapath_labels_del_if(struct datapath *d, datapath_flow_fn match, void *arg);

/** datapath_policy() - the rules in force */
const struct xm_policy_half *datapath_policy(const struct datapath *d);
/**
 * datapath_policy_set() - other rules
 *
 * When it returns, each packet that begins its way through a program meets them.
 */
void datapath_policy_set(struct datapath *d, const struct xm_policy_half *rules);
/** datapath_policy_settle() - wait, some 20 ms, until no program is left that began with older rules */
void datapath_policy_settle(void);
/** datapath_rule_counters() - sums over all CPUs by slot; @c has XM_RULES_MAX entries */
int datapath_rule_counters(const struct datapath *d, struct xm_counter *c);
/** datapath_rule_reset() - a slot's counter from 0 */
int datapath_rule_reset(struct datapath *d, uint32_t slot);

struct datapath_use {
	uint64_t flows;
	uint64_t active; /* both leases hold and both nodes can restore */
	uint64_t by_state[FLOW_STATES];
	uint64_t labels;
};

/**
 * datapath_recycle() - remove what is over, count what is there
 * @idle_ms: how long a flow's leases must be over
 *
 * Return: number of flows removed, or -errno.
 */
int datapath_recycle(struct datapath *d, uint32_t idle_ms, struct datapath_use *use);

/** datapath_counters() - sums over all CPUs; @c has XM_R_MAX entries */
int datapath_counters(const struct datapath *d, struct xm_counter *c);

/**
 * datapath_was_used() - whether packets took the fast path since the pinned tables were made
 *
 * True when there are none to tell.
 */
bool datapath_was_used(const char *pin_dir);

/** datapath_pod_forget() - Ethernet header of a pod's interface that is gone */
void datapath_pod_forget(struct datapath *d, uint32_t ifindex);

/* Kernel memory of one table when full, an estimate from its geometry. */
uint64_t datapath_flows_bytes(const struct datapath *d);
uint64_t datapath_labels_bytes(const struct datapath *d);
uint64_t datapath_peers_bytes(const struct datapath *d);

#endif
