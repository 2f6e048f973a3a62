/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Configuration: YAML text in, checked struct out. Pure: reading the file is the
 * caller's business.
 *
 * Every key is in one table in config.c, with its check and its help text; the same
 * table prints the effective configuration ("xmasqctl config") and the sample file.
 */
#ifndef XM_CONFIG_H
#define XM_CONFIG_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "listen.h"
#include "policy.h"
#include "xm_limits.h"
#include "xm_types.h"

#define CONFIG_NICS_MAX	 4
#define CONFIG_CIDRS_MAX 32
#define CONFIG_PATH_MAX	 256

enum config_mode {
	CONFIG_MODE_AUTO,
	CONFIG_MODE_VETH,
	CONFIG_MODE_RPEER,
	CONFIG_MODE_NETKIT,
};

/* How programs get onto interfaces. */
enum config_attach {
	CONFIG_ATTACH_AUTO,
	CONFIG_ATTACH_TCX,
	CONFIG_ATTACH_FILTER,
};

/* Flows between two pods of this node. */
enum config_same_node {
	CONFIG_SAME_NODE_AUTO,
	CONFIG_SAME_NODE_OFF,
};

enum config_log_level {
	CONFIG_LOG_ERROR,
	CONFIG_LOG_WARN,
	CONFIG_LOG_INFO,
	CONFIG_LOG_DEBUG,
};

enum config_log_format {
	CONFIG_LOG_TEXT,
	CONFIG_LOG_JSON,
};

/* IPv4 prefix; addr in network byte order with host bits zero, len 0..32 */
struct config_cidr {
	__be32 addr;
	uint8_t len;
};

struct config {
	/* underlay: auto | [eth0, ...] */
	bool underlay_auto;
	char underlay[CONFIG_NICS_MAX][16]; /* IFNAMSIZ */
	unsigned int n_underlay;

	/* overlay.ports: [{port: 8472, type: vxlan}, ...] */
	struct xm_overlay overlay[XM_OVERLAYS_MAX];
	unsigned int n_overlay;

	enum config_mode mode;
	enum config_attach attach;
	enum config_same_node same_node;
	uint16_t masquerade_port; /* host order, 1024..32767 */
	uint32_t lease_ms;	  /* XM_LEASE_MS_MIN..MAX */
	uint32_t admit_after;	  /* packets, 1..XM_ADMIT_AFTER_MAX */

	/* tables.flows, tables.peers: powers of two within XM_*_MIN..MAX */
	uint32_t flows;
	uint32_t peers;

	/* pods.include, pods.exclude: IPv4 CIDRs; empty include means every pod */
	struct config_cidr include[CONFIG_CIDRS_MAX];
	unsigned int n_include;
	struct config_cidr exclude[CONFIG_CIDRS_MAX];
	unsigned int n_exclude;

	/* tc.priority, tc.observe_priority 1..65535, tc.handle 1..0xffff */
	uint32_t tc_priority;
	uint32_t tc_observe_priority; /* of the hook that only watches: behind all others */
	uint32_t tc_handle;

	/* conntrack.tcp_be_liberal: set (default) | require | ignore */
	enum config_liberal {
		CONFIG_LIBERAL_SET,	/* the daemon sets the sysctl and puts it back */
		CONFIG_LIBERAL_REQUIRE, /* TCP is accelerated only while someone has set it */
		CONFIG_LIBERAL_IGNORE,	/* nothing drops INVALID here: accelerate anyway */
	} liberal;

	/* reserve_port: keep host sockets off the masquerade port through
	 * net.ipv4.ip_local_reserved_ports (default true) */
	bool reserve_port;

	char metrics_listen[LISTEN_MAX]; /* see listen_parse(); "" off */

	/* names.containerd, .docker, .podman: directories that tell names of pods; "" not asked */
	char names_containerd[CONFIG_PATH_MAX];
	char names_docker[CONFIG_PATH_MAX];
	char names_podman[CONFIG_PATH_MAX];

	struct policy_list policy; /* rules; each has a name */

	enum config_log_level log_level;
	enum config_log_format log_format;

	char pin_dir[CONFIG_PATH_MAX];	      /* default /sys/fs/bpf/xmasq */
	char control_socket[CONFIG_PATH_MAX]; /* default /run/xmasq/xmasqd.sock */
	char state_dir[CONFIG_PATH_MAX];      /* default /run/xmasq */
	char sysctl_dir[CONFIG_PATH_MAX];     /* default /proc/sys */
	char psk_file[CONFIG_PATH_MAX];	      /* empty: hello is not authenticated */
	bool cleanup_on_exit;
};

/* Where and what is wrong; line and column count from 1, 0 when there is no place. */
struct config_error {
	unsigned int line;
	unsigned int column;
	char text[512]; /* what is wrong and what is allowed */
};

/** config_defaults() - fill @c with the defaults (what an empty file means) */
void config_defaults(struct config *c);

/**
 * config_parse() - read YAML
 * @text: the file's bytes, need not end with NUL
 * @len: number of bytes
 * @c: result; defaults where the text says nothing; untouched on failure
 * @err: filled on failure
 *
 * Unknown keys, duplicate keys, wrong types and values out of range are refused.
 *
 * Return: 0, or -EINVAL with @err, or -ENOMEM.
 */
int config_parse(const char *text, size_t len, struct config *c, struct config_error *err);

/**
 * config_error_str() - "FILE:LINE:COLUMN: TEXT", or "FILE: TEXT" when there is no place
 *
 * Return: what snprintf() returns.
 */
int config_error_str(const struct config_error *e, const char *file, char *buf, size_t len);

/**
 * config_allows() - whether a pod with this address may be accelerated
 * @addr: network byte order
 */
bool config_allows(const struct config *c, __be32 addr);

/**
 * config_reload_needs_restart() - keys that differ and cannot change in a running daemon
 *
 * Return: name of the first such key (pin_dir, control_socket, tables.*, ...), or NULL.
 */
const char *config_reload_needs_restart(const struct config *old_c, const struct config *new_c);

const char *config_mode_name(enum config_mode m);
const char *config_attach_name(enum config_attach a);

struct json_object;

/** config_to_json() - effective configuration, caller owns the reference; no secrets */
struct json_object *config_to_json(const struct config *c);

#endif
