/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vm-tsc.h - the time stamp counter, which an emulated machine shows as it is.
 */
#ifndef VM_TSC_H
#define VM_TSC_H

/** tsc_print_khz() - measure its frequency, print it in kHz; returns 0, or 1: there is none */
int tsc_print_khz(void);

#endif
