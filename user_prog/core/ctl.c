// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "jsonx.h"
#include "text.h"

/* Deeper than any request or reply of ours. */
#define CTL_DEPTH 8

static const struct {
	const char *name;
	const char *help;
} commands[CTL_COMMANDS] = {
	[CTL_STATUS] = { "status", "what xmasqd does and how well" },
	[CTL_PODS] = { "pods", "pods' interfaces, and why one is not accelerated" },
	[CTL_FLOWS] = { "flows", "known flows and what is left of their leases" },
	[CTL_PEERS] = { "peers", "other nodes, and what to do about those that are not up" },
	[CTL_COUNTERS] = { "counters", "packets by what was decided about them, and why" },
	[CTL_FLUSH] = { "flush", "send flows back to the overlay; they are learned anew" },
	[CTL_CLEANUP] = { "cleanup", "remove programs and maps, put sysctls back, stop xmasqd" },
	[CTL_CONFIG] = { "config", "configuration in use" },
	[CTL_TRACE] = { "trace", "why a flow is, or is not, on the fast path now" },
	[CTL_POLICY] = { "policy", "rules for what pods may send and get: list, add, del, test" },
	[CTL_VERSION] = { "version", "versions of xmasqctl and xmasqd" },
};

const char *ctl_command_name(enum ctl_command c)
{
	return c < CTL_COMMANDS ? commands[c].name : "?";
}

const char *ctl_command_help(enum ctl_command c)
{
	return c < CTL_COMMANDS ? commands[c].help : "?";
}

