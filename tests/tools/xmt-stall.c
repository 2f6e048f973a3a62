// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-stall - tell when the machine stood still.
 *
 * One thread on each CPU wakes every 5 ms. When it wakes late, neither a test nor what it
 * tests ran on time there, and a bound in milliseconds says nothing: a line "END LENGTH CPU" is
 * written, in milliseconds of CLOCK_MONOTONIC. tests/run.sh runs a test that failed meanwhile
 * once more.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PERIOD_MS 5

static int64_t limit_ms;

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void *watch(void *arg)
{
	const struct timespec period = { .tv_nsec = PERIOD_MS * 1000000L };
	long cpu = (long)(intptr_t)arg;
	int64_t before = now_ms(), now;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (pthread_setaffinity_np(pthread_self(), sizeof(set), &set))
		return NULL;
	for (;;) {
		nanosleep(&period, NULL);
		now = now_ms();
		if (now - before > limit_ms) {
			printf("%lld %lld %ld\n", (long long)now, (long long)(now - before), cpu);
			fflush(stdout);
		}
		before = now;
	}
}

int main(int argc, char **argv)
{
	long n = sysconf(_SC_NPROCESSORS_CONF);
	char *end = "";

	if (argc == 2 && !strcmp(argv[1], "--now")) {
		printf("%lld\n", (long long)now_ms());
		return 0;
	}
	if (argc == 2)
		limit_ms = strtol(argv[1], &end, 10);
	if (argc != 2 || *end || limit_ms < 2 * PERIOD_MS) {
		fputs("usage: xmt-stall MS     write a line for each time a CPU stood still longer\n"
		      "       xmt-stall --now  the clock of these lines\n",
		      stderr);
		return 2;
	}
	for (long cpu = 0; cpu < n; cpu++) {
		pthread_t t;
		int err = pthread_create(&t, NULL, watch, (void *)(intptr_t)cpu);

		if (err) {
			fprintf(stderr, "xmt-stall: cannot start a thread: %s\n", strerror(err));
			return 1;
		}
	}
	for (;;)
		pause();
}
