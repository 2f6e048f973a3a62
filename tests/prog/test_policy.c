// SPDX-License-Identifier: GPL-2.0-only
/* Rules: what xmasq_pod_egress and xmasq_pod_ingress do with what they say, and that they say what
 * an independent reading of them does. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "node.h"
#include "policy.h"
#include "suites.h"
#include "tap.h"
#include "xmasq.skel.h"

#define LABEL 0x0555

static struct node *n;
static struct xm_flow_key key;
static struct xm_flow flow;
static struct xm_label *entry;
static struct pkt_spec spec;
static struct pkt in;
static struct outcome out;
static struct policy_list list;
static struct policy_order order;

/* What the i'th rule has decided about since the last call for it. */
static struct xm_counter counted(unsigned int i)
{
	int cpus = libbpf_num_possible_cpus(), fd = bpf_map__fd(n->skel->maps.xm_rule_count);
	struct xm_counter v[cpus], sum = { 0 };
	__u32 slot = order.v[i].slot;

	bpf_map_lookup_elem(fd, &slot, v);
	for (int c = 0; c < cpus; c++) {
		sum.packets += v[c].packets;
		sum.bytes += v[c].bytes;
	}
	memset(v, 0, sizeof(v));
	bpf_map_update_elem(fd, &slot, v, BPF_ANY);
	return sum;
}

static void rules(const char *const *texts)
{
	static struct xm_policy table;
	static const struct policy_list empty;
	static const struct xm_policy_half none;
	int fd = bpf_map__fd(n->skel->maps.xm_policy);
	char err[POLICY_ERROR_STR];
	struct policy_rule r;
	__u32 zero = 0;

	memset(&list, 0, sizeof(list));
	for (; *texts; texts++)
		if (policy_parse(*texts, strlen(*texts), &r, err) ||
		    policy_add(&list, &r, "r", NULL, err))
			tap_fail("\"%s\": %s", *texts, err);
	/* The half that is not read holds the contrary. */
	table.now = !table.now;
	memset(&table.half[!table.now], 0xff, sizeof(table.half[0]));
	policy_compile(&list, &empty, &none, &table.half[table.now], &order);
	bpf_map_update_elem(fd, &zero, &table, BPF_ANY);
	n->skel->bss->policy_on = 1;
	for (unsigned int i = 0; i < order.n; i++)
		counted(i);
}

#define RULES(...) rules((const char *const[]){ __VA_ARGS__, NULL })

/* A live flow, and the pod's next packet. */
static void begin(struct node *node, __u8 proto)
{
	n = node;
	node_reset(n);
	node_key(n, proto, &key);
	node_ready(n, &key, LABEL);
	node_flow(n, &key, &flow);
	entry = node_label(n, n->peer_addr, LABEL, proto);
	node_spec(n, &key, &spec);
}

static void sent(int verdict, __u64 reasons)
{
	pkt_make(&in, &spec);
	node_run(n, POD_EGRESS, &in, &out);
	expect(n, &out, verdict, reasons);
	if (!node_flow(n, &key, &flow))
		memset(&flow, 0, sizeof(flow));
}

static void delivered(int verdict, __u64 reasons)
{
	pkt_flip(&spec.t, &key);
	memcpy(spec.eth, n->pod_eth, XM_ETH_LEN);
	pkt_make(&in, &spec);
	node_run(n, POD_INGRESS, &in, &out);
	expect(n, &out, verdict, reasons);
	if (!node_flow(n, &key, &flow))
		memset(&flow, 0, sizeof(flow));
}

static void decided(unsigned int i, __u64 packets)
{
	struct xm_counter c = counted(i);

	CHECK_EQ(c.packets, packets);
	CHECK_EQ(c.bytes, packets * in.len);
}

