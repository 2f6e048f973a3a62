// SPDX-License-Identifier: GPL-2.0-only
/* The kernel in a process: maps, the packet, helpers. See bpf_shim.h. */
#include "bpf_shim.h"

#include <sanitizer/asan_interface.h>

#define MAPS	  16
#define VARIABLES 8
#define HEADROOM  64 /* only a distance: nothing is there */

struct elem {
	bool used;
	unsigned long age; /* of an LRU map: when last used */
	__u8 *key;
	__u8 *value;
};

struct shim_map {
	const void *id;
	unsigned int type, max;
	size_t key, value;
	struct elem *v;
};

/*
 * Elements and all that the maps hold, in two blocks, which are copied often. Around each key and
 * value is what the sanitizer takes for no memory.
 */
#define ELEMS 256
#define BYTES 32768
#define GAP   32

static struct tables {
	struct elem elems[ELEMS];
	unsigned long clock; /* of the LRU maps */
} tables;
static __u64 arena[BYTES / 8];
static size_t n_elems, n_bytes;

struct packet {
	struct __sk_buff ctx;
	struct sk_buff kern;
	__u8 *linear, *rest;
	__u32 n_linear, n_rest;
};

struct shim shim;

static struct shim_map maps[MAPS];
static struct packet pkt;
static struct {
	void *p;
	size_t size;
} variables[VARIABLES];

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* ---- maps ---- */

static __u8 *carve(size_t n)
{
	__u8 *p = (__u8 *)arena + n_bytes + GAP;

	if (!n_bytes)
		ASAN_POISON_MEMORY_REGION(arena, sizeof(arena));
	n_bytes += GAP + (n + 15) / 16 * 16;
	if (n_bytes + GAP > BYTES)
		abort();
	ASAN_UNPOISON_MEMORY_REGION(p, n);
	return p;
}

/* By words, since memcpy() would be stopped at the first gap. */
__attribute__((no_sanitize("address", "undefined"))) static void
copy_words(void *to, const void *from, size_t n)
{
	const __u64 *f = from;
	__u64 *t = to;

	for (size_t i = 0; i < n / 8; i++)
		t[i] = f[i];
}

static bool is_array(const struct shim_map *m)
{
	return m->type == BPF_MAP_TYPE_ARRAY || m->type == BPF_MAP_TYPE_PERCPU_ARRAY;
}

struct shim_map *shim_map(const void *id, unsigned int type, size_t key, size_t value)
{
	struct shim_map *m = maps;

	while (m->id && m->id != id)
		if (++m == maps + MAPS)
			abort();
	if (!m->id)
		*m = (struct shim_map){ .id = id, .type = type, .key = key, .value = value };
	return m;
}

void shim_map_size(struct shim_map *m, unsigned int max)
{
	if (m->v || !max)
		abort();
	m->max = max;
	m->v = tables.elems + n_elems;
	n_elems += max;
	if (n_elems > ELEMS)
		abort();
	for (unsigned int i = 0; i < max; i++) {
		m->v[i].key = carve(m->key);
		m->v[i].value = carve(m->value);
		if (is_array(m)) {
			memcpy(m->v[i].key, &i, sizeof(i));
			m->v[i].used = true;
		}
	}
}

static struct elem *find(struct shim_map *m, const void *key)
{
	for (unsigned int i = 0; i < m->max; i++)
		if (m->v[i].used && !memcmp(m->v[i].key, key, m->key))
			return &m->v[i];
	return NULL;
}

void *shim_lookup(struct shim_map *m, const void *key)
{
	struct elem *e;
	__u32 i;

	if (!m->v)
		abort();
	if (is_array(m)) {
		memcpy(&i, key, sizeof(i));
		return i < m->max ? m->v[i].value : NULL;
	}
	e = find(m, key);
	if (!e)
		return NULL;
	if (m->type == BPF_MAP_TYPE_LRU_HASH)
		e->age = ++tables.clock;
	return e->value;
}

