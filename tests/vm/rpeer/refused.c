// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <linux/pkt_cls.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bed.h"
#include "suites.h"
#include "tap.h"

static struct rpeer_seen *seen(void)
{
	return (struct rpeer_seen *)&bed_bpf->bss->seen;
}

static struct rpeer_conf *conf(void)
{
	return (struct rpeer_conf *)&bed_bpf->bss->conf;
}

/* A reason to be shown: any that was counted. */
static const char *reasons(void)
{
	static char text[128];
	size_t n = 0;
	int i;

	text[0] = '\0';
	for (i = 0; i < RPEER_REASONS && n < sizeof(text) - 24; i++)
		if (seen()->reasons[i])
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %d:%u", i,
					      seen()->reasons[i]);
	return text;
}

/* Sends one datagram and wants it dropped once, for @reason, with @ret from the kfunc. */
static void expect(enum where from, const char *to, unsigned int len, int ret, const char *reason)
{
	int i, err, want = bed_reason(reason);

	if (!CHECK(want >= 0, "no such reason: %s", reason))
		return;
	bed_reset();
	err = bed_send(from, to, len);
	/* ENOBUFS is how a drop at TC egress may come back. */
	CHECK(err == 0 || err == -ENOBUFS, "sending: %s", strerror(-err));
	for (i = 0; i < 200 && !seen()->dropped; i++)
		usleep(10000);
	CHECK_EQ(seen()->called, 1);
	CHECK_EQ(seen()->ret, ret);
	CHECK_EQ(seen()->dropped, 1);
	CHECK(seen()->reasons[want] == 1, "wanted %d, got%s", want, reasons());
	CHECK_EQ(seen()->at_nic, 0);
}

static int start(enum pair pair)
{
	return bed_up(pair) || bed_attach(NS_POD, "pod", false, bed_bpf->progs.tc_pod) ||
	       bed_attach(NS_HOST, "nic", false, bed_bpf->progs.tc_nic_egress);
}

/* That the bed redirects at all, or the refusals would say nothing. */
static void still_works(void)
{
	bed_reset();
	CHECK_EQ(bed_send(NS_POD, FAR_IP, 10), 0);
	CHECK_EQ(seen()->at_nic, 1);
}

static void arguments(enum pair pair, const char *name)
{
	unsigned int bit;

	tap_case("%s: each of the 64 flags is refused", name);
	if (start(pair))
		return;
	for (bit = 0; bit < 64; bit++) {
		conf()->flags = 1ULL << bit;
		expect(NS_POD, FAR_IP, 10, TC_ACT_SHOT, "TC_EGRESS");
	}
	conf()->flags = 0;
	still_works();

	tap_case("%s: ifindex 0 is refused", name);
	conf()->target = 0;
	expect(NS_POD, FAR_IP, 10, TC_ACT_SHOT, "TC_EGRESS");
	conf()->target = conf()->nic;

	tap_case("%s: no such target", name);
	conf()->target = 123456;
	expect(NS_POD, FAR_IP, 10, TC_ACT_REDIRECT, "DEV_READY");
	conf()->target = 0xffffffff;
	expect(NS_POD, FAR_IP, 10, TC_ACT_REDIRECT, "DEV_READY");
	conf()->target = conf()->nic;
	still_works();

	tap_case("%s: a target of the pod's namespace is not one of the host's", name);
	if (bed_run("ip -n rpeer-pod link add other index 77 type dummy;"
		    "ip -n rpeer-pod link set other up"))
		return;
	conf()->target = 77;
	expect(NS_POD, FAR_IP, 10, TC_ACT_REDIRECT, "DEV_READY");
	conf()->target = conf()->nic;

	tap_case("%s: target down", name);
	bed_run("ip -n rpeer-host link set nic down");
	expect(NS_POD, FAR_IP, 10, TC_ACT_REDIRECT, "DEV_READY");
	bed_run("ip -n rpeer-host link set nic up");

	tap_case("%s: target without a carrier", name);
	bed_run("ip -n rpeer-far link set far down");
	/* Its qdisc goes once the kernel's link watch has run. */
	while (bed_running(NS_HOST, "nic") && !tap_failed())
		usleep(10000);
	usleep(1500000);
	bed_reset();
	bed_send(NS_POD, FAR_IP, 10);
	CHECK_EQ(seen()->called, 1);
	CHECK_EQ(seen()->dropped, 1);
	bed_run("ip -n rpeer-far link set far up");
	bed_down();
}

