// SPDX-License-Identifier: GPL-2.0-only
#include "web.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "clock.h"
#include "httpd.h"
#include "log.h"
#include "metrics.h"
#include "ready.h"
#include "version.h"

/* Periods of the loop that may be missed. */
#define HEALTH_PERIODS 3

/* ---- facts ---- */

static void count_peers(const struct daemon *d, uint64_t by_state[HELLO_STATES])
{
	for (unsigned int i = 0; i < d->hello.max_peers; i++) {
		const struct hello_peer *p = &d->hello.peers[i];

		if (p->used && p->state < HELLO_STATES)
			by_state[p->state]++;
	}
}

static enum metrics_mode metrics_mode(enum config_mode m)
{
	return m == CONFIG_MODE_RPEER	 ? METRICS_RPEER
	       : m == CONFIG_MODE_NETKIT ? METRICS_NETKIT
					 : METRICS_VETH;
}

static void count_interfaces(const struct daemon *d, struct metrics_facts *m)
{
	for (size_t i = 0; i < d->want.n; i++) {
		const struct reconcile_item *it = &d->want.v[i];
		const struct attachment *a = attach_find(d, it->key.ifindex);

		if (it->key.role == RECONCILE_NIC)
			m->underlay += a != NULL;
		else if (a)
			m->pods_attached[metrics_mode(a->as.mode)]++;
		else if (it->attach)
			m->pods_failed++;
		else
			m->pods_excluded++;
	}
}

static uint64_t resident_bytes(void)
{
	unsigned long long size, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f)
		return 0;
	if (fscanf(f, "%llu %llu", &size, &resident) != 2)
		resident = 0;
	fclose(f);
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
	struct rusage u = {};

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct ready_facts ready_facts(const struct daemon *d)
{
	struct ready_facts f = {
		.started = d->ready_us,
		.addresses = d->n_nodes,
		.stale = d->stale,
		.pin_err = d->dp.pin_err,
		.netlink_err = d->netlink_err,
		.peers = d->hello.n_peers,
	};
	uint64_t peers[HELLO_STATES] = { 0 };
	struct metrics_facts m = {};

	/* DATAPATH_RPEER_EGRESS is loaded where the kernel has it. */
	for (unsigned int i = 0; i < DATAPATH_RPEER_EGRESS; i++) {
		f.programs_wanted++;
		f.programs += datapath_prog_fd(&d->dp, i) >= 0;
	}
	count_interfaces(d, &m);
	f.underlay = (unsigned int)m.underlay;
	for (unsigned int i = 0; i < METRICS_MODES; i++)
		f.pods_attached += (unsigned int)m.pods_attached[i];
	f.pods_failed = (unsigned int)m.pods_failed;
	count_peers(d, peers);
	f.peers_up = (unsigned int)peers[HELLO_UP];
	return f;
}

/* Return: what the caller frees, NULL without rules or memory. */
static struct metrics_rule *rule_facts(struct daemon *d, struct metrics_facts *m)
{
	struct metrics_rule *r = d->rules.n ? calloc(d->rules.n, sizeof(*r)) : NULL;
	struct xm_counter c[XM_RULES_MAX];

	if (!r || datapath_rule_counters(&d->dp, c)) {
		free(r);
		return NULL;
	}
	for (unsigned int i = 0; i < d->rules.n; i++) {
		const struct policy_rule *p = d->rules.v[i].rule;

		r[i] = (struct metrics_rule){ p->name, d->rules.v[i].live ? "live" : "file",
					      policy_dir_name(p->dir),
					      policy_action_name(policy_action(p)),
					      c[d->rules.v[i].slot] };
	}
	m->rule = r;
	m->n_rules = d->rules.n;
	return r;
}

static int metrics_facts(struct daemon *d, struct metrics_facts *m, char why[2][MODE_WHY * 2])
{
	struct ready_facts f = ready_facts(d);
	struct rtnl_stats nl;
	int err;

	err = datapath_counters(&d->dp, m->counter);
	if (err)
		return err;
	m->version = XM_VERSION;
	m->mode = config_mode_name(daemon_mode(d, why[0], MODE_WHY * 2));
	m->attach = config_attach_name(daemon_attach(d, why[1], MODE_WHY * 2));
	m->start_time = d->start_time;
	m->cpu_seconds = cpu_seconds();
	m->rss_bytes = resident_bytes();
	m->ready = ready(&f);
	m->tcp_ok = d->tcp_ok;
	memcpy(m->flows, d->use.by_state, sizeof(m->flows));
	m->map[0] = (struct metrics_map){ "flows", d->use.flows, d->dp.meta.flows,
					  datapath_flows_bytes(&d->dp) };
	m->map[1] = (struct metrics_map){ "labels", d->use.labels, d->dp.meta.flows,
					  datapath_labels_bytes(&d->dp) };
	m->map[2] = (struct metrics_map){ "peers", d->hello.n_peers, d->dp.meta.peers,
					  datapath_peers_bytes(&d->dp) };
	count_peers(d, m->peers);
	count_interfaces(d, m);
	m->frames_sent = d->packet.sent;
	m->frames_failed = d->packet.failed;
	m->bad_messages = d->hello.bad_events;
	m->peers_refused = d->hello.table_full;
	rtnl_stats(d->rtnl, &nl);
	m->nl_messages = nl.messages;
	m->nl_malformed = nl.malformed;
	m->nl_overruns = nl.overruns;
	m->nl_resyncs = nl.resyncs;
	for (unsigned int i = 0; i < METRICS_LEVELS; i++)
		m->logged[i] = log_written((enum config_log_level)i);
	return 0;
}

