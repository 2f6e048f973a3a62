// SPDX-License-Identifier: GPL-2.0-only
#include "port.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <xdp/xsk.h>

#include "log.h"

/* Of newer kernels than Debian 12's headers; stable numbers. */
#ifndef XDP_UMEM_TX_METADATA_LEN
#define XDP_UMEM_TX_METADATA_LEN (1 << 2) /* 6.11 */
#endif
#ifndef XDP_TX_METADATA
#define XDP_TX_METADATA (1 << 1)
#endif
#define TXMD_CHECKSUM (1ull << 1) /* XDP_TXMD_FLAGS_CHECKSUM */
#define MAX_TX_BUDGET 9		  /* XDP_MAX_TX_SKB_BUDGET, 6.17 */
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif
#ifndef SO_BUSY_POLL_BUDGET
#define SO_BUSY_POLL_BUDGET 70
#endif

#define HUGE_PAGE   (2ull << 20)
#define CHUNK_SMALL 2048u
#define CHUNK_LARGE 4096u /* no more than a page */
#define BIND_TRIES  400	  /* 5 ms apart */
#define KICKS	    8	  /* tries to have everything sent, in one go */

/* struct xdp_umem_reg of 6.8; older kernels read as much of it as they know. */
struct umem_reg {
	__u64 addr, len;
	__u32 chunk_size, headroom, flags, tx_metadata_len;
};

struct metadata {
	__u64 flags;
	__u16 csum_start, csum_offset;
	__u32 zero;
	__u64 launch_time;
};
_Static_assert(sizeof(struct metadata) == PORT_META, "as the kernel has it");

struct map {
	void *at;
	size_t len;
};

struct queue {
	int fd;
	bool can_send;
	uint64_t in, out; /* frames */
	struct xsk_ring_cons rx, completion;
	struct xsk_ring_prod tx, fill;
	struct map maps[4];
};

struct port {
	struct port_config cfg;
	uint8_t *area;
	size_t size;
	uint32_t chunk, frames, nfree, nqueues;
	bool huge, offload, zerocopy;
	uint64_t kicks;
	uint64_t *free; /* stack of chunks */
	struct queue queue[FRONT_QUEUES];
};

uint32_t port_max_len(void)
{
	return CHUNK_LARGE - PORT_XDP_ROOM;
}

/* ---- memory ---- */

static int map_area(struct port *p, enum port_want huge)
{
	size_t size = (size_t)p->frames * p->chunk;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;

	if (huge != PORT_NO) {
		p->size = (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
		p->area = mmap(NULL, p->size, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
		p->huge = p->area != MAP_FAILED;
		if (p->huge)
			return 0;
		if (huge == PORT_YES) {
			log_error(
				"no %zu huge pages of 2 MiB: run ./huge %zu, or let it be with --huge auto",
				p->size / (size_t)HUGE_PAGE, p->size / (size_t)HUGE_PAGE);
			p->area = NULL;
			return -ENOMEM;
		}
		log_info(
			"no %zu huge pages of 2 MiB (./huge %zu would make them): normal pages it is",
			p->size / (size_t)HUGE_PAGE, p->size / (size_t)HUGE_PAGE);
	}
	p->size = size;
	p->area = mmap(NULL, p->size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p->area != MAP_FAILED)
		return 0;
	p->area = NULL;
	log_error("no memory for frames (%zu bytes): use a smaller --ring", p->size);
	return -ENOMEM;
}

/* Registers the memory with the first socket, with metadata where the kernel has them. */
static int register_umem(struct port *p, int fd)
{
	struct umem_reg reg = { .addr = (uintptr_t)p->area,
				.len = (__u64)p->frames * p->chunk,
				.chunk_size = p->chunk };
	int err;

	if (p->cfg.offload != PORT_NO) {
		reg.flags = XDP_UMEM_TX_METADATA_LEN;
		reg.tx_metadata_len = PORT_META;
		p->offload = !setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg));
		if (p->offload)
			return 0;
		if (p->cfg.offload == PORT_YES) {
			err = -errno;
			log_error(
				"the kernel cannot complete checksums for AF_XDP (%s): Linux 6.11 can; "
				"use --checksum complete",
				strerror(-err));
			return err;
		}
		reg.flags = 0;
		reg.tx_metadata_len = 0;
	}
	if (!setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)))
		return 0;
	err = -errno;
	log_error("cannot register memory for AF_XDP: %s%s", strerror(-err),
		  err == -EPERM || err == -ENOBUFS ? " (needs CAP_IPC_LOCK or a higher ulimit -l)"
						   : "");
	return err;
}

