// SPDX-License-Identifier: GPL-2.0-only
/* Where bugtool gets its pieces, and where it puts them. xmasqctl comes in as source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <limits.h>
#include <sys/stat.h>

#include "../../user_prog/xmasqctl/archive.c"
#include "../../user_prog/xmasqctl/collect.c"
#include "xm_util.h"

#define HERE "xmasq-test-program" /* in the current directory, and nowhere else */

/* Return: what collect_command() does with a PATH; NULL: without one. */
static int with_path(const char *path, const char *const *argv, char **out)
{
	size_t len = 0;
	int err;

	if (path)
		setenv("PATH", path, 1);
	else
		unsetenv("PATH");
	err = collect_command(argv, out, &len);
	if (!err)
		assert_int_equal(len, strlen(*out));
	return err;
}

static void test_path(void **state)
{
	static const char *const empty[] = { NULL, "",	    ":",     "::",	    ".",    "./",
					     "..", ":/bin", "/bin:", "/bin::/sbin", "tmp:." };
	static const char *const here[] = { HERE, "x", NULL }, *const there[] = { "true", NULL };
	char dir[] = "/tmp/xmasq-collect-XXXXXX", was[PATH_MAX], list[2 * PATH_MAX], *out = NULL;
	char *saved = strdup(getenv("PATH") ?: "");
	FILE *f;

	(void)state;
	assert_non_null(saved);
	assert_non_null(getcwd(was, sizeof(was)));
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	f = fopen(HERE, "w");
	assert_non_null(f);
	fputs("#!/bin/sh\necho \"ran $1\"\n", f);
	fclose(f);
	assert_int_equal(chmod(HERE, 0700), 0);

	for (size_t i = 0; i < XM_ARRAY_SIZE(empty); i++) {
		print_message("PATH=%s\n", empty[i] ?: "(none)");
		assert_int_equal(with_path(empty[i], here, &out), -ENOENT);
		assert_int_equal(with_path(empty[i], there, &out), 0);
		assert_string_equal(out, "$ true\n");
		free(out);
	}
	/* A directory with a name is asked, wherever it stands. */
	for (int i = 0; i < 3; i++) {
		snprintf(list, sizeof(list), "%s%s%s", i ? ":/bin:." : "", i ? ":" : "", dir);
		if (i == 2)
			strcat(list, ":/bin");
		assert_int_equal(with_path(list, here, &out), 0);
		assert_string_equal(out, "$ " HERE " x\nran x\n");
		free(out);
	}
	/* More than fits: the rest is left out, and no directory is cut short. */
	memset(list, 'x', sizeof(list));
	list[0] = '/';
	snprintf(list + 5000, sizeof(list) - 5000, ":%s", dir);
	assert_int_equal(with_path(list, here, &out), 0);
	assert_string_equal(out, "$ " HERE " x\nran x\n");
	free(out);
	assert_int_equal(with_path(list, there, &out), 0);
	assert_string_equal(out, "$ true\n");
	free(out);

	unlink(HERE);
	assert_int_equal(chdir(was), 0);
	rmdir(dir);
	setenv("PATH", saved, 1);
	free(saved);
}

/* Programs that are asked while the archive is written must not hold it. */
static void test_not_inherited(void **state)
{
	char path[] = "/tmp/xmasq-archive-XXXXXX";
	int saved = dup(STDOUT_FILENO), file = mkstemp(path), fd[2];

	(void)state;
	assert_true(file >= 0);
	unlink(path);
	fflush(stdout);
	dup2(file, STDOUT_FILENO);
	fd[0] = open_fd("-");
	dup2(saved, STDOUT_FILENO);
	close(saved);
	fd[1] = open_fd(path);
	unlink(path);
	for (int i = 0; i < 2; i++) {
		assert_true(fd[i] > STDERR_FILENO);
		assert_int_equal(fcntl(fd[i], F_GETFD), FD_CLOEXEC);
	}
	/* It is stdout's file indeed. */
	assert_int_equal(write(fd[0], "x", 1), 1);
	assert_int_equal(lseek(file, 0, SEEK_END), 1);
	close(fd[0]);
	close(fd[1]);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_path),
		cmocka_unit_test(test_not_inherited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
