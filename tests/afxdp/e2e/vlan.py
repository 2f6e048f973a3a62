#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A host in VLAN 5 of eth0, for kernels without VLAN interfaces: vlan.py ADDRESS [PING]

Answers ARP and echo requests with their tag. With PING, sends it ten echo requests, and ends: 0 when all
were answered in VLAN 5 and nothing came without a tag.
"""

import socket
import struct
import sys
import time

AUXDATA = 8  # PACKET_AUXDATA
TAG = b"\x81\x00\x00\x05"
ME = socket.inet_aton(sys.argv[1])
PING = socket.inet_aton(sys.argv[2]) if len(sys.argv) > 2 else None


def csum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def echo(mac, dst_mac, dst, kind, body):
    icmp = struct.pack("!BBH", kind, 0, 0) + body
    icmp = icmp[:2] + struct.pack("!H", csum(icmp)) + icmp[4:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0, ME, dst)
    ip = ip[:10] + struct.pack("!H", csum(ip)) + ip[12:]
    return dst_mac + mac + TAG + b"\x08\x00" + ip + icmp


def main():
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sock.bind(("eth0", 3))
    sock.setsockopt(263, AUXDATA, 1)
    sock.settimeout(0.2)
    mac = sock.getsockname()[4]
    print("ready", flush=True)
    answered, asked, end = 0, 0, time.monotonic() + 20
    while time.monotonic() < end and answered < 10:
        if PING and asked == answered:
            asked += 1
            sock.send(echo(mac, bytes.fromhex("0200ac10ef0c"), PING, 8,
                           struct.pack("!HH", 77, asked) + b"0123456789"))
        try:
            frame, aux, _, where = sock.recvmsg(2000, 100)
        except socket.timeout:
            continue
        if where[2] == socket.PACKET_OUTGOING or frame[:6] not in (mac, b"\xff" * 6):
            continue
        status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", aux[0][2])
        tagged = status & 0x10 and tci & 0xfff == 5
        kind = frame[12:14]
        if kind == b"\x08\x06" and frame[38:42] == ME and frame[20:22] == b"\0\1" and tagged:
            sock.send(frame[22:28] + mac + TAG + frame[12:20] + b"\0\2" + mac + ME + frame[22:32])
        elif kind == b"\x08\x00" and frame[23] == 1:
            if not tagged:
                sys.exit("an echo without the tag")
            if frame[34] == 8:
                sock.send(echo(mac, frame[6:12], frame[26:30], 0, frame[38:]))
            elif frame[34] == 0 and frame[38:40] == b"\0\x4d":
                answered += 1
    sys.exit(0 if not PING or answered == 10 else f"{answered} answers")


main()
