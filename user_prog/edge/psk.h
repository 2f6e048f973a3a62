/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads the pre-shared key's file. */
#ifndef XM_PSK_H
#define XM_PSK_H

#include <stddef.h>
#include <stdint.h>

#include "keyfile.h"

#define PSK_ERR (KEYFILE_ERR + 64)

/**
 * psk_read() - read the key
 * @path: a regular file (symbolic links are followed: Kubernetes mounts secrets so) of
 *        root or of us, that nobody else may read or write; content as in keyfile.h
 * @key: KEYFILE_MAX bytes, the caller wipes them; all zero on failure
 * @key_len: bytes of @key in use
 * @err: PSK_ERR bytes: on failure what is wrong and what to do, without the path
 *
 * Return: 0, -EPERM (owner or mode), -EINVAL (no regular file, or content), -EFBIG, or
 * the error of open(2), fstat(2) or read(2).
 */
int psk_read(const char *path, uint8_t *key, size_t *key_len, char *err);

#endif
