// SPDX-License-Identifier: GPL-2.0-only
/*
 * The TC programs on sequences of packets, compiled for the host (bpf_shim.h).
 *
 * An input is a world (which of the two nodes we are, what flows and labels there are) and up to
 * STEPS packets, each one of the shapes that matter with bytes of it changed. What a packet
 * deserves is decided here once more, by other code, from the bytes and from the tables as they
 * were before:
 *
 *  - a packet that passes is as it was, but for the outer source port by which an owner tells a
 *    label, and that port's share of the checksum
 *  - a packet is masqueraded only for a flow, and restored only for a label, that is alive, and
 *    nothing but addresses, ports and sums changes; these stay as right or wrong as they were
 *  - the guard: nothing that looks like ours gets in or out
 *  - the fast path does exactly what the complete path would have done, or nothing
 *  - what the NIC's hooks let go at the first look would have come to nothing, and what they read
 *    cheaply is what the parser reads
 *
 * Input: 16 bytes of world, then for each step 16 bytes (struct step in prog_world.h) and its
 * edits, two bytes each.
 */
#include "prog_world.h"

#define STEPS 12

/* Packet and tables before, after either path, and now. */
static struct shim_state was, fast, full, now;

/* ---- what is in a frame ---- */

struct view {
	bool ports; /* TCP or UDP, not a later fragment, ports within the frame */
	bool clean; /* eligible but for TTL and TCP flags */
	__u8 proto, flags, ttl;
	__be32 saddr, daddr;
	__u16 sport, dport;
};

static void look(const struct frame *f, const struct __sk_buff *skb, struct view *v)
{
	const __u8 *b = f->b;
	__u32 l4, hdr, tot;

	memset(v, 0, sizeof(*v));
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present || f->len < OFF_L4)
		return;
	v->proto = b[OFF_IP + 9];
	v->ttl = b[OFF_IP + 8];
	memcpy(&v->saddr, b + OFF_IP + 12, 4);
	memcpy(&v->daddr, b + OFF_IP + 16, 4);
	l4 = OFF_IP + (b[OFF_IP] & 15) * 4u;
	if ((v->proto != IPPROTO_TCP && v->proto != IPPROTO_UDP) ||
	    get16(b + OFF_IP + 6) & 0x1fff || f->len < l4 + 4)
		return;
	v->ports = true;
	v->sport = get16(b + l4);
	v->dport = get16(b + l4 + 2);
	hdr = v->proto == IPPROTO_TCP ? 20 : 8;
	tot = get16(b + OFF_IP + 2);
	if (b[OFF_IP] != 0x45 || get16(b + OFF_IP + 6) & 0x3fff || tot < 20 + hdr ||
	    tot > f->len - OFF_IP || b[OFF_IP + 16] >> 4 == 14 || v->daddr == 0xffffffff ||
	    get16(b + 12) != ETH_P_IP)
		return;
	v->clean = v->proto == IPPROTO_UDP || b[OFF_L4 + 12] >= 0x50;
	v->flags = v->proto == IPPROTO_TCP ? b[OFF_L4 + 13] & 7 : 0;
}

static bool is_tunnel(const struct view *v)
{
	return v->ports && v->proto == IPPROTO_UDP && before.b[OFF_IP] == 0x45 &&
	       !(get16(before.b + OFF_IP + 6) & 0x3fff) && (v->dport == 8472 || v->dport == 6081);
}

static bool has_shape(const struct view *v)
{
	__u16 other = v->sport == P ? v->dport : v->sport;

	return v->ports && !is_tunnel(v) && (v->sport == P || v->dport == P) &&
	       (other == P || other >= 32768);
}

static bool is_peer(__be32 a)
{
	return a == w.peer && peer_slot(UP)->used;
}

/* ---- what became of it ---- */

static bool unchanged(void)
{
	return after.len == before.len && !memcmp(after.b, before.b, before.len);
}

