// SPDX-License-Identifier: GPL-2.0-only
/* "xmasqctl trace": verdict, reason and words for each way a flow may stand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "jsonx.h"
#include "trace.h"
#include "view.h"

#define NOW   1000000u
#define LABEL 77

/* A TCP flow of the owner that is well. */
static struct trace_facts good(void)
{
	struct trace_facts f = {
		.now = NOW,
		.hz = 1000,
		.renew = 500,
		.admit_after = 4,
		.pod_known = true,
		.pod_attached = true,
		.pod_ifindex = 7,
		.pod_ifname = "veth7",
		.pod_mode = "veth",
		.pod_eth = true,
		.underlay = "eth0",
		.tcp_ok = true,
		.tcp_why = "",
		.has_flow = true,
		.nic = "eth0",
		.has_label = true,
		.has_peer = true,
		.peer_state = "up",
		.peer_hint = "",
		.peers_up = 1,
	};

	f.key.saddr = inet_addr("10.244.1.5");
	f.key.daddr = inet_addr("10.244.2.7");
	f.key.sport = htons(4000);
	f.key.dport = htons(80);
	f.key.proto = IPPROTO_TCP;
	f.flow.node = inet_addr("172.31.0.1");
	f.flow.peer = inet_addr("172.31.0.2");
	f.flow.sport = htons(XM_LABEL_PORT_BASE + LABEL);
	f.flow.dport = htons(18477);
	f.flow.stage = XM_STAGE_READY;
	f.flow.pod_ifindex = 7;
	f.flow.out_until = NOW + 800;
	f.flow.in_until = NOW + 900;
	f.flow.renew_at = NOW + 300;
	f.flow.nic_in = NOW - 10;
	f.flow.label = LABEL;
	f.flow.peer_gen = 3;
	f.label.until = NOW + 900;
	f.peer.gen = 3;
	f.peer.up_until[XM_TCP] = NOW + 2000;
	f.peer.up_until[XM_UDP] = NOW + 2000;
	return f;
}

static struct trace t;

static bool says(const char *text)
{
	for (unsigned int i = 0; i < t.n; i++)
		if (strstr(t.step[i].text, text))
			return true;
	return false;
}

static void expect(const struct trace_facts *f, enum trace_path out, enum xm_reason out_reason,
		   enum trace_path in, enum xm_reason in_reason, const char *text)
{
	trace_explain(f, &t);
	if (t.out != out || t.out_reason != out_reason || t.in != in || t.in_reason != in_reason ||
	    !says(text)) {
		for (unsigned int i = 0; i < t.n; i++)
			print_error("%s: %s: %s\n", t.step[i].hook, trace_mark_name(t.step[i].mark),
				    t.step[i].text);
		fail_msg("out %s (%s), in %s (%s); wanted %s (%s), %s (%s) and \"%s\"",
			 trace_path_name(t.out), view_reason_name(t.out_reason),
			 trace_path_name(t.in), view_reason_name(t.in_reason), trace_path_name(out),
			 view_reason_name(out_reason), trace_path_name(in),
			 view_reason_name(in_reason), text);
	}
}

/* What is sent stays on the overlay for this reason; what comes is restored as before. */
static void out_only(const struct trace_facts *f, enum xm_reason why, const char *text)
{
	expect(f, TRACE_OVERLAY, why, TRACE_FAST, XM_R_RESTORED, text);
}

static void test_fast(void **state)
{
	struct trace_facts f = good();

	(void)state;
	expect(&f, TRACE_FAST, XM_R_MASQUERADED, TRACE_FAST, XM_R_RESTORED,
	       "masqueraded: 172.31.0.1:32845 to 172.31.0.2:18477, redirected to eth0");
	assert_true(says("known by its mark"));
	assert_true(says("restored and put into the pod behind veth7"));
	assert_true(says("egress holds for another 800 ms, ingress holds for another 900 ms"));
	assert_non_null(strstr(t.summary, "veth7 sends takes the fast path (masqueraded)"));
	for (unsigned int i = 0; i < t.n; i++)
		assert_int_not_equal(t.step[i].mark, TRACE_NO);
}

