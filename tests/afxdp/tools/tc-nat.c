// SPDX-License-Identifier: GPL-2.0-only
/* Attaches tc_nat.bpf.c to an interface until a signal: tc-nat INTERFACE ADDRESS SERVER */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "tc_nat.skel.h"

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, ap) : 0;
}

/* The qdisc that takes programs may be there already; then it stays. */
static int attach(struct tc_nat_bpf *skel, int ifindex, sigset_t *set)
{
	struct bpf_tc_hook hook = { .sz = sizeof(hook),
				    .ifindex = ifindex,
				    .attach_point = BPF_TC_INGRESS };
	struct bpf_tc_opts opts = { .sz = sizeof(opts),
				    .prog_fd = bpf_program__fd(skel->progs.tc_nat) };
	int err = bpf_tc_hook_create(&hook), ours = !err, sig;

	if (err && err != -EEXIST)
		return err;
	err = bpf_tc_attach(&hook, &opts);
	if (!err) {
		fprintf(stderr, "tc-nat: attached\n");
		sigwait(set, &sig);
		opts.prog_fd = 0;
		opts.prog_id = 0;
		opts.flags = 0;
		err = bpf_tc_detach(&hook, &opts);
	}
	if (ours) {
		hook.attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS;
		bpf_tc_hook_destroy(&hook);
	}
	return err;
}

int main(int argc, char **argv)
{
	struct in_addr addr, server;
	struct tc_nat_bpf *skel;
	int ifindex, err;
	sigset_t set;

	if (argc != 4 || !(ifindex = (int)if_nametoindex(argv[1])) ||
	    inet_pton(AF_INET, argv[2], &addr) != 1 || inet_pton(AF_INET, argv[3], &server) != 1) {
		fprintf(stderr, "usage: tc-nat INTERFACE ADDRESS SERVER\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	libbpf_set_print(quiet);
	skel = tc_nat_bpf__open();
	if (!skel) {
		perror("tc-nat: cannot read the program");
		return 1;
	}
	skel->rodata->nat_addr = addr.s_addr;
	skel->rodata->nat_server = server.s_addr;
	err = tc_nat_bpf__load(skel);
	if (!err)
		err = attach(skel, ifindex, &set);
	if (err)
		fprintf(stderr, "tc-nat: %s: %s\n", argv[1], strerror(-err));
	tc_nat_bpf__destroy(skel);
	return err ? 1 : 0;
}
