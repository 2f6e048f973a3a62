// SPDX-License-Identifier: GPL-2.0-only
#include "portlist.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PORTS 65536

/* The kernel keeps the list as this bitmap, too. */
struct bitmap {
	uint8_t bits[PORTS / 8];
};

static bool has(const struct bitmap *m, unsigned int port)
{
	return m->bits[port / 8] >> (port % 8) & 1;
}

static void put(struct bitmap *m, unsigned int port, bool on)
{
	uint8_t bit = (uint8_t)(1u << (port % 8));

	if (on)
		m->bits[port / 8] |= bit;
	else
		m->bits[port / 8] &= (uint8_t)~bit;
}

static int parse_port(const char **p, unsigned int *port)
{
	const char *s = *p;
	unsigned int v = 0;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++) {
		v = v * 10 + (unsigned int)(*s - '0');
		if (v >= PORTS)
			return -EINVAL;
	}
	*p = s;
	*port = v;
	return 0;
}

static int parse(const char *p, struct bitmap *m)
{
	unsigned int from, to;

	memset(m, 0, sizeof(*m));
	if (*p == '\0' || !strcmp(p, "\n"))
		return 0;
	for (;;) {
		if (parse_port(&p, &from))
			return -EINVAL;
		to = from;
		if (*p == '-') {
			p++;
			if (parse_port(&p, &to) || to < from)
				return -EINVAL;
		}
		for (; from <= to; from++)
			put(m, from, true);
		if (*p == '\0' || !strcmp(p, "\n"))
			return 0;
		if (*p++ != ',')
			return -EINVAL;
	}
}

static int print(const struct bitmap *m, char *out, size_t max)
{
	size_t used = 0;
	unsigned int from, to;

	if (!max)
		return -E2BIG;
	out[0] = '\0';
	for (from = 0; from < PORTS; from = to + 1) {
		const char *comma = used ? "," : "";
		int n;

		to = from;
		if (!has(m, from))
			continue;
		while (to + 1 < PORTS && has(m, to + 1))
			to++;
		if (to == from)
			n = snprintf(out + used, max - used, "%s%u", comma, from);
		else
			n = snprintf(out + used, max - used, "%s%u-%u", comma, from, to);
		if (n < 0 || (size_t)n >= max - used)
			return -E2BIG;
		used += (size_t)n;
	}
	return 0;
}

static int edit(const char *text, uint16_t port, bool on, char *out, size_t max)
{
	struct bitmap m;
	int err = parse(text, &m);

	if (err)
		return err;
	put(&m, port, on);
	return print(&m, out, max);
}

int portlist_covers(const char *text, uint16_t port)
{
	struct bitmap m;
	int err = parse(text, &m);

	return err ? err : has(&m, port);
}

int portlist_add(const char *text, uint16_t port, char *out, size_t max)
{
	return edit(text, port, true, out, max);
}

int portlist_remove(const char *text, uint16_t port, char *out, size_t max)
{
	return edit(text, port, false, out, max);
}
