// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>

#include "ctl.h"
#include "flow_state.h"
#include "jsonx.h"
#include "text.h"
#include "trace.h"
#include "view.h"
#include "xm_util.h"

static void XM_PRINTF(4, 5)
	step(struct trace *t, const char *hook, enum trace_mark mark, const char *fmt, ...)
{
	struct trace_step *s;
	va_list ap;

	if (t->n == TRACE_STEPS)
		return;
	s = &t->step[t->n++];
	s->hook = hook;
	s->mark = mark;
	va_start(ap, fmt);
	vsnprintf(s->text, sizeof(s->text), fmt, ap);
	va_end(ap);
}

static unsigned int proto_idx(const struct trace_facts *f)
{
	return f->key.proto == IPPROTO_TCP ? XM_TCP : XM_UDP;
}

static const char *proto_name(const struct trace_facts *f)
{
	return f->key.proto == IPPROTO_TCP ? "TCP" : "UDP";
}

/* Milliseconds until @until, negative when over. */
static long ms_left(const struct trace_facts *f, uint32_t until)
{
	return (long)(int32_t)(until - (uint32_t)f->now) * 1000 / (long)f->hz;
}

static bool holds(const struct trace_facts *f, uint32_t until)
{
	return xm_before((uint32_t)f->now, until);
}

/* "holds for another 730 ms", "over since 20 ms" */
static const char *lease_text(char *buf, size_t len, const struct trace_facts *f, uint32_t until)
{
	long ms = ms_left(f, until);

	if (holds(f, until))
		snprintf(buf, len, "holds for another %ld ms", ms);
	else
		snprintf(buf, len, "over since %ld ms", -ms);
	return buf;
}

#define POD_SENDS  "pod sends"
#define NIC_SENDS  "underlay sends"
#define NIC_GETS   "underlay receives"
#define POD_GETS   "pod receives"
#define ORDINARY   "flow"
#define LEASE_TEXT 48

/* ---- the pod sends ---- */

static void out_stops(struct trace *t, enum xm_reason why)
{
	t->out = TRACE_OVERLAY;
	t->out_reason = why;
}

/* In the order of masquerade(): behind the fast path's check, which is for flows that rules allow. */
static bool rule_sends(const struct trace_facts *f, struct trace *t)
{
	const struct trace_rule *r = &f->rule[XM_POLICY_OUT];
	const char *of = r->live ? "live" : "configured";

	if (!*r->name)
		return true;
	if (r->action == XM_POLICY_ALLOW) {
		step(t, POD_SENDS, TRACE_OK, "%s rule %s allows it", of, r->name);
		return true;
	}
	if (r->action == XM_POLICY_OVERLAY) {
		step(t, POD_SENDS, TRACE_NO, "%s rule %s keeps it on the overlay", of, r->name);
		out_stops(t, XM_R_POLICY_OVERLAY);
		return false;
	}
	step(t, POD_SENDS, TRACE_NO, "%s rule %s denies it: dropped", of, r->name);
	out_stops(t, XM_R_POLICY_DENIED);
	t->out = TRACE_DROP;
	return false;
}

static void rule_delivers(const struct trace_facts *f, struct trace *t)
{
	const struct trace_rule *r = &f->rule[XM_POLICY_IN];
	const char *of = r->live ? "live" : "configured";

	if (!*r->name)
		return;
	if (r->action == XM_POLICY_ALLOW) {
		step(t, POD_GETS, TRACE_OK, "%s rule %s allows the delivery", of, r->name);
	} else if (r->action == XM_POLICY_OVERLAY) {
		step(t, POD_GETS, TRACE_NO,
		     "%s rule %s keeps it on the overlay: a delivery renews no lease", of, r->name);
	} else {
		step(t, POD_GETS, TRACE_NO, "%s rule %s denies the delivery: dropped", of, r->name);
		t->in = TRACE_DROP;
		t->in_reason = XM_R_POLICY_DENIED;
	}
}

