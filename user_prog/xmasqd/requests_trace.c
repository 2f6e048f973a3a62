// SPDX-License-Identifier: GPL-2.0-only
/* Gathers what "xmasqctl trace" explains. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "requests.h"
#include "rules.h"
#include "trace.h"

/* Interface of the pod with this address, NULL when it is none of this node's. */
static const struct reconcile_item *pod_of(const struct daemon *d, __be32 addr)
{
	for (size_t i = 0; i < d->want.n; i++) {
		const struct reconcile_item *it = &d->want.v[i];

		for (unsigned int k = 0; it->key.role == RECONCILE_POD && k < it->n_addrs; k++)
			if (it->addrs[k] == addr)
				return it;
	}
	return NULL;
}

/* By the entry, when the address is not known (yet): the flow says which interface sends. */
static const struct reconcile_item *pod_of_flow(const struct daemon *d, uint32_t ifindex)
{
	for (size_t i = 0; ifindex && i < d->want.n; i++)
		if (d->want.v[i].key.role == RECONCILE_POD && d->want.v[i].key.ifindex == ifindex)
			return &d->want.v[i];
	return NULL;
}

static void reverse(struct xm_flow_key *k)
{
	const struct xm_flow_key was = *k;

	k->saddr = was.daddr;
	k->daddr = was.saddr;
	k->sport = was.dport;
	k->dport = was.sport;
}

static void about_pod(const struct daemon *d, const struct reconcile_item *it,
		      struct trace_facts *f)
{
	const struct attachment *a = attach_find(d, it->key.ifindex);
	const char *why = attach_why_not(d, it->key.ifindex);

	f->pod_known = true;
	f->pod_ifindex = it->key.ifindex;
	memcpy(f->pod_ifname, it->name, sizeof(f->pod_ifname));
	f->pod_attached = a != NULL;
	f->pod_mode = a ? config_mode_name(a->as.mode) : "";
	if (it->reason[0])
		snprintf(f->pod_why, sizeof(f->pod_why), "%s", it->reason);
	else
		snprintf(f->pod_why, sizeof(f->pod_why), "attaching failed: %s",
			 why ? why : "see the log");
	f->pod_eth = datapath_pod_known(&d->dp, it->key.ifindex);
}

static void about_underlay(const struct daemon *d, struct trace_facts *f)
{
	for (size_t i = 0; i < d->n_att; i++) {
		size_t len = strlen(f->underlay);

		if (d->att[i].key.role == RECONCILE_NIC)
			snprintf(f->underlay + len, sizeof(f->underlay) - len, "%s%s",
				 len ? "," : "", d->att[i].name);
	}
}

static void about_peer(struct daemon *d, struct trace_facts *f)
{
	const struct hello_peer *p;

	f->peer_state = f->peer_hint = "";
	for (unsigned int i = 0; i < d->hello.max_peers; i++)
		f->peers_up += d->hello.peers[i].used && d->hello.peers[i].state == HELLO_UP;
	if (!f->has_flow)
		return;
	f->has_peer = f->flow.peer_idx < d->dp.n_peers;
	if (f->has_peer)
		f->peer = d->dp.peers[f->flow.peer_idx];
	p = hello_find(&d->hello, f->flow.peer, NULL);
	if (p) {
		f->peer_state = hello_state_name(p->state);
		f->peer_hint = hello_state_text(p->state);
	}
}

static int about_flow(struct daemon *d, struct trace_facts *f)
{
	const struct inv_link *nic;
	int err;

	err = datapath_flow(&d->dp, &f->key, &f->flow);
	if (err && err != -ENOENT)
		return err;
	f->has_flow = !err;
	if (!f->has_flow)
		return 0;
	f->has_label = datapath_label(&d->dp, &f->key, &f->flow, &f->label);
	nic = inventory_link(&d->inv, f->flow.nic_ifindex);
	if (nic)
		memcpy(f->nic, nic->l.name, sizeof(f->nic));
	return 0;
}

static void about_rules(const struct daemon *d, struct trace_facts *f)
{
	struct xm_flow_key back = f->key;
	struct xm_policy_packet p;

	p = policy_packet(&f->key);
	rules_ask(d, &p, XM_POLICY_OUT, &f->rule[XM_POLICY_OUT]);
	reverse(&back);
	p = policy_packet(&back);
	rules_ask(d, &p, XM_POLICY_IN, &f->rule[XM_POLICY_IN]);
}

int requests_trace(struct daemon *d, const struct ctl_request *req, struct json_object **result)
{
	struct trace_facts f = { .key = req->trace };
	const struct reconcile_item *it;
	struct xm_flow_key other = req->trace;
	struct trace t;
	int err;

	err = datapath_clock(&d->dp);
	if (err)
		return err;
	f.now = d->dp.clock.jiffies;
	f.hz = d->dp.hz;
	f.renew = (uint32_t)((uint64_t)d->cfg.lease_ms * d->dp.hz / 2000);
	f.tcp_ok = d->tcp_ok;
	f.admit_after = d->cfg.admit_after;
	f.same_node = d->cfg.same_node != CONFIG_SAME_NODE_OFF;
	f.tcp_why = d->tcp_reason;
	f.flows_full = d->use.flows >= d->dp.meta.flows;

	reverse(&other);
	it = pod_of(d, f.key.saddr);
	if (!it && pod_of(d, other.saddr)) {
		f.key = other;
		f.reversed = true;
		it = pod_of(d, f.key.saddr);
	}
	f.remote_here = pod_of(d, f.key.daddr) != NULL;
	err = about_flow(d, &f);
	if (err)
		return err;
	if (!it && f.has_flow)
		it = pod_of_flow(d, f.flow.pod_ifindex);
	if (it)
		about_pod(d, it, &f);
	about_underlay(d, &f);
	about_peer(d, &f);
	about_rules(d, &f);
	trace_explain(&f, &t);
	*result = trace_json(&f, &t);
	return *result ? 0 : -ENOMEM;
}
