// SPDX-License-Identifier: GPL-2.0-only
#include "config_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int config_file_read(const char *path, struct config *c, struct config_error *err)
{
	struct config_error why = {};
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	int ret;

	memset(err, 0, sizeof(*err));
	f = fopen(path, "re");
	if (!f) {
		ret = -errno;
		snprintf(err->text, sizeof(err->text), "%s: %s", path, strerror(-ret));
		return ret;
	}
	text = malloc(CONFIG_FILE_MAX);
	ret = -ENOMEM;
	if (text) {
		errno = 0;
		len = fread(text, 1, CONFIG_FILE_MAX, f);
		ret = 0;
		if (ferror(f))
			ret = errno ? -errno : -EIO;
		else if (len == CONFIG_FILE_MAX)
			ret = -EFBIG;
	}
	fclose(f);
	if (ret == -EISDIR)
		snprintf(err->text, sizeof(err->text),
			 "%s: is a directory; give the configuration file in it", path);
	else if (ret)
		snprintf(err->text, sizeof(err->text), "%s: %s", path, strerror(-ret));
	else
		ret = config_parse(text, len, c, &why);
	if (ret && !err->text[0]) {
		err->line = why.line;
		err->column = why.column;
		if (why.line)
			snprintf(err->text, sizeof(err->text), "%.128s:%u:%u: %.350s", path,
				 why.line, why.column, why.text);
		else
			snprintf(err->text, sizeof(err->text), "%.128s: %.350s", path, why.text);
	}
	free(text);
	return ret;
}
