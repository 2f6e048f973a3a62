// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bed.h"
#include "suites.h"
#include "tap.h"

#define BULK (4U << 20)

#ifndef SO_TXTIME
#define SO_TXTIME 61
#endif

static const struct {
	enum pair pair;
	const char *name;
} pairs[] = {
	{ PAIR_VETH, "veth" },
	{ PAIR_NETKIT_L2, "netkit L2" },
	{ PAIR_NETKIT_L3, "netkit L3" },
};

static struct rpeer_seen *seen(void)
{
	return (struct rpeer_seen *)&bed_bpf->bss->seen;
}

static struct rpeer_conf *conf(void)
{
	return (struct rpeer_conf *)&bed_bpf->bss->conf;
}

static int programs_on(const char *pod_dev)
{
	/* The pod's last: what it redirects is to be counted at the NIC. */
	return bed_attach(NS_HOST, "nic", false, bed_bpf->progs.tc_nic_egress) ||
	       bed_attach(NS_HOST, "nic", true, bed_bpf->progs.tc_nic_ingress) ||
	       bed_attach(NS_POD, pod_dev, false, bed_bpf->progs.tc_pod);
}

/* A request of the pod's and its answer. */
static void roundtrip(int family, int type)
{
	const char *far = family == AF_INET ? FAR_IP : FAR_IP6;
	int lfd, cfd, sfd = -1;
	struct sockaddr_storage ss;
	socklen_t slen = sizeof(ss);
	char buf[64] = { 0 };

	lfd = bed_server(NS_FAR, family, type, far);
	cfd = lfd < 0 ? -1 : bed_client(NS_POD, family, type, far);
	if (cfd < 0)
		goto out;
	CHECK_EQ(send(cfd, "request", 7, 0), 7);
	sfd = type == SOCK_STREAM ? accept(lfd, NULL, NULL) : dup(lfd);
	if (!CHECK(sfd >= 0, "%s", strerror(errno)))
		goto out;
	CHECK_EQ(recvfrom(sfd, buf, sizeof(buf), 0, (struct sockaddr *)&ss, &slen), 7);
	CHECK(strcmp(buf, "request") == 0, "%s", buf);
	if (type == SOCK_STREAM)
		CHECK_EQ(send(sfd, "answer", 6, 0), 6);
	else
		CHECK_EQ(sendto(sfd, "answer", 6, 0, (struct sockaddr *)&ss, slen), 6);
	CHECK_EQ(recv(cfd, buf, sizeof(buf), 0), 6);
	CHECK(memcmp(buf, "answer", 6) == 0, "%s", buf);
out:
	if (sfd >= 0)
		close(sfd);
	if (cfd >= 0)
		close(cfd);
	if (lfd >= 0)
		close(lfd);
}

static uint32_t pattern(uint32_t i)
{
	return i * 2654435761U;
}

/* BULK bytes of TCP in segments as large as they come, every word of which is checked. */
static void bulk(void)
{
	int lfd = bed_server(NS_FAR, AF_INET, SOCK_STREAM, FAR_IP), cfd, sfd;
	uint32_t i, n, word, buf[4096];
	pid_t pid;
	int status;

	cfd = lfd < 0 ? -1 : bed_client(NS_POD, AF_INET, SOCK_STREAM, FAR_IP);
	sfd = cfd < 0 ? -1 : accept(lfd, NULL, NULL);
	if (!CHECK(sfd >= 0, "no connection"))
		return;
	pid = fork();
	if (pid == 0) {
		for (i = 0; i < BULK / 4; i += n) {
			for (n = 0; n < 4096; n++)
				buf[n] = pattern(i + n);
			if (send(cfd, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf))
				_exit(1);
		}
		shutdown(cfd, SHUT_WR);
		_exit(0);
	}
	for (i = 0; i < BULK / 4; i++) {
		if (recv(sfd, &word, 4, MSG_WAITALL) != 4) {
			tap_fail("stream ends after %u bytes: %s", i * 4, strerror(errno));
			break;
		}
		if (word != pattern(i)) {
			tap_fail("byte %u is wrong", i * 4);
			break;
		}
	}
	close(sfd);
	close(cfd);
	close(lfd);
	waitpid(pid, &status, 0);
	CHECK_EQ(status, 0);
}

