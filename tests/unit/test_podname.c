// SPDX-License-Identifier: GPL-2.0-only
/* Names in what container runtimes write, whatever else is in there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "podname.h"

/* What containerd 1.6 writes for `ctr run --cni`, cut to what is near to what is read. */
#define CTR_CONFIG                                                                      \
	"{\"ociVersion\":\"1.0.2-dev\",\"process\":{\"user\":{\"uid\":0,\"gid\":0},"    \
	"\"args\":[\"/bin/sleep\",\"1000\"],\"cwd\":\"/\"},\"root\":{\"path\":"         \
	"\"rootfs\"},\"linux\":{\"cgroupsPath\":\"/default/web1\",\"namespaces\":["     \
	"{\"type\":\"pid\"},{\"type\":\"ipc\"},{\"type\":\"uts\"},{\"type\":\"mount\"}" \
	",{\"type\":\"network\"}]}}"

/* What its CRI plugin adds, for a sandbox and for a container of the pod. */
#define CRI_SANDBOX                                                                       \
	"{\"annotations\":{\"io.kubernetes.cri.container-type\":\"sandbox\","             \
	"\"io.kubernetes.cri.sandbox-id\":\"0a\",\"io.kubernetes.cri.sandbox-namespace\"" \
	":\"shop\",\"io.kubernetes.cri.sandbox-name\":\"web-0\"},\"linux\":{"             \
	"\"namespaces\":[{\"type\":\"network\",\"path\":\"/var/run/netns/cni-0815\"}]}}"
#define CRI_CONTAINER                                                              \
	"{\"annotations\":{\"io.kubernetes.cri.container-type\":\"container\","    \
	"\"io.kubernetes.cri.container-name\":\"web\","                            \
	"\"io.kubernetes.cri.sandbox-id\":\"0a\","                                 \
	"\"io.kubernetes.cri.sandbox-namespace\":\"shop\","                        \
	"\"io.kubernetes.cri.sandbox-name\":\"web-0\"},\"linux\":{\"namespaces\":" \
	"[{\"type\":\"network\",\"path\":\"/proc/4711/ns/net\"}]}}"

/* What podman 4.3 writes. */
#define PODMAN_CONFIG                                                           \
	"{\"annotations\":{\"io.container.manager\":\"libpod\","                \
	"\"io.kubernetes.cri-o.TTY\":\"false\"},\"linux\":{\"namespaces\":["    \
	"{\"type\":\"pid\"},{\"type\":\"network\",\"path\":\"/run/netns/netns-" \
	"56f4e807-9594-9934-ab2e-907d91f00d3b\"},{\"type\":\"mount\"}]}}"
#define PODMAN_LIST                                                       \
	"[{\"id\":\"5f4279\",\"names\":[\"pod-web\"],\"image\":\"94b6\"," \
	"\"metadata\":\"{\\\"name\\\":\\\"pod-web\\\"}\",\"flags\":{}},"  \
	"{\"id\":\"77\",\"names\":[\"db\",\"other\"]}]"

/* What Docker 20.10 writes. */
#define DOCKER_CONFIG                                                           \
	"{\"StreamConfig\":{},\"State\":{\"Running\":true,\"Paused\":false,"    \
	"\"Pid\":10478,\"ExitCode\":0,\"Health\":null},\"ID\":\"aab4\","        \
	"\"NetworkSettings\":{\"SandboxID\":\"42bf\",\"SandboxKey\":\"/var/run" \
	"/docker/netns/42bf6174af38\"},\"Name\":\"/dweb\",\"OS\":\"linux\"}"

typedef int (*parse_fn)(const char *text, size_t len, struct podname *n);

/* Parse an exact copy: the sanitizer sees a read too far. */
static int parse(parse_fn fn, const char *text, size_t len, struct podname *n)
{
	char *copy = malloc(len ? len : 1);
	int ret;

	assert_non_null(copy);
	memcpy(copy, text, len);
	memset(n, 0, sizeof(*n));
	ret = fn(copy, len, n);
	free(copy);
	return ret;
}

static int oci(const char *text, struct podname *n)
{
	return parse(podname_oci, text, strlen(text), n);
}

static int docker(const char *text, struct podname *n)
{
	return parse(podname_docker, text, strlen(text), n);
}

