// SPDX-License-Identifier: GPL-2.0-only
/* The datapath's pins, and the lock on their directory. See datapath.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "datapath_private.h"
#include "log.h"
#include "xm_util.h"
#include "xmasq.skel.h"

static const char *const pinned_maps[] = {
	"xm_flows",    "xm_labels", "xm_peer_idx", "xm_peers",	    "xm_pods",
	"xm_counters", "xm_meta",   "xm_policy",   "xm_rule_count", "xm_admit",
};

/* The first of them, which every release of this layout pins: without them the rest is of no use.
 * What is missing behind them is made with the load. */
#define PINNED_ALWAYS 7

static void pin_path(char *buf, size_t len, const char *dir, const char *name)
{
	snprintf(buf, len, "%s/%s", dir, name);
}

/* ---- the directory ---- */

static int make_pin_dir(const char *dir, bool *made)
{
	struct statfs fs;
	int err = 0;

	*made = !mkdir(dir, 0700);
	if (!*made && errno != EEXIST) {
		err = -errno;
		log_error(
			"cannot make pin_dir %s: %s; is bpffs mounted (mount -t bpf bpf /sys/fs/bpf)?",
			dir, strerror(-err));
		return err;
	}
	if (statfs(dir, &fs)) {
		err = -errno;
		log_error("cannot look at pin_dir %s: %s", dir, strerror(-err));
	} else if ((unsigned long)fs.f_type != BPF_FS_MAGIC) {
		err = -EINVAL;
		log_error(
			"pin_dir %s is not on a bpffs; mount one (mount -t bpf bpf /sys/fs/bpf) or set pin_dir below it",
			dir);
	}
	if (err && *made)
		rmdir(dir);
	return err;
}

/* Return: a descriptor that holds the lock, or -errno; -EWOULDBLOCK when it is taken. */
static int lock_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int datapath_lock(struct datapath *d, const char *pin_dir, bool make)
{
	int err;

	memset(d, 0, sizeof(*d));
	d->lock_fd = -1;
	snprintf(d->pin_dir, sizeof(d->pin_dir), "%s", pin_dir);
	if (make) {
		err = make_pin_dir(pin_dir, &d->made_dir);
		if (err)
			return err;
	}
	d->lock_fd = lock_dir(pin_dir);
	if (d->lock_fd >= 0 || (!make && (d->lock_fd == -ENOENT || d->lock_fd == -ENOTDIR)))
		return 0;
	err = d->lock_fd;
	if (err == -EWOULDBLOCK)
		log_error(
			"another xmasqd uses pin_dir %s: stop it first, or give each its own pin_dir, state_dir and control_socket",
			pin_dir);
	else
		log_error("cannot lock pin_dir %s: %s", pin_dir, strerror(-err));
	return err;
}

/* ---- removal ---- */

static int unpin_files(const char *dir)
{
	char path[DATAPATH_PIN_MAX];
	int err = 0;

	for (size_t i = 0; i < XM_ARRAY_SIZE(pinned_maps) + DATAPATH_PROGS; i++) {
		const char *name = i < XM_ARRAY_SIZE(pinned_maps)
					   ? pinned_maps[i]
					   : datapath_prog_name(i - XM_ARRAY_SIZE(pinned_maps));

		pin_path(path, sizeof(path), dir, name);
		if (unlink(path) && errno != ENOENT && errno != ENOTDIR)
			err = -errno;
	}
	return err;
}

int datapath_unpin(const char *pin_dir)
{
	int err = unpin_files(pin_dir);

	/* Somebody else's pins keep the directory; EBUSY: a bpffs is mounted right there. */
	if (rmdir(pin_dir) && errno != ENOENT && errno != ENOTDIR && errno != ENOTEMPTY &&
	    errno != EBUSY)
		err = err ?: -errno;
	if (err)
		log_error("cannot remove pins under %s: %s", pin_dir, strerror(-err));
	return err;
}

/* ---- use ---- */

bool datapath_pinned(const char *pin_dir)
{
	char path[DATAPATH_PIN_MAX];

	pin_path(path, sizeof(path), pin_dir, "xm_meta");
	return !access(path, F_OK);
}

bool datapath_pins_fit(const char *dir, const struct config *c, struct xm_meta *meta)
{
	char path[DATAPATH_PIN_MAX];
	__u32 zero = 0;
	int fd, err;

	for (size_t i = 0; i < PINNED_ALWAYS; i++) {
		pin_path(path, sizeof(path), dir, pinned_maps[i]);
		if (access(path, F_OK))
			return false;
	}
	pin_path(path, sizeof(path), dir, "xm_meta");
	fd = bpf_obj_get(path);
	if (fd < 0)
		return false;
	err = bpf_map_lookup_elem(fd, &zero, meta);
	close(fd);
	if (err)
		return false;
	return meta->layout == XM_LAYOUT && meta->flows == c->flows && meta->peers == c->peers &&
	       meta->masq_port == c->masquerade_port && meta->epoch;
}

/*
 * A release without such a map may have made new tables beside the pin that it found, of another size.
 * What is in it is worth nothing without them.
 */
static void unpin_other_size(const char *path, const struct bpf_map *map)
{
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	int fd = bpf_obj_get(path);

	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len) &&
	    (info.max_entries != bpf_map__max_entries(map) ||
	     info.value_size != bpf_map__value_size(map)) &&
	    unlink(path))
		log_error("cannot remove %s: %s", path, strerror(errno));
	close(fd);
}

