/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What xmasq itself says on the underlay, all of it on the masquerade port P.
 *
 *   control   UDP, P to P               hello, hello answer, NACK
 *   probe     masqueraded shape, label 0, TCP or UDP
 *
 * All fields are in network byte order. Unknown versions are ignored, and so are
 * trailing bytes: a later version may append.
 */
#ifndef XM_WIRE_H
#define XM_WIRE_H

#include <linux/types.h>

#define XM_WIRE_MAGIC	0x584d5351u /* "XMSQ" */
#define XM_WIRE_VERSION 1

enum xm_wire_type {
	XM_WIRE_HELLO = 1,
	XM_WIRE_ANSWER = 2,
	XM_WIRE_PROBE = 3,
	XM_WIRE_NACK = 4,
};

struct xm_wire_head {
	__be32 magic;
	__u8 version;
	__u8 type;  /* enum xm_wire_type */
	__u8 flags; /* XM_WIRE_F_* */
	__u8 pad;
};

#define XM_WIRE_F_AUTH 1 /* mac is set */
#define XM_WIRE_F_BYE  2 /* answer: the sender is about to remove its programs */

#define XM_WIRE_MAC_LEN 32

/**
 * struct xm_wire_hello - hello and its answer
 * @epoch: of the sender's maps: labels of another epoch are void
 * @peer_epoch: the receiver's epoch as the sender knows it, 0 unknown
 * @nonce: hello: fresh random number, also carried by the two probes sent with it
 *         answer: 0
 * @echo: newest nonce received in a hello, 0 none. A hello or answer that does not
 *        echo a recent nonce of the receiver may be a replay and changes nothing
 * @echo_tcp: newest nonce received in a TCP-shaped probe
 * @echo_udp: newest nonce received in a UDP-shaped probe
 * @lease_ms: sender's lease; both must agree
 * @pad: zero
 * @mac: HMAC-SHA256 with the pre-shared key over sender address, receiver address
 *       (4 bytes each) and everything before this field; zero without a key
 */
struct xm_wire_hello {
	struct xm_wire_head head;
	__be32 epoch;
	__be32 peer_epoch;
	__be64 nonce;
	__be64 echo;
	__be64 echo_tcp;
	__be64 echo_udp;
	__be32 lease_ms;
	__be32 pad;
	__u8 mac[XM_WIRE_MAC_LEN];
};

/**
 * struct xm_wire_probe - path probe: the payload of a masquerade-shaped packet with label 0
 * @nonce: of the hello that it goes with
 * @echo: newest nonce received in a hello, 0 none; XM_WIRE_PROBE_SHORT ends before it
 */
struct xm_wire_probe {
	struct xm_wire_head head;
	__be64 nonce;
	__be64 echo;
};

#define XM_WIRE_PROBE_SHORT 16

/**
 * struct xm_wire_nack - "I cannot restore this label"
 *
 * Sent for UDP-shaped packets. For TCP-shaped ones the NACK is a bare RST with ports
 * swapped: what a node whose programs are gone answers by itself.
 */
struct xm_wire_nack {
	struct xm_wire_head head;
	__be16 label;
	__u8 proto;
	__u8 reason; /* enum xm_reason */
};

_Static_assert(sizeof(struct xm_wire_head) == 8, "wire layout");
_Static_assert(sizeof(struct xm_wire_hello) == 88, "wire layout");
_Static_assert(sizeof(struct xm_wire_probe) == 24, "wire layout");
_Static_assert(sizeof(struct xm_wire_nack) == 12, "wire layout");

#endif
