// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP small queues: a socket has no more in the queues below it than about two packets or one
 * millisecond, whichever is more. The account is kept by skb->sk, so it shows whether a packet is
 * still its socket's: a slow NIC's queue stays short when it is, and fills up with the whole
 * window when it is not.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bed.h"
#include "suites.h"
#include "tap.h"

#define SECONDS 6

enum way {
	WAY_RPEER,
	WAY_HOST_END,
	WAY_ROUTED,
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int prepare(enum way way)
{
	if (bed_up(PAIR_VETH) || bed_attach(NS_HOST, "nic", true, bed_bpf->progs.tc_nic_ingress) ||
	    bed_run("tc -n rpeer-host qdisc add dev nic root tbf rate 20mbit burst 16kb limit 16m"))
		return -1;
	if (way == WAY_RPEER)
		return bed_attach(NS_POD, "pod", false, bed_bpf->progs.tc_pod);
	if (way == WAY_HOST_END)
		return bed_attach(NS_HOST, "pod_host", true, bed_bpf->progs.tc_host_ingress);
	return bed_run("ip -n rpeer-host -batch - <<-'END'\n"
		       "link set pod_host address " POD_GW_MAC "\n"
		       "addr add 172.30.9.1/32 dev pod_host\n"
		       "route add " FAR_IP " dev nic\n"
		       "route add " POD_IP " dev pod_host\n"
		       "neigh add " FAR_IP " dev nic lladdr " FAR_MAC "\n"
		       "END\n") ||
	       bed_sysctl(NS_HOST, "ipv4/ip_forward", "1");
}

/*
 * The longest queue at the NIC while the pod sends TCP as fast as it can.
 * Return: bytes, or -1.
 */
static long long longest(enum way way, long long *received)
{
	static char data[65536];
	const int buffer = 8 << 20;
	long long max = -1, backlog;
	pid_t sender, reader;
	int lfd, cfd, sfd, pipefd[2];
	double until;

	if (prepare(way))
		return -1;
	lfd = bed_server(NS_FAR, AF_INET, SOCK_STREAM, FAR_IP);
	/* Nothing but TCP small queues shall hold the sender back: neither buffers nor CUBIC,
	 * which takes a growing delay for a reason to.
	 */
	setsockopt(lfd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
	cfd = lfd < 0 ? -1 : bed_client(NS_POD, AF_INET, SOCK_STREAM, FAR_IP);
	sfd = cfd < 0 ? -1 : accept(lfd, NULL, NULL);
	if (!CHECK(sfd >= 0, "no connection") || pipe(pipefd))
		return -1;
	CHECK_EQ(setsockopt(cfd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)), 0);
	CHECK_EQ(setsockopt(cfd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4), 0);
	sender = fork();
	if (sender == 0) {
		while (send(cfd, data, sizeof(data), 0) > 0)
			;
		_exit(0);
	}
	close(cfd);
	reader = fork();
	if (reader == 0) {
		long long sum = 0;
		ssize_t n;

		/* The sum so far, so that nobody has to wait for the end of the queue. */
		while ((n = recv(sfd, data, sizeof(data), 0)) > 0) {
			sum += n;
			if (write(pipefd[1], &sum, sizeof(sum)) < 0)
				break;
		}
		_exit(0);
	}
	close(sfd);
	close(pipefd[1]);
	until = now() + SECONDS;
	*received = 0;
	while (now() < until) {
		long long sums[512];
		ssize_t n;

		backlog = bed_number("tc -n rpeer-host -s -j qdisc show dev nic root | "
				     "grep -o '\"backlog\":[0-9]*' | grep -o '[0-9]*$'");
		if (backlog > max)
			max = backlog;
		n = read(pipefd[0], sums, sizeof(sums));
		if (n >= (ssize_t)sizeof(sums[0]))
			*received = sums[n / (ssize_t)sizeof(sums[0]) - 1];
	}
	kill(sender, SIGKILL);
	kill(reader, SIGKILL);
	waitpid(sender, NULL, 0);
	waitpid(reader, NULL, 0);
	close(pipefd[0]);
	close(lfd);
	bed_down();
	return max;
}

void suite_tsq(void)
{
	long long rpeer, host_end, routed, got;

	tap_case("TCP small queues throttle the pod's socket at the NIC");
	rpeer = longest(WAY_RPEER, &got);
	if (tap_failed())
		return;
	tap_note("bpf_redirect_rpeer(): at most %lld bytes queued at the NIC, %lld delivered",
		 rpeer, got);
	CHECK(got > 20000000 / 8 * SECONDS / 3, "%lld bytes in %d s at 20 Mbit/s", got, SECONDS);
	host_end = longest(WAY_HOST_END, &got);
	tap_note("bpf_redirect() at the host's end: at most %lld, %lld delivered", host_end, got);
	routed = longest(WAY_ROUTED, &got);
	tap_note("routed by the host: at most %lld, %lld delivered", routed, got);
	/* Some packets of up to 64 KiB, and 1 ms of 20 Mbit/s is little beside them. */
	CHECK(rpeer >= 0 && rpeer <= 256 * 1024, "%lld bytes queued", rpeer);
	/* And the bed is one in which it shows. */
	CHECK(routed > 4 * rpeer, "%lld bytes queued, %lld with bpf_redirect_rpeer()", routed,
	      rpeer);
}
