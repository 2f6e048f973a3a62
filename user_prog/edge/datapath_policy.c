// SPDX-License-Identifier: GPL-2.0-only
/* The programs' table of rules. See common/xm_policy.h for how it changes. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "datapath_private.h"
#include "xmasq.skel.h"

static size_t table_len(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (sizeof(struct xm_policy) + page - 1) / page * page;
}

static void tell(struct datapath *d)
{
	const struct xm_policy_half *h = datapath_policy(d);

	__atomic_store_n(&d->skel->bss->policy_on, h->n[XM_POLICY_OUT] || h->n[XM_POLICY_IN],
			 __ATOMIC_RELEASE);
}

int datapath_policy_map(struct datapath *d)
{
	void *p = mmap(NULL, table_len(), PROT_READ | PROT_WRITE, MAP_SHARED,
		       bpf_map__fd(d->skel->maps.xm_policy), 0);

	if (p == MAP_FAILED)
		return -errno;
	d->policy = p;
	tell(d);
	return 0;
}

void datapath_policy_unmap(struct datapath *d)
{
	if (d->policy)
		munmap(d->policy, table_len());
	d->policy = NULL;
}

const struct xm_policy_half *datapath_policy(const struct datapath *d)
{
	return &d->policy->half[d->policy->now & 1];
}

void datapath_policy_set(struct datapath *d, const struct xm_policy_half *rules)
{
	uint32_t next = !(d->policy->now & 1);

	memcpy(&d->policy->half[next], rules, sizeof(*rules));
	__atomic_store_n(&d->policy->now, next, __ATOMIC_RELEASE);
	tell(d);
}

/* Programs run within an RCU read-side section, and this is synchronize_rcu(). It is refused where
 * CPUs run without a tick; no program takes nearly as long as the nap. */
void datapath_policy_settle(void)
{
	struct timespec nap = { .tv_nsec = 20000000 };

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		nanosleep(&nap, NULL);
}

int datapath_rule_counters(const struct datapath *d, struct xm_counter *c)
{
	return datapath_sum(bpf_map__fd(d->skel->maps.xm_rule_count), XM_RULES_MAX, c);
}

int datapath_rule_reset(struct datapath *d, uint32_t slot)
{
	int cpus = libbpf_num_possible_cpus(), err = 0;
	struct xm_counter *v;

	if (cpus < 0)
		return cpus;
	v = calloc((size_t)cpus, sizeof(*v));
	if (!v)
		return -ENOMEM;
	if (bpf_map_update_elem(bpf_map__fd(d->skel->maps.xm_rule_count), &slot, v, BPF_ANY))
		err = -errno;
	free(v);
	return err;
}
