// SPDX-License-Identifier: GPL-2.0-only
/* Whole lives of flows, between two nodes that know each other only by frames. */
#include <netinet/in.h>
#include <string.h>

#include "node.h"
#include "suites.h"
#include "tap.h"
#include "wire.h"

static struct pkt_spec spec_a, spec_b;
static struct xm_flow_key key_a, key_b;
static __u16 type;

static void begin(__u8 proto, __u16 overlay)
{
	type = overlay;
	node_reset(&node_a);
	node_reset(&node_b);
	/* Who writes a table by hand says so, as the daemon does: node_forget(). */
	node_a.keeps = node_b.keeps = true;
	node_key(&node_a, proto, &key_a);
	node_key(&node_b, proto, &key_b);
	node_spec(&node_a, &key_a, &spec_a);
	node_spec(&node_b, &key_b, &spec_b);
}

static enum way a_sends(void)
{
	spec_a.seq += spec_a.payload;
	spec_a.id++;
	return wire_carry(&node_a, &spec_a, type);
}

static enum way b_sends(void)
{
	spec_b.seq += spec_b.payload;
	spec_b.id++;
	return wire_carry(&node_b, &spec_b, type);
}

/* Request and response until both are masqueraded. Return: how many rounds, 99 for never. */
static int until_fast(int limit)
{
	for (int i = 1; i <= limit; i++) {
		enum way a = a_sends(), b = b_sends();

		CHECK(a >= OVERLAY && b >= OVERLAY, "round %d: packet lost, %d %d", i, a, b);
		if (a == FAST && b == FAST)
			return i;
	}
	return 99;
}

static void handshake(void)
{
	spec_a.flags = SYN;
	CHECK_EQ(a_sends(), OVERLAY);
	spec_b.flags = SYN | ACK;
	CHECK_EQ(b_sends(), OVERLAY);
	spec_a.flags = spec_b.flags = ACK;
	CHECK_EQ(a_sends(), OVERLAY);
}

/* Whatever was wrong is healed: both ways fast, and they stay so. */
static void stays_fast(int packets)
{
	for (int i = 0; i < packets && !tap_failed(); i++) {
		spec_a.payload = (__u16)(i * 37 % 1300);
		spec_b.payload = (__u16)(i * 59 % 1300);
		CHECK_EQ(a_sends(), FAST);
		CHECK_EQ(b_sends(), FAST);
	}
}

static void wipe(struct node *n)
{
	memset(n->labels, 0, N_LABELS * sizeof(*n->labels));
	node_forget(n);
}

static void down(struct node *n)
{
	n->peers[PEER_IDX].up_until[XM_TCP] = n->peers[PEER_IDX].up_until[XM_UDP] = 0;
	node_forget(n);
}

/* Its ingress lease is over, and with it the label that it is named by. */
static void lapse(struct node *n, const struct xm_flow_key *key)
{
	__u32 now = node_now(n);
	struct xm_flow f;

	node_flow(n, key, &f);
	f.in_until = now;
	node_set_flow(n, key, &f);
	for (int i = 0; i < N_LABELS; i++)
		n->labels[i].until = now;
}

/*
 * Neither daemon has been there for long, the pods talked all the while. Then one node has proof of
 * the other, which has none of it yet, and a delivery comes before anything is sent.
 */
static void long_silence(bool a_first)
{
	down(&node_b);
	down(&node_a);
	lapse(&node_a, &key_a);
	lapse(&node_b, &key_b);
	CHECK_EQ(a_sends(), OVERLAY);
	CHECK_EQ(b_sends(), OVERLAY);
	node_peer(a_first ? &node_a : &node_b, PEER_IDX, a_first ? ADDR_B : ADDR_A, PEER_GEN, true);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(a_first ? b_sends() : a_sends(), OVERLAY);
		CHECK_EQ(a_first ? a_sends() : b_sends(), OVERLAY);
	}
	node_peer(a_first ? &node_b : &node_a, PEER_IDX, a_first ? ADDR_A : ADDR_B, PEER_GEN, true);
	CHECK(until_fast(10) <= 10, "not fast again");
}

