// SPDX-License-Identifier: GPL-2.0-only
#include "options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
	"xsk-router - forwards between a client and a server on one interface, with AF_XDP\n"
	"\n"
	"  xsk-router -i INTERFACE -s SERVER [-c CLIENT]... [options]\n"
	"\n"
	"What clients send to the router's address goes to the server, as from the router, and the\n"
	"server's answers go back to the client that they are for. IPv4 TCP, UDP and ICMP echo, and ICMP\n"
	"errors about them. Needs CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON.\n"
	"\n"
	"  -i, --interface IF     all of its queues are served\n"
	"  -s, --server ADDR      who answers\n"
	"  -c, --client ADDR      who may ask; may be given 64 times (default: the whole network). When\n"
	"                         there is exactly one, what the server starts goes to it.\n"
	"  -a, --address ADDR     the router's (default: the interface's first)\n"
	"\n"
	"How frames get here:\n"
	"  --mode MODE            auto (default), or only: zerocopy, native (copies), skb (generic XDP)\n"
	"  --huge auto|yes|no     huge pages for the frames (auto: where there are any, see ./huge)\n"
	"  --ring N               entries of each ring, a power of two, 64 to 16384 (default 2048)\n"
	"  --batch N              frames handled at once, 1 to 256 (default 64). What came is sent on\n"
	"                         before more is read: a lone frame never waits for others.\n"
	"  --need-wakeup yes|no   wake the driver up only when it asks (default yes)\n"
	"  --busy-poll USEC       poll the interface in this process, and so long after the last frame\n"
	"                         before going to sleep (default 0: interrupts and sleep)\n"
	"  --busy-budget N        frames of one such poll, 8 to 64 (default 64)\n"
	"  --spin USEC            look for frames so long before going to sleep (default 0)\n"
	"  --realtime yes|no      run before all other processes (SCHED_FIFO; needs CAP_SYS_NICE), so that a\n"
	"                         busy machine makes no frame wait (default no)\n"
	"  --checksum MODE        who completes partial checksums: the kernel (offload), this program\n"
	"                         (complete), or the kernel where it can (auto, default)\n"
	"\n"
	"What is not for the router:\n"
	"  --fragments RULE       IPv4 fragments to its address: drop (default) or kernel\n"
	"  --others RULE          everything else: kernel (default) or drop\n"
	"  --flows N              how many at once, 1 to 4194304 (default 65536)\n"
	"\n"
	"Output:\n"
	"  --interval SEC         a line of statistics so often, 0 for none (default 0)\n"
	"  --duration SEC         end after so long (default: at SIGINT or SIGTERM)\n"
	"  --summary FILE         write the summary there instead of to stdout\n"
	"  -o, --output FORMAT    of the summary: text (default) or json\n"
	"  -v, --verbose          what libbpf and libxdp say, too\n"
	"  -h, --help; -V, --version\n"
	"\n"
	"Exit status: 0 ended as told, 1 something failed, 2 wrong usage.\n"
	"Reading: docs/afxdp.md\n";

const char *options_help(void)
{
	return help;
}

const char *options_mode_name(enum options_mode mode)
{
	static const char *const names[] = { "auto", "native", "skb", "zerocopy" };

	return names[mode];
}

enum kind {
	WORD, /* one of words; values are their indexes */
	NUMBER,
	ADDRESS,
	CLIENT,
	TEXT,
	FLAG
};

struct option_rule {
	const char *name;
	char letter;
	enum kind kind;
	size_t at; /* in struct options */
	uint32_t min, max;
	const char *words;
};

#define AT(field) offsetof(struct options, field)

static const struct option_rule rules[] = {
	{ "interface", 'i', TEXT, AT(interface), 0, 0, NULL },
	{ "server", 's', ADDRESS, AT(server), 0, 0, NULL },
	{ "client", 'c', CLIENT, 0, 0, 0, NULL },
	{ "address", 'a', ADDRESS, AT(addr), 0, 0, NULL },
	{ "mode", 0, WORD, AT(mode), sizeof(enum options_mode), 0, "auto native skb zerocopy" },
	{ "huge", 0, WORD, AT(huge), sizeof(enum options_choice), 0, "auto yes no" },
	{ "ring", 0, NUMBER, AT(ring), 64, 16384, NULL },
	{ "batch", 0, NUMBER, AT(batch), 1, 256, NULL },
	{ "need-wakeup", 0, WORD, AT(need_wakeup), sizeof(bool), 0, "no yes" },
	{ "busy-poll", 0, NUMBER, AT(busy_poll_us), 0, 100000, NULL },
	{ "busy-budget", 0, NUMBER, AT(busy_budget), 8, 64, NULL },
	{ "spin", 0, NUMBER, AT(spin_us), 0, 1000000, NULL },
	{ "realtime", 0, WORD, AT(realtime), sizeof(bool), 0, "no yes" },
	{ "checksum", 0, WORD, AT(offload), sizeof(enum options_choice), 0,
	  "auto offload complete" },
	{ "fragments", 0, WORD, AT(drop_fragments), sizeof(bool), 0, "kernel drop" },
	{ "others", 0, WORD, AT(drop_others), sizeof(bool), 0, "kernel drop" },
	{ "flows", 0, NUMBER, AT(flows), 1, 4194304, NULL },
	{ "interval", 0, NUMBER, AT(interval_s), 0, 3600, NULL },
	{ "duration", 0, NUMBER, AT(duration_s), 0, 1000000, NULL },
	{ "summary", 0, TEXT, AT(summary), 0, 0, NULL },
	{ "output", 'o', WORD, AT(json), sizeof(bool), 0, "text json" },
	{ "verbose", 'v', FLAG, AT(verbose), 0, 0, NULL },
	{ "help", 'h', FLAG, AT(help), 0, 0, NULL },
	{ "version", 'V', FLAG, AT(version), 0, 0, NULL },
};