static void traffic(enum pair pair, const char *name)
{
	long long tx, tx_after;

	tap_case("%s: TCP and UDP, IPv4 and IPv6, there and back past the host", name);
	if (bed_up(pair) || programs_on("pod"))
		return;
	roundtrip(AF_INET, SOCK_STREAM);
	roundtrip(AF_INET, SOCK_DGRAM);
	roundtrip(AF_INET6, SOCK_STREAM);
	roundtrip(AF_INET6, SOCK_DGRAM);
	CHECK(seen()->at_nic >= 8, "%u packets at the NIC", seen()->at_nic);
	CHECK_EQ(seen()->called, seen()->at_nic);
	CHECK_EQ(seen()->dropped, 0);

	tap_case("%s: the program's mark is on all of them, the pod's socket on the data", name);
	CHECK_EQ(seen()->at_nic_marked, seen()->at_nic);
	CHECK(seen()->at_nic_owned >= 8, "%u packets with a socket", seen()->at_nic_owned);

	tap_case("%s: 4 MiB of TCP, every word checked, counted by the pod's device", name);
	bed_reset();
	tx = bed_stat(NS_POD, "pod", TX_BYTES);
	bulk();
	tx_after = bed_stat(NS_POD, "pod", TX_BYTES);
	CHECK(tx_after - tx >= (long long)BULK && tx_after - tx < (long long)BULK * 11 / 10,
	      "tx_bytes grew by %lld", tx_after - tx);
	/* GSO is intact when packets are fewer than segments. */
	CHECK(seen()->at_nic < BULK / 1448, "%u packets", seen()->at_nic);
	tap_note("%s: %u bytes in %u packets", name, BULK, seen()->at_nic);
	bed_down();
}

static void tcx(void)
{
	int fd;

	tap_case("tcx: TCP and UDP");
	if (bed_up(PAIR_VETH) || bed_attach(NS_HOST, "nic", false, bed_bpf->progs.tc_nic_egress) ||
	    bed_attach(NS_HOST, "nic", true, bed_bpf->progs.tc_nic_ingress))
		return;
	fd = bed_attach_tcx(NS_POD, "pod", bed_bpf->progs.tc_pod);
	if (fd == -EINVAL) {
		tap_skip("allowed: this kernel has no tcx");
		goto out;
	}
	if (!CHECK(fd >= 0, "%s", strerror(-fd)))
		goto out;
	roundtrip(AF_INET, SOCK_STREAM);
	roundtrip(AF_INET, SOCK_DGRAM);
	CHECK(seen()->at_nic >= 4, "%u packets at the NIC", seen()->at_nic);
	CHECK_EQ(seen()->called, seen()->at_nic);
out:
	if (fd >= 0)
		close(fd);
	bed_down();
}

static unsigned int netns_inode(const char *name)
{
	struct stat st;
	char path[64];

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	return stat(path, &st) ? 0 : (unsigned int)st.st_ino;
}

/* A UDP datagram of the pod's with what the pod may choose: mark, priority, time of departure. */
static void send_chosen(unsigned int mark, int priority, uint64_t txtime)
{
	int fd = bed_client(NS_POD, AF_INET, SOCK_DGRAM, FAR_IP);
	struct {
		clockid_t clock;
		uint32_t flags;
	} how = { .clock = CLOCK_MONOTONIC };
	char control[CMSG_SPACE(sizeof(txtime))];
	struct iovec iov = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd < 0)
		return;
	if (mark)
		CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)), 0);
	if (priority)
		CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)), 0);
	if (txtime) {
		CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_TXTIME, &how, sizeof(how)), 0);
		memset(control, 0, sizeof(control));
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SO_TXTIME;
		c->cmsg_len = CMSG_LEN(sizeof(txtime));
		memcpy(CMSG_DATA(c), &txtime, sizeof(txtime));
	}
	CHECK_EQ(sendmsg(fd, &msg, 0), 1);
	close(fd);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

