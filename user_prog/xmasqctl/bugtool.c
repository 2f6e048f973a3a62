// SPDX-License-Identifier: GPL-2.0-only
#include "bugtool.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "archive.h"
#include "client.h"
#include "collect.h"
#include "jsonx.h"
#include "version.h"

#define NICS_MAX 8

static const char readme[] =
	"Collected by xmasqctl bugtool. Look through it before you send it to anybody.\n"
	"\n"
	"In it: addresses of nodes and pods, names of interfaces and namespaces, flows, routes,\n"
	"firewall rules, xmasqd's configuration and log, its systemd unit with all drop-ins and so\n"
	"with their Environment= lines.\n"
	"Not in it: the pre-shared key (its file is not read), packets, contents of BPF maps and\n"
	"programs. Runs of 64 or more hexadecimal digits, which could be such a key, were replaced\n"
	"by \"[removed]\"; other passwords and keys that somebody wrote into any of this were not.\n"
	"\n"
	"missing.txt lists what could not be had.\n";

static const struct {
	const char *file;
	const char *argv[10];
} commands[] = {
	{ "system/uname.txt", { "uname", "-a" } },
	{ "system/date.txt", { "date", "-u" } },
	{ "system/uptime.txt", { "uptime" } },
	{ "system/processes.txt", { "ps", "-C", "xmasqd", "-o", "pid,lstart,time,rss,nlwp,args" } },
	{ "system/service.txt", { "systemctl", "--no-pager", "-l", "status", "xmasqd" } },
	{ "system/unit.txt", { "systemctl", "--no-pager", "cat", "xmasqd" } },
	{ "system/journal.txt",
	  { "journalctl", "--no-pager", "-o", "short-iso-precise", "-n", "5000", "-u", "xmasqd" } },
	{ "net/links.txt", { "ip", "-d", "-s", "link" } },
	{ "net/addresses.txt", { "ip", "address" } },
	{ "net/routes.txt", { "ip", "route", "show", "table", "all" } },
	{ "net/rules.txt", { "ip", "rule" } },
	{ "net/neighbours.txt", { "ip", "neighbour" } },
	{ "net/namespaces.txt", { "ip", "netns", "list-id" } },
	{ "net/bridge.txt", { "bridge", "-d", "link" } },
	{ "net/fdb.txt", { "bridge", "fdb" } },
	{ "net/qdiscs.txt", { "tc", "-s", "qdisc" } },
	{ "net/nft.txt", { "nft", "-s", "list", "ruleset" } },
	{ "net/iptables.txt", { "iptables-save", "-c" } },
	{ "net/conntrack.txt", { "conntrack", "-S" } },
	{ "net/sockets.txt", { "ss", "-s" } },
	{ "bpf/attached.txt", { "bpftool", "net" } },
	{ "bpf/programs.txt", { "bpftool", "prog", "show" } },
	{ "bpf/maps.txt", { "bpftool", "map", "show" } },
};

static const struct {
	const char *file;
	const char *path;
} files[] = {
	{ "system/os-release.txt", "/etc/os-release" },
	{ "system/meminfo.txt", "/proc/meminfo" },
	{ "system/mounts.txt", "/proc/self/mounts" },
	{ "net/softnet.txt", "/proc/net/softnet_stat" },
	{ "net/snmp.txt", "/proc/net/snmp" },
	{ "net/netstat.txt", "/proc/net/netstat" },
	{ "net/vxlan-and-others.txt", "/proc/net/dev" },
	{ "sysctl/ip_forward.txt", "/proc/sys/net/ipv4/ip_forward" },
	{ "sysctl/reserved_ports.txt", "/proc/sys/net/ipv4/ip_local_reserved_ports" },
	{ "sysctl/port_range.txt", "/proc/sys/net/ipv4/ip_local_port_range" },
	{ "sysctl/rp_filter.txt", "/proc/sys/net/ipv4/conf/all/rp_filter" },
	{ "sysctl/tcp_be_liberal.txt", "/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal" },
	{ "sysctl/conntrack_count.txt", "/proc/sys/net/netfilter/nf_conntrack_count" },
	{ "sysctl/conntrack_max.txt", "/proc/sys/net/netfilter/nf_conntrack_max" },
	{ "sysctl/bpf_jit_enable.txt", "/proc/sys/net/core/bpf_jit_enable" },
	{ "sysctl/unprivileged_bpf.txt", "/proc/sys/kernel/unprivileged_bpf_disabled" },
};