static void test_local(void **state)
{
	struct trace_facts f = good();

	(void)state;
	f.remote_here = f.same_node = true;
	f.flow.stage = XM_STAGE_LOCAL;
	f.flow.node = f.flow.peer = 0;
	f.flow.label = 0;
	f.has_label = f.has_peer = false;
	f.flow.nic_ifindex = 8;
	strcpy(f.nic, "veth8");
	expect(&f, TRACE_FAST, XM_R_LOCAL, TRACE_OVERLAY, XM_R_NONE,
	       "put straight into the pod behind veth8");
	assert_true(says("entry: active, local"));
	assert_non_null(strstr(t.summary, "takes the fast path (local)"));
	f.flow.renew_at = NOW;
	expect(&f, TRACE_OVERLAY, XM_R_RENEWAL, TRACE_OVERLAY, XM_R_NONE, "due for renewal");
	f.flow.in_until = NOW;
	expect(&f, TRACE_OVERLAY, XM_R_LEASE_OVER, TRACE_OVERLAY, XM_R_NONE,
	       "the reverse over since 0 ms");
	f.flow.nic_ifindex = 0;
	expect(&f, TRACE_OVERLAY, XM_R_NOT_AGREED, TRACE_OVERLAY, XM_R_NONE, "still learned");
	f.flow.ended = 1;
	expect(&f, TRACE_OVERLAY, XM_R_ENDED, TRACE_OVERLAY, XM_R_NONE, "FIN or RST");
	f.has_flow = false;
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE,
	       "made when the CNI delivers");
	f.tcp_ok = false;
	f.tcp_why = "because";
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE, "here: because");
	f.same_node = false;
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE, "same_node is off");
}

static void test_no_flow(void **state)
{
	struct trace_facts f = good();

	(void)state;
	f.has_flow = f.has_label = f.has_peer = false;
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE,
	       "fewer than 4 packets were sent lately");
	f.flows_full = true;
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE, "raise tables.flows");
	f.peers_up = 0;
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE, "no peer is up");
	f.tcp_ok = false;
	f.tcp_why = "liberal is off";
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE,
	       "TCP is not accelerated here: liberal is off");
	f.key.proto = IPPROTO_UDP;
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE, "no peer is up");
	f.underlay[0] = '\0';
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE,
	       "no underlay interface carries the programs");
	f.remote_here = true;
	expect(&f, TRACE_OVERLAY, XM_R_NO_FLOW, TRACE_OVERLAY, XM_R_NONE,
	       "both pods are on this node");
}

static void test_pod(void **state)
{
	struct trace_facts f = good();

	(void)state;
	strcpy(f.pod_why, "excluded by pods.exclude");
	f.pod_attached = false;
	expect(&f, TRACE_OVERLAY, XM_R_NONE, TRACE_OVERLAY, XM_R_NONE,
	       "veth7 does not carry the programs: excluded by pods.exclude");
	f.pod_known = false;
	expect(&f, TRACE_UNKNOWN, XM_R_NONE, TRACE_UNKNOWN, XM_R_NONE,
	       "neither 10.244.1.5 nor 10.244.2.7 is a pod of this node");
	f = good();
	f.flow.pod_ifindex = 8;
	out_only(&f, XM_R_OTHER_POD,
		 "belongs to interface 8, and the pod with this address is "
		 "behind 7");
	assert_true(says("renews nothing until the pod has sent"));
	/* The first to send fixes it. */
	f.flow.pod_ifindex = 0;
	expect(&f, TRACE_FAST, XM_R_MASQUERADED, TRACE_FAST, XM_R_RESTORED, "masqueraded");
}

static void test_learning(void **state)
{
	struct trace_facts f = good();

	(void)state;
	f.flow.stage = XM_STAGE_TOLD;
	out_only(&f, XM_R_NOT_AGREED, "label 77 was told to the peer");
	f.flow.stage = XM_STAGE_NEW;
	f.flow.label = 0;
	f.has_label = false;
	expect(&f, TRACE_OVERLAY, XM_R_NOT_AGREED, TRACE_OVERLAY, XM_R_NONE, "allots a label");
	f.pod_eth = false;
	expect(&f, TRACE_OVERLAY, XM_R_NOT_AGREED, TRACE_OVERLAY, XM_R_NONE,
	       "Ethernet header towards the pod is not known");
	f.flow.node = inet_addr("172.31.0.3");
	expect(&f, TRACE_OVERLAY, XM_R_NOT_AGREED, TRACE_OVERLAY, XM_R_NONE,
	       "the peer allots the label");
	f.flow.in_until = NOW - 20;
	expect(&f, TRACE_OVERLAY, XM_R_NOT_AGREED, TRACE_OVERLAY, XM_R_NONE,
	       "egress lease holds for another 800 ms, ingress lease over since 20 ms");
	/* Even when it has ended: the stage is asked first, as in the programs. */
	f.flow.ended = 1;
	expect(&f, TRACE_OVERLAY, XM_R_NOT_AGREED, TRACE_OVERLAY, XM_R_NONE, "still learned");
}

