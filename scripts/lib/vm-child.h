/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vm-child.h - QEMU and its helpers as children that never outlive vm-host, and the terminal that
 * must be put back when it ends.
 */
#ifndef VM_CHILD_H
#define VM_CHILD_H

#include <sys/types.h>

#define MAX_HELPERS 4

enum {
	RC_TROUBLE = 123,
	RC_TIMEOUT = 124,
	RC_NO_GUEST = 125
};

/**
 * child_spawn() - start a program that is killed when this process dies
 * @argv: its command
 * @fds: @nfds descriptors that it gets as 3, 4, ...
 * @log: its stdout and stderr; its stdin is empty
 *
 * All signals must be blocked meanwhile: end_children() runs in their handlers.
 */
pid_t child_spawn(char *const argv[], const int *fds, int nfds, int log);

/**
 * child_helper() - start a shell command that serves a listening socket, its fd 3
 *
 * Return: a socket that is connected to it.
 */
int child_helper(const char *command, int log);

/** child_wait() - wait for one of them; returns its status as waitpid() gives it */
int child_wait(pid_t pid);

/** child_raw_terminal() - let all keys through; end_children() undoes it */
void child_raw_terminal(void);

/** end_children() - kill and reap them all; safe in a signal handler */
void end_children(void);

/** leave() - end_children() and exit */
void leave(int rc) __attribute__((noreturn));

/** fail() - say what failed, with errno, and leave */
void fail(const char *what) __attribute__((noreturn));

#endif
