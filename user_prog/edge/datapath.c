// SPDX-License-Identifier: GPL-2.0-only
/* Loading, reloading and the ring of events. See datapath.h. */
#include "datapath.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "datapath_private.h"
#include "log.h"
#include "rng.h"
#include "xmasq.skel.h"

/* A label's slot rests until the other node, which may use the label for one ingress lease
 * after it was last told, has stopped, and its last packets have arrived. */
#define QUARANTINE_MIN_MS 5000

static const char *const prog_names[DATAPATH_PROGS] = {
	[DATAPATH_POD_EGRESS] = "xmasq_pod_egress",
	[DATAPATH_POD_INGRESS] = "xmasq_pod_ingress",
	[DATAPATH_NIC_EGRESS] = "xmasq_nic_egress",
	[DATAPATH_NIC_INGRESS] = "xmasq_nic_ingress",
	[DATAPATH_RPEER_EGRESS] = "xmasq_rpeer_egress",
	[DATAPATH_NETKIT_EGRESS] = "xmasq_netkit_egress",
};

const char *datapath_prog_name(enum datapath_prog which)
{
	return prog_names[which];
}

int datapath_prog_fd(const struct datapath *d, enum datapath_prog which)
{
	return bpf_program__fd(bpf_object__find_program_by_name(d->skel->obj, prog_names[which]));
}

void datapath_nic_frame(struct datapath *d, uint32_t len)
{
	uint32_t max = len ?: UINT32_MAX;

	d->nic_frame = len;
	if (!d->skel || __atomic_load_n(&d->skel->data->nic_frame_max, __ATOMIC_RELAXED) == max)
		return;
	__atomic_store_n(&d->skel->data->nic_frame_max, max, __ATOMIC_RELAXED);
	datapath_fast_forget(d);
}

void datapath_local_until(struct datapath *d, uint64_t ms)
{
	d->local_ms = ms;
	if (d->skel)
		__atomic_store_n(&d->skel->bss->local_until, ms ? datapath_jiffies(d, ms) : 0,
				 __ATOMIC_RELAXED);
}

/* All others do the same twice, or redirect; that a renewal may be put off, and that packets
 * are counted twice, is all that comes of it. */
int datapath_first_fd(const struct datapath *d, enum datapath_prog which)
{
	return which == DATAPATH_NIC_EGRESS ? bpf_program__fd(d->skel->progs.xmasq_nic_first) : -1;
}

int datapath_prog_info(const struct datapath *d, enum datapath_prog which, uint32_t *id,
		       uint32_t *insns)
{
	struct bpf_prog_info info = {};
	int fd = datapath_prog_fd(d, which);
	__u32 len = sizeof(info);

	if (fd < 0)
		return -ENOENT;
	if (bpf_obj_get_info_by_fd(fd, &info, &len))
		return -errno;
	*id = info.id;
	*insns = info.xlated_prog_len / sizeof(struct bpf_insn);
	return 0;
}

/* BPF_BTF_GET_NEXT_ID is refused then, and libbpf says EINVAL in the end. */
static bool lacks_sys_admin(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct cap[_LINUX_CAPABILITY_U32S_3];

	return !syscall(SYS_capget, &head, cap) && !(cap[0].effective & 1u << CAP_SYS_ADMIN);
}

const char *datapath_hint(int err)
{
	switch (-err) {
	case EPERM:
	case EACCES:
		return "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed; if the verifier refused, its log is above";
	case EMFILE:
	case ENFILE:
		return "too many files are open: raise the limit (LimitNOFILE= of the unit)";
	case ENOMEM:
		return "memory is short: lower tables.flows, or raise the memory limit of the service";
	case EROFS:
		return "pin_dir is on a filesystem that is mounted read-only";
	default:
		if (lacks_sys_admin())
			return "CAP_SYS_ADMIN is needed: without it the kernel does not tell the types of its functions";
		return "see the messages above; kernel 6.1, or 6.4 and newer, with BTF is needed";
	}
}

/* ---- loading ---- */

static int new_meta(struct xm_meta *m, const struct config *c)
{
	int err;

	memset(m, 0, sizeof(*m));
	m->layout = XM_LAYOUT;
	err = rng_u32(&m->epoch);
	err = err ?: rng_u32(&m->mark);
	err = err ?: rng_u32(&m->seed);
	if (err) {
		log_error("the kernel gives no random numbers: %s", strerror(-err));
		return err;
	}
	/* The top bit keeps it apart from the small marks that people use. */
	m->mark |= 0x80000000u;
	m->flows = c->flows;
	m->peers = c->peers;
	m->masq_port = c->masquerade_port;
	return 0;
}

