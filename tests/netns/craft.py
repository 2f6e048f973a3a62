#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Sends frames as an attacker crafts them: craft.py INTERFACE [options] EXPRESSION...

An expression is Python over scapy and over the functions below, and gives a frame or a list
of them. Every payload says MAGIC, so that a capture of a pod tells whether one got through.
Prints the number of frames sent.
"""

import argparse
import ipaddress
import logging
import os
import socket
import struct
import time

logging.getLogger("scapy").setLevel(logging.ERROR)
# pylint: disable=wrong-import-position,unused-import
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, fragment  # noqa: E402,F401
from scapy.layers.l2 import ARP, Dot1Q, Ether  # noqa: E402,F401
from scapy.layers.vxlan import VXLAN  # noqa: E402
from scapy.packet import Raw  # noqa: E402

P = 18477  # the masquerade port
MAGIC = b"XMASQ-CRAFTED."
HELLO, ANSWER, PROBE, NACK = 1, 2, 3, 4


def addr(who):
    """Address of a node (n1), a pod (n1p1) or of the outside host of a bed with a switch."""
    if who == "out":
        return "172.31.0.254"
    if who[0] != "n":
        return who
    node, _, pod = who[1:].partition("p")
    return f"10.244.{node}.{10 + int(pod)}" if pod else f"172.31.0.{node}"


def to(who, src=None):
    """Ethernet header to a node on the underlay, or (gw1) to the gateway of n1's pods."""
    if who.startswith("gw"):
        mac = f"0a:58:0a:f4:{int(who[2:]):02x}:01"
    else:
        mac = f"02:00:ac:1f:00:{ipaddress.ip_address(addr(who)).packed[3]:02x}"
    return Ether(dst=mac, src=src) if src else Ether(dst=mac)


def l4(proto, sport, dport, flags="A"):
    """A TCP or UDP header."""
    if proto == "tcp":
        return TCP(sport=sport, dport=dport, flags=flags, seq=1, ack=1)
    return UDP(sport=sport, dport=dport)


def masq(proto, src, dst, label, owner=True, data=MAGIC * 4, ip=None, flags="A"):
    """A packet of the masqueraded shape, as the owner of the flow or as the other node."""
    ports = (32768 + label, P) if owner else (P, 32768 + label)
    return IP(src=addr(src), dst=addr(dst), **(ip or {})) / l4(proto, *ports, flags) / Raw(data)


def both(src, dst, label):
    """TCP and UDP, in either direction's shape."""
    return [masq(p, src, dst, label, o) for p in ("tcp", "udp") for o in (True, False)]


def word(kind, body=b"", version=1, flags=0):
    """A message of xmasq itself."""
    return struct.pack(">IBBBB", 0x584D5351, version, kind, flags, 0) + body


def hello(src, dst, epoch=1, kind=HELLO):
    """A hello that knows nothing of its receiver."""
    body = struct.pack(">IIQQQQII", epoch, 0, 0x1122334455667788, 0, 0, 0, 1000, 0) + bytes(32)
    return IP(src=addr(src), dst=addr(dst)) / UDP(sport=P, dport=P) / Raw(word(kind, body))


def probe(proto, src, dst):
    """A path probe: label 0."""
    return masq(proto, src, dst, 0, data=word(PROBE, bytes(8)))


def nack(src, dst, label, proto=17):
    """A NACK for UDP; for TCP it is a RST."""
    body = struct.pack(">HBB", label, proto, 0)
    return IP(src=addr(src), dst=addr(dst)) / UDP(sport=P, dport=P) / Raw(word(NACK, body))


def tunnel(src, dst, inner, sport=40000, vtep=None):
    """An overlay packet as the bed's; inner is a pod's packet. vtep: number of the receiving
    node. Open vSwitch has one MAC for all nodes, and no network number."""
    ovs = os.environ["OVERLAY"].startswith("ovs-")
    mac = "aa:bb:cc:dd:ee:ff" if ovs else f"02:00:00:00:01:{int(vtep or dst[1:]):02x}"
    vni = 0 if ovs else 1
    if os.environ["TUNNEL_TYPE"] == "geneve":
        header = Raw(struct.pack("!BBHI", 0, 0, 0x6558, vni << 8))
    else:
        header = VXLAN(vni=vni, flags="Instance")
    return (IP(src=addr(src), dst=addr(dst)) /
            UDP(sport=sport, dport=int(os.environ["TUNNEL_PORT"])) / header /
            Ether(dst=mac, src="02:00:00:00:01:fe") / inner)


def pod(proto, src, dst, sport, dport, data=b"xmasq-overlay", flags="A"):
    """A pod's packet."""
    return IP(src=addr(src), dst=addr(dst)) / l4(proto, sport, dport, flags) / Raw(data)


def flat(value):
    """Frames of a value that may be a list of lists."""
    if isinstance(value, (list, tuple)):
        return [f for v in value for f in flat(v)]
    return [bytes(value)]


def main():
    """Build first, then send: building is what takes long."""
    ap = argparse.ArgumentParser()
    ap.add_argument("--repeat", type=int, default=1)
    ap.add_argument("--seconds", type=float, default=0, help="instead: over and over")
    ap.add_argument("--interval-ms", type=float, default=1, help="between frames")
    ap.add_argument("interface")
    ap.add_argument("expression", nargs="+")
    args = ap.parse_args()

    frames = []
    for e in args.expression:
        frames += flat(eval(e, globals()))  # pylint: disable=eval-used
    print("sending", flush=True)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind((args.interface, 0))
        end, sent, rounds = time.monotonic() + args.seconds, 0, 0
        while time.monotonic() < end if args.seconds else rounds < args.repeat:
            rounds += 1
            for f in frames:
                try:
                    s.send(f)
                    sent += 1
                except OSError:  # the queue is full: a flood goes on
                    time.sleep(0.001)
                if args.interval_ms:
                    time.sleep(args.interval_ms / 1000)
    print(sent)


main()
