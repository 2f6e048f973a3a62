// SPDX-License-Identifier: GPL-2.0-only
/*
 * vm-guest.c - the guest's first process: makes a root, runs one command, reports.
 *
 * Theory of operation: it is the only program of the initramfs. It loads the modules it finds in
 * /m (a distribution kernel has its drivers there; a kernel of ours has none), takes its request
 * from the host over a virtio-serial port, lays a tmpfs over the shared root, and runs the
 * command with two pipes (or a pseudo-terminal) for output, which it forwards in frames.
 * A program of its own, rather than a shell with tools: under emulation each exec costs tens of
 * milliseconds, and boot time is most of what a short test takes. The command gets pipes, not
 * the port, so that it can open /dev/stdout and leave daemons behind.
 *
 * When the command ends, all processes that are left are killed, the pipes drained and the exit
 * status is sent; the host then ends the machine.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "vm-proto.h"
#include "vm-guest.h"

#define PORT_WAIT_MS 20000
#define DRAIN_MS     2000 /* for output of a process that does not die */

struct request req;
static int port = -1;

static void write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return;
		if (n > 0) {
			p += n;
			len -= n;
		}
	}
}

/* One write for each frame: two would cost two trips to the host. */
static void send_frame(uint8_t type, const void *data, uint32_t len)
{
	static char buf[sizeof(struct vm_frame) + VM_DATA_MAX];
	struct vm_frame *f = (struct vm_frame *)buf;

	*f = (struct vm_frame){ .type = type, .len = len };
	memcpy(buf + sizeof(*f), data, len);
	write_all(port, buf, sizeof(*f) + len);
}

static void wait_for_the_end(void)
{
	for (;;)
		pause();
}

/* The host ends the machine when it reads this; without a port only the kernel's panic is left. */
void die(const char *fmt, ...)
{
	char msg[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(msg) - 1)
		n = sizeof(msg) - 1;
	if (port >= 0) {
		send_frame(VM_FAIL, msg, n);
		wait_for_the_end();
	}
	dprintf(STDERR_FILENO, "vm-guest: %s\n", msg);
	exit(1);
}

/* There is no udev to make /dev/virtio-ports: find the port by its name in sysfs. */
static int find_port(void)
{
	const char *class = "/sys/class/virtio-ports";
	DIR *dir = opendir(class);
	struct dirent *e;
	int fd = -1;

	while (dir && fd < 0 && (e = readdir(dir))) {
		char path[600], name[64] = "";
		FILE *f;

		snprintf(path, sizeof(path), "%s/%s/name", class, e->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fgets(name, sizeof(name), f) && !strcmp(name, VM_PORT "\n")) {
			snprintf(path, sizeof(path), "/dev/%s", e->d_name);
			fd = open(path, O_RDWR | O_CLOEXEC);
		}
		fclose(f);
	}
	if (dir)
		closedir(dir);
	return fd;
}

static void open_port(void)
{
	for (int ms = 0; ms < PORT_WAIT_MS; ms++) {
		port = find_port();
		if (port >= 0)
			return;
		usleep(1000);
	}
	die("no virtio-serial port '" VM_PORT "': the kernel needs CONFIG_VIRTIO_PCI and "
	    "CONFIG_VIRTIO_CONSOLE");
}

static void read_all(void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(port, p, len);

		if (n > 0) {
			p += n;
			len -= n;
		} else {
			usleep(1000); /* the host is not connected yet */
		}
	}
}

static void read_request(void)
{
	struct vm_frame f;
	char *buf, *p, *end;

	read_all(&f, sizeof(f));
	if (f.type != VM_REQUEST || f.len > VM_REQUEST_MAX)
		die("the request is garbled");
	buf = malloc(f.len + 1);
	if (!buf)
		die("no memory for the request: give the machine more with --mem");
	read_all(buf, f.len);
	buf[f.len] = 0;
	end = buf + f.len;
	for (p = buf; p < end; p += strlen(p) + 1) {
		char *text = p + 1;

		if (req.argc == MAX_WORDS || req.envc == MAX_WORDS)
			die("the command or its environment has more than %d words", MAX_WORDS);
		switch (*p) {
		case VM_REC_ARG:
			req.argv[req.argc++] = text;
			break;
		case VM_REC_ENV:
			req.env[req.envc++] = text;
			break;
		case VM_REC_KEEP:
			if (req.keepc < MAX_KEEP)
				req.keep[req.keepc++] = text;
			break;
		case VM_REC_CWD:
			req.cwd = text;
			break;
		case VM_REC_FS:
			req.fs = text;
			break;
		case VM_REC_SHARE:
			req.share = text;
			break;
		case VM_REC_TREE:
			req.tree = text;
			break;
		case VM_REC_OUT:
			req.out = 1;
			break;
		case VM_REC_TTY:
			req.tty = 1;
			break;
		}
	}
	if (!req.argc || !req.cwd || !req.fs || !req.share)
		die("the request is incomplete");
}

