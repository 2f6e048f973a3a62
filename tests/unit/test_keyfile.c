// SPDX-License-Identifier: GPL-2.0-only
/* Which texts are keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "keyfile.h"

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

/* Parse an exact copy: the sanitizer sees a read too far. */
static int parse(const char *text, size_t len, uint8_t *key, size_t *key_len, char *err)
{
	char *copy = malloc(len ? len : 1);
	int ret;

	assert_non_null(copy);
	memcpy(copy, text, len);
	memset(key, 0xa5, KEYFILE_MAX);
	*key_len = 99;
	memset(err, 0, KEYFILE_ERR);
	ret = keyfile_parse(copy, len, key, key_len, err);
	free(copy);
	return ret;
}

static void expect_key(const char *text, size_t want)
{
	const uint8_t half[] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
				 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
	uint8_t key[KEYFILE_MAX];
	char err[KEYFILE_ERR];
	size_t len, i;

	assert_int_equal(parse(text, strlen(text), key, &len, err), 0);
	assert_int_equal(len, want);
	for (i = 0; i < KEYFILE_MAX; i++)
		assert_int_equal(key[i], i < want ? half[i % 16] : 0);
}

static void expect_error(const char *text, size_t text_len, const char *part)
{
	uint8_t key[KEYFILE_MAX], zero[KEYFILE_MAX] = { 0 };
	char err[KEYFILE_ERR];
	size_t len;

	assert_int_equal(parse(text, text_len, key, &len, err), -EINVAL);
	assert_int_equal(len, 0);
	assert_memory_equal(key, zero, sizeof(key));
	if (!strstr(err, part) || !strstr(err, "openssl rand"))
		fail_msg("\"%s\" does not say \"%s\" and how to make one", err, part);
}

static void test_keys(void **state)
{
	(void)state;
	expect_key(HEX64, 32);
	expect_key(HEX64 "\n", 32);
	expect_key(" \t\r\n" HEX64 "\r\n\n \t", 32);
	expect_key(HEX64 "00", 33);
	expect_key(HEX64 HEX64, 64);
}

static void test_lengths(void **state)
{
	char text[2 * KEYFILE_MAX + 3];
	size_t i;

	(void)state;
	memset(text, '7', sizeof(text));
	for (i = 0; i <= sizeof(text); i++) {
		uint8_t key[KEYFILE_MAX];
		char err[KEYFILE_ERR];
		size_t len;

		if (i % 2 || i < 64 || i > 128) {
			expect_error(text, i, "even number from 64 to 128");
			continue;
		}
		assert_int_equal(parse(text, i, key, &len, err), 0);
		assert_int_equal(len, i / 2);
	}
	expect_error(" \n ", 3, "0 hexadecimal digits");
}

static void test_bytes(void **state)
{
	unsigned int c;

	(void)state;
	for (c = 0; c < 256; c++) {
		char text[] = HEX64;

		if (c && strchr("0123456789abcdefABCDEF", (int)c))
			continue;
		text[20] = (char)c;
		expect_error(text, 64, "byte 21 ");
	}
	expect_error("\n\n" HEX64 ":\n", 68, "byte 67 ");
	expect_error("0x" HEX64, 66, "byte 2 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
