// SPDX-License-Identifier: GPL-2.0-only
/* The configuration: what is taken, and where and why the rest is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "config_keys.h"
#include "xm_util.h"

static void expect_default(const char *text, size_t len)
{
	struct config c, d;
	struct config_error err;

	memset(&c, 0xa5, sizeof(c));
	if (config_parse(text, len, &c, &err))
		fail_msg("%u:%u: %s", err.line, err.column, err.text);
	config_defaults(&d);
	assert_memory_equal(&c, &d, sizeof(c));
}

static void test_defaults(void **state)
{
	struct config c;

	(void)state;
	config_defaults(&c);
	assert_true(c.underlay_auto);
	assert_int_equal(c.n_overlay, 3);
	assert_int_equal(ntohs(c.overlay[0].port), 8472);
	assert_int_equal(c.overlay[0].type, XM_OVERLAY_VXLAN);
	assert_int_equal(ntohs(c.overlay[1].port), 4789);
	assert_int_equal(c.overlay[1].type, XM_OVERLAY_VXLAN);
	assert_int_equal(ntohs(c.overlay[2].port), 6081);
	assert_int_equal(c.overlay[2].type, XM_OVERLAY_GENEVE);
	assert_int_equal(c.masquerade_port, 18477);
	assert_int_equal(c.lease_ms, 1000);
	assert_int_equal(c.admit_after, XM_ADMIT_AFTER_DEFAULT);
	assert_int_equal(c.flows, 65536);
	assert_int_equal(c.peers, 1024);
	assert_int_equal(c.liberal, CONFIG_LIBERAL_SET);
	assert_true(c.reserve_port);
	assert_false(c.cleanup_on_exit);
	assert_string_equal(c.metrics_listen, "127.0.0.1:9477");
	assert_string_equal(c.names_containerd, "/run/containerd");
	assert_string_equal(c.names_docker, "/var/lib/docker");
	assert_string_equal(c.names_podman, "/var/lib/containers/storage");
	assert_string_equal(c.pin_dir, "/sys/fs/bpf/xmasq");
	assert_string_equal(c.control_socket, "/run/xmasq/xmasqd.sock");
	assert_string_equal(c.state_dir, "/run/xmasq");
	assert_string_equal(c.sysctl_dir, "/proc/sys");
	assert_string_equal(c.psk_file, "");
}

static void test_nothing_is_default(void **state)
{
	static const char *const texts[] = {
		"",
		"\n\n",
		"# only a comment",
		"---\n",
		"--- # x\n...\n",
		"~\n",
		"{}\n",
		"%YAML 1.1\n---\n",
		"tables:\nlog: ~\npods: {}\n",
		"\xef\xbb\xbf# BOM\n",
		"\xef\xbb\xbfmode: auto\n",
	};
	size_t i;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(texts); i++)
		expect_default(texts[i], strlen(texts[i]));
	expect_default(NULL, 0);
}

static void test_everything(void **state)
{
	static const char text[] =
		"underlay: [eth0, \"bond0.7\"]\n"
		"overlay:\n"
		"  ports:\n"
		"  - {port: 6082, type: geneve}\n"
		"  - port: 0x2118\n"
		"    type: 'vxlan'\n"
		"mode: \"rpeer\"\n"
		"attach: filter\n"
		"same_node: off\n"
		"masquerade_port: 1024\n"
		"lease_ms: 200\n"
		"admit_after: 10000\n"
		"tables: {flows: 1024, peers: 16}\n"
		"pods:\n"
		"  include: [10.244.0.0/16, 0.0.0.0/0]\n"
		"  exclude: [10.244.1.9/32]\n"
		"tc: {priority: 65535, handle: 0xFFff}\n"
		"conntrack: {tcp_be_liberal: ignore}\n"
		"reserve_port: false\n"
		"metrics: {listen: \"[::1]:9000\"}\n"
		"names: {containerd: /run/k3s/containerd, docker: \"\", podman: /p}\n"
		"log: {level: debug, format: json}\n"
		"pin_dir: /a\n"
		"control_socket: /b/c\n"
		"state_dir: /d\n"
		"sysctl_dir: /host/proc/sys\n"
		"psk_file: '/etc/xmasq/k e y'\n"
		"cleanup_on_exit: true\n";
	struct config c;
	struct config_error err;

	(void)state;
	if (config_parse(text, sizeof(text) - 1, &c, &err))
		fail_msg("%u:%u: %s", err.line, err.column, err.text);
	assert_false(c.underlay_auto);
	assert_int_equal(c.n_underlay, 2);
	assert_string_equal(c.underlay[0], "eth0");
	assert_string_equal(c.underlay[1], "bond0.7");
	assert_int_equal(c.n_overlay, 2);
	assert_int_equal(ntohs(c.overlay[0].port), 6082);
	assert_int_equal(c.overlay[0].type, XM_OVERLAY_GENEVE);
	assert_int_equal(ntohs(c.overlay[1].port), 8472);
	assert_int_equal(c.overlay[1].type, XM_OVERLAY_VXLAN);
	assert_int_equal(c.overlay[2].port, 0);
	assert_int_equal(c.mode, CONFIG_MODE_RPEER);
	assert_int_equal(c.attach, CONFIG_ATTACH_FILTER);
	assert_int_equal(c.same_node, CONFIG_SAME_NODE_OFF);
	assert_int_equal(c.masquerade_port, 1024);
	assert_int_equal(c.lease_ms, 200);
	assert_int_equal(c.admit_after, 10000);
	assert_int_equal(c.flows, 1024);
	assert_int_equal(c.peers, 16);
	assert_int_equal(c.n_include, 2);
	assert_int_equal(ntohl(c.include[0].addr), 0x0af40000);
	assert_int_equal(c.include[0].len, 16);
	assert_int_equal(c.include[1].len, 0);
	assert_int_equal(c.n_exclude, 1);
	assert_int_equal(c.tc_priority, 65535);
	assert_int_equal(c.tc_handle, 65535);
	assert_int_equal(c.liberal, CONFIG_LIBERAL_IGNORE);
	assert_false(c.reserve_port);
	assert_string_equal(c.metrics_listen, "[::1]:9000");
	assert_string_equal(c.names_containerd, "/run/k3s/containerd");
	assert_string_equal(c.names_docker, "");
	assert_string_equal(c.names_podman, "/p");
	assert_int_equal(c.log_level, CONFIG_LOG_DEBUG);
	assert_int_equal(c.log_format, CONFIG_LOG_JSON);
	assert_string_equal(c.pin_dir, "/a");
	assert_string_equal(c.control_socket, "/b/c");
	assert_string_equal(c.state_dir, "/d");
	assert_string_equal(c.sysctl_dir, "/host/proc/sys");
	assert_string_equal(c.psk_file, "/etc/xmasq/k e y");
	assert_true(c.cleanup_on_exit);
}

#define P50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define NUM "must be a number from "

struct bad {
	const char *text;
	unsigned int line, column;
	const char *says; /* part of the message */
};

