// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "bed.h"
#include "tap.h"

#define TIMEOUT_S 20

/* From <linux/bpf.h> of Linux 6.6. */
#define ATTACH_TCX_EGRESS 47

static const char *const netns_name[] = { "rpeer-pod", "rpeer-host", "rpeer-far" };

struct rpeer_bpf *bed_bpf;

static char netkit_tool[512];
static struct btf *btf;
static int outside = -1;

int bed_run(const char *fmt, ...)
{
	char cmd[2048];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	status = system(cmd);
	if (status)
		tap_fail("status %#x of: %s", status, cmd);
	return status ? -1 : 0;
}

long long bed_number(const char *fmt, ...)
{
	long long value = -1;
	char cmd[512];
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	f = popen(cmd, "r");
	if (!f)
		return -1;
	if (fscanf(f, "%lld", &value) != 1)
		value = -1;
	pclose(f);
	return value;
}

static int libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	/* What netlink says is in the return value: a clsact that is there already is no news. */
	if (level == LIBBPF_DEBUG || strstr(fmt, "Kernel error message"))
		return 0;
	return vfprintf(stderr, fmt, ap);
}

int bed_init(const char *argv0)
{
	const char *slash = strrchr(argv0, '/');

	outside = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (outside < 0) {
		perror("/proc/self/ns/net");
		return -1;
	}
	snprintf(netkit_tool, sizeof(netkit_tool), "%.*s/xmt-netkit",
		 slash ? (int)(slash - argv0) : 1, slash ? argv0 : ".");
	if (access(netkit_tool, X_OK))
		snprintf(netkit_tool, sizeof(netkit_tool), "%.*s/../../tools/xmt-netkit",
			 slash ? (int)(slash - argv0) : 1, slash ? argv0 : ".");
	libbpf_set_print(libbpf_print);
	btf = btf__load_vmlinux_btf();
	if (!btf) {
		fprintf(stderr, "xmt-rpeer: no BTF of the kernel: %s\n", strerror(errno));
		return -1;
	}
	return 0;
}

int bed_kfunc_id(void)
{
	return btf__find_by_name_kind(btf, "bpf_redirect_rpeer", BTF_KIND_FUNC);
}

bool bed_has_kfunc(void)
{
	return bed_kfunc_id() > 0;
}

void bed_enter(enum where ns)
{
	char path[64];
	int fd = outside;

	if (ns != NS_OUTSIDE) {
		snprintf(path, sizeof(path), "/run/netns/%s", netns_name[ns]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0 || setns(fd, CLONE_NEWNET)) {
		/* Going on in the wrong namespace could change the machine. */
		fprintf(stderr, "xmt-rpeer: entering namespace %d: %s\n", ns, strerror(errno));
		abort();
	}
	if (ns != NS_OUTSIDE)
		close(fd);
}

int bed_ifindex(enum where ns, const char *dev)
{
	unsigned int ifindex;

	bed_enter(ns);
	ifindex = if_nametoindex(dev);
	bed_enter(NS_OUTSIDE);
	return (int)ifindex;
}

int bed_reason(const char *name)
{
	int i, id = btf__find_by_name_kind(btf, "skb_drop_reason", BTF_KIND_ENUM);
	const struct btf_type *t = id > 0 ? btf__type_by_id(btf, (__u32)id) : NULL;
	const struct btf_enum *e = t ? btf_enum(t) : NULL;
	char full[64];

	snprintf(full, sizeof(full), "SKB_DROP_REASON_%s", name);
	for (i = 0; e && i < btf_vlen(t); i++)
		if (strcmp(btf__name_by_offset(btf, e[i].name_off), full) == 0)
			return e[i].val;
	return -1;
}

void bed_reset(void)
{
	memset((void *)&bed_bpf->bss->seen, 0, sizeof(bed_bpf->bss->seen));
}

int bed_pair(enum pair pair, const char *host_end, const char *pod_end, const char *pod_netns)
{
	int status;
	char cmd[768];

	if (pair == PAIR_VETH)
		return bed_run("ip -n rpeer-host link add %s type veth peer name %s netns %s",
			       host_end, pod_end, pod_netns);
	snprintf(cmd, sizeof(cmd), "%s add %s %s %s %s", netkit_tool, host_end, pod_end,
		 pair == PAIR_NETKIT_L2 ? "l2" : "l3", pod_netns);
	bed_enter(NS_HOST);
	status = system(cmd);
	bed_enter(NS_OUTSIDE);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
		return 3;
	if (status)
		tap_fail("command failed: %s", cmd);
	return status ? -1 : 0;
}

int bed_sysctl(enum where ns, const char *key, const char *value)
{
	char path[128];
	FILE *f;
	int err = 0;

	/* /proc/sys/net is that of the namespace in which it is looked up. */
	snprintf(path, sizeof(path), "/proc/sys/net/%s", key);
	bed_enter(ns);
	f = fopen(path, "we");
	if (!f || fputs(value, f) < 0)
		err = -1;
	if (f && fclose(f))
		err = -1;
	bed_enter(NS_OUTSIDE);
	if (err)
		tap_fail("%s: %s", path, strerror(errno));
	return err;
}

long long bed_stat(enum where ns, const char *dev, enum counter counter)
{
	long long v[16] = { 0 }, result = -1;
	char line[512], name[IFNAMSIZ + 1];
	FILE *f;

	bed_enter(ns);
	f = fopen("/proc/thread-self/net/dev", "re");
	bed_enter(NS_OUTSIDE);
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " %16[^:]: %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld",
			   name, &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7], &v[8],
			   &v[9]) == 11 &&
		    strcmp(name, dev) == 0)
			result = v[counter];
	}
	if (f)
		fclose(f);
	return result;
}

