/* SPDX-License-Identifier: GPL-2.0-only */
/* The suites of xmasq-prog-test, and its options. */
#ifndef SUITES_H
#define SUITES_H

#include <linux/types.h>

struct options {
	__u64 seed;
	unsigned int rounds;
};

extern struct options options;

void suite_admit(void);
void suite_pod_egress(void);
void suite_nic_egress(void);
void suite_told(void);
void suite_nic_ingress(void);
void suite_refused(void);
void suite_labels(void);
void suite_pod_ingress(void);
void suite_local(void);
void suite_known(void);
void suite_life(void);
void suite_live(void);
void suite_trace(void);
void suite_policy(void);
void suite_fuzz(void);

struct node;
/** policy_rules() - the node's programs have these rules until node_reset(); NULL ends the list */
void policy_rules(struct node *node, const char *const *texts);

/** suite_reasons() - last: every reason was seen by the suites before, or is listed */
void suite_reasons(void);

/**
 * verifier_report() - loads every program of an object and prints what it costs
 * @path: of the object, NULL for the one built in
 *
 * Return: 0, or -errno when a program does not load.
 */
int verifier_report(const char *path);

/** lookups_report() - what a packet costs by the number of flows, as JSON. Return: 0 or -errno */
int lookups_report(void);

#endif