static const struct bad bad[] = {
	/* keys */
	{ "mode: auto\n\nleese_ms: 1", 3, 1,
	  "unknown key \"leese_ms\"; did you mean \"lease_ms\"?" },
	{ "tables:\n  flow: 1", 2, 3,
	  "unknown key \"flow\" in \"tables\"; did you mean \"flows\"?" },
	{ "tabels: {}", 1, 1, "did you mean \"tables\"?" },
	{ "flows: 1024", 1, 1, "write \"flows\" inside \"tables\"" },
	{ "tables.flows: 1024", 1, 1, "write \"flows\" inside \"tables\"" },
	{ "tables: {mode: auto}", 1, 10, "it belongs to the top level" },
	{ "log: {colour: red}", 1, 7, "unknown key \"colour\" in \"log\"; allowed: level, format" },
	{ "zzzzzzzzzz: 1", 1, 1, "allowed: underlay, overlay, mode, attach," },
	{ "LEASE_MS: 1", 1, 1, "unknown key" },
	{ "\"\": 1", 1, 1, "unknown key \"\"" },
	{ "\"a\\x1b[31m\": 1", 1, 1, "unknown key \"a?[31m\"" },
	{ "<<: {mode: auto}", 1, 1, "unknown key" },
	{ "mode: auto\nmode: auto", 2, 1, "\"mode\" is given twice; first in line 1" },
	{ "log: {level: info}\n\nlog: {format: text}", 3, 1,
	  "\"log\" is given twice; first in line 1" },
	{ "log:\nlog:\n", 2, 1, "given twice" },
	{ "log: {level: info, level: info}", 1, 20, "\"log.level\" is given twice" },
	{ "? [a]\n: 1", 1, 3, "a key must be a plain word" },
	{ "? {a: b}\n: 1", 1, 3, "a key must be a plain word" },
	/* shape */
	{ "auto", 1, 1, "must consist of keys" },
	{ "- mode: auto", 1, 1, "must consist of keys" },
	{ "\"\"", 1, 1, "must consist of keys" },
	{ "tables: 5", 1, 9, "\"tables\" must be a section" },
	{ "tables: [1]", 1, 9, "\"tables\" must be a section" },
	{ "mode: {a: b}", 1, 7, "\"mode\" must be one of auto, veth, rpeer, netkit" },
	{ "mode: [auto]", 1, 7, "\"mode\" must be one of" },
	{ "mode: auto\n---\nmode: veth", 2, 1, "one document" },
	{ "mode: auto\n...\n---\n", 3, 1, "one document" },
	{ "lease_ms: &a 300", 1, 11, "anchors" },
	{ "tables: &t {flows: 1024}", 1, 9, "anchors" },
	{ "underlay: &t [eth0]", 1, 11, "anchors" },
	{ "a: *b", 1, 1, "unknown key \"a\"" },
	{ "mode: *b", 1, 7, "aliases" },
	{ "lease_ms: !!int 300", 1, 11, "tags" },
	{ "lease_ms: !x 300", 1, 11, "tags" },
	{ "mode: [auto", 1, 7, "\"mode\" must be one of" },
	{ "underlay: [eth0", 2, 1, "not valid YAML" },
	{ "mode: \"auto", 1, 12, "not valid YAML" },
	{ "mode: auto\n\tlease_ms: 1", 2, 1, "not valid YAML" },
	{ "mode: auto\n  bad: 1", 1, 7, "not \"auto bad\"" },
	{ "mode: @x", 1, 7, "not valid YAML" },
	{ "mode: auto # \xc3\xa9\xff", 1, 15, "not valid UTF-8" },
	{ "# one\n\xff", 2, 1, "not valid UTF-8" },
	{ "m\x01: auto", 1, 2, "not valid UTF-8 text: control" },
	{ "mode: \"au\\0to\"", 1, 7, "NUL" },
	/* numbers */
	{ "lease_ms: 199", 1, 11, "\"lease_ms\" " NUM "200 to 10000 (milliseconds), not \"199\"" },
	{ "lease_ms: 10001", 1, 11, NUM "200 to 10000" },
	{ "lease_ms: -1000", 1, 11, NUM },
	{ "lease_ms: +1000", 1, 11, NUM },
	{ "lease_ms: 1000ms", 1, 11, "not \"1000ms\"" },
	{ "lease_ms: 1s", 1, 11, NUM },
	{ "lease_ms: 1_000", 1, 11, NUM },
	{ "lease_ms: 1000.0", 1, 11, NUM },
	{ "lease_ms: 1e3", 1, 11, NUM },
	{ "lease_ms: 16:40", 1, 11, NUM },
	{ "lease_ms: 01000", 1, 11, "without leading zeros" },
	{ "lease_ms: 0o1750", 1, 11, NUM },
	{ "lease_ms: 0x", 1, 11, NUM },
	{ "lease_ms: 0X3e8", 1, 11, NUM },
	{ "lease_ms: 0x3g8", 1, 11, NUM },
	{ "lease_ms: 4294968296", 1, 11, NUM },		  /* 2^32 + 1000 */
	{ "lease_ms: 18446744073709552616", 1, 11, NUM }, /* 2^64 + 1000 */
	{ "lease_ms: \"1000\"", 1, 11, "in quotes" },
	{ "lease_ms: true", 1, 11, NUM },
	{ "lease_ms:", 1, 10, "\"lease_ms\" has no value; it " NUM "200 to 10000" },
	{ "lease_ms: ~", 1, 11, "has no value" },
	{ "lease_ms: null", 1, 11, "has no value" },
	{ "lease_ms: [1000]", 1, 11, NUM },
	{ "masquerade_port: 1023", 1, 18, NUM "1024 to 32767" },
	{ "masquerade_port: 32768", 1, 18, NUM "1024 to 32767" },
	{ "masquerade_port: 83000", 1, 18, NUM }, /* 17464 in 16 bits */
	{ "tables: {flows: 65535}", 1, 17,
	  "\"tables.flows\" must be a power of two from 1024 to 1048576 (entries), not \"65535\"" },
	{ "tables: {flows: 512}", 1, 17, "power of two" },
	{ "tables: {flows: 2097152}", 1, 17, "power of two" },
	{ "tables: {peers: 8}", 1, 17, "power of two from 16 to 65536" },
	{ "tables: {peers: 1000}", 1, 17, "power of two" },
	{ "tc: {priority: 0}", 1, 16, NUM "1 to 65535" },
	{ "tc: {handle: 0x10000}", 1, 14, NUM "1 to 65535" },
	{ "admit_after: 0", 1, 14, "\"admit_after\" " NUM "1 to 10000 (packets), not \"0\"" },
	{ "admit_after: 10001", 1, 14, NUM "1 to 10000" },
	/* words */
	{ "mode: vet", 1, 7, "\"mode\" must be one of auto, veth, rpeer, netkit, not \"vet\"" },
	{ "mode: AUTO", 1, 7, "one of" },
	{ "same_node: on", 1, 12, "\"same_node\" must be one of auto, off, not \"on\"" },
	{ "attach: link", 1, 9, "\"attach\" must be one of auto, tcx, filter, not \"link\"" },
	{ "mode: \"\"", 1, 7, "one of" },
	{ "names: {docker: var/lib/docker}", 1, 17,
	  "\"names.docker\" must be an absolute path of at most 255 bytes, or \"\"" },
	{ "metrics: {listen: 9477}", 1, 19,
	  "\"metrics.listen\" must be address and port such as 127.0.0.1:9477" },
	{ "metrics: {listen: localhost:9477}", 1, 19, "or \"\", not \"localhost:9477\"" },
	{ "metrics: {listen: [::1]:9477}", 1, 19, "or \"[::1]:9477\", or \"\"" },
	{ "metrics: {listen: }", 1, 19, "\"metrics.listen\" has no value" },
	{ "metrics: {listen: " P50 P50 "}", 1, 19, "\"metrics.listen\" must be" },
	{ "log: {level: warning}", 1, 14, "\"log.level\" must be one of error, warn, info, debug" },
	{ "conntrack: {tcp_be_liberal: 1}", 1, 29, "must be one of set, require, ignore" },
	{ "reserve_port: yes", 1, 15, "\"reserve_port\" must be true or false, not \"yes\"" },
	{ "reserve_port: True", 1, 15, "true or false" },
	{ "reserve_port: \"true\"", 1, 15, "in quotes" },
	{ "reserve_port: 1", 1, 15, "true or false" },
	/* paths */
	{ "pin_dir: relative", 1, 10, "\"pin_dir\" must be an absolute path" },
	{ "pin_dir: \"\"", 1, 10, "absolute path" },
	{ "pin_dir: /", 1, 10, "must not end with" },
	{ "pin_dir: /a/", 1, 10, "must not end with" },
	{ "pin_dir: /a/../b", 1, 10, "must not hold \"..\"" },
	{ "pin_dir: /a/..", 1, 10, "must not hold \"..\"" },
	{ "pin_dir: \"/a\\nb\"", 1, 10, "control characters" },
	{ "psk_file: key", 1, 11, "absolute path of at most 255 bytes, or \"\"" },
	{ "control_socket: /" P50 P50 "1234567", 1, 17, "is 108 bytes long, at most 107 fit" },
	{ "state_dir: /" P50 P50 P50 P50 P50 "12345", 1, 12, "is 256 bytes long, at most 255 fit" },
	/* underlay */
	{ "underlay: eth0", 1, 11,
	  "\"underlay\" must be auto, or a list of 1 to 4 interface names" },
	{ "underlay: []", 1, 11, "\"underlay\" must not be empty" },
	{ "underlay: [a, auto]", 1, 15, "write \"underlay: auto\"" },
	{ "underlay: [sixteen-chars-ab]", 1, 12, "is no interface name" },
	{ "underlay: [a/b]", 1, 12, "is no interface name" },
	{ "underlay: [\"a b\"]", 1, 12, "is no interface name" },
	{ "underlay: ['..']", 1, 12, "is no interface name" },
	{ "underlay: ['']", 1, 12, "is no interface name" },
	{ "underlay:\n  - a\n  - b\n  - a", 4, 5, "\"a\" is listed twice" },
	{ "underlay: [a, b, c, d, e]", 1, 24, "at most 4" },
	{ "underlay: [[a]]", 1, 12, "\"underlay\" must be auto" },
	{ "underlay: {a: b}", 1, 11, "\"underlay\" must be auto" },
	/* overlay */
	{ "overlay: {ports: []}", 1, 18, "must not be empty" },
	{ "overlay: {ports: 8472}", 1, 18, "must be a list of 1 to 4 entries" },
	{ "overlay: {ports: [8472]}", 1, 19, "such as {port: 8472, type: vxlan}" },
	{ "overlay: {ports: [{port: 1}]}", 1, 19, "needs both port and type" },
	{ "overlay: {ports: [{type: vxlan}]}", 1, 19, "needs both port and type" },
	{ "overlay:\n  ports:\n  - port: 0\n    type: vxlan", 3, 11, "\"port\" " NUM "1 to 65535" },
	{ "overlay:\n  ports:\n  - port: 1\n    type: gre", 4, 11,
	  "\"type\" must be one of vxlan, geneve, not \"gre\"" },
	{ "overlay: {ports: [{port: 65536, type: vxlan}]}", 1, 26, "\"port\" " NUM },
	{ "overlay: {ports: [{port: 1, type: vxlan, vni: 1}]}", 1, 42, "allowed: port, type" },
	{ "overlay: {ports: [{port: 1, port: 1}]}", 1, 29, "given twice in one entry" },
	{ "overlay: {ports: [{port: [1]}]}", 1, 26, "must be a single value" },
	{ "overlay: {ports: [{port: 1, type: vxlan}, {port: 1, type: geneve}]}", 1, 50,
	  "port 1 is listed twice" },
	{ "overlay:\n  ports:\n  - {port: 1, type: vxlan}\n  - {port: 2, type: vxlan}\n"
	  "  - {port: 3, type: vxlan}\n  - {port: 4, type: vxlan}\n  - {port: 5, type: vxlan}",
	  7, 12, "at most 4" },
	/* prefixes */
	{ "pods: {include: [10.244.1.5/16]}", 1, 18,
	  "\"10.244.1.5/16\" has host bits set; did you mean \"10.244.0.0/16\"?" },
	{ "pods: {include: [10.0.0.1/0]}", 1, 18, "did you mean \"0.0.0.0/0\"?" },
	{ "pods: {exclude: [10.0.0.1]}", 1, 18, "did you mean \"10.0.0.1/32\"?" },
	{ "pods: {exclude: [10.0.0.0/33]}", 1, 18, "prefix length must be 0 to 32" },
	{ "pods: {exclude: [10.0.0.0/]}", 1, 18, "is no IPv4 prefix" },
	{ "pods: {exclude: [10.0.0.0/08]}", 1, 18, "is no IPv4 prefix" },
	{ "pods: {exclude: [10.0.0.0/-1]}", 1, 18, "is no IPv4 prefix" },
	{ "pods: {exclude: [10.0.0/8]}", 1, 18, "is no IPv4 prefix" },
	{ "pods: {exclude: [10.0.0.256/8]}", 1, 18, "is no IPv4 prefix" },
	{ "pods: {exclude: [010.0.0.0/8]}", 1, 18, "is no IPv4 prefix" },
	{ "pods: {exclude: ['fd00::/8']}", 1, 18, "is no IPv4 prefix" },
	{ "pods: {exclude: ['']}", 1, 18, "is no IPv4 prefix" },
	{ "pods: {include: 10.0.0.0/8}", 1, 17, "must be a list of at most 32 IPv4 prefixes" },
	{ "pods: {include: }", 1, 17, "\"pods.include\" has no value" },
	/* together */
	{ "masquerade_port: 8472", 1, 18,
	  "\"masquerade_port\" and \"overlay.ports\" are both 8472" },
	{ "overlay: {ports: [{port: 1, type: vxlan}, {port: 18477, type: vxlan}]}", 1, 50,
	  "are both 18477" },
};