static void test_oci(void **state)
{
	struct podname n;

	(void)state;
	assert_int_equal(oci(CTR_CONFIG, &n), 0);
	assert_string_equal(n.pod, "");
	assert_string_equal(n.netns, "");
	assert_int_equal(n.pid, 0);
	assert_null(n.runtime);

	assert_int_equal(oci(CRI_SANDBOX, &n), 0);
	assert_string_equal(n.runtime, "containerd");
	assert_string_equal(n.ns, "shop");
	assert_string_equal(n.pod, "web-0");
	assert_string_equal(n.container, "");
	assert_string_equal(n.netns, "cni-0815");
	assert_string_equal(n.sandbox, "0a");

	assert_int_equal(oci(CRI_CONTAINER, &n), 0);
	assert_string_equal(n.container, "web");
	assert_int_equal(n.pid, 4711);
	assert_string_equal(n.netns, "");
	assert_string_equal(n.sandbox, "0a");

	assert_int_equal(oci(PODMAN_CONFIG, &n), 0);
	assert_string_equal(n.pod, "");
	assert_string_equal(n.netns, "netns-56f4e807-9594-9934-ab2e-907d91f00d3b");

	/* CRI-O calls the container of a sandbox POD. */
	assert_int_equal(
		oci("{\"annotations\":{\"io.kubernetes.pod.name\":\"p\","
		    "\"io.kubernetes.pod.namespace\":\"n\",\"io.kubernetes.container.name\""
		    ":\"POD\"},\"linux\":{\"namespaces\":[{\"type\":\"network\"}]}}",
		    &n),
		0);
	assert_string_equal(n.runtime, "cri-o");
	assert_string_equal(n.ns, "n");
	assert_string_equal(n.pod, "p");
	assert_string_equal(n.container, "");
}

/* The node's own network: such a container is not the pod behind any interface. */
static void test_host_network(void **state)
{
	struct podname n;

	(void)state;
	assert_int_equal(oci("{\"linux\":{\"namespaces\":[{\"type\":\"pid\"}]}}", &n), -ENOENT);
	assert_int_equal(oci("{}", &n), -ENOENT);
}

static void test_docker(void **state)
{
	struct podname n;

	(void)state;
	assert_int_equal(docker(DOCKER_CONFIG, &n), 0);
	assert_string_equal(n.container, "dweb");
	assert_string_equal(n.netns, "42bf6174af38");
	assert_int_equal(n.pid, 10478);
	/* Its number may be another process's by now. */
	assert_int_equal(docker("{\"State\":{\"Running\":false,\"Pid\":7},\"Name\":\"/a\"}", &n),
			 -ENOENT);
	assert_int_equal(docker("{\"State\":{\"Running\":true,\"Pid\":7},\"Name\":\"/\"}", &n),
			 -ENOENT);
	assert_int_equal(
		docker("{\"State\":{\"Running\":true,\"Pid\":99999999999},\"Name\":\"a\"}", &n), 0);
	assert_int_equal(n.pid, 0);
	assert_int_equal(docker("{\"State\":{\"Running\":true,\"Pid\":-7},\"Name\":\"a\"}", &n), 0);
	assert_int_equal(n.pid, 0);
}

struct listed {
	char text[256];
	int stop;
};

static int on_container(const char *id, const char *name, void *arg)
{
	struct listed *l = arg;
	size_t len = strlen(l->text);

	(void)snprintf(l->text + len, sizeof(l->text) - len, "%s=%s;", id, name);
	return l->stop;
}

static int list(const char *text, struct listed *l)
{
	char *copy = strdup(text);
	int ret;

	assert_non_null(copy);
	l->text[0] = '\0';
	ret = podname_storage(copy, strlen(text), on_container, l);
	free(copy);
	return ret;
}

static void test_storage(void **state)
{
	struct listed l = { .stop = 0 };

	(void)state;
	assert_int_equal(list(PODMAN_LIST, &l), 0);
	assert_string_equal(l.text, "5f4279=pod-web;77=db;");
	l.stop = 1;
	assert_int_equal(list(PODMAN_LIST, &l), 1);
	assert_string_equal(l.text, "5f4279=pod-web;");
	l.stop = 0;
	assert_int_equal(list("{}", &l), -EINVAL);
	/* An id is a file name: it leads nowhere else. */
	assert_int_equal(
		list("[{\"id\":\"../../etc\",\"names\":[\"a\"]},{\"id\":\".\",\"names\":[\"b\"]},"
		     "{\"id\":\"c\",\"names\":[7]},{\"id\":\"d\",\"names\":{}},{\"id\":\"e\"},7,null,"
		     "{\"id\":\"f\",\"names\":[\"g\"]}]",
		     &l),
		0);
	assert_string_equal(l.text, "f=g;");
}

