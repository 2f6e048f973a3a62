// SPDX-License-Identifier: GPL-2.0-only
/*
 * The node's conntrack, and the sysctls that acceleration needs.
 *
 * Theory of operation. Conntrack follows TCP windows. On the fast path it does not see
 * the data, so a connection that comes back to the overlay, as each renewal does, is out
 * of its window: INVALID, which kube-proxy drops. With nf_conntrack_tcp_be_liberal=1 it
 * is passed. The timeout of unacknowledged data is raised for the same reason. But conntrack never catches up: such a connection needs the sysctl for the
 * rest of its life, so it is put back only when no such connection is left.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctnl.h"
#include "daemon.h"
#include "log.h"
#include "portuse.h"

static void set_reason(struct daemon *d, bool ok, const char *text)
{
	d->tcp_ok = ok;
	snprintf(d->tcp_reason, sizeof(d->tcp_reason), "%s", text);
}

/* A sysctl is recorded before it is set; whichever of the two failed has to be named. */
static void cannot_set(const struct daemon *d, const char *name, int err, char *buf, size_t len)
{
	if (access(d->cfg.state_dir, W_OK))
		snprintf(buf, len,
			 "cannot set %s: what it was cannot be recorded in state_dir %s: %s", name,
			 d->cfg.state_dir, strerror(-err));
	else
		snprintf(buf, len, "cannot set %s: %s", name, strerror(-err));
}

/*
 * To conntrack the last data that it saw was never acknowledged, so an idle connection would
 * lose its entry after nf_conntrack_tcp_timeout_unacknowledged, 5 minutes, instead of 5 days.
 *
 * But kernels as 6.12.117 also give that timeout to the entry of a connection that a RST has closed
 * whose number they did not expect, which is what follows accelerated packets: with 5 days such entries
 * would fill the table. So it is what RFC 5382 (REQ-5) wants an idle connection to have at least, which is
 * a little more than the two hours after which a socket's keepalives begin.
 */
#define IDLE_S (2 * 60 * 60 + 4 * 60)

static void trust_idle(struct daemon *d)
{
	char value[SYSCTL_VALUE_MAX];
	int err;

	err = sysctl_read(SYSCTL_TCP_ESTABLISHED, value, sizeof(value));
	if (!err && strtoul(value, NULL, 10) > IDLE_S)
		snprintf(value, sizeof(value), "%d", IDLE_S);
	err = err ?: sysctl_manage(d->sysctl, SYSCTL_TCP_UNACKED, value);
	if (err && err != -ENOENT)
		log_ratelimited(
			CONFIG_LOG_WARN, 1,
			"cannot set %s: %s; idle connections may lose their conntrack entry",
			SYSCTL_TCP_UNACKED, strerror(-err));
}

/* Decides whether TCP may be accelerated, and makes it so where the configuration consents. */
static void decide(struct daemon *d)
{
	char value[SYSCTL_VALUE_MAX];
	int err;

	if (d->cfg.liberal == CONFIG_LIBERAL_IGNORE) {
		set_reason(d, true, "conntrack.tcp_be_liberal is \"ignore\"");
		return;
	}
	err = sysctl_read(SYSCTL_TCP_BE_LIBERAL, value, sizeof(value));
	if (err == -ENOENT) {
		set_reason(d, true, "no conntrack here");
		return;
	}
	if (!err && strcmp(value, "0") && d->cfg.liberal == CONFIG_LIBERAL_REQUIRE) {
		set_reason(d, true, SYSCTL_TCP_BE_LIBERAL " is 1");
		return;
	}
	if (d->cfg.liberal == CONFIG_LIBERAL_REQUIRE) {
		set_reason(d, false,
			   SYSCTL_TCP_BE_LIBERAL
			   " is 0: set it to 1, or conntrack.tcp_be_liberal to \"set\"");
		return;
	}
	err = sysctl_manage(d->sysctl, SYSCTL_TCP_BE_LIBERAL, "1");
	if (err) {
		char text[sizeof(d->tcp_reason)];

		cannot_set(d, SYSCTL_TCP_BE_LIBERAL, err, text, sizeof(text));
		set_reason(d, false, text);
		return;
	}
	set_reason(d, true, SYSCTL_TCP_BE_LIBERAL " is 1");
	trust_idle(d);
}

