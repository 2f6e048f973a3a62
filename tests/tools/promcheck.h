/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Checks Prometheus' text exposition format 0.0.4, as strictly as promtool does: for the unit
 * test of the metrics and for xmt-prom.
 *
 *   - each metric is one block: HELP, TYPE, samples; none comes twice
 *   - names and labels are well formed, label values escaped, no sample comes twice
 *   - a counter ends with _total and is never negative, a gauge does not end so; units are base
 *     units (bytes, seconds)
 *   - HELP is a sentence, the last line ends with a newline
 */
#ifndef XMT_PROMCHECK_H
#define XMT_PROMCHECK_H

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMCHECK_SAMPLES 512
#define PROMCHECK_METRICS 128

/* @series: "name{label="value"}" as it was written; @name: the part before the brace */
struct promcheck_sample {
	char series[192];
	char name[96];
	bool counter;
	double value;
};

struct promcheck {
	struct promcheck_sample sample[PROMCHECK_SAMPLES];
	unsigned int n_samples;
	char metric[PROMCHECK_METRICS][96];
	unsigned int n_metrics;
	unsigned int in_metric; /* samples of the present one */
	bool counter;		/* its type */
	bool typed;		/* its TYPE line was there */
	unsigned int line;
	char why[512];
};

static inline bool __attribute__((format(printf, 2, 3)))
promcheck_no(struct promcheck *p, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(p->why, sizeof(p->why), "line %u: ", p->line);

	va_start(ap, fmt);
	vsnprintf(p->why + n, sizeof(p->why) - (size_t)n, fmt, ap);
	va_end(ap);
	return false;
}

/* Length of the name at @s, 0 for none; colons are for recording rules. */
static inline size_t promcheck_name(const char *s)
{
	size_t n = 0;

	if (isdigit((unsigned char)s[0]))
		return 0;
	while (isalnum((unsigned char)s[n]) || s[n] == '_')
		n++;
	return n;
}

static inline bool promcheck_ends(const char *s, const char *tail)
{
	size_t n = strlen(s), t = strlen(tail);

	return n >= t && !strcmp(s + n - t, tail);
}

static inline const char *promcheck_present(const struct promcheck *p)
{
	return p->n_metrics ? p->metric[p->n_metrics - 1] : "";
}

static inline bool promcheck_help(struct promcheck *p, const char *s)
{
	size_t n = promcheck_name(s);
	unsigned int i;

	if (p->n_metrics && !p->in_metric)
		return promcheck_no(p, "%s has no sample", promcheck_present(p));
	if (!n || n >= sizeof(p->metric[0]) || s[n] != ' ')
		return promcheck_no(p, "HELP has no name and text");
	if (strlen(s + n + 1) < 10 || !promcheck_ends(s, "."))
		return promcheck_no(p, "HELP is no sentence: %s", s);
	if (p->n_metrics == PROMCHECK_METRICS)
		return promcheck_no(p, "too many metrics");
	for (i = 0; i < p->n_metrics; i++)
		if (strlen(p->metric[i]) == n && !strncmp(p->metric[i], s, n))
			return promcheck_no(p, "%s comes twice", p->metric[i]);
	memcpy(p->metric[p->n_metrics], s, n);
	p->metric[p->n_metrics++][n] = '\0';
	p->in_metric = 0;
	p->typed = false;
	return true;
}

static inline bool promcheck_type(struct promcheck *p, const char *s)
{
	static const char *const bad_units[] = { "_ms",		  "_us",   "_milliseconds",
						 "_microseconds", "_kib",  "_mib",
						 "_percent",	  "_bits", "_minutes" };
	const char *name = promcheck_present(p);
	size_t n = strlen(name), i;
	char bare[96];

	if (!n || strncmp(s, name, n) || s[n] != ' ')
		return promcheck_no(p, "TYPE does not follow its HELP: %s", s);
	if (p->typed)
		return promcheck_no(p, "%s has two types", name);
	p->typed = true;
	p->counter = !strcmp(s + n + 1, "counter");
	if (!p->counter && strcmp(s + n + 1, "gauge"))
		return promcheck_no(p, "%s is neither counter nor gauge", name);
	if (p->counter != promcheck_ends(name, "_total"))
		return promcheck_no(p, "%s: counters, and only they, end with _total", name);
	snprintf(bare, sizeof(bare), "%.*s", (int)(p->counter ? n - 6 : n), name);
	for (i = 0; i < sizeof(bad_units) / sizeof(bad_units[0]); i++)
		if (promcheck_ends(bare, bad_units[i]))
			return promcheck_no(p, "%s: no base unit", name);
	if (promcheck_ends(bare, "_counter") || promcheck_ends(bare, "_gauge") ||
	    promcheck_ends(bare, "_count") || promcheck_ends(bare, "_sum"))
		return promcheck_no(p, "%s: the type is not part of the name", name);
	return true;
}