static void no_flow(const struct trace_facts *f, struct trace *t)
{
	static const char head[] = "no entry: made when a packet of the flow leaves for a peer";

	out_stops(t, XM_R_NO_FLOW);
	if (f->remote_here && !f->same_node)
		step(t, POD_SENDS, TRACE_NO,
		     "no entry: both pods are on this node, and such flows are not accelerated: same_node is off");
	else if (f->remote_here && f->key.proto == IPPROTO_TCP && !f->tcp_ok)
		step(t, POD_SENDS, TRACE_NO,
		     "no entry: both pods are on this node, but TCP is not accelerated here: %s",
		     f->tcp_why);
	else if (f->remote_here)
		step(t, POD_SENDS, TRACE_NO,
		     "no entry: both pods are on this node: made when the CNI delivers a packet of the flow straight from the one to the other, after %u of them (admit_after)%s",
		     f->admit_after,
		     f->flows_full ? ", and the table is full; raise tables.flows" : "");
	else if (!*f->underlay)
		step(t, POD_SENDS, TRACE_NO, "%s, and no underlay interface carries the programs",
		     head);
	else if (f->key.proto == IPPROTO_TCP && !f->tcp_ok)
		step(t, POD_SENDS, TRACE_NO, "%s, but TCP is not accelerated here: %s", head,
		     f->tcp_why);
	else if (!f->peers_up)
		step(t, POD_SENDS, TRACE_NO, "%s, and no peer is up; see xmasqctl peers", head);
	else if (f->flows_full)
		step(t, POD_SENDS, TRACE_NO, "%s, and the table is full; raise tables.flows", head);
	else
		step(t, POD_SENDS, TRACE_NO,
		     "%s; fewer than %u packets were sent lately (admit_after), or the other end is no pod behind a peer that is up (a service address, the world, a node without xmasqd)",
		     head, f->admit_after);
}

static bool peer_is_up(const struct trace_facts *f)
{
	return f->has_peer && f->peer.gen == f->flow.peer_gen &&
	       f->now < f->peer.up_until[proto_idx(f)];
}

static void peer_down(const struct trace_facts *f, struct trace *t, const char *hook)
{
	char addr[XM_ADDR_STR];

	text_addr(addr, f->flow.peer);
	if (!f->has_peer || f->peer.gen != f->flow.peer_gen)
		step(t, hook, TRACE_NO,
		     "the flow was agreed with a peer %s that has started over since; it is learned anew",
		     addr);
	else if (f->key.proto == IPPROTO_TCP && !f->tcp_ok)
		step(t, hook, TRACE_NO, "TCP is not accelerated here: %s", f->tcp_why);
	else
		step(t, hook, TRACE_NO, "peer %s is not up for %s: it is %s%s%s", addr,
		     proto_name(f), *f->peer_state ? f->peer_state : "not known",
		     *f->peer_hint ? ": " : "", f->peer_hint);
}

static void not_agreed(const struct trace_facts *f, struct trace *t)
{
	const struct xm_flow *x = &f->flow;
	bool owner = ntohl(x->node) < ntohl(x->peer);
	char out[LEASE_TEXT], in[LEASE_TEXT];

	out_stops(t, XM_R_NOT_AGREED);
	/* An owner does not wait for the end of its leases. */
	if (!peer_is_up(f))
		peer_down(f, t, POD_SENDS);
	else if (!holds(f, x->out_until) || !holds(f, x->in_until))
		step(t, POD_SENDS, TRACE_NO,
		     "still learned: the overlay has not passed it both ways lately (egress lease %s, ingress lease %s); only one side sends, its packets are further apart than half a lease, or a service address or NAT changes it",
		     lease_text(out, sizeof(out), f, x->out_until),
		     lease_text(in, sizeof(in), f, x->in_until));
	else if (x->stage == XM_STAGE_TOLD)
		step(t, POD_SENDS, TRACE_NO,
		     "still learned: label %u was told to the peer, which has not used it yet",
		     x->label);
	else if (!owner)
		step(t, POD_SENDS, TRACE_NO,
		     "still learned: the peer allots the label, and has not told one");
	else if (!f->pod_eth)
		step(t, POD_SENDS, TRACE_NO,
		     "still learned: the CNI's Ethernet header towards the pod is not known yet");
	else
		step(t, POD_SENDS, TRACE_NO,
		     "still learned: the next packet through the overlay allots a label, if one of %u slots is free",
		     XM_LABEL_TRIES);
}

