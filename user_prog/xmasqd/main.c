// SPDX-License-Identifier: GPL-2.0-only
/* xmasqd: command line. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config_file.h"
#include "daemon.h"
#include "log.h"
#include "version.h"

#define CONFIG_PATH "/etc/xmasq/xmasqd.yaml"

enum {
	OPT_CHECK = 256,
	OPT_CLEANUP,
	OPT_CLEANUP_ON_EXIT,
	OPT_FORCE,
};

static const struct option options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "check-config", no_argument, NULL, OPT_CHECK },
	{ "cleanup", no_argument, NULL, OPT_CLEANUP },
	{ "cleanup-on-exit", no_argument, NULL, OPT_CLEANUP_ON_EXIT },
	{ "force", no_argument, NULL, OPT_FORCE },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{},
};

static void usage(FILE *f)
{
	fputs("usage: xmasqd [--config FILE] [--cleanup-on-exit]\n"
	      "       xmasqd [--config FILE] --check-config\n"
	      "       xmasqd [--config FILE] --cleanup [--force]\n"
	      "\n"
	      "Watches this node's pods and takes their flows off the overlay.\n"
	      "\n"
	      "  -c, --config FILE      configuration (default " CONFIG_PATH ")\n"
	      "      --check-config     check the configuration and exit\n"
	      "      --cleanup          remove programs, pins and sysctls, and exit\n"
	      "      --force            with --cleanup: put sysctls back even if open\n"
	      "                         connections need them\n"
	      "      --cleanup-on-exit  clean up when stopped; without it the datapath stays\n"
	      "  -h, --help             this text\n"
	      "  -V, --version          version\n"
	      "\n"
	      "Signals: HUP reads the configuration again, TERM and INT stop.\n",
	      f);
}

/* What the configuration's syntax does not tell. */
static bool config_fits(struct daemon *d)
{
	/* Others cannot read it, and it would look wrong to them. */
	return geteuid() || !peers_read_key(d);
}

/* One daemon in one process: too large for the stack. */
static struct daemon daemon_state;

int main(int argc, char **argv)
{
	struct daemon *d = &daemon_state;
	bool check = false, cleanup = false;
	struct config_error why;
	int c, err;

	d->config_path = CONFIG_PATH;
	while ((c = getopt_long(argc, argv, "c:hV", options, NULL)) >= 0) {
		switch (c) {
		case 'c':
			d->config_path = optarg;
			break;
		case OPT_CHECK:
			check = true;
			break;
		case OPT_CLEANUP:
			cleanup = true;
			break;
		case OPT_CLEANUP_ON_EXIT:
			d->cleanup_on_exit = true;
			break;
		case OPT_FORCE:
			d->force = true;
			break;
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			puts("xmasqd " XM_VERSION);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc || (d->force && !cleanup) || (check && cleanup)) {
		usage(stderr);
		return 2;
	}
	err = config_file_read(d->config_path, &d->cfg, &why);
	if (err) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	if (check) {
		if (!config_fits(d))
			return 1;
		printf("%s: ok\n", d->config_path);
		return 0;
	}
	d->cfg.cleanup_on_exit |= d->cleanup_on_exit;
	log_init(d->cfg.log_level, d->cfg.log_format);
	if (geteuid()) {
		log_error(
			"xmasqd must run as root: it loads BPF programs and attaches them to interfaces");
		return 1;
	}
	if (!cleanup && !config_fits(d))
		return 1;
	err = daemon_run(d, cleanup);
	return err < 0 ? 1 : 0;
}
