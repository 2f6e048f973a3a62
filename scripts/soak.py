#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Judge, tabulate and draw what soak.sh sampled.

  soak.py --out DIR [--command WORDS]     reads DIR/soak.samples, soak.load and soak.churn, writes
                                          soak.json, soak.md and soak.svg, prints the table

The first tenth of the time, and at least 60 s, are not judged: tables fill until the first flows are
recycled, allocators take their first pages. A line is
fitted through the rest (least squares). What it gains over that time is the growth, which must not
exceed the bound: a share of the mean, or an absolute amount where the mean is small. A leak of one
entry, descriptor or page for each pod that comes and goes exceeds them many times over.

Exit status: 0 flat and nothing lost, 1 not so, 2 wrong arguments.
"""

import argparse
import json
import os
import platform
import sys
import time

# name, in the sample, unit, bound: absolute, share of the mean
SERIES = [
    ("resident memory", "rss_kib", "KiB", 512, 0.03),
    ("proportional memory", "pss_kib", "KiB", 512, 0.03),
    ("descriptors", "fds", "", 1, 0),
    ("threads", "threads", "", 0.5, 0),
    ("pins", "pins", "", 0.5, 0),
    ("programs", "programs", "", 0.5, 0),
    ("attached pods", "pods", "", 1, 0),
]
# Entries that come and go with flows: short connections make up most of the noise.
ENTRIES = (25, 0.1)
WARM_UP, WARM_UP_S = 0.1, 60


def fit(points):
    """least squares: slope, value at the start"""
    n = len(points)
    mx = sum(x for x, _ in points) / n
    my = sum(y for _, y in points) / n
    sxx = sum((x - mx) ** 2 for x, _ in points)
    slope = sum((x - mx) * (y - my) for x, y in points) / sxx if sxx else 0.0
    return slope, my - slope * (mx - points[0][0])


def judge(name, unit, points, absolute, share):
    end = points[-1][0]
    first = points[0][0] + max(WARM_UP * (end - points[0][0]), WARM_UP_S)
    late = [p for p in points if p[0] >= first]
    if len(late) < 5:
        sys.exit(f"soak.py: fewer than 5 samples after {round(first)} s: let it run for longer")
    values = [y for _, y in late]
    slope, start = fit(late)
    mean = sum(values) / len(values)
    growth = slope * (late[-1][0] - late[0][0])
    bound = max(absolute, share * mean)
    return {"name": name, "unit": unit, "samples": len(values), "start": round(start, 2),
            "min": min(values), "max": max(values), "mean": round(mean, 2),
            "growth": round(growth, 2), "per_hour": round(slope * 3600, 2),
            "bound": round(bound, 2), "flat": growth <= bound}


def series_of(samples):
    """all series of one node: (judged, points)"""
    start = samples[0]["t"]
    out = []
    for name, key, unit, absolute, share in SERIES:
        points = [(s["t"] - start, s[key]) for s in samples]
        out.append((judge(name, unit, points, absolute, share), points))
    points = [(s["t"] - start, sum(t["bytes"] for t in s["tables"].values()) // 1024) for s in samples]
    out.append((judge("memory of tables", "KiB", points, 1, 0), points))
    for table in sorted(samples[0]["tables"]):
        if "used" in samples[0]["tables"][table]:
            points = [(s["t"] - start, s["tables"][table]["used"]) for s in samples]
            out.append((judge(f"entries of {table}", "", points, *ENTRIES), points))
    return out


def read_lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def traffic(load, churn):
    """what was lost, and whether that is too much; a pod whose address was another's a moment ago
    may lose the first datagram"""
    bad = sum(c["errors"] + c["broken"] + c["corrupted"] for c in churn)
    out = {key: load[key] for key in
           ("tcp", "broken", "corrupt", "misdelivered", "stall_ms", "udp_sent", "udp_lost")}
    out["pods_made"] = len(churn)
    out["pods_wrong"] = bad
    out["pods_lost_more"] = sum(c["lost"] > 1 for c in churn)
    out["fine"] = not (bad or out["broken"] or out["corrupt"] or out["misdelivered"])
    return out


def number(v):
    if isinstance(v, float) and v != int(v):
        return f"{v:,.1f}".replace(",", " ")
    return f"{int(v):,}".replace(",", " ")


def markdown(result):
    rows = ["| | node | mean | min to max | growth | bound | |", "|---|---|---:|---:|---:|---:|---|"]
    names = [r["name"] for r in next(iter(result["nodes"].values()))]
    for name in names:
        for node, judged in result["nodes"].items():
            r = next(r for r in judged if r["name"] == name)
            unit = f", {r['unit']}" if r["unit"] else ""
            rows.append(f"| {name}{unit} | {node} | {number(r['mean'])} | {number(r['min'])} to "
                        f"{number(r['max'])} | {number(r['growth'])} | {number(r['bound'])} | "
                        f"{'flat' if r['flat'] else '**grows**'} |")
    t = result["traffic"]
    rows += ["", f"{number(t['pods_made'])} pods made and removed in {number(result['seconds'])} s beside "
             f"{number(t['tcp'])} TCP connections: {t['broken']} broken, {t['corrupt']} wrong bytes, "
             f"{t['misdelivered']} at the wrong pod; {number(t['udp_lost'])} of "
             f"{number(t['udp_sent'])} datagrams lost, longest stall {number(t['stall_ms'])} ms. "
             f"`{result['command']}`, Linux {result['kernel']}, {result['date']}."]
    return "\n".join(rows) + "\n"


STYLE = """
  svg { --ink: #1f2328; --soft: #59636e; --grid: #d8dee4; --back: #ffffff; --n1: #1a7f7a; --n2: #d4783c; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e6edf3; --soft: #9ba5b0; --grid: #30363d; --back: #0d1117; --n1: #3fb8af; --n2: #e2925a; }
  }
  text { font: 12px system-ui, sans-serif; fill: var(--ink); }
  .soft { fill: var(--soft); font-size: 11px; }
  .back { fill: var(--back); } .grid { stroke: var(--grid); }
  .n1 { stroke: var(--n1); fill: none; } .n2 { stroke: var(--n2); fill: none; }
