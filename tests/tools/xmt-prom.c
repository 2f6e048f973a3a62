// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-prom: checks answers of /metrics.
 *
 *   xmt-prom check FILE		the format, see promcheck.h
 *   xmt-prom get FILE SERIES		the value of one series, such as 'xmasq_peers{state="up"}'
 *   xmt-prom names FILE		the names of all metrics
 *   xmt-prom grown OLD NEW NAME...	no series of these counters is missing from NEW or less there
 *
 * exit status: 0 fine, 1 not, 2 wrong usage
 */
#include "promcheck.h"

static struct promcheck checks[2];

static bool load(struct promcheck *p, const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t size = 0;
	bool ok;

	if (!f) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	/* The text has no NUL: one is found by what follows it. */
	if (getdelim(&text, &size, 0, f) < 0) {
		fprintf(stderr, "%s: empty\n", path);
		ok = false;
	} else {
		ok = promcheck(p, text);
		if (!ok)
			fprintf(stderr, "%s: %s\n", path, p->why);
	}
	free(text);
	fclose(f);
	return ok;
}

static bool grown(const struct promcheck *was, const struct promcheck *is, const char *name)
{
	const struct promcheck_sample *x;
	unsigned int i, n = 0;
	bool ok = true;

	for (i = 0; i < was->n_samples; i++) {
		if (strcmp(was->sample[i].name, name) || !was->sample[i].counter)
			continue;
		n++;
		x = promcheck_find(is, was->sample[i].series);
		if (x && x->value >= was->sample[i].value)
			continue;
		fprintf(stderr, "%s was %.0f, is %.0f\n", was->sample[i].series,
			was->sample[i].value, x ? x->value : -1);
		ok = false;
	}
	if (!n)
		fprintf(stderr, "there is no counter %s\n", name);
	return ok && n;
}

int main(int argc, char **argv)
{
	const struct promcheck_sample *x;
	bool ok = true;
	int i;

	if (argc == 3 && !strcmp(argv[1], "check"))
		return !load(&checks[0], argv[2]);
	if (argc == 3 && !strcmp(argv[1], "names")) {
		if (!load(&checks[0], argv[2]))
			return 1;
		for (i = 0; i < (int)checks[0].n_metrics; i++)
			puts(checks[0].metric[i]);
		return 0;
	}
	if (argc == 4 && !strcmp(argv[1], "get")) {
		x = load(&checks[0], argv[2]) ? promcheck_find(&checks[0], argv[3]) : NULL;
		if (x)
			printf("%.15g\n", x->value);
		return !x;
	}
	if (argc >= 5 && !strcmp(argv[1], "grown")) {
		if (!load(&checks[0], argv[2]) || !load(&checks[1], argv[3]))
			return 1;
		for (i = 4; i < argc; i++)
			ok = grown(&checks[0], &checks[1], argv[i]) && ok;
		return !ok;
	}
	fputs("usage: xmt-prom check FILE | get FILE SERIES | names FILE | grown OLD NEW NAME...\n",
	      stderr);
	return 2;
}
