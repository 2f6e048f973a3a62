// SPDX-License-Identifier: GPL-2.0-only
#include "attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#include "log.h"
#include "xsk_front.skel.h"

#define SECTION "xdp"
#define PROGRAM "xsk_front"

struct attach {
	struct xsk_front_bpf *skel;
	struct xdp_program *prog;
	enum xdp_attach_mode mode;
	int ifindex;
	int flows_fd; /* map of flows, or -1 */
	struct nat_flow *flows;
	size_t flows_size;
	bool attached;
	bool direct; /* without libxdp: in the place of a killed router's program */
};

static void explain(const struct attach_config *c, int err)
{
	const char *mode = c->skb ? "generic" : "native";

	switch (err) {
	case -EBUSY:
	case -EEXIST:
		log_error(
			"%s: another XDP program is there that does not share (not libxdp's), and is "
			"left alone; `ip link set %s xdp off` would remove it",
			c->interface, c->interface);
		break;
	case -EPERM:
	case -EACCES:
		log_error("%s: may not attach an XDP program: needs CAP_NET_ADMIN, CAP_BPF and "
			  "CAP_PERFMON",
			  c->interface);
		break;
	case -ERANGE:
	case -EINVAL:
		log_error("%s: no %s XDP (%s): the MTU of its peer may be too large for it; "
			  "3498 is the most for veth",
			  c->interface, mode, strerror(-err));
		break;
	default:
		log_error("%s: no %s XDP: %s", c->interface, mode, strerror(-err));
	}
}

/* Return: a descriptor of the map of flows of program @id, with @flows the number of them, or -1. */
static int map_of(__u32 id, uint32_t *flows)
{
	__u32 ids[16], i, len;
	struct bpf_prog_info prog = { .nr_map_ids = 16, .map_ids = (uintptr_t)ids };
	struct bpf_map_info map;
	int fd = bpf_prog_get_fd_by_id(id), err;

	if (fd < 0)
		return -1;
	len = sizeof(prog);
	err = bpf_obj_get_info_by_fd(fd, &prog, &len);
	close(fd);
	for (i = 0; !err && i < prog.nr_map_ids && i < 16; i++) {
		fd = bpf_map_get_fd_by_id(ids[i]);
		if (fd < 0)
			continue;
		memset(&map, 0, sizeof(map));
		len = sizeof(map);
		if (!bpf_obj_get_info_by_fd(fd, &map, &len) && !strcmp(map.name, NAT_LAYOUT) &&
		    map.type == BPF_MAP_TYPE_ARRAY && map.map_flags & BPF_F_MMAPABLE &&
		    map.value_size == sizeof(struct nat_flow)) {
			*flows = map.max_entries;
			return fd;
		}
		close(fd);
	}
	return -1;
}

/* What a killed router left. */
struct leftover {
	int prog_fd; /* its program, when that is alone on the interface, or -1 */
	int map_fd;  /* its flows, or -1 */
	uint32_t flows;
};

static void find_leftover(int ifindex, struct leftover *old)
{
	struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex(ifindex);
	struct xdp_program *p = NULL;

	*old = (struct leftover){ .prog_fd = -1, .map_fd = -1 };
	if (libxdp_get_error(mp))
		return;
	if (xdp_multiprog__is_legacy(mp)) {
		p = xdp_multiprog__main_prog(mp);
		if (p && !strcmp(xdp_program__name(p), PROGRAM)) {
			old->prog_fd = bpf_prog_get_fd_by_id(xdp_program__id(p));
			old->map_fd = map_of(xdp_program__id(p), &old->flows);
		}
	} else {
		while (old->map_fd < 0 && (p = xdp_multiprog__next_prog(p, mp)))
			if (!strcmp(xdp_program__name(p), PROGRAM))
				old->map_fd = map_of(xdp_program__id(p), &old->flows);
	}
	xdp_multiprog__close(mp);
}

