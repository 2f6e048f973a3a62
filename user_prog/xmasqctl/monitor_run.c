// SPDX-License-Identifier: GPL-2.0-only
/* "xmasqctl monitor": asks, compares (core/monitor.h), prints. */
#include "monitor_run.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "clock.h"
#include "jsonx.h"
#include "monitor.h"

struct run {
	const struct options *o;
	struct monitor *m;
	char time[CLOCK_UTC_STR]; /* of this look */
	bool lost;		  /* the daemon did not answer the last one */
	char *err;
	size_t err_len;
};

static bool print_event(void *arg, struct json_object *event)
{
	struct run *r = arg;
	char *line;

	if (r->o->json)
		return jsonx_put_str(event, "time", r->time) && !jsonx_print_line(event, stdout) &&
		       !ferror(stdout);
	line = monitor_line(event);
	if (line)
		printf("%s %s\n", r->time, line);
	free(line);
	return line && !ferror(stdout);
}

static int ask(struct run *r, const struct ctl_request *req,
	       int (*take)(struct monitor *m, struct json_object *result))
{
	struct json_object *result = NULL;
	int ret;

	ret = client_ask(r->o->socket, req, CLIENT_TIMEOUT_MS, &result, r->err, r->err_len);
	if (!ret) {
		ret = take(r->m, result);
		json_object_put(result);
		/* Its own failures have no text, and the daemon's are not to be told twice. */
		if (ret)
			snprintf(r->err, r->err_len, "%s", strerror(-ret));
		return ret == -ENOMEM ? -ENOMEM : ret ? -ECANCELED : 0;
	}
	return -EAGAIN;
}

/* Return: 0, -EAGAIN when the daemon does not answer, or what ends it. */
static int look(struct run *r)
{
	struct ctl_request flows = { .command = CTL_FLOWS };
	struct ctl_request peers = { .command = CTL_PEERS };
	struct ctl_request pods = { .command = CTL_PODS };
	struct ctl_request counters = { .command = CTL_COUNTERS };
	struct ctl_request trace = { .command = CTL_TRACE };
	int ret;

	flows.flows.limit = r->o->show.limit;
	clock_utc(r->time);
	ret = ask(r, &peers, monitor_peers);
	ret = ret ?: ask(r, &pods, monitor_pods);
	ret = ret ?: ask(r, &flows, monitor_flows);
	if (r->o->filtered && r->o->req.flush.what == CTL_FLUSH_FLOW) {
		trace.trace = r->o->req.flush.flow;
		return ret ?: ask(r, &trace, monitor_trace);
	}
	/* Of all flows, so not when only some are asked for. */
	return ret || r->o->filtered ? ret : ask(r, &counters, monitor_counters);
}

static void pause_ms(uint32_t ms)
{
	struct timespec ts = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* Told once when it goes, and once when it is back. */
static int lost(struct run *r)
{
	char text[640];

	if (r->lost)
		return 0;
	r->lost = true;
	snprintf(text, sizeof(text), "%s; waiting for it", r->err);
	return monitor_note(r->m, text);
}

static int look_again(struct run *r, bool first)
{
	int ret = look(r);

	if (ret == -EAGAIN && !first)
		return lost(r);
	if (ret || !r->lost)
		return ret;
	r->lost = false;
	return monitor_note(r->m, "xmasqd answers again");
}

int monitor_run(const struct options *o, char *err, size_t err_len)
{
	struct run r = { .o = o, .err = err, .err_len = err_len };
	int ret = 0;

	r.m = monitor_new(o->filtered ? &o->req : NULL, print_event, &r);
	if (!r.m) {
		snprintf(err, err_len, "out of memory");
		return -ENOMEM;
	}
	for (uint32_t i = 0; !ret && (!o->looks || i < o->looks); i++) {
		if (i)
			pause_ms(o->look_ms);
		ret = look_again(&r, !i);
		/* Whoever reads it wants it now. */
		if (!ret && fflush(stdout)) {
			snprintf(err, err_len, "%s", strerror(errno));
			ret = -EPIPE;
		}
	}
	monitor_free(r.m);
	return ret;
}
