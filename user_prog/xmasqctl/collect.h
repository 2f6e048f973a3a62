/* SPDX-License-Identifier: GPL-2.0-only */
/* Where bugtool gets its pieces: programs, files, a web page. Each bounded in time and size. */
#ifndef XM_COLLECT_H
#define XM_COLLECT_H

#include <stddef.h>

#define COLLECT_MAX	   (4u << 20) /* bytes of one piece; the rest is cut off, and that is said */
#define COLLECT_TIMEOUT_MS 10000

/*
 * Each returns 0 with *@out, which the caller frees, and *@len; or -errno.
 */

/**
 * collect_command() - what a program says on stdout and stderr, with its command line before it
 * @argv: ends with NULL; searched for in PATH's absolute directories and where administrators'
 *        programs are
 *
 * Its failure is part of the text, no failure of this. -ENOENT: it is not installed.
 */
int collect_command(const char *const *argv, char **out, size_t *len);

int collect_file(const char *path, char **out, size_t *len);

/** collect_web() - body of http://@listen@path; @listen as in listen_parse() */
int collect_web(const char *listen, const char *path, char **out, size_t *len);

#endif