bool bed_running(enum where ns, const char *dev)
{
	struct ifreq ifr = { 0 };
	int fd;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", dev);
	bed_enter(ns);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr))
		tap_fail("%s: %s", dev, strerror(errno));
	if (fd >= 0)
		close(fd);
	bed_enter(NS_OUTSIDE);
	return ifr.ifr_flags & IFF_RUNNING;
}

/* Few commands: in an emulated machine each one takes a good part of a second. */
static int links(enum pair pair)
{
	int err;

	/* Nothing of the host's own among what is counted at its NIC */
	if (bed_sysctl(NS_HOST, "ipv6/conf/default/disable_ipv6", "1"))
		return -1;
	err = bed_pair(pair, "pod_host", "pod", "rpeer-pod");
	if (err)
		return err;
	if (bed_run("ip -n rpeer-host -batch - <<-'END'\n"
		    "link add nic address " NIC_MAC " type veth peer name far address " FAR_MAC
		    " netns rpeer-far\n"
		    "link set pod_host up\n"
		    "link set nic up\n"
		    "END\n") ||
	    bed_run("ip -n rpeer-pod -batch - <<-'END'\n"
		    "link set lo up\n"
		    "link set pod up\n"
		    "addr add " POD_IP "/32 dev pod\n"
		    "addr add " POD_IP6 "/128 dev pod nodad\n"
		    "route add " FAR_IP " dev pod\n"
		    "route add " FAR_IP6 " dev pod\n"
		    "END\n") ||
	    bed_run("ip -n rpeer-far -batch - <<-'END'\n"
		    "link set far up\n"
		    "addr add " FAR_IP "/32 dev far\n"
		    "addr add " FAR_IP6 "/128 dev far nodad\n"
		    "route add " POD_IP " dev far\n"
		    "route add " POD_IP6 " dev far\n"
		    "neigh add " POD_IP " dev far lladdr " NIC_MAC "\n"
		    "neigh add " POD_IP6 " dev far lladdr " NIC_MAC "\n"
		    "END\n"))
		return -1;
	/* Never the addresses that the NIC needs: writing those is the program's task. */
	if (pair != PAIR_NETKIT_L3 &&
	    bed_run("ip -n rpeer-pod -batch - <<-'END'\n"
		    "neigh add " FAR_IP " dev pod lladdr " POD_GW_MAC "\n"
		    "neigh add " FAR_IP6 " dev pod lladdr " POD_GW_MAC "\n"
		    "END\n"))
		return -1;
	return 0;
}

static int programs(void)
{
	static const __u8 far_mac[] = { 0x02, 0x00, 0x5e, 0x00, 0x30, 0x02 };
	static const __u8 nic_mac[] = { 0x02, 0x00, 0x5e, 0x00, 0x30, 0x01 };
	struct rpeer_conf *conf;
	struct stat st;

	bed_bpf = rpeer_bpf__open();
	if (bed_bpf)
		bed_bpf->rodata->have_rpeer = bed_has_kfunc();
	if (!bed_bpf || rpeer_bpf__load(bed_bpf) || rpeer_bpf__attach(bed_bpf)) {
		tap_fail("loading the BPF object: %s", strerror(errno));
		return -1;
	}
	conf = &bed_bpf->bss->conf;
	memcpy(conf->dst, far_mac, sizeof(far_mac));
	memcpy(conf->src, nic_mac, sizeof(nic_mac));
	conf->act = RPEER_ACT_REDIRECT;
	conf->mark = BED_MARK;
	conf->nic = (__u32)bed_ifindex(NS_HOST, "nic");
	conf->target = conf->nic;
	conf->host_end = (__u32)bed_ifindex(NS_HOST, "pod_host");
	if (stat("/run/netns/rpeer-host", &st))
		return -1;
	bed_bpf->bss->host_netns = (__u32)st.st_ino;
	return 0;
}

