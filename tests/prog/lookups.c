// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a packet on the fast path costs with few and with many flows in the tables.
 *
 * The kernel's own account of each run of a program (BPF_ENABLE_STATS, for as long as this runs) is
 * read before and after runs on packets of "one" flow, whose entry is in the cache by then, or of
 * "each" flow in turn, in an order that no prefetcher follows. What is redirected counts, and all must
 * be: a packet that misses its flow is cheap.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "node.h"
#include "suites.h"

#define FLOWS_MAX 200000u
#define PER_PEER  4000u /* labels of one peer: 50 peers */
#define ROUNDS	  9u
#define RUNS	  8000u
#define STRIDE	  7919u /* a prime that divides none of the sizes */

static __u16 labels[FLOWS_MAX];

static const unsigned int sizes[] = { 1, 1000, 30000, FLOWS_MAX };

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

static __be32 peer_of(unsigned int flow)
{
	return ADDR(10, 9, 1, 3 + flow / PER_PEER);
}

/* Two peers may want one slot, and the first has it: as label_allot() does, take another label. */
static __u16 label_for(struct node *n, unsigned int flow)
{
	__u16 label = (__u16)(XM_LABEL_MIN + flow % PER_PEER);

	while (node_label(n, peer_of(flow), label, IPPROTO_UDP)->tag)
		label = (__u16)(label + PER_PEER <= XM_LABEL_MAX ? label + PER_PEER
								 : label % PER_PEER + 1);
	return label;
}

static void key_of(const struct node *n, unsigned int flow, struct xm_flow_key *key)
{
	node_key(n, IPPROTO_UDP, key);
	key->daddr = ADDR(10, 244, 2 + flow / PER_PEER, 7);
	key->sport = PORT(20000 + flow % 64);
	key->dport = PORT(30000 + flow % PER_PEER / 64);
}

/* node_ready() knows one peer; the others are alike. */
static void add_flow(struct node *n, unsigned int flow)
{
	struct xm_flow_key key;
	struct xm_flow f;

	n->peer_addr = peer_of(flow);
	key_of(n, flow, &key);
	labels[flow] = label_for(n, flow);
	node_ready(n, &key, labels[flow]);
	node_flow(n, &key, &f);
	f.peer_idx = (__u16)(PEER_IDX + flow / PER_PEER);
	node_set_flow(n, &key, &f);
}

static int run_time(int fd, __u64 *ns, __u64 *runs)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*ns = info.run_time_ns;
	*runs = info.run_cnt;
	return 0;
}

static void packet(struct node *n, enum hook hook, unsigned int flow, struct pkt *p)
{
	struct xm_flow_key key;
	struct pkt_spec spec;

	n->peer_addr = peer_of(flow);
	key_of(n, flow, &key);
	if (hook == POD_EGRESS)
		node_spec(n, &key, &spec);
	else
		node_masq_spec(n, &key, labels[flow], &spec);
	spec.payload = 64;
	pkt_make(p, &spec);
}

/* ns per run; negative: not all packets were redirected, or -errno */
static double measure(struct node *n, enum hook hook, unsigned int flows, bool each,
		      unsigned int round)
{
	struct __sk_buff ctx = { .ifindex = hook == POD_EGRESS ? n->pod : n->nic };
	__u64 ns = 0, runs = 0, ns2 = 0, runs2 = 0;
	static struct outcome out;
	static struct pkt p;
	unsigned int flow;
	int err;

	err = run_time(n->fd[hook], &ns, &runs);
	for (unsigned int i = 0; !err && i < RUNS; i++) {
		flow = each ? (unsigned int)(((__u64)round * RUNS + i) * STRIDE % flows) : 0;
		packet(n, hook, flow, &p);
		err = node_run_quiet(n, hook, &p, &ctx, 0, &out);
		if (!err && out.verdict != REDIRECT) {
			fprintf(stderr, "lookups: %s gave %d for flow %u of %u\n", hook_names[hook],
				out.verdict, flow, flows);
			return -1;
		}
	}
	err = err ?: run_time(n->fd[hook], &ns2, &runs2);
	return err ? err : (double)(ns2 - ns) / (double)(runs2 - runs);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static int report(struct node *n, unsigned int flows, const char **sep)
{
	static const enum hook hooks[] = { POD_EGRESS, NIC_INGRESS };
	double v[ROUNDS];

	for (unsigned int h = 0; h < 2; h++)
		for (int each = 0; each < 2; each++) {
			for (unsigned int r = 0; r < ROUNDS; r++) {
				v[r] = measure(n, hooks[h], flows, each, r);
				if (v[r] < 0)
					return -EIO;
			}
			qsort(v, ROUNDS, sizeof(v[0]), by_value);
			printf("%s{\"program\":\"%s\",\"flows\":%u,\"packets_of\":\"%s\",\"ns\":%.1f,"
			       "\"min\":%.1f,\"max\":%.1f}",
			       *sep, hook_names[hooks[h]], flows, each ? "each" : "one",
			       v[ROUNDS / 2], v[0], v[ROUNDS - 1]);
			fflush(stdout);
			*sep = ",\n ";
		}
	return 0;
}

int lookups_report(void)
{
	struct node *n = &node_a;
	unsigned int flow = 0;
	const char *sep = "";
	int err, stats;

	node_flows = node_labels = 262144;
	node_peers = 64;
	err = nodes_open();
	if (err) {
		fprintf(stderr, "lookups: cannot set up a node (root needed): %s\n",
			strerror(-err));
		return err;
	}
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (stats < 0) {
		fprintf(stderr, "lookups: the kernel does not measure programs: %s\n",
			strerror(errno));
		nodes_close();
		return -errno;
	}
	node_reset(n);
	for (unsigned int i = 0; i < FLOWS_MAX / PER_PEER; i++)
		node_peer(n, PEER_IDX + i, peer_of(i * PER_PEER), PEER_GEN, true);
	printf("[");
	for (unsigned int s = 0; !err && s < SIZES; s++) {
		for (; flow < sizes[s]; flow++)
			add_flow(n, flow);
		err = report(n, sizes[s], &sep);
	}
	printf("]\n");
	close(stats);
	nodes_close();
	return err;
}
