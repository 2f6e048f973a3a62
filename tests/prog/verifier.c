// SPDX-License-Identifier: GPL-2.0-only
/* What the verifier says to each program, and how long the programs are. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "node.h"
#include "suites.h"
#include "xmasq.skel.h"

#define LOG_STATS 4 /* BPF_LOG_STATS: statistics only; include/linux/bpf_verifier.h */
#define LOG_SIZE  (1 << 20)

static void row(const struct bpf_program *prog, const char *log)
{
	struct bpf_prog_info info = { 0 };
	__u32 len = sizeof(info);
	const char *at = strstr(log, "processed ");
	int insns = -1;

	if (at)
		sscanf(at, "processed %d insns", &insns);
	bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &len);
	printf("%-20s %10d %10zu %10u\n", bpf_program__name(prog), insns,
	       (size_t)(info.xlated_prog_len / sizeof(struct bpf_insn)), info.jited_prog_len);
}

/* With a configuration of zeros the verifier would find most of the programs dead. */
static void configure(struct bpf_object *obj)
{
	struct bpf_map *map;
	size_t len = 0;
	const void *init;

	node_config(&node_a);
	bpf_object__for_each_map(map, obj) {
		if (!strstr(bpf_map__name(map), ".rodata"))
			continue;
		init = bpf_map__initial_value(map, &len);
		if (init && len == sizeof(node_a.cfg))
			bpf_map__set_initial_value(map, &node_a.cfg, len);
		else
			fprintf(stderr, "%s is not the configuration alone: figures are too low\n",
				bpf_map__name(map));
	}
}

int verifier_report(const char *path)
{
	const void *elf;
	size_t elf_len;
	struct bpf_program *prog;
	struct bpf_object *obj;
	char *logs[16];
	unsigned int n = 0;
	int err;

	if (path) {
		obj = bpf_object__open_file(path, NULL);
	} else {
		elf = xmasq_bpf__elf_bytes(&elf_len);
		obj = bpf_object__open_mem(elf, elf_len, NULL);
	}
	if (!obj) {
		err = -errno;
		fprintf(stderr, "%s: cannot open: %s\n", path ? path : "built-in object",
			strerror(errno));
		return err;
	}
	configure(obj);
	bpf_object__for_each_program(prog, obj) {
		if (n == sizeof(logs) / sizeof(logs[0]))
			break;
		/* Loaded by the daemon when it needs it, and by every kernel. */
		if (!strcmp(bpf_program__name(prog), "xmasq_nic_first") ||
		    !strcmp(bpf_program__name(prog), "xmasq_netkit_egress"))
			bpf_program__set_autoload(prog, true);
		logs[n] = calloc(1, LOG_SIZE);
		if (!logs[n])
			break;
		bpf_program__set_log_buf(prog, logs[n++], LOG_SIZE);
		bpf_program__set_log_level(prog, LOG_STATS);
	}
	err = bpf_object__load(obj);
	printf("%-20s %10s %10s %10s\n", "program", "verified", "xlated", "jited B");
	n = 0;
	bpf_object__for_each_program(prog, obj) {
		if (err)
			printf("%s: does not load:\n%s\n", bpf_program__name(prog), logs[n]);
		else
			row(prog, logs[n]);
		free(logs[n++]);
	}
	bpf_object__close(obj);
	return err;
}
