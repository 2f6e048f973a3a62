/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Three network namespaces for the bpf_redirect_rpeer() test:
 *
 *    rpeer-pod          rpeer-host            rpeer-far
 *   +-----------+    +----------------+    +-------------+
 *   |      pod -|----|- pod_host      |    |             |
 *   |           |    |           nic -|----|- far        |
 *   +-----------+    +----------------+    +-------------+
 *
 * The host has no addresses, no routes, and does not forward: what arrives at the other side was
 * redirected. far knows the pod behind the NIC's Ethernet address; tc_nic_ingress brings answers
 * into the pod.
 */
#ifndef RPEER_BED_H
#define RPEER_BED_H

#include <stdbool.h>

#include "rpeer.h"
#include "rpeer.skel.h"

enum pair {
	PAIR_VETH,
	PAIR_NETKIT_L2,
	PAIR_NETKIT_L3,
};

enum where {
	NS_POD,
	NS_HOST,
	NS_FAR,
	NS_OUTSIDE,
};

#define POD_IP	   "172.30.1.2"
#define FAR_IP	   "172.30.2.2"
#define POD_IP6	   "fd30:1::2"
#define FAR_IP6	   "fd30:2::2"
#define NIC_MAC	   "02:00:5e:00:30:01"
#define FAR_MAC	   "02:00:5e:00:30:02"
#define POD_GW_MAC "02:00:00:00:00:01"
#define BED_MARK   0x7e57ab1eU
#define BED_PORT   9007

/* Columns of /proc/net/dev */
enum counter {
	RX_PACKETS = 1,
	TX_BYTES = 8,
};

extern struct rpeer_bpf *bed_bpf;

/** bed_init() - once, before anything else. Return: 0, or -1 when this cannot be tested here */
int bed_init(const char *argv0);

/** bed_has_kfunc() - whether the running kernel has bpf_redirect_rpeer() */
bool bed_has_kfunc(void);

/** bed_kfunc_id() - BTF id of bpf_redirect_rpeer() in the running kernel; negative: none */
int bed_kfunc_id(void);

/** bed_up() - namespaces, links and a fresh set of programs, attached to nothing. Return: 0 or -1 */
int bed_up(enum pair pair);

/** bed_down() - leaves nothing behind, also of a bed that is not there */
void bed_down(void);

/** bed_pair() - makes the pair of which one end is in the pod. Return: 0, -1, 3: no such kind */
int bed_pair(enum pair pair, const char *host_end, const char *pod_end, const char *pod_netns);

/** bed_attach() - @prog at the clsact egress or ingress of @dev. Return: 0 or -1 */
int bed_attach(enum where ns, const char *dev, bool ingress, struct bpf_program *prog);

/** bed_attach_tcx() - the same as a tcx link at egress. Return: its descriptor, or -errno */
int bed_attach_tcx(enum where ns, const char *dev, struct bpf_program *prog);

/** bed_enter() - go into a namespace; NS_OUTSIDE is the one the program began in */
void bed_enter(enum where ns);

/** bed_ifindex() - of @dev, 0: none */
int bed_ifindex(enum where ns, const char *dev);

/** bed_reset() - forget what the programs have seen */
void bed_reset(void);

/** bed_reason() - number of SKB_DROP_REASON_@name in the running kernel, -1: none such */
int bed_reason(const char *name);

/** bed_run() - a command line for the shell; a failure fails the test case. Return: 0 or -1 */
int bed_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** bed_number() - first number that a command line prints, -1: none */
long long bed_number(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** bed_sysctl() - writes @value to /proc/sys/net/@key of a namespace. Return: 0 or -1 */
int bed_sysctl(enum where ns, const char *key, const char *value);

/** bed_stat() - a counter of a device, -1: no such device */
long long bed_stat(enum where ns, const char *dev, enum counter counter);

/** bed_running() - whether a device has a carrier and is up */
bool bed_running(enum where ns, const char *dev);

/** bed_send() - one UDP datagram of @len bytes from @ns to @to. Return: 0 or -errno */
int bed_send(enum where ns, const char *to, unsigned int len);

/** bed_server() - a TCP or UDP socket of @ns bound to @addr, listening. Return: it, or -1 */
int bed_server(enum where ns, int family, int type, const char *addr);

/** bed_client() - a socket of @ns connected to @addr. Return: it, or -1 */
int bed_client(enum where ns, int family, int type, const char *addr);

#endif