/* ---- rings ---- */

static int set_ring(int fd, int option, uint32_t entries)
{
	return setsockopt(fd, SOL_XDP, option, &entries, sizeof(entries)) ? -errno : 0;
}

/* All four rings have the same layout of pointers; libxdp's two types differ in name only. */
static int map_ring(struct map *m, struct xsk_ring_prod *r, int fd, uint64_t offset,
		    const struct xdp_ring_offset *o, uint32_t entries, size_t entry)
{
	size_t len = o->desc + entries * entry;
	char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
			(off_t)offset);

	if (at == MAP_FAILED)
		return -errno;
	*m = (struct map){ at, len };
	*r = (struct xsk_ring_prod){ .mask = entries - 1,
				     .size = entries,
				     .producer = (void *)(at + o->producer),
				     .consumer = (void *)(at + o->consumer),
				     .flags = (void *)(at + o->flags),
				     .ring = at + o->desc };
	return 0;
}

_Static_assert(sizeof(struct xsk_ring_prod) == sizeof(struct xsk_ring_cons), "see map_ring()");

static int map_cons(struct map *m, struct xsk_ring_cons *r, int fd, uint64_t offset,
		    const struct xdp_ring_offset *o, uint32_t entries, size_t entry)
{
	struct xsk_ring_prod as;
	int err = map_ring(m, &as, fd, offset, o, entries, entry);

	if (!err)
		memcpy(r, &as, sizeof(*r));
	return err;
}

static int make_rings(struct port *p, struct queue *q, bool receives)
{
	struct xdp_mmap_offsets off;
	socklen_t len = sizeof(off);
	uint32_t n = p->cfg.ring;
	int err;

	/* A socket needs all that it is bound with, the fill ring even when it only sends. */
	err = set_ring(q->fd, XDP_UMEM_FILL_RING, n)
		      ?: set_ring(q->fd, XDP_UMEM_COMPLETION_RING, n);
	if (!err && receives)
		err = set_ring(q->fd, XDP_RX_RING, n);
	if (!err && q->can_send)
		err = set_ring(q->fd, XDP_TX_RING, n);
	if (!err && getsockopt(q->fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &len))
		err = -errno;
	if (!err)
		err = map_ring(&q->maps[0], &q->fill, q->fd, XDP_UMEM_PGOFF_FILL_RING, &off.fr, n,
			       sizeof(__u64));
	if (!err)
		err = map_cons(&q->maps[1], &q->completion, q->fd, XDP_UMEM_PGOFF_COMPLETION_RING,
			       &off.cr, n, sizeof(__u64));
	if (!err && receives)
		err = map_cons(&q->maps[2], &q->rx, q->fd, XDP_PGOFF_RX_RING, &off.rx, n,
			       sizeof(struct xdp_desc));
	if (!err && q->can_send)
		err = map_ring(&q->maps[3], &q->tx, q->fd, XDP_PGOFF_TX_RING, &off.tx, n,
			       sizeof(struct xdp_desc));
	/* As libxdp has it: a producer's cached consumer is a ring's size ahead. */
	q->fill.cached_cons = n;
	q->tx.cached_cons = n;
	return err;
}

