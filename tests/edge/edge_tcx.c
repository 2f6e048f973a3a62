// SPDX-License-Identifier: GPL-2.0-only
/* Programs in tcx, with neighbours in the same list, and on their way there and back. */
#include "edge_bed.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mprog.h"
#include "tc.h"

#define ATTACH_BEFORE (1u << 3)
#define ATTACH_AFTER  (1u << 4)
#define LIST_MAX      64

static int sys_bpf(enum bpf_cmd cmd, void *attr, size_t len)
{
	return syscall(__NR_bpf, cmd, attr, len) < 0 ? -errno : 0;
}

/* The list of a hook; -EINVAL where the kernel has no tcx. */
static int list(uint32_t dev, enum mprog_hook hook, uint32_t ids[LIST_MAX])
{
	struct {
		__u32 ifindex, type, query_flags, attach_flags;
		__u64 ids;
		__u32 count, pad;
		__u64 rest[4];
	} q = { .ifindex = dev, .type = hook, .ids = (uintptr_t)ids, .count = LIST_MAX };
	int err = sys_bpf(BPF_PROG_QUERY, &q, sizeof(q));

	return err == -ENOENT ? 0 : err ? err : (int)q.count;
}

/* As any other agent does. */
static void join(uint32_t dev, enum mprog_hook hook, int fd, __u32 flags)
{
	struct {
		__u32 ifindex, fd, type, flags, replace, relative;
		__u64 revision;
	} a = { .ifindex = dev, .fd = (__u32)fd, .type = hook, .flags = flags };

	assert_int_equal(sys_bpf(BPF_PROG_ATTACH, &a, sizeof(a)), 0);
}

/* The ids of these programs, in this order, and no others. */
#define EXPECT(dev, hook, ...)                          \
	expect(dev, hook, (const int[]){ __VA_ARGS__ }, \
	       sizeof((int[]){ __VA_ARGS__ }) / sizeof(int))

static void expect(uint32_t dev, enum mprog_hook hook, const int *fds, size_t n)
{
	uint32_t ids[LIST_MAX];

	assert_int_equal(list(dev, hook, ids), n);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(ids[i], prog_id(fds[i]));
}

static void expect_none(uint32_t dev, enum mprog_hook hook)
{
	uint32_t ids[LIST_MAX];

	assert_int_equal(list(dev, hook, ids), 0);
}

static uint32_t make_d0(void)
{
	sh("ip link add d0 type bridge");
	return if_nametoindex("d0");
}

bool has_tcx(void)
{
	uint32_t ids[LIST_MAX];

	return list(1, MPROG_TCX_INGRESS, ids) != -EINVAL;
}

void test_tcx_attach(void **state)
{
	int a = prog_load("xmasq_test"), b = prog_load("xmasq_test2");
	struct tc *t = tc_new(true, 7, 0x21);
	uint32_t dev = make_d0(), id;
	struct tc_error err;

	(void)state;
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), -ENOENT);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), 0);
	assert_int_equal(id, prog_id(a));
	if (!has_tcx()) {
		/* The best there is. */
		sh("tc filter show dev d0 ingress | grep -q 'pref 7 .*handle 0x21'");
		assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
		assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), -ENOENT);
		goto out;
	}
	assert_int_equal(tc_query(t, dev, TC_EGRESS, &id), -ENOENT);
	EXPECT(dev, MPROG_TCX_INGRESS, a);
	expect_none(dev, MPROG_TCX_EGRESS);
	assert_false(has_clsact("d0"));
	assert_int_equal(access(STATE_DIR "/qdiscs", F_OK), -1);
	/* again: nothing; another version: replaced, not added */
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, b, -1, &err), 0);
	EXPECT(dev, MPROG_TCX_INGRESS, b);
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, a);
	/* what watches is behind every filter, and so one itself; its qdisc is no loss to the rest */
	assert_int_equal(tc_attach(t, dev, TC_EGRESS_LAST, b, -1, &err), 0);
	assert_int_equal(tc_query(t, dev, TC_EGRESS_LAST, &id), 0);
	assert_int_equal(id, prog_id(b));
	sh("tc filter show dev d0 egress | grep -q 'pref 65520 .*handle 0x21'");
	sh("tc qdisc del dev d0 clsact");
	assert_int_equal(tc_query(t, dev, TC_EGRESS_LAST, &id), -ENOENT);
	assert_int_equal(tc_query(t, dev, TC_EGRESS, &id), 0);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), 0);
	/* nothing there is no error, and neither is no interface */
	assert_int_equal(tc_detach(t, dev, TC_EGRESS), 0);
	assert_int_equal(tc_detach(t, dev, TC_EGRESS), 0);
	assert_int_equal(tc_query(t, dev, TC_EGRESS, &id), -ENOENT);
	EXPECT(dev, MPROG_TCX_INGRESS, b);
	sh("ip link del d0");
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), -ENOENT);
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), -ENODEV);
	assert_string_not_equal(err.text, "");
