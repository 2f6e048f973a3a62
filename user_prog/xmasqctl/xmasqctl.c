// SPDX-License-Identifier: GPL-2.0-only
/* xmasqctl: asks xmasqd over its control socket and shows the answer. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bugtool.h"
#include "client.h"
#include "jsonx.h"
#include "monitor_run.h"
#include "options.h"
#include "show.h"
#include "text.h"
#include "version.h"

enum {
	EXIT_NO = 1,
	EXIT_USAGE = 2,
};

static bool use_color(const struct options *o)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return !o->no_color && !(no && *no) && isatty(STDOUT_FILENO) &&
	       !(term && !strcmp(term, "dumb"));
}

/* Ours is known without asking; the daemon's may be missing. */
static int print_version(const struct options *o, struct json_object *result)
{
	struct json_object *both;
	const char *theirs = jsonx_str(result, "version");
	char *tame;
	int err;

	if (!o->json) {
		tame = strdup(*theirs ? theirs : "unknown");
		if (!tame)
			return -ENOMEM;
		text_tame(tame);
		printf("xmasqctl: %s\nxmasqd: %s\n", XM_VERSION, tame);
		free(tame);
		return 0;
	}
	both = json_object_new_object();
	if (!both)
		return -ENOMEM;
	err = jsonx_put_str(both, "xmasqctl", XM_VERSION) && jsonx_put_str(both, "xmasqd", theirs)
		      ? jsonx_print(both, stdout)
		      : -ENOMEM;
	json_object_put(both);
	return err;
}

static int print(const struct options *o, struct json_object *result)
{
	if (o->req.command == CTL_VERSION)
		return print_version(o, result);
	if (o->json)
		return jsonx_print(result, stdout);
	return show(o->req.command, result, &o->show, stdout);
}

int main(int argc, char **argv)
{
	struct json_object *result = NULL;
	struct options o;
	char err[512] = "";
	int ret;

	if (options_parse(argc, argv, &o, err, sizeof(err))) {
		fprintf(stderr, "xmasqctl: %s\n", err);
		return EXIT_USAGE;
	}
	if (o.help) {
		options_usage(stdout);
		return 0;
	}
	o.show.color = use_color(&o);

	if (o.task != OPTIONS_ASK) {
		ret = o.task == OPTIONS_MONITOR ? monitor_run(&o, err, sizeof(err))
						: bugtool_run(&o, err, sizeof(err));
		if (ret)
			fprintf(stderr, "xmasqctl: %s\n", err);
		return ret ? EXIT_NO : 0;
	}
	ret = client_ask(o.socket, &o.req,
			 o.req.command == CTL_CLEANUP ? CLIENT_CLEANUP_TIMEOUT_MS
						      : CLIENT_TIMEOUT_MS,
			 &result, err, sizeof(err));
	if (ret && o.req.command == CTL_VERSION)
		print_version(&o, NULL);
	if (ret) {
		fprintf(stderr, "xmasqctl: %s\n", err);
		return EXIT_NO;
	}
	ret = print(&o, result);
	json_object_put(result);
	/* A full disk or a closed pipe must not look like success. */
	if (!ret && (fflush(stdout) || ferror(stdout)))
		ret = -EIO;
	if (ret) {
		fprintf(stderr, "xmasqctl: %s\n", strerror(-ret));
		return EXIT_NO;
	}
	return 0;
}
