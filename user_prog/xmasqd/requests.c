// SPDX-License-Identifier: GPL-2.0-only
/* Answers to xmasqctl: gathers what the views show, and flushes. */
#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon.h"
#include "log.h"
#include "version.h"
#include "view.h"

#define SYSCTLS_MAX 8

static void join(char *buf, size_t max, const char *text)
{
	size_t len = strlen(buf);

	snprintf(buf + len, max - len, "%s%s", len ? "," : "", text);
}

static void join_addr(char *buf, size_t max, __be32 addr)
{
	char text[INET_ADDRSTRLEN];

	join(buf, max, inet_ntop(AF_INET, &addr, text, sizeof(text)));
}

static bool is_owner(__be32 node, __be32 peer)
{
	return ntohl(node) < ntohl(peer);
}

/* Our address towards a peer: what hello learned, else the only one there is. */
static __be32 node_towards(const struct daemon *d, __be32 peer)
{
	struct hello_peer *p = hello_find((struct hello *)&d->hello, peer, NULL);

	return p && p->node ? p->node : d->nodes[0];
}

/* ---- status ---- */

struct attached_count {
	unsigned int pods, attached;
};

static const struct attachment *attached(const struct daemon *d, uint32_t ifindex)
{
	for (size_t i = 0; i < d->n_att; i++)
		if (d->att[i].key.ifindex == ifindex)
			return &d->att[i];
	return NULL;
}

static void count_pods(const struct daemon *d, struct view_status *s)
{
	for (size_t i = 0; i < d->want.n; i++) {
		if (d->want.v[i].key.role != RECONCILE_POD)
			continue;
		s->pods++;
		if (attached(d, d->want.v[i].key.ifindex))
			s->pods_attached++;
	}
}

static unsigned int list_sysctls(const struct daemon *d, struct view_sysctl *out,
				 struct sysctl_view *store)
{
	unsigned int n = 0;

	while (n < SYSCTLS_MAX && sysctl_view(d->sysctl, n, &store[n])) {
		out[n].name = store[n].name;
		out[n].before = store[n].before;
		out[n].now = store[n].now;
		out[n].ours = store[n].ours;
		n++;
	}
	return n;
}

