// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fuzz target without a fuzzer: its seeds, and inputs of a generator that is always seeded the same. Finds
 * less than `make afxdp-fuzz`, but needs no clang and runs with every build.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>

#include "../fuzz/fuzz_router.c"

static void test_seeds(void **state)
{
	uint8_t data[4096];
	size_t i, n;
	glob_t g;

	(void)state;
	assert_int_equal(glob("tests/afxdp/fuzz/corpus/*", 0, NULL, &g), 0);
	for (i = 0; i < g.gl_pathc; i++) {
		FILE *in = fopen(g.gl_pathv[i], "rb");

		assert_non_null(in);
		n = fread(data, 1, sizeof(data), in);
		fclose(in);
		assert_int_equal(LLVMFuzzerTestOneInput(data, n), 0);
	}
	globfree(&g);
}

static void test_generated(void **state)
{
	uint8_t data[512];
	uint64_t x = 88172645463325252;
	size_t i, n;
	int round;

	(void)state;
	for (round = 0; round < 20000; round++) {
		for (i = 0; i < sizeof(data); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			/* Few values at all, so that the same hosts and ports meet again. */
			data[i] = (uint8_t)(x >> 32 & (x & 0x300 ? 0x13 : 0xff));
		}
		n = 8 + x % (sizeof(data) - 8);
		assert_int_equal(LLVMFuzzerTestOneInput(data, n), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seeds),
		cmocka_unit_test(test_generated),
	};

	return cmocka_run_group_tests_name("fuzz", tests, NULL, NULL);
}
