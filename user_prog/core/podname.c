// SPDX-License-Identifier: GPL-2.0-only
#include "podname.h"

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jsonx.h"
#include "text.h"
#include "xm_util.h"

/* Annotations, in the order in which they are asked. */
static const struct {
	const char *runtime;
	const char *ns;
	const char *pod;
	const char *container;
	const char *sandbox;
} annotations[] = {
	{ "containerd", "io.kubernetes.cri.sandbox-namespace", "io.kubernetes.cri.sandbox-name",
	  "io.kubernetes.cri.container-name", "io.kubernetes.cri.sandbox-id" },
	{ "cri-o", "io.kubernetes.pod.namespace", "io.kubernetes.pod.name",
	  "io.kubernetes.container.name", "io.kubernetes.cri-o.SandboxID" },
};

/* Directories of named namespaces; /var/run is an old name of /run. */
static const char *const netns_dirs[] = { "/run/netns/", "/run/docker/netns/" };

/* Name of the container of a sandbox in CRI-O. */
#define SANDBOX "POD"

static int parse(const char *text, size_t len, json_type type, struct json_object **o)
{
	struct json_tokener *tok;

	*o = NULL;
	if (len > PODNAME_FILE_MAX)
		return -EINVAL;
	tok = json_tokener_new_ex(PODNAME_DEPTH_MAX);
	if (!tok)
		return -ENOMEM;
	*o = json_tokener_parse_ex(tok, text, (int)len);
	json_tokener_free(tok);
	if (json_object_is_type(*o, type))
		return 0;
	json_object_put(*o);
	*o = NULL;
	return -EINVAL;
}

/* Control characters have no business in a name. */
static void put(char out[PODNAME_TEXT], const char *s)
{
	(void)snprintf(out, PODNAME_TEXT, "%s", s);
	text_tame(out);
	for (char *p = out; *p; p++)
		if (*p == '\n' || *p == ',')
			*p = '?';
}

bool podname_is_file(const char *s)
{
	return *s && *s != '.' && !strchr(s, '/') && strlen(s) < PODNAME_TEXT;
}

static void put_netns(struct podname *n, const char *path)
{
	if (!strncmp(path, "/var/run/", 9))
		path += 4;
	for (size_t i = 0; i < XM_ARRAY_SIZE(netns_dirs); i++) {
		size_t len = strlen(netns_dirs[i]);

		if (!strncmp(path, netns_dirs[i], len) && podname_is_file(path + len))
			(void)snprintf(n->netns, sizeof(n->netns), "%s", path + len);
	}
}

static uint32_t pid_of(int64_t v)
{
	return v > 0 && v <= INT_MAX ? (uint32_t)v : 0;
}

uint32_t podname_pid(const char *text, size_t len)
{
	char number[12], *end;
	long v;

	if (!len || len >= sizeof(number) || text[0] < '0' || text[0] > '9')
		return 0;
	memcpy(number, text, len);
	number[len] = '\0';
	v = strtol(number, &end, 10);
	return !*end || !strcmp(end, "\n") ? pid_of(v) : 0;
}

/* /proc/N/ns/net is the namespace of a sandbox that this container shares. */
static void put_pid(struct podname *n, const char *path)
{
	static const char proc[] = "/proc/", net[] = "/ns/net";
	size_t len = strlen(path), around = sizeof(proc) - 1 + sizeof(net) - 1;

	if (len > around && !strncmp(path, proc, sizeof(proc) - 1) &&
	    !strcmp(path + len - (sizeof(net) - 1), net))
		n->pid = podname_pid(path + sizeof(proc) - 1, len - around);
}

/* Return: 0, or -ENOENT when it has no network of its own. */
static int oci_network(struct json_object *top, struct podname *n)
{
	struct json_object *list = jsonx_list(jsonx_get(top, "linux"), "namespaces");

	for (unsigned int i = 0; i < jsonx_len(list); i++) {
		struct json_object *o = json_object_array_get_idx(list, i);

		if (strcmp(jsonx_str(o, "type"), "network"))
			continue;
		put_netns(n, jsonx_str(o, "path"));
		put_pid(n, jsonx_str(o, "path"));
		return 0;
	}
	return -ENOENT;
}

int podname_oci(const char *text, size_t len, struct podname *n)
{
	struct json_object *top, *a;
	int err = parse(text, len, json_type_object, &top);

	if (err)
		return err;
	a = jsonx_get(top, "annotations");
	for (size_t i = 0; i < XM_ARRAY_SIZE(annotations); i++) {
		if (!*jsonx_str(a, annotations[i].pod))
			continue;
		n->runtime = annotations[i].runtime;
		put(n->ns, jsonx_str(a, annotations[i].ns));
		put(n->pod, jsonx_str(a, annotations[i].pod));
		put(n->container, jsonx_str(a, annotations[i].container));
		put(n->sandbox, jsonx_str(a, annotations[i].sandbox));
		if (!strcmp(n->container, SANDBOX))
			n->container[0] = '\0';
		break;
	}
	err = oci_network(top, n);
	json_object_put(top);
	return err;
}

int podname_docker(const char *text, size_t len, struct podname *n)
{
	struct json_object *top, *state;
	const char *name;
	int err = parse(text, len, json_type_object, &top);

	if (err)
		return err;
	state = jsonx_get(top, "State");
	n->pid = pid_of(jsonx_i64(state, "Pid"));
	put_netns(n, jsonx_str(jsonx_get(top, "NetworkSettings"), "SandboxKey"));
	name = jsonx_str(top, "Name");
	put(n->container, *name == '/' ? name + 1 : name);
	err = jsonx_bool(state, "Running") && *n->container ? 0 : -ENOENT;
	json_object_put(top);
	return err;
}

int podname_storage(const char *text, size_t len,
		    int (*fn)(const char *id, const char *name, void *arg), void *arg)
{
	struct json_object *top;
	int err = parse(text, len, json_type_array, &top);

	if (err)
		return err;
	for (unsigned int i = 0; !err && i < jsonx_len(top); i++) {
		struct json_object *o = json_object_array_get_idx(top, i);
		struct json_object *names = jsonx_list(o, "names");
		struct json_object *first = names ? json_object_array_get_idx(names, 0) : NULL;
		const char *id = jsonx_str(o, "id");
		char name[PODNAME_TEXT];

		if (!podname_is_file(id) || !json_object_is_type(first, json_type_string))
			continue;
		put(name, json_object_get_string(first));
		if (*name)
			err = fn(id, name, arg);
	}
	json_object_put(top);
	return err;
}

static int rank(const struct podname *n)
{
	if (n->pod[0])
		return 0;
	return n->runtime && !strcmp(n->runtime, "containerd") ? 2 : 1;
}

static int cmp(const void *a, const void *b)
{
	const struct podname *x = a, *y = b;

	if (rank(x) != rank(y))
		return rank(x) - rank(y);
	return strcmp(x->container, y->container);
}

void podname_join(struct podname *v, size_t n, struct podname *out)
{
	const char *last = "";
	size_t len = 0;

	memset(out, 0, sizeof(*out));
	if (!n)
		return;
	qsort(v, n, sizeof(*v), cmp);
	*out = v[0];
	out->container[0] = '\0';
	for (size_t i = 0; i < n && rank(&v[i]) == rank(&v[0]); i++) {
		size_t more = strlen(v[i].container);

		if (!strcmp(v[i].container, last))
			continue;
		if (len + 1 + more >= sizeof(out->container))
			break;
		if (len)
			out->container[len++] = ',';
		memcpy(out->container + len, v[i].container, more + 1);
		len += more;
		last = v[i].container;
	}
}
