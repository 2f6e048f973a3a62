/* SPDX-License-Identifier: GPL-2.0-only */
/* What filters and qdiscs an interface has, ours and others'. Changes nothing. */
#ifndef XM_TC_LOOK_H
#define XM_TC_LOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "nl.h"
#include "tc.h"

#define TC_LOOK_PREFIX	      "xmasq_"
#define TC_LOOK_PREFIX_INSIDE "xmasq_rpeer"

/**
 * tc_look_filters() - call @fn for each filter of one direction of a clsact qdisc
 * @fn: returns 0, or -errno to end the walk with it
 * Return: 0, also when there is no such qdisc or interface; or -errno.
 */
int tc_look_filters(uint32_t ifindex, enum tc_dir dir, int (*fn)(const struct nl_tc *f, void *arg),
		    void *arg);

/**
 * tc_look_clsact() - what kind of qdisc holds the ingress position of the interface
 * @kind: "clsact", "ingress", or "" when there is none
 * Return: 0, -ENODEV or -errno.
 */
int tc_look_clsact(uint32_t ifindex, char kind[NL_NAME]);

/** tc_look_our_prog() - whether a loaded program is ours; @inside: one that belongs in pods */
bool tc_look_our_prog(uint32_t id, bool inside);

/** tc_look_ours() - whether a filter of this direction runs a program of ours */
bool tc_look_ours(const struct nl_tc *f, enum tc_dir dir);

/** tc_look_describe() - "bpf program \"cil_from_netdev\" (id 17)", "flower filter", ... */
void tc_look_describe(const struct nl_tc *f, char *out, size_t max);

/** tc_look_links() - call @fn for each interface of the namespace; 0 or -errno */
int tc_look_links(int (*fn)(uint32_t ifindex, void *arg), void *arg);

#endif
