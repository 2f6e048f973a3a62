// SPDX-License-Identifier: GPL-2.0-only
/* What happens to interfaces, told as messages; what xmasq then wants to be attached. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reconcile.h"
#include "xm_util.h"

struct bed {
	struct inventory inv;
	struct config cfg;
	struct mode_kernel kernel;
	struct reconcile_set want;
	struct reconcile_diff diff;
	struct reconcile_key have[1024];
	size_t n_have;
};

static int setup(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	if (!b)
		return -1;
	b->cfg.underlay_auto = true;
	b->cfg.n_overlay = 2;
	b->cfg.overlay[0] = (struct xm_overlay){ htons(8472), XM_OVERLAY_VXLAN };
	b->cfg.overlay[1] = (struct xm_overlay){ htons(6081), XM_OVERLAY_GENEVE };
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	inventory_free(&b->inv);
	reconcile_set_free(&b->want);
	reconcile_diff_free(&b->diff);
	free(b);
	return 0;
}

static int apply(struct bed *b, const struct nl_msg *m)
{
	return inventory_apply(&b->inv, INVENTORY_SELF, m);
}

static struct nl_msg link_msg(uint32_t ifindex, const char *name, const char *kind)
{
	struct nl_msg m;

	memset(&m, 0, sizeof(m));
	m.type = NL_LINK;
	m.link.ifindex = ifindex;
	m.link.netnsid = NL_NSID_NONE;
	m.link.up = true;
	(void)snprintf(m.link.name, sizeof(m.link.name), "%s", name);
	(void)snprintf(m.link.kind, sizeof(m.link.kind), "%s", kind);
	memcpy(m.link.mac, &ifindex, sizeof(ifindex));
	return m;
}

static struct nl_msg veth_msg(uint32_t ifindex, const char *name, int32_t nsid, uint32_t peer)
{
	struct nl_msg m = link_msg(ifindex, name, "veth");

	m.link.has_netnsid = nsid != NL_NSID_NONE;
	m.link.netnsid = nsid;
	m.link.link = peer;
	return m;
}

static void dev(struct bed *b, uint32_t ifindex, const char *name, const char *kind)
{
	struct nl_msg m = link_msg(ifindex, name, kind);

	assert_int_equal(apply(b, &m), 1);
}

static void veth(struct bed *b, uint32_t ifindex, const char *name, int32_t nsid, uint32_t peer)
{
	struct nl_msg m = veth_msg(ifindex, name, nsid, peer);

	assert_in_range(apply(b, &m), 0, 1);
}

static void del(struct bed *b, uint32_t ifindex)
{
	struct nl_msg m = link_msg(ifindex, "x", "");

	m.del = true;
	assert_int_equal(apply(b, &m), 1);
}

static void addr(struct bed *b, int32_t nsid, uint32_t ifindex, const char *a, uint8_t prefix,
		 bool gone)
{
	struct nl_msg m;

	memset(&m, 0, sizeof(m));
	m.type = NL_ADDR;
	m.del = gone;
	m.addr.ifindex = ifindex;
	m.addr.addr = inet_addr(a);
	m.addr.prefix = prefix;
	assert_in_range(inventory_apply(&b->inv, nsid, &m), 0, 1);
}

static void vxlan(struct bed *b, uint32_t ifindex, uint16_t port, const char *local, uint32_t link)
{
	struct nl_msg m = link_msg(ifindex, "flannel.1", "vxlan");

	m.link.tun_port = htons(port);
	m.link.tun_local = local ? inet_addr(local) : 0;
	m.link.tun_link = link;
	assert_int_equal(apply(b, &m), 1);
}

static void route(struct bed *b, uint32_t oif, uint32_t metric, bool gone)
{
	struct nl_msg m;

	memset(&m, 0, sizeof(m));
	m.type = NL_ROUTE;
	m.del = gone;
	m.route.oif = oif;
	m.route.metric = metric;
	assert_in_range(apply(b, &m), 0, 1);
}

static void nsid_gone(struct bed *b, int32_t nsid)
{
	struct nl_msg m;

	memset(&m, 0, sizeof(m));
	m.type = NL_NSID;
	m.del = true;
	m.nsid.nsid = nsid;
	assert_in_range(apply(b, &m), 0, 1);
}

static const struct reconcile_item *want(struct bed *b, uint32_t ifindex)
{
	size_t i;

	assert_int_equal(reconcile_desired(&b->inv, &b->cfg, &b->kernel, &b->want), 0);
	for (i = 0; i < b->want.n; i++) {
		if (b->want.v[i].key.ifindex == ifindex)
			return &b->want.v[i];
	}
	return NULL;
}

#define ASSERT_ATTACH(b, ifindex, r)                                \
	do {                                                        \
		const struct reconcile_item *w_ = want(b, ifindex); \
                                                                    \
		assert_non_null(w_);                                \
		assert_string_equal(w_->reason, "");                \
		assert_true(w_->attach);                            \
		assert_int_equal(w_->key.role, r);                  \
	} while (0)

#define ASSERT_REFUSED(b, ifindex, why)                             \
	do {                                                        \
		const struct reconcile_item *w_ = want(b, ifindex); \
                                                                    \
		assert_non_null(w_);                                \
		assert_false(w_->attach);                           \
		assert_string_equal(w_->reason, why);               \
	} while (0)

/* Reconcile and do as told; how many were added, removed, kept. */
static void converge(struct bed *b, size_t add, size_t rem, size_t keep)
{
	size_t i, n = 0;

	assert_int_equal(reconcile_desired(&b->inv, &b->cfg, &b->kernel, &b->want), 0);
	assert_int_equal(reconcile_diff(&b->inv, &b->want, b->have, b->n_have, &b->diff), 0);
	assert_int_equal(b->diff.n_add, add);
	assert_int_equal(b->diff.n_remove, rem);
	assert_int_equal(b->diff.n_keep, keep);
	for (i = 0; i < b->diff.n_keep; i++)
		b->have[n++] = b->diff.keep[i]->key;
	for (i = 0; i < b->diff.n_add; i++)
		b->have[n++] = b->diff.add[i]->key;
	b->n_have = n;
}

