// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-mprog - lists of programs that the hooks of an interface have: tcx and netkit. bpftool, tc
 * and libbpf of Debian 12 do not know them, so bpf(2) is called directly.
 *
 * "attach" is what another agent does: its program lets all packets go on to the next one, but
 * for those whose IPv4 header has a certain TOS byte, which it drops.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* From <linux/bpf.h> of Linux 6.7; Debian 12 has the one of 6.1. */
#define TCX_INGRESS   46
#define TCX_EGRESS    47
#define NETKIT_PEER   55
#define ATTACH_BEFORE (1u << 3)
#define ATTACH_AFTER  (1u << 4)
#define PROGS_MAX     64

#define NET_OFF (-0x100000) /* SKF_NET_OFF: the IP header */
#define DROP	2
#define NEXT	(-1)

static const char help[] =
	"usage: xmt-mprog list DEV\n"
	"       xmt-mprog attach DEV ingress|egress first|last NAME [TOS]\n"
	"       xmt-mprog detach DEV ingress|egress NAME\n"
	"\n"
	"list prints \"tcx ingress NAME\", \"tcx egress NAME\" or \"netkit NAME\" (what the pod at the\n"
	"other end sends) for each program, in the order in which they run, and nothing where the\n"
	"kernel has no such lists. attach puts a program first or last in the list of tcx; it drops\n"
	"IPv4 packets with this TOS. detach removes the first one with this name.\n"
	"\n"
	"Exit status: 0 done, 1 not done, 2 wrong arguments.\n";

/* The members of union bpf_attr for BPF_PROG_ATTACH and BPF_PROG_DETACH. */
struct attach_attr {
	uint32_t ifindex;
	uint32_t prog_fd;
	uint32_t type;
	uint32_t flags;
	uint32_t replace_fd;
	uint32_t relative_fd;
	uint64_t revision;
};

/* The same for BPF_PROG_QUERY. */
struct query_attr {
	uint32_t ifindex;
	uint32_t type;
	uint32_t query_flags;
	uint32_t attach_flags;
	uint64_t prog_ids;
	uint32_t count;
	uint32_t pad;
	uint64_t prog_attach_flags;
	uint64_t link_ids;
	uint64_t link_attach_flags;
	uint64_t revision;
};

static long sys_bpf(enum bpf_cmd cmd, void *attr, size_t len)
{
	return syscall(__NR_bpf, cmd, attr, len);
}

static int prog_open(uint32_t id)
{
	union bpf_attr attr = { .prog_id = id };

	return (int)sys_bpf(BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
}

/* As the kernel cuts it; "?" when it is gone. */
static void name_of(uint32_t id, char name[BPF_OBJ_NAME_LEN + 1])
{
	struct bpf_prog_info info = { 0 };
	union bpf_attr attr = { 0 };
	int fd = prog_open(id);

	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uintptr_t)&info;
	if (fd < 0 || sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr)) < 0)
		strcpy(info.name, "?");
	snprintf(name, BPF_OBJ_NAME_LEN + 1, "%.*s", BPF_OBJ_NAME_LEN, info.name);
	if (fd >= 0)
		close(fd);
}

/* Return: how many, or -errno. */
static int query(uint32_t ifindex, uint32_t hook, uint32_t ids[PROGS_MAX])
{
	struct query_attr q = {
		.ifindex = ifindex, .type = hook, .prog_ids = (uintptr_t)ids, .count = PROGS_MAX
	};

	if (sys_bpf(BPF_PROG_QUERY, &q, sizeof(q)) < 0)
		return -errno;
	return (int)(q.count < PROGS_MAX ? q.count : PROGS_MAX);
}

static int list(uint32_t ifindex)
{
	static const struct {
		uint32_t hook;
		const char *name;
	} hooks[] = {
		{ NETKIT_PEER, "netkit" },
		{ TCX_INGRESS, "tcx ingress" },
		{ TCX_EGRESS, "tcx egress" },
	};
	char name[BPF_OBJ_NAME_LEN + 1];
	uint32_t ids[PROGS_MAX];

	for (size_t h = 0; h < sizeof(hooks) / sizeof(hooks[0]); h++) {
		int n = query(ifindex, hooks[h].hook, ids);

		/* Not a netkit pair; a kernel that is too old; nothing was ever attached. */
		if (n == -ENXIO || n == -EINVAL || n == -ENOENT)
			continue;
		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			name_of(ids[i], name);
			printf("%s %s\n", hooks[h].name, name);
		}
	}
	return 0;
}