/* Equal but for the headers that are rewritten; all sums as right as before. */
static void must_be_rewritten(const __u8 *eth, const struct xm_flow_key *t, const struct step *s,
			      __u32 csum_was)
{
	struct frame want = before;
	__u8 *check = l4_check(&want), *got = l4_check(&after);
	__u32 l4 = ip_len(&before) - 20;
	bool udp = t->proto == IPPROTO_UDP;

	MUST(after.len == before.len);
	memcpy(want.b, eth, XM_ETH_LEN);
	memcpy(want.b + OFF_IP + 12, &t->saddr, 4);
	memcpy(want.b + OFF_IP + 16, &t->daddr, 4);
	memcpy(want.b + OFF_L4, &t->sport, 2);
	memcpy(want.b + OFF_L4 + 2, &t->dport, 2);
	memcpy(want.b + OFF_IP + 10, after.b + OFF_IP + 10, 2);
	memcpy(check, got, 2);
	MUST(!memcmp(want.b, after.b, after.len));
	MUST(ip_rest(&after) == ip_rest(&before));
	check = l4_check(&before);
	if ((s->csum & 3) == CHECKSUM_PARTIAL || (!(s->csum & 3) && udp && s->csum & CSUM_GSO)) {
		MUST((65535 + get16(got) - pseudo(&after, l4)) % 65535 ==
		     (65535 + get16(check) - pseudo(&before, l4)) % 65535);
	} else if (udp && !get16(check)) {
		MUST(!get16(got));
	} else {
		MUST(l4_rest(&after) == l4_rest(&before));
		MUST(!udp || get16(got));
	}
	if ((s->csum & 3) == CHECKSUM_COMPLETE) {
		__u32 sum = shim_kernel()->csum, old = sum_of(before.b + OFF_IP, before.len - 14);
		__u32 new = sum_of(after.b + OFF_IP, after.len - 14);

		/* In the machine's byte order: the same modulo 65535 after a swap. */
		sum = bpf_ntohs((__u16)(sum % 65535)) % 65535;
		csum_was = bpf_ntohs((__u16)(csum_was % 65535)) % 65535;
		MUST((65535 + sum - new) % 65535 == (65535 + csum_was - old) % 65535);
	}
}

static bool alive(__u32 until)
{
	return (__s32)((__u32)shim.jiffies - until) < 0;
}

static void judge_masqueraded(const struct view *v, const struct step *s, __u32 pod,
			      const struct __sk_buff *skb, __u32 csum_was)
{
	const struct xm_flow *f = NULL, *at;
	const struct xm_peer *p;
	struct xm_flow_key t = {};
	unsigned int pos = 0;
	const void *k;

	MUST(v->clean && !v->flags && v->ttl >= 3);
	while ((at = shim_map_each(SHIM_MAP(&xm_flows), &pos, &k))) {
		const struct xm_flow_key *key = k;

		if (key->saddr == v->saddr && key->daddr == v->daddr && key->proto == v->proto &&
		    key->sport == bpf_htons(v->sport) && key->dport == bpf_htons(v->dport))
			f = at;
	}
	MUST(f && f->stage == XM_STAGE_READY && !f->ended && f->pod_ifindex == pod);
	MUST(alive(f->out_until) && alive(f->in_until) && alive(f->renew_at));
	p = peer_slot(f->peer_idx);
	MUST(p && p->gen == f->peer_gen &&
	     p->up_until[v->proto == IPPROTO_TCP ? 0 : 1] > shim.jiffies);
	MUST(skb->mark == MARK && shim.redirect_ifindex == f->nic_ifindex);
	t.saddr = w.node;
	t.daddr = w.peer;
	t.sport = w.owner ? label_port(f->label) : bpf_htons(P);
	t.dport = w.owner ? bpf_htons(P) : label_port(f->label);
	t.proto = v->proto;
	must_be_rewritten(f->eth, &t, s, csum_was);
}

/* @was: tables as they were before */
static void judge_restored(const struct view *v, const struct step *s, __u32 csum_was)
{
	__u16 label = (__u16)((v->dport == P ? v->sport : v->dport) - 32768);
	struct xm_label *e = NULL, *at;
	struct xm_flow_key t = {};
	unsigned int pos = 0;
	const void *k;

	MUST(v->clean && !v->flags && (v->dport == P || v->sport == P) && label <= XM_LABEL_MAX);
	/* All of the table: where it must be is the programs' business. */
	while ((at = shim_map_each(SHIM_MAP(&xm_labels), &pos, &k)))
		if (at->tag == ((__u64)v->saddr << 32 | (__u64)label << 16 | (__u64)v->proto << 8 |
				XM_TAG_USED))
			e = at;
	MUST(e && alive(e->until) && e->node == v->daddr);
	MUST(e->owner ? v->sport == P : v->dport == P);
	MUST(shim.redirect_ifindex == e->pod_ifindex);
	t.saddr = e->saddr;
	t.daddr = e->daddr;
	t.sport = e->sport;
	t.dport = e->dport;
	t.proto = v->proto;
	must_be_rewritten(e->eth, &t, s, csum_was);
}

