// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-usage - what a running xmasqd holds, seen from outside: memory, descriptors, pins, programs and
 * the entries and bytes of each table. One line of JSON for each sample.
 *
 * Nothing is asked of the daemon: an account that it keeps itself would not show what it forgot. Tables
 * are those pinned in --pins; a program belongs to the daemon when it uses one of these tables, wherever
 * it is attached. bpf(2) is called directly, as in xmt-mprog.c.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TABLES_MAX 32
#define MAPS_MAX   64
#define BATCH	   1024
#define LABEL_LEN  64 /* sizeof(struct xm_label); its first 8 bytes are 0 when it is free */

struct table {
	char name[BPF_OBJ_NAME_LEN + 8];
	int fd;
	uint32_t id, type, key, value, max;
	uint64_t bytes, used;
	bool counted;
};

static struct table tables[TABLES_MAX];
static unsigned int n_tables;

static const char help[] =
	"usage: xmt-usage --pid PID --pins DIR\n"
	"\n"
	"Prints one line of JSON about the xmasqd with this pid: rss_kib, pss_kib, fds, cpu_ms, threads,\n"
	"pins and programs, and for each table its entries (used), max and bytes of kernel memory.\n"
	"\n"
	"Exit status: 0 done, 1 not done, 2 wrong arguments.\n";

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

static uint64_t ptr(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static bool fail(const char *what)
{
	fprintf(stderr, "xmt-usage: %s: %s\n", what, strerror(errno));
	return false;
}

/* The number behind @word in a file of "word number" lines, -1 when there is none. */
static long long number_in(const char *path, const char *word)
{
	FILE *f = fopen(path, "re");
	char line[256];
	long long v = -1;

	if (!f)
		return -1;
	while (v < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, word, strlen(word)))
			v = strtoll(line + strlen(word), NULL, 10);
	fclose(f);
	return v;
}

static long entries_of(const char *path)
{
	DIR *d = opendir(path);
	long n = 0;

	if (!d)
		return -1;
	for (const struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* CPU time of all threads, ms; negative when the process is gone. /proc/PID/stat has 10 ms steps. */
static double cpu_ms(int pid)
{
	unsigned long long ns;
	char path[320];
	double sum = -1;
	DIR *d;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return -1;
	for (const struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, e->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%llu", &ns) == 1)
			sum = (sum < 0 ? 0 : sum) + (double)ns / 1e6;
		if (f)
			fclose(f);
	}
	closedir(d);
	return sum;
}

/* Programs are pinned beside the tables. */
static bool is_map(int fd)
{
	char path[64], what[32] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, what, sizeof(what) - 1) > 0 && strstr(what, "bpf-map");
}

static bool table_open(const char *dir, const char *name)
{
	struct table *t = &tables[n_tables];
	struct bpf_map_info info = {};
	union bpf_attr a = {};
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	a.pathname = ptr(path);
	t->fd = bpf(BPF_OBJ_GET, &a);
	if (t->fd < 0)
		return fail(path);
	if (!is_map(t->fd)) {
		close(t->fd);
		return true;
	}
	memset(&a, 0, sizeof(a));
	a.info.bpf_fd = (uint32_t)t->fd;
	a.info.info_len = sizeof(info);
	a.info.info = ptr(&info);
	if (bpf(BPF_OBJ_GET_INFO_BY_FD, &a))
		return fail(path);
	snprintf(t->name, sizeof(t->name), "%s", name);
	t->id = info.id;
	t->type = info.type;
	t->key = info.key_size;
	t->value = info.value_size;
	t->max = info.max_entries;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", t->fd);
	t->bytes = (uint64_t)number_in(path, "memlock:");
	n_tables++;
	return true;
}

/* The cursor of a hash in a batch is opaque, and never larger than a key or 8 bytes. */
static bool count_hash(struct table *t)
{
	uint8_t *keys = malloc((size_t)BATCH * t->key), *values = malloc((size_t)BATCH * t->value);
	uint64_t cursor[32] = {};
	bool first = true, ok = keys && values;
	union bpf_attr a;
	int ret = 0;

	while (ok && !ret) {
		memset(&a, 0, sizeof(a));
		a.batch.in_batch = first ? 0 : ptr(cursor);
		a.batch.out_batch = ptr(cursor);
		a.batch.keys = ptr(keys);
		a.batch.values = ptr(values);
		a.batch.count = BATCH;
		a.batch.map_fd = (uint32_t)t->fd;
		ret = bpf(BPF_MAP_LOOKUP_BATCH, &a);
		if (ret && errno != ENOENT)
			ok = fail(t->name);
		t->used += a.batch.count;
		first = false;
	}
	free(keys);
	free(values);
	return ok;
}

static bool count_labels(struct table *t)
{
	size_t len = (size_t)t->max * LABEL_LEN;
	const uint8_t *p = mmap(NULL, len, PROT_READ, MAP_SHARED, t->fd, 0);
	uint64_t tag;

	if (p == MAP_FAILED)
		return fail(t->name);
	for (uint32_t i = 0; i < t->max; i++) {
		memcpy(&tag, p + (size_t)i * LABEL_LEN, sizeof(tag));
		t->used += !!tag;
	}
	munmap((void *)(uintptr_t)p, len);
	return true;
}

static bool count(struct table *t)
{
	t->used = 0;
	t->counted = true;
	if (t->type == BPF_MAP_TYPE_HASH || t->type == BPF_MAP_TYPE_LRU_HASH)
		return count_hash(t);
	if (!strcmp(t->name, "xm_labels") && t->value == LABEL_LEN)
		return count_labels(t);
	t->counted = false;
	return true;
}

static bool ours(const uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 0; i < n && i < MAPS_MAX; i++)
		for (unsigned int t = 0; t < n_tables; t++)
			if (tables[t].id == ids[i])
				return true;
	return false;
}

