// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-cpu - run a command and say how much CPU time it cost, its servers included.
 *
 * Theory of operation
 *
 * A packet between network namespaces is carried from end to end in the context of whoever
 * sent it: sending, softirqs and receiving all run before the sender's system call returns.
 * The scheduler's account of client and server (/proc/PID/schedstat, in ns) is therefore the
 * cost of the whole path, and unlike busy time of the machine (/proc/stat) it holds nothing
 * of what other people run. Four things to know:
 *
 *  - ksoftirqd takes over under load: give its threads with --pids too.
 *  - A server may have a process for each client, which ends with it: --tree adds descendants,
 *    those that ended by what their parents were told of them (in ticks of the clock, 10 ms),
 *    once there are no more of them than before the command.
 *  - With CONFIG_IRQ_TIME_ACCOUNTING softirqs are on nobody's account; --softirq adds those
 *    of the whole machine.
 *  - Busy time of the machine is reported beside it, for comparison.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PIDS  256
#define MAX_PROCS 32768
#define SETTLE_S  5.0

static const char help[] =
	"usage: xmt-cpu --out FILE [--pids PID,...] [--tree PID,...] [--also PID,...] [--softirq]\n"
	"               -- COMMAND...\n"
	"\n"
	"Runs COMMAND and writes one line of JSON to FILE, times in seconds: wall, command,\n"
	"pids (of --pids and --tree; --tree: and their descendants), also (of --also), softirq (of\n"
	"the machine), machine (all but idle), cpu (command + pids, and softirq with --softirq).\n"
	"The exit status is COMMAND's.\n";

struct pid_list {
	int pid[MAX_PIDS], n;
};

static struct pid_list pids, trees, also;

struct sample {
	double wall, pids, also, softirq, busy;
	int descendants;
};

struct proc {
	int pid, parent;
	double ended; /* CPU time of its children that are gone */
	bool in;
};

/* Time on CPU of all threads of @pid in seconds; 0 when it is gone. */
static double pid_cpu(int pid)
{
	unsigned long long ns, sum = 0;
	char path[320];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	if (!d)
		return 0;
	while ((e = readdir(d))) {
		FILE *f;

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &ns) == 1)
			sum += ns;
		fclose(f);
	}
	closedir(d);
	return (double)sum / 1e9;
}

static double list_cpu(const struct pid_list *l)
{
	double sum = 0;

	for (int i = 0; i < l->n; i++)
		sum += pid_cpu(l->pid[i]);
	return sum;
}

/* The line of /proc/PID/stat; false when the process is gone. */
static bool proc_read(const char *name, struct proc *p)
{
	unsigned long long ut, st;
	char path[300], line[1024];
	const char *s;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/stat", name);
	f = fopen(path, "re");
	if (!f)
		return false;
	/* A name may hold anything, parentheses included. */
	s = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	if (!s || sscanf(s + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %llu %llu",
			 &p->parent, &ut, &st) != 3)
		return false;
	p->pid = (int)strtol(name, NULL, 10);
	p->ended = (double)(ut + st) / (double)sysconf(_SC_CLK_TCK);
	p->in = false;
	return true;
}

static int procs_read(struct proc *all)
{
	struct dirent *e;
	DIR *d = opendir("/proc");
	int n = 0;

	if (!d)
		return -errno;
	while ((e = readdir(d)) && n < MAX_PROCS)
		if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && proc_read(e->d_name, &all[n]))
			n++;
	closedir(d);
	return n;
}

/* The processes of --tree with all their descendants: CPU time, and in @count how many. */
static double tree_cpu(int *count)
{
	static struct proc all[MAX_PROCS];
	int n = procs_read(all);
	bool more = true;
	double sum = 0;

	for (int i = 0; i < n; i++)
		for (int t = 0; t < trees.n; t++)
			all[i].in |= all[i].pid == trees.pid[t];
	while (more) {
		more = false;
		for (int i = 0; i < n; i++)
			for (int j = 0; j < n && !all[i].in; j++)
				if (all[j].in && all[j].pid == all[i].parent)
					more = all[i].in = true;
	}
	*count = 0;
	for (int i = 0; i < n; i++) {
		if (!all[i].in)
			continue;
		++*count;
		sum += pid_cpu(all[i].pid) + all[i].ended;
	}
	return sum;
}