static void test_pod(void **state)
{
	struct bed *b = *state;
	const struct reconcile_item *w;

	veth(b, 5, "veth5", NL_NSID_NONE, 4); /* both ends here: no pod (yet) */
	assert_null(want(b, 5));
	veth(b, 5, "veth5", 3, 2); /* the id comes in a later message */
	ASSERT_ATTACH(b, 5, RECONCILE_POD);
	addr(b, 3, 2, "10.244.1.11", 24, false);
	addr(b, 3, 1, "127.0.0.1", 8, false); /* another interface of the pod */
	w = want(b, 5);
	assert_int_equal(w->key.netnsid, 3);
	assert_int_equal(w->key.peer_ifindex, 2);
	assert_int_equal(w->n_addrs, 1);
	assert_int_equal(w->addrs[0], inet_addr("10.244.1.11"));
	converge(b, 1, 0, 0);
	converge(b, 0, 0, 1);
	/* addresses change nothing about the attachment */
	addr(b, 3, 2, "10.244.1.11", 24, true);
	converge(b, 0, 0, 1);
	assert_int_equal(want(b, 5)->n_addrs, 0);
	del(b, 5);
	converge(b, 0, 1, 0);
	assert_true(b->diff.remove[0].gone);
}

static void test_not_pods(void **state)
{
	struct bed *b = *state;
	struct nl_msg m;

	dev(b, 2, "cni0", "bridge");
	dev(b, 3, "dummy0", "dummy");
	assert_null(want(b, 2));
	assert_null(want(b, 3));
	veth(b, 5, "veth5", 3, 2);
	m = veth_msg(5, "veth5", 3, 2);
	m.link.up = false;
	assert_int_equal(apply(b, &m), 1);
	ASSERT_REFUSED(b, 5, "down");
	m = veth_msg(6, "mv0", 4, 2);
	(void)snprintf(m.link.kind, sizeof(m.link.kind), "macvlan");
	assert_int_equal(apply(b, &m), 1);
	ASSERT_REFUSED(b, 6, "kind macvlan is not supported");
	m = veth_msg(7, "nk0", 4, 2);
	(void)snprintf(m.link.kind, sizeof(m.link.kind), "netkit");
	assert_int_equal(apply(b, &m), 1);
	ASSERT_ATTACH(b, 7, RECONCILE_POD);
	/* a tunnel whose lower device is elsewhere is no pod */
	m = veth_msg(8, "gre1", 4, 2);
	(void)snprintf(m.link.kind, sizeof(m.link.kind), "gre");
	assert_int_equal(apply(b, &m), 1);
	assert_null(want(b, 8));
	/* a node that is a container: its own eth0 leads to another namespace, too */
	veth(b, 9, "eth1", 5, 9);
	addr(b, INVENTORY_SELF, 9, "172.20.0.2", 16, false);
	ASSERT_REFUSED(b, 9, "holds the node's address 172.20.0.2/16");
	/* ptp: the host side has a /32 of the node */
	veth(b, 10, "vethptp", 6, 2);
	addr(b, INVENTORY_SELF, 10, "10.244.1.1", 32, false);
	ASSERT_ATTACH(b, 10, RECONCILE_POD);
}

