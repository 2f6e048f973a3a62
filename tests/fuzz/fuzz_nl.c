// SPDX-License-Identifier: GPL-2.0-only
/*
 * Netlink messages, the inventory that they make, and what is to be attached because of it.
 *
 * Input: a byte that chooses the configuration, then operations: a byte with what to do (enum op),
 * and for a message a byte with the namespace, two with the length, and the bytes.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <stdbool.h>

#include "fuzz.h"
#include "inventory.h"
#include "nl.h"
#include "nl_ct.h"
#include "reconcile.h"

#define ACTUAL 64

enum op {
	OP_MESSAGE, /* whole: its length is put right */
	OP_RAW,
	OP_CT,
	OP_CT_RAW,
	OP_RESYNC_BEGIN,
	OP_RESYNC_END,
	OP_ROUTES_BEGIN,
	OP_ROUTES_END,
	OP_SET_READ,
	OP_RECONCILE,
	OPS,
};

static struct inventory inv;
static struct config cfg;
static struct mode_kernel kernel;
static struct reconcile_set desired;
static struct reconcile_diff diff;
static struct reconcile_key actual[ACTUAL];
static size_t n_actual;

static bool ends(const char *s, size_t max)
{
	return memchr(s, '\0', max);
}

static void must_be_sane(const struct nl_msg *m)
{
	switch (m->type) {
	case NL_LINK:
		MUST(m->link.ifindex && ends(m->link.name, NL_NAME) && ends(m->link.kind, NL_NAME));
		MUST(m->link.has_netnsid || m->link.netnsid == NL_NSID_NONE);
		break;
	case NL_ADDR:
		MUST(m->addr.prefix <= 32);
		MUST(m->addr.has_target || m->addr.target == NL_NSID_NONE);
		break;
	case NL_QDISC:
	case NL_FILTER:
		MUST(m->tc.ifindex && ends(m->tc.kind, NL_NAME));
		MUST(ends(m->tc.bpf_name, NL_BPF_NAME));
		break;
	case NL_NSID:
	case NL_ROUTE:
		break;
	default:
		MUST(!"a type of message that there is");
	}
}

static int cmp64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static void must_be_sorted(void)
{
	size_t i, n;
	int c;

	MUST(inv.n_links <= inv.cap_links && inv.n_addrs <= inv.cap_addrs);
	MUST(inv.n_ns <= inv.cap_ns && inv.n_routes <= inv.cap_routes);
	for (i = 0; i < inv.n_links; i++) {
		MUST(!i || inv.links[i - 1].l.ifindex < inv.links[i].l.ifindex);
		MUST(inventory_link(&inv, inv.links[i].l.ifindex) == &inv.links[i]);
	}
	for (i = 1; i < inv.n_addrs; i++) {
		const struct inv_addr *a = &inv.addrs[i - 1], *b = &inv.addrs[i];

		c = a->nsid < b->nsid ? -1 : a->nsid > b->nsid;
		c = c ? c : cmp64(a->ifindex, b->ifindex);
		MUST(c <= 0 && (c || a->addr != b->addr));
	}
	for (i = 0; i < inv.n_addrs; i++) {
		const struct inv_addr *a =
			inventory_addrs(&inv, inv.addrs[i].nsid, inv.addrs[i].ifindex, &n);

		MUST(a && a <= &inv.addrs[i] && &inv.addrs[i] < a + n);
	}
	for (i = 1; i < inv.n_ns; i++)
		MUST(inv.ns[i - 1].nsid < inv.ns[i].nsid);
	for (i = 1; i < inv.n_routes; i++) {
		const struct nl_route *a = &inv.routes[i - 1].r, *b = &inv.routes[i].r;

		c = cmp64(a->metric, b->metric);
		MUST(c < 0 || (!c && a->oif < b->oif));
	}
}

