#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Make figures of what "bench.sh --apps" measured.

  apps.py sample --round N --context C --kind K --fast F --cpu FILE --out FILE [--log PREFIX]
                           one line of JSON of what a load wrote to --out, of what xmt-cpu
                           wrote, and for pgbench of its log of transactions; exit 1 when the
                           load's own count of errors is not 0
  apps.py markdown RESULTS a table of apps.json

A p99 of memcaslap lies within a power of two, which is all that it writes; where in it is
interpolated.
"""

import argparse
import glob
import json
import re
import sys

sys.dont_write_bytecode = True  # as root, in a user's tree
import table  # noqa: E402

NAMES = {
    "http1k": "nginx, 1 KiB, kept connections", "http1k-close": "nginx, 1 KiB, a connection each",
    "http1m": "nginx, 1 MiB, kept connections", "http1m-close": "nginx, 1 MiB, a connection each",
    "redis": "Redis GET", "redis16": "Redis GET, 16 pipelined",
    "pgbench": "PostgreSQL select", "memcached": "memcached, 9 gets to a set",
}
SHORT = {
    "http1k": ["nginx 1 KiB", "kept"], "http1k-close": ["nginx 1 KiB", "closed"],
    "http1m": ["nginx 1 MiB", "kept"], "http1m-close": ["nginx 1 MiB", "closed"],
    "redis": ["Redis", ""], "redis16": ["Redis", "pipelined"],
    "pgbench": ["PostgreSQL", "select"], "memcached": ["memcached", ""],
}
CLOSING = ("http1k-close", "http1m-close")


def rows_of(field, name, digits, better):
    # A MiB takes some hundred times what the others do.
    return [(k, field, f"{n}{name}", digits + (k.startswith("http1m") and field == "value"), better)
            for k, n in NAMES.items()]


ROWS = (rows_of("value", ", /s", 0, True) + rows_of("p99_ms", ", p99, ms", 2, False)
        + rows_of("cpu", ", CPU per request, µs", 1, False))


def fail(text):
    sys.exit(f"apps.py: {text}")


def found(pattern, text, what):
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        fail(f"no {what} in what the load wrote:\n{text[-2000:]}")
    return match


def percentile(values, share):
    """the smallest of them that share of them do not exceed"""
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -int(-share * len(values) // 1) - 1))]


# ---- one function for each load: requests, rate per s, p99 in ms ----

def wrk(text, _):
    errors = re.search(r"^\s*(Socket errors: .*|Non-2xx.*)$", text, re.MULTILINE)
    if errors:
        fail(f"wrk: {errors.group(1)}")
    value, unit = found(r"^\s*99%\s+([\d.]+)(us|ms|s|m)$", text, "99 %").groups()
    scale = {"us": 1e-3, "ms": 1, "s": 1e3, "m": 6e4}[unit]
    return (int(found(r"^\s*(\d+) requests in", text, "number of requests").group(1)),
            float(found(r"^Requests/sec:\s+([\d.]+)", text, "rate").group(1)),
            float(value) * scale)


def redis(text, _):
    """rate, then average, minimum, p50, p95, p99 and maximum in ms; 0 of -n is the whole"""
    row = found(r'^"GET","([\d.]+)"((?:,"[\d.]+"){6})$', text, "GET row")
    times = [float(t) for t in re.findall(r'"([\d.]+)"', row.group(2))]
    return None, float(row.group(1)), times[4]


def pgbench(text, log):
    failed = re.search(r"^number of failed transactions: (\d+)", text, re.MULTILINE)
    if failed and int(failed.group(1)):
        fail(f"pgbench: {failed.group(0)}")
    times = []
    for name in glob.glob(f"{log}.*"):
        with open(name, encoding="ascii") as f:
            # client, transaction, µs, ...
            times += [int(line.split()[2]) for line in f]
    if not times:
        fail(f"pgbench has left no log as {log}.*")
    n = int(found(r"^number of transactions actually processed: (\d+)", text, "count").group(1))
    return (n, float(found(r"^tps = ([\d.]+)", text, "tps").group(1)),
            percentile(times, 0.99) / 1000)


def memcaslap(text, _):
    misses = int(found(r"^get_misses: (\d+)", text, "misses").group(1))
    if misses:
        fail(f"memcaslap: {misses} gets of what had been set missed")
    # The last one is of the whole run. Cell i: times from 2^(i-1) to 2^i µs.
    part = text[text.rindex("Total Statistics ("):]
    cells = {}
    for first, counts in re.findall(r"^\s+(\d+):((?:\s+\d+){1,4})\s*$", part, re.MULTILINE):
        for i, count in enumerate(counts.split()):
            cells[int(first) + i] = int(count)
    rest = sum(cells.values()) * 0.99
    if not rest:
        fail("memcaslap has written no distribution")
    for i in sorted(cells):
        if cells[i] >= rest:
            p99 = 2 ** (i - 1) * 2 ** (rest / cells[i]) / 1000
            break
        rest -= cells[i]
    run = found(r"^Run time: ([\d.]+)s Ops: (\d+) TPS: (\d+)", text, "summary")
    return int(run.group(2)), float(run.group(3)), p99


LOADS = {"http": wrk, "redis": redis, "pgbench": pgbench, "memcached": memcaslap}


def sample(args):
    with open(args.out, encoding="utf-8", errors="replace") as f:
        text = f.read()
    with open(args.cpu, encoding="ascii") as f:
        cpu = json.load(f)
    load = next(f for name, f in LOADS.items() if args.kind.startswith(name))
    n, rate, p99 = load(text, args.log)
    if n is None:  # redis-benchmark ends when it has had all of -n
        n = args.requests
    if not n:
        fail(f"{args.kind}: no requests")
    print(json.dumps({
        "round": args.round, "context": args.context, "kind": args.kind, "value": rate,
        "p99_ms": p99, "cpu": cpu["cpu"] / n * 1e6, "cpu_machine": cpu["machine"] / n * 1e6,
        "requests": n, "fast": args.fast, "seconds": cpu["wall"]}))


# ---- the table ----

def fast_line(samples, kinds, text):
    shares = [s["fast"] for s in samples if s["fast"] is not None and s["kind"] in kinds]
    if shares:
        print(f"\n{text}: {min(shares) * 100:.2f} to {max(shares) * 100:.2f} % of an xmasq run's "
              "packets.")


def markdown(results):
    meta, samples = results["meta"], results["samples"]
    rows = table.summarise(samples, ROWS)
    print(f"{meta['cpu']}, {meta['cpus']} CPUs, Linux {meta['kernel']}, {meta['date']}, "
          f"commit {meta['commit']}; `{meta['command']}`: {meta['rounds']} rounds of "
          f"{meta['seconds']} s, {meta['connections']} connections; load before "
          f"{meta['load_before']}, after {meta['load_after']}. {', '.join(meta['versions'])}.\n")
    print("Median (min..max) over the rounds. A ratio is the median of the rounds' ratios; for "
          "latency and CPU time less is better.\n")
    table.markdown_table(rows)
    fast_line(samples, [k for k in NAMES if k not in CLOSING], "On the fast path")
    fast_line(samples, CLOSING, "With a connection for each request")
    print("\nWhat ran at the near end of the xmasq way:\n")
    for kind, command in meta["commands"].items():
        print(f"- {NAMES[kind]}: `{command}`")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("sample")
    one.add_argument("--round", type=int, required=True)
    one.add_argument("--context", choices=list(table.CONTEXTS), required=True)
    one.add_argument("--kind", choices=list(NAMES), required=True)
    one.add_argument("--fast", type=json.loads, default=None)
    one.add_argument("--cpu", required=True)
    one.add_argument("--out", required=True)
    one.add_argument("--log", default="")
    one.add_argument("--requests", type=int, default=0)
    commands.add_parser("markdown").add_argument("results")
    args = parser.parse_args()
    if args.command == "sample":
        sample(args)
        return
    with open(args.results, encoding="utf-8") as f:
        markdown(json.load(f))


if __name__ == "__main__":
    main()