static void lengths(enum pair pair, const char *name)
{
	int lfd, cfd;
	char data[30000];
	unsigned int i;

	tap_case("%s: what the target's MTU allows passes, no more", name);
	if (start(pair) || bed_run("ip -n rpeer-pod link set pod mtu 9000;"
				   "ip -n rpeer-far link set far mtu 9000"))
		return;
	bed_reset();
	CHECK_EQ(bed_send(NS_POD, FAR_IP, 1472), 0);
	CHECK_EQ(seen()->at_nic, 1);
	/* A VLAN tag's room, as for a packet through the pair */
	bed_reset();
	CHECK_EQ(bed_send(NS_POD, FAR_IP, 1476), 0);
	CHECK_EQ(seen()->at_nic, 1);
	expect(NS_POD, FAR_IP, 1477, TC_ACT_REDIRECT, "PKT_TOO_BIG");
	expect(NS_POD, FAR_IP, 3000, TC_ACT_REDIRECT, "PKT_TOO_BIG");

	tap_case("%s: GSO does not smuggle longer segments past the target's MTU", name);
	if (bed_attach(NS_HOST, "nic", true, bed_bpf->progs.tc_nic_ingress))
		return;
	memset(data, 'x', sizeof(data));
	lfd = bed_server(NS_FAR, AF_INET, SOCK_STREAM, FAR_IP);
	cfd = lfd < 0 ? -1 : bed_client(NS_POD, AF_INET, SOCK_STREAM, FAR_IP);
	if (cfd >= 0) {
		bed_reset();
		/* MSS 8960 on both sides; the NIC's MTU is 1500 */
		CHECK(send(cfd, data, sizeof(data), MSG_DONTWAIT) > 0, "%s", strerror(errno));
		for (i = 0; i < 200 && !seen()->dropped; i++)
			usleep(10000);
		CHECK(seen()->reasons[bed_reason("PKT_TOO_BIG")] > 0, "got%s", reasons());
		/* Not a byte of data has passed; pure acknowledgements may. */
		CHECK_EQ(recv(accept(lfd, NULL, NULL), data, sizeof(data), MSG_DONTWAIT), -1);
		close(cfd);
	}
	if (lfd >= 0)
		close(lfd);
	bed_down();
}

static void ingress(enum pair pair, const char *name)
{
	tap_case("%s: at TC ingress", name);
	/* From the host into the pod, the way the CNI delivers */
	if (bed_up(pair) || bed_attach(NS_POD, "pod", true, bed_bpf->progs.tc_pod) ||
	    bed_attach(NS_HOST, "nic", false, bed_bpf->progs.tc_nic_egress) ||
	    bed_run("ip -n rpeer-host addr add 172.30.9.9/32 dev pod_host;"
		    "ip -n rpeer-host route add " POD_IP " dev pod_host"))
		return;
	if (pair != PAIR_NETKIT_L3 && bed_run("ip -n rpeer-host neigh add " POD_IP " dev pod_host "
					      "lladdr 02:00:00:00:00:07"))
		return;
	expect(NS_HOST, POD_IP, 10, TC_ACT_REDIRECT, "TC_INGRESS");
	bed_down();
}

