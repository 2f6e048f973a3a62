// SPDX-License-Identifier: GPL-2.0-only
/*
 * The control protocol from both ends: what anybody may send to the daemon's socket, and what a
 * daemon of any kind may answer xmasqctl.
 *
 * Input: one byte that chooses the end (below 64: a request), then the line.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>

#include "ctl.h"
#include "fuzz.h"
#include "listen.h"
#include "monitor.h"
#include "scrub.h"
#include "show.h"

/* Text for a terminal: no escape sequence may come from the other end. */
static void must_be_tame(const char *s, size_t len, bool colored)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		MUST(c >= 0x20 || c == '\n' || (colored && c == '\033'));
		MUST(c != 0x7f && (c != 0xc2 || i + 1 == len || (unsigned char)s[i + 1] >= 0xa0));
	}
}

static void request(const char *line, size_t len)
{
	struct ctl_request req, again;
	char err[160];
	char *text;
	int ret;

	memset(&req, 0, sizeof(req));
	memset(&again, 0, sizeof(again));
	memset(err, 0x5a, sizeof(err));
	ret = ctl_parse_request(line, len, &req, err, sizeof(err));
	if (ret) {
		MUST(ret == -EINVAL && *err && memchr(err, '\0', sizeof(err)));
		text = ctl_reply_error(err, &len);
		MUST(text && text[len - 1] == '\n' && !memchr(text, '\n', len - 1));
		free(text);
		return;
	}
	MUST(req.command < CTL_COMMANDS);
	if (req.command == CTL_TRACE)
		MUST(req.trace.sport && req.trace.dport && !req.trace.pad[0]);
	if (req.command == CTL_FLOWS)
		MUST(req.flows.limit >= 1 && req.flows.limit <= CTL_FLOWS_MAX);
	text = ctl_request_line(&req);
	MUST(text);
	MUST(!ctl_parse_request(text, strlen(text), &again, err, sizeof(err)));
	MUST(again.command == req.command && again.flows.active == req.flows.active);
	MUST(again.flows.limit == req.flows.limit && again.flush.what == req.flush.what);
	MUST(!memcmp(&again.trace, &req.trace, sizeof(req.trace)));
	MUST(!memcmp(&again.flush.flow, &req.flush.flow, sizeof(req.flush.flow)));
	MUST(again.flush.addr == req.flush.addr && !strcmp(again.flush.ifname, req.flush.ifname));
	free(text);
}

static char *shown(enum ctl_command c, struct json_object *result, const struct show_options *o,
		   size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	MUST(out && !show(c, result, o, out));
	fclose(out);
	return text;
}

static bool on_event(void *arg, struct json_object *event)
{
	char *line = monitor_line(event);

	(void)arg;
	MUST(line && !strchr(line, '\n'));
	must_be_tame(line, strlen(line), false);
	free(line);
	return true;
}

/* Two looks at the same: nothing has changed at the second, but for what is told each time. */
static void watched(struct json_object *result)
{
	struct monitor *m = monitor_new(NULL, on_event, NULL);

	MUST(m);
	for (int i = 0; i < 2; i++) {
		MUST(!monitor_flows(m, result));
		MUST(!monitor_peers(m, result));
		MUST(!monitor_pods(m, result));
		MUST(!monitor_counters(m, result));
		MUST(!monitor_trace(m, result));
	}
	monitor_free(m);
}

static void reply(const char *line, size_t len)
{
	const struct show_options plain = { .all = true }, few = { true, false, true, 2 };
	struct json_object *result = NULL;
	char err[160], *text, *twice;
	size_t n, m;
	int ret;

	memset(err, 0x5a, sizeof(err));
	ret = ctl_parse_reply(line, len, &result, err, sizeof(err));
	if (ret) {
		MUST((ret == -EREMOTEIO || ret == -EPROTO) && !result);
		MUST(memchr(err, '\0', sizeof(err)));
		must_be_tame(err, strlen(err), false);
		return;
	}
	for (enum ctl_command c = 0; c < CTL_COMMANDS; c++) {
		text = shown(c, result, &plain, &n);
		twice = shown(c, result, &plain, &m);
		if (c != CTL_CONFIG) /* JSON, as json-c writes it */
			must_be_tame(text, n, false);
		MUST(n == m && !memcmp(text, twice, n));
		free(twice);
		free(text);
		text = shown(c, result, &few, &n);
		if (c != CTL_CONFIG)
			must_be_tame(text, n, true);
		free(text);
	}
	watched(result);
	json_object_put(result);
}

/* What people type. */
static void typed(char *text)
{
	struct xm_flow_key key, again;
	struct listen_addr a;
	size_t n;
	char buf[CTL_FLOW_STR];
	struct ctl_request req;

	memset(&key, 0, sizeof(key));
	memset(&again, 0, sizeof(again));
	memset(&req, 0, sizeof(req));
	if (!ctl_parse_flow(text, &key)) {
		MUST(!ctl_parse_flow(ctl_format_flow(buf, &key), &again));
		MUST(!memcmp(&key, &again, sizeof(key)));
	}
	if (!ctl_parse_pod(text, &req))
		MUST(req.flush.what == CTL_FLUSH_POD_ADDR || *req.flush.ifname);
	ctl_command_find(text);
	if (!listen_parse(text, strlen(text), &a))
		MUST(a.len == sizeof(a.in) || a.len == sizeof(a.in6));
	text[scrub(text, strlen(text))] = '\0';
	for (n = 0; *text; text++) {
		n = strchr("0123456789abcdefABCDEF", *text) ? n + 1 : 0;
		MUST(n < SCRUB_DIGITS);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint8_t end = fuzz_u8(&in);
	char *line = fuzz_copy(in.p, in.left), *text;

	if (end < 64) {
		request(line, in.left);
	} else if (end < 128) {
		text = fuzz_text(line, in.left);
		typed(text);
		free(text);
	} else {
		reply(line, in.left);
	}
	free(line);
	return 0;
}
