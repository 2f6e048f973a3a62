// SPDX-License-Identifier: GPL-2.0-only
#include "sysctl.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "portlist.h"
#include "statefile.h"

#define STATE_NAME  "sysctl"
#define ENTRIES_MAX 16
#define WORD_MAX    32
#define ROOT_MAX    256
#define PATH_LEN    (ROOT_MAX + SYSCTL_NAME_MAX)

static char root[ROOT_MAX] = "/proc/sys";

enum kind {
	KIND_SET,  /* "set": the whole value is ours */
	KIND_PORT, /* "port": one port of a list is ours */
};

static const char *const kinds[] = { [KIND_SET] = "set", [KIND_PORT] = "port" };

/* Recorded as the line "KIND NAME WORD BEFORE"; BEFORE is the rest of the line. */
struct entry {
	enum kind kind;
	bool recorded; /* we changed it; otherwise it was right already */
	bool earlier;  /* read from the record: by an earlier run */
	char name[SYSCTL_NAME_MAX];
	char word[WORD_MAX]; /* our value, or our port */
	char before[SYSCTL_VALUE_MAX];
};

struct sysctl {
	char *state_dir;
	struct entry *v[ENTRIES_MAX];
	unsigned int n;
};

static int path_of(const char *name, char *out, size_t max)
{
	size_t i, n = strlen(name);

	if (!n || n >= SYSCTL_NAME_MAX || name[0] == '.')
		return -EINVAL;
	for (i = 0; i < n; i++) {
		if (!isalnum((unsigned char)name[i]) && name[i] != '_' &&
		    (name[i] != '.' || name[i + 1] == '.'))
			return -EINVAL;
	}
	(void)snprintf(out, max, "%s/%s", root, name);
	for (out += strlen(root); *out; out++) {
		if (*out == '.')
			*out = '/';
	}
	return 0;
}

int sysctl_root(const char *dir)
{
	char net[PATH_LEN];

	(void)snprintf(root, sizeof(root), "%s", dir);
	(void)snprintf(net, sizeof(net), "%s/net", root);
	return access(net, X_OK) ? -errno : 0;
}

