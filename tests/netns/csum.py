#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""csum.py SADDR SPORT DADDR DPORT DMAC START OFFSET COUNT

Sends COUNT UDP datagrams of a flow on eth0 through a packet socket, with a virtio-net header
that asks whoever sends them on to write a checksum of the bytes from START to START + OFFSET.
A pod with CAP_NET_RAW can do that.
"""
import socket
import struct
import sys

SOL_PACKET, PACKET_VNET_HDR, NEEDS_CSUM = 263, 15, 1


def csum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def main():
    saddr, sport, daddr, dport, dmac, start, offset, count = sys.argv[1:]
    payload = b"whose checksum is this"
    udp = struct.pack("!HHHH", int(sport), int(dport), 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0x4000, 64, 17, 0,
                     socket.inet_aton(saddr), socket.inet_aton(daddr))
    ip = ip[:10] + struct.pack("!H", csum(ip)) + ip[12:]
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.bind(("eth0", 0x0800))
    frame = bytes.fromhex(dmac.replace(":", "")) + sock.getsockname()[4] + b"\x08\x00" + ip + udp
    for _ in range(int(count)):
        sock.send(struct.pack("<BBHHHH", NEEDS_CSUM, 0, 0, 0, int(start), int(offset)) + frame)


main()
