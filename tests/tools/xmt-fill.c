// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-fill - a table of flows with very many entries, without the packets that would make them: copies
 * of a flow that is there, with other ports and a lease that lasts. For what xmasqd does with them.
 */
#include <errno.h>
#include <linux/bpf.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "xm_types.h"

static const char help[] =
	"usage: xmt-fill PIN-DIR N SECONDS\n"
	"\n"
	"Adds N flows to the table pinned in PIN-DIR, whose leases last SECONDS (1 to 600) longer than\n"
	"that of the flow that is copied. Prints how many there were room for.\n"
	"\n"
	"Exit status: 0 done, 1 not done, 2 wrong arguments.\n";

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

static int fail(const char *what)
{
	fprintf(stderr, "xmt-fill: %s: %s\n", what, strerror(errno));
	return 1;
}

static uint64_t ptr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

int main(int argc, char **argv)
{
	unsigned long n, seconds, done = 0;
	union bpf_attr a = {};
	struct xm_flow_key key;
	struct xm_flow f;
	char path[512];
	int fd;

	if (argc != 4) {
		fputs(help, stderr);
		return 2;
	}
	n = strtoul(argv[2], NULL, 10);
	seconds = strtoul(argv[3], NULL, 10);
	if (!n || n > 65536ul * 64 || !seconds || seconds > 600) {
		fputs(help, stderr);
		return 2;
	}
	snprintf(path, sizeof(path), "%s/xm_flows", argv[1]);
	a.pathname = ptr(path);
	fd = bpf(BPF_OBJ_GET, &a);
	if (fd < 0)
		return fail(path);
	memset(&a, 0, sizeof(a));
	a.map_fd = (uint32_t)fd;
	a.next_key = ptr(&key);
	if (bpf(BPF_MAP_GET_NEXT_KEY, &a))
		return fail("there is no flow to copy");
	memset(&a, 0, sizeof(a));
	a.map_fd = (uint32_t)fd;
	a.key = ptr(&key);
	a.value = ptr(&f);
	if (bpf(BPF_MAP_LOOKUP_ELEM, &a))
		return fail("the flow to copy is gone");
	/* Jiffies; 1000 in a second at most. Without a label nobody is sent anything. */
	f.out_until += (uint32_t)(seconds * 1000);
	f.in_until = f.out_until;
	f.label = 0;
	f.stage = XM_STAGE_NEW;
	for (unsigned long i = 0; i < n; i++) {
		key.sport = (__be16)(i & 0xffff);
		key.dport = (__be16)(0x100 + (i >> 16));
		a.flags = BPF_NOEXIST;
		if (!bpf(BPF_MAP_UPDATE_ELEM, &a))
			done++;
		else if (errno != EEXIST)
			break;
	}
	printf("%lu\n", done);
	return done == n ? 0 : fail("not all of them");
}
