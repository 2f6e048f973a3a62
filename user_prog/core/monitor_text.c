// SPDX-License-Identifier: GPL-2.0-only
/* Events of monitor.c, for people. */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonx.h"
#include "monitor.h"
#include "table.h"

static void flow_line(FILE *f, struct json_object *e)
{
	const char *what = jsonx_str(e, "what"), *to = jsonx_str(e, "to");
	uint64_t label = jsonx_u64(e, "label");
	int64_t out = jsonx_i64(e, "out_ms"), in = jsonx_i64(e, "in_ms");

	fprintf(f, "flow  %s ", jsonx_str(e, "flow"));
	if (!strcmp(what, "gone"))
		fprintf(f, "gone (was %s)", jsonx_str(e, "from"));
	else if (!strcmp(what, "new"))
		fprintf(f, "new: %s", to);
	else if (!strcmp(what, "label"))
		fprintf(f, "%s, another label", to);
	else
		fprintf(f, "%s -> %s", jsonx_str(e, "from"), to);
	if (label)
		fprintf(f, ", label %" PRIu64, label);
	if (!strcmp(to, "lapsed") && out <= 0)
		fprintf(f, ", egress lease over since %" PRId64 " ms", -out);
	if (!strcmp(to, "lapsed") && in <= 0)
		fprintf(f, ", ingress lease over since %" PRId64 " ms", -in);
	/* No address: between two pods of the node. */
	if (!strcmp(jsonx_str(e, "peer"), "0.0.0.0"))
		fprintf(f, ", local");
	else
		fprintf(f, ", peer %s", jsonx_str(e, "peer"));
}

static void peer_line(FILE *f, struct json_object *e)
{
	const char *what = jsonx_str(e, "what"), *hint = jsonx_str(e, "hint");

	fprintf(f, "peer  %s ", jsonx_str(e, "addr"));
	if (!strcmp(what, "gone"))
		fprintf(f, "forgotten (was %s)", jsonx_str(e, "from"));
	else if (!strcmp(what, "new"))
		fputs(jsonx_str(e, "to"), f);
	else
		fprintf(f, "%s -> %s", jsonx_str(e, "from"), jsonx_str(e, "to"));
	if (*hint)
		fprintf(f, ": %s", hint);
}

static void pod_line(FILE *f, struct json_object *e)
{
	const char *what = jsonx_str(e, "what"), *mode = jsonx_str(e, "mode");
	const char *reason = jsonx_str(e, "reason"), *addrs = jsonx_str(e, "addrs");

	fprintf(f, "pod   %s%s%s ", jsonx_str(e, "ifname"), *addrs ? " " : "", addrs);
	if (strcmp(what, "new"))
		fputs(what, f);
	else
		fputs(jsonx_bool(e, "attached") ? "attached" : "on the overlay", f);
	if (*mode)
		fprintf(f, ", mode %s", mode);
	if (*reason)
		fprintf(f, ": %s", reason);
}

static void decisions_line(FILE *f, struct json_object *e)
{
	struct json_object *by = jsonx_get(e, "packets");
	const char *gap = "";

	fputs("count ", f);
	if (!json_object_is_type(by, json_type_object))
		return;
	json_object_object_foreach(by, name, n) {
		fprintf(f, "%s%s %" PRIu64, gap, name, json_object_get_uint64(n));
		gap = ", ";
	}
}

char *monitor_line(struct json_object *e)
{
	const char *kind = jsonx_str(e, "event");
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	if (!strcmp(kind, "flow"))
		flow_line(f, e);
	else if (!strcmp(kind, "peer"))
		peer_line(f, e);
	else if (!strcmp(kind, "pod"))
		pod_line(f, e);
	else if (!strcmp(kind, "decisions"))
		decisions_line(f, e);
	else if (!strcmp(kind, "decision"))
		fprintf(f, "now   %s: %s", jsonx_str(e, "flow"), jsonx_str(e, "text"));
	else
		fprintf(f, "note  %s", jsonx_str(e, "text"));
	if (ferror(f) | fclose(f)) {
		free(text);
		return NULL;
	}
	return table_clean(text);
}