static void test_bad(void **state)
{
	struct config c, before;
	struct config_error err;
	unsigned int wrong = 0;
	size_t i;
	int ret;

	(void)state;
	memset(&before, 0x5a, sizeof(before));
	for (i = 0; i < XM_ARRAY_SIZE(bad); i++) {
		const struct bad *b = &bad[i];
		/* A copy without NUL: reading beyond it is seen by the sanitizer. */
		char *copy = malloc(strlen(b->text));

		assert_non_null(copy);
		memcpy(copy, b->text, strlen(b->text));
		c = before;
		ret = config_parse(copy, strlen(b->text), &c, &err);
		free(copy);
		if (ret != -EINVAL || err.line != b->line || err.column != b->column ||
		    !strstr(err.text, b->says)) {
			print_error("%s\n  gives  %d, %u:%u: %s\n  wanted %u:%u: ...%s...\n",
				    b->text, ret, err.line, err.column, err.text, b->line,
				    b->column, b->says);
			wrong++;
		}
		/* A failed reload must not leave half a configuration. */
		assert_memory_equal(&c, &before, sizeof(c));
	}
	assert_int_equal(wrong, 0);
}

static void test_many_prefixes(void **state)
{
	char text[1024];
	struct config c;
	struct config_error err;
	int n, i, wanted;

	(void)state;
	for (wanted = CONFIG_CIDRS_MAX; wanted <= CONFIG_CIDRS_MAX + 1; wanted++) {
		n = sprintf(text, "pods:\n  include:\n");
		for (i = 0; i < wanted; i++)
			n += sprintf(text + n, "  - 10.%d.0.0/16\n", i);
		if (wanted == CONFIG_CIDRS_MAX) {
			assert_int_equal(config_parse(text, (size_t)n, &c, &err), 0);
			assert_int_equal(c.n_include, CONFIG_CIDRS_MAX);
		} else {
			assert_int_equal(config_parse(text, (size_t)n, &c, &err), -EINVAL);
			assert_int_equal(err.line, 2 + wanted);
			assert_non_null(strstr(err.text, "at most 32"));
		}
	}
}