static void judge_nack(const struct view *v, const struct step *s, const struct __sk_buff *skb)
{
	struct frame f = after;

	MUST(has_shape(v) && is_peer(v->saddr) && v->daddr == w.node);
	MUST(shim.redirect_ifindex == NIC && skb->mark == MARK && after.len == 54);
	MUST(!memcmp(after.b, before.b + 6, 6) && !memcmp(after.b + 6, before.b, 6));
	MUST(!memcmp(after.b + OFF_IP + 16, &v->saddr, 4));
	MUST(!memcmp(after.b + OFF_IP + 12, &v->daddr, 4));
	MUST(!ip_rest(&after));
	if (shim_kernel()->ip_summed == CHECKSUM_PARTIAL && !(s->csum & CSUM_ODD_START))
		MUST(get16(l4_check(&f)) % 65535 == pseudo(&after, 20));
	else
		MUST(!l4_rest(&after));
}

/* What an owner may do to a tunnel packet that leaves. */
static void judge_told(const struct view *v, const struct step *s)
{
	const __u32 check = OFF_L4 + 6;
	bool pseudo_only = s->csum & CSUM_GSO ||
			   ((s->csum & 3) == CHECKSUM_PARTIAL && s->csum & CSUM_OUTER &&
			    !(s->csum & CSUM_ODD_START));
	struct frame f = after;

	if (unchanged())
		return;
	MUST(after.len == before.len && is_tunnel(v) && v->saddr == w.node && is_peer(v->daddr));
	MUST(w.owner);
	if (!get16(before.b + check) || pseudo_only) {
		MUST(get16(after.b + check) == get16(before.b + check));
	} else {
		MUST(get16(after.b + check));
		MUST((get16(after.b + check) + get16(after.b + OFF_L4)) % 65535 ==
		     (get16(before.b + check) + get16(before.b + OFF_L4)) % 65535);
	}
	memcpy(f.b + OFF_L4, before.b + OFF_L4, 2);
	memcpy(f.b + check, before.b + check, 2);
	MUST(!memcmp(f.b, before.b, f.len));
}

/* Whatever happened, the tables can be used. */
static void judge_tables(void)
{
	const struct xm_flow *f;
	const struct xm_label *e;
	unsigned int pos = 0;
	const void *k;

	while ((e = shim_map_each(SHIM_MAP(&xm_labels), &pos, &k))) {
		__u8 proto = (__u8)(e->tag >> 8);

		if (!e->tag)
			continue;
		MUST((e->tag & 0xff) == XM_TAG_USED);
		MUST(proto == IPPROTO_TCP || proto == IPPROTO_UDP);
		MUST(label_at((__be32)(e->tag >> 32), (__u16)(e->tag >> 16),
			      proto == IPPROTO_TCP ? XM_TCP : XM_UDP) == e);
		MUST(e->node == w.node && e->owner == w.owner);
	}
	pos = 0;
	while ((f = shim_map_each(SHIM_MAP(&xm_flows), &pos, &k))) {
		MUST(f->stage <= XM_STAGE_LOCAL);
		/* What is not admitted is looked for by nobody. */
		MUST(!admit_is_cold(k));
		if (f->stage == XM_STAGE_LOCAL) {
			MUST(!f->peer && !f->node && !f->label && !f->peer_idx && !f->peer_gen);
			MUST(f->ttl_dec <= 1 && f->pod_ifindex != f->nic_ifindex);
			continue;
		}
		MUST(f->node == w.node && f->peer == w.peer);
		if (f->stage != XM_STAGE_READY)
			continue;
		MUST(f->label >= XM_LABEL_MIN && f->label <= XM_LABEL_MAX);
		MUST((w.owner ? f->sport : f->dport) == label_port(f->label));
		MUST((w.owner ? f->dport : f->sport) == bpf_htons(P));
	}
	MUST(!shim.reserved);
}

/* ---- fast path and complete path ---- */

static bool same(const struct shim_state *a, const struct shim_state *b)
{
	return a->len == b->len && !memcmp(a->bytes, b->bytes, a->len);
}

