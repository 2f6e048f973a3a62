// SPDX-License-Identifier: GPL-2.0-only
/*
 * profile-plugin - a QEMU plugin that counts the kernel's instructions, block by block.
 *
 *   qemu-system-x86_64 -icount ... -plugin profile-plugin.so,dir=DIR
 *
 * When the guest makes the file DIR/trigger, all counts so far go to DIR/blocks.0, the next time
 * to DIR/blocks.1 and so on: a line "ADDRESS COUNT" (hexadecimal, decimal) for each block of
 * code, where address 0 stands for all that is not the kernel's. Then the file is removed. What
 * happened in between is the difference of two such files.
 *
 * A block that ends early (an exception) counts as whole, so sums are a little above what
 * -icount says.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * QEMU's plugin interface, version 1 (QEMU 4.2 to 8.x), as its documentation has it: Debian's
 * packages have no header for it.
 */
#define PLUGIN_API 1
#define INLINE_ADD 0

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_info;

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
						  void (*cb)(plugin_id, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *ptr,
						     uint64_t imm);
extern void qemu_plugin_outs(const char *text);

__attribute__((visibility("default"))) int qemu_plugin_version = PLUGIN_API;

#define KERNEL_BEGIN 0xffff800000000000ULL
#define BLOCKS_LOG   22
#define BLOCKS	     (1U << BLOCKS_LOG)

struct block {
	uint64_t used; /* address + 1, so that the table begins as zeros */
	uint64_t count;
};

static struct block *blocks; /* open addressing; QEMU writes counts, so none ever moves */
static unsigned int n_blocks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *dir;

static struct block *block_of(uint64_t addr)
{
	uint64_t at = addr * 0x9e3779b97f4a7c15ULL >> (64 - BLOCKS_LOG);

	while (blocks[at].used && blocks[at].used != addr + 1)
		at = (at + 1) % BLOCKS;
	return &blocks[at];
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
	uint64_t addr = qemu_plugin_tb_vaddr(tb);
	struct block *b;

	(void)id;
	if (addr < KERNEL_BEGIN)
		addr = 0;
	pthread_mutex_lock(&lock);
	b = block_of(addr);
	if (!b->used && n_blocks < BLOCKS / 2) {
		b->used = addr + 1;
		n_blocks++;
	}
	pthread_mutex_unlock(&lock);
	if (b->used)
		qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD, &b->count,
							 qemu_plugin_tb_n_insns(tb));
}

static void dump(unsigned int number)
{
	char name[4096];
	FILE *f;

	(void)snprintf(name, sizeof(name), "%s/blocks.%u", dir, number);
	f = fopen(name, "we");
	for (unsigned int i = 0; f && i < BLOCKS; i++)
		if (blocks[i].count)
			fprintf(f, "%" PRIx64 " %" PRIu64 "\n", blocks[i].used - 1,
				blocks[i].count);
	if (!f || fclose(f))
		qemu_plugin_outs("profile-plugin: cannot write the counts\n");
}

static void *watch(void *arg)
{
	char trigger[4096];
	unsigned int number = 0;

	(void)snprintf(trigger, sizeof(trigger), "%s/trigger", dir);
	for (;; usleep(10000)) {
		if (access(trigger, F_OK))
			continue;
		dump(number++);
		unlink(trigger);
	}
	return arg;
}

__attribute__((visibility("default"))) int
qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv)
{
	pthread_t thread;

	(void)info;
	if (argc == 1 && strncmp(argv[0], "dir=", 4) == 0)
		dir = strdup(argv[0] + 4);
	blocks = calloc(BLOCKS, sizeof(*blocks));
	if (!dir || !blocks || pthread_create(&thread, NULL, watch, NULL)) {
		qemu_plugin_outs("profile-plugin: give dir=DIR\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