/* The kernel lets a queue go some time after the socket that had it was closed: of a router that
 * was killed and started again, say. */
static int try_bind(int fd, const struct sockaddr_xdp *sxdp)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	int tries, err = 0;

	for (tries = 0; tries < BIND_TRIES; tries++) {
		err = bind(fd, (const struct sockaddr *)sxdp, sizeof(*sxdp)) ? -errno : 0;
		if (err != -EBUSY)
			break;
		nanosleep(&pause, NULL);
	}
	return err;
}

static int bind_queue(struct port *p, uint32_t i)
{
	struct sockaddr_xdp sxdp = { .sxdp_family = AF_XDP,
				     .sxdp_ifindex = (__u32)p->cfg.ifindex,
				     .sxdp_queue_id = i };
	struct queue *q = &p->queue[i];
	__u16 wakeup = p->cfg.need_wakeup ? XDP_USE_NEED_WAKEUP : 0;
	int err;

	if (i) {
		/* The mode is that of the first. */
		sxdp.sxdp_flags = XDP_SHARED_UMEM;
		sxdp.sxdp_shared_umem_fd = (__u32)p->queue[0].fd;
		return try_bind(q->fd, &sxdp);
	}
	if (p->cfg.zerocopy != PORT_NO) {
		sxdp.sxdp_flags = wakeup | XDP_ZEROCOPY;
		err = try_bind(q->fd, &sxdp);
		p->zerocopy = !err;
		if (!err)
			return 0;
		if (p->cfg.zerocopy == PORT_YES) {
			log_error("%s: its driver has no zero-copy (%s): use --mode auto",
				  p->cfg.interface, strerror(-err));
			return err;
		}
	}
	sxdp.sxdp_flags = wakeup | XDP_COPY;
	return try_bind(q->fd, &sxdp);
}

/* What makes it faster; none of it has to be there. */
static void tune(struct port *p, int fd)
{
	int prefer = 1, us = (int)p->cfg.busy_poll_us, budget = (int)p->cfg.busy_budget;
	int sndbuf = 8 << 20;
	uint32_t tx_budget = 256;

	/* Copies of what is sent count until their receiver has taken them. */
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf, sizeof(sndbuf));
	setsockopt(fd, SOL_XDP, MAX_TX_BUDGET, &tx_budget, sizeof(tx_budget));
	if (!us)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &prefer, sizeof(prefer)) ||
	    setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &us, sizeof(us)) ||
	    setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget, sizeof(budget)))
		log_warn("no busy polling: %s", strerror(errno));
}

static int open_queue(struct port *p, uint32_t i)
{
	struct queue *q = &p->queue[i];
	int err;

	q->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (q->fd < 0) {
		err = -errno;
		log_error("no AF_XDP socket: %s%s", strerror(-err),
			  err == -EPERM		 ? " (needs CAP_NET_RAW)"
			  : err == -EAFNOSUPPORT ? " (the kernel was built without it)"
						 : "");
		return err;
	}
	q->can_send = i < p->cfg.tx;
	if (!i) {
		err = register_umem(p, q->fd);
		if (err)
			return err;
	}
	err = make_rings(p, q, i < p->cfg.rx);
	if (err) {
		log_error("%s queue %u: no rings: %s", p->cfg.interface, i, strerror(-err));
		return err;
	}
	tune(p, q->fd);
	err = bind_queue(p, i);
	if (err)
		log_error("%s queue %u: cannot bind: %s%s", p->cfg.interface, i, strerror(-err),
			  err == -EBUSY ? " (another program has it)" : "");
	return err;
}

static void refill(struct port *p, struct queue *q)
{
	uint32_t n = xsk_prod_nb_free(&q->fill, q->fill.size), i, at;

	if (n > p->nfree)
		n = p->nfree;
	if (!n || !xsk_ring_prod__reserve(&q->fill, n, &at))
		return;
	for (i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&q->fill, at + i) = p->free[--p->nfree];
	xsk_ring_prod__submit(&q->fill, n);
}