/* From @was, and back to it. @known: what the table of known tuples says, instead of the flow */
static void compare_paths(struct __sk_buff *skb, enum hook hook, bool known)
{
	enum xm_reason fast_reason = hook == NIC_INGRESS ? XM_R_RESTORED : XM_R_MASQUERADED;
	__u32 to[2] = { 0, 0 }, idx;
	struct parsed p;
	enum xm_reason r;
	enum xm_reason did;

	/* Whatever is in the tables, also what they should never hold. */
	idx = fast_frame(skb, (void *)skb->data, (void *)skb->data_end);
	if (idx != XM_PROTOS)
		MUST(!parse_frame(skb, &p) && !p.tcp_flags && p.idx == idx);
	if (known)
		did = fast_known(skb, hook == NIC_INGRESS ? FAST_IN : FAST_OUT,
				 hook == NIC_INGRESS ? 0 : skb->ifindex, &to[0])
			      ? fast_reason
			      : XM_R_NONE;
	else if (hook == NIC_INGRESS)
		did = restore_fast(skb, &to[0], 0) ? XM_R_RESTORED : XM_R_NONE;
	else
		did = masquerade_fast(skb, skb->ifindex, &to[0], 0);
	/* Its caller's part. */
	if (known && did == XM_R_MASQUERADED)
		skb->mark = MARK;
	shim_save(&fast);
	if (!did) {
		MUST(same(&fast, &was) && !to[0]);
		return;
	}
	shim_load(&was);
	r = hook == NIC_INGRESS ? nic_restore(skb, &to[1])
				: masquerade_any(skb, skb->ifindex, hook == RPEER_EGRESS, &to[1]);
	shim_save(&full);
	MUST(r == did);
	MUST(same(&fast, &full) && to[0] == to[1]);
	shim_load(&was);
}

/* Flows and labels, and how many peers were seen by a packet that is not looked at any closer. */
static struct tables {
	struct xm_flow f[FLOWS + 1];
	struct xm_label e[LABELS];
} then, since;

static void take_tables(struct tables *t)
{
	unsigned int pos = 0, n = 0;
	const void *k, *v;

	memset(t, 0, sizeof(*t));
	while ((v = shim_map_each(SHIM_MAP(&xm_flows), &pos, &k)))
		memcpy(&t->f[n++], v, sizeof(t->f[0]));
	pos = n = 0;
	while ((v = shim_map_each(SHIM_MAP(&xm_labels), &pos, &k)))
		memcpy(&t->e[n++], v, sizeof(t->e[0]));
}

/* The same for the first look at the NIC. From @was, and back to it. */
static void compare_looks(struct __sk_buff *skb, enum hook hook)
{
	struct tunneled t = {}, parsed = {};
	struct outer o = {}, outer = {};
	__u32 ifindex = 0;
	__be16 ports[2];
	struct iphdr ip;
	enum look look;
	enum xm_reason r;

	take_tables(&then);
	look = nic_is_cold(skb) ? LOOK_NOTHING : nic_look(skb, &o, &t);
	shim_save(&fast);
	MUST(same(&fast, &was));
	if (look == LOOK_OVERLAY) {
		MUST(!nic_headers(skb, &ip, ports) && outer_of(&ip, ports, &outer));
		MUST(!memcmp(&o, &outer, sizeof(o)));
		MUST(!parse_tunnel(skb, o.type, &parsed));
		MUST(!memcmp(&t.key, &parsed.key, sizeof(t.key)) && t.idx == parsed.idx &&
		     t.tcp_flags == parsed.tcp_flags);
	} else if (look == LOOK_NOTHING) {
		r = hook == NIC_EGRESS ? nic_egress_rest(skb) : nic_restore(skb, &ifindex);
		if (hook == NIC_INGRESS)
			r = nic_ingress_rest(skb, r);
		MUST(r == XM_R_NONE && !ifindex);
		after.len = shim_frame(after.b);
		MUST(unchanged());
		take_tables(&since);
		MUST(!memcmp(&then, &since, sizeof(then)));
	}
	shim_load(&was);
}

/* The flow that this frame belongs to, as the tables are now. */
static const struct xm_flow *flow_of(const struct view *v)
{
	const struct xm_flow *at;
	unsigned int pos = 0;
	const void *k;

	while ((at = shim_map_each(SHIM_MAP(&xm_flows), &pos, &k))) {
		const struct xm_flow_key *key = k;

		if (key->saddr == v->saddr && key->daddr == v->daddr && key->proto == v->proto &&
		    key->sport == bpf_htons(v->sport) && key->dport == bpf_htons(v->dport))
			return at;
	}
	return NULL;
}

