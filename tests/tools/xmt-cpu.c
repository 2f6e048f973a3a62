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
 * of what other people run. Three things to know:
 *
 *  - ksoftirqd takes over under load: give its threads with --pids too.
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

#define MAX_PIDS 256

static const char help[] =
	"usage: xmt-cpu --out FILE [--pids PID,...] [--softirq] -- COMMAND...\n"
	"\n"
	"Runs COMMAND and writes one line of JSON to FILE, times in seconds: wall, command,\n"
	"pids, softirq (of the machine), machine (all but idle), cpu (command + pids, and\n"
	"softirq with --softirq). The exit status is COMMAND's.\n";

static int pids[MAX_PIDS], npids;

struct sample {
	double wall, pids, softirq, busy;
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

	clock_gettime(CLOCK_MONOTONIC, &ts);
	s->wall = (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
	s->pids = 0;
	for (int i = 0; i < npids; i++)
		s->pids += pid_cpu(pids[i]);
	return machine_cpu(s);
}

static int parse_pids(char *list)
{
	char *save = NULL, *end;

	for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		long pid = strtol(w, &end, 10);

		if (*end || pid <= 0 || pid > INT32_MAX || npids == MAX_PIDS)
			return -EINVAL;
		pids[npids++] = (int)pid;
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
		"{\"wall\":%.6f,\"command\":%.6f,\"pids\":%.6f,\"softirq\":%.2f,\"machine\":%.2f,"
		"\"cpu\":%.6f}\n",
		b->wall - a->wall, command, p, si, b->busy - a->busy,
		command + p + (softirq ? si : 0));
	return fclose(f) ? -errno : 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "out", required_argument, NULL, 'o' },
		{ "pids", required_argument, NULL, 'p' },
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
			if (!parse_pids(optarg))
				break;
			fprintf(stderr, "xmt-cpu: --pids: give up to %d process ids\n", MAX_PIDS);
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
		err = sample_take(&after);
	if (!err)
		err = report(out, &before, &after, command, softirq);
	if (err) {
		fprintf(stderr, "xmt-cpu: %s\n", strerror(-err));
		return 1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
