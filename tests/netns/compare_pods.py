#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""compare_pods.py - did each pod receive, packet by packet, what the other sent?

usage: compare_pods.py PCAP-A ADDRESS-A PCAP-B ADDRESS-B

The captures are of the interfaces of pods A and B, which offload nothing. Packets must be
equal in every byte but TTL and IP checksum, and valid. The TTL tells the path: unchanged on
the fast path, two hops less on the overlay.

Prints two lines of JSON: what B received from A, then what A received from B. Exit status 1
when the captures differ, with the packets on stderr.
"""
import collections
import json
import sys

sys.dont_write_bytecode = True
# pylint: disable=wrong-import-position
from frames import frames, ipv4  # noqa: E402

OVERLAY_HOPS = 2
SHOWN = 10  # complaints


def read(path, sender):
    """Its packets by what must not change on the way, and their Ethernet addresses."""
    packets = collections.defaultdict(list)
    macs = set()
    for frame in frames(path):
        packet = ipv4(frame)
        if packet is None or packet.src != sender:
            continue
        if packet.cut:
            raise ValueError(f"{path} has only a part of {packet}")
        data = bytearray(packet.data)
        data[8] = 0
        data[10:12] = b"\0\0"
        packets[bytes(data)].append(packet)
        macs.add((frame[:6].hex(":"), frame[6:12].hex(":")))
    return packets, macs


def compare(sent, received, macs):
    """What to print, and what is wrong."""
    bad = []
    out = {"packets": 0, "fast": 0, "overlay": 0, "fast_tos": set(), "fast_df": set(),
           "fast_ids": set(), "fast_no_checksum": 0, "macs": macs}
    for key, packets in received.items():
        origin = sent.get(key, [])
        if len(origin) < len(packets):
            bad += [f"received, never sent: {p}" for p in packets[len(origin):]]
            continue
        for packet in packets:
            hops = origin[0].ttl - packet.ttl
            out["packets"] += 1
            if not packet.ip_valid or packet.l4_valid is False:
                bad.append(f"invalid checksum: {packet}")
            if hops == OVERLAY_HOPS:
                out["overlay"] += 1
            elif hops == 0:
                out["fast"] += 1
                out["fast_tos"].add(packet.tos)
                out["fast_df"].add(packet.df)
                out["fast_ids"].add(packet.id)
                out["fast_no_checksum"] += packet.l4_valid is None
            else:
                bad.append(f"{hops} hops: {packet}")
    for key, packets in sent.items():
        missing = len(packets) - len(received.get(key, []))
        if missing > 0:
            bad.append(f"sent, not received ({missing}): {packets[0]}")
    out["fast_ids"] = len(out["fast_ids"])
    return {k: sorted(v) if isinstance(v, set) else v for k, v in out.items()}, bad


def main():
    if len(sys.argv) != 5:
        print(__doc__, file=sys.stderr)
        return 2
    _, pcap_a, address_a, pcap_b, address_b = sys.argv
    complaints = []
    for sender, address, receiver in ((pcap_a, address_a, pcap_b), (pcap_b, address_b, pcap_a)):
        sent, _ = read(sender, address)
        received, macs = read(receiver, address)
        out, bad = compare(sent, received, macs)
        print(json.dumps(out))
        complaints += bad
    for line in complaints[:SHOWN]:
        print(line, file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
