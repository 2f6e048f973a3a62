// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-flow - make TCP and UDP traffic and verify every byte of it at both ends.
 *
 * Theory of operation
 *
 * Each connection has a 64-bit seed, sent first. Byte n of either direction is a function
 * of (seed, direction, n), so both ends know what must come and keep no buffers.
 *
 * TCP: the client sends struct hello, then its stream. The server verifies it and, in the
 * modes rr and duplex, sends as many bytes of its own stream as it verified. Every message
 * is therefore exactly --size bytes on the wire. When the client half-closes, the server
 * may add struct verdict: how much it verified. A server that gets a wrong byte resets the
 * connection, so the client never takes damaged data for good.
 *
 * UDP: each datagram is struct dgram and filling. The server answers each one (rr, duplex)
 * and keeps counts, which the client asks for at the end.
 *
 * Each .c file here becomes one program, so the two ends are headers of this one:
 * flow-server.h and flow-client.h, over flow-common.h.
 *
 * Both ends run on one machine (or one architecture): structures are in host order.
 *
 * Exit status: 0 all verified, 1 a wrong byte, a broken connection, or a UDP flow that got
 * no answer at all, 2 wrong arguments.
 */
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "flow-client.h"
#include "flow-server.h"

static const char help[] =
	"usage: xmt-flow server --tcp|--udp --port P [--host ADDRESS] [--once]\n"
	"       xmt-flow client --tcp|--udp --port P --host ADDRESS [options]\n"
	"\n"
	"Makes pseudo-random traffic; both ends verify every byte.\n"
	"\n"
	"  --once                server: end after the first client (exit 1 if anything was wrong)\n"
	"  --timeout SEC         give up after that (default: server 600, client duration + 30)\n"
	"  -o json               report as one line of JSON on stdout\n"
	"client, how much:\n"
	"  --connections C       at once, each with a stream of its own (default 1)\n"
	"  --duration SEC | --bytes N | --rounds N   per connection (default --rounds 100)\n"
	"  --size B, --sizes A,B,...  message sizes in turn (default: 64, TCP stream and duplex\n"
	"                        65536, UDP stream 1400); UDP: 24 to 65507\n"
	"client, how:\n"
	"  --mode rr             request, wait for the answer (default)\n"
	"  --mode stream         one way; the server tells at the end what arrived\n"
	"  --mode duplex         send on without waiting, everything comes back\n"
	"  --interval-ms M       start a message each M ms (fractions are fine)\n"
	"  --window N            UDP duplex: datagrams under way (default 64)\n"
	"  --wait-ms M           UDP: count as lost what takes longer (default 250)\n"
	"  --source-port S       connection i uses port S + i\n"
	"  --half-close          TCP: end by shutdown and wait for the verdict (always so in stream\n"
	"                        mode, and in duplex without --linger-rst)\n"
	"  --linger-rst          TCP: end by RST\n"
	"  --mss-report          TCP: print the MSS\n"
	"either end:\n"
	"  --tos N  --ttl N  --df    IP header fields (numbers may be 0x..)\n"
	"  --ecn N               UDP: ECN bits 0 to 3 (for TCP they are the kernel's)\n"
	"  --no-check            UDP: send without checksum\n"
	"\n"
	"UDP: \"lost\" counts round trips in rr and duplex, datagrams in stream.\n"
	"rounds: messages answered, in stream mode and TCP duplex messages sent.\n"
	"stall_ms: longest time that anything was outstanding without progress. In stream mode\n"
	"only a full socket buffer shows; use rr or duplex to see short outages.\n";

static double number(const char *name, const char *s, double min, double max)
{
	char *end;
	double v = strtod(s, &end);

	if (end == s || *end || !(v >= min && v <= max))
		usage_error("--%s '%s': give a number from %g to %g", name, s, min, max);
	return v;
}

