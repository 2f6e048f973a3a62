// SPDX-License-Identifier: GPL-2.0-only
/* The datapath's tables: peers, labels, flows, counters. See datapath.h. */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "datapath_private.h"
#include "hello.h"
#include "log.h"
#include "xm_util.h"
#include "xmasq.skel.h"

/* Flows read in one system call. */
#define FLOW_BATCH 1024

/* A hash element beside key and value: struct htab_elem in kernel/bpf/hashtab.c, 48 bytes
 * on 64-bit kernels, and 16 per bucket. For the size shown to people only. */
#define HTAB_ELEM   48
#define HTAB_BUCKET 16

#define STORE(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)

void datapath_fast_forget(struct datapath *d)
{
	__u32 *tag = d->skel->data->fast_tag;
	__u32 gen = tag[0] / XM_FAST_TAG(1, 0) + 1;

	/* 0 is nobody's, and the last is XM_FAST_BUSY's. */
	if (gen >= XM_FAST_BUSY / XM_FAST_TAG(1, 0))
		gen = 1;
	for (__u32 kind = 0; kind <= XM_FAST_KIND; kind++)
		__atomic_store_n(&tag[kind], XM_FAST_TAG(gen, kind), __ATOMIC_SEQ_CST);
}

int datapath_peer_set(struct datapath *d, unsigned int idx, const struct hello_peer *p,
		      const bool ok[XM_PROTOS])
{
	int fd = bpf_map__fd(d->skel->maps.xm_peer_idx), err;
	struct xm_peer *x;
	__u32 slot = idx, noted;
	bool worse;

	if (idx >= d->n_peers)
		return -ERANGE;
	x = &d->peers[idx];
	if (!p->used) {
		STORE(x->up_until[XM_TCP], 0);
		STORE(x->up_until[XM_UDP], 0);
		STORE(x->used, 0);
		STORE(x->seen, 0);
		STORE(x->gen, p->gen);
		datapath_fast_forget(d);
		return bpf_map_delete_elem(fd, &p->addr) && errno != ENOENT ? -errno : 0;
	}
	/* Down first when the slot changes its meaning, up last. */
	if (x->gen != p->gen || x->addr != p->addr) {
		STORE(x->up_until[XM_TCP], 0);
		STORE(x->up_until[XM_UDP], 0);
	}
	if (x->addr != p->addr)
		STORE(x->seen, 0);
	worse = x->gen != p->gen || x->addr != p->addr;
	STORE(x->addr, p->addr);
	STORE(x->gen, p->gen);
	STORE(x->epoch, p->epoch);
	STORE(x->used, 1);
	/* An update takes memory, and this is called with each proof. */
	if (bpf_map_lookup_elem(fd, &p->addr, &noted) || noted != slot) {
		if (bpf_map_update_elem(fd, &p->addr, &slot, BPF_ANY)) {
			err = -errno;
			log_error("cannot note peer in slot %u: %s", idx, strerror(-err));
			datapath_fast_forget(d);
			return err;
		}
	}
	for (int i = 0; i < XM_PROTOS; i++) {
		uint64_t until = ok[i] && p->up_until_ms[i] ? datapath_jiffies(d, p->up_until_ms[i])
							    : 0;

		/* The same time is not always the same jiffy. */
		worse = worse || until + 1 < x->up_until[i];
		STORE(x->up_until[i], until);
	}
	if (worse)
		datapath_fast_forget(d);
	return 0;
}

bool datapath_peer_nonces(struct datapath *d, unsigned int idx, const uint64_t nonce[2])
{
	bool other;

	if (idx >= d->n_peers)
		return false;
	other = d->peers[idx].nonce[0] != htonl((uint32_t)(nonce[0] >> 32));
	for (unsigned int i = 0; i < XM_ARRAY_SIZE(d->peers[idx].nonce); i++) {
		STORE(d->peers[idx].nonce_low[i], htonl((uint32_t)nonce[i]));
		STORE(d->peers[idx].nonce[i], htonl((uint32_t)(nonce[i] >> 32)));
	}
	return other;
}

