#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Make figures of what "bench.sh --vm --icount" measured.

  icount.py collect META RAW...  results as JSON, to stdout; META: JSON about the whole, RAW:
                                 what bench-guest.sh printed in one virtual machine each
  icount.py check RESULTS        exit 1, and what is wrong, unless all cases took their paths
                                 and the machines agree
  icount.py text RESULTS         a table for a terminal
  icount.py markdown RESULTS     the same for docs

The figure of a connection is the mean of the middle half of its windows. That of a machine is the
least of its connections, since something in the kernel adds 85 or 170 instructions to everything
in some of them; of overlay cases, which vary from one connection to the next, it is the mean of the
middle half. The result is the mean over the machines: what a round costs by itself. The mean of
all windows, in which the rest of the machine has its part (timers, daemons, leases renewed), is
in the JSON.
"""

import json
import signal
import statistics
import sys

KINDS = {"tcp-rr": "TCP transaction", "udp-rr": "UDP transaction", "tcp-stream": "MiB of TCP",
         "tcp-crr": "TCP connection"}
MIB = 1 << 20
AGREE = 0.005  # the machines, of the smallest figure
AGREE_PROGRAM = 0.02  # the same for one program: its maps' hash seeds are each machine's own
SHORT = "tcp-crr:"  # with the number of requests of a connection behind it: "--connections"
ON_PATH = 0.99  # share of the packets
SELDOM = 0.01  # runs of a program in a round: fewer say nothing about it


def units(out):
    """What one window has: transactions, or MiB"""
    if out["mode"] == "tcp-stream":
        return out["rounds"] * out["bytes"] / MIB
    return out["rounds"]


def middle(values):
    """The mean of the middle half: without what happens seldom, and not one of two humps"""
    cut = len(values) // 4
    return statistics.mean(sorted(values)[cut:len(values) - cut])


def spread(values):
    return (max(values) - min(values)) / min(values) if min(values) > 0 else 0.0


# ---- one machine ----

def counted(links, device):
    """packets and bytes of a device of node 1, both ways"""
    for link in links:
        if link["ifname"] == device:
            stats = link["stats64"]
            return [sum(stats[way][what] for way in ("rx", "tx")) for what in ("packets", "bytes")]
    return [0, 0]


def by_kind(replies):
    """packets on the fast path, and of pods on the overlay, by the counters of all xmasqd"""
    counters = [c for reply in replies for c in reply["result"]["counters"]]
    return (sum(c["packets"] for c in counters if c["name"] == "masqueraded"),
            sum(c["packets"] for c in counters if c["kind"] == "overlay"))


def path(case, line):
    """Which way the packets of one run went: by the devices warm-up included, by xmasqd without"""
    out = line["out"]
    nic, tunnel = ([a - b for a, b in zip(counted(line["after"], case[dev]),
                                          counted(line["before"], case[dev]))]
                   for dev in ("nic", "tunnel"))
    rounds = out["warmup"] + out["rounds"] * len(out["ns"])
    result = {"nic_packets": nic[0], "tunnel_packets": tunnel[0],
              "wire": nic[1] / (rounds * out["bytes"]),
              "tunnel": tunnel[0] / nic[0] if nic[0] else 0.0, "fast": None}
    if "after" in out:
        fast, overlay = (a - b for a, b in zip(by_kind(out["after"]), by_kind(out["before"])))
        result["fast"] = fast / (fast + overlay) if fast + overlay else 0.0
    return result


def programs(line, empty):
    """name -> runs in a round, instructions of a run, without those that the clock takes"""
    names = {p["id"]: p["name"] for p in line["list"]}
    out, by_name = line["programs"], {}
    for p in out["programs"]:
        # Node 1's and node 2's. Of a pod's copy of a program the kernel knows 15 characters.
        name = max((n for n in names.values() if n.startswith(names[p["id"]])), key=len)
        by_name.setdefault(name, []).append(p)
    result = {}
    for name, both in by_name.items():
        ns, runs = ([sum(w) for w in zip(*(p[what] for p in both))] for what in ("ns", "runs"))
        if sum(runs) < SELDOM * out["rounds"] * len(runs):
            continue
        per_run = statistics.median(n / r for n, r in zip(ns, runs) if r)
        result[name] = {"runs": statistics.median(runs) / out["rounds"], "raw": per_run,
                        "net": per_run - empty}
    return result


def read_machine(name):
    with open(name, encoding="utf-8") as f:
        lines = [json.loads(line) for line in f]
    if not lines or "empty" not in lines[0]:
        sys.exit(f"{name}: not what bench-guest.sh prints")
    empty = lines[0]["empty"]["ns"] / lines[0]["empty"]["runs"]
    machine = {"kernel": lines[0]["kernel"], "empty": empty, "cases": {}}
    for line in lines[1:]:
        case = machine["cases"].setdefault(line["case"], {"figures": {}, "programs": {}})
        if "overlay" in line:
            case.update(line)
        elif "out" in line:
            out, per = line["out"], units(line["out"])
            case["figures"].setdefault(line["kind"], []).append({
                "value": middle(out["ns"]) / per,
                "mean": statistics.mean(out["ns"]) / per,
                "windows": out["ns"], "rounds": out["rounds"], "idle_ms": out["idle_ms"],
                "command": line["command"], "path": path(case, line),
            })
        else:
            case["programs"][line["kind"]] = programs(line, empty)
    return machine


# ---- all machines ----

def join_figure(what, machines):
    """One figure of the connections of every machine"""
    one_of = middle if what == "overlay" else min
    values = [one_of([c["value"] for c in connections]) for connections in machines]
    every = [c for connections in machines for c in connections]
    return {
        "value": statistics.mean(values), "mean": statistics.mean(c["mean"] for c in every),
        "spread": spread(values), "machines": values, "command": every[0]["command"],
        "rounds": every[0]["rounds"],
        "connections": [[c["value"] for c in connections] for connections in machines],
        "windows": [[c["windows"] for c in connections] for connections in machines],
        "idle_ms": max(c["idle_ms"] for c in every), "paths": [c["path"] for c in every],
    }


def join_programs(machines):
    """One list of a kind: programs that every machine has"""
    result = []
    for name in machines[0]:
        if all(name in m for m in machines):
            values = [m[name]["net"] for m in machines]
            result.append({"name": name, "instructions": statistics.mean(values),
                           "machines": values, "spread": spread([m[name]["raw"] for m in machines]),
                           "runs": statistics.mean(m[name]["runs"] for m in machines)})
    return result


def collect(meta, names):
    machines = [read_machine(name) for name in names]
    with open(meta, encoding="utf-8") as f:
        result = {"meta": json.load(f)}
    result["meta"].update(kernel=machines[0]["kernel"], machines=len(machines),
                          empty_program=statistics.mean(m["empty"] for m in machines))
    result["cases"] = []
    for name, first in machines[0]["cases"].items():
        all_of = [m["cases"][name] for m in machines]
        result["cases"].append({
            **{k: first[k] for k in ("case", "overlay", "pod", "rules", "what", "commands")},
            "figures": {k: join_figure(first["what"], [c["figures"][k] for c in all_of])
                        for k in first["figures"]},
            "programs": {k: join_programs([c["programs"][k] for c in all_of])
                         for k in first["programs"]},
        })
    return result


def is_short(kind):
    """Connections that are over before, or soon after, they get to the fast path"""
    return kind.startswith("tcp-crr")


def wrong_path(what, kind, figure, p):
    """Why this run is not what its case says, or None"""
    if p["wire"] < 1:
        return "did not cross the wire between the nodes"
    if figure["idle_ms"]:
        return f"the CPU was idle for {figure['idle_ms']} ms: time was not instructions"
    if what == "overlay" and p["tunnel"] < ON_PATH:
        return f"only {p['tunnel']:.2%} of its packets were in the tunnel"
    if what == "host" and p["tunnel"] > 1 - ON_PATH:
        return f"{p['tunnel']:.2%} of its packets were in the tunnel"
    if (what not in ("host", "overlay") and not is_short(kind) and
            (p["fast"] or 0) < ON_PATH):
        return f"only {p['fast'] or 0:.2%} of its packets were on the fast path"
    return None


def complaints(results):
    out = []
    for case in results["cases"]:
        for kind, figure in case["figures"].items():
            where = f"{case['case']}, {kind}"
            wrong = {wrong_path(case["what"], kind, figure, p) for p in figure["paths"]} - {None}
            out += [f"{where}: {text}" for text in sorted(wrong)]
            if figure["spread"] >= AGREE:
                values = " and ".join(f"{v:.0f}" for v in figure["machines"])
                out.append(f"{where}: repeats differ by {figure['spread']:.2%} ({values})")
        for kind, programs_of in case["programs"].items():
            out += [f"{case['case']}, {kind}: runs of {p['name']} differ by {p['spread']:.2%}"
                    for p in programs_of if p["runs"] >= 0.5 and p["spread"] >= AGREE_PROGRAM]
    return out


# ---- tables ----

def number(value, digits=0):
    return f"{value:,.{digits}f}".replace(",", " ")


def find(results, what, rules, overlay=None):
    for case in results["cases"]:
        if case["what"] == what and case["rules"] == rules and overlay in (None, case["overlay"]):
            return case
    return None


def ratio(base, case, kind):
    """How many times as much the base takes: rates compare like this"""
    if not base or kind not in base["figures"] or kind not in case["figures"]:
        return "-"
    return f"{base['figures'][kind]['value'] / case['figures'][kind]['value']:.3f}"


def measured(results, what):
    """Kinds for the columns of a table, none if "--connections" was all"""
    there = {k for case in results["cases"] for k in case[what]}
    if not there & KINDS.keys():
        return []
    # An older bench had no short connections.
    return [k for k in KINDS if k in there or not is_short(k)]


def rows(results, rules):
    """Cells of one table, its head first"""
    kinds = measured(results, "figures")
    if not kinds:
        return []
    head = [""]
    for kind in kinds:
        head += [KINDS[kind], "of host", "of overlay"]
    lines = [head + ["± %"]]
    for case in results["cases"]:
        if case["rules"] != rules:
            continue
        host = find(results, "host", rules)
        overlay = None if case["what"] in ("host", "overlay") else find(
            results, "overlay", rules, case["overlay"])
        line = [case["case"].removesuffix("+rules")]
        for kind in kinds:
            figure = case["figures"].get(kind)
            line += ([number(figure["value"]), ratio(host, case, kind), ratio(overlay, case, kind)]
                     if figure else ["-"] * 3)
        worst = max((f["spread"] for f in case["figures"].values()), default=0)
        lines.append(line + [f"{worst * 100:.2f}"])
    return lines


def break_even(overlay, case):
    """Requests of a connection from which on the case takes no more than the overlay, or None"""
    more = sorted((int(k.removeprefix(SHORT)), f["value"] - overlay["figures"][k]["value"])
                  for k, f in case["figures"].items()
                  if k.startswith(SHORT) and k in overlay["figures"])
    # The last crossing: what is less by chance among short ones is not it.
    for (few, above), (many, below) in reversed(list(zip(more, more[1:]))):
        if above > 0 >= below:
            return few + (many - few) * above / (above - below)
    return more[0][0] if more and all(m <= 0 for _, m in more) else None


def connection_rows(results, rules):
    """Connections of so many requests, as connections a second of the overlay's"""
    kinds = {k for case in results["cases"] for k in case["figures"] if k.startswith(SHORT)}
    kinds = sorted(kinds, key=lambda k: int(k.removeprefix(SHORT)))
    if not kinds:
        return []
    lines = [["requests"] + [k.removeprefix(SHORT) for k in kinds] + ["break-even", "± %"]]
    for case in results["cases"]:
        if case["rules"] != rules:
            continue
        name, even = case["case"].removesuffix("+rules"), "-"
        line = [f"{name}, instructions"] + [
            number(case["figures"][k]["value"]) if k in case["figures"] else "-" for k in kinds]
        overlay = None if case["what"] in ("host", "overlay") else find(
            results, "overlay", rules, case["overlay"])
        if overlay:
            even = break_even(overlay, case)
            even = "none" if even is None else f"{even:.1f}"
        worst = max((case["figures"][k]["spread"] for k in kinds if k in case["figures"]),
                    default=0)
        lines.append(line + [even, f"{worst * 100:.2f}"])
        if overlay:
            lines.append([f"{name}, of overlay"] +
                         [ratio(overlay, case, k) for k in kinds] + ["", ""])
    return lines