/* See docs/datapath.md, "Leases", for why these fractions. */
static void fill_config(struct xm_config *x, const struct config *c, const struct xm_meta *m,
			uint32_t hz, const __be32 *node, unsigned int n_node)
{
	memset(x, 0, sizeof(*x));
	x->mark = m->mark;
	x->seed = m->seed;
	x->lease = datapath_ms_to_j(c->lease_ms, hz);
	x->in_lease = datapath_ms_to_j(c->lease_ms + c->lease_ms / 4, hz);
	x->renew = datapath_ms_to_j(c->lease_ms / 2, hz);
	x->retry = datapath_ms_to_j(c->lease_ms / 8, hz);
	x->quarantine = datapath_ms_to_j(
		c->lease_ms * 2 > QUARANTINE_MIN_MS ? c->lease_ms * 2 : QUARANTINE_MIN_MS, hz);
	x->second = hz;
	x->label_mask = m->flows - 1;
	x->masq_port = htons(c->masquerade_port);
	for (unsigned int i = 0; i < c->n_overlay && i < XM_OVERLAYS_MAX; i++)
		x->overlay[i] = c->overlay[i];
	for (unsigned int i = 0; i < n_node && i < XM_NODES_MAX; i++)
		x->node[i] = node[i];
}

/* All tables of @old, also the ring and what is not pinned: nothing is lost in between. */
static int reuse_held(struct xmasq_bpf *skel, const struct xmasq_bpf *old)
{
	struct bpf_map *map = NULL;
	int err = 0, fd;

	while (!err && (map = bpf_object__next_map(skel->obj, map))) {
		if (bpf_map__is_internal(map))
			continue;
		fd = bpf_object__find_map_fd_by_name(old->obj, bpf_map__name(map));
		err = fd < 0 ? fd : bpf_map__reuse_fd(map, fd);
	}
	return err;
}

static int set_maps(struct xmasq_bpf *skel, const struct datapath *d, const struct config *c,
		    const struct xmasq_bpf *old)
{
	int err;

	if (old)
		return reuse_held(skel, old);
	err = bpf_map__set_max_entries(skel->maps.xm_flows, c->flows);
	err = err ?: bpf_map__set_max_entries(skel->maps.xm_labels, c->flows);
	err = err ?: bpf_map__set_max_entries(skel->maps.xm_admit, c->flows);
	err = err ?: bpf_map__set_max_entries(skel->maps.xm_peer_idx, c->peers);
	err = err ?: bpf_map__set_max_entries(skel->maps.xm_peers, c->peers);
	return err || !d->reused ? err : datapath_pins_reuse(skel, d->pin_dir);
}

/*
 * One load: skeleton with all constants set, around the maps of @old, of the pins, or new
 * ones. NULL with @err.
 */
static struct xmasq_bpf *load_once(const struct datapath *d, const struct config *c,
				   const __be32 *node, unsigned int n_node,
				   const struct xmasq_bpf *old, int *err)
{
	struct xmasq_bpf *skel;
	struct xm_config x;

	skel = xmasq_bpf__open();
	if (!skel) {
		*err = -errno;
		log_error("cannot open the TC programs: %s", strerror(-*err));
		return NULL;
	}
	fill_config(&x, c, &d->meta, d->hz, node, n_node);
	memcpy((void *)&skel->rodata->cfg, &x, sizeof(x));
	skel->data->nic_frame_max = d->nic_frame ?: UINT32_MAX;
	skel->data->admit_after = c->admit_after;
	/* Of a reload. What a start finds in the table is told by datapath_policy_map(). */
	skel->bss->policy_on = old ? old->bss->policy_on : 0;
	*err = bpf_program__set_autoload(skel->progs.xmasq_rpeer_egress,
					 d->kernel.rpeer && c->mode != CONFIG_MODE_VETH);
	*err = *err
		       ?: bpf_program__set_autoload(skel->progs.xmasq_netkit_egress,
						    d->kernel.netkit &&
							    c->mode != CONFIG_MODE_VETH);
	*err = *err ?: bpf_program__set_autoload(skel->progs.xmasq_nic_first, d->changes_way);
	*err = *err ?: set_maps(skel, d, c, old);
	*err = *err ?: xmasq_bpf__load(skel);
	if (*err) {
		xmasq_bpf__destroy(skel);
		return NULL;
	}
	return skel;
}

