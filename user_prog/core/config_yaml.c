// SPDX-License-Identifier: GPL-2.0-only
/*
 * The walk through the YAML file.
 *
 * libyaml's events are read as a stream, and the first thing that does not belong ends
 * the walk: depth and memory are bounded by the shape of our own file, whatever is
 * nested in the text. Aliases, anchors and tags have no use in so small a file and
 * are refused; they are what turns a short text into a large one.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <arpa/inet.h>
#include <yaml.h>

#include "config.h"
#include "config_keys.h"
#include "text.h"
#include "xm_util.h"

#define CONFIG_TEXT_MAX (1u << 20)
#define KEY_MAX		64
#define SECTIONS_MAX	8

struct place {
	unsigned int line; /* 0: never seen */
	unsigned int column;
};

struct walk {
	yaml_parser_t parser;
	yaml_event_t ev;
	bool have_ev;
	const char *text;
	size_t len;
	struct config *c;
	struct config_error *err;
	struct place keys[CONFIG_KEYS_MAX];  /* where each key's value is */
	struct place lines[CONFIG_KEYS_MAX]; /* where each key is */
	const char *sections[SECTIONS_MAX];
	struct place section_at[SECTIONS_MAX];
	unsigned int n_sections;
	struct place overlay_at[XM_OVERLAYS_MAX];
};

static struct place place_of(const yaml_mark_t *m)
{
	return (struct place){ (unsigned int)m->line + 1, (unsigned int)m->column + 1 };
}

