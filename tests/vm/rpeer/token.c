// SPDX-License-Identifier: GPL-2.0-only
/*
 * A BPF token lets a user namespace load programs of its own. It must not open the way into the
 * network namespaces of others.
 *
 * The C library and libbpf of Debian 12 know nothing of tokens, so the system calls are plain. The
 * child is in new user, mount and network namespaces; the parent, who is root outside, allows the
 * child's bpffs to hand out a token for everything there is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/mount.h>
#include <linux/pkt_cls.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"
#include "suites.h"
#include "tap.h"

/* From <linux/bpf.h> of Linux 6.9. */
#define TOKEN_CREATE   36
#define FLAG_TOKEN_FD  (1U << 16)
#define PROG_LOAD_SIZE 152

struct prog_load {
	uint32_t type, insn_cnt;
	uint64_t insns, license;
	uint32_t log_level, log_size;
	uint64_t log_buf;
	uint32_t kern_version, flags;
	uint32_t rest[24]; /* name to log_true_size */
	int32_t token_fd;
	uint32_t pad;
};

_Static_assert(sizeof(struct prog_load) == PROG_LOAD_SIZE, "attributes of BPF_PROG_LOAD");

enum {
	RESULT_TOKEN, /* what making a token gave */
	RESULT_PLAIN, /* loading with it a program that does nothing */
	RESULT_RPEER, /* and one that calls the kfunc */
	RESULT_COUNT,
};

/* 0 or -errno of loading a program, which calls the kfunc with @btf_id unless that is 0. */
static int load(int btf_id, int token)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 1, .imm = 1 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 2, .imm = 0 },
		{ .code = BPF_JMP | BPF_CALL, .src_reg = BPF_PSEUDO_KFUNC_CALL, .imm = btf_id },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	const struct bpf_insn nothing[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .imm = TC_ACT_OK },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	struct prog_load attr = {
		.type = BPF_PROG_TYPE_SCHED_CLS,
		.insns = (uintptr_t)(btf_id ? insns : nothing),
		.insn_cnt = btf_id ? 4 : 2,
		.license = (uintptr_t) "GPL",
	};
	int fd;

	if (token >= 0) {
		attr.flags = FLAG_TOKEN_FD;
		attr.token_fd = token;
	}
	fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, token >= 0 ? sizeof(attr) : 144);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

static void child(int btf_id, int to_parent, int from_parent)
{
	int result[RESULT_COUNT] = { 0 }, fs, mnt, dir, token = -1;
	struct {
		uint32_t flags, bpffs_fd;
	} create = { 0 };
	char c;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET))
		_exit(1);
	/* The parent writes the maps, and then knows which descriptor fs is. */
	if (write(to_parent, "u", 1) != 1 || read(from_parent, &c, 1) != 1)
		_exit(1);
	fs = (int)syscall(SYS_fsopen, "bpf", 0);
	if (write(to_parent, &fs, sizeof(fs)) != (ssize_t)sizeof(fs) ||
	    read(from_parent, &c, 1) != 1)
		_exit(1);
	mnt = (int)syscall(SYS_fsmount, fs, 0, 0);
	dir = openat(mnt, ".", O_RDONLY | O_DIRECTORY);
	create.bpffs_fd = (uint32_t)dir;
	token = (int)syscall(SYS_bpf, TOKEN_CREATE, &create, sizeof(create));
	result[RESULT_TOKEN] = token < 0 ? -errno : 0;
	if (token >= 0) {
		result[RESULT_PLAIN] = load(0, token);
		result[RESULT_RPEER] = load(btf_id, token);
	}
	_exit(write(to_parent, result, sizeof(result)) != (ssize_t)sizeof(result));
}

static int map_root(pid_t pid, const char *what)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
	f = fopen(path, "we");
	if (!f)
		return -1;
	fputs("0 0 1", f);
	return fclose(f);
}

/* The child's own file system context, with leave to delegate all. */
static int delegate(pid_t pid, int fd)
{
	static const char *const keys[] = { "delegate_cmds", "delegate_maps", "delegate_progs",
					    "delegate_attachs" };
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), fs;
	unsigned int i;
	long err = 0;

	fs = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	for (i = 0; i < 4 && !err; i++)
		err = syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, keys[i], "any", 0);
	if (!err)
		err = syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (err)
		err = -errno;
	close(fs);
	close(pidfd);
	return (int)err;
}

static bool kernel_has_tokens(void)
{
	const struct {
		uint32_t flags;
		int32_t bpffs_fd;
	} create = { .bpffs_fd = -1 };

	/* EINVAL is what a kernel says that does not know the command. */
	return syscall(SYS_bpf, TOKEN_CREATE, &create, sizeof(create)) < 0 && errno == EBADF;
}

void suite_token(void)
{
	int result[RESULT_COUNT] = { 0 }, down[2], up[2], fs, err, btf_id = bed_kfunc_id();
	pid_t pid;
	char c;

	tap_case("a program that is loaded with a BPF token cannot call it");
	/* Without one it can, or the refusal would say nothing. */
	CHECK_EQ(load(btf_id, -1), 0);
	if (!kernel_has_tokens()) {
		tap_skip("allowed: this kernel has no BPF tokens");
		return;
	}
	if (pipe(down) || pipe(up))
		return;
	pid = fork();
	if (pid == 0) {
		close(down[1]);
		close(up[0]);
		child(btf_id, up[1], down[0]);
	}
	close(down[0]);
	close(up[1]);
	if (!CHECK(read(up[0], &c, 1) == 1 && map_root(pid, "uid_map") == 0 &&
			   map_root(pid, "gid_map") == 0 && write(down[1], "m", 1) == 1 &&
			   read(up[0], &fs, sizeof(fs)) == (ssize_t)sizeof(fs) && fs >= 0,
		   "making a user namespace with a bpffs: %s", strerror(errno)))
		goto out;
	err = delegate(pid, fs);
	if (!CHECK(err == 0, "delegating: %s", strerror(-err)))
		goto out;
	if (!CHECK(write(down[1], "d", 1) == 1 &&
			   read(up[0], result, sizeof(result)) == (ssize_t)sizeof(result),
		   "the child is gone"))
		goto out;
	CHECK_EQ(result[RESULT_TOKEN], 0);
	CHECK_EQ(result[RESULT_PLAIN], 0);
	CHECK_EQ(result[RESULT_RPEER], -EACCES);
out:
	close(down[1]);
	close(up[0]);
	waitpid(pid, NULL, 0);
}
