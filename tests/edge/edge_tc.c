// SPDX-License-Identifier: GPL-2.0-only
/* Filters and qdiscs, with neighbours on the same interface. */
#include "edge_bed.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tc.h"

int prog_load(const char *name)
{
	static const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = -1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", insns,
			       sizeof(insns) / sizeof(insns[0]), NULL);

	if (fd < 0)
		fail_msg("cannot load a program: %s", strerror(errno));
	return fd;
}

uint32_t prog_id(int fd)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);

	assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
	return info.id;
}

bool has_clsact(const char *dev)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "tc qdisc show dev %s | grep -q clsact", dev);
	return system(cmd) == 0;
}

struct tc *tc_new(bool tcx, uint32_t priority, uint32_t handle)
{
	struct tc_opts opts = { .priority = priority,
				.observe_priority = 0xfff0,
				.handle = handle,
				.tcx = tcx,
				.state_dir = STATE_DIR };
	struct tc *t;

	assert_int_equal(tc_open(&t, &opts), 0);
	return t;
}

void filter_other(int fd, uint32_t ifindex, enum bpf_tc_attach_point point, uint32_t priority,
		  uint32_t handle)
{
	DECLARE_LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = fd, .handle = handle,
			    .priority = priority);
	DECLARE_LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = point);

	assert_int_equal(bpf_tc_attach(&hook, &opts), 0);
}

void test_tc_attach(void **state)
{
	int a = prog_load("xmasq_test"), b = prog_load("xmasq_test2");
	struct tc *t = tc_new(false, 7, 0x21);
	struct tc_error err;
	uint32_t dev, id;

	(void)state;
	sh("ip link add d0 type bridge");
	dev = if_nametoindex("d0");
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), -ENOENT);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), 0);
	assert_int_equal(id, prog_id(a));
	assert_int_equal(tc_query(t, dev, TC_EGRESS, &id), -ENOENT);
	/* again: nothing; another version: replaced, not added */
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, b, -1, &err), 0);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), 0);
	assert_int_equal(id, prog_id(b));
	sh("test $(tc filter show dev d0 ingress | grep -c 'handle 0x21') = 1");
	sh("tc filter show dev d0 ingress | grep -q 'pref 7 .*handle 0x21'");
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), 0);
	/* the qdisc goes with our last filter, not before */
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	assert_true(has_clsact("d0"));
	assert_int_equal(tc_query(t, dev, TC_EGRESS, &id), 0);
	assert_int_equal(tc_detach(t, dev, TC_EGRESS), 0);
	assert_false(has_clsact("d0"));
	assert_int_equal(access(STATE_DIR "/qdiscs", F_OK), -1);
	/* nothing there is no error, and neither is no interface */
	assert_int_equal(tc_detach(t, dev, TC_EGRESS), 0);
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), 0);
	sh("ip link del d0");
	assert_int_equal(tc_detach(t, dev, TC_EGRESS), 0);
	assert_int_equal(access(STATE_DIR "/qdiscs", F_OK), -1);
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), -ENODEV);
	assert_string_not_equal(err.text, "");
	tc_close(t);
	close(a);
	close(b);
}

void test_tc_neighbours(void **state)
{
	int a = prog_load("xmasq_test"), o = prog_load("other");
	struct tc *t = tc_new(false, 1, 1);
	struct tc_error err;
	uint32_t dev, id;

	(void)state;
	sh("ip link add d0 type bridge && tc qdisc add dev d0 clsact");
	dev = if_nametoindex("d0");
	filter_other(o, dev, BPF_TC_INGRESS, 1, 1);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), -EEXIST);
	assert_non_null(strstr(err.text, "\"other\""));
	assert_non_null(strstr(err.text, "tc.priority"));
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), -EEXIST);
	assert_int_equal(id, prog_id(o));
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), -EEXIST); /* still there */
	tc_close(t);
	/* another handle of the same priority is free */
	t = tc_new(false, 1, 2);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	sh("test $(tc filter show dev d0 ingress | grep -c 'handle 0x') = 2");
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	sh("tc filter show dev d0 ingress | grep -q 'handle 0x1 '");
	assert_true(has_clsact("d0"));
	tc_close(t);
	/* a qdisc that others made stays when it is empty */
	t = tc_new(false, 3, 3);
	sh("tc filter del dev d0 ingress");
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	assert_true(has_clsact("d0"));
	/* an old ingress qdisc cannot do egress */
	sh("tc qdisc del dev d0 clsact && tc qdisc add dev d0 ingress");
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), -EEXIST);
	assert_non_null(strstr(err.text, "clsact"));
	tc_close(t);
	close(a);
	close(o);
}

void test_tc_qdisc_owner(void **state)
{
	int a = prog_load("xmasq_test"), o = prog_load("other");
	struct tc *t = tc_new(false, 5, 5);
	struct tc_error err;
	uint32_t dev, id;

	(void)state;
	sh("ip link add d0 type bridge && ip link add d1 type bridge");
	dev = if_nametoindex("d0");
	/* ours, but somebody moved in, on the other direction */
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	filter_other(o, dev, BPF_TC_EGRESS, 9, 9);
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	assert_true(has_clsact("d0"));
	sh("tc filter show dev d0 egress | grep -q 'handle 0x9 '");
	/* the record survives a restart */
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	sh("tc filter del dev d0 egress");
	tc_close(t);
	t = tc_new(false, 5, 5);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), 0);
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	assert_false(has_clsact("d0"));
	tc_close(t);
	/* cleanup finds ours at any place, leaves others, and removes our qdiscs */
	t = tc_new(false, 5, 5);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), 0);
	tc_close(t);
	t = tc_new(false, 6, 6);
	sh("tc qdisc add dev d1 clsact");
	filter_other(o, if_nametoindex("d1"), BPF_TC_INGRESS, 9, 9);
	filter_other(a, if_nametoindex("d1"), BPF_TC_INGRESS, 8, 8);
	assert_int_equal(tc_cleanup(t), 3);
	assert_false(has_clsact("d0"));
	assert_true(has_clsact("d1"));
	sh("tc filter show dev d1 ingress | grep -q 'handle 0x9 '");
	sh("! tc filter show dev d1 ingress | grep -q 'handle 0x8 '");
	assert_int_equal(tc_cleanup(t), 0);
	/* the record of an interface that went is not inherited by its successor */
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	tc_close(t);
	sh("ip link del d0");
	t = tc_new(false, 6, 6);
	sh("ip link add d0 index %u type bridge && tc qdisc add dev d0 clsact", dev);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	assert_true(has_clsact("d0"));
	tc_close(t);
	close(a);
	close(o);
}

void test_tc_lost(void **state)
{
	int a = prog_load("xmasq_test");
	struct tc *t = tc_new(false, 5, 5);
	struct tc_error err;
	struct bed b;
	uint32_t dev, id;

	(void)state;
	sh("ip link add d0 type bridge");
	dev = if_nametoindex("d0");
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	bed_open(&b, 0);
	sh("tc filter del dev d0 ingress pref 5");
	WAIT_FOR(&b, b.seen.lost == dev);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), -ENOENT);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	b.seen.lost = 0;
	sh("tc qdisc del dev d0 clsact");
	WAIT_FOR(&b, b.seen.lost == dev);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), 0);
	bed_close(&b);
	tc_close(t);
	close(a);
}
