// SPDX-License-Identifier: GPL-2.0-only
#include "datapath.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <time.h>
#include <unistd.h>

#include "hello.h"
#include "log.h"
#include "rng.h"
#include "xmasq.skel.h"

/* A label's slot rests until the other node, which may use the label for one ingress lease
 * after it was last told, has stopped, and its last packets have arrived. */
#define QUARANTINE_MIN_MS 5000

/* Time over which the clock's rate is measured, enough to tell HZ=250 from HZ=300. */
#define HZ_SAMPLE_MS 120

static const char *const pinned_maps[] = {
	"xm_flows", "xm_labels", "xm_peer_idx", "xm_peers", "xm_pods", "xm_counters", "xm_meta",
};

static const char *const prog_names[DATAPATH_PROGS] = {
	[DATAPATH_POD_EGRESS] = "xmasq_pod_egress",
	[DATAPATH_POD_INGRESS] = "xmasq_pod_ingress",
	[DATAPATH_NIC_EGRESS] = "xmasq_nic_egress",
	[DATAPATH_NIC_INGRESS] = "xmasq_nic_ingress",
};

const char *datapath_prog_name(enum datapath_prog which)
{
	return prog_names[which];
}

static struct bpf_program *prog_of(const struct datapath *d, enum datapath_prog which)
{
	return bpf_object__find_program_by_name(d->skel->obj, prog_names[which]);
}

int datapath_prog_fd(const struct datapath *d, enum datapath_prog which)
{
	return bpf_program__fd(prog_of(d, which));
}

int datapath_prog_info(const struct datapath *d, enum datapath_prog which, uint32_t *id,
		       uint32_t *insns)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	int err;

	err = bpf_obj_get_info_by_fd(datapath_prog_fd(d, which), &info, &len);
	if (err)
		return -errno;
	*id = info.id;
	*insns = info.xlated_prog_len / sizeof(struct bpf_insn);
	return 0;
}

static void pin_path(char *buf, size_t len, const char *dir, const char *name)
{
	snprintf(buf, len, "%s/%s", dir, name);
}

/* ---- pins ---- */

static int make_pin_dir(const char *dir)
{
	struct statfs fs;

	if (mkdir(dir, 0700) && errno != EEXIST) {
		log_error(
			"cannot make pin_dir %s: %s; is bpffs mounted (mount -t bpf bpf /sys/fs/bpf)?",
			dir, strerror(errno));
		return -errno;
	}
	if (statfs(dir, &fs)) {
		log_error("cannot look at pin_dir %s: %s", dir, strerror(errno));
		return -errno;
	}
	if ((unsigned long)fs.f_type != BPF_FS_MAGIC) {
		log_error(
			"pin_dir %s is not on a bpffs; mount one (mount -t bpf bpf /sys/fs/bpf) or set pin_dir below it",
			dir);
		rmdir(dir);
		return -EINVAL;
	}
	return 0;
}

int datapath_unpin(const char *pin_dir)
{
	char path[CONFIG_PATH_MAX + 32];
	int err = 0;

	for (size_t i = 0; i < XM_ARRAY_SIZE(pinned_maps); i++) {
		pin_path(path, sizeof(path), pin_dir, pinned_maps[i]);
		if (unlink(path) && errno != ENOENT && errno != ENOTDIR)
			err = -errno;
	}
	for (size_t i = 0; i < XM_ARRAY_SIZE(prog_names); i++) {
		pin_path(path, sizeof(path), pin_dir, prog_names[i]);
		if (unlink(path) && errno != ENOENT && errno != ENOTDIR)
			err = -errno;
	}
	if (rmdir(pin_dir) && errno != ENOENT && errno != ENOTEMPTY)
		err = -errno;
	if (err)
		log_error("cannot remove pins under %s: %s", pin_dir, strerror(-err));
	return err;
}

/* Whether the pins are of this layout and these sizes, all of them there. */
static bool pins_fit(const char *dir, const struct config *c, struct xm_meta *meta)
{
	char path[CONFIG_PATH_MAX + 32];
	__u32 zero = 0;
	int fd, err;

	for (size_t i = 0; i < XM_ARRAY_SIZE(pinned_maps); i++) {
		pin_path(path, sizeof(path), dir, pinned_maps[i]);
		if (access(path, F_OK))
			return false;
	}
	pin_path(path, sizeof(path), dir, "xm_meta");
	fd = bpf_obj_get(path);
	if (fd < 0)
		return false;
	err = bpf_map_lookup_elem(fd, &zero, meta);
	close(fd);
	if (err)
		return false;
	return meta->layout == XM_LAYOUT && meta->flows == c->flows && meta->peers == c->peers &&
	       meta->masq_port == c->masquerade_port && meta->epoch;
}

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

