// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"
#include "text.h"

struct row {
	enum table_color color;
	char *cells[TABLE_COLUMNS_MAX];
};

struct table {
	const struct table_column *columns;
	unsigned int n_columns;
	struct row *rows;
	size_t n_rows, size;
	bool failed;
};

struct table *table_new(const struct table_column *columns, unsigned int n)
{
	struct table *t = calloc(1, sizeof(*t));

	if (t) {
		t->columns = columns;
		t->n_columns = n < TABLE_COLUMNS_MAX ? n : TABLE_COLUMNS_MAX;
	}
	return t;
}

char *table_clean(char *s)
{
	char *p;

	text_tame(s);
	for (p = s; *p; p++)
		if (*p == '\n')
			*p = '?';
	return s;
}

void table_row(struct table *t, enum table_color color, const char *const *cells)
{
	struct row *grown, *r;
	unsigned int i;

	if (t->n_rows == t->size) {
		grown = realloc(t->rows, (t->size * 2 + 16) * sizeof(*t->rows));
		if (!grown) {
			t->failed = true;
			return;
		}
		t->rows = grown;
		t->size = t->size * 2 + 16;
	}
	r = &t->rows[t->n_rows++];
	memset(r, 0, sizeof(*r));
	r->color = color;
	for (i = 0; i < t->n_columns; i++) {
		r->cells[i] = strdup(cells[i] && *cells[i] ? cells[i] : "-");
		if (r->cells[i])
			table_clean(r->cells[i]);
		else
			t->failed = true;
	}
}

/* Characters, not bytes. */
static unsigned int width(const char *s)
{
	unsigned int n = 0;

	for (; *s; s++)
		n += (*s & 0xc0) != 0x80;
	return n;
}

static void print_cell(FILE *out, const char *s, unsigned int w, bool right, bool last,
		       enum table_color c, bool color)
{
	unsigned int pad = w - width(s);

	fprintf(out, "%*s%s%s%s%*s%s", right ? (int)pad : 0, "", table_paint(c, color), s,
		table_unpaint(c, color), right || last ? 0 : (int)pad, "", last ? "\n" : "  ");
}

int table_print(const struct table *t, FILE *out, bool color, unsigned int indent)
{
	unsigned int w[TABLE_COLUMNS_MAX], i;
	size_t r;

	if (t->failed)
		return -ENOMEM;
	for (i = 0; i < t->n_columns; i++) {
		w[i] = width(t->columns[i].head);
		for (r = 0; r < t->n_rows; r++)
			if (width(t->rows[r].cells[i]) > w[i])
				w[i] = width(t->rows[r].cells[i]);
	}
	fprintf(out, "%*s", (int)indent, "");
	for (i = 0; i < t->n_columns; i++)
		print_cell(out, t->columns[i].head, w[i], t->columns[i].right,
			   i == t->n_columns - 1, TABLE_BOLD, color);
	for (r = 0; r < t->n_rows; r++) {
		fprintf(out, "%*s", (int)indent, "");
		for (i = 0; i < t->n_columns; i++)
			print_cell(out, t->rows[r].cells[i], w[i], t->columns[i].right,
				   i == t->n_columns - 1,
				   t->columns[i].colored ? t->rows[r].color : TABLE_PLAIN, color);
	}
	return 0;
}

void table_free(struct table *t)
{
	unsigned int i;
	size_t r;

	if (!t)
		return;
	for (r = 0; r < t->n_rows; r++)
		for (i = 0; i < t->n_columns; i++)
			free(t->rows[r].cells[i]);
	free(t->rows);
	free(t);
}

const char *table_paint(enum table_color c, bool on)
{
	static const char *const codes[] = {
		[TABLE_PLAIN] = "",	  [TABLE_GOOD] = "\033[32m", [TABLE_WARN] = "\033[33m",
		[TABLE_BAD] = "\033[31m", [TABLE_DIM] = "\033[2m",   [TABLE_BOLD] = "\033[1m",
	};

	return on ? codes[c] : "";
}

const char *table_unpaint(enum table_color c, bool on)
{
	return on && c != TABLE_PLAIN ? "\033[0m" : "";
}

/* Three digits that count, whatever the unit. */
static void scaled(char buf[TABLE_NUM], double v, const char *unit)
{
	snprintf(buf, TABLE_NUM, "%.*f%s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, unit);
}

const char *table_count(char buf[TABLE_NUM], uint64_t n)
{
	static const char *const units[] = { "k", "M", "G", "T", "P", "E" };
	double v = (double)n / 1000;
	unsigned int u = 0;

	if (n < 10000) {
		snprintf(buf, TABLE_NUM, "%" PRIu64, n);
		return buf;
	}
	for (; v >= 999.5 && u < 5; u++)
		v /= 1000;
	scaled(buf, v, units[u]);
	return buf;
}

const char *table_bytes(char buf[TABLE_NUM], uint64_t n)
{
	static const char *const units[] = { " KiB", " MiB", " GiB", " TiB", " PiB", " EiB" };
	double v = (double)n / 1024;
	unsigned int u = 0;

	if (n < 1024) {
		snprintf(buf, TABLE_NUM, "%" PRIu64 " B", n);
		return buf;
	}
	for (; v >= 1023.5 && u < 5; u++)
		v /= 1024;
	scaled(buf, v, units[u]);
	return buf;
}

const char *table_time(char buf[TABLE_NUM], int64_t ms)
{
	const char *sign = ms < 0 ? "-" : "";
	uint64_t t = ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms, s = t / 1000;

	if (s < 60)
		snprintf(buf, TABLE_NUM, "%s%" PRIu64 ".%02us", sign, s,
			 (unsigned int)(t % 1000 / 10));
	else if (s < 3600)
		snprintf(buf, TABLE_NUM, "%s%" PRIu64 "m%02us", sign, s / 60,
			 (unsigned int)(s % 60));
	else if (s < 86400)
		snprintf(buf, TABLE_NUM, "%s%" PRIu64 "h%02um", sign, s / 3600,
			 (unsigned int)(s / 60 % 60));
	else
		snprintf(buf, TABLE_NUM, "%s%" PRIu64 "d%02uh", sign, s / 86400,
			 (unsigned int)(s / 3600 % 24));
	return buf;
}