static int status(struct daemon *d, struct json_object **result)
{
	struct xm_counter c[XM_R_MAX];
	struct sysctl_view *store;
	struct view_sysctl sysctls[SYSCTLS_MAX];
	struct view_program programs[DATAPATH_PROGS];
	struct view_table tables[3];
	struct rtnl_stats netlink;
	char nics[128] = "", addrs[128] = "";
	struct view_status s = {};
	int err;

	store = calloc(SYSCTLS_MAX, sizeof(*store));
	if (!store)
		return -ENOMEM;
	err = datapath_recycle(&d->dp, DAEMON_FLOW_IDLE_MS, &d->use);
	if (err >= 0)
		err = datapath_counters(&d->dp, c);
	if (err < 0)
		goto out;

	s.version = XM_VERSION;
	s.pid = (uint32_t)getpid();
	s.uptime_ms = daemon_now_ms() - d->started_ms;
	s.epoch = d->dp.meta.epoch;
	s.mode = "veth";
	s.mode_reason = d->cfg.mode == CONFIG_MODE_VETH
				? "configured"
				: "the mode that every kernel has; others are not built in";
	for (size_t i = 0; i < d->n_att; i++)
		if (d->att[i].key.role == RECONCILE_NIC)
			join(nics, sizeof(nics), d->att[i].name);
	for (unsigned int i = 0; i < d->n_nodes; i++)
		join_addr(addrs, sizeof(addrs), d->nodes[i]);
	s.nics = nics;
	s.node_addrs = addrs;
	s.masquerade_port = d->cfg.masquerade_port;
	s.lease_ms = d->cfg.lease_ms;
	s.authenticated = d->hello.cfg.key_len > 0;
	s.tcp_ok = d->tcp_ok;
	s.tcp_reason = d->tcp_reason;
	count_pods(d, &s);
	s.peers = d->hello.n_peers;
	for (unsigned int i = 0; i < d->hello.max_peers; i++)
		if (d->hello.peers[i].used && d->hello.peers[i].state == HELLO_UP)
			s.peers_up++;
	s.flows = d->use.flows;
	s.flows_active = d->use.active;
	s.masqueraded = c[XM_R_MASQUERADED].packets;
	s.restored = c[XM_R_RESTORED].packets;
	for (unsigned int r = XM_R_NO_FLOW; r <= XM_R_OTHER_POD; r++)
		s.overlay += c[r].packets;
	s.overlay += c[XM_R_TCP_FLAGS].packets;
	rtnl_stats(d->rtnl, &netlink);
	s.netlink_overruns = netlink.overruns;
	tables[0] = (struct view_table){ "flows", d->use.flows, d->cfg.flows,
					 datapath_flows_bytes(&d->dp) };
	tables[1] = (struct view_table){ "labels", d->use.labels, d->cfg.flows,
					 datapath_labels_bytes(&d->dp) };
	tables[2] = (struct view_table){ "peers", d->hello.n_peers, d->cfg.peers,
					 datapath_peers_bytes(&d->dp) };
	s.tables = tables;
	s.n_tables = XM_ARRAY_SIZE(tables);
	s.sysctls = sysctls;
	s.n_sysctls = list_sysctls(d, sysctls, store);
	for (unsigned int i = 0; i < DATAPATH_PROGS; i++) {
		programs[i].name = datapath_prog_name(i);
		datapath_prog_info(&d->dp, i, &programs[i].id, &programs[i].insns);
	}
	s.programs = programs;
	s.n_programs = DATAPATH_PROGS;
	*result = view_status_json(&s);
	err = *result ? 0 : -ENOMEM;
out:
	free(store);
	return err;
}

/* ---- pods ---- */

