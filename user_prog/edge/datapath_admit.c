// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cells of xm_admit, seen from the daemon: tc_prog/admit.h says what they are. The programs admit;
 * here a cell is taken back when it has had no entry for two walks over the flows.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "datapath_private.h"
#include "xmasq.skel.h"

#define BITS 64

int datapath_admit_map(struct datapath *d)
{
	size_t words = (d->n_labels + BITS - 1) / BITS;
	void *p;

	d->admit_len = d->n_labels * sizeof(*d->admit);
	p = mmap(NULL, d->admit_len, PROT_READ | PROT_WRITE, MAP_SHARED,
		 bpf_map__fd(d->skel->maps.xm_admit), 0);
	if (p == MAP_FAILED)
		return -errno;
	d->admit = p;
	d->in_use = calloc(words, 2 * sizeof(*d->in_use));
	return d->in_use ? 0 : -ENOMEM;
}

void datapath_admit_unmap(struct datapath *d)
{
	if (d->admit)
		munmap(d->admit, d->admit_len);
	free(d->in_use);
	d->admit = NULL;
	d->in_use = NULL;
}

void datapath_admit_after(struct datapath *d, uint32_t packets)
{
	__atomic_store_n(&d->skel->data->admit_after, packets, __ATOMIC_RELAXED);
}

/* A program that knew no cells may have made the entry. */
void datapath_admit_used(struct datapath *d, const struct xm_flow_key *key, uint32_t now)
{
	uint32_t slot = xm_admit_slot(key, d->n_labels - 1);
	struct xm_admit to = { .count = XM_ADMITTED, .at = now };
	struct xm_admit *c = &d->admit[slot];

	d->in_use[slot / BITS] |= 1ull << slot % BITS;
	if (__atomic_load_n(&c->count, __ATOMIC_RELAXED) != XM_ADMITTED)
		__atomic_store_n(&c->whole, to.whole, __ATOMIC_RELEASE);
}

void datapath_admit_cool(struct datapath *d, uint32_t since)
{
	size_t words = (d->n_labels + BITS - 1) / BITS;
	uint64_t *used = d->in_use, *before = d->in_use + words;

	for (uint32_t i = 0; i < d->n_labels; i++) {
		struct xm_admit *c = &d->admit[i], was, to = {};

		was.whole = __atomic_load_n(&c->whole, __ATOMIC_ACQUIRE);
		if (was.count != XM_ADMITTED || (used[i / BITS] | before[i / BITS]) >> i % BITS & 1)
			continue;
		/* A second: the walk may have missed what came while it was under way. */
		if (!xm_before(was.at + d->hz, since))
			continue;
		to.at = was.at;
		/* Not if it was admitted anew this very moment: see admit.h. */
		__atomic_compare_exchange_n(&c->whole, &was.whole, to.whole, false,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
	}
	memcpy(before, used, words * sizeof(*used));
	memset(used, 0, words * sizeof(*used));
}

static bool used(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct datapath *d = arg;

	(void)f;
	datapath_admit_used(d, key, (uint32_t)d->clock.jiffies);
	return true;
}

int datapath_admit_all(struct datapath *d)
{
	return datapath_flows(d, used, d);
}
