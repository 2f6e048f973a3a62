// SPDX-License-Identifier: GPL-2.0-only
/* Answers to xmasqctl: flush, cleanup and what needs no gathering; requests_view.c has the rest. */
#include "requests.h"

#include <errno.h>
#include <json-c/json.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "version.h"
#include "view.h"

/* ---- flush ---- */

struct flush {
	const struct ctl_request *req;
	uint32_t ifindex;
};

static bool is_reverse(const struct xm_flow_key *a, const struct xm_flow_key *b)
{
	return a->saddr == b->daddr && a->daddr == b->saddr && a->sport == b->dport &&
	       a->dport == b->sport && a->proto == b->proto;
}

static bool flush_matches(void *arg, const struct xm_flow_key *key, const struct xm_flow *f)
{
	const struct flush *w = arg;

	switch (w->req->flush.what) {
	case CTL_FLUSH_ALL:
		return true;
	case CTL_FLUSH_FLOW:
		/* Of two pods of this node both directions are here. */
		return !memcmp(key, &w->req->flush.flow, sizeof(*key)) ||
		       (f->stage == XM_STAGE_LOCAL && is_reverse(key, &w->req->flush.flow));
	case CTL_FLUSH_POD_ADDR:
		return key->saddr == w->req->flush.addr ||
		       (f->stage == XM_STAGE_LOCAL && key->daddr == w->req->flush.addr);
	case CTL_FLUSH_POD_IF:
		return f->pod_ifindex == w->ifindex ||
		       (f->stage == XM_STAGE_LOCAL && f->nic_ifindex == w->ifindex);
	case CTL_FLUSH_PEER:
		return f->peer == w->req->flush.addr;
	}
	return false;
}

static int flush(struct daemon *d, const struct ctl_request *req, struct json_object **result,
		 char *why, size_t why_len)
{
	struct flush w = { .req = req };
	size_t done;
	int err;

	if (req->flush.what == CTL_FLUSH_POD_IF) {
		w.ifindex = if_nametoindex(req->flush.ifname);
		if (!w.ifindex) {
			snprintf(why, why_len, "no interface %s; see xmasqctl pods",
				 req->flush.ifname);
			return -ENODEV;
		}
	}
	datapath_clock(&d->dp);
	err = datapath_flows_del_if(&d->dp, flush_matches, &w, &done);
	if (err)
		return err;
	*result = json_object_new_object();
	if (!*result)
		return -ENOMEM;
	json_object_object_add(*result, "flushed", json_object_new_int64((int64_t)done));
	log_info("%zu flows flushed on request", done);
	return 0;
}

/* ---- the rest ---- */

static int cleanup(struct daemon *d, struct json_object **result, char *why, size_t why_len)
{
	int err;

	d->stop = true;
	d->cleanup = true;
	err = daemon_cleanup(d);
	if (err < 0) {
		snprintf(why, why_len,
			 "cleanup is incomplete: %s; see the log, and repeat xmasqd --cleanup",
			 strerror(-err));
		return err;
	}
	*result = json_object_new_object();
	if (!*result)
		return -ENOMEM;
	json_object_object_add(*result, "sysctls_kept", json_object_new_boolean(err == 1));
	if (err == 1)
		json_object_object_add(
			*result, "kept",
			json_object_new_string(SYSCTL_TCP_BE_LIBERAL
					       ": forwarded TCP connections may need it; run "
					       "xmasqd --cleanup when they are closed"));
	return 0;
}

static int version(struct json_object **result)
{
	*result = json_object_new_object();
	if (!*result)
		return -ENOMEM;
	json_object_object_add(*result, "version", json_object_new_string(XM_VERSION));
	json_object_object_add(*result, "layout", json_object_new_int(XM_LAYOUT));
	json_object_object_add(*result, "wire", json_object_new_int(XM_WIRE_VERSION));
	return 0;
}

static int counters(struct daemon *d, struct json_object **result)
{
	struct xm_counter c[XM_R_MAX];
	int err;

	err = datapath_counters(&d->dp, c);
	if (err)
		return err;
	*result = view_counters_json(c);
	return *result ? 0 : -ENOMEM;
}

int requests_handle(void *arg, const struct ctl_request *req, struct json_object **result,
		    char *err, size_t err_len)
{
	struct daemon *d = arg;

	switch (req->command) {
	case CTL_STATUS:
		return requests_status(d, result);
	case CTL_PODS:
		return requests_pods(d, req, result);
	case CTL_FLOWS:
		return requests_flows(d, req, result);
	case CTL_PEERS:
		return requests_peers(d, result);
	case CTL_COUNTERS:
		return counters(d, result);
	case CTL_FLUSH:
		return flush(d, req, result, err, err_len);
	case CTL_CLEANUP:
		return cleanup(d, result, err, err_len);
	case CTL_CONFIG:
		*result = config_to_json(&d->cfg);
		return *result ? 0 : -ENOMEM;
	case CTL_TRACE:
		return requests_trace(d, req, result);
	case CTL_POLICY:
		return requests_policy(d, req, result, err, err_len);
	case CTL_VERSION:
		return version(result);
	case CTL_COMMANDS:
		break;
	}
	return -EOPNOTSUPP;
}
