// SPDX-License-Identifier: GPL-2.0-only
/* The codec of the control protocol. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "xm_util.h"

/* From a copy without NUL: reading beyond it is seen by the sanitizer. */
static int parse(const char *line, size_t len, struct ctl_request *req, char *err, size_t err_len)
{
	char *copy = malloc(len ? len : 1);
	int ret;

	assert_non_null(copy);
	memcpy(copy, line, len);
	err[0] = '\0';
	ret = ctl_parse_request(copy, len, req, err, err_len);
	free(copy);
	return ret;
}

static void test_good(void **state)
{
	static const struct {
		const char *line;
		enum ctl_command command;
	} t[] = {
		{ "{\"command\":\"status\"}\n", CTL_STATUS },
		{ "{\"command\":\"status\"}\r\n", CTL_STATUS },
		{ " { \"args\" : { } , \"command\" : \"pods\" } ", CTL_PODS },
		{ "{\"command\":\"peers\",\"args\":null}", CTL_PEERS },
		{ "{\"command\":\"counters\",\"args\":{}}", CTL_COUNTERS },
		{ "{\"command\":\"cleanup\"}", CTL_CLEANUP },
		{ "{\"command\":\"config\"}", CTL_CONFIG },
		{ "{\"command\":\"version\"}", CTL_VERSION },
		{ "{\"command\":\"flows\"}", CTL_FLOWS },
	};
	struct ctl_request req;
	char err[256];
	size_t i;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(t); i++) {
		if (parse(t[i].line, strlen(t[i].line), &req, err, sizeof(err)))
			fail_msg("%s: %s", t[i].line, err);
		assert_int_equal(req.command, t[i].command);
	}
	assert_int_equal(req.flows.limit, CTL_FLOWS_LIMIT);
	assert_false(req.flows.active);
}

#define FLUSH(args) "{\"command\":\"flush\",\"args\":" args "}"
#define FLOWS(args) "{\"command\":\"flows\",\"args\":" args "}"
#define PODS(args)  "{\"command\":\"pods\",\"args\":" args "}"
#define L(s)	    s, sizeof(s) - 1

