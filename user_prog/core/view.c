// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <string.h>

#include "jsonx.h"
#include "view.h"
#include "xm_util.h"

static const struct {
	const char *name;
	const char *text;
	enum xm_reason_kind kind;
} reasons[] = {
#define X(NAME, str, k, explanation) [XM_R_##NAME] = { str, explanation, XM_KIND_##k },
	XM_REASONS(X)
#undef X
};

const char *view_reason_name(unsigned int reason)
{
	return reason < XM_R_MAX ? reasons[reason].name : "?";
}

const char *view_reason_text(unsigned int reason)
{
	return reason < XM_R_MAX ? reasons[reason].text : "?";
}

/* What is unknown says nothing about a packet's path. */
enum xm_reason_kind view_reason_kind(unsigned int reason)
{
	return reason < XM_R_MAX ? reasons[reason].kind : XM_KIND_EVENT;
}

const char *view_kind_name(enum xm_reason_kind kind)
{
	switch (kind) {
	case XM_KIND_FAST:
		return "fast";
	case XM_KIND_OVERLAY:
		return "overlay";
	case XM_KIND_DROP:
		return "drop";
	case XM_KIND_EVENT:
		return "event";
	}
	return "?";
}

int view_flow_cmp(const void *a, const void *b)
{
	const struct xm_flow_key *x = &((const struct view_flow *)a)->key;
	const struct xm_flow_key *y = &((const struct view_flow *)b)->key;
	const uint32_t kx[] = { ntohl(x->saddr), ntohl(x->daddr), ntohs(x->sport), ntohs(x->dport),
				x->proto };
	const uint32_t ky[] = { ntohl(y->saddr), ntohl(y->daddr), ntohs(y->sport), ntohs(y->dport),
				y->proto };
	size_t i;

	for (i = 0; i < XM_ARRAY_SIZE(kx); i++)
		if (kx[i] != ky[i])
			return kx[i] < ky[i] ? -1 : 1;
	return 0;
}

/* Drops @o unless it is complete. */
static struct json_object *complete(struct json_object *o, bool ok)
{
	if (ok)
		return o;
	json_object_put(o);
	return NULL;
}

typedef bool (*fill_fn)(struct json_object *o, const void *item);

/* List of @n items of @size bytes. */
static struct json_object *list_json(const void *items, unsigned int n, size_t size, fill_fn fill)
{
	struct json_object *list = json_object_new_array_ext(n ? (int)n : 1), *o;
	unsigned int i;

	for (i = 0; list && i < n; i++) {
		o = json_object_new_object();
		if (!jsonx_append(list, o) || !fill(o, (const char *)items + i * size))
			return complete(list, false);
	}
	return list;
}

static bool fill_table(struct json_object *o, const void *item)
{
	const struct view_table *t = item;

	return jsonx_put_str(o, "name", t->name) && jsonx_put_u64(o, "used", t->used) &&
	       jsonx_put_u64(o, "max", t->max) && jsonx_put_u64(o, "bytes", t->bytes);
}

static bool fill_sysctl(struct json_object *o, const void *item)
{
	const struct view_sysctl *s = item;

	return jsonx_put_str(o, "name", s->name) && jsonx_put_str(o, "before", s->before) &&
	       jsonx_put_str(o, "now", s->now) && jsonx_put_bool(o, "ours", s->ours);
}

static bool fill_program(struct json_object *o, const void *item)
{
	const struct view_program *p = item;

	return jsonx_put_str(o, "name", p->name) && jsonx_put_u64(o, "id", p->id) &&
	       jsonx_put_u64(o, "insns", p->insns);
}

static bool put_unless_0(struct json_object *o, const char *key, uint64_t n)
{
	return !n || jsonx_put_u64(o, key, n);
}

struct json_object *view_status_json(const struct view_status *s)
{
	struct json_object *o = json_object_new_object();
	bool ok;