out:
	tc_close(t);
	close(a);
	close(b);
}

void test_tcx_order(void **state)
{
	int a = prog_load("xmasq_test"), b = prog_load("xmasq_test2");
	int before = prog_load("before"), after = prog_load("after"), late = prog_load("late");
	struct tc *t = tc_new(true, 7, 0x21);
	struct tc_error err;
	uint32_t dev;

	(void)state;
	dev = make_d0();
	join(dev, MPROG_TCX_EGRESS, after, ATTACH_AFTER);
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, a, after);
	/* who comes later may go before us: we neither move nor lose our place to a new version */
	join(dev, MPROG_TCX_EGRESS, before, ATTACH_BEFORE);
	join(dev, MPROG_TCX_EGRESS, late, ATTACH_AFTER);
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, a, -1, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, before, a, after, late);
	assert_int_equal(tc_attach(t, dev, TC_EGRESS, b, -1, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, before, b, after, late);
	assert_int_equal(tc_detach(t, dev, TC_EGRESS), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, before, after, late);
	tc_close(t);
	close(a);
	close(b);
	close(before);
	close(after);
	close(late);
}

static bool keep_egress(uint32_t ifindex, enum tc_dir dir, void *arg)
{
	return ifindex == *(uint32_t *)arg && dir == TC_EGRESS;
}

void test_tcx_switch(void **state)
{
	int a = prog_load("xmasq_test"), b = prog_load("xmasq_test2"), o = prog_load("other");
	int first = prog_load("xmasq_first");
	struct tc *f = tc_new(false, 5, 5), *x = tc_new(true, 5, 5);
	struct tc_error err;
	uint32_t dev, id;

	(void)state;
	dev = make_d0();
	/* an older filter, and somebody else's in tcx */
	join(dev, MPROG_TCX_EGRESS, o, ATTACH_AFTER);
	assert_int_equal(tc_attach(f, dev, TC_EGRESS, a, -1, &err), 0);
	assert_true(has_clsact("d0"));
	assert_false(tc_changes_way(f, dev, TC_EGRESS));
	tc_close(x);
	x = tc_new(true, 5, 5); /* the next run, which reads whose the qdisc is */
	assert_true(tc_changes_way(x, dev, TC_EGRESS));
	assert_int_equal(tc_query(x, dev, TC_EGRESS, &id), 0);
	assert_int_equal(id, prog_id(a));
	assert_int_equal(tc_attach(x, dev, TC_EGRESS, b, first, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, b, o);
	sh("! tc filter show dev d0 egress | grep -q handle");
	assert_false(tc_changes_way(x, dev, TC_EGRESS));
	/* and back */
	tc_close(f);
	f = tc_new(false, 5, 5);
	assert_true(tc_changes_way(f, dev, TC_EGRESS));
	assert_int_equal(tc_attach(f, dev, TC_EGRESS, a, first, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, o);
	sh("tc filter show dev d0 egress | grep -q 'pref 5 .*handle 0x5 '");
	assert_int_equal(tc_query(f, dev, TC_EGRESS, &id), 0);
	assert_int_equal(id, prog_id(a));
	/* the same program, in both ways at once: what a daemon that was killed left */
	assert_int_equal(mprog_attach(dev, MPROG_TCX_EGRESS, false, first, &err), 0);
	assert_int_equal(tc_attach(f, dev, TC_EGRESS, a, first, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, o);
	/* the qdisc that a filter leaves is no reason to stop the interface, but goes with us */
	assert_int_equal(tc_attach(x, dev, TC_EGRESS, b, first, &err), 0);
	assert_int_equal(tc_cleanup_except(x, keep_egress, &dev), 0);
	assert_true(has_clsact("d0"));
	assert_int_equal(tc_detach(x, dev, TC_EGRESS), 0);
	assert_false(has_clsact("d0"));
	EXPECT(dev, MPROG_TCX_EGRESS, o);
	/* a neighbour in our place is no obstacle to tcx, and stays */
	sh("tc qdisc add dev d0 clsact");
	filter_other(o, dev, BPF_TC_EGRESS, 5, 5);
	assert_int_equal(tc_attach(f, dev, TC_EGRESS, a, first, &err), -EEXIST);
	assert_int_equal(tc_query(x, dev, TC_EGRESS, &id), -ENOENT);
	assert_int_equal(tc_attach(x, dev, TC_EGRESS, a, first, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, a, o);
	sh("tc filter show dev d0 egress | grep -q 'handle 0x5 '");
	/* what cannot become a filter is not detached by the attempt */
	assert_int_equal(tc_attach(f, dev, TC_EGRESS, b, first, &err), -EEXIST);
	EXPECT(dev, MPROG_TCX_EGRESS, a, o);
	tc_close(f);
	tc_close(x);
	close(a);
	close(b);
	close(o);
	close(first);
}

#define MARK	  0x584d
#define SWITCHES  50
#define TYPE_GOOD 0x88b5 /* experimental */
#define TYPE_BAD  0x88b6

/* What xmasq_nic_egress does: passes what has the mark and drops the rest; @clears the mark. */
static int load_guard(const char *name, bool clears)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W,
		  .dst_reg = 0,
		  .src_reg = 1,
		  .off = offsetof(struct __sk_buff, mark) },
		{ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = 0, .off = 4, .imm = MARK },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = clears ? 0 : MARK },
		{ .code = BPF_STX | BPF_MEM | BPF_W,
		  .dst_reg = 1,
		  .src_reg = 2,
		  .off = offsetof(struct __sk_buff, mark) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = -1 },
		{ .code = BPF_JMP | BPF_EXIT },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = 2 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, name, "GPL", insns,
			       sizeof(insns) / sizeof(insns[0]), NULL);

	assert_true(fd >= 0);
	return fd;
}

