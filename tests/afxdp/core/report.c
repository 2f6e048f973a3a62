// SPDX-License-Identifier: GPL-2.0-only
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>

static const char *const front_names[FRONT_COUNTS] = {
	[FRONT_TO_SOCKET] = "to-socket",
	[FRONT_NO_SOCKET] = "no-socket",
	[FRONT_FRAGMENT] = "fragments",
	[FRONT_OTHER] = "others",
	[FRONT_DROPPED_FRAGMENT] = "dropped-fragments",
	[FRONT_DROPPED_OTHER] = "dropped-others",
};

/* Counters of a queue by name, for both forms of the summary. */
#define QUEUE_COUNTERS(X)                \
	X(in, "in")                      \
	X(out, "out")                    \
	X(rx_dropped, "rx-dropped")      \
	X(rx_ring_full, "rx-ring-full")  \
	X(fill_empty, "fill-ring-empty") \
	X(rx_invalid, "rx-invalid")      \
	X(tx_invalid, "tx-invalid")      \
	X(tx_empty, "tx-ring-empty")

static int is_drop(int why)
{
	return why != WHY_OK && why != WHY_ARP_DONE && why != WHY_ARP_IGNORED;
}

uint64_t report_dropped(const struct report *r)
{
	uint64_t n = r->front[FRONT_NO_SOCKET] + r->front[FRONT_DROPPED_FRAGMENT] +
		     r->front[FRONT_DROPPED_OTHER];
	uint32_t i;

	for (i = 0; i < WHY_COUNT; i++)
		if (is_drop((int)i))
			n += r->router.why[i];
	/* What an empty fill ring cost is in rx_dropped, too. */
	for (i = 0; i < r->nqueues; i++)
		n += r->queue[i].rx_dropped + r->queue[i].rx_ring_full;
	return n;
}

void report_line(FILE *out, const struct report *a, const struct report *b)
{
	double s = (double)(b->ms - a->ms) / 1000;
	uint32_t rx = 0, tx = 0, fill = 0, i;

	if (s <= 0)
		return;
	for (i = 0; i < b->nqueues; i++) {
		rx += b->queue[i].rx;
		tx += b->queue[i].tx;
		fill += b->queue[i].fill;
	}
	fprintf(out,
		"%.1f s: %.0f frames/s in, %.0f out, %.3f Gbit/s out, %" PRIu64
		" dropped, %u flows, rings rx %u tx %u fill %u, %.1f frames a wakeup\n",
		(double)b->ms / 1000, (double)(b->router.rx - a->router.rx) / s,
		(double)(b->router.tx - a->router.tx) / s,
		(double)(b->router.tx_bytes - a->router.tx_bytes) * 8 / s / 1e9,
		report_dropped(b) - report_dropped(a), b->flows, rx, tx, fill,
		b->kicks == a->kicks
			? 0
			: (double)(b->router.tx - a->router.tx) / (double)(b->kicks - a->kicks));
	fflush(out);
}

static double per_second(uint64_t n, uint64_t ms)
{
	return ms ? (double)n * 1000 / (double)ms : 0;
}

void report_text(FILE *out, const struct report *r)
{
	uint32_t i;

	fprintf(out, "%s: %s, %s, checksums: %s, %u queue%s, %.1f s\n", r->interface, r->mode,
		r->pages, r->checksum, r->nqueues, r->nqueues == 1 ? "" : "s",
		(double)r->ms / 1000);
	fprintf(out, "  in   %12" PRIu64 " frames %14" PRIu64 " bytes %10.0f frames/s\n",
		r->router.rx, r->router.rx_bytes, per_second(r->router.rx, r->ms));
	fprintf(out, "  out  %12" PRIu64 " frames %14" PRIu64 " bytes %10.0f frames/s\n",
		r->router.tx, r->router.tx_bytes, per_second(r->router.tx, r->ms));
	fprintf(out,
		"  partial checksums %" PRIu64 ", batches %" PRIu64 ", wakeups %" PRIu64
		", sleeps %" PRIu64 "\n",
		r->router.partial, r->batches, r->kicks, r->sleeps);
	fprintf(out, "  CPU time %.3f s here, %.3f s in the kernel, %.0f ns a frame\n",
		(double)r->user_us / 1e6, (double)r->kernel_us / 1e6,
		r->router.rx ? (double)(r->user_us + r->kernel_us) * 1000 / (double)r->router.rx
			     : 0);
	fprintf(out,
		"  flows %u now, %" PRIu64 " made, %" PRIu64 " taken over; ARP: %u known, %" PRIu64
		" asked, %" PRIu64 " conflicts\n",
		r->flows, r->router.flows, r->router.recovered, r->arp.known, r->arp.requests,
		r->arp.conflicts);
	for (i = 1; i < WHY_COUNT; i++)
		if (r->router.why[i])
			fprintf(out, "  %-18s %12" PRIu64 "\n", why_name((enum why)i),
				r->router.why[i]);
	for (i = 0; i < FRONT_COUNTS; i++)
		if (r->front[i])
			fprintf(out, "  xdp %-14s %12" PRIu64 "\n", front_names[i], r->front[i]);
	for (i = 0; i < r->nqueues; i++) {
		const struct report_queue *q = &r->queue[i];

#define X(field, name) \
	if (q->field)  \
		fprintf(out, "  queue %u %-12s %10" PRIu64 "\n", i, name, q->field);
		QUEUE_COUNTERS(X)
#undef X
	}
}

