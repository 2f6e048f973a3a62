// SPDX-License-Identifier: GPL-2.0-only
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "vm-child.h"

static pid_t children[1 + MAX_HELPERS];
static volatile sig_atomic_t count;
static struct termios saved_tty;
static volatile sig_atomic_t tty_is_raw;

void end_children(void)
{
	for (int i = 0; i < count; i++)
		kill(children[i], SIGKILL);
	for (int i = 0; i < count; i++)
		while (waitpid(children[i], NULL, 0) < 0 && errno == EINTR)
			;
	count = 0;
	if (tty_is_raw)
		tcsetattr(STDIN_FILENO, TCSANOW, &saved_tty);
	tty_is_raw = 0;
}

void leave(int rc)
{
	/* A signal that comes now must not try to kill pids that are no longer ours. */
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	end_children();
	exit(rc);
}

void fail(const char *what)
{
	fprintf(stderr, "vm.sh: error: %s: %s\n", what, strerror(errno));
	leave(RC_NO_GUEST);
}

pid_t child_spawn(char *const argv[], const int *fds, int nfds, int log)
{
	pid_t parent = getpid(), pid = fork();
	sigset_t none;
	int null;

	if (pid < 0)
		fail("cannot fork");
	if (pid) {
		children[count++] = pid;
		return pid;
	}
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* Ctrl-C is for this process, which ends the children in order. */
	setpgid(0, 0);
	null = open("/dev/null", O_RDONLY);
	dup2(null, 0);
	dup2(log, 1);
	dup2(log, 2);
	/* Out of the way first: a source may have the number of another's target. */
	for (int i = 0; i < nfds; i++)
		if (dup2(fds[i], 100 + i) < 0)
			_exit(1);
	for (int i = 0; i < nfds; i++)
		dup2(100 + i, 3 + i);
	for (int fd = 3 + nfds; fd < 128; fd++)
		close(fd);
	execvp(argv[0], argv);
	dprintf(2, "cannot run %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

/*
 * The connection to the helper is made before the helper runs, so that nobody else can be first;
 * the name is one that the kernel picks.
 */
int child_helper(const char *command, int log)
{
	char *argv[] = { "sh", "-c", (char *)command, NULL };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(addr);
	int l = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (l < 0 || c < 0 || bind(l, (struct sockaddr *)&addr, sizeof(sa_family_t)) ||
	    getsockname(l, (struct sockaddr *)&addr, &len) || listen(l, 1) ||
	    connect(c, (struct sockaddr *)&addr, len))
		fail("cannot make a socket for a helper");
	child_spawn(argv, &l, 1, log);
	close(l);
	return c;
}

int child_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("cannot wait for QEMU");
	for (int i = 0; i < count; i++)
		if (children[i] == pid)
			children[i] = children[--count];
	return status;
}

void child_raw_terminal(void)
{
	struct termios raw;

	if (tcgetattr(STDIN_FILENO, &saved_tty))
		fail("standard input is no terminal, which 'shell' needs");
	raw = saved_tty;
	cfmakeraw(&raw);
	tty_is_raw = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}