struct sender {
	pthread_t thread;
	int fd;
	uint32_t dev;
	bool stop;
	unsigned int pairs;
};

static void send_one(const struct sender *s, uint32_t mark, uint16_t type)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)s->dev,
				  .sll_protocol = htons(type) };
	char frame[60] = "\xff\xff\xff\xff\xff\xff\x02";

	frame[12] = (char)(type >> 8);
	frame[13] = (char)type;
	setsockopt(s->fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
	(void)!sendto(s->fd, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to));
}

static void *send_pairs(void *arg)
{
	struct sender *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		send_one(s, MARK, TYPE_GOOD);
		send_one(s, 0, TYPE_BAD);
		__atomic_add_fetch(&s->pairs, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static int listener(uint32_t dev, uint16_t type)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)dev,
				  .sll_protocol = htons(type) };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

/* How many came, also those that nobody read. */
static unsigned int heard(int fd)
{
	struct tpacket_stats st = { 0 };
	socklen_t len = sizeof(st);

	assert_int_equal(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &st, &len), 0);
	close(fd);
	return st.tp_packets;
}

/*
 * From one way to the next under traffic: no packet meets neither (an unmarked one would pass), and
 * none meets both as if they were alone (a marked one would be dropped).
 */
static void no_gap(struct tc *const *ways, int n)
{
	int a = load_guard("xmasq_guard", true), first = load_guard("xmasq_first", false);
	struct sender s = { .fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) };
	unsigned int before;
	struct tc_error err;
	int good, bad;

	sh("ip link add d0 type veth peer name d1 && ip link set d0 up && ip link set d1 up");
	s.dev = if_nametoindex("d0");
	assert_int_equal(tc_attach(ways[0], s.dev, TC_EGRESS, a, first, &err), 0);
	good = listener(if_nametoindex("d1"), TYPE_GOOD);
	bad = listener(if_nametoindex("d1"), TYPE_BAD);
	assert_int_equal(pthread_create(&s.thread, NULL, send_pairs, &s), 0);
	for (int i = 1; i <= SWITCHES; i++) {
		before = __atomic_load_n(&s.pairs, __ATOMIC_RELAXED);
		assert_int_equal(tc_attach(ways[i % n], s.dev, TC_EGRESS, a, first, &err), 0);
		/* Else a sender that the machine keeps waiting proves nothing. */
		while (before == __atomic_load_n(&s.pairs, __ATOMIC_RELAXED))
			sched_yield();
	}
	__atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
	pthread_join(s.thread, NULL);
	usleep(50000);
	assert_int_equal(heard(good), s.pairs);
	assert_int_equal(heard(bad), 0);
	for (int i = 0; i < n; i++)
		tc_close(ways[i]);
	close(s.fd);
	close(a);
	close(first);
}

void test_tcx_no_gap(void **state)
{
	struct tc *ways[] = { tc_new(false, 5, 5), tc_new(true, 5, 5) };

	(void)state;
	no_gap(ways, 2);
}

