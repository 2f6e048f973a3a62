// SPDX-License-Identifier: GPL-2.0-only
/* Rules: what is read, what is written, in which order they are asked, and what they match. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "policy.h"
#include "text.h"
#include "xm_util.h"

static struct policy_rule rule_of(const char *text)
{
	char err[POLICY_ERROR_STR] = "";
	struct policy_rule r;

	if (policy_parse(text, strlen(text), &r, err))
		fail_msg("\"%s\": %s", text, err);
	return r;
}

static void list_of(struct policy_list *l, const char *const *texts)
{
	char err[POLICY_ERROR_STR];

	memset(l, 0, sizeof(*l));
	for (; *texts; texts++) {
		struct policy_rule r = rule_of(*texts);

		assert_int_equal(policy_add(l, &r, "r", NULL, err), 0);
	}
}

/* Each is read, and written as the second. */
static void test_forms(void **state)
{
	static const char *const t[][2] = {
		{ "deny egress", "deny egress" },
		{ "  allow\tingress  ", "allow ingress" },
		{ "overlay egress protocol any", "overlay egress" },
		{ "deny egress tcp", "deny egress tcp" },
		{ "deny egress protocol tcp", "deny egress tcp" },
		{ "deny egress protocol 47", "deny egress protocol 47" },
		{ "deny egress protocol 0", "deny egress protocol 0" },
		{ "deny ingress icmp from 10.1.2.3", "deny ingress icmp from 10.1.2.3" },
		{ "deny ingress from 10.1.2.3/32", "deny ingress from 10.1.2.3" },
		{ "deny ingress from 0.0.0.0/0", "deny ingress from 0.0.0.0/0" },
		{ "deny ingress from any to any", "deny ingress" },
		{ "deny egress to 10.0.0.0/8 port 80 tcp",
		  "deny egress tcp to 10.0.0.0/8 port 80" },
		{ "deny egress udp from any port 1-1023 to any port 53-53",
		  "deny egress udp from any port 1-1023 to any port 53" },
		{ "deny egress tcp to any port 0-65535", "deny egress tcp" },
		{ "deny egress priority 0", "deny egress priority 0" },
		{ "deny egress priority 1000", "deny egress" },
		{ "name a.B_c-9 deny", NULL },
		{ "deny egress name a.B_c-9", "deny egress name a.B_c-9" },
		{ "allow egress sctp from 1.2.3.4 port 5 to 128.0.0.0/1 port 6-7 priority 65535 name x",
		  "allow egress sctp from 1.2.3.4 port 5 to 128.0.0.0/1 port 6-7 priority 65535 name x" },
	};
	char buf[POLICY_RULE_STR], err[POLICY_ERROR_STR];
	struct policy_rule r;

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++) {
		if (!t[i][1]) {
			assert_int_equal(policy_parse(t[i][0], strlen(t[i][0]), &r, err), -EINVAL);
			continue;
		}
		r = rule_of(t[i][0]);
		assert_string_equal(policy_format(buf, &r), t[i][1]);
		r = rule_of(buf);
		assert_string_equal(policy_format(buf, &r), t[i][1]);
	}
}

