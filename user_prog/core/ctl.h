/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Control protocol, both ends. Pure: bytes come in and go out as arguments.
 *
 * The client sends one line {"command": NAME, "args": {...}} and gets one line,
 * {"ok": true, "result": ...} or {"ok": false, "error": TEXT}. See view.h for results.
 */
#ifndef XM_CTL_H
#define XM_CTL_H

#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy.h"
#include "xm_types.h"
#include "xm_util.h"

struct json_object;

#define CTL_LINE_MAX	65536 /* bytes of a request, with its newline */
#define CTL_FLOWS_MAX	65536 /* flows in one answer */
#define CTL_FLOWS_LIMIT 1000  /* unless asked for more */
#define CTL_SOCKET_PATH "/run/xmasq/xmasqd.sock"
#define CTL_FLOW_STR	64 /* what ctl_format_flow() needs */

/* Not on the wire: commands travel by name. */
enum ctl_command {
	CTL_STATUS,
	CTL_PODS,
	CTL_FLOWS,
	CTL_PEERS,
	CTL_COUNTERS,
	CTL_FLUSH,
	CTL_CLEANUP,
	CTL_CONFIG,
	CTL_TRACE,
	CTL_POLICY,
	CTL_VERSION,
	CTL_COMMANDS,
};

enum ctl_flush {
	CTL_FLUSH_ALL,
	CTL_FLUSH_FLOW,	    /* flush.flow */
	CTL_FLUSH_POD_ADDR, /* flush.addr */
	CTL_FLUSH_POD_IF,   /* flush.ifname */
	CTL_FLUSH_PEER,	    /* flush.addr */
};

enum ctl_policy {
	CTL_POLICY_LIST,
	CTL_POLICY_ADD,	 /* policy.text: a rule, see policy.h */
	CTL_POLICY_DEL,	 /* policy.text: a name */
	CTL_POLICY_TEST, /* policy.text: a packet, see policy_parse_packet() */
};

/**
 * struct ctl_request - a checked request
 * @command: tells which of the others is filled
 * @pods.names: also those that container runtimes know, which takes reading their files
 * @flows.active: only flows that are on the fast path now
 * @flows.limit: at most so many, 1..CTL_FLOWS_MAX
 * @flush.what: which flows to forget
 * @flush.flow: the local pod is the source, pad is zero
 * @flush.addr: network byte order
 * @flush.ifname: host-side interface
 * @trace: flow to be explained, either direction, pad is zero
 * @policy.what: what to do about rules
 * @policy.text: checked
 */
struct ctl_request {
	enum ctl_command command;
	struct {
		bool names;
	} pods;
	struct {
		bool active;
		uint32_t limit;
	} flows;
	struct {
		enum ctl_flush what;
		struct xm_flow_key flow;
		__be32 addr;
		char ifname[16];
	} flush;
	struct xm_flow_key trace;
	struct {
		enum ctl_policy what;
		char text[POLICY_RULE_STR];
	} policy;
};

/**
 * ctl_command_name() - name on the wire, also the subcommand of xmasqctl
 * ctl_command_help() - one line for "xmasqctl help"
 */
const char *ctl_command_name(enum ctl_command c);
const char *ctl_command_help(enum ctl_command c);

/** ctl_command_find() - Return: enum ctl_command, or -ENOENT. */
int ctl_command_find(const char *name);

/**
 * ctl_parse_request() - read one request
 * @line: bytes, with or without the newline at the end; may hold anything
 * @len: number of bytes
 * @req: result
 * @err: text for the client on failure
 * @err_len: size of @err
 *
 * Unknown commands, keys and arguments are refused: what a newer client asked for must
 * not be half done.
 *
 * Return: 0, -EINVAL with @err, or -ENOMEM with @err.
 */
int ctl_parse_request(const char *line, size_t len, struct ctl_request *req, char *err,
		      size_t err_len);

/**
 * ctl_request_line() - the line, newline included, that ctl_parse_request() reads back
 *
 * Return: text that the caller frees, or NULL when out of memory.
 */
char *ctl_request_line(const struct ctl_request *req);

/**
 * ctl_reply_ok() - reply with @result, which may be NULL ("result": null)
 * ctl_reply_error() - reply with a text
 *
 * ctl_reply_ok() takes over @result, also on failure.
 *
 * Return: text that the caller frees, newline included, with its length in @len; NULL when
 * out of memory.
 */
char *ctl_reply_ok(struct json_object *result, size_t *len);
char *ctl_reply_error(const char *text, size_t *len);

/**
 * ctl_parse_reply() - read the daemon's answer
 * @line: bytes
 * @len: number of bytes
 * @result: reference for the caller; may be NULL for "null"
 * @err: the daemon's error, or what is wrong with its answer
 *
 * Return: 0; -EREMOTEIO with @err when the daemon said no; -EPROTO with @err when this is
 * no answer; -ENOMEM.
 */
int ctl_parse_reply(const char *line, size_t len, struct json_object **result, char *err,
		    size_t err_len);

/**
 * ctl_parse_flow() - "tcp 10.0.0.1:80 10.0.0.2:90", or with "->" between the two
 *
 * The first address is the local pod. Return: 0 or -EINVAL.
 */
int ctl_parse_flow(const char *text, struct xm_flow_key *key);

/** ctl_format_flow() - what ctl_parse_flow() reads. Return: @buf (CTL_FLOW_STR bytes). */
const char *ctl_format_flow(char buf[CTL_FLOW_STR], const struct xm_flow_key *key);

/**
 * ctl_policy() - "add", "del" and so on with its text into @req->policy
 * @err: POLICY_ERROR_STR bytes
 *
 * Return: 0 or -EINVAL with @err.
 */
int ctl_policy(const char *what, const char *text, struct ctl_request *req, char *err);
/** ctl_policy_name() - "list", "add", "del", "test" */
const char *ctl_policy_name(enum ctl_policy what);

/** ctl_parse_pod() - address or interface name into @req->flush. Return: 0 or -EINVAL. */
int ctl_parse_pod(const char *text, struct ctl_request *req);

#endif
