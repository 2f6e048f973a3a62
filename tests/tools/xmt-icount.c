// SPDX-License-Identifier: GPL-2.0-only
/*
 * xmt-icount - what a transaction costs, on a machine whose clock counts instructions.
 *
 * Theory of operation
 *
 * Under "vm.sh run --icount" there is one CPU and CLOCK_MONOTONIC advances by 1 ns with each
 * instruction. Both ends of a transaction run on that CPU, so the time between two points is
 * the number of instructions that it took, kernel and both programs included - as long as the
 * CPU is never idle, since idle time is skipped to the next timer. Therefore:
 *
 *  - Both ends are as lean as they can be: two system calls for each message, no clock
 *    readings, no timeouts (which would be timers to arm). A lost datagram ends the run by
 *    alarm().
 *  - One connection is warmed up, then measured in windows of a fixed number of rounds. What
 *    happens once in a while (a daemon's timer, a lease that is renewed) falls into few of
 *    the windows; who reads the result takes their median for what every round costs, and
 *    their mean for what goes on besides.
 *  - A window of a stream ends when the far end says that it has all of it, so that what is
 *    under way at its ends is not a matter of chance. Its send buffer has a fixed size: one
 *    that the kernel tunes grows for minutes, and the cost of a byte with it.
 *  - Both ends are SCHED_BATCH, which never preempts another when it wakes up. Else the
 *    scheduler may let one end interrupt the other or not, for seconds on end.
 *  - Between windows of round trips, some are under way at once, so that not all windows find
 *    the kernel's allocator in the same state.
 *  - A round of short connections is a whole one: connect, so many requests and answers, close.
 *    What the far end still does of the last one when a window ends is in the next window.
 *  - Idle time is reported, and must be none.
 *  - Whoever starts a program meanwhile makes the CPU wait for the disk, and time goes on by
 *    leaps: so it is this program that asks xmasqd for its counters, at both ends of the windows.
 *
 * With --programs it reads the kernel's statistics of BPF programs around each window instead:
 * taking them costs instructions, so one run does not give both. How much of run_time_ns is
 * the taking is what "empty" measures, with a program that does nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/bpf.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK	     65536 /* of a stream: one round */
#define SEND_BUFFER  262144
#define MAX_WINDOWS  64
#define MAX_PROGRAMS 32
#define MAX_ASKED    4
#define REPLY_MAX    65536
/* 120 G instructions; at once when nobody has anything to do any more. */
#define GIVE_UP_S 120

static const char help[] =
	"usage: xmt-icount server --port P [--size B]\n"
	"       xmt-icount client --mode MODE --host ADDRESS --port P [options]\n"
	"       xmt-icount empty [--rounds N]\n"
	"\n"
	"  --mode tcp-rr | udp-rr  request and answer of --size bytes\n"
	"         tcp-stream       a round is 64 KiB one way\n"
	"         tcp-crr          a round is a connection with --requests of the first\n"
	"  --size B                bytes (default 14), the same at both ends\n"
	"  --requests N            of a short connection (default 1)\n"
	"  --warmup N              rounds before the first window (default 400; stream 64; crr 100)\n"
	"  --rounds N              rounds in a window (default 125; stream 32; crr 50)\n"
	"  --windows N             windows (default 12)\n"
	"  --ask SOCKET            of xmasqd: its counters before and after (may be repeated)\n"
	"  --programs ID,ID,...    statistics of these BPF programs instead of time\n"
	"\n"
	"The server answers on port P (TCP), P + 1 (the stream), and P (UDP); it prints \"ready\".\n"
	"The client prints one line of JSON: ns, the time of each window, and idle_ms, which\n"
	"is 0 when a nanosecond is an instruction. \"empty\" prints what the kernel's statistics\n"
	"say of a BPF program that does nothing. Streams and programs need root.\n";

enum mode {
	TCP_RR,
	UDP_RR,
	TCP_STREAM,
	TCP_CRR,
	MODES
};
static const char *const mode_name[] = { "tcp-rr", "udp-rr", "tcp-stream", "tcp-crr" };
/* The server has one for each of them; it does not tell round trips from short connections. */
#define SERVED TCP_CRR

