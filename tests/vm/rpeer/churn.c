// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pods that come and go while they send.
 *
 * Each worker makes a pod (namespace, pair, program, a process that sends without a pause) and takes
 * it away again at a moment that nobody chose, in one of these ways:
 *
 *   0  the host's end is deleted under the sender: the pair has no peer any more
 *   1  the sender dies, and with it the namespace
 *   2  the host's end moves to another namespace under the sender, and is deleted there
 *   3  both at once: host's end and sender
 *
 * The NIC keeps packets for some milliseconds, so that those of a dead pod, with its sockets, are
 * still there. IPv6 is on: its neighbour discovery sends from sockets of the kernel's own.
 *
 * Namespaces that leak show because only a few more than now are allowed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "bed.h"
#include "suites.h"
#include "tap.h"

#define WORKERS	   3
#define NAMESPACES 60

/* From <linux/if_link.h> of Linux 6.8. */
enum {
	NETKIT_ATTR_PEER_INFO = 1,
	NETKIT_ATTR_MODE = 5,
};

/* What the workers, which are processes, have done. */
static struct shared {
	unsigned int rounds, ways[4], failed;
	char what[128];
} * shared;

static struct nlmsghdr *message(char *buf, __u16 type, __u16 flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return nlh;
}

static int talk(struct mnl_socket *nl, struct nlmsghdr *nlh)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	ssize_t n;

	if (mnl_socket_sendto(nl, nlh, nlh->nlmsg_len) < 0)
		return -errno;
	n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
	if (n < 0 || mnl_cb_run(buf, (size_t)n, 0, 0, NULL, NULL) < 0)
		return -errno;
	return 0;
}

static struct mnl_socket *nl_open(void)
{
	struct mnl_socket *nl = mnl_socket_open(NETLINK_ROUTE);

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0)
		abort();
	return nl;
}

static int pair_add(struct mnl_socket *nl, enum pair pair, const char *host_end, int nsfd)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = message(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct nlattr *info, *data, *peer;
	struct ifinfomsg *ifi;

	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, host_end);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, pair == PAIR_VETH ? "veth" : "netkit");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	if (pair != PAIR_VETH)
		mnl_attr_put_u32(nlh, NETKIT_ATTR_MODE, pair == PAIR_NETKIT_L3);
	peer = mnl_attr_nest_start(nlh, pair == PAIR_VETH ? VETH_INFO_PEER : NETKIT_ATTR_PEER_INFO);
	mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, "pod");
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (__u32)nsfd);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return talk(nl, nlh);
}

/* Set a link up, move it (nsfd >= 0) or delete it. */
static int link_change(struct mnl_socket *nl, __u16 type, const char *name, int nsfd)
{
	char buf[MNL_SOCKET_BUFFER_SIZE];
	struct nlmsghdr *nlh = message(buf, type, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	if (type == RTM_NEWLINK && nsfd < 0)
		ifi->ifi_flags = ifi->ifi_change = IFF_UP;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	if (nsfd >= 0)
		mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (__u32)nsfd);
	return talk(nl, nlh);
}

static int pod_addresses(struct mnl_socket *nl)
{
	static const __u8 mac[6] = { 0x02, 0, 0, 0, 0, 1 };
	char buf[MNL_SOCKET_BUFFER_SIZE];
	__u32 ifindex = if_nametoindex("pod"), ip = inet_addr(POD_IP), far = inet_addr(FAR_IP);
	struct ifaddrmsg *ifa;
	struct nlmsghdr *nlh;
	struct ndmsg *nd;
	struct rtmsg *rt;
	int err;

	nlh = message(buf, RTM_NEWADDR, NLM_F_CREATE);
	ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	ifa->ifa_family = AF_INET;
	ifa->ifa_prefixlen = 32;
	ifa->ifa_index = ifindex;
	mnl_attr_put_u32(nlh, IFA_LOCAL, ip);
	err = talk(nl, nlh);

	nlh = message(buf, RTM_NEWROUTE, NLM_F_CREATE);
	rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));
	rt->rtm_family = AF_INET;
	rt->rtm_dst_len = 32;
	rt->rtm_table = RT_TABLE_MAIN;
	rt->rtm_protocol = RTPROT_STATIC;
	rt->rtm_scope = RT_SCOPE_LINK;
	rt->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(nlh, RTA_DST, far);
	mnl_attr_put_u32(nlh, RTA_OIF, ifindex);
	err = err ?: talk(nl, nlh);

	nlh = message(buf, RTM_NEWNEIGH, NLM_F_CREATE);
	nd = mnl_nlmsg_put_extra_header(nlh, sizeof(*nd));
	nd->ndm_family = AF_INET;
	nd->ndm_state = NUD_PERMANENT;
	nd->ndm_ifindex = (int)ifindex;
	mnl_attr_put_u32(nlh, NDA_DST, far);
	mnl_attr_put(nlh, NDA_LLADDR, sizeof(mac), mac);
	return err ?: talk(nl, nlh);
}