/*
 * The one node's daemon was away for a moment, shorter than leases last. It is back and has proof of the
 * other one, whose daemon goes before it has any: its lease runs out, and ours is renewed.
 */
static void half_heard(bool a_first)
{
	struct node *back = a_first ? &node_a : &node_b, *gone = a_first ? &node_b : &node_a;

	down(&node_a);
	down(&node_b);
	CHECK_EQ(a_sends(), OVERLAY);
	CHECK_EQ(b_sends(), OVERLAY);
	node_peer(back, PEER_IDX, a_first ? ADDR_B : ADDR_A, PEER_GEN, true);
	for (int i = 0; i < 4; i++) {
		if (i == 2)
			lapse(gone, a_first ? &key_b : &key_a);
		CHECK_EQ(a_sends(), OVERLAY);
		CHECK_EQ(b_sends(), OVERLAY);
	}
	node_peer(gone, PEER_IDX, a_first ? ADDR_A : ADDR_B, PEER_GEN, true);
	CHECK(until_fast(10) <= 10, "not fast again");
}

static void whole_life(__u8 proto, __u16 overlay)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	struct xm_flow f;
	int rounds;

	tap_case("life: %s over %s: both masquerade within 10 packets each way", what,
		 overlay == XM_OVERLAY_VXLAN ? "VXLAN" : "Geneve");
	begin(proto, overlay);
	if (proto == IPPROTO_TCP)
		handshake();
	rounds = until_fast(10);
	CHECK(rounds <= 10, "not fast after 10 rounds");
	if (!tap_failed())
		tap_note("%s: fast in round %d", what, rounds);

	tap_case("life: %s: then everything is fast, and arrives as it was sent", what);
	stays_fast(100);

	tap_case("life: %s: a renewal goes by the overlay and is renewed by it", what);
	node_flow(&node_a, &key_a, &f);
	f.renew_at = node_now(&node_a);
	node_set_flow(&node_a, &key_a, &f);
	CHECK_EQ(a_sends(), OVERLAY);
	CHECK_EQ(a_sends(), FAST);
	node_flow(&node_a, &key_a, &f);
	CHECK(f.renew_at - node_now(&node_a) > RENEW - 1000, "not renewed");

	tap_case("life: %s: an egress lease that ran out comes back with one packet", what);
	f.out_until = node_now(&node_a);
	node_set_flow(&node_a, &key_a, &f);
	CHECK_EQ(a_sends(), OVERLAY);
	CHECK_EQ(a_sends(), FAST);

	tap_case("life: %s: a silent peer: overlay at once, fast at once when it is back", what);
	down(&node_b);
	CHECK_EQ(b_sends(), OVERLAY);
	CHECK_EQ(a_sends(), FAST);
	node_peer(&node_b, PEER_IDX, ADDR_A, PEER_GEN, true);
	CHECK_EQ(b_sends(), FAST);

	tap_case("life: %s: silent for longer than a lease: agreed anew, whoever is back first",
		 what);
	long_silence(true);
	long_silence(false);

	tap_case("life: %s: silent for a moment, and one node has proof first: nothing is refused",
		 what);
	half_heard(true);
	half_heard(false);

	tap_case("life: %s: a peer with a new epoch: learned anew", what);
	node_peer(&node_b, PEER_IDX, ADDR_A, PEER_GEN + 1, true);
	node_peer(&node_a, PEER_IDX, ADDR_B, PEER_GEN + 1, true);
	wipe(&node_a);
	wipe(&node_b);
	CHECK(until_fast(10) <= 10, "not fast again");

	if (proto != IPPROTO_TCP)
		return;
	tap_case("life: TCP: FIN goes by the overlay and ends both directions at both ends");
	spec_a.payload = spec_b.payload = 10;
	spec_a.flags = FIN | ACK;
	CHECK_EQ(a_sends(), OVERLAY);
	spec_a.flags = ACK;
	CHECK_EQ(b_sends(), OVERLAY);
	CHECK_EQ(a_sends(), OVERLAY);
	spec_b.flags = FIN | ACK;
	CHECK_EQ(b_sends(), OVERLAY);
	CHECK_EQ(a_sends(), OVERLAY);

	tap_case("life: TCP: the same tuple again is learned again, under another label");
	node_flow(&node_a, &key_a, &f);
	__u16 label = f.label;

	handshake();
	CHECK(until_fast(10) <= 10, "not fast again");
	node_flow(&node_a, &key_a, &f);
	CHECK(f.label && f.label != label, "label %u again", label);
	stays_fast(5);
}

