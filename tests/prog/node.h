/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A simulated node: one load of the programs with maps of its own, run on crafted frames by
 * BPF_PROG_TEST_RUN.
 *
 * Two nodes exist. Their addresses are chosen such that A, the owner, is the lower one as a
 * number and the higher one as a little-endian word:
 *
 *   pod a 10.244.1.5 -- node A 10.9.0.200 ---- 10.9.1.3 node B -- pod b 10.244.2.7
 *                                  stranger 10.9.2.4
 *
 * TEST_RUN runs a program and reports its verdict; it does not carry a redirect out. That
 * packets get where they are redirected is for test_live.c and the tests in network namespaces.
 */
#ifndef NODE_H
#define NODE_H

#include <stdbool.h>

#include <bpf/libbpf.h>

#include "packet.h"
#include "xm_types.h"

#define UNSPEC	 (-1)
#define SHOT	 2
#define REDIRECT 7

#define ADDR_A	  ADDR(10, 9, 0, 200)
#define ADDR_B	  ADDR(10, 9, 1, 3)
#define ADDR_STR  ADDR(10, 9, 2, 4)
#define POD_A	  ADDR(10, 244, 1, 5)
#define POD_B	  ADDR(10, 244, 2, 7)
#define MASQ_PORT XM_MASQ_PORT_DEFAULT

/* Small tables, and times so long that no test can outrun them. */
#define N_FLOWS	   node_flows
#define N_LABELS   node_labels
#define N_PEERS	   node_peers
#define MARK	   0x5ec2e7u
#define LEASE	   100000u
#define IN_LEASE   150000u
#define RENEW	   50000u
#define RETRY	   20000u
#define QUARANTINE 30000u
#define SECOND	   1000000u

#define PEER_IDX 3 /* slot of the other node */
#define PEER_GEN 7

#define R(name) (1ull << XM_R_##name)
_Static_assert(XM_R_MAX <= 64, "a set of reasons is one word");

enum hook {
	POD_EGRESS,
	POD_INGRESS,
	NIC_EGRESS,
	NIC_INGRESS,
	HOOKS,
};

extern const char *const hook_names[HOOKS];
const char *reason_name(int reason);

struct node {
	const char *name;
	struct xmasq_bpf *skel;
	struct xm_config cfg;
	__be32 addr;
	__be32 peer_addr;
	__be32 pod_addr;
	__be32 peer_pod;
	__u32 nic;		  /* ifindex */
	__u32 pod;		  /* ifindex of the pod's host side */
	__u32 other_pod;	  /* the same of another pod */
	__u8 nic_eth[XM_ETH_LEN]; /* from this NIC to the peer's */
	__u8 pod_eth[XM_ETH_LEN]; /* from the CNI to the pod */
	__u8 gw_eth[XM_ETH_LEN];  /* from the pod to the CNI */
	bool owner;
	int fd[HOOKS];
	bool keeps; /* what it knows, from one run to the next: nobody writes its tables by hand */
	int netkit_egress_fd; /* in the place of POD_EGRESS, with a netkit pair */
	int nic_first_fd;     /* before what is at NIC_EGRESS, while that goes to tcx or back */
	int clock_fd;
	struct xm_label *labels; /* the maps themselves */
	struct xm_admit *admit;
	struct xm_peer *peers;
	struct ring_buffer *ring;
	struct xm_event event; /* the last one */
	int events;
	struct xm_counter count[XM_R_MAX]; /* as they were last read */
};

extern struct node node_a, node_b;

/* Sizes of the tables; other ones before nodes_open() only. Peers are one page at most. */
extern int node_flows, node_labels, node_peers;

/** struct outcome - what a run did; @reasons has those counted, @n how often */
struct outcome {
	int verdict;
	__u32 mark;
	struct pkt pkt;
	__u64 reasons;
	__u64 n[XM_R_MAX];
	__u64 bytes;
};

/** node_config() - fills @n->cfg. No call of it needs a kernel */
void node_config(struct node *n);

