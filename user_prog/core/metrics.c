// SPDX-License-Identifier: GPL-2.0-only
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "metrics.h"
#include "view.h"
#include "xm_util.h"

static const char *const level_names[METRICS_LEVELS] = { "error", "warn", "info", "debug" };
static const char *const mode_names[METRICS_MODES] = {
	[METRICS_VETH] = "veth",
	[METRICS_NETKIT] = "netkit",
	[METRICS_RPEER] = "rpeer",
};

bool metrics_is_control(unsigned int reason)
{
	return reason == XM_R_CONTROL || reason == XM_R_NACK_RX || reason == XM_R_RST_NACK;
}

/* ---- writing ---- */

struct out {
	FILE *f;
	const struct metrics_facts *m;
	const char *name; /* of the present metric */
};

/* The values that go in here are ours, but for the version; quoted as the format wants it. */
static void quoted(FILE *f, const char *s)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		if (*s == '\n')
			fputs("\\n", f);
		else
			fputc(*s, f);
	}
	fputc('"', f);
}

static void plain(const struct out *o, uint64_t v)
{
	fprintf(o->f, "%s %" PRIu64 "\n", o->name, v);
}

static void real(const struct out *o, double v)
{
	fprintf(o->f, "%s %.3f\n", o->name, v);
}

static void with(const struct out *o, const char *label, const char *value, uint64_t v)
{
	fprintf(o->f, "%s{%s=", o->name, label);
	quoted(o->f, value);
	fprintf(o->f, "} %" PRIu64 "\n", v);
}

static void with2(const struct out *o, const char *l1, const char *v1, const char *l2,
		  const char *v2, uint64_t v)
{
	fprintf(o->f, "%s{%s=", o->name, l1);
	quoted(o->f, v1);
	fprintf(o->f, ",%s=", l2);
	quoted(o->f, v2);
	fprintf(o->f, "} %" PRIu64 "\n", v);
}

/* ---- about the node ---- */

static void put_build(const struct out *o)
{
	fprintf(o->f, "%s{version=", o->name);
	quoted(o->f, o->m->version);
	fprintf(o->f, ",layout=\"%d\",wire=\"%d\"} 1\n", XM_LAYOUT, XM_WIRE_VERSION);
}

static void put_node(const struct out *o)
{
	with2(o, "mode", o->m->mode, "attach", o->m->attach, 1);
}

static void put_start(const struct out *o)
{
	real(o, o->m->start_time);
}

static void put_cpu(const struct out *o)
{
	real(o, o->m->cpu_seconds);
}

static void put_rss(const struct out *o)
{
	plain(o, o->m->rss_bytes);
}

static void put_ready(const struct out *o)
{
	plain(o, o->m->ready);
}

static void put_tcp(const struct out *o)
{
	plain(o, o->m->tcp_ok);
}

static void put_underlay(const struct out *o)
{
	plain(o, o->m->underlay);
}

/* ---- packets ---- */

static uint64_t value_of(const struct xm_counter *c, bool bytes)
{
	return bytes ? c->bytes : c->packets;
}

static bool is_fallback(unsigned int r)
{
	return view_reason_kind(r) == XM_KIND_OVERLAY && r != XM_R_NONE;
}

static bool is_drop(unsigned int r)
{
	return view_reason_kind(r) == XM_KIND_DROP && !metrics_is_control(r);
}

static void by_path(const struct out *o, bool bytes)
{
	const struct xm_counter *c = o->m->counter;
	uint64_t slow = 0;

	for (unsigned int r = 0; r < XM_R_MAX; r++)
		if (is_fallback(r))
			slow += value_of(&c[r], bytes);
	with2(o, "path", "fast", "direction", "out", value_of(&c[XM_R_MASQUERADED], bytes));
	with2(o, "path", "fast", "direction", "in", value_of(&c[XM_R_RESTORED], bytes));
	with2(o, "path", "local", "direction", "out", value_of(&c[XM_R_LOCAL], bytes));
	with2(o, "path", "overlay", "direction", "out", slow);
}

