// SPDX-License-Identifier: GPL-2.0-only
/* Random numbers that nobody can guess. */
#include "rng.h"

#include <errno.h>
#include <sys/random.h>

int rng_fill(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = getrandom(p, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int rng_u32(uint32_t *out)
{
	int ret;

	do {
		ret = rng_fill(out, sizeof(*out));
	} while (!ret && !*out);
	return ret;
}

uint64_t rng_u64(void *unused)
{
	uint64_t v;

	(void)unused;
	do {
		if (rng_fill(&v, sizeof(v)))
			return 0;
	} while (!v);
	return v;
}