/* Equal but for the Ethernet addresses and the TTL, which are those of the CNI's path. */
static void judge_local(const struct view *v, const struct step *s, const struct __sk_buff *skb,
			const struct xm_flow *f)
{
	struct frame want = before;

	MUST(v->clean && !v->flags && v->ttl >= 3);
	MUST(!f->ended && f->pod_ifindex == skb->ifindex);
	MUST(alive(f->out_until) && alive(f->in_until) && alive(f->renew_at));
	MUST(shim.redirect_ifindex == f->nic_ifindex && f->nic_ifindex);
	MUST(shim.redirect == (s->hook == RPEER_EGRESS	  ? SHIM_TO_RPEER
			       : s->hook == NETKIT_EGRESS ? SHIM_TO
							  : SHIM_TO_PEER));
	/* What tells the program at the other pod's interface that it comes from here. */
	MUST((skb->mark == MARK) == (s->hook != POD_EGRESS));
	MUST(s->hook != RPEER_EGRESS || !skb->priority);
	MUST(skb->len <= f->frame_max || skb->gso_size);
	memcpy(want.b, f->eth, XM_ETH_LEN);
	want.b[OFF_IP + 8] -= f->ttl_dec;
	memcpy(want.b + OFF_IP + 10, after.b + OFF_IP + 10, 2);
	MUST(after.len == before.len && !memcmp(want.b, after.b, after.len));
	MUST(ip_rest(&after) == ip_rest(&before));
}

/* The largest frame that may leave, as far as the programs can know from @hook. */
static __u32 takes(enum hook hook)
{
	__u32 len = nic_mtu + ETH_HLEN;

	return hook == RPEER_EGRESS || !shim.mtu_ifindex || len < nic_frame_max ? nic_frame_max
										: len;
}

/* ---- a step ---- */

static void judge(const struct view *v, const struct step *s, const struct __sk_buff *skb,
		  int verdict, __u32 mark)
{
	bool ours = has_shape(v) && v->daddr == w.node && (v->dport == P || is_peer(v->saddr));

	/* The tables as they were when the program decided. */
	shim_load(&was);
	switch (s->hook) {
	case POD_EGRESS:
	case RPEER_EGRESS:
	case NETKIT_EGRESS:
		MUST(verdict == TC_ACT_REDIRECT || verdict == TC_ACT_UNSPEC);
		break;
	case NIC_EGRESS:
		if (mark == MARK)
			MUST(verdict == TC_ACT_UNSPEC && !skb->mark);
		else if (has_shape(v) && is_peer(v->daddr))
			MUST(verdict == TC_ACT_SHOT && unchanged());
		else if (v->ports && !is_tunnel(v) && v->dport == P && skb->ingress_ifindex &&
			 is_peer(v->daddr))
			MUST(verdict == TC_ACT_SHOT && unchanged());
		else
			MUST(verdict == TC_ACT_UNSPEC);
		break;
	case NIC_INGRESS:
		MUST(verdict != TC_ACT_UNSPEC || !ours);
		/* A probe's word may come from a stranger's masquerade port. */
		if (verdict == TC_ACT_SHOT)
			MUST(has_shape(v) && v->daddr == w.node && (ours || v->sport == P));
		break;
	default:
		MUST(verdict == TC_ACT_UNSPEC);
	}
}