static void egress(struct node *node, __u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	__u32 pod_out;

	tap_case("policy: the fast path asks nothing, %s", what);
	begin(node, proto);
	RULES("deny egress");
	sent(REDIRECT, R(MASQUERADED));
	decided(0, 0);

	tap_case("policy: denied what a pod sends, %s: dropped and counted", what);
	begin(node, proto);
	node_del_flow(n, &key);
	RULES("deny egress");
	sent(SHOT, R(POLICY_DENIED));
	CHECK_EQ(out.bytes, in.len);
	decided(0, 1);

	tap_case("policy: allowed, %s: as without rules", what);
	begin(node, proto);
	node_del_flow(n, &key);
	RULES("allow egress priority 1", "deny egress");
	sent(UNSPEC, R(NO_FLOW));
	decided(0, 1);
	decided(1, 0);

	tap_case("policy: no rule matches, %s: as without rules", what);
	begin(node, proto);
	node_del_flow(n, &key);
	RULES("deny egress to 1.2.3.4", "deny ingress");
	sent(UNSPEC, R(NO_FLOW));
	decided(0, 0);
	decided(1, 0);

	tap_case("policy: overlay, %s: passes, and is no evidence", what);
	begin(node, proto);
	flow.stage = XM_STAGE_NEW;
	node_set_flow(n, &key, &flow);
	pod_out = flow.pod_out;
	RULES("overlay egress");
	sent(UNSPEC, R(POLICY_OVERLAY));
	CHECK(node_now(n) - flow.pod_out > RENEW, "evidence");
	CHECK(flow.pod_out != pod_out || node_now(n) - pod_out > RENEW, "evidence");
	decided(0, 1);

	tap_case("policy: a denied renewal takes the flow off the fast path, %s", what);
	begin(node, proto);
	flow.renew_at = node_now(n) - 1;
	node_set_flow(n, &key, &flow);
	RULES("deny egress");
	sent(SHOT, R(POLICY_DENIED));
	CHECK(!xm_before(node_now(n), flow.out_until), "egress lease");
	CHECK(!xm_before(node_now(n), flow.in_until), "ingress lease");
	CHECK(!xm_before(node_now(n), entry->until), "label");
	sent(SHOT, R(POLICY_DENIED));

	tap_case("policy: another pod's packet under this tuple ends nothing, %s", what);
	begin(node, proto);
	RULES("deny egress");
	pkt_make(&in, &spec);
	node_run_on(n, POD_EGRESS, &in, n->other_pod, &out);
	expect(n, &out, SHOT, R(POLICY_DENIED));
	node_flow(n, &key, &flow);
	CHECK(xm_before(node_now(n), flow.out_until), "egress lease");
	CHECK(xm_before(node_now(n), entry->until), "label");
	n->skel->bss->policy_on = 0;
	sent(REDIRECT, R(MASQUERADED));
}

static void ingress(struct node *node, __u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";

	tap_case("policy: a denied delivery is dropped, counted, and ends the flow, %s", what);
	begin(node, proto);
	flow.nic_in = node_now(n);
	node_set_flow(n, &key, &flow);
	RULES("deny ingress");
	delivered(SHOT, R(POLICY_DENIED));
	CHECK(!xm_before(node_now(n), flow.out_until), "egress lease");
	CHECK(!xm_before(node_now(n), flow.in_until), "ingress lease");
	CHECK(!xm_before(node_now(n), entry->until), "label");
	decided(0, 1);
	node_masq_spec(n, &key, LABEL, &spec);
	pkt_make(&in, &spec);
	node_run(n, NIC_INGRESS, &in, &out);
	CHECK(out.reasons & R(NACK_TX), "not refused");

	tap_case("policy: an allowed delivery renews the lease, %s", what);
	begin(node, proto);
	flow.nic_in = node_now(n);
	node_set_flow(n, &key, &flow);
	RULES("allow ingress", "deny egress");
	delivered(UNSPEC, R(LEASE_IN));
	decided(0, 1);
	decided(1, 0);

	tap_case("policy: overlay, %s: delivered, and renews nothing", what);
	begin(node, proto);
	flow.nic_in = node_now(n);
	node_set_flow(n, &key, &flow);
	RULES("overlay ingress");
	delivered(UNSPEC, 0);
	CHECK(!xm_before(node_now(n), flow.in_until), "lease");
	decided(0, 1);
}

