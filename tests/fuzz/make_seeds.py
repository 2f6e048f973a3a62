#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Write the seeds that are not text, or must not end with a newline: tests/fuzz/corpus/*/*.bin.

    tests/fuzz/make_seeds.py

The result is part of the tree: run it after a change here or of a target's input, and commit both.
"""
import os
import re
import struct

HERE = os.path.dirname(os.path.abspath(__file__))


def write(target, name, data):
    path = os.path.join(HERE, "corpus", target, name + ".bin")
    with open(path, "wb") as f:
        f.write(bytes(data))


# ---- prog: see struct step and make_world() of prog_world.h ----

POD_EGRESS, NIC_EGRESS, NIC_INGRESS, POD_INGRESS, RPEER_EGRESS, NETKIT_EGRESS = range(6)
(PLAIN, MASQUERADED, TUNNELED, TUNNELED_IN, NACK, HELLO, PROBE, ICMP, GUARDED) = range(9)
REVERSE, STRANGER, OTHER_NODE, OTHER_WAY = 0x10, 0x20, 0x40, 0x80
TCP, UDP = 0, 1  # flows of the world
LABEL = 0x11


def world(owner=1, flows=7, stage=2, acked=1, bits=0, more=0, pods=0, lease=0xCC, odd=0x80):
    flow = [stage | (acked and 4), lease, LABEL - 1, odd]
    return [owner | 2 | bits, flows, more, pods] + flow * 3


def step(hook, shape, flow=TCP, payload=20, linear=255, csum=0, dev=0, fail=0, port=LABEL, time=0,
         ttl=64, flags=0x10, edits=(), tunnel=0, cut=0):
    out = [hook, shape, flow, payload, linear, csum, dev, fail, port >> 8, port & 255, time, ttl,
           flags, len(edits), tunnel, cut]
    for at, value in edits:
        out += [at, value]
    return out


def learning(flow, label=0):
    """From nothing to a label that is told, or heard."""
    return (step(POD_EGRESS, PLAIN, flow)
            + step(NIC_EGRESS, TUNNELED, flow, port=40000)
            + step(POD_EGRESS, PLAIN, flow)
            + step(NIC_EGRESS, TUNNELED, flow, port=40000, tunnel=32)
            + step(NIC_INGRESS, TUNNELED_IN, flow | REVERSE, port=40000)
            + step(POD_INGRESS, PLAIN, flow | REVERSE)
            + (step(NIC_INGRESS, TUNNELED_IN, flow | REVERSE, port=label) if label
               else step(NIC_EGRESS, TUNNELED, flow, port=40000, tunnel=33))
            + step(POD_EGRESS, PLAIN, flow, time=20))


def prog():
    for owner in (0, 1):
        for flow, proto in ((TCP, "tcp"), (UDP, "udp")):
            name = "%s-%s" % ("owner" if owner else "other", proto)
            out = []
            for csum in (0, 1, 2, 3, 7, 16, 32, 64 + 3):
                out += step(POD_EGRESS, PLAIN, flow, csum=csum)
            write("prog", "masquerade-" + name, world(owner) + out)
            write("prog", "zero-" + name, world(owner)
                  + sum((step(h, s, flow, csum=c, dev=64) for c in (0, 1, 2)
                         for h, s in ((POD_EGRESS, PLAIN), (NIC_INGRESS, MASQUERADED))), []))
            out = []
            for csum in (0, 1, 2, 3, 7, 16, 32, 64 + 3):
                out += step(NIC_INGRESS, MASQUERADED, flow, csum=csum)
            write("prog", "restore-" + name, world(owner) + out)
            write("prog", "short-" + name, world(owner)
                  + step(POD_EGRESS, PLAIN, flow, linear=20) + step(NIC_INGRESS, MASQUERADED, flow, linear=0)
                  + step(NIC_INGRESS, MASQUERADED, flow, cut=30)
                  + step(NIC_INGRESS, MASQUERADED, flow, linear=28, fail=16))
            write("prog", "learn-" + name, world(owner, flows=0) + learning(flow, 0 if owner else LABEL))
            # One header byte after the other is odd; the last ones take the flow off the fast path.
            odd = [((12, 0x86),), ((14, 0x46),), ((14, 0x55),), ((16, 3),), ((17, 39),), ((17, 27),),
                   ((20, 0x20),), ((21, 1),), ((23, 6),), ((23, 1),), ((30, 224),), ((30, 255),),
                   ((46, 0x40),), ((46, 0x4F),), ((47, 0x11),), ((47, 0x14),), ((47, 2),)]
            for hook, shape, what in ((POD_EGRESS, PLAIN, "out"), (NIC_INGRESS, MASQUERADED, "in")):
                for part in (0, 9):
                    write("prog", "odd-%s%d-%s" % (what, part, name), world(owner)
                          + sum((step(hook, shape, flow, edits=e) for e in odd[part:part + 9]), []))
            write("prog", "edge-" + name, world(owner)
                  + step(POD_EGRESS, PLAIN, flow, ttl=2) + step(POD_EGRESS, PLAIN, flow, dev=1)
                  + step(POD_EGRESS, PLAIN, flow, time=90) + step(POD_EGRESS, PLAIN, flow, flags=1)
                  + step(POD_EGRESS, PLAIN, flow) + step(POD_EGRESS, PLAIN, flow, flags=2)
                  + step(RPEER_EGRESS, PLAIN, flow) + step(NIC_EGRESS, PLAIN, flow, dev=8))
            write("prog", "refused-" + name, world(owner)
                  + step(NIC_INGRESS, MASQUERADED, flow, port=0x99)
                  + step(NIC_INGRESS, MASQUERADED, flow, flags=4)
                  + step(NIC_INGRESS, MASQUERADED, flow | OTHER_WAY)
                  + step(NIC_INGRESS, MASQUERADED, flow | STRANGER)
                  + step(NIC_INGRESS, MASQUERADED, flow, edits=((20, 0x20),))
                  + step(NIC_INGRESS, MASQUERADED, flow, time=200)
                  + step(NIC_INGRESS, MASQUERADED, flow, port=0x99, csum=3)
                  + step(NIC_INGRESS, MASQUERADED, flow | OTHER_NODE))
            write("prog", "control-" + name, world(owner)
                  + step(NIC_INGRESS, HELLO, flow, payload=80) + step(NIC_INGRESS, PROBE, flow)
                  + step(NIC_INGRESS, PROBE, flow | STRANGER, linear=0)
                  + step(NIC_INGRESS, HELLO, flow | STRANGER, payload=200)
                  + step(NIC_INGRESS, NACK, flow) + step(NIC_INGRESS, ICMP, flow)
                  + step(NIC_INGRESS, ICMP, flow, tunnel=3 | 4 << 4))
            write("prog", "guard-" + name, world(owner)
                  + step(NIC_EGRESS, GUARDED, flow) + step(NIC_EGRESS, GUARDED, flow, dev=8)
                  + step(NIC_EGRESS, GUARDED, flow | STRANGER) + step(NIC_EGRESS, HELLO, flow))
        write("prog", "tunnels-%d" % owner, world(owner, bits=64)
              + step(NIC_EGRESS, TUNNELED, port=40000) + step(NIC_EGRESS, TUNNELED, tunnel=32, port=100)
              + step(NIC_EGRESS, TUNNELED, tunnel=33 | 3 << 1, port=100, csum=3)
              + step(NIC_EGRESS, TUNNELED, tunnel=32, port=100, csum=3 | 8)
              + step(NIC_EGRESS, TUNNELED, tunnel=32, port=100, csum=16)
              + step(NIC_EGRESS, TUNNELED, STRANGER, port=100) + step(NIC_EGRESS, TUNNELED, port=100, dev=2)
              + step(NIC_INGRESS, TUNNELED_IN, STRANGER | REVERSE, port=100, linear=30)
              + step(NIC_INGRESS, TUNNELED_IN, REVERSE, port=0x8000))
        # Both ways of the modes that have a redirect of their own; 3 is XM_STAGE_LOCAL.
        for hook, what in ((NETKIT_EGRESS, "netkit"), (RPEER_EGRESS, "rpeer")):
            for stage, where in ((2, "away"), (3, "local")):
                write("prog", "%s-%s-%d" % (what, where, owner), world(owner, stage=stage, odd=0x80)
                      + sum((step(hook, PLAIN, flow, csum=csum, dev=dev) for flow in (TCP, UDP)
                             for csum, dev in ((0, 0), (3, 0), (16, 0), (0, 8), (0, 2))), [])
                      + step(hook, PLAIN, ttl=1) + step(hook, PLAIN, flags=1))
        # Larger than some interface takes, or than the one they leave by does; segments of both kinds.
        for pods, what in ((64, "all"), (96, "one"), (64 | 128, "unseen")):
            write("prog", "large-%s-%d" % (what, owner), world(owner, pods=pods)
                  + sum((step(hook, PLAIN, flow, payload=250, csum=csum, tunnel=tunnel)
                         for hook in (POD_EGRESS, RPEER_EGRESS) for flow in (TCP, UDP)
                         for csum, tunnel in ((0, 0), (3 | 16, 0), (3 | 16, 64))), []))
        # All three flows under one label: its slot goes from one to the next, or not at all.
        write("prog", "conflict-%d" % owner, world(owner)
              + step(NIC_INGRESS, TUNNELED_IN, 2 | REVERSE) + step(POD_INGRESS, PLAIN, 2 | REVERSE)
              + step(NIC_INGRESS, TUNNELED_IN, 2 | REVERSE) + step(NIC_INGRESS, MASQUERADED, 2)
              + step(POD_EGRESS, PLAIN, 2) + step(NIC_INGRESS, TUNNELED_IN, 0 | REVERSE)
              + step(NIC_EGRESS, TUNNELED, 2, port=40000) + step(NIC_EGRESS, TUNNELED, 0, port=40000))
        # Other inner source ports, until the table of flows is full.
        write("prog", "full-%d" % owner, world(owner)
              + sum((step(NIC_EGRESS, TUNNELED, port=40000, edits=((85, i),)) for i in (9, 10, 11)), []))
        write("prog", "told-%d" % owner, world(owner, stage=1, acked=0)
              + step(NIC_INGRESS, MASQUERADED) + step(POD_EGRESS, PLAIN)
              + step(NIC_EGRESS, TUNNELED, port=40000, time=250))


# ---- hello: see enum op and message() of fuzz_hello.c ----

(RAW, CODEC, SEEN, H_HELLO, ANSWER, BYE, H_PROBE, TIME, TICK, TRAFFIC, ALL_BYE) = range(11)
ECHO, OTHER_KEY, OTHER_LEASE, KNOWS = 16, 32, 64, 128


def hello():
    up = [SEEN, 1, H_PROBE, 1, 9, H_HELLO, 1 | ECHO, 1, 7, ANSWER, 1 | ECHO | KNOWS, 1, TICK, 0,
          TIME, 30, TICK, 0]
    for bed in (0, 1, 4, 5):
        write("hello", "up-%d" % bed, [bed] + up + [H_HELLO, 1 | KNOWS | ECHO, 2, 9, BYE, 1 | ECHO | KNOWS, 1])
    write("hello", "bad", [1] + up + [H_HELLO, 1 | OTHER_KEY, 1, 1, H_HELLO, 1 | OTHER_LEASE, 1, 1, ALL_BYE, 0])
    many = []
    for i in range(12):
        many += [H_HELLO if i & 1 else SEEN, i] + ([1, i] if i & 1 else []) + [TIME, 20, TICK, 0]
    write("hello", "many", [0] + many + [TIME, 250, TICK, 0])
    write("hello", "adopt", [2, 0xA3, 0xF5] + up + [TRAFFIC, 0])
    msg = struct.pack(">IBBBBIIQQQQII32x", 0x584D5351, 1, 1, 0, 0, 5, 0, 7, 0, 0, 0, 1000, 0)
    event = struct.pack("<I", 2) + bytes([172, 31, 0, 2, 172, 31, 0, 1]) + struct.pack("<I", 2)
    event += bytes([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 17, 0]) + struct.pack("<H", len(msg))
    write("hello", "raw", bytes([0, CODEC, 0, len(msg)]) + msg + bytes([RAW, 16]) + event + msg)


# ---- nl: messages that a kernel sent, recorded for the unit tests ----

(MESSAGE, _, CT, _, RESYNC, RESYNC_END, ROUTES, ROUTES_END, SET_READ, RECONCILE) = range(10)


def nl():
    with open(os.path.join(HERE, "..", "unit", "nl_recorded.h"), encoding="ascii") as f:
        text = f.read()
    rec = {}
    for name, body in re.findall(r"rec_(\w+)\[\] = \{(.*?)\};", text, re.S):
        rec[name] = bytes(int(x, 16) for x in re.findall(r"0x([0-9a-f]{2})\b", body))

    def msg(name, ns=0, op=MESSAGE):
        # Short of its statistics, which nobody reads and the fuzzer would.
        data = rec[name][:struct.unpack_from("<I", rec[name])[0]]
        if struct.unpack_from("<H", data, 4)[0] in (16, 17):
            data = without(data, (7, 23, 26))
        return bytes([op, ns]) + struct.pack(">H", len(data)) + data

    def without(data, types):
        out, at = data[:32], 32
        while at < len(data):
            size, kind = struct.unpack_from("<HH", data, at)
            if kind & 0x3FFF not in types:
                out += data[at:at + (size + 3 & ~3)]
            at += size + 3 & ~3
        return out

    for name in rec:
        write("nl", name.replace("_", "-"), bytes([0]) + msg(name, op=CT if name.startswith("ct") else MESSAGE))
    # Made by hand: small, so that there is room for many.
    def attr(kind, data):
        return struct.pack("<HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)

    def small(kind, fixed, *attrs):
        data = struct.pack("<IHHII", 0, kind, 0, 0, 0) + fixed + b"".join(attrs)
        return bytes([MESSAGE, 0]) + struct.pack(">H", len(data)) + data

    def link(ifindex, name, kind=b"veth"):
        return small(16, struct.pack("<BxHiII", 0, 1, ifindex, 1, 0), attr(3, name + b"\0"),
                     attr(5, struct.pack("<I", 2)), attr(37, struct.pack("<I", 1)),
                     attr(18, attr(1, kind + b"\0")))

    def address(ifindex, last):
        ip = bytes([10, 0, ifindex, last])
        return small(20, struct.pack("<BBBBi", 2, 24, 0, 0, ifindex), attr(2, ip), attr(1, ip))

    def route(oif, metric):
        return small(24, struct.pack("<BBBBBBBBI", 2, 0, 0, 0, 254, 3, 0, 1, 0),
                     attr(5, bytes([10, 0, 0, 1])), attr(4, struct.pack("<I", oif)),
                     attr(6, struct.pack("<I", metric)))

    order = (5, 9, 2, 7, 3, 8, 4, 6)
    write("nl", "many-links", bytes([0]) + b"".join(link(i, b"veth%d" % i) for i in order) + bytes([RECONCILE]))
    write("nl", "many-addrs", bytes([0]) + link(2, b"eth0", b"") + b"".join(address(2, i) for i in order))
    write("nl", "many-routes", bytes([0]) + b"".join(route(2 + i % 3, i * 7 % 5) for i in order))
    write("nl", "long-names", bytes([0]) + link(2, b"a" * 15) + link(3, b"b" * 16) + link(4, b"c" * 20)
          + link(5, b"d", b"e" * 15) + link(6, b"f", b"g" * 18))
    everything = b"".join(msg(n) for n in ("vxlan", "bridge", "veth_up", "route_new", "addr_new", "nsid_new"))
    end = bytes([SET_READ, RECONCILE, RESYNC]) + msg("veth_up") + bytes([RESYNC_END, RECONCILE])
    for bits in (0, 1, 0x1E):
        write("nl", "node-%d" % bits, bytes([bits]) + everything + end
              + bytes([ROUTES, ROUTES_END]) + msg("veth_del") + msg("addr_target", 1))


# ---- texts that a newline would spoil ----

def texts():
    write("ctl", "typed-flow", b"Audp 10.244.1.11:40000 -> 10.244.2.22:53")
    write("ctl", "typed-pod", b"Aeth0")
    write("text", "addr", b"aa172.31.0.1")
    write("text", "ifname", b"aacali-0123456")


# ---- ctlsock: steps, see step(); a client is chosen by the upper half ----

def ctlsock():
    come, said, asks, much, ends, goes, takes, later, fails, size, flush, turn = range(12)

    def some(n):
        return bytes([takes, n >> 8, n & 255])

    write("ctlsock", "one-request", bytes([come, turn, asks, 0]) + some(400) + bytes([turn, turn]))
    line = b'{"command":"status"}\n'
    write("ctlsock", "in-pieces", bytes([come, turn]) + b"".join(bytes([said, 1, c, turn]) for c in line)
          + b"".join(some(7) + bytes([turn]) for _ in range(12)))
    write("ctlsock", "no-newline-but-an-end", bytes([come, asks, 4, turn, ends]) + some(500) + bytes([turn]))
    write("ctlsock", "too-much", bytes([come, turn]) + bytes([much, 255, turn] * 3 + [much, 255]) + bytes([turn] * 60)
          + some(500) + bytes([turn]))
    write("ctlsock", "many", bytes([come] * 24 + [turn]) + b"".join(bytes([k << 4 | asks, 0]) for k in range(16))
          + bytes([turn]) + b"".join(bytes([k << 4 | takes, 1, 0]) for k in range(16)) + bytes([turn, turn]))
    write("ctlsock", "idle", bytes([come, come, turn, later, 200, later, 200, turn]))
    write("ctlsock", "no-appetite", bytes([size, 0xFF, 0xFF, come, asks, 0, turn]) + some(65535)
          + bytes([turn, later, 100, turn, goes, turn]))
    write("ctlsock", "no-descriptor", bytes([come, fails, 2, turn, come, turn, later, 30, turn]))
    write("ctlsock", "flush", bytes([come, come, size, 1, 0, turn, asks, 0, turn]) + some(90) + bytes([flush, 50]))


# ---- state ----

def state():
    good = (b"set net.netfilter.nf_conntrack_tcp_be_liberal 1 0\n"
            b"port net.ipv4.ip_local_reserved_ports 18477 80,443\n")
    for now in range(4):
        write("state", "sysctl-%d" % now, bytes([1, now, 1]) + good)
    write("state", "sysctl-read-only", bytes([1, 0, 0]) + good)
    write("state", "sysctl-empty-before", bytes([1, 0, 1]) + b"port net.ipv4.ip_local_reserved_ports 18477 \n")
    write("state", "sysctl-odd", bytes([1, 0, 1]) + b"set ../../etc/passwd 1 0\nset net..x 1 0\nport a 99999 \nset a\n")
    write("state", "sysctl-cut", bytes([1, 0, 1]) + good[:40])
    write("state", "sysctl-many", bytes([1, 0, 1]) + b"".join(b"set a.b%d 1 0\n" % i for i in range(20)))
    write("state", "qdiscs", bytes([0, 0, 0]) + b"4026531840 4\n4026531840 6\n4026532000 2\n4026532000 2\n")
    write("state", "qdiscs-odd", bytes([0, 0, 0]) + b"0 1\n1 0\n1\n1 2 3\n18446744073709551616 1\n1 4294967297\n-1 -1\n")


if __name__ == "__main__":
    ctlsock()
    state()
    prog()
    hello()
    nl()
    texts()
