/* SPDX-License-Identifier: GPL-2.0-only */
/* load-options.h - what xmt-load is told: pods, pairs of them, how much and how. */
#ifndef XMT_LOAD_OPTIONS_H
#define XMT_LOAD_OPTIONS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load-message.h"

#define MAX_PODS  64
#define MAX_PAIRS 256

struct pod {
	const char *name;
	int ns;
	uint32_t addr; /* network order */
	int listener;
};

static struct {
	int port, tcp, udp, shorts, parallel;
	double interval_ms, timeout, hold;
	uint32_t size, big;
} opt = { .port = 4000,
	  .interval_ms = 100,
	  .timeout = 600,
	  .size = 1000,
	  .big = LOAD_MAX,
	  .parallel = 40 };

static struct pod pods[MAX_PODS];
static struct {
	const struct pod *from, *to;
} pairs[MAX_PAIRS];
static unsigned int n_pods, n_pairs;
__attribute__((format(printf, 1, 2), noreturn)) static inline void die(const char *fmt, ...)
{
	va_list ap;

	fputs("xmt-load: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static const char help[] =
	"usage: xmt-load [options] --pod NAME=NETNS=ADDRESS... --pair FROM,TO...\n"
	"\n"
	"  --tcp N --udp N       connections and flows of each pair (default 0)\n"
	"  --interval-ms M       between two messages of an end (default 100)\n"
	"  --size B              of most messages (default 1000)\n"
	"  --big B               of one in sixteen of TCP (default 32768)\n"
	"  --port P              (default 4000)\n"
	"  --timeout SEC         give up (default 600)\n"
	"  --short N             beside them N short connections, --parallel P at once\n"
	"                        (default 40), of at least --hold MS, closed by FIN of either\n"
	"                        end, RST of either end, half-close of either end\n"
	"\n"
	"Prints \"ready\" when all are connected, a report on SIGUSR1 and at the end (SIGTERM).\n";

static inline double number(const char *name, const char *s, double min, double max)
{
	char *end;
	double v = strtod(s, &end);

	if (end == s || *end || !(v >= min && v <= max))
		die("--%s '%s': give a number from %g to %g", name, s, min, max);
	return v;
}

static inline void parse_pod(char *s)
{
	char *ns = strchr(s, '='), *addr = ns ? strchr(ns + 1, '=') : NULL;
	struct pod *p = &pods[n_pods];

	if (!addr || n_pods == MAX_PODS)
		die("--pod '%s': give NAME=NETNS=ADDRESS, at most %d", s, MAX_PODS);
	*ns++ = *addr++ = '\0';
	p->name = s;
	p->ns = open(ns, O_RDONLY | O_CLOEXEC);
	if (p->ns < 0)
		die("%s: %s", ns, strerror(errno));
	if (inet_pton(AF_INET, addr, &p->addr) != 1)
		die("'%s' is no IPv4 address", addr);
	n_pods++;
}

static inline const struct pod *pod_named(const char *name)
{
	for (unsigned int i = 0; i < n_pods; i++)
		if (!strcmp(pods[i].name, name))
			return &pods[i];
	die("no --pod is named '%s'", name);
}

static inline void parse_pair(char *s)
{
	char *to = strchr(s, ',');

	if (!to || n_pairs == MAX_PAIRS)
		die("--pair '%s': give FROM,TO, at most %d", s, MAX_PAIRS);
	*to++ = '\0';
	pairs[n_pairs].from = pod_named(s);
	pairs[n_pairs++].to = pod_named(to);
}

static inline void parse_arguments(int argc, char **argv)
{
	static const struct option o[] = {
		{ "help", 0, NULL, 'h' },	 { "pod", 1, NULL, 'p' },
		{ "pair", 1, NULL, 'a' },	 { "tcp", 1, NULL, 't' },
		{ "udp", 1, NULL, 'u' },	 { "size", 1, NULL, 's' },
		{ "port", 1, NULL, 'P' },	 { "big", 1, NULL, 'b' },
		{ "timeout", 1, NULL, 'T' },	 { "short", 1, NULL, 'S' },
		{ "parallel", 1, NULL, 'x' },	 { "hold", 1, NULL, 'H' },
		{ "interval-ms", 1, NULL, 'i' }, { 0 }
	};
	int c, i;

	while ((c = getopt_long(argc, argv, "h", o, &i)) != -1) {
		switch (c) {
		case 'h':
			fputs(help, stdout);
			exit(0);
		case 'p':
			parse_pod(optarg);
			break;
		case 'a':
			parse_pair(optarg);
			break;
		case 't':
			opt.tcp = (int)number("tcp", optarg, 0, 10000);
			break;
		case 'u':
			opt.udp = (int)number("udp", optarg, 0, 10000);
			break;
		case 's':
			opt.size = (uint32_t)number("size", optarg, LOAD_MIN, LOAD_UDP_MAX);
			break;
		case 'b':
			opt.big = (uint32_t)number("big", optarg, LOAD_MIN, LOAD_MAX);
			break;
		case 'P':
			opt.port = (int)number("port", optarg, 1, 65535);
			break;
		case 'T':
			opt.timeout = number("timeout", optarg, 1, 86400);
			break;
		case 'S':
			opt.shorts = (int)number("short", optarg, 0, 1e7);
			break;
		case 'x':
			opt.parallel = (int)number("parallel", optarg, 1, 1000);
			break;
		case 'H':
			opt.hold = number("hold", optarg, 0, 1e6);
			break;
		case 'i':
			opt.interval_ms = number("interval-ms", optarg, 1, 1e5);
			break;
		default:
			die("try 'xmt-load --help'");
		}
	}
	if (optind < argc || !n_pairs)
		die("give --pod and --pair; try 'xmt-load --help'");
}

#endif
