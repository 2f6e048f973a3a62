/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers that nobody can guess: getrandom(2). */
#ifndef XM_RNG_H
#define XM_RNG_H

#include <stddef.h>
#include <stdint.h>

/** rng_fill() - @len random bytes; may wait for the kernel's pool. Return: 0 or -errno */
int rng_fill(void *buf, size_t len);

/** rng_u32() - random and not 0: epoch, mark, seed. Return: 0 or -errno */
int rng_u32(uint32_t *out);

/**
 * rng_u64() - a hello_random_fn: random, not 0
 * @unused: no state
 *
 * Return: the number, or 0 when the kernel gives none; struct hello then sends nothing.
 */
uint64_t rng_u64(void *unused);

#endif
