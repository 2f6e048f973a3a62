// SPDX-License-Identifier: GPL-2.0-only
/* Metrics: the format, every reason once, numbers where they belong, and the documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <regex.h>

#include <json-c/json.h>

#include "../tools/promcheck.h"
#include "jsonx.h"
#include "metrics.h"
#include "view.h"
#include "xm_util.h"

static const struct metrics_rule rules[] = {
	{ "a\"b", "live", "egress", "deny", { 3, 400 } },
	{ "c", "file", "ingress", "allow", { 5, 600 } },
};

static struct metrics_facts facts(void)
{
	struct metrics_facts m = {
		.version = "1.0\"\\\n",
		.mode = "veth",
		.attach = "tcx",
		.start_time = 1700000000.5,
		.cpu_seconds = 0.25,
		.rss_bytes = 4096,
		.ready = true,
		.map = { { "flows", 1, 2, 3 }, { "labels", 4, 5, 6 }, { "peers", 7, 8, 9 } },
		.pods_attached = { 10, 11, 12 },
		.pods_excluded = 13,
		.pods_failed = 14,
		.nl_messages = 15,
		.nl_malformed = 16,
		.nl_overruns = 17,
		.nl_resyncs = 18,
		.frames_sent = 19,
		.frames_failed = 20,
		.bad_messages = 21,
		.peers_refused = 22,
		.underlay = 23,
		.rule = rules,
		.n_rules = 2,
		.logged = { 24, 25, 26, 27 },
	};

	for (unsigned int r = 0; r < XM_R_MAX; r++)
		m.counter[r] = (struct xm_counter){ 1000 + r, 100000 + r };
	for (unsigned int s = 0; s < FLOW_STATES; s++)
		m.flows[s] = 200 + s;
	for (unsigned int s = 0; s < HELLO_STATES; s++)
		m.peers[s] = 300 + s;
	return m;
}

static struct promcheck p;

static void answer(const struct metrics_facts *m)
{
	size_t len = 0;
	char *text = metrics_text(m, &len);

	assert_non_null(text);
	assert_int_equal(strlen(text), len);
	if (!promcheck(&p, text))
		fail_msg("%s", p.why);
	free(text);
}

static void is(const char *series, double value)
{
	const struct promcheck_sample *x = promcheck_find(&p, series);

	if (!x)
		fail_msg("no %s", series);
	if (x->value != value)
		fail_msg("%s is %f, not %f", series, x->value, value);
}

static void test_numbers(void **state)
{
	struct metrics_facts m = facts();
	uint64_t slow = 0, slow_bytes = 0;

	(void)state;
	for (unsigned int r = 0; r < XM_R_MAX; r++) {
		if (view_reason_kind(r) != XM_KIND_OVERLAY || r == XM_R_NONE)
			continue;
		slow += m.counter[r].packets;
		slow_bytes += m.counter[r].bytes;
	}
	answer(&m);
	is("xmasq_build_info{version=\"1.0\\\"\\\\\\n\",layout=\"3\",wire=\"1\"}", 1);
	is("xmasq_node_info{mode=\"veth\",attach=\"tcx\"}", 1);
	is("xmasq_packets_total{path=\"fast\",direction=\"out\"}", 1000 + XM_R_MASQUERADED);
	is("xmasq_packets_total{path=\"fast\",direction=\"in\"}", 1000 + XM_R_RESTORED);
	is("xmasq_packets_total{path=\"local\",direction=\"out\"}", 1000 + XM_R_LOCAL);
	is("xmasq_packets_total{path=\"overlay\",direction=\"out\"}", (double)slow);
	is("xmasq_bytes_total{path=\"fast\",direction=\"in\"}", 100000 + XM_R_RESTORED);
	is("xmasq_bytes_total{path=\"overlay\",direction=\"out\"}", (double)slow_bytes);
	is("xmasq_fallback_packets_total{reason=\"renewal\"}", 1000 + XM_R_RENEWAL);
	is("xmasq_fallback_bytes_total{reason=\"odd-csum\"}", 100000 + XM_R_ODD_CSUM);
	is("xmasq_dropped_packets_total{reason=\"guard\"}", 1000 + XM_R_GUARD);
	is("xmasq_dropped_bytes_total{reason=\"no-label\"}", 100000 + XM_R_NO_LABEL);
	is("xmasq_control_packets_total{type=\"control\"}", 1000 + XM_R_CONTROL);
	is("xmasq_events_total{event=\"flow-new\"}", 1000 + XM_R_FLOW_NEW);
	is("xmasq_lease_renewals_total{direction=\"out\"}", 1000 + XM_R_LEASE_OUT);
	is("xmasq_lease_renewals_total{direction=\"in\"}", 1000 + XM_R_LEASE_IN);
	is("xmasq_lease_refused_packets_total{direction=\"out\"}", 1000 + XM_R_LEASE_OVER);
	is("xmasq_lease_refused_packets_total{direction=\"in\"}", 1000 + XM_R_LABEL_EXPIRED);
	is("xmasq_flows{state=\"active\"}", 200 + FLOW_ACTIVE);
	is("xmasq_map_entries{map=\"labels\"}", 4);
	is("xmasq_map_max_entries{map=\"labels\"}", 5);
	is("xmasq_map_memory_bytes{map=\"peers\"}", 9);
	is("xmasq_peers{state=\"bad-key\"}", 300 + HELLO_BAD_KEY);
	is("xmasq_pods{state=\"attached\"}", 33);
	is("xmasq_pods{state=\"excluded\"}", 13);
	is("xmasq_pods{state=\"failed\"}", 14);
	is("xmasq_attached_pods{mode=\"rpeer\"}", 12);
	is("xmasq_netlink_overruns_total", 17);
	is("xmasq_log_messages_total{level=\"error\"}", 24);
	is("xmasq_ready", 1);
	is("xmasq_tcp_accelerated", 0);
	is("process_start_time_seconds", 1700000000.5);
	m.ready = false;
	answer(&m);
	is("xmasq_ready", 0);
}

/* A reason that somebody adds must be somewhere, and a drop must not be two things. */
static void test_every_reason(void **state)
{
	static const char *const families[] = { "xmasq_fallback_packets_total{reason",
						"xmasq_dropped_packets_total{reason",
						"xmasq_control_packets_total{type",
						"xmasq_events_total{event" };
	struct metrics_facts m = facts();
	char series[192];

	(void)state;
	answer(&m);
	for (unsigned int r = 1; r < XM_R_MAX; r++) {
		unsigned int n = 0;

		if (view_reason_kind(r) == XM_KIND_FAST)
			continue;
		for (size_t i = 0; i < XM_ARRAY_SIZE(families); i++) {
			snprintf(series, sizeof(series), "%s=\"%s\"}", families[i],
				 view_reason_name(r));
			n += promcheck_find(&p, series) != NULL;
		}
		if (n != 1)
			fail_msg("%s is in %u metrics, not in one", view_reason_name(r), n);
	}
}

