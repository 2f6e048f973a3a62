// SPDX-License-Identifier: GPL-2.0-only
/*
 * vm-guest-root.c - the guest's file systems: the host's root below, a tmpfs on top.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vm-proto.h"
#include "vm-guest.h"

static void must_mount(const char *src, const char *dir, const char *type, unsigned long flags,
		       const char *data)
{
	mkdir(dir, 0755);
	if (mount(src, dir, type, flags, data))
		die("cannot mount %s on %s (%s): %s", type ? type : src, dir, data ? data : "",
		    strerror(errno));
}

/* For file systems that a small kernel may lack: whoever needs one will say so. */
static void may_mount(const char *type, const char *dir, const char *data)
{
	mkdir(dir, 0755);
	mount(type, dir, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, data);
}

/* The names are numbered in the order of loading. */
static void load_modules(void)
{
	struct dirent **list;
	int n = scandir("/m", &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[300];
		int fd;

		if (list[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/m/%s", list[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			dprintf(STDERR_FILENO, "vm-guest: module %s: %s\n", list[i]->d_name,
				strerror(errno));
		close(fd);
	}
}

void root_early(void)
{
	must_mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755");
	must_mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	must_mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	load_modules();
}

static void make_dirs(const char *path)
{
	char p[4096];

	snprintf(p, sizeof(p), "%s", path);
	for (char *s = p + 1; (s = strchr(s, '/')); *s++ = '/') {
		*s = 0;
		mkdir(p, 0755);
	}
	mkdir(p, 0755);
}

static void mount_shared(const char *fs, const char *tag, const char *dir, int writable)
{
	unsigned long flags = writable ? 0 : MS_RDONLY | MS_NOATIME;

	if (!strcmp(fs, "9p"))
		/* Nothing else writes what the guest caches: the root must not change meanwhile. */
		must_mount(tag, dir, "9p", flags,
			   writable ? "trans=virtio,version=9p2000.L,msize=512000,cache=none"
				    : "trans=virtio,version=9p2000.L,msize=512000,cache=loose");
	else if (!strcmp(fs, "virtiofs"))
		must_mount(tag, dir, "virtiofs", flags, NULL);
	else
		must_mount("/dev/vda", dir, "ext4", flags, writable ? NULL : "noload");
}

/* What @tag shares, on @dir, with changes kept in memory. */
static void mount_below(const char *fs, const char *tag, const char *dir)
{
	char lower[64], upper[64], work[64], options[256];

	snprintf(lower, sizeof(lower), "/lower/%s", tag);
	snprintf(upper, sizeof(upper), "/rw/%s-up", tag);
	snprintf(work, sizeof(work), "/rw/%s-work", tag);
	mkdir(upper, 0755);
	mkdir(work, 0755);
	mount_shared(fs, tag, lower, 0);
	/* volatile: sync() has nothing to wait for, the upper layer ends with the machine. */
	snprintf(options, sizeof(options), "lowerdir=%s,upperdir=%s,workdir=%s,volatile", lower,
		 upper, work);
	must_mount("overlay", dir, "overlay", 0, options);
}

/*
 * Opening a file for writing copies it to the upper layer. Each exec opens these; without the
 * trips to the host it takes a quarter less time under emulation.
 */
static void copy_up_hot_files(void)
{
	static const char *const hot[] = {
		"/etc/ld.so.cache",
		"/lib64/ld-linux-x86-64.so.2",
		"/lib/x86_64-linux-gnu/libc.so.6",
		"/lib/x86_64-linux-gnu/libtinfo.so.6",
		"/bin/bash",
	};

	for (unsigned int i = 0; i < sizeof(hot) / sizeof(hot[0]); i++) {
		int fd = open(hot[i], O_WRONLY | O_CLOEXEC);

		if (fd >= 0)
			close(fd);
	}
}

/* /tmp and /run start empty, but the project or the working directory may be below them. */
static void mount_fresh(void)
{
	static const char *const fresh[] = { "/tmp", "/run", "/dev/shm" };
	int fds[MAX_KEEP];
	char link[64];

	for (int i = 0; i < req.keepc; i++)
		fds[i] = open(req.keep[i], O_PATH | O_CLOEXEC);
	for (unsigned int i = 0; i < sizeof(fresh) / sizeof(fresh[0]); i++)
		must_mount("tmpfs", fresh[i], "tmpfs", MS_NOSUID | MS_NODEV,
			   i == 1 ? "mode=755" : "mode=1777");
	for (int i = 0; i < req.keepc; i++) {
		for (unsigned int j = 0; j < sizeof(fresh) / sizeof(fresh[0]); j++) {
			size_t len = strlen(fresh[j]);

			if (strncmp(req.keep[i], fresh[j], len) || req.keep[i][len] != '/')
				continue;
			make_dirs(req.keep[i]);
			snprintf(link, sizeof(link), "/proc/self/fd/%d", fds[i]);
			if (mount(link, req.keep[i], NULL, MS_BIND, NULL))
				die("cannot keep %s visible: %s", req.keep[i], strerror(errno));
		}
		close(fds[i]);
	}
	mkdir("/run/lock", 01777);
}

static void enter_root(void)
{
	static const char *const moved[] = { "/dev", "/proc", "/sys" };
	char path[4200];

	must_mount("tmpfs", "/rw", "tmpfs", 0, "mode=755,size=75%");
	mount_below(req.fs, VM_TAG_ROOT, "/new");
	if (req.tree) {
		snprintf(path, sizeof(path), "/new%s", req.tree);
		make_dirs(path);
		mount_below(req.share, VM_TAG_TREE, path);
	}
	for (unsigned int i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		snprintf(path, sizeof(path), "/new%s", moved[i]);
		must_mount(moved[i], path, NULL, MS_MOVE, NULL);
	}
	if (chdir("/new") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		die("cannot change to the new root: %s", strerror(errno));

	copy_up_hot_files();
	mount_fresh();
	must_mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		   "gid=5,mode=620,ptmxmode=666");
	may_mount("bpf", "/sys/fs/bpf", "mode=700");
	may_mount("cgroup2", "/sys/fs/cgroup", NULL);
	may_mount("tracefs", "/sys/kernel/tracing", NULL);
	may_mount("debugfs", "/sys/kernel/debug", NULL);
	may_mount("mqueue", "/dev/mqueue", NULL);
	symlink("/proc/self/fd", "/dev/fd");
	symlink("/proc/self/fd/0", "/dev/stdin");
	symlink("/proc/self/fd/1", "/dev/stdout");
	symlink("/proc/self/fd/2", "/dev/stderr");
	if (req.out)
		mount_shared(req.share, VM_TAG_OUT, VM_OUT_DIR, 1);
}

static void set_up_system(void)
{
	struct rlimit files = { 65536, 1048576 };
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		die("cannot set the loopback device up: %s", strerror(errno));
	close(fd);
	sethostname("xmasq-vm", 8);
	setrlimit(RLIMIT_NOFILE, &files);
	umask(022);
}

void root_make(void)
{
	enter_root();
	set_up_system();
}
