// SPDX-License-Identifier: GPL-2.0-only
/* xmasqctl policy: what it lists, changes and tells of a packet. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonx.h"
#include "log.h"
#include "requests.h"
#include "rules.h"
#include "trace.h"

static const char *origin(bool live)
{
	return live ? "live" : "file";
}

/* ---- list ---- */

static struct json_object *rule_json(const struct daemon *d, unsigned int i,
				     const struct xm_counter *c)
{
	const struct policy_rule *r = d->rules.v[i].rule;
	struct json_object *o = json_object_new_object();
	char text[POLICY_RULE_STR];

	c += d->rules.v[i].slot;
	if (o && jsonx_put_str(o, "name", r->name) &&
	    jsonx_put_str(o, "origin", origin(d->rules.v[i].live)) &&
	    jsonx_put_u64(o, "priority", r->priority) &&
	    jsonx_put_str(o, "action", policy_action_name(policy_action(r))) &&
	    jsonx_put_str(o, "direction", policy_dir_name(r->dir)) &&
	    jsonx_put_str(o, "rule", policy_format(text, r)) &&
	    jsonx_put_u64(o, "packets", c->packets) && jsonx_put_u64(o, "bytes", c->bytes))
		return o;
	json_object_put(o);
	return NULL;
}

static int list(struct daemon *d, struct json_object **result)
{
	struct json_object *o = json_object_new_object(), *rules = json_object_new_array();
	struct xm_counter c[XM_RULES_MAX];
	bool ok = jsonx_put(o, "rules", rules) && jsonx_put_str(o, "default", "allow");
	int err = ok ? datapath_rule_counters(&d->dp, c) : -ENOMEM;

	for (unsigned int i = 0; !err && i < d->rules.n; i++)
		if (!jsonx_append(rules, rule_json(d, i, c)))
			err = -ENOMEM;
	if (err)
		json_object_put(o);
	else
		*result = o;
	return err;
}

/* ---- changes ---- */

/* In force when the client hears of it. */
static int change(struct daemon *d, const struct policy_list *next, char *why, size_t why_len)
{
	int err = rules_save(d, next);

	if (err) {
		snprintf(why, why_len, "rules are not changed: %s cannot be written: %s",
			 d->cfg.state_dir, strerror(-err));
		return err;
	}
	d->live = *next;
	err = rules_apply(d);
	if (err)
		snprintf(
			why, why_len,
			"rules are changed, but not all live flows could be asked: %s; see the log",
			strerror(-err));
	return err;
}

static int done(struct json_object **result, const char *what, const struct policy_rule *r)
{
	char text[POLICY_RULE_STR];

	*result = json_object_new_object();
	if (*result && jsonx_put_str(*result, what, policy_format(text, r)) &&
	    jsonx_put_str(*result, "name", r->name))
		return 0;
	json_object_put(*result);
	*result = NULL;
	return -ENOMEM;
}

static int add(struct daemon *d, const char *text, struct json_object **result, char *why,
	       size_t why_len)
{
	struct policy_list *next = malloc(sizeof(*next));
	char err_text[POLICY_ERROR_STR];
	struct policy_rule r;
	int err;

	if (!next)
		return -ENOMEM;
	*next = d->live;
	err = policy_parse(text, strlen(text), &r, err_text);
	err = err ?: policy_add(next, &r, "live", &d->cfg.policy, err_text);
	if (err)
		snprintf(why, why_len, "%s", err_text);
	else
		err = change(d, next, why, why_len);
	r = next->v[next->n ? next->n - 1 : 0];
	free(next);
	if (err)
		return err;
	log_info("live rule %s added on request", r.name);
	return done(result, "added", &r);
}

static int del(struct daemon *d, const char *name, struct json_object **result, char *why,
	       size_t why_len)
{
	int i = policy_find(&d->live, name), err;
	struct policy_list *next;
	struct policy_rule r;

	if (i < 0) {
		if (policy_find(&d->cfg.policy, name) >= 0)
			snprintf(why, why_len,
				 "rule %s is in %s: remove it there and reload xmasqd", name,
				 d->config_path);
		else
			snprintf(why, why_len, "no live rule %s; see xmasqctl policy list", name);
		return -ENOENT;
	}
	next = malloc(sizeof(*next));
	if (!next)
		return -ENOMEM;
	*next = d->live;
	r = next->v[i];
	policy_del(next, (unsigned int)i);
	err = change(d, next, why, why_len);
	free(next);
	if (err)
		return err;
	log_info("live rule %s removed on request", name);
	return done(result, "removed", &r);
}

/* ---- test ---- */

/* Whether programs are attached to the pod, and judge its packets. */
static bool is_judged(const struct daemon *d, __be32 addr)
{
	for (size_t i = 0; i < d->want.n; i++)
		for (unsigned int k = 0; k < d->want.v[i].n_addrs; k++)
			if (d->want.v[i].key.role == RECONCILE_POD &&
			    d->want.v[i].addrs[k] == addr &&
			    attach_find(d, d->want.v[i].key.ifindex))
				return true;
	return false;
}

static struct json_object *verdict_json(const struct daemon *d, const struct xm_policy_packet *p,
					int dir, bool *dropped)
{
	bool local = is_judged(d, dir == XM_POLICY_OUT ? p->saddr : p->daddr);
	struct json_object *o = json_object_new_object();
	char text[POLICY_RULE_STR];
	struct trace_rule r;
	int i = rules_ask(d, p, dir, &r);

	*dropped |= local && r.action == XM_POLICY_DENY;
	if (o && jsonx_put_bool(o, "local", local) &&
	    jsonx_put_str(o, "action", policy_action_name(r.action)) &&
	    (i < 0 ? jsonx_put_null(o, "name") : jsonx_put_str(o, "name", r.name)) &&
	    (i < 0 ? jsonx_put_null(o, "origin") : jsonx_put_str(o, "origin", origin(r.live))) &&
	    (i < 0 ? jsonx_put_null(o, "rule")
		   : jsonx_put_str(o, "rule", policy_format(text, d->rules.v[i].rule))))
		return o;
	json_object_put(o);
	return NULL;
}

static int test(struct daemon *d, const char *text, struct json_object **result, char *why,
		size_t why_len)
{
	struct json_object *o = json_object_new_object();
	char err_text[POLICY_ERROR_STR], packet[POLICY_PACKET_STR];
	struct xm_policy_packet p;
	bool dropped = false;

	if (policy_parse_packet(text, &p, err_text)) {
		snprintf(why, why_len, "%s", err_text);
		json_object_put(o);
		return -EINVAL;
	}
	if (o && jsonx_put_str(o, "packet", policy_format_packet(packet, &p)) &&
	    jsonx_put(o, "egress", verdict_json(d, &p, XM_POLICY_OUT, &dropped)) &&
	    jsonx_put(o, "ingress", verdict_json(d, &p, XM_POLICY_IN, &dropped)) &&
	    jsonx_put_bool(o, "dropped", dropped)) {
		*result = o;
		return 0;
	}
	json_object_put(o);
	return -ENOMEM;
}

int requests_policy(struct daemon *d, const struct ctl_request *req, struct json_object **result,
		    char *why, size_t why_len)
{
	switch (req->policy.what) {
	case CTL_POLICY_LIST:
		return list(d, result);
	case CTL_POLICY_ADD:
		return add(d, req->policy.text, result, why, why_len);
	case CTL_POLICY_DEL:
		return del(d, req->policy.text, result, why, why_len);
	case CTL_POLICY_TEST:
		return test(d, req->policy.text, result, why, why_len);
	}
	return -EOPNOTSUPP;
}
