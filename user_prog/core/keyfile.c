// SPDX-License-Identifier: GPL-2.0-only
/* The pre-shared key as text. */
#include "keyfile.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define KEYFILE_HINT "; make one with: openssl rand -hex 32"

/* Not isspace(): the daemon's locale is no business of a key. */
static bool keyfile_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int keyfile_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int keyfile_parse(const char *text, size_t len, uint8_t *key, size_t *key_len, char *err)
{
	size_t skipped = 0, i;

	memset(key, 0, KEYFILE_MAX);
	*key_len = 0;

	while (len && keyfile_space(text[len - 1]))
		len--;
	for (; len && keyfile_space(*text); text++, len--)
		skipped++;

	for (i = 0; i < len; i++) {
		if (keyfile_digit(text[i]) >= 0)
			continue;
		snprintf(err, KEYFILE_ERR,
			 "byte %zu is no hexadecimal digit (0-9, a-f, A-F)" KEYFILE_HINT,
			 skipped + i + 1);
		return -EINVAL;
	}
	if (len % 2 || len < 2 * KEYFILE_MIN || len > 2 * KEYFILE_MAX) {
		snprintf(
			err, KEYFILE_ERR,
			"%zu hexadecimal digits; an even number from %d to %d is allowed" KEYFILE_HINT,
			len, 2 * KEYFILE_MIN, 2 * KEYFILE_MAX);
		return -EINVAL;
	}
	for (i = 0; i < len / 2; i++)
		key[i] =
			(uint8_t)(keyfile_digit(text[2 * i]) << 4 | keyfile_digit(text[2 * i + 1]));
	*key_len = len / 2;
	return 0;
}
