// SPDX-License-Identifier: GPL-2.0-only
/* Answers to probes, and where they are served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "listen.h"
#include "ready.h"
#include "xm_util.h"

static const struct ready_facts good = {
	.started = true,
	.programs = 4,
	.programs_wanted = 4,
	.underlay = 1,
	.addresses = 1,
};

/* The text says the same as the verdict, and @says. */
static void expect(const struct ready_facts *f, bool yes, const char *says)
{
	size_t len = 0;
	char *text = ready_text(f, &len);

	assert_non_null(text);
	assert_int_equal(strlen(text), len);
	assert_int_equal(ready(f), yes);
	assert_int_equal(strstr(text, "\nnot ready\n") == NULL, yes);
	assert_int_equal(strstr(text, "[-]") == NULL, yes);
	if (!strstr(text, says))
		fail_msg("no \"%s\" in:\n%s", says, text);
	free(text);
}

static void test_ready(void **state)
{
	struct ready_facts f = good;

	(void)state;
	expect(&f, true, "\nready\n");
	/* For information only. */
	f.pods_failed = 3;
	f.peers = 2;
	expect(&f, true, "pods: 0 attached, 3 failed\n    peers: 0 of 2 up");
	f = good;
	f.started = false;
	expect(&f, false, "[-] start: not done yet");
	f = good;
	f.programs = 3;
	expect(&f, false, "[-] programs: 3 of 4");
	f = good;
	f.underlay = 0;
	expect(&f, false, "[-] underlay: 0 interfaces attached; check \"underlay\"");
	f = good;
	f.addresses = 0;
	expect(&f, false, "[-] addresses: 0; give the underlay");
	f = good;
	f.stale = true;
	expect(&f, false, "[-] addresses: 1; the underlay has others");
	f = good;
	f.pin_err = -EROFS;
	expect(&f, false, "[-] tables: cannot be pinned: Read-only");
	f = good;
	f.netlink_err = -ENOBUFS;
	expect(&f, false, "[-] interfaces: cannot be read: No buffer");
}

static void test_health(void **state)
{
	static const struct {
		uint64_t ago;
		bool ok;
		const char *says;
	} t[] = { { 0, true, "ok\n" },
		  { 15000, true, "ok\n" },
		  { 15001, false, "15001 ms ago, the limit is 15000 ms" } };

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++) {
		size_t len = 0;
		bool ok = !t[i].ok;
		char *text = health_text(t[i].ago, 15000, &ok, &len);

		assert_non_null(text);
		assert_int_equal(ok, t[i].ok);
		assert_int_equal(strlen(text), len);
		assert_non_null(strstr(text, t[i].says));
		free(text);
	}
}

static void test_listen(void **state)
{
	static const struct {
		const char *text;
		int family;
		const char *addr;
		uint16_t port;
		bool loopback;
	} t[] = {
		{ "127.0.0.1:9477", AF_INET, "127.0.0.1", 9477, true },
		{ "127.1.2.3:1", AF_INET, "127.1.2.3", 1, true },
		{ "0.0.0.0:65535", AF_INET, "0.0.0.0", 65535, false },
		{ "[::1]:80", AF_INET6, "::1", 80, true },
		{ "[::]:9477", AF_INET6, "::", 9477, false },
		{ "[2001:db8::7]:9477", AF_INET6, "2001:db8::7", 9477, false },
	};
	static const char *const wrong[] = {
		"",
		":",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:0",
		"127.0.0.1:65536",
		"127.0.0.1:09477",
		"127.0.0.1:9477x",
		":9477",
		"9477",
		"localhost:9477",
		"::1:9477",
		"[::1]",
		"[::1]9477",
		"[::1:9477",
		"[]:9477",
		"[127.0.0.1]:9477",
		"[fe80::1%eth0]:9477",
		"127.0.0.1 :9477",
		"127.0.0.1: 9477",
		"256.0.0.1:9477",
		"1.2.3:9477",
		"127.0.0.1:999999",
		"[1:2:3:4:5:6:7:8:9]:1",
		"[aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]:1",
	};
	struct listen_addr a;
	char buf[INET6_ADDRSTRLEN];

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++) {
		/* Without a NUL behind it. */
		char *copy = malloc(strlen(t[i].text));

		assert_non_null(copy);
		memcpy(copy, t[i].text, strlen(t[i].text));
		if (listen_parse(copy, strlen(t[i].text), &a))
			fail_msg("refused: %s", t[i].text);
		free(copy);
		assert_int_equal(a.sa.sa_family, t[i].family);
		inet_ntop(t[i].family,
			  t[i].family == AF_INET ? (void *)&a.in.sin_addr
						 : (void *)&a.in6.sin6_addr,
			  buf, sizeof(buf));
		assert_string_equal(buf, t[i].addr);
		assert_int_equal(ntohs(t[i].family == AF_INET ? a.in.sin_port : a.in6.sin6_port),
				 t[i].port);
		assert_int_equal(listen_is_loopback(&a), t[i].loopback);
	}
	for (size_t i = 0; i < XM_ARRAY_SIZE(wrong); i++)
		if (!listen_parse(wrong[i], strlen(wrong[i]), &a))
			fail_msg("taken: %s", wrong[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ready),
		cmocka_unit_test(test_health),
		cmocka_unit_test(test_listen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