/* ---- answers ---- */

static void say(struct httpd_reply *r, unsigned int status, const char *text)
{
	r->status = status;
	r->body = strdup(text);
	r->len = strlen(text);
}

static void serve_metrics(struct daemon *d, struct httpd_reply *r)
{
	char why[2][MODE_WHY * 2];
	struct metrics_facts *m = calloc(1, sizeof(*m));
	struct metrics_rule *rules = m ? rule_facts(d, m) : NULL;
	int err = m ? metrics_facts(d, m, why) : -ENOMEM;

	if (err) {
		log_ratelimited(CONFIG_LOG_WARN, 1, "cannot read the counters: %s", strerror(-err));
		say(r, 500, "the counters cannot be read: see the log of xmasqd\n");
	} else {
		r->status = 200;
		r->type = "text/plain; version=0.0.4; charset=utf-8";
		r->body = metrics_text(m, &r->len);
	}
	free(rules);
	free(m);
}

static void serve_ready(const struct daemon *d, struct httpd_reply *r)
{
	struct ready_facts f = ready_facts(d);

	r->status = ready(&f) ? 200 : 503;
	r->body = ready_text(&f, &r->len);
}

static void serve_health(const struct daemon *d, struct httpd_reply *r)
{
	bool ok;

	r->body = health_text(clock_ms() - d->periodic_ms,
			      (uint64_t)HEALTH_PERIODS * DAEMON_RECYCLE_MS, &ok, &r->len);
	r->status = ok ? 200 : 503;
}

static void handle(void *arg, const char *path, struct httpd_reply *r)
{
	struct daemon *d = arg;

	if (!strcmp(path, "/metrics"))
		serve_metrics(d, r);
	else if (!strcmp(path, "/readyz"))
		serve_ready(d, r);
	else if (!strcmp(path, "/healthz"))
		serve_health(d, r);
	else
		say(r, strcmp(path, "/") ? 404 : 200,
		    "xmasqd: /metrics (Prometheus), /healthz (alive), /readyz (ready, and why not)\n");
}

/* ---- the server ---- */

static const char *hint(int err)
{
	switch (-err) {
	case EADDRINUSE:
		return "; another program is there: choose another port, or \"\" for none";
	case EADDRNOTAVAIL:
		return "; no interface has that address (yet)";
	case EACCES:
		return "; ports below 1024 need CAP_NET_BIND_SERVICE";
	case EAFNOSUPPORT:
		return "; RestrictAddressFamilies= of the unit must have AF_INET, and AF_INET6 for IPv6";
	default:
		return "";
	}
}

static int try_open(struct daemon *d)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int err;

	err = httpd_open(&d->web, d->cfg.metrics_listen, handle, d);
	if (err)
		return err;
	ev.data.fd = httpd_fd(d->web);
	if (!epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, ev.data.fd, &ev))
		return 0;
	err = -errno;
	httpd_close(d->web);
	d->web = NULL;
	return err;
}

void web_sync(struct daemon *d)
{
	bool changed = strcmp(d->web_listen, d->cfg.metrics_listen) != 0;
	struct listen_addr a;
	int err;

	if (changed) {
		web_close(d);
		memcpy(d->web_listen, d->cfg.metrics_listen, sizeof(d->web_listen));
		d->web_err = 0;
	}
	if (d->web || !d->web_listen[0])
		return;
	err = try_open(d);
	/* Told once for each reason: it is tried again every few seconds. */
	if (err && err != d->web_err)
		log_error(
			"metrics.listen %s: %s%s; metrics and probes are not served until it works, all else runs",
			d->web_listen, strerror(-err), hint(err));
	if (!err && !listen_parse(d->web_listen, strlen(d->web_listen), &a))
		log_info("metrics and probes on http://%s%s", d->web_listen,
			 listen_is_loopback(&a) ? "" : ": others than this machine can read them");
	d->web_err = err;
}

int web_timeout_ms(const struct daemon *d)
{
	return d->web ? httpd_timeout_ms(d->web) : -1;
}

void web_dispatch(struct daemon *d)
{
	if (d->web)
		httpd_dispatch(d->web);
}

void web_close(struct daemon *d)
{
	/* Closing takes it out of the loop's epoll. */
	httpd_close(d->web);
	d->web = NULL;
}
