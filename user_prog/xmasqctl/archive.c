// SPDX-License-Identifier: GPL-2.0-only
#include "archive.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

#include "scrub.h"
#include "tar.h"

struct archive {
	gzFile gz;
	char *path; /* to be removed after an error; NULL for stdout */
	const char *top;
	unsigned int files;
	int err;
};

static int open_fd(const char *path)
{
	int fd;

	if (!strcmp(path, "-")) {
		if (isatty(STDOUT_FILENO))
			return -ENOTTY;
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	} else {
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	}
	return fd < 0 ? -errno : fd;
}

int archive_open(struct archive **out, const char *path, const char *top)
{
	struct archive *a;
	int fd = open_fd(path);

	*out = NULL;
	if (fd < 0)
		return fd;
	a = calloc(1, sizeof(*a));
	if (a && strcmp(path, "-"))
		a->path = strdup(path);
	if (a && (a->path || !strcmp(path, "-")))
		a->gz = gzdopen(fd, "wb");
	if (!a || !a->gz) {
		close(fd);
		if (strcmp(path, "-"))
			unlink(path);
		free(a ? a->path : NULL);
		free(a);
		return -ENOMEM;
	}
	a->top = top;
	*out = a;
	return 0;
}

static void put(struct archive *a, const void *data, size_t len)
{
	while (len && !a->err) {
		unsigned int n = len > INT_MAX ? INT_MAX : (unsigned int)len;

		if (gzwrite(a->gz, data, n) != (int)n)
			a->err = errno ? -errno : -EIO;
		data = (const char *)data + n;
		len -= n;
	}
}

void archive_add(struct archive *a, const char *name, char *data, size_t len)
{
	static const uint8_t zeroes[TAR_BLOCK];
	char full[TAR_NAME_MAX + 1];
	uint8_t head[TAR_BLOCK];

	if (a->err)
		return;
	len = scrub(data, len);
	if ((size_t)snprintf(full, sizeof(full), "%s/%s", a->top, name) >= sizeof(full) ||
	    tar_header(head, full, len, (uint64_t)time(NULL))) {
		a->err = -ENAMETOOLONG;
		return;
	}
	put(a, head, sizeof(head));
	put(a, data, len);
	put(a, zeroes, tar_padding(len));
	a->files++;
}

unsigned int archive_files(const struct archive *a)
{
	return a->files;
}

int archive_close(struct archive *a)
{
	static const uint8_t zeroes[2 * TAR_BLOCK];
	int err;

	put(a, zeroes, sizeof(zeroes));
	errno = 0;
	if (gzclose(a->gz) != Z_OK && !a->err)
		a->err = errno ? -errno : -EIO;
	err = a->err;
	if (err && a->path)
		unlink(a->path);
	free(a->path);
	free(a);
	return err;
}
