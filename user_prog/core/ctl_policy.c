// SPDX-License-Identifier: GPL-2.0-only
/* Requests about rules, from either end: checked in the same way by client and daemon. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "text.h"

static const char *const names[] = {
	[CTL_POLICY_LIST] = "list",
	[CTL_POLICY_ADD] = "add",
	[CTL_POLICY_DEL] = "del",
	[CTL_POLICY_TEST] = "test",
};

const char *ctl_policy_name(enum ctl_policy what)
{
	return what < XM_ARRAY_SIZE(names) ? names[what] : "?";
}

static int refuse(char *err, const char *text)
{
	snprintf(err, POLICY_ERROR_STR, "%s", text);
	return -EINVAL;
}

static int check(enum ctl_policy what, const char *text, char *err)
{
	struct xm_policy_packet packet;
	struct policy_rule rule;

	switch (what) {
	case CTL_POLICY_LIST:
		return *text ? refuse(err, "policy list takes no more words") : 0;
	case CTL_POLICY_ADD:
		return policy_parse(text, strlen(text), &rule, err);
	case CTL_POLICY_DEL:
		if (*text && !strchr(text, ' ') && strlen(text) < POLICY_NAME_MAX)
			return 0;
		return refuse(err,
			      "policy del needs the name of one rule; see xmasqctl policy list");
	case CTL_POLICY_TEST:
		return policy_parse_packet(text, &packet, err);
	}
	return -EINVAL;
}

int ctl_policy(const char *what, const char *text, struct ctl_request *req, char *err)
{
	char q[TEXT_QUOTE_MAX];
	unsigned int i;

	for (i = 0; i < XM_ARRAY_SIZE(names); i++)
		if (!strcmp(what, names[i]))
			break;
	if (i == XM_ARRAY_SIZE(names)) {
		snprintf(err, POLICY_ERROR_STR,
			 "policy can list, add, del and test, and not \"%s\"",
			 text_quote(q, what, strlen(what)));
		return -EINVAL;
	}
	if (strlen(text) >= sizeof(req->policy.text))
		return refuse(err, "that is too long for a rule");
	req->policy.what = (enum ctl_policy)i;
	memcpy(req->policy.text, text, strlen(text) + 1);
	return check(req->policy.what, text, err);
}
