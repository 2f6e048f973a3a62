// SPDX-License-Identifier: GPL-2.0-only
/* One value of the configuration: from text to struct config, or why not. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config_keys.h"
#include "text.h"
#include "xm_util.h"

static int XM_PRINTF(2, 3) refuse(struct config_why *why, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why->text, sizeof(why->text), fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static const char *quote(char buf[TEXT_QUOTE_MAX], const struct config_scalar *s)
{
	return text_quote(buf, s->text, s->len);
}

static void join(const char *const *names, char *buf, size_t len)
{
	size_t at = 0;

	buf[0] = '\0';
	for (; *names && at < len; names++)
		at += (size_t)snprintf(buf + at, len - at, "%s%s", at ? ", " : "", *names);
}

void config_value_wanted(const struct config_key *k, char *buf, size_t len)
{
	char names[96];

	switch (k->type) {
	case CONFIG_T_U16:
	case CONFIG_T_U32:
		snprintf(buf, len, "%s from %u to %u%s%s%s",
			 k->flags & CONFIG_F_POW2 ? "a power of two" : "a number", k->min, k->max,
			 k->unit ? " (" : "", k->unit ? k->unit : "", k->unit ? ")" : "");
		break;
	case CONFIG_T_BOOL:
		snprintf(buf, len, "true or false");
		break;
	case CONFIG_T_ENUM:
		join(k->names, names, sizeof(names));
		snprintf(buf, len, "one of %s", names);
		break;
	case CONFIG_T_PATH:
		snprintf(buf, len, "an absolute path of at most %u bytes%s", k->max,
			 k->flags & CONFIG_F_EMPTY ? ", or \"\"" : "");
		break;
	case CONFIG_T_NICS:
		snprintf(buf, len, "auto, or a list of 1 to %d interface names such as [eth0]",
			 CONFIG_NICS_MAX);
		break;
	case CONFIG_T_OVERLAYS:
		snprintf(buf, len, "a list of 1 to %d entries such as {port: 8472, type: vxlan}",
			 XM_OVERLAYS_MAX);
		break;
	case CONFIG_T_CIDRS:
		snprintf(buf, len, "a list of at most %d IPv4 prefixes such as [10.244.0.0/16]",
			 CONFIG_CIDRS_MAX);
		break;
	case CONFIG_T_RULES:
		snprintf(buf, len,
			 "a list of at most %d rules such as [deny egress tcp to any port 25]",
			 POLICY_FILE_MAX);
		break;
	case CONFIG_T_LISTEN:
		snprintf(buf, len,
			 "address and port such as 127.0.0.1:9477 or \"[::1]:9477\", or \"\"");
		break;
	}
}

static int refuse_wanted(struct config_why *why, const struct config_key *k,
			 const struct config_scalar *s, const char *detail)
{
	char q[TEXT_QUOTE_MAX], wanted[160];

	config_value_wanted(k, wanted, sizeof(wanted));
	return refuse(why, "\"%s\" must be %s, not \"%s\"%s", k->full, wanted, quote(q, s), detail);
}

/**
 * parse_number() - decimal, or hexadecimal after 0x
 *
 * Nothing else that YAML 1.1 takes for a number: 010 (octal), 1_000, 1:30, +5.
 *
 * Return: 0, -EINVAL (no number), -ERANGE (more than 32 bits).
 */
static int parse_number(const struct config_scalar *s, uint32_t *out)
{
	bool hex = s->len > 2 && s->text[0] == '0' && s->text[1] == 'x';
	uint64_t base = hex ? 16 : 10, v = 0, d;
	size_t i = hex ? 2 : 0;
	bool over = false;
	char ch;

	if (!s->plain || i == s->len || (!hex && s->len > 1 && s->text[0] == '0'))
		return -EINVAL;
	for (; i < s->len; i++) {
		ch = s->text[i];
		if (ch >= '0' && ch <= '9')
			d = (uint64_t)(ch - '0');
		else if (hex && ch >= 'a' && ch <= 'f')
			d = (uint64_t)(ch - 'a') + 10;
		else if (hex && ch >= 'A' && ch <= 'F')
			d = (uint64_t)(ch - 'A') + 10;
		else
			return -EINVAL;
		v = v * base + d;
		if (v > UINT32_MAX) {
			over = true;
			v = UINT32_MAX; /* go on: "99999999999x" is no number at all */
		}
	}
	*out = (uint32_t)v;
	return over ? -ERANGE : 0;
}

static int set_number(const struct config_key *k, const struct config_scalar *s, struct config *c,
		      struct config_why *why)
{
	char *at = (char *)c + k->offset;
	uint32_t v = 0;
	uint16_t v16;
	int err = parse_number(s, &v);

