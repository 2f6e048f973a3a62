/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a pod's packets are met: which mode for which pod, and how programs get there. Pure.
 *
 *   rpeer   container-side veth, TC egress, inside the pod's namespace: no queue between
 *           pod and NIC. Needs bpf_redirect_rpeer() of the kernel patch
 *   netkit  the pod's netkit pair runs the program itself. Needs Linux 6.7, no patch
 *   veth    host-side interface, TC ingress: works with every kernel and every pair
 *
 * What is configured is a preference for the node; what a pod gets depends on its interface,
 * too, so that nodes with both kinds of pairs work. "auto", "rpeer" and "netkit" give each pod
 * the best there is; the latter two refuse to start when the kernel lacks what they name.
 */
#ifndef XM_MODE_H
#define XM_MODE_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "nl.h"

#define MODE_WHY 192

/**
 * struct mode_kernel - what the running kernel offers, found out by trying
 * @rpeer: the program that calls bpf_redirect_rpeer() is loaded, or may be
 * @netkit: programs can be attached to netkit pairs
 * @tcx: programs can be attached with tcx
 * @rpeer_why: why not, for people
 * @netkit_why: why not
 * @tcx_why: why not
 */
struct mode_kernel {
	bool rpeer;
	bool netkit;
	bool tcx;
	char rpeer_why[MODE_WHY];
	char netkit_why[MODE_WHY];
	char tcx_why[MODE_WHY];
};

/** mode_of_link() - VETH, RPEER or NETKIT for one pod interface */
enum config_mode mode_of_link(enum config_mode wanted, const struct mode_kernel *k,
			      const struct nl_link *l);

/**
 * mode_missing() - why the configured mode is not possible here
 * Return: NULL when it is.
 */
const char *mode_missing(enum config_mode wanted, const struct mode_kernel *k);

/**
 * mode_of_node() - the one word for a whole node: what a veth pod gets, or netkit when there
 * are only netkit pods
 * @netkit_pods: pods in mode netkit
 * @other_pods: all other pods
 * @why: explanation for people, @max bytes
 */
enum config_mode mode_of_node(enum config_mode wanted, const struct mode_kernel *k,
			      unsigned int netkit_pods, unsigned int other_pods, char *why,
			      size_t max);

/**
 * mode_attach() - TCX or FILTER: how programs are attached
 * @why: explanation for people, @max bytes
 */
enum config_attach mode_attach(enum config_attach wanted, const struct mode_kernel *k, char *why,
			       size_t max);

#endif