static int pin_progs(struct datapath *d)
{
	char path[CONFIG_PATH_MAX + 32], tmp[CONFIG_PATH_MAX + 40];
	int err;

	for (unsigned int i = 0; i < DATAPATH_PROGS; i++) {
		pin_path(path, sizeof(path), d->pin_dir, prog_names[i]);
		/* bpffs cannot rename over an old pin, and a pin cannot be replaced. */
		unlink(path);
		err = bpf_program__pin(prog_of(d, i), path);
		if (err) {
			snprintf(tmp, sizeof(tmp), "%s", path);
			log_error("cannot pin program at %s: %s", tmp, strerror(-err));
			return err;
		}
	}
	return 0;
}

/* ---- clock ---- */

static int run_clock(struct xmasq_bpf *skel, struct xm_clock *clock)
{
	uint8_t frame[64] = {};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));
	int err;

	err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.xmasq_clock), &opts);
	if (err)
		return err < 0 ? err : -errno;
	*clock = skel->bss->xm_clock;
	return 0;
}

int datapath_clock(struct datapath *d)
{
	return run_clock(d->skel, &d->clock);
}

/* The kernel's HZ is nowhere to be read for certain; the two clocks tell. */
static int measure_hz(struct xmasq_bpf *skel, uint32_t *hz)
{
	static const uint32_t known[] = { 100, 250, 300, 1000 };
	struct timespec ts = { .tv_nsec = HZ_SAMPLE_MS * 1000000L };
	struct xm_clock a, b;
	double rate, best = 1e9;
	int err;

	err = run_clock(skel, &a);
	if (err)
		return err;
	nanosleep(&ts, NULL);
	err = run_clock(skel, &b);
	if (err)
		return err;
	rate = (double)(b.jiffies - a.jiffies) * 1e9 / (double)(b.ns - a.ns);
	for (size_t i = 0; i < XM_ARRAY_SIZE(known); i++) {
		double off = rate > known[i] ? rate / known[i] : known[i] / (rate + 1e-9);

		if (off < best) {
			best = off;
			*hz = known[i];
		}
	}
	log_debug("jiffies advance at %.0f a second: HZ=%u", rate, *hz);
	return 0;
}

uint64_t datapath_jiffies(const struct datapath *d, uint64_t ms)
{
	int64_t ns = (int64_t)(ms * 1000000) - (int64_t)d->clock.ns;

	return d->clock.jiffies + ns / (int64_t)(1000000000u / d->hz);
}

int64_t datapath_ms_left(const struct datapath *d, uint32_t until)
{
	return (int64_t)(int32_t)(until - (uint32_t)d->clock.jiffies) * 1000 / d->hz;
}

static uint32_t ms_to_j(uint32_t ms, uint32_t hz)
{
	uint32_t j = (uint32_t)((uint64_t)ms * hz / 1000);

	return j ? j : 1;
}

/* ---- loading ---- */

/* See docs/datapath.md, "Leases", for why these fractions. */
static void fill_config(struct xm_config *x, const struct config *c, const struct xm_meta *m,
			uint32_t hz, const __be32 *node, unsigned int n_node)
{
	memset(x, 0, sizeof(*x));
	x->mark = m->mark;
	x->seed = m->seed;
	x->lease = ms_to_j(c->lease_ms, hz);
	x->in_lease = ms_to_j(c->lease_ms + c->lease_ms / 4, hz);
	x->renew = ms_to_j(c->lease_ms / 2, hz);
	x->retry = ms_to_j(c->lease_ms / 8, hz);
	x->quarantine = ms_to_j(
		c->lease_ms * 2 > QUARANTINE_MIN_MS ? c->lease_ms * 2 : QUARANTINE_MIN_MS, hz);
	x->second = hz;
	x->label_mask = m->flows - 1;
	x->masq_port = htobe16(c->masquerade_port);
	for (unsigned int i = 0; i < c->n_overlay && i < XM_OVERLAYS_MAX; i++)
		x->overlay[i] = c->overlay[i];
	for (unsigned int i = 0; i < n_node && i < XM_NODES_MAX; i++)
		x->node[i] = node[i];
}

