/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * xmasqd: one process, one thread, one epoll loop.
 *
 *   netlink events ──▶ inventory ──▶ reconcile ──▶ attach.c   programs where they belong
 *   ring of events ──▶ hello ──────▶ peers.c                  deadlines in the peer table
 *   control socket ──▶ requests.c                             answers, flush, cleanup
 *   web server     ──▶ web.c ──────▶ metrics, answers to probes
 *   timers         ──▶ hello, recycler, watchdog
 *
 * The datapath needs none of this to carry on: what is agreed runs until its lease or
 * its peer's deadline is over, then the overlay takes the traffic.
 */
#ifndef XM_DAEMON_H
#define XM_DAEMON_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "ctlsock.h"
#include "datapath.h"
#include "hello.h"
#include "inventory.h"
#include "netns.h"
#include "packet.h"
#include "reconcile.h"
#include "rtnl.h"
#include "sysctl.h"
#include "tc.h"

/* How long a flow's leases must be over before its entry is given up. */
#define DAEMON_FLOW_IDLE_MS 15000
#define DAEMON_RECYCLE_MS   5000
/* Between two attempts to load programs that the kernel refused. */
#define DAEMON_RELOAD_MS 30000

/* An attached interface: what reconcile compares, and what "pods" shows. */
struct attachment {
	struct reconcile_key key; /* what was asked for */
	struct reconcile_key as;  /* what was possible: perhaps another mode */
	struct tc_error why_mode; /* why another mode, "" when it is not */
	char name[16];
	uint64_t attach_us;    /* from the netlink event to attached */
	uint32_t instance_id;  /* rpeer: program of this pod */
	uint64_t inode;	       /* of the pod's namespace, when we are or were in it */
	uint64_t looked_ms;    /* when the pod's namespace was last entered to look */
	bool doubt;	       /* it has to be looked at again */
	struct xm_local own;   /* pod: its own interface, as last seen; frame_max 0: not yet */
	struct xm_local local; /* pod: as the programs know it; frame_max 0: they do not */
};

/* An interface that should be attached and cannot be. */
struct attach_failure {
	uint32_t ifindex;
	struct tc_error why;
};

struct httpd;

/* Tables that may be full. */
enum limit {
	LIMIT_FLOWS,
	LIMIT_LABELS,
	LIMIT_PEERS,
	LIMITS
};

struct limit_state {
	bool known;	  /* count was read once */
	uint64_t count;	  /* of what found no room */
	uint64_t last_ms; /* when it last grew, 0 when that has been said to be over */
};

struct daemon {
	struct config cfg;
	const char *config_path;
	bool cleanup_on_exit; /* asked for on the command line: no reload takes it back */
	uint64_t started_ms;
	uint64_t ready_us;    /* everything found at the start is attached; 0 before */
	double start_time;    /* seconds since 1970 */
	uint64_t periodic_ms; /* when the periodic work was last done */

	struct datapath dp;
	__be32 nodes[XM_NODES_MAX]; /* underlay addresses that the programs know */
	unsigned int n_nodes;
	char nodes_unused[128]; /* underlay addresses that found no room there */
	bool stale;		/* the programs know other addresses than these */
	uint64_t stale_retry_ms;
	struct policy_list live;   /* rules; those of the file are in cfg */
	struct policy_order rules; /* both, in force; points into both */
	struct datapath_use use;   /* of the last recycler run */
	unsigned int local_protos; /* bits of what is accelerated between pods of this node */
	struct limit_state limits[LIMITS];

	struct rtnl *rtnl;
	struct inventory inv;
	struct reconcile_set want;
	struct attachment *att;
	size_t n_att, cap_att;
	size_t look_turn; /* of attach_check() */
	struct attach_failure *fail;
	size_t n_fail, cap_fail;
	struct tc *tc;
	struct netns_names *names;
	int netlink_err; /* the inventory may be out of date */
	bool dirty;	 /* inventory changed: reconcile before waiting again */

	struct hello_config hello_cfg; /* until peers_start() */
	struct hello hello;
	uint64_t tick_ms; /* of the last peers_tick() that did something */
	struct packet packet;

	struct sysctl *sysctl;
	bool tcp_ok;
	char tcp_reason[384];

	struct ctlsock *ctl;
	struct httpd *web;	     /* NULL: not served, or not yet */
	char web_listen[LISTEN_MAX]; /* where, or where it is tried */
	int web_err;		     /* of the last try */
	int epoll_fd;
	int signal_fd;
	bool reload;
	bool stop;
	bool cleanup; /* on the way out */
	bool force;   /* clean up even what open connections need */
	int cleanup_err;
};