/* ---- lost state ---- */

/* A lease later: what the CNI must see again goes by the overlay once, at both ends. */
static void renew(void)
{
	struct xm_flow f;

	if (node_flow(&node_a, &key_a, &f)) {
		f.renew_at = node_now(&node_a);
		node_set_flow(&node_a, &key_a, &f);
	}
	if (node_flow(&node_b, &key_b, &f)) {
		f.renew_at = node_now(&node_b);
		node_set_flow(&node_b, &key_b, &f);
	}
}

/* Without a loss, in a few leases' time. */
static bool heals(void)
{
	for (int i = 0; i < 4; i++) {
		renew();
		if (until_fast(4) <= 4)
			return true;
	}
	return false;
}

static void established(__u8 proto)
{
	begin(proto, XM_OVERLAY_VXLAN);
	CHECK(until_fast(10) <= 10, "not fast");
}

static void lost_labels(__u8 proto)
{
	const char *what = proto == IPPROTO_TCP ? "TCP" : "UDP";
	struct xm_flow f;

	tap_case("life: %s: the other node loses its labels: one NACK, then overlay, then fast",
		 what);
	established(proto);
	wipe(&node_b);
	CHECK_EQ(a_sends(), NACKED);
	node_flow(&node_a, &key_a, &f);
	CHECK(f.stage != XM_STAGE_READY, "still READY");
	CHECK_EQ(a_sends(), OVERLAY);
	CHECK_EQ(b_sends(), FAST);
	stays_fast(20);

	tap_case("life: %s: the owner loses its labels: one NACK, then overlay, then fast", what);
	established(proto);
	wipe(&node_a);
	CHECK_EQ(b_sends(), NACKED);
	node_flow(&node_b, &key_b, &f);
	CHECK(f.stage != XM_STAGE_READY, "still READY");
	CHECK_EQ(b_sends(), OVERLAY);
	/* The owner notices when it next tells: at its renewal. */
	CHECK(heals(), "not fast again");

	/*
	 * Not within a round trip: a NACK names a label, and who has lost the label's entry
	 * cannot tell whose it was. The renewal bounds it.
	 */
	tap_case("life: %s: both lose all labels: no packet is lost after the renewal", what);
	established(proto);
	wipe(&node_a);
	wipe(&node_b);
	CHECK(a_sends() != LOST, "lost silently");
	CHECK(b_sends() != LOST, "lost silently");
	CHECK(heals(), "not fast again");

	tap_case("life: %s: the owner loses its flows", what);
	established(proto);
	node_del_flow(&node_a, &key_a);
	/* It tells no label any more, so the other node may not use it either. */
	CHECK_EQ(a_sends(), OVERLAY);
	CHECK_EQ(b_sends(), OVERLAY);
	CHECK(heals(), "not fast again");

	tap_case("life: %s: the other node loses its flows", what);
	established(proto);
	node_del_flow(&node_b, &key_b);
	CHECK_EQ(b_sends(), OVERLAY);
	CHECK_EQ(a_sends(), FAST);
	CHECK(heals(), "not fast again");

	tap_case("life: %s: both lose all flows", what);
	established(proto);
	node_del_flow(&node_a, &key_a);
	node_del_flow(&node_b, &key_b);
	CHECK(heals(), "not fast again");

	tap_case("life: %s: a node that lost everything at once", what);
	established(proto);
	node_del_flow(&node_b, &key_b);
	wipe(&node_b);
	CHECK_EQ(a_sends(), NACKED);
	CHECK_EQ(b_sends(), OVERLAY);
	CHECK(heals(), "not fast again");
	established(proto);
	node_del_flow(&node_a, &key_a);
	wipe(&node_a);
	CHECK_EQ(b_sends(), NACKED);
	CHECK_EQ(a_sends(), OVERLAY);
	CHECK(heals(), "not fast again");
}