/* What is never accelerated. */
static void others(void)
{
	static const struct {
		const char *name;
		__u32 off;
		__u16 val;
		const char *rule;
		bool denied;
	} rows[] = {
		{ "ARP", 12, 0x0806, "deny egress", false },
		{ "an in-band VLAN tag", 12, 0x8100, "deny egress", false },
		{ "IPv6", 12, 0x86dd, "deny egress", true },
		{ "IPv6, by protocol", 12, 0x86dd, "deny egress tcp", false },
		{ "IPv6, by address", 12, 0x86dd, "deny egress to 0.0.0.0/0", false },
		{ "IPv6, by port", 12, 0x86dd, "deny egress tcp to any port 1-65535", false },
		{ "ICMP", OFF_IP + 8, 0x4001, "deny egress icmp", true },
		{ "ICMP, by address", OFF_IP + 8, 0x4001, "deny egress to 10.244.0.0/16", true },
		{ "GRE", OFF_IP + 8, 0x402f, "deny egress protocol 47", true },
		{ "GRE as TCP", OFF_IP + 8, 0x402f, "deny egress tcp", false },
		{ "GRE, by port", OFF_IP + 8, 0x402f, "deny egress tcp to any port 1-65535",
		  false },
		{ "SCTP, by port", OFF_IP + 8, 0x4084, "deny egress sctp to any port 5201", true },
		{ "first fragment", OFF_IP + 6, 0x2000, "deny egress tcp to any port 5201", true },
		{ "later fragment, by port", OFF_IP + 6, 0x0001, "deny egress tcp to any port 5201",
		  false },
		{ "later fragment, by protocol", OFF_IP + 6, 0x0001, "deny egress tcp", true },
		{ "IP options", OFF_IP, 0x4600, "deny egress tcp", true },
		{ "tot_len too large", OFF_IP + 2, 62000, "deny egress tcp to any port 5201",
		  true },
		{ "doff 4", OFF_L4 + 12, 0x4010, "deny egress tcp to any port 5201", true },
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tap_case("policy: %s: %s", rows[i].rule, rows[i].name);
		begin(&node_a, IPPROTO_TCP);
		RULES(rows[i].rule);
		pkt_make(&in, &spec);
		pkt_set16(&in, rows[i].off, rows[i].val);
		node_run(n, POD_EGRESS, &in, &out);
		if (rows[i].denied)
			expect(n, &out, SHOT, R(POLICY_DENIED));
		else
			CHECK_EQ(out.verdict, UNSPEC);
		decided(0, rows[i].denied);
	}

	tap_case("policy: a later fragment passes where an allowed port is the way in");
	begin(&node_a, IPPROTO_TCP);
	RULES("allow egress tcp to any port 1 priority 1", "deny egress");
	pkt_make(&in, &spec);
	pkt_set16(&in, OFF_IP + 6, 0x0001);
	node_run(n, POD_EGRESS, &in, &out);
	expect(n, &out, UNSPEC, R(FRAGMENT));

	tap_case("policy: with IP options the ports are behind them");
	begin(&node_a, IPPROTO_UDP);
	spec.ip_opts = 3;
	RULES("deny egress udp to any port 5201");
	sent(SHOT, R(POLICY_DENIED));

	tap_case("policy: SYN, FIN and RST are judged like any packet");
	for (__u8 flags = FIN; flags <= RST; flags <<= 1) {
		begin(&node_a, IPPROTO_TCP);
		spec.flags = flags;
		RULES("deny egress");
		sent(SHOT, R(POLICY_DENIED));
	}

	tap_case("policy: cut to every length");
	begin(&node_a, IPPROTO_TCP);
	spec.payload = 0;
	RULES("deny egress tcp to any port 5201");
	for (__u32 len = 14; len < 54 && !tap_failed(); len++) {
		pkt_make(&in, &spec);
		in.len = len;
		if (node_run_cut(n, POD_EGRESS, &in, &out))
			CHECK_EQ(out.verdict, len < 38 ? UNSPEC : SHOT);
	}
}

/* ---- against another reading of the rules ---- */

static __u32 random_addr(void)
{
	static const __u32 some[] = { 0x0af40105, 0x0af40207, 0x0af40300, 0x01020304, 0xe0000001 };

	return some[lrand48() % 5] ^ (lrand48() % 3 ? 0 : 1u << lrand48() % 32);
}

static void random_rule(char *text, size_t len)
{
	static const char *const actions[] = { "allow", "overlay", "deny" };
	static const char *const protos[] = { "tcp", "udp", "icmp", "", "" };
	const char *proto = protos[lrand48() % 5];
	bool ports = *proto == 't' || *proto == 'u';
	size_t at;

	at = (size_t)snprintf(text, len, "%s %s %s", actions[lrand48() % 3],
			      lrand48() & 1 ? "egress" : "ingress", proto);
	for (int side = 0; side < 2; side++) {
		unsigned int bits = lrand48() % 4 ? 32u - lrand48() % 16 : lrand48() % 33;
		__u32 a = random_addr() & (bits ? ~0u << (32 - bits) : 0);
		unsigned int port = lrand48() % 4, to = port + lrand48() % 3;

		if (lrand48() & 1)
			at += (size_t)snprintf(text + at, len - at, " %s %u.%u.%u.%u/%u",
					       side ? "to" : "from", a >> 24, a >> 16 & 255,
					       a >> 8 & 255, a & 255, bits);
		else if (ports)
			at += (size_t)snprintf(text + at, len - at, " %s any",
					       side ? "to" : "from");
		else
			continue;
		if (ports && lrand48() & 1)
			at += (size_t)snprintf(text + at, len - at, " port %u-%u", port, to);
	}
	snprintf(text + at, len - at, " priority %ld", lrand48() % 4);
}

