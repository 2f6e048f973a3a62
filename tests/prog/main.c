// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmasq-prog-test: the TC programs on crafted frames.
 *
 *   xmasq-prog-test [--seed N] [--rounds N] [--only TEXT]
 *   xmasq-prog-test --verifier [OBJ]
 *   xmasq-prog-test --lookups
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node.h"
#include "suites.h"
#include "tap.h"

static const struct {
	const char *name;
	void (*run)(void);
} suites[] = {
	{ "pod_egress", suite_pod_egress },
	{ "nic_egress", suite_nic_egress },
	{ "nic_egress_told", suite_told },
	{ "nic_ingress", suite_nic_ingress },
	{ "nic_ingress_refused", suite_refused },
	{ "nic_ingress_labels", suite_labels },
	{ "pod_ingress", suite_pod_ingress },
	{ "local", suite_local },
	{ "admit", suite_admit },
	{ "known", suite_known },
	{ "life", suite_life },
	{ "live", suite_live },
	{ "trace", suite_trace },
	{ "policy", suite_policy },
	{ "fuzz", suite_fuzz },
};

struct options options = { .seed = 20240229, .rounds = 100000 };

static int usage(const char *name)
{
	fprintf(stderr,
		"usage: %s [--seed N] [--rounds N] [--only TEXT] | --verifier [OBJ] | --lookups\n",
		name);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "only", required_argument, NULL, 'o' },
		{ "verifier", no_argument, NULL, 'v' },
		{ "lookups", no_argument, NULL, 'l' },
		{ NULL, 0, NULL, 0 },
	};
	const char *only = NULL;
	bool verifier = false, lookups = false;
	int c, err, failed;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			options.seed = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			options.rounds = (unsigned int)strtoul(optarg, NULL, 0);
			break;
		case 'o':
			only = optarg;
			break;
		case 'v':
			verifier = true;
			break;
		case 'l':
			lookups = true;
			break;
		default:
			return usage(argv[0]);
		}
	}
	if (verifier)
		return verifier_report(argv[optind]) ? 1 : 0;
	if (optind < argc)
		return usage(argv[0]);
	if (lookups)
		return lookups_report() ? 1 : 0;

	err = nodes_open();
	if (err) {
		printf("Bail out! cannot set up two nodes (root needed): %s\n", strerror(-err));
		return 1;
	}
	for (unsigned int i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
		if (!only || strstr(suites[i].name, only))
			suites[i].run();
	if (!only)
		suite_reasons();
	failed = tap_done();
	nodes_close();
	return failed ? 1 : 0;
}