/** daemon_mode() - see mode_of_node() */
enum config_mode daemon_mode(const struct daemon *d, char *why, size_t max);
/** daemon_attach() - see mode_attach() */
enum config_attach daemon_attach(const struct daemon *d, char *why, size_t max);

/* daemon.c */
/**
 * daemon_cleanup() - remove programs, pins and sysctls
 *
 * Return: as conntrack_restore(); after an error, which is logged, it can be repeated.
 */
int daemon_cleanup(struct daemon *d);
/** daemon_run() - until a signal, or only clean up; Return: as daemon_cleanup(), logged */
int daemon_run(struct daemon *d, bool cleanup);

/* attach.c */
/** attach_sync() - detach and attach until what is there is what should be */
int attach_sync(struct daemon *d);
/** attach_sweep() - after the first attach_sync(): remove what earlier runs left elsewhere */
void attach_sweep(struct daemon *d);
/**
 * attach_lost() - a qdisc or filter went from @ifindex of @nsid: forget the attachment if it was
 * ours that somebody undid, and set d->dirty
 */
void attach_lost(struct daemon *d, int32_t nsid, uint32_t ifindex);
/** attach_check() - the same for every attachment; @all: pods' namespaces, too */
void attach_check(struct daemon *d, bool all);
/** attach_find() - NULL when nothing is attached there */
struct attachment *attach_find(const struct daemon *d, uint32_t ifindex);
/** attach_why_not() - why attaching failed there, NULL when it did not */
const char *attach_why_not(const struct daemon *d, uint32_t ifindex);
/** attach_nodes() - our underlay addresses and MTU by the inventory; true when addresses changed */
bool attach_nodes(struct daemon *d);
/** attach_changes_way() - whether programs of ours on a NIC go to tcx now, from there, or to another priority */
bool attach_changes_way(struct daemon *d);
/**
 * attach_replace() - all attached programs by those of the present load
 *
 * What cannot be replaced is detached; the next attach_sync() tries again.
 */
void attach_replace(struct daemon *d);
int attach_remove_all(struct daemon *d);
void attach_free(struct daemon *d);

/* local.c: flows between pods of this node */
/** local_look() - how a pod's own interface looks now */
void local_look(struct daemon *d, struct attachment *a);
/** local_sync() - tell the programs which pods may have such flows, and for how long they may */
void local_sync(struct daemon *d);
/** local_check() - every few seconds: local_look() at all pods, and another while for leases */
void local_check(struct daemon *d);

/* peers.c */
/** peers_read_key() - psk_file into d->hello_cfg; 0 or -errno, logged */
int peers_read_key(struct daemon *d);
/** peers_open() - key and packet socket: what may fail before anything is changed; logged */
int peers_open(struct daemon *d);
int peers_start(struct daemon *d);
/** peers_want_reports() - from programs that are attached: how to reach the peers taken over */
void peers_want_reports(struct daemon *d);
void peers_stop(struct daemon *d);
void peers_event(void *arg, const struct xm_event *ev);
/** peers_tick() - Return: milliseconds until the next call, UINT64_MAX for never */
uint64_t peers_tick(struct daemon *d);
/** peers_leave() - stop sending to peers, have them stop too, and let the last packets arrive */
void peers_leave(struct daemon *d);
/** peers_apply_all() - write every peer again, after tcp_ok changed */
void peers_apply_all(struct daemon *d);

/* conntrack.c: the sysctls that acceleration needs */
int conntrack_open(struct daemon *d);
int conntrack_start(struct daemon *d);
/* limits.c */
/** limits_check() - logs it when a table has become full, or has sufficed for a while */
void limits_check(struct daemon *d);

/** conntrack_check() - somebody may have changed the sysctl; true when tcp_ok changed */
bool conntrack_check(struct daemon *d);
/**
 * conntrack_restore() - put back what we set
 * @was_used: packets have taken the fast path since the tables were made
 *
 * be_liberal stays while forwarded TCP connections are open that conntrack may have lost
 * track of, unless d->force. Tables can be newer than the sysctl; when an earlier run set
 * it, that counts as use. Return: 0, 1 when it stayed, or -errno.
 */
int conntrack_restore(struct daemon *d, bool was_used);

/* requests.c */
struct json_object;
int requests_handle(void *arg, const struct ctl_request *req, struct json_object **result,
		    char *err, size_t err_len);

#endif