/* The same; a kernel that refuses bpf_redirect_rpeer() does not keep the rest from running. */
static struct xmasq_bpf *load(struct datapath *d, const struct config *c, const __be32 *node,
			      unsigned int n_node, const struct xmasq_bpf *old, int *err)
{
	struct xmasq_bpf *skel;

	skel = load_once(d, c, node, n_node, old, err);
	if (!skel && d->kernel.rpeer && c->mode != CONFIG_MODE_VETH) {
		d->kernel.rpeer = false;
		skel = load_once(d, c, node, n_node, old, err);
		if (skel) {
			snprintf(
				d->kernel.rpeer_why, sizeof(d->kernel.rpeer_why),
				"the kernel has bpf_redirect_rpeer() and refuses the program that calls it");
			log_warn("%s; its log is above", d->kernel.rpeer_why);
		}
	}
	if (!skel)
		log_error("cannot load the TC programs: %s; %s", strerror(-*err),
			  datapath_hint(*err));
	return skel;
}

int datapath_probe(struct datapath *d)
{
	struct mode_kernel *k = &d->kernel;
	struct btf *btf;
	int err;

	memset(k, 0, sizeof(*k));
	btf = btf__load_vmlinux_btf();
	err = libbpf_get_error(btf);
	if (err) {
		log_error(
			"cannot read the kernel's type information: %s; /sys/kernel/btf/vmlinux is needed (CONFIG_DEBUG_INFO_BTF)",
			strerror(-err));
		return err;
	}
	k->rpeer = btf__find_by_name_kind(btf, "bpf_redirect_rpeer", BTF_KIND_FUNC) > 0;
	if (!k->rpeer)
		snprintf(k->rpeer_why, sizeof(k->rpeer_why),
			 "the kernel lacks bpf_redirect_rpeer() (see kernel-patch/README.md)");
	k->netkit = btf__find_by_name_kind(btf, "netkit_prog_attach", BTF_KIND_FUNC) > 0;
	if (!k->netkit)
		snprintf(k->netkit_why, sizeof(k->netkit_why),
			 "the kernel lacks netkit (CONFIG_NETKIT, Linux 6.7 and newer)");
	k->tcx = btf__find_by_name_kind(btf, "tcx_prog_attach", BTF_KIND_FUNC) > 0;
	if (!k->tcx)
		snprintf(k->tcx_why, sizeof(k->tcx_why),
			 "the kernel lacks tcx (Linux 6.6 and newer)");
	btf__free(btf);
	return 0;
}

/*
 * The loaded program's instructions, relocated for this kernel and these maps, with the pod's
 * number in the place of the one that stands for it.
 */
int datapath_instance(const struct datapath *d, uint32_t ifindex, int *fd, uint32_t *id)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	const struct bpf_program *prog = d->skel->progs.xmasq_rpeer_egress;
	size_t n = bpf_program__insn_cnt(prog), found = 0;
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	struct bpf_insn *insns;
	int err = 0;

	if (bpf_program__fd(prog) < 0)
		return -EOPNOTSUPP;
	insns = malloc(n * sizeof(*insns));
	if (!insns)
		return -ENOMEM;
	memcpy(insns, bpf_program__insns(prog), n * sizeof(*insns));
	for (size_t i = 0; i + 1 < n; i++) {
		if (insns[i].code != (BPF_LD | BPF_IMM | BPF_DW) || insns[i].src_reg ||
		    (__u32)insns[i].imm != (__u32)XM_INSTANCE_POD ||
		    (__u32)insns[i + 1].imm != (__u32)(XM_INSTANCE_POD >> 32))
			continue;
		insns[i].imm = (__s32)ifindex;
		insns[i + 1].imm = 0;
		found++;
	}
	*fd = found ? bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, prog_names[DATAPATH_RPEER_EGRESS],
				    "GPL", insns, n, &opts)
		    : -EBADMSG;
	free(insns);
	if (*fd < 0)
		return *fd;
	if (bpf_obj_get_info_by_fd(*fd, &info, &len))
		err = -errno;
	*id = info.id;
	if (err)
		close(*fd);
	return err;
}

