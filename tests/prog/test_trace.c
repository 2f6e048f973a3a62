// SPDX-License-Identifier: GPL-2.0-only
/* What "xmasqctl trace" says is what the programs do: both are asked about the same tables. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"
#include "suites.h"
#include "tap.h"
#include "trace.h"
#include "view.h"

#define LABEL  0x0777
#define ROUNDS 400

/* What is wrong with a flow, one bit each. */
enum {
	NO_ENTRY,
	OTHER_POD,
	POD_UNFIXED,
	STAGE_NEW,
	STAGE_TOLD,
	ENDED,
	OUT_OVER,
	IN_OVER,
	DUE,
	GEN,
	SLOT,
	DOWN,
	LABEL_GONE,
	LABEL_OVER,
	SPOILS,
};

static struct node *n;
static struct xm_flow_key key;
static struct outcome out;
static struct pkt in;

static void spoil(__u32 what)
{
	struct xm_label *e = node_label(n, n->peer_addr, LABEL, key.proto);
	__u32 now = node_now(n);
	struct xm_flow f;

	node_flow(n, &key, &f);
	if (what & 1u << OTHER_POD)
		f.pod_ifindex = n->other_pod;
	if (what & 1u << POD_UNFIXED)
		f.pod_ifindex = 0;
	if (what & 1u << STAGE_NEW)
		f.stage = XM_STAGE_NEW;
	if (what & 1u << STAGE_TOLD)
		f.stage = XM_STAGE_TOLD;
	if (what & 1u << ENDED)
		f.ended = 1;
	if (what & 1u << OUT_OVER)
		f.out_until = now - 1;
	if (what & 1u << IN_OVER)
		f.in_until = now - 1;
	if (what & 1u << DUE)
		f.renew_at = now - 1;
	if (what & 1u << GEN)
		f.peer_gen++;
	if (what & 1u << SLOT)
		f.peer_idx = N_PEERS + 1;
	if (what & 1u << DOWN)
		n->peers[PEER_IDX].up_until[key.proto == IPPROTO_TCP ? XM_TCP : XM_UDP] =
			node_now64(n) - 1;
	if (what & 1u << LABEL_GONE)
		e->tag = 0;
	if (what & 1u << LABEL_OVER)
		e->until = now - 1;
	node_set_flow(n, &key, &f);
	if (what & 1u << NO_ENTRY) {
		node_del_flow(n, &key);
		/* Of a flow without an entry trace knows no label. */
		e->tag = 0;
	}
}

/* As user_prog/xmasqd/requests_trace.c gathers them. */
static void facts(struct trace_facts *f)
{
	const struct xm_label *e;

	memset(f, 0, sizeof(*f));
	f->key = key;
	f->now = node_now64(n);
	f->hz = 1000;
	f->renew = RENEW;
	f->pod_known = f->pod_attached = f->pod_eth = f->tcp_ok = true;
	f->pod_ifindex = n->pod;
	f->pod_mode = f->tcp_why = f->peer_state = f->peer_hint = "";
	strcpy(f->underlay, "nic");
	f->peers_up = 1;
	f->has_flow = node_flow(n, &key, &f->flow);
	if (!f->has_flow)
		return;
	f->has_peer = f->flow.peer_idx < N_PEERS;
	if (f->has_peer)
		f->peer = n->peers[f->flow.peer_idx];
	e = node_label(n, f->flow.peer, f->flow.label, key.proto);
	f->has_label = e->tag == xm_tag(f->flow.peer, f->flow.label, key.proto, XM_TAG_USED);
	if (f->has_label)
		f->label = *e;
}

static const char *why(int reason)
{
	return view_reason_name((unsigned int)reason);
}

static void agree(struct node *node, __u8 proto, __u32 what)
{
	struct pkt_spec spec;
	struct trace_facts f;
	struct trace t;

	n = node;
	node_reset(n);
	node_key(n, proto, &key);
	node_ready(n, &key, LABEL);
	spoil(what);
	facts(&f);
	trace_explain(&f, &t);

	/* What arrives first: what leaves changes the flow. */
	node_masq_spec(n, &key, LABEL, &spec);
	pkt_make(&in, &spec);
	node_run(n, NIC_INGRESS, &in, &out);
	if (t.in == TRACE_FAST)
		CHECK(out.reasons & R(RESTORED), "%#x: trace says restored", what);
	else if (t.in == TRACE_DROP)
		CHECK(out.reasons & 1ull << t.in_reason, "%#x: trace says %s, not so the program",
		      what, why(t.in_reason));
	else
		CHECK(!(out.reasons & R(RESTORED)), "%#x: restored without a flow", what);

	/* The peer's first packet may have made it READY: asked again. */
	facts(&f);
	trace_explain(&f, &t);
	node_spec(n, &key, &spec);
	pkt_make(&in, &spec);
	node_run(n, POD_EGRESS, &in, &out);
	CHECK(out.reasons & 1ull << t.out_reason, "%#x: trace says %s, not so the program", what,
	      why(t.out_reason));
	CHECK_EQ(out.verdict == REDIRECT, t.out == TRACE_FAST);
}