def program_rows(results):
    kinds = (measured(results, "programs") or
             list(dict.fromkeys(k for case in results["cases"] for k in case["programs"])))
    head = ["", "program"]
    for kind in kinds:
        name = KINDS.get(kind, f"of {kind.removeprefix(SHORT)}")
        head += ["in a run", f"runs per {'64 KiB' if 'MiB' in name else name}"]
    lines = [head]
    for case in results["cases"]:
        names = {p["name"]: None for of in case["programs"].values() for p in of}
        for name in names:
            line = [case["case"], name]
            for kind in kinds:
                p = next((p for p in case["programs"].get(kind, []) if p["name"] == name), None)
                line += [number(p["instructions"]), f"{p['runs']:.2f}"] if p else ["-", "-"]
            lines.append(line)
    return lines


def headline(results):
    m = results["meta"]
    return (f"Linux {m['kernel']}, {m['qemu']}, {m['date']}, commit {m['commit']}; "
            f"{m['machines']} machines.")


TITLES = {False: "Bare node: no firewall rules, no connection tracking",
          True: "Node with the rules and connection tracking of kube-proxy"}
EXPLAIN = ("Instructions, both ends and the kernel. \"Of host\" and \"of overlay\" are rates: the "
           "host's (the overlay's) instructions divided by this case's; more is better.")


