// SPDX-License-Identifier: GPL-2.0-only
/* The keys, their defaults, and what can be asked of a configuration. */
#include <arpa/inet.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "config_keys.h"
#include "jsonx.h"
#include "text.h"
#include "xm_util.h"

static const char *const mode_names[] = { "auto", "veth", "rpeer", "netkit", NULL };
static const char *const attach_names[] = { "auto", "tcx", "filter", NULL };
static const char *const same_node_names[] = { "auto", "off", NULL };
static const char *const liberal_names[] = { "set", "require", "ignore", NULL };
static const char *const level_names[] = { "error", "warn", "info", "debug", NULL };
static const char *const format_names[] = { "text", "json", NULL };
const char *const config_overlay_names[] = { "vxlan", "geneve", NULL };

/* Enums are read and written as unsigned int. */
_Static_assert(sizeof(enum config_mode) == sizeof(unsigned int) &&
		       sizeof(enum config_attach) == sizeof(unsigned int) &&
		       sizeof(enum config_same_node) == sizeof(unsigned int) &&
		       sizeof(enum config_liberal) == sizeof(unsigned int) &&
		       sizeof(enum config_log_level) == sizeof(unsigned int) &&
		       sizeof(enum config_log_format) == sizeof(unsigned int),
	       "enum size");

#define RESTART	 CONFIG_F_RESTART
#define AT(f)	 .offset = offsetof(struct config, f)
#define TOP(n)	 .name = #n, .full = #n
#define IN(s, n) .section = #s, .name = #n, .full = #s "." #n

/* sun_path of a Unix socket holds 108 bytes with its NUL. */
#define SOCKET_PATH_MAX 107

