// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

#include "jsonx.h"
#include "show.h"
#include "table.h"
#include "text.h"
#include "xm_util.h"

typedef int (*cmp_fn)(const void *a, const void *b);

/*
 * Copy of the list's pointers, sorted; the objects stay the list's. NULL when out of
 * memory or empty, told apart by *n.
 */
static struct json_object **sorted(struct json_object *list, cmp_fn cmp, unsigned int *n)
{
	struct json_object **v;
	unsigned int i;

	*n = jsonx_len(list);
	if (!*n)
		return NULL;
	v = calloc(*n, sizeof(*v));
	for (i = 0; v && i < *n; i++)
		v[i] = json_object_array_get_idx(list, i);
	if (v)
		qsort(v, *n, sizeof(*v), cmp);
	return v;
}

static struct json_object *at(const void *p)
{
	return *(struct json_object *const *)p;
}

static int cmp_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static uint32_t addr_of(struct json_object *o, const char *key)
{
	const char *s = jsonx_str(o, key);
	__be32 a;

	return text_parse_addr(s, strlen(s), &a) ? 0 : ntohl(a);
}

static int cmp_pod(const void *a, const void *b)
{
	int c = strcmp(jsonx_str(at(a), "ifname"), jsonx_str(at(b), "ifname"));

	if (!c)
		c = cmp_u64(jsonx_u64(at(a), "ifindex"), jsonx_u64(at(b), "ifindex"));
	/* Pods without a host side have no ifindex, and many an eth0. */
	return c ? c : strcmp(jsonx_str(at(a), "netns"), jsonx_str(at(b), "netns"));
}

static int cmp_peer(const void *a, const void *b)
{
	return cmp_u64(addr_of(at(a), "addr"), addr_of(at(b), "addr"));
}

static int cmp_flow(const void *a, const void *b)
{
	int c = cmp_u64(addr_of(at(a), "saddr"), addr_of(at(b), "saddr"));

	if (!c)
		c = cmp_u64(addr_of(at(a), "daddr"), addr_of(at(b), "daddr"));
	if (!c)
		c = cmp_u64(jsonx_u64(at(a), "sport"), jsonx_u64(at(b), "sport"));
	if (!c)
		c = cmp_u64(jsonx_u64(at(a), "dport"), jsonx_u64(at(b), "dport"));
	return c ? c : strcmp(jsonx_str(at(a), "protocol"), jsonx_str(at(b), "protocol"));
}

static int finish(struct table *t, const struct show_options *o, FILE *out)
{
	int err = table_print(t, out, o->color, 0);

	table_free(t);
	return err;
}

/* NAMESPACE/POD of Kubernetes, else its containers; what the caller frees. */
static char *pod_name(struct json_object *p)
{
	const char *ns = jsonx_str(p, "namespace"), *pod = jsonx_str(p, "pod");
	char *text;

	if (!*pod)
		return strdup(jsonx_str(p, "containers"));
	return asprintf(&text, "%s%s%s", ns, *ns ? "/" : "", pod) < 0 ? NULL : text;
}

static int show_pods(struct json_object *result, const struct show_options *o, FILE *out)
{
	static const struct table_column cols[] = {
		{ "INTERFACE", false, false }, { "POD", false, false },
		{ "NETNS", false, false },     { "ADDRESSES", false, false },
		{ "KIND", false, false },      { "STATE", false, true },
		{ "MODE", false, false },      { "ATTACHED IN", true, false },
		{ "REASON", false, false },
	};
	struct table *t = table_new(cols, XM_ARRAY_SIZE(cols));
	struct json_object **v;
	unsigned int n, i;
	char us[TABLE_NUM];

	if (!t)
		return -ENOMEM;
	v = sorted(jsonx_list(result, "pods"), cmp_pod, &n);
	for (i = 0; v && i < n; i++) {
		bool on = jsonx_bool(v[i], "attached");
		char *name = pod_name(v[i]);

		if (!name)
			break;
		us[0] = '\0';
		if (on && jsonx_has(v[i], "attach_us"))
			snprintf(us, sizeof(us), "%.1f ms",
				 (double)jsonx_u64(v[i], "attach_us") / 1000);
		table_row(t, on ? TABLE_GOOD : TABLE_WARN,
			  (const char *[]){ jsonx_str(v[i], "ifname"), name,
					    jsonx_str(v[i], "netns"), jsonx_str(v[i], "addrs"),
					    jsonx_str(v[i], "kind"), on ? "attached" : "overlay",
					    jsonx_str(v[i], "mode"), us,
					    jsonx_str(v[i], "reason") });
		free(name);
	}
	free(v);
	if (i < n) {
		table_free(t);
		return -ENOMEM;
	}
	return finish(t, o, out);
}

