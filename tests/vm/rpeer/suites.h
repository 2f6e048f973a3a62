/* SPDX-License-Identifier: GPL-2.0-only */
/* The parts of xmt-rpeer; each reports to tap.h. */
#ifndef RPEER_SUITES_H
#define RPEER_SUITES_H

/** suite_good() - what gets through, and in what state */
void suite_good(void);

/** suite_refused() - every case in which the kfunc or the redirect refuses a packet */
void suite_refused(void);

/** suite_token() - a program loaded with a BPF token cannot call the kfunc */
void suite_token(void);

/** suite_tsq() - a slow NIC throttles the pod's TCP socket */
void suite_tsq(void);

/** suite_churn() - pods come and go under traffic; @rounds of each kind of pair together */
void suite_churn(unsigned int rounds);

/** suite_absent() - the kernel has no kfunc: the object loads all the same, packets pass */
void suite_absent(void);

#endif
