// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tar.h"

/* Octal digits in all fields, as the format has it. */
struct ustar {
	char name[100];
	char mode[8];
	char uid[8];
	char gid[8];
	char size[12];
	char mtime[12];
	char sum[8];
	char type;
	char link[100];
	char magic[6];
	char version[2];
	char uname[32];
	char gname[32];
	char devmajor[8];
	char devminor[8];
	char prefix[155];
	char pad[12];
};

_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "a header is one block");

#define SIZE_MAX_OCTAL 077777777777ull

int tar_header(uint8_t block[TAR_BLOCK], const char *name, uint64_t size, uint64_t mtime)
{
	struct ustar h = { .type = '0', .magic = "ustar", .version = { '0', '0' } };
	const uint8_t *bytes = (const uint8_t *)&h;
	char octal[24];
	uint32_t sum = 0;

	if (!*name || strlen(name) > TAR_NAME_MAX || size > SIZE_MAX_OCTAL ||
	    mtime > SIZE_MAX_OCTAL)
		return -EINVAL;
	memcpy(h.name, name, strlen(name));
	memcpy(h.mode, "0000600", 8);
	memcpy(h.uid, "0000000", 8);
	memcpy(h.gid, "0000000", 8);
	snprintf(octal, sizeof(octal), "%011" PRIo64, size);
	memcpy(h.size, octal, sizeof(h.size));
	snprintf(octal, sizeof(octal), "%011" PRIo64, mtime);
	memcpy(h.mtime, octal, sizeof(h.mtime));
	memcpy(h.uname, "root", 5);
	memcpy(h.gname, "root", 5);
	/* The sum is that of a header with blanks in its place. */
	memset(h.sum, ' ', sizeof(h.sum));
	for (size_t i = 0; i < sizeof(h); i++)
		sum += bytes[i];
	snprintf(octal, sizeof(octal), "%06o", sum);
	memcpy(h.sum, octal, 7);
	memcpy(block, &h, sizeof(h));
	return 0;
}

size_t tar_padding(uint64_t size)
{
	return (size_t)(-size % TAR_BLOCK);
}
