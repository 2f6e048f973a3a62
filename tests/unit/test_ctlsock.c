// SPDX-License-Identifier: GPL-2.0-only
/*
 * Both ends of the control socket against each other.
 *
 *   parent                              children
 *   ctlsock, driven as by the daemon    xmasqctl's main(), or a raw client
 *
 * Unit tests link the core alone, so the edge and xmasqctl come in as source.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/wait.h>

#include "../../user_prog/edge/ctlsock.c"
#undef READ_CHUNK
#include "../../user_prog/edge/ctlsock_listen.c"
#include "../../user_prog/xmasqctl/client.c"
/* The largest answer takes the sanitized server seconds when others want the CPU, too. */
#undef CLIENT_TIMEOUT_MS
#define CLIENT_TIMEOUT_MS 60000
#include "../../user_prog/xmasqctl/options.c"
#define main xmasqctl_main
int xmasqctl_main(int argc, char **argv);
#include "../../user_prog/xmasqctl/xmasqctl.c"
#undef main

#include "view.h"

/* Both are run for real by tests/netns/observe.bats; here only what they are asked. */
static struct options asked_for;

int monitor_run(const struct options *o, char *err, size_t err_len)
{
	snprintf(err, err_len, "monitor's reason");
	asked_for = *o;
	return o->looks == 7 ? -EIO : 0;
}

int bugtool_run(const struct options *o, char *err, size_t err_len)
{
	(void)err;
	(void)err_len;
	asked_for = *o;
	return 0;
}

struct bed {
	char dir[64], path[96], out_path[96];
	struct ctlsock *s;
	struct ctl_request last;
	unsigned int asked, big;
	int fail;
};

static int handle(void *arg, const struct ctl_request *req, struct json_object **result, char *err,
		  size_t err_len)
{
	struct bed *b = arg;
	struct view_flow *f;
	unsigned int i;

	b->last = *req;
	b->asked++;
	if (b->fail) {
		if (b->fail == -ENOENT)
			snprintf(err, err_len, "no such flow");
		return b->fail;
	}
	if (req->command == CTL_VERSION)
		*result = json_tokener_parse("{\"version\":\"v9\"}");
	if (req->command == CTL_FLOWS) {
		f = calloc(b->big + 1, sizeof(*f));
		for (i = 0; i < b->big; i++) {
			f[i].key.saddr = htonl(0x0af40000 + i);
			f[i].key.proto = IPPROTO_TCP;
			f[i].state = "active";
		}
		*result = view_flows_json(f, b->big, b->big);
		free(f);
	}
	return 0;
}

static int setup(void **state)
{
	struct bed *b = calloc(1, sizeof(*b));

	strcpy(b->dir, "/tmp/xmasq-ctlsock-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/run/xmasqd.sock", b->dir);
	snprintf(b->out_path, sizeof(b->out_path), "%s/out", b->dir);
	assert_int_equal(ctlsock_open(&b->s, b->path, handle, b), 0);
	unsetenv("XMASQ_SOCKET");
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;
	struct stat st;

	ctlsock_close(b->s);
	unlink(b->out_path);
	/* Nothing may be left: the directory "run" was the socket's own. */
	assert_int_equal(stat(b->path, &st), -1);
	assert_int_equal(rmdir(b->dir), 0);
	free(b);
	return 0;
}

/* One turn of the daemon's loop. */
static void turn(struct bed *b, int ms)
{
	struct pollfd p = { .fd = ctlsock_fd(b->s), .events = POLLIN };
	int due = ctlsock_timeout_ms(b->s);

	poll(&p, 1, due >= 0 && due < ms ? due : ms);
	assert_int_equal(ctlsock_dispatch(b->s), 0);
}

/* Run xmasqctl and serve it; stdout and stderr in @out. Return: its exit status. */
static int run(struct bed *b, const char *const *args, char *out, size_t out_len)
{
	char *argv[16] = { (char *)(uintptr_t) "xmasqctl", (char *)(uintptr_t) "--socket",
			   b->path };
	int argc = 3, status, fd;
	ssize_t n;
	pid_t pid;

	for (; *args; args++)
		argv[argc++] = (char *)(uintptr_t)*args;
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		fd = open(b->out_path, O_CREAT | O_TRUNC | O_RDWR, 0600);
		dup2(fd, 1);
		dup2(fd, 2);
		status = xmasqctl_main(argc, argv);
		fflush(NULL);
		_exit(status);
	}
	while (!waitpid(pid, &status, WNOHANG)) {
		if (b->s)
			turn(b, 20);
		else
			poll(NULL, 0, 20);
	}
	fd = open(b->out_path, O_RDONLY);
	assert_true(fd >= 0);
	n = read(fd, out, out_len - 1);
	close(fd);
	out[n > 0 ? n : 0] = '\0';
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define RUN(b, out, ...) run(b, (const char *[]){ __VA_ARGS__, NULL }, out, sizeof(out))