/* The underlay of a node that is a container: a bond's ports and a VLAN's parent are veths. */
static void test_underlay_parts(void **state)
{
	struct bed *b = *state;
	struct nl_msg m;

	b->cfg.underlay_auto = false;
	b->cfg.n_underlay = 2;
	strcpy(b->cfg.underlay[0], "bond0");
	strcpy(b->cfg.underlay[1], "eth2.100");
	dev(b, 20, "bond0", "bond");
	m = veth_msg(21, "eth0", 3, 2);
	m.link.master = 20;
	assert_int_equal(apply(b, &m), 1);
	veth(b, 22, "eth2", 3, 3);
	memset(&m, 0, sizeof(m));
	m.type = NL_LINK;
	m.link.ifindex = 23;
	m.link.netnsid = NL_NSID_NONE;
	m.link.link = 22;
	m.link.up = true;
	strcpy(m.link.name, "eth2.100");
	strcpy(m.link.kind, "vlan");
	assert_int_equal(apply(b, &m), 1);
	ASSERT_ATTACH(b, 20, RECONCILE_NIC);
	ASSERT_ATTACH(b, 23, RECONCILE_NIC);
	ASSERT_REFUSED(b, 21, "part of the underlay");
	ASSERT_REFUSED(b, 22, "part of the underlay");
	veth(b, 24, "veth24", 4, 2);
	ASSERT_ATTACH(b, 24, RECONCILE_POD);
}

static enum config_mode mode_of(struct bed *b, uint32_t ifindex)
{
	const struct reconcile_item *it = want(b, ifindex);

	assert_non_null(it);
	return it->key.mode;
}

/* What is configured, what the kernel has and what a pod's interface is make its mode. */
static void test_modes(void **state)
{
	static const struct {
		enum config_mode wanted;
		bool rpeer, netkit;
		enum config_mode veth, primary, secondary;
	} rows[] = {
		{ CONFIG_MODE_AUTO, false, false, CONFIG_MODE_VETH, CONFIG_MODE_VETH,
		  CONFIG_MODE_VETH },
		{ CONFIG_MODE_AUTO, true, false, CONFIG_MODE_RPEER, CONFIG_MODE_VETH,
		  CONFIG_MODE_VETH },
		{ CONFIG_MODE_AUTO, false, true, CONFIG_MODE_VETH, CONFIG_MODE_NETKIT,
		  CONFIG_MODE_VETH },
		{ CONFIG_MODE_AUTO, true, true, CONFIG_MODE_RPEER, CONFIG_MODE_NETKIT,
		  CONFIG_MODE_VETH },
		{ CONFIG_MODE_RPEER, true, true, CONFIG_MODE_RPEER, CONFIG_MODE_NETKIT,
		  CONFIG_MODE_VETH },
		{ CONFIG_MODE_NETKIT, true, true, CONFIG_MODE_RPEER, CONFIG_MODE_NETKIT,
		  CONFIG_MODE_VETH },
		{ CONFIG_MODE_VETH, true, true, CONFIG_MODE_VETH, CONFIG_MODE_VETH,
		  CONFIG_MODE_VETH },
	};
	struct bed *b = *state;
	struct nl_msg m;

	veth(b, 5, "veth5", 3, 2);
	m = veth_msg(6, "nk6", 4, 2);
	(void)snprintf(m.link.kind, sizeof(m.link.kind), "netkit");
	m.link.primary = true;
	assert_int_equal(apply(b, &m), 1);
	m = veth_msg(7, "nk7", 5, 2);
	(void)snprintf(m.link.kind, sizeof(m.link.kind), "netkit");
	assert_int_equal(apply(b, &m), 1);
	for (size_t i = 0; i < XM_ARRAY_SIZE(rows); i++) {
		b->cfg.mode = rows[i].wanted;
		b->kernel.rpeer = rows[i].rpeer;
		b->kernel.netkit = rows[i].netkit;
		assert_int_equal(mode_of(b, 5), rows[i].veth);
		assert_int_equal(mode_of(b, 6), rows[i].primary);
		assert_int_equal(mode_of(b, 7), rows[i].secondary);
	}
}

