/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Our programs on interfaces, next to whatever else is there, in one of two ways.
 *
 *   tcx      first in the list of programs that the interface has (mprog.h); Linux 6.6
 *   filter   a filter of a clsact qdisc; every kernel. The kernel runs filters behind tcx
 *
 * What only watches (TC_EGRESS_LAST) is a filter in either way: in tcx it would be before the
 * filters of others, which may still drop the packet.
 *
 * A filter is ours when it is a bpf filter whose program's name starts with "xmasq_"; inside a
 * pod, with "xmasq_rpeer". A pod may be a node itself, with an xmasqd of its own: these two never
 * take each other's programs for theirs. The same goes for programs in tcx. Nothing else is ever
 * replaced or removed. A qdisc is removed only when we made it (a record that survives a restart
 * says so) and no filter is left on it; between that look and the removal somebody may still add
 * one, which no interface of the kernel prevents.
 *
 * Where a program of ours is found in the other way (another xmasqd, another option), ours is
 * there in both for a moment, and never in none.
 *
 * The kernel stops an interface while a clsact qdisc comes or goes (dev_deactivate() in
 * qdisc_graft()), which can lose a packet. So what another way or another mode leaves empty stays
 * while the interface is in use, and goes when we leave it: tc_detach(), tc_cleanup().
 *
 * Every call works in the network namespace that the calling thread is in, so it can be
 * used inside netns_run().
 */
#ifndef XM_TC_H
#define XM_TC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tc;

/* A hook, and where on it. */
enum tc_dir {
	TC_INGRESS,
	TC_EGRESS,
	TC_EGRESS_LAST,	  /* at observe_priority: sees only what other filters let through */
	TC_EGRESS_INSIDE, /* of a pod's interface, in the pod's namespace */
};

/**
 * struct tc_opts
 * @priority: 1..65535
 * @observe_priority: 1..65535, for TC_EGRESS_LAST
 * @handle: 1..0xffff
 * @tcx: the kernel has tcx, and it is to be used
 * @state_dir: where the record of our qdiscs is kept (file "qdiscs")
 */
struct tc_opts {
	uint32_t priority;
	uint32_t observe_priority;
	uint32_t handle;
	bool tcx;
	const char *state_dir;
};

/* What is wrong and what to do, for people. */
struct tc_error {
	char text[256];
};

/** tc_open() - read the record; 0 or -errno. @opts is copied */
int tc_open(struct tc **t, const struct tc_opts *opts);

/** tc_close() - releases memory; attachments stay */
void tc_close(struct tc *t);

/**
 * tc_attach() - make a loaded program the one of ours in one direction
 * @ifindex: interface
 * @prog_fd: TC (sched_cls) program whose name starts with "xmasq_"; stays the caller's
 * @first_fd: the one for the front for as long as two of ours are there: in tcx and a filter, or
 * filters at different priorities; negative when @prog_fd may run twice on a packet
 * @err: filled on failure
 *
 * An older program of ours is replaced atomically; when this very program is attached already,
 * nothing is done. Makes the clsact qdisc for a filter when there is none. Where tcx is to be used
 * and does not take the program, it becomes a filter, which is logged.
 *
 * Return: 0; -EEXIST when priority and handle are taken by somebody else; -ENODEV when
 * the interface is gone; or -errno.
 */
int tc_attach(struct tc *t, uint32_t ifindex, enum tc_dir dir, int prog_fd, int first_fd,
	      struct tc_error *err);

/**
 * tc_detach() - remove our program, then the qdisc if it is ours and unused
 *
 * Return: 0, also when there is nothing of ours or the interface is gone; or -errno.
 */
int tc_detach(struct tc *t, uint32_t ifindex, enum tc_dir dir);

/**
 * tc_query() - our program, in whichever way it is attached
 * @prog_id: program id
 * Return: 0; -ENOENT nothing, or no such interface; -EEXIST when it would be a filter and something
 * that is not ours is in its place; or -errno.
 */
int tc_query(struct tc *t, uint32_t ifindex, enum tc_dir dir, uint32_t *prog_id);

/**
 * tc_changes_way() - whether tc_attach() will find a program of ours in the other way, or at another
 * priority or handle
 *
 * False also when that cannot be told.
 */
bool tc_changes_way(struct tc *t, uint32_t ifindex, enum tc_dir dir);

/**
 * tc_forget() - the interface is gone: drop the record of its qdisc
 *
 * Without it, a later interface with the same index would inherit the record.
 */
void tc_forget(struct tc *t, uint32_t ifindex);

/**
 * tc_forget_netns() - a namespace that programs were attached in is gone
 * @inode: what netns_inode() said inside it
 */
void tc_forget_netns(struct tc *t, uint64_t inode);

/** tc_owns_any() - whether a qdisc in the namespace that the calling thread is in is ours */
bool tc_owns_any(struct tc *t);

/**
 * tc_cleanup() - remove every program of ours from every interface of the namespace: from tcx,
 * filters whatever their priority and handle, and our unused qdiscs
 *
 * Return: number of programs removed, or the first -errno (the rest is still tried).
 */
int tc_cleanup(struct tc *t);

/**
 * tc_cleanup_except() - the same, but for what is in tcx, or a filter at our priority and handle,
 * where @keep says true
 */
int tc_cleanup_except(struct tc *t, bool (*keep)(uint32_t ifindex, enum tc_dir dir, void *arg),
		      void *arg);

/**
 * tc_cleanup_inside() - the same in a pod's namespace
 * @keep: asked about TC_EGRESS_INSIDE; with NULL, of a pod that is not in use, our qdiscs go as well
 */
int tc_cleanup_inside(struct tc *t, bool (*keep)(uint32_t ifindex, enum tc_dir dir, void *arg),
		      void *arg);

#endif