/* In the order of local_verdict(). */
static void local_sends(const struct trace_facts *f, struct trace *t)
{
	const struct xm_flow *x = &f->flow;
	char out[LEASE_TEXT], in[LEASE_TEXT];

	lease_text(out, sizeof(out), f, x->out_until);
	lease_text(in, sizeof(in), f, x->in_until);
	if (x->ended) {
		step(t, POD_SENDS, TRACE_NO,
		     "FIN or RST was seen: the CNI's path until the tuple starts over");
		out_stops(t, XM_R_ENDED);
	} else if ((!holds(f, x->out_until) || !holds(f, x->in_until)) && !x->nic_ifindex) {
		step(t, POD_SENDS, TRACE_NO,
		     "still learned: the CNI has not delivered a packet unchanged, addressed to the other pod and straight from this one, while that pod sends the reverse flow; only one side sends, or a service address, NAT or a rewritten header changes it");
		out_stops(t, XM_R_NOT_AGREED);
	} else if (!holds(f, x->out_until) || !holds(f, x->in_until)) {
		step(t, POD_SENDS, TRACE_NO,
		     "the CNI has not delivered it within the lease: this direction %s, the reverse %s; a policy denies it, or it was idle",
		     out, in);
		out_stops(t, XM_R_LEASE_OVER);
	} else if (!holds(f, x->renew_at)) {
		step(t, POD_SENDS, TRACE_INFO,
		     "the lease is due for renewal: this one packet takes the CNI's path, those behind it the fast path");
		out_stops(t, XM_R_RENEWAL);
	} else {
		step(t, POD_SENDS, TRACE_OK,
		     "leases: this direction %s, the reverse %s; put straight into the pod behind %s",
		     out, in, *f->nic ? f->nic : "its interface");
		t->out = TRACE_FAST;
		t->out_reason = XM_R_LOCAL;
	}
}

/* In the order of masquerade_any(). */
static void pod_sends(const struct trace_facts *f, struct trace *t)
{
	const struct xm_flow *x = &f->flow;
	char out[LEASE_TEXT], in[LEASE_TEXT], node[XM_ADDR_STR], peer[XM_ADDR_STR];

	if (!f->has_flow) {
		no_flow(f, t);
		return;
	}
	if (x->stage == XM_STAGE_LOCAL)
		step(t, POD_SENDS, TRACE_OK, "entry: %s, local",
		     flow_state_name(flow_state(x, (uint32_t)f->now)));
	else
		step(t, POD_SENDS, TRACE_OK, "entry: %s, peer %s",
		     flow_state_name(flow_state(x, (uint32_t)f->now)), text_addr(peer, x->peer));
	if (x->pod_ifindex && x->pod_ifindex != f->pod_ifindex) {
		step(t, POD_SENDS, TRACE_NO,
		     "the flow belongs to interface %u, and the pod with this address is behind %u: two pods have one address, or it moved",
		     x->pod_ifindex, f->pod_ifindex);
		out_stops(t, XM_R_OTHER_POD);
		return;
	}
	if (x->stage == XM_STAGE_LOCAL) {
		local_sends(f, t);
		return;
	}
	if (x->stage != XM_STAGE_READY) {
		not_agreed(f, t);
		return;
	}
	step(t, POD_SENDS, TRACE_OK, "label %u agreed", x->label);
	if (x->ended) {
		step(t, POD_SENDS, TRACE_NO,
		     "FIN, RST or \"packet too big\" was seen: overlay until the tuple starts over");
		out_stops(t, XM_R_ENDED);
		return;
	}
	lease_text(out, sizeof(out), f, x->out_until);
	lease_text(in, sizeof(in), f, x->in_until);
	if (!holds(f, x->out_until) || !holds(f, x->in_until)) {
		step(t, POD_SENDS, TRACE_NO,
		     "the CNI has not passed it within the lease: egress %s, ingress %s; a policy denies it, or it was idle",
		     out, in);
		out_stops(t, XM_R_LEASE_OVER);
		return;
	}
	step(t, POD_SENDS, TRACE_OK, "leases: egress %s, ingress %s", out, in);
	if (!holds(f, x->renew_at)) {
		step(t, POD_SENDS, TRACE_INFO,
		     "the lease is due for renewal: this one packet takes the overlay, those behind it the fast path");
		out_stops(t, XM_R_RENEWAL);
		return;
	}
	if (!peer_is_up(f)) {
		peer_down(f, t, POD_SENDS);
		out_stops(t, XM_R_PEER_DOWN);
		return;
	}
	step(t, POD_SENDS, TRACE_OK, "masqueraded: %s:%u to %s:%u, redirected to %s",
	     text_addr(node, x->node), ntohs(x->sport), text_addr(peer, x->peer), ntohs(x->dport),
	     *f->nic ? f->nic : "the underlay");
	t->out = TRACE_FAST;
	t->out_reason = XM_R_MASQUERADED;
}

