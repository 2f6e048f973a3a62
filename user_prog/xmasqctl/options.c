// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "text.h"

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

enum {
	OPT_SOCKET = 256,
	OPT_NO_COLOR,
	OPT_LIMIT,
	OPT_ACTIVE,
	OPT_FLOW,
	OPT_POD,
	OPT_PEER,
	OPT_INTERVAL,
	OPT_COUNT,
	OPT_TO,
};

static const struct option longs[] = {
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "output", required_argument, NULL, 'o' },
	{ "no-color", no_argument, NULL, OPT_NO_COLOR },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "all", no_argument, NULL, 'a' },
	{ "limit", required_argument, NULL, OPT_LIMIT },
	{ "active", no_argument, NULL, OPT_ACTIVE },
	{ "flow", required_argument, NULL, OPT_FLOW },
	{ "pod", required_argument, NULL, OPT_POD },
	{ "peer", required_argument, NULL, OPT_PEER },
	{ "interval", required_argument, NULL, OPT_INTERVAL },
	{ "count", required_argument, NULL, OPT_COUNT },
	{ "to", required_argument, NULL, OPT_TO },
	{ NULL, 0, NULL, 0 },
};

/* Beside those of enum ctl_command. */
static const struct {
	const char *name;
	const char *help;
	enum options_task task;
} tasks[] = {
	{ "monitor", "flows, peers and pods as they change, and decisions by reason",
	  OPTIONS_MONITOR },
	{ "bugtool", "collect what a maintainer needs into a file; no secrets", OPTIONS_BUGTOOL },
};

void options_usage(FILE *out)
{
	int c;

	fputs("usage: xmasqctl [OPTION]... COMMAND\n\n", out);
	for (c = 0; c < CTL_COMMANDS; c++)
		fprintf(out, "  %-10s %s\n", ctl_command_name((enum ctl_command)c),
			ctl_command_help((enum ctl_command)c));
	for (size_t i = 0; i < XM_ARRAY_SIZE(tasks); i++)
		fprintf(out, "  %-10s %s\n", tasks[i].name, tasks[i].help);
	fputs("  help       this text\n"
	      "\n"
	      "  --socket PATH       control socket (default: $XMASQ_SOCKET, or\n"
	      "                      " CTL_SOCKET_PATH ")\n"
	      "  -o, --output FORM   table (default) or json\n"
	      "  --no-color          also: NO_COLOR in the environment, or no terminal\n"
	      "\n"
	      "  counters -a         zeros too\n"
	      "  flows --active      only those on the fast path\n"
	      "  flows --limit N     at most N\n"
	      "  trace tcp A:P B:Q   the flow, either direction\n"
	      "  policy list | add RULE | del NAME | test tcp A:P B:Q\n"
	      "                      RULE: allow|deny|overlay egress|ingress [tcp|udp|icmp|sctp|\n"
	      "                      protocol N] [from CIDR [port N[-M]]] [to CIDR [port N[-M]]]\n"
	      "                      [priority N] [name WORD]\n"
	      "  monitor --interval SECONDS   between two looks, 0.1 to 60 (1)\n"
	      "  monitor --count N   end after N looks\n"
	      "  monitor --flow ... | --pod ... | --peer ... | --limit N   watch these only\n"
	      "  bugtool --to FILE   instead of xmasq-bugtool-HOST-TIME.tar.gz; \"-\": stdout\n"
	      "  flush --all | --flow \"tcp A:P B:Q\" | --pod ADDRESS|INTERFACE | --peer ADDRESS\n"
	      "\n"
	      "exit status: 0 done, 1 xmasqd is not reachable or said no, 2 wrong usage\n",
	      out);
}

static int parse_number(const char *s, uint32_t most, uint32_t *n)
{
	unsigned long v;
	char *end;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	v = strtoul(s, &end, 10);
	if (errno || *end || v < 1 || v > most)
		return -EINVAL;
	*n = (uint32_t)v;
	return 0;
}

/* Seconds, perhaps with a fraction. */
static int parse_interval(const char *s, uint32_t *ms)
{
	double v;
	char *end;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	v = strtod(s, &end) * 1000;
	if (*end || !(v >= OPTIONS_LOOK_MIN && v <= OPTIONS_LOOK_MAX))
		return -EINVAL;
	*ms = (uint32_t)v;
	return 0;
}

/* Which options were given that belong to one command only. */
struct given {
	bool all, active, limit, look, to;
	unsigned int selectors; /* of flush, without --all */
	bool version;
};

