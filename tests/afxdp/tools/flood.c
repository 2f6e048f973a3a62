// SPDX-License-Identifier: GPL-2.0-only
/*
 * UDP frames of 64 bytes, made in the kernel, so that the sender is not what limits:
 *
 *	flood INTERFACE FROM-MAC TO-MAC FROM TO PORT SECONDS
 *
 * They leave INTERFACE without a socket, a route or a queue. On veth they are with its peer's XDP program
 * at once; that end needs one, or `ethtool -K PEER gro on`. Prints as pps does: how many were made, in how many
 * seconds, with how much CPU time; that of the peer's receiving side is in it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "csum.h"
#include "flood.skel.h"

#define FRAME 60 /* and the check sequence */
#define BATCH 64
#define ROUND 16384

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, ap) : 0;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Return: 0, or -1 when an argument is none of what it has to be. */
static int build(uint8_t *frame, char **arg)
{
	struct ether_header eth = { .ether_type = htons(ETHERTYPE_IP) };
	struct iphdr ip = { .version = 4,
			    .ihl = 5,
			    .ttl = 64,
			    .protocol = IPPROTO_UDP,
			    .tot_len = htons(FRAME - sizeof(eth)) };
	struct udphdr udp = { .len = htons(FRAME - sizeof(eth) - sizeof(ip)),
			      .source = htons(9999),
			      .dest = htons((uint16_t)atoi(arg[4])) };
	struct ether_addr *mac = ether_aton(arg[0]);

	if (!mac)
		return -1;
	memcpy(eth.ether_shost, mac, 6);
	mac = ether_aton(arg[1]);
	if (!mac || inet_pton(AF_INET, arg[2], &ip.saddr) != 1 ||
	    inet_pton(AF_INET, arg[3], &ip.daddr) != 1 || !udp.dest)
		return -1;
	memcpy(eth.ether_dhost, mac, 6);
	ip.check = (uint16_t)~csum_fold(csum_bytes(&ip, sizeof(ip), 0));
	memset(frame, 0, FRAME);
	memcpy(frame, &eth, sizeof(eth));
	memcpy(frame + sizeof(eth), &ip, sizeof(ip));
	memcpy(frame + sizeof(eth) + sizeof(ip), &udp, sizeof(udp));
	return 0;
}

static int run(int fd, const uint8_t *frame, double seconds)
{
	struct bpf_test_run_opts opts = { .sz = sizeof(opts),
					  .data_in = frame,
					  .data_size_in = FRAME,
					  .repeat = ROUND,
					  .batch_size = BATCH,
					  .flags = BPF_F_TEST_XDP_LIVE_FRAMES };
	unsigned long long sent = 0;
	double start = now(), end = start + seconds;
	struct rusage used;
	int err;

	for (; now() < end; sent += ROUND) {
		err = bpf_prog_test_run_opts(fd, &opts);
		if (err) {
			fprintf(stderr, "flood: no live frames (Linux 5.18 has them): %s\n",
				strerror(-err));
			return 1;
		}
	}
	getrusage(RUSAGE_SELF, &used);
	printf("%llu %.6f %.6f\n", sent, now() - start,
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	return 0;
}

int main(int argc, char **argv)
{
	struct flood_bpf *skel;
	unsigned int ifindex;
	uint8_t frame[FRAME];
	int rc = 1;

	ifindex = argc == 8 ? if_nametoindex(argv[1]) : 0;
	if (!ifindex || build(frame, argv + 2) || atof(argv[7]) <= 0) {
		fprintf(stderr, "usage: flood INTERFACE FROM-MAC TO-MAC FROM TO PORT SECONDS\n");
		return 2;
	}
	libbpf_set_print(quiet);
	skel = flood_bpf__open();
	if (!skel) {
		perror("flood: cannot read the program");
		return 1;
	}
	skel->rodata->flood_ifindex = ifindex;
	if (flood_bpf__load(skel))
		fprintf(stderr, "flood: the kernel does not take the program\n");
	else
		rc = run(bpf_program__fd(skel->progs.flood), frame, atof(argv[7]));
	flood_bpf__destroy(skel);
	return rc;
}