/* In the order of the sample file. */
const struct config_key config_keys[] = {
	{ TOP(underlay), AT(underlay), .type = CONFIG_T_NICS, .flags = RESTART,
	  .help = "interfaces of the node's own network that carry the overlay" },
	{ IN(overlay, ports), AT(overlay), .type = CONFIG_T_OVERLAYS, .flags = RESTART,
	  .help = "UDP ports of the CNI's tunnel" },
	{ TOP(mode), AT(mode), .type = CONFIG_T_ENUM, .flags = RESTART, .names = mode_names,
	  .help = "where pods' packets are taken" },
	{ TOP(attach), AT(attach), .type = CONFIG_T_ENUM, .flags = RESTART, .names = attach_names,
	  .help = "how programs are attached to interfaces" },
	{ TOP(same_node), AT(same_node), .type = CONFIG_T_ENUM, .names = same_node_names,
	  .help = "whether flows between pods of this node are accelerated" },
	{ TOP(masquerade_port), AT(masquerade_port), .type = CONFIG_T_U16, .flags = RESTART,
	  .min = 1024, .max = XM_LABEL_PORT_BASE - 1,
	  .help = "TCP and UDP port that marks masqueraded packets; the same on every node" },
	{ TOP(lease_ms), AT(lease_ms), .type = CONFIG_T_U32, .flags = RESTART,
	  .min = XM_LEASE_MS_MIN, .max = XM_LEASE_MS_MAX, .unit = "milliseconds",
	  .help = "how long a flow may go without being seen by the CNI" },
	{ TOP(admit_after), AT(admit_after), .type = CONFIG_T_U32, .min = 1,
	  .max = XM_ADMIT_AFTER_MAX, .unit = "packets",
	  .help = "what a pod sends in a flow before the flow is learned" },
	{ IN(tables, flows), AT(flows), .type = CONFIG_T_U32, .flags = RESTART | CONFIG_F_POW2,
	  .min = XM_FLOWS_MIN, .max = XM_FLOWS_MAX, .unit = "entries",
	  .help = "flows that can be known at once" },
	{ IN(tables, peers), AT(peers), .type = CONFIG_T_U32, .flags = RESTART | CONFIG_F_POW2,
	  .min = XM_PEERS_MIN, .max = XM_PEERS_MAX, .unit = "entries",
	  .help = "other nodes that can be known at once" },
	{ IN(pods, include), AT(include), .count = offsetof(struct config, n_include),
	  .type = CONFIG_T_CIDRS, .help = "pods that may be accelerated; empty: all" },
	{ IN(pods, exclude), AT(exclude), .count = offsetof(struct config, n_exclude),
	  .type = CONFIG_T_CIDRS, .help = "pods that are left alone; wins over include" },
	{ IN(tc, priority), AT(tc_priority), .type = CONFIG_T_U32, .flags = RESTART, .min = 1,
	  .max = 65535, .help = "priority of our TC filters" },
	{ IN(tc, observe_priority), AT(tc_observe_priority), .type = CONFIG_T_U32, .flags = RESTART,
	  .min = 1, .max = 65535, .help = "priority of the filter that only watches deliveries" },
	{ IN(tc, handle), AT(tc_handle), .type = CONFIG_T_U32, .flags = RESTART, .min = 1,
	  .max = 0xffff, .help = "handle of our TC filters" },
	{ IN(conntrack, tcp_be_liberal), AT(liberal), .type = CONFIG_T_ENUM, .names = liberal_names,
	  .help = "what to do about nf_conntrack_tcp_be_liberal" },
	{ TOP(policy), AT(policy), .type = CONFIG_T_RULES,
	  .help = "rules for what pods of this node may send and get" },
	{ TOP(reserve_port), AT(reserve_port), .type = CONFIG_T_BOOL,
	  .help = "keep host sockets off the masquerade port" },
	{ IN(metrics, listen), AT(metrics_listen), .type = CONFIG_T_LISTEN,
	  .help = "where Prometheus and probes ask; empty: nowhere" },
	{ IN(names, containerd), AT(names_containerd), .type = CONFIG_T_PATH,
	  .flags = CONFIG_F_EMPTY, .max = CONFIG_PATH_MAX - 1,
	  .help = "containerd's state, for the names of pods; empty: not asked" },
	{ IN(names, docker), AT(names_docker), .type = CONFIG_T_PATH, .flags = CONFIG_F_EMPTY,
	  .max = CONFIG_PATH_MAX - 1,
	  .help = "Docker's data, for the names of containers; empty: not asked" },
	{ IN(names, podman), AT(names_podman), .type = CONFIG_T_PATH, .flags = CONFIG_F_EMPTY,
	  .max = CONFIG_PATH_MAX - 1,
	  .help = "podman's or CRI-O's storage, for names; empty: not asked" },
	{ IN(log, level), AT(log_level), .type = CONFIG_T_ENUM, .names = level_names,
	  .help = "least important message that is logged" },
	{ IN(log, format), AT(log_format), .type = CONFIG_T_ENUM, .names = format_names,
	  .help = "form of the log" },
	{ TOP(pin_dir), AT(pin_dir), .type = CONFIG_T_PATH, .flags = RESTART,
	  .max = CONFIG_PATH_MAX - 1,
	  .help = "where maps and links are pinned, in a bpf filesystem" },
	{ TOP(control_socket), AT(control_socket), .type = CONFIG_T_PATH, .flags = RESTART,
	  .max = SOCKET_PATH_MAX, .help = "where xmasqctl talks to xmasqd" },
	{ TOP(state_dir), AT(state_dir), .type = CONFIG_T_PATH, .flags = RESTART,
	  .max = CONFIG_PATH_MAX - 1, .help = "what must survive a restart of xmasqd" },
	{ TOP(sysctl_dir), AT(sysctl_dir), .type = CONFIG_T_PATH, .flags = RESTART,
	  .max = CONFIG_PATH_MAX - 1, .help = "where the node's sysctls can be written" },
	{ TOP(psk_file), AT(psk_file), .type = CONFIG_T_PATH, .flags = RESTART | CONFIG_F_EMPTY,
	  .max = CONFIG_PATH_MAX - 1, .help = "key that authenticates peers; empty: none" },
	{ TOP(cleanup_on_exit), AT(cleanup_on_exit), .type = CONFIG_T_BOOL,
	  .help = "remove programs and maps when xmasqd stops" },
};

const unsigned int config_n_keys = XM_ARRAY_SIZE(config_keys);

_Static_assert(XM_ARRAY_SIZE(config_keys) <= CONFIG_KEYS_MAX, "raise CONFIG_KEYS_MAX");