static const struct option_rule *find(const char *name, size_t len, char letter)
{
	size_t i;

	for (i = 0; i < sizeof(rules) / sizeof(*rules); i++)
		if (letter ? rules[i].letter == letter
			   : strlen(rules[i].name) == len && !strncmp(rules[i].name, name, len))
			return &rules[i];
	return NULL;
}

/* Return: the index of @value in the list @words, -1 when it is not there. */
static int word_index(const char *words, const char *value)
{
	size_t len = strlen(value);
	int i;

	for (i = 0; len; i++) {
		size_t n = strcspn(words, " ");

		if (n == len && !strncmp(words, value, n))
			return i;
		if (!words[n])
			break;
		words += n + 1;
	}
	return -1;
}

static int bad(char *error, size_t size, const char *name, const char *value, const char *want)
{
	snprintf(error, size, "--%s %s: must be %s", name, value, want);
	return -EINVAL;
}

static int set_number(char *field, const struct option_rule *r, const char *value, char *error,
		      size_t size)
{
	char *end;
	unsigned long n;
	uint32_t v;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (errno || *value < '0' || *value > '9' || *end || n < r->min || n > r->max) {
		char want[64];

		snprintf(want, sizeof(want), "a number from %u to %u", r->min, r->max);
		return bad(error, size, r->name, value, want);
	}
	v = (uint32_t)n;
	memcpy(field, &v, sizeof(v));
	return 0;
}

static int set(struct options *o, const struct option_rule *r, const char *value, char *error,
	       size_t size)
{
	char *field = (char *)o + r->at;
	struct in_addr addr;
	int i;

	switch (r->kind) {
	case FLAG:
		*(bool *)field = true;
		return 0;
	case TEXT:
		if (!*value)
			return bad(error, size, r->name, value, "a name");
		memcpy(field, &value, sizeof(value));
		return 0;
	case NUMBER:
		return set_number(field, r, value, error, size);
	case WORD:
		i = word_index(r->words, value);
		if (i < 0) {
			char want[64];

			snprintf(want, sizeof(want), "one of: %s", r->words);
			return bad(error, size, r->name, value, want);
		}
		if (r->min == sizeof(bool))
			*(bool *)field = i;
		else
			memcpy(field, &i, sizeof(i));
		return 0;
	default:
		if (inet_pton(AF_INET, value, &addr) != 1 || !addr.s_addr)
			return bad(error, size, r->name, value, "an IPv4 address");
		if (r->kind == ADDRESS) {
			memcpy(field, &addr, sizeof(addr));
			return 0;
		}
		if (o->nclients == ROUTER_CLIENTS)
			return bad(error, size, r->name, value, "given 64 times at most");
		o->clients[o->nclients++] = addr.s_addr;
		return 0;
	}
}

static int check(const struct options *o, char *error, size_t size)
{
	uint32_t i;

	if (!o->interface) {
		snprintf(error, size,
			 "-i INTERFACE is missing: the one on the network of "
			 "client and server");
		return -EINVAL;
	}
	if (!o->server) {
		snprintf(error, size, "-s SERVER is missing: the address that answers");
		return -EINVAL;
	}
	if (o->ring & (o->ring - 1)) {
		snprintf(error, size, "--ring %u: must be a power of two", o->ring);
		return -EINVAL;
	}
	for (i = 0; i < o->nclients; i++)
		if (o->clients[i] == o->server) {
			snprintf(error, size, "the server cannot be a client, too");
			return -EINVAL;
		}
	if (o->addr == o->server) {
		snprintf(error, size, "the server cannot have the router's address");
		return -EINVAL;
	}
	return 0;
}

int options_parse(struct options *o, int argc, char **argv, char *error, size_t size)
{
	int i, err;

	*o = (struct options){ .need_wakeup = true,
			       .drop_fragments = true,
			       .ring = 2048,
			       .batch = 64,
			       .flows = 65536,
			       .busy_budget = 64 };
	for (i = 1; i < argc; i++) {
		const char *arg = argv[i], *value = NULL;
		const struct option_rule *r;

		if (!strncmp(arg, "--", 2)) {
			size_t len = strcspn(arg + 2, "=");

			r = find(arg + 2, len, 0);
			if (arg[2 + len])
				value = arg + 2 + len + 1;
		} else {
			r = arg[0] == '-' && arg[1] ? find("", 0, arg[1]) : NULL;
			if (r && arg[2])
				value = arg + 2;
		}
		if (!r || (r->kind == FLAG && value)) {
			snprintf(error, size, "%s: no such option; see --help", arg);
			return -EINVAL;
		}
		if (r->kind != FLAG && !value) {
			if (i + 1 == argc) {
				snprintf(error, size, "--%s needs a value; see --help", r->name);
				return -EINVAL;
			}
			value = argv[++i];
		}
		err = set(o, r, value, error, size);
		if (err)
			return err;
	}
	return o->help || o->version ? 0 : check(o, error, size);
}
