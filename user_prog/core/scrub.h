/* SPDX-License-Identifier: GPL-2.0-only */
/* Takes out of a text what could be a key, and what a terminal would obey. Pure. */
#ifndef XM_SCRUB_H
#define XM_SCRUB_H

#include <stddef.h>

/* Hexadecimal digits of the shortest pre-shared key, see keyfile.h. */
#define SCRUB_DIGITS 64

/**
 * scrub() - replace each run of SCRUB_DIGITS or more hexadecimal digits by "[removed]", and each
 * byte of a control character, other than tab and newline, by "?"
 * @s: @len bytes, may hold anything; changed in place
 *
 * Nothing that is collected should hold a key. This is for what somebody else wrote: a log, a
 * firewall's comment. That it takes long numbers of containers along does no harm.
 *
 * Return: the new length.
 */
size_t scrub(char *s, size_t len);

#endif
