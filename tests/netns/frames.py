# SPDX-License-Identifier: GPL-2.0-only
"""Captured frames, as check_pcap.py and compare_pods.py need them.

Taken apart by hand: the headers are few, and scapy needs a millisecond for each frame.
"""
import array
import socket
import struct

TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
FIN, SYN, RST = 0x01, 0x02, 0x04


def checksum(data):
    """RFC 1071; 0 over data that holds its own right checksum."""
    total = sum(array.array("H", data + b"\0" if len(data) % 2 else data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Packet:
    """An IPv4 packet. l4_valid is None when there is nothing to verify: no checksum, a
    fragment, neither TCP nor UDP, or (cut) the capture does not have all of it."""

    def __init__(self, data):
        (first, self.tos, self.length, self.id, self.frag, self.ttl, self.proto, _,
         src, dst) = struct.unpack_from("!BBHHHBBH4s4s", data)
        if first >> 4 != 4:
            raise ValueError("not IPv4")
        self.cut = self.length > len(data)
        self.header_len = (first & 15) * 4
        self.src, self.dst = socket.inet_ntoa(src), socket.inet_ntoa(dst)
        self.data = data = data[:self.length]  # without the padding of short frames
        self.l4 = l4 = data[self.header_len:]
        self.df = bool(self.frag & 0x4000)
        self.fragment = bool(self.frag & 0x3fff)
        self.ip_valid = checksum(data[:self.header_len]) == 0
        self.sport = self.dport = self.flags = self.l4_sum = 0
        self.l4_valid = None
        if self.fragment or self.proto not in (TCP, UDP):
            return
        self.sport, self.dport = struct.unpack_from("!HH", l4)
        at = 16 if self.proto == TCP else 6
        self.l4_sum, = struct.unpack_from("!H", l4, at)
        if self.proto == TCP:
            self.flags = l4[13]
        if (self.proto == TCP or self.l4_sum) and not self.cut:
            pseudo = src + dst + struct.pack("!BBH", 0, self.proto, len(l4))
            self.l4_valid = checksum(pseudo + l4) == 0

    def __str__(self):
        return (f"{self.src}:{self.sport} > {self.dst}:{self.dport} proto {self.proto} "
                f"len {self.length} tos {self.tos:#x} id {self.id} frag {self.frag:#x} "
                f"ttl {self.ttl} flags {self.flags:#x} checksum {self.l4_sum:#06x}")


def ipv4(frame):
    """The packet of an Ethernet frame, None for other protocols."""
    return Packet(frame[14:]) if frame[12:14] == b"\x08\x00" else None


def frames(path):
    """Ethernet frames of a capture file that may still be growing."""
    with open(path, "rb") as file:
        magic, *_, link = struct.unpack("<IHHiIII", file.read(24))
        if magic != 0xa1b2c3d4 or link != 1:
            raise ValueError(f"{path}: not a little-endian pcap file of Ethernet frames")
        while len(head := file.read(16)) == 16:
            length = struct.unpack("<IIII", head)[2]
            frame = file.read(length)
            if len(frame) < length:
                return
            yield frame
