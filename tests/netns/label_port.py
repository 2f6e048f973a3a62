#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A source port whose flow gets a wanted label first: label_hash() of tc_prog/label.h.

label_port.py PIN-DIR SOURCE DESTINATION PORT LABEL; prints nothing when there is none.
"""

import json
import socket
import struct
import subprocess
import sys

MASK = 0xFFFFFFFF


def word(address):
    """An address as the programs load it."""
    return struct.unpack("=I", socket.inet_aton(address))[0]


def main():
    """The seed is in the daemon's notes."""
    pins, saddr, daddr, dport, label = sys.argv[1:]
    dump = subprocess.check_output(["bpftool", "-j", "map", "dump", "pinned", pins + "/xm_meta"])
    meta = bytes(int(b, 16) for b in json.loads(dump)[0]["value"])
    seed = struct.unpack_from("=4I", meta)[3]
    for sport in range(1025, 32768):
        h = seed ^ word(saddr)
        h = ((h ^ h >> 16) * 0x85EBCA6B ^ word(daddr)) & MASK
        h = ((h ^ h >> 13) * 0xC2B2AE35) & MASK
        h ^= socket.htons(sport) << 16 | socket.htons(int(dport))
        h = ((h ^ h >> 16) * 0x85EBCA6B) & MASK
        h = ((h ^ h >> 13) * 0xC2B2AE35) & MASK
        if (h ^ h >> 16) & 0x7FFF == int(label):
            print(sport)
            return


main()