/* Moves *@s behind "{...}". */
static inline bool promcheck_labels(struct promcheck *p, const char **s)
{
	const char *at = *s + 1;
	size_t n;

	for (;;) {
		n = promcheck_name(at);
		if (!n || !strncmp(at, "__", 2) || strncmp(at + n, "=\"", 2))
			return promcheck_no(p, "bad label: %s", at);
		for (at += n + 2; *at != '"'; at++) {
			if (!*at)
				return promcheck_no(p, "a label value does not end");
			if (*at == '\\' && !strchr("\\\"n", *++at))
				return promcheck_no(p, "bad escape in a label value");
		}
		at++;
		if (*at == '}')
			break;
		if (*at++ != ',')
			return promcheck_no(p, "no comma between labels");
	}
	*s = at + 1;
	return true;
}

static inline bool promcheck_sample_line(struct promcheck *p, const char *s)
{
	struct promcheck_sample *x = &p->sample[p->n_samples];
	const char *at = s;
	size_t n = promcheck_name(s);
	unsigned int i;
	char *end;

	if (!p->typed || strlen(promcheck_present(p)) != n || strncmp(s, promcheck_present(p), n))
		return promcheck_no(p, "not below its TYPE: %s", s);
	at += n;
	if (*at == '{' && !promcheck_labels(p, &at))
		return false;
	if (*at != ' ' || (size_t)(at - s) >= sizeof(x->series))
		return promcheck_no(p, "no value: %s", s);
	if (p->n_samples == PROMCHECK_SAMPLES)
		return promcheck_no(p, "too many samples");
	snprintf(x->series, sizeof(x->series), "%.*s", (int)(at - s), s);
	snprintf(x->name, sizeof(x->name), "%.*s", (int)n, s);
	x->counter = p->counter;
	x->value = strtod(at + 1, &end);
	if (end == at + 1 || *end)
		return promcheck_no(p, "the value is no number: %s", s);
	if (p->counter && !(x->value >= 0))
		return promcheck_no(p, "a negative counter: %s", s);
	for (i = 0; i < p->n_samples; i++)
		if (!strcmp(p->sample[i].series, x->series))
			return promcheck_no(p, "%s comes twice", x->series);
	p->n_samples++;
	p->in_metric++;
	return true;
}

/* Return: true, or false with @p->why. @text is cut into lines. */
static inline bool promcheck(struct promcheck *p, char *text)
{
	char *line, *nl;
	bool ok = true;

	memset(p, 0, sizeof(*p));
	for (line = text; ok && *line; line = nl + 1) {
		p->line++;
		nl = strchr(line, '\n');
		if (!nl)
			return promcheck_no(p, "no newline at the end");
		*nl = '\0';
		if (!strncmp(line, "# HELP ", 7))
			ok = promcheck_help(p, line + 7);
		else if (!strncmp(line, "# TYPE ", 7))
			ok = promcheck_type(p, line + 7);
		else
			ok = promcheck_sample_line(p, line);
	}
	if (ok && !p->in_metric)
		return promcheck_no(p, "%s has no sample", promcheck_present(p));
	return ok;
}

/* NULL when there is no such series. */
static inline const struct promcheck_sample *promcheck_find(const struct promcheck *p,
							    const char *series)
{
	unsigned int i;

	for (i = 0; i < p->n_samples; i++)
		if (!strcmp(p->sample[i].series, series))
			return &p->sample[i];
	return NULL;
}

#endif