long shim_update(struct shim_map *m, const void *key, const void *value, __u64 flags)
{
	struct elem *e, *oldest = m->v;
	__u8 copy[64];

	/* Read the value in any case: the kernel does. */
	if (!m->v || is_array(m) || m->value > sizeof(copy))
		abort();
	memcpy(copy, value, m->value);
	e = find(m, key);
	if (e && flags == BPF_NOEXIST)
		return -EEXIST;
	if (shim.fail & SHIM_FAIL_UPDATE)
		return -ENOMEM;
	for (unsigned int i = 0; !e && i < m->max; i++) {
		if (!m->v[i].used)
			e = &m->v[i];
		else if (m->v[i].age < oldest->age)
			oldest = &m->v[i];
	}
	if (!e && m->type == BPF_MAP_TYPE_LRU_HASH)
		e = oldest;
	if (!e)
		return -E2BIG;
	memcpy(e->key, key, m->key);
	memcpy(e->value, copy, m->value);
	e->age = ++tables.clock;
	e->used = true;
	return 0;
}

void *shim_map_each(struct shim_map *m, unsigned int *pos, const void **key)
{
	while (*pos < m->max) {
		struct elem *e = &m->v[(*pos)++];

		if (e->used) {
			*key = e->key;
			return e->value;
		}
	}
	return NULL;
}

void shim_variable(void *p, size_t size)
{
	unsigned int i = 0;

	while (variables[i].p)
		if (++i == VARIABLES)
			abort();
	variables[i].p = p;
	variables[i].size = size;
}

void shim_reset(void)
{
	shim.fail = 0;
	tables.clock = 0;
	for (struct shim_map *m = maps; m < maps + MAPS && m->id; m++) {
		for (unsigned int i = 0; i < m->max; i++) {
			m->v[i].used = is_array(m);
			m->v[i].age = 0;
			memset(m->v[i].value, 0, m->value);
		}
	}
	for (unsigned int i = 0; i < VARIABLES && variables[i].p; i++)
		memset(variables[i].p, 0, variables[i].size);
}

/* ---- the packet ---- */

/* Other bytes of it linear, and all of it elsewhere. */
static void move(const __u8 *frame, __u32 len, __u32 n_linear)
{
	__u8 *linear = must(malloc(n_linear ? n_linear : 1));
	__u8 *rest = must(malloc(len - n_linear ? len - n_linear : 1));

	memcpy(linear, frame, n_linear);
	memcpy(rest, frame + n_linear, len - n_linear);
	free(pkt.linear);
	free(pkt.rest);
	pkt.linear = linear;
	pkt.rest = rest;
	pkt.n_linear = n_linear;
	pkt.n_rest = len - n_linear;
	pkt.ctx.len = len;
	pkt.ctx.data = (uintptr_t)linear;
	pkt.ctx.data_end = (uintptr_t)linear + n_linear;
	pkt.kern.data = (unsigned char *)(uintptr_t)(1ul << 20);
	pkt.kern.head = (unsigned char *)(uintptr_t)((1ul << 20) - HEADROOM);
}

struct __sk_buff *shim_packet(const void *frame, __u32 len, __u32 linear)
{
	memset(&pkt.ctx, 0, sizeof(pkt.ctx));
	memset(&pkt.kern, 0, sizeof(pkt.kern));
	move(frame, len, linear < len ? linear : len);
	return &pkt.ctx;
}

struct sk_buff *shim_kernel(void)
{
	return &pkt.kern;
}

__u32 shim_frame(void *out)
{
	memcpy(out, pkt.linear, pkt.n_linear);
	memcpy((__u8 *)out + pkt.n_linear, pkt.rest, pkt.n_rest);
	return pkt.n_linear + pkt.n_rest;
}

const struct sk_buff *shim_probe(const void *skb)
{
	if (skb != &pkt.ctx)
		abort();
	return &pkt.kern;
}

void *shim_kern_ctx(void *skb)
{
	if (skb != &pkt.ctx)
		abort();
	return &pkt.kern;
}