int bed_up(enum pair pair)
{
	int err;

	bed_down();
	err = bed_run("ip -batch - <<-'END'\n"
		      "netns add rpeer-pod\n"
		      "netns add rpeer-host\n"
		      "netns add rpeer-far\n"
		      "END\n");
	err = err ?: links(pair);
	if (err == 3) {
		tap_skip("allowed: this kernel has no netkit");
		bed_down();
		return -1;
	}
	err = err ?: programs();
	if (err)
		bed_down();
	return err;
}

void bed_down(void)
{
	int i;

	if (bed_bpf)
		rpeer_bpf__destroy(bed_bpf);
	bed_bpf = NULL;
	for (i = 0; i < 3; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/run/netns/%s", netns_name[i]);
		if (access(path, F_OK) == 0)
			bed_run("ip netns del %s", netns_name[i]);
	}
}

int bed_attach(enum where ns, const char *dev, bool ingress, struct bpf_program *prog)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = ingress ? BPF_TC_INGRESS : BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1,
		    .prog_fd = bpf_program__fd(prog));
	int err;

	bed_enter(ns);
	hook.ifindex = (int)if_nametoindex(dev);
	err = bpf_tc_hook_create(&hook);
	if (!err || err == -EEXIST)
		err = bpf_tc_attach(&hook, &opts);
	bed_enter(NS_OUTSIDE);
	if (err)
		tap_fail("attaching %s to %s: %s", bpf_program__name(prog), dev, strerror(-err));
	return err ? -1 : 0;
}

int bed_attach_tcx(enum where ns, const char *dev, struct bpf_program *prog)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	bed_enter(ns);
	attr.link_create.prog_fd = (__u32)bpf_program__fd(prog);
	attr.link_create.target_ifindex = if_nametoindex(dev);
	attr.link_create.attach_type = ATTACH_TCX_EGRESS;
	fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	if (fd < 0)
		fd = -errno;
	bed_enter(NS_OUTSIDE);
	return fd;
}

static socklen_t address(int family, const char *text, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		in->sin_port = htons(BED_PORT);
		inet_pton(AF_INET, text, &in->sin_addr);
		return sizeof(*in);
	}
	in6->sin6_port = htons(BED_PORT);
	inet_pton(AF_INET6, text, &in6->sin6_addr);
	return sizeof(*in6);
}

static int socket_in(enum where ns, int family, int type)
{
	const struct timeval limit = { .tv_sec = TIMEOUT_S };
	int fd;

	bed_enter(ns);
	fd = socket(family, type | SOCK_CLOEXEC, 0);
	bed_enter(NS_OUTSIDE);
	if (fd < 0) {
		tap_fail("socket: %s", strerror(errno));
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return fd;
}

int bed_server(enum where ns, int family, int type, const char *addr)
{
	int one = 1, fd = socket_in(ns, family, type);
	struct sockaddr_storage ss;
	socklen_t len = address(family, addr, &ss);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&ss, len) || (type == SOCK_STREAM && listen(fd, 4))) {
		tap_fail("server at %s: %s", addr, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

int bed_client(enum where ns, int family, int type, const char *addr)
{
	int fd = socket_in(ns, family, type);
	struct sockaddr_storage ss;
	socklen_t len = address(family, addr, &ss);

	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&ss, len)) {
		tap_fail("connecting to %s: %s", addr, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

int bed_send(enum where ns, const char *to, unsigned int len)
{
	static const char data[4000];
	struct sockaddr_storage ss;
	socklen_t slen = address(AF_INET, to, &ss);
	int err = 0, fd = socket_in(ns, AF_INET, SOCK_DGRAM);

	if (fd < 0)
		return -EBADF;
	if (sendto(fd, data, len, 0, (struct sockaddr *)&ss, slen) < 0)
		err = -errno;
	close(fd);
	return err;
}
