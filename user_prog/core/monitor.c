// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonx.h"
#include "monitor.h"
#include "text.h"
#include "view.h"
#include "xm_util.h"

#define NAME 64
#define WORD 16

/* One flow of a look; the first member is what view_flow_cmp() compares. */
struct seen_flow {
	struct view_flow v;
	char state[WORD];
};

/* A peer or a pod. */
struct seen_thing {
	char name[NAME];
	char state[WORD];
};

struct look {
	struct seen_flow *flows;
	size_t n;
	bool cut; /* there are more, behind the last in order */
};

struct things {
	struct seen_thing *v;
	size_t n;
	bool any; /* a look was taken */
};

struct monitor {
	struct ctl_request filter;
	bool filtered;
	monitor_event_fn event;
	void *arg;
	struct look look;
	bool looked, told_cut;
	struct things peers, pods;
	uint64_t *counters;
	unsigned int n_counters;
	char *decision;
};

struct monitor *monitor_new(const struct ctl_request *filter, monitor_event_fn event, void *arg)
{
	struct monitor *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	if (filter && filter->flush.what != CTL_FLUSH_ALL) {
		m->filter = *filter;
		m->filtered = true;
	}
	m->event = event;
	m->arg = arg;
	return m;
}

void monitor_free(struct monitor *m)
{
	if (!m)
		return;
	free(m->look.flows);
	free(m->peers.v);
	free(m->pods.v);
	free(m->counters);
	free(m->decision);
	free(m);
}

/* Takes over @o; not @ok: what was put into it is not complete. */
static int emit(const struct monitor *m, struct json_object *o, bool ok)
{
	int err = 0;

	if (!ok)
		err = -ENOMEM;
	else if (!m->event(m->arg, o))
		err = -ECANCELED;
	json_object_put(o);
	return err;
}

static struct json_object *event_of(const char *kind)
{
	struct json_object *o = json_object_new_object();

	if (!o || jsonx_put_str(o, "event", kind))
		return o;
	json_object_put(o);
	return NULL;
}

int monitor_note(struct monitor *m, const char *text)
{
	struct json_object *o = event_of("note");

	return emit(m, o, o && jsonx_put_str(o, "text", text));
}

/* ---- flows ---- */

static bool wanted(const struct monitor *m, const struct seen_flow *f)
{
	if (!m->filtered)
		return true;
	switch (m->filter.flush.what) {
	case CTL_FLUSH_ALL:
		return true;
	case CTL_FLUSH_FLOW:
		return !memcmp(&f->v.key, &m->filter.flush.flow, sizeof(f->v.key));
	case CTL_FLUSH_POD_ADDR:
		return f->v.key.saddr == m->filter.flush.addr;
	case CTL_FLUSH_POD_IF:
		return !strcmp(f->v.pod_ifname, m->filter.flush.ifname);
	case CTL_FLUSH_PEER:
		return f->v.peer == m->filter.flush.addr;
	}
	return false;
}

static int addr_of(struct json_object *o, const char *key, __be32 *addr)
{
	const char *s = jsonx_str(o, key);

	return text_parse_addr(s, strlen(s), addr);
}

static bool read_flow(struct json_object *o, struct seen_flow *f)
{
	const char *proto = jsonx_str(o, "protocol");
	uint64_t sport = jsonx_u64(o, "sport"), dport = jsonx_u64(o, "dport");

	memset(f, 0, sizeof(*f));
	if (addr_of(o, "saddr", &f->v.key.saddr) || addr_of(o, "daddr", &f->v.key.daddr) ||
	    addr_of(o, "peer", &f->v.peer) || sport > 65535 || dport > 65535)
		return false;
	f->v.key.proto = strcmp(proto, "tcp") ? IPPROTO_UDP : IPPROTO_TCP;
	f->v.key.sport = htons((uint16_t)sport);
	f->v.key.dport = htons((uint16_t)dport);
	f->v.label = (uint16_t)jsonx_u64(o, "label");
	f->v.out_ms = jsonx_i64(o, "out_ms");
	f->v.in_ms = jsonx_i64(o, "in_ms");
	strncpy(f->v.pod_ifname, jsonx_str(o, "pod_ifname"), sizeof(f->v.pod_ifname) - 1);
	strncpy(f->state, jsonx_str(o, "state"), sizeof(f->state) - 1);
	return true;
}

static int read_look(struct json_object *result, struct look *l)
{
	struct json_object *list = jsonx_list(result, "flows");
	unsigned int n = jsonx_len(list);

	memset(l, 0, sizeof(*l));
	l->flows = calloc(n + 1, sizeof(*l->flows));
	if (!l->flows)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++)
		l->n += read_flow(json_object_array_get_idx(list, i), &l->flows[l->n]);
	/* The daemon sorts, too, before it cuts. */
	qsort(l->flows, l->n, sizeof(*l->flows), view_flow_cmp);
	l->cut = jsonx_u64(result, "total") > n;
	return 0;
}

