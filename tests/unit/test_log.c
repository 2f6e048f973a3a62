// SPDX-License-Identifier: GPL-2.0-only
/* What goes to stderr and to systemd. The edge comes in as source: see test_ctlsock.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../../user_prog/edge/log.c"
#include "../../user_prog/edge/sdnotify.c"

static int saved_stderr, file;
static uint64_t began_us;

/* stderr is a file from here to logged(). */
static void catch (void)
{
	char name[] = "/tmp/xmasq-log-XXXXXX";

	file = mkstemp(name);
	assert_true(file >= 0);
	unlink(name);
	saved_stderr = dup(STDERR_FILENO);
	dup2(file, STDERR_FILENO);
}

static char *logged(void)
{
	static char text[8192];
	ssize_t n;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	n = pread(file, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	close(file);
	return text;
}

static void test_text(void **state)
{
	char *out;

	(void)state;
	unsetenv("JOURNAL_STREAM");
	catch ();
	log_init(CONFIG_LOG_WARN, CONFIG_LOG_TEXT);
	errno = ENODEV;
	log_error("veth%d: cannot\n\033[31m attach \xff", 3);
	assert_int_equal(errno, ENODEV);
	log_warn("w");
	log_info("i");
	log_debug("d");
	/* U+0080 to U+009F control a terminal as well; U+00A0 and what follows are letters. */
	log_warn("a\tb\x7f \xc2\x80 \xc2\x9b"
		 "2J \xc2\x9f\xc2\xa0\xc3\x9b \xc2");
	out = logged();
	assert_int_equal(out[4], '-');
	assert_int_equal(out[10], 'T');
	assert_int_equal(out[23], 'Z');
	assert_string_equal(strtok(out + 24, "\n"), " error veth3: cannot??[31m attach ?");
	assert_string_equal(strtok(NULL, "\n") + 24, " warn  w");
	assert_string_equal(strtok(NULL, "\n") + 24, " warn  a b? ?? ??2J ??\xc2\xa0\xc3\x9b ?");
	assert_null(strtok(NULL, "\n"));
}

static void test_journal(void **state)
{
	char env[64];
	struct stat st;

	(void)state;
	catch ();
	fstat(STDERR_FILENO, &st);
	snprintf(env, sizeof(env), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", env, 1);
	log_init(CONFIG_LOG_DEBUG, CONFIG_LOG_TEXT);
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("d");
	assert_string_equal(logged(), "<3>e\n<4>w\n<6>i\n<7>d\n");

	/* Inherited, but stderr has gone elsewhere since. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	catch ();
	log_init(CONFIG_LOG_INFO, CONFIG_LOG_TEXT);
	log_info("i");
	assert_non_null(strstr(logged(), "Z info  i\n"));
	unsetenv("JOURNAL_STREAM");
}

static void test_json(void **state)
{
	struct json_object *o;
	char *out;

	(void)state;
	catch ();
	log_init(CONFIG_LOG_INFO, CONFIG_LOG_JSON);
	log_warn("a \"b\" \\ /c \xff \xc2\x9b"
		 "2J\x7f \xc3\x9b");
	out = logged();
	o = json_tokener_parse(out);
	assert_non_null(o);
	assert_string_equal(jsonx_str(o, "level"), "warn");
	assert_string_equal(jsonx_str(o, "message"), "a \"b\" \\ /c ? ??2J? \xc3\x9b");
	assert_int_equal(strlen(jsonx_str(o, "time")), 24);
	assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
	json_object_put(o);
}

static int print_libbpf(enum libbpf_print_level level, const char *fmt, ...)
{
	libbpf_print_fn_t fn = log_libbpf;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = fn(level, fmt, ap);
	va_end(ap);
	return n;
}

static void test_libbpf(void **state)
{
	char *out;

	(void)state;
	catch ();
	log_init(CONFIG_LOG_INFO, CONFIG_LOG_TEXT);
	print_libbpf(LIBBPF_WARN, "libbpf: %s:\none\n\ntwo\n", "log");
	print_libbpf(LIBBPF_INFO, "noise\n");
	print_libbpf(LIBBPF_DEBUG, "noise\n");
	out = logged();
	assert_null(strstr(out, "noise"));
	assert_string_equal(strtok(out, "\n") + 24, " warn  libbpf: log:");
	assert_string_equal(strtok(NULL, "\n") + 24, " warn  one");
	assert_string_equal(strtok(NULL, "\n") + 24, " warn  two");
	assert_null(strtok(NULL, "\n"));
}

static void test_limit(void **state)
{
	struct log_limit l = { 0 };
	unsigned int missed, i, lines = 0;
	char *out;

	(void)state;
	assert_true(log_limit_ok(&l, 2, 5000, &missed));
	assert_int_equal(missed, 0);
	assert_true(log_limit_ok(&l, 2, 5001, &missed));
	assert_false(log_limit_ok(&l, 2, 5002, &missed));
	assert_false(log_limit_ok(&l, 2, 5999, &missed));
	assert_true(log_limit_ok(&l, 2, 6000, &missed));
	assert_int_equal(missed, 2);
	assert_true(log_limit_ok(&l, 2, 6001, &missed));
	assert_int_equal(missed, 0);

	catch ();
	log_init(CONFIG_LOG_INFO, CONFIG_LOG_TEXT);
	for (i = 0; i < 1000; i++)
		log_ratelimited(CONFIG_LOG_INFO, 3, "again %u", i);
	out = logged();
	for (; (out = strchr(out, '\n')); out++)
		lines++;
	assert_in_range(lines, 3, 6); /* the loop may straddle a second */
}

static int listen_at(const char *name, bool abstract)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));

	strcpy(sa.sun_path, name);
	if (abstract)
		sa.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (void *)&sa, len), 0);
	return fd;
}

