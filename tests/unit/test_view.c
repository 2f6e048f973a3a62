// SPDX-License-Identifier: GPL-2.0-only
/* From the daemon's structs to JSON, and from JSON to what people read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "show.h"
#include "table.h"
#include "text.h"
#include "view.h"
#include "xm_util.h"

/* Keys are an interface: the whole text is compared. */
static void expect_json(struct json_object *o, const char *want)
{
	assert_non_null(o);
	assert_string_equal(json_object_to_json_string_ext(
				    o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
			    want);
	json_object_put(o);
}

static const struct view_table tables[] = { { "flows", 60000, 65536, 8388608 } };
static const struct view_sysctl sysctls[] = {
	{ "net.netfilter.nf_conntrack_tcp_be_liberal", "0", "1", true },
	{ "net.ipv4.ip_local_reserved_ports", "18477", "18477", false },
};
static const struct view_program programs[] = { { "xmasq_nic_ingress", 77, 412 } };

static const struct view_status status = {
	.version = "v1",
	.pid = 12,
	.uptime_ms = 7980000,
	.epoch = 0xfedcba9876543210,
	.mode = "veth",
	.mode_reason = "no bpf_redirect_rpeer",
	.attach = "tcx",
	.attach_reason = "auto: the kernel has tcx",
	.node_addrs = "172.31.0.1",
	.nics = "eth0",
	.masquerade_port = 18477,
	.lease_ms = 1000,
	.authenticated = true,
	.tcp_ok = false,
	.tcp_reason = "set the sysctl",
	.pods = 3,
	.pods_attached = 2,
	.peers = 4,
	.peers_up = 3,
	.flows = 100,
	.flows_active = 60,
	.masqueraded = 700000,
	.restored = 200000,
	.overlay = 100000,
	.netlink_overruns = 1,
	.tables = tables,
	.n_tables = 1,
	.sysctls = sysctls,
	.n_sysctls = 2,
	.programs = programs,
	.n_programs = 1,
};

static struct view_flow flow(const char *s, uint16_t sp, const char *d, uint16_t dp, uint8_t proto,
			     const char *state)
{
	struct view_flow f = { .peer = inet_addr("172.31.0.2"),
			       .label = 7,
			       .owner = true,
			       .state = state,
			       .out_ms = 730,
			       .in_ms = -1200,
			       .pod_ifindex = 9,
			       .pod_ifname = "veth1" };

	f.key.saddr = inet_addr(s);
	f.key.daddr = inet_addr(d);
	f.key.sport = htons(sp);
	f.key.dport = htons(dp);
	f.key.proto = proto;
	return f;
}

static void test_status_json(void **state)
{
	(void)state;
	expect_json(
		view_status_json(&status),
		"{\"version\":\"v1\",\"pid\":12,\"uptime_ms\":7980000,\"epoch\":18364758544493064720,"
		"\"mode\":\"veth\",\"mode_reason\":\"no bpf_redirect_rpeer\","
		"\"attach\":\"tcx\",\"attach_reason\":\"auto: the kernel has tcx\","
		"\"node_addrs\":\"172.31.0.1\",\"nics\":\"eth0\",\"masquerade_port\":18477,"
		"\"lease_ms\":1000,\"authenticated\":true,\"tcp_ok\":false,"
		"\"tcp_reason\":\"set the sysctl\",\"pods\":3,\"pods_attached\":2,\"peers\":4,"
		"\"peers_up\":3,\"flows\":100,\"flows_active\":60,\"masqueraded\":700000,"
		"\"restored\":200000,\"overlay\":100000,\"netlink_overruns\":1,"
		"\"tables\":[{\"name\":\"flows\",\"used\":60000,\"max\":65536,\"bytes\":8388608}],"
		"\"sysctls\":[{\"name\":\"net.netfilter.nf_conntrack_tcp_be_liberal\","
		"\"before\":\"0\",\"now\":\"1\",\"ours\":true},"
		"{\"name\":\"net.ipv4.ip_local_reserved_ports\",\"before\":\"18477\","
		"\"now\":\"18477\",\"ours\":false}],"
		"\"programs\":[{\"name\":\"xmasq_nic_ingress\",\"id\":77,\"insns\":412}]}");
}

static void test_empty_status(void **state)
{
	struct view_status none = { 0 };
	struct json_object *o = view_status_json(&none), *v;

	(void)state;
	assert_non_null(o);
	assert_true(json_object_object_get_ex(o, "tables", &v));
	assert_int_equal(json_object_array_length(v), 0);
	json_object_put(o);
}

static void test_pods_json(void **state)
{
	const struct view_pod p[] = {
		{ .ifname = "vethA",
		  .ifindex = 5,
		  .netns = "nsid 3",
		  .addrs = "10.244.1.11",
		  .kind = "veth",
		  .attached = true,
		  .mode = "netkit",
		  .attach_us = 1500,
		  .pod_ns = "shop",
		  .pod = "web-0",
		  .containers = "log,web",
		  .runtime = "containerd" },
		{ .ifname = "v\xff\x01", .ifindex = 6, .kind = "veth", .reason = "no \"netns\"" },
	};

	(void)state;
	expect_json(
		view_pods_json(p, 2),
		"{\"pods\":[{\"ifname\":\"vethA\",\"ifindex\":5,\"netns\":\"nsid 3\","
		"\"addrs\":\"10.244.1.11\",\"kind\":\"veth\",\"attached\":true,"
		"\"mode\":\"netkit\",\"reason\":\"\",\"attach_us\":1500,"
		"\"namespace\":\"shop\",\"pod\":\"web-0\",\"containers\":\"log,web\","
		"\"runtime\":\"containerd\"},{\"ifname\":\"v?\\u0001\",\"ifindex\":6,\"netns\":\"\","
		"\"addrs\":\"\",\"kind\":\"veth\",\"attached\":false,"
		"\"mode\":null,\"reason\":\"no \\\"netns\\\"\",\"attach_us\":null,"
		"\"namespace\":\"\",\"pod\":\"\",\"containers\":\"\",\"runtime\":\"\"}]}");
	expect_json(view_pods_json(NULL, 0), "{\"pods\":[]}");
}

static void test_flows_json(void **state)
{
	struct view_flow f = flow("10.244.1.2", 80, "10.244.2.3", 40000, IPPROTO_TCP, "active");
	struct view_flow u = flow("10.244.1.2", 53, "10.244.2.3", 1, IPPROTO_UDP, "new");

	(void)state;
	expect_json(view_flows_json(&f, 1, 900),
		    "{\"flows\":[{\"protocol\":\"tcp\",\"saddr\":\"10.244.1.2\",\"sport\":80,"
		    "\"daddr\":\"10.244.2.3\",\"dport\":40000,\"peer\":\"172.31.0.2\",\"label\":7,"
		    "\"owner\":true,\"state\":\"active\",\"out_ms\":730,\"in_ms\":-1200,"
		    "\"pod_ifindex\":9,\"pod_ifname\":\"veth1\"}],\"total\":900}");
	u.pod_ifname[0] = '\0';
	expect_json(view_flows_json(&u, 1, 1),
		    "{\"flows\":[{\"protocol\":\"udp\",\"saddr\":\"10.244.1.2\",\"sport\":53,"
		    "\"daddr\":\"10.244.2.3\",\"dport\":1,\"peer\":\"172.31.0.2\",\"label\":7,"
		    "\"owner\":true,\"state\":\"new\",\"out_ms\":730,\"in_ms\":-1200,"
		    "\"pod_ifindex\":9,\"pod_ifname\":\"\"}],\"total\":1}");
}

static void test_peers_json(void **state)
{
	const struct view_peer p[] = {
		{ .addr = inet_addr("172.31.0.2"),
		  .state = "up",
		  .hint = "",
		  .tcp_ms = 2500,
		  .udp_ms = INT64_MIN,
		  .rtt_us = 310,
		  .epoch = 4000000000u,
		  .owner = true,
		  .flows = 3,
		  .hellos_tx = 9,
		  .hellos_rx = 8 },
	};

	(void)state;
	expect_json(view_peers_json(p, 1),
		    "{\"peers\":[{\"addr\":\"172.31.0.2\",\"state\":\"up\",\"hint\":\"\","
		    "\"tcp_ms\":2500,\"udp_ms\":null,\"rtt_us\":310,\"epoch\":4000000000,"
		    "\"owner\":true,\"flows\":3,\"hellos_tx\":9,\"hellos_rx\":8}]}");
}

static void test_counters_json(void **state)
{
	struct xm_counter c[XM_R_MAX] = { 0 };
	struct json_object *o, *list, *e, *v;

	(void)state;
	c[XM_R_GUARD] = (struct xm_counter){ UINT64_MAX, 12 };
	o = view_counters_json(c);
	assert_non_null(o);
	assert_true(json_object_object_get_ex(o, "counters", &list));
	assert_int_equal(json_object_array_length(list), XM_R_MAX);
	e = json_object_array_get_idx(list, XM_R_GUARD);
	json_object_object_get_ex(e, "name", &v);
	assert_string_equal(json_object_get_string(v), "guard");
	json_object_object_get_ex(e, "kind", &v);
	assert_string_equal(json_object_get_string(v), "drop");
	json_object_object_get_ex(e, "packets", &v);
	assert_true(json_object_get_uint64(v) == UINT64_MAX);
	json_object_object_get_ex(e, "bytes", &v);
	assert_int_equal(json_object_get_int(v), 12);
	json_object_put(o);
}

static void test_reasons(void **state)
{
	unsigned int i, j;

	(void)state;
	for (i = 0; i < XM_R_MAX; i++) {
		assert_string_not_equal(view_reason_name(i), "?");
		assert_true(strlen(view_reason_text(i)) > 3);
		for (j = 0; j < i; j++)
			assert_string_not_equal(view_reason_name(i), view_reason_name(j));
	}
	assert_string_equal(view_reason_name(XM_R_MASQUERADED), "masqueraded");
	assert_int_equal(view_reason_kind(XM_R_MASQUERADED), XM_KIND_FAST);
	assert_int_equal(view_reason_kind(XM_R_TTL), XM_KIND_OVERLAY);
	assert_int_equal(view_reason_kind(XM_R_FLOW_NEW), XM_KIND_EVENT);
	assert_string_equal(view_reason_name(XM_R_MAX), "?");
	assert_string_equal(view_reason_text(XM_R_MAX), "?");
	assert_string_equal(view_kind_name((enum xm_reason_kind)99), "?");
}

/* Caller frees. Shown without colours, unless @o says so. */
static char *shown(enum ctl_command c, struct json_object *o, const struct show_options *opt)
{
	static const struct show_options plain;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	assert_int_equal(show(c, o, opt ? opt : &plain, f), 0);
	fclose(f);
	json_object_put(o);
	return text;
}

static void expect_shown(enum ctl_command c, struct json_object *o, const struct show_options *opt,
			 const char *want)
{
	char *text = shown(c, o, opt);

	assert_string_equal(text, want);
	free(text);
}

static void test_show_status(void **state)
{
	static const struct show_options color = { .color = true };
	char *text;

	(void)state;
	expect_shown(
		CTL_STATUS, view_status_json(&status), NULL,
		"xmasqd         v1, pid 12, up 2h13m, epoch fedcba9876543210\n"
		"mode           veth (no bpf_redirect_rpeer)\n"
		"attach         tcx (auto: the kernel has tcx)\n"
		"node           172.31.0.1 on eth0; masquerade port 18477, lease 1.00s\n"
		"peers          3 of 4 up, authenticated\n"
		"pods           2 of 3 attached\n"
		"flows          60 active of 100\n"
		"fast path      90.0 % of packets (700k masqueraded, 200k restored; 100k by the "
		"overlay)\n"
		"TCP            not accelerated: set the sysctl\n"
		"sysctls        net.netfilter.nf_conntrack_tcp_be_liberal = 1 (was 0; put back by "
		"\"xmasqctl cleanup\")\n"
		"netlink        1 overruns, each followed by a full read\n"
		"\n"
		"TABLE   USED    MAX  FULL    MEMORY\n"
		"flows  60.0k  65.5k  92 %  8.00 MiB\n"
		"\n"
		"PROGRAM            ID  INSTRUCTIONS\n"
		"xmasq_nic_ingress  77           412\n");
	text = shown(CTL_STATUS, view_status_json(&status), &color);
	assert_non_null(strstr(text, "\033[33mnot accelerated: set the sysctl\033[0m"));
	free(text);
	/* An answer of another version, or no answer at all, must not crash. */
	text = shown(CTL_STATUS, NULL, NULL);
	assert_non_null(strstr(text, "no packets yet"));
	assert_non_null(strstr(text, "none changed"));
	free(text);
}

static void test_show_flows(void **state)
{
	struct view_flow f[] = {
		flow("10.244.1.10", 80, "10.244.2.3", 4, IPPROTO_TCP, "active"),
		flow("10.244.1.9", 80, "10.244.2.3", 40000, IPPROTO_TCP, "lapsed"),
		flow("10.244.1.9", 80, "10.244.2.3", 5, IPPROTO_UDP, "active"),
	};
	const struct show_options active = { .active = true }, two = { .limit = 2 };

	(void)state;
	f[1].label = 0;
	f[1].owner = false;
#define HEAD \
	"PROTO  LOCAL POD       REMOTE POD        PEER        STATE   LABEL  OWNER    OUT      IN  INTERFACE\n"
#define UDP9 \
	"udp    10.244.1.9:80   10.244.2.3:5      172.31.0.2  active      7  us     0.73s  -1.20s  veth1\n"
#define TCP9 \
	"tcp    10.244.1.9:80   10.244.2.3:40000  172.31.0.2  lapsed      -  peer   0.73s  -1.20s  veth1\n"
#define TCP10 \
	"tcp    10.244.1.10:80  10.244.2.3:4      172.31.0.2  active      7  us     0.73s  -1.20s  veth1\n"
	expect_shown(CTL_FLOWS, view_flows_json(f, 3, 3), NULL, HEAD UDP9 TCP9 TCP10);
	expect_shown(CTL_FLOWS, view_flows_json(f, 3, 70000), &active,
		     "PROTO  LOCAL POD       REMOTE POD    PEER        STATE   LABEL  OWNER    OUT"
		     "      IN  INTERFACE\n"
		     "udp    10.244.1.9:80   10.244.2.3:5  172.31.0.2  active      7  us     0.73s"
		     "  -1.20s  veth1\n"
		     "tcp    10.244.1.10:80  10.244.2.3:4  172.31.0.2  active      7  us     0.73s"
		     "  -1.20s  veth1\n"
		     "2 of 70000 flows\n");
	expect_shown(CTL_FLOWS, view_flows_json(f, 3, 3), &two,
		     "PROTO  LOCAL POD      REMOTE POD        PEER        STATE   LABEL  OWNER    "
		     "OUT      IN  INTERFACE\n"
		     "udp    10.244.1.9:80  10.244.2.3:5      172.31.0.2  active      7  us     "
		     "0.73s  -1.20s  veth1\n"
		     "tcp    10.244.1.9:80  10.244.2.3:40000  172.31.0.2  lapsed      -  peer   "
		     "0.73s  -1.20s  veth1\n"
		     "2 of 3 flows\n");
}

/* The daemon sorts before it cuts; that order and the one shown must be the same. */
static void test_flow_order(void **state)
{
	struct view_flow f[] = {
		flow("10.0.0.2", 1, "10.0.0.9", 1, IPPROTO_TCP, "a"),
		flow("10.0.0.10", 1, "10.0.0.9", 1, IPPROTO_TCP, "a"),
		flow("10.0.0.10", 1, "10.0.0.10", 1, IPPROTO_TCP, "a"),
		flow("10.0.0.10", 256, "10.0.0.10", 1, IPPROTO_TCP, "a"),
		flow("10.0.0.10", 256, "10.0.0.10", 2, IPPROTO_TCP, "a"),
		flow("10.0.0.10", 256, "10.0.0.10", 2, IPPROTO_UDP, "a"),
	};
	size_t i;

	(void)state;
	for (i = 1; i < XM_ARRAY_SIZE(f); i++) {
		assert_true(view_flow_cmp(&f[i - 1], &f[i]) < 0);
		assert_true(view_flow_cmp(&f[i], &f[i - 1]) > 0);
		assert_int_equal(view_flow_cmp(&f[i], &f[i]), 0);
	}
}

static void test_show_others(void **state)
{
	const struct view_pod pods[] = {
		{ .ifname = "vethB",
		  .netns = "b",
		  .addrs = "10.244.1.12",
		  .kind = "veth",
		  .attached = true,
		  .mode = "rpeer",
		  .attach_us = 1540,
		  .containers = "db\033",
		  .runtime = "docker" },
		{ .ifname = "veth\033[", .kind = "veth", .reason = "excluded" },
		{ .ifname = "vethC",
		  .kind = "veth",
		  .reason = "excluded",
		  .pod_ns = "shop",
		  .pod = "web-0",
		  .containers = "web" },
	};
	const struct view_peer peers[] = {
		{ .addr = inet_addr("172.31.0.10"),
		  .state = "silent",
		  .hint = "is xmasqd there?",
		  .tcp_ms = INT64_MIN,
		  .udp_ms = -5,
		  .hellos_tx = 12345 },
		{ .addr = inet_addr("172.31.0.9"),
		  .state = "up",
		  .hint = "",
		  .tcp_ms = 2500,
		  .udp_ms = 2499,
		  .rtt_us = 310,
		  .owner = true,
		  .flows = 3 },
	};
	struct xm_counter c[XM_R_MAX] = { 0 };
	const struct show_options all = { .all = true };
	char *text;

	(void)state;
	expect_shown(
		CTL_PODS, view_pods_json(pods, 3), NULL,
		"INTERFACE  POD         NETNS  ADDRESSES    KIND  STATE     MODE   ATTACHED IN  REASON\n"
		"veth?[     -           -      -            veth  overlay   -                -  excluded\n"
		"vethB      db?         b      10.244.1.12  veth  attached  rpeer       1.5 ms  -\n"
		"vethC      shop/web-0  -      -            veth  overlay   -                -  excluded\n");
	expect_shown(
		CTL_PEERS, view_peers_json(peers, 2), NULL,
		"PEER         STATE     TCP    UDP      RTT  FLOWS  OWNER  HELLOS OUT  IN  HINT\n"
		"172.31.0.9   up      2.50s  2.49s  0.31 ms      3  us              0   0  -\n"
		"172.31.0.10  silent  never   lost        -      0  peer        12.3k   0  "
		"is xmasqd there?\n");
	c[XM_R_GUARD] = (struct xm_counter){ 3, 1536 };
	expect_shown(
		CTL_COUNTERS, view_counters_json(c), NULL,
		"REASON  KIND  PACKETS     BYTES  WHAT\n"
		"guard   drop        3  1.50 KiB  masquerade port towards a peer, but not ours\n");
	text = shown(CTL_COUNTERS, view_counters_json(c), &all);
	assert_non_null(strstr(text, "\nmasqueraded "));
	assert_non_null(strstr(text, "\nhelper-failed "));
	free(text);
	expect_shown(CTL_FLUSH, NULL, NULL, "done\n");
	expect_shown(CTL_FLUSH, json_tokener_parse("{\"flushed\": 12}"), NULL, "flushed: 12\n");
	/* Names are as foreign as what they name. */
	expect_shown(CTL_FLUSH, json_tokener_parse("{\"\\u001b[2J\\n\": \"\\u009b2J\\n\"}"), NULL,
		     "?[2J?: ??2J?\n");
	/* JSON can keep them, escaped. The last byte is not UTF-8. */
	expect_shown(CTL_CONFIG,
		     json_tokener_parse("{\"\x7f\": \"a\xc2\x80\xc2\x9f\\u001b\xc2\xa0z\x9b\"}"),
		     NULL, "{\n  \"\\u007f\": \"a\\u0080\\u009f\\u001b\xc2\xa0z?\"\n}\n");
}

/* Whatever a daemon of another version answers. */
static void test_show_garbage(void **state)
{
	static const char *const t[] = {
		"1",
		"[]",
		"\"x\"",
		"{}",
		"null",
		"{\"flows\":[1,null,[],\"x\",{}],\"pods\":[null],"
		"\"peers\":[[]],\"counters\":[null,3],\"tables\":[1],\"sysctls\":[null,{\"ours\":1}],"
		"\"programs\":[{\"id\":\"x\"}],\"total\":\"x\",\"version\":5}",
		"{\"flows\":{},\"pods\":1,\"peers\":\"\",\"counters\":true,\"tables\":{}}",
	};
	const struct show_options all = { .all = true };
	size_t i;
	int c;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(t); i++)
		for (c = 0; c < CTL_COMMANDS; c++)
			free(shown((enum ctl_command)c, json_tokener_parse(t[i]), &all));
}