void datapath_peer_want_report(struct datapath *d, unsigned int idx, enum xm_report which)
{
	if (idx < d->n_peers && d->peers[idx].report != XM_REPORT_ANY)
		STORE(d->peers[idx].report, (uint8_t)which);
}

/* As label_free() in tc_prog/label.h: note the time, then clear the tag. */
static void label_free(struct datapath *d, struct xm_label *e, __u64 tag)
{
	STORE(e->freed_at, ((uint32_t)d->clock.jiffies - 1) | 1);
	__atomic_compare_exchange_n(&e->tag, &tag, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

unsigned int datapath_peer_forget_labels(struct datapath *d, __be32 peer)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < d->n_labels; i++) {
		uint64_t tag = __atomic_load_n(&d->labels[i].tag, __ATOMIC_ACQUIRE);

		if (tag && (__be32)(tag >> 32) == peer) {
			label_free(d, &d->labels[i], tag);
			n++;
		}
	}
	datapath_fast_forget(d);
	return n;
}

static struct xm_label *label_of(const struct datapath *d, const struct xm_flow_key *key,
				 const struct xm_flow *f, uint64_t *tag)
{
	unsigned int idx = key->proto == IPPROTO_TCP ? XM_TCP : XM_UDP;
	struct xm_label *e;

	if (!f->label)
		return NULL;
	e = &d->labels[xm_label_slot(f->peer, f->label, idx, d->n_labels - 1)];
	*tag = xm_tag(f->peer, f->label, key->proto, XM_TAG_USED);
	if (__atomic_load_n(&e->tag, __ATOMIC_ACQUIRE) != *tag || e->saddr != key->daddr ||
	    e->daddr != key->saddr || e->sport != key->dport || e->dport != key->sport)
		return NULL;
	return e;
}

int datapath_flows(const struct datapath *d, datapath_flow_fn fn, void *arg)
{
	int fd = bpf_map__fd(d->skel->maps.xm_flows), err = 0;
	struct xm_flow_key *keys;
	struct xm_flow *flows;
	__u32 cursor = 0, n;
	bool first = true, more = true;

	keys = calloc(FLOW_BATCH, sizeof(*keys));
	flows = calloc(FLOW_BATCH, sizeof(*flows));
	if (!keys || !flows)
		err = -ENOMEM;
	while (!err && more) {
		n = FLOW_BATCH;
		/* The cursor of a hash is the number of a bucket (kernel/bpf/hashtab.c). */
		if (bpf_map_lookup_batch(fd, first ? NULL : &cursor, &cursor, keys, flows, &n,
					 NULL)) {
			more = false;
			if (errno != ENOENT) {
				err = -errno;
				break;
			}
		}
		first = false;
		for (__u32 i = 0; i < n; i++)
			if (!fn(arg, &keys[i], &flows[i]))
				goto out;
	}
out:
	free(keys);
	free(flows);
	return err;
}

int datapath_flow(const struct datapath *d, const struct xm_flow_key *key, struct xm_flow *f)
{
	return bpf_map_lookup_elem(bpf_map__fd(d->skel->maps.xm_flows), key, f) ? -errno : 0;
}

bool datapath_label(const struct datapath *d, const struct xm_flow_key *key,
		    const struct xm_flow *f, struct xm_label *e)
{
	const struct xm_label *x;
	uint64_t tag;

	x = label_of(d, key, f, &tag);
	if (x)
		*e = *x;
	return x;
}

bool datapath_pod_known(const struct datapath *d, uint32_t ifindex)
{
	struct xm_pod pod;

	return !bpf_map_lookup_elem(bpf_map__fd(d->skel->maps.xm_pods), &ifindex, &pod);
}