static void parse_sizes(const char *name, const char *s)
{
	char *copy = strdup(s), *save = NULL;

	opt.nsizes = 0;
	for (char *p = strtok_r(copy, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
		if (opt.nsizes == MAX_SIZES)
			usage_error("--%s: at most %d sizes", name, MAX_SIZES);
		opt.sizes[opt.nsizes++] = (uint32_t)number(name, p, 1, 1 << 24);
	}
	if (!opt.nsizes)
		usage_error("--%s '%s': give sizes such as 1,1400", name, s);
	free(copy);
}

static int parse_mode(const char *s)
{
	if (!strcmp(s, "rr"))
		return MODE_RR;
	if (!strcmp(s, "stream"))
		return MODE_STREAM;
	if (!strcmp(s, "duplex"))
		return MODE_DUPLEX;
	usage_error("--mode '%s': give rr, stream or duplex", s);
}

static void parse_option(const char *name, const char *arg, bool *tcp)
{
#define IS(n) (!strcmp(name, n))
	if (IS("tcp"))
		*tcp = true;
	else if (IS("udp"))
		opt.udp = true;
	else if (IS("port"))
		opt.port = (int)number(name, arg, 1, 65535);
	else if (IS("host"))
		opt.host = arg;
	else if (IS("once"))
		opt.once = true;
	else if (IS("timeout"))
		opt.timeout = number(name, arg, 0.001, 86400);
	else if (IS("connections"))
		opt.conns = (int)number(name, arg, 1, MAX_CONNS);
	else if (IS("duration"))
		opt.duration = number(name, arg, 0.001, 86400);
	else if (IS("bytes"))
		opt.bytes = (uint64_t)number(name, arg, 1, 1e15);
	else if (IS("rounds"))
		opt.rounds = (uint64_t)number(name, arg, 1, 1e15);
	else if (IS("size") || IS("sizes"))
		parse_sizes(name, arg);
	else if (IS("mode"))
		opt.mode = parse_mode(arg);
	else if (IS("interval-ms"))
		opt.interval_ms = number(name, arg, 0.001, 1e6);
	else if (IS("window"))
		opt.window = (int)number(name, arg, 1, WINDOW_BITS);
	else if (IS("wait-ms"))
		opt.wait_ns = (uint64_t)(number(name, arg, 1, 1e6) * 1e6);
	else if (IS("source-port"))
		opt.source_port = (int)number(name, arg, 1, 65535);
	else if (IS("tos"))
		opt.tos = (int)number(name, arg, 0, 255);
	else if (IS("ecn"))
		opt.ecn = (int)number(name, arg, 0, 3);
	else if (IS("ttl"))
		opt.ttl = (int)number(name, arg, 1, 255);
	else if (IS("no-check"))
		opt.no_check = true;
	else if (IS("df"))
		opt.df = true;
	else if (IS("mss-report"))
		opt.mss_report = true;
	else if (IS("linger-rst"))
		opt.linger_rst = true;
	else if (IS("half-close"))
		opt.half_close = true;
	else if (IS("output")) {
		if (strcmp(arg, "json"))
			usage_error("-o '%s': only json is known", arg);
		opt.json = true;
	}
#undef IS
}

static void check_udp_options(void)
{
	if (opt.linger_rst || opt.half_close || opt.mss_report)
		usage_error("--linger-rst, --half-close and --mss-report are for --tcp");
	for (unsigned int i = 0; i < opt.nsizes; i++)
		if (opt.sizes[i] < sizeof(struct dgram) || opt.sizes[i] > MAX_UDP)
			usage_error("--size %u: UDP datagrams have %zu to %d bytes", opt.sizes[i],
				    sizeof(struct dgram), MAX_UDP);
	if (opt.mode == MODE_RR)
		opt.window = 1;
	else if (!opt.window)
		opt.window = 64;
}

static void check_options(bool tcp)
{
	if (tcp == opt.udp)
		usage_error("give one of --tcp and --udp");
	if (!opt.port)
		usage_error("--port is missing");
	if (!opt.server && !opt.host)
		usage_error("--host is missing");
	if ((opt.duration > 0) + (opt.bytes > 0) + (opt.rounds > 0) > 1)
		usage_error("give one of --duration, --bytes and --rounds");
	if (!opt.bytes && !opt.rounds && opt.duration <= 0)
		opt.rounds = 100;
	if (opt.source_port + opt.conns > 65536)
		usage_error("--source-port %d: not enough ports above it", opt.source_port);
	if (opt.mode < 0)
		opt.mode = MODE_RR;
	if (!opt.nsizes) {
		opt.nsizes = 1;
		opt.sizes[0] = opt.mode == MODE_RR ? 64 : opt.udp ? 64 : 65536;
		if (opt.udp && opt.mode == MODE_STREAM)
			opt.sizes[0] = 1400;
	}
	if (opt.timeout <= 0)
		opt.timeout = opt.server ? 600 : opt.duration + 30;
	if (opt.udp) {
		check_udp_options();
		return;
	}
	if (opt.ecn >= 0 || opt.no_check)
		usage_error("--ecn and --no-check are for --udp");
	if (opt.linger_rst && (opt.mode == MODE_STREAM || opt.half_close))
		usage_error(
			"--linger-rst: not with --half-close or --mode stream, whose verdict it would cut off");
}

static void parse_arguments(int argc, char **argv)
{
	static const struct option options[] = {
		{ "help", 0, NULL, 'h' },      { "tcp", 0, NULL, 1 },
		{ "udp", 0, NULL, 1 },	       { "port", 1, NULL, 1 },
		{ "host", 1, NULL, 1 },	       { "once", 0, NULL, 1 },
		{ "timeout", 1, NULL, 1 },     { "connections", 1, NULL, 1 },
		{ "duration", 1, NULL, 1 },    { "bytes", 1, NULL, 1 },
		{ "rounds", 1, NULL, 1 },      { "size", 1, NULL, 1 },
		{ "sizes", 1, NULL, 1 },       { "mode", 1, NULL, 1 },
		{ "interval-ms", 1, NULL, 1 }, { "window", 1, NULL, 1 },
		{ "wait-ms", 1, NULL, 1 },     { "source-port", 1, NULL, 1 },
		{ "tos", 1, NULL, 1 },	       { "ecn", 1, NULL, 1 },
		{ "ttl", 1, NULL, 1 },	       { "no-check", 0, NULL, 1 },
		{ "df", 0, NULL, 1 },	       { "mss-report", 0, NULL, 1 },
		{ "linger-rst", 0, NULL, 1 },  { "half-close", 0, NULL, 1 },
		{ "output", 1, NULL, 1 },      { 0 }
	};
	int c, index;
	bool tcp = false;

	while ((c = getopt_long(argc, argv, "ho:", options, &index)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			exit(0);
		}
		if (c == '?')
			usage_error("wrong arguments");
		parse_option(c == 'o' ? "output" : options[index].name, optarg, &tcp);
	}
	if (argc - optind != 1 ||
	    (strcmp(argv[optind], "server") && strcmp(argv[optind], "client")))
		usage_error("give one of the commands server and client");
	opt.server = !strcmp(argv[optind], "server");
	check_options(tcp);
}

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct rlimit rl;

	parse_arguments(argc, argv);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	/* Many distributions start with 1024 descriptors. */
	if (!getrlimit(RLIMIT_NOFILE, &rl)) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
	setvbuf(stderr, NULL, _IOLBF, 0);
	pool_init();
	return opt.server ? server_run() : client_run();
}
