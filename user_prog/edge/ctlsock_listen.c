// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctlsock_listen.h"

#define BACKLOG 16

/* Directory of @path, made with its parents where missing. */
static int make_dir(const char *path, char dir[sizeof(((struct ctlsock_listen *)0)->path)],
		    bool *made)
{
	size_t len = (size_t)(strrchr(path, '/') - path);
	char *p;

	*made = false;
	memcpy(dir, path, len);
	dir[len] = '\0';
	if (!len) {
		memcpy(dir, "/", 2);
		return 0;
	}
	for (p = strchr(dir + 1, '/');; p = strchr(p + 1, '/')) {
		if (p)
			*p = '\0';
		if (!mkdir(dir, 0755)) {
			*made = !p;
			/* Whatever the umask: xmasqctl of a group must get through. */
			if (chmod(dir, 0755))
				return -errno;
		} else if (errno != EEXIST) {
			return -errno;
		}
		if (!p)
			return 0;
		*p = '/';
	}
}

/* Return: 0 when nobody listens at @sa and the way is free. */
static int remove_stale(const struct sockaddr_un *sa)
{
	struct stat st;
	int fd, err;

	if (lstat(sa->sun_path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	/* Not to wait for a live daemon whose queue is full: that is EAGAIN. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (const void *)sa, sizeof(*sa)) ? errno : 0;
	close(fd);
	if (err == ENOENT)
		return 0;
	if (err != ECONNREFUSED)
		return !err || err == EAGAIN ? -EADDRINUSE : -err;
	return unlink(sa->sun_path) && errno != ENOENT ? -errno : 0;
}

static int bind_file(struct ctlsock_listen *l, const struct sockaddr_un *sa)
{
	mode_t mask;
	int err;

	/* Never open to others, not even between bind() and chmod(). */
	mask = umask(0177);
	err = bind(l->fd, (const void *)sa, sizeof(*sa)) ? -errno : 0;
	umask(mask);
	if (err)
		return err;
	l->file = open(sa->sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (l->file >= 0 && !chmod(sa->sun_path, 0660) && !listen(l->fd, BACKLOG))
		return 0;
	err = -errno;
	unlink(sa->sun_path);
	return err;
}

int ctlsock_listen_open(struct ctlsock_listen *l, const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	char dir[sizeof(l->path)];
	int lock, err;

	memset(l, 0, sizeof(*l));
	l->fd = -1;
	l->file = -1;
	if (path[0] != '/')
		return -EINVAL;
	if (strlen(path) >= sizeof(l->path))
		return -ENAMETOOLONG;
	memcpy(l->path, path, strlen(path) + 1);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	err = make_dir(path, dir, &l->made_dir);
	if (err)
		return err;

	/*
	 * Of two daemons that start at once over a stale socket, the second would remove
	 * the first one's. Both lock the directory while they look and bind.
	 */
	lock = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0)
		return -errno;
	if (flock(lock, LOCK_EX | LOCK_NB)) {
		err = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
		goto cleanup;
	}
	err = remove_stale(&sa);
	if (err)
		goto cleanup;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0) {
		err = -errno;
		goto cleanup;
	}
	err = bind_file(l, &sa);
	if (err) {
		close(l->fd);
		l->fd = -1;
		if (l->file >= 0)
			close(l->file);
		l->file = -1;
	}
cleanup:
	close(lock);
	return err;
}

void ctlsock_listen_close(struct ctlsock_listen *l)
{
	struct stat now, ours;
	bool same;
	char *slash;

	if (l->fd < 0)
		return;
	close(l->fd);
	l->fd = -1;
	same = !lstat(l->path, &now) && !fstat(l->file, &ours) && now.st_dev == ours.st_dev &&
	       now.st_ino == ours.st_ino;
	close(l->file);
	l->file = -1;
	if (!same)
		return;
	unlink(l->path);
	slash = strrchr(l->path, '/');
	if (l->made_dir && slash != l->path) {
		*slash = '\0';
		rmdir(l->path); /* fails while others keep something there, as it should */
	}
}