/* TOS beyond a byte: drops nothing. */
static int load(const char *name, uint32_t tos)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = 6, .src_reg = 1 },
		{ .code = BPF_LD | BPF_ABS | BPF_B, .imm = NET_OFF },
		/* Version 4, header of any length. */
		{ .code = BPF_ALU64 | BPF_RSH | BPF_K, .imm = 4 },
		{ .code = BPF_JMP | BPF_JNE | BPF_K, .off = 4, .imm = 4 },
		{ .code = BPF_LD | BPF_ABS | BPF_B, .imm = NET_OFF + 1 },
		{ .code = BPF_JMP | BPF_JNE | BPF_K, .off = 2, .imm = (int32_t)tos },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = DROP },
		{ .code = BPF_JMP | BPF_EXIT },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = NEXT },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SCHED_CLS,
		.insn_cnt = sizeof(insns) / sizeof(insns[0]),
		.insns = (uintptr_t)insns,
		.license = (uintptr_t) "GPL",
	};
	long fd;

	snprintf(attr.prog_name, sizeof(attr.prog_name), "%s", name);
	fd = sys_bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	return fd < 0 ? -errno : (int)fd;
}

static int attach(uint32_t ifindex, uint32_t hook, int first, const char *name, uint32_t tos)
{
	struct attach_attr a = { .ifindex = ifindex,
				 .type = hook,
				 .flags = first ? ATTACH_BEFORE : ATTACH_AFTER };
	int fd = load(name, tos), err = 0;

	if (fd < 0)
		return fd;
	a.prog_fd = (uint32_t)fd;
	if (sys_bpf(BPF_PROG_ATTACH, &a, sizeof(a)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int detach(uint32_t ifindex, uint32_t hook, const char *wanted)
{
	struct attach_attr a = { .ifindex = ifindex, .type = hook };
	char name[BPF_OBJ_NAME_LEN + 1];
	uint32_t ids[PROGS_MAX];
	int n = query(ifindex, hook, ids), fd, err = 0;

	for (int i = 0; i < n; i++) {
		name_of(ids[i], name);
		if (strcmp(name, wanted) != 0)
			continue;
		fd = prog_open(ids[i]);
		if (fd < 0)
			return -errno;
		a.prog_fd = (uint32_t)fd;
		if (sys_bpf(BPF_PROG_DETACH, &a, sizeof(a)) < 0)
			err = -errno;
		close(fd);
		return err;
	}
	return n < 0 ? n : -ENOENT;
}

static int usage(void)
{
	fputs(help, stderr);
	return 2;
}

int main(int argc, char **argv)
{
	uint32_t ifindex, hook = 0;
	int err;

	if (argc < 3)
		return usage();
	if (argc > 3)
		hook = !strcmp(argv[3], "ingress")  ? TCX_INGRESS
		       : !strcmp(argv[3], "egress") ? TCX_EGRESS
						    : 0;
	ifindex = if_nametoindex(argv[2]);
	if (!ifindex)
		err = -errno;
	else if (!strcmp(argv[1], "list") && argc == 3)
		err = list(ifindex);
	else if (!strcmp(argv[1], "attach") && hook && (argc == 6 || argc == 7))
		err = attach(ifindex, hook, !strcmp(argv[4], "first"), argv[5],
			     argc == 7 ? (uint32_t)strtoul(argv[6], NULL, 0) : 256);
	else if (!strcmp(argv[1], "detach") && hook && argc == 5)
		err = detach(ifindex, hook, argv[4]);
	else
		return usage();
	if (err)
		fprintf(stderr, "xmt-mprog: %s %s: %s\n", argv[1], argv[2], strerror(-err));
	return err ? 1 : 0;
}