/* The pod: waits for its interface, then sends until it is killed. */
static void pod(int prog_fd, int go, int tell)
{
	struct sockaddr_in far = { .sin_family = AF_INET, .sin_port = htons(BED_PORT) };
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1, .prog_fd = prog_fd);
	struct mnl_socket *nl;
	int fd, tcp = -1, i, err;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	far.sin_addr.s_addr = inet_addr(FAR_IP);
	for (i = 0; unshare(CLONE_NEWNET) && i < 600; i++)
		usleep(100000);
	c = i < 600 ? 'n' : 'L';
	if (write(tell, &c, 1) != 1 || read(go, &c, 1) != 1)
		_exit(1);
	nl = nl_open();
	hook.ifindex = (int)if_nametoindex("pod");
	err = bpf_tc_hook_create(&hook) ?: bpf_tc_attach(&hook, &opts);
	err = err ?: link_change(nl, RTM_NEWLINK, "pod", -1) ?: pod_addresses(nl);
	c = err ? 'e' : 's';
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	for (i = 0;; i++) {
		if (i % 64 == 0) {
			/* A socket with timers: its SYN goes out, no answer comes. */
			if (tcp >= 0)
				close(tcp);
			tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
			connect(tcp, (struct sockaddr *)&far, sizeof(far));
		}
		sendto(fd, &far, sizeof(far), 0, (struct sockaddr *)&far, sizeof(far));
		if (i == 3 && write(tell, &c, 1) != 1)
			_exit(1);
		if (err)
			pause();
	}
}

static void complain(unsigned int round, const char *what, int err)
{
	if (__sync_fetch_and_add(&shared->failed, 1) == 0)
		snprintf(shared->what, sizeof(shared->what), "round %u: %s: %s", round, what,
			 strerror(-err));
}

/* A byte from the pod within a minute, 0: none */
static char hear(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c = 0;

	if (poll(&p, 1, 60000) != 1 || read(fd, &c, 1) != 1)
		return 0;
	return c;
}

static void one_round(struct mnl_socket *host, struct mnl_socket *far, enum pair pair,
		      unsigned int round, int prog_fd, int far_ns)
{
	int go[2], tell[2], nsfd = -1, err = 0;
	unsigned int way = (unsigned int)random() % 4;
	char name[IFNAMSIZ], path[64];
	bool moved = false;
	pid_t pid;

	snprintf(name, sizeof(name), "h%u", round);
	if (pipe2(go, O_CLOEXEC) || pipe2(tell, O_CLOEXEC))
		return;
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		close(tell[0]);
		pod(prog_fd, go[0], tell[1]);
	}
	close(go[0]);
	close(tell[1]);
	if (hear(tell[0]) != 'n') {
		complain(round, "no new network namespace; do old ones stay?", -ENOSPC);
		goto out;
	}
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	nsfd = open(path, O_RDONLY | O_CLOEXEC);
	err = pair_add(host, pair, name, nsfd);
	close(nsfd);
	if (err) {
		complain(round, "making the pair", err);
		goto out;
	}
	if (write(go[1], "g", 1) != 1 || hear(tell[0]) != 's') {
		complain(round, "the pod does not come up", -EIO);
		goto out;
	}
	usleep((unsigned int)random() % 3000);
	if (way == 3)
		kill(pid, SIGKILL);
	if (way == 2) {
		err = link_change(host, RTM_NEWLINK, name, far_ns);
		moved = !err;
	}
	if (way == 1) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		pid = 0;
	}
	/* Way 1: the pair goes with the namespace, now or later. */
	if (way != 1)
		err = err ?: link_change(moved ? far : host, RTM_DELLINK, name, -1);
	if (err && !(way == 3 && err == -ENODEV))
		complain(round, "taking the pod away", err);
	/* A sender without its pair goes on for a moment. */
	if (way != 1 && way != 3)
		usleep((unsigned int)random() % 1000);
	__sync_fetch_and_add(&shared->ways[way], 1);
	__sync_fetch_and_add(&shared->rounds, 1);
