/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Settings of the network namespace that we change, and put back.
 *
 * What was found before the first change is recorded in a file before anything is
 * written, so that a restart (or a kill in between) does not take our own value for the
 * original. Putting back touches only what still has our value: whoever changed it
 * meanwhile meant it.
 */
#ifndef XM_SYSCTL_H
#define XM_SYSCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYSCTL_NAME_MAX	 96
#define SYSCTL_VALUE_MAX 4096

#define SYSCTL_TCP_BE_LIBERAL  "net.netfilter.nf_conntrack_tcp_be_liberal"
#define SYSCTL_TCP_UNACKED     "net.netfilter.nf_conntrack_tcp_timeout_unacknowledged"
#define SYSCTL_TCP_ESTABLISHED "net.netfilter.nf_conntrack_tcp_timeout_established"
#define SYSCTL_RESERVED_PORTS  "net.ipv4.ip_local_reserved_ports"

/**
 * sysctl_root() - where they are, instead of /proc/sys
 * @dir: at most 255 bytes. In a container /proc/sys is read-only, whatever its capabilities; the
 *	 node's, mounted elsewhere, is not, and shows the network namespace of who opens it.
 * Return: 0, or -errno when it has no "net".
 */
int sysctl_root(const char *dir);

/**
 * sysctl_read() - value as text, without the newline
 * @name: dotted name, letters, digits, '_' and '.'
 * Return: 0; -ENOENT when this kernel (or namespace) does not have it; or -errno.
 */
int sysctl_read(const char *name, char *value, size_t max);

/** sysctl_write() - 0, -ENOENT or -errno */
int sysctl_write(const char *name, const char *value);

struct sysctl;

/** sysctl_open() - read the record in @state_dir (file "sysctl"); 0 or -errno */
int sysctl_open(struct sysctl **s, const char *state_dir);

/** sysctl_close() - releases memory; values stay */
void sysctl_close(struct sysctl *s);

/**
 * sysctl_manage() - set a value, to be put back later
 * @value: one word
 *
 * A value that is right already is not ours and will not be put back, unless the record
 * says that we set it.
 *
 * Return: 0; -ENOENT no such sysctl; -EINVAL bad name or value; or -errno.
 */
int sysctl_manage(struct sysctl *s, const char *name, const char *value);

/**
 * sysctl_manage_port() - put a port on a list of ports, to be taken off later
 *
 * Ports that others put on the list stay, also those that they add later. Another port
 * that we once added to the same list is taken off.
 *
 * Return: like sysctl_manage().
 */
int sysctl_manage_port(struct sysctl *s, const char *name, uint16_t port);

/**
 * sysctl_restore() - put back
 * @name: NULL for everything
 * Return: 0, or the first -errno; what failed stays recorded.
 */
int sysctl_restore(struct sysctl *s, const char *name);

/**
 * sysctl_recorded() - whether we set @name, so that sysctl_restore() would put it back
 * @earlier: the record was there when it was read by sysctl_open(): an earlier run set it
 */
bool sysctl_recorded(const struct sysctl *s, const char *name, bool *earlier);

/**
 * struct sysctl_view - for the status
 * @name: valid as long as the handle
 * @before: value found before the first change
 * @now: current value, "" when it cannot be read
 * @ours: set by us and still as we set it
 */
struct sysctl_view {
	const char *name;
	const char *before;
	char now[SYSCTL_VALUE_MAX];
	bool ours;
};

/** sysctl_view() - entry @i, counting from 0; false when there are no more */
bool sysctl_view(const struct sysctl *s, unsigned int i, struct sysctl_view *out);

#endif