	if (err == -EINVAL && !s->plain)
		return refuse_wanted(why, k, s, " in quotes");
	if (err == -EINVAL && s->len > 1 && s->text[0] == '0')
		return refuse_wanted(why, k, s, " (decimal without leading zeros, or 0x...)");
	if (err || v < k->min || v > k->max || (k->flags & CONFIG_F_POW2 && v & (v - 1)))
		return refuse_wanted(why, k, s, "");
	if (k->type == CONFIG_T_U16) {
		v16 = (uint16_t)v;
		memcpy(at, &v16, sizeof(v16));
	} else {
		memcpy(at, &v, sizeof(v));
	}
	return 0;
}

static bool is_word(const struct config_scalar *s, const char *word)
{
	return s->len == strlen(word) && !memcmp(s->text, word, s->len);
}

static int set_bool(const struct config_key *k, const struct config_scalar *s, struct config *c,
		    struct config_why *why)
{
	bool yes = is_word(s, "true");

	if (!s->plain)
		return refuse_wanted(why, k, s, " in quotes");
	if (!yes && !is_word(s, "false"))
		return refuse_wanted(why, k, s, "");
	*(bool *)((char *)c + k->offset) = yes;
	return 0;
}

/* Return: index of the name, or -1. */
static int find_name(const char *const *names, const struct config_scalar *s)
{
	int i;

	for (i = 0; names[i]; i++)
		if (is_word(s, names[i]))
			return i;
	return -1;
}

static int set_enum(const struct config_key *k, const struct config_scalar *s, struct config *c,
		    struct config_why *why)
{
	int i = find_name(k->names, s);
	unsigned int v;

	if (i < 0)
		return refuse_wanted(why, k, s, "");
	v = (unsigned int)i;
	memcpy((char *)c + k->offset, &v, sizeof(v));
	return 0;
}

static int set_path(const struct config_key *k, const struct config_scalar *s, struct config *c,
		    struct config_why *why)
{
	char *at = (char *)c + k->offset;
	char q[TEXT_QUOTE_MAX];
	size_t i;

	if (!s->len && !s->plain && k->flags & CONFIG_F_EMPTY) {
		at[0] = '\0';
		return 0;
	}
	if (!s->len || s->text[0] != '/')
		return refuse_wanted(why, k, s, "");
	if (s->len > k->max)
		return refuse(why, "\"%s\" is %zu bytes long, at most %u fit", k->full, s->len,
			      k->max);
	for (i = 0; i < s->len; i++)
		if ((unsigned char)s->text[i] < 0x20 || s->text[i] == 0x7f)
			return refuse(why, "\"%s\" must not hold control characters", k->full);
	if (s->text[s->len - 1] == '/')
		return refuse(why, "\"%s\" must not end with \"/\", as \"%s\" does", k->full,
			      quote(q, s));
	memcpy(at, s->text, s->len);
	at[s->len] = '\0';
	/* A pinned or removed directory must be where it seems to be. */
	if (strstr(at, "/../") || (s->len >= 3 && !strcmp(at + s->len - 3, "/..")))
		return refuse(why, "\"%s\" must not hold \"..\", as \"%s\" does", k->full,
			      quote(q, s));
	return 0;
}

static int set_listen(const struct config_key *k, const struct config_scalar *s, struct config *c,
		      struct config_why *why)
{
	char *at = (char *)c + k->offset;
	struct listen_addr a;

	if (s->len && (s->len >= LISTEN_MAX || listen_parse(s->text, s->len, &a)))
		return refuse_wanted(why, k, s, "");
	memcpy(at, s->text, s->len);
	at[s->len] = '\0';
	return 0;
}

int config_value_set(const struct config_key *k, const struct config_scalar *s, struct config *c,
		     struct config_why *why)
{
	char wanted[160];

	if (!s->len && s->plain) {
		config_value_wanted(k, wanted, sizeof(wanted));
		return refuse(why, "\"%s\" has no value; it must be %s", k->full, wanted);
	}
	switch (k->type) {
	case CONFIG_T_U16:
	case CONFIG_T_U32:
		return set_number(k, s, c, why);
	case CONFIG_T_BOOL:
		return set_bool(k, s, c, why);
	case CONFIG_T_ENUM:
		return set_enum(k, s, c, why);
	case CONFIG_T_PATH:
		return set_path(k, s, c, why);
	case CONFIG_T_LISTEN:
		return set_listen(k, s, c, why);
	case CONFIG_T_NICS:
		if (!is_word(s, "auto"))
			return refuse_wanted(why, k, s, "");
		c->underlay_auto = true;
		c->n_underlay = 0;
		return 0;
	case CONFIG_T_OVERLAYS:
	case CONFIG_T_CIDRS:
	case CONFIG_T_RULES:
		break;
	}
	return refuse_wanted(why, k, s, "");
}

static int add_nic(const struct config_key *k, const struct config_scalar *s, struct config *c,
		   struct config_why *why)
{
	char q[TEXT_QUOTE_MAX];
	unsigned int i;

