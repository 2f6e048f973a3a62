/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vm-console.h - the guest's console: keeps it, shows its end, knows a panic when it sees one.
 */
#ifndef VM_CONSOLE_H
#define VM_CONSOLE_H

/**
 * console_open() - say where the output goes, besides memory
 * @file: path of a file that is made anew, or NULL
 * @verbose: also to stderr
 *
 * Return: 0, or -1 with errno set.
 */
int console_open(const char *file, int verbose);

/** console_fd() - the socket that the output comes from */
void console_fd(int fd);

/** console_take() - read what has come; returns the number of bytes, 0: none or the end */
int console_take(void);

/** console_drain() - read until there is no more */
void console_drain(void);

/** console_tail() - print the last @lines lines to @fd; safe in a signal handler */
void console_tail(int fd, int lines);

/** console_panic() - the line in which the kernel panicked, or NULL */
const char *console_panic(void);

/** console_complaints() - number of lines that report a defect (warning, lock order, KASAN) */
int console_complaints(void);

/** console_first_complaint() - the first of them, or NULL */
const char *console_first_complaint(void);

/** console_say() - a message of vm.sh on stderr; safe in a signal handler */
void console_say(const char *text);

/** console_say_more() - the rest of that line */
void console_say_more(const char *text);

#endif