int datapath_pins_reuse(struct xmasq_bpf *skel, const char *dir)
{
	char path[DATAPATH_PIN_MAX];
	struct bpf_map *map;
	int err = 0;

	for (size_t i = 0; !err && i < XM_ARRAY_SIZE(pinned_maps); i++) {
		map = bpf_object__find_map_by_name(skel->obj, pinned_maps[i]);
		pin_path(path, sizeof(path), dir, pinned_maps[i]);
		if (map && i >= PINNED_ALWAYS)
			unpin_other_size(path, map);
		err = map ? bpf_map__set_pin_path(map, path) : -ENOENT;
	}
	return err;
}

/* Not bpf_map__pin(): it believes that a map once pinned is pinned for ever. */
static int pin(const struct datapath *d, const char *name, int fd)
{
	char path[DATAPATH_PIN_MAX];

	pin_path(path, sizeof(path), d->pin_dir, name);
	return bpf_obj_pin(fd, path) ? -errno : 0;
}

static int map_fd(const struct datapath *d, const char *name)
{
	return bpf_object__find_map_fd_by_name(d->skel->obj, name);
}

int datapath_pins_renew(struct datapath *d)
{
	int err = unpin_files(d->pin_dir);

	for (size_t i = 0; !err && i < XM_ARRAY_SIZE(pinned_maps); i++)
		err = pin(d, pinned_maps[i], map_fd(d, pinned_maps[i]));
	if (err) {
		log_error("cannot pin the tables under %s: %s", d->pin_dir, strerror(-err));
		unpin_files(d->pin_dir);
	}
	return err;
}

void datapath_pins_progs(struct datapath *d)
{
	char path[DATAPATH_PIN_MAX];
	int err;

	for (unsigned int i = 0; i < DATAPATH_PROGS; i++) {
		pin_path(path, sizeof(path), d->pin_dir, datapath_prog_name(i));
		/* bpffs cannot rename over an old pin, and a pin cannot be replaced. */
		unlink(path);
		if (datapath_prog_fd(d, i) < 0)
			continue; /* not in this load */
		err = pin(d, datapath_prog_name(i), datapath_prog_fd(d, i));
		/* For people who look; what is attached does not need it. */
		if (err)
			log_warn("cannot pin program at %s: %s", path, strerror(-err));
	}
}

int datapath_repin(struct datapath *d)
{
	unsigned int made = 0;
	int err = 0;

	/* Without the directory the lock went, too. */
	if (!mkdir(d->pin_dir, 0700)) {
		int fd = lock_dir(d->pin_dir);

		if (fd >= 0) {
			close(d->lock_fd);
			d->lock_fd = fd;
		}
	}
	for (size_t i = 0; i < XM_ARRAY_SIZE(pinned_maps) + DATAPATH_PROGS; i++) {
		bool prog = i >= XM_ARRAY_SIZE(pinned_maps);
		unsigned int which = i - XM_ARRAY_SIZE(pinned_maps);
		const char *name = prog ? datapath_prog_name(which) : pinned_maps[i];
		char path[DATAPATH_PIN_MAX];
		int err2;

		pin_path(path, sizeof(path), d->pin_dir, name);
		if (!access(path, F_OK) || (prog && datapath_prog_fd(d, which) < 0))
			continue;
		err2 = pin(d, name, prog ? datapath_prog_fd(d, which) : map_fd(d, name));
		made += !err2;
		err = err ?: err2;
	}
	if (made)
		log_warn("%u pins under %s were removed by somebody: pinned again", made,
			 d->pin_dir);
	/* Tried every few seconds, told once. */
	if (err && err != d->pin_err)
		log_error(
			"cannot pin under %s: %s; all works on, but the next start will find no tables; is bpffs mounted there?",
			d->pin_dir, strerror(-err));
	d->pin_err = err;
	return err;
}

void datapath_wait_quiet(const char *pin_dir)
{
	char path[DATAPATH_PIN_MAX];
	struct timespec ts = {
		.tv_sec = XM_HELLO_MISSES * XM_HELLO_PERIOD_MS / 1000,
		.tv_nsec = XM_HELLO_MISSES * XM_HELLO_PERIOD_MS % 1000 * 1000000L,
	};
	struct bpf_map_info info = {};
	__u32 len = sizeof(info);
	bool peers = false;
	int fd;

	pin_path(path, sizeof(path), pin_dir, "xm_peers");
	fd = bpf_obj_get(path);
	if (fd < 0)
		return;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) || info.value_size != sizeof(struct xm_peer))
		info.max_entries = 0;
	for (__u32 i = 0; i < info.max_entries; i++) {
		struct xm_peer p;

		if (bpf_map_lookup_elem(fd, &i, &p) || !p.used)
			continue;
		p.up_until[XM_TCP] = 0;
		p.up_until[XM_UDP] = 0;
		bpf_map_update_elem(fd, &i, &p, BPF_ANY);
		peers = true;
	}
	close(fd);
	if (!peers)
		return;
	log_info("waiting %u s for peers to notice that we leave",
		 XM_HELLO_MISSES * XM_HELLO_PERIOD_MS / 1000);
	nanosleep(&ts, NULL);
}
