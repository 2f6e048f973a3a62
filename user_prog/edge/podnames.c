// SPDX-License-Identifier: GPL-2.0-only
#include "podnames.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "netns.h"
#include "xm_util.h"

/* One container, and the namespace that it leads to. */
struct found {
	struct podname name;
	ino_t ino; /* 0: that of its sandbox */
};

struct look {
	struct found *v;
	size_t n, cap;
	struct stat self; /* our own namespace */
	unsigned int seen;
	uint64_t until_ms;
	bool cut;
	char *buf; /* PODNAME_FILE_MAX + 1 bytes */
	size_t len;
	int err; /* -ENOMEM: give up */
};

/* Whether there is room and time for one more container. */
static bool may_go_on(struct look *l)
{
	if (l->seen++ >= PODNAMES_MAX || clock_ms() >= l->until_ms)
		l->cut = true;
	return !l->cut && !l->err;
}

/* ---- files ---- */

static int open_dir(int at, const char *name)
{
	return openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* Into l->buf, with a NUL behind it. */
static bool read_file(struct look *l, int at, const char *name)
{
	/* Not to wait for whoever opens the other end of a fifo. */
	int fd = openat(at, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t n = -1;

	l->len = 0;
	if (fd < 0)
		return false;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		do {
			n = read(fd, l->buf + l->len, PODNAME_FILE_MAX + 1 - l->len);
			l->len += n > 0 ? (size_t)n : 0;
		} while (n > 0 && l->len <= PODNAME_FILE_MAX);
	close(fd);
	return n == 0 && l->len;
}

/* Call @fn for each entry that may be a directory; takes over @fd. */
static void each_entry(struct look *l, int fd,
		       void (*fn)(struct look *l, int at, const char *name, void *arg), void *arg)
{
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((e = readdir(d)) && may_go_on(l))
		if (podname_is_file(e->d_name) && (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN))
			fn(l, dirfd(d), e->d_name, arg);
	closedir(d);
}

/* ---- where a container leads ---- */

static bool inode_of(const struct look *l, const char *path, ino_t *ino)
{
	struct stat st;

	/* Namespaces share one file system. */
	if (stat(path, &st) || st.st_dev != l->self.st_dev || st.st_ino == l->self.st_ino)
		return false;
	*ino = st.st_ino;
	return true;
}

static bool find_ns(const struct look *l, const struct podname *n, ino_t *ino)
{
	static const char *const dirs[] = { "/run/netns", "/run/docker/netns" };
	char path[PODNAME_TEXT + 32];

	for (size_t i = 0; n->netns[0] && i < XM_ARRAY_SIZE(dirs); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dirs[i], n->netns);
		if (inode_of(l, path, ino))
			return true;
	}
	(void)snprintf(path, sizeof(path), "/proc/%u/ns/net", n->pid);
	return n->pid && inode_of(l, path, ino);
}

static void add(struct look *l, const struct podname *n)
{
	struct found *v;
	ino_t ino = 0;

	/* A process that we do not see (no hostPID) leads nowhere, but its pod's sandbox may. */
	if (!find_ns(l, n, &ino) && !n->sandbox[0])
		return;
	if (l->n == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 32;

		v = realloc(l->v, cap * sizeof(*v));
		if (!v) {
			l->err = -ENOMEM;
			return;
		}
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n].name = *n;
	l->v[l->n++].ino = ino;
}

/* ---- runtimes ---- */

/* STATE/io.containerd.runtime.v2.task/NAMESPACE/ID */
static void containerd_task(struct look *l, int at, const char *id, void *arg)
{
	struct podname n = { .runtime = "containerd" };
	int dir = open_dir(at, id);

	(void)arg;
	if (dir < 0)
		return;
	if (read_file(l, dir, "config.json") && !podname_oci(l->buf, l->len, &n)) {
		if (!n.pod[0])
			(void)snprintf(n.container, sizeof(n.container), "%s", id);
		if (read_file(l, dir, "init.pid"))
			n.pid = podname_pid(l->buf, l->len);
		add(l, &n);
	}
	close(dir);
}

static void containerd_namespace(struct look *l, int at, const char *name, void *arg)
{
	each_entry(l, open_dir(at, name), containerd_task, arg);
}

/* DATA/containers/ID */
static void docker_container(struct look *l, int at, const char *id, void *arg)
{
	struct podname n = { .runtime = "docker" };
	int dir = open_dir(at, id);

	(void)arg;
	if (dir < 0)
		return;
	if (read_file(l, dir, "config.v2.json") && !podname_docker(l->buf, l->len, &n))
		add(l, &n);
	close(dir);
}

/* STORAGE/DRIVER-containers/ID/userdata, with the names in STORAGE/DRIVER-containers/containers.json */
struct storage {
	struct look *l;
	int dir;
	char *list;
};

static int storage_container(const char *id, const char *name, void *arg)
{
	struct storage *s = arg;
	struct look *l = s->l;
	struct podname n = { .runtime = "podman" };
	int dir, data;

	if (!may_go_on(l))
		return 1;
	dir = open_dir(s->dir, id);
	data = dir < 0 ? -1 : open_dir(dir, "userdata");
	if (data >= 0 && read_file(l, data, "config.json") && !podname_oci(l->buf, l->len, &n)) {
		if (!n.pod[0])
			(void)snprintf(n.container, sizeof(n.container), "%s", name);
		add(l, &n);
	}
	if (data >= 0)
		close(data);
	if (dir >= 0)
		close(dir);
	return l->err;
}

static void storage(struct look *l, int at, const char *name)
{
	struct storage s = { .l = l, .dir = open_dir(at, name) };

	if (s.dir < 0)
		return;
	/* The buffer is needed for each container. */
	if (read_file(l, s.dir, "containers.json"))
		s.list = malloc(l->len);
	if (s.list) {
		memcpy(s.list, l->buf, l->len);
		(void)podname_storage(s.list, l->len, storage_container, &s);
		free(s.list);
	}
	close(s.dir);
}

/* The user may have made the root a link; below it there are none. */
static int open_root(const char *path)
{
	return path && *path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

static void look_at(struct look *l, const struct podnames_roots *roots)
{
	static const char *const drivers[] = { "overlay-containers", "vfs-containers",
					       "btrfs-containers", "zfs-containers" };
	int root = open_root(roots->containerd);

	if (root >= 0) {
		each_entry(l, open_dir(root, "io.containerd.runtime.v2.task"), containerd_namespace,
			   NULL);
		close(root);
	}
	root = open_root(roots->docker);
	if (root >= 0) {
		each_entry(l, open_dir(root, "containers"), docker_container, NULL);
		close(root);
	}
	root = open_root(roots->podman);
	if (root >= 0) {
		for (size_t i = 0; i < XM_ARRAY_SIZE(drivers); i++)
			storage(l, root, drivers[i]);
		close(root);
	}
}

/* ---- together ---- */

/* Containers by namespace, in a row. */
static int cmp_found(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int cmp_of(const void *a, const void *b)
{
	const struct podnames_of *x = a, *y = b;

	return x->nsid < y->nsid ? -1 : x->nsid > y->nsid;
}

static void follow_sandboxes(struct look *l)
{
	for (size_t i = 0; i < l->n && clock_ms() < l->until_ms; i++)
		for (size_t k = 0; k < l->n && !l->v[i].ino; k++)
			if (!l->v[k].name.container[0] && l->v[k].name.sandbox[0] &&
			    !strcmp(l->v[k].name.sandbox, l->v[i].name.sandbox))
				l->v[i].ino = l->v[k].ino;
}

struct join {
	struct podnames *p;
	struct look *l;
	size_t cap;
};

/* One namespace that has an id: are there containers in it? */
static void join_ns(int32_t nsid, int fd, void *arg)
{
	struct join *j = arg;
	struct look *l = j->l;
	struct podname *group;
	struct stat st;
	size_t from, n = 0;

	if (l->err || fstat(fd, &st))
		return;
	for (from = 0; from < l->n && l->v[from].ino != st.st_ino; from++)
		;
	while (from + n < l->n && l->v[from + n].ino == st.st_ino)
		n++;
	if (!n)
		return;
	if (j->p->n == j->cap) {
		size_t cap = j->cap ? j->cap * 2 : 32;
		struct podnames_of *v = realloc(j->p->v, cap * sizeof(*v));

		if (!v) {
			l->err = -ENOMEM;
			return;
		}
		j->p->v = v;
		j->cap = cap;
	}
	group = calloc(n, sizeof(*group));
	if (!group) {
		l->err = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < n; i++)
		group[i] = l->v[from + i].name;
	j->p->v[j->p->n].nsid = nsid;
	podname_join(group, n, &j->p->v[j->p->n++].name);
	free(group);
}

int podnames_read(struct podnames *p, const struct podnames_roots *roots)
{
	struct look l = { .until_ms = clock_ms() + PODNAMES_MS };
	struct join j = { .p = p, .l = &l };

	memset(p, 0, sizeof(*p));
	l.buf = malloc(PODNAME_FILE_MAX + 1);
	if (!l.buf)
		return -ENOMEM;
	if (stat("/proc/thread-self/ns/net", &l.self)) {
		free(l.buf);
		return 0;
	}
	look_at(&l, roots);
	follow_sandboxes(&l);
	if (l.n)
		qsort(l.v, l.n, sizeof(*l.v), cmp_found);
	/* Ids of namespaces that cannot be asked for are unknown, no more. */
	if (l.n && !l.err)
		(void)netns_each(join_ns, &j);
	if (p->n)
		qsort(p->v, p->n, sizeof(*p->v), cmp_of);
	p->cut = l.cut;
	free(l.v);
	free(l.buf);
	return l.err;
}

const struct podname *podnames_find(const struct podnames *p, int32_t nsid)
{
	const struct podnames_of key = { .nsid = nsid };
	const struct podnames_of *of = p->n ? bsearch(&key, p->v, p->n, sizeof(*p->v), cmp_of)
					    : NULL;

	return of ? &of->name : NULL;
}

void podnames_free(struct podnames *p)
{
	free(p->v);
	memset(p, 0, sizeof(*p));
}
