/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Our program on a netkit pair: what the pod sends, run before it leaves the pod's end and
 * as if it came from the host side.
 *
 * The kernel keeps a list of programs for each end. Ours goes to the front, as on other
 * hooks (tc.priority), and is known by its name: it starts with "xmasq_". Programs of
 * others are neither replaced nor removed. Like a filter, an attached program outlives the
 * daemon and goes with the interface.
 *
 * libbpf knows netkit since 1.3, and Debian 12 has 1.1: bpf(2) is called directly.
 */
#ifndef XM_NETKIT_H
#define XM_NETKIT_H

#include <stdint.h>

struct tc_error;

/**
 * netkit_attach() - make a loaded TC program run on what the pod sends
 * @ifindex: the pair's primary end, in the current namespace
 * @prog_fd: stays the caller's
 * @err: filled on failure
 *
 * An older program of ours is replaced atomically.
 *
 * Return: 0; -ENODEV when the interface is gone; or -errno.
 */
int netkit_attach(uint32_t ifindex, int prog_fd, struct tc_error *err);

/** netkit_detach() - remove our program; 0, also when there is none, or -errno */
int netkit_detach(uint32_t ifindex);

/** netkit_query() - id of our program; 0, -ENOENT when there is none, or -errno */
int netkit_query(uint32_t ifindex, uint32_t *prog_id);

#endif