/* Nothing to look into: a device that is no pair's, and a pair that does not leave the namespace */
static void no_other_netns(void)
{
	tap_case("a device without a peer");
	if (bed_up(PAIR_VETH) || bed_attach(NS_HOST, "nic", false, bed_bpf->progs.tc_nic_egress) ||
	    bed_run("ip -n rpeer-pod link add dummy type dummy;"
		    "ip -n rpeer-pod link set dummy up;"
		    "ip -n rpeer-pod route add 172.30.4.1 dev dummy;"
		    "ip -n rpeer-pod neigh add 172.30.4.1 dev dummy lladdr 02:00:00:00:00:07") ||
	    bed_attach(NS_POD, "dummy", false, bed_bpf->progs.tc_pod))
		return;
	expect(NS_POD, "172.30.4.1", 10, TC_ACT_REDIRECT, "TC_EGRESS");

	tap_case("a peer in the same namespace");
	if (bed_run("ip -n rpeer-pod link add one type veth peer name two;"
		    "ip -n rpeer-pod link set one up;"
		    "ip -n rpeer-pod link set two up;"
		    "ip -n rpeer-pod route add 172.30.4.2 dev one;"
		    "ip -n rpeer-pod neigh add 172.30.4.2 dev one lladdr 02:00:00:00:00:07") ||
	    bed_attach(NS_POD, "one", false, bed_bpf->progs.tc_pod))
		return;
	conf()->target = (__u32)bed_ifindex(NS_POD, "two");
	expect(NS_POD, "172.30.4.2", 10, TC_ACT_REDIRECT, "TC_EGRESS");
	bed_down();
}

/* Each end sends to the other: the kernel's limit for recursion is the only end. */
static void loop(void)
{
	tap_case("a loop ends at the limit for recursion");
	if (bed_up(PAIR_VETH) ||
	    bed_attach(NS_HOST, "pod_host", false, bed_bpf->progs.tc_loop_host))
		return;
	conf()->target = (__u32)bed_ifindex(NS_POD, "pod");
	if (bed_attach(NS_POD, "pod", false, bed_bpf->progs.tc_loop_pod))
		return;
	bed_reset();
	bed_send(NS_POD, FAR_IP, 10);
	CHECK(seen()->called > 2 && seen()->called < 20, "%u rounds", seen()->called);
	tap_note("the loop ended after %u redirects", seen()->called);
	bed_down();
}

/* ESP whose encryption is left to the transmit path, without any hardware for it. */
static void pending_esp(void)
{
	static const char *const key = "0x0123456789abcdef0123456789abcdef01234567";
	int want = bed_reason("XFRM_POLICY"), i;

	tap_case("a packet that is yet to be encrypted does not leave in plain text");
	if (bed_number("zcat /proc/config.gz | grep -c ^CONFIG_INET_ESP_OFFLOAD=y") != 1) {
		tap_skip("kernel without CONFIG_INET_ESP_OFFLOAD");
		return;
	}
	if (start(PAIR_VETH) ||
	    bed_run("ip -n rpeer-pod xfrm state add src " POD_IP " dst " FAR_IP
		    " proto esp spi 0x77 reqid 7 mode transport aead 'rfc4106(gcm(aes))' %s 128",
		    key) ||
	    bed_run("ip -n rpeer-pod xfrm policy add src " POD_IP " dst " FAR_IP
		    " dir out tmpl src " POD_IP " dst " FAR_IP " proto esp reqid 7 mode transport"))
		return;
	bed_reset();
	bed_send(NS_POD, FAR_IP, 10);
	for (i = 0; i < 100 && !seen()->dropped; i++)
		usleep(10000);
	CHECK_EQ(seen()->esp, 1);
	CHECK_EQ(seen()->at_nic, 0);
	CHECK(seen()->reasons[want] == 1, "wanted %d, got%s", want, reasons());
	bed_down();
}

void suite_refused(void)
{
	static const struct {
		enum pair pair;
		const char *name;
	} pairs[] = {
		{ PAIR_VETH, "veth" },
		{ PAIR_NETKIT_L2, "netkit L2" },
		{ PAIR_NETKIT_L3, "netkit L3" },
	};
	unsigned int i;

	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		arguments(pairs[i].pair, pairs[i].name);
		lengths(pairs[i].pair, pairs[i].name);
		ingress(pairs[i].pair, pairs[i].name);
	}
	no_other_netns();
	loop();
	pending_esp();
}
