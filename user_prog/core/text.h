/* SPDX-License-Identifier: GPL-2.0-only */
/* Text of unknown origin made fit for people: quoting, near misses, UTF-8. */
#ifndef XM_TEXT_H
#define XM_TEXT_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "xm_util.h"

/* What text_quote() needs: 48 bytes shown, "..." and the NUL. */
#define TEXT_QUOTE_MAX 52

/**
 * text_quote() - printable, bounded copy of @s for a message
 * @buf: TEXT_QUOTE_MAX bytes
 * @s: bytes, may hold anything
 * @len: number of bytes
 *
 * Control characters and bytes outside ASCII become '?'; a long text is cut, with "...".
 *
 * Return: @buf.
 */
const char *text_quote(char buf[TEXT_QUOTE_MAX], const char *s, size_t len);

/**
 * text_distance() - how many typing errors lie between two words
 *
 * Counts insertions, deletions and replacements. Words longer than 64 bytes are as far
 * apart as their longer length.
 */
unsigned int text_distance(const char *a, const char *b);

/** text_close() - whether @word looks like a mistyped @right */
bool text_close(const char *word, const char *right);

/** text_utf8_clean() - replace each byte of @s that is not part of valid UTF-8 by '?' */
void text_utf8_clean(char *s);

/**
 * text_control_at() - whether a control character begins at @s, valid UTF-8
 * @c: which: U+0001 to U+001F or U+007F to U+009F; of no meaning when there is none
 *
 * Return: its length in bytes, 0 when there is none.
 */
unsigned int text_control_at(const char *s, unsigned int *c);

/**
 * text_tame() - make text from elsewhere fit for a terminal
 *
 * Control characters except newlines, and what is not UTF-8, become '?'.
 */
void text_tame(char *s);

/** text_addr() - @addr (network byte order) as dotted text. Return: @buf. */
const char *text_addr(char buf[XM_ADDR_STR], __be32 addr);

/**
 * text_parse_addr() - dotted IPv4 address, all four parts, no leading zeros
 * @s: text, need not end with NUL
 *
 * Return: 0 or -EINVAL.
 */
int text_parse_addr(const char *s, size_t len, __be32 *addr);

/** text_is_ifname() - whether the kernel would take @s as the name of an interface */
bool text_is_ifname(const char *s, size_t len);

#endif