/* What is wrong, and the word that the answer must hold. */
static void test_refused(void **state)
{
	static const char *const t[][2] = {
		{ "", "action is missing" },
		{ "deny", "direction is missing" },
		{ "dney egress", "did you mean \"deny\"" },
		{ "drop egress", "no action" },
		{ "deny engress", "did you mean \"egress\"" },
		{ "deny out", "no direction" },
		{ "deny egress tcp udp", "given twice" },
		{ "deny egress to", "must be followed by" },
		{ "deny egress to 10.1.2.3/8", "did you mean \"10.0.0.0/8\"" },
		{ "deny egress to 10.0.0.0/33", "0 to 32" },
		{ "deny egress to 10.0.0.0/", "0 to 32" },
		{ "deny egress to 10.0.0.0/08", "0 to 32" },
		{ "deny egress to 10.0.0", "neither any nor" },
		{ "deny egress to fd00::/8", "IPv4 addresses only" },
		{ "deny egress to any to any", "given twice" },
		{ "deny egress port 80", "stands behind" },
		{ "deny egress to any port 80", "needs one of tcp" },
		{ "deny egress icmp to any port 80", "needs one of tcp" },
		{ "deny egress tcp to any port 65536", "no port" },
		{ "deny egress tcp to any port 080", "no port" },
		{ "deny egress tcp to any port -1", "no port" },
		{ "deny egress tcp to any port 90-80", "did you mean \"80-90\"" },
		{ "deny egress tcp to any port", "must be followed by" },
		{ "deny egress protocol 256", "no protocol" },
		{ "deny egress protocol gre", "no protocol" },
		{ "deny egress priority 65536", "no priority" },
		{ "deny egress priority -1", "no priority" },
		{ "deny egress priority 1 priority 2", "given twice" },
		{ "deny egress name a/b", "no name" },
		{ "deny egress name aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "no name" },
		{ "deny egress form 10.0.0.0/8", "did you mean \"from\"" },
		{ "deny egress \x01", "control characters" },
		{ "deny egress aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  "too long" },
		{ "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5", "too many words" },
	};
	char err[POLICY_ERROR_STR];
	struct policy_rule r;

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++) {
		strcpy(err, "");
		if (policy_parse(t[i][0], strlen(t[i][0]), &r, err) != -EINVAL ||
		    !strstr(err, t[i][1]))
			fail_msg("\"%s\": \"%s\" lacks \"%s\"", t[i][0], err, t[i][1]);
	}
	/* Not NUL-terminated, and no byte behind it is read. */
	assert_int_equal(policy_parse("deny egressX", 11, &r, err), 0);
}

static struct xm_policy_packet packet_of(const char *text)
{
	char err[POLICY_ERROR_STR] = "";
	struct xm_policy_packet p;

	if (policy_parse_packet(text, &p, err))
		fail_msg("\"%s\": %s", text, err);
	return p;
}

static bool matches(const char *rule, struct xm_policy_packet p)
{
	struct policy_rule r = rule_of(rule);

	return !xm_rule_misses(&r.r, &p);
}

static void test_match(void **state)
{
	static const struct {
		const char *rule;
		const char *packet;
		bool want;
	} t[] = {
		{ "deny egress", "tcp 1.2.3.4:5 6.7.8.9:10", true },
		{ "deny egress", "icmp 1.2.3.4 6.7.8.9", true },
		{ "deny egress tcp", "tcp 1.2.3.4:5 6.7.8.9:10", true },
		{ "deny egress tcp", "udp 1.2.3.4:5 6.7.8.9:10", false },
		{ "deny egress protocol 47", "protocol 47 1.2.3.4 6.7.8.9", true },
		{ "deny egress protocol 0", "tcp 1.2.3.4:5 6.7.8.9:10", false },
		{ "deny egress from 1.2.3.4", "tcp 1.2.3.4:5 6.7.8.9:10", true },
		{ "deny egress from 1.2.3.5", "tcp 1.2.3.4:5 6.7.8.9:10", false },
		{ "deny egress to 1.2.3.4", "tcp 1.2.3.4:5 6.7.8.9:10", false },
		{ "deny egress to 6.7.8.8/31", "tcp 1.2.3.4:5 6.7.8.9:10", true },
		{ "deny egress to 6.7.8.10/31", "tcp 1.2.3.4:5 6.7.8.9:10", false },
		{ "deny egress to 128.0.0.0/1", "tcp 1.2.3.4:5 128.7.8.9:10", true },
		{ "deny egress to 128.0.0.0/1", "tcp 1.2.3.4:5 127.7.8.9:10", false },
		{ "deny egress tcp to any port 80-90", "tcp 1.2.3.4:5 6.7.8.9:79", false },
		{ "deny egress tcp to any port 80-90", "tcp 1.2.3.4:5 6.7.8.9:80", true },
		{ "deny egress tcp to any port 80-90", "tcp 1.2.3.4:5 6.7.8.9:90", true },
		{ "deny egress tcp to any port 80-90", "tcp 1.2.3.4:5 6.7.8.9:91", false },
		{ "deny egress tcp to any port 80-90", "tcp 1.2.3.4:85 6.7.8.9:5", false },
		{ "deny egress tcp from any port 80-90", "tcp 1.2.3.4:85 6.7.8.9:5", true },
		{ "deny egress tcp to any port 0", "tcp 1.2.3.4:5 6.7.8.9:0", true },
		{ "deny egress tcp to any port 0", "tcp 1.2.3.4:5 6.7.8.9:65535", false },
		{ "deny egress tcp to any port 65535", "tcp 1.2.3.4:5 6.7.8.9:65535", true },
		{ "deny egress tcp to any port 65535", "tcp 1.2.3.4:5 6.7.8.9:0", false },
		{ "deny egress tcp to any port 1-65535", "tcp 1.2.3.4:5 6.7.8.9:0", false },
		{ "deny egress tcp to any port 1-65535", "tcp 1.2.3.4:5 6.7.8.9:65535", true },
		{ "deny egress tcp from any port 0-1 to any port 65534-65535",
		  "tcp 1.2.3.4:1 6.7.8.9:65534", true },
		{ "deny egress sctp to any port 9", "sctp 1.2.3.4:1 6.7.8.9:9", true },
	};

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++)
		if (matches(t[i].rule, packet_of(t[i].packet)) != t[i].want)
			fail_msg("\"%s\" %s \"%s\"", t[i].rule, t[i].want ? "misses" : "matches",
				 t[i].packet);
}