static void test_files(void **state)
{
	struct bed *b = *state;
	struct ctlsock *second;
	struct stat st;

	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	*strrchr(b->path, '/') = '\0';
	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0755);
	b->path[strlen(b->path)] = '/';

	/* A live daemon keeps its place; a dead one's socket is taken over. */
	assert_int_equal(ctlsock_open(&second, b->path, handle, b), -EADDRINUSE);
	assert_null(second);
	close(b->s->listen.fd);
	b->s->listen.fd = open("/dev/null", O_RDONLY);
	assert_int_equal(ctlsock_open(&second, b->path, handle, b), 0);
	ctlsock_close(b->s); /* must not remove the second one's file */
	b->s = second;
	b->s->listen.made_dir = true;
	assert_int_equal(stat(b->path, &st), 0);
}

static void test_not_a_socket(void **state)
{
	struct bed *b = *state;
	struct ctlsock *s;
	char path[4200];
	int fd = open(b->out_path, O_CREAT | O_WRONLY, 0600);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(ctlsock_open(&s, b->out_path, handle, b), -EEXIST);
	assert_int_equal(access(b->out_path, F_OK), 0);
	assert_int_equal(ctlsock_open(&s, "relative", handle, b), -EINVAL);
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[108] = '\0';
	assert_int_equal(ctlsock_open(&s, path, handle, b), -ENAMETOOLONG);
}

static void test_ctl(void **state)
{
	struct bed *b = *state;
	char out[4096];

	assert_int_equal(RUN(b, out, "flush", "--flow", "tcp 10.0.0.1:80 10.0.0.2:90"), 0);
	assert_string_equal(out, "done\n");
	assert_int_equal(b->last.command, CTL_FLUSH);
	assert_int_equal(b->last.flush.what, CTL_FLUSH_FLOW);
	assert_int_equal(ntohs(b->last.flush.flow.sport), 80);
	assert_int_equal(RUN(b, out, "flush", "--pod", "veth1"), 0);
	assert_int_equal(b->last.flush.what, CTL_FLUSH_POD_IF);
	assert_string_equal(b->last.flush.ifname, "veth1");
	assert_int_equal(RUN(b, out, "flush", "-a"), 0);
	assert_int_equal(b->last.flush.what, CTL_FLUSH_ALL);
	assert_int_equal(RUN(b, out, "flows", "--active", "--limit", "5"), 0);
	assert_true(b->last.flows.active);
	assert_int_equal(b->last.flows.limit, 5);
	assert_int_equal(RUN(b, out, "-o", "json", "flows"), 0);
	assert_non_null(strstr(out, "\n  \"total\": 0\n}\n"));
	assert_int_equal(b->last.flows.limit, CTL_FLOWS_LIMIT);
	assert_int_equal(RUN(b, out, "trace", "udp", "10.0.0.1:1", "10.0.0.2:2"), 0);
	assert_int_equal(b->last.command, CTL_TRACE);
	assert_int_equal(b->last.trace.proto, IPPROTO_UDP);
	assert_int_equal(ntohs(b->last.trace.dport), 2);
	assert_int_equal(RUN(b, out, "policy", "add", "deny", "egress", "tcp to any", "port", "25"),
			 0);
	assert_int_equal(b->last.command, CTL_POLICY);
	assert_int_equal(b->last.policy.what, CTL_POLICY_ADD);
	assert_string_equal(b->last.policy.text, "deny egress tcp to any port 25");
	assert_int_equal(RUN(b, out, "policy", "list"), 0);
	assert_int_equal(b->last.policy.what, CTL_POLICY_LIST);
	assert_int_equal(RUN(b, out, "monitor", "--count", "7"), 1);
	assert_string_equal(out, "xmasqctl: monitor's reason\n");
	assert_int_equal(RUN(b, out, "version"), 0);
	assert_non_null(strstr(out, "\nxmasqd: v9\n"));
	assert_int_equal(RUN(b, out, "status"), 0);
	assert_null(strchr(out, '\033')); /* no terminal, no colour */

	b->fail = -ENOENT;
	assert_int_equal(RUN(b, out, "flush", "--all"), 1);
	assert_string_equal(out, "xmasqctl: no such flow\n");
	b->fail = -EBUSY;
	assert_int_equal(RUN(b, out, "cleanup"), 1);
	assert_string_equal(out, "xmasqctl: Device or resource busy\n");
}