static struct nat_flow *map_flows(int fd, uint32_t n)
{
	void *at =
		mmap(NULL, n * sizeof(struct nat_flow), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Without a map the router works, too, and what it knows dies with it. */
static void open_flows(struct attach *a, const struct attach_config *c, struct leftover *old)
{
	struct bpf_map_create_opts opts = { .sz = sizeof(opts), .map_flags = BPF_F_MMAPABLE };
	uint32_t n = old->flows < c->flows ? old->flows : c->flows;
	struct nat_flow *from;

	a->flows_size = c->flows * sizeof(*a->flows);
	if (old->map_fd >= 0 && old->flows == c->flows) {
		a->flows_fd = old->map_fd;
		old->map_fd = -1;
	} else {
		a->flows_fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, NAT_LAYOUT, sizeof(__u32),
					     sizeof(struct nat_flow), c->flows, &opts);
	}
	if (a->flows_fd >= 0)
		a->flows = map_flows(a->flows_fd, c->flows);
	if (!a->flows) {
		log_warn("%s: no map for %u flows (%s): those whose port is changed will not "
			 "outlive this process",
			 c->interface, c->flows, strerror(errno));
		return;
	}
	from = old->map_fd >= 0 ? map_flows(old->map_fd, old->flows) : NULL;
	if (from) {
		memcpy(a->flows, from, n * sizeof(*from));
		munmap(from, old->flows * sizeof(*from));
	}
}

/* From now on the map stays as long as the program does. */
static void keep_flows(struct attach *a, int prog_fd)
{
	if (a->flows && bpf_prog_bind_map(prog_fd, a->flows_fd, NULL) && errno != EEXIST)
		log_warn("flows whose port is changed will not outlive this process: %s",
			 strerror(errno));
}

static __u32 flags_of(const struct attach *a)
{
	return a->mode == XDP_MODE_SKB ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE;
}

/*
 * Without a moment in which the kernel gets the packets: it would reset the connections. libxdp can
 * do that only where it has its dispatcher.
 */
static int replace(struct attach *a, int old_fd)
{
	struct bpf_xdp_attach_opts opts = { .sz = sizeof(opts), .old_prog_fd = old_fd };
	int err = xsk_front_bpf__load(a->skel);

	if (err)
		return err;
	a->direct = true;
	/* Before, since this router may be killed, too. */
	keep_flows(a, bpf_program__fd(a->skel->progs.xsk_front));
	return bpf_xdp_attach(a->ifindex, bpf_program__fd(a->skel->progs.xsk_front), flags_of(a),
			      &opts);
}

static int detach(struct attach *a)
{
	struct bpf_xdp_attach_opts opts = { .sz = sizeof(opts) };

	if (!a->direct)
		return xdp_program__detach(a->prog, a->ifindex, a->mode, 0);
	opts.old_prog_fd = bpf_program__fd(a->skel->progs.xsk_front);
	return bpf_xdp_detach(a->ifindex, flags_of(a), &opts);
}

int attach_open(struct attach **result, const struct attach_config *c)
{
	struct attach *a = calloc(1, sizeof(*a));
	struct leftover old = { .prog_fd = -1, .map_fd = -1 };
	int err;

	*result = NULL;
	if (!a)
		return -ENOMEM;
	a->flows_fd = -1;
	a->ifindex = c->ifindex;
	a->mode = c->skb ? XDP_MODE_SKB : XDP_MODE_NATIVE;
	a->skel = xsk_front_bpf__open();
	if (!a->skel) {
		err = -errno ?: -EINVAL;
		log_error("cannot read the XDP program: %s", strerror(-err));
		goto cleanup;
	}
	a->skel->rodata->front_addr = c->addr;
	a->skel->rodata->front_drop_fragments = c->drop_fragments;
	a->skel->rodata->front_drop_others = c->drop_others;
	find_leftover(c->ifindex, &old);
	open_flows(a, c, &old);
	if (old.prog_fd >= 0) {
		err = replace(a, old.prog_fd);
	} else {
		a->prog = xdp_program__from_bpf_obj(a->skel->obj, SECTION);
		err = (int)libxdp_get_error(a->prog);
		if (err)
			a->prog = NULL;
		else
			err = xdp_program__attach(a->prog, c->ifindex, a->mode, 0);
		/* Only now it is loaded. */
		if (!err)
			keep_flows(a, xdp_program__fd(a->prog));
	}
	if (err) {
		explain(c, err);
		goto cleanup;
	}
	a->attached = true;
	*result = a;
	a = NULL;
cleanup:
	if (old.prog_fd >= 0)
		close(old.prog_fd);
	if (old.map_fd >= 0)
		close(old.map_fd);
	attach_close(a);
	return err;
}

struct nat_flow *attach_flows(const struct attach *a)
{
	return a->flows;
}

int attach_leftovers(struct attach *a)
{
	struct xdp_program *p = NULL, *old[8];
	struct xdp_multiprog *mp;
	int n = 0, i, err = 0;

	if (a->direct)
		return 1;
	mp = xdp_multiprog__get_from_ifindex(a->ifindex);
	if (libxdp_get_error(mp))
		return 0;
	while (n < 8 && (p = xdp_multiprog__next_prog(p, mp))) {
		if (strcmp(xdp_program__name(p), PROGRAM) ||
		    xdp_program__id(p) == xdp_program__id(a->prog))
			continue;
		old[n] = xdp_program__from_id(xdp_program__id(p));
		if (!libxdp_get_error(old[n]))
			n++;
	}
	xdp_multiprog__close(mp);
	for (i = 0; i < n; i++) {
		err = xdp_program__detach(old[i], a->ifindex, a->mode, 0);
		if (err)
			log_warn("a program that a killed xsk-router left cannot be removed: %s",
				 strerror(-err));
		xdp_program__close(old[i]);
	}
	return n;
}

int attach_socket(struct attach *a, uint32_t queue, int fd)
{
	if (bpf_map_update_elem(bpf_map__fd(a->skel->maps.front_sockets), &queue, &fd, 0))
		return -errno;
	return 0;
}

void attach_counts(const struct attach *a, uint64_t counts[FRONT_COUNTS])
{
	int fd = bpf_map__fd(a->skel->maps.front_counts), cpus = libbpf_num_possible_cpus(), cpu;
	__u64 *values;
	__u32 key;

	memset(counts, 0, FRONT_COUNTS * sizeof(*counts));
	values = cpus > 0 ? calloc((size_t)cpus, sizeof(*values)) : NULL;
	if (!values)
		return;
	for (key = 0; key < FRONT_COUNTS; key++) {
		if (bpf_map_lookup_elem(fd, &key, values))
			continue;
		for (cpu = 0; cpu < cpus; cpu++)
			counts[key] += values[cpu];
	}
	free(values);
}

void attach_close(struct attach *a)
{
	int err;

	if (!a)
		return;
	if (a->attached) {
		err = detach(a);
		if (err)
			log_warn("cannot take the XDP program off: %s", strerror(-err));
	}
	if (a->flows)
		munmap(a->flows, a->flows_size);
	if (a->flows_fd >= 0)
		close(a->flows_fd);
	xdp_program__close(a->prog);
	xsk_front_bpf__destroy(a->skel);
	free(a);
}
