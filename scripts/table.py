#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Print what was measured as a table.

  table.py text SAMPLES          for a terminal; SAMPLES: one line of JSON per measurement
  table.py markdown RESULTS      results.json of bench.sh: medians, spread, goals

A ratio is the median of the ratios of single rounds: what runs within seconds of each other
is compared, so that a machine that gets busier meanwhile matters less.
"""

import json
import signal
import statistics
import sys

CONTEXTS = {"bare": "bare host", "host": "host + rules", "overlay": "overlay", "xmasq": "xmasq"}

# kind, field of the sample, name, digits, is more better?
STREAMS = (1, 4, 8, 16, 64)
FLOWS = (("", ""), ("8", ", 8 flows"), ("32", ", 32 flows"))
ROWS = [
    *((f"tcp{n}", "value", f"TCP, {n} stream{'s' if n > 1 else ''}, Gbit/s", 2, True)
      for n in STREAMS),
    ("udp", "value", "UDP without loss, Gbit/s", 3, True),
    *((f"tcprr{n}", "value", f"TCP round trips{text}, /s", 0, True) for n, text in FLOWS),
    *((f"udprr{n}", "value", f"UDP round trips{text}, /s", 0, True) for n, text in FLOWS),
    ("crr", "value", "short connections, /s", 0, True),
    *((f"tcp{n}", "cpu", f"CPU per GB, TCP {n} stream{'s' if n > 1 else ''}, s", 3, False)
      for n in STREAMS),
    ("udp", "cpu", "CPU per GB, UDP, s", 3, False),
    *((f"tcprr{n}", "cpu", f"CPU per TCP round trip{text}, µs", 2, False) for n, text in FLOWS),
    *((f"udprr{n}", "cpu", f"CPU per UDP round trip{text}, µs", 2, False) for n, text in FLOWS),
    ("crr", "cpu", "CPU per short connection, µs", 1, False),
]
# Of results.json only: not for a terminal.
LATENCY = [(f"{kind}rr{n}", f"p{field}_us", f"{kind.upper()} round trip{text}, p{p}, µs", 1, False)
           for kind in ("tcp", "udp") for n, text in FLOWS
           for field, p in (("50", "50"), ("99", "99"), ("999", "99.9"))]


def spread(values):
    """median, min, max"""
    return statistics.median(values), min(values), max(values)


def summarise(samples, which=None):
    """One dict per row that was measured: name, digits, better, values, ratio(context, base)."""
    rows = []
    for kind, field, name, digits, better in which or ROWS:
        by_round = {c: {} for c in CONTEXTS}
        for s in samples:
            if s["kind"] == kind:
                by_round[s["context"]][s["round"]] = s[field]
        if not by_round["xmasq"]:
            continue

        def ratio(context, base, rounds=by_round):
            both = rounds[context].keys() & rounds[base].keys()
            return spread([rounds[context][r] / rounds[base][r] for r in both])

        rows.append({
            "kind": kind, "field": field, "name": name, "digits": digits, "better": better,
            "values": {c: spread(list(v.values())) for c, v in by_round.items()},
            "ratio": ratio,
        })
    return rows


def number(value, digits):
    text = f"{value:,.{digits}f}"
    return text.replace(",", " ")


def text_table(rows):
    head = [""] + list(CONTEXTS.values()) + ["xmasq/bare", "xmasq/overlay"]
    lines = [head]
    for r in rows:
        lines.append([r["name"]] + [number(r["values"][c][0], r["digits"]) for c in CONTEXTS]
                     + [f"{r['ratio']('xmasq', base)[0]:.2f}" for base in ("bare", "overlay")])
    width = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for line in lines:
        print("  " + line[0].ljust(width[0]) + "".join(
            "  " + cell.rjust(w) for cell, w in zip(line[1:], width[1:])))


def markdown_row(cells):
    print("| " + " | ".join(cells) + " |")


def with_spread(triple, digits):
    median, low, high = (number(v, digits) for v in triple)
    return f"{median} ({low}..{high})"


def markdown_table(rows):
    markdown_row([""] + list(CONTEXTS.values()) + ["xmasq / bare", "xmasq / overlay"])
    markdown_row(["---"] + ["---:"] * (len(CONTEXTS) + 2))
    for r in rows:
        markdown_row([r["name"]]
                     + [with_spread(r["values"][c], r["digits"]) for c in CONTEXTS]
                     + [with_spread(r["ratio"]("xmasq", b), 2) for b in ("bare", "overlay")])


def per_run(program):
    """ns, and how often it ran where that is too seldom to be in the caches"""
    if not program["runs"]:
        return "-"
    few = f" ({program['runs']} runs)" if program["runs"] < 1000 else ""
    return f"{program['ns'] / program['runs']:.0f}{few}"


def goals(results, rows):
    """name, measured, goal, met"""
    fig = results["figures"]
    out = []
    for r in rows:
        if (r["kind"], r["field"]) == ("tcprr", "value"):
            got = r["ratio"]("xmasq", "bare")
            out.append(("TCP round trips, ratio to bare host", with_spread(got, 2), "≥ 0.80",
                        got[0] >= 0.80))
        if (r["kind"], r["field"]) == ("tcprr", "cpu"):
            got = r["ratio"]("bare", "xmasq")
            out.append(("the same per CPU time, which others' load changes least",
                        with_spread(got, 2), "≥ 0.80", got[0] >= 0.80))
    attach = spread([a["wall_ms"] for a in fig["attach"]])
    out.append(("interface created to pod attached", with_spread(attach, 1) + " ms",
                "≤ 100 ms", attach[2] <= 100))
    for proto in ("tcp", "udp"):
        most = {w: max(p[w] for p in fig["packets"] if p["proto"] == proto)
                for w in ("out", "in")}
        out.append((f"{proto.upper()} packets each way before the fast path, at most",
                    f"{most['out']} out, {most['in']} in", "≤ 10", max(most.values()) <= 10))
    mib = 1 << 20
    out.append(("kernel memory of all maps, one node", f"{fig['maps_bytes'] / mib:.1f} MiB",
                "≤ 16 MiB", fig["maps_bytes"] <= 16 * mib))
    out.append(("resident memory of xmasqd", f"{fig['rss_bytes'] / mib:.1f} MiB", "≤ 16 MiB",
                fig["rss_bytes"] <= 16 * mib))
    idle = fig["idle_cpu_s"] / fig["idle_s"] * 100
    out.append(("CPU of xmasqd while idle", f"{idle:.3f} % of one", "≤ 0.1 %", idle <= 0.1))
    return out


def markdown(results):
    meta, rows = results["meta"], summarise(results["samples"], ROWS + LATENCY)
    print(f"{meta['cpu']}, {meta['cpus']} CPUs, Linux {meta['kernel']}, {meta['date']}, "
          f"commit {meta['commit']}; `{meta['command']}`: {meta['rounds']} rounds of "
          f"{meta['seconds']} s; load before {meta['load_before']}, after "
          f"{meta['load_after']}.\n")
    print("Median (min..max) over the rounds. A ratio is the median of the rounds' ratios; for "
          "CPU and other times less is better.\n")
    markdown_table(rows)
    fast = [s["fast"] for s in results["samples"] if s["fast"] is not None and s["kind"] != "crr"]
    print(f"\nOn the fast path: at least {min(fast) * 100:.2f} % of the packets of each xmasq run "
          "but the short connections', which end before they get there.\n")
    markdown_row(["goal", "measured", "wanted", ""])
    markdown_row(["---", "---:", "---:", "---"])
    for name, got, wanted, met in goals(results, rows):
        markdown_row([name, got, wanted, "pass" if met else "**FAIL**"])
    print("\nOne run of each program on node 1 (a run of its own, since the kernel's clock "
          "reading, some 20 ns and more in a virtual machine, is counted too):\n")
    markdown_row(["program", "ns, TCP round trips", "ns, TCP stream", "instructions, bytes",
                  "jited, bytes"])
    markdown_row(["---"] + ["---:"] * 4)
    for p in results["figures"]["programs"]:
        ns = [per_run(p[n]) for n in ("rr", "stream")]
        markdown_row([f"`{p['name']}`"] + ns + [number(p["xlated"], 0), number(p["jited"], 0)])


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if len(sys.argv) != 3 or sys.argv[1] not in ("text", "markdown"):
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as f:
        if sys.argv[1] == "text":
            text_table(summarise([json.loads(line) for line in f]))
        else:
            markdown(json.load(f))


if __name__ == "__main__":
    main()