static int pods(struct daemon *d, struct json_object **result)
{
	struct view_pod *v;
	unsigned int n = 0;

	v = calloc(d->want.n + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	netns_names_refresh(d->names);
	for (size_t i = 0; i < d->want.n; i++) {
		const struct reconcile_item *it = &d->want.v[i];
		const struct attachment *a = attached(d, it->key.ifindex);
		struct view_pod *p = &v[n];
		const char *name;

		if (it->key.role != RECONCILE_POD)
			continue;
		n++;
		snprintf(p->ifname, sizeof(p->ifname), "%.15s", it->name);
		snprintf(p->kind, sizeof(p->kind), "%.15s", it->kind);
		p->ifindex = it->key.ifindex;
		name = netns_name(d->names, it->key.netnsid);
		if (name)
			snprintf(p->netns, sizeof(p->netns), "%.63s", name);
		else
			snprintf(p->netns, sizeof(p->netns), "nsid %d", it->key.netnsid);
		for (unsigned int k = 0; k < it->n_addrs; k++)
			join_addr(p->addrs, sizeof(p->addrs), it->addrs[k]);
		p->attached = a != NULL;
		if (a)
			p->attach_us = a->attach_us;
		else
			snprintf(p->reason, sizeof(p->reason), "%s",
				 it->reason[0] ? it->reason : "attaching failed, see the log");
	}
	*result = view_pods_json(v, n);
	free(v);
	return *result ? 0 : -ENOMEM;
}

/* ---- flows ---- */

struct flows {
	struct daemon *d;
	const struct ctl_request *req;
	struct view_flow *v;
	unsigned int n;
	uint64_t total;
	uint32_t now;
};

static const char *flow_state(const struct flows *w, const struct xm_flow *f)
{
	bool out = xm_before(w->now, f->out_until), in = xm_before(w->now, f->in_until);

	if (f->ended)
		return "ended";
	if (f->stage == XM_STAGE_READY)
		return out && in ? "active" : "lapsed";
	if (f->stage == XM_STAGE_TOLD)
		return "told";
	return out && in ? "seen" : "new";
}

static bool add_flow(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct flows *w = arg;
	const struct attachment *a;
	struct view_flow *v;
	const char *state = flow_state(w, f);

	if (w->req->flows.active && strcmp(state, "active"))
		return true;
	w->total++;
	if (w->n == w->req->flows.limit)
		return true;
	v = &w->v[w->n++];
	v->key = *key;
	v->peer = f->peer;
	v->label = f->label;
	v->owner = is_owner(f->node, f->peer);
	v->state = state;
	v->out_ms = datapath_ms_left(&w->d->dp, f->out_until);
	v->in_ms = datapath_ms_left(&w->d->dp, f->in_until);
	v->pod_ifindex = f->pod_ifindex;
	a = attached(w->d, f->pod_ifindex);
	if (a)
		snprintf(v->pod_ifname, sizeof(v->pod_ifname), "%s", a->name);
	return true;
}

static int flows(struct daemon *d, const struct ctl_request *req, struct json_object **result)
{
	struct flows w = { .d = d, .req = req };
	int err;

	w.v = calloc(req->flows.limit, sizeof(*w.v));
	if (!w.v)
		return -ENOMEM;
	datapath_clock(&d->dp);
	w.now = (uint32_t)d->dp.clock.jiffies;
	err = datapath_flows(&d->dp, add_flow, &w);
	if (!err) {
		*result = view_flows_json(w.v, w.n, w.total);
		err = *result ? 0 : -ENOMEM;
	}
	free(w.v);
	return err;
}

/* ---- peers ---- */

struct peer_flows {
	uint32_t *n; /* by slot */
	unsigned int max;
};

static bool count_peer(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct peer_flows *c = arg;

	(void)key;
	if (f->peer_idx < c->max)
		c->n[f->peer_idx]++;
	return true;
}

static int peers(struct daemon *d, struct json_object **result)
{
	struct peer_flows c = { .max = d->hello.max_peers };
	uint64_t now = daemon_now_ms();
	struct view_peer *v;
	unsigned int n = 0;
	int err = -ENOMEM;

	v = calloc(d->hello.n_peers + 1, sizeof(*v));
	c.n = calloc(c.max, sizeof(*c.n));
	if (!v || !c.n)
		goto out;
	datapath_flows(&d->dp, count_peer, &c);
	for (unsigned int i = 0; i < d->hello.max_peers && n < d->hello.n_peers; i++) {
		const struct hello_peer *p = &d->hello.peers[i];
		int64_t left[XM_PROTOS];

		if (!p->used)
			continue;
		for (int k = 0; k < XM_PROTOS; k++)
			left[k] = p->up_until_ms[k] ? (int64_t)(p->up_until_ms[k] - now)
						    : INT64_MIN;
		v[n].addr = p->addr;
		v[n].state = hello_state_name(p->state);
		v[n].hint = p->state == HELLO_UP ? "" : hello_state_text(p->state);
		v[n].tcp_ms = left[XM_TCP];
		v[n].udp_ms = left[XM_UDP];
		v[n].rtt_us = p->rtt_us;
		v[n].epoch = p->epoch;
		v[n].owner = is_owner(node_towards(d, p->addr), p->addr);
		v[n].flows = c.n[i];
		v[n].hellos_tx = p->hellos_tx;
		v[n].hellos_rx = p->hellos_rx;
		n++;
	}
	*result = view_peers_json(v, n);
	err = *result ? 0 : -ENOMEM;
out:
	free(v);
	free(c.n);
	return err;
}

/* ---- flush ---- */

struct flush {
	struct daemon *d;
	const struct ctl_request *req;
	uint32_t ifindex;
	struct {
		struct xm_flow_key key;
		struct xm_flow f;
	} * v;
	size_t n, cap;
	int err;
};

static bool flush_matches(const struct flush *w, const struct xm_flow_key *key,
			  const struct xm_flow *f)
{
	switch (w->req->flush.what) {
	case CTL_FLUSH_ALL:
		return true;
	case CTL_FLUSH_FLOW:
		return !memcmp(key, &w->req->flush.flow, sizeof(*key));
	case CTL_FLUSH_POD_ADDR:
		return key->saddr == w->req->flush.addr;
	case CTL_FLUSH_POD_IF:
		return f->pod_ifindex == w->ifindex;
	case CTL_FLUSH_PEER:
		return f->peer == w->req->flush.addr;
	}
	return false;
}

static bool flush_collect(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct flush *w = arg;

	if (!flush_matches(w, key, f))
		return true;
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 256;
		void *v = realloc(w->v, cap * sizeof(*w->v));

		if (!v) {
			w->err = -ENOMEM;
			return false;
		}
		w->v = v;
		w->cap = cap;
	}
	w->v[w->n].key = *key;
	w->v[w->n++].f = *f;
	return true;
}

