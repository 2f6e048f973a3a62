// SPDX-License-Identifier: GPL-2.0-only
/* "xmasqctl monitor": what is told of two looks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../user_prog/xmasqctl/monitor_run.c"
#include "text.h"

static char told[8192];
static unsigned int n_told, stop_after;

static bool on_event(void *arg, struct json_object *event)
{
	char *line = monitor_line(event);
	size_t len = strlen(told);

	(void)arg;
	assert_non_null(line);
	snprintf(told + len, sizeof(told) - len, "%s\n", line);
	free(line);
	return ++n_told != stop_after;
}

static int take(struct monitor *m, int (*fn)(struct monitor *, struct json_object *),
		const char *json)
{
	struct json_object *o = json_tokener_parse(json);
	int ret;

	assert_non_null(o);
	told[0] = '\0';
	n_told = 0;
	ret = fn(m, o);
	json_object_put(o);
	return ret;
}

static void expect(struct monitor *m, int (*fn)(struct monitor *, struct json_object *),
		   const char *json, const char *want)
{
	assert_int_equal(take(m, fn, json), 0);
	assert_string_equal(told, want);
}

#define FLOW(sport, state, label)                                                           \
	"{\"protocol\":\"tcp\",\"saddr\":\"10.244.1.5\",\"sport\":" #sport                  \
	",\"daddr\":\"10.244.2.7\",\"dport\":80,\"peer\":\"172.31.0.2\",\"state\":\"" state \
	"\",\"label\":" #label ",\"out_ms\":-20,\"in_ms\":30,\"pod_ifname\":\"veth1\"}"
#define FLOWS(total, list) "{\"total\":" #total ",\"flows\":[" list "]}"
#define LINE(sport)	   "flow  tcp 10.244.1.5:" #sport "->10.244.2.7:80 "
#define PEER		   ", peer 172.31.0.2\n"

static void test_flows(void **state)
{
	struct monitor *m = monitor_new(NULL, on_event, NULL);

	(void)state;
	assert_non_null(m);
	/* The first look is where it begins. */
	expect(m, monitor_flows, FLOWS(1, FLOW(1000, "new", 0)), "");
	expect(m, monitor_flows, FLOWS(1, FLOW(1000, "new", 0)), "");
	expect(m, monitor_flows, FLOWS(2, FLOW(999, "new", 0) "," FLOW(1000, "active", 7)),
	       LINE(999) "new: new" PEER LINE(1000) "new -> active, label 7" PEER);
	expect(m, monitor_flows, FLOWS(2, FLOW(999, "active", 8) "," FLOW(1000, "active", 9)),
	       LINE(999) "new -> active, label 8" PEER LINE(
		       1000) "active, another label, label 9" PEER);
	/* In any order, and the last one gone. */
	expect(m, monitor_flows, FLOWS(2, FLOW(1001, "told", 3) "," FLOW(999, "lapsed", 8)),
	       LINE(999) "active -> lapsed, label 8, egress lease over since 20 ms" PEER
		       LINE(1000) "gone (was active), label 9" PEER LINE(
			       1001) "new: told, label 3" PEER);
	expect(m, monitor_flows, FLOWS(0, ""),
	       LINE(999) "gone (was lapsed), label 8" PEER LINE(
		       1001) "gone (was told), label 3" PEER);
	monitor_free(m);
}

/* Where the daemon's list ends, nothing is known: no flow comes or goes there. */
static void test_cut(void **state)
{
	struct monitor *m = monitor_new(NULL, on_event, NULL);

	(void)state;
	expect(m, monitor_flows, FLOWS(9, FLOW(1, "new", 0) "," FLOW(3, "new", 0)),
	       "note  the first 2 flows of 9 are watched; --limit watches more\n");
	/* A new one moves the last out of sight. Told once that there are more. */
	expect(m, monitor_flows, FLOWS(10, FLOW(1, "new", 0) "," FLOW(2, "new", 0)),
	       LINE(2) "new: new" PEER);
	/* And back, as one goes. */
	expect(m, monitor_flows, FLOWS(9, FLOW(2, "new", 0) "," FLOW(3, "new", 0)),
	       LINE(1) "gone (was new)" PEER);
	/* All are seen now: 4 may have been there before. */
	expect(m, monitor_flows,
	       FLOWS(3, FLOW(2, "new", 0) "," FLOW(3, "told", 1) "," FLOW(4, "new", 0)),
	       LINE(3) "new -> told, label 1" PEER);
	expect(m, monitor_flows, FLOWS(1, FLOW(2, "new", 0)),
	       LINE(3) "gone (was told), label 1" PEER LINE(4) "gone (was new)" PEER);
	monitor_free(m);
}

