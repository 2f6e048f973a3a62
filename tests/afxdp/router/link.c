// SPDX-License-Identifier: GPL-2.0-only
#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static __be32 ip_of(const struct ifreq *ifr)
{
	struct sockaddr_in sin;

	memcpy(&sin, &ifr->ifr_addr, sizeof(sin));
	return sin.sin_addr.s_addr;
}

/* A driver without channels has one queue. */
static void get_queues(int fd, struct ifreq ifr, struct link *l)
{
	struct ethtool_channels ch = { .cmd = ETHTOOL_GCHANNELS };
	int err;

	l->rx = l->tx = 1;
	ifr.ifr_data = (void *)&ch;
	err = ioctl(fd, SIOCETHTOOL, &ifr);
	if (err)
		return;
	if (ch.rx_count + ch.combined_count)
		l->rx = ch.rx_count + ch.combined_count;
	if (ch.tx_count + ch.combined_count)
		l->tx = ch.tx_count + ch.combined_count;
}

int link_get(const char *name, struct link *l, const char **what)
{
	struct ifreq ifr = { 0 };
	int fd, err = 0;

	memset(l, 0, sizeof(*l));
	*what = "name";
	if (strlen(name) >= sizeof(ifr.ifr_name))
		return -ENAMETOOLONG;
	memcpy(ifr.ifr_name, name, strlen(name) + 1);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
#define ASK(request, text)                      \
	do {                                    \
		*what = (text);                 \
		if (ioctl(fd, request, &ifr)) { \
			err = -errno;           \
			goto cleanup;           \
		}                               \
	} while (0)
	ASK(SIOCGIFINDEX, "interface");
	l->ifindex = ifr.ifr_ifindex;
	ASK(SIOCGIFFLAGS, "flags");
	l->up = ifr.ifr_flags & IFF_UP;
	ASK(SIOCGIFHWADDR, "MAC address");
	if (ifr.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
		*what = "Ethernet";
		err = -EPROTONOSUPPORT;
		goto cleanup;
	}
	memcpy(l->mac, ifr.ifr_hwaddr.sa_data, 6);
	ASK(SIOCGIFMTU, "MTU");
	l->mtu = (uint32_t)ifr.ifr_mtu;
	ASK(SIOCGIFADDR, "IPv4 address (ip addr add ADDRESS/LENGTH dev ... gives it one)");
	l->addr = ip_of(&ifr);
	ASK(SIOCGIFNETMASK, "netmask");
	l->prefix = (uint8_t)__builtin_popcount(ip_of(&ifr));
	get_queues(fd, ifr, l);
cleanup:
	close(fd);
	return err;
}
