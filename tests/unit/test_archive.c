// SPDX-License-Identifier: GPL-2.0-only
/* What bugtool's archive is made of: tar's headers, and no pre-shared keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scrub.h"
#include "tar.h"
#include "xm_util.h"

static void test_header(void **state)
{
	uint8_t b[TAR_BLOCK], sum_field[8];
	char name[TAR_NAME_MAX + 2];
	unsigned int sum = 0;

	(void)state;
	assert_int_equal(tar_header(b, "top/a.txt", 01234567, 017), 0);
	assert_string_equal((char *)b, "top/a.txt");
	assert_string_equal((char *)b + 100, "0000600");
	assert_string_equal((char *)b + 124, "00001234567");
	assert_string_equal((char *)b + 136, "00000000017");
	assert_int_equal(b[156], '0');
	assert_memory_equal(b + 257, "ustar\00000", 8);
	memcpy(sum_field, b + 148, 8);
	memset(b + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(b); i++)
		sum += b[i];
	assert_int_equal(strtoul((char *)sum_field, NULL, 8), sum);

	memset(name, 'x', sizeof(name));
	name[TAR_NAME_MAX + 1] = '\0';
	assert_int_equal(tar_header(b, name, 0, 0), -EINVAL);
	name[TAR_NAME_MAX] = '\0';
	assert_int_equal(tar_header(b, name, 0, 0), 0);
	assert_int_equal(tar_header(b, "", 0, 0), -EINVAL);
	assert_int_equal(tar_header(b, "a", 1ull << 33, 0), -EINVAL);
	assert_int_equal(tar_header(b, "a", (1ull << 33) - 1, 0), 0);
}

static void test_padding(void **state)
{
	(void)state;
	assert_int_equal(tar_padding(0), 0);
	assert_int_equal(tar_padding(1), 511);
	assert_int_equal(tar_padding(511), 1);
	assert_int_equal(tar_padding(512), 0);
	assert_int_equal(tar_padding(513), 511);
}

#define H16 "0123456789abcDEF"
#define H64 H16 H16 H16 H16

static void test_scrub(void **state)
{
	static const struct {
		const char *text, *want;
	} t[] = {
		{ "", "" },
		{ "nothing", "nothing" },
		{ H64, "[removed]" },
		{ H64 "a", "[removed]" },
		{ H16 H16 H16 "0123456789abcde", H16 H16 H16 "0123456789abcde" },
		{ "psk " H64 "\n", "psk [removed]\n" },
		{ "a=" H64 " b=" H64 H16 ";", "a=[removed] b=[removed];" },
		{ "a\tb\r\nc", "a\tb?\nc" },
		{ "\x1b[31mred\x7f", "?[31mred?" },
		/* CSI as a character of UTF-8; others of which one byte is the same. */
		{ "\xc2\x9bJ \xc3\x9b \xc2\xa0 \xc2", "??J \xc3\x9b \xc2\xa0 \xc2" },
		{ "\x1b" H64, "?[removed]" },
		{ "x" H64 "x", "x[removed]x" },
		{ H16 "-" H16 "-" H16 "-" H16 "-" H16, H16 "-" H16 "-" H16 "-" H16 "-" H16 },
	};

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++) {
		size_t len = strlen(t[i].text);
		/* Exactly as long: the sanitizer sees a byte too many. */
		char *copy = malloc(len ? len : 1);

		assert_non_null(copy);
		memcpy(copy, t[i].text, len);
		len = scrub(copy, len);
		assert_int_equal(len, strlen(t[i].want));
		assert_memory_equal(copy, t[i].want, len);
		free(copy);
	}
}

/* Not text: what a program says may hold anything. */
static void test_scrub_bytes(void **state)
{
	char b[3 * 64 + 2];

	(void)state;
	memset(b, '7', sizeof(b));
	b[64] = '\0';
	b[65] = (char)0xff;
	assert_int_equal(scrub(b, sizeof(b)), 9 + 2 + 9);
	assert_memory_equal(b, "[removed]?\xff[removed]", 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_padding),
		cmocka_unit_test(test_scrub),
		cmocka_unit_test(test_scrub_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