	if (!o)
		return NULL;
	ok = jsonx_put_str(o, "version", s->version) && jsonx_put_u64(o, "pid", s->pid) &&
	     jsonx_put_u64(o, "uptime_ms", s->uptime_ms) && jsonx_put_u64(o, "epoch", s->epoch) &&
	     jsonx_put_str(o, "mode", s->mode) && jsonx_put_str(o, "mode_reason", s->mode_reason) &&
	     jsonx_put_str(o, "attach", s->attach) &&
	     jsonx_put_str(o, "attach_reason", s->attach_reason) &&
	     jsonx_put_str(o, "node_addrs", s->node_addrs) &&
	     (!s->node_addrs_unused || !*s->node_addrs_unused ||
	      jsonx_put_str(o, "node_addrs_unused", s->node_addrs_unused)) &&
	     jsonx_put_str(o, "nics", s->nics) &&
	     jsonx_put_u64(o, "masquerade_port", s->masquerade_port) &&
	     jsonx_put_u64(o, "lease_ms", s->lease_ms) &&
	     jsonx_put_bool(o, "authenticated", s->authenticated) &&
	     jsonx_put_bool(o, "tcp_ok", s->tcp_ok) &&
	     jsonx_put_str(o, "tcp_reason", s->tcp_reason) && jsonx_put_u64(o, "pods", s->pods) &&
	     jsonx_put_u64(o, "pods_attached", s->pods_attached) &&
	     jsonx_put_u64(o, "peers", s->peers) && jsonx_put_u64(o, "peers_up", s->peers_up) &&
	     jsonx_put_u64(o, "flows", s->flows) &&
	     jsonx_put_u64(o, "flows_active", s->flows_active) &&
	     jsonx_put_u64(o, "masqueraded", s->masqueraded) &&
	     jsonx_put_u64(o, "restored", s->restored) && jsonx_put_u64(o, "overlay", s->overlay) &&
	     put_unless_0(o, "local", s->local) &&
	     jsonx_put_u64(o, "netlink_overruns", s->netlink_overruns) &&
	     put_unless_0(o, "frames_failed", s->frames_failed) &&
	     put_unless_0(o, "peers_refused", s->peers_refused) &&
	     put_unless_0(o, "bad_events", s->bad_events) &&
	     put_unless_0(o, "flows_refused", s->flows_refused) &&
	     put_unless_0(o, "labels_refused", s->labels_refused) &&
	     jsonx_put(o, "tables",
		       list_json(s->tables, s->n_tables, sizeof(*s->tables), fill_table)) &&
	     jsonx_put(o, "sysctls",
		       list_json(s->sysctls, s->n_sysctls, sizeof(*s->sysctls), fill_sysctl)) &&
	     jsonx_put(o, "programs",
		       list_json(s->programs, s->n_programs, sizeof(*s->programs), fill_program));
	return complete(o, ok);
}

/* {"NAME": [...]} of @list, which may be NULL. */
static struct json_object *named(const char *name, struct json_object *list)
{
	struct json_object *o = json_object_new_object();

	if (!o) {
		json_object_put(list);
		return NULL;
	}
	return complete(o, jsonx_put(o, name, list));
}

static bool fill_pod(struct json_object *o, const void *item)
{
	const struct view_pod *p = item;

	return jsonx_put_str(o, "ifname", p->ifname) && jsonx_put_u64(o, "ifindex", p->ifindex) &&
	       jsonx_put_str(o, "netns", p->netns) && jsonx_put_str(o, "addrs", p->addrs) &&
	       jsonx_put_str(o, "kind", p->kind) && jsonx_put_bool(o, "attached", p->attached) &&
	       (p->attached ? jsonx_put_str(o, "mode", p->mode) : jsonx_put_null(o, "mode")) &&
	       jsonx_put_str(o, "reason", p->reason) &&
	       (p->attach_us ? jsonx_put_u64(o, "attach_us", p->attach_us)
			     : jsonx_put_null(o, "attach_us")) &&
	       jsonx_put_str(o, "namespace", p->pod_ns) && jsonx_put_str(o, "pod", p->pod) &&
	       jsonx_put_str(o, "containers", p->containers) &&
	       jsonx_put_str(o, "runtime", p->runtime);
}