/* What must end soon and without much memory, whatever it says. */
static void test_hostile(void **state)
{
	static const struct {
		const char *head;
		char fill;
	} t[] = { { "", '[' },		 { "", '{' },
		  { "mode: ", '[' },	 { "mode: ", '{' },
		  { "underlay: ", '[' }, { "tables: ", '{' },
		  { "", '-' },		 { "", '?' },
		  { "mode: ", 'x' },	 { "overlay: {ports: ", '[' },
		  { "", '&' },		 { "", '\n' } };
	const size_t len = (1u << 20) + 1;
	char *text = malloc(len);
	struct config_error err;
	struct config c;
	size_t i;
	int ret;

	(void)state;
	assert_non_null(text);
	for (i = 0; i < XM_ARRAY_SIZE(t); i++) {
		memset(text, t[i].fill, len);
		memcpy(text, t[i].head, strlen(t[i].head));
		ret = config_parse(text, len - 1, &c, &err);
		assert_int_equal(ret, t[i].fill == '\n' ? 0 : -EINVAL);
		assert_true(strlen(err.text) < sizeof(err.text));
		assert_int_equal(config_parse(text, len, &c, &err), -EINVAL);
		assert_non_null(strstr(err.text, "too many"));
	}
	free(text);
}

static char *read_sample(size_t *len)
{
	const char *top = getenv("XM_TOP");
	char path[4096], *text;
	FILE *f;

	if (top)
		snprintf(path, sizeof(path), "%s/deploy/xmasqd.yaml", top);
	else
		snprintf(path, sizeof(path), "%.*s../../deploy/xmasqd.yaml",
			 (int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__);
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	text = malloc(65536);
	assert_non_null(text);
	*len = fread(text, 1, 65535, f);
	text[*len] = '\0';
	fclose(f);
	return text;
}

/*
 * The sample shows the defaults, and all of them. A value is a line that starts with "#"
 * and anything but one single space; prose starts with "# ".
 */
static void test_sample(void **state)
{
	size_t len, n = 0;
	char *text = read_sample(&len), *plain = malloc(len + 1), *line, *save;
	unsigned int i;

	(void)state;
	assert_non_null(plain);
	expect_default(text, len);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		/* "#   x" explains the values of a key. */
		if (line[0] == '#' && line[1] && strncmp(line, "#   ", 4) &&
		    (line[1] != ' ' || line[2] == ' '))
			line++;
		else if (line[0] == '#' && !strncmp(line, "#    - {", 8))
			line++;
		n += (size_t)sprintf(plain + n, "%s\n", line);
	}
	expect_default(plain, n);
	for (i = 0; i < config_n_keys; i++) {
		char want[64];

		snprintf(want, sizeof(want), "\n%s%s:", config_keys[i].section ? "  " : "",
			 config_keys[i].name);
		if (!strstr(plain, want))
			fail_msg("%s is not in the sample", config_keys[i].full);
	}
	free(text);
	free(plain);
}

