// SPDX-License-Identifier: GPL-2.0-only
/*
 * The edge against this kernel: rtnl, netns, tc, sysctl, ctnl.
 *
 *   node namespace (this process)              pod namespace
 *   cali1  veth  ------------------------------ eth0 10.244.1.11/24
 *
 * Needs root. The process moves to a network namespace of its own for each test, and to a
 * mount namespace with an empty /run, so nothing outside is touched. Pods are child
 * processes that hold a namespace and end with the test.
 */
#include "edge_bed.h"

#include <arpa/inet.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctnl.h"
#include "log.h"
#include "netns.h"
#include "statefile.h"
#include "sysctl.h"
#include "tc.h"

/* rtnl, netns ----------------------------------------------------------------- */

static bool is_pod(struct bed *b, const char *name, const char *addr)
{
	const struct reconcile_item *it = bed_find(b, name);

	return it && it->attach && it->key.role == RECONCILE_POD &&
	       (addr ? it->n_addrs == 1 && it->addrs[0] == inet_addr(addr) : !it->n_addrs);
}

static void test_pod_comes_and_goes(void **state)
{
	struct bed b;
	pid_t early, late;

	(void)state;
	early = pod_start();
	pod_wire(early, "cali0", "10.244.1.10/24");
	bed_open(&b, 0);
	assert_true(is_pod(&b, "cali0", "10.244.1.10")); /* was there before us */

	late = pod_start();
	pod_wire(late, "cali1", "10.244.1.11/24");
	WAIT_FOR(&b, is_pod(&b, "cali1", "10.244.1.11"));

	/* its address changes, seen from outside */
	sh("nsenter -n -t %d ip addr flush dev eth0", late);
	WAIT_FOR(&b, is_pod(&b, "cali1", NULL));
	sh("nsenter -n -t %d ip addr add 10.244.1.12/24 dev eth0", late);
	WAIT_FOR(&b, is_pod(&b, "cali1", "10.244.1.12"));

	sh("ip link set cali1 down");
	WAIT_FOR(&b, bed_find(&b, "cali1") && !bed_find(&b, "cali1")->attach);
	sh("ip link set cali1 name cali2 && ip link set cali2 up");
	WAIT_FOR(&b, is_pod(&b, "cali2", "10.244.1.12"));

	/* a bridge lets go of its port: the port stays */
	sh("ip link add cni0 type bridge && ip link set cali0 master cni0 && "
	   "ip link set cali0 nomaster && ip link set cni0 up");
	WAIT_FOR(&b, inventory_link(&b.inv, if_nametoindex("cni0")) &&
			     inventory_link(&b.inv, if_nametoindex("cni0"))->l.up);
	assert_true(is_pod(&b, "cali0", "10.244.1.10"));

	pod_stop(late);
	WAIT_FOR(&b, !bed_find(&b, "cali2"));
	pod_stop(early);
	WAIT_FOR(&b, !bed_find(&b, "cali0"));
	assert_int_equal(b.inv.n_addrs, 1); /* our own 127.0.0.1 */
	bed_close(&b);
}

static void test_moved_in_later(void **state)
{
	struct bed b;
	pid_t pid;

	(void)state;
	bed_open(&b, 0);
	pid = pod_start();
	sh("ip link add cali1 type veth peer name tmp1 && ip link set cali1 up");
	WAIT_FOR(&b, inventory_link(&b.inv, if_nametoindex("cali1")));
	assert_null(bed_find(&b, "cali1"));
	sh("ip link set tmp1 netns %d name eth0 && nsenter -n -t %d sh -c "
	   "'ip addr add 10.244.1.11/24 dev eth0; ip link set eth0 up'",
	   pid, pid);
	WAIT_FOR(&b, is_pod(&b, "cali1", "10.244.1.11"));
	/* and taken back */
	sh("nsenter -n -t %d ip link set eth0 netns %d name tmp1 && ip link set tmp1 up", pid,
	   getpid());
	WAIT_FOR(&b, !bed_find(&b, "cali1"));
	bed_close(&b);
}

