// SPDX-License-Identifier: GPL-2.0-only
#include "mode.h"

#include <stdio.h>
#include <string.h>

enum config_mode mode_of_link(enum config_mode wanted, const struct mode_kernel *k,
			      const struct nl_link *l)
{
	if (wanted == CONFIG_MODE_VETH)
		return CONFIG_MODE_VETH;
	/* The primary end is the one that programs are attached to: a pair whose primary end is
	 * in the pod is the pod's own. */
	if (!strcmp(l->kind, "netkit"))
		return k->netkit && l->primary ? CONFIG_MODE_NETKIT : CONFIG_MODE_VETH;
	return k->rpeer && !strcmp(l->kind, "veth") ? CONFIG_MODE_RPEER : CONFIG_MODE_VETH;
}

const char *mode_missing(enum config_mode wanted, const struct mode_kernel *k)
{
	if (wanted == CONFIG_MODE_RPEER && !k->rpeer)
		return k->rpeer_why;
	if (wanted == CONFIG_MODE_NETKIT && !k->netkit)
		return k->netkit_why;
	return NULL;
}

enum config_mode mode_of_node(enum config_mode wanted, const struct mode_kernel *k,
			      unsigned int netkit_pods, unsigned int other_pods, char *why,
			      size_t max)
{
	const char *how = wanted == CONFIG_MODE_AUTO ? "auto" : "configured";

	if (wanted == CONFIG_MODE_VETH) {
		snprintf(why, max, "configured");
		return CONFIG_MODE_VETH;
	}
	if (netkit_pods && !other_pods) {
		snprintf(why, max, "%s: every pod has a netkit pair", how);
		return CONFIG_MODE_NETKIT;
	}
	if (k->rpeer) {
		snprintf(why, max, "%s: the kernel has bpf_redirect_rpeer()%s", how,
			 netkit_pods ? "; netkit pods use netkit" : "");
		return CONFIG_MODE_RPEER;
	}
	snprintf(why, max, "%s: %s%s", how, k->rpeer_why,
		 netkit_pods ? "; netkit pods use netkit" : "");
	return CONFIG_MODE_VETH;
}

enum config_attach mode_attach(enum config_attach wanted, const struct mode_kernel *k, char *why,
			       size_t max)
{
	const char *how = wanted == CONFIG_ATTACH_AUTO ? "auto" : "configured";

	if (wanted == CONFIG_ATTACH_FILTER) {
		snprintf(why, max, "configured");
		return CONFIG_ATTACH_FILTER;
	}
	snprintf(why, max, "%s: %s", how, k->tcx ? "the kernel has tcx" : k->tcx_why);
	return k->tcx ? CONFIG_ATTACH_TCX : CONFIG_ATTACH_FILTER;
}