void *(*bpf_cast_to_kern_ctx)(void *obj) = shim_kern_ctx;

/* ---- states ---- */

static __u8 *reserve(struct shim_state *s, size_t n)
{
	if (s->len + n > s->size) {
		s->size = 2 * s->size + n + 4096;
		s->bytes = must(realloc(s->bytes, s->size));
	}
	s->len += n;
	return s->bytes + s->len - n;
}

static void put(struct shim_state *s, const void *p, size_t n)
{
	memcpy(reserve(s, n), p, n);
}

static void get(const struct shim_state *s, size_t *at, void *p, size_t n)
{
	memcpy(p, s->bytes + *at, n);
	*at += n;
}

void shim_save(struct shim_state *s)
{
	__u8 frame[SHIM_FRAME_MAX];
	struct __sk_buff ctx = pkt.ctx;

	s->len = 0;
	/* Where it is differs from one time to the next. */
	ctx.data = 0;
	ctx.data_end = pkt.n_linear;
	put(s, &ctx, sizeof(ctx));
	put(s, &pkt.kern.ip_summed, sizeof(pkt.kern.ip_summed));
	put(s, &pkt.kern.csum, sizeof(pkt.kern.csum));
	put(s, frame, shim_frame(frame));
	put(s, tables.elems, n_elems * sizeof(tables.elems[0]));
	put(s, &tables.clock, sizeof(tables.clock));
	copy_words(reserve(s, n_bytes), arena, n_bytes);
	for (unsigned int i = 0; i < VARIABLES && variables[i].p; i++)
		put(s, variables[i].p, variables[i].size);
}

void shim_load(const struct shim_state *s)
{
	__u8 frame[SHIM_FRAME_MAX];
	struct __sk_buff ctx;
	size_t at = 0;

	get(s, &at, &ctx, sizeof(ctx));
	get(s, &at, &pkt.kern.ip_summed, sizeof(pkt.kern.ip_summed));
	get(s, &at, &pkt.kern.csum, sizeof(pkt.kern.csum));
	get(s, &at, frame, ctx.len);
	pkt.ctx = ctx;
	move(frame, ctx.len, (__u32)ctx.data_end);
	get(s, &at, tables.elems, n_elems * sizeof(tables.elems[0]));
	get(s, &at, &tables.clock, sizeof(tables.clock));
	copy_words(arena, s->bytes + at, n_bytes);
	at += n_bytes;
	for (unsigned int i = 0; i < VARIABLES && variables[i].p; i++)
		get(s, &at, variables[i].p, variables[i].size);
	if (at != s->len)
		abort();
}

/* ---- helpers: net/core/filter.c, as far as these programs can tell ---- */

__u64 bpf_jiffies64(void)
{
	return shim.jiffies;
}

__u64 bpf_ktime_get_ns(void)
{
	return shim.jiffies * 4000000;
}

long bpf_skb_load_bytes(const void *skb, __u32 offset, void *to, __u32 len)
{
	__u8 frame[SHIM_FRAME_MAX];

	if (skb != &pkt.ctx)
		abort();
	if (offset > INT32_MAX || (__u64)offset + len > pkt.ctx.len) {
		memset(to, 0, len);
		return -EFAULT;
	}
	shim_frame(frame);
	memcpy(to, frame + offset, len);
	return 0;
}

long bpf_skb_store_bytes(struct __sk_buff *skb, __u32 offset, const void *from, __u32 len,
			 __u64 flags)
{
	__u8 frame[SHIM_FRAME_MAX];
	__u32 n = shim_frame(frame);

	(void)flags;
	if (skb != &pkt.ctx)
		abort();
	if (offset > INT32_MAX || (__u64)offset + len > n || shim.fail & SHIM_FAIL_STORE)
		return -EFAULT;
	memcpy(frame + offset, from, len);
	move(frame, n, offset + len > pkt.n_linear ? offset + len : pkt.n_linear);
	return 0;
}

