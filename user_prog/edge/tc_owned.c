// SPDX-License-Identifier: GPL-2.0-only
#include "tc_owned.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "netns.h"
#include "statefile.h"

#define STATE_NAME "qdiscs"

static int remember(struct tc_owned *o, uint64_t netns, uint32_t ifindex)
{
	if (tc_owned_has(o, netns, ifindex))
		return 0;
	if (o->n == o->cap) {
		size_t cap = o->cap ? o->cap * 2 : 32;
		struct tc_owned_qdisc *v = realloc(o->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		o->v = v;
		o->cap = cap;
	}
	o->v[o->n++] = (struct tc_owned_qdisc){ .netns = netns, .ifindex = ifindex };
	return 0;
}

bool tc_owned_has(const struct tc_owned *o, uint64_t netns, uint32_t ifindex)
{
	size_t i;

	for (i = 0; i < o->n; i++) {
		if (o->v[i].netns == netns && (!ifindex || o->v[i].ifindex == ifindex))
			return true;
	}
	return false;
}

static void save(const struct tc_owned *o)
{
	size_t len = 0, max = o->n * 48 + 1, i;
	char *text = malloc(max);
	int err = -ENOMEM;

	if (text) {
		text[0] = '\0';
		for (i = 0; i < o->n; i++)
			len += (size_t)snprintf(text + len, max - len, "%llu %u\n",
						(unsigned long long)o->v[i].netns, o->v[i].ifindex);
		err = statefile_write(o->state_dir, STATE_NAME, text);
		free(text);
	}
	if (err)
		log_warn("cannot write %s/%s: %s; after a restart some clsact qdiscs of ours "
			 "will be left behind",
			 o->state_dir, STATE_NAME, strerror(-err));
}

void tc_owned_add(struct tc_owned *o, uint64_t netns, uint32_t ifindex)
{
	if (netns && !remember(o, netns, ifindex))
		save(o);
}

void tc_owned_del(struct tc_owned *o, uint64_t netns, uint32_t ifindex)
{
	size_t i, kept = 0;

	for (i = 0; i < o->n; i++) {
		if (o->v[i].netns != netns || (ifindex && o->v[i].ifindex != ifindex))
			o->v[kept++] = o->v[i];
	}
	if (kept == o->n)
		return;
	o->n = kept;
	save(o);
}

static int load(struct tc_owned *o)
{
	char *text, *line, *rest = NULL;
	int err = statefile_read(o->state_dir, STATE_NAME, &text);

	if (err)
		return err;
	for (line = strtok_r(text, "\n", &rest); !err && line; line = strtok_r(NULL, "\n", &rest)) {
		unsigned long long netns, ifindex;
		char *end;

		netns = strtoull(line, &end, 10);
		ifindex = *end == ' ' ? strtoull(end + 1, &end, 10) : 0;
		if (*end || !netns || !ifindex || ifindex > INT32_MAX)
			log_warn("%s/%s: line \"%s\" ignored", o->state_dir, STATE_NAME, line);
		else
			err = remember(o, netns, (uint32_t)ifindex);
	}
	free(text);
	return err;
}

int tc_owned_open(struct tc_owned *o, const char *state_dir)
{
	uint64_t netns = netns_inode();
	char name[IF_NAMESIZE];
	size_t i;
	int err;

	memset(o, 0, sizeof(*o));
	o->state_dir = strdup(state_dir);
	if (!o->state_dir)
		return -ENOMEM;
	err = load(o);
	if (err)
		return err;
	/* Interfaces that went while nobody looked: a successor must not inherit. */
	for (i = o->n; i > 0; i--) {
		if (o->v[i - 1].netns == netns && !if_indextoname(o->v[i - 1].ifindex, name))
			tc_owned_del(o, netns, o->v[i - 1].ifindex);
	}
	return 0;
}

void tc_owned_close(struct tc_owned *o)
{
	free(o->v);
	free(o->state_dir);
	memset(o, 0, sizeof(*o));
}
