// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pods without a host side, which are found from inside their namespaces.
 *
 *   node namespace (this process)            pod namespace
 *   up0  veth  <----- parent of ------------ eth0 macvlan 10.244.1.11/24
 */
#include "edge_bed.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netns.h"
#include "netns_guest.h"
#include "rtnl_req.h"

#define NOBODY 65534

/* Not a dummy, which not every kernel has. */
#define PARENT "ip link add up0 type veth peer name up1 && ip link set up0 up && ip link set up1 up"

static bool skip_none(int32_t nsid, void *arg)
{
	(void)nsid;
	(void)arg;
	return false;
}

static bool skip_one(int32_t nsid, void *arg)
{
	return nsid == *(int32_t *)arg;
}

static ino_t pod_inode(pid_t pid)
{
	char path[64];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

/* Id that the pod's namespace has in ours. */
static int32_t pod_id(pid_t pid)
{
	struct rtnl_req req;
	char path[64];
	int32_t nsid;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(rtnl_req_open(&req), 0);
	assert_int_equal(netns_id(&req, fd, &nsid), 0);
	rtnl_req_close(&req);
	close(fd);
	return nsid;
}

static void pod_name(pid_t pid, const char *name)
{
	sh("mkdir -p /run/netns && touch /run/netns/%s && "
	   "mount --bind /proc/%d/ns/net /run/netns/%s",
	   name, pid, name);
}

/* As CNI plugins do: the device never was in the node's namespace. */
static void pod_guest(pid_t pid, const char *parent, const char *type, const char *addr)
{
	sh("ip link set %s up && ip link add link %s name eth0 netns %d type %s && "
	   "nsenter -n -t %d sh -c 'ip addr add %s dev eth0; ip link set eth0 up'",
	   parent, parent, pid, type, pid, addr);
}

/* Lowest free descriptor: the same before and after, unless one was kept. */
static int free_fd(void)
{
	int fd = dup(STDIN_FILENO);

	assert_true(fd >= 0);
	close(fd);
	return fd;
}

static void assert_guest(const struct netns_guests *g, const char *netns, int32_t nsid,
			 const char *kind, const char *parent, const char *addr)
{
	for (size_t i = 0; i < g->n; i++) {
		const struct netns_guest *v = &g->v[i];

		if (strcmp(v->netns, netns) != 0)
			continue;
		assert_false(v->own);
		assert_int_equal(v->nsid, nsid);
		assert_string_equal(v->ifname, "eth0");
		assert_string_equal(v->kind, kind);
		assert_int_equal(v->parent, if_nametoindex(parent));
		assert_int_equal(v->n_addrs, 1);
		assert_int_equal(v->addrs[0], inet_addr(addr));
		return;
	}
	fail_msg("%s is not listed", netns);
}

void test_guest_macvlan(void **state)
{
	struct netns_guests g;
	int fd = free_fd();
	char pid[32];
	pid_t named, nameless;

	(void)state;
	sh(PARENT);
	named = pod_start();
	nameless = pod_start();
	pod_guest(named, "up0", "macvlan mode bridge", "10.244.1.11/24");
	pod_guest(nameless, "up0", "macvtap mode bridge", "10.244.1.12/24");
	pod_name(named, "cni-1");
	pod_name(named, "cni-2"); /* the same one again */
	sh("touch /run/netns/stale");
	assert_int_equal(pod_id(named), NL_NSID_NONE);
	assert_int_equal(pod_id(nameless), NL_NSID_NONE);

	assert_int_equal(netns_guests_read(&g, skip_none, NULL), 0);
	assert_int_equal(g.n, 2);
	assert_guest(&g, strcmp(g.v[0].netns, "cni-2") ? "cni-1" : "cni-2", NL_NSID_NONE, "macvlan",
		     "up0", "10.244.1.11");
	(void)snprintf(pid, sizeof(pid), "pid %d", nameless);
	assert_guest(&g, pid, NL_NSID_NONE, "macvtap", "up0", "10.244.1.12");
	netns_guests_free(&g);

	/* nothing was kept, no id either */
	assert_int_equal(free_fd(), fd);
	assert_int_equal(pod_id(named), NL_NSID_NONE);
	sh("ip link del up0");
	assert_int_equal(netns_guests_read(&g, skip_none, NULL), 0);
	assert_int_equal(g.n, 0);
	netns_guests_free(&g);
}

/* Where the kernel has it; macvlans are found in the same way. */
static const char *ipvlan(void)
{
	if (system("ip link add link up1 name try0 type ipvlan mode l3 2>/dev/null") != 0)
		return "macvlan";
	sh("ip link del try0");
	return "ipvlan";
}

void test_guest_ipvlan(void **state)
{
	struct netns_guests g;
	pid_t direct, moved;
	const char *kind;
	int32_t id;

	(void)state;
	sh(PARENT);
	kind = ipvlan();
	direct = pod_start();
	moved = pod_start();
	pod_name(direct, "direct");
	pod_name(moved, "moved");
	pod_guest(direct, "up0", kind, "10.244.1.11/32");
	/* moved in: its namespace has an id in ours */
	sh("ip link add link up0 name tmp0 type %s && ip link set tmp0 netns %d name eth0 && "
	   "nsenter -n -t %d ip addr add 10.244.1.12/32 dev eth0",
	   kind, moved, moved);
	assert_int_equal(pod_id(direct), NL_NSID_NONE);
	id = pod_id(moved);
	assert_int_not_equal(id, NL_NSID_NONE);
	assert_int_equal(netns_guests_read(&g, skip_none, NULL), 0);
	assert_int_equal(g.n, 2);
	assert_guest(&g, "direct", NL_NSID_NONE, kind, "up0", "10.244.1.11");
	assert_guest(&g, "moved", id, kind, "up0", "10.244.1.12");
	netns_guests_free(&g);

	assert_int_equal(netns_guests_read(&g, skip_one, &id), 0);
	assert_int_equal(g.n, 1);
	assert_guest(&g, "direct", NL_NSID_NONE, kind, "up0", "10.244.1.11");
	netns_guests_free(&g);
}

void test_guest_foreign(void **state)
{
	struct netns_guests g;
	pid_t other, pod;

	(void)state;
	/* another node, its pod on its own interface, and a name for each */
	other = pod_start();
	pod = pod_start();
	pod_name(other, "n2");
	pod_name(pod, "n2p1");
	sh("nsenter -n -t %d sh -c '" PARENT "; "
	   "ip link add link up0 name mv0 type macvlan mode bridge; "
	   "ip link add link up0 name eth0 netns %d type macvlan mode bridge'",
	   other, pod);
	assert_int_equal(netns_guests_read(&g, skip_none, NULL), 0);
	assert_int_equal(g.n, 0);
	netns_guests_free(&g);

	/* It gets to know us, by a pair: its macvlan still is on another one's interface. */
	sh(PARENT);
	pod_wire(other, "wire0", "192.0.2.2/24");
	sh("ip link add cali1 type veth peer name eth1 netns %d && "
	   "nsenter -n -t %d ip link show dev eth1 | grep -q link-netnsid",
	   pod, pod);
	assert_int_equal(netns_guests_read(&g, skip_none, NULL), 0);
	assert_int_equal(g.n, 0);
	netns_guests_free(&g);

	/* our own macvlan is nobody's pod, and our own names are told apart */
	sh("ip link add link up0 name mv0 type macvlan mode bridge");
	pod_name(getpid(), "n1");
	assert_int_equal(netns_guests_read(&g, skip_none, NULL), 0);
	assert_int_equal(g.n, 1);
	assert_true(g.v[0].own);
	assert_string_equal(g.v[0].netns, "n1");
	netns_guests_free(&g);
}

struct seen_ns {
	pid_t stop; /* ends when the walk has begun, 0 none */
	ino_t want;
	unsigned int times;
};

static int on_netns(const char *name, int fd, bool own, void *arg)
{
	struct seen_ns *s = arg;
	struct stat st;

	assert_false(own);
	assert_string_not_equal(name, "stale");
	assert_int_equal(fstat(fd, &st), 0);
	s->times += st.st_ino == s->want;
	if (s->stop)
		pod_stop(s->stop);
	s->stop = 0;
	return 0;
}

static void on_id(int32_t nsid, int fd, void *arg)
{
	struct seen_ns *s = arg;
	struct stat st;

	assert_int_not_equal(nsid, NL_NSID_NONE);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_ino, s->want);
	s->times++;
}