/* What xmasqctl does without asking for one answer. */
static void test_tasks(void **state)
{
	static const struct {
		const char *args[6];
		enum options_task task;
		bool json, filtered;
		uint32_t look_ms, looks, limit;
		const char *to;
	} t[] = {
		{ { "monitor" }, OPTIONS_MONITOR, false, false, 1000, 0, 4096, NULL },
		{ { "monitor", "--interval=0.25", "--count", "3", "-ojson" },
		  OPTIONS_MONITOR,
		  true,
		  false,
		  250,
		  3,
		  4096,
		  NULL },
		{ { "--interval", "60", "monitor", "--limit=9" },
		  OPTIONS_MONITOR,
		  false,
		  false,
		  60000,
		  0,
		  9,
		  NULL },
		{ { "monitor", "--pod", "10.0.0.1" },
		  OPTIONS_MONITOR,
		  false,
		  true,
		  1000,
		  0,
		  CTL_FLOWS_MAX,
		  NULL },
		{ { "bugtool" }, OPTIONS_BUGTOOL, false, false, 1000, 0, 0, NULL },
		{ { "bugtool", "--to", "-" }, OPTIONS_BUGTOOL, false, false, 1000, 0, 0, "-" },
	};
	char err[512];

	(void)state;
	for (size_t i = 0; i < XM_ARRAY_SIZE(t); i++) {
		char *argv[8] = { "xmasqctl" };
		struct options o;
		int argc = 1;

		for (; argc < 7 && t[i].args[argc - 1]; argc++)
			argv[argc] = strdup(t[i].args[argc - 1]);
		if (options_parse(argc, argv, &o, err, sizeof(err)))
			fail_msg("%s", err);
		assert_int_equal(o.task, t[i].task);
		assert_int_equal(o.json, t[i].json);
		assert_int_equal(o.filtered, t[i].filtered);
		assert_int_equal(o.look_ms, t[i].look_ms);
		assert_int_equal(o.looks, t[i].looks);
		assert_int_equal(o.show.limit, t[i].limit);
		if (t[i].to)
			assert_string_equal(o.to, t[i].to);
		else
			assert_null(o.to);
		assert_int_equal(xmasqctl_main(argc, argv), 0);
		assert_int_equal(asked_for.task, t[i].task);
		while (--argc)
			free(argv[argc]);
	}
}

