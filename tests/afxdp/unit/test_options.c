// SPDX-License-Identifier: GPL-2.0-only
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "options.h"

static struct options o;
static char error[256];

/* Parses a command line of words that are separated by blanks. */
static int parse(const char *line)
{
	static char copy[8192];
	char *argv[256] = { "xsk-router" }, *word;
	int argc = 1;

	strcpy(copy, line);
	for (word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	error[0] = '\0';
	return options_parse(&o, argc, argv, error, sizeof(error));
}

#define NEEDED "-i eth0 -s 10.0.0.2 "

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse(NEEDED), 0);
	assert_string_equal(o.interface, "eth0");
	assert_int_equal(o.server, htonl(0x0a000002));
	assert_int_equal(o.mode, OPTIONS_AUTO);
	assert_int_equal(o.ring, 2048);
	assert_int_equal(o.batch, 64);
	assert_int_equal(o.flows, 65536);
	assert_true(o.need_wakeup && o.drop_fragments && !o.drop_others && !o.json && !o.realtime);
	assert_int_equal(o.nclients, 0);
	assert_int_equal(o.huge, CHOICE_AUTO);
}

static void test_all(void **state)
{
	(void)state;
	assert_int_equal(
		parse("--interface=veth1 --server 10.0.0.2 -c10.0.0.3 --client=10.0.0.4 "
		      "--address 10.0.0.9 --mode skb --huge no --ring 64 --batch=256 "
		      "--need-wakeup no --busy-poll 50 --busy-budget 8 --spin 7 "
		      "--checksum complete --fragments kernel --others drop --flows 1 "
		      "--interval 2 --duration 3 --summary file -o json -v --realtime yes"),
		0);
	assert_string_equal(o.interface, "veth1");
	assert_int_equal(o.nclients, 2);
	assert_int_equal(o.clients[1], htonl(0x0a000004));
	assert_int_equal(o.addr, htonl(0x0a000009));
	assert_int_equal(o.mode, OPTIONS_SKB);
	assert_int_equal(o.huge, CHOICE_NO);
	assert_int_equal(o.offload, CHOICE_NO);
	assert_true(!o.need_wakeup && !o.drop_fragments && o.drop_others && o.json && o.verbose &&
		    o.realtime);
	assert_int_equal(o.ring, 64);
	assert_int_equal(o.batch, 256);
	assert_int_equal(o.busy_poll_us, 50);
	assert_int_equal(o.busy_budget, 8);
	assert_int_equal(o.spin_us, 7);
	assert_int_equal(o.flows, 1);
	assert_int_equal(o.interval_s, 2);
	assert_int_equal(o.duration_s, 3);
	assert_string_equal(o.summary, "file");
	assert_int_equal(parse(NEEDED "--checksum offload --mode zerocopy"), 0);
	assert_int_equal(o.offload, CHOICE_YES);
	assert_int_equal(o.mode, OPTIONS_ZEROCOPY);
}

/* Each is refused, and the message says what would be right. */
static void test_refused(void **state)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
		{ "-s 10.0.0.2", "-i INTERFACE is missing" },
		{ "-i eth0", "-s SERVER is missing" },
		{ NEEDED "--ring 63", "64 to 16384" },
		{ NEEDED "--ring 100", "power of two" },
		{ NEEDED "--ring 32768", "64 to 16384" },
		{ NEEDED "--batch 0", "1 to 256" },
		{ NEEDED "--batch 257", "1 to 256" },
		{ NEEDED "--batch -1", "1 to 256" },
		{ NEEDED "--batch 7x", "1 to 256" },
		{ NEEDED "--flows 99999999999999999999", "1 to 4194304" },
		{ NEEDED "--mode fast", "one of: auto native skb zerocopy" },
		{ NEEDED "--huge=", "one of: auto yes no" },
		{ NEEDED "--server 10.0.0", "an IPv4 address" },
		{ NEEDED "--client 0.0.0.0", "an IPv4 address" },
		{ NEEDED "-c 10.0.0.2", "cannot be a client" },
		{ NEEDED "-a 10.0.0.2", "router's address" },
		{ NEEDED "--fast", "no such option" },
		{ NEEDED "-x", "no such option" },
		{ NEEDED "-", "no such option" },
		{ NEEDED "eth1", "no such option" },
		{ NEEDED "--help=1", "no such option" },
		{ NEEDED "--mode", "needs a value" },
		{ NEEDED "-c", "needs a value" },
	};
	char many[8192] = NEEDED;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		assert_int_equal(parse(bad[i].line), -EINVAL);
		if (!strstr(error, bad[i].says))
			fail_msg("\"%s\": \"%s\" does not say \"%s\"", bad[i].line, error,
				 bad[i].says);
	}
	for (i = 0; i < ROUTER_CLIENTS; i++)
		strcat(many, "-c 10.0.0.7 ");
	assert_int_equal(parse(many), 0);
	strcat(many, "-c 10.0.0.7 ");
	assert_int_equal(parse(many), -EINVAL);
	assert_non_null(strstr(error, "64 times"));
}

/* --help needs nothing else, and names every option. */
static void test_help(void **state)
{
	static const char *const names[] = {
		"--interface",	 "--server",   "--client",   "--address",     "--mode",
		"--huge",	 "--ring",     "--batch",    "--need-wakeup", "--busy-poll",
		"--busy-budget", "--spin",     "--checksum", "--fragments",   "--others",
		"--flows",	 "--interval", "--duration", "--summary",     "--output",
		"--verbose",	 "--realtime"
	};
	size_t i;

	(void)state;
	assert_int_equal(parse("--help"), 0);
	assert_true(o.help);
	assert_int_equal(parse("-V"), 0);
	assert_true(o.version);
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strstr(options_help(), names[i]))
			fail_msg("--help does not name %s", names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
