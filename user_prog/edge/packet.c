// SPDX-License-Identifier: GPL-2.0-only
/* Sends the daemon's own frames on the underlay. */
#include "packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

int packet_mark(struct packet *p, uint32_t mark)
{
	return setsockopt(p->fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) ? -errno : 0;
}

int packet_open(struct packet *p, uint32_t mark)
{
	int ret;

	*p = (struct packet){ .fd = -1 };
	p->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0)
		return -errno;
	/*
	 * PACKET_QDISC_BYPASS stays off: it also goes around the TC egress hook, where the
	 * frame has to show its mark and lose it.
	 */
	ret = packet_mark(p, mark);
	if (ret)
		packet_close(p);
	return ret;
}

void packet_close(struct packet *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

int packet_send(struct packet *p, uint32_t ifindex, const void *frame, size_t len)
{
	/* The protocol is what TC filters match: from the socket it would be 0. */
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_IP),
		.sll_ifindex = (int)ifindex,
		.sll_halen = ETH_ALEN,
	};
	ssize_t n;

	if (len < ETH_HLEN) {
		p->failed++;
		return -EINVAL;
	}
	memcpy(to.sll_addr, frame, ETH_ALEN);
	do {
		n = sendto(p->fd, frame, len, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof(to));
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		p->failed++;
		return -errno;
	}
	p->sent++;
	return 0;
}