static void test_filter(void **state)
{
	static const struct {
		enum ctl_flush what;
		const char *arg;
		bool hit;
	} t[] = {
		{ CTL_FLUSH_ALL, "", true },
		{ CTL_FLUSH_FLOW, "tcp 10.244.1.5:1 10.244.2.7:80", true },
		{ CTL_FLUSH_FLOW, "tcp 10.244.1.5:2 10.244.2.7:80", false },
		{ CTL_FLUSH_FLOW, "udp 10.244.1.5:1 10.244.2.7:80", false },
		{ CTL_FLUSH_POD_ADDR, "10.244.1.5", true },
		{ CTL_FLUSH_POD_ADDR, "10.244.2.7", false },
		{ CTL_FLUSH_POD_IF, "veth1", true },
		{ CTL_FLUSH_POD_IF, "veth2", false },
		{ CTL_FLUSH_PEER, "172.31.0.2", true },
		{ CTL_FLUSH_PEER, "172.31.0.3", false },
	};

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++) {
		struct ctl_request req = { .flush.what = t[i].what };
		struct monitor *m;

		if (t[i].what == CTL_FLUSH_FLOW)
			assert_int_equal(ctl_parse_flow(t[i].arg, &req.flush.flow), 0);
		else if (t[i].what == CTL_FLUSH_PEER)
			text_parse_addr(t[i].arg, strlen(t[i].arg), &req.flush.addr);
		else if (t[i].what != CTL_FLUSH_ALL)
			assert_int_equal(ctl_parse_pod(t[i].arg, &req), 0);
		m = monitor_new(&req, on_event, NULL);
		expect(m, monitor_flows, FLOWS(0, ""), "");
		expect(m, monitor_flows, FLOWS(1, FLOW(1, "new", 0)),
		       t[i].hit ? LINE(1) "new: new" PEER : "");
		monitor_free(m);
	}
}

static void test_things(void **state)
{
	struct monitor *m = monitor_new(NULL, on_event, NULL);

	(void)state;
	expect(m, monitor_peers,
	       "{\"peers\":[{\"addr\":\"1.2.3.4\",\"state\":\"silent\",\"hint\":\"do\"}]}",
	       "peer  1.2.3.4 silent: do\n");
	expect(m, monitor_peers,
	       "{\"peers\":[{\"addr\":\"1.2.3.4\",\"state\":\"up\",\"hint\":\"\"}]}",
	       "peer  1.2.3.4 silent -> up\n");
	expect(m, monitor_peers,
	       "{\"peers\":[{\"addr\":\"1.2.3.4\",\"state\":\"up\",\"hint\":\"\"}]}", "");
	expect(m, monitor_peers, "{\"peers\":[]}", "peer  1.2.3.4 forgotten (was up)\n");

	expect(m, monitor_pods,
	       "{\"pods\":[{\"ifname\":\"veth1\",\"ifindex\":5,\"addrs\":\"10.0.0.1\",\"attached\":false,"
	       "\"reason\":\"excluded\"},{\"ifname\":\"eth0\",\"ifindex\":0,\"attached\":false}]}",
	       "pod   veth1 10.0.0.1 on the overlay: excluded\n");
	expect(m, monitor_pods,
	       "{\"pods\":[{\"ifname\":\"veth1\",\"ifindex\":5,\"attached\":true,\"mode\":\"veth\"}]}",
	       "pod   veth1 attached, mode veth\n");
	expect(m, monitor_pods,
	       "{\"pods\":[{\"ifname\":\"veth1\",\"ifindex\":5,\"attached\":false}]}",
	       "pod   veth1 detached\n");
	expect(m, monitor_pods, "{\"pods\":[]}", "pod   veth1 gone\n");
	monitor_free(m);
}

#define COUNT(a, b)                                                \
	"{\"counters\":[{\"name\":\"masqueraded\",\"packets\":" #a \
	"},{\"name\":\"renewal\",\"packets\":" #b "}]}"