/* The checker must be able to say no. */
static void test_checker(void **state)
{
	static const struct {
		const char *text, *says;
	} t[] = {
		{ "", "has no sample" },
		{ "# HELP a_total Counts it all.\n# TYPE a_total counter\na_total 1", "newline" },
		{ "# HELP a Counts it all.\n# TYPE a counter\na 1\n", "end with _total" },
		{ "# HELP a_total Counts it all.\n# TYPE a_total gauge\na_total 1\n", "only they" },
		{ "# HELP a_total Counts it all.\n# TYPE a_total counter\na_total -1\n",
		  "negative" },
		{ "# HELP a_total Counts it all.\n# TYPE a_total counter\na_total NaN\n",
		  "negative" },
		{ "# HELP a Counts\n# TYPE a gauge\na 1\n", "no sentence" },
		{ "# HELP a_ms Measures it all.\n# TYPE a_ms gauge\na_ms 1\n", "no base unit" },
		{ "# TYPE a gauge\na 1\n", "does not follow" },
		{ "# HELP a Measures it all.\na 1\n", "below its TYPE" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\nb 1\n", "below its TYPE" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\na 1\na 2\n", "comes twice" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\na one\n", "no number" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\na{b=\"\\x\"} 1\n", "bad escape" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\na{b=c} 1\n", "bad label" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\na{b=\"c} 1\n", "does not end" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\n# HELP b Measures it all.\n",
		  "has no sample" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\na 1\n# HELP a Measures it all.\n",
		  "comes twice" },
		{ "# HELP a Measures it all.\n# TYPE a gauge\na 1\n\n", "below its TYPE" },
	};
	char text[512];

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++) {
		snprintf(text, sizeof(text), "%s", t[i].text);
		if (promcheck(&p, text))
			fail_msg("taken: %s", t[i].text);
		if (!strstr(p.why, t[i].says))
			fail_msg("%s: says %s, not %s", t[i].text, p.why, t[i].says);
	}
}

