// SPDX-License-Identifier: GPL-2.0-only
/* Jiffies, the programs' clock, against the daemon's CLOCK_MONOTONIC. See datapath.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#include "datapath_private.h"
#include "log.h"
#include "xm_util.h"
#include "xmasq.skel.h"

/* Time over which the clock's rate is measured, enough to tell HZ=250 from HZ=300. */
#define HZ_SAMPLE_MS 120
#define HZ_TRIES     2
#define HZ_OFF_MAX   1.1

int datapath_run_clock(struct xmasq_bpf *skel, struct xm_clock *clock)
{
	uint8_t frame[64] = {};
	struct bpf_test_run_opts opts = {
		.sz = sizeof(opts),
		.data_in = frame,
		.data_size_in = sizeof(frame),
	};
	int err;

	err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.xmasq_clock), &opts);
	if (err)
		return err < 0 ? err : -errno;
	*clock = skel->bss->xm_clock;
	return 0;
}

int datapath_clock(struct datapath *d)
{
	return datapath_run_clock(d->skel, &d->clock);
}

static int measure_rate(struct xmasq_bpf *skel, double *rate)
{
	struct timespec ts = { .tv_nsec = HZ_SAMPLE_MS * 1000000L };
	struct xm_clock a = {}, b = {};
	int err;

	err = datapath_run_clock(skel, &a);
	if (err)
		return err;
	nanosleep(&ts, NULL);
	err = datapath_run_clock(skel, &b);
	if (!err)
		*rate = (double)(b.jiffies - a.jiffies) * 1e9 / (double)(b.ns - a.ns);
	return err;
}

/* The kernel's HZ is nowhere to be read for certain; the two clocks tell. */
static int measure_hz(struct xmasq_bpf *skel, uint32_t *hz)
{
	static const uint32_t known[] = { 100, 250, 300, 1000 };
	double rate = 0;
	int err;

	/* Twice: a virtual machine that was halted in between makes up for it in a burst. */
	for (int try = 0; try < HZ_TRIES; try++) {
		err = measure_rate(skel, &rate);
		if (err)
			return err;
		for (size_t i = 0; i < XM_ARRAY_SIZE(known); i++) {
			if (rate > known[i] * HZ_OFF_MAX || rate * HZ_OFF_MAX < known[i])
				continue;
			*hz = known[i];
			log_debug("jiffies advance at %.0f a second: HZ=%u", rate, *hz);
			return 0;
		}
	}
	log_error(
		"jiffies advance at %.0f a second, which is no HZ that Linux has (100, 250, 300, 1000): leases cannot be timed; start xmasqd again when the machine is less busy",
		rate);
	return -ERANGE;
}

int datapath_measure_hz(uint32_t *hz)
{
	struct xmasq_bpf *skel;
	struct bpf_program *prog = NULL;
	struct bpf_map *map = NULL;
	int err;

	skel = xmasq_bpf__open();
	if (!skel) {
		err = -errno;
		log_error("cannot open the TC programs: %s", strerror(-err));
		return err;
	}
	while ((prog = bpf_object__next_program(skel->obj, prog)))
		bpf_program__set_autoload(prog, prog == skel->progs.xmasq_clock);
	while ((map = bpf_object__next_map(skel->obj, map)))
		if (!bpf_map__is_internal(map))
			bpf_map__set_autocreate(map, false);
	err = xmasq_bpf__load(skel);
	if (!err)
		err = measure_hz(skel, hz);
	xmasq_bpf__destroy(skel);
	if (err && err != -ERANGE)
		log_error("cannot run a BPF program: %s; %s", strerror(-err), datapath_hint(err));
	return err;
}

uint64_t datapath_jiffies(const struct datapath *d, uint64_t ms)
{
	int64_t ns = (int64_t)(ms * 1000000) - (int64_t)d->clock.ns;

	return d->clock.jiffies + ns / (int64_t)(1000000000u / d->hz);
}

int64_t datapath_ms_left(const struct datapath *d, uint32_t until)
{
	return (int64_t)(int32_t)(until - (uint32_t)d->clock.jiffies) * 1000 / d->hz;
}

uint32_t datapath_ms_to_j(uint32_t ms, uint32_t hz)
{
	uint32_t j = (uint32_t)((uint64_t)ms * hz / 1000);

	return j ? j : 1;
}
