// SPDX-License-Identifier: GPL-2.0-only
/* What BPF_PROG_TEST_RUN makes with BPF_F_TEST_XDP_LIVE_FRAMES goes out of an interface. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Set before loading. */
const volatile __u32 flood_ifindex;

SEC("xdp")
int flood(struct xdp_md *ctx)
{
	(void)ctx;
	return (int)bpf_redirect(flood_ifindex, 0);
}

char LICENSE[] SEC("license") = "GPL";
