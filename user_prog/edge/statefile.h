/* SPDX-License-Identifier: GPL-2.0-only */
/* Small text files that must survive a restart of the daemon, whole or not at all. */
#ifndef XM_STATEFILE_H
#define XM_STATEFILE_H

#include <stddef.h>

/**
 * statefile_read() - whole file as a string
 * @text: NUL-terminated, to be freed by the caller; "" when there is no such file
 * Return: 0 or -errno.
 */
int statefile_read(const char *dir, const char *name, char **text);

/**
 * statefile_write() - replace a file by rename; an empty @text removes it
 * @dir: made (one level, mode 0755) when missing
 * Return: 0 or -errno; the old content is untouched on failure.
 */
int statefile_write(const char *dir, const char *name, const char *text);

#endif
