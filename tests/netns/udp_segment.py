#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""udp_segment.py - UDP with segmentation offload (UDP_SEGMENT), as QUIC servers use it.

  udp_segment.py server PORT
  udp_segment.py client ADDRESS PORT

The client sends batches of equal datagrams as one packet each; the server returns every
datagram, and the client compares. One batch is under way at a time. Exit status 1 when
anything is wrong or lost.
"""
import random
import socket
import sys

UDP_SEGMENT = 103  # linux/udp.h
BATCHES, PER_BATCH, SEGMENT = 40, 20, 1400


def serve(port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind(("", port))
    print("listening", flush=True)
    while True:
        data, peer = sock.recvfrom(65536)
        sock.sendto(data, peer)


def main():
    if sys.argv[1] == "server":
        serve(int(sys.argv[2]))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.settimeout(2)
    sock.connect((sys.argv[2], int(sys.argv[3])))
    for _ in range(10):  # one by one, until the flow is fast
        sock.send(b"hello")
        if sock.recv(100) != b"hello":
            return 1
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
    for number in range(BATCHES):
        # The last datagram of a batch may be shorter.
        batch = random.Random(number).randbytes(SEGMENT * PER_BATCH - number)
        sock.send(batch)
        back = [sock.recv(65536) for _ in range(PER_BATCH)]
        want = [batch[i:i + SEGMENT] for i in range(0, len(batch), SEGMENT)]
        if sorted(back) != sorted(want):
            print(f"batch {number} came back different", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