static void test_own_id(void **state)
{
	struct bed b;
	struct stat st;
	int32_t id;
	pid_t pid;

	(void)state;
	/* Our own namespace gets an id in itself, and its events carry it from then on. */
	bed_open(&b, 0);
	sh("mkdir -p /run/netns && touch /run/netns/self && "
	   "mount --bind /proc/self/ns/net /run/netns/self && ip netns set self 77");
	assert_int_equal(netns_self_id(&id), 0);
	assert_int_equal(id, 77);
	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	assert_int_equal(netns_inode(), st.st_ino);
	sh("ip link add br7 type bridge");
	WAIT_FOR(&b, inventory_link(&b.inv, if_nametoindex("br7")));
	sh("ip addr add 192.0.2.7/24 dev br7");
	WAIT_FOR(&b, inventory_holder(&b.inv, inet_addr("192.0.2.7")));
	/* another namespace's interface with the same index is not ours */
	pid = pod_start();
	pod_wire(pid, "cali1", "10.244.1.11/24");
	WAIT_FOR(&b, is_pod(&b, "cali1", "10.244.1.11"));
	sh("nsenter -n -t %d ip link add foreign0 type bridge", pid);
	sh("ip link set br7 mtu 1234");
	WAIT_FOR(&b, inventory_link(&b.inv, if_nametoindex("br7"))->l.mtu == 1234);
	for (size_t i = 0; i < b.inv.n_links; i++)
		assert_string_not_equal(b.inv.links[i].l.name, "foreign0");
	bed_close(&b);
}

static bool nic_is(struct bed *b, const char *name)
{
	const struct reconcile_item *it = bed_find(b, name);

	return it && it->attach && it->key.role == RECONCILE_NIC;
}

static void test_underlay(void **state)
{
	struct bed b;

	(void)state;
	bed_open(&b, 0);
	sh("ip link add u0 type veth peer name u0p && ip link add u1 type veth peer name u1p && "
	   "for i in u0 u0p u1 u1p; do ip link set $i up; done && "
	   "ip addr add 192.0.2.1/24 dev u0 && ip addr add 198.51.100.1/24 dev u1 && "
	   "ip route add default via 192.0.2.254");
	WAIT_FOR(&b, nic_is(&b, "u0"));
	/* the route goes with its interface, which the kernel does not announce */
	sh("ip route add default via 198.51.100.254 metric 50");
	sh("ip link set u0 down");
	WAIT_FOR(&b, nic_is(&b, "u1") && !bed_find(&b, "u0"));
	sh("ip link set u0 up && ip link add flannel.1 type vxlan id 1 local 192.0.2.1 "
	   "dstport 8472 nolearning");
	WAIT_FOR(&b, nic_is(&b, "u0") && !bed_find(&b, "u1"));
	bed_close(&b);
}

static void test_overrun(void **state)
{
	struct rtnl_stats st;
	struct bed b;
	pid_t pid;
	unsigned int i, found = 0;

	(void)state;
	pid = pod_start();
	sh("ip link add gone0 type bridge");
	bed_open(&b, 1); /* the kernel's minimum: a message or two */
	assert_non_null(inventory_link(&b.inv, if_nametoindex("gone0")));
	for (i = 0; i < 20; i++)
		sh("ip link add h%u type veth peer name p%u netns %d && ip link set h%u up", i, i,
		   pid, i);
	sh("nsenter -n -t %d ip addr add 10.244.1.13/24 dev p13; ip link del gone0", pid);
	WAIT_FOR(&b, b.seen.resynced);
	rtnl_stats(b.r, &st);
	assert_true(st.overruns >= 1);
	assert_true(st.resyncs >= 2);
	assert_int_equal(reconcile_desired(&b.inv, &b.cfg, &b.kernel, &b.want), 0);
	for (i = 0; i < b.want.n; i++)
		found += b.want.v[i].attach;
	assert_int_equal(found, 20);
	assert_true(is_pod(&b, "h13", "10.244.1.13"));
	for (size_t k = 0; k < b.inv.n_links; k++)
		assert_string_not_equal(b.inv.links[k].l.name, "gone0");
	bed_close(&b);
}

static int inode_in(void *arg)
{
	*(uint64_t *)arg = netns_inode();
	return 42;
}