int port_open(struct port **result, const struct port_config *c)
{
	struct port *p = calloc(1, sizeof(*p));
	uint32_t i;
	int err;

	*result = NULL;
	if (!p)
		return -ENOMEM;
	p->cfg = *c;
	for (i = 0; i < FRONT_QUEUES; i++)
		p->queue[i].fd = -1;
	p->nqueues = c->rx;
	p->chunk = c->max_len <= CHUNK_SMALL - PORT_XDP_ROOM ? CHUNK_SMALL : CHUNK_LARGE;
	/* All fill and send rings full, and a quarter that may wait for ARP or be worked on. */
	p->frames = p->nqueues * c->ring * 9 / 4;
	p->free = calloc(p->frames, sizeof(*p->free));
	err = p->free ? map_area(p, c->huge) : -ENOMEM;
	if (err)
		goto cleanup;
	for (i = 0; i < p->frames; i++)
		p->free[p->nfree++] = (uint64_t)(p->frames - 1 - i) * p->chunk;
	for (i = 0; i < p->nqueues; i++) {
		err = open_queue(p, i);
		if (err)
			goto cleanup;
	}
	for (i = 0; i < p->nqueues; i++)
		refill(p, &p->queue[i]);
	*result = p;
	return 0;
cleanup:
	port_close(p);
	return err;
}

void port_close(struct port *p)
{
	uint32_t i, k;

	if (!p)
		return;
	for (i = 0; i < p->nqueues; i++) {
		for (k = 0; k < 4; k++)
			if (p->queue[i].maps[k].at)
				munmap(p->queue[i].maps[k].at, p->queue[i].maps[k].len);
		if (p->queue[i].fd >= 0)
			close(p->queue[i].fd);
	}
	if (p->area)
		munmap(p->area, p->size);
	free(p->free);
	free(p);
}

int port_fd(const struct port *p, uint32_t q)
{
	return p->queue[q].fd;
}

/* ---- frames ---- */

uint32_t port_receive(struct port *p, uint32_t q, struct frame *frames, uint32_t n)
{
	struct xsk_ring_cons *rx = &p->queue[q].rx;
	uint32_t at, i;

	n = xsk_ring_cons__peek(rx, n, &at);
	for (i = 0; i < n; i++) {
		const struct xdp_desc *d = xsk_ring_cons__rx_desc(rx, at + i);

		frames[i] =
			(struct frame){ .data = p->area + d->addr, .addr = d->addr, .len = d->len };
	}
	if (n)
		xsk_ring_cons__release(rx, n);
	p->queue[q].in += n;
	return n;
}

void port_free(struct port *p, const struct frame *f)
{
	p->free[p->nfree++] = f->addr - f->addr % p->chunk;
}

bool port_alloc(struct port *p, struct frame *f)
{
	if (!p->nfree)
		return false;
	memset(f, 0, sizeof(*f));
	f->addr = p->free[--p->nfree] + PORT_XDP_ROOM;
	f->data = p->area + f->addr;
	return true;
}

static void reclaim(struct port *p, struct queue *q)
{
	uint32_t at, i, n = xsk_ring_cons__peek(&q->completion, q->completion.size, &at);

	for (i = 0; i < n; i++) {
		uint64_t addr = *xsk_ring_cons__comp_addr(&q->completion, at + i);

		p->free[p->nfree++] = addr - addr % p->chunk;
	}
	if (n)
		xsk_ring_cons__release(&q->completion, n);
}

static bool all_taken(const struct queue *q)
{
	return __atomic_load_n(q->tx.consumer, __ATOMIC_ACQUIRE) == *q->tx.producer;
}

/*
 * Copying, the kernel sends in the system call itself and stops after a budget (EAGAIN), when the
 * socket's buffer is full, or when the completion ring is.
 */
