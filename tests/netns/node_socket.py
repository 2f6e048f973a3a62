#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Ordinary sockets that do what they should not.

node_socket.py send tcp|udp SOURCE-PORT ADDRESS PORT COUNT TOS
node_socket.py listen tcp|udp PORT              "ready", then a line for whatever arrives
node_socket.py marks ADDRESS PORT SOURCE-PORT [MARK...]
                                                UDP with many marks; prints their number
node_socket.py mark PIN-DIR                     prints the secret mark of xmasq's own packets
"""

import json
import random
import socket
import struct
import subprocess
import sys

MAGIC = b"XMASQ-CRAFTED."
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def bound(proto, port):
    """A socket with that port, however reserved it is."""
    s = socket.socket(socket.AF_INET, KINDS[proto])
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("", port))
    return s


def send(proto, sport, host, dport, count, tos):
    """UDP datagrams, or one attempt to connect."""
    with bound(proto, int(sport)) as s:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, int(tos, 0))
        s.settimeout(0.3)
        if proto == "tcp":
            if s.connect_ex((host, int(dport))) == 0:
                sys.exit("connected")
            return
        for _ in range(int(count)):
            s.sendto(MAGIC * 4, (host, int(dport)))


def listen(proto, port):
    """Tells of every datagram and connection."""
    with bound(proto, int(port)) as s:
        if proto == "tcp":
            s.listen()
        print("ready", flush=True)
        while True:
            who = s.accept() if proto == "tcp" else s.recvfrom(2048)
            print(who, flush=True)


def marks(host, port, sport, *more):
    """The mark of our own packets is 32 random bits."""
    numbers = list(range(1, 256)) + [1 << b for b in range(32)] + [0xFFFFFFFF, 0xDEADBEEF, port]
    numbers += [(1 << b) - 1 for b in range(2, 33)] + [0x4000, 0x8000, 0xC000, 0x10000, 0xA00]
    rnd = random.Random(1)
    numbers += [rnd.getrandbits(32) for _ in range(1000)]
    numbers += [int(n) for n in more]
    with bound("udp", int(sport)) as s:
        for n in numbers:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", int(n)))
            s.sendto(MAGIC, (host, int(port)))
    print(len(numbers))


def mark(pins):
    """struct xm_meta has it, for the daemon's successor."""
    dump = subprocess.check_output(["bpftool", "-j", "map", "dump", "pinned", pins + "/xm_meta"])
    meta = bytes(int(b, 16) for b in json.loads(dump)[0]["value"])
    print(struct.unpack_from("=4I", meta)[2])


{"send": send, "listen": listen, "marks": marks, "mark": mark}[sys.argv[1]](*sys.argv[2:])
