/* SPDX-License-Identifier: GPL-2.0-only */
/* Edit the text of net.ipv4.ip_local_reserved_ports: "22,8000-8010". Pure. */
#ifndef XM_PORTLIST_H
#define XM_PORTLIST_H

#include <stddef.h>
#include <stdint.h>

/* proc_do_large_bitmap() cuts what is written at a page. */
#define PORTLIST_MAX 4096

/**
 * portlist_covers() - whether @port is in the list
 * @text: comma-separated ports and ranges, may end with a newline, may be empty
 * Return: 1, 0, or -EINVAL when @text is no list.
 */
int portlist_covers(const char *text, uint16_t port);

/**
 * portlist_add() - the list with @port in it
 * @out: result as the kernel prints it (sorted, neighbours joined), without newline;
 *       may be @text
 * @max: size of @out
 * Return: 0; -EINVAL when @text is no list; -E2BIG when the result does not fit.
 */
int portlist_add(const char *text, uint16_t port, char *out, size_t max);

/** portlist_remove() - the list without @port, otherwise like portlist_add() */
int portlist_remove(const char *text, uint16_t port, char *out, size_t max);

#endif