/* Another priority or handle: in front of the old filter, behind it, beside it. */
void test_filter_no_gap(void **state)
{
	struct tc *ways[] = { tc_new(false, 5, 5), tc_new(false, 3, 5), tc_new(false, 7, 9),
			      tc_new(false, 7, 3) };

	(void)state;
	no_gap(ways, 4);
}

/* Another priority and another way at once. */
void test_tcx_priority_no_gap(void **state)
{
	struct tc *ways[] = { tc_new(false, 5, 5), tc_new(true, 3, 5), tc_new(false, 3, 5),
			      tc_new(true, 7, 5) };

	(void)state;
	no_gap(ways, 4);
}

void test_tcx_full(void **state)
{
	int a = prog_load("xmasq_test"), others[LIST_MAX];
	struct tc *t = tc_new(true, 5, 5);
	uint32_t dev, id, ids[LIST_MAX];
	struct tc_error err;
	size_t n = 0;

	(void)state;
	dev = make_d0();
	/* The kernel keeps one place free. */
	for (; n < LIST_MAX - 1; n++) {
		others[n] = prog_load("other");
		join(dev, MPROG_TCX_INGRESS, others[n], ATTACH_AFTER);
	}
	assert_int_equal(mprog_attach(dev, MPROG_TCX_INGRESS, false, a, &err), -ERANGE);
	assert_int_equal(tc_attach(t, dev, TC_INGRESS, a, -1, &err), 0);
	sh("tc filter show dev d0 ingress | grep -q 'pref 5 .*handle 0x5 '");
	assert_int_equal(tc_query(t, dev, TC_INGRESS, &id), 0);
	assert_int_equal(id, prog_id(a));
	assert_int_equal(tc_detach(t, dev, TC_INGRESS), 0);
	assert_false(has_clsact("d0"));
	assert_int_equal(list(dev, MPROG_TCX_INGRESS, ids), n);
	tc_close(t);
	while (n)
		close(others[--n]);
	close(a);
}

static bool keep_ingress(uint32_t ifindex, enum tc_dir dir, void *arg)
{
	return ifindex == *(uint32_t *)arg && dir == TC_INGRESS;
}

static bool keep_inside(uint32_t ifindex, enum tc_dir dir, void *arg)
{
	return ifindex == *(uint32_t *)arg && dir == TC_EGRESS_INSIDE;
}

void test_tcx_cleanup(void **state)
{
	int a = prog_load("xmasq_test"), r = prog_load("xmasq_rpeer_x"), o = prog_load("other");
	struct tc *x = tc_new(true, 5, 5), *f = tc_new(false, 6, 6);
	struct tc_error err;
	uint32_t dev, d1;

	(void)state;
	dev = make_d0();
	sh("ip link add d1 type bridge");
	d1 = if_nametoindex("d1");
	/* two that never take each other's: a pod that is a node itself */
	join(dev, MPROG_TCX_EGRESS, o, ATTACH_AFTER);
	assert_int_equal(tc_attach(x, dev, TC_EGRESS, a, -1, &err), 0);
	assert_int_equal(tc_attach(x, dev, TC_EGRESS_INSIDE, r, -1, &err), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, r, a, o);
	assert_int_equal(tc_attach(x, dev, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_attach(f, d1, TC_INGRESS, a, -1, &err), 0);
	assert_int_equal(tc_attach(x, d1, TC_EGRESS, a, -1, &err), 0);
	assert_int_equal(tc_cleanup_inside(x, keep_inside, &dev), 0);
	EXPECT(dev, MPROG_TCX_EGRESS, r, a, o);
	assert_int_equal(tc_cleanup_except(x, keep_ingress, &dev), 3);
	EXPECT(dev, MPROG_TCX_EGRESS, r, o);
	EXPECT(dev, MPROG_TCX_INGRESS, a);
	expect_none(d1, MPROG_TCX_EGRESS);
	sh("! tc filter show dev d1 ingress | grep -q handle");
	assert_int_equal(tc_cleanup_inside(x, NULL, NULL), 1);
	EXPECT(dev, MPROG_TCX_EGRESS, o);
	/* whoever cleans up need not know how it was attached */
	assert_int_equal(tc_cleanup(f), 1);
	expect_none(dev, MPROG_TCX_INGRESS);
	assert_false(has_clsact("d1"));
	assert_int_equal(tc_cleanup(f), 0);
	tc_close(x);
	tc_close(f);
	close(a);
	close(r);
	close(o);
}