static void by_reason(const struct out *o, bool (*take)(unsigned int), const char *label,
		      bool bytes)
{
	for (unsigned int r = 0; r < XM_R_MAX; r++)
		if (take(r))
			with(o, label, view_reason_name(r), value_of(&o->m->counter[r], bytes));
}

static bool is_event(unsigned int r)
{
	return view_reason_kind(r) == XM_KIND_EVENT;
}

static void put_packets(const struct out *o)
{
	by_path(o, false);
}

static void put_bytes(const struct out *o)
{
	by_path(o, true);
}

static void put_fallback_packets(const struct out *o)
{
	by_reason(o, is_fallback, "reason", false);
}

static void put_fallback_bytes(const struct out *o)
{
	by_reason(o, is_fallback, "reason", true);
}

static void put_dropped_packets(const struct out *o)
{
	by_reason(o, is_drop, "reason", false);
}

static void put_dropped_bytes(const struct out *o)
{
	by_reason(o, is_drop, "reason", true);
}

static void put_control(const struct out *o)
{
	by_reason(o, metrics_is_control, "type", false);
}

static void put_events(const struct out *o)
{
	by_reason(o, is_event, "event", false);
}

static void put_renewals(const struct out *o)
{
	with(o, "direction", "out", o->m->counter[XM_R_LEASE_OUT].packets);
	with(o, "direction", "in", o->m->counter[XM_R_LEASE_IN].packets);
}

static void put_refused(const struct out *o)
{
	with(o, "direction", "out", o->m->counter[XM_R_LEASE_OVER].packets);
	with(o, "direction", "in", o->m->counter[XM_R_LABEL_EXPIRED].packets);
}

/* ---- rules ---- */

static void put_rules(const struct out *o)
{
	plain(o, o->m->n_rules);
}

static void by_rule(const struct out *o, bool bytes)
{
	for (unsigned int i = 0; i < o->m->n_rules; i++) {
		const struct metrics_rule *r = &o->m->rule[i];

		fprintf(o->f, "%s{rule=", o->name);
		quoted(o->f, r->name);
		fprintf(o->f, ",origin=\"%s\",direction=\"%s\",action=\"%s\"} %" PRIu64 "\n",
			r->origin, r->direction, r->action, value_of(&r->count, bytes));
	}
}

static void put_rule_packets(const struct out *o)
{
	by_rule(o, false);
}

static void put_rule_bytes(const struct out *o)
{
	by_rule(o, true);
}

/* ---- tables ---- */

static void put_flows(const struct out *o)
{
	for (unsigned int s = 0; s < FLOW_STATES; s++)
		with(o, "state", flow_state_name((enum flow_state)s), o->m->flows[s]);
}

static void put_entries(const struct out *o)
{
	for (unsigned int i = 0; i < METRICS_MAPS; i++)
		with(o, "map", o->m->map[i].name, o->m->map[i].entries);
}

static void put_max(const struct out *o)
{
	for (unsigned int i = 0; i < METRICS_MAPS; i++)
		with(o, "map", o->m->map[i].name, o->m->map[i].max);
}

static void put_memory(const struct out *o)
{
	for (unsigned int i = 0; i < METRICS_MAPS; i++)
		with(o, "map", o->m->map[i].name, o->m->map[i].bytes);
}

/* ---- peers, pods, the daemon ---- */

static void put_peers(const struct out *o)
{
	for (unsigned int s = 0; s < HELLO_STATES; s++)
		with(o, "state", hello_state_name((enum hello_state)s), o->m->peers[s]);
}

static void put_frames(const struct out *o)
{
	plain(o, o->m->frames_sent);
}

static void put_frames_failed(const struct out *o)
{
	plain(o, o->m->frames_failed);
}

static void put_bad(const struct out *o)
{
	plain(o, o->m->bad_messages);
}

static void put_peers_refused(const struct out *o)
{
	plain(o, o->m->peers_refused);
}