/* Fragments and IPv6 hold anything in the fields that they lack. */
static void test_lacking(void **state)
{
	struct xm_policy_packet frag = packet_of("tcp 1.2.3.4:5 6.7.8.9:80"), v6 = frag;

	(void)state;
	frag.lacks = XM_LACKS_FIRST;
	assert_false(matches("deny ingress tcp to any port 80", frag));
	assert_false(matches("deny ingress tcp to any port 81", frag));
	assert_true(matches("deny ingress tcp", frag));
	assert_true(matches("allow ingress tcp to any port 81", frag));
	assert_true(matches("overlay ingress tcp from any port 81", frag));
	assert_false(matches("allow ingress tcp to 6.7.8.8 port 81", frag));
	assert_false(matches("allow ingress udp to any port 81", frag));

	v6.lacks = XM_LACKS_IPV4 | XM_LACKS_PORTS;
	assert_true(matches("deny ingress", v6));
	assert_false(matches("deny ingress tcp", v6));
	assert_false(matches("deny ingress to 0.0.0.0/0", v6));
	assert_false(matches("deny ingress from 0.0.0.0/0", v6));
	assert_false(matches("allow ingress tcp to any port 80", v6));
}

static const char *decided_by(const struct policy_order *o, const struct xm_policy_half *h,
			      const char *packet, int dir)
{
	struct xm_policy_packet p = packet_of(packet);
	int i = policy_by_slot(o, xm_policy_decide(h, &p, dir));

	return i < 0 ? "" : o->v[i].rule->name;
}

static void test_order(void **state)
{
	static const char *const file[] = {
		"deny egress priority 500 name f-deny",
		"allow egress to 10.1.0.0/16 priority 100 name f-allow",
		"deny ingress tcp to any port 22 name f-ssh",
		NULL,
	};
	static const char *const live[] = {
		"deny egress to 10.1.1.0/24 priority 50 name l-early",
		"overlay egress udp priority 500 name l-udp",
		"allow ingress from 10.9.0.0/16 name l-in",
		NULL,
	};
	static const struct xm_policy_half none;
	struct policy_list l, f;
	struct policy_order *o = calloc(1, sizeof(*o));
	struct xm_policy_half *h = calloc(1, sizeof(*h));

	(void)state;
	assert_non_null(o);
	assert_non_null(h);
	list_of(&l, live);
	list_of(&f, file);
	policy_compile(&l, &f, &none, h, o);
	assert_int_equal(o->n, 6);
	assert_int_equal(h->n[XM_POLICY_OUT], 4);
	assert_int_equal(h->n[XM_POLICY_IN], 2);
	assert_string_equal(decided_by(o, h, "tcp 9.9.9.9:1 10.1.1.7:2", 0), "l-early");
	assert_string_equal(decided_by(o, h, "tcp 9.9.9.9:1 10.1.2.7:2", 0), "f-allow");
	assert_string_equal(decided_by(o, h, "tcp 9.9.9.9:1 10.2.2.7:2", 0), "f-deny");
	/* One priority: live before the file. */
	assert_string_equal(decided_by(o, h, "udp 9.9.9.9:1 10.2.2.7:2", 0), "l-udp");
	assert_string_equal(decided_by(o, h, "tcp 10.9.0.1:1 10.2.2.7:22", 1), "l-in");
	assert_string_equal(decided_by(o, h, "tcp 10.8.0.1:1 10.2.2.7:22", 1), "f-ssh");
	assert_string_equal(decided_by(o, h, "tcp 10.8.0.1:1 10.2.2.7:23", 1), "");
	free(o);
	free(h);
}

