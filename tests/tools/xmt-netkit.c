// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-netkit - make a netkit pair; the ip command of Debian 12 does not know the kind yet.
 *
 * Deleting, addresses and the rest are the ip command's business: to it the two ends are devices
 * like any other. One RTM_NEWLINK request is all there is, so it is put together by hand:
 *
 *   IFLA_IFNAME HOST, IFLA_LINKINFO { KIND netkit, DATA { MODE, PEER_INFO { IFNAME PEER, NET_NS } } }
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

/* From <linux/if_link.h> of Linux 6.8; Debian 12 has the one of 6.1. */
enum {
	NETKIT_ATTR_PEER_INFO = 1,
	NETKIT_ATTR_MODE = 5,
};

enum {
	NETKIT_MODE_L2,
	NETKIT_MODE_L3,
};

static const char help[] =
	"usage: xmt-netkit add HOST PEER [l2|l3] [NETNS]\n"
	"\n"
	"Makes a netkit pair: HOST in this network namespace, PEER in NETNS (a name of `ip netns`\n"
	"or a path such as /proc/PID/ns/net; default: this one too). Default mode: l3, which is\n"
	"the kernel's: no MAC addresses, no ARP.\n"
	"\n"
	"Exit status: 0 made, 1 not made, 2 wrong arguments, 3 the kernel has no netkit.\n";

struct request {
	struct nlmsghdr nh;
	struct ifinfomsg ifi;
	char attrs[512];
};

static char *tail(struct request *r)
{
	return (char *)r + NLMSG_ALIGN(r->nh.nlmsg_len);
}

/* The names are checked for their length, so everything fits into attrs. */
static void put_raw(struct request *r, const void *data, size_t len)
{
	memcpy(tail(r), data, len);
	r->nh.nlmsg_len = NLMSG_ALIGN(r->nh.nlmsg_len) + (uint32_t)len;
}

static struct rtattr *put(struct request *r, unsigned short type, const void *data, size_t len)
{
	struct rtattr rta = { .rta_len = (unsigned short)RTA_LENGTH(len), .rta_type = type };
	struct rtattr *at = (struct rtattr *)tail(r);

	put_raw(r, &rta, sizeof(rta));
	if (len)
		put_raw(r, data, len);
	return at;
}

static void close_nest(struct request *r, struct rtattr *nest)
{
	nest->rta_len = (unsigned short)(tail(r) - (char *)nest);
}

static void build(struct request *r, const char *host, const char *peer, uint32_t mode, int nsfd)
{
	struct rtattr *info, *data, *peer_info;
	const struct ifinfomsg ifi = { .ifi_family = AF_UNSPEC };

	memset(r, 0, sizeof(*r));
	r->nh.nlmsg_len = NLMSG_LENGTH(sizeof(r->ifi));
	r->nh.nlmsg_type = RTM_NEWLINK;
	r->nh.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

	put(r, IFLA_IFNAME, host, strlen(host) + 1);
	info = put(r, IFLA_LINKINFO, "", 0);
	put(r, IFLA_INFO_KIND, "netkit", sizeof("netkit"));
	data = put(r, IFLA_INFO_DATA, "", 0);
	put(r, NETKIT_ATTR_MODE, &mode, sizeof(mode));
	peer_info = put(r, NETKIT_ATTR_PEER_INFO, "", 0);
	put_raw(r, &ifi, sizeof(ifi));
	put(r, IFLA_IFNAME, peer, strlen(peer) + 1);
	if (nsfd >= 0)
		put(r, IFLA_NET_NS_FD, &nsfd, sizeof(nsfd));
	close_nest(r, peer_info);
	close_nest(r, data);
	close_nest(r, info);
}

/* Send @r and wait for the verdict: 0 or -errno. */
static int transact(const struct request *r)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct {
		struct nlmsghdr nh;
		struct nlmsgerr err;
		char rest[1024];
	} answer;
	int err = 0, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = sendto(fd, r, r->nh.nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
	if (n >= 0)
		n = recv(fd, &answer, sizeof(answer), 0);
	if (n < 0)
		err = -errno;
	else if ((size_t)n < NLMSG_LENGTH(sizeof(answer.err)) ||
		 answer.nh.nlmsg_type != NLMSG_ERROR)
		err = -EPROTO;
	else
		err = answer.err.error;
	close(fd);
	return err;
}

/* File descriptor of a network namespace by name or path, or -1 with errno. */
static int open_netns(const char *name)
{
	char path[256];

	if (strchr(name, '/'))
		return open(name, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof(path), "/run/netns/%s", name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int usage(void)
{
	fputs(help, stderr);
	return 2;
}

int main(int argc, char **argv)
{
	uint32_t mode = NETKIT_MODE_L3;
	const char *netns = NULL;
	int arg = 4, nsfd = -1, err;
	struct request r;

	if (argc < 4 || strcmp(argv[1], "add") != 0)
		return usage();
	if (!*argv[2] || strlen(argv[2]) >= IFNAMSIZ || !*argv[3] || strlen(argv[3]) >= IFNAMSIZ)
		return usage();
	if (arg < argc && (strcmp(argv[arg], "l2") == 0 || strcmp(argv[arg], "l3") == 0))
		mode = argv[arg++][1] == '2' ? NETKIT_MODE_L2 : NETKIT_MODE_L3;
	if (arg < argc)
		netns = argv[arg++];
	if (arg < argc)
		return usage();

	if (netns) {
		nsfd = open_netns(netns);
		if (nsfd < 0) {
			fprintf(stderr, "xmt-netkit: network namespace %s: %s\n", netns,
				strerror(errno));
			return 1;
		}
	}

	build(&r, argv[2], argv[3], mode, nsfd);
	err = transact(&r);
	if (nsfd >= 0)
		close(nsfd);
	if (err == -EOPNOTSUPP) {
		fprintf(stderr,
			"xmt-netkit: this kernel has no netkit (Linux 6.7, CONFIG_NETKIT)\n");
		return 3;
	}
	if (err) {
		fprintf(stderr, "xmt-netkit: making %s and %s: %s\n", argv[2], argv[3],
			strerror(-err));
		return 1;
	}
	return 0;
}