static void test_netns(void **state)
{
	struct netns_names *names;
	uint64_t inside = 0, home = netns_inode();
	char path[64];
	struct bed b;
	struct stat st;
	int32_t named, nameless;
	pid_t p1, p2;
	int fd;

	(void)state;
	p1 = pod_start();
	p2 = pod_start();
	pod_wire(p1, "cali1", "10.244.1.11/24");
	pod_wire(p2, "cali2", "10.244.1.12/24");
	bed_open(&b, 0);
	named = bed_find(&b, "cali1")->key.netnsid;
	nameless = bed_find(&b, "cali2")->key.netnsid;
	names = netns_names_new();
	assert_non_null(names);
	/* a name appears before its namespace is mounted on it */
	sh("mkdir -p /run/netns && touch /run/netns/cni-1 /run/netns/stale");
	assert_int_equal(netns_names_refresh(names), 0);
	assert_null(netns_name(names, named));
	sh("mount --bind /proc/%d/ns/net /run/netns/cni-1", p1);
	assert_int_equal(netns_names_refresh(names), 1);
	assert_string_equal(netns_name(names, named), "cni-1");
	assert_null(netns_name(names, nameless));
	netns_names_free(names);

	/* with or without a name, the namespace can be entered */
	fd = netns_open(nameless);
	assert_true(fd >= 0);
	assert_int_equal(netns_run(fd, inode_in, &inside), 42);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", p2);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(inside, st.st_ino);
	assert_int_equal(netns_inode(), home);
	close(fd);
	fd = netns_open(named);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(netns_open(12345), -ENOENT);
	bed_close(&b);
}

/* sysctl ---------------------------------------------------------------------- */

static void assert_sysctl(const char *name, const char *want)
{
	char now[SYSCTL_VALUE_MAX];

	assert_int_equal(sysctl_read(name, now, sizeof(now)), 0);
	assert_string_equal(now, want);
}

static struct sysctl *sysctl_new(void)
{
	struct sysctl *s;

	assert_int_equal(sysctl_open(&s, STATE_DIR), 0);
	return s;
}

static void test_sysctl_set(void **state)
{
	static const char name[] = SYSCTL_TCP_BE_LIBERAL;
	static const char retrans[] = "net.netfilter.nf_conntrack_tcp_max_retrans";
	struct sysctl *s = sysctl_new();
	struct sysctl_view v;

	(void)state;
	assert_int_equal(sysctl_write(name, "0"), 0);
	assert_int_equal(sysctl_manage(s, name, "1"), 0);
	assert_sysctl(name, "1");
	/* killed and started again: 1 is not taken for the original */
	sysctl_close(s);
	s = sysctl_new();
	assert_int_equal(sysctl_manage(s, name, "1"), 0);
	assert_true(sysctl_view(s, 0, &v));
	assert_string_equal(v.name, name);
	assert_string_equal(v.before, "0");
	assert_string_equal(v.now, "1");
	assert_true(v.ours);
	assert_false(sysctl_view(s, 1, &v));
	assert_int_equal(sysctl_restore(s, NULL), 0);
	assert_sysctl(name, "0");
	assert_int_equal(access(STATE_DIR "/sysctl", F_OK), -1);
	/* changed by somebody meanwhile: left alone */
	assert_int_equal(sysctl_write(retrans, "3"), 0);
	assert_int_equal(sysctl_manage(s, retrans, "5"), 0);
	assert_int_equal(sysctl_write(retrans, "7"), 0);
	assert_true(sysctl_view(s, 0, &v));
	assert_false(v.ours);
	assert_int_equal(sysctl_restore(s, retrans), 0);
	assert_sysctl(retrans, "7");
	/* right before us: not ours to take away */
	assert_int_equal(sysctl_write(name, "1"), 0);
	assert_int_equal(sysctl_manage(s, name, "1"), 0);
	assert_int_equal(sysctl_restore(s, NULL), 0);
	assert_sysctl(name, "1");
	/* missing is told apart */
	assert_int_equal(sysctl_manage(s, "net.netfilter.no_such_thing", "1"), -ENOENT);
	assert_int_equal(sysctl_manage(s, "net/../../../etc/passwd", "1"), -EINVAL);
	assert_int_equal(sysctl_manage(s, "net..ipv4", "1"), -EINVAL);
	sysctl_close(s);
}