static size_t page_round(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

static void *map_table(struct bpf_map *map, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

static int map_tables(struct datapath *d)
{
	int err;

	d->n_labels = d->meta.flows;
	d->n_peers = d->meta.peers;
	d->labels_len = page_round(d->n_labels * sizeof(*d->labels));
	d->peers_len = page_round(d->n_peers * sizeof(*d->peers));
	d->labels = map_table(d->skel->maps.xm_labels, d->labels_len);
	if (d->labels)
		d->peers = map_table(d->skel->maps.xm_peers, d->peers_len);
	if (d->peers && !datapath_policy_map(d)) {
		err = datapath_admit_map(d);
		if (!err)
			return 0;
		errno = -err;
	}
	err = -errno;
	log_error("cannot map the tables: %s", strerror(-err));
	return err;
}

static int ring_event(void *ctx, void *data, size_t len)
{
	struct datapath *d = ctx;

	if (len >= sizeof(struct xm_event))
		d->event(d->event_arg, data);
	return 0;
}

static int open_ring(struct datapath *d, struct xmasq_bpf *skel, struct ring_buffer **ring)
{
	*ring = ring_buffer__new(bpf_map__fd(skel->maps.xm_events), ring_event, d, NULL);
	if (!*ring) {
		log_error("cannot open the ring of events: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

static void release(struct datapath *d)
{
	ring_buffer__free(d->ring);
	if (d->labels)
		munmap(d->labels, d->labels_len);
	if (d->peers)
		munmap(d->peers, d->peers_len);
	datapath_policy_unmap(d);
	datapath_admit_unmap(d);
	xmasq_bpf__destroy(d->skel);
	d->ring = NULL;
	d->labels = NULL;
	d->peers = NULL;
	d->skel = NULL;
}

/* What can refuse comes before what changes anything: pins are last. */
static int open_new(struct datapath *d, const struct config *c, const __be32 *node,
		    unsigned int n_node)
{
	__u32 zero = 0;
	int err;

	err = datapath_measure_hz(&d->hz);
	if (err)
		return err;
	d->reused = datapath_pins_fit(d->pin_dir, c, &d->meta);
	if (!d->reused) {
		err = new_meta(&d->meta, c);
		if (err)
			return err;
	}
	d->skel = load(d, c, node, n_node, NULL, &err);
	if (!d->skel)
		return err;
	err = bpf_map_update_elem(bpf_map__fd(d->skel->maps.xm_meta), &zero, &d->meta, BPF_ANY);
	if (err) {
		err = -errno;
		log_error("cannot write xm_meta: %s", strerror(-err));
		return err;
	}
	err = map_tables(d);
	err = err ?: open_ring(d, d->skel, &d->ring);
	if (err)
		return err;
	err = datapath_clock(d);
	if (err) {
		log_error("cannot run the clock program: %s; %s", strerror(-err),
			  datapath_hint(err));
		return err;
	}
	err = d->reused ? datapath_admit_all(d) : datapath_pins_renew(d);
	if (!err)
		datapath_pins_progs(d);
	return err;
}

int datapath_open(struct datapath *d, const struct config *c, const __be32 *node,
		  unsigned int n_node, datapath_event_fn event, void *arg)
{
	int err;

	d->event = event;
	d->event_arg = arg;
	err = open_new(d, c, node, n_node);
	if (err) {
		release(d);
		return err;
	}
	log_info("%s tables under %s: %u flows, %u peers, epoch %08x",
		 d->reused ? "took over" : "made", d->pin_dir, d->meta.flows, d->meta.peers,
		 d->meta.epoch);
	return 0;
}

int datapath_reload(struct datapath *d, const struct config *c, const __be32 *node,
		    unsigned int n_node)
{
	struct ring_buffer *ring;
	struct xmasq_bpf *skel;
	struct xm_clock clock;
	int err;

	skel = load(d, c, node, n_node, d->skel, &err);
	if (!skel)
		return err;
	err = datapath_run_clock(skel, &clock);
	if (err)
		log_error("cannot run the clock program: %s; %s", strerror(-err),
			  datapath_hint(err));
	err = err ?: open_ring(d, skel, &ring);
	if (err) {
		xmasq_bpf__destroy(skel);
		return err;
	}
	/* From here on nothing fails: the new programs are what @d stands for. */
	ring_buffer__free(d->ring);
	xmasq_bpf__destroy(d->skel);
	d->ring = ring;
	d->skel = skel;
	d->clock = clock;
	datapath_local_until(d, d->local_ms);
	datapath_pins_progs(d);
	datapath_repin(d);
	return 0;
}

void datapath_close(struct datapath *d)
{
	release(d);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	d->lock_fd = -1;
}

int datapath_event_fd(const struct datapath *d)
{
	return ring_buffer__epoll_fd(d->ring);
}

int datapath_poll(struct datapath *d)
{
	int n = ring_buffer__consume(d->ring);

	return n < 0 ? n : 0;
}