/* The one word for a node, and what a configured mode lacks. */
static void test_mode_of_node(void **state)
{
	struct mode_kernel k = { .rpeer_why = "no kfunc", .netkit_why = "no netkit" };
	char why[MODE_WHY];

	(void)state;
	assert_null(mode_missing(CONFIG_MODE_AUTO, &k));
	assert_null(mode_missing(CONFIG_MODE_VETH, &k));
	assert_string_equal(mode_missing(CONFIG_MODE_RPEER, &k), "no kfunc");
	assert_string_equal(mode_missing(CONFIG_MODE_NETKIT, &k), "no netkit");
	assert_int_equal(mode_of_node(CONFIG_MODE_AUTO, &k, 0, 2, why, sizeof(why)),
			 CONFIG_MODE_VETH);
	assert_string_equal(why, "auto: no kfunc");
	assert_int_equal(mode_of_node(CONFIG_MODE_AUTO, &k, 1, 0, why, sizeof(why)),
			 CONFIG_MODE_NETKIT);
	k.rpeer = true;
	assert_null(mode_missing(CONFIG_MODE_RPEER, &k));
	assert_int_equal(mode_of_node(CONFIG_MODE_RPEER, &k, 1, 1, why, sizeof(why)),
			 CONFIG_MODE_RPEER);
	assert_string_equal(
		why, "configured: the kernel has bpf_redirect_rpeer(); netkit pods use netkit");
	assert_int_equal(mode_of_node(CONFIG_MODE_VETH, &k, 1, 1, why, sizeof(why)),
			 CONFIG_MODE_VETH);
}

/* How programs are attached, and why so. */
static void test_attach_of_node(void **state)
{
	struct mode_kernel k = { .tcx_why = "no tcx" };
	char why[MODE_WHY];

	(void)state;
	assert_int_equal(mode_attach(CONFIG_ATTACH_AUTO, &k, why, sizeof(why)),
			 CONFIG_ATTACH_FILTER);
	assert_string_equal(why, "auto: no tcx");
	k.tcx = true;
	assert_int_equal(mode_attach(CONFIG_ATTACH_AUTO, &k, why, sizeof(why)), CONFIG_ATTACH_TCX);
	assert_string_equal(why, "auto: the kernel has tcx");
	assert_int_equal(mode_attach(CONFIG_ATTACH_TCX, &k, why, sizeof(why)), CONFIG_ATTACH_TCX);
	assert_string_equal(why, "configured: the kernel has tcx");
	assert_int_equal(mode_attach(CONFIG_ATTACH_FILTER, &k, why, sizeof(why)),
			 CONFIG_ATTACH_FILTER);
	assert_string_equal(why, "configured");
}