static int flow_del(struct datapath *d, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct xm_label *e;
	uint64_t tag;

	e = label_of(d, key, f, &tag);
	/* The flow first: without it nothing is sent; the label may still restore. */
	if (bpf_map_delete_elem(bpf_map__fd(d->skel->maps.xm_flows), key) && errno != ENOENT)
		return -errno;
	if (e)
		label_free(d, e, tag);
	return 0;
}

struct doomed {
	datapath_flow_fn match;
	void *arg;
	struct {
		struct xm_flow_key key;
		struct xm_flow f;
	} * v;
	size_t n, cap;
	int err;
};

static bool doom(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct doomed *w = arg;

	if (!w->match(w->arg, key, f))
		return true;
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 256;
		void *v = realloc(w->v, cap * sizeof(*w->v));

		/* The walk goes on: @match may count. */
		if (!v) {
			w->err = -ENOMEM;
			return true;
		}
		w->v = v;
		w->cap = cap;
	}
	w->v[w->n].key = *key;
	w->v[w->n++].f = *f;
	return true;
}

/* In two steps: a walk over a hash that shrinks meanwhile misses entries. */
int datapath_flows_del_if(struct datapath *d, datapath_flow_fn match, void *arg, size_t *n)
{
	struct doomed w = { .match = match, .arg = arg };
	int err, err2;

	err = datapath_flows(d, doom, &w);
	err = err ?: w.err;
	*n = 0;
	for (size_t i = 0; i < w.n; i++) {
		err2 = flow_del(d, &w.v[i].key, &w.v[i].f);
		*n += !err2;
		err = err ?: err2;
	}
	free(w.v);
	datapath_fast_forget(d);
	return err;
}

void datapath_labels_del_if(struct datapath *d, datapath_flow_fn match, void *arg)
{
	static const struct xm_flow none;

	for (uint32_t i = 0; i < d->n_labels; i++) {
		struct xm_label *e = &d->labels[i];
		uint64_t tag = __atomic_load_n(&e->tag, __ATOMIC_ACQUIRE);
		const struct xm_flow_key key = {
			.saddr = e->daddr,
			.daddr = e->saddr,
			.sport = e->dport,
			.dport = e->sport,
			.proto = tag >> 8 & 0xff,
		};

		if ((tag & 0xff) == XM_TAG_USED && match(arg, &key, &none))
			label_free(d, e, tag);
	}
	datapath_fast_forget(d);
}

struct recycle {
	struct datapath *d;
	uint32_t now;
	uint32_t idle;	     /* jiffies */
	uint32_t idle_short; /* for flows without a label, and ended ones */
	struct datapath_use use;
};

/* Counts, and says whether the flow is over. */
static bool recycle_flow(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct recycle *r = arg;
	uint32_t last = xm_before(f->out_until, f->in_until) ? f->in_until : f->out_until;

	enum flow_state state = flow_state(f, r->now);
	bool over;

	datapath_admit_used(r->d, key, r->now);
	r->use.flows++;
	/*
	 * That its pod still sends is no reason to keep it: what the CNI does not pass needs
	 * no entry, and an old lease must not come to look new when the clock wraps. What
	 * never got anywhere, or has ended, goes sooner: that is what fills tables.
	 */
	over = xm_before(last + (f->label && !f->ended ? r->idle : r->idle_short), r->now);
	if (!over)
		r->use.by_state[state]++;
	r->use.active = r->use.by_state[FLOW_ACTIVE];
	return over;
}

/* Labels whose flow is gone or has another label: two CPUs raced to allot, or somebody
 * deleted flows by hand. */