void config_defaults(struct config *c)
{
	memset(c, 0, sizeof(*c));
	c->underlay_auto = true;
	c->overlay[0] = (struct xm_overlay){ htons(8472), XM_OVERLAY_VXLAN };
	c->overlay[1] = (struct xm_overlay){ htons(4789), XM_OVERLAY_VXLAN };
	c->overlay[2] = (struct xm_overlay){ htons(6081), XM_OVERLAY_GENEVE };
	c->n_overlay = 3;
	c->mode = CONFIG_MODE_AUTO;
	c->attach = CONFIG_ATTACH_AUTO;
	c->same_node = CONFIG_SAME_NODE_AUTO;
	c->masquerade_port = XM_MASQ_PORT_DEFAULT;
	c->lease_ms = XM_LEASE_MS_DEFAULT;
	c->admit_after = XM_ADMIT_AFTER_DEFAULT;
	c->flows = XM_FLOWS_DEFAULT;
	c->peers = XM_PEERS_DEFAULT;
	c->tc_priority = 1;
	c->tc_observe_priority = 0xfff0;
	c->tc_handle = 0x584d; /* "XM": nobody's first choice */
	c->liberal = CONFIG_LIBERAL_SET;
	c->reserve_port = true;
	strcpy(c->metrics_listen, "127.0.0.1:9477");
	strcpy(c->names_containerd, "/run/containerd");
	strcpy(c->names_docker, "/var/lib/docker");
	strcpy(c->names_podman, "/var/lib/containers/storage");
	c->log_level = CONFIG_LOG_INFO;
	c->log_format = CONFIG_LOG_TEXT;
	strcpy(c->pin_dir, "/sys/fs/bpf/xmasq");
	strcpy(c->control_socket, "/run/xmasq/xmasqd.sock");
	strcpy(c->state_dir, "/run/xmasq");
	strcpy(c->sysctl_dir, "/proc/sys");
}

static bool cidrs_match(const struct config_cidr *list, unsigned int n, __be32 addr)
{
	unsigned int i;
	uint32_t mask;

	for (i = 0; i < n; i++) {
		mask = list[i].len ? ~0u << (32 - list[i].len) : 0;
		if ((ntohl(addr) & mask) == ntohl(list[i].addr))
			return true;
	}
	return false;
}

bool config_allows(const struct config *c, __be32 addr)
{
	if (cidrs_match(c->exclude, c->n_exclude, addr))
		return false;
	return !c->n_include || cidrs_match(c->include, c->n_include, addr);
}

static unsigned int get_count(const struct config_key *k, const struct config *c)
{
	return *(const unsigned int *)((const char *)c + k->count);
}

/* No memcmp of whole entries: their padding says nothing. */
static bool cidrs_equal(const struct config_key *k, const struct config *a, const struct config *b)
{
	const struct config_cidr *la = (const void *)((const char *)a + k->offset);
	const struct config_cidr *lb = (const void *)((const char *)b + k->offset);
	unsigned int i;

	if (get_count(k, a) != get_count(k, b))
		return false;
	for (i = 0; i < get_count(k, a); i++)
		if (la[i].addr != lb[i].addr || la[i].len != lb[i].len)
			return false;
	return true;
}

static bool nics_equal(const struct config *a, const struct config *b)
{
	unsigned int i;

	if (a->underlay_auto != b->underlay_auto || a->n_underlay != b->n_underlay)
		return false;
	for (i = 0; i < a->n_underlay; i++)
		if (strcmp(a->underlay[i], b->underlay[i]))
			return false;
	return true;
}

static bool key_equal(const struct config_key *k, const struct config *a, const struct config *b)
{
	const char *va = (const char *)a + k->offset, *vb = (const char *)b + k->offset;

	switch (k->type) {
	case CONFIG_T_U16:
		return !memcmp(va, vb, sizeof(uint16_t));
	case CONFIG_T_U32:
	case CONFIG_T_ENUM:
		return !memcmp(va, vb, sizeof(uint32_t));
	case CONFIG_T_BOOL:
		return *(const bool *)va == *(const bool *)vb;
	case CONFIG_T_PATH:
	case CONFIG_T_LISTEN:
		return !strcmp(va, vb);
	case CONFIG_T_NICS:
		return nics_equal(a, b);
	case CONFIG_T_OVERLAYS:
		return a->n_overlay == b->n_overlay &&
		       !memcmp(a->overlay, b->overlay, a->n_overlay * sizeof(a->overlay[0]));
	case CONFIG_T_CIDRS:
		return cidrs_equal(k, a, b);
	case CONFIG_T_RULES:
		return policy_equal((const void *)va, (const void *)vb);
	}
	return false;
}

