// SPDX-License-Identifier: GPL-2.0-only
#include "statefile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int join(char *out, size_t max, const char *dir, const char *name, const char *suffix)
{
	int n = snprintf(out, max, "%s/%s%s", dir, name, suffix);

	return n < 0 || (size_t)n >= max ? -ENAMETOOLONG : 0;
}

int statefile_read(const char *dir, const char *name, char **text)
{
	char path[PATH_MAX];
	char *buf = NULL;
	size_t used = 0, cap = 0;
	int fd = -1, err;

	*text = NULL;
	err = join(path, sizeof(path), dir, name, "");
	if (err)
		return err;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno != ENOENT)
		return -errno;
	for (;;) {
		ssize_t n = 0;

		if (used + 1 >= cap) {
			char *more;

			cap = cap ? cap * 2 : 4096;
			more = realloc(buf, cap);
			if (!more) {
				err = -ENOMEM;
				goto cleanup;
			}
			buf = more;
		}
		if (fd >= 0)
			n = read(fd, buf + used, cap - used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err = -errno;
			goto cleanup;
		}
		if (n == 0)
			break;
		used += (size_t)n;
	}
	buf[used] = '\0';
	*text = buf;
	buf = NULL;
cleanup:
	free(buf);
	if (fd >= 0)
		close(fd);
	return err;
}

static int write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int statefile_write(const char *dir, const char *name, const char *text)
{
	char path[PATH_MAX], tmp[PATH_MAX];
	int fd, err;

	err = join(path, sizeof(path), dir, name, "");
	if (!err)
		err = join(tmp, sizeof(tmp), dir, name, ".tmp");
	if (err)
		return err;
	if (!*text) {
		if (!unlink(path))
			return 0;
		err = -errno;
		/* A read-only filesystem refuses before it looks whether the file is there. */
		return faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) && errno == ENOENT
			       ? 0
			       : err;
	}
	if (mkdir(dir, 0755) && errno != EEXIST)
		return -errno;
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	err = write_all(fd, text, strlen(text));
	/* On a disk, a rename may otherwise survive a crash that the content does not. */
	if (!err && fsync(fd))
		err = -errno;
	close(fd);
	if (!err && rename(tmp, path))
		err = -errno;
	if (err)
		unlink(tmp);
	return err;
}