static void nic_sends(const struct trace_facts *f, struct trace *t)
{
	if (t->out == TRACE_FAST)
		step(t, NIC_SENDS, TRACE_OK, "known by its mark, passes");
	else if (!*f->underlay)
		step(t, NIC_SENDS, TRACE_NO,
		     "no interface carries the programs: nothing is learned; check \"underlay\"");
	else
		step(t, NIC_SENDS, TRACE_INFO,
		     "in the tunnel by %s: if it gets here the CNI passed it, and it is learned from, or its egress lease renewed",
		     f->underlay);
}

/* ---- the underlay receives ---- */

/* Of a packet that the peer masqueraded, in the order of nic_restore(). */
static void nic_receives(const struct trace_facts *f, struct trace *t)
{
	const struct xm_flow *x = &f->flow;

	t->in = TRACE_OVERLAY;
	t->in_reason = XM_R_NONE;
	if (!f->has_flow || !x->label) {
		step(t, NIC_GETS, TRACE_INFO,
		     "no label agreed: the peer's packets come in the tunnel, the CNI delivers them");
		return;
	}
	if (!f->has_label) {
		step(t, NIC_GETS, TRACE_NO,
		     "label %u has no entry: what the peer still masquerades is dropped and answered with a NACK, which takes it to the overlay",
		     x->label);
		t->in = TRACE_DROP;
		t->in_reason = XM_R_NO_LABEL;
		return;
	}
	if (!holds(f, f->label.until)) {
		step(t, NIC_GETS, TRACE_NO,
		     "label %u is over since %ld ms: what the peer still masquerades is dropped and answered with a NACK, which takes it to the overlay",
		     x->label, -ms_left(f, f->label.until));
		t->in = TRACE_DROP;
		t->in_reason = XM_R_LABEL_EXPIRED;
		return;
	}
	step(t, NIC_GETS, TRACE_OK,
	     "label %u, good for another %ld ms: restored and put into the pod behind %s; what comes in the tunnel is the CNI's",
	     x->label, ms_left(f, f->label.until), f->pod_ifname);
	t->in = TRACE_FAST;
	t->in_reason = XM_R_RESTORED;
}

static void pod_receives(const struct trace_facts *f, struct trace *t)
{
	uint32_t ago;

	if (!f->has_flow)
		return;
	ago = (uint32_t)f->now - f->flow.nic_in;
	if (f->flow.pod_ifindex != f->pod_ifindex)
		step(t, POD_GETS, TRACE_NO,
		     "a delivery renews nothing until the pod has sent a packet of this flow");
	else if (ago >= f->renew)
		step(t, POD_GETS, TRACE_INFO,
		     "a delivery would renew the ingress lease, but no packet of it came in the tunnel for %lu ms",
		     (unsigned long)ago * 1000 / f->hz);
	else
		step(t, POD_GETS, TRACE_OK,
		     "a delivery by the CNI renews the ingress lease, while the peer is up");
}

/* ---- all of it ---- */

static void summarize(const struct trace_facts *f, struct trace *t)
{
	const char *out = t->out == TRACE_FAST	 ? "takes the fast path"
			  : t->out == TRACE_DROP ? "is dropped"
						 : "takes the overlay";
	const char *in = t->in == TRACE_FAST   ? "is restored"
			 : t->in == TRACE_DROP ? "is dropped"
					       : "comes by the overlay";

	snprintf(t->summary, sizeof(t->summary),
		 "what pod %s sends %s (%s); what the peer sends back %s", f->pod_ifname, out,
		 t->out_reason ? view_reason_name(t->out_reason) : "no program", in);
}

