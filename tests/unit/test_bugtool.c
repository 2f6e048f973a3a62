// SPDX-License-Identifier: GPL-2.0-only
/* What bugtool puts into its archive. Where it comes from: test_collect.c, tests/netns/observe.bats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../user_prog/xmasqctl/bugtool.c"

/* The one file that is looked for, as it was added. */
static const char *wanted;
static char *found;

struct archive {
	unsigned int files;
};

int archive_open(struct archive **out, const char *path, const char *top)
{
	static struct archive a;

	assert_string_equal(path, "-");
	assert_int_equal(strncmp(top, "xmasq-bugtool-", 14), 0);
	a.files = 0;
	*out = &a;
	return 0;
}

void archive_add(struct archive *a, const char *name, char *data, size_t len)
{
	a->files++;
	if (strcmp(name, wanted))
		return;
	assert_null(found);
	found = strndup(data, len);
}

unsigned int archive_files(const struct archive *a)
{
	return a->files;
}

int archive_close(struct archive *a)
{
	(void)a;
	return 0;
}

int collect_command(const char *const *argv, char **out, size_t *len)
{
	(void)argv;
	(void)out;
	(void)len;
	return -ENOENT;
}

int collect_file(const char *path, char **out, size_t *len)
{
	return collect_command(&path, out, len);
}

int collect_web(const char *listen, const char *path, char **out, size_t *len)
{
	(void)listen;
	return collect_command(&path, out, len);
}

int client_ask(const char *path, const struct ctl_request *req, int timeout_ms,
	       struct json_object **result, char *err, size_t err_len)
{
	(void)path;
	(void)timeout_ms;
	if (req->command == CTL_FLOWS) {
		snprintf(err, err_len, "no answer");
		return -EAGAIN;
	}
	*result = json_tokener_parse("{\"pods\":[{\"ifname\":\"\xc2\x9b"
				     "2J\x7f\xc3\x9b/\x9b\"}]}");
	return 0;
}

/* Return: text of a file in the archive, for the caller to free. */
static char *in_archive(const char *file)
{
	struct options o = { .to = "-" };
	char err[256] = "", *text;

	wanted = file;
	assert_int_equal(bugtool_run(&o, err, sizeof(err)), 0);
	assert_non_null(found);
	text = found;
	found = NULL;
	return text;
}

/* Whoever looks through it does so on a terminal. */
static void test_json(void **state)
{
	char *text = in_archive("xmasqd/pods.json");

	(void)state;
	assert_string_equal(text, "{\n  \"pods\": [\n    {\n      \"ifname\": "
				  "\"\\u009b2J\\u007f\xc3\x9b/?\"\n    }\n  ]\n}\n");
	free(text);
}

static void test_missing(void **state)
{
	char *text = in_archive("missing.txt");

	(void)state;
	assert_non_null(strstr(text, "xmasqd/flows.json: no answer\n"));
	assert_non_null(strstr(text, "net/links.txt: not there\n"));
	assert_null(strstr(text, "pods.json"));
	free(text);
}

/* It promises no more than scrub() keeps. */
static void test_readme(void **state)
{
	char *text = in_archive("README.txt");

	(void)state;
	assert_non_null(strstr(text, "64 or more hexadecimal digits"));
	assert_non_null(strstr(text, "Environment="));
	assert_null(strstr(text, "looks like"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_readme),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
