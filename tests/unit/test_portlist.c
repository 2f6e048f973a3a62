// SPDX-License-Identifier: GPL-2.0-only
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "portlist.h"
#include "xm_util.h"

static void test_covers(void **state)
{
	static const struct {
		const char *text;
		uint16_t port;
		int want;
	} t[] = {
		{ "", 18477, 0 },
		{ "\n", 18477, 0 },
		{ "18477", 18477, 1 },
		{ "18477\n", 18477, 1 },
		{ "18478", 18477, 0 },
		{ "1-65535", 18477, 1 },
		{ "22,18400-18476,18478", 18477, 0 },
		{ "22,18400-18477", 18477, 1 },
		{ "18477-18480", 18477, 1 },
		{ "65535", 65535, 1 },
		{ "0", 0, 1 },
		{ "65536", 1, -EINVAL },
		{ "4294967297", 1, -EINVAL },
		{ "-1", 1, -EINVAL },
		{ "5-", 1, -EINVAL },
		{ "9-5", 1, -EINVAL },
		{ "1,,2", 1, -EINVAL },
		{ "1,", 1, -EINVAL },
		{ ",1", 1, -EINVAL },
		{ "1 2", 1, -EINVAL },
		{ "1\n2", 1, -EINVAL },
		{ "all", 1, -EINVAL },
	};
	size_t i;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(t); i++) {
		int got = portlist_covers(t[i].text, t[i].port);

		if (got != t[i].want)
			fail_msg("covers(\"%s\", %u) is %d, not %d", t[i].text, t[i].port, got,
				 t[i].want);
	}
}

static void test_edit(void **state)
{
	static const struct {
		const char *text;
		uint16_t port;
		const char *added;
		const char *removed;
	} t[] = {
		{ "", 18477, "18477", "" },
		{ "18477", 18477, "18477", "" },
		{ "30000-32767", 18477, "18477,30000-32767", "30000-32767" },
		{ "18470-18480", 18477, "18470-18480", "18470-18476,18478-18480" },
		{ "18477-18480", 18477, "18477-18480", "18478-18480" },
		{ "18470-18477", 18477, "18470-18477", "18470-18476" },
		{ "18476,18478", 18477, "18476-18478", "18476,18478" },
		{ "9000,22,22", 18477, "22,9000,18477", "22,9000" },
		{ "65534\n", 65535, "65534-65535", "65534" },
		{ "1", 0, "0-1", "1" },
	};
	char out[PORTLIST_MAX];
	size_t i;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(t); i++) {
		assert_int_equal(portlist_add(t[i].text, t[i].port, out, sizeof(out)), 0);
		assert_string_equal(out, t[i].added);
		assert_int_equal(portlist_remove(t[i].text, t[i].port, out, sizeof(out)), 0);
		assert_string_equal(out, t[i].removed);
	}
	assert_int_equal(portlist_add("x", 1, out, sizeof(out)), -EINVAL);
	assert_int_equal(portlist_remove("x", 1, out, sizeof(out)), -EINVAL);
}

static void test_room(void **state)
{
	char out[16];

	(void)state;
	assert_int_equal(portlist_add("22,80", 18477, out, 12), 0);
	assert_string_equal(out, "22,80,18477"); /* 11 characters and the NUL */
	assert_int_equal(portlist_add("22,80", 18477, out, 11), -E2BIG);
	assert_int_equal(portlist_add("", 1, out, 0), -E2BIG);
	/* in place */
	(void)snprintf(out, sizeof(out), "5-7");
	assert_int_equal(portlist_remove(out, 6, out, sizeof(out)), 0);
	assert_string_equal(out, "5,7");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_covers),
		cmocka_unit_test(test_edit),
		cmocka_unit_test(test_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
