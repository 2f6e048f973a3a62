#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Draw results.json, icount.json or apps.json of bench.sh as SVG, to stdout: plot.py [--latency] RESULTS

results.json: bars are ratios to the bare host, whiskers go from the smallest to the largest
ratio of a round. One panel for rates (more is better), one for CPU time (less is better).

With --latency: of its round trips the share that took no longer than a time, all rounds together.

apps.json: the same bars, with a panel for the latency.

icount.json: bars are instructions, one panel for each kind of traffic; a pair of bars for each
case: on the bare node, and on one with kube-proxy's rules.
"""

import json
import math
import sys
from xml.sax.saxutils import escape

sys.dont_write_bytecode = True  # as root, in a user's tree
import apps  # noqa: E402
import icount  # noqa: E402
import table  # noqa: E402

BARS = ["host", "overlay", "xmasq"]
WIDTH, PANEL, LEFT, RIGHT, TOP, GAP, LABELS = 900, 230, 64, 16, 92, 66, 52

STYLE = """
  svg { --ink: #1f2328; --soft: #59636e; --grid: #d8dee4; --back: #ffffff;
        --host: #8c959f; --overlay: #d4783c; --xmasq: #1a7f7a; --bare: #8250df; }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e6edf3; --soft: #9ba5b0; --grid: #30363d; --back: #0d1117;
          --host: #8b949e; --overlay: #e2925a; --xmasq: #3fb8af; --bare: #a371f7; }
  }
  text { font: 13px system-ui, sans-serif; fill: #1f2328; fill: var(--ink); }
  .title { font-size: 17px; font-weight: 600; }
  .soft { fill: #59636e; fill: var(--soft); }
  .value { font-size: 11px; }
  .back { fill: #ffffff; fill: var(--back); }
  .grid { stroke: #d8dee4; stroke: var(--grid); }
  .one { stroke: #1f2328; stroke: var(--ink); stroke-dasharray: 5 3; }
  .whisker { stroke: #1f2328; stroke: var(--ink); stroke-width: 1.3; }
  .bare { stroke: #8250df; stroke: var(--bare); }
  .curve { fill: none; stroke-width: 2; }
  .curve.host { stroke: #8c959f; stroke: var(--host); fill: none; }
  .curve.overlay { stroke: #d4783c; stroke: var(--overlay); fill: none; }
  .curve.xmasq { stroke: #1a7f7a; stroke: var(--xmasq); fill: none; }
  .host { fill: #8c959f; fill: var(--host); }
  .overlay { fill: #d4783c; fill: var(--overlay); }
  .xmasq { fill: #1a7f7a; fill: var(--xmasq); }
"""

SHORT = {
    "tcp1": ["TCP", "1 stream"], "udp": ["UDP", "without loss"],
    **{f"tcp{n}": ["TCP", f"{n} streams"] for n in (4, 8, 16, 64)},
    **{f"{p}rr{n}": [f"{p.upper()} RR", f"{n} flows"] for p in ("tcp", "udp") for n in (8, 32)},
    "tcprr": ["TCP", "round trips"], "udprr": ["UDP", "round trips"],
    "crr": ["short", "connections"],
}


def nice_top(value):
    """The top of an axis, and the distance of its lines."""
    for step in (0.2, 0.5, 1, 2, 5, 10, 20):
        if value <= step * 6:
            break
    top = step
    while top < value:
        top += step
    return top, step


def text(x, y, what, css="", anchor="middle", extra=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}"{extra}>'
            f"{escape(what)}</text>")


def line(x1, y1, x2, y2, css):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def panel(rows, top_y, title):
    """SVG elements of one panel with its axis, groups and bars."""
    ratios = [[r["ratio"](c, "bare") for c in BARS] for r in rows]
    top, step = nice_top(max(high for group in ratios for _, _, high in group) * 1.04)
    base = top_y + PANEL

    def y_of(value):
        return base - value / top * PANEL

    out = [text(LEFT, top_y - 12, title, anchor="start")]
    for i in range(int(top / step + 0.5) + 1):
        y = y_of(i * step)
        out.append(line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        out.append(text(LEFT - 8, y + 4, f"{i * step:.1f}", "soft", "end"))
    out.append(text(18, top_y + PANEL / 2, "ratio to bare host", "soft", "middle",
                    f' transform="rotate(-90 18 {top_y + PANEL / 2:.1f})"'))
    out.append(line(LEFT, y_of(1), WIDTH - RIGHT, y_of(1), "one"))
    group = (WIDTH - LEFT - RIGHT) / len(rows)
    bar = group * 0.25
    for g, (row, values) in enumerate(zip(rows, ratios)):
        x0 = LEFT + g * group + group * 0.125
        for b, (name, (median, low, high)) in enumerate(zip(BARS, values)):
            x, mid = x0 + b * bar, x0 + (b + 0.5) * bar
            out.append(f'<rect x="{x + 2:.1f}" y="{y_of(median):.1f}" width="{bar - 4:.1f}" '
                       f'height="{base - y_of(median):.1f}" class="{name}"/>')
            out.append(line(mid, y_of(low), mid, y_of(high), "whisker"))
            for end in (low, high):
                out.append(line(mid - 4, y_of(end), mid + 4, y_of(end), "whisker"))
            # The number may be where the line of the bare host is.
            out.append(f'<rect x="{mid - 13:.1f}" y="{y_of(high) - 15:.1f}" width="26" '
                       'height="12" class="back"/>')
            out.append(text(mid, y_of(high) - 5, f"{median:.2f}", "value"))
        for i, word in enumerate((SHORT | apps.SHORT)[row["kind"]]):
            out.append(text(x0 + 1.5 * bar, base + 18 + 15 * i, word))
    return out


def legend(y):
    out, x = [], LEFT
    for name in BARS:
        label = {"host": "host with firewall rules"}.get(name, name)
        out.append(f'<rect x="{x}" y="{y - 11}" width="13" height="13" class="{name}"/>')
        out.append(text(x + 19, y, label, anchor="start"))
        x += 44 + 7 * len(label)
    out.append(line(x, y - 4, x + 26, y - 4, "one"))
    out.append(text(x + 32, y, "bare host", anchor="start"))
    return out


def panels(rows, y, title):
    """As many panels as it takes for the bars to have room; and where the next one goes."""
    body, most = [], 8
    for i in range(0, len(rows), most):
        body += panel(rows[i:i + most], y, title + (", more of them" if i else ""))
        y += PANEL + GAP + LABELS / 2
    return body, y


# ---- latency ----

NINES = 4  # the axis ends at 99.99 %


def distribution(samples, kind, context):
    """µs, share of all that took no longer; of all rounds together"""
    counts = {}
    for s in samples:
        if s["kind"] == kind and s["context"] == context:
            for us, n in s["times_us"]:
                counts[us] = counts.get(us, 0) + n
    total, seen, out = sum(counts.values()), 0, []
    for us in sorted(counts):
        seen += counts[us]
        out.append((us, seen / total))
    return out


def latency_panel(curves, top_y, title):
    """One line for each context; x is logarithmic, and so is what is left above y."""
    shown = {c: [(us, p) for us, p in points if 1 - p > 10 ** -NINES / 2]
             for c, points in curves.items()}
    every = [us for points in shown.values() for us, _ in points]
    low, high = math.log10(min(every)) - 0.05, math.log10(max(every)) + 0.05
    base = top_y + PANEL

    def x_of(us):
        return LEFT + (math.log10(us) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y_of(share):
        return base - min(-math.log10(max(1 - share, 1e-9)), NINES) / NINES * PANEL

    out = [text(LEFT, top_y - 12, title, anchor="start")]
    for share, name in ((0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"),
                        (0.999, "99.9 %"), (0.9999, "99.99 %")):
        out.append(line(LEFT, y_of(share), WIDTH - RIGHT, y_of(share), "grid"))
        out.append(text(LEFT - 6, y_of(share) + 4, name, "soft", "end"))
    for exp in range(math.floor(low), math.ceil(high)):
        for step in (1, 2, 5):
            if low <= math.log10(step * 10 ** exp) <= high:
                x = x_of(step * 10 ** exp)
                out.append(line(x, top_y, x, base, "grid"))
                out.append(text(x, base + 18, f"{step * 10 ** exp:g} µs", "soft"))
    for name, points in shown.items():
        path = " ".join(f"{x_of(us):.1f},{y_of(p):.1f}" for us, p in points)
        out.append(f'<polyline points="{path}" class="curve {name}"/>')
    return out


def latency_svg(results):
    meta, samples = results["meta"], results["samples"]
    what = (f"{meta['cpu']}, Linux {meta['kernel']}, {meta['date'][:10]}, {meta['commit']}; "
            f"{meta['rounds']} rounds of {meta['seconds']} s")
    body = [text(LEFT, 26, "Round trips that took no longer than", "title", "start"),
            text(LEFT, 46, what, "soft", "start")]
    x = LEFT
    for name, label in table.CONTEXTS.items():
        body.append(f'<line x1="{x}" y1="66" x2="{x + 22}" y2="66" class="curve {name}"/>')
        body.append(text(x + 28, 70, label, anchor="start"))
        x += 60 + 7 * len(label)
    y = TOP + 24
    for kind, title in (("tcprr", "TCP, 64 bytes"), ("udprr", "UDP, 64 bytes")):
        curves = {c: distribution(samples, kind, c) for c in table.CONTEXTS}
        body += latency_panel(curves, y, title)
        y += PANEL + GAP
    return body, y - 10


# ---- instructions ----

COLOURS = {"host": "host", "overlay": "overlay"}  # and xmasq, whatever its mode
ICOUNT_PANEL, ICOUNT_STEP = 190, 190 + 96


def icount_groups(results):
    """name of a case -> its two: without and with rules"""
    groups = {}
    for case in results["cases"]:
        name = case["case"].removesuffix("+rules")
        groups.setdefault(name, {})[case["rules"]] = case
    return groups


def icount_panel(groups, kind, top_y):
    def value(case):
        return case["figures"][kind]["value"] / 1000

    most = max(value(c) for g in groups.values() for c in g.values() if kind in c["figures"])
    step = next(s * 10 ** e for e in range(-1, 9) for s in (1, 2, 5) if most <= s * 10 ** e * 6)
    top = step * (int(most * 1.06 / step) + 1)
    base = top_y + ICOUNT_PANEL
    out = [text(LEFT, top_y - 12, f"per {icount.KINDS[kind]}", anchor="start")]
    for i in range(int(top / step + 0.5) + 1):
        y = base - i * step / top * ICOUNT_PANEL
        out.append(line(LEFT, y, WIDTH - RIGHT, y, "grid"))
        out.append(text(LEFT - 8, y + 4, f"{i * step:g}", "soft", "end"))
    group = (WIDTH - LEFT - RIGHT) / len(groups)
    bar = min(group * 0.42, 60)
    for g, (name, both) in enumerate(groups.items()):
        mid = LEFT + (g + 0.5) * group
        for rules, case in both.items():
            if kind not in case["figures"]:
                continue
            height = value(case) / top * ICOUNT_PANEL
            x = mid if rules else mid - bar
            pale = ' fill-opacity="0.55"' if rules else ""
            css = COLOURS.get(case["what"], "xmasq")
            out.append(f'<rect x="{x + 1:.1f}" y="{base - height:.1f}" width="{bar - 2:.1f}" '
                       f'height="{height:.1f}" class="{css}"{pale}/>')
            digits = 1 if most < 200 else 0
            out.append(text(x + bar / 2, base - height - 4, f"{value(case):.{digits}f}", "value"))
        words = name.split("/")
        for i, word in enumerate(words[1:] if words[0] == "xmasq" else reversed(words)):
            out.append(text(mid, base + 17 + 14 * i, word, "value"))
    return out


def icount_svg(results):
    meta, groups = results["meta"], icount_groups(results)
    kinds = [k for k in icount.KINDS if any(k in c["figures"] for c in results["cases"])]
    what = (f"thousands of instructions, Linux {meta['kernel']}, {meta['qemu']} -icount, "
            f"{meta['date'][:10]}, {meta['commit']}; pale: with kube-proxy's rules")
    body = [text(LEFT, 26, "Instructions between two nodes", "title", "start"),
            text(LEFT, 46, what, "soft", "start")]
    for i, kind in enumerate(kinds):
        body += icount_panel(groups, kind, 88 + i * ICOUNT_STEP)
    return body, 88 + len(kinds) * ICOUNT_STEP - 40


# ---- applications ----

def apps_svg(results):
    meta, rows = results["meta"], table.summarise(results["samples"], apps.ROWS)
    what = (f"{meta['cpu']}, Linux {meta['kernel']}, {meta['date'][:10]}, {meta['commit']}; "
            f"median and range of {meta['rounds']} rounds of {meta['seconds']} s")
    body = [text(LEFT, 26, "Applications between two nodes on one machine", "title", "start"),
            text(LEFT, 46, what, "soft", "start")] + legend(70)
    y = TOP + 24
    for field, title in (("value", "requests per second: more is better"),
                         ("p99_ms", "99th percentile of latency: less is better"),
                         ("cpu", "CPU time per request: less is better")):
        more, y = panels([r for r in rows if r["field"] == field], y, title)
        body += more
    return body, y


def svg(body, height, label):
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
          f'width="{WIDTH}" height="{height:.0f}" role="img" aria-label="{label}">')
    print(f"<style>{STYLE}</style>")
    print('<rect width="100%" height="100%" class="back"/>')
    print("\n".join(body))
    print("</svg>")


def main():
    args = [a for a in sys.argv[1:] if a != "--latency"]
    if len(args) != 1:
        sys.exit(__doc__)
    with open(args[0], encoding="utf-8") as f:
        results = json.load(f)
    if len(args) != len(sys.argv) - 1:
        svg(*latency_svg(results), "distribution of the times of round trips")
        return
    if results["meta"].get("kind") == "icount":
        svg(*icount_svg(results), "instructions of host, overlay and xmasq")
        return
    if results["meta"].get("kind") == "apps":
        svg(*apps_svg(results), "applications over xmasq, overlay and host")
        return
    meta, rows = results["meta"], table.summarise(results["samples"])
    rates = [r for r in rows if r["better"]]
    costs = [r for r in rows if not r["better"]]
    what = (f"{meta['cpu']}, Linux {meta['kernel']}, {meta['date'][:10]}, {meta['commit']}; "
            f"median and range of {meta['rounds']} rounds of {meta['seconds']} s")
    body = [text(LEFT, 26, "xmasq between two nodes on one machine", "title", "start"),
            text(LEFT, 46, what, "soft", "start")]
    body += legend(70)
    more, y = panels(rates, TOP + 24, "rates: more is better")
    body += more
    more, y = panels(costs, y, "CPU time per transaction or byte: less is better")
    svg(body + more, y, "xmasq, overlay and host as ratios to the bare host")


if __name__ == "__main__":
    main()