static void test_units(void **state)
{
	char b[TABLE_NUM];

	(void)state;
	assert_string_equal(table_count(b, 0), "0");
	assert_string_equal(table_count(b, 9999), "9999");
	assert_string_equal(table_count(b, 10000), "10.0k");
	assert_string_equal(table_count(b, 999499), "999k");
	assert_string_equal(table_count(b, 999500), "1.00M");
	assert_string_equal(table_count(b, 12345678), "12.3M");
	assert_string_equal(table_count(b, UINT64_MAX), "18.4E");
	assert_string_equal(table_bytes(b, 1023), "1023 B");
	assert_string_equal(table_bytes(b, 1024), "1.00 KiB");
	assert_string_equal(table_bytes(b, 1048576 - 1), "1.00 MiB");
	assert_string_equal(table_bytes(b, UINT64_MAX), "16.0 EiB");
	assert_string_equal(table_time(b, 730), "0.73s");
	assert_string_equal(table_time(b, -1200), "-1.20s");
	assert_string_equal(table_time(b, 59999), "59.99s");
	assert_string_equal(table_time(b, 123000), "2m03s");
	assert_string_equal(table_time(b, 11100000), "3h05m");
	assert_string_equal(table_time(b, 370800000), "4d07h");
	assert_non_null(table_time(b, INT64_MIN));
}

static void test_utf8(void **state)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{ "plain", "plain" },
		{ "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa7", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa7" },
		{ "a\xff", "a?" },
		{ "\xc3", "?" },
		{ "\xe2\x82", "??" },
		{ "\xc0\xaf", "??" },		/* overlong */
		{ "\xed\xa0\x80", "???" },	/* surrogate */
		{ "\xf4\x90\x80\x80", "????" }, /* beyond Unicode */
	};
	char buf[32];
	size_t i;

	(void)state;
	for (i = 0; i < XM_ARRAY_SIZE(t); i++) {
		strcpy(buf, t[i].in);
		text_utf8_clean(buf);
		assert_string_equal(buf, t[i].out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status_json), cmocka_unit_test(test_empty_status),
		cmocka_unit_test(test_pods_json),   cmocka_unit_test(test_flows_json),
		cmocka_unit_test(test_peers_json),  cmocka_unit_test(test_counters_json),
		cmocka_unit_test(test_reasons),	    cmocka_unit_test(test_show_status),
		cmocka_unit_test(test_show_flows),  cmocka_unit_test(test_flow_order),
		cmocka_unit_test(test_show_others), cmocka_unit_test(test_show_garbage),
		cmocka_unit_test(test_units),	    cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