/* An allocation of its own, aligned, and not a byte more. */
static void message(struct fuzz_in *in, enum op op)
{
	uint8_t ns = fuzz_u8(in);
	size_t want = fuzz_u16(in) % 2048;
	struct nlmsghdr h;
	struct nl_ct ct;
	struct nl_msg m;
	uint8_t *buf;
	size_t len;
	int ret;

	buf = malloc(want ? want : 1);
	MUST(buf);
	len = fuzz_bytes(in, buf, want);
	buf = realloc(buf, len ? len : 1);
	MUST(buf);
	if ((op == OP_MESSAGE || op == OP_CT) && len >= sizeof(h)) {
		memcpy(&h, buf, sizeof(h));
		h.nlmsg_len = (uint32_t)len;
		memcpy(buf, &h, sizeof(h));
	}
	if (op == OP_CT || op == OP_CT_RAW) {
		ret = nl_ct_parse(buf, len, &ct);
		MUST(!ret || ret == -EINVAL || ret == -ENOMSG);
	} else {
		memset(&m, 0x5a, sizeof(m));
		ret = nl_parse(buf, len, &m);
		MUST(!ret || ret == -EINVAL || ret == -ENOMSG);
		if (!ret) {
			must_be_sane(&m);
			ret = inventory_apply(&inv, ns & 1 ? ns >> 1 : INVENTORY_SELF, &m);
			MUST(ret == 0 || ret == 1);
			/* The same again is no news. */
			if (m.type != NL_ROUTE || !m.del)
				MUST(!inventory_apply(&inv, ns & 1 ? ns >> 1 : INVENTORY_SELF, &m));
		}
	}
	free(buf);
}

static void reconcile(void)
{
	size_t i, attach = 0;

	MUST(!reconcile_desired(&inv, &cfg, &kernel, &desired));
	for (i = 0; i < desired.n; i++) {
		const struct reconcile_item *it = &desired.v[i];

		MUST(!i || desired.v[i - 1].key.ifindex <= it->key.ifindex);
		MUST(it->n_addrs <= RECONCILE_ADDRS && it->attach == !*it->reason);
		MUST(ends(it->name, NL_NAME) && ends(it->kind, NL_NAME));
		MUST(ends(it->reason, RECONCILE_REASON));
		attach += it->attach;
	}
	MUST(!reconcile_diff(&inv, &desired, actual, n_actual, &diff));
	MUST(diff.n_add + diff.n_keep == attach);
	MUST(diff.n_remove + diff.n_keep == n_actual);
	for (i = 0; i < diff.n_add; i++)
		MUST(diff.add[i]->attach);
	/* Done. */
	n_actual = 0;
	for (i = 0; i < diff.n_keep && n_actual < ACTUAL; i++)
		actual[n_actual++] = diff.keep[i]->key;
	for (i = 0; i < diff.n_add && n_actual < ACTUAL; i++)
		actual[n_actual++] = diff.add[i]->key;
	if (attach > ACTUAL)
		return;
	MUST(!reconcile_diff(&inv, &desired, actual, n_actual, &diff));
	MUST(!diff.n_add && !diff.n_remove && diff.n_keep == attach);
}

static void configure(uint8_t bits)
{
	config_defaults(&cfg);
	if (bits & 1) {
		cfg.underlay_auto = false;
		cfg.n_underlay = 2;
		strcpy(cfg.underlay[0], "eth0");
		strcpy(cfg.underlay[1], "cali123");
	}
	cfg.mode = bits >> 1 & 3;
	kernel.rpeer = bits & 8;
	kernel.netkit = bits & 16;
}

static void step(struct fuzz_in *in)
{
	enum op op = fuzz_u8(in) % OPS;
	int32_t nsid;

	inv.now_ns++;
	switch (op) {
	case OP_RESYNC_BEGIN:
		inventory_resync_begin(&inv);
		break;
	case OP_RESYNC_END:
		if (inv.resyncing)
			inventory_resync_end(&inv);
		break;
	case OP_ROUTES_BEGIN:
		inventory_routes_begin(&inv);
		break;
	case OP_ROUTES_END:
		inventory_routes_end(&inv);
		break;
	case OP_SET_READ:
		if (inventory_next_unread(&inv, &nsid)) {
			size_t n = 0;

			for (size_t i = 0; i < inv.n_ns; i++)
				n += !inv.ns[i].read;
			inventory_set_read(&inv, nsid);
			for (size_t i = 0; i < inv.n_ns; i++)
				n -= !inv.ns[i].read;
			MUST(n == 1);
		}
		break;
	case OP_RECONCILE:
		reconcile();
		break;
	default:
		message(in, op);
	}
	must_be_sorted();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };

	configure(fuzz_u8(&in));
	n_actual = 0;
	while (in.left)
		step(&in);
	reconcile();
	reconcile_diff_free(&diff);
	reconcile_set_free(&desired);
	inventory_free(&inv);
	return 0;
}
