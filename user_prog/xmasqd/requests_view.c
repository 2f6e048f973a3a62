// SPDX-License-Identifier: GPL-2.0-only
/* Gathers what status, pods, flows and peers show. */
#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "flow_state.h"
#include "log.h"
#include "netns_guest.h"
#include "podnames.h"
#include "requests.h"
#include "version.h"
#include "view.h"
#include "xm_util.h"

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

static void count_pods(const struct daemon *d, struct view_status *s)
{
	for (size_t i = 0; i < d->want.n; i++) {
		/* What is not to be attached is in "pods", with the reason. */
		if (d->want.v[i].key.role != RECONCILE_POD || !d->want.v[i].attach)
			continue;
		s->pods++;
		if (attach_find(d, d->want.v[i].key.ifindex))
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

int requests_status(struct daemon *d, struct json_object **result)
{
	struct xm_counter c[XM_R_MAX];
	struct sysctl_view *store;
	struct view_sysctl sysctls[SYSCTLS_MAX];
	struct view_program programs[DATAPATH_PROGS];
	struct view_table tables[3];
	struct rtnl_stats netlink;
	char nics[128] = "", addrs[128] = "", why_mode[MODE_WHY * 2];
	char why_attach[MODE_WHY * 2];
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
	s.uptime_ms = clock_ms() - d->started_ms;
	s.epoch = d->dp.meta.epoch;
	s.mode = config_mode_name(daemon_mode(d, why_mode, sizeof(why_mode)));
	s.mode_reason = why_mode;
	s.attach = config_attach_name(daemon_attach(d, why_attach, sizeof(why_attach)));
	s.attach_reason = why_attach;
	for (size_t i = 0; i < d->n_att; i++)
		if (d->att[i].key.role == RECONCILE_NIC)
			join(nics, sizeof(nics), d->att[i].name);
	for (unsigned int i = 0; i < d->n_nodes; i++)
		join_addr(addrs, sizeof(addrs), d->nodes[i]);
	s.nics = nics;
	s.node_addrs = addrs;
	s.node_addrs_unused = d->nodes_unused;
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
	s.local = c[XM_R_LOCAL].packets;
	for (unsigned int r = XM_R_NO_FLOW; r <= XM_R_OTHER_POD; r++)
		s.overlay += c[r].packets;
	s.overlay += c[XM_R_TCP_FLAGS].packets;
	rtnl_stats(d->rtnl, &netlink);
	s.netlink_overruns = netlink.overruns;
	s.frames_failed = d->packet.failed;
	s.peers_refused = d->hello.table_full;
	s.bad_events = d->hello.bad_events;
	s.flows_refused = c[XM_R_FLOW_TABLE_FULL].packets;
	s.labels_refused = c[XM_R_LABEL_NONE_FREE].packets;
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
		struct view_program *p = &programs[s.n_programs];

		p->name = datapath_prog_name(i);
		if (!datapath_prog_info(&d->dp, i, &p->id, &p->insns))
			s.n_programs++;
	}
	s.programs = programs;
	*result = view_status_json(&s);
	err = *result ? 0 : -ENOMEM;
out:
	free(store);
	return err;
}

/* ---- pods ---- */

static bool link_leads_to(const struct daemon *d, int32_t nsid)
{
	for (size_t i = 0; i < d->inv.n_links; i++)
		if (d->inv.links[i].l.has_netnsid && d->inv.links[i].l.netnsid == nsid)
			return true;
	return false;
}

static bool is_paired(int32_t nsid, void *arg)
{
	return link_leads_to(arg, nsid);
}

static void put_name(const struct podnames *names, int32_t nsid, struct view_pod *p)
{
	const struct podname *n = nsid == NL_NSID_NONE ? NULL : podnames_find(names, nsid);

	if (!n)
		return;
	p->runtime = n->runtime;
	(void)snprintf(p->pod_ns, sizeof(p->pod_ns), "%s", n->ns);
	(void)snprintf(p->pod, sizeof(p->pod), "%s", n->pod);
	(void)snprintf(p->containers, sizeof(p->containers), "%s", n->container);
}

static void read_names(const struct daemon *d, struct podnames *names)
{
	const struct podnames_roots roots = { .containerd = d->cfg.names_containerd,
					      .docker = d->cfg.names_docker,
					      .podman = d->cfg.names_podman };

	(void)podnames_read(names, &roots);
	if (names->cut)
		log_ratelimited(
			CONFIG_LOG_INFO, 1,
			"names of some pods are unknown: more than %d containers, or reading took %d ms; see names in the configuration",
			PODNAMES_MAX, PODNAMES_MS);
}

/* Pods without a host side: shown with the pod's own interface. */
static void list_guests(const struct daemon *d, const struct netns_guests *g,
			const struct podnames *names, struct view_pod *v, unsigned int *n)
{
	unsigned int own = 0;

	for (size_t i = 0; i < g->n; i++)
		own += g->v[i].own;
	for (size_t i = 0; i < g->n; i++) {
		const struct netns_guest *guest = &g->v[i];
		const struct inv_link *parent = inventory_link(&d->inv, guest->parent);
		struct view_pod *p = &v[*n];
		char on[NL_NAME];

		/* A single name is the node's; which of several is a pod's cannot be told. */
		if (guest->own && own == 1)
			continue;
		(*n)++;
		snprintf(p->netns, sizeof(p->netns), "%.63s", guest->netns);
		if (guest->own) {
			snprintf(
				p->reason, sizeof(p->reason),
				"the node's own namespace (host network): nothing to attach to; a pod in it stays on the overlay");
			continue;
		}
		put_name(names, guest->nsid, p);
		snprintf(p->ifname, sizeof(p->ifname), "%.15s", guest->ifname);
		snprintf(p->kind, sizeof(p->kind), "%.15s", guest->kind);
		for (unsigned int k = 0; k < guest->n_addrs; k++)
			join_addr(p->addrs, sizeof(p->addrs), guest->addrs[k]);
		snprintf(on, sizeof(on), "%u", guest->parent);
		snprintf(
			p->reason, sizeof(p->reason),
			"%s on %s: no veth or netkit pair leads into the pod; it stays on the overlay",
			guest->kind, parent ? parent->l.name : on);
	}
}

static bool is_listed(const struct netns_guests *g, int32_t nsid)
{
	for (size_t i = 0; i < g->n; i++)
		if (!g->v[i].own && g->v[i].nsid == nsid)
			return true;
	return false;
}

/* Namespaces that the node knows and no pair leads into, for whatever reason. */
static void list_unpaired(const struct daemon *d, const struct netns_guests *g,
			  const struct podnames *pod_names, struct view_pod *v, unsigned int *n)
{
	const char *name;
	int32_t nsid, self;

	/* Our own may have an id, too. */
	if (netns_self_id(&self))
		self = NL_NSID_NONE;
	for (size_t i = 0; (name = netns_names_at(d->names, i, &nsid)); i++) {
		struct view_pod *p = &v[*n];

		if (nsid == self || link_leads_to(d, nsid) || is_listed(g, nsid))
			continue;
		(*n)++;
		put_name(pod_names, nsid, p);
		snprintf(p->netns, sizeof(p->netns), "%.63s", name);
		snprintf(
			p->reason, sizeof(p->reason),
			"no veth or netkit pair leads into it (macvlan, ipvlan, an interface of the node)");
	}
}

int requests_pods(struct daemon *d, const struct ctl_request *req, struct json_object **result)
{
	struct netns_guests guests;
	struct podnames pod_names = {};
	struct view_pod *v;
	unsigned int n = 0;
	int names;

	names = netns_names_refresh(d->names);
	/* After an error: those that were found. */
	(void)netns_guests_read(&guests, is_paired, d);
	if (req->pods.names)
		read_names(d, &pod_names);
	v = calloc(d->want.n + guests.n + (size_t)(names > 0 ? names : 0) + 1, sizeof(*v));
	if (!v) {
		netns_guests_free(&guests);
		podnames_free(&pod_names);
		return -ENOMEM;
	}
	for (size_t i = 0; i < d->want.n; i++) {
		const struct reconcile_item *it = &d->want.v[i];
		const struct attachment *a = attach_find(d, it->key.ifindex);
		struct view_pod *p = &v[n];
		const char *name, *why;

		if (it->key.role != RECONCILE_POD)
			continue;
		n++;
		snprintf(p->ifname, sizeof(p->ifname), "%.15s", it->name);
		snprintf(p->kind, sizeof(p->kind), "%.15s", it->kind);
		p->ifindex = it->key.ifindex;
		put_name(&pod_names, it->key.netnsid, p);
		name = netns_name(d->names, it->key.netnsid);
		if (name)
			snprintf(p->netns, sizeof(p->netns), "%.63s", name);
		else
			snprintf(p->netns, sizeof(p->netns), "nsid %d", it->key.netnsid);
		for (unsigned int k = 0; k < it->n_addrs; k++)
			join_addr(p->addrs, sizeof(p->addrs), it->addrs[k]);
		p->attached = a != NULL;
		why = attach_why_not(d, it->key.ifindex);
		if (a) {
			p->attach_us = a->attach_us;
			p->mode = config_mode_name(a->as.mode);
			snprintf(p->reason, sizeof(p->reason), "%s%s",
				 a->why_mode.text[0] ? "better mode not possible: " : "",
				 a->why_mode.text);
		} else if (it->reason[0])
			snprintf(p->reason, sizeof(p->reason), "%s", it->reason);
		else
			snprintf(p->reason, sizeof(p->reason), "attaching failed, see the log%s%s",
				 why ? ": " : "", why ? why : "");
	}
	list_guests(d, &guests, &pod_names, v, &n);
	if (names > 0)
		list_unpaired(d, &guests, &pod_names, v, &n);
	netns_guests_free(&guests);
	podnames_free(&pod_names);
	*result = view_pods_json(v, n);
	free(v);
	return *result ? 0 : -ENOMEM;
}

/* ---- flows ---- */

struct flows {
	struct daemon *d;
	bool active; /* only these */
	struct view_flow *v;
	size_t n, cap;
	uint32_t now;
	int err;
};

static bool add_flow(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	struct flows *w = arg;
	const struct attachment *a;
	struct view_flow *v;
	const char *state = flow_state_name(flow_state(f, w->now));

	if (w->active && strcmp(state, "active"))
		return true;
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 1024;

		v = realloc(w->v, cap * sizeof(*v));
		if (!v) {
			w->err = -ENOMEM;
			return false;
		}
		w->v = v;
		w->cap = cap;
	}
	v = &w->v[w->n++];
	memset(v, 0, sizeof(*v));
	v->key = *key;
	v->peer = f->peer;
	v->label = f->label;
	v->local = f->stage == XM_STAGE_LOCAL;
	v->owner = !v->local && is_owner(f->node, f->peer);
	v->state = state;
	v->out_ms = datapath_ms_left(&w->d->dp, f->out_until);
	v->in_ms = datapath_ms_left(&w->d->dp, f->in_until);
	v->pod_ifindex = f->pod_ifindex;
	a = attach_find(w->d, f->pod_ifindex);
	if (a)
		snprintf(v->pod_ifname, sizeof(v->pod_ifname), "%s", a->name);
	return true;
}

/* All of them, sorted before the list is cut: the same question gets the same flows. */
int requests_flows(struct daemon *d, const struct ctl_request *req, struct json_object **result)
{
	struct flows w = { .d = d, .active = req->flows.active };
	size_t shown;
	int err;

	datapath_clock(&d->dp);
	w.now = (uint32_t)d->dp.clock.jiffies;
	err = datapath_flows(&d->dp, add_flow, &w);
	err = err ?: w.err;
	if (!err) {
		if (w.n)
			qsort(w.v, w.n, sizeof(*w.v), view_flow_cmp);
		shown = w.n < req->flows.limit ? w.n : req->flows.limit;
		*result = view_flows_json(w.v, (unsigned int)shown, w.n);
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
	if (f->stage != XM_STAGE_LOCAL && f->peer_idx < c->max)
		c->n[f->peer_idx]++;
	return true;
}

int requests_peers(struct daemon *d, struct json_object **result)
{
	struct peer_flows c = { .max = d->hello.max_peers };
	uint64_t now = clock_ms();
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