int sysctl_read(const char *name, char *value, size_t max)
{
	char path[PATH_LEN];
	size_t used = 0;
	ssize_t n = 0;
	int fd, err;

	value[0] = '\0';
	err = path_of(name, path, sizeof(path));
	if (err)
		return err;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (used < max - 1) {
		n = read(fd, value + used, max - 1 - used);
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	err = n < 0 ? -errno : 0;
	close(fd);
	/* A value that is cut short must not be taken for the whole. */
	if (!err && used == max - 1)
		err = -E2BIG;
	value[err ? 0 : used] = '\0';
	value[strcspn(value, "\n")] = '\0';
	return err;
}

int sysctl_write(const char *name, const char *value)
{
	char path[PATH_LEN];
	char line[SYSCTL_VALUE_MAX + 2];
	int fd, len, err;

	err = path_of(name, path, sizeof(path));
	if (err)
		return err;
	/* With the newline an empty list is something to write. */
	len = snprintf(line, sizeof(line), "%s\n", value);
	if (len < 0 || (size_t)len >= sizeof(line))
		return -E2BIG;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	errno = 0;
	/* At once: every write() to a list of ports replaces all of it. */
	if (write(fd, line, (size_t)len) != len)
		err = errno ? -errno : -EIO;
	close(fd);
	return err;
}

static int save(const struct sysctl *s)
{
	size_t max = 1, len = 0;
	unsigned int i;
	char *text;
	int err;

	for (i = 0; i < s->n; i++)
		max += sizeof(struct entry);
	text = calloc(1, max);
	if (!text)
		return -ENOMEM;
	for (i = 0; i < s->n; i++) {
		const struct entry *e = s->v[i];

		if (e->recorded)
			len += (size_t)snprintf(text + len, max - len, "%s %s %s %s\n",
						kinds[e->kind], e->name, e->word, e->before);
	}
	err = statefile_write(s->state_dir, STATE_NAME, text);
	free(text);
	return err;
}

static struct entry *find(const struct sysctl *s, enum kind kind, const char *name)
{
	unsigned int i;

	for (i = 0; i < s->n; i++) {
		if (s->v[i]->kind == kind && !strcmp(s->v[i]->name, name))
			return s->v[i];
	}
	return NULL;
}

static struct entry *add(struct sysctl *s, enum kind kind, const char *name, const char *word,
			 const char *before)
{
	struct entry *e;

	if (s->n == ENTRIES_MAX || strlen(name) >= sizeof(e->name) ||
	    strlen(word) >= sizeof(e->word) || strlen(before) >= sizeof(e->before))
		return NULL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	e->kind = kind;
	(void)snprintf(e->name, sizeof(e->name), "%s", name);
	(void)snprintf(e->word, sizeof(e->word), "%s", word);
	(void)snprintf(e->before, sizeof(e->before), "%s", before);
	s->v[s->n++] = e;
	return e;
}

static void drop(struct sysctl *s, struct entry *e)
{
	unsigned int i;

	for (i = 0; i < s->n; i++) {
		if (s->v[i] == e) {
			s->v[i] = s->v[--s->n];
			free(e);
			return;
		}
	}
}

static int port_of(const char *word, uint16_t *port)
{
	char *end;
	unsigned long v = strtoul(word, &end, 10);

	if (!isdigit((unsigned char)*word) || *end || v > UINT16_MAX)
		return -EINVAL;
	*port = (uint16_t)v;
	return 0;
}

static void load_line(struct sysctl *s, char *line)
{
	char path[PATH_LEN];
	char *copy = line, *kind, *name, *word;
	struct entry *e = NULL;
	uint16_t port;

	kind = strsep(&copy, " ");
	name = strsep(&copy, " ");
	word = strsep(&copy, " ");
	/* copy is NULL when a field is missing; an empty list before us is "" */
	if (copy && *word && !path_of(name, path, sizeof(path))) {
		if (!strcmp(kind, kinds[KIND_SET]))
			e = add(s, KIND_SET, name, word, copy);
		else if (!strcmp(kind, kinds[KIND_PORT]) && !port_of(word, &port))
			e = add(s, KIND_PORT, name, word, copy);
	}
	if (e)
		e->recorded = e->earlier = true;
	else
		log_warn("%s/%s: a line that starts with \"%s\" was ignored", s->state_dir,
			 STATE_NAME, kind);
}

int sysctl_open(struct sysctl **out, const char *state_dir)
{
	struct sysctl *s = calloc(1, sizeof(*s));
	char *text = NULL, *line, *rest = NULL;
	int err = -ENOMEM;

	*out = NULL;
	if (!s)
		return -ENOMEM;
	s->state_dir = strdup(state_dir);
	if (s->state_dir)
		err = statefile_read(state_dir, STATE_NAME, &text);
	if (err) {
		sysctl_close(s);
		return err;
	}
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		load_line(s, line);
	free(text);
	*out = s;
	return 0;
}

void sysctl_close(struct sysctl *s)
{
	if (!s)
		return;
	while (s->n)
		free(s->v[--s->n]);
	free(s->state_dir);
	free(s);
}

/* Record @e as changed by us, then write @value. */
static int change(struct sysctl *s, struct entry *e, const char *value)
{
	bool was = e->recorded;
	int err;

	e->recorded = true;
	err = save(s);
	if (!err)
		err = sysctl_write(e->name, value);
	if (err && !was) {
		e->recorded = false;
		(void)save(s);
	}
	return err;
}

int sysctl_manage(struct sysctl *s, const char *name, const char *value)
{
	char now[SYSCTL_VALUE_MAX];
	struct entry *e;
	int err;

	if (!*value || strpbrk(value, " \t\n") || strlen(value) >= WORD_MAX)
		return -EINVAL;
	err = sysctl_read(name, now, sizeof(now));
	if (err)
		return err;
	e = find(s, KIND_SET, name);
	if (!e)
		e = add(s, KIND_SET, name, value, now);
	if (!e)
		return -ENOMEM;
	if (!e->recorded) /* seen before, but not ours: what is there now is the original */
		(void)snprintf(e->before, sizeof(e->before), "%s", now);
	(void)snprintf(e->word, sizeof(e->word), "%s", value);
	if (!strcmp(now, value))
		return e->recorded ? save(s) : 0;
	return change(s, e, value);
}

static int restore(const struct entry *e)
{
	char now[SYSCTL_VALUE_MAX];
	uint16_t port;
	int err;

	err = sysctl_read(e->name, now, sizeof(now));
	if (err)
		return err == -ENOENT ? 0 : err; /* went with its module */
	if (e->kind == KIND_SET)
		return strcmp(now, e->word) ? 0 : sysctl_write(e->name, e->before);
	err = port_of(e->word, &port);
	if (err)
		return err;
	/* Not the text found before: others may have added theirs since. */
	err = portlist_covers(now, port);
	if (err <= 0)
		return err;
	err = portlist_remove(now, port, now, sizeof(now));
	return err ? err : sysctl_write(e->name, now);
}

int sysctl_manage_port(struct sysctl *s, const char *name, uint16_t port)
{
	char now[SYSCTL_VALUE_MAX], word[WORD_MAX];
	struct entry *e;
	int err;

	(void)snprintf(word, sizeof(word), "%u", port);
	e = find(s, KIND_PORT, name);
	if (e && strcmp(e->word, word) != 0) {
		err = e->recorded ? restore(e) : 0;
		if (err)
			return err;
		drop(s, e);
		e = NULL;
	}
	err = sysctl_read(name, now, sizeof(now));
	if (err)
		return err;
	if (!e)
		e = add(s, KIND_PORT, name, word, now);
	if (!e)
		return -ENOMEM;
	err = portlist_covers(now, port);
	if (err < 0)
		return err;
	if (err)
		return save(s);
	if (!e->recorded)
		(void)snprintf(e->before, sizeof(e->before), "%s", now);
	err = portlist_add(now, port, now, sizeof(now));
	return err ? err : change(s, e, now);
}

int sysctl_restore(struct sysctl *s, const char *name)
{
	unsigned int i;
	int err, ret = 0;

	for (i = s->n; i > 0; i--) {
		struct entry *e = s->v[i - 1];

		if (name && strcmp(e->name, name) != 0)
			continue;
		err = e->recorded ? restore(e) : 0;
		if (err) {
			log_warn("cannot put %s back to \"%s\": %s", e->name, e->before,
				 strerror(-err));
			if (!ret)
				ret = err;
			continue;
		}
		drop(s, e);
	}
	err = save(s);
	return ret ? ret : err;
}

bool sysctl_recorded(const struct sysctl *s, const char *name, bool *earlier)
{
	unsigned int i;

	*earlier = false;
	for (i = 0; i < s->n; i++) {
		if (!s->v[i]->recorded || strcmp(s->v[i]->name, name) != 0)
			continue;
		*earlier = s->v[i]->earlier;
		return true;
	}
	return false;
}

bool sysctl_view(const struct sysctl *s, unsigned int i, struct sysctl_view *out)
{
	const struct entry *e;
	uint16_t port;

	if (i >= s->n)
		return false;
	e = s->v[i];
	out->name = e->name;
	out->before = e->before;
	out->ours = false;
	if (sysctl_read(e->name, out->now, sizeof(out->now)))
		return true;
	if (e->kind == KIND_SET)
		out->ours = e->recorded && !strcmp(out->now, e->word);
	else if (!port_of(e->word, &port))
		out->ours = e->recorded && portlist_covers(out->now, port) == 1;
	return true;
}
