/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules: text to struct and back, the order in which they are asked, and the table that the
 * programs read. Pure.
 *
 *   ACTION DIRECTION [PROTOCOL] [from WHERE [port N[-M]]] [to WHERE [port N[-M]]]
 *          [priority N] [name WORD]
 *
 * is the one form that people write, in the configuration, on the command line and in the state file.
 */
#ifndef XM_CORE_POLICY_H
#define XM_CORE_POLICY_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xm_policy.h"
#include "xm_types.h"

#define POLICY_NAME_MAX	    32 /* with its NUL */
#define POLICY_RULE_STR	    192
#define POLICY_PACKET_STR   64
#define POLICY_ERROR_STR    256
#define POLICY_FILE_MAX	    (XM_RULES_MAX / 2) /* rules in the configuration */
#define POLICY_LIVE_MAX	    (XM_RULES_MAX / 2)
#define POLICY_PRIORITY	    1000 /* unless a rule says another one */
#define POLICY_PRIORITY_MAX 65535

/**
 * struct policy_rule - a rule
 * @r: as the programs have it; the slot in its verdict is that of policy_compile()
 * @dir: enum xm_policy_dir
 * @from, @to: an address was given; otherwise any
 * @priority: the lowest is asked first
 * @name: "" none given
 */
struct policy_rule {
	struct xm_rule r;
	uint16_t priority;
	uint8_t dir;
	bool from, to;
	char name[POLICY_NAME_MAX];
};

/** struct policy_list - rules in the order in which they were given */
struct policy_list {
	struct policy_rule v[XM_RULES_MAX / 2];
	unsigned int n;
};

/**
 * policy_parse() - read a rule
 * @text: need not end with NUL
 * @err: POLICY_ERROR_STR bytes: what is wrong and what is allowed
 *
 * Return: 0 or -EINVAL with @err.
 */
int policy_parse(const char *text, size_t len, struct policy_rule *rule, char *err);

/** policy_format() - what policy_parse() reads back as the same rule. Return: @buf */
const char *policy_format(char buf[POLICY_RULE_STR], const struct policy_rule *rule);

/** policy_action() - enum xm_policy_action of a rule */
unsigned int policy_action(const struct policy_rule *rule);
const char *policy_action_name(unsigned int action);
const char *policy_dir_name(unsigned int dir);

/** policy_find() - index of the rule with this name, -1 for none */
int policy_find(const struct policy_list *l, const char *name);

/**
 * policy_add() - append a rule; one without a name gets @prefix and a number
 * @other: names that are taken, too; may be NULL
 * @err: POLICY_ERROR_STR bytes
 *
 * Return: 0, -EEXIST or -ENOSPC with @err.
 */
int policy_add(struct policy_list *l, const struct policy_rule *rule, const char *prefix,
	       const struct policy_list *other, char *err);

/** policy_del() - remove the @i'th */
void policy_del(struct policy_list *l, unsigned int i);

bool policy_equal(const struct policy_list *a, const struct policy_list *b);

/**
 * policy_lines() - text for the state file, one rule in each line
 *
 * Return: text that the caller frees, "" without rules; NULL when out of memory.
 */
char *policy_lines(const struct policy_list *l);

typedef void (*policy_bad_fn)(void *arg, unsigned int line, const char *why);
/** policy_read_lines() - the same back; @bad is told of lines that are no rules, and they are left out */
void policy_read_lines(const char *text, struct policy_list *l, policy_bad_fn bad, void *arg);

/**
 * struct policy_order - all rules in the order in which they are asked
 * @rule: of either list
 * @live: it is a live one
 * @slot: of its counter
 * @fresh: the slot was another rule's or nobody's: its counter starts at 0
 */
struct policy_order {
	struct {
		const struct policy_rule *rule;
		bool live;
		bool fresh;
		uint16_t slot;
	} v[XM_RULES_MAX];
	unsigned int n;
};

/**
 * policy_compile() - order of both lists, and the table for the programs
 * @old: the table until now: a rule that is in it, whatever its place, keeps its slot
 *
 * @o points into both lists.
 */
void policy_compile(const struct policy_list *live, const struct policy_list *file,
		    const struct xm_policy_half *old, struct xm_policy_half *table,
		    struct policy_order *o);

/** policy_by_slot() - index in @o of the rule that a verdict names, -1 for none */
int policy_by_slot(const struct policy_order *o, uint32_t verdict);

/** policy_packet() - the packet of a tuple, in the tuple's own direction */
struct xm_policy_packet policy_packet(const struct xm_flow_key *key);

/** policy_key_back() - the flow as the other end sends it */
struct xm_flow_key policy_key_back(const struct xm_flow_key *key);

/** policy_allows() - whether both directions of a local pod's flow may be accelerated */
bool policy_allows(const struct xm_policy_half *t, const struct xm_flow_key *key);

/**
 * policy_parse_packet() - "tcp A:P B:Q", "icmp A B", "protocol 47 A B", or with "->"
 *
 * Return: 0 or -EINVAL with @err (POLICY_ERROR_STR bytes).
 */
int policy_parse_packet(const char *text, struct xm_policy_packet *p, char *err);
const char *policy_format_packet(char buf[POLICY_PACKET_STR], const struct xm_policy_packet *p);

#endif
