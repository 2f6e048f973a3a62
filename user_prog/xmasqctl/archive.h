/* SPDX-License-Identifier: GPL-2.0-only */
/* A tar.gz that is written piece by piece; each piece is scrubbed (core/scrub.h). */
#ifndef XM_ARCHIVE_H
#define XM_ARCHIVE_H

#include <stdbool.h>
#include <stddef.h>

struct archive;

/**
 * archive_open()
 * @path: new file that only its owner can read; "-": stdout
 * @top: directory in the archive that holds everything
 *
 * Return: 0; -EEXIST, -ENOTTY (stdout is a terminal), ...
 */
int archive_open(struct archive **out, const char *path, const char *top);

/** archive_add() - a file; @data is changed. Errors are kept for archive_close(). */
void archive_add(struct archive *a, const char *name, char *data, size_t len);

/** archive_files() - how many so far */
unsigned int archive_files(const struct archive *a);

/** archive_close() - Return: 0, or -errno of the first error, and there is no file then */
int archive_close(struct archive *a);

#endif
