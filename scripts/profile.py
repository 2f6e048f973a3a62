#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Where the instructions of a transaction are spent, from "bench.sh --vm --profile".

  profile.py collect RAW DIR      JSON to stdout; RAW: what bench-guest.sh printed, DIR: what the
                                  plugin counted (blocks.N) and where the kernel's functions
                                  were (symbols.N)
  profile.py text [--top N] JSON  tables: each case beside the first one

A function is what /proc/kallsyms names, BPF programs among them (their numbers left out); user
space is one.
"""

import argparse
import bisect
import collections
import json
import re
import signal
import sys

TOP = 30
USER = "(user space)"
PROGRAM = re.compile(r"^bpf_prog_[0-9a-f]{16}_")


def blocks(path):
    with open(path, encoding="ascii") as f:
        return {int(addr, 16): int(count) for addr, count in map(str.split, f)}


class Symbols:
    """Function of an address"""

    def __init__(self, path):
        with open(path, encoding="ascii") as f:
            lines = [line.split() for line in f]
        text = sorted((int(words[0], 16), words[2]) for words in lines if words[1] in "tTwW")
        self.addresses = [address for address, _ in text]
        self.names = [PROGRAM.sub("bpf: ", name) for _, name in text]

    def name(self, address):
        return self.names[bisect.bisect_right(self.addresses, address) - 1] if address else USER


def functions(before, after, symbols):
    result = collections.Counter()
    for address, count in after.items():
        result[symbols.name(address)] += count - before.get(address, 0)
    return result


def collect(raw, directory):
    cases = []
    with open(raw, encoding="utf-8") as f:
        for line in map(json.loads, f):
            if "profile" not in line:
                continue
            number, rounds = line["profile"], line["rounds"]
            counts = [blocks(f"{directory}/blocks.{number + i}") for i in range(3)]
            symbols = Symbols(f"{directory}/symbols.{number}")
            few = functions(counts[0], counts[1], symbols)
            many = functions(counts[1], counts[2], symbols)
            spent = {name: round((many[name] - few[name]) / rounds, 1) for name in {**few, **many}}
            cases.append({"case": line["case"], "kind": line["kind"],
                          "total": round(sum(spent.values()), 1),
                          "functions": {name: n for name, n in sorted(
                              spent.items(), key=lambda item: -item[1]) if abs(n) >= 0.5}})
    if not cases:
        sys.exit("profile.py: nothing was profiled")
    return {"kind": "profile", "cases": cases}


def print_case(case, base, top):
    mine, other = case["functions"], base["functions"]
    print(f"{case['case']}, {case['kind']}: {case['total']:.0f} instructions a transaction", end="")
    if case is base:
        print(":\n\n   here  function")
        for name, count in list(mine.items())[:top]:
            print(f"{count:7.0f}  {name}")
        print()
        return
    print(f", {case['total'] - base['total']:+.0f} against {base['case']}:\n\n   here   more  function")
    more = {name: mine.get(name, 0) - other.get(name, 0) for name in {**mine, **other}}
    for name, count in sorted(more.items(), key=lambda item: -abs(item[1]))[:top]:
        print(f"{mine.get(name, 0):7.0f} {count:+6.0f}  {name}")
    print()


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    actions = parser.add_subparsers(dest="action", required=True)
    action = actions.add_parser("collect")
    action.add_argument("raw")
    action.add_argument("directory")
    action = actions.add_parser("text")
    action.add_argument("--top", type=int, default=TOP)
    action.add_argument("json")
    args = parser.parse_args()
    if args.action == "collect":
        json.dump(collect(args.raw, args.directory), sys.stdout, indent=1)
        print()
        return
    with open(args.json, encoding="utf-8") as f:
        cases = json.load(f)["cases"]
    for kind in dict.fromkeys(case["kind"] for case in cases):
        of_kind = [case for case in cases if case["kind"] == kind]
        for case in of_kind:
            print_case(case, of_kind[0], args.top)


if __name__ == "__main__":
    main()
