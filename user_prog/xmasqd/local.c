// SPDX-License-Identifier: GPL-2.0-only
/*
 * Flows between two pods of this node: the programs accelerate them for pods that they are told
 * about, with the address and the MTU of the pod's own interface, which they cannot see.
 *
 * No event tells that a pod changed these: they are looked at every DAEMON_RECYCLE_MS. Until then a
 * new MAC address only keeps the pod's flows on the CNI's path, since what is delivered does not
 * match; a lower MTU may let a packet through that the CNI's path would have dropped.
 */
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <string.h>

#include "clock.h"
#include "daemon.h"

/* How long leases are granted after the daemon was last seen alive. */
#define LOCAL_MS (3 * DAEMON_RECYCLE_MS)

void local_look(struct daemon *d, struct attachment *a)
{
	struct nl_link l;

	memset(&a->own, 0, sizeof(a->own));
	if (rtnl_link_in(d->rtnl, a->key.netnsid, a->key.peer_ifindex, &l) || !l.mtu)
		return;
	memcpy(a->own.mac, l.mac, sizeof(a->own.mac));
	a->own.frame_max = l.mtu + ETH_HLEN;
}

static void sync_one(struct daemon *d, struct attachment *a)
{
	const struct inv_link *host = inventory_link(&d->inv, a->key.ifindex);
	struct xm_local want = a->own;

	want.protos = (uint16_t)d->local_protos;
	/* On its way the CNI's packet meets both ends of the pair. */
	if (host && host->l.mtu + ETH_HLEN < want.frame_max)
		want.frame_max = host->l.mtu + ETH_HLEN;
	if (!host || !want.protos || !a->own.frame_max)
		memset(&want, 0, sizeof(want));
	if (!memcmp(&want, &a->local, sizeof(want)))
		return;
	/* What could not be told is tried again: it differs still. */
	if (!datapath_local_set(&d->dp, a->key.ifindex, want.frame_max ? &want : NULL))
		a->local = want;
}

static bool flow_not_allowed(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	const struct daemon *d = arg;
	unsigned int idx = key->proto == IPPROTO_TCP ? XM_TCP : XM_UDP;

	return f->stage == XM_STAGE_LOCAL && !(d->local_protos & 1u << idx);
}

void local_sync(struct daemon *d)
{
	unsigned int was = d->local_protos;
	size_t n;

	d->local_protos = 0;
	if (d->cfg.same_node != CONFIG_SAME_NODE_OFF)
		d->local_protos = 1u << XM_UDP | (d->tcp_ok ? 1u << XM_TCP : 0);
	datapath_local_until(&d->dp, d->local_protos ? clock_ms() + LOCAL_MS : 0);
	for (size_t i = 0; i < d->n_att; i++)
		if (d->att[i].key.role == RECONCILE_POD)
			sync_one(d, &d->att[i]);
	/* Not only no new leases, but no packet more. */
	if (was & ~d->local_protos)
		datapath_flows_del_if(&d->dp, flow_not_allowed, d, &n);
}

void local_check(struct daemon *d)
{
	for (size_t i = 0; i < d->n_att; i++)
		if (d->att[i].key.role == RECONCILE_POD)
			local_look(d, &d->att[i]);
	local_sync(d);
}
