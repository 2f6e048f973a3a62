// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-zero - what happens to tables, for tests: entries of pinned array maps become zero, or garbage.
 *
 *   xmt-zero [--third | --fill] PIN...
 *
 * --third: only each third entry that is in use (its first word is not zero). --fill: each entry that
 * is free becomes one that is not, so that no slot is left.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	ALL,
	THIRD,
	FILL
};

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

static int element(int cmd, int fd, uint32_t i, const void *value)
{
	union bpf_attr attr = { .map_fd = (uint32_t)fd,
				.key = (uint64_t)(uintptr_t)&i,
				.value = (uint64_t)(uintptr_t)value };

	return bpf(cmd, &attr);
}

static int zero(const char *pin, int how)
{
	struct bpf_map_info info = { 0 };
	union bpf_attr attr = { .pathname = (uint64_t)(uintptr_t)pin };
	int fd = bpf(BPF_OBJ_GET, &attr), err;
	uint64_t *value;
	uint32_t used = 0;

	attr = (union bpf_attr){ .info = { .bpf_fd = (uint32_t)fd,
					   .info_len = sizeof(info),
					   .info = (uint64_t)(uintptr_t)&info } };
	if (fd < 0 || bpf(BPF_OBJ_GET_INFO_BY_FD, &attr)) {
		fprintf(stderr, "xmt-zero: %s: %s\n", pin, strerror(errno));
		return 1;
	}
	value = calloc(1, info.value_size);
	if (!value || info.type != BPF_MAP_TYPE_ARRAY) {
		fprintf(stderr, "xmt-zero: %s: not an array\n", pin);
		return 1;
	}
	for (uint32_t i = 0; i < info.max_entries; i++) {
		err = element(BPF_MAP_LOOKUP_ELEM, fd, i, value);
		if (err || (how == FILL ? value[0] != 0 : value[0] == 0 && how == THIRD) ||
		    (how == THIRD && ++used % 3))
			continue;
		memset(value, 0, info.value_size);
		/* A busy tag: nobody reads it, and nobody takes it. */
		if (how == FILL)
			value[0] = 0xffffffff00010602;
		if (element(BPF_MAP_UPDATE_ELEM, fd, i, value)) {
			fprintf(stderr, "xmt-zero: %s: %s\n", pin, strerror(errno));
			return 1;
		}
	}
	free(value);
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	int how = ALL, first = 1, ret = 0;

	if (argc > 1 && !strcmp(argv[1], "--third"))
		how = THIRD;
	else if (argc > 1 && !strcmp(argv[1], "--fill"))
		how = FILL;
	first += how != ALL;
	if (first >= argc) {
		fputs("usage: xmt-zero [--third | --fill] PIN...\n", stderr);
		return 2;
	}
	for (int i = first; i < argc; i++)
		ret |= zero(argv[i], how);
	return ret;
}