static void test_allows(void **state)
{
	static const char text[] = "pods: {include: [10.244.0.0/16, 10.9.0.0/24],"
				   " exclude: [10.244.1.0/24, 10.244.2.7/32]}";
	struct config c;
	struct config_error err;

	(void)state;
	config_defaults(&c);
	assert_true(config_allows(&c, inet_addr("1.2.3.4")));
	assert_int_equal(config_parse(text, sizeof(text) - 1, &c, &err), 0);
	assert_true(config_allows(&c, inet_addr("10.244.0.1")));
	assert_true(config_allows(&c, inet_addr("10.9.0.255")));
	assert_false(config_allows(&c, inet_addr("10.9.1.0")));
	assert_false(config_allows(&c, inet_addr("10.243.255.255")));
	assert_false(config_allows(&c, inet_addr("10.244.1.1")));
	assert_false(config_allows(&c, inet_addr("10.244.2.7")));
	assert_true(config_allows(&c, inet_addr("10.244.2.8")));

	assert_int_equal(config_parse("pods: {exclude: [0.0.0.0/0]}", 28, &c, &err), 0);
	assert_false(config_allows(&c, inet_addr("10.244.0.1")));
}

static void test_reload(void **state)
{
	static const struct {
		const char *text;
		const char *key; /* NULL: can be changed at once */
	} t[] = {
		{ "", NULL },
		{ "pin_dir: /x", "pin_dir" },
		{ "control_socket: /x", "control_socket" },
		{ "state_dir: /x", "state_dir" },
		{ "sysctl_dir: /x", "sysctl_dir" },
		{ "tables: {flows: 1024}", "tables.flows" },
		{ "tables: {peers: 16}", "tables.peers" },
		{ "masquerade_port: 1024", "masquerade_port" },
		{ "lease_ms: 300", "lease_ms" },
		{ "mode: veth", "mode" },
		{ "attach: filter", "attach" },
		{ "underlay: [eth0]", "underlay" },
		{ "overlay: {ports: [{port: 8472, type: vxlan}]}", "overlay.ports" },
		{ "tc: {priority: 2}", "tc.priority" },
		{ "tc: {handle: 2}", "tc.handle" },
		{ "psk_file: /x", "psk_file" },
		{ "pods: {include: [10.0.0.0/8]}", NULL },
		{ "log: {level: debug, format: json}", NULL },
		{ "metrics: {listen: \"\"}", NULL },
		{ "names: {docker: \"\"}", NULL },
		{ "cleanup_on_exit: true", NULL },
		{ "conntrack: {tcp_be_liberal: ignore}", NULL },
		{ "reserve_port: false", NULL },
	};
	struct config c, d;
	struct config_error err;
	const char *key;
	size_t i;

	(void)state;
	config_defaults(&d);
	for (i = 0; i < XM_ARRAY_SIZE(t); i++) {
		assert_int_equal(config_parse(t[i].text, strlen(t[i].text), &c, &err), 0);
		key = config_reload_needs_restart(&d, &c);
		if (!t[i].key)
			assert_null(key);
		else
			assert_string_equal(key ? key : "NULL", t[i].key);
	}
}

