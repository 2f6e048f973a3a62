/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vm-guest.h - between the parts of the guest's first process.
 */
#ifndef VM_GUEST_H
#define VM_GUEST_H

#define MAX_WORDS 4096
#define MAX_KEEP  16

/* What the host asks for; the texts live as long as the process. */
struct request {
	char *argv[MAX_WORDS + 1];
	char *env[MAX_WORDS + 1];
	char *keep[MAX_KEEP];
	int argc, envc, keepc;
	const char *cwd, *fs, *share, *tree;
	int out, tty;
};

extern struct request req;

/** die() - tell the host why the command cannot run, and wait for the end */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/** root_early() - what is needed to find the host: devices, sysfs, modules */
void root_early(void);

/** root_make() - change to the root that the request names, and set the system up */
void root_make(void);

#endif
