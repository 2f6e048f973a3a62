/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names of pods and containers, from what their runtimes keep on disk; no runtime is asked.
 *
 * Read anew for each question and with bounds in number, size and time: what is there is in the hand
 * of others. It is for people only. Links are not followed and nothing but regular files is opened.
 */
#ifndef XM_PODNAMES_H
#define XM_PODNAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "podname.h"

#define PODNAMES_MAX 4096 /* containers that are looked at */
#define PODNAMES_MS  200  /* time that reading may take */

/**
 * struct podnames_roots - where to look; "" or NULL: not at all
 * @containerd: its state directory, such as /run/containerd
 * @docker: its data, such as /var/lib/docker
 * @podman: its storage, such as /var/lib/containers/storage
 */
struct podnames_roots {
	const char *containerd;
	const char *docker;
	const char *podman;
};

/* What is known of one namespace. */
struct podnames_of {
	int32_t nsid;
	struct podname name; /* as podname_join() put it together */
};

/**
 * struct podnames - names by namespace
 * @v: @n of them, sorted by nsid
 * @cut: not everything was read: PODNAMES_MAX or PODNAMES_MS were reached
 */
struct podnames {
	struct podnames_of *v;
	size_t n;
	bool cut;
};

/**
 * podnames_read() - look at all that the roots have
 * @p: result, to be freed also after an error
 *
 * A runtime that is not there, and what of it cannot be read or understood, is left out.
 *
 * Return: 0 or -ENOMEM.
 */
int podnames_read(struct podnames *p, const struct podnames_roots *roots);

/** podnames_find() - what is known of namespace @nsid, NULL nothing */
const struct podname *podnames_find(const struct podnames *p, int32_t nsid);

void podnames_free(struct podnames *p);

#endif