/* What the words say, with a branch for each. Index in @list, -1 for none. */
static int reading(const struct pkt_spec *s, unsigned int dir)
{
	int best = -1;

	for (unsigned int i = 0; i < list.n; i++) {
		const struct policy_rule *r = &list.v[i];
		__u32 sp = bpf_ntohs(s->t.sport), dp = bpf_ntohs(s->t.dport);
		bool ports = s->t.proto == IPPROTO_TCP || s->t.proto == IPPROTO_UDP;

		if (r->dir != dir)
			continue;
		if (r->r.proto_mask && r->r.proto != s->t.proto)
			continue;
		if (r->from && (s->t.saddr & r->r.smask) != r->r.saddr)
			continue;
		if (r->to && (s->t.daddr & r->r.dmask) != r->r.daddr)
			continue;
		if (ports && (sp < r->r.sport || sp > (__u32)r->r.sport + r->r.sspan))
			continue;
		if (ports && (dp < r->r.dport || dp > (__u32)r->r.dport + r->r.dspan))
			continue;
		if (best < 0 || r->priority < list.v[best].priority)
			best = (int)i;
	}
	return best;
}

static void agreement(void)
{
	static char texts[40][POLICY_RULE_STR];
	const char *v[41];
	int hits = 0;

	tap_case("policy: programs and a plain reading of the rules agree");
	srand48((long)options.seed);
	for (int round = 0; round < 60 && !tap_failed(); round++) {
		unsigned int many = 1 + lrand48() % 40;

		begin(&node_a, IPPROTO_TCP);
		node_del_flow(n, &key);
		for (unsigned int i = 0; i < many; i++) {
			random_rule(texts[i], sizeof(texts[i]));
			v[i] = texts[i];
		}
		v[many] = NULL;
		rules(v);
		for (int k = 0; k < 60 && !tap_failed(); k++) {
			unsigned int dir = lrand48() & 1, action = XM_POLICY_ALLOW;
			static const __u8 protos[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP };
			int want;

			spec.t.saddr = bpf_htonl(random_addr());
			spec.t.daddr = bpf_htonl(random_addr());
			spec.t.sport = PORT(lrand48() % 6);
			spec.t.dport = PORT(lrand48() % 6);
			spec.t.proto = protos[lrand48() % 3];
			want = reading(&spec, dir);
			pkt_make(&in, &spec);
			node_run(n, dir == XM_POLICY_OUT ? POD_EGRESS : POD_INGRESS, &in, &out);
			if (want >= 0)
				action = policy_action(&list.v[want]);
			CHECK_EQ(out.verdict == SHOT, action == XM_POLICY_DENY);
			if (dir == XM_POLICY_OUT)
				CHECK_EQ(!!(out.reasons & R(POLICY_OVERLAY)),
					 action == XM_POLICY_OVERLAY);
			for (unsigned int i = 0; i < order.n; i++)
				if (counted(i).packets)
					CHECK(order.v[i].rule == &list.v[want < 0 ? 0 : want] &&
						      want >= 0,
					      "rule \"%s\" counted", order.v[i].rule->name);
			hits += want >= 0;
		}
	}
	CHECK(hits > 500, "only %d packets met a rule", hits);
}

/* The 128th of two lists of 128. */
static void last(void)
{
	static char texts[POLICY_LIVE_MAX][POLICY_RULE_STR];
	const char *v[POLICY_LIVE_MAX + 1] = { NULL };

	for (int dir = 0; dir < 2; dir++) {
		tap_case("policy: the last of %d rules, %s", POLICY_LIVE_MAX,
			 dir ? "ingress" : "egress");
		begin(&node_b, IPPROTO_UDP);
		node_del_flow(n, &key);
		for (unsigned int i = 0; i < POLICY_LIVE_MAX; i++) {
			bool is_last = i == POLICY_LIVE_MAX - 1;

			snprintf(texts[i], sizeof(texts[i]), "%s %s udp to any port %u",
				 is_last ? "deny" : "allow", dir ? "ingress" : "egress",
				 is_last ? (dir ? 5201 : 41234) : i);
			v[i] = texts[i];
		}
		rules(v);
		if (dir)
			delivered(SHOT, R(POLICY_DENIED));
		else
			sent(SHOT, R(POLICY_DENIED));
		decided(POLICY_LIVE_MAX - 1, 1);
	}
}

void policy_rules(struct node *node, const char *const *texts)
{
	n = node;
	rules(texts);
}

void suite_policy(void)
{
	egress(&node_a, IPPROTO_TCP);
	egress(&node_b, IPPROTO_UDP);
	ingress(&node_a, IPPROTO_TCP);
	ingress(&node_b, IPPROTO_UDP);
	others();
	last();
	agreement();
	node_reset(&node_a);
	node_reset(&node_b);
}
