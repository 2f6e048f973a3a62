/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sends the daemon's own frames (hello, answer, probes) on the underlay.
 *
 * The socket has protocol 0 and so receives nothing. Its frames carry the secret mark,
 * by which our program at the NIC's egress knows them from a pod's forgeries.
 */
#ifndef XM_PACKET_H
#define XM_PACKET_H

#include <stddef.h>
#include <stdint.h>

struct packet {
	int fd; /* -1: closed */
	uint64_t sent;
	uint64_t failed; /* frames that the kernel did not take; lost, never queued here */
};

/**
 * packet_open() - open the socket in the current network namespace
 * @mark: secret mark, struct xm_config.mark
 *
 * Needs CAP_NET_RAW for the socket and CAP_NET_ADMIN for the mark.
 *
 * Return: 0 or -errno; @p can be closed either way.
 */
int packet_open(struct packet *p, uint32_t mark);

/** packet_mark() - another secret mark from now on: the socket may be opened before it is known */
int packet_mark(struct packet *p, uint32_t mark);

/** packet_close() - also after a failed packet_open(), and more than once */
void packet_close(struct packet *p);

/**
 * packet_send() - send one IPv4 frame, never waits
 * @ifindex: underlay interface
 * @frame: @len bytes with Ethernet header
 *
 * Return: 0 or -errno (ENOBUFS, EAGAIN, ENETDOWN, ENXIO, ...), counted.
 */
int packet_send(struct packet *p, uint32_t ifindex, const void *frame, size_t len);

#endif
