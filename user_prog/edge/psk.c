// SPDX-License-Identifier: GPL-2.0-only
/* Reads the pre-shared key's file. */
#include "psk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The longest key with some white space; more is some other file. */
#define PSK_FILE_MAX (2 * KEYFILE_MAX + 64)

/* fstat() of the open file, not stat() of the path: nobody can swap it in between. */
static int psk_check(int fd, char *err)
{
	struct stat st;

	if (fstat(fd, &st)) {
		int ret = -errno;

		snprintf(err, PSK_ERR, "cannot be examined: %s", strerror(-ret));
		return ret;
	}
	if (!S_ISREG(st.st_mode)) {
		snprintf(err, PSK_ERR, "is no regular file");
		return -EINVAL;
	}
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		snprintf(err, PSK_ERR, "belongs to user %u; give it to root (chown root)",
			 st.st_uid);
		return -EPERM;
	}
	if (st.st_mode & (S_IRWXG | S_IRWXO)) {
		snprintf(err, PSK_ERR, "has mode %04o, others may use it; set 0600 or 0400",
			 st.st_mode & 07777);
		return -EPERM;
	}
	return 0;
}

/* Return: bytes read, at most @max, or -errno */
static ssize_t psk_slurp(int fd, char *buf, size_t max, char *err)
{
	size_t len = 0;

	while (len < max) {
		ssize_t n = read(fd, buf + len, max - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int ret = -errno;

			snprintf(err, PSK_ERR, "cannot be read: %s", strerror(-ret));
			return ret;
		}
		if (!n)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

int psk_read(const char *path, uint8_t *key, size_t *key_len, char *err)
{
	char text[PSK_FILE_MAX + 1] = "";
	ssize_t len;
	int fd, ret;

	memset(key, 0, KEYFILE_MAX);
	*key_len = 0;

	/* O_NONBLOCK: a FIFO with nobody at the other end would block for ever */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		ret = -errno;
		snprintf(err, PSK_ERR, "cannot be opened: %s", strerror(-ret));
		goto cleanup;
	}
	ret = psk_check(fd, err);
	if (ret)
		goto cleanup;
	len = psk_slurp(fd, text, sizeof(text), err);
	if (len < 0) {
		ret = (int)len;
		goto cleanup;
	}
	if (len > PSK_FILE_MAX) {
		snprintf(err, PSK_ERR, "is longer than %d bytes: is this the key file?",
			 PSK_FILE_MAX);
		ret = -EFBIG;
		goto cleanup;
	}
	ret = keyfile_parse(text, (size_t)len, key, key_len, err);

cleanup:
	explicit_bzero(text, sizeof(text));
	if (ret) {
		explicit_bzero(key, KEYFILE_MAX);
		*key_len = 0;
	}
	if (fd >= 0)
		close(fd);
	return ret;
}
