// SPDX-License-Identifier: GPL-2.0-only
/* Rules and packets as people write them. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy.h"
#include "text.h"

#define WORDS_MAX 24
#define WORD_MAX  48

static const char *const action_names[] = {
	[XM_POLICY_ALLOW] = "allow",
	[XM_POLICY_OVERLAY] = "overlay",
	[XM_POLICY_DENY] = "deny",
};
static const char *const dir_names[] = {
	[XM_POLICY_OUT] = "egress",
	[XM_POLICY_IN] = "ingress",
};
static const struct {
	const char *name;
	uint8_t number;
} protocols[] = {
	{ "tcp", IPPROTO_TCP },
	{ "udp", IPPROTO_UDP },
	{ "icmp", IPPROTO_ICMP },
	{ "sctp", IPPROTO_SCTP },
};

#define FORM                                                                        \
	"ACTION DIRECTION [tcp|udp|icmp|sctp|protocol N] [from CIDR [port N[-M]]] " \
	"[to CIDR [port N[-M]]] [priority N] [name WORD]"

const char *policy_action_name(unsigned int action)
{
	return action < XM_ARRAY_SIZE(action_names) ? action_names[action] : "?";
}

const char *policy_dir_name(unsigned int dir)
{
	return dir < XM_ARRAY_SIZE(dir_names) ? dir_names[dir] : "?";
}

static int XM_PRINTF(2, 3) refuse(char *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, POLICY_ERROR_STR, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- words ---- */

struct words {
	char v[WORDS_MAX][WORD_MAX];
	unsigned int n;
	unsigned int at; /* the next to be read */
};

static int split(const char *text, size_t len, struct words *w, char *err)
{
	char q[TEXT_QUOTE_MAX];
	size_t i = 0, n;

	memset(w, 0, sizeof(*w));
	for (;;) {
		while (i < len && (text[i] == ' ' || text[i] == '\t'))
			i++;
		if (i == len)
			return 0;
		for (n = 0; i + n < len && text[i + n] != ' ' && text[i + n] != '\t'; n++)
			if ((unsigned char)text[i + n] < 0x20 || text[i + n] == 0x7f)
				return refuse(err, "control characters have no place in it");
		if (n >= WORD_MAX)
			return refuse(err, "\"%s\" is too long for a word of it",
				      text_quote(q, text + i, n));
		if (w->n == WORDS_MAX)
			return refuse(err, "it has too many words");
		memcpy(w->v[w->n++], text + i, n);
		i += n;
	}
}

static const char *peek(const struct words *w)
{
	return w->at < w->n ? w->v[w->at] : NULL;
}

/* The word that must follow @what. */
static const char *take(struct words *w, const char *what, const char *wanted, char *err)
{
	if (w->at < w->n)
		return w->v[w->at++];
	refuse(err, "\"%s\" must be followed by %s", what, wanted);
	return NULL;
}

/* Decimal, no sign, no leading zeros. */
static int number(const char *s, size_t len, uint32_t max, uint32_t *out)
{
	uint32_t v = 0;

	if (!len || len > 5 || (len > 1 && s[0] == '0'))
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return -EINVAL;
		v = v * 10 + (uint32_t)(s[i] - '0');
	}
	*out = v;
	return v > max ? -EINVAL : 0;
}

static int find(const char *const *names, unsigned int n, const char *word)
{
	for (unsigned int i = 0; i < n; i++)
		if (!strcmp(names[i], word))
			return (int)i;
	return -1;
}

static const char *near(const char *const *names, unsigned int n, const char *word)
{
	for (unsigned int i = 0; i < n; i++)
		if (text_close(word, names[i]))
			return names[i];
	return NULL;
}

static int one_of(const char *const *names, unsigned int n, const char *word, const char *what,
		  char *err)
{
	int i = word ? find(names, n, word) : -1;
	const char *maybe = word ? near(names, n, word) : NULL;
	char q[TEXT_QUOTE_MAX];

	if (i >= 0)
		return i;
	if (!word)
		return refuse(err, "%s is missing; a rule is " FORM, what);
	if (maybe)
		return refuse(err, "\"%s\" is no %s; did you mean \"%s\"?",
			      text_quote(q, word, strlen(word)), what, maybe);
	return refuse(err, "\"%s\" is no %s; a rule is " FORM, text_quote(q, word, strlen(word)),
		      what);
}

/* ---- parts of a rule ---- */

