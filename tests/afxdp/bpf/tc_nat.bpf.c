// SPDX-License-Identifier: GPL-2.0-only
/*
 * The router's job in the kernel, for comparison: the same flows and the same readdressing, at TC
 * ingress. Whole GSO packets pass, partial checksums stay partial, and the kernel resolves.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define IP_FRAGMENT 0x3fff
#define PORT_TRIES  16
#define L4	    (ETH_HLEN + sizeof(struct iphdr))

const volatile __be32 nat_addr;
const volatile __be32 nat_server;

/* As in core/nat.h. */
struct key {
	__be32 raddr;
	__be16 rport, lport;
	__u32 proto;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 131072);
	__type(key, struct key);
	__type(value, struct key);
} nat_flows SEC(".maps");

/* A flow that begins; @from is the initiator's key. Return: the responder's, by @to. */
static __always_inline int add(const struct key *from, struct key *to)
{
	int i;

	*to = (struct key){ .raddr = nat_server,
			    .rport = from->lport,
			    .lport = from->rport,
			    .proto = from->proto };
	for (i = 0; i < PORT_TRIES; i++) {
		if (!bpf_map_update_elem(&nat_flows, to, from, BPF_NOEXIST))
			return bpf_map_update_elem(&nat_flows, from, to, BPF_ANY);
		to->lport = bpf_htons(1024 + bpf_get_prandom_u32() % 64512);
	}
	return -1;
}

static __always_inline void replace16(struct __sk_buff *skb, __u32 at, __u32 sum, __be16 old,
				      __be16 new, __u64 flags)
{
	if (old == new)
		return;
	bpf_l4_csum_replace(skb, sum, old, new, flags | sizeof(new));
	bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0);
}

static __always_inline void replace_addresses(struct __sk_buff *skb, const struct iphdr *ip,
					      __be32 daddr, __u32 sum, __u64 flags)
{
	__be32 saddr = nat_addr, old_saddr = ip->saddr, old_daddr = ip->daddr;
	__u32 ip_sum = ETH_HLEN + offsetof(struct iphdr, check);

	if (sum) {
		flags |= BPF_F_PSEUDO_HDR | sizeof(saddr);
		bpf_l4_csum_replace(skb, sum, old_saddr, saddr, flags);
		bpf_l4_csum_replace(skb, sum, old_daddr, daddr, flags);
	}
	bpf_l3_csum_replace(skb, ip_sum, old_saddr, saddr, sizeof(saddr));
	bpf_l3_csum_replace(skb, ip_sum, old_daddr, daddr, sizeof(daddr));
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, saddr), &saddr, 4, 0);
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, daddr), &daddr, 4, 0);
}

SEC("tc")
int tc_nat(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + ETH_HLEN, head;
	struct key from = {}, to, *found;
	__u32 sum = 0, at_source = L4, at_dest = L4 + 2;
	__be16 *l4 = data + L4;
	__be16 ttl[2];
	__u64 flags = 0;

	if ((void *)(l4 + 4) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 ||
	    ip->daddr != nat_addr || ip->ttl <= 1 || ip->frag_off & bpf_htons(IP_FRAGMENT))
		return TC_ACT_OK;
	head = *ip;
	from.raddr = ip->saddr;
	from.proto = ip->protocol;
	switch (ip->protocol) {
	case IPPROTO_TCP:
		sum = L4 + offsetof(struct tcphdr, check);
		break;
	case IPPROTO_UDP:
		sum = L4 + offsetof(struct udphdr, check);
		flags = BPF_F_MARK_MANGLED_0;
		break;
	case IPPROTO_ICMP:
		if (*(__u8 *)l4 == 8)
			from.rport = l4[2];
		else if (*(__u8 *)l4 == 0)
			from.lport = l4[2];
		else
			return TC_ACT_OK;
		break;
	default:
		return TC_ACT_OK;
	}
	if (ip->protocol != IPPROTO_ICMP) {
		from.rport = l4[0];
		from.lport = l4[1];
	}
	found = bpf_map_lookup_elem(&nat_flows, &from);
	if (found)
		to = *found;
	else if (from.raddr == nat_server || add(&from, &to))
		return TC_ACT_SHOT;

	replace_addresses(skb, &head, to.raddr, sum, flags);
	if (head.protocol == IPPROTO_ICMP) {
		__u32 icmp_sum = L4 + 2;

		if (from.rport)
			replace16(skb, L4 + 4, icmp_sum, from.rport, to.lport, 0);
		else
			replace16(skb, L4 + 4, icmp_sum, from.lport, to.rport, 0);
	} else {
		replace16(skb, at_source, sum, from.rport, to.lport, flags);
		replace16(skb, at_dest, sum, from.lport, to.rport, flags);
	}
	ttl[0] = *(__be16 *)&head.ttl;
	ttl[1] = ttl[0] - bpf_htons(0x0100);
	bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), ttl[0], ttl[1], 2);
	bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, ttl), &ttl[1], 1, 0);
	return (int)bpf_redirect_neigh(skb->ifindex, NULL, 0, 0);
}

char LICENSE[] SEC("license") = "GPL";
