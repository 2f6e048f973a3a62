/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why a packet went where it went.
 *
 * One list is the enum, the index of the per-CPU counters and the names that
 * people see. Helpers of the TC programs return a reason; only the entry points
 * in xmasq.bpf.c turn a reason into a verdict and a count. Append only: the
 * number of a reason never changes, since it indexes a pinned map.
 *
 * X(NAME, name, kind, text), kind one of
 *   FAST     the packet took the fast path
 *   OVERLAY  the packet is left to the CNI
 *   DROP     the packet is dropped
 *   EVENT    something was learned or told; says nothing about the packet's path
 */
#ifndef XM_REASONS_H
#define XM_REASONS_H

#include "xm_limits.h"

#define XM_REASONS(X)                                                                              \
	X(NONE, "none", OVERLAY, "no decision was needed")                                         \
	/* fast path */                                                                            \
	X(MASQUERADED, "masqueraded", FAST, "left a pod as a node packet")                         \
	X(RESTORED, "restored", FAST, "arrived as a node packet, entered a pod")                   \
	/* never eligible */                                                                       \
	X(NOT_IPV4, "not-ipv4", OVERLAY, "not IPv4")                                               \
	X(NOT_TCP_UDP, "not-tcp-udp", OVERLAY, "neither TCP nor UDP")                              \
	X(TRUNCATED, "truncated", OVERLAY, "headers are cut short or contradict each other")       \
	X(IP_OPTIONS, "ip-options", OVERLAY, "IP options")                                         \
	X(FRAGMENT, "fragment", OVERLAY, "IP fragment")                                            \
	X(TTL, "ttl", OVERLAY, "TTL too low to skip the overlay's hops")                           \
	X(MULTICAST, "multicast", OVERLAY, "multicast or broadcast")                               \
	X(TCP_FLAGS, "tcp-flags", OVERLAY, "SYN, FIN or RST: the CNI sees every begin and end")    \
	/* eligible, not (now) accelerated */                                                      \
	X(NO_FLOW, "no-flow", OVERLAY, "no flow entry: destination is no peer's pod, or new")      \
	X(NOT_AGREED, "not-agreed", OVERLAY, "flow is still being learned")                        \
	X(ENDED, "ended", OVERLAY, "flow saw FIN or RST")                                          \
	X(LEASE_OVER, "lease-over", OVERLAY, "CNI has not passed this flow within the lease")      \
	X(RENEWAL, "renewal", OVERLAY, "sent by the overlay to renew the lease")                   \
	X(PEER_DOWN, "peer-down", OVERLAY,                                                         \
	  "peer is silent, or its path drops the masquerade port")                                 \
	X(OTHER_POD, "other-pod", OVERLAY, "sent by another interface than the flow's pod")        \
	/* learning */                                                                             \
	X(PEER_SEEN, "peer-seen", EVENT, "overlay packet to or from a node that is no peer yet")   \
	X(FLOW_NEW, "flow-new", EVENT, "flow entry made")                                          \
	X(FLOW_RESET, "flow-reset", EVENT, "flow entry started over (SYN, or the peer changed)")   \
	X(FLOW_END, "flow-end", EVENT, "FIN or RST took a flow off the fast path")                 \
	X(FLOW_TABLE_FULL, "flow-table-full", EVENT, "no room for a flow entry")                   \
	X(LABEL_ALLOTTED, "label-allotted", EVENT, "owner allotted a label")                       \
	X(LABEL_NONE_FREE, "label-none-free", EVENT, "no free label among those tried")            \
	X(LABEL_LEARNED, "label-learned", EVENT, "label read from a peer's overlay packet")        \
	X(LABEL_CONFLICT, "label-conflict", EVENT, "peer's label falls on a slot in use")          \
	X(LABEL_TOLD, "label-told", EVENT, "overlay packet carried a label")                       \
	X(FLOW_ACTIVE, "flow-active", EVENT, "flow entered the fast path")                         \
	X(LEASE_OUT, "lease-out", EVENT, "egress lease granted or renewed")                        \
	X(LEASE_IN, "lease-in", EVENT, "ingress lease granted or renewed")                         \
	/* what the NIC's hooks refuse */                                                          \
	X(GUARD, "guard", DROP, "masquerade port towards a peer, but not ours")                    \
	X(NO_LABEL, "no-label", DROP, "masqueraded packet with an unknown label")                  \
	X(LABEL_EXPIRED, "label-expired", DROP, "masqueraded packet after its ingress lease")      \
	X(NOT_PEER, "not-peer", DROP, "masquerade port from an address that is no peer")           \
	X(MALFORMED, "malformed", DROP, "masquerade port, but not a packet we send")               \
	X(CONTROL, "control", DROP, "hello or probe, handed to the daemon")                        \
	X(CONTROL_LIMIT, "control-limit", DROP, "hello or probe beyond the rate limit")            \
	X(RST_NACK, "rst-nack", DROP, "RST on the masquerade port, taken as a NACK")               \
	X(NACK_RX, "nack-received", DROP, "NACK from a peer")                                      \
	X(ICMP_NACK, "icmp-nack", EVENT, "ICMP error about a masqueraded packet")                  \
	X(NACK_TX, "nack-sent", EVENT, "bad label answered with a NACK")                           \
	X(NACK_LIMIT, "nack-limit", EVENT, "bad label not answered: rate limit")                   \
	X(FLOW_DEMOTED, "flow-demoted", EVENT, "NACK took a flow back to the overlay")             \
	X(EVENT_LOST, "event-lost", EVENT, "no room in the ring to the daemon")                    \
	X(HELPER_FAILED, "helper-failed", DROP, "a kernel helper failed after the packet changed") \
	X(ODD_CSUM, "odd-csum", OVERLAY, "its checksum is not the one that will be completed")     \
	X(NACK_UNHEEDED, "nack-unheeded", EVENT, "NACK or ICMP error not believed: rate limit")    \
	X(TOO_BIG, "too-big", OVERLAY, "larger than the interface takes that it would be put on")  \
	X(LOCAL, "local", FAST, "went straight from one pod of this node to another")              \
	X(POLICY_DENIED, "policy-denied", DROP, "denied by a rule of policy")                      \
	X(POLICY_OVERLAY, "policy-overlay", OVERLAY, "kept on the overlay by a rule of policy")

enum xm_reason {
#define X(name, str, kind, text) XM_R_##name,
	XM_REASONS(X)
#undef X
	XM_R_MAX,
};

_Static_assert(XM_R_MAX <= XM_COUNTERS, "the table of counters is too small");

enum xm_reason_kind {
	XM_KIND_FAST,
	XM_KIND_OVERLAY,
	XM_KIND_DROP,
	XM_KIND_EVENT,
};

#endif