/* The longest lists: the last rule is asked, and so is the first. */
static void test_full(void **state)
{
	static const struct xm_policy_half none;
	struct policy_order *o = calloc(1, sizeof(*o));
	struct xm_policy_half *h = calloc(1, sizeof(*h));
	struct policy_list *l = calloc(2, sizeof(*l));
	char text[64], err[POLICY_ERROR_STR];
	struct policy_rule r;

	(void)state;
	for (unsigned int k = 0; k < 2; k++)
		for (unsigned int i = 0; i < POLICY_LIVE_MAX; i++) {
			snprintf(text, sizeof(text), "deny ingress tcp to any port %u",
				 k * 1000 + i);
			r = rule_of(text);
			assert_int_equal(policy_add(&l[k], &r, k ? "b" : "a", &l[!k], err), 0);
		}
	assert_int_equal(policy_add(&l[0], &r, "a", NULL, err), -ENOSPC);
	policy_compile(&l[0], &l[1], &none, h, o);
	assert_int_equal(h->n[XM_POLICY_IN], XM_RULES_MAX);
	assert_string_equal(decided_by(o, h, "tcp 1.1.1.1:1 2.2.2.2:0", 1), "a1");
	assert_string_equal(decided_by(o, h, "tcp 1.1.1.1:1 2.2.2.2:1127", 1), "b128");
	assert_string_equal(decided_by(o, h, "tcp 1.1.1.1:1 2.2.2.2:1127", 0), "");
	free(o);
	free(h);
	free(l);
}

/* A rule that stays keeps its counter, wherever it stands; a new one gets none that is in use. */
static void test_slots(void **state)
{
	static const char *const before[] = { "deny egress tcp name a", "deny egress udp name b",
					      "deny ingress tcp name c", NULL };
	static const char *const after[] = { "deny egress icmp name new", "deny ingress tcp name c",
					     "deny egress udp name renamed priority 7", NULL };
	static const struct xm_policy_half none;
	static struct xm_policy_half first, second;
	static struct policy_order o;
	static struct policy_list l, empty;
	unsigned int slot[2];

	(void)state;
	list_of(&l, before);
	policy_compile(&empty, &l, &none, &first, &o);
	for (unsigned int i = 0; i < o.n; i++)
		assert_true(o.v[i].fresh);
	slot[0] = o.v[1].slot; /* b */
	slot[1] = o.v[2].slot; /* c */
	list_of(&l, after);
	policy_compile(&l, &empty, &first, &second, &o);
	assert_int_equal(o.n, 3);
	assert_string_equal(o.v[0].rule->name, "renamed");
	assert_int_equal(o.v[0].slot, slot[0]);
	assert_false(o.v[0].fresh);
	assert_string_equal(o.v[2].rule->name, "c");
	assert_int_equal(o.v[2].slot, slot[1]);
	assert_true(o.v[1].fresh);
	assert_int_not_equal(o.v[1].slot, slot[0]);
	assert_int_not_equal(o.v[1].slot, slot[1]);
}

static void test_lists(void **state)
{
	static const char *const texts[] = { "deny egress tcp name a", "allow ingress", NULL };
	char err[POLICY_ERROR_STR], *lines;
	struct policy_list l, back;
	struct policy_rule r;

	(void)state;
	list_of(&l, texts);
	assert_string_equal(l.v[1].name, "r1");
	r = rule_of("deny egress name a");
	assert_int_equal(policy_add(&l, &r, "r", NULL, err), -EEXIST);
	assert_non_null(strstr(err, "\"a\""));
	memset(&back, 0, sizeof(back));
	assert_int_equal(policy_add(&back, &r, "r", &l, err), -EEXIST);
	r = rule_of("deny egress");
	assert_int_equal(policy_add(&back, &r, "r", &l, err), 0);
	assert_string_equal(back.v[0].name, "r2");

	lines = policy_lines(&l);
	assert_string_equal(lines, "deny egress tcp name a\nallow ingress name r1\n");
	policy_read_lines(lines, &back, NULL, NULL);
	assert_true(policy_equal(&l, &back));
	free(lines);
	policy_del(&back, 0);
	assert_false(policy_equal(&l, &back));
	assert_int_equal(back.n, 1);
	assert_int_equal(policy_find(&back, "r1"), 0);
	assert_int_equal(policy_find(&back, "a"), -1);
}

static void on_bad(void *arg, unsigned int line, const char *why)
{
	assert_non_null(strstr(why, "no action"));
	*(unsigned int *)arg = line;
}

static void test_bad_lines(void **state)
{
	unsigned int line = 0;
	struct policy_list l;

	(void)state;
	policy_read_lines("deny egress tcp name a\nrubbish\nallow ingress name b", &l, on_bad,
			  &line);
	assert_int_equal(line, 2);
	assert_int_equal(l.n, 2);
	assert_string_equal(l.v[1].name, "b");
}