/*
 * Design, invariant 6: a loss that the peer can report costs one round trip. While the other
 * node streams, its packets keep arriving; none of them may take the NACK for answered, since
 * they show only that it remembers how to send.
 */
static void streaming(__u8 proto)
{
	struct wire_frame in_flight;
	int nacked = 0;

	tap_case("life: %s: packets in flight do not undo a NACK",
		 proto == IPPROTO_TCP ? "TCP" : "UDP");
	established(proto);
	wipe(&node_b);
	CHECK_EQ(a_sends(), NACKED);
	for (int i = 0; i < 5 && !tap_failed(); i++) {
		/* Masqueraded before b could know that anything is wrong. */
		CHECK(wire_send(&node_b, &spec_b, type, &in_flight), "dropped");
		CHECK_EQ(wire_arrive(&in_flight), FAST);
		nacked += a_sends() == NACKED;
	}
	CHECK(!nacked, "%d more packets lost", nacked);
	CHECK(until_fast(3) <= 3, "not fast again");
}

static void policy(void)
{
	struct wire_frame f;
	struct xm_flow flow;
	struct xm_label *e;

	tap_case("life: a policy that denies ingress stops the flow when its leases are over");
	established(IPPROTO_TCP);
	/* b's CNI delivers no more: what arrives by the overlay is not seen by the pod. */
	node_flow(&node_b, &key_b, &flow);
	e = node_label(&node_b, ADDR_A, flow.label, IPPROTO_TCP);
	flow.in_until = e->until = node_now(&node_b);
	node_set_flow(&node_b, &key_b, &flow);
	CHECK_EQ(a_sends(), NACKED);
	for (int i = 0; i < 5; i++) {
		CHECK(wire_send(&node_a, &spec_a, type, &f), "dropped");
		CHECK(!f.fast, "fast");
		struct outcome o;

		node_run(&node_b, NIC_INGRESS, &f.pkt, &o);
		CHECK_EQ(o.verdict, UNSPEC);
		CHECK_EQ(b_sends(), OVERLAY);
	}

	tap_case("life: a policy that denies egress stops the flow when its leases are over");
	established(IPPROTO_TCP);
	node_flow(&node_a, &key_a, &flow);
	flow.out_until = node_now(&node_a);
	node_set_flow(&node_a, &key_a, &flow);
	for (int i = 0; i < 5; i++) {
		struct outcome o;
		struct pkt p;

		pkt_make(&p, &spec_a);
		node_run(&node_a, POD_EGRESS, &p, &o);
		expect_through(&node_a, &o, &p, R(LEASE_OVER));
	}
}

/*
 * A node that does not agree with its peer must not disturb it. The lower node keeps a slot,
 * though down: without one it would not know whom to keep from reading its ports as labels.
 */
static void half_known(void)
{
	tap_case("life: nothing is fast, and nothing is lost, while one side does not agree");
	for (int side = 0; side < 3; side++) {
		begin(IPPROTO_TCP, XM_OVERLAY_VXLAN);
		if (side == 0)
			node_b.peers[PEER_IDX].used = 0;
		else if (side == 1)
			node_peer(&node_b, PEER_IDX, ADDR_A, PEER_GEN, false);
		else
			node_peer(&node_a, PEER_IDX, ADDR_B, PEER_GEN, false);
		handshake();
		for (int i = 0; i < 20 && !tap_failed(); i++) {
			CHECK_EQ(a_sends(), OVERLAY);
			CHECK_EQ(b_sends(), OVERLAY);
		}
		node_events(&node_b);
	}

	tap_case("life: one way only is never fast");
	begin(IPPROTO_UDP, XM_OVERLAY_VXLAN);
	for (int i = 0; i < 20; i++)
		CHECK_EQ(a_sends(), OVERLAY);
}

void suite_life(void)
{
	for (__u16 t = XM_OVERLAY_VXLAN; t <= XM_OVERLAY_GENEVE; t++) {
		whole_life(IPPROTO_TCP, t);
		whole_life(IPPROTO_UDP, t);
	}
	lost_labels(IPPROTO_TCP);
	lost_labels(IPPROTO_UDP);
	streaming(IPPROTO_TCP);
	streaming(IPPROTO_UDP);
	policy();
	half_known();
}