static int tell_flow(const struct monitor *m, const char *what, const struct seen_flow *f,
		     const char *from)
{
	struct json_object *o;
	char flow[CTL_FLOW_STR];

	if (!wanted(m, f))
		return 0;
	o = event_of("flow");
	return emit(m, o,
		    o && jsonx_put_str(o, "what", what) &&
			    jsonx_put_str(o, "flow", ctl_format_flow(flow, &f->v.key)) &&
			    jsonx_put_addr(o, "peer", f->v.peer) &&
			    jsonx_put_str(o, "from", from) &&
			    jsonx_put_str(o, "to", strcmp(what, "gone") ? f->state : "") &&
			    jsonx_put_u64(o, "label", f->v.label) &&
			    jsonx_put_i64(o, "out_ms", f->v.out_ms) &&
			    jsonx_put_i64(o, "in_ms", f->v.in_ms));
}

static int tell_change(const struct monitor *m, const struct seen_flow *was,
		       const struct seen_flow *is)
{
	if (strcmp(was->state, is->state))
		return tell_flow(m, "state", is, was->state);
	if (was->v.label != is->v.label)
		return tell_flow(m, "label", is, was->state);
	return 0;
}

/*
 * Both are sorted. Of a look that was cut short, what lies behind its last flow is not known: a
 * flow there is neither new nor gone.
 */
static int compare(const struct monitor *m, const struct look *was, const struct look *is)
{
	const struct seen_flow *last_was = was->cut && was->n ? &was->flows[was->n - 1] : NULL;
	const struct seen_flow *last_is = is->cut && is->n ? &is->flows[is->n - 1] : NULL;
	size_t i = 0, k = 0;
	int err = 0, c;

	while (!err && (i < was->n || k < is->n)) {
		const struct seen_flow *a = &was->flows[i], *b = &is->flows[k];

		c = i == was->n ? 1 : k == is->n ? -1 : view_flow_cmp(a, b);
		if (c < 0) {
			if (!last_is || view_flow_cmp(a, last_is) < 0)
				err = tell_flow(m, "gone", a, a->state);
			i++;
		} else if (c > 0) {
			if (!last_was || view_flow_cmp(b, last_was) < 0)
				err = tell_flow(m, "new", b, "");
			k++;
		} else {
			err = tell_change(m, a, b);
			i++;
			k++;
		}
	}
	return err;
}

int monitor_flows(struct monitor *m, struct json_object *result)
{
	struct look now;
	char text[128];
	int err;

	err = read_look(result, &now);
	if (err)
		return err;
	if (now.cut && !m->told_cut) {
		m->told_cut = true;
		snprintf(text, sizeof(text),
			 "the first %zu flows of %llu are watched; --limit watches more", now.n,
			 (unsigned long long)jsonx_u64(result, "total"));
		err = monitor_note(m, text);
	}
	if (m->looked)
		err = err ?: compare(m, &m->look, &now);
	free(m->look.flows);
	m->look = now;
	m->looked = true;
	return err;
}

/* ---- peers and pods ---- */

static struct seen_thing *find(const struct things *t, const char *name)
{
	for (size_t i = 0; i < t->n; i++)
		if (!strcmp(t->v[i].name, name))
			return &t->v[i];
	return NULL;
}

/* How one kind of thing is read and told. */
struct kind {
	const char *list;
	bool (*read)(struct json_object *o, struct seen_thing *t);
	int (*tell)(const struct monitor *m, const char *what, struct json_object *o,
		    const struct seen_thing *t, const char *from);
};

static int compare_things(const struct monitor *m, struct things *was, struct json_object *result,
			  const struct kind *kind)
{
	struct json_object *list = jsonx_list(result, kind->list), *o;
	struct things now = { .any = true };
	const struct seen_thing *old;
	int err = 0;

	now.v = calloc(jsonx_len(list) + 1, sizeof(*now.v));
	if (!now.v)
		return -ENOMEM;
	for (unsigned int i = 0; i < jsonx_len(list) && !err; i++) {
		struct seen_thing *t = &now.v[now.n];

		o = json_object_array_get_idx(list, i);
		if (!kind->read(o, t) || find(&now, t->name))
			continue;
		now.n++;
		old = find(was, t->name);
		if (!old)
			err = kind->tell(m, "new", o, t, "");
		else if (strcmp(old->state, t->state))
			err = kind->tell(m, "state", o, t, old->state);
	}
	for (size_t i = 0; i < was->n && !err; i++)
		if (!find(&now, was->v[i].name))
			err = kind->tell(m, "gone", NULL, &was->v[i], was->v[i].state);
	free(was->v);
	*was = now;
	return err;
}

static bool read_peer(struct json_object *o, struct seen_thing *t)
{
	strncpy(t->name, jsonx_str(o, "addr"), sizeof(t->name) - 1);
	strncpy(t->state, jsonx_str(o, "state"), sizeof(t->state) - 1);
	return *t->name;
}

