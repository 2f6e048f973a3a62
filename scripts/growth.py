#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Make figures of what "bench.sh --growth" measured.

  growth.py markdown RESULTS   tables of growth.json
  growth.py svg RESULTS        lines: CPU time over flows, peers and requests of a connection

The break-even of a connection is where xmasq's CPU time is the overlay's, on a straight line
(over the logarithm of the requests) between the two numbers of requests around it; for each
round, then the median.
"""

import json
import math
import signal
import statistics
import sys

sys.dont_write_bytecode = True  # as root, in a user's tree
import plot  # noqa: E402
import table  # noqa: E402


class Samples:
    def __init__(self, results, what):
        self.lines = [s for s in results["samples"] if s["what"] == what]
        self.sizes = sorted({s["n"] for s in self.lines})

    def by_round(self, context, n, field="cpu"):
        return {s["round"]: s[field] for s in self.lines
                if s["context"] == context and s["n"] == n and s[field] is not None}

    def spread(self, context, n, field="cpu"):
        return table.spread(list(self.by_round(context, n, field).values()))

    def ratios(self, context, base, n):
        a, b = self.by_round(context, n), self.by_round(base, n)
        return {r: a[r] / b[r] for r in a.keys() & b.keys()}

    def cell(self, context, n, field="cpu", digits=2, factor=1):
        return table.with_spread([v * factor for v in self.spread(context, n, field)], digits)


# ---- break-even ----

def crossing(ratio):
    """{requests: xmasq's CPU time over the overlay's} -> requests where it is 1; None: nowhere"""
    sizes = sorted(ratio)
    for low, high in zip(sizes, sizes[1:]):
        a, b = ratio[low] - 1, ratio[high] - 1
        # The last time that it comes down: noise may cross before.
        if a > 0 >= b and all(ratio[n] <= 1 for n in sizes if n >= high):
            part = a / (a - b)
            return math.exp(math.log(low) + part * (math.log(high) - math.log(low)))
    return float(sizes[0]) if sizes and all(v <= 1 for v in ratio.values()) else None


def break_even(samples):
    """of each round"""
    each = {n: samples.ratios("xmasq", "overlay", n) for n in samples.sizes}
    rounds = sorted(set().union(*each.values()))
    return [crossing({n: each[n][r] for n in each if r in each[n]}) for r in rounds]


def break_even_text(samples):
    found = break_even(samples)
    good = [v for v in found if v is not None]
    if not good:
        return f"not within {samples.sizes[-1]} requests"
    text = f"{table.with_spread(table.spread(good), 1)} requests"
    if len(good) < len(found):
        text += f"; in {len(found) - len(good)} of {len(found)} rounds not within {samples.sizes[-1]}"
    if min(good) <= samples.sizes[0]:
        text += " (where it is the smallest, less or as many)"
    return text


# ---- tables ----

def head(cells):
    table.markdown_row(cells)
    table.markdown_row(["---:"] * len(cells))


def connections(results):
    s = Samples(results, "connections")
    if not s.sizes:
        return
    print("\n**Connections of n requests**: CPU time of one, µs, daemons included\n")
    head(["n", "host + rules", "overlay", "xmasq", "xmasq / overlay", "packets on the fast path"])
    for n in s.sizes:
        ratio = table.spread(list(s.ratios("xmasq", "overlay", n).values()))
        fast = statistics.median(s.by_round("xmasq", n, "fast").values())
        table.markdown_row([str(n)] + [s.cell(c, n, digits=1) for c in ("host", "overlay", "xmasq")]
                           + [table.with_spread(ratio, 3), f"{fast * 100:.1f} %"])
    print(f"\nBreak-even: {break_even_text(s)}.")


def fast_only(s, n):
    """CPU time of a round trip that is all on the fast path: the overlay's share taken off"""
    fast = s.spread("xmasq", n, "fast")[0]
    return (s.spread("xmasq", n)[0] - (1 - fast) * s.spread("overlay", n)[0]) / fast


def flows(results):
    s = Samples(results, "flows")
    if not s.sizes:
        return
    print("\n**Flows that take turns**: CPU time of a UDP round trip, µs\n")
    head(["flows", "host + rules", "overlay", "xmasq", "xmasq / overlay", "packets on the fast path",
          "fast path alone, computed"])
    for n in s.sizes:
        ratio = table.spread(list(s.ratios("xmasq", "overlay", n).values()))
        table.markdown_row([table.number(n, 0)]
                           + [s.cell(c, n) for c in ("host", "overlay", "xmasq")]
                           + [table.with_spread(ratio, 2), s.cell("xmasq", n, "fast", 1, 100) + " %",
                              f"{fast_only(s, n):.2f}"])
    lifetime(results)
    memory(results)


def lifetime(results):
    """one daemon's CPU time per 1 000 flows"""
    of = [s for s in results["samples"] if s["what"] == "lifetime"]
    if of:
        each = [(s["ms"] - s["idle_ms"]) / 2 / s["n"] * 1000 for s in of]
        print(f"\nOf 1 000 flows, from their first packet to the end of their leases, one daemon has "
              f"{table.with_spread(table.spread(each), 2)} ms of CPU time, what it takes without "
              f"flows left out ({table.number(of[0]['n'], 0)} flows, {of[0]['seconds']} s).")