int ctl_command_find(const char *name)
{
	int i;

	for (i = 0; i < CTL_COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return i;
	return -ENOENT;
}

struct error {
	char *text;
	size_t len;
};

static int XM_PRINTF(2, 3) refuse(const struct error *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->text, e->len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/*
 * One JSON value and nothing behind it. *@why is json-c's text on failure.
 */
static struct json_object *parse_line(const char *line, size_t len, const char **why)
{
	struct json_tokener *t;
	struct json_object *o;
	enum json_tokener_error err;
	size_t end;

	*why = "out of memory";
	if (len > INT32_MAX) {
		*why = "too long";
		return NULL;
	}
	t = json_tokener_new_ex(CTL_DEPTH);
	if (!t)
		return NULL;
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(t, line, (int)len);
	err = json_tokener_get_error(t);
	end = json_tokener_get_parse_end(t);
	json_tokener_free(t);
	if (err == json_tokener_continue)
		*why = "it ends too early";
	else if (err != json_tokener_success)
		*why = json_tokener_error_desc(err);
	else if (end < len)
		*why = "something follows it";
	else if (!o)
		*why = "it is null"; /* which json-c holds as no object */
	else
		return o;
	json_object_put(o);
	return NULL;
}

static size_t without_newline(const char *line, size_t len)
{
	if (len && line[len - 1] == '\n')
		len--;
	if (len && line[len - 1] == '\r')
		len--;
	return len;
}

/* Text argument, or NULL with @e filled. */
static const char *text_arg(struct json_object *v, const char *key, const struct error *e)
{
	if (json_object_is_type(v, json_type_string) &&
	    strlen(json_object_get_string(v)) == (size_t)json_object_get_string_len(v))
		return json_object_get_string(v);
	refuse(e, "argument \"%s\" must be a text", key);
	return NULL;
}

static int parse_flush(struct json_object *args, struct ctl_request *req, const struct error *e)
{
	static const char usage[] =
		"flush takes exactly one of {\"all\": true}, {\"flow\": \"tcp A:P B:Q\"}, "
		"{\"pod\": ADDRESS or INTERFACE}, {\"peer\": ADDRESS}";
	char q[TEXT_QUOTE_MAX];
	struct json_object *v;
	const char *key, *s;

	if (!args || json_object_object_length(args) != 1)
		return refuse(e, "%s", usage);
	if (jsonx_has(args, "all")) {
		if (!jsonx_bool(args, "all"))
			return refuse(e, "argument \"all\" must be true");
		req->flush.what = CTL_FLUSH_ALL;
		return 0;
	}
	if ((v = jsonx_get(args, "flow")))
		key = "flow";
	else if ((v = jsonx_get(args, "pod")))
		key = "pod";
	else if ((v = jsonx_get(args, "peer")))
		key = "peer";
	else
		return refuse(e, "%s", usage);
	s = text_arg(v, key, e);
	if (!s)
		return -EINVAL;
	text_quote(q, s, strlen(s));
	if (!strcmp(key, "flow")) {
		req->flush.what = CTL_FLUSH_FLOW;
		if (ctl_parse_flow(s, &req->flush.flow))
			return refuse(e,
				      "\"%s\" is no flow such as tcp 10.244.1.2:80 "
				      "10.244.2.3:40000",
				      q);
	} else if (!strcmp(key, "pod")) {
		if (ctl_parse_pod(s, req))
			return refuse(e, "\"%s\" is neither an IPv4 address nor an interface", q);
	} else {
		req->flush.what = CTL_FLUSH_PEER;
		if (text_parse_addr(s, strlen(s), &req->flush.addr))
			return refuse(e, "\"%s\" is no IPv4 address", q);
	}
	return 0;
}

static int parse_pods(struct json_object *args, struct ctl_request *req, const struct error *e)
{
	char q[TEXT_QUOTE_MAX];

	if (!args)
		return 0;
	json_object_object_foreach(args, key, v) {
		if (strcmp(key, "names"))
			return refuse(e, "unknown argument \"%s\"; allowed: names",
				      text_quote(q, key, strlen(key)));
		if (!json_object_is_type(v, json_type_boolean))
			return refuse(e, "argument \"names\" must be true or false");
		req->pods.names = json_object_get_boolean(v);
	}
	return 0;
}

static int parse_flows(struct json_object *args, struct ctl_request *req, const struct error *e)
{
	char q[TEXT_QUOTE_MAX];

	req->flows.limit = CTL_FLOWS_LIMIT;
	if (!args)
		return 0;
	json_object_object_foreach(args, key, v) {
		if (!strcmp(key, "active")) {
			if (!json_object_is_type(v, json_type_boolean))
				return refuse(e, "argument \"active\" must be true or false");
			req->flows.active = json_object_get_boolean(v);
		} else if (!strcmp(key, "limit")) {
			int64_t n = json_object_get_int64(v);

			if (!json_object_is_type(v, json_type_int) || n < 1 || n > CTL_FLOWS_MAX)
				return refuse(e, "argument \"limit\" must be a number from 1 to %u",
					      CTL_FLOWS_MAX);
			req->flows.limit = (uint32_t)n;
		} else {
			return refuse(e, "unknown argument \"%s\"; allowed: active, limit",
				      text_quote(q, key, strlen(key)));
		}
	}
	return 0;
}

static int parse_trace(struct json_object *args, struct ctl_request *req, const struct error *e)
{
	struct json_object *v = args ? jsonx_get(args, "flow") : NULL;
	char q[TEXT_QUOTE_MAX];
	const char *s;

	if (!v || json_object_object_length(args) != 1)
		return refuse(e, "trace takes {\"flow\": \"tcp A:P B:Q\"}");
	s = text_arg(v, "flow", e);
	if (!s)
		return -EINVAL;
	if (ctl_parse_flow(s, &req->trace))
		return refuse(e, "\"%s\" is no flow such as tcp 10.244.1.2:80 10.244.2.3:40000",
			      text_quote(q, s, strlen(s)));
	return 0;
}

static int parse_policy(struct json_object *args, struct ctl_request *req, const struct error *e)
{
	struct json_object *what = args ? jsonx_get(args, "do") : NULL;
	struct json_object *text = args ? jsonx_get(args, "text") : NULL;
	char err[POLICY_ERROR_STR];
	const char *w, *t = "";

	if (!what || json_object_object_length(args) != (text ? 2 : 1))
		return refuse(e, "policy takes {\"do\": \"list\"}, or {\"do\": \"add\", \"del\" "
				 "or \"test\", \"text\": RULE, NAME or PACKET}");
	w = text_arg(what, "do", e);
	if (w && text)
		t = text_arg(text, "text", e);
	if (!w || !t)
		return -EINVAL;
	return ctl_policy(w, t, req, err) ? refuse(e, "%s", err) : 0;
}

static int parse_object(struct json_object *top, struct ctl_request *req, const struct error *e)
{
	struct json_object *args = NULL, *command = NULL;
	char q[TEXT_QUOTE_MAX];
	const char *name;
	int c;

	if (!json_object_is_type(top, json_type_object))
		return refuse(e, "a request must be an object: {\"command\": NAME, \"args\": {}}");
	json_object_object_foreach(top, key, v) {
		if (!strcmp(key, "command"))
			command = v;
		else if (!strcmp(key, "args"))
			args = v;
		else
			return refuse(e, "unknown key \"%s\"; allowed: command, args",
				      text_quote(q, key, strlen(key)));
	}
	if (!command)
		return refuse(e, "\"command\" is missing");
	name = text_arg(command, "command", e);
	if (!name)
		return -EINVAL;
	c = ctl_command_find(name);
	if (c < 0)
		return refuse(e, "unknown command \"%s\"", text_quote(q, name, strlen(name)));
	req->command = (enum ctl_command)c;
	if (args && !json_object_is_type(args, json_type_object))
		return refuse(e, "\"args\" must be an object");
	if (req->command == CTL_FLUSH)
		return parse_flush(args, req, e);
	if (req->command == CTL_PODS)
		return parse_pods(args, req, e);
	if (req->command == CTL_FLOWS)
		return parse_flows(args, req, e);
	if (req->command == CTL_TRACE)
		return parse_trace(args, req, e);
	if (req->command == CTL_POLICY)
		return parse_policy(args, req, e);
	if (args && json_object_object_length(args))
		return refuse(e, "command \"%s\" takes no arguments", commands[c].name);
	return 0;
}

int ctl_parse_request(const char *line, size_t len, struct ctl_request *req, char *err,
		      size_t err_len)
{
	const struct error e = { err, err_len };
	struct json_object *top;
	const char *why;
	int ret;

	memset(req, 0, sizeof(*req));
	if (len > CTL_LINE_MAX)
		return refuse(&e, "a request has at most %u bytes", CTL_LINE_MAX);
	len = without_newline(line, len);
	if (!len)
		return refuse(&e, "the request is empty");
	top = parse_line(line, len, &why);
	if (!top)
		return refuse(&e, "the request is not valid JSON: %s", why);
	ret = parse_object(top, req, &e);
	json_object_put(top);
	return ret;
}

/* @o as a line of its own; drops @o, which may be NULL. */
static char *to_line(struct json_object *o, size_t *len)
{
	const char *s;
	char *line = NULL;
	size_t n;

	s = o ? json_object_to_json_string_length(
			o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &n)
	      : NULL;
	if (s)
		line = malloc(n + 2);
	if (line) {
		memcpy(line, s, n);
		memcpy(line + n, "\n", 2);
		if (len)
			*len = n + 1;
	}
	json_object_put(o);
	return line;
}

static bool put_flush(struct json_object *args, const struct ctl_request *req)
{
	char flow[CTL_FLOW_STR];

	switch (req->flush.what) {
	case CTL_FLUSH_ALL:
		return jsonx_put_bool(args, "all", true);
	case CTL_FLUSH_FLOW:
		return jsonx_put_str(args, "flow", ctl_format_flow(flow, &req->flush.flow));
	case CTL_FLUSH_POD_ADDR:
		return jsonx_put_addr(args, "pod", req->flush.addr);
	case CTL_FLUSH_POD_IF:
		/* Not jsonx_put_str(): the name must arrive as it is. */
		return jsonx_put(args, "pod", json_object_new_string(req->flush.ifname));
	case CTL_FLUSH_PEER:
		return jsonx_put_addr(args, "peer", req->flush.addr);
	}
	return false;
}

char *ctl_request_line(const struct ctl_request *req)
{
	struct json_object *o = json_object_new_object(), *args = json_object_new_object();
	char flow[CTL_FLOW_STR];
	bool ok;

	if (!o || !args) {
		json_object_put(o);
		json_object_put(args);
		return NULL;
	}
	ok = jsonx_put(o, "args", args);
	ok = ok && jsonx_put_str(o, "command", ctl_command_name(req->command));
	if (ok && req->command == CTL_FLUSH)
		ok = put_flush(args, req);
	if (ok && req->command == CTL_TRACE)
		ok = jsonx_put_str(args, "flow", ctl_format_flow(flow, &req->trace));
	if (ok && req->command == CTL_PODS && req->pods.names)
		ok = jsonx_put_bool(args, "names", true);
	if (ok && req->command == CTL_POLICY)
		ok = jsonx_put_str(args, "do", ctl_policy_name(req->policy.what)) &&
		     (!req->policy.text[0] || jsonx_put_str(args, "text", req->policy.text));
	if (ok && req->command == CTL_FLOWS && req->flows.active)
		ok = jsonx_put_bool(args, "active", true);
	if (ok && req->command == CTL_FLOWS && req->flows.limit)
		ok = jsonx_put_u64(args, "limit", req->flows.limit);
	if (!ok) {
		json_object_put(o);
		return NULL;
	}
	return to_line(o, NULL);
}

char *ctl_reply_ok(struct json_object *result, size_t *len)
{
	struct json_object *o = json_object_new_object();

	if (!o || !jsonx_put_bool(o, "ok", true) || json_object_object_add(o, "result", result)) {
		json_object_put(o);
		json_object_put(result);
		return NULL;
	}
	return to_line(o, len);
}

char *ctl_reply_error(const char *text, size_t *len)
{
	struct json_object *o = json_object_new_object();

	if (!o || !jsonx_put_bool(o, "ok", false) || !jsonx_put_str(o, "error", text)) {
		json_object_put(o);
		return NULL;
	}
	return to_line(o, len);
}

int ctl_parse_reply(const char *line, size_t len, struct json_object **result, char *err,
		    size_t err_len)
{
	struct json_object *top;
	const char *why;
	int ret = 0;

	*result = NULL;
	len = without_newline(line, len);
	if (!len) {
		snprintf(err, err_len, "xmasqd closed the connection without an answer");
		return -EPROTO;
	}
	top = parse_line(line, len, &why);
	if (!top) {
		snprintf(err, err_len, "the answer is not valid JSON: %s", why);
		return -EPROTO;
	}
	if (json_object_is_type(jsonx_get(top, "ok"), json_type_boolean)) {
		if (jsonx_bool(top, "ok")) {
			*result = json_object_get(jsonx_get(top, "result"));
		} else {
			snprintf(err, err_len, "%s", jsonx_str(top, "error"));
			text_tame(err); /* printed as it is */
			ret = -EREMOTEIO;
		}
	} else {
		snprintf(err, err_len, "the answer is not xmasqd's: \"ok\" is missing");
		ret = -EPROTO;
	}
	json_object_put(top);
	return ret;
}