/* First line of /proc/stat: user nice system idle iowait irq softirq steal. */
static int machine_cpu(struct sample *s)
{
	double hz = (double)sysconf(_SC_CLK_TCK);
	unsigned long long v[8];
	FILE *f = fopen("/proc/stat", "re");
	int n;

	if (!f)
		return -errno;
	n = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3],
		   &v[4], &v[5], &v[6], &v[7]);
	fclose(f);
	if (n != 8)
		return -EINVAL;
	s->softirq = (double)(v[5] + v[6]) / hz;
	s->busy = (double)(v[0] + v[1] + v[2]) / hz + s->softirq;
	return 0;
}

static int sample_take(struct sample *s)
{
	struct timespec ts;

	memset(s, 0, sizeof(*s));
	clock_gettime(CLOCK_MONOTONIC, &ts);
	s->wall = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
	s->pids = list_cpu(&pids);
	s->also = list_cpu(&also);
	if (trees.n)
		s->pids += tree_cpu(&s->descendants);
	return machine_cpu(s);
}

/* A server's processes for the command's connections are about to end. */
static int sample_settled(struct sample *s, const struct sample *before)
{
	struct sample first;
	int err = sample_take(&first);

	if (err)
		return err;
	*s = first;
	while (!err && s->descendants > before->descendants && s->wall < first.wall + SETTLE_S) {
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
		err = sample_take(s);
	}
	/* Their parent may have been looked at before it knew of them, and they after. */
	if (!err && trees.n)
		err = sample_take(s);
	if (!err && s->descendants > before->descendants)
		fprintf(stderr, "xmt-cpu: %d processes of the servers have not ended\n",
			s->descendants - before->descendants);
	s->wall = first.wall;
	s->busy = first.busy;
	s->softirq = first.softirq;
	return err;
}

static int parse_pids(char *list, struct pid_list *to)
{
	char *save = NULL, *end;

	for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		long pid = strtol(w, &end, 10);

		if (*end || pid <= 0 || pid > INT32_MAX || to->n == MAX_PIDS)
			return -EINVAL;
		to->pid[to->n++] = (int)pid;
	}
	return 0;
}

/* Runs @argv; 0 and the wait status, or -errno. */
static int run(char **argv, int *status, double *cpu)
{
	struct rusage ru;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		execvp(argv[0], argv);
		fprintf(stderr, "xmt-cpu: %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	while (wait4(pid, status, 0, &ru) < 0)
		if (errno != EINTR)
			return -errno;
	*cpu = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
	return 0;
}

static int report(const char *path, const struct sample *a, const struct sample *b, double command,
		  bool softirq)
{
	double p = b->pids - a->pids, si = b->softirq - a->softirq;
	FILE *f = fopen(path, "we");

	if (!f)
		return -errno;
	fprintf(f,
		"{\"wall\":%.6f,\"command\":%.6f,\"pids\":%.6f,\"also\":%.6f,\"softirq\":%.2f,"
		"\"machine\":%.2f,\"cpu\":%.6f}\n",
		b->wall - a->wall, command, p, b->also - a->also, si, b->busy - a->busy,
		command + p + (softirq ? si : 0));
	return fclose(f) ? -errno : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "out", required_argument, NULL, 'o' },
		{ "pids", required_argument, NULL, 'p' },
		{ "tree", required_argument, NULL, 't' },
		{ "also", required_argument, NULL, 'a' },
		{ "softirq", no_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct sample before, after;
	const char *out = NULL;
	bool softirq = false;
	double command = 0;
	int c, status = 0, err;

	while ((c = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		switch (c) {
		case 'o':
			out = optarg;
			break;
		case 'p':
		case 't':
		case 'a':
			if (!parse_pids(optarg, c == 'p' ? &pids : c == 't' ? &trees : &also))
				break;
			fprintf(stderr,
				"xmt-cpu: --pids, --tree, --also: give up to %d process ids\n",
				MAX_PIDS);
			return 2;
		case 's':
			softirq = true;
			break;
		case 'h':
			fputs(help, stdout);
			return 0;
		default:
			fputs(help, stderr);
			return 2;
		}
	}
	if (!out || optind == argc) {
		fputs(help, stderr);
		return 2;
	}
	err = sample_take(&before);
	if (!err)
		err = run(argv + optind, &status, &command);
	if (!err)
		err = sample_settled(&after, &before);
	if (!err)
		err = report(out, &before, &after, command, softirq);
	if (err) {
		fprintf(stderr, "xmt-cpu: %s\n", strerror(-err));
		return 1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