"""
DRAWN = ["resident memory", "descriptors", "programs", "attached pods", "entries of xm_flows",
         "entries of xm_labels", "entries of xm_pods", "memory of tables"]


def svg(result, points):
    """small multiples, two in a row; the axis of values begins at 0, since flat is the question"""
    width, height, left, top = 440, 120, 60, 44
    rows = (len(DRAWN) + 1) // 2
    total = rows * (height + 56) + top + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width + 40} {total}">',
           f"<style>{STYLE}</style>", f'<rect class="back" width="{2 * width + 40}" height="{total}"/>',
           f'<text x="16" y="22" style="font-size:15px;font-weight:600">What xmasqd holds, '
           f'{round(result["seconds"] / 60, 1)} min with pods that come and go '
           f'(n1 <tspan style="fill:var(--n1)">●</tspan>, n2 <tspan style="fill:var(--n2)">●</tspan>)</text>']
    for i, name in enumerate(DRAWN):
        x0, y0 = 16 + (i % 2) * (width + 10), top + (i // 2) * (height + 56)
        lines = {node: p[name] for node, p in points.items() if name in p}
        if not lines:
            continue
        peak = max(y for p in lines.values() for _, y in p) * 1.15 or 1
        end = max(p[-1][0] for p in lines.values()) or 1
        out.append(f'<text x="{x0}" y="{y0 + 12}">{name}</text>')
        for value in (0, peak / 2, peak):
            y = y0 + 24 + height - height * value / peak
            out.append(f'<line class="grid" x1="{x0 + left}" x2="{x0 + width}" y1="{y:.1f}" y2="{y:.1f}"/>'
                       f'<text class="soft" x="{x0 + left - 6}" y="{y + 4:.1f}" text-anchor="end">'
                       f"{number(round(value))}</text>")
        for node, p in lines.items():
            path = " ".join(f"{x0 + left + (width - left) * x / end:.1f},"
                            f"{y0 + 24 + height - height * y / peak:.1f}" for x, y in p)
            out.append(f'<polyline class="{node}" points="{path}"/>')
        out.append(f'<text class="soft" x="{x0 + width}" y="{y0 + height + 38}" text-anchor="end">'
                   f"{round(end)} s</text>")
    out.append("</svg>")
    return "\n".join(out) + "\n"


def main():
    args = argparse.ArgumentParser(description="Judge, tabulate and draw what soak.sh sampled.")
    args.add_argument("--out", required=True)
    args.add_argument("--command", default="scripts/soak.sh")
    args = args.parse_args()
    samples = read_lines(os.path.join(args.out, "soak.samples"))
    nodes = {}
    for s in samples:
        nodes.setdefault(s["node"], []).append(s)
    if not nodes:
        sys.exit("soak.py: there are no samples")
    all_series = {node: series_of(s) for node, s in nodes.items()}
    cpu = {}
    for node, s in nodes.items():
        cpu[node] = round((s[-1]["cpu_ms"] - s[0]["cpu_ms"]) / 10 / (s[-1]["t"] - s[0]["t"]), 2)
    result = {
        "command": args.command, "kernel": platform.release(), "cpus": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": round(max(s["t"] for s in samples) - min(s["t"] for s in samples)),
        "cpu_percent": cpu,
        "traffic": traffic(read_lines(os.path.join(args.out, "soak.load"))[-1],
                           read_lines(os.path.join(args.out, "soak.churn"))),
        "nodes": {node: [j for j, _ in s] for node, s in all_series.items()},
    }
    text = markdown(result)
    points = {node: {j["name"]: p for j, p in s} for node, s in all_series.items()}
    for name, content in (("soak.json", json.dumps(result, indent=1) + "\n"), ("soak.md", text),
                          ("soak.svg", svg(result, points))):
        with open(os.path.join(args.out, name), "w", encoding="utf-8") as f:
            f.write(content)
    print(text, end="")
    grows = [f"{node}: {j['name']} grew by {j['growth']} {j['unit']}, bound {j['bound']}"
             for node, judged in result["nodes"].items() for j in judged if not j["flat"]]
    if not result["traffic"]["fine"]:
        grows.append("traffic was damaged: see soak.json")
    for line in grows:
        print(f"soak.py: {line}", file=sys.stderr)
    return 1 if grows else 0


if __name__ == "__main__":
    sys.exit(main())