	if (is_word(s, "auto"))
		return refuse(why, "\"auto\" is no interface name; write \"%s: auto\"", k->full);
	if (!text_is_ifname(s->text, s->len))
		return refuse(why,
			      "\"%s\" is no interface name: 1 to 15 characters, no space, \"/\" "
			      "or \":\"",
			      quote(q, s));
	for (i = 0; i < c->n_underlay; i++)
		if (is_word(s, c->underlay[i]))
			return refuse(why, "\"%s\" is listed twice", c->underlay[i]);
	if (c->n_underlay == CONFIG_NICS_MAX)
		return refuse(why, "\"%s\" holds at most %d interfaces", k->full, CONFIG_NICS_MAX);
	memcpy(c->underlay[c->n_underlay], s->text, s->len);
	c->underlay[c->n_underlay][s->len] = '\0';
	c->n_underlay++;
	return 0;
}

static int parse_cidr(const struct config_scalar *s, struct config_cidr *out,
		      struct config_why *why)
{
	const char *slash = memchr(s->text, '/', s->len);
	char q[TEXT_QUOTE_MAX], str[XM_ADDR_STR];
	struct config_scalar bits = { .plain = true };
	uint32_t len = 0, mask;
	__be32 addr;

	if (!slash) {
		if (!text_parse_addr(s->text, s->len, &addr))
			return refuse(why, "\"%s\" has no prefix length; did you mean \"%s/32\"?",
				      quote(q, s), text_addr(str, addr));
		return refuse(why, "\"%s\" is no IPv4 prefix such as 10.244.0.0/16", quote(q, s));
	}
	bits.text = slash + 1;
	bits.len = s->len - (size_t)(bits.text - s->text);
	if (text_parse_addr(s->text, (size_t)(slash - s->text), &addr) || bits.len > 2 ||
	    parse_number(&bits, &len))
		return refuse(why, "\"%s\" is no IPv4 prefix such as 10.244.0.0/16", quote(q, s));
	if (len > 32)
		return refuse(why, "\"%s\": the prefix length must be 0 to 32", quote(q, s));
	mask = len ? ~0u << (32 - len) : 0;
	if (ntohl(addr) & ~mask)
		return refuse(why, "\"%s\" has host bits set; did you mean \"%s/%u\"?", quote(q, s),
			      text_addr(str, addr & htonl(mask)), len);
	out->addr = addr;
	out->len = (uint8_t)len;
	return 0;
}

static int add_cidr(const struct config_key *k, const struct config_scalar *s, struct config *c,
		    struct config_why *why)
{
	struct config_cidr *list = (void *)((char *)c + k->offset);
	unsigned int *n = (void *)((char *)c + k->count);
	struct config_cidr cidr = { 0 };
	int err = parse_cidr(s, &cidr, why);

	if (err)
		return err;
	if (*n == CONFIG_CIDRS_MAX)
		return refuse(why, "\"%s\" holds at most %d prefixes", k->full, CONFIG_CIDRS_MAX);
	list[*n].addr = cidr.addr;
	list[*n].len = cidr.len;
	++*n;
	return 0;
}

static int add_rule(const struct config_key *k, const struct config_scalar *s, struct config *c,
		    struct config_why *why)
{
	char err[POLICY_ERROR_STR];
	struct policy_rule r;

	if (policy_parse(s->text, s->len, &r, err) || policy_add(&c->policy, &r, "file", NULL, err))
		return refuse(why, "\"%s\": %s", k->full, err);
	return 0;
}

int config_value_add(const struct config_key *k, const struct config_scalar *s, struct config *c,
		     struct config_why *why)
{
	if (k->type == CONFIG_T_NICS)
		return add_nic(k, s, c, why);
	if (k->type == CONFIG_T_RULES)
		return add_rule(k, s, c, why);
	return add_cidr(k, s, c, why);
}

int config_value_overlay(const struct config_scalar *port, const struct config_scalar *type,
			 struct config *c, struct config_why *why)
{
	char q[TEXT_QUOTE_MAX], names[64];
	int t = find_name(config_overlay_names, type);
	unsigned int i;
	uint32_t p = 0;

	if (parse_number(port, &p) || p < 1 || p > 65535)
		return refuse(why, "\"port\" must be a number from 1 to 65535, not \"%s\"",
			      quote(q, port));
	if (t < 0) {
		join(config_overlay_names, names, sizeof(names));
		return refuse(why, "\"type\" must be one of %s, not \"%s\"", names, quote(q, type));
	}
	for (i = 0; i < c->n_overlay; i++)
		if (c->overlay[i].port == htons((uint16_t)p))
			return refuse(why, "port %u is listed twice in \"overlay.ports\"", p);
	if (c->n_overlay == XM_OVERLAYS_MAX)
		return refuse(why, "\"overlay.ports\" holds at most %d entries", XM_OVERLAYS_MAX);
	c->overlay[c->n_overlay].port = htons((uint16_t)p);
	c->overlay[c->n_overlay].type = (uint16_t)(t + 1);
	c->n_overlay++;
	return 0;
}