long bpf_skb_pull_data(struct __sk_buff *skb, __u32 len)
{
	__u8 frame[SHIM_FRAME_MAX];
	__u32 n = shim_frame(frame);

	if (skb != &pkt.ctx)
		abort();
	if (len > n || shim.fail & SHIM_FAIL_PULL)
		return -ENOMEM;
	move(frame, n, len > pkt.n_linear ? len : pkt.n_linear);
	return 0;
}

long bpf_skb_change_tail(struct __sk_buff *skb, __u32 len, __u64 flags)
{
	__u8 frame[SHIM_FRAME_MAX];
	__u32 n = shim_frame(frame), min = ETH_HLEN;

	if (skb != &pkt.ctx)
		abort();
	if (pkt.kern.ip_summed == CHECKSUM_PARTIAL)
		min = (__u32)pkt.kern.csum_start - HEADROOM + pkt.kern.csum_offset + 2;
	if (flags || len < min || len > SHIM_FRAME_MAX || shim.fail & SHIM_FAIL_TAIL)
		return -EINVAL;
	if (len > n)
		memset(frame + n, 0, len - n);
	if (len != n && pkt.kern.ip_summed == CHECKSUM_COMPLETE)
		pkt.kern.ip_summed = CHECKSUM_NONE;
	move(frame, len, len);
	pkt.ctx.gso_size = 0;
	return 0;
}

__s64 bpf_csum_update(struct __sk_buff *skb, __u32 csum)
{
	__u64 sum = (__u64)pkt.kern.csum + csum;

	if (skb != &pkt.ctx)
		abort();
	if (pkt.kern.ip_summed != CHECKSUM_COMPLETE)
		return -524; /* ENOTSUPP */
	pkt.kern.csum = (__u32)(sum + (sum >> 32));
	return pkt.kern.csum;
}

/* To the pod that it is for, of which the frame says nothing else. */
long bpf_skb_change_type(struct __sk_buff *skb, __u32 type)
{
	if (skb != &pkt.ctx || type)
		abort();
	return 0;
}

/* Segments: whether each fits; 60 bytes of TCP header are the most that is in front of one. */
long bpf_check_mtu(struct __sk_buff *skb, __u32 ifindex, __u32 *mtu, __s32 diff, __u64 flags)
{
	if (skb != &pkt.ctx || diff || (flags && flags != BPF_MTU_CHK_SEGS))
		abort();
	if (!ifindex || ifindex != shim.mtu_ifindex)
		return -ENODEV;
	*mtu = shim.mtu;
	if (skb->len - ETH_HLEN <= shim.mtu)
		return 0;
	if (!skb->gso_size)
		return BPF_MTU_CHK_RET_FRAG_NEEDED;
	return flags && skb->gso_size + 80 > shim.mtu ? BPF_MTU_CHK_RET_SEGS_TOOBIG : 0;
}

static int redirect(enum shim_redirect how, __u32 ifindex, __u64 flags)
{
	if (flags || shim.redirect != SHIM_STAYS)
		abort();
	shim.redirect = how;
	shim.redirect_ifindex = ifindex;
	return TC_ACT_REDIRECT;
}

long bpf_redirect(__u32 ifindex, __u64 flags)
{
	return redirect(SHIM_TO, ifindex, flags);
}

long bpf_redirect_peer(__u32 ifindex, __u64 flags)
{
	return redirect(SHIM_TO_PEER, ifindex, flags);
}

int bpf_redirect_rpeer(__u32 ifindex, __u64 flags)
{
	return redirect(SHIM_TO_RPEER, ifindex, flags);
}

void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags)
{
	void *p;

	(void)ringbuf;
	if (flags || shim.fail & SHIM_FAIL_RING)
		return NULL;
	p = must(malloc(size));
	/* Memory of a ring is what was there before. */
	memset(p, 0xa5, size);
	shim.reserved++;
	return p;
}

void bpf_ringbuf_submit(void *data, __u64 flags)
{
	(void)flags;
	shim.reserved--;
	shim.events++;
	if (shim.event)
		shim.event(data);
	free(data);
}
