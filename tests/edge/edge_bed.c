// SPDX-License-Identifier: GPL-2.0-only
#include "edge_bed.h"

#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PODS_MAX 64

static pid_t pods[PODS_MAX];
static unsigned int n_pods;

void sh(const char *fmt, ...)
{
	char cmd[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd) != 0)
		fail_msg("failed: %s", cmd);
}

pid_t pod_start(void)
{
	int ready[2];
	char c;
	pid_t pid;

	assert_true(n_pods < PODS_MAX);
	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWNET) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	close(ready[1]);
	pods[n_pods++] = pid;
	return pid;
}

void pod_stop(pid_t pid)
{
	unsigned int i;

	for (i = 0; i < n_pods; i++) {
		if (pods[i] == pid)
			pods[i] = pods[--n_pods];
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void pod_wire(pid_t pid, const char *host, const char *addr)
{
	sh("ip link add %s type veth peer name eth0 netns %d && ip link set %s up && "
	   "nsenter -n -t %d sh -c 'ip link set lo up; ip addr add %s dev eth0; "
	   "ip link set eth0 up'",
	   host, pid, host, pid, addr);
}

int edge_setup(void **state)
{
	*state = NULL;
	if (unshare(CLONE_NEWNET) || system("ip link set lo up") != 0)
		return -1;
	return system("rm -rf " STATE_DIR) != 0;
}

int edge_teardown(void **state)
{
	(void)state;
	while (n_pods)
		pod_stop(pods[0]);
	/* Also after a failure: a name would keep its namespace alive. */
	return system("cd /run; test ! -d netns || { umount netns/* 2>/dev/null; rm -r netns; }");
}

void bed_event(enum rtnl_event ev, int32_t nsid, uint32_t ifindex, void *arg)
{
	struct seen *s = arg;

	if (ev == RTNL_CHANGED)
		s->changed++;
	else if (ev == RTNL_RESYNCED)
		s->resynced++;
	else if (nsid == INVENTORY_SELF)
		s->lost = ifindex;
}

void bed_open(struct bed *b, unsigned int rcvbuf)
{
	struct rtnl_opts opts = { .rcvbuf = rcvbuf, .routes = true };

	memset(b, 0, sizeof(*b));
	b->cfg.underlay_auto = true;
	b->cfg.n_overlay = 1;
	b->cfg.overlay[0] = (struct xm_overlay){ htons(8472), XM_OVERLAY_VXLAN };
	assert_int_equal(rtnl_open(&b->r, &b->inv, &opts), 0);
}

void bed_close(struct bed *b)
{
	rtnl_close(b->r);
	inventory_free(&b->inv);
	reconcile_set_free(&b->want);
}

const struct reconcile_item *bed_find(struct bed *b, const char *name)
{
	size_t i;

	assert_int_equal(reconcile_desired(&b->inv, &b->cfg, &b->kernel, &b->want), 0);
	for (i = 0; i < b->want.n; i++) {
		if (!strcmp(b->want.v[i].name, name))
			return &b->want.v[i];
	}
	return NULL;
}

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}