/* JSON is YAML: what is printed can be read again, and gives the same. */
static void test_json(void **state)
{
	static const char text[] =
		"underlay: [eth0]\nmode: netkit\nattach: tcx\nlog: {level: error}\n"
		"pods: {exclude: [10.1.0.0/16, 0.0.0.0/0]}\npsk_file: /etc/k\n"
		"tc: {handle: 0x10}\ncleanup_on_exit: true\n";
	struct config c, again;
	struct config_error err;
	struct json_object *o, *v;
	const char *json;

	(void)state;
	assert_int_equal(config_parse(text, sizeof(text) - 1, &c, &err), 0);
	o = config_to_json(&c);
	assert_non_null(o);
	assert_true(json_object_object_get_ex(o, "masquerade_port", &v));
	assert_int_equal(json_object_get_int(v), 18477);
	assert_true(json_object_object_get_ex(o, "overlay", &v));
	assert_true(json_object_object_get_ex(v, "ports", &v));
	assert_int_equal(json_object_array_length(v), 3);
	json = json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE);
	if (config_parse(json, strlen(json), &again, &err))
		fail_msg("%u:%u: %s in %s", err.line, err.column, err.text, json);
	assert_memory_equal(&c, &again, sizeof(c));
	json_object_put(o);
	assert_string_equal(config_mode_name(CONFIG_MODE_RPEER), "rpeer");
	assert_string_equal(config_mode_name((enum config_mode)99), "?");
	assert_string_equal(config_attach_name(CONFIG_ATTACH_TCX), "tcx");
	assert_string_equal(config_attach_name((enum config_attach)99), "?");
}

static void test_error_str(void **state)
{
	struct config c;
	struct config_error err;
	char buf[512];

	(void)state;
	assert_int_equal(config_parse("\n\n  leese_ms: 5", 15, &c, &err), -EINVAL);
	config_error_str(&err, "xmasqd.yaml", buf, sizeof(buf));
	assert_string_equal(buf, "xmasqd.yaml:3:3: unknown key \"leese_ms\"; did you mean "
				 "\"lease_ms\"?");
	err.line = 0;
	config_error_str(&err, "f", buf, sizeof(buf));
	assert_string_equal(buf, "f: unknown key \"leese_ms\"; did you mean \"lease_ms\"?");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),      cmocka_unit_test(test_nothing_is_default),
		cmocka_unit_test(test_everything),    cmocka_unit_test(test_bad),
		cmocka_unit_test(test_many_prefixes), cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_sample),	      cmocka_unit_test(test_allows),
		cmocka_unit_test(test_reload),	      cmocka_unit_test(test_json),
		cmocka_unit_test(test_error_str),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