static void test_pid(void **state)
{
	(void)state;
	assert_int_equal(podname_pid("10310", 5), 10310);
	assert_int_equal(podname_pid("10310\n", 6), 10310);
	assert_int_equal(podname_pid("1", 1), 1);
	assert_int_equal(podname_pid("", 0), 0);
	assert_int_equal(podname_pid("0", 1), 0);
	assert_int_equal(podname_pid("-1", 2), 0);
	assert_int_equal(podname_pid("+1", 2), 0);
	assert_int_equal(podname_pid("1 2", 3), 0);
	assert_int_equal(podname_pid("1\0"
				     "2",
				     3),
			 1);
	assert_int_equal(podname_pid("4294967296", 10), 0);
	assert_int_equal(podname_pid("11111111111111111111", 20), 0);
}

static void test_is_file(void **state)
{
	char name[PODNAME_TEXT + 1];

	(void)state;
	assert_true(podname_is_file("cni-1"));
	assert_false(podname_is_file(""));
	assert_false(podname_is_file(".."));
	assert_false(podname_is_file(".hidden"));
	assert_false(podname_is_file("a/b"));
	memset(name, 'a', sizeof(name));
	name[PODNAME_TEXT] = '\0';
	assert_false(podname_is_file(name));
	name[PODNAME_TEXT - 1] = '\0';
	assert_true(podname_is_file(name));
}

/* Paths that lead elsewhere are no names. */
static void test_paths(void **state)
{
	static const char *const bad[] = {
		"/etc/passwd",
		"/run/netns/../../etc/passwd",
		"/run/netns/",
		"/run/netns",
		"/run/netns/.x",
		"run/netns/a",
		"/proc/x/ns/net",
		"/proc//ns/net",
		"/proc/1/root/ns/net",
		"/proc/ns/net",
		"/proc/1/ns/net/",
		"/proc/0/ns/net",
		"/var/run",
		"",
	};
	struct podname n;
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		(void)snprintf(
			text, sizeof(text),
			"{\"linux\":{\"namespaces\":[{\"type\":\"network\",\"path\":\"%s\"}]}}",
			bad[i]);
		assert_int_equal(oci(text, &n), 0);
		if (n.netns[0] || n.pid)
			fail_msg("%s leads to \"%s\" or %u", bad[i], n.netns, n.pid);
	}
	assert_int_equal(oci("{\"linux\":{\"namespaces\":[{\"type\":\"network\",\"path\":"
			     "\"/run/docker/netns/default\"}]}}",
			     &n),
			 0);
	assert_string_equal(n.netns, "default");
}

static void test_hostile_names(void **state)
{
	char *text = malloc(4096);
	struct podname n;
	size_t len;

	(void)state;
	assert_non_null(text);
	/* A name speaks neither to a terminal nor like several names. */
	assert_int_equal(
		docker("{\"State\":{\"Running\":true},\"Name\":\"/a\\u001b[31m,b\\nc\\u0085\"}",
		       &n),
		0);
	assert_string_equal(n.container, "a?[31m?b?c??");
	/* Neither bytes that are no UTF-8 nor one that is too long. */
	len = (size_t)sprintf(text, "{\"State\":{\"Running\":true},\"Name\":\"/\xff\xfe");
	memset(text + len, 'x', 1000);
	(void)strcpy(text + len + 1000, "\"}");
	assert_int_equal(docker(text, &n), 0);
	assert_int_equal(strlen(n.container), PODNAME_TEXT - 1);
	assert_int_equal(strncmp(n.container, "??xxx", 5), 0);
	/* Other types than expected read as unknown. */
	assert_int_equal(docker("{\"State\":[1],\"Name\":{\"a\":1},\"NetworkSettings\":7}", &n),
			 -ENOENT);
	assert_int_equal(
		oci("{\"annotations\":7,\"linux\":{\"namespaces\":{\"type\":\"network\"}}}", &n),
		-ENOENT);
	assert_int_equal(
		oci("{\"annotations\":{\"io.kubernetes.cri.sandbox-name\":[]},"
		    "\"linux\":{\"namespaces\":[3,null,{\"type\":\"network\",\"path\":[]}]}}",
		    &n),
		0);
	assert_string_equal(n.pod, "");
	free(text);
}

static void test_no_json(void **state)
{
	static const char *const bad[] = { "", "x", "[]", "7", "null", "\"{}\"", "{", "{\"a\":" };
	char *deep = malloc(200001), *big = malloc(PODNAME_FILE_MAX + 1);
	struct podname n;

	(void)state;
	assert_non_null(deep);
	assert_non_null(big);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(oci(bad[i], &n), -EINVAL);
		assert_int_equal(docker(bad[i], &n), -EINVAL);
	}
	/* Deeper than any stack, and larger than worth reading. */
	for (size_t i = 0; i < 40000; i++)
		memcpy(deep + i * 5, "{\"a\":", 5);
	assert_int_equal(parse(podname_oci, deep, 200000, &n), -EINVAL);
	memset(big, ' ', PODNAME_FILE_MAX + 1);
	memcpy(big, CTR_CONFIG, strlen(CTR_CONFIG));
	assert_int_equal(parse(podname_oci, big, PODNAME_FILE_MAX, &n), 0);
	assert_int_equal(parse(podname_oci, big, PODNAME_FILE_MAX + 1, &n), -EINVAL);
	free(deep);
	free(big);
}