static int parse_where(struct words *w, const char *side, __be32 *addr, __be32 *mask, bool *given,
		       char *err)
{
	const char *s = take(w, side, "any, an address or a prefix such as 10.244.1.0/24", err);
	char q[TEXT_QUOTE_MAX], str[XM_ADDR_STR];
	const char *slash;
	uint32_t len = 32, m;
	size_t n;

	if (!s)
		return -EINVAL;
	if (!strcmp(s, "any"))
		return 0;
	slash = strchr(s, '/');
	n = slash ? (size_t)(slash - s) : strlen(s);
	text_quote(q, s, strlen(s));
	if (strchr(s, ':'))
		return refuse(
			err,
			"\"%s\": a rule names IPv4 addresses only; IPv6 is met by rules without address, protocol and port",
			q);
	if (text_parse_addr(s, n, addr))
		return refuse(err,
			      "\"%s\" is neither any nor an IPv4 address or prefix such as "
			      "10.244.1.0/24",
			      q);
	if (slash && number(slash + 1, strlen(slash + 1), 32, &len))
		return refuse(err, "\"%s\": the prefix length must be 0 to 32", q);
	m = len ? ~0u << (32 - len) : 0;
	*mask = htonl(m);
	if (ntohl(*addr) & ~m)
		return refuse(err, "\"%s\" has host bits set; did you mean \"%s/%u\"?", q,
			      text_addr(str, *addr & *mask), len);
	*given = true;
	return 0;
}

static int parse_ports(struct words *w, __u16 *first, __u16 *span, char *err)
{
	const char *s = take(w, "port", "a port or a range such as 8000-8099", err), *dash;
	char q[TEXT_QUOTE_MAX];
	uint32_t a = 0, b = 0;
	size_t n;

	if (!s)
		return -EINVAL;
	dash = strchr(s, '-');
	n = dash ? (size_t)(dash - s) : strlen(s);
	text_quote(q, s, strlen(s));
	if (number(s, n, 65535, &a) || (dash && number(dash + 1, strlen(dash + 1), 65535, &b)))
		return refuse(err,
			      "\"%s\" is no port: a number from 0 to 65535, or a range such as "
			      "8000-8099",
			      q);
	if (!dash)
		b = a;
	if (b < a)
		return refuse(err, "\"%s\": the range is empty; did you mean \"%u-%u\"?", q, b, a);
	*first = (__u16)a;
	*span = (__u16)(b - a);
	return 0;
}

/* Which parts a rule has had. */
struct seen {
	bool protocol, from, to, priority, name;
};

static int once(bool *seen, const char *what, char *err)
{
	if (*seen)
		return refuse(err, "\"%s\" is given twice", what);
	*seen = true;
	return 0;
}

/* Return: 1 when @word was a protocol. */
static int parse_protocol(struct words *w, const char *word, struct policy_rule *r, struct seen *s,
			  char *err)
{
	uint32_t v = 0;
	unsigned int i;
	const char *n;

	if (!strcmp(word, "protocol")) {
		w->at++;
		n = take(w, word, "any or a number from 0 to 255, such as 47", err);
		if (!n || once(&s->protocol, "protocol", err))
			return -EINVAL;
		if (!strcmp(n, "any"))
			return 1;
		for (i = 0; i < XM_ARRAY_SIZE(protocols); i++)
			if (!strcmp(n, protocols[i].name))
				v = protocols[i].number;
		if (!v && number(n, strlen(n), 255, &v)) {
			char q[TEXT_QUOTE_MAX];

			return refuse(
				err,
				"\"%s\" is no protocol: tcp, udp, icmp, sctp, any, or a number from 0 to 255",
				text_quote(q, n, strlen(n)));
		}
	} else {
		for (i = 0; i < XM_ARRAY_SIZE(protocols); i++)
			if (!strcmp(word, protocols[i].name))
				break;
		if (i == XM_ARRAY_SIZE(protocols))
			return 0;
		w->at++;
		if (once(&s->protocol, "protocol", err))
			return -EINVAL;
		v = protocols[i].number;
	}
	r->r.proto = (__u8)v;
	r->r.proto_mask = 0xff;
	return 1;
}

static int parse_side(struct words *w, bool to, struct policy_rule *r, char *err)
{
	struct xm_rule *x = &r->r;
	int ret = to ? parse_where(w, "to", &x->daddr, &x->dmask, &r->to, err)
		     : parse_where(w, "from", &x->saddr, &x->smask, &r->from, err);

	if (ret || !peek(w) || strcmp(peek(w), "port"))
		return ret;
	w->at++;
	return to ? parse_ports(w, &x->dport, &x->dspan, err)
		  : parse_ports(w, &x->sport, &x->sspan, err);
}

static int parse_priority(struct words *w, struct policy_rule *r, char *err)
{
	const char *s =
		take(w, "priority", "a number from 0 to 65535, the lowest is asked first", err);
	char q[TEXT_QUOTE_MAX];
	uint32_t v = 0;

	if (!s)
		return -EINVAL;
	if (number(s, strlen(s), POLICY_PRIORITY_MAX, &v))
		return refuse(err, "\"%s\" is no priority: a number from 0 to 65535",
			      text_quote(q, s, strlen(s)));
	r->priority = (uint16_t)v;
	return 0;
}