static void test_usage(void **state)
{
	static const struct {
		const char *args[5];
		const char *says;
	} t[] = {
		{ { NULL }, "a command is missing" },
		{ { "statsu" }, "did you mean \"status\"?" },
		{ { "zzzzzzz" }, "unknown command \"zzzzzzz\"" },
		{ { "status", "pods" }, "\"pods\" is one word too many" },
		{ { "status", "--colour" }, "unknown option \"--colour\"" },
		{ { "status", "-o", "xml" }, "table or json" },
		{ { "flows", "--limit" }, "lacks its value" },
		{ { "flows", "--limit", "0" }, "from 1 to 65536" },
		{ { "flows", "--limit", "5x" }, "from 1 to 65536" },
		{ { "status", "--limit", "5" }, "--limit belongs to flows and monitor" },
		{ { "pods", "--all" }, "belongs to counters and flush" },
		{ { "pods", "--peer", "1.2.3.4" }, "belong to flush and monitor" },
		{ { "status", "--active" }, "--active belongs to flows" },
		{ { "moniter" }, "did you mean \"monitor\"?" },
		{ { "monitor", "--interval", "0.01" }, "must be 0.1 to 60 seconds" },
		{ { "monitor", "--interval", "nan" }, "must be 0.1 to 60 seconds" },
		{ { "monitor", "--count", "0" }, "a number from 1" },
		{ { "status", "--count", "1" }, "belong to monitor" },
		{ { "monitor", "--pod=a", "--peer=1.2.3.4" }, "at most one of" },
		{ { "monitor", "--all" }, "belongs to counters and flush" },
		{ { "bugtool", "-o", "json" }, "bugtool writes an archive" },
		{ { "pods", "--to", "x" }, "--to belongs to bugtool" },
		{ { "trace" }, "trace needs a flow such as" },
		{ { "trace", "tcp", "1.2.3.4:5" }, "trace needs a flow such as" },
		{ { "trace", "tcp 1.2.3.4:5 6.7.8.9:10", "x" }, "trace needs a flow such as" },
		{ { "policy" }, "policy needs one of list, add, del and test" },
		{ { "policy", "drop" }, "policy can list, add, del and test" },
		{ { "policy", "list", "x" }, "takes no more words" },
		{ { "policy", "del" }, "needs the name of one rule" },
		{ { "policy", "add", "deny" }, "direction is missing" },
		{ { "policy", "test", "tcp", "1.2.3.4" }, "an address and a port" },
		{ { "flush" }, "exactly one of" },
		{ { "flush", "--all", "--peer", "1.2.3.4" }, "exactly one of" },
		{ { "flush", "--peer", "host" }, "must be an IPv4 address" },
		{ { "flush", "--flow", "tcp" }, "--flow must be like" },
		{ { "flush", "--pod", "a/b" }, "--pod must be" },
	};
	struct bed *b = *state;
	char out[4096];
	size_t i;

	for (i = 0; i < XM_ARRAY_SIZE(t); i++) {
		assert_int_equal(run(b, t[i].args, out, sizeof(out)), 2);
		if (!strstr(out, t[i].says))
			fail_msg("%s\n  wanted ...%s...", out, t[i].says);
	}
	assert_int_equal(b->asked, 0);
	assert_int_equal(RUN(b, out, "help"), 0);
	assert_non_null(strstr(out, "usage: xmasqctl"));
}

static void test_no_daemon(void **state)
{
	struct bed *b = *state;
	char out[4096];

	ctlsock_close(b->s);
	b->s = NULL;
	assert_int_equal(RUN(b, out, "status"), 1);
	assert_non_null(strstr(out, "is xmasqd running? systemctl status xmasqd"));
}

/* Megabytes to a client that takes its time; another one is served meanwhile. */
static uint64_t cpu_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* A write that blocks would never end: nobody reads before the turn is over. */
static void test_big(void **state)
{
	struct bed *b = *state;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int slow = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char *buf = malloc(1 << 20), out[4096];
	uint64_t t0, worst = 0;
	size_t total = 0;
	ssize_t n;

	strcpy(sa.sun_path, b->path);
	assert_int_equal(connect(slow, (void *)&sa, sizeof(sa)), 0);
	assert_int_equal(send(slow, "{\"command\":\"flows\"}\n", 20, 0), 20);
	b->big = 20000;
	while (!b->asked)
		turn(b, 20);
	assert_int_equal(RUN(b, out, "version"), 0);
	do {
		t0 = cpu_ms();
		turn(b, 0);
		if (cpu_ms() - t0 > worst)
			worst = cpu_ms() - t0;
		n = recv(slow, buf, 1 << 20, MSG_DONTWAIT);
		total += n > 0 ? (size_t)n : 0;
	} while (n > 0 || (n < 0 && errno == EAGAIN));
	assert_int_equal(n, 0);
	assert_true(total > 3000000);
	assert_true(worst < 1000);
	close(slow);
	free(buf);
	b->big = 65536;
	assert_int_equal(RUN(b, out, "flows"), 0);
}

static int raw(struct bed *b, const void *bytes, size_t len)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(sa.sun_path, b->path);
	assert_int_equal(connect(fd, (void *)&sa, sizeof(sa)), 0);
	if (len)
		assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
	return fd;
}

/* Serve until @fd has an answer or its end. */
static size_t wait_reply(struct bed *b, int fd, char *out, size_t len)
{
	uint64_t end = clock_ms() + 10000;
	size_t at = 0;
	ssize_t n;

	for (;;) {
		turn(b, 10);
		n = recv(fd, out + at, len - 1 - at, 0);
		if (n > 0)
			at += (size_t)n;
		else if (!n || errno != EAGAIN)
			break;
		assert_true(clock_ms() < end);
	}
	out[at] = '\0';
	close(fd);
	return at;
}