static void recycle_labels(struct recycle *r)
{
	int fd = bpf_map__fd(r->d->skel->maps.xm_flows);

	for (uint32_t i = 0; i < r->d->n_labels; i++) {
		struct xm_label *e = &r->d->labels[i];
		uint64_t tag = __atomic_load_n(&e->tag, __ATOMIC_ACQUIRE);
		struct xm_flow_key key = {};
		struct xm_flow f;

		if (!tag)
			continue;
		r->use.labels++;
		if ((tag & 0xff) != XM_TAG_USED || !xm_before(e->until + r->idle, r->now))
			continue;
		key.saddr = e->daddr;
		key.daddr = e->saddr;
		key.sport = e->dport;
		key.dport = e->sport;
		key.proto = tag >> 8 & 0xff;
		if (!bpf_map_lookup_elem(fd, &key, &f) && f.label == (tag >> 16 & 0xffff))
			continue;
		label_free(r->d, e, tag);
		r->use.labels--;
	}
}

int datapath_recycle(struct datapath *d, uint32_t idle_ms, struct datapath_use *use)
{
	struct recycle r = { .d = d };
	size_t n;
	int err;

	err = datapath_clock(d);
	if (err)
		return err;
	r.now = (uint32_t)d->clock.jiffies;
	r.idle = (uint32_t)((uint64_t)idle_ms * d->hz / 1000);
	r.idle_short = r.idle / 3;
	/* What could not be removed is found again next time. */
	err = datapath_flows_del_if(d, recycle_flow, &r, &n);
	if (!err)
		datapath_admit_cool(d, r.now);
	recycle_labels(&r);
	datapath_fast_forget(d);
	r.use.flows -= n;
	*use = r.use;
	return err ?: (int)n;
}

int datapath_sum(int fd, unsigned int n, struct xm_counter *c)
{
	int cpus = libbpf_num_possible_cpus();
	struct xm_counter *v;

	if (cpus < 0)
		return cpus;
	v = calloc((size_t)cpus, sizeof(*v));
	if (!v)
		return -ENOMEM;
	memset(c, 0, n * sizeof(*c));
	for (__u32 r = 0; r < n; r++) {
		if (bpf_map_lookup_elem(fd, &r, v))
			continue;
		for (int i = 0; i < cpus; i++) {
			c[r].packets += v[i].packets;
			c[r].bytes += v[i].bytes;
		}
	}
	free(v);
	return 0;
}

int datapath_counters(const struct datapath *d, struct xm_counter *c)
{
	return datapath_sum(bpf_map__fd(d->skel->maps.xm_counters), XM_R_MAX, c);
}

bool datapath_was_used(const char *pin_dir)
{
	struct xm_counter c[XM_R_MAX] = {};
	char path[DATAPATH_PIN_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/xm_counters", pin_dir);
	fd = bpf_obj_get(path);
	/* No tables, no memory: it may have been a run before the last cleanup. */
	if (fd < 0)
		return true;
	datapath_sum(fd, XM_R_MAX, c);
	close(fd);
	return c[XM_R_MASQUERADED].packets || c[XM_R_RESTORED].packets || c[XM_R_LOCAL].packets;
}

int datapath_local_set(struct datapath *d, uint32_t ifindex, const struct xm_local *pod)
{
	int fd = bpf_map__fd(d->skel->maps.xm_locals);

	if (pod)
		return bpf_map_update_elem(fd, &ifindex, pod, BPF_ANY) ? -errno : 0;
	return bpf_map_delete_elem(fd, &ifindex) && errno != ENOENT ? -errno : 0;
}

void datapath_pod_forget(struct datapath *d, uint32_t ifindex)
{
	bpf_map_delete_elem(bpf_map__fd(d->skel->maps.xm_pods), &ifindex);
}

uint64_t datapath_flows_bytes(const struct datapath *d)
{
	return d->n_labels * (uint64_t)(HTAB_ELEM + HTAB_BUCKET + sizeof(struct xm_flow_key) +
					sizeof(struct xm_flow));
}

uint64_t datapath_labels_bytes(const struct datapath *d)
{
	return d->labels_len;
}

uint64_t datapath_peers_bytes(const struct datapath *d)
{
	return d->peers_len + d->n_peers * (uint64_t)(HTAB_ELEM + HTAB_BUCKET + 16);
}