static void run(struct step *s, struct fuzz_in *in)
{
	static int (*const programs[HOOKS])(struct __sk_buff *) = {
		xmasq_pod_egress,  xmasq_nic_egress,   xmasq_nic_ingress,
		xmasq_pod_ingress, xmasq_rpeer_egress, xmasq_netkit_egress,
	};
	struct __sk_buff *skb, got;
	struct sk_buff kern;
	__u32 mark, csum_was;
	struct view v;
	int verdict;

	s->hook %= HOOKS;
	shim.jiffies += (__u32)s->time * s->time / 32;
	skb = make_packet(s, in);
	mark = skb->mark;
	csum_was = shim_kernel()->csum;
	look(&before, skb, &v);
	shim_save(&was);
	if (s->hook != NIC_EGRESS && s->hook != POD_INGRESS) {
		compare_paths(skb, s->hook, false);
		compare_paths(skb, s->hook, true);
	}
	if (s->hook == NIC_EGRESS || s->hook == NIC_INGRESS)
		compare_looks(skb, s->hook);

	verdict = programs[s->hook](skb);
	after.len = shim_frame(after.b);
	got = *skb;
	kern = *shim_kernel();
	judge_tables();
	shim_save(&now);

	judge(&v, s, &got, verdict, mark);
	*shim_kernel() = kern;
	if (verdict == TC_ACT_UNSPEC) {
		MUST(shim.redirect == SHIM_STAYS);
		/* Ours ends here; in the pod's namespace any mark is the pod's own. */
		MUST(got.mark == (mark == MARK && s->hook != RPEER_EGRESS && s->hook != NIC_INGRESS
					  ? 0
					  : mark));
		if (s->hook == NIC_EGRESS && mark != MARK)
			judge_told(&v, s);
		else
			MUST(unchanged());
	} else if (verdict == TC_ACT_REDIRECT && s->hook != NIC_INGRESS && flow_of(&v) &&
		   flow_of(&v)->stage == XM_STAGE_LOCAL) {
		judge_local(&v, s, &got, flow_of(&v));
	} else if (verdict == TC_ACT_REDIRECT && s->hook != NIC_INGRESS) {
		MUST(shim.redirect == (s->hook == RPEER_EGRESS ? SHIM_TO_RPEER : SHIM_TO));
		MUST(got.len <= takes(s->hook) ||
		     (got.gso_size && got.gso_size + ETH_HLEN + 20 + 8 <= takes(s->hook)));
		judge_masqueraded(&v, s, got.ifindex, &got, csum_was);
	} else if (verdict == TC_ACT_REDIRECT && shim.redirect == SHIM_TO_PEER) {
		judge_restored(&v, s, csum_was);
	} else if (verdict == TC_ACT_REDIRECT) {
		judge_nack(&v, s, &got);
	}
	shim_load(&now);
}

static void judge_event(const void *p)
{
	static const __u8 zero[XM_CONTROL_MAX];
	const struct xm_event *ev = p;

	MUST(ev->type >= XM_EV_PEER_SEEN && ev->type <= XM_EV_PROBE && ev->len <= XM_CONTROL_MAX);
	MUST(ev->leaving <= (ev->type == XM_EV_PEER_SEEN) && ev->ifindex == NIC &&
	     (ev->type != XM_EV_PEER_SEEN || !ev->len));
	MUST(!memcmp(ev->data + ev->len, zero, XM_CONTROL_MAX - ev->len));
}

static void set_up(void)
{
	config = (struct xm_config){
		.mark = MARK,
		.lease = LEASE,
		.in_lease = LEASE + LEASE / 4,
		.renew = LEASE / 2,
		.retry = LEASE / 8,
		.quarantine = 5 * SECOND,
		.second = SECOND,
		.label_mask = LABELS - 1,
		.masq_port = bpf_htons(P),
		.overlay = { {
				     bpf_htons(8472),
				     XM_OVERLAY_VXLAN,
			     },
			     {
				     bpf_htons(6081),
				     XM_OVERLAY_GENEVE,
			     } },
	};
	shim_cfg = &config;
	shim.event = judge_event;
	/* Small, so that tables are full and slots are shared. */
	shim_map_size(SHIM_MAP(&xm_flows), FLOWS + 1);
	shim_map_size(SHIM_MAP(&xm_labels), LABELS);
	shim_map_size(SHIM_MAP(&xm_admit), LABELS);
	shim_map_size(SHIM_MAP(&xm_peer_idx), 4);
	shim_map_size(SHIM_MAP(&xm_peers), 4);
	shim_map_size(SHIM_MAP(&xm_pods), 4);
	shim_map_size(SHIM_MAP(&xm_seen), 4);
	shim_map_size(SHIM_MAP(&xm_locals), 4);
	shim_map_size(SHIM_MAP(&xm_counters), XM_R_MAX);
	shim_variable(&local_until, sizeof(local_until));
	shim_variable(&nic_frame_max, sizeof(nic_frame_max));
	shim_variable(&admit_after, sizeof(admit_after));
	shim_variable(&strangers_win, sizeof(strangers_win));
	shim_variable(&strangers_cnt, sizeof(strangers_cnt));
	shim_variable(fast_table, sizeof(fast_table));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	struct step s;

	if (!shim_cfg)
		set_up();
	make_world(&in);
	for (unsigned int i = 0; i < STEPS && in.left; i++) {
		memset(&s, 0, sizeof(s));
		fuzz_bytes(&in, &s, sizeof(s));
		run(&s, &in);
	}
	return 0;
}