static void test_raw(void **state)
{
	struct bed *b = *state;
	char out[4096], *junk = malloc(CTL_LINE_MAX + 4096);
	int fd;

	assert_true(wait_reply(b, raw(b, "garbage\n", 8), out, sizeof(out)) > 0);
	assert_non_null(strstr(out, "{\"ok\":false,\"error\":\"the request is not valid JSON"));
	/* In pieces, and with something behind it. */
	fd = raw(b, "{\"comm", 6);
	turn(b, 10);
	turn(b, 10);
	send(fd, "and\":\"cleanup\"}\nrest", 20, 0);
	wait_reply(b, fd, out, sizeof(out));
	assert_string_equal(out, "{\"ok\":true,\"result\":null}\n");
	assert_int_equal(b->last.command, CTL_CLEANUP);
	/* Ended by a half close in place of a newline. */
	fd = raw(b, "{\"command\":\"pods\"}", 18);
	shutdown(fd, SHUT_WR);
	wait_reply(b, fd, out, sizeof(out));
	assert_string_equal(out, "{\"ok\":true,\"result\":null}\n");
	/* Nothing at all. */
	fd = raw(b, NULL, 0);
	shutdown(fd, SHUT_WR);
	assert_int_equal(wait_reply(b, fd, out, sizeof(out)), 0);
	/* Too much. */
	memset(junk, ' ', CTL_LINE_MAX + 4096);
	fd = raw(b, junk, CTL_LINE_MAX + 4096);
	wait_reply(b, fd, out, sizeof(out));
	assert_non_null(strstr(out, "at most 65536 bytes"));
	/* Gone before the answer. */
	close(raw(b, "{\"command\":\"flows\"}\n", 20));
	turn(b, 10);
	turn(b, 10);
	turn(b, 10);
	assert_int_equal(b->s->n_clients, 0);
	free(junk);
}

/* Those who only hold a place lose it, and who waits behind them is served. */
static void test_idle(void **state)
{
	struct bed *b = *state;
	int fd[CTLSOCK_CLIENTS], i, late;
	uint64_t t0 = clock_ms();
	char out[256];

	for (i = 0; i < CTLSOCK_CLIENTS; i++)
		fd[i] = raw(b, "{", 1);
	while (b->s->n_clients < CTLSOCK_CLIENTS)
		turn(b, 10);
	late = raw(b, "{\"command\":\"pods\"}\n", 19);
	/* A full house must not keep the loop awake. */
	turn(b, 10);
	turn(b, 10);
	assert_int_equal(poll(&(struct pollfd){ .fd = ctlsock_fd(b->s), .events = POLLIN }, 1, 0),
			 0);
	assert_true(ctlsock_timeout_ms(b->s) > 3000);
	/* Time travel instead of sleeping. */
	for (i = 0; i < CTLSOCK_CLIENTS; i++)
		b->s->clients[i].deadline_ms = clock_ms();
	wait_reply(b, late, out, sizeof(out));
	assert_string_equal(out, "{\"ok\":true,\"result\":null}\n");
	assert_true(clock_ms() - t0 < CTLSOCK_IDLE_MS);
	assert_int_equal(b->s->n_clients, 0);
	assert_int_equal(ctlsock_timeout_ms(b->s), -1);
	for (i = 0; i < CTLSOCK_CLIENTS; i++) {
		assert_int_equal(recv(fd[i], out, sizeof(out), 0), 0);
		close(fd[i]);
	}
}

static void test_flush_before_exit(void **state)
{
	struct bed *b = *state;
	char *buf = malloc(64 << 20);
	size_t total = 0;
	int fd, status;
	ssize_t n;
	pid_t pid;

	pid = fork();
	if (!pid) {
		fd = raw(b, "{\"command\":\"flows\"}\n", 20);
		fcntl(fd, F_SETFL, 0);
		while ((n = recv(fd, buf + total, 4096, 0)) > 0)
			total += (size_t)n;
		_exit(n == 0 && total > 1000000 && buf[total - 1] == '\n' ? 0 : 1);
	}
	b->big = 10000;
	while (!b->asked)
		turn(b, 20);
	ctlsock_flush(b->s, 20000);
	ctlsock_close(b->s);
	b->s = NULL;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	free(buf);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_files), T(test_not_a_socket),	  T(test_ctl), T(test_tasks),
		T(test_usage), T(test_no_daemon),	  T(test_big), T(test_raw),
		T(test_idle),  T(test_flush_before_exit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
