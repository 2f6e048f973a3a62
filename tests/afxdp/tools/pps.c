// SPDX-License-Identifier: GPL-2.0-only
/*
 * The smallest UDP packets there are, as many as go: pps ADDRESS PORT SECONDS
 *
 * 18 bytes of payload make frames of 64 bytes, check sequence included. Prints how many were sent, in how
 * many seconds, and the CPU time that it took: on veth, with all that softirqs did meanwhile. How many arrive somebody else counts, without a socket: see measure.bash.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH	64
#define PAYLOAD 18

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	char payload[PAYLOAD] = "pps";
	struct iovec iov = { payload, sizeof(payload) };
	struct mmsghdr msg[BATCH];
	struct rusage used;
	unsigned long long sent = 0;
	double start, end;
	int fd, i, n;

	if (argc != 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || atof(argv[3]) <= 0) {
		fprintf(stderr, "usage: pps ADDRESS PORT SECONDS\n");
		return 2;
	}
	to.sin_port = htons((unsigned short)atoi(argv[2]));
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		perror("pps");
		return 1;
	}
	memset(msg, 0, sizeof(msg));
	for (i = 0; i < BATCH; i++) {
		msg[i].msg_hdr.msg_iov = &iov;
		msg[i].msg_hdr.msg_iovlen = 1;
	}
	start = now();
	end = start + atof(argv[3]);
	while (now() < end) {
		n = sendmmsg(fd, msg, BATCH, 0);
		if (n > 0)
			sent += (unsigned int)n;
		else if (errno != ENOBUFS && errno != ECONNREFUSED) {
			perror("pps: sendmmsg");
			return 1;
		}
	}
	end = now();
	getrusage(RUSAGE_SELF, &used);
	printf("%llu %.6f %.6f\n", sent, end - start,
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
	close(fd);
	return 0;
}