def print_text(lines):
    width = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    words = 2 if lines[0][1] == "program" else 1
    for line in lines:
        print("  " + "  ".join(cell.ljust(w) if i < words else cell.rjust(w)
                               for i, (cell, w) in enumerate(zip(line, width))).rstrip())


def print_markdown(lines):
    words = 2 if lines[0][1] == "program" else 1
    for i, line in enumerate(lines):
        print("| " + " | ".join(line) + " |")
        if i == 0:
            print("|" + "|".join(["---"] * words + ["---:"] * (len(line) - words)) + "|")


def print_results(results, markdown):
    show = print_markdown if markdown else print_text
    print(headline(results))
    if markdown:
        print(f"`{results['meta']['command']}`")
    print("\n" + EXPLAIN)
    for rules, title in TITLES.items():
        lines = rows(results, rules)
        if len(lines) > 1:
            print(f"\n{'**' if markdown else ''}{title}{'**' if markdown else ''}\n")
            show(lines)
        lines = connection_rows(results, rules)
        if len(lines) > 1:
            print(f"\n{title}: connections, by how many requests they have\n")
            show(lines)
    lines = program_rows(results)
    if len(lines) > 1:
        print(f"\nOne run of a BPF program, instructions of its helpers included; taken off are "
              f"the {results['meta']['empty_program']:.0f}\nof a program that does nothing, which "
              f"the statistics take. The runs are those of both nodes.\n")
        show(lines)


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if len(sys.argv) > 3 and sys.argv[1] == "collect":
        json.dump(collect(sys.argv[2], sys.argv[3:]), sys.stdout, indent=1)
        print()
        return
    if len(sys.argv) != 3 or sys.argv[1] not in ("check", "text", "markdown"):
        sys.exit(__doc__)
    with open(sys.argv[2], encoding="utf-8") as f:
        results = json.load(f)
    if sys.argv[1] == "check":
        bad = complaints(results)
        print("".join(f"  {text}\n" for text in bad), end="")
        sys.exit(1 if bad else 0)
    print_results(results, sys.argv[1] == "markdown")


if __name__ == "__main__":
    main()
