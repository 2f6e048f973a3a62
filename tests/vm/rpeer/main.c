// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-rpeer - test bpf_redirect_rpeer() of the running kernel, as root. TAP on stdout.
 *
 * It is meant for a virtual machine (scripts/vm.sh), but makes everything in namespaces of its own
 * and takes it away again, so it does no harm elsewhere.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bed.h"
#include "suites.h"
#include "tap.h"

static const char help[] =
	"usage: xmt-rpeer [--rounds N] [good|refused|token|tsq|churn|absent]...\n"
	"\n"
	"Tests bpf_redirect_rpeer(); default: all but 'absent', which is for a kernel without it.\n"
	"  --rounds N  pods of the churn test (default 10000, or $RPEER_ROUNDS)\n"
	"\n"
	"Exit status: 0 all passed, 1 something failed, 2 wrong arguments, 3 it cannot run here.\n";

/* What a kernel says when something is broken in it. */
static const char *const bad_words[] = {
	"BUG:",
	"WARNING:",
	"Oops",
	"KASAN",
	"UBSAN",
	"KCSAN",
	"possible circular locking",
	"possible recursive locking",
	"inconsistent lock state",
	"suspicious RCU",
	"refcount_t",
	"unregister_netdevice: waiting",
	"general protection",
	"blocked for more than",
	"rcu_preempt detected stalls",
	"self-detected stall",
	"leaked",
};

static int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

static void kmsg_check(int fd)
{
	char line[8192];
	unsigned int i;
	ssize_t n;

	tap_case("the kernel has nothing to complain about");
	if (!CHECK(fd >= 0, "/dev/kmsg cannot be read"))
		return;
	/* What is freed late is found late. */
	sleep(2);
	while ((n = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		if (n <= 0)
			continue;
		line[n] = '\0';
		for (i = 0; i < sizeof(bad_words) / sizeof(bad_words[0]); i++)
			if (strstr(line, bad_words[i])) {
				char *text = strchr(line, ';');

				tap_fail("%.200s", text ? text + 1 : line);
				break;
			}
	}
}

int main(int argc, char **argv)
{
	static const char *const all[] = { "good", "refused", "token", "tsq", "churn" };
	const char *const *suites = all;
	const char *rounds = getenv("RPEER_ROUNDS");
	unsigned long n = rounds ? strtoul(rounds, NULL, 10) : 10000;
	int i, count = 5, arg = 1, kmsg;

	if (arg + 1 < argc && strcmp(argv[arg], "--rounds") == 0) {
		n = strtoul(argv[arg + 1], NULL, 10);
		arg += 2;
	}
	if (arg < argc) {
		suites = (const char *const *)argv + arg;
		count = argc - arg;
	}
	if (n == 0 || n > 1000000 || argv[arg - 1][0] == '-') {
		fputs(help, stderr);
		return 2;
	}
	if (bed_init(argv[0]))
		return 3;
	for (i = 0; i < count; i++) {
		bool absent = strcmp(suites[i], "absent") == 0;

		if (suites[i][0] == '-' ||
		    !strstr(" good refused token tsq churn absent ", suites[i])) {
			fputs(help, stderr);
			return 2;
		}
		if (bed_has_kfunc() == absent) {
			fprintf(stderr, "xmt-rpeer: %s: this kernel has %sbpf_redirect_rpeer()\n",
				suites[i], absent ? "" : "no ");
			return 3;
		}
	}

	kmsg = kmsg_open();
	for (i = 0; i < count; i++) {
		if (strcmp(suites[i], "good") == 0)
			suite_good();
		else if (strcmp(suites[i], "refused") == 0)
			suite_refused();
		else if (strcmp(suites[i], "token") == 0)
			suite_token();
		else if (strcmp(suites[i], "tsq") == 0)
			suite_tsq();
		else if (strcmp(suites[i], "churn") == 0)
			suite_churn((unsigned int)n);
		else
			suite_absent();
		bed_down();
	}
	kmsg_check(kmsg);
	return tap_done() ? 1 : 0;
}