static void test_lists(void **state)
{
	struct bed *b = *state;

	b->cfg.n_exclude = 1;
	b->cfg.exclude[0] = (struct config_cidr){ inet_addr("10.244.9.0"), 24 };
	veth(b, 5, "veth5", 3, 2);
	ASSERT_REFUSED(b, 5, "address not known yet");
	addr(b, 3, 2, "10.244.1.11", 24, false);
	ASSERT_ATTACH(b, 5, RECONCILE_POD);
	converge(b, 1, 0, 0);
	/* one excluded address is enough */
	addr(b, 3, 2, "10.244.9.7", 24, false);
	ASSERT_REFUSED(b, 5, "address 10.244.9.7 excluded by pods.exclude");
	converge(b, 0, 1, 0);
	assert_false(b->diff.remove[0].gone); /* still there: has to be detached */
	addr(b, 3, 2, "10.244.9.7", 24, true);
	converge(b, 1, 0, 0);
	b->cfg.n_include = 1;
	b->cfg.include[0] = (struct config_cidr){ inet_addr("10.244.2.0"), 24 };
	ASSERT_REFUSED(b, 5, "address 10.244.1.11 not in pods.include");
	addr(b, 3, 2, "10.244.1.11", 24, true);
	addr(b, 3, 2, "10.244.2.11", 24, false);
	ASSERT_ATTACH(b, 5, RECONCILE_POD);
	/* the address counts, not the namespace that once had it */
	nsid_gone(b, 3);
	assert_null(want(b, 5));
}

static void test_nic_auto(void **state)
{
	struct bed *b = *state;

	dev(b, 2, "eth0", "");
	dev(b, 3, "eth1", "");
	assert_null(want(b, 2));
	route(b, 2, 100, false);
	ASSERT_ATTACH(b, 2, RECONCILE_NIC); /* no overlay yet: the default route's */
	route(b, 3, 50, false);
	ASSERT_ATTACH(b, 3, RECONCILE_NIC);
	assert_null(want(b, 2));
	addr(b, INVENTORY_SELF, 2, "192.0.2.1", 24, false);
	vxlan(b, 10, 4789, "192.0.2.1", 0); /* a port that is not the overlay's */
	ASSERT_ATTACH(b, 3, RECONCILE_NIC);
	vxlan(b, 11, 8472, "192.0.2.1", 0); /* by address */
	ASSERT_ATTACH(b, 2, RECONCILE_NIC);
	assert_int_equal(want(b, 2)->addrs[0], inet_addr("192.0.2.1"));
	assert_null(want(b, 3));
	del(b, 11);
	vxlan(b, 12, 8472, NULL, 2); /* by device */
	ASSERT_ATTACH(b, 2, RECONCILE_NIC);
	assert_null(want(b, 3));
	del(b, 12);
	vxlan(b, 13, 8472, NULL, 0); /* says nothing: the default route's */
	ASSERT_ATTACH(b, 3, RECONCILE_NIC);
	assert_null(want(b, 2));
}

static void test_nic_named(void **state)
{
	struct bed *b = *state;
	struct nl_msg m;

	b->cfg.underlay_auto = false;
	b->cfg.n_underlay = 2;
	strcpy(b->cfg.underlay[0], "eth1");
	strcpy(b->cfg.underlay[1], "bond0");
	dev(b, 2, "eth0", "");
	dev(b, 3, "eth1", "");
	route(b, 2, 0, false);
	assert_null(want(b, 2));
	ASSERT_ATTACH(b, 3, RECONCILE_NIC);
	ASSERT_REFUSED(b, 0, "no such interface");
	assert_string_equal(want(b, 0)->name, "bond0");
	/* renamed: another device has the configured name now */
	m = link_msg(3, "lan0", "");
	assert_int_equal(apply(b, &m), 1);
	assert_null(want(b, 3));
	dev(b, 4, "bond0", "bond");
	ASSERT_ATTACH(b, 4, RECONCILE_NIC);
	/* down or not, the guard belongs there */
	m = link_msg(4, "bond0", "bond");
	m.link.up = false;
	assert_int_equal(apply(b, &m), 1);
	ASSERT_ATTACH(b, 4, RECONCILE_NIC);
}