/* Whatever text: names that end, have no control characters, and lead nowhere else. */
static void check(const struct podname *n)
{
	const char *const texts[] = { n->ns, n->pod, n->container, n->netns };

	for (size_t i = 0; i < 4; i++)
		assert_non_null(memchr(texts[i], '\0', PODNAME_TEXT));
	for (size_t i = 0; i < 3; i++)
		for (const char *p = texts[i]; *p; p++)
			assert_true((unsigned char)*p >= 0x20 && *p != 0x7f && *p != ',');
	assert_true(!n->netns[0] || podname_is_file(n->netns));
}

static int on_mangled(const char *id, const char *name, void *arg)
{
	(void)arg;
	assert_true(podname_is_file(id));
	assert_true(*name && strlen(name) < PODNAME_TEXT);
	return 0;
}

/* Each text cut at each byte, and with bytes changed, the same in each run. */
static void test_mangled(void **state)
{
	static const char *const texts[] = { CTR_CONFIG,    CRI_SANDBOX, CRI_CONTAINER,
					     PODMAN_CONFIG, PODMAN_LIST, DOCKER_CONFIG };
	static const char marks[] = "\0\"\\{}[],:/x9-\x1b\x7f\xff\xc2\n";
	uint32_t seed = 1;
	struct podname n;

	(void)state;
	for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++) {
		size_t len = strlen(texts[t]);

		for (size_t i = 0; i < len + 3000; i++) {
			char *copy = malloc(len);
			size_t used = i < len ? i : len;

			assert_non_null(copy);
			memcpy(copy, texts[t], len);
			for (unsigned int k = 0; i >= len && k < 1 + i % 4; k++) {
				seed = seed * 1664525 + 1013904223;
				copy[(seed >> 8) % len] = marks[(seed >> 4) % (sizeof(marks) - 1)];
			}
			(void)parse(podname_oci, copy, used, &n);
			check(&n);
			(void)parse(podname_docker, copy, used, &n);
			check(&n);
			(void)podname_storage(copy, used, on_mangled, NULL);
			free(copy);
		}
	}
}

static void test_join(void **state)
{
	struct podname v[] = {
		{ .runtime = "containerd", .container = "aab4" },
		{ .runtime = "docker", .container = "web" },
		{ .runtime = "docker", .container = "log" },
		{ .runtime = "docker", .container = "web" },
	};
	struct podname k8s[] = {
		{ .runtime = "containerd", .ns = "shop", .pod = "web-0", .container = "web" },
		{ .runtime = "containerd", .ns = "shop", .pod = "web-0" },
		{ .runtime = "podman", .container = "stray" },
	};
	struct podname *many = calloc(100, sizeof(*many)), out;

	(void)state;
	assert_non_null(many);
	/* What Docker says of its container is more than what containerd below it does. */
	podname_join(v, 4, &out);
	assert_string_equal(out.runtime, "docker");
	assert_string_equal(out.container, "log,web");
	podname_join(k8s, 3, &out);
	assert_string_equal(out.ns, "shop");
	assert_string_equal(out.pod, "web-0");
	assert_string_equal(out.container, "web");
	podname_join(v, 0, &out);
	assert_string_equal(out.container, "");
	/* As many names as fit, none of them cut. */
	for (int i = 0; i < 100; i++) {
		many[i].runtime = "podman";
		(void)snprintf(many[i].container, sizeof(many[i].container), "name%03d", i);
	}
	podname_join(many, 100, &out);
	assert_int_equal(strlen(out.container), 31 * 8 + 7);
	assert_string_equal(out.container + 31 * 8, "name031");
	free(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_oci),	cmocka_unit_test(test_host_network),
		cmocka_unit_test(test_docker),	cmocka_unit_test(test_storage),
		cmocka_unit_test(test_pid),	cmocka_unit_test(test_is_file),
		cmocka_unit_test(test_paths),	cmocka_unit_test(test_hostile_names),
		cmocka_unit_test(test_no_json), cmocka_unit_test(test_mangled),
		cmocka_unit_test(test_join),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
