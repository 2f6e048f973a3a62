// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hooks of xmasq. Start reading here.
 *
 *     pod A ──▶ xmasq_pod_egress ──── masqueraded ───▶ xmasq_nic_egress ──▶ wire
 *                      │                                     ▲
 *                      └──▶ CNI: bridge, policy, tunnel ─────┘  observed
 *
 *     wire ──▶ xmasq_nic_ingress ──── restored ──────▶ pod B
 *                      │                                 ▲
 *                      └──▶ CNI: tunnel, policy ──▶ xmasq_pod_ingress  observed
 *
 * Entry points only: they turn a reason into a verdict and a count. What is not ours
 * returns TC_ACT_UNSPEC, so that other programs on the hook run as if we were not there.
 *
 *   fast.h         both ways, for packets that are known
 *   masquerade.h   pod's packet to node packet
 *   local.h        pod's packet to another pod of this node
 *   nic.h          what is what at the NIC
 *   restore.h      node packet to pod's packet; what is refused
 *   observe.h      flows, leases and labels learned from the overlay
 *   flow.h label.h the two tables
 *   policy.h       rules for what pods send and get
 *   control.h nack.h  what goes up to the daemon and back to the peer
 */
#include "masquerade.h"
#include "nic.h"

char _license[] SEC("license") = "GPL";

/*
 * Packets leaving a pod. Where they are met is the mode; what happens to them is the same.
 *
 *   xmasq_pod_egress     veth:   host-side interface, TC ingress
 *   xmasq_netkit_egress  netkit: the pod's netkit, which runs it as the host-side interface
 *   xmasq_rpeer_egress   rpeer:  container-side interface, TC egress, in the pod's namespace;
 *                        needs the kernel patch. One instance for each pod
 */
/* Read once more, which is cheaper than a register for it all the way. */
static __always_inline __u32 skb_len(struct __sk_buff *skb)
{
	return *(volatile __u32 *)&skb->len;
}

static __always_inline int pod_known(struct __sk_buff *skb, __u32 pod, __u32 *ifindex)
{
	if (!fast_known(skb, FAST_OUT, pod, ifindex))
		return 0;
	skb->mark = cfg.mark;
	count_bytes(XM_R_MASQUERADED, skb_len(skb));
	return 1;
}

static __always_inline enum xm_reason pod_sends(struct __sk_buff *skb, __u32 pod, int inside,
						__u32 *ifindex)
{
	__u32 len = skb->len;
	enum xm_reason r;

	r = masquerade(skb, pod, inside, ifindex);
	count_bytes(r, len);
	return r;
}

/* What a pod's packet is in for that nothing is redirected of. */
static __always_inline int not_ours(enum xm_reason r)
{
	return r == XM_R_POLICY_DENIED ? TC_ACT_SHOT : TC_ACT_UNSPEC;
}

XM_CALLED int pod_egress(struct __sk_buff *skb)
{
	__u32 ifindex = 0;
	enum xm_reason r;

	r = pod_sends(skb, skb->ifindex, 0, &ifindex);
	if (r == XM_R_MASQUERADED)
		return bpf_redirect(ifindex, 0);
	/* A netkit pair may be met here, too, and can be told not to clear marks (IFLA_NETKIT_SCRUB). */
	if (skb->mark == cfg.mark)
		skb->mark = 0;
	if (r != XM_R_LOCAL)
		return not_ours(r);
	/* This end of the pair has another address than the pod that the packet is for. */
	bpf_skb_change_type(skb, PACKET_HOST);
	return bpf_redirect_peer(ifindex, 0);
}

SEC("tc")
int xmasq_pod_egress(struct __sk_buff *skb)
{
	__u32 ifindex;

	if (pod_known(skb, skb->ifindex, &ifindex))
		return bpf_redirect(ifindex, 0);
	return pod_egress(skb);
}

/*
 * The same for a netkit pair, which runs its program where the pod transmits: no redirect leads from
 * there into another pod but through the host side of that.
 */
XM_CALLED int netkit_egress(struct __sk_buff *skb)
{
	__u32 ifindex = 0;
	enum xm_reason r;

	/* A netkit pair can be told not to clear marks (IFLA_NETKIT_SCRUB). */
	if (skb->mark == cfg.mark)
		skb->mark = 0;
	r = pod_sends(skb, skb->ifindex, 0, &ifindex);
	if (r == XM_R_LOCAL)
		skb->mark = cfg.mark;
	if (r == XM_R_MASQUERADED || r == XM_R_LOCAL)
		return bpf_redirect(ifindex, 0);
	return not_ours(r);
}