static void test_nic_is_veth(void **state)
{
	struct bed *b = *state;

	veth(b, 2, "eth0", 0, 77);
	addr(b, INVENTORY_SELF, 2, "192.0.2.1", 32, false);
	ASSERT_ATTACH(b, 2, RECONCILE_POD); /* nothing speaks against it yet */
	converge(b, 1, 0, 0);
	vxlan(b, 11, 8472, "192.0.2.1", 0);
	ASSERT_ATTACH(b, 2, RECONCILE_NIC);
	converge(b, 1, 1, 0); /* other programs */
	assert_false(b->diff.remove[0].gone);
	assert_int_equal(b->diff.remove[0].key.role, RECONCILE_POD);
	/* the default route's device is no pod either, when another one is the NIC */
	veth(b, 3, "eth1", 1, 78);
	route(b, 3, 0, false);
	ASSERT_REFUSED(b, 3, "the node's default route leaves by it");
}

static void test_index_reused(void **state)
{
	struct bed *b = *state;

	veth(b, 5, "vetha", 3, 2);
	converge(b, 1, 0, 0);
	del(b, 5);
	veth(b, 5, "vetha", 3, 2); /* equal in every respect but for being another device */
	converge(b, 1, 1, 0);
	assert_true(b->diff.remove[0].gone);
	/* a new name is the same device */
	veth(b, 5, "vethb", 3, 2);
	converge(b, 0, 0, 1);
	/* so is a new hardware address, as Calico sets one */
	struct nl_msg m = veth_msg(5, "vethb", 3, 2);

	memset(m.link.mac, 0xee, sizeof(m.link.mac));
	assert_int_equal(apply(b, &m), 1);
	converge(b, 0, 0, 1);
	/* the other end moved on */
	veth(b, 5, "vethb", 4, 2);
	converge(b, 1, 1, 0);
	assert_false(b->diff.remove[0].gone);
}

static void test_nsid_before_link(void **state)
{
	struct bed *b = *state;
	int32_t nsid;

	veth(b, 5, "veth5", 3, 2);
	assert_true(inventory_next_unread(&b->inv, &nsid));
	assert_int_equal(nsid, 3);
	inventory_set_read(&b->inv, 3);
	assert_false(inventory_next_unread(&b->inv, &nsid));
	addr(b, 3, 2, "10.244.1.11", 24, false);
	converge(b, 1, 0, 0);
	nsid_gone(b, 3);
	converge(b, 0, 1, 0);
	/* the id is given away again before RTM_DELLINK of the old pod comes */
	veth(b, 6, "veth6", 3, 2);
	assert_true(inventory_next_unread(&b->inv, &nsid)); /* read afresh */
	assert_int_equal(want(b, 6)->n_addrs, 0);	    /* not the old pod's */
	assert_null(want(b, 5));
	del(b, 5);
	converge(b, 1, 0, 0);
}

static void test_strangers(void **state)
{
	struct bed *b = *state;
	struct nl_msg m = veth_msg(5, "veth5", 3, 2);

	/* links of other namespaces are not ours, whatever their index */
	assert_int_equal(inventory_apply(&b->inv, 7, &m), 0);
	assert_null(want(b, 5));
	/* addresses of namespaces that no link leads to are not kept */
	addr(b, 9, 2, "10.9.9.9", 24, false);
	assert_int_equal(b->inv.n_addrs, 0);
	/* a dump tells the namespace in the message */
	assert_int_equal(apply(b, &m), 1);
	memset(&m, 0, sizeof(m));
	m.type = NL_ADDR;
	m.addr.ifindex = 2;
	m.addr.addr = inet_addr("10.244.1.11");
	m.addr.has_target = true;
	m.addr.target = 3;
	assert_int_equal(apply(b, &m), 1);
	assert_int_equal(want(b, 5)->n_addrs, 1);
	/* the last link that leads there goes, and so do the addresses */
	del(b, 5);
	assert_int_equal(b->inv.n_addrs, 0);
	assert_int_equal(b->inv.n_ns, 0);
}

