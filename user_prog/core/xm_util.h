/* SPDX-License-Identifier: GPL-2.0-only */
/* Small things that every module of the core and the edge uses. */
#ifndef XM_UTIL_H
#define XM_UTIL_H

#include <stddef.h>
#include <stdint.h>

#define XM_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define XM_PRINTF(f, a)	 __attribute__((format(printf, f, a)))

/* Length of "255.255.255.255" with its NUL: what xm_addr_str() needs. */
#define XM_ADDR_STR 16

#endif
