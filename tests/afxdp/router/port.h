/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * AF_XDP sockets: one for each queue of the interface, with one memory (UMEM) for all.
 *
 * Theory of operation. A buffer is in exactly one place: in the stack of free ones, in a fill ring,
 * in a received frame that the caller has, or in a send ring until it comes back in the
 * completion ring. The caller gives what it received either to port_send() or to port_free().
 * Fill rings are topped up from the stack and never by a fixed number, completions are taken
 * before something is sent, and when that is not enough the kernel is told to send.
 *
 * libxdp's rings are used, and set up here: libxdp 1.3 knows neither the metadata that lets the
 * kernel complete checksums (Linux 6.8) nor more than one frame size per process.
 */
#ifndef AFXDP_PORT_H
#define AFXDP_PORT_H

#include <linux/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "frame.h"
#include "report.h"

#define PORT_XDP_ROOM 256 /* XDP_PACKET_HEADROOM: the kernel's, before each frame */
#define PORT_META     24  /* struct xsk_tx_metadata of Linux 6.18, before a frame to be sent */

enum port_want {
	PORT_AUTO,
	PORT_YES,
	PORT_NO
};

/**
 * struct port_config
 * @rx, @tx: queues of the interface
 * @ring: entries, a power of two
 * @max_len: longest frame
 * @zerocopy, @huge, @offload: wanted; PORT_YES fails where it is not to be had
 */
struct port_config {
	int ifindex;
	const char *interface;
	uint32_t rx, tx, ring, max_len;
	enum port_want zerocopy, huge, offload;
	bool need_wakeup;
	uint32_t busy_poll_us, busy_budget;
};

struct port;

/** port_max_len() - the longest frame that can be received */
uint32_t port_max_len(void);

/** port_open() - Return: 0 or -errno, with a message in the log */
int port_open(struct port **port, const struct port_config *config);
void port_close(struct port *port);

/** port_fd() - of queue @q: to be polled, and for the map of the XDP program */
int port_fd(const struct port *port, uint32_t q);

/** port_receive() - at most @n frames of queue @q. Return: how many */
uint32_t port_receive(struct port *port, uint32_t q, struct frame *frames, uint32_t n);

/** port_send() - puts a frame into the send ring of @q. Return: false when it is full */
bool port_send(struct port *port, uint32_t q, const struct frame *f);

/** port_alloc() - a buffer for a frame of ours. Return: false when there is none */
bool port_alloc(struct port *port, struct frame *f);

/** port_free() - the frame is not needed any more */
void port_free(struct port *port, const struct frame *f);

/** port_flush() - has sent what port_send() took, refills. Return: whether something is left over */
bool port_flush(struct port *port);

/** port_busy_poll() - lets the kernel look for frames in our own time */
void port_busy_poll(struct port *port);

/** port_error() - Return: 0, or why nothing will come any more: -ENETDOWN without an interface */
int port_error(const struct port *port);

/** port_offloads() - whether frames may have csum_offset */
bool port_offloads(const struct port *port);
bool port_zerocopy(const struct port *port);
bool port_huge(const struct port *port);

/** port_report() - fills in what is about rings and buffers */
void port_report(struct port *port, struct report *report);

#endif
