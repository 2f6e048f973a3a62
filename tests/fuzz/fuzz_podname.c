// SPDX-License-Identifier: GPL-2.0-only
/*
 * What container runtimes keep on disk: their own words and those of whoever names a container.
 *
 * Input: the file.
 */
#include "fuzz.h"
#include "podname.h"

struct seen {
	struct podname v[4];
	size_t n;
};

static void check(const struct podname *n)
{
	const char *const texts[] = { n->ns, n->pod, n->container };

	for (size_t i = 0; i < 3; i++) {
		MUST(memchr(texts[i], '\0', PODNAME_TEXT));
		for (const char *p = texts[i]; *p; p++)
			MUST((unsigned char)*p >= 0x20 && *p != 0x7f && *p != ',');
	}
	MUST(memchr(n->netns, '\0', PODNAME_TEXT));
	MUST(!n->netns[0] || podname_is_file(n->netns));
	MUST(n->pid <= INT32_MAX);
}

static int on_container(const char *id, const char *name, void *arg)
{
	struct seen *s = arg;

	MUST(podname_is_file(id));
	MUST(*name && strlen(name) < PODNAME_TEXT);
	if (s->n == sizeof(s->v) / sizeof(s->v[0]))
		return 1;
	s->v[s->n].runtime = "podman";
	strcpy(s->v[s->n++].container, name);
	return 0;
}

static void join(struct seen *s)
{
	struct podname back[4], one, other;

	for (size_t i = 0; i < s->n; i++)
		back[i] = s->v[s->n - 1 - i];
	podname_join(s->v, s->n, &one);
	podname_join(back, s->n, &other);
	MUST(!strcmp(one.container, other.container) && !strcmp(one.pod, other.pod));
	MUST(memchr(one.container, '\0', PODNAME_TEXT));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_copy(data, size);
	struct podname n = { .runtime = "containerd" };
	struct seen s = { .n = 0 };

	if (!podname_oci(text, size, &n) || n.pod[0])
		s.v[s.n++] = n;
	check(&n);
	memset(&n, 0, sizeof(n));
	n.runtime = "docker";
	if (!podname_docker(text, size, &n)) {
		MUST(n.container[0]);
		s.v[s.n++] = n;
	}
	check(&n);
	(void)podname_storage(text, size, on_container, &s);
	MUST(podname_pid(text, size) <= INT32_MAX);
	join(&s);
	free(text);
	return 0;
}