static char *read_top(const char *name)
{
	const char *top = getenv("XM_TOP");
	char path[4096], *text = NULL;
	size_t size = 0;
	FILE *f;

	if (top)
		snprintf(path, sizeof(path), "%s/%s", top, name);
	else
		snprintf(path, sizeof(path), "%.*s../../%s",
			 (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__, name);
	f = fopen(path, "r");
	if (!f || getdelim(&text, &size, 0, f) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	fclose(f);
	return text;
}

/* docs/metrics.md has a row for each metric, in this order and these words, and no other. */
static void test_documented(void **state)
{
	char *doc = read_top("docs/metrics.md"), row[1024];
	const char *at = doc, *next;
	unsigned int i, rows = 0;
	struct metrics_desc d;

	(void)state;
	for (i = 0; metrics_desc(i, &d); i++) {
		snprintf(row, sizeof(row), "\n| `%s` | %s | %s | %s |\n", d.name, d.type,
			 *d.labels ? d.labels : "-", d.help);
		next = strstr(at, row);
		if (!next)
			fail_msg("docs/metrics.md lacks, or has elsewhere:%s", row);
		at = next + 1;
	}
	for (at = doc; (at = strstr(at, "\n| `")); at++)
		rows += !strncmp(at, "\n| `xmasq_", 10) || !strncmp(at, "\n| `process_", 12);
	assert_int_equal(rows, i);
	free(doc);
}

static bool is_metric(const char *name, size_t len)
{
	struct metrics_desc d;

	for (unsigned int i = 0; metrics_desc(i, &d); i++)
		if (strlen(d.name) == len && !strncmp(d.name, name, len))
			return true;
	return false;
}

/* Each word in @text that begins with @prefix, and is no part of another. Return: how many. */
static unsigned int all_exist(const char *file, const char *text, const char *prefix)
{
	unsigned int n = 0;

	for (const char *at = text; (at = strstr(at, prefix)); at += strlen(prefix)) {
		size_t len = promcheck_name(at);

		if (at > text && (isalnum((unsigned char)at[-1]) || at[-1] == '_'))
			continue;
		if (!is_metric(at, len))
			fail_msg("%s names %.*s, which is no metric", file, (int)len, at);
		n++;
	}
	return n;
}

static void test_doc_names(void **state)
{
	char *doc = read_top("docs/metrics.md");

	(void)state;
	assert_true(all_exist("docs/metrics.md", doc, "xmasq_") > 30);
	assert_true(all_exist("docs/metrics.md", doc, "process_") >= 3);
	free(doc);
}

/* What Prometheus adds to each sample. */
static bool is_target_label(const char *name, size_t len)
{
	return (len == 3 && !strncmp(name, "job", len)) ||
	       (len == 8 && !strncmp(name, "instance", len));
}

/* Whether a sample of the metric has the label with a value that @value, a regular expression, matches. */
static bool has_sample(const char *metric, int metric_len, const char *label, int label_len,
		       const char *value, int value_len)
{
	char text[512];
	regex_t re;
	bool found = false;

	snprintf(text, sizeof(text), "^%.*s\\{(.*,)?%.*s=\"(%.*s)\"[,}]", metric_len, metric,
		 label_len, label, value_len, value);
	if (regcomp(&re, text, REG_EXTENDED | REG_NOSUB))
		fail_msg("%.*s is no regular expression", value_len, value);
	for (unsigned int i = 0; i < p.n_samples && !found; i++)
		found = !regexec(&re, p.sample[i].series, 0, NULL, 0);
	regfree(&re);
	return found;
}

/* One selector, from behind its '{': each label is the metric's, each value that it is compared with
 * occurs, also those that it shall not have. Return: how many. */
static unsigned int selector(const char *metric, int len, const char *at)
{
	unsigned int n = 0;

	while (*at != '}') {
		int label_len = (int)strcspn(at, "=!"), value_len;
		const char *label = at, *value = strchr(at, '"');

		if (!value || !strchr(value + 1, '"'))
			fail_msg("%.*s: a label without a value: %s", len, metric, at);
		value++;
		at = strchr(value, '"');
		for (; !is_target_label(label, (size_t)label_len) && value < at;
		     value += value_len + (value[value_len] == '|')) {
			value_len = (int)strcspn(value, "|\"");
			if (!has_sample(metric, len, label, label_len, value, value_len))
				fail_msg("no sample of %.*s has %.*s=\"%.*s\"", len, metric,
					 label_len, label, value_len, value);
			n++;
		}
		at += 1 + (at[1] == ',');
	}
	return n;
}

/* "by (A, B)" and "{{A}}" of the legend: labels of the first metric of the expression. */
static unsigned int grouped(const char *expr, const char *legend)
{
	const char *metric = strstr(expr, "xmasq_"), *by = strstr(expr, "by (");
	const struct {
		const char *at, *end;
	} lists[] = { { by ? by + 4 : "", ")" }, { legend, "" } };
	unsigned int n = 0;

	for (size_t i = 0; metric && i < XM_ARRAY_SIZE(lists); i++) {
		const char *at = lists[i].at, *end = at + strcspn(at, lists[i].end);

		while (at < end) {
			int len;

			/* A legend has other words, too. */
			if (i)
				at = strstr(at, "{{");
			if (!at)
				break;
			at += strspn(at, i ? "{ " : ", ");
			len = (int)promcheck_name(at);
			if (!len)
				fail_msg("no label at %s", at);
			if (!is_target_label(at, (size_t)len) &&
			    !has_sample(metric, (int)promcheck_name(metric), at, len, ".*", 2))
				fail_msg("%.*s has no label %.*s", (int)promcheck_name(metric),
					 metric, len, at);
			at += len;
			at += strspn(at, i ? "} " : ", ");
			n++;
		}
	}
	return n;
}

static unsigned int selectors(const char *expr)
{
	unsigned int n = 0;

	for (const char *at = expr; (at = strchr(at, '{')); at++) {
		const char *metric = at;

		while (metric > expr && (isalnum((unsigned char)metric[-1]) || metric[-1] == '_'))
			metric--;
		n += selector(metric, (int)(at - metric), at + 1);
	}
	return n;
}

/* Grafana takes what it does not understand for nothing: an empty panel. */
static void test_dashboard(void **state)
{
	char *text = read_top("deploy/grafana-dashboard.json");
	struct json_object *top = json_tokener_parse(text), *list, *panel, *targets;
	struct metrics_facts m = facts();
	unsigned int named = 0, selected = 0, by = 0;

	(void)state;
	answer(&m);
	assert_non_null(top);
	list = jsonx_list(top, "panels");
	assert_true(jsonx_len(list) >= 10);
	for (unsigned int i = 0; i < jsonx_len(list); i++) {
		panel = json_object_array_get_idx(list, i);
		targets = jsonx_list(panel, "targets");
		assert_true(*jsonx_str(panel, "title"));
		assert_true(jsonx_len(targets) > 0);
		for (unsigned int k = 0; k < jsonx_len(targets); k++) {
			struct json_object *t = json_object_array_get_idx(targets, k);
			const char *expr = jsonx_str(t, "expr");
			unsigned int n = all_exist("the dashboard", expr, "xmasq_") +
					 all_exist("the dashboard", expr, "process_");

			if (!n)
				fail_msg("panel %s asks for nothing: %s", jsonx_str(panel, "title"),
					 expr);
			named += n;
			selected += selectors(expr);
			by += grouped(expr, jsonx_str(t, "legendFormat"));
		}
	}
	assert_true(named > 25 && selected > 10 && by > 10);
	/* Also in its variables. */
	all_exist("the dashboard", text, "xmasq_");
	json_object_put(top);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),	  cmocka_unit_test(test_every_reason),
		cmocka_unit_test(test_checker),	  cmocka_unit_test(test_documented),
		cmocka_unit_test(test_doc_names), cmocka_unit_test(test_dashboard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
