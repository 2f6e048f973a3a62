// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

static struct report sample(void)
{
	struct report r = { .interface = "eth0",
			    .mode = "native, copies",
			    .pages = "huge pages",
			    .checksum = "whole",
			    .ms = 2000,
			    .nqueues = 2,
			    .flows = 3 };

	r.router.rx = 1000;
	r.router.tx = 900;
	r.router.tx_bytes = 250000000;
	r.router.why[WHY_OK] = 900;
	r.router.why[WHY_TTL] = 5;
	r.router.why[WHY_ARP_DONE] = 7; /* these two are no loss */
	r.router.why[WHY_ARP_IGNORED] = 2;
	r.front[FRONT_DROPPED_FRAGMENT] = 11;
	r.front[FRONT_OTHER] = 13; /* passed on to the kernel */
	r.front[FRONT_NO_SOCKET] = 17;
	r.queue[1].rx_ring_full = 19;
	r.queue[1].in = 600;
	r.queue[0].rx_dropped = 4;
	r.queue[0].fill_empty = 4; /* the same frames */
	r.queue[0].rx = 23;
	r.queue[1].rx = 1;
	r.kicks = 90;
	r.user_us = 200;
	r.kernel_us = 1300;
	return r;
}

static void test_dropped(void **state)
{
	struct report r = sample();

	(void)state;
	assert_int_equal(report_dropped(&r), 5 + 11 + 17 + 19 + 4);
}

static void test_line(void **state)
{
	struct report before = { .ms = 1000, .nqueues = 2 }, now = sample();
	char text[512] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");

	(void)state;
	before.router.why[WHY_TTL] = 4;
	report_line(out, &before, &now);
	fclose(out);
	assert_string_equal(text, "2.0 s: 1000 frames/s in, 900 out, 2.000 Gbit/s out, 52 dropped, "
				  "3 flows, rings rx 24 tx 0 fill 0, 10.0 frames a wakeup\n");
}

static int64_t number(struct json_object *o, const char *a, const char *b)
{
	struct json_object *v;

	assert_true(json_object_object_get_ex(o, a, &v));
	if (b)
		assert_true(json_object_object_get_ex(v, b, &v));
	return json_object_get_int64(v);
}

static void test_json(void **state)
{
	struct report r = sample();
	struct json_object *top, *queues;
	size_t size = 0;
	char *text = NULL;
	FILE *out = open_memstream(&text, &size);
	int i;

	(void)state;
	assert_int_equal(report_json(out, &r), 0);
	fclose(out);
	top = json_tokener_parse(text);
	assert_non_null(top);
	assert_int_equal(number(top, "rx", NULL), 1000);
	assert_int_equal(number(top, "rx_pps", NULL), 500);
	assert_int_equal(number(top, "dropped", NULL), 56);
	assert_int_equal(number(top, "cpu_kernel_us", NULL), 1300);
	assert_int_equal(number(top, "why", "ttl"), 5);
	assert_int_equal(number(top, "xdp", "no-socket"), 17);
	for (i = 1; i < WHY_COUNT; i++)
		assert_int_equal(number(top, "why", why_name((enum why)i)), r.router.why[i]);
	assert_true(json_object_object_get_ex(top, "queues", &queues));
	assert_int_equal(json_object_array_length(queues), 2);
	assert_int_equal(number(json_object_array_get_idx(queues, 1), "rx-ring-full", NULL), 19);
	assert_int_equal(number(json_object_array_get_idx(queues, 1), "in", NULL), 600);
	assert_int_equal(number(json_object_array_get_idx(queues, 0), "rings", "rx"), 23);
	json_object_put(top);
	free(text);
}

/* The text names what is not zero, and nothing else. */
static void test_text(void **state)
{
	struct report r = sample();
	char text[4096] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");

	(void)state;
	report_text(out, &r);
	fclose(out);
	assert_non_null(strstr(text, "eth0: native, copies, huge pages"));
	assert_non_null(strstr(text, "1500 ns a frame"));
	assert_non_null(strstr(text, "ttl"));
	assert_non_null(strstr(text, "queue 1 rx-ring-full"));
	assert_null(strstr(text, "queue 0 rx-ring-full"));
	assert_null(strstr(text, "nat-full"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