/** nodes_open() - namespace, interfaces and both nodes. Return: 0 or -errno */
int nodes_open(void);
void nodes_close(void);

/** node_reset() - empty tables, no rules, all flows admitted, and the peer up in slot PEER_IDX */
void node_reset(struct node *n);

/** node_admit() - every cell of xm_admit has counted this, now */
void node_admit(struct node *n, __u32 count);

/** node_forget() - as the daemon does whenever it takes something back: fast_forget() */
void node_forget(struct node *n);

/** node_knows() - whether the fast table has a present entry for this tuple, as it is in the packet */
bool node_knows(struct node *n, const struct xm_flow_key *t);

/**
 * node_run() - one program on one frame. @ifindex 0: where the hook usually is
 *
 * Nothing is known of what came before, since tests write the tables by hand. A packet that is
 * masqueraded or restored runs once more, when its tuple is known: the same must come out.
 */
void node_run(struct node *n, enum hook hook, const struct pkt *p, struct outcome *o);
void node_run_on(struct node *n, enum hook hook, const struct pkt *p, __u32 ifindex,
		 struct outcome *o);

struct __sk_buff;
/** node_run_ctx() - with a context and flags of TEST_RUN. Return: 0 or -errno */
int node_run_ctx(struct node *n, enum hook hook, const struct pkt *p, struct __sk_buff *ctx,
		 __u32 flags, struct outcome *o);

/**
 * node_run_cut() - a frame that may be too short for TEST_RUN
 *
 * Newer kernels refuse to run on IPv4 without a whole header and on an Ethernet header alone.
 * Return: whether the program ran.
 */
bool node_run_cut(struct node *n, enum hook hook, const struct pkt *p, struct outcome *o);

/** node_run_quiet() - the same without counters; for many runs */
int node_run_quiet(struct node *n, enum hook hook, const struct pkt *p, struct __sk_buff *ctx,
		   __u32 flags, struct outcome *o);
void node_count(struct node *n, struct outcome *o);

/** node_events() - takes what the ring holds. Return: how many; the last is @n->event */
int node_events(struct node *n);

__u32 node_now(struct node *n);
__u64 node_now64(struct node *n);

void node_peer(struct node *n, __u32 idx, __be32 addr, __u16 gen, bool up);
bool node_flow(struct node *n, const struct xm_flow_key *key, struct xm_flow *f);
void node_set_flow(struct node *n, const struct xm_flow_key *key, const struct xm_flow *f);
void node_del_flow(struct node *n, const struct xm_flow_key *key);
void node_set_pod(struct node *n, __u32 ifindex, const __u8 eth[XM_ETH_LEN]);
bool node_pod(struct node *n, __u32 ifindex, struct xm_pod *pod);
struct xm_label *node_label(struct node *n, __be32 peer, __u16 label, __u8 proto);

/** node_key() - tuple of the node's pod towards the other's */
void node_key(const struct node *n, __u8 proto, struct xm_flow_key *key);

/** node_ready() - the flow is READY with this label, and its entry holds */
void node_ready(struct node *n, const struct xm_flow_key *key, __u16 label);

/** node_spec() - frames: as the pod sends it; as masqueraded packets of it arrive here */
void node_spec(const struct node *n, const struct xm_flow_key *key, struct pkt_spec *s);
void node_masq_spec(const struct node *n, const struct xm_flow_key *key, __u16 label,
		    struct pkt_spec *s);

/** node_tunnel() - outer headers of an overlay packet that leaves this node */
void node_tunnel(const struct node *n, __u16 type, struct tunnel_spec *t);

/* Checks; each records the reasons as covered. */

/** expect() - CHECKs verdict and the exact set of reasons */
void expect(struct node *n, const struct outcome *o, int verdict, __u64 reasons);

/** expect_through() - the packet came out as it went in, for the CNI */
void expect_through(struct node *n, const struct outcome *o, const struct pkt *in, __u64 reasons);

extern __u64 reasons_covered;

#endif
