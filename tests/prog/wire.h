/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The way of a frame from one pod to the other through all four programs, with the CNI and
 * the kernel played by the test.
 *
 *   pod -> POD_EGRESS -+------ masqueraded ------+-> NIC_EGRESS -> wire
 *                      +-> CNI: TTL, tunnel -----+
 *   wire -> NIC_INGRESS -+----- restored --------+-> pod
 *                        +-> CNI -> POD_INGRESS -+
 */
#ifndef WIRE_H
#define WIRE_H

#include "node.h"

enum way {
	LOST,	 /* dropped, and nobody was told */
	NACKED,	 /* dropped, and the sender got the NACK */
	OVERLAY, /* arrived through the CNI */
	FAST,	 /* arrived masqueraded */
};

/** struct wire_frame - a frame between the nodes, and where it came from */
struct wire_frame {
	struct node *from;
	struct node *to;
	struct pkt sent; /* by the pod */
	struct pkt pkt;	 /* on the wire */
	bool fast;
	__u16 type; /* enum xm_overlay_type */
};

/**
 * wire_send() - the pod of @from sends a packet; it gets as far as the wire
 * @type: overlay of the CNI
 *
 * Return: false when a program dropped it.
 */
bool wire_send(struct node *from, const struct pkt_spec *s, __u16 type, struct wire_frame *f);

/**
 * wire_arrive() - the frame arrives at the other node, and so does a NACK back
 *
 * What the pod gets must be what the other pod sent, but for Ethernet addresses and TTL.
 */
enum way wire_arrive(struct wire_frame *f);

/** wire_carry() - both */
enum way wire_carry(struct node *from, const struct pkt_spec *s, __u16 type);

#endif