/* Programs that use a table of ours; each is there once, however many interfaces it is attached to. */
static long programs(void)
{
	uint32_t id = 0, maps[MAPS_MAX];
	struct bpf_prog_info info;
	union bpf_attr a;
	long n = 0;
	int fd;

	for (;;) {
		memset(&a, 0, sizeof(a));
		a.start_id = id;
		if (bpf(BPF_PROG_GET_NEXT_ID, &a))
			return errno == ENOENT ? n : -1;
		id = a.next_id;
		memset(&a, 0, sizeof(a));
		a.prog_id = id;
		fd = bpf(BPF_PROG_GET_FD_BY_ID, &a);
		if (fd < 0) /* gone meanwhile */
			continue;
		memset(&info, 0, sizeof(info));
		info.nr_map_ids = MAPS_MAX;
		info.map_ids = ptr(maps);
		memset(&a, 0, sizeof(a));
		a.info.bpf_fd = (uint32_t)fd;
		a.info.info_len = sizeof(info);
		a.info.info = ptr(&info);
		if (!bpf(BPF_OBJ_GET_INFO_BY_FD, &a))
			n += ours(maps, info.nr_map_ids);
		close(fd);
	}
}

static bool report(int pid, const char *pins)
{
	char rollup[64], status[64], fds[64];
	struct timespec now;
	const char *sep = "";
	double cpu = cpu_ms(pid);

	snprintf(rollup, sizeof(rollup), "/proc/%d/smaps_rollup", pid);
	snprintf(status, sizeof(status), "/proc/%d/status", pid);
	snprintf(fds, sizeof(fds), "/proc/%d/fd", pid);
	if (cpu < 0) {
		fprintf(stderr, "xmt-usage: there is no process %d\n", pid);
		return false;
	}
	for (unsigned int i = 0; i < n_tables; i++)
		if (!count(&tables[i]))
			return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("{\"t\":%.1f,\"pid\":%d,\"rss_kib\":%lld,\"pss_kib\":%lld,\"threads\":%lld,\"cpu_ms\":%.3f,"
	       "\"fds\":%ld,\"pins\":%ld,\"programs\":%ld,\"tables\":{",
	       (double)now.tv_sec + (double)now.tv_nsec / 1e9, pid, number_in(status, "VmRSS:"),
	       number_in(rollup, "Pss:"), number_in(status, "Threads:"), cpu, entries_of(fds),
	       entries_of(pins), programs());
	for (unsigned int i = 0; i < n_tables; i++, sep = ",") {
		printf("%s\"%s\":{\"max\":%u,\"bytes\":%llu", sep, tables[i].name, tables[i].max,
		       (unsigned long long)tables[i].bytes);
		if (tables[i].counted)
			printf(",\"used\":%llu", (unsigned long long)tables[i].used);
		printf("}");
	}
	printf("}}\n");
	return !fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct option o[] = {
		{ "help", 0, NULL, 'h' }, { "pid", 1, NULL, 'p' }, { "pins", 1, NULL, 'd' }, { 0 }
	};
	const char *pins = NULL;
	int c, pid = 0;
	DIR *d;

	while ((c = getopt_long(argc, argv, "h", o, NULL)) != -1) {
		switch (c) {
		case 'h':
			fputs(help, stdout);
			return 0;
		case 'p':
			pid = atoi(optarg);
			break;
		case 'd':
			pins = optarg;
			break;
		default:
			fputs(help, stderr);
			return 2;
		}
	}
	if (pid <= 0 || !pins || optind != argc) {
		fputs(help, stderr);
		return 2;
	}
	d = opendir(pins);
	if (!d)
		return !fail(pins);
	for (const struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.' && n_tables < TABLES_MAX && !table_open(pins, e->d_name))
			return 1;
	closedir(d);
	return report(pid, pins) ? 0 : 1;
}