static void scrub(enum pair pair, const char *name)
{
	struct rpeer_seen was;
	uint64_t when;

	tap_case("%s: route and conntrack entry stay behind", name);
	if (bed_up(pair) || programs_on("pod") ||
	    bed_run("ip netns exec rpeer-pod nft 'add table ip t; add chain ip t o "
		    "{ type filter hook output priority 0; }; "
		    "add rule ip t o ct state new,established counter'"))
		return;
	/* What a packet has when it does not cross, or the test could not fail. */
	conf()->act = RPEER_ACT_PASS;
	send_chosen(BED_MARK, 0, 0);
	was = *seen();
	if (CHECK_EQ(was.queue[0].packets, 1)) {
		CHECK(was.queue[0].ct, "no conntrack entry in the pod");
		if (pair == PAIR_VETH && !was.queue[0].dst)
			tap_note("veth releases the route by itself");
		CHECK_EQ(was.queue[0].sk_netns, netns_inode("rpeer-pod"));
	}
	conf()->act = RPEER_ACT_REDIRECT;
	bed_reset();
	send_chosen(0, 0, 0);
	if (CHECK_EQ(seen()->queue[1].packets, 1)) {
		CHECK_EQ(seen()->queue[1].ct, 0);
		CHECK_EQ(seen()->queue[1].dst, 0);
		CHECK_EQ(seen()->queue[1].ext, 0);
		CHECK_EQ(seen()->queue[1].iif, 0);
	}

	tap_case("%s: the socket crosses, and is still the pod's", name);
	CHECK_EQ(seen()->queue[1].sk_netns, netns_inode("rpeer-pod"));

	tap_case("%s: the program's mark replaces the pod's", name);
	bed_reset();
	send_chosen(0xbad, 0, 0);
	CHECK_EQ(seen()->at_nic, 1);
	CHECK_EQ(seen()->mark, BED_MARK);

	tap_case("%s: mark and priority of the pod cross when the program lets them", name);
	conf()->mark = 0;
	bed_reset();
	send_chosen(0xbad, 5, 0);
	CHECK_EQ(seen()->at_nic, 1);
	CHECK_EQ(seen()->mark, 0xbad);
	CHECK_EQ(seen()->priority, 5);
	conf()->mark = BED_MARK;

	tap_case("%s: a timestamp is cleared", name);
	conf()->tstamp = 12345;
	bed_reset();
	send_chosen(0, 0, 0);
	CHECK_EQ(seen()->at_nic, 1);
	CHECK_EQ(seen()->tstamp_type, 0);
	CHECK_EQ(seen()->tstamp, 0);
	conf()->tstamp = 0;

	tap_case("%s: a delivery time is kept", name);
	bed_reset();
	roundtrip(AF_INET, SOCK_STREAM);
	CHECK_EQ(seen()->tstamp_type, 1);
	CHECK(llabs((long long)(seen()->tstamp - now_ns())) < 60000000000, "TCP: %llu",
	      (unsigned long long)seen()->tstamp);
	when = now_ns() + 100000000;
	bed_reset();
	send_chosen(0, 0, when);
	/* Linux 6.1 does not tell UDP's delivery time from a receive timestamp, and clears it. */
	CHECK(seen()->tstamp == (seen()->tstamp_type ? when : 0), "UDP: %llu, type %u",
	      (unsigned long long)seen()->tstamp, seen()->tstamp_type);
	tap_note("UDP with SO_TXTIME: delivery time %s", seen()->tstamp ? "kept" : "cleared");
	bed_down();
}

/* A tun device in the host: what its owner reads is the packet as it was transmitted. */
static void no_mac_target(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	unsigned char packet[2048];
	ssize_t n;
	int fd;

	tap_case("a target without link layer header gets the packet without");
	if (bed_up(PAIR_VETH) || programs_on("pod"))
		return;
	strcpy(ifr.ifr_name, "tun");
	bed_enter(NS_HOST);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr))
		tap_fail("tun: %s", strerror(errno));
	bed_enter(NS_OUTSIDE);
	if (tap_failed() || bed_run("ip -n rpeer-host link set tun up mtu 1500"))
		goto out;
	while (read(fd, packet, sizeof(packet)) > 0)
		;
	conf()->target = (__u32)bed_ifindex(NS_HOST, "tun");
	/* The largest that fits: 1500 bytes of IP. */
	CHECK_EQ(bed_send(NS_POD, FAR_IP, 1472), 0);
	do {
		n = read(fd, packet, sizeof(packet));
	} while (n > 0 && packet[0] != 0x45);
	CHECK_EQ(n, 1500);
	CHECK_EQ(packet[0], 0x45);
	CHECK_EQ(packet[9], IPPROTO_UDP);
	CHECK_EQ(seen()->dropped, 0);
out:
	if (fd >= 0)
		close(fd);
	bed_down();
}

/* The host's end as the target: the packet comes back to where it came from. */
static void back_into_the_pod(void)
{
	long long before;
	int i;

	tap_case("the host's end of the pair is a target like any other");
	if (bed_up(PAIR_VETH) || programs_on("pod"))
		return;
	conf()->target = conf()->host_end;
	before = bed_stat(NS_POD, "pod", RX_PACKETS);
	CHECK_EQ(bed_send(NS_POD, FAR_IP, 10), 0);
	for (i = 0; i < 200 && bed_stat(NS_POD, "pod", RX_PACKETS) == before; i++)
		usleep(10000);
	CHECK(bed_stat(NS_POD, "pod", RX_PACKETS) > before, "nothing comes back");
	CHECK(seen()->called >= 1, "nothing was redirected");
	CHECK_EQ(seen()->at_nic, 0);
	bed_down();
}

void suite_good(void)
{
	unsigned int i;

	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		traffic(pairs[i].pair, pairs[i].name);
	tcx();
	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		scrub(pairs[i].pair, pairs[i].name);
	no_mac_target();
	back_into_the_pod();
}

void suite_absent(void)
{
	tap_case("without the kfunc the object loads, and its program can tell");
	if (bed_up(PAIR_VETH) || bed_attach(NS_POD, "pod", false, bed_bpf->progs.tc_pod))
		return;
	CHECK_EQ(bed_send(NS_POD, FAR_IP, 10), 0);
	CHECK_EQ(seen()->called, 1);
	CHECK_EQ(seen()->ret, -RPEER_ACT_ABSENT);
	bed_down();
}
