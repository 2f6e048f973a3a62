/* SPDX-License-Identifier: GPL-2.0-only */
/* Headers of a tar archive (POSIX ustar). Pure. */
#ifndef XM_TAR_H
#define XM_TAR_H

#include <stddef.h>
#include <stdint.h>

#define TAR_BLOCK    512
#define TAR_NAME_MAX 99

/**
 * tar_header() - the block before a regular file's bytes, which are padded to whole blocks
 * @name: at most TAR_NAME_MAX bytes
 * @size: below 8 GiB
 * @mtime: seconds since 1970
 *
 * Readable by its owner only. An archive ends with two blocks of zeroes. Return: 0 or -EINVAL.
 */
int tar_header(uint8_t block[TAR_BLOCK], const char *name, uint64_t size, uint64_t mtime);

/** tar_padding() - bytes of zeroes behind @size bytes */
size_t tar_padding(uint64_t size);

#endif
