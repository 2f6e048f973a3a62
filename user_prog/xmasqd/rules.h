/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules: those of the configuration and live ones, put in force together.
 *
 * Live rules are in the file "policy" of the state directory, which is written before they are in
 * force. Flows that rules no longer allow are deleted, with their labels, so that the next packet
 * of each meets the rules.
 */
#ifndef XM_RULES_H
#define XM_RULES_H

#include "daemon.h"

/** rules_start() - live rules of an earlier run, and all in force; before programs are attached */
int rules_start(struct daemon *d);

/** rules_apply() - after a change of either list. Return: 0 or -errno, logged, when flows are left */
int rules_apply(struct daemon *d);

/**
 * rules_take_off() - take flows off the fast path that the rules in force do not allow
 * @n: how many there were
 */
int rules_take_off(struct daemon *d, size_t *n);

/** rules_save() - write this list to the state file. Return: 0 or -errno */
int rules_save(struct daemon *d, const struct policy_list *l);

/** rules_forget() - at a cleanup: no live rules for the next run. Return: 0 or -errno, logged */
int rules_forget(struct daemon *d);

struct trace_rule;
/** rules_ask() - what they say of a packet. Return: index in d->rules of the rule, -1 for none */
int rules_ask(const struct daemon *d, const struct xm_policy_packet *p, int dir,
	      struct trace_rule *out);

#endif
