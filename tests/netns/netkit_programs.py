#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""netkit_programs.py INTERFACE: programs that a netkit pair runs for what its pod sends.

INTERFACE is the node's end, in this network namespace. Prints "netkit NAME" for each, and nothing
for interfaces of other kinds; bpftool and tc of Debian 12 do not know netkit.
"""
import ctypes
import errno
import os
import platform
import socket
import struct
import sys

BPF_PROG_GET_FD_BY_ID, BPF_OBJ_GET_INFO_BY_FD, BPF_PROG_QUERY = 13, 15, 16
BPF_NETKIT_PEER = 55
SYS_BPF = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(cmd, attr):
    """The system call; attr is a buffer."""
    ret = libc.syscall(SYS_BPF, cmd, attr, len(attr))
    if ret < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))
    return ret


def query(ifindex):
    """Ids of the programs."""
    ids = (ctypes.c_uint32 * 64)()
    attr = ctypes.create_string_buffer(
        struct.pack("=IIIIQIIQQQQ", ifindex, BPF_NETKIT_PEER, 0, 0, ctypes.addressof(ids),
                    len(ids), 0, 0, 0, 0, 0), 64)
    bpf(BPF_PROG_QUERY, attr)
    return ids[:struct.unpack_from("=I", attr.raw, 24)[0]]


def name(prog_id):
    """As the kernel cuts it: struct bpf_prog_info has it at byte 64."""
    fd = bpf(BPF_PROG_GET_FD_BY_ID, ctypes.create_string_buffer(struct.pack("=III", prog_id, 0, 0), 12))
    info = ctypes.create_string_buffer(128)
    try:
        bpf(BPF_OBJ_GET_INFO_BY_FD,
            ctypes.create_string_buffer(struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)), 16))
    finally:
        os.close(fd)
    return info.raw[64:80].split(b"\0")[0].decode()


def main():
    """Not a netkit pair: ENXIO; a kernel without netkit: EINVAL."""
    try:
        ids = query(socket.if_nametoindex(sys.argv[1]))
    except OSError as e:
        if e.errno in (errno.ENXIO, errno.EINVAL):
            return
        raise
    for i in ids:
        print("netkit", name(i))


main()
