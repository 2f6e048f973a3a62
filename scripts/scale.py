#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Sum up what scale.sh measured.

  scale.py --out DIR [--command WORDS]     reads DIR/scale.samples, writes scale.json and scale.md,
                                           prints the tables

Figures are medians, with the smallest and the largest of the rounds behind them. What is computed for
a cluster of 5 000 nodes is marked as such, with the arithmetic.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time

NODES = 5000


def number(v, digits=0):
    text = f"{v:,.{digits}f}".replace(",", " ")
    return text.rstrip("0").rstrip(".") if "." in text else text


def spread(values, digits=0):
    if not values:
        return "-"
    low, high = min(values), max(values)
    mid = number(statistics.median(values), digits)
    return mid if low == high else f"{mid} ({number(low, digits)} to {number(high, digits)})"


class Samples:
    def __init__(self, lines):
        self.lines = lines

    def of(self, what, field, n=None):
        return [s[field] for s in self.lines if s["what"] == what and (n is None or s["n"] == n)]

    def sizes(self, what):
        return sorted({s["n"] for s in self.lines if s["what"] == what})

    def mid(self, what, field, n=None):
        values = self.of(what, field, n)
        return statistics.median(values) if values else None


def resources(s):
    rows = ["| what the node has | flows active | xmasqd, ms of CPU per s | resident, MiB | tables, MiB | "
            "descriptors | back after a restart, s |", "|---|---:|---:|---:|---:|---:|---:|"]
    names = (("pods", "pods"), ("peers", "peers"), ("flows-pair", "flows with one peer"),
             ("flows-node", "flows with all peers"), ("fill", "entries filled in"))
    for what, name in names:
        for n in s.sizes(what):
            ms = [v / 1000 for v in s.of(what + "-restart", "ms")] if n == max(s.sizes(what)) else []
            held = f", {number(s.mid(what, 'flows', n))} at a time" if what.startswith("flows") and n else ""
            rows.append(
                f"| {number(n)} {name}{held} | {spread(s.of(what, 'active', n))} | "
                f"{spread(s.of(what, 'cpu_ms_per_s', n), 2)} | "
                f"{spread([v / 1024 for v in s.of(what, 'rss_kib', n)], 1)} | "
                f"{spread([v / 1024 for v in s.of(what, 'tables_kib', n)], 1)} | "
                f"{spread(s.of(what, 'fds', n))} | {spread(ms, 2)} |")
    return rows


def per_thousand(s):
    out = []
    for what in ("flows-pair", "flows-node", "fill"):
        sizes = s.sizes(what)
        if len(sizes) < 2:
            continue
        n = max(sizes)
        with_, without = s.mid(what, "cpu_ms_per_s", n), s.mid(what, "cpu_ms_per_s", min(sizes))
        held = s.mid(what, "flows", n)
        out.append(f"{number(held)} flows: ({number(with_, 2)} - {number(without, 2)}) ms/s / "
                   f"{number(held / 1000, 1)} = **{number((with_ - without) / held * 1000, 3)} ms of CPU per s "
                   f"for 1 000 flows**")
    return out


def loads(s):
    out = []
    for line in s.lines:
        if not line["what"].endswith("-load"):
            continue
        before, end = line["before_restarts"], line["at_end"]
        out.append(f"{number(line['n'])} flows: {number(end['sent'])} datagrams sent, "
                   f"{number(end['lost'])} lost ({number(before['lost'])} of "
                   f"{number(before['sent'])} before the restarts), "
                   f"{number(end['never_answered'])} flows never answered, "
                   f"{end['misdelivered']} at the wrong socket, {end['corrupt']} wrong")
    for line in s.lines:
        if line["what"].endswith("-counters"):
            c = line["counters"]
            out.append(f"{number(line['n'])} flows: {number(c['label-allotted'])} labels allotted, "
                       f"{number(c['label-none-free'])} times none free among those tried, "
                       f"{number(c['flow-table-full'])} times no room for a flow, "
                       f"{number(c['label-conflict'])} conflicts")
    return out