SEC("?tc")
int xmasq_netkit_egress(struct __sk_buff *skb)
{
	__u32 ifindex;

	if (pod_known(skb, skb->ifindex, &ifindex))
		return bpf_redirect(ifindex, 0);
	return netkit_egress(skb);
}

/*
 * Not loaded by itself: the kernel may lack bpf_redirect_rpeer(), and no test of its address
 * is possible, since kernels before 6.4 refuse one when they do have it.
 */
XM_CALLED int rpeer_egress(struct __sk_buff *skb, __u32 pod)
{
	__u32 ifindex = 0;
	enum xm_reason r;

	r = pod_sends(skb, pod, 1, &ifindex);
	if (r == XM_R_LOCAL)
		skb->mark = cfg.mark;
	else if (r != XM_R_MASQUERADED)
		return not_ours(r);
	/* As a veth pair does on the way out of a namespace (____dev_forward_skb()): what the pod
	 * chose is not for the node's queues. */
	skb->priority = 0;
	return bpf_redirect_rpeer(ifindex, 0);
}

SEC("?tc")
int xmasq_rpeer_egress(struct __sk_buff *skb)
{
	__u32 pod = instance_pod(), ifindex;

	if (!pod_known(skb, pod, &ifindex))
		return rpeer_egress(skb, pod);
	skb->priority = 0;
	return bpf_redirect_rpeer(ifindex, 0);
}

/* Packets that the CNI delivers to a pod: host-side interface, TC egress, in every mode. */
SEC("tc")
int xmasq_pod_ingress(struct __sk_buff *skb)
{
	enum xm_reason r;

	/* From another pod of this node, past the CNI: in the modes rpeer and netkit the way into a
	 * pod is through its host side. */
	if (skb->mark == cfg.mark) {
		skb->mark = 0;
		return TC_ACT_UNSPEC;
	}
	if (policy_on) {
		r = policy_in(skb);
		if (r == XM_R_POLICY_DENIED) {
			count_bytes(r, skb->len);
			return TC_ACT_SHOT;
		}
		/* The way there is the overlay: nothing to be learned. */
		if (r)
			return TC_ACT_UNSPEC;
	}
	observe_delivery(skb);
	return TC_ACT_UNSPEC;
}

/* Packets leaving the node that are not ours: underlay NIC, egress. Called, so that what it needs of the
 * stack and of registers costs ours nothing. */
XM_CALLED int others_leave(struct __sk_buff *skb)
{
	enum xm_reason r = nic_egress(skb);

	if (r == XM_R_NONE)
		return TC_ACT_UNSPEC;
	count_bytes(r, skb->len);
	return TC_ACT_SHOT;
}

/* Packets leaving the node: underlay NIC, egress. */
SEC("tc")
int xmasq_nic_egress(struct __sk_buff *skb)
{
	/* The mark is a secret, and no pod can set it: a mark does not survive the way out of a
	 * namespace but by bpf_redirect_rpeer(), before which the program sets it. */
	if (skb->mark == cfg.mark) {
		skb->mark = 0;
		return TC_ACT_UNSPEC;
	}
	return others_leave(skb);
}

/*
 * The same while xmasq_nic_egress is behind it: for the moment in which our program goes from a
 * filter to tcx, or back, a packet meets both, and without its mark the second would take it for
 * a pod's.
 */
SEC("?tc")
int xmasq_nic_first(struct __sk_buff *skb)
{
	return skb->mark == cfg.mark ? TC_ACT_UNSPEC : others_leave(skb);
}

XM_CALLED int nic_arrives(struct __sk_buff *skb)
{
	__u32 ifindex = 0, len = skb->len;
	enum xm_reason r;

	r = nic_ingress(skb, &ifindex);
	if (r == XM_R_NONE)
		return TC_ACT_UNSPEC;
	count_bytes(r, len);
	if (r == XM_R_RESTORED)
		return bpf_redirect_peer(ifindex, 0);
	if (r == XM_R_NACK_TX)
		return bpf_redirect(skb->ifindex, 0);
	return TC_ACT_SHOT;
}

/* Packets arriving at the node: underlay NIC, ingress. */
SEC("tc")
int xmasq_nic_ingress(struct __sk_buff *skb)
{
	__u32 ifindex;

	if (!fast_known(skb, FAST_IN, 0, &ifindex))
		return nic_arrives(skb);
	count_bytes(XM_R_RESTORED, skb_len(skb));
	return bpf_redirect_peer(ifindex, 0);
}

/* Not attached: run by the daemon to relate jiffies to its own clock. */
SEC("tc")
int xmasq_clock(struct __sk_buff *skb)
{
	xm_clock.jiffies = bpf_jiffies64();
	xm_clock.ns = bpf_ktime_get_ns();
	return skb->len ? TC_ACT_UNSPEC : TC_ACT_OK;
}