static void put_pods(const struct out *o)
{
	uint64_t attached = 0;

	for (unsigned int i = 0; i < METRICS_MODES; i++)
		attached += o->m->pods_attached[i];
	with(o, "state", "attached", attached);
	with(o, "state", "excluded", o->m->pods_excluded);
	with(o, "state", "failed", o->m->pods_failed);
}

static void put_modes(const struct out *o)
{
	for (unsigned int i = 0; i < METRICS_MODES; i++)
		with(o, "mode", mode_names[i], o->m->pods_attached[i]);
}

static void put_nl_messages(const struct out *o)
{
	plain(o, o->m->nl_messages);
}

static void put_nl_malformed(const struct out *o)
{
	plain(o, o->m->nl_malformed);
}

static void put_nl_overruns(const struct out *o)
{
	plain(o, o->m->nl_overruns);
}

static void put_nl_resyncs(const struct out *o)
{
	plain(o, o->m->nl_resyncs);
}

static void put_logged(const struct out *o)
{
	for (unsigned int i = 0; i < METRICS_LEVELS; i++)
		with(o, "level", level_names[i], o->m->logged[i]);
}

/* ---- all of them ---- */

static const struct {
	struct metrics_desc d;
	void (*put)(const struct out *o);
} metrics[] = {
	{ { "xmasq_build_info", "gauge", "version, layout, wire",
	    "Always 1; release, layout of the pinned maps and version of the wire format." },
	  put_build },
	{ { "xmasq_node_info", "gauge", "mode, attach",
	    "Always 1; where pods' packets are taken and how programs are attached." },
	  put_node },
	{ { "xmasq_ready", "gauge", "", "1 when /readyz says ready, else 0." }, put_ready },
	{ { "xmasq_tcp_accelerated", "gauge", "",
	    "1 when TCP may take the fast path on this node, 0 when only UDP may." },
	  put_tcp },
	{ { "xmasq_underlay_interfaces", "gauge", "",
	    "Underlay interfaces that carry the programs." },
	  put_underlay },
	{ { "xmasq_packets_total", "counter", "path, direction",
	    "Packets of pods by path; a GSO or GRO bundle is one. What the overlay delivers to "
	    "pods is not counted." },
	  put_packets },
	{ { "xmasq_bytes_total", "counter", "path, direction",
	    "Bytes of these packets with the Ethernet header, bundles as they are." },
	  put_bytes },
	{ { "xmasq_fallback_packets_total", "counter", "reason",
	    "Packets sent by pods that were left to the overlay." },
	  put_fallback_packets },
	{ { "xmasq_fallback_bytes_total", "counter", "reason", "Bytes of these packets." },
	  put_fallback_bytes },
	{ { "xmasq_dropped_packets_total", "counter", "reason",
	    "Packets dropped by our programs." },
	  put_dropped_packets },
	{ { "xmasq_dropped_bytes_total", "counter", "reason",
	    "Bytes of these packets; not of those that were answered with a NACK." },
	  put_dropped_bytes },
	{ { "xmasq_control_packets_total", "counter", "type",
	    "Messages of other nodes that were taken in: hellos and probes, NACKs." },
	  put_control },
	{ { "xmasq_events_total", "counter", "event",
	    "What the programs learned or told, beside the packet's own path." },
	  put_events },
	{ { "xmasq_lease_renewals_total", "counter", "direction",
	    "Leases granted or renewed because the overlay passed a packet of the flow." },
	  put_renewals },
	{ { "xmasq_lease_refused_packets_total", "counter", "direction",
	    "Packets of agreed flows that found a lease over: out went to the overlay, in were "
	    "dropped." },
	  put_refused },
	{ { "xmasq_policy_rules", "gauge", "", "Rules of policy in force." }, put_rules },
	{ { "xmasq_policy_packets_total", "counter", "rule, origin, direction, action",
	    "Packets that a rule has decided about, since it is in force; what is on the fast path is "
	    "not asked about." },
	  put_rule_packets },
	{ { "xmasq_policy_bytes_total", "counter", "rule, origin, direction, action",
	    "Bytes of these packets." },
	  put_rule_bytes },
	{ { "xmasq_flows", "gauge", "state",
	    "Known flows by state, at most 5 s old; active ones are on the fast path." },
	  put_flows },
	{ { "xmasq_map_entries", "gauge", "map",
	    "Entries in use of a table of bounded size, at most 5 s old." },
	  put_entries },
	{ { "xmasq_map_max_entries", "gauge", "map", "Entries that fit in that table." }, put_max },
	{ { "xmasq_map_memory_bytes", "gauge", "map",
	    "Kernel memory of that table when full, from its geometry." },
	  put_memory },
	{ { "xmasq_peers", "gauge", "state", "Other nodes by what is known of the way there." },
	  put_peers },
	{ { "xmasq_frames_sent_total", "counter", "",
	    "Hellos, answers and probes sent since xmasqd started." },
	  put_frames },
	{ { "xmasq_frames_failed_total", "counter", "", "Those that the kernel did not take." },
	  put_frames_failed },
	{ { "xmasq_bad_messages_total", "counter", "",
	    "Hellos and probes that were not understood since xmasqd started." },
	  put_bad },
	{ { "xmasq_peers_refused_total", "counter", "",
	    "Addresses of nodes that found no room in the table of peers." },
	  put_peers_refused },
	{ { "xmasq_pods", "gauge", "state",
	    "Pods' interfaces: attached, excluded (left alone, see xmasqctl pods), failed." },
	  put_pods },
	{ { "xmasq_attached_pods", "gauge", "mode", "Attached pods by mode." }, put_modes },
	{ { "xmasq_netlink_messages_total", "counter", "",
	    "Netlink events read since xmasqd started." },
	  put_nl_messages },
	{ { "xmasq_netlink_malformed_total", "counter", "",
	    "Netlink events that could not be parsed." },
	  put_nl_malformed },
	{ { "xmasq_netlink_overruns_total", "counter", "",
	    "Times that the kernel dropped netlink events; each is followed by a full read." },
	  put_nl_overruns },
	{ { "xmasq_netlink_resyncs_total", "counter", "",
	    "Full reads of interfaces and addresses, with that at the start." },
	  put_nl_resyncs },
	{ { "xmasq_log_messages_total", "counter", "level",
	    "Messages logged since xmasqd started, by level." },
	  put_logged },
	{ { "process_start_time_seconds", "gauge", "",
	    "When xmasqd started, in seconds since 1970." },
	  put_start },
	{ { "process_cpu_seconds_total", "counter", "", "User and system CPU time of xmasqd." },
	  put_cpu },
	{ { "process_resident_memory_bytes", "gauge", "", "Resident memory of xmasqd." }, put_rss },
};

bool metrics_desc(unsigned int i, struct metrics_desc *out)
{
	if (i >= XM_ARRAY_SIZE(metrics))
		return false;
	*out = metrics[i].d;
	return true;
}

char *metrics_text(const struct metrics_facts *m, size_t *len)
{
	struct out o = { .m = m };
	char *text = NULL;

	o.f = open_memstream(&text, len);
	if (!o.f)
		return NULL;
	for (size_t i = 0; i < XM_ARRAY_SIZE(metrics); i++) {
		const struct metrics_desc *d = &metrics[i].d;

		/* A metric without a sample is none. */
		if (!m->n_rules &&
		    (metrics[i].put == put_rule_packets || metrics[i].put == put_rule_bytes))
			continue;
		o.name = d->name;
		fprintf(o.f, "# HELP %s %s\n# TYPE %s %s\n", d->name, d->help, d->name, d->type);
		metrics[i].put(&o);
	}
	/* Whatever failed to be written shows in the end. */
	if (ferror(o.f) | fclose(o.f)) {
		free(text);
		return NULL;
	}
	return text;
}