struct json_object *view_pods_json(const struct view_pod *p, unsigned int n)
{
	return named("pods", list_json(p, n, sizeof(*p), fill_pod));
}

static bool put_proto(struct json_object *o, uint8_t proto)
{
	if (proto == IPPROTO_TCP)
		return jsonx_put_str(o, "protocol", "tcp");
	if (proto == IPPROTO_UDP)
		return jsonx_put_str(o, "protocol", "udp");
	return jsonx_put_str(o, "protocol", "?");
}

static bool fill_flow(struct json_object *o, const void *item)
{
	const struct view_flow *f = item;

	return put_proto(o, f->key.proto) && jsonx_put_addr(o, "saddr", f->key.saddr) &&
	       jsonx_put_u64(o, "sport", ntohs(f->key.sport)) &&
	       jsonx_put_addr(o, "daddr", f->key.daddr) &&
	       jsonx_put_u64(o, "dport", ntohs(f->key.dport)) &&
	       jsonx_put_addr(o, "peer", f->peer) &&
	       (!f->local || jsonx_put_bool(o, "local", true)) &&
	       jsonx_put_u64(o, "label", f->label) && jsonx_put_bool(o, "owner", f->owner) &&
	       jsonx_put_str(o, "state", f->state) && jsonx_put_i64(o, "out_ms", f->out_ms) &&
	       jsonx_put_i64(o, "in_ms", f->in_ms) &&
	       jsonx_put_u64(o, "pod_ifindex", f->pod_ifindex) &&
	       jsonx_put_str(o, "pod_ifname", f->pod_ifname);
}

struct json_object *view_flows_json(const struct view_flow *f, unsigned int n, uint64_t total)
{
	struct json_object *o = named("flows", list_json(f, n, sizeof(*f), fill_flow));

	return o ? complete(o, jsonx_put_u64(o, "total", total)) : NULL;
}

static bool put_left(struct json_object *o, const char *key, int64_t ms)
{
	return ms == INT64_MIN ? jsonx_put_null(o, key) : jsonx_put_i64(o, key, ms);
}

static bool fill_peer(struct json_object *o, const void *item)
{
	const struct view_peer *p = item;

	return jsonx_put_addr(o, "addr", p->addr) && jsonx_put_str(o, "state", p->state) &&
	       jsonx_put_str(o, "hint", p->hint) && put_left(o, "tcp_ms", p->tcp_ms) &&
	       put_left(o, "udp_ms", p->udp_ms) &&
	       (p->rtt_us ? jsonx_put_u64(o, "rtt_us", p->rtt_us) : jsonx_put_null(o, "rtt_us")) &&
	       jsonx_put_u64(o, "epoch", p->epoch) && jsonx_put_bool(o, "owner", p->owner) &&
	       jsonx_put_u64(o, "flows", p->flows) && jsonx_put_u64(o, "hellos_tx", p->hellos_tx) &&
	       jsonx_put_u64(o, "hellos_rx", p->hellos_rx);
}

struct json_object *view_peers_json(const struct view_peer *p, unsigned int n)
{
	return named("peers", list_json(p, n, sizeof(*p), fill_peer));
}

struct json_object *view_counters_json(const struct xm_counter *c)
{
	struct json_object *list = json_object_new_array_ext(XM_R_MAX), *o;
	unsigned int i;

	for (i = 0; list && i < XM_R_MAX; i++) {
		o = json_object_new_object();
		if (!jsonx_append(list, o) || !jsonx_put_str(o, "name", reasons[i].name) ||
		    !jsonx_put_str(o, "kind", view_kind_name(reasons[i].kind)) ||
		    !jsonx_put_u64(o, "packets", c[i].packets) ||
		    !jsonx_put_u64(o, "bytes", c[i].bytes) ||
		    !jsonx_put_str(o, "text", reasons[i].text)) {
			json_object_put(list);
			list = NULL;
		}
	}
	return named("counters", list);
}