static struct {
	enum mode mode;
	struct sockaddr_in to;
	size_t size;
	unsigned int warmup, rounds, windows, requests;
	uint32_t id[MAX_PROGRAMS];
	unsigned int ids;
	const char *ask[MAX_ASKED];
	unsigned int asks;
} opt = { .mode = MODES, .size = 14, .windows = 12, .requests = 1 };

static char buf[BLOCK];

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Milliseconds (in ticks of 10) that the CPU was idle since boot, or -errno. */
static long long idle_ms(void)
{
	unsigned long long idle;
	FILE *f = fopen("/proc/stat", "re");
	int n;

	if (!f)
		return -errno;
	n = fscanf(f, "cpu %*u %*u %*u %llu", &idle);
	fclose(f);
	return n == 1 ? (long long)(idle * 1000 / (unsigned long long)sysconf(_SC_CLK_TCK))
		      : -EINVAL;
}

static int read_full(int fd, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = recv(fd, buf + got, len - got, 0);

		if (n < 0)
			return -errno;
		if (n == 0)
			return -ECONNRESET;
		got += (size_t)n;
	}
	return 0;
}

static int send_full(int fd, size_t len)
{
	ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);

	return n < 0 ? -errno : (size_t)n < len ? -EMSGSIZE : 0;
}

/* ---- server ---- */

/* What a stream begins with: its windows' sizes in rounds, the warm-up's first. */
struct stream_head {
	uint32_t warmup, rounds;
};

static int echo(int fd)
{
	int err;

	do {
		err = read_full(fd, opt.size);
		if (!err)
			err = send_full(fd, opt.size);
	} while (!err);
	return err;
}

static int sink(int fd)
{
	struct stream_head h;
	int err = read_full(fd, sizeof(h));

	if (err)
		return err;
	memcpy(&h, buf, sizeof(h));
	for (uint64_t left = (uint64_t)h.warmup * BLOCK;; left = (uint64_t)h.rounds * BLOCK) {
		while (left) {
			ssize_t n = recv(fd, buf, left < BLOCK ? (size_t)left : BLOCK, 0);

			if (n <= 0)
				return n ? -errno : -ECONNRESET;
			left -= (size_t)n;
		}
		err = send_full(fd, 1);
		if (err)
			return err;
	}
}

static int serve_tcp(int fd, int (*serve)(int fd))
{
	for (;;) {
		int one = 1, c = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (c < 0)
			return -errno;
		setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		serve(c); /* until the client is done */
		close(c);
	}
}