static void test_resync(void **state)
{
	struct bed *b = *state;
	struct nl_msg m;
	int32_t nsid;

	veth(b, 5, "veth5", 3, 2);
	veth(b, 6, "veth6", 4, 2);
	veth(b, 7, "veth7", 5, 2);
	addr(b, 3, 2, "10.244.1.11", 24, false);
	inventory_set_read(&b->inv, 3);
	route(b, 9, 0, false);
	converge(b, 3, 0, 0);
	inventory_resync_begin(&b->inv);
	veth(b, 5, "veth5", 3, 2);
	m = veth_msg(7, "veth7", 6, 2); /* another device took the index while we were deaf */
	m.link.mac[5] = 0x77;
	assert_int_equal(apply(b, &m), 1);
	assert_true(inventory_next_unread(&b->inv, &nsid));
	assert_int_equal(nsid, 3); /* addresses are asked for again */
	addr(b, 3, 2, "10.244.1.12", 24, false);
	inventory_resync_end(&b->inv);
	assert_null(inventory_link(&b->inv, 6));
	assert_int_equal(b->inv.n_routes, 0);
	assert_int_equal(want(b, 5)->n_addrs, 1);
	assert_int_equal(want(b, 5)->addrs[0], inet_addr("10.244.1.12"));
	converge(b, 1, 2, 1);
	assert_true(b->diff.remove[0].gone); /* 6 */
	assert_true(b->diff.remove[1].gone); /* the old 7 */
}

static void test_routes(void **state)
{
	struct bed *b = *state;
	struct nl_msg m;

	dev(b, 2, "eth0", "");
	dev(b, 3, "eth1", "");
	route(b, 2, 10, false);
	route(b, 3, 20, false);
	assert_false(b->inv.routes_stale);
	/* the kernel does not tell that routes went with their interface */
	m = link_msg(2, "eth0", "");
	m.link.up = false;
	assert_int_equal(apply(b, &m), 1);
	assert_true(b->inv.routes_stale);
	inventory_routes_begin(&b->inv);
	route(b, 3, 20, false);
	inventory_routes_end(&b->inv);
	assert_false(b->inv.routes_stale);
	assert_null(want(b, 2));
	ASSERT_ATTACH(b, 3, RECONCILE_NIC);
	/* one of several equal ones may be left: look */
	route(b, 3, 20, true);
	assert_true(b->inv.routes_stale);
	ASSERT_ATTACH(b, 3, RECONCILE_NIC);
}

static void test_many(void **state)
{
	struct bed *b = *state;
	uint32_t i, gone = 0;
	char name[16], a[24];

	/* not in order, so that insertion in the middle is exercised */
	for (i = 0; i < 500; i++) {
		uint32_t ifindex = 10 + (i * 7919) % 500;

		(void)snprintf(name, sizeof(name), "veth%u", ifindex);
		veth(b, ifindex, name, (int32_t)ifindex, 2);
		(void)snprintf(a, sizeof(a), "10.244.%u.%u", ifindex / 250, 1 + ifindex % 250);
		addr(b, (int32_t)ifindex, 2, a, 24, false);
	}
	assert_int_equal(b->inv.n_links, 500);
	converge(b, 500, 0, 0);
	for (i = 0; i < b->want.n; i++) {
		uint32_t ifindex = b->want.v[i].key.ifindex;

		assert_int_equal(ifindex, 10 + i);
		(void)snprintf(a, sizeof(a), "10.244.%u.%u", ifindex / 250, 1 + ifindex % 250);
		assert_int_equal(b->want.v[i].n_addrs, 1);
		assert_int_equal(b->want.v[i].addrs[0], inet_addr(a));
	}
	for (i = 10; i < 510; i += 3, gone++)
		del(b, i);
	converge(b, 0, gone, 500 - gone);
	assert_int_equal(b->inv.n_ns, 500 - gone);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_pod),
		T(test_not_pods),
		T(test_underlay_parts),
		T(test_modes),
		cmocka_unit_test(test_mode_of_node),
		cmocka_unit_test(test_attach_of_node),
		T(test_lists),
		T(test_nic_auto),
		T(test_nic_named),
		T(test_nic_is_veth),
		T(test_index_reused),
		T(test_nsid_before_link),
		T(test_strangers),
		T(test_resync),
		T(test_routes),
		T(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
