#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Table and plot of what ./start measured: report.py RAW.CSV [--table FILE] [--plot FILE] [--title T]

Medians of the rounds; in the table with the smallest and the largest, and the ratio to the first
column, as the median of the ratios of each round. The plot shows these ratios.
"""

import argparse
import csv
import statistics
import sys
from xml.sax.saxutils import escape

MEASURES = [  # key, what it is, digits, whether more is better
    ("tcp1_up_gbit", "TCP, 1 stream, to the server, Gbit/s", 2, True),
    ("tcp1_down_gbit", "TCP, 1 stream, to the client, Gbit/s", 2, True),
    ("tcp8_up_gbit", "TCP, 8 streams, to the server, Gbit/s", 2, True),
    ("tcp8_down_gbit", "TCP, 8 streams, to the client, Gbit/s", 2, True),
    ("tcp1_up_cpu", "CPU time of all for 1 GB to the server, 1 stream, ms", 0, False),
    ("tcp1_down_cpu", "to the client, ms", 0, False),
    ("udp_mbit", "UDP of 200 Mbit/s that arrived, Mbit/s", 1, True),
    ("udp_loss_percent", "its loss, %", 2, False),
    ("pps", "64-byte frames that arrived, /s", 0, True),
    ("pps_sent", "of so many sent, /s", 0, None),
    ("pps_cpu", "CPU time of sender and router for a frame, ns", 0, False),
    ("pps_router_cpu", "of the router's process alone, ns", 0, False),
    ("flood", "64-byte frames that arrived of a flood made in the kernel, /s", 0, True),
    ("flood_made", "of so many made, /s", 0, None),
    ("flood_made_cpu", "CPU time of making one and of the router's interface, ns", 0, False),
    ("flood_router_cpu", "of the router's process for one that arrived, ns", 0, False),
    ("tcp_rtt_us", "TCP round trip, median, µs", 1, False),
    ("tcp_rtt_p99_us", "99th percentile, µs", 1, False),
    ("udp_rtt_us", "UDP round trip, median, µs", 1, False),
    ("udp_rtt_p99_us", "99th percentile, µs", 1, False),
    ("tcp_trip_us", "TCP round trip on one CPU, median, µs", 1, False),
    ("udp_trip_us", "UDP round trip on one CPU, median, µs", 1, False),
    ("ping_us", "ping, median, µs", 0, False),
    ("ping_p99_us", "99th percentile, µs", 0, False),
    ("ping_loss_percent", "its loss, %", 2, False),
    ("http_1k_s", "HTTP get, 1 KiB, s", 4, False),
    ("http_64k_s", "HTTP get, 64 KiB, s", 4, False),
    ("http_1m_s", "HTTP get, 1 MiB, s", 4, False),
    ("http_10m_s", "HTTP get, 10 MiB, s", 3, False),
    ("http_100m_s", "HTTP get, 100 MiB, s", 2, False),
]
WRONG = ["tcp_wrong", "udp_wrong", "http_wrong"]
PLOTTED = ["tcp1_up_gbit", "tcp1_down_gbit", "tcp8_up_gbit", "pps", "tcp1_up_cpu", "pps_cpu", "tcp_trip_us", "udp_trip_us",
           "http_100m_s"]
SHORT = {"tcp1_up_gbit": "TCP up", "tcp1_down_gbit": "TCP down", "tcp8_up_gbit": "TCP × 8",
         "pps": "64 bytes, /s", "tcp1_up_cpu": "CPU / GB", "pps_cpu": "CPU / frame", "tcp_trip_us": "TCP trip", "udp_trip_us": "UDP trip",
         "ping_us": "ping", "http_100m_s": "HTTP 100 M"}
COLOURS = ["#8c959f", "#4a7ebb", "#d4783c", "#1a7f7a", "#8a5fb0", "#b8860b", "#c2506b", "#5b8c3e"]


def read(path):
    """{router: {measure: {round: value}}}, routers in their order"""
    rows = {}
    with open(path, encoding="utf-8") as lines:
        for number, router, measure, value in csv.reader(lines):
            if value:
                rows.setdefault(router, {}).setdefault(measure, {})[int(number)] = float(value)
    return rows


def ratio(rows, router, base, key):
    mine, other = rows[router].get(key, {}), rows[base].get(key, {})
    pairs = [mine[r] / other[r] for r in mine if other.get(r)]
    return statistics.median(pairs) if pairs else None


def table(rows, title):
    routers = list(rows)
    base = routers[0]
    rounds = max((len(v) for m in rows.values() for v in m.values()), default=0)
    what = f"medians of {rounds} rounds (smallest to largest)" if rounds > 1 else "one round"
    out = [f"{title}; {what}, then the ratio to {base}", "",
           "| | " + " | ".join(routers) + " |", "|---|" + "---:|" * len(routers)]
    for key, text, digits, _ in MEASURES:
        if not any(key in rows[r] for r in routers):
            continue
        cells = []
        for router in routers:
            values = list(rows[router].get(key, {}).values())
            if not values:
                cells.append("none")
                continue
            cell = f"{statistics.median(values):.{digits}f}"
            if len(values) > 1:
                cell += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
            times = ratio(rows, router, base, key) if router != base else None
            if times is not None:
                cell += f" {times:.2f}×"
            cells.append(cell)
        out.append(f"| {text} | " + " | ".join(cells) + " |")
    wrong = {r: sum(len(rows[r].get(w, {})) for w in WRONG) for r in routers}
    out.append("| rounds with a transfer that failed | "
               + " | ".join(str(wrong[r]) for r in routers) + " |")
    return "\n".join(out) + "\n"


def panel(rows, keys, top, height, name):
    """One set of groups of bars, with its own scale: figures of which more, or less, is better."""
    routers, base = list(rows), list(rows)[0]
    left, width, bottom = 50, 850, top + height
    shown = {(k, r): ratio(rows, r, base, k) or 0 for k in keys for r in routers}
    most = max(list(shown.values()) + [1]) * 1.08
    line = bottom - height / most
    out = [f'<text x="{left}" y="{top - 10}">{name}</text>',
           f'<path d="M{left} {line:.1f}H{left + width - 20}" stroke="#999" stroke-dasharray="4 3"/>',
           f'<text x="{left - 8}" y="{line + 4:.1f}" text-anchor="end">1</text>',
           f'<path d="M{left} {bottom}H{left + width - 20}" stroke="#333"/>']
    group = (width - 20) / max(len(keys), 1)
    bar = group * 0.8 / len(routers)
    for g, key in enumerate(keys):
        x0 = left + g * group + group * 0.1
        for i, router in enumerate(routers):
            tall = height * shown[key, router] / most
            mid = x0 + (i + 0.5) * bar
            out.append(f'<rect x="{x0 + i * bar + 1:.1f}" y="{bottom - tall:.1f}" '
                       f'width="{bar - 2:.1f}" height="{tall:.1f}" fill="{COLOURS[i % 8]}"/>'
                       f'<text x="{mid:.1f}" y="{bottom - tall - 3:.1f}" class="v" '
                       f'text-anchor="middle">{shown[key, router]:.2f}</text>')
        out.append(f'<text x="{x0 + group * 0.4:.1f}" y="{bottom + 18}" text-anchor="middle">'
                   f"{SHORT[key]}</text>")
    return out


def plot(rows, title):
    routers, base = list(rows), list(rows)[0]
    keys = [k for k in PLOTTED if all(ratio(rows, r, base, k) is not None for r in routers)]
    better = {key: more for key, _, _, more in MEASURES}
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 560">',
           "<style>text{font:12px system-ui,sans-serif;fill:#1f2328}"
           ".t{font-size:15px;font-weight:600}.v{font-size:10px}</style>",
           '<rect width="900" height="560" fill="#fff"/>',
           f'<text x="50" y="24" class="t">Ratio to {escape(base)}: {escape(title)}</text>']
    x = 50
    for i, router in enumerate(routers):
        out.append(f'<rect x="{x}" y="38" width="12" height="12" fill="{COLOURS[i % 8]}"/>'
                   f'<text x="{x + 17}" y="48">{escape(router)}</text>')
        x += 40 + 7 * len(router)
    out += panel(rows, [k for k in keys if better[k]], 90, 180, "more is better")
    out += panel(rows, [k for k in keys if not better[k]], 330, 190, "less is better")
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("raw")
    args.add_argument("--table")
    args.add_argument("--plot")
    args.add_argument("--title", default="")
    args = args.parse_args()
    rows = read(args.raw)
    if not rows:
        sys.exit(f"report: {args.raw} has no figures")
    text = table(rows, args.title)
    if args.table:
        with open(args.table, "w", encoding="utf-8") as out:
            out.write(text)
    else:
        sys.stdout.write(text)
    if args.plot:
        with open(args.plot, "w", encoding="utf-8") as out:
            out.write(plot(rows, args.title))


main()
