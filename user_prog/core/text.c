// SPDX-License-Identifier: GPL-2.0-only
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

#define TEXT_SHOWN    (TEXT_QUOTE_MAX - 4)
#define TEXT_WORD_MAX 64

const char *text_quote(char buf[TEXT_QUOTE_MAX], const char *s, size_t len)
{
	size_t i, n = len > TEXT_SHOWN ? TEXT_SHOWN : len;

	for (i = 0; i < n; i++)
		buf[i] = s[i] >= 0x20 && s[i] < 0x7f ? s[i] : '?';
	buf[n] = '\0';
	if (len > n)
		memcpy(buf + n, "...", 4);
	return buf;
}

unsigned int text_distance(const char *a, const char *b)
{
	unsigned int row[TEXT_WORD_MAX + 1], diag, above, best;
	size_t la = strlen(a), lb = strlen(b), i, j;

	if (la > TEXT_WORD_MAX || lb > TEXT_WORD_MAX)
		return (unsigned int)(la > lb ? la : lb);

	for (j = 0; j <= lb; j++)
		row[j] = (unsigned int)j;
	for (i = 1; i <= la; i++) {
		diag = row[0];
		row[0] = (unsigned int)i;
		for (j = 1; j <= lb; j++) {
			above = row[j];
			best = diag + (a[i - 1] != b[j - 1]);
			if (above + 1 < best)
				best = above + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
			diag = above;
		}
	}
	return row[lb];
}

bool text_close(const char *word, const char *right)
{
	size_t n = strlen(right);

	return text_distance(word, right) <= (n < 4 ? 1 : n < 8 ? 2 : 3);
}

/* Length of the valid UTF-8 sequence at @s, 0 when it is not one. */
static unsigned int utf8_len(const unsigned char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned int n, i;
	uint32_t cp;

	if (s[0] < 0x80)
		return 1;
	if ((s[0] & 0xe0) == 0xc0)
		n = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3;
	else if ((s[0] & 0xf8) == 0xf0)
		n = 4;
	else
		return 0;
	cp = s[0] & (0x7fu >> n);
	for (i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80) /* also stops at the NUL */
			return 0;
		cp = cp << 6 | (s[i] & 0x3fu);
	}
	/* Overlong forms, surrogates and what lies beyond Unicode. */
	if (cp < least[n] || (cp >= 0xd800 && cp <= 0xdfff) || cp > 0x10ffff)
		return 0;
	return n;
}

void text_utf8_clean(char *s)
{
	unsigned int n;

	while (*s) {
		n = utf8_len((const unsigned char *)s);
		if (!n) {
			*s = '?';
			n = 1;
		}
		s += n;
	}
}

unsigned int text_control_at(const char *s, unsigned int *c)
{
	const unsigned char *u = (const unsigned char *)s;

	*c = u[0];
	if ((u[0] && u[0] < 0x20) || u[0] == 0x7f)
		return 1;
	/* U+0080 to U+009F: to some terminals U+009B begins an escape sequence. */
	if (u[0] != 0xc2 || u[1] < 0x80 || u[1] >= 0xa0)
		return 0;
	*c = u[1];
	return 2;
}

void text_tame(char *s)
{
	unsigned int c, n;

	text_utf8_clean(s);
	for (; *s; s += n ? n : 1) {
		n = text_control_at(s, &c);
		if (c != '\n')
			memset(s, '?', n);
	}
}

const char *text_addr(char buf[XM_ADDR_STR], __be32 addr)
{
	const uint8_t *b = (const uint8_t *)&addr;

	snprintf(buf, XM_ADDR_STR, "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
	return buf;
}

int text_parse_addr(const char *s, size_t len, __be32 *addr)
{
	char buf[XM_ADDR_STR];
	struct in_addr in;

	if (!len || len >= sizeof(buf) || memchr(s, '\0', len))
		return -EINVAL;
	memcpy(buf, s, len);
	buf[len] = '\0';
	if (inet_pton(AF_INET, buf, &in) != 1)
		return -EINVAL;
	*addr = in.s_addr;
	return 0;
}

/* As dev_valid_name() in the kernel's net/core/dev.c; beyond it, control characters. */
bool text_is_ifname(const char *s, size_t len)
{
	size_t i;

	if (!len || len > 15 || (len == 1 && s[0] == '.') || (len == 2 && !memcmp(s, "..", 2)))
		return false;
	for (i = 0; i < len; i++)
		if ((unsigned char)s[i] <= 0x20 || s[i] == 0x7f || s[i] == '/' || s[i] == ':')
			return false;
	return true;
}