static int set_maps(struct xmasq_bpf *skel, const struct config *c, const char *dir)
{
	char path[CONFIG_PATH_MAX + 32];
	struct bpf_map *map;
	int err = 0;

	err = err ?: bpf_map__set_max_entries(skel->maps.xm_flows, c->flows);
	err = err ?: bpf_map__set_max_entries(skel->maps.xm_labels, c->flows);
	err = err ?: bpf_map__set_max_entries(skel->maps.xm_peer_idx, c->peers);
	err = err ?: bpf_map__set_max_entries(skel->maps.xm_peers, c->peers);
	for (size_t i = 0; !err && i < XM_ARRAY_SIZE(pinned_maps); i++) {
		map = bpf_object__find_map_by_name(skel->obj, pinned_maps[i]);
		pin_path(path, sizeof(path), dir, pinned_maps[i]);
		err = map ? bpf_map__set_pin_path(map, path) : -ENOENT;
	}
	return err;
}

/* One load: skeleton with all constants set. The rate of jiffies must be known first, so
 * the very first load of a daemon runs the clock program and is thrown away. */
static int load(struct xmasq_bpf **out, const struct config *c, const char *dir,
		const struct xm_meta *m, uint32_t hz, const __be32 *node, unsigned int n_node)
{
	struct xmasq_bpf *skel;
	struct xm_config x;
	int err;

	skel = xmasq_bpf__open();
	if (!skel) {
		err = -errno;
		log_error("cannot open the TC programs: %s", strerror(-err));
		return err;
	}
	fill_config(&x, c, m, hz, node, n_node);
	memcpy((void *)&skel->rodata->cfg, &x, sizeof(x));
	err = set_maps(skel, c, dir);
	if (!err)
		err = xmasq_bpf__load(skel);
	if (err) {
		log_error(
			"the kernel refuses the TC programs: %s; see the messages above, kernel 5.15 or newer with BTF is needed",
			strerror(-err));
		xmasq_bpf__destroy(skel);
		return err;
	}
	*out = skel;
	return 0;
}

static int load_clock_only(uint32_t *hz)
{
	struct xmasq_bpf *skel;
	struct bpf_program *prog;
	struct bpf_map *map;
	int err;

	skel = xmasq_bpf__open();
	if (!skel)
		return -errno;
	bpf_object__for_each_program(prog, skel->obj)
		bpf_program__set_autoload(prog, prog == skel->progs.xmasq_clock);
	bpf_object__for_each_map(map, skel->obj)
		if (!bpf_map__is_internal(map))
			bpf_map__set_autocreate(map, false);
	err = xmasq_bpf__load(skel);
	if (!err)
		err = measure_hz(skel, hz);
	xmasq_bpf__destroy(skel);
	if (err)
		log_error(
			"cannot run a BPF program: %s; xmasqd needs root (CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON)",
			strerror(-err));
	return err;
}

void datapath_wait_quiet(const char *pin_dir)
{
	char path[CONFIG_PATH_MAX + 32];
	struct timespec ts = {
		.tv_sec = XM_HELLO_MISSES * XM_HELLO_PERIOD_MS / 1000,
		.tv_nsec = XM_HELLO_MISSES * XM_HELLO_PERIOD_MS % 1000 * 1000000L,
	};
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	bool peers = false;
	int fd;

	pin_path(path, sizeof(path), pin_dir, "xm_peers");
	fd = bpf_obj_get(path);
	if (fd < 0)
		return;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) || info.value_size != sizeof(struct xm_peer))
		info.max_entries = 0;
	for (__u32 i = 0; i < info.max_entries; i++) {
		struct xm_peer p;

		if (bpf_map_lookup_elem(fd, &i, &p) || !p.used)
			continue;
		p.up_until[XM_TCP] = 0;
		p.up_until[XM_UDP] = 0;
		bpf_map_update_elem(fd, &i, &p, BPF_ANY);
		peers = true;
	}
	close(fd);
	if (!peers)
		return;
	log_info("waiting %u s for peers to notice that we leave",
		 XM_HELLO_MISSES * XM_HELLO_PERIOD_MS / 1000);
	nanosleep(&ts, NULL);
}

