// SPDX-License-Identifier: GPL-2.0-only
/* Start, loop and end of the daemon. See daemon.h for the picture. */
#include "daemon.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "config_file.h"
#include "log.h"
#include "rules.h"
#include "sdnotify.h"
#include "web.h"

static double now_real(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* ---- events ---- */

static void on_rtnl(enum rtnl_event ev, int32_t nsid, uint32_t ifindex, void *arg)
{
	struct daemon *d = arg;

	/* That a filter went is no reason to reconcile, unless it was one of ours: other agents
	 * change theirs all the time. */
	if (ev != RTNL_TC_LOST)
		d->dirty = true;
	if (ev == RTNL_TC_LOST)
		attach_lost(d, nsid, ifindex);
	else if (ev == RTNL_RESYNCED)
		attach_check(d, true);
}

static void on_signal(struct daemon *d)
{
	struct signalfd_siginfo si;

	while (read(d->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGHUP)
			d->reload = true;
		else
			d->stop = true;
	}
}

enum config_mode daemon_mode(const struct daemon *d, char *why, size_t max)
{
	unsigned int n[2] = { 0 };

	for (size_t i = 0; i < d->n_att; i++)
		if (d->att[i].key.role == RECONCILE_POD)
			n[d->att[i].as.mode == CONFIG_MODE_NETKIT]++;
	return mode_of_node(d->cfg.mode, &d->dp.kernel, n[true], n[false], why, max);
}

enum config_attach daemon_attach(const struct daemon *d, char *why, size_t max)
{
	return mode_attach(d->cfg.attach, &d->dp.kernel, why, max);
}

/* ---- start ---- */

/* For steps that say nothing themselves. */
static int said(int err, const char *what)
{
	if (err)
		log_error("cannot start: %s: %s", what, strerror(-err));
	return err;
}

static int watch(struct daemon *d, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int open_signals(struct daemon *d)
{
	sigset_t set;

	/* Whoever reads our log may go away. */
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	d->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return d->signal_fd < 0 ? -errno : 0;
}

static int probe(struct daemon *d)
{
	int err = datapath_probe(&d->dp);

	if (err || d->cfg.attach != CONFIG_ATTACH_TCX || d->dp.kernel.tcx)
		return err;
	log_error(
		"%s: attach tcx is not possible: %s; use \"auto\", which attaches filters where there is no tcx",
		d->config_path, d->dp.kernel.tcx_why);
	return -EOPNOTSUPP;
}

/* To clean up, without knowing what the kernel has: nothing is attached then. */
static int open_tc(struct daemon *d)
{
	char why[MODE_WHY * 2];
	struct tc_opts opts = {
		.priority = d->cfg.tc_priority,
		.observe_priority = d->cfg.tc_observe_priority,
		.handle = d->cfg.tc_handle,
		.tcx = daemon_attach(d, why, sizeof(why)) == CONFIG_ATTACH_TCX,
		.state_dir = d->cfg.state_dir,
	};
	int err;

	err = tc_open(&d->tc, &opts);
	if (err)
		log_error("cannot read the state in %s: %s", d->cfg.state_dir, strerror(-err));
	return err;
}

static int open_rtnl(struct daemon *d)
{
	struct rtnl_opts opts = { .routes = d->cfg.underlay_auto };
	int err;

	err = rtnl_open(&d->rtnl, &d->inv, &opts);
	if (err)
		log_error("cannot listen to netlink: %s%s", strerror(-err),
			  err == -EPERM || err == -EACCES
				  ? " (CAP_NET_ADMIN and CAP_NET_BROADCAST are needed)"
				  : "");
	return err;
}

/* The programs must know our addresses, so look first and load then. */
static int open_datapath(struct daemon *d)
{
	const char *missing;
	int err;

	err = said(reconcile_desired(&d->inv, &d->cfg, &d->dp.kernel, &d->want), "list interfaces");
	if (err)
		return err;
	attach_nodes(d);
	for (size_t i = 0; i < d->want.n; i++)
		if (d->want.v[i].key.role == RECONCILE_NIC && !d->want.v[i].attach)
			log_warn("underlay %s: %s", d->want.v[i].name, d->want.v[i].reason);
	if (!d->n_nodes)
		log_warn(
			"no underlay interface with an IPv4 address yet: everything stays on the overlay; check \"underlay\" in %s",
			d->config_path);
	if (!reconcile_has_overlay(&d->inv, &d->cfg))
		log_warn(
			"no VXLAN or Geneve device with a port of \"overlay.ports\" here yet: unless the CNI makes one, nothing is accelerated; compare ip -d link with \"overlay\" in %s",
			d->config_path);
	d->dp.changes_way = attach_changes_way(d);
	missing = mode_missing(d->cfg.mode, &d->dp.kernel);
	if (!missing) {
		err = datapath_open(&d->dp, &d->cfg, d->nodes, d->n_nodes, peers_event, d);
		if (err)
			return err;
		missing = mode_missing(d->cfg.mode, &d->dp.kernel);
	}
	if (!missing)
		return 0;
	log_error("%s: mode %s is not possible: %s; use \"auto\", which takes the best there is",
		  d->config_path, config_mode_name(d->cfg.mode), missing);
	return -EOPNOTSUPP;
}

static int open_ctl(struct daemon *d, bool cleanup_only)
{
	int err;

	err = ctlsock_open(&d->ctl, d->cfg.control_socket, requests_handle, d);
	if (err == -EADDRINUSE)
		log_error("another xmasqd is running: it answers on %s; %s", d->cfg.control_socket,
			  cleanup_only ? "use \"xmasqctl cleanup\"" : "stop it first");
	else if (err)
		log_error("cannot open the control socket %s: %s", d->cfg.control_socket,
			  strerror(-err));
	return err;
}

static int watch_all(struct daemon *d)
{
	int err;

	err = watch(d, d->signal_fd);
	err = err ?: watch(d, ctlsock_fd(d->ctl));
	err = err ?: watch(d, rtnl_fd(d->rtnl));
	return err ?: watch(d, datapath_event_fd(&d->dp));
}

/* What can refuse comes before what changes anything. */
static int start(struct daemon *d)
{
	size_t taken_off;
	int err;

	d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	err = said(d->epoll_fd < 0 ? -errno : 0, "make an epoll instance");
	err = err ?: said(open_signals(d), "receive signals");
	/* The control socket and the lock first: they tell that another daemon runs. */
	err = err ?: open_ctl(d, false);
	err = err ?: datapath_lock(&d->dp, d->cfg.pin_dir, true);
	err = err ?: peers_open(d);
	err = err ?: probe(d);
	err = err ?: open_tc(d);
	err = err ?: open_rtnl(d);
	err = err ?: conntrack_open(d);
	if (err)
		return err;
	d->names = netns_names_new();
	err = said(d->names ? 0 : -ENOMEM, "list namespaces");
	err = err ?: open_datapath(d);
	/* Programs must not be attached without them. */
	err = err ?: rules_start(d);
	err = err ?: said(watch_all(d), "wait for events");
	/* Before the peers: those of an earlier run go on with TCP only if it is allowed. */
	err = err ?: conntrack_start(d);
	err = err ?: said(peers_start(d), "make the table of peers");
	if (err)
		return err;
	/* A port taken by another agent on one interface must not keep the rest down. */
	if (attach_sync(d))
		log_warn("some interfaces could not be attached; their pods stay on the overlay");
	attach_sweep(d);
	/* Programs of an earlier run, which had none or others, may have granted what rules deny. */
	if (rules_take_off(d, &taken_off))
		log_warn(
			"not all live flows could be asked for new rules; xmasqctl flush --all takes them off the fast path");
	d->dp.changes_way = false;
	peers_want_reports(d);
	/* What there is of earlier runs is known before anybody asks. */
	datapath_recycle(&d->dp, DAEMON_FLOW_IDLE_MS, &d->use);
	limits_check(d);
	d->periodic_ms = clock_ms();
	web_sync(d);
	return 0;
}

/* A start that failed leaves the node as it was, as far as it was us who changed it. */
static void undo(struct daemon *d)
{
	if (d->dp.lock_fd < 0)
		return;
	if (d->dp.skel && !d->dp.reused) {
		attach_remove_all(d);
		datapath_unpin(d->cfg.pin_dir);
		conntrack_restore(d, false);
	} else if (d->dp.skel || datapath_pinned(d->cfg.pin_dir)) {
		log_warn(
			"what an earlier run left stays: tables under %s, and programs on interfaces; xmasqd --cleanup removes them",
			d->cfg.pin_dir);
	} else if (d->dp.made_dir) {
		datapath_unpin(d->cfg.pin_dir);
	}
}

/* ---- reload ---- */

/* Programs with new constants, around the same tables. */
static void reload_programs(struct daemon *d)
{
	int err, err2;

	epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, datapath_event_fd(&d->dp), NULL);
	d->dp.changes_way = attach_changes_way(d);
	err = datapath_reload(&d->dp, &d->cfg, d->nodes, d->n_nodes);
	err2 = watch(d, datapath_event_fd(&d->dp));
	if (!err)
		attach_replace(d);
	d->dp.changes_way = false;
	d->stale = err || err2;
	if (!d->stale) {
		if (d->stale_retry_ms)
			log_info("the programs know the new underlay addresses now");
		return;
	}
	d->stale_retry_ms = clock_ms() + DAEMON_RELOAD_MS;
	log_error(
		"cannot load programs for the new underlay addresses: %s; the old ones stay attached; trying again in %u s",
		strerror(-(err ?: err2)), DAEMON_RELOAD_MS / 1000);
}

static void reload(struct daemon *d)
{
	struct config_error why;
	struct config c;
	const char *key;
	bool rules;

	d->reload = false;
	sdnotify_reloading();
	if (config_file_read(d->config_path, &c, &why)) {
		log_error("%s; the old configuration stays in force", why.text);
		goto out;
	}
	key = config_reload_needs_restart(&d->cfg, &c);
	if (key) {
		log_error(
			"%s: \"%s\" cannot change in a running daemon: restart it; the old configuration stays in force",
			d->config_path, key);
		goto out;
	}
	c.cleanup_on_exit |= d->cleanup_on_exit;
	rules = !policy_equal(&d->cfg.policy, &c.policy);
	d->cfg = c;
	if (rules)
		rules_apply(d);
	datapath_admit_after(&d->dp, c.admit_after);
	log_init(c.log_level, c.log_format);
	conntrack_start(d);
	peers_apply_all(d);
	web_sync(d);
	/* No key that the programs have as a constant changes here. */
	d->dirty = true;
	log_info("configuration read again from %s", d->config_path);
out:
	sdnotify_ready();
}

/* ---- loop ---- */

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void sync_now(struct daemon *d)
{
	d->dirty = false;
	attach_sync(d);
	if (attach_nodes(d)) {
		log_info("underlay addresses changed");
		d->stale = true;
		d->stale_retry_ms = 0;
	}
	if (d->stale && clock_ms() >= d->stale_retry_ms)
		reload_programs(d);
}

static void periodic(struct daemon *d)
{
	int err;

	err = datapath_recycle(&d->dp, DAEMON_FLOW_IDLE_MS, &d->use);
	if (err < 0)
		log_ratelimited(CONFIG_LOG_WARN, 1, "cannot recycle flows: %s", strerror(-err));
	limits_check(d);
	if (conntrack_check(d))
		peers_apply_all(d);
	datapath_repin(&d->dp);
	/* Replacing a filter causes no event that we would know as a loss. */
	attach_check(d, false);
	local_check(d);
	/* Retries a dump that failed, and attachments that did. */
	d->netlink_err = rtnl_dispatch(d->rtnl, on_rtnl, d);
	d->dirty = true;
	web_sync(d);
	d->periodic_ms = clock_ms();
	sdnotify_status("%zu interfaces, %u peers, %llu flows, %llu on the fast path", d->n_att,
			d->hello.n_peers, (unsigned long long)d->use.flows,
			(unsigned long long)d->use.active);
}

static int loop(struct daemon *d)
{
	uint64_t hello_at = 0, recycle_at = clock_ms() + DAEMON_RECYCLE_MS, dog_at = 0;
	uint64_t dog_ms = sdnotify_watchdog_us() / 2000;
	struct epoll_event ev[8];
	uint64_t now, next, wait;
	int n, t;

	while (!d->stop) {
		if (d->reload)
			reload(d);
		if (d->dirty)
			sync_now(d);
		now = clock_ms();
		/* Every wake-up may have brought a hello or a request. */
		next = peers_tick(d);
		hello_at = next == UINT64_MAX ? UINT64_MAX : now + next;
		if (now >= recycle_at) {
			periodic(d);
			recycle_at = now + DAEMON_RECYCLE_MS;
			if (d->dirty)
				sync_now(d);
		}
		if (dog_ms && now >= dog_at) {
			sdnotify_watchdog();
			dog_at = now + dog_ms;
		}
		wait = min_u64(hello_at, recycle_at);
		if (dog_ms)
			wait = min_u64(wait, dog_at);
		t = ctlsock_timeout_ms(d->ctl);
		now = clock_ms();
		wait = wait > now ? wait - now : 0;
		if (t >= 0)
			wait = min_u64(wait, (uint64_t)t);
		t = web_timeout_ms(d);
		if (t >= 0)
			wait = min_u64(wait, (uint64_t)t);

		n = epoll_wait(d->epoll_fd, ev, 8, (int)wait);
		if (n < 0 && errno != EINTR) {
			int err = -errno;

			log_error("ending: cannot wait for events: %s", strerror(-err));
			return err;
		}
		for (int i = 0; i < n; i++) {
			int fd = ev[i].data.fd;

			if (fd == d->signal_fd)
				on_signal(d);
			else if (fd == rtnl_fd(d->rtnl))
				rtnl_dispatch(d->rtnl, on_rtnl, d);
			else if (fd == datapath_event_fd(&d->dp))
				datapath_poll(&d->dp);
		}
		ctlsock_dispatch(d->ctl);
		web_dispatch(d);
	}
	return 0;
}

/* ---- end ---- */

int daemon_cleanup(struct daemon *d)
{
	bool was_used = datapath_was_used(d->cfg.pin_dir);
	int err, err2;

	if (d->dp.skel)
		peers_leave(d);
	else
		datapath_wait_quiet(d->cfg.pin_dir);
	err = attach_remove_all(d);
	err2 = datapath_unpin(d->cfg.pin_dir);
	err = err ?: err2;
	err2 = rules_forget(d);
	err = err ?: err2;
	err2 = conntrack_restore(d, was_used);
	err = err ?: err2;
	if (err < 0)
		log_error("cleanup is incomplete: %s; repeat xmasqd --cleanup", strerror(-err));
	else if (!err)
		log_info("programs, pins and sysctls removed");
	d->cleanup_err = err;
	return err;
}

static void stop(struct daemon *d)
{
	web_close(d);
	ctlsock_flush(d->ctl, 500);
	peers_stop(d);
	datapath_close(&d->dp);
	ctlsock_close(d->ctl);
	attach_free(d);
	if (d->rtnl)
		rtnl_close(d->rtnl);
	inventory_free(&d->inv);
	if (d->tc)
		tc_close(d->tc);
	netns_names_free(d->names);
	if (d->sysctl)
		sysctl_close(d->sysctl);
	if (d->signal_fd >= 0)
		close(d->signal_fd);
	if (d->epoll_fd >= 0)
		close(d->epoll_fd);
}

static int cleanup_only(struct daemon *d)
{
	int err;

	signal(SIGPIPE, SIG_IGN);
	/* A running daemon would put everything back at once. */
	err = open_ctl(d, true);
	err = err ?: datapath_lock(&d->dp, d->cfg.pin_dir, false);
	err = err ?: open_tc(d);
	/* Tells the node's own connections from its pods'. */
	err = err ?: open_rtnl(d);
	err = err ?: conntrack_open(d);
	return err ?: daemon_cleanup(d);
}

int daemon_run(struct daemon *d, bool cleanup)
{
	char why[MODE_WHY * 2], why_attach[MODE_WHY * 2];
	const char *attach;
	int err;

	d->epoll_fd = -1;
	d->signal_fd = -1;
	d->packet.fd = -1;
	d->dp.lock_fd = -1;
	d->started_ms = clock_ms();
	d->start_time = now_real();
	libbpf_set_print(log_libbpf);
	if (cleanup) {
		err = cleanup_only(d);
		stop(d);
		return err;
	}
	err = start(d);
	if (err) {
		undo(d);
		stop(d);
		return err;
	}
	attach = config_attach_name(daemon_attach(d, why_attach, sizeof(why_attach)));
	log_info("running: mode %s (%s), attach %s (%s), masquerade port %u, lease %u ms",
		 config_mode_name(daemon_mode(d, why, sizeof(why))), why, attach, why_attach,
		 d->cfg.masquerade_port, d->cfg.lease_ms);
	sdnotify_ready();
	d->ready_us = clock_us();
	err = loop(d);
	sdnotify_stopping();
	if (d->cleanup)
		err = err ?: d->cleanup_err;
	else if (!err && d->cfg.cleanup_on_exit)
		err = daemon_cleanup(d);
	else
		log_info("stopped; programs and tables stay, xmasqd --cleanup removes them");
	stop(d);
	return err;
}
