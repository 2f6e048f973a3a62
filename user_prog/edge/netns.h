/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names and handles of other network namespaces, found by the id that they have in ours.
 *
 * Names are looked for in /run/netns and /run/docker/netns, where ip, the CNI runtimes
 * and Docker bind-mount namespaces. They are for people; correctness needs only ids.
 */
#ifndef XM_NETNS_H
#define XM_NETNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct netns_names;
struct rtnl_req;

/** netns_names_new() - empty table; NULL when out of memory */
struct netns_names *netns_names_new(void);
void netns_names_free(struct netns_names *t);

/**
 * netns_names_refresh() - read the directories again
 *
 * Nothing is kept from the last time: a file appears before a namespace is mounted on
 * it, and ids and inode numbers are used again. Costs two system calls and one netlink
 * exchange for each name; call it once before a list is shown.
 *
 * Return: number of names found, or -errno.
 */
int netns_names_refresh(struct netns_names *t);

/**
 * netns_names_at() - walk the table
 * @i: 0 to netns_names_refresh() - 1
 * Return: file name, NULL behind the last one.
 */
const char *netns_names_at(const struct netns_names *t, size_t i, int32_t *nsid);

/** netns_name() - file name of namespace @nsid, NULL unknown; valid until refreshed */
const char *netns_name(const struct netns_names *t, int32_t nsid);

/**
 * netns_open() - handle of a namespace, for setns()
 * @nsid: its id in the current namespace
 *
 * Looks at the named namespaces, then at those of all processes (a pod's pause process).
 *
 * Return: file descriptor that the caller closes, or -ENOENT, or -errno.
 */
int netns_open(int32_t nsid);

/**
 * netns_walk() - look at every network namespace that can be found
 * @fn: called once for each, with a descriptor that it does not own; non-zero ends the walk.
 *      @name: of its file, or "pid N", one of its processes.
 *      @own: this is the current namespace, which comes once for each name that it has
 *
 * Those with a name first, then those of processes. What goes away meanwhile, or may not
 * be looked at, is left out.
 *
 * Return: what @fn ended it with, 0, or -errno.
 */
int netns_walk(int (*fn)(const char *name, int fd, bool own, void *arg), void *arg);

/**
 * netns_each() - look at every other namespace that has an id in the current one
 * @fn: called once for each, with a descriptor that it does not own
 *
 * In the order of netns_walk(). Return: 0 or -errno.
 */
int netns_each(void (*fn)(int32_t nsid, int fd, void *arg), void *arg);

/**
 * netns_run() - call a function inside another namespace
 * @fd: from netns_open()
 *
 * Only the calling thread changes over, and it always comes back: when it cannot, the
 * process aborts, since everything after that would happen in the wrong namespace.
 *
 * Return: what @fn returned, or -errno when the namespace could not be entered.
 */
int netns_run(int fd, int (*fn)(void *arg), void *arg);

/**
 * netns_id() - id of a namespace
 * @req: asks in the namespace that it was opened in
 * @fd: the namespace
 * @nsid: id, NL_NSID_NONE when it has none there
 * Return: 0 or -errno; -EINVAL when @fd is no network namespace.
 */
int netns_id(struct rtnl_req *req, int fd, int32_t *nsid);

/** netns_open_self() - handle of the current namespace that the caller closes, or -errno */
int netns_open_self(void);

/**
 * netns_self_id() - id that the current namespace has in itself
 * @nsid: id, NL_NSID_NONE when it has none (the usual case)
 * Return: 0 or -errno.
 */
int netns_self_id(int32_t *nsid);

/** netns_inode() - inode number of the current namespace, 0 on failure */
uint64_t netns_inode(void);

#endif