/* @want NULL: of a reload, and at what time it is. */
static void expect_notice(int fd, const char *want)
{
	unsigned long long us;
	char buf[1024];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, 0);

	assert_true(n > 0);
	buf[n] = '\0';
	if (want) {
		assert_string_equal(buf, want);
	} else {
		assert_int_equal(sscanf(buf, "RELOADING=1\nMONOTONIC_USEC=%llu", &us), 1);
		assert_in_range(us, began_us, clock_us());
	}
}

/* In its three units it is the kernel's clock. */
static void test_clock(void **state)
{
	uint64_t ns = clock_ns(), us = clock_us(), ms = clock_ms(), later = clock_ns();
	struct timespec ts;

	(void)state;
	assert_in_range(us, ns / 1000, later / 1000);
	assert_in_range(ms, ns / 1000000, later / 1000000);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	assert_in_range((uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec, later, clock_ns());
}

static void test_sdnotify(void **state)
{
	char name[64];
	int pass, fd;

	(void)state;
	unsetenv("NOTIFY_SOCKET");
	assert_int_equal(sdnotify_ready(), 0);
	for (pass = 0; pass < 2; pass++) {
		snprintf(name, sizeof(name), "%cxmasq-notify-%d", pass ? '@' : '/', getpid());
		if (!pass)
			snprintf(name, sizeof(name), "/tmp/xmasq-notify-%d", getpid());
		fd = listen_at(name, pass);
		setenv("NOTIFY_SOCKET", name, 1);
		assert_int_equal(sdnotify_ready(), 0);
		expect_notice(fd, "READY=1");
		assert_int_equal(sdnotify_reloading(), 0);
		expect_notice(fd, NULL);
		assert_int_equal(sdnotify_stopping(), 0);
		expect_notice(fd, "STOPPING=1");
		assert_int_equal(sdnotify_watchdog(), 0);
		expect_notice(fd, "WATCHDOG=1");
		assert_int_equal(sdnotify_status("%d of\nREADY=1", 3), 0);
		expect_notice(fd, "STATUS=3 of READY=1");
		close(fd);
		unlink(name);
		assert_true(sdnotify_ready() < 0);
	}
	setenv("NOTIFY_SOCKET", "relative", 1);
	assert_int_equal(sdnotify_ready(), -EAFNOSUPPORT);
	unsetenv("NOTIFY_SOCKET");
}

static void test_watchdog(void **state)
{
	char pid[32];

	(void)state;
	unsetenv("WATCHDOG_PID");
	unsetenv("WATCHDOG_USEC");
	assert_int_equal(sdnotify_watchdog_us(), 0);
	setenv("WATCHDOG_USEC", "30000000", 1);
	assert_int_equal(sdnotify_watchdog_us(), 30000000);
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(sdnotify_watchdog_us(), 30000000);
	setenv("WATCHDOG_PID", "1", 1);
	assert_int_equal(sdnotify_watchdog_us(), 0);
	unsetenv("WATCHDOG_PID");
	setenv("WATCHDOG_USEC", "5s", 1);
	assert_int_equal(sdnotify_watchdog_us(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock),	 cmocka_unit_test(test_text),
		cmocka_unit_test(test_journal),	 cmocka_unit_test(test_json),
		cmocka_unit_test(test_libbpf),	 cmocka_unit_test(test_limit),
		cmocka_unit_test(test_sdnotify), cmocka_unit_test(test_watchdog),
	};

	began_us = clock_us();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
