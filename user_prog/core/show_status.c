// SPDX-License-Identifier: GPL-2.0-only
/* The dashboard of "xmasqctl status". */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "jsonx.h"
#include "show.h"
#include "table.h"
#include "xm_util.h"

/* "label          text", the text in a colour. */
static void XM_PRINTF(5, 6) line(FILE *out, const struct show_options *o, const char *label,
				 enum table_color color, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(out, "%s%-13s%s  %s%s%s\n", table_paint(TABLE_BOLD, o->color), label,
		table_unpaint(TABLE_BOLD, o->color), table_paint(color, o->color),
		table_clean(text), table_unpaint(color, o->color));
}

/* All of some is good, some is a warning, none is bad; nothing to count is neither. */
static enum table_color share_color(uint64_t part, uint64_t all)
{
	if (!all)
		return TABLE_PLAIN;
	return part == all ? TABLE_GOOD : part ? TABLE_WARN : TABLE_BAD;
}

static void show_fast_path(struct json_object *s, const struct show_options *o, FILE *out)
{
	uint64_t masq = jsonx_u64(s, "masqueraded"), rest = jsonx_u64(s, "restored");
	uint64_t slow = jsonx_u64(s, "overlay"), local = jsonx_u64(s, "local");
	double fast = (double)masq + (double)rest + (double)local, all = fast + (double)slow;
	char m[TABLE_NUM], r[TABLE_NUM], v[TABLE_NUM], l[TABLE_NUM];

	if (all <= 0) {
		line(out, o, "fast path", TABLE_PLAIN, "no packets yet");
		return;
	}
	line(out, o, "fast path", TABLE_PLAIN,
	     "%.1f %% of packets (%s masqueraded, %s restored%s%s%s; %s by the overlay)",
	     100 * fast / all, table_count(m, masq), table_count(r, rest), local ? ", " : "",
	     local ? table_count(l, local) : "", local ? " on this node" : "",
	     table_count(v, slow));
}

/* "tcx (auto: the kernel has tcx)" */
static void show_choice(struct json_object *s, const struct show_options *o, FILE *out,
			const char *key, const char *why_key)
{
	const char *why = jsonx_str(s, why_key);

	line(out, o, key, TABLE_PLAIN, "%s%s%s%s", jsonx_str(s, key), *why ? " (" : "", why,
	     *why ? ")" : "");
}

static void show_tcp(struct json_object *s, const struct show_options *o, FILE *out)
{
	const char *why = jsonx_str(s, "tcp_reason");
	bool ok = jsonx_bool(s, "tcp_ok");

	line(out, o, "TCP", ok ? TABLE_GOOD : TABLE_WARN, "%s%s%s",
	     ok ? "accelerated" : "not accelerated", *why ? ": " : "", why);
}

static void show_sysctls(struct json_object *s, const struct show_options *o, FILE *out)
{
	struct json_object *list = jsonx_list(s, "sysctls"), *c;
	unsigned int i, ours = 0;

	for (i = 0; i < jsonx_len(list); i++) {
		c = json_object_array_get_idx(list, i);
		if (!jsonx_bool(c, "ours"))
			continue;
		line(out, o, ours++ ? "" : "sysctls", TABLE_PLAIN,
		     "%s = %s (was %s; put back by \"xmasqctl cleanup\")", jsonx_str(c, "name"),
		     jsonx_str(c, "now"),
		     *jsonx_str(c, "before") ? jsonx_str(c, "before") : "empty");
	}
	if (!ours)
		line(out, o, "sysctls", TABLE_PLAIN, "none changed");
}

static int show_tables(struct json_object *s, const struct show_options *o, FILE *out)
{
	static const struct table_column cols[] = {
		{ "TABLE", false, false }, { "USED", true, true },    { "MAX", true, false },
		{ "FULL", true, true },	   { "MEMORY", true, false },
	};
	struct json_object *list = jsonx_list(s, "tables"), *c;
	char used[TABLE_NUM], max[TABLE_NUM], full[TABLE_NUM], mem[TABLE_NUM];
	struct table *t;
	unsigned int i;
	int err;

	if (!jsonx_len(list))
		return 0;
	t = table_new(cols, XM_ARRAY_SIZE(cols));
	if (!t)
		return -ENOMEM;
	for (i = 0; i < jsonx_len(list); i++) {
		uint64_t u, m;
		double share;

		c = json_object_array_get_idx(list, i);
		u = jsonx_u64(c, "used");
		m = jsonx_u64(c, "max");
		share = m ? 100 * (double)u / (double)m : 0;
		snprintf(full, sizeof(full), "%.0f %%", share);
		table_row(t,
			  share >= 95	? TABLE_BAD
			  : share >= 80 ? TABLE_WARN
					: TABLE_PLAIN,
			  (const char *[]){ jsonx_str(c, "name"), table_count(used, u),
					    table_count(max, m), full,
					    table_bytes(mem, jsonx_u64(c, "bytes")) });
	}
	fputc('\n', out);
	err = table_print(t, out, o->color, 0);
	table_free(t);
	return err;
}