const char *config_reload_needs_restart(const struct config *old_c, const struct config *new_c)
{
	unsigned int i;

	for (i = 0; i < config_n_keys; i++)
		if (config_keys[i].flags & CONFIG_F_RESTART &&
		    !key_equal(&config_keys[i], old_c, new_c))
			return config_keys[i].full;
	return NULL;
}

const char *config_mode_name(enum config_mode m)
{
	return m < XM_ARRAY_SIZE(mode_names) - 1 ? mode_names[m] : "?";
}

const char *config_attach_name(enum config_attach a)
{
	return a < XM_ARRAY_SIZE(attach_names) - 1 ? attach_names[a] : "?";
}

int config_error_str(const struct config_error *e, const char *file, char *buf, size_t len)
{
	if (!e->line)
		return snprintf(buf, len, "%s: %s", file, e->text);
	return snprintf(buf, len, "%s:%u:%u: %s", file, e->line, e->column, e->text);
}

/* ---- to JSON ---- */

static struct json_object *overlays_json(const struct config *c)
{
	struct json_object *list = json_object_new_array(), *o;
	unsigned int i;

	for (i = 0; list && i < c->n_overlay; i++) {
		o = json_object_new_object();
		if (!jsonx_append(list, o) ||
		    !jsonx_put_u64(o, "port", ntohs(c->overlay[i].port)) ||
		    !jsonx_put_str(o, "type", config_overlay_names[c->overlay[i].type - 1])) {
			json_object_put(list);
			return NULL;
		}
	}
	return list;
}

static struct json_object *cidrs_json(const struct config_cidr *l, unsigned int n)
{
	struct json_object *list = json_object_new_array();
	char buf[XM_ADDR_STR + 4], addr[XM_ADDR_STR];
	unsigned int i;

	for (i = 0; list && i < n; i++) {
		snprintf(buf, sizeof(buf), "%s/%u", text_addr(addr, l[i].addr), l[i].len);
		if (!jsonx_append(list, json_object_new_string(buf))) {
			json_object_put(list);
			return NULL;
		}
	}
	return list;
}

static struct json_object *rules_json(const struct policy_list *l)
{
	struct json_object *list = json_object_new_array();
	char rule[POLICY_RULE_STR];

	for (unsigned int i = 0; list && i < l->n; i++) {
		if (!jsonx_append(list, json_object_new_string(policy_format(rule, &l->v[i])))) {
			json_object_put(list);
			return NULL;
		}
	}
	return list;
}

static struct json_object *nics_json(const struct config *c)
{
	struct json_object *list;
	unsigned int i;

	if (c->underlay_auto)
		return json_object_new_string("auto");
	list = json_object_new_array();
	for (i = 0; list && i < c->n_underlay; i++) {
		if (!jsonx_append(list, json_object_new_string(c->underlay[i]))) {
			json_object_put(list);
			return NULL;
		}
	}
	return list;
}

static struct json_object *key_json(const struct config_key *k, const struct config *c)
{
	const void *v = (const char *)c + k->offset;

	switch (k->type) {
	case CONFIG_T_U16:
		return json_object_new_int(*(const uint16_t *)v);
	case CONFIG_T_U32:
		return json_object_new_int64(*(const uint32_t *)v);
	case CONFIG_T_BOOL:
		return json_object_new_boolean(*(const bool *)v);
	case CONFIG_T_ENUM:
		return json_object_new_string(k->names[*(const unsigned int *)v]);
	case CONFIG_T_PATH:
	case CONFIG_T_LISTEN:
		return json_object_new_string(v);
	case CONFIG_T_NICS:
		return nics_json(c);
	case CONFIG_T_OVERLAYS:
		return overlays_json(c);
	case CONFIG_T_CIDRS:
		return cidrs_json(v, get_count(k, c));
	case CONFIG_T_RULES:
		return rules_json(v);
	}
	return NULL;
}

struct json_object *config_to_json(const struct config *c)
{
	struct json_object *top = json_object_new_object(), *o;
	unsigned int i;

	if (!top)
		return NULL;
	for (i = 0; i < config_n_keys; i++) {
		const struct config_key *k = &config_keys[i];

		o = top;
		if (k->section && !json_object_object_get_ex(top, k->section, &o)) {
			o = json_object_new_object();
			if (!jsonx_put(top, k->section, o))
				goto fail;
		}
		if (!jsonx_put(o, k->name, key_json(k, c)))
			goto fail;
	}
	return top;
fail:
	json_object_put(top);
	return NULL;
}
