/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Answers to probes: /healthz and /readyz. Pure.
 *
 * Healthy: the loop turns, and its periodic work was done lately. The answer comes from the loop,
 * so one that hangs gives none.
 *
 * Ready: what xmasqd can do by itself is done. Programs are loaded and on an underlay interface, they
 * know the node's addresses, the tables are pinned, interfaces are known. Peers are no condition: a
 * node may be the first with xmasq, and a cluster whose rollout waits for peers would wait for ever.
 * Nor are pods that cannot be attached: they are on the overlay, and others must not suffer.
 */
#ifndef XM_READY_H
#define XM_READY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * struct ready_facts
 * @started: everything found at the start was dealt with
 * @programs: programs that are loaded
 * @programs_wanted: of how many
 * @underlay: interfaces of the underlay that carry them
 * @addresses: underlay addresses of the node that the programs know
 * @stale: the underlay has other addresses than these
 * @pin_err: 0, or -errno of the last try to pin the tables again
 * @netlink_err: 0, or -errno: what is known of interfaces may be out of date
 * @pods_attached: for information
 * @pods_failed: the same
 * @peers_up: the same
 * @peers: the same
 */
struct ready_facts {
	bool started;
	unsigned int programs, programs_wanted;
	unsigned int underlay;
	unsigned int addresses;
	bool stale;
	int pin_err;
	int netlink_err;
	unsigned int pods_attached, pods_failed;
	unsigned int peers_up, peers;
};

/** ready() - the verdict alone */
bool ready(const struct ready_facts *f);

/**
 * ready_text() - a line for each condition, "[+] ..." or "[-] ..." with what to do
 * @len: without the NUL behind it
 *
 * Return: text that the caller frees, NULL when out of memory.
 */
char *ready_text(const struct ready_facts *f, size_t *len);

/**
 * health_text() - one line
 * @ago_ms: since the loop last did its periodic work
 * @limit_ms: how long that may be
 * @ok: the verdict
 */
char *health_text(uint64_t ago_ms, uint64_t limit_ms, bool *ok, size_t *len);

#endif