struct run {
	const struct options *o;
	struct archive *a;
	char *missing; /* text */
	size_t missing_len;
	FILE *missing_f;
};

static void XM_PRINTF(3, 4) lacks(struct run *r, const char *file, const char *fmt, ...)
{
	va_list ap;

	fprintf(r->missing_f, "%s: ", file);
	va_start(ap, fmt);
	vfprintf(r->missing_f, fmt, ap);
	va_end(ap);
	fputc('\n', r->missing_f);
}

/* Takes over @data. */
static void add(struct run *r, const char *file, int err, char *data, size_t len)
{
	if (err) {
		lacks(r, file, "%s", err == -ENOENT ? "not there" : strerror(-err));
		return;
	}
	archive_add(r->a, file, data, len);
	free(data);
}

/* An answer as JSON, or @shown as people see it. */
static void add_answer(struct run *r, const char *file, enum ctl_command c, struct json_object *o,
		       bool shown)
{
	const struct show_options so = { .all = true, .limit = CTL_FLOWS_MAX };
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	int err;

	if (!f) {
		lacks(r, file, "%s", strerror(ENOMEM));
		return;
	}
	err = shown ? show(c, o, &so, f) : jsonx_print(o, f);
	err = (ferror(f) | fclose(f)) ? -ENOMEM : err;
	if (err) {
		free(text);
		text = NULL;
	}
	add(r, file, err, text, len);
}

/* Return: the answer, for whoever wants to know more; NULL when there is none. */
static struct json_object *ask(struct run *r, enum ctl_command c)
{
	struct ctl_request req = { .command = c,
				   .pods.names = c == CTL_PODS,
				   .flows.limit = CTL_FLOWS_MAX };
	struct json_object *result = NULL;
	char file[64], err[512] = "";

	snprintf(file, sizeof(file), "xmasqd/%s.json", ctl_command_name(c));
	if (client_ask(r->o->socket, &req, CLIENT_TIMEOUT_MS, &result, err, sizeof(err))) {
		lacks(r, file, "%s", err);
		return NULL;
	}
	add_answer(r, file, c, result, false);
	if (c != CTL_CONFIG && c != CTL_VERSION) {
		snprintf(file, sizeof(file), "xmasqd/%s.txt", ctl_command_name(c));
		add_answer(r, file, c, result, true);
	}
	return result;
}

static void about_nics(struct run *r, struct json_object *status)
{
	static const char *const what[][2] = { { "-i", "driver" }, { "-k", "offloads" } };
	char *list = strdup(jsonx_str(status, "nics")), *save, *nic, file[64], *data;
	unsigned int n = 0;
	size_t len;

	for (nic = list ? strtok_r(list, ",", &save) : NULL; nic && n < NICS_MAX;
	     nic = strtok_r(NULL, ",", &save), n++) {
		for (size_t i = 0; i < XM_ARRAY_SIZE(what); i++) {
			const char *argv[] = { "ethtool", what[i][0], nic, NULL };
			int err;

			data = NULL;
			len = 0;
			err = collect_command(argv, &data, &len);
			/* An interface's name may have anything but a slash. */
			snprintf(file, sizeof(file), "net/nic-%u-%s.txt", n, what[i][1]);
			add(r, file, err, data, len);
		}
	}
	free(list);
}