static int tell_peer(const struct monitor *m, const char *what, struct json_object *peer,
		     const struct seen_thing *t, const char *from)
{
	struct json_object *o = event_of("peer");

	return emit(m, o,
		    o && jsonx_put_str(o, "what", what) && jsonx_put_str(o, "addr", t->name) &&
			    jsonx_put_str(o, "from", from) &&
			    jsonx_put_str(o, "to", peer ? t->state : "") &&
			    jsonx_put_str(o, "hint", jsonx_str(peer, "hint")));
}

int monitor_peers(struct monitor *m, struct json_object *result)
{
	static const struct kind kind = { "peers", read_peer, tell_peer };

	return compare_things(m, &m->peers, result, &kind);
}

/* Those without a host side have no name that is theirs alone. */
static bool read_pod(struct json_object *o, struct seen_thing *t)
{
	if (!jsonx_u64(o, "ifindex"))
		return false;
	strncpy(t->name, jsonx_str(o, "ifname"), sizeof(t->name) - 1);
	strncpy(t->state, jsonx_bool(o, "attached") ? "attached" : "overlay", sizeof(t->state) - 1);
	return *t->name;
}

static int tell_pod(const struct monitor *m, const char *what, struct json_object *pod,
		    const struct seen_thing *t, const char *from)
{
	struct json_object *o = event_of("pod");

	(void)from;
	if (!strcmp(what, "state"))
		what = strcmp(t->state, "attached") ? "detached" : "attached";
	return emit(m, o,
		    o && jsonx_put_str(o, "what", what) && jsonx_put_str(o, "ifname", t->name) &&
			    jsonx_put_str(o, "addrs", jsonx_str(pod, "addrs")) &&
			    jsonx_put_bool(o, "attached", !strcmp(t->state, "attached")) &&
			    jsonx_put_str(o, "mode", jsonx_str(pod, "mode")) &&
			    jsonx_put_str(o, "reason", jsonx_str(pod, "reason")));
}

int monitor_pods(struct monitor *m, struct json_object *result)
{
	static const struct kind kind = { "pods", read_pod, tell_pod };

	return compare_things(m, &m->pods, result, &kind);
}

/* ---- decisions ---- */

/* The daemon lists all reasons, always in the same order; a later one may know more of them. */
int monitor_counters(struct monitor *m, struct json_object *result)
{
	struct json_object *list = jsonx_list(result, "counters"), *o = NULL, *by, *c;
	unsigned int n = jsonx_len(list), some = 0;
	bool first = !m->counters;
	uint64_t *now = calloc(n + 1, sizeof(*now));
	bool ok;

	if (!now)
		return -ENOMEM;
	by = json_object_new_object();
	ok = by;
	for (unsigned int i = 0; i < n && ok; i++) {
		uint64_t was = !first && i < m->n_counters ? m->counters[i] : 0, more;

		c = json_object_array_get_idx(list, i);
		now[i] = jsonx_u64(c, "packets");
		/* The tables were made anew. */
		more = now[i] >= was ? now[i] - was : now[i];
		if (!more || first || !*jsonx_str(c, "name"))
			continue;
		some++;
		/* Not jsonx_put_u64(): the name does not outlive the answer. */
		ok = !json_object_object_add(by, jsonx_str(c, "name"),
					     json_object_new_uint64(more));
	}
	free(m->counters);
	m->counters = now;
	m->n_counters = n;
	if (ok && !some) {
		json_object_put(by);
		return 0;
	}
	if (ok)
		o = event_of("decisions");
	else
		json_object_put(by);
	if (o)
		return emit(m, o, jsonx_put(o, "packets", by));
	if (ok)
		json_object_put(by);
	return -ENOMEM;
}

int monitor_trace(struct monitor *m, struct json_object *result)
{
	struct json_object *out = jsonx_get(result, "out"), *in = jsonx_get(result, "in"), *o;
	char *now = NULL;

	if (asprintf(&now, "%s %s %s %s", jsonx_str(out, "path"), jsonx_str(out, "reason"),
		     jsonx_str(in, "path"), jsonx_str(in, "reason")) < 0)
		return -ENOMEM;
	if (m->decision && !strcmp(m->decision, now)) {
		free(now);
		return 0;
	}
	free(m->decision);
	m->decision = now;
	o = event_of("decision");
	return emit(m, o,
		    o && jsonx_put_str(o, "flow", jsonx_str(result, "flow")) &&
			    jsonx_put_str(o, "out", jsonx_str(out, "path")) &&
			    jsonx_put_str(o, "out_reason", jsonx_str(out, "reason")) &&
			    jsonx_put_str(o, "in", jsonx_str(in, "path")) &&
			    jsonx_put_str(o, "in_reason", jsonx_str(in, "reason")) &&
			    jsonx_put_str(o, "text", jsonx_str(result, "summary")));
}