int conntrack_open(struct daemon *d)
{
	int err;

	if (d->sysctl)
		return 0;
	err = sysctl_root(d->cfg.sysctl_dir);
	if (err) {
		log_error(
			"sysctl_dir %s: %s; it must have the node's \"net\" below it, as /proc/sys has",
			d->cfg.sysctl_dir, strerror(-err));
		return err;
	}
	err = sysctl_open(&d->sysctl, d->cfg.state_dir);
	if (err)
		log_error("cannot read the record of sysctls in %s: %s", d->cfg.state_dir,
			  strerror(-err));
	return err;
}

int conntrack_start(struct daemon *d)
{
	char text[sizeof(d->tcp_reason)];
	const char *proto;
	int err;

	err = conntrack_open(d);
	if (err)
		return err;
	proto = portuse_find(d->cfg.masquerade_port);
	if (proto)
		log_warn(
			"masquerade_port %u: a program of this node uses it (%s), and other nodes cannot reach it: find it with ss -lnp \"sport = :%u\" and end it, or set another masquerade_port on every node",
			d->cfg.masquerade_port, proto, d->cfg.masquerade_port);
	if (d->cfg.reserve_port)
		err = sysctl_manage_port(d->sysctl, SYSCTL_RESERVED_PORTS, d->cfg.masquerade_port);
	else
		err = sysctl_restore(d->sysctl, SYSCTL_RESERVED_PORTS);
	if (err) {
		cannot_set(d, SYSCTL_RESERVED_PORTS, err, text, sizeof(text));
		log_warn(
			"port %u is not kept from host sockets: %s; make sure that nothing uses it",
			d->cfg.masquerade_port, text);
	}
	decide(d);
	if (!d->tcp_ok)
		log_warn("TCP stays on the overlay: %s", d->tcp_reason);
	return 0;
}

bool conntrack_check(struct daemon *d)
{
	bool was = d->tcp_ok;

	decide(d);
	if (was == d->tcp_ok)
		return false;
	if (d->tcp_ok)
		log_info("TCP is accelerated: %s", d->tcp_reason);
	else
		log_warn("TCP goes back to the overlay: %s", d->tcp_reason);
	return true;
}

struct open_conns {
	const struct inventory *inv;
	unsigned int n;
};

/* Forwarded connections only: those of the node itself were never accelerated. */
static int count_forwarded(const struct nl_ct *ct, void *arg)
{
	struct open_conns *o = arg;

	if (inventory_holder(o->inv, ct->orig.saddr) || inventory_holder(o->inv, ct->orig.daddr))
		return 0;
	/* 127.0.0.0/8 */
	if ((ct->orig.saddr & htobe32(0xff000000)) == htobe32(0x7f000000))
		return 0;
	o->n++;
	return 0;
}

/* Whether conntrack would cut connections without be_liberal; says so. */
static bool still_needed(struct daemon *d)
{
	struct open_conns o = { .inv = &d->inv };
	char value[SYSCTL_VALUE_MAX];
	int n;

	/* Went with its module, and conntrack's memory with it. */
	if (sysctl_read(SYSCTL_TCP_BE_LIBERAL, value, sizeof(value)) == -ENOENT)
		return false;
	n = ctnl_dump(count_forwarded, &o);
	if (n < 0) {
		log_warn(
			"cannot list the connections that conntrack knows: %s; " SYSCTL_TCP_BE_LIBERAL
			" stays as xmasqd set it, in case some of them need it; run xmasqd --cleanup again when pods' TCP connections are closed, or with --force",
			strerror(-n));
		return true;
	}
	if (o.n)
		log_warn(
			"%u forwarded TCP connections are open: " SYSCTL_TCP_BE_LIBERAL
			" stays as xmasqd set it, so that conntrack does not cut them; run xmasqd --cleanup again when they are closed, or with --force",
			o.n);
	return o.n;
}

int conntrack_restore(struct daemon *d, bool was_used)
{
	bool earlier;
	int err, err2;

	err = conntrack_open(d);
	if (err)
		return err;
	err = sysctl_restore(d->sysctl, SYSCTL_RESERVED_PORTS);
	if (!d->force && sysctl_recorded(d->sysctl, SYSCTL_TCP_BE_LIBERAL, &earlier) &&
	    (was_used || earlier) && still_needed(d))
		return err ?: 1;
	err2 = sysctl_restore(d->sysctl, NULL);
	return err ?: err2;
}
