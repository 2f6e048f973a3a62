// SPDX-License-Identifier: GPL-2.0-only
#include "mprog.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tc.h"
#include "tc_look.h"

/* From include/uapi/linux/bpf.h of Linux 6.6. */
#define ATTACH_REPLACE (1u << 2)
#define ATTACH_BEFORE  (1u << 3)

#define PROGS_MAX 64 /* BPF_MPROG_MAX */

/* The members of union bpf_attr for BPF_PROG_ATTACH and BPF_PROG_DETACH. */
struct attach_attr {
	__u32 ifindex;
	__u32 prog_fd;
	__u32 type;
	__u32 flags;
	__u32 replace_fd;
	__u32 relative_fd;
	__u64 revision;
};

/* The same for BPF_PROG_QUERY. */
struct query_attr {
	__u32 ifindex;
	__u32 type;
	__u32 query_flags;
	__u32 attach_flags;
	__u64 prog_ids;
	__u32 count;
	__u32 pad;
	__u64 prog_attach_flags;
	__u64 link_ids;
	__u64 link_attach_flags;
	__u64 revision;
};

static int sys_bpf(enum bpf_cmd cmd, void *attr, size_t len)
{
	return syscall(__NR_bpf, cmd, attr, len) < 0 ? -errno : 0;
}

/* Id of our program, 0 none. */
static int find_ours(uint32_t ifindex, enum mprog_hook hook, bool inside, uint32_t *id)
{
	uint32_t ids[PROGS_MAX] = { 0 };
	struct query_attr q = {
		.ifindex = ifindex,
		.type = hook,
		.prog_ids = (uintptr_t)ids,
		.count = PROGS_MAX,
	};
	int err;

	*id = 0;
	err = sys_bpf(BPF_PROG_QUERY, &q, sizeof(q));
	/* No list yet; no such interface; not a netkit pair; a kernel that has no such hook. */
	if (err == -ENOENT || err == -ENODEV || err == -ENXIO || err == -EINVAL)
		return 0;
	if (err)
		return err;
	for (uint32_t i = 0; i < q.count && i < PROGS_MAX; i++) {
		if (tc_look_our_prog(ids[i], inside)) {
			*id = ids[i];
			return 0;
		}
	}
	return 0;
}

int mprog_query(uint32_t ifindex, enum mprog_hook hook, bool inside, uint32_t *prog_id)
{
	int err = find_ours(ifindex, hook, inside, prog_id);

	return err ?: *prog_id ? 0 : -ENOENT;
}

static int id_of(int prog_fd, uint32_t *id)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(prog_fd, &info, &len))
		return -errno;
	*id = info.id;
	return 0;
}

int mprog_attach(uint32_t ifindex, enum mprog_hook hook, bool inside, int prog_fd,
		 struct tc_error *err)
{
	struct attach_attr a = {
		.ifindex = ifindex,
		.prog_fd = (__u32)prog_fd,
		.type = hook,
		.flags = ATTACH_BEFORE,
	};
	uint32_t ours, id = 0;
	int ret, old = -1;

	err->text[0] = '\0';
	ret = find_ours(ifindex, hook, inside, &ours);
	ret = ret ?: id_of(prog_fd, &id);
	if (!ret && ours == id)
		return 0;
	if (!ret && ours) {
		old = bpf_prog_get_fd_by_id(ours);
		ret = old < 0 ? old : 0;
		a.flags = ATTACH_REPLACE;
		a.replace_fd = (__u32)old;
	}
	if (!ret)
		ret = sys_bpf(BPF_PROG_ATTACH, &a, sizeof(a));
	if (old >= 0)
		close(old);
	if (ret)
		snprintf(err->text, sizeof(err->text), "cannot attach to %s: %s",
			 hook == MPROG_NETKIT_PEER ? "the netkit pair" : "tcx", strerror(-ret));
	return ret;
}

static int detach_id(uint32_t ifindex, enum mprog_hook hook, uint32_t id)
{
	struct attach_attr a = { .ifindex = ifindex, .type = hook };
	int fd = bpf_prog_get_fd_by_id(id);
	int ret;

	if (fd < 0)
		return fd;
	a.prog_fd = (__u32)fd;
	ret = sys_bpf(BPF_PROG_DETACH, &a, sizeof(a));
	close(fd);
	return ret;
}

int mprog_detach(uint32_t ifindex, enum mprog_hook hook, bool inside)
{
	int ret, removed = 0;
	uint32_t ours;

	for (int tries = 0; tries < PROGS_MAX; tries++) {
		ret = find_ours(ifindex, hook, inside, &ours);
		if (ret)
			return ret;
		if (!ours)
			break;
		ret = detach_id(ifindex, hook, ours);
		/* Somebody else was faster: look again. */
		if (ret && ret != -ENOENT && ret != -ENODEV)
			return ret;
		removed += !ret;
	}
	return removed;
}