static const char *end_text(char *buf, size_t len, struct json_object *f, const char *addr,
			    const char *port)
{
	snprintf(buf, len, "%s:%" PRIu64, jsonx_str(f, addr), jsonx_u64(f, port));
	return buf;
}

static enum table_color flow_color(const char *state)
{
	if (!strcmp(state, "active"))
		return TABLE_GOOD;
	return strcmp(state, "lapsed") ? TABLE_DIM : TABLE_WARN;
}

static int show_flows(struct json_object *result, const struct show_options *o, FILE *out)
{
	static const struct table_column cols[] = {
		{ "PROTO", false, false },	{ "LOCAL POD", false, false },
		{ "REMOTE POD", false, false }, { "PEER", false, false },
		{ "STATE", false, true },	{ "LABEL", true, false },
		{ "OWNER", false, false },	{ "OUT", true, false },
		{ "IN", true, false },		{ "INTERFACE", false, false },
	};
	struct table *t = table_new(cols, XM_ARRAY_SIZE(cols));
	struct json_object **v;
	char src[64], dst[64], label[TABLE_NUM], out_ms[TABLE_NUM], in_ms[TABLE_NUM];
	unsigned int n, i, shown = 0;
	uint64_t total = jsonx_u64(result, "total");
	int err;

	if (!t)
		return -ENOMEM;
	v = sorted(jsonx_list(result, "flows"), cmp_flow, &n);
	for (i = 0; v && i < n && (!o->limit || shown < o->limit); i++) {
		const char *state = jsonx_str(v[i], "state");
		bool local = jsonx_bool(v[i], "local");

		if (o->active && strcmp(state, "active"))
			continue;
		label[0] = '\0';
		if (jsonx_u64(v[i], "label"))
			snprintf(label, sizeof(label), "%" PRIu64, jsonx_u64(v[i], "label"));
		table_row(t, flow_color(state),
			  (const char *[]){ jsonx_str(v[i], "protocol"),
					    end_text(src, sizeof(src), v[i], "saddr", "sport"),
					    end_text(dst, sizeof(dst), v[i], "daddr", "dport"),
					    local ? "local" : jsonx_str(v[i], "peer"), state, label,
					    local			? ""
					    : jsonx_bool(v[i], "owner") ? "us"
									: "peer",
					    table_time(out_ms, jsonx_i64(v[i], "out_ms")),
					    table_time(in_ms, jsonx_i64(v[i], "in_ms")),
					    jsonx_str(v[i], "pod_ifname") });
		shown++;
	}
	free(v);
	err = finish(t, o, out);
	if (!err && shown < total)
		fprintf(out, "%u of %" PRIu64 " flows\n", shown, total);
	return err;
}

/* What is left of a proof; "never" tells a silent path from one that broke. */
static const char *proof(char buf[TABLE_NUM], struct json_object *p, const char *key)
{
	int64_t ms = jsonx_i64(p, key);

	if (!jsonx_has(p, key))
		return "never";
	if (ms <= 0)
		return "lost";
	return table_time(buf, ms);
}

static enum table_color peer_color(const char *state)
{
	if (!strcmp(state, "up"))
		return TABLE_GOOD;
	return strcmp(state, "silent") ? TABLE_BAD : TABLE_WARN;
}