/* Rules: as the daemon leaves flows that they do not allow, without an entry. */
static void ruled(struct node *node, __u8 proto, unsigned int action)
{
	const char *name = policy_action_name(action);
	struct pkt_spec spec;
	struct trace_facts f;
	char text[2][64];
	struct trace t;

	n = node;
	for (int dir = 0; dir < XM_POLICY_DIRS; dir++) {
		snprintf(text[0], sizeof(text[0]), "%s %s name it", name,
			 policy_dir_name((unsigned int)dir));
		node_reset(n);
		node_key(n, proto, &key);
		node_ready(n, &key, LABEL);
		if (action != XM_POLICY_ALLOW)
			spoil(1u << NO_ENTRY);
		policy_rules(n, (const char *const[]){ text[0], NULL });
		facts(&f);
		strcpy(f.rule[dir].name, "it");
		f.rule[dir].action = action;
		f.rule[dir].live = true;
		trace_explain(&f, &t);

		node_spec(n, &key, &spec);
		pkt_make(&in, &spec);
		node_run(n, POD_EGRESS, &in, &out);
		CHECK(out.reasons & 1ull << t.out_reason, "%s: trace says %s, not so the program",
		      text[0], why(t.out_reason));
		CHECK_EQ(out.verdict == REDIRECT, t.out == TRACE_FAST);
		CHECK_EQ(out.verdict == SHOT, t.out == TRACE_DROP);
		CHECK_EQ(t.out == TRACE_DROP, dir == XM_POLICY_OUT && action == XM_POLICY_DENY);

		pkt_flip(&spec.t, &key);
		memcpy(spec.eth, n->pod_eth, XM_ETH_LEN);
		pkt_make(&in, &spec);
		node_run(n, POD_INGRESS, &in, &out);
		CHECK_EQ(out.verdict == SHOT, t.in == TRACE_DROP);
		CHECK_EQ(out.verdict == SHOT, dir == XM_POLICY_IN && action == XM_POLICY_DENY);
		if (out.verdict == SHOT)
			CHECK(out.reasons & 1ull << t.in_reason, "%s: trace says %s", text[0],
			      why(t.in_reason));
	}
	node_reset(n);
}

void suite_trace(void)
{
	static const __u8 protos[] = { IPPROTO_TCP, IPPROTO_UDP };
	struct node *const nodes[] = { &node_a, &node_b };

	for (unsigned int action = 0; action < XM_POLICY_ACTIONS; action++) {
		tap_case("trace: a rule that says %s", policy_action_name(action));
		ruled(&node_a, IPPROTO_TCP, action);
		ruled(&node_b, IPPROTO_UDP, action);
	}
	for (int i = 0; i < 4; i++) {
		struct node *node = nodes[i & 1];
		__u8 proto = protos[i >> 1];

		tap_case("trace: %s of the %s: nothing or one thing is wrong",
			 proto == IPPROTO_TCP ? "TCP" : "UDP",
			 node->owner ? "owner" : "other node");
		agree(node, proto, 0);
		for (int k = 0; k < SPOILS && !tap_failed(); k++)
			agree(node, proto, 1u << k);

		tap_case("trace: %s of the %s: several things are wrong",
			 proto == IPPROTO_TCP ? "TCP" : "UDP",
			 node->owner ? "owner" : "other node");
		for (int k = 0; k < SPOILS * SPOILS && !tap_failed(); k++)
			agree(node, proto, 1u << k / SPOILS | 1u << k % SPOILS);
		srand48((long)options.seed);
		for (int k = 0; k < ROUNDS && !tap_failed(); k++)
			agree(node, proto, (__u32)(mrand48() & mrand48()) & ((1u << SPOILS) - 1));
	}
}
