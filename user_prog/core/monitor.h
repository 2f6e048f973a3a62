/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What changed between two looks at xmasqd: for "xmasqctl monitor". Pure.
 *
 * Nothing in the datapath tells of the life of a flow: that would cost every flow an event, and the
 * ring to the daemon is for hellos. So xmasqctl asks for what there is, again and again, and compares.
 * What begins and ends between two looks is not seen; the programs' counters of events know how often
 * that was, and are part of each look. The cost is the caller's interval times one walk of the flow table.
 *
 * Events are JSON objects, "event" tells which:
 *   note       text
 *   flow       what (new, state, label, gone), flow, peer, from, to, label, out_ms, in_ms
 *   peer       what (new, state, gone), addr, from, to, hint
 *   pod        what (new, attached, detached, gone), ifname, addrs, mode, reason
 *   decisions  packets, by reason, since the last look; only those that are not 0
 *   decision   flow, out, out_reason, in, in_reason: of the one flow that is watched
 */
#ifndef XM_MONITOR_H
#define XM_MONITOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl.h"

struct json_object;
struct monitor;

/* @event: the callee's to use during the call only; false: stop */
typedef bool (*monitor_event_fn)(void *arg, struct json_object *event);

/**
 * monitor_new() - nothing seen yet
 * @filter: which flows, as in a flush: FLOW, POD_ADDR, POD_IF, PEER; NULL or ALL: all
 *
 * Return: NULL when out of memory.
 */
struct monitor *monitor_new(const struct ctl_request *filter, monitor_event_fn event, void *arg);
void monitor_free(struct monitor *m);

/*
 * Each takes the daemon's answer and tells what is new in it. The first answer of each kind is only
 * remembered, but for peers and pods, which are few and told. Return: 0, -ENOMEM, or -ECANCELED when
 * the callee wants no more.
 */
int monitor_flows(struct monitor *m, struct json_object *result);
int monitor_peers(struct monitor *m, struct json_object *result);
int monitor_pods(struct monitor *m, struct json_object *result);
int monitor_counters(struct monitor *m, struct json_object *result);
int monitor_trace(struct monitor *m, struct json_object *result);

/** monitor_note() - a text of the caller's own */
int monitor_note(struct monitor *m, const char *text);

/**
 * monitor_line() - an event for people, without control characters and newline
 *
 * Return: text that the caller frees, NULL when out of memory.
 */
char *monitor_line(struct json_object *event);

#endif
