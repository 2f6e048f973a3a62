// SPDX-License-Identifier: GPL-2.0-only
#include "node.h"

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "tap.h"
#include "xmasq.skel.h"

const char *const hook_names[HOOKS] = {
	"xmasq_pod_egress",
	"xmasq_pod_ingress",
	"xmasq_nic_egress",
	"xmasq_nic_ingress",
};

__u64 reasons_covered;

int node_flows = 64, node_labels = 1024, node_peers = 16;

struct node node_a = {
	.name = "A",
	.addr = ADDR_A,
	.peer_addr = ADDR_B,
	.pod_addr = POD_A,
	.peer_pod = POD_B,
	.nic = 101,
	.pod = 102,
	.other_pod = 103,
	.nic_eth = { 2, 0xb, 0, 0, 0, 1, 2, 0xa, 0, 0, 0, 1 },
	.pod_eth = { 2, 0xa, 0, 0, 1, 5, 2, 0xa, 0, 0, 1, 1 },
	.gw_eth = { 2, 0xa, 0, 0, 1, 1, 2, 0xa, 0, 0, 1, 5 },
	.owner = true,
};

struct node node_b = {
	.name = "B",
	.addr = ADDR_B,
	.peer_addr = ADDR_A,
	.pod_addr = POD_B,
	.peer_pod = POD_A,
	.nic = 111,
	.pod = 112,
	.other_pod = 113,
	.nic_eth = { 2, 0xa, 0, 0, 0, 1, 2, 0xb, 0, 0, 0, 1 },
	.pod_eth = { 2, 0xb, 0, 0, 2, 7, 2, 0xb, 0, 0, 2, 1 },
	.gw_eth = { 2, 0xb, 0, 0, 2, 1, 2, 0xb, 0, 0, 2, 7 },
};

static int cpus;

const char *reason_name(int reason)
{
	static const char *const names[] = {
#define X(name, str, kind, text) str,
		XM_REASONS(X)
#undef X
	};

	return reason >= 0 && reason < XM_R_MAX ? names[reason] : "?";
}

/* ---- opening ---- */

/* TEST_RUN needs devices, of which nothing comes out; only test_live.c sends anything. */
static int interfaces(void)
{
	FILE *ip;

	if (unshare(CLONE_NEWNET))
		return -errno;
	ip = popen("ip -batch -", "w");
	if (!ip)
		return -errno;
	for (int base = 101; base <= 111; base += 10)
		for (int i = 0; i < 3; i++) {
			int v = base + i, w = v + 5;

			fprintf(ip, "link add v%d index %d type veth peer name w%d index %d\n", v,
				v, w, w);
			fprintf(ip, "link set v%d up\nlink set w%d up\n", v, w);
		}
	return pclose(ip) ? -ENODEV : 0;
}

static int on_event(void *ctx, void *data, size_t len)
{
	struct node *n = ctx;

	CHECK(len >= sizeof(n->event), "event of %zu bytes", len);
	memcpy(&n->event, data, sizeof(n->event));
	n->events++;
	return 0;
}