static void test_packets(void **state)
{
	static const char *const good[][2] = {
		{ "tcp 1.2.3.4:5 6.7.8.9:10", "tcp 1.2.3.4:5->6.7.8.9:10" },
		{ "tcp 1.2.3.4:5->6.7.8.9:10", "tcp 1.2.3.4:5->6.7.8.9:10" },
		{ "protocol udp 1.2.3.4:5 -> 6.7.8.9:0", "udp 1.2.3.4:5->6.7.8.9:0" },
		{ "icmp 1.2.3.4 6.7.8.9", "icmp 1.2.3.4->6.7.8.9" },
		{ "protocol 47 1.2.3.4 6.7.8.9", "protocol 47 1.2.3.4->6.7.8.9" },
	};
	static const char *const bad[] = {
		"",
		"tcp",
		"1.2.3.4:5 6.7.8.9:10",
		"tcp 1.2.3.4:5",
		"tcp 1.2.3.4 6.7.8.9:1",
		"icmp 1.2.3.4:5 6.7.8.9",
		"tcp 1.2.3.4:5 6.7.8.9:1 x",
		"tcp 1.2.3.4:5 6.7.8.9:65536",
		"gre 1.2.3.4 6.7.8.9",
		"protocol any 1.2.3.4 6.7.8.9",
	};
	char buf[POLICY_PACKET_STR], err[POLICY_ERROR_STR];
	struct xm_policy_packet p;

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(good); i++) {
		p = packet_of(good[i][0]);
		assert_string_equal(policy_format_packet(buf, &p), good[i][1]);
	}
	for (size_t i = 0; i < XM_ARRAY_SIZE(bad); i++) {
		err[0] = '\0';
		assert_int_equal(policy_parse_packet(bad[i], &p, err), -EINVAL);
		assert_true(err[0] != '\0');
	}
}

static void test_allows(void **state)
{
	static const char *const texts[] = { "deny egress tcp to any port 80",
					     "overlay ingress udp from 10.2.0.0/16", NULL };
	static const struct xm_policy_half none;
	static struct xm_policy_half h;
	static struct policy_order o;
	static struct policy_list l, empty;
	struct xm_flow_key k = { .saddr = htonl(0x0a010001),
				 .daddr = htonl(0x0a020001),
				 .sport = htons(4000),
				 .dport = htons(80),
				 .proto = IPPROTO_TCP };

	(void)state;
	list_of(&l, texts);
	policy_compile(&l, &empty, &none, &h, &o);
	assert_false(policy_allows(&h, &k));
	k.dport = htons(81);
	assert_true(policy_allows(&h, &k));
	/* The pod answers from its port 80: another tuple. */
	k.sport = htons(80);
	assert_true(policy_allows(&h, &k));
	/* What it would get is kept on the overlay. */
	k.proto = IPPROTO_UDP;
	assert_false(policy_allows(&h, &k));
	k.daddr = htonl(0x0a030001);
	assert_true(policy_allows(&h, &k));
}

static void test_config(void **state)
{
	static const char good[] = "policy:\n- deny egress tcp to 10.0.0.0/8 port 25\n"
				   "- {}\n";
	struct config *c = calloc(1, sizeof(*c));
	struct config_error err;
	char buf[600];

	(void)state;
	assert_int_equal(config_parse(good, strlen(good) - 5, c, &err), 0);
	assert_int_equal(c->policy.n, 1);
	assert_string_equal(c->policy.v[0].name, "file1");
	assert_int_equal(config_parse(good, strlen(good), c, &err), -EINVAL);
	assert_int_equal(err.line, 3);
#define REFUSED(text, at, why)                                                        \
	do {                                                                          \
		assert_int_equal(config_parse(text, strlen(text), c, &err), -EINVAL); \
		config_error_str(&err, "f", buf, sizeof(buf));                        \
		if (strncmp(buf, at, strlen(at)) || !strstr(buf, why))                \
			fail_msg("\"%s\"", buf);                                      \
	} while (0)
	REFUSED("mode: auto\npolicy:\n- deny egress\n- dney ingress\n", "f:4:3: ", "did you mean");
	REFUSED("policy:\n- deny egress name x\n- allow egress name x\n", "f:3:3: ", "already");
	REFUSED("policy: deny egress\n", "f:1:9: ", "a list of at most 128 rules");
	REFUSED("policy:\n  deny: egress\n", "f:2:3: ", "a list of at most 128 rules");
	assert_int_equal(config_parse("policy: []\n", 11, c, &err), 0);
	assert_int_equal(c->policy.n, 0);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forms),	  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_match),	  cmocka_unit_test(test_lacking),
		cmocka_unit_test(test_order),	  cmocka_unit_test(test_full),
		cmocka_unit_test(test_slots),	  cmocka_unit_test(test_lists),
		cmocka_unit_test(test_bad_lines), cmocka_unit_test(test_packets),
		cmocka_unit_test(test_allows),	  cmocka_unit_test(test_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