static void *map_table(struct bpf_map *map, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	return p == MAP_FAILED ? NULL : p;
}

static size_t page_round(size_t len)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (len + page - 1) / page * page;
}

struct ring_arg {
	datapath_event_fn fn;
	void *arg;
};

/* One daemon, one ring. */
static struct ring_arg ring_arg;

static int ring_event(void *ctx, void *data, size_t len)
{
	struct ring_arg *a = ctx;

	if (len >= sizeof(struct xm_event))
		a->fn(a->arg, data);
	return 0;
}

static int open_ring(struct ring_buffer **ring, struct xmasq_bpf *skel, datapath_event_fn event,
		     void *arg)
{
	ring_arg.fn = event;
	ring_arg.arg = arg;
	*ring = ring_buffer__new(bpf_map__fd(skel->maps.xm_events), ring_event, &ring_arg, NULL);
	if (!*ring) {
		log_error("cannot open the ring of events: %s", strerror(errno));
		return -errno;
	}
	return 0;
}

int datapath_open(struct datapath *d, const struct config *c, const __be32 *node,
		  unsigned int n_node, datapath_event_fn event, void *arg)
{
	__u32 zero = 0;
	int err;

	memset(d, 0, sizeof(*d));
	snprintf(d->pin_dir, sizeof(d->pin_dir), "%s", c->pin_dir);
	err = make_pin_dir(d->pin_dir);
	if (err)
		return err;
	err = load_clock_only(&d->hz);
	if (err)
		return err;
	d->reused = pins_fit(d->pin_dir, c, &d->meta);
	if (!d->reused) {
		datapath_unpin(d->pin_dir);
		err = make_pin_dir(d->pin_dir);
		if (err)
			return err;
		err = new_meta(&d->meta, c);
		if (err)
			return err;
	}
	err = load(&d->skel, c, d->pin_dir, &d->meta, d->hz, node, n_node);
	if (err)
		return err;
	err = bpf_map_update_elem(bpf_map__fd(d->skel->maps.xm_meta), &zero, &d->meta, BPF_ANY);
	if (err) {
		err = -errno;
		log_error("cannot write xm_meta: %s", strerror(-err));
		goto fail;
	}
	d->n_labels = c->flows;
	d->n_peers = c->peers;
	d->labels_len = page_round(d->n_labels * sizeof(*d->labels));
	d->peers_len = page_round(d->n_peers * sizeof(*d->peers));
	d->labels = map_table(d->skel->maps.xm_labels, d->labels_len);
	d->peers = map_table(d->skel->maps.xm_peers, d->peers_len);
	if (!d->labels || !d->peers) {
		err = -errno;
		log_error("cannot map the tables: %s", strerror(-err));
		goto fail;
	}
	err = pin_progs(d);
	if (err)
		goto fail;
	err = open_ring(&d->ring, d->skel, event, arg);
	if (err)
		goto fail;
	err = datapath_clock(d);
	if (err)
		goto fail;
	log_info("%s tables under %s: %u flows, %u peers, epoch %08x",
		 d->reused ? "took over" : "made", d->pin_dir, d->meta.flows, d->meta.peers,
		 d->meta.epoch);
	return 0;
fail:
	datapath_close(d);
	return err;
}

int datapath_reload(struct datapath *d, const struct config *c, const __be32 *node,
		    unsigned int n_node, datapath_event_fn event, void *arg)
{
	struct ring_buffer *ring;
	struct xmasq_bpf *skel;
	int err;

	err = load(&skel, c, d->pin_dir, &d->meta, d->hz, node, n_node);
	if (err)
		return err;
	err = open_ring(&ring, skel, event, arg);
	if (err) {
		xmasq_bpf__destroy(skel);
		return err;
	}
	ring_buffer__free(d->ring);
	xmasq_bpf__destroy(d->skel);
	d->ring = ring;
	d->skel = skel;
	err = pin_progs(d);
	return err ?: datapath_clock(d);
}

void datapath_close(struct datapath *d)
{
	ring_buffer__free(d->ring);
	if (d->labels)
		munmap(d->labels, d->labels_len);
	if (d->peers)
		munmap(d->peers, d->peers_len);
	xmasq_bpf__destroy(d->skel);
	d->ring = NULL;
	d->labels = NULL;
	d->peers = NULL;
	d->skel = NULL;
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