def lookups(s):
    lines = [x for x in s.lines if x["what"] == "lookups"]
    if not lines:
        return []
    rows = ["| flows in the tables | masquerade, same flow | each in turn | restore, same flow | "
            "each in turn |", "|---:|---:|---:|---:|---:|"]
    get = {(x["program"], x["flows"], x["packets_of"]): x for x in lines}

    def cell(program, n, which):
        x, base = get.get((program, n, which)), get.get((program, 1, which))
        if not x or not base:
            return "-"
        return (f"{number(x['ns'])} ns ({number(x['min'])} to {number(x['max'])}), "
                f"{x['ns'] / base['ns']:.2f}")

    for n in sorted({x["flows"] for x in lines}):
        rows.append(f"| {number(n)} | " + " | ".join(
            cell(p, n, w) for p in ("xmasq_pod_egress", "xmasq_nic_ingress") for w in ("one", "each")) + " |")
    return rows


def extrapolated(s):
    """what a node of a cluster of 5 000 nodes has to do when it talks to all the others"""
    n = max(s.sizes("peers"), default=0)
    wire = s.sizes("peers-wire")
    if not n or not wire:
        return []
    peers, factor = NODES - 1, (NODES - 1) / n
    cpu = s.mid("peers", "cpu_ms_per_s", n)
    out = []
    for way, name in (("tx", "sent"), ("rx", "received")):
        packets, octets = s.mid("peers-wire", f"{way}_packets_s"), s.mid("peers-wire", f"{way}_bytes_s")
        out.append(f"hello traffic {name}: {number(packets, 1)} frames/s with {n} peers, so "
                   f"{number(packets, 1)} / {n} × {number(peers)} = {number(packets * factor)} frames/s; "
                   f"{number(octets)} B/s / {n} × {number(peers)} = "
                   f"{number(octets * factor * 8 / 1e6, 2)} Mbit/s")
    out.append(f"CPU of xmasqd: {number(cpu, 2)} ms/s with {n} peers, so at most {number(cpu, 2)} / {n} × "
               f"{number(peers)} = {number(cpu * factor)} ms/s ({number(cpu * factor / 10, 1)} % of a CPU)")
    slots = 8192
    size = slots * 64 + slots * (48 + 16 + 16)
    out.append(f"peers' tables: the next power of two is {number(slots)} slots; {number(slots)} × 64 B + "
               f"{number(slots)} × (48 + 16 + 16) B = {number(size / 1024)} KiB (`tables.peers: {slots}`; "
               f"the default, 1024, is too small)")
    return out


def main():
    args = argparse.ArgumentParser(description="Sum up what scale.sh measured.")
    args.add_argument("--out", required=True)
    args.add_argument("--command", default="scripts/scale.sh")
    args = args.parse_args()
    with open(os.path.join(args.out, "scale.samples"), encoding="utf-8") as f:
        lines = [json.loads(line) for line in f if line.strip()]
    if not lines:
        sys.exit("scale.py: there are no samples")
    s = Samples(lines)
    about = {"command": args.command, "kernel": platform.release(), "cpus": os.cpu_count(),
             "date": time.strftime("%Y-%m-%d", time.gmtime())}
    text = [f"`{about['command']}`, Linux {about['kernel']}, {about['cpus']} CPUs, {about['date']}.", ""]
    if any(s.sizes(w) for w in ("pods", "peers", "flows-pair", "flows-node")):
        text += resources(s)
    attach = s.of("pods-attach", "ms")
    if attach:
        text += ["", f"All {number(max(s.sizes('pods-attach')))} pods found and attached anew: "
                 f"{spread([v / 1000 for v in attach], 2)} s."]
    for part in (per_thousand(s), loads(s), extrapolated(s)):
        if part:
            text += [""] + [f"- {line}" for line in part]
    if lookups(s):
        text += [""] + lookups(s)
    text = "\n".join(text) + "\n"
    with open(os.path.join(args.out, "scale.json"), "w", encoding="utf-8") as f:
        json.dump({**about, "samples": lines}, f, indent=1)
        f.write("\n")
    with open(os.path.join(args.out, "scale.md"), "w", encoding="utf-8") as f:
        f.write(text)
    print(text, end="")
    wrong = sum(x["at_end"]["misdelivered"] + x["at_end"]["corrupt"] for x in lines if x["what"].endswith("-load"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