void test_guest_walk(void **state)
{
	struct netns_guests g;
	struct seen_ns s = { 0 };
	pid_t pid, child;
	int status;

	(void)state;
	/* two names and a process, and another one that goes meanwhile: seen once; a name
	 * whose namespace is yet to be mounted: not at all */
	pid = pod_start();
	pod_name(pid, "a");
	pod_name(pid, "b");
	sh("touch /run/netns/stale");
	s.want = pod_inode(pid);
	s.stop = pod_start();
	assert_int_equal(netns_walk(on_netns, &s), 0);
	assert_int_equal(s.stop, 0);
	assert_int_equal(s.times, 1);

	/* without rights nothing is found, and nothing fails */
	sh(PARENT);
	pod_guest(pid, "up0", "macvlan mode bridge", "10.244.1.11/24");
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		if (setgid(NOBODY) || setuid(NOBODY))
			_exit(1);
		_exit(netns_guests_read(&g, skip_none, NULL) == 0 && g.n == 0 ? 0 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);

	/* netns_each() is about ids: our own does not count, and one gets one with a pair */
	sh("touch /run/netns/self && mount --bind /proc/self/ns/net /run/netns/self && "
	   "ip netns set self 77");
	s.times = 0;
	assert_int_equal(netns_each(on_id, &s), 0);
	assert_int_equal(s.times, 0);
	sh("ip link add cali1 type veth peer name eth1 netns %d && ip link show cali1 >/dev/null",
	   pid);
	assert_int_equal(netns_each(on_id, &s), 0);
	assert_int_equal(s.times, 1);
}