static void test_decisions(void **state)
{
	struct monitor *m = monitor_new(NULL, on_event, NULL);

	(void)state;
	expect(m, monitor_counters, COUNT(100, 5), "");
	expect(m, monitor_counters, COUNT(100, 5), "");
	expect(m, monitor_counters, COUNT(170, 6), "count masqueraded 70, renewal 1\n");
	/* Made anew: what is there came since. */
	expect(m, monitor_counters, COUNT(3, 6), "count masqueraded 3\n");
	/* A newer daemon has one more. */
	expect(m, monitor_counters,
	       "{\"counters\":[{\"name\":\"masqueraded\",\"packets\":3},"
	       "{\"name\":\"renewal\",\"packets\":6},{\"name\":\"more\",\"packets\":2}]}",
	       "count more 2\n");
	expect(m, monitor_trace,
	       "{\"flow\":\"F\",\"summary\":\"S\",\"out\":{\"path\":\"fast\",\"reason\":\"masqueraded\"},"
	       "\"in\":{\"path\":\"fast\",\"reason\":\"restored\"}}",
	       "now   F: S\n");
	expect(m, monitor_trace,
	       "{\"flow\":\"F\",\"summary\":\"S\",\"out\":{\"path\":\"fast\",\"reason\":\"masqueraded\"},"
	       "\"in\":{\"path\":\"fast\",\"reason\":\"restored\"}}",
	       "");
	expect(m, monitor_trace,
	       "{\"flow\":\"F\",\"summary\":\"T\",\"out\":{\"path\":\"overlay\",\"reason\":\"ended\"},"
	       "\"in\":{\"path\":\"fast\",\"reason\":\"restored\"}}",
	       "now   F: T\n");
	monitor_free(m);
}

/* The daemon's answer is somebody else's text. */
static void test_odd(void **state)
{
	static const char *const odd[] = {
		"{}",
		"[]",
		"{\"flows\":1,\"peers\":1,\"pods\":1,\"counters\":1}",
		"{\"flows\":[1,null,{},[]],\"peers\":[1,null,{}],\"pods\":[null,{}],\"counters\":[null,1,{}]}",
		"{\"total\":99,\"flows\":[]}",
		FLOWS(1, FLOW(99999, "new", 0)),
	};
	struct monitor *m = monitor_new(NULL, on_event, NULL);

	(void)state;
	for (int twice = 0; twice < 2; twice++) {
		for (size_t i = 0; i < XM_ARRAY_SIZE(odd); i++) {
			assert_int_equal(take(m, monitor_flows, odd[i]), 0);
			assert_int_equal(take(m, monitor_peers, odd[i]), 0);
			assert_int_equal(take(m, monitor_pods, odd[i]), 0);
			assert_int_equal(take(m, monitor_counters, odd[i]), 0);
		}
	}
	/* Escape sequences do not get to the terminal, long names are cut. */
	expect(m, monitor_peers, "{\"peers\":[{\"addr\":\"a\\u001b[31m\",\"state\":\"up\"}]}",
	       "peer  a?[31m up\n");
	stop_after = 1;
	assert_int_equal(take(m, monitor_peers, "{\"peers\":[{\"addr\":\"b\",\"state\":\"up\"}]}"),
			 -ECANCELED);
	assert_int_equal(n_told, 1);
	stop_after = 0;
	monitor_free(m);
}

/* What xmasqd answers, in place of xmasqctl's end of the socket. */
int client_ask(const char *path, const struct ctl_request *req, int timeout_ms,
	       struct json_object **result, char *err, size_t err_len)
{
	(void)path;
	(void)timeout_ms;
	(void)err;
	(void)err_len;
	*result = json_tokener_parse(req->command == CTL_PODS
					     ? "{\"pods\":[{\"ifindex\":5,\"ifname\":\"\xc2\x9b"
					       "2J\x7f\xc3\x9b/\x9b\"}]}"
					     : "{}");
	return 0;
}

/* One look of "monitor -o json": who reads it may read it on a terminal. */
static void test_json_lines(void **state)
{
	struct options o = { .json = true, .looks = 1 };
	char err[256] = "", out[1024];
	int saved = dup(STDOUT_FILENO);
	FILE *f = tmpfile();
	ssize_t n;

	(void)state;
	assert_non_null(f);
	fflush(stdout);
	dup2(fileno(f), STDOUT_FILENO);
	assert_int_equal(monitor_run(&o, err, sizeof(err)), 0);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	n = pread(fileno(f), out, sizeof(out) - 1, 0);
	assert_true(n > 0);
	fclose(f);
	out[n] = '\0';
	assert_non_null(strstr(out, "\"ifname\":\"\\u009b2J\\u007f\xc3\x9b/?\""));
	/* An object on a line of its own, still. */
	assert_int_equal(out[0], '{');
	assert_ptr_equal(strchr(out, '\n'), out + n - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows),	   cmocka_unit_test(test_cut),
		cmocka_unit_test(test_filter),	   cmocka_unit_test(test_things),
		cmocka_unit_test(test_decisions),  cmocka_unit_test(test_odd),
		cmocka_unit_test(test_json_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