static int show_peers(struct json_object *result, const struct show_options *o, FILE *out)
{
	static const struct table_column cols[] = {
		{ "PEER", false, false },  { "STATE", false, true },	  { "TCP", true, false },
		{ "UDP", true, false },	   { "RTT", true, false },	  { "FLOWS", true, false },
		{ "OWNER", false, false }, { "HELLOS OUT", true, false }, { "IN", true, false },
		{ "HINT", false, false },
	};
	struct table *t = table_new(cols, XM_ARRAY_SIZE(cols));
	char tcp[TABLE_NUM], udp[TABLE_NUM], rtt[TABLE_NUM], flows[TABLE_NUM], tx[TABLE_NUM],
		rx[TABLE_NUM];
	struct json_object **v;
	unsigned int n, i;

	if (!t)
		return -ENOMEM;
	v = sorted(jsonx_list(result, "peers"), cmp_peer, &n);
	for (i = 0; v && i < n; i++) {
		rtt[0] = '\0';
		if (jsonx_has(v[i], "rtt_us"))
			snprintf(rtt, sizeof(rtt), "%.2f ms",
				 (double)jsonx_u64(v[i], "rtt_us") / 1000);
		table_row(t, peer_color(jsonx_str(v[i], "state")),
			  (const char *[]){ jsonx_str(v[i], "addr"), jsonx_str(v[i], "state"),
					    proof(tcp, v[i], "tcp_ms"), proof(udp, v[i], "udp_ms"),
					    rtt, table_count(flows, jsonx_u64(v[i], "flows")),
					    jsonx_bool(v[i], "owner") ? "us" : "peer",
					    table_count(tx, jsonx_u64(v[i], "hellos_tx")),
					    table_count(rx, jsonx_u64(v[i], "hellos_rx")),
					    jsonx_str(v[i], "hint") });
	}
	free(v);
	return finish(t, o, out);
}

static enum table_color kind_color(const char *kind)
{
	if (!strcmp(kind, "fast"))
		return TABLE_GOOD;
	return strcmp(kind, "drop") ? TABLE_PLAIN : TABLE_BAD;
}

/* In the order of xm_reasons.h, which is that of a packet's way. */
static int show_counters(struct json_object *result, const struct show_options *o, FILE *out)
{
	static const struct table_column cols[] = {
		{ "REASON", false, false }, { "KIND", false, true },  { "PACKETS", true, false },
		{ "BYTES", true, false },   { "WHAT", false, false },
	};
	struct json_object *list = jsonx_list(result, "counters"), *c;
	struct table *t = table_new(cols, XM_ARRAY_SIZE(cols));
	char packets[TABLE_NUM], bytes[TABLE_NUM];
	unsigned int i;

	if (!t)
		return -ENOMEM;
	for (i = 0; i < jsonx_len(list); i++) {
		c = json_object_array_get_idx(list, i);
		if (!o->all && !jsonx_u64(c, "packets"))
			continue;
		table_row(t, kind_color(jsonx_str(c, "kind")),
			  (const char *[]){ jsonx_str(c, "name"), jsonx_str(c, "kind"),
					    table_count(packets, jsonx_u64(c, "packets")),
					    table_bytes(bytes, jsonx_u64(c, "bytes")),
					    jsonx_str(c, "text") });
	}
	return finish(t, o, out);
}

static void trace_end(FILE *out, const char *label, struct json_object *end)
{
	const char *reason = jsonx_str(end, "reason");
	char *text = NULL;

	if (asprintf(&text, "%s%s%s%s", jsonx_str(end, "path"), *reason ? " (" : "", reason,
		     *reason ? ")" : "") < 0)
		return;
	fprintf(out, "%-6s %s\n", label, table_clean(text));
	free(text);
}

static enum table_color mark_color(const char *mark)
{
	if (!strcmp(mark, "ok"))
		return TABLE_GOOD;
	return strcmp(mark, "no") ? TABLE_PLAIN : TABLE_BAD;
}

static int show_trace(struct json_object *result, const struct show_options *o, FILE *out)
{
	static const struct table_column cols[] = {
		{ "HOOK", false, false },
		{ "", false, true },
		{ "WHAT", false, false },
	};
	struct json_object *list = jsonx_list(result, "steps"), *c;
	struct table *t = table_new(cols, XM_ARRAY_SIZE(cols));
	char *text = strdup(jsonx_str(result, "flow"));
	unsigned int i;
	int err;

	if (!t || !text) {
		table_free(t);
		free(text);
		return -ENOMEM;
	}
	fprintf(out, "flow   %s%s\n", table_clean(text),
		jsonx_bool(result, "reversed") ? " (turned round: the local pod sends)" : "");
	trace_end(out, "out", jsonx_get(result, "out"));
	trace_end(out, "in", jsonx_get(result, "in"));
	free(text);
	fputc('\n', out);
	for (i = 0; i < jsonx_len(list); i++) {
		c = json_object_array_get_idx(list, i);
		table_row(t, mark_color(jsonx_str(c, "mark")),
			  (const char *[]){ jsonx_str(c, "hook"), jsonx_str(c, "mark"),
					    jsonx_str(c, "text") });
	}
	err = finish(t, o, out);
	text = err ? NULL : strdup(jsonx_str(result, "summary"));
	if (text)
		fprintf(out, "\n%s\n", table_clean(text));
	free(text);
	return err;
}

