/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Our program in the list of programs that a device's hook has: tcx of any interface, netkit.
 *
 * The kernel runs the list in its order until a program decides; behind tcx come the filters.
 * Ours goes to the front, and an older one of ours is replaced where it stands. It is known by
 * its name, as filters of ours are (tc.h); programs of others are neither replaced nor removed,
 * nor moved. Like a filter, an attached program outlives the daemon and goes with the
 * interface. Nobody is told when one is removed.
 *
 * libbpf knows tcx and netkit since 1.3, and Debian 12 has 1.1: bpf(2) is called directly.
 *
 * Every call works in the network namespace that the calling thread is in.
 */
#ifndef XM_MPROG_H
#define XM_MPROG_H

#include <stdbool.h>
#include <stdint.h>

struct tc_error;

/* enum bpf_attach_type of include/uapi/linux/bpf.h, which Debian 12's headers (6.1) lack. */
enum mprog_hook {
	MPROG_TCX_INGRESS = 46, /* Linux 6.6 */
	MPROG_TCX_EGRESS = 47,
	MPROG_NETKIT_PEER = 55, /* Linux 6.7: what the pod sends, at the primary end of the pair */
};

/**
 * mprog_attach() - make a loaded TC program run on a hook
 * @inside: the hook is a pod's own: see tc_look_our_prog()
 * @prog_fd: stays the caller's
 * @err: filled on failure
 *
 * An older program of ours is replaced atomically; when it is this very program, nothing is done.
 *
 * Return: 0; -ENODEV when the interface is gone; -EINVAL or -EOPNOTSUPP when the kernel or the
 * interface has no such hook; -ERANGE when the list is full; or -errno.
 */
int mprog_attach(uint32_t ifindex, enum mprog_hook hook, bool inside, int prog_fd,
		 struct tc_error *err);

/**
 * mprog_detach() - remove every program of ours from a hook
 * Return: how many, 0 also when interface or hook is not there; or -errno.
 */
int mprog_detach(uint32_t ifindex, enum mprog_hook hook, bool inside);

/**
 * mprog_query() - id of our program
 * Return: 0; -ENOENT when there is none, or no such interface or hook; or -errno.
 */
int mprog_query(uint32_t ifindex, enum mprog_hook hook, bool inside, uint32_t *prog_id);

#endif