void trace_explain(const struct trace_facts *f, struct trace *t)
{
	char addr[2][XM_ADDR_STR];

	t->n = 0;
	t->out = t->in = TRACE_UNKNOWN;
	t->out_reason = t->in_reason = XM_R_NONE;
	if (!f->pod_known) {
		step(t, ORDINARY, TRACE_NO, "neither %s nor %s is a pod of this node",
		     text_addr(addr[0], f->key.saddr), text_addr(addr[1], f->key.daddr));
		snprintf(t->summary, sizeof(t->summary),
			 "not a flow of this node: ask on the node of one of the pods");
		return;
	}
	step(t, ORDINARY, TRACE_INFO,
	     "an ordinary data packet; SYN, FIN, RST, fragments, IP options, TTL below %u and what the underlay's MTU does not hold take the overlay",
	     XM_TTL_MIN_FAST);
	if (!f->pod_attached) {
		step(t, POD_SENDS, TRACE_NO, "%s does not carry the programs: %s", f->pod_ifname,
		     f->pod_why);
		t->out = t->in = TRACE_OVERLAY;
		summarize(f, t);
		return;
	}
	step(t, POD_SENDS, TRACE_OK, "%s carries the programs, mode %s", f->pod_ifname,
	     f->pod_mode);
	if (rule_sends(f, t))
		pod_sends(f, t);
	/* What comes back is a flow of its own then, sent by the other pod. */
	if (f->has_flow ? f->flow.stage == XM_STAGE_LOCAL : f->remote_here) {
		t->in = TRACE_OVERLAY;
		snprintf(
			t->summary, sizeof(t->summary),
			"what pod %s sends to another pod of this node %s (%s); ask about the reverse flow for what comes back",
			f->pod_ifname,
			t->out == TRACE_FAST   ? "takes the fast path"
			: t->out == TRACE_DROP ? "is dropped"
					       : "takes the CNI's path",
			view_reason_name(t->out_reason));
		return;
	}
	if (t->out != TRACE_DROP)
		nic_sends(f, t);
	nic_receives(f, t);
	rule_delivers(f, t);
	pod_receives(f, t);
	summarize(f, t);
}

const char *trace_path_name(enum trace_path p)
{
	switch (p) {
	case TRACE_UNKNOWN:
		break;
	case TRACE_FAST:
		return "fast";
	case TRACE_OVERLAY:
		return "overlay";
	case TRACE_DROP:
		return "drop";
	}
	return "unknown";
}

const char *trace_mark_name(enum trace_mark m)
{
	switch (m) {
	case TRACE_OK:
		return "ok";
	case TRACE_NO:
		return "no";
	case TRACE_INFO:
		break;
	}
	return "info";
}

static struct json_object *end_json(enum trace_path path, enum xm_reason reason)
{
	struct json_object *o = json_object_new_object();

	if (o && jsonx_put_str(o, "path", trace_path_name(path)) &&
	    (reason ? jsonx_put_str(o, "reason", view_reason_name(reason))
		    : jsonx_put_null(o, "reason")))
		return o;
	json_object_put(o);
	return NULL;
}

static struct json_object *steps_json(const struct trace *t)
{
	struct json_object *list = json_object_new_array(), *o;

	for (unsigned int i = 0; list && i < t->n; i++) {
		o = json_object_new_object();
		if (jsonx_append(list, o) && jsonx_put_str(o, "hook", t->step[i].hook) &&
		    jsonx_put_str(o, "mark", trace_mark_name(t->step[i].mark)) &&
		    jsonx_put_str(o, "text", t->step[i].text))
			continue;
		json_object_put(list);
		list = NULL;
	}
	return list;
}

struct json_object *trace_json(const struct trace_facts *f, const struct trace *t)
{
	struct json_object *o = json_object_new_object();
	char flow[CTL_FLOW_STR];

	if (o && jsonx_put_str(o, "flow", ctl_format_flow(flow, &f->key)) &&
	    jsonx_put_bool(o, "reversed", f->reversed) &&
	    jsonx_put(o, "out", end_json(t->out, t->out_reason)) &&
	    jsonx_put(o, "in", end_json(t->in, t->in_reason)) &&
	    jsonx_put(o, "steps", steps_json(t)) && jsonx_put_str(o, "summary", t->summary))
		return o;
	json_object_put(o);
	return NULL;
}
