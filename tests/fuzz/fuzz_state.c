// SPDX-License-Identifier: GPL-2.0-only
/*
 * The two files that xmasqd leaves for its next run: which sysctls it changed, and which qdiscs are its
 * own. A version before this one may have written them, or a disk that was full.
 *
 * What must hold besides: what was read is what is written and read again; no sysctl is written but those
 * that the file names and the caller does; never a path outside /proc/sys.
 *
 * Input: one byte (odd: sysctls), two bytes (what a sysctl is now), then the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdbool.h>
#include <unistd.h>

#include "fuzz.h"
#include "log.h"
#include "netns.h"
#include "statefile.h"

#define OWN_NETNS 4026531840u
#define FD	  9

static char *file;	   /* as it is on the disk, "" when there is none */
static char current[2048]; /* of every sysctl, but for those that do not exist */
static bool writable;
static size_t at;

int statefile_read(const char *dir, const char *name, char **text)
{
	(void)dir;
	(void)name;
	*text = fuzz_text(file, strlen(file));
	return 0;
}

int statefile_write(const char *dir, const char *name, const char *text)
{
	(void)dir;
	(void)name;
	free(file);
	file = fuzz_text(text, strlen(text));
	return 0;
}

void log_write(enum config_log_level level, const char *fmt, ...)
{
	char line[4096];
	va_list ap;

	(void)level;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
}

uint64_t netns_inode(void)
{
	return OWN_NETNS;
}

static int sim_open(const char *path, int flags)
{
	MUST(!strncmp(path, "/proc/sys/", 10) && path[10] && !strstr(path, ".."));
	MUST(path[10] != '/' && !strstr(path, "//"));
	errno = ENOENT;
	if (strstr(path, "none"))
		return -1;
	errno = EACCES;
	if ((flags & O_ACCMODE) == O_WRONLY && !writable)
		return -1;
	at = 0;
	return FD;
}

static ssize_t sim_read(int fd, char *buf, size_t n)
{
	size_t left = strlen(current) - at;

	MUST(fd == FD);
	if (n > left)
		n = left;
	memcpy(buf, current + at, n);
	at += n;
	return (ssize_t)n;
}

static ssize_t sim_write(int fd, const char *buf, size_t n)
{
	MUST(fd == FD && n && n < sizeof(current) && buf[n - 1] == '\n');
	memcpy(current, buf, n - 1);
	current[n - 1] = '\0';
	return (ssize_t)n;
}

static char *sim_indextoname(unsigned int index, char *name)
{
	MUST(index && index <= INT32_MAX);
	snprintf(name, IF_NAMESIZE, "eth%u", index % 100);
	return index % 3 ? name : NULL;
}

#define save		  sysctl_save
#define open(path, flags) sim_open(path, flags)
#define read		  sim_read
#define write		  sim_write
#define close(fd)	  ((void)(fd))
#include "../../user_prog/edge/sysctl.c"
#undef open
#undef read
#undef write
#undef close
/* Both files have names for what is private to them. */
#undef STATE_NAME
#undef save
#define save	       owned_save
#define load	       owned_load
#define if_indextoname sim_indextoname
#include "../../user_prog/edge/tc_owned.c"
#undef save
#undef load

static void same(const struct sysctl *a, const struct sysctl *b)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < a->n; i++) {
		if (!a->v[i]->recorded)
			continue;
		MUST(n < b->n);
		MUST(a->v[i]->kind == b->v[n]->kind && !strcmp(a->v[i]->name, b->v[n]->name));
		MUST(!strcmp(a->v[i]->word, b->v[n]->word));
		MUST(!strcmp(a->v[i]->before, b->v[n]->before));
		n++;
	}
	MUST(n == b->n);
}

static void sysctls(const char *now)
{
	static const char liberal[] = "net.netfilter.nf_conntrack_tcp_be_liberal";
	static const char reserved[] = "net.ipv4.ip_local_reserved_ports";
	struct sysctl *s, *again;
	struct sysctl_view v;
	bool earlier;
	int err;

	MUST(!sysctl_open(&s, "/state"));
	MUST(s->n <= ENTRIES_MAX);
	for (unsigned int i = 0; i < s->n; i++) {
		MUST(s->v[i]->recorded && s->v[i]->earlier && *s->v[i]->name && *s->v[i]->word);
		MUST(sysctl_view(s, i, &v) && v.name == s->v[i]->name);
	}
	MUST(!sysctl_view(s, s->n, &v));
	err = sysctl_manage(s, liberal, "1");
	if (!err)
		MUST(!strcmp(current, "1"));
	/* Of those that were right before there is no record. */
	if (!err && sysctl_recorded(s, liberal, &earlier) && !earlier)
		MUST(writable && strcmp(now, "1") != 0);
	MUST(!sysctl_save(s));
	MUST(!sysctl_open(&again, "/state"));
	same(s, again);
	sysctl_close(again);
	strcpy(current, now);
	(void)sysctl_manage_port(s, reserved, 18477);
	MUST(!sysctl_save(s) && !sysctl_open(&again, "/state"));
	same(s, again);
	sysctl_close(again);
	/* Put back as far as it can be; what is left is known to the next run. */
	if (!sysctl_restore(s, NULL))
		MUST(!s->n && !*file);
	sysctl_close(s);
}

static void qdiscs(void)
{
	struct tc_owned o, again;

	MUST(!tc_owned_open(&o, "/state"));
	for (size_t i = 0; i < o.n; i++) {
		MUST(o.v[i].netns && o.v[i].ifindex && o.v[i].ifindex <= INT32_MAX);
		MUST(o.v[i].netns != OWN_NETNS || o.v[i].ifindex % 3);
		for (size_t j = 0; j < i; j++)
			MUST(o.v[i].netns != o.v[j].netns || o.v[i].ifindex != o.v[j].ifindex);
	}
	tc_owned_add(&o, OWN_NETNS, 4);
	MUST(tc_owned_has(&o, OWN_NETNS, 4) && tc_owned_has(&o, OWN_NETNS, 0));
	/* Even when all of it was there before: as if a qdisc came. */
	owned_save(&o);
	MUST(!tc_owned_open(&again, "/state"));
	MUST(again.n == o.n && !memcmp(again.v, o.v, o.n * sizeof(*o.v)));
	tc_owned_close(&again);
	tc_owned_del(&o, OWN_NETNS, 0);
	MUST(!tc_owned_has(&o, OWN_NETNS, 0));
	while (o.n)
		tc_owned_del(&o, o.v[0].netns, 0);
	MUST(!*file);
	tc_owned_close(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const values[] = { "0",	    "1",	   "", "18477", "1-65535",
					      "80,443-500", "18476-18478", "x" };
	struct fuzz_in in = { data, size };
	uint8_t what = fuzz_u8(&in), now = fuzz_u8(&in);

	writable = fuzz_u8(&in) & 1;
	file = fuzz_text(in.p, in.left);
	strcpy(current, values[now % (sizeof(values) / sizeof(values[0]))]);
	if (what & 1)
		sysctls(values[now % (sizeof(values) / sizeof(values[0]))]);
	else
		qdiscs();
	free(file);
	file = NULL;
	return 0;
}