static int take(int opt, const char *arg, struct options *o, struct given *g, const struct error *e)
{
	switch (opt) {
	case OPT_SOCKET:
		o->socket = arg;
		return 0;
	case 'o':
		o->json = !strcmp(arg, "json");
		if (!o->json && strcmp(arg, "table"))
			return refuse(e, "--output must be table or json, not \"%s\"", arg);
		return 0;
	case OPT_NO_COLOR:
		o->no_color = true;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	case 'V':
		g->version = true;
		return 0;
	case 'a':
		g->all = true;
		return 0;
	case OPT_LIMIT:
		g->limit = true;
		if (parse_number(arg, CTL_FLOWS_MAX, &o->show.limit))
			return refuse(e, "--limit must be a number from 1 to %u, not \"%s\"",
				      CTL_FLOWS_MAX, arg);
		return 0;
	case OPT_ACTIVE:
		g->active = true;
		o->show.active = true;
		return 0;
	case OPT_FLOW:
		g->selectors++;
		o->req.flush.what = CTL_FLUSH_FLOW;
		if (ctl_parse_flow(arg, &o->req.flush.flow))
			return refuse(e,
				      "--flow must be like \"tcp 10.244.1.2:80 "
				      "10.244.2.3:40000\", not \"%s\"",
				      arg);
		return 0;
	case OPT_POD:
		g->selectors++;
		if (ctl_parse_pod(arg, &o->req))
			return refuse(e,
				      "--pod must be an IPv4 address or an interface, not "
				      "\"%s\"",
				      arg);
		return 0;
	case OPT_PEER:
		g->selectors++;
		o->req.flush.what = CTL_FLUSH_PEER;
		if (text_parse_addr(arg, strlen(arg), &o->req.flush.addr))
			return refuse(e, "--peer must be an IPv4 address, not \"%s\"", arg);
		return 0;
	case OPT_INTERVAL:
		g->look = true;
		if (parse_interval(arg, &o->look_ms))
			return refuse(e, "--interval must be 0.1 to 60 seconds, not \"%s\"", arg);
		return 0;
	case OPT_COUNT:
		g->look = true;
		if (parse_number(arg, 1000000000, &o->looks))
			return refuse(e, "--count must be a number from 1, not \"%s\"", arg);
		return 0;
	case OPT_TO:
		g->to = true;
		o->to = arg;
		return *arg ? 0 : refuse(e, "--to needs the name of a file, or -");
	case ':':
		return refuse(e, "an option lacks its value; see xmasqctl help");
	}
	return refuse(e, "unknown option; see xmasqctl help");
}

static int find_command(const char *word, struct options *o, const struct error *e)
{
	int c = ctl_command_find(word);
	int i;

	if (!strcmp(word, "help")) {
		o->help = true;
		return 0;
	}
	if (c >= 0) {
		o->req.command = (enum ctl_command)c;
		return 0;
	}
	for (size_t k = 0; k < XM_ARRAY_SIZE(tasks); k++) {
		if (strcmp(word, tasks[k].name))
			continue;
		o->task = tasks[k].task;
		return 0;
	}
	for (size_t k = 0; k < XM_ARRAY_SIZE(tasks); k++)
		if (text_close(word, tasks[k].name))
			return refuse(e, "unknown command \"%s\"; did you mean \"%s\"?", word,
				      tasks[k].name);
	for (i = 0; i < CTL_COMMANDS; i++)
		if (text_close(word, ctl_command_name((enum ctl_command)i)))
			return refuse(e, "unknown command \"%s\"; did you mean \"%s\"?", word,
				      ctl_command_name((enum ctl_command)i));
	return refuse(e, "unknown command \"%s\"; see xmasqctl help", word);
}

