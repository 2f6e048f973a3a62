// SPDX-License-Identifier: GPL-2.0-only
#include "rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "statefile.h"
#include "trace.h"

#define RULES_FILE "policy"

static bool not_allowed(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	const struct xm_flow_key back = policy_key_back(key);

	/* With both pods on this node there are rules for either, and each direction is an entry. */
	return !policy_allows(arg, key) ||
	       (f->stage == XM_STAGE_LOCAL && !policy_allows(arg, &back));
}

int rules_take_off(struct daemon *d, size_t *n)
{
	void *rules = (void *)datapath_policy(&d->dp);
	int err = datapath_clock(&d->dp);

	*n = 0;
	if (err)
		return err;
	err = datapath_flows_del_if(&d->dp, not_allowed, rules, n);
	datapath_labels_del_if(&d->dp, not_allowed, rules);
	return err;
}

int rules_apply(struct daemon *d)
{
	struct xm_policy_half *table = malloc(sizeof(*table));
	size_t n[2] = { 0 };
	int err, err2;

	if (!table) {
		log_error("rules are not changed: %s", strerror(ENOMEM));
		return -ENOMEM;
	}
	policy_compile(&d->live, &d->cfg.policy, datapath_policy(&d->dp), table, &d->rules);
	for (unsigned int i = 0; i < d->rules.n; i++)
		if (d->rules.v[i].fresh)
			datapath_rule_reset(&d->dp, d->rules.v[i].slot);
	datapath_policy_set(&d->dp, table);
	free(table);
	/* At once; and what a program that was under way with the old rules may have granted since. */
	err = rules_take_off(d, &n[0]);
	datapath_policy_settle();
	err2 = rules_take_off(d, &n[1]);
	err = err ?: err2;
	if (err)
		log_error(
			"new rules are in force, but not all live flows could be asked: %s; xmasqctl flush --all takes them off the fast path",
			strerror(-err));
	else if (d->rules.n || n[0] || n[1])
		log_info("%u rules in force, %zu flows taken off the fast path", d->rules.n,
			 n[0] + n[1]);
	return err;
}

static void on_bad_line(void *arg, unsigned int line, const char *why)
{
	const struct daemon *d = arg;

	log_error("%s/%s:%u: %s; this live rule is not in force", d->cfg.state_dir, RULES_FILE,
		  line, why);
}

int rules_start(struct daemon *d)
{
	char *text;
	int err;

	err = statefile_read(d->cfg.state_dir, RULES_FILE, &text);
	if (err) {
		log_error("cannot read live rules from %s/%s: %s", d->cfg.state_dir, RULES_FILE,
			  strerror(-err));
		return err;
	}
	policy_read_lines(text, &d->live, on_bad_line, d);
	free(text);
	return rules_apply(d);
}

int rules_save(struct daemon *d, const struct policy_list *l)
{
	char *text = policy_lines(l);
	int err = text ? statefile_write(d->cfg.state_dir, RULES_FILE, text) : -ENOMEM;

	free(text);
	return err;
}

int rules_forget(struct daemon *d)
{
	int err = statefile_write(d->cfg.state_dir, RULES_FILE, "");

	if (err)
		log_error("cannot remove live rules in %s/%s: %s", d->cfg.state_dir, RULES_FILE,
			  strerror(-err));
	return err;
}

int rules_ask(const struct daemon *d, const struct xm_policy_packet *p, int dir,
	      struct trace_rule *out)
{
	uint32_t v = xm_policy_decide(datapath_policy(&d->dp), p, dir);
	int i = policy_by_slot(&d->rules, v);

	memset(out, 0, sizeof(*out));
	out->action = XM_VERDICT_ACTION(v);
	if (i < 0)
		return i;
	memcpy(out->name, d->rules.v[i].rule->name, sizeof(out->name));
	out->live = d->rules.v[i].live;
	return i;
}