static int XM_PRINTF(3, 4) fail(struct walk *w, struct place at, const char *fmt, ...)
{
	va_list ap;

	w->err->line = at.line;
	w->err->column = at.column;
	va_start(ap, fmt);
	vsnprintf(w->err->text, sizeof(w->err->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* A byte offset as a place; columns count characters, as libyaml's do. */
static struct place place_of_offset(const struct walk *w, size_t offset)
{
	struct place at = { 1, 1 };
	size_t i;

	for (i = 0; i < offset && i < w->len; i++) {
		if (w->text[i] == '\n') {
			at.line++;
			at.column = 1;
		} else if ((w->text[i] & 0xc0) != 0x80) {
			at.column++;
		}
	}
	return at;
}

static int fail_yaml(struct walk *w)
{
	const yaml_parser_t *p = &w->parser;
	const char *what = p->problem ? p->problem : "unreadable";

	switch (p->error) {
	case YAML_MEMORY_ERROR:
		return -ENOMEM;
	case YAML_READER_ERROR:
		return fail(w, place_of_offset(w, p->problem_offset), "not valid UTF-8 text: %s",
			    what);
	default:
		return fail(w, place_of(&p->problem_mark), "not valid YAML: %s%s%s", what,
			    p->context ? " " : "", p->context ? p->context : "");
	}
}

static struct place here(const struct walk *w)
{
	return place_of(&w->ev.start_mark);
}

/* Next event; refuses what no part of the file may have. */
static int next(struct walk *w)
{
	const yaml_event_t *ev = &w->ev;
	const unsigned char *anchor = NULL, *tag = NULL;

	if (w->have_ev)
		yaml_event_delete(&w->ev);
	w->have_ev = false;
	if (!yaml_parser_parse(&w->parser, &w->ev))
		return fail_yaml(w);
	w->have_ev = true;

	switch (ev->type) {
	case YAML_ALIAS_EVENT:
		return fail(w, here(w), "aliases (*name) are not supported; write the value out");
	case YAML_SCALAR_EVENT:
		anchor = ev->data.scalar.anchor;
		tag = ev->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = ev->data.sequence_start.anchor;
		tag = ev->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = ev->data.mapping_start.anchor;
		tag = ev->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor)
		return fail(w, here(w), "anchors (&name) are not supported; write the value out");
	if (tag)
		return fail(w, here(w), "tags (!name) are not supported; write the plain value");
	if (ev->type == YAML_SCALAR_EVENT &&
	    memchr(ev->data.scalar.value, '\0', ev->data.scalar.length))
		return fail(w, here(w), "a value must not hold a NUL character");
	return 0;
}

/* The current event, which is a scalar; valid until next(). */
static struct config_scalar scalar(const struct walk *w)
{
	struct config_scalar s = {
		.text = (const char *)w->ev.data.scalar.value,
		.len = w->ev.data.scalar.length,
		.plain = w->ev.data.scalar.style == YAML_PLAIN_SCALAR_STYLE,
	};

	/* YAML's other ways to write nothing. */
	if (s.plain &&
	    ((s.len == 1 && s.text[0] == '~') || (s.len == 4 && !memcmp(s.text, "null", 4))))
		s.len = 0;
	return s;
}

static bool is_nothing(const struct walk *w)
{
	struct config_scalar s;

	if (w->ev.type != YAML_SCALAR_EVENT)
		return false;
	s = scalar(w);
	return s.plain && !s.len;
}

static int fail_wanted(struct walk *w, const struct config_key *k)
{
	char wanted[160];

	config_value_wanted(k, wanted, sizeof(wanted));
	return fail(w, here(w), "\"%s\" must be %s", k->full, wanted);
}

/* @key is where people look first: the key that is wrong. */
static int fail_unknown(struct walk *w, struct place at, const char *section, const char *name)
{
	char q[TEXT_QUOTE_MAX], in[KEY_MAX + 8] = "";
	const char *best = NULL, *done = NULL;
	unsigned int d, best_d = ~0u, i;
	int n;

	text_quote(q, name, strlen(name));
	if (section)
		snprintf(in, sizeof(in), " in \"%s\"", section);
	for (i = 0; i < config_n_keys; i++) {
		const struct config_key *k = &config_keys[i];
		const char *cand = k->name;

		if (section && !k->section && !strcmp(k->name, name))
			return fail(w, at, "unknown key \"%s\"%s; it belongs to the top level", q,
				    in);
		if (!strcmp(k->full, name) || (k->section && !section && !strcmp(k->name, name)))
			return fail(w, at, "unknown key \"%s\"%s; write \"%s\" inside \"%s\"", q,
				    in, k->name, k->section);
		if (!section && k->section)
			cand = k->section;
		else if (section && (!k->section || strcmp(section, k->section)))
			continue;
		d = text_distance(name, cand);
		if (d < best_d && text_close(name, cand)) {
			best = cand;
			best_d = d;
		}
	}
	if (best)
		return fail(w, at, "unknown key \"%s\"%s; did you mean \"%s\"?", q, in, best);

	fail(w, at, "unknown key \"%s\"%s; allowed:", q, in);
	n = (int)strlen(w->err->text);
	for (i = 0; i < config_n_keys && n < (int)sizeof(w->err->text); i++) {
		const struct config_key *k = &config_keys[i];
		const char *cand = !section && k->section ? k->section : k->name;

		if (section && (!k->section || strcmp(section, k->section)))
			continue;
		if (done && !strcmp(done, cand))
			continue;
		n += snprintf(w->err->text + n, sizeof(w->err->text) - (size_t)n, "%s %s",
			      done ? "," : "", cand);
		done = cand;
	}
	return -EINVAL;
}

/* Current event must be a key of a mapping; copies it. */
static int read_key(struct walk *w, char name[KEY_MAX], struct place *at)
{
	struct config_scalar s;

	*at = here(w);
	if (w->ev.type != YAML_SCALAR_EVENT)
		return fail(w, *at, "a key must be a plain word");
	s.text = (const char *)w->ev.data.scalar.value;
	s.len = w->ev.data.scalar.length;
	snprintf(name, KEY_MAX, "%.*s", s.len < KEY_MAX ? (int)s.len : KEY_MAX - 1, s.text);
	return 0;
}

static int add_error(struct walk *w, const struct config_why *why)
{
	return fail(w, here(w), "%s", why->text);
}

/* Scalar event kept beyond the next one. */
struct kept {
	char text[TEXT_QUOTE_MAX]; /* longer than every port and type */
	struct config_scalar s;
	struct place at;
};

static void keep(struct walk *w, struct kept *k)
{
	struct config_scalar s = scalar(w);

	k->at = here(w);
	k->s = s;
	if (s.len >= sizeof(k->text))
		k->s.len = sizeof(k->text) - 1;
	memcpy(k->text, s.text, k->s.len);
	k->s.text = k->text;
}

/* One {port: ..., type: ...}; current event is its start. */
static int read_overlay(struct walk *w, const struct config_key *k)
{
	struct kept port = { .at = { 0, 0 } }, type = { .at = { 0, 0 } }, *to;
	struct place start = here(w), at;
	struct config_why why;
	char name[KEY_MAX];
	int err;

	if (w->ev.type != YAML_MAPPING_START_EVENT)
		return fail_wanted(w, k);
	for (;;) {
		err = next(w);
		if (err)
			return err;
		if (w->ev.type == YAML_MAPPING_END_EVENT)
			break;
		err = read_key(w, name, &at);
		if (err)
			return err;
		to = !strcmp(name, "port") ? &port : !strcmp(name, "type") ? &type : NULL;
		if (!to) {
			char q[TEXT_QUOTE_MAX];

			return fail(w, at, "unknown key \"%s\" in \"%s\"; allowed: port, type",
				    text_quote(q, name, strlen(name)), k->full);
		}
		if (to->at.line)
			return fail(w, at, "\"%s\" is given twice in one entry of \"%s\"", name,
				    k->full);
		err = next(w);
		if (err)
			return err;
		if (w->ev.type != YAML_SCALAR_EVENT)
			return fail(w, here(w), "\"%s\" in \"%s\" must be a single value", name,
				    k->full);
		keep(w, to);
	}
	if (!port.at.line || !type.at.line)
		return fail(w, start, "an entry of \"%s\" needs both port and type", k->full);
	err = config_value_overlay(&port.s, &type.s, w->c, &why);
	if (err)
		return fail(w, strncmp(why.text, "\"type\"", 6) ? port.at : type.at, "%s",
			    why.text);
	w->overlay_at[w->c->n_overlay - 1] = port.at;
	return 0;
}

static void list_clear(const struct config_key *k, struct config *c)
{
	if (k->type == CONFIG_T_OVERLAYS) {
		memset(c->overlay, 0, sizeof(c->overlay));
		c->n_overlay = 0;
	} else if (k->type == CONFIG_T_NICS) {
		c->underlay_auto = false;
		c->n_underlay = 0;
	} else if (k->type == CONFIG_T_RULES) {
		c->policy.n = 0;
	} else {
		*(unsigned int *)((char *)c + k->count) = 0;
	}
}

/* Current event is the list's start. */
static int read_list(struct walk *w, const struct config_key *k)
{
	struct place start = here(w);
	struct config_scalar s;
	struct config_why why;
	unsigned int n = 0;
	int err;

	if (k->type != CONFIG_T_OVERLAYS && k->type != CONFIG_T_NICS && k->type != CONFIG_T_CIDRS &&
	    k->type != CONFIG_T_RULES)
		return fail_wanted(w, k);
	list_clear(k, w->c);
	for (;; n++) {
		err = next(w);
		if (err)
			return err;
		if (w->ev.type == YAML_SEQUENCE_END_EVENT)
			break;
		if (k->type == CONFIG_T_OVERLAYS) {
			err = read_overlay(w, k);
			if (err)
				return err;
			continue;
		}
		if (w->ev.type != YAML_SCALAR_EVENT)
			return fail_wanted(w, k);
		s = scalar(w);
		if (config_value_add(k, &s, w->c, &why))
			return add_error(w, &why);
	}
	if (!n && k->type != CONFIG_T_CIDRS && k->type != CONFIG_T_RULES) {
		char wanted[160];

		config_value_wanted(k, wanted, sizeof(wanted));
		return fail(w, start, "\"%s\" must not be empty; it must be %s", k->full, wanted);
	}
	return 0;
}

static int read_value(struct walk *w, const struct config_key *k)
{
	struct config_scalar s;
	struct config_why why;

	if (w->ev.type == YAML_SEQUENCE_START_EVENT)
		return read_list(w, k);
	if (w->ev.type != YAML_SCALAR_EVENT)
		return fail_wanted(w, k);
	s = scalar(w);
	if (config_value_set(k, &s, w->c, &why))
		return add_error(w, &why);
	return 0;
}

static const char *find_section(const char *name)
{
	unsigned int i;

	for (i = 0; i < config_n_keys; i++)
		if (config_keys[i].section && !strcmp(config_keys[i].section, name))
			return config_keys[i].section;
	return NULL;
}

static int find_key(const char *section, const char *name)
{
	unsigned int i;

	for (i = 0; i < config_n_keys; i++) {
		const char *s = config_keys[i].section;

		if (!strcmp(config_keys[i].name, name) &&
		    (s == section || (s && section && !strcmp(s, section))))
			return (int)i;
	}
	return -1;
}

static int read_mapping(struct walk *w, const char *section);

/* Current event is the value of the section's name. */
static int read_section(struct walk *w, const char *section, struct place at)
{
	unsigned int i;

	for (i = 0; i < w->n_sections; i++)
		if (!strcmp(w->sections[i], section))
			return fail(w, at, "\"%s\" is given twice; first in line %u", section,
				    w->section_at[i].line);
	if (w->n_sections < SECTIONS_MAX) {
		w->sections[w->n_sections] = section;
		w->section_at[w->n_sections++] = at;
	}
	/* All keys of a section commented out: the section is empty, not wrong. */
	if (is_nothing(w))
		return 0;
	if (w->ev.type != YAML_MAPPING_START_EVENT)
		return fail(w, here(w), "\"%s\" must be a section with keys below it", section);
	return read_mapping(w, section);
}

/* @section: NULL for the top level. Current event is the mapping's start. */
static int read_mapping(struct walk *w, const char *section)
{
	char name[KEY_MAX];
	const char *sub;
	struct place at;
	int err, i;

	for (;;) {
		err = next(w);
		if (err)
			return err;
		if (w->ev.type == YAML_MAPPING_END_EVENT)
			return 0;
		err = read_key(w, name, &at);
		if (err)
			return err;
		sub = section ? NULL : find_section(name);
		i = sub ? -1 : find_key(section, name);
		if (!sub && i < 0)
			return fail_unknown(w, at, section, name);
		if (i >= 0 && w->lines[i].line)
			return fail(w, at, "\"%s\" is given twice; first in line %u",
				    config_keys[i].full, w->lines[i].line);
		err = next(w);
		if (err)
			return err;
		if (sub) {
			err = read_section(w, sub, at);
		} else {
			w->lines[i] = at;
			w->keys[i] = here(w);
			err = read_value(w, &config_keys[i]);
		}
		if (err)
			return err;
	}
}

static int read_document(struct walk *w)
{
	int err;

	err = next(w); /* start of the stream */
	if (!err)
		err = next(w);
	if (err || w->ev.type == YAML_STREAM_END_EVENT)
		return err;
	err = next(w); /* the document's root */
	if (err)
		return err;
	if (w->ev.type == YAML_MAPPING_START_EVENT)
		err = read_mapping(w, NULL);
	else if (!is_nothing(w))
		err = fail(w, here(w),
			   "the file must consist of keys with values, such as \"mode: auto\"");
	if (!err)
		err = next(w); /* end of the document */
	if (!err)
		err = next(w);
	if (err)
		return err;
	if (w->ev.type != YAML_STREAM_END_EVENT)
		return fail(w, here(w), "the file must hold one document; remove this \"---\"");
	return 0;
}

/* What no single value can tell. */
static int check_ports(struct walk *w)
{
	int masq = find_key(NULL, "masquerade_port");
	const struct config *c = w->c;
	unsigned int i;

	for (i = 0; i < c->n_overlay; i++) {
		/* A label travels as a port from there on. */
		if (ntohs(c->overlay[i].port) >= XM_LABEL_PORT_BASE)
			return fail(w, w->overlay_at[i],
				    "overlay port %u: must be below %u, where the ports of "
				    "masqueraded packets begin",
				    ntohs(c->overlay[i].port), XM_LABEL_PORT_BASE);
		if (c->overlay[i].port != htons(c->masquerade_port))
			continue;
		return fail(w, w->keys[masq].line ? w->keys[masq] : w->overlay_at[i],
			    "\"masquerade_port\" and \"overlay.ports\" are both %u; the "
			    "masquerade port must be one that nothing else uses",
			    c->masquerade_port);
	}
	return 0;
}

int config_parse(const char *text, size_t len, struct config *c, struct config_error *err)
{
	struct config fresh;
	struct walk w = { .text = text, .len = len, .c = &fresh, .err = err };
	int ret;

	memset(err, 0, sizeof(*err));
	config_defaults(&fresh);
	if (len > CONFIG_TEXT_MAX)
		return fail(&w, (struct place){ 0, 0 }, "%zu bytes are too many; at most %u", len,
			    CONFIG_TEXT_MAX);
	if (!yaml_parser_initialize(&w.parser))
		return -ENOMEM;
	/* Otherwise a byte order mark would choose UTF-16. */
	yaml_parser_set_encoding(&w.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&w.parser, (const unsigned char *)(text ? text : ""), len);

	ret = read_document(&w);
	if (!ret)
		ret = check_ports(&w);
	if (!ret)
		*c = fresh;

	if (w.have_ev)
		yaml_event_delete(&w.ev);
	yaml_parser_delete(&w.parser);
	return ret;
}