/* Pipes or a pseudo-terminal: @ours[] are the ends to read, @theirs[] the command's. */
static void make_channels(int ours[2], int theirs[3])
{
	int p[2];

	if (req.tty) {
		int unlock = 0, n;
		char name[32];

		ours[0] = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (ours[0] < 0 || ioctl(ours[0], TIOCSPTLCK, &unlock) ||
		    ioctl(ours[0], TIOCGPTN, &n))
			die("cannot make a terminal: %s", strerror(errno));
		snprintf(name, sizeof(name), "/dev/pts/%d", n);
		theirs[0] = theirs[1] = theirs[2] = open(name, O_RDWR | O_NOCTTY);
		ours[1] = -1;
	} else {
		theirs[0] = open("/dev/null", O_RDONLY);
		for (int i = 0; i < 2; i++) {
			if (pipe2(p, O_CLOEXEC))
				die("cannot make a pipe: %s", strerror(errno));
			ours[i] = p[0];
			theirs[i + 1] = p[1];
		}
	}
	if (theirs[0] < 0)
		die("cannot open the command's input: %s", strerror(errno));
}

static void __attribute__((noreturn)) exec_command(void)
{
	const char *what = "change to", *name = req.cwd;
	int err;

	if (!chdir(req.cwd)) {
		what = "run";
		name = req.argv[0];
		environ = req.env; /* its PATH is the one to search */
		execvp(name, req.argv);
	}
	err = errno;
	dprintf(STDERR_FILENO, "vm.sh: error: the guest cannot %s %s: %s\n", what, name,
		strerror(err));
	_exit(err == ENOENT ? 127 : 126);
}

static pid_t start_command(int ours[2])
{
	int theirs[3];
	sigset_t none;
	pid_t pid;

	make_channels(ours, theirs);
	pid = fork();
	if (pid < 0)
		die("cannot fork: %s", strerror(errno));
	if (!pid) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		setsid();
		for (int i = 0; i < 3; i++)
			dup2(theirs[i], i);
		if (req.tty)
			ioctl(0, TIOCSCTTY, 0);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		exec_command();
	}
	for (int i = 0; i < 3; i++)
		close(theirs[i]);
	return pid;
}

/* Keys and window sizes for the terminal. Frames may come in pieces. */
static void take_input(int tty)
{
	static char buf[sizeof(struct vm_frame) + VM_DATA_MAX];
	static size_t have;
	struct vm_frame f;
	ssize_t n = read(port, buf + have, sizeof(buf) - have);

	if (n > 0)
		have += n;
	while (have >= sizeof(f)) {
		memcpy(&f, buf, sizeof(f));
		if (f.len > VM_DATA_MAX || have < sizeof(f) + f.len)
			break;
		if (f.type == VM_INPUT) {
			write_all(tty, buf + sizeof(f), f.len);
		} else if (f.type == VM_WINSIZE && f.len == 2 * sizeof(uint16_t)) {
			uint16_t size[2];

			memcpy(size, buf + sizeof(f), sizeof(size));
			ioctl(tty, TIOCSWINSZ,
			      &(struct winsize){ .ws_row = size[0], .ws_col = size[1] });
		}
		have -= sizeof(f) + f.len;
		memmove(buf, buf + sizeof(f) + f.len, have);
	}
}

/* Reap everything; when it was @pid, keep its status and end what it left behind. */
static int reap(pid_t pid, int *result)
{
	int status, ended = 0;
	pid_t p;

	while ((p = waitpid(-1, &status, WNOHANG)) > 0) {
		if (p != pid)
			continue;
		*result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		ended = 1;
		kill(-1, SIGKILL);
	}
	return ended;
}

static int run_command(void)
{
	static char buf[VM_DATA_MAX];
	struct signalfd_siginfo info;
	int ours[2], ended = 0, result = 0;
	struct pollfd fds[4];
	sigset_t chld;
	pid_t pid;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	pid = start_command(ours);
	fds[0] = (struct pollfd){ .fd = ours[0], .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = ours[1], .events = POLLIN };
	fds[2] = (struct pollfd){ .fd = signalfd(-1, &chld, SFD_CLOEXEC), .events = POLLIN };
	fds[3] = (struct pollfd){ .fd = req.tty ? port : -1, .events = POLLIN };

	while (!ended || fds[0].fd >= 0 || fds[1].fd >= 0) {
		int n = poll(fds, 4, ended ? DRAIN_MS : -1);

		if (!n)
			break;
		for (int i = 0; i < 2; i++) {
			ssize_t len;

			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			len = read(fds[i].fd, buf, sizeof(buf));
			if (len > 0)
				send_frame(i ? VM_STDERR : VM_STDOUT, buf, len);
			else if (len == 0 || errno != EINTR)
				fds[i].fd = -1; /* a terminal that nobody has open gives EIO */
		}
		if (fds[2].revents && read(fds[2].fd, &info, sizeof(info)) > 0)
			ended |= reap(pid, &result);
		if (fds[3].revents & POLLIN)
			take_input(ours[0]);
	}
	return result;
}

int main(void)
{
	int32_t status;

	root_early();
	open_port();
	read_request();
	root_make();
	send_frame(VM_UP, "", 0);
	status = run_command();
	if (req.out)
		sync();
	send_frame(VM_EXIT, &status, sizeof(status));
	wait_for_the_end();
}
