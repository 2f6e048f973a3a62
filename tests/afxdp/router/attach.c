// SPDX-License-Identifier: GPL-2.0-only
#include "attach.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
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

/* Return: a descriptor of a killed router's program that is alone on the interface, or -1. */
static int lone_leftover(int ifindex)
{
	struct xdp_multiprog *mp = xdp_multiprog__get_from_ifindex(ifindex);
	struct xdp_program *p;
	int fd = -1;

	if (libxdp_get_error(mp))
		return -1;
	p = xdp_multiprog__is_legacy(mp) ? xdp_multiprog__main_prog(mp) : NULL;
	if (p && !strcmp(xdp_program__name(p), PROGRAM))
		fd = bpf_prog_get_fd_by_id(xdp_program__id(p));
	xdp_multiprog__close(mp);
	return fd;
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
	int old_fd = -1, err;

	*result = NULL;
	if (!a)
		return -ENOMEM;
	a->ifindex = c->ifindex;
	a->mode = c->skb ? XDP_MODE_SKB : XDP_MODE_NATIVE;
	a->skel = xsk_front_bpf__open();
	if (!a->skel) {
		err = -errno;
		log_error("cannot read the XDP program: %s", strerror(-err));
		goto cleanup;
	}
	a->skel->rodata->front_addr = c->addr;
	a->skel->rodata->front_drop_fragments = c->drop_fragments;
	a->skel->rodata->front_drop_others = c->drop_others;
	old_fd = lone_leftover(c->ifindex);
	if (old_fd >= 0) {
		err = replace(a, old_fd);
		close(old_fd);
	} else {
		a->prog = xdp_program__from_bpf_obj(a->skel->obj, SECTION);
		err = (int)libxdp_get_error(a->prog);
		if (err)
			a->prog = NULL;
		else
			err = xdp_program__attach(a->prog, c->ifindex, a->mode, 0);
	}
	if (err) {
		explain(c, err);
		goto cleanup;
	}
	a->attached = true;
	*result = a;
	return 0;
cleanup:
	attach_close(a);
	return err;
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
	xdp_program__close(a->prog);
	xsk_front_bpf__destroy(a->skel);
	free(a);
}
