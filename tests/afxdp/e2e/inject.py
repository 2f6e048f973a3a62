#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Send crafted frames out of eth0: inject.py malformed | spoof IP | random COUNT

malformed: frames to the router that contradict themselves, one of each kind, on stdout how many
spoof IP:  claims of that address by MAC 02:00:00:00:66:66: answers, requests, announcements
random N:  frames to the router with IPv4 in the front and noise behind
"""

import random
import socket
import struct
import sys

ROUTER_MAC = bytes.fromhex("0200ac10ef0c")
LIAR = bytes.fromhex("020000006666")
ROUTER, CLIENT = bytes([172, 16, 239, 12]), bytes([172, 16, 239, 13])


def csum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip(payload, proto=6, total=None, version=0x45, frag=0, ttl=64, bad_sum=False, src=CLIENT):
    total = 20 + len(payload) if total is None else total
    head = struct.pack("!BBHHHBBH4s4s", version, 0, total, 7, frag, ttl, proto, 0, src, ROUTER)
    value = csum(head) ^ (0x5555 if bad_sum else 0)
    return head[:10] + struct.pack("!H", value) + head[12:] + payload


def tcp(offset=5):
    return struct.pack("!HHIIBBHHH", 999, 80, 1, 1, offset << 4, 2, 100, 0, 0)


def udp(length):
    return struct.pack("!HHHH", 999, 80, length, 0)


def malformed(mac):
    ether = ROUTER_MAC + mac + b"\x08\x00"
    arp = ROUTER_MAC + mac + b"\x08\x06"
    return [
        ether + ip(tcp())[:24],             # total length beyond the frame
        ether + ip(tcp(), total=19),
        ether + ip(tcp(), version=0x4f),    # header beyond the packet
        ether + ip(tcp(), version=0x44),
        ether + ip(tcp(), bad_sum=True),
        ether + ip(tcp(offset=4)),
        ether + ip(tcp(offset=15)),
        ether + ip(tcp()[:13]),
        ether + ip(udp(7), proto=17),
        ether + ip(udp(900), proto=17),
        ether + ip(b"\x08\x00\x00", proto=1),
        ether + ip(b"\x03\x03" + bytes(6) + b"\x45" + bytes(10), proto=1),
        ether + ip(tcp(), ttl=1),
        ether + ip(tcp(), src=bytes([9, 9, 9, 9])),
        arp + b"\0\1\x08\0\6\4\0\1" + mac,
        arp + b"\0\2\x08\0\6\4\0\1" + bytes(20),
        ROUTER_MAC + mac + b"\x81\x00\x00\x05\x08\x06",
    ]


def spoof(addr):
    claimed = socket.inet_aton(addr)
    everybody = b"\xff" * 6

    def frame(dst, op, spa, tha, tpa):
        return (dst + LIAR + b"\x08\x06\0\1\x08\0\6\4" + struct.pack("!H", op) + LIAR + spa
                + tha + tpa)

    return [
        frame(ROUTER_MAC, 2, claimed, ROUTER_MAC, ROUTER),
        frame(everybody, 1, claimed, bytes(6), claimed),
        frame(everybody, 2, claimed, everybody, claimed),
        frame(ROUTER_MAC, 1, claimed, bytes(6), ROUTER),
    ]


def noise(count):
    rng = random.Random(1)
    for _ in range(count):
        body = bytearray(ip(rng.randbytes(rng.randrange(60)), proto=rng.choice([1, 6, 17])))
        if rng.random() < 0.5:
            body[rng.randrange(len(body))] = rng.randrange(256)
        yield ROUTER_MAC + LIAR + b"\x08\x00" + bytes(body)


def main():
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    sock.bind(("eth0", 0))
    mac = sock.getsockname()[4]
    if sys.argv[1] == "malformed":
        frames = malformed(mac)
    elif sys.argv[1] == "spoof":
        frames = spoof(sys.argv[2])
    else:
        frames = noise(int(sys.argv[2]))
    sent = 0
    for frame in frames:
        sock.send(frame)
        sent += 1
    print(sent)


main()