static void test_sysctl_ports(void **state)
{
	static const char name[] = SYSCTL_RESERVED_PORTS;
	struct sysctl *s = sysctl_new();
	struct sysctl_view v;

	(void)state;
	assert_sysctl(name, "");
	assert_int_equal(sysctl_manage_port(s, name, 18477), 0);
	assert_sysctl(name, "18477");
	sysctl_close(s);
	s = sysctl_new();
	assert_int_equal(sysctl_manage_port(s, name, 18477), 0);
	assert_true(sysctl_view(s, 0, &v));
	assert_true(v.ours);
	assert_string_equal(v.before, "");
	/* what others add stays */
	assert_int_equal(sysctl_write(name, "9000,18477,30000-30010"), 0);
	assert_int_equal(sysctl_restore(s, NULL), 0);
	assert_sysctl(name, "9000,30000-30010");
	/* another port is configured: the first is given back */
	assert_int_equal(sysctl_manage_port(s, name, 18477), 0);
	sysctl_close(s);
	s = sysctl_new();
	assert_int_equal(sysctl_manage_port(s, name, 18500), 0);
	assert_sysctl(name, "9000,18500,30000-30010");
	assert_int_equal(sysctl_restore(s, NULL), 0);
	assert_sysctl(name, "9000,30000-30010");
	/* covered by others: not ours */
	assert_int_equal(sysctl_manage_port(s, name, 30005), 0);
	assert_int_equal(sysctl_restore(s, NULL), 0);
	assert_sysctl(name, "9000,30000-30010");
	/* the only port on the list: an empty list can be written */
	assert_int_equal(sysctl_write(name, ""), 0);
	assert_sysctl(name, "");
	assert_int_equal(sysctl_manage_port(s, name, 18477), 0);
	assert_int_equal(sysctl_restore(s, NULL), 0);
	assert_sysctl(name, "");
	sysctl_close(s);
}

static void test_state_broken(void **state)
{
	struct tc_opts opts = { .priority = 1, .handle = 1, .state_dir = STATE_DIR };
	struct sysctl *s;
	struct tc *t;

	(void)state;
	assert_int_equal(statefile_write(STATE_DIR, "sysctl",
					 "set\nset a\nport x y z\nset ../x 1 0\nwhat a 1 0\n"),
			 0);
	assert_int_equal(statefile_write(STATE_DIR, "qdiscs", "x\n1\n1 2 3\n0 1\n1 0\n1 -1\n\n"),
			 0);
	s = sysctl_new();
	assert_int_equal(tc_open(&t, &opts), 0);
	assert_int_equal(sysctl_restore(s, NULL), 0);
	sysctl_close(s);
	tc_close(t);
}

/* ctnl ------------------------------------------------------------------------ */

static int on_ct(const struct nl_ct *ct, void *arg)
{
	struct nl_ct *want = arg;

	if (ct->orig.dport == want->orig.dport)
		*want = *ct;
	return 0;
}

static void test_conntrack(void **state)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(5001) };
	struct nl_ct ct = { .orig.dport = htons(5001) };
	int srv, cli, con;

	(void)state;
	assert_int_equal(ctnl_dump(NULL, NULL), 0);
	sh("iptables -A INPUT -m conntrack --ctstate NEW -j ACCEPT");
	srv = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cli = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(srv, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(listen(srv, 1), 0);
	assert_int_equal(connect(cli, (struct sockaddr *)&to, sizeof(to)), 0);
	con = accept(srv, NULL, NULL);
	assert_true(con >= 0);
	assert_int_equal(ctnl_dump(on_ct, &ct), 1);
	assert_int_equal(ct.orig.saddr, htonl(INADDR_LOOPBACK));
	assert_int_equal(ct.tcp_state, 3); /* ESTABLISHED */
	assert_int_equal(ct.reply.sport, htons(5001));
	close(cli);
	close(con);
	close(srv);
	assert_int_equal(ctnl_dump(NULL, NULL), 0); /* TIME_WAIT does not count */
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, edge_setup, edge_teardown)
	const struct CMUnitTest tests[] = {
		T(test_pod_comes_and_goes), T(test_moved_in_later), T(test_own_id),
		T(test_underlay),	    T(test_overrun),	    T(test_netns),
		T(test_guest_macvlan),	    T(test_guest_ipvlan),   T(test_guest_foreign),
		T(test_guest_walk),	    T(test_tc_attach),	    T(test_tc_neighbours),
		T(test_tc_qdisc_owner),	    T(test_tc_lost),	    T(test_tcx_attach),
		T(test_filter_no_gap),	    T(test_sysctl_set),	    T(test_sysctl_ports),
		T(test_state_broken),	    T(test_conntrack),
	};
	/* Where there is none, test_tcx_attach() is all that there is to see. */
	const struct CMUnitTest tcx_tests[] = {
		T(test_tcx_order),	     T(test_tcx_switch), T(test_tcx_no_gap),
		T(test_tcx_priority_no_gap), T(test_tcx_full),	 T(test_tcx_cleanup),
	};
	int failed;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/run", "tmpfs", 0, NULL)) {
		(void)fprintf(stderr, "test_edge needs root and namespaces: %s\n", strerror(errno));
		return 1;
	}
	libbpf_set_print(log_libbpf);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed + (has_tcx() ? cmocka_run_group_tests(tcx_tests, NULL, NULL) : 0);
}