static void about_web(struct run *r, struct json_object *config)
{
	static const char *const pages[] = { "metrics", "readyz", "healthz" };
	const char *where = jsonx_str(jsonx_get(config, "metrics"), "listen");
	char file[64], path[64];

	for (size_t i = 0; i < XM_ARRAY_SIZE(pages); i++) {
		char *data = NULL;
		size_t len = 0;
		int err;

		snprintf(file, sizeof(file), "xmasqd/%s.txt", pages[i]);
		snprintf(path, sizeof(path), "/%s", pages[i]);
		if (!*where) {
			lacks(r, file, "metrics.listen is empty, or xmasqd does not answer");
			continue;
		}
		err = collect_web(where, path, &data, &len);
		add(r, file, err, data, len);
	}
}

static void collect(struct run *r)
{
	static const enum ctl_command asked[] = { CTL_PODS,	CTL_FLOWS,  CTL_PEERS,
						  CTL_COUNTERS, CTL_POLICY, CTL_VERSION };
	struct json_object *status, *config;
	char *copy = strdup(readme), *data;
	size_t len;
	int err;

	add(r, "README.txt", copy ? 0 : -ENOMEM, copy, copy ? strlen(copy) : 0);
	copy = strdup("xmasqctl " XM_VERSION "\n");
	add(r, "xmasqctl.txt", copy ? 0 : -ENOMEM, copy, copy ? strlen(copy) : 0);
	status = ask(r, CTL_STATUS);
	config = ask(r, CTL_CONFIG);
	for (size_t i = 0; i < XM_ARRAY_SIZE(asked); i++)
		json_object_put(ask(r, asked[i]));
	about_web(r, config);
	about_nics(r, status);
	json_object_put(status);
	json_object_put(config);
	for (size_t i = 0; i < XM_ARRAY_SIZE(commands); i++) {
		data = NULL;
		len = 0;
		err = collect_command(commands[i].argv, &data, &len);
		add(r, commands[i].file, err, data, len);
	}
	for (size_t i = 0; i < XM_ARRAY_SIZE(files); i++) {
		data = NULL;
		len = 0;
		err = collect_file(files[i].path, &data, &len);
		add(r, files[i].file, err, data, len);
	}
}

/* "xmasq-bugtool-HOST-20260101T120000Z" */
static void make_name(char *buf, size_t len)
{
	char host[40] = "", when[24];
	time_t now = time(NULL);
	struct tm tm;

	if (gethostname(host, sizeof(host) - 1) || !*host || strchr(host, '/'))
		strcpy(host, "node");
	strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
	snprintf(buf, len, "xmasq-bugtool-%s-%s", host, when);
}

static void hint(int ret, const char *path, char *err, size_t err_len)
{
	snprintf(err, err_len, "%s: %s%s", path, strerror(-ret),
		 ret == -ENOTTY	  ? "; an archive is not for a terminal: redirect it to a file"
		 : ret == -EEXIST ? "; name another file with --to"
		 : ret == -ENOSPC ? "; name a file elsewhere with --to"
				  : "");
}

int bugtool_run(const struct options *o, char *err, size_t err_len)
{
	char name[80], path[96];
	struct run r = { .o = o };
	const char *to = o->to;
	unsigned int n;
	int ret;

	make_name(name, sizeof(name));
	if (!to) {
		snprintf(path, sizeof(path), "%s.tar.gz", name);
		to = path;
	}
	if (geteuid())
		fputs("xmasqctl: not root: much of what a maintainer needs will be missing\n",
		      stderr);
	ret = archive_open(&r.a, to, name);
	if (ret) {
		hint(ret, to, err, err_len);
		return ret;
	}
	r.missing_f = open_memstream(&r.missing, &r.missing_len);
	if (r.missing_f) {
		collect(&r);
		fputs("(end)\n", r.missing_f);
		if (!(ferror(r.missing_f) | fclose(r.missing_f)))
			archive_add(r.a, "missing.txt", r.missing, r.missing_len);
		free(r.missing);
	}
	n = archive_files(r.a);
	ret = archive_close(r.a);
	if (ret) {
		hint(ret, to, err, err_len);
		return ret;
	}
	if (strcmp(to, "-"))
		printf("%s: %u files. Addresses, interfaces and firewall rules are in it, the pre-shared key and packets are not; look through it before you send it\n",
		       to, n);
	return 0;
}