static int serve_udp(int fd)
{
	struct sockaddr_in from;

	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

		if (n < 0)
			return -errno;
		sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

/* Prints what a child could not do; it ends with its parent. */
static void child(int fd, enum mode mode)
{
	int err;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	err = mode == UDP_RR ? serve_udp(fd) : serve_tcp(fd, mode == TCP_RR ? echo : sink);
	fprintf(stderr, "xmt-icount: server, %s: %s\n", mode_name[mode], strerror(-err));
	_exit(1);
}

static int serve(void)
{
	int fd[SERVED];

	for (int m = 0; m < SERVED; m++) {
		struct sockaddr_in at = opt.to;
		int one = 1;

		if (m == TCP_STREAM)
			at.sin_port = htons((uint16_t)(ntohs(at.sin_port) + 1));
		fd[m] = socket(AF_INET, (m == UDP_RR ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
		if (fd[m] < 0)
			return -errno;
		setsockopt(fd[m], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd[m], (struct sockaddr *)&at, sizeof(at)) ||
		    (m != UDP_RR && listen(fd[m], 8)))
			return -errno;
	}
	for (int m = 0; m < SERVED; m++) {
		pid_t pid = fork();

		if (pid < 0)
			return -errno;
		if (!pid)
			child(fd[m], (enum mode)m);
	}
	puts("ready");
	fflush(stdout);
	/* None of them ends but by an error, which it has printed. */
	wait(NULL);
	return -ECHILD;
}

/* ---- BPF ---- */

static int bpf(enum bpf_cmd cmd, union bpf_attr *attr)
{
	long ret = syscall(__NR_bpf, cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : (int)ret;
}

struct stats {
	uint64_t ns, runs;
};

static int stats_on(void)
{
	union bpf_attr attr = { .enable_stats.type = BPF_STATS_RUN_TIME };

	return bpf(BPF_ENABLE_STATS, &attr);
}

static int program_info(int fd, struct bpf_prog_info *info)
{
	union bpf_attr attr = { 0 };

	memset(info, 0, sizeof(*info));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info_len = sizeof(*info);
	attr.info.info = (uintptr_t)info;
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
}

static int program_stats(int fd, struct stats *s)
{
	struct bpf_prog_info info;
	int err = program_info(fd, &info);

	*s = (struct stats){ info.run_time_ns, info.run_cnt };
	return err;
}

static int empty(void)
{
	const struct bpf_insn insn[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { 0 };
	struct stats before, after;
	int err, fd, on;

	attr.prog_type = BPF_PROG_TYPE_SCHED_CLS;
	attr.insns = (uintptr_t)insn;
	attr.insn_cnt = 2;
	attr.license = (uintptr_t) "GPL";
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0)
		return fd;
	on = stats_on();
	err = on < 0 ? on : program_stats(fd, &before);
	if (!err) {
		attr = (union bpf_attr){ 0 };
		attr.test.prog_fd = (uint32_t)fd;
		attr.test.data_in = (uintptr_t)buf;
		attr.test.data_size_in = 64;
		attr.test.repeat = opt.rounds;
		err = bpf(BPF_PROG_TEST_RUN, &attr);
	}
	if (!err)
		err = program_stats(fd, &after);
	if (!err)
		printf("{\"ns\":%llu,\"runs\":%llu}\n", (unsigned long long)(after.ns - before.ns),
		       (unsigned long long)(after.runs - before.runs));
	if (on >= 0)
		close(on);
	close(fd);
	return err;
}

/* ---- xmasqd ---- */

/* The line that it answers, without its end. */
static int ask(const char *path, char *reply, size_t size)
{
	static const char request[] = "{\"command\":\"counters\",\"args\":{}}\n";
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), err = 0;
	size_t got = 0;
	ssize_t n = 1;

	if (fd < 0)
		return -errno;
	memcpy(to.sun_path, path, strlen(path) + 1);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) ||
	    send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		err = -errno;
	while (!err && n && got < size) {
		n = recv(fd, reply + got, size - got, 0);
		if (n < 0)
			err = -errno;
		else
			got += (size_t)n;
	}
	close(fd);
	if (!err && (!got || got == size || reply[got - 1] != '\n'))
		err = -EBADMSG;
	if (!err)
		reply[got - 1] = 0;
	return err;
}

static int ask_all(char reply[][REPLY_MAX])
{
	int err = 0;

	for (unsigned int i = 0; !err && i < opt.asks; i++)
		err = ask(opt.ask[i], reply[i], REPLY_MAX);
	return err;
}

static void print_replies(const char *name, char reply[][REPLY_MAX])
{
	printf("\"%s\":[", name);
	for (unsigned int i = 0; i < opt.asks; i++)
		printf("%s%s", i ? "," : "", reply[i]);
	printf("]");
}

/* ---- client ---- */

static int rr(int fd, unsigned int rounds)
{
	int err = 0;

	while (!err && rounds--) {
		err = send_full(fd, opt.size);
		if (!err)
			err = read_full(fd, opt.size);
	}
	return err;
}

static int stream(int fd, unsigned int rounds)
{
	int err = 0;

	while (!err && rounds--)
		err = send_full(fd, BLOCK);
	return err ?: read_full(fd, 1);
}

/* A connected socket whose far end knows what will come; or -errno. */
static int connected(void)
{
	int one = 1, size = SEND_BUFFER, err = 0;
	int fd = socket(AF_INET, (opt.mode == UDP_RR ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (opt.mode == TCP_STREAM)
		opt.to.sin_port = htons((uint16_t)(ntohs(opt.to.sin_port) + 1));
	if (opt.mode == TCP_STREAM &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		err = -errno;
	if (!err && connect(fd, (struct sockaddr *)&opt.to, sizeof(opt.to)))
		err = -errno;
	if (!err && opt.mode != UDP_RR)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!err && opt.mode == TCP_STREAM) {
		struct stream_head h = { opt.warmup, opt.rounds };

		if (send(fd, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h))
			err = -errno;
	}
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* Connections, one after the other. */
static int crr(unsigned int rounds)
{
	int err = 0;

	while (!err && rounds--) {
		int fd = connected();

		if (fd < 0)
			return fd;
		err = rr(fd, opt.requests);
		close(fd);
	}
	return err;
}

/* Several requests under way: others of the kernel's pages come to be used. */
static int shake(int fd, unsigned int window)
{
	unsigned int n = 8 + window * 29 % 53;
	int err = 0;

	if (opt.mode == TCP_STREAM || opt.mode == TCP_CRR)
		return 0;
	for (unsigned int i = 0; !err && i < n; i++)
		err = send_full(fd, opt.size);
	return err ?: read_full(fd, n * opt.size);
}

static int rounds(int fd, unsigned int n)
{
	switch (opt.mode) {
	case TCP_STREAM:
		return stream(fd, n);
	case TCP_CRR:
		return crr(n);
	default:
		return rr(fd, n);
	}
}

static void print_list(const char *name, const uint64_t *value, unsigned int n)
{
	printf("\"%s\":[", name);
	for (unsigned int i = 0; i < n; i++)
		printf("%s%llu", i ? "," : "", (unsigned long long)value[i]);
	printf("]");
}

static void print_head(void)
{
	printf("{\"mode\":\"%s\",\"warmup\":%u,\"rounds\":%u,\"requests\":%u,\"bytes\":%zu,",
	       mode_name[opt.mode], opt.warmup, opt.rounds, opt.requests,
	       opt.mode == TCP_STREAM ? (size_t)BLOCK : opt.size);
}

static int measure_time(int fd)
{
	static char before[MAX_ASKED][REPLY_MAX], after[MAX_ASKED][REPLY_MAX];
	uint64_t ns[MAX_WINDOWS], then;
	long long idle;
	int err = ask_all(before);

	idle = idle_ms();
	for (unsigned int w = 0; !err && w < opt.windows; w++) {
		err = shake(fd, w);
		then = now_ns();
		if (!err)
			err = rounds(fd, opt.rounds);
		ns[w] = now_ns() - then;
	}
	idle = idle_ms() - idle;
	if (!err)
		err = ask_all(after);
	if (err)
		return err;
	print_head();
	print_list("ns", ns, opt.windows);
	printf(",\"idle_ms\":%lld", idle);
	if (opt.asks) {
		printf(",");
		print_replies("before", before);
		printf(",");
		print_replies("after", after);
	}
	printf("}\n");
	return 0;
}

static int measure_programs(int fd)
{
	static struct stats at[MAX_WINDOWS + 1][MAX_PROGRAMS];
	uint64_t ns[MAX_WINDOWS], runs[MAX_WINDOWS];
	int prog[MAX_PROGRAMS] = { 0 }, err = 0, on;

	for (unsigned int i = 0; i < opt.ids; i++) {
		union bpf_attr attr = { .prog_id = opt.id[i] };

		prog[i] = bpf(BPF_PROG_GET_FD_BY_ID, &attr);
		if (prog[i] < 0)
			return prog[i];
	}
	on = stats_on();
	if (on < 0)
		return on;
	for (unsigned int w = 0; !err && w <= opt.windows; w++) {
		if (w)
			err = rounds(fd, opt.rounds);
		for (unsigned int i = 0; !err && i < opt.ids; i++)
			err = program_stats(prog[i], &at[w][i]);
	}
	close(on);
	if (err)
		return err;
	print_head();
	printf("\"programs\":[");
	for (unsigned int i = 0; i < opt.ids; i++) {
		for (unsigned int w = 0; w < opt.windows; w++) {
			ns[w] = at[w + 1][i].ns - at[w][i].ns;
			runs[w] = at[w + 1][i].runs - at[w][i].runs;
		}
		printf("%s{\"id\":%u,", i ? "," : "", opt.id[i]);
		print_list("ns", ns, opt.windows);
		printf(",");
		print_list("runs", runs, opt.windows);
		printf("}");
	}
	printf("]}\n");
	return 0;
}

static int client(void)
{
	int err, fd = -1;

	alarm(GIVE_UP_S);
	if (opt.mode != TCP_CRR) {
		fd = connected();
		if (fd < 0)
			return fd;
	}
	err = rounds(fd, opt.warmup);
	if (!err)
		err = opt.ids ? measure_programs(fd) : measure_time(fd);
	if (fd >= 0)
		close(fd);
	return err;
}

/* ---- arguments ---- */

static int set_number(const char *text, unsigned long min, unsigned long max, unsigned int *value)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	*value = (unsigned int)v;
	return *end || end == text || v < min || v > max ? -EINVAL : 0;
}

static int set_programs(char *text)
{
	for (char *word = strtok(text, ","); word; word = strtok(NULL, ","))
		if (opt.ids == MAX_PROGRAMS || set_number(word, 1, UINT32_MAX, &opt.id[opt.ids++]))
			return -EINVAL;
	return opt.ids ? 0 : -EINVAL;
}

static int set_option(int c)
{
	unsigned int v;

	switch (c) {
	case 'p':
		if (set_number(optarg, 1, 65534, &v))
			return -EINVAL;
		opt.to.sin_port = htons((uint16_t)v);
		return 0;
	case 'm':
		for (opt.mode = 0; opt.mode < MODES; opt.mode++)
			if (!strcmp(optarg, mode_name[opt.mode]))
				return 0;
		return -EINVAL;
	case 'a':
		return inet_pton(AF_INET, optarg, &opt.to.sin_addr) == 1 ? 0 : -EINVAL;
	case 'b':
		if (set_number(optarg, 1, 1400, &v))
			return -EINVAL;
		opt.size = v;
		return 0;
	case 'w':
		return set_number(optarg, 1, 1000000, &opt.warmup);
	case 'r':
		return set_number(optarg, 1, 1000000, &opt.rounds);
	case 'q':
		return set_number(optarg, 1, 1000000, &opt.requests);
	case 'n':
		return set_number(optarg, 1, MAX_WINDOWS, &opt.windows);
	case 'i':
		return set_programs(optarg);
	case 'k':
		if (opt.asks == MAX_ASKED ||
		    strlen(optarg) >= sizeof(((struct sockaddr_un *)0)->sun_path))
			return -EINVAL;
		opt.ask[opt.asks++] = optarg;
		return 0;
	default:
		return -EINVAL;
	}
}

static int usage(void)
{
	fputs(help, stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "mode", required_argument, NULL, 'm' },
		{ "host", required_argument, NULL, 'a' },
		{ "size", required_argument, NULL, 'b' },
		{ "warmup", required_argument, NULL, 'w' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "requests", required_argument, NULL, 'q' },
		{ "windows", required_argument, NULL, 'n' },
		{ "ask", required_argument, NULL, 'k' },
		{ "programs", required_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const struct sched_param batch = { 0 };
	static const struct {
		unsigned int warmup, rounds;
	} of_mode[MODES + 1] = {
		[TCP_RR] = { 400, 125 },
		[UDP_RR] = { 400, 125 },
		[TCP_STREAM] = { 64, 32 },
		[TCP_CRR] = { 100, 50 },
	};
	const char *what;
	int c, err;

	opt.to.sin_family = AF_INET;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (set_option(c))
			return usage();
	}
	if (optind + 1 != argc)
		return usage();
	what = argv[optind];
	if (!opt.warmup)
		opt.warmup = of_mode[opt.mode].warmup;
	if (!opt.rounds)
		opt.rounds = of_mode[opt.mode].rounds;
	if (sched_setscheduler(0, SCHED_BATCH, &batch))
		err = -errno;
	else if (!strcmp(what, "empty"))
		err = empty();
	else if (!strcmp(what, "server") && opt.to.sin_port)
		err = serve();
	else if (!strcmp(what, "client") && opt.to.sin_port && opt.mode != MODES &&
		 opt.to.sin_addr.s_addr)
		err = client();
	else
		return usage();
	if (!err)
		return 0;
	fprintf(stderr, "xmt-icount: %s: %s\n", what, strerror(-err));
	return 1;
}
