// SPDX-License-Identifier: GPL-2.0-only
/* Lists of rules, and the table made of them. policy_text.c reads and writes them. */
#include "policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

unsigned int policy_action(const struct policy_rule *rule)
{
	return XM_VERDICT_ACTION(rule->r.verdict);
}

int policy_find(const struct policy_list *l, const char *name)
{
	for (unsigned int i = 0; i < l->n; i++)
		if (!strcmp(l->v[i].name, name))
			return (int)i;
	return -1;
}

static bool taken(const struct policy_list *l, const struct policy_list *other, const char *name)
{
	return policy_find(l, name) >= 0 || (other && policy_find(other, name) >= 0);
}

int policy_add(struct policy_list *l, const struct policy_rule *rule, const char *prefix,
	       const struct policy_list *other, char *err)
{
	struct policy_rule *r = &l->v[l->n];

	if (l->n == XM_ARRAY_SIZE(l->v)) {
		snprintf(err, POLICY_ERROR_STR, "at most %zu rules fit", XM_ARRAY_SIZE(l->v));
		return -ENOSPC;
	}
	if (rule->name[0] && taken(l, other, rule->name)) {
		snprintf(err, POLICY_ERROR_STR, "there is a rule with the name \"%s\" already",
			 rule->name);
		return -EEXIST;
	}
	*r = *rule;
	for (unsigned int i = 1; !r->name[0]; i++) {
		char name[POLICY_NAME_MAX];

		snprintf(name, sizeof(name), "%.20s%u", prefix, i);
		if (!taken(l, other, name))
			memcpy(r->name, name, sizeof(name));
	}
	l->n++;
	return 0;
}

void policy_del(struct policy_list *l, unsigned int i)
{
	l->n--;
	memmove(&l->v[i], &l->v[i + 1], (l->n - i) * sizeof(l->v[0]));
}

/* Without the slot. */
static bool same_rule(const struct xm_rule *a, const struct xm_rule *b)
{
	struct xm_rule x = *a, y = *b;

	x.verdict = XM_VERDICT_ACTION(x.verdict);
	y.verdict = XM_VERDICT_ACTION(y.verdict);
	return !memcmp(&x, &y, sizeof(x));
}

bool policy_equal(const struct policy_list *a, const struct policy_list *b)
{
	if (a->n != b->n)
		return false;
	for (unsigned int i = 0; i < a->n; i++) {
		const struct policy_rule *x = &a->v[i], *y = &b->v[i];

		if (!same_rule(&x->r, &y->r) || x->priority != y->priority || x->dir != y->dir ||
		    strcmp(x->name, y->name))
			return false;
	}
	return true;
}

char *policy_lines(const struct policy_list *l)
{
	char *text = malloc(l->n * (POLICY_RULE_STR + 1) + 1), *p = text;
	char rule[POLICY_RULE_STR];

	if (!text)
		return NULL;
	*p = '\0';
	for (unsigned int i = 0; i < l->n; i++)
		p += sprintf(p, "%s\n", policy_format(rule, &l->v[i]));
	return text;
}

void policy_read_lines(const char *text, struct policy_list *l, policy_bad_fn bad, void *arg)
{
	unsigned int line = 0;

	memset(l, 0, sizeof(*l));
	while (*text) {
		size_t len = strcspn(text, "\n");
		char err[POLICY_ERROR_STR];
		struct policy_rule r;

		line++;
		if (policy_parse(text, len, &r, err) || policy_add(l, &r, "live", NULL, err))
			bad(arg, line, err);
		text += len + (text[len] == '\n');
	}
}

/* ---- the table ---- */

static void merge(const struct policy_list *live, const struct policy_list *file,
		  struct policy_order *o)
{
	/* Of each priority the live ones first, each list in its order: insertion keeps it. */
	o->n = 0;
	for (unsigned int k = 0; k < live->n + file->n; k++) {
		bool is_live = k < live->n;
		const struct policy_rule *r = is_live ? &live->v[k] : &file->v[k - live->n];
		unsigned int i = o->n++;

		for (; i && o->v[i - 1].rule->priority > r->priority; i--)
			o->v[i] = o->v[i - 1];
		o->v[i].rule = r;
		o->v[i].live = is_live;
		o->v[i].fresh = true;
		o->v[i].slot = 0;
	}
}

/* The place of a rule in its direction's part of a table. */
static unsigned int place(unsigned int dir, unsigned int i)
{
	return dir == XM_POLICY_OUT ? i : XM_RULES_MAX - 1 - i;
}

/* Slots of rules that stay, then free ones for the others. */
static void give_slots(const struct xm_policy_half *old, struct policy_order *o)
{
	bool used[XM_RULES_MAX] = { false };
	unsigned int next = 0;

	for (unsigned int k = 0; k < o->n; k++) {
		const struct policy_rule *r = o->v[k].rule;

		for (unsigned int i = 0; i < old->n[r->dir] && i < XM_RULES_MAX; i++) {
			const struct xm_rule *was = &old->rule[place(r->dir, i)];
			unsigned int slot = XM_VERDICT_SLOT(was->verdict);

			if (slot >= XM_RULES_MAX || used[slot] || !same_rule(was, &r->r))
				continue;
			o->v[k].slot = (uint16_t)slot;
			o->v[k].fresh = false;
			used[slot] = true;
			break;
		}
	}
	for (unsigned int k = 0; k < o->n; k++) {
		if (!o->v[k].fresh)
			continue;
		while (used[next])
			next++;
		o->v[k].slot = (uint16_t)next;
		used[next] = true;
	}
}

void policy_compile(const struct policy_list *live, const struct policy_list *file,
		    const struct xm_policy_half *old, struct xm_policy_half *table,
		    struct policy_order *o)
{
	memset(table, 0, sizeof(*table));
	merge(live, file, o);
	give_slots(old, o);
	for (unsigned int k = 0; k < o->n; k++) {
		const struct policy_rule *r = o->v[k].rule;
		struct xm_rule *x = &table->rule[place(r->dir, table->n[r->dir]++)];

		*x = r->r;
		x->verdict = policy_action(r) << 16 | o->v[k].slot;
	}
}

int policy_by_slot(const struct policy_order *o, uint32_t verdict)
{
	for (unsigned int i = 0; i < o->n; i++)
		if (o->v[i].slot == XM_VERDICT_SLOT(verdict))
			return (int)i;
	return -1;
}

struct xm_policy_packet policy_packet(const struct xm_flow_key *key)
{
	return (struct xm_policy_packet){
		.saddr = key->saddr,
		.daddr = key->daddr,
		.sport = ntohs(key->sport),
		.dport = ntohs(key->dport),
		.proto = key->proto,
		.lacks = XM_LACKS_NOTHING,
	};
}

static unsigned int action_of(const struct xm_policy_half *t, const struct xm_policy_packet *p,
			      int dir)
{
	return XM_VERDICT_ACTION(xm_policy_decide(t, p, dir));
}

struct xm_flow_key policy_key_back(const struct xm_flow_key *key)
{
	return (struct xm_flow_key){
		.saddr = key->daddr,
		.daddr = key->saddr,
		.sport = key->dport,
		.dport = key->sport,
		.proto = key->proto,
	};
}

bool policy_allows(const struct xm_policy_half *t, const struct xm_flow_key *key)
{
	const struct xm_flow_key back = policy_key_back(key);
	struct xm_policy_packet out = policy_packet(key), in = policy_packet(&back);

	return action_of(t, &out, XM_POLICY_OUT) == XM_POLICY_ALLOW &&
	       action_of(t, &in, XM_POLICY_IN) == XM_POLICY_ALLOW;
}