static enum table_color action_color(const char *action)
{
	if (!strcmp(action, "deny"))
		return TABLE_BAD;
	return strcmp(action, "overlay") ? TABLE_GOOD : TABLE_WARN;
}

/* In the order in which they are asked. */
static int show_rules(struct json_object *list, const struct show_options *o, FILE *out)
{
	static const struct table_column cols[] = {
		{ "PRIORITY", true, false }, { "NAME", false, false },	 { "ORIGIN", false, false },
		{ "ACTION", false, true },   { "PACKETS", true, false }, { "BYTES", true, false },
		{ "RULE", false, false },
	};
	struct table *t = table_new(cols, XM_ARRAY_SIZE(cols));
	char prio[TABLE_NUM], packets[TABLE_NUM], bytes[TABLE_NUM];
	struct json_object *r;

	if (!t)
		return -ENOMEM;
	for (unsigned int i = 0; i < jsonx_len(list); i++) {
		r = json_object_array_get_idx(list, i);
		snprintf(prio, sizeof(prio), "%" PRIu64, jsonx_u64(r, "priority"));
		table_row(t, action_color(jsonx_str(r, "action")),
			  (const char *[]){ prio, jsonx_str(r, "name"), jsonx_str(r, "origin"),
					    jsonx_str(r, "action"),
					    table_count(packets, jsonx_u64(r, "packets")),
					    table_bytes(bytes, jsonx_u64(r, "bytes")),
					    jsonx_str(r, "rule") });
	}
	return finish(t, o, out);
}

static void show_verdict(FILE *out, const char *label, struct json_object *v)
{
	const char *rule = jsonx_str(v, "rule");
	char *text = NULL;

	if (asprintf(&text, "%s, %s%s%s%s%s", jsonx_str(v, "action"),
		     *rule ? "by rule " : "no rule matches", *rule ? jsonx_str(v, "name") : "",
		     *rule ? " (" : "", rule, *rule ? ")" : "") < 0)
		return;
	fprintf(out, "%-8s %s%s\n", label, table_clean(text),
		jsonx_bool(v, "local")
			? ""
			: "; no attached pod of this node has this address, nobody asks");
	free(text);
}

static int show_plain(struct json_object *result, FILE *out);

static int show_policy(struct json_object *result, const struct show_options *o, FILE *out)
{
	if (jsonx_has(result, "rules"))
		return show_rules(jsonx_list(result, "rules"), o, out);
	if (!jsonx_has(result, "egress"))
		return show_plain(result, out);
	show_verdict(out, "egress", jsonx_get(result, "egress"));
	show_verdict(out, "ingress", jsonx_get(result, "ingress"));
	return 0;
}

/* {"flushed": N} or {"text": "..."}: whatever numbers and texts the daemon tells. */
static int show_plain(struct json_object *result, FILE *out)
{
	if (!json_object_is_type(result, json_type_object)) {
		fputs("done\n", out);
		return 0;
	}
	json_object_object_foreach(result, key, v) {
		char *s = strdup(json_object_get_string(v) ? json_object_get_string(v) : "-");
		char *k = strdup(key);
		bool ok = s && k;

		if (ok)
			fprintf(out, "%s: %s\n", table_clean(k), table_clean(s));
		free(k);
		free(s);
		if (!ok)
			return -ENOMEM;
	}
	return 0;
}

int show(enum ctl_command command, struct json_object *result, const struct show_options *o,
	 FILE *out)
{
	switch (command) {
	case CTL_STATUS:
		return show_status(result, o, out);
	case CTL_PODS:
		return show_pods(result, o, out);
	case CTL_FLOWS:
		return show_flows(result, o, out);
	case CTL_PEERS:
		return show_peers(result, o, out);
	case CTL_COUNTERS:
		return show_counters(result, o, out);
	case CTL_CONFIG:
		/* JSON is YAML, and can be put into the file as it is. */
		return jsonx_print(result, out);
	case CTL_TRACE:
		return show_trace(result, o, out);
	case CTL_POLICY:
		return show_policy(result, o, out);
	case CTL_FLUSH:
	case CTL_CLEANUP:
	case CTL_VERSION:
	case CTL_COMMANDS:
		break;
	}
	return show_plain(result, out);
}
