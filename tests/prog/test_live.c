// SPDX-License-Identifier: GPL-2.0-only
/*
 * What TEST_RUN cannot show: a packet that a pod really sends comes out of the NIC.
 *
 *   pod w107 ==== v102 (xmasq_pod_egress at ingress) -- redirect --> NIC v101 ==== w106 wire
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "node.h"
#include "suites.h"
#include "tap.h"

#define LABEL	     0x1d2c
#define POD_END	     107
#define WIRE_END     106
#define TAG_LEN	     4
#define SETTLE_MS    2000
#define ETH_P_ANY    0x0003
#define AUX_TAG_SEEN (TP_STATUS_VLAN_VALID)

static int packet_socket(int ifindex)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ANY),
		.sll_ifindex = ifindex,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ANY)), on = 1;

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on))) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* The next frame that arrives, not one that this end sends. @tag: it had a VLAN tag. */
static bool next_frame(int fd, struct pkt *p, bool *tag, int timeout_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	char control[128];

	while (poll(&pfd, 1, timeout_ms) == 1) {
		struct iovec iov = { p->data, sizeof(p->data) };
		struct sockaddr_ll from;
		struct msghdr msg = { .msg_name = &from,
				      .msg_namelen = sizeof(from),
				      .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };
		ssize_t len = recvmsg(fd, &msg, 0);

		if (len < 0)
			return false;
		p->len = (__u32)len;
		*tag = false;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			struct tpacket_auxdata aux;

			if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
				continue;
			memcpy(&aux, CMSG_DATA(c), sizeof(aux));
			*tag = aux.tp_status & AUX_TAG_SEEN;
		}
		/* IPv6 talks by itself on an interface that is up. */
		if (from.sll_pkttype != PACKET_OUTGOING && pkt_get16(p, 12) != 0x86dd)
			return true;
	}
	return false;
}

static void add_tag(struct pkt *p)
{
	memmove(p->data + 12 + TAG_LEN, p->data + 12, p->len - 12);
	pkt_set16(p, 12, 0x8100);
	pkt_set16(p, 14, 100);
	p->len += TAG_LEN;
}

static void through(struct node *n, int pod, int wire)
{
	struct pkt_spec spec, marker;
	struct pkt in, got, want;
	struct xm_flow_key key;
	bool tag;

	node_reset(n);
	node_key(n, IPPROTO_TCP, &key);
	node_ready(n, &key, LABEL);
	node_spec(n, &key, &spec);
	marker = spec;

	tap_case("live: a masqueraded packet leaves by the flow's NIC");
	pkt_make(&in, &spec);
	CHECK_EQ(send(pod, in.data, in.len, 0), in.len);
	memcpy(spec.eth, n->nic_eth, XM_ETH_LEN);
	spec.t = (struct xm_flow_key){ .saddr = n->addr,
				       .daddr = n->peer_addr,
				       .sport = PORT(XM_LABEL_PORT_BASE + LABEL),
				       .dport = PORT(MASQ_PORT),
				       .proto = IPPROTO_TCP };
	pkt_make(&want, &spec);
	if (CHECK(next_frame(wire, &got, &tag, SETTLE_MS), "nothing on the wire"))
		pkt_same(&got, &want, "frame on the wire");

	/*
	 * The kernel takes the tag off before the hook and puts it back on when the packet
	 * leaves: it would be on a VLAN of the underlay that the pod has chosen.
	 */
	tap_case("live: a pod's VLAN tag does not get to the underlay");
	pkt_make(&in, &marker);
	add_tag(&in);
	CHECK_EQ(send(pod, in.data, in.len, 0), in.len);
	marker.payload = 7; /* comes behind it: no need to wait for what must not come */
	pkt_make(&in, &marker);
	CHECK_EQ(send(pod, in.data, in.len, 0), in.len);
	if (CHECK(next_frame(wire, &got, &tag, SETTLE_MS), "nothing on the wire"))
		CHECK(!tag && got.len == in.len, "%u bytes%s on the wire", got.len,
		      tag ? " with the tag" : "");
}

void suite_live(void)
{
	struct node *n = &node_a;
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)n->pod, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .prog_fd = n->fd[POD_EGRESS], .handle = 1, .priority = 1);
	int pod = packet_socket(POD_END), wire = packet_socket(WIRE_END), err;

	err = bpf_tc_hook_create(&hook);
	if (!err)
		err = bpf_tc_attach(&hook, &opts);
	if (err || pod < 0 || wire < 0) {
		tap_case("live: set up");
		tap_fail("attach %d, sockets %d and %d", err, pod, wire);
	} else {
		through(n, pod, wire);
	}
	if (pod >= 0)
		close(pod);
	if (wire >= 0)
		close(wire);
	hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
	bpf_tc_hook_destroy(&hook);
}
