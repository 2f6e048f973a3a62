// SPDX-License-Identifier: GPL-2.0-only
/*
 * vm-host.c - the host's side of vm.sh: runs QEMU, talks to vm-guest.c in it, tells how it ended.
 *
 *   vm-host [-t SECONDS] [-v] [-s] [-d] [-i] [-c FILE] [-h HELPER]... [-r RECORD]... -- QEMU...
 *
 *   -t  time limit                          -v  the console on stderr while it runs
 *   -s  a complaint of the kernel is fatal  -d  die with the parent
 *   -i  terminal: keys to the guest         -c  keep the console's output in FILE
 *   -h  shell command of a daemon that serves QEMU on a listening socket (fd 3)
 *   -r  one record of the request (see vm-proto.h)
 *   -T  print the frequency of this machine's time stamp counter in kHz, and exit
 *
 * QEMU gets sockets: fd 3 to the guest's port, fd 4 for the console, fd 5 and up to the helpers.
 * Nothing here has a name in the file system, and each child asks to be killed when this
 * process dies, so that nothing stays behind however it ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "vm-proto.h"
#include "vm-console.h"
#include "vm-child.h"
#include "vm-tsc.h"

#define KEY_LEAVE 0x1d /* Ctrl-] */

static struct {
	int timeout, verbose, strict, die_with_parent, tty;
	const char *helper[MAX_HELPERS];
	int helpers;
} opt;

static int up; /* the guest runs the command */

static char *outbuf; /* for the guest: it reads when it is ready */
static size_t outlen;

/* ---- the end ---- */

static void on_signal(int sig)
{
	end_children();
	if (sig == SIGALRM) {
		console_say("the time limit (--timeout) is over: the machine was stopped\n");
		console_tail(STDERR_FILENO, 15);
		_exit(RC_TIMEOUT);
	}
	_exit(128 + sig);
}

/* ---- to the guest ---- */

static void queue(uint8_t type, const void *data, uint32_t len)
{
	struct vm_frame f = { .type = type, .len = len };

	outbuf = realloc(outbuf, outlen + sizeof(f) + len);
	if (!outbuf)
		fail("no memory");
	memcpy(outbuf + outlen, &f, sizeof(f));
	memcpy(outbuf + outlen + sizeof(f), data, len);
	outlen += sizeof(f) + len;
}

static void flush_queue(int fd)
{
	ssize_t n = send(fd, outbuf, outlen, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0) {
		outlen -= n;
		memmove(outbuf, outbuf + n, outlen);
	}
}

static void queue_winsize(void)
{
	struct winsize ws;

	if (!ioctl(STDIN_FILENO, TIOCGWINSZ, &ws) && ws.ws_row)
		queue(VM_WINSIZE, (uint16_t[]){ ws.ws_row, ws.ws_col }, 2 * sizeof(uint16_t));
}

static volatile sig_atomic_t resized;
static void on_winch(int sig)
{
	(void)sig;
	resized = 1;
}

static void take_keys(void)
{
	char keys[1024];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	if (n < 0 && errno == EINTR)
		return;
	if (n <= 0 || memchr(keys, KEY_LEAVE, n)) {
		end_children();
		fprintf(stderr, "\nvm.sh: left the machine; it was stopped\n");
		leave(0);
	}
	queue(VM_INPUT, keys, n);
}

/* ---- from the guest ---- */

/* Standard output may be a terminal or pipe that somebody made non-blocking. */
static void write_all(int fd, const char *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n >= 0) {
			p += n;
			len -= n;
		} else if (errno == EAGAIN) {
			poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, -1);
		} else if (errno != EINTR) {
			fprintf(stderr, "vm.sh: error: cannot write the command's output: %s\n",
				strerror(errno));
			leave(RC_NO_GUEST);
		}
	}
}

/* The command is done; what the kernel said about it may matter more than its status. */
static void __attribute__((noreturn)) finish(int32_t status)
{
	if (console_complaints()) {
		console_say("the guest's kernel complained: ");
		console_say_more(console_first_complaint());
		if (opt.strict) {
			console_tail(STDERR_FILENO, 60);
			leave(RC_TROUBLE);
		}
	}
	leave(status);
}

static void take_frame(const struct vm_frame *f, const char *data)
{
	int32_t status;

	switch (f->type) {
	case VM_UP:
		up = 1;
		break;
	case VM_STDOUT:
	case VM_STDERR:
		write_all(f->type == VM_STDOUT ? STDOUT_FILENO : STDERR_FILENO, data, f->len);
		break;
	case VM_FAIL:
		fprintf(stderr, "vm.sh: error: the guest %.*s\n", (int)f->len, data);
		console_tail(STDERR_FILENO, 15);
		leave(RC_NO_GUEST);
	case VM_EXIT:
		memcpy(&status, data, sizeof(status));
		console_drain();
		finish(status);
	}
}