static void test_running(void **state)
{
	struct trace_facts f = good();

	(void)state;
	f.flow.ended = 1;
	out_only(&f, XM_R_ENDED, "until the tuple starts over");
	f = good();
	f.flow.out_until = NOW;
	out_only(&f, XM_R_LEASE_OVER, "egress over since 0 ms");
	f = good();
	f.flow.in_until = NOW - 1500;
	out_only(&f, XM_R_LEASE_OVER, "ingress over since 1500 ms; a policy denies it");
	f = good();
	f.flow.renew_at = NOW;
	out_only(&f, XM_R_RENEWAL, "this one packet takes the overlay");
	f = good();
	f.flow.nic_in = NOW - 500;
	expect(&f, TRACE_FAST, XM_R_MASQUERADED, TRACE_FAST, XM_R_RESTORED,
	       "no packet of it came in the tunnel for 500 ms");
	/* Across the wrap of the low half. */
	f = good();
	f.now = (1ull << 32) + 5;
	f.flow.out_until = f.flow.in_until = f.flow.renew_at = f.label.until = 100;
	f.peer.up_until[XM_TCP] = f.now + 1;
	expect(&f, TRACE_FAST, XM_R_MASQUERADED, TRACE_FAST, XM_R_RESTORED, "another 95 ms");
	f.flow.out_until = 0xfffffff0u;
	out_only(&f, XM_R_LEASE_OVER, "egress over since 21 ms");
}

static void test_peer(void **state)
{
	struct trace_facts f = good();

	(void)state;
	f.peer.up_until[XM_TCP] = NOW;
	f.peer_state = "blocked";
	f.peer_hint = "let it pass";
	out_only(&f, XM_R_PEER_DOWN,
		 "peer 172.31.0.2 is not up for TCP: it is blocked: let it pass");
	f.tcp_ok = false;
	f.tcp_why = "liberal is off";
	out_only(&f, XM_R_PEER_DOWN, "TCP is not accelerated here: liberal is off");
	/* UDP has a deadline of its own. */
	f.key.proto = IPPROTO_UDP;
	expect(&f, TRACE_FAST, XM_R_MASQUERADED, TRACE_FAST, XM_R_RESTORED, "masqueraded");
	f.peer.gen++;
	out_only(&f, XM_R_PEER_DOWN, "has started over since");
	f.has_peer = false;
	out_only(&f, XM_R_PEER_DOWN, "has started over since");
	/* Before the label, which nobody could tell. */
	f = good();
	f.flow.stage = XM_STAGE_NEW;
	f.peer.up_until[XM_TCP] = NOW;
	f.peer_state = "silent";
	out_only(&f, XM_R_NOT_AGREED, "peer 172.31.0.2 is not up for TCP: it is silent");
}

static void test_in(void **state)
{
	struct trace_facts f = good();

	(void)state;
	f.label.until = NOW;
	expect(&f, TRACE_FAST, XM_R_MASQUERADED, TRACE_DROP, XM_R_LABEL_EXPIRED,
	       "label 77 is over since 0 ms");
	assert_non_null(strstr(t.summary, "the peer sends back is dropped"));
	f.has_label = false;
	expect(&f, TRACE_FAST, XM_R_MASQUERADED, TRACE_DROP, XM_R_NO_LABEL,
	       "label 77 has no entry");
}

static void test_json(void **state)
{
	struct trace_facts f = good();
	struct json_object *o;

	(void)state;
	f.reversed = true;
	f.flow.ended = 1;
	trace_explain(&f, &t);
	o = trace_json(&f, &t);
	assert_non_null(o);
	assert_string_equal(jsonx_str(o, "flow"), "tcp 10.244.1.5:4000->10.244.2.7:80");
	assert_true(jsonx_bool(o, "reversed"));
	assert_string_equal(jsonx_str(jsonx_get(o, "out"), "path"), "overlay");
	assert_string_equal(jsonx_str(jsonx_get(o, "out"), "reason"), "ended");
	assert_string_equal(jsonx_str(jsonx_get(o, "in"), "reason"), "restored");
	assert_int_equal(jsonx_len(jsonx_list(o, "steps")), t.n);
	assert_true(t.n > 4 && t.n < TRACE_STEPS);
	json_object_put(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fast),	 cmocka_unit_test(test_local),
		cmocka_unit_test(test_no_flow),	 cmocka_unit_test(test_pod),
		cmocka_unit_test(test_learning), cmocka_unit_test(test_running),
		cmocka_unit_test(test_peer),	 cmocka_unit_test(test_in),
		cmocka_unit_test(test_json),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