static void kick(struct port *p, struct queue *q)
{
	int tries;

	for (tries = 0; tries < KICKS && !all_taken(q); tries++) {
		if (p->cfg.need_wakeup && !xsk_ring_prod__needs_wakeup(&q->tx))
			return;
		p->kicks++;
		if (sendto(q->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) >= 0 && p->zerocopy)
			return;
		reclaim(p, q);
	}
}

bool port_send(struct port *p, uint32_t i, const struct frame *f)
{
	struct queue *q = &p->queue[p->queue[i].can_send ? i : 0];
	struct xdp_desc *d;
	uint32_t at;

	if (!xsk_ring_prod__reserve(&q->tx, 1, &at)) {
		kick(p, q);
		if (!xsk_ring_prod__reserve(&q->tx, 1, &at))
			return false;
	}
	d = xsk_ring_prod__tx_desc(&q->tx, at);
	*d = (struct xdp_desc){ .addr = f->addr, .len = f->len };
	if (f->csum_offset) {
		struct metadata m = { .flags = TXMD_CHECKSUM,
				      .csum_start = f->csum_start,
				      .csum_offset = f->csum_offset };

		memcpy(f->data - sizeof(m), &m, sizeof(m));
		d->options = XDP_TX_METADATA;
	}
	xsk_ring_prod__submit(&q->tx, 1);
	q->out++;
	return true;
}

bool port_flush(struct port *p)
{
	bool left = false;
	uint32_t i;

	for (i = 0; i < p->nqueues; i++) {
		struct queue *q = &p->queue[i];

		if (q->can_send) {
			if (!all_taken(q))
				kick(p, q);
			left |= !all_taken(q);
			reclaim(p, q);
		}
		refill(p, q);
	}
	return left;
}

void port_busy_poll(struct port *p)
{
	uint32_t i;

	for (i = 0; i < p->nqueues; i++)
		recvfrom(p->queue[i].fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* ---- state ---- */

int port_error(const struct port *p)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(p->queue[0].fd, SOL_SOCKET, SO_ERROR, &err, &len))
		return -errno;
	return -err;
}

bool port_offloads(const struct port *p)
{
	return p->offload;
}

bool port_zerocopy(const struct port *p)
{
	return p->zerocopy;
}

bool port_huge(const struct port *p)
{
	return p->huge;
}

static uint32_t level(const void *ring)
{
	const struct xsk_ring_prod *r = ring;

	return __atomic_load_n(r->producer, __ATOMIC_ACQUIRE) -
	       __atomic_load_n(r->consumer, __ATOMIC_ACQUIRE);
}

void port_report(struct port *p, struct report *r)
{
	struct xdp_statistics s;
	socklen_t len;
	uint32_t i;

	r->nqueues = p->nqueues;
	r->kicks = p->kicks;
	r->frames = p->frames;
	r->free = p->nfree;
	for (i = 0; i < p->nqueues; i++) {
		struct queue *q = &p->queue[i];
		struct report_queue *to = &r->queue[i];

		memset(to, 0, sizeof(*to));
		to->size = p->cfg.ring;
		to->in = q->in;
		to->out = q->out;
		to->rx = level(&q->rx);
		to->tx = q->can_send ? level(&q->tx) : 0;
		to->fill = level(&q->fill);
		to->completion = level(&q->completion);
		memset(&s, 0, sizeof(s));
		len = sizeof(s);
		if (getsockopt(q->fd, SOL_XDP, XDP_STATISTICS, &s, &len))
			continue;
		to->rx_dropped = s.rx_dropped;
		to->rx_ring_full = s.rx_ring_full;
		to->fill_empty = s.rx_fill_ring_empty_descs;
		to->rx_invalid = s.rx_invalid_descs;
		to->tx_invalid = s.tx_invalid_descs;
		to->tx_empty = s.tx_ring_empty_descs;
	}
}