static int show_programs(struct json_object *s, const struct show_options *o, FILE *out)
{
	static const struct table_column cols[] = {
		{ "PROGRAM", false, false },
		{ "ID", true, false },
		{ "INSTRUCTIONS", true, false },
	};
	struct json_object *list = jsonx_list(s, "programs"), *c;
	char id[TABLE_NUM], insns[TABLE_NUM];
	struct table *t;
	unsigned int i;
	int err;

	if (!jsonx_len(list))
		return 0;
	t = table_new(cols, XM_ARRAY_SIZE(cols));
	if (!t)
		return -ENOMEM;
	for (i = 0; i < jsonx_len(list); i++) {
		c = json_object_array_get_idx(list, i);
		snprintf(id, sizeof(id), "%" PRIu64, jsonx_u64(c, "id"));
		snprintf(insns, sizeof(insns), "%" PRIu64, jsonx_u64(c, "insns"));
		table_row(t, TABLE_PLAIN, (const char *[]){ jsonx_str(c, "name"), id, insns });
	}
	fputc('\n', out);
	err = table_print(t, out, o->color, 0);
	table_free(t);
	return err;
}

/* Counts that should be 0, each with what to do about it. */
static const struct {
	const char *key, *label, *text;
} troubles[] = {
	{ "netlink_overruns", "netlink", "overruns, each followed by a full read" },
	{ "frames_failed", "frames", "hellos, answers or probes were not taken by the kernel" },
	{ "peers_refused", "peers", "times no room for an address: raise tables.peers" },
	{ "flows_refused", "flows",
	  "times no room for a flow since the tables were made: raise tables.flows" },
	{ "labels_refused", "labels", "times no free label among those tried: raise tables.flows" },
	{ "bad_events", "hello", "messages were not understood" },
};

int show_status(struct json_object *s, const struct show_options *o, FILE *out)
{
	uint64_t up = jsonx_u64(s, "peers_up"), peers = jsonx_u64(s, "peers");
	uint64_t on = jsonx_u64(s, "pods_attached"), pods = jsonx_u64(s, "pods");
	char a[TABLE_NUM], b[TABLE_NUM];
	unsigned int i;
	int err;

	line(out, o, "xmasqd", TABLE_PLAIN, "%s, pid %" PRIu64 ", up %s, epoch %08" PRIx64,
	     jsonx_str(s, "version"), jsonx_u64(s, "pid"), table_time(a, jsonx_i64(s, "uptime_ms")),
	     jsonx_u64(s, "epoch"));
	show_choice(s, o, out, "mode", "mode_reason");
	show_choice(s, o, out, "attach", "attach_reason");
	line(out, o, "node", TABLE_PLAIN, "%s on %s; masquerade port %" PRIu64 ", lease %s",
	     *jsonx_str(s, "node_addrs") ? jsonx_str(s, "node_addrs") : "no address",
	     *jsonx_str(s, "nics") ? jsonx_str(s, "nics") : "no interface",
	     jsonx_u64(s, "masquerade_port"), table_time(a, jsonx_i64(s, "lease_ms")));
	if (*jsonx_str(s, "node_addrs_unused"))
		line(out, o, "", TABLE_WARN, "too many addresses, not used: %s",
		     jsonx_str(s, "node_addrs_unused"));
	line(out, o, "peers", share_color(up, peers), "%" PRIu64 " of %" PRIu64 " up, %s", up,
	     peers, jsonx_bool(s, "authenticated") ? "authenticated" : "not authenticated");
	line(out, o, "pods", share_color(on, pods), "%" PRIu64 " of %" PRIu64 " attached", on,
	     pods);
	line(out, o, "flows", TABLE_PLAIN, "%s active of %s",
	     table_count(a, jsonx_u64(s, "flows_active")), table_count(b, jsonx_u64(s, "flows")));
	show_fast_path(s, o, out);
	show_tcp(s, o, out);
	show_sysctls(s, o, out);
	for (i = 0; i < XM_ARRAY_SIZE(troubles); i++)
		if (jsonx_u64(s, troubles[i].key))
			line(out, o, troubles[i].label, TABLE_WARN, "%" PRIu64 " %s",
			     jsonx_u64(s, troubles[i].key), troubles[i].text);
	err = show_tables(s, o, out);
	return err ? err : show_programs(s, o, out);
}