static void *map_memory(const struct bpf_map *map, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

void node_config(struct node *n)
{
	n->cfg = (struct xm_config){
		.mark = MARK,
		.seed = 0x1234567,
		.lease = LEASE,
		.in_lease = IN_LEASE,
		.renew = RENEW,
		.retry = RETRY,
		.quarantine = QUARANTINE,
		.second = SECOND,
		.label_mask = N_LABELS - 1,
		.masq_port = PORT(MASQ_PORT),
		/* A hole in the middle, as after a reload, and the address not first. */
		.overlay = { { PORT(8472), XM_OVERLAY_VXLAN },
			     { 0, 0 },
			     { PORT(6081), XM_OVERLAY_GENEVE } },
		.node = { ADDR(172, 31, 0, n->owner ? 1 : 2), n->addr },
	};
}

static int node_open(struct node *n)
{
	struct xmasq_bpf *skel = xmasq_bpf__open();
	int err;

	if (!skel)
		return -errno;
	n->skel = skel;
	node_config(n);
	memcpy(&skel->rodata->cfg, &n->cfg, sizeof(n->cfg));
	bpf_map__set_max_entries(skel->maps.xm_flows, N_FLOWS);
	bpf_map__set_max_entries(skel->maps.xm_labels, N_LABELS);
	bpf_map__set_max_entries(skel->maps.xm_admit, N_LABELS);
	bpf_map__set_max_entries(skel->maps.xm_peers, N_PEERS);
	bpf_map__set_max_entries(skel->maps.xm_events, 16384);
	err = bpf_program__set_autoload(skel->progs.xmasq_nic_first, true);
	err = err ?: bpf_program__set_autoload(skel->progs.xmasq_netkit_egress, true);
	err = err ?: xmasq_bpf__load(skel);
	if (err)
		return err;
	n->netkit_egress_fd = bpf_program__fd(skel->progs.xmasq_netkit_egress);
	n->fd[POD_EGRESS] = bpf_program__fd(skel->progs.xmasq_pod_egress);
	n->fd[POD_INGRESS] = bpf_program__fd(skel->progs.xmasq_pod_ingress);
	n->fd[NIC_EGRESS] = bpf_program__fd(skel->progs.xmasq_nic_egress);
	n->fd[NIC_INGRESS] = bpf_program__fd(skel->progs.xmasq_nic_ingress);
	n->nic_first_fd = bpf_program__fd(skel->progs.xmasq_nic_first);
	n->clock_fd = bpf_program__fd(skel->progs.xmasq_clock);
	n->labels = map_memory(skel->maps.xm_labels, N_LABELS * sizeof(*n->labels));
	n->admit = map_memory(skel->maps.xm_admit, N_LABELS * sizeof(*n->admit));
	n->peers = map_memory(skel->maps.xm_peers, sysconf(_SC_PAGESIZE));
	n->ring = ring_buffer__new(bpf_map__fd(skel->maps.xm_events), on_event, n, NULL);
	if (!n->labels || !n->admit || !n->peers || !n->ring)
		return -ENOMEM;
	return 0;
}

int nodes_open(void)
{
	int err = interfaces();

	if (err)
		return err;
	cpus = libbpf_num_possible_cpus();
	if (cpus < 0)
		return cpus;
	err = node_open(&node_a);
	return err ? err : node_open(&node_b);
}

void nodes_close(void)
{
	ring_buffer__free(node_a.ring);
	ring_buffer__free(node_b.ring);
	xmasq_bpf__destroy(node_a.skel);
	xmasq_bpf__destroy(node_b.skel);
}

/* ---- tables ---- */

static void map_clear(const struct bpf_map *map)
{
	int fd = bpf_map__fd(map);
	__u8 key[32];

	while (!bpf_map_get_next_key(fd, NULL, key))
		bpf_map_delete_elem(fd, key);
}

void node_forget(struct node *n)
{
	__u32 *tag = n->skel->data->fast_tag;

	for (__u32 kind = 0; kind <= XM_FAST_KIND; kind++)
		__atomic_fetch_add(&tag[kind], XM_FAST_TAG(1, 0), __ATOMIC_SEQ_CST);
}

void node_peer(struct node *n, __u32 idx, __be32 addr, __u16 gen, bool up)
{
	__u64 until = up ? node_now64(n) + 1000000 : 0;

	n->peers[idx] = (struct xm_peer){
		.up_until = { until, until },
		.addr = addr,
		.gen = gen,
		.used = 1,
	};
	bpf_map_update_elem(bpf_map__fd(n->skel->maps.xm_peer_idx), &addr, &idx, BPF_ANY);
	node_forget(n);
}

void node_reset(struct node *n)
{
	struct outcome ignored;

	map_clear(n->skel->maps.xm_flows);
	map_clear(n->skel->maps.xm_peer_idx);
	map_clear(n->skel->maps.xm_pods);
	map_clear(n->skel->maps.xm_seen);
	map_clear(n->skel->maps.xm_locals);
	n->skel->bss->local_until = 0;
	memset(n->labels, 0, N_LABELS * sizeof(*n->labels));
	memset(n->peers, 0, N_PEERS * sizeof(*n->peers));
	node_admit(n, XM_ADMITTED);
	n->skel->data->admit_after = XM_ADMIT_AFTER_DEFAULT;
	n->skel->bss->policy_on = 0;
	n->skel->bss->strangers_win = node_now(n);
	n->skel->bss->strangers_cnt = 0;
	n->skel->bss->locals_win = node_now(n);
	n->skel->bss->locals_cnt = 0;
	n->keeps = false;
	node_peer(n, PEER_IDX, n->peer_addr, PEER_GEN, true);
	node_events(n);
	node_count(n, &ignored);
}

void node_admit(struct node *n, __u32 count)
{
	__u32 now = node_now(n);

	for (int i = 0; i < N_LABELS; i++)
		n->admit[i] = (struct xm_admit){ .count = count, .at = now };
}

int node_events(struct node *n)
{
	n->events = 0;
	ring_buffer__consume(n->ring);
	return n->events;
}

__u64 node_now64(struct node *n)
{
	__u8 frame[64] = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	bpf_prog_test_run_opts(n->clock_fd, &opts);
	return n->skel->bss->xm_clock.jiffies;
}

__u32 node_now(struct node *n)
{
	return (__u32)node_now64(n);
}

bool node_flow(struct node *n, const struct xm_flow_key *key, struct xm_flow *f)
{
	return !bpf_map_lookup_elem(bpf_map__fd(n->skel->maps.xm_flows), key, f);
}

void node_set_flow(struct node *n, const struct xm_flow_key *key, const struct xm_flow *f)
{
	bpf_map_update_elem(bpf_map__fd(n->skel->maps.xm_flows), key, f, BPF_ANY);
	node_forget(n);
}

void node_del_flow(struct node *n, const struct xm_flow_key *key)
{
	bpf_map_delete_elem(bpf_map__fd(n->skel->maps.xm_flows), key);
	node_forget(n);
}

void node_set_pod(struct node *n, __u32 ifindex, const __u8 eth[XM_ETH_LEN])
{
	struct xm_pod pod;

	memcpy(pod.eth, eth, XM_ETH_LEN);
	bpf_map_update_elem(bpf_map__fd(n->skel->maps.xm_pods), &ifindex, &pod, BPF_ANY);
}

bool node_pod(struct node *n, __u32 ifindex, struct xm_pod *pod)
{
	return !bpf_map_lookup_elem(bpf_map__fd(n->skel->maps.xm_pods), &ifindex, pod);
}

struct xm_label *node_label(struct node *n, __be32 peer, __u16 label, __u8 proto)
{
	return &n->labels[xm_label_slot(peer, label, proto == IPPROTO_TCP ? XM_TCP : XM_UDP,
					N_LABELS - 1)];
}

void node_key(const struct node *n, __u8 proto, struct xm_flow_key *key)
{
	*key = (struct xm_flow_key){
		.saddr = n->pod_addr,
		.daddr = n->peer_pod,
		.sport = PORT(n->owner ? 41234 : 5201),
		.dport = PORT(n->owner ? 5201 : 41234),
		.proto = proto,
	};
}

static __u16 sum16(__u16 a, __u16 b)
{
	return (__u16)(((__u32)a + b) % 65535);
}

void node_ready(struct node *n, const struct xm_flow_key *key, __u16 label)
{
	struct xm_label *e = node_label(n, n->peer_addr, label, key->proto);
	__be16 lport = PORT(XM_LABEL_PORT_BASE + label), mport = PORT(MASQ_PORT);
	__be16 out_s = n->owner ? lport : mport, out_d = n->owner ? mport : lport;
	__u32 now = node_now(n);
	struct xm_flow f = {
		.node = n->addr,
		.peer = n->peer_addr,
		.sport = out_s,
		.dport = out_d,
		.nic_ifindex = n->nic,
		.pod_ifindex = n->pod,
		.out_until = now + LEASE,
		.in_until = now + IN_LEASE,
		.renew_at = now + RENEW,
		.pod_out = now - RENEW,
		.nic_in = now - RENEW,
		.addr_csum =
			sum16(pkt_diff(key->saddr, n->addr), pkt_diff(key->daddr, n->peer_addr)),
		.port_csum = sum16(pkt_diff(key->sport, out_s), pkt_diff(key->dport, out_d)),
		.label = label,
		.peer_idx = PEER_IDX,
		.peer_gen = PEER_GEN,
		.stage = XM_STAGE_READY,
	};

	memcpy(f.eth, n->nic_eth, XM_ETH_LEN);
	node_set_flow(n, key, &f);
	node_set_pod(n, n->pod, n->pod_eth);
	*e = (struct xm_label){
		.tag = xm_tag(n->peer_addr, label, key->proto, XM_TAG_USED),
		.until = f.in_until,
		.pod_ifindex = n->pod,
		.saddr = key->daddr,
		.daddr = key->saddr,
		.sport = key->dport,
		.dport = key->sport,
		.node = n->addr,
		.addr_csum =
			sum16(pkt_diff(n->peer_addr, key->daddr), pkt_diff(n->addr, key->saddr)),
		.port_csum = sum16(pkt_diff(out_d, key->dport), pkt_diff(out_s, key->sport)),
		.owner = n->owner,
		.acked = n->owner,
	};
	memcpy(e->eth, n->pod_eth, XM_ETH_LEN);
}

/* ---- frames ---- */

/* Every field that must survive has a value that is not its default. */
static void spec_fill(struct pkt_spec *s)
{
	s->tos = 0xb9; /* EF, ECT(1) */
	s->ttl = 63;
	s->id = 0xbeef;
	s->frag = 0x4000;
	s->flags = ACK | PSH;
	s->payload = 33;
	s->word = 0x1122;
	s->seq = 0x01020304;
	s->ack = 0x0a0b0c0d;
}

void node_spec(const struct node *n, const struct xm_flow_key *key, struct pkt_spec *s)
{
	*s = (struct pkt_spec){ .t = *key };
	memcpy(s->eth, n->gw_eth, XM_ETH_LEN);
	spec_fill(s);
}

void node_masq_spec(const struct node *n, const struct xm_flow_key *key, __u16 label,
		    struct pkt_spec *s)
{
	__be16 lport = PORT(XM_LABEL_PORT_BASE + label), mport = PORT(MASQ_PORT);

	*s = (struct pkt_spec){
		.t = { .saddr = n->peer_addr,
		       .daddr = n->addr,
		       .sport = n->owner ? mport : lport,
		       .dport = n->owner ? lport : mport,
		       .proto = key->proto },
	};
	memcpy(s->eth, n->nic_eth + 6, 6);
	memcpy(s->eth + 6, n->nic_eth, 6);
	spec_fill(s);
}

void node_tunnel(const struct node *n, __u16 type, struct tunnel_spec *t)
{
	*t = (struct tunnel_spec){
		.saddr = n->addr,
		.daddr = n->peer_addr,
		.type = type,
		.port = type == XM_OVERLAY_VXLAN ? 8472 : 6081,
		.sport = 0x2345, /* below 32768: could be mistaken for a label */
		.opts = type == XM_OVERLAY_GENEVE ? 3 : 0,
	};
	memcpy(t->eth, n->nic_eth, XM_ETH_LEN);
}

/* ---- running ---- */

int node_run_quiet(struct node *n, enum hook hook, const struct pkt *p, struct __sk_buff *ctx,
		   __u32 flags, struct outcome *o)
{
	struct __sk_buff out = { 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = p->data, .data_size_in = p->len,
		    .data_out = o->pkt.data, .data_size_out = sizeof(o->pkt.data), .ctx_in = ctx,
		    .ctx_size_in = sizeof(*ctx), .ctx_out = &out, .ctx_size_out = sizeof(out),
		    .flags = flags);
	int err = bpf_prog_test_run_opts(n->fd[hook], &opts);

	o->pkt.len = opts.data_size_out;
	o->verdict = (int)opts.retval;
	o->mark = out.mark;
	return err;
}

void node_count(struct node *n, struct outcome *o)
{
	struct xm_counter vals[XM_R_MAX][cpus];
	__u32 keys[XM_R_MAX], next, count = XM_R_MAX;
	int fd = bpf_map__fd(n->skel->maps.xm_counters);

	o->reasons = 0;
	o->bytes = 0;
	memset(o->n, 0, sizeof(o->n));
	/* ENOENT: reached the end */
	if (bpf_map_lookup_batch(fd, NULL, &next, keys, vals, &count, NULL) && errno != ENOENT) {
		tap_fail("cannot read the counters: %s", strerror(errno));
		return;
	}
	for (__u32 i = 0; i < count; i++) {
		struct xm_counter sum = { 0 };

		for (int cpu = 0; cpu < cpus; cpu++) {
			sum.packets += vals[i][cpu].packets;
			sum.bytes += vals[i][cpu].bytes;
		}
		o->n[keys[i]] = sum.packets - n->count[keys[i]].packets;
		o->bytes += sum.bytes - n->count[keys[i]].bytes;
		if (o->n[keys[i]])
			o->reasons |= 1ull << keys[i];
		n->count[keys[i]] = sum;
	}
}

bool node_knows(struct node *n, const struct xm_flow_key *t)
{
	const __u32 *tag = n->skel->data->fast_tag;
	size_t size = sizeof(n->skel->bss->fast_table) / sizeof(n->skel->bss->fast_table[0]);

	for (size_t i = 0; i < size; i++) {
		const struct xm_fast *e = &n->skel->bss->fast_table[i];

		if (e->addrs == xm_pair64(t->saddr, t->daddr) &&
		    e->ports == xm_pair32(t->sport, t->dport) &&
		    e->tag == tag[e->tag & XM_FAST_KIND] &&
		    (e->tag & XM_UDP) == (t->proto == IPPROTO_TCP ? XM_TCP : XM_UDP))
			return true;
	}
	return false;
}

/* The context of a run is written by it. */
static void run_again(struct node *n, enum hook hook, const struct pkt *p,
		      const struct __sk_buff *ctx, __u32 flags, const struct outcome *first)
{
	__u64 fast = first->reasons & (R(MASQUERADED) | R(RESTORED));
	struct __sk_buff again = *ctx;
	static struct outcome o;
	int err;

	err = node_run_quiet(n, hook, p, &again, flags, &o);
	node_count(n, &o);
	CHECK(!err && o.verdict == first->verdict && o.reasons == fast && o.mark == first->mark &&
		      o.n[XM_R_MASQUERADED] + o.n[XM_R_RESTORED] == 1 && o.bytes == first->bytes,
	      "node %s: a packet that is known fares otherwise (verdict %d, reasons %llx)", n->name,
	      o.verdict, (unsigned long long)o.reasons);
	pkt_same(&o.pkt, &first->pkt, "packet that is known");
}

int node_run_ctx(struct node *n, enum hook hook, const struct pkt *p, struct __sk_buff *ctx,
		 __u32 flags, struct outcome *o)
{
	struct __sk_buff was = *ctx;
	int err;

	if (!n->keeps)
		node_forget(n);
	err = node_run_quiet(n, hook, p, ctx, flags, o);
	node_count(n, o);
	if (!n->keeps && !err && o->reasons & (R(MASQUERADED) | R(RESTORED)))
		run_again(n, hook, p, &was, flags, o);
	return err;
}

void node_run_on(struct node *n, enum hook hook, const struct pkt *p, __u32 ifindex,
		 struct outcome *o)
{
	struct __sk_buff ctx = { .ifindex = ifindex };
	int err = node_run_ctx(n, hook, p, &ctx, 0, o);

	if (err)
		tap_fail("TEST_RUN of %s on %u bytes: %s", hook_names[hook], p->len,
			 strerror(-err));
}

void node_run(struct node *n, enum hook hook, const struct pkt *p, struct outcome *o)
{
	node_run_on(n, hook, p, hook == NIC_EGRESS || hook == NIC_INGRESS ? n->nic : n->pod, o);
}

bool node_run_cut(struct node *n, enum hook hook, const struct pkt *p, struct outcome *o)
{
	struct __sk_buff ctx = {
		.ifindex = hook == NIC_EGRESS || hook == NIC_INGRESS ? n->nic : n->pod,
	};
	int err = node_run_ctx(n, hook, p, &ctx, 0, o);

	if (err == -EINVAL && p->len < OFF_L4)
		return false;
	if (err)
		tap_fail("TEST_RUN of %s on %u bytes: %s", hook_names[hook], p->len,
			 strerror(-err));
	return !err;
}

/* ---- checks ---- */

void expect(struct node *n, const struct outcome *o, int verdict, __u64 reasons)
{
	reasons_covered |= reasons;
	if (o->verdict != verdict)
		tap_fail("node %s: verdict %d, not %d", n->name, o->verdict, verdict);
	for (int i = 0; i < XM_R_MAX; i++) {
		__u64 want = reasons >> i & 1;

		if (o->n[i] != want)
			tap_fail("node %s: %s counted %llu times, not %llu", n->name,
				 reason_name(i), (unsigned long long)o->n[i],
				 (unsigned long long)want);
	}
}

void expect_through(struct node *n, const struct outcome *o, const struct pkt *in, __u64 reasons)
{
	expect(n, o, UNSPEC, reasons);
	CHECK_EQ(o->mark, 0);
	pkt_same(&o->pkt, in, "packet for the CNI");
}
