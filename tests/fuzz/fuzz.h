/* SPDX-License-Identifier: GPL-2.0-only */
/* What the fuzz targets share. */
#ifndef XM_FUZZ_H
#define XM_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* libFuzzer calls it. Return: 0; -1 keeps the input out of the corpus. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An invariant. Not assert(): no build may leave it out. */
#define MUST(cond)                                                                         \
	do {                                                                               \
		if (!(cond)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                           \
		}                                                                          \
	} while (0)

/* Reads an input from its start; behind its end are zeroes. */
struct fuzz_in {
	const uint8_t *p;
	size_t left;
};

static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
	if (!in->left)
		return 0;
	in->left--;
	return *in->p++;
}

static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
	uint16_t hi = fuzz_u8(in);

	return (uint16_t)(hi << 8 | fuzz_u8(in));
}

static inline uint32_t fuzz_u32(struct fuzz_in *in)
{
	uint32_t hi = fuzz_u16(in);

	return hi << 16 | fuzz_u16(in);
}

/* Copies at most @n bytes. Return: how many there were. */
static inline size_t fuzz_bytes(struct fuzz_in *in, void *out, size_t n)
{
	if (n > in->left)
		n = in->left;
	if (n)
		memcpy(out, in->p, n);
	in->p += n;
	in->left -= n;
	return n;
}

/* A copy of its own, without a NUL behind it, so that the sanitizer sees a byte too far. */
static inline char *fuzz_copy(const void *p, size_t n)
{
	char *copy = malloc(n ? n : 1);

	MUST(copy);
	if (n)
		memcpy(copy, p, n);
	return copy;
}

/* The same with a NUL. */
static inline char *fuzz_text(const void *p, size_t n)
{
	char *text = malloc(n + 1);

	MUST(text);
	if (n)
		memcpy(text, p, n);
	text[n] = '\0';
	return text;
}

#endif