/* Options that do nothing for this command are mistakes. */
static int check(struct options *o, const struct given *g, const struct error *e)
{
	enum ctl_command c = o->task == OPTIONS_ASK ? o->req.command : CTL_COMMANDS;
	bool monitor = o->task == OPTIONS_MONITOR;

	if (g->active && c != CTL_FLOWS)
		return refuse(e, "--active belongs to flows");
	if (g->limit && c != CTL_FLOWS && !monitor)
		return refuse(e, "--limit belongs to flows and monitor");
	if (g->selectors && c != CTL_FLUSH && !monitor)
		return refuse(e, "--flow, --pod and --peer belong to flush and monitor");
	if (g->all && c != CTL_FLUSH && c != CTL_COUNTERS)
		return refuse(e, "--all belongs to counters and flush");
	if (g->look && !monitor)
		return refuse(e, "--interval and --count belong to monitor");
	if (g->to && o->task != OPTIONS_BUGTOOL)
		return refuse(e, "--to belongs to bugtool");
	if (monitor && g->selectors > 1)
		return refuse(e, "monitor takes at most one of --flow, --pod, --peer");
	if (o->task == OPTIONS_BUGTOOL && o->json)
		return refuse(e, "bugtool writes an archive: --output is not for it");
	o->filtered = monitor && g->selectors;
	/* A filter looks for what may be anywhere in the list. */
	if (monitor && !o->show.limit)
		o->show.limit = o->filtered ? CTL_FLOWS_MAX : OPTIONS_LOOK_FLOWS;
	if (c == CTL_FLUSH && g->selectors + g->all != 1)
		return refuse(e, "flush needs exactly one of --all, --flow, --pod, --peer");
	if (c == CTL_FLUSH && g->all)
		o->req.flush.what = CTL_FLUSH_ALL;
	o->req.pods.names = c == CTL_PODS;
	if (c == CTL_FLOWS) {
		o->req.flows.active = o->show.active;
		o->req.flows.limit = o->show.limit;
	}
	o->show.all = g->all;
	return 0;
}

/* All the words behind "trace": a flow is easily written without quotes. */
static int parse_trace(int argc, char **argv, struct options *o, const struct error *e)
{
	char text[CTL_FLOW_STR * 2] = "";
	size_t len = 0;

	for (int i = optind + 1; i < argc && len < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "",
					argv[i]);
	if (!len || len >= sizeof(text) || ctl_parse_flow(text, &o->req.trace))
		return refuse(
			e,
			"trace needs a flow such as tcp 10.244.1.2:80 10.244.2.3:40000, not \"%s\"",
			len < sizeof(text) ? text : "...");
	return 0;
}

/* policy WHAT, and all the words behind it. */
static int parse_policy(int argc, char **argv, struct options *o, const struct error *e)
{
	char text[sizeof(o->req.policy.text) + 1] = "", err[POLICY_ERROR_STR];
	size_t len = 0;

	if (optind + 1 == argc)
		return refuse(e, "policy needs one of list, add, del and test; see xmasqctl help");
	for (int i = optind + 2; i < argc && len < sizeof(text); i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", len ? " " : "",
					argv[i]);
	if (ctl_policy(argv[optind + 1], text, &o->req, err))
		return refuse(e, "%s", err);
	return 0;
}

int options_parse(int argc, char **argv, struct options *o, char *err, size_t err_len)
{
	const struct error e = { err, err_len };
	struct given g = { 0 };
	const char *env = getenv("XMASQ_SOCKET");
	int opt, ret;

	memset(o, 0, sizeof(*o));
	o->look_ms = OPTIONS_LOOK_MS;
	o->socket = env && *env ? env : CTL_SOCKET_PATH;
	optind = 0; /* of glibc: start over, whoever parsed before */
	while ((opt = getopt_long(argc, argv, ":o:hVa", longs, NULL)) != -1) {
		if (opt == '?')
			return refuse(&e, "unknown option \"%s\"; see xmasqctl help",
				      argv[optind > 0 ? optind - 1 : 0]);
		ret = take(opt, optarg, o, &g, &e);
		if (ret)
			return ret;
	}
	if (o->help)
		return 0;
	if (g.version) {
		o->req.command = CTL_VERSION;
		return optind < argc ? refuse(&e, "--version takes no command") : 0;
	}
	if (optind == argc)
		return refuse(&e, "a command is missing; see xmasqctl help");
	ret = find_command(argv[optind], o, &e);
	if (ret || o->help)
		return ret;
	if (o->task == OPTIONS_ASK && o->req.command == CTL_TRACE) {
		ret = parse_trace(argc, argv, o, &e);
		return ret ? ret : check(o, &g, &e);
	}
	if (o->task == OPTIONS_ASK && o->req.command == CTL_POLICY) {
		ret = parse_policy(argc, argv, o, &e);
		return ret ? ret : check(o, &g, &e);
	}
	if (optind + 1 < argc)
		return refuse(&e, "\"%s\" is one word too many; see xmasqctl help",
			      argv[optind + 1]);
	return check(o, &g, &e);
}