/* Returns 0 at the end of file: QEMU is gone. */
static int take_frames(int fd)
{
	static char buf[2 * (sizeof(struct vm_frame) + VM_DATA_MAX)];
	static size_t have;
	struct vm_frame f;
	size_t used = 0;
	ssize_t n = recv(fd, buf + have, sizeof(buf) - have, MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 && (errno == EAGAIN || errno == EINTR);
	have += n;
	while (have - used >= sizeof(f)) {
		memcpy(&f, buf + used, sizeof(f));
		if (f.len > VM_DATA_MAX) {
			fprintf(stderr, "vm.sh: error: the guest sent garbage\n");
			leave(RC_NO_GUEST);
		}
		if (have - used < sizeof(f) + f.len)
			break;
		take_frame(&f, buf + used + sizeof(f));
		used += sizeof(f) + f.len;
	}
	have -= used;
	memmove(buf, buf + used, have);
	return 1;
}

/* QEMU ended before the command did. */
static void __attribute__((noreturn)) explain(int status, int qemu_log)
{
	char buf[4096];
	ssize_t n = recv(qemu_log, buf, sizeof(buf), MSG_DONTWAIT);

	end_children();
	console_drain();
	if (console_panic()) {
		console_say("the guest's kernel panicked: ");
		console_say_more(console_panic());
		console_tail(STDERR_FILENO, 40);
		leave(RC_TROUBLE);
	}
	if (WIFSIGNALED(status))
		fprintf(stderr, "vm.sh: error: QEMU was killed by signal %d (%s)\n",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		fprintf(stderr, "vm.sh: error: QEMU failed (status %d):\n", WEXITSTATUS(status));
	else
		fprintf(stderr, "vm.sh: error: the guest stopped or restarted before %s\n",
			up ? "the command ended" : "it could run the command");
	if (n > 0 && (WIFSIGNALED(status) || WEXITSTATUS(status)))
		write_all(STDERR_FILENO, buf, n);
	console_tail(STDERR_FILENO, 15);
	leave(RC_NO_GUEST);
}

/* ---- main ---- */

static void set_signals(void)
{
	static const int fatal[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM };
	struct sigaction sa = { .sa_handler = on_signal };

	/* One at a time: the handler waits for the children. */
	sigfillset(&sa.sa_mask);
	for (unsigned int i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
		sigaction(fatal[i], &sa, NULL);
	sa.sa_handler = on_winch;
	sigaction(SIGWINCH, &sa, NULL);
}

/* Options into @opt and the request into the queue; returns QEMU's command. */
static char **options(int argc, char **argv)
{
	static char request[VM_REQUEST_MAX];
	const char *console = NULL;
	size_t len = 0, n;
	int c;

	while ((c = getopt(argc, argv, "+t:vsdic:h:r:T")) != -1) {
		switch (c) {
		case 't':
			opt.timeout = atoi(optarg);
			break;
		case 'v':
			opt.verbose = 1;
			break;
		case 's':
			opt.strict = 1;
			break;
		case 'd':
			opt.die_with_parent = 1;
			break;
		case 'i':
			opt.tty = 1;
			break;
		case 'c':
			console = optarg;
			break;
		case 'h':
			if (opt.helpers == MAX_HELPERS)
				exit(RC_NO_GUEST);
			opt.helper[opt.helpers++] = optarg;
			break;
		case 'r':
			n = strlen(optarg) + 1;
			if (len + n > sizeof(request)) {
				fprintf(stderr, "vm.sh: error: the command is longer than %d KiB\n",
					VM_REQUEST_MAX / 1024);
				exit(RC_NO_GUEST);
			}
			memcpy(request + len, optarg, n);
			len += n;
			break;
		case 'T':
			exit(tsc_print_khz());
		default:
			exit(RC_NO_GUEST);
		}
	}
	if (!argv[optind]) {
		fprintf(stderr, "vm-host: no command\n");
		exit(RC_NO_GUEST);
	}
	if (console_open(console, opt.verbose)) {
		fprintf(stderr, "vm.sh: error: cannot write %s: %s\n", console, strerror(errno));
		exit(RC_NO_GUEST);
	}
	queue(VM_REQUEST, request, len);
	return argv + optind;
}

static void pair(int p[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p))
		fail("cannot make a socket");
}

int main(int argc, char **argv)
{
	int fds[2 + MAX_HELPERS], guest[2], con[2], log[2];
	struct pollfd p[3];
	char **qemu = options(argc, argv);
	sigset_t all, old;
	pid_t qemu_pid;

	if (opt.die_with_parent)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	pair(guest);
	pair(con);
	pair(log);
	set_signals();

	/* No signal between a fork and the moment its pid is known. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	for (int i = 0; i < opt.helpers; i++)
		fds[2 + i] = child_helper(opt.helper[i], log[1]);
	fds[0] = guest[1];
	fds[1] = con[1];
	qemu_pid = child_spawn(qemu, fds, 2 + opt.helpers, log[1]);
	for (int i = 0; i < 2 + opt.helpers; i++)
		close(fds[i]);
	close(log[1]);
	console_fd(con[0]);
	if (opt.tty) {
		child_raw_terminal();
		queue_winsize();
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	alarm(opt.timeout);

	for (;;) {
		p[0] = (struct pollfd){ .fd = guest[0], .events = POLLIN | (outlen ? POLLOUT : 0) };
		p[1] = (struct pollfd){ .fd = con[0], .events = POLLIN };
		/* A guest that does not read must not fill this process's memory. */
		p[2] = (struct pollfd){ .fd = opt.tty && outlen < VM_DATA_MAX ? STDIN_FILENO : -1,
					.events = POLLIN };
		/* QEMU's death closes its end. */
		if (poll(p, 3, -1) < 0 && errno != EINTR)
			fail("poll");
		if (resized) {
			resized = 0;
			queue_winsize();
		}
		if (p[1].revents & POLLIN)
			console_take();
		if (p[0].revents & (POLLIN | POLLHUP | POLLERR) && !take_frames(guest[0]))
			break;
		if (p[0].revents & POLLOUT)
			flush_queue(guest[0]);
		if (p[2].revents)
			take_keys();
	}
	explain(child_wait(qemu_pid), log[0]);
}