out:
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(go[1]);
	close(tell[0]);
}

static void worker(enum pair pair, unsigned int first, unsigned int rounds, int prog_fd)
{
	struct mnl_socket *host, *far;
	unsigned int i;
	int far_ns;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	srandom(first + 1);
	far_ns = open("/run/netns/rpeer-far", O_RDONLY | O_CLOEXEC);
	bed_enter(NS_FAR);
	far = nl_open();
	bed_enter(NS_HOST);
	host = nl_open();
	for (i = first; i < rounds && !shared->failed; i += WORKERS)
		one_round(host, far, pair, i, prog_fd, far_ns);
}

static void churn(enum pair pair, const char *name, unsigned int rounds)
{
	pid_t pids[WORKERS];
	unsigned int i, next = 500;
	long long limit, before, fallback;
	struct rpeer_seen *seen;
	time_t start = time(NULL);
	int running = WORKERS, lfd;

	tap_case("%s: %u pods come and go while they send", name, rounds);
	if (bed_up(pair))
		return;
	seen = (struct rpeer_seen *)&bed_bpf->bss->seen;
	if (bed_attach(NS_HOST, "nic", false, bed_bpf->progs.tc_nic_egress) ||
	    bed_run("tc -n rpeer-host qdisc add dev nic root netem delay 20ms limit 2000"))
		return;
	/* The sink */
	lfd = bed_server(NS_FAR, AF_INET, SOCK_DGRAM, FAR_IP);
	memset(shared, 0, sizeof(*shared));
	/* Half a dozen tunnels in each namespace would be most of the work. */
	fallback = bed_number("sysctl -n net.core.fb_tunnels_only_for_init_net");
	bed_run("sysctl -qw net.core.fb_tunnels_only_for_init_net=2");
	before = bed_number("sysctl -n user.max_net_namespaces");
	limit = bed_number("lsns -t net -n | wc -l") + NAMESPACES;
	bed_run("sysctl -qw user.max_net_namespaces=%lld", limit);
	for (i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			worker(pair, i, rounds, bpf_program__fd(bed_bpf->progs.tc_pod));
			_exit(0);
		}
	}
	while (running) {
		sleep(1);
		running = 0;
		for (i = 0; i < WORKERS; i++) {
			if (pids[i] && waitpid(pids[i], NULL, WNOHANG) == pids[i])
				pids[i] = 0;
			running += !!pids[i];
		}
		if (shared->rounds >= next) {
			tap_note("%u rounds after %ld s", shared->rounds,
				 (long)(time(NULL) - start));
			next = shared->rounds + 500;
		}
	}
	bed_run("sysctl -qw user.max_net_namespaces=%lld "
		"net.core.fb_tunnels_only_for_init_net=%lld",
		before, fallback);
	CHECK(!shared->failed, "%s (%u failures)", shared->what, shared->failed);
	CHECK_EQ(shared->rounds, rounds);
	CHECK(seen->at_nic > 4 * rounds, "%u packets at the NIC", seen->at_nic);
	tap_note("%s: %u rounds in %ld s (host's end deleted %u, pod died %u, moved %u, both %u), "
		 "%u packets at the NIC",
		 name, shared->rounds, (long)(time(NULL) - start), shared->ways[0], shared->ways[1],
		 shared->ways[2], shared->ways[3], seen->at_nic);
	/* Not for sure in a short run, but the very thing that a long one is for. */
	tap_note("%s: %u packets found no peer or no target", name,
		 seen->reasons[bed_reason("DEV_READY")]);
	if (rounds >= 1000)
		CHECK(seen->reasons[bed_reason("DEV_READY")] > 0, "the race was never run");
	close(lfd);
	bed_down();
}

void suite_churn(unsigned int rounds)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return;
	churn(PAIR_VETH, "veth", rounds);
	churn(PAIR_NETKIT_L2, "netkit L2", rounds / 5);
	churn(PAIR_NETKIT_L3, "netkit L3", rounds / 5);
}