static int parse_name(struct words *w, struct policy_rule *r, char *err)
{
	const char *s = take(w, "name", "a word", err);
	char q[TEXT_QUOTE_MAX];
	size_t len;

	if (!s)
		return -EINVAL;
	len = strlen(s);
	if (len >= POLICY_NAME_MAX ||
	    len != strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"))
		return refuse(
			err,
			"\"%s\" is no name: at most %d letters, digits, dots, dashes and underscores",
			text_quote(q, s, len), POLICY_NAME_MAX - 1);
	memcpy(r->name, s, len + 1);
	return 0;
}

static int parse_part(struct words *w, struct policy_rule *r, struct seen *s, char *err)
{
	static const char *const parts[] = { "from", "to",  "priority", "name", "protocol",
					     "port", "tcp", "udp",	"icmp", "sctp" };
	const char *word = peek(w), *maybe;
	int ret = parse_protocol(w, word, r, s, err);
	char q[TEXT_QUOTE_MAX];

	if (ret)
		return ret < 0 ? ret : 0;
	w->at++;
	if (!strcmp(word, "from"))
		return once(&s->from, word, err) ?: parse_side(w, false, r, err);
	if (!strcmp(word, "to"))
		return once(&s->to, word, err) ?: parse_side(w, true, r, err);
	if (!strcmp(word, "priority"))
		return once(&s->priority, word, err) ?: parse_priority(w, r, err);
	if (!strcmp(word, "name"))
		return once(&s->name, word, err) ?: parse_name(w, r, err);
	text_quote(q, word, strlen(word));
	if (!strcmp(word, "port"))
		return refuse(
			err,
			"\"port\" stands behind \"from\" or \"to\", such as \"to any port 80\"");
	maybe = near(parts, XM_ARRAY_SIZE(parts), word);
	if (maybe)
		return refuse(err, "\"%s\" is not understood; did you mean \"%s\"?", q, maybe);
	return refuse(err, "\"%s\" is not understood; a rule is " FORM, q);
}

/* What a packet must have for this rule to match. */
static int finish(struct policy_rule *r, unsigned int action, char *err)
{
	struct xm_rule *x = &r->r;
	bool ports = x->sspan != 65535 || x->dspan != 65535;

	if (ports && x->proto != IPPROTO_TCP && x->proto != IPPROTO_UDP && x->proto != IPPROTO_SCTP)
		return refuse(err,
			      "a rule with a port needs one of tcp, udp, sctp: write two rules "
			      "for two of them");
	if (r->from || r->to || x->proto_mask || ports)
		x->needs |= XM_LACKS_IPV4;
	if (ports)
		x->needs |= XM_LACKS_PORTS;
	/* A later fragment of what may pass must pass, and one of what is denied is of no use
	 * without the first. */
	if (ports && action == XM_POLICY_DENY)
		x->needs |= XM_LACKS_FIRST;
	x->verdict = action << 16;
	return 0;
}

int policy_parse(const char *text, size_t len, struct policy_rule *rule, char *err)
{
	struct policy_rule r;
	struct seen s = { false };
	int ret, action, dir;
	struct words w;

	memset(&r, 0, sizeof(r));
	r.priority = POLICY_PRIORITY;
	r.r.sspan = r.r.dspan = 65535;
	ret = split(text, len, &w, err);
	if (ret)
		return ret;
	action = one_of(action_names, XM_ARRAY_SIZE(action_names), peek(&w), "action", err);
	if (action < 0)
		return action;
	w.at++;
	dir = one_of(dir_names, XM_ARRAY_SIZE(dir_names), peek(&w), "direction", err);
	if (dir < 0)
		return dir;
	w.at++;
	r.dir = (uint8_t)dir;
	while (peek(&w)) {
		ret = parse_part(&w, &r, &s, err);
		if (ret)
			return ret;
	}
	ret = finish(&r, (unsigned int)action, err);
	if (!ret)
		*rule = r;
	return ret;
}

/* ---- back to text ---- */

struct out {
	char *buf;
	size_t len, size;
};

static void XM_PRINTF(2, 3) put(struct out *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(o->buf + o->len, o->size - o->len, fmt, ap);
	va_end(ap);
	if (n > 0 && o->len + (size_t)n < o->size)
		o->len += (size_t)n;
}

static void put_protocol(struct out *o, unsigned int number_)
{
	for (unsigned int i = 0; i < XM_ARRAY_SIZE(protocols); i++)
		if (protocols[i].number == number_) {
			put(o, " %s", protocols[i].name);
			return;
		}
	put(o, " protocol %u", number_);
}

static void put_side(struct out *o, const char *side, bool given, __be32 addr, __be32 mask,
		     unsigned int port, unsigned int span)
{
	char a[XM_ADDR_STR];

	if (!given && span == 65535)
		return;
	if (!given)
		put(o, " %s any", side);
	else if (mask == 0xffffffff)
		put(o, " %s %s", side, text_addr(a, addr));
	else
		put(o, " %s %s/%d", side, text_addr(a, addr), __builtin_popcount(mask));
	if (span == 65535)
		return;
	put(o, " port %u", port);
	if (span)
		put(o, "-%u", port + span);
}

const char *policy_format(char buf[POLICY_RULE_STR], const struct policy_rule *r)
{
	struct out o = { .buf = buf, .size = POLICY_RULE_STR };
	const struct xm_rule *x = &r->r;

	put(&o, "%s %s", policy_action_name(policy_action(r)), policy_dir_name(r->dir));
	if (x->proto_mask)
		put_protocol(&o, x->proto);
	put_side(&o, "from", r->from, x->saddr, x->smask, x->sport, x->sspan);
	put_side(&o, "to", r->to, x->daddr, x->dmask, x->dport, x->dspan);
	if (r->priority != POLICY_PRIORITY)
		put(&o, " priority %u", r->priority);
	if (r->name[0])
		put(&o, " name %s", r->name);
	return buf;
}

/* ---- packets ---- */

static bool has_ports(unsigned int proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_SCTP;
}

static int parse_end(const char *s, bool ports, __be32 *addr, __u16 *port, char *err)
{
	const char *colon = s ? strchr(s, ':') : NULL;
	size_t n = colon ? (size_t)(colon - s) : s ? strlen(s) : 0;
	char q[TEXT_QUOTE_MAX];
	uint32_t v = 0;

	if (!s)
		return refuse(err,
			      "an address is missing; a packet is such as "
			      "tcp 10.244.1.2:40000 10.244.2.3:80, or icmp 10.244.1.2 10.244.2.3");
	text_quote(q, s, strlen(s));
	if (text_parse_addr(s, n, addr))
		return refuse(err, "\"%s\" does not begin with an IPv4 address", q);
	if (!ports && colon)
		return refuse(err, "\"%s\": this protocol has no ports", q);
	if (!ports)
		return 0;
	if (!colon || number(colon + 1, strlen(colon + 1), 65535, &v))
		return refuse(err, "\"%s\" must be an address and a port such as 10.244.2.3:80", q);
	*port = (__u16)v;
	return 0;
}

int policy_parse_packet(const char *text, struct xm_policy_packet *p, char *err)
{
	struct policy_rule r = { .dir = 0 };
	struct seen s = { false };
	char plain[POLICY_PACKET_STR * 2], *arrow;
	struct words w;
	int ret;

	memset(p, 0, sizeof(*p));
	/* As ctl_format_flow() writes it, too. */
	snprintf(plain, sizeof(plain), "%s", text);
	arrow = strstr(plain, "->");
	if (arrow)
		arrow[0] = arrow[1] = ' ';
	ret = split(plain, strlen(plain), &w, err);
	if (ret)
		return ret;
	ret = peek(&w) ? parse_protocol(&w, peek(&w), &r, &s, err) : 0;
	if (ret < 0)
		return ret;
	if (!ret || !r.r.proto_mask)
		return refuse(err, "a packet begins with its protocol: tcp, udp, icmp, sctp or "
				   "protocol N");
	p->proto = r.r.proto;
	p->lacks = has_ports(p->proto) ? XM_LACKS_NOTHING : XM_LACKS_PORTS;
	ret = parse_end(peek(&w), has_ports(p->proto), &p->saddr, &p->sport, err);
	if (ret)
		return ret;
	w.at++;
	ret = parse_end(peek(&w), has_ports(p->proto), &p->daddr, &p->dport, err);
	if (ret)
		return ret;
	if (++w.at < w.n)
		return refuse(err, "\"%s\" is one word too many for a packet", w.v[w.at]);
	return 0;
}

const char *policy_format_packet(char buf[POLICY_PACKET_STR], const struct xm_policy_packet *p)
{
	struct out o = { .buf = buf, .size = POLICY_PACKET_STR };
	char s[XM_ADDR_STR], d[XM_ADDR_STR];

	put_protocol(&o, p->proto);
	text_addr(s, p->saddr);
	text_addr(d, p->daddr);
	if (has_ports(p->proto))
		put(&o, " %s:%u->%s:%u", s, p->sport, d, p->dport);
	else
		put(&o, " %s->%s", s, d);
	memmove(buf, buf + 1, o.len); /* the blank in front */
	return buf;
}
