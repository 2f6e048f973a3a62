#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""check_pcap.py - does a capture of an underlay NIC keep to the wire format?

Every frame with the masquerade port or the overlay's port is checked:
  - IP, TCP and UDP checksums, inside the tunnel as well (--from: only of frames that this
    node sent; what the other's offloads left to do is not visible here)
  - masqueraded: owner's port 32768 + label <-> masquerade port of the other node; never SYN,
    FIN, RST, fragments or IP options
  - overlay: a source port below 32768 is a label, and only the owner tells one (Geneve: the
    other node's source ports mean nothing)
  - a label is told before it is used, belongs to one flow, and a flow has one label
The owner is the node with the lower address. The capture must begin before the flows do.

Prints a summary as JSON; exit status 1 and a line for each violation on stderr.
"""
import argparse
import json
import socket
import struct
import sys

sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from frames import FIN, RST, SYN, TCP, UDP, frames, ipv4  # noqa: E402

LABEL_BASE = 32768
SHOWN = 10  # violations


class Checker:
    def __init__(self, options):
        self.options = options
        self.bad = []
        self.told = {}    # (pair, proto, label) -> tuple of the pods
        self.flows = {}   # tuple of the pods -> what is known of the flow
        self.sum = dict.fromkeys(("masqueraded", "overlay", "labelled", "control",
                                  "checksums", "outer_checksums", "largest"), 0)

    def complain(self, number, what, packet):
        self.bad.append(f"frame {number}: {what}: {packet}")

    def valid(self, number, packet, what):
        if self.options.no_checksums:
            return
        if packet.cut:
            self.complain(number, f"{what}: cannot be verified, the capture cut it", packet)
        if not packet.ip_valid:
            self.complain(number, f"{what}: IP checksum", packet)
        if packet.l4_valid is False:
            self.complain(number, f"{what}: L4 checksum", packet)
        if packet.l4_valid is not None:
            self.sum["checksums"] += 1

    def ours(self, packet):
        """Whether its sender's checksums are complete at this place."""
        return not self.options.sender or packet.src == self.options.sender

    def flow(self, inner):
        ends = tuple(sorted([(inner.src, inner.sport), (inner.dst, inner.dport)]))
        key = (inner.proto,) + ends
        return key, self.flows.setdefault(key, {"labels": set(), "overlay": {}, "fast": {},
                                                "overlay_before_fast": {}})

    def inner_at(self, l4):
        """Where the tunnel's Ethernet frame is in a UDP datagram; Geneve may have options."""
        return 16 + (4 * (l4[8] & 0x3f) if self.options.overlay[0] == "geneve" else 0)

    def overlay(self, number, packet):
        self.sum["overlay"] += 1
        try:
            inner = ipv4(packet.l4[self.inner_at(packet.l4):])
        except (ValueError, struct.error):
            inner = None
        if self.ours(packet):
            self.valid(number, packet, "outer")
            self.sum["outer_checksums"] += packet.l4_sum != 0
            if inner:
                self.valid(number, inner, "inner")
        pair = sorted((packet.src, packet.dst), key=socket.inet_aton)
        label = packet.sport if packet.sport < LABEL_BASE else 0
        # Of Geneve the kernel takes any source port; only the owner's is looked at.
        if self.options.overlay[0] == "geneve" and packet.src != pair[0]:
            label = 0
        if not packet.sport:
            self.complain(number, "label 0", packet)
        if not inner or inner.fragment or inner.proto not in (TCP, UDP):
            if label:
                self.complain(number, "label on what is no flow", packet)
            return
        key, flow = self.flow(inner)
        flow["overlay"][packet.src] = flow["overlay"].get(packet.src, 0) + 1
        if not label:
            return
        self.sum["labelled"] += 1
        if packet.src != pair[0]:
            self.complain(number, "label told by who is not the owner", packet)
        if self.told.setdefault((*pair, inner.proto, label), key) != key:
            self.complain(number, f"label {label} of another flow", inner)
        flow["labels"].add(label)
        if len(flow["labels"]) > 1:
            self.complain(number, f"flow has labels {sorted(flow['labels'])}", inner)

    def masqueraded(self, number, packet):
        port = self.options.port
        owner = socket.inet_aton(packet.src) < socket.inet_aton(packet.dst)
        pair = (packet.src, packet.dst) if owner else (packet.dst, packet.src)
        mine, other = ((packet.sport, packet.dport) if owner else (packet.dport, packet.sport))
        if self.ours(packet):
            self.valid(number, packet, "masqueraded")
        if packet.sport == packet.dport or LABEL_BASE in (packet.sport, packet.dport):
            self.sum["control"] += 1
            return
        self.sum["masqueraded"] += 1
        self.sum["largest"] = max(self.sum["largest"], packet.length)
        if other != port or mine <= LABEL_BASE:
            self.complain(number, "not between owner's label port and masquerade port", packet)
            return
        if packet.flags & (SYN | FIN | RST) or packet.header_len != 20 or packet.fragment:
            self.complain(number, "belongs on the overlay", packet)
        key = self.told.get((*pair, packet.proto, mine - LABEL_BASE))
        if key is None:
            self.complain(number, f"label {mine - LABEL_BASE} was never told", packet)
            return
        flow = self.flows[key]
        if packet.src not in flow["fast"]:
            flow["overlay_before_fast"][packet.src] = flow["overlay"].get(packet.src, 0)
        flow["fast"][packet.src] = flow["fast"].get(packet.src, 0) + 1

    def read(self, path):
        for number, frame in enumerate(frames(path), 1):
            packet = ipv4(frame)
            if packet is None:
                continue
            if packet.proto == UDP and packet.dport == self.options.overlay[1]:
                self.overlay(number, packet)
            elif self.options.port in (packet.sport, packet.dport):
                self.masqueraded(number, packet)

    def report(self):
        flows = [{"protocol": "tcp" if proto == TCP else "udp",
                  "ends": [f"{a[0]}:{a[1]}", f"{b[0]}:{b[1]}"], **what,
                  "labels": sorted(what["labels"])}
                 for (proto, a, b), what in self.flows.items()]
        print(json.dumps({**self.sum, "violations": len(self.bad), "flows": flows}))
        for line in self.bad[:SHOWN]:
            print(line, file=sys.stderr)
        if len(self.bad) > SHOWN:
            print(f"and {len(self.bad) - SHOWN} more", file=sys.stderr)
        return 1 if self.bad else 0


def overlay(text):
    """An option's value."""
    kind, port = text.split(":")
    if kind not in ("vxlan", "geneve"):
        raise ValueError(text)
    return kind, int(port)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="sender", metavar="ADDRESS",
                        help="verify only checksums of this node's frames")
    parser.add_argument("--no-checksums", action="store_true")
    parser.add_argument("--port", type=int, default=18477)
    parser.add_argument("--overlay", metavar="TYPE:PORT", type=overlay, default=("vxlan", 8472),
                        help="vxlan:8472 or geneve:6081")
    parser.add_argument("file")
    options = parser.parse_args()
    checker = Checker(options)
    checker.read(options.file)
    return checker.report()


if __name__ == "__main__":
    sys.exit(main())