def memory(results):
    """of node 1, before and with the flows"""
    sizes = sorted({m["n"] for m in results["memory"]})
    if not sizes:
        return
    print("\n**Memory of node 1**\n")
    head(["flows", "xmasqd, MiB resident", "tables, MiB", "entries of xm_flows", "room for",
          "tables, bytes per flow there is room for"])
    for n in sizes:
        of = [m for m in results["memory"] if m["n"] == n]
        tables = {t["name"]: t for t in of[-1]["tables"]}
        size = sum(t["bytes"] for t in tables.values())
        room = tables["xm_flows"]["max"]
        table.markdown_row([
            table.number(n, 0),
            f"{statistics.median(m['rss_kib'] for m in of) / 1024:.2f}", f"{size / (1 << 20):.1f}",
            table.number(tables["xm_flows"]["used"], 0), table.number(room, 0),
            f"{size / room:.0f}"])
    if len(sizes) > 1:
        rss = [statistics.median(m["rss_kib"] for m in results["memory"] if m["n"] == n)
               for n in (sizes[0], sizes[-1])]
        each = (rss[1] - rss[0]) * 1024 / (sizes[-1] - sizes[0])
        print(f"\nThe tables have their size from the start; xmasqd grows by {each:.0f} bytes a flow.")


def peers(results):
    s = Samples(results, "peers")
    if not s.sizes:
        return
    print("\n**A flow with each peer, in turn**, no rules: CPU time of a UDP round trip, µs\n")
    head(["peers", "bare host", "xmasq", "xmasq / bare", "packets on the fast path",
          "xmasqd of node 1, ms of CPU per s"])
    for n in s.sizes:
        ratio = table.spread(list(s.ratios("xmasq", "bare", n).values()))
        table.markdown_row([str(n), s.cell("bare", n), s.cell("xmasq", n), table.with_spread(ratio, 2),
                            s.cell("xmasq", n, "fast", 1, 100) + " %",
                            s.cell("xmasq", n, "daemon_ms_per_s")])


def markdown(results):
    meta = results["meta"]
    print(f"{meta['cpu']}, {meta['cpus']} CPUs, Linux {meta['kernel']}, {meta['date']}, "
          f"commit {meta['commit']}; `{meta['command']}`: {meta['rounds']} rounds of "
          f"{meta['seconds']} s, leases of {meta['lease_ms'] // 1000} s; load before "
          f"{meta['load_before']}, after {meta['load_after']}.\n")
    print("Median (min..max) over the rounds; less is better.")
    connections(results)
    flows(results)
    peers(results)
    print("\nWhat ran at the near end of the xmasq way:\n")
    for command in filter(None, [*meta["commands"].values(), results["peers_command"]]):
        print(f"- `{command}`")


# ---- lines ----

PANEL = 210


def lines(s, contexts, top_y, title, unit, value):
    """A panel: @value(context, n) over the logarithm of n."""
    points = {c: [(n, value(c, n)) for n in s.sizes] for c in contexts}
    top, step = plot.nice_top(max(v for of in points.values() for _, (_, _, v) in of) * 1.05)
    base, left, right = top_y + PANEL, plot.LEFT, plot.WIDTH - plot.RIGHT
    width = math.log(s.sizes[-1] / s.sizes[0]) or 1

    def x_of(n):
        return left + 30 + math.log(n / s.sizes[0]) / width * (right - left - 60)

    def y_of(v):
        return base - v / top * PANEL

    out = [plot.text(left, top_y - 12, title, anchor="start")]
    for i in range(int(top / step + 0.5) + 1):
        out.append(plot.line(left, y_of(i * step), right, y_of(i * step), "grid"))
        out.append(plot.text(left - 8, y_of(i * step) + 4, f"{i * step:g}", "soft", "end"))
    for n in s.sizes:
        out.append(plot.text(x_of(n), base + 18, f"{n} {unit}" if n == s.sizes[-1] else str(n)))
    for c, of in points.items():
        path = " ".join(f"{x_of(n):.1f},{y_of(v[0]):.1f}" for n, v in of)
        out.append(f'<polyline points="{path}" class="curve {c}"/>')
        for n, (_, low, high) in of:
            out.append(plot.line(x_of(n), y_of(low), x_of(n), y_of(high), "whisker"))
    return out


def svg(results):
    meta = results["meta"]
    what = (f"{meta['cpu']}, Linux {meta['kernel']}, {meta['date'][:10]}, {meta['commit']}; "
            f"median and range of {meta['rounds']} rounds of {meta['seconds']} s")
    body = [plot.text(plot.LEFT, 26, "What grows with requests, flows and peers", "title", "start"),
            plot.text(plot.LEFT, 46, what, "soft", "start")]
    x, y = plot.LEFT, 116
    for name in ("bare", "host", "overlay", "xmasq"):
        label = table.CONTEXTS[name]
        body.append(f'<line x1="{x}" y1="66" x2="{x + 22}" y2="66" class="curve {name}"/>')
        body.append(plot.text(x + 28, 70, label, anchor="start"))
        x += 60 + 7 * len(label)
    s = Samples(results, "connections")
    if s.sizes:
        body += lines(s, ("host", "overlay", "xmasq"), y, "CPU time of a connection, of the overlay's",
                      "requests", lambda c, n: table.spread(list(s.ratios(c, "overlay", n).values())))
        y += PANEL + 66
    for what, contexts, title in (
            ("flows", ("host", "overlay", "xmasq"), "CPU time of a UDP round trip, µs"),
            ("peers", ("bare", "xmasq"), "CPU time of a UDP round trip, µs, no rules")):
        s = Samples(results, what)
        if s.sizes:
            body += lines(s, contexts, y, title, what, s.spread)
            y += PANEL + 66
    plot.svg(body, y - 20, "CPU time over requests, flows and peers")


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if len(sys.argv) != 3 or sys.argv[1] not in ("markdown", "svg"):
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as f:
        {"markdown": markdown, "svg": svg}[sys.argv[1]](json.load(f))


if __name__ == "__main__":
    main()
