// SPDX-License-Identifier: GPL-2.0-only
/*
 * Small texts from outside: the key's file, the kernel's list of reserved ports, names.
 *
 * Input: two bytes (a port), then the text.
 */
#include <errno.h>

#include "fuzz.h"
#include "keyfile.h"
#include "portlist.h"
#include "text.h"

static void key(const char *text, size_t len)
{
	static const uint8_t zero[KEYFILE_MAX];
	uint8_t k[KEYFILE_MAX];
	char err[KEYFILE_ERR];
	size_t n = 1;

	memset(k, 0x5a, sizeof(k));
	memset(err, 0x5a, sizeof(err));
	if (keyfile_parse(text, len, k, &n, err)) {
		MUST(!n && !memcmp(k, zero, sizeof(k)));
		MUST(*err && memchr(err, '\0', sizeof(err)));
	} else {
		MUST(n >= KEYFILE_MIN && n <= KEYFILE_MAX && 2 * n <= len);
		MUST(!memcmp(k + n, zero, sizeof(k) - n));
	}
}

static void ports(const char *text, uint16_t port)
{
	char with[PORTLIST_MAX], without[PORTLIST_MAX], same[PORTLIST_MAX], few[8];
	static const uint16_t others[] = { 0, 18476, 18478, 65535 };
	int was = portlist_covers(text, port), ret;

	MUST(was == 0 || was == 1 || was == -EINVAL);
	ret = portlist_add(text, port, with, sizeof(with));
	if (was == -EINVAL) {
		MUST(ret == -EINVAL);
		MUST(portlist_remove(text, port, without, sizeof(without)) == -EINVAL);
		return;
	}
	if (ret == -E2BIG)
		return;
	MUST(!ret && portlist_covers(with, port) == 1);
	/* Adding again changes nothing: this is how the kernel prints it. */
	MUST(!portlist_add(with, port, same, sizeof(same)) && !strcmp(with, same));
	MUST(!portlist_remove(text, port, without, sizeof(without)));
	MUST(portlist_covers(without, port) == 0);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (others[i] == port)
			continue;
		was = portlist_covers(text, others[i]);
		MUST(portlist_covers(with, others[i]) == was);
		MUST(portlist_covers(without, others[i]) == was);
	}
	/* The result may replace the text, and may not fit. */
	strcpy(same, without);
	MUST(!portlist_add(same, port, same, sizeof(same)) && !strcmp(same, with));
	ret = portlist_add(text, port, few, sizeof(few));
	MUST(strlen(with) < sizeof(few) ? !ret && !strcmp(few, with) : ret == -E2BIG);
}

static void names(const char *text, size_t len)
{
	char quoted[TEXT_QUOTE_MAX], dotted[XM_ADDR_STR], *clean = fuzz_text(text, len);
	char *again;
	__be32 addr, back;

	MUST(memchr(text_quote(quoted, text, len), '\0', sizeof(quoted)));
	for (const char *p = quoted; *p; p++)
		MUST((unsigned char)*p >= 0x20 && *p != 0x7f);
	if (!text_parse_addr(text, len, &addr)) {
		text_addr(dotted, addr);
		MUST(!text_parse_addr(dotted, strlen(dotted), &back) && addr == back);
	}
	MUST(!text_is_ifname(text, len) || len < 16);
	text_utf8_clean(clean);
	again = fuzz_text(clean, strlen(clean));
	text_utf8_clean(again);
	MUST(!strcmp(clean, again));
	if (len < 64)
		text_close(clean, "masquerade_port");
	free(again);
	free(clean);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_in in = { data, size };
	uint16_t port = fuzz_u16(&in);
	char *copy = fuzz_copy(in.p, in.left), *text = fuzz_text(in.p, in.left);

	key(copy, in.left);
	names(copy, in.left);
	ports(text, port);
	free(text);
	free(copy);
	return 0;
}