static void test_bad(void **state)
{
	static const struct {
		const char *line;
		size_t len;
		const char *says;
	} t[] = {
		{ L(""), "is empty" },
		{ L("\n"), "is empty" },
		{ L("status"), "not valid JSON" },
		{ L("{"), "ends too early" },
		{ L("{\"command\":\"status\""), "ends too early" },
		{ L("{\"command\":\"status\"} x"), "not valid JSON" },
		{ L("{\"command\":\"status\"}{\"command\":\"status\"}"), "not valid JSON" },
		{ L("{\"command\":\"status\",}"), "not valid JSON" },
		{ L("{'command':'status'}"), "not valid JSON" },
		{ L("{\"command\":\"sta\xff\"}"), "not valid JSON" },
		{ L("{\"command\":\"status\"}\0"), "not valid JSON" },
		{ L("\0"), "not valid JSON" },
		{ L("[[[[[[[[[[[[[[[[[[[[[["), "not valid JSON" },
		{ L("null "), "it is null" },
		{ L("[]"), "must be an object" },
		{ L("\"status\""), "must be an object" },
		{ L("{}"), "\"command\" is missing" },
		{ L("{\"command\":null}"), "\"command\" is missing" },
		{ L("{\"command\":5}"), "must be a text" },
		{ L("{\"command\":\"stat\\u0000us\"}"), "must be a text" },
		{ L("{\"command\":\"reboot\"}"), "unknown command \"reboot\"" },
		{ L("{\"command\":\"Status\"}"), "unknown command" },
		{ L("{\"command\":\"\"}"), "unknown command \"\"" },
		{ L("{\"command\":\"status\",\"arg\":{}}"), "unknown key \"arg\"" },
		{ L("{\"command\":\"status\",\"args\":[]}"), "\"args\" must be an object" },
		{ L("{\"command\":\"status\",\"args\":{\"x\":1}}"), "takes no arguments" },
		{ L("{\"command\":\"cleanup\",\"args\":{\"x\":1}}"), "takes no arguments" },
		{ L(PODS("{\"names\":1}")), "must be true or false" },
		{ L(PODS("{\"name\":true}")), "allowed: names" },
		{ L(FLOWS("{\"limit\":0}")), "from 1 to 65536" },
		{ L(FLOWS("{\"limit\":-1}")), "from 1 to 65536" },
		{ L(FLOWS("{\"limit\":65537}")), "from 1 to 65536" },
		{ L(FLOWS("{\"limit\":4294967297}")), "from 1 to 65536" },
		{ L(FLOWS("{\"limit\":99999999999999999999999}")), "from 1 to 65536" },
		{ L(FLOWS("{\"limit\":\"5\"}")), "from 1 to 65536" },
		{ L(FLOWS("{\"limit\":1.5}")), "from 1 to 65536" },
		{ L(FLOWS("{\"active\":1}")), "true or false" },
		{ L(FLOWS("{\"pod\":1}")), "unknown argument \"pod\"" },
		{ L("{\"command\":\"policy\"}"), "policy takes {\"do\"" },
		{ L("{\"command\":\"policy\",\"args\":{\"do\":1}}"), "must be a text" },
		{ L("{\"command\":\"policy\",\"args\":{\"do\":\"list\",\"x\":1}}"),
		  "policy takes {\"do\"" },
		{ L("{\"command\":\"policy\",\"args\":{\"do\":\"list\",\"text\":\"x\"}}"),
		  "no more words" },
		{ L("{\"command\":\"policy\",\"args\":{\"do\":\"drop\"}}"), "not \"drop\"" },
		{ L("{\"command\":\"policy\",\"args\":{\"do\":\"add\"}}"), "action is missing" },
		{ L("{\"command\":\"policy\",\"args\":{\"do\":\"add\",\"text\":\"deny x\"}}"),
		  "no direction" },
		{ L("{\"command\":\"policy\",\"args\":{\"do\":\"del\",\"text\":\"a b\"}}"),
		  "name of one rule" },
		{ L("{\"command\":\"policy\",\"args\":{\"do\":\"test\",\"text\":\"tcp\"}}"),
		  "address is missing" },
		{ L("{\"command\":\"trace\"}"), "trace takes {\"flow\"" },
		{ L("{\"command\":\"trace\",\"args\":{\"flow\":1}}"), "must be a text" },
		{ L("{\"command\":\"trace\",\"args\":{\"flow\":\"tcp\"}}"), "is no flow" },
		{ L("{\"command\":\"trace\",\"args\":{\"flow\":\"tcp\",\"x\":1}}"),
		  "trace takes {\"flow\"" },
		{ L("{\"command\":\"flush\"}"), "exactly one of" },
		{ L(FLUSH("{}")), "exactly one of" },
		{ L(FLUSH("{\"all\":true,\"peer\":\"172.31.0.2\"}")), "exactly one of" },
		{ L(FLUSH("{\"everything\":true}")), "exactly one of" },
		{ L(FLUSH("{\"all\":false}")), "must be true" },
		{ L(FLUSH("{\"all\":1}")), "must be true" },
		{ L(FLUSH("{\"all\":null}")), "exactly one of" },
		{ L(FLUSH("{\"flow\":5}")), "must be a text" },
		{ L(FLUSH("{\"flow\":\"tcp 1.2.3.4:5\"}")), "is no flow" },
		{ L(FLUSH("{\"pod\":\"\"}")), "neither an IPv4 address nor an interface" },
		{ L(FLUSH("{\"pod\":\"a/b\"}")), "neither" },
		{ L(FLUSH("{\"pod\":\"a\\u0000b\"}")), "must be a text" },
		{ L(FLUSH("{\"pod\":\"sixteen-chars-ab\"}")), "neither" },
		{ L(FLUSH("{\"peer\":\"eth0\"}")), "is no IPv4 address" },
		{ L(FLUSH("{\"peer\":\"1.2.3\"}")), "is no IPv4 address" },
	};
	struct ctl_request req;
	unsigned int wrong = 0;
	char err[256];
	size_t i;
	int ret;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(t); i++) {
		ret = parse(t[i].line, t[i].len, &req, err, sizeof(err));
		if (ret != -EINVAL || !strstr(err, t[i].says)) {
			print_error("%s gives %d, %s\n  wanted ...%s...\n", t[i].line, ret, err,
				    t[i].says);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

static void test_length(void **state)
{
	static const char head[] = "{\"command\":\"status\"}";
	char *line = malloc(CTL_LINE_MAX + 1), err[256];
	struct ctl_request req;

	(void)state;
	assert_non_null(line);
	memset(line, ' ', CTL_LINE_MAX + 1);
	memcpy(line, head, sizeof(head) - 1);
	assert_int_equal(parse(line, CTL_LINE_MAX, &req, err, sizeof(err)), 0);
	assert_int_equal(parse(line, CTL_LINE_MAX + 1, &req, err, sizeof(err)), -EINVAL);
	assert_non_null(strstr(err, "at most 65536"));
	free(line);
}

/* Every request of xmasqctl is what the daemon reads. */
static void test_round_trip(void **state)
{
	struct ctl_request t[CTL_COMMANDS + 10] = { 0 }, got;
	char err[256], *line;
	size_t i, n;

	(void)state;
	for (n = 0; n < CTL_COMMANDS; n++)
		t[n].command = (enum ctl_command)n;
	t[CTL_FLOWS].flows.limit = CTL_FLOWS_MAX;
	assert_int_equal(ctl_parse_flow("tcp 10.0.0.1:1 10.0.0.2:65535", &t[CTL_TRACE].trace), 0);
	for (i = 0; i < 4; i++, n++) {
		static const char *const policy[][2] = {
			{ "list", "" },
			{ "add", "deny egress tcp from 1.2.3.4 to any port 5-6 name x" },
			{ "del", "x" },
			{ "test", "icmp 1.2.3.4 5.6.7.8" },
		};

		t[n].command = CTL_POLICY;
		assert_int_equal(ctl_policy(policy[i][0], policy[i][1], &t[n], err), 0);
	}
	for (i = 0; i < 6; i++)
		t[n + i].command = CTL_FLUSH;
	t[n].command = CTL_PODS;
	t[n++].pods.names = true;
	t[n].command = CTL_FLOWS;
	t[n].flows.active = true;
	t[n++].flows.limit = 17;
	t[n].flush.what = CTL_FLUSH_FLOW;
	assert_int_equal(ctl_parse_flow("udp 255.255.255.255:65535 255.255.255.254:65534",
					&t[n++].flush.flow),
			 0);
	assert_int_equal(ctl_parse_pod("10.244.1.9", &t[n]), 0);
	assert_int_equal(t[n++].flush.what, CTL_FLUSH_POD_ADDR);
	assert_int_equal(ctl_parse_pod("veth\"\\1", &t[n]), 0);
	assert_int_equal(t[n++].flush.what, CTL_FLUSH_POD_IF);
	t[n].flush.what = CTL_FLUSH_PEER;
	t[n++].flush.addr = inet_addr("172.31.0.2");

	for (i = 0; i < n; i++) {
		line = ctl_request_line(&t[i]);
		assert_non_null(line);
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
		if (parse(line, strlen(line), &got, err, sizeof(err)))
			fail_msg("%s: %s", line, err);
		assert_memory_equal(&got, &t[i], sizeof(got));
		free(line);
	}
}

static void test_flow(void **state)
{
	static const char *const good[] = {
		"tcp 10.0.0.1:80 10.0.0.2:9090",
		"tcp 10.0.0.1:80->10.0.0.2:9090",
		"tcp 10.0.0.1:80 -> 10.0.0.2:9090",
		" tcp\t10.0.0.1:80 ->10.0.0.2:9090 ",
	};
	static const char *const wrong[] = {
		"",
		"tcp",
		"tcp ",
		"icmp 10.0.0.1:80 10.0.0.2:90",
		"TCP 10.0.0.1:80 10.0.0.2:90",
		"tcp10.0.0.1:80 10.0.0.2:90",
		"tcp 10.0.0.1:80",
		"tcp 10.0.0.1:80 10.0.0.2",
		"tcp 10.0.0.1:80 10.0.0.2:",
		"tcp 10.0.0.1:8010.0.0.2:90",
		"tcp 10.0.0.1:65536 10.0.0.2:90",
		"tcp 10.0.0.1:0 10.0.0.2:90",
		"tcp 10.0.0.1:80 10.0.0.2:90 x",
		"tcp 10.0.0.1:80 10.0.0.2:90:1",
		"tcp 10.0.0.256:80 10.0.0.2:90",
		"tcp 10.0.1:80 10.0.0.2:90",
		"tcp [::1]:80 [::2]:90",
		"tcp 10.0.0.1:80-10.0.0.2:90",
		"tcp 10.0.0.1:+80 10.0.0.2:90",
		"tcp 10.0.0.1:80 -> -> 10.0.0.2:90",
		"tcp 10.0.0.1:99999999999999999999 10.0.0.2:90",
	};
	struct xm_flow_key k;
	char buf[CTL_FLOW_STR];
	size_t i;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(good); i++) {
		memset(&k, 0xff, sizeof(k));
		if (ctl_parse_flow(good[i], &k))
			fail_msg("refused: %s", good[i]);
		assert_int_equal(k.saddr, inet_addr("10.0.0.1"));
		assert_int_equal(k.daddr, inet_addr("10.0.0.2"));
		assert_int_equal(ntohs(k.sport), 80);
		assert_int_equal(ntohs(k.dport), 9090);
		assert_int_equal(k.proto, IPPROTO_TCP);
		assert_memory_equal(k.pad, "\0\0\0", 3); /* it is a map's key */
		assert_string_equal(ctl_format_flow(buf, &k), "tcp 10.0.0.1:80->10.0.0.2:9090");
	}
	for (i = 0; i < XM_ARRAY_SIZE(wrong); i++)
		if (ctl_parse_flow(wrong[i], &k) != -EINVAL)
			fail_msg("taken: %s", wrong[i]);
	assert_int_equal(ctl_parse_flow("udp 1.1.1.1:1 2.2.2.2:2", &k), 0);
	assert_int_equal(k.proto, IPPROTO_UDP);
}

static void test_reply(void **state)
{
	struct json_object *o;
	char err[256], *line;
	size_t len;

	(void)state;
	line = ctl_reply_ok(json_tokener_parse("{\"a\":[1,2]}"), &len);
	assert_string_equal(line, "{\"ok\":true,\"result\":{\"a\":[1,2]}}\n");
	assert_int_equal(len, strlen(line));
	assert_int_equal(ctl_parse_reply(line, len, &o, err, sizeof(err)), 0);
	assert_string_equal(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN),
			    "{\"a\":[1,2]}");
	json_object_put(o);
	/* A daemon that dies while it answers. */
	assert_int_equal(ctl_parse_reply(line, len - 2, &o, err, sizeof(err)), -EPROTO);
	assert_null(o);
	free(line);

	line = ctl_reply_ok(NULL, &len);
	assert_string_equal(line, "{\"ok\":true,\"result\":null}\n");
	assert_int_equal(ctl_parse_reply(line, len, &o, err, sizeof(err)), 0);
	assert_null(o);
	free(line);

	line = ctl_reply_error("no \"pod\"\n\xff/x", &len);
	assert_string_equal(line, "{\"ok\":false,\"error\":\"no \\\"pod\\\"\\n?/x\"}\n");
	assert_int_equal(ctl_parse_reply(line, len, &o, err, sizeof(err)), -EREMOTEIO);
	assert_string_equal(err, "no \"pod\"\n?/x");
	free(line);

	/* xmasqctl prints it: nothing in it may speak to the terminal. */
	line = ctl_reply_error("\033]0;x\a \033[2J\177 \302\2332J \303\244", &len);
	assert_int_equal(ctl_parse_reply(line, len, &o, err, sizeof(err)), -EREMOTEIO);
	assert_string_equal(err, "?]0;x? ?[2J? ??2J \303\244");
	free(line);

	assert_int_equal(ctl_parse_reply("", 0, &o, err, sizeof(err)), -EPROTO);
	assert_int_equal(ctl_parse_reply("{}", 2, &o, err, sizeof(err)), -EPROTO);
	assert_int_equal(ctl_parse_reply("[1]", 3, &o, err, sizeof(err)), -EPROTO);
	assert_int_equal(ctl_parse_reply("{\"ok\":1}", 8, &o, err, sizeof(err)), -EPROTO);
	assert_int_equal(ctl_parse_reply("HTTP/1.1", 8, &o, err, sizeof(err)), -EPROTO);
}

static void test_commands(void **state)
{
	int c;

	(void)state;
	for (c = 0; c < CTL_COMMANDS; c++) {
		assert_int_equal(ctl_command_find(ctl_command_name((enum ctl_command)c)), c);
		assert_true(strlen(ctl_command_help((enum ctl_command)c)) > 5);
	}
	assert_int_equal(ctl_command_find("nothing"), -ENOENT);
	assert_string_equal(ctl_command_name(CTL_COMMANDS), "?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	 cmocka_unit_test(test_bad),
		cmocka_unit_test(test_length),	 cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_flow),	 cmocka_unit_test(test_reply),
		cmocka_unit_test(test_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
