/* SPDX-License-Identifier: GPL-2.0-only */
/* The pre-shared key as text. Pure: reading the file is psk.h. */
#ifndef XM_KEYFILE_H
#define XM_KEYFILE_H

#include <stddef.h>
#include <stdint.h>

#define KEYFILE_MIN 32 /* bytes of key */
#define KEYFILE_MAX 64
#define KEYFILE_ERR 128

/**
 * keyfile_parse() - key from text: 64 to 128 hexadecimal digits, an even number
 * @text: @len bytes, need not end with NUL; white space around the digits is ignored
 * @key: KEYFILE_MAX bytes, all zero on failure
 * @key_len: bytes of @key in use, 0 on failure
 * @err: KEYFILE_ERR bytes: on failure what is wrong and what is allowed, without any
 *       of the text
 *
 * Return: 0 or -EINVAL.
 */
int keyfile_parse(const char *text, size_t len, uint8_t *key, size_t *key_len, char *err);

#endif
