/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Record of the clsact qdiscs that we made, kept in a file: one line "NETNS IFINDEX" for
 * each, NETNS being the inode number of the network namespace.
 *
 * The file has to go with a reboot (/run does): interface numbers begin anew there.
 */
#ifndef XM_TC_OWNED_H
#define XM_TC_OWNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tc_owned_qdisc {
	uint64_t netns;
	uint32_t ifindex;
};

struct tc_owned {
	char *state_dir;
	struct tc_owned_qdisc *v;
	size_t n, cap;
};

/**
 * tc_owned_open() - read the record, without interfaces that are gone
 * @o: to be released with tc_owned_close(), also after a failure
 * Return: 0 or -errno. Lines that make no sense are logged and ignored.
 */
int tc_owned_open(struct tc_owned *o, const char *state_dir);
void tc_owned_close(struct tc_owned *o);

/** tc_owned_has() - whether we made the qdisc of this interface, or with @ifindex 0 of any there */
bool tc_owned_has(const struct tc_owned *o, uint64_t netns, uint32_t ifindex);

/**
 * tc_owned_add() - remember, and write the file
 *
 * What cannot be remembered will be left behind, which is the safe side: a failure is
 * logged only.
 */
void tc_owned_add(struct tc_owned *o, uint64_t netns, uint32_t ifindex);

/** tc_owned_del() - forget one interface, or with @ifindex 0 a whole namespace */
void tc_owned_del(struct tc_owned *o, uint64_t netns, uint32_t ifindex);

#endif