static int flush(struct daemon *d, const struct ctl_request *req, struct json_object **result,
		 char *why, size_t why_len)
{
	struct flush w = { .d = d, .req = req };
	size_t done = 0;
	int err;

	if (req->flush.what == CTL_FLUSH_POD_IF) {
		w.ifindex = if_nametoindex(req->flush.ifname);
		if (!w.ifindex) {
			snprintf(why, why_len, "no interface %s; see xmasqctl pods",
				 req->flush.ifname);
			return -ENODEV;
		}
	}
	datapath_clock(&d->dp);
	err = datapath_flows(&d->dp, flush_collect, &w);
	for (size_t i = 0; i < w.n; i++)
		if (!datapath_flow_del(&d->dp, &w.v[i].key, &w.v[i].f))
			done++;
	free(w.v);
	if (err || w.err)
		return err ?: w.err;
	*result = json_object_new_object();
	if (!*result)
		return -ENOMEM;
	json_object_object_add(*result, "flushed", json_object_new_int64((int64_t)done));
	log_info("%zu flows flushed on request", done);
	return 0;
}

/* ---- the rest ---- */

static int cleanup(struct daemon *d, struct json_object **result, char *why, size_t why_len)
{
	int err;

	d->stop = true;
	d->cleanup = true;
	err = daemon_cleanup(d);
	if (err < 0) {
		snprintf(why, why_len, "%s; see the log", strerror(-err));
		return err;
	}
	*result = json_object_new_object();
	if (!*result)
		return -ENOMEM;
	json_object_object_add(*result, "sysctls_kept", json_object_new_boolean(err == 1));
	return 0;
}

static int version(struct json_object **result)
{
	*result = json_object_new_object();
	if (!*result)
		return -ENOMEM;
	json_object_object_add(*result, "version", json_object_new_string(XM_VERSION));
	json_object_object_add(*result, "layout", json_object_new_int(XM_LAYOUT));
	json_object_object_add(*result, "wire", json_object_new_int(XM_WIRE_VERSION));
	return 0;
}

static int counters(struct daemon *d, struct json_object **result)
{
	struct xm_counter c[XM_R_MAX];
	int err;

	err = datapath_counters(&d->dp, c);
	if (err)
		return err;
	*result = view_counters_json(c);
	return *result ? 0 : -ENOMEM;
}

int requests_handle(void *arg, const struct ctl_request *req, struct json_object **result,
		    char *err, size_t err_len)
{
	struct daemon *d = arg;

	switch (req->command) {
	case CTL_STATUS:
		return status(d, result);
	case CTL_PODS:
		return pods(d, result);
	case CTL_FLOWS:
		return flows(d, req, result);
	case CTL_PEERS:
		return peers(d, result);
	case CTL_COUNTERS:
		return counters(d, result);
	case CTL_FLUSH:
		return flush(d, req, result, err, err_len);
	case CTL_CLEANUP:
		return cleanup(d, result, err, err_len);
	case CTL_CONFIG:
		*result = config_to_json(&d->cfg);
		return *result ? 0 : -ENOMEM;
	case CTL_VERSION:
		return version(result);
	case CTL_COMMANDS:
		break;
	}
	return -EOPNOTSUPP;
}
