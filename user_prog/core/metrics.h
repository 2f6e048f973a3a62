/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Metrics for Prometheus: facts in, text exposition format 0.0.4 out. Pure.
 *
 * What the programs count is in a pinned table and goes on over restarts of xmasqd; what the
 * daemon counts itself starts at 0 with it. Nothing is estimated: what nobody counts is not here.
 * docs/metrics.md lists them all; tests/unit/test_metrics.c compares it with the table here.
 */
#ifndef XM_METRICS_H
#define XM_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "flow_state.h"
#include "hello.h"
#include "xm_types.h"

#define METRICS_LEVELS 4 /* of the log, error to debug */
#define METRICS_MAPS   3

/* Modes of an attached pod, in this order. */
enum metrics_mode {
	METRICS_VETH,
	METRICS_NETKIT,
	METRICS_RPEER,
	METRICS_MODES,
};

struct metrics_map {
	const char *name;
	uint64_t entries;
	uint64_t max;
	uint64_t bytes; /* kernel memory when full */
};

/** struct metrics_rule - a rule in force */
struct metrics_rule {
	const char *name, *origin, *direction, *action;
	struct xm_counter count;
};

/**
 * struct metrics_facts - what one answer is made of
 * @version: of xmasqd
 * @mode: of the node, see mode_of_node()
 * @attach: see mode_attach()
 * @start_time: of the process, seconds since 1970
 * @cpu_seconds: user and system
 * @rss_bytes: resident memory
 * @ready: what /readyz says
 * @tcp_ok: TCP may be accelerated
 * @counter: sums over all CPUs, by enum xm_reason
 * @flows: by enum flow_state
 * @map: tables of bounded size
 * @peers: by enum hello_state
 * @frames_sent: hellos, answers and probes
 * @frames_failed: those that the kernel did not take
 * @bad_messages: hellos and probes that were not understood
 * @peers_refused: addresses that found no room in the table
 * @pods_attached: by mode
 * @pods_excluded: pods that are left alone, for one reason or another
 * @pods_failed: pods that should be attached and are not
 * @underlay: NICs that carry the programs
 * @nl_messages: netlink events read
 * @nl_malformed: those that could not be parsed
 * @nl_overruns: times that the kernel dropped events
 * @nl_resyncs: full dumps
 * @rule: rules in force, in the order in which they are asked
 * @n_rules: how many
 * @logged: messages by level, error first
 */
struct metrics_facts {
	const char *version;
	const char *mode;
	const char *attach;
	double start_time;
	double cpu_seconds;
	uint64_t rss_bytes;
	bool ready;
	bool tcp_ok;
	struct xm_counter counter[XM_R_MAX];
	uint64_t flows[FLOW_STATES];
	struct metrics_map map[METRICS_MAPS];
	uint64_t peers[HELLO_STATES];
	uint64_t frames_sent, frames_failed, bad_messages, peers_refused;
	uint64_t pods_attached[METRICS_MODES];
	uint64_t pods_excluded, pods_failed;
	uint64_t underlay;
	uint64_t nl_messages, nl_malformed, nl_overruns, nl_resyncs;
	const struct metrics_rule *rule;
	unsigned int n_rules;
	uint64_t logged[METRICS_LEVELS];
};

/**
 * metrics_text() - one whole answer
 * @len: without the NUL behind it
 *
 * Return: text that the caller frees, NULL when out of memory.
 */
char *metrics_text(const struct metrics_facts *m, size_t *len);

/**
 * struct metrics_desc - one metric, for documentation and tests
 * @name: with prefix and unit
 * @type: "counter" or "gauge"
 * @labels: "reason", "path, direction", "" none
 * @help: one sentence
 */
struct metrics_desc {
	const char *name;
	const char *type;
	const char *labels;
	const char *help;
};

/** metrics_desc() - the @i'th of all metrics; false when there are no more */
bool metrics_desc(unsigned int i, struct metrics_desc *out);

/**
 * metrics_is_control() - whether a "drop" is the end of a message of xmasq's own
 *
 * Such a packet has arrived; nobody misses it.
 */
bool metrics_is_control(unsigned int reason);

#endif