static void add(struct json_object *to, const char *key, uint64_t n)
{
	json_object_object_add(to, key, json_object_new_int64((int64_t)n));
}

static struct json_object *child(struct json_object *to, const char *key)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(to, key, o);
	return o;
}

static struct json_object *queue_json(const struct report_queue *q)
{
	struct json_object *o = json_object_new_object(), *rings = child(o, "rings");

	add(rings, "size", q->size);
	add(rings, "rx", q->rx);
	add(rings, "tx", q->tx);
	add(rings, "fill", q->fill);
	add(rings, "completion", q->completion);
#define X(field, name) add(o, name, q->field);
	QUEUE_COUNTERS(X)
#undef X
	return o;
}

int report_json(FILE *out, const struct report *r)
{
	struct json_object *top = json_object_new_object(), *o, *queues;
	const char *text;
	uint32_t i;
	int err = 0;

	json_object_object_add(top, "interface", json_object_new_string(r->interface));
	json_object_object_add(top, "mode", json_object_new_string(r->mode));
	json_object_object_add(top, "pages", json_object_new_string(r->pages));
	json_object_object_add(top, "checksum", json_object_new_string(r->checksum));
	add(top, "ms", r->ms);
	add(top, "rx", r->router.rx);
	add(top, "rx_bytes", r->router.rx_bytes);
	add(top, "tx", r->router.tx);
	add(top, "tx_bytes", r->router.tx_bytes);
	json_object_object_add(top, "rx_pps",
			       json_object_new_double(per_second(r->router.rx, r->ms)));
	json_object_object_add(top, "tx_pps",
			       json_object_new_double(per_second(r->router.tx, r->ms)));
	add(top, "partial", r->router.partial);
	add(top, "batches", r->batches);
	add(top, "wakeups", r->kicks);
	add(top, "sleeps", r->sleeps);
	add(top, "cpu_user_us", r->user_us);
	add(top, "cpu_kernel_us", r->kernel_us);
	add(top, "flows", r->flows);
	add(top, "flows_made", r->router.flows);
	add(top, "flows_taken_over", r->router.recovered);
	add(top, "frames", r->frames);
	add(top, "frames_free", r->free);
	add(top, "dropped", report_dropped(r));
	o = child(top, "why");
	for (i = 1; i < WHY_COUNT; i++)
		add(o, why_name((enum why)i), r->router.why[i]);
	o = child(top, "xdp");
	for (i = 0; i < FRONT_COUNTS; i++)
		add(o, front_names[i], r->front[i]);
	o = child(top, "arp");
	add(o, "known", r->arp.known);
	add(o, "held", r->arp.held);
	add(o, "requests", r->arp.requests);
	add(o, "conflicts", r->arp.conflicts);
	add(o, "failed", r->arp.failed);
	queues = json_object_new_array();
	json_object_object_add(top, "queues", queues);
	for (i = 0; i < r->nqueues; i++)
		json_object_array_add(queues, queue_json(&r->queue[i]));
	text = json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY);
	if (text)
		fprintf(out, "%s\n", text);
	else
		err = -ENOMEM;
	json_object_put(top);
	return err;
}
